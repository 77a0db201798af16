"""Settings of the web site (build_site.py), how docstrings become pages, and the texts of figures.

The docstrings are prose with `names`, indented examples and the words Arguments, Returns, Raises, Example, Hint, Source. They
are neither reStructuredText nor Markdown, so that they read well in a terminal; `to_rst` makes the one of them.
"""

import re
import textwrap

from docutils import nodes

project = "tinyshrink"
author = "the tinyshrink authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["notebooks"]
html_theme = "pydata_sphinx_theme"
html_title = "tinyshrink"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_favicon = "static/favicon.svg"
html_theme_options = {
    "logo": {"text": "tinyshrink"},
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 1,
    "footer_start": [],
    "footer_end": [],
    "back_to_top_button": False,
}
html_sidebars = {"index": [], "benchmarks": [], "instructors": []}  # pages without neighbours of their own

nb_execution_mode = "off"  # the notebooks are executed and committed: grading/build.py
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

SECTION = re.compile(r"(?:(?<=[.:)] )|(?<=[.:)]\n)|^)(Arguments?:|Returns\b|Raises\b|Examples?:|Hint:|Sources?:)")
NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*(\(\))?$")


def to_rst(text):
    """A docstring as reStructuredText: every character stands for itself but for `names`, addresses, lists and indents."""
    blocks = []
    for block in re.split(r"\n\s*\n", SECTION.sub(r"\n\n\1", text.strip())):
        lines = block.strip("\n").splitlines()
        if all(line.startswith("    ") for line in lines) or all(re.search(r"\S {2,}\S", line) for line in lines):
            blocks.append("::\n\n" + textwrap.indent(textwrap.dedent("\n".join(lines)), "    "))
            continue
        for part in re.split(r"\n(?=- )", textwrap.dedent("\n".join(lines))):
            item = part.startswith("- ")
            marked = SECTION.sub(r"**\1**", inline(part.removeprefix("- ")), count=1)
            blocks.append("- " + marked.replace("\n", "\n  ") if item else "\n".join(map(str.strip, marked.splitlines())))
    return "\n\n".join(blocks).splitlines()


def inline(text):
    """Prose with its `names` as links where the site has them, its addresses as they are, and the rest as it reads."""
    parts = re.split(r"(``?[^`]+``?|https?://[^\s,;)]+)", text)
    for number, part in enumerate(parts):
        code = part.strip("`")
        if number % 2 == 0:
            parts[number] = re.sub(r"([\\*_|`])", r"\\\1", part)
        elif part.startswith("`"):
            parts[number] = f":py:obj:`{code}`" if NAME.match(code) else f"``{code}``"
            parts[number] += "\\ " if number + 1 < len(parts) and re.match(r"\w", parts[number + 1]) else ""
    return "".join(parts)


def docstring(app, what, name, object_, options, lines):
    lines[:] = to_rst("\n".join(lines))


def alternatives(app, doctree):
    """Give each figure of a notebook the text that build_site.py wrote into its cell."""
    for cell in doctree.findall(lambda node: node.get("nb_element") == "cell_code" if isinstance(node, nodes.container) else False):
        texts = cell["cell_metadata"].get("alt", [])
        for image, text in zip(cell.findall(nodes.image), texts, strict=True):
            image["alt"] = text


def setup(app):
    app.connect("autodoc-process-docstring", docstring)
    app.connect("doctree-read", alternatives)
