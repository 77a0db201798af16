"""The catalogue of solutions: each wrong one loses points on its exercise, each right one gets full marks."""

import re

import pytest

import catalogue

EXERCISES = catalogue.exercises()


def test_a_module_that_is_not_in_the_catalogue_is_an_error_that_names_the_others(capsys):
    with pytest.raises(SystemExit):
        catalogue.main(["nosuch"])
    assert re.search(r"is called 'nosuch': expected some of .*magnitude", capsys.readouterr().err)


def test_every_exercise_of_every_lesson_is_in_the_catalogue():
    assert {exercise for exercise, _ in EXERCISES} == set(catalogue.checks())


@pytest.mark.parametrize(("exercise", "path"), EXERCISES, ids=[exercise for exercise, _ in EXERCISES])
def test_the_checks_reject_every_wrong_solution_and_accept_every_right_one(exercise, path):
    solutions = catalogue.solutions(path)
    assert sum(name.startswith("wrong_") for name in solutions) >= 6
    assert sum(name.startswith("right_") for name in solutions) >= 2
    for name, (function, must_fail) in solutions.items():
        verdict = catalogue.judge(exercise, name, function, must_fail)
        assert verdict.ok, f"{name} should {'fail ' + must_fail if must_fail else 'pass'}, failed {verdict.failed}"
