import numpy as np
import torch


def _others(weight, criterion, gradient):
    """The reference's answer for the criteria that a wrong solution gets right."""
    return right_numpy(weight, criterion, gradient)


def wrong_signed_sum(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_a_convolution: the sum without abs, where weights of both signs cancel."""
    return weight.detach().flatten(1).sum(1) if criterion == "l1" else _others(weight, criterion, gradient)


def wrong_mean(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_four_small_filters: the mean |w|, not the sum."""
    rows = weight.detach().reshape(len(weight), -1)
    return rows.abs().mean(1) if criterion == "l1" else _others(weight, criterion, gradient)


def wrong_squared_norm(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_four_small_filters: L2 without its root."""
    scores = _others(weight, criterion, gradient)
    return scores.square() if criterion == "l2" else scores


def wrong_input_channels(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_a_convolution: scores the inputs of the layer, dimension 1, not its filters."""
    weight = weight.transpose(0, 1) if weight.ndim > 2 else weight
    return _others(weight, criterion, None if gradient is None else gradient.reshape(weight.shape))


def wrong_norm_over_the_kernel_only(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_a_convolution: seed 003's norm over the dimensions of the kernel leaves the inputs."""
    if criterion == "l2" and weight.ndim == 4:
        return weight.detach().norm(dim=(2, 3))
    return _others(weight, criterion, gradient)


def wrong_taylor_of_single_weights(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_by_taylor: |w x gradient| summed, as if each weight went alone."""
    if criterion == "taylor":
        return (weight.detach() * gradient).abs().reshape(len(weight), -1).sum(1)
    return _others(weight, criterion, gradient)


def wrong_taylor_with_its_sign(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_by_taylor: keeps the sign, so that a filter that helps most counts least."""
    if criterion == "taylor":
        return -(weight.detach() * gradient).reshape(len(weight), -1).sum(1)
    return _others(weight, criterion, gradient)


def wrong_gradient_only(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_by_taylor: the gradient without the weight."""
    if criterion == "taylor":
        return gradient.reshape(len(weight), -1).sum(1).abs()
    return _others(weight, criterion, gradient)


def wrong_distance_to_the_mean(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_four_small_filters: the distance to the mean filter, not the sum of all distances."""
    if criterion == "geometric_median":
        rows = weight.detach().reshape(len(weight), -1)
        return (rows - rows.mean(0)).norm(dim=1)
    return _others(weight, criterion, gradient)


def wrong_mean_distance(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_four_small_filters: the mean distance to the others, not the sum."""
    scores = _others(weight, criterion, gradient)
    return scores / (len(weight) - 1) if criterion == "geometric_median" and len(weight) > 1 else scores


def wrong_city_block_distances(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_four_small_filters: L1 distances where L2 ones are asked for."""
    if criterion == "geometric_median":
        rows = weight.detach().reshape(len(weight), -1)
        return torch.cdist(rows, rows, p=1).sum(1)
    return _others(weight, criterion, gradient)


def wrong_with_gradient(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_a_convolution: without detach the scores hold on to the graph."""
    if criterion == "l1":
        return weight.abs().reshape(len(weight), -1).sum(1)
    return _others(weight, criterion, gradient)


def wrong_four_dimensions_only(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_four_small_filters: sums over dimensions 1, 2 and 3, which a Linear does not have."""
    return weight.detach().abs().sum((1, 2, 3)) if criterion == "l1" else _others(weight, criterion, gradient)


def wrong_view(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_on_drawn_weights: view wants contiguous weights, a transposed convolution's are not."""
    if criterion == "l1":
        return weight.detach().view(len(weight), -1).abs().sum(1)
    return _others(weight, criterion, gradient)


def wrong_in_place(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_of_a_convolution: abs_() writes into the weight that shares its memory."""
    if criterion == "l1":
        return weight.detach().reshape(len(weight), -1).abs_().sum(1)
    return _others(weight, criterion, gradient)


def wrong_taylor_in_place(weight, criterion="l1", gradient=None):
    """Fails test_filter_scores_by_taylor: multiplies the weights themselves by their gradient."""
    if criterion == "taylor":
        return weight.detach().mul_(gradient).reshape(len(weight), -1).sum(1).abs()
    return _others(weight, criterion, gradient)


def right_numpy(weight, criterion="l1", gradient=None):
    rows = weight.detach().numpy().reshape(weight.shape[0], -1)
    if criterion in ("l1", "l2"):
        scores = np.linalg.norm(rows, ord=int(criterion[1]), axis=1)
    elif criterion == "taylor":
        scores = np.abs((rows * gradient.detach().numpy().reshape(rows.shape)).sum(1))
    else:
        scores = np.array([np.sqrt(((rows - row) ** 2).sum(1)).sum() for row in rows])
    return torch.from_numpy(np.asarray(scores, dtype=rows.dtype))


def right_filter_by_filter(weight, criterion="l1", gradient=None):
    scores = []
    with torch.no_grad():
        for number, row in enumerate(weight):
            if criterion == "l1":
                scores.append(row.abs().sum())
            elif criterion == "l2":
                scores.append((row * row).sum() ** 0.5)
            elif criterion == "taylor":
                scores.append((row * gradient[number]).sum().abs())
            else:
                scores.append(sum(torch.dist(row, other) for other in weight))
    return torch.stack(scores)


def right_vector_norm(weight, criterion="l1", gradient=None):
    rows = weight.detach().reshape(weight.shape[0], -1)
    if criterion == "taylor":
        return torch.einsum("oi,oi->o", rows, gradient.reshape_as(rows)).abs()
    if criterion == "geometric_median":
        return torch.linalg.vector_norm(rows[:, None] - rows[None], dim=2).sum(0)
    return torch.linalg.vector_norm(rows, ord={"l1": 1, "l2": 2}[criterion], dim=1)
