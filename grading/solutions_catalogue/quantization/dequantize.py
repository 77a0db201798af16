import torch

from tinyshrink.quantization import along


def wrong_subtracts_in_int8(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: 127 - (-100) does not fit int8 and wraps around."""
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return (q - zero_point.to(torch.int8)) * scale


def wrong_multiplies_first(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: q * scale - zero_point."""
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return q * scale - zero_point


def wrong_adds_the_zero_point(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: the shift of quantize once more."""
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return (q.float() + zero_point) * scale


def wrong_forgets_the_zero_point(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: right for symmetric ranges only."""
    (scale,) = along(axis, q.ndim, scale)
    return q.float() * scale


def wrong_divides_by_the_scale(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: the way there in place of the way back."""
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return (q.float() - zero_point) / scale


def wrong_gives_integers(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: rounds the result once more."""
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return torch.round((q.float() - zero_point) * scale)


def wrong_channels_on_the_last_axis(q, scale, zero_point, axis=None):
    """Fails test_quantize_and_dequantize_of_drawn_tensors: broadcasting starts at the end, whatever the axis."""
    try:
        return (q.float() - zero_point) * scale
    except RuntimeError:
        return right_axis_moved(q, scale, zero_point, 0)


def wrong_channels_on_axis_0(q, scale, zero_point, axis=None):
    """Fails test_quantize_takes_the_scale_of_each_channel: axis 0 whatever was asked."""
    scale, zero_point = along(None if axis is None else 0, q.ndim, scale, zero_point)
    return (q.float() - zero_point) * scale


def right_multiplied_out(q, scale, zero_point, axis=None):
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return (q.double() * scale - zero_point.double() * scale).to(scale.dtype)


def right_axis_moved(q, scale, zero_point, axis=None):
    axis = -1 if axis is None else axis
    return (
        (q.int() - zero_point).movedim(-1, -1) * scale
        if axis == -1
        else ((q.movedim(axis, -1).int() - zero_point) * scale).movedim(-1, axis)
    )


def wrong_always_float32(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: .float() whatever dtype the scale has."""
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return ((q.float() - zero_point) * scale).float()


def wrong_in_half_precision(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: the product is computed in half precision."""
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return ((q.to(torch.int16) - zero_point.to(torch.int16)).half() * scale.half()).to(scale.dtype)


def wrong_view(q, scale, zero_point, axis=None):
    """Fails test_dequantize_gives_the_real_numbers_back: view(-1) stops at a tensor that is not contiguous."""
    if axis is None:
        return ((q.view(-1).float() - zero_point) * scale).view(q.shape)
    scale, zero_point = along(axis, q.ndim, scale, zero_point)
    return (q.float() - zero_point) * scale
