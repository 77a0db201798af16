import torch

from tinyshrink.structured import filter_scores


def _split(attention):
    """The rows of value and the columns of out of each head, (heads, head_dim, width) both."""
    shape = (attention.heads, attention.head_dim, -1)
    return attention.value.weight.reshape(shape), attention.out.weight.T.reshape(shape)


def wrong_value_only(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: forgets the way out."""
    return filter_scores(_split(attention)[0], criterion)


def wrong_out_only(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: forgets how the values are made."""
    return filter_scores(_split(attention)[1], criterion)


def wrong_rows_of_out(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: a head writes by the columns of out, not its rows."""
    out = attention.out.weight.reshape(attention.heads, -1)
    return filter_scores(torch.cat([_split(attention)[0].flatten(1), out], 1), criterion)


def wrong_columns_of_value(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: the columns of value read all heads' input."""
    value = attention.value.weight.T.reshape(attention.heads, -1)
    return filter_scores(torch.cat([value, _split(attention)[1].flatten(1)], 1), criterion)


def wrong_heads_interleaved(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: row 0 to head 0, row 1 to head 1, and so on."""
    value = attention.value.weight.reshape(attention.head_dim, attention.heads, -1).transpose(0, 1)
    out = attention.out.weight.T.reshape(attention.head_dim, attention.heads, -1).transpose(0, 1)
    return filter_scores(torch.cat([value, out], 2), criterion)


def wrong_two_scores_added(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: L2 of two parts added is not the L2 of both."""
    value, out = _split(attention)
    return filter_scores(value, criterion) + filter_scores(out, criterion)


def wrong_scores_of_rows_added(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: adds up the scores of the head's single rows."""
    rows = torch.cat([attention.value.weight, attention.out.weight.T], 1)
    return filter_scores(rows, criterion).view(attention.heads, -1).sum(1)


def wrong_query_and_key_too(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: counts where a head looks, not what it says."""
    looks = [layer.weight.reshape(attention.heads, -1) for layer in (attention.query, attention.key)]
    return filter_scores(torch.cat([*looks, *(part.flatten(1) for part in _split(attention))], 1), criterion)


def wrong_criterion_forgotten(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: always L2."""
    return filter_scores(torch.cat(_split(attention), 2), "l2")


def wrong_head_dim_from_the_width(attention, criterion="l2"):
    """Fails test_head_scores_on_drawn_attentions: width / heads is no longer head_dim once heads have been removed."""
    size = attention.out.weight.shape[0] // attention.heads
    scores = []
    for start in range(0, size * attention.heads, size):
        rows = attention.value.weight[start : start + size].flatten()
        columns = attention.out.weight[:, start : start + size].flatten()
        scores.append(filter_scores(torch.cat([rows, columns])[None], criterion)[0])
    return torch.stack(scores)


def wrong_product_of_value_and_out(attention, criterion="l2"):
    """Fails test_head_scores_are_those_of_value_rows_and_out_columns: the product may be small where both are large."""
    value, out = _split(attention)
    return filter_scores(out.transpose(1, 2) @ value, criterion)


def right_head_by_head(attention, criterion="l2"):
    filters = []
    for head in range(attention.heads):
        own = slice(attention.head_dim * head, attention.head_dim * (head + 1))
        parts = (attention.value.weight[own].flatten(), attention.out.weight[:, own].flatten())
        filters.append(torch.cat(parts))
    return filter_scores(torch.stack(filters), criterion)


def right_chunks(attention, criterion="l2"):
    values = attention.value.weight.detach().chunk(attention.heads, 0)
    outs = attention.out.weight.detach().chunk(attention.heads, 1)
    return filter_scores(torch.stack([torch.cat([v, o.T], 1) for v, o in zip(values, outs)]), criterion)
