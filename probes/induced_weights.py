"""Which linear map from query to prediction does a predictor apply after some examples, if any?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.callees import Callee, ask, check_prompts, resolve_points
from probes._core.errors import InputError
from probes._core.results import in_dtype

__all__ = ["InducedWeights", "fresh_query_predictions", "induced_weights"]


@dataclass(frozen=True, eq=False, repr=False)
class InducedWeights:
    """The least-squares fit to a predictor's answers to fresh queries, by prompt and entry."""

    weights: Float[Tensor, "batch point dim"]
    """Label units per input unit."""
    intercepts: Float[Tensor, "batch point"]
    """Label units; zero where none was fitted."""
    r2: Float[Tensor, "batch point"]
    """Share of the answers' variance over queries that is linear, at most 1; NaN where answers do not vary."""
    points: tuple[int, ...]
    """The entries: how many examples came before the query."""
    n_queries: int
    """Fresh queries per prompt and entry."""

    def __repr__(self) -> str:
        r2 = float(self.r2.nanmean())
        return f"InducedWeights(r2={r2:.3f}, n_points={len(self.points)}, n_queries={self.n_queries})"


@takes_arrays
def fresh_query_predictions(
    f: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    queries: Float[Tensor, "batch query dim"],
    *,
    points: Sequence[int] | None = None,
    batch_size: int = 4096,
) -> Float[Tensor, "batch query asked"]:
    """Ask a predictor at fresh queries after the examples before each entry.

    Formula: entry k answers f to the examples before k and then query q, which replaces xs[:, k]; its label is
    put as 0, which no predictor may read, and what came after k is dropped.

    Args:
        f: A model or a predictor, called f(xs, ys, points=[-1]).
        xs: Inputs.
        ys: Labels.
        queries: Fresh inputs for each prompt, drawn like xs unless a shift of the query is meant.
        points: Entries k; None takes all.
        batch_size: Sequences per call.

    Returns:
        Predictions in label units, without gradients.

    Raises:
        InputError: If a point does not exist, or f answers another shape.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.1 (extra unlabelled inputs).

    Example:
        >>> def copy_last(xs, ys, *, points=None):
        ...     return torch.cat([torch.zeros_like(ys[:, :1]), ys[:, :-1]], dim=1)[:, points]
        >>> xs, ys = torch.randn(2, 3, 4), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
        >>> answers = fresh_query_predictions(copy_last, xs, ys, torch.randn(2, 7, 4), points=[2])
        >>> torch.testing.assert_close(answers[:, :, 0], ys[:, 1:2].expand(2, 7))
    """
    who = "fresh_query_predictions"
    check_prompts(who, xs, ys)
    checks.activations(who, "queries", queries, "batch query dim")
    checks.same_length(who, ("prompts", "sets of queries"), len(xs), len(queries))
    checks.same_length(who, ("dimensions of xs", "of queries"), xs.shape[2], queries.shape[2])
    checks.count(who, "a batch_size", batch_size, 1)
    n_queries = queries.shape[1]
    answers = []
    for k in resolve_points(who, points, xs.shape[1]):
        context = repeat(xs[:, :k], "batch pair dim -> (batch query) pair dim", query=n_queries)
        labels = repeat(ys[:, :k], "batch pair -> (batch query) pair", query=n_queries)
        asked = torch.cat([context, rearrange(queries, "batch query dim -> (batch query) 1 dim")], dim=1)
        labels = torch.cat([labels, torch.zeros_like(asked[:, :1, 0])], dim=1)
        with torch.no_grad():
            parts = zip(torch.split(asked, batch_size), torch.split(labels, batch_size), strict=True)
            said = torch.cat([ask(who, f, x, y, [-1]) for x, y in parts])
        answers.append(rearrange(said, "(batch query) 1 -> batch query", query=n_queries))
    return torch.stack(answers, dim=2)


@takes_arrays
def induced_weights(
    f: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    queries: Float[Tensor, "batch query dim"],
    *,
    points: Sequence[int] | None = None,
    intercept: bool = False,
    batch_size: int = 4096,
) -> InducedWeights:
    """Fit the linear map that a predictor applies after the examples before each entry.

    Formula: w = argmin_w sum_q (f(D_k, x_q) - w^T x_q - c)^2 over fresh queries, c = 0 without an intercept;
    R² = 1 - sum_q (residual)^2 / sum_q (f - mean f)^2. Meaningless where R² is low: then f has no weight.

    Args:
        f: A model or a predictor, called f(xs, ys, points=[-1]).
        xs: Inputs.
        ys: Labels.
        queries: More fresh inputs per prompt than dimensions (and intercept).
        points: Entries k; None takes all.
        intercept: Whether to fit c as well, as the paper's code does.
        batch_size: Sequences per call.

    Returns:
        Weights, solved in float64, in the dtype of f's answers.

    Raises:
        InputError: If there are too few queries, or as in `fresh_query_predictions`.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.1 and appendix F (R² of the fit); Fu et al. (2024),
        arXiv 2310.17086, section 3.3.

    Example:
        >>> def doubled(xs, ys, *, points=None):
        ...     return 2 * xs[:, points, 0]
        >>> found = induced_weights(doubled, torch.randn(1, 2, 3), torch.randn(1, 2), torch.randn(1, 9, 3))
        >>> torch.testing.assert_close(found.weights[0, 1], torch.tensor([2.0, 0.0, 0.0]))
        >>> torch.testing.assert_close(found.r2, torch.ones(1, 2))
    """
    check_prompts("induced_weights", xs, ys)
    n_queries, n_unknowns = queries.shape[1], xs.shape[2] + int(intercept)
    if n_queries <= n_unknowns:
        raise InputError(
            f"induced_weights needs more queries than unknowns, got {n_queries} queries for {n_unknowns}; "
            "with fewer any answers lie on a line."
        )
    asked = resolve_points("induced_weights", points, xs.shape[1])
    answers = fresh_query_predictions(f, xs, ys, queries, points=asked, batch_size=batch_size)
    exact, design = answers.double(), queries.double()
    # Without a column of ones, whose size beside the queries' would depend on their unit.
    centre = design.mean(dim=1, keepdim=True) if intercept else torch.zeros_like(design[:, :1])
    level = exact.mean(dim=1, keepdim=True) if intercept else torch.zeros_like(exact[:, :1])
    solution = torch.linalg.lstsq(design - centre, exact - level).solution
    residuals = (exact - level - (design - centre) @ solution).square().sum(dim=1)
    spread = (exact - exact.mean(dim=1, keepdim=True)).square().sum(dim=1)
    # Answers that are equal up to rounding have no variance of which a share could be linear.
    constant = spread <= n_queries * (8 * torch.finfo(answers.dtype).eps * exact.abs().amax(dim=1)).square()
    r2 = torch.where(constant, torch.nan, 1.0 - residuals / spread)
    weights = rearrange(solution, "batch dim point -> batch point dim")
    intercepts = (level - centre @ solution)[:, 0]
    return InducedWeights(
        in_dtype(weights, answers.dtype),
        in_dtype(intercepts, answers.dtype),
        in_dtype(r2, answers.dtype),
        tuple(asked),
        n_queries,
    )
