"""A model as one small file: architecture and tensors, nothing in it is executed, and every byte can be accounted for.

The file: "tsh" and the format's version (a byte each), the architecture (its length, then JSON, deflated with the dictionary
below), each tensor (dtype and dimensions, length, bytes as in encodings.py), a CRC-32 of all that. The architecture is the
tree of modules: class, plain attributes, parameters, buffers, children. load makes each module without calling its class,
gives it these, and calls nothing that the file names.
"""

import importlib
import inspect as inspection
import json
import math
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterable
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from . import encodings, files
from .encodings import CorruptFile, Cursor

MAGIC, VERSION = b"tsh", 1
MAX_ARCHITECTURE = 1 << 24
MEMORY = "_memory"  # the attribute in which a module keeps what it would compute anew: not saved
INTERNAL = vars(nn.Module())  # what every module has: tensors, children, hooks, the training flag
TORCH = {name: cls for name, cls in vars(nn).items() if isinstance(cls, type) and issubclass(cls, nn.Module)}
TORCH["NonDynamicallyQuantizableLinear"] = NonDynamicallyQuantizableLinear  # nn.MultiheadAttention has one

# What deflate has seen before the first byte. It belongs to version 1: another text would make files unreadable.
DICTIONARY = b"""["quantization.FakeQuantized",{"bits":8,"activation_bits":8},{"input_scale":"b","input_zero_point":"b"},\
{"layer":["quantization.QuantizedConv2d",{"weight_scale":"b"["quantization.QuantizedLinear",{"list":[{"dict":[["Dropout",{"p":\
0.5,"inplace":false}]["LayerNorm",{"normalized_shape":[64],"eps":1e-05,"elementwise_affine":true},{"weight":"p","bias":"p"}]\
["AvgPool2d","AdaptiveAvgPool2d",{"output_size":1}],["Identity"],"shortcut":["models.ResidualBlock",{},{},{"conv1":\
["models.Transformer",{"settings":{"dict":[["width",32],["depth",6],["heads",4],["size",8]]}},{},{"embed":["models.CifarCNN",\
["models.DigitsCNN",{"settings":{"dict":[["width",32],["size",8]]}},{},{"bn1":["BatchNorm2d",{"num_features":64,"eps":1e-05,\
"momentum":0.1,"affine":true,"track_running_stats":true},{"weight":"p","bias":"p","running_mean":"b","running_var":"b",\
"num_batches_tracked":"b"}],["Sequential",{},{},{"0":["Linear",{"in_features":256,"out_features":128},{"weight":"p"}],"1":\
[":Net",{"training":false},{},{"conv1":["Conv2d",{"in_channels":16,"out_channels":32,"kernel_size":[3,3],"stride":[1,1],\
"padding":[1,1],"dilation":[1,1],"transposed":false,"output_padding":[0,0],"groups":1,"padding_mode":"zeros",\
"_reversed_padding_repeated_twice":[1,1,1,1]},{"weight":"p","bias":"B"}],["models.LeNet5",{"training":false},{},{"conv1":\
["Conv2d",{"in_channels":1,"out_channels":20,"kernel_size":[5,5],"stride":[1,1],"padding":[0,0],"dilation":[1,1],\
"transposed":false,"output_padding":[0,0],"groups":1,"padding_mode":"zeros","_reversed_padding_repeated_twice":[0,0,0,0]},\
{"weight":"p","bias":"p"}],"pool1":["MaxPool2d",{"kernel_size":2,"stride":2,"padding":0,"dilation":1,"return_indices":false,\
"ceil_mode":false}],"conv2":["Conv2d",{"in_channels":20,"out_channels":50,"kernel_size":[5,5],"pool2":["flatten":["Flatten",\
{"start_dim":1,"end_dim":-1}],"fc1":["Linear",{"in_features":800,"out_features":500},{"weight":"p","bias":"p"}],"relu":["ReLU",\
{"inplace":false}],"fc2":["Linear",{"in_features":500,"out_features":10},{"weight":"p","bias":"p"}]}]["models.LeNet300",\
{"training":false},{},{"flatten":["Flatten",{"start_dim":1,"end_dim":-1}],"fc1":["Linear",{"in_features":784,"out_features":\
300},{"weight":"p","bias":"p"}],"relu1":["ReLU",{"inplace":false}],"fc2":["Linear",{"in_features":300,"out_features":100},\
{"weight":"p","bias":"p"}],"relu2":["ReLU",{"inplace":false}],"fc3":["Linear",{"in_features":100,"out_features":10},\
{"weight":"p","bias":"p"}]}]"""


class Section(NamedTuple):
    """What one part of a file takes: "container", "architecture" or a tensor (with shape, dtype, nonzeros, encoding)."""

    name: str
    bytes: int
    shape: tuple[int, ...] = ()
    dtype: str = ""
    nonzeros: int = 0
    encoding: encodings.Encoded | None = None


