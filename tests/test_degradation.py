"""Tests of tinyshrink.degradation: first the checks of lesson 08 in the order of its exercises, then ordinary tests."""

import copy
import json
import math
import warnings

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyshrink import checking, data, degradation, magnitude, metrics, models, packing, quantization, selection, training


def test_knee_is_farthest_above_the_line():
    Point = degradation.Point
    for costs, scores, expected in (
        ((100, 50, 25, 20), (0.9, 0.9, 0.8, 0.1), 25),
        ((100, 90, 80, 10), (0.9, 0.88, 0.75, 0.1), 90),
        ((100, 40, 10), (0.9, 0.89, 0.7), 40),
        ((8, 7, 6, 5, 4, 3, 2), (0.9, 0.9, 0.9, 0.9, 0.5, 0.3, 0.1), 5),
        ((1000, 400, 300, 10), (0.9, 0.88, 0.4, 0.1), 400),
        ((1000, 500, 200, 100), (0.8, 0.79, 0.72, 0.4), 200),  # the largest fall comes after, but is no knee of its own
        ((1000, 900, 300, 100), (0.8, 0.5, 0.45, 0.1), 300),  # and here it comes first
        ((100, 60, 50, 10), (0.5, 0.9, 0.82, 0.1), 60),  # the largest network is not the best one
    ):
        curve = [Point(0, cost, cost / costs[0], score) for cost, score in zip(costs, scores)]
        got = degradation.knee(curve)
        assert got in curve, f"return one of the points of the curve, got {got!r}"
        assert got.cost == expected, f"scores {scores} at costs {costs}: expected the point at {expected}, got {got.cost}"


def test_knee_takes_points_in_any_order():
    costs, scores = (100, 20, 25, 50), (0.9, 0.1, 0.8, 0.9)
    curve = [degradation.Point(0, cost, cost / 100, score) for cost, score in zip(costs, scores)]
    before = list(curve)
    got = degradation.knee(curve)
    assert got.cost == 25, f"costs {costs} with scores {scores}, in this order: expected the point at 25, got {got.cost}"
    assert curve == before, "the curve given to you was changed"
    flat = [degradation.Point(0, cost, cost / 100, 0.9) for cost in costs]
    got = degradation.knee(flat).cost
    assert got == 20, f"all score 0.9, so all lie on the line: expected the smallest, 20, got {got}"


def test_smallest_amount_of_a_smooth_ratio():
    for ratio_of, target, expected in (
        (lambda amount: 1 - amount / 2, 0.75, 0.5),
        (lambda amount: (1 - amount) ** 2, 0.09, 0.7),
        (lambda amount: 1 - amount**3, 0.9, 0.1 ** (1 / 3)),
    ):
        asked = []
        amount, steps = degradation.smallest_amount(lambda a, f=ratio_of, to=asked: to.append(a) or f(a), target)
        said = f"target {target}: from amount {expected:.4f} on the ratio is low enough"
        assert ratio_of(amount) <= target, f"{said}, but at your {amount} it is {ratio_of(amount):.4f}, too high"
        assert ratio_of(amount) >= target - 1e-3 or amount - expected <= 1e-4, f"{said}, your {amount} removes too much"
        assert list(steps) == asked, f"steps should be what was measured, in order and each once: {asked}, got {list(steps)}"
        assert steps[amount] == ratio_of(amount), f"steps should hold the ratio at {amount}, got {steps}"
        assert len(steps) <= 15, f"each step is a compression and costs time: 15 are enough here, you took {len(steps)}"
        amount, _ = degradation.smallest_amount(ratio_of, target, tolerance=0)
        assert expected <= amount + 1e-9 and amount - expected <= 1e-4, f"{said}: tolerance 0 wants it to 1e-4, got {amount}"
        _, steps = degradation.smallest_amount(ratio_of, target, tolerance=0.1)
        assert len(steps) <= 5, f"{said}: with a tolerance of 0.1 five steps are enough, you took {len(steps)}"
    got = degradation.smallest_amount(lambda amount: 1 - amount, 0.5, most=0.5)[0]
    assert got == 0.5, f"`most` removes exactly what is asked: expected the amount 0.5, got {got}"


def test_smallest_amount_at_a_jump():
    for jump, below in ((0.3, 0.2), (0.77, 0.05), (0.501, 0.49)):
        ratio_of = lambda amount, jump=jump, below=below: 0.8 - amount / 10 if amount < jump else below
        amount, steps = degradation.smallest_amount(ratio_of, 0.5)
        said = f"the ratio is above 0.7 below amount {jump} and {below} from there on, 0.5 is asked"
        assert jump <= amount <= jump + 1e-4, f"{said}: expected {jump}, or up to 1e-4 more, got {amount}"
        assert len(steps) <= 18, f"{said}: stop when the amount is known to 1e-4, you measured {len(steps)} times"
        flat = lambda amount, jump=jump, below=below: 1.0 if amount < jump else below
        amount, _ = degradation.smallest_amount(flat, 0.5, tolerance=0)  # a ratio that stays the same does not rise
        assert jump <= amount <= jump + 1e-4, f"ratio 1 up to {jump}, then {below}: expected {jump}, or 1e-4 more, got {amount}"
        uneven = lambda amount, ratio_of=ratio_of: ratio_of(amount) + 4e-4 * np.sin(1e5 * amount)
        amount, _ = degradation.smallest_amount(uneven, 0.5)  # a byte more or less must not stop it
        assert jump <= amount <= jump + 1e-4, f"{said}, give or take 0.0004: expected {jump}, or up to 1e-4 more, got {amount}"


