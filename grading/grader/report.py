"""The instructor's report of an assignment: a row for each submission, a histogram for each exercise, common mistakes."""

import csv
import re
import unicodedata
from collections import Counter
from html import escape
from pathlib import Path

from tinyshrink import files

from . import results
from .results import Html

NEEDS_A_PERSON = ("malformed", "flagged", "partly graded")  # first in the table, in this order


def write(course, assignment):
    """Write COURSE/report/ASSIGNMENT.html and .csv from the grader's results; returns the path of the page."""
    found = results.load(course, assignment)
    order = {status: place for place, status in enumerate(NEEDS_A_PERSON)}
    found.sort(key=lambda result: (order.get(result["status"], len(order)), result["student"]))
    path = Path(course) / "report" / f"{assignment}.html"
    with files.whole(path) as part:
        part.write_text(page(assignment, found), encoding="utf-8")
    with (
        files.whole(path.with_suffix(".csv")) as part,
        open(part, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows([plain(value) for value in row] for row in rows(found))
    return path


def exercises(found):
    """{exercise: the most points that it gives} in the notebook's order; a malformed submission may know none of them."""
    return {row["exercise"]: row["max_points"] for result in found for row in result["exercises"]}


def rows(found):
    """The header of the table, then one row a submission."""
    names = exercises(found)
    yield ["student", "status", "score", "of", *names, "late (hours)", "handed in", "file", "seconds", "what to know"]
    for result in found:
        points = {row["exercise"]: row["points"] for row in result["exercises"]}
        yield [
            result["student"],
            result["status"],
            result["score"],
            result["max_score"],
            *(points.get(name, "") for name in names),
            round((result["late_seconds"] or 0) / 3600, 2),
            result["timestamp"] or "",
            result["file"] or "",
            round(sum(result["seconds"].values()), 2),
            "; ".join(result["reasons"]),
        ]


def plain(value):
    """A cell of a CSV file that no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    if unicodedata.normalize("NFKC", value).lstrip()[:1] in tuple("=+-@"):
        value = "'" + value
    return re.sub(r"([;,]\s*|(?<=[^'])[\t\r\n]\s*)(?=[=+\-@])", r"\1'", value)  # it may be read with another separator


def mistakes(found):
    """[(exercise, check, how many submissions failed it, what it said most often)], the commonest first."""
    said = {}
    for result in found:
        for row in result["exercises"]:
            if result["status"] not in ("malformed", "flagged") and row["outcome"] not in ("passed", "manual"):
                own = "its own cell" if row["outcome"] == "failed" else row["outcome"]
                key = (row["exercise"], row["test"] or own)
                said.setdefault(key, Counter())[row["message"]] += 1
    counted = [(*key, sum(messages.values()), messages.most_common(1)[0][0]) for key, messages in said.items()]
    return sorted(counted, key=lambda row: -row[2])


def histogram(values, most):
    """An SVG of how often each tenth of the points was got, with its figures as the text for a screen reader."""
    counts = Counter(min(10, max(0, round(10 * value / most))) if most else 10 for value in values)
    height = max(counts.values(), default=1)
    bars = "".join(
        f'<rect x="{12 * tenth}" y="{40 - round(40 * counts[tenth] / height)}" width="10"'
        f' height="{round(40 * counts[tenth] / height)}"><title>{tenth * 10}%: {counts[tenth]}</title></rect>'
        for tenth in sorted(counts)
    )
    label = ", ".join(f"{tenth * 10}% of the points: {counts[tenth]}" for tenth in sorted(counts))
    axis = '<path d="M0 40.5H130" stroke="currentColor" opacity=".4"/>'
    return Html(f'<svg width="130" height="41" role="img" aria-label="{label}">{bars}{axis}</svg>')


def page(assignment, found):
    """The report as HTML."""
    names = exercises(found)
    graded = [result for result in found if result["status"] != "malformed"]
    statuses = Counter(result["status"] for result in found)
    summary = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    lines = [f"<p><strong>{len(found)} submissions</strong>: {escape(summary)}.</p>"]
    if any(result["unsafe"] for result in found):
        lines.append('<p class="bad"><strong>Graded without a sandbox</strong> (--unsafe): the code ran as you.</p>')
    if needy := [result for result in found if result["status"] in ("malformed", "flagged")]:
        lines.append(f"<p>{len(needy)} need a person: they stand first in the table.</p>")

    outcomes = ["passed", "failed", "timed out", "crashed", "not run", "manual"]
    columns = []
    if graded:
        totals = [result["score"] for result in graded]
        most = max(result["max_score"] for result in graded)
        columns.append(["all together", histogram(totals, most), sum(totals) / len(totals), most, *[""] * len(outcomes)])
    for name, most in names.items():
        of_exercise = [row for result in graded for row in result["exercises"] if row["exercise"] == name]
        counts = Counter(row["outcome"] for row in of_exercise)
        points = [row["points"] for row in of_exercise]
        mean = sum(points) / max(1, len(points))
        columns.append([name, histogram(points, most), mean, most, *(counts[outcome] for outcome in outcomes)])
    wrong = [
        [exercise, check, count, f"{count / len(graded):.0%}", message[:300]]
        for exercise, check, count, message in mistakes(found)
    ]
    header, *table = rows(found)
    return results.page(
        f"{assignment}: grades",
        *lines,
        "<h2>Exercises</h2><p>Left to right: none to all of the points.</p>",
        results.table(["exercise", "points", "mean", "of", *outcomes], columns),
        "<h2>What went wrong most</h2><p>Flagged submissions are left out.</p>",
        results.table(["exercise", "check", "submissions", "share", "what it said most often"], wrong),
        "<h2>Submissions</h2><p>Automatic points, before manual marks and late penalties.</p>",
        results.table(header, table),
    )
