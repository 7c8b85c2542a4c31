"""Checks that the parts of a page share."""

import re

from icl_interp.errors import InputError

__all__ = ["check_choice", "check_id", "check_text"]

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*")  # no "--": the page's own anchors carry it


def check_choice(who: str, what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{who} needs {what} to be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_text(who: str, **texts: str) -> None:
    if empty := [name for name, text in texts.items() if not text.strip()]:
        raise InputError(f"{who} needs {' and '.join(empty)}, got nothing but blanks.")


def check_id(who: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise InputError(
            f"{who} needs an id of letters, digits, '_', '.' and single hyphens that starts with a letter, "
            f"got {value!r}."
        )
