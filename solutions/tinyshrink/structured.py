"""Structured pruning: remove whole filters, heads and layers, so that what is left is a smaller ordinary network.

A zeroed weight still costs its multiplication; a filter that is gone does not. But a filter does not go alone: its
BatchNorm, the inputs of every layer that reads it, and whatever is added to it have to shrink with it. channel_graph finds
what belongs together; here it is scored, chosen, removed, and the result is compared with the model that was only masked.

Sources: Li et al. 2017, https://arxiv.org/abs/1608.08710 (L1); He et al. 2019, https://arxiv.org/abs/1811.00250 (geometric
median); Liu et al. 2017, https://arxiv.org/abs/1708.06519 (BatchNorm scale); Molchanov et al. 2019,
https://arxiv.org/abs/1906.10771 (Taylor); Fang et al. 2023, https://arxiv.org/abs/2301.12900 (groups); Michel et al. 2019,
https://arxiv.org/abs/1905.10650 (heads).
"""

import copy
import math
from collections.abc import Callable, Collection, Iterable, Sequence

import torch
from torch import nn
from tqdm.auto import tqdm

from . import channel_graph, channel_plan, metrics, models
from .channel_graph import UnsupportedModel
from .channel_plan import ChannelPlan, mask_channels, remove_channels


def filter_scores(weight: torch.Tensor, criterion: str = "l1", gradient: torch.Tensor | None = None) -> torch.Tensor:
    """How important each filter is: one score for each output, larger = more important.

    "l1": the sum of |w|. "l2": the root of the sum of squares. "geometric_median": the sum of the L2 distances to the other
    filters; a filter near all others can be replaced by them. "taylor": |sum of w x gradient|, to first order how much the
    loss changes when the filter goes. The scale of a BatchNorm, (outputs,), is scored by "l1" as it is.

    Arguments: weight (outputs, ...), float32 or float64, contiguous or not; gradient, of the same shape, for "taylor" only.
    Returns (outputs,), without gradient; neither argument is changed. Raises ValueError for an unknown criterion, and "taylor"
    without a gradient.

    Example: [[3, 4], [0, 1], [6, 8], [1, 1]] has L1 7, 1, 14, 2 and L2 5, 1, 10, 1.4142.
    Hint: weight.flatten(1) has a row for each filter; torch.cdist gives all distances.
    """
    if criterion not in ("l1", "l2", "geometric_median", "taylor"):
        raise ValueError(f"criterion must be l1, l2, geometric_median or taylor, got {criterion!r}")
    if criterion == "taylor" and gradient is None:
        raise ValueError("taylor needs the gradient: call loss.backward() on training data, and give weight.grad")
    rows = weight.detach().reshape(len(weight), -1)  # (outputs, weights of a filter)
    if criterion == "l1":
        return rows.abs().sum(1)
    if criterion == "l2":
        return rows.square().sum(1).sqrt()
    if criterion == "taylor":
        return (rows * gradient.detach().reshape(len(weight), -1)).sum(1).abs()
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def kept_channels(scores: torch.Tensor, amount: float) -> torch.Tensor:
    """Choose which channels stay: the indices, in rising order, of all but the round(amount * n) smallest scores.

    Of equal scores the earliest goes first. Arguments: scores (n,); amount, the fraction to remove, 0 to below 1.
    Returns int64 indices. Raises ValueError for another amount, scores that are not finite, and when nothing would be left.

    Example: scores [7, 1, 14, 2] with amount 0.5 keep [0, 2].
    Hint: argsort(stable=True). The smaller network needs its channels in their old order.
    """
    if not 0 <= amount < 1:
        raise ValueError(f"amount is the fraction to remove, 0 to below 1: got {amount}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity among them")
    if round(amount * len(scores)) >= len(scores):
        raise ValueError(f"nothing would be left of {len(scores)} channels: remove less than {amount:g} of them")
    order = scores.argsort(stable=True)  # smallest first
    return order[round(amount * len(scores)) :].sort().values


