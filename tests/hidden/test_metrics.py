import math

import numpy as np
import torch
from torch import nn

from tinyshrink import checking, metrics


def test_sparsity_of_random_tensors_equals_numpys():
    random = np.random.default_rng(checking.hidden_seed())
    for dtype, scale in ((np.float32, 1e-20), (np.float16, 1), (np.int64, 1)):
        shape = random.integers(1, 7, size=random.integers(1, 5))
        array = random.integers(-3, 4, size=shape).astype(dtype) * dtype(scale)
        got, expected = metrics.sparsity(torch.from_numpy(array)), float(np.mean(array == 0, dtype=np.float64))
        assert isinstance(got, float), f"expected a float, got {type(got).__name__}"
        assert math.isclose(got, expected, abs_tol=1e-6), f"shape {array.shape}: expected {expected}, got {got}"


def test_sparsity_of_random_models_is_that_of_all_their_weights_together():
    random = np.random.default_rng(checking.hidden_seed())
    a, b, c = (int(n) for n in random.integers(2, 9, size=3))
    model = nn.ModuleList([nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.Linear(b, c), nn.ConvTranspose1d(c, a, 2)])
    model.append(nn.Linear(b, c))
    model[4].weight = model[2].weight
    for parameter in model.parameters():
        parameter.data = torch.from_numpy(random.integers(-1, 2, size=tuple(parameter.shape)) * 0.5)
        parameter.requires_grad_(bool(random.integers(2)))
    flat = np.concatenate([model[i].weight.detach().numpy().ravel() for i in (0, 2, 3)])
    expected, got = float(np.mean(flat == 0)), metrics.sparsity(model)
    assert math.isclose(got, expected, abs_tol=1e-6), f"expected {expected} of the {flat.size} weights, got {got}"


def test_count_parameters_equals_the_length_of_pytorchs_vector():
    random = np.random.default_rng(checking.hidden_seed())
    a, b, c = (int(n) for n in random.integers(2, 9, size=3))
    model = nn.ModuleList([nn.Conv1d(a, b, c), nn.BatchNorm1d(b), nn.Linear(b, c), nn.Embedding(b, a), nn.Linear(b, c)])
    model[4].weight = model[2].weight
    model.scale = nn.Parameter(torch.tensor(-1.0), requires_grad=False)
    for parameter in (*model[0].parameters(), *model[2].parameters()):
        parameter.data = torch.from_numpy(random.integers(-1, 2, size=tuple(parameter.shape))).float()
    vector = nn.utils.parameters_to_vector(model.parameters())
    expected, got = vector.numel(), metrics.count_parameters(model)
    assert got == expected, f"expected {expected} parameters, got {got}"
    expected, got = int(vector.count_nonzero()), metrics.count_parameters(model, nonzero=True)
    assert got == expected, f"expected {expected} nonzero parameters, got {got}"


def test_model_bytes_equals_that_of_numpys_arrays():
    random = np.random.default_rng(checking.hidden_seed())
    a, b = (int(n) for n in random.integers(2, 20, size=2))
    dtype = (torch.float16, torch.float32, torch.float64)[random.integers(3)]
    model = nn.Sequential(nn.Linear(a, b).to(dtype), nn.BatchNorm1d(b), nn.Conv1d(b, a, 3, bias=False).double())
    model.register_buffer("codes", torch.zeros(a, dtype=torch.uint8), persistent=False)
    expected = sum(value.numpy().nbytes for value in model.state_dict().values()) + a
    got = metrics.model_bytes(model)
    assert got == expected, f"expected {expected} bytes, got {got}"
    model.append(nn.Linear(a, b, bias=False))
    model[3].weight = nn.Parameter(model[0].weight.detach())
    got = metrics.model_bytes(model)
    assert got == expected, f"two parameters on one storage: still {expected} bytes, got {got}"


def test_layer_macs_of_random_layers_equal_half_of_pytorchs_flops():
    random = np.random.default_rng(checking.hidden_seed())
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    for dims, kind in zip((1, 2, 3, 1, 2, 3), kinds):
        groups, kernel, stride, dilation = (int(n) for n in random.integers(1, 4, size=4))
        channels, width = (groups * int(n) for n in random.integers(1, 4, size=2))
        layer = kind(channels, width, kernel, stride, padding=int(random.integers(3)), dilation=dilation, groups=groups)
        x = torch.zeros(1, channels, *(int(n) for n in random.integers(7, 10, size=dims)))
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            y = layer(x)
        expected = counter.get_total_flops() // 2
        got = metrics.layer_macs(layer, tuple(x.shape[1:]), tuple(y.shape[1:]))
        assert got == expected, f"{layer} from {tuple(x.shape[1:])}: expected {expected} MACs, got {got}"


