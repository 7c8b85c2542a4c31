"""16-bit input is measured as its numbers in float64 are, with results in float32; nothing is cast to overflow."""

import pytest
import torch

from probes.agreement import spd
from probes.attention import normalised_entropy
from probes.covariance import fit_covariance
from probes.head_importance import head_importance
from probes.learning_coefficient import estimate_learning_coefficient
from probes.learning_coefficient.hessian import top_hessian_eigenvalue
from probes.linear import fit_linear_probe
from probes.ood import (
    fit_estimator,
    fit_gmm,
    fit_gram,
    fit_kde,
    fit_mahalanobis,
    fit_nearest_neighbors,
    fit_norm,
    fit_null_space,
    fit_pca_residual,
    fit_prompt_statistics,
    fit_signature_detector,
)
from probes.pairwise import mean_pairwise_overlap, mean_projector, overlap_within
from probes.position_probe import fit_position_probe
from probes.readouts import fit_layer_readouts
from probes.selectivity import partial_r2
from probes.signature import fit_signature
from probes.similarity import linear_cka
from probes.spectra import leading_directions, singular_values
from probes.subspaces import principal_angles

HALVES = (torch.bfloat16, torch.float16)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Each takes samples and gives numbers; what it is fitted on has the samples' dtype.
SCORES = {
    "Mahalanobis": lambda rows: fit_mahalanobis(rows).score(rows),
    "whitened": lambda rows: fit_covariance(rows).whiten(rows),
    "PCA residual": lambda rows: fit_pca_residual(rows, n_components=2).score(rows),
    "null space": lambda rows: fit_null_space(rows[:2]).score(rows),
    "kNN": lambda rows: fit_nearest_neighbors(rows[:20], k=3).score(rows),
    "norm": lambda rows: fit_norm(rows[:, None]).score(rows[:, None]),
    "prompt statistics": lambda rows: fit_prompt_statistics(rows[:, :, None], rows).score(rows[:, :, None], rows),
    "kernel density": lambda rows: fit_kde(rows).score(rows),
    "mixture": lambda rows: fit_gmm(rows, n_components=1).score(rows),
    "Gram ranges": lambda rows: fit_gram(rows.reshape(10, 4, 4)).score(rows.reshape(10, 4, 4)),
    "signature": lambda rows: fit_signature_detector(rows.reshape(10, 4, 4)).score(rows.reshape(10, 4, 4)),
    "singular values": lambda rows: singular_values(rows.reshape(10, 4, 4)),
    "swap ratio": lambda rows: leading_directions(rows.reshape(10, 4, 4)).swap_ratio,
    "CKA": lambda rows: linear_cka(rows, rows[:, :2]),
    "angles": lambda rows: principal_angles(*leading_directions(rows.reshape(10, 4, 4)).directions[:2]),
    "linear probe": lambda rows: fit_linear_probe(rows, rows[:, :1]).weight,
    "read-outs": lambda rows: fit_layer_readouts(rows.reshape(1, 10, 4, 4), rows.reshape(10, 4, 4)[:, :, 0]).weight,
    "spd": lambda rows: torch.as_tensor(spd(rows, 2 * rows).values),
}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_sixteen_bits_are_measured_as_their_numbers_in_float64(score, dtype) -> None:
    rows = draw(40, 4).to(dtype)
    found = score(rows)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, score(rows.double()).float(), rtol=1e-5, atol=1e-5)  # float32's own rounding


SQUARES = ("PCA residual", "Gram ranges", "spd")


@pytest.mark.parametrize("name", SQUARES)
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float16, 1e4), (torch.bfloat16, 1e25), (torch.float32, 1e25)])
def test_squares_do_not_overflow(name: str, dtype: torch.dtype, scale: float) -> None:
    rows = draw(40, 4)
    if name == "Gram ranges":  # fitted on the first prompts, which the others leave
        rows[20:] *= 2
        large = (scale * rows).to(dtype).reshape(10, 4, 4)
        found = fit_gram(large[:5]).score(large)
        assert found[5:].min() > 0
    else:
        found = SCORES[name]((scale * rows).to(dtype))
    assert found.isfinite().all()
    assert found.dtype == (torch.float32 if dtype == torch.float16 or name == "Gram ranges" else torch.float64)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_rounded_directions_still_make_a_mean_projector(dtype) -> None:
    directions = leading_directions(draw(12, 7, 5)).directions
    rounded = directions.to(dtype)
    projector = mean_projector(rounded)
    assert projector.trace() == pytest.approx(2, abs=1e-12)
    exact = mean_pairwise_overlap(directions)
    torch.testing.assert_close(overlap_within(projector, n_samples=12, k=2), exact, rtol=0, atol=0.01)
    # and what was summed by hand, in the precision of its own
    overlap_within((directions.mT @ directions).mean(0).to(dtype), n_samples=12, k=2)


