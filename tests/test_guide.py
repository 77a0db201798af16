"""Every block of code in README and in solutions/guide.md works, and so do files of a user's own, right and wrong."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from typer.testing import CliRunner

from tinyshrink import cli, data, packing, training
from tinyshrink.cli import own

ROOT = Path(__file__).resolve().parent.parent


def blocks(page, *languages):
    """(language, code) of the fenced blocks of a Markdown page, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, code) for language, code in found if language in languages]


def run(*arguments):
    outcome = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})
    return outcome.exit_code, " ".join(outcome.output.split())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with a space in its name, from which no module stays imported."""
    path = tmp_path / "my own files"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.syspath_prepend(path)
    own._import.cache_clear()
    yield path
    for name in [name for name in list(sys.modules) if name == "net" or name.startswith(own.PREFIX)]:
        del sys.modules[name]


@pytest.mark.parametrize("page", ["README.md", "solutions/guide.md"])
def test_every_block_of_python_and_every_command_works(page, folder, monkeypatch, capsys):
    kind = torchvision.models.resnet
    shallow = lambda weights=None: kind.ResNet(kind.BasicBlock, [1, 1, 1, 1])  # offline, and half as deep
    monkeypatch.setattr(torchvision.models, "resnet18", shallow)
    ran = 0
    for language, code in blocks(page, "python", "json", "sh"):
        name = re.match(r"(?:#|//) (\S+\.(?:py|json))\n", code)
        if name:
            (folder / name[1]).write_text(code, encoding="utf-8")
        elif language == "sh":
            for line in code.splitlines():
                status, said = run(*shlex.split(line)[1:])
                assert status == 0, f"{line}\n{said}"
        else:
            exec(compile(code.replace("224, 224", "32, 32"), page, "exec"), {})
            ran += 1
    sizes = {
        name: int(size.replace(",", ""))
        for name, size in re.findall(r"^(\w+): ([\d,]+) bytes, ", capsys.readouterr().out, re.M)
    }
    assert ran and 20 * sizes["small"] < sizes["dense"] and sizes["small"] == os.path.getsize("small.tsh")


NET = """
import torch
from torch import nn
from tinyshrink import data
from tinyshrink.data import Split
{imports}
class Net(nn.Sequential):
    pass

def make():
    torch.manual_seed(0)
    return Net(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3))

