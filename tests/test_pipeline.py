"""Tests of tinyshrink.pipeline, stages and capstone: first the checks of lesson 11, then ordinary tests."""

import contextlib
import copy
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tinyshrink import capstone, cli, data, magnitude, metrics, models, packing, pipeline, plots, training
from tinyshrink.pipeline import Code, Distill, Factorize, Pipeline, Prune, PruneChannels, Quantize


def test_contributions_compare_with_the_stage_before():
    sizes, times, right = (1000, 250, 50), (8.0, 2.0, 4.0), (0.9, 0.92, 0.91)
    rows = [pipeline.Row(name, 9, 9, *numbers[:1], 9, *numbers[1:]) for name, *numbers in zip("abc", sizes, times, right)]
    got = pipeline.contributions(rows)
    expected = [("b", 4.0, 4.0, 0.02), ("c", 5.0, 0.5, -0.01)]
    said = "1000, 250, 50 bytes; 8, 2, 4 ms; 90, 92, 91% right"
    assert len(got) == 2, f"{said}: two stages after the original, so two entries expected, got {got}"
    for entry, (stage, *numbers) in zip(got, expected):
        close = all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(entry[1:], numbers))
        assert entry[0] == stage and close, (
            f"{said}: expected {(stage, *numbers)} (stage, smaller, faster, gained), got {entry}"
        )


