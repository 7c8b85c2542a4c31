"""The figures of a page as files for a paper: each as SVG, PDF and PNG, named by its id."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from icl_interp.errors import InputError
from icl_interp.figures.save import FORMATS, Panel, PrintStyle, as_figure, check_printing, is_own_figure, save_panels
from icl_interp.files import check_folder, refuse_foreign
from icl_interp.report.model import FigureGrid, FigureView, Page, Section


def read_print_style(words: Sequence[str]) -> PrintStyle:
    """Read how figures for a paper are set, from key=value."""
    keys = [field.name for field in fields(PrintStyle)]
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in keys:
            raise InputError(f"--figures-set needs key=value with a key out of {', '.join(keys)}, got {word!r}.")
        given[key] = value
    return PrintStyle(**given)


def check_figures(folder: Path | None, words: Sequence[str]) -> None:
    """Refuse what cannot become a folder of figures, before anything is measured."""
    if folder is None:
        if words:
            raise InputError(
                f"--figures-set needs --figures DIR, the folder that it is meant for, got {words[0]}; add it."
            )
        return
    read_print_style(words)
    check_folder("--figures", folder)
    check_printing("--figures")


def print_figures(page: Page, folder: Path | None, words: Sequence[str]) -> None:
    """Write the figures of a page where a folder was named for them."""
    if folder is not None:
        write_figures(page, folder, read_print_style(words))


def write_figures(page: Page, folder: Path, style: PrintStyle) -> list[Path]:
    """Write every figure of a page, the panels of a grid side by side, over nothing but older figures of ours."""
    items = list(_items(page.sections))
    paths = {item.id: {kind: folder / f"{item.id}.{kind}" for kind in FORMATS} for item in items}
    for path in (path for by_format in paths.values() for path in by_format.values()):
        refuse_foreign(path, is_own_figure, what="a figure")
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        cells = item.figures if isinstance(item, FigureGrid) else (item,)
        titles = [cell.title if isinstance(item, FigureGrid) else "" for cell in cells]
        panels = [Panel(as_figure(cell.figure), title) for cell, title in zip(cells, titles, strict=True)]
        save_panels(panels, paths[item.id], style)
    return [path for by_format in paths.values() for path in by_format.values()]


def _items(sections: Sequence[Section]) -> Iterator[FigureView | FigureGrid]:
    for section in sections:
        yield from section.figures
        yield from _items(section.parts)
