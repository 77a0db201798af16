"""What the figures draw: panels, labels, scales, line data, bar heights, and what bad input says."""

import itertools
import types

import matplotlib as mpl
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba

from tinyshrink import models, plots

WEIGHTS = torch.tensor([-0.5, -0.2, -0.1, 0.0, 0.05, 0.1, 0.3, 0.4])
CURVES = {"global": {0.9: 0.98, 0.5: 0.99, 0.99: 0.6}, "per layer": {0.5: 0.97, 0.9: 0.9, 0.95: 0.5}}
HISTORY = [{"epoch": 0, "loss": 2.0, "accuracy": 0.5}, {"epoch": 1, "loss": 1.0, "accuracy": 0.75}]
NAN = float("nan")


class Plan:
    """What plots.channel_plan asks of a plan."""

    def __init__(self, rows):
        self.rows = lambda: rows


MASK = torch.eye(4, dtype=torch.bool)
POINTS = [types.SimpleNamespace(cost=cost, score=score) for cost, score in ((4000, 0.98), (1000, 0.97), (400, 0.3))]
FIGURES = {
    "histogram": lambda: plots.weight_histogram(WEIGHTS, WEIGHTS * (WEIGHTS.abs() > 0.1), 0.1, title="weights"),
    "mask": lambda: plots.mask_picture(MASK, title="mask"),
    "target": lambda: plots.mask_picture(MASK.flip(0), MASK),
    "layers": lambda: plots.layer_sparsity({"per layer": {"fc1": 0.9, "fc2": 0.9}, "global": {"fc1": 0.5, "fc2": 0.4}}),
    "accuracy": lambda: plots.accuracy_against_sparsity(CURVES, 0.99, 0.02),
    "schedules": lambda: plots.schedules({"linear": lambda step: step / 10, "late": lambda step: step // 8 / 2}, 10),
    "history": lambda: plots.training_history({"a": HISTORY, "b": HISTORY[:1]}),
    "energy": lambda: plots.energy_curve({"trained": torch.tensor([0.8, 1.0])}),
    "approximations": lambda: plots.approximations({"weight": torch.eye(3), "rank 1": torch.ones(3, 3) / 3}),
    "selection": lambda: plots.selection({"conv1": {0.5: 0.6, 0.8: 0.9}}, {"conv1": 0.7}, 0.8, 1.0),
    "degradation": lambda: plots.degradation({"bits": POINTS}, "bytes", {"knee": POINTS[1]}),
    "intervals": lambda: plots.intervals({"conv1": (0.1, 0.05, 0.2), "fc1": (0, -0.01, 0.02)}, "layer", "lost (pp)", 0.05),
    "lines": lambda: plots.lines({"MACs": {0: 1.0, 50: 0.25}, "time": {0: 1.0, 50: 0.5}}, "removed (%)", "left (%)"),
    "speedups": lambda: plots.speedups({"Numba": {0.5: 0.7, 0.9: 3.0}, "NumPy": {0.5: 0.1, 0.9: 0.9}}, "torch.mm"),
    "times": lambda: plots.time_bars({"Python loop": 40000.0, "Numba": 1.5}),
    "plan": lambda: plots.channel_plan(Plan([("conv", "stage1.0.conv2, stage1.1.conv2", 16, 8), ("fc1", "", 64, 20)])),
}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def curve(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return list(line.get_xdata()), list(line.get_ydata())


def counts(ax):
    return [patch.get_data().values for patch in ax.patches]


def cells(ax):
    """The RGBA cells of a mask's panel, (rows, columns, 4)."""
    return np.asarray(ax.collections[0].get_array())


def color(name):
    return pytest.approx(to_rgba(name), abs=0.01)


@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_has_labelled_axes_and_a_legend_that_fits_on_it(kind):
    figure = FIGURES[kind]()
    for ax in figure.axes:
        assert ax.get_xlabel() and (ax.get_ylabel() or ax is not figure.axes[0])
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0
    assert box.y1 <= min(ax.get_tightbbox().y0 for ax in figure.axes)


def test_a_legend_of_long_labels_still_fits():
    figure = plots.schedules({f"a schedule with a long name, the {k}th": lambda step: 0.5 for k in range(7)}, 3)
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0


def test_a_title_is_shown():
    assert FIGURES["mask"]().get_suptitle() == "mask"


def test_series_differ_without_colour():
    values = {f"label {k}": {"fc1": 0.5, "fc2": 0.5} for k in range(7)}
    (ax,) = plots.layer_sparsity(values).axes
    assert len({bars[0].get_hatch() for bars in ax.containers}) == 7
    (ax,) = plots.schedules({label: lambda step: 0.5 for label in values}, 3).axes
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == 7


def test_the_users_settings_neither_change_nor_leak_in():
    with plt.style.context("dark_background"), mpl.rc_context({"font.size": 30}):
        before = dict(mpl.rcParams)
        figure = FIGURES["schedules"]()
        with pytest.raises(ValueError):
            plots.layer_sparsity({})
        assert dict(mpl.rcParams) == before
        (ax,) = figure.axes
        figure.draw_without_rendering()
        assert figure.get_facecolor() == to_rgba("white") and ax.xaxis.label.get_size() < 12
        assert {label.get_color() for label in ax.get_xticklabels()} == {"black"}


def test_a_notebook_shows_the_figure_once_and_pyplot_holds_none():
    open_before = plt.get_fignums()
    data, _ = DisplayFormatter().format(FIGURES["history"]())
    assert data["image/png"][:8] == b"\x89PNG\r\n\x1a\n"
    assert plt.get_fignums() == open_before


def test_histogram_counts_each_weight_once_on_a_log_axis():
    (ax,) = plots.weight_histogram(WEIGHTS).axes
    assert ax.get_yscale() == "log" and ax.get_ylim()[0] < 1
    assert counts(ax)[0].sum() == 8
    assert legend(ax.figure) == ["weights: 7 nonzero"]


def test_histogram_pools_the_tensors_of_a_dict():
    state = {name: p for name, p in models.LeNet300().named_parameters() if p.ndim == 2}
    (ax,) = plots.weight_histogram(state).axes
    assert counts(ax)[0].sum() == 784 * 300 + 300 * 100 + 100 * 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_histogram_takes_every_float_dtype(dtype):
    (ax,) = plots.weight_histogram(WEIGHTS.to(dtype).requires_grad_()).axes
    assert counts(ax)[0].sum() == 8


def test_histogram_puts_the_pruned_weights_in_a_bin_centred_on_zero():
    weights = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    after = weights * (weights.abs() > 1)
    (ax,) = plots.weight_histogram(weights, after, 1.0).axes
    before, pruned = ax.patches
    edges = pruned.get_data().edges
    assert np.array_equal(before.get_data().edges, edges)
    middle = int(np.argmax(pruned.get_data().values))
    assert edges[middle] == pytest.approx(-edges[middle + 1])
    assert pruned.get_data().values[middle] == (after == 0).sum()
    assert pruned.get_data().values.sum() == before.get_data().values.sum() == 10_000
    assert legend(ax.figure)[:2] == ["before: 10,000 nonzero", f"after: {after.count_nonzero():,} nonzero"]


def test_histogram_marks_the_cut_and_says_what_it_removes():
    (ax,) = plots.weight_histogram(WEIGHTS, threshold=0.1).axes
    lines = ax.collections[0].get_segments()
    assert sorted(line[0][0] for line in lines) == pytest.approx([-0.1, 0.1])
    assert texts(ax) == ["50.0% removed"]  # -.1, 0, .05 and .1 of eight
    assert "cut at ±0.1" in legend(ax.figure)


def test_histogram_takes_the_threshold_as_torch_gives_it():
    threshold = WEIGHTS.abs().kthvalue(2).values
    (ax,) = plots.weight_histogram(WEIGHTS, threshold=threshold).axes
    assert texts(ax) == ["25.0% removed"]


def test_histogram_with_after_says_what_is_zero_in_after():
    (ax,) = plots.weight_histogram(WEIGHTS, WEIGHTS * (WEIGHTS.abs() > 0.3), 0.1).axes
    assert texts(ax) == ["75.0% removed"]


def test_histogram_of_zeros_is_drawn():
    (ax,) = plots.weight_histogram(torch.zeros(3), threshold=0.0).axes
    assert counts(ax)[0].max() == 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (({},), "got 0"),
        ((torch.empty(0),), "got 0"),
        ((torch.tensor([1.0, NAN]),), "finite"),
        ((WEIGHTS, {"fc": torch.tensor([float("inf")])}), "'after'"),
        ((WEIGHTS, None, -0.1), "-0.1"),
        ((WEIGHTS, None, NAN), "nan"),
        ((WEIGHTS, None, float("inf")), "got inf"),
    ],
)
def test_histogram_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.weight_histogram(*arguments)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.uint8])
def test_mask_is_dark_where_a_weight_is_kept(dtype):
    mask = torch.tensor([[1, 0, 0], [1, 1, 0]], dtype=dtype)
    (ax,) = plots.mask_picture(mask).axes
    picture = cells(ax)
    assert picture.shape[:2] == (2, 3)
    for (row, column), kept in np.ndenumerate(mask.numpy()):
        assert tuple(picture[row, column]) == color(plots.BLUE if kept else "white")
    assert ax.get_ylim() == (1.5, -0.5) and ax.get_xlim() == (-0.5, 2.5)  # the first row on top
    assert ax.get_title() == "mask: 3 kept (50.0%)"


