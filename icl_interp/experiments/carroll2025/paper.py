"""Carroll, Hoogland, Farrugia-Roberts and Murfet (2025), Dynamics of Transient Structure: setting, runs, claims."""

from icl_interp.experiments.carroll2025.setting import Sizes
from icl_interp.experiments.experiment import Paper

PAPER = Paper(
    "carroll2025", "Dynamics of Transient Structure in In-Context Linear Regression Transformers",
    "Carroll, Hoogland, Farrugia-Roberts, Murfet (2025), arXiv 2501.17745",
)  # fmt: skip
UNKNOWNS = (
    "Optimiser, learning rate, batch size, seeds and the number of heads (appendix A was not available to us). At the "
    "paper's size we take those of the code that theirs descends from, with its doubled residual; at the laptop's size "
    "Adam at 3e-3 after a warm-up, constant, and a plain residual.",
    "The sampler's settings and error bars (appendix F was not available to us). We take nbeta = 66.7 of Hoogland et "
    "al. (2024) and, at the laptop's size, steps of 5e-4 and a localization of 66.7: with theirs, 6.67, chains of "
    "600 steps still drifted; on a network of M = 16 the estimate at 5e-4 and at 1e-3 agreed within 6 %, and 2e-3 "
    "was unstable. A stronger pull lowers every estimate (45 instead of 149 there): the "
    "order of estimates is compared, and the crossover is no more than its sign and order.",
    "The unit of the losses in the trade-off. Ours are mean squared errors; as log-likelihoods of a prompt they would "
    "be K / (2 sigma²) times larger (32 times at the laptop's size), and a crossing would need a gap in complexity "
    "that many times larger.",
    "All M of the sweep: half octaves up to 512 are known in part, and we take octaves above. Which M are few, which "
    "intermediate and which many at the laptop's size, in 4 dimensions instead of 8, is our choice.",
    "Whether distances are divided by the number of dimensions, the number of test prompts, and the smoothing of "
    "curves: we do not divide, take 2,048 prompts, and do not smooth.",
    "Weights of checkpoints in the joint principal components: ours count equal stretches of log(step + 1) alike, "
    "since the paper's checkpoints are mostly late ones.",
    "Why transience stops above the threshold, and whether the last network's complexity is that of the predictor it "
    "resembles: the paper leaves both open, and dynamics need not follow Bayesian selection at all.",
)


def setting(sizes: Sizes) -> tuple[str, ...]:
    recipe, pools = sizes.recipe, ", ".join(str(m) for m in sizes.pools)
    return (
        f"Tasks: y = <t, x> + noise of variance 1/8, x ~ N(0, I) in {recipe.model.n_dims} dimensions, "
        f"{recipe.task.default_points} pairs; t one of M = {pools} tasks, or from N(0, I). Pools are nested and the "
        "same for all seeds, so intervals are about training, not about the tasks.",
        "dMMSE is the best predictor where the M tasks are known, ridge where tasks follow N(0, I); q_M are prompts "
        "of a network's own M tasks (in distribution), q_inf prompts of fresh tasks.",
        f"Networks: {recipe.model.describe()}; {recipe.steps:,} steps of {recipe.batch_size} prompts, Adam at "
        f"{recipe.lr:g}; {len(recipe.checkpoint_steps):,} checkpoints.",
        f"Measured on {sizes.measured.n_prompts:,} prompts, the same for all checkpoints; joint principal components "
        f"on {sizes.measured.n_pca_prompts} prompts of the root task. Learning coefficients of the last checkpoints: "
        f"{sizes.llc.describe()}.",
    )
