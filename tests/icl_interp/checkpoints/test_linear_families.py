from pathlib import Path

import pytest
import torch

from icl_interp import LinearRegression, ModelConfig, build_model, load_checkpoint, save_checkpoint
from icl_interp.errors import CheckpointError

CONFIGS = {
    "lsa": ModelConfig(family="lsa", n_dims=3, n_points=7, n_layers=2, n_heads=2, d_head=2, output_sign=-1),
    "shared": ModelConfig(family="lsa", n_dims=3, n_points=7, n_layers=3, share_layers=True, normalise="sum"),
    "lsa of others": ModelConfig(
        family="lsa", n_dims=3, n_points=7, d_position=4, answer_channel=7, mask_query=False, normalise="tokens"
    ),
    "ltb": ModelConfig(family="ltb", n_dims=3, n_points=7, normalise="fixed", normalise_by=6),
    "softmax layer": ModelConfig(family="softmax_layer", n_dims=3, n_points=7, init="normal"),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_model_comes_back_from_its_file(tmp_path: Path, config: ModelConfig) -> None:
    model, task = build_model(config, seed=3), LinearRegression(3, n_points=7, w_mean=1.0)
    checkpoint = load_checkpoint(save_checkpoint(tmp_path / "model.pt", model, task=task, step=5))
    assert type(checkpoint.model) is type(model)
    assert checkpoint.model.cfg == config
    assert (checkpoint.task, checkpoint.step, checkpoint.n_points_trained) == (task, 5, 7)
    prompts = task.sample(4, seed=0)
    expected = model(prompts.xs, prompts.ys)
    torch.testing.assert_close(checkpoint.model(prompts.xs, prompts.ys), expected, rtol=0, atol=0)
    # A model without a position table may be asked for more points than it was trained on.
    longer = load_checkpoint(tmp_path / "model.pt", task={"n_points": 12})
    assert longer.task.default_points == 12


def test_the_blocks_of_shared_layers_are_counted(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "model.pt", build_model(CONFIGS["shared"], seed=0))
    contents = torch.load(path, weights_only=True)
    contents["weights"]["blocks.1.attn.W_Q"] = contents["weights"]["blocks.0.attn.W_Q"]
    torch.save(contents, path)
    with pytest.raises(CheckpointError, match=r"weights need one block, shared by the n_layers=3 .* got 2"):
        load_checkpoint(path)
