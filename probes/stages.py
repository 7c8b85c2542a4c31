"""Stands for `probes.trajectory.stages` for one release."""

from probes.trajectory.stages import *  # noqa: F403
from probes.trajectory.stages import __all__ as __all__
