"""The grader on a small course: exact scores, repairs, resumption, the sandbox, the gradebook."""

import copy
import json
import os
import shutil

import nbformat
import pytest
from rich.console import Console

import build
import catalogue
import hostile
import submissions
from grader import grade, integrity, kernels, repair, sandbox

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # nbgrader's and SQLAlchemy's own
    pytest.mark.skipif(bool(sandbox.problem()) and not os.environ.get("CI"), reason=str(sandbox.problem())),
]
SHORT, STUDENT = "hostile", "hostile.ipynb"
QUIET = Console(quiet=True)
FULL = {"magnitude_mask": 4, "global_masks": 3, "apply_masks": 2, "polynomial": 2, "exponential": 2}


CLASSES = """
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, order=True)
class Span:
    start: float
    end: float

    def __len__(self):
        return 2


class Pair(NamedTuple):
    progress: float
    power: float


class Unclear(ValueError):
    pass


def polynomial(start, end, progress, power=3):
    if power <= 0:
        raise Unclear(f"power must be above 0, got {power}")
    span, pair = Span(start, end), Pair(progress, power)
    return span.end + (span.start - span.end) * (1 - pair.progress) ** pair.power


def exponential(start, end, progress):
    if not start < end < 1:
        raise Unclear("exponential needs start < end < 1")
    return 1 - (1 - start) * ((1 - end) / (1 - start)) ** progress
"""


def make_course(folder, config=""):
    """(released notebook as text, source notebook) of a course of five exercises in `folder`."""
    source = hostile.short_source()
    lines = ["c = get_config()", 'c.CourseDirectory.course_id = "tinyshrink"', "c.Execute.timeout = 20", config]
    build.write(folder / "nbgrader_config.py", "\n".join(lines))
    return build.release({SHORT: source}, folder)[SHORT], source


def hand_in(folder, student, content):
    hostile.place(folder / "submitted" / student / SHORT, content if isinstance(content, dict) else content.encode())


def run(folder, **options):
    return grade.grade(folder, SHORT, workers=1, console=QUIET, **options)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """(folder, released, source, results of the first run)."""
    folder = tmp_path_factory.mktemp("graded")
    released, source = make_course(folder, "c.LateSubmissions.penalty_method = 'none'")
    right = submissions.filled(released, source)
    hand_in(folder, "right", right)
    hand_in(folder, "blank", released)
    wrong = {"global_masks": submissions.WRONG_GLOBAL_MASKS}
    hand_in(folder, "wrong", submissions.filled(released, source, answers=wrong))
    hand_in(folder, "renamed", {f"{SHORT} (1).ipynb": right.encode(), "timestamp.txt": b"2026-01-01 10:00:00 UTC"})
    hand_in(folder, "no time", {STUDENT: right.encode(), "timestamp.txt": b"soon"})
    hand_in(folder, "no notebook", {"essay.txt": b"I did it"})
    hand_in(folder, "a link", {STUDENT: lambda path: path.symlink_to("/etc/passwd")})
    hand_in(folder, "Zoë 'x' \"y\"\nz", right)
    helper = nbformat.reads(right, as_version=4)
    place = next(i for i, cell in enumerate(helper.cells) if submissions.grade_id(cell) == "global_masks")
    helper.cells.insert(
        place, nbformat.v4.new_code_cell("def helper(scores):\n    return torch.cat([s.flatten() for s in scores])")
    )
    helper.cells[place + 1].source = helper.cells[place + 1].source.replace("torch.cat(", "helper(") + "\nhelper"
    hand_in(folder, "own helper", nbformat.writes(helper))
    hand_in(folder, "own classes", submissions.filled(released, source, answers={"polynomial": CLASSES}))
    return folder, released, source, run(folder)


def points(result):
    return {row["exercise"]: row["points"] for row in result["exercises"]}


@pytest.mark.parametrize("student", ["right", "own classes", "renamed", "Zoë 'x' \"y\"\nz", "no time"])
def test_a_right_answer_gets_every_point(course, student):
    assert points(course[3][student]) == FULL


