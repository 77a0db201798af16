import math

import torch
from torch import nn

from tinyshrink import metrics

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def wrong_ignores_groups(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: with groups a filter sees only some of the channels."""
    if isinstance(layer, nn.Linear):
        return math.prod(output_shape) * layer.in_features
    if layer.transposed:
        return math.prod(input_shape) * layer.out_channels * math.prod(layer.kernel_size)
    return math.prod(output_shape) * layer.in_channels * math.prod(layer.kernel_size)


def wrong_groups_twice(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: the weight's shape has the groups in it already."""
    if isinstance(layer, nn.Linear):
        return math.prod(output_shape) * layer.in_features
    places = math.prod((input_shape if layer.transposed else output_shape)[1:])
    return places * layer.weight.numel() // layer.groups


def wrong_parameters(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: a kernel's weight is used at every place."""
    return metrics.count_parameters(layer)


def wrong_linear_once(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: Linear works at each of the leading positions."""
    if isinstance(layer, nn.Linear):
        return layer.weight.numel()
    return math.prod((input_shape if layer.transposed else output_shape)[1:]) * layer.weight.numel()


def wrong_first_position_only(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: multiplied one leading dimension of several."""
    if isinstance(layer, nn.Linear):
        return layer.weight.numel() * (output_shape[0] if len(output_shape) > 1 else 1)
    return math.prod((input_shape if layer.transposed else output_shape)[1:]) * layer.weight.numel()


def wrong_bias(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: a bias is an addition without a multiplication."""
    elements = input_shape if getattr(layer, "transposed", False) else output_shape
    bias = math.prod(output_shape) if layer.bias is not None else 0
    return math.prod(elements) * math.prod(layer.weight.shape[1:]) + bias


def wrong_flops(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: counted multiplications and additions apart."""
    elements = input_shape if getattr(layer, "transposed", False) else output_shape
    return 2 * math.prod(elements) * math.prod(layer.weight.shape[1:])


def wrong_square_kernel(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: not every kernel is k x k."""
    if isinstance(layer, nn.Linear):
        return math.prod(output_shape) * layer.in_features
    places = math.prod((input_shape if layer.transposed else output_shape)[1:])
    return places * layer.weight.shape[0] * layer.weight.shape[1] * layer.kernel_size[0] ** 2


def wrong_two_dimensions_only(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: height and width, and no depth."""
    if isinstance(layer, nn.Linear):
        return math.prod(output_shape) * layer.in_features
    return math.prod((input_shape if layer.transposed else output_shape)[1:3]) * layer.weight.numel()


def wrong_dilation(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: the holes of a dilated kernel are not multiplied."""
    if isinstance(layer, nn.Linear):
        return math.prod(output_shape) * layer.in_features
    kernel = math.prod(d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size))
    places = math.prod((input_shape if layer.transposed else output_shape)[1:])
    return places * layer.weight.shape[0] * layer.weight.shape[1] * kernel


def wrong_places_of_the_input(layer, input_shape, output_shape):
    """Fails test_layer_macs_of_small_layers_worked_by_hand: stride and padding change the number of places."""
    if isinstance(layer, nn.Linear):
        return math.prod(output_shape) * layer.in_features
    return math.prod(input_shape[1:]) * layer.weight.numel()


def wrong_transposed_by_the_output(layer, input_shape, output_shape):
    """Fails test_layer_macs_counts_the_products_that_are_really_made: a transposed convolution scatters its input."""
    return math.prod(output_shape) * math.prod(layer.weight.shape[1:])


def right_step_by_step(layer, input_shape, output_shape):
    if isinstance(layer, nn.Linear):
        total = layer.in_features * layer.out_features
        for size in output_shape[:-1]:
            total *= size
        return total
    total = layer.in_channels * layer.out_channels // layer.groups
    for size in layer.kernel_size:
        total *= size
    for size in (input_shape if layer.transposed else output_shape)[1:]:
        total *= size
    return total


def right_by_the_weight(layer, input_shape, output_shape):
    elements = input_shape if isinstance(layer, TRANSPOSED) else output_shape
    return torch.Size(elements).numel() * layer.weight[0].numel()
