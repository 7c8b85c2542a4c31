"""icl-train --resume and --watch."""

import errno
import json
import re
import signal
from datetime import UTC, datetime

import pytest
import torch
from typer.testing import CliRunner

from icl_interp.cli.train import _app
from icl_interp.cli.train_job import LiveNote
from icl_interp.cli.train_watch import _read_status, watch_run
from icl_interp.runs.folder import RunFolder
from icl_interp.training import run as run_module
from icl_interp.training.configs import load_config
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
        patch.setattr("icl_interp.cli.shared._PLAIN_SECONDS", 1e9)  # no line of progress on a busy machine
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
    kept = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (folder, tmp_path / "straight")]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 7  # of the twelve of a long run, for the timeline of icl-probe


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


@pytest.fixture
def running(stopped):
    """A run that a process writes: this one."""
    folder, _ = stopped
    with RunFolder(folder, config=(folder / "config.yaml").read_text(), resume=True):
        yield folder


def enough(_: float) -> None:
    raise KeyboardInterrupt


def test_watching_a_running_run_gives_a_page_that_refreshes(running, monkeypatch):
    manifest = json.loads((running / "manifest.json").read_text())
    began = (running / "metrics.jsonl").stat().st_mtime - 10
    manifest["sessions"][-1]["time"] = datetime.fromtimestamp(began, UTC).isoformat()
    (running / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("icl_interp.cli.train_watch.time.sleep", enough)
    watching = CliRunner().invoke(_app, ["--watch", str(running)])
    assert watching.exit_code == 130
    assert f"open {running / 'watch.html'} in a browser" in watching.stdout
    page = (running / "watch.html").read_text()
    assert '<meta http-equiv="refresh" content="10">' in page
    assert "Step 5 of 8 (62 %): loss " in page or "Step 5 of 8 (63 %): loss " in page
    assert "0.5 steps/s, about 6 s left." in page
    assert re.search(r"Last update: 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d ", page)
    assert "Distance from the reference predictors, in distribution" in page
    assert "Distance from the reference predictors, x_scale=3" in page
    assert 'src="http' not in page  # self-contained


def test_the_page_shows_the_excess_over_bayes(running):
    status = _read_status(running)
    evaluated = [line for line in status.metrics if "distances" in line][-1]
    best = "least squares = ridge = Bayes"
    value = evaluated["distances"]["in distribution"][best]
    assert f"Excess over the Bayes predictor ({best}): {value:.3g} E[y²] at step 4." in status.sentences()


@pytest.mark.parametrize("options", [[], ["--quiet"]], ids=["said", "quiet"])
def test_watching_ends_with_a_run_that_nobody_trains(stopped, options):
    folder, _ = stopped
    watching = CliRunner().invoke(_app, ["--watch", str(folder), *options])
    assert watching.exit_code == 0
    sentence = f"stopped after step 5; go on with icl-train --resume --out {folder}"
    assert watching.stdout.splitlines()[1:] == ([] if options else [sentence])
    page = (folder / "watch.html").read_text()
    assert f"The run {sentence}" in page
    assert "http-equiv" not in page
    assert " s left" not in page


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
    watch_run(folder, quiet=True)
    assert "No step of 8 is logged yet" in (folder / "watch.html").read_text()


@pytest.mark.parametrize("part", ["train_watch.write_atomically", "train_watch.is_busy"])
def test_a_folder_that_cannot_be_written_is_one_sentence(refuses, stopped, monkeypatch, part):
    def fails(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(f"icl_interp.cli.{part}", fails)
    said = refuses(_app, "--watch", stopped[0])
    assert f"needs a folder that can be written, got {stopped[0]} (Read-only file system); watch as the" in said


@pytest.mark.parametrize(
    "given", [["demo"], ["--sweep", "g.yaml"], ["--resume"], ["--set", "steps=3"], ["--log-to", "wandb"]]
)
def test_what_watching_does_not_take(refuses, stopped, given):
    name = "CONFIG" if given == ["demo"] else given[0]
    assert f"takes no {name}; leave it out" in refuses(_app, "--watch", stopped[0], *given)


@pytest.mark.parametrize("given", [["--workers", "2"], ["--scheduler", "tcp://127.0.0.1:1"]])
def test_what_belongs_to_a_sweep(refuses, tmp_path, given):
    assert "without --sweep; name a grid" in refuses(_app, "demo", *SETTINGS, *given, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_only_runs_can_be_watched(refuses, tmp_path):
    assert "--watch needs the folder of a run" in refuses(_app, "--watch", tmp_path)


def test_metrics_hold_the_evaluations(stopped):
    lines = [json.loads(line) for line in (stopped[0] / "metrics.jsonl").read_text().splitlines()]
    (evaluated,) = [line for line in lines if "distances" in line]
    assert evaluated["step"] == 4
    assert len(evaluated["loss_per_point"]) == 5
    assert set(evaluated["errors"]) == set(evaluated["distances"]) == {"in distribution", "x_scale=3"}


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json"])
@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"["], ids=["empty", "NULs", "cut"])
def test_watching_a_damaged_run_is_one_sentence(refuses, stopped, name, content):
    (stopped[0] / name).write_bytes(content)
    assert name in refuses(_app, "--watch", stopped[0])


def test_watching_passes_over_a_torn_line(stopped):
    with (stopped[0] / "metrics.jsonl").open("ab") as file:
        file.write(b"\0" * 20 + b"\n")
    assert _read_status(stopped[0]).step == 5


def test_a_foreign_page_is_not_written_over(refuses, stopped):
    (stopped[0] / "watch.html").write_text("mine")
    assert "the page of --watch is written over nothing but an older one" in refuses(_app, "--watch", stopped[0])