def test_a_blank_and_a_wrong_answer_lose_exactly_their_points(course):
    results = course[3]
    assert points(results["blank"]) == dict.fromkeys(FULL, 0) and results["blank"]["status"] == "graded"
    assert points(results["wrong"]) == FULL | {"global_masks": 0}
    [row] = [row for row in results["wrong"]["exercises"] if row["outcome"] == "failed"]
    assert row["test"].startswith("test_") and "expected" in row["message"]
    assert "scores.items()" in results["wrong"]["code"]["global_masks"]


def test_a_cell_of_the_students_own_is_kept_where_an_answer_needs_it(course):
    folder, _, _, results = course
    notebook = nbformat.read(folder / "autograded" / "own helper" / SHORT / STUDENT, as_version=4)
    assert any("def helper" in cell.source for cell in notebook.cells)
    assert results["own helper"]["status"] == "graded", results["own helper"]


def test_what_is_no_submission_gets_a_row_that_says_why(course):
    results = course[3]
    assert results["no notebook"]["status"] == results["a link"]["status"] == "malformed"
    assert "there is no hostile.ipynb" in results["no notebook"]["reasons"][0]
    assert "timestamp.txt holds no time" in results["no time"]["reasons"][0] and results["no time"]["status"] == "flagged"
    assert results["renamed"]["timestamp"] == "2026-01-01T10:00:00"


def test_the_second_run_grades_only_what_changed_and_keeps_manual_scores(course, tmp_path):
    from nbgrader.api import Gradebook

    folder, released, _, _ = course
    again = tmp_path / "copy"
    shutil.copytree(folder, again, symlinks=True)
    assert run(again) == {}
    url = f"sqlite:///{again / 'gradebook.db'}"
    with Gradebook(url, "tinyshrink") as gradebook:
        found = gradebook.find_grade("check_global_masks", SHORT, SHORT, "wrong")
        found.manual_score, gradebook.assignments[0].name = 1.5, SHORT
        gradebook.find_comment("global_masks", SHORT, SHORT, "wrong").manual_comment = "nearly"
        gradebook.db.commit()
    shutil.rmtree(again / "submitted" / "wrong")
    hand_in(again, "wrong", released)
    assert list(run(again)) == ["wrong"]
    with Gradebook(url, "tinyshrink") as gradebook:
        found = gradebook.find_grade("check_global_masks", SHORT, SHORT, "wrong")
        assert (found.manual_score, found.auto_score, found.score, found.needs_manual_grade) == (1.5, 0, 1.5, True)
        assert gradebook.find_comment("global_masks", SHORT, SHORT, "wrong").comment == "nearly"
        assert gradebook.find_comment("magnitude_mask", SHORT, SHORT, "wrong").auto_comment == "No response."
        scores = {one.student.id: one.score for one in gradebook.assignment_submissions(SHORT)}
    assert scores["wrong"] == 1.5 and scores["right"] == sum(FULL.values())


def test_the_notebook_is_built_anew_from_the_record(course):
    folder, released, source, _ = course
    record = grade.Course.open(folder).record(SHORT)
    right = nbformat.reads(submissions.filled(released, source), as_version=4)
    broken = copy.deepcopy(right)
    broken.cells = [cell for cell in broken.cells if not submissions.grade_id(cell).startswith("check_")][::-1]
    for cell in broken.cells:
        cell.metadata = nbformat.from_dict({"tags": ["skip-execution"]})
        cell.cell_type = "raw"
    graded, _, reasons = repair.rebuild(record, json.dumps(broken).encode())
    assert [cell["grade_id"] for cell in graded] == [entry["grade_id"] for entry in record["cells"]]
    answers = {cell["grade_id"]: cell["source"] for cell in graded if cell["kind"] == "solution"}
    assert answers == {submissions.grade_id(c): c.source for c in right.cells if submissions.grade_id(c) in answers}
    assert "check_polynomial was missing; it was put back" in reasons
    for data in (b"", b"[]", b"{}", b'{"cells": 3}', b"\xff\xfe", b"[" * 100_000, b'{"cells": [3, {"source": 3}]}'):
        with pytest.raises(repair.Malformed):
            repair.rebuild(record, data)


