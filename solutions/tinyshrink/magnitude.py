"""Magnitude pruning: score every weight, remove the smallest, keep them removed while the rest trains on.

Sources: Han et al. 2015, https://arxiv.org/abs/1506.02626 (prune and retrain); Zhu & Gupta 2017,
https://arxiv.org/abs/1710.01878 (gradual pruning); Frankle & Carbin 2019, https://arxiv.org/abs/1803.03635 (lottery ticket);
Mishra et al. 2021, https://arxiv.org/abs/2104.08378 (N:M); Molchanov et al. 2019, https://arxiv.org/abs/1906.10771 (Taylor).
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from . import metrics


def kth_smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th smallest of `values` (n,), counted from 1, as a scalar tensor of the same dtype.

    It partitions in place of sorting: O(n), and on a CPU NumPy's vectorized partition is the fastest at hand.
    Raises ValueError for a k outside 1..n.
    """
    if values.ndim != 1 or not 1 <= k <= len(values):
        raise ValueError(f"expected a flat tensor and k from 1 to its length, got shape {tuple(values.shape)} and k = {k}")
    values = values.detach()
    if values.device.type != "cpu":
        return values.kthvalue(k).values
    lowest = values.min()
    above = values[values > lowest] if int((values == lowest).count_nonzero()) > len(values) // 10 else values
    k -= len(values) - len(above)  # a mass of equal values, the zeros of a pruned layer, makes a partition slow
    if k <= 0:
        return lowest
    exact = above if above.dtype in (torch.float32, torch.float64) else above.float()
    return torch.tensor(np.partition(exact.numpy(), k - 1)[k - 1].item(), dtype=values.dtype)


