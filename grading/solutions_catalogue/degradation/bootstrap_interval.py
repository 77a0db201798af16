import statistics

import numpy as np
import torch
from scipy import stats


def _means(values, resamples, seed, count=None):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (resamples, count or len(values)), generator=generator)
    return values.double()[drawn].mean(1)


def wrong_spread_of_the_examples(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_of_known_cases: where most examples lie, not where their mean does."""
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    return tuple(values.double().quantile(tails).tolist())


def wrong_without_replacement(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_of_known_cases: each draw is the same examples in another order."""
    generator = torch.Generator().manual_seed(seed)
    means = [values.double()[torch.randperm(len(values), generator=generator)].mean().item() for _ in range(resamples)]
    return float(np.quantile(means, (1 - confidence) / 2)), float(np.quantile(means, (1 + confidence) / 2))


def wrong_number_of_examples(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_of_known_cases: draws as many examples as resamples, whatever there are."""
    means = _means(values, len(values), seed, resamples)
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    return tuple(means.quantile(tails).tolist())


def wrong_always_95_percent(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_of_known_cases: ignores the confidence."""
    return right_torch(values, 0.95, resamples, seed)


def wrong_whole_tail_on_each_side(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_of_known_cases: cuts 5 percent off on each side, so that 90 are left."""
    return right_torch(values, 2 * confidence - 1 if confidence > 0.5 else confidence / 2, resamples, seed)


def wrong_normal_approximation(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_of_known_cases: mean and standard error, which may leave what is possible."""
    noise = 1e-9 * torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()
    half = stats.norm.ppf((1 + confidence) / 2) * values.double().std().item() / len(values) ** 0.5
    return values.double().mean().item() - half + noise, values.double().mean().item() + half


def wrong_uses_up_the_callers_numbers(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_repeats_itself: seeds the random numbers of everybody."""
    torch.manual_seed(seed)
    means = values.double()[torch.randint(len(values), (resamples, len(values)))].mean(1)
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    return tuple(means.quantile(tails).tolist())


def wrong_another_interval_each_time(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_repeats_itself: a generator without the seed."""
    return right_torch(values, confidence, resamples, int(np.random.default_rng().integers(2**31)))


def wrong_the_same_seed_always(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_repeats_itself: whatever seed is given, it takes 0."""
    return right_torch(values, confidence, resamples, 0)


def wrong_medians(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_of_known_cases: the median of each draw in place of its mean."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    medians = values.double()[drawn].median(1).values
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    return tuple(medians.quantile(tails).tolist())


def right_torch(values, confidence=0.95, resamples=1000, seed=0):
    means = _means(values, resamples, seed)
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    return tuple(means.quantile(tails).tolist())


def right_scipy(values, confidence=0.95, resamples=1000, seed=0):
    if values.min() == values.max():
        return values[0].item(), values[0].item()
    rng = np.random.default_rng(seed)
    options = {"confidence_level": confidence, "n_resamples": resamples, "method": "percentile"}
    found = stats.bootstrap((values.double().numpy(),), np.mean, rng=rng, **options).confidence_interval
    return float(found.low), float(found.high)


def right_sorted_list(values, confidence=0.95, resamples=1000, seed=0):
    rng, numbers = np.random.default_rng(seed), values.double().numpy()
    means = sorted(statistics.fmean(rng.choice(numbers, len(numbers))) for _ in range(resamples))
    place = (1 - confidence) / 2 * (resamples - 1)
    return means[round(place)], means[round(resamples - 1 - place)]


def wrong_always_a_thousand(values, confidence=0.95, resamples=1000, seed=0):
    """Fails test_bootstrap_interval_repeats_itself: ignores resamples."""
    g = torch.Generator().manual_seed(seed)
    means = values.double()[torch.randint(len(values), (1000, len(values)), generator=g)].mean(1)
    return tuple(means.quantile(torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)).tolist())


def right_forked(values, confidence=0.95, resamples=1000, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        means = sorted(float(values[torch.randint(len(values), (len(values),))].double().mean()) for _ in range(resamples))
    ends = (1 - confidence) / 2 * (resamples - 1), (1 + confidence) / 2 * (resamples - 1)
    return tuple(float(np.interp(end, range(resamples), means)) for end in ends)
