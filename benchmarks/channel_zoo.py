"""Claim: on 29 architectures channel pruning is right or refuses by name, never wrong; beside it Torch-Pruning on the same.

    python benchmarks/channel_zoo.py [name ...]        half of the channels of each network; minutes on two cores

Every network has random weights (so that each is alive and all differ). Right: the smaller network computes what the masked
one of the same size does, to 1e-5 relative, it has fewer parameters, its output has the same shape, and gradients reach every
parameter that they reached before. Torch-Pruning is told the output layer, which tinyshrink finds by itself. What it removed
is read off its result (each weight is a number of its own), and compared with the masked network in the same way.
"""

import argparse
import time
import warnings

import architectures
import numpy as np
import results
import torch
import torch_pruning
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from tinyshrink import channel_plan, metrics, structured


def judge(smaller, model, masked, x):
    """("right", ratio of parameters kept), or what is wrong with `smaller`."""
    with torch.no_grad():
        try:
            got = smaller.eval()(x)
        except Exception as error:
            return "wrong", f"does not run: {str(error).splitlines()[0][:60]}"
    if got.shape != model(x).shape:
        return "wrong", f"the output has shape {tuple(got.shape)}"
    ratio = metrics.count_parameters(smaller) / metrics.count_parameters(model)
    if ratio >= 1:
        return "wrong", "nothing was removed, and nothing said"
    if masked is None:
        return "wrong", "its weights are none of the old ones"
    with torch.no_grad():
        error = channel_plan.difference(got, masked.eval()(x))
    if error > channel_plan.TOLERANCE:
        return "wrong", f"differs by {error:.0e}"
    reached = {name for network in (model, smaller) for name in gradients(network, x)}
    if reached != gradients(smaller, x):
        return "wrong", "gradients do not reach every parameter"
    return "right", f"{ratio:.2f} of the parameters kept"


def gradients(model, x):
    """The names of the parameters that a backward pass reaches."""
    model.zero_grad()
    model(x).square().sum().backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def ours(model, x):
    """What tinyshrink makes of `model`: (verdict, detail, seconds)."""
    started = time.perf_counter()
    try:
        plan = structured.plan_channels(model, x, 0.5)
        smaller = structured.remove_channels(model, plan)
    except structured.UnsupportedModel as error:
        return "refused", str(error)[:80], time.perf_counter() - started
    seconds = time.perf_counter() - started
    return *judge(smaller, model, structured.mask_channels(model, plan), x), seconds


def torch_prunings(model, x, heads):
    """The same of Torch-Pruning."""
    smaller, started = channel_plan.cut_tensors(model, {}), time.perf_counter()
    try:
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=1)
        ignored = [smaller.get_submodule(head) for head in heads]
        torch_pruning.pruner.BasePruner(smaller, x, importance, pruning_ratio=0.5, ignored_layers=ignored).step()
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:80], 0.0
    seconds = time.perf_counter() - started
    indices = kept(model, smaller)
    masked = None if indices is None else channel_plan.mask_tensors(model, indices)
    return *judge(smaller, model, masked, x), seconds


def kept(model, smaller):
    """{parameter: {dimension: indices that stayed}}, found by the values: few weights of a parameter are equal by chance."""
    olds, indices = dict(model.named_parameters()), {}
    for name, new in smaller.named_parameters():
        if name not in olds:
            return None
        old, new = olds[name].detach().numpy(), new.detach().numpy()
        order = old.ravel().argsort()
        for dim in range(old.ndim):
            some = np.moveaxis(new, dim, 0).reshape(new.shape[dim], -1)[:, :512]
            places = order[np.searchsorted(old.ravel(), some, sorter=order).clip(max=old.size - 1)]
            if (old.ravel()[places] != some).any():
                return None
            found = torch.from_numpy(np.unravel_index(places, old.shape)[dim])
            indices.setdefault(name, {})[dim] = found.mode(1).values  # what most of them say
        norm = name.removesuffix(".weight")
        if norm != name and norm and isinstance(model.get_submodule(norm), channel_plan.STATISTICS):
            indices[f"{norm}.channels"] = {0: indices[name][0]}
    return indices


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of the names of the networks to try; all without")
    wanted = parser.parse_args().names
    warnings.simplefilter("ignore")
    networks = {**architectures.SMALL, **architectures.TORCHVISION}
    networks = {name: each for name, each in networks.items() if not wanted or any(part in name for part in wanted)}
    table = Table("network", "tinyshrink", "", "s", "Torch-Pruning", "", "s")
    totals = {"tinyshrink": {}, "Torch-Pruning": {}}
    for name, (build, shape) in track(networks.items(), description="networks"):
        torch.manual_seed(0)
        model = channel_plan.randomized(channel_plan.plain_copy(build().eval()))
        for parameter in model.parameters():
            if parameter.ndim == 1:  # no two equal, so that what was removed can be told
                parameter.data = 0.5 + torch.randperm(len(parameter)) / len(parameter)
        x = torch.randn(shape)
        verdict, detail, seconds = ours(model, x)
        try:
            left = structured.plan_channels(model, x, 0.5).left
        except structured.UnsupportedModel:
            left = {}
        heads = [layer for layer, why in left.items() if why.startswith("the model's output")]
        other, what, spent = torch_prunings(model, x, heads)
        table.add_row(escape(name), verdict, escape(detail), f"{seconds:.2f}", other, escape(what), f"{spent:.2f}")
        for way, result in (("tinyshrink", verdict), ("Torch-Pruning", other)):
            totals[way][result] = totals[way].get(result, 0) + 1
    Console(width=180).print(table)
    for way, counts in totals.items():
        print(f"{way}: " + ", ".join(f"{number} {result}" for result, number in sorted(counts.items())))
    what, rows, peer = f"half of the channels removed from {len(networks)} architectures", [], totals["Torch-Pruning"]
    found = (("right", {}), ("wrong", {"most": 0}), ("refused", {"detail": True}), ("crashed", {"most": 0, "detail": True}))
    for result, bounds in found:
        number, theirs = totals["tinyshrink"].get(result, 0), peer.get(result, 0)
        name = f"Torch-Pruning {torch_pruning.__version__}: {theirs}"
        rows.append(results.row(f"{what}: {result}", number, "networks", anchor=name, note=f"Torch-Pruning {theirs}", **bounds))
    results.record("03_structured", rows)


if __name__ == "__main__":
    main()
