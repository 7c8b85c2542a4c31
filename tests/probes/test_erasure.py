"""Erasure by its theorems, beside slow formulas, and against another library where that is installed."""

import numpy as np
import pytest
import torch
from torch import Tensor

from probes.erasure import ErasureFitter, fit_eraser
from probes.linear import fit_linear_probe

N, DIM = 300, 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def correlated() -> Tensor:
    return drawn(N, DIM, seed=1) @ drawn(DIM, DIM, seed=2) + 5 * drawn(DIM, seed=3)


FULL = correlated()
DEFICIENT = torch.cat([FULL, FULL[:, :2] - 3 * FULL[:, 1:3], torch.ones(N, 1, dtype=torch.float64)], dim=1)
NUMBER = FULL[:, 0] - 2 * FULL[:, 3] + 0.1 * drawn(N, seed=4)
VECTOR = torch.stack([NUMBER, FULL[:, 1] ** 2 + FULL[:, 1], 1e6 * NUMBER], dim=1)  # of rank 2, units far apart
THIRD = FULL[:, 2] - FULL[:, 2].mean()
ONE_HOT = torch.eye(4, dtype=torch.float64)[(THIRD > -1).long() + (THIRD > 1).long()]  # nobody is of the last class
CASES = {
    f"{features}, {target}": (xs, zs)
    for features, xs in {"full rank": FULL, "rank-deficient": DEFICIENT}.items()
    for target, zs in {"a number": NUMBER, "a vector": VECTOR, "one-hot": ONE_HOT}.items()
}
every_case = pytest.mark.parametrize(("xs", "zs"), CASES.values(), ids=CASES)


def columns(zs: Tensor) -> Tensor:
    return zs if zs.ndim == 2 else zs[:, None]


def covariance(a: Tensor, b: Tensor) -> Tensor:
    return (a - a.mean(0)).T @ (columns(b) - columns(b).mean(0)) / len(a)


def r2(xs: Tensor, zs: Tensor) -> float:
    """Of least squares on the fitted samples, mean over targets that vary."""
    design = torch.cat([xs, torch.ones(len(xs), 1, dtype=xs.dtype)], dim=1).numpy()
    wanted = columns(zs)[:, columns(zs).std(0) > 0].numpy()
    left = wanted - design @ np.linalg.lstsq(design, wanted, rcond=1e-10)[0]
    return float(np.mean(1 - (left**2).mean(0) / wanted.var(0)))


@every_case
def test_no_covariance_with_the_target_is_left(xs: Tensor, zs: Tensor) -> None:
    before, erased = covariance(xs, zs), fit_eraser(xs, zs)(xs)
    scale = before.abs().amax(0).clamp_min(1e-9)
    torch.testing.assert_close(covariance(erased, zs) / scale, torch.zeros_like(before), rtol=0, atol=1e-9)
    torch.testing.assert_close(erased.mean(0), xs.mean(0))


@every_case
def test_a_linear_probe_finds_nothing_any_more(xs: Tensor, zs: Tensor) -> None:
    assert r2(xs, zs) > 0.25  # there was something to erase
    assert r2(fit_eraser(xs, zs)(xs), zs) < 1e-8


def test_held_out_probes_agree() -> None:
    erased = fit_eraser(FULL, NUMBER)(FULL)
    assert fit_linear_probe(FULL, NUMBER, n_bootstrap=2).r2 > 0.99
    assert fit_linear_probe(erased, NUMBER, n_bootstrap=2).r2 < 0.02


@every_case
def test_to_erase_twice_is_to_erase_once(xs: Tensor, zs: Tensor) -> None:
    erase = fit_eraser(xs, zs)
    torch.testing.assert_close(erase(erase(xs)), erase(xs))
    torch.testing.assert_close(erase.directions.T @ erase.directions, torch.eye(erase.rank, dtype=torch.float64))
    torch.testing.assert_close(erase.read @ erase.directions, torch.eye(erase.rank, dtype=torch.float64))


