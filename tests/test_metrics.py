import copy
import math
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from tinyshrink import data, metrics, models, training

# Checks, in the order of the lesson.


def test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor():
    got = metrics.sparsity(torch.tensor([[0.0, -2.0, 1e-30], [-0.0, float("nan"), 5.0]]))
    assert isinstance(got, float), f"expected a Python float, got {type(got).__name__}"
    assert abs(got - 2 / 6) < 1e-6, f"2 of 6 values are zero (1e-30, -2 and NaN are not): expected 0.3333, got {got}"
    for tensor, expected in (
        (torch.tensor(0.0), 1.0),
        (torch.tensor([True, False, False, False]), 0.75),
        (torch.tensor([0, 3, -1, -2, -4], dtype=torch.float16), 0.2),
        (torch.tensor([[[1, 0], [0, 0]]], dtype=torch.bfloat16).transpose(0, 2), 0.75),
        (torch.ones(3, 3), 0.0),
    ):
        got = metrics.sparsity(tensor)
        assert abs(got - expected) < 1e-6, f"expected sparsity {expected} for {tensor}, got {got}"


def test_sparsity_of_a_model_counts_its_weights_and_nothing_else():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Linear(8, 3), nn.Embedding(5, 4))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    for parameter in (model[0].bias, model[1].bias, model[3].weight):
        nn.init.zeros_(parameter)
    got = metrics.sparsity(model)
    assert got == 0, f"biases and an embedding are zero, and not in weights(model): expected 0.0, got {got}"
    with torch.no_grad():
        model[0].weight[0] = 0
    got = metrics.sparsity(model)
    assert abs(got - 4 / 32) < 1e-6, f"4 of all the 32 weights are zero: expected 0.125, got {got}"


def test_sparsity_counts_a_shared_weight_once_and_a_frozen_one_too():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    model[2].weight = model[0].weight
    nn.init.zeros_(model[3].weight).requires_grad_(False)
    got = metrics.sparsity(model)
    assert abs(got - 8 / 24) < 1e-6, f"16 shared weights and 8 frozen zeros: expected 8 / 24 = 0.3333, got {got}"


def test_count_parameters_counts_all_that_is_learned():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 2, bias=False))
    got = metrics.count_parameters(model)
    assert got == 112 + 8 + 10, f"expected 112 (convolution) + 8 (norm) + 10 (linear) = 130 parameters, got {got}"
    assert isinstance(got, int), f"expected an int, got {type(got).__name__}"
    model[0].requires_grad_(False)
    got = metrics.count_parameters(model)
    assert got == 130, f"frozen parameters are parameters too: expected 130, got {got}"
    model.scale = nn.Parameter(torch.tensor(2.0))
    got = metrics.count_parameters(model)
    assert got == 131, f"a parameter without dimensions is one number: expected 131, got {got}"
    got = metrics.count_parameters(nn.Linear(3, 2, device="meta"))
    assert got == 8, f"on the meta device a layer has shapes and no memory: expected 8 parameters all the same, got {got}"


def test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).half()
    model[1].weight = model[0].weight
    got = metrics.count_parameters(model)
    assert got == 15, f"9 shared weights and 2 * 3 biases: expected 15 parameters, got {got}"
    with torch.no_grad():
        model[0].weight.fill_(-1)[0, 0] = 0
        model[0].bias.fill_(6e-8)  # nearly zero is not zero
        model[1].bias.zero_()
    got = metrics.count_parameters(model, nonzero=True)
    assert got == 8 + 3, f"8 negative weights and 3 biases are not zero: expected 11, got {got}"
    assert isinstance(got, int), f"expected an int, got {type(got).__name__}"
    got = metrics.count_parameters(model)
    assert got == 15, f"zeros count unless nonzero=True: expected 15, got {got}"


