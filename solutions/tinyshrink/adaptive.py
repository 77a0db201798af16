"""Adaptive compression: search for the highest rate whose accuracy stays within a budget, training all the while.

The rate goes up while the accuracy is good and down while it is not; whenever the direction turns, the step shrinks; when
the step is too small, the best snapshot is the result. The loop knows a model only through a Runner, so it works with any
training loop. Source: the adaptive compression level training of NNCF (Kozlov et al. 2020, https://arxiv.org/abs/2002.08679),
https://github.com/openvinotoolkit/nncf, whose configuration file is read here.
"""

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from . import adaptive_config, adaptive_runners, files, plots

AdaptiveConfig = adaptive_config.AdaptiveConfig
make_runner = adaptive_runners.make_runner

TOLERANCE = 1e-9  # of an accuracy against the smallest tolerable one, and of steps and rates against each other


class Runner(Protocol):
    """What the search knows of a model: any class with these names will do."""

    max_rate: float  # the highest rate that the algorithm can reach
    rate: float  # the rate in force; setting it compresses to that rate, and ends the user's schedule

    def train_epoch(self) -> None: ...

    def validate(self) -> float: ...  # higher is better

    def snapshot(self) -> object: ...  # weights, masks, optimizer; for a checkpoint of tensors, numbers, strings, lists, dicts

    def restore(self, snapshot) -> None: ...

    def reset_optimizer(self, lr_factor: float) -> None: ...  # a new one, with this factor of the first learning rate


class Move(NamedTuple):
    """Where a search stands: the rate, the size of its step, its direction (0 at first, then 1 up or -1 down).

    `final`: the rate is max_rate in place of a higher one, and the search ends there.
    """

    rate: float
    step: float
    direction: int = 0
    final: bool = False


def smallest_tolerable(original: float, absolute: float | None = None, relative: float | None = None) -> float:
    """The lowest accuracy that is still allowed, given exactly one of two allowed drops.

    Arguments: original, the accuracy before compression; absolute, a drop in the unit of the accuracy (0.01 of a fraction is
    one percentage point); relative, a drop in percent *of the original*. Raises ValueError for none or both of them, and for
    a relative one of an original that is not above 0.

    Example: from 0.8, absolute 0.01 allows 0.79, and relative 1 allows 0.792.
    """
    if (absolute is None) == (relative is None):
        raise ValueError(f"give exactly one of absolute and relative, got {absolute} and {relative}")
    if relative is not None and original <= 0:
        raise ValueError(f"percent of an accuracy of {original} mean nothing: give an absolute drop")
    return original - absolute if relative is None else original * (1 - relative / 100)


def is_good(accuracy: float, smallest: float) -> bool:
    """Whether the budget, accuracy - smallest, is not negative; 1e-9 is allowed for rounding."""
    return accuracy - smallest >= -TOLERANCE


def next_move(move: Move, good: bool, factor: float = 0.5) -> Move:
    """One step of the search: where to go from a rate that was good, or was not.

    Up from a good rate, down from a bad one. If the direction turned against that of `move`, the step is multiplied by
    `factor` first; the first move of all turns nothing. The new rate is rounded to 9 digits, so that one that is met again
    is recognized. Nothing is clipped here.

    Example: from Move(0.5, 0.1, 1), bad, to Move(0.45, 0.05, -1); bad again, to Move(0.4, 0.05, -1).
    """
    direction = 1 if good else -1
    step = move.step * factor if move.direction == -direction else move.step
    return Move(round(move.rate + direction * step, 9) + 0.0, step, direction)


def next_untried(
    move: Move, tried: Mapping[float, bool], factor: float = 0.5, minimal_step: float = 0.025, max_rate: float = 1.0
) -> Move | None:
    """The next move whose rate is worth training, or None when the search is over.

    A rate that was tried is not trained again: `tried` {rate: whether it was good}, which holds move.rate, tells what would
    come out, and the search moves on from there at once. It is over when the step is smaller than minimal_step (with a
    tolerance of 1e-9), or the rate below 0. A rate above max_rate becomes max_rate, with final=True; if that was tried, the
    search is over.

    Example: from Move(0.45, 0.05, -1), bad, with 0.4 known as good: not 0.4 but Move(0.425, 0.025, 1).
    Hint: a loop around next_move.
    """
    while True:
        move = next_move(move, tried[move.rate], factor)
        if move.step < minimal_step - TOLERANCE or move.rate < 0:
            return None
        if move.rate > max_rate:
            return None if max_rate in tried else move._replace(rate=max_rate, final=True)
        if move.rate not in tried:
            return move


