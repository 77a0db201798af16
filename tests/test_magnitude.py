"""Tests of tinyshrink.magnitude: first the checks of lesson 02 in the order of its exercises, then ordinary tests."""

import copy
import gc
import math
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn
from torch.nn.utils import prune as torch_prune

from tinyshrink import data, magnitude, metrics, models, training


def test_mask_removes_exactly_the_asked_number():
    for n, sparsity in ((10, 0.25), (10, 0.3), (7, 0.5), (40, 0.9), (3, 0.0), (3, 1.0), (1, 0.4)):
        kept = int(magnitude.magnitude_mask(torch.linspace(0.1, 1, n), sparsity).sum())
        expected = n - round(sparsity * n)
        assert kept == expected, f"of {n} scores at sparsity {sparsity}, {expected} are to be kept, got {kept}"


def test_mask_keeps_the_largest_scores():
    scores = torch.tensor([[0.3, -2.0, 5.0], [1.0, 4.0, -0.1]])
    before = scores.clone()
    mask = magnitude.magnitude_mask(scores, 0.5)
    assert isinstance(mask, torch.Tensor), f"expected a tensor, got {type(mask).__name__}"
    assert mask.dtype == torch.bool, f"expected a bool tensor (True = kept), got {mask.dtype}"
    assert mask.shape == scores.shape, f"expected the shape of the scores, (2, 3), got {tuple(mask.shape)}"
    expected = [[False, False, True], [True, True, False]]  # 5, 4 and 1 are the three largest of all six
    assert mask.tolist() == expected, f"scores {before.tolist()} at 0.5: expected {expected}, got {mask.tolist()}"
    assert torch.equal(scores, before), f"the scores given to you were changed, to {scores.tolist()}"
    mask = magnitude.magnitude_mask(nn.Parameter(scores).exp(), 0.5)  # the gradient is nobody's business here
    assert mask.tolist() == expected, f"scores with a gradient should give the same mask, {expected}, got {mask.tolist()}"


def test_mask_breaks_ties_by_position():
    for scores, sparsity, expected in (
        ([3.0, 1.0, 2.0, 1.0], 0.25, [True, False, True, True]),
        ([1.0, 1.0, 1.0, 1.0], 0.5, [False, False, True, True]),
        ([0.0, 2.0, 0.0, 2.0, 2.0, 0.0], 2 / 3, [False, False, False, True, True, False]),
        ([[7.0, 7.0], [7.0, 7.0]], 0.75, [[False, False], [False, True]]),
    ):
        mask = magnitude.magnitude_mask(torch.tensor(scores), sparsity).tolist()
        assert mask == expected, f"scores {scores} at {sparsity:.2f}: the earliest go first, {expected}, got {mask}"


def test_global_masks_rank_all_layers_together():
    scores = {"small": torch.tensor([[0.1, 0.4], [0.2, 0.3]]), "large": torch.tensor([5, 0.25, 7, 6, 8, 9])}
    masks = magnitude.global_masks(scores, 0.4)
    assert sorted(masks) == ["large", "small"], f"expected a mask for each of small and large, got {sorted(masks)}"
    for name, expected in (
        ("small", [[False, True], [False, False]]),  # 0.1, 0.2, 0.25 and 0.3 are the four smallest of all ten
        ("large", [True, False, True, True, True, True]),
    ):
        got = masks[name].tolist()
        assert masks[name].dtype == torch.bool, f"expected bool masks, got {masks[name].dtype} for {name}"
        assert got == expected, f"mask of {name}: expected {expected}, got {got}"


def test_global_masks_count_is_exact_over_the_total():
    scores = {"b": torch.ones(5), "c": torch.ones(1, 3), "a": torch.ones(3, 3)}
    for sparsity in (0, 0.1, 0.25, 0.5, 0.8, 1):
        masks = magnitude.global_masks(scores, sparsity)
        got = [kept for name in scores for kept in masks[name].flatten().tolist()]
        removed = round(sparsity * 17)
        expected = [False] * removed + [True] * (17 - removed)
        assert got.count(False) == removed, f"17 equal scores at {sparsity}: remove {removed}, got {got.count(False)}"
        assert got == expected, f"equal scores go in the order of the dict (b, c, a) and position: got {got}"


def test_apply_masks_zeroes_in_place():
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 2)))
    parameters = dict(model.named_parameters())
    masks = {
        "0.weight": torch.tensor([[True, False, True], [False, True, True]]),
        "1.0.weight": torch.tensor([[False, False], [True, True]]),
    }
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    expected |= {name: torch.where(mask, expected[name], 0) for name, mask in masks.items()}
    for time in ("the first", "the second"):  # an optimizer's steps call it again and again
        magnitude.apply_masks(model, masks)
        assert list(model.state_dict()) == list(expected), f"the model now holds {list(model.state_dict())}"
        for name, value in model.named_parameters():
            assert value is parameters[name], f"{name} is another object now: an optimizer would lose it"
            assert value.requires_grad and value.is_leaf, f"{name} can no longer be trained"
            assert torch.equal(value, expected[name]), f"{name}: {expected[name]} after {time} call, got {value.data}"


def test_apply_masks_refuses_an_unknown_name():
    for names in (["weigth"], ["0.weight"], ["weight", "masks"]):
        error = None
        try:
            magnitude.apply_masks(nn.Linear(2, 2), {name: torch.ones(2, 2, dtype=torch.bool) for name in names})
        except Exception as raised:
            error = raised
        assert isinstance(error, KeyError), f"a model without {names[-1]!r} should raise a KeyError, it gave {error!r}"


def test_apply_masks_refuses_what_does_not_fit():
    for bad in ({"2.weight": torch.zeros(3, 3).bool()}, {"1.weight": torch.zeros(1, 3).bool()}):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        before, error = model[0].weight.detach().clone(), None
        try:
            magnitude.apply_masks(model, {"0.weight": torch.zeros(3, 3).bool()} | bad)
        except Exception as raised:
            error = raised
        (name, mask), said = *bad.items(), "0.weight and 1.weight are 3 x 3"
        assert error is not None, f"{said}: a {tuple(mask.shape)} mask of {name} fits nothing and should raise an error"
        assert torch.equal(model[0].weight, before), f"the mask of {name} does not fit: nothing at all may be changed then"
    model[1].weight = model[0].weight
    magnitude.apply_masks(model, {"1.weight": torch.zeros(3, 3).bool()})
    assert not model[0].weight.any(), "0.weight and 1.weight are one parameter here, which both names should find"


def test_polynomial_is_cubic_as_published():
    published = (0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9)
    for step, expected in enumerate(published):
        got = magnitude.polynomial(0, 0.9, step / 10)
        assert abs(got - expected) < 1e-9, f"from 0 to 0.9 at progress {step / 10}: expected {expected}, got {got}"


def test_polynomial_of_any_power():
    for start, end, progress, power, expected in (
        (0.2, 0.8, 0.5, 1, 0.5),
        (0.2, 0.8, 0.5, 2, 0.65),
        (0.1, 0.9, 0.25, 4, 0.646875),
        (0, 0.5, 0.75, 0.5, 0.25),
        (0.3, 0.9, 0, 3, 0.3),
        (0.3, 0.9, 1, 3, 0.9),
    ):
        got = magnitude.polynomial(start, end, progress, power)
        case = f"from {start} to {end} at progress {progress} with power {power}"
        assert abs(got - expected) < 1e-9, f"{case}: expected {expected}, got {got}"


