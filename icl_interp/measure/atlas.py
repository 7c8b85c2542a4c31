"""The atlas of the signature: at which sites, under which shifts and in which direction do prompts leave it?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from scipy import special, stats
from torch import Tensor

from icl_interp.activations import stream
from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_shifts, of_sites
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.measure.controls import untrained_makers
from icl_interp.measure.errors import prompt_errors_of
from icl_interp.measure.families import IN_DISTRIBUTION, Families, Family, draw_families, look_first
from icl_interp.measure.ood import fit_log_norms, log_norms_of
from icl_interp.measure.result import Result
from icl_interp.measure.sites import Conventions, blocks_among
from icl_interp.measure.study.measure import Absent, Findings, Measure, StudyPlan, without_sites
from icl_interp.measure.study.result import NO_SHIFT
from icl_interp.measure.study.survey import FIT, NetworkSurvey, survey_network
from icl_interp.measure.verdicts import LEVEL, POWER, VerdictWord, scale_maps
from icl_interp.models.architecture import ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.shifts.select import Shifts
from probes._core.results import short_repr
from probes.bootstrap import Estimate, percentile_interval
from probes.detection import DetectionReport, detection_report
from probes.signature import SpectralSignature

N_CONTROLS = 40
"""Untrained networks of an atlas: one cell of 80 that is five spreads away is found in 84 % of trials with 40, in 68 %
with 20 (independent normal cells)."""
LEAST_CONTROLS = math.floor(1 / LEVEL)
"""With fewer, the smallest p-value that ranks can give is not below the level."""
_ROUNDING = 1e-12
"""Of means of equal numbers, relative to them."""
_DIGITS = 6
"""Overlaps come from float32 directions, and differences beyond these decimals are rounding."""
_ENERGY = 0.1
"""Second moments that differ by less, relative to those in distribution, count as kept (our choice)."""
_N_BOOTSTRAP = 1000

NetworkScores = Mapping[str, Mapping[str, Float64[np.ndarray, " sample"]]]
"""1 - overlap of each prompt in one network, by site and family."""
Again = Callable[[Sequence[ResidualSite], Sequence[str]], list[NetworkScores]]
"""Scores other prompts at some sites, in distribution and under some shifts, in every network, the model first."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Networks beside one another, each standardised against all others."""

    deviations: Float64[np.ndarray, " network *cell"]
    """In standard deviations over the other networks, from their mean; NaN where some network gives no number."""
    scores: Float64[np.ndarray, " network"]
    """Largest |deviation| of each network over all cells; NaN without any cell."""

    __repr__ = short_repr

    @property
    def p_value(self) -> float:
        """Share of networks that score as high as the first one, itself included."""
        return self._share(self.scores[:1])[0]

    @property
    def cell_p_values(self) -> Float64[np.ndarray, "*cell"]:
        """Of each cell of the first network: share of networks whose score is as high, itself included."""
        own = np.abs(self.deviations[0])
        return np.array(self._share(own.ravel())).reshape(own.shape)

    def _share(self, own: np.ndarray) -> list[float]:
        controls, n = self.scores[1:], len(self.scores)
        return [math.nan if math.isnan(x) else float(1 + (controls >= x).sum()) / n for x in own]


def ranks_of(
    values: Float64[np.ndarray, " network *cell"], resolution: Callable[[np.ndarray], np.ndarray] | None = None
) -> Ranks:
    """Rank networks by their largest deviation over all cells, the model first.

    Each network is standardised in each cell against the mean and the standard deviation of all others, and its score
    is its largest |deviation|. Where networks are exchangeable, so are their scores, and the rank of the first one is
    an exact p-value whatever the distribution and however cells depend on one another; ties make it larger.
    `resolution` gives, from the means of the others, the least standard deviation and the least distance that are
    believed: spreads are at least that, and smaller distances count as none.
    """
    n = len(values)
    flat = np.asarray(values, dtype=np.float64).reshape(n, -1)
    if n < 3:
        return Ranks(np.full(np.shape(values), np.nan), np.full(n, np.nan))
    others = flat[[[j for j in range(n) if j != i] for i in range(n)]]  # [network other cell]
    mean, spread = others.mean(1), others.std(1, ddof=1)
    rounding = _ROUNDING * np.abs(flat).max(0, initial=0.0)
    least = rounding if resolution is None else np.maximum(rounding, resolution(mean))
    distance = np.where(np.abs(flat - mean) <= least, 0.0, flat - mean)
    spread = np.where(spread <= rounding, 0.0, spread) if resolution is None else np.maximum(spread, least)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(distance == 0, 0.0, distance / spread)
    deviations[:, ~np.isfinite(flat).all(0)] = np.nan
    judged = np.abs(deviations[:, ~np.isnan(deviations).any(0)])
    scores = judged.max(1) if judged.shape[1] else np.full(n, np.nan)
    return Ranks(deviations.reshape(np.shape(values)), scores)


