"""Collecting what a learning management system exports (Moodle, Canvas, or a folder a student) into submitted/.

Names decide who and which, contents are never looked into or run. Whatever is refused gets a row that says why.
"""

import contextlib
import os
import re
import shutil
import stat
import time
import unicodedata
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from . import grade, results, writer

MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d{1,20})_assignsubmission_(file|onlinetext)_?", flags=re.DOTALL)
CANVAS = re.compile(r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d{1,20})_\d+_.+", flags=re.DOTALL)
NOTEBOOK = re.compile(r"(-(?P<canvas>\d{1,9})| ?\((?P<browser>\d{1,9})\))?\.ipynb(\.txt|\.json)?$", flags=re.IGNORECASE)

MOST_FILES = 50_000
MOST_BYTES = grade.MOST_BYTES  # of one notebook
MOST_BYTES_IN_ALL = 8 * 2**30
MOST_RATIO = 200  # unpacked to packed; notebooks with figures reach 10


@dataclass
class File:
    """One file of an export: `path` is its name there, `read` gives its bytes, `refused` says why it cannot be taken."""

    path: str
    size: int
    modified: float
    read: object
    refused: str = ""


@dataclass
class Row:
    """What became of one file: `what` is collected, unchanged, older, ignored or refused."""

    path: str
    student: str
    what: str
    why: str


def collect(export, course, assignment, due=None):
    """Put the latest notebook of each student into COURSE/submitted/STUDENT/ASSIGNMENT/, with its time; returns Rows.

    Arguments: export, a folder or a zip file; due, an ISO time, which the gradebook gets as the due date, so that lateness
    is counted from it. Times without a zone are this machine's. CourseError where there is nothing to read.
    """
    course, export = Path(course), Path(export)
    deadline = _due(due)
    if not (course / "release" / assignment).is_dir() and not (course / "source" / assignment).is_dir():
        raise results.CourseError(f"{course} has no assignment {assignment!r}: run tinyshrink release {assignment} first")
    rows, chosen = [], {}
    found = list(_in_folder(export) if export.is_dir() else _in_zip(export))
    _tell_gradebook(course, assignment, deadline, {})  # where that fails, nothing is placed
    around = _folder_around([file.path for file in found])
    parsed = [(file, *_owner(file.path[len(around) :])) for file in found]
    ids = _ids({owner for _, owner, _ in parsed if owner})
    for file, owner, said in parsed:
        student = ids.get(owner, "")
        why = file.refused or _not_a_notebook(file)
        if not why and not student:
            why = said or "its student cannot be told from another of the same name"
        if why:
            rows.append(Row(file.path, student, "refused" if file.refused else "ignored", why))
            continue
        rank = (file.modified, _copy_number(file.path), file.path)
        if student in chosen and chosen[student][0] > rank:
            rows.append(Row(file.path, student, "ignored", "a later one of the same student counts"))
            continue
        if student in chosen:
            rows.append(Row(chosen[student][1].path, student, "ignored", "a later one of the same student counts"))
        chosen[student] = (rank, file, owner, said)
    for student, (_, file, owner, said) in sorted(chosen.items()):
        notes = [said] if said else []
        if owner[2] == "moodle" and student != _id(owner[0]):
            notes.append("another student has the same name: see who is who")
        if file.modified > time.time() + 60:
            notes.append("its time lies in the future: a clock is wrong")
        late = deadline and file.modified > deadline.timestamp()
        if late:
            notes.append(f"late by {(file.modified - deadline.timestamp()) / 3600:.1f} hours")
        try:
            what = _place(course / "submitted" / student, assignment, file)
        except Exception as error:  # no space, no permission, and the many ways in which an archive is broken
            rows.append(Row(file.path, student, "refused", f"it cannot be read or written: {error}"))
            continue
        rows.append(Row(file.path, student, what, "; ".join(notes)))
    _tell_gradebook(course, assignment, deadline, {student: owner for student, (_, _, owner, _) in chosen.items()})
    return sorted(rows, key=lambda row: (row.student, row.path))


def _in_folder(folder):
    """The files of a folder; a link is no file, wherever it points."""
    unread = []
    for parent, folders, names in os.walk(folder, onerror=unread.append):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted(names + links):
            path = Path(parent, name)
            info = path.lstat()
            plain = stat.S_ISREG(info.st_mode)
            refused = "" if plain else "a link, which may point anywhere" if path.is_symlink() else "no plain file"
            if info.st_size > MOST_BYTES:
                refused = f"{info.st_size / 2**20:,.0f} MB are more than a notebook has"
            yield File(path.relative_to(folder).as_posix(), info.st_size, info.st_mtime, path.read_bytes, refused)
    for error in unread:
        path = Path(error.filename).relative_to(folder).as_posix()
        yield File(path, 0, 0.0, None, f"a folder that cannot be read ({error.strerror})")


