"""Claims: what each stage of the digits pipeline is worth; the CIFAR-10 network at 1/20 of its bytes for at most 1.5 pp.

    python benchmarks/pipeline.py digits [--seeds 3]      one stage left out at a time; about 10 minutes
    nice python benchmarks/pipeline.py cifar10            prune + quantize + code, each taught by the dense network; 30 minutes

Bytes are those of the packed file. The recipes were set on validation; the network that is loaded from the last file is
evaluated on test once. Both go on after a kill. The CIFAR-10 interval is of the paired difference over the test images, 95%,
normal approximation; those of digits are Student's t over the seeds.
"""

import argparse
import time
from pathlib import Path

import results
import torch
from intervals import correct, interval, points
from recipes import CIFAR10
from recipes import Report as Progress
from rich.console import Console
from rich.table import Table

from tinyshrink import data, metrics, models, training
from tinyshrink.pipeline import Code, Distill, Pipeline, Prune, Quantize, contributions, leave_one_out

RATIO, LOSS = 20, 0.015
DIGITS = [Distill(60_000), Prune(0.85), Quantize(), Code()]
CIFAR = [Prune(0.85, epochs=8, lr=0.05), Quantize(epochs=0), Code(4, epochs=2)]


def digits(seeds):
    """Print what the file and the accuracy on validation are with one stage left out, and the whole on test."""
    dataset, reports, change, ratios = data.load("digits"), [], [], []
    for seed in range(seeds):
        torch.manual_seed(seed)
        dense = models.DigitsCNN()
        training.train(dense, dataset, 15, seed=seed, progress=False)
        pipeline, folder = Pipeline(DIGITS, progress=False, seed=seed), Path("build/pipeline-digits") / str(seed)
        reports.append(leave_one_out(pipeline, dense, dataset, folder).reports)
        whole = reports[-1]["nothing"]
        print(f"seed {seed}", whole, sep="\n", flush=True)
        ratios.append(whole.compression)
        change.append(training.evaluate(dense, dataset.test) - training.evaluate(whole.model, dataset.test))
    table = Table("left out", "bytes", "without / with", "loss on validation, pp", title=f"digits CNN, {seeds} seeds")
    collected, what = [], "digits CNN: distil, prune, quantize, code"
    for name in reports[0]:
        rows = [(report[name].rows[0], report[name].rows[-1], report["nothing"].rows[-1]) for report in reports]
        size, _ = interval([last.bytes for _, last, _ in rows])
        more, half = interval([last.bytes / whole.bytes for _, last, whole in rows])
        lost = points([first.accuracy - last.accuracy for first, last, _ in rows])
        table.add_row(name, f"{size:,.0f}", f"{more:.2f} ± {half:.2f}", lost)
        if name != "nothing":
            note = f"loss on validation {lost} pp"
            options = {"half": half, "anchor": "the whole pipeline", "seeds": seeds, "note": note, "detail": True}
            collected.append(results.row(f"{what}; the file without {name} against with it", more, "x", **options))
    Console().print(table)
    ratio, half = interval(ratios)
    print(f"the whole pipeline on test, once: {ratio:.0f} ± {half:.0f} times smaller, loss {points(change)} pp")
    whole = results.row(f"{what}; file smaller", ratios, "x", anchor="fp32 bytes", seeds=seeds)
    loss = results.row(f"{what}; loss", change, "pp", anchor="dense", seeds=seeds)
    results.record("11_pipeline", [whole, loss, *collected], Path("build/pipeline-digits").rglob("*.tsh"))


def cifar10():
    """Print the stages of the CIFAR-10 network, and ratio and loss against their targets."""
    dataset = data.load("cifar10")
    dense = models.load_pretrained("cifar10_cnn").to(memory_format=torch.channels_last)
    options = {**CIFAR10, "callbacks": [Progress()]}
    report = Pipeline(CIFAR, **options).run(dense, dataset, "build/pipeline-cifar10", test=False)
    Console().print(report)
    for part in contributions(report.rows):
        print(f"{part.stage}: {part.smaller:.2f} times smaller, {100 * part.gained:+.2f} pp on validation")
    right = [correct(network, dataset.test) for network in (dense, report.model)]
    ratio, change = 4 * metrics.count_parameters(dense) / report.rows[-1].bytes, right[0] - right[1]
    result = Table("", "measured", "target", "", title=f"test, once: {right[0].mean():.2%} to {right[1].mean():.2%}")
    result.add_row("storage ratio", f"{ratio:.1f}x", f"at least {RATIO}x", "met" if ratio >= RATIO else "NOT met")
    verdict = "met" if change.mean() <= LOSS else "NOT met"
    result.add_row("loss, pp", points([change]), f"at most {100 * LOSS:g}", verdict)
    Console().print(result)
    what, basis = "CIFAR-10 network, 85% pruned, int8, 4 bits coded, taught by the dense one", f"dense, {right[0].mean():.2%}"
    smaller = results.row(f"{what}: file smaller", ratio, "x", least=RATIO, anchor="fp32 bytes")
    loss = results.row(f"{what}: loss", [change], "pp", most=LOSS, anchor=basis, note="one run")
    results.record("11_pipeline", [smaller, loss], Path("build/pipeline-cifar10").glob("*"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["digits", "cifar10"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments, started = parser.parse_args(), time.perf_counter()
    if arguments.data == "digits":
        digits(arguments.seeds)
    else:
        cifar10()
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes since the last start, {torch.get_num_threads()} thread(s)")


if __name__ == "__main__":
    main()
