"""icl-probe --model: a function of the user's opens the file, and faults in their code are shown as theirs."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import Golden, page_text
from torch import nn
from typer.testing import CliRunner

import icl_interp as icl
from icl_interp.checkpoints.own_code import CodeFile, identity_of, load_by
from icl_interp.cli.probe import _app
from icl_interp.errors import CheckpointError
from icl_interp.models.architecture import NO_RECIPE, NO_SITES
from icl_interp.user_files import import_files

CODE = """
from pathlib import Path
import torch
from torch import nn
import icl_interp as icl

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(2, 6)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2)])
        self.answer = nn.Linear(6, 1)

    def forward(self, xs, ys):
        labels = nn.functional.pad(ys[..., None], (0, 1))
        stream = self.enter(torch.stack([xs, labels], dim=2).flatten(1, 2))
        for block in self.blocks:
            stream = block(stream) + stream.cumsum(1) / 8
        return self.answer(stream)[:, ::2, 0]

def opened(path):
    net = Net()
    net.load_state_dict(torch.load(path))
    return net

def load(path):
    return icl.wrap(opened(path), make=Net)

def load_no_sites(path):
    return icl.wrap(opened(path), make=Net, sites={})

def load_without(path):
    return opened(path)

def broken(path):
    return [][3]

def nothing(path):
    return None

def failing_later(path):
    def call(net, xs, ys):
        if xs.shape[0] > 8:
            raise ZeroDivisionError("forward of mine")
        return net(xs, ys)
    return icl.wrap(opened(path), call=call, make=Net)

def failing_make(path):
    def make():
        raise ZeroDivisionError("make of mine")
    return icl.wrap(opened(path), make=make)

