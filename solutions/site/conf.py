"""Settings of the web site (build_site.py), how docstrings become pages, and the texts of figures.

The docstrings are prose with `names`, indented examples and the words Arguments, Returns, Raises, Example, Hint, Source. They
are neither reStructuredText nor Markdown, so that they read well in a terminal; `to_rst` makes the one of them.
"""

import re
import textwrap

from docutils import nodes
from sphinx import addnodes

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
html_domain_indices = False  # the reference has its own list of modules
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark as the system says, until the reader chooses
html_theme_options = {
    "logo": {"text": "tinyshrink"},
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 1,
    "footer_start": [],
    "footer_end": [],
    "back_to_top_button": False,
}
ALONE = ["index", "benchmarks", "instructors", "engineers", "contributors", "changes"]
html_sidebars = {name: [] for name in ALONE}  # they have no neighbours to list

nb_execution_mode = "off"  # the notebooks are executed and committed: grading/build.py
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of torch are written for its own site
viewcode_follow_imported_members = False  # else the way back from a source leads to the name that re-exports it
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
    parts = re.split(r"(``?[^`]+``?|https?://[^\s,;)]*[^\s,;).:])", text)
    for number, part in enumerate(parts):
        code = part.strip("`")
        if number % 2 == 0:  # re.split puts what matched between what did not
            parts[number] = re.sub(r"([\\*_|`])", r"\\\1", part)
        elif part.startswith("`"):
            full = f"{code} <tinyshrink.{code.removesuffix('()')}>" if "." in code else code
            parts[number] = f":py:obj:`{full}`" if NAME.match(code) else f"``{code}``"
            parts[number] += "\\ " * bool(re.match(r"\w", parts[number + 1]))
        else:
            parts[number] = f"`{part} <{part}>`__"
    return "".join(parts)


def docstring(app, what, name, object_, options, lines):
    lines[:] = to_rst("\n".join(lines))


def skip(app, what, name, object_, skipped, options):
    """Leave out the fields of a NamedTuple: its docstring says what they are, Python only which number they have."""
    return True if str(object_.__doc__).startswith("Alias for field number") else None


def mend(app, doctree):
    """Give each figure of a notebook the text that build_site.py wrote into its cell; link types by their full name only."""
    for cell in doctree.findall(nodes.container):
        texts = cell.get("cell_metadata", {}).get("alt", [])
        for image, text in zip(cell.findall(nodes.image) if texts else [], texts, strict=True):
            image["alt"] = text
    for reference in doctree.findall(addnodes.pending_xref):
        reference.attributes.pop("refspecific", None)  # or `bytes` would be any attribute that is called so


def setup(app):
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-skip-member", skip)
    app.connect("doctree-read", mend)
