"""The picture in README: what each technique of the course makes of the digits CNN, accuracy against bytes and milliseconds.

    python benchmarks/picture.py        3 seeds, about 6 minutes; goes on after a kill; writes benchmarks/picture.svg

Bytes are those of the packed file, accuracy is that on the test images, milliseconds are the median for a batch of 64 on one
thread, all networks of a seed measured in turn. Recipes were chosen on validation.
"""

import statistics
from pathlib import Path

import matplotlib
import results
import torch
from intervals import interval
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from tinyshrink import data, files, metrics, models, packing, plots, sparse, training
from tinyshrink.pipeline import Code, Distill, Factorize, Pipeline, Prune, PruneChannels, Quantize

SEEDS = 3
TECHNIQUES = {
    "int8": [Quantize(epochs=0)],
    "90% zeros": [Prune(0.9)],
    "70% of the channels gone": [PruneChannels(0.7)],
    "SVD, half of the MACs": [Factorize(0.5, lr=0.002)],
    "a student": [Distill(60_000)],
    "student, zeros, int8, codebook": [Distill(60_000), Prune(0.85), Quantize(), Code()],
}
KERNELS = "90% zeros, our kernels"
FLOATS = ["dense", "90% zeros", KERNELS, "70% of the channels gone", "SVD, half of the MACs", "a student"]


def measure(seed, digits, folder):
    """{name: (bytes of the file or None, accuracy on test, ms or None)} of one seed; int8 is not timed: here it is emulated."""
    torch.manual_seed(seed)
    dense = models.DigitsCNN()
    training.train(dense, digits, 15, seed=seed, progress=False)
    networks = {"dense": dense}
    sizes = {"dense": packing.save(dense, folder / f"{seed}.tsh")}
    for name, stages in TECHNIQUES.items():
        report = Pipeline(stages, progress=False, seed=seed).run(dense, digits, folder / f"{seed} {name}", test=False)
        networks[name], sizes[name] = report.model, report.rows[-1].bytes
    images = digits.test.x[:64]
    networks[KERNELS] = sparse.sparsify(networks["90% zeros"], images)
    times = {name: [] for name in FLOATS}
    with torch.inference_mode(), metrics.torch_threads(1):
        for _ in range(5):
            for name in FLOATS:
                times[name].append(metrics.latency(lambda name=name: networks[name](images)).median)
    milliseconds = {name: statistics.median(each) for name, each in times.items()}
    rows = {name: training.evaluate(network, digits.test) for name, network in networks.items()}
    return {name: (sizes.get(name), accuracy, milliseconds.get(name)) for name, accuracy in rows.items()}


def draw(rows):
    """The figure of {name: (bytes or None, accuracy, half of its interval, ms or None)}."""
    looks = dict(zip(rows, plots.STYLE["axes.prop_cycle"])) | {KERNELS: {"color": "0.4", "marker": "*"}}
    with plt.style.context(["default", plots.STYLE]), matplotlib.rc_context({"svg.hashsalt": "tinyshrink"}):
        figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.9), sharey=True, layout="constrained")
        for name, (size, accuracy, half, ms) in rows.items():
            for ax, x in zip(axes, (size and size / 1000, ms)):
                if x is not None:
                    look = looks[name] | {"ls": "", "markersize": 8, "capsize": 3}
                    ax.errorbar(x, 100 * accuracy, 100 * half, label=name if ax is axes[0] or size is None else "_", **look)
        axes[0].set(xscale="log", xlabel="kilobytes of the file (log scale)", ylabel="accuracy on test (%)")
        axes[1].set(xscale="log", xlabel="ms for 64 images, one thread (log scale)")
        for ax in axes:
            ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            ax.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "25" else "")
        figure.suptitle(f"One network that reads digits, made smaller in the ways of the course ({SEEDS} seeds, 95% interval)")
        figure.legend(loc="outside lower center", ncols=4)
        with files.whole(Path(__file__).with_suffix(".svg")) as part:
            figure.savefig(part, format="svg", metadata={"Date": None})
    plt.close(figure)


def main():
    digits, folder = data.load("digits"), Path("build/picture")
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [measure(seed, digits, folder) for seed in range(SEEDS)]
    table = Table("", "bytes", "accuracy on test", "ms", title=f"digits CNN, {SEEDS} seeds")
    rows, collected = {}, []
    for name in seeds[0]:
        sizes, accuracies, times = zip(*(one[name] for one in seeds))
        size = None if sizes[0] is None else statistics.mean(sizes)
        ms = None if times[0] is None else statistics.mean(times)
        accuracy, half = interval(list(accuracies))
        rows[name] = size, accuracy, half, ms
        shown = "" if size is None else f"{size:,.0f}", f"{accuracy:.2%} ± {half:.2%}", "" if ms is None else f"{ms:.2f}"
        table.add_row(name, *shown)
        if name == "dense":
            continue
        lost = [one["dense"][1] - one[name][1] for one in seeds]
        collected.append(results.row(f"README's picture, {name}: loss", lost, "pp", anchor="dense", seeds=SEEDS, detail=True))
        for what, place in (("file smaller", 0), ("faster, batch of 64", 2)):
            if seeds[0][name][place] is not None:
                ratios = [one["dense"][place] / one[name][place] for one in seeds]
                claim = f"README's picture, {name}: {what}"
                collected.append(results.row(claim, ratios, "x", anchor="dense", seeds=SEEDS, detail=True))
    Console().print(table)
    draw(rows)
    results.record("11_pipeline", collected, folder.rglob("*.tsh"))


if __name__ == "__main__":
    main()
