"""The whole pipeline: several compressions one after the other, each measured on the file that it leaves behind.

Prune, Quantize and Code after each other are Deep Compression (Han et al. 2016, https://arxiv.org/abs/1510.00149), here with a
teacher and in integers. A checkpoint is a folder of packed files and one of JSON.
"""

import copy
import hashlib
import inspect
import json
import math
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from . import files, metrics, packing, quantization, report, training
from .data import Dataset
from .stages import Code, Distill, Factorize, Job, Prune, PruneChannels, Quantize, Stage, quantized, shipped

__all__ = ["Code", "Distill", "Factorize", "Pipeline", "Prune", "PruneChannels", "Quantize", "contributions", "leave_one_out"]
LOST = "a student starts untrained, and what was done before is lost: distil first"
INTEGERS = "the scales were found for the weights as they are, which have become integers: quantize after it"
CODED = "coded weights share a few values, and the next training would tear them apart: code last"
CONFLICTS = {  # (earlier stage, later stage): why not
    **{(stage, "Distill"): LOST for stage in ("Distill", "PruneChannels", "Factorize", "Prune", "Quantize")},
    ("Prune", "PruneChannels"): "the zeros were chosen in channels that would now go: remove channels first",
    ("Prune", "Factorize"): "the factors of a sparse weight are dense, the zeros would be lost: factorize first",
    **{("Quantize", stage): INTEGERS for stage in ("PruneChannels", "Factorize", "Prune", "Quantize")},
    **{("Code", stage): CODED for stage in ("Distill", "PruneChannels", "Factorize", "Prune", "Quantize", "Code")},
}
MANAGED = ("model", "data", "epochs", "lr", "optimizer", "loss", "checkpoint")  # options of training.train that stages set


def first_conflict(names: list[str]) -> tuple[str, str] | None:
    """The first two stages that cannot stand in this order, (earlier, later) as in CONFLICTS; None for a possible order.

    The two need not be neighbours. First is: the pair whose later stage comes first; of these, whose earlier one does.

    Arguments: names, such as ["Distill", "Prune", "Code"], in the order in which they run. A name that CONFLICTS does not
    know is in nobody's way. Example: ["Prune", "Quantize", "Factorize"] gives ("Prune", "Factorize").
    """
    for position, later in enumerate(names):
        for earlier in names[:position]:
            if (earlier, later) in CONFLICTS:
                return earlier, later
    return None


class Row(NamedTuple):
    """What a stage left: counts, bytes of its file, MACs of an example, ms of a batch of 64, accuracy on validation 0..1."""

    stage: str
    parameters: int
    nonzeros: int
    bytes: int
    macs: int
    ms: float
    accuracy: float


class Contribution(NamedTuple):
    """What one stage alone changed: how many times smaller and faster, and the accuracy gained (a fraction, negative: lost)."""

    stage: str
    smaller: float
    faster: float
    gained: float


def contributions(rows: list[Row]) -> list[Contribution]:
    """Each stage's own part of the result, one entry for each row but the first, the original.

    `smaller` is the bytes before over the bytes after it, `faster` the same of ms, `gained` the accuracy after it minus the
    one before. The factors of all stages multiply to those of the whole pipeline, the gains add up. Raises ValueError for
    no rows.

    Example: rows of 1000, 250 and 50 bytes, with accuracies 0.9, 0.92, 0.91: smaller 4 and 5 (20 in all), gained 0.02, -0.01.
    """
    if not rows:
        raise ValueError("expected the row of the original and one for each stage, got none")
    return [
        Contribution(after.stage, before.bytes / after.bytes, before.ms / after.ms, after.accuracy - before.accuracy)
        for before, after in zip(rows, rows[1:])
    ]


