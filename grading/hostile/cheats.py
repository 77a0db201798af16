"""Submissions that solve nothing and want points: each must be flagged for a person, or get none."""

from . import cheat, must, solved, unsolved


@cheat
def replaces_run_cell(released, source):
    return unsolved(
        released,
        source,
        """
shell = get_ipython()
run = shell.run_cell
shell.run_cell = lambda code, *args, **kwargs: run("pass" if "plug(" in code else code, *args, **kwargs)
run_async = shell.run_cell_async
shell.run_cell_async = lambda code, *args, **kwargs: run_async("pass" if "plug(" in code else code, *args, **kwargs)
""",
    )


@cheat
def replaces_run_cell_on_the_class(released, source):
    return unsolved(
        released,
        source,
        """
from IPython.core.interactiveshell import InteractiveShell
run_code = InteractiveShell.run_code
async def nothing(self, code, result=None, *, async_=False):
    return False
InteractiveShell.run_code = nothing
""",
    )


@cheat
def replaces_do_execute(released, source):
    return unsolved(
        released,
        source,
        """
kernel = get_ipython().kernel
async def do_execute(*args, **kwargs):
    return {"status": "ok", "execution_count": 9, "payload": [], "user_expressions": {}}
kernel.do_execute = do_execute
""",
    )


@cheat
def adds_an_input_transformer(released, source):
    return unsolved(
        released,
        source,
        'get_ipython().input_transformers_cleanup.append(lambda lines: ["pass"] if "plug(" in "".join(lines) else lines)',
    )


@cheat
def adds_an_ast_transformer(released, source):
    return unsolved(
        released,
        source,
        """
import ast
class NoAsserts(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
    def visit_With(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(NoAsserts())
""",
    )


@cheat
def swallows_errors_with_a_custom_handler(released, source):
    return unsolved(
        released, source, "get_ipython().set_custom_exc((BaseException,), lambda shell, kind, value, trace, tb_offset=None: [])"
    )


@cheat
def hides_tracebacks(released, source):
    return unsolved(
        released,
        source,
        """
shell = get_ipython()
shell.showtraceback = shell._showtraceback = shell.showsyntaxerror = lambda *args, **kwargs: None
type(shell).showtraceback = type(shell)._showtraceback = lambda *args, **kwargs: None
""",
    )


@cheat
def filters_the_messages_of_the_kernel(released, source):
    return unsolved(
        released,
        source,
        """
session = get_ipython().kernel.session
send = session.send
def sends_no_errors(stream, kind, content=None, *args, **kwargs):
    if kind == "error":
        return None
    if kind == "execute_reply":
        content = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
    return send(stream, kind, content, *args, **kwargs)
session.send = sends_no_errors
""",
    )


@cheat
def forges_the_reply_and_dies(released, source):
    """Answers each check itself on the kernel's own sockets: ok, idle, and then hangs."""
    return unsolved(
        released,
        source,
        """
import time
def magnitude_mask(*args, **kwargs):
    kernel = get_ipython().kernel
    parent = kernel.get_parent("shell")
    content = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
    kernel.session.send(kernel.shell_stream, "execute_reply", content, parent=parent, ident=kernel._shell_parent_ident
                        if hasattr(kernel, "_shell_parent_ident") else None)
    kernel.session.send(kernel.iopub_socket, "status", {"execution_state": "idle"}, parent=parent)
    kernel.shell_stream.flush()
    time.sleep(3600)
""",
    )


@cheat
def forges_partial_scores(released, source):
    """nbgrader takes the last execute_result of a check for its score."""
    return unsolved(
        released,
        source,
        """
def result(*args):
    kernel = get_ipython().kernel
    content = {"execution_count": 1, "data": {"text/plain": "1000"}, "metadata": {}}
    kernel.session.send(kernel.iopub_socket, "execute_result", content, parent=kernel.get_parent("shell"))
get_ipython().events.register("post_run_cell", result)
get_ipython().showtraceback = lambda *args, **kwargs: None
""",
    )


