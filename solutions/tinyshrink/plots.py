"""Every figure of the course. Colours are Okabe & Ito's, for the colour-blind (https://jfly.uni-koeln.de/color/); line
styles, markers and hatches are for black and white. A function returns a Figure and leaves matplotlib's settings alone.
A notebook shows the figure as the last line of a cell; elsewhere use `display(figure)`, and in a script `save`.
"""

import io
import math
import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from torch import Tensor

from . import files

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, VERMILLION, _, _, ORANGE, SKY, BLACK = PALETTE
BARS = cycler(color=PALETTE, hatch=["", "///", "...", "xxx", "---", "ooo", "+++"])
STYLE = {
    "axes.prop_cycle": cycler(color=PALETTE * 4) + cycler(marker="osD^vPX" * 4) + cycler(ls=["-", "--", "-.", ":"] * 7),
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True},
    **{"font.size": 9.5, "axes.titlesize": "medium", "figure.dpi": 120, "grid.color": "0.9", "legend.frameon": False},
}
TICKS = np.array([0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999])
SPARSITY = "sparsity (% of weights removed)"
CELLS = 128  # a mask with more rows or columns than this is drawn in blocks


def weight_histogram(
    before: Tensor | dict, after: Tensor | dict | None = None, threshold: float | None = None, *, title: str = ""
) -> Figure:
    """Histogram, counts on a log axis, of the weights of a tensor, or of all tensors of {name: tensor} together.

    `after` is drawn over `before`. `threshold` marks the cut at -threshold and +threshold, with the fraction removed:
    the zeros of `after`, or without it |weight| <= threshold. Raises ValueError for no weights, NaN or infinity.
    """
    series = {"weights": before} if after is None else {"before": before, "after": after}
    for name, weights in series.items():
        parts = weights.values() if isinstance(weights, dict) else [weights]
        series[name] = values = torch.cat([torch.empty(0), *(t.detach().float().cpu().ravel() for t in parts)]).numpy()
        if not values.size or not np.isfinite(values).all():
            raise ValueError(f"{name!r} must hold finite weights, got {values.size} of them: {values}")
    if threshold is not None and not 0 <= (threshold := float(threshold)) < math.inf:
        raise ValueError(f"threshold must be a finite number, 0 or more, got {threshold}")
    limit = max(threshold or 0.0, *(float(np.abs(values).max()) for values in series.values())) or 1.0
    with _figure(title) as ax:
        for (name, values), look in zip(series.items(), ({"fill": True, "color": SKY}, {"color": BLACK, "lw": 1.2})):
            counts, edges = np.histogram(values, 101, (-limit, limit))  # odd: the middle bin is centred on zero
            ax.stairs(counts, edges, label=f"{name}: {np.count_nonzero(values):,} nonzero", **look)
        ax.set(yscale="log", ylim=(0.7, None), xlabel="weight", ylabel="weights per bin (log scale)")
        if threshold is not None:
            removed = np.mean(np.abs(values) <= threshold if after is None else values == 0)
            place = {"transform": ax.get_xaxis_transform(), "color": VERMILLION}  # x in weights, y in axes' heights
            ax.vlines((-threshold, threshold), 0, 1, linestyle="--", label=f"cut at ±{threshold:.3g}", **place)
            ax.text(0, 1.01, f"{removed:.1%} removed", ha="center", va="bottom", **place)
    return ax.figure


