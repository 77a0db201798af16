import numpy as np
import scipy.sparse
import torch


def wrong_float64(values, indices, indptr, shape):
    """Fails test_expand_of_a_case_by_hand: NumPy's zeros are float64 unless told."""
    dense = np.zeros(shape)
    for i in range(shape[0]):
        dense[i, indices[indptr[i] : indptr[i + 1]]] = values[indptr[i] : indptr[i + 1]]
    return torch.from_numpy(dense)


def wrong_array(values, indices, indptr, shape):
    """Fails test_expand_of_a_case_by_hand: gives an array, not a tensor."""
    return right_rows(values, indices, indptr, shape).numpy()


def wrong_transposed(values, indices, indptr, shape):
    """Fails test_expand_of_a_case_by_hand: rows and columns the wrong way round."""
    dense = torch.zeros(shape)
    for i in range(shape[0]):
        for p in range(indptr[i], indptr[i + 1]):
            dense[indices[p], i] = float(values[p])
    return dense


def wrong_last_of_each_row_dropped(values, indices, indptr, shape):
    """Fails test_expand_of_a_case_by_hand: takes the end of a row off once more."""
    dense = torch.zeros(shape)
    for i in range(shape[0]):
        for p in range(indptr[i], indptr[i + 1] - 1):
            dense[i, indices[p]] = float(values[p])
    return dense


def wrong_last_row_dropped(values, indices, indptr, shape):
    """Fails test_expand_of_a_case_by_hand: one row too few."""
    dense = torch.zeros(shape)
    for i in range(len(indptr) - 2):
        for p in range(indptr[i], indptr[i + 1]):
            dense[i, indices[p]] = float(values[p])
    return dense


def wrong_shape_from_the_indices(values, indices, indptr, shape):
    """Fails test_expand_keeps_rows_and_columns_without_numbers: as wide as the largest index needs."""
    width = int(indices.max(initial=-1)) + 1
    return right_rows(values, indices, indptr, (len(indptr) - 1, width))


def wrong_rows_with_numbers_only(values, indices, indptr, shape):
    """Fails test_expand_of_a_case_by_hand: numbers the rows that have nonzeros, as if none were empty."""
    starts = np.unique(indptr)
    dense = torch.zeros(shape)
    for i in range(len(starts) - 1):
        for p in range(starts[i], starts[i + 1]):
            dense[i, indices[p]] = float(values[p])
    return dense


def right_rows(values, indices, indptr, shape):
    """Row by row."""
    dense = torch.zeros(shape)
    for i in range(shape[0]):
        row = slice(indptr[i], indptr[i + 1])
        dense[i, torch.from_numpy(indices[row].astype(np.int64))] = torch.tensor(values[row])
    return dense


def right_searchsorted(values, indices, indptr, shape):
    """All at once; the row of a position is the last that starts at or before it."""
    rows = np.searchsorted(indptr, np.arange(len(values)), side="right") - 1
    dense = np.zeros(shape, dtype=np.float32)
    dense[rows, indices] = values
    return torch.tensor(dense)


def right_scipy(values, indices, indptr, shape):
    """scipy's own."""
    return torch.from_numpy(scipy.sparse.csr_array((values, indices, indptr), shape=shape).toarray())
