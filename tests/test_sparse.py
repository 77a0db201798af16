"""Tests of tinyshrink.sparse, csr.py and ladder.py: first the checks of lesson 06 in its order, then ordinary tests."""

import math

import numpy as np
import pytest
import scipy.sparse
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from tinyshrink import checking, metrics, sparse


def test_compress_of_a_case_by_hand():
    dense = torch.tensor([[0.0, 5, 0], [0, 0, 0], [7, 0, 8], [0, 0, 9]])
    got = sparse.csr.compress(dense)
    expected = {"values": [5, 7, 8, 9], "indices": [1, 0, 2, 2], "indptr": [0, 1, 1, 3, 4]}
    assert isinstance(got, tuple) and len(got) == 3, f"expected three arrays, values, indices, indptr, got {got}"
    for (name, numbers), array in zip(expected.items(), got):
        assert isinstance(array, np.ndarray), f"{name} should be a NumPy array, got {type(array).__name__}"
        dtype = "float32" if name == "values" else "int32"
        assert array.dtype == dtype, f"{name} should be {dtype}, got {array.dtype}"
        assert array.tolist() == numbers, f"{name} of {dense.tolist()}: expected {numbers}, got {array.tolist()}"


def test_compress_of_empty_rows_and_special_numbers():
    for rows, expected in (
        ([[0.0, -0.0], [0, 0]], ([], [], [0, 0, 0])),
        ([[0.0, 0], [0, 3], [0, 0]], ([3], [1], [0, 0, 1, 1])),
        ([[math.inf, -1e-40]], ([math.inf, -1e-40], [0, 1], [0, 2])),
    ):
        got = [array.tolist() for array in sparse.csr.compress(torch.tensor(rows))]
        close = [np.allclose(ours, right) if len(ours) == len(right) else False for ours, right in zip(got, expected)]
        assert all(close), f"{rows}: expected values, indices, indptr {expected}, got {got}"
    values, _, indptr = sparse.csr.compress(torch.tensor([[0, math.nan]]))
    assert np.isnan(values).tolist() == [True] and indptr.tolist() == [0, 1], f"NaN is no zero: it stays, got {values}"
    lengths = [len(array) for array in sparse.csr.compress(torch.zeros(3, 0))]
    assert lengths == [0, 0, 4], f"three rows without columns have 0 values, 0 indices and an indptr of 4, got {lengths}"


def test_compress_of_any_layout():
    weight = torch.tensor([[1.0, 0, 2], [0, 3, 0]])
    for name, dense in (("transposed", weight.T), ("strided", weight[:, ::2]), ("trained", weight.clone().requires_grad_())):
        values, _, indptr = sparse.csr.compress(dense)
        rows = [values[a:b].tolist() for a, b in zip(indptr, indptr[1:])]
        expected = [[x for x in row if x] for row in dense.tolist()]
        assert rows == expected, f"a {name} tensor: by your indptr its rows hold {rows}, they should hold {expected}"
    assert weight.tolist() == [[1, 0, 2], [0, 3, 0]], "the matrix given to you was changed"


def test_expand_of_a_case_by_hand():
    arrays = np.float32([5, 7, 8]), np.int32([1, 0, 2]), np.int32([0, 1, 1, 3])
    got = sparse.csr.expand(*arrays, (3, 3))
    assert isinstance(got, torch.Tensor) and got.dtype == torch.float32, f"expected a float32 tensor, got {got}"
    expected = [[0, 5, 0], [0, 0, 0], [7, 0, 8]]
    assert got.tolist() == expected, f"expected {expected}, got {got.tolist()}"
    arrays[0][0] = 6
    assert got[0, 1] == 5, "the matrix shares its memory with the array of values"


