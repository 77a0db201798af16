"""The shipped sparse product and the sparse layers, against PyTorch's dense ones."""

import copy
import io
import os
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyshrink import magnitude, metrics, models, sparse
from tinyshrink.sparse import kernels, layers, product, swap


def pruned(*shape, sparsity=0.9, rows=1, seed=0):
    """A random tensor with zeros, in blocks of `rows` rows that share their columns."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(-(-shape[0] // rows), *shape[1:], generator=generator) >= sparsity
    return torch.randn(shape, generator=generator) * keep.repeat_interleave(rows, 0)[: shape[0]]


def assert_equal(got, expected):
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * scale)


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(0, 70),
    k=st.integers(0, 300),
    n=st.integers(0, 150),
    sparsity=st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
    rows=st.sampled_from([1, 4]),
    layout=st.sampled_from(["rows", "columns", "every second"]),
    seed=st.integers(0, 1000),
)
def test_the_product_equals_dense_for_any_shape_sparsity_and_layout(m, k, n, sparsity, rows, layout, seed):
    W = pruned(m, k, sparsity=sparsity, rows=rows, seed=seed)
    X = {
        "rows": lambda: torch.randn(k, n),
        "columns": lambda: torch.randn(n, k).T,
        "every second": lambda: torch.randn(k, 2 * n)[:, ::2],
    }[layout]()
    assert_equal(sparse.csr_matmul(sparse.CSR.from_dense(W), X), W @ X)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 48, 63, 64, 65, 128, 200])
@pytest.mark.parametrize("rows", [1, 4])
def test_the_product_equals_dense_over_many_slices_for_every_width_of_panel(n, rows):
    W, X = pruned(130, 1500, rows=rows), torch.randn(1500, n)
    assert_equal(sparse.csr_matmul(sparse.CSR.from_dense(W), X), W @ X)
    assert_equal(sparse.csr_matmul(sparse.CSR.from_dense(W), X.T.contiguous().T), W @ X)


def test_rows_without_nonzeros_give_zeros_and_full_rows_give_dense():
    W = torch.zeros(9, 40)
    W[3], W[8, 39] = torch.randn(40), 2.0
    X = torch.randn(40, 70)
    Y = sparse.csr_matmul(sparse.CSR.from_dense(W), X)
    assert_equal(Y, W @ X)
    assert not Y[[0, 1, 2, 4, 5, 6, 7]].any()


def test_block_rows_are_found_where_four_rows_share_their_columns_and_only_there():
    assert product.Slices(sparse.CSR.from_dense(pruned(64, 200, rows=4))).rows == 4
    assert product.Slices(sparse.CSR.from_dense(pruned(64, 200, rows=1))).rows == 1
    assert product.Slices(sparse.CSR.from_dense(torch.zeros(64, 200))).rows == 1
    almost = pruned(64, 200, rows=4)
    almost[torch.rand(almost.shape) < 0.1] = 0
    assert product.Slices(sparse.CSR.from_dense(almost)).rows == 4  # a few zeros in a block are multiplied, too


def test_an_n_m_pattern_goes_through_the_same_product():
    W = torch.randn(32, 64)
    W *= magnitude.nm_mask(W.abs(), 2, 4)
    X = torch.randn(64, 20)
    assert_equal(sparse.csr_matmul(sparse.CSR.from_dense(W), X), W @ X)


def test_nothing_is_read_or_written_beyond_the_arrays():
    room = torch.full((40, 100), torch.nan)
    X = room[:, 16:80]
    X.copy_(torch.randn(40, 64))
    W = pruned(33, 40)
    assert_equal(sparse.csr_matmul(sparse.CSR.from_dense(W), X), W @ X.clone())  # NaN around X would spread


def test_nan_and_infinity_pass_through_like_in_dense():
    X = torch.randn(8, 16)
    X[3, 5], X[2, 0] = torch.nan, torch.inf
    W = torch.zeros(4, 8)
    W[1, 3], W[2, 2] = 1.0, -1.0
    Y = sparse.csr_matmul(sparse.CSR.from_dense(W), X)
    assert Y[1, 5].isnan() and Y[2, 0] == -torch.inf and not Y[0].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32])
def test_another_dtype_is_refused_with_the_way_out(dtype):
    matrix = sparse.CSR.from_dense(torch.eye(3))
    with pytest.raises(TypeError, match=r"float32 on the CPU, X is torch\.\w+ on cpu: convert it with \.float\(\)"):
        sparse.csr_matmul(matrix, torch.zeros(3, 2).to(dtype))


@pytest.mark.parametrize("shape", [(4, 2), (3,), (3, 2, 1), ()])
def test_a_shape_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(3, 3\) multiplies X of shape \(3, n\), got"):
        sparse.csr_matmul(sparse.CSR.from_dense(torch.eye(3)), torch.zeros(shape))


def test_no_gradient_is_kept_and_none_is_needed():
    X = torch.randn(3, 2, requires_grad=True)
    assert not sparse.csr_matmul(sparse.CSR.from_dense(torch.eye(3)), X).requires_grad


def test_threads_follow_pytorch_and_its_number_is_left_alone():
    W, X = pruned(64, 64), torch.randn(64, 64)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert_equal(sparse.csr_matmul(sparse.CSR.from_dense(W), X), W @ X)
            assert torch.get_num_threads() == threads
            assert numba.get_num_threads() == min(threads, numba.config.NUMBA_NUM_THREADS)
    finally:
        torch.set_num_threads(before)


def test_two_threads_of_python_may_multiply_at_the_same_time():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    layer, x = sparse.SparseConv2d.from_dense(conv), torch.randn(16, 8, 10, 10)
    with torch.no_grad():
        expected, wrong = conv(x), []

        def work():
            for _ in range(20):
                with torch.no_grad():
                    if not torch.allclose(layer(x), expected, atol=1e-4):
                        wrong.append(1)

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not wrong


def run_python(code, **environment):
    """Run code in a fresh process; (exit status, stdout, stderr)."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


