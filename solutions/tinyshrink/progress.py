"""How far you are: the points of each module, read from the checks in your saved notebooks. Nothing is run for it.

from tinyshrink import progress

progress.show()
"""

import html
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

STUB = "raise NotImplementedError()"  # in a cell that is still to be filled in
TITLES = "module", "points", "state"
NOTE = "Visible checks, as they ran last in your saved notebooks. Hidden checks come with grading."


@dataclass
class Check:
    """One check cell: its exercise, the heading above that, its points, and "passed", "failed", "not run" or "blank"."""

    exercise: str
    heading: str
    points: float
    state: str


@dataclass
class Module:
    """One notebook: its path, its checks in order, and what is the trouble where it cannot be read."""

    path: Path
    checks: list[Check]
    trouble: str = ""

    @property
    def total(self) -> float:
        return sum(check.points for check in self.checks)

    @property
    def points(self) -> float:
        return sum(check.points for check in self.checks if check.state == "passed")

    @property
    def next(self) -> Check | None:
        """The first check that did not pass yet."""
        return next((check for check in self.checks if check.state != "passed"), None)

    @property
    def says(self) -> str:
        if self.trouble or not self.next:
            return self.trouble or "done"
        return f"next: {self.next.heading or self.next.exercise} ({self.next.state})"


@dataclass
class Progress:
    """All modules, as a table: `table()` for a terminal, HTML in a notebook, text elsewhere."""

    modules: list[Module]

    @property
    def next(self) -> Module | None:
        """The first module with a check that did not pass yet."""
        return next((module for module in self.modules if module.next), None)

    @property
    def summary(self) -> str:
        earned, total = (sum(getattr(module, what) for module in self.modules) for what in ("points", "total"))
        return f"{earned:g} of {total:g} points. {NOTE}"

    def table(self) -> Table:
        table = Table(*TITLES, caption=self.summary, caption_justify="left")
        for module in self.modules:
            style = "yellow" if module.trouble else "green" if not module.next else None
            points = "?" if module.trouble else f"{module.points:g} of {module.total:g}"
            table.add_row(module.path.stem, points, escape(module.says), style=style)
        return table

    def __repr__(self):
        from .report import as_text  # here, since it brings PyTorch along, which takes its time

        return as_text(self.table(), width=120)

    def _repr_html_(self):
        rows = []
        for module in self.modules:
            name, share = html.escape(module.path.stem), module.points / (module.total or 1)
            bar = f'<progress value="{share:.3f}" aria-label="{name}"></progress> {module.points:g} of {module.total:g}'
            rows.append(
                f'<tr><td style="text-align: left"><a href="../{name}/{name}.ipynb">{name}</a></td>'
                f'<td style="text-align: left">{"" if module.trouble else bar}</td>'
                f'<td style="text-align: left">{html.escape(module.says)}</td></tr>'
            )
        head = "".join(f'<th style="text-align: left">{title}</th>' for title in TITLES)
        return f"<table><tr>{head}</tr>{''.join(rows)}</table><p>{self.summary}</p>"


def notebooks(start: str | os.PathLike = ".") -> list[Path]:
    """Your notebooks, NN_topic/NN_topic.ipynb, of the folder that `start` is in, or of its modules/; maybe none."""
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        for place in (folder / "modules", folder):
            found = sorted(path for path in place.glob("[0-9][0-9]_*/*.ipynb") if path.stem == path.parent.name)
            if found:
                return found
    return []


def read(path: Path) -> Module:
    """What the checks of one saved notebook say. A notebook that cannot be read has a trouble and no checks."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        checks = list(_checks(cells))
    except OSError as error:
        return Module(path, [], f"cannot be read ({error.strerror})")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Module(path, [], "is damaged: no notebook in it. Take a fresh copy, and your answers from a backup")
    return Module(path, checks, "" if checks else "has no checks: is it a notebook of this course?")


def _checks(cells):
    heading, about, answer = "", "", ""
    for cell in cells:
        source = "".join(cell.get("source", ""))
        nbgrader = cell.get("metadata", {}).get("nbgrader", {})
        if cell.get("cell_type") == "markdown":
            heading = (re.findall(r"^#+ +(.+)$", source, flags=re.MULTILINE) or [heading])[-1]
        elif nbgrader.get("grade"):
            failed = any(output.get("output_type") == "error" for output in cell.get("outputs", []))
            state = (
                "blank" if STUB in answer else "failed" if failed else "passed" if cell.get("execution_count") else "not run"
            )
            yield Check(nbgrader["grade_id"].removeprefix("check_"), about, nbgrader["points"], state)
        elif nbgrader.get("solution"):
            about, answer = heading, source


def show() -> Progress:
    """The map of all modules, for the last cell of a notebook."""
    return Progress([read(path) for path in notebooks()])
