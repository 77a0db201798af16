"""Check the checks: every wrong solution of the catalogue must fail, every right one must get full marks.

    python grading/catalogue.py [MODULE ...]        such as magnitude; all by default; exit 1 where a check errs

solutions_catalogue/<module>/<function>.py holds whole functions called wrong_... and right_.... The docstring of a wrong one
starts with "Fails test_...: ", the check that must reject it. Each takes the place of <module>.<function> of the package,
as a student's would, and the checks that a lesson has for that exercise are run on it.
"""

import argparse
import importlib
import importlib.util
import inspect
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.optim import optimizer as torch_optimizer

import build

CATALOGUE = Path(__file__).resolve().parent / "solutions_catalogue"


@dataclass
class Verdict:
    """One solution under all the checks of its exercise; `failed` maps the name of a check to what it said."""

    exercise: str
    name: str
    must_fail: str | None
    failed: dict[str, str]

    @property
    def ok(self):
        return self.must_fail in self.failed if self.must_fail else not self.failed


@cache
def checks():
    """{"module.function": [test functions]} of every exercise of every lesson, visible and hidden ones."""
    found = {}
    for lesson in build.lessons():
        for exercise, (_, tests) in build.exercises(lesson).items():
            found[exercise] = [getattr(_load(path), name) for path, name in tests]
    return found


@cache
def _load(path):
    """The module of a Python file, under a name of its own (tests/ and tests/hidden/ have files of the same name)."""
    spec = importlib.util.spec_from_file_location("_".join(path.relative_to(build.ROOT).with_suffix("").parts), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exercises(modules=()):
    """The catalogue's exercises as ("module.function", path), those of `modules` only where some are given."""
    found = []
    for path in sorted(CATALOGUE.glob("*/*.py")):
        if not modules or path.parent.name in modules:
            folder = path.parent.name  # channel_plan is a module, sparse_kernels would be the module kernels of sparse
            module = folder if (build.PACKAGE / f"{folder}.py").exists() else folder.replace("_", ".")
            found.append((f"{module}.{path.stem}", path))
    return found


def solutions(path):
    """{name: (function, the check that must fail or None)} of a catalogue file."""
    found = {}
    for name, function in vars(_load(path)).items():
        if not name.startswith(("wrong_", "right_")):
            continue
        first_line = (inspect.getdoc(function) or "").split("\n")[0]
        must_fail = first_line.removeprefix("Fails ").split(":")[0] if first_line.startswith("Fails test_") else None
        if name.startswith("wrong_") != bool(must_fail):
            raise ValueError(f'{path.name}: {name} needs a docstring that starts with "Fails test_...: " if it is wrong')
        found[name] = (function, must_fail)
    return found


def judge(exercise, name, function, must_fail, tests=None):
    """Run all checks of an exercise, or only `tests` of them, with `function` plugged in."""
    module_name, function_name = exercise.rsplit(".", 1)
    module = importlib.import_module(f"tinyshrink.{module_name}")
    reference = getattr(module, function_name)
    failed = {}
    setattr(module, function_name, function)
    try:
        for test in tests or checks()[exercise]:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a warning is no wrong answer, as in nbgrader
                    test()
            except Exception as error:  # whatever a wrong solution raises, its check has failed
                failed[test.__name__] = f"{type(error).__name__}: {error}"
    finally:
        setattr(module, function_name, reference)
        torch_optimizer._global_optimizer_post_hooks.clear()  # a wrong solution may have left its masks held
    return Verdict(exercise, name, must_fail, failed)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*")
    modules, known = parser.parse_args(arguments).modules, sorted({path.parent.name for _, path in exercises()})
    if unknown := [name for name in modules if name not in known]:
        parser.error(f"no module of the catalogue is called {unknown[0]!r}: expected some of {', '.join(known)}")
    chosen = exercises(modules)
    console = Console()
    table = Table("exercise", "wrong, rejected", "right, accepted", title="The catalogue of solutions")
    errors, judged = [], []
    for exercise, path in track(chosen, description="checking the checks", console=console, transient=True):
        verdicts = [judge(exercise, name, *solution) for name, solution in solutions(path).items()]
        judged += verdicts
        wrong = [verdict for verdict in verdicts if verdict.must_fail]
        right = [verdict for verdict in verdicts if not verdict.must_fail]
        errors += [verdict for verdict in verdicts if not verdict.ok]
        table.add_row(exercise, *(f"{sum(v.ok for v in group)} of {len(group)}" for group in (wrong, right)))
    console.print(table)
    for kind, group in (
        ("wrong solutions rejected", [verdict for verdict in judged if verdict.must_fail]),
        ("right solutions accepted", [verdict for verdict in judged if not verdict.must_fail]),
    ):
        console.print(f"{kind}: {sum(verdict.ok for verdict in group)} of {len(group)}", highlight=False)
    for verdict in errors:
        expected = f"must fail {verdict.must_fail}" if verdict.must_fail else "must pass"
        console.print(f"{verdict.exercise}: {verdict.name} {expected}, failed {verdict.failed or 'nothing'}", markup=False)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
