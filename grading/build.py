"""Build the notebooks: lessons + package + tests -> source notebooks -> nbgrader -> modules/, and the solved ones.

    python grading/build.py [LESSON ...]        write what changed: grading/source/, modules/, solutions/notebooks/
    python grading/build.py --check             write nothing, fail where a committed notebook is not what would be built

The lesson's cells say by tag what to pull in: `exercise` and `show` name package objects, `check` names tests, `question`
holds its own solution region; cells without a tag, and `experiment` cells, are taken as they are (grading/README.md).
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat

from tinyshrink import files

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "solutions" / "lessons"
PACKAGE = ROOT / "solutions" / "tinyshrink"
SOLVED = ROOT / "solutions" / "notebooks"
MODULES = ROOT / "modules"
SOURCE = ROOT / "grading" / "source"

SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
PROGRESS = """# How far you are in all modules: save this notebook first, then run this cell.
from tinyshrink import progress

progress.show()"""


class LessonError(ValueError):
    """A lesson that cannot be built; the message says which cell of which lesson and why."""


def lessons(names=()):
    """The paths of the lessons called `names` (all where none is given), in order."""
    paths = sorted(LESSONS.glob("[0-9][0-9]_*.md"))
    known = [path.stem for path in paths]
    for name in names:
        if name not in known:
            raise LessonError(f"no lesson is called {name!r}: expected one of {', '.join(known)}")
    return [path for path in paths if not names or path.stem in names]


def find(path, name):
    """(file text, ast node) of the function, class or assignment `name` at the top level of the Python file `path`."""
    text = path.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        targets = getattr(node, "targets", [])
        if getattr(node, "name", None) == name or any(getattr(target, "id", None) == name for target in targets):
            return text, node
    raise LessonError(f"{path.relative_to(ROOT)} has no {name}")


def package_file(dotted):
    """(path, name) of a package object called as in "magnitude.magnitude_mask"."""
    *modules, name = dotted.split(".")
    path = PACKAGE.joinpath(*modules).with_suffix(".py")
    if not modules or not path.exists():
        raise LessonError(f"{dotted} is not in the package: expected module.name of {PACKAGE.relative_to(ROOT)}")
    return path, name


def lines_of(text, first, last):
    """Lines `first` to `last`, counted from 1, both included."""
    return "\n".join(text.splitlines()[first - 1 : last])


def source_of(path, name):
    """The source of a top-level object, decorators included."""
    text, node = find(path, name)
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return lines_of(text, first, node.end_lineno)


def exercise(dotted):
    """The source of a package function with its body, but for docstring and leading guards, as nbgrader's solution."""
    path, name = package_file(dotted)
    text, node = find(path, name)
    statements = list(node.body)
    if ast.get_docstring(node) is None:
        raise LessonError(f"{dotted} is an exercise and has no docstring to state its task")
    last_given = statements.pop(0).end_lineno
    while statements and isinstance(guard := statements[0], ast.If):
        if guard.orelse or not all(isinstance(line, ast.Raise) for line in guard.body):
            break
        last_given = statements.pop(0).end_lineno
    if not statements:
        raise LessonError(f"{dotted} has nothing left to solve after its docstring and guards")
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    body = lines_of(text, last_given + 1, node.end_lineno)
    return "\n".join([lines_of(text, first, last_given), f"    {SOLUTION[0]}", body, f"    {SOLUTION[1]}"])


def test_file(name, modules, hidden):
    """The path of the test file of one of a lesson's `modules` that has the test `name`."""
    paths = [ROOT / "tests" / ("hidden" if hidden else "") / f"test_{module.replace('.', '_')}.py" for module in modules]
    for path in paths:
        if path.exists() and re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            return path
    raise LessonError(f"no {name} in {', '.join(str(path.relative_to(ROOT)) for path in paths)}")


def check(cell, modules):
    """The source of a check cell: the tests of `modules` that it calls, and the calls with the student's function plugged."""
    plugged = cell.metadata.get("plug")
    if plugged:
        target, name = plugged.rsplit(".", 1)
    visible, hidden = [], []
    for statement in ast.parse(cell.source).body:
        call = getattr(statement, "value", None)
        if not isinstance(call, ast.Call):
            raise LessonError(f"a check cell holds calls of tests only, not {ast.unparse(statement)!r}")
        is_hidden = isinstance(call.func, ast.Attribute)
        test = call.func.attr if is_hidden else call.func.id
        arguments = ", ".join(ast.unparse(argument) for argument in call.args)
        path = test_file(test, modules, is_hidden)
        (hidden if is_hidden else visible).append((path, source_of(path, test), f"{test}({arguments})"))

    def cell_part(tests):
        calls = [call for *_, call in tests]
        if plugged:
            calls = [f'with plug({target}, "{name}"):', *(f"    {call}" for call in calls)]
        return "\n\n\n".join([*(source for _, source, _ in tests), "\n".join(calls)])

    parts = [cell_part(visible)] if visible else []
    if hidden:
        parts.append("\n".join([HIDDEN[0], *imports(hidden), cell_part(hidden), HIDDEN[1]]))
    return "\n".join(parts)