def test_model_bytes_goes_by_dtype_and_counts_buffers():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    got = metrics.model_bytes(model)
    assert got == 32 + 40, f"expected 32 (linear) + 40 (norm with its buffers and int64 counter) = 72 bytes, got {got}"
    assert isinstance(got, int), f"expected an int, got {type(got).__name__}"
    got = metrics.model_bytes(nn.Linear(3, 2).bfloat16())
    assert got == 16, f"bfloat16 takes 2 bytes a number: expected 16, got {got}"
    nn.init.zeros_(model[0].weight)
    got = metrics.model_bytes(model)
    assert got == 72, f"zeros take as much memory as other numbers: expected 72, got {got}"
    model.register_buffer("codes", torch.zeros(5, dtype=torch.uint8), persistent=False)
    got = metrics.model_bytes(model)
    assert got == 77, f"a buffer of 5 uint8 takes 5 bytes, saved with the model or not: expected 77, got {got}"


def test_model_bytes_counts_each_storage_once():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.detach().t())
    got = metrics.model_bytes(model)
    assert got == 256, f"the second weight is a view of the first, 64 floats: expected 256 bytes, got {got}"
    model[1].weight = nn.Parameter(torch.zeros(100, 8)[:2])
    got = metrics.model_bytes(model)
    assert got == 256 + 3200, f"a slice keeps its whole storage of 800 floats alive: expected 3456 bytes, got {got}"
    model[1].weight = nn.Parameter(torch.zeros(100, 8)[:2].clone())
    got = metrics.model_bytes(model)
    assert got == 256 + 64, f"a clone of the slice has 16 floats of its own: expected 320 bytes, got {got}"
    rows = torch.zeros(100, 8)
    model[0].weight, model[1].weight = nn.Parameter(rows[:2]), nn.Parameter(rows[2:4])
    got = metrics.model_bytes(model)
    assert got == 3200, f"two slices of one storage of 800 floats: expected 3200 bytes, got {got}"


def test_layer_macs_of_small_layers_worked_by_hand():
    for layer, input_shape, output_shape, expected in (
        (nn.Linear(5, 2), (5,), (2,), 10),
        (nn.Linear(5, 2, bias=False), (7, 5), (7, 2), 70),
        (nn.Linear(5, 2), (3, 7, 5), (3, 7, 2), 210),
        (nn.Conv2d(4, 6, 3), (4, 10, 10), (6, 8, 8), 6 * 8 * 8 * 4 * 3 * 3),
        (nn.Conv2d(4, 6, (1, 5), stride=2, dilation=2, groups=2), (4, 10, 12), (6, 5, 2), 6 * 5 * 2 * 2 * 5),
        (nn.Conv1d(8, 8, 3, padding=1, groups=8), (8, 20), (8, 20), 8 * 20 * 3),
        (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), (3, 3, 3, 3), 3 * 27 * 2 * 8),
    ):
        got = metrics.layer_macs(layer, input_shape, output_shape)
        assert got == expected, f"{layer} from {input_shape} to {output_shape}: expected {expected} MACs, got {got}"
        assert isinstance(got, int), f"expected an int, got {type(got).__name__}"


def test_layer_macs_counts_the_products_that_are_really_made():
    for layer in (
        nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False),
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False),
        nn.ConvTranspose1d(4, 2, 5, dilation=2, bias=False),
        nn.Linear(9, 5, bias=False),
    ):
        nn.init.ones_(layer.weight)
        shape = (9,) if isinstance(layer, nn.Linear) else (4, 9, 9)[: layer.weight.ndim - 1]
        y = layer(torch.ones(1, *shape))[0]  # ones times ones: each product adds exactly 1 to the output
        expected, got = round(y.sum().item()), metrics.layer_macs(layer, shape, tuple(y.shape))
        assert got == expected, f"{layer} from {shape} makes {expected} products, got {got}"


def test_latency_is_the_median_in_milliseconds_after_the_warmup():
    now, calls = [0.0], []

    def f():  # two slow first calls, then 1, 2, 3 and 10 ms, by a clock of ours
        calls.append(1)
        now[0] += (9, 7, 0.003, 0.001, 0.010, 0.002, 5, 5, 5)[min(len(calls), 9) - 1]

    got = metrics.latency(f, warmup=2, repeats=4, clock=lambda: now[0])
    assert len(calls) == 6, f"expected 2 calls to warm up and 4 measured ones, got {len(calls)} in all"
    for name, value, expected in zip(("median", "low", "high"), got, (2.5, 1.75, 4.75)):
        assert math.isclose(value, expected, rel_tol=1e-6), f"{name}: expected {expected} ms, got {value}"
    assert got.median == got[0] and isinstance(got[0], float), f"expected a Latency of three floats, got {got!r}"


