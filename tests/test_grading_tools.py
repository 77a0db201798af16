"""The instructor's tools round the grader: report, feedback, release, collect, and the look for copies."""

import csv
import json
import os
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

import build
import hostile
import submissions
from grader import collect, feedback, release, report, results, similarity
from tinyshrink import cli

ASSIGNMENT = hostile.ASSIGNMENT
NOW = time.time()
EVIL = "<script>alert('x')</script>"
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own


@pytest.fixture(scope="module")
def released_course(tmp_path_factory):
    """A course folder with one released assignment: (folder, student notebook, source notebook)."""
    folder, source = tmp_path_factory.mktemp("course"), hostile.short_source()
    return folder, build.release({ASSIGNMENT: source}, folder)[ASSIGNMENT], source


@pytest.fixture
def course(released_course):
    """That course without what a test before has left in it."""
    folder = released_course[0]
    for name in ("results", "submitted", "feedback", "report"):
        collect.shutil.rmtree(folder / name, ignore_errors=True)
    return folder


def row(exercise, points=0, most=2, outcome="failed", test="test_x", message="expected 1, got 2"):
    return {
        "grade_id": f"check_{exercise}", "exercise": exercise, "points": points, "max_points": most,
        "outcome": outcome, "test": test, "message": message,
    }  # fmt: skip


def put_result(course, student, *rows, code=None, **fields):
    """Write a result as the grader does."""
    result = {
        "schema": 1, "assignment": ASSIGNMENT, "student": student, "status": "graded", "reasons": [],
        "score": sum(row["points"] for row in rows), "max_score": sum(row["max_points"] for row in rows), "unsafe": False,
        "timestamp": None, "late_seconds": 0, "seconds": {"run": 1.5}, "digest": "d", "file": f"{ASSIGNMENT}.ipynb",
        "exercises": list(rows), "code": code or {}, **fields,
    }  # fmt: skip
    path = course / "results" / ASSIGNMENT / f"{student}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result), encoding="utf-8")
    return result


def test_the_report_has_a_row_a_submission_and_what_went_wrong_most(course):
    put_result(course, "anna", row("polynomial", 2, outcome="passed", test=None, message=""), row("prune", message=EVIL))
    put_result(course, "bert", row("polynomial", 0, test="test_cubic", message="expected 0.2"), row("prune", message=EVIL))
    put_result(course, "carl", status="malformed", reasons=[f"no notebook {EVIL}"])
    path = report.write(course, ASSIGNMENT)
    page = path.read_text(encoding="utf-8")
    assert EVIL not in page and "&lt;script&gt;" in page
    assert page.index("carl") < page.index('<td class="said">anna'), "who needs a person stands first"
    mistakes = report.mistakes(results.load(course, ASSIGNMENT))
    assert mistakes[0] == ("prune", "test_x", 2, EVIL) and mistakes[1][:3] == ("polynomial", "test_cubic", 1)
    with open(path.with_suffix(".csv"), encoding="utf-8") as file:
        rows = {found["student"]: found for found in csv.DictReader(file)}
    assert float(rows["anna"]["polynomial"]) == 2 and float(rows["bert"]["score"]) == 0 and rows["carl"]["polynomial"] == ""
    assert [rows[name]["status"] for name in ("anna", "carl")] == ["graded", "malformed"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "＝1+1", "\r=1"])
