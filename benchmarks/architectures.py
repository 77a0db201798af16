"""Small networks, each with one construction that channel pruning has to understand, and nine of torchvision's.

`SMALL` and `TORCHVISION` are {name: (function that builds the network, shape of its example input)}. The constructions are
written as people write them; tests/test_channels.py and benchmarks/channel_zoo.py prune each.
"""

from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def conv(channels, width, kernel=3, **options):
    """Convolution, BatchNorm and ReLU that keep the size (unless there is a stride)."""
    layer = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())


class Net(nn.Module):
    """A body, the mean over what is not batch and channel, and a head of 10 classes."""

    def __init__(self, width):
        super().__init__()
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.body(x).flatten(2).mean(2))


class FlattenLinear(nn.Module):
    """Convolutions down to 4 x 4, flattened into Linear layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(conv(3, 16), nn.MaxPool2d(2), conv(16, 32), nn.MaxPool2d(2))
        self.fc1, self.fc2 = nn.Linear(32 * 16, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(self.features(x).flatten(1))))


class PaddedBlock(nn.Module):
    """ResNet's shortcut of option A: every other pixel, and channels of zeros around."""

    def __init__(self, channels, width):
        super().__init__()
        self.conv1, self.conv2 = conv(channels, width, stride=2), conv(width, width)
        self.extra = width - channels

    def forward(self, x):
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
        return torch.relu(self.conv2(self.conv1(x)) + shortcut)


class PaddedShortcut(Net):
    def __init__(self):
        super().__init__(32)
        self.layers = nn.Sequential(conv(3, 16), PaddedBlock(16, 32))

    def body(self, x):
        return self.layers(x)


class Dense(Net):
    """Each layer sees the concatenation of all before."""

    def __init__(self):
        super().__init__(16 + 3 * 8)
        self.stem = conv(3, 16)
        self.layers = nn.ModuleList(conv(16 + 8 * i, 8) for i in range(3))

    def body(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class C2f(Net):
    """YOLOv8's block: one half goes on through residual bottlenecks, all pieces are concatenated."""

    def __init__(self):
        super().__init__(32)
        self.stem, self.cv1 = conv(3, 16), conv(16, 32, 1)
        self.bottlenecks = nn.ModuleList(nn.Sequential(conv(16, 16), conv(16, 16)) for _ in range(2))
        self.cv2 = conv(64, 32, 1)

    def body(self, x):
        pieces = list(self.cv1(self.stem(x)).chunk(2, 1))
        for bottleneck in self.bottlenecks:
            pieces.append(pieces[-1] + bottleneck(pieces[-1]))
        return self.cv2(torch.cat(pieces, 1))


class Shuffle(Net):
    """ShuffleNet v2's block: chunk, one branch, concatenation, channel shuffle."""

    def __init__(self):
        super().__init__(32)
        self.stem = conv(3, 32)
        self.branches = nn.ModuleList(
            nn.Sequential(conv(16, 16, 1), conv(16, 16, groups=16), conv(16, 16, 1)) for _ in range(2)
        )

    def body(self, x):
        x = self.stem(x)
        for branch in self.branches:
            left, right = x.chunk(2, dim=1)
            x = torch.cat((left, branch(right)), dim=1)
            batch, channels, height, width = x.shape
            x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return x


class Grouped(Net):
    """Grouped convolutions between plain ones."""

    def __init__(self):
        super().__init__(32)
        self.body = nn.Sequential(conv(3, 32), conv(32, 64, groups=4), conv(64, 64, groups=8), conv(64, 32, 1))


class CalledTwice(Net):
    """One convolution with the same weights at two depths."""

    def __init__(self):
        super().__init__(16)
        self.stem, self.shared, self.last = conv(3, 16), conv(16, 16), conv(16, 16)

    def body(self, x):
        return self.last(self.shared(self.shared(self.stem(x))))


class SubPixel(nn.Module):
    """PixelShuffle: four channels make one of twice the size. The output is an image."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(3, 16), conv(16, 64), nn.PixelShuffle(2), conv(16, 16), nn.Conv2d(16, 3, 3, padding=1))

    def forward(self, x):
        return self.body(x)


class SeparateAttention(Net):
    """Query, key and value of their own, and PyTorch's fused attention."""

    def __init__(self, heads=4, width=32):
        super().__init__(width)
        self.heads, self.embed = heads, nn.Linear(12, width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def body(self, x):
        x = self.embed(x)
        mixed = F.scaled_dot_product_attention(self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x)))
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return (x + self.mlp(x)).transpose(1, 2)


class GroupedQuery(Net):
    """Four query heads share two key and value heads, repeated for the product."""

    def __init__(self, width=32):
        super().__init__(width)
        self.embed = nn.Linear(12, width)
        self.q, self.k, self.v = nn.Linear(width, 32), nn.Linear(width, 16), nn.Linear(width, 16)
        self.out, self.up, self.down = nn.Linear(32, width), nn.Linear(width, 64), nn.Linear(64, width)

    def body(self, x):
        x = self.embed(x)
        batch, tokens, _ = x.shape
        q = self.q(x).view(batch, tokens, 4, 8).transpose(1, 2)
        k = self.k(x).view(batch, tokens, 2, 8).transpose(1, 2).repeat_interleave(2, dim=1)
        v = self.v(x).view(batch, tokens, 2, 8).transpose(1, 2).repeat_interleave(2, dim=1)
        mixed = torch.softmax(q @ k.transpose(-2, -1) / 8**0.5, dim=-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, 32))
        return (x + self.down(F.gelu(self.up(x)))).transpose(1, 2)


