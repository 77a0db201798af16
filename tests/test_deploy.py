"""Files for deployment: onnxruntime's outputs against torch's, constraints, and processes that know nothing of the course."""

import copy
import math
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tinyshrink import cli, coding, data, deploy, lowrank, magnitude, models, packing, quantization, sparse, structured


def network(seed=0):
    """A small CNN with everything the course's have, and statistics of BatchNorm that are not 0 and 1."""
    torch.manual_seed(seed)
    model = models.DigitsCNN(width=8)
    model(torch.randn(64, 1, 8, 8))
    return model.eval()


def shared(model):
    coding.share_weights(model, 4)
    return model


def masked(model):
    magnitude.prune(model, 0.8)
    return model


DIGITS = data.load("digits")
X = DIGITS.test.x[:50]
COMPRESSED = {
    "pruned smaller": lambda model: structured.prune_channels(model, X, 0.5),
    "factorized": lambda model: lowrank.factorize(model, ratio=0.5),
    "masked": masked,
    "shared weights": shared,
    "sparse": lambda model: sparse.sparsify(masked(model), progress=False),
    "int8": lambda model: quantization.quantize_model(model, X),
    "pruned smaller, int4": lambda model: quantization.quantize_model(structured.prune_channels(model, X, 0.5), X, 4, 4),
}


@pytest.mark.parametrize("way", COMPRESSED)
def test_onnxruntime_and_torch_give_the_same_outputs_for_any_batch(way, tmp_path):
    model = COMPRESSED[way](network())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    packing.save(model, tmp_path / "model.tsh")
    loaded = packing.load(tmp_path / "model.tsh")
    assert deploy.export_onnx(loaded, X[:1], tmp_path / "model.onnx") == (tmp_path / "model.onnx").stat().st_size
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (DIGITS.test.x, DIGITS.test.x[:3]):
        with torch.no_grad():
            expected = model(batch)
        (outputs,) = session.run(None, {"input": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(outputs), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(deploy.load(tmp_path / "model.onnx")(batch), expected, atol=1e-4, rtol=0)
        assert (outputs.argmax(1) == expected.argmax(1).numpy()).all()
    operations = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    integer = {"ConvInteger", "MatMulInteger", "QuantizeLinear"}
    assert (integer <= operations and not {"Conv", "Gemm", "MatMul"} & operations) if "int" in way else not integer & operations
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_integer_convolutions_of_every_geometry_are_exact(tmp_path):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=(1, 2), padding=(2, 1), padding_mode="reflect"),
        nn.Conv2d(6, 6, 3, padding="same", dilation=2, groups=3, bias=False),
        nn.ReLU(),
        nn.Conv2d(6, 4, (1, 3), padding="valid"),
        nn.Conv2d(4, 4, 3, padding=(1, 0), padding_mode="circular"),
        nn.Linear(2, 5),
    )
    x = torch.randn(8, 2, 9, 12) + 0.3  # the zero points are not 0
    model = quantization.quantize_model(layers, x)
    deploy.export_onnx(model, x, tmp_path / "model.onnx", tolerance=0)
    low = quantization.quantize_model(layers, x, bits=3, activation_bits=3)
    deploy.export_onnx(low, x, tmp_path / "low.onnx", tolerance=0)


def test_the_largest_integers_do_not_overflow(tmp_path):
    """255 * 127 twice is more than int16 holds: where signed weights meet such inputs, some processors saturate."""
    layer = nn.Linear(64, 4)
    nn.init.constant_(layer.weight, 1.0)
    x = torch.cat((torch.full((4, 64), 3.0), torch.full((4, 64), -1.0)))
    deploy.export_onnx(quantization.quantize_model(layer, x), x, tmp_path / "model.onnx", tolerance=0)


