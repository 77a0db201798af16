"""`tinyshrink check` on a student's notebook, whole, half-done and damaged."""

import nbformat
import pytest
from typer.testing import CliRunner

from tinyshrink import cli, magnitude, notebook

REFERENCE = magnitude.polynomial
STUB = "def polynomial(start, end, progress, power=3):\n    raise NotImplementedError()"
RIGHT = "def polynomial(start, end, progress, power=3):\n    return end - (end - start) * (1 - progress) ** power"
CHECK = """def test_cubic():
    got = magnitude.schedule("cubic", 0, 0.9, 2)(1)
    assert abs(got - 0.7875) < 1e-9, f"expected 0.7875, got {got}"


with plug(magnitude, "polynomial"):
    test_cubic()"""


@pytest.fixture(autouse=True)
def reference_afterwards():
    yield
    magnitude.polynomial = REFERENCE


@pytest.fixture
def write(tmp_path):
    def write(*cells):
        """A notebook of imports, the given exercise cells and one check of 3 points; returns its path."""
        made = [nbformat.v4.new_code_cell("from tinyshrink import magnitude\nfrom tinyshrink.checking import plug")]
        for source in cells:
            made.append(nbformat.v4.new_code_cell(source))
            made[-1].metadata["nbgrader"] = {"grade_id": "polynomial", "grade": False, "solution": True}
        experiment = nbformat.v4.new_code_cell("raise RuntimeError('experiments are not run')")
        experiment.metadata["tags"] = ["experiment"]
        check = nbformat.v4.new_code_cell(CHECK)
        check.metadata["nbgrader"] = {"grade_id": "check_polynomial", "grade": True, "points": 3, "solution": False}
        path = tmp_path / "student.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[*made, experiment, check]), path)
        return path

    return write


def run(path):
    return CliRunner().invoke(cli.app, ["check", str(path)], env={"COLUMNS": "200"})


def test_a_right_solution_gets_its_points(write):
    outcome = run(write(RIGHT))
    assert outcome.exit_code == 0 and "3 of 3 points" in outcome.output


def test_a_wrong_solution_says_what_was_expected_and_what_came(write):
    outcome = run(write(RIGHT.replace("** power", "")))
    assert outcome.exit_code == 1
    assert "expected 0.7875, got 0.45" in outcome.output and "0 of 3 points" in outcome.output


def test_a_stub_is_not_solved_yet(write):
    assert "not solved yet" in run(write(STUB)).output


def test_a_syntax_error_names_its_cell_and_the_others_go_on(write):
    outcome = run(write("def polynomial(:", RIGHT))
    assert outcome.exit_code == 0
    assert "cell 2 (polynomial): SyntaxError in line 1" in outcome.output and "3 of 3 points" in outcome.output
    alone = run(write("def polynomial(:"))
    assert alone.exit_code == 1 and "your cell 2 failed: SyntaxError in line 1" in alone.output


def test_what_jupyter_takes_is_no_error_here(write):
    outcome = run(write("%matplotlib inline\n" + RIGHT + "\nexit"))
    assert outcome.exit_code == 0, outcome.output


def test_brackets_in_a_message_are_shown_as_they_are(write):
    outcome = run(write(RIGHT + "\nraise ValueError('got [inf, 1.0] and [/path]')"))
    assert "got [inf, 1.0] and [/path]" in outcome.output


def test_an_exercise_cell_that_raises_is_named(write):
    outcome = run(write("1 / 0", RIGHT))
    assert "cell 2 (polynomial): ZeroDivisionError: division by zero" in outcome.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no notebook"),
        (b"", "is not JSON"),
        (b'{"cells": [', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"cells": 1}', "no notebook"),
        (b'{"cells": [], "metadata": {}, "nbformat": 5, "nbformat_minor": 0}', "no notebook"),
        (b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "no check cells"),
    ],
)
def test_what_is_no_notebook_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "student.ipynb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(notebook.NotebookError, match=message):
        notebook.read(path)
    outcome = run(path)
    assert outcome.exit_code == 2 and message in outcome.output and "Traceback" not in outcome.output


def test_an_unknown_module_lists_the_known_ones():
    outcome = run("77")
    assert outcome.exit_code == 2 and "02_magnitude" in outcome.output


def test_doctor_finds_this_environment_healthy():
    outcome = CliRunner().invoke(cli.app, ["doctor"], env={"COLUMNS": "200"})
    assert outcome.exit_code == 0 and "matched pair" in outcome.output


def test_doctor_says_how_to_mend_a_mismatched_pair(monkeypatch):
    def mismatched(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(cli.doctor.importlib, "import_module", mismatched)
    outcome = CliRunner().invoke(cli.app, ["doctor"], env={"COLUMNS": "300"})
    assert outcome.exit_code == 1 and "pip install torch torchvision" in outcome.output
