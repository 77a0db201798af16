"""Grade everything that was submitted for an assignment.

    from grader.grade import grade
    results = grade("grading", "02_magnitude", workers=2)

Each submission is graded once: its result file holds a digest of what was submitted and of the course's record, and a
submission whose digest is unchanged is skipped. Start again after whatever stopped the grader.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import stat
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from . import executor, inside, integrity, repair, sandbox, worker, writer

MOST_BYTES = 24 * 2**20  # of a notebook; JSON of nested lists takes twenty times as much memory
VERSION = 2  # counted up when the same submission may get another result
CourseError = repair.CourseError
STATUSES = ("graded", "partly graded", "flagged", "malformed")


@dataclasses.dataclass
class Course:
    """An nbgrader course folder and what its nbgrader_config.py says."""

    root: Path
    config: object

    @classmethod
    def open(cls, folder):
        from traitlets.config import Config
        from traitlets.config.loader import PyFileConfigLoader

        root = Path(folder).resolve()
        if not (root / "source").is_dir():
            raise CourseError(f"{root} is no course folder: it has no source/ (build it, then nbgrader generate_assignment)")
        config = Config()
        if (root / "nbgrader_config.py").exists():
            try:
                config = PyFileConfigLoader("nbgrader_config.py", str(root)).load_config()
            except (Exception, SystemExit) as error:  # it is a program
                said = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error
                raise CourseError(f"{root / 'nbgrader_config.py'} fails: {said}") from error
        return cls(root, config)

    @property
    def db_url(self):
        said = self.config.CourseDirectory.get("db_url")
        return str(said) if said else f"sqlite:///{self.root / 'gradebook.db'}"

    @property
    def course_id(self):
        return str(self.config.CourseDirectory.get("course_id", "default_course"))

    @property
    def timeout(self):
        seconds = self.config.Execute.get("timeout", 30)
        if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
            raise CourseError(f"nbgrader_config.py: c.Execute.timeout is the seconds that a cell may take, got {seconds!r}")
        return float(seconds)

    def late_penalty(self, student, score, seconds):
        from nbgrader.preprocessors import AssignLatePenalties

        add_path(str(self.root))  # a plugin lies beside nbgrader_config.py, where nbgrader's own commands find it
        preprocessor = AssignLatePenalties(config=self.config)
        preprocessor.init_plugin()
        return preprocessor.plugin_inst.late_submission_penalty(student, score, seconds)

    def record(self, assignment):
        """The record of an assignment from source/ and the gradebook, with a digest."""
        sources = sorted((self.root / "source" / assignment).glob("*.ipynb"))
        if len(sources) != 1:
            names = ", ".join(sorted(path.name for path in (self.root / "source").iterdir() if path.is_dir()))
            raise CourseError(f"source/{assignment} must hold one notebook, it has {len(sources)}. Assignments here: {names}")
        source = sources[0].read_text(encoding="utf-8")
        gradebook = writer.open_gradebook(self)
        from nbgrader.api import MissingEntry

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                notebook = gradebook.find_notebook(sources[0].stem, assignment)
                duedate = notebook.assignment.duedate
                record = repair.course_record(assignment, source, notebook)
        except MissingEntry:
            raise CourseError(
                f"the gradebook does not know {assignment}: run nbgrader generate_assignment {assignment}"
            ) from None
        except Exception as error:
            if isinstance(error, CourseError):
                raise
            raise writer.of_another_nbgrader(error) from error
        finally:
            gradebook.close()
        content = json.dumps(record["cells"], sort_keys=True)
        programs = [Path(module.__file__).read_bytes() for module in (inside, executor, integrity, repair)]
        record["digest"] = digest_of(VERSION, content, duedate, self.timeout, hidden_seed(), *programs)
        return record

    def assignments(self):
        """The assignments for which something was submitted."""
        submitted = {path.name for path in (self.root / "submitted").glob("*/*") if path.is_dir()}
        return sorted(path.name for path in (self.root / "source").iterdir() if path.name in submitted)


def hidden_seed():
    """The instructor's seed, from which that of each exercise is made."""
    seed = os.environ.get("TINYSHRINK_HIDDEN_SEED", "0")
    if not re.fullmatch("[0-9]{1,18}", seed):
        raise CourseError(f"TINYSHRINK_HIDDEN_SEED must be a whole number of at most 18 digits, got {seed!r}")
    return seed


