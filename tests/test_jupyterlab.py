"""A student's session in a real browser against a real JupyterLab: fail, mend, pass, validate, save, reload, go on."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from nbgrader.apps import NbGrader
from playwright.sync_api import expect

from tinyshrink import notebook as notebooks

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600  # seconds: a machine may be busy; a quiet one takes a tenth
WRONG = [
    "count = round(sparsity * scores.numel())",
    "return scores < scores.flatten().sort(descending=True).values[count - 1] if count else scores == scores",
]
ANSWERS = {
    "magnitude_mask": [
        "mask = torch.ones(scores.numel(), dtype=torch.bool)",
        "order = scores.flatten().argsort(stable=True)",
        "mask[order[: round(sparsity * scores.numel())]] = False",
        "return mask.view(scores.shape)",
    ],
    "global_masks": [
        "flat = torch.cat([layer.flatten() for layer in scores.values()])",
        "parts = magnitude_mask(flat, sparsity).split([layer.numel() for layer in scores.values()])",
        "return {name: part.view(scores[name].shape) for name, part in zip(scores, parts)}",
    ],
}


def student_notebook(last="check_global_masks", but=()):
    """The student notebook of module 02 up to the cell `last`, without the cells `but`."""
    notebook = nbformat.read(ROOT / "modules" / "02_magnitude" / "02_magnitude.ipynb", as_version=4)
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    kept = zip(names[: names.index(last) + 1], notebook.cells)
    notebook.cells = [cell for name, cell in kept if name not in but]
    return notebook


def of_an_older_jupyterlab(notebook):
    """The same in format 4.4, before cells had ids, with what older versions left in the metadata."""
    old = json.loads(nbformat.writes(notebook))
    old["nbformat_minor"] = 4
    old["metadata"]["kernelspec"] = {"name": "python3", "display_name": "Python 3 (old)", "language": "python"}
    for cell in old["cells"]:
        del cell["id"]
        cell["metadata"] |= {"collapsed": False, "scrolled": True, "deletable": True, "tags": cell["metadata"].get("tags", [])}
    return json.dumps(old)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, token, folder) of a JupyterLab that was asked for a port in use, in a folder with a blank and an umlaut."""
    base = tmp_path_factory.mktemp("Übung eins")
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    own = {f"JUPYTER_{name}": str(base / name) for name in names} | {"IPYTHONDIR": str(base / "ipython"), "TQDM_DISABLE": "1"}
    own |= {f"JUPYTERLAB_{name}_DIR": str(base / name) for name in ("SETTINGS", "WORKSPACES")}
    for name, settings in {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight stay in the page
    }.items():
        path = base / "SETTINGS" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    folder = base / "mein Kurs"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken, open(base / "log", "w", encoding="utf-8") as log:
        port = taken.getsockname()[1]
        command = f"-m jupyterlab --no-browser --allow-root --ip=127.0.0.1 --port={port} --IdentityProvider.token=secret"
        server = subprocess.Popen([sys.executable, *command.split()], env=os.environ | own, cwd=folder, stdout=log, stderr=log)
        try:
            [information] = wait_for(lambda: list((base / "RUNTIME_DIR").glob("jpserver-*[0-9].json")), server)
            address = wait_for(lambda: json.loads(information.read_text() or "{}").get("url"), server)
            assert address != f"http://127.0.0.1:{port}/"
            yield address, folder
        finally:
            server.terminate()  # it ends its kernels
            server.wait(PATIENCE)


def wait_for(condition, server=None):
    """What `condition()` gives once it is true; fails where that takes too long or the server has ended."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end and (server is None or server.poll() is None), "it does not happen"
        time.sleep(0.1)
    return found


class Student:
    """A person before JupyterLab with one notebook open."""

    def __init__(self, page, lab, name, shots):
        self.page, self.shots, self.taken = page, shots, 0
        address, self.folder = lab
        page.goto(f"{address}lab/tree/{quote(name)}?token=secret&reset")  # no tabs of before
        self.rest()

    def rest(self):
        """Wait until the kernel is there and does nothing; what is run before that is lost."""
        self.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status=idle]")

    def look(self):
        self.taken += 1
        self.page.screenshot(path=self.shots / f"{self.taken}.png")

    def cell(self, text):
        """The first code cell that holds `text`."""
        return self.page.locator(".jp-CodeCell", has=self.page.locator(".jp-InputArea", has_text=text)).first

    def menu(self, *names):
        for name in names:
            self.page.get_by_role("menuitem", name=name, exact=True).click()

    def answer(self, name, lines, before=("raise NotImplementedError()",)):
        """Type `lines` over the lines `before` of the cell of `name`, run it and its check; returns the check's output."""
        self.cell(f"def {name}(").locator(".cm-line", has_text=before[-1]).click()
        self.page.keyboard.press("End")
        for _ in before[1:]:
            self.page.keyboard.press("Shift+ArrowUp")
        self.page.keyboard.press("Shift+Home")
        for number, line in enumerate(lines):
            self.page.keyboard.press("Enter") if number else None
            self.page.keyboard.type(line)
        self.page.keyboard.press("Shift+Enter")
        self.page.keyboard.press("Shift+Enter")
        return self.cell(f'plug(magnitude, "{name}")').locator(".jp-OutputArea")

    def validate(self):
        """What nbgrader's Validate says."""
        self.page.get_by_role("button", name="Validate").click()
        dialog = self.page.locator(".jp-Dialog", has_text="Validation Results")
        dialog.wait_for()
        self.look()
        said = dialog.inner_text()
        dialog.get_by_role("button", name="Ok").click()
        return said


