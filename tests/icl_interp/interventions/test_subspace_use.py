import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from icl_interp.interventions import Intervention, ablate_mlps, project_out
from icl_interp.interventions.replay import Replay
from icl_interp.measure.sites import Conventions
from icl_interp.measure.subspace_use import SignatureUse, intervention_effect, signature_use, subspace_use
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.linear_regression import LinearRegression

PRE, POST = "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"
TASK = LinearRegression(n_dims=3, n_points=8)
READ, LOUD = torch.eye(8)[:, 4:5], torch.eye(8)[:, 5:6]


def test_a_planted_necessary_direction_is_found(planted_model: HookedModel) -> None:
    use = subspace_use(planted_model, TASK, READ, PRE, n_prompts=64)
    assert use.verdict == "evidence"
    assert use.effect.before.value < 1e-6  # least squares without noise
    assert use.effect.after.value == pytest.approx(1.0, abs=0.3)  # zero is predicted: E[y^2] over 64 prompts
    assert use.p_value < 0.001
    away = use.effect.distance_changes
    name = next(name for name in away if name.startswith("least squares"))
    assert away[name].low > 0.3


def test_a_planted_unused_direction_is_not(planted_model: HookedModel) -> None:
    use = subspace_use(planted_model, TASK, LOUD, PRE, n_prompts=64)
    assert use.verdict not in ("evidence", "not applicable")
    assert use.effect.change.value == pytest.approx(0.0, abs=1e-6)
    assert use.energy > 0.5  # loud, and yet of no use
    assert repr(use).startswith(f"SubspaceUse({use.verdict}: rank 1 at ")
    assert len(use.to_frame()) == 21


def test_a_loud_constant_under_a_norm_is_not_used(normed_model: HookedModel) -> None:
    use = subspace_use(normed_model, TASK, LOUD, POST, n_prompts=64)
    assert use.effect.before.value < 0.01  # the scale of the norm moves a little with the prediction
    assert use.effect.change.value == pytest.approx(0.0, abs=1e-5)
    assert use.verdict not in ("evidence", "not applicable")
    assert use.varying == pytest.approx(0.0, abs=1e-6)
    # Set to zero it wrecks the scale, which is no use of it.
    assert use.to_zero.change.value > 10
    wrecked = subspace_use(normed_model, TASK, LOUD, POST, n_prompts=64, ablation="zero")
    assert wrecked.effect.change.value == use.to_zero.change.value
    assert (wrecked.ablation, use.ablation) == ("zero", "mean")


def test_what_is_read_under_a_norm_is_used(normed_model: HookedModel) -> None:
    read = (torch.eye(8)[:, 4:5] - torch.eye(8)[:, 7:8]) / 2**0.5  # the read-out's direction
    use = subspace_use(normed_model, TASK, read, POST, n_prompts=64)
    assert use.verdict == "evidence"
    assert use.effect.change.value > 0.5
    assert use.varying > 0.9


def test_without_random_subspaces_nothing_is_said(planted_model: HookedModel) -> None:
    assert subspace_use(planted_model, TASK, READ, PRE, n_prompts=16, n_random=0).verdict == "not applicable"


def test_an_untrained_network_that_is_harmed_as_much_takes_the_evidence_away(planted_model: HookedModel) -> None:
    use = subspace_use(planted_model, TASK, READ, PRE, n_prompts=32)
    assert use.verdict == "evidence"
    assert dataclasses.replace(use, untrained=(use.effect,)).verdict == "not applicable"
    alike = dataclasses.replace(use, untrained=(use.effect,) * 5)
    assert alike.excess().controls == (use.effect.change.value,) * 5
    assert alike.verdict != "evidence"


def test_a_verdict_needs_both_controls_whichever_its_sign(planted_model: HookedModel) -> None:
    use = subspace_use(planted_model, TASK, READ, PRE, n_prompts=32)
    harmless = subspace_use(planted_model, TASK, LOUD, PRE, n_prompts=32, n_random=1).effect
    beside = dataclasses.replace(use, untrained=(harmless,) * 5)
    both, random = beside.excess(4), beside.over_random(4)
    assert beside.verdict == both.verdict == "evidence"
    assert (both.low, both.p_value) == (min(random.low, beside.over_untrained(4).low), random.p_value)
    assert both.chance == random.control == pytest.approx(sum(e.change.value for e in use.random) / 20)
    # Half of the random subspaces do as much: their distribution reaches up to it, and untrained networks alone do not.
    as_much = dataclasses.replace(beside, random=(*use.random[:10], *(use.effect,) * 10))
    assert (as_much.over_untrained().verdict, as_much.over_random().verdict) == ("evidence", "inconclusive")
    assert as_much.verdict == "inconclusive"
    # One that does as much among twenty that do not is one of twenty, where their maximum forbade any evidence.
    assert dataclasses.replace(beside, random=(*use.random[1:], use.effect)).excess().high > 0
    # Less harm than either is the opposite; less than one and more than the other is neither.
    turned = dataclasses.replace(use, effect=harmless, random=(use.effect,) * 5, untrained=(use.effect,) * 5)
    assert (turned.verdict, turned.over_random().verdict) == ("opposite", "opposite")
    split = dataclasses.replace(turned, effect=use.random[0], untrained=(harmless,) * 5)
    assert (split.over_untrained().excess > 0, split.over_random().excess < 0) == (True, True)
    assert (split.verdict, split.excess().p_value) == ("inconclusive", 1.0)


