"""What a measure is to a study, the plan that it is given, and what all networks showed when it gets its result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from icl_interp.jobs import Crew
from icl_interp.measure.detectors.own import Detector
from icl_interp.measure.families import Families
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.survey import NetworkSurvey, Watch
from icl_interp.measure.verdicts import Excess
from icl_interp.models.architecture import NO_SITES, Architecture, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import ByReference, References
from icl_interp.prompts import Prompts
from icl_interp.tasks.base import Task
from icl_interp.tasks.shifts.select import Shifts
from probes._core.results import short_repr

WORK = 8.0e12
"""Floating-point operations that the default number of prompts may cost: a few minutes on two cores."""
_PER_SITE, _PER_SECOND, _PER_SECOND_OF_PROBES, _PER_SCORE = 6e-5, 8e10, 2.5e10, 2.5e-4
"""Seconds that a sequence costs at each site, operations per second of one thread in networks and in the regressions
of probes, and seconds that resampling takes per prompt that a network is scored on; measured once, on one core of a
server."""
_SHARE = WORK / 32
"""Floating-point operations that each measure with prompts of its own may cost."""
_PENALTIES, _FITS = 15, 12
"""That probes and read-outs try, and regressions at each site of each network: folds and all, of the two."""
_LEAST, _MOST = 8, 32
"""Prompts of such a measure."""

_Job = TypeVar("_Job")
_Done = TypeVar("_Done")

Features = Mapping[str, Float[Tensor, "sample point d_model"]]
"""By site label: the residual stream at the tokens that ask, from the second point on."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """One number that is compared with untrained networks; all claims of a study hold together."""

    name: str
    """As in verdicts and tables."""
    meaning: str
    """What the number is, in one line; larger is more."""
    judge: "Callable[[Any, Findings, int], Excess]"
    """From the measure's result, what all networks showed, and the number of joint claims."""
    gate: str | None = None
    """The claim that this one presupposes: it is judged only where that is evidence."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Instead of a result, where only what was read tells that there is none."""

    reason: str
    """A sentence."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What a measure with prompts of its own may take."""

    prompts: int
    """How many."""
    reads: int
    """About how many sequences all networks read for it; for progress."""


def _never(_: "StudyPlan") -> None:
    return None


def _nothing(_: "StudyPlan") -> tuple[Claim, ...]:
    return ()


def _itself(watch: Any) -> Any:
    return watch


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """One row of `MEASURES`: progress, claims, the JSON and what was left out follow from it."""

    name: str
    """Of the result, as an attribute of a study and in the JSON."""
    title: str
    """For people: in progress, and where it is left out."""
    run: "Callable[[Findings], Any]"
    """Gives the result, or `Absent`."""
    group: str = ""
    """The key of the JSON that holds the result; empty: the study itself."""
    without: "Callable[[StudyPlan], str | None]" = _never
    """Why a model or study lacks what it needs, in a sentence; None where nothing is missing."""
    cost: Callable[[Architecture, int, int], int] | None = None
    """Sequences that all networks read for one of its own prompts, by config, points and number of untrained networks;
    None where it lives on what a study reads anyway."""
    watch: "Callable[[StudyPlan, HookedModel], Watch] | None" = None
    """Starts to watch a network while prompts stream by; what is kept of it is in `Findings.watched`."""
    kept: Callable[[Any], Any] = _itself
    """Gives what is kept of a watch once its network was read; it may come from another process."""
    read: "Callable[[StudyPlan, Features, bool], Any] | None" = None
    """Takes one network's features on the probe prompts, and whether it is the model; what it returns is in
    `Findings.read`."""
    alone: "Callable[[Findings, HookedModel, bool], Any] | None" = None
    """Measures one network by itself, and is told whether it is the model; what it returns is in `Findings.alone`. Of
    the findings there are the plan and what references say."""
    claims: "Callable[[StudyPlan], Sequence[Claim]]" = _nothing
    """What it claims of such a study, whatever the numbers turn out to be."""

    def __repr__(self) -> str:
        return f"Measure({self.name})"


