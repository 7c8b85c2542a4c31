"""Activations in a file: which of its arrays are families, untrained networks, predictions, targets and inputs."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from icl_interp.arrays import StoredArray, keeps_order, stored_arrays
from icl_interp.errors import InputError
from icl_interp.tasks.fixed_prompts import check_order
from probes._core.results import short_repr

SITE_MARK = "@"
"""Between a family and a site in an array's name."""
UNNAMED = "activations"
"""The site of an array that names none."""
_NUMBERED = re.compile(r"(.*?)(\d+)")
_CONTROL = re.compile(r"control (\d+)/(predictions/)?(.+)")
_BESIDE = {"predictions": 2, "targets": 2, "inputs": 3}
"""What else a file may hold of each family, under NAME/family, and its number of axes."""

_BySite = dict[str, Any]
"""Arrays of one family by site."""


@dataclass(frozen=True, slots=True)
class ActivationsFile:
    """The arguments of `activation_study` from a file, none of it read yet."""

    families: Mapping[str, _BySite] = field(default_factory=dict)
    """Activations by family."""
    controls: tuple[Mapping[str, _BySite], ...] = ()
    """Activations by family, for each untrained network."""
    beside: Mapping[str, Mapping[str, StoredArray]] = field(default_factory=dict)
    """Predictions, targets and inputs, by family."""
    said_by_controls: tuple[Mapping[str, StoredArray], ...] | None = None
    """Predictions of each untrained network."""

    __repr__ = short_repr


def read_activations(path: str | Path) -> ActivationsFile | None:
    """Sort the arrays of a file by their names; None where it is no file of activations.

    Names are `FAMILY` or `FAMILY@SITE`, `control 1/FAMILY`, `predictions/FAMILY`, `targets/FAMILY`, `inputs/FAMILY` and
    `control 1/predictions/FAMILY`.
    """
    arrays = stored_arrays(path)
    if not arrays:
        return None
    if any(len(array.shape) == 3 for array in arrays.values()):
        _check_names(path, list(arrays))
    families: dict[str, _BySite] = {}
    controls: dict[int, dict[str, _BySite]] = {}
    beside: dict[str, dict[str, StoredArray]] = {}
    said: dict[int, dict[str, StoredArray]] = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        control = _CONTROL.fullmatch(name)
        predicted = control is not None and control.group(2) is not None
        if len(array.shape) != (2 if predicted else _BESIDE.get(kind, 3) if rest else 3):
            return None
        if control is not None and predicted:
            said.setdefault(int(control.group(1)), {})[control.group(3)] = array
        elif control is not None:
            _put(controls.setdefault(int(control.group(1)), {}), control.group(3), array)
        elif rest and kind in _BESIDE:
            beside.setdefault(kind, {})[rest] = array
        else:
            _put(families, name, array)
    if not families:
        return None
    check_order(path, list(families))
    sites = _ordered(path, list(dict.fromkeys(site for arrays in families.values() for site in arrays)))
    for network in (families, *controls.values()):
        for label, found in network.items():
            network[label] = {site: found[site] for site in sites if site in found}
    return ActivationsFile(families, _in_order(controls), beside, _in_order(said) or None)


def _check_names(path: str | Path, names: list[str]) -> None:
    # A misspelt one would be per family: families may have a "/" as well, as "x_scale=1/3" has.
    for name in names:
        kind, _, rest = name.partition("/")
        is_control = kind.lower().startswith("control") and not _CONTROL.fullmatch(name)
        if rest and kind not in _BESIDE and (is_control or difflib.get_close_matches(kind.lower(), _BESIDE, 1, 0.8)):
            raise InputError(
                f"a file of activations needs names such as 'control 1/FAMILY', 'predictions/FAMILY', 'targets/FAMILY' "
                f"and 'inputs/FAMILY', got {name!r}: {path}; rename that array."
            )


def why_no_activations(path: Path) -> str | None:
    """Say what keeps an .npz file from being one of activations, where it looks like one; None where it does not."""
    arrays = stored_arrays(path) or {}
    if set(arrays) == {"xs", "ys"}:
        return (
            "saved prompts need arrays named NAME.xs and NAME.ys, such as 'in distribution.xs', got xs and ys: "
            f"{path}; rename them, and pass the file as --task beside a checkpoint."
        )
    wrong = [name for name, array in arrays.items() if len(array.shape) != 3 and name.partition("/")[0] not in _BESIDE]
    if len(wrong) == len(arrays) or not wrong:
        return None
    return (
        f"a file of activations needs arrays [sample pos width], got {list(arrays[wrong[0]].shape)} in {wrong[0]!r}: "
        f"{path}; docs/activations.md says what else may be in it, and under which names."
    )


def _ordered(path: str | Path, sites: list[str]) -> list[str]:
    # The last site is the one that is judged.
    if len(sites) == 1 or keeps_order(path):
        return sites
    numbered = {site: match for site in sites if (match := _NUMBERED.fullmatch(site))}
    if len({match.group(1) for match in numbered.values()}) != 1 or len(numbered) < len(sites):
        raise InputError(
            f"a file that keeps no order of its arrays needs sites that are numbered, such as 'block 0' and 'block 1', "
            f"got {', '.join(sites)}: {path}; rename them, or store an .npz file."
        )
    return sorted(sites, key=lambda site: int(numbered[site].group(2)))


_Value = TypeVar("_Value")


def _in_order(found: Mapping[int, _Value]) -> tuple[_Value, ...]:
    return tuple(found[number] for number in sorted(found))


def _put(families: dict[str, _BySite], name: str, array: StoredArray) -> None:
    family, mark, site = name.rpartition(SITE_MARK)
    families.setdefault(family if mark else name, {})[site if mark else UNNAMED] = array