def mask_picture(mask: Tensor, target: Tensor | None = None, *, title: str = "") -> Figure:
    """Kept weights as an image: a mask (rows, columns), or (out, in, kh, kw) laid out as out x (in * kh * kw).

    With `target`, three panels: target, yours, difference. Above 128 rows or columns a cell is a block; a few errors
    are circled. Raises ValueError for other dimensions, values other than 0 and 1, or two shapes.
    """
    masks = {"mask": mask} if target is None else {"target": target, "yours": mask}
    shapes = [tuple(image.shape) for image in masks.values()]
    if mask.ndim not in (2, 4) or not mask.numel() or shapes[0] != shapes[-1]:
        raise ValueError(f"expected masks of one shape, (rows, columns) or (out, in, kh, kw), got {shapes}")
    images = torch.stack([image.detach().cpu().flatten(1).float() for image in masks.values()])
    if not ((images == 0) | (images == 1)).all():
        raise ValueError("a mask must hold 0 and 1 only (or False and True): for a weight give `weight != 0`")
    titles = [f"{name}: {int(image.sum()):,} kept ({image.mean():.1%})" for name, image in zip(masks, images)]
    size, kernel = images.shape[1:], mask[0, 0].numel()
    block = (math.ceil(size[0] / CELLS), 1 if size[1] <= CELLS else math.ceil(size[1] / CELLS / kernel) * kernel)
    blocks = torch.nn.functional.avg_pool2d(images, block, ceil_mode=True)
    full = blocks.max().item() or 1.0
    pictures = list(LinearSegmentedColormap.from_list("kept", ["white", BLUE])((blocks / full).numpy()))
    dark = "kept" if block == (1, 1) else f"{full:.0%} of a {block[0]} x {block[1]} block kept"
    legend = {BLUE: dark, "white": "removed"}
    if target is not None:
        wrong = torch.stack([images[1] > images[0], images[1] < images[0]])  # kept or removed, which it should not be
        codes = torch.nn.functional.max_pool2d(wrong * torch.tensor([[[1.0]], [[2.0]]]), block, ceil_mode=True).amax(0)
        pictures.append(ListedColormap(["white", ORANGE, BLACK])(codes.int().numpy()))
        titles.append(f"difference: {int(wrong.sum()):,} wrong")
        legend |= {ORANGE: f"wrongly kept: {int(wrong[0].sum()):,}", BLACK: f"wrongly removed: {int(wrong[1].sum()):,}"}
    xlabel = "input" if mask.ndim == 2 else f"input channel x kernel ({' x '.join(map(str, mask.shape[1:]))})"
    with _figure(title, (2.4 + 2.3 * len(pictures), 3.6), len(pictures)) as axes:
        for ax, picture, subtitle in zip(np.atleast_1d(axes), pictures, titles):
            y, x = (np.minimum(np.arange(n + 1) * b, s) - 0.5 for n, b, s in zip(picture.shape, block, size))
            ax.pcolormesh(x, y, picture, edgecolors="0.8" if x.size * y.size <= 1000 else "none", linewidth=0.4)
            ax.set(title=subtitle, xlabel=xlabel, ylabel="output" if mask.ndim == 2 else "filter", ylim=y[[-1, 0]])
            ax.locator_params(nbins=6, steps=[1, 2, 5, 10], integer=True)
            ax.label_outer()
        if target is not None and wrong.sum() <= 20 and images[0].numel() > 2000:
            ax.plot(*wrong.nonzero().T[[2, 1]], "o", color=VERMILLION, markerfacecolor="none", markersize=10)
        for color, label in legend.items():
            ax.plot([], [], "s", color=color, markeredgecolor="0.5", markersize=9, label=label)
    return ax.figure


def layer_sparsity(sparsities: dict[str, dict[str, float]], *, title: str = "") -> Figure:
    """Grouped bars of {label: {layer: sparsity}}, sparsity a fraction; a layer that a label lacks has no bar."""
    _check(sparsities, "the sparsity")
    layers = list(dict.fromkeys(layer for row in sparsities.values() for layer in row))
    width, count, crowded = 0.8 / len(sparsities), len(layers) * len(sparsities), len("".join(layers)) > 60
    with _figure(title, (min(max(6.4, 0.3 * count), 12), 4.8 if crowded else 3.8), percent=SPARSITY) as ax:
        for index, ((label, row), look) in enumerate(zip(sparsities.items(), BARS())):
            places = [layers.index(layer) + (index - (len(sparsities) - 1) / 2) * width for layer in row]
            bars = ax.bar(places, list(row.values()), width, label=label, edgecolor="white", **look)
            ax.bar_label(bars, fmt=lambda y: f"{100 * y:.1f}", padding=2, fontsize=7, rotation=90 if count > 20 else 0)
        ax.set_xticks(range(len(layers)), layers, rotation=90 if crowded else 0)
        ax.set(ylim=(0, 1.1), yticks=np.linspace(0, 1, 6), xlabel="layer", xmargin=0.02)
        ax.grid(axis="x", visible=False)
    return ax.figure


