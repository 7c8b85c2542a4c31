"""Settings: frozen records that refuse unknown keys, and their YAML."""

import re
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, field_validator

from icl_interp.errors import InputError


class Settings(BaseModel):
    """A frozen record with no keys but its fields, in which a number is a number and not True."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_true_for_a_number(cls, value: Any, info: Any) -> Any:
        # pydantic would take True as 1, and with it YAML's `true`.
        field = cls.model_fields[info.field_name or ""]
        if _has_bool(value) and not _allows_bool(field.annotation):
            raise InputError(f"this needs a number or a word, got {value!r}")
        return value


def _has_bool(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_has_bool, value)))


def _allows_bool(annotation: Any) -> bool:
    return annotation in (bool, Any, object) or any(map(_allows_bool, typing.get_args(annotation)))


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file, in UTF-8 whatever the locale is."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (byte {error.start}: {error.reason}); store it in that encoding."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the place.") from error
    return parse_yaml(text, where=str(path))


def parse_yaml(text: str, *, where: str) -> Any:
    """Read YAML as people mean it: 1e4 is a number, yes and on are words, and a key stands once."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of dates such as 2025-13-01
        reason = " ".join(str(error).replace('in "<unicode string>", line', "at line").split())
        raise InputError(f"{where} is not YAML: {reason}") from error


class _Loader(yaml.SafeLoader):
    # PyYAML speaks YAML 1.1, in which 1e4 is a word, yes is true, and the last of two equal keys counts.
    # Keys are compared as they are written: merging adds those that are overruled to the same list, and only later.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise yaml.composer.ComposerError(None, None, f"found the key {key.value!r} twice", key.start_mark)
            seen.add(name)
        return node


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
