"""How accuracy falls as a network gets smaller: curves, their knee, fragile layers, who gives how much, when to say no.

Whatever is compared here is measured: the size is the number of nonzero parameters or the bytes of a file, the score is that
of validation examples, and a difference comes with its interval. Sources: Satopaa et al. 2011,
https://doi.org/10.1109/ICDCSW.2011.20 (the knee of a curve); Han et al. 2015, https://arxiv.org/abs/1506.02626 (the
sensitivity of layers); Efron 1979, https://doi.org/10.1214/aos/1176344552 (the bootstrap).
"""

import copy
import difflib
import itertools
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from . import channel_plan, coding, magnitude, metrics, packing, selection, suffix
from .data import Split

METHODS = ("magnitude", "channels", "spatial", "weight", "bits")
COSTS = {
    "nonzero": lambda model: metrics.count_parameters(model, nonzero=True),
    "bytes": lambda model: packed_bytes(model),
}
TASKS = {
    "safety_critical": 0.01,
    "medical_diagnosis": 0.02,
    "standard_classification": 0.05,
    "ranking_recommendation": 0.10,
    "generative_creative": 0.15,
}


def packed_bytes(model: nn.Module) -> int:
    """The bytes of the file that packing.save writes for `model`."""
    with tempfile.TemporaryDirectory() as folder:
        return packing.save(model, os.path.join(folder, "model.tsh"))


def compressor(
    model: nn.Module,
    method: str | Callable[[nn.Module, float], object],
    example: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
) -> Callable[[float], nn.Module]:
    """A function from an amount, the fraction removed, to a compressed copy of `model`; amount 0 is a plain copy.

    method "magnitude" removes weights by one ranking over the network; "channels" (give an example, a batch) that share of each
    group of channels; "spatial" and "weight" (SVD) of each layer's weights; "bits" of the 32 bits of a weight, as codebooks
    (coding.share_weights), which have 8 bits at most. A function method(copy, amount) may change the copy in place, as
    magnitude.prune does, or return another model. Raises ValueError for an unknown method and an amount out of range.
    """
    if not callable(method) and method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, or a function(model, amount), got {method!r}")
    in_place = {
        "magnitude": magnitude.prune,
        "bits": lambda smaller, amount: coding.share_weights(smaller, min(8, max(1, round(32 * (1 - amount))))),
    }.get(method, method)
    layers = None if callable(in_place) else selection.Compressor(model, method, example, metric="memory")

    def compress(amount):
        if not 0 <= amount <= 1 or (layers and amount == 1):
            raise ValueError(f"an amount is the fraction removed, 0 to 1 (SVD and channels: below 1), got {amount}")
        if layers:
            return layers(dict.fromkeys(layers.layers, 1 - amount))
        smaller = copy.deepcopy(model)
        result = in_place(smaller, amount) if amount else None
        return result if isinstance(result, nn.Module) else smaller

    return compress


def measure(cost: str | Callable[[nn.Module], float], model: nn.Module) -> float:
    """The cost of a model by a name in COSTS or a function; ValueError for an unknown name and what is not above 0."""
    if not callable(cost) and cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}, or a function of a model, got {cost!r}")
    number = (cost if callable(cost) else COSTS[cost])(model)
    if not 0 < number < math.inf:
        raise ValueError(f"the cost {cost!r} of a {type(model).__name__} must be above 0, got {number}")
    return number


def sign(before: float, after: float, higher_is_better: bool | None) -> int:
    """-1 where lower is better, else 1; ValueError where a score rises by compression and nobody said which is better."""
    if higher_is_better is None and after > before + 0.05 * abs(before):
        raise ValueError(
            f"compression takes the score from {before:.4g} to {after:.4g}: give higher_is_better=False if lower is better, "
            "and True if compression really helps"
        )
    return -1 if higher_is_better is False else 1


class Point(NamedTuple):
    """A point of a degradation curve; ratio, the cost kept; score, higher is better (a loss has its sign turned)."""

    amount: float
    cost: float
    ratio: float
    score: float


