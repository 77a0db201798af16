"""`tinyshrink mine`: the student's own tinyshrink, made from their notebooks, and the test suite and benchmarks run on it.

build/mine/tinyshrink is a copy of the package in which each solved exercise stands as the student wrote it, with the
functions and imports of the notebook that it needs. An exercise that is not solved, or breaks the package, or does not come
to an end, is the reference's there, and is named.
"""

import ast
import builtins
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import symtable
import sys
import time
from dataclasses import dataclass, field

from IPython.core.inputtransformer2 import TransformerManager
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

import build
from grader import repair
from tinyshrink.progress import STUB

OUT = build.ROOT / "build" / "mine"
TOOLS = "|".join(["grader", "hostile", "results", *(path.stem for path in (build.ROOT / "grading").glob("*.py"))])
BENCHMARK_SECONDS = 1800
BENCHMARKS = ("digits_pruning.py --seeds 1", "global_masks.py --repeats 3")
PROJECT = """[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "tinyshrink"
version = "{version}+mine"
dependencies = {needs}
scripts = {{tinyshrink = "tinyshrink.cli:app"}}

[tool.setuptools]
packages.find.include = ["tinyshrink*"]
package-data = {{"*" = ["*.html", "*.css", "*.js"]}}
"""


class MineError(ValueError):
    """What cannot be built or tested; the message says why and how to mend it."""


@dataclass
class Exercise:
    """One function of the package that a student writes; `kept` says why the reference stands in its place."""

    lesson: str
    name: str  # such as magnitude.magnitude_mask
    tests: set[str]  # of its check cell, such as tests/test_magnitude.py::test_mask_keeps_the_largest_scores
    kept: str = ""
    parts: dict[str, str] = field(default_factory=dict)  # name -> the student's code, the function itself last
    lines: range = range(0)  # where that stands in the overlaid file

    @property
    def path(self):
        """Its file, relative to the package."""
        return build.package_file(self.name)[0].relative_to(build.PACKAGE)

    @property
    def function(self):
        return self.name.rsplit(".")[-1]


def definitions(source, module=""):
    """{name: (code, what it is called everywhere)} of the functions, classes, imports and variables at a text's top level."""
    found = {}
    for node in ast.parse(source).body:
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            name = alias.asname or alias.name
            one, target = ast.Import([alias]), alias.name
            if isinstance(node, ast.ImportFrom):
                one = ast.ImportFrom(node.module, [alias], node.level)
                origin = "." * node.level + (node.module or "")
                target = f"{importlib.util.resolve_name(origin, module.rpartition('.')[0])}.{alias.name}"
            elif not alias.asname:
                name = target = name.split(".")[0]
            found[name] = ast.unparse(one), target
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            code = build.lines_of(source, first_line(node), node.end_lineno)
            found |= {name: (code, f"{module}.{name}") for name in repair.bound(code)}
    return found


