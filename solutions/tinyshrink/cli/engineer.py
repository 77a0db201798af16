"""Commands for your own models: compress, look inside, verify, score, and a page for the browser."""

import json
import math
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from .. import files
from . import terminal
from .terminal import app


@app.command()
def inspect(file: str = typer.Argument(..., help="a model that tinyshrink.packing.save wrote")) -> None:
    """Show where each byte of a packed model goes, tensor by tensor."""
    from .. import packing

    try:
        parts = packing.inspect(file)
    except (packing.CorruptFile, OSError) as error:
        terminal.fail(str(error))
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
    model: str = typer.Option(..., help="cifar10_cnn, which is trained, or digits_cnn, lenet300, lenet5, transformer"),
    data: str = typer.Option(..., help="digits, mnist, fashion_mnist or cifar10"),
    out: str = typer.Option("compressed", help="the folder to write to; a run that was killed goes on there"),
    epochs: int = typer.Option(20, help="for training a network that is not trained yet"),
) -> None:
    """Search the highest compression within a loss budget; write the packed model, a report and a picture."""
    import torch

    from .. import adaptive, metrics, models, packing, plots, training
    from .. import data as datasets

    networks = {"digits_cnn": models.DigitsCNN, "lenet300": models.LeNet300, "lenet5": models.LeNet5}
    networks |= {"transformer": models.Transformer, "cifar10_cnn": lambda: models.load_pretrained("cifar10_cnn")}
    if model not in networks:
        terminal.fail(f"no network is called {model!r}: expected one of {', '.join(networks)}")
    path = Path(out) / f"{model}-{data}"
    try:
        settings, dataset = adaptive.AdaptiveConfig.from_json(config), datasets.load(data)
        torch.manual_seed(0)
        dense = networks[model]()
        recipe = {"augment": datasets.crop_and_flip} if data == "cifar10" else {}
        try:
            training.evaluate(dense, datasets.Split(dataset.train.x[:2], dataset.train.y[:2]))
        except RuntimeError as error:
            terminal.fail(f"{model} does not take the images of {data}: {error}")
        if model not in models.PRETRAINED:
            training.train(dense, dataset, epochs, checkpoint=f"{path}.dense", **recipe)
        runner = adaptive.make_runner(settings, dense, dataset, **recipe)

        def tell(search):
            rate, accuracy = search.history[-1]
            budget = 100 * (accuracy - search.smallest)
            said = f"epoch {search.epochs}: rate {rate:.1%}, accuracy {accuracy:.2%}, budget {budget:+.2f} pp"
            terminal.console.print(said, highlight=False)

        original = runner.accuracy(dataset.validation)
        result = adaptive.AdaptiveCompression(settings, f"{path}.search", tell).run(runner, original)
        size = packing.save(runner.compressed(), f"{path}.tsh")
    except (ValueError, OSError, adaptive.NoFeasibleRate) as error:
        terminal.fail(str(error))
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
    terminal.console.print("\n".join(report[1:5]), f"report: {path}.md", sep="\n", markup=False, highlight=False)


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
    from .. import data as datasets
    from .. import deploy, packing

    limits = {"max_bytes": max_bytes, "max_ms": max_ms, "min_accuracy": min_accuracy}
    try:
        deploy.check_limits(**limits)
        verdict = deploy.check_constraints(model, datasets.load(data).test, **limits, threads=threads)
    except (ValueError, OSError, ImportError, packing.CorruptFile) as error:
        terminal.fail(str(error))
    terminal.console.print(verdict.table(escape(f"{model} on {data}, {threads} thread(s)")))
    raise typer.Exit(verdict.exit_code)


@app.command()
def page(
    out: str = typer.Option("page", help="the folder to write to"),
    serve: bool = typer.Option(False, help="show it at http://127.0.0.1:PORT until Ctrl-C"),
    port: int = typer.Option(8000),
) -> None:
    """Make a page that runs the digits network, and a compressed one, in your browser: draw a digit. Takes a minute."""
    from .. import page as pages

    try:
        path = pages.make(out)
        terminal.console.print(f"written: {path}", markup=False, highlight=False)
        if not serve:
            terminal.console.print(
                f"browsers read it over http only: tinyshrink page --out {out} --serve", markup=False, highlight=False
            )
            return
        with pages.server(out, port) as server:
            terminal.console.print(f"open http://127.0.0.1:{port}, stop with Ctrl-C", markup=False, highlight=False)
            server.serve_forever()
    except (OSError, ImportError, ValueError) as error:
        terminal.fail(str(error))
    except KeyboardInterrupt:
        pass


@app.command()
def score(file: str = typer.Argument(..., help="a packed model"), data: str = "digits") -> None:
    """Score a packed model as the capstone does: accuracy on test, real bytes, milliseconds."""
    from .. import capstone

    try:
        result = capstone.score(file, data)
    except (ValueError, OSError) as error:
        terminal.fail(str(error))
    table = Table("file", "accuracy on test", "bytes", "ms, batch of 64", "score")
    table.add_row(escape(str(file)), f"{result.accuracy:.2%}", f"{result.bytes:,}", f"{result.ms:.2f}", f"{result.score:.1f}")
    terminal.console.print(table)
