"""The papers that can be reproduced, by name; nothing is imported before one is asked for."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from icl_interp.errors import InputError

if TYPE_CHECKING:
    from icl_interp.experiments.experiment import Experiment

__all__ = ["EXPERIMENTS", "PRESETS", "experiment"]

EXPERIMENTS: Mapping[str, str] = MappingProxyType({
    "zhang2024": "icl_interp.experiments.zhang2024.paper",
    "hill2025": "icl_interp.experiments.hill2025.paper",
    "carroll2025": "icl_interp.experiments.carroll2025.paper",
})
"""Name to the module whose EXPERIMENT it is: one line a paper."""

PRESETS = ("smoke", "laptop", "paper")
"""Sizes that every experiment has: seconds and nothing is judged; two cores for two hours at most; the paper's own."""


def experiment(name: str) -> "Experiment":
    """Load an experiment.

    Args:
        name: Of the paper.

    Returns:
        How to plan and run it.

    Raises:
        InputError: If the name is unknown.

    Example:
        >>> experiment("zhang2024").paper.citation
        'Zhang, Wu, Bartlett (2024), arXiv 2402.14951'
    """
    if name not in EXPERIMENTS:
        raise InputError(f"icl-reproduce needs one of {', '.join(EXPERIMENTS)}, got {name!r}.")
    found: Experiment = importlib.import_module(EXPERIMENTS[name]).EXPERIMENT
    return found
