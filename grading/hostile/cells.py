"""Notebooks whose cells were deleted, moved, retyped or given other metadata: repaired from the course's own record."""

import copy

import nbformat

import submissions

from . import ASSIGNMENT, EXERCISES, GRADED, cell_of, must, solved, unsolved, without


def checks(notebook):
    """The check cells of a notebook."""
    return [cell for cell in notebook.cells if submissions.grade_id(cell).startswith("check_")]


@must(*GRADED, full=EXERCISES)
def deletes_its_test_cells(released, source):
    notebook = solved(released, source)
    notebook.cells = [cell for cell in notebook.cells if cell not in checks(notebook)]
    return notebook


@must(*GRADED, "flagged")
def deletes_the_tests_and_solves_nothing(released, source):
    notebook = unsolved(released, source, "")
    notebook.cells = [cell for cell in notebook.cells if cell not in checks(notebook)]
    return notebook


@must(*GRADED, full=EXERCISES)
def deletes_all_given_cells(released, source):
    """Only the answers are left."""
    notebook = solved(released, source)
    notebook.cells = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    return notebook


@must(*GRADED, full=without("apply_masks"))
def deletes_one_answer(released, source):
    notebook = solved(released, source)
    notebook.cells.remove(cell_of(notebook, "apply_masks"))
    return notebook


@must(*GRADED, "malformed")
def has_no_cells_at_all(released, source):
    notebook = solved(released, source)
    notebook.cells = []
    return notebook


@must(*GRADED, full=EXERCISES)
def reorders_its_cells(released, source):
    notebook = solved(released, source)
    notebook.cells = checks(notebook) + [cell for cell in notebook.cells if cell not in checks(notebook)]
    return notebook


@must(*GRADED, full=EXERCISES)
def reverses_its_cells(released, source):
    notebook = solved(released, source)
    notebook.cells.reverse()
    return notebook


@must(*GRADED, full=EXERCISES)
def retypes_its_tests_to_markdown(released, source):
    notebook = solved(released, source)
    for cell in checks(notebook):
        cell.cell_type = "markdown"
        for field in ("outputs", "execution_count"):
            cell.pop(field, None)
    return notebook


@must(*GRADED, "flagged")
def retypes_tests_of_what_it_did_not_solve(released, source):
    notebook = unsolved(released, source, "")
    for cell in checks(notebook):
        cell.cell_type = "raw"
        for field in ("outputs", "execution_count"):
            cell.pop(field, None)
    return notebook


@must(*GRADED, "flagged", full=without("apply_masks"), free=("apply_masks",))
def retypes_an_answer(released, source):
    notebook = solved(released, source)
    cell = cell_of(notebook, "apply_masks")
    cell.cell_type = "markdown"
    for field in ("outputs", "execution_count"):
        cell.pop(field, None)
    return notebook


@must(*GRADED, full=EXERCISES)
def copies_a_test_cell(released, source):
    """The copy has no schema version: with plain nbgrader it ends the grading of the whole class."""
    notebook = solved(released, source)
    twin = copy.deepcopy(cell_of(notebook, "check_magnitude_mask"))
    del twin.metadata["nbgrader"]["schema_version"]
    notebook.cells.append(twin)
    return notebook


@must(*GRADED, "flagged")
def copies_a_test_cell_to_replace_it(released, source):
    notebook = unsolved(released, source, "")
    twin = copy.deepcopy(cell_of(notebook, "check_global_masks"))
    twin.source = "pass"
    notebook.cells.append(twin)
    notebook.cells.insert(0, copy.deepcopy(twin))
    return notebook


@must(*GRADED, "flagged", full=without("magnitude_mask"), free=("magnitude_mask",))
def answers_twice(released, source):
    """Two cells of one exercise, a right one and a wrong one: one of them counts, and the rest is graded."""
    notebook = solved(released, source)
    twin = copy.deepcopy(cell_of(notebook, "magnitude_mask"))
    twin.source = "def magnitude_mask(scores, sparsity):\n    return None"
    notebook.cells.insert(notebook.cells.index(cell_of(notebook, "magnitude_mask")) + 1, twin)
    return notebook


