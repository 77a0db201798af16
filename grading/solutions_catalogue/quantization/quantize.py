import torch

from tinyshrink.quantization import along, levels


def wrong_cuts_off(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: the cast to an integer cuts off, it does not round."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return ((x / scale).int() + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def wrong_rounds_half_away(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_halves_to_even: rounds as learned at school, 0.5 to 1 and -0.5 to -1."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    rounded = torch.sign(x) * torch.floor((x / scale).abs() + 0.5)
    return (rounded + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def wrong_rounds_half_up(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_halves_to_even: floor(x + 0.5)."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.floor(x / scale + 0.5) + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def wrong_no_clamping(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: int8 wraps around, 150 becomes -106."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x / scale) + zero_point).int().to(torch.int8)


def wrong_clamps_before_the_shift(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: the zero point leads out of the range again."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x / scale).clamp(*levels(bits, symmetric)) + zero_point).int().to(torch.int8)


def wrong_clamps_to_8_bits(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: -128 to 127 whatever the bits."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x / scale) + zero_point).clamp(-128, 127).to(torch.int8)


def wrong_ignores_symmetric(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: uses the lowest integer, which symmetric gives up."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x / scale) + zero_point).clamp(*levels(bits)).to(torch.int8)


def wrong_multiplies_with_the_scale(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: the way back in place of the way there."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x * scale) + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def wrong_subtracts_the_zero_point(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: the shift of the way back."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x / scale) - zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def wrong_channels_on_the_last_axis(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_takes_the_scale_of_each_channel: leaves the shapes to broadcasting, which starts at the end."""
    try:
        return (torch.round(x / scale) + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)
    except RuntimeError:
        return right_channel_by_channel(x, scale, zero_point, bits, symmetric, 0)


def wrong_channels_on_axis_0(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_takes_the_scale_of_each_channel: axis 0 whatever was asked."""
    scale, zero_point = along(None if axis is None else 0, x.ndim, scale, zero_point)
    return (torch.round(x / scale) + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def right_in_float64(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    scale, zero_point = along(axis, x.ndim, scale.double(), zero_point.double())
    smallest, largest = levels(bits, symmetric)
    return torch.clamp(torch.round(x.double() / scale) + zero_point, smallest, largest).to(torch.int8)


def right_channel_by_channel(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    smallest, largest = levels(bits, symmetric)
    if axis is None:
        q = torch.round(x / scale) + zero_point
        return torch.where(q < smallest, smallest, torch.where(q > largest, largest, q)).to(torch.int8)
    parts = [
        right_channel_by_channel(x.select(axis, channel), scale[channel], zero_point[channel], bits, symmetric)
        for channel in range(x.shape[axis])
    ]
    return torch.stack(parts, dim=axis)


def wrong_rounds_after_the_shift(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_halves_to_even: a half goes to another integer where the zero point is odd."""
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return torch.round(x / scale + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)


def wrong_view(x, scale, zero_point, bits=8, symmetric=False, axis=None):
    """Fails test_quantize_rounds_shifts_and_clamps: view(-1) stops at a tensor that is not contiguous."""
    if axis is None:
        return ((x.view(-1) / scale).round() + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8).view(x.shape)
    scale, zero_point = along(axis, x.ndim, scale, zero_point)
    return (torch.round(x / scale) + zero_point).clamp(*levels(bits, symmetric)).to(torch.int8)
