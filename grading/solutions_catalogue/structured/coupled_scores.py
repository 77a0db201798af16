import torch


def wrong_not_normalized(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: the plain mean, where the layer of large weights decides."""
    return torch.stack(scores).mean(0)


def wrong_first_layer_only(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: asks the convolution, forgets what it is added to."""
    return scores[0] / scores[0].mean() if scores[0].any() else scores[0]


def wrong_last_layer_only(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: asks the last layer alone."""
    return scores[-1] / scores[-1].mean() if scores[-1].any() else scores[-1]


def wrong_normalized_after(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: divides the sum, when the large layer has already won."""
    total = torch.stack(scores).sum(0)
    return total / total.mean()


def wrong_divided_by_the_largest(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: one outlier would silence the rest of its layer."""
    return torch.stack([values / values.max() if values.any() else values for values in scores]).mean(0)


def wrong_divided_by_the_sum(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: the sum, so that groups of more channels score lower."""
    return torch.stack([values / values.sum() if values.any() else values for values in scores]).mean(0)


def wrong_sum_over_layers(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: the sum over layers, so that large groups score higher."""
    return right_loop(scores) * len(scores)


def wrong_product(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: one layer's zero decides for all."""
    return torch.stack([values / values.mean() if values.any() else values for values in scores]).prod(0)


def wrong_largest(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: takes the largest word, not the mean."""
    return torch.stack([values / values.mean() if values.any() else values for values in scores]).amax(0)


def wrong_mean_over_channels(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: the wrong dimension, a number for each layer."""
    return torch.stack([values / values.mean() if values.any() else values for values in scores]).mean(1)


def wrong_zeros_divided(scores):
    """Fails test_coupled_scores_of_a_layer_of_zeros: 0 / 0 is NaN, and NaN is everywhere."""
    return torch.stack([values / values.mean() for values in scores]).mean(0)


def wrong_in_place(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: /= changes the scores that were given."""
    for values in scores:
        if values.any():
            values /= values.mean()
    return torch.stack(scores).mean(0)


def wrong_mean_with_its_sign(scores):
    """Fails test_coupled_scores_give_each_layer_the_same_say: scores of both signs have a mean near zero, or below."""
    return torch.stack([values / values.mean() if values.any() else values for values in scores]).mean(0)


def right_loop(scores):
    total = torch.zeros_like(scores[0])
    for values in scores:
        mean = values.abs().mean().item()
        total = total + values / (mean or 1)
    return total / len(scores)


def right_stacked(scores):
    table = torch.stack(scores)  # (layers, channels)
    means = table.abs().mean(1, keepdim=True)
    return (table / means.where(means > 0, 1)).mean(0)


def right_silent_layers_left_out(scores):
    loud = [values / values.abs().mean() for values in scores if values.count_nonzero()]
    return sum(loud) / len(loud) if loud else scores[0].clone()