def accuracy_against_sparsity(
    curves: dict[str, dict], dense: float | None = None, budget: float | None = None, *, title: str = ""
) -> Figure:
    """Curves of {label: {sparsity: accuracy}}, both fractions, on an axis that tells 90, 95, 97, 98 and 99 % apart.

    Of a list over seeds the mean is drawn, with whiskers from lowest to highest. `dense`, the accuracy before pruning,
    is a line, and `budget`, the loss allowed, a band below it; the picture then ends ten budgets below `dense`. Raises
    ValueError for a sparsity outside 0..0.99999, an accuracy outside 0..1, or a budget without `dense`.
    """
    _check(curves, "the accuracy")
    if not 0 <= (dense or 0) <= 1 or (budget is not None and not 0 < budget < (dense or 0)):
        raise ValueError(f"dense must be a fraction, and budget above 0 and below it; got {dense} and {budget}")
    rows = {k: np.array([(s, np.mean(c[s]), np.min(c[s]), np.max(c[s])) for s in sorted(c)]) for k, c in curves.items()}
    sparsities, _, lows, highs = np.concatenate(list(rows.values())).T
    if not ((sparsities >= 0) & (sparsities <= TICKS[-1])).all():
        raise ValueError(f"every sparsity must be a fraction 0..{TICKS[-1]}, got {sparsities}")
    ticks = TICKS[TICKS.searchsorted(sparsities.min(), "right") - 1 : TICKS.searchsorted(sparsities.max()) + 1]
    top, bottom = max(highs.max(), dense or 0), max(lows.min(), dense - 10 * budget if budget else 0)
    margin = 0.04 * (top - bottom) or 0.01
    with _figure(title, percent="accuracy (%, with range of seeds)" if (lows < highs).any() else "accuracy (%)") as ax:
        ax.set_xscale("function", functions=(lambda s: -np.log10(np.maximum(1 - s, 1e-9)), lambda t: 1 - 10.0**-t))
        if dense is not None:
            ax.axhline(dense, color="0.4", linewidth=1, label=f"dense: {dense:.1%}")
        if budget is not None:
            ax.axhspan(dense - budget, dense, color="0.85", lw=0, label=f"allowed loss: {100 * budget:.3g} pp")
        for label, points in rows.items():
            x, mean, low, high = points.T
            note = f" (falls to {mean.min():.0%})" if mean.min() < bottom - margin else ""
            (line,) = ax.plot(x, mean, label=f"{label}{note}")
            ax.vlines(x, low, high, color=line.get_color(), linewidth=1)
        ax.set_xticks(ticks, [f"{100 * tick:.5g}" for tick in ticks])
        ax.set(xlim=(1 - 1.05 * (1 - ticks[0]), 1 - (1 - ticks[-1]) / 1.05), ylim=(bottom - margin, top + margin))
        ax.set_xlabel(f"{SPARSITY}, log scale of what remains")
    return ax.figure


def schedules(callables: dict[str, Callable[[int], float]], steps: int, *, title: str = "") -> Figure:
    """Sparsity against step 0..steps of the pruning schedules {label: callable(step) -> fraction}."""
    lines = {label: {step: schedule(step) for step in range(steps + 1)} for label, schedule in callables.items()}
    return _lines(lines, "step", SPARSITY, title)


def training_history(histories: dict[str, list[dict]], *, title: str = "") -> Figure:
    """Validation accuracy after each epoch of {label: history}, the histories of training.train."""
    lines = {label: {row["epoch"] + 1: row["accuracy"] for row in history} for label, history in histories.items()}
    return _lines(lines, "epochs trained", "validation accuracy (%)", title)


def energy_curve(curves: dict[str, Tensor], energy: float = 0.9, *, title: str = "") -> Figure:
    """Energy against rank 1, 2, 3, ... of {label: metrics.energy_curve(weight)}, with the rank that holds `energy`."""
    lines = {}
    for label, curve in curves.items():
        rank = int((curve < energy).sum()) + 1
        lines[f"{label}: {energy:.0%} at rank {rank}"] = dict(enumerate(curve.tolist(), start=1))
    figure = _lines(lines, "singular values kept, largest first", "energy held (%)", title)
    figure.axes[0].axhline(energy, color="0.4", linewidth=1)
    return figure


