import copy

import torch

from tinyshrink import magnitude


def wrong_prunes_before_training(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: the smallest weights of init are not those of training."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    for step in range(1, rounds + 1):
        masks = magnitude.prune(model, level(step), ignore=ignore)
        with masks.hold(model):
            train(model)
        model.load_state_dict(init)
        magnitude.apply_masks(model, masks)
    return masks


def wrong_rewinds_before_pruning(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: what training found out is gone before it is used."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        model.load_state_dict(init)
        magnitude.apply_masks(model, masks)
        masks = magnitude.prune(model, level(step), ignore=ignore)
    return masks


def wrong_never_rewinds(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: iterative pruning, the weights stay trained."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
    return masks


def wrong_rewinds_at_the_end_only(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_rewinds_each_round_to_init: each round is to start from init, not from the last one."""
    masks = wrong_never_rewinds(model, init, sparsity, rounds, train, ignore)
    model.load_state_dict(init)
    magnitude.apply_masks(model, masks)
    return masks


def wrong_not_rewound_in_the_end(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: rewinds at the start of a round, so not after the last."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        model.load_state_dict(init)
        with masks.hold(model):
            train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
    return masks


def wrong_trained_in_the_end(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: trains the ticket too, which is the caller's part."""
    masks = right_as_documented(model, init, sparsity, rounds, train, ignore)
    with masks.hold(model):
        train(model)
    return masks


def wrong_unmasked_after_rewinding(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: load_state_dict brings the removed weights back."""
    masks = right_as_documented(model, init, sparsity, rounds, train, ignore)
    model.load_state_dict(init)
    return masks


def wrong_init_read_after_training(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: rewinds to the state of the model, not to init."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        init = copy.deepcopy(model.state_dict())
        masks = magnitude.prune(model, level(step), ignore=ignore)
        model.load_state_dict(init)
        magnitude.apply_masks(model, masks)
    return masks


def wrong_by_movement(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: removes what moved least, another criterion."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)

    def prune(step):
        weights = magnitude.prunable(model, ignore)
        scores = {n: (w.detach() - init[n]).abs() * (w.detach() != 0) for n, w in weights.items()}
        return magnitude.Masks(magnitude.global_masks(scores, level(step)))

    return _rounds(model, init, rounds, train, prune)


def wrong_own_init(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: rewinds to the model as it came, not to the given init."""
    return right_as_documented(model, copy.deepcopy(model.state_dict()), sparsity, rounds, train, ignore)


def wrong_trains_a_copy(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: trains a copy and prunes the untrained model."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    return _rounds(
        model,
        init,
        rounds,
        lambda m: train(copy.deepcopy(m)),
        lambda k: magnitude.prune(model, level(k), ignore=ignore),
    )


def wrong_drawn_anew(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_prunes_by_the_trained_weights: other random values; the ticket is masks *and* values."""
    masks = right_as_documented(model, init, sparsity, rounds, train, ignore)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    magnitude.apply_masks(model, masks)
    return masks


def wrong_weights_only(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_rewinds_each_round_to_init: biases and BatchNorm keep what they have learned."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
        for name, mask in masks.items():
            model.get_parameter(name).data = init[name] * mask
    return masks


def wrong_parameters_only(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_rewinds_each_round_to_init: BatchNorm's running mean is state too."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(init[name])
        magnitude.apply_masks(model, masks)
    return masks


def wrong_straight_line(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_removes_the_same_fraction_each_round: the same number each round."""
    level = magnitude.schedule("linear", 0, sparsity, rounds)
    return _rounds(model, init, rounds, train, lambda step: magnitude.prune(model, level(step), ignore=ignore))


def wrong_all_in_the_last_round(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_removes_the_same_fraction_each_round: one-shot in the end."""
    return _rounds(model, init, rounds, train, lambda step: magnitude.prune(model, sparsity * (step == rounds), ignore=ignore))


def wrong_all_in_every_round(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_removes_the_same_fraction_each_round: the target at once."""
    return _rounds(model, init, rounds, train, lambda step: magnitude.prune(model, sparsity, ignore=ignore))


def wrong_constant_sparsity(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_removes_the_same_fraction_each_round: 1 - (1 - s)^(1/n) of all, again and again."""
    amount = 1 - (1 - sparsity) ** (1 / rounds)
    return _rounds(model, init, rounds, train, lambda step: magnitude.prune(model, amount, ignore=ignore))


def wrong_one_round_less(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_removes_the_same_fraction_each_round: range(1, rounds) ends too early."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    return _rounds(model, init, max(rounds - 1, 1), train, lambda step: magnitude.prune(model, level(step), ignore=ignore))


def wrong_one_round_more(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_removes_the_same_fraction_each_round: a first round that removes nothing."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    return _rounds(model, init, rounds + 1, train, lambda step: magnitude.prune(model, level(step - 1), ignore=ignore))


def wrong_not_held(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_removes_the_same_fraction_each_round: the second training wakes the removed weights."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    for step in range(1, rounds + 1):
        train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
        model.load_state_dict(init)
        magnitude.apply_masks(model, masks)
    return masks


def wrong_ignore_forgotten(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_on_drawn_models: `ignore` is not handed on."""
    return right_as_documented(model, init, sparsity, rounds, train)


def wrong_assigns_init(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_on_drawn_models: assign=True puts init's own tensors into the model, training moves them."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
        model.load_state_dict(init, assign=True)
        magnitude.apply_masks(model, masks)
    return masks


def wrong_masks_init_in_place(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_on_drawn_models: multiplies the masks into the caller's init."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
        for name, mask in masks.items():
            init[name].mul_(mask)
        model.load_state_dict(init)
    return masks


def wrong_layer_by_layer(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_on_drawn_models: ranks each layer by itself."""
    level = magnitude.schedule("fraction", 0, sparsity, rounds)
    return _rounds(model, init, rounds, train, lambda step: magnitude.prune(model, level(step), "layer", ignore=ignore))


def wrong_returns_a_dict(model, init, sparsity, rounds, train, ignore=()):
    """Fails test_lottery_ticket_on_drawn_models: a plain dict cannot hold the ticket's zeros."""
    return dict(right_as_documented(model, init, sparsity, rounds, train, ignore))


def right_as_documented(model, init, sparsity, rounds, train, ignore=()):
    level = magnitude.schedule("exponential", 0, sparsity, rounds)
    masks = None
    for step in range(1, rounds + 1):
        if masks is None:
            train(model)
        else:
            with masks.hold(model):
                train(model)
        masks = magnitude.prune(model, level(step), ignore=ignore)
        model.load_state_dict({name: value * masks.get(name, True) for name, value in init.items()})
    return masks


def right_while_loop(model, init, sparsity, rounds, train, ignore=()):
    done, masks = 0, magnitude.Masks()
    while done < rounds:
        done += 1
        with masks.hold(model):
            train(model)
        left = (1 - sparsity) ** (done / rounds)
        masks = magnitude.prune(model, 1 - left if done < rounds else sparsity, ignore=ignore)
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.copy_(torch.where(masks[name], init[name], 0) if name in masks else init[name])
    return masks


def _rounds(model, init, rounds, train, prune):
    """Train, prune and rewind `rounds` times."""
    masks = magnitude.Masks()
    for step in range(1, rounds + 1):
        with masks.hold(model):
            train(model)
        masks = prune(step)
        model.load_state_dict(init)
        magnitude.apply_masks(model, masks)
    return masks