def ranks_of_aurocs(aurocs: Float64[np.ndarray, " network *cell"], n_prompts: int) -> Ranks:
    """Rank networks by AUROCs, on the logit scale with half a prompt added on both sides.

    No spread or distance is believed that is below the half prompt: where all controls have an AUROC of 1, one of 0.999
    is not infinitely far.
    """
    to, _ = scale_maps("logit", n_prompts)

    def half_a_prompt(mean: np.ndarray) -> np.ndarray:
        share = special.expit(mean)
        return np.asarray(0.5 / ((n_prompts + 1) * share * (1 - share)))

    return ranks_of(to(torch.as_tensor(aurocs, dtype=torch.float64)).numpy(), half_a_prompt)


@dataclass(frozen=True, slots=True)
class Beside:
    """One number of the model beside the same number of untrained networks."""

    value: float
    """Of the model."""
    controls: tuple[float, ...]
    """Of each untrained network."""

    @property
    def mean(self) -> float:
        """Over the untrained networks that give the number; NaN without any."""
        found = [value for value in self.controls if math.isfinite(value)]
        return math.fsum(found) / len(found) if found else math.nan

    @property
    def span(self) -> tuple[float, float]:
        """Smallest and largest number of untrained networks; NaN without any."""
        found = [value for value in self.controls if math.isfinite(value)] or [math.nan]
        return min(found), max(found)

    def __repr__(self) -> str:
        low, high = self.span
        return f"Beside({self.value:.3g}, untrained {self.mean:.3g} [{low:.3g}, {high:.3g}])"


@dataclass(frozen=True, slots=True)
class AtlasCell:
    """One shift at one site."""

    site: str
    """Label of the site."""
    shift: str
    """Label of the shift."""
    value: float
    """AUROC of 1 - overlap, shifted against in distribution: above 0.5, shifted prompts leave the signature; below,
    they stay in it more than prompts in distribution do."""
    controls: tuple[float, ...]
    """The same AUROC in each untrained network."""
    z: float
    """How far the model is from the mean of untrained networks, in their standard deviations, on the logit scale."""
    p_value: float
    """Share of networks whose largest |z| over the whole atlas is at least this |z|, the model included."""
    norms: float
    """AUROC of the norms of inputs and labels (or of activations) under this shift, without any network."""
    over_norms: Estimate
    """AUROC of 1 - overlap (z > 0) or of the overlap (z < 0) minus that of norms: above 0, it detects shifted prompts
    better than norms do. The 95 % interval is a bootstrap over prompts, of this cell alone."""
    keeps_energy: bool | None
    """Whether the shift keeps the second moments of inputs and labels; None where inputs are not known."""
    reason: str | None = None
    """Why no verdict applies; None where one does."""
    again: Beside | None = None
    """The same AUROC on prompts kept aside; None where the cell was not measured again."""
    z_again: float = math.nan
    """The same z on prompts kept aside."""
    p_again: float = math.nan
    """The same p-value on prompts kept aside, over the cells that were measured again."""

    @property
    def control(self) -> float:
        """Mean AUROC of untrained networks; NaN without any."""
        return Beside(self.value, self.controls).mean

    @property
    def level(self) -> float:
        """What the AUROC is drawn against: the control, or 0.5 without untrained networks."""
        return self.control if self.controls else 0.5

    @property
    def verdict(self) -> VerdictWord:
        """Evidence if more prompts leave the signature than in untrained networks, opposite if it keeps more."""
        if self.reason is not None:
            return "not applicable"
        if not self.p_value < LEVEL:
            return "inconclusive"
        return "evidence" if self.z > 0 else "opposite"

    @property
    def found(self) -> bool:
        """Whether the model differs from untrained networks here."""
        return self.verdict in ("evidence", "opposite")

    @property
    def beyond_norms(self) -> bool:
        """Whether the whole interval over norms lies above 0."""
        return self.over_norms.low > 0

    @property
    def confirmed(self) -> bool | None:
        """Whether prompts kept aside show the same, in the same direction; None where they were not asked."""
        if self.again is None:
            return None
        return self.p_again < LEVEL and (self.z > 0) == (self.z_again > 0)

    def __repr__(self) -> str:
        return (
            f"AtlasCell({self.site}, {self.shift}: {self.verdict}, AUROC {self.value:.3f} vs {self.control:.3f} in "
            f"untrained networks, z {self.z:.1f})"
        )


