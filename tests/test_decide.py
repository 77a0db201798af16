"""Tests of tinyshrink.decide: first the checks of lesson 11, then ordinary tests."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from tinyshrink import data, decide, deploy, models, pipeline, training
from tinyshrink.pipeline import Code, Prune, PruneChannels, Quantize


def test_violations_says_what_is_missed_and_by_how_much():
    for given, limits, expected in (
        ((1200, 0.5, 0.9), {"max_bytes": 1000, "max_ms": 1, "min_accuracy": 0.92}, {"bytes": 200, "accuracy": 0.02}),
        ((900, 3.5, 0.95), {"max_bytes": 1000, "max_ms": 1, "min_accuracy": 0.92}, {"ms": 2.5}),
        ((900, 0.5, 0.95), {"max_bytes": 1000, "max_ms": 1, "min_accuracy": 0.92}, {}),
        ((9e9, 9e9, 0.0), {}, {}),
        ((1200, 9e9, 0.0), {"max_bytes": 1000}, {"bytes": 200}),
    ):
        got = deploy.violations(*given, **limits)
        said = f"bytes, ms, accuracy {given}, limits {limits}: expected {expected}"
        close = isinstance(got, dict) and all(abs(got[name] - expected[name]) < 1e-9 for name in expected if name in got)
        assert close and list(got) == list(expected), f"{said}, got {got}"


def test_violations_at_the_edge():
    for given, limits, expected in (
        ((1000, 1.0, 0.92), {"max_bytes": 1000, "max_ms": 1, "min_accuracy": 0.92}, []),
        ((1, 0.5, 0.9), {"max_bytes": 0, "max_ms": 0.0}, ["bytes", "ms"]),
        ((1, 0.5, math.nan), {"min_accuracy": 0.5}, ["accuracy"]),
        ((1, math.nan, math.nan), {"max_ms": 5}, ["ms"]),
        ((math.nan, 1, 0.9), {"max_bytes": 5}, ["bytes"]),
        ((1, 1.0001, 0.9199), {"max_ms": 1, "min_accuracy": 0.92}, ["ms", "accuracy"]),
    ):
        got = deploy.violations(*given, **limits)
        said = f"bytes, ms, accuracy {given}, limits {limits}: {expected or 'nothing'} should be missed"
        assert list(got) == expected, f"{said}, got {got}"
        unknown = [name for name, value in zip(("bytes", "ms", "accuracy"), given) if math.isnan(value) and name in got]
        assert all(math.isnan(got[name]) for name in unknown), f"{said}; by how much nobody knows, NaN: got {got}"


def test_choose_takes_the_most_accurate_that_meets_all():
    numbers = {"a": (100, 2.0, 0.97), "b": (50, 2.0, 0.95), "c": (50, 9.0, 0.99), "d": (10, 1.0, 0.60)}
    rows = {name: pipeline.Row(f"stage {name}", 1, 1, size, 1, ms, right) for name, (size, ms, right) in numbers.items()}
    for limits, expected in (
        ({}, "c"),
        ({"max_ms": 5}, "a"),
        ({"max_ms": 5, "max_bytes": 50}, "b"),
        ({"max_bytes": 49}, "d"),
        ({"max_bytes": 49, "min_accuracy": 0.7}, None),
        ({"min_accuracy": 0.99, "max_ms": 9.0}, "c"),
    ):
        got = decide.choose(rows, **limits)
        assert got == expected, f"(bytes, ms, accuracy) {numbers} with {limits}: expected {expected!r}, got {got!r}"


def test_choose_breaks_ties_by_bytes_then_ms_then_order():
    for numbers, expected in (
        ({"small": (9, 5.0, 0.9), "fast": (10, 1.0, 0.9)}, "small"),
        ({"slow": (100, 5.0, 0.9), "fast": (100, 1.0, 0.9)}, "fast"),
        ({"zebra": (9, 1.0, 0.9), "ant": (9, 1.0, 0.9)}, "zebra"),
        ({"low": (9, 1.0, 0.9), "high": (1000, 10.0, 0.901)}, "high"),
        ({}, None),
    ):
        rows = {name: pipeline.Row(name, 1, 1, size, 1, ms, right) for name, (size, ms, right) in numbers.items()}
        got = decide.choose(rows)
        assert got == expected, f"(bytes, ms, accuracy) {numbers}: expected {expected!r}, got {got!r}"


def test_fitting_lets_a_no_win_whatever_the_order():
    want = decide.Rule("a", ("Code", "Prune"), architectures=("cnn", "rnn"))
    forbid, again = decide.Rule("b", ("Prune",), use=False, architectures=("rnn",)), decide.Rule("c", ("Prune", "Quantize"))
    vain = decide.Rule("d", ("Prune",))
    for rules in ((want, forbid, again, vain), (again, forbid, want), (forbid, vain, again, want)):
        for architecture, expected in (("cnn", ("Prune", "Quantize", "Code")), ("rnn", ("Quantize", "Code"))):
            stages, used = decide.fitting(rules, architecture, "cpu", 0.1)
            fit = tuple(rule for rule in rules if architecture in rule.architectures)
            said = f"{[(rule.why, rule.stages, rule.use, rule.architectures) for rule in rules]} for {architecture}"
            assert tuple(stages) == expected, f"{said}: expected {expected}, got {tuple(stages)}"
            assert tuple(used) == fit, f"{said}: rules {[r.why for r in fit]} fit, in this order, got {[r.why for r in used]}"


def test_fitting_knows_the_ends_of_a_range():
    rules = (decide.Rule("low", ("Quantize",), tolerance=(0.0, 0.02)), decide.Rule("high", ("Distill",), tolerance=(0.02, 1.0)))
    rules += (decide.Rule("sparse", ("Prune",), hardware=("sparse",)),)
    rules += (decide.Rule("no", ("Quantize", "Prune"), use=False, tolerance=(0.5, 1.0)),)  # says nothing below 0.5
    for tolerance, hardware, expected in (
        (0.0, "cpu", ("Quantize",)),
        (0.019, "cpu", ("Quantize",)),
        (0.02, "cpu", ("Distill",)),
        (1.0, "cpu", ("Distill",)),
        (0.0, "sparse", ("Prune", "Quantize")),
    ):
        stages, _ = decide.fitting(rules, "cnn", hardware, tolerance)
        said = f"Quantize for 0 to below 0.02, Distill for 0.02 to 1, Prune on sparse; tolerance {tolerance}, {hardware}"
        assert tuple(stages) == expected, f"{said}: expected {expected}, got {tuple(stages)}"


def test_every_recommendation_is_a_pipeline_with_reasons():
    for architecture, hardware, tolerance in itertools.product(decide.ARCHITECTURES, decide.HARDWARE, (0, 0.01, 0.02, 0.05, 1)):
        result = deploy.recommend(architecture, hardware, tolerance)
        assert result.stages and pipeline.first_conflict(list(result.stages)) is None
        assert all(any(stage in rule.stages and rule.use for rule in result.rules) for stage in result.stages)
        assert all(rule.why in repr(result) for rule in result.rules)


def test_the_framework_of_the_document():
    assert "PruneChannels" in decide.recommend("cnn", "cpu", 0.03).stages
    assert "Prune" not in decide.recommend("transformer", "sparse", 0.03).stages
    assert decide.recommend("transformer", "gpu", 0.01).stages == ("Quantize",)
    assert "Distill" in decide.recommend("transformer", "gpu", 0.1).stages
    assert decide.recommend("rnn", "mobile", 0.03).stages == ("Quantize",)
    text = repr(decide.recommend("cnn", "gpu", 0.03))
    assert decide.NO_KERNELS in text and decide.NO_KERNELS not in repr(decide.recommend("cnn", "sparse", 0.03))


def test_unknown_values_are_errors_that_name_the_known():
    for values, said in (
        (("gan", "cpu", 0.1), "cnn, transformer, rnn"),
        (("cnn", "tpu", 0.1), "cpu, gpu, mobile, sparse"),
        (("cnn", "cpu", 2), "2 pp are 0.02"),
        (("cnn", "cpu", math.nan), "got nan"),
    ):
        with pytest.raises(ValueError, match=said):
            decide.recommend(*values)


def test_rules_name_stages_that_exist():
    for rule in decide.RULES:
        assert set(rule.stages) <= set(decide.STAGES) and rule.why and 0 <= rule.tolerance[0] < rule.tolerance[1] <= 1
        assert set(rule.architectures) <= set(decide.ARCHITECTURES) and set(rule.hardware) <= set(decide.HARDWARE)
    assert all(hasattr(pipeline, stage) for stage in decide.STAGES)
    assert pipeline.first_conflict(list(decide.STAGES)) is None


def few():
    digits = data.load("digits")
    return replace(digits, train=data.Split(digits.train.x[:320], digits.train.y[:320]))


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    dense = models.DigitsCNN(width=8)
    training.train(dense, few(), 3, progress=False)
    techniques = {"int8": [Quantize(epochs=0)], "small": [PruneChannels(0.5, epochs=1), Prune(0.8, epochs=1), Code(epochs=0)]}
    run = lambda **constraints: deploy.tradeoffs(dense, techniques, constraints, few(), progress=False)
    return dense, techniques, run


def test_tradeoffs_measures_and_chooses(measured):
    *_, run = measured
    result = run(max_bytes=30_000)
    assert list(result.rows) == ["original", "int8", "small"]
    assert result.rows["original"].bytes > 30_000 > result.rows["int8"].bytes > result.rows["small"].bytes
    assert result.chosen == decide.choose(result.rows, max_bytes=30_000) == "int8"
    assert "int8 is the most accurate of the 2" in result.reason and "int8, chosen" in repr(result)


def test_what_nothing_reaches_names_the_best_found(measured):
    *_, run = measured
    result = run(max_bytes=100)
    assert result.chosen is None and "nothing meets the limit of bytes" in result.reason
    assert f"small with {result.rows['small'].bytes:,} bytes" in result.reason and "bytes" in repr(result)


def test_limits_that_are_met_but_never_together_are_said_to_be_so():
    rows = {"a": pipeline.Row("a", 1, 1, 10, 1, 1.0, 0.5), "b": pipeline.Row("b", 1, 1, 100, 1, 1.0, 0.99)}
    limits = {"max_bytes": 50, "min_accuracy": 0.9}
    assert decide.choose(rows, **limits) is None
    said = decide.reason(rows, limits, None)
    assert "each limit is met, but never all at once" in said and "a with 10 bytes" in said and "b with 99.00% right" in said


def test_senseless_constraints_are_refused_before_anything_runs(measured, monkeypatch):
    dense, techniques, _ = measured
    monkeypatch.setattr(pipeline.Pipeline, "run", None)
    for names, constraints, said in (
        (techniques, {}, "give a constraint"),
        (techniques, {"max_bytes": 0}, "max_bytes must be above 0"),
        (techniques, {"min_accuracy": 97}, "for 97% give 0.97"),
        (techniques, {"size_mb": 50}, "no constraint is called 'size_mb'"),
        ({}, {"max_ms": 1}, "names other than 'original'"),
        ({"original": [Code()]}, {"max_ms": 1}, "names other than 'original'"),
        ({"wrong": [Code(), Code()]}, {"max_ms": 1}, "cannot come after"),
    ):
        with pytest.raises(ValueError, match=said):
            decide.tradeoffs(dense, names, constraints, few())
