"""Tripwires: what a student's cells contain that no answer needs, and what the kernel says was tampered with.

Code that runs in the same process as its tests can in principle cheat them, whatever is done here. So nothing is graded down
by a tripwire: it flags, and a person looks. Three of them stand behind each other: this look at the source; in the kernel
(inside.py), a look at all that checks rely on, before and after each check; and a canary, which is the same check with a
function that cannot pass.
"""

import ast
import builtins
import importlib.util
import sys

from . import repair

# Names whose use gives access to frames, tests, the shell or other objects than an answer gets.
NAMES = set("In Out __builtins__ __import__ breakpoint compile eval exec globals locals vars".split())
MODULES = set(
    """
    IPython _ctypes _pytest atexit bdb builtins cProfile cffi code codeop ctypes dis faulthandler forbiddenfruit gc imp
    importlib inspect ipykernel jupyter_client linecache marshal mmap mock nbclient nbgrader pdb pickle pkgutil profile
    pytest runpy site sitecustomize symtable trace traceback tracemalloc unittest zipimport zmq
    """.split()
)
OUTSIDE = set("asyncio ftplib http ptrace requests selectors smtplib socket sqlite3 ssl urllib".split())
ALLOWED = ("sys", "os")  # but not all of them
HARMLESS_SYS = set(
    """
    __stderr__ __stdout__ byteorder executable exit float_info getrecursionlimit getsizeof maxsize platform prefix
    setrecursionlimit stderr stdout version version_info
    """.split()
)
OS_ABUSE = set("dup dup2 fdopen memfd_create pread ptrace pwrite read sendfile write".split())
ATTRIBUTES = set(
    """
    __base__ __bases__ __builtins__ __closure__ __code__ __defaults__ __func__ __getattribute__ __globals__ __kwdefaults__
    __loader__ __mro__ __reduce__ __reduce_ex__ __self__ __spec__ __subclasses__ __traceback__ __wrapped__ _current_frames
    _getframe _put_back _references ag_frame ast_transformers co_code co_consts cr_frame displayhook events excepthook
    f_back f_builtins f_code f_globals f_locals gi_code gi_frame hidden_seed input_transformers_cleanup
    input_transformers_post mro run_ast_nodes run_cell run_code set_custom_exc setprofile settrace showtraceback tb_frame
    tb_next user_global_ns user_ns with_traceback
    """.split()
)
DUNDERS = set(
    """
    __abs__ __array__ __array_function__ __array_ufunc__ __bool__ __class__ __del__ __eq__ __float__ __format__
    __ge__ __getattr__ __getattribute__ __gt__ __index__ __instancecheck__ __int__
    __le__ __lt__ __ne__ __prepare__ __round__ __rsub__ __sub__ __subclasscheck__
    __torch_dispatch__ __torch_function__
    """.split()
)
BASES = set(
    """
    AssertionError BaseException Parameter Tensor bool bytes complex dict float generic int list ndarray set str tuple type
    """.split()
)
ODD = {"names": sorted(DUNDERS), "bases": sorted(BASES)}
SECRETS = ("/proc", "TINYSHRINK_HIDDEN", "hidden_seed", "HIDDEN TESTS", "gradebook", "__globals__", "__subclasses__", "f_back")
GIVEN = "torch np numpy nn F math checking metrics training data models plots".split()  # modules of every lesson
MAGICS = {"matplotlib", "time", "timeit", "prun", "precision", "who", "whos", "pip", "conda", "capture", "config"}


