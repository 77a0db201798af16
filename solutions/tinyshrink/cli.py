"""The command `tinyshrink`: run the course's main job, check your own notebook, see what is installed."""

import importlib
import importlib.metadata
import os
import platform
import re
import runpy
import shutil
import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console()


@app.callback()
def terminal() -> None:
    """Show what a terminal cannot show, such as an arrow in a Windows code page, as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@app.command()
def course() -> None:
    """Do the main job: build the release, grade three submissions, prune a real network, write report/index.html."""
    script = _root() / "grading" / "course.py"
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


@app.command()
def check(notebook: str = typer.Argument(..., help="a module's number, such as 02, or the path of a notebook")) -> None:
    """Run the checks of your own notebook and say what is right, what failed and what was expected."""
    from . import notebook as notebooks

    try:
        path = Path(notebook) if notebook.endswith(".ipynb") else _student_notebook(notebook)
        content = notebooks.read(path)
    except notebooks.NotebookError as error:
        _fail(str(error))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"checking {path.name}")
        results, troubles = notebooks.run(content, lambda done, total: progress.update(task, completed=done, total=total))
    table = Table("exercise", "points", "result", title=escape(str(path)))
    for result in results:
        earned = result.points if result.passed else 0
        style = "green" if result.passed else None
        said = "passed" if result.passed else result.message
        table.add_row(escape(result.exercise), f"{earned:g} of {result.points:g}", escape(said), style=style)
    console.print(table)
    for trouble in troubles:
        console.print(trouble, style="yellow", markup=False, highlight=False)
    earned, total = sum(r.points for r in results if r.passed), sum(r.points for r in results)
    console.print(f"{earned:g} of {total:g} points. Hidden checks are run when it is graded.", highlight=False)
    raise typer.Exit(0 if earned == total else 1)


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and how to get it."""
    table = Table("what", "found", "how to mend it", title="tinyshrink doctor")
    healthy = True
    for what, found, mend in _findings():
        healthy &= not mend.startswith("needed: ")
        cells = (escape(cell) for cell in (what, found, mend.removeprefix("needed: ")))
        table.add_row(*cells, style="yellow" if mend else None)
    console.print(table)
    raise typer.Exit(0 if healthy else 1)


def _findings():
    """Rows (what, what was found, how to mend it); the last starts with "needed: " where the course cannot do without."""
    version = platform.python_version()
    yield "Python", version, "" if sys.version_info >= (3, 10) else "needed: install Python 3.10 or newer"
    missing = False
    for requirement in importlib.metadata.requires("tinyshrink") or []:
        if "extra ==" in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement).group()
        try:
            yield name, importlib.metadata.version(name), ""
        except importlib.metadata.PackageNotFoundError:
            missing = True
            yield name, "missing", 'needed: in the course folder, pip install --editable ".[dev]"'
    if missing:
        return
    try:
        importlib.import_module("torchvision")
        yield "torch and torchvision", "a matched pair", ""
    except (ImportError, RuntimeError, OSError) as error:
        mend = "needed: pip uninstall -y torch torchvision, then install both with one command: pip install torch torchvision"
        yield "torch and torchvision", f"do not fit each other ({error})", mend
        return
    from . import data

    folder = data.data_dir()
    there = [name for name in data.NAMES if name == "digits" or os.path.exists(folder / f"{name}.npz")]
    missing = [name for name in data.NAMES if name not in there]
    mend = f"optional: load(name) fetches {', '.join(missing)} when first asked" if missing else ""
    yield "data sets", ", ".join(there), mend
    parent = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    writable = parent.is_dir() and os.access(parent, os.W_OK)
    mend = "" if writable else "set TINYSHRINK_DATA to a folder that can be written"
    yield "data dir", f"{folder} ({'writable' if writable else 'not writable'})", mend
    bubblewrap = shutil.which("bwrap")
    mend = "" if bubblewrap else "for instructors who grade untrusted submissions, on Linux: apt-get install bubblewrap"
    yield "bubblewrap", bubblewrap or "missing", mend
    root = _find_root()
    yield "course folder", str(root or "none here"), "" if root else "git clone the course and run from inside it"


def _find_root():
    """The course folder that the current folder is in, or that the package was installed from; None where there is none."""
    here = Path.cwd()
    for folder in (here, *here.parents, *Path(__file__).resolve().parents):
        if (folder / "grading" / "course.py").exists() and (folder / "modules").is_dir():
            return folder
    return None


def _root():
    root = _find_root()
    if root is None:
        _fail("this is no course folder (no grading/ and modules/ here or above): cd into your clone of the course")
    return root


def _student_notebook(number):
    """modules/NN_topic/NN_topic.ipynb by its number."""
    modules = _root() / "modules"
    known = sorted(path.name for path in modules.glob("[0-9][0-9]_*"))
    found = [name for name in known if number in (name, name[:2], name[:2].lstrip("0"))]
    if not found:
        _fail(f"there is no module {number!r}: expected one of {', '.join(known)}, or the path of a notebook")
    return modules / found[0] / f"{found[0]}.ipynb"


def _fail(message):
    Console(stderr=True).print(message, style="bold red", markup=False, highlight=False)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