def test_latency_computes_with_the_asked_threads_and_puts_them_back():
    before, seen = torch.get_num_threads(), []
    metrics.latency(lambda: seen.append(torch.get_num_threads()), warmup=1, repeats=2, threads=before + 1)
    after = torch.get_num_threads()
    torch.set_num_threads(before + 2)
    metrics.latency(lambda: seen.append(torch.get_num_threads()), warmup=0, repeats=1)
    torch.set_num_threads(before)
    assert seen[:3] == [before + 1] * 3, f"expected {before + 1} threads in the warm-up and in both calls, got {seen[:3]}"
    assert after == before, f"expected {before} threads again afterwards, got {after}"
    assert seen[3:] == [before + 2], f"threads=None leaves the {before + 2} threads as they are, f ran with {seen[3:]}"


def test_latency_puts_the_threads_back_when_the_function_fails():
    before = torch.get_num_threads()
    try:
        metrics.latency(lambda: 1 / 0, threads=before + 1)
        failed = False
    except ZeroDivisionError:
        failed = True
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert failed, "f divides by zero: its error must come out of latency"
    assert after == before, f"f failed: expected {before} threads again all the same, got {after}"


def test_latency_waits_until_a_gpu_is_done():
    events, cuda = [], torch.cuda
    real = cuda.is_initialized, cuda.synchronize
    cuda.is_initialized, cuda.synchronize = (lambda: True), (lambda *_: events.append("wait"))  # a GPU that we make up
    try:
        metrics.latency(lambda: events.append("f"), warmup=0, repeats=1, clock=lambda: events.append("clock") or 0.0)
    finally:
        cuda.is_initialized, cuda.synchronize = real
    said = "a GPU says 'done' before it is: wait_for_gpu() comes between f() and the clock, as `seconds` does it"
    assert "wait" in events[events.index("f") :][:2], f"{said}; you did {events}"


def test_paired_speedup_is_the_median_of_the_ratios():
    now, order = [0.0], []

    def run(name, costs):  # the first call takes 100 s, the next ones `costs`, further ones 100 s
        order.append(name)
        now[0] += (100, *costs, *[100] * 99)[order.count(name) - 1]

    slow, fast = (lambda: run("slow", (4, 6, 20, 8))), (lambda: run("fast", (2, 2, 4, 8)))
    got = metrics.paired_speedup(slow, fast, warmup=1, repeats=4, clock=lambda: now[0])
    assert math.isclose(got, 2.5, rel_tol=1e-9), f"the ratios are 2, 3, 5, 1: expected their median 2.5, got {got}"
    assert isinstance(got, float), f"expected a float, got {type(got).__name__}"
    assert sorted(order[:2]) == ["fast", "slow"], f"expected one call of each to warm up, got {order[:2]}"
    assert len(order) == 10, f"expected 4 measured calls of each after that, got {order[2:]}"


def test_paired_speedup_makes_the_calls_in_turn():
    calls = []  # a computer that gets slower and slower: call number n takes about n seconds, whatever it does
    slow, fast = (lambda: calls.append("slow")), (lambda: calls.append("fast"))
    got = metrics.paired_speedup(slow, fast, warmup=2, repeats=50, clock=lambda: len(calls) ** 2 / 2)
    assert 0.9 < got < 1.1, f"slow and fast do the same here: expected a speedup near 1, got {got}"
    pairs = {tuple(sorted(calls[i : i + 2])) for i in range(4, len(calls), 2)}  # after the 4 calls of the warm-up
    assert pairs == {("fast", "slow")}, "expected slow and fast in turn, not all calls of one and then of the other"


