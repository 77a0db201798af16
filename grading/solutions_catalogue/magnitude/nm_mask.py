import torch

from tinyshrink import magnitude


def wrong_along_the_outputs(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: groups down the columns, of neighbouring outputs."""
    flat = scores.flatten(1) if scores.ndim > 1 else scores[None]
    if flat.shape[0] % m:
        flat = flat.expand(m, -1)
    groups = flat.t().reshape(-1, m)
    mask = torch.ones_like(groups, dtype=torch.bool).scatter_(1, groups.argsort(dim=1, stable=True)[:, : m - n], False)
    return mask.view(flat.shape[1], -1).t()[: scores.shape[0]].reshape(scores.shape)


def wrong_whole_rows(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: the right number in each row, but not in each group."""
    rows = scores.flatten(1) if scores.ndim > 1 else scores[None]
    mask = torch.ones_like(rows, dtype=torch.bool)
    removed = rows.shape[1] * (m - n) // m
    return mask.scatter_(1, rows.argsort(dim=1, stable=True)[:, :removed], False).view(scores.shape)


def wrong_whole_tensor(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: an ordinary mask of sparsity 1 - n/m."""
    return magnitude.magnitude_mask(scores, 1 - n / m)


def wrong_keeps_the_smallest(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: argsort puts the smallest first."""
    groups = scores.reshape(-1, m)
    mask = torch.zeros_like(groups, dtype=torch.bool)
    return mask.scatter_(1, groups.argsort(dim=1, stable=True)[:, :n], True).view(scores.shape)


def wrong_removes_n(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: took n for the number to remove; at 2:4 that is the same."""
    groups = scores.reshape(-1, m)
    mask = torch.ones_like(groups, dtype=torch.bool)
    return mask.scatter_(1, groups.argsort(dim=1, stable=True)[:, :n], False).view(scores.shape)


def wrong_every_mth(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: reshape(m, -1) puts weights that are far apart into a group."""
    rows = scores.flatten(1) if scores.ndim > 1 else scores[None]
    groups = rows.reshape(rows.shape[0], m, -1)
    mask = torch.ones_like(groups, dtype=torch.bool)
    return mask.scatter_(1, groups.argsort(dim=1, stable=True)[:, : m - n], False).view(scores.shape)


def wrong_abs(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: the scores are to be ranked as they are."""
    return right_loop(scores.abs(), n, m)


def wrong_always_two_four(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: the pattern of the hardware, whatever was asked."""
    return right_loop(scores, 2, 4)


def wrong_flat(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: forgot to give the mask the shape of the scores."""
    return right_loop(scores, n, m).view(-1, m)


def wrong_float_mask(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: 0.0 and 1.0 in place of bool."""
    return right_loop(scores, n, m).float()


def wrong_inverted(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: True for the removed."""
    return ~right_loop(scores, n, m)


def wrong_changes_the_scores(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: reshape() is no copy, the removed are marked in the scores themselves."""
    groups = scores.reshape(-1, m)
    groups.scatter_(1, groups.argsort(dim=1, stable=True)[:, : m - n], -torch.inf)
    return (groups > -torch.inf).view(scores.shape)


def wrong_strict_threshold(scores, n, m):
    """Fails test_nm_mask_keeps_n_of_every_m: `>` the n-th largest keeps one too few."""
    groups = scores.reshape(-1, m)
    if n == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    return (groups > groups.topk(n, dim=1).values[:, -1:]).view(scores.shape)


def wrong_threshold_with_ties(scores, n, m):
    """Fails test_nm_mask_breaks_ties_by_position: `>=` the n-th largest keeps all that equal it."""
    groups = scores.reshape(-1, m)
    if n == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    return (groups >= groups.topk(n, dim=1).values[:, -1:]).view(scores.shape)


def wrong_topk(scores, n, m):
    """Fails test_nm_mask_breaks_ties_by_position: topk promises nothing about which of equal scores it takes."""
    groups = scores.reshape(-1, m)
    mask = torch.zeros_like(groups, dtype=torch.bool)
    return mask.scatter_(1, groups.topk(n, dim=1).indices, True).view(scores.shape)


def wrong_ties_latest_first(scores, n, m):
    """Fails test_nm_mask_breaks_ties_by_position: a stable descending sort keeps the earliest of equal scores."""
    groups = scores.reshape(-1, m)
    mask = torch.zeros_like(groups, dtype=torch.bool)
    return mask.scatter_(1, groups.argsort(dim=1, descending=True, stable=True)[:, :n], True).view(scores.shape)


def wrong_view(scores, n, m):
    """Fails test_nm_mask_on_drawn_scores: view works for contiguous scores only."""
    groups = scores.view(-1, m)
    mask = torch.ones_like(groups, dtype=torch.bool)
    return mask.scatter_(1, groups.argsort(dim=1, stable=True)[:, : m - n], False).view(scores.shape)


def wrong_matrices_only(scores, n, m):
    """Fails test_nm_mask_on_drawn_scores: written for the weight of a Linear."""
    outputs, inputs = scores.shape
    groups = scores.reshape(outputs, inputs // m, m)
    mask = torch.ones_like(groups, dtype=torch.bool)
    return mask.scatter_(2, groups.argsort(dim=2, stable=True)[..., : m - n], False).view(outputs, inputs)


def wrong_input_channels(scores, n, m):
    """Fails test_nm_mask_on_drawn_scores: groups a convolution's input channels at each place of the kernel."""
    if scores.ndim < 3 or scores.shape[1] % m:
        return right_loop(scores, n, m)
    return right_loop(scores.movedim(1, -1), n, m).movedim(-1, 1)


def right_loop(scores, n, m):
    kept = []
    values = scores.flatten().tolist()
    for first in range(0, len(values), m):
        group = values[first : first + m]
        largest = sorted(range(m), key=lambda i: (group[i], i))[m - n :]
        kept += [i in largest for i in range(m)]
    return torch.tensor(kept).reshape(scores.shape)


def right_rank_by_comparing(scores, n, m):
    groups = scores.reshape(-1, m)
    left, right = groups[:, :, None], groups[:, None, :]
    earlier = torch.ones(m, m).tril(-1).bool()  # [i, j]: j stands before i
    rank = ((right < left) | ((right == left) & earlier)).sum(2)
    return (rank >= m - n).reshape(scores.shape)


def right_mask_of_each_group(scores, n, m):
    groups = scores.reshape(-1, m)
    return torch.stack([magnitude.magnitude_mask(group, (m - n) / m) for group in groups]).reshape(scores.shape)


def right_flipped_topk(scores, n, m):
    groups = scores.reshape(-1, m).flip(1)
    kept = torch.sort(groups, dim=1, descending=True, stable=True).indices[:, :n]
    mask = torch.zeros(groups.shape, dtype=torch.bool)
    mask[torch.arange(len(groups))[:, None], kept] = True
    return mask.flip(1).reshape(scores.shape)
