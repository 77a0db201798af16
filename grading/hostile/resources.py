"""Submissions that do not end, die, or want all memory, processes and disk. One cell is lost, the rest is graded."""

from . import GRADED, must, solved, without

REST = without("apply_masks")  # the bad answer is that of apply_masks, in the middle of the notebook


def bad(released, source, body, before=""):
    """A notebook that is right but for apply_masks, whose body is `body`, after the lines `before` in its cell."""
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return solved(released, source, apply_masks=f"{before}\ndef apply_masks(model, masks):\n{indented}\n")


@must(*GRADED, full=REST)
def loops_for_ever(released, source):
    return bad(released, source, "while True:\n    pass")


@must(*GRADED, full=REST)
def loops_and_swallows_the_interrupt(released, source):
    return bad(
        released,
        source,
        """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
    finally:
        continue
""",
    )


@must(*GRADED, full=REST)
def hangs_in_c_code_that_holds_the_lock(released, source):
    return bad(released, source, 'import re\nre.match(r"(a+)+$", "a" * 60 + "b")')


@must(*GRADED, "flagged", full=REST)
def sleeps_in_c_and_blocks_signals(released, source):
    return bad(
        released,
        source,
        """
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    ctypes.PyDLL(None).sleep(1000)
""",
    )


@must(*GRADED, full=REST)
def hangs_before_its_function_is_defined(released, source):
    return bad(released, source, "return None", before="import time\nwhile True:\n    time.sleep(1)")


@must(*GRADED, full=REST)
def waits_for_input(released, source):
    return bad(released, source, 'input("who are you? ")')


@must(*GRADED, full=REST)
def exits_python(released, source):
    return bad(released, source, "import os\nos._exit(0)")


@must(*GRADED, full=REST)
def kills_its_kernel(released, source):
    return bad(released, source, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")


@must(*GRADED, full=REST)
def kills_its_parent(released, source):
    return bad(released, source, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nraise ValueError")


@must(*GRADED, "flagged", full=REST)
def kills_everything(released, source):
    return bad(released, source, "import os, signal\nos.kill(-1, signal.SIGKILL)\nos.killpg(0, signal.SIGKILL)\nos._exit(1)")


@must(*GRADED, "flagged")
def kills_its_kernel_at_each_check(released, source):
    """At each look at what the checks rely on, also when they are only to be repeated in a fresh kernel."""
    return bad(released, source, "return None", before="import os, sys\nsys.gettrace = lambda: os._exit(0)")


@must(*GRADED, full=REST)
def kills_its_kernel_outside_a_check(released, source):
    return bad(released, source, "return None", before="import os\nos._exit(1)")


@must(*GRADED, "flagged", full=REST)
def crashes_in_c(released, source):
    return bad(released, source, "import ctypes\nctypes.string_at(0)")


@must(*GRADED, "flagged", full=REST)
def overflows_the_stack(released, source):
    return bad(released, source, "import sys\nsys.setrecursionlimit(10**9)\nf = lambda n: f(n + 1) + 1\nf(0)")


@must(*GRADED, full=REST)
def recurses_for_ever(released, source):
    return bad(released, source, "return apply_masks(model, masks)")


@must(*GRADED, full=REST)
def eats_memory(released, source):
    return bad(released, source, 'eaten = []\nwhile True:\n    eaten.append(b"x" * 2**26)')


@must(*GRADED, full=REST)
def eats_memory_in_one_tensor(released, source):
    return bad(released, source, "return torch.ones(2**38)")


@must(*GRADED, full=REST)
def eats_memory_in_many_processes(released, source):
    """Each takes little, all together twice what a submission may have; no more, for the sake of who runs this."""
    return bad(
        released,
        source,
        """
import os, time
for _ in range(24):
    if os.fork() == 0:
        eaten = bytearray(os.urandom(2**20)) * 256
        time.sleep(3600)
time.sleep(3600)
""",
    )


@must(*GRADED, full=REST)
def takes_an_endless_generator(released, source):
    return bad(released, source, "import itertools\nreturn list(itertools.count())")


@must(*GRADED, full=REST)
def forks_without_end(released, source):
    return bad(released, source, "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass")


@must(*GRADED, full=REST)
def starts_threads_without_end(released, source):
    return bad(
        released,
        source,
        """
import threading, time
while True:
    try:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    except RuntimeError:
        pass
""",
    )


@must(*GRADED, "flagged", full=REST, free=("polynomial", "exponential"))
def forks_a_second_kernel(released, source):
    """Both processes answer on the same sockets from here on."""
    return bad(released, source, "import os\nos.fork()")


@must(*GRADED, "flagged", full=REST)
def leaves_processes_behind(released, source):
    return bad(
        released,
        source,
        """
import subprocess, sys
for _ in range(20):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600) # tinyshrink-left-behind"], start_new_session=True)
raise ValueError
""",
    )


@must(*GRADED, full=REST)
def fills_the_disk(released, source):
    return bad(
        released,
        source,
        """
import os
for folder in (".", os.path.expanduser("~"), "/tmp", "/dev/shm", "/var/tmp"):
    for number in range(1000):
        try:
            with open(f"{folder}/full{number}", "wb") as file:
                for _ in range(200):
                    file.write(b"x" * 2**20)
        except OSError:
            break
raise ValueError
""",
    )


@must(*GRADED, full=REST)
def makes_files_without_end(released, source):
    return bad(
        released,
        source,
        """
import itertools, os
for number in itertools.count():
    os.mkdir(f"folder{number}")
    open(f"folder{number}/file", "w").close()
""",
    )


@must(*GRADED, full=REST)
def opens_files_without_end(released, source):
    return bad(released, source, 'held = []\nwhile True:\n    held.append(open("/dev/null"))')


@must(*GRADED, full=REST)
def raises_a_hundred_megabytes(released, source):
    return bad(released, source, 'raise ValueError("x" * 100_000_000)')


@must(*GRADED, full=REST)
def prints_without_end(released, source):
    return bad(released, source, 'while True:\n    print("x" * 100_000)')


@must(*GRADED, "flagged", full=REST)
def writes_past_the_kernel(released, source):
    return bad(released, source, 'import os\nwhile True:\n    os.write(1, b"x" * 2**20)\n    os.write(2, b"x" * 2**20)')


@must(*GRADED, full=REST)
def sends_messages_without_end(released, source):
    return bad(released, source, 'from IPython.display import display\nwhile True:\n    display({"text/plain": "x"}, raw=True)')


@must(*GRADED, full=REST)
def closes_its_sockets(released, source):
    return bad(released, source, "import os\nos.closerange(3, 1000)\nraise ValueError")


@must(*GRADED, "flagged", full=REST, free=("polynomial", "exponential"))
def hangs_when_it_ends(released, source):
    """atexit handlers, finalizers and threads that are no daemons keep a Python that has ended."""
    return bad(
        released,
        source,
        """
import atexit, threading, time
atexit.register(time.sleep, 3600)
threading.Thread(target=time.sleep, args=(3600,)).start()
raise ValueError
""",
    )
