"""What the tests of checkpoints share: a run folder of dtsip/in-context-learning and a small own model."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel

_SHARED = Path("shared", "data", "foreign")
_DTSIP = Path(__file__).parents[2] / "data" / "dtsip_tiny"


@pytest.fixture
def dtsip() -> Path:
    return _DTSIP


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that a test may change: config.yaml and state.pt."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.yaml", "state.pt"):
        shutil.copyfile(_DTSIP / name, folder / name)
    return folder


@pytest.fixture
def state() -> dict[str, Any]:
    """The contents of state.pt."""
    return torch.load(_DTSIP / "state.pt", weights_only=True)


@pytest.fixture
def small_model() -> HookedModel:
    return build_model(ModelConfig(n_dims=3, n_points=9, n_layers=2, n_heads=2, d_model=8), seed=0)


@pytest.fixture
def foreign() -> Path:
    """Model files that other people wrote; their licences keep them out of this repository."""
    for place in Path(__file__).resolve().parents:
        if (place / _SHARED).is_dir():
            return place / _SHARED
    pytest.skip("the model files of other people are not beside this checkout (shared/data/foreign)")
