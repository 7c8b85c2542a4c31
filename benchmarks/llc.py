"""Local learning coefficients: vectorised chains against what a user would run instead.

Run `python benchmarks/llc.py`; it prints one table, and exits with 1 where a wanted ratio is missed or answers differ
by more than three standard errors (with the noise of shared batches in them). All sides run 32 chains (2 for the
transformer) of the same steps at the same settings on one thread, in turn; the best of a few repetitions counts, by
processor time. devinterp takes part if it is installed (`pip install "icl-interp[llc-oracle]"`) and runs once,
since it takes its chains one after another.
"""

import argparse
import contextlib
import importlib.util
import io
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes.learning_coefficient import estimate_learning_coefficient

N_DIMS, N_SAMPLES, BATCH_SIZE = 20, 2000, 200
SETTINGS = {"nbeta": 100.0, "lr": 1e-3, "localization": 50.0}


@dataclass(frozen=True)
class Run:
    """One side of a comparison."""

    estimate: float
    error: float
    chain_steps: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    ours: Run
    other: Run
    wanted: float

    @property
    def ratio(self) -> float:
        """Ratio of chain steps per second, ours over the other's."""
        return (self.ours.chain_steps / self.ours.seconds) / (self.other.chain_steps / self.other.seconds)

    @property
    def gap(self) -> float:
        """Difference of the answers in standard errors."""
        return abs(self.ours.estimate - self.other.estimate) / math.hypot(self.ours.error, self.other.error)

    @property
    def fine(self) -> bool:
        """Whether the ratio is reached and the answers agree."""
        return self.ratio >= self.wanted and self.gap <= 3


