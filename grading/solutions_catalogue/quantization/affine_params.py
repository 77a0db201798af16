import torch

from tinyshrink.quantization import levels


def _ends(low, high):
    low, high = (torch.as_tensor(end).detach().double() for end in (low, high))
    if not (low <= high).all() or not torch.isfinite(high - low).all():
        raise ValueError(f"a range needs finite numbers, low <= high: got {low} and {high}")
    return low, high


def _finish(scale, zero_point):
    return scale.float(), zero_point.int()


def _mended(scale):
    return torch.where(scale > 0, scale, 1.0)


def wrong_range_not_widened(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_holds_zero_in_every_range: scale from low..high as they are, the zero point clamped."""
    low, high = _ends(low, high)
    smallest, largest = levels(bits, symmetric)
    if symmetric:
        scale = _mended(torch.maximum(low.abs(), high.abs()) / largest)
        return _finish(scale, torch.zeros_like(scale))
    scale = _mended((high - low) / (largest - smallest))
    return _finish(scale, torch.round(smallest - low / scale).clamp(smallest, largest))


def wrong_zero_point_unclamped(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_holds_zero_in_every_range: neither widened nor clamped, so that zero has no integer."""
    low, high = _ends(low, high)
    smallest, largest = levels(bits, symmetric)
    if symmetric:
        scale = _mended(torch.maximum(low.abs(), high.abs()) / largest)
        return _finish(scale, torch.zeros_like(scale))
    scale = _mended((high - low) / (largest - smallest))
    return _finish(scale, torch.round(smallest - low / scale))


def wrong_zero_point_cut_off(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_covers_the_range_with_all_integers: int() in place of rounding."""
    low, high = (end.clamp(max=0) if i == 0 else end.clamp(min=0) for i, end in enumerate(_ends(low, high)))
    smallest, largest = levels(bits, symmetric)
    if symmetric:
        scale = _mended(torch.maximum(-low, high) / largest)
        return _finish(scale, torch.zeros_like(scale))
    scale = _mended((high - low) / (largest - smallest))
    return _finish(scale, (smallest - low / scale).trunc())


def wrong_counts_integers_not_steps(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_covers_the_range_with_all_integers: 2^bits integers have 2^bits - 1 steps between them."""
    low, high = (end.clamp(max=0) if i == 0 else end.clamp(min=0) for i, end in enumerate(_ends(low, high)))
    smallest, largest = levels(bits, symmetric)
    if symmetric:
        scale = _mended(torch.maximum(-low, high) / largest)
        return _finish(scale, torch.zeros_like(scale))
    scale = _mended((high - low) / 2**bits)
    return _finish(scale, torch.round(smallest - low / scale).clamp(smallest, largest))


def wrong_unsigned_integers(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_covers_the_range_with_all_integers: 0 to 255, as in other books."""
    low, high = (end.clamp(max=0) if i == 0 else end.clamp(min=0) for i, end in enumerate(_ends(low, high)))
    _, largest = levels(bits, symmetric)
    if symmetric:
        scale = _mended(torch.maximum(-low, high) / largest)
        return _finish(scale, torch.zeros_like(scale))
    scale = _mended((high - low) / (2**bits - 1))
    return _finish(scale, torch.round(-low / scale).clamp(0, 2**bits - 1))


def wrong_zero_point_has_the_wrong_sign(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_covers_the_range_with_all_integers: adds low / scale."""
    low, high = (end.clamp(max=0) if i == 0 else end.clamp(min=0) for i, end in enumerate(_ends(low, high)))
    smallest, largest = levels(bits, symmetric)
    if symmetric:
        scale = _mended(torch.maximum(-low, high) / largest)
        return _finish(scale, torch.zeros_like(scale))
    scale = _mended((high - low) / (largest - smallest))
    return _finish(scale, torch.round(smallest + low / scale).clamp(smallest, largest))


def wrong_symmetric_scale_of_the_width(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_symmetric_has_zero_at_zero: high - low over all steps, as if it were centred already."""
    if not symmetric:
        return right_in_float64(low, high, bits, symmetric)
    low, high = _ends(low, high)
    scale = _mended((high.clamp(min=0) - low.clamp(max=0)) / (2**bits - 2))
    return _finish(scale, torch.zeros_like(scale))


def wrong_symmetric_scale_of_high(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_symmetric_has_zero_at_zero: forgets that -low may be the larger one."""
    if not symmetric:
        return right_in_float64(low, high, bits, symmetric)
    _, high = _ends(low, high)
    scale = _mended(high.clamp(min=0) / levels(bits)[1])
    return _finish(scale, torch.zeros_like(scale))


def wrong_symmetric_by_128(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_symmetric_has_zero_at_zero: divides by 2^(bits - 1), which is not an integer of the range."""
    if not symmetric:
        return right_in_float64(low, high, bits, symmetric)
    low, high = _ends(low, high)
    scale = _mended(torch.maximum(low.abs(), high.abs()) / 2 ** (bits - 1))
    return _finish(scale, torch.zeros_like(scale))


def wrong_zero_range_gives_zero_scale(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_holds_zero_in_every_range: divides by a scale of zero, for a channel of zeros."""
    low, high = (end.clamp(max=0) if i == 0 else end.clamp(min=0) for i, end in enumerate(_ends(low, high)))
    smallest, largest = levels(bits, symmetric)
    if symmetric:
        scale = torch.maximum(-low, high) / largest
        return _finish(scale, torch.zeros_like(scale))
    scale = (high - low) / (largest - smallest)
    return _finish(scale, torch.nan_to_num(torch.round(smallest - low / scale)).clamp(smallest, largest))


def wrong_one_scale_for_all_channels(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_of_each_channel: the range of the whole tensor for each of its channels."""
    low, high = _ends(low, high)
    scale, zero_point = right_in_float64(low.min(), high.max(), bits, symmetric)
    return scale.expand(low.shape), zero_point.expand(low.shape)


def right_in_float64(low, high, bits=8, symmetric=False):
    low, high = _ends(low, high)
    zero = torch.zeros_like(low)
    low, high = torch.minimum(low, zero), torch.maximum(high, zero)
    smallest, largest = levels(bits, symmetric)
    if symmetric:
        low, high = -torch.maximum(-low, high), torch.maximum(-low, high)
    scale = (high - low) / (largest - smallest)
    empty = scale == 0
    scale[empty] = 1
    zero_point = torch.round(smallest - low / scale)
    zero_point[empty] = 0 if symmetric else smallest
    return _finish(scale, zero_point.clamp(smallest, largest))


def right_one_number_at_a_time(low, high, bits=8, symmetric=False):
    low, high = _ends(low, high)
    smallest, largest = levels(bits, symmetric)
    scales, zero_points = [], []
    for a, b in zip(low.flatten().tolist(), high.flatten().tolist()):
        a, b = min(a, 0.0), max(b, 0.0)
        scale = max(-a, b) / largest if symmetric else (b - a) / (2**bits - 1)
        scale = scale or 1.0
        scales.append(scale)
        zero_points.append(0 if symmetric else min(max(round(smallest - a / scale), smallest), largest))
    return torch.tensor(scales).reshape(low.shape), torch.tensor(zero_points, dtype=torch.int32).reshape(low.shape)


def wrong_widens_in_place(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_leaves_alone_what_it_was_given: clamp_ widens the tensors of the caller."""
    low, high = (torch.as_tensor(end, dtype=torch.float32) for end in (low, high))
    smallest, largest = levels(bits, symmetric)
    low.clamp_(max=0)
    high.clamp_(min=0)
    wide = high.double() - low.double()
    scale = torch.maximum(-low, high).double() / largest if symmetric else wide / (largest - smallest)
    scale = torch.where(scale == 0, 1.0, scale)
    zero_point = torch.zeros_like(scale) if symmetric else torch.round(smallest - low / scale)
    return scale.float(), zero_point.int()


def wrong_takes_any_number(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_leaves_alone_what_it_was_given: NaN, infinity and low > high give some scale."""
    low, high = (torch.as_tensor(end).detach().double() for end in (low, high))
    smallest, largest = levels(bits, symmetric)
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = torch.maximum(-low, high) / largest if symmetric else (high - low) / (largest - smallest)
    scale = torch.where(scale == 0, 1.0, scale)
    zero_point = torch.zeros_like(scale) if symmetric else torch.round(smallest - low / scale).clamp(smallest, largest)
    return scale.float(), zero_point.int()


def wrong_scale_remembers_the_weight(low, high, bits=8, symmetric=False):
    """Fails test_affine_params_leaves_alone_what_it_was_given: the scale of parameters needs a gradient."""
    low, high = (torch.as_tensor(end).double() for end in (low, high))
    if not (low <= high).all() or not torch.isfinite(high - low).all():
        raise ValueError("range")
    smallest, largest = levels(bits, symmetric)
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = torch.maximum(-low, high) / largest if symmetric else (high - low) / (largest - smallest)
    scale = torch.where(scale == 0, 1.0, scale)
    zero_point = torch.zeros_like(scale) if symmetric else torch.round(smallest - low / scale).clamp(smallest, largest)
    return scale.float(), zero_point.int()
