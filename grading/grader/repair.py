"""The notebook that is graded: the course's own, with the student's answers in it and nothing else of theirs.

Repairing a submission cell by cell means to trust what is left of its metadata. So the notebook is built anew from the
course's record (the source notebook for the order of cells, the gradebook for what is in them), and from the submission come
only the sources of solution cells, and those cells of the student's own that the solutions need.
"""

import ast
import functools
import json
import re

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

MOST_CELLS, MOST_CODE = 1000, 300_000  # of a submission; the longest lesson has 52 cells of code with 77,000 characters
LONGEST, MAGICS = 10_000, 50  # of a cell with magics: IPython reads all of it anew for each
HIDDEN = re.compile(r"^### BEGIN HIDDEN TESTS\n(.*?)\n### END HIDDEN TESTS\n?", flags=re.DOTALL | re.MULTILINE)


class CourseError(ValueError):
    """A course that cannot be graded; the message says what is wrong and how to mend it."""


class Malformed(ValueError):
    """A submission that is no notebook; the message says why."""


class Transformer(TransformerManager):
    def do_token_transforms(self, lines):
        for _ in range(MAGICS):
            changed, lines = self.do_one_token_transform(lines)
            if not changed:
                return lines
        raise Malformed(f"a cell has more than {MAGICS} lines of magics")


@functools.lru_cache(maxsize=64)
def tree(source):
    """The syntax tree of a cell with IPython's magics made Python; None where it is no Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        if len(source) > LONGEST:
            raise Malformed(f"a cell of {len(source)} characters is no Python") from None
    try:
        return ast.parse(Transformer().transform_cell(source))
    except Malformed:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def bound(source):
    """Names that a cell gives a meaning at its top level: functions, classes, imports, variables."""
    module = tree(source)
    names = set()
    for statement in module.body if module else []:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
            continue
        for node in ast.walk(statement):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def used(source):
    """Names that a cell reads."""
    module = tree(source)
    nodes = ast.walk(module) if module else []
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def course_record(assignment, source, notebook):
    """What is known of an assignment, as plain data that a worker on another machine can be sent.

    source: the source notebook as text; notebook: nbgrader.api.Notebook, the gradebook's record of it.
    """
    stored = {cell.name: cell for cell in notebook.source_cells}
    points = {cell.name: cell.max_score for cell in [*notebook.grade_cells, *notebook.task_cells]}
    cells, seen, imports = [], set(), []
    for cell in nbformat.reads(source, as_version=4).cells:
        metadata = cell.metadata.get("nbgrader") or {}
        grade_id = metadata.get("grade_id", "")
        known = stored.get(grade_id)
        kind = "given" if cell.cell_type == "code" else "markdown"
        if known:
            seen.add(grade_id)
            cell.cell_type, cell.source = known.cell_type, known.source
            metadata = {**metadata, "checksum": known.checksum, "cell_type": known.cell_type}
            if grade_id in points:
                metadata["points"] = points[grade_id]
                kind = "manual" if metadata["solution"] or metadata.get("task") or known.cell_type != "code" else "check"
            elif metadata["solution"]:
                kind = "solution"
            cell.metadata["nbgrader"] = metadata
        elif "experiment" in cell.metadata.get("tags", []):
            kind = "experiment"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        entry = {"kind": kind, "grade_id": grade_id, "source": cell.source, "cell": cell}
        if kind == "given":
            module = tree(cell.source)
            found = [node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))] if module else []
            imports += [ast.unparse(node) for node in found]
            defined = [node.name for node in module.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))] if module else []
            entry["keep"] = sorted({name for node in found for name in bound(ast.unparse(node))} | set(defined))
        if kind == "check":
            entry |= check_parts(grade_id, cell.source, cells)
        cells.append(entry)
    if seen != set(stored):
        differing = ", ".join(sorted(seen ^ set(stored)))
        raise CourseError(
            f"source/{assignment} and the gradebook differ in {differing}: run nbgrader generate_assignment {assignment} again"
        )
    lead = []  # nothing of the student's comes before these cells, so they run once for all
    for entry in cells:
        if entry["kind"] in ("solution", "manual", "check"):
            break
        if entry["kind"] == "given":
            entry["kind"] = "lead"
            lead.append({"code": entry["source"], "keep": entry["keep"]})
    return {"assignment": assignment, "notebook": notebook.name, "cells": cells, "imports": imports, "lead": lead}


def check_parts(grade_id, source, before):
    """The visible and the hidden part of a check cell, what it plugs, and the solution cell that it is about."""
    exercise = grade_id.removeprefix("check_")
    hidden = "\n".join(HIDDEN.findall(source))
    visible = HIDDEN.sub("", source).rstrip()
    plug = None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "plug" and len(node.args) == 2:
            plug = [ast.unparse(node.args[0]), node.args[1].value]
    solutions = [cell for cell in before if cell["kind"] == "solution"]
    about = [cell for cell in solutions if exercise == cell["grade_id"] or exercise in bound(cell["source"])]
    about = about or [cell for cell in solutions if bound(cell["source"]) & used(source)] or solutions
    solution = about[-1] if about else None
    names = [plug[1]] if plug else sorted(bound(solution["source"]) & used(source)) if solution else []
    return {
        "exercise": exercise,
        "visible": visible,
        "hidden": hidden,
        "plug": plug,
        "names": names,
        "solution": solution["grade_id"] if solution else "",
    }


def submitted_cells(data):
    """The cells of a submitted notebook as [{"id", "grade_id", "type", "source"}]; Malformed where it is none."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Malformed(f"it is no text in UTF-8 ({error.reason} at byte {error.start})") from None
    except (RecursionError, MemoryError):
        raise Malformed("it is JSON nested too deeply for a notebook, or too large") from None
    except ValueError as error:
        raise Malformed(f"it is not JSON ({error})") from None
    if isinstance(content, dict) and isinstance(content.get("worksheets"), list) and content["worksheets"]:
        content = content["worksheets"][0]  # nbformat 3
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise Malformed("it is JSON, but no notebook: it has no list of cells")
    if len(cells) > 20 * MOST_CELLS:
        raise Malformed(f"it has {len(cells):,} cells, over {20 * MOST_CELLS:,}")
    found = []
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        source = cell.get("source", cell.get("input", ""))
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if not isinstance(source, str):
            continue
        metadata = cell.get("metadata")
        metadata = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        grade_id = metadata.get("grade_id") if isinstance(metadata, dict) else None
        found.append(
            {
                "id": cell.get("id") if isinstance(cell.get("id"), str) else "",
                "grade_id": grade_id if isinstance(grade_id, str) else "",
                "type": cell.get("cell_type"),
                "source": source.encode("utf-8", "replace").decode(),
            }
        )
    if not found:
        raise Malformed("it is a notebook without cells")
    code = [len(cell["source"]) for cell in found if cell["type"] != "markdown" or cell["grade_id"]]
    if len(code) > MOST_CELLS or sum(code) > MOST_CODE:
        most = f"{MOST_CELLS:,} and {MOST_CODE:,}"
        raise Malformed(f"it has {len(code):,} cells of code with {sum(code):,} characters, over {most}")
    return found