def test_paired_speedup_gives_both_functions_the_same_threads():
    before, seen = torch.get_num_threads(), []
    both = [lambda: seen.append(torch.get_num_threads())] * 2
    metrics.paired_speedup(*both, warmup=1, repeats=2, threads=before + 1)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert seen == [before + 1] * 6, f"expected all 6 calls with {before + 1} threads, got {seen}"
    assert after == before, f"expected {before} threads again afterwards, got {after}"
    try:
        metrics.paired_speedup(lambda: 1, lambda: 1 / 0, threads=before + 1)
    except ZeroDivisionError:
        after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before, f"one of the two failed: expected {before} threads again all the same, got {after}"


def test_paired_speedup_waits_until_a_gpu_is_done():
    events, cuda = [], torch.cuda
    real = cuda.is_initialized, cuda.synchronize
    cuda.is_initialized, cuda.synchronize = (lambda: True), (lambda *_: events.append("wait"))  # a GPU that we make up
    both, tick = [lambda: events.append("f")] * 2, (lambda: events.append("clock") or float(len(events)))
    try:
        metrics.paired_speedup(*both, warmup=0, repeats=1, clock=tick)
    finally:
        cuda.is_initialized, cuda.synchronize = real
    after = [events[place : place + 2] for place, event in enumerate(events) if event == "f"]
    assert after == [["f", "wait"]] * 2, f"after each of the two calls wait_for_gpu() before you read the clock: {events}"


def test_energy_curve_of_small_matrices_worked_by_hand():
    for weight, expected in (
        ([[2.0, 0.0], [0.0, 1.0]], [0.8, 1.0]),
        ([[0.0, 0.0, -3.0], [0.0, 4.0, 0.0]], [0.64, 1.0]),
        ([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]], [1.0, 1.0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]),
    ):
        got = metrics.energy_curve(torch.tensor(weight))
        assert got.dtype == torch.float64, f"expected float64, got {got.dtype}"
        assert got.shape == (2,), f"{weight} has 2 singular values: expected shape (2,), got {tuple(got.shape)}"
        close = torch.allclose(got, torch.tensor(expected).double())
        assert close, f"{weight}: expected {expected}, got {got.tolist()}"


def test_energy_curve_ends_in_exactly_one():
    for n in range(1, 40):
        last = metrics.energy_curve(torch.arange(1.0, n * n + 1).sin().reshape(n, n))[-1].item()
        assert last == 1, f"the last share must be exactly 1, got {last!r}"


def test_energy_curve_flattens_a_convolution_to_one_row_for_each_filter():
    weight = nn.Parameter(torch.arange(48).reshape(4, 3, 2, 2).bfloat16().sqrt())
    got = metrics.energy_curve(weight)
    values = np.linalg.svd(weight.detach().double().numpy().reshape(4, 12), compute_uv=False)
    expected = np.cumsum(values**2) / np.sum(values**2)
    assert got.shape == (4,), f"the matrix is 4 x 12: expected 4 shares, got shape {tuple(got.shape)}"
    assert not got.requires_grad, "the curve is a measurement: expected no gradient"
    assert np.allclose(got.numpy(), expected), f"expected {expected.round(6)}, got {got.numpy().round(6)}"


def test_effective_rank_is_the_smallest_that_reaches_the_energy():
    weight = torch.diag(torch.tensor([1.0, 3.0, 2.0, 0.0]))  # energy 9, 4, 1, 0 of 14: shares 0.643, 0.929, 1, 1
    for energy, expected in ((0.1, 1), (0.64, 1), (0.65, 2), (0.92, 2), (0.93, 3), (1.0, 3)):
        got = metrics.effective_rank(weight, energy)
        assert got == expected, f"energy {energy}: expected rank {expected}, got {got}"
        assert isinstance(got, int), f"expected an int, got {type(got).__name__}"
    got = metrics.effective_rank(torch.diag(torch.tensor([1.0, 1e-4])), 1.0)
    assert got == 2, f"the second direction is small, and 100% is more than 99.999999%: expected rank 2, got {got}"
    got = metrics.effective_rank(torch.eye(4), 0.5)
    assert got == 2, f"two of four equal directions hold exactly half: expected rank 2, got {got}"
    got = metrics.effective_rank(torch.zeros(3, 5))
    assert got == 0, f"an all-zero weight has rank 0, got {got}"


