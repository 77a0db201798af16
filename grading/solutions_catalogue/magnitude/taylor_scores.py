import torch


def wrong_gradient_only(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: how steep the loss is, without how far the weight has to go."""
    return weight.grad.abs()


def wrong_magnitude_only(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: magnitude pruning again."""
    return weight.detach().abs()


def wrong_no_abs(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: a change of the loss in either direction counts."""
    return weight.detach() * weight.grad


def wrong_abs_of_the_weight_only(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: a negative gradient makes a negative score."""
    return weight.detach().abs() * weight.grad


def wrong_squared(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: Molchanov's squares rank alike, but here the change is asked."""
    return (weight.detach() * weight.grad) ** 2


def wrong_negative_sign_cut_off(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: relu in place of abs."""
    return torch.relu(-weight.detach() * weight.grad)


def wrong_sum(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: adds both in place of multiplying."""
    return weight.detach().abs() + weight.grad.abs()


def wrong_one_number(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: one score for the whole layer."""
    return (weight.detach() * weight.grad).abs().sum()


def wrong_one_number_a_row(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: one score for a filter, as for structured pruning."""
    return (weight.detach() * weight.grad).abs().sum(1, keepdim=True)


def wrong_normalized(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: scaled to the largest, layers can no longer be compared."""
    scores = (weight.detach() * weight.grad).abs()
    return scores / scores.max()


def wrong_matrix_product(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: @ in place of *."""
    return (weight.detach() @ weight.grad).abs()


def wrong_attached(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: the scores drag the graph along."""
    return (weight * weight.grad).abs()


def wrong_uses_the_gradient_up(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: mul_ writes into the gradient."""
    return weight.grad.mul_(weight.detach()).abs_()


def wrong_clears_the_gradient(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: tidies up what is not its own."""
    scores = (weight.detach() * weight.grad).abs()
    weight.grad = None
    return scores


def wrong_changes_the_weight(weight):
    """Fails test_taylor_scores_are_weight_times_gradient: detach() shares memory, mul_ changes the weight itself."""
    return weight.detach().mul_(weight.grad).abs()


def wrong_matrices_only(weight):
    """Fails test_taylor_scores_on_drawn_models: written for the weight of a Linear."""
    rows, columns = weight.shape
    return torch.stack([(weight.detach()[i] * weight.grad[i]).abs() for i in range(rows)]).view(rows, columns)


def wrong_rounded(weight):
    """Fails test_taylor_scores_on_drawn_models: rounded for the eye."""
    return (weight.detach() * weight.grad).abs().round(decimals=2)


def right_product_of_abs(weight):
    return weight.detach().abs() * weight.grad.abs()


@torch.no_grad()
def right_no_grad(weight):
    return torch.abs(torch.mul(weight, weight.grad))


def right_loop(weight):
    pairs = zip(weight.flatten().tolist(), weight.grad.flatten().tolist())
    return torch.tensor([abs(w * g) for w, g in pairs], dtype=weight.dtype).view(weight.shape)
