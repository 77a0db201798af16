"""Claim: LeNet-300-100 on MNIST loses at most 0.3 pp at 95% sparsity and at most 0.8 pp at 98%, in minutes on two cores.

    python benchmarks/mnist_pruning.py [--seeds 3]

Also measures what pruning in steps (iterative) gains over one cut, at 90%, 95% and 98%, when both train for the same number
of epochs after the dense model. Prints the loss on the 10,000 test images against each seed's own dense model, mean and 95%
interval over seeds (Student's t), and the paired difference of the two ways.
"""

import argparse
import copy
import time

import results
import torch
from intervals import interval, points
from recipes import MNIST, dense_lenet300
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tinyshrink import data, magnitude, metrics, training

# Chosen on the validation images of seed 100, which is not among the seeds that are reported.
STEPS, EPOCHS, SCHEDULE = 5, 4, "cubic"
TARGETS = {0.9: None, 0.95: 0.003, 0.98: 0.008}
WAYS = ("iterative", "one cut")


def losses(mnist, seed):
    """(dense accuracy, {(sparsity, way): accuracy lost}) on test for one seed."""
    dense, dense_accuracy = dense_lenet300(mnist, seed)

    def recover(model, epochs=EPOCHS):
        training.train(model, mnist, epochs, lr=0.1, **MNIST, seed=seed, progress=False)

    lost = {}
    for sparsity in TARGETS:
        iterative, one_cut = copy.deepcopy(dense), copy.deepcopy(dense)
        magnitude.iterative_prune(iterative, sparsity, STEPS, recover, kind=SCHEDULE)
        with magnitude.prune(one_cut, sparsity).hold(one_cut):
            recover(one_cut, STEPS * EPOCHS)
        for way, model in zip(WAYS, (iterative, one_cut)):
            assert abs(metrics.sparsity(model) - sparsity) < 1e-4, "the weights are not as sparse as claimed"
            lost[sparsity, way] = dense_accuracy - training.evaluate(model, mnist.test)
    return dense_accuracy, lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    started, mnist = time.perf_counter(), data.load("mnist")
    runs = [losses(mnist, seed) for seed in track(seeds, description="seeds")]
    table = Table("sparsity", "way", "loss, pp", "target, pp", "met", title=f"LeNet-300-100 on MNIST, {len(seeds)} seeds")
    dense, rows = f"dense, {points([accuracy for accuracy, _ in runs], sign='')}%", []
    for sparsity, target in TARGETS.items():
        of_way = {way: [lost[sparsity, way] for _, lost in runs] for way in WAYS}
        for way, values in of_way.items():
            judged = target is not None and way == "iterative"
            met = ("yes" if interval(values)[0] <= target else "NO") if judged else ""
            table.add_row(f"{sparsity:.0%}", way, points(values), f"at most {100 * target:g}" if judged else "", met)
            what, most = f"LeNet-300-100 on MNIST, {sparsity:.0%} removed, {way}: loss", target if judged else None
            rows.append(results.row(what, values, "pp", most=most, anchor=dense, seeds=len(seeds), detail=not judged))
        gained = [one_cut - iterative for iterative, one_cut in zip(*of_way.values())]
        table.add_row(f"{sparsity:.0%}", "gained by steps", points(gained), "", "", end_section=True)
        what = f"LeNet-300-100, {sparsity:.0%}: what five steps gain over one cut"
        minor = sparsity != 0.98
        rows.append(results.row(what, gained, "pp", anchor="one cut, equal training", seeds=len(seeds), detail=minor))
    Console().print(table)
    print(f"{dense}, on 10,000 test images")
    results.record("02_magnitude", rows)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes, {torch.get_num_threads()} thread(s)")


if __name__ == "__main__":
    main()
