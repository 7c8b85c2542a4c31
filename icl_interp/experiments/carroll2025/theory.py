"""Claims of Carroll et al. (2025) on trajectories, and on loss against complexity."""

import math

from icl_interp.experiments.carroll2025.measures import Plane, Trained
from icl_interp.experiments.carroll2025.reader import ORDERED, Reader, rank_correlation, swaps, t_crit_index, turn_index
from icl_interp.experiments.carroll2025.setting import INFINITE
from icl_interp.experiments.claims import Check, Claim

__all__ = ["complexity", "crossovers", "loss_gap", "trajectories"]

_CORRELATED = 0.5
"""Least size of a rank correlation over checkpoints that counts as one (ours)."""
_SAME_TIME = 1.0
"""Octaves of training steps within which two times agree (ours)."""
_CROSSING = math.log10(math.e)
"""Free energies cross at more than e samples or not at all."""


def trajectories(read: Reader) -> Claim:
    """Judge the joint principal components."""
    planes, m = list(read.found.planes.values()), read.sizes.middle
    return Claim(
        "trajectories",
        "In the plane of the first two joint principal components the second one leads from dMMSE, M growing, to "
        "ridge, and runs with transience turn around on it.",
        "Section 4.2; Figure 1, right",
        "Outputs on the same prompts of the root task, all M of a seed together; landmarks are projected, not fitted.",
        (
            Check(
                "variance in two components / that of random walks with the same steps",
                tuple(sum(plane.explained) / sum(plane.null) for plane in planes), 1.0, None,
                "more than chance; the paper has no such control, as far as we know",
            ),
            Check(
                "rank correlation of PC2 of dMMSE with M, ridge last",
                tuple(_landmark_order(plane, read.sizes.pools) for plane in planes), ORDERED, None,
                f"an axis; ours; {swaps(len(read.sizes.pools) + 1)}",
            ),
            Check(
                "rank correlation of PC2 with the loss on q_inf, over the checkpoints of all pools",
                tuple(_with_ood(read, seed) for seed in read.sizes.seeds), None, -_CORRELATED, "PC2 tracks it; ours",
            ),
            Check(
                f"M = {m}: octaves between the turn in PC2 and t_crit", read.each(m, _octaves), None, _SAME_TIME,
                "the same time; tolerance ours",
            ),
            Check(
                "variance in two components (the paper's networks: 0.275)",
                tuple(sum(plane.explained) for plane in planes),
            ),
        ),
    )  # fmt: skip


def _landmark_order(plane: Plane, pools: tuple[int, ...]) -> float:
    heights = [plane.landmarks[m][1] for m in (*pools, INFINITE)]
    return rank_correlation(range(len(heights)), heights)


def _with_ood(read: Reader, seed: int) -> float:
    runs = [read.run(m, seed) for m in read.sizes.pools]
    heights = [place[1] for run in runs for place in run.place]
    return rank_correlation([loss for run in runs for loss in run.ood], heights)


def _octaves(run: Trained) -> float:
    turn, crit = run.steps[turn_index(run)], run.steps[t_crit_index(run)]
    return abs(math.log2((turn + 1) / (crit + 1)))


def complexity(read: Reader) -> Claim:
    """Judge the learning coefficients."""
    low, middle, large = read.sizes.low, read.sizes.middle, read.sizes.large
    flagged = tuple(float(_flagged(read, seed)) for seed in read.sizes.seeds)
    checks = [Check(f"flagged estimates out of {len(read.sizes.pools) + 1}", flagged)]
    if read.sampled_seeds():
        checks = [
            Check(f"LLC, M = {middle} minus M = {low}", read.llc_gaps(middle, low), 0.0, None, "rises with M"),
            Check(f"LLC, M = {low} minus M = ∞", read.llc_gaps(low, INFINITE), None, 0.0, "simpler than ridge"),
            Check(f"LLC, M = {middle} minus M = ∞", read.llc_gaps(middle, INFINITE), 0.0, None, "crossed by then"),
            Check(f"LLC, M = {large} minus M = {middle}", read.llc_gaps(large, middle)),
            *checks,
        ]
    return Claim(
        "complexity",
        "The learning coefficient of trained networks rises with M and crosses that of M = infinity about where "
        "transience begins.",
        "Figure 3, bottom",
        f"Last networks; {read.sizes.llc.describe()}.",
        tuple(checks),
    )