@every_case
def test_it_is_the_formula(xs: Tensor, zs: Tensor) -> None:
    def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        scaled = np.where(values > 1e-10 * values.max(), values.clip(1e-300) ** exponent, 0.0)
        return (vectors * scaled) @ vectors.T

    spread, cross = covariance(xs, xs).numpy(), covariance(xs, zs / columns(zs).std().clamp_min(1)).numpy()
    whitened = power(spread, -0.5) @ cross
    projection = whitened @ np.linalg.pinv(whitened, rcond=1e-9)
    removed = (xs - xs.mean(0)).numpy() @ (power(spread, 0.5) @ projection @ power(spread, -0.5)).T
    np.testing.assert_allclose(fit_eraser(xs, zs)(xs), xs.numpy() - removed, rtol=0, atol=1e-7)


@every_case
@pytest.mark.parametrize("norm", ["Euclidean", "another"])
def test_no_other_affine_map_that_erases_changes_less(xs: Tensor, zs: Tensor, norm: str) -> None:
    erase = fit_eraser(xs, zs)
    weigh = torch.eye(xs.shape[1], dtype=torch.float64) if norm == "Euclidean" else drawn(*[xs.shape[1]] * 2, seed=8)

    def change(erased: Tensor) -> float:
        return float(((erased - xs) @ weigh.T).square().sum(1).mean())

    least, cross = change(erase(xs)), covariance(xs, zs)
    annihilate = torch.eye(len(cross), dtype=torch.float64) - cross @ torch.linalg.pinv(cross, rtol=1e-9)
    orthogonal = (xs - xs.mean(0)) @ annihilate.T + xs.mean(0)  # erases as well
    for trial in range(20):
        # Every affine map that erases differs from one that does by M annihilate (x - mean) + b.
        for size in (1e-3, 1.0):
            step = size * drawn(*cross.shape[:1], len(cross), seed=trial) @ annihilate
            shift = size * drawn(len(cross), seed=100 + trial)
            other = erase(xs) + (xs - xs.mean(0)) @ step.T + shift
            assert float(covariance(other, zs).abs().max()) < 1e-6 * float(cross.abs().max())
            assert change(other) > least
    assert change(orthogonal) >= least * (1 - 1e-9)


def test_what_is_uncorrelated_with_the_target_stays() -> None:
    xs, zs = DEFICIENT, NUMBER
    erase, cross = fit_eraser(xs, zs), covariance(DEFICIENT, NUMBER)
    # Linear functions w'x that are uncorrelated with the target and with what is erased keep their values: w' cross = 0
    # says the former; the readers then see nothing of what such w read.
    moved = xs - erase(xs)
    unrelated = torch.eye(len(cross), dtype=torch.float64) - cross @ torch.linalg.pinv(cross)
    torch.testing.assert_close(moved @ unrelated, torch.zeros_like(moved), rtol=0, atol=1e-9)
    # Deviations that whitening turns away from the target are not moved at all.
    still = torch.linalg.svd(erase.read, full_matrices=True).Vh[erase.rank :]
    torch.testing.assert_close(erase(xs.mean(0) + 7 * still), xs.mean(0) + 7 * still)


def test_the_rank_is_that_of_the_covariance() -> None:
    assert [fit_eraser(FULL, zs).rank for zs in (NUMBER, VECTOR, ONE_HOT)] == [1, 2, 2]  # of 4 classes one is empty
    correlations = fit_eraser(FULL, VECTOR).correlations
    assert 1 >= correlations[0] >= correlations[1] > 0
    assert correlations[0] > 0.99


CORNERS = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
NOTHING = {
    "uncorrelated": (CORNERS, CORNERS[:, 0] * CORNERS[:, 1]),
    "equal features": (torch.full((4, 2), 7.0), torch.arange(4.0)),
    "equal targets": (CORNERS, torch.full((4,), 0.1)),
}


