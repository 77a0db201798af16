import statistics
import time

import numpy as np
import torch

from tinyshrink import metrics
from tinyshrink.metrics import seconds, torch_threads, wait_for_gpu


def pairs(slow, fast, warmup, repeats, threads, clock):
    with torch_threads(threads):
        for _ in range(warmup):
            slow()
            fast()
        return [(seconds(slow, clock), seconds(fast, clock)) for _ in range(repeats)]


def wrong_inverse(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: fast / slow."""
    return statistics.median(b / a for a, b in pairs(slow, fast, warmup, repeats, threads, clock))


def wrong_mean(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: one interrupted call spoils the mean."""
    return statistics.mean(a / b for a, b in pairs(slow, fast, warmup, repeats, threads, clock))


def wrong_torch_median(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: torch.median takes the lower of two middle ones."""
    return torch.tensor([a / b for a, b in pairs(slow, fast, warmup, repeats, threads, clock)]).median().item()


def wrong_ratio_of_medians(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: measured in pairs, and then tore the pairs apart."""
    a, b = np.median(pairs(slow, fast, warmup, repeats, threads, clock), axis=0)
    return float(a / b)


def wrong_ratio_of_sums(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: a ratio of means."""
    a, b = np.sum(pairs(slow, fast, warmup, repeats, threads, clock), axis=0)
    return float(a / b)


def wrong_best(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: the best ratio makes the best slide."""
    return max(a / b for a, b in pairs(slow, fast, warmup, repeats, threads, clock))


def wrong_difference(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: seconds saved are no speedup."""
    return statistics.median(a - b for a, b in pairs(slow, fast, warmup, repeats, threads, clock))


def wrong_one_pair(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: one measurement is none."""
    return statistics.median(a / b for a, b in pairs(slow, fast, warmup, 1, threads, clock))


def wrong_no_warmup(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: measured the slow first calls."""
    return statistics.median(a / b for a, b in pairs(slow, fast, 0, repeats, threads, clock))


def wrong_warms_up_one(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: a cold fast one looks slow."""
    for _ in range(warmup):
        slow()
    return statistics.median(a / b for a, b in pairs(slow, fast, 0, repeats, threads, clock))


def wrong_own_clock(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_is_the_median_of_the_ratios: did not use the clock that it was given."""
    return statistics.median(a / b for a, b in pairs(slow, fast, warmup, repeats, threads, time.perf_counter))


def wrong_two_latencies(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_makes_the_calls_in_turn: one latency after the other."""
    options = {"warmup": warmup, "repeats": repeats, "threads": threads, "clock": clock}
    return metrics.latency(slow, **options).median / metrics.latency(fast, **options).median


def wrong_one_after_the_other(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_makes_the_calls_in_turn: all calls of slow, then all of fast, then pairs of them."""
    with torch_threads(threads):
        for _ in range(warmup):
            slow()
            fast()
        a = [seconds(slow, clock) for _ in range(repeats)]
        b = [seconds(fast, clock) for _ in range(repeats)]
    return statistics.median(x / y for x, y in zip(a, b))


def wrong_ignores_threads(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_gives_both_functions_the_same_threads: computed with as many as there were."""
    return statistics.median(a / b for a, b in pairs(slow, fast, warmup, repeats, None, clock))


def wrong_threads_for_slow_only(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_gives_both_functions_the_same_threads: compared one thread with several."""
    with torch_threads(threads):
        for _ in range(warmup):
            slow()
    for _ in range(warmup):
        fast()
    ratios = []
    for _ in range(repeats):
        with torch_threads(threads):
            a = seconds(slow, clock)
        ratios.append(a / seconds(fast, clock))
    return statistics.median(ratios)


def wrong_does_not_wait_for_the_gpu(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_waits_until_a_gpu_is_done: reads the clock as soon as a function returns."""
    ratios = []
    with torch_threads(threads):
        for call in range(warmup + repeats):
            started = clock()
            slow()
            between = clock()
            fast()
            if call >= warmup:
                ratios.append((between - started) / (clock() - between))
    return statistics.median(ratios)


def wrong_threads_lost_in_an_error(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_paired_speedup_gives_both_functions_the_same_threads: puts them back only where all went well."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    for _ in range(warmup):
        slow()
        fast()
    ratios = [seconds(slow, clock) / seconds(fast, clock) for _ in range(repeats)]
    torch.set_num_threads(before)
    return statistics.median(ratios)


def right_three_readings(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    ratios = []
    with torch_threads(threads):
        for call in range(warmup + repeats):
            wait_for_gpu()
            started = clock()
            slow()
            wait_for_gpu()
            between = clock()
            fast()
            wait_for_gpu()
            if call >= warmup:
                ratios.append((between - started) / (clock() - between))
    ratios.sort()
    return (ratios[(repeats - 1) // 2] + ratios[repeats // 2]) / 2


def right_changing_sides(slow, fast, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    ratios = np.empty(repeats)
    with torch_threads(threads):
        for _ in range(warmup):
            fast()
            slow()
        for call in range(repeats):
            if call % 2:
                b, a = seconds(fast, clock), seconds(slow, clock)
            else:
                a, b = seconds(slow, clock), seconds(fast, clock)
            ratios[call] = a / b
    return float(np.median(ratios))
