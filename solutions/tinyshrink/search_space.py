"""What an architecture search chooses from: networks with multipliers of width, depth and resolution, and what each costs.

A multiplier of 1 is the network that somebody made by hand. Sources: Howard et al. 2017, https://arxiv.org/abs/1704.04861
(width and resolution multipliers); Tan & Le 2019, https://arxiv.org/abs/1905.11946 (the three together); Howard et al. 2019,
https://arxiv.org/abs/1905.02244 (MobileNetV3).
"""

import functools
import inspect
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import nn
from torchvision.models import mobilenet_v3_small

from . import metrics, models


@dataclass(frozen=True)
class Space:
    """`choices` {name: values} and `build`, which makes of one value for each name an untrained network: build(width=0.5).

    An architecture is a dict {name: value}. The values are numbers, text or truth values; their order is kept: neighbours
    are alike. Raises ValueError for no choices, a name without values or with one twice, and a name that build does not take.
    """

    build: Callable[..., nn.Module]
    choices: Mapping[str, tuple]

    def __post_init__(self):
        if not self.choices:
            raise ValueError("a space needs at least one choice: {'width': (0.5, 1.0)}")
        parameters = inspect.signature(self.build).parameters
        for name, values in self.choices.items():
            if not isinstance(values, (tuple, list)) or not values or len({*values}) < len(values):
                raise ValueError(f"{name!r} needs a tuple of values, each of them once, got {values!r}")
            if not all(isinstance(value, (int, float, str)) for value in values):
                raise ValueError(f"the values of {name!r} must be numbers, text or truth values, got {values!r}")
            if name not in parameters and not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
                raise ValueError(f"{name!r} is a choice, but build takes {', '.join(parameters)}")

    def __len__(self):
        return functools.reduce(lambda count, values: count * len(values), self.choices.values(), 1)


def _channels(number, multiplier):
    """That many channels times the multiplier, at least 1."""
    if not multiplier > 0:
        raise ValueError(f"a multiplier must be above 0, got {multiplier}")
    return max(1, round(number * multiplier))


