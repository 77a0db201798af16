import torch

from tinyshrink import quantization


def _search(rows, bits, symmetric, measure, shares=range(100, 9, -2), ends=(True, True)):
    low, high = rows.aminmax(dim=1)
    best, least = torch.ones_like(low), torch.full_like(low, torch.inf)
    for percent in shares:
        a = low * percent / 100 if ends[0] else low
        b = high * percent / 100 if ends[1] else high
        scale, zero_point = quantization.affine_params(a, torch.maximum(a, b), bits, symmetric)
        off = quantization.fake_quantize(rows, scale, zero_point, bits, symmetric, axis=0) - rows
        error = measure(off)
        take = error < least
        best, least = torch.where(take, percent / 100, best), torch.where(take, error, least)
    return (low * best if ends[0] else low), (high * best if ends[1] else high)


def wrong_keeps_the_whole_range(rows, bits=8, symmetric=False):
    """Fails test_mse_range_gives_up_an_outlier_where_that_pays: min and max, which no error was asked for."""
    return rows.aminmax(dim=1)


def wrong_mean_absolute_error(rows, bits=8, symmetric=False):
    """Fails test_mse_range_has_the_least_squared_error_of_all_shares: does not square, so outliers count too little."""
    return _search(rows, bits, symmetric, lambda off: off.abs().mean(1))


def wrong_largest_error(rows, bits=8, symmetric=False):
    """Fails test_mse_range_gives_up_an_outlier_where_that_pays: the worst value alone decides."""
    return _search(rows, bits, symmetric, lambda off: off.abs().amax(1))


def wrong_mean_error(rows, bits=8, symmetric=False):
    """Fails test_mse_range_has_the_least_squared_error_of_all_shares: errors up and down cancel each other."""
    return _search(rows, bits, symmetric, lambda off: off.mean(1).abs())


def wrong_one_share_for_all_rows(rows, bits=8, symmetric=False):
    """Fails test_mse_range_gives_up_an_outlier_where_that_pays: the error of the whole matrix, not of each row."""
    return _search(rows, bits, symmetric, lambda off: off.square().mean().expand(len(off)))


def wrong_narrows_the_upper_end_only(rows, bits=8, symmetric=False):
    """Fails test_mse_range_gives_up_an_outlier_where_that_pays: an outlier below stays."""
    return _search(rows, bits, symmetric, lambda off: off.square().mean(1), ends=(False, True))


def wrong_ignores_the_bits(rows, bits=8, symmetric=False):
    """Fails test_mse_range_gives_up_an_outlier_where_that_pays: the range that is best at 8 bits."""
    return _search(rows, 8, symmetric, lambda off: off.square().mean(1))


def wrong_ignores_symmetric(rows, bits=8, symmetric=False):
    """Fails test_mse_range_gives_up_an_outlier_where_that_pays: a range for another set of integers."""
    return _search(rows, bits, False, lambda off: off.square().mean(1))


def wrong_stops_at_half(rows, bits=8, symmetric=False):
    """Fails test_mse_range_gives_up_an_outlier_where_that_pays: at few bits the best share is far below 0.5."""
    return _search(rows, bits, symmetric, lambda off: off.square().mean(1), range(100, 49, -2))


def right_all_at_once(rows, bits=8, symmetric=False):
    shares = torch.arange(100, 9, -2)[:, None] / 100
    low, high = (shares * end for end in rows.aminmax(dim=1))  # (shares, rows)
    scale, zero_point = (value.flatten() for value in quantization.affine_params(low, high, bits, symmetric))
    many = rows.repeat(len(shares), 1)
    off = quantization.fake_quantize(many, scale, zero_point, bits, symmetric, axis=0) - many
    errors = off.square().mean(1).view(len(shares), -1)
    best, rank = errors.argmin(0), torch.arange(errors.shape[1])
    return low[best, rank], high[best, rank]


def right_row_by_row(rows, bits=8, symmetric=False):
    lows, highs = [], []
    for row in rows:
        tried = []
        for step in range(46):
            share = 1 - 0.02 * step
            low, high = row.min() * share, row.max() * share
            scale, zero_point = quantization.affine_params(low, high, bits, symmetric)
            off = quantization.fake_quantize(row, scale, zero_point, bits, symmetric) - row
            tried.append((off.square().sum().item(), step, low, high))
        _, _, low, high = min(tried, key=lambda entry: entry[:2])
        lows.append(low)
        highs.append(high)
    return torch.stack(lows), torch.stack(highs)