def _flagged(read: Reader, seed: int) -> int:
    return sum(bool(read.run(m, seed).llc_flags) for m in (*read.sizes.pools, INFINITE))


def loss_gap(read: Reader) -> Claim:
    """Judge the losses that the trade-off starts from."""
    low, large = read.sizes.low, read.sizes.large
    gaps = {m: read.each(m, _below_ridge) for m in (low, large)}
    networks = []
    left_out = f" A network of M = {low} is no better than ridge, so that its ratio is undefined and left out."
    if min(gaps[low]) > 0.0:
        ratios = tuple(most / least for most, least in zip(gaps[large], gaps[low], strict=True))
        label, left_out = f"ridge's loss - the network's, M = {large} / M = {low}", ""
        networks = [Check(label, ratios, None, 1.0, "shrinks; below 0 the network at the large M is worse than ridge")]
    return Claim(
        "loss-gap",
        "The gap between the losses of ridge and dMMSE shrinks as M grows, and so does that between ridge and the "
        "trained networks.",
        "Figure 3, top",
        f"Losses on q_M, on the same prompts; the ratio of the gap at M = {large} to that at M = {low}. For dMMSE over "
        f"{len(read.found.pool_gaps)} lists of tasks: that of the networks, and others that no network saw." + left_out,
        (
            Check(
                f"ridge's loss - dMMSE's, M = {large} / M = {low}: over pools, nothing trained", read.found.pool_gaps,
                None, 1.0, "shrinks",
            ),
            *networks,
            Check(f"M = {low}: ridge's loss - the network's", gaps[low], 0.0, None, "a gap that can shrink"),
            Check(f"M = {large}: ridge's loss - the network's", gaps[large]),
        ),
    )  # fmt: skip


def _below_ridge(run: Trained) -> float:
    return run.own_of.ridge - run.own[-1]


def crossovers(read: Reader) -> Claim:
    """Judge what Bayesian selection predicts from losses and learning coefficients."""
    pools, seeds = read.sizes.pools, read.sampled_seeds()
    logs = {seed: dict(zip(pools, read.log_crossovers(seed), strict=True)) for seed in seeds}
    low, middle, large = read.sizes.low, read.sizes.middle, read.sizes.large
    checks = [
        Check(f"M = {middle}: ridge's loss - dMMSE's", read.each(middle, lambda r: r.own_of.ridge - r.own_of.dmmse))
    ]
    if seeds:
        at = {m: tuple(by_pool[m] for by_pool in logs.values()) for m in (low, middle, large)}
        order = tuple(rank_correlation(pools, list(by_pool.values())) for by_pool in logs.values())
        checks = [
            Check(f"M = {low}: log10 of n at the crossover", at[low], None, 0.0, "0: ridge is never preferred"),
            Check(
                f"M = {middle}: log10 of n at the crossover", at[middle], _CROSSING, None, "ridge first, dMMSE later"
            ),
            Check(
                "rank correlation of n at the crossover with M",
                order,
                ORDERED,
                None,
                f"later as M grows; ours; {swaps(len(pools))}",
            ),
            Check(f"M = {large}: log10 of n at the crossover", at[large]),
            *checks,
            Check(
                f"flagged learning coefficients out of {len(pools) + 1}", tuple(float(_flagged(read, s)) for s in seeds)
            ),
        ]
    return Claim(
        "crossover",
        "Loss against complexity explains transience: for few tasks dMMSE is preferred at any n, for more tasks ridge "
        "is preferred first, and the longer the larger M.",
        "Equations 7 and 8; Figures 2 and 3",
        "log n / n = (ridge's loss - dMMSE's) / (LLC of M - LLC of infinity), both losses mean squared errors on q_M; "
        "n is only an analogue of training time.",
        tuple(checks),
    )
