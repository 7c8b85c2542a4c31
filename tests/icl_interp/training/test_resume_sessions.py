"""The manifest lists every session, and a resume in other circumstances says so once."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from training_cases import TINY as LONGER
from typer.testing import CliRunner

from icl_interp import train
from icl_interp.cli.train import _app
from icl_interp.training import resume as module
from icl_interp.training.loop import StepRecord
from icl_interp.training.resume import OtherCircumstancesWarning, new_session, sessions_of, what_changed

TINY = LONGER.model_copy(update={"checkpoints": None, "eval_every": None})


class Crash(Exception):
    """The end of a session."""


def stop_after(folder: Path, step: int, *, resume: bool = False) -> None:
    def on_step(record: StepRecord) -> None:
        if record.step == step:
            raise Crash

    with pytest.raises(Crash):
        train(TINY, out=folder, resume=resume, resume_seconds=0, on_step=on_step)


def manifest(folder: Path) -> dict[str, object]:
    return json.loads((folder / "manifest.json").read_text())


def test_each_session_is_recorded_and_nothing_is_said_where_nothing_changed(tmp_path: Path) -> None:
    stop_after(tmp_path, 3)
    stop_after(tmp_path, 7, resume=True)
    train(TINY, out=tmp_path, resume=True)  # a warning would be an error here
    train(TINY, out=tmp_path, resume=True)  # reads back, which is no session
    record = manifest(tmp_path)
    assert [session["from_step"] for session in record["sessions"]] == [0, 3, 7]
    assert record["resumed_after_steps"] == [3, 7]
    for session in record["sessions"]:
        assert set(session) == {"from_step", "time", "threads", "device", "torch", "machine"}
        assert session["time"].endswith("+00:00")
        assert (session["threads"], session["device"]) == (torch.get_num_threads(), "cpu")
        assert session["torch"] == record["torch"] == torch.__version__
        assert session["machine"] == ", ".join([
            record["platform"],
            *[record[k] for k in ("processor",) if k in record],
        ])


CHANGES = {
    "threads": ("torch.get_num_threads", lambda: 64, "threads 64 (1 before)"),
    "torch": ("torch.__version__", "9.9", f"torch 9.9 ({torch.__version__} before)"),
    "machine": (
        "icl_interp.training.resume.machine",
        lambda: "Abacus",
        f"machine Abacus ({module.machine()} before)",
    ),
}


@pytest.fixture
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "value", "clause"), CHANGES.values(), ids=CHANGES)
def test_a_resume_elsewhere_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object, clause: str
) -> None:
    stop_after(tmp_path, 3)
    monkeypatch.setattr(name, value)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stop_after(tmp_path, 7, resume=True)
        train(TINY, out=tmp_path, resume=True)  # as the session before
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path} goes on after step 3 with {clause}, so it rounds otherwise and will not be bit for bit the run "
        "that was never stopped; where that matters, keep a copy of the folder before going on elsewhere."
    ]
    assert caught[0].category is OtherCircumstancesWarning
    assert len(manifest(tmp_path)["sessions"]) == 3


def test_several_changes_are_one_sentence() -> None:
    now = new_session(9, device="cpu")
    before = {**now, "from_step": 2, "threads": 64, "device": "cuda:0"}
    assert what_changed([before], now) == f"device cpu (cuda:0 before) and threads {now['threads']} (64 before)"
    assert what_changed([before, {**now, "from_step": 5}], now) is None  # the session before counts
    assert what_changed([{**now, "time": "long ago", "from_step": 1}], now) is None


def test_a_session_that_left_no_step_counts_for_nothing() -> None:
    now = new_session(5, device="cpu")
    other = {**now, "threads": 64}
    assert what_changed([{**now, "from_step": 0}, other], now) is None
    assert what_changed([{**now, "from_step": 0}], {**other, "from_step": 5}) is not None
    assert what_changed([{**other, "from_step": 0}], {**now, "from_step": 0}) is None  # all of it is trained anew


def test_a_manifest_of_an_older_version_tells_about_its_first_session(tmp_path: Path) -> None:
    stop_after(tmp_path, 3)
    older = {key: value for key, value in manifest(tmp_path).items() if key not in ("sessions", "processor", "cores")}
    (tmp_path / "manifest.json").write_text(json.dumps({**older, "threads": 64}))
    with pytest.warns(OtherCircumstancesWarning, match=r"goes on after step 3 with threads \d+ \(64 before\), so it"):
        train(TINY, out=tmp_path, resume=True)
    first, second = manifest(tmp_path)["sessions"]
    assert first == {"from_step": 0, "time": older["time"], "threads": 64, "device": "cpu", "torch": older["torch"]}
    assert second["from_step"] == 3
    assert sessions_of({}) == [{"from_step": 0}]


@pytest.mark.parametrize("option", [[], ["--quiet"]], ids=["note", "quiet"])
def test_the_command_says_it_in_one_line(tmp_path: Path, option: list[str]) -> None:
    stop_after(tmp_path, 3)
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"threads": 1', '"threads": 64'))
    shown = warnings.showwarning
    result = CliRunner().invoke(_app, ["--resume", "--out", str(tmp_path), "--threads", "1", *option])
    assert result.exit_code == 0, result.stderr
    sentence = f"note: {tmp_path} goes on after step 3 with threads 1 (64 before), so it rounds otherwise and will not "
    assert [line.startswith(sentence) for line in result.stderr.splitlines()] == ([] if option else [True])
    assert warnings.showwarning is shown
