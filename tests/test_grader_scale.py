"""The grader killed and started again, on a Dask cluster, and on PostgreSQL: always the same grades."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

import build
import submissions
from grader import grade, sandbox

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # nbgrader's, SQLAlchemy's and Dask's own
    pytest.mark.skipif(bool(sandbox.problem()) and not os.environ.get("CI"), reason=str(sandbox.problem())),
]
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)
WRONG = {"polynomial": "def polynomial(start, end, progress, power=3):\n    return start + (end - start) * progress\n"}
SCRIPT = """
import sys
from rich.console import Console
sys.path.insert(0, {grading!r})
from grader import grade
if __name__ == "__main__":
    grade.grade({course!r}, "small", workers=2, console=Console(quiet=True))
"""


def make_course(folder, count, config=""):
    """A course of one exercise in which every third answer is wrong; returns the score of each student."""
    [lesson] = build.lessons(["02_magnitude"])
    source = build.source_notebook(lesson)
    wanted = ("given_001", "polynomial", "check_polynomial")
    source.cells = [cell for cell in source.cells if submissions.grade_id(cell) in wanted]
    build.write(folder / "nbgrader_config.py", f'c = get_config()\nc.CourseDirectory.course_id = "tinyshrink"\n{config}\n')
    released = build.release({"small": source}, folder)["small"]
    expected = {}
    for number in range(count):
        student, is_wrong = f"student {number:03}", number % 3 == 2
        text = submissions.filled(released, source, answers=WRONG if is_wrong else ())
        build.write(folder / "submitted" / student / "small" / "small.ipynb", text)
        expected[student] = 0.0 if is_wrong else 2.0
    return expected


def scores(folder):
    """{student: score} of the gradebook."""
    course = grade.Course.open(folder)
    book = grade.writer.open_gradebook(course)
    try:
        return {one.student.id: one.score for one in book.assignment_submissions("small")}
    finally:
        book.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(an ungraded course folder to copy, the scores that it must give)."""
    folder = tmp_path_factory.mktemp("small")
    return folder, make_course(folder, 9)


def test_a_grader_that_is_killed_again_and_again_loses_nothing_and_repeats_nothing(small, tmp_path):
    folder, expected = small
    course = tmp_path / "course"
    shutil.copytree(folder, course)
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(grading=str(build.ROOT / "grading"), course=str(course)))
    results = course / "results" / "small"
    finished = {}
    for kill in range(4):
        process = subprocess.Popen([sys.executable, "-W", "ignore", str(script)], cwd=tmp_path, start_new_session=True)
        before = len(finished)
        while process.poll() is None and kill < 3:
            found = {path.name: path.stat().st_mtime_ns for path in [*results.glob("*.json"), *results.glob(".found/*.json")]}
            if len(found) > before + 1:
                break
            time.sleep(0.02)
        if kill < 3:
            process.send_signal(signal.SIGKILL)
        assert process.wait() == (-signal.SIGKILL if kill < 3 else 0)
        now = {path.name: path.stat().st_mtime_ns for path in results.glob("*.json")}
        assert all(now[name] == when for name, when in finished.items()), "a finished submission was graded again"
        finished = now
    assert len(finished) == len(expected) and scores(course) == expected
    assert not list(course.rglob("*.part"))


@pytest.mark.parametrize("workers", [2, 4])
def test_a_dask_cluster_gives_the_same_grades(small, tmp_path, workers):
    from dask.distributed import LocalCluster

    folder, expected = small
    course = tmp_path / "course"
    shutil.copytree(folder, course)
    with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        grade.grade(course, "small", scheduler=cluster.scheduler_address, console=Console(quiet=True))
    assert scores(course) == expected


def test_a_scheduler_that_dies_midway_leaves_what_was_graded_and_the_next_run_goes_on(small, tmp_path, monkeypatch):
    from dask.distributed import LocalCluster

    folder, expected = small
    course = tmp_path / "course"
    shutil.copytree(folder, course)
    add = grade.writer.Writer.add
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:

        def add_and_die(self, result, notebook=None):
            add(self, result, notebook)
            cluster.close()

        monkeypatch.setattr(grade.writer.Writer, "add", add_and_die)
        with pytest.raises(OSError, match="went away: start again, what was graded is kept"):
            grade.grade(course, "small", scheduler=cluster.scheduler_address, console=Console(quiet=True))
    kept = scores(course)
    assert 0 < len(kept) < len(expected) and kept.items() <= expected.items()
    monkeypatch.setattr(grade.writer.Writer, "add", add)
    again = grade.grade(course, "small", workers=1, console=Console(quiet=True))
    assert set(again) == set(expected) - set(kept) and scores(course) == expected


def test_a_scheduler_that_is_down_is_named(small, tmp_path):
    course = tmp_path / "course"
    shutil.copytree(small[0], course)
    with pytest.raises(OSError, match=r"tcp://127\.0\.0\.1:9"):
        grade.grade(course, "small", scheduler="tcp://127.0.0.1:9", console=Console(quiet=True))
    assert scores(course) == {}


@pytest.mark.parametrize("address", ["foo", "tcp://", "http://127.0.0.1:1"])
def test_an_address_that_is_none_of_a_scheduler_is_named(small, tmp_path, address):
    course = tmp_path / "course"
    shutil.copytree(small[0], course)
    with pytest.raises((grade.CourseError, OSError), match="tcp://"):
        grade.grade(course, "small", scheduler=address, console=Console(quiet=True))


@pytest.fixture
def postgres(tmp_path):
    """The URL of a PostgreSQL database in a temporary folder, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path("/tmp") / f"tinyshrink-postgres-{os.getpid()}"
    folder.mkdir()
    as_user = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    options = {"check": True, "capture_output": True, "cwd": "/"}
    subprocess.run([*as_user, POSTGRES / "initdb", "-A", "trust", "-U", "grader", folder / "data"], **options)
    listen = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    control = [*as_user, POSTGRES / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w"]
    subprocess.run([*control, "-o", listen, "start"], check=True, cwd="/", stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql+psycopg2://grader@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd="/", stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


@pytest.mark.skipif(POSTGRES is None and not os.environ.get("CI"), reason="no PostgreSQL: apt-get install postgresql")
def test_postgresql_gives_the_same_grades(postgres, tmp_path):
    expected = make_course(tmp_path / "course", 4, f'c.CourseDirectory.db_url = "{postgres}"')
    grade.grade(tmp_path / "course", "small", console=Console(quiet=True))
    assert scores(tmp_path / "course") == expected
    assert not (tmp_path / "course" / "gradebook.db").exists()
    assert nbformat.read(tmp_path / "course" / "autograded" / "student 000" / "small" / "small.ipynb", as_version=4)