def test_models_with_several_inputs_and_the_transformer_are_exported(tmp_path):
    class Two(nn.Module):
        def forward(self, x, y):
            return x.flatten(1) @ torch.ones(4, 2) + y

    example = torch.randn(1, 2, 2), torch.randn(1, 2)
    deploy.export_onnx(Two(), example, tmp_path / "two.onnx")
    torch.testing.assert_close(deploy.load(tmp_path / "two.onnx")(*example), Two()(*example))
    torch.manual_seed(0)
    transformer = models.Transformer(width=16, depth=1, heads=2).eval()
    deploy.export_onnx(transformer, X, tmp_path / "transformer.onnx")
    assert (deploy.load(tmp_path / "transformer.onnx")(X).argmax(1) == transformer(X).argmax(1)).all()


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Lacking(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x[:, 0]).real


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Fixed(nn.Module):
    def forward(self, x):
        return x.view(50, -1)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Identity(), Noisy()), "outputs differ from torch's by .* more than 0.0001"),
        (nn.Sequential(nn.Identity(), Lacking()), r"ONNX lacks aten\.linalg_eig\S*, which 1 \(Lacking\) uses"),
        (Pair(), "Pair returns a tuple: export a model with one tensor as output"),
        (Branching(), "Branching cannot be traced for batches of any size: its forward branches on the values"),
        (Fixed(), "Fixed cannot be traced for batches of any size: its forward fixes the batch size"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_the_old_file_stays(model, said, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(ValueError, match=said):
        deploy.export_onnx(model, X, path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_library_is_one_line_that_says_what_to_install(name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'^\w+ is not installed: pip install "tinyshrink\[export\]"$'):
        deploy.export_onnx(network(), X, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def run_elsewhere(code, *arguments):
    """What a fresh Python process prints for a piece of code."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def test_files_run_in_a_process_that_never_saw_the_class(tmp_path):
    class Students(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nn.Linear(64, 10)

        def forward(self, x):
            return torch.tanh(self.own(x.flatten(1)))

    torch.manual_seed(0)
    image = X[:1]
    np.save(tmp_path / "image.npy", image.numpy())
    deploy.export_onnx(Students(), image, tmp_path / "own.onnx")
    torch.manual_seed(0)
    expected = Students()(image)[0].tolist()
    code = (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "print(*session.run(None, {'input': numpy.load(sys.argv[2])})[0][0])\n"
        "assert not {'torch', 'tinyshrink'} & set(sys.modules)"
    )
    assert run_elsewhere(code, tmp_path / "own.onnx", tmp_path / "image.npy") == pytest.approx(expected, abs=1e-4)
    model = quantization.quantize_model(network(), X)
    packing.save(model, tmp_path / "model.tsh")
    code = (
        "import sys, numpy, torch\nfrom tinyshrink import deploy\n"
        "print(*deploy.load(sys.argv[1])(torch.from_numpy(numpy.load(sys.argv[2])))[0].tolist())"
    )
    found = run_elsewhere(code, tmp_path / "model.tsh", tmp_path / "image.npy")
    assert found == pytest.approx(model(image)[0].tolist(), abs=1e-6)
    packing.save(Students(), tmp_path / "own.tsh")
    with pytest.raises(packing.CorruptFile, match="needs your class 'Students'"):
        deploy.load(tmp_path / "own.tsh")
    assert deploy.load(tmp_path / "own.tsh", classes=(Students,))(image).shape == (1, 10)


class Labels(nn.Module):
    """Reads the label that is written into the first pixel: an accuracy that is known."""

    def forward(self, x):
        return -(x[:, 0, 0, :1] - torch.arange(10)).abs()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A file of Labels as .onnx and as .tsh, and ten images of which it gets nine right."""
    folder = tmp_path_factory.mktemp("labelled")
    y = torch.arange(10)
    x = torch.zeros(10, 1, 2, 2)
    x[:, 0, 0, 0] = y
    deploy.export_onnx(Labels(), x, folder / "labels.onnx")
    packing.save(Labels(), folder / "labels.tsh")
    return folder, data.Split(x, torch.where(y == 9, 0, y))


@pytest.mark.parametrize("name", ["labels.onnx", "labels.tsh"])
def test_constraints_are_checked_on_the_file(labelled, name):
    folder, split = labelled
    size = (folder / name).stat().st_size
    options = {"classes": (Labels,)}
    verdict = deploy.check_constraints(folder / name, split, size, 1000, 0.9, **options)
    assert (verdict.bytes, verdict.accuracy, verdict.missed, verdict.exit_code) == (size, 0.9, {}, 0)
    assert 0 < verdict.latency.low <= verdict.latency.median <= verdict.latency.high
    verdict = deploy.check_constraints(folder / name, split, size - 1, 1e-9, 0.91, threads=2, **options)
    assert list(verdict.missed) == ["bytes", "ms", "accuracy"] and verdict.exit_code == 1
    assert verdict.missed["bytes"] == 1 and verdict.missed["accuracy"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "give a constraint"),
        ({"max_bytes": 0}, "max_bytes must be above 0 and finite, got 0"),
        ({"max_ms": math.nan}, "max_ms must be above 0 and finite, got nan"),
        ({"max_ms": math.inf}, "max_ms must be above 0 and finite, got inf"),
        ({"min_accuracy": 97}, "min_accuracy is a fraction above 0 and up to 1, got 97: for 97% give 0.97"),
        ({"min_accuracy": 0}, "min_accuracy is a fraction above 0 and up to 1, got 0"),
    ],
)
def test_constraints_that_say_nothing_are_refused(labelled, limits, said):
    folder, split = labelled
    with pytest.raises(ValueError, match=said):
        deploy.check_constraints(folder / "labels.onnx", split, **limits)


def test_verify_exits_with_0_1_or_2(tmp_path):
    model = quantization.quantize_model(network(), X)
    packing.save(model, tmp_path / "model.tsh")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x08\x07garbage")
    other = bytearray((tmp_path / "model.tsh").read_bytes())
    other[3] += 1
    (tmp_path / "other.tsh").write_bytes(other)
    own = tmp_path / "own.tsh"
    packing.save(Labels(), own)

    def verify(*arguments):
        result = CliRunner().invoke(cli.app, ["verify", *map(str, arguments)])
        return result.exit_code, " ".join((result.stdout + result.stderr).split())

    code, said = verify(tmp_path / "model.tsh", "--max-bytes", 10**6, "--max-ms", 10**6, "--min-accuracy", 0.001)
    assert code == 0 and "NO" not in said and f"{(tmp_path / 'model.tsh').stat().st_size:,}" in said
    code, said = verify(tmp_path / "model.tsh", "--max-bytes", 10, "--max-ms", 10**6)
    assert code == 1 and said.count("NO") == 1
    for arguments, expected in [
        ([tmp_path / "model.tsh"], "give a constraint"),
        ([tmp_path / "none.onnx", "--max-ms", 1], "none.onnx"),
        ([damaged, "--max-ms", 1], "cannot be loaded as ONNX"),
        ([tmp_path / "other.tsh", "--max-ms", 1], "format version 2, this tinyshrink reads version 1"),
        ([own, "--max-ms", 1], "needs your class 'Labels'"),
        ([tmp_path / "model.tsh", "--max-ms", 1, "--data", "nothing"], "nothing"),
    ]:
        code, said = verify(*arguments)
        assert code == 2 and expected in said, said


def test_images_of_another_shape_are_refused(labelled):
    folder, split = labelled
    wrong = data.Split(split.x.repeat(1, 1, 2, 2), split.y)
    with pytest.raises(ValueError, match=r"does not take images of \(1, 4, 4\)"):
        deploy.check_constraints(folder / "labels.onnx", wrong, max_ms=1)


def test_an_exported_model_may_share_a_layer_and_stays_as_it_was(tmp_path):
    torch.manual_seed(0)
    layer = nn.Linear(16, 16)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), layer, nn.ReLU(), layer).train()
    before = copy.deepcopy(model.state_dict())
    deploy.export_onnx(quantization.quantize_model(model, X), X, tmp_path / "int8.onnx")
    deploy.export_onnx(model, X, tmp_path / "model.onnx")
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    weights = [tensor for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer if list(tensor.dims) == [16, 16]]
    assert len(weights) == 1, "a shared weight is in the file once"
