"""Kernels for submissions: one warm process per worker, forked for each of them (the other end is inside.py)."""

import atexit
import contextlib
import json
import os
import secrets
import select
import socket
import struct
import subprocess
import sys
import threading
import time

from . import sandbox

MOST_BYTES = 16 * 2**20  # of one answer: its outputs are capped at a million characters, and one may take 12 bytes in JSON
GRACE = 5.0  # seconds for a cell to stop after it was interrupted
PATIENCE = 120.0  # seconds for our own programs to answer, on a machine that is busy
MOST_WAITING = 4  # on a machine that is busy, a cell may take this many times its time by the clock


class Died(Exception):
    """The kernel is gone, or no longer says what a kernel says; the message says how."""


class TimedOut(Exception):
    """A cell took too long. `died` says whether the kernel had to be killed because it would not stop."""

    def __init__(self, died):
        super().__init__()
        self.died = died


class Undivided(sandbox.SandboxError):
    """No name spaces can be made within the sandbox, so each submission needs a sandbox of its own."""


class Channel:
    """Messages over a socket: JSON behind its length; reading gives up at a deadline."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)

    def send(self, message, seconds=10.0):
        data = memoryview(struct.pack("!I", len(body := json.dumps(message).encode())) + body)
        deadline = time.monotonic() + seconds
        while data:
            _, ready, _ = select.select([], [self.sock], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Died("it does not listen any more")
            try:
                data = data[self.sock.send(data) :]
            except OSError as error:
                raise Died("it closed its connection") from error

    def ready(self, seconds):
        return bool(select.select([self.sock], [], [], max(0, seconds))[0])

    def receive(self, deadline):
        """One message; TimeoutError at the deadline, Died where it is none or the other end is gone."""
        size = struct.unpack("!I", self._read(4, deadline))[0]
        if size > MOST_BYTES:
            raise Died("it sent something that is no answer")
        try:
            message = json.loads(self._read(size, deadline))
        except (ValueError, RecursionError):
            raise Died("it sent something that is no answer") from None
        if not isinstance(message, dict):
            raise Died("it sent something that is no answer")
        return message

    def _read(self, count, deadline):
        parts = bytearray()
        while len(parts) < count:
            if not self.ready(deadline - time.monotonic()):
                raise TimeoutError
            try:
                part = self.sock.recv(count - len(parts))
            except BlockingIOError:
                continue
            except OSError:
                part = b""
            if not part:
                raise Died("it closed its connection")
            parts += part
        return bytes(parts)

    def close(self):
        self.sock.close()


class Zygote:
    """The warm process in its sandbox, and the kernels forked from it."""

    def __init__(self, record, limits, user, mode):
        self.mode, unsafe = mode, mode == "unsafe"
        ours, theirs = socket.socketpair()
        command = sandbox.command(theirs.fileno(), unsafe)
        environment = sandbox.environment() if unsafe else {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if not os.environ.get("TINYSHRINK_GRADER_LOG") else None,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        self.channel = Channel(ours)
        settings = {
            "imports": record["imports"],
            "lead": record["lead"],
            "memory": limits.memory,
            "disk": limits.disk,
            "processes": limits.processes if not unsafe else 4096,
            "uid": user if os.geteuid() == 0 and not unsafe else None,
            "mode": mode,
            "visible": sandbox.visible(),
        }
        self.most = limits.output
        try:
            self.channel.send(settings)
            failed = self.channel.receive(time.monotonic() + 5 * PATIENCE)["failed"]
        except (Died, TimeoutError) as error:
            self.close()
            raise sandbox.SandboxError(f"the sandbox did not start: {error or 'no answer'}") from None
        if failed:
            self.close()
            raise sandbox.SandboxError(f"a given cell before the first exercise fails in the sandbox: {failed}")

    def kernel(self):
        """A fresh kernel, forked from the warm process."""
        pairs = [socket.socketpair() for _ in range(2)]
        try:
            self.channel.sock.setblocking(True)
            socket.send_fds(self.channel.sock, [b"k"], [theirs.fileno() for _, theirs in pairs])
        except OSError:
            raise sandbox.SandboxError("the warm process is gone") from None
        finally:
            self.channel.sock.setblocking(False)
            for _, theirs in pairs:
                theirs.close()
        return Kernel(*(Channel(ours) for ours, _ in pairs), self.most, self.close if self.mode == "cold" else None)

    def alive(self):
        return self.process.poll() is None

    def close(self):
        """End the warm process and all that was forked from it."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Kernel:
    """One kernel and its supervisor. Every method raises Died when the kernel is gone."""

    def __init__(self, cells, control, most, also=None):
        self.cells, self.control, self.most, self.also = cells, control, most, also
        self.waited = 0.0  # seconds for which the kernel was ready to run, but no core was free
        try:
            started = control.receive(time.monotonic() + PATIENCE)
        except (Died, TimeoutError):
            raise sandbox.SandboxError("no kernel came from the warm process") from None
        if "refused" in started:
            raise Undivided(f"the sandbox cannot be divided: {started['refused']}")

    def ask(self, request, seconds):
        """The kernel's answer to one request; TimedOut after that many seconds, Died when it is gone.

        Seconds in which it waited for a free core do not count: a busy machine costs nobody points.
        """
        nonce = secrets.token_hex(16)
        deadline = time.monotonic() + seconds
        latest = deadline + (MOST_WAITING - 1) * seconds
        reply = None
        self.cells.send(request | {"nonce": nonce, "most": self.most})
        while reply is None:
            try:
                reply = self._answer(deadline)
            except TimeoutError:
                waited = min(self._waiting(), latest - deadline)
                if waited > 0.05 * seconds:
                    deadline = time.monotonic() + waited
                    continue
                raise TimedOut(died=self._interrupt() is None) from None
        if reply.get("nonce") != nonce or not isinstance(reply.get("outputs"), list):
            raise Died("it sent an answer that nobody asked for")
        return reply

    def _answer(self, deadline):
        while True:
            before = time.monotonic()
            slice = min(1.0, max(0.0, deadline - before))
            readable, _, _ = select.select([self.cells.sock, self.control.sock], [], [], slice)
            late = time.monotonic() - before - slice
            if late > 0.5:  # this very process was stopped or starved, so the kernel may have been too
                deadline += late
            if not readable:
                if time.monotonic() >= deadline:
                    raise TimeoutError
                continue
            if self.cells.sock in readable:
                try:
                    return self.cells.receive(deadline)
                except Died:
                    if self.control.ready(1.0):
                        raise Died(self.control.receive(time.monotonic() + 1).get("died", "it is gone")) from None
                    raise
            message = self.control.receive(deadline)
            if "died" in message:
                raise Died(str(message["died"]))

    def _interrupt(self):
        """Stop the cell that runs; its answer, or None where it would not stop."""
        try:
            self.control.send({"do": "interrupt"})
            return self._answer(time.monotonic() + GRACE)
        except (TimeoutError, Died):
            return None

    def _waiting(self):
        """Seconds that the kernel has waited for a core since this was asked last."""
        message = self._supervisor("waited")
        before, self.waited = self.waited, float(message["waited"])
        return self.waited - before

    def _supervisor(self, command):
        """The supervisor's answer to a command."""
        self.control.send({"do": command})
        try:
            while True:
                message = self.control.receive(time.monotonic() + PATIENCE)
                if "died" in message:
                    raise Died(str(message["died"]))
                return message
        except TimeoutError:
            raise Died("its supervisor does not answer") from None

    def sweep(self):
        """Kill the processes that cells left behind; returns how many, the kernel's threads, and those that may act."""
        message = self._supervisor("sweep")
        self.waited = float(message["waited"])
        return message["left"], message["threads"], message["awake"]

    def close(self):
        """Let the supervisor end, and everything of the submission with it, before the next one starts."""
        with contextlib.suppress(OSError, Died, TimeoutError):
            self.control.sock.shutdown(socket.SHUT_WR)
            while True:
                self.control.receive(time.monotonic() + GRACE)
        self.control.close()
        self.cells.close()
        if self.also:
            self.also()


