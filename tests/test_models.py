import pytest
import torch

from tinyshrink import models


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
