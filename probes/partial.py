"""Stands for `probes.selectivity` for one release."""

from probes.selectivity import *  # noqa: F403
from probes.selectivity import __all__ as __all__
