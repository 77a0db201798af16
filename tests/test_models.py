import hashlib

import pytest
import torch

from tinyshrink import data, models, training


@pytest.mark.parametrize(
    ("model", "shape", "parameters"),
    [
        (models.DigitsCNN, (1, 8, 8), 243_530),
        (models.LeNet300, (1, 28, 28), 266_610),
        (models.LeNet5, (1, 28, 28), 431_080),
        (models.CifarCNN, (3, 32, 32), 272_474),
    ],
)
def test_each_network_has_the_size_that_its_docstring_states(model, shape, parameters):
    network = model()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert f"{parameters:,} parameters" in " ".join(model.__doc__.split())
    assert network(torch.zeros(2, *shape)).shape == (2, 10)


def test_the_shipped_checkpoint_is_the_one_of_its_card():
    [path] = models.CHECKPOINTS.glob("*.safetensors")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"SHA-256: `{digest}`" in path.with_suffix(".md").read_text(encoding="utf-8")
    model = models.load_pretrained("cifar10_cnn")
    assert not model.training and model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.realdata
def test_the_shipped_teacher_reads_the_real_test_images_as_its_card_says():
    accuracy = training.evaluate(models.load_pretrained("cifar10_cnn"), data.load("cifar10").test)
    card = (models.CHECKPOINTS / "cifar10_cnn.md").read_text(encoding="utf-8")
    assert accuracy >= 0.87 and f"test {accuracy:.2%}" in card


def test_an_unknown_checkpoint_says_which_there_are():
    with pytest.raises(ValueError, match="'resnet': expected one of cifar10_cnn"):
        models.load_pretrained("resnet")


def test_widths_and_depths_are_settings_that_rebuild_the_network():
    for network, settings, shape in (
        (models.DigitsCNN, {"width": 8, "size": 28}, (2, 1, 28, 28)),
        (models.CifarCNN, {"width": 4, "blocks": 2}, (2, 3, 32, 32)),
        (models.Transformer, {"width": 12, "depth": 2, "heads": 3, "size": 28, "patch": 7, "channels": 1}, (2, 1, 28, 28)),
    ):
        model = network(**settings)
        assert model.settings == settings
        assert model(torch.zeros(shape)).shape == (2, 10)
    with pytest.raises(ValueError, match="heads must divide"):
        models.Transformer(width=10, heads=3)