def test_exponential_keeps_a_constant_fraction():
    levels = [magnitude.exponential(0.1, 0.7, step / 4) for step in range(5)]
    for step, (got, expected) in enumerate(zip(levels, (0.1, 0.3161479, 0.4803848, 0.6051778, 0.7))):
        assert abs(got - expected) < 1e-6, f"from 0.1 to 0.7 at progress {step / 4}: expected {expected}, got {got}"
    for step in range(4):
        kept = (1 - levels[step + 1]) / (1 - levels[step])
        assert abs(kept - (1 / 3) ** (1 / 4)) < 1e-9, f"each step should keep 0.7598357 of what is left, got {kept}"


def test_exponential_halves_what_is_left():
    for start, end, progress, expected in (
        (0, 0.75, 0.5, 0.5),
        (0, 0.875, 1 / 3, 0.5),
        (0.36, 0.84, 0.5, 0.68),
        (0.2, 0.9, 0, 0.2),
        (0.2, 0.9, 1, 0.9),
    ):
        got = magnitude.exponential(start, end, progress)
        assert abs(got - expected) < 1e-9, f"from {start} to {end} at {progress:.2f}: expected {expected}, got {got}"


def test_prune_ranks_globally_or_by_layer():
    for scope, expected in (
        ("global", [[[0, 0], [0, -9]], [[0, -6], [7, -8]]]),
        ("layer", [[[0, 0], [3, -9]], [[0, 0], [7, -8]]]),
    ):
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        model[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, -9.0]])
        model[2].weight.data = torch.tensor([[5.0, -6.0], [7.0, -8.0]])
        masks = magnitude.prune(model, 0.5, scope)
        for _ in range(2):  # a second time at the same sparsity there is nothing left to do
            got = [model[0].weight.tolist(), model[2].weight.tolist()]
            assert got == expected, f"scope {scope!r} should leave the weights {expected}, got {got}"
            magnitude.prune(model, 0.5, scope)
        assert isinstance(masks, magnitude.Masks), f"expected Masks, got {type(masks).__name__}"
        for name in ("0.weight", "2.weight"):
            left = model.get_parameter(name) != 0
            assert torch.equal(masks[name], left), f"mask of {name}: expected {left.tolist()}, got {masks[name].tolist()}"