class SwiGLU(Net):
    """Two Linear layers whose outputs are multiplied, as in Llama."""

    def __init__(self, width=32):
        super().__init__(width)
        self.embed, self.norm = nn.Linear(12, width), nn.LayerNorm(width)
        self.gate, self.up, self.down = nn.Linear(width, 64), nn.Linear(width, 64), nn.Linear(64, width)

    def body(self, x):
        x = self.embed(x)
        y = self.norm(x)
        return (x + self.down(F.silu(self.gate(y)) * self.up(y))).transpose(1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(0.1 * torch.ones(width))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.down(F.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(Net):
    def __init__(self):
        super().__init__(16)
        self.body = nn.Sequential(conv(3, 16), ConvNeXtBlock(16), ConvNeXtBlock(16))


class FunctionalConv(Net):
    """A convolution that is a bare parameter of the network."""

    def __init__(self):
        super().__init__(16)
        self.weight, self.bias = nn.Parameter(0.1 * torch.randn(32, 3, 3, 3)), nn.Parameter(torch.randn(32))
        self.last = conv(32, 16)

    def body(self, x):
        return self.last(torch.relu(F.conv2d(x, self.weight, self.bias, padding=1)))


class Unused(Net):
    """Layers that are registered and never called."""

    def __init__(self):
        super().__init__(16)
        self.layers, self.auxiliary = nn.Sequential(conv(3, 32), conv(32, 16)), nn.Linear(32, 5)

    def body(self, x):
        return self.layers(x)


class SpatialCat(Net):
    """Two branches side by side, along the width, over a shared trunk."""

    def __init__(self):
        super().__init__(16)
        self.trunk, self.left, self.right, self.last = conv(3, 16), conv(16, 32), conv(16, 32), conv(32, 16)

    def body(self, x):
        x = self.trunk(x)
        return self.last(torch.cat([self.left(x), self.right(x)], dim=3))


class WeightNorm(Net):
    """Weights computed from a direction and a length."""

    def __init__(self):
        super().__init__(16)
        normed = [nn.utils.parametrizations.weight_norm(nn.Conv2d(a, b, 3, padding=1)) for a, b in ((3, 16), (16, 32))]
        self.body = nn.Sequential(normed[0], nn.ReLU(), normed[1], nn.ReLU(), conv(32, 16))


class Video(nn.Module):
    """Conv3d whose depth is flattened into the channels of a Conv1d."""

    def __init__(self):
        super().__init__()
        self.conv3d, self.norm = nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8)
        self.conv1d, self.head = nn.Conv1d(8 * 4 * 4, 32, 3, padding=1), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv3d(x)))  # (N, 8, 4, 4, W)
        return self.head(torch.relu(self.conv1d(x.flatten(1, 3))).mean(2))


class LearnedSlopes(Net):
    """PReLU with a slope a channel, and a learned bias (1, C, 1, 1)."""

    def __init__(self):
        super().__init__(16)
        self.first, self.slope, self.last = nn.Conv2d(3, 32, 3, padding=1), nn.PReLU(32), conv(32, 16)
        self.bias = nn.Parameter(torch.randn(1, 32, 1, 1))

    def body(self, x):
        return self.last(self.slope(self.first(x) + self.bias))


class SelfCat(Net):
    """A tensor concatenated with itself."""

    def __init__(self):
        super().__init__(16)
        self.first, self.last = conv(3, 16), conv(32, 16)

    def body(self, x):
        x = self.first(x)
        return self.last(torch.cat([x, x], 1))


class Generator(nn.Module):
    """Linear, view, transposed convolutions: a code becomes an image."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(20, 32 * 4 * 4)
        self.up1, self.norm = nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.BatchNorm2d(16)
        self.up2 = nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)

    def forward(self, x):
        x = torch.relu(self.fc(x)).view(x.shape[0], -1, 4, 4)
        return torch.tanh(self.up2(torch.relu(self.norm(self.up1(x)))))


IMAGE, TOKENS = (2, 3, 16, 16), (2, 9, 12)
SMALL = {
    "conv to 4x4, flatten, linear": (FlattenLinear, IMAGE),
    "option-A shortcut": (PaddedShortcut, IMAGE),
    "dense concat": (Dense, IMAGE),
    "chunk as in C2f": (C2f, IMAGE),
    "ShuffleNet": (Shuffle, IMAGE),
    "grouped convolution": (Grouped, IMAGE),
    "one conv called twice": (CalledTwice, IMAGE),
    "PixelShuffle": (SubPixel, IMAGE),
    "separate q/k/v, fused attention": (SeparateAttention, TOKENS),
    "grouped-query attention": (GroupedQuery, TOKENS),
    "SwiGLU": (SwiGLU, TOKENS),
    "ConvNeXt block, layer scale": (ConvNeXt, IMAGE),
    "functional conv, bare parameter": (FunctionalConv, IMAGE),
    "registered but unused layers": (Unused, IMAGE),
    "concat along space, shared trunk": (SpatialCat, IMAGE),
    "weight_norm": (WeightNorm, IMAGE),
    "Conv3d flattened into Conv1d": (Video, (2, 1, 4, 4, 6)),
    "PReLU, learned (1, C, 1, 1) bias": (LearnedSlopes, IMAGE),
    "cat([x, x])": (SelfCat, IMAGE),
    "linear, view, transposed conv": (Generator, (2, 20)),
}
NAMES = (
    "resnet18 vgg11_bn mobilenet_v3_small densenet121 shufflenet_v2_x1_0 efficientnet_b0 convnext_tiny vit_b_16 regnet_y_400mf"
)
TORCHVISION = {name: (partial(torchvision.models.get_model, name), (1, 3, 224, 224)) for name in NAMES.split()}
