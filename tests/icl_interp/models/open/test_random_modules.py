"""Modules at random go through the whole study, and their report and JSON are written."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from random_modules import sketch, task_for, wrapped

import icl_interp as icl
from icl_interp.models.architecture import NO_SITES
from icl_interp.report.assemble import build_page
from icl_interp.report.numbers import study_json
from icl_interp.report.page import render

N_QUICK, N_ALL = 6, 300
OF_THE_STREAM = {"survey", "ood", "detectors", "similarity", "readouts", "probes", "use"}
"""Measures of the stream."""


def go_through(seed: int, *, path: Path = Path(__file__)) -> Any:
    of = sketch(seed)
    model, task = wrapped(of, seed=seed), task_for(of)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of estimates from so few prompts
        checkpoint = icl.load_checkpoint(path, loader=lambda _: model, task=task)
        found = icl.study(checkpoint.model, task, n_prompts=8, shifts=["x_scale=3", "label_noise=1"], n_controls=2)
        page = render(build_page(found, checkpoint, {}))
    numbers = json.loads(study_json(found, checkpoint, {}))
    assert (NO_SITES in page) == (of.sites == "none")
    assert "NaN" not in json.dumps(numbers)
    assert len(found.untrained) == (2 if of.make == "fresh" else 0)
    assert {"errors", "likeness", "agreement"}.isdisjoint(found.absent)
    assert all(found.absent.get(name) == NO_SITES for name in OF_THE_STREAM) == (of.sites == "none")
    assert {claim.name for claim in found.claims} >= {"in-context learning", "under shift", "algorithm"}
    assert set(found.verdicts) <= {claim.name for claim in found.claims}
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())
    said = model(*(task.sample(3, seed=1).xs, task.sample(3, seed=1).ys))
    assert said.shape == (3, of.n_points)
    assert torch.isfinite(said).all()
    return found


@pytest.mark.parametrize("seed", range(N_QUICK))
def test_a_module_at_random(seed: int) -> None:
    go_through(seed)


@pytest.mark.slow  # half an hour
@pytest.mark.parametrize("seed", range(N_QUICK, N_ALL))
def test_more_modules_at_random(seed: int) -> None:
    go_through(seed)
