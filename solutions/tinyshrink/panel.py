"""What a check says: a panel of HTML in a notebook, plain text everywhere else.

In a notebook the panel stands above the error, of which only the message is left (%debug still finds all of it). What was
expected and what came are read from the statement that failed; arrays are drawn. A terminal, the grader and `tinyshrink
check` have no kernel: there the error stays as it is.
"""

import ast
import base64
import io
import linecache
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

GREEN, RED = "#1b6e3c", "#a8231c"  # under white text, in light and dark themes
BLUE, VERMILLION, GREY = (0, 114, 178, 255), (213, 94, 0, 255), (217, 217, 217, 255)
LENGTH = 300  # characters of a value that are shown
WIDE = 64  # an array with more rows or columns than this is not drawn
LOOKS = {"int", "float", "len", "list", "sorted", "tuple", "set", "round", "bool", "abs"}  # calls that change nothing
LOOKS |= {"tolist", "item", "sum", "flatten", "all", "any"}


@dataclass
class Panel:
    """`details` are (label, text) and `pictures` (caption, PNG bytes); plain text does without both."""

    title: str
    verdict: str
    message: str = ""
    after: str = ""
    details: Sequence = ()
    pictures: Sequence = ()

    def __repr__(self):
        said = ": ".join(filter(None, (self.title, self.verdict, self.message)))
        return (". " if self.verdict == "passed" else "\n").join(filter(None, (said, self.after)))

    def _repr_html_(self):
        mark, colour = ("✓", GREEN) if self.verdict == "passed" else ("✗", RED)
        badge = f'<span style="color:#fff;background:{colour};padding:1px 8px">{mark} {escape(self.verdict)}</span>'
        parts = [f"<p>{badge} <b>{escape(self.title)}</b> {escape(self.message)}</p>"]
        parts += [f"<p><b>{escape(label)}:</b> {escape(text)}</p>" for label, text in self.details]
        for caption, png in self.pictures:
            image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            parts.append(f'<div style="display:inline-block;margin-right:20px">{image}<br>{escape(caption)}</div>')
        parts.append(f"<p>{escape(self.after)}</p>" if self.after else "")
        return f'<div style="border-left:5px solid {colour};padding-left:12px">{"".join(parts)}</div>'


def kernel():
    """The IPython shell where a notebook's kernel runs, None elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell if getattr(shell, "kernel", None) else None


def show(panel: Panel) -> None:
    """Display the panel in a notebook, print it elsewhere."""
    if kernel():
        sys.modules["IPython"].display.display(panel)
    else:
        print(panel)


def explain(title: str, error: BaseException, after: str = "", hint: str = "", compare: bool = True) -> None:
    """Show why a check failed. `compare` also shows what was expected, which a check of an answer must not."""
    if isinstance(error, NotImplementedError):
        panel, hint = Panel(title, "not solved yet", "", after), ""
    elif isinstance(error, NameError) and not compare:
        panel = Panel(title, "not solved yet", f"there is no {error.name}: run the cells above, then this check again")
    else:
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        panel = Panel(title, "not yet right", kind + str(error) or "a check failed without a message", after)
    if kernel():
        frames = list(traceback.walk_tb(error.__traceback__))
        details = [] if isinstance(error, (AssertionError, NotImplementedError)) else _place(frames)
        if compare and isinstance(error, AssertionError) and (pair := _pair(frames)):
            texts, panel.pictures = [_text(value) for value in pair], _pictures(*pair)
            if panel.pictures or texts[0] != texts[1]:
                details += zip(("expected", "yours"), texts)
        panel.details = details + [("hint", hint)] * bool(hint)
        short = [": ".join(filter(None, (title, panel.verdict, panel.message)))]
        error._render_traceback_ = lambda: short
    show(panel)


def hint(function) -> str:
    """The hint in a function's docstring, on one line."""
    found = re.search(r"^ *Hints?: (.*?)(\n\s*\n|\Z)", getattr(function, "__doc__", None) or "", flags=re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def watch_questions() -> None:
    """Let a notebook show panels for cells that check an answer too, without `plug`: they begin with `def check_`."""

    def title(source):
        found = re.match(r"def check_(\w+)", source)
        return found and found[1].replace("_", " ")

    def failed(shell, kind, error, trace, tb_offset=None):
        cells = [frame.f_code for frame, _ in traceback.walk_tb(trace) if frame.f_globals is shell.user_ns]
        name = title("".join(linecache.getlines(cells[0].co_filename))) if cells else None
        if name and not hasattr(error, "_render_traceback_"):
            explain(name, error, compare=False)
        shell.showtraceback((kind, error, trace), running_compiled_code=True)

    def ran(result):
        if result.success and (name := title(result.info.raw_cell)):
            show(Panel(name, "passed"))

    if shell := kernel():
        shell.set_custom_exc((Exception,), failed)
        shell.events.register("post_run_cell", ran)


def _place(frames):
    """[(where, statement)] in the notebook that was running last: the student's, or the check's."""
    own = [(frame.f_code, line) for frame, line in frames if frame.f_globals is kernel().user_ns]
    if not own:
        return []
    code, line = own[-1]
    checks = code.co_name.startswith(("test_", "check_", "<module>"))
    where = "in the check" if checks else f"line {line} of the cell with {code.co_name}"
    return [(where, linecache.getline(code.co_filename, line).strip())]


def _pair(frames):
    """(expected, got) of the assert that failed, None where it compares no two values that can be looked at again."""
    try:
        frame, line = frames[-1]
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
        asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert) and node.lineno <= line <= node.end_lineno]
        sides = _sides(asserts[0].test) if asserts else []
        calls = [node.func for side in sides for node in ast.walk(side) if isinstance(node, ast.Call)]
        if sides and {getattr(call, "id", getattr(call, "attr", None)) for call in calls} <= LOOKS:
            found = [eval(compile(ast.Expression(side), "<check>", "eval"), frame.f_globals, frame.f_locals) for side in sides]
            got, expected = found[::-1] if "expected" in ast.unparse(sides[0]) else found
        else:
            got, expected = frame.f_locals["got"], frame.f_locals["expected"]
        return expected, got
    except Exception:  # the statement may be anything; its message is enough then
        return None


