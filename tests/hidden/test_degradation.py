"""Hidden checks of lesson 08: as in tests/test_degradation.py, with cases drawn from the instructor's seed."""

import numpy as np
import scipy
import torch

from tinyshrink import checking, data, degradation, selection


def test_knee_of_drawn_curves():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for count in (3, 4, 6, 9, 15, 15):
        costs = (torch.randperm(900, generator=generator)[:count] + 100).tolist()
        scores = torch.rand(count, generator=generator, dtype=torch.float64).sort().values
        scores = dict(zip(sorted(costs), (scores ** float(0.2 + torch.rand((), generator=generator))).tolist()))
        curve = [degradation.Point(0, cost, cost / max(costs), scores[cost]) for cost in costs]
        ends = np.array([(cost, scores[cost]) for cost in (min(costs), max(costs))])
        along = ends[1] - ends[0]
        across = [along[0] * (p.score - ends[0, 1]) - along[1] * (p.cost - ends[0, 0]) for p in curve]  # right-angled, signed
        best = max(across)
        got = degradation.knee(curve)
        said = f"{[(p.cost, round(p.score, 4)) for p in curve]}: expected cost {curve[int(np.argmax(across))].cost}"
        assert got in curve and across[curve.index(got)] > best - 1e-6 * (1 + abs(best)), f"{said}, got {got}"


def test_smallest_amount_of_drawn_ratios():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(12):
        power, target, most = (torch.rand(3, generator=generator) * torch.tensor([3, 0.8, 0.3]) + 0.1).tolist()
        most += 0.6
        steps = 10_000 if case % 2 else int(torch.randint(3, 12, (), generator=generator))
        ratio_of = lambda a, power=power, steps=steps: 1 - np.floor(a * steps + 1e-9) / steps * min(1, 0.3 + power / 4)
        fine = np.linspace(0, most, 40_001)
        fit = fine[np.array([ratio_of(a) for a in fine]) <= target]
        said = f"ratio {ratio_of(0.5):.4f} at 0.5, {ratio_of(most):.4f} at most {most:.4f}, target {target:.4f}"
        try:
            amount, measured = degradation.smallest_amount(ratio_of, target, most)
        except selection.UnreachableTarget as error:
            assert not len(fit) and abs(error.best - ratio_of(most)) < 1e-9, f"{said}: got {error!r}, best {error.best}"
            continue
        assert len(fit), f"{said}: expected UnreachableTarget, got {amount}"
        near = amount - fit[0] < 1.5e-4 or ratio_of(amount) >= target - 1e-3 - 1e-9
        assert ratio_of(amount) <= target and near, f"{said}: expected about {fit[0]:.4f}, got {amount} with {ratio_of(amount)}"
        right = all(ratio == ratio_of(step) for step, ratio in measured.items()) and len(measured) < 20
        assert right and amount in measured, f"{said}: the steps are {measured}"


def test_bootstrap_interval_of_drawn_values():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for count, confidence in ((12, 0.95), (40, 0.8), (150, 0.95), (150, 0.5)):
        values = torch.rand(count, generator=generator).mul(8).exp() / 100
        options = {"confidence_level": confidence, "method": "percentile", "n_resamples": 4000}
        rng = np.random.default_rng(checking.hidden_seed())
        expected = scipy.stats.bootstrap((values.double().numpy(),), np.mean, rng=rng, **options).confidence_interval
        got = degradation.bootstrap_interval(values, confidence, resamples=4000, seed=checking.hidden_seed() + 1)
        near = 0.3 * float(values.std()) / count**0.5
        close = abs(got[0] - expected.low) < near and abs(got[1] - expected.high) < near
        said = f"{count} drawn values, confidence {confidence}: scipy's is {expected.low:.4f} to {expected.high:.4f}"
        assert close, f"{said}, yours {got[0]:.4f} to {got[1]:.4f}"


def test_allocate_of_drawn_curves():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(10):
        names = [f"layer{i}" for i in range(int(torch.randint(1, 6, (), generator=generator)))]
        sizes = {name: int(torch.randint(1000, 9000, (), generator=generator)) for name in names} | {"rest": 500}
        curves = {}
        for name in names:
            amounts = sorted((torch.randperm(98, generator=generator)[:5] + 1).div(100).tolist())
            curves[name] = dict(zip(amounts, (torch.rand(5, generator=generator).sort().values ** 2).tolist()))
        total, most = sum(sizes.values()), sum(max(curves[name]) * sizes[name] for name in names)
        amount = float(torch.rand((), generator=generator)) * 0.99 * most / total
        got, slopes, lengths, drops = degradation.allocate(curves, sizes, amount), [], [], 0.0
        counts = {name: got[name] * sizes[name] for name in names}
        said = f"{amount:.4f} of {total} weights, layers {sizes}, curves {curves}"
        exact = all(abs(count - round(count)) < 1e-6 for count in counts.values())
        assert exact and round(sum(counts.values())) == round(amount * total), f"{said}: you remove {counts}"
        for name in names:
            corners = np.array(degradation.convex(curves[name]))
            slopes += list(np.diff(corners[:, 1]) / np.diff(corners[:, 0]) / sizes[name])
            lengths += list(np.diff(corners[:, 0]) * sizes[name])
            drops += np.interp(got[name], *corners.T)
            assert 0 <= got[name] <= max(curves[name]) + 0.5 / sizes[name], f"{said}: {got[name]} of {name} was never measured"
        best = scipy.optimize.linprog(
            slopes, A_eq=[[1] * len(slopes)], b_eq=[round(amount * total)], bounds=[(0, n) for n in lengths]
        ).fun
        assert drops < best + 0.01, f"{said}: the drops could add up to {best:.4f}, yours to {drops:.4f} with {got}"


def test_validate_of_drawn_answers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for case in range(12):
        count, classes = int(torch.randint(200, 1500, (), generator=generator)), 3 + case % 4
        y = torch.randint(classes, (count,), generator=generator)
        rates = torch.rand(2, generator=generator) * 0.1
        wrong = torch.rand(2, count, generator=generator) < rates[:, None]
        if case % 3 == 0:
            wrong[1] |= (y == 1) & (torch.rand(count, generator=generator) < 0.6)
        model, original, examples = checking.answering(y, *wrong)
        allowed = float(torch.rand((), generator=generator)) * 0.15
        verdict = degradation.validate(model, original, data.Split(*examples), allowed)
        lost = wrong[1].float() - wrong[0].float()
        overall = degradation.drop_of(lost)
        bad = [label for label in range(classes) if degradation.drop_of(lost[y == label]).low > allowed]
        said = f"{count} examples, lost {overall} of {allowed:.4f} allowed, classes shown to lose more: {bad}"
        assert abs(verdict.overall.mean - overall.mean) < 1e-6, f"{said}: yours says {verdict.overall}"
        expected = int(overall.high > allowed or bool(bad))
        assert verdict.exit_code == expected, f"{said}: expected exit code {expected}, got {verdict!r}"
        assert len(verdict.reasons) == (overall.high > allowed) + len(bad), f"{said}: a reason each, got {verdict.reasons}"
