import copy

import torch
import torch.nn.functional as F
from torch import nn


def _fold(layer, norm, eps=True, root=True, gamma=True, beta=True, mean=True, old_bias=True, scaled=True):
    variance = norm.running_var + (norm.eps if eps else 0)
    factor = 1 / (variance.sqrt() if root else variance)
    if norm.affine and gamma:
        factor = factor * norm.weight
    bias = torch.zeros_like(factor)
    if layer.bias is not None and old_bias:
        bias = bias + layer.bias
    if mean:
        bias = bias - norm.running_mean
    if scaled:
        bias = bias * factor
    if norm.affine and beta:
        bias = bias + norm.bias
    new = copy.deepcopy(layer)
    new.weight = nn.Parameter((layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))).detach())
    new.bias = nn.Parameter(bias.detach())
    return new


def wrong_forgets_eps(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: eps looks like a detail."""
    return _fold(layer, norm, eps=False)


def wrong_divides_by_the_variance(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: takes no square root."""
    return _fold(layer, norm, root=False)


def wrong_bias_not_scaled(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: only the weight is multiplied."""
    return _fold(layer, norm, scaled=False)


def wrong_forgets_the_layers_bias(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: the layer before a BatchNorm often has none, but it may."""
    return _fold(layer, norm, old_bias=False)


def wrong_forgets_the_mean(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: scales and shifts, but does not centre."""
    return _fold(layer, norm, mean=False)


def wrong_forgets_beta(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: the bias of the BatchNorm is lost."""
    return _fold(layer, norm, beta=False)


def wrong_forgets_gamma(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: the weight of the BatchNorm is lost."""
    return _fold(layer, norm, gamma=False)


def wrong_along_the_input(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: multiplies along the last axis, by way of broadcasting."""
    new = _fold(layer, norm)
    factor = torch.rsqrt(norm.running_var + norm.eps) * (norm.weight if norm.affine else 1)
    if layer.weight.shape[1] == len(factor):
        new.weight = nn.Parameter((layer.weight * factor.reshape(1, -1, *[1] * (layer.weight.ndim - 2))).detach())
    else:
        new.weight = nn.Parameter((layer.weight * factor.mean()).detach())
    return new


def wrong_needs_an_affine_norm(layer, norm):
    """Fails test_fold_pair_computes_what_the_two_did: there is no weight where affine is False."""
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return _fold(layer, norm) if factor is not None else layer


def wrong_changes_the_layer(layer, norm):
    """Fails test_fold_pair_makes_a_new_layer: writes into the layer that was given."""
    new = _fold(layer, norm)
    layer.weight, layer.bias = new.weight, new.bias
    return layer


def wrong_weight_with_a_history(layer, norm):
    """Fails test_fold_pair_makes_a_new_layer: the new weight is computed from the old parameters at each step back."""
    new = _fold(layer, norm)
    weight = layer.weight * (new.weight / layer.weight).detach()
    del new.weight
    new.weight = weight
    return new


def right_by_probing(layer, norm):
    """A layer that is affine is known by what it does to zero and to its weight."""
    new = copy.deepcopy(layer)
    shape = (1, -1) if isinstance(layer, nn.Linear) else (1, -1, 1, 1)
    with torch.no_grad():
        modes = (norm.weight, norm.bias) if norm.affine else (None, None)
        start = torch.zeros_like(norm.running_mean) if layer.bias is None else layer.bias
        bias = F.batch_norm(start.reshape(shape), norm.running_mean, norm.running_var, *modes, False, 0, norm.eps).flatten()
        one = torch.ones_like(norm.running_mean).reshape(shape)
        zero = torch.zeros_like(one)
        ends = [F.batch_norm(end, norm.running_mean, norm.running_var, *modes, False, 0, norm.eps) for end in (one, zero)]
        factor = (ends[0] - ends[1]).flatten()
        new.weight = nn.Parameter(torch.einsum("o...,o->o...", layer.weight, factor))
        new.bias = nn.Parameter(bias)
    return new


def right_with_pytorchs_own(layer, norm):
    fuse = nn.utils.fusion.fuse_linear_bn_eval if isinstance(layer, nn.Linear) else nn.utils.fusion.fuse_conv_bn_eval
    return fuse(copy.deepcopy(layer).eval(), copy.deepcopy(norm).eval())


def _numbers_with(layer, norm):
    gamma = norm.weight.detach() if norm.affine else torch.ones_like(norm.running_var)
    beta = norm.bias.detach() if norm.affine else torch.zeros_like(norm.running_var)
    factor = gamma / torch.sqrt(norm.running_var + norm.eps)
    old = torch.zeros_like(factor) if layer.bias is None else layer.bias.detach()
    weight = layer.weight.detach() * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
    return weight, (old - norm.running_mean) * factor + beta


def wrong_forgets_dilation(layer, norm):
    """Fails test_fold_pair_in_the_middle_of_training: builds the new layer by hand, without one of its arguments."""
    weight, bias = _numbers_with(layer, norm)
    if isinstance(layer, nn.Linear):
        folded = nn.Linear(layer.in_features, layer.out_features)
    else:
        a = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        folded = nn.Conv2d(*a, groups=layer.groups)
    folded.weight, folded.bias = nn.Parameter(weight), nn.Parameter(bias)
    return folded


def wrong_float32_whatever_comes(layer, norm):
    """Fails test_fold_pair_in_the_middle_of_training: the new layer has the default dtype."""
    weight, bias = _numbers_with(layer, norm)
    folded = copy.deepcopy(layer).float()
    folded.weight, folded.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return folded


def wrong_puts_the_norm_into_eval_mode(layer, norm):
    """Fails test_fold_pair_in_the_middle_of_training: probes the norm, and puts it into eval mode for good."""
    norm.eval()
    weight, bias = _numbers_with(layer, norm)
    folded = copy.deepcopy(layer)
    folded.weight, folded.bias = nn.Parameter(weight), nn.Parameter(bias)
    return folded


def wrong_probes_in_the_mode_it_finds(layer, norm):
    """Fails test_fold_pair_in_the_middle_of_training: in train mode the norm takes the statistics of the probe."""
    count = norm.num_features
    shape = (2, count) if isinstance(layer, nn.Linear) else (2, count, 1, 1)
    with torch.no_grad():
        probe = torch.zeros(shape)
        probe[1] = 1
        zero, one = norm(probe).reshape(2, count)
    factor = one - zero
    old = torch.zeros(count) if layer.bias is None else layer.bias.detach()
    folded = copy.deepcopy(layer)
    folded.weight = nn.Parameter(layer.weight.detach() * factor.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    folded.bias = nn.Parameter(old * factor + zero)
    return folded


def right_written_into_a_copy(layer, norm):
    weight, bias = _numbers_with(layer, norm)
    folded = copy.deepcopy(layer)
    folded.bias = nn.Parameter(torch.empty_like(bias))
    with torch.no_grad():
        folded.weight.copy_(weight)
        folded.bias.copy_(bias)
    return folded
