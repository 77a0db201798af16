"""One tensor to bytes and back without loss: every way to write its positions and its values is tried, the smallest taken.

A tensor is a matrix (outputs, all the rest). Positions say where it is not zero, among the rows and columns that are not
all zero, row by row or column by column; values say what is there. Sources: Han et al. 2016, https://arxiv.org/abs/1510.00149
(relative index, codebook, Huffman); CSR is the common format of sparse matrices.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from . import arithmetic, coding

DTYPES = (
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
NUMBERS = tuple(np.dtype(name) for name in ("i1", "u1", "<f2", "<i2", "<f4", "<i4", "<f8", "<i8"))  # in a file, by size
DIFFERENCES = 128
PRESENT, ALIVE, TURNED = 1, 2, 4  # there are positions; all-zero rows and columns are named first; column by column
POSITIONS = ("bitmap", "rows", "relative", "Huffman", "arithmetic")
VALUES = ("plain", "fixed bits", "Huffman", "arithmetic")
MAX_CODEBOOK = 1024


class CorruptFile(ValueError):
    """The file is not one that save wrote, or it was damaged; the message says what is wrong."""


class Encoded(NamedTuple):
    """A tensor's bytes; how positions and values are written, and how many of the bytes are for each."""

    data: bytes
    positions: str
    position_bytes: int
    values: str
    value_bytes: int


class Cursor:
    """Bytes `place` to `end` of data, read from the front. Asking for more than there is raises CorruptFile."""

    def __init__(self, data: bytes, place: int = 0, end: int | None = None):
        self.data, self.place, self.end = data, place, len(data) if end is None else end

    @property
    def left(self) -> int:
        return self.end - self.place

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise CorruptFile(f"it ends too soon: {count} bytes should follow, {self.left} do")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self) -> int:
        """An integer as `number` wrote it, below 2**63."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise CorruptFile("a number in it has more than 63 bits")


def number(value: int) -> bytes:
    """A non-negative integer, 7 bits a byte, the lowest first; the last byte is below 128."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


def encode(tensor: torch.Tensor) -> Encoded:
    """The smallest bytes for `tensor`, whose dtype is one of DTYPES and which is not quantized or sparse to PyTorch.

    Every bit is kept, except that -0.0 becomes 0.0. The bytes do not say dtype and shape: decode is told.
    """
    array = _array(tensor)
    if not len(array):
        return Encoded(b"", "none", 0, "none", 0)
    matrix = array.reshape(len(tensor) if tensor.ndim > 1 else 1, -1)
    widths = _widths(tensor.shape, matrix.shape[1])
    data, kind = _encode_values(array, np.ones_like(matrix, dtype=bool), widths)
    options = [Encoded(b"\0" + data, "none", 1, kind, len(data))]
    if not array.all():
        rows, columns = matrix.any(1), matrix.any(0)
        layouts = {PRESENT: matrix}
        if not (rows.all() and columns.all()):
            layouts[PRESENT | ALIVE] = matrix[rows][:, columns]
        for layout, values in [*layouts.items(), *((layout | TURNED, values.T) for layout, values in layouts.items())]:
            head = _encode_mask(rows[None])[0] + _encode_mask(columns[None], widths)[0] if layout & ALIVE else b""
            positions, position_kind = _encode_mask(values != 0, widths if layout == PRESENT else (1,))
            data, kind = _encode_values(values[values != 0], values != 0, widths if layout == PRESENT else (1,))
            start = bytes([layout]) + head + positions
            options.append(Encoded(start + data, _layout_name(position_kind, layout), len(start), kind, len(data)))
    return min(options, key=lambda option: len(option.data))


