import numba
import numpy as np
import pytest
import torch
from numba import njit, prange

from tinyshrink import checking, magnitude
from tinyshrink.checking import plug

REFERENCE = magnitude.polynomial


@pytest.fixture(autouse=True)
def clean():
    globals().pop("polynomial", None)
    yield
    globals().pop("polynomial", None)
    magnitude.polynomial = REFERENCE


def right(start, end, progress, power=3):
    return end - (end - start) * (1 - progress) ** power


def test_a_right_function_stays_plugged_into_the_framework(capsys):
    globals()["polynomial"] = right
    with plug(magnitude, "polynomial"):
        assert magnitude.schedule("cubic", 0, 0.9, 2)(1) == pytest.approx(0.7875)
    assert magnitude.polynomial is right
    assert "polynomial: passed" in capsys.readouterr().out


def test_a_wrong_function_gives_way_to_the_reference_in_package_and_notebook(capsys):
    globals()["polynomial"] = lambda start, end, progress, power=3: 0
    with pytest.raises(AssertionError), plug(magnitude, "polynomial"):
        assert magnitude.schedule("cubic", 0, 0.9, 2)(1) == pytest.approx(0.7875)
    assert magnitude.polynomial is REFERENCE
    assert globals()["polynomial"] is REFERENCE
    assert "the reference" in capsys.readouterr().out


def test_a_second_check_of_a_failed_exercise_is_not_passed_by_the_reference():
    globals()["polynomial"] = REFERENCE
    with pytest.raises(AssertionError, match="no polynomial of yours"), plug(magnitude, "polynomial"):
        pass


def test_a_missing_function_fails_with_what_to_do_and_later_cells_find_the_reference():
    with pytest.raises(AssertionError, match="run the exercise cell above"), plug(magnitude, "polynomial"):
        pass
    assert globals()["polynomial"] is REFERENCE


def test_the_hidden_seed_comes_from_the_instructors_environment(monkeypatch):
    assert checking.hidden_seed() == 0
    monkeypatch.setenv("TINYSHRINK_HIDDEN_SEED", "1234")
    assert checking.hidden_seed() == 1234


@njit(parallel=True)
def sums(X, shared):
    totals, buffer = np.empty(len(X)), np.zeros(X.shape[1])
    for i in prange(len(X)):
        own = np.zeros(X.shape[1])
        row = buffer if shared else own
        for j in range(X.shape[1]):
            row[j] = 2 * X[i, j]
        totals[i] = row.sum()
    return totals


@njit
def unwritten(X):
    totals = np.empty(len(X))
    for i in range(1, len(X)):
        totals[i] = _last(X[i])
    return totals


@njit
def _last(row):
    return row[len(row)]


@njit(parallel=True)
def lost(X):
    total = np.zeros((1, 1))
    for i in numba.prange(len(X)):
        total[0, 0] += X[i, 0]
    return total


def test_in_slow_motion_threads_that_clash_are_seen_on_any_machine():
    X = np.arange(1.0, 7).reshape(3, 2)
    assert checking.slow_motion(sums, X, False).tolist() == [6, 14, 22]
    with pytest.raises(AssertionError, match=r"write to the same place, \[0\]"):
        checking.slow_motion(sums, X, True)
    with pytest.raises(AssertionError, match=r"write to the same place, \[0, 0\]"):
        checking.slow_motion(lost, X)


def test_in_slow_motion_what_lies_outside_and_what_was_never_written_is_seen():
    with pytest.raises(IndexError):  # in a helper that is compiled too
        checking.slow_motion(unwritten, np.ones((3, 2)))
    assert np.isnan(checking.slow_motion(unwritten, np.ones((1, 2)))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Y, X: Y.astype(np.float64), "expected float32, got float64"),
        (lambda Y, X: Y.T, r"\(2, 3\) expected, got float32 \(3, 2\)"),
        (lambda Y, X: None, "got NoneType"),
        (
            lambda Y, X: Y + np.eye(2, 3, dtype=np.float32),
            "2 of 6 numbers are wrong, the first in row 0, column 0: expected 6, got 7",
        ),
        (lambda Y, X: Y * np.float32("nan"), "got nan"),
        (lambda Y, X: [X.fill(0), Y][1], "were changed"),
    ],
)
def test_a_product_that_is_wrong_is_named(change, message):
    arguments = np.float32([3, 1]), np.int32([0, 1]), np.int32([0, 1, 2]), np.full((2, 3), 2, np.float32)
    Y = np.float32([[6, 6, 6], [2, 2, 2]])
    checking.check_product(lambda *_: Y.copy(), arguments, Y)
    with pytest.raises(AssertionError, match=message):
        checking.check_product(lambda values, indices, indptr, X: change(Y.copy(), X), arguments, Y)


def test_answering_models_miss_the_examples_named():
    labels = torch.tensor([0, 2, 1, 0])
    model, original, (x, y) = checking.answering(labels, wrong_before=[1], wrong_after=torch.tensor([True, False, False, True]))
    assert torch.equal(y, labels)
    assert (original(x).argmax(1) == y).tolist() == [True, False, True, True]
    assert (model(x).argmax(1) == y).tolist() == [False, True, True, False]
