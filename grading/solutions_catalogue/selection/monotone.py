import math

from sklearn.isotonic import isotonic_regression


def wrong_running_maximum(column):
    """Fails test_monotone_of_a_known_column: lifts every score to the best before it, which trusts the lucky ones."""
    best, result = -math.inf, {}
    for ratio in sorted(column):
        best = result[ratio] = max(best, column[ratio])
    return result


def wrong_running_minimum_from_the_right(column):
    """Fails test_monotone_of_a_known_column: lowers every score to the worst behind it."""
    worst, result = math.inf, {}
    for ratio in sorted(column, reverse=True):
        worst = result[ratio] = min(worst, column[ratio])
    return dict(sorted(result.items()))


def wrong_sorted_scores(column):
    """Fails test_monotone_of_a_known_column: sorts the scores, so that they belong to other ratios."""
    return dict(zip(sorted(column), sorted(column.values())))


def wrong_one_pass(column):
    """Fails test_monotone_pools_more_than_two: averages neighbours once and does not look back."""
    ratios = sorted(column)
    scores = [column[ratio] for ratio in ratios]
    for i in range(1, len(scores)):
        if scores[i] < scores[i - 1]:
            scores[i] = scores[i - 1] = (scores[i] + scores[i - 1]) / 2
    return dict(zip(ratios, scores))


def wrong_mean_of_means(column):
    """Fails test_monotone_pools_more_than_two: blocks of different sizes are averaged as if they were single scores."""
    blocks = []
    for ratio in sorted(column):
        blocks.append([column[ratio], [ratio]])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            score, ratios = blocks.pop()
            blocks[-1] = [(blocks[-1][0] + score) / 2, blocks[-1][1] + ratios]
    return {ratio: score for score, ratios in blocks for ratio in ratios}


def wrong_order_of_the_dict(column):
    """Fails test_monotone_pools_more_than_two: takes the ratios in the order in which they were measured."""
    return dict(zip(column, isotonic_regression(list(column.values())).tolist()))


def wrong_falling(column):
    """Fails test_monotone_of_a_known_column: fits a curve that falls."""
    ratios = sorted(column)
    return dict(zip(ratios, isotonic_regression([column[ratio] for ratio in ratios], increasing=False).tolist()))


def wrong_in_place(column):
    """Fails test_monotone_of_a_known_column: writes into the table that was measured."""
    column.update(right_pool_adjacent_violators(column))
    return dict(sorted(column.items()))


def right_pool_adjacent_violators(column):
    blocks = []  # sum, ratios
    for ratio in sorted(column):
        blocks.append((column[ratio], [ratio]))
        while len(blocks) > 1 and blocks[-2][0] / len(blocks[-2][1]) > blocks[-1][0] / len(blocks[-1][1]):
            total, ratios = blocks.pop()
            before, others = blocks.pop()
            blocks.append((before + total, others + ratios))
    return {ratio: total / len(ratios) for total, ratios in blocks for ratio in ratios}


def right_largest_mean_from_the_left_of_smallest_means(column):
    ratios = sorted(column)
    scores = [column[ratio] for ratio in ratios]
    mean = lambda start, end: sum(scores[start:end]) / (end - start)
    places = range(len(scores))
    return {ratios[i]: max(min(mean(j, k + 1) for k in places if k >= i) for j in places if j <= i) for i in places}


def wrong_mean_of_two_neighbours(column):
    """Fails test_monotone_pools_more_than_two: a block's mean is the mean of two numbers, whatever each stands for."""
    ratios = sorted(column)
    blocks = []
    for ratio in ratios:
        blocks.append([column[ratio], 1])
        while len(blocks) > 1 and blocks[-1][0] < blocks[-2][0]:
            value, n = blocks.pop()
            blocks[-1] = [(blocks[-1][0] + value) / 2, blocks[-1][1] + n]
    values = [value for value, n in blocks for _ in range(n)]
    return dict(zip(ratios, values))


def wrong_within_zero_and_one(column):
    """Fails test_monotone_pools_more_than_two: y_min=0 and y_max=1, though a score may be anything."""
    from sklearn.isotonic import IsotonicRegression

    ratios = sorted(column)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit_transform(ratios, [column[r] for r in ratios])
    return dict(zip(ratios, fitted.tolist()))
