"""Claim: 90% of the weights removed by magnitude, `allocate` against the same amount in every layer, before and after recovery.

    nice python benchmarks/allocation.py [digits|cifar10] [--seeds 5]

No target: the difference is what is asked for. The sensitivity of each layer is measured on the first 500 validation images, in
cross entropy, at AMOUNTS. One ranking over all layers ("global") is there for comparison. All three networks have the same
number of zeros and the same recovery, one stage, whose recipe was set before; test images are looked at once.
digits: DigitsCNN, each seed a network, a minute a seed; the interval is over the seeds, Student's t. cifar10: the shipped
network, an epoch is 10,000 of the training images, 12 minutes with one thread; goes on after a kill; the interval is of the
paired difference over the test images, normal approximation. Both are 95%.
"""

import argparse
import dataclasses
import json
import shutil
import time

import results
import torch
from intervals import correct, interval, points
from recipes import CIFAR10, Report, state_folder
from rich.console import Console
from rich.table import Table

from tinyshrink import data, degradation, files, metrics, models, training

AMOUNT, AMOUNTS, IMAGES = 0.9, (0.5, 0.7, 0.8, 0.9, 0.95, 0.98), 500
FEW = {"train": 10_000, "validation": 1000}  # examples that are used: of digits all
RECOVERY = {"digits": {"epochs": 3, "lr": 0.02}, "cifar10": {"epochs": 3, "lr": 0.05, **CIFAR10}}


def sensitivity(model, split, path):
    """layer_sensitivity's curves, kept in the file `path`."""
    if not path.exists():
        options = {"score": degradation.cross_entropy, "higher_is_better": False, "progress": True}
        with files.whole(path) as part:
            part.write_text(
                json.dumps(list(degradation.layer_sensitivity(model, split, AMOUNTS, **options).items())), encoding="utf-8"
            )
    curves = json.loads(path.read_text(encoding="utf-8"))
    return {name: {float(amount): drop for amount, drop in curve.items()} for name, curve in curves}


def compare(dense, dataset, folder, seed=0):
    """{label: (which test images are right before, and after recovery, the amounts)} of the three ways to share out AMOUNT."""
    split = data.Split(dataset.validation.x[:IMAGES], dataset.validation.y[:IMAGES])
    curves, sizes = sensitivity(dense, split, folder / f"curves{seed}.json"), degradation.layer_sizes(dense)
    ways = {"allocate": degradation.allocate(curves, sizes, AMOUNT), "uniform": dict.fromkeys(sizes, AMOUNT), "global": AMOUNT}
    found = {}
    for label, amounts in ways.items():
        recipe = {**RECOVERY[dataset.name], "seed": seed, "checkpoint": folder / f"{label}{seed}.state"}
        reports = {"callbacks": [Report()]} if dataset.name == "cifar10" else {"progress": False}
        before = []

        def train(model, stage, before=before, recipe=recipe, reports=reports):
            before.append(correct(model, dataset.test))
            training.train(model, dataset, **recipe, **reports)

        pruned, (stage,) = degradation.recover(dense, [amounts], train, lambda m: training.evaluate(m, dataset.validation))
        assert abs(stage.sparsity - AMOUNT) < 1e-4, f"{label} is not as sparse as claimed: {stage.sparsity}"
        print(f"{label}, seed {seed}: validation {stage.before:.2%} before, {stage.after:.2%} after recovery", flush=True)
        share = {name: float((weight == 0).float().mean()) for name, weight in metrics.weights(pruned).items()}
        found[label] = before[0], correct(pruned, dataset.test), share
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=RECOVERY, default="cifar10")
    parser.add_argument("--seeds", type=int, default=5, help="of digits; cifar10 has one")
    arguments = parser.parse_args()
    started, dataset, folder = time.perf_counter(), data.load(arguments.data), state_folder(__file__) / arguments.data
    few = {name: data.Split(*(part[:count] for part in getattr(dataset, name))) for name, count in FEW.items()}
    dataset, runs, dense_right = dataclasses.replace(dataset, **few), [], []
    for seed in range(arguments.seeds if arguments.data == "digits" else 1):
        if arguments.data == "digits":
            torch.manual_seed(seed)
            dense = models.DigitsCNN()
            training.train(dense, dataset, epochs=12, seed=seed, progress=False, checkpoint=folder / f"dense{seed}.state")
        else:
            dense = models.load_pretrained("cifar10_cnn").to(memory_format=torch.channels_last)
        dense_right.append(correct(dense, dataset.test))
        runs.append(compare(dense, dataset, folder, seed))
    title = f"{arguments.data}, {AMOUNT:.0%} of the weights removed, test accuracy, %"
    table = Table("", "before recovery", "after", "allocate is better by, pp: before", "after", title=title)
    table.add_row("dense", "", f"{100 * interval(dense_right)[0]:.2f}", "", "")
    rows = []
    for label in runs[0]:
        row = [f"{100 * interval([run[label][moment] for run in runs])[0]:.2f}" for moment in (0, 1)]
        gains = [points([run["allocate"][moment] - run[label][moment] for run in runs]) for moment in (0, 1)]
        table.add_row(label, *row, *(gains if label != "allocate" else ("", "")))
        for moment, when in enumerate(("before", "after") if label != "allocate" else ()):
            what = (
                f"{AMOUNT:.0%} zeros shared out by sensitivity (allocate), {arguments.data}, {when} recovery: gain over {label}"
            )
            values, own = ([run[way][moment] for run in runs] for way in (label, "allocate"))
            basis, note = f"{label}, {100 * interval(values)[0]:.2f}%", f"{100 * interval(own)[0]:.2f}%"
            gain = [a - b for a, b in zip(own, values)]
            rows.append(results.row(what, gain, "pp", anchor=basis, seeds=len(runs), note=note, detail=when == "before"))
    Console(width=120).print(table)
    layers = Table("removed of the layer, %", *runs[0], title="of seed 0")
    for name in runs[0]["global"][2]:
        layers.add_row(name, *(f"{100 * found[2][name]:.1f}" for found in runs[0].values()))
    Console(width=120).print(layers)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes since the last start, {torch.get_num_threads()} thread(s)")
    results.record("08_degradation", rows, folder.glob("*"))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
