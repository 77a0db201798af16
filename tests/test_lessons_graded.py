"""Every lesson as an honest student hands it in, solved, through the grader's sandbox: all points, and no flag."""

import os

import pytest
from rich.console import Console

import build
import submissions
from grader import grade, kernels, sandbox

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # nbgrader's and SQLAlchemy's own
    pytest.mark.skipif(bool(sandbox.problem()) and not os.environ.get("CI"), reason=str(sandbox.problem())),
]
LESSONS = [path.stem for path in build.lessons()]


@pytest.mark.parametrize("name", LESSONS)
def test_a_solved_lesson_gets_all_points_and_no_flag(name, tmp_path):
    [lesson] = build.lessons([name])
    source = build.source_notebook(lesson)
    config = (build.ROOT / "grading" / "nbgrader_config.py").read_text(encoding="utf-8")
    build.write(tmp_path / "nbgrader_config.py", config)
    released = build.release({name: source}, tmp_path)[name]
    build.write(tmp_path / "submitted" / "solved" / name / f"{name}.ipynb", submissions.filled(released, source))
    result = grade.grade(tmp_path, name, workers=1, console=Console(quiet=True))["solved"]
    kernels.cool()
    missed = {one["exercise"]: one["message"] for one in result["exercises"] if one["points"] < one["max_points"]}
    assert (result["status"], missed) == ("graded", {}), result["reasons"]
