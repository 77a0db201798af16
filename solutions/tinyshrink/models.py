"""The networks of the course: small enough to train while you wait, real enough to be worth shrinking."""

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from . import files

CHECKPOINTS = files.shipped() / "datasets" / "checkpoints"


class DigitsCNN(nn.Sequential):
    """A CNN for 8 x 8 digits: three convolutions with BatchNorm, two Linear layers, 243,530 parameters.

    Input (N, 1, size, size), output logits (N, 10); a smaller `width` makes all layers narrower. The shapes in the comments
    are those of the default.
    """

    def __init__(self, width: int = 32, size: int = 8):
        super().__init__()
        self.settings = {"width": width, "size": size}
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)  # (N, 32, 8, 8)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)  # (N, 64, 8, 8)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.relu2 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)  # (N, 64, 4, 4)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 3, padding=1, bias=False)  # (N, 128, 4, 4)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu3 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)  # (N, 128, 2, 2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(4 * width * (size // 4) ** 2, 9 * width)  # 512 to 288
        self.relu4 = nn.ReLU()
        self.fc2 = nn.Linear(9 * width, 10)


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
    with projections (option B) where the width changes. `width` is that of the first stage, `blocks` the residual blocks
    of each stage.
    """

    def __init__(self, width: int = 16, blocks: int = 3):
        super().__init__()
        self.settings = {"width": width, "blocks": blocks}
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stage1 = _stage(width, width, blocks, stride=1)  # (N, 16, 32, 32)
        self.stage2 = _stage(width, 2 * width, blocks, stride=2)  # (N, 32, 16, 16)
        self.stage3 = _stage(2 * width, 4 * width, blocks, stride=2)  # (N, 64, 8, 8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.pool(x).flatten(1))


def _stage(channels, width, blocks, stride):
    """Residual blocks, the first of which changes the width and the size."""
    return nn.Sequential(ResidualBlock(channels, width, stride), *(ResidualBlock(width, width) for _ in range(blocks - 1)))


class Attention(nn.Module):
    """Multi-head self-attention: (N, tokens, width) to the same shape, with a Linear each for query, key, value and output.

    Rows head_dim * i to head_dim * (i + 1) of query, key and value, and these columns of out, belong to head i. Unlike
    nn.MultiheadAttention it may have fewer heads than width / head_dim.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(x).unflatten(2, (self.heads, self.head_dim)).transpose(1, 2)  # (N, heads, tokens, head_dim)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    """Attention and a two-layer network, each behind a LayerNorm and beside a shortcut: (N, tokens, width) to the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """A small vision transformer: input (N, channels, size, size), cut into patches, output logits (N, 10).

    The default is for the 8 x 8 digits: 16 patches of 2 x 2, 6 layers of width 64, 302,026 parameters.
    Source: Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, with the mean over patches in place of a class token.
    """

    def __init__(self, width: int = 64, depth: int = 6, heads: int = 4, size: int = 8, patch: int = 2, channels: int = 1):
        super().__init__()
        if width % heads or size % patch:
            raise ValueError(f"heads must divide the width and patch the size, got {heads}, {width}, {patch} and {size}")
        self.settings = {"width": width, "depth": depth, "heads": heads, "size": size, "patch": patch, "channels": channels}
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)  # (N, 64, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, width))
        self.layers = nn.Sequential(*(TransformerLayer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (N, 16, 64)
        x = self.norm(self.layers(x + self.position))
        return self.fc(x.mean(1))


def replace_layer(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put `new` in the place of `old` in `model`, in place, under all its names, and return the model (new, if it was old)."""
    for name in [name for name, module in model.named_modules(remove_duplicate=False) if name and module is old]:
        model.set_submodule(name, new)
    return new if model is old else model


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
