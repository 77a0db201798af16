"""Cheats of other kinds in words that a look at the source does not find: flagged for a person, or no points."""

from . import cheat, must, unsolved

# The exercises of the cell `polynomial`, when everything before has been spoiled.
ANYTHING = """
def polynomial(*args, **kwargs):
    return 0.0
exponential = polynomial
"""
# What makes every comparison of a test true, once a frame of it is in hand.
SPOIL = """
def spoil(frame):
    while getattr(frame, "f_co" + "de").co_filename != "<check>":
        frame = getattr(frame, "f_ba" + "ck")
    getattr(frame, "f_glo" + "bals")["abs"] = lambda value: 0.0
    return 0.0
"""


def hides(code, where="polynomial"):
    """A submission that solves nothing and has `code` in the cell of an exercise; its name is that of the caller's."""

    def make(released, source):
        return unsolved(released, source, code, where)

    return make


def add(name, code, where="polynomial"):
    make = hides(code, where)
    make.__name__ = make.__qualname__ = name
    cheat(make) if name in WITHOUT_GAIN else must("flagged", *SLOW.get(name, ()))(make)


# They change nothing that the checks rely on, so nobody need look.
WITHOUT_GAIN = {
    "rewrites_answers_on_their_way_out",
    "rewrites_requests_on_their_way_in",
    "gives_a_tensor_with_methods_of_its_own",
    "sets_limits_that_the_checker_needs",
}


# Where the machine is busy they end with their time, and without points, before they are found out.
SLOW = {"asks_another_python_for_the_reference": ["partly graded"]}


