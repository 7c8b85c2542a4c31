"""Claims of a paper as data; verdicts are functions of their numbers, alone or beside a committed summary."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, model_serializer, model_validator
from pydantic.dataclasses import dataclass
from scipy import stats

from icl_interp.errors import InputError

CheckVerdict = Literal["agrees", "contradicts", "undecided", "no target"]
Verdict = Literal["reproduced", "inconclusive", "partly reproduced", "mixed", "contradicted", "no target"]

LEAST_SEEDS = 3  # models that a check needs to be decided, each from its own seed
LEVEL = 0.05  # chance that any check of a claim contradicts what is true; a check has its share of it
ORDERED = 0.8  # least rank correlation along a sweep that counts as an order (ours)
_ROUNDING = 1e-12
_OPPOSITE = {"agrees": "contradicts", "contradicts": "agrees"}

# JSON has no NaN: a seed without a number is null there.
_Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
_RECORD = ConfigDict(extra="forbid", ser_json_inf_nan="null")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds, and how far it is known."""

    value: float  # mean
    low: float  # lower end of Student's 95 % interval for the mean; the value itself where there is one seed
    high: float  # upper end

    def __iter__(self) -> Iterator[float]:
        yield from (self.value, self.low, self.high)

    def above(self, least: float = 0.0) -> bool:
        """Whether all of it lies above a value; never where there is no spread because there is one seed."""
        return self.low > least and self.high > self.low

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        return f"{self.value:.2f}" + ("" if self.low == self.high else f" [{self.low:.2f}, {self.high:.2f}]")


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def over_seeds(values: Sequence[float], *, level: float = LEVEL, step: float | None = None) -> Interval:
    """Average over seeds, with Student's interval at 1 - level; NaN throughout where a seed has no finite number.

    Equal counts of all seeds do not say that the mean is known exactly: their interval is half a `step` on both sides,
    the distance between neighbouring values. A yes or no per seed (1 or 0, in steps of 1) has the exact interval of
    Clopper and Pearson (1934), which is no point either where all seeds agree.
    """
    n, middle = len(values), mean(values)
    if not all(math.isfinite(value) for value in values):
        return Interval(math.nan, math.nan, math.nan)
    if n == 1:
        return Interval(middle, middle, middle)
    if _yes_or_no(values, step):
        yes, tail = round(sum(values)), level / 2
        low = float(stats.beta.ppf(tail, yes, n - yes + 1)) if yes else 0.0
        return Interval(middle, low, float(stats.beta.isf(tail, yes + 1, n - yes)) if yes < n else 1.0)
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf(1 - level / 2, n - 1)) * spread / math.sqrt(n)
    if step is not None and _alike(values):
        half = step / 2
    return Interval(middle, middle - half, middle + half)


def _yes_or_no(values: Sequence[float], step: float | None) -> bool:
    return step == 1.0 and set(values) <= {0.0, 1.0}


def rank_correlation(xs: Sequence[float | int], ys: Sequence[float]) -> float:
    """Spearman's coefficient; 0 where the second are all equal, which is no order.

    >>> rank_correlation([4, 8, 16], [1.0, 5.0, 7.0]), rank_correlation([4, 8, 16], [3.0, 3.0, 3.0])
    (1.0, 0.0)
    """
    return 0.0 if len(set(ys)) < 2 else round(float(stats.spearmanr(xs, ys).statistic), 12)


def swap(n: int) -> float:
    """What a swap of neighbours changes the rank correlation of n points by, the `step` of a check for an order."""
    return 12 / (n * (n**2 - 1))


