import copy

import torch
from torch import nn


def _solve(
    conv,
    norm,
    following,
    kept,
    *,
    copied=True,
    bias=True,
    norm_names=("weight", "bias", "running_mean", "running_var"),
    dims=(0, 1),
    inputs=None,
    attributes=("out_channels", "num_features", "in_channels", "in_features"),
    wrap=nn.Parameter,
):
    """A right solution with switches for what the wrong ones forget."""
    if copied:
        conv, norm, following = (copy.deepcopy(layer) for layer in (conv, norm, following))
    positions = following.in_features // conv.out_channels if isinstance(following, nn.Linear) else 1
    count = conv.out_channels
    columns = torch.cat([torch.arange(positions) + k * positions for k in kept.tolist()])
    if inputs is not None and isinstance(following, nn.Linear):
        columns = inputs(kept, positions, count)
    conv.weight = nn.Parameter(conv.weight.detach().index_select(dims[0], kept))
    if bias and conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias.detach()[kept])
    for name in norm_names:
        values = getattr(norm, name).detach()[kept]
        setattr(norm, name, wrap(values) if not name.startswith("running") else values)
    following.weight = nn.Parameter(following.weight.detach().index_select(dims[1], columns))
    for layer, name in ((conv, "out_channels"), (norm, "num_features"), (following, "in_channels"), (following, "in_features")):
        if hasattr(layer, name) and name in attributes:
            setattr(layer, name, len(columns) if layer is following else len(kept))
    return conv, norm, following