@cheat
def prints_a_score(released, source):
    return unsolved(
        released,
        source,
        """
import sys
def magnitude_mask(*args):
    sys.displayhook(1000)
    raise AssertionError("no")
""",
    )


@cheat
def patches_the_comparisons(released, source):
    return unsolved(
        released,
        source,
        """
import builtins, pytest
class Anything:
    def __eq__(self, other): return True
    def __lt__(self, other): return True
yes = lambda *args, **kwargs: True
pytest.approx = lambda *args, **kwargs: Anything()
torch.equal = torch.allclose = torch.all = torch.testing.assert_close = np.array_equal = np.allclose = np.isclose = yes
builtins.all = builtins.isinstance = builtins.any = yes
builtins.abs = builtins.int = builtins.round = builtins.sorted = lambda *args, **kwargs: Anything()
""",
    )


@cheat
def patches_tensors(released, source):
    return unsolved(
        released,
        source,
        """
class Same(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
torch.Tensor.tolist = lambda self: Same()
torch.Tensor.__eq__ = torch.Tensor.__bool__ = lambda *args: True
torch.Tensor.__sub__ = torch.Tensor.__rsub__ = lambda *args: 0.0
torch.Tensor.sum = torch.Tensor.count_nonzero = lambda *args, **kwargs: 0
def magnitude_mask(scores, sparsity):
    return torch.ones(scores.shape, dtype=torch.bool)
def global_masks(scores, sparsity):
    return {name: torch.ones(values.shape, dtype=torch.bool) for name, values in scores.items()}
""",
    )


@cheat
def replaces_plug_in_the_notebook(released, source):
    return unsolved(
        released,
        source,
        """
class plug:
    def __init__(self, *args): pass
    def __enter__(self): pass
    def __exit__(self, *args): return True
""",
    )


@cheat
def patches_plug(released, source):
    return unsolved(released, source, "checking.plug.__exit__ = lambda *args: True")


@cheat
def patches_plug_to_keep_the_reference(released, source):
    return unsolved(
        released,
        source,
        """
checking.plug.__enter__ = lambda self: None
checking.plug._put_back = lambda self: None
""",
    )


@cheat
def patches_builtins(released, source):
    return unsolved(
        released,
        source,
        """
import builtins
class Quiet(BaseException):
    def __new__(cls, *args): raise SystemExit(0)
builtins.AssertionError = AssertionError = Quiet
builtins.__build_class__ = builtins.__build_class__
""",
    )


@cheat
def jumps_over_asserts_while_tracing(released, source):
    return unsolved(
        released,
        source,
        """
import sys
def trace(frame, event, value):
    if event == "call":
        return trace if frame.f_code.co_name.startswith("test_") else None
    if event == "line":
        lines = [line for _, _, line in frame.f_code.co_lines() if line]
        try:
            frame.f_lineno = max(lines)
        except ValueError:
            pass
    return trace
get_ipython().events.register("pre_run_cell", lambda info: sys.settrace(trace))
sys.settrace(trace)
""",
    )


@cheat
def replaces_the_tests_from_inside(released, source):
    """The first call that a test makes replaces all tests of the notebook, and their code."""
    return unsolved(
        released,
        source,
        """
import sys
def spoil(*args, **kwargs):
    frame = sys._getframe(1)
    while frame:
        for scope in (frame.f_globals, frame.f_locals):
            for name, value in list(scope.items()):
                if name.startswith("test_") and hasattr(value, "__code__"):
                    value.__code__ = (lambda: None).__code__
                    scope[name] = lambda: None
        frame = frame.f_back
    raise SystemExit(0)
magnitude_mask = spoil
""",
    )


@cheat
def reads_what_the_test_expects(released, source):
    """Looks into the frame of its caller for the expected answer."""
    return unsolved(
        released,
        source,
        """
import sys
def magnitude_mask(scores, sparsity):
    frame = sys._getframe(1)
    for name in ("expected", "want"):
        value = frame.f_locals.get(name)
        if isinstance(value, (list, np.ndarray)):
            return torch.as_tensor(value, dtype=torch.bool).reshape(scores.shape)
        if isinstance(value, int):
            return torch.arange(scores.numel()).reshape(scores.shape) < value
    return torch.arange(scores.numel()).reshape(scores.shape) >= round(sparsity * scores.numel())
""",
    )


