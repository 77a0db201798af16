"""Claim: Deep Compression, from scratch, puts LeNet-300-100 into 1/140 and LeNet-5 into 1/280 of their fp32 bytes.

    nice python benchmarks/deep_compression.py [--seed 0]      under 20 minutes on two quiet cores; goes on after a kill

A dense LeNet-5, trained on distorted digits, teaches all networks here. Its answers to COPIES distorted copies of the training
images are computed once. A network is pruned by magnitude while it learns them, weights and biases in one ranking. Then the
weights of each tensor share 2**bits values (k-means), whose centroids are tuned by the same loss, rounded to float16, packed.

The storage ratio is the fp32 bytes of the original weights and biases over the bytes of the file. Errors are those of the
network loaded from that file, on the 10,000 test images, with a 95% interval (normal approximation). Every choice was made on
the validation images. Published: Han et al. 2016, https://arxiv.org/abs/1510.00149 (Deep Compression); Ullrich et al. 2017,
https://arxiv.org/abs/1702.04008 (soft weight-sharing).
"""

import argparse
import copy
import math
import time
from dataclasses import replace

import results
import torch
import torch.nn.functional as F
from recipes import state_folder
from rich.console import Console
from rich.table import Table

from tinyshrink import coding, data, distillation, magnitude, metrics, models, packing, training

COPIES, BATCH = 6, 128
TEACHER = {"epochs": 15, "lr": 0.03, "weight_decay": 5e-4, "batch_size": BATCH, "autocast": torch.bfloat16}
PRUNE = {"weight_decay": 1e-4, "batch_size": BATCH, "autocast": torch.bfloat16}
TUNE = {"epochs": 1, "batch_size": BATCH, "autocast": torch.bfloat16}  # by Adam
LR = {models.LeNet300: 0.05, models.LeNet5: 0.02}
EPOCHS = {models.LeNet300: 4, models.LeNet5: 3}  # of all copies
PLAN = (  # network, sparsity, bits; target: ratio, error; published
    (models.LeNet300, 0.97, 3, 100, 0.0164, "40x at 1.58%"),
    (models.LeNet300, 0.98, 3, 140, 0.0194, "64x at 1.94%"),
    (models.LeNet5, 0.98, 3, 180, 0.0080, "39x at 0.74%"),
    (models.LeNet5, 0.988, 3, 280, 0.0097, "162x at 0.97%"),
)
CURVE = (1, 2, 3, 4, 5, 8)  # bits


