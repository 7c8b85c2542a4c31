"""Laws that every probe obeys: a new probe is one line in a table and inherits them all."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from probes import detection, linear, pairwise, similarity, spectra, subspaces
from probes.signature import fit


class Probe(NamedTuple):
    measure: Callable[[Tensor, Tensor], Tensor]  # of two sets of matrices; a probe of one set ignores the second
    power: int  # doubling the activations multiplies the result by 2 ** power
    low: float
    high: float
    per_sample: bool  # else one result for the whole set


def leading(a: Tensor, k: int = 2, **options: object) -> Tensor:
    return spectra.leading_directions(a, k, **options).directions


def fitted(a: Tensor, **options: object) -> fit.SpectralSignature:
    return fit.fit_signature(a, **options)


INF = math.inf
PROBES = {
    "singular values": Probe(lambda a, _: spectra.singular_values(a), 1, 0, INF, True),
    "leading values": Probe(lambda a, _: spectra.leading_directions(a).singular_values, 1, 0, INF, True),
    "swap ratio": Probe(lambda a, _: spectra.leading_directions(a).swap_ratio, 0, 0, 1, True),
    "centred swap ratio": Probe(lambda a, _: spectra.leading_directions(a, center=True).swap_ratio, 0, 0, 1, True),
    "effective rank": Probe(lambda a, _: spectra.effective_rank(spectra.singular_values(a)), 0, 1, 6, True),
    "participation ratio": Probe(lambda a, _: spectra.participation_ratio(spectra.singular_values(a)), 0, 1, 6, True),
    "stable rank": Probe(lambda a, _: spectra.stable_rank(spectra.singular_values(a)), 0, 1, 6, True),
    "spectral gap": Probe(lambda a, _: spectra.spectral_gap(spectra.singular_values(a)).gap, 0, 0, 1, True),
    "three leading values": Probe(
        lambda a, _: spectra.leading_directions(a, spectrum="leading").singular_values, 1, 0, INF, True
    ),
    "chordal distance": Probe(
        lambda a, b: subspaces.chordal_distance(leading(a), leading(b)), 0, 0, math.sqrt(2), True
    ),
    "geodesic distance": Probe(
        lambda a, b: subspaces.geodesic_distance(leading(a), leading(b)), 0, 0, math.pi / math.sqrt(2), True
    ),
    "overlap with the mean": Probe(lambda a, _: subspaces.set_alignment(leading(a)).overlap, 0, 0, 1, True),
    "CKA": Probe(lambda a, b: similarity.linear_cka(a.flatten(0, 1), b.flatten(0, 1)), 0, 0, 1, False),
    "debiased CKA": Probe(
        lambda a, b: similarity.linear_cka(a.flatten(0, 1), b.flatten(0, 1), debiased=True), 0, -1, 1, False
    ),
    "Procrustes": Probe(
        lambda a, b: similarity.procrustes_distance(a.flatten(0, 1), b.flatten(0, 1)), 0, 0, math.sqrt(2), False
    ),
    "cosine": Probe(lambda a, b: subspaces.cosine_similarity(leading(a)[:, 0], leading(b)[:, 0]), 0, 0, 1, True),
    "angles": Probe(lambda a, b: subspaces.principal_angles(leading(a), leading(b)), 0, 0, math.pi / 2, True),
    "overlap": Probe(lambda a, b: subspaces.subspace_overlap(leading(a), leading(b)), 0, 0, 1, True),
    "left overlap": Probe(
        lambda a, b: subspaces.subspace_overlap(leading(a, side="left"), leading(b, side="left")),
        0,
        0,
        1,
        True,
    ),
    "mean subspace": Probe(lambda a, _: subspaces.mean_subspace(leading(a)).eigenvalues, 0, 0, 1, False),
    "overlap within": Probe(lambda a, _: pairwise.mean_pairwise_overlap(leading(a)), 0, 0, 1, False),
    "overlap between": Probe(lambda a, b: pairwise.mean_pairwise_overlap(leading(a), leading(b)), 0, 0, 1, False),
    "overlap paired": Probe(
        lambda a, b: pairwise.mean_pairwise_overlap(leading(a), leading(b), paired=True), 0, 0, 1, False
    ),
    "alignment paired": Probe(
        lambda a, b: pairwise.pairwise_alignment(leading(a), leading(b), paired=True), 0, 0, 1, False
    ),
    "alignment within": Probe(lambda a, _: pairwise.pairwise_alignment(leading(a)), 0, 0, 1, False),
    "alignment between": Probe(lambda a, b: pairwise.pairwise_alignment(leading(a), leading(b)), 0, 0, 1, False),
    "signature spectrum": Probe(lambda a, _: fitted(a).eigenvalues, 0, 0, 1, False),
    "signature overlap": Probe(lambda a, b: fitted(a).overlap(b), 0, 0, 1, True),
    "signature alignment": Probe(lambda a, b: fitted(a).alignment(b), 0, 0, 1, True),
    "signature pairwise": Probe(lambda a, b: fitted(a).pairwise(b), 0, 0, 1, True),
    "signature OOD score": Probe(lambda a, b: fitted(a, k=1).ood_score(b), 0, 0, 1, True),
    "centred signature": Probe(lambda a, b: fitted(a, center=True).overlap(b), 0, 0, 1, True),
    "left signature": Probe(lambda a, b: fitted(a, side="left").overlap(b), 0, 0, 1, True),
}
each_probe = pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])

# Directions move by rounding / gap, a few hundred eps for the spectra below; float64 has room for many steps.
TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-10}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def two_sets(generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    # Falling scales keep the singular values apart, so that directions are well defined.
    scales = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    sets = torch.randn(2, 20, 9, 6, generator=generator, dtype=torch.float64)
    sets = sets * scales + scales / 4
    return sets[0].to(dtype), sets[1].to(dtype)


def assert_equal_up_to_rounding(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    tolerance = TOLERANCE[actual.dtype]
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


@each_dtype
@each_probe
def test_rotating_the_residual_stream_changes_nothing(
    probe: Probe, dtype: torch.dtype, generator: torch.Generator
) -> None:
    a, b = two_sets(generator, dtype)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q.to(dtype)
    assert_equal_up_to_rounding(probe.measure(a @ rotation, b @ rotation), probe.measure(a, b), scale=10)


@each_probe
def test_permuting_positions_alike_in_every_sample_changes_nothing(probe: Probe, generator: torch.Generator) -> None:
    a, b = two_sets(generator, torch.float64)
    order = torch.randperm(9, generator=generator)
    assert_equal_up_to_rounding(probe.measure(a[:, order], b[:, order]), probe.measure(a, b))


# Every two of probe, factor and dtype meet.
SCALED = {
    f"{name}-{factor:g}-{dtype}": (probe, factor, dtype)
    for i, (name, probe) in enumerate(PROBES.items())
    for factor, dtype in zip((0.5, 1e-12, 1e12), itertools.islice(itertools.cycle(TOLERANCE), i, i + 3), strict=True)
}


@pytest.mark.parametrize(("probe", "factor", "dtype"), SCALED.values(), ids=SCALED)
def test_scaling_law(probe: Probe, factor: float, dtype: torch.dtype, generator: torch.Generator) -> None:
    a, b = two_sets(generator, dtype)
    expected = probe.measure(a, b) * factor**probe.power
    assert_equal_up_to_rounding(probe.measure(a * factor, b * factor), expected, scale=10 * factor**probe.power)


@each_dtype
@each_probe
def test_range_and_dtype(probe: Probe, dtype: torch.dtype, generator: torch.Generator) -> None:
    result = probe.measure(*two_sets(generator, dtype))
    assert result.dtype == dtype
    assert bool(((result >= probe.low) & (result <= probe.high)).all())


@each_probe
def test_order_of_samples_does_not_matter(probe: Probe, generator: torch.Generator) -> None:
    a, b = two_sets(generator, torch.float64)
    order = torch.randperm(len(a), generator=generator)
    before = probe.measure(a, b)
    expected = before[order] if probe.per_sample else before
    assert_equal_up_to_rounding(probe.measure(a[order], b[order]), expected)


@each_probe
def test_input_is_not_modified(probe: Probe, generator: torch.Generator) -> None:
    a, b = two_sets(generator, torch.float64)
    kept = a.clone(), b.clone()
    probe.measure(a, b)
    torch.testing.assert_close((a, b), kept, rtol=0, atol=0)


@pytest.mark.parametrize("side", ["right", "left"])
def test_leading_directions_are_idempotent(side: str, generator: torch.Generator) -> None:
    a, _ = two_sets(generator, torch.float64)
    rows = leading(a, side=side)
    weighted = torch.tensor([[3.0], [1.0]], dtype=torch.float64) * rows  # s = 3, 1 with these right vectors
    again = leading(weighted)
    torch.testing.assert_close((again * rows).sum(dim=-1).abs(), torch.ones(20, 2).double())


def test_linear_probe_obeys_rotation_and_scale(generator: torch.Generator) -> None:
    x = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    y = x[:, :2] + torch.randn(60, 2, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    plain = linear.fit_linear_probe(x, y)
    moved = linear.fit_linear_probe(100 * x @ rotation + 7, 3 * y - 5)
    # The penalties follow the features' scale, so the fit is the same; 1e-9 allows for the shift's rounding.
    torch.testing.assert_close(moved.r2, plain.r2, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved.r2_interval, plain.r2_interval, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved.penalty, 1e4 * plain.penalty, rtol=1e-9, atol=0)
    torch.testing.assert_close(moved.weight, 3 / 100 * rotation.T @ plain.weight, rtol=1e-9, atol=1e-12)


DETECTION_FIELDS = (
    "auroc",
    "aupr_in",
    "aupr_out",
    "detection_error",
    "fpr95_ood_positive",
    "fpr95_id_positive",
)


@pytest.mark.parametrize("field", DETECTION_FIELDS)
class TestDetectorLaws:
    @staticmethod
    def scores(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        # Rounded to one decimal, so that there are ties within and between the sets.
        drawn = torch.randn(2, 40, generator=generator).mul(10).round() / 10
        return drawn[0], drawn[1][:30] + 1

    def test_range(self, field: str, generator: torch.Generator) -> None:
        assert 0 <= getattr(detection.detection_report(*self.scores(generator)), field) <= 1

    def test_monotone_transforms_change_nothing(self, field: str, generator: torch.Generator) -> None:
        a, b = self.scores(generator)
        plain, bent = detection.detection_report(a, b), detection.detection_report(a.exp(), b.exp())
        torch.testing.assert_close(getattr(bent, field), getattr(plain, field))

    def test_order_changes_nothing(self, field: str, generator: torch.Generator) -> None:
        a, b = self.scores(generator)
        plain, turned = detection.detection_report(a, b), detection.detection_report(a.flip(0), b.flip(0))
        torch.testing.assert_close(getattr(turned, field), getattr(plain, field))

    def test_roles_exchange_with_the_sign(self, field: str, generator: torch.Generator) -> None:
        partner = {
            "aupr_in": "aupr_out",
            "aupr_out": "aupr_in",
            "fpr95_ood_positive": "fpr95_id_positive",
            "fpr95_id_positive": "fpr95_ood_positive",
        }
        a, b = self.scores(generator)
        plain, swapped = detection.detection_report(a, b), detection.detection_report(-b, -a)
        torch.testing.assert_close(getattr(swapped, partner.get(field, field)), getattr(plain, field))
