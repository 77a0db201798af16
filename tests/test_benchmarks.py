"""benchmarks/results.json, README's table drawn from it, and what makes a row stale."""

import json
import re

import pytest
import results
import run

from tinyshrink import decide, files

FIELDS = {"claim", "measured", "interval", "unit", "target", "bound", "met", "anchor", "ratio", "seeds", "note", "detail"}
FIELDS |= {"module", "command", "machine", "date", "seconds", "trained", "commit", "code"}
SHARED = {"architectures", "intervals", "recipes", "results", "run"}
FIGURES = {  # the claims that stand behind the figures of decide's rules
    decide.CHANNELS: [
        f"DigitsCNN, 80% of the channels removed by tinyshrink: {what}" for what in ("loss", "speed, batch of 64, one thread")
    ],
    decide.QUANTIZE: [f"int8 without training, {name}: loss" for name in ("digits CNN", "LeNet-300-100", "cifar10_cnn")],
    decide.SMALLER: [
        "CIFAR-10 network with 25.2% of its parameters, taught 10 epochs: gain",
        "the CIFAR-10 network that ships: right of 5,000 test images",
    ],
    decide.FACTORS: [
        f"CIFAR-10 network by spatial SVD, 48.3% of the MACs{what}"
        for what in (", fine-tuned: loss", ": speed, batch of 256, one thread")
    ],
    decide.ZEROS: [f"CIFAR-10 network, 85% pruned, 4 bits, as a file: {what}" for what in ("smaller", "loss")],
    decide.KERNELS: [f"{name} with 90% zeros, whole, batch 64" for name in ("digits CNN", "cifar10_cnn")],
}


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An own results.json, and a process that looks like `python benchmarks/huffman.py`."""
    monkeypatch.setattr(results, "FILE", tmp_path / "results.json")
    monkeypatch.setattr("sys.argv", ["benchmarks/huffman.py"])
    return tmp_path / "results.json"


def test_readme_has_the_table_that_results_json_draws():
    text = (results.ROOT / "README.md").read_text(encoding="utf-8")
    assert text == results.readme(text), "README's table is not of today: python benchmarks/results.py"


def test_the_figures_in_the_rules_of_decide_are_those_that_were_measured():
    rows = {one["claim"]: one for one in results.load()}
    for rule in decide.RULES:
        behind = [rows[claim] for claim in FIGURES.get(rule.why, [])]
        shown = " ".join(f"{results.measured(one)}, {one['anchor']}" for one in behind)
        for figure in re.findall(r"\d+\.\d+", rule.why):
            assert figure in re.findall(r"\d+\.\d+", shown), f"{rule.why}\n{figure} is not in: {shown}"


def test_each_row_has_its_fields_and_a_command_that_exists():
    rows = results.load()
    assert len({one["claim"] for one in rows}) == len(rows) > 0
    for one in rows:
        assert set(one) == FIELDS, one["claim"]
        assert isinstance(one["met"], bool) and isinstance(one["measured"], (int, float)), one["claim"]
        assert (one["target"] is None) == (one["bound"] is None), one["claim"]
        assert re.match(r"\d\d_[a-z_]+$|grading$", one["module"]), one["claim"]
        assert one["command"].removeprefix("python benchmarks/") in results.COMMANDS, one["command"]


def test_every_benchmark_is_in_make_bench_and_hands_over_rows():
    here = {path.stem for path in (results.ROOT / "benchmarks").glob("*.py")} - SHARED
    assert here == {command.split(".")[0] for command in results.COMMANDS}
    for name in here:
        assert "results.record(" in (results.ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"), name


def test_a_row_keeps_its_promise_or_not():
    kept = results.row("a", [0.001, 0.003], "pp", most=0.002)
    assert (kept["measured"], kept["target"], kept["bound"], kept["met"]) == (0.2, 0.2, "at most", True)
    assert kept["interval"] == pytest.approx(12.7062 * 0.1, rel=1e-4)  # t of one degree of freedom times 0.1 pp
    assert not results.row("b", 1.9, "x", least=2)["met"]
    assert results.row("c", 1.9, "x")["met"] and results.row("c", 1.9, "x")["target"] is None
    assert not results.row("d", 5.0, "x", least=2, met=False)["met"]


def test_record_replaces_the_rows_of_its_command_and_no_others(scratch, monkeypatch):
    results.record("07_quantization", [results.row("old", 1, "x"), results.row("kept claim", 1, "x")])
    monkeypatch.setattr("sys.argv", ["benchmarks/global_masks.py"])
    results.record("02_magnitude", [results.row("another", 3, "x")])
    monkeypatch.setattr("sys.argv", ["benchmarks/huffman.py"])
    results.record("07_quantization", [results.row("kept claim", 2, "x")])
    assert [(one["claim"], one["measured"]) for one in results.load()] == [("another", 3), ("kept claim", 2)]
    before = scratch.read_bytes()
    monkeypatch.setattr("sys.argv", ["benchmarks/huffman.py", "few.tsh"])
    results.record("07_quantization", [results.row("tried", 9, "x")])
    assert scratch.read_bytes() == before, "another way to call it must not replace what make bench measures"


def test_a_write_that_fails_leaves_the_old_file(scratch, monkeypatch):
    results.record("07_quantization", [results.row("old", 1, "x")])
    before = scratch.read_bytes()
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        results.record("07_quantization", [results.row("new", 2, "x")])
    assert scratch.read_bytes() == before and list(scratch.parent.iterdir()) == [scratch]


def project(folder, monkeypatch):
    """A project of one benchmark that imports one module, which imports another."""
    monkeypatch.setattr(results, "ROOT", folder)
    (folder / "benchmarks").mkdir()
    (folder / "solutions" / "tinyshrink").mkdir(parents=True)
    (folder / "benchmarks" / "a.py").write_text('"""Doc."""\nimport results\nfrom tinyshrink import near\n\nnear.f()\n')
    (folder / "solutions" / "tinyshrink" / "near.py").write_text("from . import far\n\n\ndef f():\n    return far.g()  # why\n")
    (folder / "solutions" / "tinyshrink" / "far.py").write_text('def g():\n    """Doc."""\n    return 1\n')
    (folder / "solutions" / "tinyshrink" / "unused.py").write_text("x = 1\n")


def hash_after(folder, name=None, old="", new=""):
    """The hash of the benchmark after a change of one file."""
    if name:
        path = next(folder.rglob(name))
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    for cached in (results.text_of, results.imported, results.code):
        cached.cache_clear()
    return results.code("a.py")


@pytest.mark.parametrize(
    "change",
    [
        ("far.py", '"""Doc."""', '"""Other\n    words."""'),
        ("near.py", "# why", "# because"),
        ("near.py", "def f():\n    return", "def f() -> int:\n\n    return"),
        ("unused.py", "1", "2"),
        ("a.py", "near.f()\n", 'near.f()\nresults.record("02_magnitude", [results.row("a claim", 1, "x")])\n'),
    ],
)
def test_words_reports_and_other_modules_make_nothing_stale(tmp_path, monkeypatch, change):
    project(tmp_path, monkeypatch)
    assert hash_after(tmp_path) == hash_after(tmp_path, *change)


@pytest.mark.parametrize(
    "change", [("far.py", "return 1", "return 2"), ("near.py", "far.g()", "far.h()"), ("a.py", "near.f()", "pass")]
)
def test_code_that_a_benchmark_runs_makes_its_rows_stale(tmp_path, monkeypatch, change):
    project(tmp_path, monkeypatch)
    assert hash_after(tmp_path) != hash_after(tmp_path, *change)


def test_stale_and_missed_are_said_in_the_table(scratch):
    results.record("07_quantization", [results.row("slow", 1.5, "x", least=2, seeds=3, note="odd | name")])
    [one] = results.load()
    assert results.measured(one) == "1.5x; 3 seeds; odd | name" and results.target(one) == "at least 2x: **missed**"
    assert "| at least 2x: **missed** |" in results.readme("\n".join(results.MARKERS))
    assert "odd \\| name" in results.readme("\n".join(results.MARKERS))
    one |= {"code": None, "commit": "abc1234"}
    assert results.measured(one).endswith("; **stale** (abc1234)")


def test_names_choose_commands_and_an_unknown_one_is_named():
    assert run.chosen(["channels"], False) == ["channels.py digits", "channels.py lenet5 --seeds 2", "channels.py cifar10"]
    assert run.chosen(["channels.py digits"], False) == ["channels.py digits"]
    assert set(run.chosen([], True)) < set(run.chosen([], False)) == set(results.COMMANDS)
    with pytest.raises(SystemExit, match="no benchmark is called 'nosuch'"):
        run.chosen(["nosuch"], False)


def test_a_benchmark_that_fails_does_not_stop_the_others_and_done_ones_are_skipped(tmp_path, monkeypatch, capsys):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "bad.py").write_text("raise SystemExit('broken as asked')\n")
    (tmp_path / "benchmarks" / "good.py").write_text("print('measured')\n")
    for name, value in {"ROOT": tmp_path, "COMMANDS": {"bad.py": 1, "good.py": 1}, "FILE": tmp_path / "results.json"}.items():
        monkeypatch.setattr(results, name, value)
    monkeypatch.setattr(results, "draw", lambda: None)
    monkeypatch.setattr("sys.argv", ["run.py"])
    with pytest.raises(SystemExit, match=r"failed: bad\.py"):
        run.main()
    shown = capsys.readouterr().out
    assert "broken as asked" in shown and "measured" in shown and "1 of 2  bad.py: FAILED with 1" in shown
    fresh = results.row("claim", 1, "x") | {"command": "python benchmarks/good.py", "module": "01_sparsity"}
    fresh |= {"machine": results.machine(), "code": results.code("good.py")}
    results.FILE.write_text(json.dumps({"rows": [fresh]}))
    assert run.done("good.py", results.machine()) and not run.done("bad.py", results.machine())
    assert not run.done("good.py", "another machine")