def degradation_curve(
    model: nn.Module,
    evaluate: Callable[..., float],
    amounts: Iterable[float],
    method: str | Callable[[nn.Module, float], object] = "magnitude",
    cost: str | Callable[[nn.Module], float] = "nonzero",
    *,
    data: object = None,
    example: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    higher_is_better: bool | None = None,
    path: str | os.PathLike | None = None,
    progress: bool = True,
) -> list[Point]:
    """The score of `model` at each amount of compression, against the size that it really has; the model is not changed.

    Arguments: evaluate(model), or evaluate(model, data) where data is given, the score on *validation* data; amounts, method
    and example, as in compressor; cost, "nonzero" (parameters), "bytes" (of the packed file) or a function of a model. With
    `path` (and data) each score is in that file as soon as it is known, and a run that was killed goes on there. Returns the
    points, the largest first, with one for amount 0. Raises RuntimeError where evaluate raises, and ValueError for a score that
    is no finite number, a file of something else, and a score that rises by compression unless it was said which is better.
    """
    name, amounts = getattr(method, "__qualname__", method), [0.0, *sorted({float(a) for a in amounts} - {0.0})]
    compress, given = compressor(model, method, example), () if data is None else (data,)
    words = f"{getattr(evaluate, '__qualname__', '')}, {getattr(cost, '__qualname__', cost)}"
    book, costs = selection._Scores(path, model, data, words), f"cost of {name}"
    for amount in tqdm(amounts, leave=False, unit="network", **({} if progress else {"disable": True})):
        if (name, amount) not in book:
            smaller = compress(amount)
            book.add(costs, amount, float(measure(cost, smaller)))
            ratio = book[costs, amount] / book[costs, 0.0]
            book.add(name, amount, selection._score(f"{name} {amount:g}", ratio, smaller, evaluate, given)[2])
    turn, whole = sign(book[name, 0.0], book[name, amounts[-1]], higher_is_better), book[costs, 0.0]
    points = [Point(amount, book[costs, amount], book[costs, amount] / whole, turn * book[name, amount]) for amount in amounts]
    return sorted(points, key=lambda point: (-point.cost, point.amount))


def knee(curve: Sequence[Point]) -> Point:
    """The point of a curve that lies farthest above the straight line from its largest point to its smallest one.

    Among equals the smaller network is taken. Arguments: curve, points with `cost` and `score`, in any order. Returns one of
    them. Raises ValueError for fewer than three points and where all cost the same.

    Example: scores 0.9, 0.9, 0.8, 0.1 at costs 100, 50, 25, 20: the line falls from 0.9 to 0.1, at cost 25 it is at 0.15, and
    0.8 is 0.65 above it, more than any other.
    Hint: "above" means along the score's axis. Measured at a right angle to the line, the farthest point is the same.
    """
    if len(curve) < 3 or len({point.cost for point in curve}) == 1:
        raise ValueError(f"a knee needs three points or more, of different costs, got {list(curve)}")
    points = sorted(curve, key=lambda point: point.cost)
    small, large = points[0], points[-1]
    slope = (large.score - small.score) / (large.cost - small.cost)
    return max(points, key=lambda point: point.score - small.score - slope * (point.cost - small.cost))


def last_within(curve: Sequence[Point], drop: float) -> Point:
    """The smallest point such that it, and every larger one, scores at most `drop` below the largest: a lucky point is none."""
    points = sorted(curve, key=lambda point: -point.cost)
    low = [point.score < points[0].score - drop - 1e-9 for point in points]
    return points[low.index(True) - 1] if any(low) else points[-1]


