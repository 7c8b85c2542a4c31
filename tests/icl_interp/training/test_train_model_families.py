"""Runs of every model family are saved, read back and resumed."""

from pathlib import Path

import pytest
import torch
from training_cases import TINY, assert_same_runs

from icl_interp import ModelConfig, TrainConfig, load_checkpoint, train
from icl_interp.training.loop import StepRecord
from icl_interp.training.schedules import CheckpointSteps

SMALL = {"n_layers": 1, "n_heads": 1, "d_model": 4}
FAMILIES = {
    "lsa": {"family": "lsa"},
    "two shared layers of ltb": {"family": "ltb", "n_layers": 2, "share_layers": True},
    "softmax layer": {"family": "softmax_layer"},
    "joint tokens": {**SMALL, "tokens": "joint", "attention": "full", "mask_query": True},
    "pinned, separate tokens": {**SMALL, "tokens": "separate", "read_out": "pinned"},
    "as timaeus": {
        **SMALL, "tokens": "separate", "doubled_residual": True, "attn_out_proj": False, "d_out": 3, "act_fn": "relu",
    },
}  # fmt: skip


@pytest.mark.parametrize("fields", FAMILIES.values(), ids=FAMILIES)
def test_a_run_that_stops_goes_on_to_the_same_bits(tmp_path: Path, fields: dict[str, object]) -> None:
    config = TrainConfig(**{
        **TINY.model_dump(exclude={"model", "loss_points"}),
        "model": ModelConfig(n_dims=2, n_points=5, **fields), "loss_points": "last", "steps": 6, "eval_every": None,
        "checkpoints": CheckpointSteps(every=2),
    })  # fmt: skip

    def stop_at_three(record: StepRecord) -> None:
        if record.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path / "stopped", on_step=stop_at_three)
    result = train(config, out=tmp_path / "stopped", resume=True)
    train(config, out=tmp_path / "undisturbed")
    assert_same_runs(tmp_path / "stopped", tmp_path / "undisturbed")
    loaded = load_checkpoint(result.checkpoint)
    assert (loaded.model.cfg, loaded.task, loaded.step) == (config.model, config.task, 6)
    for name, weight in result.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], weight, rtol=0, atol=0)
