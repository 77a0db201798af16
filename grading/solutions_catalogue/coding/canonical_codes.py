def _assign(lengths, order, after):
    codes, code, before = [0] * len(lengths), None, 0
    for symbol in order:
        code = 0 if code is None else after(code, before, lengths[symbol])
        codes[symbol], before = code, lengths[symbol]
    return codes


def _next(code, before, length):
    return (code + 1) << (length - before)


def _used(lengths):
    return [symbol for symbol, length in enumerate(lengths) if length]


def wrong_ties_from_the_back(lengths):
    """Fails test_canonical_codes_by_hand: among equal lengths the larger symbol first, which no other decoder does."""
    return _assign(lengths, sorted(_used(lengths), key=lambda symbol: (lengths[symbol], -symbol)), _next)


def wrong_in_the_order_of_symbols(lengths):
    """Fails test_canonical_codes_by_hand: not sorted by length."""
    return _assign(lengths, _used(lengths), lambda code, before, length: (code + 1) << max(0, length - before))


def wrong_never_longer(lengths):
    """Fails test_canonical_codes_by_hand: counts up without appending zeros, so that code words begin others."""
    order = sorted(_used(lengths), key=lambda symbol: (lengths[symbol], symbol))
    return _assign(lengths, order, lambda code, before, length: code + 1)


def wrong_longer_before_plus_one(lengths):
    """Fails test_canonical_codes_by_hand: appends the zeros first and adds 1 then, which may begin with the one before."""
    order = sorted(_used(lengths), key=lambda symbol: (lengths[symbol], symbol))
    return _assign(lengths, order, lambda code, before, length: (code << (length - before)) + 1)


def wrong_one_zero_at_most(lengths):
    """Fails test_canonical_codes_by_hand: appends one zero where the length grows, also where it grows by three."""
    order = sorted(_used(lengths), key=lambda symbol: (lengths[symbol], symbol))
    return _assign(lengths, order, lambda code, before, length: (code + 1) << (length > before))


def wrong_absent_symbols_count(lengths):
    """Fails test_canonical_codes_by_hand: length 0 takes part and uses up the first code."""
    order = sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol))
    return _assign(lengths, order, _next)


def wrong_starts_at_one(lengths):
    """Fails test_canonical_codes_by_hand: the first code word is 1, so that the last does not fit."""
    order = sorted(_used(lengths), key=lambda symbol: (lengths[symbol], symbol))
    codes = _assign(lengths, order, _next)
    return [code + 1 if length else 0 for code, length in zip(codes, lengths)]


def wrong_longest_first(lengths):
    """Fails test_canonical_codes_by_hand: another canon, long code words are all zeros."""
    order = sorted(_used(lengths), key=lambda symbol: (-lengths[symbol], symbol))
    return _assign(lengths, order, lambda code, before, length: (code + 1) >> (before - length))


def right_counting(lengths):
    order = sorted(_used(lengths), key=lambda symbol: (lengths[symbol], symbol))
    return _assign(lengths, order, _next)


def right_deflate(lengths):
    """As RFC 1951 does it: the first code of each length from the number of codes of the lengths before."""
    longest = max(lengths, default=0)
    first, code = {}, 0
    for length in range(1, longest + 1):
        code = (code + (lengths.count(length - 1) if length > 1 else 0)) << 1
        first[length] = code
    codes = []
    for length in lengths:
        codes.append(first[length] if length else 0)
        if length:
            first[length] += 1
    return codes


def _codes_with(lengths):
    codes, code, before = [0] * len(lengths), -1, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code = (code + 1) << (length - before)
        codes[symbol], before = code, length
    return codes


def wrong_crashes_on_nothing(lengths):
    """Fails test_canonical_codes_by_hand: the first of a sorted list that is empty."""
    first = sorted(length for length in lengths if length)[0]
    return _codes_with(lengths) if first else []


def wrong_absent_symbols_get_none(lengths):
    """Fails test_canonical_codes_by_hand: -1 for what has no code, since 0 looks like one."""
    return [code if length else -1 for code, length in zip(_codes_with(lengths), lengths)]