def warp(x, generator, strength=1.0):
    """Distort each image of x (N, C, H, W): turn (15 degrees), zoom and shear (15%), shift (2 pixels), bend (1.4 pixels)."""

    def draw(most, *shape):
        return strength * most * (2 * torch.rand(len(x), *shape, generator=generator) - 1)

    angle, lean = draw(math.radians(15)), draw(0.15)
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    leaning = torch.eye(2) + lean[:, None, None] * torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    matrix = turned @ leaning @ torch.diag_embed(1 + draw(0.15, 2))
    grid = F.affine_grid(torch.cat([matrix, draw(4 / x.shape[-1], 2, 1)], 2), x.shape, align_corners=False)  # (N, H, W, 2)
    bent = F.interpolate(draw(0.1, 2, 5, 5), x.shape[-2:], mode="bilinear", align_corners=True)
    return F.grid_sample(x, grid + bent.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def sizes(model):
    """{name: |value|} of all parameters, the biases too."""
    return {name: parameter.detach().abs() for name, parameter in model.named_parameters()}


class Gradual:
    """A callback of training.train that prunes the model up to `sparsity`, on a cubic schedule, while it trains.

    `steps` is that of an epoch, `until` the fraction of the training at which the sparsity is reached; `scores`, a function
    from the model to {name: scores}, says what can go. What was pruned shows in the weights, so a run that was killed goes on.
    """

    def __init__(self, sparsity, steps, scores=magnitude.weight_scores, until=0.75, every=100):
        self.sparsity, self.steps, self.scores, self.until, self.every = sparsity, steps, scores, until, every
        self.masks = None

    def before_epoch(self, run):
        self.step = run.epoch * self.steps

    def after_step(self, run):
        self.step += 1
        if self.masks is None or self.step % self.every == 0:
            progress = min(1, self.step / (self.until * run.epochs * self.steps))
            level = magnitude.polynomial(0, self.sparsity, progress)
            self.masks = magnitude.global_masks(self.scores(run.model), level)
        magnitude.apply_masks(run.model, self.masks)


def lessons(mnist, folder, seed):
    """(teacher, data set, loss): distorted copies of the training images, the loss of a network to the teacher's answers."""
    torch.manual_seed(seed)
    teacher = models.LeNet5().to(memory_format=torch.channels_last)
    options = {**TEACHER, "augment": warp, "checkpoint": folder / "teacher.state", "seed": seed}
    training.train(teacher, mnist, **options)
    generator = torch.Generator().manual_seed(seed)
    parts = mnist.train.x.split(1000)
    x = torch.cat([mnist.train.x, *(warp(part, generator, 0.5) for _ in range(COPIES - 1) for part in parts)])
    labels = mnist.train.y.repeat(COPIES)
    with distillation.frozen(teacher), torch.autocast("cpu", torch.bfloat16):
        answers = torch.cat([teacher(part).float() for part in x.split(1000)])

    def loss(model, x, index):
        return distillation.distillation_loss(model(x), answers[index], labels[index], temperature=4, alpha=0.9)

    return teacher, replace(mnist, train=data.Split(x, torch.arange(len(x)))), loss


def pruned(network, sparsity, teacher, copies, loss, state, seed):
    """A `network`, pruned while it learns from the teacher; LeNet-5 starts as the teacher, the others untrained."""
    torch.manual_seed(seed)
    model = copy.deepcopy(teacher) if network is type(teacher) else network()
    gradual = Gradual(sparsity, math.ceil(len(copies.train.y) / BATCH), sizes)
    options = {**PRUNE, "loss": loss, "callbacks": [gradual], "checkpoint": state, "seed": seed}
    training.train(model, copies, EPOCHS[network], lr=LR[network], **options)
    return model


def shared(model, bits, copies, loss, state, seed, tune=True):
    """A copy of `model` whose tensors have at most 2**bits values each, tuned by the loss, in float16."""
    model = copy.deepcopy(model)
    labels = coding.share_weights(model, {name: bits for name, _ in model.named_parameters()})
    if tune:
        few = replace(copies, train=data.Split(*(part[: len(part) // 3] for part in copies.train)))
        with labels.hold(model):
            optimizer = torch.optim.Adam(model.parameters(), 5e-4)
            training.train(model, few, **TUNE, optimizer=optimizer, loss=loss, checkpoint=state, seed=seed)
    return model.half().float().eval()


def packed(model, path, split):
    """(bytes of the file, error of the network loaded from it on a split)."""
    size = packing.save(model, path)
    return size, 1 - training.evaluate(packing.load(path), split)


def with_interval(error, count):
    """An error rate of `count` images with its 95% interval, as text."""
    return f"{100 * error:.2f} ± {196 * math.sqrt(error * (1 - error) / count):.2f}%"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    started, mnist, folder = time.perf_counter(), data.load("mnist"), state_folder(__file__) / str(seed)

    def report(text):
        print(f"{(time.perf_counter() - started) / 60:5.1f} min  {text}", flush=True)

    teacher, copies, loss = lessons(mnist, folder, seed)
    report(f"teacher, a dense LeNet-5: validation {training.evaluate(teacher, mnist.validation):.2%}")
    files, networks = [], []
    for network, sparsity, bits, *_ in PLAN:
        name = f"{network.__name__}-{sparsity:g}-{bits}"
        model = pruned(network, sparsity, teacher, copies, loss, folder / f"{name}.state", seed)
        report(f"{name}: pruned, validation {training.evaluate(model, mnist.validation):.2%}")
        tuned = shared(model, bits, copies, loss, folder / f"{name}-tuned.state", seed)
        report(f"{name}: shared, validation {training.evaluate(tuned, mnist.validation):.2%}")
        networks.append(model)
        files.append((tuned, folder / f"{name}.tsh"))
    rows = []
    table = Table("network", "bytes", "ratio", "test error", "target", "published", title="bytes of the file, header and all")
    for (network, sparsity, bits, least, most, published), (model, path) in zip(PLAN, files):
        size, error = packed(model, path, mnist.test)
        ratio = metrics.model_bytes(network()) / size
        met = "met" if ratio >= least and error <= most else "NOT met"
        shown, target = with_interval(error, len(mnist.test.y)), f"{least}x at {most:.2%}: {met}"
        recipe = f"{network.__name__}, {sparsity:.1%} pruned, {bits} bits"
        table.add_row(recipe, f"{size:,}", f"{ratio:.0f}x", shown, target, published)
        what, half = f"{recipe}, as a packed file on MNIST", 1.96 * math.sqrt(error * (1 - error) / len(mnist.test.y))
        basis, times = f"published: {published}", float(published.split("x")[0])
        rows += [results.row(f"{what}: smaller", ratio, "x", least=least, anchor=basis, ratio=ratio / times)]
        rows += [results.row(f"{what}: error", error, "%", half=half, most=most, anchor=basis, note="one seed")]
    Console().print(table)
    curve = Table("bits", "bytes", "k-means alone", "centroids tuned", title="LeNet-300-100 of the first row, test error")
    for bits in CURVE:
        alone = shared(networks[0], bits, copies, loss, None, seed, tune=False)
        tuned = shared(networks[0], bits, copies, loss, folder / f"curve-{bits}.state", seed)
        report(f"curve: {bits} bits")
        (_, before), (size, after) = (packed(model, folder / "curve.tsh", mnist.test) for model in (alone, tuned))
        curve.add_row(f"{bits}", f"{size:,}", *(with_interval(error, len(mnist.test.y)) for error in (before, after)))
        what, half = f"LeNet-300-100, k-means of {bits} bits, tuned: error", 1.96 * math.sqrt(after * (1 - after) / 10_000)
        rows += [
            results.row(what, after, "%", half=half, anchor=f"not tuned, {before:.2%}", ratio=after / before, detail=bits != 2)
        ]
    Console().print(curve)
    results.record("07_quantization", rows, folder.glob("*.state"))
    report(f"in all since the last start, {time.process_time() / 60:.1f} of CPU time, {torch.get_num_threads()} thread(s)")


if __name__ == "__main__":
    main()
