"""Claim: the shipped CIFAR-10 network, pruned and coded, takes 1/15 of its fp32 bytes and loses at most 2 pp.

    nice python benchmarks/deep_compression_cifar10.py      about 20 minutes on two quiet cores; goes on after a kill

models.load_pretrained("cifar10_cnn") teaches a copy of itself, which is pruned while it trains, all layers in one ranking. Then
the weights of each layer share 2**BITS values, whose centroids are tuned by the same teacher; what is left in fp32, BatchNorm,
is rounded to float16. The storage ratio is the fp32 bytes of the original weights and biases, without BatchNorm's running
statistics, over the bytes of the file, which has them too. The recipe was set before; the network that is loaded from the file
is evaluated on test once. The interval is of the paired difference over the test images, 95%, normal approximation.
"""

import argparse
import copy
import math
import time

import results
import torch
from deep_compression import Gradual
from intervals import correct, points
from recipes import CIFAR10, Report, state_folder
from rich.console import Console
from rich.table import Table

from tinyshrink import coding, data, distillation, metrics, models, packing, training

SPARSITY, EPOCHS, BITS = 0.85, 8, 4
RATIO, LOSS = 15, 0.02
TEACH = {**CIFAR10, "temperature": 4, "alpha": 0.9}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    started, cifar, folder = time.perf_counter(), data.load("cifar10"), state_folder(__file__)
    dense = models.load_pretrained("cifar10_cnn").to(memory_format=torch.channels_last)
    model = copy.deepcopy(dense)
    print(f"pruning to {SPARSITY:.0%}", flush=True)
    gradual = Gradual(SPARSITY, math.ceil(len(cifar.train.y) / CIFAR10["batch_size"]), until=0.6, every=50)
    options = {**TEACH, "lr": 0.05, "checkpoint": folder / "pruned.state", "callbacks": [gradual, Report()]}
    distillation.distill(model, dense, cifar, EPOCHS, **options)
    rows = [("dense", dense, ""), (f"pruned, {metrics.sparsity(model):.1%}", copy.deepcopy(model), "")]
    print(f"sharing at most {2**BITS} values a layer", flush=True)
    labels = coding.share_weights(model, BITS)
    rows.append((f"k-means, {BITS} bits", copy.deepcopy(model), ""))
    with labels.hold(model):
        optimizer = torch.optim.Adam(model.parameters(), 2e-4)
        options = {**TEACH, "checkpoint": folder / "tuned.state", "callbacks": [Report()], "optimizer": optimizer}
        distillation.distill(model, dense, cifar, 1, **options)
    size = packing.save(model.half().float().eval(), folder / "cifar10_cnn.tsh")
    loaded = packing.load(folder / "cifar10_cnn.tsh")
    rows.append(("centroids tuned, from the file", loaded, f"{size:,}"))
    table = Table("CifarCNN", "validation", "test", "bytes")
    right = {}
    for name, network, stored in rows:
        right[name] = correct(network, cifar.test)
        table.add_row(name, f"{training.evaluate(network, cifar.validation):.2%}", f"{right[name].mean():.2%}", stored)
    change = right["dense"] - right["centroids tuned, from the file"]
    ratio = 4 * metrics.count_parameters(dense) / size
    Console().print(table)
    result = Table("", "measured", "target", "")
    result.add_row("storage ratio", f"{ratio:.1f}x", f"at least {RATIO}x", "met" if ratio >= RATIO else "NOT met")
    verdict = "met" if change.mean() <= LOSS else "NOT met"
    result.add_row("loss, pp", points([change]), f"at most {100 * LOSS:g}", verdict)
    Console().print(result)
    what, basis = f"CIFAR-10 network, {SPARSITY:.0%} pruned, {BITS} bits, as a file", f"dense, {right['dense'].mean():.2%}"
    smaller = results.row(f"{what}: smaller", ratio, "x", least=RATIO, anchor="fp32 bytes")
    loss = results.row(f"{what}: loss", [change], "pp", most=LOSS, anchor=basis, note="one run")
    results.record("07_quantization", [smaller, loss], folder.glob("*.state"))
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes since the last start, {torch.get_num_threads()} thread(s)")


if __name__ == "__main__":
    main()
