"""Claims of a paper as data; verdicts are functions of their numbers, alone or beside a committed summary."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, model_serializer, model_validator
from pydantic.dataclasses import dataclass
from scipy import stats

from icl_interp.errors import InputError

Verdict = Literal["reproduced", "partly", "not reproduced", "unknown in the paper", "not judged"]

LEAST_SEEDS = 3  # models that a verdict needs, each from its own seed
_LEVEL, _ROUNDING = 0.95, 1e-12
_OPPOSITE = {"reproduced": "not reproduced", "not reproduced": "reproduced"}

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


def over_seeds(values: Sequence[float]) -> Interval:
    """Average over seeds, with Student's 95 % interval; NaN throughout where a seed has no finite number."""
    n, middle = len(values), mean(values)
    if not all(math.isfinite(value) for value in values):
        return Interval(math.nan, math.nan, math.nan)
    if n == 1:
        return Interval(middle, middle, middle)
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf((1 + _LEVEL) / 2, n - 1)) * spread / math.sqrt(n)
    return Interval(middle, middle - half, middle + half)


def judge(found: Interval, low: float | None, high: float | None) -> Verdict:
    """Reproduced if the interval lies in the expected range but for rounding, not if disjoint, partly otherwise."""
    size = max(abs(end) for end in (found.low, found.high, low or 0.0, high or 0.0)) * _ROUNDING
    least, most = (-math.inf if low is None else low - size), (math.inf if high is None else high + size)
    if least <= found.low and found.high <= most:
        return "reproduced"
    return "not reproduced" if found.high < least or most < found.low else "partly"


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

    COMPUTED = ("mean", "interval", "verdict", "undecided")

    def __post_init__(self) -> None:
        if not self.key or not self.values:
            raise InputError(f"Check {self.label!r} needs a key and one value per seed, got {self.key!r} and none.")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise InputError(f"Check {self.label!r} needs low <= high, got {self.low:g} and {self.high:g}.")

    @property
    def interval(self) -> Interval:
        return over_seeds(self.values)

    @property
    def expects(self) -> bool:
        return self.low is not None or self.high is not None

    @property
    def undecided(self) -> str:
        """Why there is no mean; empty where there is one."""
        lost = sum(not math.isfinite(value) for value in self.values)
        return f"{lost} of {len(self.values)} seeds gave no number" if lost else ""

    @property
    def verdict(self) -> Verdict:
        """What the numbers say, see `judge`; too few seeds are not judged."""
        if not self.expects:
            return "unknown in the paper"
        return judge(self.interval, self.low, self.high) if len(self.values) >= LEAST_SEEDS else "not judged"

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
        return fields(self) | said | ({"undecided": self.undecided} if self.undecided else {})

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

    @property
    def verdict(self) -> Verdict:
        """Reproduced if all checks that expect something are; not if some are not and none is; partly otherwise."""
        said = {check.verdict for check in self.checks} - {"unknown in the paper"}
        if not said:
            return "unknown in the paper"
        if "not judged" in said:
            return "not judged"
        if "reproduced" in said:
            return "reproduced" if len(said) == 1 else "partly"
        return "not reproduced" if "not reproduced" in said else "partly"

    @property
    def n_seeds(self) -> int:
        return min(len(check.values) for check in self.checks)

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
        return f"Claim({self.key}, {len(self.checks)} checks, {self.n_seeds} seeds, {self.verdict})"


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

    def __call__(self, read: _Reader) -> Iterator[Check]:
        label, reason = self.label.format(**read.words), self.reason.format(**read.words)
        yield Check(self.key, label, self.values(read), self.low, self.high, reason)


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
    committed: str  # verdict of the check in the summary
    scatter: tuple[float, float]
    """Where the mean of as many more seeds lies by the summary's own spread: Student's 95 % prediction interval."""

    @property
    def contradicts(self) -> bool:
        """Whether seeds alone do not explain it."""
        return not self.scatter[0] <= self.value <= self.scatter[1]

    def __str__(self) -> str:
        explained = "beyond" if self.contradicts else "within"
        return (
            f"{self.claim}: {self.label} is {self.value:.4g}, and the summary says {self.committed}; that is "
            f"{explained} what its seeds scatter by, [{self.scatter[0]:.4g}, {self.scatter[1]:.4g}]."
        )


def differences(claims: Iterable[Claim], committed: Iterable[Claim]) -> list[Difference]:
    """Find the checks that a run of a few seeds answers differently from a summary of more.

    One seed has no interval, so its mean alone is compared: it differs where the summary's whole interval agrees with
    what is expected and the mean does not, or the other way round. A check that the summary calls "partly" straddles
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
