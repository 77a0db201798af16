import math

from tinyshrink import deploy


def _meeting(rows, max_bytes, max_ms, min_accuracy):
    limits = {"max_bytes": max_bytes, "max_ms": max_ms, "min_accuracy": min_accuracy}
    return {name: row for name, row in rows.items() if not deploy.violations(row.bytes, row.ms, row.accuracy, **limits)}


def wrong_the_smallest(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_takes_the_most_accurate_that_meets_all: takes the fewest bytes, though all of these are allowed."""
    meeting = _meeting(rows, max_bytes, max_ms, min_accuracy)
    return min(meeting, key=lambda name: meeting[name].bytes, default=None)


def wrong_ignores_the_limits(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_takes_the_most_accurate_that_meets_all: document 001's 25 ms for a budget of 20."""
    return max(rows, key=lambda name: rows[name].accuracy, default=None)


def wrong_one_limit_is_enough(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_takes_the_most_accurate_that_meets_all: a network that meets any of the limits may be chosen."""
    tests = [
        (max_bytes, lambda row: row.bytes <= max_bytes),
        (max_ms, lambda row: row.ms <= max_ms),
        (min_accuracy, lambda row: row.accuracy >= min_accuracy),
    ]
    given = [test for limit, test in tests if limit is not None]
    meeting = {name: row for name, row in rows.items() if not given or any(test(row) for test in given)}
    return right_sorted(meeting)


def wrong_strictly_below(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_takes_the_most_accurate_that_meets_all: a number at its limit is refused."""
    high = [math.inf if limit is None else limit for limit in (max_bytes, max_ms)]
    low = -1 if min_accuracy is None else min_accuracy
    return right_sorted({n: r for n, r in rows.items() if r.bytes < high[0] and r.ms < high[1] and r.accuracy > low})


def wrong_least_bad_in_place_of_none(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_takes_the_most_accurate_that_meets_all: where nothing meets the limits it takes the best of all."""
    return right_sorted(rows, max_bytes, max_ms, min_accuracy) or right_sorted(rows)


def wrong_no_tie_break(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_breaks_ties_by_bytes_then_ms_then_order: of equally accurate ones the first, however large."""
    meeting = _meeting(rows, max_bytes, max_ms, min_accuracy)
    return max(meeting, key=lambda name: meeting[name].accuracy, default=None)


def wrong_ties_by_name(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_breaks_ties_by_bytes_then_ms_then_order: the name in the key: an order by text, as in document 001."""
    meeting = _meeting(rows, max_bytes, max_ms, min_accuracy)
    return min(meeting, key=lambda name: (-meeting[name].accuracy, meeting[name].bytes, meeting[name].ms, name), default=None)


def wrong_ties_by_ms_first(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_breaks_ties_by_bytes_then_ms_then_order: milliseconds before bytes."""
    meeting = _meeting(rows, max_bytes, max_ms, min_accuracy)
    return min(meeting, key=lambda name: (-meeting[name].accuracy, meeting[name].ms, meeting[name].bytes), default=None)


def wrong_largest_of_the_ties(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_breaks_ties_by_bytes_then_ms_then_order: max over (accuracy, bytes, ms) takes the largest file."""
    meeting = _meeting(rows, max_bytes, max_ms, min_accuracy)
    return max(meeting, key=lambda name: (meeting[name].accuracy, meeting[name].bytes, meeting[name].ms), default=None)


def wrong_accuracy_in_whole_percent(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_breaks_ties_by_bytes_then_ms_then_order: rounds the accuracy, and so makes ties of what is none."""
    meeting = _meeting(rows, max_bytes, max_ms, min_accuracy)
    return min(meeting, key=lambda name: (-round(meeting[name].accuracy, 2), meeting[name].bytes), default=None)


def right_sorted(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    meeting = _meeting(rows, max_bytes, max_ms, min_accuracy)
    order = sorted(meeting.items(), key=lambda item: (item[1].accuracy, -item[1].bytes, -item[1].ms), reverse=True)
    return order[0][0] if order else None


def right_loop(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    best = None
    for name in rows:
        row = rows[name]
        if max_bytes is not None and row.bytes > max_bytes:
            continue
        if max_ms is not None and row.ms > max_ms:
            continue
        if min_accuracy is not None and row.accuracy < min_accuracy:
            continue
        if best is None or (-row.accuracy, row.bytes, row.ms) < (-rows[best].accuracy, rows[best].bytes, rows[best].ms):
            best = name
    return best


def _meeting_with(rows, max_bytes, max_ms, min_accuracy):
    return {n: r for n, r in rows.items() if not deploy.violations(r.bytes, r.ms, r.accuracy, max_bytes, max_ms, min_accuracy)}


def wrong_name_of_the_stage(rows, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_choose_takes_the_most_accurate_that_meets_all: row.stage in place of the key."""
    meeting = _meeting_with(rows, max_bytes, max_ms, min_accuracy)
    row = min(meeting.values(), key=lambda r: (-r.accuracy, r.bytes, r.ms), default=None)
    return row and row.stage
