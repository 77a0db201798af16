"""Tests of tinyshrink.selection: first the checks of lesson 09 in the order of its exercises, then ordinary tests."""

import copy
import errno
import json
import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from torch import nn

from tinyshrink import data, files, metrics, models, plots, selection, suffix, training

TENTHS = [i / 10 for i in range(1, 10)]


def test_total_ratio_weighs_by_cost():
    shapes = {"a": selection.LayerShape(100, 100), "b": selection.LayerShape(100, 300)}
    for ratios, expected in (({"a": 0.5}, 0.875), ({"b": 0.5}, 0.625), ({"a": 0.2, "b": 0.4}, 0.35), ({}, 1.0)):
        got = selection.total_ratio(shapes, ratios, "magnitude", "memory")
        close = math.isclose(got, expected, rel_tol=1e-9)
        assert close, f"10000 weights in a, 30000 in b, ratios {ratios} asked: {expected} of the cost is kept, got {got}"


def test_total_ratio_counts_what_ranks_really_keep():
    shapes = {
        "conv1": selection.LayerShape(1, 32, (5, 5), output=(28, 28)),
        "conv2": selection.LayerShape(32, 64, (5, 5), output=(14, 14)),
        "fc1": selection.LayerShape(3136, 1024),
        "fc2": selection.LayerShape(1024, 10),
    }
    got = selection.total_ratio(shapes, dict.fromkeys(shapes, 0.5)) * 13_883_904
    assert abs(got - 6_850_696) < 1, f"ranks 2, 53, 385 and 4 keep 6850696 of 13883904 MACs, yours {got:.1f}"
    for options, expected in ((("spatial", "memory"), 1631506 / 3273504), (("spatial", "macs", 8), 7424912 / 13883904)):
        got = selection.total_ratio(shapes, dict.fromkeys(shapes, 0.5), *options)
        assert math.isclose(got, expected, rel_tol=1e-5), f"with {options}: expected {expected:.6f}, got {got:.6f}"


def test_monotone_of_a_known_column():
    scores = [0.1, 0.12, 0.18, 0.22, 0.4, 0.8, 0.7, 0.87, 0.7, 0.92]
    expected = [0.1, 0.12, 0.18, 0.22, 0.4, 0.75, 0.75, 0.785, 0.785, 0.92]
    column = {(i + 1) / 10: score for i, score in enumerate(scores)}
    got = selection.monotone(column)
    said = f"of the scores {scores}: expected {expected}, got {list(got.values())}"
    assert list(got) == list(column) and np.allclose(list(got.values()), expected, atol=1e-9), said
    assert list(column.values()) == scores, "the column given to you was changed"


def test_monotone_pools_more_than_two():
    for scores, expected in (([3, 2, 1], [2, 2, 2]), ([1, 5, 4, 0], [1, 3, 3, 3]), ([2, 2, 3], [2, 2, 3]), ([7], [7])):
        got = selection.monotone({(i + 1) / 10: score for i, score in enumerate(scores)})
        assert np.allclose(list(got.values()), expected), f"scores {scores} become {expected}, got {list(got.values())}"
    got = selection.monotone({0.9: 1.0, 0.1: 3.0, 0.5: 0.0})
    right = list(got) == [0.1, 0.5, 0.9] and np.allclose(list(got.values()), 4 / 3)
    assert right, f"{{0.9: 1, 0.1: 3, 0.5: 0}} becomes 4/3 at 0.1, 0.5 and 0.9, in this order, got {got}"


def test_ratio_at_interpolates():
    tenths = [i / 10 for i in range(1, 10)]
    straight = dict(zip(tenths, tenths))
    bent = dict(zip(tenths, [0.19, 0.36, 0.51, 0.64, 0.75, 0.84, 0.91, 0.96, 0.99]))
    for name, column, level, expected in (
        ("A", straight, 0.5, 0.5),
        ("B", bent, 0.5, 0.29333),
        ("A", straight, 0.25, 0.25),
        ("B", bent, 0.25, 0.13529),
        ("A", straight, 0.95, 0.95),  # between the last candidate and the baseline
        ("B", bent, 0.1, 0.1),  # below all scores: the smallest candidate
        ("B", bent, 1.1, 1.0),  # above the baseline
        ("C", {0.2: 1.0, 0.6: 1.0}, 1.0, 0.2),  # at the baseline, which every candidate reaches
    ):
        got = selection.ratio_at(column, level, 1.0)
        assert abs(got - expected) < 1e-5, f"column {name} at level {level}: expected ratio {expected}, got {got}"


