"""Tests of tinyshrink.quantization: first the checks of lesson 07 in the order of its exercises, then ordinary tests."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyshrink import data, metrics, models, packing, plots, quantization, training


def test_affine_params_covers_the_range_with_all_integers():
    for low, high, bits, scale, zero_point in (
        (-1.0, 3.0, 2, 4 / 3, -1),
        (-1.0, 1.55, 8, 0.01, -28),
        (0.0, 25.5, 8, 0.1, -128),  # after a ReLU: zero is the smallest integer
        (-6.0, 0.0, 4, 0.4, 7),
        (-0.33, 1.17, 4, 0.1, -5),  # -8 + 3.3 is rounded, not cut off
    ):
        got = [float(value) for value in quantization.affine_params(low, high, bits)]
        close = math.isclose(got[0], scale, rel_tol=1e-5) and got[1] == zero_point
        said = f"{low}..{high} at {bits} bits: expected scale {scale:.5f} and zero point {zero_point}"
        assert close, f"{said}, got {got[0]:.5f} and {got[1]:g}"
    dtypes = [value.dtype for value in quantization.affine_params(-1.0, 1.0)]
    assert dtypes == [torch.float32, torch.int32], f"expected a float32 scale and an int32 zero point, got {dtypes}"


def test_affine_params_holds_zero_in_every_range():
    for low, high, scale, zero_point in (
        (2.0, 5.1, 0.02, -128),
        (-5.1, -2.0, 0.02, 127),
        (0, 0, 1, -128),
        (3, 3, 3 / 255, -128),
    ):
        got = [float(value) for value in quantization.affine_params(low, high)]
        said = f"{low}..{high} must be widened to hold zero (scale 1 where there is nothing else): "
        close = math.isclose(got[0], scale, rel_tol=1e-5) and got[1] == zero_point
        assert close, f"{said}expected scale {scale:.5f} and zero point {zero_point}, got {got[0]:.5f} and {got[1]:g}"


def test_affine_params_symmetric_has_zero_at_zero():
    for low, high, bits, scale in ((-1.0, 3.0, 2, 3.0), (-12.7, 5.0, 8, 0.1), (0.5, 1.4, 4, 0.2), (0.0, 0.0, 8, 1.0)):
        got = [float(value) for value in quantization.affine_params(low, high, bits, symmetric=True)]
        said = f"{low}..{high} at {bits} bits, symmetric: expected scale {scale} and zero point 0"
        assert math.isclose(got[0], scale, rel_tol=1e-5) and got[1] == 0, f"{said}, got {got}"


def test_affine_params_of_each_channel():
    low, high = torch.tensor([-1.0, 0.0, -3e38]), torch.tensor([1.55, 0.0, 3e38])
    for symmetric, scales, zero_points in (
        (False, [0.01, 1.0, 6e38 / 255], [-28, -128, 0]),
        (True, [1.55 / 127, 1.0, 3e38 / 127], [0, 0, 0]),
    ):
        scale, zero_point = quantization.affine_params(low, high, 8, symmetric)
        assert scale.shape == zero_point.shape == (3,), f"three ranges, so three scales: got {scale} and {zero_point}"
        close = np.allclose(scale, scales, rtol=1e-5) and zero_point.tolist() == zero_points
        said = f"three channels, symmetric {symmetric}: expected {scales} and {zero_points}"
        assert close, f"{said}, got {scale.tolist()} and {zero_point.tolist()}"


def test_affine_params_leaves_alone_what_it_was_given():
    low, high = torch.tensor([0.5, -3.0]), torch.tensor([2.0, -1.0])
    quantization.affine_params(low, high)
    assert low.tolist() == [0.5, -3.0] and high.tolist() == [2.0, -1.0], f"your low and high became {low} and {high}"
    scale, _ = quantization.affine_params(nn.Parameter(low), nn.Parameter(high))
    assert not scale.requires_grad, "a scale takes part in no training: detach low and high"
    for low, high in ((1.0, 0.0), (0.0, math.inf), (math.nan, 1.0), (torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0]))):
        try:
            got = quantization.affine_params(low, high)
        except ValueError:
            continue
        raise AssertionError(f"low {low} and high {high} are no range: expected a ValueError, got {got}")


def test_quantize_rounds_shifts_and_clamps():
    x = torch.tensor([-1.0, 0.0, 0.1, 0.9, 3.0, 50.0, -50.0])
    for scale, zero_point, bits, symmetric, expected in (
        (0.5, -28, 8, False, [-30, -28, -28, -26, -22, 72, -128]),
        (0.5, 0, 4, False, [-2, 0, 0, 2, 6, 7, -8]),
        (0.5, 0, 4, True, [-2, 0, 0, 2, 6, 7, -7]),
        (0.1, 100, 8, False, [90, 100, 101, 109, 127, 127, -128]),
    ):
        got = quantization.quantize(x, torch.tensor(scale), torch.tensor(zero_point), bits, symmetric)
        said = f"scale {scale}, zero point {zero_point}, {bits} bits, symmetric {symmetric}: {x.tolist()}"
        assert got.tolist() == expected, f"{said} should be {expected}, got {got.tolist()}"
        assert got.dtype == torch.int8, f"the integers are stored as int8, got {got.dtype}"
    turned = quantization.quantize(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T, torch.tensor(0.5), torch.tensor(1)).tolist()
    assert turned == [[3, 7], [5, 9]], f"[[1, 3], [2, 4]], a transposed matrix, with 0.5 and 1: [[3, 7], [5, 9]], got {turned}"


def test_quantize_rounds_halves_to_even():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, -2.5])
    got = quantization.quantize(x, torch.tensor(1.0), torch.tensor(0)).tolist()
    assert got == [0, 2, 2, 0, -2, -2], f"halves go to the even neighbour, {x.tolist()} to [0, 2, 2, 0, -2, -2]: got {got}"
    got = quantization.quantize(x, torch.tensor(1.0), torch.tensor(3)).tolist()
    assert got == [3, 5, 5, 3, 1, 1], f"zero point 3 moves all by 3, to [3, 5, 5, 3, 1, 1]: rounded before the shift? got {got}"


def test_quantize_takes_the_scale_of_each_channel():
    x, scale, zero_point = torch.full((3, 3, 2), 6.0), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 10, 20])
    for axis in (0, 1):
        q = quantization.quantize(x, scale, zero_point, axis=axis)
        rows = q.transpose(0, axis)[:, 0, 0].tolist()
        assert q.shape == x.shape and rows == [6, 13, 22], f"axis {axis}: expected 6, 13, 22 along it, got {rows}"
        back = quantization.dequantize(q, scale, zero_point, axis=axis)
        assert torch.equal(back, x), f"axis {axis}: dequantize should give all 6.0 again, got {back.flatten().tolist()}"


def test_dequantize_gives_the_real_numbers_back():
    q = torch.tensor([-128, 0, 127], dtype=torch.int8)
    for scale, zero_point, expected in ((0.5, 0, [-64, 0, 63.5]), (0.5, -100, [-14, 50, 113.5]), (2.0, 127, [-510, -254, 0])):
        got = quantization.dequantize(q, torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32))
        said = f"{q.tolist()} with scale {scale} and zero point {zero_point} stand for {expected}"
        assert got.is_floating_point() and got.tolist() == expected, f"{said}, got {got.tolist()}"
    scale, zero_point = torch.tensor(0.001, dtype=torch.float64), torch.tensor(-128, dtype=torch.int32)
    got = quantization.dequantize(torch.stack([q, q]).T, scale, zero_point)
    right = got.dtype == torch.float64 and np.allclose(got, [[0.0, 0.0], [0.128, 0.128], [0.255, 0.255]], rtol=1e-12)
    assert right, f"scale 0.001 in float64, a transposed matrix: expected 0, 0.128, 0.255 in float64, got {got}"


def test_fake_quantize_has_the_values_of_quantize():
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scale, zero_point = torch.tensor([0.1, 0.5, 0.9, 0.02]), torch.tensor([0, 3, -2, 1], dtype=torch.int32)
    for bits, symmetric in ((8, False), (3, False), (3, True)):
        q = quantization.quantize(x.detach(), scale, zero_point, bits, symmetric, axis=0)
        expected = (q.double() - zero_point[:, None]) * scale.double()[:, None]
        got = quantization.fake_quantize(x, scale, zero_point, bits, symmetric, axis=0)
        error = (got - expected).abs().max().item()
        assert error < 1e-5, f"{bits} bits, symmetric {symmetric}, axis 0: off dequantize(quantize(x)) by {error:.3g}"
    halves = torch.tensor([0.5, 1.5, -0.5], dtype=torch.float64)
    got = quantization.fake_quantize(halves, torch.tensor(1.0), torch.tensor(3))
    assert got.tolist() == [0, 2, 0], f"{halves.tolist()} with scale 1 and zero point 3 stay 0, 2, 0: got {got.tolist()}"
    assert got.dtype == torch.float64, f"the result has the dtype of x, float64, got {got.dtype}"


def test_fake_quantize_passes_the_gradient_straight_through():
    x = torch.tensor([-9.0, -2.4, -0.3, 0.0, 1.2, 1.4, 1.6, 9.0], requires_grad=True)  # 2 bits: -2, -1, 0, 1
    weights = torch.arange(1.0, 9.0)
    scale = torch.tensor(1.0, requires_grad=True)
    (quantization.fake_quantize(x, scale, torch.tensor(0), 2) * weights).sum().backward()
    assert x.grad is not None, "no gradient came back: x must take part in the result"
    expected = [0, 2, 3, 4, 5, 6, 0, 0]  # -2.4 rounds to -2 and 1.4 to 1, which need no clamping
    said = "times 1 where x has an integer of its own, times 0 where it is clamped"
    assert x.grad.tolist() == expected, f"the gradient goes {said}: {x.tolist()} expect {expected}, got {x.grad.tolist()}"
    assert scale.grad is None, f"the scale gets no gradient, got {scale.grad}"


def test_mse_range_gives_up_an_outlier_where_that_pays():
    rows = torch.ones(3, 1000)
    rows[0, 0], rows[1, 0] = 10.0, -2.0
    low, high = quantization.mse_range(rows, 2, True)  # three integers: scale 10 makes zeros of 999 ones, scale 1 one 1 of a 10
    assert low.shape == high.shape == (3,), f"one range for each of 3 rows: got shapes {low.shape} and {high.shape}"
    for row, expected in enumerate(((0.1, 1.0), (-1.0, 0.5), (1.0, 1.0))):
        got = low[row].item(), high[row].item()
        close = np.allclose(got, expected, rtol=1e-5)
        assert close, f"2 bits, symmetric, a row of ones and one {rows[row, 0]:g}: expected {expected}, got {got}"


def test_mse_range_has_the_least_squared_error_of_all_shares():
    rows = torch.randn(4, 300, generator=torch.Generator().manual_seed(0)) ** 3
    for bits, symmetric in ((2, True), (3, False), (8, False)):
        ranges = quantization.mse_range(rows, bits, symmetric)
        ends, errors = rows.aminmax(dim=1), []
        for low, high in [ranges, *((ends[0] * share, ends[1] * share) for share in np.arange(0.1, 1.01, 0.02))]:
            params = quantization.affine_params(low, high, bits, symmetric)
            q = quantization.quantize(rows, *params, bits, symmetric, axis=0)
            errors.append((quantization.dequantize(q, *params, axis=0) - rows).square().mean(1))
        yours, least = errors[0], torch.stack(errors[1:]).amin(0)
        close = torch.allclose(yours, least, rtol=1e-4)
        assert close, f"{bits} bits, symmetric {symmetric}: the rows' errors are {yours.tolist()}, the least {least.tolist()}"


def test_fold_pair_computes_what_the_two_did():
    for layer, norm, x in (
        (nn.Linear(3, 4), nn.BatchNorm1d(4), torch.randn(5, 3)),
        (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=0.5), torch.randn(2, 3, 5, 5)),
        (nn.Conv2d(4, 6, 3, groups=2, padding=1), nn.BatchNorm2d(6, affine=False), torch.randn(2, 4, 5, 5)),
    ):
        norm.eval().running_mean.copy_(torch.linspace(-1, 2, len(norm.running_mean)))
        norm.running_var.copy_(torch.linspace(0.2, 3, len(norm.running_var)))
        if norm.affine:
            norm.weight.data, norm.bias.data = torch.linspace(0.5, -2, 4), torch.linspace(1, 3, 4)
        error = (quantization.fold_pair(layer, norm)(x) - norm(layer(x))).abs().max().item()
        assert error < 1e-5, f"{layer} and {norm}: the folded layer's output is off by {error:.2g}"


def test_fold_pair_makes_a_new_layer():
    layer, norm = nn.Conv2d(2, 3, 1, stride=2, bias=False), nn.BatchNorm2d(3).eval()
    before = layer.weight.detach().clone()
    folded = quantization.fold_pair(layer, norm)
    assert type(folded) is nn.Conv2d and folded.stride == (2, 2), f"expected a Conv2d with stride (2, 2), got {folded}"
    assert isinstance(folded.bias, nn.Parameter) and folded.bias.shape == (3,), f"expected a bias (3,), got {folded.bias}"
    assert folded.bias.is_leaf and folded.weight.is_leaf, "the new weight and bias must be parameters that can be trained"
    assert torch.equal(layer.weight, before) and layer.bias is None, "the layer given to you was changed"


def test_fold_pair_in_the_middle_of_training():
    layer = nn.Conv2d(2, 3, 3, dilation=2, padding=1, padding_mode="circular").double()
    norm, x = nn.BatchNorm2d(3).double(), torch.randn(4, 2, 7, 7, dtype=torch.float64)
    norm(layer(x))
    before, folded = norm.running_mean.clone(), quantization.fold_pair(layer, norm)
    assert norm.training and torch.equal(norm.running_mean, before), "the BatchNorm was in train mode: leave it as it is"
    said = f"{layer} in float64 became {folded} in {folded.weight.dtype}"
    assert folded.weight.dtype == folded.bias.dtype == torch.float64, said
    error = (folded(x) - norm.eval()(layer(x))).abs().max().item()
    assert error < 1e-10, f"{said}: its output is off by {error:.2g}"


def test_quantize_bias_is_in_steps_of_both_scales():
    bias, weight_scale = torch.tensor([1.0, -1.0, 0.0101]), torch.tensor([0.02, 0.01, 0.04])
    got = quantization.quantize_bias(bias, torch.tensor(0.1), weight_scale)
    said = "1, -1, 0.0101 with input scale 0.1 and weight scales 0.02, 0.01, 0.04"
    assert got.tolist() == [500, -1000, 3], f"{said} should be 500, -1000, 3, got {got.tolist()}"
    assert got.dtype == torch.int32, f"sums and biases are int32, got {got.dtype}"
    halves = quantization.quantize_bias(torch.tensor([2.5, 3.5]), torch.tensor(0.5), torch.tensor([2.0, 2.0])).tolist()
    assert halves == [2, 4], f"2.5 and 3.5 steps are rounded to the even neighbours 2 and 4, got {halves}"
    for bias in (0.3, -0.3, 1e9):  # 0.3 would fit without a sign
        try:
            got = quantization.quantize_bias(torch.tensor([bias]), torch.tensor(1e-5), torch.tensor([1e-5])).tolist()
        except ValueError:
            continue
        raise AssertionError(f"{bias} is {bias * 1e10:.3g} steps, too many for int32: expected a ValueError, got {got}")


def test_integer_linear_adds_up_the_products():
    x, weight = torch.tensor([[1, -128], [0, 5]], dtype=torch.int8), torch.tensor([[127, 3], [-1, 2]], dtype=torch.int8)
    bias = torch.tensor([5, -7], dtype=torch.int32)
    for zero_point, expected in (
        (-128, [[16388, -136], [16660, 131]]),
        (0, [[-252, -264], [20, 3]]),
        (5, [[-902, -269], [-630, -2]]),
    ):
        got = quantization.integer_linear(x, weight, bias, torch.tensor(zero_point, dtype=torch.int32))
        assert got.dtype == torch.int32, f"the sums are int32, got {got.dtype}"
        assert got.tolist() == expected, f"zero point {zero_point}: expected {expected}, got {got.tolist()}"


def test_integer_linear_is_exact_for_many_inputs():
    x = torch.full((1, 3, 4001), 127, dtype=torch.int8)
    weight = torch.full((2, 4001), 127, dtype=torch.int8)
    weight[1, ::2] = -127
    got = quantization.integer_linear(x, weight, torch.tensor([1, 1], dtype=torch.int32), -128)
    expected = [4001 * 127 * 255 + 1, -127 * 255 + 1]
    assert got.shape == (1, 3, 2), f"x (1, 3, 4001) gives sums (1, 3, 2), got {tuple(got.shape)}"
    assert got[0, 2].tolist() == expected, f"the sums should be exactly {expected}, got {got[0, 2].tolist()}"


def test_requantize_rounds_without_a_float():
    for sums, multiplier, zero_point, bits, expected in (
        ([100, -100, 7, 0], 0.5, 1, 8, [51, -49, 5, 1]),  # 3.5 is a half, which goes up
        ([1, -1, -3], 0.5, 0, 8, [1, 0, -1]),
        ([10, -10, 9], 0.3, -2, 8, [1, -5, 1]),
        ([1000, -1000], 0.9, 0, 4, [7, -8]),
        ([2**31 - 1, -(2**31)], 5e-8, 10, 8, [117, -97]),
    ):
        got = quantization.requantize(torch.tensor(sums, dtype=torch.int32), torch.tensor(multiplier), zero_point, bits)
        said = f"{sums} times {multiplier}, zero point {zero_point}, {bits} bits"
        assert got.tolist() == expected and got.dtype == torch.int8, f"{said}: expected int8 {expected}, got {got}"


def check_factor(answer, errors):
    """How much the error of fc1, a scale for each channel, grows for each bit less, as a mean from 8 to 4 bits."""
    assert isinstance(answer, (int, float)), f"the answer is a number, got {answer!r}"
    curve = errors["per channel"]
    steps = [curve[bits] / curve[bits + 1] for bits in (7, 6, 5, 4)]
    said = f"from 8 to 4 bits your errors grew by {', '.join(f'{step:.2f}' for step in steps)}"
    assert abs(answer - np.mean(steps)) < 0.02, f"{said}: that is {np.mean(steps):.2f} on average, not {answer:.2f}"


def check_fewest_bits(answer, curve, dense_accuracy):
    """`curve` {bits: accuracy}; the answer is the smallest number of bits that loses at most 1 pp."""
    assert answer in curve, f"the answer is one of the bits that you measured, {sorted(curve)}, got {answer!r}"
    fine = [bits for bits, value in curve.items() if value >= dense_accuracy - 0.01]
    losses = {bits: f"{100 * (dense_accuracy - value):.2f} pp" for bits, value in curve.items()}
    assert answer == min(fine), f"your losses were {losses}: {answer} is not the smallest number of bits with at most 1 pp"


def check_largest_part(answer, parts):
    """`parts` {part: bytes} of the file; the answer is the one that takes most, and its share of the file."""
    assert isinstance(answer, tuple) and len(answer) == 2, f"the answer is a pair, (name, share of the file), got {answer!r}"
    name, share = answer
    assert name in parts, f"the name is one of {', '.join(map(repr, parts))}, got {name!r}"
    largest = max(parts, key=parts.get)
    assert parts[name] == parts[largest], f"{name!r} takes {parts[name]:,} bytes, {largest!r} takes {parts[largest]:,}"
    expected = parts[name] / sum(parts.values())
    assert abs(share - expected) < 0.006, f"{parts[name]:,} of {sum(parts.values()):,} bytes: the share is not {share}"


def check_small_file(path, dense_test, small_test, dense):
    """A file of at most 1/50 of the float32 bytes of the digits CNN, whose network loses at most 1.5 pp on test."""
    assert path is not None and Path(path).is_file(), f"path should name the file that packing.save wrote, got {path!r}"
    accuracies = [dense_test, small_test]
    assert all(isinstance(value, float) for value in accuracies), f"expected two test accuracies, got {accuracies}"
    count, test = metrics.count_parameters(dense), data.load("digits").test
    assert count == 243530, f"dense is the DigitsCNN with its 243,530 parameters, yours has {count:,}"
    size = Path(path).stat().st_size
    assert 50 * size <= 4 * count, f"{size:,} bytes are 1/{4 * count / size:.1f} of {4 * count:,}, not 1/50"
    for name, network, said in (("dense", dense, dense_test), ("loaded", packing.load(path), small_test)):
        with torch.no_grad():
            measured = (network.eval()(test.x).argmax(1) == test.y).float().mean().item()
        assert abs(measured - said) < 0.003, f"the {name} network's test accuracy is {measured:.2%}, not {said:.2%}"
    assert dense_test > 0.97, f"a trained DigitsCNN is over 97% right, yours {dense_test:.2%}: train it longer"
    lost = 100 * (dense_test - small_test)
    assert lost <= 1.5, f"{lost:.2f} pp of accuracy are lost: prune less, or train longer after each cut"


def digits_cnn():
    """A DigitsCNN with BatchNorm statistics that are not trivial, in eval mode."""
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    with torch.no_grad():
        for _ in range(3):
            model(data.load("digits").train.x[:200])
    return model.eval()


def residual_cnn():
    torch.manual_seed(0)
    model = models.CifarCNN(width=4, blocks=1)
    with torch.no_grad():
        model(torch.randn(50, 3, 16, 16))
    return model.eval()


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30), st.integers(2, 8), st.booleans(), st.integers(0, 99))
def test_any_range_is_covered_to_half_a_step_and_holds_zero(a, b, bits, symmetric, seed):
    low, high = sorted((a, b))
    scale, zero_point = quantization.affine_params(low, high, bits, symmetric)
    smallest, largest = quantization.levels(bits, symmetric)
    assert scale > 0 and smallest <= zero_point <= largest
    x = torch.empty(50).uniform_(0, 1, generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    x[0] = 0
    q = quantization.quantize(x, scale, zero_point, bits, symmetric)
    assert q[0] == zero_point and q.min() >= smallest and q.max() <= largest
    error = (quantization.dequantize(q.double(), scale.double(), zero_point) - x).abs().max()
    assert error <= scale * 1.002  # half a step, and another half at the ends where the zero point was rounded


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(-5, 5))
def test_fake_quantize_is_pytorchs_per_tensor_and_per_channel(seed, exponent):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(3, 40, generator=generator) * 60 * 2.0**exponent).requires_grad_()
    theirs = x.detach().clone().requires_grad_()
    scale, zero_point = torch.tensor(2.0**exponent), torch.randint(-128, 128, (), generator=generator, dtype=torch.int32)
    ours, expected = (
        quantization.fake_quantize(x, scale, zero_point),
        torch.fake_quantize_per_tensor_affine(theirs, scale, zero_point, -128, 127),
    )
    assert torch.equal(ours, expected)
    ours.square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(x.grad, theirs.grad)
    scales = scale * torch.tensor([1.0, 2.0, 4.0])
    zero_points = torch.randint(-128, 128, (3,), generator=generator, dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(theirs, scales, zero_points, 0, -128, 127)
    assert torch.equal(quantization.fake_quantize(x, scales, zero_points, axis=0), expected)


@pytest.mark.parametrize(
    "low, high, bits, said",
    [
        (math.nan, 1, 8, "nan"),
        (-1, math.inf, 8, "inf"),
        (2, 1, 8, "low 2"),
        ([0, 1], [1, math.nan], 8, "nan"),
        (0, 1, 1, "got 1"),
        (0, 1, 9, "got 9"),
        (0, 1, 2.5, "2.5"),
    ],
)
def test_bad_ranges_and_bits_are_refused(low, high, bits, said):
    with pytest.raises(ValueError, match=said):
        quantization.affine_params(torch.tensor(low), torch.tensor(high), bits)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_have_no_integer(value):
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantization.quantize(torch.tensor([1.0, value]), torch.tensor(1.0), torch.tensor(0))
    for observer in quantization.OBSERVERS:
        with pytest.raises(ValueError, match="NaN or infinity"):
            quantization.observe(torch.tensor([1.0, value]), observer, 8, False)
    model = digits_cnn()
    x = data.load("digits").train.x[:8].clone()
    x[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"input of conv1: .*NaN"):
        quantization.quantize_model(model, x)
    model.fc2.weight.data[0, 0] = value
    with pytest.raises(ValueError, match=r"weight of fc2: .*NaN"):
        quantization.quantize_model(model, data.load("digits").train.x[:8])


@pytest.mark.parametrize("observer", list(quantization.OBSERVERS))
@pytest.mark.parametrize("x", [torch.full((2, 3), 5.0), torch.zeros(2, 3), torch.full((2, 3), -1e-45), torch.ones(1, 1)])
def test_constant_zero_and_single_values_survive(x, observer):
    for symmetric in (False, True):
        for axis in (None, 0):
            low, high = quantization.observe(x, observer, 8, symmetric, axis)
            scale, zero_point = quantization.affine_params(low, high, 8, symmetric)
            got = quantization.fake_quantize(x, scale, zero_point, 8, symmetric, axis)
            torch.testing.assert_close(got, x, rtol=0, atol=5 * 0.02)
            if observer == "minmax":
                torch.testing.assert_close(got, x, rtol=1e-6, atol=1e-40)


def test_observers_agree_on_what_they_leave_out():
    x = torch.linspace(-1, 1, 100_001)
    x[0] = 50
    low, high = quantization.observe(x, "minmax", 8, False)
    assert (low.item(), high.item()) == pytest.approx((-1, 50), abs=1e-4)
    low, high = quantization.observe(x, "percentile", 8, False)
    assert (low.item(), high.item()) == pytest.approx((-0.998, 0.998), abs=1e-4)
    low, high = quantization.observe(x, "mse", 8, False)
    assert high < 50 and low > -1
    large = torch.cat([x] * 4)  # more than SAMPLE: drawn, the same each time
    assert quantization.observe(large, "mse", 8, False) == quantization.observe(large, "mse", 8, False)
    assert quantization.observe(large, "minmax", 8, False)[1] == 50


def test_no_values_no_range_and_an_unknown_observer_is_named():
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        quantization.observe(torch.empty(0, 3), "mse", 8, False)
    with pytest.raises(ValueError, match="'median': expected one of minmax, percentile, mse"):
        quantization.observe(torch.ones(3), "median", 8, False)


@pytest.mark.parametrize("model, shape, norms", [(digits_cnn, (9, 1, 8, 8), 3), (residual_cnn, (9, 3, 16, 16), 9)])
def test_batchnorm_is_folded_into_the_layer_before(model, shape, norms):
    model, x = model(), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    before, names = copy.deepcopy(model.state_dict()), [name for name, _ in model.named_modules()]
    folded = quantization.fold_batchnorm(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert names == [name for name, _ in folded.named_modules()]
    torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == norms


class Awkward(nn.Module):
    """Three BatchNorms that cannot be folded: after a sum, of an output used twice, without statistics. A fourth can."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.fc4 = (nn.Linear(4, 4) for _ in range(4))
        self.after_sum, self.used_twice, self.fine = (nn.BatchNorm1d(4) for _ in range(3))
        self.batch_only = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x):
        x = self.after_sum(self.fc1(x) + x)
        y = self.fc2(x)
        x = self.used_twice(y) + y
        return self.fine(self.fc4(self.batch_only(self.fc3(x))))


