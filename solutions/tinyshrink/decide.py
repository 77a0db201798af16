"""Which techniques, and why: a table of rules to start from, and short real runs to decide by.

The rules are what is commonly said, with what the course measured beside it: README names the command behind each figure.
Where the two disagree the rule says so. A rule is a place to start; `tradeoffs` measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from . import deploy, pipeline, report
from .data import Dataset

ARCHITECTURES = ("cnn", "transformer", "rnn")
HARDWARE = ("cpu", "gpu", "mobile", "sparse")  # sparse: kernels that skip zeros, such as tinyshrink.sparse on a CPU
STAGES = ("Distill", "PruneChannels", "Factorize", "Prune", "Quantize", "Code")  # as a pipeline runs them


class Rule(NamedTuple):
    """If architecture, hardware and tolerance are among these, use `stages`, or leave them out where `use` is False."""

    why: str
    stages: tuple[str, ...]
    use: bool = True
    architectures: tuple[str, ...] = ARCHITECTURES
    hardware: tuple[str, ...] = HARDWARE
    tolerance: tuple[float, float] = (0.0, 1.0)  # from, to below: the accuracy that may be lost, as a fraction


CHANNELS = "channels that are gone are fast everywhere: digits CNN, 80% of them removed, 4.81 times faster at 0.50 ± 0.79 pp"
QUANTIZE = "int8 is safe: it lost at most 0.02 pp on three networks, for a quarter of the bytes"
SMALLER = "a smaller student: CIFAR-10, a quarter of the parameters, 82.54% with a teacher, 80.88% without, of 87.18%"
FACTORS = "thin layers are for hardware that multiplies dense matrices: CIFAR-10, 48% of the MACs, 0.82 pp, up to 1.31x faster"
ZEROS = "zeros cost almost no bytes in a packed file, and shared values few: CIFAR-10, 24.4 times smaller at 0.80 ± 0.66 pp"
KERNELS = "kernels skip zeros: digits CNN and CIFAR-10 network with 90% zeros, 1.4 and 1.52 times faster than dense"
NO_KERNELS = "without such kernels a zero takes as long as any number: expect a smaller file and not one millisecond less"
TRANSFORMER = "a common rule: pruning destroys attention. Measured in lesson 11: half goes, of 80% much is lost. Distil instead"
RECURRENT = "a common rule: zeros break the dependencies from step to step. Not measured here"
CAREFUL = "a rule of thumb: below 2 pp quantize only. For CNNs measured otherwise: see the other rules, and measure"
BOLD = "a rule of thumb: the whole pipeline, with a student, where more than 5 pp may be lost"
RISKY = ("Distill", "PruneChannels", "Factorize")
RULES = (
    Rule(QUANTIZE, ("Quantize",)),
    Rule(CHANNELS, ("PruneChannels",), architectures=("cnn",)),
    Rule(SMALLER, ("Distill",), architectures=("transformer",)),
    Rule(BOLD, ("Distill",), tolerance=(0.05, 1.0)),
    Rule(FACTORS, ("Factorize",), architectures=("cnn", "transformer"), hardware=("cpu", "gpu"), tolerance=(0.02, 1.0)),
    Rule(ZEROS, ("Prune", "Code"), architectures=("cnn",)),
    Rule(KERNELS, ("Prune",), architectures=("cnn",), hardware=("sparse",)),
    Rule(NO_KERNELS, (), hardware=("cpu", "gpu", "mobile")),
    Rule(TRANSFORMER, ("Prune",), use=False, architectures=("transformer",)),
    Rule(RECURRENT, ("Prune",), use=False, architectures=("rnn",)),
    Rule(CAREFUL, RISKY, use=False, architectures=("transformer", "rnn"), tolerance=(0.0, 0.02)),
)


@dataclass(frozen=True, repr=False)
class Recommendation(report.Printed):
    """What `recommend` returns: the stages in the order of a pipeline, and the rules that fitted, each with its reason."""

    stages: tuple[str, ...]
    rules: tuple[Rule, ...]
    left = 2

    def _cells(self):
        yield ["stage", "why"]
        for rule in self.rules:
            yield [", ".join(rule.stages) if rule.use else f"not {', '.join(rule.stages)}", rule.why]
        yield ["in order", ", ".join(self.stages)]


def fitting(
    rules: tuple[Rule, ...], architecture: str, hardware: str, tolerance: float
) -> tuple[tuple[str, ...], tuple[Rule, ...]]:
    """Apply the rules that fit: the stages to use, and these rules.

    A rule fits if it names the architecture and the hardware and the tolerance is in its range, from the first number to
    below the second; a tolerance of exactly 1 is in the ranges that end there. A stage is used if a rule that fits wants it
    and none that fits forbids it, in whatever order the rules come. Rules that do not fit say nothing.

    Arguments: rules; one of ARCHITECTURES; one of HARDWARE; tolerance, 0..1. Returns (stages, rules): the stages each once,
    in the order of STAGES, which is that of a pipeline; the rules that fit in their order.

    Example: rules that want Code and Prune for cnn, and forbid Prune for rnn: for a cnn (("Prune", "Code"), the first rule).
    """
    found = tuple(
        rule
        for rule in rules
        if architecture in rule.architectures
        and hardware in rule.hardware
        and (rule.tolerance[0] <= tolerance < rule.tolerance[1] or tolerance == rule.tolerance[1] == 1)
    )
    wanted, forbidden = ({stage for rule in found if rule.use is use for stage in rule.stages} for use in (True, False))
    return tuple(stage for stage in STAGES if stage in wanted - forbidden), found


def recommend(architecture: str, hardware: str, tolerance: float) -> Recommendation:
    """Which stages to try first for a network, and why.

    Arguments: architecture, "cnn", "transformer" or "rnn"; hardware, "cpu", "gpu", "mobile" or "sparse" (where kernels that
    skip zeros are at hand); tolerance, the accuracy that may be lost, a fraction 0..1 (0.02 is 2 pp).
    Raises ValueError for anything else.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"no architecture is called {architecture!r}: expected one of {', '.join(ARCHITECTURES)}")
    if hardware not in HARDWARE:
        raise ValueError(f"no hardware is called {hardware!r}: expected one of {', '.join(HARDWARE)}")
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance is the accuracy that may be lost, a fraction 0 to 1 (2 pp are 0.02): got {tolerance}")
    return Recommendation(*fitting(RULES, architecture, hardware, tolerance))