def heat_map(values: dict, ylabel: str, xlabel: str, image: Tensor | None = None, *, title: str = "") -> Figure:
    """Cells of {row: {column: fraction}}, dark = high, with the numbers in percent; `image` (height, width) beside them.

    Raises ValueError where rows differ in their columns or a value is no fraction.
    """
    _check(values, "the value")
    rows, columns = list(values), list(next(iter(values.values())))
    if any(list(row) != columns for row in values.values()):
        raise ValueError(f"every row needs the same columns, {columns}, got {[list(row) for row in values.values()]}")
    grid = np.array([list(row.values()) for row in values.values()])
    low, high = grid.min(), grid.max()
    shade = (grid - low) / ((high - low) or 1)
    with _figure(title, (3 + 0.5 * len(columns) + (2.4 if image is not None else 0), 1.7 + 0.4 * len(rows))) as ax:
        ax.imshow(shade, LinearSegmentedColormap.from_list("low to high", ["white", BLUE]), vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(grid):
            dark = "white" if shade[row, column] > 0.6 else "black"
            ax.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=dark, fontsize=8)
        ax.set(xticks=range(len(columns)), xticklabels=columns, yticks=range(len(rows)), yticklabels=rows)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.grid(visible=False)
        for color, value in (("white", low), (BLUE, high)):
            ax.plot([], [], "s", color=color, markeredgecolor="0.5", markersize=9, label=f"{100 * value:.1f}%")
        if image is not None:
            picture = ax.inset_axes([1.02, 0, 0.25, 1])
            picture.imshow(image.detach().cpu().numpy(), "gray_r")
            picture.set(xticks=[], yticks=[], xlabel="the image")
    return ax.figure


def approximations(matrices: dict[str, Tensor], *, title: str = "") -> Figure:
    """{label: matrix} as images on one scale; the first is the original, of the others the relative error is given.

    Raises ValueError for fewer than two matrices, other dimensions, or two shapes.
    """
    shapes = [tuple(matrix.shape) for matrix in matrices.values()]
    if len(shapes) < 2 or len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"expected two or more matrices of one shape, got {shapes}")
    original, *_ = images = [matrix.detach().float().cpu() for matrix in matrices.values()]
    shades = LinearSegmentedColormap.from_list("shades", [BLACK, BLUE, "white"])
    low, high = (value.item() for value in original.aminmax())
    errors = ["", *(f": error {(image - original).norm() / original.norm():.1%}" for image in images[1:])]
    with _figure(title, (0.6 + 2.7 * len(images), 3.2), len(images)) as axes:
        for ax, image, label, error in zip(axes, images, matrices, errors):
            ax.imshow(image.numpy(), shades, aspect="auto", vmin=low, vmax=high, interpolation="nearest")
            ax.set(title=f"{label}{error}", xlabel="column", ylabel="row")
            ax.grid(False)
            ax.label_outer()
        for shade, value in ((0.0, low), (0.5, (low + high) / 2), (1.0, high)):
            ax.plot([], [], "s", color=shades(shade), markeredgecolor="0.5", markersize=9, label=f"{value:.2g}")
    return ax.figure


def channel_plan(plan, *, title: str = "") -> Figure:
    """Channels before and after of each group of a structured.plan_channels, named by the layers that shrink together."""
    rows = plan.rows()
    if not rows:
        raise ValueError("there is nothing to draw: the plan has no group of channels")
    labels = []
    for layer, together, _, _ in rows:
        names = [layer, *together.split(", ")] if together else [layer]
        shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
        labels.append(textwrap.fill(" + ".join(shown), 44))
    lines, places = sum(label.count("\n") + 1.4 for label in labels), range(len(rows))
    with _figure(title, (6.4, 1.3 + 0.2 * lines)) as ax:
        ax.barh(places, [row[2] for row in rows], 0.7, color="white", edgecolor="0.4", hatch="////", label="removed")
        ax.barh(places, [row[3] for row in rows], 0.7, color=BLUE, label="left")
        for place, (_, _, before, after) in zip(places, rows):
            ax.text(before, place, f" {before} to {after}", va="center", fontsize=8)
        ax.set_yticks(places, labels, fontsize=8)
        ax.set(xlabel="channels", ylabel="layers that shrink together", xlim=(0, 1.15 * max(row[2] for row in rows)))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    return ax.figure


