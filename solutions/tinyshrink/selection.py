"""Greedy selection: try each layer alone at several ratios, then give each the ratio that one accuracy level allows it.

A ratio is the cost that is kept. Source: AIMET's greedy compression-ratio selection (Qualcomm), method and code at
https://github.com/quic/aimet. It measures how well each layer takes compression in place of guessing it.
"""

import copy
import dataclasses
import json
import math
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import joblib
import torch
from sklearn.isotonic import IsotonicRegression
from torch import nn

from . import channel_plan, files, lowrank, magnitude, metrics, structured, suffix

LayerShape, layer_shape = lowrank.LayerShape, lowrank.layer_shape
layer_cost, svd_cost, rank_for_ratio = lowrank.layer_cost, lowrank.svd_cost, lowrank.rank_for_ratio
METHODS = ("spatial", "weight", "channels", "magnitude")


class UnreachableTarget(ValueError):
    """No level is cheap enough. `best` is the lowest ratio that can be reached."""

    def __init__(self, target: float, best: float):
        super().__init__(f"the ratio {target:.4g} cannot be reached, the best is {best:.4f}: ask for that, or try lower ratios")
        self.best = best


class Selection(NamedTuple):
    """{layer: ratio}, the ratio of the whole model that they give, and the level of accuracy at which they were read off."""

    ratios: dict[str, float]
    achieved: float
    level: float


class Table(dict):
    """{layer: {ratio: score}}, higher is better (a loss has its sign turned), with the uncompressed score in `baseline`."""

    def __init__(self, columns: Mapping[str, Mapping[float, float]], baseline: float):
        super().__init__(columns)
        self.baseline = baseline


