"""Tests of tinyshrink.adaptive: first the checks of lesson 10 in the order of its exercises, then ordinary tests."""

import copy
import json
import math
import os
import pathlib
import random
import signal
import tempfile
import warnings

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tinyshrink import adaptive, cli, data, metrics, models, packing, plots, training


def test_smallest_tolerable_of_an_absolute_drop():
    for original, drop, expected in ((0.9, 0.01, 0.89), (0.5, 0.1, 0.4), (0.75, 0, 0.75), (-2.0, 0.5, -2.5)):
        got = adaptive.smallest_tolerable(original, absolute=drop)
        close = abs(got - expected) < 1e-12
        assert close, f"from {original}, an absolute drop of {drop}: expected {expected}, got {got}"


def test_smallest_tolerable_of_a_relative_drop():
    for original, drop, expected in ((0.8, 1, 0.792), (0.9, 10, 0.81), (0.5, 0, 0.5), (0.4, 100, 0.0)):
        got = adaptive.smallest_tolerable(original, relative=drop)
        assert abs(got - expected) < 1e-12, (
            f"from {original}, a relative drop of {drop} percent: expected {expected}, got {got}"
        )


def test_next_move_goes_up_from_good_and_down_from_bad():
    for direction, good, expected in ((0, True, 0.5), (1, True, 0.5), (0, False, 0.3), (-1, False, 0.3)):
        move = adaptive.Move(0.4, 0.1, direction)
        got = adaptive.next_move(move, good)
        said = f"from {move}, {'good' if good else 'bad'}"
        assert got.rate == expected, f"{said}: expected rate {expected}, rounded to 9 digits, got {got.rate!r}"
        assert got.step == 0.1, f"{said}: nothing turned, so the step should stay 0.1, got {got.step}"
        assert got.direction == (1 if good else -1), f"{said}: the direction is {got.direction}"


def test_next_move_shrinks_the_step_when_it_turns():
    for rate, direction, good, factor, expected in (
        (0.5, 1, False, 0.5, (0.45, 0.05, -1)),
        (0.3, -1, True, 0.5, (0.35, 0.05, 1)),
        (0.5, 1, False, 0.2, (0.48, 0.02, -1)),
        (0.3, -1, True, 0.8, (0.38, 0.08, 1)),
    ):
        move = adaptive.Move(rate, 0.1, direction)
        got = adaptive.next_move(move, good, factor)
        close = all(abs(a - b) < 1e-9 for a, b in zip(got[:3], expected))
        said = f"from {move}, {'good' if good else 'bad'}, factor {factor}"
        assert close, f"{said}: the direction turns, expected rate, step, direction {expected}, got {tuple(got[:3])}"


def test_next_move_goes_on_from_where_it_came():
    move, rates = adaptive.Move(0.1, 0.1), []
    for good in (True, True, True, True, False, False, True, True, False):
        move = adaptive.next_move(move, good)
        rates.append(move.rate)
    expected = [0.2, 0.3, 0.4, 0.5, 0.45, 0.4, 0.425, 0.45, 0.4375]
    assert rates == expected, f"good 4 times, bad twice, good twice, bad: expected rates {expected}, got {rates}"


def test_next_untried_trains_no_rate_twice():
    move, tried = adaptive.Move(0.1, 0.1), {0.1: True}
    rates = []
    while len(rates) < 20:
        before = dict(tried)
        move = adaptive.next_untried(move, tried)
        assert tried == before, f"tried was changed, from {before} to {tried}"
        if move is None:
            break
        rates.append(move.rate)
        tried[move.rate] = move.rate <= 0.43
    expected = [0.2, 0.3, 0.4, 0.5, 0.45, 0.425]
    assert rates == expected, f"where all up to 0.43 is good, the search trains {expected} and ends, yours {rates}"


def test_next_untried_ends_when_the_step_is_too_small():
    for minimal, expected in ((0.025, 0.425), (0.05, None), (0.02, 0.425), (0.026, None)):
        move, tried = adaptive.Move(0.45, 0.05, -1), {0.4: True, 0.45: False, 0.5: False}
        got = adaptive.next_untried(move, tried, minimal_step=minimal)
        rate = None if got is None else got.rate
        assert rate == expected, f"from {move}, bad, 0.4 is good, minimal step {minimal}: expected {expected}, got {rate}"
    got = adaptive.next_untried(adaptive.Move(0.5, 0.3, 1), {0.5: False}, factor=1 / 3, minimal_step=0.1)
    assert got is not None, "a step of 0.3 / 3 is not below the minimal step of 0.1: allow 1e-9 for rounding"


