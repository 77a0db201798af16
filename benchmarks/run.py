"""All benchmarks, one after the other; what each measures goes into results.json, and from there into README.

    python benchmarks/run.py [NAME ...] [--quick] [--again]       the same as make bench

NAME is a file, or its command, such as `channels` or "channels.py digits"; all without. --quick takes those of at most QUICK
minutes. What this machine has measured with the code of today is not run again, unless --again; the trainings of the long ones
go on after a kill. One that fails does not stop the others: its last lines are shown, and the exit status is 1. Output is kept
in build/bench. Speed is measured: on a machine that does nothing else.
"""

import argparse
import os
import subprocess
import sys
import time

import results
from rich.console import Console
from rich.markup import escape

QUICK = 5


def chosen(names, quick):
    """The commands to run; SystemExit for a name that fits none."""
    for name in names:
        if not any(name in (command, command.split()[0], command.split(".")[0]) for command in results.COMMANDS):
            sys.exit(f"no benchmark is called {name!r}; there are {', '.join(results.COMMANDS)}")
    fits = lambda command: not names or {command, command.split()[0], command.split(".")[0]} & set(names)
    return [command for command, minutes in results.COMMANDS.items() if fits(command) and (not quick or minutes <= QUICK)]


def done(command, machine):
    """Whether results.json has this command's rows, of the code of today and of this machine."""
    rows = [one for one in results.load() if one["command"] == f"python benchmarks/{command}"]
    return bool(rows) and all(one["machine"] == machine and not results.stale(one) for one in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help=f"those of at most {QUICK} minutes")
    parser.add_argument("--again", action="store_true", help="also those that are done")
    given = parser.parse_args()
    console, machine, failed = Console(highlight=False), results.machine(), []
    commands = chosen(given.names, given.quick)
    logs = results.ROOT / "build" / "bench"
    logs.mkdir(parents=True, exist_ok=True)
    for place, command in enumerate(commands, 1):
        label = f"{place} of {len(commands)}  {command}"
        if done(command, machine) and not given.again:
            console.print(f"{label}: done before")
            continue
        console.print(f"{label}: about {results.COMMANDS[command]} minutes on two quiet cores")
        log, started = logs / f"{command.replace(' ', '_')}.txt", time.perf_counter()
        with open(log, "w", encoding="utf-8") as file:
            words = [sys.executable, str(results.ROOT / "benchmarks" / command.split()[0]), *command.split()[1:]]
            options = {"cwd": results.ROOT, "stdout": file, "stderr": subprocess.STDOUT}
            status = subprocess.run(words, env=os.environ | {"TQDM_DISABLE": "1", "PYTHONUTF8": "1"}, **options).returncode
        seconds, text = time.perf_counter() - started, log.read_text(encoding="utf-8", errors="replace")
        if status:
            failed.append(command)
            text = "\n".join(text.splitlines()[-15:])
        console.print(escape(text))
        console.print(f"{label}: {f'FAILED with {status}' if status else 'done'} after {seconds / 60:.1f} minutes, {log}")
    results.draw()
    rows = results.load()
    missed = [one["claim"] for one in rows if not one["met"]]
    console.print(f"{len(rows)} rows, {sum(map(results.stale, rows))} stale, targets missed: {'; '.join(missed) or 'none'}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
