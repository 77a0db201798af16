"""Claim: a search finds a network that is at least as accurate as the hand-made DigitsCNN at no more than its latency.

    python benchmarks/architecture_search.py [--data digits] [--seeds 5] [--workers 1] [--figure front.png]
    TINYSHRINK_DATA=... python benchmarks/architecture_search.py --data mnist --seeds 3 --strategies halving --trials 12

The budget is what DigitsCNN itself has: its latency (one image, one thread) times MARGIN, for the noise, and the bytes of its
file. A network's latency is measured in turn with DigitsCNN's, call by call, on the clock of the thread, so that a busy or hot
machine slows both: in the searches it is a part of DigitsCNN's. Each strategy looks at validation alone. A search trains each
network once, so its three best are trained again by one recipe, longer, from 3 seeds each, as DigitsCNN is, and the one with
the best mean on validation meets the test images, once. "first" is the gain of the one that the search had put first.

"mnist" has 5,000 of MNIST's training images, and takes hours. Searches and trainings go on after a kill, from
build/architecture_search. About three minutes a seed on two quiet cores.
"""

import argparse
import functools
import statistics
import time
from dataclasses import replace
from pathlib import Path

import joblib
import results
import torch
from intervals import interval, points
from rich.console import Console
from rich.table import Table

from tinyshrink import data, metrics, models, plots, search, search_space, suffix, training

EPOCHS, FINAL_EPOCHS, FINAL_SEEDS, FINALISTS, MARGIN, IMAGES = 9, 20, 3, 3, 0.97, 5000
FOLDER = Path("build/architecture_search")


def load(name):
    """The data, and the hand-made network for it."""
    loaded = data.load(name)
    if name == "mnist":
        chosen = torch.randperm(len(loaded.train.y), generator=torch.Generator().manual_seed(0))[:IMAGES]
        loaded = replace(loaded, train=data.Split(loaded.train.x[chosen], loaded.train.y[chosen]))
    return loaded, lambda: models.DigitsCNN(size=loaded.train.x.shape[-1])


def final(build, loaded, seed):
    """A network trained by the one recipe, which goes on where it was killed."""
    torch.manual_seed(seed)
    model = build()
    path = FOLDER / f"{loaded.name}-{suffix.digest([*model.state_dict().values()])[:12]}.safetensors"
    training.train(model, loaded, FINAL_EPOCHS, seed=seed, checkpoint=path, progress=False)
    return model


def accuracies(builds, loaded, seed, workers):
    """[(mean accuracy on validation, the models)] of FINAL_SEEDS trainings for each of `builds`."""
    tasks = [(build, loaded, 10_000 * (seed + 1) + i) for build in builds for i in range(FINAL_SEEDS)]
    trained = joblib.Parallel(workers)(joblib.delayed(final)(*task) for task in tasks)
    groups = [trained[start : start + FINAL_SEEDS] for start in range(0, len(trained), FINAL_SEEDS)]
    return [(sum(training.evaluate(model, loaded.validation) for model in group), group) for group in groups]


def on_test(models, loaded):
    """The mean accuracy of the models on test."""
    return sum(training.evaluate(model, loaded.test) for model in models) / len(models)


def finalists(result):
    """The architectures with the highest accuracies on validation in a search; of equals the fastest."""
    last = max(len(trial.accuracies) for trial in result.trials)
    trained = [trial for trial in result.trials if len(trial.accuracies) == last]
    return [trial.architecture for trial in sorted(trained, key=lambda trial: (-trial.accuracy, trial.ms))[:FINALISTS]]


def speedup(slow, fast, example, repeats):
    """How many times as fast as `slow` the network `fast` is, one thread, one image: calls in turn."""
    slow, fast = slow.eval(), fast.eval()
    options = {"warmup": 10, "repeats": repeats, "threads": 1, "clock": time.thread_time}
    with torch.inference_mode():
        return metrics.paired_speedup(lambda: slow(example), lambda: fast(example), **options)


