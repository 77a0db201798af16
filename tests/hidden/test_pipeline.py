"""Hidden checks of lesson 11: as in tests/test_pipeline.py, with cases drawn from the instructor's seed."""

import math

import torch

from tinyshrink import capstone, checking, pipeline


def test_contributions_of_drawn_rows():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for count in (1, 2, 3, 7):
        sizes = torch.randint(1, 10**6, (count,), generator=generator).tolist()
        times, right = torch.rand(2, count, generator=generator, dtype=torch.float64).add(0.01).tolist()
        rows = [pipeline.Row(f"{i}", 3, 2, sizes[i], 1, times[i], right[i]) for i in range(count)]
        got = pipeline.contributions(rows)
        said = f"bytes {sizes}, ms {times}, accuracy {right}"
        assert [part[0] for part in got] == [row.stage for row in rows[1:]], f"{said}: an entry for each stage, got {got}"
        for i, part in enumerate(got, start=1):  # multiplied and added back
            again = sizes[i] * part[1], times[i] * part[2], right[i] - part[3]
            before = sizes[i - 1], times[i - 1], right[i - 1]
            close = all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in zip(again, before))
            assert close, f"{said}: entry {i - 1} should lead from row {i} back to row {i - 1}, got {part}"


def test_first_conflict_of_drawn_orders():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    known = ["Distill", "PruneChannels", "Factorize", "Prune", "Quantize", "Code", "Own"]
    for _ in range(60):
        length = int(torch.randint(0, 7, (), generator=generator))
        names = [known[i] for i in torch.randint(7, (length,), generator=generator).tolist()]
        pairs = [(j, i) for i in range(length) for j in range(length) if i < j and (names[i], names[j]) in pipeline.CONFLICTS]
        expected = (names[min(pairs)[1]], names[min(pairs)[0]]) if pairs else None
        got = pipeline.first_conflict(list(names))
        assert got == expected, f"{names}: expected {expected}, got {got}"


def check_submission(path):
    """The file on its own: it loads under the limits, has at most 48,706 bytes, and reads 96% of the test digits."""
    result = capstone.score(path)
    assert result.bytes <= 48_706, f"at most 48,706 bytes are allowed, a twentieth of the network's, got {result.bytes:,}"
    assert result.accuracy >= 0.96, f"at least 96% of the test digits must be read right, got {result.accuracy:.2%}"
