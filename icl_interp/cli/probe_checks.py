"""What can be refused by looking at the arguments of icl-probe alone, and how those that are texts are read."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from icl_interp.arrays import looks_like_arrays
from icl_interp.checkpoints.own_code import CodeFile
from icl_interp.cli.probe_compare import check_comparison
from icl_interp.cli.probe_options import ProbeOptions
from icl_interp.errors import GivenTaskError, InputError
from icl_interp.files import check_folder, is_own_json, refuse_foreign
from icl_interp.measure.development.settings import LlcSettings
from icl_interp.report.model import STUDY_FORMAT
from icl_interp.report.page import PLOTLYJS_FILE, check_report_place
from icl_interp.report.printed import check_figures
from icl_interp.settings import parse_yaml, read_yaml
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import FixedPrompts


def check_options(options: ProbeOptions) -> None:
    """Refuse what is wrong whatever the files hold."""
    if options.prompts is not None and options.prompts < 8:
        raise InputError(f"--prompts needs at least 8, got {options.prompts}; leave it out for a sensible number.")
    if options.points is not None and options.points < 2:
        raise InputError(f"--points needs at least 2, got {options.points}; leave it out for the training length.")
    if not 0 <= options.seed < 2**63:  # as in TrainConfig
        raise InputError(f"--seed needs a number of at least 0 and below 2**63, got {options.seed}.")
    if options.controls is not None and options.no_controls:
        raise InputError("--no-controls leaves out what --controls counts; leave out one of the two.")
    read_layers(options.layers)
    read_layout(options.layout)
    _check_timeline(options)
    _check_outputs(options)


def _check_outputs(options: ProbeOptions) -> None:
    places = {"--out": options.out, "--json": options.json, "--cache": options.cache, "--figures": options.figures}
    if options.plotlyjs == "directory":
        places["plotly.js"] = options.out.with_name(PLOTLYJS_FILE)
    taken: dict[str, str] = {}
    for flag, path in places.items():
        if path is None:
            continue
        if (other := taken.setdefault(os.path.realpath(path), flag)) != flag:
            raise InputError(f"{other} and {flag} need two files, got {path} for both.")
        if flag not in ("--cache", "--figures"):
            _check_writable(flag, path)
            _check_no_input(flag, path, options)
    check_report_place(options.out, plotlyjs=options.plotlyjs)
    check_figures(options.figures, options.figures_set)
    if options.json is not None:
        refuse_foreign(options.json, lambda file: is_own_json(file, STUDY_FORMAT), what="the file of --json")


def _check_no_input(flag: str, path: Path, options: ProbeOptions) -> None:
    for given in _inputs(options):
        if os.path.exists(given) and os.path.exists(path) and os.path.samefile(given, path):
            raise InputError(f"{flag} needs another file than what is read, got {path}; choose another name.")


def _inputs(options: ProbeOptions) -> Iterator[Path]:
    yield from options.paths
    yield from (Path(word) for word in options.task if "=" not in word)
    if options.model is not None:
        yield Path(options.model.rpartition(":")[0])


def _check_timeline(options: ProbeOptions) -> None:
    if options.compare:
        check_comparison(options)
    elif len(options.paths) > 1 and options.no_timeline:
        raise InputError(
            f"--no-timeline probes one checkpoint, got {len(options.paths)} paths; leave it out, or name one."
        )
    names = ", ".join(options.of_timeline())
    if names and options.no_timeline:
        raise InputError(f"--no-timeline leaves nothing to do for {names}; leave out one or the other.")
    if names and not options.paths:
        raise InputError(f"the embedded demo is one checkpoint without a timeline, so it takes no {names}; name a run.")
    if options.workers is not None and options.scheduler is not None:
        raise InputError("--scheduler brings its own workers, so it takes no --workers; leave out one of them.")
    if options.llc_set and not options.llc:
        got = "none" if options.llc is None else options.llc
        raise InputError(f"--llc-set needs --llc N, the number of checkpoints that it is meant for, got {got}; add it.")
    read_sampler(options.llc_set)
    if options.cache is not None:
        check_folder("--cache", options.cache)


def _check_writable(flag: str, path: Path) -> None:
    # Before minutes of measuring, not after them.
    parent = Path(os.path.realpath(path)).parent  # of what a link points to
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{flag} needs a file name in a folder that exists and can be written, got {path}.")


def read_sampler(words: Sequence[str], *, checkpoints: int = 1) -> LlcSettings:
    """Read how learning coefficients are estimated."""
    kinds = {f.name: int if f.type is int else float for f in fields(LlcSettings) if f.name != "checkpoints"}
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in kinds:
            raise InputError(f"--llc-set needs key=value with a key out of {', '.join(kinds)}, got {word!r}.")
        try:
            values[key] = kinds[key](text)
        except ValueError:
            kind = "whole number" if kinds[key] is int else "number"
            raise InputError(f"--llc-set needs a {kind} for {key}, got {text!r}.") from None
    try:
        return LlcSettings(checkpoints=checkpoints, **values)
    except ValueError as error:
        raise InputError(f"--llc-set: {error}") from None


def read_task(words: Sequence[str]) -> dict[str, Any] | Task | None:
    """Read what is in distribution."""
    if not words:
        return None
    if (saved := next((word for word in words if Path(word).is_file() and looks_like_arrays(word)), None)) is not None:
        if len(words) > 1:
            raise InputError(f"--task takes a file of saved prompts alone, got {saved} and more; leave the others out.")
        return FixedPrompts(saved)
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if equals:
            settings[key] = parse_yaml(text, where=f"--task {word}")
        elif not Path(word).is_file():
            raise InputError(
                f"--task needs a file that exists (YAML, or saved prompts) or key=value such as noise_std=0.5, got "
                f"{word!r}."
            )
        else:
            contents = read_yaml(word)
            if not isinstance(contents, dict):
                raise InputError(f"--task {word} needs key: value lines, got {type(contents).__name__}.")
            settings |= {str(key): value for key, value in contents.items()}  # YAML's 1: 2 has a number for a key
    return settings


@contextmanager
def naming_task_files(words: Sequence[str]) -> Iterator[None]:
    """Say in which files a task stands that cannot be taken."""
    try:
        yield
    except GivenTaskError as error:
        files = [word for word in words if "=" not in word]
        if not files:
            raise
        raise GivenTaskError(f"--task {' '.join(files)}: {error}") from error


def read_layout(words: Sequence[str]) -> dict[str, str]:
    """Read what a foreign file does not say; which keys there are depends on its format."""
    layout: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise InputError(f"--layout needs key=value such as tokens=separate, got {word!r}.")
        if key in layout:
            raise InputError(f"--layout needs every key once, got {key} twice; leave one out.")
        layout[key] = value
    return layout


def read_loader(options: ProbeOptions) -> CodeFile | None:
    """Read which function of the user's opens the files."""
    if options.model is None:
        return None
    if not options.paths:
        raise InputError("--model opens a file of yours, and none was named; name it, as in icl-probe weights.pt.")
    if options.heads is not None or options.layout:
        raise InputError(
            "--model opens the file by your own code, so it takes no --heads and no --layout; leave them out."
        )
    return CodeFile.parse(options.model)


def read_layers(text: str | None) -> list[int] | None:
    """Read which blocks are looked at."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--layers needs numbers separated by commas, such as 0,3,-1, got {text!r}.") from None
