"""A page is one file that opens anywhere, says all in text as well, and is written whole or not at all."""

import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pytest

from icl_interp.figures.theme import base_layout, plotlyjs_source, plotlyjs_version, role_style
from icl_interp.report import (
    Fact,
    FigureGrid,
    FigureView,
    Page,
    Section,
    TableView,
    Verdict,
    render,
)
from icl_interp.report.tables import check_choice

HOSTILE = '</script><b onload="x">&\'`--task`'
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Document(HTMLParser):
    """Elements, ids and text of a page; fails on tags that do not balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif self._open and self._open[-1] != "style":
            self.text += data

    def all(self, tag=None, **wanted):
        return [a for t, a in self.elements if tag in (None, t) and wanted.items() <= a.items()]


def line_figure(n_points: int = 20, n_traces: int = 2) -> go.Figure:
    figure = go.Figure(layout=base_layout(x="examples", y="error"))
    for _ in range(n_traces):
        figure.add_scatter(x=np.arange(n_points), y=np.ones(n_points), name="model", line=role_style("model").line())
    return figure


def view(name: str, **changes: object) -> FigureView:
    return replace(FigureView(name, f"Title {name}", line_figure(), f"Finding {name}.", f"Chart {name}."), **changes)


def full_page(text: str = "text") -> Page:
    table = TableView((text, "score"), ((text, 0.123456789), (None, float("nan"))), caption=text, notes=text)
    grid = FigureGrid("grid", text, text, (view("cell-1"), view("cell-2", title=text, sentence=text, aria_label=text)))
    sections = (
        Section("first", text, lead=text, figures=(view("alone", data=table), grid), tables=(table,)),
        Section("second", text, figures=(view("folded"),), tables=(table,), folded=True),
    )
    inner = replace(grid, id="inner", figures=(view("inner-1"), view("inner-2")))
    parts = (
        Section("part-open", text, figures=(view("in-part"),)),
        Section("part-folded", text, lead=text, figures=(inner,), tables=(table,), folded=True),
    )
    sections += (Section("third", text, parts=parts),)
    tones = ("evidence", "opposite", "none", "inconclusive", "mixed", "unknown")
    verdicts = tuple(Verdict(text, text, tone, detail=text, anchor="grid") for tone in tones)
    facts = (Fact(text, text),)
    return Page(text, text, (text,), facts, verdicts, sections, provenance=facts, warnings=(text,))


@pytest.fixture(scope="module")
def html() -> str:
    return render(full_page())


@pytest.fixture(scope="module")
def document(html) -> Document:
    return Document(html)


def test_plotlyjs_is_embedded_once(html):
    assert html.count(plotlyjs_source()[:2000]) == 1


def test_an_embedded_page_asks_nobody_for_anything(document):
    links = [a[name] for _, a in document.elements for name in ("src", "href", "data", "action", "poster") if name in a]
    assert all(link.startswith("#") or link == "data:," for link in links)
    style = render(full_page(), plotlyjs="directory").split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (a["content"] for a in document.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_links_arrive(document):
    ids = [a["id"] for _, a in document.elements if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = [a["href"][1:] for a in document.all("a")]
    wanted += [a[name] for _, a in document.elements for name in ("aria-labelledby", "data-source") if name in a]
    assert set(wanted) <= set(ids)
    assert {"first", "second", "grid", "alone", "page--provenance"} <= set(wanted)


def test_headings_never_skip_a_level(document):
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_folded_parts_say_what_is_inside(html, document):
    folds = re.findall(r'<section class="([^"]*)" id="([^"]*)"[^>]*>\n<details class="fold">', html)
    assert folds == [("chapter folded", "second"), ("part folded", "part-folded")]
    assert re.findall(r'<span class="inside">([^<]*)</span>', html) == ["1 plot, 1 table", "2 plots, 1 table"]
    assert [a["class"] for a in document.all("section") if a.get("id", "").startswith("part-")] == [
        "part",
        "part folded",
    ]


def test_figures_of_parts_are_numbered_after_those_above_them(html):
    numbers = re.findall(r'href="#([\w-]+)">Figure (\d+)<', html)
    assert [name for name, _ in numbers] == ["alone", "grid", "folded", "in-part", "inner"]
    assert [int(number) for _, number in numbers] == [1, 2, 3, 4, 5]


def test_landmarks_language_and_skip_link(document):
    assert document.all("html", lang="en")
    assert len(document.all("main")) == len(document.all("footer")) == len(document.all("nav")) == 1
    assert document.all("a", href="#page--main")


@pytest.mark.parametrize("name", ["alone", "cell-1", "cell-2", "folded"])
def test_every_figure_speaks_to_everyone(document, html, name):
    (plot,) = document.all("div", **{"data-source": f"{name}--json"})
    assert plot["role"] == "img"
    assert plot["aria-label"]
    block = html.split(f'<figure class="figure" id="{name}">')[1].split("</figure>")[0]
    assert re.search(r"</h[34]>\s*<p class=\"finding\">[^<]+</p>", block)
    assert f'<details class="data" id="{name}--data">' in block
    assert "<caption>" in block
    assert 'scope="col"' in block
    assert 'scope="row"' in block


def test_figures_arrive_as_they_were(document):
    specs = [json.loads(s) for s in document.scripts if s.startswith('{"data"')]
    assert len(specs) == 7
    assert specs[0] == {key: json.loads(line_figure().to_json())[key] for key in ("data", "layout")}


def test_the_page_opens_with_what_was_assumed():
    html = render(Page("Title", assumptions=("Assumed `d = 20`.",)), plotlyjs="directory")
    assert html.index("Assumed <code>d = 20</code>.") < html.index("<h1>")
    assert 'class="notice"' not in render(Page("Title"), plotlyjs="directory")


def test_tones_are_told_by_words_and_shapes(document):
    for word in ("Evidence", "The opposite", "Nothing that matters", "Not shown", "Partly", "Not applicable"):
        assert word in document.text
    assert len(document.all("svg", **{"aria-hidden": "true"})) >= 4


def test_hostile_text_stays_text():
    document = Document(render(full_page(HOSTILE), plotlyjs="directory"))
    assert not document.all("b")
    assert not [a for _, a in document.elements if "onload" in a]
    assert '</script><b onload="x">&\'--task' in document.text
    assert document.all("code")


def test_hostile_traces_stay_data():
    figure = go.Figure(go.Scatter(x=[HOSTILE], y=[1.0], name=HOSTILE, line={"color": "red"}))
    grid = FigureGrid("grid", "T", "S.", (view("a", figure=figure),))
    document = Document(render(Page("T", sections=(Section("s", "S", figures=(grid,)),)), plotlyjs="directory"))
    assert not document.all("b")
    assert json.loads(next(s for s in document.scripts if s.startswith('{"data"')))["data"][0]["name"] == HOSTILE


def test_missing_numbers_are_named_and_exact_ones_kept(document):
    assert document.all("td", **{"class": "right missing short", "data-v": ""})
    assert document.all("td", **{"class": "right short", "data-v": "0.123456789"})
    assert "n/a" in document.text
    assert not re.search(r"\bnan\b", document.text, re.IGNORECASE)


def test_long_tables_keep_their_tail_for_the_file():
    rows = tuple((i, float(i) if i != 250 else None) for i in range(300))
    long = TableView(("i", "value"), rows, caption="Long")
    document = Document(render(Page("T", sections=(Section("s", "S", tables=(long,)),)), plotlyjs="directory"))
    assert len(document.all("tr")) == 1 + 200
    tail = json.loads(next(s for s in document.scripts if s.startswith("[[")))
    assert tail == [list(row) for row in rows[200:]]
    assert "The first 200 of 300 rows" in document.text


def test_table_order_and_folds():
    table = TableView(("a",), ((1,),), caption="The table")
    section = Section("s", "S", figures=(view("f"),), tables=(table,))
    page = render(Page("T", sections=(section,)), plotlyjs="directory")
    assert page.index("The table") > page.index('id="f"')
    assert '<details class="fold">' in render(Page("T", sections=(replace(section, folded=True),)))


def test_plotlyjs_from_its_server():
    cdn = Document(render(full_page(), plotlyjs="cdn"))
    (script,) = (a for a in cdn.all("script") if "src" in a)
    assert script["src"] == f"https://cdn.plot.ly/plotly-{plotlyjs_version()}.min.js"
    assert script["integrity"].startswith("sha256-")


def test_an_unknown_place_is_refused():
    with pytest.raises(ValueError, match="render needs plotlyjs to be one of 'embed', 'cdn', 'directory', got 'web'"):
        check_choice("render", "plotlyjs", "web", ("embed", "cdn", "directory"))


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("not json", "FigureView 'f' needs plotly JSON, got text that is no JSON"),
        ("[1]", "needs plotly JSON with a list called 'data'"),
        ('{"data": [{"z": [[1.0]]}]}', "needs its numbers as a table, got data=None"),
    ],
)
def test_figures_that_cannot_be_shown_are_refused(figure, message):
    with pytest.raises(ValueError, match=message):
        render(Page("T", sections=(Section("s", "S", figures=(view("f", figure=figure),)),)))
