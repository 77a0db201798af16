import torch
from torch import nn

from tinyshrink import lowrank


def _second(conv, rank, **changes):
    settings = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation, "padding_mode": conv.padding_mode}
    return nn.Conv2d(rank, conv.out_channels, conv.kernel_size, bias=conv.bias is not None, **settings | changes)


def _first(conv, rank, **changes):
    return nn.Conv2d(conv.in_channels, rank, 1, **{"bias": False} | changes)


def _weights(conv, rank):
    left, right = lowrank.truncated_svd(lowrank.as_matrix(conv.weight, "weight"), rank)
    return left.T[:, :, None, None], right.reshape(rank, conv.out_channels, *conv.kernel_size).transpose(0, 1)


def _pair(conv, first, second, weights):
    return lowrank.pair(conv, first, weights[0], second, weights[1])


def wrong_pointwise_last(conv, rank):
    """Fails test_weight_svd_puts_a_pointwise_layer_first: the k x k layer first, as for weight.flatten(1)."""
    left, right = lowrank.truncated_svd(conv.weight.flatten(1), min(rank, conv.out_channels))
    settings = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation, "padding_mode": conv.padding_mode}
    first = nn.Conv2d(conv.in_channels, len(right), conv.kernel_size, bias=False, **settings)
    second = nn.Conv2d(len(right), conv.out_channels, 1, bias=conv.bias is not None)
    weights = right.reshape(len(right), conv.in_channels, *conv.kernel_size), left[:, :, None, None]
    return _pair(conv, first, second, weights)


def wrong_stride_in_the_first(conv, rank):
    """Fails test_weight_svd_puts_a_pointwise_layer_first: cheaper, but it throws the positions between away."""
    first, second = _first(conv, rank, stride=conv.stride), _second(conv, rank, stride=1)
    return _pair(conv, first, second, _weights(conv, rank))


def wrong_stride_in_both(conv, rank):
    """Fails test_weight_svd_puts_a_pointwise_layer_first: the strides of the two multiply."""
    return _pair(conv, _first(conv, rank, stride=conv.stride), _second(conv, rank), _weights(conv, rank))


def wrong_padding_in_the_first(conv, rank):
    """Fails test_weight_svd_puts_a_pointwise_layer_first: a 1 x 1 layer needs no padding, two paddings are too many."""
    padding = 0 if isinstance(conv.padding, str) else conv.padding
    return _pair(conv, _first(conv, rank, padding=padding), _second(conv, rank), _weights(conv, rank))


def wrong_dilation_forgotten(conv, rank):
    """Fails test_weight_svd_puts_a_pointwise_layer_first: the second layer has the dilation too."""
    return _pair(conv, _first(conv, rank), _second(conv, rank, dilation=1), _weights(conv, rank))


def wrong_padding_mode_forgotten(conv, rank):
    """Fails test_weight_svd_computes_the_same_at_full_rank: zeros at the border, whatever the convolution had."""
    return _pair(conv, _first(conv, rank), _second(conv, rank, padding_mode="zeros"), _weights(conv, rank))


def wrong_view_without_transpose(conv, rank):
    """Fails test_weight_svd_computes_the_same_at_full_rank: the right number of values, in another order."""
    first, second = _weights(conv, rank)
    _, right = lowrank.truncated_svd(lowrank.as_matrix(conv.weight, "weight"), rank)
    return _pair(conv, _first(conv, rank), _second(conv, rank), (first, right.reshape(second.shape)))


def wrong_matrix_as_it_lies(conv, rank):
    """Fails test_weight_svd_computes_the_same_at_full_rank: reshapes (out, in, kh, kw) to (in, ...) without moving axes."""
    left, right = lowrank.truncated_svd(conv.weight.reshape(conv.in_channels, -1), rank)
    second = right.reshape(rank, conv.out_channels, *conv.kernel_size).transpose(0, 1)
    return _pair(conv, _first(conv, rank), _second(conv, rank), (left.T[:, :, None, None], second))


def wrong_bias_in_both(conv, rank):
    """Fails test_weight_svd_puts_a_pointwise_layer_first: the first layer has a random bias of its own."""
    return _pair(conv, _first(conv, rank, bias=True), _second(conv, rank), _weights(conv, rank))


def right_einsum(conv, rank):
    (n, m), (kh, kw) = conv.weight.shape[:2], conv.kernel_size
    left, right = lowrank.truncated_svd(torch.einsum("oihw->iohw", conv.weight.detach()).reshape(m, n * kh * kw), rank)
    second = torch.einsum("rohw->orhw", right.view(rank, n, kh, kw))
    return _pair(conv, _first(conv, rank), _second(conv, rank), (left.mT.reshape(rank, m, 1, 1), second))


def right_one_rank_at_a_time(conv, rank):
    left, right = lowrank.truncated_svd(conv.weight.transpose(0, 1).flatten(1), rank)
    first, second = _first(conv, rank).to(conv.weight.dtype), _second(conv, rank).to(conv.weight.dtype)
    with torch.no_grad():
        for r in range(rank):
            first.weight[r, :, 0, 0] = left[:, r]
            second.weight[:, r] = right[r].view(conv.out_channels, *conv.kernel_size)
        if conv.bias is not None:
            second.bias.copy_(conv.bias)
    return nn.Sequential(first, second).train(conv.training)