def report(rows, hands, name, hand, images):
    """Print the table of all runs {strategy: [(result, test, test of the first, bytes, speedup)]} beside DigitsCNN's."""
    table = Table(
        "strategy", "trained", "epochs", "measured only", "test, %", "gain, pp", "first, pp", "times as fast", "bytes, %", "met"
    )
    collected = []
    table.title = f"{name}, {len(hands)} seeds, budget {type(hand).__name__}: {MARGIN:g} x its ms, its bytes"
    for strategy, runs in rows.items():
        results_of, chosen, firsts, sizes, faster = zip(*runs)
        gains, first_gains = ([test - own for test, own in zip(tests, hands)] for tests in (chosen, firsts))
        table.add_row(
            strategy,
            f"{statistics.mean(result.trained for result in results_of):.0f}",
            f"{statistics.mean(result.epochs for result in results_of):.0f}",
            f"{statistics.mean(len(result.trials) - result.trained for result in results_of):.0f}",
            points(chosen, sign=""),
            points(gains),
            points(first_gains),
            f"{min(faster):.2f} to {max(faster):.2f}",
            f"{100 * statistics.mean(sizes):.0f}",
            "yes" if interval(gains)[0] >= 0 and min(faster) >= 1 else "NO",
        )
        what, met = f"architecture search on {name}, {strategy}", interval(gains)[0] >= 0 and min(faster) >= 1
        counts = [statistics.mean(count) for count in zip(*((one.trained, one.epochs) for one in results_of))]
        note = f"{counts[0]:.0f} networks, {counts[1]:.0f} epochs, at least {min(faster):.2f} times as fast"
        options = {"anchor": f"DigitsCNN, {points(hands, sign='')}%", "seeds": len(hands)}
        collected += [results.row(f"{what}: gain", gains, "pp", least=0, met=met, note=note, **options)]
        what = f"{what}: gain of the search's own first choice"
        collected += [results.row(what, first_gains, "pp", **options, detail=strategy != "halving")]
    Console(width=128).print(table)
    one = 100 / images
    print(f"DigitsCNN, %: {points(hands, sign='')} on {images} images (one is {one:.2g} pp)")
    print(
        "target: a gain of at least 0 pp on average, each network at least as fast as DigitsCNN; ± is the 95% interval over the"
    )
    print(
        f"seeds of the search. Accuracy: mean of {FINAL_SEEDS} trainings of {FINAL_EPOCHS} epochs. first: what the search put"
    )
    print(f"first. Not counted above: {FINALISTS} finalists of each search, {FINAL_SEEDS} trainings each.")
    results.record("12_search", collected, FOLDER.glob("*"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--strategies", nargs="+", default=search.STRATEGIES, choices=search.STRATEGIES)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="where to write the fronts of the first seed as a picture")
    given = parser.parse_args()
    loaded, hand = load(given.data)
    space, example = search_space.cnn_space(loaded.train.x.shape[1:]), loaded.validation.x[:1]
    rows, hands, fronts, started = {strategy: [] for strategy in given.strategies}, [], {}, time.perf_counter()
    hand_ms = search_space.measured_ms(hand(), example, 200)
    budget = search.Budget(MARGIN, search_space.stored_bytes(hand()))
    for seed in range(given.seeds):
        reference = hand()
        latency = lambda model, reference=reference: 1 / speedup(reference, model, example, 40)
        hands.append(on_test(accuracies([hand], loaded, seed, given.workers)[0][1], loaded))
        for strategy in given.strategies:
            path = FOLDER / f"{given.data}-{strategy}-{given.trials}-{seed}.json"
            options = {"seed": seed, "checkpoint": path, "workers": given.workers, "progress": False, "latency": latency}
            result = search.search_architecture(space, loaded, budget, strategy, given.trials, EPOCHS, **options)
            builds = [functools.partial(space.build, **architecture) for architecture in finalists(result)]
            scores = accuracies(builds, loaded, seed, given.workers)
            place = max(range(len(scores)), key=lambda place: scores[place][0])
            chosen, first = (on_test(scores[which][1], loaded) for which in (place, 0))
            build = builds[place]
            size = search_space.stored_bytes(build()) / budget.max_bytes
            rows[strategy].append((result, chosen, first, size, speedup(hand(), build(), example, 300)))
            print(f"seed {seed}, {strategy}: {build.keywords}, {rows[strategy][-1][-1]:.2f}x as fast, {size:.0%} of the bytes")
            print(f"  test {chosen:.2%}, DigitsCNN {hands[-1]:.2%}; the first of the search {first:.2%}", flush=True)
            if seed == 0:
                fronts[strategy] = [(trial.accuracy, hand_ms * trial.ms) for trial in result.trials if trial.accuracies]
    report(rows, hands, given.data, hand(), len(loaded.test.y))
    print(f"{time.perf_counter() - started:.0f} s, of which searches and trainings that were done before took none")
    if given.figure:
        plots.save(plots.pareto(fronts, hand_ms, title=f"{given.data}, seed 0: trained networks"), given.figure)


if __name__ == "__main__":
    main()
