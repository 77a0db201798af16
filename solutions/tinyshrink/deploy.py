"""Deployment: a network as a file that runs without its Python code, measured as it will be used.

export_onnx writes the open format of https://onnx.ai; onnxruntime runs it from C, Java, JavaScript, phones and browsers.
check_constraints measures the file itself, not the network that it came from. The page package shows one in a browser.
"""

import copy
import importlib
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import nn

from . import data, files, metrics, models, packing, quantization, sparse

TOLERANCE = 1e-4


class OnnxInteger(nn.Module):
    """A QuantizedLinear or QuantizedConv2d written with ONNX's MatMulInteger or ConvInteger, for export only.

    Activations and weights are uint8 here, 128 added to number and zero point alike. With signed weights onnxruntime's
    kernels may add pairs of products in int16, where they do not fit, on processors without VNNI:
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """

    def __init__(self, layer: quantization.QuantizedLinear):
        super().__init__()
        self.layer, self.conv = [layer], isinstance(layer, quantization.QuantizedConv2d)  # in a list: its tensors stay out
        weight, scale, bias = (layer.weight.int() + 128).to(torch.uint8), layer.input_scale * layer.weight_scale, layer.bias
        if self.conv:
            scale, bias = quantization.along(0, 3, scale, bias)
        else:
            weight = weight.t().contiguous()  # (inputs, outputs)
        tensors = {"weight": weight, "scale": scale, "bias": bias, "input_scale": layer.input_scale}
        tensors["input_zero"] = (layer.input_zero_point + 128).to(torch.uint8)
        tensors["weight_zero"] = torch.tensor(128, dtype=torch.uint8)
        low, high = quantization.levels(layer.activation_bits)
        tensors["low"], tensors["high"] = torch.tensor([low + 128, high + 128], dtype=torch.uint8)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer, symbolic = self.layer[0], torch.onnx.ops.symbolic
        padding = getattr(layer, "padding", 0)
        if self.conv and (padding == "same" or layer.padding_mode != "zeros"):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            x, padding = F.pad(x, layer.borders, mode=mode), (0, 0)
        elif padding == "valid":
            padding = (0, 0)
        integers = symbolic("QuantizeLinear", (x, self.input_scale, self.input_zero), dtype=torch.uint8, shape=x.shape)
        if layer.activation_bits < 8:
            integers = symbolic("Clip", (integers, self.low, self.high), dtype=torch.uint8, shape=x.shape)
        tensors = (integers, self.weight, self.input_zero, self.weight_zero)
        if self.conv:  # the convolution in floats gives the shape only, and is no part of what is exported
            shape = F.conv2d(x, self.weight.to(x.dtype), None, layer.stride, padding, layer.dilation, layer.groups).shape
            attributes = {"strides": layer.stride, "pads": padding * 2, "dilations": layer.dilation, "group": layer.groups}
            sums = symbolic("ConvInteger", tensors, attributes, dtype=torch.int32, shape=shape)
        else:
            sums = symbolic("MatMulInteger", tensors, dtype=torch.int32, shape=(*x.shape[:-1], self.weight.shape[1]))
        return (sums + self.bias).float() * self.scale


def export_onnx(
    model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...], path: str | os.PathLike, tolerance: float = TOLERANCE
) -> int:
    """Write `model`, in eval mode, to an .onnx file that onnxruntime runs with the same outputs; return its size in bytes.

    Integer layers stay integer: onnxruntime computes with int8 kernels (OnnxInteger). Pruned and factorized networks are
    exported as they are, masked and shared weights as the plain floats that they are, sparse layers densely, since
    onnxruntime has no sparse kernels. The batch may be of any size.

    Arguments: example, a batch of typical inputs, as model(example) or model(*example) takes it. The file is run on it, and on
    its first example alone, before it is put in its place: where an output differs by more than `tolerance`, or the exporter
    cannot write an operation (the error names it and its module), a ValueError is raised and no file is written. Where
    floats are rounded to integers after a sum, as in an int8 network with attention, a number between two integers may go to
    the other one in onnxruntime: there a wider tolerance is honest. Raises ImportError without onnx.
    """
    onnx, _, _ = _needed("onnx", "onnxruntime", "onnxscript")
    inputs = tuple(tensor.detach().cpu() for tensor in metrics.as_inputs(example))
    model = copy.deepcopy(model).cpu().eval()
    with torch.no_grad():
        kind = type(model(*inputs))
    if kind is not torch.Tensor:
        raise ValueError(f"{type(model).__name__} returns a {kind.__name__}: export a model with one tensor as output")
    network = _for_onnx(copy.deepcopy(model))
    traced = tuple(torch.cat((tensor, tensor)) for tensor in inputs)  # a batch of one would be taken for a constant
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad():
            program = torch.export.export(network, traced, dynamic_shapes=tuple({0: batch} for _ in traced), strict=False)
    except Exception as error:  # whatever the model's own code raises when it meets a tensor without values
        why = "its forward fixes the batch size" if "Constraints violated" in str(error) else _first_line(error)
        why = "its forward branches on the values of a tensor" if "data-dependent" in str(error) else why
        raise ValueError(f"{type(model).__name__} cannot be traced for batches of any size: {why}") from error
    names = [f"input{number or ''}" for number in range(len(inputs))]
    try:
        proto = torch.onnx.export(program, dynamo=True, input_names=names, output_names=["output"], verbose=False).model_proto
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(f"{type(model).__name__} cannot be an ONNX file: {_missing(program, error)}") from error
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.initializer, proto.graph):
        del part.metadata_props[:]  # where in the Python code each came from: as large as a small network
    del proto.graph.value_info[:]
    with files.whole(path) as part:
        onnx.save(proto, part)
        run = _session(part)
        with torch.no_grad():
            batches = inputs, tuple(tensor[:1] for tensor in inputs)
            differences = [(run(*batch) - model(*batch)).abs().max() for batch in batches]
        difference = torch.stack(differences).max().item()  # NaN, where one is NaN
        if not difference <= tolerance:
            raise ValueError(
                f"onnxruntime's outputs differ from torch's by {difference:.3g}, more than {tolerance:g}: nothing is written "
                f"to {path}. Export parts of the model to find the layer that differs, or give a wider tolerance"
            )
    return os.path.getsize(path)