@dataclass(frozen=True, slots=True, eq=False)
class StudyPlan:
    """Everything that a study asks, of the model and of every untrained network alike."""

    model: HookedModel
    """What is studied."""
    task: Task
    """In distribution."""
    families: Families
    """The prompts."""
    n_prompts: int
    """A family."""
    n_points: int
    """Pairs a prompt."""
    sites: tuple[ResidualSite, ...]
    """Along the network."""
    conventions: Conventions
    """How activations become directions."""
    references: References
    """Algorithms by name."""
    probe_prompts: Prompts
    """For linear probes and read-outs, of a stream of their own."""
    probe_answers: ByReference[Float[Tensor, "sample point"]]
    """What each reference says to those prompts."""
    targets: Mapping[str, Tensor]
    """Of linear probes, on those prompts."""
    left_out: Mapping[str, str]
    """Targets that cannot be probed, with the reason."""
    n_controls: int
    """Number of untrained networks that every measure compares with."""
    n_surveyed: int
    """Number of untrained networks in all: those beyond `n_controls` give spectra and signature scores, and no more."""
    seed: int
    """The only source of randomness."""
    measures: tuple[Measure, ...]
    """The table; those of `absent` are not run."""
    detectors: Mapping[str, Detector] = field(default_factory=dict)
    """The user's own."""
    shifts: Shifts | None = None
    """As asked for, to draw further prompts of the same families."""
    workers: int = 1
    """Number of processes, of one thread each, that untrained networks are divided between."""

    __repr__ = short_repr

    @property
    def config(self) -> Architecture:
        """Of all networks."""
        return self.model.cfg

    @property
    def absent(self) -> dict[str, str]:
        """Measures that are left out, with the reason."""
        reasons = {measure.name: measure.without(self) for measure in self.measures}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    @property
    def running(self) -> tuple[Measure, ...]:
        """The other measures."""
        absent = self.absent
        return tuple(measure for measure in self.measures if measure.name not in absent)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What the study claims; their intervals hold together."""
        return tuple(claim for measure in self.running for claim in measure.claims(self))

    @property
    def efforts(self) -> dict[str, Effort]:
        """By measure, of those with prompts of their own."""
        return {
            measure.name: effort_of(
                measure.cost(self.config, self.n_points, self.n_controls), self.config, self.n_prompts, self.n_points
            )
            for measure in self.running
            if measure.cost is not None
        }

    @property
    def reads(self) -> int:
        """The work in units of a sequence that a network reads; for progress."""
        families = len(self.families.by_label) + 1  # and the fit prompts
        surveyed, networks = self.n_prompts * families, 1 + self.n_controls
        once = sum(_asked(family.prompts) for family in self.families.errors_only.values())
        own = self.probe_reads * networks + sum(effort.reads for effort in self.efforts.values())
        return surveyed * (1 + self.n_surveyed) + own + once + self.afterwards

    @property
    def probe_reads(self) -> int:
        """The work that probes make with one network, in the same unit: they read it, and regress on its streams."""
        samples, width = len(self.probe_prompts) * (self.n_points - 1), self.config.d_model
        products = samples * width * (width + _PENALTIES * max(1, len(self.targets)))
        operations = 2 * _FITS * len(self.sites) * (products + 5 * width**3)
        return len(self.probe_prompts) + int(operations / _PER_SECOND_OF_PROBES / self.seconds_per_sequence)

    @property
    def afterwards(self) -> int:
        """The work that is left once all networks were read, in the same unit."""
        scores = self.n_prompts * len(self.families.by_label) * (1 + self.n_controls)
        return int(scores * _PER_SCORE / self.seconds_per_sequence)

    @property
    def seconds_per_sequence(self) -> float:
        """About how many seconds of one core a sequence takes, from shapes alone."""
        return seconds_per_sequence(self.config, self.n_points, len(self.sites))

    @property
    def seconds(self) -> float:
        """About how many seconds of one core the study takes, from shapes alone."""
        return self.reads * self.seconds_per_sequence

    def reads_alone(self, measure: Measure, *, of_model: bool) -> int:
        """How many sequences a measure with prompts of its own lets one network read."""
        if measure.cost is None:
            return 0
        costs = [measure.cost(self.config, self.n_points, n) for n in (0, 1)]
        return self.efforts[measure.name].prompts * (costs[0] if of_model else costs[1] - costs[0])

    def reads_of(self, *, measured: bool) -> int:
        """How many sequences an untrained network reads, by itself."""
        surveyed = self.n_prompts * (len(self.families.by_label) + 1)
        alone = sum(self.reads_alone(m, of_model=False) for m in self.running if m.alone is not None)
        return surveyed + measured * (self.probe_reads + alone)


def seconds_per_sequence(config: Architecture, n_points: int, n_sites: int) -> float:
    """Say how long one core reads a sequence and decomposes its streams, never from a clock."""
    return _PER_SITE * (1 + n_sites) + config.operations(n_points) / _PER_SECOND


def _asked(prompts: Prompts) -> int:
    # As `predict` asks: every query is a sequence of its own.
    return len(prompts) * (1 if prompts.query_xs is None else prompts.n_points)


def effort_of(cost: int, config: Architecture, n_prompts: int, n_points: int) -> Effort:
    """Say how many prompts a measure may take.

    Formula: SHARE / (operations a sequence * sequences a prompt), cut to [8, 32] and to n_prompts.
    """
    affordable = int(_SHARE / (config.operations(n_points) * cost))
    prompts = min(n_prompts, max(_LEAST, min(_MOST, affordable)))
    return Effort(prompts, prompts * cost)


def without_sites(plan: StudyPlan) -> str | None:
    """Say that whatever reads the residual stream needs to know a place of it."""
    return None if plan.sites else NO_SITES


@dataclass(slots=True, eq=False)
class Findings:
    """What every network showed, the model first, and what the references say to the same prompts."""

    plan: StudyPlan
    """What was asked."""
    answers: Mapping[str, ByReference[Float[Tensor, "sample point"]]]
    """By family, then by reference: each was asked once."""
    surveys: list[NetworkSurvey] = field(default_factory=list)
    """Spectra, scores and predictions."""
    further: list[NetworkSurvey] = field(default_factory=list)
    """The same of the untrained networks that nothing else is measured of."""
    predictions: dict[str, Float[Tensor, "sample point"]] = field(default_factory=dict)
    """Of the model, by family; those that are read for errors alone are among them."""
    watched: dict[str, list[Any]] = field(default_factory=dict)
    """By measure: what is kept of its watch of each network."""
    read: dict[str, list[Any]] = field(default_factory=dict)
    """By measure: what it took from each network's features."""
    results: dict[str, Any] = field(default_factory=dict)
    """By measure, of those that have run: later rows of the table may ask earlier ones."""
    alone: dict[str, list[Any]] = field(default_factory=dict)
    """By measure: what it found of each network by itself."""
    crew: Crew | None = None
    """Processes that help, once all networks are read."""

    __repr__ = short_repr

    def divided(self, jobs: Sequence[_Job], work: Callable[[_Job], _Done]) -> list[_Done]:
        """Do further jobs, one per network, in the processes of the study; results come in the order of the jobs."""
        if self.crew is None:
            return [work(job) for job in jobs]
        done = dict(self.crew.share(jobs, work))
        return [done[i] for i in range(len(jobs))]

    @property
    def model(self) -> NetworkSurvey:
        """Of the model."""
        return self.surveys[0]

    @property
    def untrained(self) -> tuple[NetworkSurvey, ...]:
        """Of the untrained networks."""
        return tuple(self.surveys[1:])

    @property
    def main_site(self) -> ResidualSite:
        """After the last block, before the final norm."""
        return self.plan.config.last_block
