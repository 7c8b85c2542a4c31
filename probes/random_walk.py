"""Stands for `probes.trajectory.random_walk` for one release."""

from probes.trajectory.random_walk import *  # noqa: F403
from probes.trajectory.random_walk import __all__ as __all__
