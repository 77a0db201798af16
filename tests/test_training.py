import copy

import pytest
import torch
from torch import nn

from tinyshrink import data, models, training


@pytest.fixture(scope="module")
def few():
    """A hundred digits, for runs that take a fraction of a second."""
    digits = data.load("digits")
    train = data.Split(digits.train.x[:100], digits.train.y[:100])
    return data.Dataset("few", train, train, train, digits.mean, digits.std)


def small_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_digits_cnn_learns_the_digits():
    digits = data.load("digits")
    torch.manual_seed(0)
    model = models.DigitsCNN()
    history = training.train(model, digits, 5, progress=False)
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    assert history[-1]["accuracy"] > 0.95 and history[-1]["loss"] < history[0]["loss"]
    assert training.evaluate(model, digits.validation) == history[-1]["accuracy"]


def test_a_run_repeats_with_its_seed_and_differs_with_another(few):
    trained = []
    for seed in (0, 0, 1):
        model = small_model()
        training.train(model, few, 2, seed=seed, progress=False)
        trained.append(model)
    assert same(trained[0], trained[1]) and not same(trained[0], trained[2])


def test_training_leaves_the_callers_random_state_alone(few):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    training.train(copy.deepcopy(small_model_at_rest), few, 1, progress=False)
    assert torch.equal(torch.rand(3), expected)


small_model_at_rest = small_model()


@pytest.mark.parametrize("make", [None, torch.optim.AdamW])
def test_a_killed_run_goes_on_to_the_same_weights(few, tmp_path, make):
    class Killed(Exception):
        pass

    class Killer:
        def before_epoch(self, run):
            if run.epoch == 2:
                raise Killed

    def run(model, path, callbacks=()):
        optimizer = make(model.parameters(), lr=1e-3) if make else None
        return training.train(model, few, 4, optimizer=optimizer, checkpoint=path, callbacks=callbacks, progress=False)

    undisturbed, killed, resumed = small_model(), small_model(), small_model(seed=1)
    run(undisturbed, tmp_path / "whole")
    with pytest.raises(Killed):
        run(killed, tmp_path / "part", [Killer()])
    history = run(resumed, tmp_path / "part")
    assert same(undisturbed, resumed) and len(history) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "whole"]


def test_callbacks_are_called_at_each_moment_with_the_run(few):
    seen = []

    class Watcher:
        def before_epoch(self, run):
            seen.append(("before", run.epoch))

        def after_step(self, run):
            seen.append(("step", run.epoch))

        def after_epoch(self, run):
            seen.append(("after", run.epoch, len(run.history)))

    training.train(small_model(), few, 1, callbacks=[Watcher()], batch_size=50, progress=False)
    assert seen == [("before", 0), ("step", 0), ("step", 0), ("after", 1, 1)]


def test_a_last_batch_of_one_does_not_break_batchnorm(few):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    training.train(model, few, 1, batch_size=99, progress=False)


def test_the_learning_rate_follows_the_schedule(few):
    rates = []

    class Watcher:
        def after_step(self, run):
            rates.append(run.optimizer.param_groups[0]["lr"])

    training.train(
        small_model(), few, 2, lr=2.0, batch_size=50, schedule=lambda p: p / 8, callbacks=[Watcher()], progress=False
    )
    assert rates == pytest.approx([0.0625, 0.125, 0.1875, 0.25])


def test_warmup_cosine_rises_to_one_and_falls_to_zero():
    assert training.warmup_cosine(0.075) == pytest.approx(0.5)
    assert training.warmup_cosine(0.15) == pytest.approx(1)
    assert training.warmup_cosine(0.575) == pytest.approx(0.5)
    assert training.warmup_cosine(1) == pytest.approx(0)


def test_evaluate_counts_in_eval_mode_and_puts_the_mode_back(few):
    model = small_model()
    model.train()
    accuracy = training.evaluate(model, few.test, batch_size=7)
    assert model.training
    model.eval()
    assert accuracy == pytest.approx((model(few.test.x).argmax(1) == few.test.y).float().mean().item())


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_learning_rate(few):
    with pytest.raises(FloatingPointError, match=r"loss is nan in epoch 1, step 1: try a lower learning rate than 0\.05"):
        training.train(small_model(), few, 1, loss=lambda m, x, y: m(x).sum() * float("nan"), progress=False)


def test_negative_epochs_are_refused(few):
    with pytest.raises(ValueError, match="0 or more, got -1"):
        training.train(small_model(), few, -1)


def test_a_checkpoint_of_another_run_or_of_none_is_refused(few, tmp_path):
    path = tmp_path / "run"
    training.train(small_model(), few, 2, checkpoint=path, progress=False)
    for options in ({"epochs": 3}, {"epochs": 2, "seed": 1}, {"epochs": 2, "lr": 0.1}):
        with pytest.raises(ValueError, match="run is of another run"):
            training.train(small_model(), few, checkpoint=path, progress=False, **options)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="run is no checkpoint of a training"):
        training.train(small_model(), few, 2, checkpoint=path, progress=False)


def test_a_checkpoint_of_a_model_with_shared_weights_can_be_resumed(few, tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10))
    model[2].weight = model[1].weight
    history = training.train(model, few, 1, checkpoint=tmp_path / "run", progress=False)
    assert training.train(model, few, 1, checkpoint=tmp_path / "run", progress=False) == history


def test_evaluate_leaves_a_frozen_batchnorm_in_eval_mode(few):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    model[1].eval()
    training.evaluate(model, few.test)
    assert model.training and not model[1].training


def test_a_channels_last_run_is_kept_and_resumed(few, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)).to(memory_format=torch.channels_last)
    resumed = copy.deepcopy(model)
    history = training.train(model, few, 2, checkpoint=tmp_path / "run", progress=False)
    assert training.train(resumed, few, 2, checkpoint=tmp_path / "run", progress=False) == history
    assert same(model, resumed)
