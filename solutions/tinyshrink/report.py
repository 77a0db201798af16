"""A table of what a model costs, layer by layer: the measures of metrics.py side by side.

Print it in a terminal, leave it as the last line of a notebook cell, or read its rows.
"""

import io
import time
from collections import Counter
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from . import metrics


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


def as_text(renderable: object, width: int) -> str:
    """What rich would print, as plain text: without colours, even where FORCE_COLOR asks for them."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    console.print(renderable)
    return console.file.getvalue().rstrip()


class Printed:
    """A table that shows itself in a terminal and in a notebook; `_cells` yields its lines as text, the header first."""

    left, total_line = 1, False  # columns of words, aligned to the left; whether the last line is set apart

    def _cells(self):
        raise NotImplementedError

    def __rich__(self):
        header, *lines = self._cells()
        table = Table()
        for position, title in enumerate(header):
            table.add_column(title, justify="left" if position < self.left else "right", overflow="fold")
        for position, line in enumerate(lines, start=2):
            table.add_row(*map(Text, line), end_section=self.total_line and position == len(lines))
        return table

    def __repr__(self):
        return as_text(self, width=1000)

    def _repr_html_(self):
        header, *lines = [[escape(text) for text in line] for line in self._cells()]
        head = "".join(f"<th>{title}</th>" for title in header)
        body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in line)}</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True, repr=False)
class Report(Printed):
    """What `report` returns: print it, show it in a notebook, or read `rows` and `total`.

    The total is of the whole model: what stands outside the rows (norms, embeddings, functional MACs) is in it, and
    what layers share is in it once.
    """

    rows: list[Row]
    total: Row
    left, total_line = 3, True

    def _cells(self):
        yield ["layer", "type", "shape", "parameters", "nonzero", "sparsity", "bytes", "MACs", "time"]
        for row in (*self.rows, self.total):
            sizes = [f"{row.parameters:,}", f"{row.nonzeros:,}", f"{row.sparsity:.1%}", f"{row.bytes:,}"]
            shape = "x".join(map(str, row.shape))
            yield [row.name, row.type, shape, *sizes, f"{row.macs:,}", f"{row.latency_share:.1%}"]


def report(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> Report:
    """Measure `model` layer by layer: one row for each Linear, convolution and attention, and the total.

    `example` is a batch as in metrics.count_macs, which also says what is raised; ValueError for a model without
    weights. A layer whose weight is computed (weight_norm) has no row, but is in the total.
    """
    total = _sizes(model)  # before anything runs: it raises for a model that cannot be measured
    macs, shares = metrics.macs_by_layer(model, example), time_shares(model, example)
    rows = []
    for name, layer in metrics.layers(model).items():
        if weights := metrics.weights(layer):
            shape = tuple(next(iter(weights.values())).shape)
            rows.append(Row(name, type(layer).__name__, shape, *_sizes(layer), macs[name], shares[name]))
    return Report(rows, Row("total", type(model).__name__, (), *total, sum(macs.values()), 1.0))


def time_shares(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...], passes=5) -> dict[str, float]:
    """{layer: its share of the time of a forward pass of the batch `example`}, the median over a few passes.

    The shares do not add up to one, since norms, activations and Python take time too.
    """
    inputs = metrics.as_inputs(example)
    names = {layer: name for name, layer in metrics.layers(model).items()}
    spent, started = Counter(), []

    def before(layer, args):
        metrics.wait_for_gpu()
        started.append(time.perf_counter())

    def after(layer, args, output):
        metrics.wait_for_gpu()
        spent[names[layer]] += time.perf_counter() - started.pop()

    shares = []
    with metrics.watched(model, before, after):
        model(*inputs)  # to warm up
        for _ in range(passes):
            spent.clear()
            total = metrics.seconds(lambda: model(*inputs))
            shares.append({name: spent[name] / total for name in names.values()})
    return {name: median(share[name] for share in shares) for name in names.values()}


def _sizes(model):
    """The columns of a report from parameters to bytes."""
    nonzeros = metrics.count_parameters(model, nonzero=True)
    return metrics.count_parameters(model), nonzeros, metrics.sparsity(model), metrics.model_bytes(model)
