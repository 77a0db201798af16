"""Claim: the digits CNN keeps its accuracy at 90% sparsity (loss under 1 pp) and most of it at 97% (under 5 pp).

    python benchmarks/digits_pruning.py [--seeds 5]

Prints, for each sparsity, accuracy on the 360 test digits before and after, mean and 95% interval of the loss over seeds
(Student's t), for iterative pruning, for one cut with the same total of training epochs, and for one cut in blocks of four
filters that share their columns, which a sparse kernel multiplies faster (sparse_kernels.py). Minutes on two cores.
"""

import argparse
import copy

import results
import torch
from intervals import interval, points
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tinyshrink import data, magnitude, metrics, models, training

STEPS, EPOCHS, LR = 5, 4, 0.02
WAYS = ("iterative", "one cut", "one cut, 4 x 1 blocks")
TARGETS = {0.9: 0.01, 0.95: None, 0.97: 0.05}


def losses(seed):
    """{(sparsity, way): accuracy lost on test} for one seed."""
    digits = data.load("digits")
    torch.manual_seed(seed)
    dense = models.DigitsCNN()
    training.train(dense, digits, 20, seed=seed, progress=False)
    dense_accuracy = training.evaluate(dense, digits.test)

    def recover(model, epochs=EPOCHS):
        training.train(model, digits, epochs, lr=LR, seed=seed, progress=False)

    lost = {}
    for sparsity in TARGETS:
        iterative, one_cut, in_blocks = (copy.deepcopy(dense) for _ in WAYS)
        magnitude.iterative_prune(iterative, sparsity, STEPS, recover)
        for model, criterion in ((one_cut, "magnitude"), (in_blocks, "block")):
            with magnitude.prune(model, sparsity, criterion=criterion).hold(model):
                recover(model, STEPS * EPOCHS)
        for way, model in zip(WAYS, (iterative, one_cut, in_blocks)):
            assert abs(metrics.sparsity(model) - sparsity) < 1e-4, "the weights are not as sparse as claimed"
            lost[sparsity, way] = dense_accuracy - training.evaluate(model, digits.test)
    return dense_accuracy, lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    runs = [losses(seed) for seed in track(seeds, description="seeds")]
    table = Table("sparsity", "way", "loss, pp", "target, pp", "met", title=f"digits CNN, {len(seeds)} seeds")
    dense, rows = f"dense, {points([accuracy for accuracy, _ in runs], sign='')}%", []
    for sparsity, target in TARGETS.items():
        for way in WAYS:
            values = [lost[sparsity, way] for _, lost in runs]
            met = "" if target is None or way != "iterative" else "yes" if interval(values)[0] < target else "NO"
            goal = f"under {100 * target:g}" if met else ""
            table.add_row(f"{sparsity:.0%}", way, points(values), goal, met)
            what, most = f"digits CNN, {sparsity:.0%} of the weights removed, {way}: loss", target if met else None
            rows.append(results.row(what, values, "pp", most=most, anchor=dense, seeds=len(seeds), detail=sparsity == 0.95))
        steps, cut = ([lost[sparsity, way] for _, lost in runs] for way in WAYS[:2])
        gained, what = [b - a for a, b in zip(steps, cut)], f"what five steps gain over one cut there, {sparsity:.0%}"
        rows.append(results.row(what, gained, "pp", anchor="one cut, equal training", seeds=len(seeds), detail=sparsity < 0.97))
    Console().print(table)
    print(f"{dense}, on 360 test digits (one is 0.28 pp)")
    results.record("02_magnitude", rows)


if __name__ == "__main__":
    main()