def magnitude_mask(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Choose which weights to keep: the mask that removes the smallest scores.

    Exactly round(sparsity * n) of the n scores are removed (Python's round). Equal scores are removed in the order of
    their position, the earliest first, so the count is exact and a second run gives the same mask.

    Arguments: scores, any shape and floating dtype, larger = more important (for magnitude pruning weight.abs());
    sparsity, the fraction to remove, 0 to 1. Returns a bool tensor of the same shape, True = kept.
    Raises ValueError for a sparsity outside 0..1, an empty tensor, and scores that are NaN or infinite.

    Example: scores [3, 1, 2, 1] at sparsity 0.25 give [True, False, True, True].
    Hint: kth_smallest(values, k) finds the largest score to be removed. Then care for the scores that equal it.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is the fraction to remove, 0 to 1: got {sparsity}")
    if scores.numel() == 0:
        raise ValueError(f"scores must hold at least one value, got shape {tuple(scores.shape)}")
    if not torch.isfinite(torch.stack(scores.aminmax())).all():
        raise ValueError("scores must be finite, got NaN or infinity among them")
    flat = scores.detach().flatten()
    num_removed = round(sparsity * flat.numel())
    if num_removed == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = kth_smallest(flat, num_removed)
    mask = flat > threshold
    ties = (flat == threshold).nonzero().flatten()
    num_tied_kept = flat.numel() - num_removed - int(mask.count_nonzero())
    mask[ties[len(ties) - num_tied_kept :]] = True
    return mask.view(scores.shape)


def global_masks(scores: Mapping[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """One ranking over all layers: remove the smallest scores of the whole network, wherever they are.

    Exactly round(sparsity * total) scores are removed; ties go in the order of the dict, then of the position.

    Arguments: scores, {name: tensor of any shape}; sparsity, the fraction of the total to remove, 0 to 1.
    Returns {name: bool tensor of that shape}, True = kept. Raises ValueError for an empty dict, and as magnitude_mask.

    Example: {"a": [3, 1], "b": [4, 5]} at sparsity 0.5 gives a = [False, False], b = [True, True].
    Hint: make one long vector, rank it once, and cut the mask into the pieces again.
    """
    if not scores:
        raise ValueError("scores must name at least one tensor, got an empty dict")
    lengths = [tensor.numel() for tensor in scores.values()]
    mask = magnitude_mask(torch.cat([tensor.flatten() for tensor in scores.values()]), sparsity)
    pieces = mask.split(lengths)
    return {name: piece.view(scores[name].shape) for name, piece in zip(scores, pieces)}


def nm_mask(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Keep the n largest scores of every m neighbours: the N:M pattern that sparse tensor cores run (2:4).

    Neighbours are m consecutive inputs of one output, along the rows of scores.flatten(1); a 1-D tensor is one row.
    Among equal scores the earliest goes first. Arguments: scores (outputs, inputs, ...), 0 <= n <= m. Returns a bool
    tensor of that shape, True = kept. Raises ValueError when n and m do not fit, or m does not divide the rows.

    Example: scores [[1, 4, 3, 2]] with 2:4 give [[False, True, True, False]]. Hint: argsort(stable=True) in groups of m.
    """
    if not 0 <= n <= m or m == 0:
        raise ValueError(f"n:m needs 0 <= n <= m and m > 0, got {n}:{m}")
    if scores.numel() == 0 or scores.numel() // (len(scores) if scores.ndim > 1 else 1) % m:
        raise ValueError(f"rows of scores of shape {tuple(scores.shape)} do not divide into groups of {m}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity among them")
    groups = scores.detach().reshape(-1, m)
    order = groups.argsort(dim=1, stable=True)  # (groups, m), smallest first
    mask = torch.ones_like(groups, dtype=torch.bool)
    mask.scatter_(1, order[:, : m - n], False)
    return mask.view(scores.shape)


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set the removed weights of `model` to exactly zero, in place.

    Arguments: masks, {parameter name as in model.named_parameters(): bool tensor of its shape, True = kept}.
    The parameters stay the same objects (an optimizer holds them), and no gradient is recorded.
    Nothing at all is changed where one name or shape does not fit. Raises KeyError for a name that the model does not have,
    ValueError for a mask of another shape.

    Hint: model.named_parameters(remove_duplicate=False) also knows both names of a shared parameter; masked_fill_ writes
    in place.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        if name not in parameters:
            raise KeyError(f"the model has no parameter {name!r}: were the masks made for another model?")
        if mask.shape != parameters[name].shape:
            raise ValueError(f"{name} has shape {tuple(parameters[name].shape)}, its mask {tuple(mask.shape)}")
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask, 0)


class Masks(dict):
    """{parameter name: bool tensor, True = kept}: what `prune` returns.

    Keep the weights at zero while the model trains on, with any optimizer and any loop:

        with masks.hold(model):
            train(model)

    A layer that lost all its weights while others kept some passes nothing on: that is warned of, by name.
    """

    def __init__(self, *arguments, **masks):
        super().__init__(*arguments, **masks)
        emptied = [name for name, mask in self.items() if not mask.any()]
        if 0 < len(emptied) < len(self):
            warnings.warn(
                f"no weight is left in {', '.join(emptied)}: lower the sparsity, ignore it, or prune with scope='layer'",
                stacklevel=3,
            )

    @property
    def sparsity(self) -> float:
        """The fraction removed of all masked weights. Raises ValueError where there is no mask."""
        total = sum(mask.numel() for mask in self.values())
        if total == 0:
            raise ValueError("there are no masks, so no sparsity either")
        return 1 - sum(int(mask.count_nonzero()) for mask in self.values()) / total

    @contextmanager
    def hold(self, model: nn.Module):
        """Inside the `with` block, removed weights of `model` are set back to zero after every step of any optimizer.

        Zeroing the gradient would not do: momentum, and Adam's averages, move a weight whose gradient is zero.
        """
        apply_masks(model, self)
        handle = register_optimizer_step_post_hook(lambda *_: apply_masks(model, self))
        try:
            yield self
        finally:
            handle.remove()
            apply_masks(model, self)  # for a loop that moves weights without an optimizer's step


def taylor_scores(weight: nn.Parameter) -> torch.Tensor:
    """|weight x gradient|: to first order, how much the loss changes when the weight goes to zero.

    Uses weight.grad as loss.backward() left it; averaged over many batches it is steadier. Before any training the same
    score is SNIP's (Lee et al. 2019, https://arxiv.org/abs/1810.02340). Raises ValueError where there is no gradient.

    Example: weight [2, -3] with gradient [0.5, 0] scores [1, 0].
    """
    if weight.grad is None:
        raise ValueError("the weight has no gradient: call loss.backward() on a batch of training data first")
    return (weight.detach() * weight.grad).abs()


def block_scores(weight: torch.Tensor, rows: int = 4) -> torch.Tensor:
    """Mean |weight| of each block of `rows` neighbouring outputs at one input, as the score of every weight in the block.

    Blocks go or stay whole (but for one of the network, where the exact count ends within it), so that `rows` outputs
    have the same mask and a sparse kernel loads each input once for all of them. Arguments: weight (outputs, inputs,
    ...), whose last block may be smaller. Returns scores of that shape. Raises ValueError for rows < 1.
    """
    if rows < 1:
        raise ValueError(f"a block needs at least one row, got {rows}")
    sizes = weight.detach().abs().flatten(1)  # (outputs, inputs)
    means = torch.stack([block.mean(0) for block in sizes.split(rows)])  # (blocks, inputs)
    return means.repeat_interleave(rows, dim=0)[: len(sizes)].view(weight.shape)


CRITERIA = {
    "magnitude": lambda weight: weight.detach().abs(),
    "taylor": lambda weight: taylor_scores(weight),
    "snip": lambda weight: taylor_scores(weight),  # the same score, of an untrained network
    "block": lambda weight: block_scores(weight),
    "random": lambda weight: torch.rand_like(weight, dtype=torch.float32),
}


def prune(
    model: nn.Module,
    sparsity: float,
    scope: str = "global",
    criterion: str | Callable[[nn.Parameter], torch.Tensor] = "magnitude",
    ignore: Iterable[str] = (),
) -> Masks:
    """Prune `model` in place: score its weights, choose masks, set the removed weights to zero. Returns the masks.

    Arguments: sparsity, the fraction to remove, 0 to 1; scope, "global" (one ranking over all layers) or "layer" (the
    same fraction of each); criterion, "magnitude", "taylor", "snip", "block", "random" or a function from a weight to
    scores of its shape; ignore, names of modules or parameters to leave alone. Pruned are the weights of
    prunable(model, ignore), frozen ones too. Raises ValueError for unknown names, a model without prunable weights, and
    weights that are NaN or infinite.
    """
    if scope not in ("global", "layer"):
        raise ValueError(f'scope must be "global" or "layer", got {scope!r}')
    scores = weight_scores(model, criterion, ignore)
    if scope == "global":
        masks = global_masks(scores, sparsity)
    else:
        masks = {name: magnitude_mask(values, sparsity) for name, values in scores.items()}
    apply_masks(model, masks)
    return Masks(masks)


def weight_scores(
    model: nn.Module,
    criterion: str | Callable[[nn.Parameter], torch.Tensor] = "magnitude",
    ignore: Iterable[str] = (),
) -> dict[str, torch.Tensor]:
    """{parameter name: scores of its shape} for every prunable weight, by a criterion as in `prune`.

    Weights that are zero get the lowest number there is, whatever the criterion says: what was removed stays removed.
    """
    if not callable(criterion) and criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)} or a function, got {criterion!r}")
    score = criterion if callable(criterion) else CRITERIA[criterion]
    scores = {}
    for name, weight in prunable(model, ignore).items():
        if weight.is_meta or isinstance(weight, nn.parameter.UninitializedParameter):
            raise ValueError(f"{name} has no values yet: load the model, or run it once, before it is pruned")
        if weight.numel() == 0:
            raise ValueError(f"{name} is empty, of shape {tuple(weight.shape)}: name it in ignore")
        if not torch.isfinite(torch.stack(weight.detach().aminmax())).all():
            raise ValueError(f"{name} holds NaN or infinite weights: the model cannot be pruned, train it anew")
        values = score(weight)
        if values.shape != weight.shape:
            raise ValueError(f"the criterion must give {name} scores of its shape {tuple(weight.shape)}, got {values.shape}")
        values = values.detach() if values.is_floating_point() else values.float()
        scores[name] = values.masked_fill(weight.detach() == 0, torch.finfo(values.dtype).min)
    return scores


def prunable(model: nn.Module, ignore: Iterable[str] = ()) -> dict[str, nn.Parameter]:
    """{name: weight} of the Linear and convolution weights of `model` that are not ignored.

    `ignore` names modules (all that is inside too) or parameters. Raises ValueError for a name that the model does not
    have, and when nothing is left to prune.
    """
    names, parameters = metrics.ignored_names(model, ignore), model.named_parameters(remove_duplicate=False)
    ignored = {parameter for name, parameter in parameters if name in names}  # not by name: a shared one has two
    kept = {name: weight for name, weight in metrics.weights(model).items() if weight not in ignored}
    if not kept:
        outside = " outside of what ignore names" if names else ""
        raise ValueError(f"{type(model).__name__} has no Linear or convolution weights to prune{outside}")
    return kept


def polynomial(start: float, end: float, progress: float, power: float = 3) -> float:
    """The sparsity at `progress` (0 to 1) on the way from `start` to `end`: fast first, slower and slower after.

    Of the whole way the fraction (1 - progress)^power is still to go. power 3 is Zhu & Gupta's cubic, power 1 a straight line.

    Example: from 0 to 0.9, cubic, at progress 0.5: 0.7875. Raises ValueError for a power that is not above 0.
    Hint: where must it be at progress 0, and where at 1?
    """
    if power <= 0:
        raise ValueError(f"power must be above 0, got {power}")
    return end - (end - start) * (1 - progress) ** power


def exponential(start: float, end: float, progress: float) -> float:
    """The sparsity at `progress` (0 to 1) when every step keeps the same fraction of what is left.

    The density (1 - sparsity) falls from 1 - start to 1 - end like money in a bank with a negative interest.
    Raises ValueError for end = 1 (no constant fraction gets to nothing) and for start >= end.

    Example: from 0 to 0.75 at progress 0.5: 0.5, since halving twice leaves a quarter.
    """
    if not start < end < 1:
        raise ValueError(f"exponential needs start < end < 1, got start {start} and end {end}")
    return 1 - (1 - start) * ((1 - end) / (1 - start)) ** progress


def multistep(start: float, end: float, progress: float, jumps: int = 3) -> float:
    """The sparsity at `progress` (0 to 1) in `jumps` equal jumps, the last one at progress 1."""
    if jumps < 1:
        raise ValueError(f"multistep needs at least one jump, got {jumps}")
    return start + (end - start) * int(progress * jumps + 1e-9) / jumps


SCHEDULES = {
    "linear": lambda start, end, progress: polynomial(start, end, progress, power=1),
    "cubic": lambda start, end, progress: polynomial(start, end, progress, power=3),
    "polynomial": lambda start, end, progress, power=3: polynomial(start, end, progress, power),
    "exponential": lambda start, end, progress: exponential(start, end, progress),
    "fraction": lambda start, end, progress: exponential(start, end, progress),
    "multistep": lambda start, end, progress, jumps=3: multistep(start, end, progress, jumps),
}


def schedule(kind: str, start: float, end: float, steps: int, **options) -> Callable[[int], float]:
    """A pruning schedule: a function from the step k = 0..steps to the sparsity after it, `start` at 0, `end` at `steps`.

    Kinds: "linear", "cubic", "polynomial" (power=3), "exponential" (also called "fraction": a constant fraction of what
    is left), "multistep" (jumps=3). Raises ValueError for anything else, and the function for a step outside 0..steps.
    """
    if kind not in SCHEDULES:
        raise ValueError(f"no schedule is called {kind!r}: expected one of {', '.join(SCHEDULES)}")
    if not 0 <= start <= end <= 1:
        raise ValueError(f"a schedule needs 0 <= start <= end <= 1, got start {start} and end {end}")
    if steps < 1:
        raise ValueError(f"a schedule needs at least one step, got {steps}")
    try:
        SCHEDULES[kind](start, end, 0.5, **options)  # its own errors, before anything is trained
    except TypeError as error:
        if not options:
            raise
        raise ValueError(f"the {kind} schedule does not take {', '.join(options)}") from error

    def sparsity(step: int) -> float:
        if not 0 <= step <= steps:
            raise ValueError(f"step {step} is outside the schedule's 0 to {steps}")
        if step in (0, steps):
            return end if step else start  # exactly, so that the count of removed weights is exact
        return SCHEDULES[kind](start, end, step / steps, **options)

    return sparsity


def iterative_prune(
    model: nn.Module,
    sparsity: float,
    steps: int,
    train: Callable[[nn.Module], object],
    kind: str = "cubic",
    scope: str = "global",
    criterion: str | Callable[[nn.Parameter], torch.Tensor] = "magnitude",
    ignore: Iterable[str] = (),
) -> Masks:
    """Prune `model` in place a little, let it recover, prune more: `steps` times up to `sparsity`. Returns the last masks.

    Arguments: train, a function that trains the model it is given for a while (any loop, any optimizer); kind, the
    schedule from 0 to `sparsity`; the others as in `prune`. After each of the steps the model is trained once with its
    masks held, after the last one too. Raises ValueError for a sparsity outside 0..1, and as schedule and prune.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is the fraction to remove, 0 to 1: got {sparsity}")
    level = schedule(kind, 0, sparsity, steps)
    for step in range(1, steps + 1):
        masks = prune(model, level(step), scope, criterion, ignore)
        with masks.hold(model):
            train(model)
    return masks


def lottery_ticket(
    model: nn.Module,
    init: Mapping[str, torch.Tensor],
    sparsity: float,
    rounds: int,
    train: Callable[[nn.Module], object],
    ignore: Iterable[str] = (),
) -> Masks:
    """Find a winning ticket in `model`, in place: train, prune, rewind what is left to `init`, `rounds` times.

    Each round trains the model, removes the same fraction of the weights that are left, and puts the others back to
    their values in `init` (a copy of model.state_dict() from the start or early in training). Afterwards the model is
    the ticket: untrained, masked, ready to be trained inside `with masks.hold(model)`. Returns the masks.
    Raises ValueError for a sparsity that is not between 0 and 1.
    """
    if not 0 < sparsity < 1:
        raise ValueError(f"a ticket needs a sparsity between 0 and 1, got {sparsity}")
    level = schedule("fraction", 0, sparsity, rounds)
    init = {name: value.clone() for name, value in init.items()}  # it may be the live state of the model
    masks = Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        masks = prune(model, level(step), ignore=ignore)
        model.load_state_dict(init)
        apply_masks(model, masks)
    return masks
