"""Networks of bfloat16 and float16 through the public measures: finite numbers near those of float32."""

import pytest
import torch
from development_runs import SHORT, make_run

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
    interventions,
    layer_readouts,
    layer_similarity,
    lens_map,
    linear_probes,
    load_checkpoint,
    ood_report,
    signature_use,
    signature_view,
    spectral_signature,
    step_by_step,
    study,
    subspace_use,
    weight_views,
)
from icl_interp.interventions import mean_activations
from icl_interp.measure.development.llc import checkpoint_llc
from icl_interp.models.hooked import HookedModel

HALVES = (torch.bfloat16, torch.float16)
TASK = LinearRegression(2, n_points=5)
HOOK = "blocks.0.hook_resid_post"
FEW = {"n_prompts": 16, "n_controls": 1}
CONFIGS = {
    "gpt2": ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8),
    "lsa": ModelConfig(family="lsa", n_dims=2, n_points=5),
    "ltb": ModelConfig(family="ltb", n_dims=2, n_points=5),
    "softmax_layer": ModelConfig(family="softmax_layer", n_dims=2, n_points=5, init="normal"),
}
PLANE = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(0))).Q
# One number of each measure; rounding to 8 bits moves those that are fitted on 16 prompts by up to a tenth.
MEASURES = {
    "spectral_signature": lambda m: spectral_signature(m, TASK.sample(16, seed=0), n_controls=1).scores.overlap.mean(),
    "linear_probes": lambda m: linear_probes(m, TASK, **FEW).probes["block 0"].r2.max(),
    "layer_readouts": lambda m: layer_readouts(m, TASK, **FEW).errors[0].value,
    "algorithm_agreement": lambda m: algorithm_agreement(m, TASK, n_prompts=16).to_frame()["value"].iloc[0],
    "head_importance": lambda m: head_importance(m, TASK, n_orders=1, **FEW).importance.increase.sum(),
    "attention_summary": lambda m: attention_summary(m, TASK, **FEW).layers[0].entropy.values.mean(),
    "direct_contributions": lambda m: direct_contributions(m, TASK, n_prompts=16).share("read-in").value,
    "weight_views": lambda m: weight_views(m, TASK).heads[0].qk_identity,
    "signature_view": lambda m: signature_view(m, TASK, shifts=["x_scale=3"], **FEW).overlaps["x_scale=3"].value,
    "attention_patterns": lambda m: attention_patterns(m, TASK, n_prompts=4).scores["copy"].sum(),
    "lens_map": lambda m: lens_map(m, TASK, n_prompts=16).errors[0, 0],
    "induced_weights": lambda m: induced_weights(m, TASK, n_prompts=4).distance(),
    "step_by_step": lambda m: step_by_step(m, TASK).norms.mean(),
    "layer_similarity": lambda m: layer_similarity(m, TASK.sample(16, seed=0), n_controls=1).cka[0, 1],
    "signature_use": lambda m: signature_use(m, TASK, HOOK, n_random=2, **FEW).effect.change.value,
    "subspace_use": lambda m: subspace_use(m, TASK, PLANE, HOOK, n_prompts=16, n_random=2).effect.change.value,
    "erasure_use": lambda m: erasure_use(m, TASK, "least squares", HOOK, n_random=2, **FEW).effect.change.value,
    "error_curves": lambda m: (
        error_curves(m, TASK, shifts=["x_scale=3"], n_prompts=16).in_distribution.curves["model"].late.value
    ),
}


@pytest.fixture(scope="module")
def wide() -> HookedModel:
    return build_model(CONFIGS["gpt2"], seed=0)


def halved(config: ModelConfig, dtype: torch.dtype) -> HookedModel:
    return build_model(config, seed=0).to(dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_measure_of_sixteen_bits_is_near_that_of_float32(measure, dtype, wide: HookedModel) -> None:
    assert float(measure(halved(wide.cfg, dtype))) == pytest.approx(float(measure(wide)), rel=0.15, abs=0.1)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [("gpt2", HALVES[0]), ("lsa", HALVES[1]), ("ltb", HALVES[0]), ("softmax_layer", HALVES[0])],
    ids=str,
)
def test_detectors_of_sixteen_bits_have_finite_numbers(family: str, dtype) -> None:
    model = halved(CONFIGS[family], dtype)
    options = {"shifts": ["x_scale=3"], **FEW}
    assert 0 <= ood_report(model, TASK, **options).shifts["x_scale=3"].signature.auroc <= 1
    detectors = detector_report(model, TASK, **options).detectors
    assert all(0 <= found.shifts["x_scale=3"].auroc <= 1 for found in detectors.values())


def test_a_study_of_sixteen_bits() -> None:
    found = study(halved(CONFIGS["ltb"], torch.bfloat16), TASK, shifts=["x_scale=3"], **FEW)
    assert found.verdicts["in-context learning"].value < 1


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_interventions_compute_in_float32_and_give_the_networks_dtype_back(dtype) -> None:
    h = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    cases = {
        "project_out": interventions.project_out(PLANE, HOOK),
        "project_out to the mean": interventions.project_out(PLANE, HOOK, mean=torch.ones(4, 8)),
        "swap": interventions.swap(PLANE, HOOK),
        "steer": interventions.steer(PLANE[:, 0], HOOK, amount=2.0),
        "exchange": interventions.exchange_for_random(PLANE, HOOK, seed=0),
    }
    for name, intervention in cases.items():
        (edit,) = intervention.edits
        changed = edit.change(h, [0, 1, 2, 3])
        assert changed.dtype == dtype, name
        assert torch.equal(changed, edit.change(h.float(), [0, 1, 2, 3]).to(dtype)), name
    interventions.project_out(PLANE.to(dtype), HOOK)  # rounded columns are as orthonormal as they can be


def test_means_keep_the_precision_of_a_network_of_float64(wide: HookedModel) -> None:
    prompts = TASK.sample(4, seed=0)
    for kind, expected in ((torch.float16, torch.float32), (torch.float64, torch.float64)):
        assert mean_activations(halved(wide.cfg, kind), prompts, [HOOK])[HOOK].dtype == expected


def test_the_learning_coefficient_of_a_checkpoint_of_sixteen_bits(tmp_path) -> None:
    checkpoint = load_checkpoint(make_run(tmp_path / "run"))
    options = {"step": 6, "n_points": 4, "last_point_only": False, "seed": 0}
    wide = checkpoint_llc(checkpoint, SHORT, **options)
    checkpoint.model.to(torch.bfloat16)
    narrow = checkpoint_llc(checkpoint, SHORT, **options)
    assert narrow.loss == pytest.approx(wide.loss, rel=0.01)
    assert narrow.top_eigenvalue == pytest.approx(wide.top_eigenvalue, rel=0.2)
