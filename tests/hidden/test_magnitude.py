"""Hidden checks of lesson 02: as in tests/test_magnitude.py, with cases drawn from the instructor's seed."""

import math

import numpy as np
import torch
from torch import nn

from tinyshrink import checking, magnitude


def test_mask_on_drawn_scores():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for shape in ((31,), (12, 10), (5, 4, 3, 3), ()):
        drawn = torch.randn(shape, generator=generator)
        for case, scores in (
            ("plain", drawn),
            ("tiny", drawn * 1e-7),
            ("nearly equal", 1 + drawn.double() * 1e-9),
            ("with many ties", (2 * drawn).round()),
            ("transposed", drawn.permute(tuple(reversed(range(drawn.ndim))))),
            *((str(dtype), drawn.to(dtype)) for dtype in (torch.float16, torch.bfloat16, torch.float64)),
        ):
            sparsity = torch.rand((), generator=generator).item()
            order = scores.double().numpy().ravel().argsort(kind="stable")
            expected = np.ones(scores.numel(), dtype=bool)
            expected[order[: round(sparsity * scores.numel())]] = False
            mask = magnitude.magnitude_mask(scores, sparsity)
            said = f"{case} scores of shape {tuple(scores.shape)} at sparsity {sparsity:.3f}"
            assert mask.dtype == torch.bool and mask.shape == scores.shape, f"{said}: got {mask.dtype} {mask.shape}"
            want, got = int((~expected).sum()), int((~mask).sum())
            assert got == want, f"{said}: {want} should go, got {got}"
            assert np.array_equal(mask.numpy().ravel(), expected), f"{said}: the wrong {got} went"


def test_mask_equals_that_of_torch():
    from torch.nn.utils.prune import l1_unstructured

    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for outputs, inputs in torch.randint(1, 30, (5, 2), generator=generator).tolist():
        layer = nn.Linear(inputs, outputs)
        values = torch.randperm(outputs * inputs, generator=generator) + 1.0
        layer.weight.data = torch.where(values % 3 == 0, -values, values).view(outputs, inputs)
        sparsity = torch.rand((), generator=generator).item()
        mask = magnitude.magnitude_mask(layer.weight.detach().abs(), sparsity)
        theirs = l1_unstructured(layer, "weight", amount=sparsity).weight_mask.bool()
        wrong = int((mask != theirs).sum())
        assert wrong == 0, f"{outputs} x {inputs} at {sparsity:.3f}: {wrong} places differ from l1_unstructured"


def test_global_masks_on_drawn_layers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for count, ties in ((1, False), (3, False), (5, False), (3, True), (5, True)):
        scores = {}
        for layer in torch.randperm(count, generator=generator).tolist():
            shape = torch.randint(1, 7, (1 + layer % 4,), generator=generator).tolist()
            drawn = torch.randn(shape, generator=generator) * 2**layer
            drawn = drawn.transpose(0, -1) if layer % 2 else drawn  # as a transposed weight lies in memory
            scores[f"layer{layer}.weight"] = drawn.round() if ties else drawn
        sparsity = torch.rand((), generator=generator).item()
        flat = np.concatenate([layer.numpy().ravel() for layer in scores.values()])
        expected = np.ones(flat.size, dtype=bool)
        expected[flat.argsort(kind="stable")[: round(sparsity * flat.size)]] = False
        masks = magnitude.global_masks(scores, sparsity)
        assert set(masks) == set(scores), f"expected masks for {list(scores)}, got {list(masks)}"
        for name, layer in scores.items():
            said = f"{name} of {list(scores)} at sparsity {sparsity:.3f}{', with ties' if ties else ''}"
            mine, expected = torch.from_numpy(expected[: layer.numel()]), expected[layer.numel() :]
            assert masks[name].dtype == torch.bool, f"{said}: expected bool, got {masks[name].dtype}"
            assert masks[name].shape == layer.shape, f"{said}: expected {layer.shape}, got {masks[name].shape}"
            assert torch.equal(masks[name].flatten(), mine), f"{said}: the wrong scores were removed"


def test_global_masks_equal_those_of_torch():
    from torch.nn.utils.prune import L1Unstructured, global_unstructured

    generator = torch.Generator().manual_seed(checking.hidden_seed())
    layers = {"first": nn.Linear(7, 9), "conv": nn.Conv2d(2, 3, 3), "last": nn.Conv1d(4, 5, 2)}
    values = torch.randperm(157, generator=generator) - 78.25  # 63, 54 and 40 weights
    for layer, part in zip(layers.values(), values.split((63, 54, 40))):
        layer.weight.data = part.view(layer.weight.shape)
    sparsity = torch.rand((), generator=generator).item()
    masks = magnitude.global_masks({name: layer.weight.detach().abs() for name, layer in layers.items()}, sparsity)
    global_unstructured([(layer, "weight") for layer in layers.values()], L1Unstructured, amount=sparsity)
    for name, layer in layers.items():
        wrong = int((masks[name] != layer.weight_mask.bool()).sum())
        assert wrong == 0, f"{name} at {sparsity:.3f}: {wrong} places differ from torch's global_unstructured"