def remove_filters(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, following: nn.Conv2d | nn.Linear, kept: torch.Tensor
) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d | nn.Linear]:
    """Remove filters of a convolution for real: three new, smaller layers in place of conv, norm and the layer behind.

    All that belongs to a removed filter goes: its weights and bias, its four numbers in the BatchNorm, and the inputs of
    `following` that read it. A Linear reads it through a flatten, at several places next to each other.

    Arguments: conv, norm, following as they come in the network, groups 1, conv with or without bias; kept, int64 indices
    of the filters that stay. The given layers are not changed, and share no memory with the new ones, whose dtype and mode
    (training or eval) are theirs.

    Example: Conv2d(3, 8, 3), BatchNorm2d(8), Linear(8 * 4, 10) with kept = [0, 3] become Conv2d(3, 2, 3), BatchNorm2d(2),
    Linear(2 * 4, 10), whose inputs are the old ones 0 1 2 3 and 12 13 14 15.
    Hint: copy.deepcopy keeps stride, padding and the rest; then set new parameters, and the attributes that count channels.
    """
    if conv.out_channels != norm.num_features:
        raise ValueError(f"the norm has {norm.num_features} features, the convolution {conv.out_channels} filters")
    conv, norm, following = copy.deepcopy((conv, norm, following))
    positions = following.in_features // conv.out_channels if isinstance(following, nn.Linear) else 1
    inputs = (kept[:, None] * positions + torch.arange(positions, device=kept.device)).flatten()
    for layer, dim, indices in ((conv, 0, kept), (norm, 0, kept), (following, 1, inputs)):
        for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
            if tensor.ndim > dim:  # not the bias of the layer behind, nor the norm's counter of batches
                cut = channel_plan.slice_tensor(tensor, {dim: indices})
                setattr(layer, name, nn.Parameter(cut, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else cut)
    conv.out_channels = norm.num_features = len(kept)
    setattr(following, "in_features" if isinstance(following, nn.Linear) else "in_channels", len(inputs))
    return conv, norm, following


def coupled_scores(scores: list[torch.Tensor]) -> torch.Tensor:
    """One score a channel for layers whose channels have to go together, such as those that a residual sum adds up.

    A layer with larger weights must not have more say, so each layer's scores are divided by the mean of their absolute
    values first; then the mean over the layers is taken. A layer whose scores are all zero has no say.

    Arguments: scores, a list of tensors (channels,). Returns (channels,).
    Raises ValueError for an empty list or different lengths.

    Example: [1, 3] and [40, 0] become [0.5, 1.5] and [2, 0], and together [1.25, 0.75].
    """
    if not scores or len({len(values) for values in scores}) != 1:
        raise ValueError(f"expected scores of one length, got lengths {[len(values) for values in scores]}")
    scaled = [values / values.abs().mean() if values.any() else values for values in scores]
    return torch.stack(scaled).mean(0)


def plan_channels(
    model: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    amount: float | None = None,
    *,
    target_macs: float | None = None,
    target_latency: float | None = None,
    criterion: str | Callable[[nn.Parameter], torch.Tensor] = "l1",
    scope: str = "uniform",
    floor: float = 0.1,
    round_to: int = 1,
    ignore: Iterable[str] = (),
) -> ChannelPlan:
    """Find the channels of `model` that go together, score them, and choose which to remove; the model is not changed.

    Arguments: example, an input (or a tuple of them) as the model takes it, a batch of one is enough; amount, the fraction of
    channels to remove, 0 to below 1; in its place target_macs, the ratio of MACs to keep, or target_latency, the ratio of the
    time of a forward pass of `example` (smaller / model, measured in pairs); criterion, as in filter_scores, or a function from
    a weight to a score of each output ("taylor" reads weight.grad); scope, "uniform" (the same fraction of each group) or
    "global" (one ranking of the scores over all groups, each keeps at least the fraction `floor`); round_to, a number whose
    multiples the layers' channels are rounded up to; ignore, names of modules or parameters whose outputs stay.

    What cannot shrink correctly is left alone, and plan.left says why: each plan is tried on a copy with random weights.
    Raises ValueError for arguments out of range and an example that the model cannot run on, UnsupportedModel for a model
    that cannot be traced or where nothing can be removed.
    """
    targets = {"amount": amount, "target_macs": target_macs, "target_latency": target_latency}
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"give one of amount, target_macs and target_latency, got {given or 'none of them'}")
    ((name, value),) = given.items()
    if not isinstance(value, (int, float)) or not (0 <= value < 1 if name == "amount" else 0 < value <= 1):
        kind = "the fraction to remove, 0 to below 1" if name == "amount" else "a ratio that is kept, above 0 and up to 1"
        raise ValueError(f"{name} is {kind}: got {value!r}")
    if scope not in ("uniform", "global") or not 0 <= floor <= 1 or not isinstance(round_to, int) or round_to < 1:
        raise ValueError(
            f'expected scope "uniform" or "global", floor in 0..1, a whole round_to >= 1, got {scope!r}, {floor} and {round_to}'
        )
    inputs = metrics.as_inputs(example)
    plain = channel_plan.plain_copy(model).eval()
    graph = channel_graph.ChannelGraph(plain, inputs)
    groups, left = graph.groups(_ignored(plain, graph, ignore))
    scores = [group_scores(plain, group, criterion) for group in groups]

    def plan(amount):
        kept = choose_channels(groups, scores, amount, scope, floor, round_to)
        shapes = {name: list(tensor.shape) for name, tensor in plain.state_dict().items()}
        return ChannelPlan(groups, kept, {channel_plan.layer_name(name): why for (name, _), why in left.items()}, shapes)

    whole = plan(0.5 if amount is None else amount) if groups else None
    faults = _faults(plain, inputs, whole) if groups else {}
    for number, fault in faults.items():
        left |= dict.fromkeys(groups[number].outputs, fault)
    groups, scores = ([item for number, item in enumerate(items) if number not in faults] for items in (groups, scores))
    if not groups:
        reasons = "; ".join(f"{channel_plan.layer_name(name)}: {why}" for (name, _), why in left.items())
        raise UnsupportedModel(f"no channel of {type(model).__name__} can be removed. {reasons or 'No layer makes channels'}")
    if amount is not None:
        result = plan(amount)
        if amount > 0 and all(len(kept) == group.size for group, kept in zip(groups, result.kept)):
            sizes = ", ".join(str(group.size) for group in groups[:5])
            raise ValueError(
                f"amount {amount}, round_to {round_to}: no channel goes from groups of {sizes}; raise amount or lower round_to"
            )
        return result

    def ratio(amount):
        smaller = remove_channels(plain, plan(amount))
        if target_macs is not None:
            return metrics.count_macs(smaller, example) / metrics.count_macs(plain, example)
        with torch.no_grad():
            return 1 / metrics.paired_speedup(lambda: plain(*inputs), lambda: smaller(*inputs), repeats=30)

    highest = 1 - floor if scope == "global" else 1 - 0.51 / min(group.size for group in groups)  # nobody loses all
    return plan(_least_amount(ratio, value, name, highest))


