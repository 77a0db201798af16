import copy

import torch
from torch import nn

from tinyshrink import lowrank


def _two(layer, rank, bias=True, first_bias=False):
    first = nn.Linear(layer.in_features, rank, bias=first_bias)
    second = nn.Linear(rank, layer.out_features, bias=bias and layer.bias is not None)
    return first.to(layer.weight.dtype), second.to(layer.weight.dtype)


def wrong_order(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: left first, since it stands on the left in left @ right."""
    left, right = lowrank.truncated_svd(layer.weight, rank)
    first = nn.Linear(layer.out_features, rank, bias=False)
    second = nn.Linear(rank, layer.in_features, bias=layer.bias is not None)
    return lowrank.pair(layer, first, left.T, second, right.T)


def wrong_bias_in_the_first(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: both layers have a bias, one more than the layer had."""
    first, second = _two(layer, rank, first_bias=True)
    left, right = lowrank.truncated_svd(layer.weight, rank)
    return lowrank.pair(layer, first, right, second, left)


def wrong_random_bias(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: the second layer's bias is a new one."""
    first, second = _two(layer, rank)
    left, right = lowrank.truncated_svd(layer.weight, rank)
    first.weight.data, second.weight.data = right, left
    return nn.Sequential(first, second)


def wrong_no_bias(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: loses the bias."""
    first, second = _two(layer, rank, bias=False)
    left, right = lowrank.truncated_svd(layer.weight, rank)
    first.weight.data, second.weight.data = right, left
    return nn.Sequential(first, second).train(layer.training)


def wrong_same_bias_object(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: shares the bias with the layer."""
    first, second = _two(layer, rank, bias=False)
    left, right = lowrank.truncated_svd(layer.weight, rank)
    first.weight.data, second.weight.data, second.bias = right, left, layer.bias
    return nn.Sequential(first, second).train(layer.training)


def wrong_no_weights(layer, rank):
    """Fails test_factorize_linear_computes_the_same_at_full_rank: two layers of the right shapes with random weights."""
    first, second = _two(layer, rank)
    if layer.bias is not None:
        second.bias.data = layer.bias.detach().clone()
    return nn.Sequential(first, second).train(layer.training)


def wrong_relu_between(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: two layers with a ReLU between are another function."""
    two = right_by_hand(layer, rank)
    return nn.Sequential(two[0], nn.ReLU(), two[1])


def wrong_weight_of_the_layer_replaced(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: one layer of low rank has as many weights as before."""
    left, right = lowrank.truncated_svd(layer.weight, rank)
    new = copy.deepcopy(layer)
    new.weight.data = left @ right
    return nn.Sequential(new)


def wrong_always_training(layer, rank):
    """Fails test_factorize_linear_of_drawn_layers: new modules are in training mode, the layer may not be."""
    return right_by_hand(layer, rank).train()


def wrong_shares_the_bias(layer, rank):
    """Fails test_factorize_linear_makes_two_layers: a new Parameter around the memory of the layer's own bias."""
    two = right_from_the_shapes(layer, rank)
    if layer.bias is not None:
        two[1].bias = nn.Parameter(layer.bias.data)
    return two


def right_by_hand(layer, rank):
    left, right = lowrank.truncated_svd(layer.weight, rank)
    first, second = _two(layer, rank)
    with torch.no_grad():
        first.weight.copy_(right)
        second.weight.copy_(left)
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second).train(layer.training)


def right_from_the_shapes(layer, rank):
    outputs, inputs = layer.weight.shape
    bias = layer.bias is not None
    weights = lowrank.truncated_svd(layer.weight.T, rank)  # x @ weight.T = x @ (inputs, rank) @ (rank, outputs)
    layers = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=bias)
    return lowrank.pair(layer, layers[0], weights[0].T, layers[1], weights[1].T)
