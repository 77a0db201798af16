from tinyshrink.adaptive import is_good


def wrong_the_most_accurate(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_takes_the_higher_rate_then_the_accuracy: keeps the most accurate, as in ordinary training."""
    return accuracy >= smallest - 1e-9 and (best is None or accuracy > best[1])


def wrong_the_highest_rate_even_if_bad(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_never_takes_a_bad_one: a later bad visit overwrites a good snapshot."""
    return best is None or (rate, accuracy) > best


def wrong_the_latest_good_one(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_takes_the_higher_rate_then_the_accuracy: every good one takes the place of the one before."""
    return accuracy >= smallest - 1e-9


def wrong_both_must_rise(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_takes_the_higher_rate_then_the_accuracy: asks for a higher rate and a higher accuracy."""
    return accuracy >= smallest - 1e-9 and (best is None or (rate >= best[0] and accuracy > best[1]))


def wrong_equal_ones_too(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_takes_the_higher_rate_then_the_accuracy: copies a model for nothing."""
    return accuracy >= smallest - 1e-9 and (best is None or (rate, accuracy) >= best)


def wrong_only_a_higher_rate(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_takes_the_higher_rate_then_the_accuracy: ignores later, better epochs at the same rate."""
    return accuracy >= smallest - 1e-9 and (best is None or rate > best[0])


def wrong_first_one_is_free(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_never_takes_a_bad_one: without a best one, anything is taken."""
    if best is None:
        return True
    return accuracy >= smallest - 1e-9 and (rate, accuracy) > best


def wrong_no_tolerance(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_never_takes_a_bad_one: 0.9 - 0.01 is a little less than 0.89 in floating point."""
    return accuracy > smallest and (best is None or (rate, accuracy) > best)


def right_by_cases(rate, accuracy, best, smallest):
    if accuracy + 1e-9 < smallest:
        return False
    if best is None:
        return True
    best_rate, best_accuracy = best
    return accuracy > best_accuracy if rate == best_rate else rate > best_rate


def right_by_sorting(rate, accuracy, best, smallest):
    candidates = [entry for entry in (best, (rate, accuracy)) if entry is not None]
    good = accuracy - smallest >= -1e-9
    return good and sorted(candidates)[-1] == (rate, accuracy) and best != (rate, accuracy)


def wrong_best_of_rate_zero(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_takes_the_higher_rate_then_the_accuracy: `not best[0]` takes a best one of rate 0 for none."""
    if not is_good(accuracy, smallest):
        return False
    return best is None or not best[0] or (rate, accuracy) > best


def wrong_rates_in_steps(rate, accuracy, best, smallest):
    """Fails test_keep_snapshot_takes_the_higher_rate_then_the_accuracy: rates are compared to one percent."""
    if not is_good(accuracy, smallest):
        return False
    return best is None or (round(rate, 2), accuracy) > (round(best[0], 2), best[1])
