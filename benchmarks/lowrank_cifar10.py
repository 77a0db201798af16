"""Measured: the shipped CIFAR-10 network at half of its MACs by spatial SVD: accuracy before and after fine-tuning, latency.

    nice python benchmarks/lowrank_cifar10.py            some 10 minutes on two quiet cores; goes on after a kill

The 18 convolutions of the residual blocks are factorized; the first layer, the last one and the shortcuts (1.7% of the MACs)
are not. The recipe was set before, and nothing is chosen here; test is evaluated once. The fine-tuned network stays in build/,
so that a second start goes straight to the measurements: do that on a quiet machine. The interval of the loss is of the paired
difference over the test images, 95%, normal approximation; latency is in float32, with one thread.
"""

import argparse
import hashlib
import time
from pathlib import Path

import results
import torch
from intervals import correct, points
from recipes import CIFAR10
from rich.console import Console
from rich.table import Table

from tinyshrink import data, lowrank, metrics, models, training

RATIO = 0.49  # of each factorized layer: with what is not factorized, half of all MACs are kept
IGNORE = ("conv", "stage2.0.shortcut", "stage3.0.shortcut", "fc")
EPOCHS = 5
RECIPE = {"lr": 0.05, **CIFAR10}
BATCHES = (1, 32, 256)


def fine_tuned(model, cifar):
    """`model`, trained on in place; its state is kept in build/ under a fingerprint of its weights and the recipe."""
    digest = hashlib.sha256(repr((EPOCHS, RECIPE["lr"], RECIPE["weight_decay"], RECIPE["batch_size"])).encode())
    for weight in model.state_dict().values():
        digest.update(weight.numpy().tobytes())
    path = Path("build") / f"lowrank_cifar10-{digest.hexdigest()[:12]}.state"
    model.to(memory_format=torch.channels_last)
    history = training.train(model, cifar, EPOCHS, **RECIPE, checkpoint=path)
    print("validation after each epoch:", ", ".join(f"{epoch['accuracy']:.2%}" for epoch in history), flush=True)
    return model.to(memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def latencies(dense, small, images):
    """(Latency of dense, Latency of small, paired speedup) on a batch of images."""
    repeats = max(20, 200 // len(images))
    both = [metrics.latency(lambda: model(images), repeats=repeats, threads=1) for model in (dense, small)]  # noqa: B023
    return *both, metrics.paired_speedup(lambda: dense(images), lambda: small(images), repeats=repeats, threads=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    started, cifar = time.perf_counter(), data.load("cifar10")
    dense = models.load_pretrained("cifar10_cnn")
    cut = lowrank.factorize(dense, ratio=RATIO, scheme="spatial", metric="macs", ignore=IGNORE)
    macs = {name: metrics.count_macs(model, cifar.test.x[:1]) for name, model in (("dense", dense), ("cut", cut))}
    assert macs["cut"] <= macs["dense"] / 2, f"{macs} MACs are more than half"
    tuned = fine_tuned(lowrank.factorize(dense, ratio=RATIO, ignore=IGNORE), cifar)
    title = f"CifarCNN, spatial SVD at {macs['cut'] / macs['dense']:.1%} of the MACs, {EPOCHS} epochs of fine-tuning"
    table = Table("", "validation", "test", "loss on test, pp", "parameters", "million MACs", title=title)
    was_right, rows = correct(dense, cifar.test), []
    what = f"CIFAR-10 network by spatial SVD, {macs['cut'] / macs['dense']:.1%} of the MACs"
    for name, model in (("dense", dense), ("factorized", cut.eval()), ("fine-tuned", tuned)):
        right = correct(model, cifar.test)
        loss = points([was_right - right])
        costs = f"{metrics.count_parameters(model):,}", f"{metrics.count_macs(model, cifar.test.x[:1]) / 1e6:.1f}"
        table.add_row(name, f"{training.evaluate(model, cifar.validation):.2%}", f"{right.mean():.2%}", loss, *costs)
        if name != "dense":
            basis, note = f"dense, {was_right.mean():.2%}", f"{right.mean():.2%}, one run"
            minor = name != "fine-tuned"
            rows.append(results.row(f"{what}, {name}: loss", [was_right - right], "pp", anchor=basis, note=note, detail=minor))
    Console().print(table)
    table = Table("images at once", "dense, ms", "fine-tuned, ms", "speedup (paired)", title="Latency, one thread, float32")
    for batch in BATCHES:
        before, after, speedup = latencies(dense, tuned, cifar.test.x[:batch])
        table.add_row(str(batch), f"{before.median:.2f}", f"{after.median:.2f}", f"{speedup:.2f}x")
        claim = f"{what}: speed, batch of {batch}, one thread"
        rows.append(results.row(claim, speedup, "x", anchor="dense", detail=batch == 32))
    Console().print(table)
    results.record("05_lowrank", rows, Path("build").glob("lowrank_cifar10-*.state"))
    print(f"{macs['dense'] / macs['cut']:.2f}x fewer MACs. {(time.perf_counter() - started) / 60:.1f} minutes since this start")


if __name__ == "__main__":
    main()