def test_prune_leaves_the_rest_of_the_model_alone():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5), nn.Linear(5, 3))
    nn.init.constant_(model[4].weight, 9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    masks = magnitude.prune(model, 0.5, ignore=("4",))
    assert sorted(masks) == ["0.weight", "3.weight"], f"all Linear and conv weights but 4's, got {sorted(masks)}"
    zeros = sum(int((parameter == 0).sum()) for parameter in (model[0].weight, model[3].weight))
    assert zeros == 46, f"half of the 92 weights of the conv and the first Linear should be 0, got {zeros}"
    assert all(a is b for a, b in zip(parameters, model.parameters())), "the parameters must stay the same objects"
    assert list(model.state_dict()) == list(before), f"the model now holds {list(model.state_dict())}"
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["0.weight", "3.weight"], f"only the masked weights may change, these did: {changed}"


def test_prune_asks_the_criterion():
    model = nn.Linear(4, 1)
    for scope in ("global", "layer"):
        for criterion, expected in (
            ("magnitude", [0, 0, 3, -4]),
            ("taylor", [1, 0, 3, 0]),
            (lambda weight: -weight.detach().abs(), [1, -2, 0, 0]),
        ):
            model.weight.data = torch.tensor([[1.0, -2.0, 3.0, -4.0]])
            model.weight.grad = torch.tensor([[5.0, 1.0, 1.0, 0.1]])
            magnitude.prune(model, 0.5, scope, criterion)
            got, name = model.weight.tolist()[0], criterion if isinstance(criterion, str) else "-abs(weight)"
            assert got == expected, f"1 -2 3 -4, gradients 5 1 1 0.1, {scope}, by {name}: expected {expected}, got {got}"


def test_iterative_prune_trains_after_every_step():
    model = nn.Linear(10, 10)
    nn.init.ones_(model.weight)
    zeros = []
    masks = magnitude.iterative_prune(model, 0.9, 3, lambda m: zeros.append(int((m.weight == 0).sum())), kind="linear")
    assert zeros == [30, 60, 90], f"train should be called at 30, 60 and 90 zeros of 100, it was at {zeros}"
    assert isinstance(masks, magnitude.Masks), f"expected the last Masks, got {type(masks).__name__}"
    assert int(masks["weight"].sum()) == 10, f"the last masks keep 10 weights, got {int(masks['weight'].sum())}"


def test_iterative_prune_follows_its_schedule():
    model, zeros = nn.Linear(10, 10), []
    for options, expected in (({}, [46, 70, 79, 80]), ({"kind": "exponential"}, [33, 55, 70, 80])):
        nn.init.ones_(model.weight)
        zeros.clear()
        magnitude.iterative_prune(model, 0.8, 4, lambda m: zeros.append(int((m.weight == 0).sum())), **options)
        assert zeros == expected, f"{options or 'the cubic schedule'}: expected {expected} zeros of 100, got {zeros}"


def test_iterative_prune_holds_the_masks_while_training():
    model = nn.Linear(10, 10)
    model.weight.data = torch.linspace(-1, 1.2, 100).view(10, 10)

    def train(trained):
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        removed = trained.weight == 0
        for _ in range(3):
            trained(torch.arange(20.0).view(2, 10)).sigmoid().sum().backward()
            optimizer.step()
            moved = int(trained.weight[removed].count_nonzero())
            assert moved == 0, f"{moved} removed weights moved while training: hold the masks"

    masks = magnitude.iterative_prune(model, 0.8, 2, train)
    assert torch.equal(model.weight != 0, masks["weight"]), "the weights left at the end are not those of the masks"


def test_iterative_prune_passes_its_options_on():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    for layer, first in zip(model, (1.0, 100.0, 10.0)):
        layer.weight.data = torch.arange(first, first + 16).view(4, 4)
    magnitude.iterative_prune(
        model, 0.5, 2, lambda m: None, scope="layer", criterion=lambda w: (w != 0) / (w + 1), ignore=("2",)
    )
    for layer, expected in zip(model, (list(range(1, 9)), list(range(100, 108)), list(range(10, 26)))):
        got = [int(value) for value in layer.weight.flatten() if value != 0]
        assert got == expected, f"scope, criterion and ignore given: {expected} should be left of a layer, got {got}"


def test_nm_mask_keeps_n_of_every_m():
    scores = torch.tensor([[1.0, 4, 3, 2, 8, 5, 6, 7], [9, 8, -7, 6, -0.1, -0.3, -0.2, -0.4]])
    for n, m, expected in (
        (2, 4, ["01101001", "11001010"]),  # 1 = kept
        (1, 4, ["01001000", "10001000"]),
        (1, 2, ["01101001", "10011010"]),
        (5, 8, ["01001111", "11011010"]),
        (0, 4, ["00000000", "00000000"]),
        (4, 4, ["11111111", "11111111"]),
    ):
        mask = magnitude.nm_mask(scores, n, m)
        assert mask.dtype == torch.bool and mask.shape == (2, 8), f"expected bool (2, 8), got {mask.dtype} {mask.shape}"
        got = ["".join("01"[kept] for kept in row) for row in mask.tolist()]
        assert got == expected, f"{n}:{m} of {scores.tolist()}: expected {expected} (1 = kept), got {got}"


def test_nm_mask_breaks_ties_by_position():
    for row, n, expected in (
        ([0.0, 0.0, 0.0, 0.0], 2, [False, False, True, True]),
        ([1.0, 1.0, 1.0, 1.0], 3, [False, True, True, True]),
        ([2.0, 1.0, 2.0, 2.0], 2, [False, False, True, True]),
        ([1.0, 2.0, 1.0, 1.0], 2, [False, True, False, True]),
    ):
        got = magnitude.nm_mask(torch.tensor([row, row]), n, 4).tolist()
        assert got == [expected] * 2, f"{n}:4 of {row}: the earliest go first, {expected}, got {got[0]}"


def test_taylor_scores_are_weight_times_gradient():
    weight = nn.Parameter(torch.tensor([[2.0, -3.0], [4.0, -0.5]]))
    weight.grad = torch.tensor([[0.5, 0.0], [-2.0, -4.0]])
    scores = magnitude.taylor_scores(weight)
    expected = [[1.0, 0.0], [8.0, 2.0]]
    assert scores.tolist() == expected, f"expected {expected}, got {scores.tolist()}"
    assert not scores.requires_grad, "scores are plain numbers: detach the weight"
    assert weight.grad is not None and weight.grad.tolist() == [[0.5, 0.0], [-2.0, -4.0]], "the gradient was changed"
    assert weight.tolist() == [[2.0, -3.0], [4.0, -0.5]], f"the weight was changed, to {weight.tolist()}"


def test_lottery_ticket_prunes_by_the_trained_weights():
    model, trained = nn.Linear(4, 1), torch.tensor([[3.0, -3.5, -0.5, 0.4]])
    model.weight.data = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    init = {"weight": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "bias": torch.tensor([0.5])}
    masks = magnitude.lottery_ticket(model, init, 0.5, 1, lambda m: m.weight.data.copy_(trained))
    got = [*model.weight.tolist()[0], model.bias.item()]
    assert got == [1, 2, 0, 0, 0.5], (
        f"1 2 3 4 in init, {trained.tolist()[0]} when trained: the ticket should be 1 2 0 0 with bias 0.5, got {got}"
    )
    assert masks["weight"].tolist() == [[True, True, False, False]], f"got the masks {masks['weight'].tolist()}"


def test_lottery_ticket_rewinds_each_round_to_init():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
    init = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.arange(24.0).view(4, 6).cos()

    def expect_init(when):
        for name, value in model.state_dict().items():
            left = (value != 0) | (name != "0.weight")
            assert torch.equal(value[left], init[name][left]), f"{when}, {name} should hold its values in init"

    def train(trained):
        expect_init("before a training")
        (trained(x) * x).sum().backward()
        torch.optim.SGD(trained.parameters(), lr=0.1).step()

    magnitude.lottery_ticket(model, init, 0.5, 2, train)
    expect_init("in the end")


def test_lottery_ticket_removes_the_same_fraction_each_round():
    model = nn.Linear(8, 8)
    nn.init.ones_(model.weight)
    init = {name: value.clone() for name, value in model.state_dict().items()}
    left = []

    def train(trained):
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
        left.append(int(trained.weight.count_nonzero()))
        trained.weight.grad = torch.ones(8, 8)
        optimizer.step()
        now = int(trained.weight.count_nonzero())
        assert now == left[-1], f"a training began with {left[-1]} weights and went on with {now}: hold the masks"

    masks = magnitude.lottery_ticket(model, init, 0.875, 3, train)
    assert left == [64, 32, 16], f"three rounds to 87.5% start with 64, 32 and 16 weights, got {left}"
    ticket = int(model.weight.count_nonzero())
    assert ticket == int(masks["weight"].sum()) == 8, f"the ticket should have 8 weights, got {ticket}"


def check_knee(answer, curve):
    """`curve` {sparsity: accuracy} holds the dense model at 0; the answer is its highest sparsity within 1 pp of that."""
    assert 0 in curve and len(curve) >= 4, f"the curve needs sparsity 0 and three others at least, got {sorted(curve)}"
    assert all(0 <= value <= 1 for value in [*curve, *curve.values()]), f"sparsity and accuracy are fractions: {curve}"
    within = [sparsity for sparsity, accuracy in curve.items() if accuracy >= curve[0] - 0.01 - 1e-9]
    assert answer in curve, f"the answer is a sparsity of your curve, one of {sorted(curve)}, got {answer!r}"
    assert answer in within, f"at sparsity {answer} you measured {curve[answer]:.2%}, over 1 pp below {curve[0]:.2%}"
    assert answer == max(within), f"a higher sparsity than {answer} on your curve is still within 1 pp of the dense model"


def check_emptied_layer(answer, masks):
    """`masks` as global pruning returned them; the answer is the name of the weight that kept the smallest fraction."""
    kept = {name: mask.float().mean().item() for name, mask in masks.items()}
    names = {name.removesuffix(".weight"): name for name in kept}  # "fc1" is as good as "fc1.weight"
    name = names.get(answer, answer)
    assert name in kept, f"the answer is the name of a layer, one of {', '.join(kept)}, got {answer!r}"
    lowest = min(kept.values())
    assert kept[name] == lowest, f"{name} kept {kept[name]:.1%} of its weights, another layer kept only {lowest:.1%}"


def check_success(dense, model, masks, dense_accuracy, pruned_accuracy):
    """90% of the model's weights are really zero, and it loses under 5 pp on the test images of digits, measured anew."""
    assert isinstance(model, models.DigitsCNN), f"expected the pruned DigitsCNN, got {type(model).__name__}"
    fresh = models.DigitsCNN()
    fresh.load_state_dict(model.state_dict())  # its values alone: a hook of the given one may put removed weights back
    model, accuracies = fresh, [dense_accuracy, pruned_accuracy]
    assert all(isinstance(value, float) for value in accuracies), f"expected two test accuracies, got {accuracies}"
    assert masks and set(masks) <= set(metrics.weights(model)), f"expected the masks of your pruning, got {masks}"
    weights, test = metrics.weights(model), data.load("digits").test
    total = sum(weight.numel() for weight in weights.values())
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    assert zeros >= round(0.9 * total), f"{zeros} of the model's {total} weights are zero: {zeros / total:.2%}, not 90%"
    moved = [name for name, mask in masks.items() if weights[name][~mask].count_nonzero()]
    assert not moved, f"removed weights of {', '.join(moved)} are not zero: were the masks held while training?"
    for name, network, said in (("dense", dense, dense_accuracy), ("pruned", model, pruned_accuracy)):
        measured = training.evaluate(network, test)
        assert abs(measured - said) < 0.003, f"the {name} network's test accuracy is {measured:.2%}, not {said:.2%}"
    assert dense_accuracy > 0.95, f"a trained DigitsCNN is over 95% right, yours {dense_accuracy:.2%}: train it longer"
    lost = 100 * (dense_accuracy - pruned_accuracy)
    assert lost < 5, f"pruning lost {lost:.2f} pp of accuracy: retrain it longer with the masks held"


FINITE = st.floats(-1e6, 1e6, width=32)
SCORES = hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=7), elements=FINITE | st.sampled_from([0.0, 1.0]))
SPARSITY = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors as small as these gain nothing from a second thread, and lose much on a busy machine."""
    with metrics.torch_threads(1):
        yield


def distinct(*shape, dtype=torch.float32, seed=0):
    """Weights of both signs whose magnitudes all differ, in a random order."""
    n = math.prod(shape)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return ((order + 1) * (1 - 2 * (order % 2))).to(dtype).view(shape) / n


def small_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def steps_of(model, optimizer, steps=5):
    """A plain hand-written training loop."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x, y = torch.randn(16, 6, generator=generator), torch.randint(3, (16,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def zeros_of(model, masks):
    return sum(int((model.get_parameter(name)[~mask] == 0).sum()) for name, mask in masks.items())