def choose(rows: Mapping[str, pipeline.Row], max_bytes=None, max_ms=None, min_accuracy=None) -> str | None:
    """The name of the best network that meets every constraint, or None if none does.

    Best is the most accurate; of equals the one with the fewest bytes, then with the fewest ms, then the first. A constraint
    that is None is none, and a number that is exactly at its limit meets it.

    Arguments: rows, {name: Row}, of which bytes, ms and accuracy (a fraction) count; the limits, as in deploy.violations,
    which is given. Example: rows a (100 bytes, 2 ms, 0.97), b (50 bytes, 2 ms, 0.97): "b"; with max_bytes=40: None.
    """
    limits = {"max_bytes": max_bytes, "max_ms": max_ms, "min_accuracy": min_accuracy}
    meeting = [name for name, row in rows.items() if not deploy.violations(row.bytes, row.ms, row.accuracy, **limits)]
    return min(meeting, key=lambda name: (-rows[name].accuracy, rows[name].bytes, rows[name].ms), default=None)


@dataclass(frozen=True, repr=False)
class Tradeoffs(report.Printed):
    """What `tradeoffs` returns: {technique: measured Row}, the limits, the technique chosen (None: no one meets all), why."""

    rows: dict[str, pipeline.Row]
    limits: dict[str, float]
    chosen: str | None
    reason: str

    def _cells(self):
        yield ["technique", "bytes", "ms", "validation", "misses"]
        for name, row in self.rows.items():
            missed = ", ".join(deploy.violations(row.bytes, row.ms, row.accuracy, **self.limits))
            yield [
                f"{name}, chosen" if name == self.chosen else name,
                f"{row.bytes:,}",
                f"{row.ms:.2f}",
                f"{row.accuracy:.2%}",
                missed,
            ]


def tradeoffs(
    model: nn.Module, techniques: Mapping[str, list[pipeline.Stage]], constraints: Mapping[str, float], data: Dataset, **options
) -> Tradeoffs:
    """Measure each technique in a short real run, say which meet the constraints, and choose by `choose`.

    Arguments: techniques, {name: stages}, each a pipeline of its own; constraints, some of max_bytes, max_ms (of a batch of
    64) and min_accuracy (a fraction, on validation); options, those of pipeline.Pipeline. The network as it is takes part
    as "original". Where no technique meets all constraints, `chosen` is None, and `reason` says which they miss and what the
    best found is. Raises ValueError for no technique, unknown or senseless constraints, and as Pipeline.run.
    """
    known = ("max_bytes", "max_ms", "min_accuracy")
    if unknown := [name for name in constraints if name not in known]:
        raise ValueError(f"no constraint is called {unknown[0]!r}: expected some of {', '.join(known)}")
    if not techniques or "original" in techniques:
        raise ValueError(f"expected {{name: stages}} with names other than 'original', got {list(techniques)}")
    deploy.check_limits(**constraints)
    pipelines = {name: pipeline.Pipeline(stages, **options) for name, stages in techniques.items()}  # all errors first
    rows = {}
    for name, run in pipelines.items():
        first, *_, last = run.run(model, data, test=False).rows
        rows = {"original": first} | rows | {name: last}
    chosen = choose(rows, **constraints)
    return Tradeoffs(rows, dict(constraints), chosen, reason(rows, constraints, chosen))


def reason(rows: Mapping[str, pipeline.Row], limits: Mapping[str, float], chosen: str | None) -> str:
    """Why `chosen` won, or, where it is None, which limits nothing meets and what the best found is."""
    missed = {name: deploy.violations(row.bytes, row.ms, row.accuracy, **limits) for name, row in rows.items()}
    if chosen is not None:
        meeting = [name for name in rows if not missed[name]]
        if len(meeting) == 1:
            return f"{chosen} is the only one that meets all constraints"
        return f"{chosen} is the most accurate of the {len(meeting)} that meet all constraints: {'; '.join(meeting)}"
    shown = {"bytes": "{:,} bytes", "ms": "{:.2f} ms", "accuracy": "{:.2%} right"}
    best = {
        what: min(rows, key=lambda name, what=what: getattr(rows[name], what) * (-1 if what == "accuracy" else 1))
        for what in shown
    }
    found = ", ".join(f"{name} with {shown[what].format(getattr(rows[name], what))}" for what, name in best.items())
    hopeless = [what for what in shown if all(what in misses for misses in missed.values())]
    kind = f"nothing meets the limit of {' and '.join(hopeless)}" if hopeless else "each limit is met, but never all at once"
    return f"{kind}. The best found: {found}. Allow more, or add a technique"
