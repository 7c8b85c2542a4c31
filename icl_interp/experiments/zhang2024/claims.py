"""The claims of Zhang et al. (2024), and the numbers that would agree with them."""

import math
import operator
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from icl_interp.experiments.claims import Check, Stated, judge
from icl_interp.experiments.experiment import combine
from icl_interp.experiments.linear_risk import lsa_gap_bound, shifted_risk
from icl_interp.experiments.zhang2024.measures import BLOCK, DISTANCES, Reader, optimum
from icl_interp.experiments.zhang2024.setting import FIGURE_NORM, GPT2, N_DIMS, N_PAIRS, NOISE_STD, TABLE_ENTRIES

_NEAR = 0.02  # a trained model counts as at its optimum if its risk is within this share of it (our choice)
_WEIGHTS_NEAR = 0.05  # largest deviation of a weight from its optimality condition (our choice; b* has entries 1)
_NEAR_BAYES = 1.25  # largest ratio of excess risks, block over Bayes (our choice); <b*, x>, without examples, has 1.58
_ORDER_NEAR = 0.1  # how far the exponent of the gap along M may be from that of the exact gaps (our choice)
_LARGE_LENGTHS = (100, 300, 1000)  # M at which the limit is looked at
_LARGER = 2.0  # how many times larger counts as "significantly larger" in Table 1 (our choice)
_NEAR_ZERO = 0.05  # what counts as "around zero" in Table 1, in units of d, the error of answering <b*, x> (our choice)
_NO_GAP = 1e-6
ZERO, BETWEEN, LARGE = TABLE_ENTRIES
_THEORY = "the exact optimum, with our tolerance"
_EXACT = "Errors are exact expectations, computed by formula from the trained weights."
_READ_OUTS = ("", " pinned")


def named(kind: str) -> str:
    """Write out a kind of model, such as "GPT-2 without MLP, free read-out"."""
    if kind in ("ltb", "lsa"):
        return kind.upper()
    return f"GPT-2{' without MLP' if 'no MLP' in kind else ''}, {_end(kind)} read-out"


def _end(kind: str) -> str:
    return "pinned" if "pinned" in kind else "free"


def _key(kind: str) -> str:
    return kind.replace(" ", "-").lower()


def _near(key: str, label: str, values: tuple[float, ...], best: float) -> Check:
    return Check(key, label, values, best * (1 - _NEAR), best * (1 + _NEAR), _THEORY)


def _figure_1(read: Reader) -> Iterable[Check]:
    return [_near(kind, f"{kind.upper()} risk", read.risk("figure 1", kind), optimum(kind)) for kind in ("ltb", "lsa")]


def _gap(read: Reader) -> Iterator[Check]:
    points = [("figure 1", FIGURE_NORM, N_PAIRS)]
    points += [("norms", norm, N_PAIRS) for norm in read.sizes.norms if norm > 0]
    points += [("lengths", FIGURE_NORM, length) for length in read.sizes.lengths]
    for part, norm, n_pairs in points:
        label = f"risk of LSA - risk of LTB, |b*| = {norm:.3g}, M = {n_pairs}"
        bound = lsa_gap_bound(torch.tensor([norm]), n_pairs)
        yield Check(f"norm-{norm:.3g}.length-{n_pairs}", label, read.gap(part, norm, n_pairs), bound)


def _weights(read: Reader) -> Iterator[Check]:
    for key, name in zip(("gamma", "start", "v12", "preconditioner"), read.first(*BLOCK).weights, strict=True):
        errors = read.each(lambda found: found.weights[name], *BLOCK)  # noqa: B023  # called at once
        yield Check(key, name, errors, None, _WEIGHTS_NEAR, "our tolerance")


def _at_optimum(read: Reader, part: str, what: str, points: Sequence[tuple[float, int, str]]) -> Iterator[Check]:
    # Risk over the least risk, so that one tolerance serves all.
    for kind in ("ltb", "lsa"):
        for norm, n_pairs, at in points:
            best = optimum(kind, norm, n_pairs)
            shares = read.risk(part, kind, norm, n_pairs, unit=best)
            yield _near(f"{kind}.{at}", f"{kind.upper()} risk / its optimum {best:.4g}, {what} = {at}", shares, 1.0)


