import math

from torch import nn

from tinyshrink import metrics


def _cost(first, second, shape, metric, positions):
    return first + second if metric == "memory" else (first * positions + second) * math.prod(shape.output)


def wrong_rank_fraction_of_the_layer(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_weights_of_both_layers: document 001's arithmetic, half the rank is half of each side."""
    full = min(shape.in_channels, shape.out_channels)
    whole = shape.in_channels * shape.out_channels * math.prod(shape.kernel)
    return round(whole * (rank / full) ** 2) * (math.prod(shape.output) if metric == "macs" else 1)


def wrong_one_factor_only(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_weights_of_both_layers: forgets the second layer."""
    weights = rank * shape.in_channels * (shape.kernel[0] if scheme == "spatial" else 1)
    return weights if metric == "memory" else weights * math.prod(shape.output)


def wrong_counts_the_singular_values(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_weights_of_both_layers: a third factor of rank numbers, which went into the other two."""
    return right_formula(shape, rank, scheme, metric) + rank


def wrong_kernel_sides_swapped(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_weights_of_both_layers: the first of the spatial pair gets the width of the kernel."""
    return right_formula(shape._replace(kernel=shape.kernel[::-1]), rank, scheme, metric)


def wrong_whole_kernel_in_the_first(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_weights_of_both_layers: the 1 x 1 layer of "weight" comes last."""
    if scheme == "spatial":
        return right_formula(shape, rank, scheme, metric)
    first = rank * shape.in_channels * math.prod(shape.kernel)
    return _cost(first, rank * shape.out_channels, shape, metric, 1)


def wrong_same_positions_for_both(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_positions_of_both_layers: all weights at H x W positions, whatever the stride."""
    return right_formula(shape._replace(stride=(1, 1)), rank, scheme, metric)


def wrong_vertical_stride(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_positions_of_both_layers: the first layer has the vertical stride already."""
    return right_formula(shape._replace(stride=shape.stride[::-1]), rank, scheme, metric)


def wrong_whole_stride_in_the_spatial_one(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_positions_of_both_layers: takes sh * sw for both schemes."""
    (kh, kw), positions = shape.kernel, math.prod(shape.stride)
    if scheme == "spatial":
        return _cost(rank * shape.in_channels * kh, rank * shape.out_channels * kw, shape, metric, positions)
    return right_formula(shape, rank, scheme, metric)


def wrong_always_memory(shape, rank, scheme="spatial", metric="macs"):
    """Fails test_svd_cost_counts_the_positions_of_both_layers: weights for MACs too."""
    return right_formula(shape, rank, scheme, "memory")


def right_formula(shape, rank, scheme="spatial", metric="macs"):
    (kh, kw), (sh, sw) = shape.kernel, shape.stride
    if scheme == "spatial":
        return _cost(rank * shape.in_channels * kh, rank * shape.out_channels * kw, shape, metric, sw)
    return _cost(rank * shape.in_channels, rank * shape.out_channels * kh * kw, shape, metric, sh * sw)


def right_by_building_the_layers(shape, rank, scheme="spatial", metric="macs"):
    (kh, kw), (sh, sw), (height, width) = shape.kernel, shape.stride, shape.output
    if scheme == "spatial":
        first, positions = nn.Conv2d(shape.in_channels, rank, (kh, 1), bias=False, device="meta"), (height, width * sw)
        second = nn.Conv2d(rank, shape.out_channels, (1, kw), bias=False, device="meta")
    else:
        first, positions = nn.Conv2d(shape.in_channels, rank, 1, bias=False, device="meta"), (height * sh, width * sw)
        second = nn.Conv2d(rank, shape.out_channels, (kh, kw), bias=False, device="meta")
    if metric == "memory":
        return first.weight.numel() + second.weight.numel()
    before = metrics.layer_macs(first, (shape.in_channels, 1, 1), (rank, *positions))
    return before + metrics.layer_macs(second, (rank, 1, 1), (shape.out_channels, height, width))