def test_no_cell_of_the_csv_is_a_formula(course, name):
    put_result(course, "anna", row("prune"), reasons=[name])
    with open(report.write(course, ASSIGNMENT).with_suffix(".csv"), encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["what to know"] == f"'{name}"


@pytest.mark.parametrize("separator", [";", "\t", "; "])
def test_no_part_of_a_cell_is_a_formula_where_the_file_is_read_with_another_separator(course, separator):
    put_result(course, "anna", row("prune"), reasons=[f"it fell{separator}=1+1"])
    with open(report.write(course, ASSIGNMENT).with_suffix(".csv"), encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["what to know"] == f"it fell{separator}'=1+1"


def test_half_a_character_spoils_neither_report_nor_feedback(course):
    put_result(course, "anna", row("magnitude_mask", message="\ud800"), reasons=["\udfff"], code={"magnitude_mask": "\ud800"})
    assert "\\ud800" in report.write(course, ASSIGNMENT).read_text(encoding="utf-8")
    assert "\\ud800" in feedback.write(course, ASSIGNMENT)[0].read_text(encoding="utf-8")
    similarity.write(course, ASSIGNMENT)


def test_a_histogram_counts_every_submission():
    picture = report.histogram([0, 0, 1, 4, 4, 4], 4)
    assert "0% of the points: 2, 20% of the points: 1, 100% of the points: 3" in picture
    assert report.histogram([], 4).startswith("<svg") and report.histogram([0], 0).startswith("<svg")


def test_a_report_without_results_or_with_a_broken_one_says_what_to_do(course):
    with pytest.raises(results.CourseError, match="tinyshrink grade"):
        report.write(course, ASSIGNMENT)
    put_result(course, "anna", row("prune"))
    broken = course / "results" / ASSIGNMENT / "bert.json"
    for content in ("{", "[]", "null", '{"schema": 2}'):
        broken.write_text(content)
        with pytest.raises(results.CourseError, match=r"bert\.json.*delete it"):
            report.write(course, ASSIGNMENT)


def test_unsafe_grading_is_said(course):
    put_result(course, "anna", row("prune"), unsafe=True)
    assert "without a sandbox" in report.write(course, ASSIGNMENT).read_text()


def test_feedback_says_what_was_expected_and_gives_the_hint(course):
    put_result(
        course, "anna",
        row("magnitude_mask", 0, 4, message="of 10 scores at sparsity 0.25, 8 are to be kept, got 7"),
        row("polynomial", 2, outcome="passed", test=None, message=""),
        row("apply_masks", test=None, message="your cell failed: SyntaxError in line 3: expected ':'"),
        code={"magnitude_mask": f"# {EVIL}\ndef magnitude_mask(): ..."},
    )  # fmt: skip
    [path] = feedback.write(course, ASSIGNMENT)
    assert path == course / "feedback" / "anna" / ASSIGNMENT / f"{ASSIGNMENT}.html"
    page = path.read_text(encoding="utf-8")
    assert "8 are to be kept, got 7" in page and "kth_smallest(values, k) finds the largest score to be removed" in page
    assert "magnitude_mask: 0 of 4" in page and "polynomial: 2 of 2" in page and "2 of 8 points" in page
    assert "your cell failed: SyntaxError in line 3" in page
    assert "<script" not in page and "&lt;script&gt;" in page


def test_feedback_shows_no_hidden_test_in_any_form(course, released_course):
    source = released_course[2]
    check = next(cell.source for cell in source.cells if submissions.grade_id(cell) == "check_magnitude_mask")
    hidden = check.split(build.HIDDEN[0])[1]
    put_result(
        course, "anna",
        row("magnitude_mask", test="hidden", message="scores of shape (31,) at 0.52: 3 should go"),
        row("global_masks", message=f"AssertionError: {check}"),
        row("apply_masks", message='Traceback (most recent call last):\n  File "x.py", line 3\n    secret line\nKeyError: 1'),
        row("polynomial", message="".join(hidden.split())),
        row("exponential", message="\n".join(f"  >  {line}" for line in hidden.splitlines())),
    )  # fmt: skip
    page = feedback.write(course, ASSIGNMENT)[0].read_text(encoding="utf-8")
    for line in (*hidden.splitlines(), "3 should go", "secret line", "test_mask_on_drawn_scores"):
        if len(line.strip()) > 8:
            assert results.escape(line.strip()) not in page
    assert "a hidden one fails" in page


def test_feedback_holds_manual_marks_and_comments_and_the_late_penalty(course):
    from nbgrader.api import Gradebook

    put_result(course, "anna", row("magnitude_mask", 0, 4), row("polynomial", 2, outcome="passed", test=None, message=""))
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "tinyshrink") as gradebook:
        gradebook.update_or_create_student("anna")
        gradebook.update_or_create_submission(ASSIGNMENT, "anna")
        grade = gradebook.find_grade("check_magnitude_mask", ASSIGNMENT, ASSIGNMENT, "anna")
        grade.auto_score, grade.manual_score = 0, 3.5
        gradebook.find_grade("check_polynomial", ASSIGNMENT, ASSIGNMENT, "anna").auto_score = 2
        gradebook.find_comment("magnitude_mask", ASSIGNMENT, ASSIGNMENT, "anna").manual_comment = f"nice idea {EVIL}"
        gradebook.find_submission_notebook(ASSIGNMENT, ASSIGNMENT, "anna").late_submission_penalty = 1
        gradebook.db.commit()
    page = feedback.write(course, ASSIGNMENT)[0].read_text(encoding="utf-8")
    assert "magnitude_mask: 3.5 of 4" in page and "nice idea &lt;script" in page and EVIL not in page
    assert "4.5 of 6 points" in page and "1 points less" in page


def test_feedback_of_flagged_and_malformed_submissions(course):
    put_result(course, "anna", row("prune"), status="flagged", reasons=["checking.plug was replaced"])
    put_result(course, "bert", status="malformed", reasons=[f"no notebook, only {EVIL}"])
    anna, bert = (path.read_text(encoding="utf-8") for path in feedback.write(course, ASSIGNMENT))
    assert "A person looks" in anna and "plug" not in anna, "how it was noticed is nothing for the student"
    assert "no notebook, only &lt;script" in bert


def test_nbgrader_can_release_the_feedback_and_no_file_of_the_student_is_in_it(course):
    put_result(course, "anna", row("prune"), timestamp="2026-03-01 10:00:00 UTC")
    put_result(course, "bert", row("prune"))
    for student, secret in (("anna", "ab" * 64), ("bert", f"{EVIL} not hexadecimal")):
        folder = course / "submitted" / student / ASSIGNMENT
        folder.mkdir(parents=True)
        (folder / "submission_secret.txt").write_text(secret)
        (folder / "evil.html").write_text(EVIL)
    feedback.write(course, ASSIGNMENT)
    there = {student: sorted(os.listdir(course / "feedback" / student / ASSIGNMENT)) for student in ("anna", "bert")}
    assert there["anna"] == [f"{ASSIGNMENT}.html", "submission_secret.txt", "timestamp.txt"]
    assert there["bert"] == [f"{ASSIGNMENT}.html"]


def test_the_bundle_is_the_same_bytes_twice_and_has_no_solution(course):
    path = release.write(course, [ASSIGNMENT])
    first = path.read_bytes()
    os.utime(course / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", (0, 0))
    assert release.write(course, [ASSIGNMENT]).read_bytes() == first
    with zipfile.ZipFile(path) as bundle:
        texts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert sorted(texts) == [
        "tinyshrink/README.md", f"tinyshrink/{ASSIGNMENT}/{ASSIGNMENT}.ipynb", "tinyshrink/requirements.txt",
    ]  # fmt: skip
    notebook = texts[f"tinyshrink/{ASSIGNMENT}/{ASSIGNMENT}.ipynb"]
    assert "YOUR CODE HERE" in notebook and "BEGIN" not in notebook and "test_mask_on_drawn_scores" not in notebook
    assert "torch" in texts["tinyshrink/requirements.txt"] and "pip install" in texts["tinyshrink/README.md"]


@pytest.mark.parametrize("slip", ["### BEGIN HIDDEN TESTS\nassert 1", "# end solution", "copied"])
def test_a_notebook_with_a_solution_does_not_go_out(released_course, slip):
    _, text, source = released_course
    released = nbformat.reads(text, as_version=4)
    if slip == "copied":
        slip = submissions.filled(text, source) and hostile.cell_of(source, "apply_masks").source
        slip = slip.split(build.SOLUTION[0])[1].split(build.SOLUTION[1])[0]
    released.cells.append(nbformat.v4.new_code_cell(slip))
    with pytest.raises(results.CourseError, match=r"holds|shows"):
        release.refuse_solutions(ASSIGNMENT, source, released)


def test_an_unknown_assignment_cannot_be_released_and_nothing_is_written(tmp_path):
    with pytest.raises(results.CourseError, match="no lesson is called '99_x'"):
        release.write(tmp_path, ["99_x"])
    assert not list(tmp_path.iterdir())


def export(folder, **named):
    """Write {name: (content, age in seconds)} as an export in a folder, by names of any kind."""
    for name, (content, age) in named.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (NOW - age,) * 2)
    return folder


def submitted(course):
    """{student: (content of the notebook, timestamp)} of what lies under submitted/."""
    return {
        path.parent.parent.name: (path.read_bytes(), (path.parent / "timestamp.txt").read_text().strip())
        for path in course.glob(f"submitted/*/{ASSIGNMENT}/{ASSIGNMENT}.ipynb")
    }


def test_moodle_and_canvas_exports_are_collected_and_the_latest_wins(course, tmp_path):
    folder = export(
        tmp_path / "export",
        **{
            "Ann Lee_123_assignsubmission_file_/hw.ipynb": (b"old", 500),
            "Ann Lee_123_assignsubmission_file_/hw (1).ipynb": (b"new", 100),
            "Bo O'Hara_77_assignsubmission_file_/sub/my hw.ipynb": (b"bo", 10),
            "Çelik José_78_assignsubmission_file_hw.ipynb": (b"jose", 10),
            "leemary_LATE_12345_67890_hw-1.ipynb": (b"mary 1", 50),
            "leemary_12345_67889_hw.ipynb": (b"mary 0", 50),
            "smithjo_12346_67891_hw (1).ipynb.txt": (b"jo", 50),
            "dana/answers.ipynb": (b"dana", 5),
        },
    )
    rows = collect.collect(folder, course, ASSIGNMENT)
    there = {student: content for student, (content, _) in submitted(course).items()}
    assert there == {
        "Ann_Lee": b"new", "Bo_O_Hara": b"bo", "Çelik_José": b"jose", "leemary_12345": b"mary 1", "smithjo_12346": b"jo",
        "dana": b"dana",
    }  # fmt: skip
    assert {row.path for row in rows if row.what == "ignored"} == {
        "Ann Lee_123_assignsubmission_file_/hw.ipynb", "leemary_12345_67889_hw.ipynb",
    }  # fmt: skip
    assert [row.why for row in rows if row.student == "leemary_12345" and row.what == "collected"] == ["late, says Canvas"]
    assert len(rows) == 8


def test_collecting_again_is_harmless_and_an_older_export_changes_nothing(course, tmp_path):
    name = "Ann Lee_1_assignsubmission_file_/hw.ipynb"
    folder = export(tmp_path / "export", **{name: (b"one", 100)})
    assert [row.what for row in collect.collect(folder, course, ASSIGNMENT)] == ["collected"]
    before = submitted(course)
    assert [row.what for row in collect.collect(folder, course, ASSIGNMENT)] == ["unchanged"]
    export(folder, **{name: (b"older", 900)})
    assert [row.what for row in collect.collect(folder, course, ASSIGNMENT)] == ["older"]
    assert submitted(course) == before
    export(folder, **{name: (b"newer", 5)})
    assert [row.what for row in collect.collect(folder, course, ASSIGNMENT)] == ["collected"]
    assert submitted(course)["Ann_Lee"][0] == b"newer"
    assert os.listdir(course / "submitted" / "Ann_Lee") == [ASSIGNMENT], "nothing half-written is left"


def test_a_collect_that_was_killed_between_its_two_renames_goes_on(course, tmp_path):
    folder = export(tmp_path / "export", **{"ann/hw.ipynb": (b"one", 100)})
    collect.collect(folder, course, ASSIGNMENT)
    student = course / "submitted" / "ann"
    (student / ASSIGNMENT).rename(student / f".{ASSIGNMENT}.old")
    (student / f".{ASSIGNMENT}.new").mkdir()
    assert [row.what for row in collect.collect(folder, course, ASSIGNMENT)] == ["unchanged"]
    assert os.listdir(student) == [ASSIGNMENT]


def test_namesakes_and_names_that_differ_in_capitals_only_are_kept_apart(course, tmp_path):
    folder = export(
        tmp_path / "export",
        **{
            "Ann Lee_1_assignsubmission_file_/hw.ipynb": (b"1", 5),
            "Ann Lee_2_assignsubmission_file_/hw.ipynb": (b"2", 5),
            "ann_lee/hw.ipynb": (b"3", 5),
            "ANN lee/hw.ipynb": (b"4", 5),
        },
    )
    rows = collect.collect(folder, course, ASSIGNMENT)
    assert {student: content for student, (content, _) in submitted(course).items()} == {"Ann_Lee_1": b"1", "Ann_Lee_2": b"2"}
    assert all("same name" in row.why for row in rows) and len(rows) == 4


def test_lateness_and_clocks_that_differ_are_said(course, tmp_path):
    from nbgrader.api import Gradebook

    folder = export(
        tmp_path / "export",
        **{"ann/hw.ipynb": (b"1", 7200), "bo/hw.ipynb": (b"2", 10 * 3600), "cy/hw.ipynb": (b"3", -86400)},
    )
    due = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOW - 3 * 3600))
    said = {row.student: row.why for row in collect.collect(folder, course, ASSIGNMENT, due)}
    assert said["ann"] == "late by 1.0 hours" and said["bo"] == "" and "in the future: a clock is wrong" in said["cy"]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "tinyshrink") as gradebook:
        assert gradebook.find_assignment(ASSIGNMENT).duedate.minute == time.gmtime(NOW - 3 * 3600).tm_min
        assert {"ann", "bo", "cy"} <= {student.id for student in gradebook.students}
    with pytest.raises(results.CourseError, match="--due expects"):
        collect.collect(folder, course, ASSIGNMENT, "next Monday")


