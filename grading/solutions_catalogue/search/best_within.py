import math

from tinyshrink import search
from tinyshrink.search import violations


def wrong_no_ties(trials, budget):
    """Fails test_best_within_takes_the_most_accurate: of several as accurate the first, however slow."""
    fitting = [t for t in trials if t.accuracies and not search.violations(t.ms, t.bytes, budget)]
    return max(fitting, key=lambda t: t.accuracy, default=None)


def wrong_forgets_bytes(trials, budget):
    """Fails test_best_within_takes_the_most_accurate: looks at the milliseconds alone."""
    fitting = [t for t in trials if t.accuracies and t.ms <= budget.max_ms]
    return min(fitting, key=lambda t: (-t.accuracy, t.ms), default=None)


def wrong_fastest(trials, budget):
    """Fails test_best_within_takes_the_most_accurate: the fastest that fits, which has the whole budget left over."""
    fitting = [t for t in trials if t.accuracies and not search.violations(t.ms, t.bytes, budget)]
    return min(fitting, key=lambda t: (t.ms, -t.accuracy), default=None)


def wrong_first_then_filter(trials, budget):
    """Fails test_best_within_takes_the_most_accurate: document 001's answer, the best of all, then a look at the budget."""
    best = max((t for t in trials if t.accuracies), key=lambda t: t.accuracy, default=None)
    return best if best and not search.violations(best.ms, best.bytes, budget) else None


def wrong_crashes_on_nothing(trials, budget):
    """Fails test_best_within_of_nothing: min() of nothing is an error."""
    fitting = [t for t in trials if t.accuracies and not search.violations(t.ms, t.bytes, budget)]
    return min(fitting, key=lambda t: (-t.accuracy, t.ms))


def wrong_nan_counts(trials, budget):
    """Fails test_best_within_of_nothing: a network that was not trained has nan, which compares as neither more nor less."""
    fitting = [t for t in trials if not search.violations(t.ms, t.bytes, budget)]
    return min(fitting, key=lambda t: (-t.accuracy, t.ms), default=None)


def wrong_best_epoch(trials, budget):
    """Fails test_best_within_takes_the_most_accurate: gives the accuracy, not the trial."""
    best = right_sorted(trials, budget)
    return best and best.accuracy


def right_sorted(trials, budget):
    fitting = [t for t in trials if t.accuracy == t.accuracy and t.ms <= budget.max_ms and t.bytes <= budget.max_bytes]
    fitting.sort(key=lambda t: t.ms)
    fitting.sort(key=lambda t: t.accuracy, reverse=True)
    return fitting[0] if fitting else None


def right_loop(trials, budget):
    best = None
    for trial in trials:
        if math.isnan(trial.accuracy) or search.violations(trial.ms, trial.bytes, budget):
            continue
        if best is None or trial.accuracy > best.accuracy or (trial.accuracy == best.accuracy and trial.ms < best.ms):
            best = trial
    return best


def wrong_zero_accuracy_is_none(trials, budget):
    """Fails test_best_within_of_nothing: best starts at accuracy 0, so that a network with nothing right is never chosen."""
    best, top = None, (0.0, 0.0)
    for t in trials:
        if math.isnan(t.accuracy) or violations(t.ms, t.bytes, budget):
            continue
        if (t.accuracy, -t.ms) > top or (best is None and t.accuracy > 0):
            best, top = t, (t.accuracy, -t.ms)
    return best


def wrong_accuracy_rounded(trials, budget):
    """Fails test_best_within_of_nothing: whole percents."""
    fitting = [t for t in trials if not math.isnan(t.accuracy) and not violations(t.ms, t.bytes, budget)]
    return min(fitting, key=lambda t: (-round(t.accuracy, 2), t.ms), default=None)
