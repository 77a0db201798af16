import torch

from tinyshrink import magnitude


def wrong_each_layer_by_itself(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: the same sparsity in each layer is local pruning."""
    return {name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()}


def wrong_mean_of_thresholds(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: one threshold, but as the mean of the layers' own."""
    threshold = torch.stack([values.flatten().quantile(sparsity) for values in scores.values()]).mean()
    return {name: values > threshold for name, values in scores.items()}


def wrong_layers_scaled_to_one(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: divides each layer by its largest score "to be fair"."""
    return right_stable_sort({name: values / values.max() for name, values in scores.items()}, sparsity)


def wrong_layers_scaled_to_unit_norm(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: normalizes each layer, which is another criterion."""
    return right_stable_sort({name: values / values.norm() for name, values in scores.items()}, sparsity)


def wrong_cut_in_sorted_order(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: joined in the dict's order, cut in that of the sorted names."""
    mask = magnitude.magnitude_mask(torch.cat([values.flatten() for values in scores.values()]), sparsity)
    masks, start = {}, 0
    for name in sorted(scores):
        masks[name] = mask[start : start + scores[name].numel()].view(scores[name].shape)
        start += scores[name].numel()
    return masks


def wrong_flat(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: cut into pieces but not back into shapes."""
    mask = magnitude.magnitude_mask(torch.cat([values.flatten() for values in scores.values()]), sparsity)
    return dict(zip(scores, mask.split([values.numel() for values in scores.values()])))


def wrong_list(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: a list of masks without their names."""
    return list(right_stable_sort(scores, sparsity).values())


def wrong_float_masks(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: masks to multiply with, not bool."""
    return {name: mask.float() for name, mask in right_stable_sort(scores, sparsity).items()}


def wrong_whole_layers(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: ranks the layers by their mean and drops the weakest ones."""
    weakest = sorted(scores, key=lambda name: scores[name].mean())[: round(sparsity * len(scores))]
    return {name: torch.full(values.shape, name not in weakest) for name, values in scores.items()}


def wrong_cut_into_equal_parts(scores, sparsity):
    """Fails test_global_masks_rank_all_layers_together: chunk() cuts into equal parts, layers are not equal."""
    mask = magnitude.magnitude_mask(torch.cat([values.flatten() for values in scores.values()]), sparsity)
    return {n: part.view(scores[n].shape) for n, part in zip(scores, mask.chunk(len(scores)))}


def wrong_quantile(scores, sparsity):
    """Fails test_global_masks_count_is_exact_over_the_total: one threshold over all removes all of its ties or none."""
    threshold = torch.cat([values.flatten() for values in scores.values()]).quantile(float(sparsity))
    return {name: values > threshold for name, values in scores.items()}


def wrong_kth_value(scores, sparsity):
    """Fails test_global_masks_count_is_exact_over_the_total: the exact threshold, but all equal to it go."""
    flat = torch.cat([values.flatten() for values in scores.values()])
    k = round(sparsity * len(flat))
    threshold = flat.kthvalue(k).values if k else -torch.inf
    return {name: values > threshold for name, values in scores.items()}


def wrong_ties_in_sorted_order(scores, sparsity):
    """Fails test_global_masks_count_is_exact_over_the_total: goes through the layers by name, ties go in another order."""
    masks = right_stable_sort({name: scores[name] for name in sorted(scores)}, sparsity)
    return {name: masks[name] for name in scores}


def wrong_ties_latest_first(scores, sparsity):
    """Fails test_global_masks_count_is_exact_over_the_total: keeps the first of equal scores in place of the last."""
    flat = torch.cat([values.flatten() for values in scores.values()])
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[flat.argsort(descending=True, stable=True)[: len(flat) - round(sparsity * len(flat))]] = True
    pieces = mask.split([values.numel() for values in scores.values()])
    return {name: piece.view(scores[name].shape) for name, piece in zip(scores, pieces)}


def wrong_count_rounded_per_layer(scores, sparsity):
    """Fails test_global_masks_count_is_exact_over_the_total: adds up the layers' rounded counts, which miss the total's."""
    flat = torch.cat([values.flatten() for values in scores.values()])
    removed = sum(round(sparsity * values.numel()) for values in scores.values())
    mask = torch.ones(len(flat), dtype=torch.bool)
    mask[flat.argsort(stable=True)[:removed]] = False
    pieces = mask.split([values.numel() for values in scores.values()])
    return {name: piece.view(scores[name].shape) for name, piece in zip(scores, pieces)}


def wrong_abs(scores, sparsity):
    """Fails test_global_masks_on_drawn_layers: scores may be negative, abs() turns their order round."""
    return right_stable_sort({name: values.abs() for name, values in scores.items()}, sparsity)


def wrong_matrices_only(scores, sparsity):
    """Fails test_global_masks_on_drawn_layers: row by row, for weights of two dimensions."""
    flat = torch.cat([row for values in scores.values() for row in (values if values.ndim == 2 else [values])])
    pieces = magnitude.magnitude_mask(flat, sparsity).split([values.numel() for values in scores.values()])
    return {name: piece.view(scores[name].shape) for name, piece in zip(scores, pieces)}


def wrong_smallest_layer_first(scores, sparsity):
    """Fails test_global_masks_count_is_exact_over_the_total: goes through the layers by size, ties go in another order."""
    by_size = sorted(scores, key=lambda name: scores[name].numel())
    masks = right_stable_sort({name: scores[name] for name in by_size}, sparsity)
    return {name: masks[name] for name in scores}


def wrong_one_weight_a_layer_stays(scores, sparsity):
    """Fails test_global_masks_count_is_exact_over_the_total: saves the largest weight of each layer from "collapse"."""
    masks = right_stable_sort(scores, sparsity)
    for name, values in scores.items():
        masks[name].view(-1)[values.argmax()] = True
    return masks


def wrong_view(scores, sparsity):
    """Fails test_global_masks_on_drawn_layers: view(-1) wants contiguous scores."""
    mask = magnitude.magnitude_mask(torch.cat([tensor.view(-1) for tensor in scores.values()]), sparsity)
    pieces = mask.split([tensor.numel() for tensor in scores.values()])
    return {name: piece.view(scores[name].shape) for name, piece in zip(scores, pieces)}


def right_stable_sort(scores, sparsity):
    flat = torch.cat([values.reshape(-1) for values in scores.values()])
    mask = torch.ones(flat.numel(), dtype=torch.bool)
    mask[torch.sort(flat, stable=True).indices[: round(sparsity * flat.numel())]] = False
    masks = {}
    for name, values in scores.items():
        masks[name], mask = mask[: values.numel()].reshape(values.shape), mask[values.numel() :]
    return masks


def right_python_loop(scores, sparsity):
    everything = []
    for layer, (name, values) in enumerate(scores.items()):
        everything += [(value, layer, i, name) for i, value in enumerate(values.flatten().tolist())]
    masks = {name: torch.full((values.numel(),), True) for name, values in scores.items()}
    for _, _, i, name in sorted(everything)[: round(sparsity * len(everything))]:
        masks[name][i] = False
    return {name: mask.reshape(scores[name].shape) for name, mask in masks.items()}


def right_one_mask(scores, sparsity):
    mask = magnitude.magnitude_mask(torch.hstack([values.ravel() for values in scores.values()]), sparsity)
    ends = torch.tensor([values.numel() for values in scores.values()]).cumsum(0)
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, mask.tensor_split(ends))}