@settings(deadline=None)
@given(SCORES, SPARSITY)
def test_a_mask_is_exact_and_orderly_for_any_scores(scores, sparsity):
    mask = magnitude.magnitude_mask(torch.from_numpy(scores), sparsity).numpy()
    expected = np.ones(scores.size, dtype=bool)
    expected[scores.ravel().argsort(kind="stable")[: round(sparsity * scores.size)]] = False
    assert mask.dtype == bool and np.array_equal(mask, expected.reshape(scores.shape))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), SCORES, min_size=1), SPARSITY)
def test_global_masks_are_one_mask_of_all_scores_in_a_row(layers, sparsity):
    masks = magnitude.global_masks({name: torch.from_numpy(scores) for name, scores in layers.items()}, sparsity)
    flat = np.concatenate([scores.ravel() for scores in layers.values()])
    expected = np.ones(flat.size, dtype=bool)
    expected[flat.argsort(kind="stable")[: round(sparsity * flat.size)]] = False
    assert list(masks) == list(layers)
    assert all(masks[name].shape == scores.shape for name, scores in layers.items())
    assert np.array_equal(np.concatenate([masks[name].numpy().ravel() for name in layers]), expected)


@settings(deadline=None)
@given(SCORES, SPARSITY)
def test_masking_masked_weights_again_changes_nothing(scores, sparsity):
    weight = torch.from_numpy(scores)
    once = magnitude.magnitude_mask(weight.abs(), sparsity)
    again = magnitude.magnitude_mask((weight * once).abs(), sparsity)
    assert torch.equal(weight * once, weight * once * again)
    if weight.count_nonzero() == weight.numel():
        assert torch.equal(once, again)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_without_ties_masks_equal_those_of_torch(sparsity):
    for shape in [(17,), (8, 9), (6, 4, 3, 3), (2, 3, 2, 3, 2)]:
        layer = nn.Module()
        layer.weight = nn.Parameter(distinct(*shape))
        expected = torch_prune.l1_unstructured(layer, "weight", amount=sparsity).weight_mask.bool()
        assert torch.equal(magnitude.magnitude_mask(distinct(*shape).abs(), sparsity), expected)


@pytest.mark.filterwarnings("ignore:no weight is left")
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_without_ties_a_whole_model_is_pruned_as_by_torch(sparsity):
    torch.manual_seed(0)
    model = models.CifarCNN()
    theirs = copy.deepcopy(model)
    layers = [(module, "weight") for module in theirs.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    torch_prune.global_unstructured(layers, pruning_method=torch_prune.L1Unstructured, amount=sparsity)
    for layer, name in layers:
        torch_prune.remove(layer, name)
    masks = magnitude.prune(model, sparsity)
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(sparsity * sum(m.numel() for m in masks.values()))
    for name, value in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_are_exact_in_every_floating_dtype(dtype):
    scores = torch.randn(40, 25, generator=torch.Generator().manual_seed(0)).to(dtype)  # many ties in 16 bits
    for sparsity in (0.0, 0.123, 0.5, 0.999, 1.0):
        mask = magnitude.magnitude_mask(scores, sparsity)
        assert int((~mask).sum()) == round(sparsity * 1000)
        if 0 < sparsity < 1:
            assert scores[~mask].max() <= scores[mask].min()
    assert torch.equal(magnitude.magnitude_mask(scores, 0.5), magnitude.magnitude_mask(scores.double(), 0.5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_models_of_every_floating_dtype_are_pruned(dtype):
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(8, 4)).to(dtype)
    for scope in ("global", "layer"):
        for criterion in ("magnitude", "random"):
            masks = magnitude.prune(copy.deepcopy(model), 0.25, scope, criterion)
            assert masks.sparsity == 0.25
    assert all(value.dtype == dtype for value in model.state_dict().values())


def test_a_mask_of_a_transposed_tensor_is_the_transposed_mask():
    scores = distinct(8, 12).abs()
    assert torch.equal(magnitude.magnitude_mask(scores.t(), 0.3), magnitude.magnitude_mask(scores, 0.3).t())
    every_second = magnitude.magnitude_mask(scores[:, ::2], 0.3)
    assert torch.equal(every_second, magnitude.magnitude_mask(scores[:, ::2].contiguous(), 0.3))
    assert torch.equal(magnitude.nm_mask(scores.t(), 2, 4), magnitude.nm_mask(scores.t().contiguous(), 2, 4))
    last = scores.view(4, 2, 3, 4).to(memory_format=torch.channels_last)
    assert torch.equal(magnitude.nm_mask(last, 2, 4), magnitude.nm_mask(last.contiguous(), 2, 4))


def test_a_single_score_and_scores_that_need_a_gradient_are_masked_too():
    assert magnitude.magnitude_mask(torch.tensor(3.0), 0).tolist() is True
    assert magnitude.magnitude_mask(torch.tensor(3.0), 1).tolist() is False
    mask = magnitude.magnitude_mask(nn.Parameter(torch.tensor([1.0, 2.0])).abs(), 0.5)
    assert mask.tolist() == [False, True] and not mask.requires_grad


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, 90, math.nan, math.inf])
def test_a_sparsity_that_is_no_fraction_is_refused_and_named(sparsity):
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    for call in (
        lambda: magnitude.magnitude_mask(torch.ones(3), sparsity),
        lambda: magnitude.global_masks({"a": torch.ones(3)}, sparsity),
        lambda: magnitude.prune(model, sparsity),
        lambda: magnitude.prune(model, sparsity, "layer"),
        lambda: magnitude.iterative_prune(model, sparsity, 2, lambda m: pytest.fail("trained before the error")),
        lambda: magnitude.lottery_ticket(model, before, sparsity, 2, lambda m: pytest.fail("trained before the error")),
    ):
        with pytest.raises(ValueError, match=str(sparsity)):
            call()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_and_weights_that_are_not_finite_are_refused(value, dtype):
    scores = torch.tensor([1.0, value, 2.0], dtype=dtype)
    with pytest.raises(ValueError, match="NaN or infinity"):
        magnitude.magnitude_mask(scores, 0.5)
    with pytest.raises(ValueError, match="NaN or infinity"):
        magnitude.global_masks({"a": torch.ones(2, dtype=dtype), "b": scores}, 0.5)
    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(3, 1)).to(dtype)
    model[1].weight.data[0] = scores
    before = model[0].weight.clone()
    for scope in ("global", "layer"):
        with pytest.raises(ValueError, match=r"1.weight holds NaN or infinite"):
            magnitude.prune(model, 0.5, scope)
    with pytest.raises(ValueError, match="NaN or infinity"):
        magnitude.prune(model, 0.5, criterion=lambda weight: weight * math.nan, ignore="1")
    assert torch.equal(model[0].weight, before)  # nothing was pruned halfway