def needed(code):
    """Names that a piece of code takes from the notebook around it."""
    names, tables = set(), [symtable.symtable(code, "<cell>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        outside = table.get_type() == "module"
        names |= {one.get_name() for one in table.get_symbols() if one.is_referenced() and (outside or one.is_global())}
    return names


def first_line(node):
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def answers(path):
    """(definitions of a whole notebook, {grade_id: source of a solution cell}, {grade_id: why it cannot be used})."""
    try:
        cells = repair.submitted_cells(path.read_bytes())
    except (OSError, repair.Malformed) as error:
        raise MineError(f"{path} cannot be read: {error}. Take a fresh copy, and your answers from a backup") from error
    known, solved, broken = {}, {}, {}
    for cell in cells:
        grade_id = cell["grade_id"]
        if cell["type"] != "code" or grade_id.startswith("check_"):
            continue
        try:
            source = TransformerManager().transform_cell(cell["source"])
            found = definitions(source)
        except (SyntaxError, ValueError, ImportError, RecursionError) as error:
            broken[grade_id] = f"your cell is no Python: {error}"
            continue
        known |= {
            name: (code, target)
            for name, (code, target) in found.items()
            if code.startswith(("def ", "class ", "import ", "from ", "@", "async ")) or needed(code) <= set(dir(builtins))
        }
        if STUB not in source or grade_id not in solved:  # of a copied cell, the one that is filled in
            solved[grade_id] = source
    return known, solved, broken


def collect(exercise, cell, notebook, others, module, package):
    """Fill in the `parts` of an exercise, or why it is `kept`.

    `others` are how to import the exercises of the notebook, `package` the definitions of the exercise's `module`.
    """
    known, solved, broken = notebook
    own = definitions(solved.get(cell, ""))
    own = {name: what for name, what in own.items() if name == exercise.function or name not in others}
    if cell in broken and cell not in solved:
        exercise.kept = broken[cell]
    elif exercise.function not in own:
        exercise.kept = "your notebook does not define it"
    elif STUB in own[exercise.function][0]:
        exercise.kept = "not solved yet"
    if exercise.kept:
        return
    found = known | others | own
    parts, wanted = {exercise.function: own[exercise.function][0]}, [exercise.function]
    while wanted:
        for name in sorted(needed(found[wanted.pop()][0]) & set(found) - set(parts)):
            code, target = found[name]
            if name not in package:
                parts[name] = code
                wanted.append(name)
            elif name in own and target != package[name][1]:
                exercise.kept = f"its {name} has the name of something else in {module}: call yours otherwise"
                return
    exercise.parts = {name: parts[name] for name in found if name in parts}  # in the notebook's order
    exercise.parts[exercise.function] = exercise.parts.pop(exercise.function)


def overlay(path, exercises):
    """The text of a package file with the students' code of `exercises` in it; notes where each stands."""
    text = path.read_text(encoding="utf-8")
    made, late, end, placed = [], [], 0, set()
    for node in ast.parse(text).body:
        exercise = next((one for one in exercises if one.function == getattr(node, "name", None) and not one.kept), None)
        if exercise is None:
            continue
        made += text.splitlines()[end : first_line(node) - 1]
        start = len(made) + 1
        for name, code in exercise.parts.items():
            if code in placed:
                continue
            placed.add(code)
            if code.startswith(("from tinyshrink", "import tinyshrink")):
                late.append(code)  # modules of the package may import each other: when this runs, they are complete
            else:
                made += [*code.splitlines(), *([] if name == exercise.function else ["", ""])]
        exercise.lines = range(start, len(made) + 1)
        end = node.end_lineno
    return "\n".join([*made, *text.splitlines()[end:], *late]) + "\n"


def write(exercises):
    """Write build/mine: the package with the exercises in it, and what pip needs to install it."""
    shutil.rmtree(OUT / "tinyshrink", ignore_errors=True)
    shutil.copytree(build.PACKAGE, OUT / "tinyshrink", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(build.ROOT / "datasets", OUT.parent / "datasets", dirs_exist_ok=True)  # where a package looks for them
    for path in {exercise.path for exercise in exercises}:
        text = overlay(build.PACKAGE / path, [exercise for exercise in exercises if exercise.path == path])
        build.write(OUT / "tinyshrink" / path, text)
    needs = [need for need in importlib.metadata.requires("tinyshrink") or [] if "extra ==" not in need]
    build.write(
        OUT / "pyproject.toml", PROJECT.format(version=importlib.metadata.version("tinyshrink"), needs=json.dumps(needs))
    )


def read(notebooks):
    """The exercises of the lessons that there are notebooks of, and a line for each notebook that cannot be read."""
    exercises, troubles = [], []
    names = [path.stem for path in notebooks]
    for lesson in build.lessons():
        if lesson.stem not in names:
            continue
        try:
            notebook = answers(notebooks[names.index(lesson.stem)])
        except MineError as error:
            troubles.append(str(error))
            continue
        found = build.exercises(lesson)
        for _, tests in found.values():
            tests[:] = [f"{path.relative_to(build.ROOT).as_posix()}::{test}" for path, test in tests]
        others = {}
        for name in found:
            module, _, function = f"tinyshrink.{name}".rpartition(".")
            others[function] = f"from {module} import {function}", f"{module}.{function}"
        for name, (cell, tests) in found.items():
            exercises.append(exercise := Exercise(lesson.stem, name, set(tests)))
            module = f"tinyshrink.{name}".rpartition(".")[0]
            package = definitions(build.package_file(name)[0].read_text(encoding="utf-8"), module)
            collect(exercise, cell, notebook, others, module, package)
    return exercises, troubles


def test_files(exercises, whole):
    """The files with the checks of `exercises`; the `whole` suite is all that need no tool of the course, pip or browser."""
    if not whole:
        return sorted({test.split("::")[0] for exercise in exercises for test in exercise.tests})
    files = [path for folder in (build.ROOT / "tests", build.ROOT / "tests" / "hidden") for path in folder.glob("test_*.py")]
    tools = re.compile(rf"^(from|import) ({TOOLS})\b|\bchromium\b|\bbrowser\b|\"pip\"", flags=re.MULTILINE)
    return sorted(str(path.relative_to(build.ROOT)) for path in files if not tools.search(path.read_text(encoding="utf-8")))


def run(exercises, files, limit, on_line):
    """Run tests on what `write` wrote; returns [{"test", "outcome", "message", "at"}].

    A test that does not end within `limit` seconds or crashes Python, or a file that cannot be loaded, brings the reference
    back in the place of the exercise that was running; then the run goes on.
    """
    log, traceback = OUT / "tests.jsonl", OUT / "traceback.txt"
    log.unlink(missing_ok=True)
    paths = os.pathsep.join([str(OUT), str(build.ROOT / "grading")])
    environment = os.environ | {"TINYSHRINK_MINE": str(OUT), "TINYSHRINK_LIMIT": str(limit), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "pytest", "-p", "watchdog", "-p", "no:cacheprovider", "-W", "ignore", *files]
    results, seen, ended = [], 0, False
    while not ended:
        with open(OUT / "pytest.txt", "w", encoding="utf-8") as output:
            process = subprocess.Popen(command, cwd=build.ROOT, env=environment, stdout=output, stderr=output)
        begun, new, over = None, [], False
        try:
            while not over:
                time.sleep(0.2)
                over = process.poll() is not None
                text = log.read_text(encoding="utf-8") if log.exists() else ""
                lines = text[: text.rfind("\n") + 1].splitlines()
                for line in map(json.loads, lines[seen:]):
                    begun, ended = line.get("begun", begun), line.get("end", ended)
                    if line.get("package") not in (None, str((OUT / "tinyshrink").resolve())):
                        raise MineError(f"the tests import {line['package']}, not {OUT / 'tinyshrink'}")
                    if "test" in line:
                        begun = None
                        new.append(line)
                    on_line(line)
                seen = len(lines)
        finally:
            process.kill()
        if begun is not None and not ended:
            frames = re.findall(r'File "(.+?)", line (\d+) in', traceback.read_text(encoding="utf-8"))[::-1]
            message = f"does not end within {limit:g} seconds" if frames else "crashes Python"
            new.append({"test": begun, "outcome": "failed", "message": message, "frames": frames})
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(new[-1]) + "\n")
            seen += 1
        elif not ended:
            raise MineError(f"pytest ended before its time: {OUT / 'pytest.txt'} says why")
        struck = False
        for result in new:
            loading = "::" not in result["test"]
            if loading:
                result["frames"] = re.findall(r"^(\S.*?\.py):(\d+): in ", result["message"], flags=re.MULTILINE)
                result["message"] = "cannot be loaded: " + result["message"].strip().splitlines()[-1].removeprefix("E").strip()
            result["at"] = at = running(exercises, result["frames"])
            if (loading or (result is new[-1] and not ended)) and at and not at[-1].kept:
                at[-1].kept = f"{result['test'].split('::')[-1]} {result['message']}"
                struck = True
        if struck:
            write(exercises)
            ended = False
        elif not ended and loading:
            raise MineError(f"{new[-1]['test']} {new[-1]['message']}: {OUT / 'pytest.txt'} says where")
        results += [result for result in new if "::" in result["test"] or not struck]
    return results


def running(exercises, frames):
    """The exercises whose code stands in these frames, [(path, line)], the innermost last."""
    found = []
    for path, line in frames:
        path = (build.ROOT / path).resolve()
        found += [one for one in exercises if int(line) in one.lines and path == (OUT / "tinyshrink" / one.path).resolve()]
    return found


def blame(result, exercises):
    """The exercises that a failed test tells of: whose check it is, whose code it broke in, or whose name it calls."""
    test = result["test"].partition("[")[0]
    yours = [exercise for exercise in exercises if exercise.parts]
    found = [exercise for exercise in yours if test in exercise.tests] or result["at"][-1:]
    if not found:
        path, _, name = test.partition("::")
        try:
            source = build.source_of(build.ROOT / path, name)
        except build.LessonError:
            source = ""
        found = [exercise for exercise in yours if re.search(rf"\b{exercise.function}\b", source)]
    return found


def main(console, notebooks, whole, limit, bench):
    """Build, test and report; returns whether all tests passed (and the benchmarks ran)."""
    exercises, troubles = read(notebooks)
    try:
        write(exercises)
    except OSError as error:
        raise MineError(f"{OUT} cannot be written ({error.strerror}): it needs a folder that is yours") from error
    files = test_files(exercises, whole)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("loading the tests", total=None)

        def on_line(line):
            if "collected" in line:
                progress.update(task, total=line["collected"], completed=0)
            elif "begun" in line:
                progress.update(task, description=escape(line["begun"].split("::")[-1][:60]))
            elif "test" in line:
                progress.advance(task)

        results = run(exercises, files, limit, on_line)
    failed = [result for result in results if result["outcome"] == "failed"]
    told = {result["test"]: blame(result, exercises) for result in failed}
    suspects = [exercise for exercise in exercises if any(test.partition("[")[0] in exercise.tests for test in told)]
    table = Table("module", "exercise", "whose", "tests", "failing tests", title="Your tinyshrink")
    for exercise in exercises:
        mine = {result["test"] for result in results if result["test"].partition("[")[0] in exercise.tests}
        wrong = [test.split("::")[-1] for test, names in told.items() if exercise in names]
        passed = f"{len(mine - set(told))} of {len(mine)}"
        style = "red" if wrong else "yellow" if exercise.kept else "green"
        whose = f"the reference: {exercise.kept}" if exercise.kept else "yours"
        table.add_row(exercise.lesson, exercise.function, escape(whose), passed, escape("\n".join(wrong)), style=style)
    console.print(table)
    for line in troubles:
        console.print(line, style="yellow", markup=False, highlight=False)
    for result in failed:
        names = [exercise.function for exercise in told[result["test"]]]
        guess = [exercise.function for exercise in suspects]
        who = ", ".join(names) or (f"perhaps {', '.join(guess)}" if guess else "none of yours by name")
        console.print(f"{result['test']} ({who}): {result['message'][:300]}", markup=False, highlight=False)
    yours = sum(not exercise.kept for exercise in exercises)
    counts = f"{sum(result['outcome'] == 'passed' for result in results)} tests passed, {len(failed)} failed"
    console.print(f"{yours} of {len(exercises)} exercises are yours. {counts} on it.", highlight=False)
    console.print(f"To use it: put {OUT} on PYTHONPATH, or pip install {OUT}; then import tinyshrink.", highlight=False)
    slow = [command for command in BENCHMARKS if bench and not benchmark(console, command)]
    return not failed and not slow


def benchmark(console, command):
    """Run one benchmark on what `write` wrote; whether it ran to its end."""
    console.print(f"python benchmarks/{command}", style="bold", highlight=False)
    name, *options = command.split()
    try:
        environment = os.environ | {"PYTHONPATH": str(OUT), "TQDM_DISABLE": "1"}
        arguments = [sys.executable, str(build.ROOT / "benchmarks" / name), *options]
        return not subprocess.run(arguments, cwd=build.ROOT, env=environment, timeout=BENCHMARK_SECONDS).returncode
    except subprocess.TimeoutExpired:
        console.print(f"{name} did not end within {BENCHMARK_SECONDS} seconds", style="red", highlight=False)
        return False
