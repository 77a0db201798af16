"""`sparsify`: a pruned model with sparse layers where they are faster, and only there, decided by measuring."""

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor, nn

from .. import metrics, models
from . import layers

WORTH_IT = 0.8  # the sparsity from which layers are swapped where there is no example to measure on
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
KINDS = {nn.Linear: layers.SparseLinear, nn.Conv2d: layers.SparseConv2d}


class Choice(NamedTuple):
    """What became of a layer: dense and sparse latency in ms, speedup (0 where it was not measured), and why."""

    name: str
    sparsity: float
    dense: float
    sparse: float
    speedup: float
    chosen: bool
    why: str


def sparsify(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...] | None = None,
    *,
    ignore: str | Iterable[str] = (),
    repeats: int = 10,
    progress: bool = True,
) -> nn.Module:
    """A copy of `model`, in eval mode, whose Linear and Conv2d layers are sparse where that is faster than dense.

    Each layer is measured on what reaches it when the model runs on `example` (a batch as in use, float32 on the CPU) with
    torch.get_num_threads() threads, layers before it already swapped, since they hand over another memory layout. Without
    an example nothing is measured, and layers with at least 80% zeros are swapped.

    Pooling layers keep the layout (AcrossPool).

    Arguments: ignore, names of modules that stay dense with all inside; repeats, paired timings of a layer; progress, print
    the table of choices. Fold BatchNorm into the convolutions first (quantization.fold_batchnorm): it is cheaper by itself,
    and a layout that BatchNorm turns back costs time. Returns a new model, with its choices as model.choices.
    Raises ValueError for unknown names in ignore and for a model without Linear and Conv2d layers.
    """
    model = copy.deepcopy(model).eval()
    ignored = metrics.ignored_names(model, ignore, parameters=False)
    found = {name: layer for name, layer in model.named_modules() if type(layer) in KINDS}
    if not found:
        raise ValueError(f"{type(model).__name__} has no Linear or Conv2d layer that could be sparse")
    choices = []
    with torch.no_grad():
        for name, layer in found.items():
            zeros = metrics.sparsity(layer.weight) if layer.weight.numel() else 0.0
            why = _obstacle(model, layer, name in ignored, zeros)
            if why:
                choices.append(Choice(name, zeros, 0.0, 0.0, 0.0, False, why))
                continue
            new = KINDS[type(layer)].from_dense(layer)
            if example is None:
                chosen = zeros >= WORTH_IT
                choices.append(Choice(name, zeros, 0.0, 0.0, 0.0, chosen, f"not measured; {WORTH_IT:.0%} zeros are worth it"))
            else:
                choices.append(_measure(model, name, layer, new, zeros, metrics.as_inputs(example), repeats))
            if choices[-1].chosen:
                model = models.replace_layer(model, layer, new)
    if any(choice.chosen for choice in choices):
        for pool in [m for m in model.modules() if type(m) in POOLS and not getattr(m, "return_indices", False)]:
            model = models.replace_layer(model, pool, layers.AcrossPool(pool))
    if progress:
        Console().print(table(choices))
    model.choices = choices
    return model


def table(choices: Iterable[Choice]) -> Table:
    """The choices as a table for the terminal."""
    shown = Table(Column("layer", no_wrap=True), "zeros", "dense ms", "sparse ms", "speedup", "now", "why", title="sparsify")
    for choice in choices:
        figures = [f"{number:.3f}" if choice.speedup else "" for number in (choice.dense, choice.sparse)]
        speedup = f"{choice.speedup:.2f}x" if choice.speedup else ""
        kind = "sparse" if choice.chosen else "dense"
        shown.add_row(choice.name or "(itself)", f"{choice.sparsity:.1%}", *figures, speedup, kind, choice.why)
    return shown


def _obstacle(model, layer, ignored, zeros):
    """Why a layer cannot or should not be sparse; "" where nothing is known against it."""
    if ignored:
        return "ignored"
    if zeros == 0:
        return "has no zeros"
    if layer.weight.dtype != torch.float32 or layer.weight.device.type != "cpu":
        return f"is {layer.weight.dtype} on {layer.weight.device}: the kernels are for float32 on the CPU"
    if "weight" not in layer._parameters or layer._forward_hooks or layer._forward_pre_hooks:
        return "has hooks or a computed weight"
    if sum(layer.weight is parameter for m in model.modules() for parameter in m.parameters(recurse=False)) > 1:
        return "shares its weight"
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        return f"pads with {layer.padding_mode!r}"
    return ""


def _measure(model, name, layer, new, zeros, inputs, repeats):
    """The Choice for a layer, on what reaches it in `model`."""
    reached = []
    handle = layer.register_forward_pre_hook(
        lambda _, args, named: reached.append((*args, *named.values())[0]), with_kwargs=True
    )
    try:
        expected = model(*inputs)
    finally:
        handle.remove()
    if not reached:
        return Choice(name, zeros, 0.0, 0.0, 0.0, False, "the model does not call it on the example")
    x = reached[0]
    try:
        _check_close(new(x), layer(x), 1e-4)
        got = models.replace_layer(model, layer, new)(*inputs)
        if isinstance(got, Tensor) and isinstance(expected, Tensor):
            _check_close(got, expected, 1e-3)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        why = f"does not work here: {str(error).splitlines()[0]}"
        return Choice(name, zeros, 0.0, 0.0, 0.0, False, why)
    finally:
        models.replace_layer(model, new, layer)
    speedup = metrics.paired_speedup(lambda: layer(x), lambda: new(x), repeats=repeats)
    dense, sparse = (metrics.latency(lambda f=f: f(x), repeats=repeats).median for f in (layer, new))
    why = "faster" if speedup > 1 else "slower"
    return Choice(name, zeros, dense, sparse, speedup, speedup > 1, why)


def _check_close(got, expected, share):
    """AssertionError for more than 0.1% and this share of the largest finite number; NaN equals NaN."""
    largest = float(expected[expected.isfinite()].abs().max()) if expected.isfinite().any() else 0.0
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=share * (largest or 1), equal_nan=True)
