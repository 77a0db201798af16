import itertools
import math

from scipy.optimize import brentq

from tinyshrink import selection
from tinyshrink.selection import UnreachableTarget


def wrong_the_level_that_costs_too_much(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_stays_below_a_jump: returns the other end of the last interval."""
    if cost(low) > target + tolerance:
        raise selection.UnreachableTarget(target, cost(low))
    if cost(high) <= target + tolerance:
        return high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= target + tolerance else (low, middle)
    return high + 1e-12


def wrong_the_middle(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_stays_below_a_jump: ten halvings, then a middle that nobody has tried."""
    if cost(low) > target + tolerance:
        raise selection.UnreachableTarget(target, cost(low))
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= target + tolerance else (low, middle)
    return (low + high) / 2


def wrong_root_of_the_cost(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_stays_below_a_jump: looks for a level that costs the target, where there may be none."""
    if cost(low) > target + tolerance:
        raise selection.UnreachableTarget(target, cost(low))
    if cost(high) <= target + tolerance:
        return high
    return brentq(lambda level: cost(level) - target - tolerance, low, high) + 1e-9


def wrong_no_check_of_the_low_end(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_at_the_ends: gives the lowest level where even that costs too much."""
    if cost(high) <= target + tolerance:
        return high
    return right_bisection(lambda level: cost(level) if level > low else -1, low, high, target, tolerance)


def wrong_no_check_of_the_high_end(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_at_the_ends: bisects towards the high end and never tries it."""
    if cost(low) > target + tolerance:
        raise selection.UnreachableTarget(target, cost(low))
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= target + tolerance else (low, middle)
    return low


def wrong_levels_are_fractions(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_of_a_smooth_cost: searches 0 to 1, although a score may be anything."""
    return right_bisection(cost, 0.0, 1.0, target, tolerance)


def wrong_within_the_tolerance_of_the_target(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_of_a_smooth_cost: stops at any level whose cost is near the target, as AIMET's code."""
    if cost(low) > target + tolerance:
        raise selection.UnreachableTarget(target, cost(low))
    if cost(high) <= target + tolerance:
        return high
    for _ in range(100):
        middle = (low + high) / 2
        if abs(cost(middle) - target) <= tolerance:
            return middle
        low, high = (middle, high) if cost(middle) <= target else (low, middle)
    return low


def wrong_the_other_direction(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_of_a_smooth_cost: goes down where it is cheap enough, and so finds the lowest level."""
    if cost(low) > target + tolerance:
        raise selection.UnreachableTarget(target, cost(low))
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= target + tolerance else (middle, high)
    return low


def wrong_no_tolerance(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_of_a_smooth_cost: the tolerance is not used."""
    return right_bisection(cost, low, high, target, 0)


def right_bisection(cost, low, high, target, tolerance=1e-3, precision=0.0):
    def cheap(level):
        return cost(level) <= target + tolerance + 1e-12

    if not cheap(low):
        raise selection.UnreachableTarget(target, cost(low))
    if cheap(high):
        return high
    width = high - low
    for _ in range(80):
        width /= 2
        if low + width < high and cheap(low + width):
            low += width
    return low


def right_ever_finer_grids(cost, low, high, target, tolerance=1e-3, precision=0.0):
    if cost(low) > target + tolerance:
        raise selection.UnreachableTarget(target, cost(low))
    while True:
        grid = [low + (high - low) * i / 10 for i in range(11)]
        good = list(itertools.takewhile(lambda level: cost(level) <= target + tolerance, grid))
        if len(good) == len(grid):
            return high
        if math.isclose(good[-1], grid[len(good)], rel_tol=1e-12, abs_tol=1e-12):
            return good[-1]
        low, high = good[-1], grid[len(good)]


def _bisect_with(cost, low, high, target, tolerance, rounds=2000, precision=0.0, slack=1e-12):
    limit = target + tolerance + slack
    if cost(low) > limit:
        raise UnreachableTarget(target, cost(low))
    if cost(high) <= limit:
        return high
    for _ in range(rounds):
        middle = (low + high) / 2
        if high - low <= precision or not low < middle < high:
            break
        low, high = (middle, high) if cost(middle) <= limit else (low, middle)
    return low


def wrong_ten_rounds(cost, low, high, target, tolerance=1e-3, precision=0.0):
    """Fails test_highest_level_of_a_smooth_cost: ten halvings are enough for a picture."""
    return _bisect_with(cost, low, high, target, tolerance, 10)


def right_recursive(cost, low, high, target, tolerance=1e-3, precision=0.0):
    limit = target + tolerance + 1e-12

    def between(cheap, dear):
        middle = cheap + (dear - cheap) / 2
        if dear - cheap <= precision or middle in (cheap, dear):
            return cheap
        return between(middle, dear) if cost(middle) <= limit else between(cheap, middle)

    if cost(low) > limit:
        raise selection.UnreachableTarget(target, cost(low))
    return high if cost(high) <= limit else between(low, high)
