import copy

from torch import nn


def _container(model, layers):
    return nn.Sequential(*layers) if isinstance(model.layers, nn.Sequential) else nn.ModuleList(layers)


def wrong_drops_the_named_ones(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: removes `keep` and keeps the rest."""
    smaller = copy.deepcopy(model)
    smaller.layers = _container(model, [layer for place, layer in enumerate(smaller.layers) if place not in keep])
    return smaller


def wrong_first_ones(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: as many as are named, but the first ones."""
    smaller = copy.deepcopy(model)
    smaller.layers = _container(model, list(smaller.layers)[: len(keep)])
    return smaller


def wrong_middle_ones(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: document 001's slice keeps the middle."""
    smaller = copy.deepcopy(model)
    start = (len(smaller.layers) - len(keep)) // 2
    smaller.layers = _container(model, list(smaller.layers)[start : start + len(keep)])
    return smaller


def wrong_order_as_given(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: layers in the order in which they are named."""
    smaller = copy.deepcopy(model)
    smaller.layers = _container(model, [smaller.layers[place] for place in keep])
    return smaller


def wrong_list_of_modules(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: a ModuleList cannot be called as a Sequential can."""
    smaller = copy.deepcopy(model)
    smaller.layers = nn.ModuleList([smaller.layers[place] for place in sorted(keep)])
    return smaller


def wrong_always_sequential(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: makes a ModuleList a Sequential."""
    smaller = copy.deepcopy(model)
    smaller.layers = nn.Sequential(*(smaller.layers[place] for place in sorted(keep)))
    return smaller


def wrong_identities(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: an Identity in place of a layer is not a layer less."""
    smaller = copy.deepcopy(model)
    layers = list(smaller.layers)
    smaller.layers = _container(model, [layer if k in keep else nn.Identity() for k, layer in enumerate(layers)])
    return smaller


def wrong_deletes_while_counting(model, keep):
    """Fails test_drop_layers_keeps_the_named_layers_in_their_old_order: each deletion moves the layers behind it."""
    smaller = copy.deepcopy(model)
    for place in range(len(model.layers)):
        if place not in keep and place < len(smaller.layers):
            del smaller.layers[place]
    return smaller


def wrong_changes_the_given_model(model, keep):
    """Fails test_drop_layers_leaves_the_given_model_alone: works on the given model, as document 001 does."""
    model.layers = _container(model, [model.layers[place] for place in sorted(keep)])
    return model


def wrong_shares_its_layers(model, keep):
    """Fails test_drop_layers_leaves_the_given_model_alone: a shallow copy shares every weight with the given model."""
    smaller = copy.copy(model)
    smaller._modules = dict(model._modules)
    smaller.layers = _container(model, [model.layers[place] for place in sorted(keep)])
    return smaller


def wrong_layers_of_the_given_model(model, keep):
    """Fails test_drop_layers_leaves_the_given_model_alone: a deep copy, into which the given model's own layers go."""
    smaller = copy.deepcopy(model)
    smaller.layers = _container(model, [model.layers[place] for place in sorted(keep)])
    return smaller


def right_delete_from_behind(model, keep):
    smaller = copy.deepcopy(model)
    for place in reversed(range(len(model.layers))):
        if place not in keep:
            del smaller.layers[place]
    return smaller


def right_comprehension(model, keep):
    smaller = copy.deepcopy(model)
    chosen = [layer for place, layer in enumerate(smaller.layers) if place in set(keep)]
    smaller.layers = _container(model, chosen)
    return smaller
