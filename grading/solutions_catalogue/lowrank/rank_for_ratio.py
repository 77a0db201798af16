import math
import warnings
from bisect import bisect_right

from tinyshrink import lowrank


def _finish(rank, shape, scheme, metric, multiple):
    if rank < 1:
        warnings.warn("even rank 1 costs more", stacklevel=2)
    most = max(1, right_count_up(shape, 1.0, scheme, metric))
    return min(-(-max(1, rank) // multiple) * multiple, most)


def _costs(shape, scheme, metric):
    return lowrank.layer_cost(shape, metric), lowrank.svd_cost(shape, 1, scheme, metric)


def wrong_fraction_of_the_full_rank(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_of_known_layers: document 001's way, half the rank for half the cost."""
    full = min(shape.in_channels * shape.kernel[0], shape.out_channels * shape.kernel[1])
    return _finish(int(ratio * full), shape, scheme, metric, multiple)


def wrong_rounds_to_nearest(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_of_known_layers: round() may cost more than asked for."""
    whole, one = _costs(shape, scheme, metric)
    return _finish(round(ratio * whole / one), shape, scheme, metric, multiple)


def wrong_rounds_up(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_of_known_layers: ceil() costs more than asked for."""
    whole, one = _costs(shape, scheme, metric)
    return _finish(math.ceil(ratio * whole / one), shape, scheme, metric, multiple)


def wrong_plain_floor(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_gives_the_rank_back: 28.999999999999996 becomes 28."""
    whole, one = _costs(shape, scheme, metric)
    return _finish(math.floor(ratio * whole / one), shape, scheme, metric, multiple)


def wrong_below_the_ratio(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_gives_the_rank_back: a cost equal to the ratio is allowed, "at most"."""
    whole, one = _costs(shape, scheme, metric)
    return _finish(math.ceil(ratio * whole / one - 1e-9) - 1, shape, scheme, metric, multiple)


def wrong_may_be_zero(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_says_when_one_is_too_much: a rank of 0 is no layer."""
    whole, one = _costs(shape, scheme, metric)
    return math.floor(ratio * whole / one + 1e-9)


def wrong_silent(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_says_when_one_is_too_much: gives 1 and says nothing of the cost."""
    whole, one = _costs(shape, scheme, metric)
    rank, most = (max(1, math.floor(share * whole / one + 1e-9)) for share in (ratio, 1))
    return min(-(-rank // multiple) * multiple, most)


def wrong_rounds_down_to_the_multiple(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_of_known_layers: the rank is rounded up to the multiple, not down."""
    rank = right_count_up(shape, ratio, scheme, metric)
    return max(multiple, rank // multiple * multiple)


def wrong_no_cap(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_of_known_layers: rounded up beyond the rank at which anything is saved."""
    rank = right_count_up(shape, ratio, scheme, metric)
    return math.ceil(rank / multiple) * multiple


def wrong_always_weights(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_of_drawn_layers: the number of weights for MACs too, "H x W cancels", but not the stride."""
    return right_count_up(shape, ratio, scheme, "memory", multiple)


def wrong_ignores_the_scheme(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    """Fails test_rank_for_ratio_gives_the_rank_back: the spatial cost for both schemes."""
    return right_count_up(shape, ratio, "spatial", metric, multiple)


def right_count_up(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    budget, rank = ratio * lowrank.layer_cost(shape, metric) * (1 + 1e-12), 0
    while lowrank.svd_cost(shape, rank + 1, scheme, metric) <= budget:
        rank += 1
    if rank == 0:
        warnings.warn(f"rank 1 of {shape} costs more than {ratio}", stacklevel=2)
    if multiple == 1:
        return max(rank, 1)
    return min(-(-max(rank, 1) // multiple) * multiple, right_count_up(shape, 1.0, scheme, metric))


def right_bisection(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    whole = lowrank.layer_cost(shape, metric)

    def largest(share):
        ranks = range(1, whole + 2)
        return bisect_right(ranks, share * whole + 1e-6, key=lambda rank: lowrank.svd_cost(shape, rank, scheme, metric))

    rank, most = largest(ratio), max(1, largest(1.0))
    if not rank:
        warnings.warn(f"{shape}: rank 1 is above the ratio {ratio}", stacklevel=2)
        rank = 1
    rest = rank % multiple
    return min(rank + multiple - rest if rest else rank, most)


def right_whole_numbers(shape, ratio, scheme="spatial", metric="macs", multiple=1):
    one, whole = lowrank.svd_cost(shape, 1, scheme, metric), lowrank.layer_cost(shape, metric)
    most = max(1, whole // one)
    rank = round(ratio * whole * (1 + 1e-12)) // one if ratio * whole > 1e9 else int((ratio * whole + 1e-6) // one)
    if rank < 1:
        warnings.warn(f"even rank 1 costs {one / whole:.1%}", stacklevel=2)
    return min(most, -(-max(rank, 1) // multiple) * multiple)