_here = threading.local()  # a worker may be a thread of a Dask worker
_all = []


def start(record, limits, unsafe=False):
    """A fresh kernel: forked from this worker's warm process, or in a new sandbox where that one cannot be divided."""
    mode = "unsafe" if unsafe else getattr(_here, "mode", "warm")
    try:
        return warm(record, limits, mode).kernel()
    except Undivided:
        _here.mode = "cold"
    except sandbox.SandboxError:
        cool()  # it may have been killed; a second failure is for people
    return warm(record, limits, getattr(_here, "mode", mode)).kernel()


def warm(record, limits, mode):
    """The warm process of this worker, started where there is none; another lesson needs another one."""
    known = getattr(_here, "zygote", None)
    key = (record["lead"], limits, mode)
    if known is None or known[0] != key or not known[1].alive():
        cool()
        user = limits.user + (os.getpid() * 31 + threading.get_ident() // 4096) % 4000
        _here.zygote = (key, Zygote(record, limits, user, mode))
        _all.append(_here.zygote[1])
    return _here.zygote[1]


def cool():
    """End this worker's warm process."""
    known = getattr(_here, "zygote", None)
    if known:
        known[1].close()
        _all.remove(known[1])
        _here.zygote = None


@atexit.register
def _cool_all():
    for zygote in _all:
        zygote.close()


if sys.platform == "win32":
    raise ImportError("the grader runs on Linux; students need no grader")
