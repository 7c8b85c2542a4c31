"""Stands for `probes.learning_coefficient.health` for one release."""

from probes.learning_coefficient.health import *  # noqa: F403
from probes.learning_coefficient.health import __all__ as __all__
