"""Claim: whatever bytes packing.load is given, it makes a model or raises CorruptFile, within a second and 64 MB.

    python benchmarks/fuzz_packing.py [--inputs 100000] [--seed 0]

Inputs are files of real models (pruned, shared, factorized, quantized), changed in one of several ways. Where it says
"repaired" the checksum is made right again, so that the parser behind it is reached. About ten minutes on one core.
"""

import argparse
import copy
import json
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import results
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from tinyshrink import coding, encodings, lowrank, magnitude, packing, quantization

NASTY = (
    0,
    1,
    -1,
    2**31,
    2**63,
    10**40,
    0.5,
    True,
    None,
    "",
    "p",
    "p9",
    "f-",
    "b7",
    "__class__",
    "__reduce__",
    "forward",
    "training",
)
NASTY += (
    [],
    {},
    [[]],
    {"list": [1]},
    {"tensor": "b"},
    {"dict": [[1]]},
    {"eval": "1"},
    "os.system",
    "Module",
    "models.LeNet5",
    ":X",
)
SECONDS, MEGABYTES, MAX_BYTES = 1.0, 64, 1 << 22


def models():
    """Small models of every kind that the course makes."""
    torch.manual_seed(0)
    convolutions = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 20))
    pruned = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
    magnitude.prune(pruned, 0.9)
    shared = nn.Sequential(nn.Linear(64, 60), nn.ReLU(), nn.Linear(60, 10))
    magnitude.prune(shared, 0.8)
    coding.share_weights(shared, 3)
    dense_codes = nn.Linear(30, 30)
    coding.share_weights(dense_codes, 4)
    thin = lowrank.factorize(nn.Sequential(nn.Linear(40, 30)), ratio=0.5)
    integers = quantization.quantize_model(convolutions.eval(), torch.randn(8, 1, 8, 8))
    attention = nn.Sequential(nn.MultiheadAttention(8, 2), nn.LayerNorm(8), nn.Embedding(7, 8))
    tied = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    tied[2].weight = tied[0].weight
    return convolutions, pruned, shared, dense_codes, thin, integers, attention, tied


def mend(data):
    """The bytes with a checksum that fits."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def flip_bits(draw, data):
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(draw, data):
    return data[: draw.randrange(len(data))]


def splice(draw, data):
    """Bytes removed, repeated, or put in, in one place."""
    start, length = draw.randrange(4, len(data)), draw.choice((1, 2, 5, 40))
    middle = draw.choice((b"", data[start : start + length] * 2, draw.randbytes(length), b"\xff" * length, b"\0" * length))
    return data[:start] + middle + data[start + length :]


def tensors_changed(draw, data):
    """Bytes changed behind the architecture only: the heads and the codes of tensors."""
    start = architecture_end(data)
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(start, len(data) - 4)] = draw.choice((draw.randrange(256), 255, 127, 0, 1))
    return bytes(changed)


def architecture_changed(draw, data):
    """The tree of modules with a few values replaced by nasty ones."""
    cursor = encodings.Cursor(data, 4)
    tree = json.loads(zlib.decompressobj(-15, packing.DICTIONARY).decompress(cursor.take(cursor.number())))
    for _ in range(draw.randint(1, 3)):
        node = tree
        while isinstance(node, (list, dict)) and node:
            key = draw.choice(range(len(node)) if isinstance(node, list) else list(node))
            if draw.random() < 0.3 or not isinstance(node[key], (list, dict)):
                if isinstance(node, dict) and draw.random() < 0.3:
                    node[draw.choice([str(value) for value in NASTY])] = node.pop(key)
                else:
                    node[key] = copy.deepcopy(draw.choice(NASTY))
                break
            node = node[key]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, packing.DICTIONARY)
    text = deflate.compress(json.dumps(tree).encode()) + deflate.flush()
    return data[:4] + encodings.number(len(text)) + text + data[cursor.place :]


def architecture_end(data):
    cursor = encodings.Cursor(data, 4)
    cursor.take(cursor.number())
    return cursor.place


WAYS = {
    "bits flipped": flip_bits,
    "cut short": cut,
    "random bytes": lambda draw, data: draw.randbytes(draw.randint(0, 300)),
    "random behind a good start": lambda draw, data: data[:4] + draw.randbytes(draw.randint(4, 300)),
    "bits flipped, repaired": lambda draw, data: mend(data[:4] + flip_bits(draw, data[4:])),
    "cut short, repaired": lambda draw, data: mend(data[:4] + cut(draw, data[4:]) + b"1234"),
    "spliced, repaired": lambda draw, data: mend(splice(draw, data)),
    "tensors changed, repaired": lambda draw, data: mend(tensors_changed(draw, data)),
    "architecture changed, repaired": lambda draw, data: mend(architecture_changed(draw, data)),
}


def fuzz(inputs, seed=0, progress=False):
    """({way: Counter of loaded, refused, the slowest in ms}, MB that memory grew by). AssertionError for any other end."""
    draw = random.Random(seed)
    found = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        originals = []
        for model in models():
            packing.save(model, path)
            packing.load(path)  # every kernel compiled before memory and time count
            originals.append(path.read_bytes())
        before = memory()
        for number in track(range(inputs), description="inputs", disable=not progress):
            way = draw.choice(list(WAYS))
            data = WAYS[way](draw, draw.choice(originals))
            path.write_bytes(data)
            started = time.process_time()
            try:
                packing.load(path, max_bytes=MAX_BYTES)
                end = "loaded"
            except packing.CorruptFile:
                end = "refused"
            except Exception as error:
                raise AssertionError(f"input {number} of seed {seed}, {way}: {error!r}\n{data.hex()}") from error
            took = 1000 * (time.process_time() - started)
            assert took < 1000 * SECONDS, f"input {number} of seed {seed}, {way}, took {took:.0f} ms\n{data.hex()}"
            assert memory() - before < MEGABYTES, f"input {number} of seed {seed}, {way}: {memory() - before:.0f} MB"
            found[way][end] += 1
            found[way]["slowest"] = max(found[way]["slowest"], took)
    return dict(found), memory() - before


def memory():
    """The most memory this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    found, grown = fuzz(arguments.inputs, arguments.seed, progress=True)
    table = Table("change", "inputs", "refused", "loaded", "slowest, ms", title="packing.load on changed files")
    for way in WAYS:
        row = found.get(way, Counter())
        total = row["refused"] + row["loaded"]
        table.add_row(way, f"{total:,}", f"{row['refused']:,}", f"{row['loaded']:,}", f"{row['slowest']:.0f}")
    Console().print(table)
    what, slowest = (
        f"{arguments.inputs:,} changed and cut files given to packing.load",
        max(row["slowest"] for row in found.values()),
    )
    other = arguments.inputs - sum(row["refused"] + row["loaded"] for row in found.values())
    rows = [results.row(f"{what}: neither loaded nor refused as CorruptFile", other, "files", most=0)]
    rows += [results.row(f"{what}: slowest", slowest / 1000, "s", most=SECONDS)]
    rows += [results.row(f"{what}: growth of memory", grown, "MB", most=MEGABYTES, detail=True)]
    results.record("07_quantization", rows)
    print(f"{arguments.inputs:,} inputs in {time.perf_counter() - started:.0f} s: no other end, memory grew by {grown:.0f} MB")


if __name__ == "__main__":
    main()
