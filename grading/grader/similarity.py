"""Submissions whose code is the reference's or each other's once names and layout are left out: for a person to look at.

Nothing is graded down. Short answers look alike by themselves: exercises with few own nodes of syntax are left out, and the
others say how many of the class have the same one.
"""

import ast
import hashlib
import warnings
from dataclasses import dataclass
from html import escape
from pathlib import Path

import nbformat

import build
from tinyshrink import files

from . import results

FEWEST_NODES = 40  # below, two right answers are alike by chance; of the reference's answers half have more than 47
MOST_CHARACTERS = 100_000  # of one answer


@dataclass
class Group:
    """Students with the same code in an exercise; `nodes` is its size, `of` the number of students who solved it at all."""

    exercise: str
    students: list[str]
    reference: bool
    nodes: int
    of: int


def similar(course, assignment):
    """(Groups, the most telling first; exercises too short to tell), from the results' code and the source notebook."""
    found = results.load(course, assignment)
    path = Path(course) / "source" / assignment / f"{assignment}.ipynb"
    if not path.exists():
        raise results.CourseError(f"{path} is missing: run tinyshrink release {assignment} first")
    groups, short = [], []
    for cell in nbformat.read(path, as_version=4).cells:
        metadata = cell.metadata.get("nbgrader", {})
        if not metadata.get("solution"):
            continue
        exercise = metadata["grade_id"]
        given = build.without(cell.source, build.SOLUTION)
        reference, nodes = normal_form(cell.source, given)
        if nodes < FEWEST_NODES:
            short.append(exercise)
        forms = {}
        for result in found:
            if (form := normal_form(result["code"].get(exercise, ""), given))[0]:
                forms.setdefault(form, []).append(result["student"])
        solved = sum(map(len, forms.values()))
        for (form, nodes), students in forms.items():
            if nodes >= FEWEST_NODES and (form == reference or len(students) > 1):
                groups.append(Group(exercise, students, form == reference, nodes, solved))
    groups.sort(key=lambda group: (len(group.students) / group.of, -group.nodes))
    return groups, short


def normal_form(source, given=""):
    """(a fingerprint that is the same for code that differs in names, comments and layout only, its own nodes of syntax).

    The statements of `given`, the stub, are left out. ("", 0) for what is no code, or adds nothing to the stub.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _normal_form(ast.parse(source[:MOST_CHARACTERS]), ast.parse(given))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", 0


def _normal_form(tree, stub):
    stub_statements = {ast.dump(node) for node in ast.walk(stub) if isinstance(node, ast.stmt)}
    functions = {node.name for node in ast.walk(stub) if isinstance(node, ast.FunctionDef)}
    tree = _Own(stub_statements | {ast.dump(ast.parse("raise NotImplementedError()").body[0])}).visit(tree)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, f"v{len(names)}")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"v{len(names)}")
        elif isinstance(node, ast.FunctionDef) and node.name not in functions:
            names.setdefault(node.name, f"v{len(names)}")
    for node in ast.walk(tree):
        for field in ("arg", "id", "name"):
            if isinstance(node, (ast.arg, ast.Name, ast.FunctionDef)) and hasattr(node, field):
                setattr(node, field, names.get(getattr(node, field), getattr(node, field)))
    own = [node for node in ast.walk(tree) if not isinstance(node, (ast.expr_context, ast.operator, ast.cmpop, ast.unaryop))]
    solved = any(isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in own)
    return (hashlib.sha256(ast.dump(tree).encode()).hexdigest(), len(own)) if solved else ("", 0)


class _Own(ast.NodeTransformer):
    """Leaves out docstrings, annotations and the statements of the stub."""

    def __init__(self, stub_statements):
        self.stub_statements = stub_statements

    def visit(self, node):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return None  # a docstring, or a string that does nothing
        if isinstance(node, ast.stmt) and ast.dump(node) in self.stub_statements:
            return None
        return super().visit(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        return ast.Assign([node.target], node.value) if node.value else None

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)


def write(course, assignment):
    """Write COURSE/report/ASSIGNMENT.similar.html, the groups with the code of each student; returns (path, groups, short)."""
    groups, short = similar(course, assignment)
    code = {result["student"]: result["code"] for result in results.load(course, assignment)}
    parts = [
        "<p>Names, comments and layout are left out of the comparison. That two answers are alike proves nothing: look at how "
        "long the code is, and how many of the class wrote the same. Nothing was graded down.</p>"
    ]
    if short:
        parts.append(f"<p>Too short to tell: {escape(', '.join(short))}.</p>")
    for group in groups:
        like = " and the reference" if group.reference else ""
        parts.append(
            f"<h2>{escape(group.exercise)}: {escape(', '.join(group.students))}{like}</h2>"
            f"<p>{len(group.students)} of {group.of} who solved it, {group.nodes} nodes of syntax.</p>"
        )
        for student in group.students:
            text = escape(code[student][group.exercise])
            parts.append(f"<details><summary>{escape(student)}</summary><pre>{text}</pre></details>")
    path = Path(course) / "report" / f"{assignment}.similar.html"
    with files.whole(path) as part:
        part.write_text(results.page(f"{assignment}: code that is alike", *parts), encoding="utf-8")
    return path, groups, short
