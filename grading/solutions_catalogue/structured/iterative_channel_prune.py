import copy

from tinyshrink.structured import prune_channels


def _fraction(amount, steps):
    return 1 - (1 - amount) ** (1 / steps)


def wrong_equal_parts(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: amount / steps of what is left is too little."""
    for _ in range(steps):
        model = prune_channels(model, example, amount / steps, **options)
        train(model)
    return model


def wrong_amount_each_time(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: removes the whole amount at every step."""
    for _ in range(steps):
        model = prune_channels(model, example, amount, **options)
        train(model)
    return model


def wrong_straight_line(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: the same number of channels at each step."""
    left = 1.0
    for _ in range(steps):
        goal = left - amount / steps
        model = prune_channels(model, example, 1 - goal / left, **options)
        left = goal
        train(model)
    return model


def wrong_root_of_the_amount(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: the root of what goes, not of what stays."""
    for _ in range(steps):
        model = prune_channels(model, example, amount ** (1 / steps), **options)
        train(model)
    return model


def wrong_always_from_the_given_model(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_goes_on_with_what_was_trained: cuts the given model anew, what was learned is lost."""
    for step in range(1, steps + 1):
        smaller = prune_channels(model, example, 1 - (1 - amount) ** (step / steps), **options)
        train(smaller)
    return smaller


def wrong_trained_before(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: trains before the cut, never after the last."""
    model = copy.deepcopy(model)
    for _ in range(steps):
        train(model)
        model = prune_channels(model, example, _fraction(amount, steps), **options)
    return model


def wrong_last_not_trained(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: no recovery after the last cut."""
    for step in range(steps):
        model = prune_channels(model, example, _fraction(amount, steps), **options)
        if step < steps - 1:
            train(model)
    return model


def wrong_trained_once(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: all cuts first, then one training."""
    for _ in range(steps):
        model = prune_channels(model, example, _fraction(amount, steps), **options)
    train(model)
    return model


def wrong_trains_the_given_model(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_goes_on_with_what_was_trained: trains the large model, and cuts it afterwards."""
    for step in range(1, steps + 1):
        smaller = prune_channels(model, example, 1 - (1 - amount) ** (step / steps), **options)
        train(model)
    return smaller


def wrong_options_forgotten(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_passes_its_options_on: criterion, scope and ignore do not arrive."""
    for _ in range(steps):
        model = prune_channels(model, example, _fraction(amount, steps))
        train(model)
    return model


def wrong_result_of_train(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_goes_on_with_what_was_trained: train returns whatever it likes, not a model."""
    for _ in range(steps):
        model = prune_channels(model, example, _fraction(amount, steps), **options)
        model = train(model) or model
    return model


def wrong_one_step_too_few(model, example, amount, steps, train, **options):
    """Fails test_iterative_channel_prune_takes_the_same_fraction_at_each_step: range(1, steps) has one step less."""
    for _ in range(1, steps):
        model = prune_channels(model, example, _fraction(amount, steps), **options)
        train(model)
    return model


def right_recursion(model, example, amount, steps, train, **options):
    smaller = prune_channels(model, example, _fraction(amount, steps), **options)
    train(smaller)
    if steps == 1:
        return smaller
    rest = 1 - (1 - amount) ** ((steps - 1) / steps)
    return right_recursion(smaller, example, rest, steps - 1, train, **options)


def right_by_what_is_left(model, example, amount, steps, train, **options):
    levels = [(1 - amount) ** (step / steps) for step in range(steps + 1)]
    current = model
    for before, after in zip(levels, levels[1:]):
        current = prune_channels(current, example, max(0.0, 1 - after / before), **options)
        train(current)
    return current
