"""Parts of a page refuse what could not be shown."""

from dataclasses import replace
from typing import get_args

import pytest

from icl_interp.report import Fact, FigureGrid, FigureView, Page, Section, TableView, Tone, Verdict
from icl_interp.report.model import Chapter, Line, _check_figure, lay_out
from icl_interp.report.tables import _check_cells, check_choice

JSON = '{"data": [{"name": "model", "x": [0, 1], "y": [1.0, 0.5]}], "layout": {}}'


def figure(name: str = "error") -> FigureView:
    return FigureView(name, "Error", JSON, "It falls.", "Line chart of the error.")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: check_choice("Verdict", "tone", "perhaps", get_args(Tone)),
            "tone to be one of 'evidence', .* got 'perhaps'",
        ),
        (lambda: Verdict("Title", " ", "none"), "Verdict 'Title' needs sentence, got nothing but blanks"),
        (lambda: TableView((), (), caption="Empty"), "TableView 'Empty' needs at least one column"),
        (lambda: TableView(("a",), (), caption=""), "needs caption"),
        (lambda: TableView(("a", "b"), ((1,),), caption="T"), "needs 2 cells a row, got 1 in row 0"),
        (
            lambda: TableView(("a",), ((1,),), caption="T", align=("left", "left")),
            "needs 1 alignments, got 2",
        ),
        (lambda: figure("1st"), "needs an id of letters"),
        (lambda: figure("error--json"), "needs an id of letters"),
        (lambda: figure("two words"), "needs an id of letters"),
        (lambda: replace(figure(), sentence=""), "FigureView 'error' needs sentence"),
        (lambda: replace(figure(), aria_label=""), "FigureView 'error' needs aria_label"),
        (lambda: replace(figure(), height=20), "height of 80 to 2000 pixels, got 20"),
        (lambda: FigureGrid("grid", "Grid", "Same.", ()), "needs at least one figure"),
        (lambda: Section("id", ""), "Section 'id' needs title"),
        (lambda: Page(""), "Page needs title"),
        (
            lambda: Page("T", sections=(Section("error", "Error", figures=(figure(),)),)),
            "each id once, got 'error' more than once; rename them",
        ),
        (
            lambda: Section("a", "A", parts=(Section("b", "B", parts=(Section("c", "C"),)),)),
            "Section 'a' needs parts without parts of their own, got some in b",
        ),
        (
            lambda: Page("T", sections=(Section("a", "A", parts=(Section("a", "B"),)),)),
            "each id once, got 'a' more than once",
        ),
        (
            lambda: Page("T", verdicts=(Verdict("V", "S.", "none", anchor="lost"),), sections=(Section("a", "A"),)),
            r"its own ids \(a\), got lost",
        ),
    ],
)
def test_wrong_values_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# The type checks of the tests refuse wrong kinds before a constructor runs, so ours are called by themselves.
def test_wrong_cells_are_refused():
    with pytest.raises(TypeError, match="'T' needs text, numbers or None as cells, got object in row 3; convert"):
        _check_cells("T", ("a", object()), 3)


def test_wrong_figures_are_refused():
    with pytest.raises(TypeError, match=r"FigureView 'f' needs plotly JSON or a figure with .*, got int"):
        _check_figure("f", 3)


def test_ids_inside_grids_count():
    cells = FigureGrid("grid", "Grid", "Same.", (figure("a"), figure("a")))
    with pytest.raises(ValueError, match="'a' more than once"):
        Page("T", sections=(Section("s", "S", figures=(cells,)),))


def test_hook_names_are_ids():
    assert figure("blocks.0.hook_resid_post").id == "blocks.0.hook_resid_post"


def test_parts_are_frozen():
    with pytest.raises(AttributeError):
        Fact("a", "b").label = "c"


def test_plots_in_sight_are_those_outside_of_folds():
    grid = FigureGrid("grid", "Grid", "Same.", (figure("a"), figure("b")))
    open_part = Section("open", "Open", figures=(figure("c"),))
    folded = Section("folded", "Folded", figures=(grid,), folded=True)
    section = Section("s", "S", figures=(figure("d"),), parts=(open_part, folded))
    assert (section.n_plots, section.n_plots_in_sight) == (4, 2)
    assert (
        Page("T", sections=(section, replace(section, id="t", folded=True, figures=(), parts=()))).n_plots_in_sight == 2
    )
    assert replace(section, folded=True).n_plots_in_sight == 0


def test_verdicts_may_point_into_parts():
    part = Section("part", "Part", figures=(figure("deep"),), folded=True)
    page = Page(
        "T", sections=(Section("s", "S", parts=(part,)),), verdicts=(Verdict("V", "S.", "none", anchor="deep"),)
    )
    assert page.verdicts[0].anchor == "deep"


QUESTION = Section("question", "What?")


def part(name):
    return lambda found: Chapter(Section(name, name.upper()), (Verdict(name, f"{found}.", "none"),))


def opening(lead, table):
    tables = (TableView(("a",), ((1,),), caption=table),)
    return lambda _: Chapter(replace(QUESTION, lead=lead, figures=(figure(table),), tables=tables))


def test_chapters_are_laid_out_under_their_questions():
    other = Section("other", "And what?")
    lines = (
        Line(part("a"), QUESTION, folded=True),
        Line(opening("First.", "one"), QUESTION),
        Line(part("b"), QUESTION),
        Line(part("c"), other),
        Line(lambda _: None, Section("left-out", "Nothing?")),
        Line(part("d"), QUESTION),
        Line(opening("", "two"), QUESTION),
    )
    (first, second), cards = lay_out(lines, "found")
    assert [(section.id, section.folded) for section in first.parts] == [("b", False), ("d", False), ("a", True)]
    assert (first.id, first.title, first.lead) == ("question", "What?", "First.")
    assert [item.id for item in first.figures] == [table.caption for table in first.tables] == ["one", "two"]
    assert (second.id, second.title, [section.id for section in second.parts]) == ("other", "And what?", ["c"])
    assert [card.title for card in cards] == ["a", "b", "c", "d"]
    assert cards[0].sentence == "found."
