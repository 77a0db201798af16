import numpy as np
import torch


def wrong_scale_of_the_weight(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: the bias belongs to the layer, so it takes the weight's scale."""
    return torch.round(bias / weight_scale).int()


def wrong_scale_of_the_input(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: one scale only."""
    return torch.round(bias / input_scale).int()


def wrong_int8(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: eight bits, as the weights have."""
    return torch.round(bias / (input_scale * weight_scale)).clamp(-128, 127).to(torch.int8)


def wrong_cuts_off(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: no rounding before the cast."""
    return (bias.double() / (input_scale.double() * weight_scale.double()) * (1 + 1e-9)).int()


def wrong_ratio_of_the_scales(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: one scale over the other."""
    return torch.round(bias / (input_scale / weight_scale)).int()


def wrong_multiplies(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: the way back."""
    return torch.round(bias * input_scale * weight_scale).int()


def wrong_one_scale_for_all_outputs(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: the largest weight scale for all outputs."""
    return torch.round(bias / (input_scale * weight_scale.max())).int()


def wrong_own_scale(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: a scale for the bias itself, which the sums do not have."""
    return torch.round(bias / (bias.abs().max() / 127)).int()


def wrong_rounds_half_up(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: floor(x + 0.5)."""
    return torch.floor(bias.double() / (input_scale.double() * weight_scale.double()) + 0.5).int()


def right_two_divisions(bias, input_scale, weight_scale):
    steps = torch.round(bias.double() / input_scale.double() / weight_scale.double())
    if bool((steps.abs() > 2**31 - 1).any()):
        raise ValueError("too large for int32")
    return steps.to(torch.int32)


def right_with_numpy(bias, input_scale, weight_scale):
    steps = bias.numpy().astype(np.float64) / np.float64(input_scale) / weight_scale.numpy().astype(np.float64)
    integers = np.rint(steps)
    if len(integers) and np.abs(integers).max() >= 2**31:
        raise ValueError(f"{np.abs(integers).max()} does not fit int32")
    return torch.from_numpy(integers.astype(np.int32))


def wrong_wraps_around(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: what does not fit int32 becomes another number."""
    return torch.round(bias.double() / (input_scale.double() * weight_scale.double())).int()


def wrong_clamps(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: cuts what does not fit, and tells nobody."""
    return torch.round(bias.double() / (input_scale.double() * weight_scale.double())).clamp(-(2**31), 2**31 - 1).int()


def wrong_range_without_a_sign(bias, input_scale, weight_scale):
    """Fails test_quantize_bias_is_in_steps_of_both_scales: int32 has 32 bits, but one is the sign."""
    integers = torch.round(bias.double() / (input_scale.double() * weight_scale.double()))
    if not (integers.abs() < 2**32).all():
        raise ValueError("too large for int32")
    return integers.int()