@dataclass(frozen=True, slots=True)
class SiteReading:
    """What moves the overlap at one site, and whether it predicts the error."""

    site: str
    """Label of the site."""
    log_labels: Beside
    """Slope of logit(overlap) on log |y| of the prompt, both logarithms of norms standardised; in distribution."""
    log_inputs: Beside
    """Slope on log |x| of the prompt in the same regression."""
    r2: Beside
    """Share of the variance of logit(overlap) that the two explain."""
    error_within: Beside
    """Spearman of 1 - overlap with the model's log error, in distribution."""
    error_pooled: Beside
    """The same over the prompts of all families together."""

    __repr__ = short_repr


@dataclass(frozen=True, eq=False, repr=False)
class Atlas(Result):
    """Every shift at every site, the model beside untrained networks, judged together."""

    cells: tuple[AtlasCell, ...]
    """Site by site, in the order of the shifts."""
    sites: tuple[ResidualSite, ...]
    """Along the network."""
    p_value: float
    """Rank of the model's largest |z| among all networks, as a share: exact under exchangeability."""
    scores: tuple[float, ...]
    """Largest |z| over the atlas: of the model, then of each untrained network standardised in the same way."""
    readings: tuple[SiteReading, ...]
    """By site: what moves the overlap, and whether it predicts the error."""
    conventions: Conventions
    """How activations became directions."""
    n_prompts: int
    """Number of prompts per family."""
    detectable: float
    """Smallest detectable effect: the rise of AUROC in one cell that is found with 80 % power, median over cells."""
    reason: str | None = None
    """Why the atlas is described and not judged, in a clause; None where it is judged."""
    unconfirmed: str | None = None
    """Why no cell was measured on other prompts, where there was something to measure; None else."""

    @property
    def n_controls(self) -> int:
        """Number of untrained networks."""
        return len(self.scores) - 1

    @property
    def judged(self) -> bool:
        """Whether there are untrained networks enough, and a cell that is a number in all of them."""
        return self.reason is None

    @property
    def found(self) -> tuple[AtlasCell, ...]:
        """Cells with evidence or the opposite, the largest |z| first."""
        return tuple(sorted((cell for cell in self.cells if cell.found), key=lambda cell: -abs(cell.z)))

    @property
    def verdict(self) -> VerdictWord:
        """Of the whole atlas, beside untrained networks.

        Evidence if prompts leave the signature more anywhere, opposite if they only leave it less. Cells that were
        measured again and not confirmed do not count.
        """
        if not self.judged:
            return "not applicable"
        words = {cell.verdict for cell in self.found if cell.confirmed is not False}
        return "evidence" if "evidence" in words else "opposite" if words else "inconclusive"

    def named_sites(self) -> tuple[ResidualSite, ...]:
        """List the sites of the cells that were found, the largest |z| first."""
        by_label = {site.label: site for site in self.sites}
        return tuple(by_label[label] for label in dict.fromkeys(cell.site for cell in self.found))

    def to_frame(self) -> pd.DataFrame:
        """Lay the cells out, one per row."""
        return pd.DataFrame([
            {
                "site": cell.site, "shift": cell.shift, "auroc": cell.value, "untrained": cell.control,
                "z": cell.z, "p": cell.p_value, "verdict": cell.verdict, "norms": cell.norms,
                "over_norms": cell.over_norms.value, "over_norms_low": cell.over_norms.low,
                "over_norms_high": cell.over_norms.high, "keeps_energy": cell.keeps_energy,
                "auroc_again": math.nan if cell.again is None else cell.again.value, "z_again": cell.z_again,
                "confirmed": cell.confirmed,
            }
            for cell in self.cells
        ])  # fmt: skip

    def plot(self) -> Any:
        """Draw by how much the AUROC of each cell exceeds untrained networks; cells with a finding are framed.

        Without untrained networks by how much it exceeds 0.5.
        """
        by_place = {(cell.site, cell.shift): cell for cell in self.cells}
        columns, rows = list(dict.fromkeys(c.site for c in self.cells)), self.rows()
        cells = [[by_place.get((site, shift)) for site in columns] for shift in rows]
        figure = heatmap_figure(
            [[math.nan if cell is None else cell.value - cell.level for cell in line] for line in cells],
            rows=rows,
            columns=columns,
            x="site",
            y="shift",
            unit="AUROC beyond untrained networks" if self.n_controls else "AUROC - 0.5",
            marked=[
                (i, j) for i, line in enumerate(cells) for j, cell in enumerate(line) if cell is not None and cell.found
            ],
            scale="diverging",
        )
        return along(figure, x=of_sites(columns), y=of_shifts(rows))

    def rows(self) -> list[str]:
        """Order the shifts for a figure: those that keep the energy of inputs and labels last, after an empty row."""
        kept = {cell.shift: cell.keeps_energy for cell in self.cells}
        changing, keeping = ([shift for shift in kept if bool(kept[shift]) is keeps] for keeps in (False, True))
        return [*changing, *([" "] if changing and keeping else []), *keeping]

    def describe(self) -> str:
        """Say in words where prompts leave the signature, under which shifts and in which direction."""
        if self.reason is not None:
            return f"No verdict, since {self.reason}."
        sites, shifts = (len({getattr(cell, name) for cell in self.cells}) for name in ("site", "shift"))
        if not self.found:
            return (
                f"Not shown. At none of {_count(sites, 'site')} and under none of {_count(shifts, 'shift')} does the "
                f"model differ from {self.n_controls} untrained networks. This study would find a difference in AUROC "
                f"of {self.detectable:.2g} in one cell with 80 % power."
            )
        leave, stay = ([c for c in self.cells if c.verdict == word] for word in ("evidence", "opposite"))
        if self.verdict == "inconclusive":
            head = "Not shown: nothing holds on other prompts."
        elif leave and stay:
            head = f"Both ways: more often in {_count(len(leave), 'cell')}, less often in {len(stay)}."
        else:
            head = "Yes, at some places." if leave else "The opposite, at some places."
        said = [_told(leave, "leave the signature more often")] if leave else []
        said += [_told(stay, "leave the signature less often")] if stay else []
        quiet = shifts - len({cell.shift for cell in self.found})
        if quiet:
            said.append(f"{_count(quiet, 'other shift')} {'shows' if quiet == 1 else 'show'} nothing at any site.")
        asked = [cell.confirmed for cell in self.found if cell.confirmed is not None]
        if asked:
            said.append(f"The same on other prompts, in the same networks: {sum(asked)} of {len(asked)}.")
        return " ".join([head, *said])

    def __repr__(self) -> str:
        return (
            f"Atlas({self.verdict}: {len(self.found)} of {len(self.cells)} cells, rank p {self.p_value:.3g}, "
            f"{self.n_controls} untrained networks)"
        )


