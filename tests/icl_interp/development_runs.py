"""Tiny runs whose development is followed: trained for a few steps, seconds in all."""

from pathlib import Path

import torch

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.measure.development.run import DevelopmentSettings, LlcSettings
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.task_pool import TaskPool
from icl_interp.training.run import train
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.train_config import TrainConfig

MODEL = ModelConfig(n_dims=2, n_points=4, n_layers=1, n_heads=2, d_model=8, d_mlp=8, tokens="separate")
FEW = DevelopmentSettings(n_prompts=32, n_pca_prompts=8, n_probe_prompts=16, n_controls=2)
SHORT = LlcSettings(checkpoints=2, num_chains=2, num_draws=6, num_burnin_steps=2, batch_size=8)
STEPS = (0, 2, 4, 6)


def make_run(out: Path, *, n_tasks: int | None = 2, seed: int = 0, **changes) -> Path:
    task = LinearRegression(2, noise_std=0.3, n_points=4)
    if n_tasks is not None:
        task = TaskPool(2, n_tasks, noise_std=0.3, n_points=4)
    fields = {"steps": 6, "batch_size": 16, "lr": 0.01, "checkpoints": CheckpointSteps(every=2), "eval_every": None}
    train(TrainConfig(model=MODEL, task=task, seed=seed, **(fields | changes)), out=out)
    return out


def enlarge(run: Path, step: int, pattern: str, factor: float) -> None:
    """Multiply weights of a checkpoint; they stay finite, so that the file can be read."""
    file = run / "checkpoints" / f"step_{step:08d}.pt"
    checkpoint = load_checkpoint(file)
    with torch.no_grad():
        for name, value in checkpoint.model.named_parameters():
            value.mul_(factor if pattern in name else 1.0)
    save_checkpoint(file, checkpoint.model, task=checkpoint.task, step=step)


def overflow(run: Path, step: int) -> None:
    """Let a checkpoint's activations leave float32 within the first block."""
    enlarge(run, step, "embed.W_E", 1e38)