def test_expand_keeps_rows_and_columns_without_numbers():
    for values, indices, indptr, shape in (
        ([], [], [0, 0, 0], (2, 3)),
        ([4], [0], [0, 0, 0, 1, 1], (4, 6)),
        ([], [], [0], (0, 2)),
    ):
        got = sparse.csr.expand(np.float32(values), np.int32(indices), np.int32(indptr), shape)
        assert got.shape == shape, f"expected shape {shape}, got {tuple(got.shape)}"
        assert got.sum() == sum(values), f"indptr {indptr}: expected the numbers {values} and zeros, got {got.tolist()}"
    assert got.numel() == 0, f"a matrix without rows is empty, got {got}"


def test_csr_bytes_counts_three_arrays():
    for shape, nonzeros, expected in (((3, 3), 3, 40), ((1, 1), 0, 8), ((10, 1000), 1, 52), ((1000, 10), 1, 4012)):
        got = sparse.csr.csr_bytes(shape, nonzeros)
        assert got == expected, f"{shape} with {nonzeros} nonzeros: expected {expected} bytes, got {got}"
        assert isinstance(got, int), f"bytes are whole: expected an int, got {type(got).__name__}"


def test_loop_of_a_case_by_hand():
    W, X = torch.tensor([[0.0, 2], [0, 0], [1, -1]]), torch.tensor([[1.0, 1, 5], [3, 4, 6]])
    expected = np.float32([[6, 8, 12], [0, 0, 0], [-2, -3, -1]])
    checking.check_product(sparse.ladder.matmul_loop, (*sparse.csr.compress(W), X.numpy()), expected)


