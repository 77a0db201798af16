"""Low rank: a layer's weight as the product of two thin ones, from its singular value decomposition (SVD).

Sources: Eckart & Young 1936, https://doi.org/10.1007/BF02288367 (no matrix of that rank is nearer); Denton et al. 2014,
https://arxiv.org/abs/1404.0736 (in networks); Jaderberg et al. 2014, https://arxiv.org/abs/1405.3866 (spatial: a k x k
convolution as k x 1 and 1 x k); Zhang et al. 2016, https://arxiv.org/abs/1505.06798 (two convolutions, one of them 1 x 1).
"""

import copy
import inspect
import math
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from . import metrics, models


class LayerShape(NamedTuple):
    """What the cost of a convolution depends on, (height, width) where there are two; a Linear is a 1 x 1 convolution."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    output: tuple[int, int] = (1, 1)
    groups: int = 1


def layer_shape(layer: nn.Linear | nn.Conv2d, output: tuple[int, int] = (1, 1)) -> LayerShape:
    """The LayerShape of a layer. Its `output` (height, width) is not in the layer; no ratio of costs depends on it."""
    if isinstance(layer, nn.Linear):
        return LayerShape(layer.in_features, layer.out_features, output=output)
    return LayerShape(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, output, layer.groups)


def layer_cost(shape: LayerShape, metric: str = "macs") -> int:
    """What a layer costs: metric "memory", its weights (no bias); "macs", the weights times the positions of its output."""
    if metric not in ("macs", "memory"):
        raise ValueError(f'metric must be "macs" or "memory", got {metric!r}')
    positions = math.prod(shape.output) if metric == "macs" else 1
    return shape.in_channels // shape.groups * shape.out_channels * math.prod(shape.kernel) * positions


def svd_cost(shape: LayerShape, rank: int, scheme: str = "spatial", metric: str = "macs") -> int:
    """What the two layers cost that replace one of m to n channels with kernel (kh, kw) and stride (sh, sw).

    Scheme "spatial": m -> rank with kernel (kh, 1) and stride (sh, 1), then rank -> n with (1, kw) and (1, sw).
    Scheme "weight": m -> rank with kernel and stride 1, then rank -> n with the whole kernel and stride.
    A Linear, kernel and stride 1, becomes m -> rank -> n either way.

    Arguments: shape, whose output (H, W) is that of the second layer; metric, "memory" (weights, no biases) or "macs"
    (weights times positions: the first layer computes those that the stride of the second will leave out, too).
    Returns an int. Raises ValueError for an unknown scheme or metric, a rank below 1, and groups.

    Example: LayerShape(32, 64, (5, 5)) at rank 10: spatial 10 * (32 * 5 + 64 * 5) = 4800, weight 10 * (32 + 64 * 25).
    """
    if scheme not in ("spatial", "weight") or metric not in ("macs", "memory"):
        raise ValueError(f'expected scheme "spatial" or "weight", metric "macs" or "memory", got {scheme!r}, {metric!r}')
    if rank < 1 or shape.groups != 1:
        raise ValueError(f"expected a rank of at least 1 and one group, got {rank} and {shape.groups}")
    (kh, kw), (sh, sw) = shape.kernel, shape.stride
    if scheme == "spatial":
        first, second, stride = shape.in_channels * kh, shape.out_channels * kw, sw
    else:
        first, second, stride = shape.in_channels, shape.out_channels * kh * kw, sh * sw
    if metric == "memory":
        return rank * (first + second)
    return rank * (first * stride + second) * math.prod(shape.output)


def break_even_rank(shape: LayerShape, scheme: str = "spatial", metric: str = "macs") -> float:
    """The rank at which two layers cost what the one did: nothing is saved from there on. For Linear(m, n) mn / (m + n)."""
    return layer_cost(shape, metric) / svd_cost(shape, 1, scheme, metric)


def rank_for_ratio(shape: LayerShape, ratio: float, scheme: str = "spatial", metric: str = "macs", multiple: int = 1) -> int:
    """The largest rank whose cost is at most `ratio` times the layer's; 1 with a warning where even rank 1 costs more.

    The ratio svd_cost / layer_cost of a rank gives that rank again, however floats are rounded. `multiple` rounds the rank
    up to a multiple of it, as hardware likes, but not beyond the rank for ratio 1.

    Arguments: ratio, the cost kept, above 0 and up to 1; the others as in svd_cost. Returns an int, 1 or more.
    Raises ValueError for another ratio or a multiple below 1.

    Example: LayerShape(128, 256), a Linear, at ratio 0.5: 42, since 42 * 384 <= 16384 < 43 * 384.
    Hint: break_even_rank is the rank for ratio 1. Beware of 41.99999999999999.
    """
    if not 0 < ratio <= 1 or multiple < 1:
        raise ValueError(f"expected a ratio above 0 and up to 1 and a multiple of at least 1, got {ratio} and {multiple}")
    largest = break_even_rank(shape, scheme, metric)
    rank, most = (max(1, math.floor(share * largest + 1e-9)) for share in (ratio, 1))
    if ratio * largest + 1e-9 < 1:
        warnings.warn(f"even rank 1 costs {1 / largest:.1%} of {shape}: {ratio:.1%} was asked for", stacklevel=2)
    return min(math.ceil(rank / multiple) * multiple, most)


def leading_svd(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U (m, k), S (k,), V^T (k, n) of a matrix (m, n), k >= rank; the first `rank` are the largest singular values.

    Exact, unless the matrix is large and the rank low: then it is randomized (Halko et al. 2011,
    https://arxiv.org/abs/0909.4061), which is faster, at an error at most 0.1% larger (benchmarks/lowrank_svd.py).
    """
    if min(matrix.shape) < 1024 or 8 * rank > min(matrix.shape):
        return torch.linalg.svd(matrix, full_matrices=False)
    with torch.random.fork_rng(devices=[matrix.device] if matrix.is_cuda else []):
        torch.manual_seed(0)  # the same factors each time
        U, S, V = torch.svd_lowrank(matrix, q=2 * rank, niter=8)
    return U, S, V.T


