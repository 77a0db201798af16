from itertools import combinations

from tinyshrink.pipeline import CONFLICTS


def wrong_neighbours_only(names):
    """Fails test_first_conflict_looks_at_all_pairs: compares each stage with the one right before it."""
    for earlier, later in zip(names, names[1:]):
        if (earlier, later) in CONFLICTS:
            return earlier, later
    return None


def wrong_by_the_earlier_stage(names):
    """Fails test_first_conflict_looks_at_all_pairs: the pair whose earlier stage comes first, not its later one."""
    for position, earlier in enumerate(names):
        for later in names[position + 1 :]:
            if (earlier, later) in CONFLICTS:
                return earlier, later
    return None


def wrong_both_directions(names):
    """Fails test_first_conflict_of_short_orders: a pair in the possible order is refused too."""
    for position, later in enumerate(names):
        for earlier in names[:position]:
            if (earlier, later) in CONFLICTS or (later, earlier) in CONFLICTS:
                return earlier, later
    return None


def wrong_latest_earlier_stage(names):
    """Fails test_first_conflict_looks_at_all_pairs: of several earlier stages in the way it names the last one."""
    for position, later in enumerate(names):
        for earlier in reversed(names[:position]):
            if (earlier, later) in CONFLICTS:
                return earlier, later
    return None


def wrong_same_stage_allowed(names):
    """Fails test_first_conflict_of_short_orders: thinks that a stage can always be repeated."""
    for position, later in enumerate(names):
        for earlier in names[:position]:
            if earlier != later and (earlier, later) in CONFLICTS:
                return earlier, later
    return None


def wrong_same_stage_forbidden(names):
    """Fails test_first_conflict_of_short_orders: no stage may come twice, though Prune may."""
    for position, later in enumerate(names):
        for earlier in names[:position]:
            if earlier == later or (earlier, later) in CONFLICTS:
                return earlier, later
    return None


def wrong_swapped_in_the_result(names):
    """Fails test_first_conflict_of_short_orders: gives (later, earlier)."""
    pair = right_pairs_in_order(names)
    return pair and pair[::-1]


def wrong_true_or_false(names):
    """Fails test_first_conflict_of_short_orders: says that there is a conflict, but not which."""
    return any(pair in CONFLICTS for pair in combinations(names, 2))


def wrong_order_of_the_table(names):
    """Fails test_first_conflict_looks_at_all_pairs: the first pair of CONFLICTS that occurs, not the first of the list."""
    for pair in CONFLICTS:
        if pair in list(combinations(names, 2)):
            return pair
    return None


def right_pairs_in_order(names):
    places = [(later, earlier) for earlier, later in combinations(range(len(names)), 2)]
    for later, earlier in sorted(places):
        if (names[earlier], names[later]) in CONFLICTS:
            return names[earlier], names[later]
    return None


def right_growing_list(names):
    seen = []
    for name in names:
        found = next((before for before in seen if CONFLICTS.get((before, name))), None)
        if found is not None:
            return found, name
        seen.append(name)
    return None


def wrong_each_name_once(names):
    """Fails test_first_conflict_of_short_orders: a set of names forgets that one stands there twice."""
    seen = list(dict.fromkeys(names))
    for i, later in enumerate(seen):
        for earlier in seen[:i]:
            if (earlier, later) in CONFLICTS:
                return earlier, later
    return None


def right_next(names):
    return next(((a, b) for i, b in enumerate(names) for a in names[:i] if (a, b) in CONFLICTS), None)
