"""The wheel carries what an installed course needs and nothing that is hidden; the files for other places are sound."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import tinyshrink
from tinyshrink import cli, files

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.search(r"^version = (\d+\.\d+\.\d+)$", (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.MULTILINE)[1]
NOTEBOOKS = sorted(path.name for path in ROOT.glob("modules/*/[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The paths in a wheel that is built from a copy, in a folder with spaces, without what an older build left behind."""
    folder = tmp_path_factory.mktemp("a copy") / "of the course"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder / "dist",
        folder,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(folder / "dist" / f"tinyshrink-{VERSION}-py3-none-any.whl") as wheel:
        return wheel.namelist()


def test_the_wheel_carries_all_notebooks_checks_pages_types_and_the_trained_network(names):
    shared = f"tinyshrink-{VERSION}.data/data/share/tinyshrink"
    assert len(NOTEBOOKS) == 12
    expected = {f"{shared}/modules/{name}" for name in NOTEBOOKS}
    expected |= {f"{shared}/tests/{path.name}" for path in ROOT.glob("tests/test_*.py")}
    expected |= {f"{shared}/datasets/checkpoints/cifar10_cnn.safetensors", "tinyshrink/py.typed"}
    expected |= {f"tinyshrink/page/{name}" for name in ("index.html", "page.js", "style.css")}
    expected |= {path.relative_to(ROOT / "solutions").as_posix() for path in ROOT.glob("solutions/tinyshrink/**/*.py")}
    assert not expected - set(names)


def test_the_wheel_carries_no_hidden_checks_no_solved_notebooks_and_no_names_at_the_top_but_its_own(names):
    assert not [name for name in names if re.search(r"hidden|solutions|grading/|lessons/|site/", name)]
    assert len([name for name in names if name.endswith(".ipynb")]) == 12
    assert {name.split("/")[0] for name in names} == {
        "tinyshrink",
        f"tinyshrink-{VERSION}.data",
        f"tinyshrink-{VERSION}.dist-info",
    }


def test_the_version_is_that_of_setup_cfg_and_stands_in_the_changelog():
    said = CliRunner().invoke(cli.app, ["--version"]).output
    assert said.strip() == f"tinyshrink {tinyshrink.__version__}"
    assert tinyshrink.__version__ == importlib.metadata.version("tinyshrink") == VERSION, "pip install --editable . again"
    assert f"\n## [{VERSION}] - 20" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_start_copies_the_notebooks_and_never_over_anybodys_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = lambda: CliRunner().invoke(cli.app, ["start", "my own course"], env={"COLUMNS": "200"}).output
    assert "12 notebooks copied to my own course, 0 were there" in start()
    mine = tmp_path / "my own course" / "modules" / "01_sparsity" / "01_sparsity.ipynb"
    mine.write_text("my work", encoding="utf-8")
    (tmp_path / "my own course" / "modules" / "02_magnitude" / "02_magnitude.ipynb").unlink()
    assert "1 notebooks copied to my own course, 11 were there" in start()
    assert mine.read_text(encoding="utf-8") == "my work"
    assert [path.name for path in sorted((tmp_path / "my own course").rglob("*.ipynb"))] == NOTEBOOKS


def test_files_that_come_with_a_wheel_are_found_where_it_put_them(tmp_path, monkeypatch):
    installed = tmp_path / "lib" / "site-packages" / "tinyshrink" / "files.py"
    record = importlib.metadata.PackagePath("../../share/tinyshrink/modules/01_sparsity.ipynb")
    record.dist = importlib.metadata.PathDistribution(tmp_path / "lib" / "site-packages" / "tinyshrink.dist-info")
    monkeypatch.setattr(files, "__file__", str(installed))
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [record])
    assert files.shipped() == (tmp_path / "share" / "tinyshrink").resolve()


def test_the_files_for_other_places_can_be_read_and_run_commands_that_exist():
    for path in (*ROOT.glob(".vscode/*.json"), ROOT / ".devcontainer" / "devcontainer.json"):
        json.loads(path.read_text(encoding="utf-8"))
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    target = container["postCreateCommand"].removeprefix("make ")
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    binder = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text(encoding="utf-8"))
    assert {"pytorch-cpu", "torchvision", "pip"} < set(binder["dependencies"])
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    assert set(workflow["jobs"]) == {"linux", "others"}
    systems = workflow["jobs"]["others"]["strategy"]["matrix"]["os"]
    assert systems == ["macos-latest", "windows-latest"]
    assert workflow["jobs"]["linux"]["steps"][-1]["run"] == ".ci/run" and (ROOT / ".ci" / "run").stat().st_mode & 0o100
    subprocess.run(["bash", "-n", ROOT / ".binder" / "postBuild"], check=True)
