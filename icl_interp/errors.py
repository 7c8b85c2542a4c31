"""Errors by their cause: wrong input, a diverged training, or the user's own code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from traceback import format_exception
from types import TracebackType
from typing import Any

from probes._core.errors import InputError, InputTypeError

__all__ = [
    "CheckpointError",
    "DivergedError",
    "GivenTaskError",
    "InputError",
    "InputTypeError",
    "StatedHeadsError",
    "UserCodeError",
    "one_line",
    "said",
    "users_code",
]


class DivergedError(FloatingPointError):
    """A training whose loss or weights are not finite, or far too large."""


class UserCodeError(Exception):
    """The user's own code raised an error, which is the cause of this one."""

    def __init__(self, name: str, error: Exception, frames: TracebackType | None = None) -> None:
        super().__init__(f"{name} is your own code, and it raised {type(error).__name__}: {one_line(error)}.")
        self.traceback = "".join(format_exception(type(error), error, frames))
        """As Python prints it, from the first line of the user's code on, where `frames` begin."""

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (str(self), self.traceback)


def _restored(text: str, traceback: str) -> UserCodeError:
    # Workers hand errors over in pickles, which hold no traceback.
    error = UserCodeError.__new__(UserCodeError, text)
    error.args, error.traceback = (text,), traceback
    return error


@contextmanager
def users_code(name: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Say that whatever is raised inside, but for some kinds, comes from code that the user brought along."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (UserCodeError, *passing)):
            raise
        frames = error.__traceback__
        for _ in range(2):  # of this function and of whoever called the user's code
            frames = frames.tb_next or frames if frames is not None else None
        raise UserCodeError(name, error, frames) from error


def one_line(error: Exception) -> str:
    """Fold an error of another library into one line."""
    details = getattr(error, "errors", None)
    if callable(details):
        parts = [(".".join(str(place) for place in e["loc"]), said(e)) for e in details()]
        text = "; ".join(f"{where}: {what}" if where else what for where, what in parts)
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")


_SHOWN = 60
"""Characters of a wrong value that are shown at most."""
_SAYS_ITSELF = ("value_error", "assertion_error", "missing", "extra_forbidden")


def said(problem: Mapping[str, Any]) -> str:
    """Say what pydantic found, and what came, which our own validators say themselves."""
    came = repr(problem["input"])
    shown = problem["type"] not in _SAYS_ITSELF and len(came) <= _SHOWN
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{text}, got {came}" if shown else text


class CheckpointError(InputError):
    """A checkpoint cannot be read, understood or written; the text is one sentence for whoever named it."""


class StatedHeadsError(CheckpointError):
    """A number of heads was given beside a file that states another one."""


class GivenTaskError(CheckpointError):
    """The task that a person named beside a checkpoint cannot be taken."""
