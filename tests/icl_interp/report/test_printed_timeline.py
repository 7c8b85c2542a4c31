"""Figures of a timeline for a paper: every view is the plotly figure."""

from typing import get_args

from print_checks import assert_same_figure

from icl_interp.figures import save
from icl_interp.measure.development.result import Panel, needs

VIEWS = (
    "loss",
    "distance",
    "icl",
    "signature",
    "trajectory",
    "complexity",
    "diversity",
    "probes",
    "weights",
    "attention",
)


def test_every_view_of_a_timeline_is_the_same_in_print(developed):  # of the fixture developed_run
    there = [view for view in get_args(Panel) if needs(developed, view) is None]
    assert len(there) > 6
    for view in there:
        assert_same_figure([save.Panel(developed.plot(view))])
