"""Hidden checks of lesson 11: as in tests/test_decide.py, with cases drawn from the instructor's seed."""

import torch

from tinyshrink import checking, decide, deploy, pipeline


def test_violations_of_drawn_measurements():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    names, signs = ("bytes", "ms", "accuracy"), (1, 1, -1)
    for _ in range(60):
        measured = torch.randint(1, 8, (3,), generator=generator).div(8).tolist()
        limits = torch.randint(0, 9, (3,), generator=generator).div(8).tolist()
        given = torch.rand(3, generator=generator).lt(0.7).tolist()
        expected = {}
        for name, sign, value, limit, there in zip(names, signs, measured, limits, given):
            if there and sign * (value - limit) > 0:
                expected[name] = abs(value - limit)  # eighths are exact in floats
        chosen = [limit if there else None for limit, there in zip(limits, given)]
        got = deploy.violations(*measured, *chosen)
        said = f"bytes, ms, accuracy {measured}, limits {chosen}: expected {expected}, got {got}"
        assert got == expected and list(got) == list(expected), said


def test_choose_among_drawn_rows():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for _ in range(60):
        count = int(torch.randint(1, 9, (), generator=generator))
        drawn = torch.randint(1, 4, (count, 3), generator=generator).tolist()
        names = [f"n{i}" for i in torch.randperm(count, generator=generator).tolist()]
        rows = {name: pipeline.Row(name, 1, 1, 100 * a, 1, 1.5 * b, c / 4) for name, (a, b, c) in zip(names, drawn)}
        size, ms, right = torch.randint(0, 4, (3,), generator=generator).tolist()
        limits = {"max_bytes": 100 * size or None, "max_ms": 1.5 * ms or None, "min_accuracy": right / 4 or None}
        best = None
        for name, row in rows.items():
            fits = row.bytes <= (100 * size or 999) and row.ms <= (1.5 * ms or 999) and row.accuracy >= right / 4
            key = (row.accuracy, -row.bytes, -row.ms)
            if fits and (best is None or key > best[0]):
                best = key, name
        expected, got = best and best[1], decide.choose(rows, **limits)
        assert got == expected, f"{list(rows.values())} with {limits}: expected {expected!r}, got {got!r}"


def test_fitting_of_drawn_rules():
    generator = torch.Generator().manual_seed(checking.hidden_seed())

    def some(names):
        return tuple(name for name in names if torch.rand((), generator=generator) < 0.5)

    for _ in range(40):
        rules = []
        for number in range(int(torch.randint(0, 6, (), generator=generator))):
            low, high = torch.randint(0, 5, (2,), generator=generator).sort().values.tolist()
            use = bool(torch.rand((), generator=generator) < 0.7)
            named = some(decide.STAGES), use, some(decide.ARCHITECTURES), some(decide.HARDWARE)
            rules.append(decide.Rule(f"{number}", *named, (low / 4, min(1, high / 4 + 0.25))))
        case = "cnn", "sparse", int(torch.randint(0, 5, (), generator=generator)) / 4
        votes, fit = dict.fromkeys(decide.STAGES, 0), []
        for rule in rules:
            low, high = rule.tolerance
            if (
                {"cnn"} & {*rule.architectures}
                and {"sparse"} & {*rule.hardware}
                and (low <= case[2] < high or case[2] == 1 == high)
            ):
                fit.append(rule)
                for stage in rule.stages:
                    votes[stage] = votes[stage] + 1 if rule.use and votes[stage] >= 0 else -1
        expected = [stage for stage, vote in votes.items() if vote > 0]
        stages, used = decide.fitting(tuple(rules), *case)
        assert list(stages) == expected, f"{rules} for {case}: expected {expected}, got {stages}"
        assert list(used) == fit, f"{rules} for {case}: {[rule.why for rule in fit]} fit, got {[rule.why for rule in used]}"
