"""Sparse products and convolutions against the fastest dense ones of PyTorch, on this machine.

    python benchmarks/sparse_kernels.py [products|convolutions|models] [--threads 2]

All contenders of a row take turns in one process, with the same number of threads; each is called twice in its turn and
timed the second time, so that all find their own data in the caches; a speedup is the median of the paired ratios.
"Dense" is the fastest of torch.mm, F.linear and oneDNN with its weight packed beforehand. "Limit" is the fastest dense
time x (1 - sparsity) / our time: 100% would be a kernel that does its few products as fast as dense does its many.
"""

import argparse
import copy
import statistics
import time
import warnings

import results
import scipy.sparse
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn

from tinyshrink import data, magnitude, metrics, models, quantization, sparse, training

console = Console(width=150)
PRODUCTS = [(1024, 1024, 64), (1024, 1024, 256), (1024, 1024, 1024), (512, 4608, 256), (512, 4608, 1024), (256, 1152, 1024)]
SMALL = [(1024, 1024, 1), (1024, 1024, 8), (4096, 4096, 1), (4096, 4096, 8)]


def race(contenders, repeats=20):
    """{name: [seconds]} of functions that take turns; each is warmed up first."""
    times = {name: [] for name in contenders}
    for f in contenders.values():
        f()
        f()
    for _ in range(repeats):
        for name, f in contenders.items():
            f()
            times[name].append(metrics.seconds(f, time.perf_counter))
    return times