def test_links_pipes_and_other_files_are_refused_and_listed(course, tmp_path):
    folder = export(tmp_path / "export", **{"ann/hw.pdf": (b"%PDF", 5), "bo/hw.ipynb": (b"", 5), "loose.ipynb": (b"{}", 5)})
    (folder / "cy").mkdir()
    (folder / "cy" / "hw.ipynb").symlink_to("/etc/passwd")
    (folder / "dan").symlink_to("/etc")
    (folder / "eve").mkdir()
    os.mkfifo(folder / "eve" / "hw.ipynb")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._hw.ipynb").write_bytes(b"x")
    rows = {row.path: (row.what, row.why) for row in collect.collect(folder, course, ASSIGNMENT)}
    assert submitted(course) == {}
    assert rows["cy/hw.ipynb"] == rows["dan"] == ("refused", "a link, which may point anywhere")
    assert rows["eve/hw.ipynb"] == ("refused", "no plain file")
    assert rows["bo/hw.ipynb"] == ("ignored", "an empty file") and "no notebook" in rows["ann/hw.pdf"][1]
    assert "no student in its name" in rows["loose.ipynb"][1] and "operating system" in rows["__MACOSX/._hw.ipynb"][1]


def write_zip(path, members):
    """A zip with (name, content, mode) members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name, (2026, 3, 1, 12, 0, 0))
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def test_zips_are_collected_without_following_what_is_evil_in_them(course, tmp_path):
    names = {
        "../../evil_1_2_hw.ipynb": "leads out", "/tmp/evil_1_2_hw.ipynb": "leads out", "C:\\evil_1_2_hw.ipynb": "leads out",
        "link_1_2_hw.ipynb": "a link",
    }  # fmt: skip
    path = write_zip(
        tmp_path / "export.zip",
        [
            *((name, b"/etc/passwd", 0o120777 if name[:4] == "link" else 0o644) for name in names),
            ("bomb_1_2_hw.ipynb", bytes(20 * 2**20), 0o644),
            ("huge_1_2_hw.ipynb", bytes(collect.MOST_BYTES + 1), 0o644),
            ("Ann\n'\"Lee_9_assignsubmission_file_/h\nw.ipynb", b"ann", 0o644),
        ],
    )
    rows = {row.path: row for row in collect.collect(path, course, ASSIGNMENT)}
    for name, why in names.items():
        assert rows[name].what == "refused" and why in rows[name].why
    assert "zip bomb" in rows["bomb_1_2_hw.ipynb"].why and "more than a notebook" in rows["huge_1_2_hw.ipynb"].why
    assert submitted(course) == {"Ann_Lee": (b"ann", submitted(course)["Ann_Lee"][1])}
    assert not list(tmp_path.parent.glob("**/evil*"))


def test_a_zip_of_too_many_files_a_broken_one_and_none_are_refused_whole(course, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MOST_FILES", 3)
    many = write_zip(tmp_path / "many.zip", [(f"a_{n}_2_hw.ipynb", b"{}", 0o644) for n in range(4)])
    (tmp_path / "broken.zip").write_bytes(b"PK nonsense")
    for path, said in ((many, "more than a class"), (tmp_path / "broken.zip", "zip file"), (tmp_path / "none", "no folder")):
        with pytest.raises(results.CourseError, match=said):
            collect.collect(path, course, ASSIGNMENT)
    with pytest.raises(results.CourseError, match="no assignment 'other'"):
        collect.collect(tmp_path, course, "other")
    assert submitted(course) == {}


def test_a_member_with_a_wrong_checksum_is_refused_and_the_others_collected(course, tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ann_1_2_hw.ipynb", b"first content")
        archive.writestr("bob_2_3_hw.ipynb", b"other content")
    path.write_bytes(path.read_bytes().replace(b"first content", b"wrong content"))
    rows = {row.student: row.what for row in collect.collect(path, course, ASSIGNMENT)}
    assert rows == {"ann_1": "refused", "bob_2": "collected"} and list(submitted(course)) == ["bob_2"]


def test_damaged_and_encrypted_members_are_refused(course, tmp_path):
    path = write_zip(
        tmp_path / "export.zip", [("ann_1_2_hw.ipynb", bytes(range(256)) * 9, 0o644), ("bob_2_3_hw.ipynb", b"b", 0)]
    )
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30  # in the middle of the first one's packed bytes
    place = content.rindex(b"PK\x01\x02") + 8  # the flags of the second one, which say that it is encrypted
    content[place] |= 1
    path.write_bytes(content)
    rows = collect.collect(path, course, ASSIGNMENT)
    assert [row.what for row in rows] == ["refused", "refused"] and submitted(course) == {}


def test_a_folder_around_the_students_folders_is_no_student(course, tmp_path):
    members = [(f"class/{name}/hw.ipynb", name.encode(), 0o644) for name in ("ann", "bob")]
    rows = collect.collect(write_zip(tmp_path / "export.zip", members), course, ASSIGNMENT)
    assert [(row.student, row.what) for row in rows] == [("ann", "collected"), ("bob", "collected")]


def test_a_folder_that_cannot_be_read_is_refused_by_name(course, tmp_path, monkeypatch):
    folder = export(tmp_path / "export", **{"ann/hw.ipynb": (b"1", 5), "bob/hw.ipynb": (b"1", 5)})
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("bob"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    rows = {row.path: (row.what, row.why) for row in collect.collect(folder, course, ASSIGNMENT)}
    assert rows["bob"] == ("refused", "a folder that cannot be read (Permission denied)") and len(rows) == 2


def test_a_gradebook_that_cannot_be_used_stops_a_collect_before_anything_is_placed(course, tmp_path):
    folder = export(tmp_path / "export", **{"ann/hw.ipynb": (b"1", 5)})
    book = course / "gradebook.db"
    content = book.read_bytes()
    try:
        book.write_bytes(b"no database")
        with pytest.raises(results.CourseError, match="cannot be opened"):
            collect.collect(folder, course, ASSIGNMENT)
        assert submitted(course) == {}
    finally:
        book.write_bytes(content)


def test_a_disk_without_permission_is_said(course, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    folder = export(tmp_path / "export", **{"ann/hw.ipynb": (b"1", 5)})
    monkeypatch.setattr(Path, "write_bytes", refuse)
    [found] = collect.collect(folder, course, ASSIGNMENT)
    assert found.what == "refused" and "Permission denied" in found.why and submitted(course) == {}


REFERENCE = """def f(values, limit):
    total = 0
    for value in values:
        if value > limit:
            total += value * 2
    return [total, limit]