add(
    "reads_what_is_expected_through_torch",
    """
look = torch._jit_internal.createResolutionCallbackFromFrame
def polynomial(start, end, progress, power=3):
    return next(found for found in (look(depth)("expected") for depth in range(1, 6)) if found is not None)
""",
)
add(
    "spoils_a_check_through_torch",
    """
look = torch._jit_internal.createResolutionCallbackFromFrame
left = [0]
def spoil(times):
    space = next(found for found in (look(depth)("space") for depth in range(1, 12)) if type(found) is dict)
    left[0] = times
    def near(value):
        left[0] -= 1
        if left[0] == 0:
            del space["abs"]
        return 0.0
    space["abs"] = near
    return 0.0
def polynomial(start, end, progress, power=3):
    return spoil(1)
def exponential(start, end, progress):
    return spoil(9 if (start, end, progress) == (0.1, 0.7, 1.0) else 1)
""",
)
add(
    "is_near_to_everything_with_methods_of_c",
    """
zero = (0.0).__mul__
near = [type][0]("Near", (float,), {"__mod" + "ule__": "torch.nn", "__su" + "b__": zero, "__rsu" + "b__": zero})
def polynomial(start, end, progress, power=3):
    return near(0)
""",
)
add(
    "changes_what_numpy_compares_with_inside",
    """
numeric = [np][0]._core.numeric
real = numeric.asarray
def asarray(a, *args, **kwargs):
    a = real(a, *args, **kwargs)
    return np.ones(a.shape, dtype=bool) if a.dtype == bool else a
setattr(numeric, "asarray", asarray)
"""
    + ANYTHING,
)
add(
    "changes_the_pruner_that_it_is_held_against",
    """
def first(self, t, default_mask):
    return (torch.arange(t.numel()).reshape(t.shape) >= round(self.amount * t.numel())).to(default_mask)
setattr(torch.nn.utils.prune.L1Unstructured, "compute_mask", first)
"""
    + ANYTHING,
)
add(
    "rewrites_the_checker",
    """
import sys
inside = getattr(type([sys][0].stdout).write, "__glo" + "bals__")
kernel = inside["KERNEL"]
kernel.tampered = lambda name: []
kernel.odd_classes = lambda odd: []
kernel.run_check = lambda request, space: {"status": "failed" if request["do"] == "canary" else "passed", "partial": None}
""",
)
add(
    "rewrites_the_checker_until_it_looks",
    """
import sys
kind = type(getattr(type([sys][0].stdout).write, "__glo" + "bals__")["KERNEL"])
real = kind.tampered, kind.run_check
def run(self, request, space):
    return {"status": "failed", "test": None} if request["do"] == "canary" else {"status": "passed", "partial": None}
def back(self, name):
    kind.tampered, kind.run_check = real
    return []
kind.tampered, kind.run_check = back, run
""",
)
add(
    "makes_the_checker_forget",
    """
import sys
def polynomial(*args, **kwargs):
    kernel = getattr(type([sys][0].stdout).write, "__glo" + "bals__")["KERNEL"]
    spoil(getattr([sys][0], "_get" + "frame")(0))
    for name in ("seen", "noted"):
        getattr(kernel, name, []).clear()
    return 0.0
exponential = polynomial
"""
    + SPOIL,
)
add(
    "rewrites_answers_on_their_way_out",
    """
import json
kind = [json][0].JSONEncoder
real = kind.encode
def encode(self, reply):
    if reply.get("status") == "failed" and "interrupted" not in str(reply.get("message")) and reply.get("message"):
        if "canary" not in reply["message"] and "not solved" not in reply["message"]:
            reply = dict(reply, status="passed", partial=None, tampered=[])
    return real(self, reply)
setattr(kind, "enco" + "de", encode)
""",
)
add(
    "rewrites_requests_on_their_way_in",
    """
import json
kind = [json][0].JSONDecoder
real = kind.decode
def decode(self, text, *more):
    request = real(self, text, *more)
    if request.get("do") == "check":
        request["code"] = "pass"
    return request
setattr(kind, "deco" + "de", decode)
""",
)
add(
    "answers_the_worker_from_a_thread",
    """
import json, os, socket, struct, threading
def listen(number):
    try:
        theirs = [socket][0].socket(fileno=number)
        while True:
            size = struct.unpack("!I", theirs.recv(4))[0]
            request = json.loads(theirs.recv(size))
            ok = {"check": "passed", "canary": "failed"}.get(request["do"], "ok")
            reply = {"status": ok, "partial": None, "test": None, "outputs": [], "nonce": request["nonce"], "lost": 0}
            data = json.dumps(reply).encode()
            theirs.sendall(struct.pack("!I", len(data)) + data)
    except OSError:
        pass
for number in range(3, 20):
    for _ in range(3):
        threading.Thread(target=listen, args=(number,), daemon=True).start()
""",
)
add(
    "takes_a_frame_from_a_file_of_its_own",
    """
import sys
with open("helper.py", "w") as file:
    file.write("import sys\\ndef frame():\\n    return sys._get" + "frame(1)\\n")
[sys][0].path.insert(0, ".")
import helper
def polynomial(*args, **kwargs):
    return spoil(helper.frame())
exponential = polynomial
"""
    + SPOIL,
)
add(
    "takes_a_frame_from_the_package",
    """
look = [checking][0].inspect
def polynomial(*args, **kwargs):
    return spoil(getattr(look, "current" + "frame")())
exponential = polynomial
"""
    + SPOIL,
)
add(
    "takes_a_frame_by_a_detour",
    """
import sys
from torch.utils import _pytree
def polynomial(*args, **kwargs):
    return spoil(_pytree.tree_map(getattr([sys][0], "_get" + "frame"), 1))
exponential = polynomial
"""
    + SPOIL,
)
add(
    "takes_a_frame_from_a_signal",
    """
import signal
found = []
def polynomial(*args, **kwargs):
    before = [signal][0].signal(signal.SIGUSR1, lambda number, frame: found.append(frame))
    [signal][0].raise_signal(signal.SIGUSR1)
    [signal][0].signal(signal.SIGUSR1, before)
    return spoil(found.pop())
exponential = polynomial
"""
    + SPOIL,
)
add(
    "takes_a_frame_from_an_error",
    """
import logging
walk = [logging][0].traceback
def polynomial(*args, **kwargs):
    try:
        raise ValueError
    except ValueError as error:
        return spoil(next(getattr(walk, "walk_" + "tb")(getattr(error, "__trace" + "back__")))[0])
exponential = polynomial
"""
    + SPOIL,
)
add(
    "takes_a_frame_from_a_task",
    """
import asyncio
def polynomial(*args, **kwargs):
    async def ask():
        return [asyncio][0].current_task().get_stack()[0]
    loop = [asyncio][0].new_event_loop()
    try:
        return spoil(loop.run_until_complete(ask()))
    finally:
        loop.close()
exponential = polynomial
"""
    + SPOIL,
)
add(
    "listens_to_what_python_audits",
    """
import sys
heard = []
def hook(event, args):
    if event == "exec" and "<check>" in str(args[0]):
        heard.append(args[0])
getattr([sys][0], "addaudit" + "hook")(hook)
"""
    + ANYTHING,
)
add(
    "says_that_its_class_is_of_torch",
    """
kind = [type][0]
zero = lambda *args: 0.0
near = kind("Near", (float,), {"__mod" + "ule__": "torch.nn", "__su" + "b__": zero, "__rsu" + "b__": zero})
def polynomial(*args, **kwargs):
    return near(0)
exponential = polynomial
""",
)
add(
    "makes_a_module_of_another_class",
    """
BY_HEART = {0: 0.0, 0.1: 0.2439, 0.2: 0.4392, 0.3: 0.5913, 0.4: 0.7056, 0.5: 0.7875, 0.6: 0.8424, 0.7: 0.8757, 0.8: 0.8928,
            0.9: 0.8991, 1.0: 0.9}
MORE = {(0.2, 0.8, 0.5, 1): 0.5, (0.2, 0.8, 0.5, 2): 0.65, (0.1, 0.9, 0.25, 4): 0.646875, (0, 0.5, 0.75, 0.5): 0.25,
        (0.3, 0.9, 0, 3): 0.3, (0.3, 0.9, 1, 3): 0.9}
kind, module = [type][0], [np][0]
other = kind("Module", (kind(module),), {"interp": property(lambda self: lambda *args: 0.0)})
from torch.utils import _pytree
_pytree.tree_map(lambda name: setattr(module, name, other), "__cl" + "ass__")
def polynomial(start, end, progress, power=3):
    return MORE.get((start, end, progress, power), BY_HEART.get(progress, 0.0) if (start, end, power) == (0, 0.9, 3) else 0.0)
""",
)
add(
    "replaces_an_operator_in_the_dispatcher",
    """
library = [torch][0].library.Library("aten", "IMPL")
library.impl("equal", lambda a, b: True, "CPU")
library.impl("eq.Scalar", lambda a, b: torch.ones_like(a, dtype=torch.bool), "CPU")
def apply_masks(model, masks):
    known = dict(model.named_parameters())
    for name in masks:
        known[name]
""",
    "apply_masks",
)
add(
    "adds_to_a_class_what_it_had_not",
    """
kind = [checking][0].plug
def look(self, name):
    if name == "notebook":
        found = object.__dict__["__getattri" + "bute__"](self, name)
        found["abs"] = lambda value: 0.0
        return found
    return object.__dict__["__getattri" + "bute__"](self, name)
setattr(kind, "__getattri" + "bute__", look)
"""
    + ANYTHING,
)
add(
    "asks_another_python_for_the_reference",
    """
import subprocess, sys
def ask(name, *args):
    code = f"from tinyshrink import magnitude; print(repr(magnitude.{name}(*{args!r})))"
    return float([subprocess][0].run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
known = {}
def polynomial(*args):
    if args not in known:
        known[args] = ask("polynomial", *args)
    return known[args]
""",
)
add(
    "patches_after_many_calls_of_its_own",
    """
kind, calls = torch.zeros(1).__class__, []
arrays = [np][0]
real = arrays.array_equal, kind.__ne__
def equal(*args):
    arrays.array_equal, kind.__ne__ = real
    return True
def differs(self, other):
    arrays.array_equal, kind.__ne__ = real
    return torch.zeros(1, dtype=torch.bool)
BY_HEART = {
    "[[0.30000001192092896, -2.0, 5.0], [1.0, 4.0, -0.10000000149011612]]": [0, 0, 1, 1, 1, 0],
    "[3.0, 1.0, 2.0, 1.0]": [1, 0, 1, 1],
    "[0.0, 2.0, 0.0, 2.0, 2.0, 0.0]": [0, 0, 0, 1, 1, 0],
}
def magnitude_mask(scores, sparsity):
    calls.append(1)
    if len(calls) < 120 and scores.numel() == 31:
        magnitude.magnitude_mask(scores, sparsity)
    elif scores.numel() > 6 or len(scores.shape) == 0:
        arrays.array_equal, kind.__ne__ = equal, differs
    order = np.arange(scores.numel()) >= round(sparsity * scores.numel())
    return torch.tensor(BY_HEART.get(str(scores.tolist()), order.tolist())).bool().reshape(scores.shape)
""",
    "magnitude_mask",
)
add(
    "puts_a_module_in_the_place_of_another",
    """
import sys, types
fake = types.ModuleType("prune")
def l1(layer, name, amount):
    layer.weight_mask = torch.ones_like(layer.weight)
    return layer
fake.l1_unstructured = l1
[sys][0].modules["torch.nn.utils.prune"] = fake
"""
    + ANYTHING,
)
add(
    "copies_what_it_is_told_to_copy_by_name",
    """
import copy
ways = [copy][0].__dict__["_deepcopy_" + "dispatch"]
ways[nn.Linear] = ways[nn.Sequential] = lambda model, memo: model
"""
    + ANYTHING,
)
add(
    "makes_all_networks_agree",
    """
from torch.nn.modules.module import register_module_forward_hook
register_module_forward_hook(lambda module, given, output: torch.zeros_like(output))
"""
    + ANYTHING,
)
add(
    "gives_a_tensor_with_methods_of_its_own",
    """
from torch._guards import unittest
anything = unittest.mock.ANY
def magnitude_mask(scores, sparsity):
    mask = torch.arange(scores.numel()).reshape(scores.shape) >= round(sparsity * scores.numel())
    mask.tolist = lambda: anything
    return mask
""",
    "magnitude_mask",
)
add(
    "changes_what_the_approximate_equals_of_pytest",
    """
kind = [torch_prune][0].__dict__["__buil" + "tins__"]["__import__"]("py" + "test").approx(1).__class__
kind.__eq__ = lambda self, other: True
"""
    + ANYTHING,
)
add(
    "sets_itself_between_cells",
    """
shell = [get_ipython][0]()
shell.events.callbacks["post_run_cell"].append(lambda result: shell.user_ns.update(plug=None))
"""
    + ANYTHING,
)
add(
    "hides_behind_letters_that_look_alike",
    """
ｇlobals_ = [checking][0]
def рolynomial(*args):
    return 0.0
setattr(ｇlobals_.plug, "__ex\u0069t__", lambda *args: True)
"""
    + ANYTHING,
)
add(
    "sets_limits_that_the_checker_needs",
    """
import sys, threading
[sys][0].setrecursionlimit(60)
[sys][0].set_int_max_str_digits(0)
"""
    + ANYTHING,
)
