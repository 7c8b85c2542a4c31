"""Stands for `probes.permutation` for one release."""

from probes.permutation import *  # noqa: F403