def rebuild(record, data):
    """(cells to grade, cells that are left out, reasons) of a submission, given as bytes."""
    cells, reasons = submitted_cells(data), []
    places = {entry["cell"].get("id", ""): place for place, entry in enumerate(record["cells"])}
    by_grade_id = {entry["grade_id"]: place for place, entry in enumerate(record["cells"]) if entry["grade_id"]}
    sources = {}
    for place, entry in enumerate(record["cells"]):
        sources.setdefault(entry["source"].strip(), place)
        if entry["kind"] == "check":
            sources.setdefault(entry["visible"].strip(), place)
    matched = {}  # place in the record -> [submitted cell]
    extra, last = {}, -1
    for cell in cells:
        place = by_grade_id.get(cell["grade_id"])
        if place is None and not cell["grade_id"]:
            place = places.get(cell["id"]) if cell["id"] else None
            place = sources.get(cell["source"].strip()) if place is None else place
        if place is None:
            if cell["type"] == "code" and cell["source"].strip():
                extra.setdefault(last, []).append(cell["source"])
            continue
        matched.setdefault(place, []).append(cell)
        last = place
    left_out = []
    for place, found in list(matched.items()):  # a second copy of a solution cell is a cell of the student's own
        entry = record["cells"][place]
        if entry["kind"] == "experiment":
            left_out += [cell["source"] for cell in found if cell["source"].strip() != entry["source"].strip()]
        elif entry["kind"] not in ("solution", "manual", "markdown"):
            changed = [cell["source"] for cell in found if cell["source"].strip() not in sources]
            left_out += changed
            if changed:
                reasons.append(f"{entry['grade_id']} was changed; the course's own was run")
    wanted = set()
    for place, entry in enumerate(record["cells"]):
        wanted |= used(entry["source"]) | set(entry.get("names", ()))
        if entry["kind"] in ("check", "solution") and place not in matched:
            reasons.append(f"{entry['grade_id']} was missing; it was put back")
    orphans = {name: source for group in extra.values() for source in group for name in bound(source)}
    graded = []
    taken = {}
    for place, entry in enumerate(record["cells"]):
        if entry["kind"] in ("solution", "manual"):
            answer = entry["source"]
            found = [cell["source"] for cell in matched.get(place, []) if cell["source"].strip() != entry["source"].strip()]
            if len(matched.get(place, [])) > 1:
                reasons.append(f"{entry['grade_id']} stands there {len(matched[place])} times; the last answer was taken")
            if found:
                answer = found[-1]
                left_out += found[:-1]
            elif not matched.get(place):
                names = bound(entry["source"])
                answer = next((orphans[name] for name in sorted(names) if name in orphans), answer)
            taken[place] = answer
            wanted |= used(answer)
    own = [(place, source) for place, group in extra.items() for source in group if source not in taken.values()]
    needed, growing = set(), True
    names = [(bound(source), used(source)) for _, source in own]
    while growing:  # cells that a needed cell needs are needed too
        growing = False
        for number, (binds, uses) in enumerate(names):
            if number not in needed and binds & wanted:
                needed.add(number)
                wanted |= uses
                growing = True
    left_out += [source for number, (_, source) in enumerate(own) if number not in needed]
    for place in range(-1, len(record["cells"])):
        if place >= 0:
            entry = record["cells"][place]
            graded.append(entry | {"source": taken.get(place, entry["source"]), "place": place})
        for number in sorted(needed):
            if own[number][0] == place:
                source = own[number][1]
                cell = nbformat.v4.new_code_cell(source, id=f"own-{number}")
                graded.append({"kind": "extra", "grade_id": "", "source": source, "cell": cell, "place": place})
    return graded, left_out, reasons
