"""Matrices whose rows are prompts: what they share at one token is found there and nowhere else."""

import math

import pytest
import torch

from icl_interp.activations import Batch
from icl_interp.experiments.hill2025.prompt_rows import PromptRowsWatch, read_prompt_rows
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.sites import ResidualSite
from icl_interp.measure.study.survey import FIT
from icl_interp.prompts import Prompts

SITE = ResidualSite("block 0", "hook")
N, ROWS, WIDTH = 200, 8, 16  # x and y in turn: the last x is row 6, the last y row 7


def watched(axes, *, mean=0.0):
    """Noise, with two loud axes at the last x token of each family, the first half as loud again."""
    watch, generator = PromptRowsWatch([SITE], "interleaved"), torch.Generator().manual_seed(0)
    for label, axis in axes.items():
        values = torch.randn(N, ROWS, WIDTH, generator=generator)
        values[:, 6, axis] *= 12
        values[:, 6, axis + 1] *= 8
        values[:, 6, 10] += mean
        for part in values.split(150):
            prompts = Prompts(xs=torch.zeros(len(part), 4, 2), ys=torch.zeros(len(part), 4))
            watch(label, Batch(prompts, torch.zeros(len(part), 4), {SITE.hook: part}))
    return watch


@pytest.fixture(scope="module")
def readings():
    same = {FIT: 0, IN_DISTRIBUTION: 0, "shifted": 0}
    found = read_prompt_rows([watched(same | {"shifted": 4}), watched(same)])
    return {(reading.tokens.split(",")[0], reading.centred, reading.variant): reading for reading in found}


def test_every_token_centring_and_variant_is_read(readings):
    assert len(readings) == 2 * 2 * 2
    assert {reading.side for reading in readings.values()} == {"right"}


@pytest.mark.parametrize("variant", ["overlap", "directions"])
@pytest.mark.parametrize("centred", [False, True])
def test_other_axes_are_seen_where_they_are(readings, variant, centred):
    there, elsewhere = readings["last x", centred, variant], readings["last y", centred, variant]
    assert there.contrast[0] > 0.8  # almost all of it: noise of 1 beside axes of 8 and 12
    assert abs(there.contrast[1]) < 0.1
    assert there.beyond("contrast") > 0.8
    assert abs(elsewhere.contrast[0]) < 0.4  # two random planes of 16 dimensions overlap by 1/8


def test_centring_takes_a_mean_away():
    axes = {FIT: 0, IN_DISTRIBUTION: 0, "shifted": 4}
    found = {(r.tokens, r.centred, r.variant): r for r in read_prompt_rows([watched(axes, mean=100.0)] * 2)}
    plain, centred = (found["last x, prompts as rows", c, "overlap"].contrast[0] for c in (False, True))
    assert plain < 0.6  # the mean is one of the two directions of every family
    assert centred > 0.8


def test_nothing_is_said_of_single_prompts(readings):
    for reading in readings.values():
        assert all(math.isnan(value) for value in (*reading.within, *reading.pooled, *reading.auroc))