def test_batchnorm_that_cannot_be_folded_stays():
    torch.manual_seed(0)
    model, x = Awkward(), torch.randn(20, 4)
    for _ in range(5):
        model(x)
    folded = quantization.fold_batchnorm(model.eval())
    left = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm1d)]
    assert left == ["after_sum", "used_twice", "batch_only"]
    torch.testing.assert_close(folded(x), model(x))
    integer = quantization.quantize_model(model, x)
    assert (integer(x) - model(x)).abs().max() < 0.2


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.fc(x)) if x.sum() > -1e9 else x


def test_a_model_that_cannot_be_traced_keeps_its_batchnorm_with_a_warning():
    model, x = Untraceable().eval(), torch.randn(8, 4)
    with pytest.warns(UserWarning, match="Untraceable cannot be traced"):
        integer = quantization.quantize_model(model, x)
    assert isinstance(integer.norm, nn.BatchNorm1d) and isinstance(integer.fc, quantization.QuantizedLinear)
    assert (integer(x) - model(x)).abs().max() < 0.05


@pytest.mark.parametrize(
    "layer, x",
    [
        (nn.Linear(300, 7), torch.randn(5, 300)),
        (nn.Linear(6, 4, bias=False), torch.randn(2, 3, 6)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.randn(2, 3, 9, 9) + 3),
        (nn.Conv2d(4, 6, (3, 1), padding="same", dilation=2, groups=2, bias=False), torch.randn(2, 4, 9, 9)),
        (nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect"), torch.randn(2, 3, 9, 9)),
    ],
)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_integers_compute_what_the_fake_quantized_layer_does(layer, x, bits):
    fake = quantization.prepare_qat(nn.Sequential(layer), x, bits, max(bits, 3)).double()
    integer = quantization.convert(fake)
    expected, got = fake(x.double()), integer(x.double())
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    scale, zero_point = quantization.affine_params(expected.min(), expected.max())  # as the next layer reads it
    both = [quantization.quantize(output, scale, zero_point) for output in (expected, got)]
    assert (both[0].int() - both[1].int()).abs().max() <= 1 and (both[0] != both[1]).float().mean() < 1e-3


def test_a_layer_in_integers_alone_is_the_fake_quantized_one_to_one_step():
    torch.manual_seed(0)
    layer, x = nn.Linear(50, 20), torch.randn(100, 50)
    fake = quantization.prepare_qat(nn.Sequential(layer), x)
    expected, integer = fake(x).detach(), quantization.convert(fake)[0]
    scale, zero_point = quantization.affine_params(expected.min(), expected.max())
    q = quantization.quantize(x, integer.input_scale, integer.input_zero_point)
    sums = quantization.integer_linear(q, integer.weight, integer.bias, integer.input_zero_point)
    got = quantization.requantize(sums, integer.input_scale * integer.weight_scale / scale, zero_point)
    off = (got.int() - quantization.quantize(expected, scale, zero_point).int()).abs()
    assert off.max() <= 1 and off.float().mean() < 1e-3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_requantize_is_the_rounded_product(seed, bits):
    generator = torch.Generator().manual_seed(seed)
    sums = torch.randint(-(2**31), 2**31, (200, 3), generator=generator).int()
    multiplier = torch.rand(3, generator=generator) ** 8 * 0.99 + 1e-9
    expected = (torch.floor(sums.double() * multiplier.double() + 0.5) + 3).clamp(*quantization.levels(bits))
    off = quantization.requantize(sums, multiplier, 3, bits).double() - expected
    assert off.abs().max() <= 1 and (off != 0).float().mean() < 0.01
    for bad in (0.0, 1.0, -0.5, 1e-12, math.nan):
        with pytest.raises(ValueError, match="multiplier"):
            quantization.requantize(sums, torch.tensor(bad), 0)


def test_exact_sums_use_float64_only_where_float32_would_round():
    bias = torch.zeros(1, dtype=torch.int32)
    for count, dtype in ((518, torch.float32), (519, torch.float64)):  # 255 * 127 * 518 < 2**24
        assert quantization.exact_dtype(torch.full((1, count), -127, dtype=torch.int8), bias) == dtype
    assert quantization.exact_dtype(torch.full((1, 9), -128, dtype=torch.int8), bias + 2**24) == torch.float64


@pytest.mark.parametrize(
    "make, shape", [(digits_cnn, (64, 1, 8, 8)), (residual_cnn, (64, 3, 16, 16)), (models.Transformer, (64, 1, 8, 8))]
)
def test_whole_models_in_integers_compute_what_they_did(make, shape):
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    before = copy.deepcopy(model.state_dict())
    prepared = quantization.prepare_qat(model, x).eval()
    integer = quantization.convert(prepared)
    with torch.no_grad():
        expected, faked, got = model(x), prepared(x), integer(x)
    spread = expected.std()
    assert (got - expected).abs().mean() < 0.05 * spread  # what int8 costs
    assert (got - faked).abs().mean() < 0.005 * spread  # integers and floats differ by a step here and there
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(type(module) in (nn.Linear, nn.Conv2d) for module in integer.modules()) and not integer.training
    again = copy.deepcopy(integer)
    for buffer in again.buffers():
        buffer.zero_()
    again.load_state_dict(integer.state_dict())
    assert torch.equal(again(x), got)
    for module in integer.modules():
        if isinstance(module, quantization.QuantizedLinear):
            plain = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
            json.dumps(plain)  # numbers, words and tuples: any file can hold them
            assert not list(module.parameters()) and {b.dtype for b in module.buffers()} == {
                torch.int8,
                torch.int32,
                torch.float32,
            }


def test_calibration_that_cannot_be_used_says_so():
    model = digits_cnn()
    for calibration, error, said in (
        (torch.empty(0, 1, 8, 8), ValueError, "calibration: .*at least one"),
        ([], TypeError, "calibration: .*list"),
        ((), ValueError, "calibration: .*at least one"),
    ):
        with pytest.raises(error, match=said):
            quantization.quantize_model(model, calibration)
    model.extra = nn.Identity()
    model.extra.unused = nn.Linear(3, 3)
    x = data.load("digits").train.x[:8]
    with pytest.raises(ValueError, match=r"does not reach extra.unused: .*ignore"):
        quantization.quantize_model(model, x)
    assert isinstance(quantization.quantize_model(model, x, ignore="extra").extra.unused, nn.Linear)


def test_ignored_layers_stay_and_others_are_named():
    x = torch.randn(4, 2, 6, 6)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Flatten(), nn.Linear(144, 5)).eval()
    with pytest.warns(UserWarning, match=r"stay as they are: 1 \(ConvTranspose2d\)"):
        integer = quantization.quantize_model(model, x, ignore=["3"])
    kinds = [type(module).__name__ for module in integer]
    assert kinds == ["QuantizedConv2d", "ConvTranspose2d", "Flatten", "Linear"]
    with pytest.raises(ValueError, match="ignore names 'fc9', which Sequential does not have"):
        quantization.quantize_model(model, x, ignore=["fc9"])
    with pytest.raises(ValueError, match="no Linear or Conv2d"):
        quantization.quantize_model(model, x, ignore=["0", "1", "3"])
    with pytest.raises(ValueError, match="call prepare_qat first"):
        quantization.convert(model)


