"""Tests of tinyshrink.coding: first the checks of lesson 07 in the order of its exercises, then ordinary tests."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyshrink import coding, data, magnitude, models, training


def test_kmeans_codebook_by_hand():
    for values, bits, codebook, indices in (
        ([1.0, 2.0, 10.0, 11.0], 1, [1.5, 10.5], [0, 0, 1, 1]),
        ([10.0, -3.0, 11.0, -2.0, -1.0], 1, [-2.0, 10.5], [1, 0, 1, 0, 0]),  # not in order
        ([0.0, 3.0, 4.0, 10.0], 1, [7 / 3, 10.0], [0, 0, 0, 1]),  # 0 and 10, then 7/3 and 10
        ([0.0, 4.0, 6.0, 7.0, 10.0], 1, [2.0, 23 / 3], [0, 0, 1, 1, 1]),
        ([0.0, 1.0, 2.0], 1, [0.5, 2.0], [0, 0, 1]),  # 1 is halfway between 0 and 2: to the lower one
    ):
        got, places = coding.kmeans_codebook(torch.tensor(values), bits)
        close = got.shape == (len(codebook),) and torch.allclose(got, torch.tensor(codebook), atol=1e-5)
        assert close, f"{values} with {bits} bit: expected the codebook {codebook}, ascending, got {got.tolist()}"
        assert places.tolist() == indices, f"{values}: expected the indices {indices}, got {places.tolist()}"
    for init, expected in (("linear", [0.4, 5.0]), ("quantile", [0.0, 3.5])):  # where it starts decides where it ends
        got = coding.kmeans_codebook(torch.tensor([0.0, 0, 0, 0, 2, 5]), 1, init)[0].tolist()
        assert np.allclose(got, expected), f"0, 0, 0, 0, 2, 5 with 1 bit, init {init!r}: expected {expected}, got {got}"


def test_kmeans_codebook_shares_with_the_nearest():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, 40, generator=generator).T  # not contiguous in memory
    codebook, indices = coding.kmeans_codebook(values, 3)
    assert indices.shape == values.shape, f"indices have the shape of the values, (40, 50), got {tuple(indices.shape)}"
    assert indices.dtype == torch.int64, f"indices are int64 (PyTorch takes uint8 for a mask), got {indices.dtype}"
    assert len(codebook) == 8 and int(indices.max()) == 7, f"3 bits: 8 centroids for 2,000 values, got {len(codebook)}"
    off = (values - codebook[indices]).abs() - (values[..., None] - codebook).abs().min(-1).values
    assert float(off.max()) < 1e-6, f"a value is {float(off.max()):.3g} further from its centroid than from the nearest one"
    means = torch.stack([values[indices == i].mean() for i in range(len(codebook))])
    error = float((means - codebook).abs().max())
    assert error < 0.02, f"each centroid is the mean of its values: one is {error:.3g} off, go on until nothing moves"
    exact, _ = coding.kmeans_codebook(values.double(), 3)
    assert exact.dtype == torch.float64, f"the codebook has the dtype of the values, float64, got {exact.dtype}"


def test_kmeans_codebook_drops_what_nobody_uses():
    values = torch.tensor([0.0, 0.1, 0.2, 0.3, 100.0])  # linear: three of eight centroids between have no value
    codebook, indices = coding.kmeans_codebook(values, 2)
    assert torch.isfinite(codebook).all(), f"a centroid without values has no mean: got the codebook {codebook.tolist()}"
    used = indices.unique().tolist()
    assert used == list(range(len(codebook))), f"{len(codebook)} centroids are in the codebook, used are {used}"
    few, crowded = [0.0, 1.0, 2.0, 100.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 100.0]  # as many as have room, however they lie
    for values, bits, expected in (
        ([5.0, 5.0, 5.0], 2, [5.0]),
        ([3.0, -1.0, 3.0], 2, [-1.0, 3.0]),
        ([], 2, []),
        (few, 2, few),
        (crowded, 3, crowded),
    ):
        codebook, indices = coding.kmeans_codebook(torch.tensor(values), bits)
        said = f"{values} with {bits} bits"
        assert codebook.tolist() == expected, f"{said}: expected {expected}, exactly, got {codebook.tolist()}"
        assert codebook[indices].tolist() == values, f"{said} come back as {codebook[indices].tolist()}"


def test_relative_index_by_hand():
    for positions, size, bits, expected in (
        ([1, 4, 15], 20, 3, [1, 2, 7, 3]),
        ([0, 1, 2], 3, 3, [0, 0, 0]),
        ([6, 14], 15, 3, [6, 7, 0]),  # seven zeros between: the escape, then none
        ([22], 23, 3, [7, 7, 7, 1]),
        ([3], 40, 1, [1, 1, 1, 0]),
        ([], 9, 3, []),
    ):
        mask = torch.zeros(size, dtype=torch.bool)
        mask[positions] = True
        codes = coding.relative_index(mask, bits)
        got = codes.tolist()
        assert got == expected, f"nonzeros at {positions} of {size} with {bits} bits: expected {expected}, got {got}"
        assert codes.dtype == torch.int64, f"codes are int64, got {codes.dtype}"
    turned = torch.tensor([[True, True, False], [False, False, False]]).T  # row by row: x. x. ..
    got = coding.relative_index(turned, 3).tolist()
    assert got == [0, 1], f"the transposed mask {turned.tolist()}, row by row: expected [0, 1], got {got}"


def test_relative_index_finds_every_nonzero_again():
    generator = torch.Generator().manual_seed(0)
    for bits, density in ((1, 0.5), (2, 0.1), (4, 0.03), (8, 0.002)):
        mask = torch.rand(30, 100, generator=generator) < density
        codes = coding.relative_index(mask, bits)
        top = 2**bits - 1
        assert int(codes.max()) <= top, f"{bits} bits hold 0 to {top}, got {int(codes.max())}"
        back = coding.absolute_index(codes, bits)
        same = torch.equal(back, mask.flatten().nonzero().flatten())
        assert same, f"{bits} bits, {int(mask.sum())} nonzeros row by row: the codes lead to {len(back)} other places"


def test_code_lengths_by_hand():
    for counts, expected in (
        ([5, 2, 1, 0], [1, 2, 2, 0]),
        ([1, 1, 1, 1], [2, 2, 2, 2]),
        ([0, 0, 7], [0, 0, 1]),  # all alone, it still needs a bit
        ([3, 0, 3], [1, 0, 1]),
        ([1, 2, 4, 8, 16], [4, 4, 3, 2, 1]),
        ([], []),
        ([0, 0], [0, 0]),
    ):
        got = list(coding.code_lengths(counts))
        assert got == expected, f"counts {counts}: expected lengths {expected}, got {got}"


def test_code_lengths_make_the_shortest_message():
    for counts in ([4, 3, 2, 2, 1], [10, 10, 10, 1, 1], [15, 7, 6, 6, 5], [100, 1, 1, 1, 1], [2, 2, 3, 3, 3]):
        lengths = coding.code_lengths(counts)
        bits = sum(count * length for count, length in zip(counts, lengths))
        possible = (other for other in itertools.product(range(1, 6), repeat=5) if sum(2.0**-n for n in other) <= 1)
        best = min(sum(count * length for count, length in zip(counts, other)) for other in possible)
        assert sum(2.0**-length for length in lengths) <= 1, f"no code has the lengths {lengths}: Kraft's sum is above 1"
        assert bits == best, f"counts {counts}: lengths {lengths} make {bits} bits, {best} are possible"


def test_canonical_codes_by_hand():
    for lengths, expected in (
        ([2, 1, 0, 3, 3], ["10", "0", "", "110", "111"]),
        ([1, 1], ["0", "1"]),
        ([2, 2, 2, 2], ["00", "01", "10", "11"]),  # equal lengths: the smaller symbol first
        ([3, 3, 2, 3, 2, 3], ["100", "101", "00", "110", "01", "111"]),
        ([0, 0, 1], ["", "", "0"]),
        ([4, 1, 4], ["1000", "0", "1001"]),  # from 0 to 1000: the next one, with three zeros appended
        ([], []),
        ([0, 0], ["", ""]),
    ):
        codes = coding.canonical_codes(lengths)
        got = [format(code, f"0{length}b") if length else "" for code, length in zip(codes, lengths)]
        assert got == expected, f"lengths {lengths}: expected the code words {expected}, got {got}"
        absent = [code for code, length in zip(codes, lengths) if not length]
        assert not any(absent), f"lengths {lengths}: the code of a symbol of length 0 is 0, got {absent}"


def test_huffman_encode_by_hand():
    for symbols, lengths, bits in (
        ([0, 1, 0, 2, 0], [1, 2, 2], "01001100"),
        ([2, 2, 2], [0, 0, 1], "00000000"),
        ([3, 2, 1, 0], [2, 2, 2, 2], "11100100"),
        ([3, 0, 3, 0], [1, 0, 0, 1], "10100000"),
        ([], [], ""),
    ):
        coded = coding.huffman_encode(symbols)
        assert list(coded.lengths) == lengths, f"{symbols}: expected lengths {lengths}, got {list(coded.lengths)}"
        got = "".join(format(byte, "08b") for byte in coded.data)
        assert got == bits, f"{symbols}: expected the bits {bits}, zeros at the end of the last byte, got {got}"
        assert coded.count == len(symbols), f"{symbols}: count is {len(symbols)}, got {coded.count}"


def test_huffman_encode_can_be_decoded():
    generator = np.random.default_rng(0)
    for share in (0.5, 0.2, 0.05):
        symbols = torch.from_numpy(generator.geometric(share, 3000) - 1)
        coded = coding.huffman_encode(symbols)
        back = coding.huffman_decode(coded)
        assert np.array_equal(back, symbols), f"the decoder reads {back[:8].tolist()}..., not {symbols[:8].tolist()}..."
        bound = coding.entropy(np.bincount(symbols)) * len(symbols) / 8
        assert len(coded.data) < 1.05 * bound + 1, f"{len(coded.data)} bytes for an entropy of {bound:.0f}: far too many"


@pytest.mark.parametrize("init", coding.INITS)
def test_kmeans_codebook_is_better_than_where_it_starts(init):
    values = torch.randn(3000, generator=torch.Generator().manual_seed(1)) ** 3
    start = coding.initial_centroids(values.double(), 16, init)
    codebook, indices = coding.kmeans_codebook(values, 4, init)
    before = (values[:, None] - start).abs().min(1).values.square().sum()
    assert (values - codebook[indices]).square().sum() < before
    assert len(codebook) <= 16 and codebook.dtype == values.dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_kmeans_codebook_keeps_the_dtype(dtype):
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype)
    codebook, indices = coding.kmeans_codebook(values, 3)
    assert codebook.dtype == dtype and len(codebook) == 8
    assert float((values - codebook[indices]).abs().max()) < 1


@pytest.mark.parametrize("bits", [0, 17, 2.5, -1])
def test_kmeans_codebook_says_which_bits_it_takes(bits):
    with pytest.raises(ValueError, match="1 to 16 bits"):
        coding.kmeans_codebook(torch.randn(4), bits)
    with pytest.raises(ValueError, match="'median'"):
        coding.kmeans_codebook(torch.randn(4), 2, "median")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_kmeans_codebook_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        coding.kmeans_codebook(torch.tensor([1.0, bad]), 2)


def test_share_weights_keeps_zeros_and_counts_values():
    model = models.LeNet300()
    magnitude.prune(model, 0.9)
    zeros = {name: weight == 0 for name, weight in model.named_parameters()}
    shared = coding.share_weights(model, {"fc1.weight": 2, "fc2.weight": 4, "fc2.bias": 3})
    for name, weight in model.named_parameters():
        assert torch.equal(weight == 0, zeros[name])
        if name in shared:
            assert len(weight[weight != 0].unique()) <= 2 ** {"fc1.weight": 2, "fc2.weight": 4, "fc2.bias": 3}[name]
    assert len(model.fc3.weight.unique()) > 16
    assert list(coding.share_weights(model, 4)) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    with pytest.raises(ValueError, match=r"no parameter 'fc9\.weight'"):
        coding.share_weights(model, {"fc9.weight": 2})


def test_the_gradient_of_a_centroid_is_the_sum_of_its_weights_gradients():
    layer = nn.Linear(6, 4, bias=False)
    layer.weight.data[0, :3] = 0
    shared = coding.share_weights(layer, 1)
    labels, before = shared["weight"], layer.weight.detach().clone()
    x = torch.randn(9, 6)
    with shared.hold(layer):
        torch.optim.SGD(layer.parameters(), lr=0.1)  # another optimizer that never steps
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        layer(x).square().sum().backward()
        optimizer.step()
    centroids = torch.tensor([before[labels == label][0] for label in (1, 2)], requires_grad=True)
    weight = torch.cat((torch.zeros(1), centroids))[labels]
    (x @ weight.T).square().sum().backward()
    expected = torch.cat((torch.zeros(1), centroids.detach() - 0.1 * centroids.grad))[labels]
    assert torch.allclose(layer.weight, expected, rtol=1e-5)
    assert not layer.weight._backward_hooks


def test_tuned_centroids_stay_shared_and_read_digits_better():
    digits = data.load("digits")
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    training.train(model, digits, 4, progress=False)
    magnitude.prune(model, 0.8)
    shared = coding.share_weights(model, 2)
    zeros = int(model.fc1.weight.count_nonzero())
    before = training.evaluate(model, digits.validation)
    with shared.hold(model):
        training.train(model, digits, 4, optimizer=torch.optim.Adam(model.parameters(), 2e-3), progress=False)
    assert training.evaluate(model, digits.validation) > before
    for name, weight in model.named_parameters():
        if name in shared:
            assert len(weight[weight != 0].unique()) <= 4
    assert int(model.fc1.weight.count_nonzero()) == zeros


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), max_size=200), st.integers(1, 9))
def test_relative_index_goes_there_and_back(kept, bits):
    mask = torch.tensor(kept, dtype=torch.bool)
    codes = coding.relative_index(mask, bits)
    assert torch.equal(coding.absolute_index(codes, bits), mask.nonzero().flatten())


def test_relative_index_refuses_other_input():
    with pytest.raises(ValueError, match="bool mask"):
        coding.relative_index(torch.ones(3), 4)
    with pytest.raises(ValueError, match="1 to 16 bits"):
        coding.relative_index(torch.ones(3, dtype=torch.bool), 0)
    with pytest.raises(ValueError, match="0 to 7, got 3 to 8"):
        coding.absolute_index(torch.tensor([3, 8]), 3)


@pytest.mark.parametrize("counts, bits", [([2, 1, 1, 0], 1.5), ([7], 0), ([], 0), ([0, 0], 0), ([1] * 8, 3)])
def test_entropy_of_known_counts(counts, bits):
    assert coding.entropy(counts) == pytest.approx(bits, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=300))
def test_huffman_there_and_back(symbols):
    coded = coding.huffman_encode(symbols)
    assert coding.huffman_decode(coded).tolist() == symbols
    bound = coding.entropy(np.bincount(symbols)) * len(symbols)
    assert bound - 1e-6 <= sum(coded.lengths[symbol] for symbol in symbols) < bound + len(symbols) + 1


def test_huffman_with_long_code_words_and_a_large_alphabet():
    counts = [1, 1]
    while len(counts) < 26:
        counts.append(counts[-1] + counts[-2])  # Fibonacci: the deepest tree there is
    symbols = np.random.default_rng(0).permutation(np.repeat(np.arange(26), counts))
    coded = coding.huffman_encode(symbols)
    assert max(coded.lengths) == 25 > coding.LOOKUP
    assert np.array_equal(coding.huffman_decode(coded), symbols)
    symbols = np.random.default_rng(0).integers(0, 1 << 16, 100_000)
    assert np.array_equal(coding.huffman_decode(coding.huffman_encode(symbols)), symbols)


@pytest.mark.parametrize("symbols", [[-1, 2], [0.5, 1.0], [[1, 2]], [1 << 24]])
def test_huffman_encode_refuses_other_symbols(symbols):
    with pytest.raises(ValueError, match=r"ints from 0 to 2\*\*24"):
        coding.huffman_encode(symbols)


@pytest.mark.parametrize("counts, message", [([1, -2], "0 or more, got -2")])
def test_code_lengths_refuse_negative_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        coding.code_lengths(counts)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"data": b""}, "0 bytes cannot hold"),
        ({"data": b"\xff\xff"}, "do not hold 13 symbols"),
        ({"data": b"\x00\x00\x00\x00\x00\x00"}, "do not hold"),
        ({"count": 10**15}, "cannot hold"),
        ({"count": -1}, "cannot hold"),
        ({"count": 20}, "do not hold 20"),
        ({"lengths": [1, 1, 1]}, "of no code"),
        ({"lengths": [1, 63]}, "1 to 62 bits"),
        ({"lengths": [2, 2]}, "do not hold"),
        ({"lengths": []}, "do not hold"),
    ],
)
def test_huffman_decode_says_what_does_not_fit(change, message):
    coded = coding.huffman_encode([0, 1, 2, 0, 2, 2, 1, 2, 2, 0, 2, 1, 2])
    with pytest.raises(ValueError, match=message):
        coding.huffman_decode(coded._replace(**change))
