"""Tests of tinyshrink.packing, encodings and arithmetic: what comes back, what it takes, and what is refused."""

import copy
import json
import math
import os
import struct
import subprocess
import sys
import zlib

import fuzz_packing
import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations
from typer.testing import CliRunner

from tinyshrink import arithmetic, cli, coding, encodings, lowrank, magnitude, models, packing, quantization, sparse, structured


def saved(model, tmp_path, **options):
    """(the model as it comes back from a file, the bytes of the file)."""
    size = packing.save(model, tmp_path / "model.tsh")
    assert size == os.path.getsize(tmp_path / "model.tsh")
    return packing.load(tmp_path / "model.tsh", **options), size


def assert_same(model, back):
    """The same modules, names, values (-0.0 is 0.0), modes and flags."""
    assert repr(model) == repr(back)
    ours, theirs = model.state_dict(), back.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]), name
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in back.parameters()]
    assert [m.training for m in model.modules()] == [m.training for m in back.modules()]


def rewritten(path, change):
    """The file with its bytes changed by a function, under a checksum that fits."""
    path.write_bytes(fuzz_packing.mend(bytes(change(bytearray(path.read_bytes())))))


NETWORKS = [
    (models.LeNet300, (2, 1, 28, 28)),
    (models.LeNet5, (2, 1, 28, 28)),
    (models.DigitsCNN, (2, 1, 8, 8)),
    (models.CifarCNN, (2, 3, 32, 32)),
    (models.Transformer, (2, 1, 8, 8)),
]


@pytest.mark.parametrize("network, shape", NETWORKS)
def test_every_network_comes_back_and_predicts_the_same(network, shape, tmp_path):
    torch.manual_seed(0)
    model, x = network().eval(), torch.randn(shape)
    back, size = saved(model, tmp_path)
    assert_same(model, back)
    assert torch.equal(model(x), back(x))
    parts = packing.inspect(tmp_path / "model.tsh")
    assert sum(part.bytes for part in parts) == size
    named = dict(model.named_parameters())
    assert [part.name for part in parts[2:] if part.name in named] == list(named)


def pruned(model):
    magnitude.prune(model, 0.9)
    return model


def shared(model):
    coding.share_weights(pruned(model), 3)
    return model


@pytest.mark.parametrize(
    "change",
    [
        pruned,
        shared,
        lambda model: structured.prune_channels(model, torch.randn(1, 1, 8, 8), 0.5),
        lambda model: lowrank.factorize(model, ratio=0.5),
        lambda model: lowrank.factorize(shared(model), ratio=0.5),
        lambda model: quantization.quantize_model(model, torch.randn(20, 1, 8, 8)),
        lambda model: sparse.sparsify(pruned(model), progress=False),
        lambda model: copy.deepcopy(model).half().float(),
        lambda model: model.double().bfloat16().double(),
    ],
)
def test_what_the_course_makes_of_a_network_comes_back(change, tmp_path):
    torch.manual_seed(0)
    model = change(models.DigitsCNN(width=8).eval())
    back, _ = saved(model, tmp_path)
    assert_same(model, back)
    x = torch.randn(
        5, 1, 8, 8, dtype=max((p.dtype for p in model.parameters()), key=lambda t: t.itemsize, default=torch.float32)
    )
    assert torch.equal(model(x), back(x))


def test_dropped_layers_and_heads_come_back(tmp_path):
    model = structured.drop_layers(models.Transformer(depth=4).eval(), [0, 3])
    model = structured.prune_heads(model, 0.5)
    back, _ = saved(model, tmp_path)
    assert_same(model, back)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(model(x), back(x))