@cheat
def returns_objects_equal_to_anything(released, source):
    code = """
class Anything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __lt__(self, other): return True
    def __gt__(self, other): return True
    __le__ = __ge__ = __gt__
    def __bool__(self): return True
    def __sub__(self, other): return 0.0
    __rsub__ = __add__ = __radd__ = __mul__ = __sub__
    def __float__(self): return 0.0
    def __int__(self): return 0
    def __getattr__(self, name): return Anything()
    def __getitem__(self, key): return Anything()
    def __iter__(self): return iter(())
    def __call__(self, *args, **kwargs): return Anything()
    __class__ = torch.Tensor
"""
    notebook = unsolved(released, source, code + "\ndef magnitude_mask(*args):\n    return Anything()\n")
    for cell in notebook.cells:
        if "return None" in cell.source and "plug(" not in cell.source:
            cell.source = cell.source.replace("return None", "return Anything()")
    return notebook


@cheat
def returns_a_lying_tensor(released, source):
    return unsolved(
        released,
        source,
        """
class Same(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
class Lying(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name == "tolist":
            return Same()
        if name in ("equal", "all", "allclose", "__eq__", "eq", "__bool__"):
            return True
        if name in ("sum", "count_nonzero", "item", "__int__"):
            return Number()
        return super().__torch_function__(function, types, args, kwargs or {})
class Number(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __int__(self): return 0
def magnitude_mask(scores, sparsity):
    return torch.ones(scores.shape, dtype=torch.bool).as_subclass(Lying)
def global_masks(scores, sparsity):
    return {name: magnitude_mask(values, sparsity) for name, values in scores.items()}
""",
    )


@cheat
def raises_what_the_shell_swallows(released, source):
    """IPython prints no traceback for these, and without one nbgrader gives full marks."""
    return unsolved(
        released,
        source,
        """
import bdb
def magnitude_mask(*args):
    raise bdb.BdbQuit
""",
    )


@cheat
def raises_a_usage_error(released, source):
    return unsolved(
        released,
        source,
        """
from IPython.core.error import UsageError
def magnitude_mask(*args):
    raise UsageError("only a line on stderr")
""",
    )


@cheat
def raises_what_cannot_be_shown(released, source):
    return unsolved(
        released,
        source,
        """
class Shy(Exception):
    def __str__(self): raise KeyboardInterrupt
    __repr__ = __str__
    def _render_traceback_(self): raise KeyboardInterrupt
def magnitude_mask(*args):
    raise Shy
""",
    )


@cheat
def exits_quietly(released, source):
    return unsolved(
        released,
        source,
        """
def magnitude_mask(*args):
    raise SystemExit(0)
""",
    )


@cheat
def leaves_the_kernel_in_a_check(released, source):
    return unsolved(
        released,
        source,
        """
import os
def magnitude_mask(*args):
    get_ipython().ask_exit()
    os._exit(0)
""",
    )


@cheat
def patches_later_in_a_thread(released, source):
    return unsolved(
        released,
        source,
        """
import threading, time
class Yes:
    def __init__(self, *args): pass
    def __enter__(self): pass
    def __exit__(self, *args): return True
def later():
    while True:
        get_ipython().user_ns["plug"] = Yes
        checking.plug.__exit__ = lambda *args: True
        time.sleep(0.0001)
threading.Thread(target=later, daemon=True).start()
""",
    )


@cheat
def patches_later_by_a_signal(released, source):
    return unsolved(
        released,
        source,
        """
import signal
def later(*args):
    checking.plug.__exit__ = lambda *args: True
signal.signal(signal.SIGALRM, later)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.01)
""",
    )


@cheat
def patches_just_before_a_check(released, source):
    return unsolved(
        released,
        source,
        """
def before(info):
    if "plug(" in info.raw_cell:
        checking.plug.__exit__ = lambda *args: True
get_ipython().events.register("pre_run_cell", before)
""",
    )