def layer_shapes(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> dict[str, lowrank.LayerShape]:
    """{layer: LayerShape} of every layer of `model`, what select_ratios wants. `output` is (positions for `example`, 1)."""
    macs, shapes = metrics.macs_by_layer(model, example), {}
    for name, layer in metrics.layers(model).items():
        number = sum(weight.numel() for key, weight in layer.named_parameters() if key.endswith("weight"))
        plain = isinstance(layer, (nn.Linear, nn.Conv2d))
        shape = lowrank.layer_shape(layer) if plain else lowrank.LayerShape(1, number)  # of another layer, its cost
        shapes[name] = shape._replace(output=(macs.get(name, 0) // number, 1))
    return shapes


def rank_or_one(shape: lowrank.LayerShape, ratio: float, scheme: str, metric: str, multiple: int) -> int:
    """rank_for_ratio, and without a warning 1 where even rank 1 costs more."""
    least = lowrank.svd_cost(shape, 1, scheme, metric) / lowrank.layer_cost(shape, metric)
    return 1 if least > 1 else lowrank.rank_for_ratio(shape, max(ratio, least), scheme, metric, multiple)


def kept_ratio(
    shape: lowrank.LayerShape, ratio: float, scheme: str = "spatial", metric: str = "macs", multiple: int = 1
) -> float:
    """The ratio that a layer really has when `ratio` is asked for: ranks are whole numbers, rounded up to a multiple.

    1.0, the layer as it is, for a ratio of 1 and where two layers would cost more. scheme "magnitude" can have any ratio.
    """
    whole = lowrank.layer_cost(shape, metric)
    if ratio >= 1 or scheme == "magnitude" or not whole:
        return min(ratio, 1.0)
    return min(1.0, lowrank.svd_cost(shape, rank_or_one(shape, ratio, scheme, metric, multiple), scheme, metric) / whole)


def total_ratio(
    shapes: Mapping[str, lowrank.LayerShape],
    ratios: Mapping[str, float],
    scheme: str = "spatial",
    metric: str = "macs",
    multiple: int = 1,
) -> float:
    """The cost of the whole model with these layers compressed, divided by its cost before.

    Arguments: shapes, {layer: LayerShape} of every layer of the model; ratios, {layer: the cost asked to be kept}, of some
    of them, the others stay as they are; scheme, metric and multiple as in kept_ratio. Returns a float, up to 1.

    Example: Linear layers of 100 x 100 and 100 x 300 weights, the first at ratio 0.5: 35000 / 40000 = 0.875.
    Hint: kept_ratio and layer_cost are given. Which ratio has a layer that `ratios` does not name?
    """
    kept = total = 0
    for name, shape in shapes.items():
        cost = layer_cost(shape, metric)
        kept += cost * kept_ratio(shape, ratios.get(name, 1.0), scheme, metric, multiple)
        total += cost
    return kept / total


def monotone(column: Mapping[float, float]) -> dict[float, float]:
    """The rising curve next to a column of scores: more cost kept, never a lower score (isotonic regression).

    Of all columns that never fall from a ratio to a larger one, it is the one with the least sum of squared changes.
    Arguments: column, {ratio: score}, in any order. Returns a new {ratio: score}, the smallest ratio first.
    Raises ValueError for an empty column and a score that is not finite.

    Example: {0.25: 0.6, 0.5: 0.9, 0.75: 0.8} becomes {0.25: 0.6, 0.5: 0.85, 0.75: 0.85}.
    Hint: pool adjacent violators. Where a score is below the one before it, both become their mean, as one block; this block
    may now be below the block before it. Or use a library that has isotonic regression.
    """
    if not column or not all(math.isfinite(score) for score in column.values()):
        raise ValueError(f"expected at least one score, all of them finite, got {dict(column)}")
    ratios = sorted(column)
    return dict(zip(ratios, IsotonicRegression().fit_transform(ratios, [column[ratio] for ratio in ratios]).tolist()))


def ratio_at(column: Mapping[float, float], level: float, baseline: float, interpolate: bool = True) -> float:
    """How small a layer may become at an accuracy level: the smallest ratio from which on its scores are at or above `level`.

    Between two candidates the score is a straight line, and the last point is the uncompressed model, ratio 1.0 with score
    `baseline`. Where all scores reach the level, it is the smallest candidate; above the baseline it is 1.0.
    interpolate=False, AIMET's rule, takes evaluated ratios only: the smallest one whose score, and that of every larger
    candidate, is at or above the level, or 1.0.

    Arguments: column, {ratio: score} in any order, as noisy as it may be; level and baseline, scores. Returns a float.
    Raises ValueError for an empty column, a ratio outside 0..1, a score that is not finite.

    Example: {0.2: 0.5, 0.6: 0.9} with baseline 1.0 at level 0.6: 0.3, without interpolation 0.6; at 0.95: 0.8, without 1.0.
    Hint: from which end must you look, so that one lucky candidate among bad ones does not count?
    """
    if not column or not all(0 < ratio <= 1 and math.isfinite(score) for ratio, score in column.items()):
        raise ValueError(f"expected ratios above 0 and up to 1 with finite scores, got {dict(column)}")
    points = sorted(({**column, 1.0: baseline}).items(), reverse=True)
    if interpolate and baseline < level:
        return 1.0
    (right, above), *rest = points
    for ratio, score in rest:
        if score < level:
            return right - (above - level) / (above - score) * (right - ratio) if interpolate else right
        right, above = ratio, score
    return right


def highest_level(
    cost: Callable[[float], float], low: float, high: float, target: float, tolerance: float = 1e-3, precision: float = 0.0
) -> float:
    """The highest accuracy level, from `low` to `high`, whose cost is at most `target` plus `tolerance`, by bisection.

    Arguments: cost, a function from a level to the ratio of the whole model, which never falls as the level rises, but may
    jump; precision, how near the result has to be, 0 for as near as floats go. Returns a level whose cost was found to be low
    enough. Raises UnreachableTarget(target, cost(low)) where even `low` costs more.

    Example: cost = lambda level: level ** 2, from 0 to 1, with target 0.25 and tolerance 0: 0.5.
    Hint: keep two levels, one that is cheap enough and one that is not. When is the middle none of the two?
    """
    limit = target + tolerance + 1e-12
    if cost(low) > limit:
        raise UnreachableTarget(target, cost(low))
    if cost(high) <= limit:
        return high
    while high - low > precision and low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if cost(middle) <= limit else (low, middle)
    return low


def lowest_score(table: Mapping[str, Mapping[float, float]], baseline: float) -> float:
    """The lowest score of a table and its baseline: at that level each layer may take its smallest candidate."""
    return min(baseline, *(score for column in table.values() for score in column.values()))


def check_selection(
    table: Mapping[str, Mapping[float, float]],
    layers: Iterable[str],
    target: float,
    baseline: float,
    scheme: str = "magnitude",
) -> None:
    """ValueError for a table that does not fit the layers, an unknown scheme, and numbers that are none."""
    if scheme not in ("spatial", "weight", "magnitude"):
        raise ValueError(f'scheme must be "spatial", "weight" or "magnitude", got {scheme!r} (channels: use greedy)')
    if not table or not all(table.values()) or not set(table) <= set(layers):
        others = sorted(set(table) - set(layers))
        raise ValueError(
            f"the table is empty or of another model: it has {others or 'no column with scores'}, the model {list(layers)}"
        )
    if not 0 < target <= 1 or not math.isfinite(baseline):
        raise ValueError(f"expected a target above 0 and up to 1 and a finite baseline, got {target} and {baseline}")


def select_ratios(
    table: Mapping[str, Mapping[float, float]],
    shapes: Mapping[str, lowrank.LayerShape],
    target: float,
    baseline: float,
    scheme: str = "spatial",
    metric: str = "macs",
    interpolate: bool = True,
    multiple: int = 1,
    tolerance: float = 1e-3,
) -> Selection:
    """The ratio of each layer at the highest level of accuracy whose total cost is at most `target` plus `tolerance`.

    Arguments: table, {layer: {ratio: score}}; shapes, {layer: LayerShape} of every layer, in the table or not; target, of the
    whole model; baseline, the uncompressed score. With multiple 1 a layer at ratio r counts as r of its cost (ranks round down,
    and cost no more), else as what ranks that are a multiple keep. Raises UnreachableTarget, and ValueError for bad arguments.
    """
    check_selection(table, shapes, target, baseline, scheme)

    def ratios(level):
        return {name: ratio_at(column, level, baseline, interpolate) for name, column in table.items()}

    def cost(level):
        return total_ratio(shapes, ratios(level), scheme if multiple > 1 else "magnitude", metric, multiple)

    level = highest_level(cost, lowest_score(table, baseline), baseline, target, tolerance)
    chosen = ratios(level)
    if multiple > 1:
        chosen = {name: kept_ratio(shapes[name], ratio, scheme, metric, multiple) for name, ratio in chosen.items()}
    return Selection(chosen, cost(level), level)


class Compressor:
    """How a method makes `model` smaller: Compressor(model, "spatial")({"conv2": 0.5}) is a new model. Arguments as explore's.

    `layers` are the names of the layers that it can compress; of channels that go together it is the first layer's.
    """

    def __init__(self, model, method, example=None, ignore=(), metric="macs", multiple=1):
        if method not in METHODS or metric not in ("macs", "memory", "latency"):
            raise ValueError(
                f"expected a method of {METHODS} and the metric macs, memory or latency, got {method!r}, {metric!r}"
            )
        if method == "magnitude" and (metric == "latency" or multiple > 1):
            raise ValueError(
                f"magnitude pruning saves no time and knows no multiple, got metric {metric!r}, multiple {multiple}"
            )
        if example is None and (method == "channels" or metric == "latency"):
            raise ValueError("channels and latency need an example: a batch that the model takes")
        self.model, self.method, self.multiple = model, method, multiple
        self.metric = "macs" if metric == "latency" else metric  # what a layer's ratio is of
        self.least = {}  # the ratio of a layer at rank 1
        if method == "channels":
            self.plan = structured.plan_channels(model, example, 0.5, ignore=ignore)  # each group was tried
            plain = channel_plan.plain_copy(model)
            self.scores = [structured.group_scores(plain, group, "l1") for group in self.plan.groups]
            self.layers = [row[0] for row in self.plan.rows()]
        elif method == "magnitude":
            self.layers = [channel_plan.layer_name(name) for name in magnitude.prunable(model, ignore)]
        else:
            found = lowrank.candidates(model, method, ignore)
            self.shapes = {name: lowrank.layer_shape(layer) for name, layer in found.items()}
            self.least = {name: kept_ratio(shape, 1e-9, method, self.metric) for name, shape in self.shapes.items()}
            self.layers = [name for name in found if self.least[name] < 1]
            if high := [f"{name} ({ratio:.0%})" for name, ratio in self.least.items() if ratio > 0.1]:
                warnings.warn(f"even rank 1 keeps a large share of the cost of {', '.join(high)}", stacklevel=3)
        if not any(self.layers):  # a model that is one layer has no name for it
            raise ValueError(f"{type(model).__name__} has no layer inside for {method!r} that is not ignored")

    def __call__(self, ratios: Mapping[str, float]) -> nn.Module:
        for name, ratio in ratios.items():
            if name not in self.layers or not 0 < ratio <= 1:
                raise ValueError(f"expected ratios above 0 and up to 1 of {', '.join(self.layers)}, got {name!r}: {ratio}")
        ratios = {name: ratio for name, ratio in ratios.items() if ratio < 1}
        if self.method == "channels":
            kept = [list(range(group.size)) for group in self.plan.groups]
            for name, ratio in ratios.items():
                group, scores = self.plan.groups[i := self.layers.index(name)], self.scores[self.layers.index(name)]
                amount = min(1 - ratio, 1 - 1 / group.size)
                kept[i] = structured.choose_channels([group], [scores], amount, "uniform", 0, self.multiple)[0]
            return structured.remove_channels(self.model, dataclasses.replace(self.plan, kept=kept))
        if self.method == "magnitude":
            smaller, names = copy.deepcopy(self.model), {}
            for name, weight in metrics.weights(smaller).items():
                names[channel_plan.layer_name(name)] = name, weight
            masks = {names[n][0]: magnitude.magnitude_mask(names[n][1].detach().abs(), 1 - r) for n, r in ratios.items()}
            magnitude.apply_masks(smaller, masks)
            return smaller
        options = self.method, self.metric
        ranks = {name: rank_or_one(self.shapes[name], ratio, *options, self.multiple) for name, ratio in ratios.items()}
        saves = {n: rank for n, rank in ranks.items() if kept_ratio(self.shapes[n], ratios[n], *options, self.multiple) < 1}
        return lowrank.replace_layers(self.model, saves, *options)


def compress(model: nn.Module, ratios: Mapping[str, float], method: str = "spatial", **options) -> nn.Module:
    """A new model with each layer of `ratios` at its ratio: AIMET's manual mode. Options: example, metric, multiple."""
    return Compressor(model, method, **options)(ratios)


def explore(
    model: nn.Module,
    method: str,
    evaluate: Callable[..., float],
    candidates: int | Iterable[float] = 10,
    *,
    data: object = None,
    example: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    ignore: Iterable[str] = (),
    metric: str = "macs",
    multiple: int = 1,
    higher_is_better: bool | None = None,
    path: str | os.PathLike | None = None,
    fast: bool = True,
    jobs: int = 1,
    backend: str = "threading",
) -> Table:
    """Score the model with one layer compressed at a time, all others as they are, at each candidate ratio.

    Arguments: method, "spatial", "weight" (SVD), "channels" or "magnitude"; evaluate(model), or evaluate(model, data) where
    data is given, the score on *validation* data; candidates, N for i/N, i = 1..N-1, or the ratios; example, a batch, for
    channels; ignore, names of modules to leave alone; metric, "macs", "memory" or "latency", what a ratio is of (of a layer,
    latency counts as MACs); multiple, of ranks or channels; higher_is_better, False for a loss.

    With `path` each score is in that file as soon as it is known, and a run that was killed goes on there; `data` (tensors,
    arrays, numbers, in tuples or dicts) is then a must, since the file is of one model, data and method. fast computes what
    comes before the layer once for all its candidates; fast=False does not, at the same scores. jobs run at the same time in
    joblib's backend: "threading", "loky" (processes), or "dask" (a cluster, with a distributed.Client open).

    Raises RuntimeError where evaluate raises (the scores so far stay in the file); ValueError where it gives no finite number,
    for a file of something else, and where compression seems to help although higher_is_better was not said (is it a loss?);
    OSError where the file cannot be written.
    """
    ratios = [i / candidates for i in range(1, candidates)] if isinstance(candidates, int) else sorted(set(candidates))
    if not ratios or not all(0 < ratio < 1 for ratio in ratios):
        raise ValueError(f"candidates must be a number from 2, or ratios between 0 and 1, got {candidates}")
    compressor = Compressor(model, method, example, ignore, metric, multiple)
    given = () if data is None else (data,)
    book = _Scores(path, model, data, f"{method}, {compressor.metric}, {multiple}, {getattr(evaluate, '__qualname__', '')}")
    if ("", 1.0) not in book:
        book.add(*_score("", 1.0, copy.deepcopy(model), evaluate, given))
    wanted = [(name, ratio) for name in compressor.layers for ratio in ratios if (name, ratio) not in book]
    run, graph = uuid.uuid4().hex, suffix.trace(model, compressor.layers) if fast and wanted else None

    def tasks():
        for name, ratio in wanted:
            smaller = compressor({name: ratio})
            shared = (graph, suffix.changed(model, smaller), f"{run} {name}") if graph else ()
            yield joblib.delayed(_score)(name, ratio, smaller, evaluate, given, *shared)

    try:
        for result in joblib.Parallel(jobs, backend, return_as="generator_unordered", pre_dispatch="n_jobs")(tasks()):
            book.add(*result)
    finally:
        _activations.clear()
    sign = -1 if higher_is_better is False else 1
    table = {name: {ratio: sign * book[name, ratio] for ratio in ratios} for name in compressor.layers}
    lowest = sum(book[name, ratios[0]] for name in table) / len(table)
    if higher_is_better is None and lowest > book["", 1.0] + 0.05 * abs(book["", 1.0]):
        raise ValueError(
            f"a layer at ratio {ratios[0]:g} takes the score from {book['', 1.0]:.4g} to {lowest:.4g} on average: give "
            "higher_is_better=False if lower is better, and True if compression really helps"
        )
    return Table(table, sign * book["", 1.0])


class Result(NamedTuple):
    """The compressed model, its ratios, and what was asked, promised and measured (scores: higher is better)."""

    model: nn.Module
    ratios: dict[str, float]
    level: float
    asked: float
    achieved: float
    baseline: float
    score: float

    def __str__(self):
        return (
            f"ratio asked {self.asked:.4f}, achieved {self.achieved:.4f}; score before {self.baseline:.4f}, after "
            f"{self.score:.4f} (each layer alone: at least {self.level:.4f})"
        )


def greedy(
    model: nn.Module,
    method: str,
    evaluate: Callable[..., float],
    target: float,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    table: Table | None = None,
    fit: bool = False,
    interpolate: bool = True,
    tolerance: float = 1e-3,
    metric: str = "macs",
    multiple: int = 1,
    ignore: Iterable[str] = (),
    **exploration,
) -> Result:
    """Explore (unless a `table` is given), select, compress, and measure again what came out: str(result) reports it.

    Arguments as in explore and select_ratios; fit makes each column monotone first; target, the ratio that is kept of the
    metric. Channels shrink the layers behind them too, and latency is no sum, so there the model is compressed and measured at
    each level that bisection tries (latency against `model`, in pairs). For "magnitude" the cost is that of nonzero weights.
    Raises UnreachableTarget with the best ratio, and what explore raises.
    """
    if table is None:
        options = {"example": example, "ignore": ignore, "metric": metric, "multiple": multiple}
        table = explore(model, method, evaluate, **options, **exploration)
    compressor = Compressor(model, method, example, ignore, metric, multiple)
    columns = {name: monotone(column) if fit else column for name, column in table.items()}
    baseline, sign = table.baseline, -1 if exploration.get("higher_is_better") is False else 1

    def measured(ratios):
        return measured_ratio(model, compressor(ratios), example, metric, nonzero=method == "magnitude")

    if method == "channels" or metric == "latency":
        check_selection(columns, compressor.layers, target, baseline)
        low = lowest_score(columns, baseline)
        at = lambda level: {name: ratio_at(column, level, baseline, interpolate) for name, column in columns.items()}
        level = highest_level(lambda x: measured(at(x)), low, baseline, target, tolerance, (baseline - low) / 100)
        ratios = at(level)
    else:
        shapes, least = layer_shapes(model, example), compressor.least
        for name, column in columns.items():  # candidates below rank 1 were rank 1
            columns[name] = {max(ratio, least.get(name, 0)): column[ratio] for ratio in sorted(column, reverse=True)}
        ratios, _, level = select_ratios(columns, shapes, target, baseline, method, metric, interpolate, multiple, tolerance)
    smaller, data = compressor(ratios), exploration.get("data")
    score = sign * _score("the selection", target, copy.deepcopy(smaller), evaluate, () if data is None else (data,))[2]
    return Result(smaller, ratios, level, target, measured(ratios), baseline, score)


def measured_ratio(
    model: nn.Module,
    smaller: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    metric: str = "macs",
    nonzero: bool = False,
) -> float:
    """smaller / model, measured: MACs or weights ("memory") of all layers, or the time of a call, in pairs.

    nonzero leaves the weights out that are zero, and the multiplications with them.
    """
    if metric == "latency":
        inputs = metrics.as_inputs(example)
        with torch.no_grad():
            return 1 / metrics.paired_speedup(lambda: model(*inputs), lambda: smaller(*inputs), repeats=30)
    costs = []
    for network in (model, smaller):
        macs = metrics.macs_by_layer(network, example) if metric == "macs" else {}
        cost = 0.0
        for name, layer in metrics.layers(network).items():
            weights = [weight for key, weight in layer.named_parameters() if key.endswith("weight")]
            number = sum(weight.numel() for weight in weights)
            left = sum(int(weight.count_nonzero()) for weight in weights) if nonzero and network is smaller else number
            cost += left * (macs.get(name, 0) / number if metric == "macs" else 1)
        costs.append(cost)
    return costs[1] / costs[0]


class _Scores(dict):
    """{(layer, ratio): score}, each written to `path` when it is added, the whole file at once or not at all."""

    def __init__(self, path, model, data, method):
        super().__init__()
        self.path = path if path is None else Path(path)
        if path is None:
            return
        if data is None:
            raise ValueError("with a path give the data too, evaluate(model, data) is then called: the file is of one data set")
        state = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)}
        self.of = {"model": suffix.digest(str(model), state), "data": suffix.digest(data), "method": method}
        if not self.path.exists():
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            of, rows = content["of"], {(name, float(ratio)): float(score) for name, ratio, score in content["scores"]}
            differs = [key for key in self.of if of[key] != self.of[key]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no scores ({error!r}): delete it, or name another file") from error
        if differs:
            raise ValueError(f"{path} is of another {' and another '.join(differs)}: delete it, or name another file")
        self.update(rows)

    def add(self, name, ratio, score):
        self[name, ratio] = score
        if self.path is None:
            return
        try:
            with files.whole(self.path) as part:
                part.write_text(
                    json.dumps({"of": self.of, "scores": [[*key, score] for key, score in self.items()]}), encoding="utf-8"
                )
        except OSError as error:
            safe = f"the {len(self) - 1} scores before it are safe: make room, and call again"
            raise OSError(error.errno, f"{error.strerror}: {self.path}, the score of {name} at {ratio:g}; {safe}") from error


_activations: dict[str, dict] = {}  # of this process, by run and layer


def _score(name, ratio, model, evaluate, data, graph=None, changed=(), key=None):
    """(name, ratio, score), checked. With a graph, what comes before `changed` is shared with the other runs of that key."""
    if graph is not None:
        for other in list(_activations)[:-1] if key not in _activations else ():
            _activations.pop(other, None)  # the last layer's may still be in use in another thread
        run = key.split()[0]
        before = next((kept for other, kept in _activations.items() if other != key and other.split()[0] == run), None)
        suffix.Suffix(model, graph, changed, _activations.setdefault(key, {}), before)
    where = f"{name} at ratio {ratio:g}" if name else "the uncompressed model"
    try:
        score = evaluate(model, *data)
    except Exception as error:
        raise RuntimeError(f"evaluate failed for {where}: {type(error).__name__}: {error}") from error
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"evaluate must give a finite number, got {score!r} for {where}")
    return name, ratio, number