def scaled_cnn(
    shape: tuple[int, int, int] = (1, 8, 8),
    classes: int = 10,
    width: float = 1.0,
    depth: int = 1,
    resolution: float = 1.0,
    growth: float = 2.0,
    hidden: float = 1.0,
) -> nn.Sequential:
    """models.DigitsCNN with other proportions; with all at their defaults its very layers, by the same names.

    Arguments: shape, (channels, height, width) of an image; width, a multiplier of all channels; depth, how many convolutions
    there are before each of the two poolings (after the first layer); resolution, a multiplier of height and width, by
    averaging pixels; growth, how many times as many channels each stage has as the one before; hidden, a multiplier of the
    288 units before the output, 0 for none. Returns logits (N, classes). Raises ValueError for numbers out of range.
    """
    if depth < 1 or hidden < 0 or not 0 < resolution <= 1:
        raise ValueError(f"expected depth >= 1, hidden >= 0, resolution above 0 to 1: got {depth}, {hidden}, {resolution}")
    channels, height, wide = shape
    size = [max(4, round(side * resolution)) for side in (height, wide)]  # two poolings need 4 pixels
    layers = OrderedDict() if size == [height, wide] else OrderedDict(resize=nn.AdaptiveAvgPool2d(size))
    number = 1
    for stage, convolutions in enumerate((1, depth, depth)):
        out = _channels(32 * growth**stage, width)
        for _ in range(convolutions):
            layers[f"conv{number}"] = nn.Conv2d(channels, out, 3, padding=1, bias=False)
            layers[f"bn{number}"] = nn.BatchNorm2d(out)
            layers[f"relu{number}"] = nn.ReLU()
            channels, number = out, number + 1
        if stage:
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    features = channels * (size[0] // 4) * (size[1] // 4)
    if hidden:
        units = _channels(288, width * hidden)
        layers["fc1"], layers[f"relu{number}"], layers["fc2"] = nn.Linear(features, units), nn.ReLU(), nn.Linear(units, classes)
    else:
        layers["fc1"] = nn.Linear(features, classes)
    return nn.Sequential(layers)


def scaled_cifar(width: float = 1.0, depth: float = 1.0, resolution: float = 1.0) -> nn.Sequential:
    """models.CifarCNN with multipliers of its 16 channels, its 3 blocks a stage and its 32 pixels (at most 1)."""
    if not 0 < resolution <= 1:
        raise ValueError(f"resolution must be above 0 to 1, got {resolution}")
    size = max(4, round(32 * resolution))
    network = models.CifarCNN(_channels(16, width), _channels(3, depth))
    return nn.Sequential(nn.AdaptiveAvgPool2d(size), network) if size < 32 else nn.Sequential(network)


def scaled_mobilenet(
    shape: tuple[int, int, int] = (1, 8, 8), classes: int = 10, width: float = 1.0, depth: float = 1.0, resolution: float = 1.0
) -> nn.Sequential:
    """torchvision's MobileNetV3-Small for small images of any number of channels, untrained.

    Arguments: width, torchvision's width_mult; depth, 0 to 1, the share of the blocks with a shortcut that stay (the others
    change the size and cannot go); resolution, a multiplier of 32 pixels, to which the image is enlarged. The first
    convolution has a stride of 1 in place of 2, and BatchNorm forgets as fast as elsewhere in the course (momentum 0.1 in
    place of 0.01), since small data sets have few steps. Raises ValueError for numbers out of range.
    """
    if not 0 <= depth <= 1 or not resolution > 0 or not width > 0:
        raise ValueError(f"expected depth 0 to 1, width and resolution above 0: got {depth}, {width}, {resolution}")
    network = mobilenet_v3_small(width_mult=width, num_classes=classes)
    network.features[0][0] = nn.Conv2d(shape[0], network.features[0][0].out_channels, 3, padding=1, bias=False)
    optional = [place for place, block in enumerate(network.features) if getattr(block, "use_res_connect", False)]
    for place in optional[: round(depth * len(optional)) - len(optional) - 1 : -1] if depth < 1 else ():
        del network.features[place]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return nn.Sequential(nn.Upsample(size=max(8, round(32 * resolution))), network)


def cnn_space(shape: tuple[int, int, int] = (1, 8, 8)) -> Space:
    """1,296 relatives of models.DigitsCNN for images of that shape: width, depth, resolution, growth and hidden."""
    widths, depths, resolutions = (0.125, 0.1875, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.25), (1, 2, 3), (0.5, 0.75, 1.0)
    choices = {"width": widths, "depth": depths, "resolution": resolutions}
    choices |= {"growth": (1.0, 1.5, 2.0, 3.0), "hidden": (0.0, 0.25, 0.5, 1.0)}
    return Space(functools.partial(scaled_cnn, tuple(shape)), choices)


def cifar_space() -> Space:
    """Relatives of models.CifarCNN for 32 x 32 colour images."""
    choices = {"width": (0.25, 0.5, 0.75, 1.0, 1.5), "depth": (1 / 3, 2 / 3, 1.0, 4 / 3), "resolution": (0.5, 0.75, 1.0)}
    return Space(scaled_cifar, choices)


def mobilenet_space(shape: tuple[int, int, int] = (1, 8, 8)) -> Space:
    """Relatives of torchvision's MobileNetV3-Small for small images of that shape."""
    choices = {"width": (0.25, 0.5, 0.75, 1.0), "depth": (0.0, 0.5, 1.0), "resolution": (0.25, 0.5, 0.75, 1.0)}
    return Space(functools.partial(scaled_mobilenet, tuple(shape)), choices)


def estimate(
    build: Callable[..., nn.Module], architecture: Mapping, example: torch.Tensor, batch_size: int = 64
) -> tuple[int, int]:
    """(parameters, bytes that training takes) of a network that is not built: on PyTorch's meta device nothing has memory.

    Training holds each parameter three times (value, gradient, momentum), and what each layer gives out twice (output,
    gradient), for each image of a batch. That is what PyTorch's allocator needs at least; add a little.
    Arguments: example, a batch (N, channels, height, width), of which one image counts. Raises what build raises.
    """
    outputs = []
    with torch.device("meta"):
        model = build(**architecture)
    for module in model.modules():
        if not next(module.children(), None):
            module.register_forward_hook(lambda layer, args, out: outputs.append(out.numel() * out.element_size()))
    with torch.no_grad():
        model.eval()(torch.empty_like(example[:1], device="meta"))
    given = [parameter.numel() * parameter.element_size() for parameter in model.parameters()]
    return metrics.count_parameters(model), 3 * sum(given) + 2 * batch_size * sum(outputs)


def stored_bytes(model: nn.Module) -> int:
    """The bytes of the file (safetensors) that holds all parameters and buffers: they depend on the shapes alone.

    So a network has them before it is trained; what packing.save makes of the trained one is smaller, and known only then.
    """
    return len(save({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}))


def measured_ms(model: nn.Module, example: torch.Tensor, repeats: int = 30) -> float:
    """The milliseconds that one thread of the CPU computes for model(example): the median after 5 calls that warm up.

    Measured in eval mode with the clock of the thread, which stands still while the operating system runs other programs.
    On a quiet machine that is the time on the wall; on a busy one it is what the wall clock would say on a quiet one,
    but for shared caches and the speed of the processor.
    """
    modes = [(module, module.training) for module in model.modules()]
    with torch.inference_mode():
        model.eval()
        ms = metrics.latency(lambda: model(example), warmup=5, repeats=repeats, threads=1, clock=time.thread_time).median
    for module, training in modes:
        module.training = training
    return ms
