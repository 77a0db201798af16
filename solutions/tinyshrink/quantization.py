"""Quantization: weights and activations as integers of 2 to 8 bits, and layers that compute with these integers.

A real number x is stored as the integer q = round(x / scale) + zero_point, and read back as (q - zero_point) * scale.
Sources: Jacob et al. 2018, https://arxiv.org/abs/1712.05877 (integer arithmetic, folding, training with it); Krishnamoorthi
2018, https://arxiv.org/abs/1806.08342 (per channel); Bengio et al. 2013, https://arxiv.org/abs/1308.3432 (straight through).
"""

import copy
import warnings
from collections import Counter
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from . import metrics, models

OBSERVERS = {  # looked up when called, so that a student's function takes part
    "minmax": lambda rows, bits, symmetric: minmax_range(rows),
    "percentile": lambda rows, bits, symmetric: percentile_range(rows),
    "mse": lambda rows, bits, symmetric: mse_range(rows, bits, symmetric),
}
SAMPLE = 2**18  # of more activations than this a range is found from so many, drawn at random
BIAS_LIMIT = 2**22  # the integer of a bias at calibration: training may let it grow before int32 is full


def levels(bits: int = 8, symmetric: bool = False) -> tuple[int, int]:
    """The smallest and the largest integer: -128 and 127 for 8 bits; symmetric gives up the lowest, -127 and 127."""
    if bits not in range(2, 9):
        raise ValueError(f"bits must be a whole number from 2 to 8, got {bits}")
    return -(2 ** (bits - 1)) + symmetric, 2 ** (bits - 1) - 1


