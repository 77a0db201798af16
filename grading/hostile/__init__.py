"""Hostile, broken and odd submissions, each with the status and the points that it must get from the grader.

A module a topic, a function a submission: it takes the released notebook as text and the source notebook, and gives the
submission as a notebook, as the bytes of its file, or as {file name: bytes, or what makes it at a path}. `must` says what
is expected of it. They are made for a short assignment of module 02's cells, so that a class of them is graded in minutes.
"""

import importlib
import json
from dataclasses import dataclass

import nbformat

import build
import submissions

ASSIGNMENT = "hostile"
TOPICS = ("cheats", "disguises", "resources", "escapes", "cells", "broken_files", "odd")
EXERCISES = ("magnitude_mask", "global_masks", "apply_masks", "polynomial", "exponential")
GRADED = ("graded", "partly graded")
FOUND = []


@dataclass
class Submission:
    """What is expected: one of `statuses`; the exercises `full` with all points, all others with none, unless `free` names
    them; `reason` somewhere in the reasons. A flagged one waits for a person: its points are not looked at."""

    name: str
    make: object
    statuses: tuple
    full: tuple
    free: tuple
    reason: str

    def wrong(self, result, most):
        """What is wrong with the result of the grader, a list of texts; `most` is {exercise: points}."""
        said = []
        if result["status"] not in self.statuses:
            said.append(f"status {result['status']!r}, expected {' or '.join(self.statuses)}; reasons {result['reasons']}")
        if self.reason and self.reason.lower() not in " ".join(result["reasons"]).lower():
            said.append(f"no {self.reason!r} in the reasons {result['reasons']}")
        if result["status"] in ("graded", "partly graded"):
            got = {row["exercise"]: row["points"] for row in result["exercises"]}
            for name, points in most.items():
                expected = points if name in self.full else 0
                if name not in self.free and got.get(name) != expected:
                    said.append(f"{name}: {got.get(name)} points, expected {expected}")
        return said


def must(*statuses, full=(), free=(), reason=""):
    """Say of a function that makes a submission what the grader must find in it."""

    def found(make):
        FOUND.append(Submission(make.__name__, make, statuses, full, free, reason))
        return make

    return found


def cheat(make):
    """It solves nothing: flagged for a person, or no points."""
    return must("flagged", "graded", "partly graded")(make)


def all_of_them():
    """Every submission of every topic."""
    for topic in TOPICS:
        importlib.import_module(f"hostile.{topic}")
    return FOUND


def short_source():
    """The source notebook of the assignment: five functions of module 02, their checks, and one experiment."""
    [lesson] = build.lessons(["02_magnitude"])
    source = build.source_notebook(lesson)
    wanted = {"given_001", "magnitude_mask", "global_masks", "apply_masks", "polynomial"}
    wanted |= {f"check_{name}" for name in EXERCISES}
    source.cells = [cell for cell in source.cells if submissions.grade_id(cell) in wanted]
    experiment = nbformat.v4.new_code_cell("raise RuntimeError('an experiment ran while grading')", id="hostile-experiment")
    experiment.metadata["tags"] = ["experiment"]
    source.cells.insert(1, experiment)
    return source


def solved(released, source, **answers):
    """A notebook with the reference's answers but for `answers`."""
    return nbformat.reads(submissions.filled(released, source, answers=answers), as_version=4)


def unsolved(released, source, code, where="magnitude_mask"):
    """A notebook that solves nothing: wrong functions in all exercise cells, and `code` after those of the cell `where`."""
    wrong = {
        name: "\n".join(f"def {name}(*args, **kwargs):\n    return None\n" for name in names)
        for name, names in {
            "magnitude_mask": ["magnitude_mask"],
            "global_masks": ["global_masks"],
            "apply_masks": ["apply_masks"],
            "polynomial": ["polynomial", "exponential"],
        }.items()
    }
    wrong[where] = f"{wrong[where]}\n{code}"
    return solved(released, source, **wrong)


def place(folder, made):
    """Write what a submission's function made into its folder submitted/STUDENT/ASSIGNMENT."""
    folder.mkdir(parents=True)
    if not isinstance(made, dict) or "cells" in made:
        made = {f"{ASSIGNMENT}.ipynb": made if isinstance(made, bytes) else json.dumps(made).encode()}
    for name, content in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)


def without(*names):
    """All exercises but those named: what a submission with one bad answer must still get."""
    return tuple(name for name in EXERCISES if name not in names)


def cell_of(notebook, grade_id):
    """The cell of a notebook with this grade id."""
    return next(cell for cell in notebook.cells if submissions.grade_id(cell) == grade_id)
