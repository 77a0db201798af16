"""Plans: their files, what is cut, the masked model, the proof, and the optimizer that goes on."""

import copy

import pytest
import torch
from torch import nn

from tinyshrink import channel_plan, models, structured

X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def digits_plan(amount=0.5):
    torch.manual_seed(0)
    model = models.DigitsCNN().eval()
    return model, structured.plan_channels(model, X, amount)


def test_slice_tensor_keeps_the_listed_indices_in_the_order_of_the_list():
    tensor = torch.arange(24.0).view(2, 3, 4)
    part = channel_plan.slice_tensor(tensor, {1: torch.tensor([2, 0]), 2: [1]})
    assert part.tolist() == [[[9.0], [1.0]], [[21.0], [13.0]]]
    whole = channel_plan.slice_tensor(tensor, {})
    whole.zero_()
    assert tensor.sum() > 0


def test_a_plan_comes_back_from_its_file_and_gives_the_same_model(tmp_path):
    model, plan = digits_plan()
    plan.save(tmp_path / "plan.json")
    again = channel_plan.ChannelPlan.load(tmp_path / "plan.json")
    assert again.rows() == plan.rows() and again.left == plan.left
    with torch.no_grad():
        assert torch.equal(structured.remove_channels(model, again)(X), structured.remove_channels(model, plan)(X))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"groups": [], "kept": 3}', '{"groups": [{"size": 1}], "kept": []}'])
def test_a_file_that_holds_something_else_is_an_error_with_its_name(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"plan.json holds no channel plan"):
        channel_plan.ChannelPlan.load(path)


def test_a_plan_for_another_model_is_refused_with_the_tensor_that_differs():
    _, plan = digits_plan()
    for function in (structured.remove_channels, structured.mask_channels):
        with pytest.raises(ValueError, match=r"made for another model: bn1.bias has shape \[32\] in the plan and \[16\]"):
            function(models.DigitsCNN(width=16), plan)
        with pytest.raises(ValueError, match="made for another model"):
            function(models.LeNet5(), plan)


def test_the_layers_count_what_they_have():
    model, plan = digits_plan(0.75)
    smaller = structured.remove_channels(model, plan)
    assert (smaller.conv2.in_channels, smaller.conv2.out_channels, smaller.bn2.num_features) == (8, 16, 16)
    assert (smaller.fc1.in_features, smaller.fc1.out_features, smaller.fc2.out_features) == (128, 72, 10)
    assert model.conv2.out_channels == 64


def test_the_masked_model_has_zeros_where_the_smaller_one_has_nothing():
    model, plan = digits_plan()
    masked, kept = structured.mask_channels(model, plan), plan.indices()["conv1.weight"][0].tolist()
    silent = [i for i in range(32) if i not in kept]
    assert masked.conv1.weight[silent].count_nonzero() == 0 and masked.conv1.weight.shape == model.conv1.weight.shape
    assert torch.equal(masked.conv1.weight[kept], model.conv1.weight[kept])
    assert masked.conv2.weight[:, silent].count_nonzero() == 0 and masked.bn1.bias[silent].count_nonzero() == 0


def test_layer_norm_takes_its_statistics_over_the_kept_channels():
    torch.manual_seed(0)
    norm, x = nn.LayerNorm(6), torch.randn(3, 6)
    kept = torch.tensor([0, 2, 5])
    masked = channel_plan.mask_tensors(nn.Sequential(norm), {key: {0: kept} for key in ("0.weight", "0.bias", "0.channels")})
    expected = torch.zeros(3, 6)
    expected[:, kept] = nn.functional.layer_norm(x[:, kept], (3,))
    torch.testing.assert_close(masked(x), expected)


@pytest.mark.parametrize("wrong", ["another channel", "another order", "not cut"])
def test_the_proof_fails_for_a_wrongly_cut_tensor(wrong, monkeypatch):
    model, right = digits_plan()
    honest = channel_plan.slice_tensor

    def slice_tensor(tensor, kept):
        if tensor.shape == (64, 32, 3, 3):
            change = {"another channel": lambda k: (k + 1) % 32, "another order": lambda k: k.roll(1)}.get(wrong)
            kept = {dim: change(k) if change and dim == 1 else k for dim, k in kept.items() if change or dim != 1}
        return honest(tensor, kept)

    monkeypatch.setattr(channel_plan, "slice_tensor", slice_tensor)
    plan = structured.plan_channels(model, X, 0.5)
    assert {"conv1", "conv2"} & set(plan.left), "what cannot be cut correctly must be left alone"
    monkeypatch.setattr(structured, "plan_channels", lambda *_, **__: right)
    with pytest.raises(structured.UnsupportedModel, match="DigitsCNN is not equal to the masked one"):
        structured.prune_channels(model, X, 0.5)