def truncated_svd(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The two thin matrices whose product is the best approximation of `weight` of this rank (Eckart & Young).

    Half of each singular value goes into each, as sqrt(S): then neither is much larger than the other.

    Arguments: weight (m, n), floating; rank, 1 to min(m, n). Returns (left (m, rank), right (rank, n)), dtype and device
    those of weight, without gradient. Raises ValueError for another shape or rank, NaN and infinity.

    Example: [[0, 4], [1, 0]] at rank 1 gives a left of ±[[2], [0]] and a right of ±[[0, 2]].
    Hint: torch.linalg.svd(matrix, full_matrices=False) gives U, S and V^T, the largest first, but not in half precision.
    """
    if weight.ndim != 2 or not 1 <= rank <= min(weight.shape):
        raise ValueError(f"expected a matrix and a rank from 1 to its smaller side, got {tuple(weight.shape)} and {rank}")
    if not torch.isfinite(weight).all():
        raise ValueError("the weight holds NaN or infinity: it has no singular values")
    U, S, Vh = leading_svd(weight.detach().to(torch.promote_types(weight.dtype, torch.float32)), rank)
    root = S[:rank].sqrt()
    left, right = U[:, :rank] * root, root[:, None] * Vh[:rank]  # (m, rank), (rank, n)
    return left.to(weight.dtype), right.to(weight.dtype)


def as_matrix(weight: torch.Tensor, scheme: str = "spatial") -> torch.Tensor:
    """The matrix that a scheme factorizes: (in * kh, out * kw), "spatial", or (in, out * kh * kw), "weight".

    Of a convolution's weight (out, in, kh, kw); that of a Linear, (out, in), stays as it is.
    """
    if weight.ndim == 2:
        return weight
    by_input = weight.permute(1, 2, 0, 3) if scheme == "spatial" else weight.transpose(0, 1)
    return by_input.flatten(2).flatten(0, 1) if scheme == "spatial" else by_input.flatten(1)


def pair(
    layer: nn.Module, first: nn.Module, first_weight: torch.Tensor, second: nn.Module, second_weight: torch.Tensor
) -> nn.Sequential:
    """Sequential(first, second), in which they hold these weights, and second the bias of `layer`.

    Device, dtype, training mode and what is frozen are as in `layer`. ValueError for a weight that does not fit its module.
    """
    for module, weight in ((first, first_weight), (second, second_weight)):
        if module.weight.shape != weight.shape:
            raise ValueError(f"{module} needs a weight {tuple(module.weight.shape)}, got {tuple(weight.shape)}")
        module.weight = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format), layer.weight.requires_grad)
    if layer.bias is not None:
        second.bias = nn.Parameter(layer.bias.detach().clone(), layer.bias.requires_grad)
    return nn.Sequential(first, second).train(layer.training)


def factorize_linear(layer: nn.Linear, rank: int) -> nn.Sequential:
    """A Linear(in, out) as Linear(in, rank) without bias, then Linear(rank, out) with the layer's bias, if it has one.

    Arguments: rank, 1 to min(in, out), ValueError for another. Returns a new module; `layer` is left alone.

    Example: Linear(784, 300) at rank 50 is Sequential(Linear(784, 50, bias=False), Linear(50, 300)).
    Hint: a Linear computes x @ weight.T and its weight is (out, in): which factor meets x first? Given, to put layers,
    weights and bias together: pair(layer, first, first_weight, second, second_weight).
    """
    left, right = truncated_svd(layer.weight, rank)  # (out, rank), (rank, in)
    first = nn.Linear(layer.in_features, rank, bias=False, device="meta")  # no values yet, no random numbers used up
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, device="meta")
    return pair(layer, first, right, second, left)


def spatial_svd(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """A convolution with kernel (kh, kw) as one with (kh, 1), down the columns, then one with (1, kw), along the rows.

    The first has the vertical stride and padding and no bias; the second the horizontal ones and the bias.

    Arguments: rank, 1 to min(in * kh, out * kw), ValueError for another. Returns a new module; `conv` is left alone.

    Example: Conv2d(3, 8, 5, stride=2, padding=2) at rank 4 is Conv2d(3, 4, (5, 1), (2, 1), (2, 0), bias=False), then
    Conv2d(4, 8, (1, 5), (1, 2), (0, 2)).
    Hint: given are as_matrix(conv.weight, "spatial"), (in * kh, out * kw), and pair. reshape takes the factors apart again,
    transpose puts the outputs first. A padding may also be a word ("same"), and padding_mode not "zeros".
    """
    if conv.groups != 1 or conv.dilation != (1, 1):
        raise ValueError(f"spatial SVD is for groups and dilation of 1, not for {conv}")
    (kh, kw), (sh, sw), padding = conv.kernel_size, conv.stride, conv.padding
    left, right = truncated_svd(as_matrix(conv.weight, "spatial"), rank)  # (in * kh, rank), (rank, out * kw)
    down, along = (padding, padding) if isinstance(padding, str) else ((padding[0], 0), (0, padding[1]))
    more = {"padding_mode": conv.padding_mode, "device": "meta"}
    first = nn.Conv2d(conv.in_channels, rank, (kh, 1), (sh, 1), down, bias=False, **more)
    second = nn.Conv2d(rank, conv.out_channels, (1, kw), (1, sw), along, bias=conv.bias is not None, **more)
    first_weight = left.T.reshape(rank, conv.in_channels, kh, 1)
    second_weight = right.reshape(rank, conv.out_channels, 1, kw).transpose(0, 1)
    return pair(conv, first, first_weight, second, second_weight)


def weight_svd(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """A convolution as a 1 x 1 one to `rank` channels, then one with its kernel, stride, padding, dilation and bias.

    Arguments: rank, 1 to min(in, out * kh * kw), ValueError for another. Returns a new module; `conv` is left alone.

    Example: Conv2d(3, 8, 5, padding=2) at rank 2 is Conv2d(3, 2, 1, bias=False), then Conv2d(2, 8, 5, padding=2).
    Hint: as_matrix(conv.weight, "weight"), (in, out * kh * kw), and pair.
    """
    if conv.groups != 1:
        raise ValueError(f"weight SVD is for groups of 1, not for {conv}")
    left, right = truncated_svd(as_matrix(conv.weight, "weight"), rank)  # (in, rank), (rank, out * kh * kw)
    first = nn.Conv2d(conv.in_channels, rank, 1, bias=False, device="meta")
    settings = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, 1, conv.bias is not None, conv.padding_mode)
    second = nn.Conv2d(rank, conv.out_channels, *settings, device="meta")
    second_weight = right.reshape(rank, conv.out_channels, *conv.kernel_size).transpose(0, 1)
    return pair(conv, first, left.T[:, :, None, None], second, second_weight)


def factorize_layer(layer: nn.Linear | nn.Conv2d, rank: int, scheme: str = "spatial", name: str = "layer") -> nn.Sequential:
    """factorize_linear, spatial_svd or weight_svd of a layer; what they refuse is a ValueError that begins with `name`."""
    try:
        if isinstance(layer, nn.Linear):
            return factorize_linear(layer, rank)
        return spatial_svd(layer, rank) if scheme == "spatial" else weight_svd(layer, rank)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def replace_layers(model: nn.Module, ranks: Mapping[str, int], scheme: str = "spatial", metric: str = "macs") -> nn.Module:
    """A copy of `model` with two layers at its rank in place of each layer named in `ranks`, under the same name.

    A layer that would not become cheaper (by `metric`) stays as it is, and one warning at the end names all of these.
    Arguments: ranks, {name as in model.named_modules(): rank}. Returns a new model; `model` is left alone. Raises
    ValueError, with the name in it, for a layer that cannot be factorized at that rank.

    Example: of LeNet-300, {"fc1": 50} makes fc1 two layers, named fc1.0 and fc1.1; {"fc3": 10} changes nothing and warns.
    Hint: given are factorize_layer(layer, rank, scheme, name), which picks one of your three functions and names the layer
    in errors; layer_shape(layer); models.replace_layer(model, old, new), which returns the model. To find a layer:
    model.get_submodule.
    """
    smaller, stay = copy.deepcopy(model), []
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        new, shape = factorize_layer(layer, rank, scheme, name), layer_shape(layer)
        if svd_cost(shape, rank, scheme, metric) < layer_cost(shape, metric):
            smaller = models.replace_layer(smaller, layer, new)
        else:
            stay.append(f"{name} (rank {rank})")
    if stay:
        warnings.warn(f"left as they are, since they would not become cheaper: {', '.join(stay)}", stacklevel=2)
    return smaller


def candidates(model: nn.Module, scheme: str = "spatial", ignore: Iterable[str] = ()) -> dict[str, nn.Module]:
    """{name: layer} of the Linear and Conv2d layers of `model` that a scheme can factorize; a warning names the others.

    `ignore` names modules that are left alone without a word, with all that is inside. Raises ValueError for an unknown
    name there, and with its name for a layer whose weight holds NaN or infinity.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    ignored = {modules[name] for name in metrics.ignored_names(model, ignore, parameters=False)}
    uses = Counter(weight for module in model.modules() for weight in module.parameters(recurse=False))
    found, refused = {}, []
    for name, layer in metrics.layers(model).items():
        parent, _, child = name.rpartition(".")
        if layer in ignored:
            continue
        if type(layer) not in (nn.Linear, nn.Conv2d) or "weight" not in layer._parameters:
            refused.append(f"{name} (a {type(layer).__name__}, or its weight is computed)")
        elif uses[layer.weight] > 1:
            refused.append(f"{name} (its weight is shared with another layer)")
        elif f"self.{child}.weight" in _source(type(modules[parent]).forward):
            refused.append(f"{name} (its weight is read by {type(modules[parent]).__name__})")
        elif isinstance(layer, nn.Conv2d) and (layer.groups > 1 or (scheme == "spatial" and layer.dilation != (1, 1))):
            refused.append(f"{name} (groups {layer.groups}, dilation {layer.dilation})")
        elif not torch.isfinite(layer.weight).all():
            raise ValueError(f"{name}: the weight holds NaN or infinity, so it has no singular values")
        else:
            found[name] = layer
    if refused:
        warnings.warn(f"cannot be factorized and stay as they are: {', '.join(refused)}", stacklevel=3)
    return found


def factorize(
    model: nn.Module,
    *,
    ratio: float | None = None,
    energy: float | None = None,
    budget: int | None = None,
    scheme: str = "spatial",
    metric: str = "macs",
    ignore: Iterable[str] = (),
) -> nn.Module:
    """A smaller copy of `model`: its Linear and Conv2d layers as two thin ones each, under their old names.

    Give one of: ratio, the cost of each layer to keep, above 0 and up to 1; energy, the share of each layer's squared
    singular values to keep; budget, the parameters that the whole model may have (the highest energy that meets it, the
    same for all layers). scheme, "spatial" or "weight", is for convolutions. metric, "macs" or "memory", is what a ratio
    is of and what a layer has to save (memory, with a budget).

    Layers that would not become cheaper or cannot be factorized stay, and a warning names them; those in `ignore` (names
    of modules, with all inside) stay without one. Raises ValueError as candidates does, and for a budget that cannot be
    met. The result has lost accuracy: fine-tune it.
    """
    if sum(option is not None for option in (ratio, energy, budget)) != 1 or not 0 < (1 if energy is None else energy) <= 1:
        raise ValueError(f"give one of ratio, energy (each up to 1) and budget, got {ratio}, {energy} and {budget}")
    layers = candidates(model, scheme, ignore)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear or Conv2d layer that can be factorized and is not ignored")
    if ratio is not None:
        ranks = {name: rank_for_ratio(layer_shape(layer), ratio, scheme, metric) for name, layer in layers.items()}
        return replace_layers(model, ranks, scheme, metric)
    curves = {name: metrics.energy_curve(as_matrix(layer.weight, scheme)) for name, layer in layers.items()}
    costs = {name: layer_cost(layer_shape(layer), "memory") for name, layer in layers.items()}
    rest = metrics.count_parameters(model) - sum(costs.values())

    def ranks_at(level):
        return {name: min(int((curve < level).sum()) + 1, len(curve)) for name, curve in curves.items()}

    def parameters(level):  # rises with the level
        new = {name: svd_cost(layer_shape(layers[name]), rank, scheme, "memory") for name, rank in ranks_at(level).items()}
        return rest + sum(min(cost, new[name]) for name, cost in costs.items())

    if budget is not None:
        levels = [0.0, *torch.cat(list(curves.values())).unique().tolist()]
        if parameters(0.0) > budget:
            raise ValueError(f"{budget:,} parameters cannot be met: at rank 1 there are still {parameters(0.0):,}")
        energy, metric = levels[bisect_right(levels, budget, key=parameters) - 1], "memory"
    return replace_layers(model, ranks_at(energy), scheme, metric)


def _source(function):
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""
