"""The builder, and what must hold for the notebooks of every lesson."""

import ast
import re

import nbformat
import pytest

import build

LESSONS = [lesson.stem for lesson in build.lessons()]


@pytest.fixture(scope="module")
def sources():
    return {lesson.stem: build.source_notebook(lesson) for lesson in build.lessons()}


@pytest.fixture(scope="module")
def released(sources):
    return build.release(sources)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_committed_notebooks_are_fresh(sources, released):
    for name in LESSONS:
        committed = (build.MODULES / name / f"{name}.ipynb").read_text(encoding="utf-8")
        assert committed == released[name], f"{name} is stale: run python grading/build.py"
        solved = [cell.source for cell in build.solved_notebook(sources[name]).cells]
        assert build.sources_of(build.SOLVED / f"{name}.ipynb") == solved, f"{name} is stale: run python grading/build.py"


@pytest.mark.parametrize("name", LESSONS)
def test_a_released_notebook_holds_no_solution_and_no_hidden_check(name, sources, released):
    student = nbformat.reads(released[name], as_version=4)
    everything = "\n".join(cell.source for cell in student.cells)
    shown = "\n".join(line.strip() for line in everything.splitlines())
    assert not re.search("BEGIN|END SOLUTION|HIDDEN TESTS", everything)
    for cell in sources[name].cells:
        for markers in (build.SOLUTION, build.HIDDEN):
            for region in re.findall(rf"{markers[0]}\n(.*?)\n[ \t]*{markers[1]}", cell.source, flags=re.DOTALL):
                lines = [line.strip() for line in region.splitlines()]
                runs = ["\n".join(run) for run in zip(lines, lines[1:])] or lines  # one line alone may be in a test too
                leaked = [run for run in runs if run in shown]
                assert not leaked or markers == build.HIDDEN, f"{name} shows of a solution: {leaked}"
                assert "\n".join(lines) not in shown
    graded = [cell for cell in code(student) if cell.metadata.get("nbgrader", {}).get("solution")]
    assert graded and all("raise NotImplementedError()" in cell.source for cell in graded)


@pytest.mark.parametrize("name", LESSONS)
def test_the_imports_cell_is_intact_and_read_only(name, sources, released):
    student = nbformat.reads(released[name], as_version=4)
    imports = code(student)[0]
    assert imports.source == code(sources[name])[0].source
    assert "import torch" in imports.source and imports.metadata.nbgrader.locked and imports.metadata.editable is False


@pytest.mark.parametrize("name", LESSONS)
def test_what_a_student_reads_is_one_sitting(name, released):
    """Under 400 lines of code in cells of at most 30; the pasted sources of the checks are not counted."""
    student = nbformat.reads(released[name], as_version=4)
    read = [cell for cell in code(student) if not cell.metadata.get("nbgrader", {}).get("grade")]
    lines = {cell.id: len(cell.source.splitlines()) for cell in read}
    assert sum(lines.values()) <= 400, f"{name} has {sum(lines.values())} lines of code"
    assert max(lines.values()) <= 30, f"{name} has code cells of over 30 lines: {lines}"


@pytest.mark.parametrize("name", LESSONS)
def test_every_exercise_has_a_hidden_check_and_points(name, sources):
    cells = code(sources[name])
    checks = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert all(cell.metadata.nbgrader.points > 0 for cell in checks)
    plugged = [cell for cell in checks if "with plug(" in cell.source]
    assert plugged and all(build.HIDDEN[0] in cell.source for cell in plugged)


@pytest.mark.parametrize("name", LESSONS)
def test_a_solved_notebook_ran_from_top_to_bottom_without_an_error_and_shows_figures(name):
    solved = nbformat.read(build.SOLVED / f"{name}.ipynb", as_version=4)
    assert all(cell.execution_count for cell in code(solved) if cell.source)
    outputs = [output for cell in code(solved) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert "nbgrader" not in str([cell.metadata for cell in solved.cells])


def test_an_exercise_keeps_signature_docstring_and_guards_and_hides_the_rest():
    source = build.exercise("magnitude.global_masks")
    given, rest = source.split(build.SOLUTION[0])
    assert given.startswith("def global_masks(") and '"""' in given and "raise ValueError" in given
    assert "magnitude_mask(" in rest and rest.rstrip().endswith(build.SOLUTION[1])
    assert ast.parse(source)


def test_an_exercise_keeps_its_decorators():
    assert build.exercise("magnitude.apply_masks").startswith("@torch.no_grad()\ndef apply_masks(")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("magnitude.no_such_function", "magnitude.py has no no_such_function"),
        ("nowhere.f", "nowhere.f is not in the package"),
        ("magnitude", "magnitude is not in the package"),
    ],
)
def test_a_name_that_is_not_in_the_package_is_an_error_that_says_so(wrong, message):
    with pytest.raises(build.LessonError, match=message):
        build.exercise(wrong)


