"""What a network costs, measured: zeros, parameters, bytes, multiply-accumulates, milliseconds, redundancy.

Networks can be compressed because they are redundant: a few of their weights predict the rest (Denil et al. 2013,
https://arxiv.org/abs/1306.0543). Each measure here answers another question, and none stands in for another: half the
weights at zero is still the same number of bytes, and half the multiply-accumulates is seldom half the time.
"""

import io
import math
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from html import escape
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)
WEIGHT_NAMES = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PLAIN_FORWARDS = {layer.forward for layer in PLAIN}


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """{parameter name: weight} of every Linear, convolution and attention of `model`: what pruning and sparsity count.

    In the order of model.named_modules(), a shared parameter once. Biases and norms are not weights in this sense: they
    are few, and they often start at exactly zero. A weight that is computed (parametrized, weight_norm) is left out.
    """
    names = {}
    for prefix, module in model.named_modules():
        if isinstance(module, LAYERS):
            for name, parameter in module.named_parameters(prefix, recurse=False):
                if name.rpartition(".")[2] in WEIGHT_NAMES:
                    names.setdefault(parameter, name)
    return {name: parameter for parameter, name in names.items()}


def without_values(model_or_tensor: nn.Module | torch.Tensor, meta: bool = True) -> str:
    """The name of the first parameter or buffer that has no values: lazy, or (unless meta=False) on the meta device.

    "" where all have values.
    """
    tensors = [("the tensor", model_or_tensor)]
    if isinstance(model_or_tensor, nn.Module):
        tensors = [*model_or_tensor.named_parameters(), *model_or_tensor.named_buffers()]
    return next((name for name, t in tensors if nn.parameter.is_lazy(t) or (meta and t.is_meta)), "")


def count_parameters(model: nn.Module, nonzero: bool = False) -> int:
    """Count the parameters of a model: all single numbers that it learns, weights, biases and norms alike.

    Arguments: nonzero, count only those that are not exactly zero. A parameter that two layers share counts once; one
    that is frozen counts too; buffers, such as the running mean of BatchNorm, are not learned and do not count.
    Returns an int. Raises ValueError for a lazy parameter, whose shape is not known yet, and with nonzero=True for one
    on the meta device, which has no values.

    Example: nn.Linear(3, 2) has 3 * 2 + 2 = 8 parameters; with nonzero=True and its bias set to zero, 6.
    Hint: model.parameters() gives a shared parameter once.
    """
    if name := without_values(model, meta=nonzero):
        raise ValueError(f"{name} has no values yet: load it, or run one forward pass of a lazy layer, then count")
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in model.parameters())


def sparsity(model_or_tensor: nn.Module | torch.Tensor) -> float:
    """The fraction of exact zeros, 0 to 1: of all elements of a tensor, or of all weights of a model.

    A model is measured by weights(model) alone: biases and norms often start at exactly zero, and would look as if they
    had been pruned. All weights go into one fraction, so that a large layer weighs more than a small one.

    Arguments: a tensor of any shape and dtype, or a model. Returns a float. Raises TypeError for anything else, and
    ValueError for an empty tensor, a model without weights, and values that are not there (lazy, meta).

    Example: the tensor [[0, 2], [-1, 0]] has sparsity 0.5.
    Hint: weights(model) is {name: tensor}. Count the zeros and the elements first, divide once.
    """
    if not isinstance(model_or_tensor, (nn.Module, torch.Tensor)):
        raise TypeError(f"sparsity is of a tensor or an nn.Module, got {type(model_or_tensor).__name__}")
    if name := without_values(model_or_tensor):
        raise ValueError(f"{name} has no values yet: load it, or run one forward pass of a lazy layer, then measure")
    if isinstance(model_or_tensor, torch.Tensor) and model_or_tensor.numel() == 0:
        raise ValueError(f"an empty tensor has no sparsity: got shape {tuple(model_or_tensor.shape)}")
    if isinstance(model_or_tensor, nn.Module) and not any(w.numel() for w in weights(model_or_tensor).values()):
        raise ValueError(f"{type(model_or_tensor).__name__} has no Linear, convolution or attention weights to measure")
    tensors = [model_or_tensor] if isinstance(model_or_tensor, torch.Tensor) else weights(model_or_tensor).values()
    zeros = sum(int((tensor == 0).sum()) for tensor in tensors)
    return zeros / sum(tensor.numel() for tensor in tensors)


