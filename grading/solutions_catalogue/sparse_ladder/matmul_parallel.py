import numba
import numpy as np
from numba import njit, prange


@njit(parallel=True)
def wrong_nonzeros_shared_out(values, indices, indptr, X):
    """Fails test_parallel_shares_out_rows: the threads share the nonzeros of one row, and all add to the same row of Y."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in prange(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit(parallel=True)
def wrong_one_buffer_for_all(values, indices, indptr, X):
    """Fails test_parallel_shares_out_rows: the rows are shared out, but all threads sum up in the same buffer."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.empty((m, n), np.float32)
    total = np.empty(n, np.float32)
    for i in prange(m):
        total[:] = 0
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(n):
                total[j] += weight * X[column, j]
        Y[i] = total
    return Y


@njit(parallel=True)
def wrong_transposed_product(values, indices, indptr, X):
    """Fails test_parallel_shares_out_rows: scatters each row over Y, as the transposed matrix would; two rows can meet."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in prange(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(X.shape[1]):
                Y[indices[p] % len(Y), j] += values[p] * X[indices[p], j]
    return Y


@njit(parallel=True)
def wrong_range(values, indices, indptr, X):
    """Fails test_parallel_shares_out_rows: parallel=True alone shares nothing out."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def wrong_without_parallel(values, indices, indptr, X):
    """Fails test_parallel_shares_out_rows: without parallel=True prange is range."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in prange(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit(parallel=True)
def wrong_last_row(values, indices, indptr, X):
    """Fails test_parallel_shares_out_rows: shares out one row too few."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in prange(len(indptr) - 2):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit(parallel=True)
def wrong_uninitialised(values, indices, indptr, X):
    """Fails test_parallel_shares_out_rows: adds to memory that holds anything."""
    Y = np.empty((len(indptr) - 1, X.shape[1]), np.float32)
    for i in prange(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(X.shape[1]):
                Y[i, j] += weight * X[column, j]
    return Y


@njit(parallel=True)
def right_own_buffer(values, indices, indptr, X):
    """A buffer for each row, made inside of the loop."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.empty((m, n), np.float32)
    for i in prange(m):
        total = np.zeros(n, np.float32)
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(n):
                total[j] += weight * X[column, j]
        Y[i] = total
    return Y


@njit(parallel=True)
def right_columns_shared_out(values, indices, indptr, X):
    """Eight stripes of columns, one iteration each: no two write to the same number."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for stripe in numba.prange(8):
        start, end = n * stripe // 8, n * (stripe + 1) // 8
        for i in range(m):
            for p in range(indptr[i], indptr[i + 1]):
                weight, column = values[p], indices[p]
                for j in range(start, end):
                    Y[i, j] += weight * X[column, j]
    return Y