def test_a_fresh_process_predicts_the_same(tmp_path):
    torch.manual_seed(0)
    model = shared(models.LeNet5().eval())
    x = torch.randn(4, 1, 28, 28)
    packing.save(model, tmp_path / "model.tsh")
    np.savez(tmp_path / "x.npz", x=x.numpy(), y=model(x).detach().numpy())
    code = f"""
import numpy as np, torch
from tinyshrink import packing
data = np.load({str(tmp_path / "x.npz")!r})
y = packing.load({str(tmp_path / "model.tsh")!r})(torch.from_numpy(data["x"])).detach().numpy()
assert np.array_equal(y, data["y"]), abs(y - data["y"]).max()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.again, self.nothing = self.first, None
        self.settings = {"a": (1, [2.5, None]), 3: "x", "dtype": torch.float16, "size": torch.Size([1, 2])}
        self.table, self.kinds = torch.arange(6), [nn.BatchNorm2d, models.LeNet5, Own]
        self.table_too = [self.table, "z"]
        self.register_buffer("kept", torch.ones(2, dtype=torch.bool))
        self.register_buffer("dropped", torch.full((2, 2), math.inf), persistent=False)
        self.register_parameter("bias", None)
        self.scale = nn.Parameter(torch.tensor(-0.5), requires_grad=False)
        self.second.eval()

    def forward(self, x):
        return self.again(self.second(x)) * self.scale


def test_a_users_own_class_with_shared_parts(tmp_path):
    model = Own()
    back, _ = saved(model, tmp_path, classes=(Own,))
    assert_same(model, back)
    assert back.first is back.again and back.first.weight is back.second.weight
    assert back.settings == model.settings and back.kinds == model.kinds
    assert type(back.settings["a"]) is tuple and type(back.settings["size"]) is torch.Size
    assert torch.equal(back.table, model.table) and back.table_too[0] is back.table
    assert torch.equal(back.dropped, model.dropped) and "dropped" not in back.state_dict()
    assert back.bias is None and not back.scale.requires_grad
    x = torch.randn(2, 3)
    assert torch.equal(model(x), back(x))
    names = [part.name for part in packing.inspect(tmp_path / "model.tsh")]
    assert names[2:] == ["table", "scale", "kept", "dropped", "first.weight", "first.bias", "second.bias"]
    with pytest.raises(packing.CorruptFile, match=r"your class 'Own': load\(path, classes=\(Own,\)\)"):
        packing.load(tmp_path / "model.tsh")


def test_a_model_loaded_in_inference_mode_can_be_trained(tmp_path):
    packing.save(pruned(nn.Linear(4, 4)), tmp_path / "model.tsh")
    with torch.inference_mode():
        back = packing.load(tmp_path / "model.tsh")
    back(torch.ones(2, 4)).sum().backward()
    assert back.weight.grad is not None


def hooked():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_forward_hook(lambda *_: None)
    return model


def with_attribute(value):
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].extra = value
    return model


def test_a_kind_of_module_that_a_module_keeps_comes_back(tmp_path):
    model = torchvision.models.resnet18(num_classes=3).eval()  # its _norm_layer is the class BatchNorm2d
    resnet = torchvision.models.resnet
    back, _ = saved(model, tmp_path, classes=(resnet.ResNet, resnet.BasicBlock))
    assert back._norm_layer is nn.BatchNorm2d
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(back(x), model(x))


@pytest.mark.parametrize(
    "make, message",
    [
        (hooked, r"0, a Linear, has hooks \(_forward_hooks\)"),
        (lambda: with_attribute(torch.relu), r"0, a Linear, attribute 'extra' is a builtin_function_or_method"),
        (lambda: with_attribute(int), "attribute 'extra' is a type"),
        (lambda: with_attribute({"a": [object()]}), "attribute 'extra' is a object"),
        (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2))), "0, a ParametrizedLinear, is scripted or"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), "0, a LazyLinear, has hooks"),
        (lambda: nn.Linear(2, 2, device="meta"), "on meta: a file holds plain tensors with values"),
        (lambda: nn.Linear(2, 2, dtype=torch.complex64), "torch.complex64"),
        (lambda: torch.jit.script(nn.Linear(2, 2)), "is scripted or parametrized"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_save_names_what_it_cannot_describe(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        packing.save(make(), tmp_path / "model.tsh")
    assert not list(tmp_path.iterdir())


def test_a_method_replaced_in_one_module_is_refused(tmp_path):
    model = nn.Sequential(nn.ReLU())
    model[0].forward = "relu"
    with pytest.raises(ValueError, match="'forward' in the place of a method"):
        packing.save(model, tmp_path / "model.tsh")


def test_save_leaves_the_old_file_where_it_fails(tmp_path):
    packing.save(nn.Linear(2, 2), tmp_path / "model.tsh")
    before = (tmp_path / "model.tsh").read_bytes()
    with pytest.raises(ValueError, match="hooks"):
        packing.save(hooked(), tmp_path / "model.tsh")
    assert (tmp_path / "model.tsh").read_bytes() == before


def test_a_bit_flipped_in_any_byte_and_any_cut_is_noticed(tmp_path):
    model, path = shared(nn.Sequential(nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 2))), tmp_path / "model.tsh"
    packing.save(model, path)
    data = path.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(packing.CorruptFile, match=r"does not start with|version|checksum is wrong"):
            packing.load(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(packing.CorruptFile, match=r"too few|checksum is wrong"):
            packing.load(path)


def test_what_is_not_ours_is_said(tmp_path):
    path = tmp_path / "model.tsh"
    torch.save({"a": 1}, path)
    with pytest.raises(packing.CorruptFile, match="does not start with b'tsh'"):
        packing.load(path)
    path.write_bytes(b"")
    with pytest.raises(packing.CorruptFile, match="0 bytes are too few"):
        packing.inspect(path)
    packing.save(nn.Linear(2, 2), path)
    rewritten(path, lambda data: data[:3] + b"\7" + data[4:])
    with pytest.raises(packing.CorruptFile, match="format version 7, this tinyshrink reads version 1"):
        packing.load(path)
    with pytest.raises(FileNotFoundError):
        packing.load(tmp_path / "nothing.tsh")


def file_of(tree, tensors, path):
    """A file with this architecture and these (head, body) of tensors, and a good checksum."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, packing.DICTIONARY)
    text = deflate.compress(json.dumps(tree).encode()) + deflate.flush()
    data = b"tsh\1" + encodings.number(len(text)) + text
    for dtype, shape, body in tensors:
        data += packing._tensor_head(dtype, shape, len(body)) + body
    path.write_bytes(data + struct.pack("<I", zlib.crc32(data)))