def test_layer_macs_of_linear_multiplies_all_leading_dimensions():
    random = np.random.default_rng(checking.hidden_seed())
    for leading in range(4):
        *positions, inputs, outputs = (int(n) for n in random.integers(2, 9, size=leading + 2))
        expected = int(np.prod([*positions, inputs, outputs]))
        got = metrics.layer_macs(nn.Linear(inputs, outputs), (*positions, inputs), (*positions, outputs))
        assert got == expected, f"{inputs} to {outputs} at {positions} positions: expected {expected}, got {got}"


def test_latency_of_random_times_equals_numpys_quantiles():
    random, now, costs = np.random.default_rng(checking.hidden_seed()), [0.0], []
    for repeats in (1, 2, 7, 10):
        warmup, times = int(random.integers(4)), random.exponential(size=repeats).tolist()
        costs[:] = [70.0] * warmup + times + [50.0] * 50
        f = lambda: now.append(now[-1] + costs.pop(0))  # the next call takes the next of the costs
        got = metrics.latency(f, warmup=warmup, repeats=repeats, clock=lambda: now[-1])
        expected = np.quantile(times, [0.5, 0.25, 0.75]) * 1000
        assert np.allclose(got, expected, rtol=1e-5), f"{repeats} repeats: expected {expected} ms, got {tuple(got)}"
        assert len(costs) == 50, f"expected {warmup} + {repeats} calls of f, got {warmup + repeats + 50 - len(costs)}"


def test_paired_speedup_of_random_times_equals_numpys_median_of_ratios():
    random, now, costs = np.random.default_rng(checking.hidden_seed()), [0.0], [[], []]
    slow, fast = (lambda: now.append(now[-1] + costs[0].pop(0))), (lambda: now.append(now[-1] + costs[1].pop(0)))
    for repeats in (1, 4, 9):
        times = random.uniform(0.1, 3, size=(2, repeats))
        costs[:] = [[70.0, *row, *[70.0] * 50] for row in times.tolist()]  # the first call of each is the warm-up
        got = metrics.paired_speedup(slow, fast, warmup=1, repeats=repeats, clock=lambda: now[-1])
        expected = np.median(times[0] / times[1])
        assert math.isclose(got, expected, rel_tol=1e-5), f"{repeats} repeats: expected {expected}, got {got}"


def test_energy_curve_tells_the_error_of_the_best_approximation():
    random = np.random.default_rng(checking.hidden_seed())
    for shape in ((5, 9), (9, 5), (6, 2, 3), (4, 3, 2, 2)):
        weight = random.normal(size=shape)
        u, s, v = np.linalg.svd(weight.reshape(shape[0], -1), full_matrices=False)
        got = metrics.energy_curve(torch.from_numpy(weight).float())
        assert got.shape == s.shape and got[-1] == 1, f"expected shape {s.shape} ending in exactly 1, got {got}"
        for rank in range(1, len(s) + 1):
            best = u[:, :rank] * s[:rank] @ v[:rank]
            expected = 1 - np.sum((weight.reshape(shape[0], -1) - best) ** 2) / np.sum(weight**2)
            value = got[rank - 1].item()
            close = math.isclose(value, expected, abs_tol=1e-5)
            assert close, f"rank {rank} of {shape}: expected {expected}, got {value}"


def test_effective_rank_of_random_spectra():
    random = np.random.default_rng(checking.hidden_seed())
    for rows, columns in ((12, 8), (8, 12), (10, 10)):
        left, right = (np.linalg.qr(random.normal(size=(n, n)))[0] for n in (rows, columns))
        values = np.sort(random.exponential(size=min(rows, columns)) + 0.05)[::-1]
        weight = left[:, : len(values)] * values @ right[: len(values)]
        shares = np.cumsum(values**2) / np.sum(values**2)
        rank = int(random.integers(2, len(values)))
        energy = float(shares[rank - 2] + shares[rank - 1]) / 2
        got = metrics.effective_rank(torch.from_numpy(weight), energy)
        assert got == rank, f"shares {shares.round(4)}: expected rank {rank} for energy {energy:.4f}, got {got}"
