import math
import time

import numpy as np
import torch

from tinyshrink.metrics import Latency, seconds, torch_threads, wait_for_gpu


def quartiles(times):
    return np.quantile(times, [0.5, 0.25, 0.75]).tolist()


def measured(f, warmup, repeats, threads, clock):
    with torch_threads(threads):
        for _ in range(warmup):
            f()
        return [1000 * seconds(f, clock) for _ in range(repeats)]


def wrong_mean(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: one interrupted call pulls the mean up."""
    times = measured(f, warmup, repeats, threads, clock)
    return Latency(sum(times) / len(times), *quartiles(times)[1:])


def wrong_minimum(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: the best call is not the usual one."""
    times = measured(f, warmup, repeats, threads, clock)
    return Latency(min(times), *quartiles(times)[1:])


def wrong_torch_median(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: torch.median takes the lower of two middle ones."""
    times = measured(f, warmup, repeats, threads, clock)
    return Latency(torch.tensor(times).median().item(), *quartiles(times)[1:])


def wrong_middle_of_the_sorted(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: an even number of calls has two middle ones."""
    times = sorted(measured(f, warmup, repeats, threads, clock))
    return Latency(times[len(times) // 2], *quartiles(times)[1:])


def wrong_seconds(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: milliseconds are asked."""
    return Latency(*(t / 1000 for t in quartiles(measured(f, warmup, repeats, threads, clock))))


def wrong_extremes(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: the extremes are not the middle half."""
    times = measured(f, warmup, repeats, threads, clock)
    return Latency(quartiles(times)[0], min(times), max(times))


def wrong_order(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: low, median, high is another order."""
    median, low, high = quartiles(measured(f, warmup, repeats, threads, clock))
    return Latency(low, median, high)


def wrong_no_warmup(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: measured the slow first calls."""
    return Latency(*quartiles(measured(f, 0, repeats, threads, clock)))


def wrong_warmup_measured_too(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: ran the warm-up, and kept its times."""
    return Latency(*quartiles(measured(f, 0, warmup + repeats, threads, clock)))


def wrong_all_calls_at_once(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: total over repeats is a mean in disguise."""
    with torch_threads(threads):
        for _ in range(warmup):
            f()
        started = clock()
        for _ in range(repeats):
            f()
        each = 1000 * (clock() - started) / repeats
    return Latency(each, each, each)


def wrong_own_clock(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_is_the_median_in_milliseconds_after_the_warmup: did not use the clock that it was given."""
    return Latency(*quartiles(measured(f, warmup, repeats, threads, time.perf_counter)))


def wrong_ignores_threads(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_computes_with_the_asked_threads_and_puts_them_back: computed with as many as there were."""
    return Latency(*quartiles(measured(f, warmup, repeats, None, clock)))


def wrong_threads_after_the_warmup(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_computes_with_the_asked_threads_and_puts_them_back: warmed up with other threads."""
    for _ in range(warmup):
        f()
    return Latency(*quartiles(measured(f, 0, repeats, threads, clock)))


def wrong_threads_not_put_back(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_computes_with_the_asked_threads_and_puts_them_back: the next measurement inherits them."""
    if threads:
        torch.set_num_threads(threads)
    return Latency(*quartiles(measured(f, warmup, repeats, None, clock)))


def wrong_threads_lost_in_an_error(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_puts_the_threads_back_when_the_function_fails: without try, an error skips the last line."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    times = measured(f, warmup, repeats, None, clock)
    torch.set_num_threads(before)
    return Latency(*quartiles(times))


def wrong_swallows_the_error(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_puts_the_threads_back_when_the_function_fails: hid the error of f."""
    try:
        return Latency(*quartiles(measured(f, warmup, repeats, threads, clock)))
    except Exception:
        return Latency(math.nan, math.nan, math.nan)


def wrong_one_thread_unless_told(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_computes_with_the_asked_threads_and_puts_them_back: None leaves the threads alone, it is not 1."""
    return right_by_numpy(f, warmup=warmup, repeats=repeats, threads=threads or 1, clock=clock)


def wrong_does_not_wait_for_the_gpu(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    """Fails test_latency_waits_until_a_gpu_is_done: reads the clock as soon as f returns."""
    times = []
    with torch_threads(threads):
        for _ in range(warmup):
            f()
        for _ in range(repeats):
            started = clock()
            f()
            times.append(1000 * (clock() - started))
    return Latency(*np.quantile(times, [0.5, 0.25, 0.75]).tolist())


def right_by_hand(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    times = []
    try:
        for _ in range(warmup):
            f()
        for _ in range(repeats):
            wait_for_gpu()
            started = clock()
            f()
            wait_for_gpu()
            times.append((clock() - started) * 1e3)
    finally:
        torch.set_num_threads(before)
    times.sort()

    def quantile(share):
        place = share * (len(times) - 1)
        low, high = math.floor(place), math.ceil(place)
        return times[low] + (times[high] - times[low]) * (place - low)

    return Latency(quantile(0.5), quantile(0.25), quantile(0.75))


def right_by_numpy(f, *, warmup=3, repeats=20, threads=None, clock=time.perf_counter):
    times = np.empty(repeats)
    with torch_threads(threads):
        for call in range(-warmup, repeats):
            taken = seconds(f, clock)
            if call >= 0:
                times[call] = taken
    low, median, high = np.percentile(1000 * times, [25, 50, 75])
    return Latency(float(median), float(low), float(high))