def test_a_mask_that_keeps_nothing_is_white():
    (ax,) = plots.mask_picture(torch.zeros(3, 300)).axes
    assert (cells(ax) == 1).all()


def test_mask_of_a_convolution_has_a_row_for_each_filter():
    mask = torch.zeros(4, 3, 2, 2, dtype=torch.bool)
    mask[1, 2, 0, 1] = True
    (ax,) = plots.mask_picture(mask).axes
    assert cells(ax).shape[:2] == (4, 12)
    assert tuple(cells(ax)[1, 2 * 4 + 1]) == color(plots.BLUE)
    assert ax.get_xlabel() == "input channel x kernel (3 x 2 x 2)" and ax.get_ylabel() == "filter"


def test_target_yours_and_difference_are_three_panels_and_name_both_errors():
    target = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    yours = torch.tensor([[1, 0, 0], [1, 1, 1]], dtype=torch.bool)
    left, middle, right = plots.mask_picture(yours, target).axes
    assert [ax.get_title() for ax in (left, middle, right)] == [
        "target: 3 kept (50.0%)", "yours: 4 kept (66.7%)", "difference: 3 wrong"
    ]  # fmt: skip
    assert tuple(cells(left)[0, 1]) == color(plots.BLUE) and tuple(cells(middle)[0, 1]) == color("white")
    wanted = [["white", plots.BLACK, "white"], [plots.ORANGE, plots.ORANGE, "white"]]
    for (row, column), name in np.ndenumerate(np.array(wanted)):
        assert tuple(cells(right)[row, column]) == color(name)
    assert legend(right.figure) == ["kept", "removed", "wrongly kept: 2", "wrongly removed: 1"]