@must(*GRADED, full=EXERCISES)
def sets_grade_to_false(released, source):
    notebook = solved(released, source)
    for cell in checks(notebook):
        cell.metadata["nbgrader"]["grade"] = False
    return notebook


@must(*GRADED, "flagged")
def sets_grade_to_false_and_solves_nothing(released, source):
    notebook = unsolved(released, source, "")
    for cell in checks(notebook):
        cell.metadata["nbgrader"] |= {"grade": False, "solution": True, "locked": False}
    return notebook


@must(*GRADED, "flagged")
def gives_itself_points(released, source):
    notebook = unsolved(released, source, "")
    for cell in checks(notebook):
        cell.metadata["nbgrader"] |= {"points": 1000, "checksum": "0" * 32}
        cell.source = "1000"
    return notebook


@must(*GRADED, "flagged")
def empties_and_unlocks_the_tests(released, source):
    notebook = unsolved(released, source, "")
    for cell in checks(notebook):
        cell.source = "pass"
        cell.metadata["nbgrader"]["locked"] = False
        cell.metadata["editable"] = cell.metadata["deletable"] = True
    return notebook


@must(*GRADED, "flagged")
def tags_its_tests_to_be_skipped(released, source):
    notebook = unsolved(released, source, "")
    for cell in checks(notebook):
        cell.metadata["tags"] = ["skip-execution", "raises-exception", "experiment", "remove-cell"]
    return notebook


@must(*GRADED, full=EXERCISES)
def tags_its_answers(released, source):
    """Also an answer with such tags is run."""
    notebook = solved(released, source)
    for cell in notebook.cells:
        cell.metadata["tags"] = ["experiment", "skip-execution"]
    return notebook


@must(*GRADED, full=EXERCISES)
def strips_all_tags_from_experiments(released, source):
    """What is an experiment says the course, not the student; this one raises."""
    notebook = solved(released, source)
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)
    return notebook


@must(*GRADED, "flagged", "malformed", free=EXERCISES)
def strips_all_metadata(released, source):
    """Whose cell is whose can then be seen by the cell ids only."""
    notebook = solved(released, source)
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()
    return notebook


@must(*GRADED, full=EXERCISES)
def strips_the_metadata_of_tests(released, source):
    notebook = solved(released, source)
    for cell in checks(notebook):
        cell.metadata = nbformat.NotebookNode()
    return notebook


@must(*GRADED, "flagged", "malformed", free=EXERCISES)
def has_metadata_of_other_types(released, source):
    notebook = solved(released, source)
    for cell, value in zip(checks(notebook), ([], "yes", {"grade_id": None}, {"grade_id": ["a"], "points": "many"}, 7)):
        cell.metadata["nbgrader"] = value
    return notebook


@must(*GRADED, "flagged", "malformed", full=EXERCISES)
def comes_from_other_schemas(released, source):
    notebook = solved(released, source)
    for cell, version in zip(notebook.cells, (0, 1, 2, 99, "3", None, -1)):
        if "nbgrader" in cell.metadata:
            cell.metadata["nbgrader"]["schema_version"] = version
    return notebook


@must(*GRADED, full=EXERCISES)
def adds_graded_cells(released, source):
    notebook = solved(released, source)
    for number in range(3):
        cell = nbformat.v4.new_code_cell("1000")
        cell.metadata["nbgrader"] = {
            "schema_version": 3, "grade_id": f"bonus{number}", "grade": True, "points": 1000, "solution": False, "locked": True,
            "task": False, "cell_type": "code", "checksum": "0" * 32,
        }  # fmt: skip
        notebook.cells.append(cell)
    return notebook


@must(*GRADED, full=EXERCISES)
def has_cell_ids_that_are_not_unique(released, source):
    notebook = solved(released, source)
    for cell in notebook.cells:
        cell.id = "same"
    return notebook


