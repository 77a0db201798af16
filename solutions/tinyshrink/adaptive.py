"""Adaptive compression: search for the highest rate whose accuracy stays within a budget, training all the while.

The rate goes up while the accuracy is good and down while it is not; whenever the direction turns, the step shrinks; when
the step is too small, the best snapshot is the result. The loop knows a model only through a Runner, so it works with any
training loop. Source: the adaptive compression level training of NNCF (Kozlov et al. 2020, https://arxiv.org/abs/2002.08679),
https://github.com/openvinotoolkit/nncf, whose configuration file is read here.
"""

import copy
import difflib
import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from . import channel_plan, files, magnitude, plots, quantization, structured, training

TOLERANCE = 1e-9  # of an accuracy against the smallest tolerable one, and of steps and rates against each other
REQUIRED = object()
KEYS = {  # key: (default, what it must be, whether it is)
    "maximal_relative_accuracy_degradation": (None, "a number of percent, 0 to 100", lambda v: 0 <= v <= 100),
    "maximal_absolute_accuracy_degradation": (None, "a number, 0 or more", lambda v: 0 <= v < math.inf),
    "initial_training_phase_epochs": (REQUIRED, "a whole number, 0 or more", lambda v: v >= 0 and v % 1 == 0),
    "patience_epochs": (REQUIRED, "a whole number, 1 or more", lambda v: v >= 1 and v % 1 == 0),
    "minimal_compression_rate_step": (0.025, "above 0 and up to 1", lambda v: 0 < v <= 1),
    "initial_compression_rate_step": (0.1, "above 0 and up to 1", lambda v: 0 < v <= 1),
    "compression_rate_step_reduction_factor": (0.5, "above 0 and below 1", lambda v: 0 < v < 1),
    "lr_reduction_factor": (1.0, "above 0 and up to 1", lambda v: 0 < v <= 1),
    "validate_every_n_epochs": (1, "a whole number, 1 or more", lambda v: v >= 1 and v % 1 == 0),
    "maximal_total_epochs": (10000, "a whole number, 1 or more", lambda v: v >= 1 and v % 1 == 0),
}
# Of each algorithm with an adaptive level: prefix of its keys, key of the steps, key of the criterion, criteria, schedule.
ALGORITHMS = {
    "filter_pruning": (
        "pruning",
        "pruning_steps",
        "filter_importance",
        {"L2": "l2", "L1": "l1", "geometric_median": "geometric_median"},
        "exponential",
    ),
    "magnitude_sparsity": (
        "sparsity",
        "sparsity_target_epoch",
        "weight_importance",
        {"normed_abs": lambda weight: weight.detach().abs() / weight.detach().norm(), "abs": "magnitude"},
        "polynomial",
    ),
}