def keep_snapshot(rate: float, accuracy: float, best: tuple[float, float] | None, smallest: float) -> bool:
    """Whether a model of this rate and accuracy takes the place of the best one so far, `best` (rate, accuracy) or None.

    It must be good, as is_good says; then the higher rate wins, and among equal rates the higher accuracy.

    Example: with smallest 0.89, (0.3, 0.90) takes the place of (0.2, 0.95), and (0.4, 0.88) never does.
    """
    return is_good(accuracy, smallest) and (best is None or (rate, accuracy) > best)


@dataclass
class AdaptiveResult:
    """What a search found; `history` holds (rate, accuracy) of each epoch that was validated, `epochs` counts all."""

    rate: float | None
    accuracy: float | None
    epochs: int
    history: list[tuple[float, float]]
    smallest: float

    def plot(self, title: str = ""):
        """The rate and the budget epoch by epoch, and the budget against the rate."""
        return plots.adaptive_search(self.history, self.smallest, title=title)


class NoFeasibleRate(RuntimeError):
    """No rate was good; `history` holds (rate, accuracy) of each epoch, and the message the closest miss."""

    def __init__(self, history: list[tuple[float, float]], smallest: float = math.nan):
        self.history = history
        rate, accuracy = max(history, key=lambda entry: entry[::-1], default=(math.nan, math.nan))
        super().__init__(
            f"no rate reached the smallest tolerable accuracy {smallest:.4g}: the closest miss is rate {rate:.4g} with "
            f"{accuracy:.4g}. The model is as it was. Allow a larger degradation, start lower, or train with more patience"
        )


class AdaptiveCompression:
    """The search for the highest rate within the budget of a configuration; see the module's docstring.

    With `checkpoint` (a path) all is written after each epoch, and a search that was killed goes on there. `on_epoch` is
    called after each epoch with the AdaptiveResult so far (rate None while nothing was good), to draw it live for example.
    """

    def __init__(
        self,
        config: AdaptiveConfig,
        checkpoint: str | os.PathLike | None = None,
        on_epoch: Callable[[AdaptiveResult], object] | None = None,
    ):
        self.config, self.checkpoint, self.on_epoch = config, checkpoint, on_epoch

    def run(self, runner: Runner, original_accuracy: float | None = None) -> AdaptiveResult:
        """Search with `runner`, which in the end holds the best snapshot, in place.

        Without original_accuracy the runner is validated once before anything is trained. What a schedule passes on its way
        in the initial phase is no part of the search: the history starts at the rate in force when that phase ends.

        Raises NoFeasibleRate, after the original was put back; ValueError for an accuracy that is not finite and a
        checkpoint of another search; and what the runner raises, with all finished epochs in the checkpoint.
        """
        config, every = self.config, self.config.validate_every_n_epochs
        journal = _Journal(self, runner, original_accuracy)
        initial = config.initial_training_phase_epochs
        for epoch in range(1, max(initial, 1) + 1):
            journal.epoch(epoch % every == 0 or epoch >= initial, train=initial > 0)
        journal.start_search()
        rate, accuracy = journal.history[-1][0], max(accuracy for _, accuracy in journal.history)
        tried = {rate: is_good(accuracy, journal.smallest)}
        move = Move(rate, config.initial_compression_rate_step)
        factor = config.compression_rate_step_reduction_factor
        while journal.epochs < config.maximal_total_epochs and not move.final:
            move = next_untried(move, tried, factor, config.minimal_compression_rate_step, runner.max_rate)
            if move is None:
                break
            turns = round(math.log(move.step / config.initial_compression_rate_step, factor))
            journal.set_rate(move.rate, config.lr_reduction_factor**turns)
            tried[move.rate] = False
            for epoch in range(1, config.patience_epochs + 1):
                last = epoch == config.patience_epochs or journal.epochs + 1 >= config.maximal_total_epochs
                accuracy = journal.epoch(epoch % every == 0 or last)
                tried[move.rate] |= accuracy is not None and is_good(accuracy, journal.smallest)
                if last or (config.advance == "early" and tried[move.rate]):
                    break
        return journal.finish(reached_the_end=move is not None and move.final)