def decode(data: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> tuple[torch.Tensor, Encoded]:
    """The tensor that encode made bytes of, and what encode said of them.

    The caller has checked that a tensor of this dtype and shape may be allocated. Raises
    CorruptFile for bytes that encode never writes.
    """
    array, cursor = np.zeros(math.prod(shape), dtype=_native(dtype)), Cursor(data)
    names, start = ("none", "none"), 0
    if len(array):
        layout = cursor.take(1)[0]
        _check(layout in (0, 1, 3, 5, 7), f"no layout of a tensor has the number {layout}")
        if layout == 0:
            start = cursor.place
            whole = np.ones((shape[0] if len(shape) > 1 else 1, len(array) // (shape[0] if len(shape) > 1 else 1)), dtype=bool)
            array[:], name = _decode_values(cursor, whole, array.dtype)
            names = "none", name
        else:
            matrix = array.reshape(shape[0] if len(shape) > 1 else 1, -1)
            alive = [np.ones(size, dtype=bool) for size in matrix.shape]
            if layout & ALIVE:
                alive = [_decode_mask(cursor, (1, size))[0][0] for size in matrix.shape]
            values = np.zeros([np.count_nonzero(there) for there in alive], dtype=array.dtype)
            scanned = values.T if layout & TURNED else values
            mask, position_name = _decode_mask(cursor, scanned.shape)
            start = cursor.place
            scanned[mask], name = _decode_values(cursor, mask, array.dtype)
            matrix[np.ix_(*alive)] = values
            names = _layout_name(position_name, layout), name
    _check(cursor.left == 0, f"{cursor.left} bytes too many follow a tensor")
    flat = torch.from_numpy(array)
    tensor = (flat.view(dtype) if dtype in (torch.bfloat16, torch.bool) else flat).view(shape)
    return tensor, Encoded(data, names[0], start, names[1], len(data) - start)


def _layout_name(name, layout):
    return name + (", alive" if layout & ALIVE else "") + (", by column" if layout & TURNED else "")


def _native(dtype):
    """The NumPy dtype of the same bits."""
    names = {torch.bfloat16: "int16", torch.bool: "uint8"}
    return np.dtype(names.get(dtype, str(dtype).removeprefix("torch.")))


def _array(tensor):
    """A flat NumPy copy whose zeros are all +0."""
    flat = tensor.detach().cpu().contiguous().flatten()
    flat = flat.masked_fill(flat == 0, 0)
    bits = {torch.bfloat16: torch.int16, torch.bool: torch.uint8}.get(tensor.dtype)
    return (flat.view(bits) if bits else flat).numpy()


def _check(sound, message):
    if not sound:
        raise CorruptFile(message)


def _pack(numbers, bits):
    """Integers of a fixed number of bits, at most 32, one after the other."""
    digits = np.unpackbits(np.asarray(numbers).astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    return np.packbits(digits[:, 32 - bits :]).tobytes()


def _unpack(cursor, count, bits):
    _check(bits <= 32 and count * bits <= 8 * cursor.left, f"{count} numbers of {bits} bits do not fit")
    digits = np.unpackbits(np.frombuffer(cursor.take((count * bits + 7) // 8), dtype=np.uint8), count=count * bits)
    return digits.reshape(count, bits) @ (1 << np.arange(bits, dtype=np.int64)[::-1])


def _encode_symbols(symbols):
    """Huffman: how many symbols are in the table, bits of a length, the lengths, the code words."""
    coded = coding.huffman_encode(symbols)
    bits = max(coded.lengths).bit_length()
    return number(len(coded.lengths)) + bytes([bits]) + _pack(coded.lengths, bits) + number(len(coded.data)) + coded.data


def _decode_symbols(cursor, count):
    lengths = _unpack(cursor, cursor.number(), cursor.take(1)[0]).tolist()
    data = cursor.take(cursor.number())
    try:
        return coding.huffman_decode(coding.Huffman(lengths, data, count))
    except ValueError as error:
        raise CorruptFile(f"a Huffman code in it is wrong: {error}") from error


def _widths(shape, columns):
    """How many columns may be one line of an image: a kernel's row or all of it, or a row of a square image."""
    side = math.isqrt(columns)
    return sorted({1, side if side * side == columns else 1, *(math.prod(shape[k:]) for k in range(2, len(shape)))})


def _encode_arithmetic(symbols, mask, bits, widths):
    """The width of a line and the code, for the best of the widths; None where it is not worth it."""
    codes = [(number(width), arithmetic.encode(symbols, mask, bits, width)) for width in widths]
    return min((head + code for head, code in codes if code is not None), key=len, default=None)


def _decode_arithmetic(cursor, mask, bits):
    width = cursor.number()
    try:
        return arithmetic.decode(cursor.take(cursor.left), mask, bits, width)
    except ValueError as error:
        raise CorruptFile(str(error)) from error


def _encode_mask(mask, widths=(1,)):
    """(bytes, name) of the smallest way to say where a matrix is True."""
    counts, columns = mask.sum(1), mask.nonzero()[1]
    wide, long = (int(top).bit_length() for top in (mask.shape[1] - 1, counts.max(initial=0)))
    options = [np.packbits(mask).tobytes(), bytes([long]) + _pack(counts, long) + _pack(columns, wide)]
    relative = {bits: coding.relative_index(torch.from_numpy(mask), bits).numpy() for bits in range(1, 9)}
    relative = {bits: (bytes([bits]) + number(len(codes)), codes) for bits, codes in relative.items() if len(codes)}
    options.append(min((head + _pack(codes, bits) for bits, (head, codes) in relative.items()), key=len, default=None))
    options.append(min((head + _encode_symbols(codes) for head, codes in relative.values()), key=len, default=None))
    options.append(_encode_arithmetic(mask.ravel(), np.ones_like(mask), 1, widths))
    kind = min((kind for kind, option in enumerate(options) if option is not None), key=lambda kind: len(options[kind]))
    return bytes([kind]) + number(len(options[kind])) + options[kind], POSITIONS[kind]


def _decode_mask(cursor, shape):
    kind, cursor = cursor.take(1)[0], Cursor(cursor.take(cursor.number()))
    size = shape[0] * shape[1]
    _check(kind < len(POSITIONS), f"no way to write positions has the number {kind}")
    flat = np.zeros(size, dtype=bool)
    if kind == 0:
        flat[:] = _unpack(cursor, size, 1)
    elif kind == 1:
        counts = _unpack(cursor, shape[0], cursor.take(1)[0])
        _check(counts.max(initial=0) <= shape[1], "a row in it has more entries than columns")
        columns = _unpack(cursor, int(counts.sum()), (shape[1] - 1).bit_length() if shape[1] else 0)
        _check(columns.max(initial=0) < max(1, shape[1]), "a position in it is outside its tensor")
        flat[np.repeat(np.arange(shape[0]), counts) * shape[1] + columns] = True
    elif kind == 4:
        flat[:] = _decode_arithmetic(cursor, np.ones(shape, dtype=bool), 1)
    else:
        bits, count = cursor.take(1)[0], cursor.number()
        _check(1 <= bits <= 8, f"relative indices have 1 to 8 bits, not {bits}")
        codes = _unpack(cursor, count, bits) if kind == 2 else _decode_symbols(cursor, count)
        _check(codes.max(initial=0) < 2**bits, "a relative index in it is too large")
        positions = coding.absolute_index(torch.from_numpy(codes), bits).numpy()
        _check(positions.max(initial=-1) < size, "a position in it is outside its tensor")
        flat[positions] = True
    _check(cursor.left == 0, f"{cursor.left} bytes too many follow some positions")
    return flat.reshape(shape), POSITIONS[kind]


def _narrow(array):
    """The same numbers in the smallest dtype of NUMBERS that holds them exactly, as (its index, bytes)."""
    bits = array.view(f"u{array.itemsize}")
    for dtype in NUMBERS:
        with np.errstate(all="ignore"):
            small = array.astype(dtype)
            if dtype.itemsize >= array.itemsize or np.array_equal(small.astype(array.dtype).view(bits.dtype), bits):
                break
    dtype = min(array.dtype.newbyteorder("<"), dtype, key=lambda dtype: dtype.itemsize)
    return NUMBERS.index(dtype), array.astype(dtype).tobytes()


def _widen(cursor, index, count, dtype):
    _check(index < len(NUMBERS) and NUMBERS[index].itemsize <= dtype.itemsize, f"no numbers of {dtype} are of kind {index}")
    with np.errstate(all="ignore"):
        return np.frombuffer(cursor.take(count * NUMBERS[index].itemsize), dtype=NUMBERS[index]).astype(dtype)


def _encode_values(array, mask, widths, rising=True):
    """(bytes, name) of the smallest way to write the numbers (n,) that stand at the n places of mask.

    Integers are also tried as differences: the indices of a CSR matrix rise.
    """
    index, data = _narrow(array)
    options = [(bytes([index << 2]) + data, str(NUMBERS[index]))]
    distinct, symbols = np.unique(array.view(f"u{array.itemsize}"), return_inverse=True)
    if 0 < len(distinct) <= MAX_CODEBOOK:
        order = distinct.view(array.dtype).argsort(kind="stable")
        index, data = _narrow(distinct.view(array.dtype)[order])
        symbols, bits = order.argsort()[symbols], (len(distinct) - 1).bit_length()
        streams = _pack(symbols, bits), _encode_symbols(symbols), _encode_arithmetic(symbols, mask, bits, widths)
        for kind, stream in enumerate(streams, 1):
            if stream is not None:
                name = f"{len(distinct)} x {NUMBERS[index]}, {VALUES[kind]}"
                options.append((bytes([index << 2 | kind]) + number(len(distinct)) + data + stream, name))
    if rising and array.dtype.kind == "i" and array.itemsize > 1:
        data, name = _encode_values(np.diff(array, prepend=array.dtype.type(0)), mask, (1,), rising=False)
        options.append((bytes([data[0] | DIFFERENCES]) + data[1:], f"{name}, differences"))
    return min(options, key=lambda option: len(option[0]))


def _decode_values(cursor, mask, dtype):
    """(the numbers at the places of mask, name)."""
    code, count = cursor.take(1)[0], np.count_nonzero(mask)
    index, kind = divmod(code & ~DIFFERENCES, 4)
    if kind == 0:
        numbers, name = _widen(cursor, index, count, dtype), str(NUMBERS[index])
    else:
        size = cursor.number()
        _check(size <= MAX_CODEBOOK, f"a codebook in it has {size} entries, above {MAX_CODEBOOK}")
        codebook, bits = _widen(cursor, index, size, dtype), (size - 1).bit_length()
        if kind == 1:
            symbols = _unpack(cursor, count, bits)
        else:
            symbols = _decode_symbols(cursor, count) if kind == 2 else _decode_arithmetic(cursor, mask, bits)
        _check(symbols.max(initial=0) < max(1, size), "an index in it is outside its codebook")
        numbers, name = codebook[symbols], f"{size} x {NUMBERS[index]}, {VALUES[kind]}"
    if code & DIFFERENCES:
        numbers, name = numbers.cumsum(dtype=dtype), f"{name}, differences"
    return numbers, name
