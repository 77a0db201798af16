"""Claim: one global ranking of 10 million weights is at least 6x faster than torch.nn.utils.prune.global_unstructured.

    python benchmarks/global_masks.py [--threads 1] [--repeats 9]

Both get the same model, ten Linear(1000, 1000), and must choose the same mask, which is checked each time. The model is
copied before each call, outside the clock; the two run in turn, with the same threads, and the speedup is the median of
the paired ratios. Two jobs are compared, so that each side does the same work in the second one:

- choose: global_masks of |weight| (chooses only) against global_unstructured (chooses, and attaches what it chose);
- choose and prune: prune (looks for NaN, scores, ranks, masks, sets weights to zero in place) against
  global_unstructured (scores, ranks, masks, and attaches weight_orig, weight_mask and a hook to each layer).

The magnitudes are distinct, so that there is only one right mask. A third line times magnitude_mask itself, one thread.
Run it on a quiet machine: other programs slow both sides, but not by the same factor.
"""

import argparse
import copy
import functools
import statistics

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.utils import prune as torch_prune

from tinyshrink import magnitude, metrics

LAYERS, WIDTH = 10, 1000
TARGET, TARGET_SECONDS = 6, 0.15
SPARSITIES = (0.5, 0.9, 0.98)


def make_model():
    """Ten Linear layers whose 10 million weights all differ in magnitude: k / 2**24, in a random order, random signs."""
    generator = torch.Generator().manual_seed(0)
    n = LAYERS * WIDTH**2
    signs = 1 - 2 * torch.randint(0, 2, (n,), generator=generator)
    values = signs * (torch.randperm(n, generator=generator) + 1) / 2**24  # exact in float32
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))
    for layer, weight in zip(model, values.view(LAYERS, WIDTH, WIDTH)):
        layer.weight.data.copy_(weight)
    return model


def choose(model, sparsity):
    return magnitude.global_masks({name: weight.detach().abs() for name, weight in model.named_parameters()}, sparsity)


def peer(model, sparsity):
    layers = [(layer, "weight") for layer in model]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=sparsity)


def pair(ours, model, sparsity):
    """(seconds of PyTorch, seconds of ours) for one call of each on its own copy; the masks must be equal."""
    theirs_model, our_model, masks = copy.deepcopy(model), copy.deepcopy(model), {}
    theirs = metrics.seconds(lambda: peer(theirs_model, sparsity))
    mine = metrics.seconds(lambda: masks.update(ours(our_model, sparsity)))
    for layer, mask in zip(theirs_model, masks.values(), strict=True):
        assert torch.equal(layer.weight_mask.bool(), mask), f"the masks differ at sparsity {sparsity}"
    return theirs, mine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    model, met = make_model(), {True: "yes", False: "NO"}
    table = Table(
        *("job", "sparsity", "PyTorch, s", "tinyshrink, s", "speedup", "range", "target", "met"),
        title=f"{LAYERS * WIDTH**2:,} weights, {options.repeats} pairs, {options.threads} thread(s), same masks",
    )
    for job, ours in (("choose", choose), ("choose and prune", magnitude.prune)):
        for sparsity in SPARSITIES:
            with metrics.torch_threads(options.threads):
                pair(ours, model, sparsity)  # warm-up
                pairs = [pair(ours, model, sparsity) for _ in range(options.repeats)]
            ratios = [theirs / mine for theirs, mine in pairs]
            seconds = [f"{statistics.median(column):.3f}" for column in zip(*pairs)]
            speedup, spread = statistics.median(ratios), f"{min(ratios):.1f} to {max(ratios):.1f}"
            goal = (f"at least {TARGET}x", met[speedup >= TARGET])
            table.add_row(job, f"{sparsity:.0%}", *seconds, f"{speedup:.1f}x", spread, *goal)
    scores = torch.cat([layer.weight.detach().abs().flatten() for layer in model])
    for sparsity in SPARSITIES:
        rank = functools.partial(magnitude.magnitude_mask, scores, sparsity)
        time = metrics.latency(rank, repeats=options.repeats, threads=1)
        spread = f"{time.low / 1000:.3f} to {time.high / 1000:.3f} s"
        goal = (f"under {TARGET_SECONDS} s", met[time.median / 1000 < TARGET_SECONDS])
        table.add_row("magnitude_mask", f"{sparsity:.0%}", "", f"{time.median / 1000:.3f}", "", spread, *goal)
    Console().print(table)


if __name__ == "__main__":
    main()
