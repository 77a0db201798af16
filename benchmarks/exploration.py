"""Claim: exploring cifar10_cnn, 9 candidates, is at least twice as fast as evaluating each from the input, at identical scores.

    python benchmarks/exploration.py [--images 250] [--jobs 1]      a minute with one thread: on a quiet machine

Spatial SVD, one layer at a time. "From the input" evaluates each candidate as a whole network (fast=False); "suffix" computes
what comes before each layer once for all layers. Both in this one run, with one thread each; all scores are compared. With
--jobs 2 the suffix runs once more, in two of joblib's threads.
"""

import argparse
import time
import warnings

import results
import torch
from rich.console import Console
from rich.table import Table

from tinyshrink import data, models, selection, training

GOAL = 2.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "even rank 1")
    torch.set_num_threads(1)
    cifar, dense = data.load("cifar10"), models.load_pretrained("cifar10_cnn")
    split = data.Split(cifar.validation.x[: arguments.images], cifar.validation.y[: arguments.images])
    ways = {"from the input": {"fast": False}, "suffix": {}}
    if arguments.jobs > 1:
        ways[f"suffix, {arguments.jobs} jobs"] = {"jobs": arguments.jobs}
    selection.explore(dense, "spatial", training.evaluate, [0.5], data=split)  # warm
    tables, times = {}, {}
    for way, options in ways.items():
        started = time.perf_counter()
        tables[way] = selection.explore(dense, "spatial", training.evaluate, data=split, **options)
        times[way] = time.perf_counter() - started
    result = Table(
        "way", "seconds", "times as fast", "target", "met", title=f"9 candidates, {arguments.images} validation images"
    )
    for way, seconds in times.items():
        speedup = times["from the input"] / seconds
        goal = [f"at least {GOAL:g}", "yes" if speedup >= GOAL else "NO"] if way == "suffix" else ["", ""]
        result.add_row(way, f"{seconds:.1f}", f"{speedup:.2f}", *goal)
    Console().print(result)
    same = all(table == tables["suffix"] for table in tables.values())
    count = sum(map(len, tables["suffix"].values()))
    print(f"{count} scores of {len(tables['suffix'])} layers, identical: {'yes' if same else 'NO'}")
    rows, note = [], f"{count} scores, {'identical' if same else 'NOT identical'}"
    for way in [way for way in ways if way != "from the input"]:
        faster = times["from the input"] / times[way]
        goal = {"least": GOAL, "met": faster >= GOAL and same} if way == "suffix" else {}
        what = f"exploring {len(tables[way])} layers of the CIFAR-10 network, 9 candidates each, {way}"
        rows.append(results.row(what, faster, "x", anchor="each candidate from the input", note=note, **goal))
    results.record("09_selection", rows)


if __name__ == "__main__":
    main()
