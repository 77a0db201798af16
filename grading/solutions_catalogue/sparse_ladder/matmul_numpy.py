import numpy as np


def wrong_sum_of_all_rows(values, indices, indptr, X):
    """Fails test_numpy_of_a_case_by_hand: adds the gathered rows up and forgets the weights."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        Y[i] = X[indices[indptr[i] : indptr[i + 1]]].sum(0)
    return Y


def wrong_gathers_columns(values, indices, indptr, X):
    """Fails test_numpy_of_a_case_by_hand: gathers columns of X in place of rows."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        row = slice(indptr[i], indptr[i + 1])
        Y[i, : len(X)] = (X[:, indices[row]] * values[row]).sum(1)
    return Y


def wrong_float64(values, indices, indptr, X):
    """Fails test_numpy_of_a_case_by_hand: np.zeros is float64."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]))
    for i in range(len(Y)):
        row = slice(indptr[i], indptr[i + 1])
        Y[i] = values[row] @ X[indices[row]]
    return Y


def wrong_empty_rows(values, indices, indptr, X):
    """Fails test_numpy_of_a_case_by_hand: reduceat gives an empty row the first product of the next one."""
    products = np.vstack([values[:, None] * X[indices], np.zeros((1, X.shape[1]), np.float32)])
    return np.add.reduceat(products, indptr[:-1], axis=0).astype(np.float32)


def wrong_list_of_rows(values, indices, indptr, X):
    """Fails test_numpy_of_a_case_by_hand: skips empty rows, so that the rows below move up."""
    rows = []
    for start, end in zip(indptr, indptr[1:]):
        if end > start:
            rows.append(values[start:end] @ X[indices[start:end]])
    return np.array(rows, np.float32).reshape(-1, X.shape[1])


def wrong_uninitialised(values, indices, indptr, X):
    """Fails test_numpy_of_a_case_by_hand: writes only the rows that have nonzeros, into memory that holds anything."""
    Y = np.empty((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        if indptr[i + 1] > indptr[i]:
            row = slice(indptr[i], indptr[i + 1])
            Y[i] = values[row] @ X[indices[row]]
    return Y


def wrong_two_loops(values, indices, indptr, X):
    """Fails test_numpy_has_one_loop_only: right, and a second loop over the nonzeros that NumPy should do."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        for p in range(indptr[i], indptr[i + 1]):
            Y[i] += values[p] * X[indices[p]]
    return Y


def wrong_matrix_first(values, indices, indptr, X):
    """Fails test_numpy_of_a_case_by_hand: X on the left; the shapes do not fit."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i in range(len(Y)):
        row = slice(indptr[i], indptr[i + 1])
        Y[i] = X[indices[row]] @ values[row]
    return Y


def right_list(values, indices, indptr, X):
    """A product a row, stacked."""
    cuts = zip(indptr[:-1], indptr[1:])
    rows = [np.dot(values[start:end], X[indices[start:end]]) for start, end in cuts]
    return np.array(rows, np.float32).reshape(len(indptr) - 1, X.shape[1])


def right_weighted_rows(values, indices, indptr, X):
    """Each gathered row times its weight, summed up."""
    Y = np.zeros((len(indptr) - 1, X.shape[1]), np.float32)
    for i, row in enumerate(Y):
        start, end = indptr[i : i + 2]
        np.sum(X[indices[start:end]] * values[start:end, np.newaxis], axis=0, out=row)
    return Y


def right_split(values, indices, indptr, X):
    """np.split cuts both arrays at the inner bounds."""
    parts = zip(np.split(values, indptr[1:-1]), np.split(indices, indptr[1:-1]))
    return np.stack([weights @ X[columns] for weights, columns in parts]).astype(np.float32)
