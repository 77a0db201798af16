"""Constructions that once crashed channel pruning, broke the smaller model, or were left alone without need."""

import copy
import json
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from tinyshrink import channel_graph, channel_plan, structured


class Net(nn.Module):
    """Three convolutions around a step, and a head."""

    def __init__(self, step=lambda net, x: x, **layers):
        super().__init__()
        self.first, self.last, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3), nn.Linear(8, 5)
        self.norm, self.step = nn.BatchNorm2d(16), step
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.head(self.last(self.step(self, torch.relu(self.norm(self.first(x))))).mean((2, 3)))


def silenced(model, plan, layer, *readers):
    """`model` with zeros in place of what the plan removes of the output of `layer`, for the layers that read it."""
    model, indices = copy.deepcopy(model).eval(), plan.indices()
    gone = torch.ones(model.get_submodule(layer).weight.shape[0], dtype=torch.bool)
    gone[indices[f"{layer}.weight"][0]] = False
    for reader in readers:
        hook = lambda _, args: (args[0].masked_fill(gone.view(-1, 1, 1), 0), *args[1:])
        model.get_submodule(reader).register_forward_pre_hook(hook)
    return model


def pruned(model, **options):
    """The model and its smaller one on an example, both in eval mode, and the plan."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 12, 12)
    return structured.prune_channels(model, x, 0.5, **options), structured.plan_channels(model, x, 0.5, **options), x


def no_grad(net, x):
    with torch.no_grad():
        return net.inner(x)


def autocast(net, x):
    with torch.autocast("cpu", enabled=False):
        return net.inner(x)


def roll(net, x):
    return net.inner(x.roll((1, 2), (2, 3)))


def turn(net, x):
    return net.inner(x.mT.swapdims(2, 3)).moveaxis(1, 3).moveaxis(3, 1)


def cast(net, x):
    return net.inner(x.float().to(torch.float32))


def recompute(net, x):
    return checkpoint(net.inner, x, use_reentrant=True)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("step", [no_grad, autocast, roll, turn, cast, recompute], ids=lambda step: step.__name__)
def test_channels_go_through_what_only_moves_them_or_sets_a_mode(step):
    model = Net(step, inner=nn.Conv2d(16, 16, 1)).eval()
    smaller, plan, x = pruned(model, ignore=["last"])
    assert smaller.first.out_channels == 8 and smaller.inner.weight.shape[:2] == (8, 8)
    expected = silenced(silenced(model, plan, "first", "inner"), plan, "inner", "last")
    torch.testing.assert_close(smaller.eval()(x), expected(x), rtol=1e-4, atol=1e-5)


def test_patches_cut_by_unfold_lose_their_channels():
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.Unfold(4, stride=4), nn.Conv1d(128, 16, 1), nn.ReLU(), nn.Conv1d(16, 5, 1)
    model = nn.Sequential(*layers)
    smaller, _, x = pruned(model)
    assert smaller[2].weight.shape == (8, 64, 1) and smaller(x).shape == model(x).shape


def test_a_transposed_convolution_with_several_inputs_and_one_output_a_group_keeps_its_outputs():
    model = Net(lambda net, x: net.up(x).repeat(1, 4, 1, 1), up=nn.ConvTranspose2d(16, 4, 2, 2, groups=4)).eval()
    smaller, plan, x = pruned(model, ignore=["last"])
    assert smaller.up.weight.shape == (8, 1, 2, 2) and smaller.first.out_channels == 8
    torch.testing.assert_close(smaller(x), silenced(model, plan, "first", "up")(x), rtol=1e-4, atol=1e-5)


def test_a_layer_that_runs_only_in_training_still_fits():
    def step(net, x):
        return x if not net.training else x + 0 * net.auxiliary(x.mean((2, 3))).sum()

    model = Net(step, auxiliary=nn.Linear(16, 3))
    plan = structured.plan_channels(model, torch.randn(2, 3, 12, 12), 0.5)
    assert plan.left["first"].startswith("auxiliary: ")
    smaller = structured.prune_channels(model, torch.randn(2, 3, 12, 12), 0.5)
    smaller.train()(torch.randn(2, 3, 12, 12)).sum().backward()


def test_one_norm_under_two_names_is_one_norm():
    norm = nn.LayerNorm(16)
    model = Net(lambda net, x: net.b(net.a(x.permute(0, 2, 3, 1)) + 1).permute(0, 3, 1, 2), a=norm, b=norm)
    smaller, _, _ = pruned(model)
    assert smaller.a is smaller.b and smaller.a.normalized_shape == (8,)


def test_channels_that_only_go_all_together_are_left_alone_and_the_rest_shrinks():
    model = Net(lambda net, x: net.each(x), each=nn.GroupNorm(16, 16))
    plan = structured.plan_channels(model, torch.randn(2, 3, 12, 12), 0.75)
    assert plan.left["first"] == "no channel can go alone"
    assert plan.rows() == [("last", "", 8, 2)]


@pytest.mark.parametrize(
    "step",
    [
        lambda net, x: torch.convolution(x, net.inner.weight, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1),
        lambda net, x: torch.fix(net.inner(x)),
        lambda net, x: net.inner(x) * F.linear(x.mean((2, 3)), net.inner.weight[0, :, 0, 0])[:, None, None, None],
        lambda net, x: torch.frexp(net.inner(x)).mantissa,
    ],
    ids=["torch.convolution", "torch.fix", "linear with a vector", "frexp"],
)
def test_a_rare_step_does_not_crash(step):
    smaller, _, x = pruned(Net(step, inner=nn.Conv2d(16, 16, 1)))
    assert smaller(x).shape == (2, 5)


def test_a_model_that_keeps_a_result_can_be_pruned():
    def step(net, x):
        net.seen = x
        return x

    model = Net(step)
    model(torch.randn(2, 3, 12, 12))
    before = model.seen
    smaller, _, _ = pruned(model)
    assert model.seen is before and smaller.first.out_channels == 8


def test_masks_of_torch_prune_are_cut_with_their_weights():
    model = Net()
    prune.l1_unstructured(model.last, "weight", 0.5)
    smaller, _, x = pruned(model)
    assert smaller.last.weight_mask.shape == smaller.last.weight_orig.shape == (8, 8, 3, 3)
    assert smaller(x).shape == (2, 5)


def test_a_model_that_cannot_be_copied_is_refused_with_the_reason():
    with pytest.raises(channel_graph.UnsupportedModel, match=r"Net cannot be copied .*lock"):
        pruned(Net(lock=threading.Lock()))


def test_logits_of_minus_infinity_are_equal_to_themselves():
    masked = torch.tensor([0.0, -float("inf")])
    assert channel_plan.difference(torch.tensor([1.0, 2.0]) + masked, torch.tensor([1.0, 5.0]) + masked) == 0
    assert channel_plan.difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]) + masked) == float("inf")


def test_half_precision_is_proved_in_double():
    torch.manual_seed(2)  # here two half-precision results differ by more than the tolerance
    layers = [layer for _ in range(3) for layer in (nn.Linear(256, 256), nn.ReLU())]
    model, x = nn.Sequential(nn.Linear(20, 256), *layers, nn.Linear(256, 5)).half(), torch.randn(8, 20).half()
    smaller = structured.prune_channels(model, x, 0.5)
    assert smaller[0].out_features == 128 and smaller[0].weight.dtype == torch.float16


def test_the_proof_leaves_no_trace_in_buffers_and_inputs():
    def step(net, x):
        net.calls.add_(1)
        return x

    model = Net(step)
    model.register_buffer("calls", torch.zeros(()))
    model.first.register_forward_pre_hook(lambda _, args: (args[0].mul_(2),))
    x = torch.randn(2, 3, 12, 12)
    before = x.clone()
    smaller = structured.prune_channels(model, x, 0.5)
    assert smaller.calls == model.calls == 0 and torch.equal(x, before)


def test_a_table_in_a_buffer_keeps_its_values_in_the_proof():
    model = Net(lambda net, x: x * net.table.sqrt().log().sum())
    model.register_buffer("table", torch.full((2, 4), 0.5))
    smaller, _, _ = pruned(model)
    assert smaller.first.out_channels == 8


def test_a_tensor_without_elements_is_no_obstacle():
    model = Net()
    model.register_buffer("cache", torch.empty(0, 16))
    assert pruned(model)[0].first.out_channels == 8


@pytest.mark.parametrize("kept", [[0, 99], [-1, 3], [], [1, 1], ["1"], 3, None], ids=str)
def test_a_plan_file_with_channels_that_are_not_there_is_refused(kept, tmp_path):
    structured.plan_channels(Net(), torch.randn(2, 3, 12, 12), 0.5).save(tmp_path / "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["kept"][0] = kept
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=r"plan\.json holds no channel plan"):
        channel_plan.ChannelPlan.load(tmp_path / "plan.json")


@pytest.mark.parametrize("make", [torch.optim.Adafactor, torch.optim.LBFGS])
def test_an_optimizer_whose_memory_cannot_be_cut_is_refused_and_left_as_it_was(make):
    model, x = Net(), torch.randn(2, 3, 12, 12)
    optimizer = make(model.parameters())

    def loss():
        optimizer.zero_grad()
        value = model(x).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    with pytest.raises(ValueError, match=f"{make.__name__} remembers .* make a new optimizer"):
        structured.prune_channels(model, x, 0.5, optimizer=optimizer)
    optimizer.step(loss)
