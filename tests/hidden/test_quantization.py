"""Hidden checks of lesson 07: as in tests/test_quantization.py, with cases drawn from the instructor's seed."""

import copy

import numpy as np
import torch
from torch import nn

from tinyshrink import checking, quantization


def test_affine_params_of_drawn_ranges():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(30):
        bits = int(torch.randint(2, 9, (), generator=generator))
        low, high = (10 * torch.randn(2, 5, generator=generator)).sort(0).values
        low[0], high[0] = 0.0, 0.0
        for symmetric in (False, True):
            scale, zero_point = quantization.affine_params(low, high, bits, symmetric)
            said = f"{bits} bits, symmetric {symmetric}, low {low.tolist()}, high {high.tolist()}"
            wide = torch.stack([low.clamp(max=0), high.clamp(min=0)])
            width = 2 * wide.abs().amax(0) / (2**bits - 2) if symmetric else (wide[1] - wide[0]) / (2**bits - 1)
            width[0] = 1.0
            assert np.allclose(scale, width, rtol=1e-4), f"{said}: expected scales {width.tolist()}, got {scale.tolist()}"
            ideal = torch.zeros(5) if symmetric else -(2 ** (bits - 1)) - wide[0] / width
            assert (zero_point == zero_point.round()).all(), f"{said}: zero points are whole numbers, got {zero_point}"
            off = (zero_point - ideal).abs().max().item()
            assert off < 0.501, f"{said}: expected zero points near {ideal.tolist()}, got {zero_point.tolist()}"


def test_quantize_and_dequantize_of_drawn_tensors():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(20):
        bits = int(torch.randint(2, 9, (), generator=generator))
        x = 3 * torch.randn(3, 4, 5, generator=generator)
        axis = case % 3
        scale = 2.0 ** torch.randint(-6, 2, (x.shape[axis],), generator=generator)
        zero_point = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), scale.shape, generator=generator).int()
        said = f"{bits} bits, axis {axis}, scale {scale.tolist()}, zero point {zero_point.tolist()}"
        got = quantization.quantize(x, scale, zero_point, bits, axis=axis)
        real = torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        back = quantization.dequantize(got, scale, zero_point, axis=axis)
        assert got.dtype == torch.int8 and got.shape == x.shape, f"{said}: expected int8 (3, 4, 5), got {got.dtype} {got.shape}"
        off = (back - real).abs().max().item()
        assert off < 1e-6, f"{said}: dequantize(quantize(x)) is {off:.3g} away from what PyTorch gives"
        integers = got.to(torch.float64).movedim(axis, -1)
        off = (integers - (real.movedim(axis, -1) / scale + zero_point)).abs().max().item()
        assert off < 1e-3, f"{said}: the integers are {off:.3g} away from what PyTorch gives"


def test_fake_quantize_of_drawn_tensors():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(20):
        bits = int(torch.randint(2, 9, (), generator=generator))
        x = (3 * torch.randn(4, 30, generator=generator)).requires_grad_()
        theirs = x.detach().clone().requires_grad_()
        weights = torch.randn(x.shape, generator=generator)
        scale = 2.0 ** torch.randint(-6, 2, (x.shape[case % 2],), generator=generator)
        zero_point = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), scale.shape, generator=generator).int()
        limits = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        expected = torch.fake_quantize_per_channel_affine(theirs, scale, zero_point, case % 2, *limits)
        got = quantization.fake_quantize(x, scale, zero_point, bits, axis=case % 2)
        said = f"{bits} bits, axis {case % 2}, scale {scale.tolist()}, zero point {zero_point.tolist()}"
        off = (got - expected).abs().max().item()
        assert off < 1e-5, f"{said}: {off:.3g} away from torch.fake_quantize_per_channel_affine"
        (got * weights).sum().backward()
        (expected * weights).sum().backward()
        off = (x.grad - theirs.grad).abs().max().item()
        assert off < 1e-5, f"{said}: the gradient is {off:.3g} away from that of torch.fake_quantize_per_channel_affine"


