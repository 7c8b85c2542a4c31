"""The user's own files, which commands run first so that their parts are registered."""

import importlib.util
import sys
import threading
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path

from icl_interp.errors import InputError, UserCodeError, users_code

_RUN: list[Path] = []
"""Those of this process, in order."""
_LOCK = threading.RLock()


def import_files(paths: Iterable[Path], *, option: str = "--import") -> None:
    """Run each file once per process, as the module of its name; what is beside it can be imported there."""
    for path in paths:
        place = path.resolve()
        with _LOCK:  # a worker may have several threads
            if place not in _RUN:
                _import_file(path, place, option)
                _RUN.append(place)


def imported_files() -> tuple[Path, ...]:
    """Name the files that were run, for other processes that have to run them as well."""
    return tuple(_RUN)


def _import_file(path: Path, place: Path, option: str) -> None:
    if path.suffix != ".py" or not place.is_file():
        raise InputError(f"{option} needs a Python file, FILE.py, got {path}; check the place.")
    name = path.stem
    if (other := _found_elsewhere(name, place)) is not None:
        raise InputError(f"{option} needs a file name that no other module has, got {path} beside {other}; rename it.")
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(place)), origin=str(place))
    assert spec is not None  # the loader is given
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(place)
    try:
        code = compile(place.read_bytes(), str(place), "exec")
    except (SyntaxError, ValueError) as error:
        raise UserCodeError(str(path), error) from error
    sys.modules[name] = module
    sys.path.append(str(place.parent))  # at the end: its neighbours hide no module of others
    try:
        with users_code(str(path)):
            exec(code, module.__dict__)
    except SystemExit as error:
        raise InputError(
            f"{path} ended itself by sys.exit({error.code!r}); {option} needs a file that goes on."
        ) from None
    except BaseException:
        del sys.modules[name]
        raise


def _found_elsewhere(name: str, place: Path) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a spec
        return f"the module {name}"
    if spec is None or (spec.origin is not None and Path(spec.origin).resolve() == place):
        return None
    return spec.origin or f"the package {name}"
