"""The ladder of sparse products: Y = W @ X, with W as CSR arrays, from a Python loop to registers, one idea a rung.

Each X is float32 (k, n) and contiguous: a column is an example, a row is what one input is in all of them. One weight
times one *row* of X is work for vector instructions, which a sum over scattered columns never is (Yang et al. 2018,
https://arxiv.org/abs/1803.08601). `kernels.py` goes on where these rungs end.
"""

import numpy as np
from numba import njit, prange

from . import csr


def matmul_loop(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Multiply a CSR matrix (m, k) by X (k, n), in plain Python: one number after the other.

    Arguments: values float32 (nnz,), indices and indptr int32, as `compress` makes them; X float32 (k, n).
    Returns Y float32 (m, n) with Y[i, j] the sum of values[p] * X[indices[p], j] over the nonzeros p of row i; a row
    without nonzeros is all zeros. All other rungs have the same arguments and result.

    Example: the matrix [[0, 2], [0, 0]] times [[1, 1], [3, 4]] is [[6, 8], [0, 0]].
    Hint: three loops, over rows, the row's nonzeros and the columns of X. How many rows has W, by its indptr?
    """
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


def matmul_numpy(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The same product with NumPy, one loop over the rows of W, and none inside of it.

    Arguments and result: as in matmul_loop.
    Hint: X[columns] with an array of columns gathers these rows of X, a small dense matrix; what is left of the row of W
    is a small dense vector.
    """
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        row = slice(indptr[i], indptr[i + 1])
        Y[i] = values[row] @ X[indices[row]]
    return Y


@njit
def matmul_numba(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The same product, compiled by Numba: the loops of matmul_loop become machine code.

    Arguments and result: as in matmul_loop. It must be several times as fast as compiled loops that go down the columns
    of X. Use loops and scalars; slices such as Y[i] += ... make arrays on the way.
    Hint: which loop is innermost? Then neighbours in memory, X[c, j] and X[c, j + 1], come one after the other, and the
    processor multiplies 8 or 16 of them at once. Only if the compiler sees that all else stays as it is: what does not
    depend on j is looked up before the loop over j. (A store to Y could change values and indices, for all it knows.)
    """
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(n):
                Y[i, j] += weight * X[column, j]
    return Y


@njit(parallel=True)
def matmul_parallel(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The same product by several threads: the iterations of a loop over `prange` run at the same time.

    Arguments and result: as in matmul_loop. Two threads must never write to the same number: both would read the old
    sum, and one of the two products would be lost, now and then. Threads: numba.set_num_threads.
    Hint: which of the three loops can be shared out so that each thread has numbers of Y of its own?
    """
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in prange(m):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(n):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def matmul_blocked(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The same product, four nonzeros of a row at a time: a number of Y is loaded and stored once for four products.

    Arguments and result: as in matmul_loop. In matmul_numba each product costs two loads and a store: X, Y, and Y back.
    A row has any number of nonzeros: up to three are left over at its end.
    Hint: how often does `+=` write to Y[i, j] in one turn of the loop over j? What has to be at hand before that loop begins?
    """
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        start, end = indptr[i], indptr[i + 1]
        whole = start + (end - start) // 4 * 4
        for p in range(start, whole, 4):
            w0, w1, w2, w3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            c0, c1, c2, c3 = indices[p], indices[p + 1], indices[p + 2], indices[p + 3]
            for j in range(n):
                Y[i, j] += w0 * X[c0, j] + w1 * X[c1, j] + w2 * X[c2, j] + w3 * X[c3, j]
        for p in range(whole, end):
            weight, column = values[p], indices[p]
            for j in range(n):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def matmul_rows(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The product of a matrix of 4x1 block rows: four rows share their columns, and each number of X serves all four.

    Arguments: values float32 (blocks, 4), the four weights of a block, top to bottom; indices int32 (blocks,), its
    column; indptr int32 (m / 4 + 1,): the blocks of rows 4 i to 4 i + 3 are indptr[i] to indptr[i + 1]; X float32 (k, n).
    Returns Y float32 (m, n).

    Example: one block [1, 2, 3, 4] in column 1, indptr [0, 1], times [[9], [10]] is [[10], [20], [30], [40]].
    Hint: x = X[column, j] is loaded once. Four sums are then under way, in four rows of Y.
    """
    m, n = 4 * (len(indptr) - 1), X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for block in range(m // 4):
        i = 4 * block
        for p in range(indptr[block], indptr[block + 1]):
            w0, w1, w2, w3, column = values[p, 0], values[p, 1], values[p, 2], values[p, 3], indices[p]
            for j in range(n):
                x = X[column, j]
                Y[i, j] += w0 * x
                Y[i + 1, j] += w1 * x
                Y[i + 2, j] += w2 * x
                Y[i + 3, j] += w3 * x
    return Y


def conv_offsets(columns: np.ndarray, kernel: tuple[int, int], plane: int, width: int) -> np.ndarray:
    """Where the inputs of a convolution lie: the columns of its flat weight as offsets in its flat input.

    Arguments: columns int32 (nnz,), of weight.flatten(1), whose column (c * kh + y) * kw + x is channel c, row y and
    column x of the kernel; kernel (kh, kw); plane, the numbers that the input has for one channel; width, the length of
    its rows. Returns offsets int32 (nnz,): how far from an output's first input, its upper left one in channel 0, the
    input lies that this weight multiplies.

    Example: kernel (3, 3), plane 100, width 10: column 0 is at offset 0, 1 at 1, 3 (the next row) at 10, 9 (the next
    channel) at 100, 17 at 122.
    """
    channels, places = np.divmod(columns, kernel[0] * kernel[1])
    rows, across = np.divmod(places, kernel[1])
    return (channels * plane + rows * width + across).astype(np.int32)


@njit
def matmul_shifted(values, offsets, indptr, flat, plane, length):
    """matmul_blocked where row c of X is flat[c : c + length]: rows that overlap, in one piece of memory.

    Returns (m, plane), zeros after the first `length` numbers of each row.
    """
    Y = np.zeros((len(indptr) - 1, plane), np.float32)
    for i in range(len(Y)):
        y, whole = Y[i], indptr[i] + (indptr[i + 1] - indptr[i]) // 4 * 4
        for p in range(indptr[i], whole, 4):
            w0, w1, w2, w3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            x0, x1 = flat[offsets[p] :][:length], flat[offsets[p + 1] :][:length]
            x2, x3 = flat[offsets[p + 2] :][:length], flat[offsets[p + 3] :][:length]
            for j in range(length):
                y[j] += w0 * x0[j] + w1 * x1[j] + w2 * x2[j] + w3 * x3[j]
        for p in range(whole, indptr[i + 1]):
            weight, x = values[p], flat[offsets[p] :][:length]
            for j in range(length):
                y[j] += weight * x[j]
    return Y


def conv2d(weight: csr.CSR, x: np.ndarray, kernel: tuple[int, int], padding: int = 0) -> np.ndarray:
    """A convolution of stride 1 without im2col: the weight times shifted pieces of the flat, padded input.

    Arguments: weight (out, in * kh * kw); x float32 (N, in, H, W). Returns float32 (N, out, H', W'). At the end of each
    image row the kernel hangs over into the next one: these sums are computed and thrown away. Raises ValueError where
    conv_offsets leads out of the input.
    """
    images, channels, H, W = x.shape
    height, width = H + 2 * padding, W + 2 * padding
    padded = np.zeros((channels, images, height, width), np.float32)  # channel-major
    padded[:, :, padding : padding + H, padding : padding + W] = x.swapaxes(0, 1)
    plane = images * height * width
    length = plane - (kernel[0] - 1) * width - kernel[1] + 1
    offsets = conv_offsets(weight.indices, kernel, plane, width)
    if len(offsets) and not 0 <= offsets.min() <= offsets.max() <= padded.size - length:
        raise ValueError(f"offsets go from 0 to {padded.size - length}, got {offsets.min()} to {offsets.max()}")
    Y = matmul_shifted(weight.values, offsets, weight.indptr, padded.ravel(), plane, length)
    Y = Y.reshape(-1, images, height, width)[..., : height - kernel[0] + 1, : width - kernel[1] + 1]
    return Y.swapaxes(0, 1)  # (N, out, H', W')
