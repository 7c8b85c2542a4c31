"""Controls of linear probes: control tasks, rival features, collinear targets; planted findings and none."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor

from probes._core.ridge import assign_folds
from probes.linear import fit_linear_probe
from probes.selectivity import control_task_targets, fit_controlled_probe, partial_r2


def draw(n: int = 200, p: int = 5, *, seed: int = 0) -> Tensor:
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X = draw()
Y = torch.stack([X[:, 0] * X[:, 1], X[:, 2]], dim=1)  # a product, and a plain feature
DEEP = torch.cat([X, Y[:, :1]], dim=1)
TYPES = torch.arange(200) % 8


class TestControlTask:
    def test_one_value_a_type_from_the_law_of_the_targets(self) -> None:
        control = control_task_targets(TYPES, Y, seed=3)
        for kind in range(8):
            rows = control[kind == TYPES]
            torch.testing.assert_close(rows, rows[:1].expand_as(rows))
            assert bool((rows[0] == Y).all(dim=1).any())
        assert len(control.unique(dim=0)) > 1
        assert not torch.equal(control, control_task_targets(TYPES, Y, seed=4))
        torch.testing.assert_close(control, control_task_targets(TYPES * 9 - 4, Y, seed=3))  # names do not matter

    def test_a_probe_that_can_memorise_is_not_selective(self) -> None:
        # Features that name the type let any table be read; features that know the target alone do not.
        control = control_task_targets(TYPES, Y[:, 1:])
        table = torch.nn.functional.one_hot(TYPES, 8).double()
        lazy = fit_controlled_probe(
            torch.cat([X, table], dim=1), Y[:, 1:], control_features={}, control_targets=control, n_bootstrap=50
        )
        honest = fit_controlled_probe(X, Y[:, 1:], control_features={}, control_targets=control, n_bootstrap=50)
        assert lazy.excess["control task"][0].value < 0.05
        assert honest.excess["control task"][0].low > 0.8
        assert lazy.controls["control task"].r2 > 0.99


class TestControlledProbe:
    found = fit_controlled_probe(DEEP, Y, control_features={"raw": X, "untrained": draw(seed=1)}, n_bootstrap=200)

    def test_excess_over_each_control(self) -> None:
        product, plain = self.found.excess["raw"]
        assert product.low > 0.9  # the raw inputs hold no product
        np.testing.assert_allclose(plain.value, 0.0, atol=1e-6)  # and all of the plain feature
        assert self.found.excess["untrained"][1].low > 0.9
        assert self.found.excess["shuffled"][0].low > 0.9

    def test_selectivity_is_the_least_excess(self) -> None:
        columns = zip(*self.found.excess.values(), strict=True)
        for least, column in zip(self.found.selectivity, columns, strict=True):
            np.testing.assert_allclose(least.value, min(estimate.value for estimate in column))
        assert self.found.selectivity[0].value > 0.9
        assert self.found.selectivity[1].value < 0.01

    def test_numbers_are_those_of_single_probes(self) -> None:
        single, rival = fit_linear_probe(DEEP, Y, n_bootstrap=200), fit_linear_probe(X, Y, n_bootstrap=200)
        torch.testing.assert_close(self.found.probe.r2, single.r2)
        torch.testing.assert_close(self.found.controls["raw"].r2, rival.r2)
        differences = (single.r2_replicates - rival.r2_replicates)[:, 0]
        low, high = np.quantile(differences.numpy(), [0.025, 0.975])
        np.testing.assert_allclose([self.found.excess["raw"][0].low, self.found.excess["raw"][0].high], [low, high])

    def test_groups_penalties_and_options_reach_every_probe(self) -> None:
        groups = torch.arange(200) // 4
        found = fit_controlled_probe(
            DEEP, Y, control_features={"raw": X}, groups=groups, penalties=[3.0], seed=2, n_folds=4, n_bootstrap=20
        )
        assert found.controls["raw"].n_groups == found.probe.n_groups == 50
        torch.testing.assert_close(found.controls["raw"].penalty, torch.full((2,), 3.0).double())
        expected = fit_linear_probe(X, Y, groups=groups, penalties=[3.0], seed=2, n_folds=4, n_bootstrap=20)
        torch.testing.assert_close(found.controls["raw"].r2, expected.r2)

    def test_repr_is_short(self) -> None:
        assert "controls=['shuffled', 'raw', 'untrained']" in repr(self.found)


class TestPartial:
    def test_formula_by_a_slow_loop(self) -> None:
        x, given = X[:, :3], torch.stack([X[:, 0] + X[:, 3], X[:, 4]], dim=1)
        target = (X[:, 0] + 0.5 * draw(seed=2)[:, 0])[:, None]
        found = partial_r2(x, target, given, seed=1, n_bootstrap=20)
        folds = assign_folds(torch.arange(200), 5, 1).numpy()
        both, alone, spread = 0.0, 0.0, 0.0
        for fold in range(5):
            train, test = folds != fold, folds == fold
            design = np.hstack([given.numpy(), x.numpy()])
            full = LinearRegression().fit(design[train], target.numpy()[train])
            rival = LinearRegression().fit(given.numpy()[train], target.numpy()[train])
            both += np.square(target.numpy()[test] - full.predict(design[test])).sum()
            alone += np.square(target.numpy()[test] - rival.predict(given.numpy()[test])).sum()
            spread += np.square(target.numpy()[test] - target.numpy()[train].mean()).sum()
        # Ours shrinks a little, which moves the share in the third digit.
        np.testing.assert_allclose(found.partial[0].value, 1 - both / alone, atol=5e-3)
        np.testing.assert_allclose(found.r2_given[0], 1 - alone / spread)

    def test_collinear_targets_are_told_apart(self) -> None:
        # Two algorithms that nearly agree; the features hold the first alone.
        first = X[:, :1]
        second = first + 0.1 * X[:, 1:2]
        features = torch.cat([first, draw(seed=3)], dim=1)
        assert fit_linear_probe(features, second).r2 > 0.98  # the plain R² is blind
        assert partial_r2(features, second, first).partial[0].high < 0.1
        planted = torch.cat([second, draw(seed=3)], dim=1)
        assert partial_r2(planted, second, first).partial[0].low > 0.9

    def test_a_determined_target_has_a_sentence(self) -> None:
        found = partial_r2(X, torch.stack([X[:, 0], X[:, 1] ** 2], dim=1), X[:, :1])
        assert math.isnan(found.partial[0].value)
        assert found.partial[0].reason == "the given targets determine it"
        assert math.isfinite(found.partial[1].value)

    def test_groups_and_options(self) -> None:
        groups = torch.arange(200) // 10
        found = partial_r2(X, X[:, 0] + X[:, 1], X[:, :1], groups=groups, n_folds=4, n_bootstrap=50, confidence=0.5)
        assert found.n_groups == 20
        assert found.partial[0].low <= found.partial[0].value <= found.partial[0].high
        assert repr(found).startswith("PartialR2(partial=[Estimate(1.000")


ERRORS = {
    "reserved name": (
        lambda: fit_controlled_probe(X, Y, control_features={"shuffled": X}),
        "other names for control features than 'shuffled'",
    ),
    "samples": (
        lambda: fit_controlled_probe(X, Y, control_features={"raw": X[:9]}),
        "as many samples as samples of control 'raw', got 200 and 9",
    ),
    "constant control": (
        lambda: fit_controlled_probe(X, Y, control_features={}, control_targets=0 * Y),
        "every target to vary",
    ),
    "seed": (lambda: control_task_targets(TYPES, Y, seed=-1), "seed of at least 0, got -1"),
    "rivals": (
        lambda: partial_r2(X[:10], Y[:10], draw(10, 8)),
        "more training samples than given targets and intercept, got 8 for 9",
    ),
    "folds": (lambda: partial_r2(X, Y, X, n_folds=1), "n_folds of at least 2, got 1"),
    "few groups": (lambda: partial_r2(X[:3], Y[:3], X[:3]), "number of groups of at least 5, got 3"),
    "constant": (lambda: partial_r2(X, 0 * Y, X), "every target to vary, got target 0"),
    "NaN": (lambda: partial_r2(X, Y, X * torch.nan), "finite given"),
    "n_bootstrap": (lambda: partial_r2(X, Y, X, n_bootstrap=0), "n_bootstrap of at least 1"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
