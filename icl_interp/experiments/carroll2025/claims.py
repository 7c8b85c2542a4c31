"""What Carroll et al. (2025) claim, and what numbers would agree."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter, methodcaller, sub

from icl_interp.experiments.carroll2025.measures import Curve, Plane, Reader, Trained
from icl_interp.experiments.claims import ORDERED, Check, Row, Stated, rank_correlation, swap
from icl_interp.experiments.experiment import combine

_HALF_WAY = 0.5  # share of the way to ridge's loss on q_inf that tells "by way of ridge" from "straight" (ours)
_STAYS = 0.05  # a rise of less than this share of what was learned counts as none for M = infinity (ours)
_MATCHES = 1.1  # a network matches a predictor if its loss is at most so many times the predictor's (ours)
_CORRELATED = 0.5  # least size of a rank correlation over checkpoints that counts as one (ours)
_SAME_TIME = 1.0  # octaves of training steps within which two times agree (ours)
CROSSING = math.log10(math.e)  # free energies cross at more than e samples or not at all
_NEARER = "nearer is below 1; the paper's networks come much nearer"
_WAY = ": share of the way from dMMSE's to ridge's loss on q_inf that is ever reached"
_ENDS = ", end: distance to dMMSE / to ridge"
_CROSSING = ": log10 of n at the crossover"
_GROWS = "grows; least correlation ours; {swaps}"
_EQUAL = "equal; tolerance ours"

_Values = Callable[[Reader], Curve]


# Of the reader, for the M that is "low", "middle", "large" or "infinite".
_of, _beyond_noise, _crossing = (partial(methodcaller, name) for name in ("number", "beyond_noise", "log_crossovers"))


def _gap(name: str, which: str, other: str) -> _Values:
    return lambda read: combine(sub, read.number(name, which), read.number(name, other))


def _order(label: str, number: Callable[[Reader, int], Curve], reason: str = _GROWS) -> Row[Reader]:
    # Whether a number grows along the finite M.
    return Row("order", label, lambda read: read.along_pools(partial(number, read)), ORDERED, reason=reason,
               step=lambda read: swap(len(read.pools)))  # fmt: skip


def _planes(number: Callable[[Plane], float]) -> _Values:
    return lambda read: combine(number, read.planes)


def _landmarks(read: Reader) -> Curve:
    places = range(len(read.every))
    return combine(lambda plane: rank_correlation(places, [plane.landmarks[m][1] for m in read.every]), read.planes)


def _tracks(read: Reader) -> Curve:
    def with_ood(*runs: Trained) -> float:
        heights = [place[1] for run in runs for place in run.place]
        return rank_correlation([loss for run in runs for loss in run.ood], heights)

    return combine(with_ood, *(read.all(m) for m in read.pools))


def _network_gaps(read: Reader) -> Curve:
    # a network that is no better than ridge has no gap that could shrink.
    gaps = (read.number("ridge - loss", m) for m in ("large", "low"))
    return combine(lambda most, least: most / least if least > 0 else math.nan, *gaps)


def _other_rises(read: Reader) -> Iterator[Check]:
    for m in (m for m in read.pools if m not in read.sizes_of.values()):
        yield Check(f"rise.{m}", f"M = {m}: rise minus noise", read.beyond_noise(m))


def _t_crits(read: Reader) -> Iterator[Check]:
    for m in sorted({read.sizes.low, read.sizes.middle, read.sizes.large}):
        yield Check(f"t-crit.{m}", f"M = {m}: log2 of t_crit + 1", read.number("log2 t_crit", m))


def _thresholds(read: Reader) -> Iterator[Check]:
    least, most = (math.log2(m) for m in read.sizes.threshold)
    logs = combine(lambda m: math.log2(m or 1.0), read.thresholds())
    yield Check("threshold", "log2 of the threshold", logs, least, most, "between the M that are run", step=1.0)


CLAIMS: tuple[Stated[Reader], ...] = (
    Stated("low-diversity", "Section 4.3; Figure 1", "With few tasks a network goes straight to dMMSE.",
           "M = {low}: distances on q_M at the end; loss on q_inf along training beside those of dMMSE and ridge.", (
        Row("end", "M = {low}" + _ENDS, _of("end", "low"), high=1.0, reason=_NEARER),
        Row("way", "M = {low}" + _WAY, _of("way", "low"), high=_HALF_WAY, reason="straight; half way is ours"),
        Row("rise", "rise of the loss on q_inf, M = {low} minus M = {middle}", _gap("rise", "low", "middle"), high=0.0,
            reason="less transient than the middle M"),
    )),
    Stated("transient-ridge", "Section 4.3; Figure 1",
           "With an intermediate number of tasks a network first approaches ridge and then turns to dMMSE: its loss "
           "on fresh tasks falls and rises again.",
           "Rise: loss on q_inf at the end minus its least value, less the noise: the largest rise at any time of the "
           "run with M = infinity and the same seed.", (
        Row("rise", "M = {middle}: rise minus noise", _beyond_noise("middle"), 0.0,
            reason="beyond noise as we define it"),
        Row("way", "M = {middle}" + _WAY, _of("way", "middle"), _HALF_WAY, reason="by way of ridge; half way is ours"),
        Row("t-crit", "M = {middle}, t_crit: distance to dMMSE / to ridge", _of("at t_crit", "middle"), 1.0,
            reason="nearer it"),
        Row("end", "M = {middle}" + _ENDS, _of("end", "middle"), high=1.0, reason=_NEARER),
        _other_rises,
        Row("noise", "noise", _of("noise", "infinite")),
    )),
    Stated("stays-at-ridge", "Section 4.3; Figure 1", "With many tasks a network goes to ridge and stays there.",
           "M = {large} and M = infinity: loss on q_inf along {steps:,} steps; distances on q_M at the end. What has "
           "not turned by then may still turn.", (
        Row("rise", "M = {large}: rise minus noise", _beyond_noise("large"), high=0.0, reason="not beyond noise"),
        Row("end", "M = {large}" + _ENDS, _of("end", "large"), 1.0, reason="nearer ridge"),
        Row("infinite", "M = ∞: rise / all that was learned", _of("rise / learned", "infinite"), high=_STAYS,
            reason="no rise; tolerance ours"),
    )),
    Stated("t-crit", "Figure 1; Appendix B.2; the prediction of equation 8",
           "The more tasks there are, the later ridge is left: t_crit grows with M.",
           "t_crit is the checkpoint with the least loss on q_inf; the last one where that loss still falls at the "
           "end.", (
        _order("rank correlation of t_crit with M = {pools}", lambda read, m: read.number("log2 t_crit", m)),
        _t_crits,
    )),
    Stated("threshold", "Section 3.1 (after Raventós et al. 2023); Section 4.3",
           "There is a task-diversity threshold: below it networks end at dMMSE, above it at ridge.",
           "The largest M whose last network is nearer to dMMSE than to ridge on q_M; 1 where none is. A definition of "
           "ours: Raventós et al. compare two batch sizes.", (
        _thresholds,
        _order("rank correlation of distance to dMMSE / to ridge with M = {pools}",
               lambda read, m: read.number("end", m)),
    )),
    Stated("final-losses", "Figure 3, top",
           "Trained networks have the loss of dMMSE where M is small and of ridge where M is infinite.",
           "Loss of the last network on q_M over that of the predictor, on the same prompts.", (
        Row("low", "M = {low}: loss / dMMSE's", _of("loss / dMMSE's", "low"), high=_MATCHES, reason=_EQUAL),
        Row("infinite", "M = ∞: loss / ridge's", _of("loss / ridge's", "infinite"), high=_MATCHES, reason=_EQUAL),
        Row("middle", "M = {middle}: loss / dMMSE's", _of("loss / dMMSE's", "middle")),
        Row("large", "M = {large}: loss / ridge's", _of("loss / ridge's", "large")),
    )),
    Stated("trajectories", "Section 4.2; Figure 1, right",
           "In the plane of the first two joint principal components the second one leads from dMMSE, M growing, to "
           "ridge, and runs with transience turn around on it.",
           "Outputs on the same prompts of the root task, all M of a seed together; landmarks are projected, not "
           "fitted.", (
        Row("walks", "variance in two components / that of random walks with the same steps",
            _planes(lambda plane: sum(plane.explained) / sum(plane.null)), 1.0,
            reason="more than chance; the paper has no such control, as far as we know"),
        Row("landmarks", "rank correlation of PC2 of dMMSE with M, ridge last", _landmarks, ORDERED,
            reason="an axis; ours; {swaps_of_every}", step=lambda read: swap(len(read.every))),
        Row("loss", "rank correlation of PC2 with the loss on q_inf, over the checkpoints of all pools", _tracks,
            high=-_CORRELATED, reason="PC2 tracks it; ours"),
        Row("turn", "M = {middle}: octaves between the turn in PC2 and t_crit", _of("turn - t_crit", "middle"),
            high=_SAME_TIME, reason="the same time; tolerance ours"),
        Row("explained", "variance in two components (the paper's networks: 0.275)",
            _planes(lambda plane: sum(plane.explained))),
    )),
    Stated("complexity", "Figure 3, bottom",
           "The learning coefficient of trained networks rises with M and crosses that of M = infinity about where "
           "transience begins.", "Last networks; {llc}.", (
        Row("rises", "LLC, M = {middle} minus M = {low}", _gap("llc", "middle", "low"), 0.0, reason="rises with M"),
        Row("low", "LLC, M = {low} minus M = ∞", _gap("llc", "low", "infinite"), high=0.0, reason="simpler than ridge"),
        Row("middle", "LLC, M = {middle} minus M = ∞", _gap("llc", "middle", "infinite"), 0.0,
            reason="crossed by then"),
        Row("large", "LLC, M = {large} minus M = {middle}", _gap("llc", "large", "middle")),
        Row("flagged", "flagged estimates out of {every}", Reader.flagged),
    )),
    Stated("loss-gap", "Figure 3, top",
           "The gap between the losses of ridge and dMMSE shrinks as M grows, and so does that between ridge and the "
           "trained networks.",
           "Losses on q_M, on the same prompts; the ratio of the gap at M = {large} to that at M = {low}. For dMMSE "
           "over {lists} lists of tasks: that of the networks, and others that no network saw.", (
        Row("pools", "ridge's loss - dMMSE's, M = {large} / M = {low}: over pools, nothing trained",
            attrgetter("pool_gaps"), high=1.0, reason="shrinks"),
        Row("networks", "ridge's loss - the network's, M = {large} / M = {low}", _network_gaps, high=1.0,
            reason="shrinks; below 0 the network at the large M is worse than ridge"),
        Row("low", "M = {low}: ridge's loss - the network's", _of("ridge - loss", "low"), 0.0,
            reason="a gap that can shrink"),
        Row("large", "M = {large}: ridge's loss - the network's", _of("ridge - loss", "large")),
    )),
    Stated("crossover", "Equations 7 and 8; Figures 2 and 3",
           "Loss against complexity explains transience: for few tasks dMMSE is preferred at any n, for more tasks "
           "ridge is preferred first, and the longer the larger M.",
           "log n / n = (ridge's loss - dMMSE's) / (LLC of M - LLC of infinity), both losses mean squared errors on "
           "q_M; n is only an analogue of training time.", (
        Row("low", "M = {low}" + _CROSSING, _crossing("low"), high=0.0, reason="0: ridge is never preferred"),
        Row("middle", "M = {middle}" + _CROSSING, _crossing("middle"), CROSSING, reason="ridge first, dMMSE later"),
        _order("rank correlation of n at the crossover with M", Reader.log_crossovers,
               "later as M grows; ours; {swaps}"),
        Row("large", "M = {large}" + _CROSSING, _crossing("large")),
        Row("gap", "M = {middle}: ridge's loss - dMMSE's", _of("ridge - dMMSE", "middle")),
        Row("flagged", "flagged learning coefficients out of {every}", Reader.flagged),
    )),
)  # fmt: skip
"""Behaviour first, then trajectories, then what Bayesian model selection says."""