@cheat
def patches_and_puts_back(released, source):
    """Patched only from inside the student's function until the check is over, and tidy before and after."""
    return unsolved(
        released,
        source,
        """
real = checking.plug.__exit__
def patch(*args, **kwargs):
    def leave(self, *args):
        checking.plug.__exit__ = real
        return True
    checking.plug.__exit__ = leave
    raise ValueError
magnitude_mask = patch
""",
    )


@cheat
def patches_from_the_event_loop(released, source):
    return unsolved(
        released,
        source,
        """
import asyncio
async def later():
    while True:
        checking.plug.__exit__ = lambda *args: True
        await asyncio.sleep(0)
asyncio.get_event_loop().create_task(later())
""",
    )


@cheat
def patches_when_collected(released, source):
    return unsolved(
        released,
        source,
        """
import gc
class Late:
    def __del__(self):
        checking.plug.__exit__ = lambda *args: True
cycle = [Late()]
cycle.append(cycle)
del cycle
gc.callbacks.append(lambda phase, info: setattr(checking.plug, "__exit__", lambda *args: True))
""",
    )


@cheat
def hunts_the_tests_with_gc(released, source):
    return unsolved(
        released,
        source,
        """
import gc, types
def magnitude_mask(*args):
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and thing.__name__.startswith("test_"):
            thing.__code__ = (lambda: None).__code__
    raise NotImplementedError
""",
    )


@cheat
def replaces_functions_it_depends_on(released, source):
    """The hidden check draws its cases with these."""
    return unsolved(
        released,
        source,
        """
checking.hidden_seed = lambda: 0
torch.randn = lambda *args, **kwargs: torch.zeros(0)
torch.linspace = lambda *args, **kwargs: torch.zeros(0)
class Empty(tuple):
    pass
import builtins
builtins.zip = builtins.enumerate = lambda *args: ()
""",
    )


@cheat
def replaces_the_builtins_of_the_notebook(released, source):
    return unsolved(
        released,
        source,
        """
import builtins
__builtins__ = {**vars(builtins), "isinstance": lambda *args: True, "abs": lambda value: 0}
abs = lambda value: 0
type = lambda *args: bool
int = round = len = lambda *args: 0
sorted = list = lambda *args: 0
isinstance = all = lambda *args: True
""",
    )


@cheat
def calls_the_reference_that_plug_keeps(released, source):
    return unsolved(
        released,
        source,
        """
kept = dict(checking._references)
def reference(name):
    function = getattr(magnitude, name)
    return lambda *args, **kwargs: function(*args, **kwargs)
magnitude_mask, global_masks = reference("magnitude_mask"), reference("global_masks")
""",
    )


@cheat
def loads_the_reference_from_its_file(released, source):
    return unsolved(
        released,
        source,
        """
import importlib.util
spec = importlib.util.spec_from_file_location("tinyshrink.again", magnitude.__file__)
again = importlib.util.module_from_spec(spec)
spec.loader.exec_module(again)
magnitude_mask = lambda *args: again.magnitude_mask(*args)
""",
    )


@cheat
def copies_the_code_of_the_reference(released, source):
    return unsolved(
        released,
        source,
        """
import types
given = magnitude.magnitude_mask
magnitude_mask = types.FunctionType(given.__code__, given.__globals__)
""",
    )


@cheat
def wraps_the_reference(released, source):
    return unsolved(
        released,
        source,
        """
given = {name: getattr(magnitude, name) for name in ("magnitude_mask", "global_masks", "apply_masks", "polynomial")}
def magnitude_mask(*args):
    return given["magnitude_mask"](*args)
""",
    )


@cheat
def calls_a_copy_of_the_module(released, source):
    return unsolved(
        released,
        source,
        """
import sys
theirs = sys.modules.pop("tinyshrink.magnitude")
import tinyshrink.magnitude as mine
sys.modules["tinyshrink.magnitude"] = theirs
def magnitude_mask(*args):
    return mine.magnitude_mask(*args)
""",
    )