def swaps(n: int) -> str:
    """Say how coarse `ORDERED` is.

    >>> swaps(4)
    'with 4 points 0.8 allows 1 swap of neighbours'
    """
    allowed = min(n // 2, math.floor((1.0 - ORDERED) / swap(n) + 1e-9))
    return f"with {n} points {ORDERED:g} allows {allowed} swap{'' if allowed == 1 else 's'} of neighbours"


def _alike(values: Sequence[float]) -> bool:
    return max(values) - min(values) <= _ROUNDING * max(map(abs, values))


def judge(found: Interval, low: float | None, high: float | None) -> CheckVerdict:
    """Say whether an interval lies in the expected range, but for rounding, outside of it, or across an end."""
    size = max(abs(end) for end in (found.low, found.high, low or 0.0, high or 0.0)) * _ROUNDING
    least, most = (-math.inf if low is None else low - size), (math.inf if high is None else high + size)
    if least <= found.low and found.high <= most:
        return "agrees"
    return "contradicts" if found.high < least or most < found.low else "undecided"


def _judged_again(computed: tuple[str, ...], stored: Any, build: Callable[[Any], Any]) -> Any:
    # What a file says beside the numbers is computed from them, and has to agree.
    if not isinstance(stored, dict):
        return build(stored)
    found = build({name: value for name, value in stored.items() if name not in computed})
    if stored.get("verdict", found.verdict) != found.verdict:
        raise InputError(
            f"verdicts have to follow from numbers, got {stored['verdict']!r} for {stored.get('key')}, whose numbers "
            f"say {found.verdict!r}"
        )
    return found


@dataclass(frozen=True, slots=True, config=_RECORD)
class Check:
    """One number that a claim says something about."""

    key: str  # a short name, like no other of its claim: what a run is compared with a summary by
    label: str  # what is measured, with its unit or what it is divided by
    values: tuple[_Number, ...]
    """One per seed, in their order; NaN where a seed has no number, which leaves the check undecided."""
    low: float | None = None  # least expected value, tolerance included; None leaves this side open
    high: float | None = None  # largest expected value, tolerance included; with both ends open nothing is expected
    reason: str = ""  # where the expectation and its tolerance come from
    step: float | None = None  # of counts, shares and ranks: the distance between neighbouring values; of yes or no 1
    among: int = 1  # checks of its claim that expect something, which share the level; a claim fills it in

    COMPUTED = ("mean", "interval", "verdict", "note")

    def __post_init__(self) -> None:
        if not self.key or not self.values:
            raise InputError(f"Check {self.label!r} needs a key and one value per seed, got {self.key!r} and none.")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise InputError(f"Check {self.label!r} needs low <= high, got {self.low:g} and {self.high:g}.")

    @property
    def interval(self) -> Interval:
        return over_seeds(self.values, step=self.step)

    @property
    def expects(self) -> bool:
        return self.low is not None or self.high is not None

    @property
    def note(self) -> str:
        """Why there is no mean, why nothing is decided, or that all seeds agree; empty where nothing is to be said."""
        n, lost = len(self.values), sum(not math.isfinite(value) for value in self.values)
        if lost:
            return f"{lost} of {n} seeds gave no number"
        if self.expects and n < LEAST_SEEDS:
            return f"too few seeds: {n}, and a check needs {LEAST_SEEDS}"
        if n == 1 or not _alike(self.values):
            return ""
        if _yes_or_no(self.values, self.step):
            return f"all {n} seeds gave the same answer"
        return f"all {n} seeds gave the same number" + ("" if self.step is None else f", known to ±{self.step / 2:.2g}")

    @property
    def verdict(self) -> CheckVerdict:
        """Agrees by the 95 % interval, contradicts by that at 5 % / `among`; too few seeds leave it undecided."""
        if not self.expects:
            return "no target"
        if len(self.values) < LEAST_SEEDS:
            return "undecided"
        if judge(self.interval, self.low, self.high) == "agrees":
            return "agrees"
        wider = over_seeds(self.values, level=LEVEL / self.among, step=self.step)
        return "contradicts" if judge(wider, self.low, self.high) == "contradicts" else "undecided"

    def expected(self) -> str:
        if self.low is not None and self.high is not None:
            return f"from {self.low:.4g} to {self.high:.4g}"
        if self.low is not None:
            return f"at least {self.low:.4g}"
        return "nothing stated" if self.high is None else f"at most {self.high:.4g}"

    @model_serializer(mode="wrap")
    def _stored(self, fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        found = self.interval
        said = {"mean": found.value, "interval": [found.low, found.high], "verdict": self.verdict}
        kept = {name: value for name, value in fields(self).items() if name != "step" or value is not None}
        return kept | said | ({"note": self.note} if self.note else {})

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, stored: Any, build: Callable[[Any], Any]) -> Any:
        return _judged_again(cls.COMPUTED, stored, build)

    def __repr__(self) -> str:
        found = self.interval
        shown = f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"
        return f"Check({self.key}: {shown}, expected {self.expected()}, {self.verdict})"


@dataclass(frozen=True, slots=True, config=_RECORD)
class Claim:
    """One claim of a paper, with what we found."""

    key: str  # a short name for links: lower case, hyphens
    statement: str  # what the paper says, in one sentence
    source: str  # where it says so: section, theorem, figure
    measure: str  # what we measured, and on what
    checks: tuple[Check, ...]  # the numbers, with what is expected of each

    COMPUTED = ("verdict",)

    def __post_init__(self) -> None:
        empty = [name for name in ("key", "statement", "source", "measure", "checks") if not getattr(self, name)]
        if empty:
            raise InputError(f"Claim {self.key!r} needs {', '.join(empty)}; none may be empty.")
        keys = [check.key for check in self.checks]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise InputError(f"Claim {self.key!r} needs a key of its own for each check, got {', '.join(twice)} twice.")
        among = max(1, sum(check.expects for check in self.checks))
        object.__setattr__(self, "checks", tuple(replace(check, among=among) for check in self.checks))

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many checks agree, contradict and are undecided; those without a target do not count."""
        said = Counter(check.verdict for check in self.checks)
        return said["agrees"], said["contradicts"], said["undecided"]

    @property
    def seeds_said(self) -> str:
        """How many seeds its checks have: one number, or the least and the largest."""
        n = sorted({len(check.values) for check in self.checks})
        return f"{n[0]} seeds" if len(n) == 1 else f"{n[0]} to {n[-1]} seeds"

    @property
    def counted(self) -> str:
        """The three counts in words."""
        agree, contradict, undecided = self.counts
        return f"{agree} agree, {contradict} contradict, {undecided} undecided"

    @property
    def verdict(self) -> Verdict:
        """What the three counts say together."""
        agree, contradict, undecided = self.counts
        n = agree + contradict + undecided
        if n == 0:
            return "no target"
        if agree == n:
            return "reproduced"
        if 2 * (agree + contradict) < n:
            return "inconclusive"
        if contradict == 0:
            return "partly reproduced"
        return "mixed" if agree else "contradicted"

    @property
    def said(self) -> str:
        """The verdict with its counts, where there is anything to count."""
        return self.verdict if self.verdict == "no target" else f"{self.verdict}: {self.counted}"

    @property
    def lacks_seeds(self) -> bool:
        """Whether a check is undecided for want of seeds."""
        return any(check.expects and len(check.values) < LEAST_SEEDS for check in self.checks)

    @model_serializer(mode="wrap")
    def _stored(self, fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        said = fields(self)
        checks = said.pop("checks")
        return said | {"verdict": self.verdict, "checks": checks}

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, stored: Any, build: Callable[[Any], Any]) -> Any:
        return _judged_again(cls.COMPUTED, stored, build)

    def __repr__(self) -> str:
        return f"Claim({self.key}, {len(self.checks)} checks, {self.said})"


_Reader = TypeVar("_Reader", bound=Any)  # looks up what was measured, see `PerSeed`; knows the words in braces


@dataclass(frozen=True, slots=True)
class Row(Generic[_Reader]):
    """A check before anything is measured; label and reason may name the reader's words in braces."""

    key: str  # as in `Check`, like all that follow
    label: str
    values: Callable[[_Reader], tuple[float, ...]]  # reads the numbers, one per seed
    low: float | None = None
    high: float | None = None
    reason: str = ""
    step: Callable[[_Reader], float] | None = None  # reads it, where values are counts, shares or ranks

    def __call__(self, read: _Reader) -> Iterator[Check]:
        label, reason = self.label.format(**read.words), self.reason.format(**read.words)
        step = None if self.step is None else self.step(read)
        yield Check(self.key, label, self.values(read), self.low, self.high, reason, step)


@dataclass(frozen=True, slots=True)
class Stated(Generic[_Reader]):
    """A claim before anything is measured: what the paper says, and which numbers of a reader speak of it."""

    key: str  # as in `Claim`, like the next three; the last of them may name the reader's words in braces
    source: str
    statement: str
    measure: str
    checks: tuple[Callable[[_Reader], Iterable[Check]], ...]
    """Each a `Row`, or a function that gives as many checks as the sizes have it."""

    def judged(self, read: _Reader) -> Claim:
        checks = tuple(check for part in self.checks for check in part(read))
        return Claim(self.key, self.statement, self.source, self.measure.format(**read.words), checks)


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that lies on the other side of what is expected than the summary's interval."""

    claim: str  # keys of claim and check
    check: str
    label: str
    value: float  # mean over the seeds of this run
    committed: CheckVerdict  # of the check in the summary
    scatter: tuple[float, float]
    """Where the mean of as many more seeds lies by the summary's own spread: Student's 95 % prediction interval."""

    @property
    def contradicts(self) -> bool:
        """Whether seeds alone do not explain it."""
        return not self.scatter[0] <= self.value <= self.scatter[1]

    def __str__(self) -> str:
        where = "outside" if self.contradicts else "inside"
        return (
            f"{self.claim}: {self.label} is {self.value:.4g}, which {_OPPOSITE[self.committed]}, where the summary "
            f"{self.committed}; that is {where} the 95 % prediction interval of its seeds, "
            f"[{self.scatter[0]:.4g}, {self.scatter[1]:.4g}]."
        )


def differences(claims: Iterable[Claim], committed: Iterable[Claim]) -> list[Difference]:
    """Find the checks that a run of a few seeds answers differently from a summary of more.

    One seed has no interval, so its mean alone is compared: it differs where the summary's whole interval agrees with
    what is expected and the mean does not, or the other way round. A check that the summary leaves undecided straddles
    the expectation, so either side agrees with it (ours). An interval for a mean is narrower than what single seeds
    scatter by: a difference contradicts only outside of mean ± t s sqrt(1/n + 1/m), for n seeds there and m here.
    """
    known = {(claim.key, check.key): check for claim in committed for check in claim.checks}
    own = {(claim.key, check.key): check for claim in claims for check in claim.checks}
    if any(name not in known and check.expects for name, check in own.items()):
        raise InputError(
            "--against needs a summary that has all claims and checks of this run, got one of another version; write "
            "it again by icl-reproduce."
        )
    return [
        Difference(*name, check.label, check.interval.value, known[name].verdict, _scatter(check, known[name]))
        for name, check in own.items()
        if name in known and _turns_round(check, known[name])
    ]


def _turns_round(check: Check, committed: Check) -> bool:
    mean = check.interval.value
    alone = judge(Interval(mean, mean, mean), committed.low, committed.high)
    return alone == _OPPOSITE.get(committed.verdict)


def _scatter(check: Check, committed: Check) -> tuple[float, float]:
    n, found = len(committed.values), committed.interval
    half = (found.high - found.low) / 2  # t s / sqrt(n)
    wider = half * math.sqrt(1 + n / len(check.values))
    return found.value - wider, found.value + wider
