"""Networks with as little as there can be, through all measures: what cannot be measured is said, not raised."""

import pytest
import torch

from icl_interp import (
    LinearRegression,
    ModelConfig,
    algorithm_agreement,
    attention_patterns,
    attention_summary,
    build_model,
    detector_report,
    direct_contributions,
    erasure_use,
    error_curves,
    head_importance,
    induced_weights,
    intervention_effect,
    interventions,
    layer_readouts,
    layer_similarity,
    lens_map,
    linear_probes,
    ood_report,
    patching_map,
    signature_use,
    signature_view,
    spectral_signature,
    step_by_step,
    study,
    subspace_use,
    weight_views,
)
from icl_interp.measure.sites import Conventions
from icl_interp.models.hooked import HookedModel

NARROW = ModelConfig(n_dims=1, n_points=4, n_layers=1, n_heads=1, d_model=1)
TASK = LinearRegression(1, n_points=4)
HOOK = "blocks.0.hook_resid_post"
FEW = {"n_prompts": 8, "n_controls": 2}
ONE_SHIFT = {"shifts": ["x_scale=3"], **FEW}
AXIS = torch.eye(1)
MEASURES = {
    "ood_report": lambda model: ood_report(model, TASK, **ONE_SHIFT),
    "ood_report, left": lambda model: ood_report(model, TASK, side="left", **ONE_SHIFT),
    "detector_report": lambda model: detector_report(model, TASK, **ONE_SHIFT),
    "linear_probes": lambda model: linear_probes(model, TASK, **FEW),
    "layer_readouts": lambda model: layer_readouts(model, TASK, **FEW),
    "algorithm_agreement": lambda model: algorithm_agreement(model, TASK, n_prompts=8),
    "head_importance": lambda model: head_importance(model, TASK, n_orders=1, **FEW),
    "attention_summary": lambda model: attention_summary(model, TASK, **FEW),
    "direct_contributions": lambda model: direct_contributions(model, TASK, n_prompts=8),
    "patching_map": lambda model: patching_map(model, TASK, n_prompts=8),
    "weight_views": lambda model: weight_views(model, TASK),
    "signature_view": lambda model: signature_view(model, TASK, **ONE_SHIFT),
    "attention_patterns": lambda model: attention_patterns(model, TASK, n_prompts=1, n_points=1),
    "lens_map": lambda model: lens_map(model, TASK, n_prompts=8, n_points=2),
    "induced_weights": lambda model: induced_weights(model, TASK, n_prompts=1, n_points=2),
    "step_by_step": lambda model: step_by_step(model, TASK, n_points=1),
    "layer_similarity": lambda model: layer_similarity(model, TASK.sample(8, seed=0), n_controls=2),
    "signature_use": lambda model: signature_use(model, TASK, HOOK, n_random=2, **FEW),
    "subspace_use": lambda model: subspace_use(model, TASK, AXIS, HOOK, n_prompts=8, n_random=2),
    "erasure_use": lambda model: erasure_use(
        model, TASK, "least squares", HOOK, n_prompts=10, n_random=2, n_controls=2
    ),
    "intervention_effect": lambda model: intervention_effect(
        model, TASK, interventions.project_out(AXIS, HOOK), n_prompts=8
    ),
    "error_curves": lambda model: error_curves(model, TASK, shifts=["x_scale=3"], n_prompts=8),
}


@pytest.fixture(scope="module")
def narrow() -> HookedModel:
    return build_model(NARROW, seed=0)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_one_layer_one_head_one_dimension_and_width_one(measure, narrow: HookedModel) -> None:
    assert repr(measure(narrow))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("center", [False, True])
def test_a_signature_takes_all_the_directions_that_there_are(side: str, center: bool, narrow: HookedModel) -> None:
    result = spectral_signature(narrow, TASK.sample(8, seed=0), side=side, center=center, k=3, n_controls=2)
    assert result.signature.reference.shape == (1, 1 if side == "right" else 8)
    assert "k = 1 (3 asked for, no more exist)" in repr(result)
    if side == "right":
        torch.testing.assert_close(result.scores.overlap, torch.ones(4))
    assert list(result.to_frame()) == ["overlap", "ood_score", "alignment_1", "swap_ratio", "swapped"]


def test_given_activations_have_as_many_directions_as_their_shorter_side() -> None:
    rows = torch.randn(8, 2, 5, generator=torch.Generator().manual_seed(0))
    assert spectral_signature(rows, k=4).conventions == Conventions(k=2, k_asked=4)
    assert spectral_signature(rows, k=2).conventions == Conventions(k=2)
    assert spectral_signature(rows, k=4, tokens="x").conventions == Conventions(tokens="x", k=1, k_asked=4)
    with pytest.raises(ValueError, match="k of at least 1, got 0"):
        spectral_signature(rows, k=0)


def test_one_query_token_has_one_direction() -> None:
    model = build_model(ModelConfig(family="lsa", n_dims=2, n_points=4), seed=0)
    report = ood_report(model, LinearRegression(2, n_points=4), tokens="query", **ONE_SHIFT)
    assert (report.conventions.k, report.conventions.k_asked) == (1, 2)


def test_a_study_of_width_one_says_what_it_leaves_out(narrow: HookedModel) -> None:
    found = study(narrow, TASK, **ONE_SHIFT)
    assert found.conventions.k == 1
    assert found.use is None
    assert found.absent["use"].startswith("The stream is 1 wide and 1 direction spans it, so there is no")


def test_a_constant_model_goes_through_a_study() -> None:
    """Its read-out is zero, so it predicts one number; with all weights zero its stream does not vary either."""
    model = build_model(ModelConfig(n_dims=2, n_points=4, n_layers=1, n_heads=1, d_model=4), seed=0)
    for weights in ([model.unembed.W_U], list(model.parameters())):
        with torch.no_grad():
            for weight in weights:
                weight.zero_()
        found = study(model, LinearRegression(2, n_points=4), shifts=["x_scale=3"], **FEW)
        assert found.verdicts["in-context learning"].value == 0.0
        assert found.verdicts["algorithm"].verdict != "evidence"
