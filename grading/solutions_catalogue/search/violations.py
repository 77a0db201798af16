import math

from tinyshrink.search import Budget


def wrong_equal_is_too_much(ms: float, size: float, budget: Budget):
    """Fails test_violations_of_known_networks: a network that needs exactly the limit is within it."""
    found = ["ms"] if ms >= budget.max_ms else []
    return found + (["bytes"] if size >= budget.max_bytes else [])


def wrong_first_only(ms: float, size: float, budget: Budget):
    """Fails test_violations_of_known_networks: stops at the first limit that is broken."""
    if ms > budget.max_ms:
        return [f"{ms} ms, above {budget.max_ms} ms"]
    if size > budget.max_bytes:
        return [f"{size} bytes, above {budget.max_bytes} bytes"]
    return []


def wrong_one_text(ms: float, size: float, budget: Budget):
    """Fails test_violations_of_known_networks: one text in place of a list."""
    return ", ".join(right_table(ms, size, budget))


def wrong_truth_value(ms: float, size: float, budget: Budget):
    """Fails test_violations_of_known_networks: says whether, not why."""
    return ms > budget.max_ms or size > budget.max_bytes


def wrong_without_the_limit(ms: float, size: float, budget: Budget):
    """Fails test_violations_of_known_networks: the sentence does not hold the limit."""
    found = [f"too slow: {ms} ms"] if ms > budget.max_ms else []
    return found + ([f"too large: {size} bytes"] if size > budget.max_bytes else [])


def wrong_nan_is_fast(ms: float, size: float, budget: Budget):
    """Fails test_violations_where_there_is_no_limit: nan > limit is false, so a failed measurement passes."""
    found = [f"{ms} ms, above {budget.max_ms} ms"] if ms > budget.max_ms else []
    return found + ([f"{size} bytes, above {budget.max_bytes} bytes"] if size > budget.max_bytes else [])


def wrong_both_needed(ms: float, size: float, budget: Budget):
    """Fails test_violations_of_known_networks: breaks the budget only when both limits are broken."""
    return right_table(ms, size, budget) if ms > budget.max_ms and size > budget.max_bytes else []


def right_table(ms: float, size: float, budget: Budget):
    measured = (("ms", ms, budget.max_ms), ("bytes", size, budget.max_bytes))
    return [f"{number} {unit} where {limit} {unit} are allowed" for unit, number, limit in measured if not number <= limit]


def right_step_by_step(ms: float, size: float, budget: Budget):
    reasons = []
    if math.isnan(ms) or ms > budget.max_ms:
        reasons.append(f"slow: {ms:g} ms, at most {budget.max_ms:g}")
    if math.isnan(size) or size > budget.max_bytes:
        reasons.append(f"large: {size:g} bytes, at most {budget.max_bytes:g}")
    return reasons


def wrong_nan_bytes(ms, size, budget):
    """Fails test_violations_of_known_networks: > for the bytes, true for no NaN."""
    out = []
    if not ms <= budget.max_ms:
        out.append(f"{ms} ms, above {budget.max_ms}")
    if size > budget.max_bytes:
        out.append(f"{size} bytes, above {budget.max_bytes}")
    return out


def wrong_sentence_without_the_bytes(ms, size, budget):
    """Fails test_violations_of_known_networks: the sentence on bytes does not say how many."""
    out = []
    if not ms <= budget.max_ms:
        out.append(f"{ms:.3f} ms, above {budget.max_ms:.3f} ms")
    if not size <= budget.max_bytes:
        out.append("too many bytes")
    return out


def wrong_zero_is_no_limit(ms, size, budget):
    """Fails test_violations_of_known_networks: `if budget.max_ms` takes a limit of 0 for none."""
    out = []
    if budget.max_ms and not ms <= budget.max_ms:
        out.append(f"{ms:.3f} ms, above {budget.max_ms:.3f} ms")
    if budget.max_bytes and not size <= budget.max_bytes:
        out.append(f"{size:,} bytes, above {budget.max_bytes:,} bytes")
    return out


def wrong_rounded_ms(ms, size, budget):
    """Fails test_violations_of_known_networks: compares what it prints, rounded to a tenth."""
    out = []
    if not round(ms, 1) <= budget.max_ms:
        out.append(f"{ms:.3f} ms, above {budget.max_ms:.3f} ms")
    if not size <= budget.max_bytes:
        out.append(f"{size:,} bytes, above {budget.max_bytes:,} bytes")
    return out
