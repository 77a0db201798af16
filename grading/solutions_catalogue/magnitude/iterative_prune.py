import copy
from contextlib import ExitStack

from tinyshrink import magnitude


def wrong_starts_at_step_zero(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: range(steps) begins with the dense model, misses the target."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(steps):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        with masks.hold(model):
            train(model)
    return masks


def wrong_one_step_too_many(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: range(steps + 1) trains the dense model first."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(steps + 1):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        with masks.hold(model):
            train(model)
    return masks


def wrong_no_training_after_the_last(
    model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()
):
    """Fails test_iterative_prune_trains_after_every_step: the last cut is left unhealed."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(1, steps + 1):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        if step < steps:
            with masks.hold(model):
                train(model)
    return masks


def wrong_trains_first(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: train, prune, train, prune - and ends with a cut."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    masks = magnitude.Masks()
    for step in range(1, steps + 1):
        with masks.hold(model):
            train(model)
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
    return masks


def wrong_one_shot(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: everything at once, then `steps` trainings."""
    masks = magnitude.prune(model, sparsity, scope, criterion, ignore)
    with masks.hold(model):
        for _ in range(steps):
            train(model)
    return masks


def wrong_equal_shares(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: prune(sparsity / steps) each time is no more than that in all."""
    for _ in range(steps):
        masks = magnitude.prune(model, sparsity / steps, scope, criterion, ignore)
        with masks.hold(model):
            train(model)
    return masks


def wrong_progress_for_the_step(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: a schedule takes the step, not the progress from 0 to 1."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    return _run(model, steps, train, lambda step: magnitude.prune(model, level(step / steps), scope, criterion, ignore))


def wrong_train_without_a_model(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: train takes the model."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    prune = [magnitude.prune(model, level(step), scope, criterion, ignore) for step in range(1, steps + 1)]
    return _run(model, steps, lambda model: train(), lambda step: prune[step - 1])


def wrong_all_masks_first(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: makes all masks before any training."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    masks = [magnitude.prune(model, level(step), scope, criterion, ignore) for step in range(1, steps + 1)]
    return _run(model, steps, train, lambda step: masks[step - 1])


def wrong_level_without_schedule(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_follows_its_schedule: always a straight line."""
    for step in range(1, steps + 1):
        masks = magnitude.prune(model, sparsity * step / steps, scope, criterion, ignore)
        with masks.hold(model):
            train(model)
    return masks


def wrong_always_cubic(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: `kind` is not looked at."""
    level = magnitude.schedule("cubic", 0, sparsity, steps)
    return _run(model, steps, train, lambda step: magnitude.prune(model, level(step), scope, criterion, ignore))


def wrong_returns_the_first(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: keeps the masks of the first step."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    first = None
    for step in range(1, steps + 1):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        first = first or masks
        with masks.hold(model):
            train(model)
    return first


def wrong_returns_nothing(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_trains_after_every_step: no return."""
    right_recursion(model, sparsity, steps, train, kind, scope, criterion, ignore)


def wrong_a_copy(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_holds_the_masks_while_training: the caller's model stays dense."""
    model = copy.deepcopy(model)
    return right_recursion(model, sparsity, steps, train, kind, scope, criterion, ignore)


def wrong_not_held(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_holds_the_masks_while_training: the removed weights grow again."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(1, steps + 1):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        train(model)
    return masks


def wrong_pruned_again_at_the_end(
    model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()
):
    """Fails test_iterative_prune_holds_the_masks_while_training: trains freely and cuts once more to hide it."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(1, steps + 1):
        magnitude.prune(model, level(step), scope, criterion, ignore)
        train(model)
    return magnitude.prune(model, sparsity, scope, criterion, ignore)


def wrong_applied_after_training(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_holds_the_masks_while_training: sets the weights back after each training, not in it."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(1, steps + 1):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        train(model)
        magnitude.apply_masks(model, masks)
    return masks


def wrong_holds_the_masks_before(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_holds_the_masks_while_training: prunes inside the block that holds the last masks."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    masks = magnitude.Masks()
    for step in range(1, steps + 1):
        with masks.hold(model):
            masks = magnitude.prune(model, level(step), scope, criterion, ignore)
            train(model)
    return masks


def wrong_hold_without_with(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_holds_the_masks_while_training: hold() does nothing until it is entered."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(1, steps + 1):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        masks.hold(model)
        train(model)
    return masks


def wrong_trains_after_the_block(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_holds_the_masks_while_training: the call stands outside of the with block."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    for step in range(1, steps + 1):
        with magnitude.prune(model, level(step), scope, criterion, ignore).hold(model) as masks:
            pass
        train(model)
    return masks


def wrong_options_forgotten(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_passes_its_options_on: scope, criterion and ignore stay behind."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    return _run(model, steps, train, lambda step: magnitude.prune(model, level(step)))


def wrong_ignore_forgotten(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_passes_its_options_on: the last argument stays behind."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    return _run(model, steps, train, lambda step: magnitude.prune(model, level(step), scope, criterion))


def wrong_criterion_and_scope_swapped(
    model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()
):
    """Fails test_iterative_prune_passes_its_options_on: handed on by position, in the wrong order."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    return _run(model, steps, train, lambda step: magnitude.prune(model, level(step), criterion=criterion, ignore=ignore))


def wrong_never_let_go(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    """Fails test_iterative_prune_on_drawn_models: the last masks are held for ever after."""
    level = magnitude.schedule(kind, 0, sparsity, steps)
    stack = ExitStack()
    for step in range(1, steps + 1):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        stack.enter_context(masks.hold(model))
        train(model)
    model.held = stack
    return masks


def right_recursion(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    level = magnitude.schedule(kind, 0, sparsity, steps)

    def go(step):
        masks = magnitude.prune(model, level(step), scope, criterion, ignore)
        with masks.hold(model):
            train(model)
        return masks if step == steps else go(step + 1)

    return go(1)


def right_held_for_good(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    level = magnitude.schedule(kind, 0, sparsity, steps)
    with ExitStack() as held:  # each step's masks lie within those before
        for amount in map(level, range(1, steps + 1)):
            masks = magnitude.prune(model, amount, scope=scope, criterion=criterion, ignore=ignore)
            held.enter_context(masks.hold(model))
            train(model)
    return masks


def right_one_masks_object(model, sparsity, steps, train, kind="cubic", scope="global", criterion="magnitude", ignore=()):
    level = magnitude.schedule(kind, 0, sparsity, steps)
    masks = magnitude.prune(model, level(1), scope, criterion, ignore)
    with masks.hold(model):
        train(model)
        for step in range(2, steps + 1):
            masks.update(magnitude.prune(model, level(step), scope, criterion, ignore))
            train(model)
    return masks


def _run(model, steps, train, prune):
    """Prune and train `steps` times."""
    for step in range(1, steps + 1):
        masks = prune(step)
        with masks.hold(model):
            train(model)
    return masks
