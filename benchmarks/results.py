"""benchmarks/results.json: what was measured, a row for each claim; and the tables drawn from it.

    python benchmarks/results.py                 draw README's table anew (between its two markers)
    python benchmarks/results.py --page FILE     all rows, with every column, as a Markdown page

A row of "rows" has

    claim     what was measured, in words; no two rows have the same
    module    the module of the course that it belongs to, such as "02_magnitude", or "grading"
    measured  the number, in `unit`: "pp" (percentage points of accuracy), "%", "x" (times as fast or as small), "s", "MB/s", ...
    interval  half the width of its 95% interval, in the same unit; null where it was measured once
    target    what was promised before it was measured, in the same unit, with `bound`, "at least" or "at most"; both null
              where nothing was promised: the number is a finding
    met       true or false: the number keeps the promise. A finding promised nothing, so it is true there: whoever counts kept
              promises counts the rows with a target
    anchor    what it is held against: the dense network, a peer measured in the same run, a published figure; or null
    ratio     measured over the anchor's number, or null where the two are not numbers of one kind
    command   what printed it, from the root of the project: run it again
    seeds, note, detail          number of seeds or null; remarks; true for a row that README leaves out
    machine, date, seconds       where and when the command ended, and how long it took
    trained   null, or the time of the oldest state that the run went on from instead of training again
    commit    HEAD when it was measured, with a "+" if the tree had changes that were not committed
    code      the hash of what the command runs: its file, all that this imports from benchmarks/, grading/ and tinyshrink, and
              so on; docstrings and comments do not count. Null where the number was taken over from an older README.

A row is stale when `code` is no longer the hash of these files; it says which commit it was measured at.
"""

import argparse
import ast
import functools
import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import time
import tokenize
from pathlib import Path

from tinyshrink import files

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "results.json"
MARKERS = "<!-- benchmarks: drawn by python benchmarks/results.py -->", "<!-- end of benchmarks -->"
STARTED = time.time()
COMMANDS = {  # of `make bench`, with minutes on two quiet cores
    "global_masks.py": 1,
}


def row(claim, measured, unit, *, most=None, least=None, met=None, anchor=None, ratio=None, seeds=None, note="", detail=False):
    """A row for `record`. `measured` is a number, or a list with the result of each run (see intervals.interval).

    With the units "pp" and "%", `measured` and the target (`most` or `least`) are fractions, and are written times 100.
    `met` is for a promise that is more than measured <= most or measured >= least.
    """
    from intervals import interval  # scipy, which drawing does without

    scale = 100 if unit in ("pp", "%") else 1
    middle, half = interval(measured) if isinstance(measured, (list, tuple)) else (float(measured), float("nan"))
    target = least if most is None else most
    if met is None:
        met = target is None or (middle >= target if most is None else middle <= target)
    rounded = lambda number: None if number is None or number != number else float(f"{scale * number:.6g}")
    return {
        "claim": claim, "measured": rounded(middle), "interval": rounded(half), "unit": unit, "target": rounded(target),
        "bound": None if target is None else "at least" if most is None else "at most", "met": bool(met), "anchor": anchor,
        "ratio": float(f"{ratio:.4g}") if ratio is not None else rounded(middle) if unit == "x" and anchor else None,
        "seeds": seeds, "note": note, "detail": detail,
    }  # fmt: skip


def record(module, rows, states=()):
    """Put the rows of this process's command in the place of those that it had; nothing for a command that COMMANDS has not.

    `states` are the files with trained states that the command left, of this run or of an earlier one.
    """
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if command not in COMMANDS:
        print(f"Not recorded: make bench runs {Path(sys.argv[0]).name} with other options")
        return
    trained = min((path.stat().st_mtime for path in states), default=STARTED)
    facts = {
        "module": module,
        "command": f"python benchmarks/{command}",
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "seconds": round(time.time() - STARTED),
        "trained": time.strftime("%Y-%m-%d %H:%M", time.localtime(trained)) if trained < STARTED else None,
        "commit": commit(),
        "code": code(command),
    }
    add([one | facts for one in rows])


def add(rows):
    """Write rows, all of one command, into results.json in the place of the rows of this command and of these claims."""
    claims = {one["claim"] for one in rows}
    others = [one for one in load() if one["claim"] not in claims and one["command"] != rows[0]["command"]]
    everything = sorted(others + rows, key=lambda one: one["module"])
    text = json.dumps({"about": "see benchmarks/results.py", "rows": everything}, indent=1, ensure_ascii=False)
    with files.whole(FILE) as part:
        part.write_text(text + "\n", encoding="utf-8")


def load():
    """The rows."""
    return json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []


def machine():
    """Processor, cores, operating system and torch, as text."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        name = next(re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[:1].__iter__(), name)
    return f"{name}, {torch.get_num_threads()} threads, {platform.system()}, torch {torch.__version__}"


def commit():
    """HEAD, with a + if there are changes that are not committed; "unknown" without git."""
    try:
        git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return git("rev-parse", "--short", "HEAD").strip() + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def text_of(path):
    """The source of a file without docstrings, comments, blank lines and what it hands to this module."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            number, column = token.start
            lines[number - 1] = lines[number - 1][:column]
    for node in ast.walk(ast.parse(source)):
        reports = isinstance(node, ast.Expr) and ast.unparse(node).startswith("results.record(")
        imports = isinstance(node, ast.Import) and node.names[0].name == "results"
        start = node if reports or imports else None
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node):
            start = node.body[0]
        if start:
            lines[start.lineno - 1 : start.end_lineno] = [""] * (start.end_lineno - start.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


@functools.cache
def imported(path):
    """The files of benchmarks/, grading/ and tinyshrink that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names, folders = [alias.name for alias in node.names], [None]
        elif isinstance(node, ast.ImportFrom):
            start = f"{node.module}." if node.module else ""
            names = [f"{start}{alias.name}" for alias in node.names] + [node.module or ""]
            folders = [path.parents[node.level - 1] if node.level else None]
        else:
            continue
        for name in filter(None, names):
            for folder in [folders[0]] if folders[0] else [ROOT / "benchmarks", ROOT / "grading", ROOT / "solutions"]:
                place = folder / name.replace(".", "/")
                found |= {one for one in (place.with_suffix(".py"), place / "__init__.py") if one.exists()}
    return found - {Path(__file__).resolve(), ROOT / "solutions" / "tinyshrink" / "__init__.py"}


@functools.cache
def code(command):
    """The hash of all that a command of COMMANDS runs."""
    seen, waiting = set(), {ROOT / "benchmarks" / command.split()[0]}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= imported(path) - seen
    parts = (f"{path.relative_to(ROOT).as_posix()}\n{text_of(path)}\n" for path in sorted(seen))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]


def stale(one):
    """Whether what a row's command runs has changed since it was measured."""
    return one["code"] != code(one["command"].removeprefix("python benchmarks/"))


def number(value, unit):
    """A measured number as text, with its unit."""
    shown = f"{value:+.2f}" if unit == "pp" else f"{value:.2f}" if unit == "%" else f"{value:,.0f}"
    if unit not in ("pp", "%") and abs(value) < 100 and value != int(value):
        shown = f"{value:.3g}"
    return f"{shown}{unit if unit in ('x', '%') else f' {unit}'}"


def measured(one):
    """The cell "measured" of a row."""
    text = number(one["measured"], one["unit"])
    if one["interval"] is not None:
        half = number(one["interval"], one["unit"]).lstrip("+")
        text = f"{text.removesuffix(one['unit']).rstrip()} ± {half}"
    more = [f"{one['seeds']} seeds" if one["seeds"] and one["seeds"] > 1 else "", one["note"]]
    more.append(f"**stale**: measured at {one['commit']}, code has changed since" if stale(one) else "")
    return "; ".join(filter(None, [text, *more]))


def target(one):
    if one["target"] is None:
        return ""
    return f"{one['bound']} {number(one['target'], one['unit']).lstrip('+')}: {'met' if one['met'] else '**missed**'}"


def table(rows, columns):
    """Rows as a Markdown table; `columns` is {title: function of a row}."""
    cells = [list(columns), ["---"] * len(columns), *([show(one) for show in columns.values()] for one in rows)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells)


SHORT = {
    "claim": lambda one: one["claim"],
    "measured": measured,
    "target": target,
    "command": lambda one: f"`{one['command']}`",
}
LONG = {"module": lambda one: one["module"], **SHORT} | {
    "against": lambda one: one["anchor"] or "",
    "ratio": lambda one: "" if one["ratio"] is None else f"{one['ratio']:.3g}",
    "commit": lambda one: one["commit"],
    "date": lambda one: one["date"],
    "machine": lambda one: one["machine"],
}


def readme(text):
    """README's text with the table of today between the markers."""
    start, end = (text.index(marker) for marker in MARKERS)
    drawn = table([one for one in load() if not one["detail"]], SHORT)
    return f"{text[:start]}{MARKERS[0]}\n\n{drawn}\n\n{text[end:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="write all rows there, instead of README's table")
    path = parser.parse_args().page
    if path:
        text = f"# What was measured\n\n{table(load(), LONG)}\n"
    else:
        path = ROOT / "README.md"
        text = readme(path.read_text(encoding="utf-8"))
    with files.whole(path) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