class AdaptiveConfig:
    """The parameters of a search, checked: AdaptiveConfig(patience_epochs=2, ...), or from_json for NNCF's file.

    Keys, defaults and ranges are in KEYS, with exactly one of the two degradations; advance="early" leaves a rate as soon as
    it is good, "patience" uses all epochs. `compression` is the list of algorithms as in the file: at most one with an
    adaptive level (filter_pruning, magnitude_sparsity), and "quantization" beside it. Raises ValueError for all else, with
    the key, the value and the range, or the nearest known key.
    """

    def __init__(self, *, advance: str = "patience", compression: Mapping | list = (), **keys):
        _check_keys(keys, [*KEYS, "advance", "compression"], "accuracy_aware_training")
        for key, (default, expected, fits) in KEYS.items():
            value = keys.get(key, default)
            if value is REQUIRED:
                raise ValueError(f"{key} is missing: give {expected}")
            if value is not None or key in keys:
                value = _number(key, value, expected, fits)
            setattr(self, key, value)
        absolute, relative = self.maximal_absolute_accuracy_degradation, self.maximal_relative_accuracy_degradation
        if (absolute is None) == (relative is None):
            raise ValueError(
                f"give exactly one of maximal_relative_accuracy_degradation (percent; got {relative}) and "
                f"maximal_absolute_accuracy_degradation (got {absolute})"
            )
        for small, large in (
            ("minimal_compression_rate_step", "initial_compression_rate_step"),
            ("validate_every_n_epochs", "patience_epochs"),
            ("initial_training_phase_epochs", "maximal_total_epochs"),
        ):
            if getattr(self, small) > getattr(self, large):
                raise ValueError(f"{small} is {getattr(self, small)}, above {large}, {getattr(self, large)}: lower it")
        if advance not in ("patience", "early"):
            raise ValueError(f'advance must be "patience" or "early", got {advance!r}')
        self.advance = advance
        entries = [compression] if isinstance(compression, Mapping) else list(compression)
        for entry in entries:
            _check_keys(entry, ["algorithm", "params", "pruning_init", "sparsity_init", "ignored_scopes"], "compression")
            _one_of("algorithm", entry.get("algorithm"), [*ALGORITHMS, "quantization"])
        adaptive = [entry for entry in entries if entry["algorithm"] in ALGORITHMS]
        if len(adaptive) > 1:
            names = " and ".join(entry["algorithm"] for entry in adaptive)
            raise ValueError(f"{names} both have an adaptive level, and the search can set only one: remove one of them")
        self.algorithm = self._algorithm(adaptive[0]) if adaptive else None
        self.quantize = len(entries) > len(adaptive)
        if any(set(entry) > {"algorithm"} for entry in entries if entry not in adaptive):
            raise ValueError('quantization takes no keys here: write {"algorithm": "quantization"} for 8 bits')
        self.settings = {**keys, "advance": advance, "compression": entries}

    @classmethod
    def from_json(cls, source: str | os.PathLike | Mapping) -> "AdaptiveConfig":
        """Read the configuration from a file, JSON in which // comments are allowed, or from the dict that it holds."""
        if not isinstance(source, Mapping):
            text = Path(source).read_text(encoding="utf-8")
            text = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or "", text, flags=re.DOTALL)
            try:
                source = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"{source} is no JSON, line {error.lineno}: {error.msg}") from error
        _check_keys(source, ["accuracy_aware_training", "compression"], "the configuration")
        section = source.get("accuracy_aware_training", {})
        _check_keys(section, ["mode", "params"], "accuracy_aware_training")
        _one_of("mode", section.get("mode"), ["adaptive_compression_level"])
        params = section.get("params", {})
        _check_keys(params, [*KEYS, "advance"], "params")
        return cls(**params, compression=source.get("compression", ()))

    def level(self, epoch: int) -> float:
        """The rate that the user's schedule asks for in an epoch, counted from 0, of the initial phase."""
        kind, start, target, steps = (self.algorithm[key] for key in ("schedule", "init", "target", "steps"))
        return target if start == target else magnitude.schedule(kind, start, target, steps)(min(epoch, steps))

    def _algorithm(self, entry):
        """An entry of `compression` in the course's words."""
        name = entry["algorithm"]
        prefix, steps, right, criteria, kind = ALGORITHMS[name]
        wrong = {"filter_importance": "weight_importance", "weight_importance": "filter_importance"}[right]
        params = entry.get("params", {})
        _check_keys(entry, ["algorithm", "params", f"{prefix}_init", "ignored_scopes"], name)
        _check_keys(params, ["schedule", f"{prefix}_target", steps, right, wrong], f"params of {name}")
        if wrong in params:
            if right in params:
                raise ValueError(f"{name} has {right} {params[right]!r} and {wrong} {params[wrong]!r}: keep {right}")
            warnings.warn(f"{name} calls its criterion {right}: {wrong} is read as that, rename it", stacklevel=4)
        chosen = _one_of(right, params.get(right, params.get(wrong, next(iter(criteria)))), criteria)
        start = _number(f"{prefix}_init", entry.get(f"{prefix}_init", 0.0), "0 to below 1", lambda v: 0 <= v < 1)
        target = _number(
            f"{prefix}_target",
            params.get(f"{prefix}_target", max(start, 0.5)),
            f"{prefix}_init, {start}, to below 1",
            lambda v: start <= v < 1,
        )
        number = params.get(steps, max(1, self.initial_training_phase_epochs))
        return {
            "algorithm": name,
            "init": start,
            "target": target,
            "steps": _number(steps, number, *KEYS["patience_epochs"][1:]),
            "schedule": _one_of("schedule", params.get("schedule", kind), magnitude.SCHEDULES),
            "criterion": criteria[chosen],
            "ignore": list(entry.get("ignored_scopes", [])),
        }


