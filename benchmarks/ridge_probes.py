"""Ridge probes of many layers and targets against what a user would write: scikit-learn's RidgeCV in a loop.

Run `python benchmarks/ridge_probes.py`; it prints one table and writes nothing unless `--json FILE` is given.
Both sides hold out the same prompts, choose the penalty of each target by leave-one-out in each training fold from
the same candidates, and refit on everything. They take turns layer by layer, on one thread, in processor time, so
that other work on the machine counts little. It ends with an error where the wanted ratio or agreement is missed.
"""

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from probes._ridge import _assign_folds
from probes.linear import fit_linear_probe

WANTED_RATIO, LARGEST_DIFFERENCE, N_FOLDS = 10.0, 1e-6, 5
PENALTIES = [10.0**power for power in range(-4, 11)]


@dataclass(frozen=True)
class Row:
    """One comparison; times in seconds, summed over layers."""

    name: str
    ours_s: float
    loop_s: float
    ratio: float
    wanted_ratio: float
    largest_r2_difference: float


def _layers(n_layers: int, n_prompts: int, n_points: int, n_targets: int) -> list[tuple[Tensor, Tensor]]:
    # Features with a decaying spectrum, as residual streams have it, and targets of falling signal-to-noise ratio.
    generator = torch.Generator().manual_seed(0)
    n_samples, found = n_prompts * n_points, []
    for _ in range(n_layers):
        scales = 10.0 * torch.arange(1, 257) ** -1.0
        mixing = torch.linalg.qr(torch.randn(256, 256, generator=generator)).Q
        features = torch.randn(n_samples, 256, generator=generator) * scales @ mixing
        signal = features @ torch.randn(256, n_targets, generator=generator)
        noise = torch.randn(n_samples, n_targets, generator=generator) * torch.linspace(0.1, 20.0, n_targets)
        found.append((features, signal + noise))
    return found


def _loop(features: Tensor, targets: Tensor, folds: Tensor, *, together: bool) -> np.ndarray:
    # One RidgeCV for each target and fold, or for each fold with all targets together.
    x, y, fold = features.double().numpy(), targets.double().numpy(), folds.numpy()
    columns = [slice(None)] if together else [slice(i, i + 1) for i in range(y.shape[1])]
    scores = []
    for column in columns:
        labels = y[:, column]
        errors, spread = np.zeros(labels.shape[1]), np.zeros(labels.shape[1])
        for held_out in range(N_FOLDS):
            test = fold == held_out
            probe = RidgeCV(alphas=PENALTIES, alpha_per_target=True).fit(x[~test], labels[~test])
            said = probe.predict(x[test]).reshape(labels[test].shape)
            errors += np.square(labels[test] - said).sum(axis=0)
            spread += np.square(labels[test] - labels[~test].mean(axis=0)).sum(axis=0)
        RidgeCV(alphas=PENALTIES, alpha_per_target=True).fit(x, labels)
        scores.append(1.0 - errors / spread)
    return np.concatenate(scores)


def _compare(name: str, layers: list[tuple[Tensor, Tensor]], groups: Tensor, wanted: float, *, together: bool) -> Row:
    # Take turns layer by layer.
    ours, loop, worst = 0.0, 0.0, 0.0
    folds = _assign_folds(groups, N_FOLDS, 0)
    for features, targets in layers:
        start = time.process_time()
        probe = fit_linear_probe(
            features.double(), targets.double(), groups=groups, penalties=PENALTIES, controls=False
        )
        middle = time.process_time()
        expected = _loop(features, targets, folds, together=together)
        loop += time.process_time() - middle
        ours += middle - start
        worst = max(worst, float(np.abs(probe.r2.numpy() - expected).max()))
    return Row(name, ours, loop, loop / ours, wanted, worst)


def main() -> None:
    """Print the table, write it as JSON where asked, and fail where a claim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=13, help="layers of 256 features")
    parser.add_argument("--targets", type=int, default=8, help="targets a layer")
    parser.add_argument("--prompts", type=int, default=64, help="prompts, the units of hold-out")
    parser.add_argument("--points", type=int, default=16, help="samples a prompt")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    layers = _layers(options.layers, options.prompts, options.points, options.targets)
    groups = torch.arange(options.prompts).repeat_interleave(options.points)
    size = f"{options.layers} layers x {options.targets} targets"
    found = [
        _compare(f"{size}, loop over targets", layers, groups, WANTED_RATIO, together=False),
        _compare(f"{size}, all targets at once", layers, groups, 0.0, together=True),
    ]
    print(f"{'':48}{'ours s':>9}{'loop s':>9}{'ratio':>7}{'wanted':>8}{'R2 difference':>15}")
    for row in found:
        wanted = f">= {row.wanted_ratio:g}" if row.wanted_ratio else "-"
        print(
            f"{row.name:48}{row.ours_s:9.2f}{row.loop_s:9.2f}{row.ratio:7.1f}{wanted:>8}"
            f"{row.largest_r2_difference:15.1e}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")
    missed = [row for row in found if row.ratio < row.wanted_ratio or row.largest_r2_difference > LARGEST_DIFFERENCE]
    if missed:
        sys.exit("missed: " + "; ".join(row.name for row in missed))


if __name__ == "__main__":
    main()
