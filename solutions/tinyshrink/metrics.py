"""What a network costs, measured: zeros, parameters, bytes, multiply-accumulates, milliseconds, redundancy.

Networks can be compressed because they are redundant: a few of their weights predict the rest (Denil et al. 2013,
https://arxiv.org/abs/1306.0543). Each measure here answers another question, and none stands in for another: half the
weights at zero is still the same number of bytes, and half the multiply-accumulates is seldom half the time.
"""

import difflib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (*PLAIN, nn.MultiheadAttention)


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """{name: layer} of every Linear, convolution and attention of `model`, in order; an attention is one layer."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, LAYERS) and name.rpartition(".")[0] not in found:
            found[name] = module
    return found


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """{parameter name: weight} of every Linear, convolution and attention of `model`: what pruning and sparsity count.

    In the model's order, a shared parameter once. Not biases and norms, which are few and often start at exactly zero,
    and no weight that is computed (parametrized, weight_norm).
    """
    names = {}
    for prefix, layer in layers(model).items():
        for name, parameter in layer.named_parameters(prefix):
            if name.endswith("weight"):  # in_proj_weight of an attention too
                names.setdefault(parameter, name)
    return {name: parameter for parameter, name in names.items()}


def ignored_names(model: nn.Module, ignore: str | Iterable[str], parameters: bool = True) -> set[str]:
    """The names of all modules and parameters that `ignore` stands for: the names in it, and of a module all that is inside.

    Arguments: ignore, one name or several; parameters, whether names of parameters count too, or modules only.
    Raises ValueError for a name that the model does not have, with the nearest one that it has.
    """
    ignore = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    everything = [*model.named_modules(remove_duplicate=False)]
    everything += model.named_parameters(remove_duplicate=False) if parameters else ()
    known = [name for name, _ in everything if name]
    for name in ignore:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"ignore names {name!r}, which {type(model).__name__} does not have{hint}")
    return {name for name in known if any(f"{name}.".startswith(f"{entry}.") for entry in ignore)}


def count_parameters(model: nn.Module, nonzero: bool = False) -> int:
    """Count the parameters of a model: all single numbers that it learns, weights, biases and norms alike.

    Arguments: nonzero, count only those that are not exactly zero. Returns an int. A parameter that two layers share
    counts once; a frozen one counts too; buffers, such as the running mean of BatchNorm, are not learned: not counted.

    Example: nn.Linear(3, 2) has 3 * 2 + 2 = 8 parameters; with nonzero=True and its bias set to zero, 6. Hint:
    model.parameters() gives a shared parameter once.
    """
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in model.parameters())


def sparsity(model_or_tensor: nn.Module | torch.Tensor) -> float:
    """The fraction of exact zeros, 0 to 1: of all elements of a tensor, or of all weights of a model.

    A model is measured by weights(model) alone: biases and norms often start at exactly zero, and would look as if they
    had been pruned. All weights go into one fraction, so that a large layer weighs more than a small one.

    Returns a float. Raises TypeError for what is neither, ValueError for an empty tensor or a model without weights.

    Example: the tensor [[0, 2], [-1, 0]] has sparsity 0.5.
    Hint: weights(model) is {name: tensor}. In which order do you add up and divide, if no layer may count too much?
    """
    if not isinstance(model_or_tensor, (nn.Module, torch.Tensor)):
        raise TypeError(f"sparsity is of a tensor or an nn.Module, got {type(model_or_tensor).__name__}")
    if isinstance(model_or_tensor, torch.Tensor) and model_or_tensor.numel() == 0:
        raise ValueError(f"an empty tensor has no sparsity: got shape {tuple(model_or_tensor.shape)}")
    if isinstance(model_or_tensor, nn.Module) and not weights(model_or_tensor):
        raise ValueError(f"{type(model_or_tensor).__name__} has no Linear, convolution or attention weights to measure")
    tensors = [model_or_tensor] if isinstance(model_or_tensor, torch.Tensor) else weights(model_or_tensor).values()
    zeros = sum(int((tensor == 0).sum()) for tensor in tensors)
    return zeros / sum(tensor.numel() for tensor in tensors)


def model_bytes(model: nn.Module) -> int:
    """The bytes that the parameters and buffers of a model take in memory.

    A float32 number takes 4 bytes, a float16 or bfloat16 number 2, an int64 number 8. Zeros take as much as any other
    number. Memory that several tensors share (tied weights, a weight that is a view of another) is there once, and a
    tensor cut out of a larger one holds on to all of it: what counts is the storage behind the tensor.

    Returns an int. Raises ValueError for a model on the meta device, which takes no memory.

    Example: nn.Linear(3, 2) takes 8 * 4 = 32 bytes; nn.BatchNorm1d(2) 4 * 2 * 4 + 8 = 40, the 8 for its int64 counter.
    Hint: tensor.untyped_storage() has nbytes() and data_ptr(), the address that tells two storages apart.
    """
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise ValueError(f"a {type(model).__name__} on the meta device takes no memory yet: load its weights first")
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def layer_macs(layer: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    """The multiply-accumulates (MACs) of one Linear or convolution layer for one example. A bias adds none.

    Arguments: layer, nn.Linear or a convolution of 1 to 3 dimensions, transposed or not, with any groups, stride and
    dilation; the shapes of its input and output for one example, without the batch: (channels, ...) for a convolution,
    (..., features) for Linear, which does the same work at each position of the leading dimensions. Returns an int.
    Raises TypeError for another layer, ValueError for shapes of a convolution with the batch in them.

    Example: nn.Conv2d(4, 6, 3) from (4, 10, 10) to (6, 8, 8): each of the 6 * 8 * 8 outputs is a sum of 4 * 3 * 3
    products, 13824 MACs. nn.Linear(5, 2) from (7, 5) to (7, 2): 70.
    Hint: look at layer.weight.shape when there are groups. In a convolution each output gathers products; in a
    transposed one (layer.transposed) each *input* is multiplied with one slice of the weight and scattered.
    """
    if not isinstance(layer, PLAIN):
        raise TypeError(f"layer_macs is for Linear and convolutions, got {type(layer).__name__}")
    if not isinstance(layer, nn.Linear) and not len(input_shape) == len(output_shape) == layer.weight.ndim - 1:
        raise ValueError(f"expected shapes (channels, ...) without batch, got {(*input_shape,)} to {(*output_shape,)}")
    elements = input_shape if getattr(layer, "transposed", False) else output_shape
    return math.prod(elements) * math.prod(layer.weight.shape[1:])


def count_macs(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> int:
    """The multiply-accumulates of `model` for one example: the sum of macs_by_layer, which says what is counted."""
    return sum(macs_by_layer(model, example).values())


def macs_by_layer(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> dict[str, int]:
    """{layer: its multiply-accumulates for one example}, and under "elsewhere" those outside of layers, if any.

    Arguments: example, a batch as a tensor, or a tuple of tensors that model(*example) takes; the first dimension of
    the first one is the batch. The model runs once, in eval mode without gradients, on any device (meta too).
    Linear and convolution layers are counted by layer_macs; attention, subclasses and what is no layer (F.linear,
    matmul) by PyTorch's FlopCounterMode, two FLOPs to a MAC. Raises TypeError for an example of another type and for
    recurrent layers, ValueError for an empty example.
    """
    inputs = as_inputs(example)
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        raise TypeError("RNN, GRU and LSTM are not counted: PyTorch may run them as one operation that it cannot count")
    names = {layer: name for name, layer in layers(model).items()}
    macs, open_layers = dict.fromkeys([*names.values(), "elsewhere"], 0), []
    counter = FlopCounterMode(display=False)

    def before(layer, args):
        open_layers.append(counter.get_total_flops())

    def after(layer, args, output):
        counted = (counter.get_total_flops() - open_layers.pop()) // 2
        if open_layers:  # a layer inside of another one, which counts it
            return
        macs["elsewhere"] -= counted
        if type(layer) in PLAIN and args and output.ndim >= layer.weight.ndim:  # called on a batch, as nearly always
            counted = len(output) * layer_macs(layer, tuple(args[0].shape[1:]), tuple(output.shape[1:]))
        macs[names[layer]] += counted

    with watched(model, before, after), counter:
        model(*inputs)
    macs["elsewhere"] += counter.get_total_flops() // 2
    return {name: round(n / len(inputs[0])) for name, n in macs.items() if n or name != "elsewhere"}


def as_inputs(example: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """`example` as the tuple of tensors that a model is called with; TypeError or ValueError where it is no batch."""
    inputs = (example,) if isinstance(example, torch.Tensor) else example
    if not isinstance(inputs, tuple) or not all(isinstance(tensor, torch.Tensor) for tensor in inputs):
        raise TypeError(f"example must be a batch as a tensor, or a tuple of tensors: got {type(example).__name__}")
    if not inputs or inputs[0].ndim == 0 or len(inputs[0]) == 0:
        raise ValueError(f"example must be a batch of at least one, got {[tuple(tensor.shape) for tensor in inputs]}")
    return inputs


@contextmanager
def watched(model: nn.Module, before: Callable, after: Callable) -> Iterator[None]:
    """In the `with` block before(layer, args) and after(layer, args, output) are called around the forward of each layer.

    The model is in eval mode without gradients, and PyTorch's fused attention is off, since hooks and FlopCounterMode
    see nothing inside it. In the end all is put back.
    """
    with ExitStack() as undo, torch.no_grad():
        for module in model.modules():
            undo.callback(setattr, module, "training", module.training)
        for layer in layers(model).values():
            undo.enter_context(layer.register_forward_pre_hook(before))
            undo.enter_context(layer.register_forward_hook(after))
        undo.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        model.eval()
        yield


class Latency(NamedTuple):
    """Milliseconds of one call: the median, and the quartiles between which the middle half of the calls lay."""

    median: float
    low: float
    high: float

    def __str__(self):
        return f"{self.median:.3f} ms (middle half {self.low:.3f} to {self.high:.3f})"


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
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
    even if f fails (None leaves it alone); clock, the function that tells the time in seconds, read when a GPU is done.
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
    return Latency(*torch.tensor(times).quantile(torch.tensor([0.5, 0.25, 0.75])).tolist())


def paired_speedup(slow, fast, *, warmup: int = 3, repeats: int = 20, threads=None, clock=time.perf_counter) -> float:
    """How many times faster fast() is than slow(): the median of the ratios slow / fast of calls made in turn.

    A computer is fast one minute and slow the next (heat, other programs). Two calls right after each other meet the
    same conditions, so their ratio is steadier than the ratio of two latencies measured one after the other.

    Arguments and errors: as in latency; both functions are warmed up, and both run with the same threads.
    Returns a float: 2.0 is twice as fast, below 1 is slower.

    Example: slow takes 4, 6, 20 ms and fast, in turn with it, 2, 2, 4 ms: the ratios 2, 3, 5 have the median 3.
    Hint: which two calls belong together? `seconds` times one of them.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"expected repeats >= 1 and warmup >= 0, got {repeats} and {warmup}")
    with torch_threads(threads):
        for _ in range(warmup):
            slow()
            fast()
        ratios = [seconds(slow, clock) / seconds(fast, clock) for _ in range(repeats)]
    return torch.tensor(ratios).quantile(0.5).item()


