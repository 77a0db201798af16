"""The command `tinyshrink`: run the course's main job, check your own notebook, see what is installed."""

import importlib
import importlib.metadata
import json
import math
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

from . import files

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
def inspect(file: str = typer.Argument(..., help="a model that tinyshrink.packing.save wrote")) -> None:
    """Show where each byte of a packed model goes, tensor by tensor."""
    from . import packing

    try:
        parts = packing.inspect(file)
    except (packing.CorruptFile, OSError) as error:
        _fail(str(error))
    table = Table("part", "shape", "nonzeros", "positions", "values", "bytes", "bits per weight", title=escape(str(file)))
    for name in ("shape", "nonzeros", "bytes", "bits per weight"):
        next(column for column in table.columns if column.header == name).justify = "right"
    weights = 0
    for part in parts:
        row = [escape(part.name), "", "", "", "", f"{part.bytes:,}", ""]
        if part.encoding:
            count = math.prod(part.shape)
            weights += count
            row[1:3] = " x ".join(map(str, part.shape)) or "1", f"{part.nonzeros:,}"
            row[3] = (
                f"{part.encoding.positions}: {part.encoding.position_bytes:,}" if part.encoding.position_bytes > 1 else "all"
            )
            row[4] = f"{part.encoding.values}: {part.encoding.value_bytes:,}"
            row[6] = f"{8 * part.bytes / count:.2f}" if count else ""
        table.add_row(*row)
    console.print(table)
    total = sum(part.bytes for part in parts)
    console.print(f"{total:,} bytes for {weights:,} numbers, {4 * weights / total:.1f}x less than in float32", highlight=False)


@app.command()
def compress(
    config: str = typer.Option(..., help="JSON as NNCF's: accuracy_aware_training and compression"),
    model: str = typer.Option(..., help="cifar10_cnn, which is trained, or digits_cnn, lenet300, lenet5, transformer"),
    data: str = typer.Option(..., help="digits, mnist, fashion_mnist or cifar10"),
    out: str = typer.Option("compressed", help="the folder to write to; a run that was killed goes on there"),
    epochs: int = typer.Option(20, help="for training a network that is not trained yet"),
) -> None:
    """Search the highest compression within a loss budget; write the packed model, a report and a picture."""
    import torch

    from . import adaptive, metrics, models, packing, plots, training
    from . import data as datasets

    networks = {"digits_cnn": models.DigitsCNN, "lenet300": models.LeNet300, "lenet5": models.LeNet5}
    networks |= {"transformer": models.Transformer, "cifar10_cnn": lambda: models.load_pretrained("cifar10_cnn")}
    if model not in networks:
        _fail(f"no network is called {model!r}: expected one of {', '.join(networks)}")
    path = Path(out) / f"{model}-{data}"
    try:
        settings, dataset = adaptive.AdaptiveConfig.from_json(config), datasets.load(data)
        torch.manual_seed(0)
        dense = networks[model]()
        recipe = {"augment": datasets.crop_and_flip} if data == "cifar10" else {}
        try:
            training.evaluate(dense, datasets.Split(dataset.train.x[:2], dataset.train.y[:2]))
        except RuntimeError as error:
            _fail(f"{model} does not take the images of {data}: {error}")
        if model not in models.PRETRAINED:
            training.train(dense, dataset, epochs, checkpoint=f"{path}.dense", **recipe)
        runner = adaptive.make_runner(settings, dense, dataset, **recipe)

        def tell(search):
            rate, accuracy = search.history[-1]
            budget = 100 * (accuracy - search.smallest)
            said = f"epoch {search.epochs}: rate {rate:.1%}, accuracy {accuracy:.2%}, budget {budget:+.2f} pp"
            console.print(said, highlight=False)

        original = runner.accuracy(dataset.validation)
        result = adaptive.AdaptiveCompression(settings, f"{path}.search", tell).run(runner, original)
        size = packing.save(runner.compressed(), f"{path}.tsh")
    except (ValueError, OSError, adaptive.NoFeasibleRate) as error:
        _fail(str(error))
    plots.save(result.plot(f"{model} on {data}"), f"{path}.png")
    before = metrics.model_bytes(dense)
    test = [training.evaluate(dense, dataset.test), runner.accuracy(dataset.test)]
    report = [
        f"# {model} on {data}, compressed by {settings.algorithm['algorithm']}\n",
        f"- rate found: {result.rate:.1%}, in {result.epochs} epochs",
        f"- validation accuracy: {original:.2%} -> {result.accuracy:.2%} (smallest tolerable: {result.smallest:.2%})",
        f"- test accuracy: {test[0]:.2%} -> {test[1]:.2%}",
        f"- size: {before:,} bytes in memory -> {size:,} in `{path.name}.tsh`, {before / size:.1f}x",
        f"\n![the search]({path.name}.png)\n\n```json\n{json.dumps(settings.settings, indent=2)}\n```",
    ]
    with files.whole(f"{path}.md") as part:
        part.write_text("\n".join(report) + "\n")
    console.print("\n".join(report[1:5]), f"report: {path}.md", sep="\n", markup=False, highlight=False)


