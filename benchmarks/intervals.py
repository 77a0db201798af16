"""What the benchmarks share: a mean over seeds with its 95% interval."""

import math
import statistics

from scipy.stats import t as student_t


def interval(values):
    """(mean, half width of the 95% interval, by Student's t) of a list; one value alone has no interval: nan."""
    if len(values) == 1:
        return values[0], math.nan
    half = student_t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), half


def points(values):
    """The same of a list of fractions, as text in percentage points: "+0.31 ± 0.12"."""
    mean, half = interval(values)
    return f"{100 * mean:+.2f} ± {100 * half:.2f}"
