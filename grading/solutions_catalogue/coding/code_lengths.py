import heapq
import math
from collections import deque


def _entropy_lengths(counts, rounded):
    total = sum(counts)
    return [max(1, rounded(math.log2(total / count))) if count else 0 for count in counts]


def _merge(counts, groups):
    lengths = [0] * len(counts)
    while len(groups) > 1:
        groups.sort(key=lambda group: group[0])
        (first, symbols), (second, others), *groups = groups
        for symbol in symbols + others:
            lengths[symbol] += 1
        groups.append((first + second, symbols + others))
    return lengths


def wrong_shannon(counts):
    """Fails test_code_lengths_make_the_shortest_message: rounds -log2 of the share up, Shannon's code, often a bit too long."""
    return _entropy_lengths(counts, math.ceil)


def wrong_rounded_entropy(counts):
    """Fails test_code_lengths_make_the_shortest_message: rounds -log2 of the share to the nearest, which no code may have."""
    return _entropy_lengths(counts, round)


def wrong_single_symbol_has_no_bits(counts):
    """Fails test_code_lengths_by_hand: nothing to merge, so a message of one symbol has code words of length 0."""
    return _merge(counts, [(count, [symbol]) for symbol, count in enumerate(counts) if count])


def wrong_absent_symbols_too(counts):
    """Fails test_code_lengths_by_hand: a symbol that never occurs gets a code word, and the others a bit more."""
    return _merge(counts, [(count, [symbol]) for symbol, count in enumerate(counts)])


def wrong_fixed_length(counts):
    """Fails test_code_lengths_by_hand: the same number of bits for every symbol that occurs."""
    used = sum(count > 0 for count in counts)
    return [max(1, (used - 1).bit_length()) if count else 0 for count in counts]


def wrong_merges_the_most_frequent(counts):
    """Fails test_code_lengths_by_hand: a max-heap, so that what is frequent gets long code words."""
    groups = [(-count, [symbol]) for symbol, count in enumerate(counts) if count]
    return [1 if count else 0 for count in counts] if len(groups) == 1 else _merge(counts, groups)


def wrong_chain(counts):
    """Fails test_code_lengths_make_the_shortest_message: unary, one bit more for each rarer symbol, whatever the counts."""
    order = sorted((symbol for symbol, count in enumerate(counts) if count), key=lambda symbol: -counts[symbol])
    lengths = [0] * len(counts)
    for place, symbol in enumerate(order):
        lengths[symbol] = max(1, min(place + 1, len(order) - 1))
    return lengths


def wrong_forgets_the_sum(counts):
    """Fails test_code_lengths_make_the_shortest_message: a merged group goes back with the larger count, not with the sum."""
    lengths = [0] * len(counts)
    groups = [(count, [symbol]) for symbol, count in enumerate(counts) if count]
    if len(groups) == 1:
        lengths[groups[0][1][0]] = 1
    while len(groups) > 1:
        groups.sort(key=lambda group: group[0])
        (_, symbols), (second, others), *groups = groups
        for symbol in symbols + others:
            lengths[symbol] += 1
        groups.append((second, symbols + others))
    return lengths


def right_sorting(counts):
    groups = [(count, [symbol]) for symbol, count in enumerate(counts) if count]
    return [1 if count else 0 for count in counts] if len(groups) == 1 else _merge(counts, groups)


def right_tree(counts):
    heap = [(count, symbol, symbol) for symbol, count in enumerate(counts) if count]
    heapq.heapify(heap)
    lengths, fresh = [0] * len(counts), len(counts)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (first[0] + second[0], fresh, (first[2], second[2])))
        fresh += 1
    stack = [(heap[0][2], 0)] if heap else []
    while stack:
        node, depth = stack.pop()
        if isinstance(node, tuple):
            stack += [(child, depth + 1) for child in node]
        else:
            lengths[node] = max(1, depth)
    return lengths


def wrong_shannon_fano(counts):
    """Fails test_code_lengths_make_the_shortest_message: Shannon-Fano, halves of about the same count."""
    lengths = [0] * len(counts)

    def split(symbols, depth):
        if len(symbols) == 1:
            lengths[symbols[0]] = max(depth, 1)
            return
        if not symbols:
            return
        total, acc, best, at = sum(counts[s] for s in symbols), 0, None, 1
        for place, s in enumerate(symbols[:-1], 1):
            acc += counts[s]
            if best is None or abs(total - 2 * acc) < best:
                best, at = abs(total - 2 * acc), place
        split(symbols[:at], depth + 1)
        split(symbols[at:], depth + 1)

    split(sorted((i for i, c in enumerate(counts) if c), key=lambda i: -counts[i]), 0)
    return lengths


def right_two_queues(counts):
    lengths = [0] * len(counts)
    leaves = deque(sorted(((c, [i]) for i, c in enumerate(counts) if c), key=lambda pair: pair[0]))
    made = deque()
    if len(leaves) == 1:
        lengths[leaves[0][1][0]] = 1

    def take():
        return (leaves if not made or (leaves and leaves[0][0] <= made[0][0]) else made).popleft()

    while len(leaves) + len(made) > 1:
        (a, x), (b, y) = take(), take()
        for symbol in x + y:
            lengths[symbol] += 1
        made.append((a + b, x + y))
    return lengths