def save(model: nn.Module, path: str | os.PathLike) -> int:
    """Write `model` to one small file, without loss (only -0.0 becomes 0.0), and return the file's size in bytes.

    Every tensor is written in the smallest of the ways that encodings.py knows; make the model small before, by pruning,
    coding.share_weights, quantization.quantize_model, or weights rounded to float16. A file that was there is replaced
    when the new one is complete. Raises ValueError, naming the module, for what a file cannot describe: hooks,
    parametrizations, weights without values, attributes other than numbers, strings, dtypes, tensors, module classes, and
    lists, tuples and dicts of these.
    """
    tensors, modules = {}, {}
    tree = _describe(model, "", tensors, modules, True)
    text = json.dumps(tree, separators=(",", ":")).encode()
    if len(text) > MAX_ARCHITECTURE:
        raise ValueError(f"the architecture of {type(model).__name__} takes {len(text):,} bytes, above {MAX_ARCHITECTURE:,}")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    text = deflate.compress(text) + deflate.flush()
    with files.whole(path) as part, open(part, "wb") as file:
        checksum = _write(file, MAGIC + bytes([VERSION]) + encodings.number(len(text)) + text, 0)
        for tensor in tensors.values():
            data = encodings.encode(tensor).data
            checksum = _write(file, _tensor_head(tensor.dtype, tensor.shape, len(data)) + data, checksum)
        file.write(struct.pack("<I", checksum))
    return os.path.getsize(path)


@torch.inference_mode(False)  # a loaded model may be trained, wherever it was loaded
def load(path: str | os.PathLike, classes: Iterable[type[nn.Module]] = (), max_bytes: int | None = None) -> nn.Module:
    """The model that save wrote to `path`, on the CPU, in the mode (train or eval) it was saved in.

    Arguments: classes, your own module classes that the model is made of, found by name (PyTorch's and tinyshrink's are
    known); max_bytes, what the tensors may take in memory: 256 MB or 4096 times the file, whichever is more, by default.
    Nothing from the file is executed. Raises CorruptFile, which says what is wrong, for a file that is damaged, of another
    version, too large, not one of these, or that names a class that is not known.
    """
    with _opened(path, max_bytes) as (tree, sections):
        tensors = [encodings.decode(*section)[0] for section in sections]
        order = iter(range(len(tensors)))
        model = _build(tree, tensors, order, [], {cls.__name__: cls for cls in classes}, True)
        _check(next(order, None) is None, "it holds more tensors than its architecture has places for")
    return model


def inspect(path: str | os.PathLike) -> list[Section]:
    """Where the bytes of a file go, part by part; their sum is the file's size. Raises CorruptFile as load does."""
    with _opened(path, None) as (tree, sections):
        names = _names(tree)
        parts = []
        for data, dtype, shape in sections:
            tensor, encoding = encodings.decode(data, dtype, shape)
            size = len(_tensor_head(dtype, shape, len(data))) + len(data)
            name = next(names, None)
            _check(name is not None, "it holds more tensors than its architecture has places for")
            dtype = str(dtype).removeprefix("torch.")
            parts.append(Section(name, size, shape, dtype, int(tensor.count_nonzero()), encoding))
        container = len(MAGIC) + 1 + 4
        rest = os.path.getsize(path) - container - sum(part.bytes for part in parts)
    return [Section("container", container), Section("architecture", rest), *parts]


def _check(sound, message):
    if not sound:
        raise CorruptFile(message)


def _write(file, data, checksum):
    file.write(data)
    return zlib.crc32(data, checksum)


def _tensor_head(dtype, shape, length):
    code = bytes([encodings.DTYPES.index(dtype) << 4 | len(shape)])
    return code + b"".join(encodings.number(size) for size in (*shape, length))


@contextmanager
def _opened(path, max_bytes):
    """(the tree of modules, an iterator over (bytes, dtype, shape) of each tensor); errors are CorruptFile with the path."""
    try:
        size = os.path.getsize(path)
        limit = max(1 << 28, 4096 * size) if max_bytes is None else max_bytes
        _check(size >= len(MAGIC) + 1 + 4, f"{size} bytes are too few for a file of tinyshrink")
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check(data[:3] == MAGIC, f"it does not start with {MAGIC}, so it is no file of tinyshrink")
            _check(data[3] == VERSION, f"it has format version {data[3]}, this tinyshrink reads version {VERSION}: update it")
            checksum = 0
            for start in range(0, size - 4, 1 << 20):
                checksum = zlib.crc32(data[start : min(start + (1 << 20), size - 4)], checksum)
            _check(struct.pack("<I", checksum) == data[-4:], "its checksum is wrong: it was cut short, or bytes of it changed")
            cursor = Cursor(data, len(MAGIC) + 1, size - 4)
            inflate = zlib.decompressobj(-15, DICTIONARY)
            text = inflate.decompress(cursor.take(cursor.number()), MAX_ARCHITECTURE)
            _check(inflate.eof and not inflate.unused_data, "its architecture does not end where it should")
            yield json.loads(text), _sections(cursor, limit)
    except CorruptFile as error:
        raise CorruptFile(f"{path} cannot be loaded: {error}") from error
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, zlib.error) as error:
        raise CorruptFile(f"{path} cannot be loaded: its architecture makes no sense ({error})") from error


