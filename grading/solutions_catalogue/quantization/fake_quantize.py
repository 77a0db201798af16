import torch

from tinyshrink.quantization import along, dequantize, levels, quantize


def wrong_without_a_gradient(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_passes_the_gradient_straight_through: there and back; rounding has no slope."""
    step, zero = along(axis, x.ndim, scale, zero_point)
    return ((torch.round(x / step) + zero).clamp(*levels(bits, symmetric)) - zero) * step


def wrong_through_int8(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_passes_the_gradient_straight_through: integers take no part in a backward pass."""
    return dequantize(quantize(x, scale, zero_point, bits, symmetric, axis), scale, zero_point, axis).clone().requires_grad_()


def wrong_gradient_where_clamped(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_passes_the_gradient_straight_through: x + (q - x).detach() has gradient 1 everywhere."""
    q = dequantize(quantize(x.detach(), scale, zero_point, bits, symmetric, axis), scale, zero_point, axis)
    return x + (q - x).detach()


def wrong_gradient_only_where_clamped(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_passes_the_gradient_straight_through: the mask the wrong way round."""
    step, zero = along(axis, x.ndim, scale, zero_point)
    integers = torch.round(x.detach() / step) + zero
    clamped = integers.clamp(*levels(bits, symmetric))
    return (clamped - zero) * step + (x - x.detach()) * (integers != clamped)


def wrong_gradient_ends_at_the_last_integer(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_passes_the_gradient_straight_through: clamps x itself, though 1.4 rounds to 1 unclamped."""
    step, zero = along(axis, x.ndim, scale, zero_point)
    smallest, largest = levels(bits, symmetric)
    inside = torch.clamp(x, (smallest - zero) * step, (largest - zero) * step)
    q = dequantize(quantize(x.detach(), scale, zero_point, bits, symmetric, axis), scale, zero_point, axis)
    return inside + (q - inside).detach()


def wrong_gradient_divided_by_the_scale(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_of_drawn_tensors: straight through the rounding, but the way back has its scale detached."""
    step, zero = along(axis, x.ndim, scale, zero_point)
    integers = torch.round(x.detach() / step) + zero
    clamped = integers.clamp(*levels(bits, symmetric))
    return (clamped - zero) * step + (x - x.detach()) / step * (integers == clamped)


def wrong_gives_the_integers(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_has_the_values_of_quantize: forgets the way back."""
    step, zero = along(axis, x.ndim, scale, zero_point)
    integers = torch.round(x.detach() / step) + zero
    clamped = integers.clamp(*levels(bits, symmetric))
    return clamped + (x - x.detach()) * (integers == clamped)


def wrong_ignores_the_zero_point(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_has_the_values_of_quantize: clamps as if zero were in the middle of the integers."""
    (step,) = along(axis, x.ndim, scale)
    integers = torch.round(x.detach() / step)
    clamped = integers.clamp(*levels(bits, symmetric))
    return clamped * step + (x - x.detach()) * (integers == clamped)


def wrong_one_scale_for_all(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_has_the_values_of_quantize: the largest scale for each channel."""
    return right_by_choosing_what_lives(x, scale.max(), zero_point.flatten()[0], bits, symmetric)


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, zero_point, smallest, largest):
        integers = torch.round(x / scale) + zero_point
        ctx.save_for_backward((integers >= smallest) & (integers <= largest))
        return (integers.clamp(smallest, largest) - zero_point) * scale

    @staticmethod
    def backward(ctx, gradient):
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None, None, None


def right_autograd_function(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    return _Straight.apply(x, *along(axis, x.ndim, scale, zero_point), *levels(bits, symmetric))


def right_by_choosing_what_lives(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    step, zero = along(axis, x.ndim, scale, zero_point)
    smallest, largest = levels(bits, symmetric)
    integers = torch.round(x.detach() / step) + zero
    live = torch.where((integers < smallest) | (integers > largest), x.detach(), x)
    q = dequantize(quantize(x.detach(), scale, zero_point, bits, symmetric, axis), scale, zero_point, axis)
    return live + (q - live).detach()


def _parts_with(x, scale, zero_point, bits, symmetric, axis):
    step, zero = along(axis, x.ndim, scale, zero_point)
    smallest, largest = levels(bits, symmetric)
    return step, zero, smallest, largest


def wrong_scale_learns(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_passes_the_gradient_straight_through: the scale stays in the graph and gets a gradient."""
    step, zero, smallest, largest = _parts_with(x, scale, zero_point, bits, symmetric, axis)
    integers = torch.round(x.detach() / step) + zero
    inside = (smallest <= integers) & (integers <= largest)
    values = (integers.clamp(smallest, largest) - zero) * step
    return values.to(x.dtype) + (x - x.detach()) * inside


def wrong_always_float32(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_has_the_values_of_quantize: the result has the dtype of the scale, float32, whatever x has."""
    step, zero, smallest, largest = _parts_with(x, scale.detach(), zero_point, bits, symmetric, axis)
    integers = torch.round(x.detach() / step) + zero
    inside = (smallest <= integers) & (integers <= largest)
    return ((integers.clamp(smallest, largest) - zero) * step + (x - x.detach()) * inside).float()


def wrong_rounds_after_the_shift(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_fake_quantize_has_the_values_of_quantize: a half goes to another integer where the zero point is odd."""
    step, zero, smallest, largest = _parts_with(x, scale.detach(), zero_point, bits, symmetric, axis)
    integers = torch.round(x.detach() / step + zero)
    inside = (smallest <= integers) & (integers <= largest)
    return ((integers.clamp(smallest, largest) - zero) * step).to(x.dtype) + (x - x.detach()) * inside
