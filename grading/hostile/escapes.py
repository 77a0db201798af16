"""Submissions that want out of the sandbox. Each is right where it got out, and wrong where it did not: points are a hole."""

from . import cheat, unsolved

# What an escape leads to: the reference's answer.
PRIZE = """
kept = magnitude.magnitude_mask, magnitude.polynomial
if escaped:
    print(escaped)
    def magnitude_mask(scores, sparsity):
        order = scores.flatten().argsort(stable=True)
        mask = torch.ones(scores.numel(), dtype=torch.bool)
        mask[order[:round(sparsity * scores.numel())]] = False
        return mask.view(scores.shape)
"""

WALK = """
import os, sys
def files(wanted, root="/"):
    found = []
    for parent, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if os.path.join(parent, folder) not in ("/proc", "/sys", "/usr", sys.prefix)]
        found += [os.path.join(parent, name) for name in names if wanted(parent, name)]
    return found
"""


def escape(released, source, code):
    return unsolved(released, source, f"escaped = None\n{code}\n{PRIZE}")


@cheat
def writes_the_gradebook(released, source):
    code = """
import sqlite3
for path in files(lambda parent, name: name.startswith("gradebook.db")):
    sqlite3.connect(path).execute("update grade set auto_score = 1000")
    escaped = path
"""
    return escape(released, source, WALK + code)


@cheat
def reads_the_hidden_tests(released, source):
    return escape(
        released, source, WALK + 'escaped = files(lambda parent, name: parent.endswith("hidden") and name[:5] == "test_")'
    )


@cheat
def reads_the_source_notebook(released, source):
    code = 'escaped = files(lambda parent, name: name.endswith(".ipynb") and ("source" in parent or "submitted" in parent))'
    return escape(released, source, WALK + code)


@cheat
def reads_other_submissions(released, source):
    return escape(
        released, source, WALK + 'escaped = files(lambda parent, name: name.endswith(".ipynb") and "hostile" in name)'
    )


@cheat
def reads_the_results(released, source):
    code = 'escaped = files(lambda parent, name: "/results" in parent and name.endswith(".json"))'
    return escape(released, source, WALK + code)


@cheat
def reads_the_secrets_of_the_instructor(released, source):
    code = """
import glob, os
places = [str(dict(os.environ)).encode()]
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline") + ["/etc/shadow", "/root/.netrc"]:
    try:
        places.append(open(path, "rb").read())
    except OSError:
        pass
escaped = [place for place in places if b"tinyshrink-secret" in place or b"root:$" in place]
"""
    return escape(released, source, code)


@cheat
def sees_other_processes(released, source):
    code = """
import glob
for path in glob.glob("/proc/[0-9]*/cmdline"):
    command = open(path, "rb").read()
    if b"pytest" in command or b"nbgrader" in command or b"course" in command:
        escaped = command
"""
    return escape(released, source, code)


@cheat
def is_root(released, source):
    code = """
import os
try:
    os.setuid(0)
except OSError:
    pass
try:
    with open("/etc/hostname", "a") as file:
        escaped = file
except OSError:
    pass
escaped = escaped or os.access("/root", os.W_OK)
"""
    return escape(released, source, code)


@cheat
def opens_the_network(released, source):
    """The tests listen on this socket, whose name is in the network namespace, and on a port of this machine."""
    code = """
import os, socket
try:
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(2)
    listener.connect("\\0tinyshrink-hostile")
    escaped = "abstract socket"
except OSError:
    pass
others = [name for _, name in socket.if_nameindex() if name != "lo"]
escaped = escaped or others
"""
    return escape(released, source, code)


@cheat
def writes_into_the_library(released, source):
    """Whoever is graded next would import it."""
    code = """
import numpy, os, sys, tinyshrink
home = os.path.expanduser("~")
for folder in (*sys.path, *torch.__path__, *numpy.__path__, *tinyshrink.__path__, "/etc", "/usr/lib", sys.prefix, "/"):
    try:
        if folder and not folder.startswith((home, "/tmp")) and folder != os.getcwd():
            with open(os.path.join(folder, "tinyshrink_left.py"), "w") as file:
                file.write("")
            escaped = folder
    except OSError:
        pass
"""
    return escape(released, source, code)


@cheat
def leaves_a_startup_file(released, source):
    code = """
import os
for folder in ("~/.ipython/profile_default/startup", "~/.local/lib/python3.11/site-packages", "~/.config", "/tmp", "/dev/shm"):
    folder = os.path.expanduser(folder)
    try:
        if os.path.exists(os.path.join(folder, "tinyshrink_left.py")):
            escaped = "a file of the submission before this one"
        os.makedirs(folder, exist_ok=True)
        for name in ("tinyshrink_left.py", "sitecustomize.py"):
            with open(os.path.join(folder, name), "w") as file:
                file.write("import os; os._exit(3)")
    except OSError:
        pass
"""
    return escape(released, source, code)


@cheat
def finds_what_a_submission_left(released, source):
    """The twin of the one before: it must find none of its files."""
    return leaves_a_startup_file(released, source)


@cheat
def unshares_and_mounts(released, source):
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.unshare(0x10000000)
libc.unshare(0x00020000)
for device in ("/dev/sda", "/dev/sda1", "/dev/vda", "/dev/vda1", "/dev/nvme0n1", "/dev/mem", "/dev/kmem"):
    try:
        with open(device, "rb") as file:
            escaped = device
    except OSError:
        pass
os.makedirs("mounted", exist_ok=True)
try:
    with open("/proc/sys/kernel/core_pattern", "w") as file:
        escaped = "core_pattern"
except OSError:
    pass
"""
    return escape(released, source, code)


@cheat
def traces_its_parents(released, source):
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for process in {1, os.getppid()} - {os.getpid()}:
    try:
        if libc.ptrace(16, process, 0, 0) == 0:
            escaped = process
            libc.ptrace(17, process, 0, 0)
        with open(f"/proc/{process}/mem", "r+b") as file:
            escaped = process
    except OSError:
        pass
"""
    return escape(released, source, code)


@cheat
def follows_open_files(released, source):
    """A descriptor that the kernel inherited would lead out."""
    code = """
import os
for number in os.listdir("/proc/self/fd"):
    try:
        target = os.readlink(f"/proc/self/fd/{number}")
        if target.startswith("/") and any(word in target for word in ("course", "gradebook", "submitted", "results", ".ipynb")):
            escaped = target
    except OSError:
        pass
for process in os.listdir("/proc"):
    if process.isdigit():
        try:
            if os.path.isdir(f"/proc/{process}/root/work") or "gradebook.db" in str(os.listdir(f"/proc/{process}/cwd")):
                escaped = process
        except OSError:
            pass
"""
    return escape(released, source, code)
