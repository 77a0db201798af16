"""How fast the grader is, what a thousand submissions take, what the one writer can do, where the seconds go.

    python benchmarks/grading.py rate             24 submissions of 02_magnitude against plain nbgrader autograde, target 5x
    python benchmarks/grading.py thousand [N]     N submissions (1,000), 5% hostile, 5% malformed: rows, rate, memory
    python benchmarks/grading.py kill             100 submissions, the grader killed 20 times: none lost, none graded twice
    python benchmarks/grading.py writer [URL]     submissions a second that the writer commits, to SQLite or another database
    python benchmarks/grading.py where            seconds of one submission of 02_magnitude
    python benchmarks/grading.py catalogue        right and wrong solutions under the checks of their exercises
    python benchmarks/grading.py hostile          hostile submissions, each with the status and the points that it must get

Two workers on two cores, in the sandbox. `thousand`, `kill` and `writer` use five exercises of 02 that train nothing.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import results
from rich.console import Console
from rich.table import Table

import tinyshrink

ROOT = Path(tinyshrink.__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "grading"))

import build  # noqa: E402
import hostile  # noqa: E402
import submissions  # noqa: E402
from grader import grade, kernels, writer  # noqa: E402

console = Console()
QUIET = Console(quiet=True)
REAL = "02_magnitude"
LOOP = "def magnitude_mask(scores, sparsity):\n    while True:\n        pass\n"
EXIT = "import os\n\n\ndef magnitude_mask(scores, sparsity):\n    os._exit(0)\n"
PATCH = "torch.equal = lambda *tensors: True\n\n\ndef magnitude_mask(scores, sparsity):\n    return scores > 0\n"
NOISE = "print('x' * 50_000_000)\n\n\ndef magnitude_mask(scores, sparsity):\n    return scores > 0\n"


def hand_over(*rows):
    """Rows for results.json, each (claim, measured, unit, options of results.row)."""
    results.record("grading", [results.row(*row, **options) for *row, options in rows])


def course(folder, assignment, source, timeout=120, more=""):
    """A course folder with one assignment; returns the released notebook."""
    config = (ROOT / "grading" / "nbgrader_config.py").read_text(encoding="utf-8")
    build.write(folder / "nbgrader_config.py", f"{config}\nc.Execute.timeout = {timeout}\n{more}\n")
    return build.release({assignment: source}, folder)[assignment]


def short(folder, timeout=3, more=""):
    """A course of five exercises; returns (released, source)."""
    source = hostile.short_source()
    return course(folder, hostile.ASSIGNMENT, source, timeout, more), source


def hand_in(folder, student, assignment, text):
    build.write(folder / "submitted" / student / assignment / f"{assignment}.ipynb", text)


def rate(folder, count=24):
    """The same submissions through nbgrader's own command in one process, and through the grader."""
    [lesson] = build.lessons([REAL])
    source = build.source_notebook(lesson)
    released = course(folder, REAL, source)
    kinds = list(submissions.three(released, source).values())
    expected = {}
    for number in range(count):
        text, points = kinds[number % len(kinds)]
        hand_in(folder, f"student {number:02}", REAL, text)
        expected[f"student {number:02}"] = sum(points.values())
    theirs = folder.with_name("theirs")
    shutil.copytree(folder, theirs)
    started = time.perf_counter()
    results = grade.grade(folder, REAL, workers=2, console=QUIET)
    ours = time.perf_counter() - started
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-W", "ignore", "-m", "nbgrader", "autograde", REAL]
    started = time.perf_counter()
    subprocess.run(command, cwd=theirs, env=environment, check=True, capture_output=True)
    plain = time.perf_counter() - started
    same = scores(theirs, REAL) == scores(folder, REAL) == {s: r["score"] for s, r in results.items()} == expected
    table = Table("", "seconds", "submissions a minute", title=f"{count} submissions of {REAL}")
    table.add_row("nbgrader autograde, one process", f"{plain:.1f}", f"{60 * count / plain:.1f}")
    table.add_row("tinyshrink grade, 2 workers, sandbox", f"{ours:.1f}", f"{60 * count / ours:.1f}")
    console.print(table)
    met = plain / ours >= 5
    console.print(f"{plain / ours:.1f}x (target: 5x, {'met' if met else 'NOT met'}); scores identical: {same}")
    note = f"{60 * count / ours:.1f} submissions a minute, scores {'identical' if same else 'NOT identical'}"
    options = {"least": 5, "met": met and same, "anchor": "nbgrader autograde, one process", "note": note}
    hand_over((f"grading {count} submissions of {REAL}, two workers, sandbox", plain / ours, "x", options))
    return met and same


