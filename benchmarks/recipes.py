"""What several benchmarks train alike. All of it was chosen on validation images, of seeds that are not reported."""

import hashlib
from pathlib import Path

import results
import torch

from tinyshrink import data, models, training

MNIST = {"weight_decay": 5e-4, "batch_size": 128}  # of LeNet-300-100; each benchmark adds its lr
MNIST_DENSE = {"epochs": 20, "lr": 0.1, **MNIST}
CIFAR10 = {"weight_decay": 5e-4, "batch_size": 128, "augment": data.crop_and_flip, "autocast": torch.bfloat16}  # the same


def dense_lenet300(mnist, seed):
    """(LeNet-300-100, trained, its accuracy on test) for one seed."""
    torch.manual_seed(seed)
    dense = models.LeNet300()
    training.train(dense, mnist, **MNIST_DENSE, seed=seed, progress=False)
    return dense, training.evaluate(dense, mnist.test)


def state_folder(benchmark):
    """build/NAME-FINGERPRINT for the states of a run that starts from the shipped CIFAR-10 network, and goes on after a kill.

    `benchmark` is its __file__. Other code in it or in the recipes here, or another network, is another run; comments,
    docstrings and rows of results do not count.
    """
    fingerprint = hashlib.sha256((models.CHECKPOINTS / "cifar10_cnn.safetensors").read_bytes())
    for path in (Path(benchmark), Path(__file__)):
        fingerprint.update(results.text_of(path).encode())
    return Path("build") / f"{Path(benchmark).stem}-{fingerprint.hexdigest()[:12]}"


class Report:
    """A line after each epoch, for the log of a run in the background."""

    def after_epoch(self, run):
        last = run.history[-1]
        print(f"  epoch {run.epoch}: validation {last['accuracy']:.2%}, {last['seconds']:.0f} s", flush=True)
