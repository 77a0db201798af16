"""Feedback for each student: what passed, what failed, what was expected, the hint of the exercise, and manual marks.

It is made of the grader's results, the gradebook and the released notebook, never of the files of a student. A hidden check
is named as such and says nothing. The pages lie where nbgrader has its own, so its release_feedback works on them.
"""

import ast
import contextlib
import re
from html import escape
from pathlib import Path

import nbformat
from nbgrader.api import MissingEntry

import build
from tinyshrink import files

from . import grade, results, writer
from .results import number

OUTCOMES = {
    "passed": "right",
    "failed": "not yet right",
    "timed out": "took too long",
    "crashed": "crashed",
    "not run": "did not run",
    "manual": "marked by a person",
}
MOST_CODE = 50_000  # characters of an answer, far more than an answer has
SECRET = re.compile(r"[0-9a-f]{16,256}")  # what nbgrader's exchange writes, and nothing that a student could want to say


def write(course, assignment):
    """Write COURSE/feedback/STUDENT/ASSIGNMENT/ASSIGNMENT.html for every submission that has a result; returns the paths."""
    course = Path(course)
    released = _notebook(course / "release", assignment)
    hints, hidden = _hints(released), _hidden_lines(_notebook(course / "source", assignment))
    paths = []
    with contextlib.closing(writer.open_gradebook(grade.Course.open(course))) as gradebook:
        for result in results.load(course, assignment):
            folder = course / "feedback" / result["student"] / assignment
            path = folder / f"{assignment}.html"
            with files.whole(path) as part:
                marks = _marks(gradebook, assignment, result["student"])
                part.write_text(page(result, hints, hidden, *marks), encoding="utf-8")
            _for_the_exchange(course, result, folder)
            paths.append(path)
    return paths


def page(result, hints, hidden, grades, comments, penalty):
    """The page of one result.

    Arguments: hints, {exercise: text}; hidden, lines that must not be shown; grades, {grade_id: (points, most, whether a
    person must still look)} and comments, {exercise: text}, of the gradebook; penalty, the points lost by being late.
    """
    parts, total, most_of_all = [], 0, 0
    exercises = [] if result["status"] == "malformed" else result["exercises"]
    for row in exercises:
        points, most, waiting = grades.get(row["grade_id"], (row["points"], row["max_points"], False))
        total, most_of_all = total + points, most_of_all + most
        outcome = "waits for a person" if waiting and row["outcome"] == "manual" else OUTCOMES[row["outcome"]]
        style = "good" if row["outcome"] == "passed" else "bad"
        name = escape(row["exercise"])
        parts.append(f'<h2>{name}: {number(points)} of {number(most)}</h2><p class="{style}">{outcome}</p>')
        if row["outcome"] not in ("passed", "manual"):
            parts.append(f'<p class="said">{escape(_said(row, hidden))}</p>')
            if hint := hints.get(row["exercise"]):
                parts.append(f'<p class="said"><strong>Hint.</strong> {escape(hint)}</p>')
        if comment := comments.get(row["exercise"]) or comments.get(row["grade_id"]):
            parts.append(f'<p class="said"><strong>Comment.</strong> {escape(comment)}</p>')
        if code := result["code"].get(row["exercise"]):
            parts.append(f"<details><summary>your code</summary><pre>{escape(code[:MOST_CODE])}</pre></details>")
    head = []
    if result["status"] == "flagged":
        head.append("<p><strong>A person looks at this notebook before these points count.</strong></p>")
    elif reasons := [reason for reason in result["reasons"] if "--unsafe" not in reason]:
        head.append(f'<p class="said"><strong>Please read:</strong> {escape("; ".join(reasons))}</p>')
    if exercises:
        late = f" Handed in late: {number(penalty)} points less." if penalty else ""
        head.append(f"<p><strong>{number(total - penalty)} of {number(most_of_all)} points.</strong>{late}</p>")
    return results.page(f"{result['assignment']}: feedback for {result['student']}", *head, *parts)


def _said(row, hidden):
    """What a failed check says to the student; nothing about the inside of a hidden one, however it got into the message."""
    if row["outcome"] == "failed" and row["test"] == "hidden":
        return "The checks that you have pass, a hidden one fails: it tries other inputs. Which cases did you not think of?"
    message = row["message"]
    squeezed = "".join(message.split())
    if 'File "' in message or "Traceback" in message or any(line in squeezed for line in hidden):
        return "The check failed. Run it in your notebook: there it says what it expected."
    return message[:2000]


def _hidden_lines(source):
    """The lines of the hidden checks without blanks, but for short ones, which say nothing."""
    lines = set()
    for cell in source.cells:
        for region in re.findall(rf"{build.HIDDEN[0]}(.*?){build.HIDDEN[1]}", cell.source, flags=re.DOTALL):
            lines |= {"".join(line.split()) for line in region.splitlines()}
    return {line for line in lines if len(line) > 20}


def _hints(released):
    """{function: the hint in its docstring} of a student notebook."""
    hints = {}
    for cell in released.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            try:
                nodes = ast.walk(ast.parse(cell.source))
            except SyntaxError:
                continue  # the stub of a question may end in the middle of a statement
            for node in nodes:
                text = (ast.get_docstring(node) or "") if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else ""
                if found := re.search(r"^Hints?: (.*?)(\n\n|\Z)", text, flags=re.DOTALL | re.MULTILINE):
                    hints[node.name] = " ".join(found[1].split())
    return hints


def _marks(gradebook, assignment, student):
    """(grades, comments, late penalty) of a submission as the gradebook has them, manual marks included."""
    try:
        submission = gradebook.find_submission(assignment, student)
    except MissingEntry:
        return {}, {}, 0
    grades, comments = {}, {}
    for notebook in submission.notebooks:
        for mark in notebook.grades:
            grades[mark.name] = (mark.score, mark.max_score, mark.needs_manual_grade)
        for comment in notebook.comments:
            if comment.manual_comment:
                comments[comment.name] = comment.manual_comment
    return grades, comments, submission.late_submission_penalty


def _notebook(folder, assignment):
    path = folder / assignment / f"{assignment}.ipynb"
    if not path.exists():
        raise results.CourseError(f"{path} is missing: run tinyshrink release {assignment} first")
    return nbformat.read(path, as_version=4)


def _for_the_exchange(course, result, folder):
    """The two files that nbgrader's release_feedback wants beside a page; the secret only where it is one."""
    if result["timestamp"]:
        with files.whole(folder / "timestamp.txt") as part:
            part.write_text(result["timestamp"], encoding="utf-8")
    secret = course / "submitted" / result["student"] / result["assignment"] / "submission_secret.txt"
    if secret.is_file() and not secret.is_symlink() and secret.stat().st_size < 300:
        text = secret.read_text(errors="replace").strip()
        if SECRET.fullmatch(text):
            with files.whole(folder / "submission_secret.txt") as part:
                part.write_text(text, encoding="utf-8")
