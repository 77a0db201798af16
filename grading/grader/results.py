"""What reports, feedback and the look for copies share: reading the grader's results, and one page style."""

import json
from html import escape
from pathlib import Path

from .repair import CourseError

STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #c8322b; --line: #8885 }
@media (prefers-color-scheme: dark) { :root { --good: #57ab5a; --bad: #ff7b72 } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } .wide { overflow-x: auto }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.good { color: var(--good) } .bad { color: var(--bad) } .said { white-space: pre-wrap; overflow-wrap: break-word }
pre { overflow-x: auto; padding: .7rem; border: 1px solid var(--line); border-radius: .3rem }
svg { fill: currentColor; vertical-align: bottom }
"""


def load(course, assignment):
    """The results of all submissions of an assignment, by student; CourseError where there are none or one is broken."""
    folder = Path(course) / "results" / assignment
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if result["schema"] != 1:
                raise ValueError(f"its schema is {result['schema']}, not 1")
        except (ValueError, TypeError, KeyError) as error:
            raise CourseError(f"{path} is no result of this grader ({error}): delete it and grade again") from error
        found.append(result)
    if not found:
        raise CourseError(f"{folder} holds no results: run tinyshrink grade {assignment} first")
    return found


def number(value):
    """A score as people write it: 3, not 3.0."""
    return f"{round(value, 2):g}"


def page(title, *parts):
    """One self-contained HTML page; the parts are HTML that is safe already, the title is text."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    # Whatever slipped through escaping would still not run.
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    body = "\n".join(parts).encode("utf-8", "backslashreplace").decode()  # half of a character, as a student may have it
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{policy}<style>{STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def table(header, rows):
    """An HTML table of texts and numbers, all escaped; numbers stand at the right."""

    def cell(value):
        if isinstance(value, (int, float)):
            return f'<td class="n">{number(value)}</td>'
        if isinstance(value, Html):
            return f"<td>{value}</td>"
        return f'<td class="said">{escape(str(value))}</td>'

    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


class Html(str):
    """Text that is HTML already and must not be escaped again."""
