import numpy as np
from numba import njit


@njit
def wrong_forgets_the_rest(values, indices, indptr, X):
    """Fails test_blocked_takes_the_nonzeros_left_over: whole groups of four only."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for group in range((indptr[i + 1] - indptr[i]) // 4):
            p = indptr[i] + 4 * group
            w0, w1, w2, w3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            c0, c1, c2, c3 = indices[p], indices[p + 1], indices[p + 2], indices[p + 3]
            for j in range(n):
                Y[i, j] += w0 * X[c0, j] + w1 * X[c1, j] + w2 * X[c2, j] + w3 * X[c3, j]
    return Y


@njit
def wrong_reads_into_the_next_row(values, indices, indptr, X):
    """Fails test_blocked_takes_the_nonzeros_left_over: the last group takes the next row's nonzeros, or what lies behind."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1], 4):
            w0, w1, w2, w3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            c0, c1, c2, c3 = indices[p], indices[p + 1], indices[p + 2], indices[p + 3]
            for j in range(n):
                Y[i, j] += w0 * X[c0, j] + w1 * X[c1, j] + w2 * X[c2, j] + w3 * X[c3, j]
    return Y


@njit
def wrong_rest_counted_twice(values, indices, indptr, X):
    """Fails test_blocked_takes_the_nonzeros_left_over: the rest starts one too early."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        start, end = indptr[i], indptr[i + 1]
        whole = start + (end - start) // 4 * 4
        for p in range(start, whole, 4):
            for k in range(4):
                weight, column = values[p + k], indices[p + k]
                for j in range(n):
                    Y[i, j] += weight * X[column, j]
        for p in range(max(start, whole - 1), end):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


@njit
def wrong_groups_from_zero(values, indices, indptr, X):
    """Fails test_blocked_takes_the_nonzeros_left_over: rounds the end of the row down, wherever the row starts."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        start, end = indptr[i], indptr[i + 1]
        whole = end // 4 * 4
        for p in range(start, whole, 4):
            for k in range(4):
                for j in range(n):
                    Y[i, j] += values[p + k] * X[indices[p + k], j]
        for p in range(whole, end):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


@njit
def wrong_stores_the_group(values, indices, indptr, X):
    """Fails test_blocked_multiplies_like_dense: = in place of +=, only the last group is left."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        start, end = indptr[i], indptr[i + 1]
        whole = start + (end - start) // 4 * 4
        for p in range(start, whole, 4):
            for j in range(n):
                total = np.float32(0)
                for k in range(4):
                    total += values[p + k] * X[indices[p + k], j]
                Y[i, j] = total
        for p in range(whole, end):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


@njit
def wrong_same_weight(values, indices, indptr, X):
    """Fails test_blocked_multiplies_like_dense: copied a line and forgot to count on: w1 serves twice."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        start, end = indptr[i], indptr[i + 1]
        whole = start + (end - start) // 4 * 4
        for p in range(start, whole, 4):
            w0, w1, w2, w3 = values[p], values[p + 1], values[p + 1], values[p + 3]
            c0, c1, c2, c3 = indices[p], indices[p + 1], indices[p + 2], indices[p + 3]
            for j in range(n):
                Y[i, j] += w0 * X[c0, j] + w1 * X[c1, j] + w2 * X[c2, j] + w3 * X[c3, j]
        for p in range(whole, end):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


@njit
def wrong_bounds_of_a_panel(values, indices, indptr, X):
    """Fails test_blocked_multiplies_like_dense: panels of 16 columns, the last one goes beyond the end of the row."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for first in range(0, n, 16):
        for i in range(m):
            for p in range(indptr[i], indptr[i + 1]):
                for j in range(first, first + 16):
                    Y[i, j] += values[p] * X[indices[p], j]
    return Y


@njit
def wrong_one_at_a_time(values, indices, indptr, X):
    """Fails test_blocked_stores_once_for_four_products: matmul_numba again, which multiplies right."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            weight, column = values[p], indices[p]
            for j in range(n):
                Y[i, j] += weight * X[column, j]
    return Y


@njit
def wrong_four_stores(values, indices, indptr, X):
    """Fails test_blocked_stores_once_for_four_products: unrolled, but each product is written back by itself."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        whole = indptr[i] + (indptr[i + 1] - indptr[i]) // 4 * 4
        for p in range(indptr[i], whole, 4):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
                Y[i, j] += values[p + 1] * X[indices[p + 1], j]
                Y[i, j] += values[p + 2] * X[indices[p + 2], j]
                Y[i, j] += values[p + 3] * X[indices[p + 3], j]
        for p in range(whole, indptr[i + 1]):
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


@njit
def wrong_in_pairs(values, indices, indptr, X):
    """Fails test_blocked_stores_once_for_four_products: two at a time."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        p, end = indptr[i], indptr[i + 1]
        while p + 2 <= end:
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j] + values[p + 1] * X[indices[p + 1], j]
            p += 2
        if p < end:
            for j in range(n):
                Y[i, j] += values[p] * X[indices[p], j]
    return Y


@njit
def right_while(values, indices, indptr, X):
    """While loops, and the rows of X as views."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        p, end = indptr[i], indptr[i + 1]
        while p + 4 <= end:
            x0, x1, x2, x3 = X[indices[p]], X[indices[p + 1]], X[indices[p + 2]], X[indices[p + 3]]
            w0, w1, w2, w3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            for j in range(n):
                Y[i, j] += w0 * x0[j] + w1 * x1[j] + w2 * x2[j] + w3 * x3[j]
            p += 4
        while p < end:
            weight, x = values[p], X[indices[p]]
            for j in range(n):
                Y[i, j] += weight * x[j]
            p += 1
    return Y


@njit
def right_padded_group(values, indices, indptr, X):
    """The last group is filled up with weights of zero, at the column of its first one."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1], 4):
            left = indptr[i + 1] - p
            p1, p2, p3 = p + min(1, left - 1), p + min(2, left - 1), p + min(3, left - 1)
            zero = np.float32(0)
            w0, w1 = values[p], values[p1] if left > 1 else zero
            w2, w3 = values[p2] if left > 2 else zero, values[p3] if left > 3 else zero
            c0, c1, c2, c3 = indices[p], indices[p1], indices[p2], indices[p3]
            for j in range(n):
                Y[i, j] += w0 * X[c0, j] + w1 * X[c1, j] + w2 * X[c2, j] + w3 * X[c3, j]
    return Y


@njit
def right_row_of_sums(values, indices, indptr, X):
    """The row of Y is built in an array of its own, and the nonzeros left over come first."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), np.float32)
    for i in range(m):
        sums, first = np.zeros(n, np.float32), indptr[i] + (indptr[i + 1] - indptr[i]) % 4
        for p in range(indptr[i], first):
            weight, x = values[p], X[indices[p]]
            for j in range(n):
                sums[j] += weight * x[j]
        for p in range(first, indptr[i + 1], 4):
            a, b, c, d = values[p], values[p + 1], values[p + 2], values[p + 3]
            e, f, g, h = indices[p], indices[p + 1], indices[p + 2], indices[p + 3]
            for j in range(n):
                sums[j] += (a * X[e, j] + b * X[f, j]) + (c * X[g, j] + d * X[h, j])
        for j in range(n):
            Y[i, j] = sums[j]
    return Y
