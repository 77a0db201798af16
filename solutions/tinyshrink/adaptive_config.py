"""The configuration of an adaptive search, read from NNCF's own JSON: each key checked, with the nearest known one named.

Source: the configuration file of NNCF, https://github.com/openvinotoolkit/nncf (accuracy-aware training).
"""

import difflib
import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from . import magnitude

REQUIRED = object()
KEYS = {  # key: (default, what it must be, whether it is)
    "maximal_relative_accuracy_degradation": (None, "a number of percent, 0 to 100", lambda v: 0 <= v <= 100),
    "maximal_absolute_accuracy_degradation": (None, "a number, 0 or more", lambda v: 0 <= v < math.inf),
    "initial_training_phase_epochs": (REQUIRED, "a whole number, 0 or more", lambda v: v >= 0 and v % 1 == 0),
    "patience_epochs": (REQUIRED, "a whole number, 1 or more", lambda v: v >= 1 and v % 1 == 0),
    "minimal_compression_rate_step": (0.025, "above 0 and up to 1", lambda v: 0 < v <= 1),
    "initial_compression_rate_step": (0.1, "above 0 and up to 1", lambda v: 0 < v <= 1),
    "compression_rate_step_reduction_factor": (0.5, "above 0 and below 1", lambda v: 0 < v < 1),
    "lr_reduction_factor": (1.0, "above 0 and up to 1", lambda v: 0 < v <= 1),
    "validate_every_n_epochs": (1, "a whole number, 1 or more", lambda v: v >= 1 and v % 1 == 0),
    "maximal_total_epochs": (10000, "a whole number, 1 or more", lambda v: v >= 1 and v % 1 == 0),
}
# Of each algorithm with an adaptive level: prefix of its keys, key of the steps, key of the criterion, criteria, schedule.
ALGORITHMS = {
    "filter_pruning": (
        "pruning",
        "pruning_steps",
        "filter_importance",
        {"L2": "l2", "L1": "l1", "geometric_median": "geometric_median"},
        "exponential",
    ),
    "magnitude_sparsity": (
        "sparsity",
        "sparsity_target_epoch",
        "weight_importance",
        {"normed_abs": lambda weight: weight.detach().abs() / weight.detach().norm(), "abs": "magnitude"},
        "polynomial",
    ),
}


