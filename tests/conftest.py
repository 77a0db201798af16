"""Settings of the test run: no window, no progress bars; what needs real data or Linux only where these are."""

import os
import shutil
import sys

import pytest

os.environ["MPLBACKEND"] = "agg"
os.environ["TQDM_DISABLE"] = "1"

# The grader is for Linux. Elsewhere its modules cannot even be imported (fcntl, resource).
GRADER = ["test_grader.py", "test_grader_scale.py", "test_grading_tools.py", "test_hostile.py", "test_lessons_graded.py"]
collect_ignore = [] if sys.platform == "linux" else GRADER


def pytest_report_header():
    return f"this is not Linux: {', '.join(GRADER)} are left out, and tests that are marked linux" if collect_ignore else None


def pytest_collection_modifyitems(items):
    from tinyshrink import data

    on_linux_ci = os.environ.get("CI") and sys.platform == "linux"  # where a skip would hide a failure
    missing = [name for name in ("mnist", "cifar10") if not (data.data_dir() / f"{name}.npz").exists()]
    for item in items:
        if missing and not on_linux_ci and item.get_closest_marker("realdata"):
            item.add_marker(pytest.mark.skip(f"{', '.join(missing)} not in {data.data_dir()}: see README, Data"))
        if collect_ignore and item.get_closest_marker("linux"):
            item.add_marker(pytest.mark.skip("needs what only Linux has: fork, or a signal that kills"))


@pytest.fixture(autouse=True, scope="module")
def references():
    """The functions that a module's tests plugged in are taken out again: the next module's tests are about the references."""
    from tinyshrink import checking

    yield
    for (module, name), reference in checking._references.items():
        setattr(sys.modules[module], name, reference)


@pytest.fixture(scope="session")
def need():
    """A function that gives the path of a program: where it is missing a reason to skip, and on CI a failure."""

    def need(program, package):
        path = shutil.which(program)
        if path is None:
            missing = pytest.fail if os.environ.get("CI") and sys.platform == "linux" else pytest.skip
            missing(f"{program} is not installed: apt-get install {package}")
        return path

    return need


@pytest.fixture(scope="module")  # while it runs, other modules could not use asyncio
def browser(need):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium", "chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()
