"""Arithmetic coding of zeros and symbols: what is likely costs less than a bit, and what is likely is learned on the way.

Each bit is predicted by several contexts (how dense its row is, its column, what the neighbours are), each an adaptive
probability; a small online logistic regression mixes them, and a range coder spends -log2(probability) bits on the outcome.
The decoder makes the same predictions, so nothing but the bits is stored. All in integers: the same on every machine.
Sources: Rissanen & Langdon 1979, https://doi.org/10.1147/rd.232.0149 (arithmetic coding); Mahoney 2005, Adaptive weighing of
context models, https://cs.fit.edu/~mmahoney/compression/ (mixing).
"""

import numpy as np

from . import jit

MAX_CELLS = 1 << 22  # a matrix above takes too long, some seconds
_KNOTS = (1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047)
_KNOTS = np.array((*_KNOTS, *(4095 - knot for knot in _KNOTS[-2::-1])), dtype=np.int64)  # 4096 / (1 + exp(-x)), x = -8..8


@jit.cached()
def _squash(x):
    """4096 / (1 + exp(-x / 256)) for x from -2047 to 2047, by straight lines between 33 knots."""
    x = min(2047, max(-2047, x)) + 2048
    part = x & 127
    return (_KNOTS[x >> 7] * (128 - part) + _KNOTS[(x >> 7) + 1] * part + 64) >> 7


_STRETCH = np.searchsorted(np.array([_squash(x) for x in range(-2047, 2048)]), np.arange(4096)).clip(0, 4094) - 2047


