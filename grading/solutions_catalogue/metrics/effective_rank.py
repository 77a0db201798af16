import numpy as np
import torch

from tinyshrink.metrics import energy_curve


def wrong_off_by_one(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: counted the values below, not the one that reaches."""
    curve = energy_curve(weight)
    return int((curve < energy).sum()) if curve[-1] > 0 else 0


def wrong_must_exceed(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: to reach the share exactly is enough."""
    curve = energy_curve(weight)
    return min(int((curve <= energy).sum()) + 1, len(curve)) if curve[-1] > 0 else 0


def wrong_zero_matrix(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: forgot the matrix of zeros."""
    curve = energy_curve(weight)
    return min(int((curve < energy).sum()) + 1, len(curve))


def wrong_counts_above(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: counted the ranks that are good enough."""
    curve = energy_curve(weight)
    return int((curve >= energy).sum()) if curve[-1] > 0 else 0


def wrong_ignores_energy(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: the default for every share."""
    curve = energy_curve(weight)
    return int((curve < 0.99).sum()) + 1 if curve[-1] > 0 else 0


def wrong_default(weight, energy=0.9):
    """Fails test_effective_rank_finds_the_rank_of_a_product: 90% is not the default."""
    curve = energy_curve(weight)
    return int((curve < energy).sum()) + 1 if curve[-1] > 0 else 0


def wrong_tensor(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: returns a tensor, not an int."""
    curve = energy_curve(weight)
    return (curve < energy).sum() + 1 if curve[-1] > 0 else 0


def wrong_matrix_rank(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: the rank in exact arithmetic is nearly always full."""
    return int(torch.linalg.matrix_rank(weight.detach().double().flatten(1)))


def wrong_share_of_the_rank(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: a fraction of the full rank."""
    curve = energy_curve(weight)
    return (int((curve < energy).sum()) + 1) / len(curve) if curve[-1] > 0 else 0


def wrong_searched_from_the_right(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: right=True steps over the value that hits exactly."""
    curve = energy_curve(weight)
    place = int(torch.searchsorted(curve, torch.tensor(energy, dtype=curve.dtype), right=True))
    return min(place + 1, len(curve)) if curve[-1] > 0 else 0


def wrong_sum_of_singular_values(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: energy is squared."""
    values = torch.linalg.svdvals(weight.detach().double().flatten(1)).cumsum(0)
    return int((values / values[-1] < energy).sum()) + 1 if values[-1] > 0 else 0


def wrong_percent(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: energy is a fraction."""
    curve = energy_curve(weight)
    return int((curve < energy / 100).sum()) + 1 if curve[-1] > 0 else 0


def wrong_with_a_tolerance(weight, energy=0.99):
    """Fails test_effective_rank_is_the_smallest_that_reaches_the_energy: lets a share pass that is nearly large enough."""
    curve = energy_curve(weight)
    return int((curve < energy - 1e-6).sum()) + 1 if curve[-1] > 0 else 0


def right_search(weight, energy=0.99):
    curve = energy_curve(weight)
    if curve[-1] == 0:
        return 0
    return int(np.searchsorted(curve.numpy(), energy, side="left")) + 1


def right_loop(weight, energy=0.99):
    for rank, share in enumerate(energy_curve(weight).tolist(), start=1):
        if share >= energy:
            return rank
    return 0
