"""Every hostile, broken and odd submission in one class with honest students, whose scores must stay exact."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from rich.console import Console

import build
import hostile
import submissions
from grader import feedback, grade, report, sandbox

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # nbgrader's and SQLAlchemy's own
    pytest.mark.skipif(bool(sandbox.problem()) and not os.environ.get("CI"), reason=str(sandbox.problem())),
]
ASSIGNMENT = hostile.ASSIGNMENT
HOSTILE = hostile.all_of_them()
CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "tinyshrink"
c.Execute.timeout = 6
"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """(course folder, {student: result}, {honest student: points that they must get}, most points of each exercise)."""
    course, source = tmp_path_factory.mktemp("course"), hostile.short_source()
    (course / "nbgrader_config.py").write_text(CONFIG)
    released = build.release({ASSIGNMENT: source}, course)[ASSIGNMENT]
    honest = {}
    for copy in ("", "a ", "zz "):  # before, among and after the others
        for student, (text, points) in submissions.three(released, source).items():
            honest[f"{copy}{student}"] = points
            hostile.place(course / "submitted" / f"{copy}{student}" / ASSIGNMENT, text.encode())
    for submission in HOSTILE:
        hostile.place(course / "submitted" / submission.name / ASSIGNMENT, submission.make(released, source))
    os.environ["TINYSHRINK_TEST_SECRET"] = "tinyshrink-secret"
    with socket.socket(socket.AF_UNIX) as listener:  # for opens_the_network
        listener.bind("\0tinyshrink-hostile")
        listener.listen()
        grade.grade(course, ASSIGNMENT, workers=2, console=Console(quiet=True))
    del os.environ["TINYSHRINK_TEST_SECRET"]
    found = {path.stem: json.loads(path.read_text()) for path in (course / "results" / ASSIGNMENT).glob("*.json")}
    yield course, found, honest, submissions.points(source)
    shutil.rmtree(course)  # 200 MB


@pytest.mark.parametrize("submission", HOSTILE, ids=[submission.name for submission in HOSTILE])
def test_a_hostile_submission_gets_the_status_and_the_points_that_it_must_get(graded, submission):
    _, found, _, most = graded
    assert submission.name in found, "no row"
    wrong = submission.wrong(found[submission.name], most)
    assert not wrong, "\n".join(wrong)


def test_honest_students_beside_them_keep_their_exact_scores(graded):
    _, found, honest, _ = graded
    got = {student: {row["exercise"]: row["points"] for row in found[student]["exercises"]} for student in honest}
    assert got == honest
    assert {found[student]["status"] for student in honest} == {"graded"}


def test_the_gradebook_says_the_same(graded):
    from nbgrader.api import Gradebook

    course, found, _, _ = graded
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "tinyshrink") as gradebook:
        scores = {one.student.id: one.score for one in gradebook.assignment_submissions(ASSIGNMENT)}
    assert scores == {student: result["score"] for student, result in found.items()}


def test_nothing_survives_the_grading(graded):
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"tinyshrink-left-behind" in command:
            left.append(command)
    assert not left


def test_what_is_written_stays_small_and_shows_nothing_hidden(graded):
    course, found, _, _ = graded
    assert report.write(course, ASSIGNMENT).stat().st_size < 10_000_000
    source = hostile.short_source()
    hidden = [
        line.strip()
        for cell in source.cells
        if build.HIDDEN[0] in cell.source
        for line in cell.source.split(build.HIDDEN[0])[1].splitlines()
        if len(line.strip()) > 30 and not line.startswith(("import ", "from "))  # what it imports says nothing
    ]
    assert len(hidden) > 50
    pages = feedback.write(course, ASSIGNMENT)
    assert len(pages) == len(found)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert len(text) < 1_000_000 and "<script" not in text, page
        assert not [line for line in hidden if line in text or feedback.escape(line) in text], page
        assert sorted(path.name for path in page.parent.iterdir()) in ([page.name], [page.name, "timestamp.txt"])
    for path in (course / "autograded").rglob("*.ipynb"):
        assert path.stat().st_size < 10_000_000, path
