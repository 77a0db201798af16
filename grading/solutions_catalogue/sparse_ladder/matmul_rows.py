import numpy as np
from numba import njit


@njit
def wrong_a_row_for_a_block_row(values, indices, indptr, X):
    """Fails test_rows_of_a_case_by_hand: as many rows as block rows."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                Y[i, j] += values[p, 0] * X[indices[p], j]
    return Y


@njit
def wrong_overlapping_rows(values, indices, indptr, X):
    """Fails test_rows_of_a_case_by_hand: block row i starts at row i, not at 4 i."""
    m, n = 4 * (len(indptr) - 1), X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m // 4):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                for row in range(4):
                    Y[i + row, j] += values[p, row] * X[indices[p], j]
    return Y


@njit
def wrong_four_columns(values, indices, indptr, X):
    """Fails test_rows_of_a_case_by_hand: takes the block for one row of four columns."""
    m, n = 4 * (len(indptr) - 1), X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m // 4):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                for k in range(4):
                    Y[4 * i, j] += values[p, k] * X[(indices[p] + k) % len(X), j]
    return Y


@njit
def wrong_block_columns(values, indices, indptr, X):
    """Fails test_rows_of_a_case_by_hand: columns counted in blocks of four too."""
    m, n = 4 * (len(indptr) - 1), X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m // 4):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                for row in range(4):
                    Y[4 * i + row, j] += values[p, row] * X[4 * indices[p], j]
    return Y


@njit
def wrong_last_block_row(values, indices, indptr, X):
    """Fails test_rows_of_a_case_by_hand: one block row too few."""
    m, n = 4 * (len(indptr) - 1), X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m // 4 - 1):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                for row in range(4):
                    Y[4 * i + row, j] += values[p, row] * X[indices[p], j]
    return Y


@njit
def wrong_interleaved(values, indices, indptr, X):
    """Fails test_rows_of_a_case_by_hand: the four rows of a block lie a quarter of the matrix apart."""
    blocks, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((4 * blocks, n), np.float32)
    for i in range(blocks):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                for row in range(4):
                    Y[i + row * blocks, j] += values[p, row] * X[indices[p], j]
    return Y


@njit
def wrong_uninitialised(values, indices, indptr, X):
    """Fails test_rows_of_a_case_by_hand: a block row without blocks is never written."""
    m, n = 4 * (len(indptr) - 1), X.shape[1]
    Y = np.empty((m, n), np.float32)
    for i in range(m // 4):
        for p in range(indptr[i], indptr[i + 1]):
            for row in range(4):
                for j in range(n):
                    product = values[p, row] * X[indices[p], j]
                    Y[4 * i + row, j] = product if p == indptr[i] else Y[4 * i + row, j] + product
    return Y


@njit
def right_loop_over_four(values, indices, indptr, X):
    """A short loop over the four rows."""
    n = X.shape[1]
    Y = np.zeros((len(indptr) - 1, 4, n), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            x = X[indices[p]]
            for row in range(4):
                weight = values[p, row]
                for j in range(n):
                    Y[i, row, j] += weight * x[j]
    return Y.reshape(4 * (len(indptr) - 1), n)


@njit
def right_views(values, indices, indptr, X):
    """Four views of rows of Y."""
    n = X.shape[1]
    Y = np.zeros((4 * len(indptr) - 4, n), np.float32)
    for i in range(len(indptr) - 1):
        y0, y1, y2, y3 = Y[4 * i], Y[4 * i + 1], Y[4 * i + 2], Y[4 * i + 3]
        for p in range(indptr[i], indptr[i + 1]):
            x, w = X[indices[p]], values[p]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            for j in range(n):
                y0[j] += w0 * x[j]
                y1[j] += w1 * x[j]
                y2[j] += w2 * x[j]
                y3[j] += w3 * x[j]
    return Y
