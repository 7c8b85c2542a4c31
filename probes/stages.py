"""Stands for `probes.trajectory.stages` for one release."""

from probes.trajectory.stages import *  # noqa: F403
