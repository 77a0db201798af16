"""Hidden checks of lesson 09: as in tests/test_selection.py, with cases drawn from the instructor's seed."""

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression

from tinyshrink import checking, lowrank, selection


def test_total_ratio_of_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(10):
        count = int(torch.randint(2, 6, (), generator=generator))
        shapes, ratios = {}, {}
        for number in range(count):
            m, n, size, k = torch.randint(2, 40, (4,), generator=generator).tolist()
            shapes[f"layer{number}"] = lowrank.LayerShape(m, n, (k % 3 + 1, 3), (1, 2), (size, size))
            if number:
                ratios[f"layer{number}"] = float(torch.rand((), generator=generator)) * 0.98 + 0.02
        for scheme, metric, multiple in (("spatial", "macs", 1), ("weight", "memory", 4), ("magnitude", "macs", 1)):
            whole = [lowrank.layer_cost(shape, metric) for shape in shapes.values()]
            share = [selection.kept_ratio(shapes[name], ratios.get(name, 1.0), scheme, metric, multiple) for name in shapes]
            expected, before = np.average(share, weights=whole), (dict(shapes), dict(ratios))
            got = selection.total_ratio(shapes, ratios, scheme, metric, multiple)
            said = f"shapes {shapes}, ratios {ratios}, {scheme}, {metric}, multiple {multiple}"
            assert abs(got - expected) < 1e-9, f"{said}: expected {expected:.6f}, got {got:.6f}"
            assert (shapes, ratios) == before, "the shapes or ratios given to you were changed"


def test_monotone_of_drawn_columns():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for count in (1, 2, 3, 5, 9, 20, 40):
        scores = torch.rand(count, generator=generator, dtype=torch.float64).mul(8).floor().div(8).tolist()
        ratios = sorted((torch.randperm(99, generator=generator)[:count] + 1).div(100).tolist())
        shuffled = torch.randperm(count, generator=generator).tolist()
        column = {ratios[i]: scores[i] for i in shuffled}
        expected = IsotonicRegression().fit_transform(ratios, scores)
        got = selection.monotone(column)
        right = list(got) == ratios and np.allclose(list(got.values()), expected, atol=1e-9)
        assert right, f"{column} becomes {dict(zip(ratios, expected.round(4).tolist()))}, got {got}"


def test_ratio_at_of_drawn_columns():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(12):
        count = int(torch.randint(1, 9, (), generator=generator))
        ratios = sorted((torch.randperm(98, generator=generator)[:count] + 1).div(100).tolist())
        noise = 1.0 if case % 3 else 0.0
        scores = [ratio * 90 + noise * 40 * float(torch.rand((), generator=generator)) for ratio in ratios]
        column = {ratios[i]: scores[i] for i in torch.randperm(count, generator=generator).tolist()}
        fine = np.linspace(ratios[0], 1, 40001)
        curve = np.interp(fine, [*ratios, 1.0], [*scores, 100.0])
        for level in (*torch.rand(6, generator=generator).mul(130).tolist(), 99.0, 100.5, -5.0):
            below = np.flatnonzero(curve < level)
            expected = fine[below[-1]] if len(below) else ratios[0]
            got = selection.ratio_at(column, level, 100.0)
            said = f"{column}, baseline 100, level {level:.3f}: expected about {expected:.4f}, got {got}"
            assert abs(got - (1.0 if level > 100 else expected)) < 1e-3, said
            good = [r for r in ratios if all(column[other] >= level for other in ratios if other >= r)]
            got = selection.ratio_at(column, level, 100.0, interpolate=False)
            assert got == min(good, default=1.0), f"{column}, level {level:.3f}: evaluated ratios {good} will do, got {got}"


def test_highest_level_of_drawn_costs():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(12):
        steps = torch.rand(6, generator=generator).sort().values.tolist()
        low, high = sorted((torch.rand(2, generator=generator) * 20 - 10).tolist())
        jumps = torch.linspace(low, high, 7)[1:-1].tolist()
        cost = lambda level, jumps=jumps, steps=steps: steps[sum(jump < level for jump in jumps)]
        target = float(torch.rand((), generator=generator)) * 1.1
        feasible = [number for number, step in enumerate(steps) if step <= target]
        said = f"costs {steps}, jumping at levels {jumps}, from {low} to {high}, target {target}"
        try:
            got = selection.highest_level(cost, low, high, target, tolerance=0.0)
        except selection.UnreachableTarget as error:
            assert not feasible and abs(error.best - steps[0]) < 1e-9, f"{said}: got {error!r}, best {error.best}"
            continue
        assert feasible, f"{said}: expected UnreachableTarget, got {got}"
        expected = [*jumps, high][feasible[-1]]
        assert cost(got) <= target and abs(got - expected) < 1e-6, f"{said}: expected level {expected}, got {got}"