def test_differences_are_paired_over_prompts(planted_model: HookedModel) -> None:
    use = subspace_use(planted_model, TASK, READ, PRE, n_prompts=32)
    shifted = dataclasses.replace(use.random[0], changes=use.effect.changes - 0.25)
    beside = dataclasses.replace(use, random=(shifted,) * 3)
    assert beside.over_random().sampling_variance == pytest.approx(0.0, abs=1e-20)


def test_the_signature_is_fitted_and_asked_about(planted_model: HookedModel) -> None:
    conventions = Conventions(tokens="all", center=False, side="right", k=1)
    use = signature_use(planted_model, TASK, PRE, conventions=conventions, n_prompts=32, n_random=5, n_controls=2)
    # The loudest direction is the one that nobody reads.
    assert use.verdict in ("negligible", "inconclusive")
    assert (use.rank, len(use.random), len(use.untrained)) == (1, 5, 2)
    assert use.effect.change.value == pytest.approx(0.0, abs=1e-3)  # the estimate of the loud axis leans a little


def test_each_network_is_run_untouched_once(planted_model: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Intervention | None] = []

    class Counted(Replay):
        def __init__(self, *args: Any) -> None:
            asked.append(None)
            super().__init__(*args)

        def under(self, intervention: Intervention) -> Tensor:
            asked.append(intervention)
            return super().under(intervention)

    monkeypatch.setattr("icl_interp.measure.subspace_use.Replay", Counted)
    signature_use(planted_model, TASK, PRE, n_prompts=8, n_random=3, n_controls=2)
    assert asked.count(None) == 3  # the model and two untrained networks
    assert len(asked) == 3 + 2 + 3 + 2  # at the mean, to zero, three random subspaces; each untrained network's own


@pytest.fixture
def two_sites(planted_model: HookedModel) -> SignatureUse:
    uses = {"before": PRE, "after": POST}
    made = {site: subspace_use(planted_model, TASK, READ, hook, n_prompts=32) for site, hook in uses.items()}
    harmless = subspace_use(planted_model, TASK, LOUD, PRE, n_prompts=32, n_random=1).effect
    return SignatureUse({site: dataclasses.replace(use, untrained=(harmless,) * 5) for site, use in made.items()})


def test_sites_share_the_level_of_one_claim(two_sites: SignatureUse) -> None:
    each = two_sites.excesses(3)
    assert [excess.level for excess in each.values()] == pytest.approx([0.05 / 6] * 2)
    assert each["before"] == two_sites.by_site["before"].excess(6)
    assert two_sites.excess(3) == each[two_sites.clearest(3)]
    assert two_sites.verdict == "evidence"
    assert repr(two_sites).startswith("SignatureUse(evidence, clearest at ")
    frame, figure = two_sites.to_frame(), two_sites.plot()
    assert list(frame["site"]) == ["before"] * 26 + ["after"] * 26
    assert len(frame) == sum(len(trace.x) for trace in figure.data)


def test_the_clearest_site_stands_for_all(two_sites: SignatureUse) -> None:
    used = two_sites.by_site["before"]
    harmless = dataclasses.replace(used, effect=used.untrained[0])
    doubtful = dataclasses.replace(used, random=(*used.random[:10], *(used.effect,) * 10))
    lacking = dataclasses.replace(used, untrained=())
    assert doubtful.verdict == "inconclusive"
    for others in ({"lacking": lacking}, {"doubtful": doubtful, "lacking": lacking}, {"harmless": harmless}):
        assert SignatureUse({**others, "used": used}).clearest() == "used"
    assert SignatureUse({"lacking": lacking, "doubtful": doubtful}).clearest() == "doubtful"
    assert SignatureUse({"lacking": lacking}).verdict == "not applicable"


def test_directions_over_positions_are_refused(planted_model: HookedModel) -> None:
    conventions = Conventions(tokens="all", center=False, side="left", k=1)
    with pytest.raises(ValueError, match="got side 'left'"):
        signature_use(planted_model, TASK, PRE, conventions=conventions, n_prompts=8)


def test_an_effect_is_the_difference_of_its_ends(planted_model: HookedModel) -> None:
    effect = intervention_effect(planted_model, TASK, project_out(0.0 * READ + READ, PRE), n_prompts=32)
    assert effect.change.value == pytest.approx(effect.after.value - effect.before.value)
    assert effect.changes.mean() == pytest.approx(effect.change.value)
    assert effect.to_frame()["quantity"][0] == "error"
    assert "error" in repr(effect)
    harmless = intervention_effect(planted_model, TASK, ablate_mlps([0, 1]), n_prompts=16)
    assert harmless.change.value == 0.0
