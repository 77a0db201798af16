"""benchmarks/results.json: what was measured, a row for each claim; README's table and the web site's are drawn from it.

    python benchmarks/results.py        draw README's table anew, between its two markers

A row of "rows" has

    claim     what was measured, in words; no two rows have the same
    module    the module of the course that it belongs to, such as "02_magnitude", or "grading"
    measured  the number, in `unit`: "pp" (percentage points of accuracy), "%", "x" (times as fast or as small), "s", ...
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
              so on; docstrings, comments, annotations and layout do not count. Null where the number was taken over from an
              older README. A row is stale when this is no longer the hash of these files
"""

import argparse
import ast
import functools
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from tinyshrink import files

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "results.json"
MARKERS = "<!-- benchmarks: drawn by python benchmarks/results.py -->", "<!-- end of benchmarks -->"
LEGEND = "**stale** (commit): measured there; what the command runs has changed since, or was not recorded."
STARTED = time.time()
SILENT = {"annotation", "returns", "type_params", "type_comment", "kind", "ctx"}
COMMANDS = {  # of `make bench`, with minutes on two quiet cores
    "digits_pruning.py": 4,
    "mnist_pruning.py": 15,
    "lottery_ticket.py": 12,
    "cifar10_pruning.py": 10,
    "global_masks.py": 1,
    "channel_zoo.py": 2,
    "channels.py digits": 4,
    "channels.py lenet5 --seeds 2": 10,
    "channels.py cifar10": 60,
    "transformer_layers.py --seeds 2": 4,
    "distillation_few_labels.py digits": 4,
    "distillation_few_labels.py mnist": 15,
    "distillation_stages.py": 4,
    "distillation_cifar10.py": 40,
    "lowrank_svd.py": 2,
    "lowrank_mnist.py": 10,
    "lowrank_cifar10.py": 10,
    "sparse_kernels.py products": 2,
    "sparse_kernels.py convolutions": 1,
    "sparse_kernels.py models": 2,
    "quantization_int8.py": 10,
    "deep_compression.py": 20,
    "deep_compression_cifar10.py": 20,
    "tiny_lenet.py --seeds 1": 60,
    "huffman.py": 1,
    "fuzz_packing.py": 10,
    "allocation.py digits": 5,
    "allocation.py cifar10": 12,
    "greedy_selection.py": 4,
    "exploration.py --jobs 2": 1,
    "adaptive_search.py digits": 20,
    "adaptive_search.py cifar10 --algorithm magnitude_sparsity": 120,
    "pipeline.py digits": 10,
    "pipeline.py cifar10": 30,
    "onnx_export.py": 3,
    "picture.py": 6,
    "architecture_search.py": 15,
    "grading.py rate": 12,
    "grading.py thousand": 30,
    "grading.py kill": 8,
    "grading.py writer": 1,
    "grading.py where": 1,
    "grading.py catalogue": 6,
    "grading.py hostile": 6,
    "mutants.py": 5,
}


def row(claim, measured, unit, *, half=None, most=None, least=None, met=None, anchor=None, ratio=None, seeds=None, note="",
        detail=False):  # fmt: skip
    """A row for `record`. `measured` is a number, or a list with the result of each run, which gives the interval (`half`) too.

    With the units "pp" and "%", `measured`, `half` and the target (`most` or `least`) are fractions, and are written times 100.
    `met` is for a promise that is more than measured <= most or measured >= least.
    """
    from intervals import interval  # scipy, which drawing does without

    scale = 100 if unit in ("pp", "%") else 1
    middle, half = interval(measured) if isinstance(measured, (list, tuple)) else (float(measured), half)
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
    command = called()
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


def called():
    """The command of this process, as COMMANDS has it."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def add(rows):
    """Write rows, all of one command, into results.json in the place of the rows of this command and of these claims."""
    claims, order = {one["claim"] for one in rows}, {f"python benchmarks/{command}": i for i, command in enumerate(COMMANDS)}
    others = [one for one in load() if one["claim"] not in claims and one["command"] != rows[0]["command"]]
    everything = sorted(others + rows, key=lambda one: (one["module"], order.get(one["command"], len(order))))
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
        name = (re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8")) or [name])[0]
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, torch {torch.__version__}"


def commit():
    """HEAD, with a + if there are changes that are not committed; "unknown" without git."""
    try:
        git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return git("rev-parse", "--short", "HEAD").strip() + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def text_of(path):
    """What a file computes, as text: its syntax without docstrings, annotations, imports, and what it hands to this module."""
    return json.dumps(plain(ast.parse(path.read_text(encoding="utf-8"))))


def plain(node):
    """A piece of syntax as nested lists that are the same in every version of Python."""
    if isinstance(node, list):
        return [plain(one) for one in node if not silent(one)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in SILENT and value not in (None, []))
    return [type(node).__name__, *([name, plain(value)] for name, value in fields)]


def silent(node):
    """Whether a statement changes no result: a docstring, an import (whose file counts itself), rows for results.json."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    value = getattr(node, "value", None) if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign)) else None
    text = isinstance(value, ast.Constant) and isinstance(value.value, str) and isinstance(node, ast.Expr)
    return text or (value is not None and re.search(r"\bresults\.(row|record)\(", ast.unparse(value)) is not None)


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
    more.append(f"**stale** ({one['commit']})" if stale(one) else "")
    return "; ".join(filter(None, [text, *more]))


def target(one):
    if one["target"] is None:
        return ""
    unit = one["unit"] if one["unit"] in ("x", "%") else f" {one['unit']}"
    return f"{one['bound']} {one['target']:g}{unit}: {'met' if one['met'] else '**missed**'}"


def readme(text):
    """README's text with the table of today between the markers; a row that is a detail is left out if its target is met."""
    lines, before = ["| claim | measured | target | command |", "|---|---|---|---|"], None
    for one in load():
        if one["met"] and one["detail"]:
            continue
        command = "the same" if one["command"] == before else f"`{one['command']}`"
        cells = one["claim"], measured(one), target(one), command
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        before = one["command"]
    start, end = (text.index(marker) for marker in MARKERS)
    return "\n".join(
        [text[:start] + MARKERS[0], "", f"{LEGEND} All rows: `benchmarks/results.json`.", "", *lines, "", text[end:]]
    )


def draw():
    """Write README's table."""
    path = ROOT / "README.md"
    with files.whole(path) as part:
        part.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")


if called() in COMMANDS:
    code(called())  # kept: of the files as they are now, whatever changes until the rows are written

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    draw()
