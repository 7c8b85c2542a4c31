"""Stands for `probes.attention` for one release."""

from probes.attention import *  # noqa: F403
