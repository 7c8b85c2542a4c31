"""Stands for `probes.attention` for one release."""

from probes.attention import *  # noqa: F403
from probes.attention import __all__ as __all__