def encode(symbols: np.ndarray, mask: np.ndarray, bits: int, width: int) -> bytes | None:
    """Code symbols (n,), 0 to 2**bits - 1, which stand at the n places of `mask` (rows, columns), bool, row by row.

    `width`: how many columns are one line, where the columns are pixels of an image. None where it would not be smaller
    than `bits` bits a symbol, or takes too long.
    """
    if mask.size > MAX_CELLS:
        return None
    data = np.zeros(len(symbols) * bits // 8, dtype=np.uint8)
    size = _run(symbols.astype(np.int64), mask, bits, width, data, True)
    return data[:size].tobytes() if size <= len(data) else None


def decode(data: bytes, mask: np.ndarray, bits: int, width: int) -> np.ndarray:
    """The symbols, int64 (n,), that encode coded. Raises ValueError for a length or a matrix that encode never makes."""
    symbols = np.zeros(np.count_nonzero(mask), dtype=np.int64)
    if mask.size > MAX_CELLS or not 1 <= width <= max(1, mask.shape[1]):
        raise ValueError(f"no arithmetic code is of {mask.size} places with lines of {width}")
    if _run(symbols, mask, bits, width, np.array(bytearray(data), dtype=np.uint8), False) != len(data):
        raise ValueError(f"an arithmetic code of {len(symbols)} symbols does not have {len(data)} bytes")
    return symbols


@jit.cached()
def _code(bit, slots, chances, counts, weights, coder, data, encode):
    """Code one bit (any value where encode is False) and learn from it. Returns the bit.

    slots (n,): where each context keeps its chance of a 1, of 65536, and how often it was asked; a new one starts from what
    slots[0], the context without detail, knows. weights (n, 16): by context and experience. coder: low and high end of the
    interval, the number that is read, the place in data.
    """
    dot = 0
    for k, slot in enumerate(slots):
        if counts[slot] == 0:
            chances[slot], counts[slot] = chances[slots[0]], 1 if k == 0 else 2
        dot += weights[k, min(15, counts[slot])] * _STRETCH[chances[slot] >> 4]
    chance = min(4095, max(1, _squash(dot >> 16)))
    size = coder[1] - coder[0]
    middle = coder[0] + (size >> 12) * chance + ((size & 4095) * chance >> 12)
    if not encode:
        bit = 1 if coder[2] <= middle else 0
    coder[bit] = middle + 1 - bit  # a 1 takes the lower part
    while (coder[0] ^ coder[1]) >> 24 == 0:  # the first byte is settled
        there = coder[3] < len(data)
        if encode and there:
            data[coder[3]] = coder[0] >> 24
        if not encode:
            coder[2] = (coder[2] << 8 & 0xFFFFFFFF) | (data[coder[3]] if there else 0)
        coder[0], coder[1], coder[3] = coder[0] << 8 & 0xFFFFFFFF, (coder[1] << 8 & 0xFFFFFFFF) | 255, coder[3] + 1
    error = ((bit << 12) - chance) * 6
    for k, slot in enumerate(slots):
        weights[k, min(15, counts[slot])] += (_STRETCH[chances[slot] >> 4] * error + 0x8000) >> 16
        chances[slot] += ((bit << 16) - bit - chances[slot]) * 2 // (2 * counts[slot] + 3)
        counts[slot] = min(counts[slot] + 1, 400)
    return bit


@jit.cached()
def _run(symbols, mask, bits, width, data, encode):
    """Code the symbols (n,) of `bits` bits that stand at the n places of mask, row by row. Returns the bytes it takes.

    Contexts know the bits of the symbol so far and: nothing; the row; the column; the first bits (3: no symbol there) of the
    neighbours to the left and above, where `width` columns are one line of an image; of the symbols before it in its row
    and column; the share of ones so far in the columns around and in the row.
    """
    rows, columns = mask.shape
    size = 1
    while size < min(1 << 19, max(rows, columns, 1024) << bits):
        size *= 2
    chances, counts = np.full(6 * size, 1 << 15, dtype=np.int32), np.zeros(6 * size, dtype=np.int16)
    weights, slots = np.full((6, 16), 20000, dtype=np.int64), np.zeros(6, dtype=np.int64)
    coder = np.array([0, 0xFFFFFFFF, 0, 0], dtype=np.int64)
    if not encode:
        for coder[3] in range(4):
            coder[2] = coder[2] << 8 | (data[coder[3]] if coder[3] < len(data) else 0)
        coder[3] = 4
    first = np.full((2 * width + 2 + columns,), 2, dtype=np.int64)  # of this row, after a margin
    above, ones, seen = np.full(columns, 2), np.zeros(columns + 1, dtype=np.int64), np.zeros(columns + 1, dtype=np.int64)
    place = 0
    for i in range(rows):
        before, second, row_ones, row_seen = 2, 2, 0, 0
        first[:] = 2
        for j in range(columns):
            at = j + 2 * width + 2
            if not mask[i, j]:
                continue
            near, total = 0, 0
            for step in (0, 1, 2, width - 1, width, width + 1, 2 * width):
                for k in (j - step, j + step):
                    if 0 <= k < columns:
                        near, total = near + ones[k], total + seen[k]
            pattern = 0
            for step in (1, 2, width - 1, width, width + 1, 2 * width):
                pattern = pattern * 3 + first[at - step]
            density = min(31, _level(near, total)) * 32 + min(31, _level(row_ones, row_seen))
            node = 1
            for turn in range(bits):
                slots[0] = node
                slots[1] = size + ((i << bits | node) & size - 1)
                slots[2] = 2 * size + ((j << bits | node) & size - 1)
                slots[3] = 3 * size + ((pattern << bits | node) & size - 1)
                slots[4] = 4 * size + (((before * 9 + second * 3 + above[j]) << bits | node) & size - 1)
                slots[5] = 5 * size + ((density << bits | node) & size - 1)
                bit = symbols[place] >> (bits - 1 - turn) & 1
                bit = _code(bit, slots, chances, counts, weights, coder, data, encode)
                node = node << 1 | bit
            symbols[place] = node - (1 << bits)
            bit = symbols[place] >> (bits - 1)
            place += 1
            first[at], above[j], second, before = bit, bit, before, bit
            ones[j], seen[j], row_ones, row_seen = ones[j] + bit, seen[j] + 1, row_ones + bit, row_seen + 1
    if not encode:
        return coder[3] - 3
    if coder[3] < len(data):
        data[coder[3]] = (coder[0] >> 24) + 1  # and then the zeros that the decoder reads after the end
    return coder[3] + 1


@jit.cached()
def _level(ones, total):
    """A share on a logarithmic scale, in half powers of two."""
    share, level = 256 * ones // max(1, total), 0
    while share > 3:
        share, level = share >> 1, level + 2
    return level + (share & 1 if level else share)
