"""Commands for students: the course's main job, and the checks of your own notebook."""

import runpy
import sys
from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from . import terminal
from .terminal import app


@app.command()
def course() -> None:
    """Do the main job: build the release, grade three submissions, prune a real network, write report/index.html."""
    script = terminal.root() / "grading" / "course.py"
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


@app.command()
def check(notebook: str = typer.Argument(..., help="a module's number, such as 02, or the path of a notebook")) -> None:
    """Run the checks of your own notebook and say what is right, what failed and what was expected."""
    from .. import notebook as notebooks

    try:
        path = Path(notebook) if notebook.endswith(".ipynb") else student_notebook(notebook)
        content = notebooks.read(path)
    except notebooks.NotebookError as error:
        terminal.fail(str(error))
    with Progress(console=terminal.console, transient=True) as progress:
        task = progress.add_task(f"checking {path.name}")
        results, troubles = notebooks.run(content, lambda done, total: progress.update(task, completed=done, total=total))
    table = Table("exercise", "points", "result", title=escape(str(path)))
    for result in results:
        earned = result.points if result.passed else 0
        style = "green" if result.passed else None
        said = "passed" if result.passed else result.message
        table.add_row(escape(result.exercise), f"{earned:g} of {result.points:g}", escape(said), style=style)
    terminal.console.print(table)
    for trouble in troubles:
        terminal.console.print(trouble, style="yellow", markup=False, highlight=False)
    earned, total = sum(r.points for r in results if r.passed), sum(r.points for r in results)
    terminal.console.print(f"{earned:g} of {total:g} points. Hidden checks are run when it is graded.", highlight=False)
    raise typer.Exit(0 if earned == total else 1)


def student_notebook(number):
    """modules/NN_topic/NN_topic.ipynb by its number."""
    modules = terminal.root() / "modules"
    known = sorted(path.name for path in modules.glob("[0-9][0-9]_*"))
    found = [name for name in known if number in (name, name[:2], name[:2].lstrip("0"))]
    if not found:
        terminal.fail(f"there is no module {number!r}: expected one of {', '.join(known)}, or the path of a notebook")
    return modules / found[0] / f"{found[0]}.ipynb"
