"""Hidden checks of lesson 07, the coding half: as in tests/test_coding.py, with cases drawn from the instructor's seed."""

import itertools

import numpy as np
import torch
from sklearn.cluster import KMeans

from tinyshrink import checking, coding


def test_kmeans_codebook_of_drawn_values():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for bits, init in ((1, "linear"), (2, "quantile"), (3, "quantile"), (3, "k-means++")):
        values = torch.randn(300, 4, generator=generator) * torch.rand(4, generator=generator) + 1
        codebook, indices = coding.kmeans_codebook(values, bits, init)
        said = f"{bits} bits, init {init!r}"
        assert (codebook.diff() > 0).all() and len(codebook) <= 2**bits, f"{said}: the codebook is {codebook.tolist()}"
        nearest = (values[..., None] - codebook).abs().min(-1).values
        assert torch.allclose((values - codebook[indices]).abs(), nearest, atol=1e-5), f"{said}: not the nearest centroids"
        start = coding.initial_centroids(values.flatten().double(), 2**bits, init)
        points = values.reshape(-1, 1).double().numpy()
        oracle = KMeans(len(start), init=start[:, None].numpy(), n_init=1, max_iter=50, tol=0).fit(points)
        error, best = float((values - codebook[indices]).square().sum()), oracle.inertia_
        assert error < 1.03 * best + 1e-4, f"{said}: the squared error is {error:.4g}, scikit-learn's k-means has {best:.4g}"


def test_relative_index_of_drawn_masks():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(20):
        bits, rows, columns = (int(torch.randint(1, top, (), generator=generator)) for top in (7, 9, 60))
        mask = torch.rand(rows, columns, generator=generator) < float(torch.rand((), generator=generator)) ** 3
        codes, top = coding.relative_index(mask, bits).tolist(), 2**bits - 1
        text, at = "".join("x" if kept else "." for kept in mask.flatten().tolist()), 0
        for code in codes:
            assert 0 <= code <= top, f"{bits} bits: the codes are 0 to {top}, got {code}"
            assert text[at : at + code] == "." * code, f"code {code} at place {at} of {text}: there are not so many zeros"
            at += code
            if code < top:
                assert text[at : at + 1] == "x", f"code {code} leads to place {at} of {text}: no nonzero is there"
                at += 1
        assert "x" not in text[at:], f"nonzeros after place {at} of {text} have no code"
        assert not codes or codes[-1] < top, "zeros after the last nonzero are not coded"


def test_code_lengths_of_drawn_counts():
    generator = np.random.default_rng(checking.hidden_seed())
    for _ in range(6):
        counts = generator.integers(1, 30, 4).tolist()
        possible = [other for other in itertools.product(range(1, 4), repeat=4) if sum(2.0**-n for n in other) <= 1]
        best = min(sum(count * length for count, length in zip(counts, other)) for other in possible)
        lengths = coding.code_lengths(counts)
        bits = sum(count * length for count, length in zip(counts, lengths))
        assert bits == best and sum(2.0**-n for n in lengths) <= 1, f"{counts}: lengths {lengths}, {best} bits are possible"
    counts = (generator.zipf(1.3, 400) * (generator.random(400) < 0.8)).clip(0, 10**6).tolist()
    lengths = coding.code_lengths(counts)
    assert all((length > 0) == (count > 0) for count, length in zip(counts, lengths)), "absent symbols alone have length 0"
    kraft = sum(2.0**-length for length in lengths if length)
    assert kraft == 1, f"a Huffman code uses up all bits, the sum of 2**-length is 1, got {kraft}"
    mean = sum(count * length for count, length in zip(counts, lengths)) / sum(counts)
    bound = coding.entropy(counts)
    assert bound <= mean < bound + 1, f"the entropy is {bound:.3f} bits, so the mean is below {bound + 1:.3f}: got {mean:.3f}"


def test_canonical_codes_of_drawn_lengths():
    generator = np.random.default_rng(checking.hidden_seed())
    for size in (1, 2, 5, 30, 200):
        lengths = coding.code_lengths(generator.zipf(1.5, size).clip(0, 10**5).tolist())
        lengths = [length for pair in zip(lengths, [0] * size) for length in pair][: 2 * size - 1]
        lengths = generator.permutation(lengths).tolist()
        codes = coding.canonical_codes(lengths)
        order = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
        assert len(codes) == len(lengths), f"{len(lengths)} lengths, {len(codes)} codes"
        assert codes[order[0][1]] == 0, f"the first code word is all zeros, got {codes[order[0][1]]:b}"
        for (before, first), (length, second) in itertools.pairwise(order):
            expected = (codes[first] + 1) * 2 ** (length - before)
            got = codes[second]
            assert got == expected, (
                f"after {codes[first]:0{before}b} comes {expected:0{length}b} (symbol {second}), got {got:b}"
            )


def test_huffman_encode_of_drawn_messages():
    generator = np.random.default_rng(checking.hidden_seed())
    for alphabet, count in ((1, 9), (2, 100), (16, 999), (300, 2000), (60_000, 500)):
        symbols = (alphabet * generator.random(count) ** 3).astype(int)
        coded = coding.huffman_encode(symbols.tolist())
        said = f"{count} symbols below {alphabet}"
        lengths = coding.code_lengths(np.bincount(symbols).tolist())
        assert list(coded.lengths) == lengths, f"{said}: lengths up to the largest symbol, as of code_lengths"
        bits = sum(lengths[symbol] for symbol in symbols)
        assert len(coded.data) == (bits + 7) // 8, f"{said}: {bits} bits make {(bits + 7) // 8} bytes, got {len(coded.data)}"
        assert coding.huffman_decode(coded).tolist() == symbols.tolist(), f"{said}: the decoder reads something else"
