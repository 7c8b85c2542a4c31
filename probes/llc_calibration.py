"""Stands for `probes.learning_coefficient.calibration` for one release."""

from probes.learning_coefficient.calibration import *  # noqa: F403
from probes.learning_coefficient.calibration import __all__ as __all__