def test_next_untried_ends_at_the_ends():
    below = adaptive.next_untried(adaptive.Move(0.05, 0.1), {0.05: False})
    assert below is None, f"a rate below 0 ends the search, got {below}"
    zero = adaptive.next_untried(adaptive.Move(0.1, 0.1, -1), {0.1: False})
    assert zero is not None and zero.rate == 0 and not zero.final, f"rate 0 itself can be trained, got {zero}"
    top = adaptive.next_untried(adaptive.Move(0.9, 0.1, 1), {0.9: True}, max_rate=0.95)
    assert top is not None and top.rate == 0.95, f"a rate of 1.0 above max_rate 0.95 becomes 0.95, got {top}"
    assert top.final, f"a rate that was set back to max_rate is the last one, final=True: got {top}"
    again = adaptive.next_untried(adaptive.Move(0.9, 0.1, 1), {0.9: True, 0.95: True}, max_rate=0.95)
    assert again is None, f"max_rate was tried already, so the search is over: got {again}"
    again = adaptive.next_untried(adaptive.Move(0.9, 0.1, 1), {0.9: True, 0.95: False}, max_rate=0.95)
    assert again is None, f"max_rate was tried already, good or not, so the search is over: got {again}"
    small = adaptive.next_untried(adaptive.Move(0.94, 0.04, -1), {0.94: True}, minimal_step=0.025, max_rate=0.95)
    assert small is None, f"the step is 0.02, below 0.025, so the search is over, whatever max_rate is: got {small}"
    exact = adaptive.next_untried(adaptive.Move(0.9, 0.1, 1), {0.9: True}, max_rate=1.0)
    assert exact is not None and exact.rate == 1 and not exact.final, f"a rate of just max_rate is an ordinary one, got {exact}"


def test_keep_snapshot_takes_the_higher_rate_then_the_accuracy():
    for candidate, best, expected in (
        ((0.3, 0.90), (0.2, 0.95), True),
        ((0.2, 0.95), (0.3, 0.90), False),
        ((0.3, 0.92), (0.3, 0.91), True),
        ((0.3, 0.91), (0.3, 0.92), False),
        ((0.3, 0.91), (0.3, 0.91), False),
        ((0.0, 0.89), None, True),
        ((0.0, 0.90), (0.0, 0.95), False),  # a rate of 0 is a rate
        ((0.4125, 0.90), (0.4062, 0.95), True),
        ((0.3, 0.9101), (0.3, 0.91), True),
    ):
        got = adaptive.keep_snapshot(*candidate, best, 0.89)
        assert got == expected, f"(rate, accuracy) {candidate} after {best}, smallest 0.89: expected {expected}, got {got}"


def test_keep_snapshot_never_takes_a_bad_one():
    for candidate, best in (((0.9, 0.88), (0.2, 0.95)), ((0.1, 0.5), None), ((0.3, 0.889), (0.3, 0.9))):
        got = adaptive.keep_snapshot(*candidate, best, 0.89)
        assert not got, f"(rate, accuracy) {candidate} loses too much (smallest 0.89), and took the place of {best}"
    assert adaptive.keep_snapshot(0.1, 0.9 - 0.01, None, 0.89), "0.9 - 0.01 is good enough for 0.89: allow for rounding"


def check_relative(answer, original):
    assert isinstance(answer, (int, float)), f"set answer_relative to a number of percent, it is {answer!r}"
    got, expected = original * (1 - answer / 100), original - 0.01
    said = f"{answer}% of {original:.4f} allows {got:.5f}, and one percentage point {expected:.5f}"
    assert abs(got - expected) < 5e-5, f"{said}: what percentage of the original is 0.01?"


def check_wasted(answer, history, smallest):
    rates = {rate: [accuracy for other, accuracy in history if other == rate] for rate, _ in history}
    expected = sorted(rate for rate, values in rates.items() if not any(adaptive.is_good(value, smallest) for value in values))
    assert isinstance(answer, (list, tuple, set)), f"set answer_wasted to a list of rates, it is {answer!r}"
    said = f"{sorted(answer)}: of these and of the others, look at the best accuracy that each has"
    assert sorted(round(rate, 6) for rate in answer) == [round(rate, 6) for rate in expected], said


def check_success(original, small, result, original_test, small_test):
    digits = data.load("digits")
    assert result is not None and isinstance(small, nn.Module), "set small, result, original_test and small_test"
    with tempfile.TemporaryDirectory() as folder:  # only what a file can hold counts: layers and tensors
        packing.save(small, pathlib.Path(folder, "small.tsh"))
        small = packing.load(pathlib.Path(folder, "small.tsh"))
    for name, model, value in (("original_test", original, original_test), ("small_test", small, small_test)):
        real = training.evaluate(model, digits.test)
        assert value is not None and abs(value - real) < 0.004, f"{name} should be {real:.4f}, the test accuracy, not {value}"
    fewer = metrics.count_parameters(original) / metrics.count_parameters(small)
    assert fewer >= 6, f"at least 6 times fewer parameters are asked for, you have {fewer:.1f}"
    assert isinstance(result, adaptive.AdaptiveResult), f"result is what the search gave back, not {result!r}"
    assert result.epochs <= 45, f"at most 45 epochs are allowed, your search took {result.epochs}"
    lost = original_test - small_test
    assert lost <= 0.025 + 1e-9, f"at most 2.5 pp on test are allowed, you lost {100 * lost:.2f}"


