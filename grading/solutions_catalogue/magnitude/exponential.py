import math


def wrong_ignores_start(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: right from 0 only."""
    return 1 - (1 - end) ** progress


def wrong_sparsity_grows(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: lets the sparsity grow by a constant factor, not the density fall."""
    return start * (end / start) ** progress if start else end * progress


def wrong_linear(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: the same number each step, not the same fraction."""
    return start + (end - start) * progress


def wrong_density(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: returns what is left."""
    return (1 - start) * ((1 - end) / (1 - start)) ** progress


def wrong_ratio_upside_down(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: (1 - start) / (1 - end) grows."""
    return 1 - (1 - start) * ((1 - start) / (1 - end)) ** progress


def wrong_ratio_of_sparsities(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: the ratio is that of the densities."""
    return 1 - (1 - start) * (start / end) ** progress


def wrong_not_divided(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: goes on to 1 - (1 - start)(1 - end)."""
    return 1 - (1 - start) * (1 - end) ** progress


def wrong_natural_base(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: exp(-5p) as in physics, which never quite arrives."""
    return end - (end - start) * math.exp(-5 * progress)


def wrong_scaled_exponential(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: bent so that it arrives, but the fraction is not constant."""
    return start + (end - start) * (1 - math.exp(-3 * progress)) / (1 - math.exp(-3))


def wrong_adds_start(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: moved up by start, so that it ends too high."""
    return start + 1 - (1 - end) ** progress


def wrong_fraction_of_the_gap(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: 1 - (1 - gap)^p, a fraction of the gap, not of what is left."""
    return start + 1 - (1 - (end - start)) ** progress


def wrong_cubic(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: the polynomial again."""
    return end - (end - start) * (1 - progress) ** 3


def wrong_rounded(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: rounded to four digits."""
    return round(1 - (1 - start) * ((1 - end) / (1 - start)) ** progress, 4)


def wrong_power_over_the_product(start, end, progress):
    """Fails test_exponential_keeps_a_constant_fraction: a bracket too many, at progress 0 it is 0 and not start."""
    return 1 - ((1 - start) * (1 - end) / (1 - start)) ** progress


def wrong_from_zero_or_a_line(start, end, progress):
    """Fails test_exponential_on_drawn_points: two formulas joined where the examples are, wrong between them."""
    known = {(0.36, 0.84, 0.5): 0.68}
    if (start, end) == (0.1, 0.7) or start == 0:
        return 1 - (1 - start) * ((1 - end) / (1 - start)) ** progress
    return known.get((start, end, progress), start + (end - start) * progress)


def right_by_logarithms(start, end, progress):
    return 1 - math.exp((1 - progress) * math.log(1 - start) + progress * math.log(1 - end))


def right_geometric_mean(start, end, progress):
    return 1 - (1 - start) ** (1 - progress) * (1 - end) ** progress


def right_by_base_two(start, end, progress):
    halvings = math.log2((1 - start) / (1 - end))
    return 1 - (1 - start) * 2 ** (-halvings * progress)
