"""The machine code of the sparse product: sums that stay in vector registers, panels of X that fit the first cache.

A Numba loop over 64 columns loads and stores each sum once per nonzero. Here the sums of a row stay in vector registers
from its first nonzero to its last: one load and one fused multiply-add (FMA) per vector, and nothing else. LLVM lowers
the vectors to what the processor has (AVX-512, AVX2, NEON). Source: the idea of the register block is that of Goto & van
de Geijn 2008, https://doi.org/10.1145/1356052.1356053; sparse: Gale et al. 2020, https://arxiv.org/abs/2006.10901.
"""

import contextlib
import functools
import os
import sys
import threading
import time

import numba
import numpy as np
import torch
from llvmlite import binding, ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from .. import jit

PANEL = 64  # columns of X that a row of W is multiplied by in one go: four AVX-512 registers
FEATURES = config.CPU_FEATURES if config.CPU_FEATURES is not None else binding.get_host_cpu_features().flatten()
ARM = binding.get_process_triple().startswith(("aarch64", "arm64"))
WIDTH = 16 if "+avx512f" in FEATURES else 4 if ARM else 8  # floats in a register
SUMS = 8 if WIDTH == 8 else 16  # registers for sums; AVX2 has 16 in all, AVX-512 and NEON 32
CHAINS = 4  # additions that must be under way at once: one takes four cycles, and one can begin in each

INT, WORD, FLOAT, BYTE = ir.IntType(64), ir.IntType(32), ir.FloatType(), ir.IntType(8)