def test_smallest_amount_says_what_cannot_be():
    for ratio_of, most, best in ((lambda amount: 1 - amount, 0.8, 0.2), (lambda amount: 1.0, 0.99, 1.0)):
        try:
            got = degradation.smallest_amount(ratio_of, 0.1, most)
            raise AssertionError(f"at most {most} can be removed, which leaves {best}; 0.1 was asked, got {got}")
        except selection.UnreachableTarget as error:
            assert abs(error.best - best) < 1e-9, f"the error should say the best ratio, {best}, yours says {error.best}"
    try:
        got = degradation.smallest_amount(lambda amount: 0.05 if amount > 0.9 or 0.2 < amount < 0.4 else 0.5 + amount, 0.1)
        raise AssertionError(f"the ratio rises from amount 0 to 0.5: expected a ValueError that says so, got {got}")
    except ValueError:
        pass
    try:
        got = degradation.smallest_amount(lambda amount: 0.2 if 0.4 < amount < 0.6 else max(0.5, 1 - amount), 0.6)
        raise AssertionError(f"the ratio is 0.2 at amount 0.5 and 0.5 at 0.99: expected a ValueError, got {got}")
    except ValueError:
        pass
    assert degradation.smallest_amount(lambda amount: 1 - amount, 1.0)[0] == 0, "a target of 1 asks for nothing: amount 0"


def test_bootstrap_interval_of_known_cases():
    for ones, count, confidence, expected in (
        (200, 400, 0.95, (0.451, 0.549)),
        (50, 100, 0.95, (0.402, 0.598)),
        (50, 100, 0.5, (0.466, 0.534)),
        (990, 1000, 0.99, (0.981, 0.997)),
    ):
        values = torch.cat([torch.ones(ones), torch.zeros(count - ones)])
        low, high = degradation.bootstrap_interval(values, confidence, resamples=2000)
        close = abs(low - expected[0]) < 0.011 and abs(high - expected[1]) < 0.011
        said = f"{ones} ones of {count}, confidence {confidence}: expected about {expected}, got ({low:.3f}, {high:.3f})"
        assert close, said
    low, high = degradation.bootstrap_interval(torch.tensor([0.0] * 9 + [10.0]), resamples=2000)
    assert low >= 0, f"nine 0 and a 10: no mean of examples drawn from these is below 0, your interval begins at {low:.3f}"


def test_bootstrap_interval_repeats_itself():
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    expected = torch.rand(1).item()
    torch.manual_seed(1)
    first, second = degradation.bootstrap_interval(values, seed=3), degradation.bootstrap_interval(values, seed=3)
    assert first == second, f"the same seed should give the same interval, got {first} and {second}"
    assert degradation.bootstrap_interval(values, seed=4) != first, "another seed should draw other examples"
    assert torch.rand(1).item() == expected, "the caller's random numbers were used up: draw from a generator of your own"
    low, high = degradation.bootstrap_interval(values, resamples=1)
    assert low == high, f"of one resample there is one mean, so both ends are the same: got {(low, high)}"
    low, high = degradation.bootstrap_interval(torch.full((20,), 0.25))
    assert abs(low - 0.25) < 1e-6 and abs(high - 0.25) < 1e-6, f"twenty times 0.25: expected (0.25, 0.25), got {(low, high)}"


def test_allocate_takes_the_cheapest_first():
    for curves, sizes, amount, expected in (
        ({"a": {0.5: 0.1}, "b": {0.5: 0.1}}, {"a": 100, "b": 300}, 0.4, {"a": 0.1, "b": 0.5}),
        ({"a": {0.5: 0.9}, "b": {0.5: 0.1}}, {"a": 100, "b": 100}, 0.25, {"a": 0.0, "b": 0.5}),  # the sensitive one less
        ({"a": {0.5: 0.0, 0.9: 0.4}, "b": {0.5: 0.2, 0.9: 0.3}}, {"a": 10, "b": 10}, 0.6, {"a": 0.5, "b": 0.7}),
        ({"a": {0.8: 0.0}, "b": {0.8: 0.3}}, {"a": 50, "b": 50, "c": 100}, 0.3, {"a": 0.8, "b": 0.4}),  # c is left whole
        ({"a": {0.5: 0.4, 0.9: 0.4}, "b": {0.9: 0.2}}, {"a": 100, "b": 100}, 0.2, {"a": 0.0, "b": 0.4}),  # a hump is no bargain
        ({"a": {0.9: 0.0}, "b": {0.5: 0.0}}, {"a": 100, "b": 100}, 0.3, {"a": 0.1, "b": 0.5}),  # a tie: 0.5 ends first
        # a's second piece adds 0.15 for 40 weights, less for each than b's 0.25 for 50
        ({"a": {0.4: 0.1, 0.8: 0.25}, "b": {0.5: 0.25}}, {"a": 100, "b": 100}, 0.3, {"a": 0.6, "b": 0.0}),
    ):
        got = degradation.allocate(curves, sizes, amount)
        said = f"curves {curves}, sizes {sizes}, {amount} to be removed: expected {expected}, got {got}"
        assert set(got) == set(expected) and all(abs(got[name] - expected[name]) < 1e-9 for name in expected), said