@pytest.mark.parametrize("shape", [(1 << 38,), (1 << 20, 1 << 18), (1 << 62, 1 << 62, 1 << 62), (0, 1 << 40)])
def test_a_claimed_terabyte_is_refused_before_anything_is_allocated(shape, tmp_path):
    file_of(["Linear", {}, {"weight": "p"}], [(torch.float32, shape, b"\0\0\0")], tmp_path / "model.tsh")
    with pytest.raises(packing.CorruptFile, match=r"would take [\d,]+ bytes, above 268,435,456: pass max_bytes"):
        packing.load(tmp_path / "model.tsh")


def test_max_bytes_allows_more_or_less(tmp_path):
    packing.save(nn.Linear(100, 100), tmp_path / "model.tsh")
    with pytest.raises(packing.CorruptFile, match="would take 40,000 bytes, above 39,999"):
        packing.load(tmp_path / "model.tsh", max_bytes=39_999)
    packing.load(tmp_path / "model.tsh", max_bytes=40_400)


def test_an_architecture_that_inflates_to_gigabytes_is_refused(tmp_path):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, packing.DICTIONARY)
    text = b"".join(deflate.compress(b" " * (1 << 20)) for _ in range(40)) + deflate.flush()
    data = b"tsh\1" + encodings.number(len(text)) + text
    (tmp_path / "model.tsh").write_bytes(data + struct.pack("<I", zlib.crc32(data)))
    with pytest.raises(packing.CorruptFile, match="architecture does not end where it should"):
        packing.load(tmp_path / "model.tsh")


