"""Signatures by every convention: a planted one is found by its own alone, noise by none; prompts as rows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from icl_interp.activations import Batch
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.signature_conventions import (
    SignatureWatch,
    _all_conventions,
    _left_of,
    conventions,
    correlate,
)
from icl_interp.measure.study.survey import FIT
from icl_interp.models.architecture import ResidualSite
from icl_interp.prompts import Prompts

SITE = ResidualSite("block 0", "hook")
N, ROWS, WIDTH = 64, 8, 16  # x and y in turn: the last x is row 6, the last y row 7
DEFAULT = _all_conventions("interleaved")[0]


def planted(tokens, strength, seed):
    """Noise, with two shared directions of given strengths, a prompt each, at the positions of one kind of token."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(N, ROWS, WIDTH, generator=generator)
    coefficients = torch.randn(N, len(range(ROWS)[tokens]), 2, generator=generator) * strength[:, None, None]
    values[:, tokens, :2] += coefficients
    return values


def watched(tokens, strength, seed=0):
    """A watch that has read fit prompts and two families, in the second of which the strength varies."""
    watch = SignatureWatch([SITE], "interleaved")
    full = torch.full((N,), 6.0)
    for number, (label, how_strong) in enumerate([(FIT, full), (IN_DISTRIBUTION, full), ("shifted", strength)]):
        values = planted(tokens, how_strong, seed + number)
        prompts = Prompts(xs=torch.zeros(N, 4, 2), ys=torch.zeros(N, 4))
        batch = Batch(prompts, torch.zeros(N, 4), {SITE.hook: values})
        watch(label, batch, {SITE.label: DEFAULT.directions(values)})
    return watch


@pytest.fixture(scope="module")
def by_convention():
    strength = torch.linspace(0.0, 3.0, N)
    random = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = {IN_DISTRIBUTION: random, "shifted": (5 - strength).double()}
    plain = [watched(slice(0, 0), strength, seed) for seed in range(10, 31, 10)]
    found = conventions([watch.seen() for watch in (watched(slice(0, None, 2), strength), *plain)], errors)
    return {(c.tokens, c.centred, c.side, c.variant): c for c in found if "prompts as rows" not in c.tokens}


def test_every_convention_and_variant_is_read(by_convention):
    assert len(by_convention) == 3 * 2 * 2 * 3
    assert all(len(found.last.contrast) == 4 for found in by_convention.values())
    assert {(found.site, found.shift) for found in by_convention.values()} == {("block 0", "shifted")}


@pytest.mark.parametrize(
    ("variant", "least", "auroc"), [("overlap", 0.2, 0.2), ("directions", 0.1, 0.05), ("pairs", 0.1, 0.2)]
)
def test_a_planted_signature_is_found_at_its_tokens(by_convention, variant, least, auroc):
    # Both planted directions have the same strength and so no order: less is left to variants that take one by one.
    found = by_convention["x", False, "right", variant]
    assert found.last.beyond("contrast") > least
    assert found.last.beyond("auroc", 0.5) > auroc
    assert found.last.within[0] > 0.2  # one family of two tells the error, the other has random errors
    assert (found.p_value, found.z > 0) == (0.25, True)  # more than any of three networks without it
    # With one site and one shift the cell is the average.
    np.testing.assert_allclose([found.value, found.untrained], [found.last.auroc[0], found.last.control("auroc")])


@pytest.mark.parametrize(
    "where", [("y", False, "right", "overlap"), ("y", False, "right", "pairs"), ("x", False, "left", "overlap")]
)
def test_elsewhere_it_is_not(by_convention, where):
    assert abs(by_convention[where].last.contrast[0]) < 0.1
    assert abs(by_convention[where].value - 0.5) < 0.15


def test_networks_without_it_show_nothing(by_convention):
    found = by_convention["x", False, "right", "overlap"]
    assert abs(found.last.control("contrast")) < 0.1
    assert abs(found.untrained - 0.5) < 0.15


def test_prompts_beyond_the_first_batch_are_not_read_by_every_convention():
    watch = watched(slice(0, 0), torch.full((N,), 6.0))
    again = planted(slice(0, 0), torch.full((N,), 6.0), 9)
    batch = Batch(Prompts(xs=torch.zeros(N, 4, 2), ys=torch.zeros(N, 4)), torch.zeros(N, 4), {SITE.hook: again})
    before = {key: of["shifted"] for key, of in watch.seen().scores.items()}
    watch("shifted", batch, {SITE.label: DEFAULT.directions(again)})
    for key, of in watch.seen().scores.items():
        torch.testing.assert_close(of["shifted"], before[key], rtol=0, atol=0)