def test_allocate_removes_exactly_what_was_asked():
    curves = {"a": {0.31: 0.01, 0.77: 0.3}, "b": {0.31: 0.0, 0.77: 0.02}, "c": {0.31: 0.2, 0.77: 0.25}}
    sizes = {"a": 101, "b": 977, "c": 13}
    for amount in (0.0, 0.1, 0.33, 0.5, 0.64, 0.76):
        got = degradation.allocate(curves, sizes, amount)
        counts = [got[name] * sizes[name] for name in curves]
        whole = all(abs(count - round(count)) < 1e-6 for count in counts)
        assert whole, f"a part of a weight cannot be removed: of {sizes} you remove {counts}"
        assert round(sum(counts)) == round(amount * 1091), f"{amount} of 1091 weights is {round(amount * 1091)}, got {counts}"
        assert all(0 <= share <= 0.78 for share in got.values()), f"no layer was measured beyond 0.77, you ask {got}"


def test_allocate_says_what_cannot_be():
    try:
        got = degradation.allocate({"a": {0.5: 0.1}, "b": {0.8: 0.1}}, {"a": 100, "b": 100}, 0.9)
        raise AssertionError(f"half of a and 0.8 of b can go, 0.9 of all was asked: expected UnreachableTarget, got {got}")
    except selection.UnreachableTarget as error:
        assert abs(error.best - 0.35) < 1e-9, f"the error should say the best ratio that is kept, 0.35, it says {error.best}"


def test_validate_accepts_what_is_shown_to_be_good():
    labels = torch.arange(1000) % 10
    model, original, examples = checking.answering(labels, wrong_after=range(30))
    verdict = degradation.validate(model, original, data.Split(*examples), 0.05)
    assert isinstance(verdict, degradation.Verdict), f"return a Verdict, got {verdict!r}"
    assert abs(verdict.overall.mean - 0.03) < 1e-6, f"30 of 1000 are lost: expected a drop of 0.03, got {verdict.overall}"
    classes = {label: round(drop.mean, 4) for label, drop in verdict.classes.items()}
    assert classes == dict.fromkeys(range(10), 0.03), f"3 of each class of 100 are lost: expected 0.03 each, got {classes}"
    said = f"up to {verdict.overall.high:.4f} may be lost, 0.05 are allowed: expected exit code 0, got {verdict.exit_code}"
    assert verdict.exit_code == 0 and verdict.reasons == [], f"{said}, reasons {verdict.reasons}"


def test_validate_compares_in_pairs():
    for before, after, said in (
        (range(200), range(200), "both miss the same 200 of 1000 examples, so nothing is lost"),
        (range(30, 60), range(30), "30 of 1000 examples are lost and 30 others won, which makes 0, at most about 0.016"),
    ):
        model, original, examples = checking.answering(torch.arange(1000) % 10, before, after)
        verdict = degradation.validate(model, original, data.Split(*examples), 0.03)
        assert abs(verdict.overall.mean) < 1e-6, f"{said}: got {verdict.overall}"
        assert verdict.exit_code == 0, f"{said}, 0.03 are allowed: expected exit code 0, got {verdict!r}"


def test_validate_wants_the_whole_interval():
    model, original, examples = checking.answering(torch.arange(1000) % 10, wrong_after=range(45))
    verdict = degradation.validate(model, original, data.Split(*examples), "standard_classification")
    said = f"0.045 are lost of 0.05 allowed, but with other examples it may be {verdict.overall.high:.4f}"
    assert verdict.exit_code == 1 and verdict.reasons, f"{said}: expected exit code 1 and a reason, got {verdict!r}"
    code = degradation.validate(model, original, data.Split(*examples), "ranking_recommendation").exit_code
    assert code == 0, f"0.045 are lost, ranking_recommendation may lose 0.10: expected exit code 0, got {code}"
    code = degradation.validate(model, original, data.Split(*examples), "safety_critical").exit_code
    assert code == 1, f"0.045 are lost, safety_critical may lose 0.01: expected exit code 1, got {code}"