def affine_params(low, high, bits: int = 8, symmetric: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The scale and the zero point with which integers of `bits` cover the range low..high, widened to hold zero.

    Zero must be an integer exactly, since ReLU, padding and pruning make so many zeros: it is stored as zero_point.
    Asymmetric: low goes to the smallest and high to the largest of levels(bits). Symmetric: zero_point is 0, and the
    larger of |low| and |high| goes to the largest integer.

    Arguments: low, high, numbers or tensors of one shape (one range for each channel). Returns (scale float32,
    zero_point int32) of that shape. Where the range is nothing but zero: scale 1, zero_point as for any low of 0. Raises
    ValueError for NaN, infinity, low > high, and bits outside 2 to 8.

    Example: -1..3 at 2 bits (integers -2..1): scale 4 / 3, zero_point round(-2 + 0.75) = -1. Symmetric: scale 3, 0.
    Hint: float64 until the end, a range may be as wide as float32 itself. torch.where for ranges of zero.
    """
    low, high = (torch.as_tensor(end).detach().double() for end in (low, high))
    if not (low <= high).all() or not torch.isfinite(high - low).all():
        raise ValueError(f"a range needs finite numbers, low <= high: got low {low.tolist()} and high {high.tolist()}")
    smallest, largest = levels(bits, symmetric)
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = torch.maximum(-low, high) / largest if symmetric else (high - low) / (largest - smallest)
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)
    zero_point = torch.zeros_like(scale) if symmetric else torch.round(smallest - low / scale).clamp(smallest, largest)
    return scale.float(), zero_point.int()


def along(axis: int | None, ndim: int, *params: torch.Tensor) -> list[torch.Tensor]:
    """scale or zero_point (channels,) in a shape that meets axis `axis` of a tensor of `ndim` axes; as is for axis None."""
    if axis is None:
        return list(params)
    shape = [1] * ndim
    shape[axis] = -1
    return [param.reshape(shape) for param in params]


def quantize(x, scale, zero_point, bits: int = 8, symmetric: bool = False, axis: int | None = None) -> torch.Tensor:
    """The integers of x: round(x / scale) + zero_point, clamped to levels(bits, symmetric).

    Rounds halves to the even neighbour (0.5 to 0, 1.5 to 2), as IEEE 754 and every framework does: rounding them all up
    would shift the mean.

    Arguments: x, a floating tensor; scale and zero_point, tensors with one value, or one for each channel along `axis`.
    Returns int8 of the shape of x. Raises ValueError for NaN and infinity, which no integer stands for.

    Example: [-1, 0, 0.1, 3] with scale 4 / 3, zero_point -1 at 2 bits: [-2, -1, -1, 1].
    Hint: given is along(axis, x.ndim, scale, zero_point), which gives both in a shape that fits x.
    """
    if not torch.isfinite(x).all():
        raise ValueError(f"a tensor of shape {tuple(x.shape)} holds NaN or infinity, which no integer stands for")
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x / scale) + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def dequantize(q: torch.Tensor, scale, zero_point, axis: int | None = None) -> torch.Tensor:
    """The real numbers that integers q stand for: (q - zero_point) * scale, a tensor of scale's dtype.

    Arguments: q, int8; scale and zero_point as in quantize. Example: [-2, 1] with 4 / 3 and -1 are [-1.3333, 2.6667].
    Hint: in int8 100 - (-100) is -56.
    """
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return (q.to(scale.dtype) - zero_point) * scale


def fake_quantize(x, scale, zero_point, bits: int = 8, symmetric: bool = False, axis: int | None = None) -> torch.Tensor:
    """x with the error of quantization: dequantize(quantize(x)) exactly, with a gradient that training can use.

    Rounding is flat, its gradient zero everywhere: nothing would learn. The straight-through estimator takes it for the
    identity: the gradient is 1 where x has an integer of its own, and 0 where round(x / scale) + zero_point had to be
    clamped, since there a little more x changes nothing.

    Arguments: as in quantize. Returns a tensor of the shape and dtype of x. The scale gets no gradient.
    Example: [0.4, 9.0] with scale 1, zero_point 0 at 2 bits is [0, 1], with gradient [1, 0].
    Hint: what is x - x.detach(), and what is its gradient?
    """
    step, zero = along(axis, x.ndim, scale, zero_point)
    smallest, largest = levels(bits, symmetric)
    integers = torch.round(x.detach() / step) + zero
    values = ((integers.clamp(smallest, largest) - zero) * step).detach()
    inside = (smallest <= integers) & (integers <= largest)
    return values.to(x.dtype) + (x - x.detach()) * inside


def minmax_range(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest and largest value of each row of a matrix (rows, n): nothing is clamped, but one outlier sets the scale."""
    return rows.aminmax(dim=1)


def percentile_range(rows: torch.Tensor, share: float = 0.999) -> tuple[torch.Tensor, torch.Tensor]:
    """The range of each row of a matrix (rows, n) that leaves out the share 1 - `share` of the values at each end."""
    low, high = rows.quantile(torch.tensor([1 - share, share], dtype=rows.dtype, device=rows.device), dim=1)
    return low, high


def mse_range(rows: torch.Tensor, bits: int = 8, symmetric: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The range of each row with the least mean squared error of quantization, among shares of the row's min..max.

    A narrow range clamps the outliers (a large error for few), a wide one has coarse steps (a small error for all).

    Arguments: rows, a matrix (rows, n). The shares tried are 1.00, 0.98, ... 0.10; among equals the widest wins.
    Returns (low, high), each (rows,): the best share of the smallest and of the largest value of each row.

    Example: at 2 bits, symmetric, the range of a row of 999 ones and one 10 is a tenth of 1..10: (0.1, 1.0).
    Hint: minmax_range(rows) is given; quantize and dequantize with axis=0 give each row its own scale.
    """
    low, high = minmax_range(rows)
    best, least = torch.ones_like(low), torch.full_like(low, torch.inf)
    for percent in range(100, 9, -2):
        scale, zero_point = affine_params(low * percent / 100, high * percent / 100, bits, symmetric)
        integers = quantize(rows, scale, zero_point, bits, symmetric, axis=0)
        error = (dequantize(integers, scale, zero_point, axis=0) - rows).square().mean(1)
        best = torch.where(error < least, percent / 100, best)
        least = torch.minimum(error, least)
    return low * best, high * best


def observe(
    x: torch.Tensor, observer: str, bits: int, symmetric: bool, axis: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(low, high) of x by an observer of OBSERVERS: tensors with one value, or for axis 0 one for each channel.

    Raises ValueError for an unknown observer, an empty x, NaN and infinity.
    """
    if observer not in OBSERVERS:
        raise ValueError(f"no observer is called {observer!r}: expected one of {', '.join(OBSERVERS)}")
    if x.numel() == 0 or not torch.isfinite(x).all():
        raise ValueError(f"a range needs values, and no NaN or infinity among them: got a tensor of shape {tuple(x.shape)}")
    rows = x.detach().float().flatten(1 if axis == 0 else 0).reshape(len(x) if axis == 0 else 1, -1)
    if observer != "minmax" and rows.shape[1] > SAMPLE:
        drawn = torch.randint(rows.shape[1], (SAMPLE,), generator=torch.Generator().manual_seed(0))
        rows = rows[:, drawn.to(rows.device)]
    low, high = OBSERVERS[observer](rows, bits, symmetric)
    return (low, high) if axis == 0 else (low[0], high[0])


def fold_pair(layer: nn.Linear | nn.Conv2d, norm: nn.Module) -> nn.Linear | nn.Conv2d:
    """A layer that computes what `layer` and then the BatchNorm `norm` in eval mode do: one multiplication less to round.

    BatchNorm computes (y - mean) / sqrt(var + eps) * weight + bias for each channel, with the mean and var of training.

    Returns a new layer of the type of `layer`, with a bias; both given stay as they are.
    Example: Linear(1, 1) with weight 3 and bias 1, then mean 1, var 4, eps 0, weight 2, bias 5: weight 3, bias 5.
    Hint: norm.running_mean, .running_var, .eps, .weight, .bias (the last two None where norm.affine is False); copy.deepcopy.
    """
    factor = torch.rsqrt(norm.running_var + norm.eps) * (norm.weight if norm.affine else 1)
    bias = (0 if layer.bias is None else layer.bias) - norm.running_mean
    bias = bias * factor + (norm.bias if norm.affine else 0)
    folded = copy.deepcopy(layer)
    (factor,) = along(0, layer.weight.ndim, factor)
    folded.weight, folded.bias = nn.Parameter((layer.weight * factor).detach()), nn.Parameter(bias.detach())
    return folded


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy of `model` in which each BatchNorm right after a Conv2d or Linear is folded into it, nn.Identity in its place.

    In eval mode it computes the same, to 1e-5. What follows what is seen in the graph that torch.fx traces; a BatchNorm
    whose input goes elsewhere too, or that is used twice, stays, and so does one whose weights, or whose layer's, the model
    reads itself. A model that cannot be traced keeps them all, with a warning. A Linear before a BatchNorm1d must have an
    input (N, features).
    """
    folded = copy.deepcopy(model)
    modules = dict(folded.named_modules())
    if not any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in modules.values()):
        return folded
    try:
        graph = torch.fx.Tracer().trace(folded)
    except Exception as error:  # whatever the model's own code raises when it meets a proxy
        warnings.warn(f"{type(model).__name__} cannot be traced ({error}): its BatchNorm layers stay", stacklevel=2)
        return folded
    calls = Counter(modules[node.target] for node in graph.nodes if node.op == "call_module")
    read = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, torch.fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        layer, norm = modules[source.target], modules[node.target]
        kinds = (type(layer), type(norm)) in ((nn.Conv2d, nn.BatchNorm2d), (nn.Linear, nn.BatchNorm1d))
        fits = kinds and norm.running_var is not None and len(layer.weight) == norm.num_features
        if fits and calls[layer] == calls[norm] == 1 and read.isdisjoint((source.target, node.target)):
            models.replace_layer(folded, layer, fold_pair(layer, norm))
            models.replace_layer(folded, norm, nn.Identity())
    return folded


def quantize_bias(bias: torch.Tensor, input_scale: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """The bias as int32 (outputs,), in units of input_scale * weight_scale, so that it can be added to the sums.

    A sum of products of integers, x / input_scale times w / weight_scale, has this unit, and no zero point.

    Arguments: bias (outputs,); input_scale, one value; weight_scale (outputs,). Rounds halves to even. Raises ValueError
    where int32 is too small. Example: bias 1 with scales 0.1 and 0.02 is 500.
    """
    integers = torch.round(bias.double() / (input_scale.double() * weight_scale.double()))
    if not (integers.abs() < 2**31).all():
        raise ValueError(f"a bias of {integers.abs().max():.3g} steps does not fit int32: its weights are far too small")
    return integers.int()


def exact_dtype(weight: torch.Tensor, bias: torch.Tensor) -> torch.dtype:
    """float32 where it adds up all products of 8-bit inputs with `weight` exactly, else float64.

    PyTorch has no fast product of integer matrices on all devices, and floats add integers exactly up to 2^24 or 2^53. An
    input minus its zero point is at most 255, so no sum, in whatever order, is above 255 * sum |weight| + |bias|. On a GPU
    float32 might be multiplied by way of Winograd's fractions: float64.
    """
    largest = (255 * weight.long().abs().flatten(1).sum(1) + bias.long().abs()).max()
    return torch.float32 if largest < 2**24 and weight.device.type == "cpu" else torch.float64


def integer_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, zero_point) -> torch.Tensor:
    """A Linear layer on integers: the int32 sums of (x - zero_point) * weight, and the bias.

    Arguments: x int8 (..., inputs) with its zero_point; weight int8 (outputs, inputs), symmetric: its zero point is 0;
    bias int32 (outputs,). Returns int32 (..., outputs), exact; in units of input scale * weight scale.

    Example: x [[1, -128]], zero_point -128, weight [[127, 3]], bias [5]: [[129 * 127 + 0 + 5]] = [[16388]].
    Hint: int8 holds neither 129 nor 16383. exact_dtype(weight, bias) is given: a float in which the sums are exact, and
    much faster than int32.
    """
    dtype = exact_dtype(weight, bias)
    return F.linear(x.to(dtype) - zero_point, weight.to(dtype), bias.to(dtype)).int()


def requantize(
    accumulator: torch.Tensor, multiplier: torch.Tensor, zero_point: torch.Tensor | int, bits: int = 8
) -> torch.Tensor:
    """The int32 sums of a layer as integers of the next one, without a float: round(sum * multiplier) + zero_point, clamped.

    multiplier = input_scale * weight_scale / output_scale. Hardware without floats takes it as factor / 2^shift, a
    factor of 31 bits: multiply in int64, add half of 2^shift, so that the shift rounds (halves up), and shift right.

    Arguments: accumulator int32 (..., outputs); multiplier (outputs,) or one value, from 2^-31 to below 1. Returns int8.
    Raises ValueError for another multiplier.

    Example: sums [100, -100, 3] with multiplier 0.5 and zero_point 1: [51, -49, 3].
    Hint: fixed_point(multiplier) is given: (factor, shift), int64. (1 << shift) // 2 is half; >> keeps the sign.
    """
    factor, shift = fixed_point(multiplier)
    rounded = (accumulator.long() * factor + (1 << (shift - 1))) >> shift
    return (rounded + zero_point).clamp(*levels(bits)).to(torch.int8)


def fixed_point(multiplier: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(factor, shift), int64, such that multiplier is factor / 2^shift to 31 bits. ValueError outside 2^-31 to 1."""
    if not ((multiplier >= 2.0**-31) & (multiplier < 1)).all():
        raise ValueError(f"a multiplier must be from 2^-31 to below 1, got {multiplier.tolist()}")
    mantissa, exponent = torch.frexp(multiplier.double())  # mantissa from 0.5 to below 1
    return torch.round(mantissa * 2**31).long(), 31 - exponent.long()


class FakeQuantized(nn.Module):
    """A Linear or Conv2d that computes in floats with the errors of quantization, and can be trained (QAT).

    `layer` is the float layer. The input has one scale and zero point, the weight a symmetric scale for each output
    channel; both come from the calibration and stay fixed. The bias is rounded as in quantize_bias.
    """

    def __init__(self, layer, low, high, bits=8, activation_bits=8, observer="mse", per_channel=True):
        super().__init__()
        self.layer, self.bits, self.activation_bits = layer, bits, activation_bits
        input_scale, zero_point = affine_params(low, high, activation_bits)
        weight_range = observe(layer.weight, observer, bits, True, axis=0 if per_channel else None)
        scale, _ = affine_params(*weight_range, bits, symmetric=True)
        scale = scale.expand(len(layer.weight)).clone()
        if layer.bias is not None:  # weights next to nothing beside a bias: a finer scale would leave no room for the bias
            scale = torch.maximum(scale, layer.bias.detach().abs().float() / input_scale / BIAS_LIMIT)
        self.register_buffer("input_scale", input_scale)
        self.register_buffer("input_zero_point", zero_point)
        self.register_buffer("weight_scale", scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = fake_quantize(x, self.input_scale, self.input_zero_point, self.activation_bits)
        zero, bias = torch.zeros_like(self.input_zero_point), self.layer.bias
        weight = fake_quantize(self.layer.weight, *along(0, self.layer.weight.ndim, self.weight_scale), zero, self.bits, True)
        parameters = {"weight": weight}
        if bias is not None:
            step = self.input_scale * self.weight_scale
            parameters["bias"] = (torch.round(bias.detach() / step) * step).to(bias.dtype) + (bias - bias.detach())
        return functional_call(self.layer, parameters, (x,))


class QuantizedLinear(nn.Module):
    """A Linear that multiplies int8 with int8, adds up in int32, and gives floats: (..., inputs) to (..., outputs).

    The next layer rounds these floats to its own int8; requantize is the same step for hardware without floats. All is in
    buffers: weight int8 (outputs, inputs), weight_scale (outputs,), bias int32 (outputs,), input_scale, input_zero_point.
    Made from a FakeQuantized layer by convert or `of`.
    """

    def __init__(self, weight: torch.Tensor, bits: int = 8, activation_bits: int = 8):
        super().__init__()
        self.bits, self.activation_bits = bits, activation_bits
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", torch.ones(len(weight), device=weight.device))
        self.register_buffer("bias", torch.zeros(len(weight), dtype=torch.int32, device=weight.device))
        self.register_buffer("input_scale", torch.ones((), device=weight.device))
        self.register_buffer("input_zero_point", torch.zeros((), dtype=torch.int32, device=weight.device))

    @classmethod
    def of(cls, fake: FakeQuantized) -> "QuantizedLinear":
        """The integer layer that computes what the fake-quantized one does, in eval mode."""
        layer, scale = fake.layer, fake.weight_scale
        weight = quantize(layer.weight.detach(), scale, torch.zeros_like(scale, dtype=torch.int32), fake.bits, True, axis=0)
        new = cls(weight, fake.bits, fake.activation_bits).eval()
        new.weight_scale, new.input_scale, new.input_zero_point = scale, fake.input_scale, fake.input_zero_point
        if layer.bias is not None:
            new.bias = quantize_bias(layer.bias.detach(), fake.input_scale, scale)
        return new

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        integers = quantize(x, self.input_scale, self.input_zero_point, self.activation_bits)
        sums = integer_linear(integers, self.weight, self.bias, self.input_zero_point)
        return self.floats(sums, self.input_scale * self.weight_scale, x.dtype)

    @staticmethod
    def floats(sums: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """sums * scale as `dtype`, by way of float32 at least: sums are too large for float16."""
        return (sums.to(torch.promote_types(dtype, torch.float32)) * scale).to(dtype)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, bits={self.bits}, activation_bits={self.activation_bits}"


class QuantizedConv2d(QuantizedLinear):
    """A Conv2d that multiplies int8 with int8 and adds up in int32, as QuantizedLinear does: (N, C, H, W) to the same."""

    @classmethod
    def of(cls, fake: FakeQuantized) -> "QuantizedConv2d":
        new, conv = super().of(fake), fake.layer
        new.stride, new.padding, new.dilation, new.groups = conv.stride, conv.padding, conv.dilation, conv.groups
        new.padding_mode, new.borders = conv.padding_mode, tuple(conv._reversed_padding_repeated_twice)
        return new

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        integers = quantize(x, self.input_scale, self.input_zero_point, self.activation_bits)
        dtype, padding = exact_dtype(self.weight, self.bias), self.padding
        shifted = integers.to(dtype) - self.input_zero_point  # a zero of the padding is now a real zero
        if self.padding_mode != "zeros":
            shifted, padding = F.pad(shifted, self.borders, mode=self.padding_mode), 0
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        sums = F.conv2d(shifted, weight, bias, self.stride, padding, self.dilation, self.groups).int()
        return self.floats(sums, (self.input_scale * self.weight_scale)[:, None, None], x.dtype)


def quantizable(model: nn.Module, ignore: Iterable[str] = ()) -> dict[str, nn.Module]:
    """{name: layer} of the Linear and Conv2d layers outside `ignore` (names of modules); a warning names other layers.

    Raises ValueError for a name that the model does not have, and where nothing is left to quantize.
    """
    ignored = metrics.ignored_names(model, ignore, parameters=False)
    layers = {name: layer for name, layer in metrics.layers(model).items() if name not in ignored}
    found = {name: layer for name, layer in layers.items() if type(layer) in (nn.Linear, nn.Conv2d)}
    if others := [f"{name} ({type(layer).__name__})" for name, layer in layers.items() if name not in found]:
        warnings.warn(f"cannot be quantized and stay as they are: {', '.join(others)}", stacklevel=3)
    if not found:
        raise ValueError(f"{type(model).__name__} has no Linear or Conv2d layer that is not ignored")
    return found


def prepare_qat(
    model: nn.Module,
    calibration: torch.Tensor | tuple[torch.Tensor, ...],
    bits: int = 8,
    activation_bits: int = 8,
    *,
    observer: str = "mse",
    per_channel: bool = True,
    ignore: Iterable[str] = (),
) -> nn.Module:
    """A copy of `model` that computes with the errors of quantization and can be trained; then `convert` it.

    BatchNorm is folded first. Each Linear and Conv2d becomes a FakeQuantized under its name, with scales from one run on
    `calibration`, a batch of typical inputs (some hundred), as model(calibration) or model(*calibration) takes it.

    Arguments: bits of the weights, activation_bits of the inputs of layers, 2 to 8; observer, "minmax", "percentile" or
    "mse"; per_channel, a scale for each output channel of a weight, else one for all; ignore, names of modules that stay
    in floats. Raises ValueError for an empty calibration, NaN or infinity in weights or activations, a layer that the
    calibration does not reach, a model that reads the weight of a layer itself, and as quantizable does.
    """
    try:
        inputs = metrics.as_inputs(calibration)
    except (TypeError, ValueError) as error:
        raise type(error)(f"calibration: {error}") from error
    prepared = fold_batchnorm(model)
    layers = quantizable(prepared, ignore)
    names, ranges = {layer: name for name, layer in layers.items()}, {}

    def before(layer, args):
        if layer in names and args:
            try:
                low, high = observe(args[0], observer, activation_bits, symmetric=False)
            except ValueError as error:
                raise ValueError(f"input of {names[layer]}: {error}") from error
            widest = ranges.get(layer, (low, high))  # a layer that is used twice must cover both inputs
            ranges[layer] = torch.minimum(low, widest[0]), torch.maximum(high, widest[1])

    with metrics.watched(prepared, before, lambda *_: None):
        prepared(*inputs)
    for name, layer in layers.items():
        if layer not in ranges:
            raise ValueError(f"the calibration does not reach {name}: give inputs that do, or name it in ignore")
        try:
            fake = FakeQuantized(layer, *ranges[layer], bits, activation_bits, observer, per_channel)
        except ValueError as error:
            raise ValueError(f"weight of {name}: {error}") from error
        prepared = models.replace_layer(prepared, layer, fake.train(layer.training))
    try:
        with torch.no_grad():
            copy.deepcopy(prepared).eval()(*inputs)
    except AttributeError as error:
        raise ValueError(f"{type(model).__name__} reads the weight of a layer itself: name it in ignore ({error})") from error
    return prepared


def convert(prepared: nn.Module) -> nn.Module:
    """A copy of a model of prepare_qat, in eval mode, in which integers do the work: QuantizedLinear and QuantizedConv2d."""
    converted = copy.deepcopy(prepared)
    fakes = [module for module in converted.modules() if isinstance(module, FakeQuantized)]
    if not fakes:
        raise ValueError(f"{type(prepared).__name__} holds no FakeQuantized layer: call prepare_qat first")
    for fake in fakes:
        kind = QuantizedConv2d if isinstance(fake.layer, nn.Conv2d) else QuantizedLinear
        converted = models.replace_layer(converted, fake, kind.of(fake))
    return converted.eval()


def quantize_model(
    model: nn.Module,
    calibration: torch.Tensor | tuple[torch.Tensor, ...],
    bits: int = 8,
    activation_bits: int = 8,
    **options,
) -> nn.Module:
    """A copy of `model` that computes with integers, without training: post-training quantization.

    Arguments and errors: as in prepare_qat. Returns a new model in eval mode, whose weights are int8 buffers.
    """
    return convert(prepare_qat(model, calibration, bits, activation_bits, **options))
