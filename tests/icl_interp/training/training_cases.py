"""What the tests of runs share: a tiny run, and how runs are compared."""

from pathlib import Path

import torch

from icl_interp import LinearRegression, ModelConfig, TrainConfig
from icl_interp.training.schedules import CheckpointSteps

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
TINY = TrainConfig(
    model=MODEL, task=LinearRegression(2), steps=12, batch_size=4, lr=0.01, checkpoints=CheckpointSteps(every=5)
)


def assert_same_tensors(actual: object, expected: object) -> None:
    """Compare nested data bit for bit."""
    if isinstance(expected, dict):
        assert set(actual) == set(expected)
        for key, value in expected.items():
            assert_same_tensors(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_tensors(one, other)
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    else:
        assert actual == expected


def assert_same_runs(actual: Path, expected: Path) -> None:
    """Compare everything that two folders of one config hold, apart from wall time and circumstances."""
    assert (actual / "config.yaml").read_bytes() == (expected / "config.yaml").read_bytes()
    assert (actual / "metrics.jsonl").read_text() == (expected / "metrics.jsonl").read_text()
    names = sorted(path.name for path in (expected / "checkpoints").iterdir())
    assert sorted(path.name for path in (actual / "checkpoints").iterdir()) == names
    for name in ("resume.pt", *(f"checkpoints/{name}" for name in names)):
        one, other = (torch.load(folder / name, weights_only=True) for folder in (actual, expected))
        for contents in (one, other):
            contents.pop("seconds", None)
        assert_same_tensors(one, other)