def test_validate_looks_at_each_class():
    for before, after, expected in (
        ((), range(3, 600, 10), [3]),  # 60 of the 100 of class 3
        (range(1, 600, 10), range(3, 600, 10), [3]),  # class 1 won as many
        ((), range(3, 90, 10), []),  # 9 of 100, which may be chance: from about 0.04 on
    ):
        model, original, examples = checking.answering(torch.arange(1000) % 10, before, after)
        verdict = degradation.validate(model, original, data.Split(*examples), 0.08)
        bad = [label for label, drop in verdict.classes.items() if drop.low > 0.08]
        assert bad == expected, f"class 3 loses {len(after)} of 100, class 1 wins {len(before)}: expected {expected}, got {bad}"
        said = f"classes shown to lose more than 0.08: {expected}, overall at most {verdict.overall.high:.4f}"
        assert verdict.exit_code == (1 if expected else 0), f"{said}: got exit code {verdict.exit_code}, {verdict.reasons}"


def test_validate_leaves_the_models_as_they_are():
    labels = 2 + 3 * (torch.arange(1000) % 2)  # classes 2 and 5, no others
    model, original, examples = checking.answering(labels, wrong_after=range(30))
    model, original = (nn.Sequential(network, nn.Dropout(0.9)) for network in (model, original))
    verdict = degradation.validate(model, original, data.Split(*examples), 0.05)
    assert model.training and original.training, "the models were in train mode, and are not any more"
    said = "in eval mode 30 of 1000 examples are lost (in train mode, with dropout, more)"
    assert abs(verdict.overall.mean - 0.03) < 1e-6, f"{said}: expected a drop of 0.03, got {verdict.overall}"
    assert sorted(verdict.classes) == [2, 5], f"the examples are of classes 2 and 5, yours are {sorted(verdict.classes)}"
    same = degradation.validate(original, original, data.Split(*examples), 0.0)
    assert same.exit_code == 0, f"nothing is lost and nothing may be: that is within it, got {same!r}"
    strict = degradation.validate(model, original, data.Split(*examples), 0.001)
    assert all(isinstance(reason, str) for reason in strict.reasons), f"reasons are strings, got {strict.reasons}"


def check_technique(answer, curves):
    assert isinstance(answer, str) and answer in curves, f"set answer_technique to one of {list(curves)}, got {answer!r}"
    smallest = {name: degradation.last_within(curve, 0.01).cost for name, curve in curves.items()}
    best = min(smallest, key=smallest.get)
    assert answer == best, f"within 1 pp {best} needs {smallest[best]:,.0f} bytes, {answer} {smallest[answer]:,.0f}"


def check_moved(answer, curve, shorter):
    assert isinstance(answer, tuple) and len(answer) == 2, f"set answer_moved to a pair of amounts, got {answer!r}"
    expected = degradation.knee(curve).amount, degradation.knee(shorter).amount
    assert answer == expected, f"the knee of all points is at {expected[0]:g}, of fewer at {expected[1]:g}: got {answer}"


def check_tiers(answer, coarse, fine):
    assert isinstance(answer, tuple) and len(answer) == 2, f"set answer_tiers to a pair of numbers, got {answer!r}"
    expected = len(coarse.tiers()), len(fine.tiers())
    assert answer == expected, f"at the amount 0.5 alone {expected[0]} tiers, over all amounts {expected[1]}: got {answer}"


def check_images(answer, verdict, count):
    assert isinstance(answer, (int, float)), f"set answer_images to a number of images, got {answer!r}"
    expected = count * ((verdict.overall.high - verdict.overall.mean) / (0.01 - verdict.overall.mean)) ** 2
    assert abs(answer / expected - 1) < 0.02, f"it narrows with the root of the count: about {expected:.0f}, got {answer}"


def check_success(dense, ours, uniform, split):
    assert isinstance(ours, nn.Module) and isinstance(uniform, nn.Module), "set ours and uniform to models"
    copies = copy.deepcopy(dense), copy.deepcopy(dense)  # only tensors count, whatever else a model may hold
    for network, model in zip(copies, (ours, uniform)):
        network.load_state_dict(model.state_dict())
    ours, uniform = copies
    zeros = [sum(int((w == 0).sum()) for w in metrics.weights(model).values()) for model in (dense, ours, uniform)]
    total = sum(w.numel() for w in metrics.weights(dense).values())
    assert zeros[1] == round(0.85 * total), f"remove exactly {round(0.85 * total):,} of {total:,} weights, yours {zeros[1]:,}"
    assert abs(zeros[2] - zeros[1]) <= 5, f"the uniform one should have as many zeros, it has {zeros[2]:,}"
    shares = [float((w == 0).float().mean()) for w in metrics.weights(uniform).values()]
    assert max(shares) - min(shares) < 0.01, f"uniform means the same share of each layer, got {shares}"
    for model in copies:
        pairs = zip(model.state_dict().items(), dense.state_dict().values())
        same = all(torch.equal(new, torch.where(new == 0, new, old)) for (_, new), old in pairs)
        assert same, "nothing may be trained here: what is not zero should be as in the dense network"
    scores = [training.evaluate(model, split) for model in (ours, uniform)]
    assert scores[0] >= scores[1] + 0.1, f"allocated {scores[0]:.2%}, uniform {scores[1]:.2%}: expected 10 pp more at least"


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def dense(digits):
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    training.train(model, digits, 6, progress=False)
    return model.eval()


