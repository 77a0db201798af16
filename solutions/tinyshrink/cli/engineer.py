"""Commands for your own models: compress, look inside, verify, score, and a page for the browser."""

import contextlib
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from .. import files
from . import terminal
from .terminal import app

NETWORKS = ("cifar10_cnn, which is trained", "digits_cnn", "lenet300", "lenet5", "transformer")
SETS = ("digits", "mnist", "fashion_mnist", "cifar10")
OWN = "path/to/file.py:function"


@app.command()
def inspect(file: str = typer.Argument(..., help="a model that tinyshrink.packing.save wrote")) -> None:
    """Show where each byte of a packed model goes, tensor by tensor."""
    from .. import packing

    try:
        parts = packing.inspect(file)
    except (packing.CorruptFile, OSError) as error:
        terminal.fail(error)
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
    terminal.console.print(table)
    total = sum(part.bytes for part in parts)
    terminal.console.print(
        f"{total:,} bytes for {weights:,} numbers, {4 * weights / total:.1f}x less than in float32", highlight=False
    )


@app.command()
def compress(
    config: str = typer.Option(..., help="JSON as NNCF's: accuracy_aware_training and compression"),
    model: str = typer.Option(..., help=f"{OWN}, a trained network; or {', '.join(NETWORKS)}"),
    data: str = typer.Option(..., help=f"{OWN}, train, validation and test; or {', '.join(SETS)}"),
    out: str = typer.Option("compressed", help="the folder to write to; a run that was killed goes on there"),
    epochs: int = typer.Option(None, help="for training a built-in network that is not trained yet; 20 by default"),
    lr: float = typer.Option(0.02, min=1e-9, help="the learning rate while the search trains"),
) -> None:
    """Search the highest compression within a loss budget; write the packed model, a report and a picture.

    Your own model: a function in your file that returns the trained network, as in --model net.py:trained, and one that
    returns (x, y) of train, validation and test. The network is not trained from scratch. One page: solutions/guide.md.
    """
    import torch

    from .. import adaptive, metrics, models, packing, plots, training
    from .. import data as datasets
    from . import own

    networks: dict[str, Callable[[], torch.nn.Module]] = {
        "digits_cnn": models.DigitsCNN,
        "lenet300": models.LeNet300,
        "lenet5": models.LeNet5,
    }
    networks |= {"transformer": models.Transformer, "cifar10_cnn": lambda: models.load_pretrained("cifar10_cnn")}
    if model not in networks and not own.is_own(model):
        terminal.fail(f"no network is called {model!r}: expected {OWN} or one of {', '.join(networks)}")
    terminal.writable(out)
    untrained = model in networks and model not in models.PRETRAINED
    if epochs is not None and not untrained:
        terminal.fail(f"--epochs is for built-in networks that are not trained yet, {model} is taken as it is: leave it out")
    try:
        settings, dataset = adaptive.AdaptiveConfig.from_json(config), _dataset(data)
        torch.manual_seed(0)
        dense = networks[model]() if model in networks else own.load_model(model)
        own.check_fit(dense, dataset, f"{model} on {data}")
        path = Path(out) / f"{own.short(model)}-{own.short(data)}"
        recipe = {"augment": datasets.crop_and_flip} if data == "cifar10" else {}
        if untrained:
            training.train(dense, dataset, 20 if epochs is None else epochs, checkpoint=f"{path}.dense", **recipe)
        with tempfile.TemporaryDirectory() as scratch:  # what no file can hold is said now, and not after the search
            packing.save(dense, Path(scratch) / "dense.tsh")
        runner = adaptive.make_runner(settings, dense, dataset, lr=lr, **recipe)

        def tell(search):
            rate, accuracy = search.history[-1]
            budget = 100 * (accuracy - search.smallest)
            said = f"epoch {search.epochs}: rate {rate:.1%}, accuracy {accuracy:.2%}, budget {budget:+.2f} pp"
            terminal.console.print(said, highlight=False)

        original = runner.accuracy(dataset.validation)
        terminal.console.print(f"{model}: accuracy {original:.2%} on validation", markup=False, highlight=False)
        result = adaptive.AdaptiveCompression(settings, f"{path}.search", tell).run(runner, original)
        size = packing.save(runner.compressed(), f"{path}.tsh")
    except (ValueError, OSError, FloatingPointError, adaptive.NoFeasibleRate) as error:
        terminal.fail(error)
    plots.save(result.plot(f"{model} on {data}"), f"{path}.png")
    kinds = {type(module) for module in dense.modules()}
    foreign = sorted(kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] not in ("torch", "tinyshrink"))
    classes = f", classes=[{', '.join(foreign)}]" if foreign else ""
    before = metrics.model_bytes(dense)
    test = [training.evaluate(network, dataset.test) for network in (dense, packing.load(f"{path}.tsh", kinds))]
    report = [
        f"# {model} on {data}, compressed by {settings.algorithm['algorithm']}\n",
        f"- rate found: {result.rate:.1%}, in {result.epochs} epochs",
        f"- validation accuracy: {original:.2%} -> {result.accuracy:.2%} (smallest tolerable: {result.smallest:.2%})",
        f"- test accuracy: {test[0]:.2%} -> {test[1]:.2%}",
        f"- size: {before:,} bytes in memory -> {size:,} in `{path.name}.tsh`, {before / size:.1f}x",
        f'- read it: `packing.load("{path.name}.tsh"{classes})`',
        f"\n![the search](<{path.name}.png>)\n\n```json\n{json.dumps(settings.settings, indent=2)}\n```",
    ]
    with files.whole(f"{path}.md") as part:
        part.write_text("\n".join(report) + "\n", encoding="utf-8")
    terminal.console.print("\n".join(report[1:6]), f"report: {path}.md", sep="\n", markup=False, highlight=False)


