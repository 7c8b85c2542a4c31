"""One principal component analysis of many runs together."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes.trajectory.random_walk import RandomWalkNull, WalkMoments, random_walk_null
from probes.trajectory.streamed_pca import RunRows, streamed_pca

__all__ = ["JointTrajectoryPCA", "joint_trajectory_pca", "log_step_weights"]


@dataclass(frozen=True, eq=False, repr=False)
class JointTrajectoryPCA:
    """Runs in the space of their leading joint components."""

    components: Float64[Tensor, "component output"]
    """Orthonormal directions, the one with most variance first."""
    mean: Float64[Tensor, " output"]
    """Weighted mean over all rows of all runs; subtracted before every projection."""
    scores: Mapping[str, Float64[Tensor, "_checkpoint component"]]
    """Coordinates of each run's checkpoints in the order they came, in output units, not smoothed."""
    smoothed: Mapping[str, Float64[Tensor, "_checkpoint component"]] | None
    """`scores` after a Gaussian filter along each run; None unless asked for."""
    landmarks: Mapping[str, Float64[Tensor, " component"]]
    """Coordinates of the reference predictors."""
    explained: Float64[Tensor, " component"]
    """Share of the total variance along each component, in [0, 1]."""
    total_variance: float
    """Weighted mean squared distance of the rows from `mean`, summed over outputs."""
    null: RandomWalkNull
    """The same analysis of random walks with the runs' own step lengths."""

    @takes_arrays
    def project(self, outputs: Float[Tensor, "row output"]) -> Float64[Tensor, "row component"]:
        """Project more function vectors into the same space.

        Args:
            outputs: On the same prompts, in the same order.

        Returns:
            Coordinates in output units.
        """
        _check_width("project", outputs, len(self.mean))
        return (outputs.double() - self.mean) @ self.components.mT

    def __repr__(self) -> str:
        shares = ", ".join(f"{float(share):.1%}" for share in self.explained)
        null = ", ".join(f"{float(share):.1%}" for share in self.null.explained)
        return f"JointTrajectoryPCA({len(self.scores)} runs, explained {shares}; random walk {null})"


@takes_arrays
def joint_trajectory_pca(
    runs: Mapping[str, Float[Tensor, "_checkpoint output"] | Callable[[], Iterator[Tensor]]],
    *,
    n_components: int = 2,
    landmarks: Mapping[str, Float[Tensor, " output"]] | None = None,
    weights: Mapping[str, Float[Tensor, " _checkpoint"]] | None = None,
    positive: str | None = None,
    smoothing: float | None = None,
) -> JointTrajectoryPCA:
    """Decompose the trajectories of many runs together.

    Formula: leading eigenvectors v of sum_r w_r (f_r - m)(f_r - m)^T over all rows r of all runs, weights w summing to
    1, m = sum_r w_r f_r; a row's coordinates are (f_r - m) . v. Only the leading components are computed; the total
    variance is the trace. Meaningless where fewer components vary than are asked for, and two components with almost
    equal variance may turn into one another.

    Args:
        runs: Function vectors of each run's checkpoints in time order: a tensor, or a function that returns a
            fresh iterator of blocks of rows, for stacks larger than memory. Such a function is called a few dozen
            times. A memory-mapped tensor is read block by block as well, but the pages that were read count as
            resident until the system wants them back; a function that reads each block from the file does not have
            that. Arithmetic is float64, whatever comes.
        n_components: Number of components.
        landmarks: Function vectors of reference predictors on the same prompts; projected, not fitted.
        weights: One weight per checkpoint of each run, not negative; None weighs all alike, which on the usual union of
            linear and logarithmic checkpoints means mostly late steps. See `log_step_weights`.
        positive: A landmark whose coordinates are made positive. None: each component points where the runs go, from
            first to last checkpoint, summed over runs. A coordinate of exactly 0 leaves its largest entry positive.
        smoothing: Standard deviation, in checkpoints, of a Gaussian filter along each run for `smoothed`, the ends
            repeated; None for none. The fit never sees it.

    Returns:
        Curves, landmarks, explained variance and the null, in float64 on the runs' device.

    Raises:
        InputError: If runs, weights or landmarks do not fit together, nothing varies, or there are not that many
            components.

    Source:
        Carroll et al. (2025), "Dynamics of transient structure in in-context linear regression transformers", section
        4.2. The kernel and the sign convention are ours (the paper does not state them); the null follows Antognini
        and Sohl-Dickstein (2018), "PCA of high dimensional random walks with comparison to neural network training".

    Example:
        >>> time = torch.linspace(0, 1, 20)[:, None]
        >>> there, aside = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
        >>> found = joint_trajectory_pca({"a": time * there, "b": time * there + (time * (1 - time)) * aside})
        >>> torch.testing.assert_close(found.components[0].abs().argmax(), torch.tensor(0))
        >>> bool(found.scores["a"][-1, 0] > found.scores["a"][0, 0])
        True
    """
    who = "joint_trajectory_pca"
    checks.count(who, "n_components", n_components, 1)
    rows = RunRows(who, runs, weights)
    if positive is not None:
        checks.option(who, "positive", positive, landmarks or {})
    if smoothing is not None and not smoothing > 0:
        raise InputError(f"{who} needs a positive smoothing, got {smoothing}; pass None for none.")
    marks = _landmark_rows(who, landmarks or {}, rows.n_outputs)
    fit = streamed_pca(rows, n_components)
    moments = WalkMoments(rows.names, rows.lengths, fit.square_steps, fit.starts, rows.weights)
    raw, mark_scores = fit.scores, {name: (mark - fit.mean) @ fit.components.mT for name, mark in marks.items()}
    signs = _signs(fit.components, raw, None if positive is None else mark_scores[positive])
    scores = {name: score * signs for name, score in raw.items()}
    return JointTrajectoryPCA(
        components=fit.components * signs[:, None],
        mean=fit.mean,
        scores=scores,
        smoothed=None if smoothing is None else {name: _smooth(score, smoothing) for name, score in scores.items()},
        landmarks={name: score * signs for name, score in mark_scores.items()},
        explained=fit.variances / fit.total_variance,
        total_variance=fit.total_variance,
        null=random_walk_null(moments, n_components),
    )


