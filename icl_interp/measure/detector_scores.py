"""The scores of every detector and of its dumb rivals, on every prompt, before they are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from icl_interp.measure.detector_result import Reads
from icl_interp.measure.detectors import BY_DIRECTION, HIDDEN_DETECTORS, OVERLAP, DetectorWatch
from icl_interp.measure.errors import prompt_errors
from icl_interp.measure.families import Families
from icl_interp.measure.sites import ResidualSite
from icl_interp.measure.survey import NetworkSurvey
from icl_interp.predictors.protocol import Predictor
from icl_interp.query import predict
from probes._reprs import short_repr
from probes.ood import fit_norm, fit_prompt_statistics, prediction_gap

__all__ = ["DetectorScores", "Scores", "excess_loss", "score_prompts"]

Scores = Mapping[str, Float[Tensor, " sample"]]
"""One number a prompt, by the label of its family; larger is less familiar."""


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What one detector says of every prompt."""

    name: str
    """As in tables."""
    reads: Reads
    """What it looks at."""
    scores: Scores
    """With the model."""
    controls: tuple[Scores, ...]
    """With each untrained network; empty for raw inputs."""

    __repr__ = short_repr


def score_prompts(
    surveys: Sequence[NetworkSurvey],
    watches: Sequence[DetectorWatch],
    families: Families,
    references: Mapping[str, Predictor],
    site: ResidualSite,
) -> list[DetectorScores]:
    """Score every prompt by every detector, by its distance from ridge, and by what raw inputs show.

    Args:
        surveys: Of the model, then of untrained networks, on the same families.
        watches: What each survey showed in passing.
        families: The prompts.
        references: Predictors by name; ridge, or least squares where there is no ridge, gives the distance.
        site: Where the watches looked.

    Returns:
        Detectors in the order of tables: hidden states, predictions, raw inputs. float64.
    """
    by_network = [
        {**watch.scores(), **_signatures(survey, site)} for survey, watch in zip(surveys, watches, strict=True)
    ]
    found: list[DetectorScores] = []
    for name in HIDDEN_DETECTORS:
        if name in by_network[0]:
            controls = tuple(scores[name] for scores in by_network[1:] if name in scores)
            found.append(DetectorScores(name, "hidden states", by_network[0][name], controls))
    ridge = _holding(references, "ridge") or _holding(references, "least squares")
    said = {label: predict(references[ridge], family.prompts) for label, family in families.by_label.items()}
    gaps = [{label: _gap(survey, label, said[label]) for label in said} for survey in surveys]
    short = "ridge" if "ridge" in ridge else "least squares"
    found.append(DetectorScores(f"|model - {short}|", "predictions", gaps[0], tuple(gaps[1:])))
    return found + [DetectorScores(name, "raw inputs", scores, ()) for name, scores in _input_scores(families).items()]


def excess_loss(survey: NetworkSurvey, families: Families, references: Mapping[str, Predictor]) -> Scores:
    """Say how much more a network errs on each prompt than least squares does.

    Args:
        survey: Of the network.
        families: The prompts.
        references: Predictors by name, least squares among them.

    Returns:
        Differences of squared errors, in units of each family's E[y^2], by the label of the family.
    """
    solve = references[_holding(references, "least squares")]
    return {
        label: prompt_errors(survey.families[label].predictions, family)
        - prompt_errors(predict(solve, family.prompts), family)
        for label, family in families.by_label.items()
    }


def _signatures(survey: NetworkSurvey, site: ResidualSite) -> dict[str, dict[str, Tensor]]:
    scores = {label: record.sites[site.label].scores for label, record in survey.families.items()}
    return {
        BY_DIRECTION: {label: 1 - found.alignment.double().mean(1) for label, found in scores.items()},
        OVERLAP: {label: found.ood_score.double() for label, found in scores.items()},
    }


def _gap(survey: NetworkSurvey, label: str, reference: Tensor) -> Tensor:
    return prediction_gap(survey.families[label].predictions.double(), reference.double().cpu())


def _input_scores(families: Families) -> dict[str, dict[str, Tensor]]:
    fit = families.fit
    inputs, labels = fit_norm(fit.xs.double()), fit_norm(fit.ys.double())
    statistics = fit_prompt_statistics(fit.xs.double(), fit.ys.double())
    prompts = {label: family.prompts for label, family in families.by_label.items()}
    return {
        "‖X‖": {label: inputs.score(p.xs.double()) for label, p in prompts.items()},
        "‖y‖": {label: labels.score(p.ys.double()) for label, p in prompts.items()},
        "raw statistics XᵀX, Xᵀy": {
            label: statistics.score(p.xs.double(), p.ys.double()) for label, p in prompts.items()
        },
    }


def _holding(references: Mapping[str, Predictor], part: str) -> str:
    return next((name for name in references if any(p.startswith(part) for p in name.split(" = "))), "")
