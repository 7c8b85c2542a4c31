"""The frame that papers share: numbers over seeds, and lines of them."""

import math
from typing import NamedTuple

import pytest

from icl_interp.experiments.claims import Check, Interval
from icl_interp.experiments.experiment import _EXPERIMENTS, PerSeed, combine, experiment
from icl_interp.experiments.panels import band, dots, flat, spread
from icl_interp.figures.theme import role_style

STYLE = role_style("model")


class Run(NamedTuple):
    kind: str
    seed: int


@pytest.fixture
def read():
    return PerSeed({Run("a", 0): 4.0, Run("a", 1): 0.0, Run("b", 0): 1.0, Run("b", 1): 2.0}, (0, 1), {})


def test_numbers_are_read_seed_by_seed(read):
    assert (read.all("a"), read.first("b")) == ([4.0, 0.0], 1.0)
    assert read.each(lambda record: 2 * record, "b") == (2.0, 4.0)
    assert read.mean(lambda record: record, "a") == read.interval(lambda record: record, "a").value == 2.0


@pytest.mark.parametrize("number", [lambda x: 1 / x, lambda x: x or math.exp(1e4), lambda x: x or math.nan])
def test_where_arithmetic_has_no_answer_there_is_no_number(read, number):
    found = read.each(number, "a")
    assert [math.isnan(value) for value in found] == [False, True]
    assert Check("key", "label", found, low=0.0).note == "1 of 2 seeds gave no number"
    assert math.isnan(combine(lambda a, b: b / a, [0.0], [1.0])[0])


def test_a_fault_of_ours_is_no_undecided_check(read):
    with pytest.raises(KeyError):
        read.each(lambda record: record, "c")
    with pytest.raises(AttributeError):
        read.each(lambda record: record.missing, "a")
    with pytest.raises(ValueError, match="shorter"):
        read.each(lambda record: sum(a for a, _ in zip([record], [], strict=True)), "a")


def test_lines_have_intervals_and_ranges():
    found = [Interval(2.0, -1.0, 5.0), Interval(3.0, 2.0, 4.0)]
    line = band("name", ["x", "y"], found, STYLE)
    assert (list(line.y), list(line.low), list(line.high)) == ([2.0, 3.0], [-1.0, 2.0], [5.0, 4.0])
    assert list(band("name", ["x", "y"], found, STYLE, tenth=True).low) == [0.2, 2.0]
    assert list(band("name", [], [], STYLE).y) == []
    series = dots("name", {"x": found[0], "y": found[1]}, STYLE)
    assert (series.rows, series.values, series.high) == (["x", "y"], [2.0, 3.0], [5.0, 4.0])
    line, rows = spread("name", [1, 2], [[1.0, 2.0], [3.0, 6.0]], STYLE)
    assert rows == [(1, 2.0, 1.0, 3.0), (2, 4.0, 2.0, 6.0)]
    assert (list(line.y), list(line.low), list(line.high)) == ([2.0, 4.0], [1.0, 2.0], [3.0, 6.0])
    assert (flat("name", [1, 2, 3], 7.0, STYLE).x, flat("name", [1, 2, 3], 7.0, STYLE).y) == ([1, 3], [7.0, 7.0])


@pytest.mark.parametrize("name", _EXPERIMENTS)
def test_claims_have_keys_of_their_own_before_anything_is_trained(name):
    keys = [stated.key for stated in experiment(name).claims]
    assert len(set(keys)) == len(keys) > 4