def energy_curve(weight: torch.Tensor) -> torch.Tensor:
    """The share of a weight's energy that its 1, 2, 3, ... largest singular values hold.

    The energy of a matrix is the sum of its squared singular values (equal to the sum of its squared elements). A curve
    that rises steeply means that a matrix of low rank is nearly as good: the weight is redundant.

    Arguments: weight (outputs, ...), any floating dtype, taken as the matrix weight.flatten(1).
    Returns a float64 tensor on the CPU, without gradient: (min(rows, columns),), never falling, its last value exactly
    1; all zeros for an all-zero weight. Raises ValueError for fewer than two dimensions, no elements, NaN, infinity.

    Example: [[2, 0], [0, 1]] has singular values 2 and 1: the curve is [0.8, 1.0].
    """
    if weight.ndim < 2 or weight.numel() == 0:
        raise ValueError(f"expected a weight of shape (outputs, ...) with elements, got {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise ValueError("the weight holds NaN or infinity: it has no singular values")
    energy = torch.linalg.svdvals(weight.detach().cpu().double().flatten(1)).square().cumsum(0)
    return energy / energy[-1] if energy[-1] > 0 else energy


def effective_rank(weight: torch.Tensor, energy: float = 0.99) -> int:
    """The smallest rank, an int, that holds at least the share `energy` of a weight's energy; 0 for an all-zero weight.

    Arguments and errors: weight as in energy_curve; energy, a share above 0 and up to 1, ValueError for another.
    Example: [[2, 0], [0, 1]] has effective rank 1 at energy 0.75 and 2 at energy 0.9.
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy is a share above 0 and up to 1, got {energy}")
    curve = energy_curve(weight)
    return int((curve < energy).sum()) + 1 if curve[-1] > 0 else 0