_FEW = 4
"""Cells that a sentence lists; of more it gives the number and the strongest."""


def _told(cells: Sequence[AtlasCell], what: str) -> str:
    if len(cells) > _FEW:
        best = max(cells, key=lambda cell: abs(cell.z))
        return (
            f"In {len(cells)} cells prompts {what} than in untrained networks, most clearly at {best.site} under "
            f"{best.shift} (AUROC {best.value:.2f}, untrained {best.control:.2f})."
        )
    by_shift: dict[str, list[AtlasCell]] = {}
    for cell in cells:
        by_shift.setdefault(cell.shift, []).append(cell)
    return " ".join(
        f"At {_joined([cell.site for cell in group])}, prompts under {shift} {what} than in untrained networks (AUROC "
        f"{_joined([f'{cell.value:.2f}' for cell in group])}, untrained "
        f"{_joined([f'{cell.control:.2f}' for cell in group])})."
        for shift, group in by_shift.items()
    )


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def atlas_of(
    surveys: Sequence[NetworkSurvey],
    families: Families,
    sites: Sequence[ResidualSite],
    conventions: Conventions,
    *,
    norms_of_activations: Mapping[str, Float64[Tensor, "sample norm"]] | None = None,
    again: Again | None = None,
    unconfirmed: str | None = None,
    remedy: str = f"n_controls={LEAST_CONTROLS}",
    seed: int = 0,
) -> Atlas:
    """Judge the signature at every site and under every shift, the model's survey first.

    `again` scores prompts kept aside, where there are any; else `unconfirmed` says why there are none. `remedy` is how
    one gets untrained networks enough.
    """
    shifts = [family.label for family in families.shifted]
    if not shifts or not sites:
        raise InputError("an atlas needs a site and a shift whose activations are read; add one such as x_scale=3.")
    n_prompts = min(len(record.predictions) for survey in surveys for record in survey.families.values())
    scores = [_scores_of(survey, sites, conventions, n_prompts) for survey in surveys]
    places = [(site.label, shift) for site in sites for shift in shifts]
    aurocs = np.array([[_auroc(of[site], shift) for site, shift in places] for of in scores])
    ranks = ranks_of_aurocs(aurocs, n_prompts)
    p_values = ranks.cell_p_values
    norms = _norm_scores(families, norms_of_activations, n_prompts)
    n_controls, few = len(surveys) - 1, None
    if n_controls < LEAST_CONTROLS:
        few = f"ranks among {_count(n_controls, 'untrained network')} cannot reach 5 %; take {remedy} or more"
    if not n_controls:
        few = "there are no untrained networks to compare with"
    kept = {family.label: _keeps_energy(families.in_distribution, family) for family in families.shifted}
    by_norms = {shift: _detection(norms, shift, seed) for shift in shifts}
    cells = []
    for j, (site, shift) in enumerate(places):
        z = float(ranks.deviations[0, j])
        cells.append(
            AtlasCell(
                site=site,
                shift=shift,
                value=float(aurocs[0, j]),
                controls=tuple(aurocs[1:, j].tolist()),
                z=z,
                p_value=float(p_values[j]),
                norms=_auroc(norms, shift),
                over_norms=_over(by_norms[shift], scores[0][site], shift, stay=z < 0, seed=seed),
                keeps_energy=kept[shift],
                reason=_reason(aurocs[:, j], surveys[0], site, conventions) or few,
            )
        )
    found = [cell for cell in cells if cell.found]
    if found and again is not None:
        cells = _confirmed(cells, found, sites, again)
    return Atlas(
        cells=tuple(cells),
        sites=tuple(sites),
        p_value=ranks.p_value,
        scores=tuple(ranks.scores.tolist()),
        readings=_readings(surveys, scores, families, sites, n_prompts, of_prompts=norms_of_activations is None),
        conventions=conventions,
        n_prompts=n_prompts,
        detectable=_detectable(aurocs[1:], n_prompts),
        reason=next((cell.reason for cell in cells), None) if math.isnan(ranks.scores[0]) else few,
        unconfirmed=unconfirmed if found and again is None else None,
    )


