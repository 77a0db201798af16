import numpy as np


def _places(columns, kernel):
    channels, places = np.divmod(columns, kernel[0] * kernel[1])
    return channels, places // kernel[1], places % kernel[1]


def wrong_im2col_columns(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: the columns themselves, as if the input had been unfolded."""
    return columns.astype(np.int32)


def wrong_row_of_the_kernel(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: the next row of the image is kw numbers on, not a whole row."""
    channels, rows, across = _places(columns, kernel)
    return (channels * plane + rows * kernel[1] + across).astype(np.int32)


def wrong_rows_and_columns(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: row and column of the kernel swapped, a mirrored kernel."""
    channels, rows, across = _places(columns, kernel)
    return (channels * plane + across * width + rows).astype(np.int32)


def wrong_kernel_height(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: divides by kh where kw is meant, which a square kernel does not show."""
    channels, places = np.divmod(columns, kernel[0] * kernel[1])
    return (channels * plane + places // kernel[0] * width + places % kernel[0]).astype(np.int32)


def wrong_centred(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: counts from the middle of the kernel, some offsets are negative."""
    channels, rows, across = _places(columns, kernel)
    return (channels * plane + (rows - kernel[0] // 2) * width + across - kernel[1] // 2).astype(np.int32)


def wrong_flipped(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: a convolution of mathematics, with the kernel turned round."""
    channels, rows, across = _places(columns, kernel)
    return (channels * plane + (kernel[0] - 1 - rows) * width + kernel[1] - 1 - across).astype(np.int32)


def wrong_channels_last(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: takes the channel for the fastest of the three."""
    channels = int(columns.max(initial=0)) // (kernel[0] * kernel[1]) + 1
    places, c = np.divmod(columns, channels)
    return (c * plane + places // kernel[1] * width + places % kernel[1]).astype(np.int32)


def wrong_int64(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: int64."""
    channels, rows, across = _places(columns, kernel)
    return channels.astype(np.int64) * plane + rows * width + across


def wrong_true_division(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: / in place of //, and the fractions are cut off at the very end."""
    places = columns % (kernel[0] * kernel[1])
    offsets = columns / (kernel[0] * kernel[1]) * plane + places / kernel[1] * width + columns % kernel[1]
    return offsets.astype(np.int32)


def wrong_in_place(columns, kernel, plane, width):
    """Fails test_conv_offsets_of_a_case_by_hand: takes the channels off the columns that it was given."""
    channels = columns // (kernel[0] * kernel[1])
    columns -= channels * kernel[0] * kernel[1]
    return (channels * plane + columns // kernel[1] * width + columns % kernel[1]).astype(np.int32)


def right_unravel(columns, kernel, plane, width):
    """np.unravel_index knows the order of three indices."""
    channels = int(columns.max(initial=0)) // (kernel[0] * kernel[1]) + 1
    c, y, x = np.unravel_index(columns, (channels, *kernel))
    return (c * plane + y * width + x).astype(np.int32)


def right_table(columns, kernel, plane, width):
    """The offsets of one channel's kernel, looked up."""
    size = kernel[0] * kernel[1]
    table = np.array([y * width + x for y in range(kernel[0]) for x in range(kernel[1])])
    return (columns // size * plane + table[columns % size]).astype(np.int32)


def right_loop(columns, kernel, plane, width):
    """One column at a time."""
    offsets = []
    for column in columns.tolist():
        c, place = divmod(column, kernel[0] * kernel[1])
        y, x = divmod(place, kernel[1])
        offsets.append(c * plane + y * width + x)
    return np.array(offsets, np.int32)