def test_mse_range_of_drawn_rows():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(5):
        bits, symmetric = int(torch.randint(2, 6, (), generator=generator)), case % 2 == 0
        rows = torch.randn(3, 200, generator=generator) ** (1 + 2 * (case % 3)) + 0.5 * case
        low, high = quantization.mse_range(rows, bits, symmetric)
        shares, ends = np.arange(1.0, 0.09, -0.02), rows.aminmax(dim=1)
        for row in range(3):
            said = f"row {row}, {bits} bits, symmetric {symmetric}"
            errors = []
            for share in shares:
                scale, zero_point = quantization.affine_params(ends[0][row] * share, ends[1][row] * share, bits, symmetric)
                limits = -(2 ** (bits - 1)) + symmetric, 2 ** (bits - 1) - 1
                fake = torch.fake_quantize_per_tensor_affine(rows[row], float(scale), int(zero_point), *limits)
                errors.append((fake - rows[row]).double().square().mean().item())
            got = [(low[row] / ends[0][row]).item(), (high[row] / ends[1][row]).item()]
            assert abs(got[0] - got[1]) < 1e-3, f"{said}: one share for both ends expected, got {got}"
            at = errors[np.abs(shares - got[0]).argmin()]
            assert at < min(errors) * 1.001, f"{said}: share {got[0]:.2f} has error {at:.5g}, the least is {min(errors):.5g}"


def test_fold_pair_of_drawn_layers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(8):
        count, bias = int(torch.randint(2, 7, (), generator=generator)), case % 2 == 0
        if case % 3:
            layer, norm = nn.Conv2d(3, count, 3, stride=2, padding=1, bias=bias), nn.BatchNorm2d(count, eps=10.0 ** -(case % 4))
            x = torch.randn(2, 3, 7, 7, generator=generator)
        else:
            layer, norm = nn.Linear(3, count, bias=bias), nn.BatchNorm1d(count)
            x = torch.randn(5, 3, generator=generator)
        norm.eval().running_mean.copy_(torch.randn(count, generator=generator))
        norm.running_var.copy_(torch.rand(count, generator=generator) + 0.1)
        norm.weight.data, norm.bias.data = torch.randn(2, count, generator=generator)
        before, expected = copy.deepcopy((layer.state_dict(), norm.state_dict())), norm(layer(x))
        error = (quantization.fold_pair(layer, norm)(x) - expected).abs().max().item()
        assert error < 1e-4, f"{layer} and {norm}: the folded layer's output is off by {error:.2g}"
        for module, state in zip((layer, norm), before):
            same = all(torch.equal(state[name], value) for name, value in module.state_dict().items())
            assert same, f"{module} was changed: give a new layer back"


def test_integer_layers_of_drawn_numbers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(10):
        count, inputs, outputs = torch.randint(1, 900, (3,), generator=generator).tolist()
        count, outputs = count % 5 + 1, outputs % 5 + 1
        x, weight = (torch.randint(-128, 128, (n, inputs), generator=generator).to(torch.int8) for n in (count, outputs))
        weight.clamp_(min=-127)
        scales = torch.rand(outputs, generator=generator) * 0.01 + 0.001
        bias, input_scale = torch.randn(outputs, generator=generator), torch.rand((), generator=generator) * 0.1 + 0.01
        zero_point = int(torch.randint(-128, 128, (), generator=generator))
        q = quantization.quantize_bias(bias, input_scale, scales)
        off = (q * input_scale.double() * scales.double() - bias).abs() / (input_scale * scales)
        assert q.dtype == torch.int32 and off.max() < 0.501, f"biases {bias.tolist()}: {off.max():.3g} steps away"
        expected = (x.numpy().astype(np.int64) - zero_point) @ weight.numpy().astype(np.int64).T + q.numpy()
        got = quantization.integer_linear(x, weight, q, torch.tensor(zero_point, dtype=torch.int32))
        wrong = int((got.numpy() != expected).sum())
        assert not wrong, f"{inputs} inputs, zero point {zero_point}: {wrong} of {expected.size} sums are not exact"
