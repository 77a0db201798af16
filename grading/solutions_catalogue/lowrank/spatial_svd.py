import torch
from torch import nn

from tinyshrink import lowrank


def _layers(conv, rank, **changes):
    """The two layers of the right settings, but for `changes`."""
    (kh, kw), (sh, sw), p = conv.kernel_size, conv.stride, conv.padding
    down, along = (p, p) if isinstance(p, str) else ((p[0], 0), (0, p[1]))
    chosen = {"strides": ((sh, 1), (1, sw)), "paddings": (down, along), "mode": conv.padding_mode, "bias": False} | changes
    strides, paddings = chosen["strides"], chosen["paddings"]
    more = {"padding_mode": chosen["mode"]}
    first = nn.Conv2d(conv.in_channels, rank, (kh, 1), strides[0], paddings[0], bias=chosen["bias"], **more)
    return first, nn.Conv2d(rank, conv.out_channels, (1, kw), strides[1], paddings[1], bias=conv.bias is not None, **more)


def _weights(conv, rank):
    left, right = lowrank.truncated_svd(lowrank.as_matrix(conv.weight, "spatial"), rank)
    kh, kw = conv.kernel_size
    first = left.T.reshape(rank, conv.in_channels, kh, 1)
    return first, right.reshape(rank, conv.out_channels, 1, kw).transpose(0, 1)


def _pair(conv, layers, weights):
    return lowrank.pair(conv, layers[0], weights[0], layers[1], weights[1])


def wrong_padding_twice(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: both layers get the whole padding, the image grows."""
    return _pair(conv, _layers(conv, rank, paddings=(conv.padding, conv.padding)), _weights(conv, rank))


def wrong_all_padding_first(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: the first layer pads for both."""
    rest = conv.padding if isinstance(conv.padding, str) else 0
    return _pair(conv, _layers(conv, rank, paddings=(conv.padding, rest)), _weights(conv, rank))


def wrong_stride_in_the_first(conv, rank):
    """Fails test_spatial_svd_computes_the_same_at_full_rank: leaves out columns before the second layer has seen them."""
    return _pair(conv, _layers(conv, rank, strides=(conv.stride, (1, 1))), _weights(conv, rank))


def wrong_stride_in_both(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: strides of both layers multiply."""
    return _pair(conv, _layers(conv, rank, strides=(conv.stride, conv.stride)), _weights(conv, rank))


def wrong_stride_forgotten(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: without a stride the output is larger."""
    return _pair(conv, _layers(conv, rank, strides=((1, 1), (1, 1))), _weights(conv, rank))


def wrong_integer_padding_only(conv, rank):
    """Fails test_spatial_svd_computes_the_same_at_full_rank: takes "same" apart into letters."""
    paddings = ((conv.padding[0], 0), (0, conv.padding[1]))
    return _pair(conv, _layers(conv, rank, paddings=paddings), _weights(conv, rank))


def wrong_padding_mode_forgotten(conv, rank):
    """Fails test_spatial_svd_computes_the_same_at_full_rank: zeros at the border, whatever the convolution had."""
    return _pair(conv, _layers(conv, rank, mode="zeros"), _weights(conv, rank))


def wrong_view_without_transpose(conv, rank):
    """Fails test_spatial_svd_computes_the_same_at_full_rank: the right number of values, in another order."""
    first, second = _weights(conv, rank)
    left, right = lowrank.truncated_svd(lowrank.as_matrix(conv.weight, "spatial"), rank)
    return _pair(conv, _layers(conv, rank), (left.reshape(first.shape), right.reshape(second.shape)))


def wrong_matrix_as_it_lies(conv, rank):
    """Fails test_spatial_svd_has_the_known_errors: cuts (out, in, kh, kw) in the middle without moving the axes."""
    (n, m), (kh, kw) = conv.weight.shape[:2], conv.kernel_size
    left, right = lowrank.truncated_svd(conv.weight.reshape(m * kh, n * kw), rank)
    weights = left.T.reshape(rank, m, kh, 1), right.reshape(rank, n, 1, kw).transpose(0, 1)
    return _pair(conv, _layers(conv, rank), weights)


def wrong_columns_last(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: along the rows first; its own full rank is another, too."""
    turned = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size[::-1], bias=conv.bias is not None)
    turned = turned.to(conv.weight.dtype)
    turned.weight.data = conv.weight.data.transpose(2, 3)
    weights = [weight.transpose(2, 3) for weight in _weights(turned, rank)]
    (kh, kw), (sh, sw), p = conv.kernel_size, conv.stride, conv.padding
    along, down = (p, p) if isinstance(p, str) else ((0, p[1]), (p[0], 0))
    more = {"padding_mode": conv.padding_mode}
    first = nn.Conv2d(conv.in_channels, rank, (1, kw), (1, sw), along, bias=False, **more)
    second = nn.Conv2d(rank, conv.out_channels, (kh, 1), (sh, 1), down, bias=conv.bias is not None, **more)
    return _pair(conv, (first, second), weights)


def wrong_bias_lost(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: the bias of the convolution is gone."""
    two = _pair(conv, _layers(conv, rank), _weights(conv, rank))
    two[1].bias = None
    return two


def wrong_bias_in_both(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: the first layer has a random bias of its own."""
    first, second = _layers(conv, rank, bias=True)
    first.bias.data = first.bias.data.to(conv.weight.dtype)
    return _pair(conv, (first, second), _weights(conv, rank))


def wrong_each_filter_by_itself(conv, rank):
    """Fails test_spatial_svd_has_the_known_errors: the best single column and row of each slice, summed up to the rank."""
    U, S, Vh = torch.linalg.svd(conv.weight.detach())  # (out, in, kh, kh) ...
    near = (U[..., :1] * S[..., None, :1]) @ Vh[..., :1, :]
    copied = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, bias=conv.bias is not None)
    copied = copied.to(conv.weight.dtype)
    copied.weight.data = near
    return _pair(conv, _layers(conv, rank), _weights(copied, rank))


def wrong_shares_the_bias(conv, rank):
    """Fails test_spatial_svd_splits_kernel_stride_and_padding: a new Parameter around the memory of the old bias."""
    two = right_einsum(conv, rank)
    if conv.bias is not None:
        two[1].bias = nn.Parameter(conv.bias.data)
    return two


def right_einsum(conv, rank):
    (n, m), (kh, kw) = conv.weight.shape[:2], conv.kernel_size
    matrix = torch.einsum("oihw->ihow", conv.weight.detach()).reshape(m * kh, n * kw)
    left, right = lowrank.truncated_svd(matrix, rank)
    first = torch.einsum("ihr->rih", left.reshape(m, kh, rank))[..., None]
    second = torch.einsum("row->orw", right.reshape(rank, n, kw))[:, :, None]
    return _pair(conv, _layers(conv, rank), (first, second))


def right_filter_by_filter(conv, rank):
    (n, m), (kh, kw) = conv.weight.shape[:2], conv.kernel_size
    rows = [conv.weight[:, i, h, :].flatten() for i in range(m) for h in range(kh)]
    left, right = lowrank.truncated_svd(torch.stack(rows), rank)
    first, second = _layers(conv, rank)
    first, second = first.to(conv.weight.dtype), second.to(conv.weight.dtype)
    with torch.no_grad():
        for r in range(rank):
            first.weight[r] = left[:, r].view(m, kh, 1)
            second.weight[:, r] = right[r].view(n, 1, kw)
        if conv.bias is not None:
            second.bias.copy_(conv.bias)
    return nn.Sequential(first, second).train(conv.training)
