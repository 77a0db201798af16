from tinyshrink.adaptive import Move


def wrong_always_half(move, good, factor=0.5):
    """Fails test_next_move_goes_up_from_good_and_down_from_bad: bisects, the step shrinks at every move."""
    direction = 1 if good else -1
    step = move.step * factor
    return Move(round(move.rate + direction * step, 9), step, direction)


def wrong_shrinks_at_every_bad_one(move, good, factor=0.5):
    """Fails test_next_move_goes_up_from_good_and_down_from_bad: shrinks whenever it is bad, also when it went down before."""
    direction = 1 if good else -1
    step = move.step if good else move.step * factor
    return Move(round(move.rate + direction * step, 9), step, direction)


def wrong_shrinks_after_the_move(move, good, factor=0.5):
    """Fails test_next_move_shrinks_the_step_when_it_turns: takes the old step once more before it shrinks."""
    direction = 1 if good else -1
    rate = round(move.rate + direction * move.step, 9)
    return Move(rate, move.step * factor if move.direction == -direction else move.step, direction)


def wrong_first_move_turns(move, good, factor=0.5):
    """Fails test_next_move_goes_up_from_good_and_down_from_bad: at first the direction is 0, which is no turn."""
    direction = 1 if good else -1
    step = move.step * factor if move.direction != direction else move.step
    return Move(round(move.rate + direction * step, 9), step, direction)


def wrong_never_shrinks(move, good, factor=0.5):
    """Fails test_next_move_shrinks_the_step_when_it_turns: goes to and fro between the same two rates."""
    direction = 1 if good else -1
    return Move(round(move.rate + direction * move.step, 9), move.step, direction)


def wrong_always_halves(move, good, factor=0.5):
    """Fails test_next_move_shrinks_the_step_when_it_turns: writes 0.5 and not the factor."""
    direction = 1 if good else -1
    step = move.step * 0.5 if move.direction == -direction else move.step
    return Move(round(move.rate + direction * step, 9), step, direction)


def wrong_not_rounded(move, good, factor=0.5):
    """Fails test_next_move_goes_on_from_where_it_came: 0.1 + 0.1 + 0.1 is not 0.3, and no rate is ever met again."""
    direction = 1 if good else -1
    step = move.step * factor if move.direction == -direction else move.step
    return Move(move.rate + direction * step, step, direction)


def wrong_rounded_to_two_digits(move, good, factor=0.5):
    """Fails test_next_move_goes_on_from_where_it_came: loses the 0.025."""
    direction = 1 if good else -1
    step = move.step * factor if move.direction == -direction else move.step
    return Move(round(move.rate + direction * step, 2), step, direction)


def wrong_down_from_good(move, good, factor=0.5):
    """Fails test_next_move_goes_up_from_good_and_down_from_bad: looks for the highest accuracy, not for the highest rate."""
    direction = -1 if good else 1
    step = move.step * factor if move.direction == -direction else move.step
    return Move(round(move.rate + direction * step, 9), step, direction)


def wrong_forgets_the_direction(move, good, factor=0.5):
    """Fails test_next_move_goes_up_from_good_and_down_from_bad: so the next move cannot see a turn."""
    direction = 1 if good else -1
    step = move.step * factor if move.direction == -direction else move.step
    return Move(round(move.rate + direction * step, 9), step, move.direction)


def right_by_the_sign(move, good, factor=0.5):
    direction = 2 * int(good) - 1
    step = move.step * (factor if direction * move.direction < 0 else 1)
    return move._replace(rate=float(f"{move.rate + direction * step:.9f}"), step=step, direction=direction)


def right_by_cases(move, good, factor=0.5):
    step = move.step
    if good:
        if move.direction == -1:
            step *= factor
        return Move(round(move.rate + step, 9), step, 1)
    if move.direction == 1:
        step *= factor
    return Move(round(move.rate - step, 9), step, -1)
