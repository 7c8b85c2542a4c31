"""Ctrl-C and SIGTERM while an experiment trains: states are written, one sentence, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from icl_interp import train
from icl_interp.cli.reproduce import _app
from icl_interp.experiments import trained
from icl_interp.experiments.trained import train_all
from icl_interp.jobs import _WRITE_SECONDS, StopSignalError
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.loop import Trainer
from icl_interp.training.stopping import RunStoppedError
from icl_interp.training.train_config import TrainConfig

SAID = "stopped: the same command resumes; linear models in training start again.\n"
PATIENCE = 240.0
"""Seconds: a process imports torch and TransformerLens first."""


def config(family: str, seed: int = 0) -> TrainConfig:
    shape = {"n_layers": 1, "n_heads": 1, "d_model": 8, "tokens": "joint"} if family == "gpt2" else {}
    return TrainConfig(
        model=ModelConfig(family=family, n_dims=2, n_points=4, **shape),
        task=LinearRegression(2, n_points=4),
        steps=12,
        batch_size=8,
        loss_points="last",
        eval_every=None,
        seed=seed,
    )


GPT2, GROUP = config("gpt2"), [config("ltb", seed) for seed in range(2)]


@pytest.fixture
def notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears when the sixth batch is drawn."""
    monkeypatch.setattr("icl_interp.training.stopping.LOOK_SECONDS", 0.0)
    path = tmp_path / "stop"
    advance = Trainer.advance

    def touch_then_advance(trainer: Trainer) -> object:
        if trainer.step == 5:
            path.touch()
        return advance(trainer)

    monkeypatch.setattr(Trainer, "advance", touch_then_advance)
    return path


def test_a_single_model_writes_its_state_when_it_is_asked_to_stop(tmp_path: Path, notice: Path) -> None:
    folder = tmp_path / "runs" / "run"
    with pytest.raises(RunStoppedError, match="stopped after step 6"):
        trained._train_job([(GPT2, folder)], notice, device="cpu")
    assert torch.load(folder / "resume.pt", weights_only=True)["step"] == 6
    notice.unlink()
    trained._train_job([(GPT2, folder)], None, device="cpu")
    model = trained._load(folder, GPT2.steps)
    torch.testing.assert_close(model.state_dict(), train(GPT2).model.state_dict(), rtol=0, atol=0)


def test_models_that_are_trained_together_give_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icl_interp.training.stopping.LOOK_SECONDS", 0.0)
    file, train_many, steps = tmp_path / "stop", trained.train_many, []

    def touched(configs: list[TrainConfig], *, on_step: object) -> object:
        def step(records: object) -> None:
            steps.append(records)
            if len(steps) == 3:
                file.touch()
            on_step(records)

        return train_many(configs, on_step=step)

    monkeypatch.setattr(trained, "train_many", touched)
    job = [(each, tmp_path / f"run {number}") for number, each in enumerate(GROUP)]
    with pytest.raises(KeyboardInterrupt):
        trained._train_job(job, file, device="cpu")
    assert len(steps) == 3
    assert list(tmp_path.iterdir()) == [file]


def test_sigterm_in_one_process_keeps_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Trainer.advance

    def terminate_then_advance(trainer: Trainer) -> object:
        if trainer.step == 5:
            signal.raise_signal(signal.SIGTERM)
        return advance(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", terminate_then_advance)
        with pytest.raises(RunStoppedError) as stop:
            train_all({"run": GPT2}, tmp_path)
    assert stop.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    model = train_all({"run": GPT2}, tmp_path)["run"]
    torch.testing.assert_close(model.state_dict(), train(GPT2).model.state_dict(), rtol=0, atol=0)


def test_sigterm_between_two_models_is_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "_train_job", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(StopSignalError):
        train_all({"run": GPT2}, tmp_path)


# Each signal and each place once: what a signal does depends on no place, and the way on on no signal.
@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGINT, "icl_interp.experiments.zhang2024.measures.query_risks"),
        (signal.SIGTERM, "icl_interp.experiments.trained._train_job"),
    ],
    ids=["Ctrl-C while it measures", "SIGTERM while it trains"],
)
def test_the_command_says_it_in_one_sentence_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, where: str
) -> None:
    arguments = ["zhang2024", "--out", str(tmp_path / "out"), "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(where, lambda *_, **__: signal.raise_signal(number))
        stopped = CliRunner().invoke(_app, arguments)
    assert stopped.exit_code == 128 + number
    assert stopped.output == SAID
    assert not (tmp_path / "out" / "zhang2024.json").exists()
    assert CliRunner().invoke(_app, arguments).exit_code == 0


@pytest.mark.slow  # two more processes import torch and TransformerLens
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_parent_alone_asks_its_workers(tmp_path: Path, number: signal.Signals) -> None:
    out, command = tmp_path / "out", "import sys; from icl_interp.cli.reproduce import main; sys.argv[0] = 'x'; main()"
    options = ["carroll2025", "--preset", "laptop", "--workers", "2", "--out", str(out), "--quiet"]
    child = subprocess.Popen(
        [sys.executable, "-c", command, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + PATIENCE
        while len(_logged(out)) < 2:
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.05)
        os.kill(child.pid, number)
        sent = time.monotonic()
        said, complained = child.communicate(timeout=PATIENCE)  # the workers hold the pipes: they have ended as well
    finally:
        child.kill()
    assert child.returncode == 128 + number
    assert time.monotonic() - sent < _WRITE_SECONDS  # nobody was waited for in vain
    assert (said, complained) == ("", SAID)
    for run in _logged(out):  # whatever was logged is in a state that the next start goes on from
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        assert torch.load(run / "resume.pt", weights_only=True)["step"] >= last > 0


def _logged(out: Path) -> list[Path]:
    return [path.parent for path in out.glob("runs/*/metrics.jsonl") if path.read_text().strip()]
