"""What Carroll et al. (2025) claim about behaviour, and what numbers would agree; the rest is in theory.py."""

import math

from icl_interp.experiments.carroll2025.measures import Measures, Trained
from icl_interp.experiments.carroll2025.reader import ORDERED, Reader, dip_share, rise, swaps, t_crit_index
from icl_interp.experiments.carroll2025.setting import INFINITE, Sizes
from icl_interp.experiments.carroll2025.theory import complexity, crossovers, loss_gap, trajectories
from icl_interp.experiments.claims import Check, Claim

__all__ = ["CLAIM_KEYS", "claims"]

CLAIM_KEYS = (
    "low-diversity", "transient-ridge", "stays-at-ridge", "t-crit", "threshold", "final-losses", "trajectories",
    "complexity", "loss-gap", "crossover",
)  # fmt: skip
"""Of all claims, at every size."""

_HALF_WAY = 0.5
"""Share of the way from dMMSE's loss on q_inf to ridge's that tells "by way of ridge" from "straight" (ours)."""
_STAYS = 0.05
"""A rise of less than this share of what was learned counts as none for M = infinity (ours)."""
_MATCHES = 1.1
"""A network matches a predictor if its loss is at most so many times the predictor's (ours)."""
_NEARER = "nearer is below 1; the paper's networks come much nearer"


def claims(found: Measures, sizes: Sizes) -> tuple[Claim, ...]:
    """Judge all claims of the paper."""
    read = Reader(found, sizes)
    return (
        _low(read),
        _transient(read),
        _stays(read),
        _later(read),
        _threshold(read),
        _losses(read),
        trajectories(read),
        complexity(read),
        loss_gap(read),
        crossovers(read),
    )


def _end_ratio(run: Trained) -> float:
    return run.to_dmmse[-1] / run.to_ridge[-1]


def _crit_ratio(run: Trained) -> float:
    at = t_crit_index(run)
    return run.to_dmmse[at] / run.to_ridge[at]


def _log_t_crit(run: Trained) -> float:
    return math.log2(run.steps[t_crit_index(run)] + 1)


def _low(read: Reader) -> Claim:
    m, middle = read.sizes.low, read.sizes.middle
    rises = zip(read.each(m, rise), read.each(middle, rise), strict=True)
    return Claim(
        "low-diversity",
        "With few tasks a network goes straight to dMMSE.",
        "Section 4.3; Figure 1",
        f"M = {m}: distances on q_M at the end; loss on q_inf along training beside those of dMMSE and ridge.",
        (
            Check(f"M = {m}, end: distance to dMMSE / to ridge", read.each(m, _end_ratio), None, 1.0, _NEARER),
            Check(
                f"M = {m}: share of the way from dMMSE's to ridge's loss on q_inf that is ever reached",
                read.each(m, dip_share), None, _HALF_WAY, "straight; half way is ours",
            ),
            Check(
                f"rise of the loss on q_inf, M = {m} minus M = {middle}",
                tuple(low - mid for low, mid in rises), None, 0.0, "less transient than the middle M",
            ),
        ),
    )  # fmt: skip


def _transient(read: Reader) -> Claim:
    m = read.sizes.middle
    others = [other for other in read.sizes.pools if other not in (read.sizes.low, m, read.sizes.large)]
    return Claim(
        "transient-ridge",
        "With an intermediate number of tasks a network first approaches ridge and then turns to dMMSE: its loss on "
        "fresh tasks falls and rises again.",
        "Section 4.3; Figure 1",
        "Rise: loss on q_inf at the end minus its least value, less the noise: the largest rise at any time of the run "
        "with M = infinity and the same seed.",
        (
            Check(f"M = {m}: rise minus noise", _beyond_noise(read, m), 0.0, None, "beyond noise as we define it"),
            Check(
                f"M = {m}: share of the way from dMMSE's to ridge's loss on q_inf that is ever reached",
                read.each(m, dip_share), _HALF_WAY, None, "by way of ridge; half way is ours",
            ),
            Check(f"M = {m}, t_crit: distance to dMMSE / to ridge", read.each(m, _crit_ratio), 1.0, None, "nearer it"),
            Check(f"M = {m}, end: distance to dMMSE / to ridge", read.each(m, _end_ratio), None, 1.0, _NEARER),
            *(Check(f"M = {other}: rise minus noise", _beyond_noise(read, other)) for other in others),
            Check("noise", read.noise()),
        ),
    )  # fmt: skip


