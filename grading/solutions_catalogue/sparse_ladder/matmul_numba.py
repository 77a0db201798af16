import numpy as np
from numba import njit


@njit
def wrong_down_the_columns(values, indices, indptr, X):
    """Fails test_numba_is_fast: the loops of a textbook, with the sum innermost: each step jumps a whole row of X."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for j in range(n):
            total = np.float32(0)
            for p in range(indptr[i], indptr[i + 1]):
                total += values[p] * X[indices[p], j]
            Y[i, j] = total
    return Y


@njit
def wrong_looks_up_again(values, indices, indptr, X):
    """Fails test_numba_is_fast: the right order, but the compiler cannot know that values[p] stays the same."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


def wrong_not_compiled(values, indices, indptr, X):
    """Fails test_numba_is_compiled_and_multiplies_like_dense: the decorator is gone."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            Y[i] += values[p] * X[indices[p]]
    return Y


@njit
def wrong_uninitialised(values, indices, indptr, X):
    """Fails test_numba_is_compiled_and_multiplies_like_dense: np.empty is no zero, but often looks like one."""
    Y = np.empty((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def wrong_empty_rows_uninitialised(values, indices, indptr, X):
    """Fails test_numba_is_compiled_and_multiplies_like_dense: stores the first product, adds the rest: no first, no zero."""
    Y = np.empty((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] = weight * X[column, j] if p == indptr[i] else Y[i, j] + weight * X[column, j]
    return Y


@njit
def wrong_reads_on_at_the_end(values, indices, indptr, X):
    """Fails test_numba_is_compiled_and_multiplies_like_dense: indptr[i + 1] of one row too many, beyond the array."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(indptr)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def wrong_writes_far_out(values, indices, indptr, X):
    """Fails test_numba_is_compiled_and_multiplies_like_dense: row and column swapped in Y, which crashes machine code."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[1000000 * j, i] += weight * X[column, j]
    return Y


@njit
def wrong_float64(values, indices, indptr, X):
    """Fails test_numba_is_compiled_and_multiplies_like_dense: float64 by default, and twice the memory."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]))
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def wrong_whole_vectors_only(values, indices, indptr, X):
    """Fails test_numba_is_compiled_and_multiplies_like_dense: eight columns at a time, and what is left over is forgotten."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1] // 8 * 8):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def right_row_views(values, indices, indptr, X):
    """A view of the row of Y and of X."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        y = Y[i]
        for p in range(indptr[i], indptr[i + 1]):
            x = X[indices[p]]
            weight = values[p]
            for j in range(n):
                y[j] += weight * x[j]
    return Y


@njit
def _add(y, weight, x):
    for j in range(len(y)):
        y[j] += weight * x[j]


@njit
def right_helper(values, indices, indptr, X):
    """With a compiled helper."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            _add(Y[i], values[p], X[indices[p]])
    return Y


@njit
def right_buffer(values, indices, indptr, X):
    """Sums up in a row of its own and copies it once."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.empty((m, n), np.float32)
    total = np.empty(n, np.float32)
    for i in range(m):
        total[:] = 0
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(n):
                total[j] += weight * X[column, j]
        Y[i] = total
    return Y