PRODUCT = """
import torch
from tinyshrink import sparse
from tinyshrink.sparse import kernels
W, X = torch.eye(40), torch.randn(40, 70)
assert torch.allclose(sparse.csr_matmul(sparse.CSR.from_dense(W), X), X)
print("width", kernels.WIDTH)
"""


def test_a_machine_without_a_cache_folder_compiles_anew_shows_the_time_and_works(monkeypatch, capsys):
    njit = numba.njit

    def refuses_to_cache(signature, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'multiply': no locator available for file 'kernels.py'")
        return njit(signature, **options)

    monkeypatch.setattr(numba, "njit", refuses_to_cache)
    kernels.compiled.cache_clear()
    X = torch.randn(40, 70)
    assert_equal(sparse.csr_matmul(sparse.CSR.from_dense(torch.eye(40)), X), X)
    kernels.compiled.cache_clear()
    assert "compiled the sparse kernel 'multiply' in" in capsys.readouterr().err


def test_a_processor_without_avx512_gets_narrower_vectors():
    features = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+cx16"
    if not sys.platform.startswith("linux") or kernels.ARM:
        features = "generic"
    status, out, err = run_python(PRODUCT, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    assert status == 0, err
    assert out.strip() in ("width 8", "width 4")


@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (64, 7), (200, 7), (3, 4, 7), (0, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_sparse_linear_equals_the_dense_one(shape, bias):
    dense = nn.Linear(7, 5, bias)
    dense.weight.data *= pruned(5, 7, sparsity=0.5) != 0
    layer, x = sparse.SparseLinear.from_dense(dense), torch.randn(shape)
    with torch.no_grad():
        assert_equal(layer(x), dense(x))


CONVOLUTIONS = {
    "3 x 3": {"padding": 1},
    "no padding": {},
    "same": {"padding": "same", "kernel_size": (2, 5)},
    "valid": {"padding": "valid"},
    "stride": {"stride": 2, "padding": 1},
    "strides": {"stride": (1, 3), "padding": (2, 0)},
    "1 x 1": {"kernel_size": 1},
    "1 x 1, stride": {"kernel_size": 1, "stride": 2},
    "dilation": {"dilation": (2, 1), "padding": 2},
    "groups": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 6, "padding": 1},
    "no bias": {"bias": False},
    "tall": {"kernel_size": (7, 1)},
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("batch", [1, 5, 16, 64, 100])
def test_a_sparse_convolution_equals_the_dense_one(options, batch):
    dense = nn.Conv2d(6, 12, **{"kernel_size": 3, **options})
    dense.weight.data *= pruned(*dense.weight.shape, sparsity=0.6) != 0
    layer, x = sparse.SparseConv2d.from_dense(dense), torch.randn(batch, 6, 9, 10)
    with torch.no_grad():
        for images in (x, x.to(memory_format=torch.channels_last), x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)):
            assert_equal(layer(images), dense(images))
        assert_equal(layer(x[0]), dense(x[0]))


def test_a_convolution_of_many_channels_and_slices_equals_the_dense_one():
    dense = nn.Conv2d(100, 30, 3, padding=1)
    dense.weight.data *= pruned(*dense.weight.shape) != 0
    layer, x = sparse.SparseConv2d.from_dense(dense), torch.randn(70, 100, 5, 6)
    with torch.no_grad():
        assert_equal(layer(x), dense(x))
        assert_equal(layer(layer(x)[:, :1].expand(-1, 100, -1, -1)), dense(dense(x)[:, :1].expand(-1, 100, -1, -1)))


def test_a_convolution_whose_filters_come_in_blocks_of_four_uses_them():
    dense = nn.Conv2d(8, 10, 3, padding=1)  # ten filters: the last block has two
    dense.weight.data *= pruned(10, 72, rows=4).view(10, 8, 3, 3) != 0
    layer, x = sparse.SparseConv2d.from_dense(dense), torch.randn(16, 8, 7, 7)
    with torch.no_grad():
        assert_equal(layer(x), dense(x))
    assert layer.kept((x.shape, torch.get_num_threads()), lambda: None).slices.rows == 4


@pytest.mark.parametrize("kind", ["all zeros", "all dense"])
def test_layers_without_zeros_and_of_zeros_only_are_right(kind):
    linear, conv = nn.Linear(9, 4), nn.Conv2d(3, 5, 3, padding=1)
    if kind == "all zeros":
        linear.weight.data.zero_()
        conv.weight.data.zero_()
    with torch.no_grad():
        assert_equal(sparse.SparseLinear.from_dense(linear)(x := torch.randn(20, 9)), linear(x))
        assert_equal(sparse.SparseConv2d.from_dense(conv)(x := torch.randn(20, 3, 6, 6)), conv(x))


def sparse_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    magnitude.prune(model, 0.8)
    return model, sparse.sparsify(model, ignore=(), progress=False)


def test_gradients_reach_the_input_and_weights_stay_fixed():
    model, fast = sparse_model()
    x = torch.randn(4, 1, 8, 8, requires_grad=True)
    fast(x).square().sum().backward()
    got, x.grad = x.grad, None
    model(x).square().sum().backward()
    assert_equal(got, x.grad)
    assert all(parameter.grad is None for parameter in fast[4].parameters())


def test_values_can_train_on_the_kept_positions():
    dense = nn.Linear(20, 10)
    magnitude.prune(dense, 0.8)
    layer = sparse.SparseLinear.from_dense(dense)
    layer.values.requires_grad_()
    x, before = torch.randn(6, 20), layer.to_dense().detach()
    with torch.no_grad():
        layer(x)  # a plan is kept from before the step
    layer(x).square().sum().backward()
    dense(x).square().sum().backward()
    assert_equal(layer.values.grad, dense.weight.grad[before != 0])
    torch.optim.SGD([layer.values], lr=0.01).step()
    after = layer.to_dense().detach()
    assert (after[before != 0] != before[before != 0]).all() and not after[before == 0].any()
    with torch.no_grad():
        assert_equal(layer(x), nn.functional.linear(x, after, layer.bias))


def test_a_sparse_model_can_be_copied_saved_and_loaded_without_pickle():
    _, fast = sparse_model()
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        expected = fast(x)
        twin = copy.deepcopy(fast)
        twin[4].values.mul_(2)
        assert_equal(fast(x), expected)  # the copy has its own numbers
        assert not torch.allclose(twin(x), expected)
        file = io.BytesIO()
        torch.save(fast.state_dict(), file)
        file.seek(0)
        twin.load_state_dict(torch.load(file, weights_only=True))
        assert_equal(twin(x), expected)


def test_a_damaged_state_is_refused_before_a_kernel_reads_it():
    _, fast = sparse_model()
    with torch.no_grad():
        fast[4].indices[0] = 10_000
        with pytest.raises(ValueError, match=r"an index is a column, 0 to 127"):
            fast(torch.randn(3, 1, 8, 8))


def test_sizes_that_fit_the_indices_but_not_the_layer_are_refused_before_a_kernel_reads_them():
    linear, conv = sparse.SparseLinear.from_dense(nn.Linear(32, 10)), sparse.SparseConv2d.from_dense(nn.Conv2d(4, 8, 3))
    linear.size, conv.size = (10, 8, 4), (8, 4, -3, -3)  # as many numbers
    with torch.no_grad():
        with pytest.raises(ValueError, match="a matrix of 32 columns multiplies as many rows, got 8"):
            linear(torch.randn(16, 8))
        with pytest.raises(ValueError, match="no convolution has"):
            conv(torch.randn(16, 4, 8, 8))
        tall = sparse.SparseConv2d.from_dense(nn.Conv2d(1, 1, (2, 1), dilation=(2**27, 1), padding=(2**26, 0)))
        with pytest.raises(ValueError, match="needs too much room"):  # offsets beyond int32
            tall(torch.randn(16, 1, 1, 1))


@pytest.mark.parametrize("damage", [{"stride": (-1, 1)}, {"padding": (0, -2)}, {"dilation": (0, 1)}, {"groups": 5}])
def test_a_damaged_convolution_is_refused_before_a_kernel_reads_it(damage):
    layer = sparse.SparseConv2d.from_dense(nn.Conv2d(1, 4, 3))
    vars(layer).update(damage)
    with torch.no_grad(), pytest.raises(ValueError):
        layer(torch.randn(16, layer.size[1] * layer.groups, 8, 8))


@pytest.mark.parametrize("move", [lambda m: m.half(), lambda m: m.double(), lambda m: m.to("meta"), lambda m: m.bfloat16()])
def test_moving_a_sparse_layer_elsewhere_is_refused(move):
    with pytest.raises(TypeError, match=r"float32 on the CPU, a sparse layer is"):
        move(sparse.SparseLinear.from_dense(nn.Linear(3, 2)))


def test_inputs_that_do_not_fit_are_refused():
    linear, conv = sparse.SparseLinear.from_dense(nn.Linear(3, 2)), sparse.SparseConv2d.from_dense(nn.Conv2d(3, 2, 3))
    with torch.no_grad():
        with pytest.raises(ValueError, match=r"shape \(\.\.\., 3\), got \(2, 4\)"):
            linear(torch.zeros(2, 4))
        with pytest.raises(TypeError, match=r"the input is torch\.float64"):
            linear(torch.zeros(2, 3, dtype=torch.float64))
        with pytest.raises(ValueError, match=r"shape \(N, 3, H, W\), got \(1, 4, 5, 5\)"):
            conv(torch.zeros(1, 4, 5, 5))
        with pytest.raises(ValueError, match=r"covers \(3, 3\) does not fit the padded input, \(2, 5\)"):
            conv(torch.zeros(1, 3, 2, 5))
    with pytest.raises(ValueError, match='pads with zeros, got padding_mode="reflect"'):
        sparse.SparseConv2d.from_dense(nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(TypeError, match=r"the weight is torch\.float16"):
        sparse.SparseLinear.from_dense(nn.Linear(3, 2).half())


def test_pooling_keeps_the_batch_innermost_and_its_result():
    x = torch.randn(6, 4, 8, 8).permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    for pool in (nn.MaxPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(3)):
        y = layers.AcrossPool(pool)(x)
        assert_equal(y, pool(x))
        assert y.stride(0) == 1
        assert_equal(layers.AcrossPool(pool)(x.contiguous()), pool(x))


def test_sparsify_takes_the_sparse_layer_exactly_where_it_measures_faster(monkeypatch):
    model = nn.Sequential(nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 5))
    magnitude.prune(model, 0.9, scope="layer")
    speedups = iter([2.0, 0.5, 1.5])
    monkeypatch.setattr(metrics, "paired_speedup", lambda *args, **options: next(speedups))
    x = torch.randn(8, 30)
    fast = sparse.sparsify(model, x, progress=False)
    kinds = [type(fast[i]) for i in (0, 2, 4)]
    assert kinds == [sparse.SparseLinear, nn.Linear, sparse.SparseLinear]
    assert [choice.chosen for choice in fast.choices] == [True, False, True]
    assert fast.choices[1].why == "slower"
    assert all(type(model[i]) is nn.Linear for i in (0, 2, 4)), "the model that was given is left alone"
    with torch.no_grad():
        assert_equal(fast(x), model(x))


def test_sparsify_says_why_a_layer_stays_dense(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shared = nn.Linear(6, 6)
    model = nn.ModuleDict({"none": nn.Linear(4, 6), "a": shared, "b": nn.Linear(6, 6), "out": nn.Linear(6, 2)})
    model["b"].weight = shared.weight
    model["reflect"] = nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")
    model["unused"] = nn.Linear(8, 8)
    for name in ("a", "out", "reflect", "unused"):
        model[name].weight.data *= pruned(*model[name].weight.shape, sparsity=0.7) != 0
    model.forward = None

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, x):
            return self.parts["out"](self.parts["b"](self.parts["a"](self.parts["none"](x))))

    fast = sparse.sparsify(Net(), torch.randn(4, 4), ignore="parts.out")
    why = {choice.name: choice.why for choice in fast.choices}
    assert why["parts.none"] == "has no zeros"
    assert why["parts.a"] == why["parts.b"] == "shares its weight"
    assert why["parts.out"] == "ignored"
    assert why["parts.reflect"] == "pads with 'reflect'"
    assert why["parts.unused"] == "the model does not call it on the example"
    assert "the model does not call it on the example" in capsys.readouterr().out


def test_a_layer_whose_weight_is_read_elsewhere_stays_dense():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 5)
            magnitude.prune(self.fc, 0.8)

        def forward(self, x):
            return self.fc(x) + self.fc.weight.sum()

    fast = sparse.sparsify(Reads(), torch.randn(2, 5), progress=False)
    assert type(fast.fc) is nn.Linear
    assert fast.choices[0].why.startswith("does not work here: ")


def test_without_an_example_layers_with_many_zeros_are_swapped_unmeasured():
    model = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))
    magnitude.prune(model[0], 0.9)
    magnitude.prune(model[1], 0.5)
    fast = sparse.sparsify(model, progress=False)
    assert [type(layer) for layer in fast] == [sparse.SparseLinear, nn.Linear]
    assert isinstance(sparse.sparsify(model[0], progress=False), sparse.SparseLinear)