def test_a_layer_used_twice_covers_both_inputs_and_is_one_layer():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)
            self.same = self.fc

        def forward(self, x):
            return self.same(10 * self.fc(x))

    torch.manual_seed(0)
    model, x = Twice(), torch.randn(50, 3)
    integer = quantization.quantize_model(model, x, observer="minmax")
    assert integer.fc is integer.same
    both = torch.cat([x, 10 * model.fc(x).detach()])
    torch.testing.assert_close(integer.fc.input_scale, (both.max() - both.min()) / 255)
    alone = quantization.quantize_model(model.fc, x)
    assert isinstance(alone, quantization.QuantizedLinear)


def test_a_bias_beside_weights_of_nearly_nothing_fits_int32():
    layer = nn.Linear(4, 2)
    layer.weight.data[0], layer.bias.data[:] = 1e-20, torch.tensor([3.0, -2.0])
    x = torch.randn(10, 4)
    got = quantization.quantize_model(layer, x)(x)
    torch.testing.assert_close(got[:, 0], torch.full((10,), 3.0), rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match="does not fit int32"):
        quantization.quantize_bias(torch.tensor([1.0]), torch.tensor(1e-5), torch.tensor([1e-6]))


def test_training_with_fake_quantization_helps_at_two_bits():
    digits = data.load("digits")
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    training.train(model, digits, 8, progress=False)
    prepared = quantization.prepare_qat(model, digits.train.x[:200], bits=2)
    before = training.evaluate(prepared, digits.validation)
    training.train(prepared, digits, 4, lr=0.01, progress=False)
    after = training.evaluate(prepared, digits.validation)
    assert after > before + 0.1 and after > 0.9
    integer = quantization.convert(prepared)
    x = digits.validation.x
    agree = (integer(x).argmax(1) == prepared.eval()(x).argmax(1)).float().mean()
    assert agree > 0.99
    distinct = {len(module.weight.unique()) for module in integer.modules() if isinstance(module, quantization.QuantizedLinear)}
    assert max(distinct) <= 3
    per_tensor = quantization.quantize_model(model, x, per_channel=False)
    assert len(per_tensor.conv2.weight_scale.unique()) == 1 and len(per_tensor.conv2.weight_scale) == 16


