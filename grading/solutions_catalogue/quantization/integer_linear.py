import numpy as np
import torch
import torch.nn.functional as F


def wrong_stays_in_int8(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: x - zero_point wraps around."""
    shifted = x - torch.as_tensor(zero_point).to(torch.int8)
    return shifted.int() @ weight.int().T + bias


def wrong_forgets_the_zero_point(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: multiplies the integers as they are stored."""
    return (x.double() @ weight.double().T + bias).int()


def wrong_adds_the_zero_point(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: the shift of quantize once more."""
    return ((x.double() + zero_point) @ weight.double().T + bias).int()


def wrong_shifts_the_weight_too(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: the zero point is the input's."""
    return ((x.double() - zero_point) @ (weight.double() - zero_point).T + bias).int()


def wrong_forgets_the_bias(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: sums of products only."""
    return ((x.double() - zero_point) @ weight.double().T).int()


def wrong_weight_not_transposed(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: a weight is (outputs, inputs)."""
    return ((x.double() - zero_point) @ weight.double().reshape(x.shape[-1], -1) + bias).int()


def wrong_float32_for_any_size(x, weight, bias, zero_point):
    """Fails test_integer_linear_is_exact_for_many_inputs: above 2^24 float32 leaves integers out."""
    return F.linear(x.float() - zero_point, weight.float(), bias.float()).int()


def wrong_gives_floats(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: exact, but not int32."""
    return F.linear(x.double() - zero_point, weight.double(), bias.double())


def wrong_shifts_the_sums(x, weight, bias, zero_point):
    """Fails test_integer_linear_adds_up_the_products: the zero point once an output, not once a product."""
    return (x.double() @ weight.double().T - zero_point + bias).int()


def right_in_int32(x, weight, bias, zero_point):
    return (x.int() - zero_point) @ weight.int().T + bias


def right_with_a_correction_per_output(x, weight, bias, zero_point):
    """Sum of (x - z) w = sum of x w - z sum of w: the second is known before any input comes."""
    products = torch.from_numpy(x.numpy().astype(np.int64) @ weight.numpy().astype(np.int64).T)
    return (products - int(zero_point) * weight.long().sum(1) + bias.long()).int()