def test_equal_masks_have_an_empty_difference():
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) > 0.5
    right = plots.mask_picture(mask, mask.float()).axes[2]
    assert right.get_title() == "difference: 0 wrong"
    assert (cells(right) == 1).all()


@pytest.mark.parametrize("shape", [(129, 5), (1000, 784), (300, 301), (64, 32, 3, 3)])
def test_a_large_mask_is_drawn_in_at_most_128_by_128_blocks_over_its_own_indices(shape):
    (ax,) = plots.mask_picture(torch.ones(shape, dtype=torch.bool)).axes
    assert max(cells(ax).shape[:2]) <= 128
    rows, columns = shape[0], int(np.prod(shape[1:]))
    assert ax.get_xlim() == (-0.5, columns - 0.5) and ax.get_ylim() == (rows - 0.5, -0.5)
    assert (cells(ax) == cells(ax)[0, 0]).all()  # blocks at the border are not paler
    assert "block" in legend(ax.figure)[0]


def test_blocks_show_the_share_that_is_kept_the_fullest_in_the_full_colour():
    mask = torch.zeros(2, 512)
    mask[0, :2] = 1
    mask[1, 5] = 1
    (ax,) = plots.mask_picture(mask).axes
    halfway = (np.array(to_rgba("white")) + np.array(to_rgba(plots.BLUE))) / 2
    assert tuple(cells(ax)[0, 0]) == color(plots.BLUE)
    assert tuple(cells(ax)[1, 1]) == color(tuple(halfway))
    assert legend(ax.figure)[0] == "50% of a 1 x 4 block kept"