SETTINGS = {"maximal_absolute_accuracy_degradation": 0.01, "initial_training_phase_epochs": 2, "patience_epochs": 2}
DOCUMENT = """{
"accuracy_aware_training": {
"mode": "adaptive_compression_level",
"params": {
"maximal_relative_accuracy_degradation": 1.0,
"initial_training_phase_epochs": 100,
"patience_epochs": 30,
"minimal_compression_rate_step": 0.025, // Optional
"initial_compression_rate_step": 0.1, // Optional
"compression_rate_step_reduction_factor": 0.5, // Optional
"validate_every_n_epochs": 1, // Optional
"maximal_total_epochs": 10000 // Optional
}
},
"compression": [
{
"algorithm": "filter_pruning",
"pruning_init": 0.05,
"params": {
"schedule": "exponential",
"pruning_target": 0.1,
"pruning_steps": 50,
"weight_importance": "geometric_median"
}
}
]
}"""


class Fake:
    """A runner without a network: its accuracy is a function of the rate in force and of what was trained before."""

    def __init__(self, accuracy, start=0.1, max_rate=1.0, path=(), wear=0.0, log=None):
        self.accuracy, self.rate, self.max_rate, self.path, self.wear = accuracy, start, max_rate, path, wear
        self.trained, self.weights, self.searching = 0, torch.zeros(3), False
        self.lr_factors, self.rates, self.log = [], [], log

    def __setattr__(self, name, value):
        if name == "rate" and "weights" in vars(self):
            self.rates.append(value)
            self.searching = True
        object.__setattr__(self, name, value)

    def train_epoch(self):
        if not self.searching and self.path:
            object.__setattr__(self, "rate", self.path[self.trained])
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{self.trained}\n")
        self.trained += 1
        self.weights = self.weights * 0.9 + self.rate + torch.arange(3)

    def validate(self):
        return self.accuracy(self.rate) + self.wear * math.sin(100 * self.weights.sum().item())

    def snapshot(self):
        return {"rate": self.rate, "trained": self.trained, "weights": self.weights.clone(), "searching": self.searching}

    def restore(self, snapshot):
        vars(self).update(snapshot)

    def reset_optimizer(self, lr_factor):
        self.lr_factors.append(lr_factor)


def cliff(position, low=0.8, high=0.9):
    return lambda rate: high if rate <= position else low


def search(runner, original=0.9, **settings):
    return adaptive.AdaptiveCompression(adaptive.AdaptiveConfig(**SETTINGS | settings)).run(runner, original)


def order(history):
    return [rate for place, (rate, _) in enumerate(history) if place == 0 or history[place - 1][0] != rate]


def test_the_vector():
    runner = Fake(cliff(0.43))
    result = search(runner, None)
    assert order(result.history) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.45, 0.425]
    assert (result.rate, result.accuracy, result.epochs, len(result.history)) == (0.425, 0.9, 14, 14)
    assert runner.rate == 0.425 and runner.trained == 13, "the first of equal ones is kept"


@pytest.mark.parametrize(("advance", "start"), [("patience", 0.1), ("early", 0.9), ("early", 0.0)])
def test_a_planted_cliff_is_found_wherever_it_is(start, advance):
    grid = [round(start + 0.025 * k, 9) for k in range(-40, 41)]
    for position in [k / 61 for k in range(62)]:
        result = search(Fake(cliff(position), start), advance=advance)
        expected = max(rate for rate in grid if 0 <= rate <= min(position, 1))
        assert result.rate == expected, position
        visits = order(result.history)
        assert len(visits) == len(set(visits)), f"a rate was trained twice: {visits}"
        assert result.rate <= position < result.rate + 0.025 or result.rate > 0.975


def test_early_leaves_a_rate_when_it_is_good():
    result = search(Fake(cliff(0.43)), advance="early", patience_epochs=5)
    assert [rate for rate, _ in result.history] == [0.1] * 2 + [0.2, 0.3, 0.4] + [0.5] * 5 + [0.45] * 5 + [0.425]


def test_a_relative_budget_and_the_rounding_of_it():
    assert search(Fake(cliff(0.43, high=0.891)), maximal_absolute_accuracy_degradation=0.009).rate == 0.425
    settings = SETTINGS | {"maximal_relative_accuracy_degradation": 1.0}
    del settings["maximal_absolute_accuracy_degradation"]
    result = adaptive.AdaptiveCompression(adaptive.AdaptiveConfig(**settings)).run(Fake(cliff(0.3, high=0.891)), 0.9)
    assert result.smallest == pytest.approx(0.891) and result.rate == 0.3


def test_validation_every_n_epochs_and_at_the_end_of_a_visit():
    runner = Fake(cliff(0.43))
    result = search(runner, patience_epochs=5, validate_every_n_epochs=2, initial_training_phase_epochs=3)
    assert result.epochs == 33 and result.rate == 0.425
    assert [rate for rate, _ in result.history] == [
        r for r, n in zip((0.1, 0.2, 0.3, 0.4, 0.5, 0.45, 0.425), [2] + [3] * 6) for _ in range(n)
    ]


def test_the_total_of_epochs_is_kept_and_its_last_epoch_is_validated():
    runner = Fake(cliff(0.43))
    result = search(runner, maximal_total_epochs=7, patience_epochs=4, validate_every_n_epochs=4)
    assert result.epochs == 7 and result.history[-1][0] == 0.3 and result.rate == 0.3
    assert search(Fake(cliff(0.43)), maximal_total_epochs=2).rate == 0.1