def _sides(test):
    """The two expressions that an assert compares: a == b, torch.equal(a, b), abs(a - b) < c; none of another one."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[-1], ast.Eq):
        return [test.left, test.comparators[-1]]
    if isinstance(test, ast.Call) and getattr(test.func, "attr", "") in ("equal", "array_equal", "allclose", "isclose"):
        return test.args[:2]
    if isinstance(test, ast.Compare) and ast.unparse(test.left).startswith("abs("):
        test = test.left.args[0]
        return [test.left, test.right] if isinstance(test, ast.BinOp) and isinstance(test.op, ast.Sub) else []
    return []


def _text(value):
    """A value as a student reads it, with what the numbers of an array do not say."""
    try:
        text = " ".join(repr(value).split())
    except Exception as error:  # whatever the student made
        return f"a {type(value).__name__} that cannot be shown: {type(error).__name__}"
    if isinstance(value, (torch.Tensor, np.ndarray)):
        text = f"{str(value.dtype).removeprefix('torch.')}, shape {tuple(value.shape)}: {text}"
    return text if len(text) <= LENGTH else f"{text[:LENGTH]} ..."


def _grid(value):
    """A tensor, array or list of numbers as float64 (rows, columns); None for what is no array, or too large to draw."""
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
    except Exception:  # lists of several lengths, complex objects, whatever the student made
        return None
    if array.dtype.kind not in "bifu" or array.size < 2:
        return None
    array = array.reshape(len(array) if array.ndim > 1 else 1, -1).astype(float)
    return array if max(array.shape) <= WIDE else None


def _pictures(expected, got):
    """((caption, PNG), ...) of what was expected, what came, and where they differ; () where they cannot be drawn."""
    grids = _grid(expected), _grid(got)
    if any(grid is None for grid in grids) or grids[0].shape != grids[1].shape:
        return ()
    wrong, both = ~np.isclose(*grids, equal_nan=True), np.stack(grids)
    finite = both[np.isfinite(both)]
    if not wrong.any() or not finite.size:
        return ()
    if np.isin(both, (0, 1)).all():
        images = list(np.where(both[..., None] == 1, BLUE, GREY))
        said = [f"{grid.sum():.0f} of {grid.size} are 1 (blue)" for grid in grids]
    else:
        low, high = finite.min(), finite.max()
        images = list(colormaps["cividis"]((both - low) / ((high - low) or 1), bytes=True))
        said = [f"{low:.4g} is dark, {high:.4g} bright"] * 2
    images.append(np.where(wrong[..., None], VERMILLION, GREY))
    said.append(f"{wrong.sum()} of {wrong.size} (orange)")
    return tuple(
        (f"{name}: {text}", _png(image)) for name, text, image in zip(("expected", "yours", "difference"), said, images)
    )


def _png(image):
    """The PNG of RGBA values (rows, columns, 4), a square each, with clear lines between squares that are large enough."""
    side = max(3, min(16, 160 // max(image.shape[:2])))
    squares = image.astype(np.uint8).repeat(side, 0).repeat(side, 1)
    if side > 4:
        squares[::side, :, 3] = squares[:, ::side, 3] = 0
    data = io.BytesIO()
    Image.fromarray(squares).save(data, "PNG")
    return data.getvalue()
