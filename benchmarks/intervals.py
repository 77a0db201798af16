"""What the benchmarks share: which images a network gets right, and a mean with its 95% interval."""

import math
import statistics

import torch
from scipy.stats import t as student_t


@torch.no_grad()
def correct(model, split):
    """Which images of a split `model` gets right, as a float tensor (N,) of 0 and 1."""
    model.eval()
    return torch.cat([model(x).argmax(1) == y for x, y in zip(split.x.split(500), split.y.split(500))]).float()


def interval(values):
    """(mean, half width of the 95% interval) of a list with the result of each run, by Student's t.

    A result is a number, or a tensor (N,) with one for each test image. A single run has the interval over its images
    (normal approximation); as one number it has none: nan.
    """
    means = [float(value.mean()) if isinstance(value, torch.Tensor) else value for value in values]
    if len(means) > 1:
        half = student_t.ppf(0.975, len(means) - 1) * statistics.stdev(means) / len(means) ** 0.5
    else:
        half = 1.96 * float(values[0].std()) / len(values[0]) ** 0.5 if isinstance(values[0], torch.Tensor) else math.nan
    return statistics.mean(means), half


def points(values, sign="+"):
    """The same as text in percentage points: "+0.31 ± 0.12", or "+0.31 (one run)"; sign "" leaves out the plus."""
    mean, half = interval(values)
    return f"{100 * mean:{sign}.2f} " + ("(one run)" if math.isnan(half) else f"± {100 * half:.2f}")