def test_empty_things_are_refused():
    with pytest.raises(ValueError, match=r"at least one value, got shape \(0, 3\)"):
        magnitude.magnitude_mask(torch.ones(0, 3), 0.5)
    with pytest.raises(ValueError, match="empty dict"):
        magnitude.global_masks({}, 0.5)
    with pytest.raises(ValueError, match="do not divide"):
        magnitude.nm_mask(torch.ones(0, 4), 2, 4)


def test_a_model_without_anything_to_prune_is_refused():
    for model in (nn.Sequential(), nn.ReLU(), nn.BatchNorm2d(3), nn.Embedding(3, 3)):
        with pytest.raises(ValueError, match=f"{type(model).__name__} has no .* to prune"):
            magnitude.prune(model, 0.5)
    with pytest.raises(ValueError, match="to prune outside of what ignore names"):
        magnitude.prune(small_model(), 0.5, ignore=("0", "3"))


def test_a_misspelt_layer_to_ignore_is_refused_and_the_near_one_named():
    model = models.LeNet300()
    for ignore in ("fc_1", ["fc_1"], ("fc3", "fc_1")):
        with pytest.raises(ValueError, match=r"'fc_1'.*LeNet300.*did you mean 'fc1'"):
            magnitude.prune(model, 0.5, ignore=ignore)
    with pytest.raises(ValueError, match=r"did you mean 'fc1.weight'"):
        magnitude.prune(model, 0.5, ignore="fc1.wieght")
    with pytest.raises(ValueError, match=r"'zzz', which LeNet300 does not have$"):
        magnitude.prune(model, 0.5, ignore="zzz")
    assert metrics.sparsity(model) == 0


def test_ignore_takes_modules_with_all_that_is_inside_and_parameters():
    model = models.CifarCNN()
    everything = list(magnitude.prunable(model))
    assert list(magnitude.prunable(model, "fc")) == everything[:-1]
    assert list(magnitude.prunable(model, iter(["fc.weight"]))) == everything[:-1]
    left = magnitude.prunable(model, ["stage1", "stage2.1.conv1", "conv"])  # conv is not stage1.0.conv1
    assert left.keys() == {n for n in everything if not n.startswith(("stage1.", "stage2.1.conv1.", "conv."))}


def test_unknown_scope_criterion_and_schedule_are_refused():
    model = small_model()
    with pytest.raises(ValueError, match='"global" or "layer", got \'local\''):
        magnitude.prune(model, 0.5, "local")
    with pytest.raises(ValueError, match="magnitude, taylor, snip, block, random or a function, got 'l1'"):
        magnitude.prune(model, 0.5, criterion="l1")
    with pytest.raises(ValueError, match=r"no schedule is called 'cosine'.*linear, cubic, polynomial, exponential"):
        magnitude.schedule("cosine", 0, 0.9, 10)
    with pytest.raises(ValueError, match="cosine"):
        magnitude.iterative_prune(model, 0.5, 2, lambda m: None, kind="cosine")
    assert metrics.sparsity(model) == 0


def test_taylor_without_a_gradient_says_what_to_do():
    with pytest.raises(ValueError, match=r"no gradient: call loss.backward\(\)"):
        magnitude.prune(small_model(), 0.5, criterion="taylor")


@pytest.mark.parametrize(
    "kind, start, end, levels",
    [
        ("cubic", 0, 0.9, [0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9]),
        ("exponential", 0.1, 0.7, [0.1, 0.3161479, 0.4803848, 0.6051778, 0.7]),
        ("fraction", 0, 0.9, [1 - 0.1 ** (k / 5) for k in range(6)]),
        ("linear", 0.2, 0.8, [0.2, 0.35, 0.5, 0.65, 0.8]),
        ("multistep", 0, 0.9, [0, 0, 0.3, 0.3, 0.6, 0.6, 0.9]),
    ],
)
def test_schedules_follow_their_published_values(kind, start, end, levels):
    level = magnitude.schedule(kind, start, end, len(levels) - 1)
    assert [level(step) for step in range(len(levels))] == pytest.approx(levels, abs=1e-7)


@pytest.mark.parametrize("kind", magnitude.SCHEDULES)
@pytest.mark.parametrize("start, end", [(0, 0.9), (0.1, 0.7), (0, 0.05), (0.5, 0.99)])
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_schedules_go_up_from_start_to_end(kind, start, end, steps):
    level = magnitude.schedule(kind, start, end, steps)
    levels = [level(step) for step in range(steps + 1)]
    assert levels[0] == pytest.approx(start, abs=1e-12) and levels[-1] == pytest.approx(end, abs=1e-12)
    assert levels == sorted(levels)
    assert all(0 <= value <= 1 for value in levels)


def test_schedules_take_their_options():
    assert magnitude.schedule("polynomial", 0, 0.8, 2, power=2)(1) == pytest.approx(0.6)
    assert magnitude.schedule("multistep", 0, 0.8, 4, jumps=2)(3) == pytest.approx(0.4)
    assert magnitude.schedule("polynomial", 0, 0.9, 2)(1) == pytest.approx(0.7875)
    assert magnitude.schedule("multistep", 0, 0.9, 2)(1) == magnitude.multistep(0, 0.9, 0.5)
    assert magnitude.multistep(0, 0.9, 0.5) == pytest.approx(0.3)


def test_a_step_outside_the_schedule_is_refused():
    level = magnitude.schedule("cubic", 0, 0.9, 10)
    for step in (-1, 11, 10.5, math.nan):
        with pytest.raises(ValueError, match=f"step {step} is outside the schedule's 0 to 10"):
            level(step)


def test_bad_schedules_are_refused_when_they_are_made():
    for start, end in ((-0.1, 0.5), (0.5, 1.2), (0.6, 0.5), (math.nan, 0.5), (0, math.nan)):
        with pytest.raises(ValueError, match="0 <= start <= end <= 1"):
            magnitude.schedule("cubic", start, end, 10)
    for steps in (0, -3):
        with pytest.raises(ValueError, match=f"at least one step, got {steps}"):
            magnitude.schedule("cubic", 0, 0.5, steps)
    for kind in ("exponential", "fraction"):
        for start, end in ((0, 1), (0.5, 0.5)):
            with pytest.raises(ValueError, match=f"start < end < 1, got start {start} and end {end}"):
                magnitude.schedule(kind, start, end, 10)
    with pytest.raises(ValueError, match=r"start < end < 1, got start 0.7 and end 0.1"):
        magnitude.exponential(0.7, 0.1, 0.5)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 8), st.data())