def _sections(cursor, limit):
    """(bytes, dtype, shape) of each tensor, after it is known that all so far may be allocated."""
    total = 0
    while cursor.left:
        code, dimensions = divmod(cursor.take(1)[0], 16)
        _check(code < len(encodings.DTYPES), f"no dtype has the number {code}")
        dtype, shape = encodings.DTYPES[code], tuple(cursor.number() for _ in range(dimensions))
        total += math.prod(max(1, size) for size in shape) * dtype.itemsize
        _check(total <= limit, f"its tensors would take {total:,} bytes, above {limit:,}: pass max_bytes if you trust it")
        yield cursor.take(cursor.number()), dtype, shape


def _describe(module, path, tensors, modules, training):
    """The tree of `module` as JSON holds it: [class, attributes, tensors, children], cut where the rest is empty.

    A module seen before is its number. `tensors` and `modules` collect what was seen: {id: tensor}, {id: number}.
    """
    if id(module) in modules:
        return modules[id(module)]
    where = f"{path or 'the model'}, a {type(module).__name__},"
    if isinstance(module, torch.jit.ScriptModule) or parametrize.is_parametrized(module):
        raise ValueError(f"{where} is scripted or parametrized: save the plain module (parametrize.remove_parametrizations)")
    attributes = {} if module.training == training else {"training": module.training}
    for name, value in vars(module).items():
        if name not in INTERNAL and name != MEMORY:
            if not _allowed(type(module), name):
                raise ValueError(f"{where} has an attribute {name!r} in the place of a method, which no file may set")
            attributes[name] = _plain(value, f"{where} attribute {name!r}", tensors)
        elif "hook" in name and value:
            raise ValueError(f"{where} has hooks ({name}), which are code: remove them, or save the model without them")
    named = {}
    for name, tensor in module._parameters.items():
        named[name] = _reference("p" if tensor is None or tensor.requires_grad else "f", tensor, f"{where} {name!r}", tensors)
    for name, tensor in module._buffers.items():
        kind = "n" if name in module._non_persistent_buffers_set else "b"
        named[name] = _reference(kind, tensor, f"{where} {name!r}", tensors)
    prefix = f"{path}." if path else ""
    children = {
        name: None if child is None else _describe(child, prefix + name, tensors, modules, module.training)
        for name, child in module._modules.items()
    }
    modules[id(module)] = len(modules)
    tree = [_class_name(type(module)), attributes, named, children]
    while not tree[-1]:
        tree.pop()
    return tree


def _reference(kind, tensor, where, tensors):
    """The kind of a tensor; with "-" for None, with its number where another place has it already."""
    if tensor is None:
        return f"{kind}-"
    if id(tensor) in tensors:
        return f"{kind}{list(tensors).index(id(tensor))}"
    if type(tensor) not in (torch.Tensor, nn.Parameter, nn.Buffer) or tensor.is_meta or tensor.layout != torch.strided:
        raise ValueError(f"{where} is a {type(tensor).__name__} on {tensor.device}: a file holds plain tensors with values")
    if tensor.dtype not in encodings.DTYPES or tensor.ndim > 15:
        raise ValueError(f"{where} is a tensor of {tensor.dtype} with {tensor.ndim} dimensions: no file holds such")
    tensors[id(tensor)] = tensor
    return kind