@pytest.mark.parametrize(("xs", "zs"), NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_to_be_erased_nothing_changes(xs: Tensor, zs: Tensor) -> None:
    erase = fit_eraser(xs, zs)
    assert erase.rank == 0
    for nothing in (erase, erase.along_random_directions(seed=0)):
        torch.testing.assert_close(nothing(xs), xs, rtol=0, atol=0)


def test_everything_goes_where_the_target_is_everything() -> None:
    erase = fit_eraser(DEFICIENT, FULL)
    assert erase.rank == DIM
    torch.testing.assert_close(erase(DEFICIENT), DEFICIENT.mean(0).expand(N, -1))


def test_batches_and_units_change_nothing() -> None:
    fitter = ErasureFitter()
    for xs, zs in zip(DEFICIENT.split(70), VECTOR.split(70), strict=True):
        fitter.update(xs, zs)
    whole = fit_eraser(DEFICIENT, VECTOR)(DEFICIENT)
    torch.testing.assert_close(fitter.fit()(DEFICIENT), whole)
    for scale in (1e-13, 1e13):
        scaled = fit_eraser(DEFICIENT * scale, VECTOR * scale)
        assert scaled.rank == 2
        torch.testing.assert_close(scaled(DEFICIENT * scale) / scale, whole)


def test_some_columns_of_the_targets_alone() -> None:
    fitter = ErasureFitter()
    fitter.update(FULL, VECTOR)
    one, alone = fitter.fit([1]), fit_eraser(FULL, VECTOR[:, 1])
    torch.testing.assert_close(one(FULL), alone(FULL))
    torch.testing.assert_close(fitter.fit([0, 1, 2])(FULL), fit_eraser(FULL, VECTOR)(FULL))
    for columns_asked in ([3], [-1], []):
        with pytest.raises(ValueError, match="needs columns from 0 to 2"):
            fitter.fit(columns_asked)


def test_float32_features_with_repeated_directions() -> None:
    narrow, zs = DEFICIENT.float(), VECTOR.float()
    erase = fit_eraser(narrow, zs)
    assert erase.rank == 2
    erased = erase(narrow)
    assert erased.dtype == torch.float32
    torch.testing.assert_close(erased, fit_eraser(DEFICIENT, VECTOR)(DEFICIENT).float(), rtol=1e-4, atol=1e-4)
    batched = erase(narrow.reshape(30, 10, -1))
    torch.testing.assert_close(batched.reshape(N, -1), erased)


def test_as_much_is_taken_along_random_directions() -> None:
    erase = fit_eraser(FULL, VECTOR)
    random = erase.along_random_directions(seed=0)
    lengths = [(e(FULL) - FULL).norm(dim=1) for e in (erase, random)]
    torch.testing.assert_close(*lengths)
    assert random.rank == erase.rank
    assert r2(random(FULL), NUMBER) > 0.5
    assert not torch.allclose(random.directions, erase.along_random_directions(seed=1).directions)
    assert repr(random) == f"Eraser(dim={DIM}, rank=2, n_samples={N})"


REFUSED = {
    "no sample": (lambda: ErasureFitter().fit(), "needs a number of samples of at least 2, got 0"),
    "one sample": (lambda: fit_eraser(FULL[:1], NUMBER[:1]), "needs a number of samples of at least 2, got 1"),
    "another width": (lambda: fit_eraser(FULL, NUMBER)(FULL[:, 1:]), "as many dimensions as in the fitted features"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_widths_may_not_change_between_batches() -> None:
    fitter = ErasureFitter()
    fitter.update(FULL, NUMBER)
    with pytest.raises(ValueError, match="as many dimensions as in earlier batches, got 5 and 6"):
        fitter.update(FULL[:, 1:], NUMBER)


@every_case
def test_agrees_with_concept_erasure(xs: Tensor, zs: Tensor) -> None:
    reason = "concept-erasure comes with the extra test-oracles"
    theirs = pytest.importorskip("concept_erasure", reason=reason)
    fitter = theirs.LeaceFitter(
        xs.shape[1], columns(zs).shape[1], dtype=torch.float64, constrain_cov_trace=False, shrinkage=False, svd_tol=1e-9
    )
    fitter.update(xs, columns(zs / columns(zs).std(0).clamp_min(1e-3)))  # they cut singular values off, in units of z
    # Where the covariance is singular their pseudo-root keeps rounding; ours is then compared by the formula alone.
    torch.testing.assert_close(fitter.eraser(xs), fit_eraser(xs, zs)(xs), rtol=0, atol=1e-6)
