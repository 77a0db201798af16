"""Claim: networks without half or more of their channels are several times faster by the clock, and nearly as accurate.

    python benchmarks/channels.py digits       5 seeds, minutes on two cores
    python benchmarks/channels.py lenet5       3 seeds, a quarter of an hour
    python benchmarks/channels.py cifar10      one run, an hour

The trained states stay in build/: a run that was killed goes on, and a second run only measures.

Each network is pruned by tinyshrink.structured and by Torch-Pruning (pip install -e ".[peers]"), the same amount in the same
steps with the same training after each, by the L1 norm of the filters. Prints the loss on the test images (mean and 95%
interval; over seeds, or for one run of the paired difference over the images), and of the last seed the speedup on a batch of
64 (median of paired ratios, one thread, PyTorch's default memory format; below the table also with two and with channels
last), the milliseconds, parameters, MACs, and the seconds that planning and removing took.
"""

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import results
import torch
import torch_pruning
from intervals import correct, interval, points
from recipes import CIFAR10
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from tinyshrink import data, distillation, metrics, models, structured, training


@dataclass
class Recipe:
    """How a network is made, pruned and trained again; set on the validation images of seed 100."""

    dataset: str
    network: Callable[[], nn.Module]
    head: str  # the output layer, which Torch-Pruning has to be told
    amount: float
    steps: int
    epochs: int  # of training after each step
    speedup: float  # targets
    loss: float
    seeds: int
    dense: dict = field(default_factory=dict)  # how the dense network is trained; empty: it is already
    training: dict = field(default_factory=dict)
    taught: tuple[int, ...] = ()  # epochs of rounds after that, in which the dense network teaches ours, at half the rate


RECIPES = {
    "digits": Recipe("digits", models.DigitsCNN, "fc2", 0.8, 3, 10, 5, 0.01, 5, {"epochs": 30}, {"lr": 0.05}),
    "lenet5": Recipe(
        *("mnist", models.LeNet5, "fc2", 0.75, 2, 5, 4, 0.003, 3),
        dense={"epochs": 8, "lr": 0.05, "batch_size": 128},
        training={"lr": 0.05, "batch_size": 128},
    ),
    "cifar10": Recipe(
        *("cifar10", lambda: models.load_pretrained("cifar10_cnn"), "fc", 0.5, 1, 16, 2.5, 0.02, 1),
        training={"lr": 0.1, **CIFAR10},
        taught=(16, 16),
    ),
}


def ours(model, example, amount, head):
    return structured.prune_channels(model, example, amount)


def torch_prunings(model, example, amount, head):
    model = copy.deepcopy(model)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=1)
    options = {"pruning_ratio": amount, "ignored_layers": [model.get_submodule(head)]}
    torch_pruning.pruner.BasePruner(model.eval(), example, importance, **options).step()
    return model


WAYS = {"tinyshrink": ours, "Torch-Pruning": torch_prunings}


def prune(dense, recipe, sets, way, seed, folder):
    """(the smaller, trained network, the seconds that planning and removing took in all)."""
    model, spent = dense, 0.0
    for step in range(recipe.steps):
        started = time.perf_counter()
        amount = 1 - (1 - recipe.amount) ** (1 / recipe.steps)
        model = WAYS[way](model, sets.validation.x[:1], amount, recipe.head)
        spent += time.perf_counter() - started
        model = model.to(memory_format=torch.channels_last)
        state = folder / f"{seed}-{way}-{step}.state"
        history = training.train(model, sets, recipe.epochs, **recipe.training, seed=seed, checkpoint=state, progress=False)
        print(f"  seed {seed}, {way}, step {step + 1}: validation {history[-1]['accuracy']:.2%}", flush=True)
    return model, spent


@torch.no_grad()
def speedup(slow, fast, x, threads=1):
    return metrics.paired_speedup(lambda: slow(x), lambda: fast(x), repeats=100, warmup=10, threads=threads)