def test_bad_arguments_of_sparsify_are_refused():
    with pytest.raises(ValueError, match="no Linear or Conv2d layer"):
        sparse.sparsify(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="did you mean 'fc1'"):
        sparse.sparsify(models.LeNet300(), ignore="fc11")


@pytest.mark.parametrize("network", [models.DigitsCNN, models.LeNet5, models.CifarCNN], ids=["digits", "lenet5", "cifar"])
def test_a_sparse_network_predicts_what_the_pruned_one_does(network, monkeypatch):
    monkeypatch.setattr(metrics, "paired_speedup", lambda *args, **options: 2.0)  # all layers, however fast
    torch.manual_seed(0)
    size = {models.DigitsCNN: (1, 8, 8), models.LeNet5: (1, 28, 28), models.CifarCNN: (3, 32, 32)}[network]
    model, x = network().eval(), torch.randn(16, *size)
    magnitude.prune(model, 0.9, scope="layer")
    fast = sparse.sparsify(model, x, progress=False, repeats=1)
    assert not any(type(module) in swap.KINDS for name, module in fast.named_modules() if metrics.layers(model).get(name))
    with torch.no_grad():
        for images in (x, x[:5], x.to(memory_format=torch.channels_last)):
            assert_equal(fast(images), model(images))


def test_a_matrix_of_zero_columns_and_zero_rows():
    for shape in ((0, 5), (5, 0), (0, 0)):
        W = torch.zeros(shape)
        assert sparse.csr_matmul(sparse.CSR.from_dense(W), torch.zeros(shape[1], 3)).shape == (shape[0], 3)
    assert np.array_equal(sparse.csr_matmul(sparse.CSR.from_dense(torch.zeros(4, 0)), torch.zeros(0, 3)), np.zeros((4, 3)))


