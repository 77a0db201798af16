"""Submissions for trying the grader: the reference, a blank one, and a half-done one with a wrong exercise."""

import nbformat

# What a student writes who has not seen the point of one ranking for the whole network.
WRONG_GLOBAL_MASKS = """def global_masks(scores, sparsity):
    return {name: magnitude_mask(values, sparsity) for name, values in scores.items()}
"""

HALF_DONE_SOLVED = ("magnitude_mask", "apply_masks", "polynomial", "exponential")  # the last two share a cell
HALF_DONE_WRONG = {"global_masks": WRONG_GLOBAL_MASKS}


def grade_id(cell):
    """nbgrader's name of a cell, empty where it has none."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def points(source):
    """{exercise: points} of a source notebook, in its order."""
    graded = (cell.metadata["nbgrader"] for cell in source.cells if cell.metadata.get("nbgrader", {}).get("grade"))
    return {metadata["grade_id"].removeprefix("check_"): metadata["points"] for metadata in graded}


def filled(released, source, solved=None, answers=()):
    """A student notebook with answers: the reference solution of the exercises `solved` (None: of all), then `answers`.

    Arguments: released, the student notebook as text; source, its source notebook; answers, {exercise: cell source}.
    Returns the notebook as text.
    """
    answers = dict(answers)
    notebook = nbformat.reads(released, as_version=4)
    solutions = {grade_id(cell): cell.source for cell in source.cells if grade_id(cell)}
    for cell in notebook.cells:
        name = grade_id(cell)
        if cell.metadata.get("nbgrader", {}).get("solution"):
            if name in answers:
                cell.source = answers.pop(name)
            elif solved is None or name in solved:
                cell.source = solutions[name]
    if answers:
        raise ValueError(f"the notebook has no exercises called {', '.join(answers)}")
    return nbformat.writes(notebook) + "\n"


def three(released, source):
    """{student: (notebook as text, {exercise: points it must get})}: reference, blank and half-done."""
    full = points(source)
    half = {name: full[name] if name in HALF_DONE_SOLVED else 0 for name in full}
    return {
        "reference": (filled(released, source), full),
        "blank": (released, dict.fromkeys(full, 0)),
        "half-done": (filled(released, source, HALF_DONE_SOLVED, HALF_DONE_WRONG), half),
    }