def test_ratio_at_of_a_noisy_column():
    column = {0.2: 0.9, 0.4: 0.5, 0.6: 0.8, 0.8: 0.7}
    for level, expected in ((0.95, 29 / 30), (0.75, 0.8 + 0.2 / 6), (0.7, 0.4 + 0.4 / 3), (0.6, 0.4 + 0.2 / 3), (0.5, 0.2)):
        got = selection.ratio_at(column, level, 1.0)
        said = f"{column}, baseline 1.0, level {level}: from ratio {expected:.4f} on no score is lower, got {got:.4f}"
        assert abs(got - expected) < 1e-6, said


def test_ratio_at_leaves_the_table_alone():
    column = {0.5: 0.8, 1.0: 0.7}  # the uncompressed model is measured once more, and worse
    for level, expected in ((0.85, 0.75), (0.75, 0.5)):
        got = selection.ratio_at(column, level, 0.9)
        assert abs(got - expected) < 1e-9, f"{column}, baseline 0.9 at ratio 1.0, level {level}: expected {expected}, got {got}"
    assert column == {0.5: 0.8, 1.0: 0.7}, f"the column given to you was changed, to {column}"
    selection.ratio_at(column := {0.5: 0.8}, 0.85, 0.9)
    assert column == {0.5: 0.8}, f"the column given to you was changed, to {column}"


def test_ratio_at_snaps_to_what_was_evaluated():
    column = {0.1: 11, 0.3: 23, 0.5: 47, 0.7: 85, 0.9: 89}
    for level, expected in ((45, 0.5), (48, 0.7), (90, 1.0), (89, 0.9), (47, 0.5), (1, 0.1)):
        got = selection.ratio_at(column, level, 100, interpolate=False)
        assert got == expected, f"{column} at level {level}, evaluated ratios only: expected {expected}, got {got}"
    noisy = {0.2: 0.9, 0.4: 0.5, 0.6: 0.8, 0.8: 0.7}
    for level, expected in ((0.75, 1.0), (0.65, 0.6), (0.4, 0.2)):
        got = selection.ratio_at(noisy, level, 1.0, interpolate=False)
        assert got == expected, f"{noisy} at level {level}: expected {expected} (every larger one counts too), got {got}"


def test_highest_level_of_a_smooth_cost():
    for cost, low, high, target, expected in (
        (lambda level: level**2, 0.0, 1.0, 0.25, 0.5),
        (lambda level: level / 200, 10, 100, 0.3, 60),
        (lambda level: 0.1 + level / 4, -2.0, 2.0, 0.05, -0.2),
    ):
        got = selection.highest_level(cost, low, high, target, tolerance=0)
        assert abs(got - expected) < 1e-6 * high, f"target {target} from {low} to {high}: expected {expected}, got {got}"
        wider = selection.highest_level(cost, low, high, target, tolerance=0.02)
        assert cost(wider) > target + 0.0199, f"with tolerance 0.02 the cost may be {target + 0.02}, yours is {cost(wider)}"


def test_highest_level_stays_below_a_jump():
    for jump, after in ((0.3, 0.9), (0.7, 0.501), (0.55, 1.0)):
        cost = lambda level, jump=jump, after=after: 0.4 if level <= jump else after
        got = selection.highest_level(cost, 0.0, 1.0, 0.5, tolerance=0)
        assert cost(got) == 0.4, f"cost 0.4 up to {jump}, {after} above: level {got} costs {cost(got)}, more than 0.5"
        assert abs(got - jump) < 1e-6, f"cost 0.4 up to {jump}, {after} above: {jump} is the highest level, got {got}"


