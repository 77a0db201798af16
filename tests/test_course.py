"""The nbgrader round trip, with stock nbgrader commands in a course folder, as an instructor would type them."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import build
import course
import submissions

ASSIGNMENT = course.ASSIGNMENT


def nbgrader(folder, *arguments):
    """Run an nbgrader command in the course folder; returns what it printed."""
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-W", "ignore", "-m", "nbgrader", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source():
    [lesson] = build.lessons([ASSIGNMENT])
    return build.source_notebook(lesson)


@pytest.fixture(scope="module")
def graded(source, tmp_path_factory):
    """A course folder in which the three submissions, and one that prints a warning, went the whole way."""
    folder = tmp_path_factory.mktemp("nbgrader course")
    shutil.copy(build.ROOT / "grading" / "nbgrader_config.py", folder)
    build.write(folder / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", nbformat.writes(source))
    nbgrader(folder, "generate_assignment", ASSIGNMENT)
    released = (folder / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").read_text(encoding="utf-8")
    expected = {}
    for student, (text, points) in submissions.three(released, source).items():
        build.write(folder / "submitted" / student / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", text)
        expected[student] = points
    nbgrader(folder, "autograde", ASSIGNMENT)
    nbgrader(folder, "generate_feedback", ASSIGNMENT)
    nbgrader(folder, "export", "--to=grades.csv")
    return folder, released, expected


def test_the_released_notebook_is_the_committed_one(graded):
    _, released, _ = graded
    committed = build.MODULES / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    assert released == committed.read_text(encoding="utf-8"), "stale: run python grading/build.py"


@pytest.mark.parametrize("student", ["reference", "blank", "half-done"])
def test_each_submission_gets_exactly_the_points_that_it_must_get(graded, student):
    folder, _, expected = graded
    assert course.scores(folder, ASSIGNMENT, student) == expected[student]


def test_the_three_submissions_span_all_none_and_some(graded):
    _, _, expected = graded
    sums = {student: sum(points.values()) for student, points in expected.items()}
    assert sums["blank"] == 0 < sums["half-done"] < sums["reference"] == sum(expected["reference"].values())


def test_the_export_holds_the_sums(graded):
    folder, _, expected = graded
    with open(folder / "grades.csv", encoding="utf-8") as file:
        rows = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert rows == {student: sum(points.values()) for student, points in expected.items()}


def test_feedback_is_written_for_each_student(graded):
    folder, _, expected = graded
    for student in expected:
        assert (folder / "feedback" / student / ASSIGNMENT / f"{ASSIGNMENT}.html").stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
def test_a_warning_on_stderr_costs_no_points(source, tmp_path):
    """A short notebook with one exercise of module 02, solved rightly by a function that warns."""
    cells = [cell for cell in source.cells if cell.cell_type == "code"]
    names = [submissions.grade_id(cell) for cell in cells]
    short = nbformat.from_dict(source)
    short.cells = [cells[0], cells[names.index("polynomial")], cells[names.index("check_polynomial")]]
    released = build.release({"short": short}, tmp_path)["short"]
    noisy = "import warnings\n\n" + build.source_of(*build.package_file("magnitude.polynomial"))
    noisy = noisy.replace("    return", "    warnings.warn('to stderr')\n    return")
    text = submissions.filled(released, short, answers={"polynomial": noisy})
    assert list(course.grade(tmp_path, "short", {"noisy": text})) == ["noisy"]
    assert course.scores(tmp_path, "short", "noisy") == {"polynomial": submissions.points(short)["polynomial"]}
