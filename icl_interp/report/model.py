"""What a report consists of: facts, cards, figures and chapters, as plain data that knows nothing of the science."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, Protocol, TypeVar, get_args, runtime_checkable

from icl_interp.errors import InputError, InputTypeError
from icl_interp.report.glossary import Term
from icl_interp.report.tables import TableView, check_choice, check_id, check_text
from probes._core.results import short_repr

STUDY_FORMAT = "icl-interp study"
"""What the JSON of icl-probe says of itself."""

Tone = Literal["evidence", "opposite", "none", "inconclusive", "mixed", "unknown"]
_Found = TypeVar("_Found")


@runtime_checkable
class HasJSON(Protocol):
    """Anything that writes itself as plotly JSON, a plotly figure above all."""

    def to_json(self) -> str:
        """Write the figure as JSON text with `data` and `layout`."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known about the model or the run.

    All text of a page is plain text, in which `backticks` set code.
    """

    label: str
    """A word or two."""
    value: str
    """What is known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question, in one sentence, as a card at the top of the page.

    Raises:
        InputError: If the tone is unknown, or the title or the sentence is empty.
    """

    title: str
    """The question, or what was asked about."""
    sentence: str
    """The answer."""
    tone: Tone
    """"evidence" for it, the "opposite", "none" that matters, "inconclusive", "mixed", or "unknown"."""
    detail: str | None = None
    """The numbers behind the sentence, in smaller type."""
    anchor: str | None = None
    """The id of the section, figure or grid that shows it."""
    word: str | None = None
    """Beside the tone's icon; None takes the tone's own words."""
    points: tuple[str, ...] = ()
    """Numbers that decide, one a line, between the sentence and the detail."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_choice("Verdict", "tone", self.tone, get_args(Tone))
        check_text(f"Verdict {self.title!r}", title=self.title, sentence=self.sentence)


@dataclass(frozen=True, slots=True)
class FigureView:
    """One figure with its finding and its data.

    Raises:
        InputError: If the id cannot be an anchor, a text is empty, or the height is not in 80 to 2000 pixels.
        InputTypeError: If the figure is neither JSON text nor something with `to_json`.
    """

    id: str
    """The figure's anchor: letters, digits, `_`, `.` and single hyphens, a letter first."""
    title: str
    """What is drawn."""
    figure: HasJSON | str
    """A plotly figure, or its JSON."""
    sentence: str
    """What is seen: the finding, shown under the title."""
    aria_label: str
    """The figure for those who cannot see it: kind of chart, axes, what it tells."""
    data: TableView | None = None
    """The numbers behind it; None reads them from the figure's traces."""
    height: int = 380
    """In pixels, with one row of legend; the page adds what further rows need."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_id("FigureView", self.id)
        check_text(f"FigureView {self.id!r}", title=self.title, sentence=self.sentence, aria_label=self.aria_label)
        _check_figure(self.id, self.figure)
        if not 80 <= self.height <= 2000:
            raise InputError(f"FigureView {self.id!r} needs a height of 80 to 2000 pixels, got {self.height}.")


@dataclass(frozen=True, slots=True)
class FigureGrid:
    """Small multiples: figures of one kind side by side.

    Raises:
        InputError: If the id cannot be an anchor, a text is empty, or there is no figure.
    """

    id: str
    """The grid's anchor."""
    title: str
    """What the figures have in common."""
    sentence: str
    """What is seen across them."""
    figures: tuple[FigureView, ...]
    """The cells, in reading order."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_id("FigureGrid", self.id)
        check_text(f"FigureGrid {self.id!r}", title=self.title, sentence=self.sentence)
        if not self.figures:
            raise InputError(f"FigureGrid {self.id!r} needs at least one figure, got none; leave the grid out.")


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter of the report, or a part of one.

    Raises:
        InputError: If the id cannot be an anchor, the title is empty, or parts have parts of their own.
    """

    id: str
    """The section's anchor."""
    title: str
    """The heading."""
    lead: str = ""
    """One or two sentences on what is asked and how."""
    figures: tuple[FigureView | FigureGrid, ...] = ()
    """Figures and grids, in reading order."""
    tables: tuple[TableView, ...] = ()
    """Tables, in reading order."""
    folded: bool = False
    """Whether the section waits behind its heading until it is opened."""
    parts: "tuple[Section, ...]" = ()
    """What follows under headings of its own, usually folded; parts have no further parts."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_id("Section", self.id)
        check_text(f"Section {self.id!r}", title=self.title)
        if deeper := [part.id for part in self.parts if part.parts]:
            raise InputError(
                f"Section {self.id!r} needs parts without parts of their own, got some in {', '.join(deeper)}; "
                "chapters are two levels deep."
            )

    @property
    def n_plots(self) -> int:
        """Plots of the section, each cell of a grid counted, its parts included."""
        return sum(map(_plots, self.figures)) + sum(part.n_plots for part in self.parts)

    @property
    def n_plots_in_sight(self) -> int:
        """Those that stand there before anything is unfolded."""
        if self.folded:
            return 0
        return sum(map(_plots, self.figures)) + sum(part.n_plots_in_sight for part in self.parts)


@dataclass(frozen=True, slots=True)
class Chapter:
    """What a report says about one question."""

    section: Section
    """Where it is told: a part of the question under which it stands, or, with that question's id, its opening."""
    cards: tuple[Verdict, ...] = ()
    """Its answers at the top of the page."""


