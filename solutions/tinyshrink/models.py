"""The networks of the course: small enough to train while you wait, real enough to be worth shrinking."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

CHECKPOINTS = Path(__file__).resolve().parents[2] / "datasets" / "checkpoints"


class DigitsCNN(nn.Sequential):
    """A CNN for 8 x 8 digits: three convolutions with BatchNorm, two Linear layers, 243,530 parameters.

    Input (N, 1, 8, 8), output logits (N, 10).
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1, bias=False)  # (N, 32, 8, 8)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)  # (N, 64, 8, 8)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu2 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)  # (N, 64, 4, 4)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1, bias=False)  # (N, 128, 4, 4)
        self.bn3 = nn.BatchNorm2d(128)
        self.relu3 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)  # (N, 128, 2, 2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(512, 288)
        self.relu4 = nn.ReLU()
        self.fc2 = nn.Linear(288, 10)


class LeNet300(nn.Sequential):
    """LeNet-300-100 for 28 x 28 images: input (N, 1, 28, 28), logits (N, 10), 266,610 parameters.

    Source: LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf; the yardstick of the pruning papers.
    """

    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(784, 300)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(300, 100)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(100, 10)


class LeNet5(nn.Sequential):
    """LeNet-5 as the pruning papers use it (Caffe's): input (N, 1, 28, 28), logits (N, 10), 431,080 parameters.

    Source: Han et al. 2015, https://arxiv.org/abs/1506.02626, table 3.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)  # (N, 20, 24, 24)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)  # (N, 50, 8, 8)
        self.pool2 = nn.MaxPool2d(2)  # (N, 50, 4, 4)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(800, 500)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(500, 10)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm around a shortcut: (N, C, H, W) to (N, width, H / stride, W / stride)."""

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarCNN(nn.Module):
    """A residual CNN of 20 layers for 32 x 32 colour images: 272,474 parameters, 40.8 million MACs.

    Input (N, 3, 32, 32), output logits (N, 10). Source: He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2,
    with projections (option B) where the width changes.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.stage1 = _stage(16, 16, stride=1)  # (N, 16, 32, 32)
        self.stage2 = _stage(16, 32, stride=2)  # (N, 32, 16, 16)
        self.stage3 = _stage(32, 64, stride=2)  # (N, 64, 8, 8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.pool(x).flatten(1))


def _stage(channels, width, stride):
    """Three residual blocks, the first of which changes the width and the size."""
    return nn.Sequential(ResidualBlock(channels, width, stride), ResidualBlock(width, width), ResidualBlock(width, width))


PRETRAINED = {"cifar10_cnn": CifarCNN}


def load_pretrained(name: str) -> nn.Module:
    """The trained network `name` ("cifar10_cnn"), in eval mode; datasets/checkpoints has a card for each.

    Raises ValueError for an unknown name and FileNotFoundError where the course's folder is not at hand.
    """
    if name not in PRETRAINED:
        raise ValueError(f"no trained network is called {name!r}: expected one of {', '.join(PRETRAINED)}")
    path = CHECKPOINTS / f"{name}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: install tinyshrink from a clone of the course (pip install --editable .)")
    model = PRETRAINED[name]()
    model.load_state_dict(load_file(path))
    return model.eval()
