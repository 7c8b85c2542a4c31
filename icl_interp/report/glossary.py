"""The words of reports, each defined once: pages link to a term at its first use per chapter, and the docs list all."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A word of ours and what it means."""

    name: str
    """As the text has it."""
    meaning: str
    """One or two sentences; it continues the name, so it begins with a small letter."""
    forms: tuple[str, ...] = ()
    """Other forms that are the same word, plurals above all."""

    @property
    def anchor(self) -> str:
        """Where the definition stands on a page."""
        return f"term--{self.name.lower().replace(' ', '-').replace('²', '2').replace('[', '-').replace(']', '-')}"


GLOSSARY = (
    Term("prompt", "a sequence of examples of one task, and a query.", ("prompts",)),
    Term("example", "one pair (x, y) of a prompt: an input and its label.", ("examples",)),
    Term("query", "the input whose label is to be predicted.", ("queries",)),
    Term("position", "one token slot of the sequence that the network reads.", ("positions",)),
    Term(
        "task family",
        "a distribution of prompts: which inputs, which tasks, how much label noise.",
        ("task families",),
    ),
    Term("in distribution", "drawn from the task family on which the model was trained, or is said to be."),
    Term("shift", "a task family that differs from the training one in one respect, such as x_scale=3: inputs "
         "multiplied by 3.", ("shifts", "shifted")),
    Term("E[y²]", "mean squared label of a task family. Errors are divided by it: predicting zero has error 1."),
    Term(
        "late error",
        "mean squared error of the predictions that have at least d examples before them (d: dimension of x), divided "
        "by E[y²].",
        ("late errors",),
    ),
    Term(
        "reference predictor",
        "a known algorithm that is given the same prompts: least squares, ridge, Bayes, steps of gradient descent, ...",
        ("reference predictors", "best reference"),
    ),
    Term("Bayes", "the reference predictor that knows the training distribution and makes the best use of it."),
    Term("dMMSE", "the best predictor for somebody who knows the pool of training tasks by heart."),
    Term("gap to the best reference", "late error minus that of the reference predictor with the least late error."),
    Term("gap to least squares", "late error minus that of least squares, on the same prompts."),
    Term(
        "falls short",
        "has a gap to the best reference above 0.05 over the whole 95 % interval.",
        ("fall short",),
    ),
    Term(
        "untrained control",
        "the same measurement on freshly initialised networks of the same architecture, which have learned nothing.",
        ("untrained controls", "untrained networks", "untrained network"),
    ),
    Term(
        "excess over control",
        "measured value minus the mean of the untrained controls. Its interval covers the spread over untrained "
        "networks and the choice of prompts.",
    ),
    Term(
        "smallest detectable effect",
        "the excess over control that this study would have found with 80 % power, that is in 8 of 10 cases.",
        ("80 % power",),
    ),
    Term("evidence",
        "verdict where the whole interval of the excess over control is above 0 and the value is above chance; in the "
        "atlas where hardly any untrained network is as far from the others.",
    ),
    Term("opposite",
        "verdict where the whole interval of the excess over control is below 0; in the atlas as for evidence, below.",
    ),
    Term(
        "negligible",
        "verdict where the whole interval is within the smallest effect of interest: 0.05 of an overlap, an AUROC or a "
        "share of error, 0.1 of a correlation.",
    ),
    Term("inconclusive", "verdict in all other cases: an effect may be there or not."),
    Term("not applicable", "verdict where the question cannot be asked; the reason is given."),
    Term(
        "site",
        "a place in the residual stream: at the read-in, after a block, or after the final norm.",
        ("sites",),
    ),
    Term("read-in", "the site before the first block: the embedding of each token, which has seen no other token."),
    Term("x tokens", "the positions that hold an input x and at which the network predicts its label."),
    Term(
        "singular value",
        "of one prompt's activations at a site, a matrix [position, width]: how much of it lies along a direction.",
        ("singular values",),
    ),
    Term(
        "signature",
        "the top-k singular directions that prompts of one distribution share at one site.",
        ("signatures",),
    ),
    Term(
        "atlas",
        "the signature at every site and under every shift, the model beside untrained networks; all its cells are "
        "judged together, by ranks.",
    ),
    Term(
        "leave the signature",
        "have a smaller overlap with the signature than prompts in distribution; above an AUROC of 0.5 this "
        "holds in more than half of all pairs of a shifted prompt and one in distribution.",
    ),
    Term(
        "overlap",
        "share of a prompt's top-k subspace that lies in the signature, from 0 to 1.",
        ("overlaps",),
    ),
    Term(
        "loading",
        "how much of a direction lies on one dimension of the residual stream or on one position of a prompt; it has a "
        "sign.",
        ("loadings",),
    ),
    Term("ROC curve", "share of shifted prompts that a score flags, against the share of prompts in distribution that "
         "it flags too, over all thresholds.", ("ROC curves",)),
    Term(
        "AUROC",
        "probability that a shifted prompt has a larger score than one in distribution: 0.5 is chance, 1 tells all "
        "apart.",
    ),
    Term("norms alone", "a detector that reads no network: how unusual the sizes of a prompt's inputs and labels are."),
    Term("attention pattern", "the share of attention that a head pays from each position to each other position.",
         ("attention patterns",)),
    Term("lens map", "the error of a linear read-out at each site after each number of examples.", ("lens maps",)),
    Term("induced weights", "the linear map from query to prediction that a model carries out after some examples, "
         "fitted to its answers to fresh queries."),
    Term("read-out", "a linear map from a site to the label, fitted by us; a probe whose target is the label.",
         ("read-outs",)),
    Term(
        "direct contribution",
        "what a head or MLP adds to the answer through the residual stream, the final norm and the read-out, with "
        "nothing read in between.",
        ("direct contributions",),
    ),
    Term("patching", "putting activations of one prompt into a pass on another, at one site and some positions.",
         ("patched",)),
    Term("QK", "of a head: its query and key weights multiplied; they say what it compares."),
    Term("OV", "of a head: its value and output weights multiplied; they say what it writes from a token that it "
         "attends to."),
    Term("preconditioner", "the matrix that a gradient is multiplied by before a step is taken."),
    Term("linear probe", "a ridge regression from a site to a quantity, scored on prompts that were held out.",
         ("linear probes", "ridge probe")),
    Term("decodable", "a linear probe can read it. That does not mean used: removing it may change no prediction."),
    Term("R²", "share of a target's variance that a prediction explains: 1 is perfect, 0 no better than the mean."),
    Term("partial R²", "share of what all other references leave unexplained that this one explains."),
    Term(
        "selectivity",
        "R² minus that of the best control: shuffled targets, a control task, the embedding layer, untrained networks.",
    ),
    Term("SimE", "similarity of errors: mean cosine between the errors of two predictors on the same prompts."),
    Term("CKA", "similarity of two sets of activations, blind to rotation and scale: 1 is equal, about 0 unrelated."),
    Term("learning coefficient", "complexity of a network for its loss: how fast the set of equally good weights "
         "shrinks; estimated by sampling near the trained weights.", ("learning coefficients",)),
    Term("GD-beta", "the reference predictor that takes one gradient step from a learned start, by a learned "
         "preconditioner; both are the best ones for the training distribution."),
    Term("GD-0", "the reference predictor that takes one gradient step from zero, by a learned preconditioner."),
    Term("t_crit", "the checkpoint with the least loss on fresh tasks."),
    Term("transience", "rise of the loss on fresh tasks after t_crit."),
)  # fmt: skip
"""In the order in which a reader needs them."""

_OF_STUDIES = ("evidence", "opposite", "negligible", "inconclusive", "not applicable")
OF_PAPERS = (Term("inconclusive", "verdict on a claim where fewer than half of the checks are decided."),)
"""Words that mean something else on the page of a paper."""
PAPER_GLOSSARY = (*(term for term in GLOSSARY if term.name not in _OF_STUDIES), *OF_PAPERS)
