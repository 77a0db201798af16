"""Hidden checks of lesson 12: as in tests/test_search.py, with cases drawn from the instructor's seed."""

import math
import random

import numpy as np

from tinyshrink import checking, search


def test_violations_of_drawn_networks():
    chance = random.Random(checking.hidden_seed())
    for _ in range(40):
        max_ms, max_bytes = chance.choice([1.0, 2.5, math.inf]), chance.choice([10, 50_000, math.inf])
        ms, size = chance.choice([0.5, 1.0, 2.5, 2.6, 80.0]), chance.choice([10, 11, 50_000, 50_001])
        got = search.violations(ms, size, search.Budget(max_ms, max_bytes))
        expected = [word for word, above in (("ms", ms > max_ms), ("byte", size > max_bytes)) if above]
        named = ["byte" if "byte" in sentence else "ms" for sentence in got]
        said = f"{ms} ms, {size} bytes for at most {max_ms} ms, {max_bytes} bytes"
        assert named == expected, f"{said}: expected sentences about {expected}, got {got}"


def test_pareto_front_of_drawn_points():
    generator = np.random.default_rng(checking.hidden_seed())
    for n, levels in ((1, 3), (7, 3), (30, 4), (60, 8), (200, 1000)):
        points = [(int(a) / levels, float(t)) for a, t in generator.integers(1, levels + 1, (n, 2))]
        accuracy, ms = np.array(points).T
        no_worse = (accuracy[:, None] >= accuracy) & (ms[:, None] <= ms)
        better = (accuracy[:, None] > accuracy) | (ms[:, None] < ms)
        on_front = ~(no_worse & better).any(0)
        expected = sorted(np.flatnonzero(on_front).tolist(), key=lambda index: (ms[index], index))
        got = list(search.pareto_front(points))
        assert got == expected, f"the front of {points}: expected indices {expected}, got {got}"


def test_best_within_drawn_trials():
    chance = random.Random(checking.hidden_seed())
    for count in (1, 5, 20, 20, 20):
        trials = [
            search.Trial(
                i, {}, ms=chance.randint(1, 4), bytes=chance.randint(1, 4), accuracies=[chance.randint(1, 3) / 4] * (i % 4)
            )
            for i in range(count)
        ]
        budget = search.Budget(chance.randint(1, 4), chance.randint(1, 4))
        got = search.best_within(iter(trials), budget)
        rows = [(t.accuracy, t.ms, t.bytes) for t in trials]
        fitting = [t for t in trials if t.accuracies and t.ms <= budget.max_ms and t.bytes <= budget.max_bytes]
        if not fitting:
            assert got is None, f"{rows} within {budget}: nothing fits, expected None, got {got}"
            continue
        top = max(t.accuracy for t in fitting)
        fastest = min(t.ms for t in fitting if t.accuracy == top)
        expected = next(t for t in fitting if (t.accuracy, t.ms) == (top, fastest))
        assert got is expected, f"{rows} as (accuracy, ms, bytes) within {budget}: expected trial {expected.index}, got {got}"


def test_mutate_on_drawn_spaces():
    chance = random.Random(checking.hidden_seed())
    for _ in range(5):
        choices = {
            f"choice{i}": tuple(chance.sample([0.1, 0.5, 3, 7, "a", "b", 20], chance.randint(1, 5)))
            for i in range(chance.randint(2, 5))
        }
        choices["last"] = (1, 2)
        architecture = {name: chance.choice(values) for name, values in choices.items()}
        expected = set()
        for name, values in choices.items():
            place = values.index(architecture[name])
            expected |= {(name, values[other]) for other in (place - 1, place + 1) if 0 <= other < len(values)}
        seen = set()
        for _ in range(400):
            child = search.mutate(dict(architecture), choices, chance)
            changed = [(name, value) for name, value in child.items() if value != architecture[name]]
            assert child.keys() == choices.keys() and len(changed) == 1, f"one step from {architecture}: got {child}"
            seen.update(changed)
        assert seen == expected, f"one step from {architecture} in {choices}: expected {expected}, 400 children had {seen}"


def test_rungs_of_drawn_searches():
    chance = random.Random(checking.hidden_seed())
    cases = [(chance.randint(1, 400), chance.randint(1, 400), chance.randint(2, 5)) for _ in range(40)]
    cases += [(factor**power, 10**9, factor) for factor, power in ((3, 9), (5, 6), (2, 20))]
    for networks, epochs, factor in cases:
        got = search.rungs(networks, epochs, factor)
        said = f"{networks} networks, {epochs} epochs, factor {factor}: got {got}"
        last = factor ** (len(got) - 1)
        assert last <= min(networks, epochs) < last * factor, f"{said}: a wrong number of rungs"
        first = epochs // last
        for rung, (count, trained) in enumerate(got):
            share = math.ceil(networks / factor**rung)
            wanted = (share, first * factor**rung)
            assert (count, trained) == wanted, f"{said}: rung {rung} (from 0) should be {wanted}"


def test_falls_behind_drawn_networks():
    chance = random.Random(checking.hidden_seed())
    for _ in range(40):
        draw = lambda least: [chance.randint(0, 8) / 8 for _ in range(chance.randint(least, 6))]
        accuracies, finished = draw(1), [draw(1) for _ in range(chance.randint(1, 7))]
        longer = np.array([max(other[: len(accuracies)]) for other in finished if len(other) >= len(accuracies)])
        expected = bool(len(longer) and max(accuracies) < np.median(longer))
        got = search.falls_behind(accuracies, finished)
        assert got == expected, f"{accuracies} against {finished}: expected {expected}, got {got!r}"
