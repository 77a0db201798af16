import torch
from torch import nn

from tinyshrink import metrics


def tensors_of(x):
    return [x] if isinstance(x, torch.Tensor) else list(metrics.weights(x).values())


def wrong_density(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: the share that is left, not the share of zeros."""
    tensors = tensors_of(model_or_tensor)
    return sum(int((t != 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_percent(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: a fraction is asked."""
    tensors = tensors_of(model_or_tensor)
    return 100 * sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_nearly_zero(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: small is not zero."""
    tensors = tensors_of(model_or_tensor)
    return sum(int((t.abs() < 1e-6).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_not_positive(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: counted negative weights as zeros."""
    tensors = tensors_of(model_or_tensor)
    return sum(int((t <= 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_rows(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: divided by the first dimension."""
    tensors = tensors_of(model_or_tensor)
    return sum(int((t == 0).sum()) for t in tensors) / sum(len(t) for t in tensors)


def wrong_matrices_only(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: takes rows times columns for the size."""
    tensors = tensors_of(model_or_tensor)
    return sum(int((t == 0).sum()) for t in tensors) / sum(t.shape[0] * t.shape[1] for t in tensors)


def wrong_tensor(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: returns a tensor, not a float."""
    tensors = tensors_of(model_or_tensor)
    return sum((t == 0).sum() for t in tensors) / sum(t.numel() for t in tensors)


def wrong_all_parameters(model_or_tensor):
    """Fails test_sparsity_of_a_model_counts_its_weights_and_nothing_else: biases that start at zero look pruned."""
    is_tensor = isinstance(model_or_tensor, torch.Tensor)
    tensors = [model_or_tensor] if is_tensor else list(model_or_tensor.parameters())
    return sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_mean_over_layers(model_or_tensor):
    """Fails test_sparsity_of_a_model_counts_its_weights_and_nothing_else: a small layer weighs as much as a large one."""
    shares = [(t == 0).double().mean().item() for t in tensors_of(model_or_tensor)]
    return sum(shares) / len(shares)


def wrong_linear_only(model_or_tensor):
    """Fails test_sparsity_of_a_model_counts_its_weights_and_nothing_else: convolutions have weights too."""
    if isinstance(model_or_tensor, torch.Tensor):
        tensors = [model_or_tensor]
    else:
        tensors = [m.weight for m in model_or_tensor.modules() if isinstance(m, nn.Linear)]
    return sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_shared_twice(model_or_tensor):
    """Fails test_sparsity_counts_a_shared_weight_once_and_a_frozen_one_too: went layer by layer."""
    if isinstance(model_or_tensor, torch.Tensor):
        tensors = [model_or_tensor]
    else:
        tensors = [m.weight for m in model_or_tensor.modules() if isinstance(m, metrics.PLAIN)]
    return sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_trainable_only(model_or_tensor):
    """Fails test_sparsity_counts_a_shared_weight_once_and_a_frozen_one_too: a frozen weight is a weight."""
    tensors = tensors_of(model_or_tensor)
    if isinstance(model_or_tensor, nn.Module):
        tensors = [t for t in tensors if t.requires_grad]
    return sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


def wrong_rounded(model_or_tensor):
    """Fails test_sparsity_is_the_fraction_of_exact_zeros_of_a_tensor: rounded for printing."""
    tensors = tensors_of(model_or_tensor)
    return round(sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors), 2)


def right_one_vector(model_or_tensor):
    flat = torch.cat([t.detach().flatten() for t in tensors_of(model_or_tensor)])
    return (flat.numel() - flat.count_nonzero().item()) / flat.numel()


def right_loop(model_or_tensor):
    zeros = total = 0
    for tensor in tensors_of(model_or_tensor):
        for value in tensor.flatten().tolist():
            zeros += value == 0
            total += 1
    return zeros / total


def right_mean_of_float32(model_or_tensor):
    tensors = tensors_of(model_or_tensor)
    return torch.cat([(tensor == 0).flatten() for tensor in tensors]).float().mean().item()