@app.command()
def verify(
    model: str = typer.Argument(..., help="an .onnx file, or one that tinyshrink.packing.save wrote"),
    max_bytes: int = typer.Option(None, help="the size of the file"),
    max_ms: float = typer.Option(None, help="the median latency of one image"),
    min_accuracy: float = typer.Option(None, help="a fraction: 0.97 for 97%"),
    data: str = typer.Option("digits", help="digits, mnist, fashion_mnist or cifar10: accuracy is on its test images"),
    threads: int = typer.Option(1, help="of the processor, while latency is measured"),
) -> None:
    """Measure a file as it will be deployed; exit with 0 where it meets all constraints, 1 where it misses one."""
    from . import data as datasets
    from . import deploy, packing

    limits = {"max_bytes": max_bytes, "max_ms": max_ms, "min_accuracy": min_accuracy}
    try:
        deploy.check_limits(**limits)
        verdict = deploy.check_constraints(model, datasets.load(data).test, **limits, threads=threads)
    except (ValueError, OSError, ImportError, packing.CorruptFile) as error:
        _fail(str(error))
    console.print(verdict.table(escape(f"{model} on {data}, {threads} thread(s)")))
    raise typer.Exit(verdict.exit_code)


@app.command()
def page(
    out: str = typer.Option("page", help="the folder to write to"),
    serve: bool = typer.Option(False, help="show it at http://127.0.0.1:PORT until Ctrl-C"),
    port: int = typer.Option(8000),
) -> None:
    """Make a page that runs the digits network, and a compressed one, in your browser: draw a digit. Takes a minute."""
    from . import page as pages

    try:
        path = pages.make(out)
        console.print(f"written: {path}", markup=False, highlight=False)
        if not serve:
            console.print(
                f"browsers read it over http only: tinyshrink page --out {out} --serve", markup=False, highlight=False
            )
            return
        with pages.server(out, port) as server:
            console.print(f"open http://127.0.0.1:{port}, stop with Ctrl-C", markup=False, highlight=False)
            server.serve_forever()
    except (OSError, ImportError, ValueError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        pass


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
def similar(assignment: str, course: str = COURSE) -> None:
    """For instructors: list answers that equal the reference or each other but for names and layout."""
    _instructor("similar", course, assignment)


def _instructor(command, course, *arguments):
    """Run a command of the grader, which is in the course folder and not in the package."""
    grading = _root() / "grading"
    sys.path.insert(0, str(grading))
    commands = importlib.import_module("grader.commands")
    try:
        getattr(commands, command)(console, Path(course) if course else grading, *arguments)
    except commands.ERRORS as error:
        _fail(str(error))


@app.command()
def score(file: str = typer.Argument(..., help="a packed model"), data: str = "digits") -> None:
    """Score a packed model as the capstone does: accuracy on test, real bytes, milliseconds."""
    from . import capstone

    try:
        result = capstone.score(file, data)
    except (ValueError, OSError) as error:
        _fail(str(error))
    table = Table("file", "accuracy on test", "bytes", "ms, batch of 64", "score")
    table.add_row(escape(str(file)), f"{result.accuracy:.2%}", f"{result.bytes:,}", f"{result.ms:.2f}", f"{result.score:.1f}")
    console.print(table)


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