def _fail(error, instead):
    """As terminal.fail; for a file that needs the user's own classes, what to do `instead` of calling packing.load."""
    said, found, _ = str(error).partition(": load(path, classes=")
    terminal.fail(f"{said}: {instead}" if found else error)


def _dataset(name):
    """The data set of a command's --data: built in, or the user's own."""
    from .. import data
    from . import own

    return own.load_data(name) if own.is_own(name) else data.load(name)


@app.command()
def verify(
    model: str = typer.Argument(..., help="an .onnx file, or one that tinyshrink.packing.save wrote"),
    max_bytes: int = typer.Option(None, help="the size of the file"),
    max_ms: float = typer.Option(None, help="the median latency of one image"),
    min_accuracy: float = typer.Option(None, help="a fraction: 0.97 for 97%"),
    data: str = typer.Option("digits", help=f"{', '.join(SETS)}, or {OWN}: accuracy is on its test part"),
    threads: int = typer.Option(1, min=1, help="of the processor, while latency is measured"),
) -> None:
    """Measure a file as it will be deployed; exit with 0 where it meets all constraints, 1 where it misses one."""
    from .. import deploy, packing
    from . import own

    limits = {"max_bytes": max_bytes, "max_ms": max_ms, "min_accuracy": min_accuracy}
    try:
        deploy.check_limits(**limits)
        split = _dataset(data).test
        verdict = deploy.check_constraints(model, split, **limits, threads=threads, classes=own.classes())
    except (ValueError, OSError, ImportError, packing.CorruptFile) as error:
        _fail(error, f"give --data {OWN}, of the file that has the class")
    terminal.console.print(verdict.table(escape(f"{model} on {data}, {threads} thread(s)")))
    raise typer.Exit(verdict.exit_code)


@app.command()
def page(
    out: str = typer.Option("page", help="the folder to write to"),
    serve: bool = typer.Option(False, help="show it at http://127.0.0.1:PORT until Ctrl-C"),
    port: int = typer.Option(8000, min=0, max=65535, help="of the computer, for --serve; 0 is any that is free"),
) -> None:
    """Make a page that runs the digits network, and a compressed one, in your browser: draw a digit. Takes a minute."""
    from .. import page as pages

    terminal.writable(out)
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(pages.server(out, port)) if serve else None  # a busy port is said before the training
            path = pages.make(out)
            said = f"browsers read it over http only: tinyshrink page --out {out} --serve"
            if server:
                said = f"open http://127.0.0.1:{server.server_port}, stop with Ctrl-C"
            terminal.console.print(f"written: {path}", said, sep="\n", markup=False, highlight=False)
            if server:
                with contextlib.suppress(KeyboardInterrupt):
                    server.serve_forever()
    except (OSError, ImportError, ValueError) as error:
        terminal.fail(error)


@app.command()
def score(
    file: str = typer.Argument(..., help="a packed model"),
    data: str = typer.Option("digits", help=f"{', '.join(SETS)}: its test images"),
) -> None:
    """Score a packed model as the capstone does: accuracy on test, real bytes, milliseconds."""
    from .. import capstone

    try:
        result = capstone.score(file, data)
    except (ValueError, OSError) as error:
        _fail(error, f"the score is for networks of PyTorch and tinyshrink; for yours, tinyshrink verify FILE --data {OWN}")
    table = Table("file", "accuracy on test", "bytes", "ms, batch of 64", "score")
    table.add_row(escape(str(file)), f"{result.accuracy:.2%}", f"{result.bytes:,}", f"{result.ms:.2f}", f"{result.score:.1f}")
    terminal.console.print(table)