def _scores_of(
    survey: NetworkSurvey, sites: Sequence[ResidualSite], conventions: Conventions, n_prompts: int
) -> NetworkScores:
    """Take 1 - overlap of every prompt, NaN at sites where this network has no signature."""

    def scores(label: str, site: str) -> np.ndarray:
        overlap = survey.families[label].sites[site].scores.overlap[:n_prompts]
        return _rounded(overlap) if _has_signature(survey, site, conventions) else np.full(len(overlap), np.nan)

    return {site.label: {label: scores(label, site.label) for label in survey.families} for site in sites}


def _rounded(overlap: Tensor) -> np.ndarray:
    return np.asarray((1 - overlap.double()).numpy().round(_DIGITS))


def _has_signature(survey: NetworkSurvey, site: str, conventions: Conventions) -> bool:
    # A signature of all directions that exist holds every prompt; of a zero or tied spectrum it is arbitrary.
    narrow = survey.signatures[site].reference.shape[1] <= conventions.k
    return not narrow and not bool(survey.families[IN_DISTRIBUTION].sites[site].scores.tied.all())


def _auroc(scores: Mapping[str, np.ndarray], shift: str) -> float:
    """Give the chance that a shifted prompt scores higher than one in distribution, ties counted half."""
    inside, outside = np.sort(scores[IN_DISTRIBUTION]), scores[shift]
    if np.isnan(inside).any() or np.isnan(outside).any():
        return math.nan
    below, equal = (np.searchsorted(inside, outside, side=side) for side in ("left", "right"))
    return float((below + equal).mean() / (2 * len(inside)))


def _reason(aurocs: np.ndarray, survey: NetworkSurvey, site: str, conventions: Conventions) -> str | None:
    if math.isnan(aurocs[0]):
        if survey.signatures[site].reference.shape[1] <= conventions.k:
            return "the signature spans all directions that exist here"
        return "the model has no signature here: its stream is zero, tied or not finite"
    if missing := int(np.isnan(aurocs[1:]).sum()):
        return f"{missing} of {_count(len(aurocs) - 1, 'untrained network')} give no such number"
    return None


def _norm_scores(
    families: Families, norms_of_activations: Mapping[str, Tensor] | None, n_prompts: int
) -> dict[str, np.ndarray]:
    norms = norms_of_activations or {
        FIT: log_norms_of(families.fit),
        **{label: log_norms_of(family.prompts) for label, family in families.by_label.items()},
    }
    baseline = fit_log_norms(norms[FIT])
    return {label: baseline.score_norms(norms[label])[:n_prompts].numpy() for label in families.by_label}


def _detection(scores: Mapping[str, np.ndarray], shift: str, seed: int) -> DetectionReport:
    # Prompt i shares its random numbers across families, so it is drawn in both or in none.
    inside, outside = (torch.from_numpy(scores[label]) for label in (IN_DISTRIBUTION, shift))
    return detection_report(inside, outside, seed=seed, n_bootstrap=_N_BOOTSTRAP, paired=True)


