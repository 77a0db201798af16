"""Your own model and data for the commands: `path/to/file.py:function` in the place of a built-in name."""

import functools
import importlib.util
import inspect
import sys
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from .. import data

PREFIX = "_own_"  # of the modules that users' files become


def is_own(name: str) -> bool:
    """Whether a name is a function in a file, such as net.py:make, and not a built-in one."""
    return ":" in name or name.endswith(".py")


def short(name: str) -> str:
    """A name for files: net.make of path/to/net.py:make."""
    path, _, function = name.rpartition(":")
    return f"{Path(path).stem}.{function}" if path else name


def classes() -> list[type[nn.Module]]:
    """The module classes in the files that were read, by which packing.load finds those of a packed model."""
    values = [value for name, module in sys.modules.items() if name.startswith(PREFIX) for value in vars(module).values()]
    return [value for value in values if isinstance(value, type) and issubclass(value, nn.Module)]


def load_model(name: str) -> nn.Module:
    """The network that the function makes, with its weights. Raises ValueError, which says what is wrong and where."""
    model = _call(name)
    if not isinstance(model, nn.Module):
        hint = ": build the network, call its load_state_dict with this, return the network" if isinstance(model, dict) else ""
        raise ValueError(f"{name} returned {_kind(model)}, expected a torch.nn.Module{hint}")
    return model


def load_data(name: str) -> data.Dataset:
    """The splits that the function returns: a data.Dataset, or train, validation and test, a pair of tensors (x, y) each.

    x is float32, the examples along its first dimension and all of one shape; y holds whole numbers from 0, one an example.
    Raises ValueError, which names the split and says what was expected.
    """
    made = _call(name)
    mean = std = torch.zeros(1, 1, 1)
    if isinstance(made, data.Dataset):
        mean, std, made = made.mean, made.std, (made.train, made.validation, made.test)
    if not isinstance(made, (tuple, list)) or len(made) != 3:
        what = f"{len(made)} values" if isinstance(made, (tuple, list)) else _kind(made)
        raise ValueError(f"{name} returned {what}, expected three pairs of tensors (x, y): train, validation, test")
    splits, checksum = [], 0
    for kind, pair in zip(("train", "validation", "test"), made):
        splits.append(_split(pair, f"{name}, {kind}:"))
        if splits[-1].x.shape[1:] != splits[0].x.shape[1:]:
            shapes = [tuple(split.x.shape[1:]) for split in (splits[-1], splits[0])]
            raise ValueError(f"{name}, {kind}: an example has the shape {shapes[0]}, and {shapes[1]} in train: make them one")
        for tensor in splits[-1]:
            checksum = zlib.crc32(tensor.numpy(), checksum)  # a search that is resumed must find the same data
    train, validation, test = splits
    return data.Dataset(f"{name} {checksum:x}", train, validation, test, mean, std)


def check_fit(model: nn.Module, dataset: data.Dataset, names: str) -> None:
    """Raise ValueError unless `model` gives finite logits (N, classes) for the examples, with a class for each label."""
    x = dataset.train.x[:2]
    training = [module for module in model.modules() if module.training]
    try:
        device = next(model.parameters()).device
        with torch.no_grad():
            logits = model.eval()(x.to(device))
    except StopIteration:
        raise ValueError(f"{names}: the network has no parameters to compress") from None
    except Exception as error:  # whatever the network's own code raises
        raise ValueError(f"{names}: the network does not take x of shape {tuple(x.shape)}: {_line(error)}") from error
    for module in training:
        module.training = True
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(x) or not logits.is_floating_point():
        got = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else _kind(logits)
        raise ValueError(
            f"{names}: for x of shape {tuple(x.shape)} the network gives {got}, expected floats ({len(x)}, classes). compress "
            "knows classification only; for other tasks call the functions (solutions/guide.md, Other tasks)"
        )
    if not torch.isfinite(logits).all():
        raise ValueError(f"{names}: the network gives numbers that are not finite: are its weights right?")
    highest = max(int(split.y.max()) for split in (dataset.train, dataset.validation, dataset.test))
    if highest >= logits.shape[1]:
        raise ValueError(f"{names}: the network knows {logits.shape[1]} classes, and a label is {highest}: count from 0")


def _split(pair, where):
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(part, torch.Tensor) for part in pair):
        raise ValueError(f"{where} got {_kind(pair)}, expected a pair of tensors (x, y)")
    x, y = (part.detach().cpu().contiguous() for part in pair)
    if x.dtype != torch.float32 or x.ndim < 2:
        raise ValueError(
            f"{where} x is {x.dtype} {tuple(x.shape)}, expected torch.float32 (examples, ...), scaled as in training"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool or y.ndim != 1:
        raise ValueError(
            f"{where} y is {y.dtype} {tuple(y.shape)}, expected the class of each example, torch.int64 (examples,): compress "
            "knows classification only (solutions/guide.md, Other tasks)"
        )
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{where} {len(x)} examples and {len(y)} labels, expected as many of both, and at least one")
    if not torch.isfinite(x).all() or y.min() < 0:
        raise ValueError(f"{where} expected finite x and labels from 0, got NaN or infinity in x, or a label of {int(y.min())}")
    return data.Split(x, y.long())


def _call(name):
    """What the function of a name `file.py:function` returns."""
    path, _, function = name.rpartition(":")
    if not path.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{name!r} is no function of a file: expected path/to/file.py:function")
    module = _import(Path(path).resolve())
    found = getattr(module, function, None)
    if not isinstance(found, Callable):
        known = [
            key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise ValueError(f"{path} has no function {function!r}: it has {', '.join(known) or 'none'}")
    return _guarded(found, name, path)


@functools.cache  # model and data may be in the same file, which is run once
def _import(path):
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    sys.path.insert(0, str(path.parent))  # as for python file.py: it may import what lies beside it
    spec = importlib.util.spec_from_file_location(f"{PREFIX}{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    _guarded(lambda: spec.loader.exec_module(module), path, path)
    return module


def _guarded(function, what, path):
    try:
        return function()
    except (Exception, SystemExit) as error:  # somebody else's code: whatever it raises is said in a line
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(path).resolve()]
        if isinstance(error, SyntaxError):
            lines = [error.lineno]
        where = f", line {lines[-1]}" if lines else ""
        raise ValueError(f"{what} failed{where}: {_line(error)}") from error


def _kind(value):
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _line(error):
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
