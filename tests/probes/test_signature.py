"""The spectral signature: planted signals, controls, streaming, edges."""

import pytest
import torch
from torch import Tensor

from probes.pairwise import mean_pairwise_overlap
from probes.signature import SignatureFitter, SpectralSignature, fit_signature
from probes.spectra import leading_directions
from probes.subspaces import mean_subspace, subspace_overlap


def noise(n: int = 40, rows: int = 9, dims: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, rows, dims, generator=generator, dtype=torch.float64)


def planted(n: int = 40, seed: int = 0, axes: tuple[int, int] = (0, 1)) -> Tensor:
    # Two axes of fixed, different energy in every sample, among small noise.
    activations = 0.1 * noise(n, seed=seed)
    activations[:, 0, axes[0]] += 5.0
    activations[:, 1, axes[1]] += 3.0
    return activations


def projector(rows: Tensor) -> Tensor:
    return rows.mT @ rows


def test_positive_control_finds_planted_directions() -> None:
    signature = fit_signature(planted())
    assert signature.reference[:, :2].square().sum() > 1.99
    assert signature.direction_references[0, 0].abs() > 0.99
    assert signature.direction_references[1, 1].abs() > 0.99
    assert signature.overlap(planted(seed=1)).min() > 0.95
    assert signature.alignment(planted(seed=1)).min() > 0.95


def test_negative_control_shuffled_directions_are_not_found() -> None:
    # The planted energies again, but each sample has them in columns of its own.
    generator = torch.Generator().manual_seed(3)
    shuffled = torch.stack([sample[:, torch.randperm(6, generator=generator)] for sample in planted(400)])
    assert fit_signature(planted(400)).pairwise_overlap > 0.95
    # Pairs of random columns share k / d = 1/3 on average; standard error below 0.02.
    assert abs(fit_signature(shuffled).pairwise_overlap - 1 / 3) < 0.05


def test_other_directions_are_out_of_distribution() -> None:
    signature = fit_signature(planted())
    assert signature.ood_score(planted(axes=(2, 3))).min() > 0.9
    half = signature.score(planted(axes=(0, 3)))
    # One of two directions shared: overlap one half, alignment one and zero.
    torch.testing.assert_close(half.overlap, torch.full((40,), 0.5).double(), rtol=0, atol=0.05)
    assert half.alignment[:, 0].min() > 0.95
    assert half.alignment[:, 1].max() < 0.2


def test_negative_control_same_distribution_scores_alike() -> None:
    signature = fit_signature(noise(400))
    first, second = (signature.overlap(noise(400, seed=s)).mean() for s in (1, 2))
    # Standard error of each mean about 0.17 / sqrt(400); five of the difference.
    torch.testing.assert_close(first, second, rtol=0, atol=0.06)
    # Unrelated samples overlap with any fixed plane by k / d = 1/3.
    torch.testing.assert_close(first, torch.tensor(1 / 3).double(), rtol=0, atol=0.06)


def test_swapped_directions_keep_the_overlap_but_lose_the_alignment() -> None:
    signature = fit_signature(planted())
    swapped = signature.score(planted(axes=(1, 0)))
    assert swapped.overlap.min() > 0.95
    assert swapped.alignment.max() < 0.2


def test_swap_and_tie_flags_come_along() -> None:
    signature = fit_signature(planted())
    level = torch.diag(torch.tensor([2.0, 1.95, 1.0, 0, 0, 0])).double()
    scores = signature.score(torch.stack([level, torch.zeros(6, 6).double()]))
    torch.testing.assert_close(scores.swapped, torch.tensor([True, False]))
    torch.testing.assert_close(scores.tied, torch.tensor([False, True]))
    torch.testing.assert_close(scores.swap_ratio, torch.tensor([0.975, 0.0]).double())