@dataclass(frozen=True, repr=False)
class Report(report.Printed):
    """What Pipeline.run returns: rows (the original first), the model to ship, accuracy on test (original, shipped)."""

    rows: list[Row]
    model: nn.Module
    test: tuple[float, float] | None  # None: of leave_one_out, which never looks at test

    @property
    def compression(self) -> float:
        """Bytes of the original's file over bytes of the last one."""
        return self.rows[0].bytes / self.rows[-1].bytes

    def _cells(self):
        yield ["stage", "parameters", "nonzero", "bytes", "MACs", "ms", "validation", "smaller", "gained, pp"]
        own = [["", ""], *([f"{part.smaller:.2f}x", f"{100 * part.gained:+.2f}"] for part in contributions(self.rows))]
        for row, part in zip(self.rows, own):
            counts = [f"{number:,}" for number in (row.parameters, row.nonzeros, row.bytes, row.macs)]
            yield [row.stage, *counts, f"{row.ms:.2f}", f"{row.accuracy:.2%}", *part]
        whole = f"{self.compression:.1f}x"
        if self.test is not None:
            yield ["on test, once", "", "", "", "", "", f"{self.test[0]:.2%} to {self.test[1]:.2%}", whole, _pp(*self.test)]


class Pipeline:
    """Stages in their order, and how they train: options of training.train (batch_size, augment, seed, ...) for all of them.

    `alpha` is the share of the teacher, the original network, in the loss of every stage, 0 for labels alone, at
    `temperature`. Raises ValueError for no stage, an impossible order (CONFLICTS) and unknown options.
    """

    def __init__(self, stages: list[Stage], temperature: float = 4.0, alpha: float = 0.9, **options):
        if not stages or not all(isinstance(stage, Stage) for stage in stages):
            raise ValueError(f"expected a list of stages, such as [Prune(0.9), Quantize()], got {stages!r}")
        if pair := first_conflict([type(stage).__name__ for stage in stages]):
            raise ValueError(f"{pair[1]} cannot come after {pair[0]}: {CONFLICTS[pair]}")
        known = [name for name in inspect.signature(training.train).parameters if name not in MANAGED]
        if unknown := [name for name in options if name not in known]:
            raise ValueError(f"a pipeline has no option {unknown[0]!r}: expected some of {', '.join(known)}")
        if not 0 <= alpha <= 1 or not 0 < temperature < math.inf:
            raise ValueError(f"alpha must be 0 to 1 and the temperature above 0, got {alpha} and {temperature}")
        self.stages, self.temperature, self.alpha, self.options = list(stages), temperature, alpha, options

    def run(self, model: nn.Module, data: Dataset, checkpoint: str | os.PathLike | None = None, test: bool = True) -> Report:
        """Compress a copy of `model`. Every stage is rehearsed without training first, so that errors come at once.

        `checkpoint` names a folder: a run that was killed goes on there at the last finished stage, and in it at the last
        finished epoch. N.tsh is the file of stage N. Accuracy is that of the network loaded from it. Test data is
        looked at once, at the end. Raises ValueError for a stage that cannot do its work on this model or makes no file
        smaller, and for a checkpoint of another run.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch if checkpoint is None else checkpoint)
            state = self._state(folder / "pipeline.json", model, data)
            device = next(model.parameters()).device
            example = data.validation.x[:64].to(device)
            job = Job(data, example, copy.deepcopy(model), self.options, self.temperature, self.alpha)
            if not state["rows"]:
                self._rehearse(copy.deepcopy(model), job, Path(scratch) / "rehearsal.tsh")
            classes, live = {type(module) for module in model.modules()}, copy.deepcopy(model)
            if len(state["rows"]) > 1:
                last = folder / f"{len(state['rows']) - 1}"
                live = packing.load(f"{last}.live" if os.path.exists(f"{last}.live") else f"{last}.tsh", classes).to(device)
            for number in range(len(state["rows"]), len(self.stages) + 1):
                if number:
                    stage = self.stages[number - 1]
                    live = stage.apply(live, replace(job, checkpoint=folder / f"{number}.training"))
                    if quantized(live):  # its file has integers, which cannot be trained on
                        packing.save(live, folder / f"{number}.live")
                name = str(stage) if number else "original"
                state["rows"].append(_measure(name, live, folder / f"{number}.tsh", classes, data, example))
                _write(folder / "pipeline.json", state)
            shipped = packing.load(folder / f"{len(self.stages)}.tsh", classes)
            if test and state["test"] is None:
                state["test"] = [training.evaluate(network, data.test) for network in (model, shipped)]
                _write(folder / "pipeline.json", state)
            return Report([Row(*row) for row in state["rows"]], shipped, tuple(state["test"]) if test else None)

    def _rehearse(self, model, job, path):
        """Run every stage on `model` without training; ValueError for what fails, or leaves a file that is not smaller."""
        before = packing.save(shipped(model), path)
        for number, stage in enumerate(self.stages, start=1):
            try:
                model = stage.apply(model, job)
                size = packing.save(shipped(model), path)
            except (ValueError, TypeError) as error:
                raise ValueError(f"stage {number}, {stage}: {error}") from error
            if size >= before:
                raise ValueError(f"stage {number}, {stage}, does nothing: its file has {size:,} bytes, before {before:,}")
            before = size

    def _state(self, path, model, data):
        """What is known of this run: {"fingerprint", "rows", "test"}."""
        options = {name: getattr(value, "__qualname__", repr(value)) for name, value in self.options.items()}
        options = {name: text for name, text in sorted(options.items()) if name not in ("callbacks", "progress")}
        digest = hashlib.sha256(f"{self.stages} {self.temperature} {self.alpha} {options} {model}".encode())
        for tensor in (*model.state_dict().values(), *data.train, *data.validation, *data.test):
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        new = {"fingerprint": digest.hexdigest(), "rows": [], "test": None}
        try:
            state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else new
            known = state["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no state of a pipeline ({error}): delete it, or name another folder") from error
        if known != new["fingerprint"]:
            raise ValueError(f"{path} is of another pipeline, model or data set: delete the folder, or name another one")
        return state


@dataclass(frozen=True, repr=False)
class LeaveOneOut(report.Printed):
    """What leave_one_out returns: reports {what was left out: Report}, "nothing" first."""

    reports: dict[str, Report]

    def _cells(self):
        yield ["left out", "bytes", "bytes without / with", "ms", "validation", "gained by leaving it out, pp"]
        whole = self.reports["nothing"].rows[-1]
        for name, result in self.reports.items():
            row = result.rows[-1]
            more = [f"{row.bytes / whole.bytes:.2f}x", f"{row.ms:.2f}", f"{row.accuracy:.2%}"]
            yield [name, f"{row.bytes:,}", *more, "" if row is whole else _pp(whole.accuracy, row.accuracy)]


def leave_one_out(pipeline: Pipeline, model: nn.Module, data: Dataset, checkpoint: str | os.PathLike | None = None):
    """What each stage is worth: the whole pipeline, and again with one stage left out at a time. Returns LeaveOneOut.

    Without a Distill stage the teacher is left out once too (alpha 0). Validation data only; checkpoint as in run.
    Raises ValueError for a pipeline of one stage.
    """
    if len(pipeline.stages) < 2:
        raise ValueError("a pipeline of one stage has nothing to leave out: give it two or more")
    settings = {"temperature": pipeline.temperature, "alpha": pipeline.alpha, **pipeline.options}
    runs = {"nothing": pipeline}
    for number, stage in enumerate(pipeline.stages):
        rest = pipeline.stages[:number] + pipeline.stages[number + 1 :]
        runs[str(stage) if str(stage) not in runs else f"{stage}, stage {number + 1}"] = Pipeline(rest, **settings)
    if pipeline.alpha and not any(isinstance(stage, Distill) for stage in pipeline.stages):
        runs["the teacher"] = Pipeline(pipeline.stages, **settings | {"alpha": 0.0})
    folder = None if checkpoint is None else Path(checkpoint)
    return LeaveOneOut(
        {
            name: run.run(model, data, folder and folder / f"without-{number}", test=False)
            for number, (name, run) in enumerate(runs.items())
        }
    )


def _measure(name, live, path, classes, data, example):
    """The Row of the network `live`, whose file is written to `path` and loaded again."""
    size = packing.save(shipped(live), path)
    model = packing.load(path, classes).to(example.device)
    with torch.no_grad():
        ms = metrics.latency(lambda: model(example), repeats=15).median
    integers = [module for module in model.modules() if isinstance(module, quantization.QuantizedLinear)]
    tensors = [*model.parameters(), *(tensor for layer in integers for tensor in (layer.weight, layer.bias))]
    nonzeros = sum(int(tensor.count_nonzero()) for tensor in tensors)
    parameters, macs = metrics.count_parameters(live), metrics.count_macs(live, example)
    return Row(name, parameters, nonzeros, size, macs, ms, training.evaluate(model, data.validation))


def _write(path, state):
    with files.whole(path) as part:
        part.write_text(json.dumps(state), encoding="utf-8")


def _pp(before, after):
    return f"{100 * (after - before):+.2f}"