def test_highest_level_at_the_ends():
    got = selection.highest_level(lambda level: 0.3, 0.2, 0.8, 0.5)
    assert got == 0.8, f"every level is cheap enough: expected the highest, 0.8, got {got}"
    got = selection.highest_level(lambda level: 0.5 if level == 0.2 else 0.9, 0.2, 0.8, 0.5)
    assert abs(got - 0.2) < 1e-9, f"only the lowest level, 0.2, is cheap enough, got {got}"
    try:
        got = selection.highest_level(lambda level: 0.4 + level, 0.2, 0.8, 0.5)
        raise AssertionError(f"the lowest level costs 0.6, 0.5 was asked: expected UnreachableTarget, got {got}")
    except selection.UnreachableTarget as error:
        assert abs(error.best - 0.6) < 1e-9, f"the error should say the best ratio, 0.6, yours says {error.best}"


def check_fragile(answer, table):
    assert answer is not None, "set answer_fragile to the name of a layer"
    worst = min(table, key=lambda name: sum(table[name].values()))
    drop = table.baseline - sum(table[worst].values()) / len(table[worst])
    assert answer == worst, f"{worst} loses {drop:.1%} on average over its candidates, more than {answer!r}"


def check_promise(answer, result):
    assert isinstance(answer, float), f"set answer_gap to a number of points, a float, got {answer!r}"
    gap = 100 * (result.level - result.score)
    assert abs(answer - gap) < 0.006, f"level {result.level:.4f} was promised, {result.score:.4f} measured: {gap:.2f} pp"


def check_success(dense, chosen, uniform, example, split):
    assert isinstance(chosen, dict) and isinstance(uniform, dict), "set chosen and uniform, {layer: ratio} both"
    layers = list(selection.layer_shapes(dense, example))
    assert sorted(uniform) == sorted(layers) and len({*uniform.values()}) == 1, f"uniform: one ratio for all of {layers}"
    before = metrics.count_macs(dense, example)
    networks = [selection.compress(dense, ratios, "spatial") for ratios in (chosen, uniform)]
    kept = [metrics.count_macs(model, example) / before for model in networks]
    assert max(kept) <= 0.351, f"both may keep 35% of the MACs (and 0.1 pp), yours keep {kept[0]:.2%} and {kept[1]:.2%}"
    assert kept[1] > 0.3, f"the one ratio for all should use what it may: it keeps {kept[1]:.2%} of the MACs"
    greedy, even = (training.evaluate(model, split) for model in networks)
    said = f"on validation your choice reads {greedy:.2%} right, one ratio for all {even:.2%}: expected 3 pp more at least"
    assert greedy >= even + 0.03, said


class Table(dict):
    baseline = 1.0


def test_the_question_checks_know_right_from_wrong():
    table = Table(a={0.5: 0.9, 0.7: 0.95}, b={0.5: 0.6, 0.7: 0.99})
    check_fragile("b", table)
    result = selection.Result(None, {}, 0.9, 0.5, 0.5, 1.0, 0.85)
    check_promise(5.0, result)
    for wrong in (lambda: check_fragile("a", table), lambda: check_fragile(None, table), lambda: check_promise(None, result)):
        with pytest.raises(AssertionError):
            wrong()
    with pytest.raises(AssertionError, match=r"5\.00 pp"):
        check_promise(-5.0, result)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def dense(digits):
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    training.train(model, digits, 6, progress=False)
    return model.eval()


@pytest.fixture
def few(digits):
    return data.Split(digits.validation.x[:120], digits.validation.y[:120])


@pytest.fixture(autouse=True)
def rank_one_is_known():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "even rank 1")
        yield


def test_the_success_check_rejects_what_costs_too_much(dense, digits):
    example = digits.validation.x[:1]
    fc1, all_ = {"fc1": 0.5}, dict.fromkeys(selection.layer_shapes(dense, example), 0.34)
    for wrong in ((None, None), (fc1, all_), (all_, fc1), (all_, all_), (all_, all_ | {"fc1": 0.3})):
        with pytest.raises(AssertionError):
            check_success(dense, *wrong, example, digits.validation)


def columns():
    scores = st.lists(st.integers(0, 20), min_size=1, max_size=9)
    return scores.map(lambda scores: dict(zip(TENTHS, (score / 20 for score in scores))))