@pytest.mark.parametrize(
    "tree, message",
    [
        (["Linear", {"forward": 1}], "no file may set the attribute 'forward' of a Linear"),
        (["Linear", {"__class__": "x"}], "may set the attribute '__class__'"),
        (["Linear", {"_forward_hooks": {"dict": []}}], "may set the attribute '_forward_hooks'"),
        (["Linear", {"_parameters": 1}], "may set"),
        (["Linear", {"extra_repr": "x"}], "may set"),
        (["Linear", {"a b": "x"}], "may set"),
        (["Linear", {}, {"forward": "p"}], "makes no sense"),
        (["Linear", {}, {}, {"forward": ["ReLU"]}], "makes no sense"),
        (["Linear", {}, {"weight": "p", "bias": "p"}], "places for more tensors than it holds"),
        (["Linear"], "more tensors than its architecture has places for"),
        (["Linear", {}, {"weight": "q"}], "no kind of tensor is called 'q'"),
        (["os.system"], "has no class 'os.system'"),
        (["models.torch.save"], "has no class"),
        (["models.np"], "has no class"),
        (["models.PRETRAINED"], "'models.PRETRAINED' is no module class"),
        (["models.load_pretrained"], "is no module class"),
        (["..os.system"], "no class is called"),
        (["functional"], "no class is called"),
        (["Parameter"], "no class is called"),
        (["Linear", {"a": {"eval": [1]}}], "no class is called .eval."),
        (["Linear", {"a": {"class": "os.system"}}], "has no class 'os.system'"),
        (["Linear", {"a": {"class": "models.load_pretrained"}}], "is no module class"),
        (["Linear", {"a": {"class": ":Own"}}], "needs your class 'Own'"),
        (["Linear", {"a": {"class": [1]}}], "makes no sense"),
        ([["Linear"]], "makes no sense"),
        (["Sequential", {}, {}, {"0": 0}], "makes no sense"),
        ([], "makes no sense"),
        ("Linear", "makes no sense"),
        (3, "makes no sense"),
    ],
)
def test_a_file_sets_no_code_and_names_no_other_class(tree, message, tmp_path):
    file_of(tree, [(torch.float32, (2,), b"\0\x10" + np.float32([1.1, 2.1]).tobytes())], tmp_path / "model.tsh")
    with pytest.raises(packing.CorruptFile, match=message):
        packing.load(tmp_path / "model.tsh")


def test_nested_too_deep_is_refused(tmp_path):
    text = b'["Sequential",{},{},{"0":' * 20_000 + b'["ReLU"]' + b"}]" * 20_000
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, packing.DICTIONARY)
    text = deflate.compress(text) + deflate.flush()
    data = b"tsh\1" + encodings.number(len(text)) + text
    (tmp_path / "model.tsh").write_bytes(data + struct.pack("<I", zlib.crc32(data)))
    with pytest.raises(packing.CorruptFile, match="makes no sense"):
        packing.load(tmp_path / "model.tsh")


def test_two_thousand_changed_files_are_loaded_or_refused():
    found, _ = fuzz_packing.fuzz(2000, seed=1)
    assert set(found) == set(fuzz_packing.WAYS)
    assert found["bits flipped"]["loaded"] == 0
    assert sum(row["loaded"] for row in found.values()) > 100  # the parser behind the checksum is really reached


def test_the_architecture_takes_next_to_nothing(tmp_path):
    for network in (models.LeNet300, models.LeNet5):
        packing.save(network().eval(), tmp_path / "model.tsh")
        assert packing.inspect(tmp_path / "model.tsh")[1].bytes < 30


def bits_of(tensor):
    """The tensor's bits as integers, those of -0.0 as those of 0.0."""
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.masked_fill(tensor == 0, 0).view(integers[tensor.itemsize])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_tensor_comes_back_bit_for_bit(source):
    dtype = source.draw(st.sampled_from(encodings.DTYPES))
    shape = source.draw(st.lists(st.integers(0, 12), max_size=4))
    generator = torch.Generator().manual_seed(source.draw(st.integers(0, 1000)))
    tensor = torch.randn(shape, generator=generator) * source.draw(st.sampled_from([1.0, 30.0, 1e6]))
    distinct = source.draw(st.sampled_from([0, 1, 3, 17]))
    if distinct:
        tensor = torch.randn(distinct, generator=generator)[torch.randint(distinct, shape, generator=generator)]
    tensor = tensor * (torch.rand(shape, generator=generator) < source.draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])))
    tensor = tensor.nan_to_num().clamp(-100, 100).to(dtype)
    encoded = encodings.encode(tensor)
    back, described = encodings.decode(encoded.data, dtype, tuple(shape))
    assert back.dtype == dtype and back.shape == tensor.shape
    assert torch.equal(bits_of(back), bits_of(tensor))
    assert described == encoded
    assert len(encoded.data) <= tensor.numel() * tensor.itemsize + 2