def _beyond_noise(read: Reader, n_tasks: int) -> tuple[float, ...]:
    return tuple(up - noise for up, noise in zip(read.each(n_tasks, rise), read.noise(), strict=True))


def _stays(read: Reader) -> Claim:
    m = read.sizes.large
    learned = read.each(INFINITE, lambda run: rise(run) / (run.ood[0] - min(run.ood)))
    return Claim(
        "stays-at-ridge",
        "With many tasks a network goes to ridge and stays there.",
        "Section 4.3; Figure 1",
        f"M = {m} and M = infinity: loss on q_inf along {read.sizes.recipe.steps:,} steps; distances on q_M at the "
        "end. What has not turned by then may still turn.",
        (
            Check(f"M = {m}: rise minus noise", _beyond_noise(read, m), None, 0.0, "not beyond noise"),
            Check(f"M = {m}, end: distance to dMMSE / to ridge", read.each(m, _end_ratio), 1.0, None, "nearer ridge"),
            Check("M = ∞: rise / all that was learned", learned, None, _STAYS, "no rise; tolerance ours"),
        ),
    )


def _later(read: Reader) -> Claim:
    pools = read.sizes.pools
    return Claim(
        "t-crit",
        "The more tasks there are, the later ridge is left: t_crit grows with M.",
        "Figure 1; Appendix B.2; the prediction of equation 8",
        "t_crit is the checkpoint with the least loss on q_inf; the last one where that loss still falls at the end.",
        (
            Check(
                f"rank correlation of t_crit with M = {_list(pools)}", read.along_pools(_log_t_crit), ORDERED, None,
                f"grows; least correlation ours; {swaps(len(pools))}",
            ),
            *(Check(f"M = {m}: log2 of t_crit + 1", read.each(m, _log_t_crit)) for m in _few(read)),
        ),
    )  # fmt: skip


def _threshold(read: Reader) -> Claim:
    least, most = read.sizes.threshold
    return Claim(
        "threshold",
        "There is a task-diversity threshold: below it networks end at dMMSE, above it at ridge.",
        "Section 3.1 (after Raventós et al. 2023); Section 4.3",
        "The largest M whose last network is nearer to dMMSE than to ridge on q_M; 1 where none is. A definition of "
        "ours: Raventós et al. compare two batch sizes.",
        (
            Check(
                "log2 of the threshold", tuple(math.log2(max(1.0, m)) for m in read.thresholds()), math.log2(least),
                math.log2(most), "between the M that are run",
            ),
            Check(
                f"rank correlation of distance to dMMSE / to ridge with M = {_list(read.sizes.pools)}",
                read.along_pools(_end_ratio), ORDERED, None,
                f"grows; least correlation ours; {swaps(len(read.sizes.pools))}",
            ),
        ),
    )  # fmt: skip


def _losses(read: Reader) -> Claim:
    low, middle, large = read.sizes.low, read.sizes.middle, read.sizes.large
    return Claim(
        "final-losses",
        "Trained networks have the loss of dMMSE where M is small and of ridge where M is infinite.",
        "Figure 3, top",
        "Loss of the last network on q_M over that of the predictor, on the same prompts.",
        (
            Check(f"M = {low}: loss / dMMSE's", read.each(low, _over_dmmse), None, _MATCHES, "equal; tolerance ours"),
            Check("M = ∞: loss / ridge's", read.each(INFINITE, _over_ridge), None, _MATCHES, "equal; tolerance ours"),
            Check(f"M = {middle}: loss / dMMSE's", read.each(middle, _over_dmmse)),
            Check(f"M = {large}: loss / ridge's", read.each(large, _over_ridge)),
        ),
    )


def _over_dmmse(run: Trained) -> float:
    return run.own[-1] / run.own_of.dmmse


def _over_ridge(run: Trained) -> float:
    return run.own[-1] / run.own_of.ridge


def _few(read: Reader) -> list[int]:
    return sorted({read.sizes.low, read.sizes.middle, read.sizes.large})


def _list(pools: tuple[int, ...]) -> str:
    return ", ".join(str(m) for m in pools) if len(pools) <= 6 else f"{pools[0]} to {pools[-1]}"