def test_max_rate_is_tried_once_and_ends_the_search():
    for position, expected in ((0.97, 0.95), (0.93, 0.9)):
        runner = Fake(cliff(position), max_rate=0.95)
        result = search(runner)
        assert order(result.history)[-1] == 0.95 and result.rate == expected


def test_the_schedule_runs_in_the_initial_phase_and_the_history_starts_where_it_ends():
    runner = Fake(cliff(0.43), start=0.0, path=[0.02, 0.06, 0.1, 0.1])
    result = search(runner, initial_training_phase_epochs=4)
    assert result.history[0] == (0.1, 0.9) and result.rate == 0.425 and result.epochs == 16
    runner = Fake(lambda rate: 0.9 if rate in (0.06, 0.0) else 0.5, start=0.0, path=[0.06, 0.1])
    assert search(runner).rate == 0.0, "what the schedule passed is no result of the search"


def test_no_initial_phase_starts_at_the_rate_in_force():
    runner = Fake(cliff(0.43))
    result = search(runner, initial_training_phase_epochs=0)
    assert result.history[0] == (0.1, 0.9) and result.epochs == 12 and result.rate == 0.425


def test_the_learning_rate_shrinks_at_each_turn():
    runner = Fake(cliff(0.43))
    search(runner, lr_reduction_factor=0.5)
    assert runner.rates == [0.2, 0.3, 0.4, 0.5, 0.45, 0.425]
    assert runner.lr_factors == [1, 1, 1, 1, 0.5, 0.25]


def test_a_later_bad_visit_does_not_overwrite_the_best():
    values = iter([0.9] * 3 + [0.95] + [0.5] * 99)
    runner = Fake(lambda rate: next(values))
    result = search(runner)
    assert (result.rate, result.accuracy) == (0.2, 0.95) and runner.trained == 4 and runner.rate == 0.2


def test_no_feasible_rate_puts_the_original_back():
    runner = Fake(lambda rate: 0.5 - rate)
    with pytest.raises(adaptive.NoFeasibleRate, match=r"closest miss is rate 0 with 0\.5") as caught:
        search(runner)
    with pytest.raises(adaptive.NoFeasibleRate, match=r"smallest tolerable accuracy 0\.89"):
        search(Fake(cliff(0.02), start=0.35))  # 0.35, 0.25, 0.15, 0.05, and then it would be below 0
    assert order(caught.value.history) == [0.1, 0.0]
    assert runner.trained == 0 and runner.rate == 0.1


def test_a_loss_is_recognized_when_it_only_rises():
    with pytest.warns(UserWarning, match="is it a loss"):
        search(Fake(lambda rate: 0.91 + rate, max_rate=0.55), 0.9)
    search(Fake(lambda rate: 0.95), 0.9)  # a network that loses nothing is none


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_accuracy_that_is_no_number_names_the_epoch(value):
    with pytest.raises(ValueError, match=r"finite number, got (nan|inf) in epoch 5"):
        search(Fake(lambda rate: value if rate > 0.2 else 0.9))
    with pytest.raises(ValueError, match="finite"):
        search(Fake(cliff(0.4)), math.nan)
    with pytest.raises(ValueError, match="absolute"):
        adaptive.smallest_tolerable(-0.3, relative=1)


def test_the_live_hook_sees_each_epoch():
    seen = []
    config = adaptive.AdaptiveConfig(**SETTINGS)
    result = adaptive.AdaptiveCompression(config, on_epoch=seen.append).run(Fake(cliff(0.43)), 0.9)
    assert [each.epochs for each in seen] == list(range(1, 15)) and seen[-1] == result
    assert len(seen[-1].plot().axes) == 3


def result_of(result):
    return result.rate, result.accuracy, result.epochs, result.history


class Broken(Exception):
    pass