def test_loop_multiplies_like_dense():
    for W, X in checking.sparse_products(seed=1):
        checking.check_product(sparse.ladder.matmul_loop, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_numpy_of_a_case_by_hand():
    W, X = torch.tensor([[0.0, 2], [0, 0], [1, -1]]), torch.tensor([[1.0, 1, 5], [3, 4, 6]])
    expected = np.float32([[6, 8, 12], [0, 0, 0], [-2, -3, -1]])
    checking.check_product(sparse.ladder.matmul_numpy, (*sparse.csr.compress(W), X.numpy()), expected)


def test_numpy_multiplies_like_dense():
    for W, X in checking.sparse_products(seed=2):
        checking.check_product(sparse.ladder.matmul_numpy, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_numpy_has_one_loop_only():
    X, arrays = np.ones((2000, 100), np.float32), sparse.csr.compress(torch.ones(2, 2000))
    seconds = min(metrics.seconds(lambda: sparse.ladder.matmul_numpy(*arrays, X)) for _ in range(3))
    one_row = min(metrics.seconds(lambda: arrays[0][:2000] @ X[np.arange(2000)]) for _ in range(3))
    ratio = seconds / one_row / 2
    assert ratio < 6, f"a row takes {ratio:.0f} times as long as gathering it and one product: is there a second loop?"


def test_numba_is_compiled_and_multiplies_like_dense():
    assert hasattr(sparse.ladder.matmul_numba, "py_func"), "not compiled: keep the line @njit above def"
    for W, X in checking.sparse_products(seed=3):
        checking.check_product(sparse.ladder.matmul_numba, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_numba_is_fast():
    @njit
    def down_the_columns(values, indices, indptr, X):
        Y = np.empty((len(indptr) - 1, X.shape[1]), np.float32)
        for row in range(Y.shape[0]):
            for j in range(X.shape[1]):
                total = np.float32(0)
                for p in range(indptr[row], indptr[row + 1]):
                    total += values[p] * X[indices[p], j]
                Y[row, j] = total
        return Y

    for W, X in checking.sparse_products(seed=3):  # wrong addresses are found here, before they can do harm
        checking.check_product(sparse.ladder.matmul_numba, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())
    arrays, X = sparse.csr.compress((torch.rand(256, 1024) < 0.1).float()), np.ones((1024, 256), np.float32)
    calls = [lambda f=f: f(*arrays, X) for f in (down_the_columns, sparse.ladder.matmul_numba)]
    speedup = max(metrics.paired_speedup(*calls, repeats=3, warmup=1) for _ in range(3))
    said = f"{speedup:.1f} times as fast as loops that go down the columns of X, expected 4 at least: which loop is"
    assert speedup > 4, f"{said} innermost, and is something looked up in it that stays the same?"


def test_parallel_shares_out_rows():
    f = sparse.ladder.matmul_parallel
    assert hasattr(f, "py_func") and f.targetoptions.get("parallel"), "keep the line @njit(parallel=True) above def"
    for W, X in checking.sparse_products(seed=4):
        checking.check_product(f, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())
    assert "prange" in f.py_func.__code__.co_names, "no loop over prange: all is done by one thread"


def test_blocked_multiplies_like_dense():
    assert hasattr(sparse.ladder.matmul_blocked, "py_func"), "not compiled: keep the line @njit above def"
    for W, X in checking.sparse_products(seed=5):
        checking.check_product(sparse.ladder.matmul_blocked, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_blocked_takes_the_nonzeros_left_over():
    for nonzeros in range(10):
        W, X = torch.zeros(3, 12), torch.arange(36.0).reshape(12, 3)
        W[1, :nonzeros] = torch.arange(1.0, nonzeros + 1)
        W[2, 11] = 1
        checking.check_product(sparse.ladder.matmul_blocked, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_blocked_stores_once_for_four_products():
    stores, made = [], {name: getattr(np, name) for name in ("zeros", "empty")}

    class Counted(np.ndarray):
        def __setitem__(self, place, value):
            stores.append(place)
            super().__setitem__(place, value)

    X, arrays = np.ones((12, 5), np.float32), sparse.csr.compress(torch.ones(1, 12))
    for name, make in made.items():
        setattr(np, name, lambda *shape, make=make, **options: make(*shape, **options).view(Counted))
    try:
        checking.slow_motion(sparse.ladder.matmul_blocked, *arrays, X)
    finally:
        np.zeros, np.empty = made.values()
    said = f"12 products for each of 5 numbers of Y are 15 stores, four at a time; yours stored {len(stores)} times"
    assert len(stores) <= 20, f"{said}. Does the loop over the columns of X run once for four nonzeros?"


def test_rows_of_a_case_by_hand():
    arrays = np.float32([[1, 2, 3, 4], [1, 0, 0, -1]]), np.int32([1, 0]), np.int32([0, 1, 1, 2])
    X = np.float32([[1, 2], [9, 10]])
    expected = np.float32([[9, 10], [18, 20], [27, 30], [36, 40], *[[0, 0]] * 4, [1, 2], [0, 0], [0, 0], [-1, -2]])
    checking.check_product(sparse.ladder.matmul_rows, (*arrays, X), expected)


def test_rows_multiply_like_dense():
    assert hasattr(sparse.ladder.matmul_rows, "py_func"), "not compiled: keep the line @njit above def"
    for W, X in checking.sparse_products(seed=6, rows=4):
        _, indices, indptr = sparse.csr.compress(W[::4])
        blocks = W.reshape(len(W) // 4, 4, -1).transpose(1, 2)[W[::4] != 0]
        checking.check_product(sparse.ladder.matmul_rows, (blocks.numpy(), indices, indptr, X.numpy()), (W @ X).numpy())


def test_conv_offsets_of_a_case_by_hand():
    columns = np.int32([0, 1, 3, 9, 17])
    got = sparse.ladder.conv_offsets(columns, (3, 3), 100, 10)
    assert isinstance(got, np.ndarray) and got.dtype == np.int32, f"expected an int32 array, got {got!r}"
    assert columns.tolist() == [0, 1, 3, 9, 17], f"the columns given to you were changed, to {columns.tolist()}"
    assert got.tolist() == [0, 1, 10, 100, 122], f"columns {columns.tolist()}: expected 0, 1, 10, 100, 122, got {got.tolist()}"
    got = sparse.ladder.conv_offsets(np.arange(12, dtype=np.int32), (2, 3), 50, 7).tolist()
    expected = [0, 1, 2, 7, 8, 9, 50, 51, 52, 57, 58, 59]
    assert got == expected, f"kernel (2, 3), plane 50, width 7: expected {expected}, got {got}"


def test_conv_offsets_make_a_convolution():
    generator = torch.Generator().manual_seed(7)
    for kernel, padding, size in (((3, 3), 1, (8, 8)), ((1, 1), 0, (4, 5)), ((2, 5), 2, (6, 9))):
        weight = torch.randn(6, 4, *kernel, generator=generator) * (torch.rand(6, 4, *kernel, generator=generator) < 0.3)
        x = torch.randn(3, 4, *size, generator=generator)
        expected = F.conv2d(x, weight, padding=padding).numpy()
        got = sparse.ladder.conv2d(sparse.csr.CSR.from_dense(weight.flatten(1)), x.numpy(), kernel, padding)
        assert got.shape == expected.shape, f"kernel {kernel}: expected {expected.shape}, got {got.shape}"
        error = np.abs(got - expected).max()
        assert error < 1e-4, f"kernel {kernel}, padding {padding}, image {size}: the output is off by {error:.2g}"


def check_break_even(answer):
    """The sparsity above which CSR of a 1024 x 1024 matrix is smaller than the dense one."""
    assert isinstance(answer, (int, float)), f"the answer is a sparsity, a number from 0 to 1, got {answer!r}"
    nonzeros = round((1 - answer) * 1024 * 1024)
    said = f"at sparsity {answer} CSR takes {sparse.csr.csr_bytes((1024, 1024), nonzeros):,} bytes, dense {4 * 1024 * 1024:,}"
    assert abs(answer - 0.5005) < 0.0015, said


def check_limit(answer):
    """How many times faster than dense a product at 90% can be at most, if each multiplication takes as long as before."""
    assert isinstance(answer, (int, float)), f"the answer is a number, got {answer!r}"
    assert abs(answer - 10) < 1e-6, f"a tenth of the multiplications is left: that is not {answer} times less work"


def check_crossover(answer, curve):
    """`curve` {sparsity: speedup}; the answer is the lowest sparsity from which on the kernel is faster at all of them."""
    assert len(curve) >= 4, f"measure some sparsities first, got {curve}"
    faster = [sparsity for sparsity in curve if all(curve[s] > 1 for s in curve if s >= sparsity)]
    expected = min(faster) if faster else None
    said = ", ".join(f"{sparsity:.0%} {speedup:.2f}x" for sparsity, speedup in sorted(curve.items()))
    assert answer == expected and answer is not None, f"you measured {said}: the answer is not {answer!r}"


def check_success(kernel, columns, speedup):
    """A kernel of the student's own beats torch.mm at 90% zeros in 1024 x 1024, by the number measured and by ours."""
    assert hasattr(kernel, "py_func"), f"expected a kernel that you compiled with Numba, got {kernel!r}"
    own = not kernel.py_func.__module__.startswith("tinyshrink")
    assert own, "this kernel is the package's: the check above it put it there when yours did not pass. Mend yours first"
    assert isinstance(columns, int) and 1 <= columns <= 4096, f"columns of X: a whole number, 1 to 4096, got {columns!r}"
    for W, X in checking.sparse_products(seed=8):
        checking.check_product(kernel, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())
    generator = torch.Generator().manual_seed(9)
    W = torch.randn(1024, 1024, generator=generator) * (torch.rand(1024, 1024, generator=generator) < 0.1)
    X, arrays = torch.randn(1024, columns, generator=generator), sparse.csr.compress(W)
    checking.check_product(kernel, (*arrays, X.numpy()), (W @ X).numpy())
    calls = (lambda: torch.mm(W, X)), (lambda: kernel(*arrays, X.numpy()))
    measured = max(metrics.paired_speedup(*calls, repeats=15, threads=1) for _ in range(3))
    assert measured > 1, f"with one thread your kernel is {measured:.2f} times as fast as torch.mm: it must be faster"
    assert isinstance(speedup, float) and speedup > 1, f"your own measurement must say so too, got {speedup!r}"


def matrix(rows, columns, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * (torch.rand(rows, columns, generator=generator) < density)


@given(st.integers(0, 12), st.integers(0, 12), st.sampled_from((0, 0.2, 1)), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_csr_is_that_of_scipy_and_of_torch_and_gives_the_matrix_back(rows, columns, density, seed):
    dense = matrix(rows, columns, density, seed)
    ours = sparse.csr.CSR.from_dense(dense)
    assert torch.equal(ours.to_dense(), dense)
    assert ours.nbytes == ours.values.nbytes + ours.indices.nbytes + ours.indptr.nbytes
    assert ours.sparsity == pytest.approx(metrics.sparsity(dense) if dense.numel() else 0)
    theirs = scipy.sparse.csr_array(dense.numpy())
    for name, array in (("data", ours.values), ("indices", ours.indices), ("indptr", ours.indptr)):
        assert np.array_equal(getattr(theirs, name), array)


GOOD = {"shape": (2, 3), "values": np.float32([1, 2, 3]), "indices": np.int32([0, 2, 1]), "indptr": np.int32([0, 2, 3])}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"values": np.float64([1, 2, 3])}, TypeError, "values must be a NumPy array of float32, got float64"),
        ({"indices": [0, 2, 1]}, TypeError, "indices must be a NumPy array of int32, got list"),
        ({"indptr": np.int64([0, 2, 3])}, TypeError, "indptr must be a NumPy array of int32, got int64"),
        ({"values": np.float32([[1, 2, 3]])}, ValueError, "one-dimensional and contiguous"),
        ({"values": np.ones(6, np.float32)[::2]}, ValueError, "one-dimensional and contiguous"),
        ({"shape": (2, 3, 1)}, ValueError, r"expected shape \(rows, columns\)"),
        ({"shape": (2, 2**31)}, ValueError, "2,147,483,647"),
        ({"shape": (2, -3)}, ValueError, "expected shape"),
        ({"indices": np.int32([0, 2])}, ValueError, "3 values and 2 indices"),
        ({"shape": (3, 3)}, ValueError, "3 rows need an indptr of 4 numbers, got 3"),
        ({"indptr": np.int32([1, 2, 3])}, ValueError, "it goes from 1 to 3"),
        ({"indptr": np.int32([0, 4, 3])}, ValueError, "falls after row 1"),
        ({"indptr": np.int32([0, 2, 2])}, ValueError, "it goes from 0 to 2"),
        ({"indptr": np.int32([0, -(2**31), 3])}, ValueError, "falls after row 0"),
        ({"indices": np.int32([0, 3, 1])}, ValueError, r"indices\[1\] is 3"),
        ({"indices": np.int32([0, 2, -1])}, ValueError, r"indices\[2\] is -1"),
        ({"indices": np.int32([2, 0, 1])}, ValueError, "in row 0 2 comes before 0"),
        ({"indices": np.int32([1, 1, 1])}, ValueError, "in row 0 1 comes before 1"),
    ],
)
def test_a_csr_that_is_none_is_refused(change, error, message):
    sparse.csr.CSR(**GOOD)
    with pytest.raises(error, match=message):
        sparse.csr.CSR(**GOOD | change)


def test_a_csr_cannot_be_changed_into_one_that_is_none():
    with pytest.raises(AttributeError):
        sparse.csr.CSR(**GOOD).indptr = np.int32([0, 9, 3])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_other_dtypes_and_dimensions_are_refused_with_what_to_do(dtype):
    with pytest.raises(TypeError, match=f"got {dtype}: convert the tensor"):
        sparse.csr.CSR.from_dense(torch.zeros(2, 2, dtype=dtype))
    with pytest.raises(ValueError, match=r"got shape \(2, 2, 1, 1\): use .flatten"):
        sparse.csr.CSR.from_dense(torch.zeros(2, 2, 1, 1))


def test_more_nonzeros_than_int32_counts_are_refused():
    with pytest.raises(ValueError, match=r"got 2,147,483,648: cut the matrix"):
        sparse.csr._check_fits(2**31)


def test_rungs_agree_with_scipy_on_a_large_matrix():
    W, X = matrix(300, 500, 0.1), matrix(500, 200, 1).numpy()
    theirs = scipy.sparse.csr_array(W.numpy()) @ X
    for name in ("matmul_numpy", "matmul_numba", "matmul_parallel", "matmul_blocked"):
        checking.check_product(getattr(sparse.ladder, name), (*sparse.csr.compress(W), X), theirs)


@pytest.mark.parametrize("shape", [(3, 5, 0), (3, 0, 4), (0, 5, 4), (0, 0, 0)])
def test_rungs_multiply_matrices_without_rows_or_columns(shape):
    m, k, n = shape
    W, X = matrix(m, k, 0.5), matrix(k, n, 1)
    for name in ("matmul_loop", "matmul_numpy", "matmul_numba", "matmul_parallel", "matmul_blocked"):
        checking.check_product(getattr(sparse.ladder, name), (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_rungs_take_a_transposed_operand():
    W, X = matrix(7, 9, 0.5), matrix(11, 9, 1, seed=1).T
    for name in ("matmul_numpy", "matmul_blocked"):
        got = getattr(sparse.ladder, name)(*sparse.csr.compress(W), X.numpy())
        assert np.allclose(got, W @ X, atol=1e-5)


def test_conv2d_refuses_offsets_that_lead_out_of_the_input(monkeypatch):
    monkeypatch.setattr(sparse.ladder, "conv_offsets", lambda columns, *_: columns + np.int32(1000))
    with pytest.raises(ValueError, match="offsets go from 0 to"):
        sparse.ladder.conv2d(sparse.csr.CSR.from_dense(torch.ones(2, 9)), np.ones((1, 1, 4, 4), np.float32), (3, 3))


def test_questions_accept_right_answers_and_no_others():
    check_break_even(0.5)
    check_limit(10)
    curve = {0.5: 0.7, 0.7: 1.2, 0.8: 0.9, 0.9: 2.0, 0.95: 4.0}
    check_crossover(0.9, curve)
    for check, *wrong in (
        (check_break_even, None),
        (check_break_even, 0.75),
        (check_break_even, "50%"),
        (check_limit, None),
        (check_limit, 9.0),
        (check_crossover, None, curve),
        (check_crossover, 0.7, curve),
        (check_crossover, 0.95, curve),
        (check_crossover, None, {0.5: 0.1, 0.7: 0.2, 0.8: 0.3, 0.9: 0.4}),
        (check_crossover, 0.9, {}),
    ):
        with pytest.raises(AssertionError):
            check(*wrong)


@njit
def students(values, indices, indptr, X):
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def reads_on(values, indices, indptr, X):
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(X.shape[1] + 10**9):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


def test_success_is_a_kernel_of_ones_own_that_is_faster(monkeypatch):
    check_success(students, 64, 2.0)
    for kernel, columns, speedup, message in (
        (None, None, None, "compiled with Numba"),
        (sparse.ladder.matmul_loop, 64, 2.0, "compiled with Numba"),
        (sparse.ladder.matmul_blocked, 64, 2.0, "the package's"),
        (students, None, 2.0, "whole number"),
        (students, 64, None, "must say so"),
        (students, 64, 0.7, "must say so"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_success(kernel, columns, speedup)
    with pytest.raises(IndexError):
        check_success(reads_on, 64, 2.0)
    monkeypatch.setattr(metrics, "paired_speedup", lambda *_, **__: 0.9)
    with pytest.raises(AssertionError, match="must be faster"):
        check_success(students, 64, 2.0)