def byte_bars(stages: dict[str, dict[str, int]], *, title: str = "") -> Figure:
    """A bar for each {stage: {part: bytes}}, stacked of its parts, with the total and how many times less than the first."""
    totals = [sum(parts.values()) for parts in stages.values()]
    if not totals or min(totals) <= 0:
        raise ValueError(f"there is nothing to draw: expected stages with bytes in them, got {stages}")
    parts, left = list(dict.fromkeys(part for stage in stages.values() for part in stage)), np.zeros(len(stages))
    with _figure(title, (6.4, 1.5 + 0.35 * len(stages))) as ax:
        for part, look in zip(parts, BARS()):
            widths = np.array([stage.get(part, 0) for stage in stages.values()]) / 1000
            ax.barh(range(len(stages)), widths, 0.7, left, label=part, edgecolor="white", **look)
            left += widths
        for place, total in enumerate(totals):
            ax.text(total / 1000, place, f" {total / 1000:,.1f} kB, {totals[0] / total:.1f}x", va="center", fontsize=8)
        ax.set_yticks(range(len(stages)), list(stages))
        ax.set(xlabel="size of the file (kB)", xlim=(0, 1.3 * max(totals) / 1000))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    return ax.figure


def speedups(curves: dict[str, dict[float, float]], baseline: str, *, title: str = "") -> Figure:
    """How many times as fast as `baseline`, on a log axis, {label: {sparsity: speedup}} are, and the limit 1 / (1 - sparsity).

    Raises ValueError for a sparsity outside 0..0.999 or a speedup that is not above 0.
    """
    points = [point for curve in curves.values() for point in curve.items()]
    if not points or not all(0 <= sparsity <= 0.999 and 0 < speedup < math.inf for sparsity, speedup in points):
        raise ValueError(f"expected sparsities 0..0.999 with speedups above 0, got {curves}")
    last = max(sparsity for sparsity, _ in points)
    ticks = TICKS[: TICKS.searchsorted(last, "right")]
    with _figure(title) as ax:
        ax.set_xscale("function", functions=(lambda s: -np.log10(np.maximum(1 - s, 1e-9)), lambda t: 1 - 10.0**-t))
        for label, curve in curves.items():
            ax.plot(list(curve), list(curve.values()), label=label)
        limit = np.linspace(0, last, 200)
        ax.plot(limit, 1 / (1 - limit), color="0.6", marker="", ls="-", lw=1, label="limit: 1 / (1 - sparsity)")
        ax.axhline(1, color="0.3", linewidth=1.5, label=baseline)
        ax.set(yscale="log", xlabel=f"{SPARSITY}, log scale of what remains", ylabel=f"times as fast as {baseline}")
        ax.set_xticks(ticks, [f"{100 * tick:.5g}" for tick in ticks])
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}x"))
    return ax.figure