def row_kernel(rows: int, columns: int):
    """A Numba intrinsic that multiplies block rows of a sparse matrix by `columns` columns of X.

    A block row is `rows` rows that share their columns: each vector of X that is loaded serves all of them. The intrinsic
    is called as kernel(values, index, starts, first, last, x, unit, source, source_pitch, target, target_pitch, ahead,
    ahead_pitch), all int64; the names without a number are addresses. For each block row r from `first` to `last`:

        target[r] = source[r] + sum of values[p] * X[index[p]], p from starts[r] to starts[r + 1]

    where X[i] is at x + i * unit bytes, and row r of source and target at r * rows * pitch; a source_pitch of 0 means that
    source holds one number a row (the bias). Each block row asks the cache for one line of what comes next: line r of
    rows of `columns` floats at `ahead`, ahead_pitch bytes apart.
    """
    width = min(WIDTH, columns)
    vectors = columns // width
    at_once = max(1, min(vectors, SUMS // rows))

    @intrinsic
    def kernel(typing, values, index, starts, first, last, x, unit, source, source_pitch, target, target_pitch, ahead, pitch):
        arguments = [values, index, starts, first, last, x, unit, source, source_pitch, target, target_pitch, ahead, pitch]

        def codegen(context, builder, signature, args):
            values, index, starts, first, last, x, unit, source, source_pitch, target, target_pitch, ahead, pitch = args
            emit = _Emit(builder, width)
            with cgutils.for_range_slice(builder, first, last, INT(1), INT) as (row, _):
                lines = max(1, columns * 4 // 64)
                line = emit.address(ahead, builder.udiv(row, INT(lines)), pitch)
                emit.prefetch(builder.add(line, builder.mul(builder.urem(row, INT(lines)), INT(64))))
                begin, end = (emit.word(starts, builder.add(row, INT(plus))) for plus in (0, 1))
                for part in range(0, vectors, at_once):
                    places = [(r, v) for r in range(rows) for v in range(part, min(part + at_once, vectors))]
                    block_row = builder.mul(row, INT(rows))

                    def vector_at(base, pitch, r, v, block_row=block_row):
                        start = emit.address(base, builder.add(block_row, INT(r)), pitch)
                        return builder.add(start, INT(v * width * 4))

                    is_bias = builder.icmp_signed("==", source_pitch, INT(0))
                    with builder.if_else(is_bias) as (then, otherwise):
                        with then:
                            biases = [emit.splat(emit.float(source, builder.add(block_row, INT(r)))) for r, _ in places]
                            from_bias = builder.block
                        with otherwise:
                            loaded = [emit.load(vector_at(source, source_pitch, r, v)) for r, v in places]
                            from_source = builder.block
                    sums = []
                    for bias, load in zip(biases, loaded, strict=True):
                        sums.append(builder.phi(emit.vector))
                        sums[-1].add_incoming(bias, from_bias)
                        sums[-1].add_incoming(load, from_source)
                    chains = 1 if len(places) >= CHAINS else CHAINS // len(places)
                    sums = emit.nonzeros(begin, end, values, index, x, unit, places, sums, rows, chains)
                    for (r, v), total in zip(places, sums, strict=True):
                        emit.store(total, vector_at(target, target_pitch, r, v))
            return context.get_dummy_value()

        return types.void(*arguments), codegen

    return kernel


def tile_kernel(size: int):
    """A Numba intrinsic that writes a size x size tile of floats transposed: (source, its pitch, target, its pitch), int64."""

    @intrinsic
    def transpose(typing, source, source_pitch, target, target_pitch):
        def codegen(context, builder, signature, args):
            source, source_pitch, target, target_pitch = args
            emit = _Emit(builder, size)
            rows = [emit.load(emit.address(source, INT(i), source_pitch)) for i in range(size)]
            step = size // 2
            while step:  # swap the off-diagonal quarters of all tiles of this size, then of those half as large
                for i in range(size):
                    if not i & step:
                        a, b = rows[i], rows[i + step]
                        low = [j if not j & step else size + j - step for j in range(size)]
                        high = [j + step if not j & step else size + j for j in range(size)]
                        rows[i], rows[i + step] = emit.shuffle(a, b, low), emit.shuffle(a, b, high)
                step //= 2
            for i, row in enumerate(rows):
                emit.store(row, emit.address(target, INT(i), target_pitch))
            return context.get_dummy_value()

        return types.void(source, source_pitch, target, target_pitch), codegen

    return transpose


@intrinsic
def copy(typing, source, target, count):
    """Copy `count` floats from one address to another, all int64; a loop over a strided array would not be vectorised."""

    def codegen(context, builder, signature, args):
        source, target, count = args
        places = [builder.inttoptr(place, BYTE.as_pointer()) for place in (target, source)]
        cgutils.raw_memcpy(builder, *places, count, 4)
        return context.get_dummy_value()

    return types.void(source, target, count), codegen


class _Emit:
    """Instructions on addresses that are int64 numbers."""

    def __init__(self, builder, width):
        self.builder, self.width, self.vector = builder, width, ir.VectorType(FLOAT, width)
        fma = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fma = cgutils.get_or_insert_function(builder.module, fma, f"llvm.fma.v{width}f32")

    def address(self, base, row, pitch):
        return self.builder.add(base, self.builder.mul(row, pitch))

    def _at(self, address, kind):
        return self.builder.inttoptr(address, kind.as_pointer())

    def word(self, base, i):
        """The int32 number i of an array, as int64."""
        return self.builder.sext(self.builder.load(self._at(self.address(base, i, INT(4)), WORD)), INT)

    def float(self, base, i):
        return self.builder.load(self._at(self.address(base, i, INT(4)), FLOAT))

    def splat(self, number):
        nothing = ir.Constant(self.vector, ir.Undefined)
        return self.shuffle(self.builder.insert_element(nothing, number, WORD(0)), nothing, [0] * self.width)

    def shuffle(self, a, b, order):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(WORD, self.width), order))

    def load(self, address):
        vector = self.builder.load(self._at(address, self.vector))
        vector.align = 4  # a convolution with a small batch shifts its input by less than a vector
        return vector

    def store(self, vector, address):
        self.builder.store(vector, self._at(address, self.vector)).align = 4

    def prefetch(self, address):
        function = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), WORD, WORD, WORD])
        prefetch = cgutils.get_or_insert_function(self.builder.module, function, "llvm.prefetch.p0")
        self.builder.call(prefetch, [self._at(address, BYTE), WORD(0), WORD(2), WORD(1)])  # to read; into L2; data

    def nonzeros(self, begin, end, values, index, x, unit, places, sums, rows, chains):
        """The loop over the nonzeros of a block row: sums[place] += value of the place's row * vector of X.

        A narrow panel has few sums, and each waits for its last addition: then several nonzeros are taken at a time, each
        with sums of its own, which are added up at the end; the last few follow one by one.
        """
        if chains > 1:
            count = self.builder.sub(end, begin)
            middle = self.builder.sub(end, self.builder.urem(count, INT(chains)))
            zeros = [ir.Constant(self.vector, [0.0] * self.width)] * len(sums) * (chains - 1)
            totals = self._loop(begin, middle, values, index, x, unit, places, [*sums, *zeros], rows, chains)
            sums = totals[: len(sums)]
            for i, total in enumerate(totals[len(sums) :]):
                sums[i % len(sums)] = self.builder.fadd(sums[i % len(sums)], total)
            begin = middle
        return self._loop(begin, end, values, index, x, unit, places, sums, rows, 1)

    def _loop(self, begin, end, values, index, x, unit, places, sums, rows, step):
        builder = self.builder
        before = builder.block
        loop, body, done = (builder.append_basic_block(name) for name in ("loop", "body", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        p, totals = builder.phi(INT), [builder.phi(self.vector) for _ in sums]
        builder.cbranch(builder.icmp_signed("<", p, end), body, done)
        builder.position_at_end(body)
        new = []
        for chain in range(step):
            nonzero = builder.add(p, INT(chain))
            address, value = self.address(x, self.word(index, nonzero), unit), builder.mul(nonzero, INT(rows))
            weights = [self.splat(self.float(values, builder.add(value, INT(r)))) for r in range(rows)]
            loaded = {v: self.load(builder.add(address, INT(v * self.width * 4))) for v in sorted({v for _, v in places})}
            for r, v in places:
                new.append(builder.call(self.fma, [weights[r], loaded[v], totals[len(new)]]))
        following = builder.add(p, INT(step))
        builder.branch(loop)
        for phi, initial, next_value in zip([p, *totals], [begin, *sums], [following, *new], strict=True):
            phi.add_incoming(initial, before)
            phi.add_incoming(next_value, body)
        builder.position_at_end(done)
        return totals


tile_8, tile_16 = tile_kernel(8), tile_kernel(16)
row_1, row_16, row_32, row_48, row_64 = (row_kernel(1, columns) for columns in (1, 16, 32, 48, 64))
four_1, four_16, four_32, four_48, four_64 = (row_kernel(4, columns) for columns in (1, 16, 32, 48, 64))


@numba.njit
def address(array):
    """Where an array begins, as int64 (what Numba gives is unsigned, and signed plus unsigned is a float)."""
    return np.int64(array.ctypes.data)


@numba.njit
def run(rows, columns, v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch):
    """The row kernel for `rows` rows a block and up to `columns` columns; see row_kernel."""
    if rows == 1:
        if columns > 48:
            row_64(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
        elif columns > 32:
            row_48(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
        elif columns > 16:
            row_32(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
        elif columns > 1:
            row_16(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
        else:
            row_1(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
    elif columns > 48:
        four_64(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
    elif columns > 32:
        four_48(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
    elif columns > 16:
        four_32(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
    elif columns > 1:
        four_16(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)
    else:
        four_1(v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, ahead_pitch)


@numba.njit
def aligned(rows, columns):
    """An uninitialised float32 array (rows, columns) that begins at a cache line: vectors do not straddle two."""
    room = np.empty(rows * columns + 16, np.float32)
    start = (-address(room) // 4) % 16
    return room[start : start + rows * columns].reshape((rows, columns))


@numba.njit
def transpose(source, source_pitch, target, target_pitch, count, length):
    """Write `count` rows of `length` floats at the address `source` as `length` rows of `count` floats; pitches in bytes."""
    i = 0
    while i < count:
        size = 16 if count - i >= 16 and length >= 16 else 8 if count - i >= 8 and length >= 8 else 1
        j = 0
        while j + size <= length and size > 1:
            if size == 16:
                tile_16(source + i * source_pitch + j * 4, source_pitch, target + j * target_pitch + i * 4, target_pitch)
            else:
                tile_8(source + i * source_pitch + j * 4, source_pitch, target + j * target_pitch + i * 4, target_pitch)
            j += size
        for row in range(i, i + size):
            for column in range(j, length):
                copy(source + row * source_pitch + column * 4, target + column * target_pitch + row * 4, 1)
        i += size


@numba.njit
def pack(X, first, last, start, stop, block):
    """Copy rows first to last and columns start to stop of X into `block`; zeros fill the last vector of 16 up."""
    columns = stop - start
    if X.strides[0] == 4 and X.strides[1] != 4:
        source = address(X) + first * 4 + start * X.strides[1]
        transpose(source, X.strides[1], address(block), block.strides[0], columns, last - first)
    elif X.strides[1] == 4:
        for i in range(last - first):
            copy(address(X) + (first + i) * X.strides[0] + start * 4, address(block) + i * block.strides[0], columns)
    else:
        for i in range(last - first):
            for j in range(columns):
                block[i, j] = X[first + i, start + j]
    for i in range(last - first):
        for j in range(columns, (columns + 15) // 16 * 16):
            block[i, j] = 0


def multiply(values, index, starts, rows, depth, X, bias, Y, chunks):
    """Y = W @ X + bias; W as the arrays of Slices, X (k, n) of any strides, Y (m, n), bias (block rows * rows,).

    One task is a panel of columns and a part of the rows. Sums of a slice are kept for the next one, those of the last
    slice go straight into Y where they fit.
    """
    k, n = X.shape
    slices, block_rows = starts.shape[0], starts.shape[1] - 1
    for task in numba.prange((n + PANEL - 1) // PANEL * chunks):
        start, part = task // chunks * PANEL, task % chunks
        stop = min(start + PANEL, n)
        width = 1 if n == 1 else (stop - start + 15) // 16 * 16
        first, last = block_rows * part // chunks, block_rows * (part + 1) // chunks
        direct = stop - start == width and last * rows <= len(Y)
        in_place = n == width and X.strides[1] == 4 and X.strides[0] == 4 * n  # of n = 1, product sees to it
        block = aligned(0 if in_place else depth, width)
        kept = aligned(0 if direct and slices == 1 else (last - first) * rows, width)
        sums, sums_pitch = address(kept) - first * rows * width * 4, width * 4
        for s in range(slices):
            x, unit = address(block), width * 4
            if in_place:
                x = address(X) + s * depth * unit
            else:
                pack(X, s * depth, min(k, (s + 1) * depth), start, stop, block)
            source, source_pitch = (address(bias), 0) if s == 0 else (sums, sums_pitch)
            target, pitch = (address(Y) + start * 4, Y.strides[0]) if direct and s == slices - 1 else (sums, sums_pitch)
            ahead = x
            if not in_place and X.strides[1] == 4:
                ahead = address(X) + (s + 1) * depth * X.strides[0] + start * 4
            v, i, b = address(values), address(index), address(starts[s])
            run(rows, width, v, i, b, first, last, x, unit, source, source_pitch, target, pitch, ahead, X.strides[0])
        if not direct:
            for r in range(first * rows, min(last * rows, len(Y))):
                held = address(kept) + (r - first * rows) * sums_pitch  # named here, so that Numba does not free it before
                copy(held, address(Y) + r * Y.strides[0] + start * 4, stop - start)


@numba.njit
def spread(x, channels, rows, images, left, chunk, room, row_pitch, channel_pitch):
    """Copy part of x (channels, height, width, batch) to `room`, the batch innermost, with zeros left, right, above, below.

    channels, rows and images are (first, last); rows outside of the image are zeros. The pitches are in numbers.
    """
    _, height, width, _ = x.shape
    (first_row, last_row), (first_image, last_image) = rows, images
    count = last_image - first_image
    for c in range(channels[0], channels[1]):
        for y in range(first_row, last_row):
            begin = (c - channels[0]) * channel_pitch + (y - first_row) * row_pitch
            if y < 0 or y >= height:
                room[begin : begin + row_pitch] = 0
                continue
            room[begin : begin + left * chunk] = 0
            room[begin + (left + width) * chunk : begin + row_pitch] = 0
            begin += left * chunk
            source = address(x) + c * x.strides[0] + y * x.strides[1] + first_image * x.strides[3]
            if x.strides[3] == 4 and x.strides[2] == 4 * chunk:
                copy(source, address(room) + begin * 4, width * chunk)
            elif x.strides[3] == 4:
                for column in range(width):
                    copy(source + column * x.strides[2], address(room) + (begin + column * chunk) * 4, count)
            elif x.strides[2] == 4:
                transpose(source, x.strides[3], address(room) + begin * 4, chunk * 4, count, width)
            else:
                for n in range(count):
                    for column in range(width):
                        room[begin + column * chunk + n] = x[c, y, column, first_image + n]


def convolve(values, index, starts, rows, x, rooms, bias, Y, geometry):
    """Y = a convolution of x (channels, height, width, batch), of any strides, float32.

    The arrays are those of Slices whose columns end with whole channels, `index` the offset of each weight in a room. Y is
    (block rows * rows, output rows, pitch); geometry are the numbers of _Plan. Each thread has a room, float32 (threads,
    numbers), that stays in L2: for a block of output rows and a chunk of the batch it copies what a slice needs of x into
    it, with zeros around, and multiplies. Where the chunk is the whole batch and the stride 1, a row of outputs is one run
    of numbers, else each position is one. Runs are rounded up to whole vectors: what is computed beyond their end is
    overwritten by the next one, or lies beyond the end of the row.
    """
    top, left, reach, down, along, chunk, block, slice_channels, row_pitch, channel_pitch, runs, length, step = geometry
    channels, _, _, batch = x.shape
    slices, block_rows = starts.shape[0], starts.shape[1] - 1
    blocks = (Y.shape[1] + block - 1) // block
    for thread in numba.prange(len(rooms)):
        room = rooms[thread]
        for task in range(blocks * thread // len(rooms), blocks * (thread + 1) // len(rooms)):
            first, last = task * block, min((task + 1) * block, Y.shape[1])
            for part in range((batch + chunk - 1) // chunk):
                images = (max(0, min(part * chunk, batch - chunk)), min((part + 1) * chunk, batch))
                for s in range(slices):
                    needed = (first * down - top, (last - 1) * down - top + reach)
                    of_slice = (s * slice_channels, min((s + 1) * slice_channels, channels))
                    spread(x, of_slice, needed, images, left, chunk, room, row_pitch, channel_pitch)
                    v, i, b = address(values), address(index), address(starts[s])
                    for row in range(first, last):
                        for r in range(runs):
                            for start in range(0, length, PANEL):
                                inputs = address(room) + ((row - first) * down * row_pitch + r * along * chunk + start) * 4
                                target = address(Y) + row * Y.strides[1] + (r * step + images[0] + start) * 4
                                source, pitch = (address(bias), 0) if s == 0 else (target, Y.strides[0])
                                w, y = min(PANEL, length - start), Y.strides[0]
                                run(rows, w, v, i, b, 0, block_rows, inputs, 4, source, pitch, target, y, inputs, 4)


SIGNATURES = {
    multiply: "(f4[:,::1], i4[::1], i4[:,::1], i8, i8, f4[:,:], f4[::1], f4[:,::1], i8)",
    convolve: "(f4[:,::1], i4[::1], i4[:,::1], i8, f4[:,:,:,:], f4[:,::1], f4[::1], f4[:,:,::1], UniTuple(i8, 13))",
}


@functools.cache
def compiled(function):
    """A kernel of SIGNATURES as machine code, compiled when it is first needed, and kept on disk for the next run."""
    torch.empty(31 * 2**18)  # glibc keeps freed memory up to the largest block once freed; to get it anew costs page faults
    began = time.perf_counter()
    kernel = jit.cached(SIGNATURES[function], parallel=True, boundscheck=False)(function)
    if (seconds := time.perf_counter() - began) > 1:
        print(f"tinyshrink: compiled the sparse kernel {function.__name__!r} in {seconds:.1f} s", file=sys.stderr)
    return kernel


_own = threading.local()


def scratch(numbers: int) -> np.ndarray:
    """Room for float32 numbers until the next call in this thread: new memory costs more time than a product in old one."""
    if len(getattr(_own, "room", ())) < numbers:
        _own.room = torch.empty(numbers).numpy()  # PyTorch's memory begins at a cache line
    return _own.room[:numbers]


_forked = False  # whether this process is a copy of one in which OpenMP had threads: they are gone


def _after_fork():
    global _forked
    with contextlib.suppress(ValueError):  # no parallel code has run yet
        _forked = numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_one_at_a_time = threading.Lock()  # Numba's simplest threading layer dies when two threads of Python use it at once


def call(function, *arguments):
    """Run a kernel of SIGNATURES on as many threads as PyTorch uses. RuntimeError in a fork, where OpenMP would end Python."""
    if _forked:
        raise RuntimeError(
            "the sparse kernels have run before this process was forked, and their threads (OpenMP) do not survive a fork: "
            'start processes and DataLoader workers by the method "spawn" or "forkserver" (multiprocessing.get_context)'
        )
    kernel = compiled(function)
    with _one_at_a_time:
        threads = torch.get_num_threads()
        if numba.get_num_threads() != min(threads, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        if torch.get_num_threads() != threads:  # the first time, Numba sets the OpenMP threads that PyTorch uses, too
            torch.set_num_threads(threads)
        kernel(*arguments)
