import math

import torch


def wrong_largest_first(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: sorted by the wrong end, the important ones go."""
    return scores.argsort(descending=True, stable=True)[round(amount * len(scores)) :].sort().values


def wrong_in_order_of_scores(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: topk gives the best first, not in their old order."""
    return scores.topk(len(scores) - round(amount * len(scores))).indices


def wrong_the_removed_ones(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: gives the channels to remove."""
    return scores.argsort(stable=True)[: round(amount * len(scores))].sort().values


def wrong_mask(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: a mask of kept channels, not their indices."""
    mask = torch.ones(len(scores), dtype=torch.bool)
    mask[scores.argsort(stable=True)[: round(amount * len(scores))]] = False
    return mask


def wrong_amount_is_kept(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: keeps the fraction that should go."""
    return scores.argsort(stable=True)[len(scores) - round(amount * len(scores)) :].sort().values


def wrong_rounded_down(scores, amount):
    """Fails test_kept_channels_counts_exactly_and_breaks_ties_by_position: int() in place of round()."""
    return scores.argsort(stable=True)[int(amount * len(scores)) :].sort().values


def wrong_rounds_what_stays(scores, amount):
    """Fails test_kept_channels_counts_exactly_and_breaks_ties_by_position: rounds the number kept, not that removed."""
    stay = round((1 - amount) * len(scores))
    return scores.argsort(stable=True)[len(scores) - stay :].sort().values


def wrong_rounded_up(scores, amount):
    """Fails test_kept_channels_counts_exactly_and_breaks_ties_by_position: ceil() in place of round()."""
    return scores.argsort(stable=True)[math.ceil(amount * len(scores)) :].sort().values


def wrong_threshold(scores, amount):
    """Fails test_kept_channels_counts_exactly_and_breaks_ties_by_position: a quantile as threshold removes all of its ties."""
    return (scores > scores.quantile(amount)).nonzero().flatten()


def wrong_latest_of_equal_ones_first(scores, amount):
    """Fails test_kept_channels_counts_exactly_and_breaks_ties_by_position: the earliest of equal scores stay."""
    stay = len(scores) - round(amount * len(scores))
    return scores.argsort(descending=True, stable=True)[:stay].sort().values


def wrong_of_absolute_values(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: scores may be negative, abs() changes their order."""
    return scores.abs().argsort(stable=True)[round(amount * len(scores)) :].sort().values


def wrong_list(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: a list, with which a tensor is not indexed like this."""
    return sorted(scores.argsort(stable=True)[round(amount * len(scores)) :].tolist())


def wrong_marks_in_the_scores(scores, amount):
    """Fails test_kept_channels_are_the_best_in_their_old_order: crosses the smallest out in the tensor that it was given."""
    for _ in range(round(amount * len(scores))):
        scores[scores.argmin()] = torch.inf
    return scores.isfinite().nonzero().flatten()


def right_python(scores, amount):
    ranked = sorted(range(len(scores)), key=lambda index: scores[index].item())
    gone = set(ranked[: round(amount * len(scores))])
    return torch.tensor([index for index in range(len(scores)) if index not in gone], dtype=torch.int64)


def right_mask_to_indices(scores, amount):
    mask = torch.full(scores.shape, True)
    mask[torch.sort(scores, stable=True).indices[: round(amount * scores.numel())]] = False
    return torch.where(mask)[0]
