"""Probes by layer and position, and probes of streams: single probes as the reference, batch sizes, edges."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from probes.linear import fit_linear_probe
from probes.probe_grid import _choose, fit_probe_grid
from probes.streamed_probe import _fold_of, fit_streamed_probe


def draw(n: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, n, 4, 5, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(n, 4, 2, generator=generator, dtype=torch.float64)
    targets = torch.stack([features[1, :, :, 0], features[2, :, :, 3]], dim=2) + noise
    targets[:, 0, 1] = 7.0  # a constant at the first position, as a prediction from no pairs is
    return features, targets


X, Y = draw()
GRID = fit_probe_grid(X, Y)


class TestGrid:
    def test_each_cell_equals_a_single_probe(self) -> None:
        for layer, pos in ((0, 1), (1, 3), (2, 2)):
            single = fit_linear_probe(X[layer, :, pos], Y[:, pos], n_bootstrap=400)
            torch.testing.assert_close(GRID.r2[layer, pos], single.r2)
            torch.testing.assert_close(GRID.low[layer, pos], single.r2_interval[:, 0])
            torch.testing.assert_close(GRID.high[layer, pos], single.r2_interval[:, 1])
            torch.testing.assert_close(GRID.penalty[layer, pos], single.penalty)
            assert GRID.r2_shuffled is not None
            torch.testing.assert_close(GRID.r2_shuffled[layer, pos], single.r2_shuffled)

    def test_a_constant_target_gets_a_sentence(self) -> None:
        assert GRID.undefined == {(0, 1): "target 1 is constant at position 0"}
        assert bool(GRID.r2[:, 0, 1].isnan().all())
        assert bool(GRID.best_r2[0, 1].isnan())
        assert bool(GRID.r2[:, 0, 0].isfinite().all())

    def test_the_planted_layer_is_chosen_and_scored_on_other_prompts(self) -> None:
        assert bool((GRID.best_layer[:, 0] == 1).all())
        assert bool((GRID.best_layer[1:, 1] == 2).all())
        assert float(GRID.best_r2[:, 0].min()) > 0.7
        # Among layers of noise the chosen one looks good on its own half; on the other it reads nothing.
        noise = torch.randn(20, 60, 1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        blind = fit_probe_grid(noise, Y[:, 1:2, :1], n_bootstrap=20)
        assert float(blind.best_r2[0, 0]) < 0.2

    def test_the_layer_is_scored_where_it_was_not_chosen(self) -> None:
        order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
        squares = torch.ones(2, 1, 2, 10, 1).double()  # errors and spread of two layers: both R² are 0
        squares[1, 0, 0, order[:5]] = 0.1  # the second layer is good on the first half alone
        layer, score = _choose(squares, 3)
        assert int(layer) == 1
        np.testing.assert_allclose(float(score), 0.0, atol=1e-12)

    def test_options(self) -> None:
        found = fit_probe_grid(X, Y, penalties=[2.0], n_folds=3, seed=4, controls=False, n_bootstrap=30, confidence=0.5)
        assert found.r2_shuffled is None
        torch.testing.assert_close(found.penalty[1, 1], torch.full((2,), 2.0).double())
        single = fit_linear_probe(X[1, :, 1], Y[:, 1], penalties=[2.0], n_folds=3, seed=4, n_bootstrap=30)
        torch.testing.assert_close(found.r2[1, 1], single.r2)
        assert found.high[1, 1, 0] - found.low[1, 1, 0] < GRID.high[1, 1, 0] - GRID.low[1, 1, 0]

    def test_float32_and_repr(self) -> None:
        found = fit_probe_grid(X.float(), Y.float(), n_bootstrap=20)
        assert found.r2.dtype == found.best_r2.dtype == torch.float32
        torch.testing.assert_close(found.r2, GRID.r2.float(), equal_nan=True, rtol=1e-4, atol=1e-4)
        assert repr(found).startswith("ProbeGrid(n_layers=3, n_pos=4, n_targets=2, best_r2=0.9")


FEATURES = torch.cat([X[0].flatten(0, 1), X[1].flatten(0, 1)], dim=1) + 50.0  # a mean, which shifts must absorb
TARGETS = FEATURES[:, :2] - 100.0 + Y[:, :, 0].flatten()[:, None]
PROMPTS = torch.arange(60).repeat_interleave(4)


def batches(size: int, features: Tensor = FEATURES, targets: Tensor = TARGETS) -> list[tuple[Tensor, Tensor, Tensor]]:
    return list(zip(features.split(size), targets.split(size), PROMPTS.split(size), strict=True))


class TestStream:
    @pytest.mark.parametrize("size", [1, 7, 64, 240])
    def test_batch_size_changes_nothing(self, size: int) -> None:
        whole, cut = fit_streamed_probe(batches(240)), fit_streamed_probe(iter(batches(size)))
        for field in ("r2", "r2_folds", "weight", "bias", "penalty"):
            torch.testing.assert_close(getattr(cut, field), getattr(whole, field), rtol=1e-10, atol=1e-10)
        assert cut.n_samples == 240

    def test_held_out_scores_agree_with_sklearn(self) -> None:
        found = fit_streamed_probe(batches(50), penalties=[5.0], n_folds=4, seed=1)
        folds = _fold_of(PROMPTS, 4, 1).numpy()
        x, y = FEATURES.numpy(), TARGETS.numpy()
        errors, spread = np.zeros((4, 2)), np.zeros((4, 2))
        for fold in range(4):
            train, test = folds != fold, folds == fold
            said = Ridge(alpha=5.0).fit(x[train], y[train]).predict(x[test])
            errors[fold] = np.square(y[test] - said).sum(axis=0)
            spread[fold] = np.square(y[test] - y[train].mean(axis=0)).sum(axis=0)
        np.testing.assert_allclose(found.r2, 1 - errors.sum(axis=0) / spread.sum(axis=0), rtol=1e-9)
        np.testing.assert_allclose(found.r2_folds, 1 - errors / spread, rtol=1e-9)
        refit = Ridge(alpha=5.0).fit(x, y)
        np.testing.assert_allclose(found.weight, refit.coef_.T, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.bias, refit.intercept_, rtol=1e-8)

    def test_the_penalty_is_that_of_generalised_cross_validation(self) -> None:
        # Few samples and many targets, so that every term of the formula decides some of them.
        grid = [0.1, 1.0, 3.0, 10.0, 30.0, 100.0]
        features = FEATURES[:24]
        noise = torch.randn(24, 60, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
        targets = features[:, :1] + noise * torch.linspace(0.1, 4.0, 60)
        found = fit_streamed_probe([(features, targets, PROMPTS[:24])], penalties=grid)
        x = features - features.mean(dim=0)
        scores = []
        for penalty in grid:
            hat = x @ torch.linalg.solve(x.T @ x + penalty * torch.eye(10).double(), x.T) + 1 / 24
            residuals = targets - hat @ targets
            scores.append(residuals.square().sum(dim=0) / (24 - hat.trace()) ** 2)
        best = torch.stack(scores).argmin(dim=0)
        assert len(best.unique()) > 3
        torch.testing.assert_close(found.penalty, torch.tensor(grid).double()[best])

    def test_prompts_stay_together_and_folds_fill(self) -> None:
        folds = _fold_of(torch.arange(2000), 5, 0)
        counts = torch.bincount(folds).double()
        # 400 expected in each, with a deviation of 18.
        np.testing.assert_allclose(counts, 400.0, atol=80)
        assert not torch.equal(folds, _fold_of(torch.arange(2000), 5, 1))
        torch.testing.assert_close(_fold_of(torch.tensor([3, 3, -9, 3]), 5, 0)[[0, 1]], folds[[3, 3]])

    def test_controls_leakage_and_constants(self) -> None:
        noise = torch.randn(240, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        targets = torch.cat([FEATURES[:, :1], noise, torch.full_like(noise, 3.0)], dim=1)
        found = fit_streamed_probe(batches(100, targets=targets))
        assert float(found.r2[0]) > 0.999
        assert float(found.r2[1]) < 0.1
        assert bool(found.r2[2].isnan())
        identity = torch.randn(60, 30, generator=torch.Generator().manual_seed(4)).double()[PROMPTS]
        value = torch.randn(60, 1, generator=torch.Generator().manual_seed(5)).double()[PROMPTS]
        assert float(fit_streamed_probe(batches(100, identity, value)).r2) < 0.4

    def test_float32_and_repr(self) -> None:
        found = fit_streamed_probe(batches(100, FEATURES.float(), TARGETS.float()))
        assert found.weight.dtype == torch.float32
        torch.testing.assert_close(found.r2, fit_streamed_probe(batches(100)).r2.float(), rtol=1e-4, atol=1e-4)
        assert repr(found).endswith("n_features=10, n_samples=240)")


ERRORS = {
    "few prompts": (lambda: fit_probe_grid(X[:, :4], Y[:4]), "number of prompts of at least 5, got 4"),
    "folds": (lambda: fit_probe_grid(X, Y, n_folds=1), "n_folds of at least 2, got 1"),
    "penalties": (lambda: fit_probe_grid(X, Y, penalties=[-1.0]), "positive finite penalties"),
    "NaN": (lambda: fit_probe_grid(X * torch.nan, Y), "finite features"),
    "confidence": (lambda: fit_probe_grid(X, Y, confidence=2.0), "0 < confidence < 1"),
    "no batch": (lambda: fit_streamed_probe([]), "at least one batch, got none; an iterator is used up"),
    "one fold": (
        lambda: fit_streamed_probe([(FEATURES[:4], TARGETS[:4], PROMPTS[:4])]),
        "prompts in at least two folds, got 4 samples in one",
    ),
    "width": (
        lambda: fit_streamed_probe([*batches(240), (FEATURES[:, :3], TARGETS, PROMPTS)]),
        "as many features a batch as features of the first, got 3 and 10",
    ),
    "targets": (
        lambda: fit_streamed_probe([*batches(240), (FEATURES, TARGETS[:, :1], PROMPTS)]),
        "as many targets a batch as targets of the first, got 1 and 2",
    ),
    "rows": (lambda: fit_streamed_probe([(FEATURES, TARGETS[:3], PROMPTS)]), "as many features as targets"),
    "stream folds": (lambda: fit_streamed_probe(batches(9), n_folds=1), "n_folds of at least 2"),
    "stream seed": (lambda: fit_streamed_probe(batches(9), seed=-1), "seed of at least 0"),
    "stream penalties": (lambda: fit_streamed_probe(batches(9), penalties=[]), "positive finite penalties"),
    "stream NaN": (lambda: fit_streamed_probe(batches(9, FEATURES * torch.nan)), "finite features"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