def test_apply_masks_holds_through_training():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for optimizer_of in (
        lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.01),
        lambda parameters: torch.optim.AdamW(parameters, 0.01, weight_decay=0.1),
    ):
        model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Sequential(nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 2)))
        masks = magnitude.Masks()
        for name in ("0.weight", "2.0.weight", "2.2.bias"):
            masks[name] = torch.rand(model.get_parameter(name).shape, generator=generator) < 0.5
        given = {name: mask.clone() for name, mask in masks.items()}
        optimizer = optimizer_of(model.parameters())
        with masks.hold(model):
            before = {name: value.detach().clone() for name, value in model.named_parameters()}
            for _ in range(4):
                optimizer.zero_grad()
                (model(torch.randn(8, 2, 4, generator=generator)) - 1).square().sum().backward()
                optimizer.step()
        for name, mask in given.items():
            assert torch.equal(masks[name], mask), f"the mask of {name} was changed"
            zeros = int((model.get_parameter(name)[~mask] == 0).sum())
            assert zeros == int((~mask).sum()), f"{name}: of {int((~mask).sum())} removed weights {zeros} stayed zero"
        for name in ("2.2.weight", "2.2.bias"):  # the last layer: masks before it cannot cut it off from the loss
            value = model.get_parameter(name)
            moved = (value != before[name])[given.get(name, torch.ones_like(value, dtype=torch.bool))]
            assert moved.all(), f"{name}: of {len(moved)} weights left only {int(moved.sum())} were trained"
        optimizer.step()
        free = model.get_parameter("2.2.bias")[~given["2.2.bias"]]
        assert free.all(), f"2.2.bias: {int((free == 0).sum())} removed values cannot move though nothing holds them"


def test_polynomial_on_drawn_points():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for start, end, progress, power in torch.rand(30, 4, generator=generator, dtype=torch.float64).tolist():
        for exponent in (1, 3, 5 * power):
            got = magnitude.polynomial(start, end, progress, exponent)
            expected = np.interp(1 - (1 - progress) ** exponent, [0, 1], [start, end])
            case = f"from {start:.4f} to {end:.4f} at progress {progress:.4f} with power {exponent:.4f}"
            assert abs(got - expected) < 1e-9, f"{case}: expected {expected:.6f}, got {got:.6f}"
        default = magnitude.polynomial(start, end, progress)
        assert abs(default - magnitude.polynomial(start, end, progress, 3)) < 1e-12, "without a power it is the cubic"


def test_exponential_on_drawn_points():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for low, gap, progress in torch.rand(30, 3, generator=generator, dtype=torch.float64).tolist():
        start, end = 0.9 * low, 0.9 * low + 0.01 + (0.98 - 0.9 * low) * gap
        got = magnitude.exponential(start, end, progress)
        logs = [math.log(1 - start), math.log(1 - end)]  # the density's logarithm falls in a straight line
        expected = 1 - math.exp(np.interp(progress, [0, 1], logs))
        case = f"from {start:.4f} to {end:.4f} at progress {progress:.4f}"
        assert abs(got - expected) < 1e-9, f"{case}: expected {expected:.6f}, got {got:.6f}"


