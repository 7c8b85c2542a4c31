"""A part of the x axis that is set apart: shaded, with a dashed border and its label."""

from icl_interp.figures.lines import Line, Stretch, lines_figure
from icl_interp.figures.theme import role_style


def test_a_stretch_is_shaded_bordered_and_labelled() -> None:
    line = Line("a", range(5), [1.0, 2.0, 3.0, 4.0, 5.0], role_style("model"))
    figure = lines_figure([line], x="x", y="y", y_type="log", stretch=Stretch(2.5, 4.5, "unknown land"))
    area, border = figure.layout.shapes
    assert (area.type, area.x0, area.x1, area.layer) == ("rect", 2.5, 4.5, "below")
    assert (border.type, border.x0, border.x1, border.line.dash) == ("line", 2.5, 2.5, "dash")
    (note,) = figure.layout.annotations
    assert (note.text, note.x, note.xref, note.yref) == ("unknown land", 2.5, "x", "paper")


def test_without_one_nothing_is_drawn() -> None:
    figure = lines_figure([Line("a", range(2), [1.0, 2.0], role_style("model"))], x="x", y="y")
    assert figure.layout.shapes == figure.layout.annotations == ()
