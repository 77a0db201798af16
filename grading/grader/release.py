"""The bundle for students: the notebooks that nbgrader released, a README and what to install, as one zip of the same bytes
every time."""

import importlib.metadata
import re
import subprocess
import zipfile
from pathlib import Path

import nbformat

import build
from tinyshrink import files

from . import results

README = """# Your notebooks

{notebooks}

1. Once: Python 3.10 or newer, then in this folder

       python -m venv .venv
       source .venv/bin/activate            (Windows: .venv\\Scripts\\activate)
       pip install -r requirements.txt{framework}

2. `jupyter lab`, open a notebook, fill in the cells that say YOUR CODE HERE, and run the check below each.
3. `tinyshrink check THE_NOTEBOOK.ipynb` runs all of its checks. `tinyshrink doctor` says what is missing, and how to get it.
4. Before you hand in: restart the kernel, run all cells, save, and hand in the one file under its own name.

Check cells and given cells are put back before grading: change your own cells only. Some checks are hidden and try other
inputs. A wrong exercise does not sink the next one.
"""


def write(course, assignments=()):
    """Release `assignments` (all where none is named) with nbgrader and put them in COURSE/bundle/NAME.zip; returns its path.

    A source notebook that the course does not have yet is built from its lesson. CourseError where a notebook still holds
    a solution or a hidden check.
    """
    course = Path(course)
    names = list(dict.fromkeys(assignments)) or sorted(
        {path.parent.name for path in course.glob("source/*/*.ipynb")} or {lesson.stem for lesson in build.lessons()}
    )
    sources, members = {name: _source(course, name) for name in names}, {}  # an unknown name is said before a file is written
    config = course / "nbgrader_config.py"
    if not config.exists():  # a folder that becomes a course with this
        build.write(config, (build.ROOT / "grading" / config.name).read_text(encoding="utf-8"))
    for name, source in sources.items():
        text = build.release({name: source}, course)[name]
        refuse_solutions(name, source, nbformat.reads(text, as_version=4))
        members[f"{name}/{name}.ipynb"] = text
    address = origin()
    needed = [need for need in importlib.metadata.requires("tinyshrink") or [] if "extra ==" not in need]
    framework = (
        "" if address else "\n       pip install --editable THE_COURSE      (its folder: your instructor says where it is)"
    )
    members["README.md"] = README.format(notebooks="\n".join(f"- {name}" for name in names), framework=framework)
    members["requirements.txt"] = "\n".join([*([f"tinyshrink @ git+{address}"] if address else []), *sorted(needed)]) + "\n"
    path = course / "bundle" / f"{names[0] if len(names) == 1 else 'tinyshrink'}.zip"
    with files.whole(path) as part, zipfile.ZipFile(part, "w") as bundle:
        for member, text in sorted(members.items()):
            # A fixed date, and no compression, which differs from one zlib to the next.
            bundle.writestr(zipfile.ZipInfo(f"tinyshrink/{member}"), text)
    return path


def refuse_solutions(name, source, released):
    """CourseError where the released notebook holds a region of solutions or hidden checks, or what stood in one."""
    for number, cell in enumerate(released.cells, start=1):
        if found := re.search(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)", cell.source, flags=re.IGNORECASE):
            raise results.CourseError(f"{name}, cell {number} still holds {found[0]!r}: it must not go out")
    given = "".join("".join(cell.source.split()) for cell in released.cells)
    for cell in source.cells:
        for begin, end in (build.SOLUTION, build.HIDDEN):
            for region in re.findall(rf"{begin}(.*?){end}", cell.source, flags=re.DOTALL):
                if len(squeezed := "".join(region.split())) > 20 and squeezed in given:
                    raise results.CourseError(f"{name} shows what stands between {begin} and {end}: {region.strip()[:60]!r}")


def _source(course, name):
    """The source notebook of an assignment; where the course has none, it is built from the lesson."""
    path = course / "source" / name / f"{name}.ipynb"
    try:
        if path.exists():
            return nbformat.read(path, as_version=4)
        [lesson] = build.lessons([name])
        return build.source_notebook(lesson)
    except (build.LessonError, ValueError) as error:
        raise results.CourseError(str(error)) from error


def origin():
    """Where this clone came from, without a password; empty where that is not on the network."""
    command = ["git", "-C", str(build.ROOT), "config", "--get", "remote.origin.url"]
    try:
        url = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
    return re.sub(r"//[^/@]*@", "//", url) if url.startswith("https://") else ""