class AdaptiveConfig:
    """The parameters of a search, checked: AdaptiveConfig(patience_epochs=2, ...), or from_json for NNCF's file.

    Keys, defaults and ranges are in KEYS, with exactly one of the two degradations; advance="early" leaves a rate as soon as
    it is good, "patience" uses all epochs. `compression` is the list of algorithms as in the file: at most one with an
    adaptive level (filter_pruning, magnitude_sparsity), and "quantization" beside it. Raises ValueError for all else, with
    the key, the value and the range, or the nearest known key.
    """

    def __init__(self, *, advance: str = "patience", compression: Mapping | list = (), **keys):
        _check_keys(keys, [*KEYS, "advance", "compression"], "accuracy_aware_training")
        for key, (default, expected, fits) in KEYS.items():
            value = keys.get(key, default)
            if value is REQUIRED:
                raise ValueError(f"{key} is missing: give {expected}")
            if value is not None or key in keys:
                value = _number(key, value, expected, fits)
            setattr(self, key, value)
        absolute, relative = self.maximal_absolute_accuracy_degradation, self.maximal_relative_accuracy_degradation
        if (absolute is None) == (relative is None):
            raise ValueError(
                f"give exactly one of maximal_relative_accuracy_degradation (percent; got {relative}) and "
                f"maximal_absolute_accuracy_degradation (got {absolute})"
            )
        for small, large in (
            ("minimal_compression_rate_step", "initial_compression_rate_step"),
            ("validate_every_n_epochs", "patience_epochs"),
            ("initial_training_phase_epochs", "maximal_total_epochs"),
        ):
            if getattr(self, small) > getattr(self, large):
                raise ValueError(f"{small} is {getattr(self, small)}, above {large}, {getattr(self, large)}: lower it")
        if advance not in ("patience", "early"):
            raise ValueError(f'advance must be "patience" or "early", got {advance!r}')
        self.advance = advance
        entries = [compression] if isinstance(compression, Mapping) else list(compression)
        for entry in entries:
            _check_keys(entry, ["algorithm", "params", "pruning_init", "sparsity_init", "ignored_scopes"], "compression")
            _one_of("algorithm", entry.get("algorithm"), [*ALGORITHMS, "quantization"])
        adaptive = [entry for entry in entries if entry["algorithm"] in ALGORITHMS]
        if len(adaptive) > 1:
            names = " and ".join(entry["algorithm"] for entry in adaptive)
            raise ValueError(f"{names} both have an adaptive level, and the search can set only one: remove one of them")
        self.algorithm = self._algorithm(adaptive[0]) if adaptive else None
        self.quantize = len(entries) > len(adaptive)
        if any(set(entry) > {"algorithm"} for entry in entries if entry not in adaptive):
            raise ValueError('quantization takes no keys here: write {"algorithm": "quantization"} for 8 bits')
        self.settings = {**keys, "advance": advance, "compression": entries}

    @classmethod
    def from_json(cls, source: str | os.PathLike | Mapping) -> "AdaptiveConfig":
        """Read the configuration from a file, JSON in which // comments are allowed, or from the dict that it holds."""
        if not isinstance(source, Mapping):
            text = Path(source).read_text(encoding="utf-8")
            text = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or "", text, flags=re.DOTALL)
            try:
                source = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"{source} is no JSON, line {error.lineno}: {error.msg}") from error
        _check_keys(source, ["accuracy_aware_training", "compression"], "the configuration")
        if "accuracy_aware_training" not in source:
            raise ValueError("accuracy_aware_training is missing: give its mode and params")
        section = source["accuracy_aware_training"]
        _check_keys(section, ["mode", "params"], "accuracy_aware_training")
        _one_of("mode", section.get("mode"), ["adaptive_compression_level"])
        params = section.get("params", {})
        _check_keys(params, [*KEYS, "advance"], "params")
        return cls(**params, compression=source.get("compression", ()))

    def level(self, epoch: int) -> float:
        """The rate that the user's schedule asks for in an epoch, counted from 0, of the initial phase."""
        kind, start, target, steps = (self.algorithm[key] for key in ("schedule", "init", "target", "steps"))
        return target if start == target else magnitude.schedule(kind, start, target, steps)(min(epoch, steps))

    def _algorithm(self, entry):
        """An entry of `compression` in the course's words."""
        name = entry["algorithm"]
        prefix, steps, right, criteria, kind = ALGORITHMS[name]
        wrong = {"filter_importance": "weight_importance", "weight_importance": "filter_importance"}[right]
        params = entry.get("params", {})
        _check_keys(entry, ["algorithm", "params", f"{prefix}_init", "ignored_scopes"], name)
        _check_keys(params, ["schedule", f"{prefix}_target", steps, right, wrong], f"params of {name}")
        if wrong in params:
            if right in params:
                raise ValueError(f"{name} has {right} {params[right]!r} and {wrong} {params[wrong]!r}: keep {right}")
            warnings.warn(f"{name} calls its criterion {right}: {wrong} is read as that, rename it", stacklevel=4)
        chosen = _one_of(right, params.get(right, params.get(wrong, next(iter(criteria)))), criteria)
        start = _number(f"{prefix}_init", entry.get(f"{prefix}_init", 0.0), "0 to below 1", lambda v: 0 <= v < 1)
        target = _number(
            f"{prefix}_target",
            params.get(f"{prefix}_target", max(start, 0.5)),
            f"{prefix}_init, {start}, to below 1",
            lambda v: start <= v < 1,
        )
        number = params.get(steps, max(1, self.initial_training_phase_epochs))
        return {
            "algorithm": name,
            "init": start,
            "target": target,
            "steps": _number(steps, number, *KEYS["patience_epochs"][1:]),
            "schedule": _one_of("schedule", params.get("schedule", kind), magnitude.SCHEDULES),
            "criterion": criteria[chosen],
            "ignore": list(entry.get("ignored_scopes", [])),
        }


def _check_keys(found, known, where):
    """Raise ValueError unless `found` is a mapping with no keys but known ones."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{where} must hold keys and values, got {found!r}")
    for key in found:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, 1, 0)[0]
            raise ValueError(f"{where} has an unknown key {key!r} (value {found[key]!r}): the nearest known key is {nearest!r}")


def _number(key, value, expected, fits):
    """`value`, an int where it is whole; ValueError unless it is a number that fits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value):
        raise ValueError(f"{key} must be {expected}, got {value!r}")
    return int(value) if value % 1 == 0 and "whole" in expected else value


def _one_of(key, value, known):
    if not isinstance(value, str) or value not in known:
        nearest = difflib.get_close_matches(str(value), known, 1, 0)[0]
        raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r}: the nearest is {nearest!r}")
    return value
