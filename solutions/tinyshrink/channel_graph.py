"""Which channels have to go together: found by following every channel through the traced graph of a model.

Each index of each dimension of each parameter gets a label, a number of its own. The graph is walked once, operation by
operation. Where two indices must stay or go together (the filters of a convolution and the scales of the BatchNorm behind it,
the two sides of a sum) their labels are united (channel_labels). Operations that only move numbers (view, cat, chunk,
pixel_shuffle) are not described at all: they are run on the labels. In the end the classes of united labels are the channels.
An operation that is not known fixes the channels that enter it, so ignorance costs compression and never correctness.

The idea of coupled groups is DepGraph's (Fang et al. 2023, https://arxiv.org/abs/2301.12900); the graph is torch.export's,
which traces what torch.fx does not (a list of chunks, sizes read from shapes, functional layers with bare parameters).
"""

import contextlib
import copy
import io
import itertools
import logging
import operator
import os
import traceback
import warnings

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from .channel_labels import Channels, Labels, blank, count_channels, flat_axes, spread


class UnsupportedModel(ValueError):
    """The model cannot be pruned correctly; the message names the module and the operation that stand in the way."""


MOVES = frozenset(
    "view reshape _unsafe_view view_as reshape_as flatten unflatten permute transpose t squeeze unsqueeze expand expand_as "
    "cat concat stack chunk split split_with_sizes tensor_split unbind slice select narrow repeat repeat_interleave flip pad "
    "constant_pad_nd pixel_shuffle pixel_unshuffle channel_shuffle movedim moveaxis swapaxes swapdims mT numpy_T roll tile "
    "concatenate hstack broadcast_to im2col unfold getitem".split()
)
SAME = frozenset(  # element by element, though torch does not tag them so
    "dropout dropout_ feature_dropout alpha_dropout feature_alpha_dropout contiguous clone detach detach_ alias to _to_copy "
    "type_as zeros_like ones_like full_like empty_like rand_like randn_like lift_fresh_copy copy_ fill_ hardswish hardswish_ "
    "hardtanh hardtanh_ relu6 relu6_ rrelu rrelu_ masked_fill masked_fill_ where log_sigmoid".split()
)
REDUCTIONS = tuple("mean sum amax amin max min var std prod norm linalg_vector_norm argmax argmin".split())
SOFTMAX = ("softmax", "_softmax", "log_softmax", "_log_softmax")
POOLS = ("max_pool", "avg_pool", "adaptive_", "upsample", "_upsample", "fractional_", "lp_pool")
STATISTICS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
NORMS = (*STATISTICS, nn.modules.instancenorm._InstanceNorm, nn.modules.batchnorm._BatchNorm)


def trace(model: nn.Module, inputs: tuple) -> torch.export.ExportedProgram:
    """The graph of model(*inputs). Raises ValueError where the model cannot run, UnsupportedModel where it cannot be traced."""
    silent, noise = logging.root.manager.disable, io.StringIO()
    try:
        logging.disable(logging.WARNING)  # the exporter prints pages before it fails, and warns of its own future
        with warnings.catch_warnings(), contextlib.redirect_stderr(noise):
            warnings.simplefilter("ignore")
            return torch.export.export(model, inputs, strict=False)
    except Exception as error:
        untraceable = f"{type(model).__name__} cannot be traced: {brief(error)} ({_place(error)})"
    finally:
        logging.disable(silent)
    try:
        with torch.no_grad():
            model(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in pytree.tree_leaves(inputs) if isinstance(value, torch.Tensor))
        raise ValueError(
            f"{type(model).__name__} cannot run on the example of shape {shapes}: {brief(error)} ({_place(error)})"
        ) from error
    raise UnsupportedModel(untraceable)


def brief(error: Exception) -> str:
    """The first line of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def _place(error):
    """Where in the user's code an error came from: the last frame outside of torch."""
    own = os.path.dirname(torch.__file__)
    frame = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(own)][-1]
    return f"{frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}"


