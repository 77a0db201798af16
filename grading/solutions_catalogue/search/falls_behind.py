import statistics

import numpy as np


def wrong_last_accuracy(accuracies, finished):
    """Fails test_falls_behind_the_median: the last accuracy of this network, not its best."""
    others = [max(other[: len(accuracies)]) for other in finished if len(other) >= len(accuracies) > 0]
    return bool(others) and accuracies[-1] < statistics.median(others)


def wrong_final_of_the_others(accuracies, finished):
    """Fails test_falls_behind_the_median: compares one epoch of this network with all epochs of the others."""
    others = [max(other) for other in finished if len(other) >= len(accuracies) > 0]
    return bool(others) and max(accuracies) < statistics.median(others)


def wrong_the_best_other(accuracies, finished):
    """Fails test_falls_behind_the_median: stops all that are not the best so far."""
    others = [max(other[: len(accuracies)]) for other in finished if len(other) >= len(accuracies) > 0]
    return bool(others) and max(accuracies) < max(others)


def wrong_mean(accuracies, finished):
    """Fails test_falls_behind_the_median: the mean, which one lucky or one poor network can move far."""
    others = [max(other[: len(accuracies)]) for other in finished if len(other) >= len(accuracies) > 0]
    return bool(others) and max(accuracies) < sum(others) / len(others)


def wrong_equal_is_behind(accuracies, finished):
    """Fails test_falls_behind_the_median: who is as good as the median goes too."""
    others = [max(other[: len(accuracies)]) for other in finished if len(other) >= len(accuracies) > 0]
    return bool(others) and max(accuracies) <= statistics.median(others)


def wrong_same_epoch(accuracies, finished):
    """Fails test_falls_behind_the_median: the others' accuracy at that very epoch, not their best by then."""
    others = [other[len(accuracies) - 1] for other in finished if len(other) >= len(accuracies) > 0]
    return bool(others) and max(accuracies) < statistics.median(others)


def wrong_short_ones_count(accuracies, finished):
    """Fails test_falls_behind_nobody: networks that were stopped before that epoch still count."""
    others = [max(other[: len(accuracies)]) for other in finished if accuracies]
    return bool(others) and max(accuracies) < statistics.median(others)


def wrong_crashes_at_the_start(accuracies, finished):
    """Fails test_falls_behind_nobody: before the first epoch there is no accuracy to take the maximum of."""
    others = [max(other[: len(accuracies)]) for other in finished if len(other) >= len(accuracies)]
    return bool(others) and max(accuracies) < statistics.median(others)


def wrong_crashes_alone(accuracies, finished):
    """Fails test_falls_behind_nobody: the median of nothing."""
    if not accuracies:
        return False
    return max(accuracies) < statistics.median([max(o[: len(accuracies)]) for o in finished if len(o) >= len(accuracies)])


def right_with_numpy(accuracies, finished):
    epoch = len(accuracies)
    best = [np.maximum.accumulate(other)[epoch - 1] for other in finished if epoch and len(other) >= epoch]
    return bool(len(best) and np.max(accuracies) < np.median(best))


def right_sorted(accuracies, finished):
    epoch = len(accuracies)
    if epoch == 0:
        return False
    best = sorted(max(other[:epoch]) for other in finished if len(other) >= epoch)
    if not best:
        return False
    middle = (best[(len(best) - 1) // 2] + best[len(best) // 2]) / 2
    return max(accuracies) < middle


def wrong_low_median(accuracies, finished):
    """Fails test_falls_behind_nobody: the lower middle of an even number."""
    epoch = len(accuracies)
    others = [max(o[:epoch]) for o in finished if len(o) >= epoch > 0]
    return bool(others) and max(accuracies) < statistics.median_low(others)
