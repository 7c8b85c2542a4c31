"""What Hill et al. (2025) claim, and what numbers would agree."""

import math
from collections.abc import Callable, Mapping

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.hill2025.failure_claims import not_only_bayes, ood_failure
from icl_interp.experiments.hill2025.measures import NORMS
from icl_interp.experiments.hill2025.reader import Reader, default_sites, shifts_in
from icl_interp.experiments.hill2025.record import Measured
from icl_interp.experiments.hill2025.setting import KINDS, NAMES, Kind, Run
from icl_interp.measure.errors import MODEL, TOLERATED
from icl_interp.measure.families import IN_DISTRIBUTION

__all__ = ["CLAIM_KEYS", "HIGHLY", "claims"]

CLAIM_KEYS = (
    "ood-failure", "not-only-bayes", "shared-directions", "shared-directions-plain", "score-and-loss", "training-data",
    "detection", "singular-values", "fractions",
)  # fmt: skip
"""Of all claims, at every size."""

HIGHLY = 0.7
"""Rank correlation that counts as "highly correlated" (ours)."""
_RECOGNISED = 0.5
"""Share of models whose training law must show in their errors (ours); chance is 1/4."""
_FRACTIONS = ("x_mixed=1/3", "x_mixed=1/4", "x_scale=1/3", "x_scale=1/4", "w_rotation=1/3", "w_rotation=1/4",
             "w_mixed=1/3", "w_mixed=1/4")  # fmt: skip
"""What "1/3-shifted" and "1/4-shifted" may mean."""
_KEEPS_ENERGY = ("x_skewed", "x_half_subspace", "random_orthants", "w_rotation", "x_complement")
_SHRINKS = ("x_scale=1/4", "x_scale=1/3", "x_scale=1/2")
_GROWS = ("x_scale=2", "x_scale=3", "x_scale=4")
_HOW = "All tokens, uncentred, right singular vectors, k = 2, overlap with the subspace of prompts in distribution"
_CONTRAST = "Contrast: mean overlap in distribution minus that under shift, mean over all shifts."


def claims(found: Mapping[Run, Measured], seeds: tuple[int, ...]) -> tuple[Claim, ...]:
    """Judge all claims of the paper."""
    read = Reader(found, seeds)
    return (
        ood_failure(read),
        not_only_bayes(read),
        _shared_directions(read),
        _plainly_shared(read),
        _score_and_loss(read),
        _training_data(read),
        _detection(read),
        _singular_values(read),
        _fractions(read),
    )


def _at_sites(
    read: Reader, label: str, value: Callable[[Measured, str], float], *, low: float | None, reason: str
) -> list[Check]:
    # One check a training law and default site; all laws at one site first.
    checks = []
    for place in range(2):
        for kind in KINDS:
            site = default_sites(read.first(kind))[place]
            values = read.each(kind, lambda found, site=site: value(found, site))  # type: ignore[misc]
            checks.append(Check(f"{NAMES[kind]}, {site}: {label}", values, low, None, reason))
    return checks


def _shared_directions(read: Reader) -> Claim:
    beyond = _at_sites(
        read, "contrast beyond untrained networks",
        lambda found, site: found.reading(site).beyond("contrast"), low=0.0,
        reason="any excess over the larger of 0 and the untrained mean; the control is ours",
    )  # fmt: skip
    return Claim(
        "shared-directions",
        "Prompts in distribution share the top two singular vectors of their residual streams; shifted ones do not.",
        "Abstract",
        f"{_HOW}. {_CONTRAST} Judged beyond untrained networks, whose prompts share directions as well.",
        tuple(beyond),
    )


def _plainly_shared(read: Reader) -> Claim:
    plain = _at_sites(
        read, "contrast",
        lambda found, site: found.reading(site).contrast[0], low=0.0, reason="any excess; threshold ours",
    )  # fmt: skip
    return Claim(
        "shared-directions-plain",
        "Taken literally, without a control: prompts in distribution share the top two singular vectors of their "
        "residual streams; shifted ones do not.",
        "Abstract",
        f"{_HOW}. {_CONTRAST} Untrained networks may show it as well: the claim that counts is shared-directions.",
        tuple(plain),
    )


def _score_and_loss(read: Reader) -> Claim:
    high = _at_sites(
        read, "Spearman inside families",
        lambda found, site: found.reading(site).within[0], low=HIGHLY, reason="threshold ours",
    )  # fmt: skip
    beyond = _at_sites(
        read, "the same beyond untrained networks",
        lambda found, site: found.reading(site).beyond("within"), low=0.0,
        reason="any excess over the larger of 0 and the untrained mean; the control is ours",
    )  # fmt: skip
    pooled = _at_sites(
        read, "Spearman pooled over families, beyond untrained networks",
        lambda found, site: found.reading(site).beyond("pooled"), low=0.0,
        reason="the other reading of the claim; any excess over the larger of 0 and the untrained mean",
    )  # fmt: skip
    norms = _at_sites(
        read, "Spearman inside families beyond that of norms alone",
        lambda found, site: found.reading(site).within[0] - found.norms_within, low=0.0,
        reason="any excess; the control is ours",
    )  # fmt: skip
    return Claim(
        "score-and-loss",
        "A measure of how far the signature is present is highly correlated with low loss.",
        "Abstract",
        f"{_HOW}. Spearman of 1 - score and log error: positive means that the less the signature, the larger the "
        "error. The paper's formula, kind of "
        "correlation and units are unknown.",
        (*high, *beyond, *pooled, *norms),
    )