def prune_channels(
    model: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    amount: float | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    **options,
) -> nn.Module:
    """A new model with fewer channels, proved equal to the masked one on `example`; a given optimizer is changed in place.

    `options` are those of plan_channels. The optimizer of `model` goes on with the smaller model: its parameters are replaced
    and what it remembers of them is cut to the kept channels. Raises UnsupportedModel when the proof fails, and what
    plan_channels raises; then nothing is changed.
    """
    plan = plan_channels(model, example, amount, **options)
    smaller = remove_channels(model, plan)
    fault = channel_plan.find_fault(smaller, mask_channels(model, plan), metrics.as_inputs(example))
    if fault:
        raise UnsupportedModel(f"the smaller {type(model).__name__} is not equal to the masked one: {fault}")
    if optimizer is not None:
        channel_plan.hand_over(optimizer, model, smaller, plan)
    return smaller


def iterative_channel_prune(
    model: nn.Module,
    example: torch.Tensor,
    amount: float,
    steps: int,
    train: Callable[[nn.Module], object],
    **options,
) -> nn.Module:
    """Remove channels in several steps, with recovery after each: a new model with `amount` of its channels removed.

    Every step removes the same fraction of the channels that are left, and then calls train(smaller model), which trains it
    in place. After the last step the fraction 1 - amount of all channels is left, but for rounding.

    Arguments: example and options as in prune_channels; amount, 0 to below 1; steps, 1 or more.
    Raises ValueError for another amount or steps < 1. The given model is not changed.

    Example: amount 0.75 in 2 steps removes half of the channels, trains, removes half of the rest, and trains again.
    Hint: if each of n steps keeps the fraction k of what it finds, what is left in the end?
    """
    if not 0 <= amount < 1 or steps < 1:
        raise ValueError(f"amount is a fraction from 0 to below 1 and steps at least 1: got {amount} and {steps}")
    for _ in range(steps):
        model = prune_channels(model, example, 1 - (1 - amount) ** (1 / steps), **options)
        train(model)
    return model


