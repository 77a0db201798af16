"""Which channels go together, on 29 architectures: right, or refused by name."""

import architectures
import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load, save
from torch import nn

from tinyshrink import channel_graph, channel_plan, metrics, structured

SMALL = [pytest.param(*each, id=name) for name, each in architectures.SMALL.items()]
SIZES = {name: (1, 3, 224, 224) if name.startswith("vit") else (1, 3, 64, 64) for name in architectures.TORCHVISION}


def silence(model, indices):
    """A masked model made in another way: every layer that reads a removed channel gets a zero in its place."""

    def hook(layer, kept):
        def before(_, inputs):
            (x,) = inputs
            dim = -1 if isinstance(layer, nn.Linear) else 1
            mask = torch.zeros(layer.weight.shape[0 if getattr(layer, "transposed", False) else 1])
            mask[kept] = 1
            shape = [1] * x.ndim
            shape[dim] = -1
            return (x * mask.repeat(x.shape[dim] // len(mask)).view(shape),)

        return layer.register_forward_pre_hook(before)

    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            dim = 0 if getattr(layer, "transposed", False) else 1
            kept = indices.get(f"{name}.weight", {}).get(dim)
            if kept is not None and getattr(layer, "groups", 1) != layer.weight.shape[0]:
                hook(layer, kept)
    return model


@pytest.mark.parametrize(("build", "shape"), SMALL)
def test_each_small_architecture_comes_out_right(build, shape, tmp_path):
    torch.manual_seed(0)
    model, x = build(), torch.randn(shape)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = structured.plan_channels(model, x, 0.5)
    smaller = structured.remove_channels(model, plan)
    assert metrics.count_parameters(smaller) < 0.6 * metrics.count_parameters(model)
    with torch.no_grad():
        got, masked = smaller.eval()(x), structured.mask_channels(model, plan).eval()(x)
        assert got.shape == model(x).shape
        assert channel_plan.difference(got, masked) <= 1e-5
    model.train()
    smaller.train()(x).square().mean().backward()
    unused = {name for name, _ in smaller.named_parameters() if name.startswith("auxiliary")}
    assert {name for name, p in smaller.named_parameters() if p.grad is None} == unused
    plan.save(tmp_path / "plan.json")
    fresh = structured.remove_channels(build(), channel_plan.ChannelPlan.load(tmp_path / "plan.json"))
    fresh.load_state_dict(load(save({n: t.contiguous() for n, t in smaller.eval().state_dict().items()})))
    with torch.no_grad():
        assert torch.equal(fresh.eval()(x), smaller(x))
    for name, tensor in model.eval().state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(tensor, before[name]), f"{name} of the given model was changed"


@pytest.mark.parametrize(("build", "shape"), SMALL)
def test_removed_channels_are_those_that_a_hook_can_silence(build, shape):
    torch.manual_seed(1)
    model = channel_plan.randomized(channel_plan.plain_copy(build().eval()))
    x = torch.randn(shape)
    plan = structured.plan_channels(model, x, 0.4)
    indices = plan.indices()
    norms = [name for name, module in model.named_modules() if isinstance(module, channel_graph.STATISTICS)]
    functional = any(name == "weight" for name, _ in model.named_parameters())
    if any(f"{name}.channels" in indices for name in norms) or functional:
        pytest.xfail("statistics over channels, or a weight outside of a layer: a hook on layers cannot silence that")
    with torch.no_grad():
        expected = silence(channel_plan.cut_tensors(model, {}), indices)(x)
        assert channel_plan.difference(structured.remove_channels(model, plan)(x), expected) < 1e-5


@pytest.mark.parametrize("name", architectures.TORCHVISION)
def test_each_torchvision_network_comes_out_right(name):
    torch.manual_seed(0)
    model, x = torchvision.models.get_model(name).eval(), torch.randn(SIZES[name])
    plan = structured.plan_channels(model, x, 0.5)
    smaller = structured.remove_channels(model, plan)
    assert metrics.count_parameters(smaller) < 0.7 * metrics.count_parameters(model)
    with torch.no_grad():
        assert channel_plan.difference(smaller(x), structured.mask_channels(model, plan)(x)) <= 1e-5


def test_a_residual_stream_is_one_group_and_the_inside_of_each_block_another():
    model = architectures.PaddedShortcut()
    plan = structured.plan_channels(model, torch.randn(1, 3, 16, 16), 0.5)
    assert [row[:2] for row in plan.rows()] == [("layers.0.0", "layers.1.conv2.0"), ("layers.1.conv1.0", "")]
    assert [row[2:] for row in plan.rows()] == [(16, 8), (32, 16)]
    assert plan.left == {"head": "the model's output keeps its shape"}


class Body(nn.Module):
    """A convolution, what the test is about, and a head."""

    def __init__(self, step, width=16, out=16):
        super().__init__()
        self.first, self.step, self.last, self.head = nn.Conv2d(3, width, 3), step, nn.Conv2d(out, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.last(self.step(self.first(x))).mean((2, 3)))


class Step(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CUT = {
    "GroupNorm": (nn.GroupNorm(4, 16), 8),
    "GroupNorm of one group": (nn.GroupNorm(1, 16), 8),
    "InstanceNorm": (nn.InstanceNorm2d(16), 8),
    "InstanceNorm with scales": (nn.InstanceNorm2d(16, affine=True), 8),
    "depthwise with a multiplier": (nn.Sequential(nn.Conv2d(16, 32, 3, groups=16), nn.Conv2d(32, 16, 1)), 8),
    "transposed, grouped": (nn.Sequential(nn.ConvTranspose2d(16, 32, 2, groups=4), nn.Conv2d(32, 16, 1)), 8),
    "gated": (nn.Sequential(nn.Conv2d(16, 32, 1), nn.GLU(1)), 8),
    "repeat": (Step(lambda x: x.repeat(1, 2, 1, 1)[:, :16]), 16),
    "flip": (Step(lambda x: x.flip(1)), 8),
    "padding by reflection": (nn.ReflectionPad2d(1), 8),
    "squeeze and excite": (torchvision.ops.SqueezeExcitation(16, 4), 8),
    "softmax over space": (Step(lambda x: x * x.flatten(2).softmax(2).view_as(x)), 8),
    "einsum": (Step(lambda x: torch.einsum("nchw,nchw->nchw", x, x)), 8),
    "in place": (Step(lambda x: F.relu(x, inplace=True).add_(1)), 8),
}


@pytest.mark.parametrize(("step", "left"), CUT.values(), ids=CUT)
def test_a_step_that_channels_pass_one_by_one_shrinks(step, left):
    torch.manual_seed(0)
    model = Body(step)
    smaller = structured.prune_channels(model, X, 0.5)
    assert smaller.first.out_channels == left
    with torch.no_grad():
        assert smaller(X).shape == (2, 4)


FIXED = {
    "softmax over channels": (lambda x: x.softmax(1), "step: softmax works over all channels at once"),
    "mean over channels": (lambda x: x * x.mean(1, keepdim=True), "step: mean works over all channels at once"),
    "a sum with fixed numbers": (
        lambda x: x + torch.ones(16, 1, 1),
        "step: add is combined with something whose size is fixed",
    ),
    "unknown": (lambda x: torch.fft.fft(x, dim=1).real, "step: fft_fft is not known to channel pruning"),
    "sorted": (lambda x: x.sort(1).values, "step: sort is not known to channel pruning"),
    "one channel": (lambda x: x[:, 3:4].expand(-1, 16, -1, -1), "step: slice takes"),
    "functional norm": (lambda x: F.layer_norm(x, (16, 6, 6)), "step: layer_norm"),
    "sizes in the code": (lambda x: x.view(2, 16, 6, 6), "shape '[2, 16, 6, 6]' is invalid"),
}


@pytest.mark.parametrize(("function", "reason"), FIXED.values(), ids=FIXED)
def test_a_step_that_mixes_channels_is_left_alone_with_its_name(function, reason):
    torch.manual_seed(0)
    model = Body(Step(function))
    plan = structured.plan_channels(model, X, 0.5)
    assert reason in plan.left["first"]
    smaller = structured.prune_channels(model, X, 0.5)
    assert (smaller.first.out_channels, smaller.last.out_channels) == (16, 4)


def test_where_nothing_can_shrink_the_model_is_refused_with_every_reason():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), Step(lambda x: torch.fft.fft(x, dim=1).real))
    with pytest.raises(
        channel_graph.UnsupportedModel, match=r"no channel of Sequential can be removed\. 0: 1: fft_fft is not known"
    ):
        structured.plan_channels(model, X, 0.5)
    with pytest.raises(channel_graph.UnsupportedModel, match="No layer makes channels"):
        structured.plan_channels(nn.ReLU(), X, 0.5)


def test_a_model_that_decides_by_values_is_refused_with_the_line():
    model = Body(Step(lambda x: x if x.sum() > 0 else -x))
    with pytest.raises(channel_graph.UnsupportedModel, match=r"cannot be traced: .*test_channel_graph.py, line \d+"):
        structured.prune_channels(model, X, 0.5)


def test_an_example_of_the_wrong_shape_is_an_error_with_the_shape_and_the_place():
    with pytest.raises(ValueError, match=r"Body cannot run on the example of shape \(2, 4, 8, 8\).*line \d+") as caught:
        structured.prune_channels(Body(nn.ReLU()), torch.randn(2, 4, 8, 8), 0.5)
    assert not isinstance(caught.value, channel_graph.UnsupportedModel)


def test_a_recurrent_layer_keeps_its_sizes_and_the_rest_shrinks():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.lstm = nn.Embedding(50, 16), nn.LSTM(16, 16, batch_first=True)
            self.up, self.out = nn.Linear(16, 32), nn.Linear(32, 5)

        def forward(self, tokens):
            return {"tags": self.out(torch.relu(self.up(self.lstm(self.embed(tokens))[0])))}

    tokens = torch.randint(50, (2, 7))
    plan = structured.plan_channels(Tagger(), tokens, 0.5)
    assert [row[0] for row in plan.rows()] == ["up"]
    assert "lstm is not known to channel pruning" in plan.left["embed"]


def test_what_is_shared_or_frozen_stays_so():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1))
    model[2].weight = model[1].weight
    model[0].requires_grad_(False)
    smaller = structured.prune_channels(model, X, 0.5)
    assert smaller[1].weight is smaller[2].weight
    assert smaller[1].weight.shape == (4, 4, 1, 1)
    assert not smaller[0].weight.requires_grad and smaller[1].weight.requires_grad


def test_computed_weights_become_plain_and_the_given_model_keeps_its_own():
    model = architectures.WeightNorm()
    smaller = structured.prune_channels(model, X, 0.5)
    assert nn.utils.parametrize.is_parametrized(model.body[0]) and model(X).shape == (2, 10)
    assert isinstance(smaller.body[0].weight, nn.Parameter)
    assert type(smaller.body[0]) is nn.Conv2d
