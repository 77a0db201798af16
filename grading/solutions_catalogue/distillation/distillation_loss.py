import torch
import torch.nn.functional as F

from tinyshrink import distillation


def _soft(student_logits, teacher_logits, temperature):
    log_q = F.log_softmax(student_logits / temperature, dim=1)
    return F.kl_div(log_q, F.softmax(teacher_logits / temperature, dim=1), reduction="batchmean")


def _hard(student_logits, labels):
    return F.cross_entropy(student_logits, labels, reduction="sum") / len(labels)


def wrong_without_t_squared(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: the T² is forgotten, the gradient fades with the temperature."""
    return alpha * _soft(student_logits, teacher_logits.detach(), temperature) + (1 - alpha) * _hard(student_logits, labels)


def wrong_t_once(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: T for T²."""
    soft = temperature * _soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_kl_order(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: KL(student || teacher), weighted with the student's probabilities."""
    soft = temperature**2 * _soft(teacher_logits.detach(), student_logits, temperature)
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_alpha_swapped(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: alpha as the labels' share."""
    soft = temperature**2 * _soft(student_logits, teacher_logits.detach(), temperature)
    return (1 - alpha) * soft + alpha * _hard(student_logits, labels)


def wrong_teacher_not_detached(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_no_gradient_reaches_the_teacher: forgets detach(), the teacher learns from its student."""
    soft = temperature**2 * _soft(student_logits, teacher_logits, temperature)
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_both_detached(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_is_that_of_torch: nothing is left to learn from the teacher."""
    with torch.no_grad():
        soft = temperature**2 * _soft(student_logits, teacher_logits, temperature)
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_mean_over_classes(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: F.kl_div's reduction "mean" divides by the classes too."""
    log_q = F.log_softmax(student_logits / temperature, dim=1)
    kl = (F.softmax(teacher_logits.detach() / temperature, dim=1) * -log_q).mean()
    p = F.softmax(teacher_logits.detach() / temperature, dim=1)
    return alpha * temperature**2 * (kl + (p * p.log()).mean()) + (1 - alpha) * _hard(student_logits, labels)


def wrong_sum_over_the_batch(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_is_a_mean_over_the_batch: a sum, which grows with the batch."""
    soft = temperature**2 * _soft(student_logits, teacher_logits.detach(), temperature) * len(labels)
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels) * len(labels)


def wrong_soft_cross_entropy(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: the same gradient, but without the teacher's entropy it is no divergence."""
    p = F.softmax(teacher_logits.detach() / temperature, dim=1)
    soft = -(p * F.log_softmax(student_logits / temperature, dim=1)).sum(1).mean()
    return alpha * temperature**2 * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_hard_loss_at_temperature(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_is_that_of_torch: the student is softened for the labels too."""
    soft = temperature**2 * _soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * soft + (1 - alpha) * _hard(student_logits / temperature, labels)


def wrong_teacher_at_temperature_1(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: only the student is softened."""
    kl = F.kl_div(F.log_softmax(student_logits / temperature, 1), teacher_logits.detach().softmax(1), reduction="batchmean")
    return alpha * temperature**2 * kl + (1 - alpha) * _hard(student_logits, labels)


def wrong_mean_over_the_labelled(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_images_without_a_label_learn_from_the_teacher_alone: F.cross_entropy's mean is 0 / 0 without labels."""
    soft = temperature**2 * _soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)


def wrong_nan_to_num(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_images_without_a_label_learn_from_the_teacher_alone: hides the 0 / 0, but the mean is over the labelled."""
    soft = temperature**2 * _soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels).nan_to_num()


def wrong_unlabelled_skipped(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_images_without_a_label_learn_from_the_teacher_alone: throws the unlabelled images away for both parts."""
    known = labels >= 0
    student_logits, teacher_logits, labels = student_logits[known], teacher_logits[known], labels[known]
    soft = temperature**2 * _soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_log_of_softmax(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_survives_certain_teachers: the logarithm of a tiny softmax is -inf."""
    p = F.softmax(teacher_logits.detach() / temperature, dim=1)
    q = F.softmax(student_logits / temperature, dim=1)
    soft = (p * (p.log() - q.log())).sum(1).mean()
    return alpha * temperature**2 * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_squared_error_of_logits(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_by_hand: compares logits, which may differ by a constant and mean the same."""
    soft = (student_logits - teacher_logits.detach()).square().mean()
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels)


def wrong_in_place(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_is_a_mean_over_the_batch: divides the caller's logits by the temperature."""
    teacher_logits = teacher_logits.detach()
    teacher_logits /= temperature
    log_q = F.log_softmax(student_logits / temperature, 1)
    kl = F.kl_div(log_q, F.softmax(teacher_logits, 1), reduction="batchmean")
    ce = F.cross_entropy(student_logits, labels, reduction="sum") / len(labels)
    return alpha * temperature**2 * kl + (1 - alpha) * ce


def wrong_distributions(student_logits, teacher_logits, labels, temperature, alpha):
    """Fails test_distillation_loss_survives_certain_teachers: its divergence is infinite where a probability rounds to 0."""
    teacher, student = (
        torch.distributions.Categorical(logits=logits / temperature, validate_args=False)
        for logits in (teacher_logits.detach(), student_logits)
    )
    kl = torch.distributions.kl_divergence(teacher, student).mean()
    picked = student_logits.log_softmax(1).gather(1, labels.clamp_min(0)[:, None])[:, 0]  # (N,)
    ce = -torch.where(labels == distillation.UNLABELLED, 0, picked).mean()
    return alpha * temperature**2 * kl + (1 - alpha) * ce


def right_torch(student_logits, teacher_logits, labels, temperature, alpha):
    soft = temperature**2 * _soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * soft + (1 - alpha) * _hard(student_logits, labels)


def right_cross_entropy_minus_entropy(student_logits, teacher_logits, labels, temperature, alpha):
    with torch.no_grad():
        p = distillation.soft_targets(teacher_logits, temperature)
        entropy = -torch.xlogy(p, p).sum(1).mean()
    soft = F.cross_entropy(student_logits / temperature, p) - entropy
    hard = F.cross_entropy(student_logits, labels, reduction="none").mean()
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def right_image_by_image(student_logits, teacher_logits, labels, temperature, alpha):
    total = 0
    for mine, theirs, label in zip(student_logits, teacher_logits.detach(), labels.tolist()):
        log_p, log_q = (torch.log_softmax(logits / temperature, 0) for logits in (theirs, mine))
        total = total + alpha * temperature**2 * (log_p.exp() * (log_p - log_q)).sum()
        if label != distillation.UNLABELLED:
            total = total - (1 - alpha) * torch.log_softmax(mine, 0)[label]
    return total / len(labels)
