import numpy as np
import scipy.sparse
import torch


def wrong_indptr_without_the_zero(dense):
    """Fails test_compress_of_a_case_by_hand: indptr holds where each row ends, not where the first one starts."""
    values, indices, indptr = right_numpy_counts(dense)
    return values, indices, indptr[1:]


def wrong_indptr_without_the_end(dense):
    """Fails test_compress_of_a_case_by_hand: the last row's end is left out, and the last row with it."""
    values, indices, indptr = right_numpy_counts(dense)
    return values, indices, indptr[:-1]


def wrong_counts_from_one(dense):
    """Fails test_compress_of_a_case_by_hand: columns numbered from 1."""
    values, indices, indptr = right_numpy_counts(dense)
    return values, indices + np.int32(1), indptr


def wrong_column_by_column(dense):
    """Fails test_compress_of_a_case_by_hand: goes down the columns; the numbers of a row are not beside each other."""
    values, indices, _ = right_numpy_counts(dense.T)
    return values, indices, right_numpy_counts(dense)[2]


def wrong_empty_rows_skipped(dense):
    """Fails test_compress_of_a_case_by_hand: a row without nonzeros gets no place in indptr."""
    matrix = dense.detach().cpu().numpy()
    rows, columns = matrix.nonzero()
    _, counts = np.unique(rows, return_counts=True)
    return matrix[rows, columns], columns.astype(np.int32), np.r_[0, counts.cumsum()].astype(np.int32)


def wrong_int64(dense):
    """Fails test_compress_of_a_case_by_hand: NumPy's own integers, twice as many bytes as promised."""
    values, indices, indptr = right_numpy_counts(dense)
    return values, indices.astype(np.int64), indptr.astype(np.int64)


def wrong_tensors(dense):
    """Fails test_compress_of_a_case_by_hand: gives torch tensors."""
    return tuple(torch.from_numpy(array) for array in right_numpy_counts(dense))


def wrong_positive_numbers_only(dense):
    """Fails test_compress_of_empty_rows_and_special_numbers: keeps what is greater than zero."""
    return right_numpy_counts(torch.where(dense > 0, dense, 0))


def wrong_drops_small_numbers(dense):
    """Fails test_compress_of_empty_rows_and_special_numbers: takes what is nearly zero for zero."""
    return right_numpy_counts(torch.where(dense.abs() > 1e-8, dense, 0))


def wrong_last_row_dropped_when_empty(dense):
    """Fails test_compress_of_empty_rows_and_special_numbers: as many rows as the last nonzero needs."""
    matrix = dense.detach().cpu().numpy()
    rows, columns = matrix.nonzero()
    indptr = np.r_[0, np.bincount(rows).cumsum()].astype(np.int32)
    return matrix[rows, columns], columns.astype(np.int32), indptr


def wrong_forgets_detach(dense):
    """Fails test_compress_of_any_layout: a weight that is trained cannot become NumPy's just so."""
    return right_numpy_counts(torch.from_numpy(dense.numpy()))


def wrong_flat_positions(dense):
    """Fails test_compress_of_a_case_by_hand: indices hold the place in the flat matrix, not the column."""
    values, _, indptr = right_numpy_counts(dense)
    return values, dense.detach().flatten().nonzero().flatten().int().numpy(), indptr


def wrong_memory_order(dense):
    """Fails test_compress_of_any_layout: reads the memory of a transposed tensor as if its rows lay in it."""
    storage = dense.detach().untyped_storage()
    flat = torch.empty(0).set_(storage)[: dense.numel()]
    return right_numpy_counts(flat.reshape(dense.shape))


def right_numpy_counts(dense):
    """bincount over the rows of np.nonzero."""
    matrix = dense.detach().cpu().numpy()
    rows, columns = np.nonzero(matrix)
    indptr = np.r_[0, np.bincount(rows, minlength=len(matrix)).cumsum()].astype(np.int32)
    return matrix[rows, columns], columns.astype(np.int32), indptr


def right_loops(dense):
    """Two loops and lists."""
    values, indices, indptr = [], [], [0]
    for row in dense.detach().tolist():
        for column, value in enumerate(row):
            if value != 0:
                values.append(value)
                indices.append(column)
        indptr.append(len(values))
    return np.array(values, np.float32), np.array(indices, np.int32), np.array(indptr, np.int32)


def right_torch(dense):
    """torch's own nonzero and searchsorted."""
    rows, columns = dense.detach().nonzero(as_tuple=True)
    indptr = torch.searchsorted(rows, torch.arange(len(dense) + 1))
    return dense.detach()[rows, columns].numpy(), columns.int().numpy(), indptr.int().numpy()


def right_scipy(dense):
    """scipy's own."""
    matrix = scipy.sparse.csr_array(dense.detach().numpy())
    return matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