def drop_layers(model: nn.Module, keep: Collection[int]) -> nn.Module:
    """A new model with only the layers `keep` of model.layers, in their old order; all else is copied.

    A transformer's layer adds to what comes in, so the network still runs without it.

    Arguments: model, with an nn.Sequential or nn.ModuleList `layers`, and the new one has the same kind; keep, positions
    from 0. Raises ValueError for a model without `layers`, no position, a repeated one, or one that is not there.

    Example: drop_layers(models.Transformer(depth=6), [0, 1, 4, 5]) has 4 layers.
    Hint: copy.deepcopy first, so that the two models share no weight.
    """
    if not isinstance(getattr(model, "layers", None), (nn.Sequential, nn.ModuleList)):
        raise ValueError(f"{type(model).__name__} has no nn.Sequential or nn.ModuleList `layers` to drop from")
    if not keep or len(set(keep)) < len(keep) or not set(keep) <= set(range(len(model.layers))):
        raise ValueError(f"keep must name some of the layers 0 to {len(model.layers) - 1}, each once, got {list(keep)}")
    smaller = copy.deepcopy(model)
    chosen = [smaller.layers[position] for position in sorted(keep)]
    smaller.layers = nn.Sequential(*chosen) if isinstance(model.layers, nn.Sequential) else nn.ModuleList(chosen)
    return smaller


def head_scores(attention: models.Attention, criterion: str = "l2") -> torch.Tensor:
    """How important each head is, (heads,): the score of all weights by which it makes its values and writes them out.

    Those are its rows of value.weight and its columns of out.weight, taken together as one filter for filter_scores.
    (Query and key only say where a head looks.)

    Hint: the rows of value.weight are those of head 0 first, head_dim of them, then those of head 1. Who reads them?
    """
    heads, size = attention.heads, attention.head_dim
    values = attention.value.weight.reshape(heads, size, -1)  # (heads, head_dim, width)
    out = attention.out.weight.T.reshape(heads, size, -1)  # (heads, head_dim, width)
    return filter_scores(torch.cat([values, out], dim=2), criterion)


