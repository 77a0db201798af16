"""Claim: onnxruntime gives torch's predictions for the original, pruned-smaller and int8 networks; what it gains in time.

    python benchmarks/onnx_export.py [--repeats 50]

The digits CNN is trained, and again with half of its channels gone. cifar10_cnn is the bundled network; "smaller" lacks a
quarter of its channels and is not trained again, since outputs are compared, not accuracies. All test images are compared.
Speedups are medians of ratios of calls in turn, on one thread. The last row of each network is onnxruntime's own int8: it
rounds between layers too, so it is another network. Minutes on a quiet CPU.
"""

import argparse
import logging
import tempfile
from functools import partial
from pathlib import Path

import results
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tinyshrink import data, deploy, metrics, models, page, quantization, structured

BATCHES = (1, 64)


def variants(name, dataset):
    """{way: network} of one of the two networks, in eval mode."""
    if name == "digits_cnn":
        original, smaller = page.networks(dataset, progress=False)
    else:
        original = models.load_pretrained(name)
        smaller = structured.prune_channels(original, dataset.train.x[:16], 0.25).eval()
    networks = {"original": original, "smaller": smaller}
    return networks | {f"{way}, int8": quantization.quantize_model(net, dataset.train.x[:500]) for way, net in networks.items()}


def quantize_by_onnxruntime(source, target, x):
    """The file `source` in int8 by onnxruntime's own tool, calibrated on x."""
    from onnxruntime import quantization as tool

    class Reader(tool.CalibrationDataReader):
        batches = iter([{"input": batch.numpy()} for batch in x.split(100)])

        def get_next(self):
            return next(self.batches, None)

    logging.disable(logging.WARNING)
    tool.quantize_static(source, target, Reader(), quant_format=tool.QuantFormat.QOperator, per_channel=True)
    logging.disable(logging.NOTSET)


@torch.no_grad()
def outputs(run, x):
    return torch.cat([run(batch) for batch in x.split(500)])


@torch.no_grad()
def measure(name, networks, dataset, folder, repeats):
    """Rows (way, bytes, other predictions, largest difference, [(torch ms, onnxruntime ms, speedup, of original)])."""
    test, base = dataset.test.x, None
    for way in track([*networks, "original, int8 by onnxruntime"], description=name):
        path, network = folder / f"{name} {way}.onnx", networks.get(way)
        if network is None:
            quantize_by_onnxruntime(folder / f"{name} original.onnx", path, dataset.train.x[:500])
        else:
            deploy.export_onnx(network, test[:64], path)
        run, network = deploy.load(path), network or networks["original"]
        base = base or run
        expected, found = outputs(network, test), outputs(run, test)
        other = (expected.argmax(1) != found.argmax(1)).sum().item()
        times = []
        for batch in BATCHES:
            calls = [partial(call, test[:batch]) for call in (network, run, base)]
            ms = [metrics.latency(call, repeats=repeats, threads=1).median for call in calls[:2]]
            ratios = [metrics.paired_speedup(slow, calls[1], repeats=repeats, threads=1) for slow in (calls[0], calls[2])]
            times.append((*ms, *ratios))
        yield way, path.stat().st_size, other, (expected - found).abs().max().item(), times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    rows = []
    columns = ("network", "file", "bytes", "other predictions", "max difference", "same (target 0)", "batch")
    table = Table(*columns, "torch, ms", "onnxruntime, ms", "torch / onnxruntime", "original / this, in onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        for name, dataset in (("digits_cnn", data.load("digits")), ("cifar10_cnn", data.load("cifar10"))):
            networks = variants(name, dataset)
            for way, size, other, difference, times in measure(name, networks, dataset, Path(folder), repeats):
                ours = "onnxruntime" not in way
                met = ("yes" if other == 0 else "NO") if ours else "its own rounding"
                row = (name, way, f"{size:,}", f"{other} of {len(dataset.test.y):,}", f"{difference:.2g}", met)
                what = f"{name} as ONNX, {way}"
                if ours:
                    note = f"of {len(dataset.test.y):,} test images, outputs within {difference:.2g}"
                    title = f"{what}: predictions that differ from torch's"
                    options = {"anchor": "torch", "note": note, "detail": way != "original"}
                    rows.append(results.row(title, other, "predictions", most=0, **options))
                speed = f"{what}: speed in onnxruntime, batch of {BATCHES[-1]}, one thread"
                rows.append(results.row(speed, times[-1][2], "x", anchor="torch, the same network", detail=way != "original"))
                if way != "original":
                    minor = way != "smaller"
                    claim = f"{speed}, against the original"
                    rows.append(results.row(claim, times[-1][3], "x", anchor="original there", detail=minor))
                for batch, (torch_ms, ms, speedup, gain) in zip(BATCHES, times):
                    numbers = (f"{torch_ms:.3f}", f"{ms:.3f}", f"{speedup:.2f}x", f"{gain:.2f}x")
                    table.add_row(*(row if batch == 1 else [""] * len(row)), str(batch), *numbers)
            table.add_section()
    Console(width=190).print(table)
    results.record("11_pipeline", rows)


if __name__ == "__main__":
    main()