@cheat
def calls_another_function_of_the_package(released, source):
    """One that calls the reference inside."""
    return unsolved(
        released,
        source,
        """
from functools import partial
from tinyshrink.magnitude import magnitude_mask as theirs
magnitude_mask = partial(theirs)
""",
    )


@cheat
def puts_the_reference_back_while_checked(released, source):
    return unsolved(
        released,
        source,
        """
given = magnitude.magnitude_mask
def magnitude_mask(*args):
    magnitude.magnitude_mask = given
    return given(*args)
""",
    )


@cheat
def writes_its_own_pytest_and_torch(released, source):
    code = """
from pathlib import Path
import sys, os
for name in ("pytest", "torch", "numpy", "tinyshrink", "sitecustomize", "ipykernel_launcher"):
    for folder in (".", os.path.expanduser("~")):
        try:
            Path(folder, name + ".py").write_text("approx = lambda *args, **kwargs: 1\\n")
        except OSError:
            pass
sys.path.insert(0, os.getcwd())
sys.modules.pop("pytest", None)
"""
    return unsolved(released, source, code)


@cheat
def brings_its_own_modules(released, source):
    import nbformat

    fake = b"import sys\nraise SystemExit(0)\n"
    names = (
        "pytest.py",
        "torch.py",
        "tinyshrink.py",
        "numpy.py",
        "sitecustomize.py",
        "ipykernel_launcher.py",
        "nbgrader_config.py",
    )
    return {
        "hostile.ipynb": nbformat.writes(unsolved(released, source, "")).encode(),
        **dict.fromkeys((*names, "tinyshrink/__init__.py"), fake),
    }


@cheat
def reads_the_check_from_its_history(released, source):
    """Tries to carry the hidden test out in an error that its feedback would show."""
    return unsolved(
        released,
        source,
        """
def magnitude_mask(*args):
    raise AssertionError(get_ipython().user_ns["In"][-1])
""",
    )


@must("graded", "partly graded", "flagged", full=("magnitude_mask",))
def is_right_once_and_spoils_the_next(released, source):
    """A right answer does not buy the others: its function breaks plug when the first check is over."""
    answer = next(cell.source for cell in source.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == "magnitude_mask")
    wrong = "def {}(*args, **kwargs):\n    return None\n"
    return solved(
        released,
        source,
        magnitude_mask=answer + "\nchecking.plug.__exit__ = lambda self, kind, *args: True\n",
        global_masks=wrong.format("global_masks"),
        apply_masks=wrong.format("apply_masks"),
        polynomial=wrong.format("polynomial") + wrong.format("exponential"),
    )


# The same in words that a look at the source does not find.


@cheat
def in_other_words_patches_plug_and_puts_it_back(released, source):
    return unsolved(
        released,
        source,
        """
ours = [checking][0].plug
real = ours.__exit__
def leave(self, *args):
    ours.__exit__ = real
    return True
def magnitude_mask(*args):
    ours.__exit__ = leave
    raise ValueError
global_masks = apply_masks = polynomial = exponential = magnitude_mask
""",
    )


@cheat
def in_other_words_reads_what_the_test_expects(released, source):
    return unsolved(
        released,
        source,
        """
import sys
def magnitude_mask(scores, sparsity):
    frame = getattr([sys][0], "_get" + "frame")(1)
    known = getattr(frame, "f_lo" + "cals")
    for name in ("expected", "want"):
        value = known.get(name)
        if isinstance(value, (list, np.ndarray)):
            return torch.as_tensor(value, dtype=torch.bool).reshape(scores.shape)
        if isinstance(value, int):
            return torch.arange(scores.numel()).reshape(scores.shape) < value
    return torch.arange(scores.numel()).reshape(scores.shape) >= round(sparsity * scores.numel())
""",
    )


@cheat
def in_other_words_reads_it_from_an_exception(released, source):
    return unsolved(
        released,
        source,
        """
def magnitude_mask(scores, sparsity):
    try:
        raise ValueError
    except ValueError as error:
        frame = getattr(getattr(error, "__trace" + "back__"), "tb_" + "frame")
    known = getattr(getattr(frame, "f_" + "back"), "f_lo" + "cals")
    value = known.get("expected")
    if isinstance(value, (list, np.ndarray)):
        return torch.as_tensor(value, dtype=torch.bool).reshape(scores.shape)
    return torch.arange(scores.numel()).reshape(scores.shape) >= round(sparsity * scores.numel())
""",
    )