@pytest.fixture(scope="module")
def evaluate(digits):
    return lambda model: training.evaluate(model, digits.validation)


@pytest.fixture(autouse=True)
def rank_one_is_known():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "even rank 1")
        yield


def state(model):
    return copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]


def unchanged(model, before):
    tensors, modes = before
    same = all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    return same and modes == [module.training for module in model.modules()]


def points(*pairs):
    return [degradation.Point(0, cost, cost / pairs[0][0], score) for cost, score in pairs]


def test_the_question_checks_know_right_from_wrong(dense, digits):
    curves = {"a": points((100, 0.9), (50, 0.9), (25, 0.8)), "b": points((100, 0.9), (40, 0.895), (25, 0.2))}
    check_technique("b", curves)
    plain = points((9, 0.9), (5, 0.89), (2, 0.6), (1, 0.1))
    amounts = [point._replace(amount=amount) for point, amount in zip(plain, (0, 0.5, 0.9, 0.95))]
    right = degradation.knee(amounts).amount, degradation.knee(amounts[:-1]).amount
    check_moved(right, amounts, amounts[:-1])
    noise = {"x": torch.tensor([0.0, 1.0] * 30), "y": torch.tensor([1.0, 0.0] * 30)}
    sure = {"x": torch.ones(60), "y": torch.zeros(60)}
    coarse, fine = (degradation.Sensitivity({"x": {0.5: 1}, "y": {0.5: 0}}, lost) for lost in (noise, sure))
    check_tiers((1, 2), coarse, fine)
    verdict = degradation.Verdict(0.05, degradation.Drop(0.004, -0.008, 0.016), {}, [])
    check_images(1440, verdict, 360)
    sizes, everywhere = degradation.layer_sizes(dense), dict.fromkeys(degradation.layer_sizes(dense), 0.15)
    uniform = selection.compress(dense, everywhere, "magnitude")
    curves = degradation.layer_sensitivity(dense, digits.validation, (0.3, 0.5, 0.7, 0.8, 0.9, 0.95))
    shares = degradation.allocate(curves, sizes, 0.85)
    ours = selection.compress(dense, {name: 1 - share for name, share in shares.items()}, "magnitude")
    check_success(dense, ours, uniform, digits.validation)
    wrongs = (
        lambda: check_technique("a", curves),
        lambda: check_technique(None, curves),
        lambda: check_moved(None, amounts, amounts),
        lambda: check_moved(right[::-1], amounts, amounts[:-1]),
        lambda: check_tiers(None, coarse, fine),
        lambda: check_tiers((2, 2), coarse, fine),
        lambda: check_images(None, verdict, 360),
        lambda: check_images(720, verdict, 360),
        lambda: check_success(dense, None, None, digits.validation),
        lambda: check_success(dense, uniform, uniform, digits.validation),
        lambda: check_success(dense, dense, uniform, digits.validation),
        lambda: check_success(dense, ours, ours, digits.validation),
    )
    for wrong in wrongs:
        with pytest.raises(AssertionError):
            wrong()


@pytest.mark.parametrize("method", degradation.METHODS)
def test_a_curve_has_the_size_and_score_of_each_network(method, dense, digits, evaluate):
    before, example = state(dense), digits.validation.x[:2]
    amounts = [0.9, 0.5]
    curve = degradation.degradation_curve(dense, evaluate, amounts, method, "bytes", example=example, progress=False)
    assert [point.amount for point in curve] == [0.0, 0.5, 0.9] and unchanged(dense, before)
    assert curve[0][2:] == (1.0, evaluate(dense)) and curve[0].cost == degradation.packed_bytes(dense)
    compress = degradation.compressor(dense, method, example)
    for point in curve:
        smaller = compress(point.amount)
        assert point.cost == degradation.packed_bytes(smaller) and point.score == evaluate(smaller)
    assert curve[2].cost < curve[1].cost < curve[0].cost


def test_amounts_mean_what_they_say(dense, digits):
    example = digits.validation.x[:2]
    removed = metrics.sparsity(degradation.compressor(dense, "magnitude")(0.75))
    assert removed == pytest.approx(0.75, abs=1e-4)
    assert degradation.compressor(dense, "channels", example)(0.5).conv1.out_channels == 4
    shapes, smaller = selection.layer_shapes(dense, example), degradation.compressor(dense, "spatial")(0.5)
    assert metrics.count_parameters(smaller.conv3) <= 0.5 * selection.layer_cost(shapes["conv3"], "memory")
    for amount, values in ((1 - 4 / 32, 16), (1 - 1 / 32, 2), (0.1, 256)):
        weight = degradation.compressor(dense, "bits")(amount).conv3.weight
        assert values / 2 < len(weight.detach().unique()) <= values
    by_function = degradation.compressor(dense, magnitude.prune)(0.5)
    assert torch.equal(by_function.fc1.weight, degradation.compressor(dense, "magnitude")(0.5).fc1.weight)
    returned = degradation.compressor(dense, lambda model, amount: nn.Linear(2, 2))(0.5)
    assert isinstance(returned, nn.Linear)


