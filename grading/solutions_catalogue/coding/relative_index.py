import torch


def _codes(mask, top, gap_codes):
    codes, before = [], -1
    for position in mask.flatten().nonzero().flatten().tolist():
        codes += gap_codes(position - before - 1, top)
        before = position
    return torch.tensor(codes, dtype=torch.int64)


def wrong_distance_in_place_of_gap(mask, bits):
    """Fails test_relative_index_by_hand: the difference of positions, one more than the zeros between."""
    return _codes(mask, 2**bits - 1, lambda gap, top: [top] * ((gap + 1) // top) + [(gap + 1) % top])


def wrong_first_gap_left_out(mask, bits):
    """Fails test_relative_index_by_hand: torch.diff without a start, the zeros before the first nonzero are lost."""
    codes = _codes(mask, 2**bits - 1, lambda gap, top: [top] * (gap // top) + [gap % top])
    return codes[1:]


def wrong_escape_only_above_top(mask, bits):
    """Fails test_relative_index_by_hand: a gap of exactly top zeros is written as the escape, with no code after it."""
    return _codes(mask, 2**bits - 1, lambda gap, top: [top] * ((gap - 1) // top) + [gap - (gap - 1) // top * top if gap else 0])


def wrong_clamped(mask, bits):
    """Fails test_relative_index_finds_every_nonzero_again: a gap that does not fit is cut to the largest that does."""
    return _codes(mask, 2**bits - 1, lambda gap, top: [min(gap, top - 1)])


def wrong_wraps_around(mask, bits):
    """Fails test_relative_index_finds_every_nonzero_again: modulo without the escapes, as uint8 arithmetic would."""
    return _codes(mask, 2**bits - 1, lambda gap, top: [gap % top])


def wrong_escape_jumps_a_power_of_two(mask, bits):
    """Fails test_relative_index_by_hand: the escape counts for 2**bits zeros, as if it were a place of its own."""
    return _codes(mask, 2**bits - 1, lambda gap, top: [top] * (gap // (top + 1)) + [gap % (top + 1)])


def wrong_trailing_zeros_too(mask, bits):
    """Fails test_relative_index_by_hand: goes on to the end of the tensor."""
    codes = right_positions(mask, bits)
    last = int(mask.flatten().nonzero().max()) if mask.any() else -1
    escapes = (mask.numel() - 1 - last) // (2**bits - 1)
    return torch.cat((codes, codes.new_full((escapes,), 2**bits - 1)))


def wrong_column_by_column(mask, bits):
    """Fails test_relative_index_finds_every_nonzero_again: counts down the columns."""
    return right_positions(mask.T if mask.ndim > 1 else mask, bits)


def right_positions(mask, bits):
    return _codes(mask, 2**bits - 1, lambda gap, top: [top] * (gap // top) + [gap % top])


def right_walks_through_the_mask(mask, bits):
    codes, zeros = [], 0
    for kept in mask.flatten().tolist():
        if kept:
            codes.append(zeros)
            zeros = 0
        elif zeros == 2**bits - 2:
            codes.append(zeros + 1)
            zeros = 0
        else:
            zeros += 1
    while codes and codes[-1] == 2**bits - 1:
        codes.pop()
    return torch.tensor(codes, dtype=torch.int64)


def _codes_with(mask, bits):
    top, gap, codes = 2**bits - 1, 0, []
    for kept in mask.reshape(-1).tolist():
        if not kept:
            gap += 1
            continue
        codes += [top] * (gap // top) + [gap % top]
        gap = 0
    return torch.tensor(codes, dtype=torch.int64)


def wrong_view(mask, bits):
    """Fails test_relative_index_by_hand: view(-1) stops at a mask that is not contiguous."""
    return _codes_with(mask.view(-1), bits)


def wrong_memory_order(mask, bits):
    """Fails test_relative_index_by_hand: goes through the memory, which for a transposed mask is not row by row."""
    flat = torch.as_strided(mask, (mask.numel(),), (1,)) if mask.numel() else mask.reshape(-1)
    return _codes_with(flat, bits)


def wrong_bytes(mask, bits):
    """Fails test_relative_index_by_hand: uint8, as 8 bits are enough for most."""
    return _codes_with(mask, bits).to(torch.uint8)


def right_text(mask, bits):
    top = 2**bits - 1
    text = "".join("x" if kept else "." for kept in mask.flatten().tolist())
    runs = [len(run) for run in text.split("x")[:-1]]
    return torch.tensor([code for run in runs for code in [top] * (run // top) + [run % top]], dtype=torch.int64)