def imports(tests):
    """The imports of their files that (path, source, call) tests need: a notebook need not have what hidden ones use."""
    found = {}
    for path, source, _ in tests:
        used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias for alias in node.names if (alias.asname or alias.name) in used]
                for alias in names:
                    origin = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
                    found[f"{origin}import {ast.unparse(alias)}"] = True
    return list(found)


def exercises(lesson):
    """{"module.function": (grade_id of its cell, [(path, name) of each of its tests])} of the exercises of a lesson."""
    text = jupytext.read(lesson, fmt="md:myst")
    modules = text.metadata["tinyshrink"]["module"].split()
    found = {}
    for cell in text.cells:
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags:
            names = cell.source.split()
            found |= {name: (names[0].rsplit(".")[-1], []) for name in names}
        elif "check" in tags and "plug" in cell.metadata:
            for statement in ast.parse(cell.source).body:
                call = statement.value.func
                hidden = isinstance(call, ast.Attribute)
                test = call.attr if hidden else call.id
                found[cell.metadata["plug"]][1].append((test_file(test, modules, hidden), test))
    return found


def nbgrader_metadata(grade_id, *, grade=False, solution=False, points=None):
    """nbgrader's metadata of a cell; one that is neither graded nor a solution is read-only."""
    metadata = {"schema_version": 3, "grade_id": grade_id, "grade": grade, "solution": solution, "task": False}
    metadata["locked"] = not solution
    if grade:
        metadata["points"] = points
    return metadata


def source_notebook(lesson):
    """The nbgrader source notebook (with solutions and hidden tests) of a lesson file."""
    text = jupytext.read(lesson, fmt="md:myst")
    modules = text.metadata.get("tinyshrink", {}).get("module", "").split()
    if not modules:
        raise LessonError(f"{lesson.name} names no module: its front matter needs `tinyshrink: {{module: ...}}`")
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": text.metadata["kernelspec"]})
    notebook.metadata["language_info"] = {"name": "python"}
    grade_ids = []
    for position, cell in enumerate(text.cells):
        cell_id = f"{lesson.stem.replace('_', '-')}-{position:03d}"  # by position: an edit of a body leaves ids alone
        tags = cell.metadata.get("tags", [])
        kind = tags[0] if tags else "given"
        metadata = {}
        try:
            if cell.cell_type == "markdown":
                notice = f"<!-- Generated from solutions/lessons/{lesson.name} by grading/build.py: edit the lesson. -->\n"
                source = cell.source if notebook.cells else notice + cell.source
                notebook.cells.append(nbformat.v4.new_markdown_cell(source, id=cell_id))
                continue
            names = cell.source.split()
            if kind == "exercise":
                source = "\n\n\n".join(exercise(name) for name in names)
                metadata = nbgrader_metadata(names[0].rsplit(".")[-1], solution=True)
            elif kind == "show":
                source = "\n\n\n".join(source_of(*package_file(name)) for name in names)
                metadata = nbgrader_metadata(f"show_{names[0].rsplit('.')[-1]}")
            elif kind == "check":
                source = check(cell, modules)
                last = next(grade_id for grade_id in reversed(grade_ids) if not grade_id.startswith("given"))
                name = cell.metadata.get("plug", cell.metadata.get("name", last)).rsplit(".")[-1]
                metadata = nbgrader_metadata(f"check_{name}", grade=True, points=cell.metadata["points"])
            elif kind == "question":
                source = cell.source
                metadata = nbgrader_metadata(cell.metadata["name"], solution=True)
            elif kind == "given":
                source = cell.source
                metadata = nbgrader_metadata(f"given_{position:03d}")
            elif kind == "experiment":
                source = cell.source
            else:
                raise LessonError(f"no kind of cell is called {kind!r}")
        except (LessonError, KeyError, SyntaxError) as error:
            raise LessonError(f"{lesson.name}, cell {position} ({kind}): {error}") from error
        if metadata:
            if metadata["grade_id"] in grade_ids:
                raise LessonError(f"{lesson.name}, cell {position}: {metadata['grade_id']} stands there twice")
            grade_ids.append(metadata["grade_id"])
        built = nbformat.v4.new_code_cell(source, id=cell_id)
        built.metadata = nbformat.from_dict({"nbgrader": metadata} if metadata else {"tags": ["experiment"]})
        notebook.cells.append(built)
    last = nbformat.v4.new_code_cell(PROGRESS, id=f"{lesson.stem.replace('_', '-')}-progress")
    last.metadata["tags"] = ["experiment", "progress"]  # an experiment: graders leave it out
    notebook.cells.append(last)
    return notebook


