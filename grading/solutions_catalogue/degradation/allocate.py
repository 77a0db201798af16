import heapq

import torch

from tinyshrink import degradation, selection
from tinyshrink.degradation import convex


def _pieces(curves, sizes):
    pieces = []
    for name, curve in curves.items():
        corners, size = degradation.convex(curve), sizes[name]
        for (start, low), (end, high) in zip(corners, corners[1:]):
            pieces.append(((high - low) / (end - start) / size, end, name, round(end * size) - round(start * size)))
    return sorted(pieces)


def _fill(pieces, curves, sizes, amount):
    total = sum(sizes.values())
    removed, left = dict.fromkeys(curves, 0), round(amount * total)
    for _, _, name, count in pieces:
        taken = min(count, left)
        removed[name] += taken
        left -= taken
    if left:
        raise selection.UnreachableTarget(1 - amount, 1 - sum(removed.values()) / total)
    return {name: count / sizes[name] for name, count in removed.items()}


def wrong_sensitive_layers_more(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: document 000's formula, where the largest drop gives the largest share."""
    drops = {name: max(curve.values()) for name, curve in curves.items()}
    return {name: 0.3 + 0.5 * drop / (max(drops.values()) or 1) for name, drop in drops.items()}


def wrong_inverse_of_the_drop(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: shares in proportion to 1 / drop; nothing says that they add up."""
    weights = {name: 1 / (max(curve.values()) + 1e-6) for name, curve in curves.items()}
    return {name: min(max(curves[name]), amount * weight / max(weights.values())) for name, weight in weights.items()}


def wrong_same_for_all(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: does not look at the curves."""
    return dict.fromkeys(curves, amount)


def wrong_forgets_the_sizes(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: the drop for each share, though a share of a large layer is more."""
    pieces = [(slope * sizes[name], end, name, count) for slope, end, name, count in _pieces(curves, sizes)]
    return _fill(sorted(pieces), curves, sizes, amount)


def wrong_total_of_the_measured_layers(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: the amount of the layers with a curve, in place of all."""
    return _fill(_pieces(curves, sizes), curves, {name: sizes[name] for name in curves}, amount)


def wrong_whole_pieces(curves, sizes, amount):
    """Fails test_allocate_removes_exactly_what_was_asked: takes the last piece whole."""
    _fill(_pieces(curves, sizes), curves, sizes, amount)
    removed, left = dict.fromkeys(curves, 0), round(amount * sum(sizes.values()))
    for _, _, name, count in _pieces(curves, sizes):
        if left > 0:
            removed[name] += count
            left -= count
    return {name: count / sizes[name] for name, count in removed.items()}


def wrong_parts_of_a_weight(curves, sizes, amount):
    """Fails test_allocate_removes_exactly_what_was_asked: counts in fractions, so that rounding comes later and elsewhere."""
    _fill(_pieces(curves, sizes), curves, sizes, amount)
    removed, left = dict.fromkeys(curves, 0.0), amount * sum(sizes.values())
    for _, end, name, _ in _pieces(curves, sizes):
        corners = [corner for corner, _ in degradation.convex(curves[name])]
        taken = min(left, (end - corners[corners.index(end) - 1]) * sizes[name])
        removed[name] += taken
        left -= taken
    return {name: count / sizes[name] for name, count in removed.items()}


def wrong_humps_stay(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: pieces of the curve as measured: the cheap end of a hump comes first."""
    pieces = []
    for name, curve in curves.items():
        points = [(0.0, 0.0), *sorted(curve.items())]
        for (start, low), (end, high) in zip(points, points[1:]):
            slope = (high - low) / (end - start) / sizes[name]
            pieces.append((slope, end, name, round(end * sizes[name]) - round(start * sizes[name])))
    return _fill(sorted(pieces), curves, sizes, amount)


def wrong_what_fits_will_do(curves, sizes, amount):
    """Fails test_allocate_says_what_cannot_be: removes as much as it can, and says nothing."""
    try:
        return _fill(_pieces(curves, sizes), curves, sizes, amount)
    except selection.UnreachableTarget:
        return {name: max(curve) for name, curve in curves.items()}


def wrong_counts(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: returns numbers of weights."""
    return {name: share * sizes[name] for name, share in _fill(_pieces(curves, sizes), curves, sizes, amount).items()}


def right_sorted_pieces(curves, sizes, amount):
    return _fill(_pieces(curves, sizes), curves, sizes, amount)


def right_heap_of_next_pieces(curves, sizes, amount):
    """Each layer offers its next piece only; the cheapest offer is taken."""
    total, corners = sum(sizes.values()), {name: degradation.convex(curve) for name, curve in curves.items()}

    def offer(name, i):
        (start, low), (end, high) = corners[name][i : i + 2]
        return (high - low) / ((end - start) * sizes[name]), end, name, i

    offers, counts, left = [offer(name, 0) for name in curves], dict.fromkeys(curves, 0), round(amount * total)
    heapq.heapify(offers)
    while left and offers:
        _, end, name, i = heapq.heappop(offers)
        more = min(left, round(end * sizes[name]) - counts[name])
        counts[name] += more
        left -= more
        if i + 2 < len(corners[name]):
            heapq.heappush(offers, offer(name, i + 1))
    if left:
        raise selection.UnreachableTarget(1 - amount, 1 - sum(counts.values()) / total)
    return {name: counts[name] / sizes[name] for name in counts}


def right_weight_by_weight(curves, sizes, amount):
    """A price for each single weight; the cheapest ones go."""
    prices, ends, owners, names = [], [], [], list(curves)
    for slope, end, name, count in _pieces(curves, sizes):
        prices.append(torch.full((count,), slope, dtype=torch.float64))
        ends.append(torch.full((count,), end, dtype=torch.float64))
        owners.append(torch.full((count,), names.index(name)))
    wanted, total = round(amount * sum(sizes.values())), sum(sizes.values())
    order = torch.cat(ends).argsort(stable=True)
    order = order[torch.cat(prices)[order].argsort(stable=True)]
    if len(order) < wanted:
        raise selection.UnreachableTarget(1 - amount, 1 - len(order) / total)
    counts = torch.cat(owners)[order[:wanted]].bincount(minlength=len(names)).tolist()
    return {name: count / sizes[name] for name, count in zip(names, counts)}


def wrong_ties_by_name(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: of equally cheap pieces those of one layer go first."""
    pieces = sorted(_pieces(curves, sizes), key=lambda piece: (piece[0], piece[2], piece[1]))
    return _fill(pieces, curves, sizes, amount)


def wrong_drop_at_the_end_of_a_piece(curves, sizes, amount):
    """Fails test_allocate_takes_the_cheapest_first: a piece costs all that is lost by its end, not what it adds."""
    pieces = []
    for name, curve in curves.items():
        corners, size = convex(curve), sizes[name]
        for (start, _), (end, high) in zip(corners, corners[1:]):
            pieces.append((high / (end - start) / size, end, name, round(end * size) - round(start * size)))
    return _fill(sorted(pieces), curves, sizes, amount)