@given(columns(), st.booleans())
def test_a_higher_level_never_takes_a_smaller_ratio(column, interpolate):
    ratios = [selection.ratio_at(column, level / 50, 1.0, interpolate) for level in range(-1, 53)]
    assert ratios == sorted(ratios) and ratios[0] == min(column) and ratios[-1] == 1.0


@given(columns(), st.integers(0, 20))
def test_snapping_is_aimets_rule_by_its_definition(column, level):
    level /= 20
    good = [r for r in column if all(column[other] >= level for other in column if other >= r)]
    assert selection.ratio_at(column, level, 1.0, False) == min(good, default=1.0)


@given(columns(), st.floats(0.01, 0.99))
def test_interpolation_is_the_last_crossing_of_the_curve(column, level):
    ratios = np.linspace(min(column), 1, 2001)
    curve = np.interp(ratios, [*column, 1.0], [*column.values(), 1.0])
    below = np.flatnonzero(curve < level)
    expected = ratios[below[-1]] if len(below) else min(column)
    assert abs(selection.ratio_at(column, level, 1.0) - expected) < 2e-3


@given(columns())
def test_monotone_is_scikit_learns(column):
    oracle = IsotonicRegression().fit_transform(list(column), list(column.values()))
    assert np.allclose(list(selection.monotone(column).values()), oracle)


def test_vectors_of_the_specification():
    conv = selection.LayerShape(32, 64, (5, 5), output=(28, 28))
    assert selection.layer_cost(conv, "memory") == 51200
    for ratio, rank in {1.0: 106, 0.9: 96, 0.75: 80, 0.5: 53, 0.25: 26, 0.1: 10}.items():
        assert selection.rank_for_ratio(conv, ratio) == rank
    with pytest.warns(UserWarning, match="even rank 1"):
        assert selection.rank_for_ratio(conv, 0.001) == 1
    linear = selection.LayerShape(128, 256)
    assert [selection.rank_for_ratio(linear, ratio) for ratio in (1.0, 0.75, 0.5, 0.1)] == [85, 64, 42, 8]
    assert selection.kept_ratio(conv, 0.1, multiple=8) == 0.15
    assert selection.kept_ratio(conv, 0.5, multiple=8) == 0.525


A_AND_B = {"A": dict(zip(TENTHS, TENTHS)), "B": dict(zip(TENTHS, [0.19, 0.36, 0.51, 0.64, 0.75, 0.84, 0.91, 0.96, 0.99]))}


def test_selection_of_two_layers_as_specified():
    shapes = {"A": selection.LayerShape(10, 10), "B": selection.LayerShape(10, 30)}
    got = selection.select_ratios(A_AND_B, shapes, 0.5, 1.0, tolerance=0)
    assert got.level == pytest.approx(0.68293, abs=1e-5) and got.achieved == pytest.approx(0.5, abs=1e-9)
    assert got.ratios == pytest.approx({"A": 0.68293, "B": 0.43902}, abs=1e-5)
    large = {"A": selection.LayerShape(10_000, 10_000), "B": selection.LayerShape(10_000, 30_000)}
    got = selection.select_ratios(A_AND_B, large, 0.5, 1.0, multiple=2, tolerance=0)  # ranks, so many that they hardly round
    assert got.level == pytest.approx(0.68293, abs=1e-3) and got.ratios["B"] == pytest.approx(0.43902, abs=1e-3)


@given(st.floats(0.15, 1), st.sampled_from([1, 4]), st.booleans(), st.sampled_from(["spatial", "weight", "magnitude"]))
@settings(max_examples=40)
def test_no_higher_level_is_cheap_enough(target, multiple, interpolate, scheme):
    shapes = {"A": selection.LayerShape(20, 30, (3, 3)), "B": selection.LayerShape(90, 60), "C": selection.LayerShape(5, 6)}
    counted = scheme if multiple > 1 else "magnitude"
    try:
        got = selection.select_ratios(A_AND_B, shapes, target, 1.0, scheme, "memory", interpolate, multiple)
    except selection.UnreachableTarget as error:
        smallest = selection.total_ratio(shapes, {"A": 0.1, "B": 0.1}, counted, "memory", multiple)
        assert error.best == pytest.approx(smallest) and smallest > target
        return
    assert got.achieved <= target + 1e-3 + 1e-9
    again = selection.total_ratio(shapes, got.ratios, counted, "memory")
    assert again == pytest.approx(got.achieved)  # the ratios that result need no multiple
    if got.level < 1:
        higher = {n: selection.ratio_at(c, got.level + 1e-6, 1.0, interpolate) for n, c in A_AND_B.items()}
        assert selection.total_ratio(shapes, higher, counted, "memory", multiple) > target + 1e-3