class _Journal:
    """A search's epochs, each trained or, up to where a killed run had come, read again; snapshots and the checkpoint.

    Every decision of a search follows from its epochs. So only they are stored, and a resumed search takes the same
    decisions again, in no time, until it meets an epoch that is not there yet.
    """

    def __init__(self, search, runner, original):
        self.search, self.runner = search, runner
        self.entries, self.position, self.skipped = [], 0, 0  # [rate, accuracy or None, trained] of each epoch
        self.best, self.snapshots = None, {}
        self.settings = [search.config.settings, original, getattr(runner, "fingerprint", None)]
        if search.checkpoint is not None and Path(search.checkpoint).exists():
            self._load()
        else:
            self.snapshots["original"] = runner.snapshot()
            self.original = self._accuracy(runner.validate() if original is None else original)
        self.live = not self.entries
        config = search.config
        drops = config.maximal_absolute_accuracy_degradation, config.maximal_relative_accuracy_degradation
        self.smallest = smallest_tolerable(self.original, *drops)

    @property
    def epochs(self):
        return sum(trained for _, _, trained in self.entries[: self.position])

    @property
    def history(self):
        entries = self.entries[self.skipped : self.position]
        return [(rate, accuracy) for rate, accuracy, _ in entries if accuracy is not None]

    def epoch(self, validate, train=True):
        """The accuracy of the next epoch, or None where it is not validated."""
        if self.position == len(self.entries):
            self._go_live()
            if train:
                self.runner.train_epoch()
            rate = round(self.runner.rate, 9) if self.runner.rate != self.runner.max_rate else self.runner.max_rate
            accuracy = self._accuracy(self.runner.validate()) if validate else None
            if accuracy is not None and keep_snapshot(rate, accuracy, self.best, self.smallest):
                self.best, self.snapshots["best"] = (rate, accuracy), self.runner.snapshot()
            self.entries.append([rate, accuracy, train])
            if self.search.checkpoint is not None:
                self.snapshots["current"] = self.runner.snapshot()
                self._save()
        self.position += 1
        if self.search.on_epoch is not None and self.history:
            self.search.on_epoch(self.result())
        return self.entries[self.position - 1][1]

    def start_search(self):
        """Leave out what a schedule passed on its way to the rate now in force."""
        rate = self.entries[self.position - 1][0]
        while self.entries[self.skipped][0] != rate:
            self.skipped += 1
        if self.position == len(self.entries) and self.best is not None and self.best[0] != rate:
            self.best = None

    def set_rate(self, rate, lr_factor):
        if self.position == len(self.entries):
            self._go_live()
            self.runner.rate = rate
            self.runner.reset_optimizer(lr_factor)

    def result(self):
        return AdaptiveResult(*(self.best or (None, None)), self.epochs, self.history, self.smallest)

    def finish(self, reached_the_end):
        """Put the best snapshot back into the runner, or the original."""
        if self.best is None:
            self.runner.restore(self.snapshots["original"])
            raise NoFeasibleRate(self.history, self.smallest)
        values = [self.original, *(accuracy for _, accuracy in sorted(dict(self.history).items()))]
        if reached_the_end and len(values) > 3 and all(low < high for low, high in zip(values, values[1:])):
            warnings.warn(f"the accuracy only rises with the rate, {values}: is it a loss? Give its negative", stacklevel=4)
        self.runner.restore(self.snapshots["best"])
        return self.result()

    def _accuracy(self, value):
        if not math.isfinite(value):
            raise ValueError(f"an accuracy must be a finite number, got {value} in epoch {len(self.entries) + 1}")
        return float(value)

    def _go_live(self):
        if not self.live:
            self.runner.restore(self.snapshots["current"])
            self.live = True

    def _save(self):
        tensors = {}
        state = {name: getattr(self, name) for name in ("settings", "original", "entries", "best")}
        state["snapshots"] = _encode(self.snapshots, tensors)
        with files.whole(self.search.checkpoint) as part:
            save_file(tensors, part, metadata={"search": json.dumps(state)})

    def _load(self):
        path = self.search.checkpoint
        try:
            with safe_open(path, "pt") as file:
                state = json.loads(file.metadata()["search"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is no checkpoint of a search ({error}): delete it, or name another file") from error
        if state["settings"] != json.loads(json.dumps(self.settings)):
            raise ValueError(
                f"{path} is of another search, {state['settings']}, not {self.settings}: delete it, or name another file"
            )
        self.original, self.entries = state["original"], state["entries"]
        self.best = None if state["best"] is None else tuple(state["best"])
        self.snapshots = _decode(state["snapshots"], tensors)


def _encode(value, tensors):
    """`value` as JSON can hold it, with its tensors put into `tensors`."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list" if isinstance(value, list) else "tuple": [_encode(item, tensors) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"a snapshot holds a {type(value).__name__}: for a checkpoint it must be of tensors, numbers, strings, lists and dicts"
    )


def _decode(value, tensors):
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    items = [_decode(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