def test_a_search_goes_on_where_an_evaluation_raised(tmp_path):
    config = adaptive.AdaptiveConfig(**SETTINGS | {"advance": "early"})
    expected = result_of(adaptive.AdaptiveCompression(config).run(Fake(cliff(0.43), wear=0.02), 0.9))
    checkpoint = tmp_path / "search.safetensors"
    runner = Fake(cliff(0.43), wear=0.02)

    def fail_at(number):
        def validate():
            if runner.trained == number:
                raise Broken(number)
            return type(runner).validate(runner)

        return validate

    for number in (1, 4, 5, 9):
        runner = Fake(cliff(0.43), wear=0.02)
        runner.validate = fail_at(number)
        with pytest.raises(Broken):
            adaptive.AdaptiveCompression(config, checkpoint).run(runner, 0.9)
    runner = Fake(cliff(0.43), wear=0.02)
    assert result_of(adaptive.AdaptiveCompression(config, checkpoint).run(runner, 0.9)) == expected
    runner = Fake(cliff(0.43), wear=0.02)
    runner.train_epoch = None  # a finished search trains nothing
    assert result_of(adaptive.AdaptiveCompression(config, checkpoint).run(runner, 0.9)) == expected


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    config, checkpoint = adaptive.AdaptiveConfig(**SETTINGS), tmp_path / "search.safetensors"
    expected = result_of(adaptive.AdaptiveCompression(config).run(Fake(cliff(0.43), wear=0.02), 0.9))
    written = []

    def full(tensors, part, metadata):
        part.write_bytes(b"half")
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(save(tensors, part, metadata))

    save = adaptive.save_file
    monkeypatch.setattr(adaptive, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        adaptive.AdaptiveCompression(config, checkpoint).run(Fake(cliff(0.43), wear=0.02), 0.9)
    assert os.listdir(tmp_path) == ["search.safetensors"]
    monkeypatch.setattr(adaptive, "save_file", save)
    runner, epochs = Fake(cliff(0.43), wear=0.02), []
    runner.train_epoch = lambda: (epochs.append(runner.trained), Fake.train_epoch(runner))
    assert result_of(adaptive.AdaptiveCompression(config, checkpoint).run(runner, 0.9)) == expected
    assert epochs[0] == 5


@pytest.mark.linux  # os.fork with PyTorch is not safe elsewhere
def test_killed_20_times_at_random_moments_it_finds_the_same(tmp_path):
    config = adaptive.AdaptiveConfig(**SETTINGS | {"patience_epochs": 5, "validate_every_n_epochs": 2})
    undisturbed = Fake(cliff(0.43), wear=0.012)
    expected = result_of(adaptive.AdaptiveCompression(config).run(undisturbed, 0.9))
    checkpoint, log, draw = tmp_path / "search.safetensors", tmp_path / "epochs", random.Random(0)

    def child(calls_left):
        """Search until so many calls of anything were made, then kill -9."""

        def deadly(call):
            def called(*arguments, **options):
                nonlocal calls_left
                calls_left -= 1
                if calls_left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return called

        runner = Fake(cliff(0.43), wear=0.012, log=log)
        for name in ("train_epoch", "validate", "snapshot", "restore", "reset_optimizer"):
            setattr(runner, name, deadly(getattr(runner, name)))
        adaptive.save_file, os.replace = deadly(adaptive.save_file), deadly(os.replace)
        adaptive.AdaptiveCompression(config, checkpoint).run(runner, 0.9)

    for moment in [draw.randint(2, 11) for _ in range(20)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads, which the child does not use
            pid = os.fork()
        if pid == 0:
            try:
                child(moment)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "the search was over, or failed, before it was killed"
    runner = Fake(cliff(0.43), wear=0.012, log=log)
    assert result_of(adaptive.AdaptiveCompression(config, checkpoint).run(runner, 0.9)) == expected
    assert torch.equal(runner.weights, undisturbed.weights)
    epochs = [int(line) for line in log.read_text().split()]
    assert sorted(set(epochs)) == list(range(expected[2])) and len(epochs) <= expected[2] + 20
    assert epochs == sorted(epochs), "an epoch that was finished was trained again"


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    checkpoint, config = tmp_path / "search", adaptive.AdaptiveConfig(**SETTINGS)
    adaptive.AdaptiveCompression(config, checkpoint).run(Fake(cliff(0.43)), 0.9)
    other = adaptive.AdaptiveConfig(**SETTINGS | {"patience_epochs": 3})
    for search_, original in (
        (adaptive.AdaptiveCompression(other, checkpoint), 0.9),
        (adaptive.AdaptiveCompression(config, checkpoint), 0.8),
    ):
        with pytest.raises(ValueError, match="of another search"):
            search_.run(Fake(cliff(0.43)), original)
    for content in (b"", b"no checkpoint", checkpoint.read_bytes()[:200]):
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match="no checkpoint of a search"):
            adaptive.AdaptiveCompression(config, checkpoint).run(Fake(cliff(0.43)), 0.9)
    runner = Fake(cliff(0.43))
    runner.snapshot = lambda: {1, 2}
    with pytest.raises(TypeError, match="holds a set"):
        adaptive.AdaptiveCompression(config, tmp_path / "new").run(runner, 0.9)


def test_the_documents_file_is_read_and_its_wrong_key_told(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(DOCUMENT)
    with pytest.warns(UserWarning, match="filter_importance: weight_importance is read as that"):
        config = adaptive.AdaptiveConfig.from_json(path)
    assert config.patience_epochs == 30 and config.maximal_relative_accuracy_degradation == 1.0
    assert config.algorithm["criterion"] == "geometric_median"
    rates = [config.level(epoch) for epoch in (0, 25, 50, 99)]
    assert rates == pytest.approx([0.05, 1 - (0.95 * 0.9) ** 0.5, 0.1, 0.1])
    right = DOCUMENT.replace("weight_importance", "filter_importance")
    path.write_text(right)
    assert adaptive.AdaptiveConfig.from_json(str(path)).algorithm == config.algorithm
    plain = json.loads("\n".join(line.split("//")[0] for line in right.splitlines()))
    assert adaptive.AdaptiveConfig.from_json(plain).algorithm == config.algorithm
    path.write_text("{]")
    with pytest.raises(ValueError, match="no JSON, line 1"):
        adaptive.AdaptiveConfig.from_json(path)


def test_the_defaults():
    config = adaptive.AdaptiveConfig(**SETTINGS)
    assert config.minimal_compression_rate_step == 0.025 and config.initial_compression_rate_step == 0.1
    assert config.compression_rate_step_reduction_factor == 0.5 and config.lr_reduction_factor == 1.0
    assert config.validate_every_n_epochs == 1 and config.maximal_total_epochs == 10000 and config.advance == "patience"
    assert adaptive.AdaptiveConfig(**SETTINGS, maximal_total_epochs=1e4).maximal_total_epochs == 10000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patience_epoch": 3}, "'patience_epoch' .*nearest known key is 'patience_epochs'"),
        ({"max_epochs": 3}, "nearest known key is 'maximal_total_epochs'|nearest known key is 'patience_epochs'"),
        ({"patience_epochs": 0}, "patience_epochs must be a whole number, 1 or more, got 0"),
        ({"patience_epochs": 1.5}, "patience_epochs must be a whole number"),
        ({"patience_epochs": "3"}, "patience_epochs .* got '3'"),
        ({"patience_epochs": True}, "patience_epochs .* got True"),
        ({"patience_epochs": None}, "patience_epochs .* got None"),
        ({"initial_training_phase_epochs": -1}, "initial_training_phase_epochs .* got -1"),
        ({"maximal_absolute_accuracy_degradation": -0.1}, "0 or more, got -0.1"),
        ({"maximal_absolute_accuracy_degradation": math.nan}, "0 or more, got nan"),
        ({"maximal_relative_accuracy_degradation": 1.0}, "exactly one"),
        ({"minimal_compression_rate_step": 0}, "minimal_compression_rate_step must be above 0"),
        ({"initial_compression_rate_step": 1.5}, "initial_compression_rate_step .* up to 1, got 1.5"),
        ({"compression_rate_step_reduction_factor": 1.0}, "compression_rate_step_reduction_factor must be above 0 and below 1"),
        ({"lr_reduction_factor": 0}, "lr_reduction_factor"),
        ({"validate_every_n_epochs": 3}, "validate_every_n_epochs is 3, above patience_epochs, 2"),
        ({"minimal_compression_rate_step": 0.2}, "minimal_compression_rate_step is 0.2, above initial"),
        ({"maximal_total_epochs": 1}, "initial_training_phase_epochs is 2, above maximal_total_epochs, 1"),
        ({"maximal_total_epochs": math.inf}, "maximal_total_epochs"),
        ({"advance": "late"}, "advance must be"),
    ],
)
def test_a_configuration_that_cannot_be_names_the_key(change, message):
    with pytest.raises(ValueError, match=message):
        adaptive.AdaptiveConfig(**SETTINGS | change)


