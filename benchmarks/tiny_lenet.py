"""Claim: what LeNet-5 knows of MNIST goes into a file of 1/500 of its fp32 bytes, and less, at 0.83% test error.

    python benchmarks/tiny_lenet.py [--seeds 0 1]      goes on after a kill

A dense LeNet-5, trained as in deep_compression.py, answers COPIES distorted copies of the training images. A student of four
narrow convolutions learns these answers; its BatchNorm is folded. Then it learns on, rounded: each weight is a whole number of
steps (straight through). The step of a tensor is fixed, a multiple of its standard deviation. A coarse step, and a price of
each step in the loss, leave many zeros and few values, so few bits to the arithmetic coder.

ReLU lets a factor pass, so that each layer may have a unit of its own, in which its biases are whole numbers of 8 bits; that of
the last layer changes no answer. What is measured is the network loaded from the file.

The ratio is LeNet-5's fp32 bytes over those of the file, architecture and all. Every choice was made on validation images.
Published: MIRACLE, Havasi et al. 2018, https://arxiv.org/abs/1810.00440. Straight through: Bengio et al. 2013,
https://arxiv.org/abs/1308.3432. Distillation: Hinton et al. 2015, https://arxiv.org/abs/1503.02531.
"""

import argparse
import copy
import math
from dataclasses import replace

import intervals
import results
import torch
from deep_compression import BATCH, COPIES, TEACHER, warp
from recipes import Report, state_folder
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.utils import parametrize

from tinyshrink import data, distillation, metrics, models, packing, quantization, training

WIDTHS = 10, 16, 20, 20
TRAIN = {"batch_size": BATCH, "autocast": torch.bfloat16, "callbacks": [Report()]}
EPOCHS, LR = 3, 5e-3  # of all copies, by AdamW
ROUNDED_EPOCHS, ROUNDED_LR = 3, 2e-3  # by Adam
MOST = 7  # steps that a weight may have
POINTS = (  # name, step in standard deviations, price of a step; target: ratio, error. Each starts from the one before.
    ("fine", 1.0, 0.0, 500, 0.0083),
    ("coarse", 1.6, 2e-4, 1000, 0.0083),
)


def network(a, b, c, d):
    """The student, for images (N, 1, 28, 28): nothing but PyTorch's modules, which packing knows."""

    def block(*shape, **options):
        return nn.Conv2d(*shape, **options, bias=False), nn.BatchNorm2d(shape[1]), nn.ReLU()

    return nn.Sequential(
        *block(1, a, 5, stride=2, padding=2),  # (N, a, 14, 14)
        *block(a, b, 4, stride=2, padding=1),  # (N, b, 7, 7)
        *block(b, c, 3, padding=1),
        *block(c, d, 3),  # (N, d, 5, 5)
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(d, 10)),
    )


class Rounded(nn.Module):
    """A parametrization: the weight in whole steps, at most MOST of them, with the gradient of the weight itself."""

    def __init__(self, step):
        super().__init__()
        self.register_buffer("step", step)

    def integers(self, weight):
        return (weight / self.step).round().clamp(-MOST, MOST)

    def forward(self, weight):
        return weight + (self.integers(weight) * self.step - weight).detach()


def lessons(mnist, folder):
    """(data set, loss): distorted copies of the training images in bfloat16, and a network's loss to the teacher's answers."""
    torch.manual_seed(0)
    teacher = models.LeNet5().to(memory_format=torch.channels_last)
    training.train(teacher, mnist, **TEACHER, augment=warp, checkpoint=folder / "teacher.state", callbacks=[Report()])
    generator, parts = torch.Generator().manual_seed(0), mnist.train.x.split(1000)
    x = [part.bfloat16() for part in parts]
    x = torch.cat(x + [warp(part, generator, 0.5).bfloat16() for _ in range(COPIES - 1) for part in parts])
    labels = mnist.train.y.repeat(COPIES)
    with distillation.frozen(teacher), torch.autocast("cpu", torch.bfloat16):
        answers = torch.cat([teacher(part).float() for part in x.split(1000)])

    def loss(model, x, index):
        return distillation.distillation_loss(model(x).float(), answers[index], labels[index], temperature=2, alpha=0.9)

    return replace(mnist, train=data.Split(x, torch.arange(len(x)))), loss


def learned(copies, loss, state, seed):
    """A student, trained, without its BatchNorm."""
    torch.manual_seed(seed)
    model = network(*WIDTHS).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=1e-4)
    training.train(model, copies, EPOCHS, **TRAIN, optimizer=optimizer, loss=loss, checkpoint=state, seed=seed)
    folded = quantization.fold_batchnorm(model.eval())
    return nn.Sequential(*(layer for layer in folded if not isinstance(layer, nn.Identity)))


