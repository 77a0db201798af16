import copy
import random


def wrong_changes_the_parent(architecture, choices, chance):
    """Fails test_mutate_moves_one_choice_by_one_step: works on the dict that it was given."""
    architecture.update(right_pairs(architecture, choices, chance))
    return architecture


def wrong_any_value(architecture, choices, chance):
    """Fails test_mutate_moves_one_choice_by_one_step: any other value, not a neighbour."""
    name = chance.choice([name for name in choices if len(choices[name]) > 1])
    return {**architecture, name: chance.choice([value for value in choices[name] if value != architecture[name]])}


def wrong_may_stay(architecture, choices, chance):
    """Fails test_mutate_moves_one_choice_by_one_step: the value drawn may be the old one, also of choices with one value."""
    name = chance.choice(list(choices))
    return {**architecture, name: chance.choice(choices[name])}


def wrong_wraps_round(architecture, choices, chance):
    """Fails test_mutate_moves_one_choice_by_one_step: index -1 is the last value, so the narrowest becomes the widest."""
    name = chance.choice([name for name in choices if len(choices[name]) > 1])
    place = choices[name].index(architecture[name]) + chance.choice([-1, 1])
    return {**architecture, name: choices[name][place % len(choices[name])]}


def wrong_stays_at_the_ends(architecture, choices, chance):
    """Fails test_mutate_moves_one_choice_by_one_step: a step beyond the end is clipped, and nothing changes."""
    name = chance.choice([name for name in choices if len(choices[name]) > 1])
    place = choices[name].index(architecture[name]) + chance.choice([-1, 1])
    return {**architecture, name: choices[name][min(max(place, 0), len(choices[name]) - 1)]}


def wrong_every_choice(architecture, choices, chance):
    """Fails test_mutate_moves_one_choice_by_one_step: all choices move at once."""
    return {name: right_pairs(architecture, {name: choices[name]}, chance).get(name) if len(choices[name]) > 1 else value
            for name, value in architecture.items()}  # fmt: skip


def wrong_long_lists_more_often(architecture, choices, chance):
    """Fails test_mutate_draws_each_choice_equally_often: draws among all values, so a long list is drawn more often."""
    names = [name for name, values in choices.items() for _ in values if len(values) > 1]
    name = chance.choice(names)
    return right_pairs(architecture, {name: choices[name]}, chance)


def wrong_own_chance(architecture, choices, chance):
    """Fails test_mutate_draws_each_choice_equally_often: takes Python's own random numbers, so no search can be repeated."""
    return right_pairs(architecture, choices, random)


def right_pairs(architecture, choices, chance):
    name = chance.choice([name for name in choices if len(choices[name]) > 1])
    near = [
        pair[1 - side] for pair in zip(choices[name], choices[name][1:]) for side in (0, 1) if pair[side] == architecture[name]
    ]
    return architecture | {name: near[0] if len(near) == 1 else chance.choice(near)}


def right_copy_and_retry(architecture, choices, chance):
    child = copy.deepcopy(dict(architecture))
    names = list(choices)
    while True:
        name = names[chance.randrange(len(names))]
        if len(choices[name]) >= 2:
            break
    place = list(choices[name]).index(child[name])
    step = 1 if place == 0 else -1 if place == len(choices[name]) - 1 else 1 - 2 * chance.randrange(2)
    child[name] = choices[name][place + step]
    return child


def _one_with(architecture, choices, chance, names):
    name = chance.choice(names)
    values = list(choices[name])
    place = values.index(architecture[name])
    near = [values[i] for i in (place - 1, place + 1) if 0 <= i < len(values)]
    return {**architecture, name: chance.choice(near)}


def wrong_empties_the_choices(architecture, choices, chance):
    """Fails test_mutate_draws_each_choice_equally_often: removes the present value from the caller's list of choices."""
    child = _one_with(architecture, choices, chance, [n for n, v in choices.items() if len(v) > 1])
    for name, values in choices.items():
        if isinstance(values, list) and architecture[name] != child[name]:
            values.remove(architecture[name])
    return child


def wrong_down_nine_times_of_ten(architecture, choices, chance):
    """Fails test_mutate_draws_each_choice_equally_often: goes down where it can, nearly always."""
    name = chance.choice([n for n, v in choices.items() if len(v) > 1])
    values = list(choices[name])
    place = values.index(architecture[name])
    down = place > 0 and (place == len(values) - 1 or chance.random() < 0.9)
    return {**architecture, name: values[place - 1 if down else place + 1]}
