"""The score of every detector and of its simple rivals on every prompt, and tests of many scores at once."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.measure.detectors.result import Reads
from icl_interp.measure.detectors.watch import BY_DIRECTION, HIDDEN_DETECTORS, NULL_SPACE, OVERLAP, Seen
from icl_interp.measure.errors import prompt_errors, prompt_errors_of
from icl_interp.measure.families import IN_DISTRIBUTION, Families
from icl_interp.measure.study.survey import NetworkSurvey
from icl_interp.models.architecture import ResidualSite
from icl_interp.predictors.references import ByReference
from probes._core.results import short_repr
from probes.bootstrap import bootstrap_counts
from probes.ood import fit_norm, fit_prompt_statistics, prediction_gap
from probes.permutation import permutation_p_value

Scores = Mapping[str, Float[Tensor, " sample"]]
"""One number per prompt, by the label of its family; larger is less familiar."""


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
    seen: Sequence[Seen],
    families: Families,
    answers: Mapping[str, ByReference[Tensor]],
    site: ResidualSite,
) -> list[DetectorScores]:
    """Score every prompt by every detector, by its distance from ridge, and by what raw inputs show.

    Without answers of references the prompts are not known, and only hidden states are scored.
    """
    by_network: list[dict[str, Scores]] = [
        {**found.scores, **_signatures(survey, site)} for survey, found in zip(surveys, seen, strict=True)
    ]
    found: list[DetectorScores] = []
    for name in (*HIDDEN_DETECTORS, *seen[0].own):
        if name in by_network[0]:
            controls = tuple(scores[name] for scores in by_network[1:] if name in scores)
            found.append(DetectorScores(name, "hidden states", by_network[0][name], controls))
    if not answers:
        return found
    if surveys[0].families[IN_DISTRIBUTION].predictions.shape[1]:
        found.append(_distance(surveys, families, answers))
    return found + [DetectorScores(name, "raw inputs", scores, ()) for name, scores in _input_scores(families).items()]


def _distance(
    surveys: Sequence[NetworkSurvey], families: Families, answers: Mapping[str, ByReference[Tensor]]
) -> DetectorScores:
    short = _nearest_line(answers[IN_DISTRIBUTION])
    said = [survey for survey in surveys if survey.families[IN_DISTRIBUTION].predictions.shape[1]]
    gaps = [{label: _gap(survey, label, answers[label][short]) for label in families.by_label} for survey in said]
    return DetectorScores(gap_to(short), "predictions", gaps[0], tuple(gaps[1:]))


def _nearest_line(known: Container[str]) -> str:
    return "ridge" if "ridge" in known else "least squares"


def gap_to(short: str) -> str:
    """Name the score that is the distance from a reference."""
    return f"|model - {short}|"


def claimed(known: Container[str] | None, own: Iterable[str], *, reads_out: bool) -> list[str]:
    """Name the detectors whose AUROC is a claim; that of the overlap is judged as the signature's own."""
    hidden = [name for name in HIDDEN_DETECTORS if name != OVERLAP and (reads_out or name != NULL_SPACE)]
    return [*hidden, *own, *([] if known is None else [gap_to(_nearest_line(known))])]


