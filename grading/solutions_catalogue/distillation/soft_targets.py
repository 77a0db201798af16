import torch
import torch.nn.functional as F


def wrong_without_temperature(logits, temperature):
    """Fails test_soft_targets_by_hand: an ordinary softmax, the temperature is forgotten."""
    return torch.softmax(logits, dim=1)


def wrong_times_temperature(logits, temperature):
    """Fails test_soft_targets_by_hand: multiplies, so that a high temperature sharpens."""
    return torch.softmax(logits * temperature, dim=1)


def wrong_over_the_batch(logits, temperature):
    """Fails test_soft_targets_by_hand: dim=0 makes the columns sum to 1, the images compete."""
    return torch.softmax(logits / temperature, dim=0)


def wrong_divides_after(logits, temperature):
    """Fails test_soft_targets_by_hand: divides the probabilities in place of the logits."""
    return torch.softmax(logits, dim=1) / temperature


def wrong_logarithms(logits, temperature):
    """Fails test_soft_targets_by_hand: log-probabilities, as the student's side of F.kl_div takes them."""
    return torch.log_softmax(logits / temperature, dim=1)


def wrong_exp_by_hand(logits, temperature):
    """Fails test_soft_targets_of_large_logits_are_finite: exp of a large logit overflows to infinity."""
    exponentials = torch.exp(logits / temperature)
    return exponentials / exponentials.sum(1, keepdim=True)


def wrong_scaled_by_the_whole_batch(logits, temperature):
    """Fails test_soft_targets_of_large_logits_are_finite: subtracts the largest of all, other rows underflow to 0 / 0."""
    exponentials = torch.exp((logits - logits.max()) / temperature)
    return exponentials / exponentials.sum(1, keepdim=True)


def wrong_sigmoid(logits, temperature):
    """Fails test_soft_targets_by_hand: each class by itself, rows do not sum to 1."""
    return torch.sigmoid(logits / temperature)


def wrong_in_place(logits, temperature):
    """Fails test_soft_targets_on_drawn_logits: changes the logits that it was given."""
    logits /= temperature
    return torch.softmax(logits, dim=1)


def wrong_hardened(logits, temperature):
    """Fails test_soft_targets_by_hand: the class alone, one-hot, has no dark knowledge left."""
    return F.one_hot(logits.argmax(1), logits.shape[1]).float()


def right_logsumexp(logits, temperature):
    scaled = logits / temperature
    return torch.exp(scaled - scaled.logsumexp(1, keepdim=True))


def right_row_by_row(logits, temperature):
    rows = []
    for row in logits:
        largest = row.max()
        exponentials = torch.exp((row - largest) / temperature)
        rows.append(exponentials / exponentials.sum())
    return torch.stack(rows)