def test_a_linear_without_inputs_gives_its_bias():
    layer = sparse.SparseLinear(torch.zeros(3, 0), torch.arange(3.0))
    with torch.no_grad():
        assert torch.equal(layer(torch.zeros(2, 4, 0)), torch.arange(3.0).expand(2, 4, 3))


def test_a_layer_made_or_copied_in_inference_mode_works_in_and_out_of_it():
    dense, x = nn.Linear(30, 20), torch.randn(9, 30)
    magnitude.prune(dense, 0.5)
    with torch.inference_mode():
        layer = sparse.SparseLinear.from_dense(dense)
        fast = sparse.sparsify(nn.Sequential(dense), x, progress=False, repeats=1)
        twin = copy.deepcopy(layer)
        assert_equal(layer(x), dense(x))
        assert_equal(twin(x), dense(x))
        twin.values.mul_(2)
        assert_equal(twin(x), 2 * dense(x) - dense.bias)
    with torch.no_grad():
        for model in (layer, fast):
            assert_equal(model(x), dense(x))


def test_a_copy_that_has_learned_as_many_steps_as_the_original_forgets_what_that_kept():
    layer, x = sparse.SparseLinear(pruned(20, 30), None), torch.randn(9, 30)
    with torch.no_grad():
        layer.load_state_dict({name: tensor.clone() for name, tensor in layer.state_dict().items()})
        layer(x)
        twin = copy.deepcopy(layer)
        twin.values.mul_(2)
        assert_equal(twin(x), 2 * layer(x))
        twin.values.data = 3 * layer.values
        assert_equal(twin(x), 3 * layer(x))


