"""A survey's streamed numbers against slow loops over activations that were collected at once."""

import itertools

import pytest
import torch
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.survey import _PAIR_SAMPLE, survey_network
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.prompts import Prompts
from icl_interp.tasks.linear_regression import LinearRegression

CONFIG = ModelConfig(n_dims=2, n_points=5, n_layers=2, n_heads=2, d_model=8)
MODEL = build_model(CONFIG, seed=3)
SITES = CONFIG.residual_sites()
FAMILIES = draw_families(LinearRegression(n_dims=2), shifts=["x_scale=3", "label_noise=1"], n_prompts=9, seed=1)
LABELS = list(FAMILIES.by_label)
SITE_LABELS = [site.label for site in SITES]

# Streamed float64 sums of float32 decompositions, stored as float32.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def survey():
    return survey_network(MODEL, FAMILIES, SITES, batch_size=4)


def read(prompts: Prompts, site: str) -> Tensor:
    hook = next(entry.hook for entry in SITES if entry.label == site)
    return collect(MODEL, prompts, hook)[hook]


def activations(label: str, site: str) -> Tensor:
    return read(FAMILIES.by_label[label].prompts, site)


def decompose(matrices: Tensor, k: int = 2) -> tuple[list[Tensor], Tensor]:
    """Leading right singular vectors and all singular values, one prompt at a time."""
    parts = [torch.linalg.svd(matrix.double(), full_matrices=False) for matrix in matrices]
    return [part.Vh[:k] for part in parts], torch.stack([part.S for part in parts])


