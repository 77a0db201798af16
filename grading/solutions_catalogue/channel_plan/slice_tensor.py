import numpy as np
import torch


def wrong_first_dimension_only(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: returns after the first of the dimensions."""
    for dim, indices in kept.items():
        return tensor.detach().index_select(dim, indices)
    return tensor.detach().clone()


def wrong_always_dimension_0(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: indexes the first dimension each time."""
    tensor = tensor.detach().clone()
    for indices in kept.values():
        tensor = tensor[indices]
    return tensor


def wrong_indices_paired(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: t[rows, columns] pairs the indices up."""
    return tensor.detach()[tuple(kept.get(dim, slice(None)) for dim in range(tensor.ndim))].clone()


def wrong_the_first_ones(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: as many as are kept, but from the start."""
    tensor = tensor.detach().clone()
    for dim, indices in kept.items():
        tensor = tensor.narrow(dim, 0, len(indices))
    return tensor


def wrong_the_removed_ones(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: keeps what should go."""
    tensor = tensor.detach().clone()
    for dim, indices in kept.items():
        others = [index for index in range(tensor.shape[dim]) if index not in indices.tolist()]
        tensor = tensor.index_select(dim, torch.tensor(others, dtype=torch.int64))
    return tensor


def wrong_zeros(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: masks what should go, and keeps the size."""
    result = tensor.detach().clone()
    for dim, indices in kept.items():
        mask = torch.ones(tensor.shape[dim], dtype=torch.bool)
        mask[indices] = False
        result.index_fill_(dim, mask.nonzero().flatten(), 0)
    return result


def wrong_float(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: turns counters into floating point numbers."""
    return right_numpy(tensor, kept).float()


def wrong_last_dimension_wins(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: starts from the whole tensor each time."""
    result = tensor.detach().clone()
    for dim, indices in kept.items():
        result = tensor.detach().index_select(dim, indices)
    return result


def wrong_shares_memory(tensor, kept):
    """Fails test_slice_tensor_is_a_new_tensor: with nothing to cut, the old tensor itself comes back."""
    tensor = tensor.detach()
    for dim, indices in kept.items():
        tensor = tensor.index_select(dim, indices)
    return tensor


def wrong_with_gradient(tensor, kept):
    """Fails test_slice_tensor_is_a_new_tensor: without detach the part is tied to the old weight."""
    tensor = tensor.clone()
    for dim, indices in kept.items():
        tensor = tensor.index_select(dim, indices)
    return tensor


def wrong_a_view(tensor, kept):
    """Fails test_slice_tensor_is_a_new_tensor: narrows where it can, which is a window on the old memory."""
    tensor = tensor.detach()
    for dim, indices in kept.items():
        if indices.tolist() == list(range(len(indices))):
            tensor = tensor.narrow(dim, 0, len(indices))
        else:
            tensor = tensor.index_select(dim, indices)
    return tensor


def wrong_by_mask(tensor, kept):
    """Fails test_slice_tensor_takes_the_kept_indices_of_each_dimension: a mask forgets the order of the list."""
    tensor = tensor.detach().clone()
    for dim, indices in kept.items():
        mask = torch.zeros(tensor.shape[dim], dtype=torch.bool)
        mask[indices] = True
        tensor = tensor.index_select(dim, mask.nonzero().flatten())
    return tensor


def right_numpy(tensor, kept):
    array = tensor.detach().numpy()
    grid = [np.asarray(kept.get(dim, range(size)), dtype=np.int64) for dim, size in enumerate(array.shape)]
    return torch.from_numpy(array[np.ix_(*grid)].copy())


def right_moved_to_the_front(tensor, kept):
    part = tensor.detach().clone()
    for dim in kept:
        part = part.transpose(0, dim)[kept[dim]].transpose(0, dim)
    return part.contiguous()


def right_take_along(tensor, kept):
    with torch.no_grad():
        part = tensor.clone()
        for dim, indices in kept.items():
            part = torch.stack([part.select(dim, int(index)) for index in indices], dim)
    return part
