"""Claim: Huffman code words for the LeNet files' symbols are within 2% of the entropy bound, and decode at over 50 MB/s.

    python benchmarks/huffman.py [FILE ...]

FILEs are packed models, such as those of benchmarks/deep_compression.py; without one a LeNet-300-100 is trained on MNIST,
pruned to 97.5% and shared with 4 bits here, in about a minute. For every weight, its gaps (relative index, the bits that
make them smallest) and its codebook indices: the entropy, the code words, these with the table of lengths that a file
needs (the entropy knows the distribution for nothing), and what the weight takes in the file, codebook and all, where
arithmetic codes with contexts may go below the entropy, which knows no contexts. In MB/s a byte stands for a symbol.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import results
import torch
from rich.console import Console
from rich.table import Table

from tinyshrink import coding, data, encodings, magnitude, metrics, models, packing, training

TARGET, SPEED = 0.02, 50


def lenet():
    """A LeNet-300-100, pruned and shared."""
    mnist = data.load("mnist")
    torch.manual_seed(0)
    model = models.LeNet300()

    def train(model, epochs=1, lr=1e-3):
        optimizer = torch.optim.Adam(model.parameters(), lr)
        training.train(model, mnist, epochs, optimizer=optimizer, batch_size=256, progress=False)

    train(model, 3)
    magnitude.iterative_prune(model, 0.975, 5, train)
    with coding.share_weights(model, 4).hold(model):
        train(model, lr=2e-4)
    print(f"LeNet-300-100, {metrics.sparsity(model):.1%} zeros: {training.evaluate(model, mnist.validation):.2%} of validation")
    return model


def streams(weight):
    """{what: symbols} of a pruned and shared weight; its gaps with the number of bits that Huffman makes smallest."""
    mask = (weight != 0).flatten(1)
    gaps = [coding.relative_index(mask, bits).numpy() for bits in range(1, 9)]
    _, symbols = weight[weight != 0].unique(return_inverse=True)
    return {"gaps": min(gaps, key=lambda codes: len(table_and_code(codes))), "codebook": symbols.numpy()}


def table_and_code(symbols):
    """The bytes that the format would store."""
    return encodings._encode_symbols(symbols)


def decode_speed(symbols):
    """MB/s of huffman_decode on 4 million symbols like these, the median of 7."""
    coded = coding.huffman_encode(np.tile(symbols, 4_000_000 // len(symbols)))
    times = []
    for _ in range(8):  # the first compiles
        started = time.perf_counter()
        coding.huffman_decode(coded)
        times.append(time.perf_counter() - started)
    return coded.count / 1e6 / statistics.median(times[1:])


def cells(row):
    """The row as text: entropy, code words, how far above, with table, in the file."""
    entropy, words, full, file = row
    return f"{entropy:,.0f}", f"{words:,.0f}", f"{words / entropy - 1:.2%}", f"{full:,.0f}", f"{file:,.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    files = parser.parse_args().files
    packed = {Path(path).stem: packing.load(path) for path in files} or {"LeNet-300-100": lenet()}
    table = Table("file", "weight", "symbols", "entropy", "code words", "above", "with table", "in the file", title="bytes")
    total, gaps = np.zeros(4), []
    for file, model in packed.items():
        for name, weight in metrics.weights(model).items():
            weight = weight.detach()
            if (weight != 0).all() or len(weight.unique()) > 257:
                continue
            found = streams(weight)
            row = np.zeros(4)
            for symbols in found.values():
                row[0] += coding.entropy(np.bincount(symbols)) * len(symbols) / 8
                row[1] += len(coding.huffman_encode(symbols).data)
                row[2] += len(table_and_code(symbols))
            row[3] = len(encodings.encode(weight).data)
            total += row
            gaps.append(found["gaps"])
            table.add_row(file, name, f"{sum(map(len, found.values())):,}", *cells(row))
    table.add_row("all", "", "", *cells(total))
    Console().print(table)
    above, speed = total[1] / total[0] - 1, decode_speed(np.concatenate(gaps))
    print(f"code words: {above:.2%} above the entropy, target at most {TARGET:.0%}: {'met' if above <= TARGET else 'NOT met'}")
    print(f"decoding: {speed:.0f} MB/s, target {SPEED}: {'met' if speed >= SPEED else 'NOT met'}")
    print(f"these weights in the files, codebooks and all: {total[3] / total[0] - 1:+.2%} against the entropy")
    what = f"Huffman on the symbols of {', '.join(packed)}"
    rows = [results.row(f"{what}: code words above the entropy", above, "%", most=TARGET, anchor="entropy")]
    tables, coded = total[2] / total[0] - 1, total[3] / total[0] - 1
    rows += [results.row(f"{what}: code words and their tables above it", tables, "%", anchor="entropy", detail=True)]
    rows += [results.row(f"{what}: decoding", speed, "MB/s", least=SPEED)]
    what = f"arithmetic codes on {', '.join(packed)}, codebooks included: above the entropy"
    rows += [results.row(what, coded, "%", anchor="entropy", detail=True)]
    results.record("07_quantization", rows)


if __name__ == "__main__":
    main()
