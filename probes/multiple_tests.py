"""Stands for `probes.permutation` for one release."""

from probes.permutation import *  # noqa: F403
from probes.permutation import __all__ as __all__