@dataclass(frozen=True, slots=True)
class Line(Generic[_Found]):
    """One line of a table of contents."""

    chapter: Callable[[_Found], Chapter | None]
    """Writes the chapter from what was found, or nothing where that has no such thing."""
    question: Section
    """Under which it stands: an id and a title."""
    folded: bool = False


def lay_out(contents: Iterable[Line[_Found]], found: _Found) -> tuple[tuple[Section, ...], tuple[Verdict, ...]]:
    """Write all chapters: the questions with what stands under each, and the cards, both in the order of the lines.

    Under each question, folded chapters stand after those in sight.
    """
    written = [(line, chapter) for line in contents if (chapter := line.chapter(found)) is not None]
    told: dict[Section, list[Section]] = {line.question: [] for line, _ in written}
    for line, chapter in sorted(written, key=lambda pair: pair[0].folded):
        told[line.question].append(replace(chapter.section, folded=line.folded))
    sections = tuple(_under(question, sections) for question, sections in told.items())
    return sections, tuple(card for _, chapter in written for card in chapter.cards)


def _under(question: Section, sections: Sequence[Section]) -> Section:
    opening = [section for section in sections if section.id == question.id]
    return Section(
        question.id,
        question.title,
        lead=" ".join(section.lead for section in opening if section.lead),
        figures=tuple(figure for section in opening for figure in section.figures),
        tables=tuple(table for section in opening for table in section.tables),
        parts=(
            *(part for section in opening for part in section.parts),
            *(section for section in sections if section.id != question.id),
        ),
    )


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report.

    Raises:
        InputError: If the title is empty, an id occurs twice, or a verdict points to an id that is not there.
    """

    title: str
    """The heading, and the window's title."""
    subtitle: str = ""
    """One sentence under it."""
    assumptions: tuple[str, ...] = ()
    """What was assumed rather than read; when there is any, the report opens with it."""
    facts: tuple[Fact, ...] = ()
    """Which model this is."""
    verdicts: tuple[Verdict, ...] = ()
    """The answers, before the figures."""
    sections: tuple[Section, ...] = ()
    """The figures and tables."""
    provenance: tuple[Fact, ...] = ()
    """Versions, seed, command, hashes: the footer."""
    warnings: tuple[str, ...] = ()
    """What went less well than it should, beneath the facts."""
    glossary: tuple[Term, ...] = ()
    """Words that the page explains where it uses them."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_text("Page", title=self.title)
        ids = list(_ids(self.sections))
        if repeated := sorted(name for name, count in Counter(ids).items() if count > 1):
            raise InputError(
                f"Page needs each id once, got {', '.join(map(repr, repeated))} more than once; rename them."
            )
        if lost := sorted({v.anchor for v in self.verdicts if v.anchor is not None} - set(ids)):
            raise InputError(f"Page needs verdicts to point at its own ids ({', '.join(ids)}), got {', '.join(lost)}.")

    @property
    def n_plots_in_sight(self) -> int:
        """Plots that stand there before anything is unfolded, each cell of a grid counted."""
        return sum(section.n_plots_in_sight for section in self.sections)


def _ids(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield section.id
        for item in section.figures:
            yield item.id
            if isinstance(item, FigureGrid):
                yield from (cell.id for cell in item.figures)
        yield from _ids(section.parts)


def _plots(item: FigureView | FigureGrid) -> int:
    return len(item.figures) if isinstance(item, FigureGrid) else 1


def _check_figure(name: str, figure: object) -> None:
    if not isinstance(figure, str | HasJSON):
        raise InputTypeError(
            f"FigureView {name!r} needs plotly JSON or a figure with to_json(), got {type(figure).__name__}; "
            "pass the plotly Figure itself."
        )