class ChannelGraph:
    """The labels of every tensor in the graph of `model`: a list with an array of labels, or None, for each dimension."""

    def __init__(self, model, inputs):
        self.model, self.labels = model, Labels()
        self.tensors, self.outputs, self.values = {}, {}, {}  # name: labels; (name, dim): None; node: labels
        program = trace(copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()}), inputs)
        signature = program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.names = {}
        for node in program.graph.find_nodes(op="placeholder"):
            self.values[node] = self._placeholder(node, names.get(node.name))
        self._walk(program.graph)
        for value in pytree.tree_leaves(program.graph.output_node().args):
            if isinstance(value, torch.fx.Node):
                self._stay(self.values[value], "the model's output keeps its shape")

    def _walk(self, graph):
        for node in graph.nodes:
            if node.op == "call_function":
                self.node, self.module = node, self._module(node)
                self.where = f"{self.module or type(self.model).__name__}: {getattr(node.target, '_opname', node.target)}"
                self.values[node] = self._step(node)
            elif node.op == "get_attr":
                self.values[node] = blank(node.meta.get("val"))

    def _inside(self, node):
        """The graph within the graph that torch.no_grad() and torch.autocast make."""
        place = next(place for place, arg in enumerate(node.args) if isinstance(arg, torch.fx.Node) and arg.op == "get_attr")
        graph = node.graph.owning_module.get_submodule(node.args[place].target).graph
        for inner, outer in zip(graph.find_nodes(op="placeholder"), node.args[place + 1 :]):
            self.values[inner] = self.values[outer]
            if outer in self.names:
                self.names[inner] = self.names[outer]
        self._walk(graph)
        return tuple(self.values.get(value, []) for value in graph.output_node().args[0])

    def _module(self, node):
        stack = node.meta.get("nn_module_stack") or {}
        return next(reversed(stack.values()))[0] if stack else ""

    def _placeholder(self, node, name):
        value = node.meta.get("val")
        if name is None or not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return blank(value)
        if name not in self.tensors:
            self.tensors[name] = [self.labels.fresh(size) if size > 1 else None for size in value.shape]
        self.names[node] = name
        return self.tensors[name]

    def _step(self, node):
        """The labels of the result of an operation. Handlers are named for operations: `_linear` is for aten.linear."""
        operands = [arg for arg in pytree.tree_leaves((node.args, node.kwargs)) if isinstance(arg, torch.fx.Node)]
        labels = [self.values[operand] for operand in operands]
        if node.target is operator.getitem and isinstance(labels[0], tuple):
            return labels[0][node.args[1]]
        kind = getattr(node.target, "_opname", None) or node.target.__name__
        output = node.meta.get("val")
        if not any(axis is not None for value in labels for axis in flat_axes(value)):
            return blank(output)
        if kind.startswith("wrap_with"):
            return self._inside(node)
        arguments = self._arguments(node)
        handler = getattr(self, f"_{kind.lstrip('_')}", None)
        if handler is not None:
            return handler(arguments)
        if "conv" in kind and "weight" in arguments and "groups" in arguments:
            return self._convolve(arguments, arguments.get("transposed", "transpose" in kind))
        if kind in MOVES:
            return self._move(node, kind, arguments)
        if kind in SAME or torch.Tag.pointwise in getattr(node.target, "tags", ()):
            return self._pointwise(operands, output)
        if kind in REDUCTIONS or kind in SOFTMAX:
            return self._reduce(arguments, output, kind in SOFTMAX)
        if kind.startswith(POOLS):
            return self._pool(labels[0], output, kind)
        for value in labels:
            self._stay(value, f"{self.where} is not known to channel pruning")
        return blank(output)

    def _arguments(self, node):
        """{name: value} of an operation's arguments, defaults included."""
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            return dict(enumerate(node.args))
        names = [argument.name for argument in schema.arguments]
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        return defaults | dict(zip(names, node.args)) | dict(node.kwargs)

    def _stay(self, value, why):
        for axis in flat_axes(value):
            self.labels.fix(axis, why)

    def _unite(self, first, second, why="is combined with something whose size is fixed"):
        """Unite two axes (an array, or None for labels of 0)."""
        if first is None and second is None:
            return
        zero = np.zeros(1, np.int64)
        self.labels.unite(zero if first is None else first, zero if second is None else second, f"{self.where} {why}")

    def _operands(self, arguments, *names):
        """The labels of the arguments of these names; None for one that is no tensor."""
        return [self.values[arguments[name]] if isinstance(arguments.get(name), torch.fx.Node) else None for name in names]

    def _pointwise(self, operands, output):
        if not isinstance(output, torch.Tensor):
            self._stay(tuple(self.values[operand] for operand in operands), f"{self.where} is not known to channel pruning")
            return blank(output)
        result = []
        for place in range(-output.ndim, 0):
            size, axis = output.shape[place], None
            sides = [
                self.values[operand][place]
                for operand in operands
                if isinstance(self.values[operand], list)
                and len(self.values[operand]) >= -place
                and operand.meta["val"].shape[place] == size
            ]
            if size > 1 and any(side is not None for side in sides):
                axis = next(side for side in sides if side is not None)
                for side in sides:
                    self._unite(axis, side)
            result.append(axis)
        return result

    def _convolve(self, arguments, transposed):
        x, weight, bias = self._operands(arguments, "input", "weight", "bias")
        groups, rank = arguments["groups"], len(weight)
        into, out = (0, 1) if transposed else (1, 0)
        for axis in (*x[2 - rank :], *weight[2:]):
            self.labels.fix(axis, f"{self.where} slides over this dimension")
        channels, inputs = x[1 - rank], weight[into]
        if groups == 1:
            self._unite(channels, inputs)
            made = weight[out]
        else:
            outside, inside = (weight[0], weight[1])  # dimension 0 counts over all groups, dimension 1 within one
            if inside is None and not (transposed and len(outside) > groups):  # depthwise: each channel is a group
                wide, narrow = (channels, outside) if transposed else (outside, channels)
                if wide is not None and narrow is not None:
                    large, small = (wide, narrow) if len(wide) >= len(narrow) else (narrow, wide)
                    self._unite(large.reshape(len(small), -1), small[:, None])
                else:
                    self._unite(wide, narrow)
                made = outside
            else:  # every group has to lose the same of its channels
                both = [axis for axis in (outside, channels) if axis is not None]
                for axis in both:
                    self._unite(axis.reshape(groups, -1), axis.reshape(groups, -1)[:1])
                if transposed:
                    self._unite(channels, outside)
                    made = None if inside is None else np.tile(inside, groups)
                else:
                    self._unite(None if channels is None else channels.reshape(groups, -1)[0], inside)
                    made = outside
        self._note_output(arguments["weight"], out)
        if bias is not None:
            self._unite(made, bias[0])
        return [*x[: 1 - rank], made, *[None] * (rank - 2)]

    def _note_output(self, node, dim):
        """Note that dimension `dim` of a weight makes channels."""
        if node in self.names:
            self.outputs[self.names[node], dim] = None

    def _linear(self, arguments):
        x, weight, bias = self._operands(arguments, "input", "weight", "bias")
        if len(weight) < 2:
            self._stay((x, weight), f"{self.where} with a vector is not known to channel pruning")
            return x[:-1]
        self._unite(x[-1], weight[1])
        self._note_output(arguments["weight"], 0)
        if bias is not None:
            self._unite(weight[0], bias[0])
        return [*x[:-1], weight[0]]

    def _addmm(self, arguments):
        bias, first, second = self._operands(arguments, "self", "mat1", "mat2")
        result = self._contract("ab,bc->ac", first, second)
        self._note_output(arguments["mat2"], 1)
        self._unite(result[1], bias[-1])
        return result

    def _matmul(self, arguments):
        first, second = self._operands(arguments, *(("self", "mat2") if "mat2" in arguments else ("self", "other")))
        if min(len(first), len(second)) < 2:
            self._stay((first, second), f"{self.where} of a vector is not known to channel pruning")
            return blank(self.node.meta["val"])
        batch = "zyxwvu"[: max(len(first), len(second)) - 2][::-1]
        left, right = (batch[len(batch) - len(value) + 2 :] for value in (first, second))
        return self._contract(f"{left}ab,{right}bc->{batch}ac", first, second)

    _mm = _bmm = _matmul

    def _einsum(self, arguments):
        equation = arguments["equation"].replace(" ", "")
        operands = [self.values[node] for node in arguments["tensors"]]
        if "..." in equation or "->" not in equation:
            self._stay(tuple(operands), f"{self.where} with {equation!r} is not known to channel pruning")
            return blank(self.node.meta["val"])
        return self._contract(equation, *operands)

    def _contract(self, equation, *operands):
        """Dimensions of the same letter are one: they lose the same indices."""
        inputs, output = equation.split("->")
        axes = {}
        for letters, value in zip(inputs.split(","), operands, strict=True):
            for letter, axis in zip(letters, value, strict=True):
                axes.setdefault(letter, []).append(axis)
        for same in axes.values():
            lengths = {len(axis) for axis in same if axis is not None}
            if len(lengths) > 1:
                self._stay((same,), f"{self.where} broadcasts")
                continue
            for axis in same:
                self._unite(same[0], axis)
        return [next((axis for axis in axes[letter] if axis is not None), None) for letter in output]

    def _scaled_dot_product_attention(self, arguments):
        query, key, value, mask = self._operands(arguments, "query", "key", "value", "attn_mask")
        for axis in (query[-1], key[-1]) if arguments.get("scale") is None else ():
            self.labels.fix(axis, f"{self.where} divides by the root of this size")
        for axis in (query[-2], key[-2], value[-2], *(mask or ())):
            self.labels.fix(axis, f"{self.where} keeps its tokens")
        self._unite(query[-1], key[-1])
        for heads in zip(query[:-2], key[:-2], value[:-2]):
            if len({None if axis is None else len(axis) for axis in heads}) > 1:  # shared by groups of heads
                self._stay((list(heads),), f"{self.where} shares heads")
                continue
            self._unite(heads[0], heads[1])
            self._unite(heads[0], heads[2])
        return [*query[:-1], value[-1]]

    def _batch_norm(self, arguments):
        x, *rest = self._operands(arguments, "input", "weight", "bias", "running_mean", "running_var")
        for value in rest:
            if value is not None:
                self._unite(x[1], value[0])
        self._norm_channels(x[1])
        self._stay(x[2:], f"{self.where} normalizes over this dimension")
        return x

    _instance_norm = _batch_norm

    def _group_norm(self, arguments):
        axis = self._operands(arguments, "input")[0][1]
        if axis is not None:  # every group has to lose the same of its channels
            self._unite(axis.reshape(arguments["num_groups"], -1), axis.reshape(arguments["num_groups"], -1)[:1])
        return self._batch_norm(arguments)

    def _layer_norm(self, arguments):
        x, *affine = self._operands(arguments, "input", "weight", "bias")
        rank = len(arguments["normalized_shape"])
        for value in affine:
            for axis, own in zip(x[-rank:], value or ()):
                self._unite(axis, own)
        if rank > 1:
            self._stay(x[-rank:], f"{self.where} normalizes over {rank} dimensions at once")
        self._norm_channels(x[-1])
        return x

    _rms_norm = _layer_norm

    def _norm_channels(self, axis):
        """A norm counts its channels in an attribute: a slot of its own, that remove_channels and mask_channels read."""
        module = self.model.get_submodule(self.module)
        if not isinstance(module, NORMS):
            self.labels.fix(axis, f"{self.where} is called as a function, so its number of channels cannot be changed")
        elif axis is not None:
            first = next(name for name, other in self.model.named_modules() if other is module)  # it may have several names
            name = f"{first}.channels".lstrip(".")
            self.tensors.setdefault(name, [self.labels.fresh(len(axis))])
            self._unite(axis, self.tensors[name][0])

    def _prelu(self, arguments):
        x, weight = self._operands(arguments, "self", "weight")
        if weight[0] is not None:
            self._unite(x[1], weight[0])
        return x

    def _glu(self, arguments):
        x, dim = self._operands(arguments, "self")[0], arguments["dim"]
        axis = x[dim]
        if axis is None:
            return x
        first, second = axis.reshape(2, -1)  # both halves have to lose the same, as in chunk
        self._unite(first, second)
        result = list(x)
        result[dim] = first
        return result

    def _assert_tensor_metadata(self, arguments):  # x.float() and x.to(...) leave one behind
        return []

    def _embedding(self, arguments):
        weight, indices = self._operands(arguments, "weight", "indices")
        self.labels.fix(weight[0], f"{self.where} looks rows up")
        self._note_output(arguments["weight"], 1)
        return [*indices, weight[1]]

    def _pool(self, x, output, kind):
        spatial = next((int(letter) for letter in kind if letter.isdigit()), 2)
        self._stay(x[-spatial:], f"{self.where} works over this dimension")
        result = [*x[:-spatial], *[None] * spatial]
        return result if isinstance(output, torch.Tensor) else (result,) * len(output)

    def _reduce(self, arguments, output, softmax):
        x = self.values[arguments.get("self", arguments.get("input"))]
        dims = arguments.get("dim")
        dims = range(len(x)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
        dims = {dim % len(x) for dim in dims} if x else set()
        for dim in dims:
            self.labels.fix(x[dim], f"{self.where} works over all channels at once")
        keep = softmax or arguments.get("keepdim")
        result = [None if dim in dims else axis for dim, axis in enumerate(x) if keep or dim not in dims]
        return result if isinstance(output, torch.Tensor) else (result,) * len(output)

    def _move(self, node, kind, arguments):
        """Run the operation on the labels of each dimension of its operands, and read off where they went."""
        self._align(kind, arguments)
        nodes = [arg for arg in pytree.tree_leaves((node.args, node.kwargs)) if isinstance(arg, torch.fx.Node)]
        output, results = node.meta["val"], None
        for dim in range(max(len(self.values[operand]) for operand in nodes)):
            if all(len(self.values[n]) <= dim or self.values[n][dim] is None for n in nodes):
                continue
            swap = {operand: spread(self.values[operand], dim, operand.meta["val"].shape) for operand in nodes}
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), swap.__getitem__)
            viewing = kind in ("view", "_unsafe_view")  # these want memory in order, which labels do not have
            moved = (torch.ops.aten.reshape.default if viewing else node.target)(*args, **kwargs)
            moved = [moved] if isinstance(moved, torch.Tensor) else list(moved)
            results = results or [[None] * piece.ndim for piece in moved]
            for piece, result in zip(moved, results):
                self._place_labels(piece.numpy().astype(np.int64), result)
        if results is None:
            return blank(output)
        return results[0] if isinstance(output, torch.Tensor) else tuple(results)

    def _align(self, kind, arguments):
        """Cutting a dimension at fixed fractions goes well when every piece loses the same indices.

        That these are fractions and no fixed numbers is an assumption; the proof that follows every plan tests it.
        """
        if kind not in ("chunk", "split", "split_with_sizes", "tensor_split", "slice", "narrow", "select", "unbind", "getitem"):
            return
        node = arguments.get("self", arguments.get(0))
        if not isinstance(node, torch.fx.Node) or not isinstance(self.values[node], list):
            return
        value, dim = self.values[node], arguments.get("dim", 0)
        axis = value[dim]
        if axis is None:
            return
        size, cuts = len(axis), None
        pieces = self.node.meta["val"] if not isinstance(self.node.meta["val"], torch.Tensor) else None
        if kind == "slice":
            start, end, step = (arguments[name] for name in ("start", "end", "step"))
            start, end, _ = slice(start, end).indices(size)
            if step > 1 and size % step == 0 and start < step and end == size:
                self._unite(axis.reshape(-1, step), axis.reshape(-1, step)[:, :1])
                return
            cuts = [start, end] if step == 1 else None
        elif pieces is not None and kind not in ("select", "unbind"):
            cuts = [0, *itertools.accumulate(piece.shape[dim] for piece in pieces)]
        width = np.gcd.reduce([size, *cuts]) if cuts else 1
        if cuts and width == size:
            return
        if width == 1:
            self.labels.fix(axis, f"{self.where} takes single channels out")
        else:
            self._unite(axis.reshape(-1, width), axis.reshape(-1, width)[:1])

    def _place_labels(self, moved, result):
        """Find the dimension of `moved` (labels of every element) along which they vary, and unite along the others."""
        if not moved.any():
            return
        size = moved.size
        varies = [dim for dim in range(moved.ndim) if (moved != moved.take([0], dim)).any()]
        for dim in set(range(moved.ndim)) - set(varies):
            moved = moved.take([0], dim)
        moved = self.labels.find(moved)
        varies = [dim for dim in varies if (moved != moved.take([0], dim)).any()]
        if not varies:
            self.labels.fix(moved, f"{self.where} {'ties all channels together' if size > 1 else 'takes one channel out'}")
            return
        dim = varies[0]
        if len(varies) > 1:  # as in view(N, heads, size): the finest choice is the dimension that can shrink
            dim = max(varies, key=lambda dim: (count_channels(moved, dim), dim))
        rows = np.moveaxis(moved, dim, 0).reshape(moved.shape[dim], -1)
        self._unite(rows, rows[:, :1])
        axis = rows[:, 0]
        other = result[dim]
        if other is not None:  # two labelled dimensions were merged: one of them may shrink
            weaker = min((axis, other), key=lambda labels: len(np.unique(labels)))
            self.labels.fix(weaker, f"{self.where} merges two dimensions of channels")
            axis = other if weaker is axis else axis
        result[dim] = axis

    def groups(self, keep: dict[tuple[str, int], str]) -> tuple[list[Channels], dict[tuple[str, int], str]]:
        """The groups of channels that can be removed, and {(tensor, dimension that makes channels): why they stay}.

        `keep` is {(tensor, dimension): a reason for which all channels of that dimension stay}.
        """
        return self.labels.groups(self.tensors, list(self.outputs), keep)