def test_a_curve_that_was_killed_goes_on(dense, digits, tmp_path):
    path, calls = tmp_path / "curve.json", []

    def score(model, split):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return training.evaluate(model, split)

    options = {"data": digits.validation, "path": path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        degradation.degradation_curve(dense, score, [0.5, 0.8, 0.9], **options)
    resumed = degradation.degradation_curve(dense, score, [0.5, 0.8, 0.9], **options)
    assert len(calls) == 5 and json.loads(path.read_text())
    assert resumed == degradation.degradation_curve(dense, score, [0.5, 0.8, 0.9], data=digits.validation, progress=False)
    with pytest.raises(ValueError, match="another model"):
        degradation.degradation_curve(models.DigitsCNN(width=8), score, [0.5], **options)


def test_bad_evaluations_give_one_clear_error(dense, digits, evaluate):
    def broken(model):
        raise KeyError("labels")

    with pytest.raises(RuntimeError, match=r"evaluate failed for magnitude 0 .*KeyError"):
        degradation.degradation_curve(dense, broken, [0.5], progress=False)
    for bad in (math.nan, math.inf, None, "good"):
        with pytest.raises(ValueError, match="finite number"):
            degradation.degradation_curve(dense, lambda model, bad=bad: bad, [0.5], progress=False)
    loss = lambda model: degradation.cross_entropy(model, digits.validation).mean().item()
    with pytest.raises(ValueError, match="higher_is_better=False"):
        degradation.degradation_curve(dense, loss, [0.95], progress=False)
    curve = degradation.degradation_curve(dense, loss, [0.95], higher_is_better=False, progress=False)
    assert curve[0].score == -loss(dense) > curve[1].score
    with pytest.raises(RuntimeError, match="the whole network: KeyError"):
        degradation.layer_sensitivity(dense, digits.validation, score=lambda model, split: broken(model))
    for bad in (0.5, torch.tensor(0.5), torch.full((len(digits.validation.y),), math.nan), torch.ones(3)):
        with pytest.raises(ValueError, match="finite number for each"):
            degradation.layer_sensitivity(dense, digits.validation, score=lambda model, split, bad=bad: bad)
    with pytest.raises(ValueError, match="higher_is_better=False"):
        degradation.layer_sensitivity(dense, digits.validation, 0.95, score=degradation.cross_entropy)
    ill = copy.deepcopy(dense)
    ill.fc2.bias.data[0] = math.nan
    with pytest.raises(ValueError, match="NaN or infinity for 360 of 360"):
        degradation.validate(ill, dense, digits.validation)
    with pytest.raises(RuntimeError, match=r"stage 0.*KeyError"):
        degradation.recover(dense, [0.5], lambda model, stage: None, broken)


def test_bad_arguments_are_named(dense, digits, evaluate):
    cases = (
        (lambda: degradation.compress_to_ratio(dense, 0.5, "prune"), "method must be one of .* got 'prune'"),
        (lambda: degradation.compress_to_ratio(dense, 0.5, cost="size"), "cost must be one of .* got 'size'"),
        (lambda: degradation.compress_to_ratio(dense, 1.5), r"up to 1, got 1\.5"),
        (lambda: degradation.compress_to_ratio(dense, 0.5, cost=lambda model: 0), "above 0, got 0"),
        (lambda: degradation.compressor(dense, "magnitude")(1.5), r"0 to 1 .*got 1\.5"),
        (lambda: degradation.compressor(dense, "spatial")(1.0), r"below 1\), got 1\.0"),
        (lambda: degradation.compressor(dense, "channels"), "need an example"),
        (lambda: degradation.layer_sensitivity(dense, digits.validation, 1.0), "between 0 and 1, got"),
        (lambda: degradation.layer_sensitivity(dense, digits.validation, ignore=["conv9"]), "did you mean 'conv"),
        (lambda: degradation.allocate({"x": {0.5: 0.1}}, {"y": 3}, 0.5), r"layers of \['y'\].*got \['x'\]"),
        (lambda: degradation.allocate({"y": {0.5: 0.1}}, {"y": 3}, 1.5), r"and 1\.5"),
        (lambda: degradation.bootstrap_interval(torch.zeros(0)), "finite values"),
        (lambda: degradation.bootstrap_interval(torch.zeros(3), 1.0), r"confidence in 0..1.*1\.0"),
        (lambda: degradation.knee(points((2, 0.5), (1, 0.1))), "three points"),
        (lambda: degradation.validate(dense, dense, digits.validation, 5), "a drop in 0..1 or a task.*got 5"),
        (lambda: degradation.validate(dense, dense, digits.validation, "medical"), "'medical_diagnosis'"),
        (lambda: degradation.recover(dense, [{"fc9": 0.5}], None, evaluate), "fc9"),
    )
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_table_of_tasks_is_the_documents():
    thresholds = {
        "safety_critical": 0.01,
        "medical_diagnosis": 0.02,
        "standard_classification": 0.05,
        "ranking_recommendation": 0.10,
        "generative_creative": 0.15,
    }
    assert {task: degradation.acceptable_drop(task) for task in thresholds} == thresholds
    with pytest.raises(ValueError, match=r"safety_critical, .*got 'saftey_critical': the nearest is 'safety_critical'"):
        degradation.acceptable_drop("saftey_critical")
    with pytest.raises(ValueError, match="got None"):
        degradation.acceptable_drop(None)


@pytest.mark.parametrize(
    ("method", "cost", "ratio"),
    [
        ("magnitude", "nonzero", 0.2),
        ("magnitude", "bytes", 0.3),
        ("channels", "nonzero", 0.3),
        ("spatial", "nonzero", 0.4),
        ("weight", "bytes", 0.5),
        ("bits", "bytes", 0.1),
        (magnitude.prune, "nonzero", 0.15),
    ],
)
def test_compress_to_ratio_reaches_what_it_says(method, cost, ratio, dense, digits):
    before = state(dense)
    result = degradation.compress_to_ratio(dense, ratio, method, cost, example=digits.validation.x[:2])
    costs = [degradation.COSTS[cost](model) for model in (result.model, dense)]
    assert result.reached == pytest.approx(costs[0] / costs[1]) and result.reached <= ratio == result.asked
    assert unchanged(dense, before) and result.steps[result.amount] == result.reached
    larger = max((r for amount, r in result.steps.items() if amount < result.amount), default=1.0)
    assert larger > ratio  # less compression is not enough
    if method in ("magnitude", magnitude.prune):
        assert ratio - result.reached <= 1e-3


def test_a_ratio_of_one_is_a_copy(dense):
    result = degradation.compress_to_ratio(dense, 1.0)
    assert result.model is not dense and unchanged(result.model, state(dense)) and result[1:] == (1.0, 1.0, 0.0, {})


def test_document_000_bisects_on_a_number_that_never_changes(dense):
    with pytest.raises(selection.UnreachableTarget, match=r"0\.25 cannot be reached, the best is 1\.0000"):
        degradation.compress_to_ratio(dense, 0.25, cost=metrics.count_parameters)
    with pytest.raises(selection.UnreachableTarget) as caught:
        degradation.compress_to_ratio(dense, 0.001)
    with pytest.warns(UserWarning, match="no weight is left"):  # of the result, not of what was only tried
        best = degradation.compress_to_ratio(dense, caught.value.best)
    assert best.amount == 0.99 and best.reached == caught.value.best


class Gated(nn.Module):
    """A network with a fragile layer planted behind its logits: logits come back through one weight each, all of one size."""

    def __init__(self, model, classes=10):
        super().__init__()
        self.body, self.gate = model, nn.Conv1d(classes, classes, 1, groups=classes, bias=False)
        nn.init.ones_(self.gate.weight)

    def forward(self, x):
        return self.gate(self.body(x).unsqueeze(2)).flatten(1)


@pytest.mark.parametrize("score", [degradation.correct, degradation.cross_entropy])
def test_a_planted_fragile_layer_comes_first(score, dense, digits):
    model = Gated(copy.deepcopy(dense)).eval()
    before = state(model)
    lower = {"higher_is_better": False} if score is degradation.cross_entropy else {}
    for amounts in (0.5, (0.3, 0.5, 0.7)):
        found = degradation.layer_sensitivity(model, digits.validation, amounts, score=score, **lower)
        assert next(iter(found)) == "gate" and found.tiers()[0] == ["gate"]
    assert unchanged(model, before)
    amounts = degradation.allocate(found, degradation.layer_sizes(model), 0.6)
    assert amounts["gate"] == 0


@pytest.mark.parametrize("method", selection.METHODS)
def test_sensitivity_is_of_one_layer_alone(method, dense, digits):
    example, split = digits.validation.x[:2], digits.validation
    found = degradation.layer_sensitivity(dense, split, (0.5, 0.8), method, example=example)
    for name, curve in found.items():
        for amount, drop in curve.items():
            alone = selection.compress(dense, {name: 1 - amount}, method, example=example, metric="memory")
            assert drop == pytest.approx(training.evaluate(dense, split) - training.evaluate(alone, split), abs=1e-6)
    means = [drop.mean for drop in found.drops().values()]
    assert means == sorted(means, reverse=True)
    assert all(drop.low - 1e-9 <= drop.mean <= drop.high + 1e-9 for drop in found.drops().values())


def test_noise_is_not_taken_for_a_ranking():
    generator = torch.Generator().manual_seed(0)
    lost = {f"layer{i}": (torch.rand(200, generator=generator) < 0.05).float() for i in range(5)}
    lost["bad"] = (torch.rand(200, generator=generator) < 0.4).float()
    found = degradation.Sensitivity({name: {0.5: values.mean().item()} for name, values in lost.items()}, lost)
    assert found.tiers()[0] == ["bad"] and len(found.tiers()) == 2
    assert found.differ("bad", "layer0") and not found.differ("layer0", "layer1")


def curve_of(drawn):
    return {(i + 1) / 10: drop for i, drop in enumerate(drawn)}


@given(st.lists(st.lists(st.integers(-3, 60), min_size=1, max_size=9), min_size=1, max_size=5), st.floats(0, 1))
@settings(deadline=None)
def test_allocation_is_the_optimum_of_linear_programming(drawn, share):
    curves = {f"layer{i}": curve_of([drop / 50 for drop in drops]) for i, drops in enumerate(drawn)}
    sizes = {name: 1000 * (i + 1) for i, name in enumerate(curves)}
    total = sum(sizes.values())
    amount = share * sum(max(curve) * sizes[name] for name, curve in curves.items()) / total * 0.999
    got, slopes, lengths, drops = degradation.allocate(curves, sizes, amount), [], [], 0.0
    for name, curve in curves.items():
        corners = np.array(degradation.convex(curve))
        slopes += list(np.diff(corners[:, 1]) / np.diff(corners[:, 0]) / sizes[name])
        lengths += list(np.diff(corners[:, 0]) * sizes[name])
        drops += np.interp(got[name], *corners.T)
        assert 0 <= got[name] <= max(curve) + 1e-9
        assert all(np.interp(a, *corners.T) <= max(drop, 0) + 1e-9 for a, drop in curve.items())
    count = round(amount * total)
    assert sum(round(got[name] * sizes[name]) for name in got) == count
    best = scipy.optimize.linprog(slopes, A_eq=[[1] * len(slopes)], b_eq=[count], bounds=[(0, length) for length in lengths])
    assert drops == pytest.approx(best.fun, abs=1e-6)


def test_an_allocation_is_pruned_exactly(dense, digits):
    curves = degradation.layer_sensitivity(dense, digits.validation, (0.3, 0.6, 0.9))
    sizes = degradation.layer_sizes(dense)
    amounts = degradation.allocate(curves, sizes, 0.8)
    smaller = selection.compress(dense, {name: 1 - amount for name, amount in amounts.items()}, "magnitude")
    zeros = {name: int((weight == 0).sum()) for name, weight in metrics.weights(smaller).items()}
    assert sum(zeros.values()) == round(0.8 * sum(sizes.values()))
    assert {f"{name}.weight": round(amount * sizes[name]) for name, amount in amounts.items()} == zeros


def test_recovery_goes_in_stages_and_zeros_stay(dense, digits, evaluate):
    before, seen = state(dense), []

    def train(model, stage):
        seen.append(stage)
        training.train(model, digits, 1, lr=0.02 / (stage + 1), progress=False)

    amounts = [0.5, dict.fromkeys(degradation.layer_sizes(dense), 0.8), 0.9]
    recovered, stages = degradation.recover(dense, amounts, train, evaluate)
    assert seen == [0, 1, 2] and unchanged(dense, before)
    assert [stage.sparsity for stage in stages] == pytest.approx([0.5, 0.8, 0.9], abs=1e-3)
    assert stages[-1].after == evaluate(recovered) and stages[-1].after > stages[-1].before
    assert metrics.sparsity(recovered) == pytest.approx(0.9, abs=1e-4)


def test_validate_leaves_both_models_and_takes_integer_ones(dense, digits):
    small, before = quantization.quantize_model(dense, digits.train.x[:64]), state(dense)
    dense.train()
    verdict = degradation.validate(small, dense, digits.validation, "generative_creative")
    assert dense.training and verdict.exit_code == 0 and "accepted" in str(verdict)
    dense.eval()
    ruined = degradation.compressor(dense, "magnitude")(0.98)
    verdict = degradation.validate(ruined, dense, digits.validation, "generative_creative")
    assert verdict.exit_code == 1 and "class" in str(verdict) and unchanged(dense, before)


def test_packed_bytes_are_those_of_the_file(dense, tmp_path):
    assert degradation.packed_bytes(dense) == packing.save(dense, tmp_path / "model.tsh")


def test_last_within_takes_no_lucky_point():
    curve = points((100, 0.9), (80, 0.9), (60, 0.85), (40, 0.9), (20, 0.3))
    assert degradation.last_within(curve, 0.01).cost == 80
    assert degradation.last_within(curve, 0.05).cost == 40
    assert degradation.last_within(curve[::-1], 0.7).cost == 20
    assert degradation.last_within(curve, 0.0).cost == 80
