"""Hill, Eyre and Creager (2025), Transformers Don't In-Context Learn Least Squares Regression: setting and claims."""

from icl_interp.experiments.experiment import Paper
from icl_interp.experiments.hill2025.setting import Sizes, plan

PAPER = Paper(
    "hill2025", "Transformers Don't In-Context Learn Least Squares Regression",
    "Hill, Eyre, Creager (2025), arXiv 2507.09440",
)  # fmt: skip
UNKNOWNS = (
    "Only the abstract was available to us: the metric's formula, its correlation and units, the training "
    "distributions, the shifts and every headline number are unknown. All thresholds are ours.",
    "Training distributions: isotropic, weights or inputs in the first half of the coordinates, and for "
    "“scale-restricted” data inputs uniform on a cube with unit variance, our reading of one word; and, beyond the "
    "abstract, isotropic with noise of standard deviation 0.5 on the labels.",
    "Which matrix has the singular vectors, one prompt's positions or many prompts at one token; at which layer and "
    "tokens, centred or not, left or right, before or after the final norm; and whether prompts are compared with what "
    "they share or pair by pair: the table of conventions has them all. Default: one prompt's positions, all tokens, "
    "uncentred, right vectors, after the last block, against what prompts in distribution share.",
    "How large a network, and how long to train: at the laptop's size nothing but the error in distribution decided. "
    "On isotropic prompts three layers of width 64 were 0.103 E[y²] beyond least squares after d examples with 6,000 "
    "steps (one network), 0.081 with 10,000 (mean of three; 0.072 with inputs on a cube) and 0.064 with 20,000 (one), "
    "and up to 0.05 counts as learned. Six layers of width 32, which take about as long a step, had 0.046 with 6,000 "
    "(one); they were taken, with 10,000 where prompts fill all dimensions.",
    "Whether the paper compares with untrained networks or with norms: we do, since untrained networks share leading "
    "directions too.",
    "What “43 %” and “10 %” of a summary of the paper mean; no reading is taken as a target.",
)


def setting(sizes: Sizes) -> tuple[str, ...]:
    config = next(iter(plan(sizes).values()))
    network = config.model
    return (
        f"Tasks: y = <w, x> in {sizes.n_dims} dimensions, {2 * sizes.n_dims + 1} points per prompt, E|x|² = E|w|² = d; "
        "five training distributions, one of them with noise on the labels.",
        f"Models: GPT-2 decoders of {network.n_layers} layers, {network.n_heads} heads, width {network.d_model}; "
        f"{sizes.steps:,} steps of {config.batch_size} fresh prompts ({sizes.full_steps:,} where prompts fill all "
        f"dimensions), Adam at {config.lr:g} ({config.schedule}); {len(sizes.seeds)} seeds per training distribution.",
        f"Measured on {sizes.n_prompts} prompts per family, drawn anew for each seed, beside {sizes.n_controls} "
        "untrained networks per model.",
    )
