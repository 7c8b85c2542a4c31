"""The claims of Huang, Cheng and Liang (2024), and the numbers that would agree with them."""

from collections.abc import Iterator

from icl_interp.experiments.claims import Check, Stated
from icl_interp.experiments.experiment import combine
from icl_interp.experiments.huang2023.measures import HALF, LEARNED, PHASES, Curves, Reader, apart

_NEAR = 0.05  # largest distance of a curve of attention from that of the exact updates, of 1
_FASTER = 1.0  # A_k has to grow faster later than at first; with many examples 4 K^3 / (27 (K - 1)^2) times (derived)
_BEFORE = 0.5  # the dominant feature's time over that of rare ones, at most (our choice)
_ORDER = 0.1  # tolerance of an exponent (our choice)


def _balanced(read: Reader) -> Iterator[Check]:
    for k in read.sizes.steps:
        trained, _ = read.curves("balanced", k)[""]
        least = combine(lambda one: one.least, trained)
        label = f"K = {k}: smallest attention of a feature to itself at the end"
        yield Check(f"attention.{k}", label, least, LEARNED, None, "1 in the limit; our threshold")
    for k in read.sizes.steps:
        trained, _ = read.curves("balanced", k)[""]
        label = f"K = {k}: largest growth of A_k per step / its growth in the first tenth of the time to {HALF:g}"
        yield Check(
            f"faster.{k}",
            label,
            combine(lambda one: one.acceleration, trained),
            _FASTER,
            None,
            "slow, then fast: any increase",
        )


def _dominant(read: Reader) -> Iterator[Check]:
    (dominant, _), (rare, _) = read.curves("imbalanced", read.sizes.imbalanced).values()
    times = [[one.time(LEARNED) for one in of_class] for of_class in (dominant, rare)]
    label = f"time of the dominant feature / of rare ones, until attention is {LEARNED:g}"
    yield Check("ratio", label, combine(lambda a, b: a / b, *times), None, _BEFORE, "first by far; our threshold")
    least = combine(lambda one: one.least, rare)
    yield Check(
        "rare",
        "smallest attention of a rare feature to itself at the end",
        least,
        LEARNED,
        None,
        "1 in the limit; our threshold",
    )


def _phases(read: Reader) -> Iterator[Check]:
    def length(one: Curves, n: int) -> float:
        # In units of the time until the feature counts as learned, so that one scale serves all phases.
        ends = (0.0, *one.ends)
        return (ends[n + 1] - ends[n]) / ends[-1]

    for n, name in enumerate(PHASES):
        lengths = combine(lambda one: length(one, n), read.rare)  # noqa: B023  # called at once
        label = f"phase {n + 1} ({name}): its length / time until attention is {LEARNED:g}"
        yield Check(f"phase-{n + 1}", label, lengths, 0.0, None, "above 0: the phase exists")
    early = combine(lambda one: -one.first[1] / one.own[1], read.rare)
    label = "after the first step: fall of B_k1 / growth of A_k, rare features"
    yield Check("first-step", label, early, 1.0, None, "the score of the dominant feature falls faster")


def _times(read: Reader) -> Iterator[Check]:
    times = [read.half_times(k) for k in read.sizes.steps]
    exponents = combine(lambda *of_seed: read.exponent(of_seed), *times)
    exact = read.exponent([read.curves("balanced", k)[""][1].time(HALF) for k in read.sizes.steps])
    label = f"slope of log time over log K, until attention is {HALF:g}"
    reason = f"at most that of K² log K at these K, {read.bound:.3g}, an upper bound; our tolerance"
    yield Check("bound", label, exponents, None, read.bound + _ORDER, reason)
    reason = "that of the exact updates; our tolerance"
    yield Check("exact", f"{label}, beside the exact updates", exponents, exact - _ORDER, exact + _ORDER, reason)


def _followed(read: Reader) -> Iterator[Check]:
    kinds = [("balanced", k) for k in read.sizes.steps] + [("imbalanced", read.sizes.imbalanced)]
    for kind, k in kinds:
        for name, (trained, exact) in read.curves(kind, k).items():  # type: ignore[arg-type]
            far = combine(lambda one: apart(one, exact), trained)  # noqa: B023  # called at once
            of = f"{kind}, K = {k}" + (f", {name} feature{'s' if name == 'rare' else ''}" if name else "")
            key = ".".join(filter(None, (kind, str(k), name)))
            label = f"{of}: largest distance between the curves of attention"
            yield Check(key, label, far, None, _NEAR, "5 %")


_SEEN = "{N} examples per context; attention is a mean over {contexts} contexts."

CLAIMS: tuple[Stated[Reader], ...] = (
    Stated("balanced", "Theorem on balanced features",
           "With balanced features, a query learns to attend to its own feature; the score A_k grows slowly at first "
           "and then fast.",
           f"Attention to the query's own feature after training, and the growth of A_k. {_SEEN}", (_balanced,)),
    Stated("dominant-first", "Theorem on imbalanced features",
           "With imbalanced features, the dominant one is learned first and the rare ones later.",
           f"Time until attention to the own feature is {LEARNED:g}; K = {{K}}. {_SEEN}", (_dominant,)),
    Stated("phases", "Phases of rare features",
           "A rare feature goes through four phases: at first the score of the dominant feature falls faster than its "
           "own score grows, then the lead switches.",
           f"Ends of the phases by our rule, see what the paper leaves open; K = {{K}}. {_SEEN}", (_phases,)),
    Stated("times", "Times of convergence",
           "The time to convergence grows like K² log K / eta at most.",
           "Exponent of the time as a function of K, balanced features.", (_times,)),
    Stated("exact-updates", "A consequence of the updates, by us",
           "Training on fresh tasks follows the exact updates of gradient descent on the expected loss.",
           f"Attention along training beside that of the exact updates at the same steps. {_SEEN}", (_followed,)),
)  # fmt: skip
"""In the paper's order."""
