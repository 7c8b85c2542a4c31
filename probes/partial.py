"""Stands for `probes.selectivity` for one release."""

from probes.selectivity import *  # noqa: F403
