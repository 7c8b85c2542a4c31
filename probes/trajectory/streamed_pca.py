"""The leading components of a stack of rows that is read in blocks and never held as a whole."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probes._core import checks
from probes._core.errors import InputError
from probes._core.results import short_repr

# Up to this many outputs the covariance is formed and decomposed; beyond, Lanczos needs only products with it.
_DENSE_OUTPUTS = 512
_BLOCK_ENTRIES = 2**21


class RunRows:
    """Rows of several runs, read in blocks, with weights that sum to one over all of them."""

    def __init__(
        self,
        who: str,
        runs: Mapping[str, Tensor | Callable[[], Iterator[Tensor]]],
        weights: Mapping[str, Tensor] | None,
    ) -> None:
        if not runs:
            raise InputError(f"{who} needs at least one run, got an empty mapping; name each run.")
        self.who, self.runs, self.names = who, runs, tuple(runs)
        self.n_outputs, self.lengths = self._measure()
        self.weights = self._normalise(weights)

    def blocks(self) -> Iterator[tuple[str, slice, Tensor]]:
        """Read all rows once."""
        for name in self.names:
            start = 0
            for block in self._raw(name):
                yield name, slice(start, start + len(block)), block.double()
                start += len(block)

    def _raw(self, name: str) -> Iterator[Tensor]:
        rows = self.runs[name]
        if not isinstance(rows, Tensor):
            yield from rows()
            return
        size = max(1, _BLOCK_ENTRIES // max(1, rows.shape[-1]))
        yield from torch.split(rows, size)

    def _measure(self) -> tuple[int, dict[str, int]]:
        lengths: dict[str, int] = {}
        widths: dict[int, str] = {}
        for name in self.names:
            lengths[name] = 0
            for block in self._raw(name):
                checks.activations(self.who, f"run {name!r}", block, "checkpoint output")
                lengths[name] += len(block)
                widths.setdefault(block.shape[1], name)
            if not lengths[name]:
                raise InputError(f"{self.who} needs at least one checkpoint, got none in run {name!r}; drop it.")
        if len(widths) > 1:
            found = ", ".join(f"{width} in {name!r}" for width, name in widths.items())
            raise InputError(f"{self.who} needs as many outputs in every run, got {found}; use the same prompts.")
        return next(iter(widths)), lengths

    def _normalise(self, weights: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        if weights is None:
            n_rows = sum(self.lengths.values())
            return {name: torch.full((n,), 1 / n_rows, dtype=torch.float64) for name, n in self.lengths.items()}
        if set(weights) != set(self.names):
            raise InputError(
                f"{self.who} needs weights for the runs {', '.join(self.names)}, got them for "
                f"{', '.join(weights) or 'none'}; give one tensor a run."
            )
        for name, value in weights.items():
            checks.activations(self.who, f"weights of {name!r}", value, "checkpoint")
            checks.same_length(self.who, (f"weights of {name!r}", "checkpoints"), len(value), self.lengths[name])
        total = math.fsum(float(value.double().sum()) for value in weights.values())
        if total <= 0 or any(float(value.min()) < 0 for value in weights.values()):
            raise InputError(
                f"{self.who} needs weights that are not negative, some of them positive; check their sign."
            )
        return {name: weights[name].double() / total for name in self.names}


@dataclass(frozen=True, eq=False)
class StreamedPCA:
    """Leading components of a stack, and what a null model needs to know about it."""

    mean: Tensor
    """[output]."""
    components: Tensor
    """[component output], orthonormal, most variance first."""
    variances: Tensor
    """[component]."""
    total_variance: float
    """Trace of the covariance."""
    scores: dict[str, Tensor]
    """Scores of each run, [checkpoint component]."""
    starts: Tensor
    """[run output]: first row of each run, minus `mean`."""
    square_steps: dict[str, Tensor]
    """Squared distance from each checkpoint of a run to the next, [checkpoint - 1]."""

    __repr__ = short_repr


def streamed_pca(rows: RunRows, n_components: int) -> StreamedPCA:
    """Decompose the weighted covariance of all rows."""
    n_rows = sum(rows.lengths.values())
    if n_components > min(n_rows - 1, rows.n_outputs):
        raise InputError(
            f"{rows.who} needs fewer components than rows and no more than outputs, got {n_components} for {n_rows} "
            f"rows of {rows.n_outputs} outputs; ask for fewer."
        )
    mean, starts, square_steps = _moments(rows)
    total = _total_variance(rows, mean)
    # Rounding of the rows themselves, in float64, is no variance.
    if total <= 1e-24 * float(mean.square().sum()):
        raise InputError(f"{rows.who} needs checkpoints that differ, got {n_rows} equal rows; check the outputs.")
    if rows.n_outputs <= _DENSE_OUTPUTS:
        variances, components = _dense(rows, mean, n_components)
    else:
        variances, components = _lanczos(rows, mean, n_components, total)
    scores = {name: mean.new_empty(n, n_components) for name, n in rows.lengths.items()}
    for name, place, block in rows.blocks():
        scores[name][place] = (block - mean) @ components.mT
    return StreamedPCA(mean, components, variances.clamp_min(0.0), total, scores, starts - mean, square_steps)


def _moments(rows: RunRows) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    # All that stays is laid out before the first block: a small tensor that is kept while blocks come and go takes its
    # place in the middle of a block's memory, which the next block then cannot use, and the process grows by all of it.
    steps = {name: torch.zeros(max(n - 1, 0), dtype=torch.float64) for name, n in rows.lengths.items()}
    starts = torch.zeros(len(rows.names), rows.n_outputs, dtype=torch.float64)
    mean, last, run = torch.zeros_like(starts[0]), torch.zeros_like(starts[:1]), -1
    for name, place, block in rows.blocks():
        if mean.device != block.device:
            mean, last, starts = mean.to(block.device), last.to(block.device), starts.to(block.device)
            steps = {key: row.to(block.device) for key, row in steps.items()}
        rows.weights[name] = rows.weights[name].to(block.device)
        mean += rows.weights[name][place] @ block
        if place.start == 0:
            run += 1
            starts[run] = block[0]
        else:
            steps[name][place.start - 1] = (block[0] - last[0]).square().sum()
        steps[name][place.start : place.stop - 1] = block.diff(dim=0).square().sum(dim=1)
        last.copy_(block[-1:])
    return mean, starts, steps


def _total_variance(rows: RunRows, mean: Tensor) -> float:
    total = 0.0
    for name, place, block in rows.blocks():
        total += float(rows.weights[name][place] @ (block - mean).square().sum(dim=1))
    return total


def _dense(rows: RunRows, mean: Tensor, k: int) -> tuple[Tensor, Tensor]:
    covariance = mean.new_zeros(len(mean), len(mean))
    for name, place, block in rows.blocks():
        centred = block - mean
        covariance += centred.mT @ (rows.weights[name][place, None] * centred)
    values, vectors = torch.linalg.eigh(covariance)
    return values.flip(0)[:k], vectors.mT.flip(0)[:k].contiguous()


def _lanczos(rows: RunRows, mean: Tensor, k: int, total: float) -> tuple[Tensor, Tensor]:
    from scipy.sparse.linalg import LinearOperator, eigsh

    n = len(mean)

    def times(vector: np.ndarray) -> np.ndarray:
        direction = torch.as_tensor(vector, dtype=torch.float64, device=mean.device).reshape(n)
        image, level = torch.zeros_like(mean), mean @ direction
        for name, place, block in rows.blocks():
            image += (rows.weights[name][place] * (block @ direction - level)) @ block
        # The weighted scores sum to zero, so that the rows need not be centred one by one.
        return image.cpu().numpy() / total  # ARPACK stops at an absolute error, so variances become shares

    start = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    operator = LinearOperator((n, n), matvec=times, dtype=np.float64)
    values, vectors = eigsh(operator, k=k, which="LA", v0=start, ncv=min(n, 2 * k + 20), tol=1e-10)
    order = np.argsort(values)[::-1]
    found = torch.as_tensor(np.ascontiguousarray(vectors[:, order].T), device=mean.device)
    return torch.as_tensor(total * values[order], device=mean.device), found