def test_prune_on_drawn_models():
    from torch.nn.utils.prune import L1Unstructured, global_unstructured, l1_unstructured

    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for scope in ("global", "layer", "default"):
        layers = {"conv": nn.Conv1d(2, 4, 3), "norm": nn.BatchNorm1d(4), "flat": nn.Flatten()}
        layers |= {"block": nn.Sequential(nn.Linear(8, 6), nn.ReLU()), "left": nn.Linear(6, 5), "out": nn.Linear(5, 3)}
        model = nn.ModuleDict(layers)
        pruned = {"conv.weight": model.conv, "block.0.weight": model.block[0], "out.weight": model.out}
        values = torch.randperm(24 + 48 + 15, generator=generator) - 43.25
        for layer, part in zip(pruned.values(), values.split((24, 48, 15))):
            layer.weight.data = part.reshape(layer.weight.shape)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        sparsity = 0.1 + 0.5 * torch.rand((), generator=generator).item()
        options = {} if scope == "default" else {"scope": scope}
        masks = magnitude.prune(model, sparsity, ignore=["left.weight"], **options)
        after = {name: value.clone() for name, value in model.state_dict().items()}
        for name, layer in pruned.items():
            layer.weight.data = before[name]
            if scope == "layer":
                l1_unstructured(layer, "weight", amount=sparsity)
        if scope != "layer":
            global_unstructured([(layer, "weight") for layer in pruned.values()], L1Unstructured, amount=sparsity)
        expected = before | {name: layer.weight.detach() for name, layer in pruned.items()}
        assert list(after) == list(before), f"the model now holds {list(after)}"
        as_before = model.training and all(parameter.requires_grad for parameter in model.parameters())
        assert as_before, "pruning should not freeze the model or put it into eval mode"
        wrong = [name for name in before if not torch.equal(after[name], expected[name])]
        assert not wrong, f"scope {scope}, sparsity {sparsity:.3f}: torch would leave other values in {wrong}"
        assert {name: mask.sum() for name, mask in masks.items()} == {n: (after[n] != 0).sum() for n in pruned}, masks


def test_prune_takes_what_lies_inside_a_layer_and_refuses_an_unknown_one():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    width, sparsity = int(torch.randint(2, 6, (), generator=generator)), torch.rand((), generator=generator).item()
    model = nn.Sequential(nn.Sequential(nn.Linear(width, 3), nn.Linear(3, width)), nn.Conv2d(1, 2, width))
    masks = magnitude.prune(model, sparsity, "layer", "random", ignore=("0",))
    assert list(masks) == ["1.weight"], f"all of block 0 was to be left alone, got masks for {list(masks)}"
    total, removed = 2 * width**2, int((~masks["1.weight"]).sum())
    assert removed == round(sparsity * total), f"{removed} of {total} removed at random, asked were {sparsity:.3f}"
    error = None
    try:
        magnitude.prune(model, sparsity, ignore=("0.2",))
    except Exception as raised:
        error = raised
    assert isinstance(error, ValueError), f"ignoring a layer 0.2 that is not there should be a ValueError, got {error!r}"


def test_prune_counts_its_masks_and_not_the_zeros_that_it_finds():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 4))
    for name in ("0.weight", "1.weight"):
        model.get_parameter(name).data = torch.randn(model.get_parameter(name).shape, generator=generator)
    magnitude.prune(model, 0.6)
    for scope in ("global", "layer"):
        masks = magnitude.prune(model, 0.25, scope)
        removed = sum(int((~mask).sum()) for mask in masks.values())
        assert removed == 35, f"25% of 140 weights, 84 of them zero before: masks that remove 35 expected, got {removed}"


def test_iterative_prune_on_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    drawn = [int(torch.randint(*span, (), generator=generator)) for span in ((0, 4), (2, 6), (30, 80))]
    kind, steps, removed = ("cubic", "linear", "exponential", "multistep")[drawn[0]], *drawn[1:]
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4))
    model[2].weight.data *= 1.3
    weights = {"0.weight": model[0].weight, "2.weight": model[2].weight}
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
    x, seen = torch.randn(16, 6, generator=generator), []

    def train(trained):
        zeros = [weight == 0 for weight in weights.values()]
        seen.append(sum(int(zero.sum()) for zero in zeros))
        for _ in range(3):
            optimizer.zero_grad()
            (trained(x) - 1).square().mean().backward()
            optimizer.step()
        moved = sum(int(weight[zero].count_nonzero()) for weight, zero in zip(weights.values(), zeros))
        assert moved == 0, f"{kind}: {moved} removed weights moved while training"

    masks = magnitude.iterative_prune(model, removed / 100, steps, train, kind)
    level = magnitude.schedule(kind, 0, removed / 100, steps)
    expected = [round(100 * level(step)) for step in range(1, steps + 1)]
    near = len(seen) == steps and all(abs(got - want) <= 1 for got, want in zip(seen, expected))
    assert near, f"{kind} to {removed} of 100 in {steps} steps: expected trainings at {expected} zeros, got {seen}"
    for name, weight in weights.items():
        assert torch.equal(weight != 0, masks[name]), f"the weights left of {name} are not those of its mask"
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert kept == 100 - removed, f"{removed} of 100 to remove, the masks keep {kept}"
    optimizer.step()  # by its momentum
    free = sum(int(weight[~masks[name]].count_nonzero()) for name, weight in weights.items())
    assert free > 0, "once iterative_prune is done the model is the user's again, yet the masks are still held"