def scan(source, function=None):
    """What in a cell no answer needs: [reason]. `function`: the exercise's name, which must not come from the package."""
    module = repair.tree(source)
    if module is None:
        return []
    found, system, modules = [], {}, set(GIVEN)
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules.add((alias.asname or alias.name).split(".")[0])
                found += imported(alias.name)
                if alias.name in ALLOWED:
                    system[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            found += imported(node.module or "")
            for alias in node.names:
                if (node.module or "").split(".")[0] in ("tinyshrink", "torch", "numpy"):
                    modules.add(alias.asname or alias.name) if alias.name.islower() else None
                if (node.module or "").startswith("tinyshrink.") and alias.name == function:
                    found.append(f"takes {function} from the package")
                if alias.name in ATTRIBUTES | NAMES or forbidden(node.module, alias.name):
                    found.append(f"imports {alias.name}")
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
            found.append(f"uses {node.id}")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id == "get_ipython":
            found.append("get_ipython")
        elif isinstance(node, ast.Attribute):
            found += attribute(node, modules, system)
        elif isinstance(node, ast.ClassDef):
            found += class_(node)
        elif isinstance(node, ast.Call):
            found += call(node, modules)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [f"holds the text {secret!r}" for secret in SECRETS if secret in node.value]
        elif isinstance(node, ast.Global):
            found += [f"changes the global {name}" for name in node.names if name in modules or hasattr(builtins, name)]
    for node in module.body:
        name = node.name if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else function
        if name != function and (hasattr(builtins, name) or name in modules or name in ("plug", "display")):
            found.append(f"defines its own {name}")
    magics = magic_calls(module)
    shells = found.count("get_ipython")
    found = [what for what in found if what != "get_ipython"]
    if shells > magics:
        found.append("reaches for the notebook's shell with get_ipython")
    return list(dict.fromkeys(found))


def imported(name):
    root = name.split(".")[0]
    if root in MODULES and name != "IPython.display":
        return [f"imports {name}"]
    return []


def outside(source):
    """Modules that a cell imports to reach what lies outside the sandbox; it cannot, and a person should know."""
    module = repair.tree(source)
    names = []
    for node in ast.walk(module) if module else []:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return sorted({name for name in names if name.split(".")[0] in OUTSIDE})


def root_of(node):
    """The name that a chain of attributes and calls of modules starts with."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def forbidden(module, name):
    """Whether `name` of sys or os is none of what an answer may use."""
    return name in OS_ABUSE if module == "os" else module == "sys" and name not in HARMLESS_SYS


def attribute(node, modules, system):
    root = root_of(node)
    if isinstance(node.ctx, (ast.Store, ast.Del)) and root in modules:
        return [f"changes {ast.unparse(node)}"] if not ast.unparse(node).startswith(("torch.backends.", "plt.")) else []
    if node.attr in ATTRIBUTES:
        return [f"uses {node.attr}"]
    if node.attr == "__dict__" and root in modules:
        return [f"uses {ast.unparse(node)}"]
    if isinstance(node.value, ast.Name) and forbidden(system.get(root), node.attr):
        return [f"uses {system[root]}.{node.attr}"]
    return []


def class_(node):
    names = [child.name for child in node.body if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for child in node.body:
        if isinstance(child, (ast.Assign, ast.AnnAssign)):
            names += [name.id for name in ast.walk(child) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]
    found = [f"defines {node.name}.{name}" for name in names if name in DUNDERS]
    bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
    return found + [f"makes {node.name} a kind of {base}" for base in bases if base in BASES]


def call(node, modules):
    name = getattr(node.func, "id", "")
    first = root_of(node.args[0]) if node.args else None
    if name in ("setattr", "delattr") and first in modules:
        return [f"changes {ast.unparse(node.args[0])} with {name}"]
    if name == "getattr" and len(node.args) > 1:
        constant = getattr(node.args[1], "value", None)
        if isinstance(constant, str) and constant in ATTRIBUTES | {"__dict__"}:
            return [f"uses {constant}"]
    if name == "type" and len(node.args) == 3:
        return ["makes a class with type(...)"]
    return []


def magic_calls(module):
    """How many get_ipython() in a cell are IPython's own, of a harmless magic such as %time."""
    count = 0
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("run_line_magic", "run_cell_magic") and node.args:
            owner = getattr(getattr(node.func, "value", None), "func", None)
            constant = getattr(node.args[0], "value", None)
            count += getattr(owner, "id", "") == "get_ipython" and constant in MAGICS
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("system", "getoutput"):
            owner = getattr(getattr(node.func, "value", None), "func", None)
            count += getattr(owner, "id", "") == "get_ipython"
    return count


def shadows(name):
    """Whether a submitted file would take the place of a module that the checks import."""
    stem = name.removesuffix(".py")
    if not name.endswith(".py") or not stem.isidentifier():
        return False
    try:
        return stem in sys.stdlib_module_names or importlib.util.find_spec(stem) is not None
    except (ImportError, ValueError):
        return False
