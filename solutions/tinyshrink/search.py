"""The search for a network: many architectures are measured, those within the budget are trained, the best one is found.

Sources: Bergstra & Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html (random search); Real et al. 2019,
https://arxiv.org/abs/1802.01548 (regularized evolution); Jamieson & Talwalkar 2016, https://arxiv.org/abs/1502.07943
(successive halving); Golovin et al. 2017, https://doi.org/10.1145/3097983.3098043, section 3.2 (the median rule).
"""

import functools
import json
import math
import os
import random
import shutil
import statistics
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import torch
from torch import nn
from tqdm.auto import tqdm

from . import files, metrics, search_space, suffix, training
from .data import Dataset
from .search_space import Space

STRATEGIES = ("random", "evolutionary", "halving")
FACTOR = 3  # halving: one network in three goes on, with three times the epochs
POPULATION, SAMPLE, BROOD = 8, 3, 4  # evolution: networks alive, of which parents are drawn from, children at a time
PATIENCE = 20  # at most that many architectures are measured for each one that is to be trained


class UnreachableBudget(ValueError):
    """No network that was measured is within the budget: `fastest` (ms) and `smallest` (bytes) are the best that were seen."""

    def __init__(self, message, fastest, smallest):
        super().__init__(message)
        self.fastest, self.smallest = fastest, smallest


class Budget(NamedTuple):
    """What a network may cost at most: milliseconds for the example, and bytes of its file."""

    max_ms: float = math.inf
    max_bytes: float = math.inf


@dataclass
class Trial:
    """One architecture that was measured, and trained unless a `reason` says why not; accuracy on validation, each epoch."""

    index: int
    architecture: dict
    parent: int | None = None
    parameters: int = 0
    bytes: float = math.nan
    ms: float = math.nan
    reason: str = ""
    accuracies: list[float] = field(default_factory=list)
    ended: str = ""  # why training ended early, if it did

    @property
    def accuracy(self) -> float:
        """The accuracy on validation after the last epoch that was trained; nan before the first."""
        return self.accuracies[-1] if self.accuracies else math.nan