def test_the_questions_take_what_was_measured_and_nothing_else():
    curve = {8: 0.0065, 7: 0.013, 6: 0.0262, 5: 0.053, 4: 0.11}
    check_factor((curve[4] / curve[8]) ** 0.25, {"per channel": curve})
    for wrong, said in ((None, "a number"), (curve[4] / curve[8], "16.92"), (0.5, "0.50"), (2, "2.00")):
        with pytest.raises(AssertionError, match=said):
            check_factor(wrong, {"per channel": curve})
    accuracies = {8: 0.99, 4: 0.985, 3: 0.975, 2: 0.5}
    check_fewest_bits(4, accuracies, 0.99)
    for wrong in (None, 8, 3, 2, 5):
        with pytest.raises(AssertionError, match="bits"):
            check_fewest_bits(wrong, accuracies, 0.99)
    parts = {"positions": 10, "values": 20, "rest": 3}
    check_largest_part(("values", 20 / 33), parts)
    for wrong in (None, "values", ("positions", 10 / 33), ("bytes", 0.5), ("values", 0.5)):
        with pytest.raises(AssertionError, match=r"takes|one of|a pair|share"):
            check_largest_part(wrong, parts)


def test_the_success_criterion_opens_the_file(tmp_path):
    digits = data.load("digits")
    torch.manual_seed(0)
    dense, small = models.DigitsCNN(), models.DigitsCNN(width=3)
    for model in (dense, small):
        training.train(model, digits, 6, lr=0.05, progress=False)
    path = tmp_path / "small.tsh"
    packing.save(small.half().float(), path)
    accuracies = [training.evaluate(model, digits.test) for model in (dense, small)]
    for wrong, said in (
        ((None, *accuracies, dense), "should name the file"),
        ((path, None, None, dense), "two test accuracies"),
        ((path, accuracies[0], 0.5, dense), "the loaded network's test accuracy"),
        ((path, *accuracies, small), "243,530"),
        ((path, accuracies[0], accuracies[1], models.DigitsCNN()), "the dense network's"),
    ):
        with pytest.raises(AssertionError, match=said):
            check_small_file(*wrong)
    if accuracies[0] - accuracies[1] > 0.015:
        with pytest.raises(AssertionError, match="pp of accuracy are lost"):
            check_small_file(path, *accuracies, dense)
    packing.save(dense, path)
    with pytest.raises(AssertionError, match="not 1/50"):
        check_small_file(path, accuracies[0], accuracies[0], dense)


