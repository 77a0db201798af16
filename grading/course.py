"""The main job, `make course`: build the release, grade three submissions, prune a real network, write report/index.html.

    python grading/course.py        under 5 minutes on two cores

Everything happens in report/, which is made anew; the instructor's own course beside this file is not touched.
"""

import contextlib
import copy
import html
import os
import shutil
import sys
import time
import warnings

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import build
import submissions

REPORT = build.ROOT / "report"
ASSIGNMENT = "02_magnitude"
SPARSITY, ALLOWED_LOSS = 0.9, 0.05


@contextlib.contextmanager
def quiet_stderr():
    """Drop what this process and its kernels log on stderr: the results say what went wrong."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def grade(course, assignment, notebooks):
    """Autograde {student: notebook as text} with nbgrader in the course folder; yields each student when done."""
    api = build.nbgrader_api(course)
    for student, text in notebooks.items():
        build.write(course / "submitted" / student / assignment / f"{assignment}.ipynb", text)
        with quiet_stderr():
            result = api.autograde(assignment, student)
        if not result["success"]:
            raise RuntimeError(f"nbgrader could not grade {student}:\n{result['log']}")
        api.generate_feedback(assignment, student)
        yield student


def scores(course, assignment, student):
    """{exercise: points given by nbgrader} of one submission."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "tinyshrink") as gradebook:
        notebook = gradebook.find_submission_notebook(assignment, assignment, student)
        return {grade.name.removeprefix("check_"): grade.score for grade in notebook.grades}


def gradebook_table(full, given, expected):
    """A table with a row an exercise and a column a student; a score that should be another one is marked."""
    table = Table("exercise", *given, "of", title="The gradebook, as nbgrader filled it", show_footer=True)
    for name, most in full.items():
        cells = [
            f"{given[s][name]:g}" + ("" if given[s][name] == expected[s][name] else f" (expected {expected[s][name]:g})")
            for s in given
        ]
        table.add_row(name, *cells, f"{most:g}")
    for column, total in zip(table.columns, ["sum", *(sum(g.values()) for g in given.values()), sum(full.values())]):
        column.footer = total if isinstance(total, str) else f"{total:g}"
    return table


def prune_digits(step):
    """Train the digits CNN, prune copies of it to several sparsities; returns (rows, figures) of what was measured."""
    from tinyshrink import data, magnitude, metrics, models, plots, training

    digits = data.load("digits")
    torch.manual_seed(0)
    dense = models.DigitsCNN()
    step("training the digits CNN")
    training.train(dense, digits, 20, progress=False)
    dense_accuracy = training.evaluate(dense, digits.validation)

    def recover(model, epochs=4):
        training.train(model, digits, epochs, lr=0.02, progress=False)

    curves = {"one cut": {}, "iterative, 5 steps": {}}
    kept = {}
    for sparsity in (0.5, 0.8, SPARSITY, 0.95, 0.98):
        step(f"pruning it to {sparsity:.0%}, in one cut and in five steps")
        one_cut = copy.deepcopy(dense)
        with magnitude.prune(one_cut, sparsity).hold(one_cut):
            recover(one_cut, epochs=20)
        kept[sparsity] = pruned = copy.deepcopy(dense)
        masks = magnitude.iterative_prune(pruned, sparsity, 5, recover)
        if sparsity == SPARSITY:
            chosen_masks = masks
        for curve, model in zip(curves.values(), (one_cut, pruned)):
            curve[sparsity] = training.evaluate(model, digits.validation)
    pruned = kept[SPARSITY]
    accuracies = [training.evaluate(model, digits.test) for model in (dense, pruned)]
    weights = [torch.cat([w.detach().flatten() for w in metrics.weights(model).values()]) for model in (dense, pruned)]
    figures = {
        "accuracy": (
            plots.accuracy_against_sparsity(curves, dense=dense_accuracy, budget=ALLOWED_LOSS),
            "Validation accuracy of the digits CNN against sparsity, pruned in one cut and in five steps",
        ),
        "weights": (
            plots.weight_histogram(*weights),
            f"Histogram of the digits CNN's weights before and after pruning to {SPARSITY:.0%}",
        ),
        "mask": (
            plots.mask_picture(chosen_masks["conv2.weight"]),
            "The kept weights of the second convolution",
        ),
    }
    rows = {
        "nonzero parameters": tuple(metrics.count_parameters(model, nonzero=True) for model in (dense, pruned)),
        "sparsity of the weights": (metrics.sparsity(dense), metrics.sparsity(pruned)),
        "accuracy on 360 test digits": tuple(accuracies),
    }
    return rows, figures


