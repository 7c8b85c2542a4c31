"""What is read off planted curves, and how figures thin and draw them."""

import math
from dataclasses import replace

import pytest
from carroll_cases import INFINITE, THREE, ideal_measures, ideal_run, spoil

from icl_interp.experiments.carroll2025.measures import (
    _NEVER_LEFT,
    _POOL_SEEDS,
    NUMBERS,
    Pair,
    Reader,
    _gap_ratios,
    _log_crossover,
    crossover,
)
from icl_interp.experiments.carroll2025.setting import SIZES
from icl_interp.experiments.claims import ORDERED, rank_correlation, swaps
from icl_interp.experiments.experiment import experiment

EXPERIMENT = experiment("carroll2025")

panels = EXPERIMENT.drawn


@pytest.fixture(scope="module")
def read():
    return Reader(ideal_measures(), THREE)


@pytest.fixture(scope="module")
def ideal():
    return ideal_measures()


def test_transience_is_the_rise_from_t_crit_to_the_end():
    run = ideal_run(16)
    assert (run.t_crit, run.steps[run.t_crit]) == (3, 300)
    assert NUMBERS["rise"](run) == pytest.approx(3.3 - 1.8)
    assert NUMBERS["rise"](ideal_run(64)) == 0.0


def test_noise_is_the_largest_rise_at_any_time():
    run = replace(ideal_run(INFINITE), ood=(4.0, 3.0, 3.4, 2.0, 2.1, 1.5, 1.6))
    assert NUMBERS["noise"](run) == pytest.approx(0.4)
    assert NUMBERS["rise"](run) == pytest.approx(0.1)
    assert NUMBERS["noise"](replace(run, ood=(3.0, 2.0, 1.0))) == 0.0


def test_the_dip_is_a_share_of_the_way_between_the_solutions():
    run = ideal_run(16)
    assert NUMBERS["way"](run) == pytest.approx((3.4 - 1.8) / (3.4 - 1.6))
    assert NUMBERS["way"](replace(run, ood=(3.4, 3.6))) == pytest.approx(0.0)
    assert NUMBERS["way"](replace(run, ood=(3.4, 1.6))) == pytest.approx(1.0)


def test_the_turn_is_the_largest_second_component():
    assert replace(ideal_run(4), place=((9.0, 0.0), (0.0, 2.0), (5.0, 1.0))).turn == 1


def test_order_is_spearmans_and_none_where_all_are_equal():
    assert rank_correlation([1, 2, 3, 4], [1.0, 2.0, 4.0, 3.0]) == pytest.approx(0.8)
    assert rank_correlation([1, 2, 3], [5.0, 5.0, 5.0]) == 0.0


@pytest.mark.parametrize(("n", "allowed"), [(3, 0), (4, 1), (5, 2)])
def test_so_many_swaps_of_neighbours_are_allowed_and_no_more(n, allowed):
    assert f"with {n} points 0.8 allows {allowed} swap" in swaps(n)
    places = list(range(n))
    for at in range(0, 2 * allowed, 2):
        places[at : at + 2] = places[at + 1], places[at]
    assert rank_correlation(range(n), [float(place) for place in places]) >= ORDERED


def test_the_gap_of_ridge_and_dmmse_shrinks_over_pools():
    assert len(_POOL_SEEDS) == 5
    found = _gap_ratios(replace(SIZES["smoke"], large=64, measured=SIZES["laptop"].measured))
    assert max(found) < 1.0
    # That of the networks' own pools is what `measure` found at the laptop's size.
    assert found[0] == pytest.approx(0.4245 / 0.5568, abs=1e-3)


def test_the_threshold_is_the_largest_m_that_ends_nearer_to_dmmse(read, ideal):
    assert read.thresholds() == (32.0, 32.0, 32.0)
    away = spoil(ideal, 32, lambda _: {"to_dmmse": (2.0,) * 7})
    assert Reader(away, THREE).thresholds() == (16.0, 16.0, 16.0)


def test_crossovers_solve_the_equation(read):
    infinite = ideal_run(INFINITE)
    n = crossover(ideal_run(16), infinite).n
    assert math.log(n) / n == pytest.approx(0.45 / 10.0)
    assert crossover(ideal_run(8), infinite).reason.startswith("the accurate solution is not more complex")
    lost = replace(ideal_run(8), llc=math.nan)
    assert crossover(lost, infinite) is None
    assert math.isnan(_log_crossover(lost, infinite))
    assert _log_crossover(replace(ideal_run(8), own_of=Pair(1.7, 1.6)), infinite) == _NEVER_LEFT
    assert [read.log_crossovers(m) for m in (4, 8)] == [(0.0,) * 3] * 2
    assert read.log_crossovers(16) == pytest.approx((math.log10(n),) * 3)


def test_the_figures_say_what_they_show(ideal):
    found = {panel.id: panel for panel in panels(ideal, THREE)}
    assert list(found) == ["ood-loss", "trajectories", "distances", "losses", "complexity", "crossover"]
    assert "in 3 of 3 seeds this is more than any rise" in found["ood-loss"].sentence
    assert "The largest M that ends above it is 32, 32, 32" in found["distances"].sentence
    assert "above that of M = ∞ for M = 16, 32, 64 (" in found["complexity"].sentence
    assert "preferred first for M = 16, 32, 64. There" in found["crossover"].sentence
    assert len(found["distances"].rows) == 2 * 5 * 3
    assert all(len(row) == len(panel.columns) for panel in found.values() for row in panel.rows)


def test_the_caption_says_why_there_is_no_crossing(ideal):
    said = next(panel for panel in panels(ideal, THREE) if panel.id == "crossover").sentence
    simpler = "the accurate solution is not more complex, so it is always preferred"
    assert f"There is no crossing where {simpler} (M = 4 in 3 of 3 seeds, 8 in 3 of 3 seeds). n counts" in said
    # An LLC gap of 1 is too small for a loss gap of 0.45: dMMSE is more complex and always preferred all the same.
    outweighed = spoil(ideal, 16, lambda _: {"llc": 41.0})
    said = next(panel for panel in panels(outweighed, THREE) if panel.id == "crossover").sentence
    assert "or where the loss gap outweighs the complexity gap at any n (M = 16 in 3 of 3 seeds)." in said
    assert "(M = 4 in 3 of 3 seeds, 8 in 3 of 3 seeds)" in said
    simple = ideal
    for m in (16, 32, 64):
        simple = spoil(simple, m, lambda _: {"llc": 1.0})
    said = next(panel for panel in panels(simple, THREE) if panel.id == "crossover").sentence
    assert said.startswith("For no M is ridge preferred first in all seeds. ")


def test_each_m_stands_in_the_legend_once(ideal):
    distances = next(panel for panel in panels(ideal, THREE) if panel.id == "distances").figure
    shown = [trace.name for trace in distances.data if trace.showlegend is not False]
    assert shown == ["M = 4", "M = 8", "M = 16", "M = 32", "M = 64", "equally far"]


def test_the_figures_without_learning_coefficients_are_drawn(ideal):
    bare = spoil(ideal, INFINITE, lambda _: {"llc": math.nan})
    found = {panel.id: panel for panel in panels(bare, THREE)}
    assert "for M = none" in found["complexity"].sentence
    assert "preferred first in all seeds. n counts" in found["crossover"].sentence
    assert all(math.isnan(row[3]) and row[4] is None for row in found["crossover"].rows)