def test_silent_channels_do_not_hide_a_wrong_cut():
    torch.manual_seed(0)
    model = models.CifarCNN(width=4, blocks=1)
    for module in model.modules():
        if isinstance(module, models.ResidualBlock):
            nn.init.zeros_(module.bn2.weight)  # as fresh residual networks are often made: the block adds nothing
    loud = channel_plan.randomized(model)
    x = torch.randn(2, 3, 16, 16)
    plan = structured.plan_channels(model, x, 0.5)
    wrong = copy.deepcopy(plan)
    wrong.kept[1] = [1 - channel if channel < 2 else channel for channel in wrong.kept[1]] or [0]
    smaller, masked = structured.remove_channels(loud, plan), structured.mask_channels(loud, wrong)
    if wrong.kept != plan.kept:
        assert channel_plan.find_fault(smaller, masked, (x,)) is not None
    assert channel_plan.find_fault(smaller, structured.mask_channels(loud, plan), (x,)) is None


def test_difference_is_relative_to_the_largest_number_and_refuses_other_shapes():
    assert channel_plan.difference(torch.tensor([1.0, 99.0]), torch.tensor([1.0, 100.0])) == pytest.approx(0.01)
    assert channel_plan.difference({"a": torch.zeros(2)}, {"a": torch.zeros(2)}) == 0
    assert channel_plan.difference(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")
    with pytest.raises(ValueError, match=r"shape \(3,\) in place of \(2,\)"):
        channel_plan.difference(torch.zeros(3), torch.zeros(2))


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), lambda p: torch.optim.Adam(p, 0.01)])
def test_an_optimizer_goes_on_with_its_memory_of_the_kept_channels(make):
    torch.manual_seed(0)
    model = models.DigitsCNN()
    optimizer = make(model.parameters())
    model(X).square().mean().backward()
    optimizer.step()
    remembered = {name: copy.deepcopy(optimizer.state[p]) for name, p in model.named_parameters()}
    plan = structured.plan_channels(model, X, 0.5)
    smaller = structured.prune_channels(model, X, 0.5, optimizer=optimizer)
    assert [p for group in optimizer.param_groups for p in group["params"]] == list(smaller.parameters())
    indices = plan.indices()
    for name, parameter in smaller.named_parameters():
        for key, value in optimizer.state[parameter].items():
            old = remembered[name][key]
            expected = channel_plan.slice_tensor(old, indices.get(name, {})) if old.ndim else old
            assert torch.equal(value, expected), (name, key)
    smaller(X).square().mean().backward()
    optimizer.step()


def test_an_optimizer_of_another_model_is_refused_and_left_as_it_was():
    model, other = models.DigitsCNN(), models.DigitsCNN()
    optimizer = torch.optim.SGD(other.parameters(), 0.1)
    with pytest.raises(ValueError, match="make a new optimizer"):
        structured.prune_channels(model, X, 0.5, optimizer=optimizer)
    assert list(other.parameters()) == optimizer.param_groups[0]["params"]


def test_a_model_that_is_random_or_not_finite_is_refused_with_the_reason():
    class Noisy(nn.Sequential):
        def forward(self, x):
            return super().forward(nn.functional.dropout(x, 0.5, training=True))

    torch.manual_seed(0)
    with pytest.raises(structured.UnsupportedModel, match="others each time, also in eval mode"):
        structured.prune_channels(Noisy(nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 4)), X, 0.5)


@pytest.mark.parametrize("options", [{"amount": 0.001}, {"amount": 0.1, "round_to": 64}])
def test_an_amount_that_removes_nothing_is_an_error(options):
    with pytest.raises(ValueError, match=r"no channel goes from groups of 32, 64, 128, 288; raise amount or lower"):
        structured.plan_channels(models.DigitsCNN(), X, **options)


@pytest.mark.parametrize(
    "options", [{"amount": "0.5"}, {"amount": 0.5, "round_to": 1.5}, {"amount": 0.5, "ignore": [nn.ReLU()]}]
)
def test_arguments_of_another_kind_are_a_value_error(options):
    with pytest.raises(ValueError, match=r"got|does not have"):
        structured.plan_channels(models.DigitsCNN(), X, **options)
