"""A plan of the channels to remove, and its two readings: the smaller model, and the masked one that it must equal.

A plan says for each dimension of each tensor which indices stay. remove_channels cuts the tensors; mask_channels sets to zero
what would have been cut; find_fault compares what the two models compute.
"""

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from . import files, report
from .channel_graph import NORMS, STATISTICS, UnsupportedModel, brief
from .channel_labels import Channels

TOLERANCE = 1e-5  # relative, of the smaller model against the masked one


def slice_tensor(tensor: torch.Tensor, kept: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """The part of a tensor that stays, as a new tensor: along each dimension of `kept` only the indices listed there.

    Arguments: tensor, any shape and dtype; kept, {dimension: int64 indices}, in the order that they shall have. Dimensions
    that are not named stay whole.
    Example: a weight of shape (8, 4, 3, 3) with {0: [1, 5], 1: [0, 2, 3]} becomes (2, 3, 3, 3).
    Hint: one dimension after the other. The result shares no memory with the old tensor, and records no gradient.
    """
    tensor = tensor.detach()
    for dim, indices in kept.items():
        tensor = tensor.index_select(dim, torch.as_tensor(indices, device=tensor.device))
    return tensor if kept else tensor.clone()


@dataclass
class ChannelPlan:
    """Which channels of a model go and which stay: print it, draw it (plots.channel_plan), save it, apply it.

    `groups` are the channels that go together, `kept` the numbers of those that stay, for each group. `left` is {layer: why
    it was left alone}, `shapes` are those of the model's tensors, by which a plan for another model is recognized.
    """

    groups: list[Channels]
    kept: list[list[int]]
    left: dict[str, str]
    shapes: dict[str, list[int]]

    def indices(self) -> dict[str, dict[int, torch.Tensor]]:
        """{tensor name: {dimension: indices that stay}}, of every tensor that shrinks; "<norm>.channels" counts a norm's."""
        stays = {}
        for group, kept in zip(self.groups, self.kept):
            if len(kept) < group.size:
                for name, dims in group.slots.items():
                    for dim, channel in dims.items():
                        mask = stays.setdefault(name, {}).setdefault(dim, np.ones(len(channel), bool))
                        mask &= (channel < 0) | np.isin(channel, kept)
        return {name: {dim: torch.from_numpy(mask.nonzero()[0]) for dim, mask in d.items()} for name, d in stays.items()}

    def rows(self) -> list[tuple[str, str, int, int]]:
        """(layer, layers that shrink with it, its channels before, after) of each group."""
        rows = []
        for group, kept in zip(self.groups, self.kept):
            (name, dim), *others = group.outputs
            channel = group.slots[name][dim]
            together = dict.fromkeys(layer_name(other) for other, _ in others if other != name)
            after = int(((channel < 0) | np.isin(channel, kept)).sum())
            rows.append((layer_name(name), ", ".join(together), len(channel), after))
        return rows

    def __rich__(self):
        table = Table("layer", "together with", "channels", "left", title="channels that go together")
        for layer, together, before, after in self.rows():
            table.add_row(layer, together, str(before), str(after))
        table.add_section()
        for layer, reason in self.left.items():
            table.add_row(layer, f"left alone: {reason}", "", "")
        return table

    def __repr__(self):
        return report.as_text(self, width=120)

    def save(self, path: str | os.PathLike) -> None:
        """Write the plan as JSON. remove_channels(a new model of the class, plan) then takes the smaller model's state dict."""
        groups = [
            {
                "size": g.size,
                "outputs": g.outputs,
                "slots": {n: {d: c.tolist() for d, c in v.items()} for n, v in g.slots.items()},
            }
            for g in self.groups
        ]
        with files.whole(path) as part:
            Path(part).write_text(json.dumps(vars(self) | {"groups": groups}), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ChannelPlan":
        """Read what `save` wrote. Raises ValueError for a file that holds something else."""
        try:
            plan = json.loads(Path(path).read_text(encoding="utf-8"))
            groups = [
                Channels(
                    group["size"],
                    {n: {int(d): np.array(c) for d, c in v.items()} for n, v in group["slots"].items()},
                    [(name, dim) for name, dim in group["outputs"]],
                )
                for group in plan["groups"]
            ]
            plan = cls(groups, plan["kept"], dict(plan["left"]), dict(plan["shapes"]))
            for group, kept in zip(groups, plan.kept, strict=True):
                if not _fits(group, kept, plan.shapes):
                    raise ValueError(f"group {group.outputs} names channels that are not there")
            return plan
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} holds no channel plan ({error}): save one with ChannelPlan.save") from error


def remove_channels(model: nn.Module, plan: ChannelPlan) -> nn.Module:
    """A new, smaller model of the same class without the channels that the plan removes.

    Weights computed by a parametrization (weight_norm) become plain weights. Frozen parameters stay frozen, shared ones
    shared. Raises ValueError for a plan that was made for another model.
    """
    return cut_tensors(_fitting(model, plan), plan.indices())


def mask_channels(model: nn.Module, plan: ChannelPlan) -> nn.Module:
    """A new model of the same size in which the removed channels contribute nothing: what remove_channels must equal.

    All that makes, scales or reads a removed channel is set to zero, and a norm with statistics over channels takes them
    over the kept ones. Raises ValueError for a plan that was made for another model.
    """
    return mask_tensors(_fitting(model, plan), plan.indices())


def _fits(group, kept, shapes):
    """Whether a group from a file speaks of channels that tensors of these shapes have."""
    slots = [(shapes.get(name), dim, channel) for name, dims in group.slots.items() for dim, channel in dims.items()]
    return (
        group.outputs
        and all(dim in group.slots[name] for name, dim in group.outputs)
        and 0 < len(set(kept)) == len(kept)
        and set(kept) <= set(range(group.size))
        and all(shape is None or shape[dim : dim + 1] == [len(channel)] for shape, dim, channel in slots)
        and all(set(channel.tolist()) <= set(range(-1, group.size)) for _, _, channel in slots)
    )


def layer_name(name: str) -> str:
    """The name of the layer that a weight of this name belongs to: "conv1" of "conv1.weight"; another name as it is."""
    return name.removesuffix(".weight")


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares the parameters, and in which every computed weight (weight_norm) is a parameter.

    Raises UnsupportedModel for a model that copy.deepcopy cannot copy.
    """
    shared = {id(parameter): parameter for parameter in model.parameters()}
    left = [value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)]
    results = {id(value): value.detach() for value in left if value.grad_fn is not None}  # deepcopy does not take them
    try:
        result = copy.deepcopy(model, shared | results)
    except Exception as error:
        raise UnsupportedModel(
            f"{type(model).__name__} cannot be copied ({brief(error)}): copy.deepcopy(model) has to work"
        ) from error
    for module in result.modules():
        if parametrize.is_parametrized(module):  # parametrize's own removal works on the class, which copies share
            computed = {
                name: nn.Parameter(getattr(module, name).detach(), any(p.requires_grad for p in steps.parameters()))
                for name, steps in module.parametrizations.items()
            }
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
            for name, weight in computed.items():
                module.register_parameter(name, weight)
    return result


def _fitting(model, plan):
    """A plain copy of `model`, of which the plan is."""
    fitting = plain_copy(model)
    shapes = {name: list(tensor.shape) for name, tensor in fitting.state_dict().items()}
    if shapes != plan.shapes:
        names = shapes.keys() ^ plan.shapes.keys() or {name for name in shapes if shapes[name] != plan.shapes[name]}
        name = min(names)
        raise ValueError(
            f"the plan was made for another model: {name} has shape {plan.shapes.get(name, 'none')} in the plan and "
            f"{shapes.get(name, 'none')} in this {type(model).__name__}; make the plan with this model"
        )
    return fitting


def _own(indices, prefix):
    """What `indices` say of the tensors of one module, by their names in it."""
    prefix = f"{prefix}." if prefix else ""
    return {n.removeprefix(prefix): d for n, d in indices.items() if n.startswith(prefix) and "." not in n.removeprefix(prefix)}


def cut_tensors(model: nn.Module, indices: Mapping[str, Mapping[int, torch.Tensor]]) -> nn.Module:
    """A copy of `model` with its parameters and buffers cut, and the attributes that count channels set to what is left."""
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    instead = {}
    for name, kept in indices.items():
        if name in tensors:
            old = tensors[name]
            part = slice_tensor(old, kept)
            instead[id(old)] = nn.Parameter(part, old.requires_grad) if isinstance(old, nn.Parameter) else part
    smaller = copy.deepcopy(model, instead)  # what stands in the memo is taken from there: shared tensors stay shared
    for name, module in smaller.named_modules():
        if count := _own(indices, name).get("channels"):
            _set_width(module, len(count[0]))
        elif isinstance(module, (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding, nn.PReLU)):
            _set_sizes(module)
    return smaller


@torch.no_grad()
def mask_tensors(model: nn.Module, indices: Mapping[str, Mapping[int, torch.Tensor]]) -> nn.Module:
    """A copy of `model` with zeros where cut_tensors would cut its parameters, and norms that leave out what is cut."""
    masked = copy.deepcopy(model)
    for name, parameter in masked.named_parameters(remove_duplicate=False):
        for dim, kept in indices.get(name, {}).items():
            removed = torch.ones(parameter.shape[dim], dtype=torch.bool)
            removed[kept] = False
            parameter.index_fill_(dim, removed.nonzero().flatten().to(parameter.device), 0)
    names = {}  # a module may have several
    for name, module in masked.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    for module, own in [(m, {k: v for name in names[m] for k, v in _own(indices, name).items()}) for m in names]:
        if isinstance(module, STATISTICS) and "channels" in own:
            norm = _KeptNorm(module, own)
            for name in names[module]:
                masked.set_submodule(name, norm)
    return masked


def _set_width(norm, width):
    """Tell a norm how many channels it has now."""
    if isinstance(norm, (nn.LayerNorm, nn.RMSNorm)):
        norm.normalized_shape = (width,)
    elif isinstance(norm, nn.GroupNorm):
        norm.num_channels = width
    else:
        norm.num_features = width


def _set_sizes(layer):
    """Set the attributes of a layer that count channels to what its weight has."""
    shape = layer.weight.shape
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = shape
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = shape
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    else:
        transposed = layer.transposed
        outside, inside = shape[:2]
        if layer.groups > 1 and layer.in_channels == layer.groups:  # depthwise: the groups are the channels
            layer.groups = outside if transposed else outside // (layer.out_channels // layer.in_channels)
        layer.in_channels, layer.out_channels = (
            (outside, inside * layer.groups) if transposed else (inside * layer.groups, outside)
        )


class _KeptNorm(nn.Module):
    """A norm with statistics over the kept channels only; the others come out as zero."""

    def __init__(self, norm, indices):
        super().__init__()
        self.channels, (self.kept,) = _width(norm), indices["channels"].values()
        self.norm = cut_tensors(norm, indices)

    def forward(self, x):
        last = type(self.norm).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward) or x.shape[1] != self.channels
        kept, dim = self.kept.to(x.device), -1 if last else 1
        return torch.zeros_like(x).index_copy(dim, kept, self.norm(x.index_select(dim, kept)))


def _width(norm):
    return norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.normalized_shape[-1]


@torch.no_grad()
def randomized(model: nn.Module) -> nn.Module:
    """A copy in which no channel is silent: zero scales, as fresh networks have them, would hide a wrong one.

    All floating-point parameters and the statistics of norms are drawn from seed 0: those of two and more dimensions
    uniformly around 0 with variance 1 / inputs, the others from 0.5 to 1.5. Other buffers stay.
    """
    generator, instead = torch.Generator().manual_seed(0), {}
    statistics = (buffer for module in model.modules() if isinstance(module, NORMS) for buffer in module.buffers())
    for tensor in (*model.parameters(), *statistics):  # another buffer may be a table that has to hold what it holds
        if tensor.is_floating_point():
            values = torch.rand(tensor.shape, generator=generator)
            inputs = max(1, tensor[:1].numel()) if tensor.ndim > 1 else 1
            values = (2 * values - 1) * (3 / inputs) ** 0.5 if tensor.ndim > 1 else values + 0.5
            values = values.to(tensor)
            instead[id(tensor)] = nn.Parameter(values) if isinstance(tensor, nn.Parameter) else values
    return copy.deepcopy(model, instead)


@torch.no_grad()
def find_fault(smaller: nn.Module, masked: nn.Module, inputs: tuple[torch.Tensor, ...]) -> str | None:
    """Why `smaller` does not compute what `masked` does in eval mode, or None. Copies are run: nothing given is changed.

    Both are called as model(*inputs), and equal is a `difference` of at most TOLERANCE. An error that one of them raises is
    the fault that is told, with the last layer that ran. Where numbers are rounded coarsely (half precision, TF32 on a GPU),
    float64 is tried first. Layers that did not run, such as the auxiliary heads of training mode, have to fit too: then
    training mode has to give the same shapes.
    """
    entered = []

    def run(model, training=False, wide=False):
        model = copy.deepcopy(model).train(training)
        model = model.double() if wide else model
        names = {module: name for name, module in model.named_modules()}
        hook = nn.modules.module.register_module_forward_pre_hook(lambda module, _: entered.append(names.get(module, "")))
        try:
            return model(*(x.double() if wide and x.is_floating_point() else x.clone() for x in inputs))
        finally:
            hook.remove()

    def attempt(**mode):
        try:
            return run(masked, **mode)
        except Exception:
            return None

    coarse = any(parameter.is_cuda or parameter.dtype.itemsize < 4 for parameter in masked.parameters())
    exact = attempt(wide=True) if coarse else None
    wide = exact is not None
    try:
        error = difference(run(smaller, wide=wide), exact if wide else run(masked))
        weighted = {name for name, module in smaller.named_modules() if any(True for _ in module.parameters(recurse=False))}
        if weighted - set(entered):
            with torch.random.fork_rng(devices=[]):
                trained = attempt(training=True)
                if trained is not None:
                    difference(run(smaller, training=True), trained)
    except Exception as failure:
        return f"{entered[-1] if entered else ''}: {brief(failure)}"
    if error <= TOLERANCE:
        return None
    if error == float("inf") or difference(run(masked, wide=wide), run(masked, wide=wide)) > TOLERANCE:
        return "the results are not finite, or others each time, also in eval mode: this cannot be compared"
    return f"the results differ by {error:.1e}, relative"


def difference(got, expected) -> float:
    """The largest difference of two outputs (tensors, or tuples and dicts of them) relative to the largest number expected.

    Raises ValueError where a shape differs.
    """
    worst = 0.0
    for one, other in zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True):
        if isinstance(other, torch.Tensor) and other.numel():
            if one.shape != other.shape:
                raise ValueError(f"the output has shape {tuple(one.shape)} in place of {tuple(other.shape)}")
            one, other = (torch.view_as_real(t) if t.is_complex() else t.double() for t in (one, other))
            apart = (one - other).masked_fill(one == other, 0)  # logits of -inf minus themselves are no number
            error = apart.abs().max() / other.masked_fill(other.isinf(), 0).abs().max().clamp_min(1e-30)
            worst = max(worst, error.item()) if error == error else float("inf")
    return worst


def hand_over(optimizer: torch.optim.Optimizer, model: nn.Module, smaller: nn.Module, plan: ChannelPlan) -> None:
    """Let the optimizer of `model`, changed in place, go on with `smaller`: its state is cut to the kept channels.

    Arguments: smaller, remove_channels(model, plan); its parameters take the places of the model's in optimizer.param_groups.
    Raises ValueError for a parameter that is not the model's, or that is computed (weight_norm) and so no longer there, and
    for an optimizer such as Adafactor or LBFGS that remembers anything in another shape than the parameter's.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters(remove_duplicate=False)}
    parameters = dict(smaller.named_parameters(remove_duplicate=False))
    strangers = [p for group in optimizer.param_groups for p in group["params"] if names.get(id(p)) not in parameters]
    if strangers:
        raise ValueError(
            f"the optimizer holds {len(strangers)} parameters, the first of shape {tuple(strangers[0].shape)}, that the "
            "smaller model does not have: make a new optimizer for it"
        )
    indices = plan.indices()
    for parameter, state in optimizer.state.items() if indices else ():
        for key, value in state.items():
            shape = value.shape if isinstance(value, torch.Tensor) else () if not isinstance(value, list) else None
            if shape not in (parameter.shape, ()):
                raise ValueError(
                    f"{type(optimizer).__name__} remembers {key!r}, which is not of its parameter's shape "
                    f"{tuple(parameter.shape)} and cannot be cut: make a new optimizer for the smaller model"
                )
    for group in optimizer.param_groups:
        for place, old in enumerate(group["params"]):
            name = names[id(old)]
            new, state = parameters[name], optimizer.state.pop(old, {})
            for key, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == old.shape:
                    state[key] = slice_tensor(value, indices.get(name, {}))
            group["params"][place] = new
            if state:
                optimizer.state[new] = state
