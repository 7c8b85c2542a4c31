"""The look of all figures holds on light and dark pages, for readers who see few colours, on axes of any span."""

import itertools
import math
import re
from importlib.resources import files

import plotly.graph_objects as go
import pytest

from icl_interp.figures.theme import (
    COLOURS,
    SHIFT_COLOURS,
    axis_range,
    base_layout,
    log_labels,
    role_style,
    shift_style,
    translucent,
)

ROLES = ("model", "least squares", "ridge", "bayes", "gradient descent", "zero", "untrained", "norm baseline")


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def palettes() -> list[dict[str, str]]:
    css = files("icl_interp.report").joinpath("style.css").read_text()
    blocks = [b for b in re.findall(r"\{([^{}]*)\}", css) if "--page:" in b]
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in blocks]


def test_contrast_of_black_and_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize("colour", sorted({*COLOURS.values(), *SHIFT_COLOURS}))
def test_every_trace_colour_shows_on_both_pages(colour):
    for palette in palettes():
        assert contrast(colour, palette["page"]) >= 3.0  # WCAG 1.4.11, graphical objects


@pytest.mark.parametrize("ink", ["ink", "muted", "link", "amber", "blue", "violet"])
def test_every_text_colour_is_readable(ink):
    for palette in palettes():
        assert min(contrast(palette[ink], palette[page]) for page in ("page", "panel", "notice")) >= 4.5


def test_the_two_dark_palettes_agree():
    _, chosen, preferred = palettes()
    assert chosen == preferred


def test_no_two_roles_look_alike():
    for one, other in itertools.combinations(ROLES, 2):
        a, b = role_style(one), role_style(other)
        assert a.colour != b.colour, (one, other)
        assert a.symbol != b.symbol, (one, other)


def test_plotly_takes_every_style():
    figure = go.Figure(layout=base_layout("Title", x="x", y="y", x_type="log", y_type="category", legend=False))
    for style in [*map(role_style, COLOURS), *map(shift_style, range(24))]:
        figure.add_scatter(x=[1], y=["a"], line=style.line(), marker=style.marker(), fillcolor=style.band())
    assert figure.layout.title.text == "Title"
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.title.text == "y"


@pytest.mark.parametrize("hovermode", ["closest", "x unified", "x"])
def test_hover_modes(hovermode):
    assert go.Figure(layout=base_layout(hovermode=hovermode)).layout.hovermode == hovermode


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: role_style("teacher"), "role_style needs one of model, .* got 'teacher'"),
        (lambda: shift_style(-1), "index from 0, got -1"),
        (lambda: translucent("red", 0.5), "needs '#rrggbb' and an opacity in .* got 'red'"),
        (lambda: translucent("#ff0000", 1.5), "got '#ff0000' and 1.5"),
        (lambda: translucent("#gg0000", 0.5), "got '#gg0000'"),
    ],
)
def test_wrong_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


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
