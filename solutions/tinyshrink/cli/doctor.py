"""The command that says what is installed, what is missing and how to get it."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys

import typer
from rich.markup import escape
from rich.table import Table

from . import terminal
from .terminal import app


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and how to get it."""
    table = Table("what", "found", "how to mend it", title="tinyshrink doctor")
    healthy = True
    for what, found, mend in _findings():
        healthy &= not mend.startswith("needed: ")
        cells = (escape(cell) for cell in (what, found, mend.removeprefix("needed: ")))
        table.add_row(*cells, style="yellow" if mend else None)
    terminal.console.print(table)
    raise typer.Exit(0 if healthy else 1)


def _findings():
    """Rows (what, what was found, how to mend it); the last starts with "needed: " where the course cannot do without."""
    version = platform.python_version()
    yield "Python", version, "" if sys.version_info >= (3, 10) else "needed: install Python 3.10 or newer"
    missing = False
    for requirement in importlib.metadata.requires("tinyshrink") or []:
        if "extra ==" in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement).group()
        try:
            yield name, importlib.metadata.version(name), ""
        except importlib.metadata.PackageNotFoundError:
            missing = True
            yield name, "missing", 'needed: in the course folder, pip install --editable ".[dev]"'
    if missing:
        return
    try:
        importlib.import_module("torchvision")
        yield "torch and torchvision", "a matched pair", ""
    except (ImportError, RuntimeError, OSError) as error:
        mend = "needed: pip uninstall -y torch torchvision, then install both with one command: pip install torch torchvision"
        yield "torch and torchvision", f"do not fit each other ({error})", mend
        return
    from .. import data

    folder = data.data_dir()
    there = [name for name in data.NAMES if name == "digits" or os.path.exists(folder / f"{name}.npz")]
    missing = [name for name in data.NAMES if name not in there]
    mend = f"optional: load(name) fetches {', '.join(missing)} when first asked" if missing else ""
    yield "data sets", ", ".join(there), mend
    parent = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    writable = parent.is_dir() and os.access(parent, os.W_OK)
    mend = "" if writable else "set TINYSHRINK_DATA to a folder that can be written"
    yield "data dir", f"{folder} ({'writable' if writable else 'not writable'})", mend
    bubblewrap = shutil.which("bwrap")
    mend = "" if bubblewrap else "for instructors who grade untrusted submissions, on Linux: apt-get install bubblewrap"
    yield "bubblewrap", bubblewrap or "missing", mend
    root = terminal.find_root()
    yield "course folder", str(root or "none here"), "" if root else "git clone the course and run from inside it"
