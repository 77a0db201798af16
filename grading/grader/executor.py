"""Runs the rebuilt notebook in the sandbox and says of each check what came of it.

A cell that hangs is interrupted, then killed; a kernel that is gone is replaced by a fresh one in which the earlier cells, but
not the checks, run again. Whatever one cell does, the checks after it are run.
"""

import hashlib
import time

from . import integrity
from .kernels import Died, TimedOut

MOST_MESSAGE = 2000
SHARED = 24  # so many characters in a row of a hidden test are no coincidence in a message


class Run:
    """One submission's way through its notebook."""

    def __init__(self, record, cells, start, timeout, budget, seed):
        self.record, self.cells, self.start = record, cells, start
        self.timeout, self.seed = timeout, seed
        self.budget = budget  # seconds that all cells together may still take; starting kernels is our own affair
        self.kernel = None
        self.results = {}  # place of a check among the cells -> result
        self.outputs = {}  # place of any cell -> outputs
        self.broken = {}  # grade_id of a solution cell that failed -> (outcome, message)
        self.poisoned = set()  # cells that are not run again: they killed or blocked a kernel
        self.reasons, self.flags = [], []
        self.compromised = None  # place of the first cell from which on a pass needs a person
        self.seconds = {"start": 0.0, "cells": 0.0, "checks": 0.0}

    def flag(self, place, reason):
        if reason not in self.flags:
            self.flags.append(reason)
        self.compromised = place if self.compromised is None else min(place, self.compromised)

    def run(self):
        try:
            for place, cell in enumerate(self.cells):
                if cell["kind"] in ("given", "solution", "extra"):
                    self.cell(place, cell)
                elif cell["kind"] == "check":
                    self.check(place, cell)
        finally:
            if self.kernel:
                self.kernel.close()
        return self

    def left(self):
        """Seconds that the next cell may take."""
        return min(self.timeout, self.budget)

    def ask(self, request):
        """The kernel's answer to a request."""
        seconds, started = max(0.1, self.left()), time.monotonic()
        try:
            return self.kernel.ask(request, seconds)
        finally:
            self.budget -= min(seconds, time.monotonic() - started)

    def ready(self, place):
        """Have a kernel in which everything before `place` has been run; False where the time of the submission is over."""
        while self.kernel is None and self.left() > 0:
            started = time.monotonic()
            self.kernel = self.start()
            self.seconds["start"] += time.monotonic() - started
            for earlier in range(place):
                cell = self.cells[earlier]
                if not (self.settle(earlier) if cell["kind"] == "check" else self.replay(earlier, cell)):
                    break
        return self.left() > 0

    def replay(self, place, cell):
        """Run a cell again in a fresh kernel; False where that is gone again."""
        if cell["kind"] not in ("given", "solution", "extra") or place in self.poisoned:
            return True
        try:
            self.ask({"do": "cell", "code": cell["source"], "keep": cell.get("keep", [])})
        except TimedOut as error:
            self.poisoned.add(place)
            return not self.lost(error.died)
        except Died:
            self.poisoned.add(place)
            return not self.lost(True)
        return True

    def settle(self, place):
        """What a check that was run before leaves behind: the student's function plugged in, or the reference put back."""
        cell = self.cells[place]
        if not cell["plug"] or place not in self.results or place in self.poisoned:
            return True
        passed = self.results[place]["outcome"] in ("passed", "manual")
        target, name = cell["plug"]
        code = f'plug({target}, "{name}").{"__enter__" if passed else "_put_back"}()'
        try:
            self.ask(self.request(cell, code, value=False))
        except TimedOut as error:
            self.poisoned.add(place)
            return not self.lost(error.died)
        except Died:
            self.poisoned.add(place)
            return not self.lost(True)
        return True

    def lost(self, died):
        """Let the kernel go where it died, or where what an interrupted cell began may still run; whether it went."""
        if not died:
            try:
                left, threads, _ = self.kernel.sweep()
                died = left > 0 or threads > 1  # with a kernel all its processes end, also those that fork all the time
            except Died:
                died = True
        if died:
            self.kernel.close()
            self.kernel = None
        return died

    def cell(self, place, cell):
        """Run a given cell, an answer or a cell of the student's own."""
        if not self.ready(place):
            return
        started = time.monotonic()
        try:
            reply = self.ask({"do": "cell", "code": cell["source"], "keep": cell.get("keep", [])})
        except TimedOut as error:
            self.lost(error.died)
            self.fell(place, cell, "timed out", f"timed out after {self.timeout:g} s")
        except Died as error:
            self.lost(True)
            self.fell(place, cell, "crashed", f"the kernel died: {error}")
        else:
            self.outputs[place] = reply["outputs"]
            self.said_too_much(cell, reply)
            if reply["status"] == "error" and cell["kind"] != "given":
                self.broken[cell["grade_id"]] = ("failed", f"your cell failed: {text(reply.get('message'))}"[:MOST_MESSAGE])
        self.seconds["cells"] += time.monotonic() - started

    def fell(self, place, cell, outcome, message):
        self.poisoned.add(place)
        self.outputs[place] = [error_output(message)]
        name = cell["grade_id"] or "a cell of the student's own"
        self.reasons.append(f"{name}: {message}")
        if cell["grade_id"]:
            self.broken[cell["grade_id"]] = (outcome, f"your cell {message}")

    def said_too_much(self, cell, reply):
        if reply.get("lost"):
            self.reasons.append(f"{cell['grade_id'] or 'a cell'}: output capped, {reply['lost']} characters were cut off")

    def request(self, cell, code, value=True, seed=None, **more):
        plug = [f"tinyshrink.{cell['plug'][0]}", cell["plug"][1]] if cell["plug"] else None
        return {"do": "check", "code": code, "plug": plug, "value": value, "seed": seed, "odd": None, **more}

    def check(self, place, cell):
        """Run the visible and the hidden part of a check, and the canary after a pass."""
        result = {"outcome": "not run", "points": 0.0, "test": None, "message": ""}
        self.results[place] = result
        if not self.ready(place):
            result["message"] = "the time for the whole submission was over"
            self.reasons.append(f"{cell['exercise']}: not run, {result['message']}")
            return
        started = time.monotonic()
        part = "visible"
        try:
            left, _, awake = self.kernel.sweep()
            if awake:
                self.flag(place, f"left {awake} thread{'s' * (awake != 1)} running before the check of {cell['exercise']}")
            if left:
                self.flag(place, f"left {left} process{'es' * (left != 1)} running before the check of {cell['exercise']}")
            reply = {"status": "passed", "partial": None}
            parts = [name for name in ("visible", "hidden") if cell[name]]
            for part in parts:
                odd = integrity.ODD if part == parts[-1] else None
                reply = self.ask(self.request(cell, cell[part], seed=self.seed_of(cell) if part == "hidden" else None, odd=odd))
                self.said_too_much(cell, reply)
                self.outputs.setdefault(place, []).extend(reply["outputs"])
                for what in reply.get("tampered", ()):
                    self.flag(place, f"{cell['exercise']}: {text(str(what)[:200])}")
                if reply["status"] != "passed":
                    break
            if reply["status"] == "passed":
                self.passed(place, cell, result, reply)
                self.canary(place, cell)
            else:
                self.failed(cell, result, part, reply)
        except TimedOut as error:
            self.lost(error.died)
            result.update(outcome="timed out", message=f"timed out after {self.timeout:g} s", test=hidden_or_none(part))
        except Died as error:
            self.lost(True)
            result.update(outcome="crashed", message=f"the kernel died: {error}", test=hidden_or_none(part))
            if "nobody asked for" in str(error) or "no answer" in str(error):
                self.flag(place, f"{cell['exercise']}: the kernel sent a forged answer")
        if result["outcome"] in ("timed out", "crashed"):
            self.outputs.setdefault(place, []).append(error_output(result["message"]))
            self.reasons.append(f"{cell['exercise']}: {result['message']}")
        if result["outcome"] != "passed" and cell["solution"] in self.broken:
            outcome, message = self.broken[cell["solution"]]
            result.update(outcome=outcome, message=message, test=None)
        result["message"] = self.without_hidden(result["message"])[:MOST_MESSAGE]
        self.seconds["checks"] += time.monotonic() - started

    def passed(self, place, cell, result, reply):
        most = float(cell["cell"]["metadata"]["nbgrader"]["points"])
        partial = reply.get("partial")
        points = most
        if isinstance(partial, (int, float)):
            points = min(max(float(partial), 0.0), most) if partial == partial else 0.0
            if points != partial:
                self.flag(place, f"{cell['exercise']}: a score of {partial:g} of {most:g} was set to {points:g}")
        result.update(outcome="passed" if points == most else "failed", points=points)

    def seed_of(self, cell):
        """A seed for this exercise alone: what an answer can read in its process tells nothing of the instructor's."""
        text = f"{self.seed} {self.record['assignment']} {cell['exercise']}"
        return str(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))

    def failed(self, cell, result, part, reply):
        result["outcome"] = "failed"
        if part == "visible":
            result.update(test=text(reply.get("test")), message=text(reply.get("message")) or "")
        else:
            result.update(test="hidden", message="a hidden test with other values failed: try yours on cases of your own")

    def canary(self, place, cell):
        """The same check with a function that cannot pass: where it passes, no pass means anything."""
        names = cell["names"]
        if not names:
            return
        requests = [self.request(cell, cell["visible"] or cell["hidden"], value=False, do="canary", names=names)]
        requests.append(requests[0] | {"code": "assert False, 'canary'", "plug": None, "names": []})
        for request in requests:
            if self.ask(request)["status"] != "failed":
                self.flag(place, f"{cell['exercise']}: its check passes without an answer")

    def without_hidden(self, message):
        """A message in which no part of any hidden test is left."""
        for cell in self.cells:
            for line in cell.get("hidden", "").splitlines():
                line = line.strip()
                if (
                    len(line) >= SHARED
                    and any(line[start : start + SHARED] in message for start in range(len(line) - SHARED + 1))
                    and line not in cell["visible"]
                ):
                    return "the check failed"
        return message


def text(value):
    """A text from the kernel, such that files and databases take it."""
    if not isinstance(value, str):
        return None
    return value[:MOST_MESSAGE].encode("utf-8", "replace").decode().replace("\0", "")


def hidden_or_none(part):
    return "hidden" if part == "hidden" else None


def error_output(message):
    return {"output_type": "error", "ename": "Grader", "evalue": message, "traceback": [message]}


def look(run, left_out, reasons):
    """The static tripwires, before anything is run."""
    functions = {cell["solution"]: cell["exercise"] for cell in run.cells if cell["kind"] == "check" and cell["plug"]}
    for place, cell in enumerate(run.cells):
        if cell["kind"] in ("solution", "extra"):
            for what in integrity.scan(cell["source"], functions.get(cell["grade_id"])):
                run.flag(place, f"{cell['grade_id'] or 'a cell of the student'} {what}")
            for name in integrity.outside(cell["source"]):
                reasons.append(f"{cell['grade_id'] or 'a cell of the student'} imports {name}, which reaches nothing here")
    for source in left_out:
        for what in integrity.scan(source):
            run.flag(len(run.cells), f"a cell that was not run {what}")
