"""Predictors for all prefixes at once against what a user would write instead: one call for each prefix.

Run `python benchmarks/predictors.py`; it prints one table, ends with exit code 1 when a wanted ratio is missed
or a limit is passed, and writes nothing unless `--json FILE` is given. Ratios come from one run on one thread and
from processor time, the best of a few repetitions of both sides in turn, so that other work on the machine counts
little.

A ratio is wanted where a loop is what a user must write. In a subspace that is lstsq in float64 with the rank tolerance
of the inputs' dtype. A float32 lstsq call, which takes a rank tolerance of its own, mostly errs by 1e-6 to 1e-4 there
(its row has the largest error of the run: at single prefixes that are nearly singular a multiple of the rest, of the
order of the label); beside it ours is 1.5 to 2 times as fast and does not reach 4, since a tenth of the prefixes go
through a decomposition each. A float32 loop for dMMSE errs several times more than ours, so that 10 is wanted of the
float64 one; beside the float32 one, in its own row, ours was 7 to 24 times as fast from machine to machine.

An error of ours above 1e-6 (1 + |truth|) is a failure as well.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).resolve().parent))

import torch
from torch import Tensor

from icl_interp.predictors import discrete_mmse, least_squares, ridge

PENALTY, NOISE_STD = 0.25, 0.5
MOST_MEMORY = 2 * 2**30
MOST_ERROR = 1e-6
"""Of ours, relative to 1 + |truth|."""
IN_SUBSPACE = "least squares, half subspace, noise"
KIBIBYTES = 1 if sys.platform == "darwin" else 1024
"""Unit of ru_maxrss, in bytes."""


@dataclass(frozen=True)
class Row:
    """One comparison; times in milliseconds, errors relative to 1 + |truth|."""

    name: str
    ours_ms: float
    loop_ms: float
    ratio: float
    wanted_ratio: float
    our_error: float
    loop_error: float
    most_error: float = MOST_ERROR


def _least_squares_loop(xs: Tensor, ys: Tensor) -> Tensor:
    # Fit each prefix of all prompts by one batched lstsq call in the inputs' dtype.
    answers = [torch.zeros_like(ys[:, 0])]
    for k in range(1, ys.shape[1]):
        weights = torch.linalg.lstsq(xs[:, :k], ys[:, :k, None]).solution
        answers.append((xs[:, k] * weights[..., 0]).sum(dim=1))
    return torch.stack(answers, dim=1)


def _least_squares_truth(xs: Tensor, ys: Tensor) -> Tensor:
    # Fit each prefix in float64 with the rank tolerance of the inputs' dtype.
    answers = [torch.zeros(len(ys), dtype=torch.float64)]
    for k in range(1, ys.shape[1]):
        cutoff = torch.finfo(xs.dtype).eps * max(k, xs.shape[2])
        system, labels = xs[:, :k].double(), ys[:, :k, None].double()
        weights = torch.linalg.lstsq(system, labels, rcond=cutoff, driver="gelsd").solution
        answers.append((xs[:, k].double() * weights[..., 0]).sum(dim=1))
    return torch.stack(answers, dim=1)


def _ridge_loop(xs: Tensor, ys: Tensor) -> Tensor:
    # Solve the normal equations of each prefix of all prompts in one batched call.
    answers = [torch.zeros_like(ys[:, 0])]
    identity = PENALTY * torch.eye(xs.shape[2], dtype=xs.dtype)
    for k in range(1, ys.shape[1]):
        system = xs[:, :k].mT @ xs[:, :k] + identity
        weights = torch.linalg.solve(system, xs[:, :k].mT @ ys[:, :k, None])
        answers.append((xs[:, k] * weights[..., 0]).sum(dim=1))
    return torch.stack(answers, dim=1)


def _discrete_mmse_loop(pool: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    # Sum the log-likelihoods of the examples before each point anew, for all prompts and tasks at once.
    answers = []
    for k in range(ys.shape[1]):
        misfits = ys[:, :k, None] - xs[:, :k] @ pool.mT
        logits = -misfits.square().sum(dim=1) / (2 * NOISE_STD**2)
        answers.append(((logits.softmax(dim=1) @ pool) * xs[:, k]).sum(dim=1))
    return torch.stack(answers, dim=1)


def _compare(
    name: str,
    ours: Callable[[], Tensor],
    loop: Callable[[], Tensor],
    truth: Callable[[], Tensor],
    wanted_ratio: float,
    repeats: int,
) -> Row:
    # Time both sides in turn and measure their errors.
    best = {ours: float("inf"), loop: float("inf")}
    answers = {}
    for _ in range(repeats):
        for side in best:
            start = time.process_time()
            answers[side] = side()
            best[side] = min(best[side], time.process_time() - start)
    expected = truth()
    errors = [float(((answers[side] - expected).abs() / (1 + expected.abs())).max()) for side in (ours, loop)]
    return Row(name, 1e3 * best[ours], 1e3 * best[loop], best[loop] / best[ours], wanted_ratio, *errors)


def _rows(n_prompts: int, n_tasks: int, repeats: int) -> list[Row]:
    # Run all comparisons.
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(n_prompts, 41, 20, generator=generator)
    basis = torch.linalg.qr(torch.randn(n_prompts, 20, 20, generator=generator)).Q
    half = xs[..., :10] @ basis[:, :10]
    weights = torch.randn(n_prompts, 20, 1, generator=generator)
    noise = NOISE_STD * torch.randn(n_prompts, 41, generator=generator)
    found = []
    for name, inputs, labels, wanted in (
        ("least squares, no noise", xs, (xs @ weights)[..., 0], 4),
        ("least squares, noise", xs, (xs @ weights)[..., 0] + noise, 4),
        (IN_SUBSPACE, half, (half @ weights)[..., 0] + noise, 0),
        (f"{IN_SUBSPACE}, right loop", half, (half @ weights)[..., 0] + noise, 4),
    ):
        loop = _least_squares_truth if name.endswith("right loop") else _least_squares_loop

        def call(
            function: Callable[[Tensor, Tensor], Tensor], x: Tensor = inputs, y: Tensor = labels
        ) -> Callable[[], Tensor]:
            return lambda: function(x, y)

        sides = call(least_squares()), call(loop), call(_least_squares_truth)
        found.append(_compare(name, *sides, wanted, repeats))
    labels = (xs @ weights)[..., 0] + noise
    found.append(
        _compare(
            "ridge",
            lambda: ridge(PENALTY)(xs, labels),
            lambda: _ridge_loop(xs, labels),
            lambda: _ridge_loop(xs.double(), labels.double()),
            0,
            repeats,
        )
    )
    pool = torch.randn(n_tasks, 8, generator=generator)
    for n_points, share in ((16, 5), (41, 20)):
        found += _discrete_mmse_rows(pool, n_prompts // share, n_points, repeats, generator)
    return found


def _discrete_mmse_rows(
    pool: Tensor, n_prompts: int, n_points: int, repeats: int, generator: torch.Generator
) -> list[Row]:
    # Compare dMMSE on fresh prompts of the pool's tasks, with the loop in both precisions.
    xs = torch.randn(n_prompts, n_points, 8, generator=generator)
    chosen = pool[torch.arange(n_prompts) % len(pool)]
    ys = (xs * chosen[:, None]).sum(dim=2) + NOISE_STD * torch.randn(n_prompts, n_points, generator=generator)
    predictor = discrete_mmse(pool, NOISE_STD)
    wide = pool.double(), xs.double(), ys.double()
    return [
        _compare(
            f"dMMSE, {len(pool)} tasks, {n_points} points, {dtype} loop",
            lambda: predictor(xs, ys),
            loop,
            lambda: _discrete_mmse_loop(*wide),
            wanted,
            repeats,
        )
        for dtype, loop, wanted in (
            ("float32", lambda: _discrete_mmse_loop(pool, xs, ys), 0),
            ("float64", lambda: _discrete_mmse_loop(*wide), 10),
        )
    ]


def _peak_memory(n_tasks: int, n_prompts: int) -> int:
    # Bytes at the peak of a fresh process that asks dMMSE once, torch and the prompts included.
    command = [sys.executable, __file__, "--measure-memory", "--tasks", str(n_tasks), "--prompts", str(n_prompts)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _measure_memory(n_tasks: int, n_prompts: int) -> int:
    generator = torch.Generator().manual_seed(0)
    predictor = discrete_mmse(torch.randn(n_tasks, 8, generator=generator), NOISE_STD)
    xs = torch.randn(n_prompts, 16, 8, generator=generator)
    predictor(xs, torch.randn(n_prompts, 16, generator=generator))
    return KIBIBYTES * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def failures(rows: Sequence[Row], peak_memory: int) -> list[str]:
    """Say what was wanted and not reached.

    Args:
        rows: The comparisons.
        peak_memory: Of dMMSE, in bytes.

    Returns:
        One sentence for each failure.
    """
    missed = [
        f"{row.name}: {row.ratio:.1f} times as fast, wanted {row.wanted_ratio:g}"
        for row in rows
        if not row.ratio >= row.wanted_ratio
    ]
    missed += [
        f"{row.name}: an error of {row.our_error:.1e}, wanted at most {row.most_error:g}"
        for row in rows
        if not row.our_error <= row.most_error
    ]
    if peak_memory > MOST_MEMORY:
        missed.append(f"dMMSE takes {peak_memory / 2**30:.1f} GiB, wanted at most {MOST_MEMORY / 2**30:g}")
    return missed


def main() -> int:
    """Print the table, and write it as JSON where asked.

    Returns:
        The exit code: 1 when something wanted was not reached.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1280, help="prompts of 41 points in 20 dimensions")
    parser.add_argument("--tasks", type=int, default=4096, help="size of the pool for dMMSE")
    parser.add_argument("--memory-tasks", type=int, default=2**15, help="size of the pool whose memory is measured")
    parser.add_argument("--repeats", type=int, default=4, help="repetitions; the fastest counts")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--measure-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure_memory:
        print(_measure_memory(options.tasks, options.prompts))
        return 0
    found = _rows(options.prompts, options.tasks, options.repeats)
    print(f"{'':47}{'ours ms':>9}{'loop ms':>9}{'ratio':>7}{'wanted':>8}{'our error':>11}{'loop error':>12}")
    for row in found:
        wanted = f">= {row.wanted_ratio:g}" if row.wanted_ratio else "-"
        print(
            f"{row.name:47}{row.ours_ms:9.0f}{row.loop_ms:9.0f}{row.ratio:7.1f}{wanted:>8}"
            f"{row.our_error:11.1e}{row.loop_error:12.1e}"
        )
    memory = _peak_memory(options.memory_tasks, max(1, options.prompts // 5))
    print(f"dMMSE, {options.memory_tasks} tasks, 16 points: {memory / 2**20:.0f} MiB in all, wanted <= 2048")
    if options.json:
        record = {"rows": [asdict(row) for row in found], "dmmse_peak_bytes": memory}
        options.json.write_text(json.dumps(record, indent=2) + "\n")
    missed = failures(found, memory)
    for sentence in missed:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