def prune_heads(model: nn.Module, amount: float, criterion: str = "l2") -> nn.Module:
    """A new model without the least important heads: round(amount * heads) fewer in every models.Attention.

    Raises ValueError for an amount outside 0 to below 1 or one that leaves no head, and UnsupportedModel for a model without
    models.Attention (nn.MultiheadAttention cannot have fewer heads than its width asks for).
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, models.Attention)}
    if not found:
        others = [name for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)]
        hint = f"; {others[0]} is nn.MultiheadAttention, whose heads are tied to its width" if others else ""
        raise UnsupportedModel(f"{type(model).__name__} has no models.Attention to remove heads from{hint}")
    indices, heads = {}, {}
    for name, attention in found.items():
        kept, size = kept_channels(head_scores(attention, criterion), amount), attention.head_dim
        rows = (kept[:, None].cpu() * size + torch.arange(size)).flatten()
        prefix = f"{name}." if name else ""
        for layer in ("query", "key", "value"):
            indices |= {f"{prefix}{layer}.weight": {0: rows}, f"{prefix}{layer}.bias": {0: rows}}
        indices[f"{prefix}out.weight"] = {1: rows}
        heads[name] = len(kept)
    smaller = channel_plan.cut_tensors(model, indices)
    for name, number in heads.items():
        smaller.get_submodule(name).heads = number
    return smaller


def _ignored(model, graph, ignore):
    """{(tensor, dimension): reason} of all that makes channels in what `ignore` names."""
    ignored = metrics.ignored_names(model, ignore)
    inside = [name for name in graph.tensors if name in ignored or name.rpartition(".")[0] in ignored]  # buffers of modules too
    made = {output: "it is in ignore" for output in graph.outputs if output[0] in inside}
    weighted = {name.rpartition(".")[0] for name, _ in graph.outputs}
    rest = [name for name in inside if name.rpartition(".")[0] not in weighted]  # norms and bare parameters
    return made | {(name, dim): "it is in ignore" for name in rest for dim in range(len(graph.tensors[name]))}


def group_scores(model: nn.Module, group: channel_plan.Channels, criterion: str | Callable) -> torch.Tensor:
    """A score for each channel of a group, (size,): what the layers that make it say together."""
    parameters, scores = dict(model.named_parameters(remove_duplicate=False)), []
    for name, dim in group.outputs:
        weight = parameters[name]
        channel = torch.from_numpy(group.slots[name][dim])
        if callable(criterion):
            values = criterion(weight)
        else:
            gradient = None if weight.grad is None else weight.grad.transpose(0, dim)
            values = filter_scores(weight.transpose(0, dim), criterion, gradient)
        if not isinstance(values, torch.Tensor) or values.shape != (len(channel),) or not torch.isfinite(values).all():
            got = tuple(values.shape) if isinstance(values, torch.Tensor) else values
            raise ValueError(f"{name} needs {len(channel)} finite scores in a tensor, got {got}")
        member = channel >= 0
        values = values.detach().cpu().double()[member]
        scores.append(torch.zeros(group.size, dtype=torch.float64).index_add(0, channel[member], values))
    return coupled_scores(scores)


def choose_channels(
    groups: Sequence[channel_plan.Channels],
    scores: Sequence[torch.Tensor],
    amount: float,
    scope: str,
    floor: float,
    round_to: int,
) -> list[list[int]]:
    """The numbers of the channels that stay, for each group."""
    if scope == "global":
        if amount > 1 - floor:
            raise ValueError(f"amount {amount} cannot be reached when every group keeps {floor:g}: lower the floor")
        everything = torch.cat(scores)
        owner = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor([group.size for group in groups]))
        room = [group.size - max(1, math.ceil(floor * group.size)) for group in groups]
        removed = torch.zeros(len(everything), dtype=torch.bool)
        left = round(amount * len(everything))
        for index in everything.argsort(stable=True).tolist():
            if left and room[owner[index]]:
                removed[index], left = True, left - 1
                room[owner[index]] -= 1
        kept = [(~part).nonzero().flatten() for part in removed.split([group.size for group in groups])]
    else:
        kept = []
        for group, values in zip(groups, scores):
            try:
                kept.append(kept_channels(values, amount))
            except ValueError as error:
                raise ValueError(f"{channel_plan.layer_name(group.outputs[0][0])}: {error}, or name it in ignore") from error
    result = []
    for group, values, stays in zip(groups, scores, kept):
        (name, dim) = group.outputs[0]
        width = int((group.slots[name][dim] >= 0).sum()) // group.size  # channels of the layer that go together
        step = round_to // math.gcd(round_to, width)
        number = min(group.size, math.ceil(len(stays) / step) * step)
        if number > len(stays):
            stays = values.argsort(stable=True)[group.size - number :].sort().values
        result.append(stays.tolist())
    return result


def _least_amount(ratio, target, name, highest):
    """The smallest amount, by bisection, whose ratio is at most the target."""
    low, high, best = 0.0, highest, ratio(highest)
    if best > target:
        raise ValueError(f"{name} {target:g} cannot be reached: the smallest possible ratio is {best:.3f}")
    for _ in tqdm(range(8), desc=name, leave=False):
        middle = (low + high) / 2
        low, high = (low, middle) if ratio(middle) <= target else (middle, high)
    return high


def _faults(model, inputs, plan):
    """{number of a group: why removing its channels does not give the masked model}, tried on random weights.

    All groups are tried at once, and only where that fails in halves, down to the ones that are to blame.
    """
    random = channel_plan.randomized(model)

    def search(numbers):
        kept = [kept if n in numbers else list(range(g.size)) for n, (g, kept) in enumerate(zip(plan.groups, plan.kept))]
        part = ChannelPlan(plan.groups, kept, {}, plan.shapes)
        fault = channel_plan.find_fault(remove_channels(random, part), mask_channels(random, part), inputs)
        if fault is None:
            return {}
        if len(numbers) == 1:
            return {numbers[0]: fault}
        half = len(numbers) // 2
        faults = search(numbers[:half]) | search(numbers[half:])
        return faults or dict.fromkeys(numbers, fault)  # each alone goes well, together they do not

    return search(list(range(len(plan.groups))))
