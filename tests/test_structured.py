"""Tests of tinyshrink.structured: first the checks of lesson 03 in the order of its exercises, then ordinary tests."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from tinyshrink import channel_plan, data, metrics, models, structured, training


def test_filter_scores_of_four_small_filters():
    weight = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [1.0, 1.0]])
    for criterion, expected in (
        ("l1", [7.0, 1.0, 14.0, 2.0]),
        ("l2", [5.0, 1.0, 10.0, 1.4142]),
        ("geometric_median", [12.8482, 14.4622, 22.8219, 13.2079]),
    ):
        got = structured.filter_scores(weight, criterion).tolist()
        close = len(got) == 4 and max(abs(a - b) for a, b in zip(got, expected)) < 1e-3
        assert close, f"{criterion} of {weight.tolist()}: expected {expected}, got {got}"


def test_filter_scores_of_a_convolution():
    weight = nn.Parameter(torch.zeros(3, 2, 2, 2))
    with torch.no_grad():
        weight[0, 1, 0, 1], weight[0, 0, 1, 1], weight[1, 0, 0, 0], weight[2] = -3, 4, 6, -1
    for criterion, expected in (("l1", [7, 6, 8]), ("l2", [5, 6, 8**0.5])):
        scores = structured.filter_scores(weight, criterion)
        assert scores.shape == (3,), f"a weight of shape (3, 2, 2, 2) has 3 filters, got scores {tuple(scores.shape)}"
        error = (scores - torch.tensor(expected)).abs().max()
        assert error < 1e-4, f"{criterion}: expected {expected}, got {scores.tolist()}"
        assert not scores.requires_grad, "scores are plain numbers: detach the weight"
        assert weight.sum() == -1, "the weight that was given to you was changed"
    scale = structured.filter_scores(torch.tensor([-2.0, 0.5]), "l1").tolist()
    assert scale == [2.0, 0.5], f"a BatchNorm's scale [-2, 0.5] has a score for each channel, [2, 0.5]: got {scale}"


def test_filter_scores_by_taylor():
    weight = torch.tensor([[[1.0, 1.0]], [[2.0, -1.0]], [[0.0, -3.0]]])
    gradient = torch.tensor([[[5.0, -5.0]], [[1.0, 1.0]], [[9.0, 0.5]]])
    got = structured.filter_scores(weight, "taylor", gradient).tolist()
    expected = [0.0, 1.0, 1.5]  # 5 - 5: the loss does not change when the whole filter goes
    assert weight.sum() == 0 and gradient.sum() == 11.5, "the weight or the gradient that was given to you was changed"
    assert got == expected, f"weights {weight.tolist()}, gradients {gradient.tolist()}: expected {expected}, got {got}"


def test_kept_channels_are_the_best_in_their_old_order():
    for scores, amount, expected in (
        ([7.0, 1.0, 14.0, 2.0], 0.5, [0, 2]),
        ([9.0, 1.0, 8.0, 2.0, 7.0, 3.0], 0.5, [0, 2, 4]),
        ([1.0, 2.0, 3.0, 4.0], 0.25, [1, 2, 3]),
        ([3.0, 2.0], 0.0, [0, 1]),
        ([-1.0, -9.0, 0.5], 0.3, [0, 2]),
    ):
        given = torch.tensor(scores)
        kept = structured.kept_channels(given, amount)
        assert kept.dtype == torch.int64, f"expected int64 indices, got {kept.dtype}: {kept.tolist()}"
        assert kept.tolist() == expected, f"{scores} with amount {amount}: expected {expected}, got {kept.tolist()}"
        assert torch.equal(given, torch.tensor(scores)), f"the scores given to you were changed, to {given.tolist()}"


def test_kept_channels_counts_exactly_and_breaks_ties_by_position():
    for n, amount, first in ((4, 0.5, 2), (5, 0.5, 2), (7, 0.5, 4), (10, 0.25, 2), (10, 0.35, 4), (3, 0.1, 0)):
        got = structured.kept_channels(torch.ones(n), amount).tolist()
        expected = list(range(first, n))  # round(amount * n) go, the earliest first
        assert got == expected, f"{n} equal scores with amount {amount}: expected {expected}, got {got}"


def test_slice_tensor_takes_the_kept_indices_of_each_dimension():
    tensor = torch.arange(24).view(4, 3, 2)
    for kept, expected in (
        ({0: [1, 3]}, [[[6, 7], [8, 9], [10, 11]], [[18, 19], [20, 21], [22, 23]]]),
        ({1: [0, 2], 0: [0, 2, 3]}, [[[0, 1], [4, 5]], [[12, 13], [16, 17]], [[18, 19], [22, 23]]]),
        ({2: [1], 0: [2]}, [[[13], [15], [17]]]),
        ({0: [3, 0], 1: [1]}, [[[20, 21]], [[2, 3]]]),  # in the order listed
    ):
        part = channel_plan.slice_tensor(tensor, {dim: torch.tensor(indices) for dim, indices in kept.items()})
        assert part.dtype == torch.int64, f"a tensor of whole numbers stays one, got {part.dtype}"
        assert part.tolist() == expected, f"arange(24) as (4, 3, 2) with {kept}: expected {expected}, got {part.tolist()}"


def test_slice_tensor_is_a_new_tensor():
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    for kept, expected in (({}, [[1, 2], [3, 4]]), ({0: [0]}, [[1, 2]]), ({1: [0, 1]}, [[1, 2], [3, 4]])):
        part = channel_plan.slice_tensor(weight, {dim: torch.tensor(indices) for dim, indices in kept.items()})
        assert part.tolist() == expected, f"[[1, 2], [3, 4]] with {kept}: expected {expected}, got {part.tolist()}"
        assert not part.requires_grad, f"with {kept} the result still records gradients: detach it"
        part.fill_(9)
        assert weight.tolist() == [[1, 2], [3, 4]], f"with {kept} the result shares its memory with the old tensor"


def test_remove_filters_cuts_all_that_belongs_to_a_filter():
    conv, norm, following = nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)
    for number, tensor in enumerate((*norm.parameters(), norm.running_mean, norm.running_var, conv.bias)):
        tensor.data = torch.arange(4.0) + 10 * number + 1
    kept = torch.tensor([1, 3])
    small, small_norm, after = structured.remove_filters(conv, norm, following, kept)
    for name, got, expected in (
        ("conv.weight", small.weight, conv.weight[kept]),
        ("conv.bias", small.bias, conv.bias[kept]),
        *((f"norm.{name}", getattr(small_norm, name), getattr(norm, name)[kept]) for name in ("weight", "bias")),
        *((f"norm.running_{name}", getattr(small_norm, f"running_{name}"), getattr(norm, f"running_{name}")[kept])
          for name in ("mean", "var")),
        ("following.weight", after.weight, following.weight[:, kept]),
        ("following.bias", after.bias, following.bias),
    ):  # fmt: skip
        assert got.shape == expected.shape, f"{name}: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}"
        assert torch.equal(got, expected), f"{name} of filters 1 and 3: expected {expected.tolist()}, got {got.tolist()}"


def test_remove_filters_tells_the_layers_their_new_sizes():
    for following, name in ((nn.Conv2d(4, 5, 3), "in_channels"), (nn.Linear(4 * 9, 5), "in_features")):
        layers = structured.remove_filters(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), following, torch.tensor([0, 1, 3]))
        sizes = [layers[0].in_channels, layers[0].out_channels, layers[1].num_features, getattr(layers[2], name)]
        expected = [2, 3, 3, 27 if name == "in_features" else 3]
        assert sizes == expected, f"in_channels, out_channels, num_features, {name}: expected {expected}, got {sizes}"
        parameters = [p for layer in layers for p in layer.parameters()]
        assert len(parameters) == 6 and all(p.requires_grad for p in parameters), "every parameter must be an nn.Parameter"


def test_remove_filters_follows_the_flatten_into_a_linear():
    linear = nn.Linear(8 * 4, 1)
    linear.weight.data = torch.arange(32.0).view(1, 32)
    kept = torch.tensor([0, 3])
    _, _, after = structured.remove_filters(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), linear, kept)
    got, expected = after.weight.tolist(), [[0, 1, 2, 3, 12, 13, 14, 15]]  # channel 3 is at 3 * 4 to 3 * 4 + 3
    assert got == expected, f"of inputs 0 to 31 the kept ones are {expected}, got {got}"


def test_remove_filters_computes_what_the_masked_layers_compute():
    torch.manual_seed(0)
    for bias, following in ((True, nn.Conv2d(6, 3, 3)), (False, nn.Conv2d(6, 2, 1)), (False, nn.Linear(6 * 16, 5))):
        conv, norm, x = nn.Conv2d(2, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6), torch.randn(5, 2, 4, 4)
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 2)
        layers, kept = nn.ModuleList([conv, norm, following]).eval(), torch.tensor([0, 2, 5])
        before = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
        first, second, third = structured.remove_filters(conv, norm, following, kept)
        assert not second.training, "the layers were in eval mode, the new norm is in training mode"
        changed = [name for name, tensor in layers.state_dict().items() if not torch.equal(tensor, before[name])]
        assert not changed and conv.out_channels == 6, f"the given layers were changed: {changed or 'out_channels'}"
        flat = 1 if isinstance(following, nn.Linear) else 3  # flatten(3) of four dimensions changes nothing
        mask = torch.zeros(6, 1, 1).index_fill(0, kept, 1)
        expected = following((norm(conv(x)).relu() * mask).flatten(flat))
        error = (third(second(first(x)).relu().flatten(flat)) - expected).abs().max()
        assert error < 1e-4, f"in front of {following} the smaller layers differ from the masked ones by {error:.2g}"
        old, new = ({t.data_ptr() for m in ms for t in m.state_dict().values()} for ms in (layers, (first, second, third)))
        assert not old & new, "a new layer shares memory with a given one: training one would change the other"
        dtypes = {p.dtype for m in structured.remove_filters(*layers.double(), kept) for p in m.parameters()}
        assert dtypes == {torch.float64}, f"float64 layers should stay float64, got {dtypes}"


def test_coupled_scores_give_each_layer_the_same_say():
    for scores, expected in (
        ([[1, 3], [40, 0]], [1.25, 0.75]),
        ([[2, 6, 4]], [0.5, 1.5, 1.0]),
        ([[3, 1], [1, 1], [0, 10]], [2.5 / 3, 3.5 / 3]),
        ([[-1, 1], [1, -3]], [-0.25, -0.25]),  # a criterion may give scores of both signs
    ):
        tensors = [torch.tensor(values, dtype=torch.float32) for values in scores]
        got = structured.coupled_scores(tensors)
        assert got.shape == (len(expected),), f"expected a score for each of {len(expected)} channels, got {got}"
        error = (got - torch.tensor(expected)).abs().max()
        assert error < 1e-5, f"{scores}: expected {expected}, got {got.tolist()}"
        assert [t.tolist() for t in tensors] == scores, "the scores given to you were changed"


def test_coupled_scores_of_a_layer_of_zeros():
    for scores in ([[0, 0, 0], [1, 3, 2]], [[1, 3, 2], [0, 0, 0], [10, 30, 20]]):
        got = structured.coupled_scores([torch.tensor(values, dtype=torch.float32) for values in scores])
        shares = (got / got.sum()).tolist()
        close = max(abs(a - b) for a, b in zip(shares, (1 / 6, 1 / 2, 1 / 3))) < 1e-5
        assert close, f"{scores}: the zeros have no say, the order is that of 1 3 2: got {got.tolist()}"


def test_iterative_channel_prune_takes_the_same_fraction_at_each_step():
    model = nn.Sequential(nn.Linear(3, 27), nn.ReLU(), nn.Linear(27, 2))
    seen, example = [], torch.ones(1, 3)
    for amount, steps, expected in ((19 / 27, 3, [18, 12, 8]), (2 / 3, 1, [9]), (5 / 9, 2, [18, 12]), (0, 2, [27, 27])):
        seen.clear()
        result = structured.iterative_channel_prune(model, example, amount, steps, lambda m: seen.append(m[0].out_features))
        said = f"27 channels, amount {amount:.3f}, {steps} steps: train should see {expected} channels"
        assert seen == expected, f"{said}, it saw {seen}"
        assert result[0].out_features == expected[-1], f"{said}, and the last model comes back: {result}"
        assert model[0].out_features == 27, "the given model was changed"


def test_iterative_channel_prune_goes_on_with_what_was_trained():
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))
    model[0].weight.data = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    model[2].weight.data = torch.ones(1, 4)

    def train(trained):  # turns the order of the channels round
        trained[0].weight.data = 10 - trained[0].weight.data
        return "a history"

    result = structured.iterative_channel_prune(model, torch.ones(1, 1), 0.75, 2, train)
    got = result[0].weight.flatten().tolist()  # 3 4 are kept and become 7 6; 7 is kept and becomes 3
    assert got == [3.0], f"weights 1 2 3 4, two steps: expected [3.0] in the end, got {got}"
    given = model[0].weight.flatten().tolist()
    assert given == [1, 2, 3, 4], f"the given model was trained: its weights are {given}"


def test_iterative_channel_prune_passes_its_options_on():
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    model[2].weight.data = torch.arange(8.0)[:, None].expand(8, 8).clone() + 1
    options = {"ignore": ("0",), "criterion": lambda weight: 1 / weight.detach().abs().sum(1)}
    result = structured.iterative_channel_prune(model, torch.ones(1, 2), 0.75, 2, lambda m: None, **options)
    sizes = [result[0].out_features, result[2].out_features]
    assert sizes == [8, 2], f'with ignore=("0",) expected 8 and 2 channels, got {sizes}'
    got = result[2].weight[:, 0].tolist()
    assert got == [1.0, 2.0], f"a criterion that likes small weights keeps those of 1 and 2, got {got}"


def test_drop_layers_keeps_the_named_layers_in_their_old_order():
    for kind in (nn.Sequential, nn.ModuleList):
        model, layers = nn.Module(), [nn.Linear(2, 2) for _ in range(5)]
        model.layers, model.head = kind(layers) if kind is nn.ModuleList else kind(*layers), nn.Linear(2, 3)
        for number, layer in enumerate(model.layers):
            nn.init.constant_(layer.weight, number)
        for keep, expected in (([0, 1, 4], [0, 1, 4]), ([4, 0], [0, 4]), ({2}, [2]), (range(5), [0, 1, 2, 3, 4])):
            smaller = structured.drop_layers(model, keep)
            got = [int(layer.weight[0, 0]) if hasattr(layer, "weight") else layer for layer in smaller.layers]
            assert got == expected, f"keep {keep} of 5 layers: expected {expected}, got {got}"
            assert type(smaller.layers) is kind, f"layers was {kind.__name__}, got {type(smaller.layers).__name__}"
            assert torch.equal(smaller.head.weight, model.head.weight), "what is outside of layers must be copied as it is"


def test_drop_layers_leaves_the_given_model_alone():
    torch.manual_seed(0)
    model, x = models.Transformer(width=8, depth=4, heads=2).eval(), torch.randn(2, 1, 8, 8)
    before = model(x)
    smaller = structured.drop_layers(model, [0, 3])
    assert len(model.layers) == 4 and torch.equal(model(x), before), "the given model was changed"
    shared = {id(p) for p in model.parameters()} & {id(p) for p in smaller.parameters()}
    assert not shared, f"{len(shared)} parameters belong to both models: training the smaller one would change the given one"
    model.layers[1], model.layers[2] = nn.Identity(), nn.Identity()
    error = (smaller(x) - model(x)).abs().max()
    assert error < 1e-5, f"layers 0 and 3 alone should compute as if 1 and 2 did nothing: they differ by {error:.2g}"


def test_head_scores_are_those_of_value_rows_and_out_columns():
    attention = models.Attention(4, 2)
    for layer in (attention.query, attention.key, attention.value, attention.out):
        nn.init.zeros_(layer.weight)
    nn.init.constant_(attention.query.weight, 9)  # says where to look, and is not counted
    with torch.no_grad():
        attention.value.weight[0, 1], attention.value.weight[1, 3] = 2, -1  # rows 0 and 1: head 0
        attention.out.weight[3, 0] = 2  # column 0: head 0
        attention.value.weight[2, 0], attention.out.weight[0, 3] = 3, -4  # row 2 and column 3: head 1
    for criterion, expected in (("l2", [3.0, 5.0]), ("l1", [5.0, 7.0])):
        got = structured.head_scores(attention, criterion).tolist()
        assert got == expected, f"{criterion}: 2 -1 2 belong to head 0, 3 -4 to head 1: expected {expected}, got {got}"


def check_together(answer, plan):
    """The answer names the layers whose filters the plan removes together with those of stage2.0.conv2."""
    others = {layer: together.split(", ") for layer, together, _, _ in plan.rows() if together}
    assert "stage2.0.conv2" in others, f"the plan has no group of stage2.0.conv2, only {list(others)}: do not ignore it"
    assert not isinstance(answer, str), f"the answer is a list of names, got the string {answer!r}"
    names = {str(name).removesuffix(".weight") for name in (answer or ())} - {"stage2.0.conv2"}
    expected = set(others["stage2.0.conv2"])
    assert names, "name at least one layer that must lose the same channels as stage2.0.conv2"
    assert not names - expected, f"{', '.join(sorted(names - expected))}: its filters may differ, nothing adds them up"
    assert names == expected, f"{len(expected - names)} layer is missing: what else is added to the output of stage2.0?"


def check_dearest_layer(answer, without):
    """`without` {layer: accuracy without it}; the answer is the layer whose loss costs most."""
    assert len(without) >= 3, f"measure every layer: {without}"
    assert all(0 <= value <= 1 for value in without.values()), f"accuracies are fractions 0 to 1: {without}"
    assert answer in without, f"the answer is one of the layers {sorted(without)}, got {answer!r}"
    lowest = min(without.values())
    assert without[answer] == lowest, f"without layer {answer} {without[answer]:.2%} are right, without another {lowest:.2%}"


def check_small(dense, small, dense_accuracy, small_accuracy):
    """At least three times fewer MACs, fewer parameters, at most 2 pp lost on the validation images, measured anew."""
    assert isinstance(small, nn.Module), f"expected your smaller network, got {type(small).__name__}"
    accuracies = [dense_accuracy, small_accuracy]
    assert all(isinstance(value, float) for value in accuracies), f"expected two validation accuracies, got {accuracies}"
    validation = data.load("digits").validation
    macs, small_macs = (metrics.count_macs(model, validation.x[:1]) for model in (dense, small))
    assert 3 * small_macs <= macs, f"{macs:,} to {small_macs:,} MACs is {macs / small_macs:.2f} times fewer, not 3 times"
    parameters, left = (metrics.count_parameters(model) for model in (dense, small))
    assert left < parameters / 2, f"{left:,} of {parameters:,} parameters are left: were channels removed, or only zeroed?"
    for name, model, said in (("dense", dense, dense_accuracy), ("small", small, small_accuracy)):
        measured = training.evaluate(model, validation)
        assert abs(measured - said) < 0.003, f"the {name} network's validation accuracy is {measured:.2%}, not {said:.2%}"
    assert dense_accuracy > 0.95, f"a trained DigitsCNN is over 95% right, yours {dense_accuracy:.2%}: train it longer"
    lost = 100 * (dense_accuracy - small_accuracy)
    assert lost <= 2 + 1e-6, f"the smaller network lost {lost:.2f} pp: remove less, or recover longer"


@pytest.fixture
def net():
    """A small CNN that is not fresh: its norms have seen images."""
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    for _ in range(3):
        model(torch.randn(16, 1, 8, 8) + 1)
    return model.eval()


X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(state, other):
    return list(state) == list(other) and all(torch.equal(state[name], other[name]) for name in state)


def widths(plan):
    """{layer: (channels before, after)} of a plan."""
    return {layer: (before, after) for layer, _, before, after in plan.rows()}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (["stage2.0.shortcut.0"], "1 layer is missing"),
        (["stage2.0.shortcut.0", "stage2.1.conv2", "stage2.1.conv1"], "stage2.1.conv1: its filters may differ"),
        ("stage2.1.conv2", "list of names"),
        ([], "at least one"),
        (None, "at least one"),
    ],
)
def test_the_check_of_what_goes_together_says_what_is_wrong(answer, message):
    plan = structured.plan_channels(models.CifarCNN(width=4, blocks=2), torch.zeros(1, 3, 8, 8), 0.5)
    check_together({"stage2.0.shortcut.0", "stage2.1.conv2.weight"}, plan)
    check_together(["stage2.0.conv2", "stage2.0.shortcut.0", "stage2.1.conv2"], plan)
    with pytest.raises(AssertionError, match=message):
        check_together(answer, plan)


def test_the_check_of_the_dearest_layer_wants_the_lowest_accuracy():
    without = {0: 0.3, 1: 0.8, 2: 0.9}
    check_dearest_layer(0, without)
    for answer in (1, 3, None, "0"):
        with pytest.raises(AssertionError):
            check_dearest_layer(answer, without)
    with pytest.raises(AssertionError, match="fractions"):
        check_dearest_layer(0, {0: 30.0, 1: 80.0, 2: 90.0})


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    training.train(model, data.load("digits"), epochs=4, lr=0.1, progress=False)
    return model


def test_the_check_of_success_measures_the_model(trained):
    digits = data.load("digits")
    small = structured.prune_channels(trained, X, 0.5)
    training.train(small, digits, 3, progress=False)
    good, zeroed = training.evaluate(trained, digits.validation), copy.deepcopy(trained)
    left = training.evaluate(small, digits.validation)
    assert good > 0.95 and left > good - 0.02, f"the recipe of this test is too weak: {good} and {left}"
    check_small(trained, small, good, left)
    untrained = structured.prune_channels(trained, X, 0.75)
    for answer, message in (
        ((trained, zeroed, good, good), "not 3 times"),
        ((trained, small, good, left - 0.01), "accuracy is"),
        ((trained, untrained, good, training.evaluate(untrained, digits.validation)), "lost"),
        ((trained, None, good, left), "NoneType"),
        ((trained, small, good, None), "two validation accuracies"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_small(*answer)


@pytest.mark.parametrize("amount", [-0.1, 1.0, 1.5, 50, float("nan")])
def test_an_amount_outside_0_to_below_1_is_refused_and_named(net, amount):
    before = state(net)
    for call in (
        lambda: structured.plan_channels(net, X, amount),
        lambda: structured.prune_channels(net, X, amount),
        lambda: structured.iterative_channel_prune(net, X, amount, 2, lambda model: None),
        lambda: structured.kept_channels(torch.ones(4), amount),
        lambda: structured.prune_heads(models.Transformer(width=8, depth=1, heads=2), amount),
    ):
        with pytest.raises(ValueError, match=f"0 to below 1.*{amount}"):
            call()
    assert same(before, net.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of amount, target_macs and target_latency, got none"),
        ({"amount": 0.5, "target_macs": 0.5}, "give one of"),
        ({"target_macs": 0.5, "target_latency": 0.5}, "give one of"),
        ({"target_macs": 0}, "target_macs is a ratio that is kept"),
        ({"target_latency": 1.2}, "target_latency is a ratio that is kept"),
        ({"amount": 0.5, "scope": "local"}, "'local'"),
        ({"amount": 0.5, "scope": "global", "floor": 1.5}, "1.5"),
        ({"amount": 0.5, "round_to": 0}, "round_to >= 1"),
        ({"amount": 0.5, "criterion": "L1"}, "criterion must be .* got 'L1'"),
        ({"amount": 0.5, "criterion": "taylor"}, "loss.backward"),
        ({"amount": 0.5, "criterion": lambda weight: weight}, "conv1.weight needs 8 finite scores"),
        ({"amount": 0.5, "criterion": lambda weight: torch.full((len(weight),), torch.inf)}, "finite"),
        ({"amount": 0.5, "ignore": ["convl"]}, "'convl'.*did you mean 'conv"),
        ({"amount": 0.99}, "conv1: nothing would be left of 8 channels"),
        ({"amount": 0.95, "scope": "global"}, "lower the floor"),
        ({"target_macs": 1e-6}, "cannot be reached: the smallest possible ratio"),
    ],
)
def test_arguments_out_of_range_are_refused_and_the_model_stays_as_it_is(net, options, message):
    before = state(net)
    with pytest.raises(ValueError, match=message):
        structured.plan_channels(net, X, **options)
    assert same(before, net.state_dict()) and all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("ignore", [["conv1", "conv2", "conv3", "fc1"], ["conv1.weight", "conv2", "conv3", "fc1"]])
def test_everything_ignored_is_unsupported_and_says_why(net, ignore):
    with pytest.raises(structured.UnsupportedModel, match=r"no channel of DigitsCNN can be removed\. .*in ignore"):
        structured.prune_channels(net, X, 0.5, ignore=ignore)


def test_an_ignored_layer_keeps_its_channels_and_the_plan_says_so(net):
    plan = structured.plan_channels(net, X, 0.5, ignore="conv2")
    assert widths(plan) == {"conv1": (8, 4), "conv3": (32, 16), "fc1": (72, 36)}
    assert plan.left == {"conv2": "it is in ignore", "fc2": "the model's output keeps its shape"}


def test_a_global_ranking_removes_the_asked_number_and_leaves_each_group_its_floor(net):
    with torch.no_grad():
        net.conv2.weight[1:] *= 1e-3  # all but one filter are nothing beside it
    plan = structured.plan_channels(net, X, 0.5, scope="global", floor=0.25)
    assert widths(plan)["conv2"] == (16, 4)
    assert sum(after for _, after in widths(plan).values()) == (8 + 16 + 32 + 72) // 2
    assert all(after >= before / 4 for before, after in widths(plan).values())


def test_round_to_8_leaves_multiples_of_8(net):
    plan = structured.plan_channels(net, X, 0.4, round_to=8)
    assert widths(plan) == {"conv1": (8, 8), "conv2": (16, 16), "conv3": (32, 24), "fc1": (72, 48)}
    assert structured.plan_channels(net, X, 0.4).rows() != plan.rows()


@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
def test_a_target_of_macs_is_reached_and_not_by_far(net, target):
    for scope in ("uniform", "global"):
        smaller = structured.prune_channels(net, X, target_macs=target, scope=scope)
        ratio = metrics.count_macs(smaller, X) / metrics.count_macs(net, X)
        assert target - 0.15 < ratio <= target


def test_a_target_of_latency_removes_something():
    model, x = nn.Sequential(nn.Linear(800, 800), nn.ReLU(), nn.Linear(800, 4)), torch.randn(64, 800)
    plan = structured.plan_channels(model, x, target_latency=0.7)
    assert 0 < widths(plan)["0"][1] < 700


def test_taylor_keeps_the_filters_that_move_the_loss(net):
    loss = nn.functional.cross_entropy(net(X), torch.tensor([1, 2]))
    loss.backward()
    with torch.no_grad():
        net.conv1.weight.grad[[1, 4, 6]] = 0
    gradients = [p.grad.clone() for p in net.parameters()]
    plan = structured.plan_channels(net, X, 3 / 8, criterion="taylor")
    (kept,) = [kept for group, kept in zip(plan.groups, plan.kept) if group.outputs[0][0] == "conv1.weight"]
    assert kept == [0, 2, 3, 5, 7]
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(net.parameters(), gradients))


def test_a_criterion_may_be_a_function_with_scores_of_any_sign(net):
    net.conv1.weight.data = torch.arange(1.0, 9)[:, None, None, None].expand(8, 1, 3, 3).clone()
    for criterion, expected in (
        (lambda weight: structured.filter_scores(weight, "l2"), [4, 5, 6, 7]),
        (lambda weight: -structured.filter_scores(weight, "l2"), [0, 1, 2, 3]),
    ):
        smaller = structured.prune_channels(net, X, 0.5, criterion=criterion)
        assert [int(filter) - 1 for filter in smaller.conv1.weight[:, 0, 0, 0].tolist()] == expected


def test_the_smaller_model_computes_what_the_masked_one_does_and_trains(net):
    for options in ({"amount": 0.5}, {"amount": 0.7, "scope": "global", "criterion": "geometric_median"}):
        plan = structured.plan_channels(net, X, **options)
        smaller, masked = structured.remove_channels(net, plan), structured.mask_channels(net, plan)
        assert torch.allclose(smaller.eval()(X), masked.eval()(X), rtol=1e-5, atol=1e-6)
        assert metrics.count_parameters(smaller) < metrics.count_parameters(net)
        smaller.train()(torch.randn(4, 1, 8, 8)).sum().backward()
        assert all(p.grad is not None for p in smaller.parameters())


def test_no_function_changes_the_model_that_it_is_given(net):
    transformer = models.Transformer(width=8, depth=3, heads=2)
    for model, calls in (
        (
            net,
            (
                lambda: structured.prune_channels(net, X, 0.5),
                lambda: structured.prune_channels(net, X, target_macs=0.5, scope="global"),
                lambda: structured.mask_channels(net, structured.plan_channels(net, X, 0.5)),
                lambda: structured.iterative_channel_prune(
                    net, X, 0.5, 2, lambda m: training.train(m, data.load("digits"), 1, progress=False)
                ),
                lambda: structured.remove_filters(net.conv1, net.bn1, net.conv2, torch.tensor([0, 1])),
            ),
        ),
        (
            transformer,
            (
                lambda: structured.drop_layers(transformer, [0, 2]),
                lambda: structured.prune_heads(transformer, 0.5),
                lambda: structured.prune_channels(transformer, X, 0.5),
            ),
        ),
    ):
        before, modes, text = state(model), [module.training for module in model.modules()], repr(model)
        for call in calls:
            call()
            assert same(before, model.state_dict()) and repr(model) == text
            assert modes == [module.training for module in model.modules()]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_an_optimizer_that_is_handed_over_goes_on_as_that_of_the_masked_model_would(net, kind):
    def optimizer_of(model):
        parameters = list(model.parameters())
        groups = [{"params": parameters[:3], "lr": 0.02}, {"params": parameters[3:]}]
        return (
            torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01)
            if kind == "sgd"
            else torch.optim.Adam(groups, 0.01)
        )

    def train(model, optimizer, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(3):
            x, y = torch.randn(8, 1, 8, 8, generator=generator), torch.arange(8)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model.train()(x), y).backward()
            optimizer.step()

    net, optimizer = net.double(), None
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = optimizer_of(net)
        train(net, optimizer, seed=1)
        plan = structured.plan_channels(net, X.double(), 0.5)
        masked = structured.mask_channels(net, plan)
        kept = structured.mask_channels(_filled_with_ones(net), plan)  # ones where something stays
        masked_optimizer = optimizer_of(masked)
        masked_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for parameter, mask in zip(masked.parameters(), kept.parameters()):
            for value in masked_optimizer.state[parameter].values():
                if isinstance(value, torch.Tensor) and value.shape == mask.shape:
                    value *= mask.detach()
        smaller = structured.prune_channels(net, X.double(), 0.5, optimizer=optimizer)
        ours = {id(p) for p in smaller.parameters()}
        assert [id(p) in ours for group in optimizer.param_groups for p in group["params"]] == [True] * len(ours)
        train(smaller, optimizer, seed=2)
        train(masked, masked_optimizer, seed=2)
    finally:
        torch.set_default_dtype(torch.float32)
    expected = structured.remove_channels(masked, plan)
    for (name, got), want in zip(smaller.named_parameters(), expected.parameters()):
        assert torch.allclose(got, want, rtol=1e-6, atol=1e-9), name


def _filled_with_ones(model):
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


def test_a_strange_optimizer_is_refused_before_anything_is_changed(net):
    optimizer = torch.optim.SGD(nn.Linear(3, 3).parameters(), 0.1)
    before = [id(p) for group in optimizer.param_groups for p in group["params"]]
    with pytest.raises(ValueError, match="the optimizer holds 2 parameters"):
        structured.prune_channels(net, X, 0.5, optimizer=optimizer)
    assert before == [id(p) for group in optimizer.param_groups for p in group["params"]]


def test_a_proof_that_fails_is_an_error_and_the_optimizer_stays(net, monkeypatch):
    plan, optimizer = structured.plan_channels(net, X, 0.5), torch.optim.SGD(net.parameters(), 0.1)
    monkeypatch.setattr(structured, "plan_channels", lambda *args, **options: plan)
    monkeypatch.setattr(channel_plan, "find_fault", lambda *args: "the results differ by 1, relative")
    with pytest.raises(structured.UnsupportedModel, match="not equal to the masked one: the results differ"):
        structured.prune_channels(net, X, 0.5, optimizer=optimizer)
    assert optimizer.param_groups[0]["params"][0] is net.conv1.weight


def test_iterative_pruning_of_a_residual_network_counts_its_channels():
    model, seen = models.CifarCNN(width=8, blocks=1), []
    smaller = structured.iterative_channel_prune(
        model, torch.zeros(1, 3, 8, 8), 0.75, 2, lambda m: seen.append((m.conv.out_channels, m.fc.in_features)), ignore=["bn"]
    )
    assert seen == [(8, 16), (8, 8)] and smaller.stage1[0].conv1.out_channels == 2
    for steps in (0, -1):
        with pytest.raises(ValueError, match=f"steps at least 1: got 0.5 and {steps}"):
            structured.iterative_channel_prune(model, torch.zeros(1, 3, 8, 8), 0.5, steps, lambda m: None)


@pytest.mark.parametrize(
    ("model", "keep", "message"),
    [
        (nn.Linear(2, 2), [0], "Linear has no nn.Sequential or nn.ModuleList `layers`"),
        (models.Transformer(width=8, depth=3, heads=2), [], "layers 0 to 2, each once, got \\[\\]"),
        (models.Transformer(width=8, depth=3, heads=2), [0, 3], "layers 0 to 2"),
        (models.Transformer(width=8, depth=3, heads=2), [-1], "layers 0 to 2"),
        (models.Transformer(width=8, depth=3, heads=2), [1, 1], "each once"),
    ],
)
def test_drop_layers_refuses(model, keep, message):
    with pytest.raises(ValueError, match=message):
        structured.drop_layers(model, keep)


@pytest.mark.parametrize(("heads", "amount", "left"), [(4, 0.5, 2), (4, 0.25, 3), (2, 0.5, 1), (4, 0, 4)])
def test_without_heads_a_model_computes_as_if_nothing_read_them(heads, amount, left):
    torch.manual_seed(heads)
    model = models.Transformer(width=16, depth=2, heads=heads).eval()
    smaller = structured.prune_heads(model, amount).eval()
    masked = copy.deepcopy(model)
    for layer in masked.layers:
        attention, size = layer.attention, layer.attention.head_dim
        scores = [
            attention.value.weight[size * i : size * (i + 1)].detach().square().sum().item()
            + attention.out.weight[:, size * i : size * (i + 1)].detach().square().sum().item()
            for i in range(heads)
        ]
        for head in sorted(range(heads), key=scores.__getitem__)[: heads - left]:
            nn.init.zeros_(attention.out.weight.data[:, size * head : size * (head + 1)])
    assert [layer.attention.heads for layer in smaller.layers] == [left, left]
    assert smaller.layers[0].attention.query.out_features == left * 16 // heads == smaller.layers[0].attention.out.in_features
    assert torch.allclose(smaller(X), masked(X), rtol=1e-5, atol=1e-5)
    again = structured.prune_heads(smaller, 1 - 1 / left)  # heads x head_dim is no longer the width
    assert again.layers[1].attention.heads == 1 and again(X).shape == (2, 10)


def test_prune_heads_refuses_what_has_no_heads_to_remove():
    with pytest.raises(structured.UnsupportedModel, match="Linear has no models"):
        structured.prune_heads(nn.Linear(2, 2), 0.5)
    with pytest.raises(structured.UnsupportedModel, match="self_attn is nn"):
        structured.prune_heads(nn.TransformerEncoderLayer(8, 2), 0.5)
    with pytest.raises(ValueError, match="nothing would be left of 2"):
        structured.prune_heads(models.Transformer(width=8, depth=1, heads=2), 0.9)


def test_filters_are_those_that_torch_would_mask():
    layer = nn.Conv2d(3, 16, 3)
    for n, criterion in ((1, "l1"), (2, "l2")):
        kept = structured.kept_channels(structured.filter_scores(layer.weight, criterion), 0.25)
        theirs = torch_prune.ln_structured(copy.deepcopy(layer), "weight", amount=0.25, n=n, dim=0).weight_mask
        assert kept.tolist() == theirs[:, 0, 0, 0].nonzero().flatten().tolist()


def test_student_functions_refuse_bad_input():
    for call, message in (
        (lambda: structured.filter_scores(torch.ones(2, 2), "l3"), "'l3'"),
        (lambda: structured.filter_scores(torch.ones(2, 2), "taylor"), "loss.backward"),
        (lambda: structured.kept_channels(torch.tensor([1.0, torch.nan]), 0.5), "finite"),
        (lambda: structured.kept_channels(torch.ones(3), 0.9), "nothing would be left of 3 channels"),
        (lambda: structured.coupled_scores([]), "lengths"),
        (lambda: structured.coupled_scores([torch.ones(2), torch.ones(3)]), "\\[2, 3\\]"),
        (
            lambda: structured.remove_filters(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(5), nn.Conv2d(4, 1, 1), torch.tensor([0])),
            "the norm has 5 features, the convolution 4",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