class Result(NamedTuple):
    """All trials in order, the best within the budget, the Pareto front of the trained ones, and what it all took.

    `trained` counts networks, `epochs` those of all networks together. The accuracies are on validation, on which the best
    was chosen: train space.build(**best.architecture) again, and look at test once.
    """

    trials: list[Trial]
    best: Trial
    front: list[Trial]
    trained: int
    epochs: int

    def __str__(self):
        return (
            f"best of {self.trained} trained networks ({self.epochs} epochs; {len(self.trials) - self.trained} more were "
            f"measured): {self.best.architecture}, {self.best.accuracy:.2%} on validation, {self.best.ms:.3f} ms, "
            f"{self.best.bytes:,} bytes"
        )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Find the points that no other one beats: the places of the (accuracy, ms) pairs that are not dominated.

    A point dominates another if it is at least as accurate and at least as fast, and better in one of the two. So of two
    points that are equal in both, neither dominates the other: both are on the front or none.

    Arguments: points, (accuracy, ms) pairs; more accuracy and fewer ms are better. Returns a list of indices into points,
    from the fastest to the slowest, equal points in their order. No points have no front: []. Raises ValueError for a
    number that is not finite.

    Example: [(0.9, 5.0), (0.8, 7.0), (0.95, 9.0)] gives [0, 2]: the second is worse than the first in both.
    Hint: comparing all pairs is right. In order of ms, what must a point have that the ones before it do not?
    """
    if not all(math.isfinite(number) for point in points for number in point):
        raise ValueError(f"a front needs finite numbers, leave other points out: got {list(points)}")
    order = sorted(range(len(points)), key=lambda index: (points[index][1], -points[index][0], index))
    front, best = [], None
    for index in order:
        if best is None or points[index][0] > points[best][0] or tuple(points[index]) == tuple(points[best]):
            best = index
            front.append(index)
    return front


def violations(ms: float, size: float, budget: Budget) -> list[str]:
    """Say how a network breaks the budget: a sentence for each limit that it is above, in the order ms, bytes.

    A network that needs exactly what the budget allows is within it. Arguments: ms, measured; size, in bytes.
    Returns [] for a network within the budget. Each sentence holds the number and the limit.

    Example: violations(25.0, 1000, Budget(max_ms=20)) has one sentence, such as "25.000 ms, above 20.000 ms".
    """
    found = []
    if not ms <= budget.max_ms:
        found.append(f"{ms:.3f} ms, above {budget.max_ms:.3f} ms")
    if not size <= budget.max_bytes:
        found.append(f"{size:,} bytes, above {budget.max_bytes:,} bytes")
    return found


def best_within(trials: Iterable[Trial], budget: Budget) -> Trial | None:
    """Choose the most accurate trial within the budget; of several as accurate the fastest, of those the first.

    Only trials with an accuracy (not nan) count. Returns None where no trial is left.
    Hint: violations. What does Python compare first in two tuples?
    """
    fitting = [t for t in trials if not math.isnan(t.accuracy) and not violations(t.ms, t.bytes, budget)]
    return min(fitting, key=lambda trial: (-trial.accuracy, trial.ms), default=None)


def mutate(architecture: Mapping, choices: Mapping[str, Sequence], chance: random.Random) -> dict:
    """Make a child of an architecture: one choice, drawn by chance, moves one step up or down in its list of values.

    Each choice with at least two values is drawn equally often, and goes up as often as down. At the ends of its list it
    can only move one way. The architecture and the choices that are given stay as they are.

    Arguments: architecture {name: value}; choices {name: values in order}; chance, a random.Random, the only source of
    randomness. Returns a new dict that differs in exactly one value. Raises ValueError where no choice has two values.

    Example: {"width": 0.5} with choices {"width": (0.25, 0.5, 1.0)} gives {"width": 0.25} or {"width": 1.0}.
    Hint: chance.choice(list); values.index(value).
    """
    if all(len(values) < 2 for values in choices.values()):
        raise ValueError(f"nothing can change: each choice has one value only, {dict(choices)}")
    name = chance.choice([name for name, values in choices.items() if len(values) > 1])
    values = list(choices[name])
    place = values.index(architecture[name])
    neighbours = [values[other] for other in (place - 1, place + 1) if 0 <= other < len(values)]
    return {**architecture, name: chance.choice(neighbours)}


def rungs(networks: int, epochs: int, factor: int = 3) -> list[tuple[int, int]]:
    """Plan successive halving: (networks that train, epochs that each has had by the end) for each rung, from many to few.

    All networks are in the first rung, and each further rung keeps 1 / factor of the rung before it and trains it to
    factor times the epochs. There are as many rungs as possible: the last one must keep at least one whole network
    (before rounding), and the first one must train for at least one whole epoch. Networks are rounded up; the epochs of
    the first rung are rounded down, so that the last rung ends at `epochs` or a little before.

    Returns a list of (networks, epochs). Raises ValueError for networks or epochs below 1 and a factor below 2.
    Example: rungs(27, 9) is [(27, 1), (9, 3), (3, 9)]; rungs(5, 9) is [(5, 3), (2, 9)].
    Hint: whole numbers only; a logarithm of floats is off by one now and then.
    """
    if networks < 1 or epochs < 1 or factor < 2:
        raise ValueError(f"expected networks and epochs of 1 or more and a factor from 2, got {networks}, {epochs}, {factor}")
    count = 1
    while factor**count <= min(networks, epochs):
        count += 1
    first = epochs // factor ** (count - 1)
    return [(-(-networks // factor**i), first * factor**i) for i in range(count)]


def falls_behind(accuracies: Sequence[float], finished: Iterable[Sequence[float]]) -> bool:
    """Decide whether a training should stop: its best accuracy so far is below the median of what others had by then.

    The others are the networks in `finished` that were trained for at least as many epochs; each counts with its own best
    accuracy within as many epochs. Nobody falls behind before the first epoch, or without others.

    Arguments: accuracies, of this network after each epoch so far; finished, such a list of each other network.
    Example: [0.5, 0.6] against [0.6, 0.7, 0.9] and [0.8, 0.5] is behind: 0.6 is below the median of 0.7 and 0.8.
    """
    epoch = len(accuracies)
    others = [max(other[:epoch]) for other in finished if len(other) >= epoch > 0]
    return bool(others) and max(accuracies) < statistics.median(others)


def search_architecture(
    space: Space,
    data: Dataset,
    budget: Budget,
    strategy: str = "random",
    trials: int = 16,
    epochs: int = 9,
    *,
    seed: int = 0,
    example: torch.Tensor | None = None,
    latency: Callable[[nn.Module], float] | None = None,
    max_memory: int = 2**31,
    stop_early: bool = False,
    checkpoint: str | os.PathLike | None = None,
    workers: Any = 1,
    progress: bool = True,
    **recipe,
) -> Result:
    """Search `space` for the network with the highest accuracy on validation within a budget of milliseconds and bytes.

    Each architecture that comes up is estimated on the meta device, built and measured, in this process and one at a time; who
    is above the budget is never trained. `trials` networks are trained, for `epochs` epochs at most, each from its own seed.

    Arguments:
        strategy: "random", drawn at random; "evolutionary", the first 8 at random, then children of the best of 3, the
            oldest dying; "halving", all at random for a few epochs, the best third for three times as many, and so on.
        example: a batch for which the latency counts; by default one image of data.validation.
        latency: latency(model) in ms, for another way or place to measure; by default search_space.measured_ms.
        max_memory: bytes that a training may need by search_space.estimate; what needs more is listed, and not built.
        stop_early: end trainings that fall_behind networks of earlier batches (not with "halving", which does so itself).
        checkpoint: path of a file that holds all that was measured and trained so far. A search that was killed goes on
            there, with the latencies that it measured then; the file of another search is refused.
        workers: networks trained at the same time, a number (processes of joblib) or a dask.distributed.Client. The trials
            are the same for any number. With processes of other computers `checkpoint` must lie where all can reach it.
        recipe: lr, weight_decay, batch_size, augment of training.train.

    The same seed and the same latencies give the same trials. Latencies are noise to some degree, so two searches may differ
    in who is just within the budget. Test images are never looked at.
    Raises ValueError for settings out of range or in contradiction, UnreachableBudget where nothing that came up is within
    the budget.
    """
    _check(space, budget, strategy, trials, epochs, max_memory, stop_early, workers, recipe)
    example = data.validation.x[:1] if example is None else example
    latency = latency or functools.partial(search_space.measured_ms, example=example)
    of = {"space": {name: list(values) for name, values in space.choices.items()}, "budget": budget, "strategy": strategy}
    of |= {"trials": trials, "epochs": epochs, "seed": seed, "stop_early": stop_early, "recipe": recipe, "memory": max_memory}
    of |= {"build": str(getattr(space.build, "func", space.build)).partition(" at ")[0]}
    of |= {"data": suffix.digest(tuple(data.train), tuple(data.validation), example)}
    with ExitStack() as stack:
        if checkpoint is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = Path(f"{checkpoint}.running")
        book, shared = _Book(checkpoint, of), workers.scatter(data) if hasattr(workers, "submit") else data
        if not book.rows:
            shutil.rmtree(folder, ignore_errors=True)  # states of a search whose file is gone
        run = _Search(space, budget, trials, epochs, seed, example, latency, max_memory, book)
        bar = stack.enter_context(tqdm(total=trials, unit="network", leave=False, **({} if progress else {"disable": True})))
        for batch, stop in {"random": _random, "evolutionary": _evolution, "halving": _halving}[strategy](run):
            finished = [trial.accuracies for trial in run.trials if trial.accuracies] if stop_early else []
            options = {"data": shared, "epochs": epochs, "stop": stop, "finished": finished, "recipe": recipe}
            tasks = [
                {"build": space.build, "trial": trial, "seed": 1000 * seed + trial.index, "folder": folder, **options}
                for trial in batch
                if book.lacks(trial, stop)
            ]
            for index, *outcome in _run(tasks, workers):
                bar.update(not book.rows[index]["accuracies"])
                book.finish(index, *outcome)
            for trial in batch:
                book.recall(trial, stop)
        result = run.result()
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _check(space, budget, strategy, trials, epochs, max_memory, stop_early, workers, recipe):
    """Raise ValueError or TypeError for settings that are out of range or contradict each other."""
    if not isinstance(space, Space):
        raise TypeError(f"space must be a search_space.Space, such as search_space.cnn_space(), got {type(space).__name__}")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if not isinstance(budget, Budget) or not (budget.max_ms > 0 and budget.max_bytes > 0):
        raise ValueError(f"expected Budget(max_ms=..., max_bytes=...), both above 0, got {budget}")
    numbers = {"trials": trials, "epochs": epochs, "max_memory": max_memory}
    if not hasattr(workers, "submit"):
        numbers["workers"] = workers
    elif {*workers.nthreads().values()} - {1}:  # they would share PyTorch's random numbers
        raise ValueError("each worker of the cluster needs one thread: Client(threads_per_worker=1)")
    for name, number in numbers.items():
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be a whole number from 1, got {number!r}")
    if trials > len(space):
        raise ValueError(f"{trials} trials are more than the {len(space)} networks of the space: lower trials, or add choices")
    if strategy == "evolutionary" and trials <= POPULATION:
        raise ValueError(f"evolution starts from {POPULATION} random networks, got {trials} trials: give more, or use random")
    if strategy == "halving" and min(trials, epochs) < FACTOR:
        raise ValueError(f"halving needs at least {FACTOR} trials and {FACTOR} epochs for two rungs, got {trials} and {epochs}")
    if strategy == "halving" and stop_early:
        raise ValueError("halving stops networks early by itself: leave stop_early out, or use another strategy")
    unknown = {*recipe} - {"lr", "weight_decay", "batch_size", "augment"}
    if unknown:
        raise ValueError(f"a recipe is made of lr, weight_decay, batch_size and augment, got {', '.join(sorted(unknown))}")


class _Search:
    """What the strategies share: the trials so far, and the measuring of new ones."""

    def __init__(self, space, budget, count, epochs, seed, example, latency, max_memory, book):
        self.space, self.budget, self.count, self.epochs, self.book = space, budget, count, epochs, book
        self.example, self.latency, self.max_memory = example, latency, max_memory
        self.chance, self.trials = random.Random(seed), []

    def exhausted(self):
        return len(self.trials) >= min(PATIENCE * self.count, len(self.space))

    def trial(self, architecture, parent=None):
        """A new trial of an architecture, measured, or as the book has it; None if there is one already."""
        if any(trial.architecture == architecture for trial in self.trials):
            return None
        trial = Trial(len(self.trials), architecture, parent)
        if trial.index == len(self.book.rows):
            self.measure(trial)
            self.book.add(trial)
        row = self.book.rows[trial.index]
        if row["architecture"] != architecture:
            raise ValueError(f"{self.book.path} has {row['architecture']} as trial {trial.index}, expected {architecture}")
        self.trials.append(Trial(**row | {"accuracies": [], "ended": ""}))
        return self.trials[-1]

    def measure(self, trial):
        """Fill in what the network costs, and the reason why it is not trained, if there is one."""
        try:
            trial.parameters, needed = search_space.estimate(self.space.build, trial.architecture, self.example)
            if needed > self.max_memory:
                trial.reason = f"training needs {needed:,} bytes, above {self.max_memory:,}"
                return
            with torch.random.fork_rng():
                model = self.space.build(**trial.architecture)
            trial.bytes = search_space.stored_bytes(model)
        except Exception as error:  # of the user's build: one bad network does not end the search
            trial.reason = f"cannot be built: {type(error).__name__}: {error}"
            return
        trial.ms = float(self.latency(model))
        if not trial.ms > 0:
            raise ValueError(f"latency must give milliseconds above 0, got {trial.ms} for {trial.architecture}")
        trial.reason = "; ".join(violations(trial.ms, trial.bytes, self.budget))

    def draw(self, count):
        """Up to `count` new trials within the budget, by chance; fewer where the space or the patience is at its end."""
        found = []
        while len(found) < count and not self.exhausted():
            drawn = {name: self.chance.choice(list(values)) for name, values in self.space.choices.items()}
            trial = self.trial(drawn)
            if trial and not trial.reason:
                found.append(trial)
        if not found and all(trial.reason for trial in self.trials):
            fastest = min((trial.ms for trial in self.trials if trial.ms > 0), default=math.nan)
            smallest = min((trial.bytes for trial in self.trials if trial.bytes > 0), default=math.nan)
            raise UnreachableBudget(
                f"none of {len(self.trials)} networks that were measured is within {self.budget}: the fastest has "
                f"{fastest:.3f} ms, the smallest {smallest:,} bytes; the last one: {self.trials[-1].reason}",
                fastest,
                smallest,
            )
        return found

    def result(self):
        trained = [trial for trial in self.trials if trial.accuracies]
        longest = max((len(trial.accuracies) for trial in trained if not trial.ended), default=0)
        best = best_within([t for t in trained if len(t.accuracies) == longest and not t.ended], self.budget)
        if best is None:
            raise RuntimeError(f"no network could be trained to the end: {self.trials[0].ended or self.trials[0].reason}")
        front = [trained[place] for place in pareto_front([(trial.accuracy, trial.ms) for trial in trained])]
        return Result(self.trials, best, front, len(trained), sum(len(trial.accuracies) for trial in trained))


def _random(search) -> Iterator[tuple[list[Trial], int]]:
    """Strategies give (batch of trials, epochs that each is to have then), and find the accuracies there afterwards."""
    drawn = search.draw(search.count)
    for start in range(0, len(drawn), BROOD):
        yield drawn[start : start + BROOD], search.epochs


def _halving(search):
    alive = search.draw(search.count)
    for count, epochs in rungs(len(alive), search.epochs):
        alive = sorted((t for t in alive if not t.ended), key=lambda trial: (-trial.accuracy, trial.ms))[:count]
        yield alive, epochs


def _evolution(search):
    population = deque(search.draw(POPULATION))
    left = search.count - len(population)
    yield list(population), search.epochs
    while left > 0 and not search.exhausted():
        brood = []
        while len(brood) < min(BROOD, left) and not search.exhausted():
            brood += _child(search, population)
        left -= len(brood)
        yield brood, search.epochs
        population.extend(brood)
        for _ in brood:
            population.popleft()  # the oldest, not the worst: an accuracy that was luck dies too


def _child(search, population):
    """[a child within the budget], or [] if this attempt gave none; where all relatives are known, one drawn by chance."""
    sample = search.chance.sample(list(population), min(SAMPLE, len(population)))
    parent = max(sample, key=lambda trial: -1 if trial.ended else trial.accuracy)
    architecture = parent.architecture
    for _ in range(10):
        architecture = mutate(architecture, search.space.choices, search.chance)
        trial = search.trial(architecture, parent.index)
        if trial:
            return [] if trial.reason else [trial]
    return search.draw(1)


def _run(tasks, workers):
    """The outcomes of _train for all tasks, as they come, from processes of joblib or from a Dask client."""
    if not hasattr(workers, "submit"):
        yield from joblib.Parallel(workers, return_as="generator_unordered")(joblib.delayed(_train)(**task) for task in tasks)
        return
    from dask.distributed import as_completed  # an extra of tinyshrink: only who has a client needs it

    for future in as_completed([workers.submit(_train, **task, pure=False) for task in tasks]):
        yield future.result()


class _Paused(Exception):
    """Training has come to the epoch where it is to wait, or falls behind."""


class _Pause:
    """A callback that ends training before epoch `stop`, or when it falls behind; the state of the last epoch is saved."""

    def __init__(self, stop, finished):
        self.stop, self.finished, self.history, self.ended = stop, finished, [], ""

    def before_epoch(self, run):
        self.history = run.history
        if falls_behind([entry["accuracy"] for entry in run.history], self.finished):
            self.ended = "fell behind"
        if self.ended or run.epoch >= self.stop:
            raise _Paused


def _train(build, trial, seed, folder, data, epochs, stop, finished, recipe):
    """(index, accuracy after each epoch up to `stop`, why it ended early): one training, or the next part of one."""
    pause, path = _Pause(stop, finished), folder / f"{trial.index}.safetensors"
    with metrics.torch_threads(1), torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            options = {"callbacks": [pause], "checkpoint": path, "seed": seed, "progress": False, **recipe}
            pause.history = training.train(build(**trial.architecture), data, epochs, **options)
        except _Paused:
            pass
        except (FloatingPointError, RuntimeError, MemoryError) as error:
            pause.ended = f"training failed: {type(error).__name__}: {error}"
    return trial.index, [entry["accuracy"] for entry in pause.history], pause.ended


class _Book:
    """The trials as rows of one file, which is written whole after each change; with path None they are in memory only."""

    def __init__(self, path, of):
        self.path, self.rows = path, []
        self.of = json.loads(json.dumps(of, default=lambda thing: getattr(thing, "__qualname__", repr(thing))))
        if path is None or not Path(path).exists():
            return
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            differs = [key for key in self.of if content["of"][key] != self.of[key]]
            self.rows = [vars(Trial(**row)) for row in content["trials"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no checkpoint of a search ({error!r}): delete it, or name another file") from error
        if differs:
            raise ValueError(f"{path} is of another search (its {', '.join(differs)}): delete it, or name another file")

    def save(self):
        if self.path is not None:
            with files.whole(self.path) as part:
                part.write_text(json.dumps({"of": self.of, "trials": self.rows}), encoding="utf-8")

    def add(self, trial):
        self.rows.append(vars(trial) | {"accuracies": [], "ended": ""})
        self.save()

    def finish(self, index, accuracies, ended):
        self.rows[index] |= {"accuracies": accuracies, "ended": ended}
        self.save()

    def lacks(self, trial, epochs):
        row = self.rows[trial.index]
        return not row["ended"] and len(row["accuracies"]) < epochs

    def recall(self, trial, epochs):
        """Give the trial what is known of it after that many epochs."""
        row = self.rows[trial.index]
        trial.accuracies, trial.ended = row["accuracies"][:epochs], row["ended"] if len(row["accuracies"]) < epochs else ""
