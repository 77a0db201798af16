"""The one training loop of the course: seeds, progress, validation after each epoch, callbacks, resume.

Chapters vary it through its arguments: distillation gives another `loss`, pruning gives `Masks` as a callback.
"""

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from tqdm.auto import tqdm

from . import files
from .data import Dataset, Split


@dataclass
class Run:
    """What a callback sees. A callback is any object with a method before_epoch, after_step or after_epoch(run).

    `epoch` counts from 0; `history` holds one dict an epoch: epoch, loss, accuracy (validation, a fraction), seconds.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int
    settings: dict = field(default_factory=dict)  # what a checkpoint must agree on
    epoch: int = 0
    history: list[dict] = field(default_factory=list)


def cross_entropy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The default loss of a batch: cross entropy of model(x), (N, classes), with the labels y (N,)."""
    return F.cross_entropy(model(x), y)


def warmup_cosine(progress: float, warmup: float = 0.15) -> float:
    """The learning rate's factor at `progress` 0..1: up in a straight line for `warmup`, then down a cosine to 0.

    Source: Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983; Goyal et al. 2017, https://arxiv.org/abs/1706.02677.
    """
    if progress < warmup:
        return progress / warmup
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


def train(
    model: nn.Module,
    data: Dataset,
    epochs: int,
    *,
    lr: float = 0.05,
    weight_decay: float = 5e-4,
    batch_size: int = 64,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy,
    schedule: Callable[[float], float] = warmup_cosine,
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
    callbacks: Iterable = (),
    autocast: torch.dtype | None = None,
    checkpoint: str | os.PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
) -> list[dict]:
    """Train `model` in place on data.train, on the device where it is, and return the history (see Run).

    `optimizer` is SGD with Nesterov momentum 0.9 unless another is given; its learning rate is multiplied by
    schedule(progress) at each step. The order of the examples depends on `seed` and the epoch only, and the caller's
    random state is left alone. `autocast` computes in another dtype (torch.bfloat16). With `checkpoint` (a path) the
    state is written after each epoch, and a run that was killed goes on there.

    Raises ValueError for epochs < 0 or a checkpoint of another run, and FloatingPointError when the loss is no longer
    finite.
    """
    if epochs < 0:
        raise ValueError(f"epochs must be 0 or more, got {epochs}")
    if optimizer is None:
        optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    settings = {
        "parameters": [list(parameter.shape) for parameter in model.parameters()],
        "lr": [group["initial_lr"] for group in optimizer.param_groups],
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
    }
    run = Run(model, optimizer, epochs, settings)
    if checkpoint is not None and Path(checkpoint).exists():
        _resume(run, checkpoint)
    device = next(model.parameters()).device
    steps = math.ceil(len(data.train.y) / batch_size)
    quiet = {} if progress else {"disable": True}  # left out so that $TQDM_DISABLE counts too
    bar = tqdm(total=epochs * steps, initial=run.epoch * steps, leave=False, unit="step", **quiet)
    with bar, torch.random.fork_rng():
        while run.epoch < epochs:
            started = time.perf_counter()
            _call(callbacks, "before_epoch", run)
            torch.manual_seed(1_000_003 * seed + run.epoch)  # dropout
            generator = torch.Generator().manual_seed(1_000_003 * seed + run.epoch)
            order = torch.randperm(len(data.train.y), generator=generator)
            total = 0.0
            model.train()
            for step, index in enumerate(order.split(batch_size)):
                bar.update()
                if len(index) == 1 and len(order) > 1:
                    continue  # BatchNorm cannot normalize a batch of one
                factor = schedule((run.epoch * steps + step + 1) / (epochs * steps))
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * factor
                x, y = data.train.x[index], data.train.y[index].to(device)
                if augment is not None:
                    x = augment(x, generator)
                with torch.autocast(device.type, autocast, enabled=autocast is not None):
                    value = loss(model, x.to(device), y)
                if not torch.isfinite(value):
                    raise FloatingPointError(
                        f"the loss is {value.item()} in epoch {run.epoch + 1}, step {step + 1}: try a lower learning "
                        f"rate than {optimizer.param_groups[0]['initial_lr']:g}"
                    )
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                _call(callbacks, "after_step", run)
                total += value.item() * len(index)
            accuracy = evaluate(model, data.validation)
            run.history.append(
                {
                    "epoch": run.epoch,
                    "loss": total / len(order),
                    "accuracy": accuracy,
                    "seconds": time.perf_counter() - started,
                }
            )
            bar.set_postfix(loss=f"{total / len(order):.3f}", accuracy=f"{accuracy:.2%}")
            run.epoch += 1
            _call(callbacks, "after_epoch", run)
            if checkpoint is not None:
                _save(run, checkpoint)
    return run.history


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, batch_size: int = 1000) -> float:
    """The accuracy, a fraction 0..1, of `model` on a split, in eval mode; the mode of each module is put back."""
    device = next(itertools.chain(model.parameters(), model.buffers())).device  # an integer model has buffers only
    modes = [(module, module.training) for module in model.modules()]  # some may be frozen in eval mode
    model.eval()
    correct = 0
    for x, y in zip(split.x.split(batch_size), split.y.split(batch_size)):
        correct += (model(x.to(device)).argmax(1).cpu() == y.cpu()).sum().item()
    for module, training in modes:
        module.training = training
    return correct / len(split.y)


def _call(callbacks, moment, run):
    for callback in callbacks:
        method = getattr(callback, moment, None)
        if method is not None:
            method(run)


def _save(run, path):
    """Write model, optimizer state and history to a safetensors file, whole or not at all."""
    state = run.optimizer.state_dict()
    tensors = {f"model/{name}": _plain(value) for name, value in run.model.state_dict().items()}
    plain = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{key}"] = _plain(value)
            else:
                plain[f"{index}/{key}"] = value
    info = {"epoch": run.epoch, "history": run.history, "groups": state["param_groups"], "plain": plain}
    with files.whole(path) as part:
        save_file(tensors, part, metadata={"run": json.dumps(info | {"settings": run.settings})})


def _plain(tensor):
    """A copy as a file can hold it: shared with no other tensor, in the ordinary memory format."""
    return tensor.clone(memory_format=torch.contiguous_format)


def _resume(run, path):
    """Put model, optimizer, epoch and history back as _save left them."""
    try:
        with safe_open(path, "pt") as file:
            info = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint of a training ({error}): delete it, or name another file") from error
    if info.get("settings") != run.settings:
        raise ValueError(
            f"{path} is of another run, {info.get('settings')}, not {run.settings}: delete it, or name another file"
        )
    state = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    for name, value in info["plain"].items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    run.model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    run.optimizer.load_state_dict({"state": state, "param_groups": info["groups"]})
    run.epoch, run.history = info["epoch"], info["history"]