def excess_loss(survey: NetworkSurvey, families: Families, answers: Mapping[str, ByReference[Tensor]]) -> Scores:
    """Say how much more a network errs on each prompt than least squares does.

    Its own error where there are no answers of least squares, and nothing where its predictions are not known.
    """
    errors = prompt_errors_of(survey, families)
    if not errors or not answers:
        return errors
    return {
        label: errors[label] - prompt_errors(answers[label]["least squares"], family)
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


_INPUT_SCORES = "‖X‖", "‖y‖", "raw statistics XᵀX, Xᵀy"
TAKEN = (*HIDDEN_DETECTORS, "|model - ridge|", "|model - least squares|", *_INPUT_SCORES)
"""Names of the built-in scores."""


def _input_scores(families: Families) -> dict[str, dict[str, Tensor]]:
    fit = families.fit
    inputs, labels = fit_norm(fit.xs.double()), fit_norm(fit.ys.double())
    statistics = fit_prompt_statistics(fit.xs.double(), fit.ys.double())
    prompts = {label: family.prompts for label, family in families.by_label.items()}
    found = (
        {label: inputs.score(p.xs.double()) for label, p in prompts.items()},
        {label: labels.score(p.ys.double()) for label, p in prompts.items()},
        {label: statistics.score(p.xs.double(), p.ys.double()) for label, p in prompts.items()},
    )
    return dict(zip(_INPUT_SCORES, found, strict=True))


_CHUNK = 2000
_RANK_PERMUTATIONS = 2000


def permutations_for(n_tests: int) -> int:
    """Say how many random orders let Holm's method reject among so many tests.

    Formula: 100 n_tests, at least 2000: the smallest adjusted p-value is then about 0.01.
    """
    return max(2000, 100 * n_tests)


def paired_auroc_p_values(
    pairs: Sequence[tuple[Float[Tensor, " sample"], Float[Tensor, " sample"]]], *, n_permutations: int, seed: int = 0
) -> list[float]:
    """Test for many scores whether shifted prompts score higher, by exchanging the two prompts of a pair.

    Formula: as `permutation_test_auroc(paired=True)`; the same exchanges serve all tests, so that thousands of them
    cost one product of matrices.
    """
    ranks = torch.stack([_midranks(torch.cat([inside, outside])) for inside, outside in pairs])
    n = ranks.shape[1] // 2
    observed, gain = ranks[:, n:].sum(1), ranks[:, :n] - ranks[:, n:]
    generator = torch.Generator().manual_seed(seed)
    null = []
    for start in range(0, n_permutations, _CHUNK):
        rows = min(_CHUNK, n_permutations - start)
        swap = torch.randint(2, (rows, n), generator=generator).double()
        null.append(observed + swap @ gain.T)
    sums = torch.cat(null).T.contiguous()
    return [permutation_p_value(float(observed[i]), sums[i]) for i in range(len(pairs))]


def mean_rank_correlation(
    scores: Mapping[str, Float[Tensor, " sample"]], errors: Mapping[str, Float[Tensor, " sample"]], *, seed: int = 0
) -> tuple[float, float]:
    """Correlate score and error inside families, with a permutation test that keeps prompts whole.

    Formula: mean over families of Spearman's correlation. Under the null the errors of prompt i go to prompt p(i)
    in all families at once, since prompt i is the same prompt in each, shifted. Families in which score or error is
    constant have no correlation and are left out.
    """
    pairs = _unit_ranks(scores, errors)
    if not pairs:
        return float("nan"), float("nan")
    table = torch.stack([a[:, None] * b[None] for a, b in pairs]).mean(0)
    null = table[torch.arange(len(table)), _orders(len(table), seed)].sum(1)
    observed = float(table.diagonal().sum())
    return observed, permutation_p_value(observed, null)


def rank_correlation(
    scores: Mapping[str, Float[Tensor, " sample"]], errors: Mapping[str, Float[Tensor, " sample"]]
) -> float:
    """Correlate score and error inside families, as `mean_rank_correlation` does, without its test."""
    pairs = _unit_ranks(scores, errors)
    return float(torch.stack([a @ b for a, b in pairs]).mean()) if pairs else float("nan")


def _unit_ranks(scores: Scores, errors: Scores) -> list[tuple[Tensor, Tensor]]:
    ranked = [(_unit(_midranks(score)), _unit(_midranks(errors[label]))) for label, score in scores.items()]
    return [(a, b) for a, b in ranked if a is not None and b is not None]


@lru_cache(maxsize=4)
def _orders(n: int, seed: int) -> Tensor:
    # The same for all scores of the same prompts.
    return torch.rand(_RANK_PERMUTATIONS, n, generator=torch.Generator().manual_seed(seed)).argsort(1)


def mean_auroc_replicates(
    scores: Mapping[str, Float[Tensor, " sample"]], inside: str, *, seed: int, n_bootstrap: int
) -> tuple[float, Float64[Tensor, " resample"]]:
    """Average the AUROC over shifts, and over resamples of the prompts.

    Formula: with the kernel K_ij = 1[s_j' > s_i] + 1[s_j' = s_i] / 2 averaged over shifts and resample counts c,
    c^T K c / n^2: what `detection_report(paired=True)` gives for each shift, averaged.
    """
    own = scores[inside].double()
    kernels = [
        (outside[None] > own[:, None]).double() + 0.5 * (outside[None] == own[:, None]).double()
        for label, outside in scores.items()
        if label != inside
    ]
    if not kernels:
        return float("nan"), torch.full((n_bootstrap,), float("nan"), dtype=torch.float64)
    kernel = torch.stack(kernels).mean(0)
    counts = bootstrap_counts(len(own), seed=seed, n_bootstrap=n_bootstrap).double()
    replicates = ((counts @ kernel) * counts).sum(1) / len(own) ** 2
    return float(kernel.mean()), replicates


def auroc(inside: Float[Tensor, " inside"], outside: Float[Tensor, " outside"]) -> float:
    """Give the chance that a shifted prompt scores higher, ties counted half."""
    known, asked = inside.double().sort().values, outside.double()
    below = torch.searchsorted(known, asked) + torch.searchsorted(known, asked, right=True)
    return float(below.sum()) / (2 * len(known) * len(asked))


def _midranks(values: Tensor) -> Tensor:
    _, places, counts = torch.unique(values.double(), return_inverse=True, return_counts=True)
    upper = counts.cumsum(0).double()
    return (upper - (counts.double() - 1) / 2)[places]


def _unit(ranks: Tensor) -> Tensor | None:
    centred = ranks - ranks.mean()
    length = float(centred.norm())
    return centred / length if length > 0 else None
