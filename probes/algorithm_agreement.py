"""Stands for `probes.agreement` for one release."""

from probes.agreement import *  # noqa: F403
from probes.agreement import __all__ as __all__