def time_bars(times: dict[str, float], ylabel: str = "kernel", *, title: str = "") -> Figure:
    """Bars of {label: milliseconds} on a log axis, in the order given, each with its number."""
    if not times or not all(0 < milliseconds < math.inf for milliseconds in times.values()):
        raise ValueError(f"expected at least one label with a time above 0, got {times}")
    with _figure(title, (6.8, 1.2 + 0.3 * len(times))) as ax:
        bars = ax.barh(list(times), list(times.values()), 0.7, color=BLUE, label="one call")
        ax.bar_label(bars, [f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms" for ms in times.values()], padding=3, fontsize=8)
        ax.set(xscale="log", xlabel="milliseconds (log scale)", ylabel=ylabel, xmargin=0.2)
        ax.grid(axis="y", visible=False)
        ax.invert_yaxis()
    return ax.figure


def register_blocking() -> Figure:
    """What lies where while a row of W is multiplied: one nonzero at a time, four, and with a panel of X."""
    rows, columns, nonzeros = 14, 16, (1, 3, 4, 8, 11, 13)
    places = {"0.93": "L2 cache or memory", BLUE: "L1 cache", ORANGE: "registers"}
    with _figure("", (9.6, 4.0), 3) as axes:
        for ax, subtitle, used, chunk, panel in zip(
            axes,
            ("one nonzero at a time", "four nonzeros at a time", "a panel of X, sums kept"),
            (nonzeros[2:3], nonzeros[:4], nonzeros[2:3]),
            (4, 4, 8),
            (0, 0, 8),
        ):
            grid = np.full((rows + 2, columns + 2), np.nan)
            grid[:rows, 2:] = 0
            grid[list(range(rows)) if panel else list(used), 2 : 2 + (panel or columns)] = 1
            grid[list(used), 2 : 2 + chunk] = 2
            grid[-1, 2:] = 0 if panel else 1
            grid[-1, 2 : 2 + chunk] = 2
            grid[:rows, 0] = 0
            grid[list(used), 0] = 2
            ax.pcolormesh(grid, cmap=ListedColormap(list(places)), vmin=0, vmax=2, edgecolors="white", linewidth=0.8)
            for row in nonzeros:
                ax.plot(0.5, row + 0.5, "o", color=BLACK, markersize=4)
            for x, y, text in ((0.5, -0.8, "row of W"), (10, -0.8, "X"), (0.6, rows + 1.5, "row of Y")):
                ax.text(x, y, text, ha="center", va="center", fontsize=8)
            ax.set(title=subtitle, xlim=(-1.6, columns + 2), ylim=(rows + 2, -1.5), xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
        for color, label in places.items():
            axes[0].plot([], [], "s", color=color, markeredgecolor="0.5", markersize=9, label=label)
        axes[0].plot([], [], "o", color=BLACK, markersize=4, label="nonzero weight")
    return axes[0].figure


def lines(curves: dict[str, dict], xlabel: str, ylabel: str, *, title: str = "") -> Figure:
    """A line for each {label: {x: fraction}}, x a whole number, on axes labelled as told; fractions are shown in percent."""
    return _lines(curves, xlabel, ylabel, title)


def adaptive_search(history: list[tuple[float, float]], smallest: float, *, title: str = "") -> Figure:
    """A search for the highest rate: rate and budget at each validation, and the budget against the rate.

    Arguments: history, (rate, accuracy) of each validation; smallest, the smallest tolerable accuracy. The budget is accuracy -
    smallest, in percentage points; a good rate is a filled circle, another one a cross. A budget far below 0 is drawn at the
    lower edge. Raises ValueError for an empty history and numbers that are not finite.
    """
    if not history or not np.isfinite([*np.ravel(history), smallest]).all():
        raise ValueError(f"expected (rate, accuracy) pairs and a smallest accuracy, all finite, got {history} and {smallest}")
    rates, accuracies = 100 * np.array(history).T
    budgets, places = accuracies - 100 * smallest, np.arange(1, len(history) + 1)
    good = budgets >= -1e-7
    bottom = min(-1.0, -4 * max(budgets.max(), 0.5))
    with _figure(title, (10.5, 3.6), 3) as axes:
        for ax, (x, xlabel), (y, ylabel) in zip(
            axes,
            ((places, "validation"), (places, "validation"), (rates, "rate (% removed)")),
            ((rates, "rate (% removed)"), (budgets, "budget (pp)"), (budgets, "budget (pp)")),
        ):
            y = y if ylabel.startswith("rate") else np.maximum(y, bottom)
            if x is places:
                ax.plot(x, y, color="0.7", marker="", ls="-", lw=1)
            ax.plot(x[good], y[good], "o", color=BLUE, label="good" if ax is axes[0] else "_")
            ax.plot(x[~good], y[~good], "X", color=VERMILLION, label="too much is lost" if ax is axes[0] else "_")
            if ylabel.startswith("budget"):
                ax.axhline(0, color="0.3", linewidth=1)
            ax.set(xlabel=xlabel, ylabel=ylabel)
    return axes[0].figure


def selection(
    table: dict[str, dict[float, float]], ratios: dict[str, float], level: float, baseline: float, *, title: str = ""
) -> Figure:
    """Columns {layer: {ratio: score}} as curves that end in `baseline`, a level, and the ratio of each layer at it."""
    _check(table, "the score")
    with _figure(title, percent="accuracy with this layer alone (%)") as ax:
        for name, column in table.items():
            points = {**dict(sorted(column.items())), 1.0: baseline}
            label = f"{name}: {ratios[name]:.2f}" if name in ratios else name
            (line,) = ax.plot([100 * ratio for ratio in points], points.values(), label=label, markersize=4)
            if name in ratios:
                ax.plot(
                    100 * ratios[name], level, line.get_marker(), color=line.get_color(), markersize=11, markeredgecolor=BLACK
                )
        ax.axhline(level, color="0.4", linewidth=1, label=f"level {level:.2%}")
        ax.set_xlabel("ratio, the cost of the layer that is kept (%)")
    return ax.figure


def degradation(curves: dict[str, list], xlabel: str, marks: dict | None = None, *, title: str = "") -> Figure:
    """Score against size, on a log axis, of {label: points with cost and score}; marks, {label: a point of it}, are circled.

    Raises ValueError for a size that is not above 0 and a score that is no fraction.
    """
    _check({label: {point.cost: point.score for point in points} for label, points in curves.items()}, "the score")
    if not all(point.cost > 0 for points in curves.values() for point in points):
        raise ValueError(f"every size must be above 0, got {curves}")
    with _figure(title, percent="accuracy (%)") as ax:
        for label, points in curves.items():
            ax.plot([point.cost for point in points], [point.score for point in points], label=label)
        for label, point in (marks or {}).items():
            ax.plot(point.cost, point.score, "o", color=BLACK, markersize=13, markerfacecolor="none")
            ax.annotate(label, (point.cost, point.score), (8, -14), textcoords="offset points", fontsize=8)
        ax.set(xscale="log", xlabel=f"{xlabel} (log scale)")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        ax.invert_xaxis()
    return ax.figure


def intervals(rows: dict, ylabel: str, xlabel: str, limit: float | None = None, *, title: str = "") -> Figure:
    """A mark with its interval for each {label: (mean, low, high)}, fractions, in percent; `limit` is a line.

    Raises ValueError for no rows and for low, mean and high that are not in this order.
    """
    if not rows or not all(-math.inf < low - 1e-9 <= mean <= high + 1e-9 < math.inf for mean, low, high in rows.values()):
        raise ValueError(f"expected (mean, low, high) with low <= mean <= high for each label, got {rows}")
    with _figure(title, (6.4, 1.5 + 0.27 * len(rows))) as ax:
        for place, (mean, low, high) in enumerate(rows.values()):
            ax.plot([100 * low, 100 * high], [place, place], color=BLUE, marker="|", ls="-", lw=2)
            ax.plot(100 * mean, place, "o", color=BLUE, label="_" if place else "mean and 95% interval")
        ax.axvline(0, color="0.3", linewidth=1)
        if limit is not None:
            ax.axvline(100 * limit, color=VERMILLION, ls="--", label=f"limit: {100 * limit:g}")
        ax.set_yticks(range(len(rows)), list(rows))
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.invert_yaxis()
    return ax.figure


def pareto(series: dict[str, list[tuple[float, float]]], budget_ms: float | None = None, *, title: str = "") -> Figure:
    """Networks {label: [(accuracy, ms)]} as points, accuracy against latency, and the front of each label as a line.

    Both axes are logarithmic, that of the accuracy in the error. `budget_ms` is a vertical line. Raises ValueError for no
    points, and for numbers that cannot be drawn.
    """
    if not series or not all(series.values()):
        raise ValueError(f"there is nothing to draw: expected at least one label with one point each, got {series}")
    if not all(0 < ms < math.inf and 0 <= accuracy <= 1 for points in series.values() for accuracy, ms in points):
        raise ValueError(f"expected (accuracy 0..1, ms above 0), got {series}")
    errors = [1 - accuracy for points in series.values() for accuracy, _ in points]
    ticks = [tick for tick in (0, 0.5, *TICKS[4:]) if 0.6 * max(min(errors), 1e-3) < 1 - tick < 1.5 * max(errors)]
    with _figure(title) as ax:
        ax.set_yscale("function", functions=(lambda a: -np.log10(np.maximum(1 - a, 1e-4)), lambda y: 1 - 10.0**-y))
        for (label, points), look in zip(series.items(), STYLE["axes.prop_cycle"]):
            front, best = [], -1.0
            for accuracy, ms in sorted(points, key=lambda point: (point[1], -point[0])):
                if accuracy > best:
                    front.append((ms, best := accuracy))
            ax.plot(*zip(*((ms, accuracy) for accuracy, ms in points)), label="_", **look | {"linestyle": "", "alpha": 0.35})
            ax.plot(*zip(*front), label=label, drawstyle="steps-post", **look)
        if budget_ms is not None:
            ax.axvline(budget_ms, color="0.4", lw=1, label=f"budget {budget_ms:.3g} ms")
        ax.set(xscale="log", xlabel="latency (ms, log scale)", ylabel="accuracy on validation (%)", yticks=ticks)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.6g}"))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: f"{x:.2g}" if f"{x:e}"[0] in "25" else ""))
    return ax.figure


def pipeline(stages: dict[str, tuple[int, float]], *, title: str = "") -> Figure:
    """Accuracy against bytes, stage by stage: {label: (bytes, accuracy)} in their order, bytes on a log axis that falls."""
    _check({label: {"": accuracy} for label, (_, accuracy) in stages.items()}, "the accuracy")
    if not all(size > 0 for size, _ in stages.values()):
        raise ValueError(f"expected bytes above 0, got {[size for size, _ in stages.values()]}")
    with _figure(title, percent="accuracy (%)") as ax:
        ax.plot(*zip(*stages.values()), color="0.7", marker="", ls="-", lw=1)
        for label, point in stages.items():
            ax.plot(*point, linestyle="", markersize=8, label=f"{label}: {point[0]:,}")
        ax.set(xscale="log", xlabel="bytes of the file (log scale, smaller to the right)")
        ax.invert_xaxis()
    return ax.figure


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as a PNG, whole or not at all, and close it."""
    with files.whole(path) as part:
        figure.savefig(part, format="png", dpi="figure", facecolor="auto")
    plt.close(figure)


class _Picture(Figure):
    """A figure that a notebook shows by itself, whatever pyplot's backend is."""

    def _repr_png_(self):
        self.savefig(buffer := io.BytesIO(), format="png", dpi="figure", facecolor="auto")
        return buffer.getvalue()


@contextmanager
def _figure(title, size=(6.4, 3.8), panels=1, percent=None):
    """The axes of a new figure, drawn on under STYLE alone; `percent` labels a y axis of fractions."""
    with plt.style.context(["default", STYLE]):
        figure = _Picture(size, layout="constrained")
        axes = figure.subplots(1, panels)
        figure.suptitle(title)
        yield axes
        if percent:
            axes.yaxis.set(label_text=percent, major_formatter=PercentFormatter(1, symbol=""))
        longest = max(len(label) for ax in figure.axes for label in ax.get_legend_handles_labels()[1])
        figure.legend(loc="outside lower center", ncols=max(1, int(size[0] / (0.07 * longest + 0.6))))
        figure.draw_without_rendering()  # the first drawing makes the ticks: it must happen under STYLE


def _lines(lines, xlabel, ylabel, title):
    """A line for each {label: {x: fraction}}, x a whole number."""
    _check(lines, "the value")
    with _figure(title, percent=ylabel) as ax:
        for label, points in lines.items():
            ax.plot(points.keys(), points.values(), label=label, markevery=math.ceil(len(points) / 20))
        ax.set_xlabel(xlabel)
        ax.locator_params(axis="x", steps=[1, 2, 5, 10], integer=True)
    return ax.figure


def _check(series, what):
    """Raise ValueError unless `series` is {label: {x: fraction or fractions}}, with a value for each label."""
    if not series or not all(len(points) for points in series.values()):
        raise ValueError(f"there is nothing to draw: expected at least one label with one value each, got {series}")
    for label, points in series.items():
        for x, value in points.items():
            if not np.size(value) or not all(0 <= one <= 1 for one in np.ravel(value)):
                raise ValueError(f"{what} of {label!r} at {x!r} must be a fraction 0..1, got {value}")
