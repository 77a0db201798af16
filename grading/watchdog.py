"""A plugin of pytest for `tinyshrink mine`: a line of JSON for each test, and an end to the one that takes too long.

It writes to $TINYSHRINK_MINE/tests.jsonl what happened and leaves out what stands there already, so that a run can go on
after a test that hung or crashed. Past $TINYSHRINK_LIMIT seconds Python itself writes where it is to traceback.txt and ends
the process, whatever the test is doing: a loop in Python, or one in machine code.
"""

import faulthandler
import json
import os
from pathlib import Path

import pytest

FOLDER, LIMIT = Path(os.environ["TINYSHRINK_MINE"]), float(os.environ["TINYSHRINK_LIMIT"])
LOG = FOLDER / "tests.jsonl"
DONE = {json.loads(line).get("test") for line in LOG.read_text(encoding="utf-8").splitlines()} if LOG.exists() else set()
log, traceback = LOG.open("a", encoding="utf-8"), (FOLDER / "traceback.txt").open("w", encoding="utf-8")


def say(**what):
    log.write(json.dumps(what) + "\n")
    log.flush()


def watch(name, seconds=LIMIT):
    say(begun=name)
    faulthandler.dump_traceback_later(seconds, exit=True, file=traceback)


def pytest_configure():
    import tinyshrink

    say(package=str(Path(tinyshrink.__file__).resolve().parent))


def pytest_collectstart(collector):
    watch(collector.nodeid, 10 * LIMIT)  # this loads PyTorch, from a slow disk perhaps


def pytest_collectreport(report):
    if report.failed:
        say(test=report.nodeid, outcome="failed", message=str(report.longrepr), frames=[])


def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if item.nodeid not in DONE]
    faulthandler.cancel_dump_traceback_later()
    say(collected=len(items))


def pytest_runtest_logstart(nodeid):
    watch(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call):
    if call.excinfo:
        frames = [(str(entry.path), entry.lineno + 1) for entry in call.excinfo.traceback]
        item.user_properties.append(("frames", (frames, call.excinfo.exconly())))


def pytest_runtest_logreport(report):
    frames, message = dict(report.user_properties).get("frames", ([], ""))
    if report.when == "call" or report.outcome != "passed":
        say(test=report.nodeid, outcome=report.outcome, message=message, frames=frames)


def pytest_sessionfinish():
    faulthandler.cancel_dump_traceback_later()
    say(end=True)
    log.close()
    traceback.close()
