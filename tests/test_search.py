"""Tests of tinyshrink.search and search_space: first the checks of lesson 12 in their order, then ordinary tests."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distributed import Client
from safetensors.torch import save_model
from sklearn.datasets import make_classification
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from tinyshrink import data, metrics, models, plots, search, search_space, training


def test_violations_of_known_networks():
    budget = search.Budget(max_ms=20.0, max_bytes=1000)
    for ms, size, limits in ((25.0, 1000, ["ms"]), (20.0, 1000, []), (19.9, 1001, ["bytes"]), (20.1, 2000, ["ms", "bytes"])):
        got = search.violations(ms, size, budget)
        assert isinstance(got, list), f"expected a list of sentences, got {got!r}"
        named = ["bytes" if "byte" in sentence else "ms" for sentence in got]
        assert named == limits, f"{ms} ms and {size} bytes for {budget}: expected sentences about {limits}, got {got}"
    sentence = search.violations(25.0, 10, budget)[0]
    assert "25" in sentence and "20" in sentence, f"the sentence should hold the number and the limit, 25 and 20: {sentence!r}"
    sentence = search.violations(1.0, 3456, budget)[0].replace(",", "")
    assert "3456" in sentence and "1000" in sentence, f"it should hold the number and the limit, 3456 and 1000: {sentence!r}"
    for ms, size, limit, word in (
        (20.04, 1, budget, "ms"),
        (1.0, math.nan, budget, "byte"),
        (1.0, 1, search.Budget(0.0), "ms"),
    ):
        got = search.violations(ms, size, limit)
        assert len(got) == 1 and word in got[0], f"{ms} ms, {size} bytes for {limit}: one sentence about {word}, got {got}"


def test_violations_where_there_is_no_limit():
    for budget, expected in ((search.Budget(), 0), (search.Budget(max_ms=1.0), 1), (search.Budget(max_bytes=5), 1)):
        got = search.violations(2.0, 7, budget)
        assert len(got) == expected, f"2 ms and 7 bytes for {budget}: expected {expected} sentences, got {got}"
    got = search.violations(math.nan, 7, search.Budget(max_ms=1.0))
    assert len(got) == 1, (
        f"a latency of nan is not within 1 ms (no comparison with nan is true): expected a sentence, got {got}"
    )


def test_pareto_front_of_known_points():
    for points, expected in (
        ([(0.9, 5.0), (0.8, 7.0), (0.95, 9.0)], [0, 2]),
        ([(0.95, 9.0), (0.8, 7.0), (0.9, 5.0), (0.7, 1.0)], [3, 2, 0]),
        ([(0.5, 3.0), (0.9, 2.0), (0.4, 1.0)], [2, 1]),
        ([(0.9, 2.0)], [0]),
        ([], []),
    ):
        got = search.pareto_front(points)
        assert list(got) == expected, f"the front of {points}, fastest first: expected indices {expected}, got {got}"


def test_pareto_front_with_equals():
    for points, expected, why in (
        ([(0.9, 5.0), (0.8, 5.0)], [0], "of two equally fast only the more accurate stays"),
        ([(0.9, 5.0), (0.9, 4.0)], [1], "of two equally accurate only the faster stays"),
        ([(0.9, 5.0), (0.9, 5.0), (0.9, 5.0)], [0, 1, 2], "equal points do not dominate each other"),
        ([(0.5, 9.0), (0.9, 5.0), (0.5, 9.0)], [1], "two equal points that a third one dominates both go"),
    ):
        points_before = list(points)
        got = search.pareto_front(points)
        assert list(got) == expected, f"{why}: expected {expected} of {points_before}, got {got}"
        assert points == points_before, "the list given to you was changed"


def test_best_within_takes_the_most_accurate():
    measured = ((0.99, 9.0, 10), (0.90, 3.0, 10), (0.95, 5.0, 10), (0.97, 4.0, 99), (0.95, 4.0, 10))
    trials = [search.Trial(i, {}, ms=ms, bytes=size, accuracies=[0.1, a]) for i, (a, ms, size) in enumerate(measured)]
    for budget, expected in (
        (search.Budget(5.0, 50), 4),  # 0.95 twice: the faster of the two
        (search.Budget(9.0, 50), 0),
        (search.Budget(4.0), 3),
        (search.Budget(3.0, 50), 1),
    ):
        got = search.best_within(trials, budget)
        assert got is trials[expected], (
            f"{measured} as (accuracy, ms, bytes) within {budget}: expected trial {expected}, got {got}"
        )


def test_best_within_of_nothing():
    trial = search.Trial(0, {}, ms=5.0, bytes=10, accuracies=[0.9])
    untrained = search.Trial(1, {}, ms=1.0, bytes=10)
    got = search.best_within([trial, untrained], search.Budget(4.0))
    assert got is None, f"nothing that was trained is within 4 ms: expected None, got {got}"
    got = search.best_within([untrained, trial], search.Budget(5.0))
    assert got is trial, f"an accuracy of nan is that of a network that was not trained: expected the other one, got {got}"
    useless = search.Trial(2, {}, ms=1.0, bytes=10, accuracies=[0.0])
    got = search.best_within([useless], search.Budget(5.0))
    assert got is useless, f"the only one has an accuracy of 0, and is the best that there is: got {got}"
    near = [search.Trial(i, {}, ms=5.0 - i, bytes=10, accuracies=[a]) for i, a in enumerate((0.9504, 0.9501))]
    got = search.best_within(near, search.Budget(5.0))
    assert got is near[0], f"0.9504 is more accurate than 0.9501, if slower: expected the first, got {got}"
    got = search.best_within(iter([]), search.Budget(5.0))
    assert got is None, f"of no trials at all: expected None, got {got}"


def test_mutate_moves_one_choice_by_one_step():
    choices, chance = {"width": (0.25, 0.5, 1.0, 2.0), "depth": (1, 2, 3), "hidden": (0,)}, random.Random(0)
    architecture = {"width": 0.5, "depth": 1, "hidden": 0}
    seen = set()
    for _ in range(200):
        child = search.mutate(architecture, choices, chance)
        assert child is not architecture and architecture["width"] == 0.5, "the architecture given to you was changed: copy it"
        assert list(child) == list(architecture), f"expected the same names in the same order, got {child}"
        changed = {name: value for name, value in child.items() if value != architecture[name]}
        assert len(changed) == 1, f"exactly one choice should differ from {architecture}, got {child}"
        seen.update(changed.items())
    expected = {("width", 0.25), ("width", 1.0), ("depth", 2)}
    assert seen == expected, f"one step from {architecture} in {choices} are {expected}; 200 children had {seen}"


def test_mutate_draws_each_choice_equally_often():
    choices = {"width": [1, 2, 3, 4, 5, 6, 7, 8, 9], "depth": [1, 2], "only": ["a"]}
    chance, counts, ups = random.Random(1), {"width": 0, "depth": 0, "only": 0}, 0
    for _ in range(1000):
        child = search.mutate({"width": 5, "depth": 1, "only": "a"}, choices, chance)
        assert len(choices["width"]) == 9 and len(choices["depth"]) == 2, f"the choices given to you were changed: {choices}"
        ups += child["width"] > 5
        counts = {name: counts[name] + (child[name] != was) for name, was in (("width", 5), ("depth", 1), ("only", "a"))}
    near = abs(counts["width"] - 500) < 100 and counts["only"] == 0
    assert near, f"of 1000 children about 500 should change width, 500 depth, none `only`, got {counts}"
    assert abs(ups - 250) < 80, f"of 1000 children about 250 should have a larger width, 250 a smaller one, got {ups} larger"
    same = [
        [search.mutate({"width": 5, "depth": 1, "only": "a"}, choices, random.Random(7)) for _ in range(30)] for _ in range(2)
    ]
    assert same[0] == same[1], "the same random.Random(7) must give the same child each time: use `chance` alone"


def test_rungs_of_known_searches():
    for networks, epochs, factor, expected in (
        (27, 9, 3, [(27, 1), (9, 3), (3, 9)]),
        (5, 9, 3, [(5, 3), (2, 9)]),
        (16, 16, 2, [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)]),
        (9, 100, 3, [(9, 11), (3, 33), (1, 99)]),
        (7, 20, 2, [(7, 5), (4, 10), (2, 20)]),
    ):
        got = search.rungs(networks, epochs, factor)
        assert list(got) == expected, f"{networks} networks, {epochs} epochs, factor {factor}: expected {expected}, got {got}"


def test_rungs_at_the_ends():
    for networks, epochs, factor, expected in (
        (100, 1, 3, [(100, 1)]),  # no epochs to save
        (2, 50, 3, [(2, 50)]),  # nobody to drop
        (1000, 5, 3, [(1000, 1), (334, 3)]),
        (243, 243, 3, [(243, 1), (81, 3), (27, 9), (9, 27), (3, 81), (1, 243)]),  # log(243, 3) is 4.999... as floats
        (1000, 1000, 10, [(1000, 1), (100, 10), (10, 100), (1, 1000)]),
    ):
        got = search.rungs(networks, epochs, factor)
        assert list(got) == expected, f"{networks} networks, {epochs} epochs, factor {factor}: expected {expected}, got {got}"


def test_falls_behind_the_median():
    finished = [[0.6, 0.7, 0.9], [0.8, 0.5, 0.5], [0.1, 0.2, 0.95]]
    for accuracies, expected in (
        ([0.5], True),  # the others had 0.6, 0.8 and 0.1 after one epoch: median 0.6
        ([0.6], False),  # exactly the median is not behind
        ([0.5, 0.69], True),  # best by then 0.7, 0.8, 0.2
        ([0.5, 0.75], False),
        ([0.75, 0.1], False),  # its own best counts as well
        ([0.75, 0.8, 0.85], True),
    ):
        got = search.falls_behind(accuracies, finished)
        assert got is expected, f"{accuracies} against {finished}: expected {expected}, got {got!r}"


def test_falls_behind_nobody():
    for accuracies, finished, why in (
        ([], [[0.9], [0.8]], "nothing is known before the first epoch"),
        ([0.1], [], "there is nobody to compare with"),
        ([0.1, 0.2], [[0.9], [0.8]], "the others were trained for one epoch only"),
    ):
        got = search.falls_behind(accuracies, finished)
        assert got is False, f"{accuracies} against {finished}: {why}, expected False, got {got!r}"
    got = search.falls_behind([0.5, 0.6], iter([[0.6, 0.7, 0.9], [0.8, 0.5], [0.99]]))
    assert got is True, f"0.6 is below 0.75, the median of 0.7 and 0.8 (0.99 had one epoch only): expected True, got {got!r}"
    got = search.falls_behind([0.72], [[0.7], [0.8]])
    assert got is True, f"0.72 is below 0.75, the median of 0.7 and 0.8: expected True, got {got!r}"


def check_document(answer, table):
    """The question on document 001: which of its networks are within 20 ms and reach 70%, by its own table."""
    fitting = [name for name, (ms, accuracy) in table.items() if ms <= 20 and accuracy >= 70]
    assert answer is not None, "answer_document is still None: a list of names"
    assert list(answer) == fitting, f"within 20 ms and at least 70% are {fitting}: got {answer}"


def check_growth(answer_macs, answer_ms, rows):
    """The question on widths: how many times the MACs and the ms of the widest network are those of the narrowest."""
    assert answer_macs is not None and answer_ms is not None, "answer_macs or answer_ms is still None"
    narrow, wide = rows[min(rows)], rows[max(rows)]
    for name, got, place in (("answer_macs", answer_macs, 0), ("answer_ms", answer_ms, 1)):
        expected = wide[place] / narrow[place]
        assert math.isclose(got, expected, rel_tol=0.02), (
            f"{name}: {wide[place]} / {narrow[place]} is {expected:.1f}, got {got}"
        )


def check_dominated(answer, result):
    """The question on the front: how many trained networks are dominated by another one."""
    points = [(trial.accuracy, trial.ms) for trial in result.trials if trial.accuracies]
    dominated = sum(any(a >= b and s <= t and (a, s) != (b, t) for a, s in points) for b, t in points)
    assert answer is not None, "answer_dominated is still None: a number"
    assert answer == dominated, f"{dominated} of {len(points)} trained networks are dominated, got {answer}"


def check_success(space, architecture, result, budget, dataset):
    """The criterion: the network of choice is of the search, within the recorded budget, and beats the floor when trained."""
    assert architecture is not None, "chosen is still None: choose one of your trials, such as result.best.architecture"
    known = [trial for trial in result.trials if trial.architecture == architecture]
    assert known, f"{architecture} is none of the {len(result.trials)} trials of your search"
    broken = search.violations(known[0].ms, known[0].bytes, budget)
    assert not broken, f"{architecture} was measured above the budget: {broken}"
    torch.manual_seed(0)
    model, hand, one = space.build(**architecture).eval(), models.DigitsCNN().eval(), dataset.validation.x[:1]
    sizes = [search_space.stored_bytes(network) for network in (model, hand)]
    assert sizes[0] <= sizes[1], f"it has {sizes[0]:,} bytes, the network made by hand {sizes[1]:,}"
    with torch.inference_mode():
        slower = 1 / metrics.paired_speedup(
            lambda: hand(one), lambda: model(one), repeats=30, threads=1, clock=time.thread_time
        )
    assert slower < 1.3, f"measured again, in turn, it takes {slower:.2f} times as long as the network made by hand"
    training.train(model, dataset, 9, progress=False)
    accuracy = training.evaluate(model, dataset.validation)
    assert accuracy >= 0.96, f"trained anew it reads {accuracy:.2%} of the validation digits: at least 96% are asked for"


SPACE = replace(
    search_space.cnn_space(), choices={"width": (0.0625, 0.125, 0.1875, 0.25), "depth": (1, 2, 3), "hidden": (0, 0.5)}
)


def fake_ms(model):
    return 1e-4 * metrics.count_parameters(model)


@pytest.fixture(scope="module")
def few():
    digits = data.load("digits")
    return replace(digits, train=data.Split(digits.train.x[:192], digits.train.y[:192]), test=None)  # nobody may look at test


def run(few, strategy="random", trials=6, epochs=2, **options):
    options = {"latency": fake_ms, "progress": False, "seed": 3} | options
    budget = options.pop("budget", search.Budget(max_ms=2.0))
    return search.search_architecture(options.pop("space", SPACE), few, budget, strategy, trials, epochs, **options)


def rows(result):
    return [(t.architecture, t.ms, t.bytes, t.reason, t.accuracies, t.ended, t.parent) for t in result.trials]


@pytest.mark.parametrize("arguments, where", [((0, 9, 3), "networks"), ((9, 0, 3), "0"), ((9, 9, 1), "factor")])
def test_rungs_refuse(arguments, where):
    with pytest.raises(ValueError, match=where):
        search.rungs(*arguments)


@pytest.mark.parametrize("point", [(math.nan, 1.0), (0.5, math.inf)])
def test_pareto_front_refuses(point):
    with pytest.raises(ValueError, match="finite"):
        search.pareto_front([(0.9, 1.0), point])


def test_mutate_refuses_a_space_of_one():
    with pytest.raises(ValueError, match="nothing can change"):
        search.mutate({"width": 1}, {"width": (1,)}, random.Random(0))


@pytest.mark.parametrize("networks, epochs, factor", [(27, 9, 3), (5, 9, 3), (20, 60, 3), (16, 16, 2), (7, 20, 2), (9, 100, 3)])
def test_rungs_are_those_of_scikit_learn(networks, epochs, factor):
    x, y = make_classification(80, random_state=0)
    halving = HalvingRandomSearchCV(
        DecisionTreeClassifier(),
        {"random_state": range(networks)},
        n_candidates=networks,
        resource="max_depth",
        max_resources=epochs,
        min_resources="exhaust",
        factor=factor,
        cv=2,
        random_state=0,
    )
    halving.fit(x, y)
    assert search.rungs(networks, epochs, factor) == list(zip(halving.n_candidates_, halving.n_resources_))


def test_scaled_cnn_at_its_defaults_is_the_hand_made_network():
    torch.manual_seed(0)
    hand, scaled, x = models.DigitsCNN().eval(), search_space.scaled_cnn().eval(), torch.randn(3, 1, 8, 8)
    scaled.load_state_dict(hand.state_dict())
    assert torch.equal(scaled(x), hand(x))
    assert metrics.count_parameters(search_space.scaled_cnn(width=0.5)) == metrics.count_parameters(models.DigitsCNN(16))


def test_multipliers_do_what_they_say():
    x = torch.randn(2, 3, 32, 32)
    macs = lambda **multipliers: metrics.count_macs(search_space.scaled_cifar(**multipliers), x)
    whole = metrics.count_macs(models.CifarCNN(), x)
    assert macs() == whole
    assert macs(width=0.5) == pytest.approx(whole / 4, rel=0.02)
    assert macs(resolution=0.5) == pytest.approx(whole / 4, rel=0.02)
    assert macs(depth=2 / 3) == pytest.approx(0.66 * whole, rel=0.05)
    assert search_space.scaled_cnn(depth=3)[-1].out_features == 10
    assert [name for name, _ in search_space.scaled_cnn(depth=2, hidden=0).named_children() if "conv" in name] == [
        *("conv1", "conv2", "conv3", "conv4", "conv5")
    ]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 20)])
def test_every_network_of_the_spaces_gives_logits(shape):
    chance, x = random.Random(0), torch.randn(2, *shape)
    for space in (search_space.cnn_space(shape), search_space.mobilenet_space(shape)):
        for _ in range(6):
            drawn = {name: chance.choice(values) for name, values in space.choices.items()}
            assert space.build(**drawn)(x).shape == (2, 10), drawn
    drawn = {name: chance.choice(values) for name, values in search_space.cifar_space().choices.items()}
    assert search_space.cifar_space().build(**drawn)(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_shallow_mobilenet_keeps_the_blocks_that_change_the_size():
    blocks = [len(search_space.scaled_mobilenet(depth=depth)[1].features) for depth in (0, 0.5, 1)]
    assert blocks == [7, 10, 13]  # of torchvision's 13 there are 6 with a shortcut


@pytest.mark.parametrize(
    "build, multipliers",
    [
        (search_space.scaled_cnn, {"depth": 0}),
        (search_space.scaled_cnn, {"width": 0}),
        (search_space.scaled_cnn, {"width": math.nan}),
        (search_space.scaled_cnn, {"hidden": -1}),
        (search_space.scaled_cnn, {"resolution": 2.0}),
        (search_space.scaled_cifar, {"resolution": 0}),
        (search_space.scaled_cifar, {"depth": -1}),
        (search_space.scaled_mobilenet, {"depth": 1.5}),
        (search_space.scaled_mobilenet, {"width": 0}),
    ],
)
def test_multipliers_out_of_range(build, multipliers):
    with pytest.raises(ValueError, match=r"expected|above 0"):
        build(**multipliers)


@pytest.mark.parametrize(
    "choices, said",
    [
        ({}, "at least one"),
        ({"width": ()}, "width"),
        ({"width": (1, 1)}, "once"),
        ({"wide": (1, 2)}, "wide"),
        ({"width": ((1,),)}, "numbers"),
    ],
)
def test_a_space_refuses(choices, said):
    with pytest.raises(ValueError, match=said):
        search_space.Space(search_space.scaled_cnn, choices)


def test_the_estimate_counts_what_is_there():
    architecture, x = {"width": 0.5, "depth": 2, "resolution": 0.5}, torch.randn(4, 1, 8, 8)
    model, outputs = search_space.scaled_cnn(**architecture), []
    parameters, needed = search_space.estimate(search_space.scaled_cnn, architecture, x, batch_size=10)
    assert parameters == metrics.count_parameters(model)
    for module in model:
        module.register_forward_hook(lambda layer, args, out: outputs.append(out.numel() * 4))
    model.eval()(x[:1])
    assert needed == 3 * 4 * parameters + 2 * 10 * sum(outputs)


def test_stored_bytes_are_those_of_the_file(tmp_path):
    model = models.DigitsCNN(5)
    save_model(model, tmp_path / "model.safetensors")
    assert search_space.stored_bytes(model) == (tmp_path / "model.safetensors").stat().st_size


def test_latency_is_measured_on_one_thread_and_leaves_the_network_alone():
    seen = {}

    class Watched(nn.Sequential):
        def forward(self, x):
            seen.update(threads=torch.get_num_threads(), training=self.training, grad=torch.is_grad_enabled())
            time.sleep(0.002)  # another program's time
            return super().forward(x)

    model = Watched(nn.Flatten(), nn.Dropout(), nn.Linear(4, 2))
    ms = search_space.measured_ms(model, torch.randn(1, 4), repeats=5)
    assert 0 < ms < 2, "the clock of the thread stands still while it sleeps"
    assert seen == {"threads": 1, "training": False, "grad": False} and model.training and model[1].training


@pytest.mark.parametrize("strategy, trials, epochs", [("random", 6, 2), ("evolutionary", 12, 1), ("halving", 9, 9)])
def test_a_search_repeats_whatever_the_number_of_workers(few, strategy, trials, epochs):
    one = run(few, strategy, trials, epochs)
    two = run(few, strategy, trials, epochs, workers=2)
    assert rows(one) == rows(two) and one.trained == trials
    assert one.best.ms <= 2.0 and one.best.accuracy == max(t.accuracy for t in one.trials if len(t.accuracies) == epochs)
    assert all(not trial.accuracies for trial in one.trials if trial.reason), "who is above the budget is never trained"
    assert rows(one) != rows(run(few, strategy, trials, epochs, seed=4))


def test_dask_gives_the_same_trials(few):
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        assert rows(run(few, trials=3, workers=client)) == rows(run(few, trials=3))


def test_workers_with_several_threads_are_refused(few):
    client = SimpleNamespace(submit=None, nthreads=lambda: {"one": 1, "two": 2})
    with pytest.raises(ValueError, match="threads_per_worker=1"):
        run(few, workers=client)


def test_halving_trains_on_what_it_has(few):
    result = run(few, "halving", 9, 9)
    counts = Counter(len(trial.accuracies) for trial in result.trials if trial.accuracies)
    assert counts == {1: 6, 3: 2, 9: 1} and result.epochs == 6 + 2 * 3 + 9
    torch.manual_seed(3000 + result.best.index)
    whole = training.train(SPACE.build(**result.best.architecture), few, 9, seed=3000 + result.best.index, progress=False)
    assert result.best.accuracies == [entry["accuracy"] for entry in whole], "in three parts or in one: the same training"


def test_evolution_breeds_from_the_living(few):
    result = run(few, "evolutionary", 14, 1)
    trained = [trial for trial in result.trials if trial.accuracies]
    assert len(trained) == 14 and all(trial.parent is None for trial in trained[:8])
    for place, child in enumerate(trained[8:], start=8):
        if child.parent is not None:
            alive = [trial.index for trial in trained[(place - 8) // 4 * 4 : (place - 8) // 4 * 4 + 8]]
            assert child.parent in alive, f"{child.parent} had died, alive were {alive}"


def test_early_stopping_saves_epochs(few):
    result = run(few, trials=12, epochs=4, stop_early=True, workers=2)
    stopped = [trial for trial in result.trials if trial.ended]
    assert stopped and all(trial.ended == "fell behind" and len(trial.accuracies) < 4 for trial in stopped)
    assert result.epochs < 48 and not result.best.ended
    assert rows(result) == rows(run(few, trials=12, epochs=4, stop_early=True))


def test_a_budget_below_every_network(few):
    with pytest.raises(search.UnreachableBudget, match=r"fastest has 0\.\d+ ms, the smallest [\d,]+ bytes") as caught:
        run(few, budget=search.Budget(max_ms=1e-3))
    smallest = SPACE.build(width=0.0625, depth=1, hidden=0)
    assert caught.value.fastest == fake_ms(smallest) and caught.value.smallest == search_space.stored_bytes(smallest)
    with pytest.raises(search.UnreachableBudget, match="bytes, above 10"):
        run(few, budget=search.Budget(max_bytes=10))


def test_a_network_that_does_not_fit_in_memory_is_listed_and_not_built(few):
    space = replace(SPACE, choices={"width": (0.125, 1e5), "depth": (1, 2)})
    result = run(few, space=space, trials=2, budget=search.Budget())
    huge = [trial for trial in result.trials if trial.architecture["width"] == 1e5]
    assert result.trained == 2 and huge and all("training needs" in t.reason and t.parameters > 1e12 for t in huge)
    with pytest.raises(search.UnreachableBudget, match="training needs"):
        run(few, space=replace(SPACE, choices={"width": (1e5,), "depth": (1, 2)}), trials=2)


def test_a_network_that_cannot_be_built_is_listed(few):
    space = replace(SPACE, choices={"width": (0.125, 0.25), "resolution": (1.0, 3.0)})
    result = run(few, space=space, trials=2)
    assert {trial.reason for trial in result.trials if trial.architecture["resolution"] == 3.0} == {
        "cannot be built: ValueError: expected depth >= 1, hidden >= 0, resolution above 0 to 1: got 1, 1.0, 3.0"
    }


def test_a_training_that_fails_is_listed(few):
    with pytest.raises(RuntimeError, match="FloatingPointError"):
        run(few, lr=1e30, trials=2)
    broken = replace(few, train=data.Split(few.train.x * math.nan, few.train.y))
    with pytest.raises(RuntimeError, match="training failed"):
        run(broken, "halving", 3, 3)


def test_a_small_space_ends(few):
    space = replace(SPACE, choices={"width": (0.125, 0.25, 1.0), "depth": (1, 2)})
    result = run(few, space=space, trials=5)
    assert len(result.trials) == 6 and 0 < result.trained < 5


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"strategy": "bayes"}, ValueError, "random, evolutionary, halving"),
        ({"trials": 0}, ValueError, "trials"),
        ({"trials": 1.5}, ValueError, "trials"),
        ({"trials": 25}, ValueError, "24 networks"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"workers": 0}, ValueError, "workers"),
        ({"max_memory": 0}, ValueError, "max_memory"),
        ({"budget": search.Budget(max_ms=0)}, ValueError, "above 0"),
        ({"budget": search.Budget(max_ms=math.nan)}, ValueError, "above 0"),
        ({"budget": (20, 1000)}, ValueError, "Budget"),
        ({"space": {"width": (1, 2)}}, TypeError, "Space"),
        ({"strategy": "evolutionary"}, ValueError, "starts from 8"),
        ({"strategy": "halving"}, ValueError, "3 epochs"),
        ({"strategy": "halving", "epochs": 3, "stop_early": True}, ValueError, "by itself"),
        ({"learning_rate": 0.1}, ValueError, "learning_rate"),
        ({"latency": lambda model: math.nan}, ValueError, "milliseconds"),
    ],
)
def test_settings_that_make_no_sense(few, options, error, said):
    with pytest.raises(error, match=said):
        run(few, **options)


def test_a_finished_search_is_not_done_again(few, tmp_path, monkeypatch):
    first = run(few, "halving", 6, 3, checkpoint=tmp_path / "search.json")
    monkeypatch.setattr(search, "_train", None)
    again = run(few, "halving", 6, 3, checkpoint=tmp_path / "search.json", latency=None)
    assert rows(first) == rows(again), "the recorded latencies count, not new ones"
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]
    for other in ({"seed": 5}, {"trials": 7}, {"lr": 0.01}, {"budget": search.Budget(1.0)}):
        with pytest.raises(ValueError, match="another search"):
            run(few, "halving", **{"trials": 6, "epochs": 3, "checkpoint": tmp_path / "search.json"} | other)
    (tmp_path / "search.json").write_text("[]")
    with pytest.raises(ValueError, match="no checkpoint of a search"):
        run(few, "halving", 6, 3, checkpoint=tmp_path / "search.json")


SCRIPT = """
import sys
from dataclasses import replace
from tinyshrink import data, metrics, search, search_space
few = replace(data.load("digits"), test=None)
few = replace(few, train=data.Split(few.train.x[:192], few.train.y[:192]))
space = replace(search_space.cnn_space(), choices=%r)
options = {"latency": lambda model: 1e-4 * metrics.count_parameters(model), "progress": False, "seed": 3}
options |= {"checkpoint": sys.argv[2], "workers": int(sys.argv[3])}
search.search_architecture(space, few, search.Budget(2.0), sys.argv[1], 9, 9, **options)
"""


@pytest.mark.linux
@pytest.mark.parametrize("strategy, workers", [("random", 2), ("halving", 1)])
def test_a_killed_search_goes_on(few, tmp_path, monkeypatch, strategy, workers):
    path, script = tmp_path / "search.json", tmp_path / "script.py"
    script.write_text(SCRIPT % SPACE.choices)
    process = subprocess.Popen([sys.executable, script, strategy, path, str(workers)], start_new_session=True)
    trained = lambda: [row for row in json.loads(path.read_text())["trials"] if row["accuracies"]]
    while not path.exists() or len(trained()) < 3:
        assert process.poll() is None, "the search ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {row["index"]: len(row["accuracies"]) for row in trained()}
    again, original = [], search._train
    monkeypatch.setattr(search, "_train", lambda **task: again.append((task["trial"].index, task["stop"])) or original(**task))
    result = run(few, strategy, 9, 9, checkpoint=path)
    assert all(stop > before.get(index, 0) for index, stop in again), f"trained already: {before}, trained again: {again}"
    assert len({*again}) == len(again) and len(again) < 9 + 3 * (strategy == "halving")
    assert rows(result) == rows(run(few, strategy, 9, 9)), "as if nothing had happened"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["script.py", "search.json"]


def test_the_figure_of_fronts():
    figure = plots.pareto({"random": [(0.9, 1.0), (0.95, 2.0), (0.7, 1.5)], "halving": [(0.8, 0.5)]}, 1.8, title="digits")
    line = figure.axes[0].lines[1]
    assert line.get_label() == "random" and np.allclose(line.get_xdata(), [1, 2]) and np.allclose(line.get_ydata(), [0.9, 0.95])
    assert "ms" in figure.axes[0].get_xlabel()
    plots.plt.close(figure)
    for wrong in ({}, {"a": []}, {"a": [(0.9, 0.0)]}, {"a": [(1.9, 1.0)]}, {"a": [(0.9, math.nan)]}):
        with pytest.raises(ValueError):
            plots.pareto(wrong)


def test_the_answers_to_the_questions_are_checked():
    table = {"small": (8, 60.5), "large": (15, 73.0)}
    check_document(["large"], table)
    check_growth(100.0, 5.0, {4: (10, 0.1), 8: (1000, 0.5)})
    trials = [search.Trial(0, {}, ms=1.0, accuracies=[0.9]), search.Trial(1, {}, ms=2.0, accuracies=[0.8]), search.Trial(2, {})]
    result = search.Result(trials, trials[0], [], 2, 2)
    check_dominated(1, result)
    for check, wrong, more in (
        (check_document, (None, [], ["small", "large"]), (table,)),
        (check_dominated, (None, 0, 2), (result,)),
    ):
        for answer in wrong:
            with pytest.raises(AssertionError):
                check(answer, *more)
    for wrong in ((None, None), (100.0, 100.0), (5.0, 5.0)):
        with pytest.raises(AssertionError):
            check_growth(*wrong, {4: (10, 0.1), 8: (1000, 0.5)})


def test_the_success_criterion_is_checked():
    digits, space = data.load("digits"), search_space.cnn_space()
    good = {"width": 0.1875, "depth": 2, "growth": 3.0, "hidden": 0.0}
    poor = {"width": 0.125, "depth": 1, "resolution": 0.5, "growth": 1.0, "hidden": 0.0}
    trials = [search.Trial(i, a, ms=1.0, bytes=10, accuracies=[0.9]) for i, a in enumerate((good, poor))]
    result, budget = search.Result(trials, trials[0], [], 2, 2), search.Budget(1.0)
    check_success(space, good, result, budget, digits)
    for architecture, limit in ((None, budget), ({"width": 1.0}, budget), (good, search.Budget(0.5)), (poor, budget)):
        with pytest.raises(AssertionError):
            check_success(space, architecture, result, limit, digits)