def test_bad_input_of_select_ratios():
    shapes = {"A": selection.LayerShape(10, 10), "B": selection.LayerShape(10, 30)}
    with pytest.raises(ValueError, match=r"another model.*'A', 'B'.*\['C'\]"):
        selection.select_ratios(A_AND_B, {"C": shapes["A"]}, 0.5, 1.0)
    for bad in ((1.2, 1.0), (0, 1.0), (0.5, math.nan)):
        with pytest.raises(ValueError, match="target"):
            selection.select_ratios(A_AND_B, shapes, *bad)
    with pytest.raises(ValueError, match="empty or of another"):
        selection.select_ratios({}, shapes, 0.5, 1.0)
    with pytest.raises(ValueError, match="scheme"):
        selection.select_ratios(A_AND_B, shapes, 0.5, 1.0, "channels")
    for column in ({}, {0: 1.0}, {1.5: 1.0}, {0.5: math.nan}):
        with pytest.raises(ValueError, match="expected ratios"):
            selection.ratio_at(column, 0.5, 1.0)
    for column in ({}, {0.5: math.inf}):
        with pytest.raises(ValueError, match="finite"):
            selection.monotone(column)


def test_layer_shapes_cost_what_is_counted(dense, digits):
    for model, example in (
        (dense, digits.validation.x[:2]),
        (models.Transformer(width=16, depth=1, heads=2), digits.validation.x[:3]),
        (nn.Sequential(nn.ConvTranspose2d(1, 3, 2), nn.Flatten(), nn.Linear(243, 2)), digits.validation.x[:2]),
    ):
        shapes = selection.layer_shapes(model, example)
        by_layer = metrics.macs_by_layer(model, example)
        assert {name: selection.layer_cost(shape) for name, shape in shapes.items()} == {n: by_layer[n] for n in shapes}
        memory = sum(selection.layer_cost(shape, "memory") for shape in shapes.values())
        assert memory == sum(weight.numel() for weight in metrics.weights(model).values())


@pytest.mark.parametrize("method", selection.METHODS)
def test_the_suffix_gives_identical_scores(method, dense, few):
    options = {"data": few, "example": few.x[:2], "candidates": 4}
    fast = selection.explore(dense, method, training.evaluate, **options)
    assert fast == selection.explore(dense, method, training.evaluate, fast=False, **options)
    assert fast == selection.explore(dense, method, training.evaluate, jobs=2, **options)
    assert fast.baseline == training.evaluate(dense, few) and all(list(column) == [0.25, 0.5, 0.75] for column in fast.values())
    name, ratio = next(iter(fast)), 0.25
    alone = selection.compress(dense, {name: ratio}, method, example=few.x[:2])
    assert fast[name][ratio] == training.evaluate(alone, few)


def test_no_part_of_the_network_is_computed_twice_for_the_same_images(dense, few):
    class Counted(nn.Conv2d):
        calls = 0

        def forward(self, x):
            Counted.calls += 1
            return super().forward(x)

    model = copy.deepcopy(dense)
    model.conv1.__class__ = Counted
    table = selection.explore(model, "magnitude", training.evaluate, [0.3, 0.6], data=few, ignore=["conv1"])
    few_at_once = 2 * len(table)  # the trace is compared with the network on two images, once a layer
    assert Counted.calls == few_at_once + 2, "beyond that the baseline, and once for all candidates of all layers"
    assert table == selection.explore(dense, "magnitude", training.evaluate, [0.3, 0.6], data=few, ignore=["conv1"], fast=False)


