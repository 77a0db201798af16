"""Tests of tinyshrink.lowrank: first the checks of lesson 05 in the order of its exercises, then ordinary tests."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import TruncatedSVD
from torch import nn
from torch.nn.utils import parametrizations

from tinyshrink import data, lowrank, metrics, models, training


def test_svd_cost_counts_the_weights_of_both_layers():
    for channels, kernel, rank, scheme, expected in (
        ((128, 256), (1, 1), 42, "spatial", 16128),  # Linear(128, 42), then Linear(42, 256)
        ((4096, 4096), (1, 1), 2048, "weight", 16777216),
        ((32, 64), (5, 5), 10, "spatial", 4800),
        ((32, 64), (5, 5), 10, "weight", 16320),
        ((2, 3), (5, 7), 2, "spatial", 62),  # kernel (5, 1) from 2 channels, then (1, 7) to 3
        ((2, 3), (5, 7), 2, "weight", 214),
    ):
        shape = lowrank.LayerShape(*channels, kernel, stride=(1, 2), output=(9, 9))
        got = lowrank.svd_cost(shape, rank, scheme, "memory")
        assert got == expected, f"weights of {shape} at rank {rank}, {scheme}: expected {expected}, got {got}"


def test_svd_cost_counts_the_positions_of_both_layers():
    for stride, scheme, expected in (
        ((1, 1), "spatial", 15200),  # 2 * (4 * 5 + 6 * 3) weights, each at 20 * 10 positions
        ((2, 1), "spatial", 15200),  # the first layer has the vertical stride: it has no more positions
        ((1, 2), "spatial", 23200),  # but twice as many where the second one has a stride of 2
        ((1, 1), "weight", 37600),
        ((3, 2), "weight", 45600),
    ):
        shape = lowrank.LayerShape(4, 6, (5, 3), stride, output=(20, 10))
        got = lowrank.svd_cost(shape, 2, scheme, "macs")
        assert got == expected, f"MACs of {shape} at rank 2, {scheme}: expected {expected}, got {got}"


def test_truncated_svd_gives_two_thin_matrices():
    weight = nn.Parameter(torch.randn(7, 4, generator=torch.Generator().manual_seed(0)))
    before, random_state = weight.detach().clone(), torch.get_rng_state()
    for rank in (1, 3, 4):
        left, right = lowrank.truncated_svd(weight, rank)
        shapes = tuple(left.shape), tuple(right.shape)
        assert shapes == ((7, rank), (rank, 4)), f"rank {rank} of a 7 x 4: expected (7, {rank}), ({rank}, 4), got {shapes}"
        assert not left.requires_grad and not right.requires_grad, "the factors are plain numbers: detach the weight"
    error = (left @ right - weight).abs().max().item()
    assert error < 1e-5, f"at full rank left @ right is the weight itself, yours is off by {error:.1e}"
    assert torch.equal(weight, before), "the weight given to you was changed"
    assert torch.equal(torch.get_rng_state(), random_state), "random numbers were drawn: the same training would differ"
    dtypes = [factor.dtype for factor in lowrank.truncated_svd(weight.half(), 2)]
    assert dtypes == [torch.float16] * 2, f"factors of a float16 weight should be float16, got {dtypes}"


def test_truncated_svd_is_the_nearest_of_its_rank():
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    S = torch.linalg.svdvals(weight)
    for rank in (1, 5, 12, 19):
        left, right = lowrank.truncated_svd(weight, rank)
        error, least = (weight - left @ right).norm().item(), S[rank:].square().sum().sqrt().item()
        said = f"rank {rank} of a 20 x 30: the least error, of the singular values cut off, is {least:.6f}, yours {error:.6f}"
        assert abs(error / least - 1) < 1e-5, said


def test_truncated_svd_shares_the_singular_values_out():
    weight = torch.diag(torch.tensor([9.0, 4.0, 1.0, 0.25]))
    left, right = lowrank.truncated_svd(weight[[2, 0, 3, 1]], 3)
    for name, squares in (("left", left.square().sum(0)), ("right", right.square().sum(1))):
        got = squares.tolist()
        close = np.allclose(got, [9, 4, 1], rtol=1e-5)
        assert close, f"singular values 9, 4, 1: that is each column of left and row of right squared; {name} has {got}"


def test_rank_for_ratio_of_known_layers():
    conv, linear = lowrank.LayerShape(32, 64, (5, 5), output=(28, 28)), lowrank.LayerShape(128, 256)
    for shape, ranks in (
        (conv, {1.0: 106, 0.9: 96, 0.75: 80, 0.5: 53, 0.25: 26, 0.1: 10}),
        (linear, {1.0: 85, 0.75: 64, 0.5: 42, 0.1: 8}),
    ):
        for ratio, expected in ranks.items():
            got = lowrank.rank_for_ratio(shape, ratio)
            assert got == expected, f"{shape} at ratio {ratio}: expected rank {expected}, got {got!r}"
    for ratio, expected in ((0.1, 16), (0.5, 56), (1.0, 106)):
        got = lowrank.rank_for_ratio(conv, ratio, multiple=8)
        assert got == expected, f"the 5 x 5 convolution at {ratio} with multiple=8: expected rank {expected}, got {got}"


def test_rank_for_ratio_gives_the_rank_back():
    for shape, scheme, metric in (
        (lowrank.LayerShape(49, 51), "spatial", "macs"),
        (lowrank.LayerShape(16, 32, (3, 3), (2, 2)), "spatial", "memory"),
        (lowrank.LayerShape(16, 32, (3, 3), (2, 2)), "weight", "macs"),
    ):
        for rank in range(1, math.floor(lowrank.break_even_rank(shape, scheme, metric)) + 1):
            ratio = lowrank.svd_cost(shape, rank, scheme, metric) / lowrank.layer_cost(shape, metric)
            got = lowrank.rank_for_ratio(shape, ratio, scheme, metric)
            assert got == rank, f"rank {rank} of {shape}, {scheme}, has {metric} ratio {ratio!r}, which gives rank {got}"


def test_rank_for_ratio_says_when_one_is_too_much():
    for shape, ratio, warned in (
        (lowrank.LayerShape(32, 64, (5, 5)), 0.001, 1),
        (lowrank.LayerShape(1, 10), 1.0, 1),
        (lowrank.LayerShape(100, 100), 0.02, 0),  # rank 1 costs exactly this
    ):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            rank = lowrank.rank_for_ratio(shape, ratio)
        assert rank == 1, f"{shape} at ratio {ratio}: the rank is never below 1, got {rank}"
        assert len(said) == warned, (
            f"{shape} at ratio {ratio}: expected {warned} warnings, got {[str(w.message) for w in said]}"
        )


def test_factorize_linear_makes_two_layers():
    for bias in (True, False):
        layer = nn.Linear(6, 9, bias=bias)
        two = lowrank.factorize_linear(layer, 2)
        assert isinstance(two, nn.Sequential), f"expected a Sequential, got {type(two).__name__}"
        assert all(type(part) is nn.Linear for part in two), f"expected nothing but Linear layers in it, got {two}"
        got = [(part.in_features, part.out_features, part.bias is not None) for part in two]
        assert got == [(6, 2, False), (2, 9, bias)], f"Linear(6, 9, bias={bias}) at rank 2: (in, out, bias) is {got}"
        trained = [parameter.requires_grad and parameter.is_leaf for parameter in two.parameters()]
        assert all(trained), "the new weights must be parameters that can be trained"
        if bias:
            assert torch.equal(two[1].bias, layer.bias), "the bias must be that of the layer"
            own = two[1].bias.data_ptr() != layer.bias.data_ptr()
            assert own, "the bias shares its memory with the layer's: training one changes the other, clone it"


def test_factorize_linear_computes_the_same_at_full_rank():
    for inputs, outputs in ((5, 8), (8, 5), (6, 6)):
        layer, x = nn.Linear(inputs, outputs), torch.randn(3, 4, inputs)
        before = copy.deepcopy(layer.state_dict())
        expected, got = layer(x), lowrank.factorize_linear(layer, 5)(x)
        assert got.shape == expected.shape, f"output {tuple(expected.shape)} expected, got {tuple(got.shape)}"
        if inputs != outputs:
            error = (got - expected).abs().max().item()
            assert error < 1e-5, f"Linear({inputs}, {outputs}) at its full rank, 5: the output is off by {error:.1e}"
        assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items()), "the layer was changed"


def test_spatial_svd_splits_kernel_stride_and_padding():
    conv = nn.Conv2d(3, 8, (5, 3), stride=(2, 1), padding=(2, 1))
    first, second = lowrank.spatial_svd(conv, 4)
    for place, part, expected in (
        ("first", first, (3, 4, (5, 1), (2, 1), (2, 0), False)),
        ("second", second, (4, 8, (1, 3), (1, 1), (0, 1), True)),
    ):
        got = (part.in_channels, part.out_channels, part.kernel_size, part.stride, part.padding, part.bias is not None)
        assert got == expected, f"{place} layer: expected in, out, kernel, stride, padding, bias {expected}, got {got}"
        channels = (part.out_channels, part.in_channels, *part.kernel_size)
        assert part.weight.shape == channels, f"the weight of the {place} is {tuple(part.weight.shape)}, not {channels}"
    assert torch.equal(second.bias, conv.bias), "the bias must be that of the convolution"
    assert second.bias.data_ptr() != conv.bias.data_ptr(), "the bias shares its memory with the convolution's: clone it"


def test_spatial_svd_computes_the_same_at_full_rank():
    for settings_ in (
        {"kernel_size": 3},
        {"kernel_size": (5, 3), "stride": (3, 2), "padding": (1, 2)},
        {"kernel_size": (3, 5), "padding": "same"},
        {"kernel_size": 3, "stride": 2, "padding": 1, "padding_mode": "reflect", "bias": False},
        {"kernel_size": 1, "stride": 2},
    ):
        conv, x = nn.Conv2d(3, 4, **settings_).double(), torch.randn(2, 3, 11, 13, dtype=torch.float64)
        two, expected = lowrank.spatial_svd(conv, min(3 * conv.kernel_size[0], 4 * conv.kernel_size[1])), conv(x)
        got = two(x)
        assert got.shape == expected.shape, f"{conv}: output {tuple(expected.shape)} expected, got {tuple(got.shape)}"
        error = (got - expected).abs().max().item()
        assert error < 1e-10, f"{conv} at full rank: the output is off by {error:.1e}"


def test_spatial_svd_has_the_known_errors():
    conv = nn.Conv2d(3, 4, 3, bias=False).double()
    conv.weight.data = torch.tensor(np.random.RandomState(0).randn(4, 3, 3, 3))
    for rank, expected in ((1, 0.854819), (4, 0.457985)):
        first, second = lowrank.spatial_svd(conv, rank)
        whole = torch.einsum("rik,orl->oikl", first.weight[..., 0], second.weight[:, :, 0])  # (out, in, kh, kw)
        got = ((whole - conv.weight).norm() / conv.weight.norm()).item()
        assert abs(got - expected) < 1e-6, f"relative error at rank {rank}: expected {expected}, got {got:.6f}"


def test_weight_svd_puts_a_pointwise_layer_first():
    conv = nn.Conv2d(3, 8, (5, 3), stride=(2, 1), padding=(4, 1), dilation=(2, 1))
    first, second = lowrank.weight_svd(conv, 2)
    for place, part, expected in (
        ("first", first, (3, 2, (1, 1), (1, 1), (0, 0), (1, 1), False)),
        ("second", second, (2, 8, (5, 3), (2, 1), (4, 1), (2, 1), True)),
    ):
        shape = part.in_channels, part.out_channels, part.kernel_size, part.stride, part.padding, part.dilation
        got = (*shape, part.bias is not None)
        assert got == expected, f"{place}: in, out, kernel, stride, padding, dilation, bias: expected {expected}, got {got}"
    assert torch.equal(second.bias, conv.bias), "the bias must be that of the convolution"
    assert second.bias.data_ptr() != conv.bias.data_ptr(), "the bias shares its memory with the convolution's: clone it"


def test_weight_svd_computes_the_same_at_full_rank():
    for settings_ in (
        {"kernel_size": 3},
        {"kernel_size": (5, 3), "stride": (3, 2), "padding": (1, 2)},
        {"kernel_size": (2, 3), "padding": "same", "dilation": 2, "bias": False},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    ):
        conv, x = nn.Conv2d(3, 4, **settings_).double(), torch.randn(2, 3, 11, 13, dtype=torch.float64)
        got, expected = lowrank.weight_svd(conv, 3)(x), conv(x)
        assert got.shape == expected.shape, f"{conv}: output {tuple(expected.shape)} expected, got {tuple(got.shape)}"
        error = (got - expected).abs().max().item()
        assert error < 1e-10, f"{conv} at its full rank, 3: the output is off by {error:.1e}"


def test_replace_layers_keeps_the_names():
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Sequential(nn.Linear(8, 20), nn.Linear(20, 9)))
    before = copy.deepcopy(model.state_dict())
    for scheme, kernels in (("spatial", [(3, 1), (1, 3)]), ("weight", [(1, 1), (3, 3)])):
        smaller = lowrank.replace_layers(model, {"0": 2, "2.0": 3}, scheme)
        assert list(model.state_dict()) == list(before) and smaller is not model, "the model given to you was changed"
        expected = ["0.0.weight", "0.1.weight", "0.1.bias", "2.0.0.weight", "2.0.1.weight", "2.0.1.bias"]
        got = list(smaller.state_dict())
        assert got == [*expected, "2.1.weight", "2.1.bias"], f"0 and 2.0 should be two layers each, 2.1 one: got {got}"
        got = [layer.kernel_size for layer in smaller[0]]
        assert got == kernels, f"scheme {scheme!r}: expected kernels {kernels}, got {got}"
        ranks = smaller[0][0].out_channels, smaller[2][0][0].out_features
        assert ranks == (2, 3), f"expected ranks (2, 3), got {ranks}"
        assert smaller(torch.randn(2, 4, 3, 3)).shape == (2, 9), "the smaller model does not compute what the model did"


def test_replace_layers_leaves_what_would_grow_and_says_so():
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 40), nn.Linear(40, 10))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        smaller = lowrank.replace_layers(model, {"0": 5, "1": 7, "2": 9})  # 5 of 10 x 10 saves nothing: 100 weights
    kinds = [type(part).__name__ for part in smaller]
    assert kinds == ["Linear", "Sequential", "Linear"], f"ranks 5, 7, 9: only the second gets cheaper, got {kinds}"
    assert len(said) == 1, f"one warning should name both layers, got {[str(warning.message) for warning in said]}"
    text = str(said[0].message)
    assert "0 (" in text and "2 (" in text and "1 (" not in text, f"the warning should name layers 0 and 2: {text!r}"
    assert torch.equal(smaller[2].weight, model[2].weight), "a layer that stays has the weights that it had"


def test_replace_layers_asks_the_metric():
    conv = nn.Conv2d(2, 64, (3, 1), stride=(1, 4), bias=False)  # 384 weights
    for metric, rank, expected in (("memory", 5, 2), ("memory", 6, 1), ("macs", 4, 2), ("macs", 5, 1)):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            smaller = lowrank.replace_layers(nn.Sequential(conv), {"0": rank}, "spatial", metric)
        got = len(list(smaller.parameters()))
        assert got == expected, f"{conv} at rank {rank} by {metric}: expected {expected} layers, got {got}"


def test_replace_layers_refuses_a_rank_by_the_name_of_its_layer():
    for rank in (0, 11):
        error = None
        try:
            lowrank.replace_layers(nn.ModuleDict({"narrow": nn.Linear(10, 12), "other": nn.Linear(9, 9)}), {"narrow": rank})
        except Exception as raised:
            error = raised
        named = isinstance(error, ValueError) and "narrow" in str(error)
        assert named, f'"narrow" is 12 x 10, rank {rank} should be a ValueError with that name in it, got {error!r}'


def check_break_even(answer):
    """The rank at which the two layers of Linear(784, 300) have as many weights as the one."""
    assert isinstance(answer, (int, float)), f"the answer is a number, got {answer!r}"
    cost = answer * (784 + 300)
    assert abs(cost - 784 * 300) < 1084, f"at rank {answer} the two layers have {cost:,.0f} weights, the one 235,200"


def check_most_sensitive(answer, alone):
    """`alone` {layer: accuracy when only it is factorized}; the answer is the layer that costs the most accuracy."""
    assert len(alone) >= 4, f"measure each of the layers, got {sorted(alone)}"
    assert answer in alone, f"the answer is the name of a layer, one of {', '.join(alone)}, got {answer!r}"
    worst = min(alone, key=alone.get)
    said = f"with {answer} alone factorized you measured {alone[answer]:.2%}, with another layer {alone[worst]:.2%}"
    assert alone[answer] == alone[worst], said


def check_success(dense, small, dense_accuracy, small_accuracy):
    """At most half of the parameters, in the same network with layers of low rank, and at most 1 pp lost on test."""
    assert isinstance(small, nn.Module), f"expected the factorized network, got {type(small).__name__}"
    accuracies = [dense_accuracy, small_accuracy]
    assert all(isinstance(value, float) for value in accuracies), f"expected two test accuracies, got {accuracies}"
    before, after = metrics.count_parameters(dense), metrics.count_parameters(small)
    assert before == 243530, f"dense is the DigitsCNN with its 243,530 parameters, yours has {before:,}"
    assert 2 * after <= before, f"{after:,} parameters are {after / before:.1%} of {before:,}, not half"
    layers = {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "fc1", "fc2"}
    missing = layers - {name for name, _ in small.named_children()}
    assert not missing, f"the layers keep their names, {sorted(missing)} are gone"
    two = [name for name in layers if isinstance(getattr(small, name), nn.Sequential)]
    assert two, "no layer of the smaller network is two layers of low rank: make it of dense, by lowrank.factorize"
    assert len(small.bn3.weight) == 128, f"the layers keep their width, conv3 has {len(small.bn3.weight)} outputs, not 128"
    test = data.load("digits").test
    for name, network, said in (("dense", dense, dense_accuracy), ("small", small, small_accuracy)):
        measured = training.evaluate(network, test)
        assert abs(measured - said) < 0.003, f"the {name} network's test accuracy is {measured:.2%}, not {said:.2%}"
    assert dense_accuracy > 0.95, f"a trained DigitsCNN is over 95% right, yours {dense_accuracy:.2%}: train it longer"
    lost = 100 * (dense_accuracy - small_accuracy)
    assert lost <= 1, f"{lost:.2f} pp of accuracy are lost: fine-tune longer, or leave a sensitive layer alone"


def test_costs_ranks_and_macs_of_the_known_network():
    """ALGORITHMS.md: conv 1->32 k5 (28x28), conv 32->64 k5 (14x14), fc 3136->1024, fc 1024->10."""
    shapes = [
        lowrank.LayerShape(1, 32, (5, 5), output=(28, 28)),
        lowrank.LayerShape(32, 64, (5, 5), output=(14, 14)),
        lowrank.LayerShape(3136, 1024),
        lowrank.LayerShape(1024, 10),
    ]
    assert sum(lowrank.layer_cost(shape, "memory") for shape in shapes) == 3_273_504
    assert sum(lowrank.layer_cost(shape) for shape in shapes) == 13_883_904
    ranks = [lowrank.rank_for_ratio(shape, 0.5) for shape in shapes]
    assert ranks == [2, 53, 385, 4]
    assert sum(lowrank.svd_cost(shape, rank) for shape, rank in zip(shapes, ranks)) == 6_850_696
    net = nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(3136, 1024), nn.Linear(1024, 10)),
    )
    x = torch.zeros(1, 1, 28, 28)
    assert metrics.count_macs(net, x) == 13_883_904
    assert metrics.count_macs(lowrank.factorize(net, ratio=0.5), x) == 6_850_696


def test_break_even_of_the_documents_example_is_half_of_the_rank():
    shape = lowrank.LayerShape(4096, 4096)
    assert lowrank.break_even_rank(shape) == 2048
    assert lowrank.svd_cost(shape, 2048) == lowrank.layer_cost(shape)
    assert lowrank.layer_cost(lowrank.LayerShape(32, 32, (3, 3), groups=32), "memory") == 288


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda s: lowrank.layer_cost(s, "flops"), "flops"),
        (lambda s: lowrank.svd_cost(s, 1, "channel"), "channel"),
        (lambda s: lowrank.svd_cost(s, 1, metric="bytes"), "bytes"),
        (lambda s: lowrank.svd_cost(s, 0), "at least 1"),
        (lambda s: lowrank.svd_cost(s._replace(groups=2), 1), "one group"),
        (lambda s: lowrank.rank_for_ratio(s, 0), "above 0"),
        (lambda s: lowrank.rank_for_ratio(s, 1.5), "1.5"),
        (lambda s: lowrank.rank_for_ratio(s, float("nan")), "nan"),
        (lambda s: lowrank.rank_for_ratio(s, 0.5, multiple=0), "multiple"),
    ],
)
def test_costs_of_what_does_not_exist_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(lowrank.LayerShape(4, 4))


@pytest.mark.parametrize("weight", [torch.zeros(3, 4, 2), torch.zeros(3)])
def test_truncated_svd_refuses_what_is_no_matrix(weight):
    with pytest.raises(ValueError, match="matrix"):
        lowrank.truncated_svd(weight, 1)


@pytest.mark.parametrize("rank", [0, -1, 4, 100])
def test_rank_zero_and_above_the_full_rank_are_refused(rank):
    layer, conv = nn.Linear(3, 9), nn.Conv2d(1, 3, 3)
    for make in (lowrank.factorize_linear, lambda layer, rank: lowrank.truncated_svd(layer.weight, rank)):
        with pytest.raises(ValueError, match=str(rank)):
            make(layer, rank)
    for make in (lowrank.spatial_svd, lowrank.weight_svd):
        with pytest.raises(ValueError, match=str(rank)):
            make(conv, rank)
    with pytest.raises(ValueError, match=r"fc3: .*11"):
        lowrank.replace_layers(models.LeNet300(), {"fc1": 50, "fc3": 11})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_the_layers_name(value):
    model = models.LeNet300()
    model.fc2.weight.data[3, 4] = value
    with pytest.raises(ValueError, match="NaN"):
        lowrank.factorize_linear(model.fc2, 3)
    with pytest.raises(ValueError, match=r"fc2: .*NaN"):
        lowrank.replace_layers(model, {"fc1": 3, "fc2": 3})
    for how in ({"ratio": 0.5}, {"energy": 0.5}, {"budget": 1000}):
        with pytest.raises(ValueError, match=r"fc2: .*NaN"):
            lowrank.factorize(model, **how)


def test_groups_and_dilation_are_refused_by_the_layers_name():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, dilation=2))
    for name, layer in model.named_children():
        with pytest.raises(ValueError, match=r"not for Conv2d\(4, 4"):
            lowrank.spatial_svd(layer, 1)
        with pytest.raises(ValueError, match=rf"^{name}: .*not for Conv2d\(4, 4"):
            lowrank.replace_layers(model, {name: 1})
    with pytest.raises(ValueError, match="groups"):
        lowrank.weight_svd(model[0], 1)
    with pytest.warns(UserWarning, match=r"stay as they are: 0 \(groups 2.*1 \(groups 1, dilation \(2, 2\)"):
        with pytest.raises(ValueError, match="no Linear or Conv2d"):
            lowrank.factorize(model, ratio=0.5)
    with pytest.warns(UserWarning, match=r"stay as they are: 0 \(groups 2, dilation \(1, 1\)\)$"):
        assert set(lowrank.candidates(model, "weight")) == {"1"}


def test_large_layers_are_factorized_at_random_with_the_same_error():
    weight = torch.randn(1024, 1100, generator=torch.Generator().manual_seed(0)).div(32)
    random_state = torch.get_rng_state()
    left, right = lowrank.truncated_svd(weight, 40)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(left, lowrank.truncated_svd(weight, 40)[0])  # the same factors each time
    S = torch.linalg.svdvals(weight)
    least = S[40:].square().sum().sqrt()
    assert 1 - 1e-4 < (weight - left @ right).norm() / least < 1.001


def test_factors_keep_dtype_mode_and_what_is_frozen():
    layer = nn.Linear(8, 8, dtype=torch.bfloat16).eval().requires_grad_(False)
    state = torch.get_rng_state()
    two = lowrank.factorize_linear(layer, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in two.parameters()} == {torch.bfloat16}
    assert not two.training and not two[0].training and not any(p.requires_grad for p in two.parameters())
    assert two(torch.ones(1, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    assert all(p.is_contiguous() for p in lowrank.spatial_svd(conv, 2).parameters())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_truncated_svd_agrees_with_scikit_learn(m, n, draw):
    weight = np.random.default_rng(draw.draw(st.integers(0, 99))).normal(size=(max(m, 2), max(n, 2)))
    rank = draw.draw(st.integers(1, min(weight.shape)))
    left, right = lowrank.truncated_svd(torch.tensor(weight), rank)
    theirs = TruncatedSVD(rank, algorithm="arpack" if rank < min(weight.shape) else "randomized").fit(weight)
    np.testing.assert_allclose(left @ right, weight @ theirs.components_.T @ theirs.components_, atol=1e-6)


def test_factorize_by_energy_keeps_at_least_that_share():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(60, 60), nn.ReLU(), nn.Linear(60, 60))
    for layer, decay in ((model[0], 0.8), (model[2], 0.9)):
        U, _, Vh = torch.linalg.svd(layer.weight.data)
        layer.weight.data = (U * decay ** torch.arange(60)) @ Vh
    for energy in (0.5, 0.9, 0.99):
        smaller = lowrank.factorize(model, energy=energy)
        for index in (0, 2):
            rank = metrics.effective_rank(model[index].weight, energy)
            assert smaller[index][0].out_features == rank
            whole = smaller[index][1].weight @ smaller[index][0].weight
            lost = (whole - model[index].weight).square().sum() / model[index].weight.square().sum()
            assert lost <= 1 - energy + 1e-5


@pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.1])
@pytest.mark.parametrize("kind", [models.LeNet300, models.DigitsCNN, models.Transformer])
def test_factorize_meets_a_budget_and_uses_it(kind, share):
    torch.manual_seed(0)
    model = kind()
    budget = int(share * metrics.count_parameters(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smaller = lowrank.factorize(model, budget=budget)
    assert 0.9 * budget <= metrics.count_parameters(smaller) <= budget


def test_a_budget_that_cannot_be_met_is_refused():
    with pytest.raises(ValueError, match="1,000 parameters cannot be met: at rank 1 there are still 2,0"):
        lowrank.factorize(models.LeNet300(), budget=1000)


@pytest.mark.parametrize(
    "how", [{}, {"ratio": 0.5, "energy": 0.9}, {"energy": 0.0}, {"energy": 1.1}, {"ratio": 0.0}, {"ratio": 2}]
)
def test_factorize_wants_one_way_to_choose(how):
    with pytest.raises(ValueError, match="ratio"):
        lowrank.factorize(models.LeNet300(), **how)


def test_factorize_refuses_an_unknown_scheme_metric_or_name():
    for how, said in (
        ({"scheme": "tucker"}, "tucker"),
        ({"metric": "bytes"}, "bytes"),
        ({"ignore": ["fc9"]}, "fc9"),
        ({"ignore": ["fc1", "fc2", "fc3"]}, "no Linear"),
    ):
        with pytest.raises(ValueError, match=said):
            lowrank.factorize(models.LeNet300(), ratio=0.5, **how)


def test_factorize_leaves_the_model_and_what_is_ignored_alone():
    model = models.CifarCNN().eval()
    before = copy.deepcopy(model.state_dict())
    smaller = lowrank.factorize(model, ratio=0.4, ignore=["conv", "fc", "stage1", "stage2.0.shortcut"])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert list(before) == list(model.state_dict()) and not smaller.training
    for name in ("conv", "fc", "stage1.0.conv1", "stage2.0.shortcut.0"):
        assert torch.equal(smaller.get_submodule(name).weight, model.get_submodule(name).weight)
    assert isinstance(smaller.stage3[1].conv2, nn.Sequential)


TORCHVISION = {
    "resnet": (lambda: torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1] * 4, width_per_group=16), ""),
    "squeezenet1_1": (torchvision.models.squeezenet1_1, ""),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, "groups 32"),
    "vit": (lambda: torchvision.models.VisionTransformer(64, 16, 2, 2, 64, 256), "self_attention (a MultiheadAttention"),
    "swin": (lambda: torchvision.models.SwinTransformer([4, 4], 32, [1, 1], [2, 2], [4, 4]), "ShiftedWindowAttention"),
}


@pytest.mark.parametrize("scheme", ["spatial", "weight"])
@pytest.mark.parametrize("name", TORCHVISION)
def test_factorize_works_on_torchvision_models(name, scheme):
    make, stays = TORCHVISION[name]
    model = make().eval()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        smaller = lowrank.factorize(model, ratio=0.2, scheme=scheme, ignore=() if scheme == "spatial" else _first(model))
    assert bool(said) == bool(stays) and stays in " ".join(str(warning.message) for warning in said)
    with torch.no_grad():
        assert smaller(torch.randn(1, 3, 64, 64)).shape == (1, 1000)
    assert metrics.count_parameters(smaller) < 0.6 * metrics.count_parameters(model)


def _first(model):
    """The name of the first convolution: with 3 channels in, a 1 x 1 one before it saves nothing."""
    return next(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))


def test_factorize_works_on_the_courses_transformer():
    model = models.Transformer().eval()
    smaller = lowrank.factorize(model, ratio=0.5, ignore=["embed", "fc"])
    assert smaller(torch.randn(3, 1, 8, 8)).shape == (3, 10)
    assert metrics.count_parameters(smaller) < 0.53 * metrics.count_parameters(model)
    assert isinstance(smaller.layers[2].attention.query, nn.Sequential)


def test_factorize_of_pytorchs_own_transformer_layer_leaves_what_it_reads():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 2, enable_nested_tensor=False)
    model.append = None
    with pytest.warns(UserWarning, match="linear1 .its weight is read by TransformerEncoderLayer"):
        with pytest.raises(ValueError, match="no Linear"):
            lowrank.factorize(model, ratio=0.5)


def test_a_shared_layer_is_one_pair_under_both_names():
    shared = nn.Linear(20, 20)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared, nn.Linear(20, 20))})
    smaller = lowrank.factorize(model, ratio=0.5)
    assert smaller["a"] is smaller["b"][0] and isinstance(smaller["a"], nn.Sequential)


def test_shared_and_computed_weights_stay_and_are_named():
    tied = nn.ModuleDict({"a": nn.Linear(9, 9), "b": nn.Linear(9, 9), "c": nn.Linear(9, 9)})
    tied["b"].weight = tied["a"].weight
    parametrizations.weight_norm(tied["c"])
    tied["d"], tied["e"] = nn.Conv1d(9, 9, 3), nn.Linear(9, 9)
    with pytest.warns(UserWarning, match=r"a \(its weight is shared.*b \(its.*c \(a Param.*d \(a Conv1d") as said:
        assert set(lowrank.candidates(tied)) == {"e"}
    assert len(said) == 1


def test_a_model_that_is_one_layer_is_replaced_whole():
    smaller = lowrank.factorize(nn.Linear(40, 40), ratio=0.5)
    assert [tuple(part.weight.shape) for part in smaller] == [(10, 40), (40, 10)]


def test_a_factorized_model_can_be_factorized_again_and_trained():
    model = lowrank.factorize(lowrank.factorize(models.LeNet300(), ratio=0.5, ignore="fc3"), ratio=0.5, ignore="fc3")
    assert model.fc1[0][0].out_features < model.fc1[0][1].out_features
    digits = data.load("digits")
    small = lowrank.factorize(models.DigitsCNN(), ratio=0.5, ignore=["conv1"])
    before = copy.deepcopy(small.state_dict())
    training.train(small, digits, epochs=1, progress=False)
    assert all(not torch.equal(before[name], p) for name, p in small.named_parameters())


@pytest.mark.parametrize("answer", [217, 216, 216.974])
def test_break_even_check_accepts_a_right_answer(answer):
    check_break_even(answer)


@pytest.mark.parametrize("answer", [None, 150, 219, 300, "217", 0])
def test_break_even_check_rejects_a_wrong_answer(answer):
    with pytest.raises(AssertionError):
        check_break_even(answer)


def test_most_sensitive_check():
    alone = {"conv1": 0.9, "conv2": 0.8, "conv3": 0.95, "fc1": 0.97}
    check_most_sensitive("conv2", alone)
    for answer, measured in (("conv1", alone), (None, alone), ("conv2", {"conv2": 0.8}), ("fc9", alone)):
        with pytest.raises(AssertionError):
            check_most_sensitive(answer, measured)


@pytest.fixture(scope="module")
def succeeded():
    digits = data.load("digits")
    torch.manual_seed(0)
    dense = models.DigitsCNN()
    training.train(dense, digits, epochs=5, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = lowrank.factorize(dense, budget=metrics.count_parameters(dense) // 2)
    training.train(small, digits, epochs=3, lr=0.02, progress=False)
    return dense, small, training.evaluate(dense, digits.test), training.evaluate(small, digits.test)


def test_success_check_accepts_a_success(succeeded):
    check_success(*succeeded)


def test_success_check_rejects_what_is_none(succeeded):
    dense, small, before, after = succeeded
    for wrong in (
        (None, None, None, None),
        (dense, dense, before, before),
        (dense, small, before, None),
        (dense, small, before, after - 0.01),
        (dense, lowrank.factorize(dense, budget=30_000, ignore=["fc2"]), before, after),
        (small, small, after, after),
        (dense, models.LeNet300(), before, after),
        (dense, models.DigitsCNN(width=20), before, after),
    ):
        with pytest.raises(AssertionError):
            check_success(*wrong)