def _over(norms: DetectionReport, scores: Mapping[str, np.ndarray], shift: str, *, stay: bool, seed: int) -> Estimate:
    if any(np.isnan(scores[label]).any() for label in (IN_DISTRIBUTION, shift)):
        return Estimate(math.nan, math.nan, math.nan, "the model has no signature here")
    own = _detection(scores, shift, seed)
    auroc, replicates = (1 - own.auroc, 1 - own.auroc_replicates) if stay else (own.auroc, own.auroc_replicates)
    low, high = percentile_interval(replicates - norms.auroc_replicates)
    return Estimate(auroc - norms.auroc, low, high)


def _keeps_energy(own: Family, shifted: Family) -> bool | None:
    """Tell whether second moments of inputs and labels differ by less than 10 %, or by less than two standard errors.

    Those of inputs are estimated on the prompts, which share their random numbers; E[y^2] comes from the law.
    """
    if not own.prompts.xs.numel() or not shifted.prompts.xs.numel():
        return None
    labels = shifted.label_second_moment / own.label_second_moment
    before, after = (family.prompts.xs.double().square().flatten(1).mean(1) for family in (own, shifted))
    scale, change = float(before.mean()), after - before
    error = float(change.std()) / math.sqrt(len(change))
    inputs = abs(float(change.mean())) <= max(_ENERGY * scale, 2 * error)
    return bool(inputs and abs(labels - 1) <= _ENERGY)


def _detectable(controls: np.ndarray, n_prompts: int) -> float:
    """Give the smallest detectable effect, from the AUROCs of untrained networks alone."""
    n = len(controls)
    allowed = math.ceil(LEVEL * (n + 1)) - 2  # controls that may score as high
    judged = np.isfinite(controls).all(0)
    if allowed < 0 or not judged.any():
        return math.nan
    to, back = scale_maps("logit", n_prompts)
    threshold = float(np.sort(ranks_of_aurocs(controls, n_prompts).scores)[::-1][allowed])
    reach = (threshold + float(stats.t.ppf(POWER, n - 1))) * math.sqrt(1 + 1 / n)
    values = to(torch.from_numpy(controls[:, judged])).numpy()
    means, spreads = values.mean(0), values.std(0, ddof=1)
    rises = [back(mean + reach * spread) - back(mean) for mean, spread in zip(means, spreads, strict=True)]
    return float(np.median(rises))


def _confirmed(
    cells: Sequence[AtlasCell], found: Sequence[AtlasCell], sites: Sequence[ResidualSite], again: Again
) -> list[AtlasCell]:
    """Measure the found cells on other prompts, and rank networks over these cells alone."""
    where = [site for site in sites if any(cell.site == site.label for cell in found)]
    scores = again(where, list(dict.fromkeys(cell.shift for cell in found)))
    aurocs = np.array([[_auroc(of[cell.site], cell.shift) for cell in found] for of in scores])
    ranks = ranks_of_aurocs(aurocs, len(scores[0][where[0].label][IN_DISTRIBUTION]))
    p_values = ranks.cell_p_values
    seen = {
        (cell.site, cell.shift): replace(
            cell,
            again=Beside(float(aurocs[0, j]), tuple(aurocs[1:, j].tolist())),
            z_again=float(ranks.deviations[0, j]),
            p_again=float(p_values[j]),
        )
        for j, cell in enumerate(found)
    }
    return [seen.get((cell.site, cell.shift), cell) for cell in cells]


_INSIDE = 1e-3
"""Overlaps are kept this far from 0 and 1 before their logit is taken."""
_LEAST_ERROR = 1e-12
"""Errors below this share of E[y^2] count as equal."""


def _readings(
    surveys: Sequence[NetworkSurvey],
    scores: Sequence[NetworkScores],
    families: Families,
    sites: Sequence[ResidualSite],
    n_prompts: int,
    *,
    of_prompts: bool,
) -> tuple[SiteReading, ...]:
    norms = log_norms_of(families.in_distribution.prompts)[:n_prompts].numpy() if of_prompts else None
    errors = prompt_errors_of(surveys[0], families)
    log_errors = {
        label: each[:n_prompts].double().clamp(min=_LEAST_ERROR).log().numpy() for label, each in errors.items()
    }

    def beside(numbers: Sequence[float]) -> Beside:
        return Beside(float(numbers[0]), tuple(float(number) for number in numbers[1:]))

    found = []
    for site in (site.label for site in sites):
        slopes = [_slopes(of[site][IN_DISTRIBUTION], norms) for of in scores]
        within = [_spearman(of[site], log_errors, [IN_DISTRIBUTION]) for of in scores]
        pooled = [_spearman(of[site], log_errors, list(families.by_label)) for of in scores]
        inputs, labels, r2 = (beside(column) for column in zip(*slopes, strict=True))
        found.append(SiteReading(site, labels, inputs, r2, beside(within), beside(pooled)))
    return tuple(found)


