import copy

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune


@torch.no_grad()
def wrong_assigns_a_local_name(model, masks):
    """Fails test_apply_masks_zeroes_in_place: `parameter = parameter * mask` makes a tensor that nobody sees."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameter = parameters[name]
        parameter = parameter * mask


@torch.no_grad()
def wrong_new_parameters(model, masks):
    """Fails test_apply_masks_zeroes_in_place: puts new Parameters into the model; the optimizer holds the old ones."""
    for name, mask in masks.items():
        if name not in dict(model.named_parameters()):
            raise KeyError(name)
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, nn.Parameter(model.get_parameter(name) * mask))


@torch.no_grad()
def wrong_removes_the_kept(model, masks):
    """Fails test_apply_masks_zeroes_in_place: True means kept, masked_fill_ fills where the mask is True."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(mask, 0)


@torch.no_grad()
def wrong_goes_through_all_parameters(model, masks):
    """Fails test_apply_masks_zeroes_in_place: not every parameter of the model has a mask."""
    for name, parameter in model.named_parameters():
        parameter.mul_(masks[name])


@torch.no_grad()
def wrong_nearly_zero(model, masks):
    """Fails test_apply_masks_zeroes_in_place: leaves a tiny value so that nothing divides by zero."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask, 1e-12)


@torch.no_grad()
def wrong_gradients_only(model, masks):
    """Fails test_apply_masks_zeroes_in_place: zeroes the gradients and leaves the weights."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if parameters[name].grad is not None:
            parameters[name].grad.masked_fill_(~mask, 0)


@torch.no_grad()
def wrong_a_copy(model, masks):
    """Fails test_apply_masks_zeroes_in_place: "never change an argument" - here that is the task."""
    parameters = dict(copy.deepcopy(model).named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask, 0)


def wrong_gradient_recorded(model, masks):
    """Fails test_apply_masks_zeroes_in_place: without no_grad PyTorch refuses to change a leaf in place."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].mul_(mask)


def wrong_freezes(model, masks):
    """Fails test_apply_masks_zeroes_in_place: switches the gradient off to get round the error, and leaves it off."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].requires_grad_(False).mul_(mask)


@torch.no_grad()
def wrong_inverts_the_masks_in_place(model, masks):
    """Fails test_apply_masks_zeroes_in_place: logical_not_() turns the caller's masks round, the next call undoes all."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(mask.logical_not_(), 0)


@torch.no_grad()
def wrong_bias_of_empty_rows(model, masks):
    """Fails test_apply_masks_zeroes_in_place: also zeroes the bias of an output that has lost all its weights."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask, 0)
        bias = parameters.get(name.replace("weight", "bias"))
        if bias is not None:
            bias.masked_fill_(~mask.flatten(1).any(1), 0)


@torch.no_grad()
def wrong_direct_children_only(model, masks):
    """Fails test_apply_masks_zeroes_in_place: getattr by the first part of the name does not reach nested modules."""
    for name, mask in masks.items():
        module, _, parameter = name.partition(".")
        if parameter:
            layer = getattr(model, module)
            if hasattr(layer, parameter):
                getattr(layer, parameter).masked_fill_(~mask, 0)
        elif name not in dict(model.named_parameters()):
            raise KeyError(name)
        else:
            getattr(model, name).masked_fill_(~mask, 0)


@torch.no_grad()
def wrong_mask_buffers(model, masks):
    """Fails test_apply_masks_zeroes_in_place: keeps the masks inside the model, whose state is twice as large then."""
    for name, mask in masks.items():
        if name not in dict(model.named_parameters()):
            raise KeyError(name)
        owner, _, attribute = name.rpartition(".")
        model.get_parameter(name).mul_(mask)
        model.get_submodule(owner).register_buffer(f"{attribute}_mask", mask)


def wrong_torch_prune(model, masks):
    """Fails test_apply_masks_zeroes_in_place: torch.nn.utils.prune puts weight_orig and weight_mask into the model."""
    for name, mask in masks.items():
        owner, _, attribute = name.rpartition(".")
        if name not in dict(model.named_parameters()):
            raise KeyError(name)
        torch_prune.custom_from_mask(model.get_submodule(owner), attribute, mask)


@torch.no_grad()
def wrong_skips_unknown_names(model, masks):
    """Fails test_apply_masks_refuses_an_unknown_name: looks up the masks of what there is, and misses what there is not."""
    for name, parameter in model.named_parameters():
        if name in masks:
            parameter.masked_fill_(~masks[name], 0)


@torch.no_grad()
def wrong_attribute_error(model, masks):
    """Fails test_apply_masks_refuses_an_unknown_name: get_parameter raises an AttributeError, a KeyError was asked."""
    for name, mask in masks.items():
        model.get_parameter(name).masked_fill_(~mask, 0)


