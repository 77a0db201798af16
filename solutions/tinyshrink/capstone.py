"""The capstone: one score for a packed file, from its real bytes, its milliseconds and its accuracy on the test images.

    score = 100 * max(0, accuracy - floor) / (1 - floor) * 1 / (1 + bytes / half_bytes) * 1 / (1 + ms / half_ms)

A network that always says the same digit has the accuracy `floor` and scores 0. A file of half_bytes halves the score, and so
does one that takes half_ms for a batch of 64 on one thread of the machine that grades. 100 would be perfect, without bytes.
"""

import os
from typing import NamedTuple

import torch

from . import data as datasets
from . import metrics, packing, training

MAX_BYTES = 64_000_000  # of a submitted file's tensors in memory
HALF_BYTES = {"digits": 50_000, "mnist": 50_000, "fashion_mnist": 50_000, "cifar10": 200_000}
HALF_MS = {"digits": 20.0, "mnist": 100.0, "fashion_mnist": 100.0, "cifar10": 400.0}


class Score(NamedTuple):
    """accuracy on test, a fraction; bytes of the file; ms of a batch of 64, with one thread; score, 0 to 100."""

    accuracy: float
    bytes: int
    ms: float
    score: float


def formula(accuracy: float, size: int, ms: float, data: str = "digits", classes: int = 10) -> float:
    """The score, 0 to 100, of an accuracy (a fraction), a size in bytes and the ms of a batch of 64: see above."""
    floor = 1 / classes
    return 100 * max(0.0, accuracy - floor) / (1 - floor) / (1 + size / HALF_BYTES[data]) / (1 + ms / HALF_MS[data])


def score(path: str | os.PathLike, data: str = "digits") -> Score:
    """Load a submitted file and measure it on the test images of `data`.

    Nothing of the file is executed, and only classes of PyTorch and tinyshrink are known. Raises ValueError for an unknown
    data set and a network that does not take its images or does not give 10 finite numbers for each, packing.CorruptFile (a
    ValueError) for a file that is damaged or takes more than MAX_BYTES in memory, FileNotFoundError.
    """
    if data not in datasets.NAMES:
        raise ValueError(f"no data set is called {data!r}: expected one of {', '.join(datasets.NAMES)}")
    size = os.path.getsize(path)
    model = packing.load(path, max_bytes=MAX_BYTES).eval()
    test = datasets.load(data).test
    example = test.x[:64]
    with torch.no_grad(), metrics.torch_threads(1):
        try:
            logits = model(example)
        except Exception as error:  # whatever a network raises that was made for other images
            raise ValueError(f"{path} does not take images of {tuple(example.shape[1:])}: {error}") from error
        if not isinstance(logits, torch.Tensor) or logits.shape != (len(example), 10) or not torch.isfinite(logits).all():
            raise ValueError(f"{path} must give 10 finite numbers for each image, got {getattr(logits, 'shape', type(logits))}")
        ms = metrics.latency(lambda: model(example), repeats=30).median
        accuracy = training.evaluate(model, test)
    return Score(accuracy, size, ms, formula(accuracy, size, ms, data))
