"""Stands for `probes.learning_coefficient.calibration` for one release."""

from probes.learning_coefficient.calibration import *  # noqa: F403