def test_no_solution_of_the_catalogue_trips_a_wire():
    import ast

    looked = 0
    for exercise, path in catalogue.exercises():
        text, name = path.read_text(encoding="utf-8"), exercise.rsplit(".", 1)[-1]
        module = ast.parse(text)
        solutions = [node for node in module.body if getattr(node, "name", "").startswith(("wrong_", "right_"))]
        others = "\n".join(ast.unparse(node) for node in module.body[1:] if node not in solutions)
        for node in solutions:
            source = f"{others}\n{ast.get_source_segment(text, node).replace(node.name, name)}"
            assert not integrity.scan(source, name), f"{path.name}: {node.name}"
            looked += 1
    assert looked > 500


CHEATS = [
    "import sys\nsys.settrace(None)",
    "torch.equal = lambda *a: True",
    "get_ipython().run_cell = None",
    "class Yes:\n    def __eq__(self, other): return True",
    "exec('1')",
    "f = magnitude_mask.__globals__",
    "checking._references",
    "open('/proc/self/mem')",
    "from tinyshrink.magnitude import polynomial",
    "import inspect",
    "setattr(torch, 'equal', None)",
    "def isinstance(*a): return True",
    "type('T', (float,), {})",
]


@pytest.mark.parametrize("source", CHEATS)
def test_a_tripwire_says_what_a_cell_holds(source):
    assert integrity.scan(source, "polynomial")


def test_the_sandbox_holds_nothing_of_the_course(course):
    outside = [
        build.ROOT / "tests",
        build.ROOT / "grading",
        build.LESSONS,
        build.ROOT / "README.md",
        course[0],
        "/root/.ssh",
        "/etc/shadow",
    ]
    code = f"""
import os, socket
found = [path for path in {[str(path) for path in outside]} if os.path.exists(path)]
assert not found, found
assert os.getuid() != 0 and not any("TINYSHRINK" in name for name in os.environ), os.environ
processes = [name for name in os.listdir("/proc") if name.isdigit()]
assert len(processes) == 2, processes
for path in ("/usr/x", "/work", os.path.dirname(torch.__file__), "/grader/inside.py", "/dev/x"):
    assert not os.access(path, os.W_OK), path
try:
    socket.create_connection(("127.0.0.1", 22), timeout=1)
except OSError as error:
    assert "unreachable" in str(error) or "refused" in str(error), error
assert os.listdir("/sys/class/net") == ["lo"] if os.path.exists("/sys/class/net") else True
"""
    record = grade.Course.open(course[0]).record(SHORT)
    kernel = kernels.start(record, sandbox.Limits())
    try:
        kernel.ask({"do": "cell", "code": "import torch"}, 60)
        reply = kernel.ask({"do": "check", "code": code, "plug": None, "value": False, "seed": None, "odd": None}, 60)
        assert reply["status"] == "passed", reply
    finally:
        kernel.close()
        kernels.cool()


def test_without_bubblewrap_grading_refuses_and_unsafe_says_so_in_every_row(course, monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "problem", lambda: sandbox.HOW_TO_INSTALL)
    with pytest.raises(sandbox.SandboxError, match="apt-get install bubblewrap"):
        run(course[0])
    released, source = make_course(tmp_path)
    hand_in(tmp_path, "right", submissions.filled(released, source))
    [result] = run(tmp_path, unsafe=True).values()
    assert points(result) == FULL and result["unsafe"] and "--unsafe" in result["reasons"][0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "source"), "is no course folder"),
        (lambda folder: os.remove(folder / "gradebook.db"), "run nbgrader generate_assignment"),
        (lambda folder: (folder / "gradebook.db").write_bytes(b"no database"), "cannot be opened"),
        (
            lambda folder: shutil.copy(*[folder / "source" / SHORT / name for name in (STUDENT, "two.ipynb")]),
            "must hold one notebook",
        ),
    ],
)
def test_a_course_that_cannot_be_graded_is_named(tmp_path, spoil, said):
    make_course(tmp_path)
    spoil(tmp_path)
    with pytest.raises(repair.CourseError, match=said):
        run(tmp_path)
