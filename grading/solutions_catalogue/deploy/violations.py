import math


def wrong_difference_without_sign(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_says_what_is_missed_and_by_how_much: accuracy is compared as if less were better."""
    excess = {}
    for name, value, limit in (("bytes", size, max_bytes), ("ms", ms, max_ms), ("accuracy", accuracy, min_accuracy)):
        if limit is not None and not value <= limit:
            excess[name] = value - limit
    return excess


def wrong_negative_accuracy(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_says_what_is_missed_and_by_how_much: what accuracy lacks comes out negative."""
    found = right_table(size, ms, accuracy, max_bytes, max_ms, min_accuracy)
    return {name: -over if name == "accuracy" else over for name, over in found.items()}


def wrong_all_entries(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_says_what_is_missed_and_by_how_much: limits that are met are there too, with 0."""
    found = right_table(size, ms, accuracy, max_bytes, max_ms, min_accuracy)
    return {name: found.get(name, 0) for name in ("bytes", "ms", "accuracy")}


def wrong_names_only(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_says_what_is_missed_and_by_how_much: says what is missed, and not by how much."""
    return list(right_table(size, ms, accuracy, max_bytes, max_ms, min_accuracy))


def wrong_first_only(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_says_what_is_missed_and_by_how_much: stops at the first limit that is missed."""
    return dict(list(right_table(size, ms, accuracy, max_bytes, max_ms, min_accuracy).items())[:1])


def wrong_zero_is_no_limit(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_at_the_edge: `if max_bytes` takes a limit of 0 for none."""
    return right_table(size, ms, accuracy, max_bytes or None, max_ms or None, min_accuracy or None)


def wrong_at_the_limit_is_missed(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_at_the_edge: a number exactly at its limit is refused."""
    excess = {}
    if max_bytes is not None and size >= max_bytes:
        excess["bytes"] = size - max_bytes
    if max_ms is not None and ms >= max_ms:
        excess["ms"] = ms - max_ms
    if min_accuracy is not None and accuracy <= min_accuracy:
        excess["accuracy"] = min_accuracy - accuracy
    return excess


def wrong_nan_passes(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_at_the_edge: NaN > limit is False, so an unknown accuracy is shipped."""
    found = right_table(size, ms, accuracy, max_bytes, max_ms, min_accuracy)
    return {name: over for name, over in found.items() if over > 0}


def right_table(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    table = (("bytes", size, max_bytes, 1), ("ms", ms, max_ms, 1), ("accuracy", accuracy, min_accuracy, -1))
    found = {}
    for name, value, limit, sign in table:
        if limit is not None and not sign * (value - limit) <= 0:
            found[name] = sign * (value - limit)
    return found


def right_infinite_limits(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    found = {}
    if max_bytes is not None and (size > max_bytes or math.isnan(size)):
        found["bytes"] = size - max_bytes
    if max_ms is not None and (ms > max_ms or math.isnan(ms)):
        found["ms"] = ms - max_ms
    if min_accuracy is not None and (accuracy < min_accuracy or math.isnan(accuracy)):
        found["accuracy"] = min_accuracy - accuracy
    return found


def wrong_nan_bytes_pass(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_at_the_edge: the size is never NaN, so > will do there."""
    out = {}
    if max_bytes is not None and size > max_bytes:
        out["bytes"] = size - max_bytes
    if max_ms is not None and not ms <= max_ms:
        out["ms"] = ms - max_ms
    if min_accuracy is not None and not accuracy >= min_accuracy:
        out["accuracy"] = min_accuracy - accuracy
    return out


def wrong_nan_is_zero_missing(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_at_the_edge: max(0, nan)."""
    over = {"bytes": (size, max_bytes), "ms": (ms, max_ms)}
    out = {k: max(0, v - m) for k, (v, m) in over.items() if m is not None and not v <= m}
    if min_accuracy is not None and not accuracy >= min_accuracy:
        out["accuracy"] = max(0, min_accuracy - accuracy)
    return out


def wrong_tolerance(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None):
    """Fails test_violations_at_the_edge: a thousandth more is let through."""
    out = {}
    if max_bytes is not None and not size <= max_bytes + 1e-3:
        out["bytes"] = size - max_bytes
    if max_ms is not None and not ms <= max_ms + 1e-3:
        out["ms"] = ms - max_ms
    if min_accuracy is not None and not accuracy >= min_accuracy - 1e-3:
        out["accuracy"] = min_accuracy - accuracy
    return out
