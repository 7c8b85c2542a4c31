"""Zhang, Wu and Bartlett (2024), In-Context Learning of a Linear Transformer Block: setting, runs, claims.

Linear self-attention (LSA) can do one gradient step from 0; a linear transformer block (LTB: attention, skip and a
linear MLP) can learn to start from b*, the mean of all tasks.
"""

from icl_interp.experiments.experiment import Paper
from icl_interp.experiments.zhang2024.setting import Sizes

PAPER = Paper(
    "zhang2024", "In-Context Learning of a Linear Transformer Block", "Zhang, Wu, Bartlett (2024), arXiv 2402.14951"
)
UNKNOWNS = (
    "The paper states neither optimiser, learning rate, steps, initialisation nor test size of Figure 1. We train all "
    "weight matrices from N(0, 0.2²) by Adam at 1e-3 with a cosine to 0, 128 fresh tasks per step, gradients clipped "
    "at norm 10.",
    "The numeric cells of Table 1, its width, and whether GPT-2 kept its causal mask and positions: we take both, and "
    "the width of Garg et al.'s small model at the paper's size.",
    "How large GPT-2 has to be to learn the tasks around b* = 0 on a laptop; the size was chosen by these alone. Two "
    "layers of width 32 had errors of 0.08 to 0.22 d after 10,000 steps with d = 5 and M = 10 (three seeds). In the "
    "hardest cell, no MLP and a pinned read-out, they had a loss of 0.18 d half way through 20,000 steps with d = 3 "
    "and M = 6, and four layers with d = 3 and M = 12 one of 0.015 d after 6,000 (one seed each): these were taken.",
    "Between the columns of Table 1 we add b* = (3, ..., 3): GPT-2 with MLPs and a free read-out had 0.016, 0.012, "
    "0.017 and 0.038 d around entries of 1, 2, 3 and 5 (seed 0, which is judged as well; networks without MLPs were "
    "not looked at), so that the effect of MLPs can be judged there. "
    "The logarithm of the ratio and its comparison with b* = 0 were chosen after the ratios of three seeds had been "
    "seen. Linear models on the same tasks are trained for 60,000 steps: after 20,000 two LTB of three around "
    "(10, ..., 10) were beyond 2 % of their least risk (1.03 and 2.9 times), and that is why.",
    "Whether GPT-2's read-out was free: with a free one the residual stream alone can carry <b*, x> to the output, so "
    "both a free read-out and one that is pinned to the label's coordinate are run.",
    "The second bound of Theorem 4.1 is not implied by its proof as we read it; only 2 |b*|² / (3 (M + 1)) is tested.",
)


def setting(sizes: Sizes) -> tuple[str, ...]:
    of, n_linear = sizes.transformer, len(sizes.seeds)
    n_gpt2 = min(sizes.n_gpt2_seeds, n_linear)
    return (
        "Tasks: y = <w, x>, x ~ N(0, I), w ~ N(b*, I), M pairs and a query; d = M = 5 and b* = (1, ..., 1) unless said "
        "otherwise; no noise but in the noisy setting.",
        f"Linear models: {n_linear} {'seed' if n_linear == 1 else 'seeds'}; Figure 1 for {sizes.steps:,} steps, all "
        f"others for {sizes.sweep_steps:,}, on GPT-2's tasks for {of.linear_steps:,}; their errors are exact "
        "expectations, by formula.",
        f"GPT-2: {n_gpt2} {'seed' if n_gpt2 == 1 else 'seeds'}; {of.n_layers} layers, {of.n_heads} heads, width "
        f"{of.d_model}; d = {of.n_dims}, M = {of.n_pairs}; {of.steps:,} steps of {of.batch_size} tasks, Adam at "
        f"{of.lr:g} ({of.schedule}); tested on {of.eval_tasks:,}.",
    )