def digest_of(*parts):
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


@dataclasses.dataclass
class Submission:
    """What a student handed in: the notebook's bytes, or why there is none."""

    student: str
    file: str = ""
    data: bytes = b""
    timestamp: str | None = None
    malformed: str = ""
    reasons: list = dataclasses.field(default_factory=list)
    flags: list = dataclasses.field(default_factory=list)

    def digest(self, record, unsafe):
        parts = (self.file, self.data, self.timestamp, self.malformed, self.reasons, self.flags)
        return digest_of(record["digest"], unsafe, *parts)


def submissions(course, record):
    """Every submission of an assignment, by student."""
    folder = course.root / "submitted"
    for student in sorted(os.listdir(folder)) if folder.is_dir() else []:
        path = folder / student / record["assignment"]
        if student.startswith(".") or not os.path.lexists(path):
            continue
        found = Submission(student)
        try:
            student.encode()
            if len(student) > 120:
                found.malformed = f"the student's name has {len(student)} characters, over 120"
            elif "\0" in student or any(ord(letter) < 32 for letter in student):
                found.reasons.append("the student's name has control characters")
        except UnicodeEncodeError:
            found.malformed = "the student's folder name is no text in UTF-8"
        if not found.malformed:
            try:
                read(found, path, record["notebook"])
            except OSError as error:
                found.malformed = f"it cannot be read ({error.strerror})"
        yield found


def read(found, path, notebook):
    """Fill in notebook and timestamp of a submission; links are not followed."""
    for place in (path.parent, path):
        if place.is_symlink():
            found.malformed = f"submitted/{found.student} is or holds a link: nothing behind it is read"
            return
    names = sorted(os.listdir(path))
    wanted = f"{notebook}.ipynb"
    copies = re.compile(rf"{re.escape(notebook)}[ _-]*(\(\d+\)|copy ?\d*|\d+|-Copy\d+)?\.ipynb", flags=re.IGNORECASE)
    candidates = [name for name in names if name == wanted] or [name for name in names if copies.fullmatch(name)]
    others = [name for name in names if name.endswith(".ipynb")]
    if not candidates and len(others) == 1:
        candidates = others
    if not candidates:
        found.malformed = f"there is no {wanted}" + (f", only {', '.join(map(repr, others[:5]))}" if others else "")
        return
    name = max(candidates, key=lambda one: os.lstat(path / one).st_mtime)
    if name != wanted:
        found.reasons.append(f"{name!r} was taken for {wanted}")
    found.file = name
    found.data = contents(path / name, MOST_BYTES)
    if found.data is None:
        found.data, found.malformed = b"", f"{name!r} is no file of at most {MOST_BYTES // 2**20} MB (links are not followed)"
    if "timestamp.txt" in names:
        stamp = contents(path / "timestamp.txt", 1000)
        try:
            found.timestamp = parse_timestamp(stamp.decode())
        except Exception:  # dateutil fails in many ways
            found.flags.append("timestamp.txt holds no time, so nobody knows whether it is late")
    for extra in names:
        if integrity.shadows(extra):
            found.flags.append(f"it comes with a {extra}, which is not used")