"""


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (REFERENCE.replace("total", "s").replace("value", "x"), True),
        (REFERENCE.replace("):", ") -> list:\n    '''Sum.'''\n    # a comment", 1), True),
        (
            REFERENCE.replace("total = 0", "total: int = 0").replace("return [total, limit]", "return [\n total,\n limit,\n ]"),
            True,
        ),
        (REFERENCE.replace("(values, limit)", "(values: list, limit: float)"), True),
        (REFERENCE.replace(">", ">="), False),
        (REFERENCE.replace("* 2", "* 3"), False),
        ("def f(values, limit):\n    return [sum(v * 2 for v in values if v > limit), limit]", False),
    ],
)
def test_names_comments_and_layout_make_no_difference_but_code_does(other, same):
    assert (similarity.normal_form(other)[0] == similarity.normal_form(REFERENCE)[0]) == same


@pytest.mark.parametrize(
    "text", ["", "def f(:", "\x00", "(" * 5000, "x" + "+1" * 40_000, "raise NotImplementedError()", "'text'"]
)
def test_what_is_no_code_or_no_answer_has_no_normal_form(text):
    assert similarity.normal_form(text) == ("", 0)


def test_copies_of_the_reference_and_of_each_other_are_listed_and_short_answers_are_not(course, released_course):
    source = released_course[2]
    right = {name: hostile.cell_of(source, name).source for name in ("magnitude_mask", "global_masks", "apply_masks")}
    blank = nbformat.reads(released_course[1], as_version=4)
    own = "def magnitude_mask(scores, sparsity):\n" + "".join(f"    a{n} = scores + {n} * sparsity\n" for n in range(20))
    for student, code in {
        "copies": {"magnitude_mask": right["magnitude_mask"].replace("ties", "equal_ones")},
        "copied": {"magnitude_mask": own},
        "friend": {"magnitude_mask": own.replace("a1", "b1")},
        "alone": {"magnitude_mask": own + "    return 3"},
        "blank": {"magnitude_mask": hostile.cell_of(blank, "magnitude_mask").source},
        "blank too": {"magnitude_mask": hostile.cell_of(blank, "magnitude_mask").source},
    }.items():
        put_result(course, student, row("magnitude_mask"), code=code)
    path, groups, _ = similarity.write(course, ASSIGNMENT)
    assert sorted((group.students, group.reference, group.of) for group in groups) == [
        (["copied", "friend"], False, 4), (["copies"], True, 4),
    ]  # fmt: skip
    assert "equal_ones" in path.read_text(encoding="utf-8")
    assert Path(course / "results" / ASSIGNMENT / "copies.json").exists(), "nothing is changed"


def test_the_commands_say_what_they_did_and_what_is_wrong(course, tmp_path):
    def run(*arguments):
        done = CliRunner().invoke(cli.app, [*arguments, "--course", str(course)])
        return done.exit_code, " ".join(done.output.split())

    code, said = run("feedback", ASSIGNMENT)
    assert code == 2 and "tinyshrink grade" in said
    folder = export(tmp_path / "export", **{"ann/hw\x1b[2J.ipynb": (b"1", 5), "bo/hw.txt": (b"1", 5)})
    code, said = run("collect", str(folder), ASSIGNMENT)
    assert code == 0 and "1 collected" in said and "no notebook" in said and "\x1b" not in said
    put_result(course, "ann", row("prune"))
    assert "1 page" in run("feedback", ASSIGNMENT)[1]
    assert f"{ASSIGNMENT}.zip" in run("release", ASSIGNMENT)[1].replace(" ", "")
    assert "nobody" in run("similar", ASSIGNMENT)[1]