def test_effective_rank_finds_the_rank_of_a_product():
    generator = torch.Generator().manual_seed(1)
    left, right = torch.randn(20, 3, generator=generator), torch.randn(3, 30, generator=generator)
    got = metrics.effective_rank((left @ right).reshape(20, 5, 3, 2), energy=1 - 1e-9)
    assert got == 3, f"(20 x 3) times (3 x 30) has rank 3, got {got}"
    got = metrics.effective_rank(torch.diag(torch.tensor([100.0, 9.0, 9.0])))
    assert got == 2, f"by default 99 % of the energy, and 10000 of 10162 is 98.4 %: expected rank 2, got {got}"


# Checks of the questions and of the success criterion.


def check_layers(answer_bytes, answer_macs, model, example):
    """The names of a layer with the most parameters and of one with the most MACs."""
    sizes = {name: metrics.count_parameters(layer) for name, layer in metrics.layers(model).items()}
    work = metrics.macs_by_layer(model, example)
    for what, answer, amounts in (("parameters", answer_bytes, sizes), ("MACs", answer_macs, work)):
        assert answer in amounts, f"{what}: the answer is the name of a layer, one of {', '.join(amounts)}, got {answer!r}"
        assert amounts[answer] == max(amounts.values()), f"another layer has more {what} than {answer}"


def check_factors(answer, change):
    """How many times fewer numbers two factors of the rank that holds 90% of the energy have than the matrix."""
    assert isinstance(answer, (int, float)), f"the answer is a number, got {answer!r}"
    rows, columns = change.shape
    rank = round(change.numel() / answer / (rows + columns), 6)
    assert rank == int(rank), f"{answer} times fewer numbers is no whole rank: count both factors, {rows} x r and r x {columns}"
    assert rank == metrics.effective_rank(change, 0.9), f"that is rank {rank:.0f}, which is not the one that holds 90%"


def check_cut(cut_at, threshold, trained):
    """Half of the weights of cut_at(trained, threshold) at least are zero; it reads at most 2 pp fewer test digits right."""
    assert isinstance(threshold, (int, float)), f"threshold is a number that you choose, got {threshold!r}"
    cut = cut_at(trained, threshold)
    assert isinstance(cut, nn.Module) and cut is not trained, "cut_at must return a copy: copy.deepcopy(model)"
    dense, share = metrics.sparsity(trained), metrics.sparsity(cut)
    assert dense < 0.01, f"cut_at has cut `trained` itself ({dense:.1%} zeros): train it again, and cut a copy"
    assert share >= 0.5, f"at {threshold} only {share:.1%} of the weights are zero, expected at least 50%"
    for name, before in trained.state_dict().items():
        after = cut.state_dict()[name]
        assert torch.equal(after[after != 0], before[after != 0]), f"{name} was changed in places where it is not zero"
    test, fresh = data.load("digits").test, models.DigitsCNN()
    fresh.load_state_dict(cut.state_dict())  # the cut values alone, without what a hook of the copy may add
    lost = 100 * (training.evaluate(trained, test) - training.evaluate(fresh, test))
    assert lost <= 2, f"with {share:.1%} zeros it reads {lost:.2f} pp fewer of the test digits right: cut nearer to zero"


@pytest.mark.parametrize("answers", [("fc1", "conv2"), ("fc1", "conv3")])
def test_the_question_of_the_layers_takes_either_of_two_equal_ones(answers):
    check_layers(*answers, models.DigitsCNN(), torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((None, None), "parameters: the answer is the name"),
        (("conv3", "conv2"), "another layer has more parameters than conv3"),
        (("fc1", "fc1"), "another layer has more MACs than fc1"),
        (("fc1", "elsewhere"), "MACs: the answer is the name"),
    ],
)
def test_the_question_of_the_layers_refuses(answers, message):
    with pytest.raises(AssertionError, match=message):
        check_layers(*answers, models.DigitsCNN(), torch.zeros(2, 1, 8, 8))