def _plain(value, where, tensors):
    """An attribute as JSON holds it: a tuple is a list, all that JSON does not have is an object with one key, its type."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is tuple:
        return [_plain(item, where, tensors) for item in value]
    if type(value) in (list, torch.Size):
        return {type(value).__name__: [_plain(item, where, tensors) for item in value]}
    if type(value) is dict:
        return {"dict": [[_plain(item, where, tensors) for item in pair] for pair in value.items()]}
    if type(value) is torch.dtype and value in encodings.DTYPES:
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, type) and issubclass(value, nn.Module):  # torchvision's ResNet keeps its kind of norm
        return {"class": _class_name(value)}
    if hasattr(type(value), "_fields") and type(value).__module__.startswith(f"{__package__}."):  # a NamedTuple of ours
        return {_class_name(type(value)): [_plain(item, where, tensors) for item in value]}
    if isinstance(value, torch.Tensor):
        return {"tensor": _reference("b", value, where, tensors)}
    raise ValueError(f"{where} is a {type(value).__name__}, which a file cannot describe: use numbers, strings and tensors")


def _value(plain, tensors, order, classes):
    """The inverse of _plain."""
    if isinstance(plain, list):
        return tuple(_value(item, tensors, order, classes) for item in plain)
    if not isinstance(plain, dict):
        return plain
    [(kind, content)] = plain.items()
    if kind == "dtype":
        return {str(dtype): dtype for dtype in encodings.DTYPES}[f"torch.{content}"]
    if kind == "tensor":
        return _tensor(content, tensors, order)
    if kind == "class":
        return _class(content, classes)
    items = [_value(item, tensors, order, classes) for item in content]
    if kind in ("list", "dict", "Size"):
        return {"list": list, "dict": dict, "Size": torch.Size}[kind](items)
    cls = _ours(kind)
    _check(isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields"), f"{kind!r} is no type of attribute")
    return cls._make(items)


def _tensor(reference, tensors, order):
    """The tensor that a reference of _reference stands for: the next one in the file, one seen before, or None."""
    kind, number = reference[0], reference[1:]
    _check(kind in "pfbn", f"no kind of tensor is called {kind!r}")
    if number == "-":
        return None
    index = int(number) if number else next(order, len(tensors))
    _check(0 <= index < len(tensors), "its architecture has places for more tensors than it holds")
    if kind in "pf" and not isinstance(tensors[index], nn.Parameter):
        tensors[index] = nn.Parameter(tensors[index], requires_grad=kind == "p")
    return tensors[index]


def _names(tree, path=""):
    """The names of the tensors of a tree in the order of the file: of attributes, parameters and buffers, then children."""
    if isinstance(tree, int) or tree is None:
        return
    _, attributes, named, children = (*tree, *({}, {}, {})[len(tree) - 1 :])
    for name, plain in attributes.items():
        yield from [path + name] * len(re.findall(r"{'tensor': '.'}", str(plain)))
    yield from (path + name for name, reference in named.items() if len(reference) == 1)
    for name, child in children.items():
        yield from _names(child, f"{path}{name}.")


def _class_name(cls):
    """What _class finds `cls` by: "Linear" of torch.nn, "models.LeNet5" of tinyshrink, ":Net" of the user."""
    if TORCH.get(cls.__name__) is cls:
        return cls.__name__
    if cls.__module__.startswith(f"{__package__}."):
        return f"{cls.__module__.removeprefix(f'{__package__}.')}.{cls.__name__}"
    return f":{cls.__name__}"


def _class(name, classes):
    """The module class that _class_name named."""
    if name.startswith(":"):
        _check(name[1:] in classes, f"it needs your class {name[1:]!r}: load(path, classes=({name[1:]},))")
        return classes[name[1:]]
    if name in TORCH:
        return TORCH[name]
    cls = _ours(name)
    _check(isinstance(cls, type) and issubclass(cls, nn.Module), f"{name!r} is no module class")
    return cls


def _ours(name):
    """What tinyshrink has under a name such as "models.LeNet5". Nothing is imported but modules of tinyshrink."""
    module, _, own = name.rpartition(".")
    try:
        _check(re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", module), f"no class is called {name!r}")
        return getattr(importlib.import_module(f"{__package__}.{module}"), own)
    except (AttributeError, ImportError) as error:
        raise CorruptFile(f"this tinyshrink has no class {name!r}") from error


def _allowed(cls, name):
    """Whether a file may set the attribute `name` of a module of that class: data only, nothing of nn.Module's own."""
    there = inspection.getattr_static(cls, name, None)
    hides_code = callable(there) or hasattr(there, "__get__") or hasattr(nn.Module, name) or name in (*INTERNAL, MEMORY)
    return name.isidentifier() and not name.startswith("__") and not hides_code


def _build(tree, tensors, order, modules, classes, training):
    """The module that _describe described. Its class is found among those allowed, never called."""
    if isinstance(tree, int):
        return modules[tree]
    name, attributes, named, children = (*tree, *({}, {}, {})[len(tree) - 1 :])
    cls = _class(name, classes)
    module = cls.__new__(cls)
    nn.Module.__init__(module)
    module.training = bool(attributes.pop("training", training))
    for name, plain in attributes.items():
        _check(_allowed(cls, name), f"no file may set the attribute {name!r} of a {cls.__name__}")
        vars(module)[name] = _value(plain, tensors, order, classes)
    for name, reference in named.items():
        tensor = _tensor(reference, tensors, order)
        if reference[0] in "pf":
            module.register_parameter(name, tensor)
        else:
            module.register_buffer(name, tensor, persistent=reference[0] == "b")
    for name, child in children.items():
        module.add_module(name, None if child is None else _build(child, tensors, order, modules, classes, module.training))
    modules.append(module)
    return module