def _squares(params: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
    return (batch[0] @ params["w"] - batch[1]).square().mean()


def _regression() -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(N_SAMPLES, N_DIMS, generator=generator)
    ys = xs @ torch.randn(N_DIMS, generator=generator) + torch.randn(N_SAMPLES, generator=generator)
    return {"w": torch.linalg.lstsq(xs, ys[:, None]).solution[:, 0]}, (xs, ys)


Case = tuple[Callable[..., Tensor], dict[str, Tensor], tuple[Tensor, Tensor]]


def _ours(case: Case, n_chains: int, sizes: dict[str, int], settings: dict[str, float], *, shared: bool) -> Run:
    start = time.process_time()
    # The Hessian is no part of sampling, so it is given here (2 for this regression); one MALA check, the least.
    found = estimate_learning_coefficient(
        *case, num_chains=n_chains, shared_batches=shared, top_eigenvalue_at_init=2.0, num_mala_checks=1,
        **sizes, **settings,
    )  # fmt: skip
    seconds = time.process_time() - start
    steps = n_chains * (sizes["num_draws"] + sizes["num_burnin_steps"])
    return Run(found.estimate, found.total_error, steps, seconds)


def _loop(case: Case, n_chains: int, sizes: dict[str, int], settings: dict[str, float], *, shared: bool) -> Run:
    # The plain way: a Python loop over chains, autograd, one batch a step.
    loss, center, data = case
    n, size, burnin = len(data[0]), sizes["batch_size"], sizes["num_burnin_steps"]
    n_steps = sizes["num_draws"] + burnin
    lr, nbeta, gamma = settings["lr"], settings["nbeta"], settings["localization"]
    start = time.process_time()
    generator, traces = torch.Generator().manual_seed(1), []
    with torch.no_grad():
        at_start = float(loss(center, data))
    for _ in range(n_chains):
        if shared:
            generator.manual_seed(1)
        names, point = list(center), [value.clone() for value in center.values()]
        losses = []
        for _ in range(n_steps):
            picked = torch.randint(n, (size,), generator=generator)
            point = [value.requires_grad_() for value in point]
            value = loss(dict(zip(names, point, strict=True)), tuple(part[picked] for part in data))
            gradients = torch.autograd.grad(value, point)
            losses.append(value.detach())
            with torch.no_grad():
                point = [
                    p - lr / 2 * (nbeta * g + gamma * (p - center[name])) + lr**0.5 * torch.randn(p.shape)
                    for name, p, g in zip(names, point, gradients, strict=True)
                ]
        traces.append(torch.stack(losses)[burnin:])
    seconds = time.process_time() - start
    return _summary(nbeta * (torch.stack(traces) - at_start), n_chains * n_steps, seconds, shared=shared)


def _summary(values: Tensor, chain_steps: int, seconds: float, *, shared: bool) -> Run:
    # Shared batches give the chains an error in common, seen in how their mean varies from draw to draw.
    own = float(values.mean(dim=1).std()) / len(values) ** 0.5
    common = float(values.mean(dim=0).std()) / values.shape[1] ** 0.5 if shared else 0.0
    return Run(float(values.mean()), math.hypot(own, common), chain_steps, seconds)


class _Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(weight.clone())


def _devinterp(case: Case, n_chains: int, sizes: dict[str, int], settings: dict[str, float], *, shared: bool) -> Run:
    from datasets import Dataset  # type: ignore[import-not-found]
    from devinterp.slt.sampling import sample  # type: ignore[import-not-found]

    loss, center, (xs, ys) = case
    del loss
    # Beyond one epoch it replays the first one's batches in their order. A batch then meets a chain that the other nine
    # have just pushed away from its minimum: exactly 9.35 instead of 8.93 here. So one epoch is as long as the chains.
    n_steps = sizes["num_draws"] + sizes["num_burnin_steps"]
    epoch = list(range(len(xs))) * math.ceil(n_steps * sizes["batch_size"] / len(xs))
    rows = Dataset.from_dict({"input_ids": [[i, 0] for i in epoch]}).with_format("torch")

    def per_token(model: nn.Module, ids: Tensor) -> Tensor:
        picked = ids[:, 0]
        return (xs[picked] @ model.w - ys[picked]).square()[:, None]

    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = sample(
            _Linear(center["w"]), rows, {}, lr=settings["lr"], n_beta=settings["nbeta"], num_chains=n_chains,
            localization=settings["localization"], num_draws=sizes["num_draws"], batch_size=sizes["batch_size"],
            num_burnin_steps=sizes["num_burnin_steps"], loss_fn=per_token, num_init_loss_batches=10, device="cpu",
            match_sampling_input_ids_across_chains=shared, output_path=f"{folder}/samples.zarr",
        )  # fmt: skip
        seconds = time.process_time() - start
        # Its own summary averages over burn-in as well.
        losses = torch.as_tensor(tree.dataset.sampling_loss_micro.values).mean(dim=(2, 3))
    exact = float((xs @ center["w"] - ys).square().mean())
    values = settings["nbeta"] * (losses[:, sizes["num_burnin_steps"] :] - exact)
    return _summary(values, n_chains * losses.shape[1], seconds, shared=shared)


def _transformer() -> Case:
    import icl_interp as icl

    shape = {"n_dims": 4, "n_points": 8, "n_layers": 2, "n_heads": 4, "d_model": 64, "d_mlp": 64}
    model = icl.build_model(icl.ModelConfig(**shape), seed=0)  # type: ignore[arg-type]
    prompts = icl.LinearRegression(4, noise_std=0.125**0.5).sample(2048, 8, seed=0)

    def loss(params: dict[str, Tensor], batch: Any) -> Tensor:
        return (functional_call(model, params, batch) - batch[1]).square().mean()

    return loss, {name: value.detach() for name, value in model.named_parameters()}, (prompts.xs, prompts.ys)


def _compare(name: str, ours: Callable[[], Run], other: Callable[[], Run], wanted: float, repeats: int) -> Row:
    best: dict[Callable[[], Run], Run] = {}
    for _ in range(repeats):
        for side in (ours, other):
            found = side()
            best[side] = min(best.get(side, found), found, key=lambda run: run.seconds)
    return Row(name, best[ours], best[other], wanted)


def _rows(n_draws: int, repeats: int) -> list[Row]:
    case: Case = (_squares, *_regression())
    sizes = {"num_draws": n_draws, "num_burnin_steps": n_draws // 4, "batch_size": BATCH_SIZE}
    rows = []
    for shared, wanted in ((False, 4.0), (True, 8.0)):
        batches = "shared batches" if shared else "own batches"

        def call(side: Callable[..., Run], n_chains: int = 32, shared: bool = shared) -> Callable[[], Run]:  # noqa: FBT001
            return lambda: side(case, n_chains, sizes, SETTINGS, shared=shared)

        rows.append(_compare(f"regression, loop, {batches}", call(_ours), call(_loop), wanted, repeats))
        if importlib.util.find_spec("devinterp") is not None:
            # The chains' own batches are the equal setting with independent errors; shared ones are its default.
            rows.append(_compare(f"regression, devinterp, {batches}", call(_ours), call(_devinterp), 20.0, 1))
    small = {"num_draws": 40, "num_burnin_steps": 8, "batch_size": 256}
    gentle = {"nbeta": 66.7, "lr": 3e-6, "localization": 6.67}
    big = _transformer()
    sides = [lambda side=side: side(big, 2, small, gentle, shared=False) for side in (_ours, _loop)]
    # Two loops of the same arithmetic differ by the clock's noise.
    rows.append(_compare("transformer of 52k parameters, loop", sides[0], sides[1], 0.95, repeats))
    return rows


def main() -> None:
    """Print the table; exit with 1 where a wanted ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400, help="draws a chain; a quarter as many steps burn in")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions; the fastest counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = _rows(options.draws, options.repeats)
    print(f"{'':38}{'ours/s':>9}{'other/s':>9}{'ratio':>7}{'wanted':>8}{'ours':>14}{'other':>14}{'gap':>6}")
    for row in rows:
        ours, other = row.ours, row.other
        print(
            f"{row.name:38}{ours.chain_steps / ours.seconds:9.0f}{other.chain_steps / other.seconds:9.0f}"
            f"{row.ratio:7.1f}{row.wanted:>8g}{ours.estimate:8.2f}+-{ours.error:.2f}{other.estimate:8.2f}+-"
            f"{other.error:.2f}{row.gap:6.1f}{'' if row.fine else '  MISSED'}"
        )
    if importlib.util.find_spec("devinterp") is None:
        print("devinterp is not installed: not compared")
    sys.exit(not all(row.fine for row in rows))


if __name__ == "__main__":
    main()