def test_one_error_among_a_million_is_seen_and_circled():
    target = torch.zeros(1000, 1000, dtype=torch.bool)
    mask = target.clone()
    mask[700, 300] = True
    right = plots.mask_picture(mask, target).axes[2]
    assert tuple(cells(right)[700 // 8, 300 // 8]) == color(plots.ORANGE)
    circles = [(*line.get_xdata(), *line.get_ydata()) for line in right.lines if line.get_marker() == "o"]
    assert circles == [(300, 700)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.ones(4),), r"\(4,\)"),
        ((torch.ones(2, 3, 4),), r"\(2, 3, 4\)"),
        ((torch.ones(0, 4),), r"\(0, 4\)"),
        ((torch.tensor([[0.5, 1.0]]),), "0 and 1 only"),
        ((torch.tensor([[NAN, 1.0]]),), "0 and 1 only"),
        ((torch.ones(2, 3), torch.ones(3, 2)), r"\(3, 2\), \(2, 3\)"),
        ((torch.ones(2, 3), torch.full((2, 3), 2.0)), "0 and 1 only"),
    ],
)
def test_mask_picture_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.mask_picture(*arguments)


def test_layer_bars_have_the_right_height_beside_each_other():
    rows = {"per layer": {"conv": 0.9, "fc": 0.9}, "global": {"fc": 0.95, "conv": 0.25}}
    (ax,) = plots.layer_sparsity(rows).axes
    for bars, row in zip(ax.containers, rows.values()):
        assert [bar.get_height() for bar in bars] == list(row.values())
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches)
    assert all(right <= left + 1e-9 for (_, right), (left, _) in itertools.pairwise(spans))
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["conv", "fc"]
    for bars, row in zip(ax.containers, rows.values()):
        for bar, layer in zip(bars, row):
            assert abs(bar.get_x() + bar.get_width() / 2 - names.index(layer)) < 0.5
    assert texts(ax) == ["90.0", "90.0", "95.0", "25.0"]
    assert ax.get_ylim()[0] == 0 and ax.yaxis.get_major_formatter()(0.5) == "50"


def test_a_layer_that_a_label_lacks_has_no_bar():
    (ax,) = plots.layer_sparsity({"a": {"fc1": 0.5, "fc2": 0.6}, "b": {"fc2": 0.7}}).axes
    assert [len(bars) for bars in ax.containers] == [2, 1]
    assert round(ax.containers[1][0].get_x()) == 1


def test_names_of_many_layers_do_not_overlap():
    names = [f"stage{stage}.{block}.conv1" for stage in range(3) for block in range(7)]
    figure = plots.layer_sparsity({k: dict.fromkeys(names, 0.9) for k in ("per layer", "global")})
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))


def test_accuracy_curves_are_the_data_sorted_by_sparsity():
    (ax,) = plots.accuracy_against_sparsity(CURVES).axes
    assert curve(ax, "global") == ([0.5, 0.9, 0.99], [0.99, 0.98, 0.6])
    assert curve(ax, "per layer") == ([0.5, 0.9, 0.95], [0.97, 0.9, 0.5])
    assert not ax.patches and ax.get_ylabel() == "accuracy (%)"
    assert ax.get_ylim()[0] < 0.5 and ax.get_ylim()[1] > 0.99


def test_the_axis_tells_90_95_97_98_and_99_percent_apart():
    (ax,) = plots.accuracy_against_sparsity({"a": {0.0: 0.99, 0.999: 0.5}}).axes
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert {"0", "50", "90", "95", "97", "98", "99", "99.9"} <= set(names)
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    zero, ninety, ninety_nine = (ax.transData.transform((s, 0.9))[0] for s in (0, 0.9, 0.99))
    assert ninety - zero == pytest.approx(ninety_nine - ninety)


@pytest.mark.parametrize("sparsity", [0.0, 0.42, 0.9, 0.93, 0.99999])
def test_one_point_lies_within_the_axis(sparsity):
    (ax,) = plots.accuracy_against_sparsity({"a": {sparsity: 0.9}}).axes
    assert ax.get_xlim()[0] < sparsity < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < 0.9 < ax.get_ylim()[1]
    assert len(ax.get_xticks()) >= 1


