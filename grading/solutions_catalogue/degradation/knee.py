import numpy as np


def _ends(curve):
    points = sorted(curve, key=lambda point: point.cost)
    return points, points[0], points[-1]


def wrong_before_the_largest_fall(curve):
    """Fails test_knee_is_farthest_above_the_line: takes the last point before the score falls most."""
    points = sorted(curve, key=lambda point: -point.cost)
    falls = [before.score - after.score for before, after in zip(points, points[1:])]
    return points[falls.index(max(falls))]


def wrong_steepest_slope(curve):
    """Fails test_knee_is_farthest_above_the_line: takes the point where the slope behind it is the steepest."""
    points = sorted(curve, key=lambda point: -point.cost)
    slopes = [(a.score - b.score) / (a.cost - b.cost) for a, b in zip(points, points[1:])]
    return points[int(np.argmax(slopes))]


def wrong_either_side_of_the_line(curve):
    """Fails test_knee_is_farthest_above_the_line: a distance has no sign, so a point far below the line wins as well."""
    points, small, large = _ends(curve)
    slope = (large.score - small.score) / (large.cost - small.cost)
    return max(points, key=lambda point: abs(point.score - small.score - slope * (point.cost - small.cost)))


def wrong_numbered_points(curve):
    """Fails test_knee_is_farthest_above_the_line: the line over 0, 1, 2, ... in place of the costs."""
    points, small, large = _ends(curve)
    step = (large.score - small.score) / (len(points) - 1)
    return max(enumerate(points), key=lambda pair: pair[1].score - small.score - step * pair[0])[1]


def wrong_order_as_given(curve):
    """Fails test_knee_takes_points_in_any_order: the line goes from the first point of the list to its last."""
    first, last = curve[0], curve[-1]
    slope = (last.score - first.score) / (last.cost - first.cost)
    return max(curve, key=lambda point: (point.score - first.score - slope * (point.cost - first.cost), -point.cost))


def wrong_sorts_what_it_was_given(curve):
    """Fails test_knee_takes_points_in_any_order: sorts the list of the caller."""
    curve.sort(key=lambda point: point.cost)
    return right_vertical(curve)


def wrong_larger_among_equals(curve):
    """Fails test_knee_takes_points_in_any_order: of equally good points the largest network."""
    points, small, large = _ends(curve)
    slope = (large.score - small.score) / (large.cost - small.cost)
    return max(points[::-1], key=lambda point: point.score - small.score - slope * (point.cost - small.cost))


def wrong_efficiency(curve):
    """Fails test_knee_is_farthest_above_the_line: document 000's idea, the loss for each unit of size saved, at its least."""
    points = sorted(curve, key=lambda point: -point.cost)
    return min(points[1:], key=lambda point: (points[0].score - point.score) / (1 - point.cost / points[0].cost))


def wrong_counts_from_the_ground(curve):
    """Fails test_knee_is_farthest_above_the_line: the line from the origin to the largest point."""
    points, _, large = _ends(curve)
    return max(points, key=lambda point: point.score - large.score * point.cost / large.cost)


def right_vertical(curve):
    points, small, large = _ends(curve)
    slope = (large.score - small.score) / (large.cost - small.cost)
    return max(points, key=lambda point: point.score - small.score - slope * (point.cost - small.cost))


def right_kneedle(curve):
    """Kneedle (Satopaa et al. 2011): both axes scaled to 0..1, then the height above the diagonal."""
    points, small, large = _ends(curve)
    costs = np.array([(point.cost - small.cost) / (large.cost - small.cost) for point in points])
    scores = np.array([point.score - small.score for point in points])
    return points[int(np.argmax(scores - (large.score - small.score) * costs))]


def right_by_cross_product(curve):
    best = None
    points, small, large = _ends(curve)
    for point in points:
        run, rise = point.cost - small.cost, point.score - small.score
        area = (large.cost - small.cost) * rise - (large.score - small.score) * run
        if best is None or area > best[0] + 1e-9:
            best = area, point
    return best[1]


def wrong_line_from_best_to_worst(curve):
    """Fails test_knee_is_farthest_above_the_line: the line from the best score to the worst."""
    a, b = min(curve, key=lambda p: p.score), max(curve, key=lambda p: p.score)
    slope = (b.score - a.score) / ((b.cost - a.cost) or 1)
    return max(sorted(curve, key=lambda p: p.cost), key=lambda p: p.score - a.score - slope * (p.cost - a.cost))