def splits():
    torch.manual_seed(1)
    x, y = torch.randn(60, 1, 8, 8), torch.arange(60) % 3
    return [(x[:20] + y[:20, None, None, None], y[:20])] * 3
{more}
"""
SEARCH = """{"accuracy_aware_training": {"mode": "adaptive_compression_level", "params": {"patience_epochs": 1,
"initial_training_phase_epochs": 0, "maximal_total_epochs": 1, "maximal_absolute_accuracy_degradation": 1}},
"compression": {"algorithm": "filter_pruning", "pruning_init": 0.5}}"""


@pytest.fixture
def compress(folder):
    (folder / "search.json").write_text(SEARCH, encoding="utf-8")

    def compress(model="make", splits="splits", imports="", more="", name="my net.py", options=()):
        (folder / "my net.py").write_text(NET.format(imports=imports, more=more), encoding="utf-8")
        own._import.cache_clear()
        given = ["--model", f"{name}:{model}", "--data", f"{name}:{splits}"]
        return run("compress", "--config", "search.json", *given, *options)

    return compress


def test_your_own_model_is_trained_no_more_than_the_search_says_and_its_file_is_read_with_its_class(
    compress, folder, monkeypatch
):
    epochs = []
    train = training.train
    monkeypatch.setattr(
        training, "train", lambda model, data, n, **options: epochs.append(n) or train(model, data, n, **options)
    )
    status, said = compress()
    assert status == 0 and epochs == [1], said
    assert 'packing.load("my net.make-my net.splits.tsh", classes=[Net])' in said
    classes = own.classes()
    small = packing.load("compressed/my net.make-my net.splits.tsh", classes)
    assert type(small).__name__ == "Net" and small[0].out_channels < 6
    shown = re.search(r"test accuracy: .* -> ([\d.]+%)", (folder / "compressed" / "my net.make-my net.splits.md").read_text())
    assert shown[1] == f"{training.evaluate(small, own.load_data('my net.py:splits').test):.2%}"
    status, said = run("verify", "compressed/my net.make-my net.splits.tsh", "--data", "my net.py:splits", "--max-bytes", 9999)
    assert status == 0, said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "none.py"}, "there is no file"),
        ({"model": ""}, "expected path/to/file.py:function"),
        ({"model": "maek"}, "my net.py has no function 'maek': it has make, splits"),
        (
            {"imports": "import no_such_module"},
            "my net.py failed, line 6: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ({"imports": "def broken(:"}, "my net.py failed, line 6: SyntaxError"),
        ({"imports": "raise SystemExit(3)"}, "my net.py failed, line 6: SystemExit: 3"),
        ({"more": "def make():\n    return {}[1]"}, "my net.py:make failed, line 19: KeyError: 1"),
        ({"more": "def make(width):\n    pass"}, "my net.py:make failed: TypeError: make() missing 1 required positional"),
        (
            {"more": "def make():\n    return {}"},
            "make returned an object of type dict, expected a torch.nn.Module: build",
        ),
        ({"more": "def make():\n    return Net(nn.Flatten())"}, "the network has no parameters to compress"),
        (
            {"more": "def make():\n    return Net(nn.Linear(9, 3))"},
            "the network does not take x of shape (2, 1, 8, 8): RuntimeError",
        ),
        (
            {"more": "def make():\n    return nn.Conv2d(1, 3, 3)"},
            "gives torch.float32 (2, 3, 6, 6), expected floats (2, classes)",
        ),
        ({"more": "def splits():\n    return torch.randn(4, 8), torch.zeros(4)"}, "returned 2 values, expected three pairs"),
        (
            {"more": "def splits():\n    return 1, 2, 3"},
            "splits, train: got an object of type int, expected a pair of",
        ),
        (
            {"more": "def splits():\n    return [(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2))] * 3"},
            "train: x is torch.uint8 (2, 1, 8, 8), expected torch.float32 (examples, ...)",
        ),
        (
            {"more": "def splits():\n    return [(torch.zeros(2, 1, 8, 8), torch.zeros(2))] * 3"},
            "y is torch.float32 (2,), expected the class of each example, torch.int64 (examples,): compress knows",
        ),
        (
            {"more": "def splits():\n    return [(torch.zeros(3, 1, 8, 8), torch.zeros(2).long())] * 3"},
            "3 examples and 2 labels, expected as many of both",
        ),
        (
            {"more": "def splits():\n    return [(torch.zeros(2, 1, n, n), torch.tensor([0, 1])) for n in (8, 8, 9)]"},
            "test: an example has the shape (1, 9, 9), and (1, 8, 8) in train",
        ),
        (
            {"more": "def splits():\n    return [(torch.zeros(2, 1, 8, 8), torch.tensor([0, 3]))] * 3"},
            "the network knows 3 classes, and a label is 3: count from 0",
        ),
        (
            {"more": "def splits():\n    return [(torch.zeros(2, 1, 8, 8) / 0, torch.tensor([0, 1]))] * 3"},
            "expected finite x and labels from 0, got NaN",
        ),
        (
            {
                "more": "def hooked():\n    net = make()\n    net.register_forward_hook(print)\n    return net",
                "model": "hooked",
            },
            "has hooks (_forward_hooks)",
        ),
        ({"options": ["--epochs", 3]}, "--epochs is for built-in networks that are not trained yet"),
        (
            {
                "more": "def splits():\n    return [(torch.randn(200, 1, 8, 8), torch.arange(200) % 3)] * 3",
                "options": ["--lr", 1e30],
            },
            "try a lower learning rate",
        ),
    ],
)
def test_what_is_wrong_with_a_file_of_yours_is_one_line(compress, change, message):
    status, said = compress(**change)
    assert status == 2 and message in said and "Traceback" not in said, said


def test_a_dataset_of_tinyshrink_is_taken_and_labels_of_any_integer_dtype(compress, folder):
    both = "def digits():\n    return data.load('digits')\ndef short():\n    x, y = splits()[0]\n"
    compress(more=f"{both}    return [(x, y.short())] * 3")
    digits = data.load("digits")
    taken = own.load_data("my net.py:digits")
    assert torch.equal(taken.test.x, digits.test.x) and torch.equal(taken.mean, digits.mean)
    assert own.load_data("my net.py:short").train.y.dtype == torch.int64


def test_a_network_stays_in_the_modes_in_which_it_was(folder):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    model[1].eval()
    split = data.Split(torch.randn(4, 2, 2), torch.tensor([0, 1, 0, 1]))
    own.check_fit(model, data.Dataset("", split, split, split, torch.zeros(1), torch.ones(1)), "")
    assert [module.training for module in model] == [True, False, True]
    assert not model[1].running_mean.any()


def test_a_file_with_classes_of_yours_needs_the_file_that_has_them(compress, folder):
    compress()
    for command, said in ((["verify", "--max-ms", "9"], "give --data path/to/file.py:"), (["score"], "tinyshrink verify FILE")):
        for name in [name for name in sys.modules if name.startswith(own.PREFIX)]:
            del sys.modules[name]  # as in a new process
        status, shown = run(command[0], "compressed/my net.make-my net.splits.tsh", *command[1:])
        assert status == 2 and "it needs your class 'Net': " in shown and said in shown, shown


@pytest.mark.parametrize(
    "command", [["start"], ["page", "--out"], ["compress", "--config", "", "--data", "digits", "--model", "lenet5", "--out"]]
)
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_done(command, folder):
    (folder / "a file").write_text("mine")
    for place in ("a file", "a file/below"):
        status, said = run(*command, place)
        assert status == 2 and said == f"{place} cannot be written (Not a directory): choose another folder"
    assert os.listdir(folder) == ["a file"] and (folder / "a file").read_text() == "mine"


def test_a_course_that_is_a_file_is_said_in_words(folder):
    (folder / "a file").write_text("mine")
    assert run("release", "01_sparsity", "--course", "a file") == (2, "a file: File exists")


def test_no_threads_at_all_are_refused(folder):
    status, said = run("verify", "a.tsh", "--max-ms", 1, "--threads", 0)
    assert status == 2 and "--threads" in said and "Traceback" not in said


@pytest.mark.parametrize("command", [["verify", "--max-ms", "1"], ["inspect"], ["score"]])
def test_a_missing_file_is_named_in_words(command, folder):
    assert run(command[0], "no such.tsh", *command[1:]) == (2, "there is no file no such.tsh")


def test_a_terminal_without_utf8_gets_a_question_mark_and_one_without_colours_no_escapes(folder):
    plain = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "LC_ALL": "C", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "80"}
    command = [sys.executable, "-m", "tinyshrink.cli", "inspect", "no \u2192 such.tsh"]
    done = subprocess.run(command, env=os.environ | plain, capture_output=True)
    assert done.returncode == 2 and not done.stdout
    assert re.fullmatch(rb"there is no file no \?+ such.tsh\s+", done.stderr)
