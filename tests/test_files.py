import pytest

from tinyshrink import files


def test_a_file_is_written_whole_and_its_folder_made(tmp_path):
    with files.whole(tmp_path / "new" / "a.txt") as part:
        part.write_text("all of it")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), files.whole(path) as part:
        part.write_text("half of")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
