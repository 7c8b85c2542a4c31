"""Linear probes: scikit-learn as the oracle, planted read-outs, the shuffled control, grouping, edges."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV
from torch import Tensor

from probes._core.ridge import assign_folds, fit_ridge, moments_of, shuffled_rows
from probes.linear import fit_linear_probe


def draw(n: int = 120, p: int = 6, *, noise: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator, dtype=torch.float64)
    weight = torch.randn(p, 2, generator=generator, dtype=torch.float64)
    return x, x @ weight + 3 + noise * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def prompts(n: int, points: int) -> Tensor:
    return torch.arange(n * points) // points


@pytest.mark.parametrize("penalty", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize(("n", "p"), [(60, 5), (8, 20)], ids=["n > p", "n < p"])
def test_refit_agrees_with_sklearn_ridge(n: int, p: int, penalty: float) -> None:
    x, y = draw(n, p)
    probe = fit_linear_probe(x, y, penalties=[penalty])
    expected = Ridge(alpha=penalty).fit(x.numpy(), y.numpy())
    # n < p with a tiny penalty divides by it; the normal equations keep about ten digits there.
    np.testing.assert_allclose(probe.weight.numpy(), expected.coef_.T, atol=1e-6)
    np.testing.assert_allclose(probe.bias.numpy(), expected.intercept_, atol=1e-6)
    np.testing.assert_allclose(probe.predict(x).numpy(), expected.predict(x.numpy()), atol=1e-6)


@pytest.mark.parametrize(("n", "p"), [(60, 5), (15, 40)], ids=["n > p", "n < p"])
def test_penalties_agree_with_sklearn_leave_one_out(n: int, p: int) -> None:
    x, y = draw(n, p, noise=3.0)
    grid = [1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0]
    probe = fit_linear_probe(x, y, penalties=grid)
    expected = RidgeCV(alphas=grid, alpha_per_target=True).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(probe.penalty.numpy(), expected.alpha_)


def test_leave_one_out_formula_equals_leaving_one_out() -> None:
    x, y = draw(12, 4)
    grid = torch.tensor([1e-3, 0.3, 30.0], dtype=torch.float64)
    errors = torch.zeros(3, 2, dtype=torch.float64)
    for a, penalty in enumerate(grid):
        for i in range(12):
            keep = torch.arange(12) != i
            fit = Ridge(alpha=float(penalty)).fit(x[keep].numpy(), y[keep].numpy())
            errors[a] += torch.from_numpy(fit.predict(x[i : i + 1].numpy())[0] - y[i].numpy()).square()
    best = fit_ridge(x, y, moments_of(x, y), grid)
    torch.testing.assert_close(best.penalty, grid[errors.argmin(dim=0)])


def test_r2_formula_on_held_out_folds() -> None:
    x, y = draw()
    groups = prompts(30, 4)
    probe = fit_linear_probe(x, y, groups=groups, penalties=[2.0], seed=3)
    folds = assign_folds(groups, 5, 3)
    errors, spread = np.zeros(2), np.zeros(2)
    for fold in range(5):
        train, test = (folds != fold).numpy(), (folds == fold).numpy()
        fit = Ridge(alpha=2.0).fit(x.numpy()[train], y.numpy()[train])
        errors += np.square(y.numpy()[test] - fit.predict(x.numpy()[test])).sum(axis=0)
        spread += np.square(y.numpy()[test] - y.numpy()[train].mean(axis=0)).sum(axis=0)
    np.testing.assert_allclose(probe.r2.numpy(), 1 - errors / spread)


def test_default_penalties_are_relative_to_the_mean_squared_feature() -> None:
    x, y = draw()
    probe = fit_linear_probe(x, y)
    scale = len(x) * (x - x.mean(dim=0)).square().mean()
    ratio = (probe.penalty / scale).log10()
    torch.testing.assert_close(ratio, ratio.round())  # whole powers of ten of n times the mean square


def test_positive_control_recovers_the_read_out() -> None:
    x, y = draw(noise=0.0)
    probe = fit_linear_probe(x, y)
    np.testing.assert_allclose(probe.r2.numpy(), 1.0, atol=1e-9)  # the smallest penalty still shrinks a little
    np.testing.assert_allclose(probe.bias.numpy(), 3.0, atol=1e-6)
    assert (probe.selectivity > 0.9).all()


def test_negative_control_reads_nothing() -> None:
    x, _ = draw(400)
    y = torch.randn(400, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    probe = fit_linear_probe(x, y)
    # Six useless features cost about 6/400 of the variance at most; chance may add as much.
    np.testing.assert_allclose(probe.r2.numpy(), 0.0, atol=0.04)
    assert (probe.r2_interval[:, 0] < 0.03).all()


def test_a_position_effect_stays_in_the_control() -> None:
    # The target depends on the position alone, which the features contain: no prompt is read.
    position = torch.arange(10.0).repeat(30).double()
    noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = torch.cat([position[:, None], noise], dim=1)
    grouped = fit_linear_probe(features, position + 0.1 * noise[:, 0], groups=prompts(30, 10))
    assert grouped.r2_shuffled > 0.98
    assert grouped.selectivity.abs() < 0.02
    # Prompts of unequal sizes have no common positions, and the shuffle over samples loses the effect.
    groups = prompts(30, 10)
    groups[0] = 1
    assert fit_linear_probe(features, position, groups=groups).r2_shuffled < 0.1


def test_groups_stop_leakage() -> None:
    # Features that only identify the prompt, and a target that is constant in it: nothing carries over.
    generator = torch.Generator().manual_seed(0)
    identity = torch.randn(40, 60, generator=generator, dtype=torch.float64).repeat_interleave(8, dim=0)
    target = torch.randn(40, generator=generator, dtype=torch.float64).repeat_interleave(8)
    leaking = fit_linear_probe(identity, target)
    honest = fit_linear_probe(identity, target, groups=prompts(40, 8))
    assert leaking.r2 > 0.95
    assert honest.r2 < 0.3


def test_folds_keep_groups_together_and_balanced() -> None:
    groups = prompts(13, 3)
    folds = assign_folds(groups, 5, seed=0)
    assert all(len(folds[groups == g].unique()) == 1 for g in range(13))
    sizes = torch.bincount(folds) // 3
    assert sizes.max() - sizes.min() <= 1


def test_shuffle_moves_whole_prompts() -> None:
    groups = torch.tensor([0, 1, 0, 2, 1, 2])  # interleaved; positions are 0 0 1 0 1 1
    source = shuffled_rows(groups, seed=0)
    torch.testing.assert_close(source.sort().values, torch.arange(6))
    assert (groups[source] != groups).all()
    position = torch.tensor([0, 0, 1, 0, 1, 1])
    torch.testing.assert_close(position[source], position)
    for g in range(3):
        assert len(groups[source][groups == g].unique()) == 1


def test_order_of_samples_does_not_matter_inside_folds() -> None:
    x, y = draw()
    groups = prompts(30, 4)
    order = torch.arange(120).reshape(30, 4).flip(1).flatten()  # reverse each prompt
    plain = fit_linear_probe(x, y, groups=groups)
    turned = fit_linear_probe(x[order], y[order], groups=groups[order])
    torch.testing.assert_close(turned.r2, plain.r2)
    torch.testing.assert_close(turned.weight, plain.weight)


def test_group_names_may_have_gaps() -> None:
    x, y = draw()
    named, gapped = (fit_linear_probe(x, y, groups=prompts(30, 4) * step - 7) for step in (1, 100))
    torch.testing.assert_close(named.r2, gapped.r2)
    assert gapped.n_groups == 30


def test_single_target_equals_its_column() -> None:
    x, y = draw()
    both, one = fit_linear_probe(x, y), fit_linear_probe(x, y[:, 1])
    torch.testing.assert_close(one.r2, both.r2[1:])
    torch.testing.assert_close(one.weight, both.weight[:, 1:])
    torch.testing.assert_close(one.predict(x), both.predict(x)[:, 1:])


def test_replicates_pair_up_and_give_the_interval() -> None:
    x, y = draw(noise=3.0)
    probe = fit_linear_probe(x, y, n_bootstrap=200)
    ends = np.quantile(probe.r2_replicates.numpy(), [0.025, 0.975], axis=0).T
    np.testing.assert_allclose(probe.r2_interval.numpy(), ends)
    # The same groups and seed are resampled alike: a probe of the same features in other units has equal replicates.
    torch.testing.assert_close(fit_linear_probe(2 * x, y, n_bootstrap=200).r2_replicates, probe.r2_replicates)
    assert probe.r2_shuffled_replicates is not None
    assert probe.r2_shuffled_replicates.mean() < 0.1 < probe.r2_replicates.mean()
    assert fit_linear_probe(x, y, controls=False).r2_shuffled_replicates is None


def test_without_controls() -> None:
    x, y = draw()
    plain, bare = fit_linear_probe(x, y), fit_linear_probe(x, y, controls=False)
    assert bare.r2_shuffled is None
    torch.testing.assert_close(bare.r2, plain.r2)
    torch.testing.assert_close(bare.r2_interval, plain.r2_interval)


def test_interval_options() -> None:
    x, y = draw()
    wide = fit_linear_probe(x, y, confidence=0.99, n_bootstrap=300)
    narrow = fit_linear_probe(x, y, confidence=0.5, n_bootstrap=300)
    assert (wide.r2_interval[:, 0] < narrow.r2_interval[:, 0]).all()
    assert ((narrow.r2_interval[:, 0] < wide.r2) & (wide.r2 < narrow.r2_interval[:, 1])).all()


@pytest.mark.parametrize("n_folds", [2, 10])
def test_folds_option_and_seed(n_folds: int) -> None:
    x, y = draw()
    first, again, other = (fit_linear_probe(x, y, n_folds=n_folds, seed=s) for s in (0, 0, 1))
    torch.testing.assert_close(first.r2, again.r2, rtol=0, atol=0)
    assert (first.r2 != other.r2).all()


def test_float32_is_computed_in_float64() -> None:
    x, y = (tensor.float() for tensor in draw())
    single, double = fit_linear_probe(x, y), fit_linear_probe(x.double(), y.double())
    assert single.r2.dtype == single.weight.dtype == single.r2_interval.dtype == torch.float32
    torch.testing.assert_close(single.weight, double.weight.float())


def test_dead_features_read_nothing() -> None:
    _, y = draw()
    probe = fit_linear_probe(torch.zeros(120, 4, dtype=torch.float64), y)
    torch.testing.assert_close(probe.r2, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(probe.weight, torch.zeros(4, 2, dtype=torch.float64))


def test_repeated_features_are_no_trouble() -> None:
    # Each weight splits into halves, whose squares sum to half of its own: twice the penalty is the same fit.
    x, y = draw()
    doubled = torch.cat([x, x], dim=1)
    once, twice = fit_linear_probe(x, y, penalties=[1.0]), fit_linear_probe(doubled, y, penalties=[2.0])
    torch.testing.assert_close(twice.predict(doubled), once.predict(x))
    torch.testing.assert_close(twice.r2, once.r2)
    assert fit_linear_probe(doubled, y).weight.isfinite().all()


def test_as_few_groups_as_folds() -> None:
    x, y = draw(10)
    probe = fit_linear_probe(x, y, groups=prompts(2, 5), n_folds=2)
    assert probe.r2.isfinite().all()
    assert probe.n_groups == 2


def test_repr_is_short() -> None:
    assert repr(fit_linear_probe(*draw(noise=0.0))) == ("LinearProbe(r2=[1.000, 1.000], n_features=6, n_groups=120)")


def with_constant_target() -> object:
    x, y = draw()
    y[:, 1] = 0.1
    return fit_linear_probe(x, y)


X, Y = draw()
ERRORS = {
    "constant target": (
        with_constant_target,
        "every target to vary, got target 1 constant at 0.1; leave it out",
    ),
    "NaN features": (lambda: fit_linear_probe(X * torch.nan, Y), "finite features"),
    "NaN targets": (lambda: fit_linear_probe(X, Y * torch.nan), "finite targets"),
    "no samples": (lambda: fit_linear_probe(X[:0], Y[:0]), "at least one entry along sample of features"),
    "few groups": (
        lambda: fit_linear_probe(X, Y, groups=torch.zeros(120, dtype=torch.int64)),
        "number of groups of at least 5, got 1",
    ),
    "n_folds": (lambda: fit_linear_probe(X, Y, n_folds=1), "n_folds of at least 2, got 1"),
    "seed": (lambda: fit_linear_probe(X, Y, seed=-1), "seed of at least 0, got -1"),
    "n_bootstrap": (lambda: fit_linear_probe(X, Y, n_bootstrap=0), "n_bootstrap of at least 1"),
    "confidence": (lambda: fit_linear_probe(X, Y, confidence=1.5), "0 < confidence < 1, got 1.5"),
    "no penalties": (lambda: fit_linear_probe(X, Y, penalties=[]), "positive finite penalties, got"),
    "zero penalty": (
        lambda: fit_linear_probe(X, Y, penalties=[0.0]),
        r"positive finite penalties, got \[0.0\]",
    ),
    "width": (lambda: fit_linear_probe(X, Y).predict(X[:, :3]), "as many features as weights, got 3 and 6"),
    "no control": (lambda: fit_linear_probe(X, Y, controls=False).selectivity, "pass controls=True"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
