import pytest

from tinyshrink import checking, magnitude
from tinyshrink.checking import plug

REFERENCE = magnitude.polynomial


@pytest.fixture(autouse=True)
def clean():
    globals().pop("polynomial", None)
    yield
    globals().pop("polynomial", None)
    magnitude.polynomial = REFERENCE


def right(start, end, progress, power=3):
    return end - (end - start) * (1 - progress) ** power


def test_a_right_function_stays_plugged_into_the_framework(capsys):
    globals()["polynomial"] = right
    with plug(magnitude, "polynomial"):
        assert magnitude.schedule("cubic", 0, 0.9, 2)(1) == pytest.approx(0.7875)
    assert magnitude.polynomial is right
    assert "polynomial: passed" in capsys.readouterr().out


def test_a_wrong_function_gives_way_to_the_reference_in_package_and_notebook(capsys):
    globals()["polynomial"] = lambda start, end, progress, power=3: 0
    with pytest.raises(AssertionError), plug(magnitude, "polynomial"):
        assert magnitude.schedule("cubic", 0, 0.9, 2)(1) == pytest.approx(0.7875)
    assert magnitude.polynomial is REFERENCE
    assert globals()["polynomial"] is REFERENCE
    assert "the reference" in capsys.readouterr().out


def test_a_second_check_of_a_failed_exercise_is_not_passed_by_the_reference():
    globals()["polynomial"] = REFERENCE
    with pytest.raises(AssertionError, match="no polynomial of yours"), plug(magnitude, "polynomial"):
        pass


def test_a_missing_function_fails_with_what_to_do_and_later_cells_find_the_reference():
    with pytest.raises(AssertionError, match="run the exercise cell above"), plug(magnitude, "polynomial"):
        pass
    assert globals()["polynomial"] is REFERENCE


def test_the_hidden_seed_comes_from_the_instructors_environment(monkeypatch):
    assert checking.hidden_seed() == 0
    monkeypatch.setenv("TINYSHRINK_HIDDEN_SEED", "1234")
    assert checking.hidden_seed() == 1234
