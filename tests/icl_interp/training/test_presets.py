"""Every preset starts, and learns something in its first hundred steps."""

import pytest
import torch

from icl_interp.training.batches import draw_batch
from icl_interp.training.config import load_config, preset_names
from icl_interp.training.loop import Trainer, prompt_loss


def loss_of(trainer: Trainer) -> float:
    """Mean over prompts like those of the first step, which training does not see."""
    config = trainer.config.model_copy(update={"seed": 1, "batch_size": 1024})
    prompts = draw_batch(config, 1)
    with torch.no_grad():
        return prompt_loss(trainer.model, prompts.xs, prompts.ys, config).item()


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_starts(name: str) -> None:
    trainer = Trainer(load_config(name, ["batch_size=2"]))
    assert trainer.advance().step == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_a_preset_learns_in_a_hundred_steps(name: str) -> None:
    trainer = Trainer(load_config(name))
    before = loss_of(trainer)
    for _ in range(100):
        trainer.advance()
    assert loss_of(trainer) < before
