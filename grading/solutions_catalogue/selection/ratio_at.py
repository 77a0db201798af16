import numpy as np


def wrong_first_that_is_good(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_of_a_noisy_column: takes the smallest ratio above the level, whatever comes behind it."""
    points = sorted({**column, 1.0: baseline}.items())
    if interpolate and baseline < level:
        return 1.0
    if points[0][1] >= level:
        return points[0][0]
    for (left, below), (right, above) in zip(points, points[1:]):
        if above >= level:
            return left + (level - below) / (above - below) * (right - left) if interpolate else right
    return 1.0


def wrong_np_interp(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_of_a_noisy_column: np.interp with the scores as x, which have to rise for that."""
    if not interpolate:
        return right_from_the_top(column, level, baseline, False)
    points = sorted({**column, 1.0: baseline}.items())
    return float(np.interp(level, [score for _, score in points], [ratio for ratio, _ in points]))


def wrong_no_baseline(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_interpolates: above the largest candidate there is nothing between it and 1.0."""
    if interpolate and level > column[max(column)]:
        return 1.0
    return right_from_the_top(column, level, baseline, interpolate)


def wrong_always_interpolates(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_snaps_to_what_was_evaluated: ignores the switch."""
    return right_from_the_top(column, level, baseline)


def wrong_never_interpolates(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_interpolates: what AIMET's code does, not what its text says."""
    return right_from_the_top(column, level, baseline, False)


def wrong_nearest_score(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_snaps_to_what_was_evaluated: takes the candidate with the nearest score, which may be below."""
    if interpolate:
        return right_from_the_top(column, level, baseline)
    return min(column, key=lambda ratio: abs(column[ratio] - level))


def wrong_strictly_above(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_snaps_to_what_was_evaluated: a score equal to the level is refused (AIMET's fault)."""
    if interpolate:
        return right_from_the_top(column, level, baseline)
    good = [r for r in column if all(column[other] > level for other in column if other >= r)]
    return min(good, default=1.0)


def wrong_below_all_gives_zero(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_interpolates: goes on down the line to ratio 0, where nothing was measured."""
    if not interpolate:
        return right_from_the_top(column, level, baseline, False)
    smallest = min(column)
    result = right_from_the_top(column, level, baseline)
    return smallest * level / column[smallest] if result == smallest and column[smallest] > level else result


def wrong_fraction_the_wrong_way(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_interpolates: measures the distance from the upper point and adds it to the lower one."""
    points = sorted({**column, 1.0: baseline}.items(), reverse=True)
    if not interpolate or level > baseline:
        return right_from_the_top(column, level, baseline, interpolate)
    for (right, above), (left, below) in zip(points, points[1:]):
        if below < level:
            return left + (above - level) / (above - below) * (right - left)
    return points[-1][0]


def right_from_the_top(column, level, baseline, interpolate=True):
    ratios = sorted(column)
    if interpolate:
        if level > baseline:
            return 1.0
        ratios.append(1.0)
    scores = [column.get(ratio, baseline) if ratio < 1 else baseline for ratio in ratios]
    start = len(ratios)
    while start and scores[start - 1] >= level:
        start -= 1
    if start == 0:
        return ratios[0]
    if start == len(ratios):
        return 1.0
    if not interpolate:
        return ratios[start]
    slope = (ratios[start] - ratios[start - 1]) / (scores[start] - scores[start - 1])
    return ratios[start - 1] + (level - scores[start - 1]) * slope


def right_worst_score_from_here_on(column, level, baseline, interpolate=True):
    ratios = np.array(sorted({*column, 1.0}))
    scores = np.array([column[ratio] if ratio < 1 else baseline for ratio in ratios.tolist()], dtype=float)
    if not interpolate:
        worst = np.minimum.accumulate(scores[:-1][::-1])[::-1]
        good = ratios[:-1][worst >= level]
        return float(good[0]) if len(good) else 1.0
    worst = np.minimum.accumulate(scores[::-1])[::-1]
    good = np.flatnonzero(worst >= level)
    if not len(good):
        return 1.0
    if good[0] == 0:
        return float(ratios[0])
    pair = slice(good[0] - 1, good[0] + 1)
    return float(np.interp(level, scores[pair], ratios[pair]))


def _ratio_with(column, level, baseline, interpolate):
    points = sorted(({**column, 1.0: baseline}).items(), reverse=True)
    if interpolate and baseline < level:
        return 1.0
    (right, above), *rest = points
    for ratio, score in rest:
        if score < level:
            return right - (above - level) / (above - score) * (right - ratio) if interpolate else right
        right, above = ratio, score
    return right


def wrong_writes_the_baseline_into_the_table(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_leaves_the_table_alone: column[1.0] = baseline, in the dict of the caller."""
    column[1.0] = baseline
    return _ratio_with(column, level, baseline, interpolate)


def wrong_keeps_a_measured_one(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_leaves_the_table_alone: a score of ratio 1.0 in the column wins over the baseline."""
    return _ratio_with(column, level, column.get(1.0, baseline), interpolate)


def wrong_at_the_baseline_nothing_may_go(column, level, baseline, interpolate=True):
    """Fails test_ratio_at_interpolates: takes the level of the baseline for one above it."""
    return 1.0 if interpolate and baseline <= level else _ratio_with(column, level, baseline, interpolate)
