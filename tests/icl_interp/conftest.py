"""Small studies that the tests of measures, report and command line share: each takes a second or two."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from dask_cluster import Cluster, started_cluster
from development_runs import FEW, SHORT, make_run
from torch import Tensor

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.development.run import Development, development
from icl_interp.measure.study.result import Study
from icl_interp.measure.study.run import study
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hook_names import hook_name
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors import least_squares
from icl_interp.tasks.linear_regression import LinearRegression

# --doctest-modules would import this file a second time, after a conftest.py of a folder that sorts before it.
collect_ignore = ["conftest.py"]

_CONFIG = ModelConfig(n_dims=3, n_points=10, n_layers=2, n_heads=2, d_model=16)
_TASK = LinearRegression(n_dims=3, n_points=8)
_SHIFTS = ("x_scale=3", "label_noise=1")
_LAST = hook_name("resid_post", -1, n_layers=_CONFIG.n_layers)

Reader = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    return _CONFIG


@pytest.fixture(scope="session")
def tiny_task() -> LinearRegression:
    return _TASK


@pytest.fixture(scope="session")
def tiny_model() -> HookedModel:
    """A network that never saw data."""
    return build_model(_CONFIG, seed=11)


def _planted(write: Reader) -> HookedModel:
    """A fresh network whose last block also writes `write(xs, ys)` [batch pos d_model] into the residual stream.

    The pairs are recovered from the read-in, so the plant depends on nothing but what the model is shown.
    """
    model = build_model(_CONFIG, seed=11)
    back = torch.linalg.pinv(model.embed.W_E.detach())
    seen: dict[str, Tensor] = {}

    def read(embedded: Tensor, hook: object) -> None:  # noqa: ARG001
        tokens = (embedded - model.embed.b_E) @ back
        seen["xs"], seen["ys"] = tokens[:, 0::2], tokens[:, 1::2, 0]

    def add(resid: Tensor, hook: object) -> Tensor:  # noqa: ARG001
        return resid + write(seen["xs"], seen["ys"])

    model.add_hook("hook_embed", read, is_permanent=True)
    model.add_hook(_LAST, add, is_permanent=True)
    return model


@pytest.fixture(scope="session")
def signing_model() -> HookedModel:
    """Writes along two fixed directions, much larger than all else, where labels are exactly linear in the inputs.

    That is the case in distribution and not under label noise, which untrained networks cannot tell.
    """
    generator = torch.Generator().manual_seed(5)
    directions = torch.linalg.qr(torch.randn(_CONFIG.d_model, 2, generator=generator)).Q.T
    stamp = 50 * torch.randn(_CONFIG.n_ctx, 2, generator=generator) @ directions

    def write(xs: Tensor, ys: Tensor) -> Tensor:
        weights = torch.linalg.lstsq(xs.double(), ys.double()[..., None]).solution
        residual = (xs.double() @ weights)[..., 0] - ys.double()
        linear = residual.square().mean(1) < 1e-6 * ys.double().square().mean(1)
        return linear[:, None, None] * stamp[: 2 * xs.shape[1]]

    return _planted(write)


@pytest.fixture(scope="session")
def solving_model() -> HookedModel:
    """Writes the least-squares prediction along the first axis at x tokens, louder than all else."""
    solve = least_squares()

    def write(xs: Tensor, ys: Tensor) -> Tensor:
        written = xs.new_zeros(len(xs), 2 * xs.shape[1], _CONFIG.d_model)
        written[:, 0::2, 0] = 100 * solve(xs.contiguous(), ys.contiguous())
        return written

    return _planted(write)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_model: HookedModel) -> Checkpoint:
    """The untrained network as a file of ours, read back."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.pt"
    return load_checkpoint(save_checkpoint(path, tiny_model, task=_TASK, step=7))


@pytest.fixture(scope="session")
def small_study(small_checkpoint: Checkpoint) -> Study:
    """An untrained network, with five untrained networks beside it."""
    return study(small_checkpoint.model, small_checkpoint.task, n_prompts=16, shifts=_SHIFTS, n_controls=5)


_UNCONTROLLED: dict[str, Any] = {"n_prompts": 16, "n_points": 10, "shifts": _SHIFTS, "n_controls": 0}


@pytest.fixture(scope="session")
def uncontrolled_study(small_checkpoint: Checkpoint) -> Study:
    """Controls switched off, and prompts longer than in training."""
    return study(small_checkpoint.model, small_checkpoint.task, **_UNCONTROLLED)


@pytest.fixture(scope="session")
def uncontrolled_study_again(small_checkpoint: Checkpoint) -> Study:
    """The same study once more, from the start."""
    return study(small_checkpoint.model, small_checkpoint.task, **_UNCONTROLLED)


@pytest.fixture(scope="session")
def signing_study(signing_model: HookedModel) -> Study:
    """The positive control of everything that speaks of signatures."""
    shifts = ["label_noise=1", "label_noise=2"]
    return study(signing_model, _TASK, n_prompts=32, shifts=shifts, layers=[-1], n_controls=10)


@pytest.fixture(scope="session")
def developed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run that nobody changes; the records of `developed` are kept in it."""
    return make_run(tmp_path_factory.mktemp("developed") / "run")


@pytest.fixture(scope="session")
def endless_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, without a pool of tasks."""
    return make_run(tmp_path_factory.mktemp("endless") / "run", n_tasks=None)


@pytest.fixture(scope="session")
def developed(developed_run: Path) -> Development:
    return development(developed_run, settings=FEW, llc=SHORT)


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Dask scheduler's address, and its two workers, which have imported the test file's NEEDED."""
    with started_cluster(tmp_path, needed=request.module.NEEDED) as started:
        yield started


@pytest.fixture(scope="session")
def dtsip_folder() -> Path:
    """A run folder that dtsip/in-context-learning wrote."""
    return Path(__file__).parents[1] / "data" / "dtsip_tiny"
