"""Every solved notebook runs from top to bottom in a fresh kernel."""

import time

import pytest

import build


@pytest.mark.parametrize("name", [lesson.stem for lesson in build.lessons()])
def test_a_solved_notebook_runs_from_top_to_bottom(name, capsys):
    [lesson] = build.lessons([name])
    notebook = build.solved_notebook(build.source_notebook(lesson))
    started = time.perf_counter()
    build.execute(notebook)
    with capsys.disabled():
        print(f" [{name}: {time.perf_counter() - started:.0f} s, promised under 60] ", end="")
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source)
