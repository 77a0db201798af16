"""The stages of a pipeline: each compresses a network by one module of the course, and trains what is left.

Every stage but Distill changes the network it is given; all are taught by the network that the pipeline started from (Hinton et
al. 2015, https://arxiv.org/abs/1503.02531; for quantized networks Polino et al. 2018, https://arxiv.org/abs/1802.05668).
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from pathlib import Path

import torch
from torch import nn

from . import coding, distillation, lowrank, magnitude, metrics, quantization, structured, training
from .data import Dataset


def _option(sound: Callable, expected: str, default=MISSING, **settings):
    """A field of a stage whose value must be `sound`; the error says what was `expected`."""
    return field(default=default, metadata={"sound": sound, "expected": expected}, **settings)


def _fraction():
    return _option(lambda value: 0 < value < 1, "between 0 and 1, both excluded: else nothing is done, or nothing left")


def _bits(low, default):
    return _option(lambda value: value in range(low, 9), f"a whole number from {low} to 8", default)


def _epochs(default):
    return _option(lambda value: value in range(10**6), "a whole number, 0 or more", default, kw_only=True)


def _lr(default):
    return _option(lambda value: 0 < value < math.inf, "above 0", default, kw_only=True)


@dataclass(frozen=True)
class Stage:
    """One compression and the training after it: `epochs` at the learning rate `lr`, 0 for none.

    Raises TypeError for an unknown option, with the nearest known one, and ValueError for a value out of range.
    """

    epochs: int = _epochs(8)
    lr: float = _lr(0.02)

    def __new__(cls, *values, **options):
        for name in options:
            if name not in cls.__dataclass_fields__:
                near = difflib.get_close_matches(name, cls.__dataclass_fields__, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(cls.__dataclass_fields__)}"
                raise TypeError(f"{cls.__name__} has no option {name!r}: {hint}")
        return super().__new__(cls)

    def __post_init__(self):
        for name, option in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if "sound" in option.metadata and not option.metadata["sound"](value):
                raise ValueError(f"{type(self).__name__}: {name} must be {option.metadata['expected']}, got {value!r}")

    def __str__(self):
        """The stage with what is not as it is by default, such as Prune(0.9, epochs=4)."""
        options = [option for option in self.__dataclass_fields__.values() if getattr(self, option.name) != option.default]
        options.sort(key=lambda option: option.kw_only)
        texts = [f"{f'{option.name}=' if option.kw_only else ''}{getattr(self, option.name)!r}" for option in options]
        return f"{type(self).__name__}({', '.join(texts)})"

    def apply(self, model: nn.Module, job: "Job") -> nn.Module:
        """The model after this stage; the given one may be changed. `job.train` trains, in the rehearsal it does not."""
        raise NotImplementedError


@dataclass(frozen=True)
class Distill(Stage):
    """A new, smaller student of the same class (distillation.scale_model), with at most `parameters`, learns from scratch."""

    epochs: int = _epochs(20)
    lr: float = _lr(0.05)
    parameters: int = _option(lambda value: isinstance(value, int) and value > 0, "a whole number above 0")

    def apply(self, model, job):
        with torch.random.fork_rng():
            torch.manual_seed(job.options.get("seed", 0))
            student = distillation.scale_model(model, self.parameters)
        job.train(student, self)
        return student


@dataclass(frozen=True)
class PruneChannels(Stage):
    """The fraction `amount` of the channels of each group goes for good (structured.prune_channels)."""

    amount: float = _fraction()

    def apply(self, model, job):
        smaller = structured.prune_channels(model, job.example[:2], self.amount)
        job.train(smaller, self)
        return smaller


@dataclass(frozen=True)
class Factorize(Stage):
    """Two thin layers in place of each, at the share `ratio` of its MACs (lowrank.factorize)."""

    ratio: float = _fraction()

    def apply(self, model, job):
        smaller = lowrank.factorize(model, ratio=self.ratio)
        job.train(smaller, self)
        return smaller


@dataclass(frozen=True)
class Prune(Stage):
    """The smallest weights, the fraction `sparsity` in one ranking of all layers, become zero while the network trains."""

    sparsity: float = _fraction()

    def apply(self, model, job):
        job.train(model, self, callbacks=[Gradual(self.sparsity, job)])
        magnitude.prune(model, self.sparsity)
        return model


@dataclass(frozen=True)
class Quantize(Stage):
    """Weights and activations become integers, trained through the rounding; one scale a tensor unless `per_channel`.

    One scale costs fewer bytes and lets Code share the integers of a whole tensor, several are more exact.
    """

    epochs: int = _epochs(3)
    lr: float = _lr(0.005)
    bits: int = _bits(2, 8)
    activation_bits: int = _bits(2, 8)
    per_channel: bool = False

    def apply(self, model, job):
        calibration, options = job.data.train.x[:512].to(job.example.device), {"per_channel": self.per_channel}
        prepared = quantization.prepare_qat(model, calibration, self.bits, self.activation_bits, **options)
        job.train(prepared, self)
        return prepared


@dataclass(frozen=True)
class Code(Stage):
    """The nonzero weights of a tensor share at most 2**bits values, tuned by Adam; floats that are left become float16."""

    epochs: int = _epochs(3)
    lr: float = _lr(2e-4)
    bits: int = _bits(1, 4)

    def apply(self, model, job):
        with coding.share_weights(model, self.bits).hold(model):
            job.train(model, self, optimizer=torch.optim.Adam(model.parameters(), self.lr))
        return model if quantized(model) else model.half().float()


class Gradual:
    """A callback that prunes up to `sparsity` on the cubic schedule, over the first 60% of a training.

    What is pruned shows in the weights, so a training that was killed goes on.
    """

    def __init__(self, sparsity, job):
        self.sparsity, self.masks = sparsity, {}
        self.steps = math.ceil(len(job.data.train.y) / job.options.get("batch_size", 64))  # of an epoch

    def before_epoch(self, run):
        self.step = run.epoch * self.steps

    def after_step(self, run):
        self.step += 1
        if not self.masks or self.step % 20 == 0:
            progress = min(1, self.step / (0.6 * run.epochs * self.steps))
            level = magnitude.polynomial(0, self.sparsity, progress)
            self.masks = magnitude.global_masks(magnitude.weight_scores(run.model), level)
        magnitude.apply_masks(run.model, self.masks)


@dataclass
class Job:
    """What a stage is given: the data, an example batch, the teacher, and `train`, which keeps zeros at zero."""

    data: Dataset
    example: torch.Tensor
    teacher: nn.Module
    options: dict
    temperature: float
    alpha: float
    checkpoint: Path | None = None  # None: the rehearsal

    def train(self, model: nn.Module, stage: Stage, **options) -> None:
        """Train `model` in place as the stage asks. Weights that are exactly zero stay so: masks survive every later stage."""
        if self.checkpoint is None or stage.epochs == 0:
            return
        zeros = {name: weight != 0 for name, weight in metrics.weights(model).items() if not weight.all()}
        callbacks = [*self.options.get("callbacks", ()), *options.pop("callbacks", ())]
        options = self.options | {"lr": stage.lr, "checkpoint": self.checkpoint, "callbacks": callbacks} | options
        with magnitude.Masks(zeros).hold(model):
            if self.alpha:
                options |= {"temperature": self.temperature, "alpha": self.alpha}
                distillation.distill(model, self.teacher, self.data, stage.epochs, **options)
            else:
                training.train(model, self.data, stage.epochs, **options)


def quantized(model):
    return any(isinstance(module, quantization.FakeQuantized) for module in model.modules())


def shipped(model):
    """The network as it goes into the file: integers in place of the errors of quantization."""
    return quantization.convert(model) if quantized(model) else model.eval()