def contents(path, most):
    """The bytes of a regular file, None where it is something else or too large."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return None
        return file.read(most + 1)


def parse_timestamp(text):
    from nbgrader.utils import parse_utc

    return parse_utc(text.strip()).isoformat()


def finish(result, found):
    """Add to a result what the worker does not know: timestamp and what the folder looked like."""
    result["timestamp"] = found.timestamp
    result["reasons"] += [*found.flags, *found.reasons]
    if found.flags and result["status"] != "malformed":
        result["status"] = "flagged"
    return result


def known(course, record):
    """{result file: digest} of the results that have their place."""
    folder = course.root / "results" / record["assignment"]
    return {path.name: writer.digest_in(path) for path in folder.glob("*.json")}


def grade(course, assignment, workers=2, scheduler=None, unsafe=False, limits=None, console=None):
    """Grade what is new or changed; returns {student: result} of this run. CourseError, SandboxError say what is wrong."""
    course = course if isinstance(course, Course) else Course.open(course)
    if not unsafe and (why := sandbox.problem()):
        raise sandbox.SandboxError(why)
    record = course.record(assignment)
    results, board = {}, Board(assignment, console or Console())
    with writer.Writer(course, record) as pen, board:
        finished = known(course, record)
        jobs, waiting = [], {}
        for found in submissions(course, record):
            digest = found.digest(record, unsafe)
            board.total += 1
            if finished.get(writer.file_of(found.student)) == digest:
                board.skipped += 1
            elif found.malformed:
                result = worker.malformed(record, found.student, [found.malformed], found.file, digest, unsafe)
                results[found.student] = finish(result, found)
                pen.add(result)
                board.add(result)
            else:
                waiting[found.student] = found
                jobs.append((found, digest))
        options = {"timeout": course.timeout, "seed": hidden_seed(), "limits": limits or sandbox.Limits(), "unsafe": unsafe}
        made = (worker.job_of(record, f.student, (f.file, f.data), digest, **options) for f, digest in jobs)
        for result, notebook in spread(list(made), workers, scheduler):
            finish(result, waiting[result["student"]])
            results[result["student"]] = result
            pen.add(result, notebook)
            board.add(result)
    return results


def spread(jobs, workers, scheduler):
    """Results of jobs as they come, from processes of this machine or of a Dask cluster."""
    if scheduler:
        yield from cluster(jobs, scheduler)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = {job["student"]: job for job in jobs}

    def from_pool(processes, some):
        pool = Parallel(n_jobs=processes, batch_size=1, pre_dispatch="2*n_jobs", return_as="generator_unordered")
        with contextlib.suppress(TerminatedWorkerError):  # what a worker held when it was killed stays in `left`
            for result, notebook in pool(delayed(worker.grade_for)(os.getpid(), job) for job in some):
                del left[result["student"]]
                yield result, notebook

    for _ in range(2):
        if left:
            yield from from_pool(workers, list(left.values()))
    for job in list(left.values()):  # alone, so that only the one that kills its worker goes without points
        yield from from_pool(2, [job])  # 1 would be this process
        if job["student"] in left:
            yield worker.killer(job), None


def cluster(jobs, address):
    """Results of jobs as they come from the workers of a Dask scheduler."""
    from dask.distributed import Client, KilledWorker, as_completed

    try:
        connected = Client(address, timeout=20)
    except ValueError as error:
        raise CourseError(f"--scheduler {address}: {error}; expected such as tcp://10.0.0.5:8786") from None
    with connected as client:
        try:
            client.wait_for_workers(1, timeout=20)
        except TimeoutError:
            raise CourseError(f"the scheduler {address} has no worker: start one, dask worker {address}") from None
        client.run(add_path, str(Path(__file__).parent.parent))
        futures = {client.submit(worker.grade_one, job, pure=False, retries=3): job for job in jobs}
        try:
            for future in as_completed(futures):
                try:
                    yield future.result()
                except KilledWorker:
                    yield worker.killer(futures[future]), None
                future.release()
        except CancelledError:
            raise ConnectionError(f"the scheduler {address} went away: start again, what was graded is kept") from None


def add_path(path):
    """Let a worker of a cluster import this package (from the same path as here)."""
    if path not in sys.path:
        sys.path.insert(0, path)


class Board:
    """The live table: how many are done, flagged, failing; rate; time left."""

    def __init__(self, assignment, console):
        self.assignment, self.console = assignment, console
        self.total = self.skipped = 0
        self.counts, self.started = Counter(), time.monotonic()
        self.live = Live(self.table(), console=console, refresh_per_second=4, transient=False)

    def __enter__(self):
        self.live.__enter__()
        return self

    def __exit__(self, *error):
        self.live.update(self.table())
        return self.live.__exit__(*error)

    def add(self, result):
        self.counts[result["status"]] += 1
        self.counts["done"] += 1
        self.counts["failing"] += result["score"] < result["max_score"] / 2
        self.live.update(self.table())

    def table(self):
        done = self.counts["done"]
        minutes = (time.monotonic() - self.started) / 60
        left = self.total - self.skipped - done
        table = Table("done", "skipped", *STATUSES, "under half", "a minute", "left", title=self.assignment)
        rate = done / minutes if done and minutes else 0
        wait = f"{left} ({left / rate:.1f} min)" if left and rate else str(left)
        counts = [str(self.counts[status]) for status in STATUSES]
        table.add_row(f"{done} of {self.total}", str(self.skipped), *counts, str(self.counts["failing"]), f"{rate:.1f}", wait)
        return table