@torch.no_grad()
def milliseconds(model, x):
    return metrics.latency(lambda: model(x), repeats=50, threads=1).median


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=RECIPES)
    parser.add_argument("--seeds", type=int)
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.network]
    seeds = range(arguments.seeds or recipe.seeds)
    sets = data.load(recipe.dataset)
    folder = Path("build") / f"channels-{arguments.network}-{recipe.amount}-{recipe.steps}-{recipe.epochs}"
    folder.mkdir(parents=True, exist_ok=True)
    changes, base = {way: [] for way in WAYS}, []
    for seed in track(seeds, description="seeds"):
        torch.manual_seed(seed)
        dense = recipe.network().to(memory_format=torch.channels_last)
        if recipe.dense:
            state = folder / f"{seed}-dense.state"
            training.train(dense, sets, **recipe.dense, seed=seed, checkpoint=state, progress=False)
        was_right, last = correct(dense, sets.test), {}
        base.append(was_right.mean().item())
        for way in WAYS:
            model, spent = prune(dense, recipe, sets, way, seed, folder)
            changes[way].append(was_right - correct(model, sets.test))
            last[way] = model.eval(), spent
        if recipe.taught:
            way, model = "tinyshrink, taught", copy.deepcopy(last["tinyshrink"][0])
            for number, epochs in enumerate(recipe.taught):
                state = folder / f"{seed}-taught-{number}.state"
                settings = recipe.training | {"lr": recipe.training["lr"] / 2, "checkpoint": state}
                history = distillation.distill(model, dense, sets, epochs, **settings, seed=seed, progress=False)
                print(f"  {way}, round {number + 1}: validation {history[-1]['accuracy']:.2%}", flush=True)
            changes.setdefault(way, []).append(was_right - correct(model, sets.test))
            last[way] = model.eval(), last["tinyshrink"][1]
    x = sets.validation.x[:64].contiguous()
    one, dense = x[:1], dense.eval().to(memory_format=torch.contiguous_format)
    last = {way: (model.to(memory_format=torch.contiguous_format), spent) for way, (model, spent) in last.items()}
    title = f"{arguments.network}: {recipe.amount:.0%} of the channels removed, dense {100 * sum(base) / len(base):.2f}%"
    table = Table("", "loss, pp", "speedup", "ms", "parameters", "MACs", "plan and removal, s", title=title)
    sizes = f"{metrics.count_parameters(dense):,}", f"{metrics.count_macs(dense, one):,}"
    table.add_row("dense", "", "", f"{milliseconds(dense, x):.2f}", *sizes, "")
    rows, dense_name = [], f"dense, {100 * sum(base) / len(base):.2f}%"
    for way, (model, spent) in last.items():
        times = speedup(dense, model, x)
        sizes = f"{metrics.count_parameters(model):,}", f"{metrics.count_macs(model, one):,}"
        table.add_row(way, points(changes[way]), f"{times:.2f}x", f"{milliseconds(model, x):.2f}", *sizes, f"{spent:.2f}")
        if way.startswith("tinyshrink"):  # the last of these counts
            met = interval(changes[way])[0] <= recipe.loss and times >= recipe.speedup
        judged = way == ("tinyshrink, taught" if recipe.taught else "tinyshrink")
        most, least = (recipe.loss, recipe.speedup) if judged else (None, None)
        what = f"{type(dense).__name__}, {recipe.amount:.0%} of the channels removed by {way}"
        fewer = f"{metrics.count_parameters(dense) / metrics.count_parameters(model):.3g} times fewer parameters"
        rows += [results.row(f"{what}: loss", changes[way], "pp", most=most, anchor=dense_name, seeds=len(seeds))]
        rows += [results.row(f"{what}: speed, batch of 64, one thread", times, "x", least=least, anchor="dense", note=fewer)]
        rows += [results.row(f"{what}: time of planning and removing", spent, "s", detail=True)]
    smaller, peer = last["tinyshrink"][0], last["Torch-Pruning"][0]
    against = speedup(peer, smaller, x)
    table.add_section()
    goal = f"at most {100 * recipe.loss:g}", f"at least {recipe.speedup:g}x"
    table.add_row("target", *goal, "", "", "", "met" if met else "NOT met")
    Console().print(table)
    gain = points([theirs - ours for theirs, ours in zip(changes["Torch-Pruning"], changes["tinyshrink"])])
    print(f"against Torch-Pruning: accuracy {gain} pp, paired speedup {against:.2f}x")
    what = f"{type(dense).__name__}: tinyshrink's network against Torch-Pruning's, batch of 64, one thread"
    rows += [results.row(what, against, "x", anchor=f"Torch-Pruning {torch_pruning.__version__}", detail=True)]
    results.record("03_structured", rows, folder.glob("*.state"))
    for layout in (torch.contiguous_format, torch.channels_last):
        dense, smaller = dense.to(memory_format=layout), smaller.to(memory_format=layout)
        times = ", ".join(
            f"{speedup(dense, smaller, x.to(memory_format=layout), threads):.2f}x with {threads} thread(s)"
            for threads in (1, 2)
        )
        print(f"tinyshrink, {layout}: {times}")


if __name__ == "__main__":
    main()