def test_processes_give_the_same_table(dense, few):
    options = {"candidates": [0.3, 0.6], "data": few}
    one = selection.explore(dense, "spatial", training.evaluate, **options)
    assert selection.explore(dense, "spatial", training.evaluate, jobs=2, backend="loky", **options) == one


def test_one_layer_at_a_time_and_the_model_stays(dense, few):
    before, seen = {name: value.clone() for name, value in dense.state_dict().items()}, []

    def evaluate(model):
        seen.append(suffix.changed(dense, model))
        model.fc2.bias.data.zero_()  # rude
        return 0.9

    selection.explore(dense, "magnitude", evaluate, [0.5], ignore=["conv1"])
    assert seen == [set(), *({f"{name}.weight"} for name in ("conv2", "conv3", "fc1", "fc2"))]
    assert all(torch.equal(before[name], value) for name, value in dense.state_dict().items())
    assert "forward" not in vars(dense)


class Residual(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        self.position = nn.Parameter(torch.randn(6, 1, 1))
        self.stem, self.body, self.head = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 4)
        self.in_place = in_place

    def forward(self, x):
        x = self.stem(x) + self.position
        y = self.body(x)
        if self.in_place:
            x.relu_()  # after the body has read it
        return self.head((y + x).mean((2, 3)))


@pytest.mark.parametrize("in_place", [False, True])
def test_the_suffix_sees_shortcuts_and_changes_in_place(in_place):
    torch.manual_seed(0)
    model, x = Residual(in_place).eval(), torch.randn(8, 1, 5, 5)

    @torch.no_grad()
    def evaluate(model):
        model.eval()
        return sum(model(part).sin().sum() for part in (*x.split(4), *x.split(4)))

    for method in ("weight", "magnitude", "channels"):
        options = {"example": x, "higher_is_better": True}
        fast = selection.explore(model, method, evaluate, 5, **options)
        assert fast == selection.explore(model, method, evaluate, 5, fast=False, **options)


def test_what_comes_before_is_computed_once(dense, few):
    calls = []
    torch.manual_seed(0)
    counted = nn.Sequential(nn.Identity(), dense).eval()
    counted[0].forward = lambda x: calls.append(len(x)) or x
    wanted = {"ignore": ["1.conv1", "1.conv2", "1.conv3", "1.fc1"], "data": few}
    selection.explore(counted, "magnitude", training.evaluate, **wanted)
    examples = sum(calls)
    calls.clear()
    selection.explore(counted, "magnitude", training.evaluate, fast=False, **wanted)
    assert sum(calls) == 10 * len(few.y) and examples < 3 * len(few.y)


def test_a_model_that_cannot_be_traced_is_run_from_its_input(few):
    class Odd(models.DigitsCNN):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    torch.manual_seed(0)
    model = Odd(width=4).eval()
    with pytest.warns(UserWarning, match="cannot be traced"):
        fast = selection.explore(model, "magnitude", training.evaluate, 3, data=few, higher_is_better=True)
    assert fast == selection.explore(model, "magnitude", training.evaluate, 3, data=few, higher_is_better=True, fast=False)


def test_training_mode_and_gradients_are_left_to_the_model(dense, few):
    def evaluate(model):
        model.train()
        torch.manual_seed(0)
        return -nn.functional.cross_entropy(model(few.x), few.y).item()

    fast = selection.explore(dense, "magnitude", evaluate, 3)
    assert fast == selection.explore(dense, "magnitude", evaluate, 3, fast=False)


