"""The name of the code that made a record, so that records of other code are not taken for today's."""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from icl_interp._version import __version__

__all__ = ["code_version"]

_ROOT = Path(__file__).resolve().parents[1]
_OURS = ("icl_interp", "probes")


@lru_cache
def code_version(*modules: str) -> str:
    """Name the code that some modules run, so that what an older version has kept is not taken for today's.

    Args:
        *modules: Dotted names. What they import of ours counts as well, and what that imports.

    Returns:
        12 hexadecimal digits: the start of the SHA-256 of all their sources, but for comments, docstrings and layout;
        of this package's version where there are no sources.

    Example:
        >>> code_version("probes.spectra") == code_version("probes.spectra") != code_version("probes.ood")
        True
    """
    trees: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in trees else _source(name)
        if path is not None:
            tree = trees[name] = ast.parse(path.read_bytes())
            waiting += _imported(tree)
    code = "".join(f"{name}\n{ast.dump(_without_docstrings(tree))}\n" for name, tree in sorted(trees.items()))
    return hashlib.sha256((code or __version__).encode()).hexdigest()[:12]


def _source(name: str) -> Path | None:
    place = _ROOT.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            # What is imported may be a module of its own; what is not one has no source and is passed over.
            names = [node.module, *(f"{node.module}.{name}" for name in names)]
        yield from (name for name in names if name.partition(".")[0] in _OURS)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [entry for entry in body if not _is_text(entry)]  # type: ignore[attr-defined]
    return tree


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
