"""The settings of an analysis of development: every choice that its numbers depend on."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from icl_interp.errors import InputError
from icl_interp.provenance import code_version


@dataclass(frozen=True, slots=True)
class LlcSettings:
    """Settings of learning coefficients; names as in devinterp, values our choice where the papers do not say.

    Raises:
        InputError: If a number is out of range.
    """

    checkpoints: int | tuple[int, ...] = 5
    """Number of checkpoints, spread evenly over log(step + 1) with first and last among them, or their steps."""
    nbeta: float | int = 66.7
    """Factor of the training loss; Hoogland et al.'s."""
    lr: float | int = 3e-4
    """Step size epsilon, theirs; at a tenth of it short chains were still climbing."""
    localization: float | int = 6.67
    """Coefficient of the force towards the checkpoint; theirs."""
    num_chains: int = 3
    """Number of chains; theirs is 10."""
    num_draws: int = 100
    """Number of draws per chain; theirs is 4000."""
    num_burnin_steps: int = 100
    """Number of steps before the first draw; theirs is 1000."""
    batch_size: int = 128
    """Number of prompts per step and chain, all fresh; theirs is 1024."""

    def __post_init__(self) -> None:
        wanted = (self.checkpoints,) if isinstance(self.checkpoints, int) else self.checkpoints
        if not wanted or min(wanted) < 0:
            raise InputError(
                f"LlcSettings needs a number of checkpoints from 0, or their steps, got {self.checkpoints!r}; 0 "
                "switches learning coefficients off."
            )
        # Before anything runs: the sampler would refuse the same numbers at every checkpoint.
        for name in ("nbeta", "lr"):
            if not 0.0 < (value := getattr(self, name)) < math.inf:
                raise InputError(f"LlcSettings needs a positive finite {name}, got {value}; see calibrate_llc.")
        if not 0.0 <= self.localization < math.inf:
            raise InputError(f"LlcSettings needs a finite localization from 0, got {self.localization}; 0 means none.")
        for name, least in {"num_chains": 1, "num_draws": 1, "num_burnin_steps": 0, "batch_size": 1}.items():
            if getattr(self, name) < least:
                raise InputError(f"LlcSettings needs {name} of at least {least}, got {getattr(self, name)}.")

    def describe(self) -> str:
        """State the settings, for figures.

        Returns:
            One line.

        Example:
            >>> LlcSettings(nbeta=10.0, lr=1e-4).describe()
            'SGLD, nbeta 10, lr 0.0001, localization 6.67, 3 chains of 100 + 100 steps, batches of 128'
        """
        return (
            f"SGLD, nbeta {self.nbeta:g}, lr {self.lr:g}, localization {self.localization:g}, {self.num_chains} chains "
            f"of {self.num_burnin_steps} + {self.num_draws} steps, batches of {self.batch_size}"
        )


@dataclass(frozen=True, slots=True)
class DevelopmentSettings:
    """Settings of the measures at every checkpoint.

    Raises:
        InputError: If a count is too small.
    """

    n_prompts: int = 512
    """Number of prompts per family for losses and distances."""
    n_points: int | None = None
    """Number of examples per prompt; None takes the task's usual number."""
    n_pca_prompts: int = 64
    """Number of prompts whose predictions are a checkpoint's function vector."""
    n_probe_prompts: int = 64
    """Number of prompts for signatures, probes and attention."""
    n_controls: int = 3
    """Number of untrained networks beside the signature; 0 switches them off."""
    seed: int = 0
    """The only source of randomness."""

    def __post_init__(self) -> None:
        least = {"n_prompts": 2, "n_pca_prompts": 1, "n_probe_prompts": 8, "n_controls": 0, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InputError(f"development needs {name} of at least {smallest}, got {getattr(self, name)}.")
        if self.n_points is not None and self.n_points < 2:
            raise InputError(f"development needs prompts of at least 2 points, got {self.n_points}.")


def settings_key(*parts: Any) -> str:
    """Name what records depend on: the settings, and the code that turns them into numbers."""
    plain = [dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part for part in parts]  # type: ignore[arg-type]
    return hashlib.sha256(
        json.dumps([code_version(__package__ or __name__), *plain], sort_keys=True).encode()
    ).hexdigest()[:16]
