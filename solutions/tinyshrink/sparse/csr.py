"""Compressed sparse rows (CSR): a matrix as the list of its nonzero numbers, so that nothing else is stored or multiplied.

Row after row, `values` holds the nonzero numbers and `indices` the column of each; row i is values[indptr[i]:indptr[i + 1]].
The format of the sparse BLAS, of scipy.sparse and of torch.sparse: https://docs.pytorch.org/docs/stable/sparse.html
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DTYPES = {"values": np.float32, "indices": np.int32, "indptr": np.int32}
MOST = 2**31 - 1  # what an int32 can count


def compress(dense: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write down the nonzero numbers of a matrix, row by row: CSR.

    Arguments: dense, a float32 tensor (m, k), on any device, contiguous or not, with or without gradient.
    Returns three NumPy arrays: values float32 (nnz,), the nonzero numbers from left to right, row after row; indices
    int32 (nnz,), the column of each; indptr int32 (m + 1,), where indptr[i] is the number of nonzeros before row i, so
    that row i is values[indptr[i]:indptr[i + 1]], and indptr[m] is nnz. -0.0 is a zero, NaN is none.
    Raises TypeError for another dtype, ValueError for another number of dimensions.

    Example: [[0, 5, 0], [0, 0, 0], [7, 0, 8]] is values [5, 7, 8], indices [1, 0, 2], indptr [0, 1, 1, 3].
    Hint: an empty row has a place in indptr too. dense.detach().cpu().numpy() is the matrix in NumPy, which has nonzero,
    count_nonzero(axis=1) and cumsum.
    """
    if dense.dtype != torch.float32:
        raise TypeError(f"CSR holds float32, got {dense.dtype}: convert the tensor with .float() first")
    if dense.ndim != 2:
        raise ValueError(f"expected a matrix (rows, columns), got shape {tuple(dense.shape)}: use .flatten(1)")
    matrix = dense.detach().cpu().numpy()
    indptr = np.zeros(len(matrix) + 1, np.int32)
    indptr[1:] = np.count_nonzero(matrix, axis=1).cumsum()
    rows, columns = matrix.nonzero()
    return matrix[rows, columns], columns.astype(np.int32), indptr


def expand(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """Turn CSR back into the dense matrix: a float32 tensor of `shape`, (m, k).

    Arguments: the three arrays that compress returns.
    Example: values [5, 7, 8], indices [1, 0, 2], indptr [0, 1, 1, 3], shape (3, 3) is [[0, 5, 0], [0, 0, 0], [7, 0, 8]].
    Hint: which row does values[p] belong to? np.repeat(np.arange(m), how many each row has) tells for all p at once; or
    go row by row.
    """
    dense = np.zeros(shape, np.float32)
    dense[np.repeat(np.arange(shape[0]), np.diff(indptr)), indices] = values
    return torch.from_numpy(dense)


def csr_bytes(shape: tuple[int, int], nonzeros: int) -> int:
    """The bytes that a matrix (m, k) with this many nonzeros takes as CSR: float32 values, int32 indices and indptr.

    Example: (3, 3) with 3 nonzeros: 3 values, 3 indices and 4 numbers of indptr of 4 bytes each, 40; dense it is 36.
    """
    return 8 * nonzeros + 4 * (shape[0] + 1)


@dataclass(frozen=True, eq=False)
class CSR:
    """A sparse float32 matrix: shape (m, k), values (nnz,), indices (nnz,), indptr (m + 1,), checked when it is made.

    Raises TypeError for arrays of other dtypes, ValueError for arrays that are no matrix of that shape: kernels trust
    these numbers as addresses, and a wrong one would crash Python or read somebody else's memory.
    """

    shape: tuple[int, int]
    values: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray

    def __post_init__(self):
        for name, dtype in DTYPES.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                got = getattr(array, "dtype", type(array).__name__)
                raise TypeError(f"{name} must be a NumPy array of {dtype.__name__}, got {got}: convert it with .astype first")
            if array.ndim != 1 or not array.flags.c_contiguous:
                raise ValueError(
                    f"{name} must be one-dimensional and contiguous, got shape {array.shape}, strides {array.strides}"
                )
        if len(self.shape) != 2 or not all(0 <= size <= MOST for size in self.shape):
            raise ValueError(f"expected shape (rows, columns), each 0 to {MOST:,}, got {self.shape}")
        rows, columns = self.shape
        _check_fits(len(self.values))
        if len(self.values) != len(self.indices):
            raise ValueError(f"each value has one index: got {len(self.values)} values and {len(self.indices)} indices")
        counts = np.diff(self.indptr.astype(np.int64))  # int32 could overflow
        if len(self.indptr) != rows + 1:
            raise ValueError(f"{rows} rows need an indptr of {rows + 1} numbers, got {len(self.indptr)}")
        if self.indptr[0] != 0 or self.indptr[-1] != len(self.values) or (counts < 0).any():
            falls = f", and falls after row {np.argmax(counts < 0)}" if (counts < 0).any() else ""
            raise ValueError(
                f"indptr must start at 0, never fall and end at the number of values, {len(self.values)}: "
                f"it goes from {self.indptr[0]} to {self.indptr[-1]}{falls}. Counts of nonzeros, summed up row by row, do"
            )
        outside = (self.indices < 0) | (self.indices >= columns)
        if outside.any():
            place = np.argmax(outside)
            raise ValueError(
                f"an index is a column, 0 to {columns - 1} for shape {self.shape}: indices[{place}] is {self.indices[place]}"
            )
        positions = np.repeat(np.arange(rows) * columns, counts) + self.indices
        if (np.diff(positions) <= 0).any():
            place = np.argmax(np.diff(positions) <= 0)
            row = positions[place] // columns
            raise ValueError(
                f"the indices of a row must ascend, each column once: in row {row} {self.indices[place]} comes before "
                f"{self.indices[place + 1]}. Sort the row by column, and add up what stands there twice"
            )

    @classmethod
    def from_dense(cls, dense: Tensor) -> "CSR":
        """The nonzeros of a float32 tensor (m, k); see `compress`. Raises ValueError for 2^31 nonzeros or more."""
        _check_fits(int(dense.count_nonzero()))
        return cls(tuple(dense.shape), *compress(dense))

    def to_dense(self) -> Tensor:
        """The whole matrix as a float32 tensor of `shape`."""
        return expand(self.values, self.indices, self.indptr, self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of its three arrays."""
        return csr_bytes(self.shape, len(self.values))

    @property
    def sparsity(self) -> float:
        """The fraction of zeros, 0 to 1; of a matrix without elements 0."""
        rows, columns = self.shape
        return 1 - len(self.values) / (rows * columns) if rows and columns else 0.0


def _check_fits(nonzeros):
    if nonzeros > MOST:
        raise ValueError(f"int32 counts up to {MOST:,} nonzeros, got {nonzeros:,}: cut the matrix into blocks of rows")
