"""A page on which the digits network and its compressed version run in the browser, with nothing but local files.

The browser's engine is onnxruntime-web, https://www.npmjs.com/package/onnxruntime-web, fetched by npm once and kept.
"""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import platformdirs
import torch

from .. import data, deploy, files, models, quantization, structured, training

RUNTIME = "onnxruntime-web", "1.30.0"
ENGINE = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript"}
TYPES |= {".wasm": "application/wasm", ".json": "application/json"}
TEMPLATE = ("style.css", "page.js", "index.html")


def networks(digits: data.Dataset, epochs: int = 20, progress: bool = True) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The digits CNN, trained, and a smaller one: half of its channels removed, then trained again. Both in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = models.DigitsCNN()
    training.train(original, digits, epochs, progress=progress)
    smaller = structured.prune_channels(original, digits.train.x[:64], 0.5)
    training.train(smaller, digits, epochs // 2, lr=0.02, progress=progress)
    return original.eval(), smaller.eval()


def make(folder: str | os.PathLike, epochs: int = 20, progress: bool = True) -> Path:
    """Train the digits CNN, compress it (fewer channels, int8), write the page to `folder`; return the path of index.html.

    Files of an earlier call are replaced. Raises FileExistsError for a folder with other files in it, FileNotFoundError
    where npm or its package is not to be had, ImportError without onnx.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "digits.json").exists():
        raise FileExistsError(f"{folder} holds other files: give --out an empty folder, or a new one")
    engine, digits = _engine(), data.load("digits")
    original, smaller = networks(digits, epochs, progress)
    compressed = quantization.quantize_model(smaller, digits.train.x[:500])
    accuracy = {}
    for name, network in (("original", original), ("compressed", compressed)):
        deploy.export_onnx(network, digits.validation.x[:64], folder / f"{name}.onnx")
        accuracy[name] = deploy.accuracy(deploy.load(folder / f"{name}.onnx"), digits.test)
    pixels = (16 * (digits.test.x * digits.std + digits.mean)).round().int()
    first = {int(label): i for i, label in reversed(list(enumerate(digits.test.y)))}  # the first image of each class
    samples = [{"label": label, "pixels": pixels[first[label]].flatten().tolist()} for label in range(10)]
    facts = {"mean": digits.mean.item(), "std": digits.std.item(), "accuracy": accuracy, "samples": samples}
    with files.whole(folder / "digits.json") as part:
        part.write_text(json.dumps(facts), encoding="utf-8")
    with tarfile.open(engine) as package:
        for name in ENGINE:
            with files.whole(folder / name) as part, open(part, "wb") as file:
                shutil.copyfileobj(package.extractfile(f"package/dist/{name}"), file)
    for name in TEMPLATE:
        with files.whole(folder / name) as part:
            shutil.copyfile(Path(__file__).with_name(name), part)
    return folder / "index.html"


def server(folder: str | os.PathLike, port: int = 8000) -> ThreadingHTTPServer:
    """A server of the page on 127.0.0.1: call its serve_forever(). Port 0 is any that is free. OSError for one in use."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=folder))
    except OSError as error:
        raise OSError(f"port {port} cannot be used ({error.strerror}): give another one with --port") from error


class _Handler(SimpleHTTPRequestHandler):
    # what the computer says of file types may be wrong, and browsers run modules of type text/javascript only
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES

    def log_message(self, *_):
        pass

    def copyfile(self, *args):
        with suppress(ConnectionError):  # the tab was closed
            super().copyfile(*args)


def _engine():
    """The path of onnxruntime-web's package, which npm fetches, and checks, the first time."""
    name, version = RUNTIME
    path = Path(platformdirs.user_cache_dir("tinyshrink")) / f"{name}-{version}.tgz"
    if path.exists():
        return path
    mend = f"put {path.name} (npm pack {name}@{version}, where npm is) at {path}"
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"the page needs {name}, which npm fetches, and there is no npm: install Node.js, or {mend}")
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [npm, "pack", f"{name}@{version}", "--silent"],
            cwd=scratch,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        packed = Path(scratch) / path.name
        if done.returncode or not packed.exists():
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise FileNotFoundError(f"npm cannot fetch {name} {version} ({why}): go online and try again, or {mend}")
        with files.whole(path) as part:
            shutil.copyfile(packed, part)
    return path