def test_inputs_of_ever_new_shapes_do_not_fill_the_memory():
    layer = sparse.SparseConv2d.from_dense(nn.Conv2d(1, 2, 3, padding=1))
    with torch.no_grad():
        for size in range(1, 60):
            assert layer(torch.ones(2, 1, size, 4)).shape == (2, 2, size, 4)
    assert len(layer._memory) <= layers.PLANS + 1


@pytest.mark.linux  # elsewhere no fork, or an OpenMP that survives one
def test_a_process_forked_after_the_kernels_ran_gets_an_error_and_does_not_die():
    code = """
import os, torch
from tinyshrink import sparse
layer, x = sparse.SparseLinear(torch.eye(40), None), torch.randn(20, 40)
with torch.no_grad():
    layer(x)
    if not os.fork():
        try:
            layer(x)
        except RuntimeError as error:
            os._exit(7 * ("do not survive a fork" in str(error)))
        os._exit(0)  # another threading layer, which does
    status = os.wait()[1]
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) in (0, 7), status
    assert torch.equal(layer(x), x)
"""
    status, _, err = run_python(code)
    assert status == 0, err


class Unusual(nn.Module):
    """Layers called by keyword, a view that needs adjacent numbers, a pool that returns two tensors, NaN in the output."""

    def __init__(self):
        super().__init__()
        self.named, self.viewed, self.conv = nn.Linear(12, 12), nn.Linear(12, 12), nn.Conv2d(1, 2, 3, padding=1)
        self.pool, self.last = nn.MaxPool2d(2, return_indices=True), nn.Linear(5, 5)
        for layer in (self.named, self.viewed, self.conv, self.last):
            layer.weight.data *= pruned(*layer.weight.shape, sparsity=0.5) != 0

    def forward(self, x):
        y = self.viewed(self.named(input=x)).view(-1, 1, 4, 6)
        y, places = self.pool(self.conv(y))
        return self.last((y + places).flatten(1)[:, :5]) / (torch.arange(5) != 2)


def test_sparsify_copes_with_unusual_models(monkeypatch):
    monkeypatch.setattr(metrics, "paired_speedup", lambda *args, **options: 2.0)
    torch.manual_seed(0)
    model, x = Unusual().eval(), torch.randn(10, 12)
    model.last.weight.data[2], model.last.bias.data[2] = 0, 0  # 0 / 0
    fast = sparse.sparsify(model, x, progress=False, repeats=1)
    why = {choice.name: choice.why for choice in fast.choices}
    assert "keyword" in why["named"] and "view" in why["viewed"]
    assert why["conv"] == why["last"] == "faster"
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x), equal_nan=True)
