from tinyshrink import metrics


def tensors_of(model):
    return [*model.parameters(), *model.buffers()]


def wrong_four_bytes(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: 4 bytes a parameter, as in most tutorials."""
    return 4 * metrics.count_parameters(model)


def wrong_no_buffers(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: forgot what BatchNorm remembers."""
    storages = [p.untyped_storage() for p in model.parameters()]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def wrong_state_dict(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: a state dict leaves out buffers that are not saved."""
    storages = [t.untyped_storage() for t in model.state_dict().values()]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def wrong_first_dtype(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: took the first tensor's dtype for all."""
    tensors = tensors_of(model)
    return sum(t.numel() for t in tensors) * tensors[0].element_size()


def wrong_bits(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: counted bits."""
    storages = [t.untyped_storage() for t in tensors_of(model)]
    return 8 * sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def wrong_kilobytes(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: bytes are asked."""
    storages = [t.untyped_storage() for t in tensors_of(model)]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values()) / 1024


def wrong_zeros_are_free(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: thought that pruning saves memory by itself."""
    return sum(int(t.count_nonzero()) * t.element_size() for t in tensors_of(model))


def wrong_shared_twice(model):
    """Fails test_model_bytes_counts_each_storage_once: a view of another weight takes no memory of its own."""
    return sum(t.untyped_storage().nbytes() for t in tensors_of(model))


def wrong_elements(model):
    """Fails test_model_bytes_counts_each_storage_once: a slice keeps the whole tensor alive."""
    return sum(t.numel() * t.element_size() for t in tensors_of(model))


def wrong_elements_by_address(model):
    """Fails test_model_bytes_counts_each_storage_once: told views apart, and took the slice's size for its storage's."""
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors_of(model)}.values())


def wrong_set_of_sizes(model):
    """Fails test_model_bytes_goes_by_dtype_and_counts_buffers: two storages of one size are not one storage."""
    return sum({t.untyped_storage().nbytes() for t in tensors_of(model)})


def wrong_storages_by_the_address_of_the_tensor(model):
    """Fails test_model_bytes_counts_each_storage_once: two slices of one storage begin at two addresses."""
    return sum({t.data_ptr(): t.untyped_storage().nbytes() for t in tensors_of(model)}.values())


def right_seen(model):
    seen, total = set(), 0
    for tensor in tensors_of(model):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total


def right_sizes(model):
    sizes = {}
    for module in model.modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().size()
    return sum(sizes.values())


def right_smallest_address(model):
    ends = {}
    for tensor in tensors_of(model):
        address = tensor.data_ptr() - tensor.storage_offset() * tensor.element_size()
        ends[address] = tensor.untyped_storage().nbytes()
    return sum(ends.values())
