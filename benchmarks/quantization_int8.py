"""Claim: int8 after training loses at most 0.5 pp on digits, MNIST and CIFAR-10, in a file of at most 27% of fp32.

    nice python benchmarks/quantization_int8.py [--seeds 5]          some 10 minutes on two quiet cores

Weights and activations of every layer in int8, scales from 300 training images, nothing trained after; beside it PyTorch's own
int8 (torch.ao.quantization, FX mode, where the installed PyTorch still has it), and torchao's (pip install -e ".[peers]") where
all layers are linear: it leaves convolutions in float. Loss on the test images against each network's
own float accuracy, mean and 95% interval over seeds (Student's t; of one network, over its images). File: packing.save, all of
it counted, over 4 bytes for each parameter of the original. Then digits at 8 to 2 bits for the weights (activations int8), with
and without 4 epochs of training with fake quantization. Observer and recipe were chosen on validation images.
"""

import argparse
import copy
import tempfile
import time
import warnings
from pathlib import Path

import results
import torch
from intervals import correct, interval, points
from recipes import dense_lenet300
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tinyshrink import data, metrics, models, packing, quantization, training

CALIBRATION, OBSERVER = 300, "mse"
QAT = {"epochs": 4, "lr": 0.01}
LOSS, FILE = 0.005, 0.27


def digits_cnn(digits, seed):
    torch.manual_seed(seed)
    model = models.DigitsCNN()
    training.train(model, digits, 20, seed=seed, progress=False)
    return model


def torch_int8(model, calibration):
    """PyTorch's int8 of the model, or None where this PyTorch has no torch.ao.quantization any more."""
    try:
        from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in favour of torchao
        prepared = quantize_fx.prepare_fx(model.eval(), get_default_qconfig_mapping("x86"), (calibration,))
        with torch.no_grad():
            prepared(calibration)
        return quantize_fx.convert_fx(prepared)


def torchao_int8(model, calibration):
    """torchao's int8 weights and activations (scaled as they come), or None where a layer is none that it quantizes."""
    if any(isinstance(layer, torch.nn.Conv2d) for layer in model.modules()):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its import, about torch
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    quantized = copy.deepcopy(model)
    quantize_(quantized, Int8DynamicActivationInt8WeightConfig())
    return quantized


PEERS = {"torch.ao": torch_int8, "torchao": torchao_int8}


def file_bytes(save):
    """The bytes of the file that save(path) writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save(path)
        return path.stat().st_size


def compare(model, dataset):
    """{"ours" or a name in PEERS: (losses for each test image, share of the fp32 bytes)} of one trained model."""
    calibration, right = dataset.train.x[:CALIBRATION], correct(model, dataset.test)
    size, found = 4 * metrics.count_parameters(model), {}
    ours = quantization.quantize_model(model, calibration, observer=OBSERVER)
    found["ours"] = right - correct(ours, dataset.test), file_bytes(lambda path: packing.save(ours, path)) / size
    for peer, quantize in PEERS.items():
        theirs = quantize(model, calibration)
        if theirs is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                share = file_bytes(lambda path: torch.save(theirs.state_dict(), path)) / size  # noqa: B023
                found[peer] = right - correct(theirs, dataset.test), share
    return right, found


def curve(model, digits, seed):
    """{bits: (loss without, loss with training)} on test, for each image."""
    right, calibration, found = correct(model, digits.test), digits.train.x[:CALIBRATION], {}
    for bits in range(8, 1, -1):
        prepared = quantization.prepare_qat(model, calibration, bits, observer=OBSERVER)
        before = right - correct(quantization.convert(prepared), digits.test)
        training.train(prepared, digits, **QAT, seed=seed, progress=False)
        found[bits] = before, right - correct(quantization.convert(prepared), digits.test)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of the digits CNN; LeNet-300-100 has three")
    seeds, started, console = range(parser.parse_args().seeds), time.perf_counter(), Console()
    digits, mnist, cifar = (data.load(name) for name in ("digits", "mnist", "cifar10"))
    trained = [digits_cnn(digits, seed) for seed in track(seeds, description="digits")]
    networks = {
        f"digits CNN, {len(seeds)} seeds": (digits, trained),
        "LeNet-300-100, 3 seeds": (mnist, [dense_lenet300(mnist, seed)[0] for seed in track(range(3), description="MNIST")]),
        "cifar10_cnn": (cifar, [models.load_pretrained("cifar10_cnn")]),
    }
    table = Table("network", "float, %", "int8 by", "loss, pp", "file / fp32", "met", title="int8 after training")
    rows = []
    for name, (dataset, dense) in networks.items():
        runs = [compare(model, dataset) for model in dense]
        float_accuracy = points([right for right, _ in runs], sign="")
        for way in runs[0][1]:
            losses, shares = zip(*(found[way] for _, found in runs))
            met = "yes" if interval(list(losses))[0] <= LOSS and max(shares) <= FILE else "NO"
            table.add_row(name, float_accuracy, way, points(losses), f"{max(shares):.1%}", met if way == "ours" else "")
            what, most = f"int8 without training, {name.split(',')[0]}", (LOSS, FILE) if way == "ours" else (None, None)
            what += f", by {way}" if way != "ours" else ""
            options = {"anchor": f"float, {float_accuracy}%", "seeds": len(dense)}
            rows += [results.row(f"{what}: loss", losses, "pp", most=most[0], **options)]
            options = {"anchor": "fp32 bytes", "detail": way != "ours"}
            rows += [results.row(f"{what}: file, the largest of the seeds", max(shares), "%", most=most[1], **options)]
        if "torch.ao" not in runs[0][1]:
            table.add_row(name, float_accuracy, "torch.ao: not in this PyTorch")
    console.print(table)
    console.print(f"target: a loss of at most {100 * LOSS:g} pp and a file of at most {FILE:.0%} (the largest of the seeds)")
    curves = [curve(model, digits, seed) for seed, model in enumerate(track(trained, description="bits"))]
    table = Table("bits", "loss, pp", "loss after 4 epochs, pp", title=f"digits CNN, weights of few bits, {len(seeds)} seeds")
    for bits in curves[0]:
        table.add_row(str(bits), *(points([found[bits][way] for found in curves]) for way in range(2)))
        for way, when in enumerate(("without training", f"after {QAT['epochs']} epochs through the rounding")):
            what, values = f"digits CNN, weights of {bits} bits, {when}: loss", [found[bits][way] for found in curves]
            rows.append(results.row(what, values, "pp", anchor="float", seeds=len(seeds), detail=bits > 2))
    console.print(table)
    results.record("07_quantization", rows)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes, {torch.get_num_threads()} thread(s)")


if __name__ == "__main__":
    main()