def test_directions_of_sixteen_bits_are_tied_only_where_they_are() -> None:
    apart = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5])).bfloat16()
    wide = torch.cat([apart, torch.zeros(60, 4).bfloat16()])
    assert not leading_directions(wide).tied
    assert leading_directions(torch.cat([torch.eye(4), torch.zeros(60, 4)]).bfloat16()).tied
    assert fit_signature(wide[None]).reference.dtype == torch.float32


def test_partial_r2_of_sixteen_bits_is_defined() -> None:
    given, own = draw(200, 1), draw(200, 1, seed=1)
    found = partial_r2(torch.cat([given, own], dim=1).bfloat16(), (given + own).bfloat16(), given.bfloat16())
    assert found.partial[0].value == pytest.approx(1, abs=0.02)


def test_attention_of_sixteen_bits() -> None:
    pattern = draw(2, 2, 5, 5).softmax(-1)
    half = normalised_entropy(pattern.half(), causal=False)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, normalised_entropy(pattern, causal=False).float(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("method", ["ridge", "sgd"])
def test_read_outs_of_sixteen_bits(method: str) -> None:
    hidden = draw(1, 40, 3, 2).bfloat16()
    found = fit_layer_readouts(hidden, hidden[0, :, :, 0].float(), method=method, steps=60, lr=0.2)
    assert found.errors[0].mean.value < 5e-3


def test_a_position_probe_of_sixteen_bits_is_trained_in_float32() -> None:
    hidden = draw(60, 3, 2).half()
    wide, narrow = (fit_position_probe(h, h[:, 1, :1], steps=40, controls=False) for h in (hidden.float(), hidden))
    torch.testing.assert_close(narrow.r2, wide.r2)


def test_heads_of_sixteen_bits() -> None:
    losses = draw(30).abs()
    masked = losses + torch.tensor([[[1.0], [0.5]]])
    found = head_importance(masked.bfloat16(), losses.bfloat16())
    assert found.importance.dtype == torch.float32
    torch.testing.assert_close(found.importance, torch.tensor([[2 / 3, 1 / 3]]), rtol=0, atol=0.01)


def bowl(params, batch):
    return params["w"].square().sum() + 0 * batch.sum()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_chain_of_sixteen_bits_finds_what_float32_finds(dtype) -> None:
    settings = {"nbeta": 100.0, "lr": 1e-3, "localization": 0.0, "num_draws": 100, "num_burnin_steps": 60}
    wide, narrow = (
        estimate_learning_coefficient(bowl, {"w": torch.zeros(10, dtype=kind)}, torch.zeros(1, dtype=kind), **settings)
        for kind in (torch.float32, dtype)
    )
    assert narrow.estimate == wide.estimate  # 7.74 in bfloat16, where 10 / 2 / 0.95 is right
    assert narrow.estimate == pytest.approx(10 / 2 / 0.95, rel=0.15)


def test_data_of_sixteen_bits_meet_parameters_of_sixteen_bits_in_float32() -> None:
    xs, labels = draw(32, 3).bfloat16(), torch.arange(32)
    params = {"w": torch.zeros(3, 1, dtype=torch.bfloat16), "fixed": torch.ones(1, dtype=torch.bfloat16)}

    def loss(named, batch):
        assert batch[1].dtype == torch.int64
        return (batch[0] @ named["w"] * named["fixed"]).square().mean()

    options = {"nbeta": 10.0, "lr": 1e-3, "num_chains": 2, "num_draws": 4, "num_burnin_steps": 2, "batch_size": 8}
    found = estimate_learning_coefficient(loss, params, (xs, labels), param_masks=["w"], **options)
    assert found.init_loss == 0
    exact = 2 * torch.linalg.eigvalsh(xs.double().T @ xs.double() / 32)[-1]
    top = top_hessian_eigenvalue(loss, params, (xs, labels), param_masks=["w"])
    assert top == pytest.approx(float(exact), rel=0.01)


def test_isolation_forests_read_sixteen_bits() -> None:
    from sklearn.ensemble import IsolationForest

    rows = draw(40, 4).half()
    forest = IsolationForest(n_estimators=5, random_state=0)
    assert fit_estimator(rows, forest).score(rows).dtype == torch.float32
