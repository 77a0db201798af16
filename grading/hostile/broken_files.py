"""Files that are no notebooks, or have other names, forms and times than expected. Each gets a row that says what is wrong."""

import json
import os

import nbformat

from . import ASSIGNMENT, EXERCISES, GRADED, must, solved

NAME = f"{ASSIGNMENT}.ipynb"


def right(released, source):
    """The bytes of a notebook that is right."""
    return nbformat.writes(solved(released, source)).encode()


@must("malformed")
def is_empty(released, source):
    return b""


@must("malformed")
def is_half_a_file(released, source):
    return right(released, source)[:5000]


@must("malformed")
def is_a_web_page(released, source):
    return b"<!DOCTYPE html><html><title>Log in</title><script>alert(1)</script></html>"


@must("malformed")
def is_json_but_no_notebook(released, source):
    return b'{"cells": {"a": 1}, "nbformat": "four"}'


@must("malformed")
def is_a_list(released, source):
    return b"[1, 2, 3]"


@must("malformed")
def is_null(released, source):
    return b"null"


@must("malformed")
def is_a_zip(released, source):
    return b"PK\x03\x04" + bytes(1000)


@must("malformed")
def is_nested_too_deeply(released, source):
    return b"[" * 200_000 + b"]" * 200_000


@must("malformed", *GRADED, full=EXERCISES)
def is_in_another_encoding(released, source):
    """As an editor saves it that knows better."""
    return right(released, source).decode().replace("return", "return", 1).encode("utf-16")


@must("malformed")
def is_not_in_utf8(released, source):
    return right(released, source).replace(b"scores", b"scores \xff\xfe\xe9", 1)


@must(*GRADED, "malformed", full=EXERCISES)
def starts_with_a_byte_order_mark(released, source):
    return b"\xef\xbb\xbf" + right(released, source)


@must(*GRADED, full=EXERCISES)
def has_windows_line_ends(released, source):
    return right(released, source).replace(b"\n", b"\r\n")


@must(*GRADED, "malformed", full=EXERCISES)
def has_numbers_that_json_has_not(released, source):
    notebook = solved(released, source)
    notebook.metadata["x"] = [float("nan"), float("inf"), 10**400]
    return json.dumps(notebook).encode()


@must(*GRADED, "malformed", full=EXERCISES)
def holds_lone_surrogates_and_zeros(released, source):
    notebook = solved(released, source)
    notebook.cells.append(nbformat.v4.new_markdown_cell("\ud800 \x00 \udfff"))
    return json.dumps(notebook).encode()


@must("malformed")
def has_two_hundred_megabytes(released, source):
    notebook = json.loads(right(released, source))
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "id": "big", "source": "x" * 200_000_000})
    return json.dumps(notebook).encode()


@must("malformed", *GRADED, full=EXERCISES)
def is_in_format_3(released, source):
    return nbformat.writes(nbformat.convert(solved(released, source), 3), version=3).encode()


@must("malformed", *GRADED, full=EXERCISES)
def is_in_format_5(released, source):
    return right(released, source).replace(b'"nbformat": 4', b'"nbformat": 5')


@must("malformed", *GRADED, full=EXERCISES)
def is_in_format_4_of_the_future(released, source):
    notebook = json.loads(right(released, source))
    notebook["nbformat_minor"] = 99
    return json.dumps(notebook).encode()


@must("malformed", *GRADED, full=EXERCISES)
def has_cells_without_fields(released, source):
    notebook = json.loads(right(released, source))
    notebook["cells"] += [{"cell_type": "code"}, {"cell_type": "poem", "source": []}, {}, {"source": None, "metadata": []}]
    return json.dumps(notebook).encode()


@must("malformed", *GRADED, full=EXERCISES)
def has_cells_that_are_none(released, source):
    notebook = json.loads(right(released, source))
    notebook["cells"] += [None, 7, "cell", []]
    return json.dumps(notebook).encode()


@must("malformed")
def has_no_notebook(released, source):
    return {"answers.pdf": b"%PDF-1.4"}


@must("malformed")
def has_an_empty_folder(released, source):
    return {}


@must(*GRADED, full=EXERCISES)
def has_the_name_of_a_second_download(released, source):
    return {f"{ASSIGNMENT} (1).ipynb": right(released, source)}


@must(*GRADED, full=EXERCISES)
def has_capitals_in_its_name(released, source):
    return {f"{ASSIGNMENT.upper()}.IPYNB": right(released, source)}


