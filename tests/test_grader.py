"""The grader on a small course: exact scores, repairs, resumption, the sandbox, the gradebook."""

import contextlib
import copy
import errno
import json
import os
import shutil
import sqlite3
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

import build
import catalogue
import hostile
import submissions
from grader import executor, grade, integrity, kernels, repair, sandbox, worker

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
    hand_in(folder, "作" * 84, right)  # a folder's name cannot be longer, so that of its result must be another
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


@pytest.mark.parametrize("student", ["right", "own classes", "renamed", "Zoë 'x' \"y\"\nz", "no time", "作" * 84])
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
    (again / "submitted" / "right" / SHORT / STUDENT).write_bytes(b"no notebook")
    assert sorted(run(again)) == ["right", "wrong"]
    assert not (again / "autograded" / "right" / SHORT).exists(), "that of before would be taken for this one"
    with Gradebook(url, "tinyshrink") as gradebook:
        found = gradebook.find_grade("check_global_masks", SHORT, SHORT, "wrong")
        assert (found.manual_score, found.auto_score, found.score, found.needs_manual_grade) == (1.5, 0, 1.5, True)
        assert gradebook.find_comment("global_masks", SHORT, SHORT, "wrong").comment == "nearly"
        assert gradebook.find_comment("magnitude_mask", SHORT, SHORT, "wrong").auto_comment == "No response."
        scores = {one.student.id: one.score for one in gradebook.assignment_submissions(SHORT)}
    assert scores["wrong"] == 1.5 and scores["right"] == 0 and scores["renamed"] == sum(FULL.values())


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


def timeout_of(folder, seconds):
    build.write(folder / "nbgrader_config.py", f"c = get_config()\nc.Execute.timeout = {seconds}\n")


def change(folder, command, name="gradebook.db"):
    with contextlib.closing(sqlite3.connect(folder / name)) as database:
        database.execute(command)
        database.commit()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "source"), "is no course folder"),
        (lambda folder: os.remove(folder / "gradebook.db"), "run nbgrader generate_assignment"),
        (lambda folder: (folder / "gradebook.db").write_bytes(b"no database"), "cannot be opened"),
        (
            lambda folder: change(folder, "ALTER TABLE source_cell RENAME COLUMN cell_type TO kind"),
            "from another nbgrader .*cell_type.*: nbgrader db upgrade",
        ),
        (
            lambda folder: shutil.copy(*[folder / "source" / SHORT / name for name in (STUDENT, "two.ipynb")]),
            "must hold one notebook",
        ),
        (
            lambda folder: build.write(folder / "nbgrader_config.py", "import nothing"),
            "fails: ModuleNotFound",
        ),
        (lambda folder: build.write(folder / "nbgrader_config.py", "c = get_config("), "nbgrader_config.py fails: SyntaxError"),
        *(
            (lambda folder, seconds=seconds: timeout_of(folder, seconds), f"seconds that a cell may take, got {seconds}")
            for seconds in ("None", "-1", "'abc'", "0")
        ),
    ],
)
def test_a_course_that_cannot_be_graded_is_named(tmp_path, spoil, said):
    make_course(tmp_path)
    spoil(tmp_path)
    with pytest.raises(repair.CourseError, match=said):
        run(tmp_path)


@pytest.mark.parametrize("seed", ["spring", "-1", "", "1" * 19, "²"])
def test_a_seed_that_is_no_number_is_named_before_anybody_loses_points_by_it(course, monkeypatch, seed):
    monkeypatch.setenv("TINYSHRINK_HIDDEN_SEED", seed)
    with pytest.raises(repair.CourseError, match="must be a whole number"):
        run(course[0])


def test_each_exercise_has_a_seed_of_its_own_that_does_not_tell_the_instructors():
    def run_of(seed):
        return executor.Run({"assignment": SHORT}, [], None, 1, 10, seed)

    seeds = [run_of(seed).seed_of({"exercise": name}) for seed in ("7", "8") for name in ("polynomial", "exponential")]
    assert len(set(seeds)) == 4 and not {"7", "8"} & set(seeds) and all(0 <= int(seed) < 2**32 for seed in seeds)


