"""What the instructor's commands of `tinyshrink` do and print; tinyshrink/cli/instructor.py has their arguments."""

from collections import Counter

from rich.table import Table
from rich.text import Text

import build

from .repair import CourseError
from .sandbox import SandboxError

ERRORS = (CourseError, SandboxError, build.LessonError, OSError)  # what people can mend: a line, no traceback


def plain(text):
    """A text for the terminal, as it is: a name from outside may neither colour nor clear it."""
    return Text("".join(letter if letter.isprintable() else "?" for letter in str(text)))


def grade(console, course, assignment, workers, scheduler, unsafe):
    """Grade what is new or changed, then write the report; of every assignment with submissions where none is named."""
    from . import report
    from .grade import Course, grade

    course = Course.open(course)
    assignments = [assignment] if assignment else course.assignments()
    if not assignments:
        raise CourseError(f"nothing was submitted in {course.root}/submitted: run tinyshrink collect first")
    for name in assignments:
        grade(course, name, workers, scheduler, unsafe, console=console)
        path = report.write(course.root, name)
        console.print(plain(f"report: {path} and {path.with_suffix('.csv').name}"), soft_wrap=True)


def feedback(console, course, assignment):
    """A page for each student; of every assignment with results where none is named."""
    from . import feedback

    assignments = [assignment] if assignment else sorted(path.name for path in course.glob("results/*") if path.is_dir())
    if not assignments:
        raise CourseError(f"{course} holds no results: run tinyshrink grade first")
    for name in assignments:
        paths = feedback.write(course, name)
        said = f"{name}: {len(paths)} page{'s' * (len(paths) != 1)} in {course / 'feedback'}/STUDENT/{name}/{name}.html"
        console.print(plain(said), soft_wrap=True)


def release(console, course, assignments):
    """The zip for students."""
    from . import release

    path = release.write(course, assignments)
    console.print(plain(f"{path}: {path.stat().st_size / 1024:,.0f} KB, for students"), soft_wrap=True)
    if not release.origin():
        said = "This copy of the course has no address on the network: tell students where they get it, for pip install."
        console.print(said, style="yellow")


def collect(console, course, export, assignment, due):
    """What was taken from an export, what was not, and why."""
    from . import collect

    rows = collect.collect(export, course, assignment, due)
    table = Table("file", "student", "", "why", title=f"{assignment} from {export}")
    for row in rows:
        if row.what not in ("collected", "unchanged") or row.why:
            style = {"refused": "red", "ignored": "yellow"}.get(row.what)
            table.add_row(plain(row.path), plain(row.student), row.what, plain(row.why), style=style)
    if table.row_count:
        console.print(table)
    counts = Counter(row.what for row in rows)
    console.print(", ".join(f"{count} {what}" for what, count in counts.items()) or "the export is empty", highlight=False)


def similar(console, course, assignment):
    """Answers that are alike, for a person to look at."""
    from . import similarity

    path, groups, short = similarity.write(course, assignment)
    table = Table("exercise", "students", "like the reference", "of those who solved it", "nodes", title=assignment)
    for group in groups:
        share = f"{len(group.students)} of {group.of}"
        table.add_row(
            group.exercise, plain(", ".join(group.students)), "yes" if group.reference else "", share, str(group.nodes)
        )
    console.print(table if groups else "nobody's answers are alike")
    if short:
        console.print(plain(f"too short for a telling likeness: {', '.join(short)}"))
    console.print(plain(f"with their code: {path}. Nothing was graded down."), soft_wrap=True)
