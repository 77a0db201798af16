"""Build the web site: the lessons with their figures, the reference, the instructor's guide, the benchmarks. No network.

    python solutions/site/build_site.py [--out build/site]

It gathers the pages from where each thing is written, then runs `sphinx-build -W --keep-going` on them: every warning is
an error, a broken link too. The site that was there is replaced when the new one is complete.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jinja2
import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "grading"), str(ROOT / "benchmarks")]
import results  # noqa: E402

import build  # noqa: E402

COPIED = {  # pages that are files of the repository
    "grading/README.md": "instructors.md",
    "solutions/guide.md": "engineers.md",
    "CONTRIBUTING.md": "contributors.md",
    "CHANGELOG.md": "changes.md",
}
FOLDED = "### BEGIN SOLUTION\n(.*?)[ \t]*### END SOLUTION"


class SiteError(ValueError):
    """A site that cannot be built; the message says what is wrong and how to mend it."""


def lesson(path):
    """(what the course map says of a lesson, its page): the solved notebook, its solutions and checks folded."""
    source, solved = build.source_notebook(path), nbformat.read(build.SOLVED / f"{path.stem}.ipynb", as_version=4)
    if [cell.source for cell in build.solved_notebook(source).cells] != [cell.source for cell in solved.cells]:
        raise SiteError(f"{path.stem} was changed since its notebook was executed: python grading/build.py {path.stem}")
    text = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    paragraphs = re.sub("<!--.*?-->", "", text).strip().split("\n\n")
    about = {
        "name": path.stem,
        "title": paragraphs[0].removeprefix("# ").strip(),
        "opening": (re.match(r"\*\*(.+?)\*\*", paragraphs[1]) or re.match("(.+)", paragraphs[1]))[1],
        "time": re.search(r"\b[Aa]bout (\w+ (?:minutes|hours))\b", text)[1],
        "exercises": len(re.findall("^### Exercise", text, flags=re.MULTILINE)),
        "points": sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in source.cells),
    }
    cells, heading = [], about["title"]
    for written, cell in zip(source.cells, solved.cells):
        grading = written.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown":
            heading = (re.findall("^#+ (.+)$", cell.source, flags=re.MULTILINE) or [heading])[-1]
        elif grading.get("solution"):
            stub = re.sub(FOLDED, "# YOUR CODE HERE\n", written.source, flags=re.DOTALL)
            cells.append(nbformat.v4.new_code_cell(stub, id=f"{cell.id}-task"))
            bodies = re.findall(FOLDED, written.source, flags=re.DOTALL)
            cell.source = bodies[0].rstrip() if len(bodies) == 1 else cell.source
            fold(cell, "solution")
        elif grading.get("grade"):
            fold(cell, f"check, {grading['points']} point{'s' * (grading['points'] != 1)}")
        if count := sum("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            cell.metadata["alt"] = alternatives(cell, heading, count)
        cells.append(cell)
    solved.cells = cells
    solved.cells[0].source += "\n\n" + template("lesson_head.md", lesson=about)
    return about, nbformat.writes(solved)


def fold(cell, what):
    """Hide the code of a cell behind a button; what it printed stays."""
    cell.metadata["tags"] = ["hide-input"]
    cell.metadata["mystnb"] = {"code_prompt_show": f"Show the {what}", "code_prompt_hide": f"Hide the {what}"}


def alternatives(cell, heading, count):
    """The texts for those who do not see the `count` figures of a cell: the kind and title of each plot, or the heading."""
    calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    plots = [call for call in calls if ast.unparse(call.func).startswith("plots.")]
    plots.sort(key=lambda call: (call.lineno, call.col_offset))
    titles = [next((keyword.value for keyword in call.keywords if keyword.arg == "title"), None) for call in plots]
    texts = [
        f"{call.func.attr.replace('_', ' ').capitalize()}: {title.value if isinstance(title, ast.Constant) else heading}"
        for call, title in zip(plots, titles)
    ]
    return texts if len(texts) == count else [f"Figure: {heading}"] * count


def modules():
    """[(title, [(module, its first line)])] of the package, in the order and the groups of its own docstring."""
    says = {}
    for path in sorted(build.PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(build.PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        says[name] = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    groups = [("Compress", []), ("Decide", []), ("Support", []), ("Inside", [])]
    words = [re.findall(r"\w+", block) for block in says.pop("").split("\n\n")[1:]]
    for name, text in says.items():
        top = name.split(".")[0]
        number = next((number for number, block in enumerate(words) if top in block), 3)
        place = words[number].index(top) if number < 3 else 0
        if top != "cli":
            groups[number][1].append((place, name, " ".join(text.split("\n\n")[0].split())))
    return [(title, [entry[1:] for entry in sorted(entries)]) for title, entries in groups]


def copied(path, folder):
    """A Markdown file of the repository as a page in `folder`: links to files that are no pages become downloads."""

    def target(match):
        text, link = match.groups()
        if re.match(r"https?:|#|mailto:", link):
            return match[0]
        file, anchor = (ROOT / path).parent / link.split("#")[0], link.partition("#")[2]
        inside = file.resolve().relative_to(ROOT).as_posix()
        if inside in COPIED:
            return f"[{text}]({COPIED[inside]}{'#' * bool(anchor)}{anchor})"
        if not file.exists():
            raise SiteError(f"{path} links to {link}, which is not there")
        place = Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()  # Sphinx takes /... for a place in `folder`
        return f"{{download}}`{text} <{place}>`" if file.is_file() else f"{text} (`{inside}/`)"

    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", target, (ROOT / path).read_text(encoding="utf-8"))


def template(name, **values):
    """A page made of a template and the values that it asks for."""
    loader = jinja2.FileSystemLoader(HERE / "templates")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(name).render(**values) + "\n"


def gather(folder):
    """Write every page into `folder`, and what they offer for download."""
    lessons = []
    for path in build.lessons():
        about, page = lesson(path)
        lessons.append(about)
        build.write(folder / "lessons" / f"{path.stem}.ipynb", page)
        shutil.copy(build.MODULES / path.stem / path.name.replace(".md", ".ipynb"), folder / "notebooks")
    groups = modules()
    for _, entries in groups:
        for name, _ in entries:
            build.write(folder / "reference" / f"{name}.md", template("module.md", module=name))
    for path, name in COPIED.items():
        build.write(folder / name, copied(path, folder))
    values = {"lessons": lessons, "groups": groups, "results": results}
    for name in ("index", "lessons/index", "reference/index", "benchmarks"):
        build.write(folder / f"{name}.md", template(f"{name.replace('/index', '')}.md", **values))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="the folder of the site, build/site")
    out = parser.parse_args(arguments).out.resolve()
    if out.exists() and not out.is_dir():
        raise SiteError(f"{out} is a file: choose a folder")
    if out.exists() and any(out.iterdir()) and not (out / "objects.inv").exists():
        raise SiteError(f"{out} holds other files: choose an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="site-") as scratch:
        pages, site = Path(scratch, "pages"), Path(scratch, "site")
        (pages / "notebooks").mkdir(parents=True)
        gather(pages)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", HERE, "-d", f"{scratch}/doctrees"]
        status = subprocess.run([*command, pages, site]).returncode
        if status:
            return status
        if out.exists():
            shutil.rmtree(out)
        site.rename(out)
    print(f"{out / 'index.html'}: open it in a browser")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (SiteError, build.LessonError, OSError) as error:
        sys.exit(f"site: {error}")
