"""Huang, Cheng and Liang (2024), In-Context Convergence of Transformers: setting, runs, claims.

One softmax attention layer is trained by gradient descent on linear tasks whose inputs are K orthonormal features. It
learns to attend to examples with the query's own feature. A dominant feature is learned first, rare ones in phases.
"""

from icl_interp.experiments.experiment import Paper
from icl_interp.experiments.huang2023.setting import DOMINANT_SHARE, LEARNING_RATE, Sizes

PAPER = Paper(
    "huang2023", "In-Context Convergence of Transformers", "Huang, Cheng, Liang (2024), arXiv 2310.05249",
    "The paper's text was not at hand: its theorems are taken from summaries of it.",
)  # fmt: skip
UNKNOWNS = (
    "The paper's text was not at hand: its theorems are taken from their summaries, and whether it has simulations is "
    "unknown. K, N, learning rate, steps and batch size are ours.",
    "The exact updates were derived from the loss; automatic differentiation agrees with them.",
    "The paper names the phases of a rare feature without numbers that we know. Our rule reads them from three curves: "
    "the first phase lasts while B_k1 falls faster than A_k grows, the second until A_k exceeds |B_k1|, the third "
    "until a query attends to its own feature by more than 0.5, the fourth until that is 0.9.",
    "How much faster A_k has to grow later than at first is not known to us. We first asked for a factor of 1.2. With "
    "many examples the exact updates give 4 K³ / (27 (K - 1)²), which is 1.16 for K = 5, so any increase is enough.",
    "The paper's bound on the times, K² log K / eta plus lower terms, is an upper one. It is judged as that, and the "
    "exponent that we measure stands beside it.",
)


def setting(sizes: Sizes) -> tuple[str, ...]:
    n, steps = len(sizes.seeds), ", ".join(f"{count:,} for K = {k}" for k, count in sizes.steps.items())
    return (
        f"Tasks: y = <w, x>, w ~ N(0, I), no noise; x is one of K orthonormal features; {sizes.n_examples} examples "
        "and a query.",
        f"Balanced: all features as likely; {steps} steps. Imbalanced: K = {sizes.imbalanced}, the first feature has "
        f"probability {DOMINANT_SHARE:g}; {sizes.imbalanced_steps:,} steps.",
        f"One merged softmax layer from Q = 0, gradient descent on half the squared error with eta = "
        f"{LEARNING_RATE:g}, {sizes.batch_size} fresh tasks per step; {n} seed{'' if n == 1 else 's'}.",
        "A_k = v_k^T Q v_k is the score of a feature v_k for itself, B_kn = v_n^T Q v_k that of feature n for a query "
        "of feature k.",
        f"Attention is averaged over {sizes.n_contexts} contexts; the exact updates take their expectation over as "
        "many.",
    )
