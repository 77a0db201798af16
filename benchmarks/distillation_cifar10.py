"""Claim: the shipped CIFAR-10 network teaches a student with a quarter of its parameters more than the labels alone do.

    nice python benchmarks/distillation_cifar10.py       about 40 minutes on two quiet cores; goes on after a kill

The teacher is models.load_pretrained("cifar10_cnn"), the student a CifarCNN that scale_model makes. The same untrained student
is trained twice with the same recipe: on the labels alone, and with the teacher too. The recipe was set before, and nothing is
chosen here; test is evaluated once. One student, one run; the interval is of the paired difference over the test images (a
test image is right or wrong with each), 95%, normal approximation.
"""

import argparse
import copy
import shutil
import time

import results
import torch
from intervals import correct, points
from recipes import CIFAR10, Report, state_folder
from rich.console import Console
from rich.table import Table

from tinyshrink import data, distillation, metrics, models, training

STUDENT, EPOCHS, TEMPERATURE, ALPHA = 69_000, 10, 4.0, 0.9  # a quarter: of all shapes the next ones have 25.2 or 22.0%


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    epochs = parser.parse_args().epochs
    started, cifar = time.perf_counter(), data.load("cifar10")
    teacher = models.load_pretrained("cifar10_cnn").to(memory_format=torch.channels_last)
    size = metrics.count_parameters(teacher)
    torch.manual_seed(0)
    alone = distillation.scale_model(teacher, STUDENT).to(memory_format=torch.channels_last)
    distilled = copy.deepcopy(alone)
    folder, recipe = state_folder(__file__), {"lr": 0.2, **CIFAR10, "callbacks": [Report()]}
    print(f"on the labels alone, {alone.settings}", flush=True)
    training.train(alone, cifar, epochs, **recipe, checkpoint=folder / f"alone-{epochs}.state")
    print("with the teacher", flush=True)
    recipe |= {"temperature": TEMPERATURE, "alpha": ALPHA}
    distillation.distill(distilled, teacher, cifar, epochs, **recipe, checkpoint=folder / f"distilled-{epochs}.state")
    title = f"CifarCNN {alone.settings}, {epochs} epochs, temperature {TEMPERATURE:g}, alpha {ALPHA:g}"
    table = Table("", "parameters", "validation", "test", title=title)
    right = {}
    for name, model in (("teacher", teacher), ("student, labels alone", alone), ("student, distilled", distilled)):
        right[name] = correct(model, cifar.test)
        validation = f"{training.evaluate(model, cifar.validation):.2%}"
        table.add_row(name, f"{metrics.count_parameters(model):,}", validation, f"{right[name].mean():.2%}")
    gain = right["student, distilled"] - right["student, labels alone"]
    table.add_section()
    table.add_row("gain, pp", "", "", points([gain]))
    table.add_row("student / teacher", f"{metrics.count_parameters(distilled) / size:.1%}", "", "")
    Console().print(table)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes since the last start, {torch.get_num_threads()} thread(s)")
    share = metrics.count_parameters(distilled) / size
    what = f"CIFAR-10 network with {share:.1%} of its parameters, taught {epochs} epochs: gain"
    basis, note = f"labels alone, {right['student, labels alone'].mean():.2%}", "one run"
    rows = [results.row(what, [gain], "pp", anchor=basis, note=note)]
    results.record("04_distillation", rows, folder.glob("*.state"))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
