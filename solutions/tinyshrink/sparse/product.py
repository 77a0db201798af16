"""The shipped sparse product, `csr_matmul`: the kernels on a CSR matrix cut into slices that fit the first cache.

For each panel of 64 columns of X and each slice of columns of W, the rows of X that the slice needs are packed into a
small block (its home is L1); each row of W then gathers from there. What is packed once serves all rows of W. Rows in
fours that share their columns are multiplied as one (block rows): each vector of X that is loaded serves four products.
Sources: Goto & van de Geijn 2008, https://doi.org/10.1145/1356052.1356053, for packing and blocking; Gray et al. 2017,
https://openai.com/index/block-sparse-gpu-kernels, for blocks.
"""

import weakref

import numpy as np
import torch
from torch import Tensor

from . import csr, kernels

BLOCK = 4  # rows in a block row
NONZEROS = 25  # of a row in a slice: with fewer, loading and storing the sums costs too much; with more, L1 overflows


class Slices:
    """A CSR matrix as the kernels read it: slice after slice of columns, and in each block row after block row.

    rows is 1 or 4 (block rows, chosen where at least 3 in 4 of the numbers in such blocks are nonzeros);
    depth the columns of a slice; values float32 (blocks, rows); index int32 (blocks,), the column within its slice; starts
    int32 (slices, block rows + 1).
    """

    def __init__(self, matrix: csr.CSR, rows: int | None = None, depth: int | None = None):
        m, k = matrix.shape
        row = np.repeat(np.arange(m), np.diff(matrix.indptr))
        blocks = len(np.unique(row // BLOCK * k + matrix.indices))
        self.rows = rows or (BLOCK if blocks and len(row) >= 0.75 * BLOCK * blocks else 1)
        density = max(len(row), 1) / max(m * k, 1)
        default = 128 * round(min(max(NONZEROS / density, 128), 512) / 128) if self.rows == 1 else 512
        self.depth = max(1, min(depth or default, k))
        self.block_rows, self.inputs = -(-m // self.rows), k
        slices = max(1, -(-k // self.depth))
        of_slice, of_block_row = matrix.indices // self.depth, row // self.rows
        key = (of_slice * self.block_rows + of_block_row) * self.depth + matrix.indices % self.depth
        keys, place = np.unique(key, return_inverse=True)
        self.values = np.zeros((len(keys), self.rows), np.float32)
        self.values[place, row % self.rows] = matrix.values
        self.index = (keys % self.depth).astype(np.int32)
        counts = np.bincount(keys // self.depth, minlength=slices * self.block_rows)
        ends = np.append(0, counts.cumsum()).astype(np.int32)
        self.starts = ends[np.arange(slices)[:, None] * self.block_rows + np.arange(self.block_rows + 1)]

    def columns(self) -> np.ndarray:
        """The column of W of each block, int64 (blocks,)."""
        counts = self.starts[:, -1] - self.starts[:, 0]
        return self.index + np.repeat(np.arange(len(counts)), counts) * self.depth


_slices = weakref.WeakKeyDictionary()  # CSR: {narrow: Slices}


def slices_of(matrix: csr.CSR, narrow: bool = False) -> Slices:
    """The Slices of a CSR matrix, made when first asked for; `narrow` for up to 16 columns of X, deeper."""
    made = _slices.setdefault(matrix, {})
    if narrow not in made:
        made[narrow] = Slices(matrix, depth=512 if narrow else None)
    return made[narrow]


def csr_matmul(matrix: csr.CSR, X: Tensor) -> Tensor:
    """The product of a sparse matrix (m, k) and a dense one (k, n) as a float32 tensor (m, n).

    Arguments: matrix, a CSR whose arrays are not changed afterwards; X, float32 on the CPU, any strides (X.T costs nothing
    extra), no gradient is kept. Runs on torch.get_num_threads() threads. Raises TypeError for another dtype or device,
    ValueError for a shape that does not fit.
    """
    m, k = matrix.shape
    check(X, "X")
    if X.ndim != 2 or X.shape[0] != k:
        raise ValueError(f"a matrix of shape {(m, k)} multiplies X of shape ({k}, n), got {tuple(X.shape)}")
    return multiply(slices_of(matrix, X.shape[1] <= 16), m, X)


def multiply(slices: Slices, m: int, X: Tensor, bias: Tensor | None = None) -> Tensor:
    """W @ X + bias, (m, n), for the Slices of a W with m rows; X (k, n) and bias (m,) float32."""
    n = X.shape[1]
    if X.shape[0] != slices.inputs:  # the size of a layer may come from a file, and the kernel trusts it
        raise ValueError(f"a matrix of {slices.inputs} columns multiplies as many rows, got {X.shape[0]}")
    Y = torch.empty(m, n)
    if m and n:
        start = np.zeros(slices.block_rows * slices.rows, np.float32)
        if bias is not None:
            start[:m] = bias.detach().numpy()
        threads, panels = torch.get_num_threads(), -(-n // kernels.PANEL)
        parts = max(1, min(-(-threads // panels), slices.block_rows))
        X = X.detach() if n > 1 else X.detach().flatten().contiguous()[:, None]  # a vector in one piece
        arrays = (slices.values, slices.index, slices.starts, slices.rows, slices.depth)
        kernels.call(kernels.multiply, *arrays, X.numpy(), start, Y.numpy(), parts)
    return Y


def check(tensor: Tensor, name: str) -> None:
    """TypeError for what the kernels cannot read: anything but float32 on the CPU."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise TypeError(
            f"the sparse kernels are for float32 on the CPU, {name} is {tensor.dtype} on {tensor.device}: "
            f'convert it with .float() or .to("cpu")'
        )
