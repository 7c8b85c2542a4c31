"""What a study found: everything that a report shows, and the claims with their controls."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.measure.controls import Excess, excess_of_replicates, resampled_means
from icl_interp.measure.detectors.result import DetectorReport
from icl_interp.measure.errors import ErrorReport, prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families
from icl_interp.measure.linear_probes import LinearProbeReport
from icl_interp.measure.ood import OodReport
from icl_interp.measure.similarity import LayerSimilarity
from icl_interp.measure.sites import Conventions, ResidualSite, last_block
from icl_interp.measure.study.mechanism import Mechanism
from icl_interp.measure.study.survey import NetworkSurvey
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.base import Task
from probes._core.reprs import short_repr

__all__ = ["Study"]


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that a report shows."""

    config: ModelConfig
    """Of the model."""
    task: Task
    """What counts as in distribution."""
    families: Families
    """The prompts."""
    sites: tuple[ResidualSite, ...]
    """Along the network."""
    conventions: Conventions
    """How activations became directions."""
    errors: ErrorReport
    """Error curves of the model and the references."""
    survey: NetworkSurvey
    """Spectra and scores of the model."""
    untrained: tuple[NetworkSurvey, ...]
    """The same of untrained networks; empty where controls were switched off."""
    ood: OodReport
    """Detection and score against error after the last block."""
    ood_final: OodReport | None
    """The same after the final norm, without controls; None in a network without one."""
    probes: LinearProbeReport
    """Linear read-outs of what known algorithms compute."""
    mechanism: Mechanism
    """Which algorithm the model acts like, and which layers, heads and directions it needs."""
    context_free: Float[Tensor, "sample point"]
    """Best guess of each in-distribution label that reads no label: the Bayes reference's answer to a lone input."""
    seed: int
    """The only source of randomness."""
    detectors: DetectorReport | None
    """Every detector beside its baselines, after the last block; None without a shift to tell apart."""
    similarity: LayerSimilarity
    """Of the residual stream with itself, along the network."""

    __repr__ = short_repr

    @property
    def main_site(self) -> ResidualSite:
        """After the last block, before the final norm."""
        return last_block(self.config)

    @property
    def n_verdicts(self) -> int:
        """Claims that the study makes; their intervals hold together at 95 %."""
        return (8 if self.families.shifted else 4) + len(self.probes.targets)

    def verdicts(self) -> dict[str, Excess]:
        """State each claim as an excess over untrained networks.

        Returns:
            By name: "in-context learning" (1 - late error / late error of the best guess that reads no label, in
            distribution, not below 0), "under shift" (mean over shifts of 1 - late error / late error of zero, not
            below 0), "spectra" (mean over shifts of |log s1(shift) / s1(in distribution)|), "shared directions"
            (overlap in distribution minus mean overlap under shift), "score and error" (mean Spearman inside families),
            "detection" (mean AUROC over shifts), "algorithm" (share of the nearest reference's predictions),
            "layers" (share of the read-in's error that a read-out of the last block removes), and "probe: T" (best R²
            over sites) for each target T. Larger is more everywhere. Without a shift whose activations are read there
            are no claims over shifts.
        """
        named = {"in-context learning": (self._skill_in, 0.0)}
        if self.families.shifted:
            named |= {
                "under shift": (_skill_out, 0.0),
                "spectra": (self._spectral_change, -math.inf),  # a mean of |log| is positive by construction
                "shared directions": (self._contrast, 0.0),
            }
        verdicts = {}
        for name, (quantity, chance) in named.items():
            verdicts[name] = excess_of_replicates(
                quantity(self.survey, self.families),
                [quantity(control, self.families) for control in self.untrained],
                n_verdicts=self.n_verdicts,
                chance=chance,
            )
        verdicts["score and error"] = self.ood.correlation_excess(self.n_verdicts)
        if self.families.shifted:
            verdicts["detection"] = self.ood.detection_excess(self.n_verdicts)
        verdicts["algorithm"] = self.mechanism.likeness.excess(self.n_verdicts)
        verdicts["layers"] = self.mechanism.readouts.excess(self.n_verdicts)
        for target in self.probes.targets:
            verdicts[f"probe: {target}"] = self.probes.excess(target, self.n_verdicts)
        return verdicts

    def _skill_in(self, survey: NetworkSurvey, families: Families) -> tuple[float, Tensor]:
        # As under shift: how much worse than no reading at all an untrained network is says nothing of learning.
        value, replicates = _skill(survey, families, IN_DISTRIBUTION, self.context_free)
        return max(0.0, value), replicates.clamp(min=0)

    def _spectral_change(self, survey: NetworkSurvey, families: Families) -> tuple[float, Tensor]:
        def log_leading(label: str) -> tuple[Tensor, Tensor]:
            values = survey.families[label].sites[self.main_site.label].leading_value.double()
            return values.mean().log(), resampled_means(values).log()

        own, own_replicates = log_leading(IN_DISTRIBUTION)
        shifted = [log_leading(family.label) for family in families.shifted]
        value = torch.stack([(mean - own).abs() for mean, _ in shifted]).mean()
        return float(value), torch.stack([(means - own_replicates).abs() for _, means in shifted]).mean(0)

    def _contrast(self, survey: NetworkSurvey, families: Families) -> tuple[float, Float64[Tensor, " resample"]]:
        def overlap(label: str) -> Tensor:
            return survey.families[label].sites[self.main_site.label].scores.overlap.double()

        shifted = torch.stack([overlap(family.label) for family in families.shifted]).mean(0)
        contrast = overlap(IN_DISTRIBUTION) - shifted  # prompt i shares its random numbers across families
        return float(contrast.mean()), resampled_means(contrast)


def _skill_out(survey: NetworkSurvey, families: Families) -> tuple[float, Tensor]:
    skills = [
        _skill(survey, families, family.label, torch.zeros_like(family.prompts.ys)) for family in families.shifted
    ]
    value = torch.tensor([value for value, _ in skills]).clamp(min=0).mean()
    return float(value), torch.stack([replicates.clamp(min=0) for _, replicates in skills]).mean(0)


def _skill(survey: NetworkSurvey, families: Families, label: str, guess: Tensor) -> tuple[float, Tensor]:
    # A ratio on the same prompts: how large their labels happen to be cancels.
    family = families.by_label[label]
    own, base = prompt_errors(survey.families[label].predictions, family), prompt_errors(guess, family)
    return 1 - float(own.mean() / base.mean()), 1 - resampled_means(own) / resampled_means(base)