@torch.no_grad()
def wrong_swallows_the_error(model, masks):
    """Fails test_apply_masks_refuses_an_unknown_name: catches the error and goes on."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        try:
            parameters[name].masked_fill_(~mask, 0)
        except KeyError:
            continue


@torch.no_grad()
def wrong_linear_only(model, masks):
    """Fails test_apply_masks_holds_through_training: goes through the Linear layers and forgets convolutions."""
    known = dict(model.named_parameters())
    if unknown := set(masks) - set(known):
        raise KeyError(unknown)
    for prefix, module in model.named_modules():
        name = f"{prefix}.weight" if prefix else "weight"
        if isinstance(module, nn.Linear) and name in masks:
            module.weight.masked_fill_(~masks[name], 0)


@torch.no_grad()
def wrong_only_the_first_time(model, masks):
    """Fails test_apply_masks_holds_through_training: "already pruned" is remembered, and nothing done after a step."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if not getattr(parameters[name], "is_pruned", False):
            parameters[name].masked_fill_(~mask, 0)
            parameters[name].is_pruned = True


@torch.no_grad()
def wrong_some_name_known_is_enough(model, masks):
    """Fails test_apply_masks_refuses_an_unknown_name: complains only where no name at all fits."""
    known = {name: parameter for name, parameter in model.named_parameters() if name in masks}
    if masks and not known:
        raise KeyError(f"no parameters called {list(masks)}")
    for name, parameter in known.items():
        parameter.masked_fill_(~masks[name], 0)


@torch.no_grad()
def wrong_weights_only(model, masks):
    """Fails test_apply_masks_holds_through_training: takes .weight of the module, though a mask may be for a bias."""
    known = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in known:
            raise KeyError(name)
        model.get_submodule(name.rpartition(".")[0]).weight.masked_fill_(~mask, 0)


@torch.no_grad()
def wrong_gradient_hooks(model, masks):
    """Fails test_apply_masks_holds_through_training: also hooks a mask onto the gradient, which stays for ever."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask, 0)
        parameters[name].register_hook(lambda gradient, mask=mask: gradient * mask)


@torch.no_grad()
def wrong_stops_half_way(model, masks):
    """Fails test_apply_masks_refuses_what_does_not_fit: has zeroed a layer when it finds that the next is not there."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        if name not in parameters:
            raise KeyError(f"no parameter {name!r}")
        if mask.shape != parameters[name].shape:
            raise ValueError(f"{name} has another shape than its mask")
        parameters[name].masked_fill_(~mask, 0)


@torch.no_grad()
def wrong_broadcasts(model, masks):
    """Fails test_apply_masks_refuses_what_does_not_fit: a mask of one row is taken for all rows."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if unknown := [name for name in masks if name not in parameters]:
        raise KeyError(f"no parameter {unknown[0]!r}")
    for name, mask in masks.items():
        parameters[name] *= mask


@torch.no_grad()
def wrong_first_name_of_a_shared_one_only(model, masks):
    """Fails test_apply_masks_refuses_what_does_not_fit: named_parameters() names a shared parameter once."""
    parameters = dict(model.named_parameters())
    _check(parameters, masks)
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask, 0)


def _known(model):
    return dict(model.named_parameters(remove_duplicate=False))


def _check(parameters, masks):
    for name, mask in masks.items():
        if parameters[name].shape != mask.shape:
            raise ValueError(f"{name}: its mask has another shape")


@torch.no_grad()
def right_multiplies(model, masks):
    known = _known(model)
    _check(known, masks)
    for name in masks:
        known[name].mul_(masks[name])


def right_through_data(model, masks):
    for name in masks:
        try:
            parameter = model.get_parameter(name)
        except AttributeError:
            raise KeyError(f"no parameter {name}") from None
        assert masks[name].shape == parameter.shape, f"{name}: the mask is {tuple(masks[name].shape)}"
    for name, mask in masks.items():
        parameter = model.get_parameter(name)
        parameter.data = torch.where(mask, parameter.data, torch.zeros_like(parameter.data))


def right_element_by_element(model, masks):
    owners = _known(model)
    if not set(masks) <= set(owners):
        raise KeyError(*(set(masks) - set(owners)))
    _check(owners, masks)
    for name, mask in masks.items():
        with torch.no_grad():
            for index in (~mask).nonzero().tolist():
                owners[name][tuple(index)] = 0.0


@torch.no_grad()
def right_through_the_state(model, masks):
    state = model.state_dict()  # its tensors share the parameters' memory
    if any(state[name].shape != mask.shape for name, mask in masks.items()):
        raise ValueError("a mask of another shape")
    for name, mask in masks.items():
        state[name][~mask] = 0
