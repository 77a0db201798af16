"""Claim: one global ranking of 10 million weights is at least 6x faster than torch.nn.utils.prune.global_unstructured.

    python benchmarks/global_masks.py [--threads 1] [--repeats 9]

Both get the same model, ten Linear(1000, 1000), and must choose the same mask, which is checked each time. The model is
copied before each call, outside the clock; the two run in turn, with the same threads, and the speedup is the median of
the paired ratios. global_unstructured scores, ranks, makes the masks, and attaches them: weight_orig, weight_mask, a hook
and the masked weight in each layer. Two jobs of ours stand against it, the second of which does as much:

- choose: |weight| and global_masks, which chooses and changes nothing;
- prune: magnitude.prune, which looks for NaN, scores, ranks, makes the masks, and sets the weights to zero in place.

The magnitudes are distinct, so that there is only one right mask. A second table times magnitude_mask on one thread.
Run it on a quiet machine: other programs slow both sides, but not by the same factor.
"""

import argparse
import copy
import functools
import statistics

import results
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
    model, met, rows = make_model(), {True: "yes", False: "NO"}, []
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    columns = ("job", "sparsity", "PyTorch", "ours", "speedup", "range", "target", "met")
    table = Table(*columns, title=f"global_unstructured against ours, {options.repeats} pairs, {threads}, same masks")
    for job, ours in (("choose", choose), ("prune", magnitude.prune)):
        for sparsity in SPARSITIES:
            with metrics.torch_threads(options.threads):
                pair(ours, model, sparsity)  # warm-up
                pairs = [pair(ours, model, sparsity) for _ in range(options.repeats)]
            ratios = [theirs / mine for theirs, mine in pairs]
            medians = [f"{statistics.median(column):.3f} s" for column in zip(*pairs)]
            speedup, spread = statistics.median(ratios), f"{min(ratios):.1f}-{max(ratios):.1f}"
            verdict = (f">= {TARGET}x", met[speedup >= TARGET])
            table.add_row(job, f"{sparsity:.0%}", *medians, f"{speedup:.1f}x", spread, *verdict)
            name = "global_masks" if job == "choose" else "magnitude.prune"
            what = f"{name} of 10 million weights at {sparsity:.0%}, {threads}, against torch.nn.utils.prune, same masks"
            options = {"anchor": "torch.nn.utils.prune.global_unstructured", "note": f"{spread}", "detail": sparsity != 0.9}
            rows.append(results.row(what, speedup, "x", least=TARGET, **options))
    Console().print(table)
    scores = torch.cat([layer.weight.detach().abs().flatten() for layer in model])
    table = Table("sparsity", "median", "middle half", "target", "met", title="magnitude_mask of all scores, 1 thread")
    for sparsity in SPARSITIES:
        rank = functools.partial(magnitude.magnitude_mask, scores, sparsity)
        time, low, high = (ms / 1000 for ms in metrics.latency(rank, repeats=options.repeats, threads=1))
        verdict = (f"under {TARGET_SECONDS} s", met[time < TARGET_SECONDS])
        table.add_row(f"{sparsity:.0%}", f"{time:.3f} s", f"{low:.3f}-{high:.3f} s", *verdict)
        what = f"magnitude_mask of 10 million scores at {sparsity:.0%}, one thread"
        rows.append(results.row(what, time, "s", most=TARGET_SECONDS, detail=sparsity != 0.9))
    Console().print(table)
    print(f"{scores.numel():,} weights")
    results.record("02_magnitude", rows)


if __name__ == "__main__":
    main()
