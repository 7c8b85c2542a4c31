"""Parts of the manual that are made from the code: a block ```{generated} NAME``` in a page stands for one of them.

commands: what --help says. api ROOM: the public names of a room and their docstrings. rooms: the folders, in the order
in which they may import. demos: the embedded models.
"""

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

DOCS = Path(__file__).parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)\)")
_BLOCK = re.compile(r"^```\{generated\} (.+)\n```$", re.M)
_SECTIONS = re.compile(r"^(Args|Returns|Yields|Raises|Source|Example):\n", re.M)


# Markdown


def plain(text: str) -> str:
    """Write text that has code between backticks, so that nothing else in it means anything to Markdown."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part if part[:1] == "`" else re.sub(r"([\\*_\[\]<>${}#|^~])", r"\\\1", part) for part in parts)


def _paragraphs(text: str) -> str:
    return "\n\n".join(plain(paragraph) for paragraph in re.split(r"\n\s*\n", text.strip()) if paragraph.strip())


# Commands


def _apps() -> dict[str, Any]:
    from icl_interp.cli import probe, reproduce, train

    return {"icl-probe": probe._app, "icl-train": train._app, "icl-reproduce": reproduce._app}


def commands(name: str = "") -> str:
    """Write what `--help` says: of one command, or of all."""
    import typer

    parts = []
    for command, app in _apps().items():
        if name in ("", command):
            found = typer.main.get_command(app)
            context = found.context_class(found, info_name=command)
            records = [record for part in found.get_params(context) if (record := part.get_help_record(context))]
            lines = [f"- **`{what}`**: {plain(help_text)}" for what, help_text in records]
            usage = found.get_usage(context).removeprefix("Usage: ")
            parts += [f"## {command}", f"```\n{usage}\n```", _paragraphs(found.help or ""), "\n".join(lines)]
    return "\n\n".join(parts)


# Public names


def _sections(doc: str) -> tuple[str, dict[str, str]]:
    opening, *rest = _SECTIONS.split(doc)
    return opening, dict(zip(rest[::2], map(inspect.cleandoc, rest[1::2]), strict=True))


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Split "name: what it is" entries whose further lines are indented."""
    for entry in re.split(r"\n(?=\S)", text):
        name, _, meaning = entry.partition(": ")
        yield name, meaning


def _docstring(value: object) -> str:
    opening, sections = _sections(inspect.getdoc(value) or "")
    parts = [_paragraphs(opening)]
    for title, text in sections.items():
        if title == "Example":
            parts.append(f"```python\n{text}\n```")
        elif title in ("Args", "Raises"):
            entries = "\n".join(f"- **`{name}`**: {plain(meaning)}" for name, meaning in _entries(text))
            parts.append(f"**{'Arguments' if title == 'Args' else title}**\n\n{entries}")
        else:
            parts.append(f"**{title}**: {plain(text)}")
    return "\n\n".join(parts)


def _signature(value: Any) -> str:
    """Write names and short defaults; the arguments' list says the rest."""
    shown = []
    try:
        parameters = [part for part in inspect.signature(value).parameters.values() if part.name != "self"]
    except (TypeError, ValueError):
        return ""
    keyword_only = False
    for part in parameters:
        if part.kind is part.KEYWORD_ONLY and not keyword_only:
            shown.append("*")
        keyword_only |= part.kind in (part.KEYWORD_ONLY, part.VAR_POSITIONAL)
        stars = {part.VAR_POSITIONAL: "*", part.VAR_KEYWORD: "**"}.get(part.kind, "")
        default = "" if part.default is part.empty else f"={part.default!r}"
        shown.append(f"{stars}{part.name}{default if re.fullmatch('=[^<>]{,40}', default) else default and '=...'}")
    return f"({', '.join(shown)})"


def _members(cls: type) -> Iterator[tuple[str, str]]:
    """Find the methods and properties that a class defines itself, with the first line of what they say."""
    for name, member in vars(cls).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if not name.startswith("_") and (inspect.isfunction(function) or isinstance(member, property)):
            doc = inspect.getdoc(function) or inspect.getdoc(getattr(cls, name)) or ""
            call = (
                ""
                if isinstance(member, property)
                else _signature(function).replace("(cls, ", "(").replace("(cls)", "()")
            )
            yield f"{name}{call}", doc.split("\n\n")[0]