def overlap(a: Tensor, b: Tensor) -> float:
    return float((a @ b.T).square().sum() / len(a))


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("site", SITE_LABELS)
def test_spectrum_and_its_spread(survey, label, site):
    record = survey.families[label].sites[site]
    _, values = decompose(activations(label, site))
    torch.testing.assert_close(record.spectrum.double(), values.mean(0), **CLOSE)
    # E[s^2] - E[s]^2 loses half of the digits where s hardly varies
    torch.testing.assert_close(record.spectrum_std.double(), values.std(0, correction=0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(record.leading_value.double(), values[:, 0], **CLOSE)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("site", SITE_LABELS)
def test_agreement_over_explicit_pairs(survey, label, site):
    record = survey.families[label].sites[site]
    mine, _ = decompose(activations(label, site))
    pairs = list(itertools.combinations(mine, 2))
    within = sum(overlap(a, b) for a, b in pairs) / len(pairs)
    torch.testing.assert_close(record.overlap_within, within, **CLOSE)
    cosines = torch.stack([(a * b).sum(1).abs() for a, b in pairs]).mean(0)
    torch.testing.assert_close(record.cosines_within.double(), cosines, **CLOSE)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("site", SITE_LABELS)
def test_agreement_with_fit_prompts_over_explicit_pairs(survey, label, site):
    record = survey.families[label].sites[site]
    mine, _ = decompose(activations(label, site))
    fit, _ = decompose(read(FAMILIES.fit, site))
    pairs = list(itertools.product(mine, fit))
    assert len(pairs) == 9 * 9
    torch.testing.assert_close(record.overlap_with_id, sum(overlap(a, b) for a, b in pairs) / len(pairs), **CLOSE)
    cosines = torch.stack([(a * b).sum(1).abs() for a, b in pairs]).mean(0)
    torch.testing.assert_close(record.cosines_with_id.double(), cosines, **CLOSE)


@pytest.mark.parametrize("site", SITE_LABELS[1:])
def test_shared_random_numbers_are_in_no_agreement(site):
    # Prompts as before under another name: no more alike to the reference than in distribution, to the last digit,
    # though prompt i is prompt i.
    same = draw_families(LinearRegression(n_dims=2), shifts=["x_scale=1"], n_prompts=9, seed=1)
    record, own = (survey_network(MODEL, same, SITES).families[name].sites[site] for name in same.by_label)
    torch.testing.assert_close(record.overlap_with_id, own.overlap_with_id, rtol=0, atol=0)
    torch.testing.assert_close(record.cosines_with_id, own.cosines_with_id, rtol=0, atol=0)
    # The control: over all pairs with the scored prompts, prompt i meets itself, and that shows.
    mine, _ = decompose(read(same.in_distribution.prompts, site))
    with_itself = sum(overlap(a, b) for a, b in itertools.product(mine, mine)) / 81
    assert with_itself > own.overlap_within + 1e-3


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("site", SITE_LABELS)
def test_scores_are_the_signature_s_own_on_held_activations(survey, label, site):
    scores, expected = (
        survey.families[label].sites[site].scores,
        survey.signatures[site].score(activations(label, site)),
    )
    # batches of another size round the forward pass differently
    for name in ("overlap", "alignment", "swap_ratio"):
        torch.testing.assert_close(getattr(scores, name), getattr(expected, name), **CLOSE)
    torch.testing.assert_close(scores.tied, expected.tied)


@pytest.mark.parametrize("label", LABELS)
def test_predictions_are_the_model_s(survey, label):
    prompts = FAMILIES.by_label[label].prompts
    with torch.no_grad():
        expected = MODEL(prompts.xs, prompts.ys)
    # batches of another size round the forward pass differently
    torch.testing.assert_close(survey.families[label].predictions, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_batch_size_does_not_matter(survey, batch_size):
    other = survey_network(MODEL, FAMILIES, SITES, batch_size=batch_size)
    for label, site in itertools.product(LABELS, SITE_LABELS):
        a, b = survey.families[label].sites[site], other.families[label].sites[site]
        # rtol 1e-5: the float32 forward pass rounds by batch, everything after it runs in float64
        torch.testing.assert_close(a.spectrum, b.spectrum, **CLOSE)
        torch.testing.assert_close(a.scores.overlap, b.scores.overlap, **CLOSE)
        torch.testing.assert_close(a.overlap_within, b.overlap_within, **CLOSE)
        torch.testing.assert_close(a.cosines_with_id, b.cosines_with_id, **CLOSE)


@pytest.mark.parametrize(
    "conventions",
    [Conventions(tokens="x"), Conventions(tokens="y", k=1), Conventions(center=True), Conventions(side="left", k=3)],
    ids=lambda conventions: conventions.describe(),
)
def test_conventions_reach_fit_and_score(conventions):
    survey = survey_network(MODEL, FAMILIES, SITES[1:2], conventions=conventions)
    site = SITES[1].label
    signature, record = survey.signatures[site], survey.families[IN_DISTRIBUTION].sites[site]
    assert (signature.k, signature.center, signature.side) == (conventions.k, conventions.center, conventions.side)
    rows = activations(IN_DISTRIBUTION, site)[:, {"all": slice(None), "x": slice(0, None, 2), "y": slice(1, None, 2)}[
        conventions.tokens
    ]]  # fmt: skip
    # batches of another size round the forward pass differently
    torch.testing.assert_close(record.scores.overlap, signature.score(rows).overlap, rtol=1e-4, atol=1e-5)
    assert record.cosines_within.shape == (conventions.k,)


def test_pairwise_cosines_use_a_fixed_subsample():
    n = _PAIR_SAMPLE + 6
    families = draw_families(LinearRegression(n_dims=2), shifts=["x_scale=3"], n_prompts=n, seed=1)
    site = SITES[-1]
    record = survey_network(MODEL, families, [site], batch_size=50).families[IN_DISTRIBUTION].sites[site.label]
    found, _ = decompose(collect(MODEL, families.in_distribution.prompts, site.hook)[site.hook])
    pairs = itertools.combinations(found[:_PAIR_SAMPLE], 2)
    cosines = torch.stack([(a * b).sum(1).abs() for a, b in pairs]).mean(0)
    torch.testing.assert_close(record.cosines_within.double(), cosines, **CLOSE)
    every = [overlap(a, b) for a, b in itertools.combinations(found, 2)]
    torch.testing.assert_close(record.overlap_within, sum(every) / len(every), **CLOSE)  # exact, from all prompts


def test_progress_counts_every_prompt_that_is_read():
    ticks: list[int] = []
    survey_network(MODEL, FAMILIES, SITES[:1], batch_size=4, on_batch=ticks.append)
    assert ticks == [4, 4, 1] * 4  # fit, in distribution and two shifts of 9 prompts


def test_one_prompt_is_refused():
    lonely = draw_families(LinearRegression(n_dims=2), shifts=["x_scale=3"], n_prompts=1)
    with pytest.raises(ValueError, match="a survey compares prompts and needs at least 2 a family, got 1"):
        survey_network(MODEL, lonely, SITES)
