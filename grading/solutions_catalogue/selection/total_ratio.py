import numpy as np

from tinyshrink import lowrank, selection


def wrong_mean_of_the_ratios(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_weighs_by_cost: every layer has the same say, however small."""
    return sum(ratios.get(name, 1.0) for name in shapes) / len(shapes)


def wrong_only_the_compressed_layers(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_weighs_by_cost: forgets the layers that stay as they are."""
    return right_sums({name: shapes[name] for name in ratios}, ratios, scheme, metric, multiple) if ratios else 1.0


def wrong_other_layers_cost_nothing(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_weighs_by_cost: a layer that was not chosen is taken as gone."""
    kept = sum(
        lowrank.layer_cost(shapes[name], metric) * selection.kept_ratio(shapes[name], ratio, scheme, metric, multiple)
        for name, ratio in ratios.items()
    )
    return kept / sum(lowrank.layer_cost(shape, metric) for shape in shapes.values())


def wrong_the_ratios_that_were_asked(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_counts_what_ranks_really_keep: forgets that ranks are whole numbers."""
    return right_sums(shapes, ratios, "magnitude", metric, multiple)


def wrong_always_macs(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_counts_what_ranks_really_keep: the metric is not passed on."""
    return right_sums(shapes, ratios, scheme, "macs", multiple)


def wrong_without_the_multiple(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_counts_what_ranks_really_keep: the multiple is not passed on."""
    return right_sums(shapes, ratios, scheme, metric)


def wrong_what_is_removed(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_weighs_by_cost: a ratio is what is kept, not what goes."""
    return 1 - right_sums(shapes, ratios, scheme, metric, multiple)


def wrong_weights_for_the_ratio_macs_for_the_layer(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    """Fails test_total_ratio_counts_what_ranks_really_keep: weighs the layers by memory, whatever the metric."""
    costs = {name: lowrank.layer_cost(shape, "memory") for name, shape in shapes.items()}
    kept = sum(
        cost * selection.kept_ratio(shapes[name], ratios.get(name, 1.0), scheme, metric, multiple)
        for name, cost in costs.items()
    )
    return kept / sum(costs.values())


def right_sums(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    costs = {name: lowrank.layer_cost(shape, metric) for name, shape in shapes.items()}
    kept = dict(costs)
    for name, ratio in ratios.items():
        kept[name] = costs[name] * selection.kept_ratio(shapes[name], ratio, scheme, metric, multiple)
    return sum(kept.values()) / sum(costs.values())


def right_weighted_average(shapes, ratios, scheme="spatial", metric="macs", multiple=1):
    weights = [lowrank.layer_cost(shape, metric) for shape in shapes.values()]
    shares = [
        selection.kept_ratio(shape, ratios[name], scheme, metric, multiple) if name in ratios else 1
        for name, shape in shapes.items()
    ]
    return float(np.average(shares, weights=weights))