number = 3
"""
TASK = ("--task", "family=linear_regression", "--task", "n_dims=2", "--task", "n_points=5")
FAST = ("--prompts", "8", "--controls", "5", "--shifts", "x_scale=3", "--plotlyjs", "directory", "--quiet")


def imported(file: Path) -> Any:
    import_files([file], option="--model")
    return sys.modules[file.stem]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own model")
    (place / "mine.py").write_text(CODE)
    module = imported(place / "mine.py")
    torch.manual_seed(0)
    net = module.Net()
    torch.save(net.state_dict(), place / "weights.pt")
    (place / "run").mkdir()
    for step in (0, 10, 20):
        torch.save(net.state_dict(), place / "run" / f"model_{step}.pt")
        with torch.no_grad():
            for weight in net.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
    return place


def probe(*arguments: object) -> Any:
    return CliRunner().invoke(_app, [str(argument) for argument in arguments])


def test_a_report_with_untrained_networks(folder: Path, tmp_path: Path, golden: Golden) -> None:
    out = ("--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
    done = probe(folder / "weights.pt", "--model", f"{folder / 'mine.py'}:load", *TASK, *FAST, *out)
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["checkpoint"]["origin"] == "opened by mine.py:load"
    assert found["config"] if "config" in found else found["study"]["config"]["name"] == "Net"
    assert len(found["verdicts"]["in-context learning"]["controls"]) == 5
    html = (tmp_path / "r.html").read_text()
    assert NO_RECIPE not in html
    golden("report-own-model.txt", page_text(html))


def test_a_report_without_untrained_networks_says_how_to_have_them(folder: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
    done = probe(folder / "weights.pt", "--model", f"{folder / 'mine.py'}:load_without", *TASK, *FAST, *out)
    assert done.exit_code == 0, done.stderr
    assert NO_RECIPE in (tmp_path / "r.html").read_text()
    found = json.loads((tmp_path / "r.json").read_text())
    assert {verdict["verdict"] for verdict in found["verdicts"].values()} == {"not applicable"}


def test_a_folder_of_checkpoints_gets_a_timeline(folder: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "r.html", "--json", tmp_path / "r.json", "--cache", tmp_path / "records", "--llc", "0")
    done = probe(folder / "run", "--model", f"{folder / 'mine.py'}:load", *TASK, *FAST, *out)
    assert done.exit_code == 0, done.stderr
    (run,) = json.loads((tmp_path / "r.json").read_text())["development"]["runs"]
    assert [record["step"] for record in run["checkpoints"]] == [0, 10, 20]
    assert "How it developed" in (tmp_path / "r.html").read_text()


def test_without_sites_there_is_a_report_and_no_timeline(folder: Path, tmp_path: Path) -> None:
    loud = [word for word in FAST if word != "--quiet"]
    out = ("--out", tmp_path / "r.html", "--cache", tmp_path / "records", "--llc", "0")
    done = probe(folder / "run", "--model", f"{folder / 'mine.py'}:load_no_sites", *TASK, *loud, *out)
    assert done.exit_code == 0, done.stderr
    assert f"note: there is no timeline. {NO_SITES}\n" in done.stdout
    html = (tmp_path / "r.html").read_text()
    assert html.count(NO_SITES) >= 5
    assert "How it developed" not in html
    loader = CodeFile(folder / "mine.py", "load_no_sites")
    with pytest.raises(icl.InputError, match="a timeline follows the residual stream, and got a network without"):
        icl.development(
            folder / "run", loader=loader, task=icl.LinearRegression(2, n_points=5), llc=None, cache=tmp_path / "r"
        )


@pytest.mark.slow  # two more processes import torch and TransformerLens
def test_two_workers_give_the_same_timeline(folder: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        at = tmp_path / str(workers)
        at.mkdir()
        out = ("--out", at / "r.html", "--json", at / "r.json", "--cache", at / "records", "--llc", "1")
        short = ("--llc-set", "num_draws=6", "--llc-set", "num_burnin_steps=2", "--workers", workers)
        done = probe(folder / "run", "--model", f"{folder / 'mine.py'}:load", *TASK, *FAST, *out, *short)
        assert done.exit_code == 0, done.stderr
        found.append(json.loads((at / "r.json").read_text())["development"]["runs"])
    assert found[0] == found[1]
    assert len(found[0][0]["learning_coefficients"]) == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("broken", "mine.py:broken is your own code, and it raised IndexError: list index out of range."),
        ("failing_later", "mine.py:failing_later is your own code, and it raised ZeroDivisionError: forward of mine."),
        ("failing_make", "mine.py:failing_make is your own code, and it raised ZeroDivisionError: make of mine."),
    ],
)
def test_a_fault_in_their_function_shows_their_lines(folder: Path, tmp_path: Path, name: str, error: str) -> None:
    out = ("--out", tmp_path / "r.html")
    done = probe(folder / "weights.pt", "--model", f"{folder / 'mine.py'}:{name}", *TASK, *FAST, *out)
    *lines, last = done.stderr.splitlines()
    assert (done.exit_code, last) == (2, f"error: {error}")
    assert lines[0].startswith("Traceback")
    assert any("mine.py" in line for line in lines)
    assert not (tmp_path / "r.html").exists()


def test_a_fault_in_their_file_shows_their_lines(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    done = probe(folder / "weights.pt", "--model", f"{tmp_path / 'bad.py'}:load", *TASK, *FAST)
    *lines, last = done.stderr.splitlines()
    assert done.exit_code == 2
    assert "bad.py is your own code, and it raised ModuleNotFoundError: No module named" in last
    assert lines[0].startswith("Traceback")
    assert any("bad.py" in line for line in lines)


def test_refusals_in_one_sentence(folder: Path, refuses: Any) -> None:
    weights, code = folder / "weights.pt", folder / "mine.py"

    def said(*arguments: object, **_: object) -> str:
        return refuses(_app, *arguments, *FAST)

    assert said(weights, "--model", "mine.py", *TASK) == (
        "--model needs FILE.py:NAME, such as my_model.py:load, got 'mine.py'; write it so."
    )
    assert said(weights, "--model", folder / "other.py:load", *TASK).startswith(
        "--model needs a Python file that exists, got"
    )
    assert said(weights, "--model", f"{code}:unknown", *TASK) == (
        "--model needs a function unknown in mine.py, which has none; define it."
    )
    assert said(weights, "--model", f"{code}:number", *TASK).startswith("--model needs a function number in mine.py")
    assert said(weights, "--model", f"{code}:nothing", *TASK) == (
        "mine.py:nothing needs to return a torch module or a wrapped one, got NoneType; return the network."
    )
    assert said(weights, "--model", f"{code}:load") == (
        "a network that your own code opens needs its task, and none was given; pass task=... (--task "
        "family=linear_regression --task n_dims=5)."
    )
    assert said("--model", f"{code}:load", *TASK).startswith("--model opens a file of yours, and none was named")
    assert said(folder / "gone.pt", "--model", f"{code}:load", *TASK).endswith(
        "gone.pt does not exist; check the path."
    )
    for option in (("--heads", 2), ("--layout", "sign=-1")):
        assert said(weights, "--model", f"{code}:load", *TASK, *option) == (
            "--model opens the file by your own code, so it takes no --heads and no --layout; leave them out."
        )
    assert "my" not in said(weights, "--model", f"{code}:load", *TASK, "--out", code)


def test_a_file_that_cannot_be_imported_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "later.py"
    file.write_text("raise KeyError('not yet')\n")
    with pytest.raises(Exception, match=r"later\.py is your own code, and it raised KeyError: 'not yet'\."):
        imported(file)
    file.write_text("value = 7\n")
    assert imported(file).value == 7
    file.write_text("value = 8\n")
    assert imported(file).value == 7  # once per process


def test_loaders_in_python(folder: Path) -> None:
    task = icl.LinearRegression(2, n_points=5)
    module = imported(folder / "mine.py")
    checkpoint = icl.load_checkpoint(folder / "weights.pt", loader=module.load, task=task)
    assert checkpoint.origin == "opened by load"
    assert checkpoint.assumptions == ()
    assert checkpoint.model.cfg.n_layers == 2
    assert checkpoint.task == task
    newest = icl.load_checkpoint(folder / "run", loader=module.load, task={"family": "linear_regression", "n_dims": 2})
    assert newest.path.name == "model_20.pt"
    assert re.match("How many examples prompts had in training is not known: 5 are assumed", newest.assumptions[0])
    unchecked: Any = load_by.__wrapped__  # type: ignore[attr-defined]  # as without the tests' type checker
    with pytest.raises(TypeError, match=r"loader needs a function from the path .*, got 'mine\.py:load'; import it"):
        unchecked("mine.py:load", folder / "weights.pt", task=task, device="cpu")
    ours = icl.build_model(icl.ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=4), seed=0)
    assert icl.load_checkpoint(folder / "weights.pt", loader=lambda _: ours, task=task).model is ours
    with pytest.raises(CheckpointError, match="needs its task, and none was given"):
        icl.load_checkpoint(folder / "weights.pt", loader=module.load)
    with pytest.raises(IndexError):  # in a notebook it is theirs without being told
        icl.load_checkpoint(folder / "weights.pt", loader=module.broken, task=task)


def test_records_are_kept_by_the_code_that_opened_the_file(folder: Path, tmp_path: Path) -> None:
    own = CodeFile(folder / "mine.py", "load")
    changed = tmp_path / "mine.py"
    changed.write_text(CODE + "\n# changed\n")
    keys = {identity_of(own), identity_of(CodeFile(changed, "load")), identity_of(CodeFile(own.file, "load_without"))}
    assert len(keys) == 3
    assert identity_of(nn.Linear(1, 1)) == "torch.nn.modules.linear.Linear"
    first = lambda path: path  # noqa: E731
    second = lambda path: path.resolve()  # noqa: E731
    assert identity_of(first) != identity_of(second)
