import pytest
import torch

from icl_interp import HookedLinearAttention, LinearRegression, ModelConfig, build_model, spectral_signature
from icl_interp.measure.linear_probes import linear_probes
from icl_interp.measure.sites import Conventions, answering_features
from icl_interp.measure.study.plan import limits_of
from icl_interp.measure.study.run import study

DEEP = ModelConfig(n_dims=3, n_points=7, n_layers=2, n_heads=1, d_model=8)
WORDS = {
    "depth": "no development along its depth",
    "query": "probes read the query token",
    "span": "2 wide and 2 directions span it",
    "one": "1 wide and 1 direction spans it",
    "rank": "one number a token",
    "zeros": "all alike",
}
CASES = {
    "deep and causal": (DEEP, Conventions(), []),
    "one layer": (DEEP.model_copy(update={"n_layers": 1}), Conventions(), ["depth"]),
    "lsa": (ModelConfig(family="lsa", n_dims=3, n_points=7, n_layers=2), Conventions(layout="joint"), ["query"]),
    "ltb of width 2": (
        ModelConfig(family="ltb", n_dims=1, n_points=7),
        Conventions(layout="joint"),
        ["depth", "query", "span"],
    ),
    "width 1": (
        ModelConfig(n_dims=1, n_points=7, n_layers=2, n_heads=1, d_model=1),
        Conventions(),
        ["one"],
    ),
    "left vectors of width 2": (
        ModelConfig(family="ltb", n_dims=1, n_points=7),
        Conventions(layout="joint", side="left"),
        ["depth", "query"],
    ),
    "softmax layer": (
        ModelConfig(family="softmax_layer", n_dims=3, n_points=7),
        Conventions(layout="joint"),
        ["depth", "query", "rank", "zeros"],
    ),
}


@pytest.mark.parametrize(("config", "conventions", "expected"), CASES.values(), ids=CASES)
def test_each_limit_is_said_where_it_holds(config: ModelConfig, conventions: Conventions, expected: list[str]) -> None:
    said = limits_of(config, conventions)
    assert len(said) == len(expected)
    for sentence, key in zip(said, expected, strict=True):
        assert WORDS[key] in sentence
        assert sentence.count(".") == 1


LSA = ModelConfig(family="lsa", n_dims=3, n_points=7, n_layers=2, output_sign=-1)
TASK = LinearRegression(3, n_points=7)


@torch.no_grad()
def test_features_of_a_query_only_model_are_its_query_tokens() -> None:
    model, prompts = build_model(LSA, seed=0), TASK.sample(6, seed=0)
    found = answering_features(model, prompts, LSA.residual_sites(), batch_size=4)
    assert {label: tuple(value.shape) for label, value in found.items()} == {
        "read-in": (6, 6, 4),
        "block 0": (6, 6, 4),
        "block 1": (6, 6, 4),
    }
    torch.testing.assert_close(found["read-in"][..., :3], prompts.xs[:, 1:], rtol=0, atol=0)
    # float32, all points at once against one after the other
    torch.testing.assert_close(-found["block 1"][..., 3], model(prompts.xs, prompts.ys)[:, 1:], rtol=1e-5, atol=1e-6)


def test_a_probe_reads_the_step_that_a_layer_takes() -> None:
    # Two steps of gradient descent on many pairs come close to least squares; one and none of them less so.
    model = HookedLinearAttention.gradient_descent(LSA, 0.5)
    task = LinearRegression(3, n_points=30)
    report = linear_probes(model, task, n_prompts=64, n_controls=0)
    assert list(report.probes) == ["read-in", "block 0", "block 1"]
    (name,) = [target for target in report.targets if target.startswith("least squares")]
    read_in, first, second = report.r2(name).tolist()
    assert read_in < 0.2 < 0.6 < first < second


@pytest.mark.parametrize("tokens", ["x", "y"])
def test_roles_of_alternating_tokens_are_refused_on_joint_ones(tokens: str) -> None:
    with pytest.raises(ValueError, match=f"joint tokens need a role out of all, context, query, got '{tokens}'"):
        spectral_signature(build_model(LSA, seed=0), TASK.sample(8, seed=0), tokens=tokens, n_controls=0)


def test_context_tokens_are_a_role() -> None:
    model, prompts = build_model(LSA, seed=0), TASK.sample(8, seed=0)
    result = spectral_signature(model, prompts, tokens="context", n_controls=0)
    assert result.conventions.describe() == "context tokens, uncentred, right singular vectors, k = 2"


@pytest.mark.parametrize("family", ["lsa", "ltb", "softmax_layer"])
def test_a_study_of_every_family_has_no_final_norm(family: str) -> None:
    model = build_model(ModelConfig(family=family, n_dims=3, n_points=7), seed=0)
    result = study(model, TASK, n_prompts=8, shifts=["x_scale=3", "label_noise=1"], n_controls=0)
    assert [site.label for site in result.sites] == ["read-in", "block 0"]
    assert result.main_site.label == "block 0"
    assert result.ood_final is None
    assert set(result.verdicts) > {"in-context learning", "detection"}
