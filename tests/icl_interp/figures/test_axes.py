"""Labels of logarithmic axes: never none, never crowded; what has no place there does not count."""

import math

import pytest

from icl_interp.figures.theme import axis_range, log_labels


@pytest.mark.parametrize(
    ("values", "dtick"),
    [
        ([0.001, 0.5, 10.0], 1),
        ([1.0, 100.0], 1),
        ([1.0, 99.0], "D2"),
        ([1.1, 7.0], "D2"),
        ([2.1, 4.5], None),
        ([3.0], None),
        ([], 1),
        ([0.0, -3.0, math.nan, math.inf, 2.0, 10.0], "D2"),
    ],
)
def test_labels_follow_the_decades_that_are_covered(values, dtick):
    assert log_labels(iter(values)) == {"dtick": dtick, "tickformat": "~g"}


def test_ranges_are_logarithms_on_a_logarithmic_axis_only():
    assert axis_range((1, 100.0), "log") == pytest.approx([0.0, 2.0])
    assert axis_range((1, 100.0), "linear") == [1.0, 100.0]
