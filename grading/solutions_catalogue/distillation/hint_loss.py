import torch
import torch.nn.functional as F

from tinyshrink import distillation


def wrong_not_detached(student_features, teacher_features, projection):
    """Fails test_hint_loss_trains_student_and_projection_alone: the teacher's features get a gradient."""
    mine, hint = projection(distillation.positions(student_features)), distillation.positions(teacher_features)
    return (mine - hint).square().mean()


def wrong_student_detached(student_features, teacher_features, projection):
    """Fails test_hint_loss_trains_student_and_projection_alone: detaches the student, only the projection learns."""
    mine = projection(distillation.positions(student_features).detach())
    return (mine - distillation.positions(teacher_features).detach()).square().mean()


def wrong_all_detached(student_features, teacher_features, projection):
    """Fails test_hint_loss_trains_student_and_projection_alone: projects without gradients."""
    with torch.no_grad():
        mine = projection(distillation.positions(student_features))
    mine = mine + 0 * distillation.positions(student_features).sum()
    return (mine - distillation.positions(teacher_features).detach()).square().mean()


def wrong_sum(student_features, teacher_features, projection):
    """Fails test_hint_loss_by_hand: the sum of the squares, not their mean."""
    mine, hint = projection(distillation.positions(student_features)), distillation.positions(teacher_features).detach()
    return (mine - hint).square().sum()


def wrong_absolute(student_features, teacher_features, projection):
    """Fails test_hint_loss_by_hand: the mean absolute error."""
    mine, hint = projection(distillation.positions(student_features)), distillation.positions(teacher_features).detach()
    return (mine - hint).abs().mean()


def wrong_root(student_features, teacher_features, projection):
    """Fails test_hint_loss_by_hand: the root of the mean square."""
    mine, hint = projection(distillation.positions(student_features)), distillation.positions(teacher_features).detach()
    return (mine - hint).square().mean().sqrt()


def wrong_mean_over_positions(student_features, teacher_features, projection):
    """Fails test_hint_loss_by_hand: averages the positions away first, so that errors cancel."""
    mine, hint = projection(distillation.positions(student_features)), distillation.positions(teacher_features).detach()
    return (mine.mean(1) - hint.mean(1)).square().mean()


def wrong_as_an_image(student_features, teacher_features, projection):
    """Fails test_hint_loss_by_hand: subtracts in the shape of an image, a transformer's tokens have another one."""
    mine = projection(distillation.positions(student_features)).transpose(1, 2).reshape(len(student_features), -1)
    return (mine - teacher_features.detach().flatten(1)).square().mean()


def wrong_view(student_features, teacher_features, projection):
    """Fails test_hint_loss_by_hand: view mixes channels and positions where they must be transposed."""
    n, channels = student_features.shape[:2]
    mine = projection(student_features.reshape(n, -1, channels))
    hint = distillation.positions(teacher_features).detach()
    return (mine - hint).square().mean()


def wrong_broadcasts(student_features, teacher_features, projection):
    """Fails test_hint_loss_by_hand: a hint of one position is compared with all of the student's."""
    mine, hint = projection(distillation.positions(student_features)), distillation.positions(teacher_features).detach()
    return (mine - hint).square().mean()


def right_mse(student_features, teacher_features, projection):
    mine, hint = projection(distillation.positions(student_features)), distillation.positions(teacher_features.detach())
    if mine.shape != hint.shape:
        raise ValueError(f"{mine.shape} and {hint.shape}")
    return F.mse_loss(mine, hint)


def right_position_by_position(student_features, teacher_features, projection):
    mine, hint = distillation.positions(student_features), distillation.positions(teacher_features).detach()
    if mine.shape[1] != hint.shape[1]:
        raise ValueError(f"{mine.shape[1]} positions and {hint.shape[1]}")
    errors = [(projection(mine[:, i]) - hint[:, i]).pow(2).mean() for i in range(mine.shape[1])]
    return torch.stack(errors).mean()


def right_norm(student_features, teacher_features, projection):
    with torch.no_grad():
        hint = distillation.positions(teacher_features)
    mine = projection(distillation.positions(student_features))
    if hint.shape != mine.shape:
        raise ValueError(f"{tuple(mine.shape)} against {tuple(hint.shape)}")
    return torch.linalg.vector_norm(mine - hint) ** 2 / hint.numel()