def load(path: str | os.PathLike, threads: int = 1, classes: Iterable[type[nn.Module]] = ()) -> Callable:
    """The network in an .onnx file, or in a file of packing.save, as a function from a batch to its outputs, tensors both.

    Arguments: threads of onnxruntime; classes, as in packing.load: a packed file needs the student's own classes, an .onnx
    file does not. Raises ValueError for a damaged .onnx file, packing.CorruptFile for a packed one.
    """
    if Path(path).suffix == ".onnx":
        return _session(path, threads)
    return torch.no_grad()(packing.load(path, classes).eval().forward)


def violations(size, ms, accuracy, max_bytes=None, max_ms=None, min_accuracy=None) -> dict[str, float]:
    """Which constraints a network misses, and by how much: {"bytes": ..., "ms": ..., "accuracy": ...}, only those missed.

    Task: compare each measured number with its limit. A limit that is None is no constraint; a number exactly at its limit
    meets it. A measurement that is NaN meets no limit: a network whose accuracy is unknown must not be shipped.

    Arguments: size in bytes, ms, the latency, accuracy, 0 to 1; max_bytes, max_ms and min_accuracy, numbers or None.
    Returns a dict in this order: what is too much of bytes and ms, what is missing of accuracy, all positive (or NaN).

    Example: violations(1200, 0.5, 0.9, max_bytes=1000, max_ms=1, min_accuracy=0.92) is {"bytes": 200, "accuracy": 0.02}.
    Hint: a limit of 0 is one. NaN > 1 is False, and so is NaN <= 1.
    """
    excess = {}
    if max_bytes is not None:
        excess["bytes"] = size - max_bytes
    if max_ms is not None:
        excess["ms"] = ms - max_ms
    if min_accuracy is not None:
        excess["accuracy"] = min_accuracy - accuracy
    return {name: over for name, over in excess.items() if not over <= 0}  # unlike over > 0, true for NaN


class Verdict(NamedTuple):
    """What a file measures, its limits (None: no constraint), and violations' dict; exit_code 0 where that is empty, else 1."""

    bytes: int
    latency: metrics.Latency
    accuracy: float
    limits: dict[str, float | None]
    missed: dict[str, float]

    @property
    def exit_code(self) -> int:
        return 1 if self.missed else 0

    def table(self, title: str) -> Table:
        """One row for each measurement: what it is, its limit, whether it is met."""
        measured = {"max_bytes": f"{self.bytes:,}", "max_ms": str(self.latency), "min_accuracy": f"{self.accuracy:.2%}"}
        table = Table("", "measured", "limit", "met", title=title)
        for limit, value in self.limits.items():
            name = limit.partition("_")[2]
            shown = "" if value is None else f"{value:.2%}" if name == "accuracy" else f"{value:,g}"
            met = "" if value is None else "NO" if name in self.missed else "yes"
            table.add_row(name, measured[limit], shown, met, style="red" if met == "NO" else None)
        return table


