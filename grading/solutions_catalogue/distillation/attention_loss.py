import torch
import torch.nn.functional as F

from tinyshrink import distillation


def _map(features):
    return F.normalize(distillation.positions(features).square().mean(2), dim=1)


def wrong_not_detached(student_features, teacher_features):
    """Fails test_attention_loss_trains_the_student_alone: the teacher's features get a gradient."""
    return (_map(student_features) - _map(teacher_features)).square().sum(1).mean()


def wrong_not_normalized(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: compares sizes, a teacher with larger features is never matched."""
    mine, hint = (distillation.positions(f).square().mean(2) for f in (student_features, teacher_features.detach()))
    return (mine - hint).square().sum(1).mean()


def wrong_normalized_over_channels(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: normalizes before the mean, each position by itself."""
    mine, hint = (
        F.normalize(distillation.positions(f).square(), dim=2).mean(2) for f in (student_features, teacher_features.detach())
    )
    return (mine - hint).square().sum(1).mean()


def wrong_sum_to_one(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: divides by the sum (L1), not by the L2 norm."""
    mine, hint = (distillation.positions(f).square().mean(2) for f in (student_features, teacher_features.detach()))
    mine, hint = mine / mine.sum(1, keepdim=True), hint / hint.sum(1, keepdim=True)
    return (mine - hint).square().sum(1).mean()


def wrong_mean_over_positions(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: a mean over the positions too, as some code has it; here it is their sum."""
    return (_map(student_features) - _map(teacher_features.detach())).square().mean()


def wrong_sum_over_the_batch(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: sums over the batch."""
    return (_map(student_features) - _map(teacher_features.detach())).square().sum()


def wrong_distance_not_squared(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: the distance itself."""
    return (_map(student_features) - _map(teacher_features.detach())).norm(dim=1).mean()


def wrong_without_squares(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: the mean of the features, where negative ones cancel."""
    mine, hint = (F.normalize(distillation.positions(f).mean(2), dim=1) for f in (student_features, teacher_features.detach()))
    return (mine - hint).square().sum(1).mean()


def wrong_absolute_features(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: |features| for their squares."""
    mine, hint = (
        F.normalize(distillation.positions(f).abs().mean(2), dim=1) for f in (student_features, teacher_features.detach())
    )
    return (mine - hint).square().sum(1).mean()


def wrong_mean_over_the_second_dimension(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: channels are dimension 1 of a CNN's features, not of a transformer's."""
    mine, hint = (F.normalize(f.square().mean(1).flatten(1), dim=1) for f in (student_features, teacher_features.detach()))
    return (mine - hint[:, : mine.shape[1]]).square().sum(1).mean()


def wrong_normalized_over_the_batch(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: dim=0 normalizes a position over the images."""
    mine, hint = (
        F.normalize(distillation.positions(f).square().mean(2), dim=0) for f in (student_features, teacher_features.detach())
    )
    return (mine - hint).square().sum(1).mean()


def wrong_divides_by_zero(student_features, teacher_features):
    """Fails test_attention_loss_of_a_silent_layer_is_finite: a layer whose ReLUs are all closed has a norm of 0."""
    mine, hint = (distillation.positions(f).square().mean(2) for f in (student_features, teacher_features.detach()))
    if mine.shape != hint.shape:
        raise ValueError(f"{mine.shape} and {hint.shape}")
    mine, hint = (f / f.norm(dim=1, keepdim=True) for f in (mine, hint))
    return (mine - hint).square().sum(1).mean()


def wrong_broadcasts(student_features, teacher_features):
    """Fails test_attention_loss_by_hand: a map of one position is compared with all of the student's."""
    return (_map(student_features) - _map(teacher_features.detach())).square().sum(1).mean()


def right_cosine(student_features, teacher_features):
    mine, hint = (distillation.positions(f).pow(2).sum(2) for f in (student_features, teacher_features.detach()))
    if mine.shape != hint.shape:
        raise ValueError(f"{mine.shape[1]} positions and {hint.shape[1]}")
    return 2 - 2 * F.cosine_similarity(mine, hint, dim=1).mean()


def right_image_by_image(student_features, teacher_features):
    total = 0
    if distillation.positions(student_features).shape[1] != distillation.positions(teacher_features).shape[1]:
        raise ValueError("maps of two sizes")
    for mine, hint in zip(distillation.positions(student_features), distillation.positions(teacher_features.detach())):
        mine, hint = (mine**2).mean(1), (hint**2).mean(1)
        mine, hint = (one / torch.linalg.vector_norm(one).clamp_min(1e-12) for one in (mine, hint))
        difference = mine - hint
        total = total + difference.dot(difference)
    return total / len(student_features)
