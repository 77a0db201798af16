"""Commands for students: notebooks of your own, the course's main job, and the checks of your own notebook."""

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from .. import files
from . import terminal
from .terminal import app

MODULES = typer.Argument(None, help="numbers, such as 02: only the checks of these; all tests by default")


@app.command()
def course() -> None:
    """Do the main job: build the release, grade three submissions, prune a real network, write report/index.html."""
    script = terminal.root() / "grading" / "course.py"
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


@app.command()
def start(folder: str = typer.Argument("tinyshrink-course", help="where to")) -> None:
    """Copy the notebooks to a folder of your own. Notebooks that are there already are left as they are."""
    copied = kept = 0
    terminal.writable(folder)
    try:
        for source in sorted((files.shipped() / "modules").rglob("[0-9][0-9]_*.ipynb")):
            target = Path(folder, "modules", source.stem, source.name)
            if target.exists():
                kept += 1
            elif source.parent.name != ".ipynb_checkpoints":
                copied += 1
                with files.whole(target) as part:
                    shutil.copyfile(source, part)
    except OSError as error:
        terminal.fail(error)
    said = f"{copied} notebooks copied to {folder}, {kept} were there and are left as they are"
    after = f'next: cd "{folder}", then tinyshrink learn'
    terminal.console.print(said, after, sep="\n", markup=False, highlight=False, soft_wrap=True)


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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def learn(context: typer.Context) -> None:
    """Open JupyterLab at your next exercise: the first one whose check did not pass yet.

    JupyterLab gets the options that are not known here, such as --no-browser, --port 8890, --allow-root.
    """
    from urllib.parse import quote

    from .. import progress as points

    found = points.Progress([points.read(path) for path in student_notebooks()])
    module = found.next
    terminal.console.print(found.table())
    for damaged in found.modules:
        if module is None and damaged.trouble:
            terminal.fail(f"{damaged.path} {damaged.trouble}")
    if module is None:
        terminal.fail("no notebook has an exercise left: tinyshrink mine builds your own framework from them")
    if importlib.util.find_spec("jupyterlab") is None:
        terminal.fail("JupyterLab is not installed: pip install jupyterlab")
    if not os.access(module.path, os.W_OK):
        terminal.fail(f"{module.path} cannot be written, so answers could not be saved: copy the folder to one of yours")
    terminal.console.print(f"{module.path.stem}: {module.says}", style="bold", markup=False, highlight=False)
    folder = module.path.parent.parent
    address = f"/lab/tree/{quote(module.path.relative_to(folder).as_posix())}"  # JupyterLab 4 drops a #heading here
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", f"--LabApp.default_url={address}"]
    settings = files.shipped() / "grading" / "jupyter"  # for Validate; an editable install puts them nowhere
    places = [str(settings), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    environment = os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, places))}
    raise typer.Exit(subprocess.call([*command, *context.args], env=environment))


@app.command()
def progress() -> None:
    """Show how many points the checks in your saved notebooks gave, module by module. Nothing is run."""
    from .. import progress as points

    terminal.console.print(points.Progress([points.read(path) for path in student_notebooks()]).table())


@app.command()
def mine(
    modules: list[str] = MODULES,
    bench: bool = typer.Option(False, "--bench", help="then run two quick benchmarks on it"),
    limit: float = typer.Option(120, min=1, help="seconds for one test"),
) -> None:
    """Build your own tinyshrink from your notebooks, in build/mine, and run the tests of the package on it."""
    chosen = [student_notebook(number) for number in modules or []] or student_notebooks()
    sys.path.insert(0, str(terminal.root() / "grading"))
    tool = importlib.import_module("mine")
    try:
        raise typer.Exit(0 if tool.main(terminal.console, chosen, not modules, limit, bench) else 1)
    except tool.MineError as error:
        terminal.fail(str(error))


def student_notebooks():
    """Yours, of the folder that the current one is in; where there are none, those of this clone."""
    from ..progress import notebooks

    found = notebooks() or notebooks(files.shipped())
    if not found:
        terminal.fail("there are no notebooks here or above: cd to where yours are, or make some: tinyshrink start FOLDER")
    return found


def student_notebook(number):
    """The path of your notebook of a module, by its number."""
    paths = {path.stem: path for path in student_notebooks()}
    found = [name for name in paths if number in (name, name[:2], name[:2].lstrip("0"))]
    if not found:
        terminal.fail(f"there is no module {number!r}: expected one of {', '.join(paths)}, or the path of a notebook")
    return paths[found[0]]
