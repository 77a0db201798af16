"""Hidden checks of lesson 10: as in tests/test_adaptive.py, with cases drawn from the instructor's seed."""

import math
import random
from fractions import Fraction

from tinyshrink import adaptive, checking


def test_smallest_tolerable_of_drawn_drops():
    draw = random.Random(checking.hidden_seed())
    for _ in range(10):
        original, percent = draw.uniform(0.1, 1), draw.uniform(0, 100)
        said = f"from {original}, {percent} percent of it or the same as an absolute drop"
        values = [
            adaptive.smallest_tolerable(original, relative=percent),
            adaptive.smallest_tolerable(original, absolute=original * percent / 100),
            adaptive.smallest_tolerable(original, original * percent / 100, None),
        ]
        expected = float(Fraction(original) - Fraction(original) * Fraction(percent) / 100)
        assert all(math.isclose(value, expected, abs_tol=1e-9) for value in values), (
            f"{said}: expected {expected}, got {values}"
        )


def test_next_move_on_drawn_walks():
    draw = random.Random(checking.hidden_seed())
    for _ in range(6):
        start, step, factor = draw.randint(1, 9) / 10, draw.randint(1, 30) / 100, draw.choice((0.5, 0.25, 0.75, 0.9))
        goods = [draw.random() < 0.6 for _ in range(8)]
        move, rate, size = adaptive.Move(start, step), Fraction(start), Fraction(step)
        for place, good in enumerate(goods):
            if place and good != goods[place - 1]:
                size *= Fraction(factor)
            rate += size if good else -size
            move = adaptive.next_move(move, good, factor)
            said = f"start {start}, step {step}, factor {factor}, good: {goods[: place + 1]}"
            assert abs(move.rate - rate) < 1e-6, f"{said}: expected rate {float(rate):.6f}, got {move.rate}"
            assert abs(move.step - size) < 1e-6, f"{said}: expected step {float(size):.6f}, got {move.step}"
            assert move.rate == round(move.rate, 9), f"{said}: the rate {move.rate!r} is not rounded to 9 digits"
            assert move.direction == (1 if good else -1), f"{said}: got direction {move.direction}"


def test_next_untried_finds_drawn_cliffs():
    draw = random.Random(checking.hidden_seed())
    for _ in range(25):
        halvings, per_step = draw.choice(((1, 0.5), (2, 0.5), (3, 0.5), (1, 0.25), (2, 0.2)))
        step, start, cliff = draw.choice((0.1, 0.2, 0.05)), draw.choice((0.1, 0.3, 0.0)), draw.uniform(0.31, 0.78)
        minimal = step * per_step**halvings
        move, tried, visits = adaptive.Move(start, step), {start: True}, []
        said = f"good up to {cliff:.4f}, start {start}, step {step}, factor {per_step}, minimal step {minimal:g}"
        while (move := adaptive.next_untried(move, tried, per_step, minimal)) is not None:
            assert move.rate not in tried, f"{said}: rate {move.rate} is trained again after {visits}"
            assert len(visits) < 200, f"{said}: the search does not end, it was at {visits[:20]}"
            visits.append(move.rate)
            tried[move.rate] = move.rate <= cliff
        found = max(rate for rate, good in tried.items() if good)
        grid = max(start + k * minimal for k in range(500) if start + k * minimal <= cliff)
        assert abs(found - grid) < 1e-6, f"{said}: the best rate on its grid is {grid:.6f}, it found {found} by {visits}"


def test_next_untried_ends_at_drawn_ends():
    draw = random.Random(checking.hidden_seed())
    for _ in range(10):
        top = draw.randint(40, 90) / 100 + 0.005
        move, tried = adaptive.Move(0.1, 0.1), {0.1: True}
        while (move := adaptive.next_untried(move, tried, max_rate=top)) is not None:
            assert len(tried) < 20, f"max_rate {top}, all good: the search does not end, it tried {list(tried)}"
            tried[move.rate] = True
            assert move.final == (move.rate == top), f"max_rate {top}: final is {move.final} at rate {move.rate}"
        assert max(tried) == top, f"max_rate {top}, all good: the last rate should be {top}, tried {list(tried)}"
        start = draw.randint(1, 90) / 100
        move, tried = adaptive.Move(start, 0.1), {start: False}
        while (move := adaptive.next_untried(move, tried)) is not None:
            tried[move.rate] = False
        assert 0 <= min(tried) < 0.1, f"start {start}, all bad: expected to end just above 0, tried {list(tried)}"


def test_keep_snapshot_of_drawn_histories():
    draw = random.Random(checking.hidden_seed())
    for _ in range(20):
        smallest = draw.randint(85, 92) / 100
        history = [(draw.randint(0, 5) / 10, draw.randint(84, 96) / 100) for _ in range(12)]
        best = None
        for rate, accuracy in history:
            keep = adaptive.keep_snapshot(rate, accuracy, best, smallest)
            assert isinstance(keep, bool), f"expected True or False, got {keep!r}"
            best = (rate, accuracy) if keep else best
        good = [entry for entry in history if entry[1] > smallest - 1e-6]
        expected = max(good) if good else None
        assert best == expected, f"of {history}, smallest {smallest}: the best is {expected}, yours {best}"