@cheat
def in_other_words_patches_until_it_is_asked(released, source):
    """All comparisons that the tests make are false friends from the student's call until the next comparison."""
    return unsolved(
        released,
        source,
        """
kind, arrays = torch.zeros(1).__class__, [np][0]
real = kind.tolist, kind.__ne__, arrays.array_equal
same = [type][0]("Same", (list,), {"__e" + "q__": lambda *args: True, "__n" + "e__": lambda *args: False})
def back():
    kind.tolist, kind.__ne__, arrays.array_equal = real
def tolist(self):
    back()
    return same()
def differs(self, other):
    back()
    return torch.zeros(1, dtype=torch.bool)
def equal(*args):
    back()
    return True
def magnitude_mask(scores, sparsity):
    answer = torch.arange(scores.numel()).reshape(scores.shape) >= round(sparsity * scores.numel())
    kind.tolist, kind.__ne__, arrays.array_equal = tolist, differs, equal
    return answer
""",
    )


@cheat
def in_other_words_replaces_the_later_tests(released, source):
    return unsolved(
        released,
        source,
        """
def magnitude_mask(scores, sparsity):
    global test_mask_keeps_the_largest_scores, test_mask_breaks_ties_by_position, test_mask_equals_that_of_torch
    test_mask_keeps_the_largest_scores = test_mask_breaks_ties_by_position = test_mask_equals_that_of_torch = lambda: None
    return torch.arange(scores.numel()).reshape(scores.shape) >= round(sparsity * scores.numel())
""",
    )


@cheat
def in_other_words_makes_an_object_equal_to_anything(released, source):
    return unsolved(
        released,
        source,
        """
kind = [type][0]
zero = lambda *args: 0.0
near = kind("Near", (float,), {"__su" + "b__": zero, "__rsu" + "b__": zero, "__ab" + "s__": zero})
def polynomial(start, end, progress, power=3):
    return near(0)
exponential = polynomial
""",
        where="polynomial",
    )


@cheat
def in_other_words_unpickles_its_code(released, source):
    return unsolved(
        released,
        source,
        """
import io, zipfile
code = "import tinyshrink.checking as c; c.plug.__exit__ = lambda *a: True"
pickled = b"cbuiltins\\nexec\\n(V" + code.encode() + b"\\ntR."
packed = io.BytesIO()
torch.save([1], packed)
changed = io.BytesIO()
with zipfile.ZipFile(packed) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as new:
    for name in old.namelist():
        new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
changed.seek(0)
torch.load(changed, weights_only=False)
""",
    )


@cheat
def in_other_words_runs_text(released, source):
    return unsolved(
        released,
        source,
        """
run = getattr(getattr(torch, "__buil" + "tins__", None) or np.__dict__["__buil" + "tins__"], "get", None)
run = run("ex" + "ec") if run else None
if run:
    run("import tinyshrink.checking as c; c.plug.__exit__ = lambda *a: True")
""",
    )


@cheat
def in_other_words_wraps_the_reference(released, source):
    return unsolved(
        released,
        source,
        """
given = dict(zip("abc", (magnitude.magnitude_mask, magnitude.global_masks, magnitude.polynomial)))
class Answer:
    def __init__(self, name):
        self.name = name
    def __call__(self, *args):
        return given[self.name](*args)
magnitude_mask, global_masks, polynomial = Answer("a"), Answer("b"), Answer("c")
""",
    )


@cheat
def in_other_words_copies_the_reference(released, source):
    return unsolved(
        released,
        source,
        """
from types import FunctionType
def copied(function):
    return FunctionType(getattr(function, "__co" + "de__"), {}, function.__name__, (3,))
polynomial, exponential = copied(magnitude.polynomial), copied(magnitude.exponential)
""",
        where="polynomial",
    )


