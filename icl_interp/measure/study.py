"""The main job: one model, all measures, each with its controls, from one set of prompts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.measure.controls import (
    N_UNTRAINED,
    Excess,
    excess_over_controls,
    paired_variance,
    untrained_networks,
    variance_over,
)
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.cost import default_prompts, probe_count, shift_reads
from icl_interp.measure.errors import ErrorReport, prompt_errors, summarise_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.linear_probes import LinearProbeReport, probe_network, probe_targets, summarise_probes
from icl_interp.measure.ood import summarise_ood
from icl_interp.measure.ood_result import OodReport
from icl_interp.measure.sites import ResidualSite, last_block, residual_sites
from icl_interp.measure.statistics import resampled_means
from icl_interp.measure.survey import NetworkSurvey, survey_network
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import predict
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors

__all__ = ["Study", "study"]

BATCH = 64
"""Prompts a forward pass."""


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
    """Linear read-outs."""
    context_free: Float[Tensor, "sample point"]
    """Best guess of each in-distribution label that reads no label: the Bayes reference's answer to a lone input."""
    seed: int
    """The only source of randomness."""

    @property
    def main_site(self) -> ResidualSite:
        """After the last block, before the final norm."""
        return last_block(self.config)

    @property
    def n_verdicts(self) -> int:
        """Claims that the study makes; their intervals hold together at 95 %."""
        return 6 + len(self.probes.targets)

    def verdicts(self) -> dict[str, Excess]:
        """State each claim as an excess over untrained networks.

        Returns:
            By name: "in-context learning" (1 - late error / late error of the best guess that reads no label, in
            distribution), "under shift" (mean over shifts of 1 - late error / late error of zero, not below 0),
            "spectra" (mean over shifts of |log s1(shift) / s1(in distribution)|), "shared directions" (overlap in
            distribution minus mean overlap under shift), "score and error" (mean Spearman inside families),
            "detection" (mean AUROC over shifts), and "probe: T" (best R² over sites) for each target T. Larger is
            more everywhere.
        """
        named = {
            "in-context learning": (self._skill_in, 0.0),
            "under shift": (_skill_out, 0.0),
            "spectra": (self._spectral_change, -math.inf),  # a mean of |log| is positive by construction
            "shared directions": (self._contrast, 0.0),
        }
        verdicts = {}
        for name, (quantity, chance) in named.items():
            value, replicates = quantity(self.survey, self.families)
            controls = [quantity(control, self.families) for control in self.untrained]
            verdicts[name] = excess_over_controls(
                value,
                [control for control, _ in controls],
                sampling_variance=paired_variance(replicates, [replicate for _, replicate in controls]),
                n_verdicts=self.n_verdicts,
                chance=chance,
                value_variance=variance_over(replicates),
            )
        verdicts["score and error"] = self.ood.correlation_excess(self.n_verdicts)
        verdicts["detection"] = self.ood.detection_excess(self.n_verdicts)
        for target in self.probes.targets:
            verdicts[f"probe: {target}"] = self.probes.excess(target, self.n_verdicts)
        return verdicts

    def _skill_in(self, survey: NetworkSurvey, families: Families) -> tuple[float, Tensor]:
        return _skill(survey, families, IN_DISTRIBUTION, self.context_free)

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


def study(
    model: HookedModel,
    task: Task,
    *,
    n_prompts: int | None = None,
    n_points: int | None = None,
    shifts: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
    tick: Callable[[int, str], None] | None = None,
) -> Study:
    """Measure everything that the report of a model shows.

    Args:
        model: The network.
        task: What is in distribution.
        n_prompts: For each family; None takes `default_prompts`.
        n_points: Pairs a prompt; None takes the task's usual number.
        shifts: Patterns as `select_shifts` takes them; None means the core suite.
        layers: Blocks to look at; None means all.
        n_controls: Untrained networks; 0 switches them off, and every verdict is then unknown.
        seed: The only source of randomness.
        tick: Told the number of prompts just read and by which network, for progress; `study_reads` in all.

    Returns:
        The study.

    Raises:
        ValueError: If there are fewer than 8 prompts or 2 points, or a shift or layer does not exist.
    """
    config = model.cfg
    n_points = task.default_points if n_points is None else n_points
    if n_prompts is None:
        n_shifts, extra = shift_reads(task, shifts, n_points=n_points, max_points=config.max_points)
        n_prompts = default_prompts(config, n_shifts, n_points, n_controls, extra=extra)
    if n_prompts < 8 or n_points < 2:
        raise ValueError(
            f"a study needs at least 8 prompts of 2 points, got {n_prompts} prompts of {n_points} points; raise "
            "--prompts or --points."
        )
    report = tick or (lambda _done, _note: None)
    sites = residual_sites(config, layers)
    families = draw_families(
        task, shifts=shifts, n_prompts=n_prompts, n_points=n_points, max_points=config.max_points, seed=seed
    )
    if not families.shifted:
        raise ValueError(
            "a study compares prompts in distribution with shifted ones, got no shift whose activations are read; add "
            "one, such as x_scale=3, to --shifts."
        )
    references = reference_predictors(task)
    probe_prompts = task.sample(probe_count(n_prompts), n_points, seed=derive_seed(seed, "evaluation: probes"))
    targets, left_out = probe_targets(probe_prompts, references)
    surveys, probes = [], []
    for i, network in enumerate([model, *untrained_networks(config, n_controls, seed=seed)]):
        name = "this model" if i == 0 else f"untrained network {i}"
        surveys.append(survey_network(network, families, sites, on_batch=partial(_relay, report, name)))
        probes.append(probe_network(network, probe_prompts, targets, sites, seed=seed))
        report(len(probe_prompts), name)
    conventions = Conventions(layout=config.tokens)
    ood = summarise_ood(surveys[0], surveys[1:], families, last_block(config), conventions, seed=seed)
    ood_final = None
    if config.final_norm:
        ood_final = summarise_ood(surveys[0], (), families, sites[-1], conventions, seed=seed)
    said = {label: record.predictions for label, record in surveys[0].families.items()}
    said |= _errors_only(model, families, partial(_relay, report, "this model"))
    return Study(
        config=config,
        task=task,
        families=families,
        sites=tuple(sites),
        conventions=conventions,
        errors=summarise_errors(said, families, references),
        survey=surveys[0],
        untrained=tuple(surveys[1:]),
        ood=ood,
        ood_final=ood_final,
        probes=summarise_probes(probes[0], probes[1:], targets, left_out),
        context_free=_context_free(references, families.in_distribution.prompts),
        seed=seed,
    )


def _context_free(references: Mapping[str, Predictor], prompts: Prompts) -> Tensor:
    # Zero where no Bayes reference is known: the tasks' labels have mean zero then.
    bayes = next((f for name, f in references.items() if "Bayes" in name.split(" = ")), None)
    if bayes is None:
        return torch.zeros_like(prompts.ys)
    alone = prompts.xs.flatten(0, 1)[:, None]
    return bayes(alone, torch.zeros_like(alone[..., 0])).reshape(prompts.ys.shape)


def _errors_only(model: HookedModel, families: Families, on_prompts: Callable[[int], None]) -> dict[str, Tensor]:
    with torch.no_grad():
        return {
            label: torch.cat([
                predict(model, family.prompts[start : start + BATCH], on_prompts=on_prompts).cpu()
                for start in range(0, len(family.prompts), BATCH)
            ])
            for label, family in families.errors_only.items()
        }


def _relay(report: Callable[[int, str], None], name: str, done: int) -> None:
    report(done, name)


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