def test_bad_evaluations(dense, few, tmp_path):
    def failing(model, split):
        if not torch.equal(model.conv3.weight, dense.conv3.weight):
            raise KeyError("boom")
        return 0.5

    path = tmp_path / "table.json"
    with pytest.raises(RuntimeError, match=r"conv3 at ratio 0.5: KeyError: 'boom'"):
        selection.explore(dense, "magnitude", failing, 2, data=few, path=path)
    assert [row[0] for row in json.loads(path.read_text())["scores"]] == ["", "conv1", "conv2"]
    for score in (math.nan, math.inf, None, "0.9 %"):
        with pytest.raises(ValueError, match=r"finite number, got .* the uncompressed model"):
            selection.explore(dense, "magnitude", lambda model, score=score: score, 2)

    def loss(model):
        with torch.no_grad():
            return nn.functional.cross_entropy(model(few.x), few.y)

    with pytest.raises(ValueError, match="higher_is_better=False"):
        selection.explore(dense, "spatial", loss, 4)
    table = selection.explore(dense, "spatial", loss, 4, higher_is_better=False)
    assert table.baseline == -float(loss(dense)) and max(max(c.values()) for c in table.values()) <= 0
    result = selection.greedy(dense, "spatial", loss, 0.7, few.x[:1], candidates=4, higher_is_better=False)
    assert result.score == pytest.approx(-float(loss(result.model)))