def _training_data(read: Reader) -> Claim:
    checks = []
    for kind in KINDS[1:]:
        pairs = zip(read.each(kind, _isotropic), read.each("isotropic", _isotropic), strict=True)
        label = f"{NAMES[kind]}: error on isotropic prompts beyond that of isotropic training, in units of E[y²]"
        checks.append(Check(label, tuple(own - other for own, other in pairs), TOLERATED, None, "threshold ours"))
    if len(read.seeds) > 1:
        label = "share of models whose training law is told from their errors on the same prompts"
        checks.append(Check(label, read.recognised(), _RECOGNISED, None, "chance is 1/4; threshold ours"))
    for kind in KINDS[1:]:
        pairs = zip(read.each(kind, _contrast), read.each("isotropic", _contrast), strict=True)
        label = f"{NAMES[kind]}: contrast of the signature beyond untrained, minus that of isotropic training"
        checks.append(Check(label, tuple(own - other for own, other in pairs)))
    return Claim(
        "training-data",
        "What a model was pretrained on shapes this behaviour.",
        "Abstract",
        "Models of all training laws on the same isotropic prompts and their shifts. The law is told by the nearest "
        "mean pattern of log errors over the other seeds.",
        tuple(checks),
    )


def _isotropic(found: Measured) -> float:
    return found.common[IN_DISTRIBUTION]


def _contrast(found: Measured) -> float:
    return found.reading(default_sites(found)[0]).beyond("contrast")


def _detection(read: Reader) -> Claim:
    untrained = _at_sites(
        read, "AUROC beyond untrained networks",
        lambda found, site: found.reading(site).beyond("auroc", 0.5), low=0.0,
        reason="any excess over the larger of 0.5 and the untrained mean; the control is ours",
    )  # fmt: skip
    norms = _at_sites(
        read, "AUROC beyond norms alone",
        lambda found, site: found.reading(site).auroc[0] - found.detectors[NORMS].auroc, low=0.0,
        reason="any excess; the control is ours",
    )  # fmt: skip
    return Claim(
        "detection",
        "The signature detects prompts out of distribution.",
        "A summary of the paper; the abstract does not say so",
        f"{_HOW}; mean AUROC over all shifts. Norms alone: distance of (log ‖X‖, log ‖y‖) from the usual.",
        (*untrained, *norms, *(_rank(read, kind) for kind in KINDS)),
    )


def _rank(read: Reader, kind: Kind) -> Check:
    # Rivals: no variant of the signature itself, and not the norms, which have a check of their own.
    def better(found: Measured) -> float:
        own = found.reading(default_sites(found)[0]).auroc[0]
        return float(sum(found.detectors[name].auroc > own for name in _rivals(found)))

    n = len(_rivals(read.first(kind)))
    label = f"{NAMES[kind]}: detectors out of {n} other than signatures and norms with a larger AUROC"
    return Check(label, read.each(kind, better))


def _rivals(found: Measured) -> list[str]:
    return [name for name in found.detectors if name != NORMS and not name.startswith("signature ")]


def _singular_values(read: Reader) -> Claim:
    checks = []
    for kind in KINDS:
        for what, names in (
            ("keep the energy", _KEEPS_ENERGY),
            ("shrink inputs", _SHRINKS),
            ("enlarge inputs", _GROWS),
        ):
            values = read.each(kind, lambda found, names=names: _growth(found, names, 0))  # type: ignore[misc]
            label = f"{NAMES[kind]}: log of s1 over that in distribution, shifts that {what}"
            checks.append(Check(label, values, 0.0, None, "direction as hinted; any excess"))
    for kind in KINDS:
        label = f"{NAMES[kind]}: the same in untrained networks, shifts that keep the energy"
        checks.append(Check(label, read.each(kind, _untrained_growth)))
    return Claim(
        "singular-values",
        "Prompts in distribution have lower singular values, shifted ones higher leading values.",
        "A summary of the paper: a hint only",
        "Leading singular value after the last block, mean over prompts, then over shifts.",
        tuple(checks),
    )


def _growth(found: Measured, names: tuple[str, ...], network: int) -> float:
    shifts = shifts_in(found).items()
    values = [f.growth[network] for label, f in shifts if label in names or label.partition("=")[0] in names]
    return math.fsum(values) / len(values)


def _untrained_growth(found: Measured) -> float:
    n = len(found.readings[0].contrast)
    return math.fsum(_growth(found, _KEEPS_ENERGY, network) for network in range(1, n)) / (n - 1)


def _fractions(read: Reader) -> Claim:
    checks = []
    kinds: tuple[Kind, ...] = ("isotropic", "weights")
    for kind in kinds:
        for label in (label for label in _FRACTIONS if label in read.first(kind).families):
            late = read.each(kind, lambda found, label=label: found.families[label].late[MODEL])  # type: ignore[misc]
            flagged = read.each(kind, lambda found, label=label: found.families[label].flagged)  # type: ignore[misc]
            checks.append(Check(f"{NAMES[kind]}, {label}: error in units of E[y²]", late))
            checks.append(Check(f"{NAMES[kind]}, {label}: share flagged by the signature", flagged))
    return Claim(
        "fractions",
        "Numbers of 43 % and 10 % are told of prompts shifted by a third and a quarter, or by factors like them.",
        "A summary of the paper; what they measure is unknown",
        "Every reading of “shifted by 1/3 and 1/4” that we have: a share of examples, of the weights' energy, a scale. "
        "Flagged: outside of where 95 % of prompts in distribution pass. Nothing to compare with.",
        tuple(checks),
    )