def _in_zip(path):
    """The files of a zip, none of them unpacked yet."""
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise results.CourseError(f"there is no folder or zip file {path}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise results.CourseError(f"{path} is neither a folder nor a zip file that can be read ({error})") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    in_all = sum(member.file_size for member in members)
    if len(members) > MOST_FILES or in_all > MOST_BYTES_IN_ALL:
        raise results.CourseError(
            f"{path} holds {len(members):,} files of {in_all / 2**30:.1f} GB: more than a class hands in, so nothing was taken"
        )
    for member in members:
        refused, place = "", PurePosixPath(member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            refused = "a link, which may point anywhere"
        elif place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:|\\", member.filename):
            refused = "its name leads out of the folder"
        elif member.file_size > MOST_BYTES:
            refused = f"{member.file_size / 2**20:,.0f} MB are more than a notebook has"
        elif member.file_size > MOST_RATIO * max(member.compress_size, 1) and member.file_size > 2**20:
            refused = f"{member.file_size / 2**20:,.0f} MB packed into {member.compress_size:,} bytes: a zip bomb"
        try:
            modified = time.mktime((*member.date_time, 0, 0, -1))
        except (ValueError, OverflowError):
            modified = path.stat().st_mtime
        yield File(member.filename, member.file_size, modified, lambda member=member: archive.read(member), refused)


def _folder_around(paths):
    """The folder, with its slash, that holds the folders of all students, as when a folder was zipped; else empty."""
    parts = [PurePosixPath(path).parts for path in paths if not path.startswith("__MACOSX")]
    wrapped = parts and all(len(names) > 2 for names in parts) and len({names[1] for names in parts}) > 1
    return f"{parts[0][0]}/" if wrapped and len({names[0] for names in parts}) == 1 else ""


def _owner(path):
    """((name, number, system), what to say) of a file of an export, (None, why) where its name gives no student."""
    *folders, name = PurePosixPath(path).parts
    if any(part.startswith((".", "__MACOSX")) for part in (*folders, name)):
        return None, "a file of the operating system"
    for folder in reversed(folders):
        if found := MOODLE.fullmatch(folder):
            return (found["name"], found["id"], "moodle"), ""
    if found := MOODLE.match(name):  # "download in folders" was switched off
        return (found["name"], found["id"], "moodle"), ""
    if found := CANVAS.fullmatch(name):
        return (found["name"], found["id"], "canvas"), "late, says Canvas" if found["late"] else ""
    if folders:
        return (folders[0], "", "folder"), ""
    return None, "no student in its name: expected what Moodle or Canvas export, or a folder for each student"


def _ids(owners):
    """{owner: student id} for all owners of an export, no two alike, not even where capitals are not told apart."""
    short = {owner: _id(owner[0]) for owner in owners}
    times = Counter(name.casefold() for name in short.values())
    # Canvas's numbers are the same in every assignment. Moodle's are not, so they only tell namesakes apart.
    ids = {
        owner: f"{name}_{owner[1]}" if owner[1] and (owner[2] == "canvas" or times[name.casefold()] > 1) else name
        for owner, name in short.items()
        if name
    }
    times = Counter(name.casefold() for name in ids.values())
    return {owner: name for owner, name in ids.items() if times[name.casefold()] == 1}


def _id(name):
    """A name as an id that is safe as a folder, in nbgrader's patterns and in a spreadsheet: letters of any script, digits."""
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._-")
    return text.encode()[:100].decode(errors="ignore")


def _not_a_notebook(file):
    """Why a file is not taken for a notebook, empty where it is."""
    if not NOTEBOOK.search(file.path):
        return "no notebook: its name does not end in .ipynb"
    return "" if file.size else "an empty file"


def _copy_number(path):
    """1 for "hw-1.ipynb" and "hw (1).ipynb", 0 for "hw.ipynb": the later of two files of the same time."""
    found = NOTEBOOK.search(path)
    return int(found["canvas"] or found["browser"] or 0) if found else 0


def _place(folder, assignment, file):
    """Put a notebook into the folder of its student, whole or not at all; returns collected, unchanged or older."""
    moment = datetime.fromtimestamp(int(file.modified), timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    target, new, old = folder / assignment, folder / f".{assignment}.new", folder / f".{assignment}.old"
    content = file.read()
    shutil.rmtree(new, ignore_errors=True)
    if old.exists() and not target.exists():
        old.rename(target)  # a run before this one was stopped between the two renames
    shutil.rmtree(old, ignore_errors=True)
    notebook, times = target / f"{assignment}.ipynb", target / "timestamp.txt"
    if notebook.is_file() and times.is_file():
        there = times.read_text(encoding="utf-8", errors="replace").strip()
        if there == moment and notebook.read_bytes() == content:
            return "unchanged"
        if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", there) and there > moment:
            return "older"
    new.mkdir(parents=True)
    (new / notebook.name).write_bytes(content)
    (new / times.name).write_text(moment + "\n", encoding="utf-8")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return "collected"


def _due(due):
    """An ISO time as a moment, None for None; without a zone it is this machine's."""
    if due is None:
        return None
    try:
        return datetime.fromisoformat(due.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError) as error:
        raise results.CourseError(f"--due expects a time such as 2026-03-01T23:59, got {due!r}") from error


def _tell_gradebook(course, assignment, deadline, owners):
    """Give the gradebook the due date, and the students that it does not have with their names and numbers."""
    with contextlib.closing(writer.open_gradebook(grade.Course.open(course))) as gradebook:
        if deadline:
            gradebook.update_or_create_assignment(assignment, duedate=deadline.astimezone(timezone.utc).replace(tzinfo=None))
        try:
            known = {student.id for student in gradebook.students}
        except Exception as error:
            raise writer.of_another_nbgrader(error) from error
        for student, (name, number, system) in owners.items():
            if student not in known:
                number = number if system == "canvas" else None
                gradebook.add_student(student, last_name=" ".join(name.split()), lms_user_id=number)