def without(text, markers):
    """`text` without the regions between a pair of markers."""
    return re.sub(rf"^[ \t]*{markers[0]}\n.*?{markers[1]}\n?", "", text, flags=re.DOTALL | re.MULTILINE).rstrip("\n")


def solved_notebook(source):
    """The notebook that a self-learner reads: solutions in place, no nbgrader metadata, hidden tests or student's progress."""
    notebook = nbformat.from_dict(source)
    notebook.cells = [cell for cell in notebook.cells if "progress" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        cell.source = without(cell.source, HIDDEN)
        cell.source = re.sub(rf"^[ \t]*({'|'.join(SOLUTION)})\n?", "", cell.source, flags=re.MULTILINE).rstrip("\n")
    return notebook


def execute(notebook):
    """Run a notebook from top to bottom in a fresh kernel, in place; the first cell that fails raises."""
    from nbclient import NotebookClient

    os.environ["TQDM_DISABLE"] = "1"  # bars are for people, not for files
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False, coalesce_streams=True)
    client.execute(stderr=subprocess.DEVNULL)  # the kernel's own log; what cells print goes into the notebook


def nbgrader_api(folder):
    """nbgrader's own API on a course in `folder`, with the nbgrader_config.py there, or this course's where there is none."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    # nbgrader calls alembic by name, which is beside this Python even where its environment is not activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    place = folder if (Path(folder) / "nbgrader_config.py").exists() else ROOT / "grading"
    config = PyFileConfigLoader("nbgrader_config.py", str(place)).load_config()
    config.CourseDirectory.root = str(folder)
    return NbGraderAPI(config=config)


def release(sources, folder=None):
    """{lesson name: student notebook as text}: what `nbgrader generate_assignment` itself makes of the source notebooks.

    The nbgrader course with its gradebook stays in `folder`, or goes where none is given.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as scratch:
            return release(sources, scratch)
    made = {}
    api = nbgrader_api(folder)
    for name, notebook in sources.items():
        write(Path(folder) / "source" / name / f"{name}.ipynb", nbformat.writes(notebook) + "\n")
        result = api.generate_assignment(name)
        if not result["success"]:
            raise LessonError(f"nbgrader refused {name}:\n{result['log']}")
        made[name] = (Path(folder) / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8")
    return made


def write(path, text):
    """Write a text file, whole or not at all."""
    with files.whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def holds_answers(path):
    """Whether a student notebook has an exercise whose stub is gone: then it is somebody's work, not only generated."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except (OSError, ValueError, AttributeError):
        return False
    solutions = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("solution")]
    return any("raise NotImplementedError()" not in cell.source for cell in solutions)


def sources_of(path):
    """The cell sources of a committed notebook, None where there is none."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells] if path.exists() else None


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", help="such as 02_magnitude; all by default")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a notebook is stale")
    parser.add_argument("--execute", action="store_true", help="run the solved notebooks again even where unchanged")
    options = parser.parse_args(arguments)
    sources = {lesson.stem: source_notebook(lesson) for lesson in lessons(options.lessons)}
    stale = []
    for name, text in release(sources).items():
        path = MODULES / name / f"{name}.ipynb"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not options.check:
                if holds_answers(path):
                    raise LessonError(f"{path.relative_to(ROOT)} holds answers: move it away, then build again")
                write(path, text)
    for name, source in sources.items():
        if not options.check:
            write(SOURCE / name / f"{name}.ipynb", nbformat.writes(source) + "\n")
        path, notebook = SOLVED / f"{name}.ipynb", solved_notebook(source)
        if options.execute or sources_of(path) != [cell.source for cell in notebook.cells]:
            stale.append(path)
            if not options.check:
                print(f"running {path.relative_to(ROOT)} ...", flush=True)
                execute(notebook)
                write(path, nbformat.writes(notebook) + "\n")
    for path in stale:
        print(f"{'stale' if options.check else 'written'}: {path.relative_to(ROOT)}")
    if not stale:
        print(f"{len(sources)} lesson{'s' * (len(sources) != 1)}: every notebook is fresh")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LessonError as error:
        sys.exit(f"build: {error}")
