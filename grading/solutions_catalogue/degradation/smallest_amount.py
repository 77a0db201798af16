from tinyshrink import selection


def _check_most(ratio_of, target, most):
    ratio = ratio_of(most)
    if ratio > target:
        raise selection.UnreachableTarget(target, ratio)
    return ratio


def wrong_last_one_tried(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_at_a_jump: document 000 returns what it tried last, on whichever side that is."""
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: _check_most(ratio_of, target, most)}
    while high - low > 1e-4 and steps[high] < target - tolerance:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        if steps[middle] > max(1.0, steps.get(low, 1.0)) + tolerance:
            raise ValueError("rises")
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return middle, steps


def wrong_the_one_that_removes_too_little(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_of_a_smooth_ratio: keeps both amounts, and returns the wrong one."""
    _, steps = right_bisection(ratio_of, target, most, tolerance)
    return max((a for a, ratio in steps.items() if ratio > target), default=0.0), steps


def wrong_near_enough_from_either_side(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_of_a_smooth_ratio: stops when the ratio is within the tolerance, above the target too."""
    amount, steps = right_bisection(ratio_of, target, most, tolerance)
    for step, ratio in steps.items():
        if abs(ratio - target) <= 3 * tolerance:
            return step, steps
    return amount, steps


def wrong_always_twenty_steps(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_of_a_smooth_ratio: document 000's twenty iterations, though each costs time."""
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: _check_most(ratio_of, target, most)}
    for _ in range(20):
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        if steps[middle] > steps.get(low, 1.0) + tolerance:
            raise ValueError("rises")
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return high, steps


def wrong_stops_by_ratio_only(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_at_a_jump: sizes jump, so it would never stop but for the machine's floats."""
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: _check_most(ratio_of, target, most)}
    while steps[high] < target - tolerance and low < (low + high) / 2 < high:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        if not steps[high] - tolerance <= steps[middle] <= steps.get(low, 1.0) + tolerance:
            raise ValueError("rises")
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return high, steps


def wrong_takes_most_unseen(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_says_what_cannot_be: never asks whether `most` is enough, and returns it if it is not."""
    low, high, steps = 0.0, most, {}
    while high - low > 1e-4 and steps.get(high, 0.0) < target - tolerance:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    steps.setdefault(high, ratio_of(high))
    return (0.0 if target == 1 else high), steps


def wrong_believes_every_ratio(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_says_what_cannot_be: does not look whether more compression costs more."""
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: _check_most(ratio_of, target, most)}
    while high - low > 1e-4 and steps[high] < target - tolerance:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return high, steps


def wrong_best_is_the_target(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_says_what_cannot_be: the error does not tell what could be reached."""
    try:
        return right_bisection(ratio_of, target, most, tolerance)
    except selection.UnreachableTarget:
        raise selection.UnreachableTarget(target, target) from None


def wrong_measures_the_answer_again(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_of_a_smooth_ratio: compresses once more for a number that it has."""
    amount, steps = right_bisection(ratio_of, target, most, tolerance)
    return amount, steps | {amount: ratio_of(amount)}


def wrong_full_grid(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_of_a_smooth_ratio: tries a hundred amounts in turn."""
    right_bisection(ratio_of, target, most, tolerance)
    steps = {}
    for number in range(101):
        amount = most * number / 100
        steps[amount] = ratio_of(amount)
        if steps[amount] <= target:
            return amount, steps


def right_bisection(ratio_of, target, most=0.99, tolerance=1e-3):
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: _check_most(ratio_of, target, most)}
    while high - low > 1e-4 and steps[high] < target - tolerance:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        if not steps[high] - tolerance <= steps[middle] <= steps.get(low, 1.0) + tolerance:
            raise ValueError(f"the ratio is {steps[middle]} at {middle}, between {steps}")
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return high, steps


def right_recursive(ratio_of, target, most=0.99, tolerance=1e-3):
    if target >= 1:
        return 0.0, {}
    steps = {most: _check_most(ratio_of, target, most)}

    def between(low, above, high):
        if high - low <= 1e-4 or steps[high] >= target - tolerance:
            return high
        middle = low + 0.5 * (high - low)
        steps[middle] = ratio = ratio_of(middle)
        if ratio > above + tolerance or ratio < steps[high] - tolerance:
            raise ValueError("the cost rises although more is removed")
        return between(middle, ratio, high) if ratio > target else between(low, above, middle)

    return between(0.0, 1.0, most), steps


def right_by_kept_share(ratio_of, target, most=0.99, tolerance=1e-3):
    """Looks for the largest share that may stay, and checks the order of all that was measured at each step."""
    if target == 1:
        return 0.0, {}
    steps = {most: _check_most(ratio_of, target, most)}
    while True:
        enough = min(a for a, ratio in steps.items() if ratio <= target)
        little = max((a for a, ratio in steps.items() if ratio > target), default=0.0)
        if little > enough:
            raise ValueError("not monotone")
        if enough - little <= 1e-4 or target - steps[enough] <= tolerance:
            return enough, steps
        kept = ((1 - enough) + (1 - little)) / 2
        steps[1 - kept] = ratio_of(1 - kept)
        ratios = [1.0] + [steps[a] for a in sorted(steps)]
        if any(after > before + tolerance for before, after in zip(ratios, ratios[1:])):
            raise ValueError("not monotone")


def _bisect_with(ratio_of, target, most, tolerance, lower=True, upper=True, slack=None, strict=False, precision=1e-4):
    slack = tolerance if slack is None else slack
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: ratio_of(most)}
    if steps[most] > target or (strict and steps[most] == target):
        raise selection.UnreachableTarget(target, steps[most])
    while high - low > precision and steps[high] < target - tolerance:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        if (lower and steps[middle] < steps[high] - slack) or (upper and steps[middle] > steps.get(low, 1.0) + slack):
            raise ValueError("rises")
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return high, steps


def wrong_looks_up_only(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_says_what_cannot_be: never compares with the ratio of the larger amount."""
    return _bisect_with(ratio_of, target, most, tolerance, lower=False)


def wrong_no_slack(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_at_a_jump: a file that is one byte larger than it should be ends the search."""
    return _bisect_with(ratio_of, target, most, tolerance, slack=0.0)


def wrong_just_enough_is_too_little(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_of_a_smooth_ratio: `most` gives exactly the target, and it says no."""
    return _bisect_with(ratio_of, target, most, tolerance, strict=True)


def wrong_own_tolerance(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_of_a_smooth_ratio: 1e-3 whatever tolerance was asked for."""
    return _bisect_with(ratio_of, target, most, 1e-3)


def right_with_a_sorted_list(ratio_of, target, most=0.99, tolerance=1e-3):
    if target == 1:
        return 0.0, {}
    steps = {}
    known = [(0.0, 1.0)]

    def ask(amount):
        steps[amount] = ratio_of(amount)
        known.append((amount, steps[amount]))
        known.sort()
        place = known.index((amount, steps[amount]))
        if place and known[place][1] > known[place - 1][1] + tolerance:
            raise ValueError("rises")
        if place + 1 < len(known) and known[place][1] < known[place + 1][1] - tolerance:
            raise ValueError("rises")

    ask(most)
    if steps[most] > target:
        raise selection.UnreachableTarget(target, steps[most])
    while True:
        low = max(amount for amount, ratio in known if ratio > target)
        high = min(amount for amount, ratio in known if ratio <= target)
        if high - low <= 1e-4 or steps[high] >= target - tolerance:
            return high, steps
        ask((low + high) / 2)


def wrong_must_fall_at_every_step(ratio_of, target, most=0.99, tolerance=1e-3):
    """Fails test_smallest_amount_at_a_jump: takes a ratio that stays the same for one that rises."""
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: _check_most(ratio_of, target, most)}
    while high - low > 1e-4 and steps[high] < target - tolerance:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        if not steps[high] - tolerance <= steps[middle] < steps.get(low, 1.0) + tolerance:
            raise ValueError("rises")
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return high, steps