@pytest.mark.parametrize("center", [False, True])
def test_left_vectors_follow_from_the_right_ones(center):
    values = planted(slice(0, None, 2), torch.full((N,), 6.0), 0)
    right, left = (replace(DEFAULT, center=center, side=side) for side in ("right", "left"))
    found, direct = _left_of(right.directions(values), values, left), left.directions(values)
    cosines = (found.directions * direct.directions).sum(-1).abs()
    torch.testing.assert_close(cosines, torch.ones_like(cosines), rtol=0, atol=1e-5)
    single = values[:, :, :1].expand(-1, -1, WIDTH) + 0 * values  # of rank 1: the second one follows from nothing
    torch.testing.assert_close(_left_of(right.directions(single), single, left).directions,
                               left.directions(single).directions)  # fmt: skip


def test_correlations_inside_families_are_not_those_between():
    up = torch.arange(10.0)
    within, pooled, each = correlate({"a": up, "b": up + 20}, {"a": 9 - up, "b": 29 - up})
    assert within == pytest.approx(-1.0)
    assert pooled > 0.4
    assert each == pytest.approx({"a": -1.0, "b": -1.0})


def test_a_constant_score_has_no_correlation():
    within, pooled, each = correlate(
        {"a": torch.zeros(5), "b": torch.arange(5.0)},
        {"a": torch.tensor([3.0, 1.0, 4.0, 0.0, 2.0]), "b": torch.arange(5.0)},
    )
    assert within == pytest.approx(1.0)
    assert each["a"] != each["a"]
    assert pooled == pooled


def stacked(axes, *, mean=0.0, seed=0):
    """Noise, with two loud axes at the last x token of each family, the first half as loud again."""
    watch, generator = SignatureWatch([SITE], "interleaved"), torch.Generator().manual_seed(seed)
    for label, axis in axes.items():
        values = torch.randn(N, ROWS, WIDTH, generator=generator)
        values[:, 6, axis] *= 12
        values[:, 6, axis + 1] *= 8
        values[:, 6, 10] += mean
        for part in values.split(40):
            prompts = Prompts(xs=torch.zeros(len(part), 4, 2), ys=torch.zeros(len(part), 4))
            found = {SITE.label: DEFAULT.directions(part)}
            watch(label, Batch(prompts, torch.zeros(len(part), 4), {SITE.hook: part}), found)
    return watch


def read_rows(watches):
    errors = dict.fromkeys((IN_DISTRIBUTION, "shifted"), torch.arange(N).double())
    return [
        found for found in conventions([watch.seen() for watch in watches], errors) if "prompts as rows" in found.tokens
    ]


@pytest.fixture(scope="module")
def by_rows():
    same = {FIT: 0, IN_DISTRIBUTION: 0, "shifted": 0}
    found = read_rows([stacked(same | {"shifted": 4}), *(stacked(same, seed=seed) for seed in (1, 2, 3))])
    return {(each.tokens.split(",")[0], each.centred, each.variant): each for each in found}


def test_every_token_centring_and_variant_is_read(by_rows):
    assert len(by_rows) == 2 * 2 * 2
    assert {found.side for found in by_rows.values()} == {"right"}


@pytest.mark.parametrize("variant", ["overlap", "directions"])
@pytest.mark.parametrize("centred", [False, True])
def test_other_axes_are_seen_where_they_are(by_rows, variant, centred):
    there, elsewhere = by_rows["last x", centred, variant], by_rows["last y", centred, variant]
    assert there.last.contrast[0] > 0.8  # almost all of it: noise of 1 beside axes of 8 and 12
    assert (there.value, there.p_value) == (there.last.contrast[0], 0.25)
    assert abs(there.untrained) < 0.1
    assert 5 < there.z < 101  # no spread below 0.01 is believed
    assert abs(elsewhere.value) < 0.5  # two random planes of 16 dimensions overlap by 1/8


def test_centring_takes_a_mean_away():
    axes = {FIT: 0, IN_DISTRIBUTION: 0, "shifted": 4}
    found = {(r.tokens, r.centred, r.variant): r for r in read_rows([stacked(axes, mean=100.0)] * 2)}
    plain, centred = (found["last x, prompts as rows", c, "overlap"].value for c in (False, True))
    assert plain < 0.6  # the mean is one of the two directions of every family
    assert centred > 0.8


def test_nothing_is_said_of_single_prompts(by_rows):
    for last in (found.last for found in by_rows.values()):
        assert all(math.isnan(value) for value in (*last.within, *last.pooled, *last.auroc))
