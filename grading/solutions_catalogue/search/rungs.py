import math


def wrong_float_logarithm(networks, epochs, factor=3):
    """Fails test_rungs_at_the_ends: math.log(243, 3) is 4.999..., one rung too few."""
    count = 1 + int(min(math.log(networks, factor), math.log(epochs, factor)))
    first = epochs // factor ** (count - 1)
    return [(-(-networks // factor**i), first * factor**i) for i in range(count)]


def wrong_rounded_down(networks, epochs, factor=3):
    """Fails test_rungs_of_known_searches: a third of 5 is 1 when rounded down, and 2 when rounded up."""
    return [(networks // factor**i, spent) for i, (_, spent) in enumerate(right_recursive(networks, epochs, factor))]


def wrong_starts_with_one_epoch(networks, epochs, factor=3):
    """Fails test_rungs_of_known_searches: always from one epoch on, however many there are for the last rung."""
    return [(count, factor**i) for i, (count, _) in enumerate(right_recursive(networks, epochs, factor))]


def wrong_epochs_of_each_rung(networks, epochs, factor=3):
    """Fails test_rungs_of_known_searches: the epochs that a rung adds, not those that each network has had by then."""
    plan = right_recursive(networks, epochs, factor)
    return [(count, spent - before) for (count, spent), (_, before) in zip(plan, [(0, 0), *plan])]


def wrong_ignores_the_epochs(networks, epochs, factor=3):
    """Fails test_rungs_at_the_ends: as many rungs as the networks ask for, so that the first has no epoch at all."""
    count = 1
    while factor**count <= networks:
        count += 1
    first = epochs // factor ** (count - 1)
    return [(-(-networks // factor**i), first * factor**i) for i in range(count)]


def wrong_down_to_one(networks, epochs, factor=3):
    """Fails test_rungs_of_known_searches: goes on until one network is left, with a rung that has fewer than it asks for."""
    plan, first, last = [], networks, 1
    while first > 1:
        first, last = -(-first // factor), last * factor
    first, spent = networks, max(1, epochs // last)
    while True:
        plan.append((first, spent))
        if first == 1 or spent * factor > epochs:
            return plan
        first, spent = -(-first // factor), spent * factor


def wrong_drops_a_third(networks, epochs, factor=3):
    """Fails test_rungs_of_known_searches: drops 1 / factor of the networks in place of keeping it."""
    plan = right_recursive(networks, epochs, factor)
    return [(math.ceil(networks * (1 - 1 / factor) ** i), spent) for i, (_, spent) in enumerate(plan)]


def wrong_halves(networks, epochs, factor=3):
    """Fails test_rungs_of_known_searches: halves, whatever the factor says."""
    return right_recursive(networks, epochs, 2)


def right_recursive(networks, epochs, factor=3):
    powers = [1]
    while powers[-1] * factor <= networks and powers[-1] * factor <= epochs:
        powers.append(powers[-1] * factor)
    return [(math.ceil(networks / power), epochs // powers[-1] * power) for power in powers]


def right_backwards(networks, epochs, factor=3):
    rung = max(r for r in range(64) if factor**r <= networks and factor**r <= epochs)
    plan, spent = [], (epochs // factor**rung) * factor**rung
    for i in range(rung, -1, -1):
        whole, rest = divmod(networks, factor**i)
        plan.insert(0, (whole + (rest > 0), spent))
        spent //= factor
    return plan


def _count_with(networks, epochs, factor):
    count = 1
    while factor**count <= min(networks, epochs):
        count += 1
    return count


def right_rounds_up_rung_by_rung(networks, epochs, factor=3):
    n, out, left = _count_with(networks, epochs, factor), [], networks
    first = epochs // factor ** (n - 1)
    for i in range(n):
        out.append((left, first * factor**i))
        left = -(-left // factor)
    return out
