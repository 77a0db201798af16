"""Coding: few values in a codebook, gaps in place of positions, short codes for what is frequent.

Sources: Han et al. 2016, Deep Compression, https://arxiv.org/abs/1510.00149 (weight sharing, relative index, Huffman);
Huffman 1952, https://doi.org/10.1109/JRPROC.1952.273898; Shannon 1948 (entropy, the bound that no code goes below).
"""

import heapq
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from sklearn.cluster import kmeans_plusplus
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from . import jit, metrics

LOOKUP = 12  # bits that huffman_decode looks up at once
INITS = ("linear", "quantile", "k-means++")


def initial_centroids(values: torch.Tensor, count: int, init: str = "linear") -> torch.Tensor:
    """Where k-means starts: at most `count` different centroids, ascending, for the float64 `values` (n,).

    "linear": evenly from the smallest value to the largest, so that the few large weights, which matter most, get
    centroids of their own; "quantile": as many values to each; "k-means++": drawn far apart (scikit-learn's, seed 0).
    """
    if init == "linear":
        return torch.linspace(float(values.min()), float(values.max()), count, dtype=values.dtype, device=values.device)
    ordered = values.sort().values
    if init == "quantile":
        return ordered[(2 * torch.arange(count, device=values.device) + 1) * len(ordered) // (2 * count)].unique()
    ordered = ordered[:: max(1, len(ordered) // 20_000)]
    drawn, _ = kmeans_plusplus(ordered[:, None].cpu().numpy(), min(count, len(ordered)), random_state=0)
    return torch.from_numpy(drawn[:, 0]).to(values.device).unique()


def kmeans_codebook(values: torch.Tensor, bits: int, init: str = "linear") -> tuple[torch.Tensor, torch.Tensor]:
    """Share at most 2**bits values among all `values`: k-means in one dimension (Lloyd's algorithm, 50 rounds at most).

    Arguments: values, a floating tensor of any shape (of a pruned weight the nonzeros only); bits, 1 to 16; init, "linear",
    "quantile" or "k-means++" (initial_centroids). Returns (codebook, indices): the centroids in use, ascending, (k,) with
    k <= 2**bits, of the dtype of values; and int64 of the shape of values, so that codebook[indices] stands for values.
    Each value has its nearest centroid, the lower one of two. With 2**bits distinct values or fewer they are the codebook
    themselves; no values give an empty one. Raises ValueError for NaN or infinity, and for other bits or init.

    Example: [1, 2, 10, 11] with 1 bit: codebook [1.5, 10.5], indices [0, 0, 1, 1].
    Hint: in one dimension, cells end halfway between centroids: torch.bucketize. A centroid without values can go.
    """
    if bits not in range(1, 17) or init not in INITS:
        raise ValueError(f"expected 1 to 16 bits and init one of {', '.join(INITS)}, got {bits!r} and {init!r}")
    if not torch.isfinite(values).all():
        raise ValueError("the values must be finite, got NaN or infinity among them: train the model anew")
    flat = values.detach().flatten()
    codebook = flat.unique()
    if len(codebook) > 2**bits:
        exact = flat.double()
        centroids, before = initial_centroids(exact, 2**bits, init), None
        for _ in range(50):
            cells = torch.bucketize(exact, (centroids[1:] + centroids[:-1]) / 2)
            if before is not None and torch.equal(cells, before):
                break
            sums, counts, before = torch.bincount(cells, exact), torch.bincount(cells), cells
            centroids = (sums / counts)[counts > 0]
        codebook = centroids.to(values.dtype).unique()
    indices = torch.bucketize(flat.double(), (codebook[1:].double() + codebook[:-1].double()) / 2)
    used, indices = indices.unique(return_inverse=True)
    return codebook[used], indices.view(values.shape)


class SharedWeights(dict):
    """{parameter name: labels}, int64 of the parameter's shape: 0 for a pruned zero, i for the i-th value of its codebook.

    What share_weights returns. It tunes the centroids while the model trains on, with any optimizer and any loop:

        with shared.hold(model):
            train(model)
    """

    @contextmanager
    def hold(self, model: nn.Module):
        """Inside the `with` block, weights of `model` with the same label stay equal, and zeros stay zero.

        The gradient of a centroid is the sum of its weights' gradients (Han et al. 2016), and so much larger than that of
        one weight: SGD needs a learning rate smaller by about the number of weights to a centroid, Adam does not care.
        """
        parameters = dict(model.named_parameters())
        labels = {parameters[name]: values for name, values in self.items()}
        counts = {parameter: values.flatten().bincount().clamp(min=1) for parameter, values in labels.items()}

        def total(values, parameter):
            """The sum of `values`, shaped like the parameter, over the weights of each label, 0 for the pruned ones."""
            sums = labels[parameter].flatten().bincount(values.flatten().double(), minlength=len(counts[parameter]))
            sums[0] = 0
            return sums

        def tie_gradient(gradient, parameter):
            return total(gradient, parameter)[labels[parameter]].to(gradient.dtype)

        @torch.no_grad()
        def tie(*_):
            for parameter in labels:  # equal already but for momentum from before, and zeros under Adam's averages
                means = total(parameter, parameter) / counts[parameter]
                parameter.copy_(means[labels[parameter]])

        tie()
        hooks = [register_optimizer_step_post_hook(tie)]
        for parameter in labels:
            if parameter.requires_grad:
                hooks.append(parameter.register_hook(lambda gradient, parameter=parameter: tie_gradient(gradient, parameter)))
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()
            tie()


@torch.no_grad()
def share_weights(model: nn.Module, bits: int | Mapping[str, int], init: str = "linear") -> SharedWeights:
    """Change `model` in place: each tensor's nonzero weights take at most 2**bits values, its own k-means codebook.

    Arguments: bits, one number for all weights of metrics.weights(model), or {parameter name: bits} for those named, biases
    too; init as in kmeans_codebook. Zeros, the pruned weights, stay. Returns the labels, which can tune the centroids.
    Raises ValueError for a name that the model does not have, and as kmeans_codebook.
    """
    parameters = dict(model.named_parameters())
    bits = bits if isinstance(bits, Mapping) else dict.fromkeys(metrics.weights(model), bits)
    unknown = [name for name in bits if name not in parameters]
    if unknown:
        raise ValueError(f"{type(model).__name__} has no parameter {unknown[0]!r}: names are as in named_parameters()")
    shared = SharedWeights()
    for name, number in bits.items():
        weight = parameters[name]
        kept = weight != 0
        codebook, indices = kmeans_codebook(weight[kept], number, init)
        weight[kept] = codebook[indices]
        shared[name] = kept.long().masked_scatter(kept, indices + 1)
    return shared


def relative_index(mask: torch.Tensor, bits: int) -> torch.Tensor:
    """Where the nonzeros are, as gaps of a few bits: the number of zeros before each nonzero, in row-major order.

    A gap must be below top = 2**bits - 1. The code `top` itself is the escape: top zeros, and no nonzero after them; it is
    repeated until the rest fits. Zeros after the last nonzero are not coded. (Han et al. 2016, figure 2, put a padding zero
    among the weights at that place; with a code of its own none is needed.)

    Arguments: mask, bool, any shape, True = nonzero; bits, 1 to 16. Returns the codes, int64 (n,). Raises ValueError for
    other bits and a mask that is not bool.

    Example: nonzeros at 1, 4 and 15 of 20 with 3 bits: gaps 1, 2 and 10, so the codes 1, 2, 7, 3.
    Hint: torch.diff, and a gap before the first nonzero too. How many codes does a gap of g zeros need?
    """
    if bits not in range(1, 17) or mask.dtype != torch.bool:
        raise ValueError(f"expected a bool mask and 1 to 16 bits, got {mask.dtype} and {bits!r}")
    top = 2**bits - 1
    positions = mask.flatten().nonzero().flatten()
    gaps = positions.diff(prepend=positions.new_tensor([-1])) - 1
    ends = (gaps // top + 1).cumsum(0) - 1  # where the code with the rest of each gap goes
    codes = torch.full((int(ends[-1]) + 1 if len(ends) else 0,), top, device=mask.device)
    codes[ends] = gaps % top
    return codes


def absolute_index(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """The inverse of relative_index: codes (n,) to the positions of the nonzeros in the flat tensor, int64, ascending.

    Raises ValueError for a code outside 0 to 2**bits - 1.
    """
    top = 2**bits - 1
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) <= top:
        raise ValueError(f"codes of {bits} bits are 0 to {top}, got {int(codes.min())} to {int(codes.max())}")
    weights = codes < top
    return (codes + weights).cumsum(0)[weights] - 1


def entropy(counts: Sequence[int]) -> float:
    """Shannon's bound in bits per symbol for symbols that occur so often: no code of single symbols needs fewer bits.

    Example: counts [2, 1, 1, 0] have 0.5 * 1 + 2 * 0.25 * 2 = 1.5 bits. No symbols at all: 0.
    """
    counts = np.asarray(counts, dtype=np.float64)
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Huffman's algorithm: how many bits each symbol gets, so that the whole message is as short as possible.

    Again and again the two rarest groups of symbols become one group, whose symbols get one bit more each, until one group
    is left. A symbol that does not occur has length 0; one that is all alone has 1, for its count must show.

    Arguments: counts, how often symbols 0, 1, 2, ... occur. Returns a list of ints, as long. Raises ValueError for a
    negative count.

    Example: counts [5, 2, 1, 0] give [1, 2, 2, 0]: 5 * 1 + 2 * 2 + 1 * 2 = 11 bits.
    Hint: heapq on (count, a number to break ties, symbols of the group).
    """
    if any(count < 0 for count in counts):
        raise ValueError(f"counts are 0 or more, got {min(counts)}")
    lengths = [0] * len(counts)
    groups = [(int(count), symbol, [symbol]) for symbol, count in enumerate(counts) if count > 0]
    if len(groups) == 1:
        lengths[groups[0][1]] = 1
    heapq.heapify(groups)
    for number in range(len(counts), len(counts) + len(groups) - 1):
        (first, _, symbols), (second, _, others) = heapq.heappop(groups), heapq.heappop(groups)
        for symbol in symbols + others:
            lengths[symbol] += 1
        heapq.heappush(groups, (first + second, number, symbols + others))
    return lengths


def canonical_codes(lengths: Sequence[int]) -> list[int]:
    """The code words for these lengths, in the one order that a decoder can find again from the lengths alone.

    Code words count upwards: shorter ones first, among equals the smaller symbol. The first is all zeros; each next one is
    the one before plus 1, with zeros appended where it is longer.

    Arguments: lengths, bits of the symbols 0, 1, 2, ...; 0 = no code. Returns the codes as ints, 0 where there is none.
    Raises ValueError for lengths that leave no room: more than one symbol's worth of the bits (Kraft's inequality).

    Example: lengths [2, 1, 0, 3, 3] give 10, 0, none, 110, 111 in binary: [2, 0, 0, 6, 7].
    """
    if sum(2.0**-length for length in lengths if length) > 1:
        raise ValueError("these lengths are of no code: the sum of 2**-length is above 1")
    codes, code, before = [0] * len(lengths), -1, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code = (code + 1) << (length - before)
        codes[symbol], before = code, length
    return codes


class Huffman(NamedTuple):
    """A coded message: the lengths of the symbols 0, 1, ..., the code words as bytes, and how many symbols there are."""

    lengths: list[int]
    data: bytes
    count: int


def huffman_encode(symbols: Sequence[int]) -> Huffman:
    """Code a message with its own Huffman code: Huffman(lengths, data, count), which is all that a decoder needs.

    `data` is the code words one after the other, the most significant bit first, with zeros to fill the last byte. The
    lengths go up to the largest symbol that occurs; those of absent symbols are 0.

    Arguments: symbols, ints from 0 to 2**24 - 1, (n,), a tensor on the CPU too. No symbols: Huffman([], b"", 0).
    Raises ValueError for what is not such ints.

    Example: [0, 1, 0, 2, 0] has lengths [1, 2, 2], codes 0, 10, 11 and the bits 0 10 0 11 0 (0): Huffman([1, 2, 2], b"L", 5).
    Hint: code_lengths, canonical_codes. A string of "0" and "1" will do: int(text, 2).to_bytes(length, "big").
    """
    if (symbols := np.asarray(symbols)).size and (
        symbols.ndim != 1 or symbols.dtype.kind not in "iu" or not 0 <= symbols.min() <= symbols.max() < 1 << 24
    ):
        raise ValueError("symbols must be a flat sequence of ints from 0 to 2**24 - 1")
    lengths = code_lengths(np.bincount(symbols.astype(np.int64)).tolist())
    codes = np.array(canonical_codes(lengths), dtype=np.int64)[symbols.astype(np.int64)]
    sizes = np.array(lengths, dtype=np.int64)[symbols.astype(np.int64)]
    starts = sizes.cumsum() - sizes
    bits = np.zeros(sizes.sum(), dtype=np.uint8)
    for place in range(max(lengths, default=0)):
        there = sizes > place
        bits[starts[there] + place] = codes[there] >> (sizes[there] - 1 - place) & 1
    return Huffman(lengths, np.packbits(bits).tobytes(), len(symbols))


def huffman_decode(coded: Huffman) -> np.ndarray:
    """The symbols of a coded message, int64 (count,). Raises ValueError where lengths, data and count do not fit together."""
    lengths, data, count = np.asarray(coded.lengths, dtype=np.int64), coded.data, coded.count
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= 62:
        raise ValueError("a code word has 1 to 62 bits, 0 stands for none")
    if not 0 <= count <= 8 * len(data):
        raise ValueError(f"{len(data)} bytes cannot hold {count} symbols")
    codes = np.array(canonical_codes(coded.lengths), dtype=np.int64)
    order = np.lexsort((np.arange(len(lengths)), lengths))
    order = order[lengths[order] > 0]
    longest = int(lengths.max(initial=0))
    first = np.zeros(longest + 2, dtype=np.int64)  # of each length: its first code, and where that is in `order`
    start = np.searchsorted(lengths[order], np.arange(longest + 2))
    for length in range(1, longest + 1):
        if start[length] < len(order):
            first[length] = codes[order[start[length]]]
    table = np.full(1 << LOOKUP, -1, dtype=np.int64)  # the next LOOKUP bits: symbol << 8 | length, -1 where it is longer
    for symbol in order[lengths[order] <= LOOKUP]:
        free = LOOKUP - lengths[symbol]
        table[codes[symbol] << free : codes[symbol] + 1 << free] = symbol << 8 | lengths[symbol]
    symbols = np.empty(count, dtype=np.int64)
    used = _decode(np.frombuffer(data, dtype=np.uint8), table, order, first, start, symbols)
    if used < 0 or (used + 7) // 8 != len(data):
        raise ValueError(f"{len(data)} bytes do not hold {count} symbols of this code")
    return symbols


@jit.cached()
def _decode(data, table, order, first, start, symbols):
    """Fill `symbols`; the number of bits used, or -1 where the bits are of no code or end too soon."""
    window, held, place, used = np.uint64(0), 0, 0, 0
    longest = len(first) - 2
    for i in range(len(symbols)):
        while held <= 56:  # zeros after the end: what is used is compared with the length afterwards
            window |= (np.uint64(data[place]) if place < len(data) else np.uint64(0)) << np.uint64(56 - held)
            held, place = held + 8, place + 1
        entry = table[window >> np.uint64(64 - LOOKUP)]
        if entry >= 0:
            length, symbols[i] = entry & 255, entry >> 8
        else:
            length = LOOKUP + 1
            while length <= longest:
                offset = np.int64(window >> np.uint64(64 - length)) - first[length]
                if 0 <= offset < start[length + 1] - start[length]:
                    break
                length += 1
            if length > min(longest, 57):
                return -1
            symbols[i] = order[start[length] + offset]
        window <<= np.uint64(length)
        held, used = held - length, used + length
    return used if used <= 8 * len(data) else -1
