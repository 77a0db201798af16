from itertools import pairwise

import numpy as np

from tinyshrink.pipeline import Contribution


def wrong_against_the_original(rows):
    """Fails test_contributions_compare_with_the_stage_before: every stage is compared with the original: totals again."""
    if not rows:
        raise ValueError("expected rows, got none")
    first = rows[0]
    return [
        Contribution(row.stage, first.bytes / row.bytes, first.ms / row.ms, row.accuracy - first.accuracy) for row in rows[1:]
    ]


def wrong_upside_down(rows):
    """Fails test_contributions_compare_with_the_stage_before: what is left, in place of how many times smaller."""
    if not rows:
        raise ValueError("expected rows, got none")
    return [
        Contribution(after.stage, after.bytes / before.bytes, after.ms / before.ms, after.accuracy - before.accuracy)
        for before, after in pairwise(rows)
    ]


def wrong_sign_of_the_gain(rows):
    """Fails test_contributions_compare_with_the_stage_before: gives the loss, which is positive where accuracy fell."""
    return [part._replace(gained=-part.gained) for part in right_pairs(rows)]


def wrong_name_of_the_stage_before(rows):
    """Fails test_contributions_compare_with_the_stage_before: names the row that the stage started from."""
    return [part._replace(stage=row.stage) for part, row in zip(right_pairs(rows), rows)]


def wrong_bytes_by_the_formula(rows):
    """Fails test_contributions_compare_with_the_stage_before: document 001's size, 4 bytes a parameter."""
    return [
        part._replace(smaller=before.parameters / after.parameters)
        for part, before, after in zip(right_pairs(rows), rows, rows[1:])
    ]


def wrong_with_the_original(rows):
    """Fails test_contributions_compare_with_the_stage_before: an entry for the original too, which no stage made."""
    return [Contribution(rows[0].stage, 1.0, 1.0, 0.0), *right_pairs(rows)]


def wrong_in_percentage_points(rows):
    """Fails test_contributions_compare_with_the_stage_before: accuracy is a fraction, these are percentage points."""
    return [part._replace(gained=100 * part.gained) for part in right_pairs(rows)]


def wrong_empties_the_list(rows):
    """Fails test_contributions_make_up_the_whole: takes the rows out of the list that it was given."""
    entries = []
    before = rows.pop(0)
    while rows:
        after = rows.pop(0)
        entries.append(
            Contribution(after.stage, before.bytes / after.bytes, before.ms / after.ms, after.accuracy - before.accuracy)
        )
        before = after
    return entries


def right_pairs(rows):
    if not rows:
        raise ValueError("expected rows, got none")
    return [Contribution(b.stage, a.bytes / b.bytes, a.ms / b.ms, b.accuracy - a.accuracy) for a, b in pairwise(rows)]


def right_arrays(rows):
    if not rows:
        raise ValueError("expected rows, got none")
    sizes, times, right = (np.array([getattr(row, name) for row in rows], float) for name in ("bytes", "ms", "accuracy"))
    columns = sizes[:-1] / sizes[1:], times[:-1] / times[1:], np.diff(right)
    return [Contribution(row.stage, *map(float, numbers)) for row, *numbers in zip(rows[1:], *columns)]


def right_index_loop(rows):
    if len(rows) == 0:
        raise ValueError("expected rows, got none")
    found = []
    for i in range(1, len(rows)):
        smaller = rows[i - 1].bytes / rows[i].bytes
        faster = rows[i - 1].ms / rows[i].ms
        found.append(Contribution(rows[i].stage, smaller, faster, rows[i].accuracy - rows[i - 1].accuracy))
    return found