CHANGE = torch.diag(torch.tensor([3.0, 3.0, 1.0, 0.1]))[:, :3]  # 90% of the energy at rank 2


def test_the_question_of_the_factors_takes_the_numbers_saved():
    check_factors(12 / (2 * 7), CHANGE)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "is a number, got None"),
        (2, "no whole rank"),
        (2 * 7 / 12, "no whole rank"),
        (12 / (2 * 4), "no whole rank"),
        (12 / 7, "rank 1, which is not"),
        (12 / (3 * 7), "rank 3, which is not"),
    ],
)
def test_the_question_of_the_factors_refuses(answer, message):
    with pytest.raises(AssertionError, match=message):
        check_factors(answer, CHANGE)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = models.DigitsCNN()
    training.train(model, data.load("digits"), epochs=4)
    return model


def cut_at(model, threshold):
    cut = copy.deepcopy(model)
    for weight in metrics.weights(cut).values():
        weight.data *= weight.abs() >= threshold
    return cut


def cut_with_a_change(model, threshold):
    cut = cut_at(model, threshold)
    cut.bn1.bias.data += 0.1
    return cut


def cut_in_place(model, threshold):
    for weight in metrics.weights(model).values():
        weight.data[weight.abs() < threshold] = 0
    return copy.deepcopy(model)


def test_the_criterion_takes_a_cut_that_keeps_its_promise(trained):
    check_cut(cut_at, 0.024, trained)


@pytest.mark.parametrize(
    ("cut", "threshold", "message"),
    [
        (cut_at, None, "threshold is a number"),
        (cut_at, 0.01, r"only 2.\..% of the weights"),
        (cut_at, 0.045, "fewer of the test digits"),
        (cut_with_a_change, 0.024, "bn1.bias was changed"),
        (lambda model, threshold: model, 0.024, "must return a copy"),
        (lambda model, threshold: None, 0.024, "must return a copy"),
    ],
)
def test_the_criterion_refuses(trained, cut, threshold, message):
    with pytest.raises(AssertionError, match=message):
        check_cut(cut, threshold, trained)


def test_the_criterion_notices_that_the_original_was_cut(trained):
    with pytest.raises(AssertionError, match="has cut `trained` itself"):
        check_cut(cut_in_place, 0.024, copy.deepcopy(trained))


# Tests of what is given.


def test_weights_names_linear_convolution_and_attention_weights_in_order():
    model = nn.ModuleDict(
        {
            "conv": nn.Conv1d(2, 3, 2),
            "norm": nn.BatchNorm1d(3),
            "up": nn.ConvTranspose3d(1, 1, 1),
            "attention": nn.MultiheadAttention(4, 2),
            "cross": nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
            "table": nn.Embedding(3, 4),
        }
    )
    names = ["conv.weight", "up.weight", "attention.in_proj_weight", "attention.out_proj.weight"]
    names += [f"cross.{name}" for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight")]
    found = metrics.weights(model)
    assert list(found) == names
    assert all(found[name] is model.get_parameter(name) for name in names)
    assert list(metrics.weights(nn.Linear(2, 3))) == ["weight"]


def test_weights_leaves_computed_weights_out_and_shared_ones_in_once():
    tied = nn.Linear(3, 3)
    tied_twice = nn.Linear(3, 3)
    tied_twice.weight = tied.weight
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)), tied, tied_twice, tied)
    assert list(metrics.weights(model)) == ["1.weight"]
    assert metrics.weights(nn.ReLU()) == {}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_macs_agree_with_flop_counter_mode_on_torchvisions_models(name):
    with torch.device("meta"):  # the same operations, without the work
        model = getattr(torchvision.models, name)(weights=None).eval()
        x = torch.empty(2, 3, 224, 224)
    with FlopCounterMode(display=False) as counter:  # with gradients: the fused attention would hide from it
        model(x)
    expected = counter.get_total_flops() / 2 / len(x)
    assert metrics.count_macs(model, x) == pytest.approx(expected, rel=1e-3)