class Bomb:
    """Data of a job at which the worker that unpacks it dies."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_submission_that_kills_its_worker_stops_nobody_else(course, tmp_path):
    record = grade.Course.open(course[0]).record(SHORT)
    options = {"timeout": 5, "seed": "0", "limits": sandbox.Limits(), "unsafe": False}
    jobs = [worker.job_of(record, f"student {number}", ("hostile.ipynb", b"no notebook"), "", **options) for number in range(6)]
    jobs[1]["data"] = Bomb()
    found = {result["student"]: result for result, _ in grade.spread(jobs, 2, None)}
    assert set(found) == {job["student"] for job in jobs}
    assert {student for student, result in found.items() if "its worker died" in result["reasons"][0]} == {"student 1"}


PLUGIN = """from nbgrader.plugins import BasePlugin


class PerHour(BasePlugin):
    points = {"late": 1.5, "too late": 1000, "rewarded": -7, "forgiven": None}

    def late_submission_penalty(self, student_id, score, total_seconds_late):
        points = self.points[student_id]
        return None if points is None else points * total_seconds_late / 3600
"""
PENALTIES = {"late": 3, "too late": 13, "rewarded": 0, "forgiven": None, "in time": None, "no stamp": None}


def with_marks(source):
    """The short course with what nbgrader also knows: a manual answer, a task, and a check that gives part of its points."""
    cells = [
        nbformat.v4.new_markdown_cell("Why?", id="why"),
        nbformat.v4.new_markdown_cell("Draw a network.", id="draw"),
        nbformat.v4.new_code_cell("### BEGIN SOLUTION\nshare = 1\n### END SOLUTION", id="share"),
        nbformat.v4.new_code_cell("assert share is not None\nshare", id="check-share"),
    ]
    metadata = [
        build.nbgrader_metadata("why", grade=True, solution=True, points=3),
        build.nbgrader_metadata("draw", points=2) | {"task": True, "points": 2},
        build.nbgrader_metadata("share", solution=True),
        build.nbgrader_metadata("check_share", grade=True, points=1),
    ]
    for cell, one in zip(cells, metadata):
        cell.metadata = nbformat.from_dict({"nbgrader": one})
    source.cells += cells
    return source


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A course with a due date, a late plugin and a database elsewhere: (its folder, URL, results)."""
    from nbgrader.api import Gradebook

    folder, elsewhere = tmp_path_factory.mktemp("a course"), tmp_path_factory.mktemp("elsewhere")
    url = f"sqlite:///{elsewhere / 'books.db'}"
    config = ["c = get_config()", f"c.CourseDirectory.db_url = {url!r}", 'c.AssignLatePenalties.plugin_class = "hours.PerHour"']
    config += ["c.IgnorePattern.enabled = True", 'c.IgnorePattern.pattern = ".*"']
    build.write(folder / "nbgrader_config.py", "\n".join(config))
    build.write(folder / "hours.py", PLUGIN)
    source = with_marks(hostile.short_source())
    released = build.release({SHORT: source}, folder)[SHORT]
    with Gradebook(url) as gradebook:
        gradebook.update_or_create_assignment(SHORT, duedate="2026-03-01 10:00:00 UTC")
    stamps = dict.fromkeys(PENALTIES, b"2026-03-01 12:00:00 UTC")
    stamps |= {"in time": b"2026-03-01 10:00:00 UTC", "no stamp": None}
    for student, stamp in stamps.items():
        share = {"too late": "9", "in time": "0.25"}.get(student, "1")
        notebook = nbformat.reads(submissions.filled(released, source, answers={"share": f"share = {share}"}), as_version=4)
        if student != "no stamp":
            hostile.cell_of(notebook, "why").source = f"Because of {student}. <b>Or?</b> <img src=x onerror=alert(1)>"
        files = {STUDENT: nbformat.writes(notebook).encode()}
        hand_in(folder, student, files | ({"timestamp.txt": stamp} if stamp else {}))
    return folder, url, run(folder)


def gradebook_of(url, student):
    """What the gradebook says of a submission: ({grade id: scores}, penalty, score)."""
    from nbgrader.api import Gradebook

    with Gradebook(url) as gradebook:
        notebook = gradebook.find_submission_notebook(SHORT, SHORT, student)
        grades = {one.name: (one.auto_score, one.manual_score, one.needs_manual_grade) for one in notebook.grades}
        return grades, notebook.late_submission_penalty, gradebook.find_submission(SHORT, student).score


def test_a_database_in_another_place_is_the_one_that_is_used(marked):
    folder, url, results = marked
    assert set(results) == set(PENALTIES) and not (folder / "gradebook.db").exists()
    assert gradebook_of(url, "in time")[2] == 13.25