def test_missing_keys_are_named():
    for key, message in (
        ("patience_epochs", "patience_epochs is missing"),
        ("initial_training_phase_epochs", "initial_training_phase_epochs is missing"),
        ("maximal_absolute_accuracy_degradation", "exactly one"),
    ):
        settings = dict(SETTINGS)
        del settings[key]
        with pytest.raises(ValueError, match=message):
            adaptive.AdaptiveConfig(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compresion": []}, "nearest known key is 'compression'"),
        ({"accuracy_aware_training": {"mode": "early_exit", "params": SETTINGS}}, "mode .* got 'early_exit'"),
        ({"accuracy_aware_training": {"mode": "adaptive_compression_level", "param": {}}}, "nearest known key is 'params'"),
        ({"accuracy_aware_training": []}, "must hold keys"),
        ({"compression": [{"algorithm": "filter_prunning"}]}, "the nearest is 'filter_pruning'"),
        (
            {"compression": [{"algorithm": "filter_pruning"}, {"algorithm": "magnitude_sparsity"}]},
            "both have an adaptive level",
        ),
        ({"compression": [{"algorithm": "filter_pruning"}, {"algorithm": "filter_pruning"}]}, "both have an adaptive level"),
        ({"compression": [{"algorithm": "filter_pruning", "sparsity_init": 0.1}]}, "nearest known key is 'pruning_init'"),
        ({"compression": [{"algorithm": "filter_pruning", "params": {"pruning_targt": 0.1}}]}, "'pruning_target'"),
        (
            {"compression": [{"algorithm": "filter_pruning", "params": {"filter_importance": "L3"}}]},
            "filter_importance .* 'L3'",
        ),
        ({"compression": [{"algorithm": "filter_pruning", "params": {"schedule": "cosine"}}]}, "schedule must be one of"),
        ({"compression": [{"algorithm": "filter_pruning", "pruning_init": 1.0}]}, "pruning_init must be 0 to below 1"),
        (
            {"compression": {"algorithm": "filter_pruning", "pruning_init": 0.3, "params": {"pruning_target": 0.1}}},
            "pruning_target",
        ),
        (
            {
                "compression": [
                    {"algorithm": "filter_pruning", "params": {"filter_importance": "L1", "weight_importance": "L2"}}
                ]
            },
            "keep filter_importance",
        ),
        ({"compression": [{"algorithm": "quantization", "params": {}}]}, "quantization takes no keys"),
    ],
)
def test_a_file_that_cannot_be_names_the_key(change, message):
    content = {"accuracy_aware_training": {"mode": "adaptive_compression_level", "params": SETTINGS}} | change
    with pytest.raises(ValueError, match=message):
        adaptive.AdaptiveConfig.from_json(content)


def test_an_empty_file_says_what_is_missing():
    with pytest.raises(ValueError, match="accuracy_aware_training is missing"):
        adaptive.AdaptiveConfig.from_json({})


