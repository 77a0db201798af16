def wrong_slow_first(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: progress^power begins slowly, the published one begins fast."""
    return start + (end - start) * progress**power


def wrong_always_cubic(start, end, progress, power=3):
    """Fails test_polynomial_of_any_power: copied the 3 of the paper."""
    return end - (end - start) * (1 - progress) ** 3


def wrong_ignores_start(start, end, progress, power=3):
    """Fails test_polynomial_of_any_power: right from 0 only."""
    return end - end * (1 - progress) ** power


def wrong_adds_start(start, end, progress, power=3):
    """Fails test_polynomial_of_any_power: starts at `start`, and ends at end + start."""
    return start + end * (1 - (1 - progress) ** power)


def wrong_density(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: returns what is left."""
    return 1 - (end - (end - start) * (1 - progress) ** power)


def wrong_sign(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: s_i - s_f is negative already in the paper's formula."""
    return end - (start - end) * (1 - progress) ** power


def wrong_from_end_to_start(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: mixed up where it begins with where it ends."""
    return start + (end - start) * (1 - progress) ** power


def wrong_power_outside(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: 1 - p^3 in place of (1 - p)^3."""
    return end - (end - start) * (1 - progress**power)


def wrong_times_power(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: multiplies with the power."""
    return end - (end - start) * (1 - progress) * power


def wrong_linear(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: a straight line."""
    return start + (end - start) * progress


def wrong_rounded(start, end, progress, power=3):
    """Fails test_polynomial_of_any_power: rounded to the digits of the example."""
    return round(end - (end - start) * (1 - progress) ** power, 4)


def wrong_whole_powers(start, end, progress, power=3):
    """Fails test_polynomial_of_any_power: a loop over range(power) multiplies a whole number of times."""
    left = 1.0
    for _ in range(int(power)):
        left *= 1 - progress
    return end - (end - start) * left


def wrong_start_after_the_power(start, end, progress, power=3):
    """Fails test_polynomial_of_any_power: the bracket ends too late."""
    return end - end * (1 - progress) ** power + start * (1 - progress)


def wrong_in_percent(start, end, progress, power=3):
    """Fails test_polynomial_is_cubic_as_published: sparsity is a fraction."""
    return 100 * (end - (end - start) * (1 - progress) ** power)


def wrong_default_power(start, end, progress, power=2):
    """Fails test_polynomial_is_cubic_as_published: the power that the paper uses is 3."""
    return end - (end - start) * (1 - progress) ** power


def wrong_tabulated(start, end, progress, power=3):
    """Fails test_polynomial_on_drawn_points: gives back the values of the example, and a straight line elsewhere."""
    table = {
        (0, 0.9, 0.5, 3): 0.7875,
        (0.2, 0.8, 0.5, 2): 0.65,
        (0.1, 0.9, 0.25, 4): 0.646875,
        (0, 0.5, 0.75, 0.5): 0.25,
    }
    cubic = dict(enumerate((0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9)))
    if (start, end, power) == (0, 0.9, 3):
        return cubic[round(10 * progress)]
    return table.get((start, end, progress, power), start + (end - start) * progress)


def right_as_in_the_paper(start, end, progress, power=3):
    return end + (start - end) * (1 - progress) ** power


def right_mixture(start, end, progress, power=3):
    left = pow(1 - progress, power)
    return left * start + (1 - left) * end


def right_by_numpy(start, end, progress, power=3):
    import numpy as np

    return float(np.interp(1 - np.power(1.0 - progress, power), [0, 1], [start, end]))