def test_contributions_make_up_the_whole():
    rows = [pipeline.Row(f"s{i}", 1, 1, 5040 // (i + 1), 1, 7.0 / (i + 2), 0.99 - 0.01 * i * i) for i in range(5)]
    given = list(rows)
    got = pipeline.contributions(rows)
    factor, gained = math.prod(part.smaller for part in got), sum(part.gained for part in got)
    expected = rows[0].bytes / rows[-1].bytes, rows[-1].accuracy - rows[0].accuracy
    assert math.isclose(factor, expected[0]), f"all factors multiply to {expected[0]:.4f}, yours to {factor:.4f}"
    assert math.isclose(gained, expected[1]), f"all gains add up to {expected[1]:.4f}, yours to {gained:.4f}"
    assert rows == given, "the rows given to you were changed"
    assert pipeline.contributions(rows[:1]) == [], "the original alone has no stage: an empty list expected"


def test_first_conflict_of_short_orders():
    for names, expected in (
        (["Prune", "Factorize"], ("Prune", "Factorize")),
        (["Factorize", "Prune"], None),
        (["Code", "Code"], ("Code", "Code")),
        (["Prune", "Prune"], None),  # a second, higher sparsity is possible
        (["Code"], None),
        ([], None),
    ):
        got = pipeline.first_conflict(names)
        assert got == expected, f"{names}: expected {expected}, got {got}"


def test_first_conflict_looks_at_all_pairs():
    for names, expected in (
        (["Distill", "PruneChannels", "Factorize", "Prune", "Quantize", "Code"], None),
        (["Prune", "Quantize", "Factorize"], ("Prune", "Factorize")),
        (["Quantize", "Own", "Code", "Own", "Distill"], ("Quantize", "Distill")),
        (["PruneChannels", "Code", "Distill", "Prune"], ("PruneChannels", "Distill")),
        (["Prune", "Code", "Quantize", "Factorize"], ("Code", "Quantize")),
    ):
        given = list(names)
        got = pipeline.first_conflict(names)
        assert got == expected, f"{names}: the first pair is {expected}, got {got}"
        assert names == given, "the list given to you was changed"


def check_fiction(answer, rows):
    """The answer says how many times smaller 4 bytes a parameter make the network, to three digits after the point."""
    expected = rows[0].parameters / rows[-1].parameters
    assert isinstance(answer, (int, float)), f"answer_fiction must be a number, got {answer!r}"
    said = f"{rows[0].parameters:,} and {rows[-1].parameters:,} parameters at 4 bytes"
    assert abs(answer - expected) <= 6e-4 * expected, f"{said}: {expected:.3f} times smaller, got {answer}"


def check_mistakes(answer, measured):
    """The answer names the sentences that were shown true: those that changed what they are about by their own limit."""
    expected = {name for name, (change, limit) in measured.items() if change >= limit}
    said = "a set of the sentences, as they stand in `measured`"
    assert isinstance(answer, (set, list, tuple)), f"answer_true must be {said}, got {answer!r}"
    unknown = set(answer) - set(measured)
    assert not unknown, f"answer_true must be {said}: {unknown} are not among them"
    for name, (change, limit) in measured.items():
        told = f"{name!r}: you measured {change:.3g}, and from {limit:g} it is true"
        assert (name in answer) == (name in expected), (
            f"{told}: it {'belongs' if name in expected else 'does not belong'} there"
        )


def check_capstone(path, dense, dataset):
    """The file loads, has at most 1/20 of the dense network's bytes in float32, and loses at most 1.5 pp on test."""
    assert path is not None, "answer_file must be the path of a file: write one with packing.save"
    result, limit = capstone.score(path), 4 * metrics.count_parameters(dense) // 20
    assert result.bytes <= limit, f"at most {limit:,} bytes are allowed, the file has {result.bytes:,}"
    before = training.evaluate(dense, dataset.test)
    said = f"test accuracy {before:.2%} before, {result.accuracy:.2%} from the file"
    assert before - result.accuracy <= 0.015 + 1e-9, f"{said}: more than 1.5 pp are lost"


@contextlib.contextmanager
def refused(kind, *parts):
    with pytest.raises(kind) as caught:
        yield
    assert all(part in str(caught.value) for part in parts), caught.value


def few(images=320):
    """Digits with few training images, fast."""
    digits = data.load("digits")
    return replace(digits, train=data.Split(digits.train.x[:images], digits.train.y[:images]))


def small(epochs=3, width=8):
    torch.manual_seed(0)
    model = models.DigitsCNN(width=width)
    training.train(model, few(), epochs, progress=False)
    return model.eval()


@pytest.fixture(scope="module")
def dense():
    return small()


@pytest.fixture(scope="module")
def report(dense):
    stages = [Distill(9_000, epochs=2), PruneChannels(0.25, epochs=1), Prune(0.7, epochs=2), Quantize(epochs=1), Code(epochs=1)]
    return Pipeline(stages, progress=False).run(dense, few())


def test_every_stage_is_measured_on_its_file(report, dense, tmp_path):
    assert len(report.rows) == 6 and report.rows[0].stage == "original"
    assert report.rows[3].stage == "Prune(0.7, epochs=2)"
    sizes = [row.bytes for row in report.rows]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 6
    assert report.rows[0].bytes == packing.save(dense, tmp_path / "dense.tsh")
    assert (
        report.rows[-1].bytes == packing.save(report.model, tmp_path / "small.tsh") == os.path.getsize(tmp_path / "small.tsh")
    )
    assert report.rows[-1].accuracy == training.evaluate(report.model, few().validation)
    assert report.rows[0].macs == metrics.count_macs(dense, few().test.x[:1])
    assert report.rows[1].parameters <= 9_000 < report.rows[0].parameters
    assert report.rows[2].macs < report.rows[1].macs < report.rows[0].macs
    assert report.test == (training.evaluate(dense, few().test), training.evaluate(report.model, few().test))
    assert math.isclose(report.compression, sizes[0] / sizes[-1])


def test_masks_survive_every_later_stage(report):
    pruned, quantized, coded = report.rows[3:]
    assert pruned.nonzeros < 0.5 * pruned.parameters and quantized.nonzeros <= pruned.nonzeros >= coded.nonzeros
    layers = [module for module in report.model.modules() if hasattr(module, "weight_scale")]
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers) / sum(layer.weight.numel() for layer in layers)
    assert zeros >= 0.7 - 1e-9
    assert all(len(layer.weight.unique()) <= 17 for layer in layers)  # 16 values, and zero


def test_zeros_of_a_network_that_came_pruned_stay(dense):
    model = copy.deepcopy(dense)
    masks = magnitude.prune(model, 0.8)
    result = Pipeline([Code(epochs=1)], alpha=0.0, progress=False).run(model, few(), test=False)
    weights = dict(result.model.named_parameters())
    assert all(not weights[name][~mask].any() for name, mask in masks.items())


def test_the_report_is_a_table_for_terminal_and_notebook(report):
    text, html = repr(report), report._repr_html_()
    for said in ("Prune(0.7, epochs=2)", "on test, once", f"{report.compression:.1f}x", f"{report.rows[1].bytes:,}"):
        assert said in text and said in html
    figure = plots.pipeline({row.stage: (row.bytes, row.accuracy) for row in report.rows})
    assert figure.axes[0].get_xscale() == "log"
    with refused(ValueError, "bytes above 0"):
        plots.pipeline({"empty": (0, 0.5)})


def test_the_given_model_stays_as_it_was(dense):
    model, before = copy.deepcopy(dense), copy.deepcopy(dense.state_dict())
    Pipeline([Prune(0.5, epochs=1), Code(epochs=0)], progress=False).run(model, few(), test=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training


def test_impossible_orders_are_refused_before_anything():
    for pair, why in pipeline.CONFLICTS.items():
        made = [getattr(pipeline, name)(*{"Distill": [99]}.get(name, [0.5] if name[0] in "PF" else [])) for name in pair]
        with refused(ValueError, f"{pair[1]} cannot come after {pair[0]}", why):
            Pipeline(made)


def test_unknown_options_and_values_out_of_range_are_refused():
    for make, said in (
        (lambda: Prune(sparsty=0.5), "did you mean 'sparsity'"),
        (lambda: Quantize(colour=1), "it has epochs, lr, bits"),
        (lambda: Prune(0.0), "between 0 and 1"),
        (lambda: Prune(1.0), "between 0 and 1"),
        (lambda: PruneChannels(float("nan")), "between 0 and 1"),
        (lambda: Factorize(1.5), "got 1.5"),
        (lambda: Quantize(16), "from 2 to 8"),
        (lambda: Code(0), "from 1 to 8"),
        (lambda: Code(epochs=-1), "0 or more"),
        (lambda: Distill(0.5), "above 0"),
        (lambda: Prune(0.5, lr=0), "lr must be above 0"),
        (lambda: Pipeline([]), "expected a list of stages"),
        (lambda: Pipeline([Prune]), "expected a list of stages"),
        (lambda: Pipeline([Prune(0.5)], batchsize=3), "no option 'batchsize': expected some of"),
        (lambda: Pipeline([Prune(0.5)], epochs=3), "no option 'epochs'"),
        (lambda: Pipeline([Prune(0.5)], alpha=2), "alpha must be 0 to 1"),
    ):
        with refused((TypeError, ValueError), said):
            make()


def test_what_cannot_work_is_found_before_anything_is_trained(dense, monkeypatch):
    def train(*arguments, **options):
        raise AssertionError("a training was started")

    monkeypatch.setattr(training, "train", train)
    for stages, said in (
        ([Prune(0.5), Code(8), Quantize(8)], "cannot come after Code"),
        ([Prune(0.5), Distill(10)], "cannot come after Prune"),
        ([PruneChannels(0.5), Prune(0.5), Prune(0.4)], "stage 3, Prune(0.4), does nothing"),
        ([Distill(10**6)], "stage 1, Distill(1000000): target_parameters"),
        ([Prune(0.5), Distill(10)], "distil first"),
        ([PruneChannels(0.001)], "stage 1, PruneChannels(0.001): amount 0.001"),
    ):
        with refused(ValueError, said):
            Pipeline(stages).run(dense, few())
    with refused(ValueError, "stage 1, Distill(10): a Sequential has no settings"):
        Pipeline([Distill(10)]).run(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), few())


def test_a_finished_run_is_read_and_not_repeated(dense, tmp_path, monkeypatch):
    run = Pipeline([Prune(0.6, epochs=1), Code(epochs=1)], progress=False)
    first = run.run(dense, few(), tmp_path)
    monkeypatch.setattr(training, "train", None)
    monkeypatch.setattr(training, "evaluate", None)
    again = run.run(dense, few(), tmp_path)
    assert again.rows == first.rows and again.test == first.test
    assert all(torch.equal(a, b) for a, b in zip(again.model.state_dict().values(), first.model.state_dict().values()))


def test_a_stale_or_damaged_checkpoint_is_refused(dense, tmp_path):
    stages = [Prune(0.6, epochs=0)]
    Pipeline(stages).run(dense, few(), tmp_path)
    other = copy.deepcopy(dense)
    with torch.no_grad():
        other.fc2.bias[0] += 1
    for pipe, model, dataset in (
        (Pipeline([Prune(0.7, epochs=0)]), dense, few()),
        (Pipeline(stages, seed=1), dense, few()),
        (Pipeline(stages, alpha=0.5), dense, few()),
        (Pipeline(stages), other, few()),
        (Pipeline(stages), dense, few(300)),
    ):
        with refused(ValueError, "of another pipeline, model or data set"):
            pipe.run(model, dataset, tmp_path)
    (tmp_path / "pipeline.json").write_text("{")
    with refused(ValueError, "is no state of a pipeline"):
        Pipeline(stages).run(dense, few(), tmp_path)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import test_pipeline as t
from tinyshrink import stages
if {slow}:
    train = stages.Job.train
    def slowly(self, model, stage, **options):
        if self.checkpoint is not None and isinstance(stage, stages.Code):
            open({started!r}, "w").close()
            time.sleep(600)
        return train(self, model, stage, **options)
    stages.Job.train = slowly
report = t.Pipeline(t.KILLED, progress=False).run(t.small(0), t.few(), {folder!r}, test=False)
"""
KILLED = [PruneChannels(0.25, epochs=1), Prune(0.6, epochs=1), Quantize(epochs=0), Code(epochs=1)]


@pytest.mark.linux
def test_a_killed_run_goes_on_at_the_last_finished_stage(tmp_path, monkeypatch):
    started, folder = tmp_path / "started", tmp_path / "run"
    names = {"tests": str(pathlib.Path(__file__).parent), "started": str(started), "folder": str(folder), "slow": True}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(**names)])
    while not started.exists() and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(json.loads((folder / "pipeline.json").read_text())["rows"]) == 4
    before = (folder / "2.tsh").stat().st_mtime_ns
    for stage in (PruneChannels, Prune, Quantize):
        monkeypatch.setattr(stage, "apply", None)
    resumed = Pipeline(KILLED, progress=False).run(small(0), few(), folder, test=False)
    assert (folder / "2.tsh").stat().st_mtime_ns == before
    monkeypatch.undo()
    whole = Pipeline(KILLED, progress=False).run(small(0), few(), test=False)
    assert [row._replace(ms=0) for row in resumed.rows] == [row._replace(ms=0) for row in whole.rows]


def test_leave_one_out_leaves_each_stage_and_the_teacher_out(dense):
    run = Pipeline([Prune(0.8, epochs=1), Quantize(epochs=0), Code(3, epochs=0)], progress=False)
    result = pipeline.leave_one_out(run, dense, few())
    assert list(result.reports) == ["nothing", "Prune(0.8, epochs=1)", "Quantize(epochs=0)", "Code(3, epochs=0)", "the teacher"]
    assert [len(report.rows) for report in result.reports.values()] == [4, 3, 3, 3, 4]
    assert all(report.test is None for report in result.reports.values())
    assert result.reports["Prune(0.8, epochs=1)"].rows[-1].bytes > result.reports["nothing"].rows[-1].bytes
    assert "the teacher" in repr(result)
    with refused(ValueError, "one stage has nothing to leave out"):
        pipeline.leave_one_out(Pipeline([Prune(0.5)]), dense, few())


class Own(nn.Module):
    """A user's own class, which the files must find again."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 8, 3), nn.Linear(8 * 36, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1))


def test_own_classes_factors_and_float16():
    torch.manual_seed(0)
    report = Pipeline([Factorize(0.5, epochs=0), Code(epochs=0)]).run(Own(), few(), test=False)
    assert isinstance(report.model, Own) and report.rows[1].macs < 0.6 * report.rows[0].macs
    bias = report.model.fc[1].bias
    assert torch.equal(bias, bias.half().float())


def check_with(check, good, *bad):
    check(*good)
    for arguments in bad:
        with pytest.raises(AssertionError):
            check(*arguments)


def test_checks_of_answers_accept_right_and_refuse_wrong(report, dense, tmp_path):
    rows = [report.rows[0], report.rows[0]._replace(parameters=report.rows[0].parameters // 2)]
    check_with(check_fiction, (2.0, rows), (None, rows), (4.0, rows))
    measured = {"a": (5.0, 1.0), "b": (0.2, 1.0)}
    check_with(
        check_mistakes, ({"a"}, measured), (None, measured), ({"a", "b"}, measured), (set(), measured), ({"c"}, measured)
    )
    digits, good, large, wrong = data.load("digits"), tmp_path / "good.tsh", tmp_path / "large.tsh", tmp_path / "wrong.tsh"
    for path, model in ((good, report.model), (large, dense), (wrong, models.DigitsCNN(width=1))):
        packing.save(model, path)
    reference = models.DigitsCNN(width=40)
    check_with(check_capstone, (good, reference, digits), (None, dense, digits), (large, dense, digits), (wrong, dense, digits))


def test_the_score_is_of_accuracy_bytes_and_milliseconds(report, tmp_path):
    assert math.isclose(capstone.formula(1.0, 50_000, 20.0), 25)
    assert capstone.formula(0.1, 10, 1) == capstone.formula(0.05, 10, 1) == 0
    assert capstone.formula(0.99, 5_000, 5) > capstone.formula(0.99, 6_000, 5) > capstone.formula(0.99, 6_000, 9)
    packing.save(report.model, tmp_path / "small.tsh")
    result = capstone.score(tmp_path / "small.tsh")
    assert (result.accuracy, result.bytes) == (report.test[1], report.rows[-1].bytes)
    assert math.isclose(result.score, capstone.formula(*result[:3]))


def test_what_cannot_be_scored_is_refused(tmp_path):
    path = tmp_path / "file.tsh"
    for model, said in (
        (models.LeNet300(), "does not take images"),
        (nn.Flatten(), "10 finite numbers"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), "10 finite numbers"),
        (Own(), "needs your class"),
    ):
        packing.save(model, path)
        with refused(ValueError, said):
            capstone.score(path)
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with refused(packing.CorruptFile, "checksum"):
        capstone.score(path)
    with refused(FileNotFoundError):
        capstone.score(tmp_path / "none.tsh")
    with refused(ValueError, "expected one of digits"):
        capstone.score(path, "imagenet")


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(capstone, "MAX_BYTES", 1000)
    packing.save(nn.Linear(64, 10), tmp_path / "large.tsh")
    with refused(packing.CorruptFile, "would take"):
        capstone.score(tmp_path / "large.tsh")


def test_the_command_scores_a_file(tmp_path, report):
    packing.save(report.model, tmp_path / "a.tsh")
    result = CliRunner().invoke(cli.app, ["score", str(tmp_path / "a.tsh")])
    assert result.exit_code == 0 and f"{report.rows[-1].bytes:,}" in result.output
    assert CliRunner().invoke(cli.app, ["score", str(tmp_path / "b.tsh")]).exit_code == 2