def test_bytes_are_drawn_as_stacked_bars_with_their_total():
    figure = plots.byte_bars({"float32": {"values": 4000}, "packed": {"values": 60, "positions": 40}}, title="bytes")
    [ax] = figure.axes
    assert [text.get_text() for text in ax.texts] == [" 4.0 kB, 1.0x", " 0.1 kB, 40.0x"]
    widths = [[bar.get_width() for bar in bars] for bars in ax.containers]
    assert np.allclose(widths, [[4.0, 0.06], [0.0, 0.04]])
    for wrong in ({}, {"a": {}}, {"a": {"values": 0}}):
        with pytest.raises(ValueError, match="nothing to draw"):
            plots.byte_bars(wrong)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_floats_are_quantized(dtype):
    torch.manual_seed(0)
    model, x = models.DigitsCNN(8).eval().to(dtype), 4 * torch.randn(16, 1, 8, 8).to(dtype)
    prepared = quantization.prepare_qat(model, x)
    with torch.no_grad():
        expected, fake, got = model(x), prepared(x), quantization.convert(prepared)(x)
    assert got.dtype == fake.dtype == dtype
    for y in (fake, got):  # sums are far above 65504, the largest float16
        assert (y - expected).double().norm() < 0.05 * expected.double().norm()


class Reads(nn.Module):
    """A model that reads the weight of one of its layers itself."""

    def __init__(self, name):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(6, 3)
        self.norm.running_var.fill_(3.0)
        self.name = name

    def forward(self, x):
        return self.fc(self.norm(self.conv(x))) * self.get_submodule(self.name).weight.square().sum()


@pytest.mark.parametrize("name", ["conv", "norm", "fc"])
def test_a_weight_that_the_model_reads_itself_is_not_folded_and_quantized_only_on_request(name):
    torch.manual_seed(0)
    model, x = Reads(name).eval(), torch.randn(8, 1, 8, 8)
    folded = quantization.fold_batchnorm(model)
    torch.testing.assert_close(folded(x), model(x))
    assert isinstance(folded.norm, nn.Identity) == (name == "fc")
    if name != "norm":
        with pytest.raises(ValueError, match="Reads reads the weight of a layer itself: name it in ignore"):
            quantization.quantize_model(model, x)
        quantization.quantize_model(model, x, ignore=name)(x)


def test_a_norm_over_another_axis_than_the_outputs_of_its_linear_stays():
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(5), nn.Linear(6, 2)).eval()  # (N, 5, 8): the norm is of the 5
    x = torch.randn(4, 5, 8)
    assert torch.equal(quantization.fold_batchnorm(model)(x), model(x))
