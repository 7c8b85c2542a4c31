"""Stands for `probes.agreement` for one release."""

from probes.agreement import *  # noqa: F403
