"""Commands for instructors: release, collect, grade, feedback, similar. What they do is in grading/grader."""

import importlib
import sys
from pathlib import Path

import typer

from . import terminal
from .terminal import app

COURSE = typer.Option(None, "--course", help="an nbgrader course folder; grading/ of this course by default")
ASSIGNMENTS = typer.Argument(None, help="such as 02_magnitude; all by default")


@app.command()
def release(assignments: list[str] = ASSIGNMENTS, course: str = COURSE) -> None:
    """For instructors: put notebooks without solutions, a README and what to install into a zip for students."""
    _instructor("release", course, assignments or [])


@app.command()
def collect(
    export: str = typer.Argument(..., help="a folder or zip of submissions as Moodle or Canvas export them"),
    assignment: str = typer.Argument(..., help="such as 02_magnitude"),
    due: str = typer.Option(None, help="when it was due, such as 2026-03-01T23:59; goes into the gradebook"),
    course: str = COURSE,
) -> None:
    """For instructors: take the latest notebook of each student into submitted/, and say what was not taken and why."""
    _instructor("collect", course, export, assignment, due)


@app.command()
def grade(
    assignment: str = typer.Argument(None, help="all with submissions by default"),
    workers: int = typer.Option(2, min=1, help="processes of this machine"),
    scheduler: str = typer.Option(None, help="address of a Dask cluster, such as tcp://10.0.0.5:8786, in their place"),
    unsafe: bool = typer.Option(False, "--unsafe", help="without a sandbox: submissions run as you. Only your own code"),
    course: str = COURSE,
) -> None:
    """For instructors: grade what was submitted in a sandbox, in parallel; start it again after whatever stopped it."""
    _instructor("grade", course, assignment, workers, scheduler, unsafe)


@app.command()
def feedback(assignment: str = typer.Argument(None, help="all with results by default"), course: str = COURSE) -> None:
    """For instructors: write a page for each student; hidden tests are not in it."""
    _instructor("feedback", course, assignment)


@app.command()
def similar(assignment: str = typer.Argument(..., help="such as 02_magnitude"), course: str = COURSE) -> None:
    """For instructors: list answers that equal the reference or each other but for names and layout."""
    _instructor("similar", course, assignment)


def _instructor(command, course, *arguments):
    """Run a command of the grader, which is in the course folder and not in the package."""
    grading = terminal.root() / "grading"
    sys.path.insert(0, str(grading))
    commands = importlib.import_module("grader.commands")
    try:
        getattr(commands, command)(terminal.console, Path(course) if course else grading, *arguments)
    except commands.ERRORS as error:
        terminal.fail(error)