def test_manual_answers_and_tasks_wait_for_a_person(marked):
    folder, url, results = marked
    grades = gradebook_of(url, "late")[0]
    assert grades["why"] == grades["draw"] == (None, None, True) and grades["check_magnitude_mask"] == (4, None, False)
    assert results["late"]["status"] == "graded" and points(results["late"]) == FULL | {"why": 0, "draw": 0, "share": 1}
    kept = nbformat.read(folder / "autograded" / "late" / SHORT / STUDENT, as_version=4)
    assert hostile.cell_of(kept, "why").source == "Because of late. <b>Or?</b> &lt;img src=x onerror=alert(1)&gt;"
    assert results["late"]["reasons"] == []


def test_late_penalties_are_those_of_the_plugin_within_the_score(marked):
    _, url, results = marked
    assert {student: gradebook_of(url, student)[1] for student in PENALTIES} == PENALTIES
    assert results["late"]["late_seconds"] == 7200
    left = {student: score - (penalty or 0) for student in PENALTIES for _, penalty, score in [gradebook_of(url, student)]}
    assert (left["late"], left["too late"]) == (11, 0)


def test_nbgrader_itself_gives_the_same_grades_and_penalty(marked, tmp_path, monkeypatch):
    folder, url, _ = marked
    theirs = tmp_path / "theirs"
    shutil.copytree(folder, theirs, ignore=shutil.ignore_patterns("autograded", "results"))
    own = f"sqlite:///{theirs / 'books.db'}"
    shutil.copy(url.removeprefix("sqlite:///"), theirs / "books.db")
    config = (theirs / "nbgrader_config.py").read_text().replace(url, own)
    (theirs / "nbgrader_config.py").write_text(config)
    monkeypatch.syspath_prepend(str(theirs))
    ours = gradebook_of(own, "late")
    change(theirs, "UPDATE grade SET auto_score = NULL, needs_manual_grade = 0", "books.db")
    change(theirs, "UPDATE submitted_notebook SET late_submission_penalty = NULL", "books.db")
    result = build.nbgrader_api(theirs).autograde(SHORT, "late", force=True)
    assert result["success"], result["log"]
    theirs = gradebook_of(own, "late")
    for book in (theirs, ours):
        book[0].pop("draw")  # nbgrader leaves the mark of a task cell as it was, ours says that it waits for a person
    assert theirs == ours


def test_a_partial_score_above_the_most_waits_for_a_person_and_a_fair_one_is_kept(marked):
    results = marked[2]
    assert points(results["too late"])["share"] == 0 and results["too late"]["status"] == "flagged"
    assert "share: a score of 9 of 1 was set to 1" in results["too late"]["reasons"]
    assert points(results["in time"])["share"] == 0.25 and results["in time"]["status"] == "graded"


@pytest.mark.parametrize(
    ("partial", "points", "flagged"),
    [(5.0, 2, True), (-1.0, 0, True), (float("nan"), 0, True), (float("inf"), 2, True), (1.5, 1.5, False), (None, 2, False)],
)
def test_a_partial_score_stays_between_none_and_all_of_the_points(partial, points, flagged):
    cell = {"exercise": "share", "cell": {"metadata": {"nbgrader": {"points": 2}}}}
    checked, result = executor.Run(None, [cell], None, 1, 1, 0), {}
    checked.passed(0, cell, result, {"partial": partial})
    assert result["points"] == points and bool(checked.flags) == flagged


def test_a_full_disk_is_said_nothing_is_half_written_and_the_next_run_goes_on(tmp_path, monkeypatch):
    make_course(tmp_path)
    for student in "abcd":
        hand_in(tmp_path, student, {"essay.txt": b"I did it"})
    write, count = Path.write_text, 0

    def fill_up(path, text, **options):
        nonlocal count
        count += path.parent.name == ".found"
        if count < 3:
            return write(path, text, **options)
        write(path, text[: len(text) // 2], **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fill_up)
    with pytest.raises(repair.CourseError, match=r"results/.* cannot be written \(No space left on device\): make room"):
        run(tmp_path)
    monkeypatch.setattr(Path, "write_text", write)
    there = [path for path in (tmp_path / "results").rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(there) >= 2 and all(json.loads(path.read_text())["status"] == "malformed" for path in there)
    assert set(run(tmp_path)) >= {"c", "d"}
    assert {path.stem for path in (tmp_path / "results" / SHORT).glob("*.json")} == set("abcd")
    assert run(tmp_path) == {}
