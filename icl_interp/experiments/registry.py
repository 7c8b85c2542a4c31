"""The papers that can be reproduced, by name; nothing is imported before one is asked for."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from icl_interp.errors import InputError

if TYPE_CHECKING:
    from icl_interp.experiments.experiment import Experiment

__all__ = ["PRESETS", "experiment"]

_EXPERIMENTS: Mapping[str, str] = MappingProxyType({
    "zhang2024": "icl_interp.experiments.zhang2024.paper",
    "hill2025": "icl_interp.experiments.hill2025.paper",
    "carroll2025": "icl_interp.experiments.carroll2025.paper",
})
"""Name to the module whose EXPERIMENT it is: one line a paper."""

PRESETS = ("smoke", "laptop", "paper")
"""Sizes that every experiment has: seconds and nothing is judged; two cores for two hours at most; the paper's own."""


def experiment(name: str) -> "Experiment":
    """Load an experiment."""
    if name not in _EXPERIMENTS:
        raise InputError(f"icl-reproduce needs one of {', '.join(_EXPERIMENTS)}, got {name!r}.")
    found: Experiment = importlib.import_module(_EXPERIMENTS[name]).EXPERIMENT
    return found
