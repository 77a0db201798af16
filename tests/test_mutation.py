"""The mutator makes the slips that it should, and a weak check is found by the mutant that passes it."""

import pytest

import catalogue
import mutation
from tinyshrink import magnitude

EXERCISE = "magnitude.polynomial"
SOURCE = '''def clip(x, low=0):
    """At least low, by 1."""
    if low < 0:
        raise ValueError(f"low must be {0} or more")
    if x < low:
        return max(low, 0)
    return step(x, low) + 1
'''


def weak():
    assert magnitude.polynomial(0.0, 0.9, 1.0) == 0.9


def never():
    raise AssertionError("no solution passes")


def test_the_mutants_of_a_small_function():
    assert set(mutation.mutants(SOURCE, given=4)) == {
        "if x < low:  ->  if x <= low:",
        "if x < low:  ->  if x >= low:",
        "if x < low:  ->  if not x < low:",
        "if x < low:  ->  pass",
        "return max(low, 0)  ->  return max(low, 1)",
        "return max(low, 0)  ->  return max(low, -1)",
        "return step(x, low) + 1  ->  return step(x, low) - 1",
        "return step(x, low) + 1  ->  return step(x, low) + 2",
        "return step(x, low) + 1  ->  return step(x, low) + 0",
        "return step(x, low) + 1  ->  return step(low, x) + 1",
    }


def test_a_weak_check_lets_mutants_pass_and_the_real_ones_none(monkeypatch, capsys):
    real = {EXERCISE: catalogue.checks()[EXERCISE]}
    monkeypatch.setattr(catalogue, "checks", lambda: {EXERCISE: [weak]})
    assert mutation.main([]) == 1
    assert f"{EXERCISE}: " in capsys.readouterr().out
    monkeypatch.setattr(catalogue, "checks", lambda: real)
    assert mutation.main(["--module", "magnitude"]) == 0
    said = capsys.readouterr().out
    count = len(mutation.exercise_mutants(EXERCISE))
    assert f"mutants rejected: {count} of {count}, and 0 equivalent" in said


def test_a_mutant_that_never_ends_is_stopped():
    loop = "def polynomial(start, end, progress, power=3):\n    while True:\n        pass\n"
    assert mutation.attempt(EXERCISE, loop, seconds=1)[0] == "timed out"


def test_a_reference_that_fails_is_refused(monkeypatch):
    monkeypatch.setattr(catalogue, "checks", lambda: {EXERCISE: [never]})
    with pytest.raises(SystemExit, match=r"the reference of magnitude\.polynomial fails its own checks"):
        mutation.main([])
