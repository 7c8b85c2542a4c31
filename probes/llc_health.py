"""Stands for `probes.learning_coefficient.health` for one release."""

from probes.learning_coefficient.health import *  # noqa: F403