def test_nm_keeps_the_n_largest_of_every_group(outputs, groups, m, draw):
    n = draw.draw(st.integers(0, m))
    scores = draw.draw(hnp.arrays(np.float32, (outputs, groups * m), elements=FINITE | st.sampled_from([0.0, 1.0])))
    mask = magnitude.nm_mask(torch.from_numpy(scores), n, m).numpy()
    expected = np.ones((outputs * groups, m), dtype=bool)
    np.put_along_axis(expected, scores.reshape(-1, m).argsort(1, kind="stable")[:, : m - n], False, 1)
    assert np.array_equal(mask, expected.reshape(scores.shape))


def test_nm_of_convolutions_and_vectors_runs_along_the_row():
    scores = distinct(5, 4, 3, 3).abs()
    assert torch.equal(magnitude.nm_mask(scores, 1, 6).flatten(1), magnitude.nm_mask(scores.flatten(1), 1, 6))
    assert torch.equal(magnitude.nm_mask(scores[0].flatten(), 1, 6), magnitude.nm_mask(scores[:1], 1, 6).flatten())


def test_nm_that_does_not_fit_is_refused():
    for shape in [(6,), (4, 6), (4, 3, 3, 3), (2, 2)]:  # (2, 2) holds four scores, but no row of four
        with pytest.raises(ValueError, match="do not divide into groups of 4"):
            magnitude.nm_mask(torch.ones(shape), 2, 4)
    for n, m in ((3, 2), (-1, 4), (0, 0), (-2, -1)):
        with pytest.raises(ValueError, match=f"got {n}:{m}"):
            magnitude.nm_mask(torch.ones(4, 4), n, m)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_removed_weights_stay_zero_through_a_hand_written_loop(name):
    model = small_model()
    optimizer = OPTIMIZERS[name](model.parameters())
    steps_of(model, optimizer)  # its moments know the weights that go now
    masks = magnitude.prune(model, 0.7)
    removed, before = sum(int((~mask).sum()) for mask in masks.values()), copy.deepcopy(model.state_dict())
    with masks.hold(model):
        steps_of(model, optimizer)
    assert zeros_of(model, masks) == removed == round(0.7 * 72)
    for key, mask in masks.items():
        assert (model.state_dict()[key][mask] != before[key][mask]).all(), f"the weights left of {key} did not train"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_removed_weights_stay_zero_through_the_training_loop(name):
    x, y = torch.randn(96, 6, generator=torch.Generator().manual_seed(0)), torch.arange(96) % 3
    split = data.Split(x, y)
    model = small_model()
    masks = magnitude.prune(model, 0.7, "layer")
    with masks.hold(model):
        dataset = data.Dataset("random", split, split, split, torch.zeros(1), torch.ones(1))
        training.train(model, dataset, 3, optimizer=OPTIMIZERS[name](model.parameters()), progress=False)
    assert zeros_of(model, masks) == sum(int((~mask).sum()) for mask in masks.values())
    assert metrics.sparsity(model) == pytest.approx(masks.sparsity)


def test_hold_first_removes_what_the_masks_remove():
    model = small_model()
    masks = magnitude.prune(copy.deepcopy(model), 0.5)
    with masks.hold(model) as held:
        assert held is masks
        assert zeros_of(model, masks) == 36


def test_after_hold_the_weights_are_free_even_after_an_error():
    model = small_model()
    masks = magnitude.prune(model, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with masks.hold(model):
        steps_of(model, optimizer)
    assert zeros_of(model, masks) == 36
    with pytest.raises(RuntimeError, match="the user's"), masks.hold(model):
        raise RuntimeError("the user's")
    steps_of(model, optimizer)
    assert zeros_of(model, masks) < 36


def test_a_model_that_is_pruned_again_while_held_keeps_both_masks():
    model = small_model()
    first = magnitude.prune(model, 0.3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with first.hold(model):
        second = magnitude.prune(model, 0.6)
        with second.hold(model):
            steps_of(model, optimizer)
            assert metrics.sparsity(model) == pytest.approx(43 / 72)
        steps_of(model, optimizer)
        assert zeros_of(model, first) == 22 and zeros_of(model, second) < 43


def test_a_copy_made_while_held_is_left_alone():
    model = small_model()
    masks = magnitude.prune(model, 0.5)
    with masks.hold(model):
        twin = copy.deepcopy(model)
        steps_of(twin, torch.optim.SGD(twin.parameters(), 0.1))
        assert zeros_of(twin, masks) < 36 and zeros_of(model, masks) == 36


def test_hold_does_not_keep_the_model_alive():
    model = small_model()
    with magnitude.prune(model, 0.5).hold(model):
        pass
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_the_state_of_a_pruned_model_holds_no_masks_and_loads_into_a_plain_one():
    model = models.DigitsCNN()
    masks = magnitude.prune(model, 0.9)
    with masks.hold(model):
        fresh = models.DigitsCNN()
        assert list(model.state_dict()) == list(fresh.state_dict())
        fresh.load_state_dict(model.state_dict())
    assert metrics.sparsity(fresh) == metrics.sparsity(model) == masks.sparsity == pytest.approx(0.9, abs=1e-5)
    assert metrics.count_parameters(fresh) == 243_530


def test_tied_layers_are_counted_and_removed_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    masks = magnitude.prune(model, 0.5)
    assert list(masks) == ["0.weight", "3.weight"] and masks.sparsity == 0.5
    with masks.hold(model):
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(3):
            model(torch.ones(1, 4)).sum().backward()
            optimizer.step()
    assert model[2].weight is model[0].weight
    assert metrics.sparsity(model) == 0.5


def test_layers_that_are_all_zero_are_pruned_by_position():
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2))
    for layer in model:
        nn.init.zeros_(layer.weight)
    assert magnitude.prune(model, 0.5)["0.weight"].tolist() == [[False] * 4, [False, False, True, True]]
    assert magnitude.prune(model, 0.5, "layer")["1.weight"].tolist() == [[False, False], [True, True]]


def test_frozen_weights_are_pruned_and_stay_frozen():
    model = nn.Linear(4, 2).requires_grad_(False)
    assert magnitude.prune(model, 0.5).sparsity == 0.5
    assert not model.weight.requires_grad and metrics.sparsity(model) == 0.5


def test_random_pruning_is_exact_repeats_with_its_seed_and_keeps_zeros_removed():
    drawn = []
    for seed in (0, 0, 1):
        model = nn.Linear(20, 10)
        model.weight.data = distinct(10, 20)
        torch.manual_seed(seed)
        first = magnitude.prune(model, 0.5, criterion="random")
        second = magnitude.prune(model, 0.8, criterion="random")
        assert first.sparsity == 0.5 and second.sparsity == pytest.approx(0.8)
        assert not (second["weight"] & ~first["weight"]).any()
        drawn.append(second["weight"])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    by_magnitude = magnitude.magnitude_mask(distinct(10, 20).abs(), 0.8)
    assert not torch.equal(drawn[0], by_magnitude)