@must(*GRADED, full=EXERCISES)
def has_no_cell_ids(released, source):
    notebook = solved(released, source)
    for cell in notebook.cells:
        cell.pop("id", None)
    notebook.nbformat_minor = 4
    return notebook


@must(*GRADED, full=EXERCISES)
def has_cell_ids_that_are_no_ids(released, source):
    notebook = solved(released, source)
    for number, cell in enumerate(notebook.cells):
        cell.id = ("../" * number) + "\n'\"" * 40
    return notebook


@must(*GRADED, full=EXERCISES)
def writes_an_answer_in_a_cell_of_its_own(released, source):
    """Honest: the stub is left alone, the function stands in a new cell after it."""
    notebook = solved(released, source)
    cell = cell_of(notebook, "apply_masks")
    notebook.cells.insert(notebook.cells.index(cell) + 1, nbformat.v4.new_code_cell(cell.source))
    stub = nbformat.reads(released, as_version=4)
    cell.source = cell_of(stub, "apply_masks").source
    return notebook


@must(*GRADED, full=EXERCISES)
def splits_an_answer(released, source):
    """Honest: a helper in a new cell before the exercise."""
    notebook = solved(released, source)
    cell = cell_of(notebook, "apply_masks")
    helper = nbformat.v4.new_code_cell("def pairs(model):\n    return dict(model.named_parameters(remove_duplicate=False))")
    notebook.cells.insert(notebook.cells.index(cell), helper)
    cell.source = cell.source.replace("dict(model.named_parameters(remove_duplicate=False))", "pairs(model)")
    return notebook


@must(*GRADED, "flagged")
def puts_a_cheat_in_a_new_cell(released, source):
    notebook = unsolved(released, source, "")
    notebook.cells.insert(
        0, nbformat.v4.new_code_cell("from tinyshrink import checking\nchecking.plug.__exit__ = lambda *a: True")
    )
    notebook.cells.insert(4, nbformat.v4.new_code_cell("checking.plug.__exit__ = lambda *a: True"))
    return notebook


@must(*GRADED, "flagged")
def puts_a_cheat_in_a_given_cell(released, source):
    notebook = unsolved(released, source, "")
    cell = cell_of(notebook, "given_001")
    cell.source += "\nchecking.plug.__exit__ = lambda *args: True"
    return notebook


@must(*GRADED, "flagged", full=without("apply_masks"))
def writes_the_markers_of_the_builder(released, source):
    markers = "### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS\n### BEGIN SOLUTION\n### END SOLUTION\n### BEGIN HIDDEN TESTS"
    return solved(released, source, apply_masks=f"{markers}\ndef apply_masks(model, masks):\n    return None\n")


@must(*GRADED, full=EXERCISES)
def asks_for_another_kernel(released, source):
    notebook = solved(released, source)
    notebook.metadata["kernelspec"] = {"name": "../../evil; rm -rf /", "display_name": "Python 2", "language": "python"}
    return notebook


@must(*GRADED, full=EXERCISES)
def asks_for_another_language(released, source):
    notebook = solved(released, source)
    notebook.metadata["kernelspec"] = {"name": "bash", "display_name": "Bash", "language": "bash"}
    notebook.metadata["language_info"] = {"name": "R"}
    return notebook


@must(*GRADED, full=EXERCISES)
def has_no_notebook_metadata(released, source):
    notebook = solved(released, source)
    notebook.metadata = nbformat.NotebookNode()
    return notebook


@must(*GRADED, full=EXERCISES)
def has_a_thousand_more_cells(released, source):
    notebook = solved(released, source)
    notebook.cells += [nbformat.v4.new_markdown_cell(f"note {number}") for number in range(1000)]
    return notebook


@must(*GRADED, "malformed")
def is_the_notebook_of_another_assignment(released, source):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"'not {ASSIGNMENT}'")])
    return notebook