@must(*GRADED, "malformed", full=EXERCISES)
def has_an_odd_name(released, source):
    return {"Größe 'final' \"v2\"\n; $(rm -rf ~) 作业.ipynb": right(released, source)}


@must(*GRADED, "malformed", full=EXERCISES)
def has_two_notebooks(released, source):
    """The one with the right name counts; without one, it cannot be known which."""
    return {NAME: right(released, source), "old version.ipynb": b"{}"}


@must("malformed", *GRADED, full=EXERCISES)
def has_two_notebooks_of_other_names(released, source):
    return {"a.ipynb": right(released, source), "b.ipynb": b"{}"}


@must(*GRADED, full=EXERCISES)
def has_many_other_files(released, source):
    return {NAME: right(released, source), **{f"data/{number}.bin": bytes(100) for number in range(300)}}


@must("malformed")
def has_only_a_checkpoint(released, source):
    return {f".ipynb_checkpoints/{ASSIGNMENT}-checkpoint.ipynb": right(released, source)}


@must("malformed")
def is_a_folder(released, source):
    return {f"{NAME}/inner.txt": b"a folder with the name of a notebook"}


@must("malformed")
def is_a_pipe(released, source):
    """Whoever opens it waits for ever."""
    return {NAME: os.mkfifo}


@must("malformed")
def is_a_link_to_a_password_file(released, source):
    return {NAME: lambda path: os.symlink("/etc/passwd", path)}


@must("malformed")
def is_a_link_to_another_submission(released, source):
    return {NAME: lambda path: os.symlink(f"../../reference/{ASSIGNMENT}/{NAME}", path)}


@must("malformed")
def is_a_link_to_itself(released, source):
    return {NAME: lambda path: os.symlink(NAME, path)}


@must(*GRADED, "flagged", full=EXERCISES)
def links_to_the_gradebook(released, source):
    return {NAME: right(released, source), "data.db": lambda path: os.symlink("../../../gradebook.db", path)}


@must(*GRADED, "flagged", full=EXERCISES, reason="time")
def has_a_bad_timestamp(released, source):
    return {NAME: right(released, source), "timestamp.txt": b"yesterday evening"}


@must(*GRADED, "flagged", full=EXERCISES)
def has_an_empty_timestamp(released, source):
    return {NAME: right(released, source), "timestamp.txt": b""}


@must(*GRADED, "flagged", full=EXERCISES, reason="time")
def has_a_timestamp_that_is_no_text(released, source):
    return {NAME: right(released, source), "timestamp.txt": b"\xff\xfe\x00 2026"}


@must(*GRADED, "flagged", full=EXERCISES)
def has_a_timestamp_in_the_future(released, source):
    return {NAME: right(released, source), "timestamp.txt": b"9998-12-31 23:59:59 UTC"}


@must(*GRADED, "flagged", full=EXERCISES, reason="time")
def has_a_huge_timestamp(released, source):
    return {NAME: right(released, source), "timestamp.txt": b"9" * 10_000_000}


@must(*GRADED, "flagged", "malformed", full=EXERCISES)
def has_a_link_for_a_timestamp(released, source):
    return {NAME: right(released, source), "timestamp.txt": lambda path: os.symlink("/dev/zero", path)}


@must("malformed", reason="magics")
def has_a_thousand_magics(released, source):
    """IPython refuses, with an error that is none of a syntax."""
    return solved(released, source, apply_masks="%time 1\n" * 1000)


@must("malformed", reason="RecursionError")
def has_a_name_with_six_hundred_dots(released, source):
    """It can be read, but not written down again."""
    return solved(released, source, apply_masks="torch" + ".a" * 600 + " = 1\n")


@must("malformed", reason="cells, over")
def has_a_hundred_thousand_cells(released, source):
    notebook = json.loads(right(released, source))
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"] += [cell | {"source": f"x{number} = x{number + 1}"} for number in range(100_000)]
    return json.dumps(notebook).encode()


@must("malformed", reason="cells of code")
def has_megabytes_of_code(released, source):
    """Its syntax tree would take gigabytes of the worker."""
    return solved(released, source, apply_masks="x = [1, 1, 1, 1, 1]\n" * 1_000_000)


@must("malformed", reason="is no Python")
def has_magics_in_a_long_cell(released, source):
    """Each of them is a second of the worker."""
    return solved(released, source, apply_masks="x = 1\n" * 20_000 + "%time 1\n" * 40)