def _check_keys(found, known, where):
    """Raise ValueError unless `found` is a mapping with no keys but known ones."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{where} must hold keys and values, got {found!r}")
    for key in found:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, 1, 0)[0]
            raise ValueError(f"{where} has an unknown key {key!r} (value {found[key]!r}): the nearest known key is {nearest!r}")


def _number(key, value, expected, fits):
    """`value`, an int where it is whole; ValueError unless it is a number that fits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value):
        raise ValueError(f"{key} must be {expected}, got {value!r}")
    return int(value) if value % 1 == 0 and "whole" in expected else value


def _one_of(key, value, known):
    if not isinstance(value, str) or value not in known:
        nearest = difflib.get_close_matches(str(value), known, 1, 0)[0]
        raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r}: the nearest is {nearest!r}")
    return value


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


class TrainingRunner:
    """A Runner on the course's training loop; the model that it is given is not changed.

    `dense` keeps the last value that each weight had while it was part of the network: when the rate goes down, a weight
    comes back with it. Arguments: config, with its algorithm; data, a data.Dataset; lr and `recipe`, as in training.train.
    `model` is the network in training, `compressed()` what to ship.
    """

    def __init__(self, config: AdaptiveConfig, model: nn.Module, data, lr: float = 0.02, seed: int = 0, **recipe):
        self.config, self.dense, self.data = config, copy.deepcopy(model), data
        self.lr, self.seed, self.recipe = lr, seed, recipe
        self.epoch, self.searching, self.lr_factor = 0, False, 1.0
        settings = {key: getattr(value, "__name__", str(value)) for key, value in recipe.items()}
        digest = hashlib.sha256(f"{data.name} {lr} {seed} {settings}".encode())
        for tensor in model.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        self.fingerprint = digest.hexdigest()
        self._set(0.0)

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float):
        self.searching = True
        self._set(rate)

    def _set(self, rate):
        self._gather()
        self._rate, self.choice = rate, self._choose(rate)
        self._build()
        self.reset_optimizer(self.lr_factor)

    def train_epoch(self) -> None:
        if not self.searching and self.config.level(self.epoch) != self.rate:
            self._set(self.config.level(self.epoch))
        options = {"progress": False, **self.recipe, "optimizer": self.optimizer, "callbacks": self._callbacks()}
        training.train(self.model, self.data, 1, **options, seed=10_007 * self.seed + self.epoch)
        self.epoch += 1

    def validate(self) -> float:
        return self.accuracy(self.data.validation)

    def accuracy(self, split) -> float:
        """The accuracy on a split of what would be shipped, a fraction; of the original, before anything was done to it."""
        if not self.config.quantize or (self.epoch == 0 and not self.searching):
            return training.evaluate(self.model, split)
        model, device = self.compressed(), next(self.model.parameters()).device
        with torch.no_grad():
            guesses = torch.cat([model(x.to(device)).argmax(1).cpu() for x in split.x.split(1000)])
        return (guesses == split.y.cpu()).float().mean().item()

    def compressed(self) -> nn.Module:
        """A copy of the network as it is to be shipped: really smaller, and quantized where the configuration says so."""
        model = copy.deepcopy(self.model).eval()
        return quantization.quantize_model(model, self.data.train.x[:256]) if self.config.quantize else model

    def reset_optimizer(self, lr_factor: float) -> None:
        self.lr_factor = lr_factor
        options = {"momentum": 0.9, "nesterov": True, "weight_decay": self.recipe.get("weight_decay", 5e-4)}
        self.optimizer = torch.optim.SGD(self.model.parameters(), self.lr * lr_factor, **options)

    def snapshot(self) -> dict:
        self._gather()
        names = "_rate", "epoch", "searching", "lr_factor", "choice"
        state = {name: getattr(self, name) for name in names}
        return copy.deepcopy(state | {"dense": self.dense.state_dict(), "optimizer": self.optimizer.state_dict()})

    def restore(self, snapshot: dict) -> None:
        state = copy.deepcopy(snapshot)
        self.dense.load_state_dict(state.pop("dense"))
        optimizer = state.pop("optimizer")
        vars(self).update(state)
        self._build()
        self.reset_optimizer(self.lr_factor)
        self.optimizer.load_state_dict(optimizer)


