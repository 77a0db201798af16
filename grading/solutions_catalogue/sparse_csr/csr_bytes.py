import numpy as np


def wrong_values_only(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: what papers call the size: the weights that are left."""
    return 4 * nonzeros


def wrong_without_indptr(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: forgets where the rows start."""
    return 8 * nonzeros


def wrong_one_per_row(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: indptr has one number more than there are rows."""
    return 8 * nonzeros + 4 * shape[0]


def wrong_int64(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: counts torch's int64 indices."""
    return 12 * nonzeros + 8 * (shape[0] + 1)


def wrong_columns(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: an indptr over columns."""
    return 8 * nonzeros + 4 * (shape[1] + 1)


def wrong_coordinates(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: row and column of each number, which is another format."""
    return 12 * nonzeros


def wrong_numbers_for_bytes(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: counts numbers."""
    return 2 * nonzeros + shape[0] + 1


def wrong_float(shape, nonzeros):
    """Fails test_csr_bytes_counts_three_arrays: bits divided by 8 are no whole number of bytes any more."""
    return nonzeros * (32 + 32) / 8 + (shape[0] + 1) * 32 / 8


def right_sum(shape, nonzeros):
    """Array by array."""
    rows, _ = shape
    return sum(4 * length for length in (nonzeros, nonzeros, rows + 1))


def right_arrays(shape, nonzeros):
    """Asks NumPy."""
    arrays = np.empty(nonzeros, np.float32), np.empty(nonzeros, np.int32), np.empty(shape[0] + 1, np.int32)
    return sum(array.nbytes for array in arrays)
