"""The spectral signature of a model: do in-distribution prompts share leading directions, beyond untrained networks?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.arrays import as_tensor
from icl_interp.door import PromptsLike, as_model, as_prompts_or_tokens
from icl_interp.errors import InputError
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.controls import N_UNTRAINED, resampled_means, untrained_networks
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.result import Result
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.measure import Claim, Findings, Measure, StudyPlan, without_sites
from icl_interp.measure.study.survey import NetworkSurvey
from icl_interp.measure.verdicts import Excess, Scale, excess_of_replicates
from icl_interp.models.hook_names import Site
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role
from probes._core.arrays import takes_arrays
from probes.signature import SignatureScores, SpectralSignature, fit_signature
from probes.spectra import Side


@dataclass(frozen=True, eq=False, repr=False)
class SignatureControl:
    """The signature of untrained networks."""

    overlaps: tuple[Float[Tensor, " sample"], ...]
    """Held-out overlap of each prompt, for each network."""
    spectra: Float[Tensor, "network rank"]
    """Mean singular values of each network, largest first."""

    def __repr__(self) -> str:
        means = ", ".join(f"{float(overlap.mean()):.3f}" for overlap in self.overlaps)
        return f"SignatureControl({len(self.overlaps)} untrained networks, mean overlaps [{means}])"


@dataclass(frozen=True, eq=False, repr=False)
class SignatureResult(Result):
    """A signature fitted on half of the prompts and scored on the other half."""

    signature: SpectralSignature
    """The shared directions; `signature.ood_score(activations)` scores anything else."""
    scores: SignatureScores
    """Scores of the held-out half."""
    spectra: Float[Tensor, "sample rank"]
    """Singular values of each held-out prompt, largest first, in activation units."""
    control: SignatureControl | None
    """Untrained networks; None if there are none."""
    conventions: Conventions
    """Tokens, centring, side and k."""
    site: str
    """Hook name, or "given activations"."""

    @property
    def excess(self) -> Excess | None:
        """Excess of the mean held-out overlap over untrained networks; None without controls."""
        if self.control is None:
            return None
        own, *controls = [
            (float(overlap.mean()), resampled_means(overlap))
            for overlap in (self.scores.overlap, *self.control.overlaps)
        ]
        return excess_of_replicates(own, controls, scale="logit", n_prompts=len(self.scores.overlap))

    def to_frame(self) -> pd.DataFrame:
        """Lay the held-out prompts out, one per row."""
        scores = self.scores
        columns = {"overlap": scores.overlap, "ood_score": scores.ood_score}
        columns |= {f"alignment_{j + 1}": scores.alignment[:, j] for j in range(scores.alignment.shape[1])}
        columns |= {"swap_ratio": scores.swap_ratio, "swapped": scores.swapped}
        return pd.DataFrame({name: column.numpy() for name, column in columns.items()})

    def plot(self) -> Any:
        """Draw the mean spectrum beside that of untrained networks."""
        ranks = list(range(1, self.spectra.shape[1] + 1))
        lines = [Line("this model", ranks, self.spectra.mean(0).tolist(), role_style("model"), markers=True)]
        if self.control is not None:
            spectra = self.control.spectra
            low, high = spectra.min(0).values.tolist(), spectra.max(0).values.tolist()
            mean = spectra.mean(0).tolist()
            lines.insert(0, Line("untrained networks", ranks, mean, role_style("untrained"), low=low, high=high))
        figure = lines_figure(lines, x="index", y="singular value", y_type="log")
        overlap = f"held-out overlap {float(self.scores.overlap.mean()):.2f}"
        if (excess := self.excess) is not None:
            overlap += f", untrained {excess.control:.2f}"
        return figure.update_layout(title={"text": f"{self.site}: {overlap}<br>{self.conventions.describe()}"})

    def __repr__(self) -> str:
        return (
            f"SignatureResult({self.site}, {self.conventions.describe()}, "
            f"overlap={float(self.scores.overlap.mean()):.3f}, control={self.control})"
        )


@takes_arrays
def spectral_signature(
    model_or_activations: Any,
    prompts: PromptsLike | None = None,
    *,
    layer: int = -1,
    site: Site = "resid_post",
    tokens: Role = "all",
    center: bool = False,
    side: Side = "right",
    k: int = 2,
    n_controls: int = N_UNTRAINED,
    controls: Sequence[Any] | None = None,
    seed: int = 0,
) -> SignatureResult:
    """Measure the spectral signature of a model on in-distribution prompts, with its untrained control.

    The first half of the prompts is fitted, the second half scored, so that no prompt is its own reference. Formula:
    overlap = ||V_k R_k'||_F^2 / k with R_k the top k eigenvectors of the mean projector. Untrained networks share
    directions too, so only `result.excess` is evidence of learning.

    Args:
        model_or_activations: A model or a `Checkpoint`, or the activations [sample pos d_model] of one site, an array
            of any framework.
        prompts: Prompts in distribution, at least 4; for a wrapped language model tokens [batch pos]; with activations
            leave it out.
        layer: Number of the block; -1 is the last.
        site: "resid_post" is before the final norm; "final_norm" after it.
        tokens: Positions that are rows: "all", "x" or "y", or in joint tokens "context" (with activations, positions
            must alternate x, y). A query-only model is read in the last point's sequence.
        center: Whether each prompt's mean row is subtracted first.
        side: "right" (directions in d_model) or "left" (over positions).
        k: Number of directions; if there are fewer rows or the width is smaller, all of them, and `result.conventions`
            says so.
        n_controls: Number of untrained networks of the model's config and initialisation; 0 switches them off.
        controls: With activations: the activations of untrained networks at the same site on the same prompts, two or
            more for an excess.
        seed: Seed of the untrained networks.

    Returns:
        Signature, held-out scores and spectra, and the control.

    Raises:
        InputTypeError: If it is neither a model nor an array of real numbers.
        InputError: If there are fewer than 4 prompts, the site or token role does not exist, prompts are missing, or
            activations of controls have another shape.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440. Site, tokens, centring, side and the overlap itself are our
        choices, since only the paper's abstract was available to us.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> result = spectral_signature(model, LinearRegression(n_dims=2).sample(64, seed=0))
        >>> result.excess.verdict  # an untrained model shows nothing beyond an untrained model
        'inconclusive'
    """
    if hasattr(model_or_activations, "__array__") or hasattr(model_or_activations, "__dlpack__"):
        conventions = Conventions(tokens=tokens, center=center, side=side, k=k)
        return _of_activations(model_or_activations, prompts, controls, conventions)
    if controls is not None:
        raise InputError(
            "spectral_signature takes controls beside activations, got them beside a model, whose untrained networks "
            "it makes itself; leave them out."
        )
    model = as_model("spectral_signature", model_or_activations)
    given = as_prompts_or_tokens("spectral_signature of a model", prompts)
    model.prepare(given.xs, given.ys)
    conventions = Conventions(tokens=tokens, center=center, side=side, k=k, layout=model.cfg.tokens)
    name = model.cfg.site(site, layer).hook
    conventions = conventions.of_prompts(given.n_points, model.cfg)

    def measure(network: HookedModel) -> tuple[SpectralSignature, SignatureScores, Tensor]:
        return _fit_and_score(collect(network, given, name)[name], conventions)

    signature, scores, spectra = measure(model)
    control = _control([measure(n) for n in untrained_networks(model, n_controls, seed=seed)])
    return SignatureResult(signature, scores, spectra, control, conventions, name)


def _of_activations(
    given: object, prompts: object, controls: Sequence[Any] | None, conventions: Conventions
) -> SignatureResult:
    if prompts is not None:
        raise InputError("spectral_signature takes activations or a model with prompts, got activations and both.")
    own = as_tensor(given, what="spectral_signature")
    others = [as_tensor(each, what=f"control {i} of spectral_signature") for i, each in enumerate(controls or (), 1)]
    for i, each in enumerate(others, 1):
        if each.shape != own.shape:
            raise InputError(
                f"spectral_signature needs controls of the shape {list(own.shape)}, the same prompts in untrained "
                f"networks, got {list(each.shape)} in control {i}."
            )
    if own.ndim == 3:
        conventions = conventions.within(*own.shape[1:])
    signature, scores, spectra = _fit_and_score(own, conventions)
    control = _control([_fit_and_score(each, conventions) for each in others])
    return SignatureResult(signature, scores, spectra, control, conventions, "given activations")


def _control(
    measured: Sequence[tuple[SpectralSignature, SignatureScores, Tensor]],
) -> SignatureControl | None:
    if not measured:
        return None
    return SignatureControl(
        overlaps=tuple(scores.overlap for _, scores, _ in measured),
        spectra=torch.stack([spectra.mean(0) for _, _, spectra in measured]),
    )


def _fit_and_score(activations: Tensor, conventions: Conventions) -> tuple[SpectralSignature, SignatureScores, Tensor]:
    if len(activations) < 4:
        raise InputError(
            f"spectral_signature fits on one half and scores the other, needs 4 prompts, got {len(activations)}."
        )
    half = len(activations) // 2
    rows = conventions.rows(activations[:half])
    signature = fit_signature(rows, k=conventions.k, center=conventions.center, side=conventions.side)
    found = conventions.directions(activations[half:])
    return signature, signature.score_directions(found), found.singular_values


def _survey(found: Findings) -> NetworkSurvey:
    return found.model


SPECTRA = "spectra", "|log ratio| of leading singular values, shifted to in distribution, mean over shifts"
SHARED = "shared directions", "overlap in distribution minus mean overlap under shift"
"""Name and meaning of the claims."""


def _claims(plan: StudyPlan) -> list[Claim]:
    if not plan.families.shifted:
        return []
    return [Claim(*SPECTRA, partial(_judged, spectral_change)), Claim(*SHARED, partial(_judged, contrast))]


def _judged(judge: Callable[..., Excess], _: NetworkSurvey, found: Findings, n_claims: int) -> Excess:
    return judge(found.surveys, found.main_site.label, n_claims)


def spectral_change(surveys: Sequence[NetworkSurvey], site: str, n_claims: int = 1) -> Excess:
    """Judge how much shifts change the leading singular value, the model's survey first."""

    def change(survey: NetworkSurvey) -> tuple[float, Tensor]:
        def log_leading(label: str) -> tuple[Tensor, Tensor]:
            values = survey.families[label].sites[site].leading_value.double()
            return values.mean().log(), resampled_means(values).log()

        own, own_replicates = log_leading(IN_DISTRIBUTION)
        shifted = [log_leading(label) for label in survey.families if label != IN_DISTRIBUTION]
        value = torch.stack([(mean - own).abs() for mean, _ in shifted]).mean()
        return float(value), torch.stack([(means - own_replicates).abs() for _, means in shifted]).mean(0)

    own, *controls = map(change, surveys)
    # A mean of |log| is positive by construction, so there is no level of chance; it is 0 where nothing ever changes.
    scale: Scale = "log" if all(value > 0 for value, _ in (own, *controls)) else "identity"
    return excess_of_replicates(own, controls, n_verdicts=n_claims, chance=-math.inf, scale=scale)


def contrast(surveys: Sequence[NetworkSurvey], site: str, n_claims: int = 1) -> Excess:
    """Judge how much more directions are shared in distribution than under shift, the model's survey first."""

    def difference(survey: NetworkSurvey) -> tuple[float, Tensor]:
        def overlap(label: str) -> Tensor:
            return survey.families[label].sites[site].scores.overlap.double()

        shifted = torch.stack([overlap(label) for label in survey.families if label != IN_DISTRIBUTION]).mean(0)
        differences = overlap(IN_DISTRIBUTION) - shifted  # prompt i shares its random numbers across families
        return float(differences.mean()), resampled_means(differences)

    own, *controls = map(difference, surveys)
    return excess_of_replicates(own, controls, n_verdicts=n_claims, chance=0.0)


SURVEY = Measure("survey", "spectra and signatures", run=_survey, without=without_sites, claims=_claims)
