"""What is measured on one model of Hill et al. (2025), as it is kept in the experiment's folder."""

from pydantic import BaseModel, ConfigDict

from icl_interp.measure.detectors.result import Reads

__all__ = ["DetectorFound", "FamilyFound", "LayerFound", "Measured", "Reading"]

Networks = tuple[float, ...]
"""The trained model first, then each untrained network."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Reading(_Record):
    """The signature by one convention at one site."""

    site: str
    """Where in the residual stream."""
    tokens: str
    """Which positions of a prompt are rows; or which token, where prompts are the rows."""
    centred: bool
    """Whether each prompt's mean row was subtracted."""
    side: str
    """"right" or "left" singular vectors."""
    variant: str
    """"overlap" of the two-dimensional subspace, "directions" one by one, or in "pairs" with single prompts."""
    contrast: Networks
    """Mean score in distribution minus its mean over shifts."""
    within: Networks
    """Spearman of 1 - score with the trained model's log error, mean inside families; NaN, like all that follow, where
    single prompts have no score."""
    pooled: Networks
    """The same over all prompts at once."""
    auroc: Networks
    """Of 1 - score, mean over shifts."""

    def control(self, measure: str) -> float:
        """Average a measure over the untrained networks."""
        untrained: Networks = getattr(self, measure)[1:]
        return sum(untrained) / len(untrained)

    def beyond(self, measure: str, chance: float = 0.0) -> float:
        """Say how far the trained model goes beyond its controls.

        Formula: value - max(chance, mean over untrained networks).
        """
        return float(getattr(self, measure)[0]) - max(chance, self.control(measure))


class FamilyFound(_Record):
    """One family of prompts, read by one model."""

    late: dict[str, float]
    """Error after at least d examples, in units of E[y^2], of the model and each reference."""
    fails: dict[str, bool]
    """Whether it is clearly worse than the best reference; for the model also clearly worse than in distribution."""
    curves: dict[str, tuple[float, ...]]
    """Error by number of examples, in the same unit."""
    spectrum: tuple[float, ...]
    """Mean singular values after the last block."""
    untrained_spectrum: tuple[float, ...]
    """The same, mean over untrained networks."""
    growth: Networks
    """log of the mean leading singular value after the last block over that in distribution."""
    within: float
    """Spearman of 1 - score with log error by the default conventions; NaN where undefined."""
    flagged: float
    """Share of prompts that the signature puts outside where it lets 95 % of those in distribution pass."""
    sample: tuple[tuple[float, float], ...]
    """Score and error of a few prompts, by the default conventions."""


class LayerFound(_Record):
    """How far leading directions agree at one site."""

    site: str
    """Its label."""
    inside: dict[str, Networks]
    """"v1", "v2": mean |cos| of two prompts in distribution; "overlap" of their subspaces."""
    shifted: dict[str, Networks]
    """The same of a shifted prompt with one in distribution, mean over shifts."""


class DetectorFound(_Record):
    """One detector, mean over shifts."""

    reads: Reads
    """What it looks at."""
    auroc: float
    """With the trained model."""
    untrained: float
    """Mean over untrained networks; NaN for raw inputs."""


class Measured(_Record):
    """All numbers of one model."""

    families: dict[str, FamilyFound]
    """By label; in distribution first."""
    readings: tuple[Reading, ...]
    """Every convention."""
    layers: tuple[LayerFound, ...]
    """Along the network."""
    detectors: dict[str, DetectorFound]
    """By name."""
    norms_within: float
    """Spearman of a prompt's unusual norms with the model's log error, mean inside families: what needs no network."""
    norms_pooled: float
    """The same over all prompts at once."""
    common: dict[str, float]
    """Late error on isotropic prompts and their shifts, the same for all training laws of a seed."""

    def reading(self, site: str, *, variant: str = "overlap") -> Reading:
        """Look up the default conventions: all tokens, uncentred, right singular vectors."""
        wanted = (site, "all", False, "right", variant)
        return next(r for r in self.readings if (r.site, r.tokens, r.centred, r.side, r.variant) == wanted)
