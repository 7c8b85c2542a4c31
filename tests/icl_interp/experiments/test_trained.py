"""Models of an experiment: trained once, together where that is possible, read back afterwards."""

import json
import shutil
import time
from pathlib import Path

import joblib
import pytest
import torch
import yaml
from fake_parallel import FakeParallel
from joblib.externals.loky.process_executor import TerminatedWorkerError

from icl_interp.experiments import trained
from icl_interp.experiments.trained import checkpoints_of, run_path, train_all, trained_by
from icl_interp.jobs import _ATTEMPTS
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.run import train
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.train_config import TrainConfig


def config(seed: int = 0, *, family: str = "ltb", norm: float = 1.0, kept: bool = False) -> TrainConfig:
    shape = {"n_layers": 1, "n_heads": 1, "d_model": 8, "tokens": "joint"} if family == "gpt2" else {}
    return TrainConfig(
        model=ModelConfig(family=family, n_dims=2, n_points=4, **shape),
        task=LinearRegression(2, w_mean=norm, n_points=4),
        steps=4,
        batch_size=8,
        loss_points="last",
        eval_every=None,
        seed=seed,
        checkpoints=CheckpointSteps(linear=3) if kept else None,
    )


PLAN = {
    "a": config(0),
    "b": config(1),
    "c": config(0, norm=2.0),
    "again": config(0),
    "kept": config(2, kept=True),
    "gpt2": config(0, family="gpt2"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("experiment")
    done = []
    models = train_all(PLAN, path, on_done=done.append)
    assert sum(done) == 5  # "again" is "a"
    assert list(models) == list(PLAN)
    return path


@pytest.mark.parametrize("key", PLAN)
def test_each_model_is_what_train_makes(folder, key):
    models = train_all({key: PLAN[key]}, folder)
    alone = train(PLAN[key]).model
    # Together and alone differ in the order of float32 sums.
    torch.testing.assert_close(
        dict(models[key].named_parameters()), dict(alone.named_parameters()), rtol=1e-4, atol=1e-6
    )


def test_alike_models_are_trained_together_and_others_alone():
    jobs = trained._jobs([(config, Path(key)) for key, config in PLAN.items()])
    assert sorted(len(job) for job in jobs) == [1, 1, 4]


def test_what_is_finished_is_read_back(folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    monkeypatch.setattr(trained, "_train_job", _refuse)
    time.sleep(0.01)
    train_all(PLAN, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")} == before


def _refuse(job, *_, **__):
    raise AssertionError(f"{len(job)} configs were trained again")


def test_an_unfinished_run_is_trained(folder, monkeypatch):
    monkeypatch.setattr(trained, "_train_job", _refuse)
    with pytest.raises(AssertionError, match="1 configs were trained again"):
        train_all({"new": config(7)}, folder)
    manifest = run_path(folder, PLAN["b"]) / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace("true", "false"))
    with pytest.raises(AssertionError, match="1 configs were trained again"):
        train_all(PLAN, folder)
    manifest.write_text(text)


def test_checkpoints_along_training(folder):
    models = checkpoints_of(folder, PLAN["kept"])
    assert list(models) == [0, 2, 4]
    assert not torch.equal(models[0].blocks[0].mlp.W_in, models[4].blocks[0].mlp.W_in)


def test_a_group_has_a_largest_size(monkeypatch):
    monkeypatch.setattr(trained, "_LARGEST_GROUP", 2)
    assert [len(job) for job in trained._jobs([(config(seed), Path(str(seed))) for seed in range(5)])] == [2, 2, 1]


LOST = {"task": LinearRegression(2, x_mean=1e30, n_points=4)}
"""Inputs so large that the first loss is infinite."""


def test_one_model_that_diverges_loses_nobodys_work(tmp_path, monkeypatch):
    plan = {"a": config(0), "lost": config(5).model_copy(update=LOST), "b": config(1)}
    lost, kept = run_path(tmp_path, plan["lost"]), {key: run_path(tmp_path, plan[key]) for key in "ab"}
    message = (
        rf"1 of 3 models that were trained together diverged: the loss of run {lost.name} \(seed 5\) was (nan|inf) at "
        rf"step 1; lower lr \(now 0.001\), .*; the others are kept in {tmp_path / 'runs'}\.$"
    )
    with pytest.raises(FloatingPointError, match=message):
        train_all(plan, tmp_path)
    assert not lost.exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    assert {path.parents[1] for path in before} == set(kept.values())
    # The same command again trains the one that is missing, and no other; without it there is nothing left to do.
    with pytest.raises(FloatingPointError, match=r"the loss was (nan|inf) at step 1"):
        train_all(plan, tmp_path)
    monkeypatch.setattr(trained, "_train_job", _refuse)
    models = train_all({key: plan[key] for key in "ab"}, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for key in "ab":
        alone = train(plan[key]).model
        torch.testing.assert_close(models[key].state_dict(), alone.state_dict(), rtol=1e-4, atol=1e-6)  # as above


def test_where_all_diverge_nothing_is_kept(tmp_path):
    with pytest.raises(FloatingPointError, match="2 of 2 models that were trained together diverged"):
        train_all({seed: config(seed).model_copy(update=LOST) for seed in (5, 6)}, tmp_path)
    assert not list(tmp_path.rglob("*.pt"))


def test_what_a_killed_process_has_kept_half_is_written_anew(tmp_path):
    plan = {"a": config(0), "b": config(1)}
    half = run_path(tmp_path, plan["a"])
    half.mkdir(parents=True)
    (half / "config.yaml").write_text(plan["a"].to_yaml())
    (half / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0, "lr": 9.0}\n')
    train_all(plan, tmp_path)
    for key in "ab":
        lines = (run_path(tmp_path, plan[key]) / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_runs_that_an_older_version_named_are_read_back(folder, tmp_path, monkeypatch):
    plan = {key: PLAN[key] for key in ("a", "gpt2", "c")}
    for key, config in plan.items():
        older = Path(shutil.copytree(run_path(folder, config), tmp_path / "runs" / f"older {key}"))
        stored = yaml.safe_load((older / "config.yaml").read_text())
        assert stored.pop("scale_loss") is False  # a version without this setting
        (older / "config.yaml").write_text(yaml.safe_dump(stored, sort_keys=False))
    looks = []
    glob = Path.glob
    monkeypatch.setattr(trained, "_train_job", _refuse)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: (looks.append(path), glob(path, pattern))[1])
    assert list(train_all(plan, tmp_path)) == list(plan)
    assert looks == [tmp_path / "runs"]
    assert run_path(tmp_path, PLAN["gpt2"]).name == "older gpt2"
    assert isinstance(trained_by(tmp_path, plan.values())["seconds_of_training"], float)
    with pytest.raises(AssertionError, match="1 configs were trained again"):  # the control: it has to mean the same
        train_all({"other": PLAN["a"].model_copy(update={"scale_loss": True})}, tmp_path)


def deaths(after: int, number: int) -> list[tuple[int, BaseException]]:
    return [(after, TerminatedWorkerError("a worker process was terminated")) for _ in range(number)]


def test_a_worker_that_dies_costs_only_its_jobs_restart(tmp_path, monkeypatch):
    taken, train_job = [], trained._train_job

    def noted(job, stop_file, *, device):
        taken.append(len(job))
        train_job(job, stop_file, device=device)

    monkeypatch.setattr(trained, "_train_job", noted)
    monkeypatch.setattr(joblib, "Parallel", FakeParallel)
    monkeypatch.setattr(FakeParallel, "deaths", deaths(0, 2))
    plan, done = {key: PLAN[key] for key in ("gpt2", "kept", "a", "b")}, []
    models = train_all(plan, tmp_path, workers=2, on_done=done.append)
    assert list(models) == list(plan)
    # The first job lost its worker twice; the others were done by then, which nobody told.
    assert (sorted(taken), sum(done)) == ([1, 1, 2], 4)


def test_where_workers_die_again_and_again_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(joblib, "Parallel", FakeParallel)
    monkeypatch.setattr(FakeParallel, "deaths", deaths(0, _ATTEMPTS))
    monkeypatch.setattr(trained, "_train_job", lambda *_, **__: None)
    message = "they died 3 times, perhaps for want of memory, and 3 runs are not finished; what was trained is kept: "
    with pytest.raises(ChildProcessError, match=message):
        train_all({key: PLAN[key] for key in ("gpt2", "a", "b")}, tmp_path, workers=2)


@pytest.mark.slow
def test_two_processes_train_the_same(folder, tmp_path):
    plan = {"a": PLAN["a"], "gpt2": PLAN["gpt2"]}
    here, there = train_all(plan, folder), train_all(plan, tmp_path, workers=2)
    for key in plan:
        torch.testing.assert_close(here[key].state_dict(), there[key].state_dict(), rtol=1e-4, atol=1e-6)  # as above


def test_what_training_took_is_added_up_once_a_run(folder):
    took = trained_by(folder, PLAN.values())["seconds_of_training"]
    manifests = [json.loads(path.read_text()) for path in folder.glob("runs/*/manifest.json")]
    assert len(manifests) == 5
    # Each manifest is rounded to a tenth of a second.
    assert took == pytest.approx(sum(manifest["seconds"] for manifest in manifests), abs=0.06)
    path = run_path(folder, PLAN["a"]) / "manifest.json"
    before = path.read_text()
    path.write_text(json.dumps({key: value for key, value in json.loads(before).items() if key != "seconds"}))
    assert trained_by(folder, PLAN.values())["seconds_of_training"] == "not recorded"
    path.write_text(before)


def test_damaged_runs_are_one_sentence_with_the_way_on(folder, tmp_path):
    path = run_path(shutil.copytree(folder, tmp_path / "copy"), PLAN["a"])
    last = path / "checkpoints" / "step_00000004.pt"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(ValueError, match=rf"step_00000004\.pt; .*, or remove the run folder {path}, which the same"):
        train_all({"a": PLAN["a"]}, tmp_path / "copy")
    (path / "manifest.json").write_bytes(b"")
    for ask in (train_all, lambda plan, where: trained_by(where, plan.values())):
        with pytest.raises(ValueError, match=r"got a damaged one: .*manifest\.json; remove it"):
            ask({"a": PLAN["a"]}, tmp_path / "copy")
