"""What all commands share: the application, the terminal, the course folder, and the one line of an error."""

import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run the course's main job, check your own notebook, compress your own model, grade a class.",
)
console = Console()


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tinyshrink {importlib.metadata.version('tinyshrink')}")
        raise typer.Exit()


@app.callback()
def replace_what_cannot_be_shown(
    version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Show the version and end."),
) -> None:
    """Show what a terminal cannot show, such as an arrow in a Windows code page, as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def find_root():
    """The course folder that the current folder is in, or that the package was installed from; None where there is none."""
    here = Path.cwd()
    for folder in (here, *here.parents, *Path(__file__).resolve().parents):
        if (folder / "grading" / "course.py").exists() and (folder / "modules").is_dir():
            return folder
    return None


def root():
    root = find_root()
    if root is None:
        fail("this is no course folder (no grading/ and modules/ here or above): cd into your clone of the course")
    return root


def writable(folder):
    """End with a line unless files can be written to `folder`, or, where it is not there yet, to the one it would be in."""
    there = next(path for path in (Path(folder), *Path(folder).absolute().parents) if os.path.exists(path))
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        fail(f"{folder} cannot be written ({error.strerror}): choose another folder")


def fail(problem):
    """Say in one line what went wrong, and end with 2."""
    if isinstance(problem, OSError) and problem.filename is not None:  # str() gives "[Errno 2] ..."
        missing = isinstance(problem, FileNotFoundError)
        problem = f"there is no file {problem.filename}" if missing else f"{problem.filename}: {problem.strerror}"
    Console(stderr=True, soft_wrap=True).print(str(problem), style="bold red", markup=False, highlight=False)
    raise typer.Exit(2)