def test_taylor_scores_predict_what_removing_a_weight_does():
    model = nn.Linear(3, 2, bias=False).double()
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    model(x).sum().backward()  # linear in each weight, so that the first order is all there is
    scores = magnitude.taylor_scores(model.weight)
    for i in range(2):
        for j in range(3):
            without = copy.deepcopy(model)
            without.weight.data[i, j] = 0
            assert scores[i, j].item() == pytest.approx(abs((without(x) - model(x)).sum().item()))


def test_iterative_pruning_ends_exactly_and_its_masks_are_nested():
    model = small_model()
    masks_seen = []

    def train(trained):
        masks_seen.append(trained[0].weight != 0)
        steps_of(trained, torch.optim.AdamW(trained.parameters(), 0.05, weight_decay=0.1))

    masks = magnitude.iterative_prune(model, 0.83, 6, train)
    assert len(masks_seen) == 6 and metrics.sparsity(model) == masks.sparsity == pytest.approx(60 / 72)
    assert not any((masks_seen[step + 1] & ~masks_seen[step]).any() for step in range(5))
    assert all(torch.equal(model.get_parameter(name) != 0, mask) for name, mask in masks.items())


def test_a_training_that_fails_leaves_no_hook_behind():
    model = small_model()

    def train(trained):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        magnitude.iterative_prune(model, 0.5, 2, train)
    steps_of(model, torch.optim.SGD(model.parameters(), 0.1))
    assert metrics.sparsity(model) == 0


