"""The map of the modules from saved notebooks, and `tinyshrink learn`, which opens the next exercise."""

import json
import os
import sys

import nbformat
import pytest
from typer.testing import CliRunner

import build
from grader import repair
from tinyshrink import cli, progress

ERROR = {"output_type": "error", "ename": "AssertionError", "evalue": "expected 3", "traceback": []}
STUB = "def f():\n    # YOUR CODE HERE\n    raise NotImplementedError()"


def notebook(path, *exercises):
    """A notebook with a heading, an exercise and its check of 2 points for each (source, execution_count, outputs)."""
    cells = []
    for number, (source, count, outputs) in enumerate(exercises, 1):
        cells.append(nbformat.v4.new_markdown_cell(f"## Part\n\n### Exercise {number}: f & g\n\nWrite it."))
        cells.append(nbformat.v4.new_code_cell(source))
        cells[-1].metadata["nbgrader"] = {"grade_id": f"f{number}", "grade": False, "solution": True}
        cells.append(nbformat.v4.new_code_cell("test()", execution_count=count, outputs=outputs))
        cells[-1].metadata["nbgrader"] = {"grade_id": f"check_f{number}", "grade": True, "solution": False, "points": 2}
    path.parent.mkdir(parents=True)
    nbformat.write(nbformat.from_dict(nbformat.v4.new_notebook(cells=cells)), path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A student's folder, with a space in its name: one module done, one half done, one damaged, one blank."""
    modules = tmp_path / "my course" / "modules"
    done, blank = ("x = 1", 3, []), (STUB, 4, [ERROR])
    notebook(modules / "01_one" / "01_one.ipynb", done, done)
    notebook(modules / "02_two" / "02_two.ipynb", done, ("x = 1", 5, [ERROR]), ("x = 1", None, []))
    (modules / "03_three").mkdir()
    (modules / "03_three" / "03_three.ipynb").write_text('{"cells": [')
    notebook(modules / "04_four" / "04_four.ipynb", blank)
    notebook(modules / "04_four" / ".ipynb_checkpoints" / "04_four-checkpoint.ipynb", blank)
    monkeypatch.chdir(modules / "02_two")
    return modules


def run(*arguments):
    return CliRunner().invoke(cli.app, [*arguments], env={"COLUMNS": "150"})


def test_each_check_has_the_state_in_which_it_was_saved(folder):
    shown = progress.show()
    states = {module.path.stem: [check.state for check in module.checks] for module in shown.modules}
    assert states == {"01_one": ["passed"] * 2, "02_two": ["passed", "failed", "not run"], "03_three": [], "04_four": ["blank"]}
    assert [(module.points, module.total) for module in shown.modules] == [(4, 4), (2, 6), (0, 0), (0, 2)]
    assert shown.next.path.stem == "02_two" and shown.next.next.heading == "Exercise 2: f & g"


def test_a_stub_that_was_put_back_is_blank_again_whatever_its_check_said_before(tmp_path):
    assert progress.read(notebook(tmp_path / "a" / "a.ipynb", (STUB, 3, []))).checks[0].state == "blank"


def test_the_command_shows_all_modules_and_one_line_for_a_damaged_notebook(folder):
    outcome = run("progress")
    assert outcome.exit_code == 0
    assert "2 of 6" in outcome.output and "next: Exercise 2: f & g (failed)" in outcome.output
    assert "is damaged" in outcome.output and "6 of 12 points" in outcome.output
    assert "Hidden checks come with grading" in " ".join(outcome.output.split())


def test_the_cell_shows_html_with_links_and_text_elsewhere(folder):
    shown = progress.show()
    page = shown._repr_html_()
    assert '<a href="../02_two/02_two.ipynb">' in page and "f &amp; g" in page and "6 of 12 points" in page
    assert "04_four" in repr(shown) and "\x1b" not in repr(shown)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"[]", b'{"cells": 1}', b'{"cells": [1]}', b'{"cells": [{"metadata": 3}]}', b"[" * 100_000],
)
def test_what_is_no_notebook_is_a_trouble_and_no_error(tmp_path, content):
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    assert "is damaged" in progress.read(path).says


def test_a_missing_notebook_and_one_of_something_else_have_their_own_words(tmp_path):
    assert "cannot be read" in progress.read(tmp_path / "none.ipynb").says
    other = tmp_path / "other.ipynb"
    other.write_text(json.dumps({"cells": []}))
    assert "has no checks" in progress.read(other).says


def test_the_cell_says_so_where_there_are_no_notebooks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "0 of 0 points" in repr(progress.show())


def test_learn_opens_the_notebook_with_the_next_exercise_and_names_it(folder, monkeypatch):
    called = []
    monkeypatch.setattr(cli.student.subprocess, "call", lambda command, env: called.append(command) or 0)
    outcome = run("learn", "--port", "8890")
    assert outcome.exit_code == 0, outcome.output
    assert "02_two: next: Exercise 2: f & g (failed)" in outcome.output
    [[python, *_, root, address, option, port]] = called
    assert python == sys.executable and root == f"--ServerApp.root_dir={folder}" and (option, port) == ("--port", "8890")
    assert address == "--LabApp.default_url=/lab/tree/02_two/02_two.ipynb"


@pytest.mark.parametrize(
    ("target", "replacement", "message"),
    [
        ("importlib.util.find_spec", lambda name: None, "JupyterLab is not installed: pip install jupyterlab"),
        ("os.access", lambda path, mode: False, "cannot be written"),
    ],
)
def test_learn_says_in_one_line_what_is_missing(folder, monkeypatch, target, replacement, message):
    monkeypatch.setattr(f"tinyshrink.cli.student.{target}", replacement)
    outcome = run("learn")
    assert outcome.exit_code == 2 and message in outcome.output and "Traceback" not in outcome.output


def test_learn_with_damaged_notebooks_only_names_one_and_its_trouble(tmp_path, monkeypatch):
    path = notebook(tmp_path / "01_one" / "01_one.ipynb", ("x = 1", 3, []))
    path.write_text('{"cells": [')
    monkeypatch.chdir(tmp_path)
    outcome = run("learn")
    assert outcome.exit_code == 2 and f"{path} is damaged" in outcome.output and "tinyshrink mine" not in outcome.output


def test_learn_with_nothing_left_says_what_comes_next(tmp_path, monkeypatch):
    notebook(tmp_path / "01_one" / "01_one.ipynb", ("x = 1", 3, []))
    monkeypatch.chdir(tmp_path)
    outcome = run("learn")
    assert outcome.exit_code == 2 and "tinyshrink mine" in outcome.output


def test_every_notebook_ends_with_the_map_and_graders_leave_it_out():
    for lesson in build.lessons([name for name in os.listdir(build.MODULES) if name[:2] in ("01", "12")]):
        source = build.source_notebook(lesson)
        assert source.cells[-1].source == build.PROGRESS and source.cells[-1].metadata == {"tags": ["experiment", "progress"]}
        assert build.solved_notebook(source).cells[-1].source != build.PROGRESS
    submitted = nbformat.from_dict(source)
    submitted.cells[-1].source = "raise SystemExit"
    nobody = type("Notebook", (), {"name": "x", "source_cells": [], "grade_cells": [], "task_cells": []})
    for cell in source.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.pop("nbgrader")
    record = repair.course_record("x", nbformat.writes(source), nobody)
    cells, _, reasons = repair.rebuild(record, nbformat.writes(submitted).encode())
    assert record["cells"][-1]["kind"] == "experiment" and reasons == []
    assert not any(cell["source"] in (build.PROGRESS, "raise SystemExit") and cell["kind"] != "experiment" for cell in cells)