def _norms(read: Reader) -> Iterator[Check]:
    return _at_optimum(read, "norms", "|b*|", [(norm, N_PAIRS, f"{norm:.3g}") for norm in read.sizes.norms])


def _slope(lengths: Sequence[int], gaps: Sequence[float]) -> float:
    return float(np.polyfit(np.log(lengths), np.log(np.maximum(gaps, _NO_GAP)), 1)[0])


def _exact_slope(lengths: Sequence[int]) -> float:
    return _slope(lengths, [optimum("lsa", n_pairs=m) - optimum("ltb", n_pairs=m) for m in lengths])


def _lengths(read: Reader) -> Iterator[Check]:
    lengths = [*read.sizes.lengths, N_PAIRS]
    gaps = [*(read.gap("lengths", n_pairs=length) for length in lengths[:-1]), read.gap("figure 1")]
    slopes = combine(lambda *of_seed: _slope(lengths, of_seed), *gaps)
    exact = _exact_slope(lengths)
    reason = f"that of the exact gaps at these M is {exact:.3f} and tends to -1; our tolerance"
    yield Check("slope", "slope of log gap over log M", slopes, exact - _ORDER_NEAR, exact + _ORDER_NEAR, reason)
    label = f"the same of the exact gaps, M = {_LARGE_LENGTHS[0]} to {_LARGE_LENGTHS[-1]}, nothing trained"
    # No evidence of ours: equal for all seeds, and never judged.
    limit = (_exact_slope(_LARGE_LENGTHS),) * len(read.seeds)
    yield Check("limit", label, limit, reason="nothing trained, so not judged; theory tends to -1")
    yield from _at_optimum(read, "lengths", "M", [(FIGURE_NORM, m, str(m)) for m in read.sizes.lengths])


def _near_bayes(read: Reader) -> Iterator[Check]:
    risk, noise = read.risk("noise", "ltb"), NOISE_STD**2
    excess = combine(lambda value: (value - noise) / (read.bayes.value - noise), risk)
    yield _near("risk", "LTB risk", risk, optimum("ltb", noise_std=NOISE_STD))
    label = "excess risk of LTB / of centred ridge"
    yield Check("excess", label, excess, 1 - _NEAR, _NEAR_BAYES, "our constant")


def _without_a_part(read: Reader) -> Iterator[Check]:
    yield _near("no-skip", "LTB without the skip: risk", read.risk("ablation", "ltb no skip"), optimum("lsa"))
    yield _near("no-mlp", "LTB without the MLP: risk", read.risk("figure 1", "lsa"), optimum("lsa"))


def _moved_mean(read: Reader) -> Iterator[Check]:
    for far in DISTANCES:
        risks = read.each(lambda found: found.moved[far], *BLOCK)  # noqa: B023  # called at once
        yield _near(f"by-{far:g}", f"LTB risk, |delta| = {far:g}", risks, shifted_risk(N_DIMS, N_PAIRS, far))


def _mean(entry: float) -> str:
    return f"({entry:g}, ..., {entry:g})" if entry else "0"


def _learned(read: Reader, kind: str, entry: float) -> Check:
    # The answer <b*, x> has E[<w - b*, x>^2] = tr(H Psi) = d, whatever b*; around b* = 0 this is E[y^2].
    shares = read.in_table(kind, entry, unit=read.of.n_dims)
    label = f"b* = {_mean(entry)}, {named(kind)}: error / error of answering <b*, x>"
    return Check(f"{_key(kind)}.{entry:g}", label, shares, None, _NEAR_ZERO, "around zero; our threshold")


def _doublings(less: float, more: float) -> float:
    return math.log2(more) - math.log2(less) if min(less, more) > 0 else math.nan


