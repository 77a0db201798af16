"""Run a network from its first changed layer on: what comes before is computed once for each input, and remembered."""

import copy
import warnings
from collections.abc import Collection

import joblib
import numpy as np
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

KEPT_BYTES = 2**31  # of activations that one layer's candidates share; an input beyond that is computed from the start


def trace(model: nn.Module, layers: Collection[str]) -> fx.Graph | None:
    """The forward of `model` in eval mode as torch.fx's graph, in which these layers are one node each.

    What holds none of them is one node too, whatever it does. None, with a warning, for a forward that cannot be traced. While
    it traces, no other thread may run a module.
    """
    tracer = fx.Tracer()
    by_default, names = tracer.is_leaf_module, [f"{name}." for name in layers]

    def is_leaf(module, name):
        return name in layers or not any(inside.startswith(f"{name}.") for inside in names) or by_default(module, name)

    tracer.is_leaf_module = is_leaf
    try:
        return tracer.trace(copy.deepcopy(model).eval())
    except Exception as error:  # whatever a forward does that cannot be traced: it can still be run
        warnings.warn(f"{type(model).__name__} cannot be traced, so it is run from its input each time: {error}", stacklevel=3)
        return None


class Suffix:
    """Takes the place of model.forward, in place. The result is the same to the last bit, in eval mode and without gradients.

    Arguments: graph, of `trace`; changed, the names of the tensors in which the models that share `kept` differ; kept, a dict
    that comes to hold, by the digest of an input, what the later part reads of the earlier one; before, what models that were
    changed in front of this one have kept, from which a new input goes on. Without it a new input, and always a model in
    training mode or with gradients, is computed from the start.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, changed: set[str], kept: dict, before: dict | None = None):
        self.model, self.graph, self.kept, self.before = model, graph, kept, before or {}
        self.plain, self.checked = model.forward, False
        later = set()
        for node in graph.nodes:
            target = f"{node.target}." if node.op in ("call_module", "get_attr") else None
            touched = target and any(f"{name}.".startswith(target) for name in changed)
            if touched or node.op == "output" or later.intersection(node.all_input_nodes):
                later.add(node)
        self.earlier = [node for node in graph.nodes if node not in later]
        self.read = {node for node in self.earlier if later.intersection(node.users)}
        model.forward = self

    def check(self, args):
        """The graph must be what the model computes, which a forward with an `if` may not be: tried on two examples."""
        few = tuple(tensor[:2] for tensor in args)
        self.checked = True
        if not torch.equal(fx.Interpreter(self.model, graph=self.graph).run(*few), self.plain(*few)):
            warnings.warn(f"the trace of {type(self.model).__name__} differs from it: it is run from its input", stacklevel=3)
            self.graph = None

    def __call__(self, *args, **kwargs):
        if kwargs or torch.is_grad_enabled() or any(module.training for module in self.model.modules()):
            return self.plain(*args, **kwargs)
        if self.graph is None:
            return self.plain(*args)
        key = digest(args, torch.is_autocast_enabled(args[0].device.type))
        if key not in self.kept and not self.checked:
            self.check(args)
            if self.graph is None:
                return self.plain(*args)
        names = {node.name for node in self.earlier}
        if key in self.kept:
            known = {node: self.kept[key].get(node.name) for node in self.earlier}
            return fx.Interpreter(self.model, graph=self.graph).run(*args, initial_env=known)
        start = self.before.get(key, {})
        if not start.keys() <= names:
            start = {}
        recorder = _Recorder(self.model, graph=self.graph)
        recorder.read, recorder.values = self.read, {}
        result = recorder.run(*args, initial_env={node: start[node.name] for node in self.earlier if node.name in start})
        copies = dict.fromkeys(names) | {node.name: start[node.name] for node in self.read if node.name in start}
        copies |= {name: copy for name, (_, copy) in recorder.values.items()}
        size = sum(leaf.nbytes for leaf in pytree.tree_leaves([copies, *self.kept.values()]) if isinstance(leaf, torch.Tensor))
        pairs = zip(*(pytree.tree_leaves([value[i] for value in recorder.values.values()]) for i in (0, 1)))
        changed_later = any(isinstance(now, torch.Tensor) and not torch.equal(now, copy) for now, copy in pairs)  # in place
        if size <= KEPT_BYTES and not changed_later:
            self.kept[key] = copies
        return result


class _Recorder(fx.Interpreter):
    """Runs a graph; of the nodes in `read`, `values` holds what they gave and a copy of it."""

    def run_node(self, node):
        value = super().run_node(node)
        if node in self.read:
            self.values[node.name] = value, pytree.tree_map_only(torch.Tensor, torch.clone, value)
        return value


def changed(model: nn.Module, smaller: nn.Module) -> set[str]:
    """The names of the parameters and buffers that `smaller`, a compressed copy of `model`, has not, or has anew or changed."""
    before, after = (
        dict((*m.named_parameters(remove_duplicate=False), *m.named_buffers(remove_duplicate=False))) for m in (model, smaller)
    )
    both = before.keys() & after.keys()
    same = {n for n in both if before[n].shape == after[n].shape and torch.equal(before[n], after[n])}
    return (before.keys() | after.keys()) - same


def digest(*things) -> str:
    """A hash of tensors, arrays, numbers and text, in tuples, lists and dicts. TypeError for anything else."""
    for leaf in pytree.tree_leaves(things):
        if not isinstance(leaf, (torch.Tensor, np.ndarray, str, bytes, int, float, type(None))):
            raise TypeError(f"expected tensors, arrays, numbers or text, in tuples, lists or dicts, got {type(leaf).__name__}")

    def as_bytes(tensor):
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return str(tensor.dtype), tuple(tensor.shape), plain

    return joblib.hash(pytree.tree_map_only(torch.Tensor, as_bytes, things))
