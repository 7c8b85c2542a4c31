"""icl-train --resume and --watch."""

import json
import signal

import pytest
import torch
from typer.testing import CliRunner

from icl_interp.cli.train import _app
from icl_interp.cli.train_job import LiveNote
from icl_interp.cli.train_watch import watch_run, write_watch_page
from icl_interp.training import run as run_module
from icl_interp.training.config import load_config
from icl_interp.training.evaluation import Evaluator
from icl_interp.training.loop import StepRecord, Trainer

TINY = [
    "steps=8", "log_every=2", "batch_size=4", "warmup=0", "model.d_model=8", "model.n_layers=1", "model.n_heads=1",
    "task={n_dims: 2}", "model.n_dims=2", "eval_every=4", "eval_prompts=8",
]  # fmt: skip
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that got SIGTERM in its fifth step."""
    advance = Trainer.advance

    def interrupted(trainer):
        if trainer.step == 4:
            signal.raise_signal(signal.SIGTERM)
        return advance(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", interrupted)
        result = CliRunner().invoke(_app, ["demo", *SETTINGS, "--out", str(tmp_path / "run")])
    return tmp_path / "run", result


def test_sigterm_says_how_to_go_on_and_resume_does(stopped, tmp_path):
    folder, result = stopped
    assert result.exit_code == 128 + signal.SIGTERM
    assert result.stderr == f"stopped after step 5; go on with icl-train --resume --out {folder}\n"
    resumed = CliRunner().invoke(_app, ["--resume", "--out", str(folder)])
    assert resumed.exit_code == 0, resumed.stderr
    assert resumed.stdout.endswith(" after 8 steps\n")
    CliRunner().invoke(_app, ["demo", *SETTINGS, "--quiet", "--out", str(tmp_path / "straight")])
    assert (folder / "metrics.jsonl").read_text() == (tmp_path / "straight/metrics.jsonl").read_text()


def test_resume_needs_a_run_or_a_config(refuses, tmp_path):
    message = "needs a config file or a preset, got none, and no run to --resume in "
    assert message in refuses(_app, "--out", tmp_path / "run")
    assert message in refuses(_app, "--resume", "--out", tmp_path / "run")


def test_resume_refuses_another_config(refuses, stopped):
    assert "has another seed (0 there); choose" in refuses(_app, "--resume", "--set", "seed=3", "--out", stopped[0])


def test_loggers_and_devices_are_handed_on(tmp_path, monkeypatch):
    assert "metrics can go to wandb, tensorboard, got 'csv'" in (
        CliRunner().invoke(_app, ["demo", *SETTINGS, "--log-to", "csv", "--out", str(tmp_path / "a")]).stderr
    )
    devices = []
    monkeypatch.setattr(run_module, "check_device", lambda device: None)  # this machine may have none  # noqa: ARG005
    monkeypatch.setattr(run_module, "Trainer", lambda config, device: devices.append(device) or Trainer(config))
    CliRunner().invoke(_app, ["demo", *SETTINGS, "--device", "cuda:1", "--out", str(tmp_path / "b"), "--threads", "1"])
    assert devices == ["cuda:1"]
    assert torch.get_num_threads() == 1


def test_the_live_note_has_loss_excess_and_speed(monkeypatch):
    config = load_config("demo", TINY)
    evaluator, ticks = Evaluator(config), []
    clock = iter([10.0, 10.5, 12.5])
    monkeypatch.setattr("icl_interp.cli.train_job.time.monotonic", lambda: next(clock))
    note = LiveNote(config, evaluator, lambda done, note="": ticks.append((done, note)))
    for step in (3, 4, 8):
        note(StepRecord(step=step, loss=2.0, lr=0.1))
    excess = 2.0 - evaluator.best_loss(8)
    assert 0 < excess < 2
    # Two steps were done before; the rate is shown once two seconds have passed.
    assert ticks == [
        (2, ""),
        (1, "loss 2.000"),
        (1, f"loss 2.000, {excess:+.3f} over Bayes"),
        (4, f"loss 2.000, {excess:+.3f} over Bayes, 2 steps/s"),
    ]


def test_watching_a_running_run_gives_a_page_that_refreshes(stopped, monkeypatch):
    folder, _ = stopped

    def enough(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("icl_interp.cli.train_watch.time.sleep", enough)
    watching = CliRunner().invoke(_app, ["--watch", str(folder)])
    assert watching.exit_code == 130
    assert f"open {folder / 'watch.html'} in a browser" in watching.stdout
    page = (folder / "watch.html").read_text()
    assert '<meta http-equiv="refresh" content="10">' in page
    assert "Step 5 of 8 (62 %): loss " in page or "Step 5 of 8 (63 %): loss " in page
    assert "Distance from the reference predictors, in distribution" in page
    assert "Distance from the reference predictors, x_scale=3" in page
    assert 'src="http' not in page  # self-contained


def test_a_finished_run_is_drawn_once(stopped, capsys):
    folder, _ = stopped
    CliRunner().invoke(_app, ["--resume", "--quiet", "--out", str(folder)])
    watch_run(folder, quiet=True)
    page = (folder / "watch.html").read_text()
    assert "Step 8 of 8 (finished)" in page
    assert "http-equiv" not in page
    assert capsys.readouterr().out == ""


def test_a_run_without_metrics_has_a_page(stopped):
    folder, _ = stopped
    (folder / "metrics.jsonl").unlink()
    assert "No step of 8 is logged yet" in write_watch_page(folder, folder / "w.html", seconds=1.0).read_text()


def test_only_runs_can_be_watched(refuses, tmp_path):
    assert "--watch needs the folder of a run" in refuses(_app, "--watch", tmp_path)


def test_metrics_hold_the_evaluations(stopped):
    lines = [json.loads(line) for line in (stopped[0] / "metrics.jsonl").read_text().splitlines()]
    (evaluated,) = [line for line in lines if "distances" in line]
    assert evaluated["step"] == 4
    assert len(evaluated["loss_per_point"]) == 5
    assert set(evaluated["errors"]) == set(evaluated["distances"]) == {"in distribution", "x_scale=3"}