def test_quantization_may_stand_beside_one_algorithm():
    entries = [{"algorithm": "quantization"}, {"algorithm": "magnitude_sparsity"}]
    config = adaptive.AdaptiveConfig(**SETTINGS, compression=entries)
    assert config.quantize and config.algorithm["algorithm"] == "magnitude_sparsity"
    assert not adaptive.AdaptiveConfig(**SETTINGS, compression=entries[1:]).quantize
    with pytest.raises(ValueError, match="no algorithm with an adaptive level"):
        adaptive.make_runner(adaptive.AdaptiveConfig(**SETTINGS, compression=entries[:1]), None, None)
    with pytest.warns(UserWarning, match="weight_importance: filter_importance"):
        adaptive.AdaptiveConfig(
            **SETTINGS, compression=[{"algorithm": "magnitude_sparsity", "params": {"filter_importance": "abs"}}]
        )


@pytest.fixture(scope="module")
def small_digits():
    """The digits, a fifth of them, and a narrow network."""
    digits = data.load("digits")
    part = data.Dataset(
        "digits",
        data.Split(digits.train.x[:256], digits.train.y[:256]),
        data.Split(digits.validation.x[:100], digits.validation.y[:100]),
        digits.test,
        digits.mean,
        digits.std,
    )
    torch.manual_seed(0)
    model = models.DigitsCNN(width=8)
    training.train(model, part, 4, progress=False)
    return part, model


def runner_of(algorithm, small_digits, entries=(), **options):
    part, model = small_digits
    prefix = {"filter_pruning": "pruning", "magnitude_sparsity": "sparsity"}[algorithm]
    entry = {"algorithm": algorithm, f"{prefix}_init": 0.1, "params": {f"{prefix}_target": 0.3, "schedule": "linear"}}
    config = adaptive.AdaptiveConfig(
        **SETTINGS | {"maximal_absolute_accuracy_degradation": 0.2, "maximal_total_epochs": 6}, compression=[entry, *entries]
    )
    return adaptive.make_runner(config, model, part, **options)


@pytest.mark.parametrize("algorithm", ["magnitude_sparsity", "filter_pruning"])
def test_a_runner_restores_everything_and_repeats_itself(algorithm, small_digits):
    runner = runner_of(algorithm, small_digits)
    before = copy.deepcopy(small_digits[1].state_dict())
    runner.rate = 0.5
    runner.train_epoch()
    snapshot = copy.deepcopy(runner.snapshot())
    tensors = {}
    stored = json.loads(json.dumps(adaptive._encode(runner.snapshot(), tensors)))
    runner.train_epoch()
    expected = runner.model.state_dict()
    for snapshot_ in (snapshot, adaptive._decode(stored, tensors)):
        other = runner_of(algorithm, small_digits)
        other.restore(snapshot_)
        assert other.rate == 0.5
        other.train_epoch()
        assert all(torch.equal(other.model.state_dict()[name], value) for name, value in expected.items())
    assert all(torch.equal(before[name], value) for name, value in small_digits[1].state_dict().items())


def test_sparsity_goes_up_and_down_and_what_was_removed_comes_back(small_digits):
    runner = runner_of("magnitude_sparsity", small_digits)
    dense = {name: weight.clone() for name, weight in runner.model.state_dict().items()}
    for rate in (0.9, 0.2, 0.6):
        runner.rate = rate
        assert metrics.sparsity(runner.compressed()) == pytest.approx(rate, abs=1e-3)
        kept = {name: weight for name, weight in runner.model.state_dict().items()}
        assert all(((weight == dense[name]) | (weight == 0)).all() for name, weight in kept.items())
    runner.train_epoch()
    assert metrics.sparsity(runner.compressed()) == pytest.approx(0.6, abs=1e-3)
    runner.rate = 0.0
    assert metrics.sparsity(runner.compressed()) < 0.01


def test_filters_go_for_real_and_come_back(small_digits):
    runner = runner_of("filter_pruning", small_digits)
    dense = copy.deepcopy(runner.model.state_dict())
    runner.rate = 0.5
    small = runner.compressed()
    assert small.conv1.out_channels == 4 and small.conv2.weight.shape[:2] == (8, 4)
    runner.rate = 0.0
    assert all(torch.equal(dense[name], value) for name, value in runner.model.state_dict().items())
    runner.rate = 0.5
    runner.train_epoch()
    trained = copy.deepcopy(runner.model.conv1.weight.detach())
    runner.rate = 0.0
    assert runner.model.conv1.out_channels == 8
    assert all((filter_ == runner.model.conv1.weight).flatten(1).all(1).any() for filter_ in trained)
    assert runner.max_rate == 0.875
    runner.rate = runner.max_rate
    assert runner.compressed().conv1.out_channels == 1
    runner.rate = 0.001
    assert runner.compressed().conv1.out_channels == 8


def test_the_schedule_of_the_configuration_runs_until_a_rate_is_set(small_digits):
    runner = runner_of("magnitude_sparsity", small_digits)
    rates = []
    for _ in range(3):
        runner.train_epoch()
        rates.append(runner.rate)
    assert rates == pytest.approx([0.1, 0.2, 0.3])
    runner.rate = 0.7
    runner.train_epoch()
    assert runner.rate == 0.7