def test_macs_of_a_real_forward_pass_equal_those_on_the_meta_device():
    model = models.CifarCNN()
    assert metrics.count_macs(model, torch.zeros(2, 3, 32, 32)) == 40_813_184
    assert metrics.count_macs(model.to("meta"), torch.zeros(3, 3, 32, 32, device="meta")) == 40_813_184


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_macs_of_odd_convolutions_equal_the_products_of_ones(dtype):
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2, bias=False),  # (4, 13, 11) to (6, 5, 4)
        nn.ConvTranspose2d(6, 3, 3, stride=2, groups=3, bias=False),  # to (3, 11, 9)
        nn.Conv2d(3, 3, (3, 1), groups=3, bias=False),
    )
    products = 0
    for layer, shape in zip(model, [(1, 4, 13, 11), (1, 6, 5, 4), (1, 3, 11, 9)]):
        nn.init.ones_(layer.weight)
        products += layer(torch.ones(shape)).sum().item()
    assert metrics.count_macs(model.to(dtype), torch.ones(5, 4, 13, 11, dtype=dtype)) == products


class Functional(nn.Module):
    """No layer at all: F.linear 3 x 4, F.conv1d 5 x 5 x 3, attention over 5 positions, matrix products."""

    def forward(self, x, y):  # (N, 4), (N, 1, 7)
        image = F.conv1d(y, torch.ones(5, 1, 3))  # (N, 5, 5)
        attended = F.scaled_dot_product_attention(image, image, image)
        return F.linear(x, torch.ones(3, 4)).sum() + (image @ attended).sum()


def test_macs_outside_layers_are_counted():
    x, y = torch.randn(6, 4), torch.randn(6, 1, 7)
    expected = 3 * 4 + 5 * 5 * 3 + 2 * 5**3 + 5**3
    assert metrics.macs_by_layer(Functional(), (x, y)) == {"elsewhere": expected}


@pytest.mark.parametrize("training", [True, False])
def test_macs_of_attention_do_not_depend_on_the_fused_fast_path(training):
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).train(training)
    projections, attention, feedforward = 4 * 16 * 16, 2 * 5 * 16, 2 * 16 * 32
    assert metrics.count_macs(layer, torch.randn(2, 5, 16)) == 5 * (projections + attention + feedforward)
    assert torch.backends.mha.get_fastpath_enabled()


class WithMore(nn.Linear):
    """A Linear layer that does more than a Linear layer, as adapters do."""

    def forward(self, input):
        return super().forward(input) + F.linear(F.linear(input, torch.ones(2, 6)), torch.ones(4, 2))


def test_macs_of_subclasses_and_parametrized_layers_are_what_they_really_do():
    x = torch.randn(2, 6)
    assert metrics.count_macs(WithMore(6, 4), x) == 24 + 12 + 8
    assert metrics.count_macs(parametrizations.weight_norm(nn.Linear(6, 4)), x) == 24


