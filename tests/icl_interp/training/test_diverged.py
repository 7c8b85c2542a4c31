"""Divergence that no later step would see: in the last step, in a checkpoint, in an evaluation."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
import torch
from training_cases import TINY

from icl_interp import train
from icl_interp.cli.train_watch import _read_status
from icl_interp.training.evaluation import EvaluationRecord, Evaluator
from icl_interp.training.loop import Trainer
from icl_interp.training.schedules import CheckpointSteps


@pytest.mark.parametrize("steps", [1, 3])
def test_a_last_step_that_diverges_does_not_finish_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    # Every loss before the last step is that of a healthy model: the learning rate is thrown up after it.
    config = TINY.model_copy(update={"steps": steps, "checkpoints": CheckpointSteps(every=2), "optimizer": "sgd"})

    monkeypatch.setattr(
        "icl_interp.training.loop.learning_rate", lambda config, step: 1e15 if step == config.steps else 1e-3
    )
    message = rf"after the update .*at step {steps}.*; lower lr .*; the last good checkpoint is .*step_0000000"
    with pytest.raises(FloatingPointError, match=message):
        train(config, out=tmp_path)
    with pytest.raises(FloatingPointError, match=rf"after the update .*at step {steps}.*grad_clip\.$"):
        train(config)
    assert not (tmp_path / f"checkpoints/step_{steps:08d}.pt").exists()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["finished"] is False
    assert re.search(message.partition("; lower lr")[0], manifest["diverged"])
    clause = str(_read_status(tmp_path).ending())
    assert clause == f"diverged: {manifest['diverged'].rstrip('.')}"
    assert f"The run {clause}" in _read_status(tmp_path).sentences()


def test_a_session_that_goes_on_forgets_that_the_one_before_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TINY.model_copy(update={"checkpoints": CheckpointSteps(every=2), "optimizer": "sgd"})
    with monkeypatch.context() as patch:
        patch.setattr("icl_interp.training.loop.learning_rate", lambda _, step: 1e15 if step == 3 else 1e-3)
        with pytest.raises(FloatingPointError):
            train(config, out=tmp_path)
    assert "diverged" in json.loads((tmp_path / "manifest.json").read_text())
    train(config, out=tmp_path, resume=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["finished"] is True
    assert "diverged" not in manifest


def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TINY.model_copy(update={"steps": 6, "checkpoints": CheckpointSteps(every=2), "optimizer": "sgd"})
    monkeypatch.setattr("icl_interp.training.loop.learning_rate", lambda _, step: float("inf") if step == 4 else 1e-3)
    message = r"the weights were no longer finite after the update at step 4; .*; the last good checkpoint is .*02.pt; "
    with pytest.raises(FloatingPointError, match=message):
        train(config, out=tmp_path)
    assert sorted(path.name[-5:] for path in (tmp_path / "checkpoints").iterdir()) == ["00.pt", "02.pt"]


def test_an_evaluation_in_distribution_that_is_lost_ends_the_run(tmp_path: Path) -> None:
    class Lost(Evaluator):
        def __call__(self, model: object, *, step: int) -> EvaluationRecord:
            record = super().__call__(model, step=step)
            return dataclasses.replace(record, loss_per_point=(float("nan"), *record.loss_per_point[1:]))

    config = TINY.model_copy(update={"eval_every": 3, "eval_prompts": 4, "eval_shifts": ()})
    with pytest.raises(
        FloatingPointError, match=r"the loss of the evaluation was nan at step 3; lower lr .*; the last good"
    ):
        train(config, out=tmp_path, evaluator=Lost(config))
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_an_error_under_a_shift_that_is_not_finite_is_null_and_read_back(tmp_path: Path) -> None:
    class Wide(Evaluator):
        def __call__(self, model: object, *, step: int) -> EvaluationRecord:
            record = super().__call__(model, step=step)
            return dataclasses.replace(record, errors={**record.errors, "far": float("inf")})

    config = TINY.model_copy(update={"eval_every": 3, "eval_prompts": 4, "eval_shifts": ()})
    train(config, out=tmp_path, evaluator=Wide(config))
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in written]
    assert lines[2]["errors"]["far"] is None
    again = train(config, out=tmp_path, resume=True).evaluations[0]
    assert math.isnan(again.errors["far"])
    assert again.errors["in distribution"] == lines[2]["errors"]["in distribution"]


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16", "accumulate": 2}], ids=["plain", "bfloat16"])
def test_the_look_at_the_last_step_changes_nothing(monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    config = TINY.model_copy(update={"optimizer": "adamw", "weight_decay": 0.1, **changes})
    generator = torch.get_rng_state()
    looked = train(config)
    torch.testing.assert_close(torch.get_rng_state(), generator, rtol=0, atol=0)
    monkeypatch.setattr(Trainer, "_check_step", lambda _: None)
    plain = train(config)
    assert looked.history == plain.history
    for name, weight in plain.model.named_parameters():
        torch.testing.assert_close(looked.model.get_parameter(name), weight, rtol=0, atol=0)
