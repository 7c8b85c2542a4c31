"""Pages and help texts as plain text with numbers masked, kept in tests/golden and compared line by line.

`make golden` writes the files anew; what a change does to the words is then read as a diff.
"""

import json
import re
from collections.abc import Iterator
from difflib import unified_diff
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import typer

FOLDER = Path(__file__).parent / "golden"
_NUMBER = re.compile(r"(?<![\w-])[-\N{MINUS SIGN}+±]?(\d+(,\d{3})*(\.\d+)?|∞)(e[-\N{MINUS SIGN}+]?\d+)?(?!\d)")
_BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "caption", "tr", "li", "dt", "dd", "summary", "figure", "section"}
_CELLS = {"td", "th", "dd"}
_UNREAD = {"script", "style", "svg", "button", "title", "footer", "nav", "noscript", "aside"}


def masked(text: str) -> str:
    """Write # for every number and sort out white space; digits inside names such as GPT-2 and v1 stay."""
    return " ".join(_NUMBER.sub("#", text).split())


class _Text(HTMLParser):
    """Collects what a person reads, one block of the page per line, and what is written inside the figures."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._line = ""
        self._unread = 0
        self._figure = False
        self._rows: set[str] = set()
        self._data = False  # under a figure, where a table repeats its points

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows = set()
        if tag == "details":
            self._data = "data" in (dict(attrs).get("class") or "").split()
        if tag in _BLOCKS:
            self._end_line()
        if tag in ("h1", "h2", "h3"):
            self.lines.append("")
        if tag in _CELLS and self._line.strip():
            self._line += " | "
        self._unread += tag in _UNREAD
        self._figure = tag == "script" and (dict(attrs).get("id") or "").endswith("--json")

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            row = masked(self._line)
            if row in self._rows or (self._data and self._rows):  # it differs in numbers alone, or its head says enough
                self._line = ""
            self._rows.add(row)
        if tag in _BLOCKS:
            self._end_line()
        self._unread -= tag in _UNREAD
        self._figure = False

    def handle_data(self, data: str) -> None:
        if self._figure:
            self.lines.append(f"drawn: {masked('; '.join(dict.fromkeys(_labels(json.loads(data)))))}")
        elif not self._unread:
            self._line += data

    def _end_line(self) -> None:
        if line := masked(self._line):
            self.lines.append(line)
        self._line = ""


def _labels(drawn: Any) -> Iterator[str]:
    """Find names of traces, titles of axes and colour bars, annotations and buttons."""
    for key, value in drawn.items() if isinstance(drawn, dict) else enumerate(drawn):
        if key in ("name", "text", "label") and isinstance(value, str):
            yield value
        elif isinstance(value, dict | list) and key not in ("x", "y", "z", "hovertemplate", "customdata"):
            yield from _labels(value)


def page_text(html: str) -> str:
    """Read a page from top to bottom, its footer (versions, hashes, times) left out."""
    reader = _Text()
    reader.feed(html)
    return "\n".join(reader.lines).strip() + "\n"


def help_text(app: typer.Typer) -> str:
    """Read a command's help, free of the width of a terminal."""
    command = typer.main.get_command(app)
    lines = [command.help or ""]
    for parameter in command.params:
        names = ", ".join((*parameter.opts, *parameter.secondary_opts))
        lines.append(f"{names}: {getattr(parameter, 'help', None) or ''}")
    return "\n".join(lines) + "\n"


class Golden:
    """Compares a text with the one that is kept under a name, or keeps it."""

    def __init__(self, *, write: bool) -> None:
        self._write = write

    def __call__(self, name: str, text: str, *, folder: Path = FOLDER) -> None:
        """Fail with a diff where the text is not the one that is kept."""
        path = folder / name
        if self._write:
            path.write_text(text, encoding="utf-8")
        kept = path.read_text(encoding="utf-8") if path.exists() else ""
        diff = list(unified_diff(kept.splitlines(), text.splitlines(), str(path), "now", lineterm="", n=0))
        assert not diff, "\n".join([*diff, "If these words are meant, keep them by `make golden`."])
