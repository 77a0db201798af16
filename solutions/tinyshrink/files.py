"""Files are written whole or not at all; and where the files are that come with the package."""

import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it takes the place of `path` at the end, or is deleted on any error.

    Folders that are missing are made. Ctrl-C counts as an error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def shipped() -> Path:
    """The folder with modules/, tests/ and datasets/: the clone that this is, or where a wheel puts them (setup.cfg)."""
    clone = Path(__file__).resolve().parents[2]
    if (clone / "modules").is_dir():
        return clone
    installed = importlib.metadata.files("tinyshrink") or []
    found = (Path(file.locate()).resolve().parents[1] for file in installed if file.match("share/tinyshrink/modules/*"))
    return next(found, clone)