def criterion_table(rows):
    """Before and after, and the criterion's verdict: (table, met)."""
    before, after = rows["accuracy on 360 test digits"]
    sparsity = rows["sparsity of the weights"][1]
    table = Table("digits CNN", "dense", "pruned", title="The success criterion, measured")
    for name, values in rows.items():
        table.add_row(name, *(f"{v:,}" if isinstance(v, int) else f"{v:.2%}" for v in values))
    met = round(sparsity, 4) >= SPARSITY and before - after < ALLOWED_LOSS
    verdict = f"{sparsity:.1%} sparse at a loss of {100 * (before - after):.2f} pp (allowed: {100 * ALLOWED_LOSS:g} pp)"
    return table, met, verdict


def page(tables, figures, verdict):
    """The report as one HTML page; figures lie beside it."""
    from tinyshrink import plots

    parts = []
    for name, (figure, alt) in figures.items():
        plots.save(figure, REPORT / f"{name}.png")
        alt = html.escape(alt)
        parts.append(f'<figure><img src="{name}.png" alt="{alt}"><figcaption>{alt}</figcaption></figure>')
    for table in tables:
        head = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
        columns = [list(column.cells) for column in table.columns]
        if table.show_footer:
            columns = [[*cells, column.footer] for cells, column in zip(columns, table.columns)]
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in zip(*columns)
        )
        parts.append(f"<h2>{html.escape(table.title)}</h2><table><tr>{head}</tr>{body}</table>")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>tinyshrink: report</title><style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem .8rem; border-bottom: 1px solid #8886; text-align: right }}
td:first-child, th:first-child {{ text-align: left }} img {{ max-width: 100%; background: #fff }} figure {{ margin: 2rem 0 }}
</style></head><body><h1>tinyshrink: report</h1>
<p>Made by <code>tinyshrink course</code> on {time.strftime("%Y-%m-%d %H:%M")}. <strong>{html.escape(verdict)}</strong></p>
{"".join(parts)}
<p>Per-student feedback: <code>course/feedback/</code>. The gradebook: <code>course/gradebook.db</code>.</p>
</body></html>
"""


def main():
    warnings.filterwarnings("ignore", module="sqlalchemy|nbgrader|nbconvert|jupyter_client")
    console = Console()
    started = time.perf_counter()
    shutil.rmtree(REPORT, ignore_errors=True)
    course = REPORT / "course"
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task("")

        def step(description):
            progress.update(task, description=description)
            if not console.is_terminal:
                console.print(f"{time.perf_counter() - started:5.0f} s  {description}")

        step("building the release of every lesson")
        sources = {lesson.stem: build.source_notebook(lesson) for lesson in build.lessons()}
        released = build.release(sources, course)
        three = submissions.three(released[ASSIGNMENT], sources[ASSIGNMENT])
        step("autograding three submissions through nbgrader")
        for student in grade(course, ASSIGNMENT, {student: text for student, (text, _) in three.items()}):
            step(f"autograded: {student}")
        given = {student: scores(course, ASSIGNMENT, student) for student in three}
        rows, figures = prune_digits(step)
    expected = {student: points for student, (_, points) in three.items()}
    grades = gradebook_table(submissions.points(sources[ASSIGNMENT]), given, expected)
    measured, met, verdict = criterion_table(rows)
    build.write(REPORT / "index.html", page([measured, grades], figures, verdict))
    console.print(grades)
    console.print(measured)
    console.print(f"{'met' if met else 'MISSED'}: {verdict}", style="bold green" if met else "bold red", highlight=False)
    graded = given == expected
    if not graded:
        console.print("MISSED: a submission got other points than it must get", style="bold red")
    console.print(f"report: {os.path.relpath(REPORT / 'index.html')} ({time.perf_counter() - started:.0f} s in all)")
    return 0 if met and graded else 1


if __name__ == "__main__":
    sys.exit(main())