def test_accuracies_over_seeds_are_a_mean_with_whiskers_from_lowest_to_highest():
    (ax,) = plots.accuracy_against_sparsity({"a": {0.5: [0.9, 0.94, 0.95], 0.9: [0.8, 0.8]}}).axes
    assert curve(ax, "a") == ([0.5, 0.9], pytest.approx([0.93, 0.8]))
    segments = np.array(ax.collections[0].get_segments())
    assert segments[:, :, 1] == pytest.approx(np.array([[0.9, 0.95], [0.8, 0.8]]))
    assert "range of seeds" in ax.get_ylabel()


def test_dense_is_a_line_and_the_budget_a_band_below_it():
    (ax,) = plots.accuracy_against_sparsity(CURVES, 0.99, 0.05).axes
    assert curve(ax, "dense: 99.0%")[1] == [0.99, 0.99]
    (band,) = ax.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.94, 0.99))
    assert "allowed loss: 5 pp" in legend(ax.figure)


def test_a_small_budget_stays_visible_where_a_curve_collapses():
    (ax,) = plots.accuracy_against_sparsity({"steady": {0.9: 0.98}, "fallen": {0.9: 0.3, 0.95: 0.1}}, 0.99, 0.01).axes
    bottom, top = ax.get_ylim()
    assert 0.01 / (top - bottom) > 0.08 and top < 1
    assert "fallen (falls to 10%)" in legend(ax.figure) and "steady" in legend(ax.figure)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (({},), "nothing to draw"),
        (({"a": {}},), "nothing to draw"),
        (({"a": {0.5: []}},), "'a' at 0.5"),
        (({"a": {0.5: 93.2}},), "93.2"),
        (({"a": {0.5: NAN}},), "nan"),
        (({"a": {0.5: [0.9, NAN]}},), "nan"),
        (({"a": {1.0: 0.1}},), "sparsity"),
        (({"a": {90: 0.1}},), "sparsity"),
        (({"a": {NAN: 0.1}},), "sparsity"),
        ((CURVES, None, 0.01), "budget"),
        ((CURVES, 0.99, -0.01), "budget"),
        ((CURVES, 0.99, NAN), "budget"),
        ((CURVES, 99.0), "99.0"),
        ((CURVES, NAN), "nan"),
    ],
)
def test_accuracy_against_sparsity_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.accuracy_against_sparsity(*arguments)


def test_schedules_are_drawn_at_each_step_from_0_to_the_last():
    asked = []
    (ax,) = plots.schedules({"linear": lambda step: asked.append(step) or 0.9 * step / 4}, 4).axes
    assert asked == [0, 1, 2, 3, 4]
    assert curve(ax, "linear") == ([0, 1, 2, 3, 4], pytest.approx([0, 0.225, 0.45, 0.675, 0.9]))
    assert "%" in ax.get_ylabel() and ax.yaxis.get_major_formatter()(0.5).startswith("50")


def test_history_is_accuracy_against_epochs_counted_from_1():
    (ax,) = plots.training_history({"a": HISTORY, "b": HISTORY[:1]}).axes
    assert curve(ax, "a") == ([1, 2], [0.5, 0.75])
    assert curve(ax, "b") == ([1], [0.5])
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_energy_is_drawn_against_rank_and_the_legend_names_the_rank_that_holds_the_asked_share():
    curves = {"steep": torch.tensor([0.7, 0.9, 1.0]), "flat": torch.tensor([0.4, 0.8, 1.0], dtype=torch.float64)}
    figure = plots.energy_curve(curves, 0.75)
    assert legend(figure) == ["steep: 75% at rank 2", "flat: 75% at rank 2"]
    assert curve(figure.axes[0], "flat: 75% at rank 2") == ([1, 2, 3], [0.4, 0.8, 1.0])
    assert list(figure.axes[0].lines[-1].get_ydata()) == [0.75, 0.75]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.layer_sparsity({}),
        lambda: plots.layer_sparsity({"a": {}}),
        lambda: plots.layer_sparsity({"a": {"fc": NAN}}),
        lambda: plots.layer_sparsity({"a": {"fc": 90.0}}),
        lambda: plots.schedules({}, 5),
        lambda: plots.schedules({"a": lambda step: 0.5}, -1),
        lambda: plots.schedules({"a": lambda step: NAN}, 5),
        lambda: plots.schedules({"a": lambda step: -0.1}, 5),
        lambda: plots.training_history({}),
        lambda: plots.energy_curve({}),
        lambda: plots.energy_curve({"a": torch.tensor([0.5, 2.0])}),
        lambda: plots.training_history({"a": []}),
        lambda: plots.training_history({"a": [{"epoch": 0, "accuracy": NAN}]}),
    ],
)
def test_bad_input_is_a_value_error(draw):
    with pytest.raises(ValueError, match=r"nothing to draw|must be a fraction"):
        draw()