def smallest_amount(
    ratio_of: Callable[[float], float], target: float, most: float = 0.99, tolerance: float = 1e-3
) -> tuple[float, dict[float, float]]:
    """The smallest amount of compression at which the ratio that is kept is at most `target`, by bisection from 0 to `most`.

    Stops when the ratio is at most `tolerance` below the target, or the amount is known to 1e-4, since sizes jump.
    Arguments: ratio_of, a function from an amount to the ratio, slow, which starts at 1 for 0 and never rises; target, above 0
    and up to 1, for which the amount is 0, without a step. Returns the amount and the steps, {amount: ratio} of what was
    measured, each once, in order.
    Raises UnreachableTarget(target, ratio at `most`) where `most` is not enough, and ValueError where a ratio does not lie
    between those of the amounts around it, by more than the tolerance.

    Example: ratio_of = lambda amount: 1 - amount / 2 with target 0.75: amount 0.5, of which ratio_of is 0.75.
    Hint: keep two amounts, one that removes too little and one that removes enough. Which of them is the answer?
    """
    if not 0 < target <= 1:
        raise ValueError(f"the ratio is the cost that is kept, above 0 and up to 1, got {target}")
    if target == 1:
        return 0.0, {}
    low, high, steps = 0.0, most, {most: ratio_of(most)}
    if steps[most] > target:
        raise selection.UnreachableTarget(target, steps[most])
    while high - low > 1e-4 and steps[high] < target - tolerance:
        middle = (low + high) / 2
        steps[middle] = ratio_of(middle)
        if not steps[high] - tolerance <= steps[middle] <= steps.get(low, 1.0) + tolerance:
            raise ValueError(f"more compression must not cost more, but the ratio is {steps[middle]:.4f} at {middle}: {steps}")
        low, high = (low, middle) if steps[middle] <= target else (middle, high)
    return high, steps


class Compressed(NamedTuple):
    """What compress_to_ratio returns: the model, the ratio asked and reached, the amount, and {amount: ratio} measured."""

    model: nn.Module
    asked: float
    reached: float
    amount: float
    steps: dict[float, float]


