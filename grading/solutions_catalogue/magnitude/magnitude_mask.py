import numpy as np
import torch


def wrong_quantile(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: a quantile interpolates, so `>` removes one at sparsity 0."""
    return scores > torch.quantile(scores.flatten().float(), sparsity)


def wrong_quantile_or_equal(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: with >= nothing goes at 0, but something stays at 1."""
    return scores >= torch.quantile(scores.flatten().float(), sparsity)


def wrong_threshold_as_fraction_of_the_maximum(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: took the sparsity for a level of score, not a share of scores."""
    return scores > sparsity * scores.max()


def wrong_int_truncates(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: int() cuts off where round() rounds."""
    order = scores.flatten().argsort(stable=True)
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[order[: int(sparsity * scores.numel())]] = False
    return mask.view(scores.shape)


def wrong_rounds_half_up(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: rounding as at school, 2.5 to 3, is not Python's round."""
    order = scores.flatten().argsort(stable=True)
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[order[: int(sparsity * scores.numel() + 0.5)]] = False
    return mask.view(scores.shape)


def wrong_ceil(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: rounds up, to be on the safe side."""
    order = scores.flatten().argsort(stable=True)
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[order[: int(np.ceil(sparsity * scores.numel()))]] = False
    return mask.view(scores.shape)


def wrong_keeps_the_threshold(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: `>=` keeps the k-th smallest, which is the last to be removed."""
    k = round(sparsity * scores.numel())
    if k == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    return scores >= scores.flatten().kthvalue(k).values


def wrong_index_from_zero(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: the k-th in sorted order is at k - 1, and [k] is beyond at 1."""
    ordered = scores.flatten().sort().values
    return scores > ordered[min(round(sparsity * scores.numel()), scores.numel() - 1)]


def wrong_nothing_at_zero(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: order[-0:] is everything, so at sparsity 1 all stay."""
    order = scores.flatten().argsort(stable=True)
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order[-(scores.numel() - round(sparsity * scores.numel())) :]] = True
    return mask.view(scores.shape)


def wrong_sparsity_is_what_stays(scores, sparsity):
    """Fails test_mask_removes_exactly_the_asked_number: took sparsity for the fraction kept."""
    order = scores.flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order[: round(sparsity * scores.numel())]] = True
    return mask.view(scores.shape)


def wrong_true_is_removed(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: made the mask of the removed."""
    order = scores.flatten().argsort(stable=True)
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order[: round(sparsity * scores.numel())]] = True
    return mask.view(scores.shape)


def wrong_removes_the_largest(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: sorted the other way round."""
    order = scores.flatten().argsort(descending=True, stable=True)
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[order[: round(sparsity * scores.numel())]] = False
    return mask.view(scores.shape)


def wrong_abs(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: the scores are given as they are to be ranked, a second abs is too many."""
    order = scores.abs().flatten().argsort(stable=True)
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[order[: round(sparsity * scores.numel())]] = False
    return mask.view(scores.shape)


def wrong_row_by_row(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: argsort works along the last dimension unless flattened."""
    rows = scores.reshape(-1, scores.shape[-1])
    mask = torch.ones_like(rows, dtype=torch.bool)
    return mask.scatter_(1, rows.argsort(1)[:, : round(sparsity * rows.shape[1])], False).view(scores.shape)


def wrong_flat(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: forgot to give the mask the shape of the scores."""
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[scores.flatten().argsort(stable=True)[: round(sparsity * scores.numel())]] = False
    return mask


def wrong_float_mask(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: a mask of 0.0 and 1.0 to multiply with, where bool was asked."""
    mask = torch.ones(scores.numel())
    mask[scores.flatten().argsort(stable=True)[: round(sparsity * scores.numel())]] = 0
    return mask.view(scores.shape)


def wrong_changes_the_scores(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: marks the removed in the scores themselves, flatten() is no copy."""
    flat = scores.flatten()
    flat[flat.argsort(stable=True)[: round(sparsity * flat.numel())]] = -torch.inf
    return flat.view(scores.shape) > -torch.inf


def wrong_ties_all_go(scores, sparsity):
    """Fails test_mask_breaks_ties_by_position: all scores equal to the k-th smallest go, however many they are."""
    k = round(sparsity * scores.numel())
    if k == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    return scores > scores.flatten().kthvalue(k).values


def wrong_ties_latest_first(scores, sparsity):
    """Fails test_mask_breaks_ties_by_position: keeping the first of a stable descending sort removes the latest ties."""
    order = scores.flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order[: scores.numel() - round(sparsity * scores.numel())]] = True
    return mask.view(scores.shape)


def wrong_topk(scores, sparsity):
    """Fails test_mask_breaks_ties_by_position: topk promises nothing about which of equal scores it takes."""
    flat = scores.flatten()
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[flat.topk(flat.numel() - round(sparsity * flat.numel())).indices] = True
    return mask.view(scores.shape)


def wrong_ties_by_a_ramp(scores, sparsity):
    """Fails test_mask_on_drawn_scores: a small ramp breaks ties by position, and the order of scores as small as it too."""
    flat = scores.flatten().double() + 1e-9 * torch.arange(scores.numel())
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[flat.argsort(stable=True)[: round(sparsity * scores.numel())]] = False
    return mask.view(scores.shape)


def wrong_view(scores, sparsity):
    """Fails test_mask_on_drawn_scores: view(-1) works for contiguous scores only."""
    flat = scores.view(-1)
    mask = torch.ones(flat.numel(), dtype=torch.bool)
    mask[flat.argsort(stable=True)[: round(sparsity * flat.numel())]] = False
    return mask.view(scores.shape)


def wrong_numpy_has_no_bfloat16(scores, sparsity):
    """Fails test_mask_on_drawn_scores: .numpy() refuses bfloat16."""
    flat = scores.flatten().numpy()
    mask = np.ones(flat.size, dtype=bool)
    mask[flat.argsort(kind="stable")[: round(sparsity * flat.size)]] = False
    return torch.from_numpy(mask).view(scores.shape)


def wrong_two_dimensions_only(scores, sparsity):
    """Fails test_mask_on_drawn_scores: written for the weight of a Linear."""
    rows, columns = scores.shape if scores.ndim == 2 else (1, scores.shape[-1])
    mask = torch.ones(rows * columns, dtype=torch.bool)
    mask[scores.flatten().argsort(stable=True)[: round(sparsity * rows * columns)]] = False
    return mask.view(rows, columns) if scores.ndim == 2 else mask


def wrong_in_float32(scores, sparsity):
    """Fails test_mask_on_drawn_scores: converts to float32 for NumPy, where close scores of 64 bits become equal."""
    flat = scores.flatten().float().numpy()
    mask = np.ones(flat.size, dtype=bool)
    mask[flat.argsort(kind="stable")[: round(sparsity * flat.size)]] = False
    return torch.from_numpy(mask).view(scores.shape)


def wrong_forgets_detach(scores, sparsity):
    """Fails test_mask_keeps_the_largest_scores: scores of a weight that is trained have a gradient, NumPy takes none."""
    order = scores.flatten().double().numpy().argsort(kind="stable")
    mask = np.ones(scores.numel(), dtype=bool)
    mask[order[: round(sparsity * scores.numel())]] = False
    return torch.from_numpy(mask).view(scores.shape)


def right_stable_sort(scores, sparsity):
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[scores.flatten().argsort(stable=True)[: round(sparsity * scores.numel())]] = False
    return mask.reshape(scores.shape)


def right_python_loop(scores, sparsity):
    values = scores.flatten().tolist()
    kept = [True] * len(values)
    for position in sorted(range(len(values)), key=lambda i: (values[i], i))[: round(sparsity * len(values))]:
        kept[position] = False
    return torch.tensor(kept).reshape(scores.shape)


def right_lexsort(scores, sparsity):
    flat = scores.detach().double().numpy().ravel()
    rank = np.empty(flat.size, dtype=int)
    rank[np.lexsort((np.arange(flat.size), flat))] = np.arange(flat.size)
    return torch.from_numpy(rank >= round(sparsity * flat.size)).reshape(scores.shape)


def right_threshold_then_ties(scores, sparsity):
    flat = scores.flatten()
    k = round(sparsity * len(flat))
    if k == 0:
        return torch.full(scores.shape, True)
    threshold = flat.sort().values[k - 1]
    tied = flat == threshold
    due = k - (flat < threshold).sum()
    return ((flat > threshold) | (tied & (tied.cumsum(0) > due))).reshape(scores.shape)
