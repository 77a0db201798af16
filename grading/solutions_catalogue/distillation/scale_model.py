import copy
import math

from tinyshrink import metrics
from tinyshrink.distillation import count_at


def _search(model, target, key=None, share=0.95, limit=lambda count, target: count <= target, wider=0):
    """The settings that the task asks for, or with other rules those of a wrong solution."""
    old, step = model.settings, model.settings.get("heads", 1)
    name = "depth" if "depth" in old else "blocks" if "blocks" in old else None
    found = []
    for depth in range(1, old[name] + 1) if name else [None]:
        deep = {name: depth} if name else {}
        best = None
        for width in range(step, old["width"] + wider + 1, step):
            count = count_at(model, width=width, **deep)
            if not limit(count, target):
                break
            shape = math.log(width / old["width"]) - (math.log(depth / old[name]) if name else 0)
            best = (count, abs(shape), {"width": width, **deep})
        if best:
            found.append(best)
    if not found:
        raise ValueError(f"no {type(model).__name__} is that small")
    largest = max(entry[0] for entry in found)
    return min((entry for entry in found if entry[0] >= share * largest), key=key or (lambda entry: entry[1]))[2]


def _depth_name(model):
    return next((name for name in ("depth", "blocks") if name in model.settings), None)


def wrong_square_root(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: width and depth by the square root of the share, as on the web."""
    share, step = (target_parameters / count_at(model)) ** 0.5, model.settings.get("heads", 1)
    settings = {"width": max(step, int(model.settings["width"] * share) // step * step)}
    if _depth_name(model):
        settings[_depth_name(model)] = max(1, int(model.settings[_depth_name(model)] * share))
    return type(model)(**model.settings | settings)


def wrong_width_alone(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: keeps the depth."""
    step = model.settings.get("heads", 1)
    widths = [w for w in range(step, model.settings["width"] + 1, step) if count_at(model, width=w) <= target_parameters]
    if not widths:
        raise ValueError("too small")
    return type(model)(**model.settings | {"width": widths[-1]})


def wrong_nearest(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: the nearest size, which may lie above the target."""
    name, step, found = _depth_name(model), model.settings.get("heads", 1), []
    for depth in range(1, model.settings.get(name, 1) + 1):
        for width in range(step, model.settings["width"] + 1, step):
            settings = {"width": width, **({name: depth} if name else {})}
            found.append((abs(count_at(model, **settings) - target_parameters), width, settings))
    return type(model)(**model.settings | min(found, key=lambda entry: entry[0])[2])


def wrong_below_the_target(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: < for <=, an exact fit is passed over."""
    return type(model)(**model.settings | _search(model, target_parameters, limit=lambda count, target: count < target))


def wrong_largest_alone(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: takes the largest, whatever its shape."""
    return type(model)(**model.settings | _search(model, target_parameters, share=1.0))


def wrong_shape_alone(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: takes the best shape, however small."""
    return type(model)(**model.settings | _search(model, target_parameters, share=0.0))


def wrong_deepest(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: of those near the target the deepest."""
    key = lambda entry: -entry[2].get("depth", entry[2].get("blocks", 1))
    return type(model)(**model.settings | _search(model, target_parameters, key))


def wrong_heads_ignored(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: any width, a transformer's heads do not divide it."""
    name, found = _depth_name(model), []
    for depth in range(1, model.settings.get(name, 1) + 1):
        for width in range(1, model.settings["width"] + 1):
            settings = {"width": width, **({name: depth} if name else {})}
            count = count_at(model, **settings)
            if count <= target_parameters:
                found.append((count, width, settings))
    return type(model)(**model.settings | max(found, key=lambda entry: entry[0])[2])


def wrong_default_settings(model, target_parameters):
    """Fails test_scale_model_gives_a_new_model: rebuilds with the default heads and patches of the class."""
    return type(model)(**_search(model, target_parameters))


def wrong_smallest_for_too_small(model, target_parameters):
    """Fails test_scale_model_refuses_what_is_too_small: gives the smallest model where none fits."""
    try:
        settings = _search(model, target_parameters)
    except ValueError:
        name = _depth_name(model)
        settings = {"width": model.settings.get("heads", 1), **({name: 1} if name else {})}
    return type(model)(**model.settings | settings)


def wrong_meta(model, target_parameters):
    """Fails test_scale_model_gives_a_new_model: returns the model that was built to be counted, without memory."""
    return type(model)(**model.settings | _search(model, target_parameters)).to("meta")


def wrong_settings_only(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: the settings, not a model."""
    return _search(model, target_parameters)


def wrong_changes_the_model(model, target_parameters):
    """Fails test_scale_model_gives_a_new_model: writes the new settings into the large model."""
    model.settings.update(_search(model, target_parameters))
    return type(model)(**model.settings)


def wrong_copies_the_model(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: a copy that only says that it is smaller."""
    student = copy.deepcopy(model)
    student.settings = model.settings | _search(model, target_parameters)
    return student


def right_all_shapes(model, target_parameters):
    name, old, step = _depth_name(model), model.settings, model.settings.get("heads", 1)
    table = []
    for depth in range(old.get(name, 1), 0, -1):
        settings = {name: depth} if name else {}
        counts = {w: count_at(model, width=w, **settings) for w in range(step, old["width"] + 1, step)}
        fitting = [width for width, count in counts.items() if count <= target_parameters]
        if fitting:
            table.append((depth, fitting[-1], counts[fitting[-1]]))
    if not table:
        raise ValueError(f"no {type(model).__name__} has only {target_parameters} parameters")
    enough = 0.95 * max(count for _, _, count in table)
    table = [row for row in table if row[2] >= enough]
    depth, width, _ = min(table, key=lambda row: abs(math.log(row[1] * old.get(name, 1) / (old["width"] * row[0]))))
    return type(model)(**{**old, "width": width, **({name: depth} if name else {})})


def right_downwards(model, target_parameters):
    settings = _search(model, target_parameters)
    student = type(model)(**{**model.settings, **settings})
    assert metrics.count_parameters(student) <= target_parameters
    return student


def wrong_wider_than_the_model(model, target_parameters):
    """Fails test_scale_model_searches_width_and_depth: where a layer less leaves room, the width grows beyond the model's."""
    return type(model)(**model.settings | _search(model, target_parameters, wider=model.settings["width"]))
