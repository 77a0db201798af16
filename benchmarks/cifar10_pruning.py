"""Project 1 of the course. Claim: the shipped CIFAR-10 network, pruned to 90% in steps, loses at most 3 pp.

    nice python benchmarks/cifar10_pruning.py            about 10 minutes on two quiet cores; goes on after a kill

Loads models.load_pretrained("cifar10_cnn") and prunes all its layers in one ranking. The recipe was set before, and nothing is
chosen here; test is evaluated once. One network, one run; the interval is of the paired difference over the test images (a
test image is right or wrong before and after), 95%, normal approximation.
"""

import argparse
import copy
import shutil
import time

import results
import torch
from intervals import correct, points
from recipes import CIFAR10, state_folder
from rich.console import Console
from rich.table import Table

from tinyshrink import data, magnitude, metrics, models, training

SPARSITY, TARGET = 0.9, 0.03
EPOCHS, SCHEDULE = (1, 1, 1, 1, 4), "cubic"  # epochs of recovery after each step


def prune(model, cifar, folder):
    """Prune `model` in place to SPARSITY; the state of each step is kept in `folder` until the end."""
    steps = enumerate(EPOCHS)

    def recover(model):
        step, epochs = next(steps)
        history = training.train(model, cifar, epochs, lr=0.1, **CIFAR10, checkpoint=folder / f"{step}.state", seed=step)
        accuracy, level = history[-1]["accuracy"], metrics.sparsity(model)
        print(f"  {level:.1%} sparse, epochs of recovery {epochs}: validation {accuracy:.2%}", flush=True)

    magnitude.iterative_prune(model, SPARSITY, len(EPOCHS), recover, kind=SCHEDULE)
    assert abs(metrics.sparsity(model) - SPARSITY) < 1e-4, "the weights are not as sparse as claimed"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    started, cifar = time.perf_counter(), data.load("cifar10")
    dense = models.load_pretrained("cifar10_cnn").to(memory_format=torch.channels_last)
    pruned, folder = copy.deepcopy(dense), state_folder(__file__)
    prune(pruned, cifar, folder)
    was_right, is_right = correct(dense, cifar.test), correct(pruned, cifar.test)
    change = was_right - is_right
    title = f"CifarCNN, {SPARSITY:.0%} of the weights removed in {len(EPOCHS)} steps, {sum(EPOCHS)} epochs"
    table = Table("", "validation", "test", "nonzero parameters", title=title)
    for name, model, right in (("dense", dense, was_right), ("pruned", pruned, is_right)):
        kept = f"{metrics.count_parameters(model, nonzero=True):,}"
        table.add_row(name, f"{training.evaluate(model, cifar.validation):.2%}", f"{right.mean():.2%}", kept)
    table.add_section()
    table.add_row("loss, pp", "", points([change]), "")
    table.add_row("target, pp", "", f"at most {100 * TARGET:g}", "met" if change.mean() <= TARGET else "NOT met")
    Console().print(table)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes since the last start, {torch.get_num_threads()} thread(s)")
    what, dense_name = f"CIFAR-10 network, {SPARSITY:.0%} of the weights removed: loss", f"dense, {was_right.mean():.2%}"
    shipped = results.row("the CIFAR-10 network that ships: right of 5,000 test images", [was_right], "%")
    loss = results.row(what, [change], "pp", most=TARGET, anchor=dense_name, note="one run")
    results.record("02_magnitude", [shipped, loss], folder.glob("*.state"))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