def _worth(read: Reader, end: str, entry: float) -> Check:
    # What a missing MLP costs. A mean of ratios would be that of the smallest denominator, hence the logarithm.
    learned = _learned(read, f"gpt2{end}", entry)
    both = (read.in_table(f"gpt2{part}{end}", entry) for part in ("", " no MLP"))
    costs = combine(_doublings, *both)
    key = f"ratio{_key(end)}.{entry:g}"
    label = f"b* = {_mean(entry)}, {_end(end)} read-out: log2 of error without MLP / with MLP"
    # Two models that learned nothing have equal errors, which says nothing about MLPs.
    if judge(learned.interval, None, _NEAR_ZERO) != "agrees":
        found = f"error over that of answering <b*, x> up to {learned.interval.high:.3g}, needed at most {_NEAR_ZERO:g}"
        return Check(key, label, costs, reason=f"not judged: GPT-2 with MLP has not learned ({found})")
    return Check(key, label, costs, math.log2(_LARGER), None, f"a factor of {_LARGER:g}; our threshold")


def _gpt2(read: Reader) -> Iterator[Check]:
    for end in _READ_OUTS:
        yield from (_learned(read, f"gpt2{part}{end}", ZERO) for part in ("", " no MLP"))
    for end in _READ_OUTS:
        yield from (_learned(read, f"gpt2{end}", LARGE), _worth(read, end, LARGE))


def _nearer(read: Reader) -> Iterator[Check]:
    for end in _READ_OUTS:
        without = _learned(read, f"gpt2 no MLP{end}", BETWEEN)
        cost, at_zero = (_worth(read, end, entry) for entry in (BETWEEN, ZERO))
        yield _learned(read, f"gpt2{end}", BETWEEN)
        reason = "not judged by itself: its ratio to GPT-2 with MLP is"
        yield Check(without.key, without.label, without.values, reason=reason)
        yield cost
        unjudged = next((needed for needed in (cost, at_zero) if not needed.expects), None)
        low, reason = (None, unjudged.reason) if unjudged else (0.0, "beyond the factor around b* = 0; our choice")
        label = f"b* = {_mean(BETWEEN)}, {_end(end)} read-out: that logarithm, less the one around b* = 0"
        beyond = combine(operator.sub, cost.values, at_zero.values)
        yield Check(f"beyond-zero{_key(end)}", label, beyond, low, None, reason)


def _linear_analogue(read: Reader) -> Iterator[Check]:
    for entry in (ZERO, LARGE):
        for kind in ("ltb", "lsa"):
            best = optimum(kind, read.table_norm(entry), read.of.n_pairs, n_dims=read.of.n_dims)
            label = f"b* entries {entry:g}, {named(kind)}: risk / its optimum {best:.4g}"
            yield _near(f"{kind}.{entry:g}", label, read.in_table(kind, entry, unit=best), 1.0)
    ratios = combine(operator.truediv, read.in_table("lsa", LARGE), read.in_table("ltb", LARGE))
    yield Check(
        "ratio.10", "b* entries 10: risk of LSA / of LTB", ratios, _LARGER, None, "significantly larger; our threshold"
    )


def _cells(read: Reader) -> Iterator[Check]:
    for entry in TABLE_ENTRIES:
        for kind in (*GPT2, "ltb", "lsa"):
            label = f"b* entries {entry:g}, {named(kind)}: error"
            yield Check(f"{_key(kind)}.{entry:g}", label, read.in_table(kind, entry))


_TESTED = (
    "Networks with the same b* are tested on the same {eval_tasks:,} tasks. No interval covers the standard error of "
    "these tasks, up to {gpt2_error:.2g} % of an error."
)
_OF_GPT2 = (
    "Error of GPT-2 divided by d = {d}, the error of always answering <b*, x> without reading any example. A value of "
    "1 means that nothing was learned in context. {n_layers} layers, width {d_model}, M = {M}, {steps:,} steps; tested "
    f"in distribution. The cost of a missing MLP should be a factor of {_LARGER:g} or more; it is judged only where "
    f"GPT-2 with MLPs has learned. {_TESTED}"
)

