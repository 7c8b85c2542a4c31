"""Ridge probes of many layers and targets against what a user would write: scikit-learn's RidgeCV in a loop.

Both sides hold out the same prompts, choose the penalty of each target by leave-one-out in each training fold from
the same candidates, and refit on everything. They take turns layer by layer.
"""

import time

import numpy as np
import torch
from row import Row, Sizes
from sklearn.linear_model import RidgeCV
from torch import Tensor

from probes._core.ridge import assign_folds
from probes.linear import fit_linear_probe

WANTED_RATIO, LARGEST_DIFFERENCE, N_FOLDS = 10.0, 1e-6, 5
N_TARGETS, N_POINTS, WIDTH = 8, 16, 256
PENALTIES = [10.0**power for power in range(-4, 11)]


def _layers(n_layers: int, n_samples: int) -> list[tuple[Tensor, Tensor]]:
    # Features with a decaying spectrum, as residual streams have it, and targets of falling signal-to-noise ratio.
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(n_layers):
        scales = 10.0 * torch.arange(1, WIDTH + 1) ** -1.0
        mixing = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator)).Q
        features = torch.randn(n_samples, WIDTH, generator=generator) * scales @ mixing
        signal = features @ torch.randn(WIDTH, N_TARGETS, generator=generator)
        noise = torch.randn(n_samples, N_TARGETS, generator=generator) * torch.linspace(0.1, 20.0, N_TARGETS)
        found.append((features.double(), (signal + noise).double()))
    return found


def _loop(features: Tensor, targets: Tensor, folds: Tensor, *, together: bool) -> np.ndarray:
    # One RidgeCV for each target and fold, or for each fold with all targets together.
    x, y, fold = features.numpy(), targets.numpy(), folds.numpy()
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


def _ridge_row(how: str, wanted: float, sizes: Sizes, *, together: bool) -> Row:
    groups = torch.arange(sizes.ridge_prompts).repeat_interleave(N_POINTS)
    folds = assign_folds(groups, N_FOLDS, 0)
    ours, loop, worst = 0.0, 0.0, 0.0
    for features, targets in _layers(sizes.layers, len(groups)):
        start = time.process_time()
        probe = fit_linear_probe(features, targets, groups=groups, penalties=PENALTIES, controls=False)
        middle = time.process_time()
        expected = _loop(features, targets, folds, together=together)
        loop += time.process_time() - middle
        ours += middle - start
        worst = max(worst, float(np.abs(probe.r2.numpy() - expected).max()))
    each = 1e3 / sizes.layers
    name = f"ridge, {sizes.layers} layers: RidgeCV, {how}; R2 gap"
    return Row(name, ours * each, loop * each, wanted, worst, LARGEST_DIFFERENCE)


def ridge_rows(sizes: Sizes) -> list[Row]:
    """Compare ridge probes of eight targets per layer.

    Returns:
        One row for the loop over targets, and one, of which no ratio is wanted, for all targets at once; times in
        milliseconds a layer.
    """
    return [
        _ridge_row("target by target", WANTED_RATIO, sizes, together=False),
        _ridge_row("all at once", 0.0, sizes, together=True),
    ]
