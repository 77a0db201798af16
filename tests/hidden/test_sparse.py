"""Hidden checks of lesson 06: as in tests/test_sparse.py, with cases drawn from the instructor's seed."""

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F

from tinyshrink import checking, sparse


def test_compress_of_drawn_matrices():
    for W, _ in checking.sparse_products(1000 + checking.hidden_seed()):
        theirs = scipy.sparse.csr_array(W.numpy())
        for name, got, expected in zip(
            ("values", "indices", "indptr"), sparse.csr.compress(W), (theirs.data, theirs.indices, theirs.indptr)
        ):
            same = got.dtype == expected.dtype and np.array_equal(got, expected)
            assert same, f"{name} of a {tuple(W.shape)}: expected {expected.dtype} {expected}, got {got.dtype} {got}"


def test_expand_of_drawn_matrices():
    for W, _ in checking.sparse_products(1001 + checking.hidden_seed()):
        theirs = scipy.sparse.csr_array(W.numpy())
        got = sparse.csr.expand(theirs.data, theirs.indices, theirs.indptr, theirs.shape)
        assert torch.equal(got, W), f"a {tuple(W.shape)} with {theirs.nnz} nonzeros did not come back as it was"


def test_csr_bytes_of_drawn_matrices():
    for W, _ in checking.sparse_products(1002 + checking.hidden_seed()):
        theirs = scipy.sparse.csr_array(W.numpy())
        expected = theirs.data.nbytes + theirs.indices.nbytes + theirs.indptr.nbytes
        got = sparse.csr.csr_bytes(theirs.shape, theirs.nnz)
        assert got == expected, f"{theirs.shape} with {theirs.nnz} nonzeros: expected {expected}, got {got}"


def test_loop_of_drawn_matrices():
    for W, X in checking.sparse_products(1003 + checking.hidden_seed()):
        checking.check_product(sparse.ladder.matmul_loop, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_numpy_of_drawn_matrices():
    for W, X in checking.sparse_products(1004 + checking.hidden_seed()):
        checking.check_product(sparse.ladder.matmul_numpy, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_numba_of_drawn_matrices():
    for W, X in checking.sparse_products(1005 + checking.hidden_seed()):
        checking.check_product(sparse.ladder.matmul_numba, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_parallel_of_drawn_matrices():
    for W, X in checking.sparse_products(1006 + checking.hidden_seed()):
        checking.check_product(sparse.ladder.matmul_parallel, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_blocked_of_drawn_matrices():
    for W, X in checking.sparse_products(1007 + checking.hidden_seed()):
        checking.check_product(sparse.ladder.matmul_blocked, (*sparse.csr.compress(W), X.numpy()), (W @ X).numpy())


def test_rows_of_drawn_matrices():
    for W, X in checking.sparse_products(1008 + checking.hidden_seed(), rows=4):
        _, indices, indptr = sparse.csr.compress(W[::4])
        blocks = W.reshape(len(W) // 4, 4, -1).transpose(1, 2)[W[::4] != 0]
        checking.check_product(sparse.ladder.matmul_rows, (blocks.numpy(), indices, indptr, X.numpy()), (W @ X).numpy())


def test_conv_offsets_of_drawn_convolutions():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(6):
        kh, kw, channels, images, outputs = torch.randint(1, 5, (5,), generator=generator).tolist()
        height, width = torch.randint(5, 10, (2,), generator=generator).tolist()
        padding = int(torch.randint(0, 3, (), generator=generator))
        weight = torch.randn(outputs, channels, kh, kw, generator=generator)
        weight *= torch.rand(weight.shape, generator=generator) < 0.5
        x = torch.randn(images, channels, height, width, generator=generator)
        expected = F.conv2d(x, weight, padding=padding).numpy()
        csr = sparse.csr.CSR.from_dense(weight.flatten(1))
        error = np.abs(sparse.ladder.conv2d(csr, x.numpy(), (kh, kw), padding) - expected).max()
        said = f"kernel ({kh}, {kw}), padding {padding}, input {tuple(x.shape)}"
        assert error < 1e-4, f"{said}: a convolution with your offsets is off by {error:.2g}"