def compress_to_ratio(
    model: nn.Module,
    ratio: float,
    method: str | Callable[[nn.Module, float], object] = "magnitude",
    cost: str | Callable[[nn.Module], float] = "nonzero",
    *,
    example: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    most: float = 0.99,
    tolerance: float = 1e-3,
) -> Compressed:
    """A copy of `model` compressed by `method` until at most `ratio` of its real cost is left, found by smallest_amount.

    Arguments: method and example, as in compressor; cost, as in degradation_curve; most, the highest amount to try. Nothing is
    trained. Raises UnreachableTarget (a ValueError), with the best ratio in it, and as smallest_amount and compressor.
    """
    compress, before = compressor(model, method, example), measure(cost, model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no weight is left")  # in a layer, at an amount that is only tried
        amount, steps = smallest_amount(lambda amount: measure(cost, compress(amount)) / before, ratio, most, tolerance)
    return Compressed(compress(amount), ratio, steps.get(amount, 1.0), amount, steps)


def acceptable_drop(task: str) -> float:
    """How much accuracy a task may lose, a fraction: rules of thumb, the table TASKS. An unknown task is a ValueError.

    These are conventions to start a talk from. A default of 0.05 for unknown names would be dangerous: a typing error in
    "safety_critical" would allow five times as much.
    """
    if not isinstance(task, str) or task not in TASKS:
        nearest = difflib.get_close_matches(str(task), TASKS, 1, 0)[0]
        raise ValueError(f"the task must be one of {', '.join(TASKS)}, got {task!r}: the nearest is {nearest!r}")
    return TASKS[task]


@torch.no_grad()
def _logits(model, split):
    """Logits (N, classes) on the CPU, in eval mode, which is put back; ValueError for NaN and infinity."""
    device = next(itertools.chain(model.parameters(), model.buffers())).device  # an integer model has buffers only
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        logits = torch.cat([model(x.to(device)).float().cpu() for x in split.x.split(500)])
    finally:
        for module, training in modes:
            module.training = training
    if bad := int((~torch.isfinite(logits)).any(1).sum()):
        raise ValueError(f"{type(model).__name__} gives NaN or infinity for {bad} of {len(split.y)} examples")
    return logits


def correct(model: nn.Module, split: Split) -> torch.Tensor:
    """Which examples of a split the model gets right: (N,) of 0 and 1. Higher is better."""
    return (_logits(model, split).argmax(1) == split.y.cpu()).float()


def cross_entropy(model: nn.Module, split: Split) -> torch.Tensor:
    """The cross entropy of each example: (N,). *Lower* is better. It tells more than right or wrong do."""
    return F.cross_entropy(_logits(model, split), split.y.cpu(), reduction="none")


def bootstrap_interval(
    values: torch.Tensor, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Where the mean of `values` would lie for other examples of the same kind: the percentile bootstrap.

    Draw as many examples as there are, with replacement, and take their mean; do so `resamples` times. Of these means the
    middle share `confidence` lies between the two numbers returned.
    Arguments: values (N,), one number for each example; seed, of the draws, so that a second run gives the same interval and
    the caller's random numbers stay as they are. Returns (low, high). Raises ValueError for no values, NaN, infinity, and a
    confidence that is not between 0 and 1.

    Example: values of 0 and 1, half of each, 400 of them: about (0.45, 0.55). For 100 of them: about (0.40, 0.60).
    Hint: torch.randint(..., generator=...) draws indices of any shape; torch.quantile.
    """
    if values.ndim != 1 or not len(values) or not torch.isfinite(values).all() or not 0 < confidence < 1:
        raise ValueError(f"expected finite values (N,) and a confidence in 0..1, got {tuple(values.shape)} and {confidence}")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values.cpu().double()[drawn].mean(1)
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    return tuple(means.quantile(tails).tolist())


class Drop(NamedTuple):
    """What is lost, on average over examples, and the 95% interval of it. Above 0 is a loss."""

    mean: float
    low: float
    high: float

    def __str__(self):
        return f"{self.mean:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def drop_of(lost: torch.Tensor) -> Drop:
    """The Drop of what each example lost, (N,)."""
    return Drop(lost.double().mean().item(), *bootstrap_interval(lost))


class Sensitivity(dict):
    """{layer: {amount: drop}}, the most sensitive first; lost[layer], (N,), is what each example lost, the mean of amounts."""

    def __init__(self, curves: Mapping[str, Mapping[float, float]], lost: Mapping[str, torch.Tensor]):
        order = sorted(curves, key=lambda name: -lost[name].double().mean().item())
        super().__init__({name: dict(curves[name]) for name in order})
        self.lost = {name: lost[name] for name in order}

    def drops(self) -> dict[str, Drop]:
        """{layer: its Drop}, in the order of the layers."""
        return {name: drop_of(lost) for name, lost in self.lost.items()}

    def differ(self, one: str, other: str) -> bool:
        """Whether the examples tell the two apart: 0 is outside the interval of the paired difference.

        The intervals of all pairs of layers hold together with 95% confidence (Bonferroni), since some pair of many would
        differ by chance.
        """
        pairs = len(self) * (len(self) - 1) / 2
        low, high = bootstrap_interval(self.lost[one] - self.lost[other], 1 - 0.05 / pairs, resamples=2000)
        return low > 0 or high < 0

    def tiers(self) -> list[list[str]]:
        """The ranking as far as it is one: a layer begins a new tier where it differs from the first one of the tier before."""
        tiers = []
        for name in self:
            if not tiers or self.differ(tiers[-1][0], name):
                tiers.append([])
            tiers[-1].append(name)
        return tiers


def layer_sensitivity(
    model: nn.Module,
    split: Split,
    amounts: float | Iterable[float] = 0.5,
    method: str = "magnitude",
    *,
    score: Callable[[nn.Module, Split], torch.Tensor] = correct,
    higher_is_better: bool | None = None,
    example: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    ignore: Iterable[str] = (),
    progress: bool = False,
) -> Sensitivity:
    """What the network loses when one layer alone is compressed, for each layer; the model is not changed.

    Arguments: split, *validation* examples; amounts, the fractions removed of that layer; method, one of selection.METHODS, and
    what it needs, example and ignore; score(model, split), one number for each example: `correct`, or `cross_entropy`, with
    higher_is_better=False. Drops are those of one and the same examples, so a layer is compared with the whole network, and
    with another layer, in pairs. Raises RuntimeError, with layer and amount, where the score raises; ValueError where it is not
    one finite number for each example, or rises while nobody said that lower is better.
    """
    amounts = [amounts] if isinstance(amounts, (int, float)) else sorted(set(amounts))
    if not amounts or not all(0 < amount < 1 for amount in amounts):
        raise ValueError(f"amounts are fractions removed of a layer, between 0 and 1, got {amounts}")
    compress = selection.Compressor(model, method, example, ignore, metric="memory")
    graph = suffix.trace(model, compress.layers) if len(amounts) > 1 else None
    before, after = _each(score, model, split, "the whole network"), {}
    jobs = tqdm(compress.layers, leave=False, unit="layer", **({} if progress else {"disable": True}))
    for name in jobs:
        shared = {}  # what comes before the layer, computed once for all amounts
        for amount in amounts:
            smaller = compress({name: 1 - amount}).eval()
            if graph:
                suffix.Suffix(smaller, graph, suffix.changed(model, smaller), shared)
            after[name, amount] = _each(score, smaller, split, f"{name} with {amount:g} removed")
    worst = sum(after[name, amounts[-1]].mean().item() for name in compress.layers) / len(compress.layers)
    turn = sign(before.mean().item(), worst, higher_is_better)
    lost = {key: turn * (before - values) for key, values in after.items()}
    curves = {name: {amount: lost[name, amount].double().mean().item() for amount in amounts} for name in compress.layers}
    return Sensitivity(curves, {name: sum(lost[name, a] for a in amounts) / len(amounts) for name in compress.layers})


def _each(score, model, split, where):
    try:
        values = score(model, split)
    except Exception as error:
        raise RuntimeError(f"the score failed for {where}: {type(error).__name__}: {error}") from error
    size = len(split.y)
    if not isinstance(values, torch.Tensor) or values.shape != (size,) or not torch.isfinite(values := values.float()).all():
        raise ValueError(f"the score must give a finite number for each of the {size} examples, got {values!r} for {where}")
    return values.detach().cpu()


def layer_sizes(model: nn.Module) -> dict[str, int]:
    """{layer: the number of its weights}, under the names that layer_sensitivity has."""
    return {channel_plan.layer_name(name): weight.numel() for name, weight in metrics.weights(model).items()}


def convex(curve: Mapping[float, float]) -> list[tuple[float, float]]:
    """The corners (amount, drop), from (0, 0) on, of the highest curve below {amount: drop} that grows ever steeper.

    A drop below 0 is noise and counts as 0. Of 0.5: 0.1, 0.6: 0.4, 0.9: 0.4 it keeps (0, 0), (0.5, 0.1) and (0.9, 0.4).
    """
    corners = [(0.0, 0.0)]
    for amount, drop in sorted((amount, max(drop, 0.0)) for amount, drop in curve.items()):
        while len(corners) > 1:
            (a, b), (c, d) = corners[-2:]
            if (d - b) * (amount - c) < (drop - d) * (c - a):  # steeper from here on
                break
            corners.pop()
        corners.append((amount, drop))
    return corners


def allocate(curves: Mapping[str, Mapping[float, float]], sizes: Mapping[str, int], amount: float) -> dict[str, float]:
    """How much to remove from each layer, so that the drops, added up, are as small as the curves allow: sensitive layers less.

    Each layer's curve, made convex, is a row of straight pieces. The piece with the least drop for each weight removed is taken
    first, then the next, until exactly round(amount * all weights) are removed; of the last piece only what is needed.
    Among equally cheap pieces the one that ends at the smaller amount goes first, so that layers share.

    Arguments: curves, {layer: {amount: drop}}, as layer_sensitivity returns; sizes, {layer: weights} of the network, where
    layers without a curve stay whole but count; amount, the fraction to remove of all. Returns {layer: fraction removed} for
    the layers with a curve, each at most the largest amount of its curve: that many weights are whole numbers. Raises
    UnreachableTarget where that is too little, and ValueError for a curve of no layer and an amount that is not in 0..1.

    Example: curves {"a": {0.5: 0.1}, "b": {0.5: 0.1}}, sizes {"a": 100, "b": 300}, amount 0.4: of the 160 weights 150 are b's,
    at 0.1 / 150 each, and 10 are a's. So a has 0.1, b 0.5.
    Hint: convex(curve) gives the corners. A piece from one amount to the next has round(next * size) - round(amount * size)
    weights.
    """
    if not curves or not set(curves) <= set(sizes) or not 0 <= amount <= 1:
        raise ValueError(f"expected curves of layers of {list(sizes)} and an amount in 0..1, got {list(curves)} and {amount}")
    pieces, total = [], sum(sizes.values())
    for name, curve in curves.items():
        corners, size = convex(curve), sizes[name]
        for (start, low), (end, high) in zip(corners, corners[1:]):
            pieces.append(((high - low) / (end - start) / size, end, name, round(end * size) - round(start * size)))
    removed, left = dict.fromkeys(curves, 0), round(amount * total)
    for _, _, name, count in sorted(pieces):
        taken = min(count, left)
        removed[name] += taken
        left -= taken
    if left:
        raise selection.UnreachableTarget(1 - amount, 1 - sum(removed.values()) / total)
    return {name: count / sizes[name] for name, count in removed.items()}


class Stage(NamedTuple):
    """A stage of a recovery: the sparsity in force, and the score before and after training."""

    sparsity: float
    before: float
    after: float


def recover(
    model: nn.Module,
    amounts: Sequence[float | Mapping[str, float]],
    train: Callable[[nn.Module, int], object],
    evaluate: Callable[[nn.Module], float],
) -> tuple[nn.Module, list[Stage]]:
    """Prune a copy of `model` by magnitude in stages, and train after each: (the copy, its stages). The model is not changed.

    Arguments: amounts, for each stage the fraction of all weights to remove, or {layer: fraction}, as allocate gives;
    train(copy, stage), which trains in place, stage 0, 1, ..., so that the learning rate can fall; evaluate(copy), a score on
    *validation* data. What was removed stays removed: without masks the zeros would grow back.
    """
    smaller, stages = copy.deepcopy(model), []
    score = lambda: selection._score(f"stage {stage}", 1 - metrics.sparsity(smaller), smaller, evaluate, ())[2]
    for stage, amount in enumerate(amounts):
        if isinstance(amount, Mapping):
            smaller = selection.compress(smaller, {layer: 1 - share for layer, share in amount.items()}, "magnitude")
        else:
            magnitude.prune(smaller, amount)
        before = score()
        with magnitude.Masks({name: weight.detach() != 0 for name, weight in metrics.weights(smaller).items()}).hold(smaller):
            train(smaller, stage)
        stages.append(Stage(metrics.sparsity(smaller), before, score()))
    return smaller, stages


class Verdict(NamedTuple):
    """What validate found: the drop allowed, overall and of each class, and the reasons to say no. exit_code is 0 or 1."""

    allowed: float
    overall: Drop
    classes: dict[int, Drop]
    reasons: list[str]

    @property
    def exit_code(self) -> int:
        return 1 if self.reasons else 0

    def __str__(self):
        said = "; ".join(self.reasons) or "accepted"
        return f"accuracy lost {self.overall}, allowed {self.allowed:.4f}: {said}"


def validate(model: nn.Module, original: nn.Module, split: Split, allowed: float | str = "standard_classification") -> Verdict:
    """Whether a compressed model may take the place of the original; for a script, sys.exit(validate(...).exit_code).

    It must be shown to be good: the whole 95% interval of the drop, its upper end too, must be within what is allowed. And no
    class may be shown to be bad: the interval of a class, with few examples, must not lie wholly above what is allowed.

    Arguments: split, labelled examples that neither model was trained or chosen on; allowed, the accuracy that may be lost, a
    fraction from 0 to 1, or the name of a task, as in acceptable_drop. Returns a Verdict, with a reason, a string, for the
    overall drop and for each class that fails. Both models stay as they are. Raises ValueError for another `allowed`.

    Example: of 1000 examples 30 are lost and none won, 0.05 is allowed: 0.03, at most about 0.041: accepted. But if these 30
    are 30 of the 60 examples of one class, that class lost half: not accepted.
    Hint: correct(model, split) is 0 or 1 for each example, drop_of(lost) the Drop of such a difference, with its interval.
    A bootstrap cannot see what no example shows: where nothing changed in N examples, up to 3 / N may still be lost.
    """
    if not (isinstance(allowed, str) or 0 <= allowed <= 1) or not len(split.y):
        raise ValueError(f"expected a drop in 0..1 or a task, and examples, got {allowed!r} and {len(split.y)} examples")
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    lost, labels = correct(original, split) - correct(model, split), split.y.cpu()
    overall, reasons = drop_of(lost), []
    if overall.high > allowed:
        reasons.append(f"up to {overall.high:.4f} may be lost")
    classes = {label: drop_of(lost[labels == label]) for label in labels.unique().tolist()}
    for label, drop in classes.items():
        if drop.low > allowed:
            reasons.append(f"class {label} loses {drop}")
    return Verdict(allowed, overall, classes, reasons)
