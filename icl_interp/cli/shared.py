"""What all command lines share: how they look, how they report errors and progress, and --version."""

import errno
import inspect
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, NoReturn, Protocol, TextIO, TypeVar

import typer

from icl_interp._version import __version__
from icl_interp.errors import DivergedError, InputError, UserCodeError

_SHOWN = 200  # torch's account of its memory goes on for a paragraph
_NOBODY_READS = 141
"""What a shell reports of a program whose reader has gone: 128 and the number of SIGPIPE."""


@contextmanager
def one_line_errors(*, to_save_memory: str = "ask for less") -> Iterator[None]:
    """Turn whatever ends a command into an exit code and, where there is something to say, one sentence."""
    _print_what_the_terminal_can()
    try:
        yield
    except BrokenPipeError as error:
        if _is_read(sys.stdout) and _is_read(sys.stderr):  # then it was another pipe, such as a worker's
            _end(_words(error))
        _drop_output()
        raise SystemExit(_NOBODY_READS) from None
    except (InputError, DivergedError) as error:
        _end(str(error))
    except UserCodeError as error:
        print(error.traceback, end="", file=sys.stderr)  # noqa: T201
        _end(str(error))
    except OSError as error:
        _end(_words(error))
    except Exception as error:
        if _is_short_of_memory(error):
            reason = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
            _end(f"this needs more memory than there is ({reason.rstrip('.')}); {to_save_memory}.")
        _end(_fault_of_ours(error), code=1)
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)  # noqa: T201
        raise SystemExit(128 + getattr(stop, "number", signal.SIGINT)) from None


def _end(text: str, *, code: int = 2) -> NoReturn:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201
    raise SystemExit(code) from None


def _words(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    remedy = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the place and its permissions"
    return f"{error.filename} cannot be used ({error.strerror}); {remedy}."


def _fault_of_ours(error: Exception) -> str:
    what = f"this is a fault of icl-interp and not of your input ({type(error).__name__})"
    text = "".join(traceback.format_exception(error))
    try:
        descriptor, path = tempfile.mkstemp(prefix="icl-interp-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:  # the traceback is worth more than its place
        print(text, end="", file=sys.stderr)  # noqa: T201
        return f"{what}; please report it with the lines above."
    return f"{what}; {path} holds the traceback, please report it with that file."


def _print_what_the_terminal_can() -> None:
    # A locale without the letters of a sentence must not turn the sentence into an error.
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None and stream.errors == "strict":
            reconfigure(errors="replace")


def _is_read(stream: TextIO) -> bool:
    try:
        watched = select.poll()
        watched.register(stream.fileno(), 0)  # errors and hang-ups are always reported
        return not watched.poll(0)
    except (AttributeError, OSError, ValueError):  # no such call here, or a stream that is no file: nothing is known
        return False


def _drop_output() -> None:
    # Python writes out what is left at its end, and would complain then.
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            if not _is_read(stream):
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _is_short_of_memory(error: Exception) -> bool:
    # torch is asked only if it is there already: --help must not wait for it. On a CPU it has no class for this.
    torch = sys.modules.get("torch")
    on_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, MemoryError) or on_device or "DefaultCPUAllocator: can't allocate" in str(error)


def new_app() -> typer.Typer:
    """Make an empty command line: plain help, plain errors, nothing for shells to install."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(value: bool) -> bool:  # noqa: FBT001  # typer's callback
    if value:
        typer.echo(f"icl-interp {__version__}")
        raise typer.Exit
    return value


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
]
"""The option that prints the version and ends."""

FiguresFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for every figure of the report as SVG, PDF and PNG, for a paper."),
]
"""The option of the commands that write a report."""
FiguresSet = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=VALUE",
        help="Style of these figures: width=single for one column (default: double), font=serif (default: sans-serif). "
        "Repeatable.",
    ),
]
"""The option that goes with it."""


_R = TypeVar("_R")


def takes(record: type[_R]) -> Callable[[Callable[[_R], None]], Callable[..., None]]:
    """Let a command take the fields of a dataclass as its options, and --version beside them."""

    def made(command: Callable[[_R], None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            del given["version"]
            command(record(**given))

        called.__doc__ = command.__doc__
        called.__signature__ = inspect.Signature([*_options(record), _VERSION])  # type: ignore[attr-defined]  # typer's
        return called

    return made


_VERSION = inspect.Parameter("version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Version)


def _options(record: Any) -> Iterator[inspect.Parameter]:
    for field in fields(record):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)


_PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""
_SURE = 0.05
"""Share of the work that must be done before its speed is taken as a forecast: the first units pay for the start."""


class Tick(Protocol):
    """What a long computation calls: so much more is done."""

    def __call__(self, done: int, note: str = "") -> None:
        """Report progress."""
        ...


@contextmanager
def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Tick]:
    """Show how far a computation is, on standard error."""
    if quiet:
        yield _silent
    elif sys.stderr.isatty():
        with _rich_bar(what, total) as tick:
            yield tick
    else:
        yield _PlainLines(what, total)


def _silent(done: int, note: str = "") -> None:
    pass


@contextmanager
def _rich_bar(what: str, total: int) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note="": bar.update(task, advance=done, note=note)


class _PlainLines:
    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.started = self.last = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        self.done += done
        now = time.monotonic()
        if now - self.last < _PLAIN_SECONDS:
            return
        self.last = now
        share = self.done / self.total
        estimate = f", about {(now - self.started) * (1 - share) / share:.0f} s left" if share >= _SURE else ""
        print(f"{self.what}: {100 * share:.0f} %{estimate} {note}".rstrip(), file=sys.stderr)  # noqa: T201