@pytest.mark.parametrize("algorithm", ["magnitude_sparsity", "filter_pruning"])
def test_a_search_on_digits_ends_within_its_budget(algorithm, small_digits, tmp_path):
    part, model = small_digits
    entries = [{"algorithm": "quantization"}] if algorithm == "magnitude_sparsity" else []
    runner = runner_of(algorithm, small_digits, entries)
    search_ = adaptive.AdaptiveCompression(runner.config, tmp_path / "search")
    result = search_.run(runner)
    assert runner.validate() == result.accuracy >= training.evaluate(model, part.validation) - 0.2 - 1e-9
    assert runner.rate == result.rate >= 0.3
    other = runner_of(algorithm, small_digits, entries)
    assert search_.run(other) == result, "a finished search is read again"
    with pytest.raises(ValueError, match="of another search"):
        search_.run(runner_of(algorithm, small_digits, entries, lr=0.01))


def test_a_wrong_answer_is_told():
    check_relative(1 / 0.98, 0.98)
    history = [(0.1, 0.9), (0.2, 0.8), (0.2, 0.9), (0.3, 0.7), (0.3, 0.8), (0.25, 0.8)]
    check_wasted([0.25, 0.3], history, 0.89)
    for check, arguments in (
        (check_relative, (None, 0.98)),
        (check_relative, (1, 0.6)),
        (check_relative, (1, 0.9806)),
        (check_relative, (0.98, 0.9)),
        (check_wasted, (None, history, 0.89)),
        (check_wasted, ([0.3], history, 0.89)),
        (check_wasted, ([0.2, 0.25, 0.3], history, 0.89)),
    ):
        with pytest.raises(AssertionError):
            check(*arguments)


def test_the_success_criterion_measures():
    digits = data.load("digits")
    torch.manual_seed(0)
    original, small = models.DigitsCNN(16), models.DigitsCNN(4)
    first, second = (training.evaluate(model, digits.test) for model in (original, small))
    good = adaptive.AdaptiveResult(0.7, 0.98, 25, [], 0.97)
    longer = adaptive.AdaptiveResult(0.7, 0.98, 46, [], 0.97)
    if first - second <= 0.025:
        check_success(original, small, good, first, second)
    for arguments in (
        (original, None, None, None, None),
        (original, small, longer, first, second),
        (original, small, good, first, second + 0.01),
        (original, original, good, first, first),
    ):
        with pytest.raises(AssertionError):
            check_success(*arguments)


def test_the_figure_shows_good_and_bad_and_cuts_a_deep_fall():
    figure = plots.adaptive_search([(0.1, 0.9), (0.5, 0.2), (0.3, 0.89)], 0.89)
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
    assert labels == [("validation", "rate (% removed)"), ("validation", "budget (pp)"), ("rate (% removed)", "budget (pp)")]
    good, bad = (line for line in figure.axes[2].lines if line.get_marker() in "oX")
    assert good.get_xdata() == pytest.approx([10, 30]) and good.get_ydata() == pytest.approx([1, 0], abs=1e-6)
    assert bad.get_xdata() == pytest.approx([50]) and bad.get_ydata() == pytest.approx([-4])
    for history, smallest in (([], 0.9), ([(0.1, math.nan)], 0.9), ([(0.1, 0.9)], math.inf)):
        with pytest.raises(ValueError, match="all finite"):
            plots.adaptive_search(history, smallest)


def test_the_command_writes_a_packed_model_and_a_report(tmp_path):
    text = DOCUMENT.replace("weight_importance", "filter_importance").replace('epochs": 100', 'epochs": 1')
    text = text.replace('epochs": 30', 'epochs": 1').replace("10000", "3").replace('degradation": 1.0', 'degradation": 60')
    config = tmp_path / "config.json"
    config.write_text(text)

    def run(*options):
        arguments = ["compress", "--config", str(config), "--data", "digits", "--out", str(tmp_path / "out"), *options]
        return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})

    outcome = run("--model", "digits_cnn", "--epochs", "2")
    assert outcome.exit_code == 0, outcome.output
    report = (tmp_path / "out" / "digits_cnn-digits.md").read_text()
    packed = tmp_path / "out" / "digits_cnn-digits.tsh"
    assert f"{packed.stat().st_size:,} in `digits_cnn-digits.tsh`" in report and "test accuracy" in report
    digits, small = data.load("digits"), packing.load(packed)
    assert f"{training.evaluate(small, digits.test):.2%}" in report and small.conv1.out_channels < 32
    again = run("--model", "digits_cnn", "--epochs", "2")
    assert again.exit_code == 0 and (tmp_path / "out" / "digits_cnn-digits.md").read_text() == report
    for options, message in (
        (["--model", "alexnet"], "no network is called 'alexnet'"),
        (["--model", "lenet5"], "lenet5 on digits: the network does not take x of shape (2, 1, 8, 8)"),
        (["--model", "digits_cnn", "--config", str(tmp_path / "none.json")], "none.json"),
    ):
        wrong = run(*options)
        assert wrong.exit_code == 2 and message in " ".join(wrong.output.split()), wrong.output