@pytest.fixture
def sit_down(browser, lab, tmp_path):
    """A function that writes a notebook's text and opens it."""
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    context.set_default_timeout(1000 * PATIENCE)
    expect.set_options(timeout=1000 * PATIENCE)

    def sit_down(name, text):
        (lab[1] / name).write_text(text, encoding="utf-8")
        return Student(context.new_page(), lab, name, tmp_path)

    yield sit_down
    context.close()


def test_a_student_fails_mends_passes_validates_saves_reloads_and_goes_on(sit_down):
    student = sit_down("02 Größe.ipynb", nbformat.writes(student_notebook()))
    page = student.page
    student.menu("Run", "Run All Cells")
    first = student.cell('plug(magnitude, "magnitude_mask")').locator(".jp-OutputArea")
    expect(first).to_contain_text("magnitude_mask: not solved yet")
    first.scroll_into_view_if_needed()
    student.look()
    student.rest()

    checked = student.answer("magnitude_mask", WRONG)
    expect(checked).to_contain_text("hint: kth_smallest(values, k) finds the largest score to be removed")
    expect(checked).to_contain_text("expected: [[False, False, True], [True, True, False]]")
    difference = checked.get_by_alt_text("difference: 6 of 6")
    assert difference.evaluate("image => image.naturalWidth") >= 48
    difference.scroll_into_view_if_needed()
    student.look()

    student.answer("magnitude_mask", ANSWERS["magnitude_mask"], before=WRONG)
    expect(checked).to_contain_text("passed")
    page.keyboard.press("Shift+Enter")  # the text between
    page.keyboard.press("Shift+Enter")  # the experiment
    student.rest()
    figure = student.cell("pruned_before").locator(".jp-OutputArea img[src^='data:image/png']").last
    expect(figure).to_be_visible()
    assert figure.evaluate("image => image.naturalWidth") > 300
    figure.scroll_into_view_if_needed()
    student.look()
    said = student.validate()
    assert "The following cell failed" in said and "global_masks: not solved yet" in said

    page.keyboard.press("Control+s")
    saved = student.folder / "02 Größe.ipynb"
    wait_for(lambda: ANSWERS["magnitude_mask"][-1] in saved.read_text(encoding="utf-8"))
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    page.reload()
    student.rest()
    expect(student.cell("def magnitude_mask(")).to_contain_text(ANSWERS["magnitude_mask"][-1])
    expect(checked).to_contain_text("From here on the framework runs on yours")
    checked.scroll_into_view_if_needed()
    student.look()

    expect(student.answer("global_masks", ANSWERS["global_masks"])).to_contain_text("passed")
    student.look()
    assert "Success! Your notebook passes all the tests." in student.validate()


def test_a_notebook_of_an_older_jupyterlab_is_run_saved_checked_and_validated(sit_down):
    old = of_an_older_jupyterlab(student_notebook("check_magnitude_mask", but=["given_003"]))
    student = sit_down("old.ipynb", old)
    student.menu("Run", "Run All Cells")
    expect(student.cell('plug(magnitude, "magnitude_mask")').locator(".jp-OutputArea")).to_contain_text("not solved yet")
    expect(student.answer("magnitude_mask", ANSWERS["magnitude_mask"])).to_contain_text("passed")
    assert "Success! Your notebook passes all the tests." in student.validate()  # which saves first
    saved = student.folder / "old.ipynb"
    assert json.loads(saved.read_text(encoding="utf-8"))["nbformat_minor"] == 4
    results, troubles = notebooks.run(notebooks.read(saved))
    assert [(result.exercise, result.passed) for result in results] == [("magnitude_mask", True)] and not troubles


def test_validate_gives_cells_that_train_more_than_nbgraders_30_seconds(monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(ROOT / "grading" / "jupyter"))  # as tinyshrink learn; make install copies it
    app = NbGrader()
    app.load_config_file()
    assert app.config.Execute.timeout == 600
