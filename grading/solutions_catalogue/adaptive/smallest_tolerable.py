from fractions import Fraction


def wrong_points_for_percent(original, absolute=None, relative=None):
    """Fails test_smallest_tolerable_of_a_relative_drop: takes percent of the original for percentage points."""
    return original - (absolute if relative is None else relative / 100)


def wrong_a_fraction_for_percent(original, absolute=None, relative=None):
    """Fails test_smallest_tolerable_of_a_relative_drop: takes 1 percent for a fraction of 1."""
    return original - absolute if relative is None else original * (1 - relative)


def wrong_zero_is_not_given(original, absolute=None, relative=None):
    """Fails test_smallest_tolerable_of_an_absolute_drop: a drop of 0 is falsy, and taken for one that was not given."""
    return original - absolute if absolute else original * (1 - relative / 100)


def wrong_absolute_in_percent(original, absolute=None, relative=None):
    """Fails test_smallest_tolerable_of_an_absolute_drop: divides the absolute drop by 100 too."""
    return original - absolute / 100 if relative is None else original * (1 - relative / 100)


def wrong_the_drop_itself(original, absolute=None, relative=None):
    """Fails test_smallest_tolerable_of_an_absolute_drop: returns how much may be lost, not what must be left."""
    return absolute if relative is None else original * relative / 100


def wrong_never_below_zero(original, absolute=None, relative=None):
    """Fails test_smallest_tolerable_of_an_absolute_drop: clips, but a metric such as a negative loss lies below zero."""
    return max(0.0, original - absolute if relative is None else original * (1 - relative / 100))


def wrong_relative_of_what_is_left(original, absolute=None, relative=None):
    """Fails test_smallest_tolerable_of_a_relative_drop: divides, so that 1 percent are of the smaller accuracy."""
    return original - absolute if relative is None else original / (1 + relative / 100)


def right_by_cases(original, absolute=None, relative=None):
    if absolute is not None:
        return original - absolute
    return original - original * relative / 100


def right_in_fractions(original, absolute=None, relative=None):
    drop = Fraction(absolute) if relative is None else Fraction(original) * Fraction(relative) / 100
    return float(Fraction(original) - drop)
