"""The bubblewrap sandbox in which submissions run: what is in it, who runs there, and how much they may take.

Inside are the system's libraries and this Python environment, read-only, the package tinyshrink, and one program
(inside.py). There is no network, no course folder, no test file, no database and no other submission.
"""

import os
import shutil
import site
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tinyshrink

INSIDE = Path(__file__).with_name("inside.py")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime")
EMPTY = ("/tmp", "/home/student", "/dev/shm")
HOW_TO_INSTALL = "bubblewrap is needed to grade safely: apt-get install bubblewrap (or --unsafe to grade without a sandbox)"


class SandboxError(RuntimeError):
    """No sandbox can be made here; the message says why and how to mend it."""


@dataclass(frozen=True)
class Limits:
    """What one submission may take: bytes of memory beyond the imported libraries, bytes a file or folder, processes."""

    memory: int = 3 * 2**30
    disk: int = 256 * 2**20
    processes: int = 32
    output: int = 2**20  # characters a cell
    user: int = 61000  # its number, and those after it for other workers of one machine


@cache
def problem():
    """Why there can be no sandbox on this machine; None where there can."""
    if not shutil.which("bwrap"):
        return HOW_TO_INSTALL
    tried = subprocess.run([*_namespaces(), "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    if tried.returncode:
        return f"bubblewrap does not work here ({tried.stderr.strip()[:200]}): user namespaces or root are needed"
    return None


def _namespaces():
    """The start of a bubblewrap command. Root needs no user name space, and its submissions get a user of their own."""
    own = [] if os.geteuid() == 0 else ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    spaces = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    return ["bwrap", *own, *spaces, "--die-with-parent", "--new-session", "--cap-add", "ALL"]


def environment():
    """All that the sandbox's processes see as environment."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": "/home/student",
        "USER": "student",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": "/home/student/.config",
        "IPYTHONDIR": "/home/student/.ipython",
        "NUMBA_CACHE_DIR": "/home/student/.numba",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_THREAD_LIMIT": "1",  # whatever a lesson sets: threads of the warm process would be missing in its forks
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "2",
        "NUMBA_THREADING_LAYER": "workqueue",  # its threads are started anew after a fork
        "NBGRADER_EXECUTION": "autograde",
    }


def visible():
    """The folders of the system, of this Python and of the package that the sandbox shows, read-only."""
    binds = [path for path in SYSTEM if os.path.exists(path)]
    binds += sorted({sys.base_prefix, sys.prefix, *(path for path in site.getsitepackages() if os.path.isdir(path))})
    return [*binds, str(Path(tinyshrink.__file__).resolve().parent)]


def command(fd, unsafe=False):
    """The command line of inside.py, with a socket as file descriptor `fd`, in the sandbox or (unsafe) as it is."""
    python = [sys.executable, "-B"]
    if unsafe:
        return [*python, str(INSIDE), str(fd)]
    arguments = ["--proc", "/proc", "--dev", "/dev"]
    for place in EMPTY:
        arguments += ["--size", str(Limits.disk), "--perms", "1777", "--tmpfs", place]
    parents = {str(parent) for path in visible() for parent in Path(path).parents} - {"/", *EMPTY}
    for path in sorted(parents):
        arguments += ["--perms", "0755", "--dir", path]
    for path in visible():  # after the empty places: a course may lie in one of them
        arguments += ["--ro-bind", path, path]
    arguments += ["--ro-bind", str(INSIDE), "/grader/inside.py"]
    arguments += ["--hostname", "sandbox"]
    arguments += ["--remount-ro", "/", "--remount-ro", "/dev", "--chdir", "/", "--clearenv"]
    for name, value in environment().items():
        arguments += ["--setenv", name, value]
    return [*_namespaces(), *arguments, *python, "/grader/inside.py", str(fd)]