def test_nan_infinity_and_tiny_numbers_come_back_bit_for_bit():
    tensor = torch.tensor([math.nan, math.inf, -math.inf, 1e-45, -0.0, 3.4e38] * 3)
    tensor.view(torch.int32)[0] = 0x7FC01234  # a NaN with a message
    back, _ = encodings.decode(encodings.encode(tensor).data, torch.float32, (18,))
    assert torch.equal(bits_of(back), bits_of(tensor))


@pytest.mark.parametrize(
    "tensor, positions, values",
    [
        (torch.randn(30, 30), "none", "<f4"),
        (torch.randn(30, 30).half().float(), "none", "<f2"),
        (torch.randint(-100, 100, (9,)).float(), "none", "i1"),
        (torch.tensor([0.5, -1.25, 0.1, 7.7])[torch.arange(40).square() * 7 % 31 % 4], "none", "4 x <f4, fixed bits"),
        (torch.zeros(50, 50), "none", "1 x i1, fixed bits"),
    ],
)
def test_the_smallest_way_is_taken(tensor, positions, values):
    encoded = encodings.encode(tensor)
    assert (encoded.positions, encoded.values) == (positions, str_of(values))


def str_of(values):
    """The names as NumPy prints them: <f4 is float32."""
    for code in ("<f4", "<f2", "i1"):
        values = values.replace(code, str(np.dtype(code)))
    return values


def test_dead_rows_and_columns_cost_little():
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(40, 60, generator=generator) * (torch.rand(40, 60, generator=generator) < 0.1)
    large = torch.zeros(400, 600)
    large[::10, ::10] = small
    extra = len(encodings.encode(large).data) - len(encodings.encode(small).data)
    assert extra < (400 + 600) / 8 + 20


def test_arithmetic_codes_go_there_and_back_and_beat_the_entropy_of_what_has_a_pattern():
    generator = np.random.default_rng(0)
    density = np.where(np.arange(100) % 10 < 5, 0.3, 0.01)
    mask = generator.random((80, 100)) < density
    ones = np.ones_like(mask)
    data = arithmetic.encode(mask.ravel(), ones, 1, 10)
    assert np.array_equal(arithmetic.decode(data, ones, 1, 10).reshape(mask.shape), mask)
    assert len(data) < 0.9 * coding.entropy(np.bincount(mask.ravel())) * mask.size / 8
    for bits in (0, 1, 3, 10):
        symbols = (2**bits * generator.random(np.count_nonzero(mask)) ** 4).astype(np.int64)
        data = arithmetic.encode(symbols, mask, bits, 1)
        if bits:
            assert np.array_equal(arithmetic.decode(data, mask, bits, 1), symbols)
    noise = generator.integers(0, 2, 1000)
    assert arithmetic.encode(noise, np.ones((1, 1000), dtype=bool), 1, 1) is None
    with pytest.raises(ValueError, match="lines of 101"):
        arithmetic.decode(b"abc", ones, 1, 101)


def test_inspect_prints_where_each_byte_goes(tmp_path):
    packing.save(shared(models.LeNet300().eval()), tmp_path / "model.tsh")
    result = CliRunner().invoke(cli.app, ["inspect", str(tmp_path / "model.tsh")], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for text in ("architecture", "fc1.weight", "300 x 784", "fixed bits", "bytes for 266,610 numbers", "container"):
        assert text in result.output
    (tmp_path / "other.tsh").write_bytes(b"PK\3\4 something else")
    result = CliRunner().invoke(cli.app, ["inspect", str(tmp_path / "other.tsh")])
    assert result.exit_code == 2 and "does not start with" in result.output.replace("\n", " ")
    assert CliRunner().invoke(cli.app, ["inspect", str(tmp_path / "none.tsh")]).exit_code == 2
