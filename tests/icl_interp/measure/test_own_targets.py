"""Probe targets of the user's own: as the built-in ones they repeat, and looked at."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import icl_interp as icl
from icl_interp.errors import UserCodeError
from icl_interp.predictors import least_squares
from probes.targets import moment_vector

FEW: dict[str, Any] = {"layers": [], "n_prompts": 24, "n_controls": 1}


def solved(prompts: icl.Prompts) -> torch.Tensor:
    return least_squares()(prompts.xs, prompts.ys)


def moments(prompts: icl.Prompts) -> torch.Tensor:
    return moment_vector(prompts.xs, prompts.ys, normalise="mean")


def constant(prompts: icl.Prompts) -> torch.Tensor:
    return torch.full_like(prompts.ys, 3.0)


def half_constant(prompts: icl.Prompts) -> torch.Tensor:
    return torch.stack([prompts.ys, torch.ones_like(prompts.ys)], dim=2)


OWN = {"solved": solved, "moments": moments, "constant": constant, "half": half_constant}


@pytest.fixture
def registered() -> Iterator[None]:
    icl.register_target(solved)
    yield
    del icl.TARGETS["solved"]


def test_one_that_repeats_a_built_in_one_has_its_numbers(tiny_model: Any, tiny_task: icl.Task) -> None:
    report = icl.linear_probes(tiny_model, tiny_task, targets=OWN, **FEW)
    for own, name in {"solved": "least squares = ridge = Bayes", "moments": "moment vector"}.items():
        # The same columns are fitted twice; only the shuffle and the control task draw anew.
        torch.testing.assert_close(report.r2(own), report.r2(name))
        torch.testing.assert_close(report.untrained_r2(own), report.untrained_r2(name))
    assert report.left_out["constant"] == "constant is the same everywhere, so there is nothing to decode"
    assert report.left_out["half"] == "half: a coordinate is the same everywhere, so there is nothing to decode"


def test_those_of_the_task_stay_as_they_were(tiny_model: Any, tiny_task: icl.Task) -> None:
    alone, beside = (icl.linear_probes(tiny_model, tiny_task, targets=own, **FEW) for own in (None, OWN))
    assert beside.targets == (*alone.targets, "solved", "moments")
    for name in alone.targets:
        torch.testing.assert_close(beside.r2(name), alone.r2(name))


def test_a_study_claims_them_as_well(small_checkpoint: Any) -> None:
    from icl_interp.report.chapters.probes import chapter
    from icl_interp.report.numbers import study_json

    asked: dict[str, Any] = {"shifts": ["x_scale=3"], "layers": [], "n_prompts": 8, "n_controls": 2}
    found = icl.study(small_checkpoint.model, small_checkpoint.task, targets=OWN, **asked)
    assert {"probe: solved", "probe: moments"} <= set(found.verdicts)
    assert "constant" in found.probes.left_out
    assert '"solved"' in study_json(found, small_checkpoint, {})
    assert any("solved" in row for table in chapter(found).section.tables for row in table.rows)


@pytest.mark.usefixtures("registered")
def test_a_registered_one_is_always_sought(tiny_model: Any, tiny_task: icl.Task) -> None:
    assert "solved" in icl.linear_probes(tiny_model, tiny_task, **FEW).targets
    assert icl.register_target(solved) is solved
    with pytest.raises(icl.InputError, match="a name that no other target has, got 'solved' in"):
        icl.register_target(moments, name="solved")


@pytest.mark.parametrize(
    ("f", "sentence"),
    [
        (lambda _: 3, r"the target 'mine' needs to return a tensor \[24, 8\], or with one axis more, got int"),
        (lambda p: p.ys[:, 1:], r"\[24, 8\], or with one axis more, got \[24, 7\] in torch.float32"),
        (lambda p: p.xs[..., None], r"\[24, 8\], or with one axis more, got \[24, 8, 3, 1\] in torch.float32"),
        (lambda p: p.ys / 0, "got NaN or infinity in it after the first point"),
        (lambda: 3, r"the target 'mine' needs a function that is called f\(prompts\), got"),
    ],
    ids=["a number", "shape", "axes", "infinity", "signature"],
)
def test_what_it_gives_is_looked_at(f: Any, sentence: str, tiny_model: Any, tiny_task: icl.Task) -> None:
    with pytest.raises(icl.InputError, match=sentence):
        icl.linear_probes(tiny_model, tiny_task, targets={"mine": f}, **FEW)


@pytest.mark.parametrize("name", ["least squares", "ridge", "moment vector", "zero"])
def test_names_are_unique(name: str, tiny_model: Any, tiny_task: icl.Task) -> None:
    with pytest.raises(icl.InputError, match=f"targets need names that no other target has, got '{name}'"):
        icl.linear_probes(tiny_model, tiny_task, targets={name: solved}, **FEW)


def test_what_it_raises_is_theirs(tiny_model: Any, tiny_task: icl.Task) -> None:
    with pytest.raises(UserCodeError, match="the target 'mine' is your own code, and it raised AttributeError"):
        icl.linear_probes(tiny_model, tiny_task, targets={"mine": lambda p: p.nothing}, **FEW)


def test_infinity_at_the_first_point_is_not_probed(tiny_model: Any, tiny_task: icl.Task) -> None:
    def mean_label(prompts: icl.Prompts) -> Any:
        counts = torch.arange(prompts.n_points)
        return ((prompts.ys.cumsum(1) - prompts.ys).double() / counts).numpy()  # 0 / 0 at the first; float64, an array

    assert "mine" in icl.linear_probes(tiny_model, tiny_task, targets={"mine": mean_label}, **FEW).targets
