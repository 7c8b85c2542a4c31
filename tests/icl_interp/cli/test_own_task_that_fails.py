"""A task of the user's own that raises an error: the commands show their lines, and do not call it a fault of ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import icl_interp as icl
from icl_interp.cli.probe import _app as probe
from icl_interp.cli.train import _app as train
from icl_interp.errors import UserCodeError
from icl_interp.measure.development.jobs import CheckpointJob
from icl_interp.measure.development.settings import DevelopmentSettings
from icl_interp.tasks.base import Labels
from icl_interp.tasks.registry import TASKS, code_of, task_to_config

MODEL = icl.ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
SENTENCE = "the task Broken is your own code, and it raised IndexError: list index out of range."


class Broken(icl.LinearRegression):
    family: str = "broken"

    def draw_labels(self, xs: torch.Tensor, *, seed: int) -> Labels:  # noqa: ARG002
        return [][3]


@pytest.fixture
def task() -> Iterator[icl.Task]:
    icl.register_task(Broken)
    yield Broken(2)
    del TASKS["broken"]


@pytest.fixture
def checkpoint(tmp_path: Path, task: icl.Task) -> Path:
    return icl.save_checkpoint(tmp_path / "model.pt", icl.build_model(MODEL, seed=0), task=task)


def shows_their_lines(app: object, *arguments: object) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    *lines, last = result.stderr.splitlines()
    assert (result.exit_code, last) == (2, f"error: {SENTENCE}")
    assert lines[0].startswith("Traceback")
    assert __file__ in lines[1]
    assert sum("File " in line for line in lines) == 1


def test_icl_probe(tmp_path: Path, checkpoint: Path) -> None:
    shows_their_lines(probe, checkpoint, "--out", tmp_path / "report.html")


def test_icl_probe_of_a_run_tries_its_newest_checkpoint(tmp_path: Path, task: icl.Task) -> None:
    for step in (1, 2):
        path = tmp_path / "run" / "checkpoints" / f"step_{step:08d}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        icl.save_checkpoint(path, icl.build_model(MODEL, seed=0), task=task)
    shows_their_lines(probe, tmp_path / "run", "--out", tmp_path / "report.html")


def test_icl_train(tmp_path: Path, task: icl.Task) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(icl.TrainConfig(model=MODEL, task=task, steps=2, batch_size=4, eval_every=None).to_yaml())
    shows_their_lines(train, config, "--out", tmp_path / "run")


def test_a_checkpoint_of_a_timeline(tmp_path: Path, checkpoint: Path, task: icl.Task) -> None:
    job = CheckpointJob(checkpoint, 1, task, None, DevelopmentSettings(n_points=5), "0", tmp_path, tmp_path / "record")
    with pytest.raises(UserCodeError, match="the task Broken is your own code"):
        job.run()


def test_what_they_say_of_an_input_and_what_is_ours_stay_as_they_are(task: icl.Task) -> None:
    for ours in (icl.InputError("a sentence."), KeyError("a bug")):
        with pytest.raises(type(ours)) as caught, code_of(icl.LinearRegression(2)):
            raise ours
        assert caught.value is ours
    with pytest.raises(icl.InputError, match="at least one prompt"), code_of(task):
        task.sample(0, seed=0)
    with pytest.raises(KeyError), code_of(task):
        task_to_config({}["a bug of ours"])
