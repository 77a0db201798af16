"""Hidden checks of lesson 03: as in tests/test_structured.py, with cases drawn from the instructor's seed."""

import numpy as np
import torch
from torch import nn

from tinyshrink import channel_plan, checking, models, structured


def test_filter_scores_on_drawn_weights():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for shape in ((7, 5), (40, 3, 3, 3), (1, 4, 2), (6, 2, 2, 1, 3), (5,)):
        weight, gradient = torch.randn((2, *shape), generator=generator)
        if len(shape) % 2 == 0:  # as the weight of a transposed convolution comes, not contiguous
            weight = weight.transpose(0, 1).contiguous().transpose(0, 1)
        for dtype, tolerance in ((torch.float32, 1e-3), (torch.float64, 1e-6)):
            rows = [row.ravel() for row in weight.double().numpy()]
            slopes = [row.ravel() for row in gradient.double().numpy()]
            for criterion, expected in (
                ("l1", [np.abs(row).sum() for row in rows]),
                ("l2", [np.sqrt((row**2).sum()) for row in rows]),
                ("geometric_median", [sum(np.linalg.norm(row - other) for other in rows) for row in rows]),
                ("taylor", [abs(row @ slope) for row, slope in zip(rows, slopes)]),
            ):
                wanted = {"gradient": gradient.to(dtype)} if criterion == "taylor" else {}
                got = structured.filter_scores(weight.to(dtype), criterion, **wanted)
                said = f"{criterion} of a {dtype} weight of shape {shape}"
                assert got.shape == shape[:1], f"{said}: expected {shape[0]} scores, got shape {tuple(got.shape)}"
                error = np.abs(got.double().numpy() - expected).max()
                assert error < tolerance * max(1, *np.abs(expected)), f"{said}: a score is off by {error:.2g}"


def test_kept_channels_on_drawn_scores():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for n in (1, 2, 9, 40, 300):
        for case, scores in (
            ("drawn", torch.randn(n, generator=generator)),
            ("many equal", torch.randn(n, generator=generator).round()),
            ("float64", 1 + 1e-9 * torch.randn(n, generator=generator, dtype=torch.float64)),
        ):
            amount = 0.95 * torch.rand((), generator=generator).item() if n > 9 else 0.5 * (n > 1)
            order = scores.double().numpy().argsort(kind="stable")
            expected = sorted(order[round(amount * n) :].tolist())
            got = structured.kept_channels(scores, amount)
            assert got.dtype == torch.int64, f"expected int64 indices, got {got.dtype}"
            assert len(got) == len(expected), f"{n} scores, amount {amount:.3f}: {len(expected)} stay, got {len(got)}"
            assert got.tolist() == expected, f"{n} scores ({case}), amount {amount:.3f}: the wrong ones stay"


