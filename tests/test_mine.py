"""`tinyshrink mine`: the framework that a student's notebooks make, and what the test suite says of it."""

import ast
import inspect
import io
import re

import pytest
from rich.console import Console

import build
import catalogue
import mine
import submissions
from tinyshrink.progress import STUB

LESSON = "02_magnitude"
ENDLESS = """import time

def apply_masks(model, masks):
    while True:
        time.sleep(0.05)
"""
OWN_HELPER = """%matplotlib inline
from decimal import Decimal

SIDE = 3

def cube(number, power=SIDE):
    return float(Decimal(number) ** power)

def polynomial(start, end, progress, power=3):
    return end - (end - start) * (cube(1 - progress) if power == 3 else (1 - progress) ** power)

def exponential(start, end, progress):
    raise NotImplementedError()

print(polynomial(0, 1, 0.5))
"""


@pytest.fixture(scope="module")
def source():
    [lesson] = build.lessons([LESSON])
    return build.source_notebook(lesson)


@pytest.fixture
def student(source, tmp_path, monkeypatch):
    """A function that writes a solved notebook with `answers` in it and returns its path; build/mine is elsewhere."""
    monkeypatch.setattr(mine, "OUT", tmp_path / "my own")
    released = (build.MODULES / LESSON / f"{LESSON}.ipynb").read_text(encoding="utf-8")

    def write(**answers):
        path = tmp_path / LESSON / f"{LESSON}.ipynb"
        build.write(path, submissions.filled(released, source, answers=answers))
        return path

    return write


def kept(path):
    """{exercise: why the reference stays} of a notebook."""
    exercises, _ = mine.read([path])
    mine.write(exercises)
    for file in (mine.OUT / "tinyshrink").rglob("*.py"):
        ast.parse(file.read_text(encoding="utf-8"))
    return {exercise.function: exercise.kept for exercise in exercises if exercise.kept}


def overlaid(name):
    return (mine.OUT / "tinyshrink" / name).read_text(encoding="utf-8")


def test_the_reference_solutions_give_the_package_back(student):
    assert kept(student()) == {}
    solution = "\n".join(line for line in overlaid("magnitude.py").splitlines() if "SOLUTION" not in line)
    assert solution == (build.PACKAGE / "magnitude.py").read_text(encoding="utf-8").rstrip("\n")
    assert overlaid("metrics.py") == (build.PACKAGE / "metrics.py").read_text(encoding="utf-8")


def test_what_an_answer_needs_of_its_notebook_comes_along_and_nothing_else(student):
    assert kept(student(polynomial=OWN_HELPER)) == {"exponential": "not solved yet"}
    text = overlaid("magnitude.py")
    assert "from decimal import Decimal\n\n\nSIDE = 3\n\n\ndef cube(" in text
    assert "print(polynomial" not in text and "matplotlib" not in text and STUB not in text


def test_a_module_of_the_package_is_imported_at_the_end_where_it_may_import_this_one(student):
    answer = "def taylor_scores(weight):\n    return metrics.weights, plots.save, weight.grad\n"
    kept(student(taylor_scores=answer))
    assert overlaid("magnitude.py").endswith("from tinyshrink import plots\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("def taylor_scores(weight:", "your cell is no Python"),
        ("pass", "does not define it"),
        ("def taylor_scores(weight):\n    raise NotImplementedError()", "not solved yet"),
        (
            "def kth_smallest(values):\n    return 1\n\n\ndef taylor_scores(weight):\n    return kth_smallest(weight)",
            "its kth_smallest has the name of something else in tinyshrink.magnitude: call yours otherwise",
        ),
    ],
)
def test_an_exercise_that_cannot_be_used_is_the_references_and_says_why(student, answer, why):
    [(exercise, said)] = kept(student(taylor_scores=answer)).items()
    assert exercise == "taylor_scores" and why in said


def test_a_damaged_notebook_is_one_line_and_the_others_are_read(student):
    path = student()
    broken = path.parent.parent / "01_sparsity" / "01_sparsity.ipynb"
    build.write(broken, '{"cells": [')
    exercises, [trouble] = mine.read([broken, path])
    assert {exercise.lesson for exercise in exercises} == {LESSON}
    assert "01_sparsity.ipynb cannot be read: it is not JSON" in trouble


def test_a_folder_that_cannot_be_written_is_one_line(student):
    path = student()
    mine.OUT.write_text("a file stands where the folder should be")
    with pytest.raises(mine.MineError, match=r"my own cannot be written \(.*\): it needs a folder that is yours"):
        mine.main(Console(file=io.StringIO()), [path], False, 60, False)


def test_wrong_endless_and_missing_answers_are_named_and_only_they(student):
    [nm_mask] = [path for name, path in catalogue.exercises(["magnitude"]) if name == "magnitude.nm_mask"]
    wrong, must_fail = catalogue.solutions(nm_mask)["wrong_removes_n"]
    wrong = inspect.getsource(wrong).replace("wrong_removes_n", "nm_mask")
    path = student(nm_mask=wrong, apply_masks=ENDLESS, taylor_scores="def taylor_scores(")
    console = Console(file=io.StringIO(), width=200)
    assert not mine.main(console, [path], False, 15, False)
    said = console.file.getvalue()
    rows = {row.split("│")[2].strip(): row for row in said.splitlines() if row.count("│") == 6 and LESSON in row}
    assert "does not end within 15 seconds" in rows["apply_masks"] and "the reference" in rows["apply_masks"]
    assert "the reference: your cell is no Python" in rows["taylor_scores"]
    assert must_fail in said and "yours" in rows["nm_mask"]
    failed = [line for line in said.splitlines() if line.startswith("tests/")]
    named = [re.search(r"nm_mask\b[^)]*\):|\(apply_masks\): does not end", line) for line in failed]
    assert failed and all(named), "\n".join(failed)
    assert sum("does not end" in line for line in failed) == 1
    assert "8 of 10 exercises are yours" in said


def test_the_checks_of_a_lesson_name_tests_that_exist():
    for lesson in build.lessons():
        for name, (_, tests) in build.exercises(lesson).items():
            assert tests, name
            assert all(build.source_of(path, test) for path, test in tests)
