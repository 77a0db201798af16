"""The only one who writes: results into the gradebook, autograded notebooks and result files into the course folder.

What a worker found is first laid down in results/ASSIGNMENT/.found, then committed to the gradebook in batches, then takes its
place as results/ASSIGNMENT/STUDENT.json. So a grader that is killed at any moment loses nothing that was found, and what has
its place is in the gradebook.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import time
import warnings

from tinyshrink import files

from . import repair

BATCH, SECONDS = 25, 2.0  # a commit after so many results, or after so long


class Writer:
    """Merges results into the gradebook of `course`; a context manager that commits at its end."""

    def __init__(self, course, record):
        self.course, self.record = course, record
        self.folder = course.root / "results" / record["assignment"]
        self.found = self.folder / ".found"
        self.found.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115 (held as long as the writer is)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise repair.CourseError(f"another grader is at work in {self.folder}: wait for it") from None
        try:
            self.gradebook = open_gradebook(course)
        except repair.CourseError:
            self.lock.close()
            raise
        self.waiting, self.since = [], time.monotonic()
        self.seconds = 0.0

    def __enter__(self):
        for path in sorted(self.found.glob("*.json")):  # found, but not put in place when the grader was killed
            with contextlib.suppress(ValueError, KeyError, TypeError):
                result = json.loads(path.read_text(encoding="utf-8"))
                if result["digest"] == digest_in(self.folder / path.name):
                    path.unlink()  # it is in place; only this was not done any more
                else:
                    self.waiting.append(result)
        try:
            self.commit()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error):
        try:
            self.commit()
        finally:
            self.close()

    def close(self):
        self.gradebook.close()
        self.lock.close()

    def add(self, result, notebook=None):
        """Lay a result down and, every now and then, commit what has come together."""
        student = result["student"]
        with said_where(self.course.root / "autograded" / student):
            if notebook is not None:
                self.place(student, notebook, result["timestamp"])
            elif (old := self.course.root / "autograded" / student / self.record["assignment"]).is_dir():
                shutil.rmtree(old, ignore_errors=True)  # of an earlier submission: nobody should take it for this one
        write_json(self.found / file_of(student), result)
        self.waiting.append(result)
        if len(self.waiting) >= BATCH or time.monotonic() - self.since > SECONDS:
            self.commit()

    def place(self, student, notebook, timestamp):
        """Put the autograded folder of a student in its place, whole."""
        folder = self.course.root / "autograded" / student / self.record["assignment"]
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        (part / f"{self.record['notebook']}.ipynb").write_text(notebook, encoding="utf-8", errors="replace")
        if timestamp:
            (part / "timestamp.txt").write_text(timestamp, encoding="utf-8")
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            folder.rename(old)
        part.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    def commit(self):
        """Write the results that wait into the gradebook in one transaction, then put their files in place."""
        started, done = time.monotonic(), []
        if not self.waiting:
            self.since = started
            return
        session = self.gradebook.db
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's, about nbgrader's models
            context = Rows(self.gradebook, self.course, self.record)
            for result in self.waiting:
                try:
                    with session.begin_nested():
                        context.merge(result)
                        session.flush()
                except Exception as error:
                    if lost_connection(error):
                        raise repair.CourseError(f"the gradebook cannot be written: {str(error).splitlines()[0]}") from error
                    result["status"] = "malformed" if result["status"] == "malformed" else "flagged"
                    said = str(error).splitlines()[0][:200]
                    result["reasons"].append(f"the gradebook refused it ({type(error).__name__}: {said})")
                done.append(result)
            try:
                session.commit()
            except Exception as error:
                raise repair.CourseError(f"the gradebook cannot be written: {str(error).splitlines()[0]}") from error
        each = (time.monotonic() - started) / len(done)
        for result in done:
            result["seconds"]["write"] = round(each, 4)
            name = file_of(result["student"])
            write_json(self.folder / name, result)
            (self.found / name).unlink(missing_ok=True)
        self.waiting, self.since = [], time.monotonic()
        self.seconds += time.monotonic() - started


@contextlib.contextmanager
def said_where(path):
    """Say of a full disk, or of one that is not ours, where it is: the system's message on a write names no file."""
    try:
        yield
    except OSError as error:
        said = f"{path} cannot be written ({error.strerror}): make room, then grade again; what was found is kept"
        raise repair.CourseError(said) from error


