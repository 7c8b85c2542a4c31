import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_cases import TINY, assert_same_runs

from icl_interp import TrainConfig, train
from icl_interp.errors import CheckpointError
from icl_interp.runs.folder import RunFolder
from icl_interp.training.loop import StepRecord
from icl_interp.training.schedules import CheckpointSteps, Curriculum, Ramp
from icl_interp.training.sinks import _SINKS, Sink
from icl_interp.training.stopping import RunStoppedError, stop_requests


class Crash(Exception):
    """What a bug in somebody's callback looks like."""


def crash_at(step: int):
    def on_step(record: StepRecord) -> None:
        if record.step == step:
            raise Crash

    return on_step


GROWING = Curriculum(dims=Ramp(start=1, end=2, interval=4), points=Ramp(start=2, end=5, interval=3))
VARIANTS = {
    "at the first step": (1, {}),
    "at a checkpoint": (5, {}),
    "momentum": (8, {"optimizer": "sgd", "momentum": 0.9}),
    "clipped, accumulated, float64": (8, {"grad_clip": 0.1, "accumulate": 2, "precision": "float64"}),
    "adamw with weight decay": (6, {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup": 2}),
    "bfloat16, accumulated, curriculum": (7, {"precision": "bfloat16", "accumulate": 2, "curriculum": GROWING}),
    "evaluated": (7, {"eval_every": 4, "eval_prompts": 8, "eval_shifts": ()}),
}


@pytest.mark.parametrize(("step", "changes"), VARIANTS.values(), ids=VARIANTS)
def test_a_run_that_crashed_goes_on_bit_for_bit(tmp_path: Path, step: int, changes: dict[str, object]) -> None:
    config = TINY.model_copy(update=changes)
    straight = train(config, out=tmp_path / "straight")
    with pytest.raises(Crash):
        train(config, out=tmp_path / "crashed", resume_seconds=0, on_step=crash_at(step))
    seen: list[StepRecord] = []
    resumed = train(config, out=tmp_path / "crashed", resume=True, on_step=seen.append)
    assert [record.step for record in seen] == list(range(step + 1, 13))
    assert resumed.history == straight.history
    assert resumed.evaluations == straight.evaluations
    assert_same_runs(tmp_path / "crashed", tmp_path / "straight")


def test_a_run_with_a_logger_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[list[int]] = []
    closed: list[int] = []

    def fake(*_: object) -> Sink:
        steps: list[int] = []
        logged.append(steps)
        return Sink(lambda line: steps.append(line["step"]), lambda: closed.append(len(steps)))

    monkeypatch.setitem(_SINKS, "tensorboard", fake)
    monkeypatch.setattr("icl_interp.training.sinks._import", lambda *_: None)
    train(TINY, out=tmp_path / "straight")
    with pytest.raises(Crash):
        train(TINY, out=tmp_path / "crashed", resume_seconds=0, on_step=crash_at(8), log_to=["tensorboard"])
    train(TINY, out=tmp_path / "crashed", resume=True, log_to=["tensorboard"])
    assert logged == [[*range(1, 9)], [*range(9, 13)]]
    assert closed == [8, 4]
    assert_same_runs(tmp_path / "crashed", tmp_path / "straight")


def test_steps_after_the_newest_state_are_taken_again(tmp_path: Path) -> None:
    train(TINY, out=tmp_path / "straight")
    with pytest.raises(Crash):  # the state is that of the checkpoint at step 5
        train(TINY, out=tmp_path / "crashed", on_step=crash_at(8))
    lines = (tmp_path / "crashed/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 8
    seen: list[StepRecord] = []
    train(TINY, out=tmp_path / "crashed", resume=True, on_step=seen.append)
    assert seen[0].step == 6
    assert json.loads((tmp_path / "crashed/manifest.json").read_text())["resumed_after_steps"] == [5]
    assert_same_runs(tmp_path / "crashed", tmp_path / "straight")


def test_resume_starts_a_run_that_is_not_there_and_reads_back_one_that_is_finished(tmp_path: Path) -> None:
    first = train(TINY, out=tmp_path / "run", resume=True)
    manifest = (tmp_path / "run/manifest.json").read_text()
    seen: list[StepRecord] = []
    again = train(TINY, out=tmp_path / "run", resume=True, on_step=seen.append)
    assert (seen, again.history, again.checkpoint) == ([], first.history, first.checkpoint)
    for name, weight in first.model.named_parameters():
        torch.testing.assert_close(again.model.get_parameter(name), weight, rtol=0, atol=0)
    assert (tmp_path / "run/manifest.json").read_text() == manifest
    assert json.loads(manifest)["finished"] is True


def test_a_run_goes_on_with_its_own_config_only(tmp_path: Path) -> None:
    train(TINY, out=tmp_path)
    other = TrainConfig(**{**TINY.model_dump(), "lr": 0.5, "steps": 13})
    with pytest.raises(ValueError, match=r"has another steps \(12 there\), lr \(0.01 there\); choose another --out"):
        train(other, out=tmp_path, resume=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(TINY, out=folder)
    return folder


def without(key: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        del state[key]
        torch.save(state, path)

    return change


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not a state"),
    "NULs": lambda path: path.write_bytes(b"\0" * 1000),
    **{f"{share:.0%}": lambda path, share=share: os.truncate(path, int(share * path.stat().st_size))
       for share in (0.02, 0.25, 0.5, 0.99)},
    "no weights": without("model"),
    "no optimizer": without("optimizer"),
    "no step": without("step"),
    "no time": without("seconds"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_refused_in_one_sentence(
    finished: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "resume.pt")
    with pytest.raises(ValueError, match=r"resume.pt cannot be read; remove it to start the run afresh"):
        train(TINY, out=tmp_path, resume=True)


def test_a_state_that_may_be_whole_is_not_to_be_removed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointError("no permission") from PermissionError(13, "Permission denied")

    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("icl_interp.training.resume.load_weight_file", refuse)
    with pytest.raises(CheckpointError, match="no permission"):
        train(TINY, out=tmp_path, resume=True)


def test_a_run_goes_on_without_a_manifest_and_past_torn_metrics(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "manifest.json").unlink()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"\0" * 512)
    assert len(train(TINY, out=tmp_path, resume=True).history) == 12
    assert json.loads((tmp_path / "manifest.json").read_text())["finished"] is True
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match=r"got another line at step 1: .*metrics.jsonl; remove that line"):
        train(TINY, out=tmp_path, resume=True)


def test_a_state_of_another_config_is_refused(tmp_path: Path) -> None:
    train(TINY, out=tmp_path / "a")
    train(TINY.model_copy(update={"seed": 1}), out=tmp_path / "b")
    os.replace(tmp_path / "b/resume.pt", tmp_path / "a/resume.pt")
    with pytest.raises(ValueError, match=r"resume.pt does not belong to the config beside it"):
        train(TINY, out=tmp_path / "a", resume=True)


@pytest.mark.parametrize("setting", [{"resume": True}, {"log_to": ["wandb"]}], ids=str)
def test_some_things_need_a_folder(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="resume and log_to need a run folder, got none; name it with out="):
        train(TINY, **setting)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_finishes_the_step_and_leaves_a_run_that_resumes(tmp_path: Path, number: signal.Signals) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(TINY, out=tmp_path / "straight")

    def interrupt(record: StepRecord) -> None:
        if record.step == 7:
            signal.raise_signal(number)

    with pytest.raises(
        RunStoppedError, match=r"stopped after step 7; go on with icl-train --resume --out .*run"
    ) as stop:
        train(TINY, out=tmp_path / "run", on_step=interrupt)
    assert (stop.value.step, stop.value.number) == (7, number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    seen: list[StepRecord] = []
    train(TINY, out=tmp_path / "run", resume=True, on_step=seen.append)
    assert seen[0].step == 8
    assert_same_runs(tmp_path / "run", tmp_path / "straight")


def test_a_second_ctrl_c_does_not_wait() -> None:
    with stop_requests() as stop:
        assert stop() is None
        signal.raise_signal(signal.SIGINT)
        assert stop() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("what", ["resume.pt", "step_00000005.pt", "metrics"])
def test_a_full_disk_leaves_a_run_that_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    train(TINY, out=tmp_path / "straight")

    replace, log = os.replace, RunFolder.log

    def full(folder: RunFolder, record: dict[str, object]) -> None:
        if what == "metrics" and record["step"] == 4:
            raise OSError(28, "No space left on device")
        log(folder, record)

    def refuse(source: Path, target: Path) -> None:
        if target.name == what:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("icl_interp.files.os.replace", refuse)
        patch.setattr(RunFolder, "log", full)
        message = r"No space left on device.*; after that go on with icl-train --resume --out .*run"
        with pytest.raises(OSError, match=message):
            train(TINY, out=tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    train(TINY, out=tmp_path / "run", resume=True)
    assert_same_runs(tmp_path / "run", tmp_path / "straight")


@pytest.mark.parametrize("room", [0, 700, 2_000, 10_000], ids=["start", "manifest", "checkpoint", "state"])
def test_no_more_room_in_the_midst_of_a_file_is_one_sentence(tmp_path: Path, room: int) -> None:
    # A real error of the operating system, of which torch.save makes a RuntimeError.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(TINY.to_yaml())
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(
            OSError, match=r"File too large\); .*; after that go on with icl-train --resume --out .*run"
        ):
            train(TINY, out=tmp_path / "run", resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    train(TINY, out=tmp_path / "run", resume=True)


def test_no_more_room_for_the_last_line_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fill(record: StepRecord) -> None:
        if record.step == TINY.steps:
            monkeypatch.setattr(RunFolder, "write_manifest", full)

    with pytest.raises(OSError, match=r"No space left on device; after that go on with icl-train --resume"):
        train(TINY, out=tmp_path, on_step=fill)
    monkeypatch.undo()
    assert train(TINY, out=tmp_path, resume=True).checkpoint == tmp_path / "checkpoints/step_00000012.pt"
    assert json.loads((tmp_path / "manifest.json").read_text())["finished"] is True


def test_a_run_that_diverges_names_its_last_good_checkpoint(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"lr": 1e18, "optimizer": "sgd"})
    with pytest.raises(FloatingPointError, match=r"at step \d+.*; the last good checkpoint is .*step_00000000.pt; "):
        train(config, out=tmp_path)
    contents = torch.load(tmp_path / "checkpoints/step_00000000.pt", weights_only=True)
    assert all(weight.isfinite().all() for weight in contents["weights"].values())


def test_the_weights_that_failed_are_not_the_last_good_checkpoint(tmp_path: Path) -> None:
    # Step 1 throws the weights far away, and step 2 sees it: the checkpoint of step 1 is finite and useless.
    config = TINY.model_copy(update={"lr": 1e6, "optimizer": "sgd", "checkpoints": CheckpointSteps(every=1)})
    with pytest.raises(FloatingPointError, match=r"the last good checkpoint is .*step_\d+.pt; ") as caught:
        train(config, out=tmp_path)
    good = str(caught.value).partition("the last good checkpoint is ")[2].partition(".pt")[0]
    kept = sorted((tmp_path / "checkpoints").glob("step_*.pt"))
    assert len(kept) >= 2
    assert kept[-2] == Path(f"{good}.pt")