def test_a_lottery_ticket_is_init_under_its_masks_and_trains_as_such():
    model = small_model()
    init = copy.deepcopy(model.state_dict())
    trainings = []

    def train(trained):
        trainings.append(metrics.sparsity(trained))
        steps_of(trained, torch.optim.Adam(trained.parameters(), 0.05), steps=10)

    masks = magnitude.lottery_ticket(model, init, 0.75, 2, train, ignore=("3",))
    assert trainings == pytest.approx([0, 24 / 72]) and list(masks) == ["0.weight"] and masks.sparsity == 0.75
    for name, value in model.state_dict().items():
        expected = torch.where(masks["0.weight"], init[name], 0) if name == "0.weight" else init[name]
        assert torch.equal(value, expected), name
    with masks.hold(model):
        steps_of(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    assert zeros_of(model, masks) == 36


def test_a_lottery_ticket_needs_something_left_and_a_round():
    model = small_model()
    init = copy.deepcopy(model.state_dict())
    for sparsity, rounds in ((1, 3), (0.5, 0)):
        with pytest.raises(ValueError, match=f"got .*{1 if rounds else 0}"):
            magnitude.lottery_ticket(model, init, sparsity, rounds, lambda m: pytest.fail("trained before the error"))


def test_the_framework_runs_on_the_functions_that_are_plugged_in(monkeypatch):
    model = nn.Linear(4, 1)
    model.weight.grad = torch.ones(1, 4)
    monkeypatch.setattr(magnitude, "taylor_scores", lambda weight: torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    assert magnitude.prune(model, 0.5, criterion="taylor")["weight"].tolist() == [[True, True, False, False]]
    monkeypatch.setattr(magnitude, "magnitude_mask", lambda scores, sparsity: torch.ones_like(scores, dtype=torch.bool))
    assert magnitude.prune(model, 0.5).sparsity == 0
    monkeypatch.setattr(magnitude, "polynomial", lambda start, end, progress, power: 0.125)
    assert magnitude.schedule("cubic", 0, 0.9, 2)(1) == 0.125


def test_check_knee_takes_the_highest_sparsity_within_one_point_only():
    curve = {0: 0.98, 0.5: 0.985, 0.7: 0.96, 0.8: 0.97, 0.9: 0.9}
    check_knee(0.8, curve)  # exactly 1 pp counts, and the dip at 0.7 does not end it
    for wrong in (0.5, 0.7, 0.9, 0, 80, 0.75, None, "0.8", True):
        with pytest.raises(AssertionError):
            check_knee(wrong, curve)
    with pytest.raises(AssertionError, match="the curve needs sparsity 0"):
        check_knee(0.5, {0.5: 0.9, 0.6: 0.9, 0.7: 0.9, 0.8: 0.9})
    with pytest.raises(AssertionError, match="fractions"):
        check_knee(80, {0: 98, 50: 98, 70: 97.5, 80: 97})


def test_check_emptied_layer_takes_the_smallest_fraction_kept():
    def mask(kept, total):
        return torch.arange(total) < kept

    masks = {"conv.weight": mask(2, 4), "fc1.weight": mask(10, 100), "fc2.weight": mask(3, 20)}
    check_emptied_layer("fc1.weight", masks)
    check_emptied_layer("fc1", masks)
    for wrong in ("conv", "conv.weight", "fc2", "fc", "", None, 1):  # conv has the fewest left, fc1 the lowest fraction
        with pytest.raises(AssertionError):
            check_emptied_layer(wrong, masks)


@pytest.fixture(scope="module")
def success():
    """(dense model, pruned model, its masks, both accuracies): the success criterion met on real data."""
    torch.manual_seed(0)
    digits = data.load("digits")
    dense = models.DigitsCNN()
    training.train(dense, digits, 2, batch_size=32, progress=False)
    model = copy.deepcopy(dense)
    masks = magnitude.prune(model, 0.9)
    with masks.hold(model):
        training.train(model, digits, 1, lr=0.02, progress=False)
    return dense, model, masks, training.evaluate(dense, digits.test), training.evaluate(model, digits.test)


def test_check_success_takes_a_model_that_is_really_pruned_and_right(success):
    check_success(*success)


@pytest.mark.filterwarnings("ignore:no weight is left")
def test_check_success_refuses_what_is_not_there(success):
    dense, model, masks, before, after = success
    one_moved, half_pruned, untrained = copy.deepcopy(model), copy.deepcopy(model), models.DigitsCNN()
    one_moved.conv1.weight.data[~masks["conv1.weight"]] += 0.001
    hooked = copy.deepcopy(dense)
    magnitude.apply_masks(hooked, {name: mask & False for name, mask in masks.items()})
    hooked.register_forward_hook(lambda module, args, output: dense(*args))  # zeros, and the dense network's answers
    half = magnitude.prune(half_pruned, 0.5)
    half_pruned.fc1.weight.data += 1e-6
    empty = magnitude.prune(untrained, 0.99)
    none = training.evaluate(untrained, data.load("digits").test)
    for case, message in (
        ((dense, nn.Linear(2, 2), masks, before, after), "expected the pruned DigitsCNN"),
        ((dense, None, None, None, None), "expected the pruned DigitsCNN"),
        ((dense, model, masks, before, None), "expected two test accuracies"),
        ((dense, model, None, before, after), "expected the masks of your pruning"),
        ((dense, model, {}, before, after), "expected the masks of your pruning"),
        ((dense, half_pruned, half, before, after), "of the model's 242784 weights are zero"),
        ((dense, models.DigitsCNN(), masks, before, after), "not 90%"),
        ((dense, one_moved, masks, before, after), "not 90%|conv1.weight are not zero"),
        ((dense, model, {"fc2.weight": torch.zeros(10, 288).bool()}, before, after), "fc2.weight are not zero"),
        ((dense, model, masks, before, after - 0.02), "the pruned network's test accuracy is"),
        ((dense, hooked, masks, before, before), "the pruned network's test accuracy is"),
        ((dense, model, masks, before - 0.02, after), "the dense network's test accuracy is"),
        ((dense, untrained, empty, before, after), "the pruned network's test accuracy is"),
        ((untrained, model, masks, none, after), "train it longer"),
        ((dense, untrained, empty, before, none), "pruning lost"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_success(*case)


def test_block_scores_give_four_neighbouring_rows_the_same_mask():
    weight = torch.tensor([[1.0, -9.0], [3.0, 1.0], [1.0, 1.0], [3.0, 1.0], [8.0, 0.0], [0.0, 2.0]])
    expected = [[2.0, 3.0]] * 4 + [[4.0, 1.0]] * 2  # the last block has two rows only
    assert magnitude.block_scores(weight).tolist() == expected
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 16))
    masks = magnitude.prune(model, 0.5, criterion="block")
    assert masks.sparsity == 0.5
    for mask in masks.values():
        blocks = mask.flatten(1).unflatten(0, (-1, 4))
        whole = (blocks == blocks[:, :1]).all(1)
        assert whole.numel() - int(whole.sum()) <= 1  # the count may end within one block
    with pytest.raises(ValueError, match="at least one row, got 0"):
        magnitude.block_scores(weight, 0)


def test_a_layer_that_one_ranking_empties_is_warned_of_by_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.mul_(1e-6)
    with pytest.warns(UserWarning, match=r"no weight is left in 0\.weight: .* scope='layer'"):
        magnitude.prune(model, 0.5)


def test_snip_is_the_taylor_score_of_an_untrained_network():
    model = nn.Linear(4, 3)
    model(torch.ones(2, 4)).square().sum().backward()
    scores = magnitude.weight_scores(model, "snip")["weight"]
    assert torch.equal(scores, (model.weight * model.weight.grad).abs())


class Tied(nn.Module):
    """An embedding whose weight is that of a Linear too, as in language models."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.decoder = nn.Linear(4, 5, bias=False)
        self.decoder.weight = self.embedding.weight


def test_a_weight_shared_with_an_embedding_is_pruned_and_held():
    model = Tied()
    with magnitude.prune(model, 0.5).hold(model):
        pass
    assert metrics.sparsity(model) == 0.5


def test_a_shared_weight_is_ignored_under_either_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    for name in ("0", "1", "1.weight"):
        assert list(magnitude.prune(copy.deepcopy(model), 0.5, ignore=name)) == ["2.weight"]


@pytest.mark.parametrize("kind", magnitude.SCHEDULES)
def test_a_schedule_starts_and_ends_exactly(kind):
    for percent in range(1, 100):
        level = magnitude.schedule(kind, percent / 200, percent / 100, 7)
        assert level(0) == percent / 200 and level(7) == percent / 100, percent


def test_masks_end_applied_after_a_loop_without_an_optimizer():
    model = nn.Linear(4, 4)

    def train(trained):
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter -= 0.1

    masks = magnitude.iterative_prune(model, 0.5, 2, train)
    assert metrics.sparsity(model) == masks.sparsity == 0.5


@pytest.mark.parametrize("criterion", [lambda w: w.abs().sum(1, keepdim=True), lambda w: w.abs().sum()])
def test_a_criterion_that_gives_another_shape_is_refused(criterion):
    with pytest.raises(ValueError, match=r"must give weight scores of its shape \(4, 4\)"):
        magnitude.prune(nn.Linear(4, 4), 0.5, criterion=criterion)


def test_removed_weights_stay_removed_whatever_the_criterion():
    model = nn.Linear(4, 1)
    model.weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    masks = magnitude.iterative_prune(model, 0.5, 2, lambda m: None, kind="linear", criterion=lambda w: -w.detach())
    assert int(model.weight.count_nonzero()) == 2 and torch.equal(model.weight != 0, masks["weight"])


def test_a_ticket_rewinds_to_init_even_where_init_is_the_live_state():
    model = nn.Linear(4, 1)
    first = model.weight.detach().clone()
    masks = magnitude.lottery_ticket(model, model.state_dict(), 0.5, 1, lambda m: m.weight.data.mul_(2))
    assert torch.equal(model.weight, first * masks["weight"])


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "linear", "power": 2},
        {"kind": "polynomial", "power": 0},
        {"kind": "polynomial", "power": -1},
        {"kind": "multistep", "jumps": 0},
    ],
)
def test_options_that_a_schedule_cannot_take_are_refused_at_once(options):
    with pytest.raises(ValueError, match=r"power|jump"):
        magnitude.schedule(start=0, end=0.5, steps=3, **options)


def test_masks_that_do_not_fit_change_nothing():
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    zeros = torch.zeros(2, 3, dtype=torch.bool)
    for masks, error in (({"weight": zeros, "typo": zeros}, KeyError), ({"weight": zeros[0]}, ValueError)):
        with pytest.raises(error):
            magnitude.apply_masks(model, masks)
        assert torch.equal(model.weight, before)


def test_what_has_no_values_is_refused_by_name():
    for model in (nn.LazyLinear(3), nn.Linear(3, 3, device="meta")):
        with pytest.raises(ValueError, match="weight has no values yet"):
            magnitude.prune(model, 0.5)
    with pytest.raises(ValueError, match="no masks"):
        magnitude.Masks().sparsity  # noqa: B018
    with pytest.raises(ValueError, match="finite"):
        magnitude.nm_mask(torch.tensor([float("nan"), 1, 2, 3]), 2, 4)


def test_the_kth_smallest_is_that_of_a_sort_also_in_a_mass_of_zeros():
    generator = torch.Generator().manual_seed(0)
    for values in (torch.randn(500, generator=generator), torch.randn(500, generator=generator).clamp(min=0), torch.zeros(500)):
        in_order = values.sort().values
        for k in (1, 2, 249, 250, 300, 500):
            assert magnitude.kth_smallest(values, k) == in_order[k - 1]
    for k in (0, -1, 501):
        with pytest.raises(ValueError, match=f"k = {k}"):
            magnitude.kth_smallest(values, k)


def test_an_empty_layer_and_a_sparsity_out_of_range_are_named():
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"1\.weight is empty"):
        magnitude.prune(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 0)), 0.5)
    model = nn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"sparsity .* got 1\.5"):
        magnitude.iterative_prune(model, 1.5, 2, lambda m: None)
    for sparsity in (0, 1):
        with pytest.raises(ValueError, match=f"a ticket needs a sparsity between 0 and 1, got {sparsity}"):
            magnitude.lottery_ticket(model, model.state_dict(), sparsity, 2, lambda m: None)
