"""Claim: a transformer for digits can lose half its layers, or half its heads, and be nearly as accurate after recovery.

    python benchmarks/transformer_layers.py [--seeds 5]        minutes on two cores

Trains models.Transformer (6 layers, 4 heads) on the digits. Drops each layer alone and prints what it costs on the validation
images, which says what is safe to drop; drops the three that cost least, and in comparison the last three, the first three and
every other one; removes half of the heads. Prints accuracy on the 360 test images before, after and after recovery (mean and
95% interval over seeds), and of the last seed the speedup on a batch of 64 (median of paired ratios).
"""

import argparse

import results
import torch
from intervals import points
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tinyshrink import data, metrics, models, structured, training

EPOCHS, RECOVERY = 40, 15


def fit(model, digits, epochs, lr, seed):
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.05)
    training.train(model, digits, epochs, optimizer=optimizer, seed=seed, progress=False)


def run(seed, digits):
    """(accuracy of the whole, {position: validation accuracy without it}, {way: (model, accuracy after, after recovery)})."""
    torch.manual_seed(seed)
    model = models.Transformer()
    fit(model, digits, EPOCHS, 3e-3, seed)
    depth = len(model.layers)
    whole, alone = training.evaluate(model, digits.validation), {}
    for position in range(depth):
        keep = [other for other in range(depth) if other != position]
        alone[position] = whole - training.evaluate(structured.drop_layers(model, keep), digits.validation)
    needed = sorted(sorted(alone, key=alone.get)[depth // 2 :])
    ways = {
        "half the layers: the three that cost most stay": structured.drop_layers(model, needed),
        "the first three stay": structured.drop_layers(model, range(depth // 2)),
        "the last three stay": structured.drop_layers(model, range(depth // 2, depth)),
        "every other one stays": structured.drop_layers(model, range(0, depth, 2)),
        "half the heads": structured.prune_heads(model, 0.5),
    }
    outcomes = {}
    for way, smaller in ways.items():
        after = training.evaluate(smaller, digits.test)
        fit(smaller, digits, RECOVERY, 2e-3, seed)
        outcomes[way] = smaller, after, training.evaluate(smaller, digits.test)
    return model, training.evaluate(model, digits.test), alone, outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds, digits = range(parser.parse_args().seeds), data.load("digits")
    runs = [run(seed, digits) for seed in track(seeds, description="seeds")]
    model, _, alone, outcomes = runs[-1]
    x = digits.test.x[:64]
    dense = [accuracy for _, accuracy, _, _ in runs]
    table = Table(
        "", "after, %", "after recovery, %", "speedup", "parameters", title=f"transformer on digits, {len(seeds)} seeds"
    )
    table.add_row("whole", points(dense, sign=""), "", "", f"{metrics.count_parameters(model):,}")
    rows, dense_name = [], f"whole, {points(dense, sign='')}%"
    model.eval()
    with torch.no_grad():
        for way, (smaller, _, _) in outcomes.items():
            smaller.eval()
            speedup = metrics.paired_speedup(lambda: model(x), lambda smaller=smaller: smaller(x), repeats=100, warmup=10)
            after, recovered = ([each[3][way][place] for each in runs] for place in (1, 2))
            parameters = f"{metrics.count_parameters(smaller):,}"
            table.add_row(way, points(after, sign=""), points(recovered, sign=""), f"{speedup:.2f}x", parameters)
            what, minor = f"transformer for digits, {way}", way not in ("the first three stay", "half the heads")
            note, lost = f"{points(after, sign='')}% before", [a - b for a, b in zip(dense, recovered)]
            options = {"anchor": dense_name, "seeds": len(seeds), "note": note, "detail": minor}
            rows += [results.row(f"{what}: loss after recovery", lost, "pp", **options)]
            rows += [results.row(f"{what}: speed, batch of 64", speedup, "x", anchor="whole", detail=minor)]
    Console(width=120).print(table)
    layers = Table("layer dropped alone", "costs on validation, pp", title="which layers are safe to drop, no recovery")
    for position in alone:
        layers.add_row(str(position), points([each[2][position] for each in runs]))
        what, costs = f"transformer for digits without layer {position}: loss", [each[2][position] for each in runs]
        rows += [results.row(what, costs, "pp", anchor=dense_name, seeds=len(seeds), detail=True)]
    Console().print(layers)
    print(f"{torch.get_num_threads()} thread(s)")
    results.record("03_structured", rows)


if __name__ == "__main__":
    main()
