import copy

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from tinyshrink import magnitude


def wrong_always_global(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: scope is not looked at."""
    masks = magnitude.global_masks(magnitude.weight_scores(model, criterion, ignore), sparsity)
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_always_by_layer(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: a mask for each layer, whatever the scope."""
    scores = magnitude.weight_scores(model, criterion, ignore)
    masks = {name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()}
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_scopes_swapped(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: the two branches the wrong way round."""
    return right_as_documented(model, sparsity, {"global": "layer", "layer": "global"}[scope], criterion, ignore)


def wrong_masks_read_off_the_zeros(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_counts_its_masks_and_not_the_zeros_that_it_finds: what was zero before counts as removed now."""
    masks = right_as_documented(model, sparsity, scope, criterion, ignore)
    return magnitude.Masks({name: model.get_parameter(name) != 0 for name in masks})


def wrong_masks_only(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: makes the masks and does not use them."""
    scores = magnitude.weight_scores(model, criterion, ignore)
    if scope == "layer":
        return magnitude.Masks({name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()})
    return magnitude.Masks(magnitude.global_masks(scores, sparsity))


def wrong_returns_nothing(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: prunes, and keeps the masks to itself."""
    right_as_documented(model, sparsity, scope, criterion, ignore)


def wrong_returns_a_dict(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: a plain dict cannot hold the weights at zero."""
    return dict(right_as_documented(model, sparsity, scope, criterion, ignore))


def wrong_returns_the_model(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: the model is changed in place, what is asked are the masks."""
    right_as_documented(model, sparsity, scope, criterion, ignore)
    return model


def wrong_a_copy(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: prunes a copy."""
    return right_as_documented(copy.deepcopy(model), sparsity, scope, criterion, ignore)


def wrong_of_what_is_left(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: removes the fraction of the weights left, a second call removes more."""
    weights = magnitude.prunable(model, ignore)
    gone = sum(int((weight == 0).sum()) for weight in weights.values()) / sum(w.numel() for w in weights.values())
    return right_as_documented(model, gone + (1 - gone) * sparsity, scope, criterion, ignore)


def wrong_masks_of_the_removed(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: returns True for the removed."""
    masks = right_as_documented(model, sparsity, scope, criterion, ignore)
    return magnitude.Masks({name: ~mask for name, mask in masks.items()})


def wrong_named_by_module(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: the masks are called as the parameters, not as the modules."""
    masks = right_as_documented(model, sparsity, scope, criterion, ignore)
    return magnitude.Masks({name.removesuffix(".weight"): mask for name, mask in masks.items()})


def wrong_one_layer_after_another(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_ranks_globally_or_by_layer: each layer gives what the threshold of the first one says."""
    scores = magnitude.weight_scores(model, criterion, ignore)
    first = next(iter(scores.values())).flatten().float()
    threshold = first.quantile(sparsity)
    masks = magnitude.Masks({name: values > threshold for name, values in scores.items()})
    magnitude.apply_masks(model, masks)
    return masks


def wrong_all_parameters(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_leaves_the_rest_of_the_model_alone: biases and norms are pruned with the weights."""
    names = [n for n, _ in model.named_parameters() if not any(n == i or n.startswith(f"{i}.") for i in ignore)]
    scores = {name: model.get_parameter(name).detach().abs() for name in names}
    masks = magnitude.global_masks(scores, sparsity)
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_ignores_ignore(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_leaves_the_rest_of_the_model_alone: `ignore` is not handed on."""
    return right_as_documented(model, sparsity, scope, criterion)


def wrong_ignored_layers_counted(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_leaves_the_rest_of_the_model_alone: ranks the ignored with the rest, and spares them after it."""
    scores = magnitude.weight_scores(model, criterion)
    if scope == "layer":
        masks = {name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()}
    else:
        masks = magnitude.global_masks(scores, sparsity)
    masks = {name: mask for name, mask in masks.items() if name in magnitude.prunable(model, ignore)}
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_new_parameters(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_leaves_the_rest_of_the_model_alone: new Parameters, which no optimizer knows."""
    masks = right_as_documented(model, sparsity, scope, criterion, ignore)
    for name in masks:
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, nn.Parameter(model.get_parameter(name).detach().clone()))
    return masks


def wrong_linear_only(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_leaves_the_rest_of_the_model_alone: convolutions are forgotten."""
    weights = {f"{n}.weight": m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    scores = {n: w.detach().abs() for n, w in weights.items() if n not in ignore and n.removesuffix(".weight") not in ignore}
    if scope == "layer":
        masks = {name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()}
    else:
        masks = magnitude.global_masks(scores, sparsity)
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_torch_prune(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_leaves_the_rest_of_the_model_alone: PyTorch's own pruning leaves weight_orig and weight_mask."""
    names = magnitude.prunable(model, ignore)
    layers = [(model.get_submodule(name.removesuffix("weight").rstrip(".")), "weight") for name in names]
    if scope == "layer":
        for layer in layers:
            torch_prune.l1_unstructured(*layer, amount=sparsity)
    else:
        torch_prune.global_unstructured(layers, pruning_method=torch_prune.L1Unstructured, amount=sparsity)
    return magnitude.Masks({name: layer.weight_mask.bool() for name, (layer, _) in zip(names, layers)})


def wrong_always_magnitude(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_asks_the_criterion: `criterion` is not handed on."""
    return right_as_documented(model, sparsity, scope, ignore=ignore)


def wrong_abs_of_the_scores(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_asks_the_criterion: ranks the absolute values of scores that are to be ranked as they are."""
    scores = {name: values.abs() for name, values in magnitude.weight_scores(model, criterion, ignore).items()}
    if scope == "layer":
        masks = {name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()}
    else:
        masks = magnitude.global_masks(scores, sparsity)
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_names_only(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_asks_the_criterion: looks the criterion up, though it may be a function."""
    scores = {name: magnitude.CRITERIA[criterion](weight) for name, weight in magnitude.prunable(model, ignore).items()}
    if scope == "layer":
        masks = {name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()}
    else:
        masks = magnitude.global_masks(scores, sparsity)
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_magnitude_unless_global(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_asks_the_criterion: one branch takes the scores, the other the weights themselves."""
    if scope == "global":
        return right_as_documented(model, sparsity, scope, criterion, ignore)
    weights = magnitude.prunable(model, ignore)
    masks = {name: magnitude.magnitude_mask(weight.detach().abs(), sparsity) for name, weight in weights.items()}
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def wrong_magnitude_unless_by_layer(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_asks_the_criterion: the other way round, the global branch forgets the criterion."""
    chosen = criterion if scope == "layer" else "magnitude"
    return right_as_documented(model, sparsity, scope, chosen, ignore)


def wrong_eval_mode(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_on_drawn_models: eval() "since nothing is trained here", and the model stays so."""
    model.eval()
    return right_as_documented(model, sparsity, scope, criterion, ignore)


def wrong_freezes(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_on_drawn_models: requires_grad_(False) in place of no_grad(), and the model no longer learns."""
    return right_as_documented(model.requires_grad_(False), sparsity, scope, criterion, ignore)


def wrong_misspelt_ignore_passes(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_takes_what_lies_inside_a_layer_and_refuses_an_unknown_one: filters by itself, and misses typos."""
    known = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
    return right_as_documented(model, sparsity, scope, criterion, [name for name in ignore if name in known])


def wrong_ignore_by_exact_name(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    """Fails test_prune_takes_what_lies_inside_a_layer_and_refuses_an_unknown_one: a block's layers are not its name."""
    names = [f"{name.removesuffix('.weight')}.weight" for name in ignore]
    scores = {n: s for n, s in magnitude.weight_scores(model, criterion).items() if n not in names}
    if scope == "layer":
        masks = {name: magnitude.magnitude_mask(values, sparsity) for name, values in scores.items()}
    else:
        masks = magnitude.global_masks(scores, sparsity)
    magnitude.apply_masks(model, masks)
    return magnitude.Masks(masks)


def right_as_documented(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    scores = magnitude.weight_scores(model, criterion, ignore)
    masks = magnitude.Masks()
    if scope == "layer":
        for name in scores:
            masks[name] = magnitude.magnitude_mask(scores[name], sparsity)
    else:
        masks.update(magnitude.global_masks(scores, sparsity))
    magnitude.apply_masks(model, masks)
    return masks


def right_groups(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    scores = magnitude.weight_scores(model, criterion, ignore)
    groups = [scores] if scope == "global" else [{name: values} for name, values in scores.items()]
    masks = magnitude.Masks()
    for group in groups:
        masks |= magnitude.global_masks(group, sparsity)
    for name, mask in masks.items():
        model.get_parameter(name).data[~mask] = 0
    return magnitude.Masks(masks)


def right_by_hand(model, sparsity, scope="global", criterion="magnitude", ignore=()):
    weights = magnitude.prunable(model, ignore)
    score = criterion if callable(criterion) else magnitude.CRITERIA[criterion]
    with torch.no_grad():
        scores = {name: score(weight).flatten() for name, weight in weights.items()}
        rows = [list(scores)] if scope == "global" else [[name] for name in scores]
        masks = magnitude.Masks()
        for names in rows:
            flat = torch.cat([scores[name] for name in names])
            keep = torch.ones(len(flat), dtype=torch.bool)
            keep[flat.argsort(stable=True)[: round(sparsity * len(flat))]] = False
            for name, part in zip(names, keep.split([scores[name].numel() for name in names])):
                masks[name] = part.view(weights[name].shape)
                weights[name].mul_(masks[name])
    return masks
