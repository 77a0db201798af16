"""tinyshrink makes neural networks smaller and faster, and shows by measurement that it did.

metrics     parameters, sparsity, bytes, MACs, latency, effective rank
report      one table of a model, layer by layer
magnitude   masks by magnitude or gradient, schedules, iterative pruning, N:M, the lottery ticket
structured  whole filters, heads and layers removed for real; what goes together is found in the traced graph
            (channel_graph), cut and proved (channel_plan)
distillation  a large network teaches a small one: soft targets, hints, attention, stages, a student of a given size
lowrank     the SVD of a layer: one as two thin ones, ranks from a ratio, an energy or a budget, whole models
sparse      kernels that skip zeros on the CPU, sparse layers, and a model that takes them where they are faster
quantization  integers of 8 to 2 bits for weights and activations, calibrated or trained for
coding      shared weights in a codebook, relative indices, Huffman codes
packing     a model as one small file, without pickle (encodings, arithmetic: each tensor in its smallest exact form)

degradation  accuracy against real size, fragile layers and what each can give, recovery, a gate for scripts
selection   a compression ratio for each layer, chosen from a table of evaluations (suffix computes it fast)
adaptive    the search for the highest compression rate within a loss budget (adaptive_config: its file,
            adaptive_runners: what it trains)
search      width, depth and resolution under a budget of measured milliseconds and bytes (search_space: what can be chosen)
pipeline    several compressions one after the other (stages), each measured on the file that it leaves
decide      which techniques, by rules with reasons and by short real runs; capstone scores a file
deploy      ONNX files, and constraints checked on the file itself
page        a page that runs the network in the browser

data        digits, MNIST, Fashion-MNIST and CIFAR-10 as tensors in fixed splits
models      the networks of the course
training    the one training loop
plots       every figure
progress    how far you are: the points in your saved notebooks
jit         functions compiled by Numba, kept on disk where that can be
"""

import importlib
import importlib.metadata

__all__ = [
    "adaptive",
    "capstone",
    "channel_graph",
    "channel_plan",
    "coding",
    "data",
    "decide",
    "degradation",
    "deploy",
    "distillation",
    "jit",
    "lowrank",
    "magnitude",
    "metrics",
    "models",
    "packing",
    "page",
    "pipeline",
    "plots",
    "progress",
    "quantization",
    "report",
    "search",
    "search_space",
    "selection",
    "sparse",
    "stages",
    "structured",
    "training",
]


def __getattr__(name):
    """Import a module of the package when it is first asked for, so that the command starts at once."""
    if name == "__version__":
        return importlib.metadata.version(__name__)
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"tinyshrink has no {name!r}: it has {', '.join(__all__)}")
