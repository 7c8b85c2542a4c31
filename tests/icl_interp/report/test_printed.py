"""The figures of a report as files for a paper: all of them, the same as on the page, and over nothing foreign."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pytest
from print_checks import STYLE, assert_can_be_read, assert_same_figure

from icl_interp.errors import InputError
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.save import FORMATS, Panel, PrintStyle, as_figure
from icl_interp.figures.static import draw
from icl_interp.figures.theme import role_style
from icl_interp.report.assemble import build_page
from icl_interp.report.model import FigureGrid, FigureView, Page, Section
from icl_interp.report.printed import check_figures, print_figures, read_print_style, write_figures

LINES = lines_figure([Line("model", [0, 1], [1.0, 0.5], role_style("model"))], x="examples", y="error")
VIEW = FigureView("error-curve", "Error", LINES, "It falls.", "A line that falls.")
GRID = FigureGrid("shifts", "Shifts", "All fall.", (replace(VIEW, id="one"), replace(VIEW, id="two")))
PAGE = Page(
    "Small", sections=(Section("doing", "Doing", figures=(VIEW,), parts=(Section("p", "P", figures=(GRID,)),)),)
)
NAMES = sorted(f"{name}.{kind}" for name in ("error-curve", "shifts") for kind in FORMATS)


@pytest.fixture(scope="module")
def panels(small_study, small_checkpoint):
    """The report's figures, one of each grid."""

    def items(sections):
        for section in sections:
            yield from section.figures
            yield from items(section.parts)

    found = list(items(build_page(small_study, small_checkpoint, {}).sections))
    views = [item.figures[0] if isinstance(item, FigureGrid) else item for item in found]
    return [Panel(as_figure(view.figure), view.title) for view in views]


def test_every_figure_of_a_report_is_the_same_in_print(panels, monkeypatch):
    assert len(panels) > 12
    # Where everything stands takes most of the time and changes no data.
    monkeypatch.setattr("icl_interp.figures.static._fit", lambda *_: None)
    for panel in panels:
        assert_same_figure([panel], laid_out=False)


@pytest.mark.slow
@pytest.mark.parametrize("style", [STYLE, PrintStyle("single", "serif")], ids=["double", "single"])
def test_every_figure_of_a_report_can_be_read(panels, style):
    for panel in panels:
        assert_can_be_read(draw([panel], style))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("paper") / "deep" / "figures"
    assert write_figures(PAGE, made, STYLE) == [made / f"{i}.{k}" for i in ("error-curve", "shifts") for k in FORMATS]
    return made


def test_each_figure_is_there_in_every_format(folder):
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    for path in folder.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    for path in folder.glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF-")
        assert path.read_bytes().rstrip().endswith(b"%%EOF")
    for path in folder.glob("*.png"):
        assert matplotlib.image.imread(path).shape[1] == 2100  # 7 inches


def test_the_same_page_gives_the_same_bytes_over_its_older_files(folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    write_figures(PAGE, folder, STYLE)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("kind", FORMATS)
def test_another_program_s_file_stays_and_nothing_is_written(tmp_path, kind):
    foreign = tmp_path / f"shifts.{kind}"
    foreign.write_text("mine")
    with pytest.raises(InputError, match=f"shifts.{kind}, which holds something else"):
        write_figures(PAGE, tmp_path, STYLE)
    assert [path.name for path in tmp_path.iterdir()] == [foreign.name]
    assert foreign.read_text() == "mine"


def test_no_folder_no_figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    print_figures(PAGE, None, [])
    assert list(tmp_path.iterdir()) == []


def test_the_style_is_read_from_words(tmp_path):
    assert read_print_style(["width=single", "font=serif"]) == PrintStyle("single", "serif")
    print_figures(PAGE, tmp_path, ["width=single"])
    assert matplotlib.image.imread(tmp_path / "shifts.png").shape[1] == 1005


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["colour=red"], "--figures-set needs key=value with a key out of width, font, got 'colour=red'"),
        (["serif"], "--figures-set needs key=value with a key out of width, font, got 'serif'"),
        (["width=3"], "a figure's width needs one of single, double, got '3'"),
        (["font=Arial"], "a figure's font needs one of sans-serif, serif, got 'Arial'"),
    ],
)
def test_another_style_is_refused(tmp_path, words, sentence):
    with pytest.raises(InputError, match=sentence):
        check_figures(tmp_path, words)


def test_a_file_is_no_folder_and_a_style_needs_one(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=f"--figures needs a folder that can be written or made, got {file}"):
        check_figures(file, [])
    with pytest.raises(InputError, match=r"--figures-set needs --figures DIR.* got font=serif; add it"):
        check_figures(None, ["font=serif"])
    check_figures(None, [])
    check_figures(Path(tmp_path / "new" / "folder"), ["font=serif"])
