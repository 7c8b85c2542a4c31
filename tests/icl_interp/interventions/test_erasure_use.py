"""Erasure of a decodable quantity: planted where it is read, planted where nobody reads it, and in studies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from icl_interp.measure.erasure_use import ERASURE, erasure_use
from icl_interp.measure.errors import LIKENESS
from icl_interp.measure.linear_probes import PROBES
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.run import run_study
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors import gradient_descent
from icl_interp.prompts import Prompts
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.linear_regression import LinearRegression

PRE = "blocks.1.hook_resid_pre"
TASK = LinearRegression(n_dims=3, n_points=8)
FEW = {"n_prompts": 48, "n_random": 5, "n_controls": 2}


def length(prompts: Prompts) -> Tensor:
    return prompts.xs.norm(dim=2)


@pytest.fixture
def unread_model(planted_model: HookedModel) -> HookedModel:
    """Coordinate 6 holds the length of the input, which nobody reads."""

    def write(resid: Tensor, hook: object) -> Tensor:  # noqa: ARG001
        written = resid.clone()
        written[:, 0::2, 6] = resid[:, 0::2, :3].norm(dim=2)
        return written

    planted_model.add_hook("blocks.0.hook_resid_pre", write, is_permanent=True)
    return planted_model


def test_what_the_answer_is_read_from_is_used(planted_model: HookedModel) -> None:
    use = erasure_use(planted_model, TASK, "least squares", PRE, **FEW)
    assert use.verdict == "evidence"
    assert use.effect.before.value < 1e-6  # least squares without noise
    assert use.effect.after.value == pytest.approx(1.0, abs=0.4)  # the mean prediction is left
    assert use.r2 > 0.99 > 0.05 > use.r2_after
    assert (use.rank, use.hook, len(use.random), len(use.untrained)) == (1, PRE, 5, 2)
    assert 0 < use.removed < 1
    assert use.effect.distance_changes[use.target].low > 0.3
    assert use.target.startswith("least squares")
    assert repr(use).startswith(f"ErasureUse(evidence: {use.target}, R² 1.00 -> ")
    frame, figure = use.to_frame(), use.plot()
    assert list(frame["subspace"][[0, 1, 6]]) == ["erased target", "random 1", "untrained network 1"]
    np.testing.assert_array_equal(figure.data[2].x, [use.effect.change.value])
    assert len(frame) == sum(len(trace.x) for trace in figure.data) == 8


@pytest.mark.parametrize("given", ["a function", "an array"])
def test_what_is_decodable_and_unread_is_not_used(unread_model: HookedModel, given: str) -> None:
    prompts = TASK.sample(96, seed=3)
    target = length if given == "a function" else length(prompts).numpy()
    use = erasure_use(unread_model, TASK, target, PRE, prompts=prompts, **FEW)
    assert use.target == ("length" if given == "a function" else "the given target")
    assert use.r2 > 0.99 > 0.1 > use.r2_after
    assert use.effect.change.value < 0.05  # a rank-one change that finds the length touches the prediction a little
    assert use.verdict != "evidence"


def test_the_eraser_is_fitted_on_other_prompts(planted_model: HookedModel) -> None:
    prompts = TASK.sample(40, seed=1)
    own = erasure_use(planted_model, TASK, "least squares", PRE, prompts=prompts, n_random=2, n_controls=0)
    assert len(own.effect.changes) == 20
    # Prompts of the first half change the eraser, and leave errors before it as they are.
    other = Prompts(torch.cat([2 * prompts.xs[:20], prompts.xs[20:]]), torch.cat([-prompts.ys[:20], prompts.ys[20:]]))
    moved = erasure_use(planted_model, TASK, "least squares", PRE, prompts=other, n_random=2, n_controls=0)
    assert moved.effect.before == own.effect.before
    assert moved.effect.after != own.effect.after
    assert moved.verdict != "not applicable"


def test_a_model_that_answers_only_its_query_and_saved_prompts() -> None:
    model = build_model(ModelConfig(family="lsa", n_dims=2, n_points=6), seed=0)
    prompts = LinearRegression(n_dims=2, n_points=6).sample(60, seed=0)
    saved = FixedPrompts({"in distribution": (prompts.xs, prompts.ys)})
    use = erasure_use(model, saved, "least squares", "blocks.0.hook_resid_pre", n_prompts=30, n_random=2, n_controls=2)
    assert len(use.effect.changes) == 30


REFUSED = {
    "unknown": ("moments", "got 'moments': there are least squares"),
    "constant": (lambda prompts: 0 * prompts.ys + 1, "needs a target that varies: .*is the same everywhere"),
    "of other prompts": (torch.zeros(3, 8), r"return a tensor \[20, 8\], or with one axis more, got \[3, 8\]"),
}


@pytest.mark.parametrize(("target", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(planted_model: HookedModel, target: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        erasure_use(planted_model, TASK, target, PRE, n_prompts=10)


def test_needs_enough_prompts(planted_model: HookedModel) -> None:
    with pytest.raises(ValueError, match="at least 10 prompts, got 8"):
        erasure_use(planted_model, TASK, "least squares", PRE, prompts=TASK.sample(8, seed=0))


def test_a_study_erases_before_the_last_block(small_study) -> None:
    use, excess = small_study.erasure, small_study.verdicts["erasure"]
    assert use.hook == "blocks.0.hook_resid_post"
    assert use.target == small_study.likeness.nearest[0]
    assert excess.gate == f"a linear read-out of {use.target} at block 0"  # an untrained network holds no predictions
    assert (len(use.random), len(use.untrained)) == (20, 5)
    assert excess.value == use.effect.change.value


DESCENT, TRIED = gradient_descent(1, 0.5), {"n_prompts": 32, "n_controls": 4, "shifts": ["x_scale=3"]}


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_mid", "blocks.1.hook_resid_post"])
def test_a_study_erases_what_the_model_follows_and_judges_it_where_it_can_be_read(
    bare_model: HookedModel, hook: str
) -> None:
    """One step of gradient descent is planted before or after the place where a study erases."""

    def write(resid: Tensor, hook: object) -> Tensor:  # noqa: ARG001
        written = resid.clone()
        written[:, 0::2, 4] = DESCENT(resid[:, 0::2, :3].contiguous(), resid[:, 1::2, 0].contiguous())
        return written

    bare_model.add_hook(hook, write, is_permanent=True)
    plan = plan_study(bare_model, TASK, references={"mine": DESCENT}, **TRIED)
    found = run_study(replace(plan, measures=(LIKENESS, PROBES, ERASURE)))
    assert found.erasure.target == found.likeness.nearest[0] == "mine" != next(iter(found.probes.targets))
    assert found.verdicts["probe: mine"].verdict == "evidence"  # it can be read somewhere
    before = hook == "blocks.0.hook_resid_mid"
    assert found.verdicts["erasure"].gate == (None if before else "a linear read-out of mine at block 0")
    assert found.verdicts["erasure"].verdict == ("evidence" if before else "not applicable")
    assert (found.erasure.r2 > 0.9) is before


def erased(n_layers: int, *, trained_nothing: bool) -> str:
    """Why a study of a network does not erase; its weights may all be zero."""
    config = ModelConfig(n_dims=2, n_points=6, n_layers=n_layers, n_heads=1, d_model=8)
    model = build_model(config, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(not trained_nothing)
    plan = plan_study(model, LinearRegression(2), n_prompts=8, n_controls=0, shifts=["x_scale=3"])
    return run_study(replace(plan, measures=(ERASURE,))).absent["erasure"]


def test_a_study_says_why_it_erases_nothing() -> None:
    assert erased(1, trained_nothing=False).startswith("Nothing lies between the read-in and the last block")
    assert erased(2, trained_nothing=True).startswith("At block 0 nothing is correlated with the predictions of least")
