"""Claim: the adaptive search finds, within one minimal step, the rate that a full sweep finds, in far fewer epochs.

    python benchmarks/adaptive_search.py [digits|cifar10] [--seeds 5] [--algorithm magnitude_sparsity]

The budget is 1 pp on validation. The sweep tries every rate in minimal steps, from the same start upwards, with the same
epochs at each; it goes through more of them on its way, so it is no weaker. Test images are looked at once, with what was
found. digits: DigitsCNN, each seed a network, some minutes a seed. cifar10: the shipped network, one run, where an epoch is
10,000 of the training images: still hours. A run that was killed goes on where it stopped (build/).
"""

import argparse
import dataclasses
import json

import results
import torch
from intervals import interval, points
from recipes import CIFAR10, state_folder
from rich.console import Console
from rich.table import Table

from tinyshrink import adaptive, data, files, metrics, models, training

BUDGET, START = 0.01, 0.1
COMPRESSION = {
    "magnitude_sparsity": {"sparsity_init": START, "params": {"sparsity_target": START, "weight_importance": "abs"}},
    "filter_pruning": {"pruning_init": START, "params": {"pruning_target": START, "filter_importance": "L1"}},
}
STEP_SIZE, MINIMAL = 0.1, 0.025
PATIENCE = {"magnitude_sparsity": 2, "filter_pruning": 5}  # epochs at a rate: a network that lost filters recovers slower
CIFAR10_IMAGES = 10_000  # of an epoch
RECIPES = {"digits": {"lr": 0.02}, "cifar10": {"lr": 0.02, **CIFAR10}}


def dense_model(name, dataset, seed):
    if name == "cifar10":
        return models.load_pretrained("cifar10_cnn")
    torch.manual_seed(seed)
    model = models.DigitsCNN()
    training.train(model, dataset, 20, seed=seed, progress=False)
    return model


def search(model, dataset, algorithm, seed, checkpoint, step, allowed):
    """The AdaptiveResult and the runner that holds what was found."""
    config = adaptive.AdaptiveConfig(
        maximal_absolute_accuracy_degradation=allowed,
        initial_training_phase_epochs=PATIENCE[algorithm],
        patience_epochs=PATIENCE[algorithm],
        initial_compression_rate_step=step,
        minimal_compression_rate_step=MINIMAL,
        compression={"algorithm": algorithm, **COMPRESSION[algorithm]},
    )
    runner = adaptive.make_runner(config, model, dataset, seed=seed, **RECIPES[dataset.name])
    return adaptive.AdaptiveCompression(config, checkpoint=checkpoint).run(runner), runner


def compare(name, dataset, algorithm, seed, folder):
    """The rates and epochs of search and sweep, and accuracies on test, as a dict; from its file if it was done before."""
    path = folder / f"{name}-{algorithm}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    model = dense_model(name, dataset, seed)
    found, runner = search(model, dataset, algorithm, seed, path.with_suffix(".search"), STEP_SIZE, BUDGET)
    # without a limit every rate is good: the search becomes a sweep
    sweep, _ = search(model, dataset, algorithm, seed, path.with_suffix(".sweep"), MINIMAL, 1.0)
    good = [rate for rate, accuracy in sweep.history if adaptive.is_good(accuracy, found.smallest)]
    result = {key: getattr(found, key) for key in ("rate", "epochs")}
    result |= {"sweep": max(good, default=0.0), "sweep_epochs": sweep.epochs, "history": dataclasses.asdict(found)["history"]}
    small = runner.compressed()
    result["test"] = [training.evaluate(each, dataset.test) for each in (model, small)]
    result["fewer"] = metrics.count_parameters(model) / metrics.count_parameters(small, nonzero=True)
    with files.whole(path) as part:
        part.write_text(json.dumps(result), encoding="utf-8")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=RECIPES, default="digits")
    parser.add_argument("--seeds", type=int, default=5, help="of digits; cifar10 has one")
    parser.add_argument("--algorithm", choices=COMPRESSION, help="one of the two, instead of both")
    arguments = parser.parse_args()
    dataset, folder = data.load(arguments.data), state_folder(__file__)
    if arguments.data == "cifar10":
        few = data.Split(dataset.train.x[:CIFAR10_IMAGES], dataset.train.y[:CIFAR10_IMAGES])
        dataset = dataclasses.replace(dataset, train=few)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(arguments.seeds if arguments.data == "digits" else 1)
    title = f"{arguments.data}, budget {100 * BUDGET:g} pp, {len(seeds)} seeds"
    header = (
        "rate found",
        "sweep's",
        "search - sweep, pp",
        "within one step",
        "epochs",
        "sweep's",
        "fewer weights",
        "test, pp",
    )
    table, collected = Table("algorithm", *header, title=title), []
    for algorithm in [arguments.algorithm] if arguments.algorithm else COMPRESSION:
        rows = [compare(arguments.data, dataset, algorithm, seed, folder) for seed in seeds]
        means = {key: interval([row[key] for row in rows])[0] for key in ("rate", "sweep", "epochs", "sweep_epochs", "fewer")}
        gaps = [row["rate"] - row["sweep"] for row in rows]
        near = sum(abs(gap) <= MINIMAL + 1e-9 for gap in gaps)
        mean_gap = abs(interval(gaps)[0])
        table.add_row(
            algorithm,
            f"{means['rate']:.1%}",
            f"{means['sweep']:.1%}",
            points(gaps),
            f"{near} of {len(rows)}; mean: {'met' if mean_gap <= MINIMAL + 1e-9 else 'NOT met'}",
            f"{means['epochs']:.1f}",
            f"{means['sweep_epochs']:.1f}",
            f"{means['fewer']:.1f}x",
            points([row["test"][1] - row["test"][0] for row in rows]),
        )
        what, met = f"adaptive search, {arguments.data}, budget {100 * BUDGET:g} pp, {algorithm}", mean_gap <= MINIMAL + 1e-9
        options = {"anchor": f"a full sweep, {means['sweep']:.1%}", "seeds": len(rows)}
        note = f"{means['rate']:.1%}; {near} of {len(rows)} within one step"
        claim = f"{what}: rate found, search - sweep"
        collected += [results.row(claim, gaps, "pp", most=MINIMAL, met=met, note=note, **options)]
        options = {"anchor": f"a full sweep, {means['sweep_epochs']:.1f}", "seeds": len(rows)}
        ratio = means["epochs"] / means["sweep_epochs"]
        collected += [results.row(f"{what}: epochs", means["epochs"], "epochs", ratio=ratio, **options)]
        lost = [row["test"][0] - row["test"][1] for row in rows]
        claim, note = f"{what}: loss on test", f"{means['fewer']:.1f} times fewer weights"
        collected += [results.row(claim, lost, "pp", anchor="dense", seeds=len(rows), note=note, detail=True)]
    Console(width=140).print(table)
    results.record("10_adaptive", collected, folder.glob(f"{arguments.data}-*.json"))


if __name__ == "__main__":
    main()