def _slopes(scores: np.ndarray, norms: np.ndarray | None) -> tuple[float, float, float]:
    """Regress logit(overlap) on standardised log norms: both slopes, and the share of variance explained."""
    if norms is None or np.isnan(scores).any():
        return math.nan, math.nan, math.nan
    target = special.logit(np.clip(1 - scores, _INSIDE, 1 - _INSIDE))
    target = target - target.mean()
    varies = norms.std(0) > 1e-6  # logarithms of float32 norms
    columns = (norms - norms.mean(0)) / np.where(varies, norms.std(0), 1.0) * varies
    slopes = np.linalg.lstsq(columns, target, rcond=None)[0]
    total = float((target**2).sum())
    r2 = 1 - float(((target - columns @ slopes) ** 2).sum()) / total if total > 0 else math.nan
    said = [float(slope) if there else math.nan for slope, there in zip(slopes, varies, strict=True)]
    return said[0], said[1], r2


def _spearman(scores: Mapping[str, np.ndarray], log_errors: Mapping[str, np.ndarray], labels: Sequence[str]) -> float:
    if not log_errors:
        return math.nan
    pairs = [np.concatenate([of[label] for label in labels]) for of in (scores, log_errors)]
    if any(np.isnan(side).any() or np.ptp(side) == 0 for side in pairs):
        return math.nan
    first, second = (stats.rankdata(side) for side in pairs)
    return float(np.corrcoef(first, second)[0, 1])


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A network to be made again, and the signatures that were fitted in it."""

    make: Callable[[], HookedModel]
    signatures: Mapping[str, SpectralSignature]


@dataclass(frozen=True, slots=True, eq=False)
class _Other:
    """Other prompts, to be scored by signatures that were fitted before."""

    prompts: Mapping[str, Prompts]
    """By family."""
    sites: tuple[ResidualSite, ...]
    conventions: Conventions

    def scores(self, fitted: _Fitted) -> NetworkScores:
        network = fitted.make()
        parts: dict[str, dict[str, list[np.ndarray]]] = {site.label: {} for site in self.sites}
        hooks = [site.hook for site in self.sites]
        for label, prompts in self.prompts.items():
            for batch in stream(network, prompts, hooks, batch_size=64):
                for site in self.sites:
                    found = self.conventions.directions(batch.activations[site.hook], spectrum="leading")
                    overlap = fitted.signatures[site.label].score_directions(found).overlap.cpu()
                    parts[site.label].setdefault(label, []).append(_rounded(overlap))
        return {site: {label: np.concatenate(each) for label, each in by.items()} for site, by in parts.items()}


_Divide = Callable[[Sequence[_Fitted], Callable[[_Fitted], NetworkScores]], list[NetworkScores]]


def _again(
    model: HookedModel,
    surveys: Sequence[NetworkSurvey],
    draw: Callable[[int], Families],
    conventions: Conventions,
    seed: int,
    divide: _Divide,
) -> Again:
    """Prepare to score prompts kept aside, half as many per family, by the signatures that were fitted."""

    def again(sites: Sequence[ResidualSite], shifts: Sequence[str]) -> list[NetworkScores]:
        drawn = draw(derive_seed(seed, "evaluation: confirmation")).by_label
        there = len(drawn[IN_DISTRIBUTION].prompts)
        n = max(min(_LEAST_AGAIN, there), there // 2)
        prompts = {label: drawn[label].prompts[:n] for label in (IN_DISTRIBUTION, *shifts)}
        makers = [lambda: model, *untrained_makers(model, len(surveys) - 1, seed=seed)]
        jobs = [_Fitted(make, survey.signatures) for make, survey in zip(makers, surveys, strict=True)]
        return divide(jobs, _Other(prompts, tuple(sites), conventions).scores)

    return again


_LEAST_AGAIN = 32
"""Prompts per family that confirm a finding, where there are as many."""


def signature_atlas(
    model: ModelLike,
    task: TaskLike = None,
    *,
    shifts: Shifts | None = None,
    layers: Sequence[int] | None = None,
    conventions: Conventions | None = None,
    n_prompts: int = 128,
    n_points: int | None = None,
    n_controls: int = N_CONTROLS,
    confirm: bool = True,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> Atlas:
    """Measure at which sites, under which shifts and in which direction prompts leave the spectral signature.

    Formula: the value of a cell is the AUROC of 1 - overlap, shifted against in distribution, and z = (logit(value) -
    mean) / sd over the other networks. The score of a network is its largest |z| over all cells, and p of a cell is the
    share of the N + 1 networks whose score is at least the model's |z| there: exact whatever the distribution, and
    corrected for the number of cells. p < 0.05 is evidence where more prompts leave the signature than in untrained
    networks, and the opposite where it keeps more. With fewer than 20 untrained networks p cannot be below 0.05, and
    cells are described only. Meaningless where the signature spans all directions of a site.

    Args:
        model: The network, or a `Checkpoint`.
        task: The task in distribution; a `Checkpoint` brings its own.
        shifts: Names or patterns, or your own `Shift` objects, see `select_shifts`; None means the core suite.
        layers: Blocks to look at; None means all. The final norm is always among the sites, and the read-in never: it
            holds one token at a time.
        conventions: How activations become directions; None takes all tokens, uncentred, right vectors, k = 2.
        n_prompts: Number of prompts per family, with as many for fitting and half as many for confirming.
        n_points: Number of examples per prompt; None takes the task's usual number.
        n_controls: Number of untrained networks.
        confirm: Whether the cells that are found are measured again on other prompts.
        seed: The only source of randomness.
        on_batch: Called with the number of prompts just read, those that confirm left out, for progress.

    Returns:
        The atlas: cells with their verdicts, the rank p-value, and what moves the overlap at each site.

    Raises:
        InputError: If a shift or layer does not exist, or there is no shift whose activations are read.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440, for the question. The atlas is ours; for the correction by the
        largest statistic: Westfall and Young (1993), "Resampling-Based Multiple Testing".

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> atlas = signature_atlas(model, LinearRegression(2), shifts=["x_scale=3"], n_prompts=16, n_controls=3)
        >>> atlas.judged, len(atlas.cells)  # three untrained networks cannot judge it
        (False, 2)
    """
    model, task = as_model_and_task("signature_atlas", model, task)
    look_first(model, task, n_points, seed=seed)
    asked = Conventions(layout=model.cfg.tokens) if conventions is None else conventions
    asked = replace(asked, layout=model.cfg.tokens)
    chosen = asked.of_prompts(n_points or task.default_points, model.cfg)
    sites = blocks_among(model.cfg.residual_sites(layers))

    def draw(stream_seed: int) -> Families:
        return draw_families(
            task,
            shifts=shifts,
            n_prompts=n_prompts,
            n_points=n_points,
            max_points=model.cfg.max_points,
            seed=stream_seed,
        )

    families = draw(seed)
    makers = [lambda: model, *untrained_makers(model, n_controls, seed=seed)]
    surveys = [survey_network(make(), families, sites, conventions=chosen, on_batch=on_batch) for make in makers]
    again, unconfirmed = None, None
    if confirm and isinstance(task, FixedPrompts):
        unconfirmed = _SAVED
    elif confirm:
        again = _again(model, surveys, draw, chosen, seed, lambda jobs, work: [work(job) for job in jobs])
    return atlas_of(surveys, families, sites, chosen, again=again, unconfirmed=unconfirmed, seed=seed)


_SAVED = "prompts are saved ones, and none are kept aside"
"""Why cells are not confirmed where no fresh prompts can be drawn."""


def _in_study(found: Findings) -> Atlas | Absent:
    plan, surveys = found.plan, [*found.surveys, *found.further]

    def draw(seed: int) -> Families:
        return draw_families(
            plan.task,
            shifts=plan.shifts,
            n_prompts=plan.n_prompts,
            n_points=plan.n_points,
            max_points=plan.config.max_points,
            seed=seed,
        )

    saved = isinstance(plan.task, FixedPrompts)
    atlas = atlas_of(
        surveys,
        plan.families,
        blocks_among(plan.sites),
        plan.conventions,
        again=None if saved else _again(plan.model, surveys, draw, plan.conventions, plan.seed, found.divided),
        unconfirmed=_SAVED if saved else None,
        remedy=f"`--controls {LEAST_CONTROLS}` (`n_controls`)",
        seed=plan.seed,
    )
    numbers = [cell.value for cell in atlas.cells if math.isfinite(cell.value)]
    return atlas if numbers else Absent(f"There is no signature to ask about: {atlas.reason}.")


def _without(plan: StudyPlan) -> str | None:
    return without_sites(plan) or (None if plan.families.shifted else NO_SHIFT)


ATLAS = Measure("atlas", "the atlas of the signature", run=_in_study, without=_without)
"""A family of claims of its own at 5 %: no claim of it is among the joint ones."""