class SparsityRunner(TrainingRunner):
    """Magnitude sparsity: the rate is the share of weights that are zero, by one ranking over the network."""

    max_rate = 1.0
    model, choice = None, {}

    def _choose(self, rate):
        options = {"criterion": self.config.algorithm["criterion"], "ignore": self.config.algorithm["ignore"]}
        return dict(magnitude.global_masks(magnitude.weight_scores(self.dense, **options), rate))

    def _build(self):
        self.model = copy.deepcopy(self.dense)
        device = next(self.model.parameters()).device
        self.choice = {name: mask.to(device) for name, mask in self.choice.items()}
        magnitude.apply_masks(self.model, self.choice)

    @torch.no_grad()
    def _gather(self):
        if self.model is not None:
            parked = self.dense.state_dict()
            for name, tensor in self.model.state_dict().items():
                parked[name].copy_(torch.where(self.choice[name], tensor, parked[name]) if name in self.choice else tensor)

    def _callbacks(self):
        return [*self.recipe.get("callbacks", ()), self]

    def after_step(self, run):
        """A callback of the training loop: removed weights stay at zero."""
        magnitude.apply_masks(self.model, self.choice)


class FilterRunner(TrainingRunner):
    """Filter pruning: the rate is the share of filters removed from each group of channels that go together.

    The network in training is the smaller one, which is the faster one too.
    """

    model = None

    def __init__(self, config, model, data, **options):
        criterion, ignore = config.algorithm["criterion"], config.algorithm["ignore"]
        self._plan = lambda dense, amount: structured.plan_channels(
            dense, data.train.x[:2].to(next(dense.parameters()).device), amount, criterion=criterion, ignore=ignore
        )
        self.plan = self._plan(model, 0.0)
        self.smallest_group = min(group.size for group in self.plan.groups)
        self.max_rate = 1 - 1 / self.smallest_group
        super().__init__(config, model, data, **options)

    def _choose(self, rate):
        if all(round(rate * group.size) == 0 for group in self.plan.groups):
            rate = 0.0
        return self._plan(self.dense, rate).kept

    def _build(self):
        self.plan.kept = self.choice
        self.model = structured.remove_channels(self.dense, self.plan)

    @torch.no_grad()
    def _gather(self):
        if self.model is not None:
            parked, indices = self.dense.state_dict(), self.plan.indices()
            for name, tensor in self.model.state_dict().items():
                places = torch.arange(parked[name].numel(), device=tensor.device).view(parked[name].shape)
                places = channel_plan.slice_tensor(places, indices.get(name, {})).flatten()
                parked[name].view(-1)[places] = tensor.flatten()

    def _callbacks(self):
        return self.recipe.get("callbacks", ())


def make_runner(config: AdaptiveConfig, model: nn.Module, data, **options) -> TrainingRunner:
    """The runner for the algorithm of a configuration; options as in TrainingRunner. ValueError where it names none."""
    if config.algorithm is None:
        raise ValueError(f"compression names no algorithm with an adaptive level: add one of {', '.join(ALGORITHMS)}")
    kind = {"filter_pruning": FilterRunner, "magnitude_sparsity": SparsityRunner}[config.algorithm["algorithm"]]
    return kind(config, model, data, **options)