def _said_below(body: list[ast.stmt]) -> dict[str, str]:
    """Read the line under each name that is assigned: what it holds."""
    found = {}
    for node, below in pairwise(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(targets[0], ast.Name):
            found[targets[0].id] = str(below.value.value)
    return found


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def _fields(cls: type) -> dict[str, str]:
    found = [node for node in ast.walk(_tree(cls.__module__)) if isinstance(node, ast.ClassDef)]
    return _said_below(next(node.body for node in found if node.name == cls.__name__))


def _entry(name: str, value: object) -> str:
    if inspect.isclass(value):
        listed = [f"- **`{what}`**: {plain(said)}" for what, said in (*_fields(value).items(), *_members(value))]
        return "\n\n".join([f"```````{{py:class}} {name}", _docstring(value), "\n".join(listed), "```````"])
    if inspect.isfunction(value):
        return "\n\n".join([f"```````{{py:function}} {name}{_signature(value)}", _docstring(value), "```````"])
    choices = f"One of {', '.join(f'`{one}`' for one in get_args(value))}." if get_origin(value) is Literal else ""
    return "\n\n".join([f"```````{{py:data}} {name}", _said_under(name), choices, "```````"])


def _said_under(name: str) -> str:
    """Read the line under a name that holds neither a class nor a function."""
    module, _, short = name.rpartition(".")
    inner = getattr(importlib.import_module(module), "_HOMES", {}).get(short)
    return plain(_said_below(_tree(f"{module}.{inner}" if inner else module).body).get(short, ""))


def _room(module: ModuleType) -> str:
    names = [name for name in module.__all__ if not name.startswith("_")]
    own = [name for name in names if not inspect.ismodule(getattr(module, name))]
    return "\n\n".join(_entry(f"{module.__name__}.{name}", getattr(module, name)) for name in own)


def _probes() -> Iterator[ModuleType]:
    """Find the modules of `probes` that its docstring lists: aliases for one release are not among them."""
    for name in re.findall(r"^- `(probes\.[\w.]+)`", importlib.import_module("probes").__doc__ or "", flags=re.M):
        yield importlib.import_module(name)


def api(room: str) -> str:
    """Write the public names of a room, or of all of `probes`, with their docstrings."""
    if room != "probes":
        return _room(importlib.import_module(room))
    parts = []
    for module in _probes():
        parts += [f"## {module.__name__}", _paragraphs(module.__doc__ or ""), _room(module)]
    return "\n\n".join(parts)


# Rooms


def rooms() -> str:
    """List the rooms from the top to the bottom of the import contract, each by its own first line."""
    settings = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [c["layers"] for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    lines = ["| Room | What it does |", "|---|---|"]
    for layer in layers:
        for name in layer.split(" | "):
            module = importlib.import_module(f"icl_interp.{name}")
            lines.append(f"| `{name}` | {plain((module.__doc__ or '').split(chr(10) * 2)[0])} |")
    return "\n".join(lines)


# Embedded models


def demos(site: Path = DOCS) -> str:
    """Write one section per embedded model: what it is, its commands, and its report where the site holds one."""
    import icl_interp as icl

    parts = []
    for name, record in icl.demo_models().items():
        what, use = (plain(text[:1].upper() + text[1:]) for text in (record.description, record.good_for))
        commands = f"icl-probe demo:{name} --out {name}.html\nicl-train {record.preset} --out {name}"
        parts += [f"## {name}", f"{what}.", f"*Good for:* {use}.", f"```bash\n{commands}\n```"]
        report, picture = f"gallery/{name}.html", f"gallery/{name}.png"
        if (site / report).exists():
            shown = (
                f'<img src="{picture}" alt="The top of the report">' if (site / picture).exists() else "Open the report"
            )
            parts.append(f'<a href="{report}">{shown}</a>')
    return "\n\n".join(parts)


# Pages


def fill(text: str, site: Path = DOCS) -> str:
    """Put what is made from the code in the place of its blocks."""
    makers: dict[str, Callable[..., str]] = {
        "commands": commands,
        "api": api,
        "rooms": rooms,
        "demos": partial(demos, site),
    }

    def make(block: re.Match[str]) -> str:
        name, *arguments = block.group(1).split()
        return makers[name](*arguments)

    return _BLOCK.sub(make, text)


def _unlinked(link: re.Match[str]) -> str:
    return link.group(1) if (DOCS / link.group(2)).is_dir() else link.group()


def _on_source_read(app: Any, page: str, source: list[str]) -> None:  # noqa: ARG001
    # A code host shows folders, the site has none to show.
    source[0] = fill(_LINK.sub(_unlinked, source[0]), Path(app.outdir))


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx fill the blocks of each page that it reads."""
    app.connect("source-read", _on_source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
