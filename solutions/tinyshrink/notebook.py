"""Run a student's notebook cell by cell in this process and collect what its check cells say.

Faster than a kernel and without nbgrader: the course's experiments are left out, only what checks need is run.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.io import capture_output


class Shell(InteractiveShell):
    """A shell without a window, in which a notebook's `%matplotlib inline` and `exit()` do nothing."""

    def enable_gui(self, gui=None):
        pass

    def ask_exit(self):
        pass


class NotebookError(ValueError):
    """A notebook that cannot be read at all; the message says why and how to mend it."""


@dataclass
class Result:
    """One check cell: its exercise, its points, and what it said (empty when it passed)."""

    exercise: str
    points: float
    cell: int
    message: str

    @property
    def passed(self) -> bool:
        return not self.message


def read(path: str | os.PathLike) -> nbformat.NotebookNode:
    """The notebook at `path`. Raises NotebookError where it is missing, no JSON, or without check cells."""
    path = Path(path)
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        for cell in notebook.cells:
            cell.setdefault("source", "")
            cell.setdefault("metadata", {})
    except FileNotFoundError:
        raise NotebookError(f"there is no notebook {path}") from None
    except OSError as error:
        raise NotebookError(f"{path} cannot be read ({error.strerror})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, nbformat.reader.NotJSONError) as error:
        raise NotebookError(f"{path} is no notebook: it is not JSON ({str(error)[:100]}). Take a fresh copy") from error
    except Exception as error:  # nbformat fails in many ways on JSON that is something else
        raise NotebookError(f"{path} is JSON but no notebook ({str(error)[:100]}). Take a fresh copy") from error
    if not any(_is_check(cell) for cell in notebook.cells):
        raise NotebookError(f"{path} has no check cells: is it a notebook of this course?")
    return notebook


def run(notebook: nbformat.NotebookNode, on_cell=lambda done, total: None) -> tuple[list[Result], list[str]]:
    """Run the cells that checks need; returns the checks' results and a line for each other cell that failed.

    `on_cell(done, total)` is called as it goes on. A cell that fails, or that is interrupted with Ctrl-C, does not
    stop those after it.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    os.environ["TQDM_DISABLE"] = "1"
    shell = Shell()
    results, troubles, broken = [], [], {}
    for number, cell in enumerate(notebook.cells, start=1):
        on_cell(number, len(notebook.cells))
        if cell.cell_type != "code" or "experiment" in (cell.metadata.get("tags") or []):
            continue
        with capture_output():
            outcome = shell.run_cell(cell.source, store_history=False)
        error = outcome.error_before_exec or outcome.error_in_exec
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if _is_check(cell):
            exercise = name.removeprefix("check_")
            message = "" if error is None else broken.get(exercise, _explain(error))
            results.append(Result(exercise, cell.metadata["nbgrader"].get("points", 0), number, message))
        elif error is not None and not isinstance(error, NotImplementedError):
            troubles.append(f"cell {number}{f' ({name})' if name else ''}: {_explain(error)}")
            broken[name] = f"your cell {number} failed: {_explain(error)}"
    return results, troubles


def _is_check(cell):
    return cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade", False)


def _explain(error):
    """One line for a student: what a failed check expected, or where the code broke."""
    if isinstance(error, NotImplementedError):
        return "not solved yet"
    if isinstance(error, AssertionError):
        return str(error) or "a check failed without a message"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__} in line {error.lineno}: {error.msg}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{type(error).__name__}: {error}"