def test_bad_arguments_of_explore(dense, few):
    evaluate = lambda model: 0.5
    for bad, said in (
        ({"candidates": 1}, "candidates"),
        ({"candidates": [0.5, 1.0]}, "candidates"),
        ({"method": "svd"}, "method"),
        ({"metric": "flops"}, "metric"),
        ({"metric": "latency"}, "saves no time"),
        ({"method": "channels"}, "need an example"),
        ({"ignore": ["conv9"]}, "conv9"),
        ({"path": "x.json"}, "give the data too"),
        ({"path": "x.json", "data": object()}, "expected tensors"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            selection.explore(dense, **{"method": "magnitude", "evaluate": evaluate} | bad)
    with pytest.raises(ValueError, match="no layer inside"):
        selection.explore(nn.Linear(4, 2), "spatial", evaluate)
    with pytest.raises(ValueError, match=r"conv9"):
        selection.compress(dense, {"conv9": 0.5})


def test_a_file_goes_on_and_refuses_what_is_stale(dense, few, digits, tmp_path):
    path, calls = tmp_path / "table.json", []

    def evaluate(model, split):
        calls.append(1)
        return training.evaluate(model, split)

    first = selection.explore(dense, "magnitude", evaluate, [0.3], data=few, path=path)
    assert len(calls) == 6
    wider = selection.explore(dense, "magnitude", evaluate, [0.3, 0.6], data=few, path=path)
    assert len(calls) == 11 and all(wider[name][0.3] == first[name][0.3] for name in first)
    torch.manual_seed(1)
    other = models.DigitsCNN(width=8)
    for changed, said in (
        ({"model": other}, "another model"),
        ({"data": data.Split(few.x, few.y.flip(0))}, "another data"),
        ({"method": "spatial"}, "another method"),
        ({"model": other, "method": "spatial"}, "another model and another method"),
    ):
        options = {"model": dense, "method": "magnitude", "data": few} | changed
        with pytest.raises(ValueError, match=said):
            selection.explore(evaluate=evaluate, candidates=[0.3], path=path, **options)
    path.write_text("{")
    with pytest.raises(ValueError, match="holds no scores"):
        selection.explore(dense, "magnitude", evaluate, [0.3], data=few, path=path)


def test_a_full_disk_loses_nothing(dense, few, tmp_path, monkeypatch):
    path, whole, left = tmp_path / "table.json", files.whole, [4]

    def filling(target):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        return whole(target)

    monkeypatch.setattr(files, "whole", filling)
    with pytest.raises(OSError, match=r"No space left.*conv3.* at 0.5; the 4 scores before it are safe") as caught:
        selection.explore(dense, "magnitude", training.evaluate, [0.25, 0.5], ignore=["conv1"], data=few, path=path)
    assert caught.value.errno == errno.ENOSPC
    left[0] = 100
    calls = []

    def evaluate(model, split):
        calls.append(1)
        return training.evaluate(model, split)

    evaluate.__qualname__ = training.evaluate.__qualname__
    selection.explore(dense, "magnitude", evaluate, [0.25, 0.5], ignore=["conv1"], data=few, path=path)
    assert len(calls) == 5 and os.listdir(tmp_path) == ["table.json"]


KILLED = """
import os, random, signal, sys, time, torch
from pathlib import Path
from tinyshrink import models, selection

torch.set_num_threads(1)
torch.manual_seed(0)
model, x, folder = models.DigitsCNN(width=2).eval(), torch.randn(4, 1, 8, 8), Path(sys.argv[1])

def run(name):
    def evaluate(model, x):
        time.sleep(0.01)
        with torch.no_grad():
            score = model(x).sin().sum().item()
        with open(folder / f"{name}.log", "a") as log:
            log.write("one ")
        return score

    table = selection.explore(model, "magnitude", evaluate, 21, data=x, path=folder / name, higher_is_better=True)
    return len((folder / f"{name}.log").read_text().split()), table

draw, kills = random.Random(0), 0
while kills < 20:
    child = os.fork()
    if not child:
        run("killed")
        os._exit(0)
    time.sleep(draw.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        break
    kills += 1
computed, resumed = run("killed")
once, undisturbed = run("undisturbed")
print(kills, computed, once, resumed == undisturbed)
"""


@pytest.mark.linux
def test_killed_twenty_times_and_resumed(tmp_path):
    run = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, check=True)
    kills, computed, once, same = run.stdout.split()
    assert same == "True" and int(once) == 101  # 5 layers, 20 candidates, and the baseline
    assert int(kills) > 10 and 101 <= int(computed) <= 101 + int(kills)  # only the running one is computed again


@pytest.mark.parametrize(
    ("method", "metric"), [("spatial", "macs"), ("weight", "memory"), ("channels", "macs"), ("magnitude", "macs")]
)
def test_greedy_reports_what_was_asked_and_measured(method, metric, dense, few):
    options = {"metric": metric, "example": few.x[:1]}
    result = selection.greedy(dense, method, training.evaluate, 0.5, data=few, candidates=5, fit=True, **options)
    assert result.achieved <= 0.502 and result.score == training.evaluate(result.model, few)
    nonzero = method == "magnitude"
    again = selection.measured_ratio(dense, result.model, few.x[:1], metric, nonzero)
    assert again == result.achieved and f"achieved {again:.4f}" in str(result)
    if method == "spatial":
        shapes = selection.layer_shapes(dense, few.x[:1])
        assert again == pytest.approx(selection.total_ratio(shapes, result.ratios))
        macs = metrics.count_macs(result.model, few.x[:1]) / metrics.count_macs(dense, few.x[:1])
        assert again == pytest.approx(macs)


def test_greedy_meets_a_measured_latency(dense, few, monkeypatch):
    macs = lambda model: metrics.count_macs(model, few.x[:1])
    network = lambda f: next(c.cell_contents for c in f.__closure__ if isinstance(c.cell_contents, nn.Module))
    fake = lambda slow, fast, **_: macs(network(slow)) / (0.2 * macs(dense) + 0.8 * macs(network(fast)))
    monkeypatch.setattr(metrics, "paired_speedup", fake)
    options = {"metric": "latency", "candidates": 5, "data": few}
    result = selection.greedy(dense, "spatial", training.evaluate, 0.6, few.x[:1], **options)
    assert 0.45 < result.achieved <= 0.601
    with pytest.raises(selection.UnreachableTarget, match=r"best is 0\.[2-4]"):
        selection.greedy(dense, "spatial", training.evaluate, 0.1, few.x[:1], **options)


def test_greedy_finds_the_planted_fragile_layer(dense, few):
    table = selection.Table({name: dict(zip(TENTHS, TENTHS)) for name in ("conv2", "conv3", "fc1")}, 1.0)
    table["conv3"] = {ratio: ratio / 100 for ratio in TENTHS}
    got = selection.select_ratios(table, selection.layer_shapes(dense, few.x[:1]), 0.5, 1.0)
    assert got.ratios["conv3"] > 0.9 and got.ratios["conv2"] < 0.6


def test_plot_of_a_selection():
    figure = plots.selection(A_AND_B, {"A": 0.68, "B": 0.44}, 0.68, 1.0, title="two layers")
    assert len(figure.axes[0].lines) >= 3
    with pytest.raises(ValueError, match="must be a fraction"):
        plots.selection({"A": {0.5: 3.0}}, {"A": 0.5}, 0.5, 1.0)