def test_nm_mask_on_drawn_scores():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for shape, m in (((24,), 4), ((5, 16), 4), ((4, 8, 3, 2), 4), ((4, 6, 2, 2), 8), ((3, 2, 15), 5), ((7, 6), 2)):
        drawn = torch.randn(shape, generator=generator)
        turned = torch.randn(shape[::-1], generator=generator).permute(tuple(reversed(range(len(shape)))))
        for scores in (drawn, drawn.round(), turned, drawn.half(), drawn.bfloat16() * 1e-3):
            n = int(torch.randint(1, m, (), generator=generator))
            groups = scores.double().numpy().reshape(-1, m)
            expected = np.ones(groups.shape, dtype=bool)
            np.put_along_axis(expected, groups.argsort(1, kind="stable")[:, : m - n], False, 1)
            mask = magnitude.nm_mask(scores, n, m)
            said = f"{n}:{m} of {scores.dtype} {tuple(shape)}"
            assert mask.dtype == torch.bool and mask.shape == shape, f"{said}: got {mask.dtype} {tuple(mask.shape)}"
            kept = mask.reshape(-1, m).sum(1).unique().tolist()
            assert kept == [n], f"{said}: expected {n} kept of every {m} neighbours, got {kept}"
            assert np.array_equal(mask.numpy().reshape(-1, m), expected), f"{said}: not the largest, or ties not in order"


def test_taylor_scores_on_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for shape in ((3, 4), (2, 3, 2), (5,)):
        slope = torch.randn(shape, generator=generator, dtype=torch.float64)
        weight = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        (weight * slope).sum().backward()  # a loss linear in each weight: the first order is all there is
        before = weight.detach().clone()
        scores = magnitude.taylor_scores(weight)
        assert scores.shape == weight.shape, f"expected one score a weight, {tuple(shape)}, got {tuple(scores.shape)}"
        for index in np.ndindex(*shape):
            without = before.clone()
            without[index] = 0
            change = abs(((without - before) * slope).sum().item())
            got = scores[index].item()
            assert abs(got - change) < 1e-9, f"weight {index} at zero changes the loss by {change:.6f}, its score is {got:.6f}"
        unchanged = torch.equal(weight, before) and torch.equal(weight.grad, slope)
        assert unchanged and not scores.requires_grad, "only look: weight and gradient stay, the scores are detached"


def test_lottery_ticket_on_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    rounds, removed = (int(torch.randint(*span, (), generator=generator)) for span in ((2, 5), (30, 70)))
    model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Linear(16, 4), nn.Linear(4, 5))
    model[3].weight.data += model[3].weight.data.sign()  # one ranking spares this layer
    weights = {"0.weight": model[0].weight, "3.weight": model[3].weight}
    init = {name: value.clone() for name, value in model.state_dict().items()}
    given = {name: value.clone() for name, value in init.items()}
    x, left, last = torch.randn(16, 5, generator=generator), [], {}

    def train(trained):
        zeros = [weight == 0 for weight in weights.values()]
        left.append(100 - sum(int(zero.sum()) for zero in zeros))
        optimizer = torch.optim.AdamW(trained.parameters(), 0.05, weight_decay=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            (trained(x) - 1).square().mean().backward()
            optimizer.step()
        moved = sum(int(weight[zero].count_nonzero()) for weight, zero in zip(weights.values(), zeros))
        assert moved == 0, f"{moved} removed weights moved while training: hold the masks"
        last.update({name: weight.detach().abs().clone() for name, weight in weights.items()})

    masks = magnitude.lottery_ticket(model, init, removed / 100, rounds, train, ignore=("2",))
    expected = [round(100 * (1 - removed / 100) ** (done / rounds)) for done in range(rounds)]
    near = len(left) == rounds and all(abs(got - want) <= 1 for got, want in zip(left, expected))
    assert near, f"to {removed} of 100 in {rounds} rounds: trainings with {expected} weights left expected, got {left}"
    assert isinstance(masks, magnitude.Masks), f"expected Masks, got {type(masks).__name__}"
    should = magnitude.global_masks(last, removed / 100)
    right = set(masks) == set(should) and all(torch.equal(masks[name], should[name]) for name in should)
    assert right, "the last masks should remove the smallest trained weights of all layers but the ignored one"
    for name, value in model.state_dict().items():
        ticket = torch.where(should[name], given[name], 0) if name in should else given[name]
        assert torch.equal(value, ticket), f"{name} of the ticket should be its value in init, where it is not removed"
        assert torch.equal(init[name], given[name]), f"{name} of init was changed"
    assert all(model.get_parameter(name) is weight for name, weight in weights.items()), "keep the Parameter objects"
