import numpy as np
import pytest
import torch

from tinyshrink import data, models


def write_npz(folder, name, shape, seed=0):
    """A small stand-in for a downloaded set: ten classes, 40 training and 20 test images."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for kind, n in (("train", 40), ("test", 20)):
        arrays[f"x_{kind}"] = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        arrays[f"y_{kind}"] = np.arange(n, dtype=np.uint8) % 10
    np.savez(folder / f"{name}.npz", **arrays)
    return arrays


def test_digits_are_the_1797_real_scans_split_60_20_20():
    digits = data.load("digits")
    assert [len(split.y) for split in (digits.train, digits.validation, digits.test)] == [1077, 360, 360]
    assert digits.train.x.shape[1:] == (1, 8, 8)
    assert digits.train.x.dtype == torch.float32 and digits.train.y.dtype == torch.int64


def test_digits_splits_are_stratified_disjoint_and_the_same_every_time():
    first, second = data.load("digits"), data.load("digits")
    images = torch.cat([split.x for split in (first.train, first.validation, first.test)]).flatten(1)
    assert len(images.unique(dim=0)) == len(images)
    for split in (first.train, first.validation, first.test):
        share = split.y.bincount(minlength=10) / len(split.y)
        assert (share - 0.1).abs().max() < 0.01
    assert torch.equal(first.train.x, second.train.x) and torch.equal(first.test.y, second.test.y)


def test_pixels_are_standardized_by_the_training_split_only():
    digits = data.load("digits")
    assert abs(digits.train.x.mean()) < 1e-5 and abs(digits.train.x.std() - 1) < 1e-3
    assert abs(digits.test.x.mean()) > 1e-6
    assert torch.allclose(digits.train.x * digits.std + digits.mean, (digits.train.x * digits.std + digits.mean).clamp(0, 1))


def test_an_npz_is_read_channels_first_with_a_tenth_for_validation(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYSHRINK_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8), np.arange(200, dtype=np.uint8) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    cifar = data.load("cifar10")
    assert cifar.train.x.shape == (180, 3, 32, 32) and len(cifar.validation.y) == 20
    red = cifar.test.x[0, 0] * cifar.std[0] + cifar.mean[0]
    np.testing.assert_allclose(red, x[0, :, :, 0] / 255, atol=1e-6)


def test_an_unknown_name_says_which_sets_there_are():
    with pytest.raises(ValueError, match=r"'minst': expected one of digits, mnist"):
        data.load("minst")


def test_a_damaged_file_is_put_aside_and_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYSHRINK_DATA", str(tmp_path))
    path = tmp_path / "mnist.npz"
    write_npz(tmp_path, "mnist", (28, 28))
    whole = path.read_bytes()
    monkeypatch.setattr(data, "_fetch", lambda name, path: path.write_bytes(whole_set))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (100, 28, 28), dtype=np.uint8), np.arange(100, dtype=np.uint8) % 10
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    whole_set = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not a zip", b"", whole[:3000] + bytes(500) + whole[3500:]):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"mnist\.npz is damaged .* now mnist\.npz\.damaged, and 'mnist' is fetched again"):
            assert len(data.load("mnist").test.y) == 100
        assert (tmp_path / "mnist.npz.damaged").read_bytes() == damaged


def test_a_file_that_holds_something_else_is_refused_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYSHRINK_DATA", str(tmp_path))
    x, y = np.zeros((20, 28, 28), dtype=np.uint8), np.arange(20, dtype=np.uint8) % 10
    for arrays in (
        {"x_train": x, "y_train": y},
        {"x_train": x / 255, "y_train": y, "x_test": x, "y_test": y},
        {"x_train": x, "y_train": y[:, None], "x_test": x, "y_test": y},
    ):
        np.savez(tmp_path / "mnist.npz", **arrays)
        with pytest.raises(OSError, match="must hold uint8 arrays x_train, y_train, x_test, y_test, the labels flat: found"):
            data.load("mnist")
        assert (tmp_path / "mnist.npz").exists()


def test_a_missing_set_that_cannot_be_fetched_says_both_ways_to_get_it(tmp_path, monkeypatch):
    def offline(folder, train, download):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setenv("TINYSHRINK_DATA", str(tmp_path))
    monkeypatch.setitem(data.FETCHED, "mnist", offline)
    with pytest.raises(FileNotFoundError, match=r"go online .* or put mnist\.npz there yourself"):
        data.load("mnist")
    assert list(tmp_path.iterdir()) == []


def test_a_fetched_set_is_kept_for_the_next_time(tmp_path, monkeypatch):
    calls = []

    class Fetched:
        def __init__(self, folder, train, download):
            calls.append(train)
            n = 100 if train else 20
            self.data = torch.full((n, 28, 28), 7, dtype=torch.uint8)
            self.data[::2] = 9
            self.targets = torch.arange(n) % 10

    monkeypatch.setenv("TINYSHRINK_DATA", str(tmp_path / "new folder"))
    monkeypatch.setitem(data.FETCHED, "mnist", Fetched)
    first, second = data.load("mnist"), data.load("mnist")
    assert calls == [True, False] and torch.equal(first.test.x, second.test.x)
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["mnist.npz"]


def test_a_data_dir_that_cannot_be_made_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("TINYSHRINK_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(OSError, match=r"cannot be written .* set TINYSHRINK_DATA"):
        data.load("mnist")


def test_crop_and_flip_only_shifts_and_mirrors():
    x = torch.arange(2 * 1 * 6 * 6, dtype=torch.float32).reshape(2, 1, 6, 6)
    generator = torch.Generator().manual_seed(0)
    batches = [data.crop_and_flip(x, generator, pad=1) for _ in range(300)]
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    crops = [padded[:, :, i : i + 6, j : j + 6] for i in range(3) for j in range(3)]
    allowed = [crop for c in crops for crop in (c, c.flip(3))]
    for batch in batches:
        for image in (0, 1):
            assert any(torch.equal(batch[image], crop[image]) for crop in allowed)
    assert len({tuple(batch[0].flatten().tolist()) for batch in batches}) == len(allowed)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "sizes", "shape"),
    [("mnist", (54000, 6000, 10000), (1, 28, 28)), ("cifar10", (45000, 5000, 5000), (3, 32, 32))],
)
def test_real_sets_have_their_published_sizes(name, sizes, shape):
    real = data.load(name)
    assert tuple(len(split.y) for split in (real.train, real.validation, real.test)) == sizes
    assert real.train.x.shape[1:] == shape


@pytest.mark.parametrize("name", data.FETCHED)
def test_a_card_holds_the_checksums_that_torchvision_checks(name):
    card = (models.CHECKPOINTS.parent / f"{name}.md").read_text(encoding="utf-8")
    published = data.FETCHED[name]
    for checksum in [md5 for _, md5 in getattr(published, "resources", [])] or [published.tgz_md5]:
        assert checksum in card
