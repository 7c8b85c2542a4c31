"""The name of the code that made a record, so that records of other code are not taken for today's."""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from icl_interp._version import __version__

__all__ = ["code_version"]

_ROOT = Path(__file__).resolve().parents[1]
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+((?:icl_interp|probes)[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.*)"
    r"|import[ \t]+((?:icl_interp|probes)[\w.]*))",
    re.MULTILINE,
)


@lru_cache
def code_version(*names: str) -> str:
    """Name the code of some modules and of all that they import of ours, directly or not."""
    texts: dict[Path, str] = {}
    waiting = [path for name in names for path in (*_files(name), *_ROOT.joinpath(*name.split(".")).rglob("*.py"))]
    while waiting:
        path = waiting.pop()
        if path not in texts:
            texts[path] = path.read_text(encoding="utf-8")
            waiting += [found for name in _imported(texts[path]) for found in _files(name)]
    code = "".join(f"{path.relative_to(_ROOT).as_posix()}\n{text}\n" for path, text in sorted(texts.items()))
    return hashlib.sha256((code or __version__).encode()).hexdigest()[:12]


def _imported(text: str) -> Iterator[str]:
    for module, names, whole in _IMPORT.findall(text):
        yield module or whole
        # What is imported may be a module of its own; what is not one has no file and is passed over.
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))


def _files(name: str) -> list[Path]:
    place = _ROOT.joinpath(*name.split("."))
    return [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