LESSON = """---
kernelspec: {{display_name: Python 3, language: python, name: python3}}
tinyshrink: {{module: magnitude}}
---
# A lesson

```{{code-cell}} python
import torch
```

```{{code-cell}} python
---
{metadata}
---
{source}
```
"""


@pytest.mark.parametrize(
    ("metadata", "source", "message"),
    [
        ("tags: [exercise]", "magnitude.nothing", r"00_try.md, cell 2 \(exercise\): .*has no nothing"),
        ("tags: [check]\npoints: 1\nplug: magnitude.prune", "test_no_such_check()", "no test_no_such_check in tests/"),
        ("tags: [check]\npoints: 1\nplug: magnitude.prune", "x = 1", "holds calls of tests only, not 'x = 1'"),
        ("tags: [check]\nplug: magnitude.prune", "test_prune", "holds calls of tests only"),
        ("tags: [excercise]", "magnitude.prune", "no kind of cell is called 'excercise'"),
    ],
)
def test_a_lesson_that_cannot_be_built_names_lesson_cell_and_reason(tmp_path, metadata, source, message):
    lesson = tmp_path / "00_try.md"
    lesson.write_text(LESSON.format(metadata=metadata, source=source))
    with pytest.raises(build.LessonError, match=message):
        build.source_notebook(lesson)


def test_cell_ids_depend_on_the_position_and_not_on_the_content(tmp_path):
    ids = []
    for text in ("x = 1", "y = 2"):
        lesson = tmp_path / "00_try.md"
        lesson.write_text(LESSON.format(metadata="tags: [experiment]", source=text))
        ids.append([cell.id for cell in build.source_notebook(lesson).cells])
    assert ids[0] == ids[1] == ["00-try-000", "00-try-001", "00-try-002", "00-try-progress"]


def test_check_fails_on_a_stale_notebook_and_writes_nothing(tmp_path, monkeypatch, capsys):
    name = LESSONS[0]
    stale = tmp_path / name / f"{name}.ipynb"
    stale.parent.mkdir()
    stale.write_text("{}")
    monkeypatch.setattr(build, "MODULES", tmp_path)
    monkeypatch.setattr(build, "ROOT", tmp_path.parent)
    monkeypatch.setattr(build, "SOLVED", tmp_path / "none")
    monkeypatch.setattr(build, "release", lambda sources: {name: "new" for name in sources})
    monkeypatch.setattr(build, "source_notebook", lambda lesson: nbformat.v4.new_notebook())
    assert build.main(["--check", name]) == 1
    assert stale.read_text() == "{}" and "stale" in capsys.readouterr().out


def test_a_students_answers_are_never_overwritten(tmp_path, monkeypatch):
    name = LESSONS[0]
    path = tmp_path / name / f"{name}.ipynb"
    answered = nbformat.read(build.MODULES / name / f"{name}.ipynb", as_version=4)
    solution = next(cell for cell in code(answered) if cell.metadata.get("nbgrader", {}).get("solution"))
    solution.source = solution.source.replace("raise NotImplementedError()", "return 1")
    build.write(path, nbformat.writes(answered))
    before = path.read_text()
    monkeypatch.setattr(build, "MODULES", tmp_path)
    monkeypatch.setattr(build, "ROOT", tmp_path.parent)
    monkeypatch.setattr(build, "release", lambda sources: {name: "new" for name in sources})
    monkeypatch.setattr(build, "source_notebook", lambda lesson: nbformat.v4.new_notebook())
    with pytest.raises(build.LessonError, match="holds answers: move it away"):
        build.main([name])
    assert path.read_text() == before
