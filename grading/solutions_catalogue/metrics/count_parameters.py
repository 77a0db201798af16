import math

import torch

from tinyshrink import metrics


def wrong_trainable_only(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: the line that every forum gives, which skips frozen ones."""
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in model.parameters() if p.requires_grad)


def wrong_state_dict(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: a state dict holds the buffers of BatchNorm too."""
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in model.state_dict().values())


def wrong_parameters_and_buffers(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: counted the running means, which nobody learns."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in tensors)


def wrong_weights_only(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: forgot biases and norms."""
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in metrics.weights(model).values())


def wrong_number_of_tensors(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: counted tensors, not the numbers in them."""
    return len(list(model.parameters()))


def wrong_rows(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: len(p) is the first dimension only."""
    return sum(int(p.count_nonzero()) if nonzero else len(p) for p in model.parameters())


def wrong_children_only(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: forgot parameters that stand in the model itself."""
    total = 0
    for child in model.children():
        for p in child.parameters():
            total += int(p.count_nonzero()) if nonzero else p.numel()
    return total


def wrong_shared_twice(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: went module by module."""
    total = 0
    for module in model.modules():
        for p in module.parameters(recurse=False):
            total += int(p.count_nonzero()) if nonzero else p.numel()
    return total


def wrong_ignores_nonzero(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: never looked at the argument."""
    return sum(p.numel() for p in model.parameters())


def wrong_always_nonzero(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: a zero is a parameter too."""
    return sum(int(p.count_nonzero()) for p in model.parameters())


def wrong_positive(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: negative weights are not zero."""
    return sum(int((p > 0).sum()) if nonzero else p.numel() for p in model.parameters())


def wrong_counts_zeros(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: counted the zeros instead."""
    return sum(int((p == 0).sum()) if nonzero else p.numel() for p in model.parameters())


def wrong_tensor(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: returns a tensor, not an int."""
    return sum(p.count_nonzero() if nonzero else p.numel() for p in model.parameters())


def wrong_nonzero_weights_only(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: biases are missing among the nonzeros."""
    tensors = metrics.weights(model).values() if nonzero else model.parameters()
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in tensors)


def wrong_nearly_zero(model, nonzero=False):
    """Fails test_count_parameters_counts_a_shared_one_once_and_nonzeros_when_asked: takes what is tiny for zero."""
    return sum(int((p.abs() > 1e-6).sum()) if nonzero else p.numel() for p in model.parameters())


def wrong_by_address(model, nonzero=False):
    """Fails test_count_parameters_counts_all_that_is_learned: on the meta device all tensors have the address 0."""
    by_address = {p.data_ptr(): p for p in model.parameters()}
    return sum(int(p.count_nonzero()) if nonzero else p.numel() for p in by_address.values())


def right_one_vector(model, nonzero=False):
    vector = torch.cat([p.detach().reshape(-1).double() for p in model.parameters()])
    return int((vector != 0).sum()) if nonzero else len(vector)


def right_loop(model, nonzero=False):
    total = 0
    for p in model.parameters():
        if nonzero:
            total += (p != 0).sum().item()
        else:
            total += math.prod(p.shape)
    return total
