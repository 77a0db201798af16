"""Real data sets as tensors, with fixed train, validation and test splits.

``digits`` (UCI handwritten digits, 8 x 8 scans) comes inside scikit-learn and needs no download. ``mnist``,
``fashion_mnist`` and ``cifar10`` are read from ``<data dir>/<name>.npz`` or fetched once through torchvision and kept
there. The data dir is ``$TINYSHRINK_DATA``, or the platform's cache folder. Nothing here ever makes up data.

Selection, search and tuning look at validation; test is looked at once, at the end.
"""

import os
import tempfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
import torch
import torchvision
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FETCHED = {
    "mnist": torchvision.datasets.MNIST,
    "fashion_mnist": torchvision.datasets.FashionMNIST,
    "cifar10": torchvision.datasets.CIFAR10,
}
NAMES = ("digits", *FETCHED)
ANOTHER_DIR = "set TINYSHRINK_DATA to a folder that can be written"
DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError)  # what NumPy raises for a broken .npz


class Split(NamedTuple):
    """Images x, float32 (N, channels, height, width), standardized; labels y, int64 (N,)."""

    x: torch.Tensor
    y: torch.Tensor


@dataclass(frozen=True)
class Dataset:
    """A data set in three splits; `mean` and `std`, (channels, 1, 1), are those of the training pixels in 0..1."""

    name: str
    train: Split
    validation: Split
    test: Split
    mean: torch.Tensor
    std: torch.Tensor


def load(name: str = "digits") -> Dataset:
    """Load a data set by name: "digits", "mnist", "fashion_mnist" or "cifar10".

    The splits are stratified by class and always the same: digits 60/20/20 percent; of the others' training images one
    tenth is validation, and test is the published test set (or what the .npz holds of it).

    A damaged file is put aside and fetched again, with a warning. Raises ValueError for an unknown name,
    FileNotFoundError where the set is neither there nor to be fetched, and OSError where the data dir cannot be written.
    """
    if name == "digits":
        digits = load_digits()
        images, labels = digits.images[:, None] / 16, digits.target  # (1797, 1, 8, 8), pixels 0..1
        x_rest, x_test, y_rest, y_test = _stratified(images, labels, fraction=0.2)
        x_train, x_val, y_train, y_val = _stratified(x_rest, y_rest, fraction=0.25)
    elif name in FETCHED:
        x_train, y_train, x_test, y_test = _arrays(name)
        x_train, x_val, y_train, y_val = _stratified(_channels_first(x_train), y_train, fraction=0.1)
        x_test = _channels_first(x_test)
    else:
        raise ValueError(f"no data set is called {name!r}: expected one of {', '.join(NAMES)}")
    x_train = torch.tensor(x_train, dtype=torch.float32)
    std, mean = torch.std_mean(x_train, dim=(0, 2, 3), keepdim=True)

    def split(x, y):
        return Split((torch.as_tensor(x, dtype=torch.float32) - mean) / std, torch.as_tensor(y, dtype=torch.int64))

    return Dataset(name, split(x_train, y_train), split(x_val, y_val), split(x_test, y_test), mean[0], std[0])


def crop_and_flip(x: torch.Tensor, generator: torch.Generator, pad: int = 4) -> torch.Tensor:
    """CIFAR-10's standard augmentation of a batch x (N, C, H, W): shift by up to `pad` pixels, mirror half of them.

    Source: He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2 (here with reflected borders).
    """
    n, _, height, width = x.shape
    padded = torch.nn.functional.pad(x, (pad, pad, pad, pad), mode="reflect")
    top, left = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)  # (N, H), (N, W)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def data_dir() -> Path:
    """The folder of the downloaded sets: $TINYSHRINK_DATA, or tinyshrink's folder in the platform's cache."""
    chosen = os.environ.get("TINYSHRINK_DATA")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("tinyshrink"))


def _stratified(x, y, fraction):
    """x and y in two parts with the same share of each class, the second one `fraction` of all."""
    return train_test_split(x, y, test_size=fraction, stratify=y, random_state=0)


def _channels_first(images):
    """uint8 (N, H, W) or (N, H, W, 3) as float32 (N, C, H, W) in 0..1."""
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return images.astype(np.float32) / 255


def _arrays(name):
    """x_train, y_train, x_test, y_test of <data dir>/<name>.npz; a missing or damaged file is fetched anew."""
    path = data_dir() / f"{name}.npz"
    try:
        if not path.exists():
            _fetch(name, path)
        return _read(path)
    except PermissionError as error:
        raise OSError(f"the data dir {path.parent} cannot be used ({error.strerror}): {ANOTHER_DIR}") from error
    except DAMAGED as error:
        kept = path.with_name(f"{path.name}.damaged")
        try:
            os.replace(path, kept)
        except OSError:
            raise OSError(f"{path} is damaged ({error}) and cannot be replaced: delete it, or {ANOTHER_DIR}") from error
        warnings.warn(f"{path} is damaged ({error}): it is now {kept.name}, and {name!r} is fetched again", stacklevel=3)
    _fetch(name, path)
    return _read(path)


def _read(path):
    """The four arrays of an .npz, each of which the file holds with a checksum (CRC-32)."""
    keys = ("x_train", "y_train", "x_test", "y_test")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        arrays = {key: content[key] for key in keys if key in content}
    uint8 = all(array.dtype == np.uint8 for array in arrays.values())
    if len(arrays) < 4 or not uint8 or arrays["y_train"].ndim != 1 or arrays["y_test"].ndim != 1:
        found = {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
        raise OSError(f"{path} must hold uint8 arrays {', '.join(keys)}, the labels flat: found {found}")
    return tuple(arrays[key] for key in keys)


def _fetch(name, path):
    """Download `name` with torchvision and write it to path, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{name}-")
    except OSError as error:
        raise OSError(f"the data dir {path.parent} cannot be written ({error.strerror}): {ANOTHER_DIR}") from error
    with scratch as folder:
        try:
            parts = [FETCHED[name](folder, train=train, download=True) for train in (True, False)]
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"{name!r} is not in {path.parent} and could not be downloaded ({error}). Either go online and call "
                f"load({name!r}) again, or put {path.name} there yourself: uint8 x_train, y_train, x_test, y_test"
            ) from error
        arrays = {}
        for part, kind in zip(parts, ("train", "test")):
            arrays[f"x_{kind}"] = np.asarray(part.data, dtype=np.uint8)
            arrays[f"y_{kind}"] = np.asarray(part.targets, dtype=np.uint8)
        np.savez(Path(folder) / path.name, **arrays)
        os.replace(Path(folder) / path.name, path)
