"""Curves over seeds and along training, as figures draw them."""

import itertools
import math

from icl_interp.experiments.panels import thinned


def test_long_curves_are_thinned_and_keep_their_ends_and_what_is_asked_for():
    steps = tuple(range(0, 20_000, 10))
    kept = thinned(steps, 1234)
    assert len(kept) <= 61
    assert {0, 1234, len(steps) - 1} <= set(kept)
    assert kept == sorted(set(kept))
    gaps = [math.log((steps[b] + 1) / (steps[a] + 1)) for a, b in itertools.pairwise(kept[20:])]
    assert max(gaps) < 2.5 * 10 / 58  # the whole way is log 20,000, about 10, in 58 stretches
    assert thinned(steps[:7]) == list(range(7))
