import numpy as np


def wrong_more_ms_is_better(points):
    """Fails test_pareto_front_of_known_points: takes latency for something to maximize, like accuracy."""
    return right_all_pairs([(accuracy, -ms) for accuracy, ms in points])[::-1]


def wrong_dominated_needs_both_strictly(points):
    """Fails test_pareto_front_with_equals: a point goes only if another one is strictly better in both."""
    kept = [i for i, (a, t) in enumerate(points) if not any(b > a and s < t for b, s in points)]
    return sorted(kept, key=lambda i: (points[i][1], i))


def wrong_equals_kill_each_other(points):
    """Fails test_pareto_front_with_equals: at least as good in both is enough, so that two equal points both go."""
    kept = []
    for i, (a, t) in enumerate(points):
        if not any(j != i and b >= a and s <= t for j, (b, s) in enumerate(points)):
            kept.append(i)
    return sorted(kept, key=lambda i: points[i][1])


def wrong_first_of_equals(points):
    """Fails test_pareto_front_with_equals: keeps one of several equal points."""
    front, best = [], -1.0
    for i in sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0])):
        if points[i][0] > best:
            best = points[i][0]
            front.append(i)
    return front


def wrong_order_given(points):
    """Fails test_pareto_front_of_known_points: the front in the order of the points, not from the fastest on."""
    return sorted(right_all_pairs(points))


def wrong_points_for_indices(points):
    """Fails test_pareto_front_of_known_points: the points themselves."""
    return [points[i] for i in right_all_pairs(points)]


def wrong_ties_in_time_as_they_come(points):
    """Fails test_pareto_front_with_equals: sorts by ms alone, so that a worse one of two equally fast comes first and stays."""
    front, best = [], -1.0
    for i in sorted(range(len(points)), key=lambda i: (points[i][1], points[i][0])):
        if points[i][0] > best or (front and points[i] == points[front[-1]]):
            best = points[i][0]
            front.append(i)
    return front


def wrong_best_ratio(points):
    """Fails test_pareto_front_of_known_points: the best accuracy for a millisecond, a single point."""
    return [max(range(len(points)), key=lambda i: points[i][0] / points[i][1])] if points else []


def right_all_pairs(points):
    front = []
    for i, (accuracy, ms) in enumerate(points):
        beaten = False
        for other, faster in points:
            if other >= accuracy and faster <= ms and (other > accuracy or faster < ms):
                beaten = True
        if not beaten:
            front.append(i)
    return sorted(front, key=lambda i: points[i][1])


def right_with_numpy(points):
    if not len(points):
        return []
    accuracy, ms = np.array(points, dtype=float).T
    no_worse = (accuracy[:, None] >= accuracy[None]) & (ms[:, None] <= ms[None])
    beaten = (no_worse & ~no_worse.T).any(0)
    left = np.flatnonzero(~beaten)
    return left[np.argsort(ms[left], kind="stable")].tolist()