def scores(folder, assignment):
    book = writer.open_gradebook(grade.Course.open(folder))
    try:
        return {one.student.id: one.score for one in book.assignment_submissions(assignment)}
    finally:
        book.close()


def fill(folder, count):
    """Hand in a class: 5% hostile, 5% malformed, the others right, blank or half done; returns {student: score or None}."""
    released, source = short(folder)
    name, expected = hostile.ASSIGNMENT, {}
    kinds = list(submissions.three(released, source).values())
    attacks = [submissions.filled(released, source, answers={"magnitude_mask": code}) for code in (LOOP, EXIT, PATCH, NOISE)]
    for number in range(count):
        student = f"student {number:05}"
        if number % 20 == 7:
            hand_in(folder, student, name, attacks[number // 20 % len(attacks)])
            expected[student] = None
        elif number % 20 == 13:
            hand_in(folder, student, name, ("{", "[]", '{"cells": []}', "")[number // 20 % 4])
            expected[student] = 0
        else:
            text, points = kinds[number % len(kinds)]
            hand_in(folder, student, name, text)
            expected[student] = sum(points.values())
    return expected


def thousand(folder, count="1000"):
    count = int(count)
    expected = fill(folder, count)
    memory = []
    place = writer.Writer.add

    def add(self, result, notebook=None):
        if len(memory) % 50 == 0 or len(memory) == count - 1:
            memory.append(resident())
        else:
            memory.append(None)
        place(self, result, notebook)

    writer.Writer.add = add
    started = time.perf_counter()
    results = grade.grade(folder, hostile.ASSIGNMENT, workers=2, console=QUIET)
    seconds = time.perf_counter() - started
    writer.Writer.add = place
    seen = [value for value in memory if value]
    right = all(results[student]["score"] == points for student, points in expected.items() if points is not None)
    counts = Counter(result["status"] for result in results.values())
    table = Table("rows", *counts, "seconds", "a minute", "MB at a third", "MB at the end", title=f"{count} submissions")
    table.add_row(
        f"{len(results)} of {count}", *map(str, counts.values()), f"{seconds:.0f}", f"{60 * count / seconds:.1f}",
        f"{seen[len(seen) // 3] / 2**20:.0f}", f"{seen[-1] / 2**20:.0f}",
    )  # fmt: skip
    console.print(table)
    flat = seen[-1] < 1.2 * seen[len(seen) // 3]
    console.print(f"honest scores exact: {right}; memory flat: {flat}")
    what, grown = f"grading {count:,} submissions, 5% hostile, 5% malformed", seen[-1] / seen[len(seen) // 3]
    note, wrong = f"honest scores {'exact' if right else 'NOT exact'}", count - len(results)
    hand_over(
        (
            f"{what}: without a row in the gradebook",
            wrong,
            "submissions",
            {"most": 0, "met": right and not wrong, "note": note},
        ),
        (f"{what}: speed, two workers", 60 * count / seconds, "a minute", {}),
        (f"{what}: memory at the end against a third of the way", grown, "x", {"most": 1.2}),
    )
    return len(results) == count and right and flat


def resident():
    """Bytes that this process and all below it hold; what they share counts once."""
    total, parents = 0, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    family, grown = {os.getpid()}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    for pid in family:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def kill(folder, count=100, times=20):
    """Kill the grader with SIGKILL again and again; compare with an undisturbed run."""
    expected = fill(folder, count)
    calm = folder.with_name("calm")
    shutil.copytree(folder, calm)
    grade.grade(calm, hostile.ASSIGNMENT, workers=2, console=QUIET)
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'grading')!r})\n"
    code += "from rich.console import Console\nfrom grader import grade\n"
    code += f"grade.grade({str(folder)!r}, {hostile.ASSIGNMENT!r}, workers=2, console=Console(quiet=True))\n"
    results, twice, killed = folder / "results" / hostile.ASSIGNMENT, 0, 0
    finished = {}
    while True:
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
        target = len(list(results.glob("*.json"))) + len(list(results.glob(".found/*.json"))) + max(1, count // (times + 5))
        while process.poll() is None and killed < times:
            if len(list(results.glob("*.json"))) + len(list(results.glob(".found/*.json"))) >= target:
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.01)
        done = process.wait() == 0
        now = {path.name: path.stat().st_mtime_ns for path in results.glob("*.json")}
        twice += sum(now.get(name) != when for name, when in finished.items())
        finished = now
        if done:
            break
    same = scores(folder, hostile.ASSIGNMENT) == scores(calm, hostile.ASSIGNMENT) and len(finished) == len(expected)
    lost = count - len(finished)
    console.print(f"killed {killed} times in {count} submissions: same grades {same}, graded twice {twice}, lost {lost}")
    what, note = f"{count} submissions, the grader killed {killed} times", f"grades {'the same' if same else 'NOT the same'}"
    lost_row = (f"{what}: lost", lost, "submissions", {"most": 0, "met": same and not lost, "note": note})
    hand_over(lost_row, (f"{what}: graded twice", twice, "submissions", {"most": 0}))
    return same and not twice


def write_only(folder, url=None, count=1000):
    """What the one writer can do: results that are already there, merged into the database."""
    released, source = short(folder, more=f"c.CourseDirectory.db_url = {url!r}" if url else "")
    hand_in(folder, "first", hostile.ASSIGNMENT, submissions.filled(released, source))
    [result] = grade.grade(folder, hostile.ASSIGNMENT, workers=1, console=QUIET).values()
    kernels.cool()
    notebook = (folder / "autograded" / "first" / hostile.ASSIGNMENT / f"{hostile.ASSIGNMENT}.ipynb").read_text(
        encoding="utf-8"
    )
    opened = grade.Course.open(folder)
    record = opened.record(hostile.ASSIGNMENT)
    table = Table(
        "a commit after", "submissions a second", "ms each", title=f"The writer, {count} submissions, {url or 'SQLite'}"
    )
    best = 0
    for batch in (1, 25, 100):
        writer.BATCH = batch
        started = time.perf_counter()
        with writer.Writer(opened, record) as pen:
            for number in range(count):
                copied = json.loads(json.dumps(result)) | {"student": f"{batch} {number}"}
                pen.add(copied, notebook)
        seconds = time.perf_counter() - started
        best = max(best, count / seconds)
        table.add_row(str(batch), f"{count / seconds:.0f}", f"{1000 * seconds / count:.1f}")
    console.print(table)
    console.print(f"100,000 submissions in an hour need 28 a second: {'met' if best > 28 else 'NOT met'} by one writer")
    hand_over(("submissions that one writer commits to SQLite", best, "a second", {"least": 28, "note": "100,000 in an hour"}))
    return best > 28


def where(folder):
    """Where the seconds of one right submission of 02 go."""
    [lesson] = build.lessons([REAL])
    source = build.source_notebook(lesson)
    released = course(folder, REAL, source)
    for student in ("first", "second"):
        hand_in(folder, student, REAL, submissions.filled(released, source))
    first, second = grade.grade(folder, REAL, workers=1, console=QUIET).values()
    kernels.cool()
    table = Table("seconds", "first of a worker", "each after it", title=f"One right submission of {REAL}")
    for name in second["seconds"]:
        table.add_row(name, f"{first['seconds'][name]:.3f}", f"{second['seconds'][name]:.3f}")
    console.print(table)
    what, spent = f"seconds of one right submission of {REAL}, after the first of a worker:", second["seconds"]
    hand_over(*((f"{what} {name}", spent[name], "s", {"detail": True}) for name in spent))
    return True


def catalogue(folder):
    """grading/catalogue.py, and its counts."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "grading" / "catalogue.py")]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    console.print(output, highlight=False)
    counts = [(kind, int(good), int(total)) for kind, good, total in re.findall(r"(\w+ solutions \w+): (\d+) of (\d+)", output)]
    hand_over(*((f"the catalogue: {kind}", good, f"of {total}", {"least": total}) for kind, good, total in counts))
    return len(counts) == 2 and all(good == total for _, good, total in counts)


def attacked(folder):
    """tests/test_hostile.py, and its counts."""
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "test_hostile.py")]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    console.print(output[-2000:], highlight=False)
    passed, wrong = (sum(map(int, re.findall(rf"(\d+) (?:{word})", output))) for word in ("passed", "failed|error"))
    what = "hostile, broken and odd submissions, and honest ones beside them: status and points as they must be"
    hand_over((what, passed, f"of {passed + wrong}", {"least": passed + wrong}))
    return passed > 0 and not wrong


PARTS = {"rate": rate, "thousand": thousand, "kill": kill, "writer": write_only, "where": where}
PARTS |= {"catalogue": catalogue, "hostile": attacked}


def main():
    warnings.filterwarnings("ignore")
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        met = PARTS[sys.argv[1]](Path(scratch) / "course", *sys.argv[2:])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"peak memory of the grader's own process: {used:.0f} MB", highlight=False)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