def test_save_writes_a_png_and_closes_the_figure(tmp_path):
    path = tmp_path / "figure.png"
    plots.save(FIGURES["layers"](), path)
    assert plt.imread(path).ndim == 3
    figure = plt.figure()
    plots.save(figure, str(path))
    assert not plt.fignum_exists(figure.number)
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_a_save_that_fails_leaves_the_old_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = FIGURES["layers"]()

    def broken(file, **_):
        with open(file, "wb") as out:
            out.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(OSError, match="no space"):
        plots.save(figure, path)
    assert path.read_bytes() == b"old"


def test_heat_map_has_the_number_of_each_cell_in_percent_dark_where_it_is_high():
    values = {1: {0.5: 0.91, 0.9: 0.95}, 4: {0.5: 0.93, 0.9: 0.99}}
    figure = plots.heat_map(values, "temperature", "alpha", torch.eye(8), title="sweep")
    (ax,) = figure.axes
    assert texts(ax) == ["91.0", "95.0", "93.0", "99.0"]
    (picture,) = ax.images
    assert np.argmax(picture.get_array()) == 3 and np.argmin(picture.get_array()) == 0
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "4"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.5", "0.9"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("temperature", "alpha") and legend(figure) == ["91.0%", "99.0%"]
    (inset,) = ax.child_axes
    assert inset.images[0].get_array().shape == (8, 8)
    assert inset.get_tightbbox().x1 <= figure.bbox.width and inset.get_window_extent().x0 >= ax.get_window_extent().x1


def test_heat_map_of_equal_values_is_drawn_and_bad_ones_are_refused():
    assert texts(plots.heat_map({"a": {1: 0.5, 2: 0.5}}, "y", "x").axes[0]) == ["50.0", "50.0"]
    with pytest.raises(ValueError, match="same columns"):
        plots.heat_map({"a": {1: 0.5}, "b": {2: 0.5}}, "y", "x")
    with pytest.raises(ValueError, match="fraction"):
        plots.heat_map({"a": {1: 95.0}}, "y", "x")


def test_approximations_are_on_one_scale_with_their_errors_and_the_original_has_none():
    original = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    figure = plots.approximations({"weight": original, "rank 1": torch.tensor([[0.0, 0.0], [0.0, -4.0]])}, title="SVD")
    assert [ax.get_title() for ax in figure.axes] == ["weight", "rank 1: error 60.0%"]
    images = [ax.images[0] for ax in figure.axes]
    assert [image.get_clim() for image in images] == [(-4, 3)] * 2
    assert np.array_equal(images[0].get_array(), original)
    assert legend(figure) == ["-4", "-0.5", "3"]


@pytest.mark.parametrize(
    "matrices", [{}, {"a": MASK}, {"a": torch.ones(2, 2), "b": torch.ones(2, 3)}, {"a": WEIGHTS, "b": WEIGHTS}]
)
def test_approximations_refuse_what_cannot_be_compared(matrices):
    with pytest.raises(ValueError, match="one shape"):
        plots.approximations(matrices)


