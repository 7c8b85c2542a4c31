"""Bad input to icl-probe: exit code 2, one sentence, nothing written, nothing of a file run."""

import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.cli.probe import _app
from icl_interp.errors import InputError
from icl_interp.tasks.linear_regression import LinearRegression


class Code:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small(tmp_path, tiny_model) -> Path:
    """A good checkpoint, so that what is refused is the option."""
    return save_checkpoint(tmp_path / "small.pt", tiny_model, task=LinearRegression(n_dims=3, n_points=8))


def weights_with_nan(folder: Path, dtsip: Path) -> Path:
    shutil.copyfile(dtsip / "config.yaml", folder / "config.yaml")
    state = torch.load(dtsip / "state.pt", weights_only=True)
    next(iter(state["model_state_dict"].values())).view(-1)[0] = float("nan")
    torch.save(state, folder / "state.pt")
    return folder


def half_a_file(folder: Path, dtsip: Path) -> Path:
    whole = (dtsip / "state.pt").read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    return folder / "cut.pt"


def text_file(folder: Path, _: Path) -> Path:
    (folder / "notes.pt").write_text("weights are in another file\n")
    return folder / "notes.pt"


def other_architecture(folder: Path, _: Path) -> Path:
    torch.save({"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}, folder / "resnet.pt")
    return folder / "resnet.pt"


def without_heads(folder: Path, dtsip: Path) -> Path:
    shutil.copyfile(dtsip / "state.pt", folder / "state.pt")
    return folder / "state.pt"


def empty_file(folder: Path, _: Path) -> Path:
    (folder / "empty.pt").touch()
    return folder / "empty.pt"


FILES = {
    "missing file": (lambda folder, _: folder / "nowhere.pt", "needs a file that exists, got .*nowhere.pt"),
    "folder without checkpoints": (lambda folder, _: folder, "got a folder without one"),
    "text file": (text_file, "got a text file that starts with 'weights are in another file'"),
    "empty file": (empty_file, "got an empty file"),
    "truncated zip": (half_a_file, "got a truncated zip archive"),
    "other architecture": (other_architecture, "with the keys conv1.weight, fc.bias"),
    "NaN weights": (weights_with_nan, "finite|NaN"),
    "heads unknown": (without_heads, r"pass --heads N"),
}


@pytest.mark.parametrize(("make", "message"), FILES.values(), ids=FILES)
def test_bad_files(refuses, tmp_path, dtsip_folder, make, message):
    path = make(tmp_path, dtsip_folder)
    assert re.search(message, refuses(_app, path, "--out", tmp_path / "r.html", "--json", tmp_path / "r.json"))


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_code_in_a_file_is_named_and_not_run(refuses, tmp_path, form):
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    {"pickle": lambda: path.write_bytes(pickle.dumps(Code(marker))), "torch": lambda: torch.save(Code(marker), path)}[
        form
    ]()
    assert "mkdir" in refuses(_app, path, "--out", tmp_path / "r.html")
    assert not marker.exists()


def test_that_code_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Code(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


OPTIONS = {
    "no prompts": (["--prompts", "0"], "--prompts needs at least 8, got 0"),
    "few prompts": (["--prompts", "7"], "--prompts needs at least 8, got 7"),
    "one point": (["--points", "1"], "--points needs at least 2, got 1"),
    "too many points": (["--points", "11"], "positions for 10 points, got 11"),
    "negative seed": (["--seed", "-1"], r"--seed needs a number of at least 0 and below 2\*\*63, got -1\."),
    "seed of 23 digits": (["--seed", str(10**22)], r"--seed needs .* below 2\*\*63, got 10000000000000000000000\."),
    "out in no folder": (["--out", "nowhere/r.html"], "--out needs a file name in a folder that exists"),
    "out is a folder": (["--out", "."], "--out needs a file name"),
    "json in no folder": (["--json", "nowhere/r.json"], "--json needs a file name in a folder that exists"),
    "out and json alike": (["--out", "r.html", "--json", "./r.html"], "--out and --json need two files"),
    "json and cache alike": (["--json", "r", "--cache", "r"], "--json and --cache need two files"),
    "json in the place of plotly.js": (
        ["--json", "plotly.min.js", "--plotlyjs", "directory"],
        "--json and plotly.js need two files",
    ),
    "two paths": (["another.pt", "--no-timeline"], "--no-timeline probes one checkpoint, got 2 paths"),
    "task is no pair": (
        ["--task", "noise"],
        r"--task needs a file that exists .* or key=value such as .*, got 'noise'\.",
    ),
    "task with an unknown key": (["--task", "nose_std=1"], "fields among n_dims, .*got nose_std"),
    "task with an impossible value": (["--task", "noise_std=-1"], "noise_std"),
    "task that is no YAML": (["--task", "noise_std=[}"], "is not YAML"),
    "task of another width": (["--task", "n_dims=4"], "needs n_dims=3"),
    "task without labels": (["--task", "w_cov=0"], "labels that are not all zero"),
    "layers in words": (
        ["--layers", "first"],
        "--layers needs numbers separated by commas, such as 0,3,-1, got 'first'",
    ),
    "no such layer": (["--layers", "0,2"], "in a model of 2 layers, got 2"),
    "unknown shift": (["--shifts", "x_scales"], "unknown shift 'x_scales'; there are: x_scale"),
    "shift without a strength": (["--shifts", "x_scale=big"], "needs a number such as 3 or 1/3, got 'big'"),
    "shift to nothing": (["--shifts", "x_scale=0"], "labels that are not all zero, got .* for 'x_scale=0'"),
    "unknown device": (["--device", "abacus"], "needs a device that this machine has, got 'abacus'"),
    "layout that is no pair": (
        ["--layout", "tokens"],
        "--layout needs key=value such as tokens=separate, got 'tokens'",
    ),
    "layout twice": (["--layout", "a=1", "--layout", "a=2"], "--layout needs every key once, got a twice"),
    "layout of our own file": (["--layout", "sign=1"], "checkpoints of icl-interp need no layout beside the file"),
    "heads contradict": (["--heads", "3"], "which is 2, got 3"),
}


@pytest.mark.parametrize(("options", "message"), OPTIONS.values(), ids=OPTIONS)
def test_bad_options(refuses, small, options, message):
    common = ["--prompts", "8", "--shifts", "x_mean", "--no-controls", "--quiet"]
    assert re.search(message, refuses(_app, small, *common, *options))


LATE = {
    "no such layer": (["--layers", "9"], "in a model of 2 layers, got 9"),
    "unknown shift": (["--shifts", "x_scales"], "unknown shift 'x_scales'"),
    "too many points": (["--points", "11"], "positions for 10 points, got 11"),
}


@pytest.mark.parametrize(("options", "message"), LATE.values(), ids=LATE)
def test_what_only_the_model_can_refuse_is_refused_before_anything_is_said_or_run(
    refuses, small, monkeypatch, options, message
):
    monkeypatch.setattr("icl_interp.measure.study.run.run_study", lambda *_, **__: pytest.fail("it ran"))
    assert message in refuses(_app, small, *options)  # not quiet: the fixture finds standard output empty


def test_layers_in_words_are_refused_before_the_file_is_read(refuses, tmp_path):
    assert "--layers needs numbers" in refuses(_app, tmp_path / "nowhere.pt", "--layers", "first")


def test_short_memory_is_refused_with_advice(refuses, small, monkeypatch):
    def run_short(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("icl_interp.measure.study.run.run_study", run_short)
    text = refuses(_app, small, "--quiet")
    assert text.endswith("(CUDA out of memory); lower --prompts or --points, or pass --device cpu.")


def test_a_folder_that_may_not_be_written(refuses, small, monkeypatch):
    # root may write everywhere, so the answer of the system is replaced
    monkeypatch.setattr("icl_interp.cli.probe_checks.os.access", lambda *_: False)
    assert "--out needs a file name in a folder that exists and can be written" in refuses(_app, small)


def test_what_a_foreign_file_does_not_say_is_said_by_layout(refuses, tmp_path, monkeypatch):
    seen = []

    def stop(model: object, *_: object, **__: object) -> None:
        seen.append(model)
        raise InputError("stopped.")

    np.save(tmp_path / "w.npy", np.eye(4))
    monkeypatch.setattr("icl_interp.measure.study.plan.plan_study", stop)
    assert refuses(_app, tmp_path / "w.npy", "--layout", "sign=-1", "--layout", "channel=0", "--quiet") == "stopped."
    assert (seen[0].cfg.output_sign, seen[0].cfg.answer_channel) == (-1, 0)


TASK_FILES = {
    "a list": ("- 1\n", "needs key: value lines, got list"),
    "no YAML": ("a: [\n", "is not YAML"),
    "numbers as keys": ("1: 2\n", "got 1; check the spelling"),
    "an unknown key": ("nose_std: 1\n", "got nose_std"),
    "an impossible value": ("noise_std: -1\n", "task.yaml: the task needs possible values"),
    "another width": ("n_dims: 4\n", "task.yaml: the task needs n_dims=3"),
}


@pytest.mark.parametrize(("text", "message"), TASK_FILES.values(), ids=TASK_FILES)
def test_bad_task_files(refuses, small, tmp_path, text, message):
    (tmp_path / "task.yaml").write_text(text)
    assert message in refuses(_app, small, "--task", tmp_path / "task.yaml", "--quiet")


def test_bad_input_leaves_an_older_report_alone(refuses, small, tmp_path):
    (tmp_path / "r.html").write_text("the older report")
    refuses(_app, small, "--out", tmp_path / "r.html", "--prompts", "1")
    assert (tmp_path / "r.html").read_text() == "the older report"


@pytest.fixture
def others(tmp_path, small) -> None:
    """What else may lie in a folder, with links to it."""
    (tmp_path / "task.yaml").write_text("noise_std: 0.5\n")
    (tmp_path / "manifest.json").write_text('{"finished": true}')
    (tmp_path / "claims.json").write_text('{"format": "icl-interp claims 1"}')
    (tmp_path / "study.json").write_text('{"format": "icl-interp study"}')
    (tmp_path / "link").symlink_to(small)
    (tmp_path / "plotly.min.js").write_text("mine")


OVERWRITES = {
    "the checkpoint": (["--out", "small.pt"], "--out needs another file than what is read, got small.pt"),
    "the checkpoint as JSON": (["--json", "small.pt"], "--json needs another file than what is read"),
    "the checkpoint by a link": (["--out", "link"], "--out needs another file than what is read, got link"),
    "the task": (["--task", "task.yaml", "--out", "task.yaml"], "--out needs another file than what is read"),
    "another file": (["--out", "manifest.json"], "a report is written over nothing but an older one"),
    "another JSON": (["--json", "manifest.json"], "the file of --json is written over nothing but an older one"),
    "results of another command": (["--json", "claims.json"], "--json is written over nothing but an older one"),
    "numbers by a report": (["--out", "study.json"], "a report is written over nothing but an older one"),
    "plotly.js of a user": (["--plotlyjs", "directory"], r"plotly\.js is written over nothing but an older one"),
}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(("options", "message"), OVERWRITES.values(), ids=OVERWRITES)
def test_no_file_of_the_user_is_written_over(refuses, monkeypatch, small, options, message):
    monkeypatch.setattr("icl_interp.cli.probe_job._load_probed", lambda *_, **__: pytest.fail("loaded first"))
    assert re.search(message, refuses(_app, small, *options))