def file_of(student):
    """The name of a student's result file; where the folder's name is as long as a name may be, one with its digest."""
    name = os.fsencode(student)
    return f"{student}.json" if len(name) <= 240 else f"{hashlib.sha256(name).hexdigest()}.json"


def write_json(path, result):
    with said_where(path), files.whole(path) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def digest_in(path):
    """The digest in a result file, None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lost_connection(error):
    """Whether the database itself is in trouble: then nothing more can be written."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    return isinstance(error, (OperationalError, InterfaceError))


def open_gradebook(course):
    """nbgrader's gradebook of the course, by its db_url; CourseError where it cannot be opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbgrader.api import Gradebook

        try:
            return Gradebook(course.db_url, course.course_id)
        except Exception as error:
            said = str(error).splitlines()[0]
            raise repair.CourseError(f"the gradebook {course.db_url} cannot be opened: {said}") from error


def of_another_nbgrader(error):
    """A CourseError for a gradebook whose tables are not those of the nbgrader that is installed."""
    return repair.CourseError(f"the gradebook is from another nbgrader ({str(error).splitlines()[0]}): nbgrader db upgrade")


class Rows:
    """What nbgrader's models say of one assignment, looked up once a batch instead of once a cell."""

    def __init__(self, gradebook, course, record):
        self.gradebook, self.course = gradebook, course
        self.assignment = gradebook.find_assignment(record["assignment"])
        self.notebook = gradebook.find_notebook(record["notebook"], record["assignment"])
        self.solutions = {cell["grade_id"]: cell["source"] for cell in record["cells"] if cell["kind"] == "solution"}

    def merge(self, result):
        """Take over automatic scores, comments, timestamp and late penalty; a manual score or comment stays as it is."""
        from nbgrader import api

        session = self.gradebook.db
        student = session.get(api.Student, result["student"])
        if student is None:
            student = api.Student(id=result["student"])
            session.add(student)
            session.flush()
        submission = (
            session.query(api.SubmittedAssignment)
            .filter_by(assignment_id=self.assignment.id, student_id=student.id)
            .one_or_none()
        )
        if submission is None:
            submission = api.SubmittedAssignment(assignment=self.assignment, student=student)
            for notebook in self.assignment.notebooks:
                mirror = api.SubmittedNotebook(notebook=notebook, assignment=submission)
                for cell in [*notebook.grade_cells, *notebook.task_cells]:
                    api.Grade(cell_id=cell.id, notebook=mirror)
                for cell in [*notebook.solution_cells, *notebook.task_cells]:
                    api.Comment(cell_id=cell.id, notebook=mirror)
            session.add(submission)
            session.flush()
        timestamp = result["timestamp"]
        submission.timestamp = datetime.datetime.fromisoformat(timestamp) if timestamp else None
        notebook = next(one for one in submission.notebooks if one.notebook_id == self.notebook.id)
        rows = {row["grade_id"]: row for row in result["exercises"]}
        unread = result["status"] == "malformed"
        for grade in notebook.grades:
            row = rows.get(grade.cell.name)
            manual = unread or row is None or row["outcome"] == "manual"
            grade.auto_score = None if manual else row["points"]
            grade.needs_manual_grade = manual or grade.manual_score is not None
        answers = {row["exercise"]: row for row in result["exercises"]}
        for comment in notebook.comments:
            code = result["code"].get(comment.cell.name)
            blank = code is not None and code == self.solutions.get(comment.cell.name)
            comment.auto_comment = "No response." if blank else said(answers.get(comment.cell.name))
        notebook.flagged = bool(notebook.flagged) or result["status"] == "flagged"
        session.flush()
        late = 0.0
        if submission.timestamp is not None and self.assignment.duedate is not None:
            late = submission.total_seconds_late
        result["late_seconds"] = late
        notebook.late_submission_penalty = None
        if late > 0:
            session.refresh(notebook)
            penalty = self.course.late_penalty(result["student"], notebook.score, late)
            if penalty is not None:
                notebook.late_submission_penalty = min(max(penalty, 0.0), notebook.score)


def said(row):
    """The automatic comment on an answer: what its check said."""
    if row is None or row["outcome"] == "passed" or not row["message"]:
        return None
    return row["message"].replace("\0", "")