CLAIMS: tuple[Stated[Reader], ...] = (
    Stated("optima", "Figure 1; Theorems 4.1 and 5.2",
           "Trained, the linear block reaches the optimum of one gradient step (risk 2.73); attention alone does not.",
           f"Mean squared error, d = M = 5, b* = (1, ..., 1), no noise. {_EXACT}", (_figure_1,)),
    Stated("gap", "Theorem 4.1",
           "Without an MLP, attention keeps an extra error of at least 2 |b*|² / (3 (M + 1)).",
           f"Difference between the errors of the two trained models. {_EXACT}", (_gap,)),
    Stated("weights", "Theorem 5.3",
           "The trained block's weights do one gradient step from b*, with preconditioner Gamma*, and nothing else.",
           "Largest deviation of the trained weights from each of the four conditions of the theorem.", (_weights,)),
    Stated("norms", "Theorems 4.1 and 5.2",
           "The block's risk does not depend on |b*|; that of attention alone grows with it.",
           f"Risk divided by the exact optimum at each |b*|; the optimum of LTB is the same for all. {_EXACT}",
           (_norms,)),
    Stated("lengths", "Theorem 4.1 and the remarks on it",
           "The gap shrinks like 1 / M for large M; attention alone is worse at every M.",
           "Exponent of the gap as a function of M, beside that of the exact gaps (far from -1 at such small M); and "
           "risk divided by the exact optimum at each M. The exponent at large M is theory alone and not judged. "
           f"{_EXACT}", (_lengths,)),
    Stated("near-bayes", "Section 6; Lemma 6.1",
           "With as much noise as signal, the block is Bayes optimal up to a constant factor.",
           "Excess risk of the block beside that of ridge centred at b*; d = M = 5, sigma² = tr(H Psi) = 5. The "
           f"paper's own experiments have no noise, where this cannot be seen. {_EXACT} The ridge's error is a mean "
           "over {ridge_tasks:,} tasks; no interval covers its standard error, {ridge_error:.2g} % of its excess risk.",
           (_near_bayes,)),
    Stated("skip-and-mlp", "Sections 4 and 5",
           "The block needs both MLP and skip; without one of them it is no better than attention alone.",
           f"Risk of blocks trained without one of the two, beside the optimum of attention alone. {_EXACT}",
           (_without_a_part,)),
    Stated("moved-mean", "A consequence of Theorem 5.3, derived by us",
           "The start is learned: if b* moves at test time, the block still starts from the old one.",
           f"Risk on tasks around b* + delta beside the closed form of the gradient step from b*. {_EXACT}",
           (_moved_mean,)),
    Stated("gpt2", "Table 1",
           "GPT-2 learns tasks around b* = 0 with and without MLPs, around b* = (10, ..., 10) only with them.",
           _OF_GPT2, (_gpt2,)),
    Stated("gpt2-nearer", "An extension of Table 1, by us",
           f"Around b* = {_mean(BETWEEN)}, missing MLPs multiply GPT-2's error by {_LARGER:g} or more, and by more "
           "than around 0.",
           f"{_OF_GPT2} Networks without MLPs have fewer weights and train differently, which may cost error for any "
           "b*. Therefore the logarithm of the factor is compared with that around b* = 0 (expected: a difference of 0 "
           "or more). Sizes were not matched.", (_nearer,)),
    Stated("linear-analogue", "Sections 4 and 5, on the tasks of Table 1",
           "Linear models show the same: the MLP matters around b* = (10, ..., 10) and not around 0.",
           f"LTB and LSA on GPT-2's tasks, d = {{d}}, M = {{M}}: risk divided by the exact optimum. {_EXACT}",
           (_linear_analogue,)),
    Stated("table-1-cells", "Table 1", "The errors of Table 1, and of linear models on the same tasks.",
           "Mean squared error. There is nothing to compare with: the paper's cells were not available to us, and "
           f"sizes differ. LTB and LSA: {_EXACT} GPT-2: {_TESTED}", (_cells,)),
)  # fmt: skip
"""In the paper's order."""