def test_slice_tensor_on_drawn_shapes():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for shape in ((9,), (5, 8), (6, 4, 3, 3), (2, 3, 4, 5, 2)):
        for tensor in (torch.randn(shape, generator=generator), torch.randint(100, shape, generator=generator)):
            before, kept, expected = tensor.clone(), {}, tensor.numpy()
            for dim in torch.randperm(len(shape), generator=generator).tolist()[: 1 + len(shape) // 2]:
                number = int(torch.randint(1, shape[dim] + 1, (), generator=generator))
                kept[dim] = torch.randperm(shape[dim], generator=generator)[:number].sort().values
                expected = expected.take(kept[dim].numpy(), axis=dim)
            part = channel_plan.slice_tensor(tensor, kept)
            said = f"a tensor of shape {shape} with { {dim: indices.tolist() for dim, indices in kept.items()} }"
            assert part.dtype == tensor.dtype, f"{said}: expected {tensor.dtype}, got {part.dtype}"
            assert part.shape == expected.shape, f"{said}: expected shape {expected.shape}, got {tuple(part.shape)}"
            assert np.array_equal(part.numpy(), expected), f"{said}: the wrong part stays"
            assert torch.equal(tensor, before), f"{said}: the tensor itself was changed"


def test_remove_filters_on_drawn_layers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(6):
        filters, stride, kernel = (int(n) for n in torch.randint(2, 9, (3,), generator=generator))
        conv = nn.Conv2d(3, filters, 1 + kernel % 3, 1 + stride % 2, padding=1, bias=case % 2 == 0)
        norm, x = nn.BatchNorm2d(filters, eps=0.01).eval(), torch.randn(4, 3, 6, 7, generator=generator)
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.data = 0.5 + torch.rand(filters, generator=generator)
        size = conv(x).shape[2] * conv(x).shape[3]
        following = nn.Linear(filters * size, 5) if case < 3 else nn.Conv2d(filters, 4, 3, padding=2, dilation=2, bias=False)
        number = int(torch.randint(1, filters + 1, (), generator=generator))
        kept = torch.randperm(filters, generator=generator)[:number].sort().values
        mask = torch.zeros(filters, 1, 1).index_fill(0, kept, 1)
        before = [p.clone() for layer in (conv, norm, following) for p in layer.parameters()]
        first, second, third = structured.remove_filters(conv, norm, following, kept)
        flat = 1 if case < 3 else 3
        said = f"{filters} filters before {type(following).__name__}, kept {kept.tolist()}"
        got = third(second(first(x)).relu().flatten(flat))
        expected = following((norm(conv(x)).relu() * mask).flatten(flat))
        assert got.shape == expected.shape, f"{said}: expected an output {tuple(expected.shape)}, got {tuple(got.shape)}"
        error = (got - expected).abs().max() / expected.abs().max().clamp_min(0.01)  # a ReLU may silence all that is kept
        assert error < 1e-5, f"{said}: the smaller layers differ from the masked ones by {error:.2g}, relative"
        after = [p for layer in (conv, norm, following) for p in layer.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(before, after)), f"{said}: the given layers were changed"
        new = [p for layer in (first, second, third) for p in layer.parameters()]
        assert len(new) == len(after), f"{said}: {len(after)} parameters became {len(new)}"
        assert not {id(p) for p in new} & {id(p) for p in after}, f"{said}: old and new layers share a parameter"
        got.sum().backward()
        assert all(p.grad is not None for p in new), f"{said}: a new parameter cannot be trained"
        sizes = [first.out_channels, second.num_features, third.weight.shape[1]]
        assert sizes == [number, number, number * size if case < 3 else number], f"{said}: the layers say {sizes}"


def test_coupled_scores_on_drawn_layers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for layers in (1, 2, 5):
        scores = [2**layer * torch.rand(12, generator=generator) for layer in range(layers)]
        expected = sum(values.double().numpy() / values.double().numpy().mean() for values in scores) / layers
        got = structured.coupled_scores(scores)
        error = np.abs(got.numpy() - expected).max()
        assert got.shape == (12,) and error < 1e-4, f"{layers} layers: a score is off by {error:.2g}"
        scaled = structured.coupled_scores([values * 10**layer for layer, values in enumerate(scores)])
        error = (scaled - got).abs().max()
        assert error < 1e-4, f"a layer times 10 must not change anything, a score changed by {error:.2g}"


def test_iterative_channel_prune_on_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    example = torch.ones(1, 3, 4, 4)
    for steps in (1, 2, 4):
        width = int(torch.randint(20, 60, (), generator=generator))
        amount = 0.2 + 0.6 * torch.rand((), generator=generator).item()
        model = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(4 * width, 2))
        seen, left, expected = [], width, []
        for _ in range(steps):
            left -= round((1 - (1 - amount) ** (1 / steps)) * left)
            expected.append(left)

        def train(trained, seen=seen):
            seen.append((trained[0].out_channels, trained[1].num_batches_tracked.item()))
            trained[1].num_batches_tracked += 1

        result = structured.iterative_channel_prune(model, example, amount, steps, train)
        said = f"{width} channels, amount {amount:.3f}, {steps} steps"
        assert [size for size, _ in seen] == expected, f"{said}: train should see {expected} channels, it saw {seen}"
        assert [count for _, count in seen] == list(range(steps)), f"{said}: a step did not go on with the model of the last"
        counts = result[1].num_batches_tracked.item(), model[1].num_batches_tracked.item()
        assert counts == (steps, 0), f"{said}: the result was trained {counts[0]} times, the given model {counts[1]} times"


def test_drop_layers_on_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for depth in (1, 4, 7):
        model = models.Transformer(width=8, depth=depth, heads=2)
        number = int(torch.randint(1, depth + 1, (), generator=generator))
        keep = torch.randperm(depth, generator=generator)[:number].tolist()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        smaller = structured.drop_layers(model, keep)
        expected = {name: value for name, value in before.items() if not name.startswith("layers.")}
        for place, position in enumerate(sorted(keep)):
            start = f"layers.{position}."
            expected |= {f"layers.{place}.{n.removeprefix(start)}": v for n, v in before.items() if n.startswith(start)}
        got = smaller.state_dict()
        assert got.keys() == expected.keys(), f"keep {keep} of {depth}: the new model holds {list(got)}"
        wrong = [name for name, value in expected.items() if not torch.equal(got[name], value)]
        assert not wrong, f"keep {keep} of {depth}: {', '.join(wrong)} come from another layer"
        for parameter in smaller.parameters():
            nn.init.zeros_(parameter)
        same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert same and len(model.layers) == depth, f"keep {keep} of {depth}: the given model changes with the new one"


def test_head_scores_on_drawn_attentions():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for heads, left in ((2, 2), (4, 4), (4, 3), (3, 1)):
        attention = models.Attention(12, heads)
        size = attention.head_dim
        if left < heads:  # as after a pruning of heads
            attention.heads = left
            for layer in (attention.query, attention.key, attention.value):
                layer.weight = nn.Parameter(layer.weight[: left * size].detach())
                layer.bias = nn.Parameter(layer.bias[: left * size].detach())
            attention.out.weight = nn.Parameter(attention.out.weight[:, : left * size].detach())
        for layer in (attention.query, attention.key, attention.value, attention.out):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
        for criterion, power in (("l2", 2), ("l1", 1)):
            got = structured.head_scores(attention, criterion)
            assert got.shape == (left,), f"{left} heads of size {size}: expected {left} scores, got {tuple(got.shape)}"
            for head in range(left):
                part = [attention.value.weight[i] for i in range(head * size, (head + 1) * size)]
                part += [attention.out.weight[:, i] for i in range(head * size, (head + 1) * size)]
                expected = torch.cat(part).abs().pow(power).sum().pow(1 / power).item()
                error = abs(got[head].item() - expected)
                assert error < 1e-3 * expected, f"{criterion} of head {head} of {left}: {expected:.4f}, got {got[head]:.4f}"
