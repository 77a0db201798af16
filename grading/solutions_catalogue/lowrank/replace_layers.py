import copy
import warnings

from torch import nn

from tinyshrink import lowrank, models


def _saves(layer, rank, scheme, metric):
    shape = lowrank.layer_shape(layer)
    return lowrank.svd_cost(shape, rank, scheme, metric) < lowrank.layer_cost(shape, metric)


def _warn(stay):
    if stay:
        warnings.warn(f"would not become cheaper: {', '.join(f'{name} (rank)' for name in stay)}", stacklevel=3)


def wrong_in_place(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_keeps_the_names: the model that was given is changed."""
    stay = []
    for name, rank in ranks.items():
        layer = model.get_submodule(name)
        if _saves(layer, rank, scheme, metric):
            models.replace_layer(model, layer, lowrank.factorize_layer(layer, rank, scheme, name))
        else:
            stay.append(name)
    _warn(stay)
    return model


def wrong_top_level_only(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_keeps_the_names: looks among the children only, as a first draft of a recursion does."""
    smaller = copy.deepcopy(model)
    for name, layer in list(smaller.named_children()):
        if name in ranks and _saves(layer, ranks[name], scheme, metric):
            setattr(smaller, name, lowrank.factorize_layer(layer, ranks[name], scheme, name))
    return smaller


def wrong_setattr_with_dots(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_keeps_the_names: a name with a dot is no attribute."""
    smaller = copy.deepcopy(model)
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        if _saves(layer, rank, scheme, metric):
            setattr(smaller, name, lowrank.factorize_layer(layer, rank, scheme, name))
    return smaller


def wrong_new_names(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_keeps_the_names: one flat Sequential, in which all layers are numbered anew."""
    layers = []
    for name, layer in model.named_modules():
        if not list(layer.children()):
            saves = name in ranks and _saves(layer, ranks[name], scheme, metric)
            layers += lowrank.factorize_layer(layer, ranks[name], scheme, name) if saves else [copy.deepcopy(layer)]
    return nn.Sequential(*layers)


def wrong_always_spatial(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_keeps_the_names: does not pass the scheme on."""
    return right_dict_of_new(model, ranks, "spatial", metric)


def wrong_replaces_all(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_leaves_what_would_grow_and_says_so: makes layers larger, as document 001 does."""
    smaller = copy.deepcopy(model)
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        smaller = models.replace_layer(smaller, layer, lowrank.factorize_layer(layer, rank, scheme, name))
    return smaller


def wrong_silent(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_leaves_what_would_grow_and_says_so: skips without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return right_dict_of_new(model, ranks, scheme, metric)


def wrong_a_warning_each(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_leaves_what_would_grow_and_says_so: one warning for each layer, not one for all."""
    smaller = copy.deepcopy(model)
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        if _saves(layer, rank, scheme, metric):
            smaller = models.replace_layer(smaller, layer, lowrank.factorize_layer(layer, rank, scheme, name))
        else:
            _warn([name])
    return smaller


def wrong_equal_counts_as_cheaper(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_leaves_what_would_grow_and_says_so: at break-even nothing is saved."""
    smaller, stay = copy.deepcopy(model), []
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        if rank <= lowrank.break_even_rank(lowrank.layer_shape(layer), scheme, metric):
            smaller = models.replace_layer(smaller, layer, lowrank.factorize_layer(layer, rank, scheme, name))
        else:
            stay.append(name)
    _warn(stay)
    return smaller


def wrong_always_macs(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_asks_the_metric: compares MACs where weights were asked for."""
    return right_dict_of_new(model, ranks, scheme, "macs")


def wrong_half_of_the_full_rank(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_leaves_what_would_grow_and_says_so: compares the rank with the smaller side of the weight."""
    smaller, stay = copy.deepcopy(model), []
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        if rank < min(lowrank.as_matrix(layer.weight, scheme).shape):
            smaller = models.replace_layer(smaller, layer, lowrank.factorize_layer(layer, rank, scheme, name))
        else:
            stay.append(name)
    _warn(stay)
    return smaller


def wrong_error_without_the_name(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_refuses_a_rank_by_the_name_of_its_layer: which of a hundred layers was it?"""
    smaller, stay = copy.deepcopy(model), []
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        two = lowrank.factorize_layer(layer, rank, scheme)
        if _saves(layer, rank, scheme, metric):
            smaller.set_submodule(name, two)
        else:
            stay.append(name)
    _warn(stay)
    return smaller


def wrong_any_rank_stays(model, ranks, scheme="spatial", metric="macs"):
    """Fails test_replace_layers_refuses_a_rank_by_the_name_of_its_layer: a rank that there is not is not looked at."""
    smaller, stay = copy.deepcopy(model), []
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        if _saves(layer, rank, scheme, metric):
            smaller.set_submodule(name, lowrank.factorize_layer(layer, rank, scheme, name))
        else:
            stay.append(name)
    _warn(stay)
    return smaller


def right_dict_of_new(model, ranks, scheme="spatial", metric="macs"):
    smaller, new, stay = copy.deepcopy(model), {}, []
    for name, rank in ranks.items():
        layer = smaller.get_submodule(name)
        two = lowrank.factorize_layer(layer, rank, scheme, name)
        if rank < lowrank.break_even_rank(lowrank.layer_shape(layer), scheme, metric):
            new[name] = two
        else:
            stay.append(name)
    for name, two in new.items():
        smaller.set_submodule(name, two)
    _warn(stay)
    return smaller


def right_recursion(model, ranks, scheme="spatial", metric="macs"):
    stay = []

    def visit(module, prefix):
        for child, layer in list(module.named_children()):
            name = prefix + child
            if name not in ranks:
                visit(layer, f"{name}.")
                continue
            two = lowrank.factorize_layer(layer, ranks[name], scheme, name)
            if _saves(layer, ranks[name], scheme, metric):
                setattr(module, child, two)
            else:
                stay.append(name)

    smaller = copy.deepcopy(model)
    visit(smaller, "")
    _warn(stay)
    return smaller
