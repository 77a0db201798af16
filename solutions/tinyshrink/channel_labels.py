"""Labels of channels: numbers that are united where channels have to go together, and the groups that come of it.

Labels stand in arrays, one for each dimension of a tensor: the label of each of its indices, or None where the dimension
always stays, as the label 0 does. Uniting them is union and find (Tarjan 1975, https://doi.org/10.1145/321879.321884).
"""

from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class Channels:
    """A group of channels of the same kind: those that the same tensors have, at the same dimensions.

    `size` is their number. `slots` is {tensor name: {dimension: int64 array (length of the dimension,), the channel, 0 to
    size - 1, that each index belongs to, -1 = none of these}}; "<norm>.channels" stands for a norm's attribute that counts
    them. `outputs` names the (tensor, dimension) that make the channels, first those of the first layer that runs.
    """

    size: int
    slots: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    outputs: list[tuple[str, int]] = field(default_factory=list)


class Labels:
    """Numbered labels with union and find, on whole arrays of int64, any shape; 0 is the label of what always stays."""

    def __init__(self):
        self.parent = np.zeros(1, np.int64)
        self.fixed: list[tuple[np.ndarray, str]] = []

    def fresh(self, number):
        """New labels, (number,)."""
        start = len(self.parent)
        self.parent = np.concatenate([self.parent, np.arange(start, start + number)])
        return np.arange(start, start + number)

    def find(self, labels):
        """The smallest label that each of `labels` is united with, in the same shape."""
        while not np.array_equal(above := self.parent[labels], labels):
            labels = above
        return labels

    def unite(self, first, second, why):
        """Unite the labels of two arrays one by one (shapes broadcast); what meets label 0 has to stay: `why` says so."""
        first, second = (np.ravel(side) for side in np.broadcast_arrays(first, second))
        self.fix(np.concatenate([second[first == 0], first[second == 0]]), why)
        both = (first > 0) & (second > 0)
        first, second = self.find(first[both]), self.find(second[both])
        while (differ := first != second).any():
            first, second = first[differ], second[differ]
            np.minimum.at(self.parent, np.maximum(first, second), np.minimum(first, second))
            first, second = self.find(first), self.find(second)

    def fix(self, labels, why):
        """Note that what has these labels (None: nothing) has to stay, for the reason `why`."""
        if labels is not None and labels.any():
            self.fixed.append((np.unique(labels[labels > 0]), why))

    def groups(self, tensors, outputs, keep):
        """(the groups of channels that can be removed, {(tensor name, dimension) of `outputs`: why its channels stay}).

        Arguments: tensors, {name: the labels of each dimension}; outputs, the (name, dimension) that make channels, in the
        order in which the layers run; keep, {(name, dimension): a reason for which all channels of that dimension stay}.
        """
        reasons = {}
        fixed = self.fixed + [(tensors[name][dim], why) for (name, dim), why in keep.items()]
        for labels, why in fixed:
            for root in np.unique(self.find(labels)) if labels is not None else ():
                reasons.setdefault(int(root), why)
        members = {}  # channel: [(tensor, dimension, index), ...]
        axes = [(name, dim, axis) for name, value in tensors.items() for dim, axis in enumerate(value) if axis is not None]
        for name, dim, axis in axes:
            for index, root in enumerate(self.find(axis).tolist()):
                if root not in reasons:
                    members.setdefault(root, []).append((name, dim, index))
        kinds = {}
        for places in members.values():
            kinds.setdefault(tuple((name, dim) for name, dim, _ in places), []).append(places)
        groups = []
        for kind, channels in kinds.items():
            group = Channels(len(channels), outputs=[output for output in outputs if output in kind])
            for number, places in enumerate(channels):
                for name, dim, index in places:
                    empty = np.full(len(tensors[name][dim]), -1)
                    group.slots.setdefault(name, {}).setdefault(dim, empty)[index] = number
            if group.outputs and group.size > 1:
                groups.append(group)
        free = {slot for group in groups for slot in group.outputs}
        left = {}
        for name, dim in outputs:
            axis = tensors[name][dim]
            if (name, dim) not in free and axis is not None:
                roots = self.find(axis).tolist()
                left[name, dim] = next((reasons[root] for root in roots if root in reasons), "no channel can go alone")
        order = {output: place for place, output in enumerate(outputs)}
        groups.sort(key=lambda group: order[group.outputs[0]])
        return groups, left


def blank(value):
    """No labels: what has the shape of `value` always stays."""
    if isinstance(value, (tuple, list)):
        return tuple(blank(item) for item in value)
    return [None] * value.ndim if isinstance(value, torch.Tensor) else []


def flat_axes(value):
    """The axes in a list of labels, or in a tuple of such lists."""
    if isinstance(value, tuple):
        return [axis for item in value for axis in flat_axes(item)]
    return value if isinstance(value, list) else []


def spread(value, dim, shape):
    """A tensor of `shape` in which each element has the label of its index in dimension `dim`."""
    axis = value[dim] if dim < len(value) else None
    if axis is None:
        return torch.zeros((), dtype=torch.float64).expand(shape)
    view = [1] * len(shape)
    view[dim] = len(axis)
    return torch.from_numpy(axis.astype(np.float64)).view(view).expand(shape)  # float: padding by reflection needs it


def count_channels(moved, dim):
    """How many channels are left when dimension `dim` of `moved` is the one that varies."""
    rows = np.moveaxis(moved, dim, 0).reshape(moved.shape[dim], -1)
    values, rows = np.unique(rows, return_inverse=True)
    local, rows = Labels(), rows.reshape(moved.shape[dim], -1)
    labels = local.fresh(len(values))
    local.unite(labels[rows], labels[rows[:, :1]], "")
    stays = set(local.find(labels[values == 0]).tolist())
    return len(set(local.find(labels).tolist()) - stays)
