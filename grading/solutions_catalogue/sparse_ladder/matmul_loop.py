import numpy as np


def wrong_last_row_dropped(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: takes indptr for a list of the rows, and its length for one too many twice."""
    m = len(indptr) - 2
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            Y[i] += values[p] * X[indices[p]]
    return Y


def wrong_one_row_too_many(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: one row for each number of indptr."""
    Y = np.zeros((len(indptr), X.shape[1]), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            Y[i] += values[p] * X[indices[p]]
    return Y


def wrong_row_of_x(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: multiplies with row p of X, not with the row that indices[p] names."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            Y[i] += values[p] * X[p % len(X)]
    return Y


def wrong_float64(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: sums up in float64 and gives that back."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]))
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            Y[i] += values[p] * X[indices[p]]
    return Y


def wrong_assigns(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: the last product of a row in place of the sum."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            Y[i] = values[p] * X[indices[p]]
    return Y


def wrong_transposed_matrix(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: multiplies with the transposed matrix."""
    Y = np.zeros((len(X), X.shape[1]), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            Y[indices[p]] += values[p] * X[min(i, len(X) - 1)]
    return Y


def wrong_transposed_operand(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: takes the rows of X for examples, as nn.Linear does."""
    Y = np.zeros((len(indptr) - 1, len(X)), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            for j in range(len(X)):
                Y[i, j] += values[p] * X[j, indices[p]]
    return Y


def wrong_list(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: gives lists."""
    return right_sum(values, indices, indptr, X).tolist()


def wrong_off_by_one(values, indices, indptr, X):
    """Fails test_loop_of_a_case_by_hand: range leaves out its end already; the last nonzero of each row is lost."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1] - 1):
            Y[i] += values[p] * X[indices[p]]
    return Y


def wrong_adds_up_in_x(values, indices, indptr, X):
    """Fails test_loop_multiplies_like_dense: its scratch space is the caller's X."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = right_sum(values, indices, indptr, X)
    X[: min(m, len(X)), :n] = Y[: min(m, len(X))]
    return Y


def wrong_starts_from_garbage(values, indices, indptr, X):
    """Fails test_loop_multiplies_like_dense: a row without nonzeros is never written."""
    Y = np.full((len(indptr) - 1, X.shape[1]), 7, np.float32)
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            product = values[p] * X[indices[p]]
            Y[i] = product if p == indptr[i] else Y[i] + product
    return Y


def right_sum(values, indices, indptr, X):
    """One number of Y at a time, with Python's sum."""
    m, n = len(indptr) - 1, X.shape[1]
    Y = np.zeros((m, n), dtype=np.float32)
    for i in range(m):
        for j in range(n):
            Y[i, j] = sum(float(values[p]) * float(X[indices[p], j]) for p in range(indptr[i], indptr[i + 1]))
    return Y


def right_zip(values, indices, indptr, X):
    """Pairs of bounds, rows as lists."""
    rows = []
    for start, end in zip(indptr[:-1], indptr[1:]):
        row = [0.0] * X.shape[1]
        for value, column in zip(values[start:end], indices[start:end]):
            for j, x in enumerate(X[column]):
                row[j] += value * x
        rows.append(row)
    return np.array(rows, np.float32).reshape(len(indptr) - 1, X.shape[1])