def model_bytes(model: nn.Module) -> int:
    """The bytes that the parameters and buffers of a model take in memory.

    A float32 number takes 4 bytes, a float16 or bfloat16 number 2, an int64 number 8. Zeros take as much as any other
    number. Memory that several tensors share (tied weights, a weight that is a view of another) is there once, and a
    tensor cut out of a larger one holds on to all of it: what counts is the storage behind the tensor.

    Returns an int. Raises ValueError for tensors that have no memory yet (lazy, meta).

    Example: nn.Linear(3, 2) takes 8 * 4 = 32 bytes; nn.BatchNorm1d(2) 4 * 2 * 4 + 8 = 40, the 8 for its int64 counter.
    Hint: tensor.untyped_storage() has nbytes() and data_ptr(), the address that tells two storages apart.
    """
    if name := without_values(model):
        raise ValueError(f"{name} takes no memory yet: load it, or run one forward pass of a lazy layer, then measure")
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def layer_macs(layer: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    """The multiply-accumulates (MACs) of one Linear or convolution layer for one example. A bias adds none.

    Arguments: layer, nn.Linear or a convolution of 1 to 3 dimensions, transposed or not, with any groups, stride and
    dilation; the shapes of its input and output for one example, so without the batch: (channels, ...) for a
    convolution, (..., features) for Linear, which does the same work again at each position of the leading dimensions.
    Returns an int. Raises TypeError for another layer, ValueError for shapes of a convolution with the batch in them.

    Example: nn.Conv2d(4, 6, 3) from (4, 10, 10) to (6, 8, 8): each of the 6 * 8 * 8 outputs is a sum of 4 * 3 * 3
    products, 13824 MACs. nn.Linear(5, 2) from (7, 5) to (7, 2): 70.
    Hint: look at layer.weight.shape when there are groups. In a convolution each output gathers products; in a
    transposed one (layer.transposed) each *input* is multiplied with one slice of the weight and scattered.
    """
    if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
        raise TypeError(f"layer_macs is for Linear and convolutions, got {type(layer).__name__}")
    if not isinstance(layer, nn.Linear) and not len(input_shape) == len(output_shape) == layer.weight.ndim - 1:
        raise ValueError(f"expected shapes (channels, ...) without batch, got {(*input_shape,)} to {(*output_shape,)}")
    elements = input_shape if getattr(layer, "transposed", False) else output_shape
    return math.prod(elements) * math.prod(layer.weight.shape[1:])


def count_macs(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> int:
    """The multiply-accumulates of `model` for one example: one forward pass over `example` divided by its batch size.

    Arguments: example, a batch as a tensor, or a tuple of tensors that model(*example) takes; the first dimension of
    the first one is the batch. Linear and convolution layers are counted by layer_macs, recurrent ones by their
    matrices, everything else (F.linear, matmul, attention) by PyTorch's FlopCounterMode, two FLOPs to a MAC.
    The model runs in eval mode without gradients, and gets its mode back. Works on any device, the meta device too.
    Raises TypeError for an example of another type, ValueError for an empty one and for lazy layers.
    """
    return _macs(model, example)[0]


class Latency(NamedTuple):
    """Milliseconds of one call: the median, and the quartiles between which the middle half of the calls lay."""

    median: float
    low: float
    high: float

    def __str__(self):
        return f"{self.median:.3f} ms (middle half {self.low:.3f} to {self.high:.3f})"


@contextmanager
def torch_threads(threads: int | None):
    """Inside the `with` block PyTorch computes with this many CPU threads; None leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wait_for_gpu() -> None:
    """Wait until the GPU has done what it was given; does not wake one that is not in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def seconds(f, clock=time.perf_counter) -> float:
    """The seconds that one call of f() takes by `clock`, until a GPU that is in use has done its part too."""
    wait_for_gpu()
    started = clock()
    f()
    wait_for_gpu()
    return clock() - started


def latency(f, *, warmup: int = 3, repeats: int = 20, threads: int | None = None, clock=time.perf_counter) -> Latency:
    """Measure how long one call of f() takes: its median over `repeats` calls, in milliseconds, after `warmup` calls.

    The first calls are slower (memory is allocated, caches are cold), so they are run and not measured. A mean would be
    pulled up by the calls that the operating system interrupted; the median is not.

    Arguments: f, called without arguments; threads, PyTorch's number of CPU threads while measuring, put back after it
    even if f fails (None leaves it alone); clock, the function that tells the time in seconds.
    Returns Latency(median, low, high) in ms; low and high are the 25 % and 75 % quantiles, linear between two calls.
    Raises ValueError for repeats < 1 and warmup < 0.

    Example: calls of 1, 2, 3 and 10 ms give Latency(median=2.5, low=1.75, high=4.75).
    Hint: seconds(f, clock) times one call; `with torch_threads(threads):` sets the threads; torch.quantile.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"expected repeats >= 1 and warmup >= 0, got {repeats} and {warmup}")
    with torch_threads(threads):
        for _ in range(warmup):
            f()
        times = [1000 * seconds(f, clock) for _ in range(repeats)]
    levels = torch.tensor([0.5, 0.25, 0.75], dtype=torch.float64)
    return Latency(*torch.tensor(times, dtype=torch.float64).quantile(levels).tolist())


def paired_speedup(slow, fast, *, warmup: int = 3, repeats: int = 20, threads=None, clock=time.perf_counter) -> float:
    """How many times faster fast() is than slow(): the median of the ratios slow / fast of calls made in turn.

    A computer is fast one minute and slow the next (heat, other programs). Two calls right after each other meet the
    same conditions, so their ratio is steadier than the ratio of two latencies measured one after the other.

    Arguments: as in latency; both functions are warmed up, and both run with the same threads.
    Returns a float: 2.0 is twice as fast, below 1 is slower. Raises ValueError for repeats < 1 and warmup < 0.

    Example: slow takes 4, 6, 20 ms and fast, in turn with it, 2, 2, 4 ms: the ratios 2, 3, 5 have the median 3.
    Hint: one call of slow, one call of fast, one ratio; `repeats` times.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"expected repeats >= 1 and warmup >= 0, got {repeats} and {warmup}")
    with torch_threads(threads):
        for _ in range(warmup):
            slow()
            fast()
        ratios = [seconds(slow, clock) / seconds(fast, clock) for _ in range(repeats)]
    return torch.tensor(ratios, dtype=torch.float64).quantile(0.5).item()


def energy_curve(weight: torch.Tensor) -> torch.Tensor:
    """The share of a weight's energy that its 1, 2, 3, ... largest singular values hold.

    The energy of a matrix is the sum of its squared singular values (equal to the sum of its squared elements). A curve
    that rises steeply means that a matrix of low rank is nearly as good: the weight is redundant.

    Arguments: weight (outputs, ...), any floating dtype, taken as the matrix weight.flatten(1).
    Returns a float64 tensor on the CPU, without gradient: (min(rows, columns),), never falling, its last value exactly
    1; all zeros where the weight is all zeros. Raises ValueError for fewer than two dimensions, no elements, NaN or
    infinity, and a weight without values (lazy, meta).

    Example: [[2, 0], [0, 1]] has singular values 2 and 1: the curve is [0.8, 1.0].
    Hint: torch.linalg.svdvals gives them largest first, and not for float16: convert first. A sum computed another way
    may round another way: divide by the last of the cumulative sums.
    """
    if without_values(weight):
        raise ValueError("the weight has no values yet: load it, or run one forward pass of a lazy layer")
    if weight.ndim < 2 or weight.numel() == 0:
        raise ValueError(f"expected a weight of shape (outputs, ...) with elements, got {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise ValueError("the weight holds NaN or infinity: it has no singular values")
    energy = torch.linalg.svdvals(weight.detach().cpu().double().flatten(1)).square().cumsum(0)
    return energy / energy[-1] if energy[-1] > 0 else energy


def effective_rank(weight: torch.Tensor, energy: float = 0.99) -> int:
    """The smallest rank that holds at least the share `energy` of a weight's energy (see energy_curve).

    Arguments: weight as in energy_curve; energy, a share above 0 and up to 1. Returns an int: 0 for an all-zero weight.
    Raises ValueError for an energy outside that range, and as energy_curve does.

    Example: [[2, 0], [0, 1]] has effective rank 1 at energy 0.75 and 2 at energy 0.9.
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy is a share above 0 and up to 1, got {energy}")
    curve = energy_curve(weight)
    return int((curve < energy).sum()) + 1 if curve[-1] > 0 else 0


class Row(NamedTuple):
    """A layer of a report, or its total: shape of the weight, fractions 0..1, MACs for one example."""

    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int
    nonzeros: int
    sparsity: float
    bytes: int
    macs: int
    latency_share: float


class Report(NamedTuple):
    """What `report` returns: print it, show it in a notebook, or read `rows` and `total`.

    The total is of the whole model: what stands outside the rows (norms, embeddings, functional MACs) is in it, and
    what layers share is in it once.
    """

    rows: list[Row]
    total: Row

    def _cells(self):
        """The lines of the table as text, the header first."""
        yield ["layer", "type", "shape", "parameters", "nonzero", "sparsity", "bytes", "MACs", "time"]
        for row in (*self.rows, self.total):
            sizes = [f"{row.parameters:,}", f"{row.nonzeros:,}", f"{row.sparsity:.1%}", f"{row.bytes:,}"]
            shape = "x".join(map(str, row.shape))
            yield [row.name, row.type, shape, *sizes, f"{row.macs:,}", f"{row.latency_share:.1%}"]

    def __rich__(self):
        header, *lines = self._cells()
        table = Table()
        for position, title in enumerate(header):
            table.add_column(title, justify="left" if position < 3 else "right", overflow="fold")
        for position, line in enumerate(lines, start=1):
            table.add_row(*map(Text, line), end_section=position == len(self.rows))
        return table

    def __repr__(self):
        console = Console(file=io.StringIO(), width=1000, force_jupyter=False)
        console.print(self)
        return console.file.getvalue().rstrip()

    def _repr_html_(self):
        header, *lines = [[escape(text) for text in line] for line in self._cells()]
        head = "".join(f"<th>{title}</th>" for title in header)
        body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in line)}</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def report(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> Report:
    """Measure `model` layer by layer: one row for each Linear, convolution and attention, and the total.

    `example` is a batch as in count_macs. The share of the time that a layer takes is its median over five forward
    passes of that batch; the shares do not add up to one, since norms, activations and Python take time too.
    Raises as count_macs does, and ValueError for a model without weights.
    """
    total = _sizes(model)  # before anything runs: it raises for a model that cannot be measured
    macs, macs_of = _macs(model, example)
    share_of = _latency_shares(model, example)
    inside_attention = {module.out_proj for module in model.modules() if isinstance(module, nn.MultiheadAttention)}
    rows = []
    for name, layer in model.named_modules():
        if isinstance(layer, LAYERS) and layer not in inside_attention and weights(layer):
            shape = tuple(next(iter(weights(layer).values())).shape)
            rows.append(Row(name, type(layer).__name__, shape, *_sizes(layer), macs_of[layer], share_of[layer]))
    return Report(rows, Row("total", type(model).__name__, (), *total, macs, 1.0))


def _sizes(model):
    """The columns of a report from parameters to bytes."""
    return count_parameters(model), count_parameters(model, nonzero=True), sparsity(model), model_bytes(model)


def _inputs(example):
    """`example` as the tuple of tensors that the model is called with."""
    inputs = (example,) if isinstance(example, torch.Tensor) else example
    if not isinstance(inputs, tuple) or not all(isinstance(tensor, torch.Tensor) for tensor in inputs):
        raise TypeError(f"example must be a batch as a tensor, or a tuple of tensors: got {type(example).__name__}")
    if not inputs or inputs[0].ndim == 0 or len(inputs[0]) == 0:
        raise ValueError(f"example must be a batch of at least one, got {[tuple(tensor.shape) for tensor in inputs]}")
    return inputs


@contextmanager
def _metered(model, meter):
    """While `model` runs, a list of (layer, input shape, output shape, how much meter() grew in it) for each call.

    The model is in eval mode without gradients, and PyTorch's fused fast path for attention is off, since neither hooks
    nor FlopCounterMode see inside it; all is put back.
    """
    calls, entered = [], {}

    def before(layer, args):
        entered[layer] = meter()

    def after(layer, args, kwargs, output):
        grown = meter() - entered[layer]
        x = getattr(next(iter((*args, *kwargs.values())), None), "data", None)  # of a PackedSequence too: its tensor
        calls.append((layer, tuple(getattr(x, "shape", ())), tuple(getattr(output, "shape", ())), grown))

    with ExitStack() as undo, torch.no_grad():
        for module in model.modules():
            undo.callback(setattr, module, "training", module.training)
            if isinstance(module, (*LAYERS, nn.RNNBase)):
                undo.enter_context(module.register_forward_pre_hook(before))
                undo.enter_context(module.register_forward_hook(after, with_kwargs=True))
        undo.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        model.eval()
        yield calls


def _macs(model, example):
    """(MACs of the model, Counter {layer: MACs}), both for one example."""
    inputs = _inputs(example)
    if name := without_values(model, meta=False):
        raise ValueError(f"{name} is lazy and has no shape yet: run one forward pass first")
    matrix_vector = {torch.ops.aten.mv: lambda matrix, vector, **_: 2 * math.prod(matrix)}  # PyTorch's counter has none
    counter = FlopCounterMode(display=False, custom_mapping=matrix_vector)
    with _metered(model, counter.get_total_flops) as calls, counter:
        model(*inputs)
    macs_of, total = Counter(), counter.get_total_flops() // 2
    for layer, input_shape, output_shape, flops in calls:
        macs = _call_macs(layer, input_shape, output_shape, flops // 2)
        macs_of[layer] += macs
        total += macs - flops // 2
    batch = len(inputs[0])
    return round(total / batch), Counter({layer: round(macs / batch) for layer, macs in macs_of.items()})


def _call_macs(layer, input_shape, output_shape, counted):
    """The MACs of one call of a layer; `counted` is what FlopCounterMode saw in it."""
    if isinstance(layer, nn.RNNBase):  # LSTM and its kin may run as one operation that FlopCounterMode does not know
        return math.prod(input_shape[:-1]) * sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    if type(layer).forward not in PLAIN_FORWARDS or not weights(layer):  # attention, a subclass, a parametrization
        return counted
    dims = len(output_shape) if isinstance(layer, nn.Linear) else layer.weight.ndim - 1
    return math.prod(output_shape[:-dims]) * layer_macs(layer, input_shape[-dims:], output_shape[-dims:])


def _latency_shares(model, example, passes=5):
    """Counter {layer: its share of the time of a forward pass}, the median over a few passes."""
    inputs = _inputs(example)

    def meter():
        wait_for_gpu()
        return time.perf_counter()

    shares = []
    with _metered(model, meter) as calls:
        model(*inputs)
        for _ in range(passes):
            calls.clear()
            total, share = seconds(lambda: model(*inputs)), Counter()
            for layer, _, _, spent in calls:
                share[layer] += spent / total
            shares.append(share)
    return Counter({layer: sorted(share[layer] for share in shares)[passes // 2] for layer in shares[0]})