def speedup(times, slow, fast):
    """The median of the paired ratios."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def fastest(times, names):
    return min((name for name in names if name in times), key=lambda name: statistics.median(times[name]))


def pruned(m, k, sparsity, rows=1):
    """A random (m, k) matrix in which blocks of `rows` rows share their columns."""
    keep = torch.rand(m // rows, k) >= sparsity
    return torch.randn(m, k) * keep.repeat_interleave(rows, 0)


def dense_products(W, X):
    """{name: function} of the dense ways that torch has; the ones that want a batch first get it so."""
    n = X.shape[1]
    batch_first = X.T.contiguous()
    ways = {"torch.mm": lambda: torch.mm(W, X), "F.linear": lambda: F.linear(batch_first, W)}
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(W, n)
        ways["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise(batch_first, packed, None, "none", [], "")
    if n == 1:
        ways["torch.mv"] = lambda: torch.mv(W, X[:, 0])
    return ways


def product_row(table, m, k, n, sparsity, rows):
    """Race one product, add the row to the table, and return {what: how many times faster ours is}."""
    W, X = pruned(m, k, sparsity, rows), torch.randn(k, n)
    matrix, torch_csr, in_scipy = sparse.CSR.from_dense(W), W.to_sparse_csr(), scipy.sparse.csr_array(W.numpy())
    scattered = sparse.CSR.from_dense(pruned(m, k, sparsity))
    ways = dense_products(W, X)
    contenders = {"ours": lambda: sparse.csr_matmul(matrix, X), **ways, "torch CSR": lambda: torch_csr @ X}
    contenders |= {"scipy": lambda: in_scipy @ X.numpy(), "unstructured": lambda: sparse.csr_matmul(scattered, X)}
    torch.testing.assert_close(contenders["ours"](), torch.mm(W, X), rtol=1e-4, atol=1e-3)
    times = race(contenders)
    dense = fastest(times, ways)
    ratios = {name: speedup(times, name, "ours") for name in contenders}
    ratios["dense"] = ratios[dense]
    what = f"{sparsity:.0%}{' in 4x1 blocks' if rows > 1 else ''}"
    figures = [f"{ratios['torch.mm']:.2f}x", f"{ratios[dense]:.2f}x ({dense})", f"{ratios['torch CSR']:.2f}x"]
    figures += [f"{ratios['scipy']:.2f}x", f"{ratios[dense] * (1 - sparsity):.0%}"]
    table.add_row(what, f"{m} x {k}, {n}", f"{1000 * statistics.median(times['ours']):.3f}", *figures)
    return ratios


def products():
    title = f"W @ X, random zeros, {torch.get_num_threads()} threads: how many times faster ours is"
    table = Table("zeros", "W, columns of X", "ms", "torch.mm", "fastest dense", "torch CSR", "scipy", "limit", title=title)
    collected = {}
    groups = [(0.9, 1, PRODUCTS), (0.95, 1, PRODUCTS), (0.8, 1, PRODUCTS), (0.9, 4, PRODUCTS), (0.9, 1, SMALL)]
    for sparsity, rows, shapes in groups:
        rows_of_group = [product_row(table, *shape, sparsity, rows) for shape in shapes]
        collected[sparsity, rows, shapes is SMALL] = rows_of_group
        table.add_section()
    console.print(table)

    def mean(group, name):
        return statistics.geometric_mean(ratios[name] for ratios in collected[group])

    claims = Table("claim, geometric mean over the shapes", "measured", "target", "", title="Products")
    at_90, blocks, rows = (0.9, 1, False), (0.9, 4, False), []
    for claim, measured, target in (
        ("90% against torch.mm", mean(at_90, "torch.mm"), 5.5),
        ("90% against the fastest dense", mean(at_90, "dense"), 2.5),
        ("90% against torch's sparse CSR", mean(at_90, "torch CSR"), 2.5),
        ("90% against scipy", mean(at_90, "scipy"), 4),
        ("95% against the fastest dense", mean((0.95, 1, False), "dense"), 4.5),
        ("80% against the fastest dense", mean((0.8, 1, False), "dense"), 1.3),
        ("90% in 4x1 blocks against 90% unstructured", mean(blocks, "unstructured"), 1.4),
        ("batch 1 and 8 against the fastest dense", mean((0.9, 1, True), "dense"), 1.5),
        ("worst of the batches 1 and 8", min(ratios["dense"] for ratios in collected[0.9, 1, True]), 1.5),
    ):
        claims.add_row(claim, f"{measured:.2f}x", f"{target}x", "met" if measured >= target else "NOT met")
        what, peer = f"sparse W @ X, {claim.replace('%', '% zeros', 1)}", claim.partition("against ")[2]
        minor = "95%" in claim or "80%" in claim or "worst" in claim
        rows.append(results.row(what, measured, "x", least=target, anchor=peer or "the fastest dense", detail=minor))
    console.print(claims)
    results.record("06_sparse_inference", rows)


CONVOLUTIONS = [(16, 16, 32), (32, 32, 16), (64, 64, 8), (32, 64, 8), (64, 128, 4), (20, 50, 12)]


def convolution_row(table, channels, outputs, size, batch):
    """Race one convolution, add the row to the table, and return the speedup over the fastest dense one."""
    kernel, padding = (5, 0) if channels == 20 else (3, 1)  # LeNet-5's second convolution
    conv = nn.Conv2d(channels, outputs, kernel, padding=padding)
    conv.weight.mul_(torch.rand_like(conv.weight) >= 0.9)
    x = torch.randn(batch, channels, size, size)
    ours, last = sparse.SparseConv2d.from_dense(conv), copy.deepcopy(conv).to(memory_format=torch.channels_last)
    x_last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(ours(x), conv(x), rtol=1e-4, atol=1e-4)
    times = race({"ours": lambda: ours(x), "NCHW": lambda: conv(x), "channels_last": lambda: last(x_last)}, repeats=30)
    ratios = {name: speedup(times, name, "ours") for name in ("NCHW", "channels_last")}
    dense = ratios[fastest(times, ratios)]
    figures = [f"{1000 * statistics.median(times['ours']):.3f}", *(f"{ratio:.2f}x" for ratio in ratios.values())]
    table.add_row(f"{channels} to {outputs}, {kernel} x {kernel}", f"{size} x {size}", *figures, f"{dense * 0.1:.0%}")
    return dense


def convolutions(batch=64):
    title = f"convolutions, 90% random zeros, batch {batch}, {torch.get_num_threads()} threads; copying the input included"
    table = Table("layer", "image", "ms", "NCHW dense", "channels_last dense", "limit", title=title)
    ratios = [convolution_row(table, *shape, batch) for shape in CONVOLUTIONS]
    console.print(table)
    mean = statistics.geometric_mean(ratios)
    verdict = "met" if mean >= 2 else "NOT met"
    console.print(f"against the fastest dense: geometric mean {mean:.2f}x (target 2x, {verdict}), worst {min(ratios):.2f}x")
    what, note = f"convolutions with 90% zeros, batch {batch}, copying included, geometric mean", f"worst {min(ratios):.2f}x"
    rows = [results.row(what, mean, "x", least=2, anchor="the fastest dense", note=f"{note} of {len(ratios)} shapes")]
    results.record("06_sparse_inference", rows)


def model_row(table, name, model, sparsity, x, target):
    """Prune a model, make it sparse, race both, add the row to the table, and return it for results.json."""
    magnitude.prune(model, sparsity)
    folded = quantization.fold_batchnorm(model.eval())
    fast = sparse.sparsify(folded, x)
    last, x_last = copy.deepcopy(folded), x
    if any(isinstance(module, nn.Conv2d) for module in folded.modules()):
        last, x_last = last.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    same = (fast(x).argmax(1) == model(x).argmax(1)).float().mean().item()
    times = race({"dense": lambda: last(x_last), "sparse": lambda: fast(x)}, repeats=40)
    ratio = speedup(times, "dense", "sparse")
    ms = [f"{1000 * statistics.median(times[which]):.3f}" for which in ("dense", "sparse")]
    verdict = f"{target}x, {'met' if ratio >= target else 'NOT met'}"
    table.add_row(name, f"{sparsity:.0%}", str(len(x)), *ms, f"{ratio:.2f}x", verdict, f"{same:.1%}")
    what, note = f"{name} with {sparsity:.0%} zeros, whole, batch {len(x)}", f"same predictions {same:.1%}"
    return results.row(what, ratio, "x", least=target, anchor="dense, channels_last, BatchNorm folded", note=note)


def whole_models():
    title = f"whole models, {torch.get_num_threads()} threads, BatchNorm folded in both; dense is channels_last"
    table = Table("model", "zeros", "batch", "dense ms", "sparse ms", "speedup", "target", "same predictions", title=title)
    digits, digits_data = models.DigitsCNN(), data.load("digits")
    with torch.enable_grad():
        training.train(digits, digits_data, epochs=10, progress=False)
    rows = [
        model_row(table, "LeNet-300-100", models.LeNet300(), 0.95, torch.rand(256, 1, 28, 28), 2.5),
        model_row(table, "digits CNN", digits, 0.9, digits_data.test[0][:64], 2.0),
        model_row(table, "cifar10_cnn", models.load_pretrained("cifar10_cnn"), 0.9, torch.randn(64, 3, 32, 32), 2.0),
    ]
    console.print(table)
    results.record("06_sparse_inference", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["products", "convolutions", "models"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    with torch.no_grad():
        for name, show in (("products", products), ("convolutions", convolutions), ("models", whole_models)):
            if options.what in (None, name):
                show()
