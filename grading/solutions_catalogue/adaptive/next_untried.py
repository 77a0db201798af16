from tinyshrink import adaptive
from tinyshrink.adaptive import TOLERANCE, next_move


def wrong_one_move_only(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_trains_no_rate_twice: does not look whether the rate was tried."""
    move = adaptive.next_move(move, tried[move.rate], factor)
    if move.step < minimal_step - 1e-9 or move.rate < 0:
        return None
    if move.rate > max_rate:
        return None if max_rate in tried else move._replace(rate=max_rate, final=True)
    return move


def wrong_ends_at_a_tried_rate(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_trains_no_rate_twice: ends the search at a rate that it knows, in place of using its result."""
    move = adaptive.next_move(move, tried[move.rate], factor)
    if move.step < minimal_step - 1e-9 or move.rate < 0 or move.rate in tried:
        return None
    if move.rate > max_rate:
        return None if max_rate in tried else move._replace(rate=max_rate, final=True)
    return move


def wrong_keeps_the_first_result(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_trains_no_rate_twice: at a tried rate goes on with the result of the rate it came from."""
    good = tried[move.rate]
    while True:
        move = adaptive.next_move(move, good, factor)
        if move.step < minimal_step - 1e-9 or move.rate < 0:
            return None
        if move.rate > max_rate:
            return None if max_rate in tried else move._replace(rate=max_rate, final=True)
        if move.rate not in tried:
            return move


def wrong_small_step_is_still_taken(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_trains_no_rate_twice: asks whether the step it came with was too small, not the new one."""
    while move.step >= minimal_step - 1e-9:
        move = adaptive.next_move(move, tried[move.rate], factor)
        if move.rate < 0:
            return None
        if move.rate > max_rate:
            return None if max_rate in tried else move._replace(rate=max_rate, final=True)
        if move.rate not in tried:
            return move
    return None


def wrong_ends_at_the_minimal_step(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_trains_no_rate_twice: the minimal step itself is allowed."""
    return _walk(move, tried, factor, minimal_step + 2e-9, max_rate)


def wrong_no_tolerance(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_when_the_step_is_too_small: 0.3 / 3 is a little less than 0.1."""
    return _walk(move, tried, factor, minimal_step + 1e-9, max_rate)


def wrong_zero_ends_it(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_at_the_ends: the rate 0 is one, too."""
    found = _walk(move, tried, factor, minimal_step, max_rate)
    return None if found is None or found.rate <= 0 else found


def wrong_clips_below_zero(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_at_the_ends: trains the rate 0 where the search would leave 0..1."""
    move = adaptive.next_move(move, tried[move.rate], factor)
    if move.rate < 0:
        return None if 0.0 in tried else move._replace(rate=0.0)
    return move if move.rate not in tried and move.rate <= max_rate else _walk(move, tried, factor, minimal_step, max_rate)


def wrong_no_clip_above(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_at_the_ends: ends the search above max_rate, which is never tried."""
    found = _walk(move, tried, factor, minimal_step, max_rate)
    return None if found is None or found.final else found


def wrong_clip_is_not_final(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_at_the_ends: does not say that the search ends there."""
    found = _walk(move, tried, factor, minimal_step, max_rate)
    return None if found is None else found._replace(final=False)


def wrong_max_rate_is_final(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_at_the_ends: takes a rate that is just max_rate for one that is above."""
    found = _walk(move, tried, factor, minimal_step, max_rate)
    return None if found is None else found._replace(final=found.rate >= max_rate)


def wrong_marks_as_tried(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_trains_no_rate_twice: writes into the dict that it was given."""
    found = _walk(move, tried, factor, minimal_step, max_rate)
    if found is not None:
        tried[found.rate] = None
    return found


def _walk(move, tried, factor, minimal_step, max_rate):
    while True:
        move = adaptive.next_move(move, tried[move.rate], factor)
        if move.step < minimal_step - 1e-9 or move.rate < 0:
            return None
        if move.rate > max_rate:
            return None if max_rate in tried else move._replace(rate=max_rate, final=True)
        if move.rate not in tried:
            return move


def right_by_recursion(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    following = adaptive.next_move(move, tried[move.rate], factor)
    if following.step + 1e-9 < minimal_step or following.rate < 0:
        return None
    if following.rate > max_rate:
        top = adaptive.Move(max_rate, following.step, following.direction, True)
        return top if max_rate not in tried else None
    return right_by_recursion(following, tried, factor, minimal_step, max_rate) if following.rate in tried else following


def right_loop_condition(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    while move is not None and move.rate in tried:
        rate, step, direction, _ = adaptive.next_move(move, tried[move.rate], factor)
        inside = step > minimal_step - 1e-9 and rate >= 0 and not (rate > max_rate and max_rate in tried)
        move = adaptive.Move(min(rate, max_rate), step, direction, rate > max_rate) if inside else None
    return move


def wrong_clips_before_the_step(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_at_the_ends: looks at max_rate first, and trains there though the step is too small."""
    while True:
        move = next_move(move, tried[move.rate], factor)
        if move.rate > max_rate:
            return None if max_rate in tried else move._replace(rate=max_rate, final=True)
        if move.step < minimal_step - TOLERANCE or move.rate < 0:
            return None
        if move.rate not in tried:
            return move


def wrong_goes_on_from_max_rate(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_ends_at_the_ends: a max_rate that was tried is decided again, from there."""
    for _ in range(1000):
        move = next_move(move, tried[move.rate], factor)
        if move.step < minimal_step - TOLERANCE or move.rate < 0:
            return None
        final = move.rate > max_rate
        if final:
            move = move._replace(rate=max_rate, final=True)
        if move.rate not in tried:
            return move
    return None


def wrong_fixed_factor(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    """Fails test_next_untried_finds_drawn_cliffs: halves whatever the factor."""
    while True:
        move = next_move(move, tried[move.rate])
        if move.step < minimal_step - TOLERANCE or move.rate < 0:
            return None
        if move.rate > max_rate:
            return None if max_rate in tried else move._replace(rate=max_rate, final=True)
        if move.rate not in tried:
            return move


def right_first_of_a_walk(move, tried, factor=0.5, minimal_step=0.025, max_rate=1.0):
    def walk(move):
        while move.rate in tried:
            move = next_move(move, tried[move.rate], factor)
            if move.step + TOLERANCE < minimal_step or not move.rate >= 0:
                return
            if move.rate > max_rate:
                move = move._replace(rate=max_rate, final=True)
                if max_rate not in tried:
                    yield move
                return
            yield move

    return next((step for step in walk(move) if step.rate not in tried), None)
