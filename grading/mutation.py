"""Check the checks on small slips: every mutant of a reference solution must fail a check of its exercise.

    python grading/mutation.py [--module magnitude] [--sample 300 --seed 0]

A mutant is the part of a reference that a student writes with one change: a comparison, an operator, a constant off by one,
a negated condition, a dropped statement, two arguments exchanged; the wording of messages stays. Mutants that
compute the same as the reference stand in equivalent_mutants.txt, each with its reason, and count apart. Exit 1 where
another one survives.
"""

import argparse
import ast
import importlib
import os
import random
import resource
import sys
import textwrap
from collections import Counter
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import build
import catalogue

EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
MEMORY = 2 * 2**30  # bytes beyond what the imports have mapped: a loop that collects ends before the machine is full
OTHERS = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.In: [ast.NotIn], ast.NotIn: [ast.In], ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is], ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Div], ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
    ast.LShift: [ast.RShift], ast.RShift: [ast.LShift], ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
CONDITIONS = (ast.If, ast.While, ast.IfExp)
DROPPED = (ast.Expr, ast.AugAssign, ast.If, ast.Continue, ast.Break)  # without a plain assignment only a name is missing


def changes(node, given):
    """The (field, new value) that make mutants of one node; statements of the first `given` lines are not dropped."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            yield from (("ops", [*node.ops[:place], other(), *node.ops[place + 1 :]]) for other in OTHERS[type(operator)])
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)):
        yield from (("op", other()) for other in OTHERS.get(type(node.op), ()))
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield from [("value", not node.value)] if isinstance(node.value, bool) else [("value", node.value + s) for s in (1, -1)]
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") not in ("min", "max") and len(node.args) > 1:
        yield "args", [node.args[1], node.args[0], *node.args[2:]]
    if isinstance(node, CONDITIONS):
        yield "test", ast.UnaryOp(ast.Not(), node.test)
    for name in ("body", "orelse"):
        block = getattr(node, name, ())
        for place, statement in enumerate(block if isinstance(block, list) else ()):
            stores = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], (ast.Subscript, ast.Attribute))
            drops = isinstance(statement, DROPPED) and not getattr(statement, "orelse", ())
            if statement.lineno > given and (stores or drops):
                yield name, [*block[:place], ast.Pass(), *block[place + 1 :]]


def mutants(source, given=0):
    """{"line of the reference -> line of the mutant": whole source} of a function; its first `given` lines stay as they are."""
    function = ast.parse(textwrap.dedent(source)).body[0]
    if ast.get_docstring(function) is not None:
        given = max(given, function.body[0].end_lineno)
    before, found = ast.unparse(function).splitlines(), {}
    wording = {part for text in ast.walk(function) if isinstance(text, ast.JoinedStr) for part in ast.walk(text)}
    for node in ast.walk(function):
        if node in wording or (node is not function and getattr(node, "lineno", 0) <= given):
            continue
        for field, value in changes(node, given):
            kept = getattr(node, field)
            setattr(node, field, value)
            after = ast.unparse(ast.fix_missing_locations(function))
            setattr(node, field, kept)
            pairs = zip(before, after.splitlines())
            old, new = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
            if old == new:
                continue  # such as f(x, x)
            name = f"{old.strip()}  ->  {new.strip()}"
            while name in found:
                name += " (again)"
            found[name] = after
    return found


def exercise_mutants(exercise):
    """The mutants of an exercise's reference: only what stands in its solution region is changed."""
    given = build.exercise(exercise).split(build.SOLUTION[0])[0].count("\n")
    return mutants(build.source_of(*build.package_file(exercise)), given)


def passes(exercise, source):
    """Whether all checks of an exercise pass with `source` in place of its function."""
    torch.manual_seed(0)
    module, name = exercise.rsplit(".", 1)
    space = dict(vars(importlib.import_module(f"tinyshrink.{module}")))
    exec(compile(source, "<mutant>", "exec"), space)  # our own reference with one change
    tests = catalogue.checks()[exercise]
    return not any(catalogue.judge(exercise, name, space[name], None, [test]).failed for test in tests)


def attempt(exercise, source, seconds=None):
    """("survived", "killed" or "timed out", seconds of CPU) of a mutant, tried in a forked process of at most `seconds`."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
            if seconds:  # of CPU: a loaded machine makes no mutant look like a loop
                resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 0 if passes(exercise, source) else 1
        except BaseException:  # such as a default value that cannot be computed; said, for it may be our own mistake
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    spent = used.ru_utime + used.ru_stime
    if os.WIFSIGNALED(status) and seconds and spent >= seconds:
        return "timed out", spent
    return ("killed", "survived")[status == 0], spent


def reference_seconds(exercise):
    """Seconds of CPU that the checks take with the reference; where it fails no mutant can be judged."""
    outcome, seconds = attempt(exercise, build.source_of(*build.package_file(exercise)))
    if outcome != "survived":
        raise SystemExit(f"mutation: the reference of {exercise} fails its own checks here, so no mutant of it can be judged")
    return seconds


def equivalent():
    """{(exercise, name of the mutant)} of the file: a line "exercise: name", below it, indented, the reason."""
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return {tuple(line.split(": ", 1)) for line in lines if line.strip() and line[0] not in "# "}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", help="only exercises of this one, such as magnitude")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn from all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a fork has no threads but its own
    exercises = [name for name in catalogue.checks() if options.module in (None, name.rsplit(".", 1)[0])]
    if not exercises:
        parser.error(f"no exercise is in a module {options.module!r}, such as magnitude")
    chosen = [(exercise, *mutant) for exercise in exercises for mutant in exercise_mutants(exercise).items()]
    if options.sample:
        chosen = sorted(random.Random(options.seed).sample(chosen, min(options.sample, len(chosen))))
    console, harmless, seconds, counts, holes = Console(), equivalent(), {}, {}, 0
    for exercise, name, source in track(chosen, description="mutants", console=console, transient=True):
        if exercise not in seconds:
            seconds[exercise] = reference_seconds(exercise)
        outcome, _ = attempt(exercise, source, 10 * seconds[exercise] + 5)
        if outcome == "survived" and (exercise, name) in harmless:
            outcome = "equivalent"
        elif outcome == "survived":
            holes += 1
            console.print(f"{exercise}: {name}", markup=False, highlight=False, soft_wrap=True)
        counts.setdefault(exercise.rsplit(".", 1)[0], Counter())[outcome] += 1
    counts["all"] = sum(counts.values(), Counter())
    outcomes = ("killed", "timed out", "equivalent", "survived")
    table = Table("module", "mutants", *outcomes, title="Mutants of the reference solutions")
    for module, count in counts.items():
        table.add_row(module, *map(str, [count.total(), *(count[outcome] for outcome in outcomes)]))
    console.print(table)
    total = counts["all"]
    rejected = total["killed"] + total["timed out"]
    different = total.total() - total["equivalent"]
    console.print(f"mutants rejected: {rejected} of {different}, and {total['equivalent']} equivalent", highlight=False)
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