def test_channel_plan_draws_before_and_after_of_each_group_and_names_its_layers():
    many = ", ".join(f"layers.{k}.fc2" for k in range(12))
    figure = plots.channel_plan(
        Plan([("conv", "block.conv2", 16, 8), ("fc", "", 64, 20), ("embed", many, 32, 32)]), title="50%"
    )
    (ax,) = figure.axes
    removed, left = ax.containers
    assert [bar.get_width() for bar in removed] == [16, 64, 32] and removed[0].get_hatch()
    assert [bar.get_width() for bar in left] == [8, 20, 32] and not left[0].get_hatch()
    assert texts(ax) == [" 16 to 8", " 64 to 20", " 32 to 32"]
    names = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]
    assert names == ["conv + block.conv2", "fc", "embed + layers.0.fc2 + layers.1.fc2 + 10 more"]
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(a.y0 >= b.y1 for a, b in itertools.pairwise(boxes)) and boxes[-1].x0 >= 0
    with pytest.raises(ValueError, match="no group"):
        plots.channel_plan(Plan([]))


def test_lines_are_fractions_against_whole_numbers_on_the_axes_asked_for():
    (ax,) = plots.lines({"MACs": {0: 1.0, 50: 0.25}}, "channels removed (%)", "left (%)").axes
    assert curve(ax, "MACs") == ([0, 50], [1.0, 0.25])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("channels removed (%)", "left (%)")


def test_speedups_are_drawn_with_the_baseline_and_the_limit():
    (ax,) = plots.speedups({"Numba": {0.5: 0.7, 0.9: 3.0}}, "torch.mm", title="90%").axes
    assert curve(ax, "Numba") == ([0.5, 0.9], [0.7, 3.0]) and ax.get_yscale() == "log"
    x, y = curve(ax, "limit: 1 / (1 - sparsity)")
    assert (x[0], y[0]) == (0, 1) and (x[-1], y[-1]) == pytest.approx((0.9, 10))
    assert set(curve(ax, "torch.mm")[1]) == {1}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "30", "50", "70", "80", "90"]
    for bad in ({}, {"a": {}}, {"a": {90: 2.0}}, {"a": {0.9: 0.0}}, {"a": {0.9: float("nan")}}):
        with pytest.raises(ValueError, match="expected sparsities"):
            plots.speedups(bad, "torch.mm")


def test_time_bars_are_in_the_order_given_each_with_its_number():
    (ax,) = plots.time_bars({"Python loop": 40000.0, "Numba": 1.5}).axes
    assert [bar.get_width() for bar in ax.patches] == [40000.0, 1.5] and ax.get_xscale() == "log"
    assert texts(ax) == ["40,000 ms", "1.5 ms"] and ax.yaxis_inverted()
    for bad in ({}, {"a": 0.0}, {"a": float("inf")}):
        with pytest.raises(ValueError, match="a time above 0"):
            plots.time_bars(bad)


def test_register_blocking_keeps_more_in_registers_from_panel_to_panel():
    figure = plots.register_blocking()
    assert [ax.get_title() for ax in figure.axes] == [
        "one nonzero at a time",
        "four nonzeros at a time",
        "a panel of X, sums kept",
    ]
    registers = [int((ax.collections[0].get_array() == 2).sum()) for ax in figure.axes]
    assert registers == [9, 24, 17]
    assert legend(figure) == ["L2 cache or memory", "L1 cache", "registers", "nonzero weight"]


def test_degradation_falls_to_the_right_with_its_marks():
    (ax,) = FIGURES["degradation"]().axes
    assert curve(ax, "bits") == ([4000, 1000, 400], [0.98, 0.97, 0.3])
    assert ax.get_xscale() == "log" and ax.xaxis_inverted() and texts(ax) == ["knee"]
    for bad in ({"a": []}, {"a": [types.SimpleNamespace(cost=0, score=0.5)]}, {"a": [types.SimpleNamespace(cost=1, score=2)]}):
        with pytest.raises(ValueError):
            plots.degradation(bad, "bytes")


def test_intervals_are_drawn_in_percent_in_the_order_given():
    (ax,) = FIGURES["intervals"]().axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["conv1", "fc1"] and ax.yaxis_inverted()
    lines = [list(line.get_xdata()) for line in ax.lines]
    assert [5, 20] in lines and [-1, 2] in lines and any(np.allclose(line, 5) for line in lines)
    for bad in ({}, {"a": (0.1, 0.2, 0.3)}, {"a": (NAN, 0, 1)}):
        with pytest.raises(ValueError, match="low <= mean <= high"):
            plots.intervals(bad, "layer", "lost")
