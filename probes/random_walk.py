"""Stands for `probes.trajectory.random_walk` for one release."""

from probes.trajectory.random_walk import *  # noqa: F403