@pytest.mark.parametrize("center", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_formulas(k: int, side: str, center: bool) -> None:
    activations, new = noise(), noise(5, seed=1)
    signature = fit_signature(activations, k=k, side=side, center=center)
    v = leading_directions(activations, k, side=side, center=center).directions
    mean = sum(projector(x) for x in v) / 40
    eigenvalues, vectors = torch.linalg.eigh(mean)
    torch.testing.assert_close(projector(signature.reference), projector(vectors[:, -k:].T))
    torch.testing.assert_close(signature.eigenvalues, eigenvalues.flip(0))
    for j in range(k):
        r = torch.linalg.eigh(sum(torch.outer(x[j], x[j]) for x in v) / 40).eigenvectors[:, -1:]
        torch.testing.assert_close(projector(signature.direction_references[j : j + 1]), projector(r.T))
    found = leading_directions(new, k, side=side, center=center)
    scores = signature.score(new)
    overlap = torch.stack([(x @ signature.reference.T).norm() ** 2 / k for x in found.directions])
    alignment = torch.stack([(x * signature.direction_references).sum(dim=1).abs() for x in found.directions])
    torch.testing.assert_close(scores.overlap, overlap)
    torch.testing.assert_close(scores.alignment, alignment)
    torch.testing.assert_close(scores.ood_score, 1 - overlap)
    torch.testing.assert_close(signature.score_directions(found).overlap, overlap)
    assert (signature.k, signature.side, signature.center, signature.n_samples) == (k, side, center, 40)


def test_single_scores_equal_those_of_one_pass() -> None:
    signature, new = fit_signature(noise()), noise(7, seed=1)
    scores = signature.score(new)
    singles = signature.overlap(new), signature.alignment(new), signature.ood_score(new)
    torch.testing.assert_close(singles, (scores.overlap, scores.alignment, scores.ood_score))


def test_reference_is_the_mean_subspace() -> None:
    activations = noise()
    signature = fit_signature(activations)
    mean = mean_subspace(leading_directions(activations).directions)
    torch.testing.assert_close(subspace_overlap(signature.reference, mean.basis), torch.tensor(1.0).double())
    fitted = signature.overlap(activations).mean()
    torch.testing.assert_close(fitted, signature.eigenvalues[:2].mean())


def test_pairwise_overlap_is_exact() -> None:
    activations = noise()
    expected = mean_pairwise_overlap(leading_directions(activations).directions)
    torch.testing.assert_close(fit_signature(activations).pairwise_overlap, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_streaming_does_not_depend_on_the_batch_size(batch_size: int, dtype: torch.dtype) -> None:
    activations = noise().to(dtype)
    fitter = SignatureFitter()
    for batch in activations.split(batch_size):
        fitter.update(batch)
    streamed, at_once = fitter.fit(), fit_signature(activations)
    # Sums in float64 differ by rounding alone; signs of eigenvectors are free, so projectors are compared.
    tolerance = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(streamed.eigenvalues, at_once.eigenvalues, **tolerance)
    torch.testing.assert_close(projector(streamed.reference), projector(at_once.reference), **tolerance)
    for streamed_row, row in zip(streamed.direction_references, at_once.direction_references, strict=True):
        torch.testing.assert_close(projector(streamed_row[None]), projector(row[None]), **tolerance)
    assert streamed.reference.dtype == dtype


def test_fitter_takes_directions_and_goes_on_after_a_fit() -> None:
    activations = noise()
    fitter = SignatureFitter(k=2, center=True, side="left")
    for half in activations.split(20):
        fitter.update_directions(leading_directions(half, 2, side="left", center=True).directions)
        halfway = fitter.fit()
    expected = fit_signature(activations, k=2, center=True, side="left")
    torch.testing.assert_close(halfway.eigenvalues, expected.eigenvalues)
    assert (halfway.k, halfway.center, halfway.side) == (2, True, "left")


def test_one_sample_and_longer_prompts() -> None:
    signature = fit_signature(noise(1))
    torch.testing.assert_close(signature.overlap(noise(1)), torch.ones(1).double())
    assert signature.overlap(noise(3, rows=21)).shape == (3,)  # right vectors do not see the length


def test_fewer_rows_than_dimensions() -> None:
    signature = fit_signature(noise(5, rows=2, dims=30).float())
    assert signature.reference.shape == (2, 30)
    assert signature.reference.dtype == torch.float32


def test_reprs_are_short() -> None:
    signature = fit_signature(planted())
    assert repr(signature).startswith("SpectralSignature(k=2, center=False, side='right', n_samples=40")
    assert repr(signature.score(planted())).startswith("SignatureScores(n=40, mean overlap=")


def score_of_width(dims: int) -> object:
    return fit_signature(noise()).score(noise(2, dims=dims))


def fit_nothing() -> SpectralSignature:
    return SignatureFitter().fit()


def mix_widths() -> None:
    fitter = SignatureFitter()
    fitter.update(noise(2, dims=6))
    fitter.update(noise(2, dims=7))


ERRORS = {
    "k": (lambda: fit_signature(noise(), k=0), "k of at least 1, got 0"),
    "k too large": (lambda: fit_signature(noise(), k=7), "1 <= k <= 6"),
    "NaN": (lambda: fit_signature(noise() * torch.nan), "finite activations"),
    "no samples": (lambda: fit_signature(noise(0)), "at least one entry along sample"),
    "other width": (lambda: score_of_width(5), "as many dimensions as in the signature, got 5 and 6"),
    "nothing fitted": (fit_nothing, "number of samples of at least 1, got 0"),
    "mixed widths": (mix_widths, "as many dimensions as in earlier batches, got 7 and 6"),
    "other k": (
        lambda: SignatureFitter(k=3).update_directions(torch.eye(4)[None, :2]),
        "as many directions as the fitter's k, got 2 and 3",
    ),
    "no directions": (
        lambda: SignatureFitter(k=2).update_directions(2 * torch.eye(4)[None, :2]),
        "orthonormal rows in directions",
    ),
    "one sample has no pairs": (lambda: fit_signature(noise(1)).pairwise_overlap, "at least 2, got 1"),
    "not stacked": (
        lambda: fit_signature(noise()).score_directions(leading_directions(noise()[0])),
        r"axes \[sample k dim\]",
    ),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