class Calls(nn.Module):
    """One layer called twice, once with a keyword, on inputs of (N, 3, 6) and (3, 6)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.conv = nn.Conv1d(3, 3, 1)

    def forward(self, x):
        y = self.linear(input=self.linear(x))
        return self.conv(y), torch.stack([self.conv(example) for example in y])


def test_macs_of_a_layer_add_up_over_its_calls():
    macs = metrics.macs_by_layer(Calls(), torch.randn(4, 3, 6))
    assert macs == {"linear": 2 * 3 * 36, "conv": 2 * 9 * 6}


def test_counting_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[1].eval()  # one frozen norm inside a model in training
    state = {name: value.clone() for name, value in model.state_dict().items()}
    metrics.count_macs(model, torch.randn(3, 4))
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_that_fails_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match="shapes"):
        metrics.count_macs(model, torch.randn(1, 4))
    assert model.training and model[1].training and torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_layer_macs_of_a_student_drive_the_count(monkeypatch):
    monkeypatch.setattr(metrics, "layer_macs", lambda *shapes: 7)
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(4, 2))
    assert metrics.macs_by_layer(model, torch.randn(3, 1, 2, 2)) == {"0": 7, "2": 7}


def test_latency_reads_as_a_sentence():
    assert str(metrics.Latency(1.5, 1.25, 2.0)) == "1.500 ms (middle half 1.250 to 2.000)"


def test_latency_uses_the_real_clock_unless_told():
    assert metrics.latency.__kwdefaults__["clock"] is time.perf_counter
    assert metrics.paired_speedup.__kwdefaults__["clock"] is time.perf_counter


def test_a_call_is_timed_until_the_gpu_is_done(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("wait"))
    metrics.seconds(lambda: events.append("f"), clock=lambda: events.append("clock") or 0)
    assert events == ["wait", "clock", "f", "wait", "clock"]


# Bad input.

META = nn.Linear(3, 2, device="meta")
NAN = torch.tensor([[1.0, float("nan")]])
BAD = {
    "sparsity of an empty tensor": (lambda: metrics.sparsity(torch.empty(0, 3)), ValueError, r"empty.*\(0, 3\)"),
    "sparsity without weights": (lambda: metrics.sparsity(nn.BatchNorm1d(3)), ValueError, "BatchNorm1d has no"),
    "sparsity of a list": (lambda: metrics.sparsity([0, 1]), TypeError, "got list"),
    "bytes on meta": (lambda: metrics.model_bytes(META), ValueError, "Linear on the meta device takes no memory"),
    "macs of another layer": (lambda: metrics.layer_macs(nn.ReLU(), (3,), (3,)), TypeError, "got ReLU"),
    "macs with the batch": (lambda: metrics.layer_macs(nn.Conv1d(1, 1, 1), (2, 1, 4), (2, 1, 4)), ValueError, "batch"),
    "macs of an LSTM": (lambda: metrics.count_macs(nn.LSTM(2, 3), torch.ones(1, 4, 2)), TypeError, "LSTM"),
    "example as a list": (lambda: metrics.count_macs(nn.ReLU(), [torch.ones(1)]), TypeError, "got list"),
    "example as an array": (lambda: metrics.count_macs(nn.ReLU(), np.ones(1)), TypeError, "got ndarray"),
    "no example": (lambda: metrics.count_macs(nn.ReLU(), ()), ValueError, r"at least one, got \[\]"),
    "an empty batch": (lambda: metrics.count_macs(nn.ReLU(), torch.ones(0, 3)), ValueError, r"\(0, 3\)"),
    "an example without batch": (lambda: metrics.count_macs(nn.ReLU(), torch.tensor(1.0)), ValueError, r"\(\)"),
    "no repeats": (lambda: metrics.latency(print, repeats=0), ValueError, "repeats >= 1.*got 0"),
    "negative warmup": (lambda: metrics.latency(print, warmup=-1), ValueError, "warmup >= 0.*-1"),
    "no paired repeats": (lambda: metrics.paired_speedup(print, print, repeats=0), ValueError, "repeats >= 1"),
    "energy 0": (lambda: metrics.effective_rank(torch.eye(2), 0), ValueError, "got 0"),
    "energy in percent": (lambda: metrics.effective_rank(torch.eye(2), 99), ValueError, "got 99"),
    "energy nan": (lambda: metrics.effective_rank(torch.eye(2), math.nan), ValueError, "got nan"),
    "NaN weights": (lambda: metrics.energy_curve(NAN), ValueError, "NaN or infinity"),
    "rank of NaN weights": (lambda: metrics.effective_rank(NAN), ValueError, "NaN or infinity"),
    "infinite weights": (lambda: metrics.energy_curve(torch.full((2, 2), math.inf)), ValueError, "NaN or infinity"),
    "a bias": (lambda: metrics.energy_curve(torch.ones(3)), ValueError, r"got \(3,\)"),
    "an empty weight": (lambda: metrics.energy_curve(torch.ones(0, 3)), ValueError, r"got \(0, 3\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_models_without_parameters_cost_nothing():
    assert metrics.count_parameters(nn.ReLU()) == metrics.model_bytes(nn.ReLU()) == 0
    assert metrics.count_macs(nn.ReLU(), torch.ones(2, 3)) == 0
    assert metrics.count_parameters(META) == 8