def check_constraints(
    path: str | os.PathLike,
    split: data.Split,
    max_bytes: int | None = None,
    max_ms: float | None = None,
    min_accuracy: float | None = None,
    *,
    threads: int = 1,
    classes: Iterable[type[nn.Module]] = (),
) -> Verdict:
    """Measure a deployed file, an .onnx one or one of packing.save, and say which constraints it misses.

    Arguments: split, the images on which accuracy is measured, the first of which is the one timed; max_ms, for the median
    latency of one image in milliseconds with this many `threads`; min_accuracy, a fraction; classes, as in load.
    Raises ValueError for no constraint at all, one that every file or none can meet, and images of another shape;
    FileNotFoundError, and as load does.
    """
    limits = {"max_bytes": max_bytes, "max_ms": max_ms, "min_accuracy": min_accuracy}
    check_limits(**limits)
    size = os.path.getsize(path)
    run = load(path, threads, classes)
    try:
        right = accuracy(run, split)
    except Exception as error:  # torch and onnxruntime each raise their own kinds
        raise ValueError(f"{path} does not take images of {tuple(split.x.shape[1:])}: {_first_line(error)}") from error
    latency = metrics.latency(lambda: run(split.x[:1]), warmup=10, repeats=100, threads=threads)
    return Verdict(size, latency, right, limits, violations(size, latency.median, right, **limits))


def accuracy(run: Callable, split: data.Split) -> float:
    """The share of a split's images, 0 to 1, that a function as load gives it gets right."""
    right = sum((run(x).argmax(1) == y).sum().item() for x, y in zip(split.x.split(1000), split.y.split(1000)))
    return right / len(split.y)


def check_limits(max_bytes: float | None = None, max_ms: float | None = None, min_accuracy: float | None = None) -> None:
    """Raise ValueError for no constraint at all, and for one that every file or none can meet."""
    if max_bytes is max_ms is min_accuracy is None:
        raise ValueError("give a constraint: max_bytes, max_ms or min_accuracy. Without one everything would pass")
    for name, limit in (("max_bytes", max_bytes), ("max_ms", max_ms)):
        if limit is not None and not 0 < limit < math.inf:
            raise ValueError(f"{name} must be above 0 and finite, got {limit}")
    if min_accuracy is not None and not 0 < min_accuracy <= 1:
        percent = f": for {min_accuracy:g}% give {min_accuracy / 100:g}" if 1 < min_accuracy <= 100 else ""
        raise ValueError(f"min_accuracy is a fraction above 0 and up to 1, got {min_accuracy}{percent}")


def _for_onnx(network):
    """`network` with each layer that ONNX has no words for written in ONNX's own; changed in place."""
    for module in list(network.modules()):
        if isinstance(module, quantization.QuantizedLinear):
            network = models.replace_layer(network, module, OnnxInteger(module))
        elif isinstance(module, sparse.layers.SparseLayer):
            network = models.replace_layer(network, module, _dense(module))
        elif isinstance(module, sparse.layers.AcrossPool):
            network = models.replace_layer(network, module, module.pool)
    return network


def _dense(layer):
    """The Linear or Conv2d that a sparse layer stands for."""
    bias, size = layer.bias is not None, layer.size
    if isinstance(layer, sparse.layers.SparseConv2d):
        geometry = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
        dense = nn.Conv2d(size[1] * layer.groups, size[0], size[2:], bias=bias, **geometry)
    else:
        dense = nn.Linear(size[1], size[0], bias)
    dense.weight, dense.bias = nn.Parameter(layer.to_dense()), layer.bias
    return dense


def _missing(program, error):
    """Which operation of which module the exporter has no translation for, as found in its error."""
    chain = [error]
    while chain[-1].__cause__:
        chain.append(chain[-1].__cause__)
    text = "\n".join(map(str, chain))
    found = re.search(r"target=(?:torch\.ops\.)?(\S+?)\]", text)
    if not found:
        return _first_line(chain[-1])
    for node in (*program.graph.nodes, *program.run_decompositions().graph.nodes):
        stack = node.meta.get("nn_module_stack")
        if str(node.target) == found[1] and stack:
            name, kind = list(stack.values())[-1]  # the innermost module and its class, with where that was defined
            return f"ONNX lacks {found[1]}, which {name or 'the model itself'} ({str(kind).rpartition('.')[2]}) uses"
    return f"ONNX lacks {found[1]}"


def _session(path, threads=1):
    """An .onnx file as a function from tensors to a tensor, run by onnxruntime on the CPU."""
    (runtime,) = _needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        raise ValueError(f"{path} cannot be loaded as ONNX: {_first_line(error)}") from error
    names = [given.name for given in session.get_inputs()]

    def run(*inputs):
        outputs = session.run(None, dict(zip(names, (tensor.detach().cpu().numpy() for tensor in inputs), strict=True)))
        return torch.from_numpy(outputs[0])

    return run


def _needed(*names):
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise ImportError(f'{error.name} is not installed: pip install "tinyshrink[export]"') from error


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def __getattr__(name):
    """recommend and tradeoffs belong to decide, which itself needs this module."""
    if name in ("recommend", "tradeoffs"):
        return getattr(importlib.import_module(".decide", __package__), name)
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
