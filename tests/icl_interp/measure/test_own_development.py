"""Shifts and references of the user's own over training: in curves, in the cache's keys, in workers."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from development_runs import FEW, make_run

import icl_interp as icl
from icl_interp.predictors import ridge
from icl_interp.report.chapters.timeline import chapter


def mine(xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    return 0.5 * ridge(3.0)(xs, ys)


def other(xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    return 0.25 * ridge(3.0)(xs, ys)


class Turned:
    """The signs of all inputs turned, labels with them."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> icl.Prompts:
        xs = self.task.sample(n_prompts, n_points, seed=seed).xs
        return self.task.prompts_at(-xs, seed=seed)


TURNED = icl.Shift("turned", (), "inputs", "inputs with the other sign", lambda task, _: Turned(task))
OWN: dict[str, Any] = {"settings": FEW, "llc": None, "shifts": [TURNED, "x_scale=3"], "references": {"mine": mine}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("own") / "run")


@pytest.fixture(scope="module")
def found(run: Path) -> icl.Development:
    return icl.development(run, **OWN)


@pytest.fixture
def registered() -> Iterator[None]:
    icl.register_reference(mine)
    yield
    del icl.REFERENCES["mine"]


def test_they_are_in_every_curve(found: icl.Development) -> None:
    (one,) = found.runs
    assert list(one.records[0].losses) == ["in distribution", "x_scale=3", "turned"]
    assert one.ood_family == "x_scale=3"
    assert one.fresh_family is None  # the pool's fresh weights were not asked for
    for family in ("in distribution", "turned"):
        assert "mine" in one.reference_losses[family]
        assert one.distances("mine", family=family).shape == (4,)
    assert any("mine" in probes for probes in one.records[0].probe_r2.values())
    assert "mine" in found.trajectory.landmarks
    assert '"turned"' in found.to_json()
    assert chapter(found) is not None


def test_records_are_found_by_what_the_parts_say(run: Path, found: icl.Development) -> None:
    def renamed(xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        return mine(xs, ys)

    folder = run / "development"
    records = {path: path.stat().st_mtime_ns for path in folder.glob("*.pt")}
    again = icl.development(run, **{**OWN, "references": {"mine": renamed}})
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.pt")} == records
    assert again.to_json() == found.to_json()
    elsewhere = icl.development(run, **{**OWN, "references": {"mine": other}})
    assert len(list(folder.glob("*.pt"))) == 2 * len(records)
    assert not torch.equal(elsewhere.runs[0].distances("mine"), found.runs[0].distances("mine"))
    plain = icl.development(run, settings=FEW, llc=None)
    assert "mine" not in plain.runs[0].reference_losses["in distribution"]
    assert plain.runs[0].ood_family == "w_fresh"


@pytest.mark.usefixtures("registered")
def test_a_registered_reference_is_asked_here_and_in_workers(run: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(run, tmp_path / name / "run")) for name in ("here", "there")]
    for copy in copies:
        shutil.rmtree(copy / "development", ignore_errors=True)
    here = icl.development(copies[0], settings=FEW, llc=None)
    there = icl.development(copies[1], settings=FEW, llc=None, workers=2)
    assert "mine" in here.runs[0].reference_losses["in distribution"]
    assert there.to_json() == here.to_json()


def test_what_cannot_be_followed(run: Path, tiny_model: Any) -> None:
    with pytest.raises(icl.InputError, match="development needs a shifted family, got none"):
        icl.development(run, settings=FEW, llc=None, shifts=["standard"])
    with pytest.raises(icl.InputError, match="development needs paths of run folders or checkpoint files, got"):
        icl.development(tiny_model)
