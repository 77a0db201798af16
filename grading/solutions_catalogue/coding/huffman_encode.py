from collections import Counter

import numpy as np

from tinyshrink.coding import Huffman, canonical_codes, code_lengths


def _code(symbols):
    symbols = np.asarray(symbols, dtype=np.int64).tolist()
    counts = Counter(symbols)
    lengths = code_lengths([counts[symbol] for symbol in range(max(symbols, default=-1) + 1)])
    return symbols, lengths, canonical_codes(lengths)


def _pack(text, byteorder="big"):
    return bytes(int(text[i : i + 8][:: 1 if byteorder == "big" else -1], 2) for i in range(0, len(text), 8))


def _padded(text):
    return text + "0" * (-len(text) % 8)


def _text(symbols, lengths, codes):
    return "".join(format(codes[symbol], f"0{lengths[symbol]}b") for symbol in symbols)


def wrong_leading_zeros_lost(symbols):
    """Fails test_huffman_encode_by_hand: bin() leaves out the zeros that a code word begins with."""
    symbols, lengths, codes = _code(symbols)
    return Huffman(lengths, _pack(_padded("".join(format(codes[symbol], "b") for symbol in symbols))), len(symbols))


def wrong_filled_in_front(symbols):
    """Fails test_huffman_encode_by_hand: int(text, 2).to_bytes puts the missing zeros before the message."""
    symbols, lengths, codes = _code(symbols)
    text = _text(symbols, lengths, codes)
    data = int(text, 2).to_bytes((len(text) + 7) // 8, "big") if text else b""
    return Huffman(lengths, data, len(symbols))


def wrong_lowest_bit_first(symbols):
    """Fails test_huffman_encode_by_hand: fills each byte from its lowest bit, as deflate does."""
    symbols, lengths, codes = _code(symbols)
    return Huffman(lengths, _pack(_padded(_text(symbols, lengths, codes)), "little"), len(symbols))


def wrong_count_of_bits(symbols):
    """Fails test_huffman_encode_by_hand: count is the number of bits."""
    symbols, lengths, codes = _code(symbols)
    text = _text(symbols, lengths, codes)
    return Huffman(lengths, _pack(_padded(text)), len(text))


def wrong_a_byte_for_each_bit(symbols):
    """Fails test_huffman_encode_by_hand: the text of zeros and ones is stored itself."""
    symbols, lengths, codes = _code(symbols)
    return Huffman(lengths, _text(symbols, lengths, codes).encode(), len(symbols))


def wrong_last_byte_lost(symbols):
    """Fails test_huffman_encode_by_hand: the bits that do not fill a byte are left out."""
    symbols, lengths, codes = _code(symbols)
    text = _text(symbols, lengths, codes)
    return Huffman(lengths, _pack(text[: len(text) // 8 * 8]), len(symbols))


def wrong_lengths_of_used_symbols(symbols):
    """Fails test_huffman_encode_by_hand: the table holds the symbols that occur only, and the decoder shifts them."""
    symbols, lengths, codes = _code(symbols)
    return Huffman([length for length in lengths if length], _pack(_padded(_text(symbols, lengths, codes))), len(symbols))


def wrong_a_byte_too_many(symbols):
    """Fails test_huffman_encode_by_hand: appends a byte even where the last one is full."""
    symbols, lengths, codes = _code(symbols)
    text = _text(symbols, lengths, codes)
    return Huffman(lengths, _pack(text + "0" * (8 - len(text) % 8)), len(symbols))


def right_text(symbols):
    symbols, lengths, codes = _code(symbols)
    return Huffman(lengths, _pack(_padded(_text(symbols, lengths, codes))), len(symbols))


def right_shifts(symbols):
    symbols, lengths, codes = _code(symbols)
    data, window, held = bytearray(), 0, 0
    for symbol in symbols:
        window, held = window << lengths[symbol] | codes[symbol], held + lengths[symbol]
        while held >= 8:
            data.append(window >> (held - 8) & 255)
            held -= 8
            window &= (1 << held) - 1
    if held:
        data.append(window << (8 - held))
    return Huffman(lengths, bytes(data), len(symbols))
