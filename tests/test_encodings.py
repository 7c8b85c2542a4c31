"""Texts are UTF-8 in every locale: whatever opens one says so."""

import ast
from collections.abc import Iterator
from pathlib import Path

import icl_interp
import probes

_TEXTS = {"open": 2, "read_text": 0, "write_text": 1, "fdopen": 2, "NamedTemporaryFile": 2, "TemporaryFile": 2}
"""Calls that read or write a text unless their mode is binary, and how many arguments may stand before the encoding."""


def _without_encoding(path: Path) -> Iterator[str]:
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        modes = [value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        binary = any("b" in mode and set(mode) <= set("rwxab+") for mode in modes)
        binary |= name.endswith("TemporaryFile") and not modes  # whose mode is w+b by default
        others = ("os", "webbrowser", "archive")  # members of a zip archive are bytes
        of_os = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in others
        if name in _TEXTS and not binary and not (of_os and name == "open"):
            named = any(keyword.arg in ("encoding", None) for keyword in call.keywords)
            if not named and len(call.args) <= _TEXTS[name]:
                yield f"{path.name}:{call.lineno}"


def test_every_text_names_its_encoding() -> None:
    files = [path for package in (icl_interp, probes) for path in Path(package.__path__[0]).rglob("*.py")]
    assert len(files) > 100
    assert [place for path in files for place in _without_encoding(path)] == []


def test_the_scan_finds_what_names_none(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    bad = ["open(p)", "open(p, 'w')", "p.open('a')", "p.read_text()", "p.write_text(x)", "os.fdopen(d, mode='w')"]
    good = ["open(p, 'rb')", "p.open(mode='wb')", "p.read_text('utf-8')", "p.write_text(x, encoding='utf-8')"]
    code.write_text("\n".join([*bad, *good, "os.open(p, flags)", "p.read_bytes()"]), encoding="utf-8")
    assert list(_without_encoding(code)) == [f"code.py:{line}" for line in range(1, len(bad) + 1)]