@takes_arrays
def log_step_weights(steps: Float[Tensor, " checkpoint"]) -> Float64[Tensor, " checkpoint"]:
    """Weigh checkpoints so that equal stretches of log(step + 1) count alike.

    Formula: half the distance in log(step + 1) to the previous checkpoint plus half of that to the next, divided by the
    sum over checkpoints. A single checkpoint weighs 1.

    Args:
        steps: Optimiser steps, rising, from 0.

    Returns:
        Weights that sum to 1, float64.

    Raises:
        InputError: If steps do not rise strictly, or one is negative or not finite.

    Source:
        Ours; that the usual checkpoints weigh late steps heavily is a caveat of Carroll et al. (2025), appendix C.

    Example:
        >>> weights = log_step_weights(torch.tensor([0.0, 1.0, 3.0, 7.0]))
        >>> torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, 2.0, 1.0]).double() / 6)
    """
    who = "log_step_weights"
    checks.activations(who, "steps", steps, "checkpoint")
    if float(steps[0]) < 0 or bool((steps.diff() <= 0).any()):
        raise InputError(f"{who} needs steps from 0 that rise strictly, got {steps.tolist()[:5]} ...; sort them.")
    if len(steps) == 1:
        return torch.ones_like(steps, dtype=torch.float64)
    gaps = steps.double().log1p().diff() / 2
    ends = gaps.new_zeros(1)
    widths = torch.cat([ends, gaps]) + torch.cat([gaps, ends])
    return widths / widths.sum()


def _landmark_rows(who: str, landmarks: Mapping[str, Tensor], n_outputs: int) -> dict[str, Tensor]:
    for name, mark in landmarks.items():
        checks.activations(who, f"landmark {name!r}", mark, "output")
        _check_width(f"{who}, landmark {name!r},", mark, n_outputs)
    return {name: mark.double() for name, mark in landmarks.items()}


def _check_width(who: str, outputs: Tensor, n_outputs: int) -> None:
    if outputs.shape[-1] != n_outputs:
        raise InputError(
            f"{who} needs {n_outputs} outputs as the runs have, got {outputs.shape[-1]}; use the same prompts."
        )


def _signs(components: Tensor, scores: Mapping[str, Tensor], chosen: Tensor | None) -> Tensor:
    if chosen is None:
        chosen = torch.stack([score[-1] - score[0] for score in scores.values()]).sum(dim=0)
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).flatten()
    signs = torch.where(chosen == 0, largest, chosen).sign()
    return torch.where(signs == 0, 1.0, signs)


def _smooth(score: Tensor, std: float) -> Tensor:
    from scipy.ndimage import gaussian_filter1d

    smooth: Any = gaussian_filter1d(score.cpu().numpy(), std, axis=0, mode="nearest")
    return torch.as_tensor(smooth, dtype=score.dtype, device=score.device)
