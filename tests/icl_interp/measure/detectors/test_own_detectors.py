"""Detectors of the user's own: as good as the built-in ones they repeat, and looked at."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import icl_interp as icl
from icl_interp.errors import UserCodeError
from icl_interp.measure.detectors.report import DETECTORS
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.result import Study
from icl_interp.measure.study.run import run_study
from probes.ood import fit_gram, fit_mahalanobis, fit_nearest_neighbors

FEW: dict[str, Any] = {"shifts": ["x_scale=3"], "n_prompts": 16, "n_controls": 2}


def ten_neighbours(features: torch.Tensor) -> Any:
    return fit_nearest_neighbors(features, k=10, seed=0)


def gram(activations: torch.Tensor) -> Any:
    return fit_gram([activations])


OWN = {"mine": fit_mahalanobis, "ten": ten_neighbours, "matrices": icl.Detector(gram, takes="activations")}
BUILT_IN = {"mine": "Mahalanobis", "ten": "kNN", "matrices": "Gram ranges"}


@pytest.fixture
def registered() -> Iterator[None]:
    icl.register_detector(ten_neighbours)
    yield
    del icl.DETECTORS["ten_neighbours"]


@pytest.fixture(scope="module")
def of_study(small_checkpoint: Any) -> Study:
    plan = plan_study(small_checkpoint.model, small_checkpoint.task, detectors=OWN, layers=[], **FEW)
    return run_study(replace(plan, measures=(DETECTORS,)))


@pytest.mark.parametrize("measure", ["detector_report", "study"])
def test_one_that_repeats_a_built_in_one_has_its_numbers(
    measure: str, of_study: Study, tiny_model: Any, tiny_task: icl.Task
) -> None:
    reports = {
        "detector_report": lambda: icl.detector_report(tiny_model, tiny_task, detectors=OWN, **FEW),
        "study": lambda: of_study.detectors,
    }
    report = reports[measure]()
    for own, name in BUILT_IN.items():
        mine, ours = report.detectors[own], report.detectors[name]
        assert mine.reads == "hidden states"
        assert mine.shifts["x_scale=3"].auroc == ours.shifts["x_scale=3"].auroc
        assert mine.untrained == ours.untrained
        assert mine.excess == ours.excess
        assert (mine.correlation, mine.aurc) == (ours.correlation, ours.aurc)
    assert set(OWN) <= set(report.to_frame().index.get_level_values("detector"))


def test_they_are_in_the_report_and_in_the_json(of_study: Study, small_checkpoint: Any) -> None:
    from icl_interp.report.chapters.detectors import chapter, details
    from icl_interp.report.numbers import study_json

    assert "mine" in study_json(of_study, small_checkpoint, {})
    pages = [part.section for part in (chapter(of_study), details(of_study))]
    assert any("mine" in row for page in pages for view in page.figures for row in view.data.rows)
    assert any("mine" in row for table in pages[1].tables for row in table.rows)


@pytest.mark.usefixtures("registered")
def test_a_registered_one_joins_every_report(tiny_model: Any, tiny_task: icl.Task) -> None:
    report = icl.detector_report(tiny_model, tiny_task, **{**FEW, "n_controls": 0})
    assert report.detectors["ten_neighbours"].mean == report.detectors["kNN"].mean
    assert icl.register_detector(ten_neighbours) is ten_neighbours
    with pytest.raises(icl.InputError, match="a name that no other detector has, got 'ten_neighbours' in"):
        icl.register_detector(gram, name="ten_neighbours")
    for given in ({"kNN": ten_neighbours}, {"‖X‖": ten_neighbours}, {"ten_neighbours": gram}):
        with pytest.raises(icl.InputError, match="detectors need names that no other detector has, got"):
            icl.detector_report(tiny_model, tiny_task, detectors=given, **FEW)
    with pytest.raises(icl.InputError, match="register_detector needs a name for tables and files, got '<lambda>'"):
        icl.register_detector(lambda features: fit_mahalanobis(features))


class Says:
    def __init__(self, said: Any) -> None:
        self.said = said

    def score(self, features: torch.Tensor) -> Any:
        return self.said(features)


@pytest.mark.parametrize(
    ("fit", "sentence"),
    [
        (lambda _: 3, "the detector 'mine' needs fit to return an object with a method score, got int"),
        (lambda _: Says(lambda _: 0.5), r"needs score to return one finite number per prompt, \[32\], got float"),
        (lambda _: Says(lambda f: f), r"one finite number per prompt, \[32\], got \[32, 16\] in torch.float32"),
        (lambda _: Says(lambda f: f[:, 0] / 0 * 0), r"per prompt, \[32\], got 32 that are NaN or infinite"),
        (lambda: 3, r"the detector 'mine' needs a function that is called f\(features\), got .*\(\)"),
    ],
    ids=["no score", "a number", "shape", "NaN", "signature"],
)
def test_what_it_gives_is_looked_at(fit: Any, sentence: str, tiny_model: Any, tiny_task: icl.Task) -> None:
    with pytest.raises(icl.InputError, match=sentence):
        icl.detector_report(tiny_model, tiny_task, detectors={"mine": fit}, **FEW)


@pytest.mark.parametrize("fit", [lambda features: features[10**9], lambda _: Says(lambda f: f.nothing)])
def test_what_it_raises_is_theirs(fit: Any, tiny_model: Any, tiny_task: icl.Task) -> None:
    with pytest.raises(UserCodeError, match="the detector 'mine' is your own code, and it raised") as caught:
        icl.detector_report(tiny_model, tiny_task, detectors={"mine": fit}, **FEW)
    assert __file__ in caught.value.traceback


def test_what_it_refuses_is_left_out_as_built_in_ones_are(tiny_model: Any, tiny_task: icl.Task) -> None:
    def refuse(_: torch.Tensor) -> Any:
        raise icl.InputError("this one needs a larger network.")

    report = icl.detector_report(tiny_model, tiny_task, detectors={"mine": refuse}, **{**FEW, "n_controls": 0})
    assert "mine" not in report.detectors
    assert report.left_out["mine"] == "this one needs a larger network."


def test_scores_of_numpy_and_whole_numbers_are_numbers(tiny_model: Any, tiny_task: icl.Task) -> None:
    own = {
        "array": lambda _: Says(lambda f: f.norm(dim=1).numpy()),
        "tensor": lambda _: Says(lambda f: f.norm(dim=1)),
        "whole": lambda _: Says(lambda f: f.norm(dim=1).argsort().argsort()),
    }
    report = icl.detector_report(tiny_model, tiny_task, detectors=own, **{**FEW, "n_controls": 0})
    assert report.detectors["array"].mean == report.detectors["tensor"].mean == report.detectors["whole"].mean