def rounded(model, coarseness, price, copies, loss, state, seed):
    """Train `model` on, in place, with weights that count in whole steps of `coarseness` standard deviations.

    Each step of a weight adds `price` to the loss. Returns the roundings of the layers.
    """
    for layer in layers(model):
        rounding = Rounded(coarseness * layer.weight.detach().std())
        parametrize.register_parametrization(layer, "weight", rounding)
    weights = [layer.parametrizations.weight for layer in layers(model)]

    def priced(model, x, index):
        return loss(model, x, index) + price * sum((part.original / part[0].step).abs().sum() for part in weights)

    optimizer = torch.optim.Adam(model.parameters(), ROUNDED_LR)
    training.train(model, copies, ROUNDED_EPOCHS, **TRAIN, optimizer=optimizer, loss=priced, checkpoint=state, seed=seed)
    roundings = [part[0] for part in weights]
    for layer in layers(model):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    return roundings


@torch.no_grad()
def in_units(model, roundings):
    """A copy of `model` with weights of few float16 numbers, biases from -127 to 127; its answers are right up to a factor."""
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()
    unit = 1.0  # what a 1 stands for in the numbers that come out of a layer: ReLU and pooling let a factor pass
    for layer, rounding in zip(layers(model), roundings):
        bias, step = layer.bias, unit * rounding.step.item()
        fraction, exponent = math.frexp(127 * step / bias.abs().max().item())
        factor = math.ldexp(round(256 * fraction), exponent - 8)  # of 8 bits: times MOST it is exact in float16
        unit = step / factor
        weight = rounding.integers(layer.weight) * factor
        del layer.weight, layer.bias  # into the order of a new layer, which the format knows
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter((bias / unit).round())
    return model


def layers(model):
    return [layer for layer in model if isinstance(layer, (nn.Conv2d, nn.Linear))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    seeds = parser.parse_args().seeds
    mnist, folder, material = data.load("mnist"), state_folder(__file__), None
    for seed in seeds:
        if all((folder / f"{name}-{seed}.tsh").exists() for name, *_ in POINTS):
            continue
        material = material or lessons(mnist, folder)
        model = learned(*material, folder / f"student-{seed}.state", seed)
        print(f"student {seed}: validation {training.evaluate(model, mnist.validation):.2%}", flush=True)
        for name, coarseness, price, *_ in POINTS:
            roundings = rounded(model, coarseness, price, *material, folder / f"{name}-{seed}.state", seed)
            small = in_units(model, roundings)
            size = packing.save(small, folder / f"{name}-{seed}.tsh")
            print(f"{name} {seed}: {size:,} bytes, validation {training.evaluate(small, mnist.validation):.2%}", flush=True)
    original = metrics.model_bytes(models.LeNet5())
    title = f"LeNet-5 on MNIST, {original:,} bytes of float32; a file is header, architecture and all"
    table = Table("rounding", "parameters", "seed", "bytes", "ratio", "validation error", "test error", "target", title=title)
    rows = []
    for name, _, _, least, most in POINTS:
        for seed in seeds:
            path = folder / f"{name}-{seed}.tsh"
            model, size = packing.load(path), path.stat().st_size
            wrong = 1 - intervals.correct(model, mnist.test)
            met = "met" if original / size >= least and float(wrong.mean()) <= most else "NOT met"
            parameters, validation = metrics.count_parameters(model), 1 - training.evaluate(model, mnist.validation)
            row = f"{parameters:,}", f"{seed}", f"{size:,}", f"{original / size:.0f}x", f"{validation:.2%}"
            table.add_row(name, *row, f"{intervals.points([wrong], '')}%", f"{least}x at {most:.2%}: {met}")
            what, basis = (
                f"LeNet-5 on MNIST as a file of its student's, {name}, seed {seed}",
                "MIRACLE, published: 1000x at 0.83%",
            )
            note, ratio = f"{size:,} bytes", original / size
            rows += [results.row(f"{what}: smaller", ratio, "x", least=least, anchor=basis, ratio=ratio / 1000, note=note)]
            rows += [results.row(f"{what}: error", [wrong], "%", most=most, anchor=basis, note=f"validation {validation:.2%}")]
    Console(width=120).print(table)
    results.record("07_quantization", rows, folder.glob("*.tsh"))


if __name__ == "__main__":
    main()