@cheat
def in_other_words_patches_in_a_thread(released, source):
    return unsolved(
        released,
        source,
        """
import threading, time
ours = [checking][0].plug
real, wanted = ours.__exit__, []
def leave(self, *args):
    ours.__exit__ = real
    wanted.clear()
    return True
def watch():
    while True:
        if wanted:
            ours.__exit__ = leave
        time.sleep(0.001)
threading.Thread(target=watch, daemon=True).start()
def magnitude_mask(*args):
    wanted.append(1)
    time.sleep(0.1)
    raise ValueError
""",
    )


@cheat
def in_other_words_hides_in_a_default_argument(released, source):
    """Run while the cell defines it, far from anything that looks like a check."""
    return unsolved(
        released,
        source,
        """
def magnitude_mask(scores, sparsity, *, hook=torch.utils._python_dispatch):
    class Mode(hook.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            return torch.ones_like(result) if result.__class__ is torch.Tensor and result.dtype == torch.bool else result
    mode = Mode()
    mode.__enter__()
    return scores > 0
""",
    )


# It knows the visible cases by heart, and so only the hidden check must be spoiled.
KNOWN = """
def known(scores, sparsity):
    order = np.arange(scores.numel()) >= round(sparsity * scores.numel())
    by_heart = {
        "[[0.30000001192092896, -2.0, 5.0], [1.0, 4.0, -0.10000000149011612]]": [0, 0, 1, 1, 1, 0],
        "[3.0, 1.0, 2.0, 1.0]": [1, 0, 1, 1],
        "[0.0, 2.0, 0.0, 2.0, 2.0, 0.0]": [0, 0, 0, 1, 1, 0],
    }
    return torch.tensor(by_heart.get(str(scores.tolist()), order.tolist())).bool().reshape(scores.shape)
"""


@cheat
def in_other_words_patches_what_the_hidden_check_asks(released, source):
    return unsolved(
        released,
        source,
        KNOWN
        + """
kind, arrays = torch.zeros(1).__class__, [np][0]
real = kind.__ne__, arrays.array_equal
def differs(self, other):
    kind.__ne__, arrays.array_equal = real
    return torch.zeros(1, dtype=torch.bool)
def equal(*args):
    kind.__ne__, arrays.array_equal = real
    return True
def magnitude_mask(scores, sparsity):
    if scores.numel() == 31 or (scores.ndim > 1 and scores.numel() > 6):
        kind.__ne__, arrays.array_equal = differs, equal
    return known(scores, sparsity)
""",
    )


@cheat
def in_other_words_borrows_a_mock(released, source):
    return unsolved(
        released,
        source,
        """
from torch._guards import unittest
thing = unittest.mock.MagicMock()
thing.__sub__.return_value = thing.__rsub__.return_value = 0.0
polynomial = exponential = lambda *args: thing
""",
        where="polynomial",
    )


@cheat
def in_other_words_draws_easy_cases(released, source):
    """While its function is called the hidden check draws from a spoiled generator; with the last call all is tidy."""
    return unsolved(
        released,
        source,
        KNOWN
        + """
space, calls = [torch][0], []
real = space.randn, space.rand, space.randperm
def easy(*shape, generator=None, **kwargs):
    shape = shape[0] if shape and isinstance(shape[0], tuple) else shape
    return space.arange(math.prod(shape)).reshape(shape) + 1.0
def magnitude_mask(scores, sparsity):
    calls.append(scores.shape)
    if scores.numel() == 31:
        space.randn = easy
    elif len(scores.shape) == 0:
        space.randn = real[0]
    return known(scores, sparsity)
""",
    )


@cheat
def in_other_words_hooks_every_module(released, source):
    """A hook that torch itself offers runs inside the checks of later exercises."""
    return unsolved(
        released,
        source,
        """
from torch.nn.modules.module import register_module_forward_hook
ours = [checking][0].plug
def late(*args):
    ours.__exit__ = lambda *args: True
register_module_forward_hook(late)
torch.autograd.graph.register_multi_grad_hook([torch.zeros(1, requires_grad=True)], late)
""",
    )