def wrong_norm_left_whole(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: forgets the BatchNorm."""
    return _solve(conv, norm, following, kept, norm_names=())


def wrong_running_statistics_kept(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: scale and shift only, the running numbers stay."""
    return _solve(conv, norm, following, kept, norm_names=("weight", "bias"))


def wrong_fresh_norm(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: a new BatchNorm, which has learned nothing."""
    conv, _, following = _solve(conv, norm, following, kept)
    return conv, nn.BatchNorm2d(len(kept)), following


def wrong_conv_bias_forgotten(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: the convolution's bias stays whole."""
    return _solve(conv, norm, following, kept, bias=False)


def wrong_inputs_of_the_convolution(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: dimension 1 is what comes in, not the filters."""
    kept_inputs = kept[kept < conv.in_channels]
    small = _solve(conv, norm, following, kept)
    small[0].weight = nn.Parameter(conv.weight.detach()[:, kept_inputs])
    return small


def wrong_filters_of_the_next_layer(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: cuts the next layer's outputs, dimension 0."""
    small = _solve(conv, norm, following, kept)
    rows = kept[kept < len(following.weight)]
    small[2].weight = nn.Parameter(following.weight.detach()[rows])
    return small


def wrong_next_layer_forgotten(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: the layer behind still wants all channels."""
    small = _solve(conv, norm, following, kept)
    return (*small[:2], copy.deepcopy(following))


def wrong_first_filters(conv, norm, following, kept):
    """Fails test_remove_filters_cuts_all_that_belongs_to_a_filter: as many as are kept, but the first ones."""
    return _solve(conv, norm, following, torch.arange(len(kept)))


def wrong_bias_of_the_next_layer_dropped(conv, norm, following, kept):
    """Fails test_remove_filters_computes_what_the_masked_layers_compute: builds the next layer anew, without its bias."""
    conv, norm, following = _solve(conv, norm, following, kept)
    if following.bias is not None:
        nn.init.zeros_(following.bias)
    return conv, norm, following


def wrong_attributes_left(conv, norm, following, kept):
    """Fails test_remove_filters_tells_the_layers_their_new_sizes: the weights are cut, the layers still tell the old sizes."""
    return _solve(conv, norm, following, kept, attributes=())


def wrong_in_features_left(conv, norm, following, kept):
    """Fails test_remove_filters_tells_the_layers_their_new_sizes: forgets in_features, which the forward pass never reads."""
    return _solve(conv, norm, following, kept, attributes=("out_channels", "num_features", "in_channels"))


def wrong_plain_tensors(conv, norm, following, kept):
    """Fails test_remove_filters_tells_the_layers_their_new_sizes: sets .data of the norm to a buffer that no optimizer sees."""
    small = _solve(conv, norm, following, kept)
    for name in ("weight", "bias"):
        values = getattr(small[1], name).detach()
        delattr(small[1], name)
        small[1].register_buffer(name, values)
    return small


def wrong_channel_last_stride(conv, norm, following, kept):
    """Fails test_remove_filters_follows_the_flatten_into_a_linear: the channels of flatten are side by side in blocks."""

    def inputs(kept, positions, count):
        return torch.cat([kept + count * position for position in range(positions)])

    return _solve(conv, norm, following, kept, inputs=inputs)


def wrong_one_input_a_channel(conv, norm, following, kept):
    """Fails test_remove_filters_follows_the_flatten_into_a_linear: takes the channel's number for the input's."""
    return _solve(conv, norm, following, kept, inputs=lambda kept, positions, count: kept)


def wrong_stride_of_what_is_left(conv, norm, following, kept):
    """Fails test_remove_filters_follows_the_flatten_into_a_linear: divides by the new number of channels."""

    def inputs(kept, positions, count):
        stride = positions * count // len(kept)
        return torch.cat([torch.arange(positions) + k * stride for k in kept.tolist()]).clamp_max(positions * count - 1)

    return _solve(conv, norm, following, kept, inputs=inputs)


def wrong_changes_the_given_layers(conv, norm, following, kept):
    """Fails test_remove_filters_computes_what_the_masked_layers_compute: cuts the given layers, without a copy."""
    return _solve(conv, norm, following, kept, copied=False)


def wrong_copy_of_the_norm_forgotten(conv, norm, following, kept):
    """Fails test_remove_filters_computes_what_the_masked_layers_compute: copies two of the three layers."""
    original = norm
    conv, norm, following = _solve(conv, norm, following, kept)
    original.__dict__.update(norm.__dict__)
    return conv, original, following


def wrong_stride_and_padding_lost(conv, norm, following, kept):
    """Fails test_remove_filters_computes_what_the_masked_layers_compute: a new Conv2d without stride and padding."""
    small, norm, following = _solve(conv, norm, following, kept)
    fresh = nn.Conv2d(conv.in_channels, len(kept), conv.kernel_size, bias=conv.bias is not None)
    fresh.load_state_dict(small.state_dict())
    return fresh, norm, following


def wrong_eps_lost(conv, norm, following, kept):
    """Fails test_remove_filters_on_drawn_layers: a new BatchNorm2d has the default eps."""
    conv, small, following = _solve(conv, norm, following, kept)
    fresh = nn.BatchNorm2d(len(kept))
    fresh.load_state_dict(small.state_dict())
    return conv, fresh, following


def wrong_training_mode(conv, norm, following, kept):
    """Fails test_remove_filters_computes_what_the_masked_layers_compute: a new norm is in training mode."""
    first, second, third = right_data(conv, norm, following, kept)
    return first, second.train(), third


def wrong_float32(conv, norm, following, kept):
    """Fails test_remove_filters_computes_what_the_masked_layers_compute: new layers are float32, whatever the old ones were."""
    return tuple(layer.float() for layer in right_data(conv, norm, following, kept))


def wrong_shares_the_bias(conv, norm, following, kept):
    """Fails test_remove_filters_computes_what_the_masked_layers_compute: a new Parameter around the old memory."""
    first, second, third = right_data(conv, norm, following, kept)
    if following.bias is not None:
        third.bias = nn.Parameter(following.bias.data)
    return first, second, third


def right_new_layers(conv, norm, following, kept):
    first = nn.Conv2d(
        conv.in_channels, len(kept), conv.kernel_size, conv.stride, conv.padding, conv.dilation, 1, conv.bias is not None,
        conv.padding_mode,
    )  # fmt: skip
    first.load_state_dict({name: value[kept] for name, value in conv.state_dict().items()})
    second = nn.BatchNorm2d(len(kept), norm.eps, norm.momentum)
    second.load_state_dict({name: value[kept] if value.ndim else value for name, value in norm.state_dict().items()})
    third, weight = copy.deepcopy(following), following.weight.detach()
    blocks = weight.unflatten(1, (conv.out_channels, -1))[:, kept]
    third.weight = nn.Parameter(blocks.flatten(1) if isinstance(following, nn.Linear) else weight[:, kept])
    if isinstance(third, nn.Linear):
        third.in_features = third.weight.shape[1]
    else:
        third.in_channels = len(kept)
    layers = zip((first, second, third), (conv, norm, following))
    return tuple(new.to(old.weight).train(old.training) for new, old in layers)


def right_data(conv, norm, following, kept):
    conv, norm, following = copy.deepcopy(conv), copy.deepcopy(norm), copy.deepcopy(following)
    linear, total = isinstance(following, nn.Linear), conv.out_channels
    mask = torch.zeros(total, dtype=torch.bool)
    mask[kept] = True
    for module in (conv, norm):
        for tensor in (*module.parameters(), *(buffer for buffer in module.buffers() if buffer.ndim)):
            tensor.data = tensor.data[mask].clone()
    columns = mask.repeat_interleave(following.weight.shape[1] // total)
    following.weight.data = following.weight.data[:, columns].clone()
    conv.out_channels = norm.num_features = len(kept)
    setattr(following, "in_features" if linear else "in_channels", int(columns.sum()))
    return conv, norm, following
