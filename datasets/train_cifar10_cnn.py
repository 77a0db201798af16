"""Train the CIFAR-10 teacher that ships with the course, and write it beside its card.

    nice python datasets/train_cifar10_cnn.py            about half an hour on two quiet cores; goes on after a kill

Writes datasets/checkpoints/cifar10_cnn.safetensors and prints the accuracy on test, which nothing here selects on.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tinyshrink import data, models, training

FOLDER = Path(__file__).parent / "checkpoints"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", default="build/cifar10_cnn.state", help="where the run is kept while it goes on")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    model = models.CifarCNN().to(memory_format=torch.channels_last)
    cifar = data.load("cifar10")
    history = training.train(
        model,
        cifar,
        options.epochs,
        lr=0.2,
        batch_size=128,
        augment=data.crop_and_flip,
        autocast=torch.bfloat16,
        checkpoint=options.state,
        seed=options.seed,
    )
    seconds = sum(epoch["seconds"] for epoch in history)
    print(f"{options.epochs} epochs, seed {options.seed}, {seconds / 60:.0f} min ({time.strftime('%Y-%m-%d')})")
    print(f"accuracy: validation {history[-1]['accuracy']:.2%}, test {training.evaluate(model, cifar.test):.2%}")
    part = FOLDER / "cifar10_cnn.safetensors.part"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)
    os.replace(part, FOLDER / "cifar10_cnn.safetensors")


if __name__ == "__main__":
    main()
