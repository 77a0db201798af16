"""Hidden checks of lesson 05: as in tests/test_lowrank.py, with cases drawn from the instructor's seed."""

import copy
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tinyshrink import checking, lowrank, metrics


def test_svd_cost_of_drawn_layers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(12):
        m, n, rank = torch.randint(1, 20, (3,), generator=generator).tolist()
        kh, kw, sh, sw = (2 * torch.randint(0, 3, (4,), generator=generator) + 1).tolist()
        size = 15 * sh * sw
        for scheme, kernels, strides in (
            ("spatial", ((kh, 1), (1, kw)), ((sh, 1), (1, sw))),
            ("weight", ((1, 1), (kh, kw)), ((1, 1), (sh, sw))),
        ):
            layers = []
            for channels, kernel, stride in zip(((m, rank), (rank, n)), kernels, strides):
                padding = (kernel[0] // 2, kernel[1] // 2)
                layers.append(nn.Conv2d(*channels, kernel, stride, padding, bias=False, device="meta"))
            two = nn.Sequential(*layers)
            shape = lowrank.LayerShape(m, n, (kh, kw), (sh, sw), (size // sh, size // sw))
            macs = metrics.count_macs(two, torch.empty(1, m, size, size, device="meta"))
            for metric, expected in (("memory", metrics.count_parameters(two)), ("macs", macs)):
                got = lowrank.svd_cost(shape, rank, scheme, metric)
                assert got == expected, f"{metric} of {shape} at rank {rank}, {scheme}: the layers have {expected}, got {got}"


def test_truncated_svd_of_drawn_matrices():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)):
        m, n = torch.randint(2, 40, (2,), generator=generator).tolist()
        rank = int(torch.randint(1, min(m, n) + 1, (), generator=generator))
        weight = (torch.randn(m, n, generator=generator) * torch.rand(n, generator=generator)).to(dtype)
        U, S, Vh = np.linalg.svd(weight.double().numpy(), full_matrices=False)
        best = (U[:, :rank] * S[:rank]) @ Vh[:rank]
        left, right = lowrank.truncated_svd(weight, rank)
        said = f"rank {rank} of a {m} x {n} {dtype}"
        shapes = tuple(left.shape), tuple(right.shape)
        assert shapes == ((m, rank), (rank, n)), f"{said}: got shapes {shapes}"
        assert left.dtype == right.dtype == dtype, f"{said}: got {left.dtype} and {right.dtype}"
        error = np.abs((left.double() @ right.double()).numpy() - best).max() / S[0]
        assert error < tolerance, f"{said}: the product is {error:.1e} away from the nearest matrix of that rank"
        for name, squares in (("left", left.double().square().sum(0)), ("right", right.double().square().sum(1))):
            close = np.allclose(squares, S[:rank], rtol=10 * tolerance, atol=tolerance * S[0])
            assert close, f"{said}: the squares of {name} should add up to the singular values {S[:rank]}, got {squares}"


def test_rank_for_ratio_of_drawn_layers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(25):
        m, n = torch.randint(1, 70, (2,), generator=generator).tolist()
        kernel = tuple((2 * torch.randint(0, 3, (2,), generator=generator) + 1).tolist())
        stride = tuple(torch.randint(1, 3, (2,), generator=generator).tolist())
        shape = lowrank.LayerShape(m, n, kernel, stride, tuple(torch.randint(1, 9, (2,), generator=generator).tolist()))
        multiple = int(torch.randint(1, 9, (), generator=generator))
        ratio = torch.rand((), generator=generator, dtype=torch.float64).item()
        for scheme in ("spatial", "weight"):
            for metric in ("macs", "memory"):
                cost = lowrank.layer_cost(shape, metric)
                costs = [lowrank.svd_cost(shape, rank, scheme, metric) for rank in range(1, 75 * 25)]
                plain, most = (max(1, sum(each <= share * cost for each in costs)) for share in (ratio, 1))
                rounded = max(1, min(-(-plain // multiple) * multiple, most))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    got = [lowrank.rank_for_ratio(shape, ratio, scheme, metric, k) for k in (1, multiple)]
                said = f"{shape} at ratio {ratio:.4f}, {scheme}, {metric}, multiple 1 and {multiple}"
                assert got == [plain, rounded], f"{said}: expected ranks {[plain, rounded]}, got {got}"


def test_factorize_linear_of_drawn_layers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(6):
        inputs, outputs = torch.randint(3, 30, (2,), generator=generator).tolist()
        rank = int(torch.randint(1, min(inputs, outputs) + 1, (), generator=generator))
        layer = nn.Linear(inputs, outputs, bias=case % 2 == 0).double().train(case % 3 == 0)
        layer.weight.data = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
        U, S, Vh = np.linalg.svd(layer.weight.detach().numpy(), full_matrices=False)
        nearest = torch.from_numpy((U[:, :rank] * S[:rank]) @ Vh[:rank])
        before, x = copy.deepcopy(layer.state_dict()), torch.randn(2, 5, inputs, generator=generator, dtype=torch.float64)
        two = lowrank.factorize_linear(layer, rank)
        said = f"{layer} at rank {rank}"
        shapes = [tuple(part.weight.shape) for part in two]
        assert shapes == [(rank, inputs), (outputs, rank)], f"{said}: got weights {shapes}"
        error = (two(x) - F.linear(x, nearest, layer.bias)).abs().max().item()
        assert error < 1e-9, f"{said}: the output is {error:.1e} away from that with the nearest weight of that rank"
        assert two.training == layer.training, f"{said}: training mode {two.training}, that of the layer is {layer.training}"
        assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items()), f"{said}: it was changed"


def test_spatial_svd_of_drawn_convolutions():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(8):
        m, n, kh, kw = (torch.randint(1, 6, (4,), generator=generator) + torch.tensor([1, 1, 0, 0])).tolist()
        stride = tuple(torch.randint(1, 4, (2,), generator=generator).tolist())
        padding = tuple(torch.randint(0, 3, (2,), generator=generator).tolist())
        settings = {"stride": stride, "padding": padding, "bias": case % 2 == 0, "padding_mode": "replicate"}
        conv = nn.Conv2d(m, n, (kh, kw), **settings | ({"padding_mode": "zeros"} if case % 3 else {})).double()
        weight = torch.randn(n, m, kh, kw, generator=generator, dtype=torch.float64)
        conv.weight.data = weight.clone()
        rank = int(torch.randint(1, min(m * kh, n * kw) + 1, (), generator=generator))
        U, S, Vh = np.linalg.svd(np.einsum("oihw->ihow", weight.numpy()).reshape(m * kh, n * kw), full_matrices=False)
        nearest = np.einsum("ihow->oihw", ((U[:, :rank] * S[:rank]) @ Vh[:rank]).reshape(m, kh, n, kw))
        x, said = torch.randn(2, m, 9, 11, generator=generator, dtype=torch.float64), f"{conv} at rank {rank}"
        two = lowrank.spatial_svd(conv.eval(), rank)
        assert torch.equal(conv.weight, weight), f"{said}: its weight was changed"
        conv.weight.data = torch.tensor(nearest)
        expected, got = conv(x), two(x)
        assert got.shape == expected.shape, f"{said}: output {tuple(expected.shape)} expected, got {tuple(got.shape)}"
        error = (got - expected).abs().max().item()
        assert error < 1e-9, f"{said}: the output is {error:.1e} away from that with the nearest weight of that rank"
        kernels = [layer.kernel_size for layer in two]
        assert kernels == [(kh, 1), (1, kw)], f"{said}: expected kernels ({kh}, 1) and (1, {kw}), got {kernels}"
        assert not two.training, f"{said}: the convolution was in eval mode, the two layers are not"


def test_weight_svd_of_drawn_convolutions():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(8):
        m, n, kh, kw = (torch.randint(1, 6, (4,), generator=generator) + torch.tensor([1, 1, 0, 0])).tolist()
        stride = tuple(torch.randint(1, 4, (2,), generator=generator).tolist())
        padding = tuple(torch.randint(0, 3, (2,), generator=generator).tolist())
        settings = {"stride": stride, "padding": padding, "bias": case % 2 == 0, "dilation": (1 + case % 2, 1)}
        conv = nn.Conv2d(m, n, (kh, kw), **settings).double()
        weight = torch.randn(n, m, kh, kw, generator=generator, dtype=torch.float64)
        conv.weight.data = weight.clone()
        rank = int(torch.randint(1, min(m, n * kh * kw) + 1, (), generator=generator))
        U, S, Vh = np.linalg.svd(weight.numpy().swapaxes(0, 1).reshape(m, -1), full_matrices=False)
        nearest = ((U[:, :rank] * S[:rank]) @ Vh[:rank]).reshape(m, n, kh, kw).swapaxes(0, 1)
        x, said = torch.randn(2, m, 11, 12, generator=generator, dtype=torch.float64), f"{conv} at rank {rank}"
        two = lowrank.weight_svd(conv.eval(), rank)
        assert torch.equal(conv.weight, weight), f"{said}: its weight was changed"
        conv.weight.data = torch.tensor(nearest)
        expected, got = conv(x), two(x)
        assert got.shape == expected.shape, f"{said}: output {tuple(expected.shape)} expected, got {tuple(got.shape)}"
        error = (got - expected).abs().max().item()
        assert error < 1e-9, f"{said}: the output is {error:.1e} away from that with the nearest weight of that rank"
        kernels = [layer.kernel_size for layer in two]
        assert kernels == [(1, 1), (kh, kw)], f"{said}: expected kernels (1, 1) and ({kh}, {kw}), got {kernels}"
        assert not two.training, f"{said}: the convolution was in eval mode, the two layers are not"


def test_replace_layers_of_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(4):
        a, b, c = torch.randint(6, 16, (3,), generator=generator).tolist()
        block = nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU())
        model = nn.Sequential(nn.Conv2d(2, a, 3), block, nn.Flatten(), nn.Linear(16 * b, c), nn.Linear(c, c)).double().eval()
        before, x = copy.deepcopy(model.state_dict()), torch.randn(3, 2, 6, 6, generator=generator, dtype=torch.float64)
        shapes = {"0": (2, a, (3, 3)), "1.0": (a, b, (3, 3)), "3": (16 * b, c), "4": (c, c)}
        for scheme in ("spatial", "weight"):
            ranks = {}
            for name, shape in shapes.items():
                limit = min(shape[:2]) * (3 if scheme == "spatial" and len(shape) == 3 else 1)
                ranks[name] = int(torch.randint(1, limit + 1, (), generator=generator))
            del ranks["0" if scheme == "weight" else "3"]
            saves = {
                name: lowrank.svd_cost(lowrank.LayerShape(*shapes[name]), rank, scheme)
                < lowrank.layer_cost(lowrank.LayerShape(*shapes[name]))
                for name, rank in ranks.items()
            }
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                smaller = lowrank.replace_layers(model, ranks, scheme)
            expected = copy.deepcopy(model)
            for name in (name for name, saved in saves.items() if saved):
                layer = expected.get_submodule(name)
                make = lowrank.spatial_svd if scheme == "spatial" else lowrank.weight_svd
                two = lowrank.factorize_linear(layer, ranks[name]) if isinstance(layer, nn.Linear) else make(layer, ranks[name])
                expected.set_submodule(name, two)
            case = f"ranks {ranks}, {scheme}, of layers {shapes}"
            assert list(smaller.state_dict()) == list(expected.state_dict()), f"{case}: got {list(smaller.state_dict())}"
            error = (smaller(x) - expected(x)).abs().max().item()
            assert error < 1e-9, f"{case}: the output is off by {error:.1e}"
            warned = int(not all(saves.values()))
            assert len(said) == warned, f"{case}: expected {warned} warnings, got {[str(w.message) for w in said]}"
            stay = [name for name, saved in saves.items() if not saved]
            assert all(name in str(said[0].message) for name in stay), f"{case}: the warning should name {stay}"
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items()), "the model was changed"
