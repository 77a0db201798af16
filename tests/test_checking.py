import base64
import io
import re

import numba
import numpy as np
import pytest
import torch
from IPython.utils.io import capture_output
from numba import njit, prange
from PIL import Image

from tinyshrink import checking, magnitude, panel
from tinyshrink.checking import plug
from tinyshrink.notebook import Shell

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


@pytest.fixture
def cell():
    """A function that runs a cell as a kernel does: (HTML that it showed, its error, what it printed)."""
    shell = Shell.instance()
    shell.kernel, shell.colors = True, "nocolor"
    panel.watch_questions()

    def cell(source):
        with capture_output() as seen:
            result = shell.run_cell(source, store_history=False)
        return "".join(output.data["text/html"] for output in seen.outputs), result.error_in_exec, seen.stdout

    cell("import torch\nfrom tinyshrink import magnitude\nfrom tinyshrink.checking import plug")
    yield cell
    Shell.clear_instance()


CHECK = """
def test_mask():
    scores = torch.tensor([[3.0, 1.0], [2.0, 1.0]])
    got = magnitude.magnitude_mask(scores, 0.25)
    expected = torch.tensor([[True, False], [True, True]])
    assert torch.equal(got, expected), "not this one"

with plug(magnitude, "magnitude_mask"):
    test_mask()
"""


def answer(line):
    return f"def magnitude_mask(scores, sparsity):\n    {line}"


def test_a_failed_check_shows_expected_yours_and_their_difference_as_pictures(cell):
    cell(answer("return scores > 2"))
    html, error, printed = cell(CHECK)
    assert isinstance(error, AssertionError) and str(error) == "not this one"
    assert printed == "magnitude_mask: not yet right: not this one\n"  # of the error itself
    assert "bool, shape (2, 2): tensor([[ True, False], [ True, True]])" in html
    assert "kth_smallest(values, k) finds the largest score" in html
    captions = ["expected: 3 of 4 are 1 (blue)", "yours: 1 of 4 are 1 (blue)", "difference: 2 of 4 (orange)"]
    assert re.findall('alt="(.*?)"', html) == captions
    pictures = [np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for data in re.findall('base64,(.*?)"', html)]
    squares = [picture[8::16, 8::16] for picture in pictures]
    assert (squares[2] == panel.VERMILLION).all(-1).tolist() == [[False, False], [True, True]]
    assert (squares[0] == panel.BLUE).all(-1).tolist() == [[True, False], [True, True]]
    assert magnitude.magnitude_mask is not None and "passed" not in html


def test_a_passed_check_says_so_and_shows_no_error(cell):
    cell(answer("mask = torch.ones_like(scores, dtype=torch.bool); mask[0, 1] = False; return mask"))
    html, error, printed = cell(CHECK)
    assert error is None and not printed
    assert "passed" in html and "From here on the framework runs on yours" in html


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise NotImplementedError()", "not solved yet"),
        ("raise ValueError('<img src=x>')", "line 2 of the cell with magnitude_mask:</b> raise ValueError"),
        ("return type('<b>', (), {'__repr__': lambda self: 1 / 0})()", "not yet right"),
        ("return '<script>'", "not yet right"),
        ("return scores * float('nan')", "not yet right"),
    ],
)
def test_whatever_an_answer_does_the_panel_is_whole_and_holds_no_html_of_the_student(cell, line, said):
    cell(answer(line))
    html, error, printed = cell(CHECK)
    assert error is not None and printed.count("\n") == 1 and said in html
    assert html.count("<div") == html.count("</div") and not re.search("<(script|b>'|img src=x)", html)


def test_the_check_of_an_answer_has_a_panel_too_that_does_not_give_the_answer_away(cell):
    check = "def check_knee(got, expected=0.875):\n    assert got == expected, 'look again'\n\ncheck_knee(knee)"
    html, error, printed = cell(check)
    assert isinstance(error, NameError) and "there is no knee: run the cells above" in html
    cell("knee = 0.5")
    html, error, printed = cell(check)
    assert isinstance(error, AssertionError) and "look again" in html and "expected" not in html
    assert printed == "knee: not yet right: look again\n"
    cell("knee = 0.875")
    html, error, printed = cell(check)
    assert error is None and "passed" in html and "knee" in html


def test_errors_of_other_cells_stay_as_they_are(cell):
    html, error, printed = cell("def mine():\n    return 1 / 0\n\nmine()")
    assert not html and isinstance(error, ZeroDivisionError)
    assert "Traceback" in printed and "return 1 / 0" in printed


@pytest.mark.parametrize(
    ("source", "pair"),
    [
        ("got, expected = 1, 2\nassert got == expected", (2, 1)),
        ("got, expected = 1, 2\nassert expected == got", (2, 1)),
        ("got, expected = 1.5, 2.0\nassert abs(got - expected) < 0.1", (2.0, 1.5)),
        ("rows = [1, 2]\nassert len(rows) == 3, (\n    'of two lines')", (3, 2)),
        ("got = expected = 1\nassert isinstance(got, str)", None),  # both are the same
        ("calls = [5, 6]\nassert calls.pop() == 5", None),  # another look would give another value
        ("assert False", None),
    ],
)
def test_what_was_expected_and_what_came_are_read_from_the_assert(cell, source, pair):
    body = source.replace("\n", "\n    ")
    cell("def magnitude_mask():\n    pass")
    html, error, _ = cell(f'def test():\n    {body}\n\nwith plug(magnitude, "magnitude_mask"):\n    test()')
    shown = re.findall("<b>(?:expected|yours):</b> (.*?)</p>", html)
    assert isinstance(error, AssertionError) and shown == [repr(value) for value in pair or ()]


def test_without_a_kernel_an_error_is_left_alone(capsys):
    globals()["polynomial"] = lambda *arguments: 0
    with pytest.raises(AssertionError) as caught, plug(magnitude, "polynomial"):
        raise AssertionError("plain")
    assert capsys.readouterr().out.startswith("polynomial: not yet right: plain\nLater cells run on the reference.")
    assert not hasattr(caught.value, "_render_traceback_")
