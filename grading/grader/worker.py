"""Grades one submission: bytes in, a result and an autograded notebook out. It touches no file of the course.

A worker is a process of joblib or of a Dask cluster. All that it needs comes in the job, so it may run on another machine.
"""

import copy
import os
import threading
import time

import nbformat
from nbconvert.preprocessors.sanitize import SanitizeHTML

from . import executor, kernels, repair, sandbox

SCHEMA = 1


def job_of(record, student, submission, digest, *, timeout, seed, limits, unsafe):
    """What a worker is sent for one submission, given as (file name, bytes)."""
    name, data = submission
    return {
        "record": record, "student": student, "file": name, "data": data, "digest": digest,
        "timeout": timeout, "seed": seed, "limits": limits, "unsafe": unsafe,
    }  # fmt: skip


def grade_for(parent, job):
    """`grade_one` in a process of its own, which ends when `parent`, which started it, is gone."""
    if os.getpid() != parent and not any(thread.name == "orphan" for thread in threading.enumerate()):
        threading.Thread(target=_end_with, args=(parent,), name="orphan", daemon=True).start()
    return grade_one(job)


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def grade_one(job):
    """(result, autograded notebook as text or None) of a job. Never raises but for a sandbox that cannot be made."""
    try:
        return graded(job)
    except sandbox.SandboxError:
        raise
    except repair.Malformed as error:
        reason = str(error)
    except Exception as error:  # whatever a submission does to the grader, the next one is graded
        reason = f"the grader failed on it ({type(error).__name__}: {str(error)[:200]}): a person must look at it"
    return malformed(job["record"], job["student"], [reason], job["file"], job["digest"], job["unsafe"]), None


def graded(job):
    """What `grade_one` gives, or any error that a submission makes."""
    started = time.monotonic()
    record = job["record"]
    cells, left_out, reasons = repair.rebuild(record, job["data"])
    run = executor.Run(
        record,
        cells,
        lambda: kernels.start(record, job["limits"], job["unsafe"]),
        job["timeout"],
        10 * job["timeout"],
        job["seed"],
    )
    executor.look(run, left_out, reasons)
    run.run()
    result = result_of(job, run, reasons)
    result["seconds"] = {name: round(value, 3) for name, value in run.seconds.items()}
    result["seconds"]["run"] = round(time.monotonic() - started, 3)
    return result, autograded(run)


def blank(record, student, file, digest, unsafe):
    """The result of a submission of which nothing is known yet."""
    return {
        "schema": SCHEMA,
        "assignment": record["assignment"],
        "student": student,
        "status": "graded",
        "reasons": ["graded without a sandbox (--unsafe)"] if unsafe else [],
        "score": 0.0,
        "max_score": sum(points(cell) for cell in record["cells"] if cell["kind"] in ("check", "manual")),
        "unsafe": unsafe,
        "timestamp": None,
        "late_seconds": 0.0,
        "seconds": {},
        "digest": digest,
        "file": file,
        "exercises": [],
        "code": {},
    }


def malformed(record, student, reasons, file, digest, unsafe):
    """The result of a submission that cannot be read."""
    result = blank(record, student, file, digest, unsafe)
    result["status"] = "malformed"
    result["reasons"] += reasons
    for cell in record["cells"]:
        if cell["kind"] in ("check", "manual"):
            result["exercises"].append(exercise(cell, outcome="not run", message="; ".join(reasons)))
    return result


def killer(job):
    """The result of a submission whose worker died each time that it held it."""
    reason = "its worker died on it, alone too: a person must look at it"
    return malformed(job["record"], job["student"], [reason], job["file"], job["digest"], job["unsafe"])


def points(cell):
    return float(cell["cell"]["metadata"]["nbgrader"]["points"])


def exercise(cell, **found):
    """The row of a check in a result."""
    name = cell.get("exercise", cell["grade_id"])
    row = {"grade_id": cell["grade_id"], "exercise": name, "points": 0.0, "max_points": points(cell)}
    return row | {"outcome": "not run", "test": None, "message": ""} | found


def result_of(job, run, reasons):
    """The result of a run: outcomes, points and why it is not simply graded."""
    record = job["record"]
    result = blank(record, job["student"], job["file"], job["digest"], job["unsafe"])
    solutions = {cell["grade_id"]: cell["source"] for cell in run.cells if cell["kind"] == "solution"}
    for place, cell in enumerate(run.cells):
        if cell["kind"] == "manual":
            result["exercises"].append(exercise(cell, outcome="manual", message="a person grades this"))
        if cell["kind"] != "check":
            continue
        row = exercise(cell, **run.results.get(place, {}))
        if run.compromised is not None and place >= run.compromised:
            if row["points"]:
                row |= {"outcome": "manual", "points": 0.0, "message": "a person looks at this"}
            elif row["outcome"] == "failed" and row["test"] != "hidden":
                row["message"] = "the check failed"  # whatever it says may be what its author should not know
        result["exercises"].append(row)
        result["code"][row["exercise"]] = solutions.get(cell["solution"], "")
    result["score"] = sum(row["points"] for row in result["exercises"])
    result["reasons"] += [*run.flags, *run.reasons, *reasons]
    outcomes = {row["outcome"] for row in result["exercises"]}
    if run.flags:
        result["status"] = "flagged"
    elif outcomes & {"timed out", "crashed", "not run"}:
        result["status"] = "partly graded"
    return result


def autograded(run):
    """The notebook as it was graded, for formgrader, as text."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    )
    count = 0
    for place, entry in enumerate(run.cells):
        cell = copy.deepcopy(nbformat.from_dict(entry["cell"]))
        cell.source = entry["source"]
        if entry["kind"] == "manual" and cell.cell_type == "markdown":
            cell.source = SanitizeHTML().sanitize_html_tags(cell.source)  # formgrader shows it as HTML
        if cell.cell_type == "code":
            cell.outputs = [output(one) for one in run.outputs.get(place, []) if isinstance(one, dict)]
            cell.execution_count = None
            if entry["kind"] != "experiment":
                count += 1
                cell.execution_count = count
        notebook.cells.append(cell)
    return nbformat.writes(notebook) + "\n"


def output(one):
    """An output that came from the kernel, made anew: only text."""
    kind = one.get("output_type")
    if kind == "stream":
        name = "stdout"  # nbgrader takes anything on stderr for a failure
        return nbformat.v4.new_output("stream", name=name, text=str(one.get("text", "")))
    if kind == "error":
        lines = one.get("traceback")
        lines = [str(line) for line in lines] if isinstance(lines, list) else []
        said = f"{one.get('ename', '')}: {one.get('evalue', '')}"
        return nbformat.v4.new_output(
            "error", ename=str(one.get("ename", "")), evalue=str(one.get("evalue", "")), traceback=lines or [said]
        )
    data = one.get("data") if isinstance(one.get("data"), dict) else {}
    return nbformat.v4.new_output("display_data", data={"text/plain": str(data.get("text/plain", ""))})
