"""The sampler against exact answers: quadratics with their step-size error, normal crossings by quadrature."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probes.learning_coefficient import LearningCoefficient, estimate_learning_coefficient
from probes.llc_exact import quadratic_learning_coefficient

NOTHING = torch.zeros(1)
CURVATURES = torch.tensor([2.0, 2.0, 2.0, 1.5, 1.5, 1.0, 1.0, 1.0, 4.0, 3.0])


def bowl(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return (CURVATURES * params["w"].square()).sum() / 2 + 0 * batch.sum()


def run(loss: Callable[..., Tensor] = bowl, start: Any = None, data: Any = NOTHING, **options: Any) -> Any:
    settings: dict[str, Any] = {"nbeta": 100.0, "lr": 2e-3, "localization": 5.0, "num_chains": 64} | options
    return estimate_learning_coefficient(loss, start or {"w": torch.zeros(10)}, data, **settings)


def assert_within_errors(result: LearningCoefficient, expected: float, errors: float = 4.0) -> None:
    # Four standard errors are exceeded once in 16,000 runs; a share that small of the truth is also asked for below.
    assert result.standard_error < 0.05 * expected
    np.testing.assert_allclose(result.estimate, expected, atol=errors * result.standard_error)


@pytest.mark.parametrize("localization", [0.0, 5.0, 50.0])
def test_quadratics_follow_the_discretised_formula(localization: float) -> None:
    expected = quadratic_learning_coefficient(CURVATURES, nbeta=100.0, lr=2e-3, localization=localization)
    settings = {"num_draws": 300, "num_burnin_steps": 60, "localization": localization}
    assert_within_errors(run(**settings), float(expected))


def test_the_step_size_error_is_seen_and_not_only_the_posterior() -> None:
    # lr * P = 1.2 for the stiffest direction, so the formula and the posterior are far apart.
    settings = {"lr": 3e-3, "localization": 0.0, "num_draws": 300, "num_burnin_steps": 60}
    h = torch.full((10,), 4.0)

    def stiff(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return (h * params["w"].square()).sum() / 2 + 0 * batch.sum()

    result = run(stiff, **settings)
    assert_within_errors(result, float(quadratic_learning_coefficient(h, nbeta=100.0, lr=3e-3)))
    posterior = float(quadratic_learning_coefficient(h, nbeta=100.0))
    assert abs(result.estimate - posterior) > 10 * result.standard_error


MASKS = {
    "one pattern": (["a"], [0]),
    "stars": (["*"], [0, 1]),
    "mask": ({"b": torch.tensor([True, False, True])}, [1]),
    "pattern and mask": ({"a": torch.tensor(True), "b": torch.tensor([True, False, True])}, [0, 1]),
}


@pytest.mark.parametrize(("masks", "parts"), MASKS.values(), ids=MASKS)
def test_restricted_weights_follow_the_formula_on_the_free_directions(masks: Any, parts: list[int]) -> None:
    def loss(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        scales = torch.tensor([4.0, 1.0, 2.0])
        return params["a"].square().sum() + (scales * params["b"].square()).sum() / 2 + 0 * batch.sum()

    start = {"a": torch.zeros(2, 2), "b": torch.zeros(3)}
    whole_b = not isinstance(masks, dict)
    free = [torch.full((4,), 2.0), torch.tensor([4.0, 1.0, 2.0] if whole_b else [4.0, 2.0])]
    h = torch.cat([free[i] for i in parts])
    result = run(loss, start, param_masks=masks, num_draws=300, num_burnin_steps=60)
    assert result.n_free == len(h)
    assert_within_errors(result, float(quadratic_learning_coefficient(h, nbeta=100.0, lr=2e-3, localization=5.0)))


def gibbs(loss: Callable[..., Any], center: tuple[float, ...], nbeta: float, gamma: float) -> float:
    # Even grids over +-7 standard deviations of the localising Gaussian: exact to far more digits than are needed.
    axis = np.linspace(-7, 7, 351 if len(center) == 2 else 141)
    grid = np.meshgrid(*[axis + c for c in center], indexing="ij")
    values = loss(*grid)
    distance = sum((g - c) ** 2 for g, c in zip(grid, center, strict=True))
    density = np.exp(-nbeta * values - gamma / 2 * distance)
    return float(nbeta * (values * density).sum() / density.sum())


CROSSINGS = {
    "two variables, at the crossing": (lambda a, b: (a * b) ** 2, (0.0, 0.0)),
    "two variables, on a branch": (lambda a, b: (a * b) ** 2, (1.0, 0.0)),
    "a higher power": (lambda a, b: (a * b**2) ** 2, (0.0, 0.0)),
    "three variables": (lambda a, b, c: (a * b * c) ** 2, (0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize(("loss", "center"), CROSSINGS.values(), ids=CROSSINGS)
def test_normal_crossings_agree_with_quadrature(loss: Callable[..., Any], center: tuple[float, ...]) -> None:
    expected = gibbs(loss, center, 5.0, 2.0)
    result = run(
        lambda params, batch: loss(*params["w"].unbind(0)) + 0 * batch.sum(),
        {"w": torch.tensor(center)},
        nbeta=5.0,
        lr=5e-3,
        localization=2.0,
        num_chains=512,
        num_draws=600,
        num_burnin_steps=700,
    )
    assert not bool(result.diverged.any())
    # The step adds 2 to 3 % here, most far out on a branch; 4 standard errors are about 10 %.
    np.testing.assert_allclose(result.estimate, expected, atol=4 * result.standard_error + 0.03 * expected)
    assert result.standard_error < 0.03 * expected


def test_quadrature_matches_the_published_numbers() -> None:
    found = [gibbs(loss, center, 145.0, 1.0) for loss, center in list(CROSSINGS.values())[:2]]
    np.testing.assert_allclose(found, [0.361, 0.381], atol=2e-3)


REGRESSION = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
LABELS = REGRESSION @ torch.ones(4) + torch.randn(300, generator=torch.Generator().manual_seed(2))
FIT = {"w": torch.linalg.lstsq(REGRESSION, LABELS[:, None]).solution[:, 0]}


def squares(params: dict[str, Tensor], batch: Any) -> Tensor:
    return (batch[0] @ params["w"] - batch[1]).square().mean()


def regression_stream(n_samples: int, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(n_samples, 4, generator=generator)
    return xs, xs @ torch.ones(4) + torch.randn(n_samples, generator=generator)


SOURCES = {"fixed": (REGRESSION, LABELS), "stream": regression_stream}
METHODS = ("sgld", "rmsprop_sgld")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shared", [False, True], ids=["own batches", "shared batches"])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_how_many_chains_run_at_once_changes_nothing(source: Any, shared: bool, method: str) -> None:
    settings = {
        "batch_size": 20, "num_chains": 5, "num_draws": 90, "num_burnin_steps": 10, "lr": 1e-4,
        "shared_batches": shared, "sampling_method": method,
    }  # fmt: skip
    start = {"w": FIT["w"].double()}
    doubled = {"fixed": (REGRESSION.double(), LABELS.double())}.get("fixed") if isinstance(source, tuple) else None
    data = doubled or (lambda n, *, seed: tuple(t.double() for t in regression_stream(n, seed=seed)))
    together, grouped, alone = (run(squares, start, data, chains_at_once=n, **settings) for n in (None, 2, 1))
    # float64 and a hundred contracting steps: rounding stays rounding.
    torch.testing.assert_close(grouped.loss_trace, together.loss_trace, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone.loss_trace, together.loss_trace, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone.acceptance, together.acceptance, rtol=1e-9, atol=1e-9)


def test_chains_share_batches_only_if_asked() -> None:
    settings = {"batch_size": 8, "num_chains": 3, "num_draws": 2, "num_burnin_steps": 0}
    own = run(squares, FIT, (REGRESSION, LABELS), **settings).loss_trace[:, 0]
    shared = run(squares, FIT, (REGRESSION, LABELS), shared_batches=True, **settings).loss_trace[:, 0]
    assert len(set(own.tolist())) == 3
    torch.testing.assert_close(shared, shared[:1].expand(3))


def test_more_chains_leave_the_first_ones_alone() -> None:
    few, many = (run(num_chains=n, num_draws=20, num_burnin_steps=5) for n in (2, 4))
    torch.testing.assert_close(many.loss_trace[:2], few.loss_trace)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_regression_lands_near_half_the_parameters(source: Any) -> None:
    result = run(squares, FIT, source, batch_size=100, lr=5e-4, localization=0.1, num_init_loss_batches=400)
    # 4 / 2; the step and minibatch noise add up to a quarter, and the fit misses the stream's minimum a little.
    assert 1.6 < result.estimate < 2.8


def test_batches_may_be_dicts_or_single_tensors() -> None:
    def by_name(params: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return squares(params, (batch["xs"], batch["ys"]))

    def joined(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return squares(params, (batch[:, :4], batch[:, 4]))

    settings = {"batch_size": 16, "num_chains": 2, "num_draws": 5}
    plain = run(squares, FIT, (REGRESSION, LABELS), **settings)
    named = run(by_name, FIT, {"xs": REGRESSION, "ys": LABELS}, **settings)
    single = run(joined, FIT, torch.cat([REGRESSION, LABELS[:, None]], dim=1), **settings)
    torch.testing.assert_close(named.loss_trace, plain.loss_trace)
    torch.testing.assert_close(single.loss_trace, plain.loss_trace)


def test_burnin_never_enters_the_estimate() -> None:
    # From w* the losses rise for the whole of burn-in, so that including it would lower the mean.
    settings = {"num_draws": 50, "num_burnin_steps": 100, "lr": 2e-4}
    result = run(**settings)
    assert result.burnin_trace.shape == (64, 100)
    assert result.loss_trace.shape == (64, 50)
    np.testing.assert_allclose(result.estimate, 100.0 * (float(result.loss_trace.mean()) - result.init_loss))
    whole = run(num_draws=150, num_burnin_steps=0, lr=2e-4)
    torch.testing.assert_close(whole.loss_trace[:, 100:], result.loss_trace)
    torch.testing.assert_close(whole.loss_trace[:, :100], result.burnin_trace)
    assert whole.estimate < result.estimate - 0.1


def test_steps_between_draws_thin_the_trace() -> None:
    dense = run(num_chains=2, num_draws=30, num_burnin_steps=5)
    thin = run(num_chains=2, num_draws=10, num_burnin_steps=5, num_steps_bw_draws=3)
    torch.testing.assert_close(thin.loss_trace, dense.loss_trace[:, ::3])
    torch.testing.assert_close(thin.distance_trace, dense.distance_trace[:, ::3])


def test_one_step_is_the_documented_one() -> None:
    # Two steps from the same seed under two settings: the noise cancels and only the drift is left.
    start = {"w": torch.tensor([0.3, -0.2], dtype=torch.float64)}

    def slope(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return params["w"].sum() + 0 * batch.sum()

    settings = {"num_chains": 1, "num_draws": 3, "num_burnin_steps": 0, "lr": 0.01, "localization": 7.0}
    weak, strong = (run(slope, start, NOTHING.double(), nbeta=nbeta, **settings).loss_trace[0] for nbeta in (1.0, 3.0))
    first = -(0.01 / 2) * (3.0 - 1.0) * 2  # lr / 2 times the difference of nbeta, over two entries
    second = first * (2 - 0.01 / 2 * 7.0)  # the pull towards w* shrinks the first one
    torch.testing.assert_close(strong - weak, torch.tensor([0.0, first, second], dtype=torch.float64))


def test_noise_has_the_variance_of_the_step() -> None:
    flat = {"w": torch.zeros(4000)}
    result = run(lambda p, b: 0 * p["w"].sum() + b.sum(), flat, num_chains=2, num_draws=2, num_burnin_steps=0, lr=0.04)
    # |w - w*|^2 after one step is lr * 4000 up to 2 %.
    np.testing.assert_allclose(result.distance_trace[:, 1].square(), 0.04 * 4000, rtol=0.1)


def test_a_diverged_chain_is_isolated_reported_and_left_out() -> None:
    # (w1 w2)^2 with a large step: some chains run away, from w* too.
    def crossing(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return params["w"].prod().square() + 0 * batch.sum()

    settings = {"nbeta": 1000.0, "lr": 5e-3, "localization": 1.0, "num_draws": 400}
    result = run(crossing, {"w": torch.zeros(2)}, **settings)
    assert 0 < int(result.diverged.sum()) < 64
    assert not bool(result.loss_trace[result.diverged].isfinite().all())
    healthy = result.chain_estimates[~result.diverged]
    np.testing.assert_allclose(result.estimate, float(healthy.mean()))
    assert "diverged" in result.raised
    first_sound = int((~result.diverged).nonzero()[0])
    alone = run(crossing, {"w": torch.zeros(2)}, **settings | {"num_chains": first_sound + 1}, chains_at_once=1)
    torch.testing.assert_close(alone.loss_trace[first_sound], result.loss_trace[first_sound], rtol=1e-3, atol=1e-6)


def test_a_chain_that_ran_away_without_overflow_is_left_out_too() -> None:
    # Unstable (lr * P = 4.8), but too few steps for an overflow: the estimate is finite and absurd.
    result = run(lr=1.2e-2, num_draws=30, num_burnin_steps=10)
    assert bool(result.loss_trace.isfinite().all())
    assert bool(result.diverged.all())
    assert math.isnan(result.estimate)
    assert "0 of 64 chains" in repr(result)


def test_evaluation_data_are_averaged_while_other_data_drive() -> None:
    def scaled(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return batch.mean() * params["w"].square().sum()

    start, sizes = {"w": torch.zeros(10)}, {"num_draws": 200, "num_burnin_steps": 60, "localization": 0.0}
    ones = torch.ones(4)
    plain = run(scaled, start, ones, **sizes)
    tripled = run(scaled, start, ones, eval_data=3 * ones, **sizes)
    np.testing.assert_allclose(tripled.estimate, 3 * plain.estimate, rtol=1e-5)
    # Data-restricted proper: the same data in both places define another posterior, of the same coefficient.
    restricted = run(scaled, start, 3 * ones, **sizes)
    expected = quadratic_learning_coefficient(torch.full((10,), 6.0), nbeta=100.0, lr=2e-3)
    assert_within_errors(restricted, float(expected))


def test_preconditioned_form_on_a_quadratic() -> None:
    # With a large rmsprop_eps, G is constant: SGLD with lr / eps and localization alike.
    sizes = {"num_draws": 300, "num_burnin_steps": 60, "localization": 5.0}
    result = run(lr=2.0, sampling_method="rmsprop_sgld", rmsprop_eps=1000.0, rmsprop_alpha=0.0, **sizes)
    expected = quadratic_learning_coefficient(CURVATURES, nbeta=100.0, lr=2e-3, localization=5.0)
    assert_within_errors(result, float(expected))


def test_preconditioning_makes_ill_scaled_directions_mix() -> None:
    scales = torch.tensor([10.0, 0.01])

    def narrow(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return (scales * params["w"].square()).sum() / 2 + 0 * batch.sum()

    settings = {"start": {"w": torch.zeros(2)}, "nbeta": 100.0, "localization": 0.0, "num_draws": 300}
    # The truth is 1; after so few steps plain SGLD has hardly left w* in the flat direction.
    plain = run(narrow, lr=3e-4, num_burnin_steps=300, **settings)
    adapted = run(narrow, lr=3e-4, num_burnin_steps=300, sampling_method="rmsprop_sgld", rmsprop_eps=0.01, **settings)
    assert plain.estimate < 0.7 < 0.85 < adapted.estimate < 1.4


def test_init_loss_is_exact_on_small_sets_and_has_an_error_otherwise() -> None:
    sizes = {"num_chains": 2, "num_draws": 4}
    whole = run(squares, FIT, (REGRESSION, LABELS), **sizes)
    split = run(squares, FIT, (REGRESSION, LABELS), batch_size=64, **sizes)
    drawn = run(squares, FIT, (REGRESSION, LABELS), batch_size=5, num_init_loss_batches=30, **sizes)
    exact = float(squares(FIT, (REGRESSION, LABELS)))
    np.testing.assert_allclose([whole.init_loss, split.init_loss], exact, rtol=1e-5)
    assert (whole.init_loss_error, split.init_loss_error, split.n_init_batches) == (0.0, 0.0, 5)
    assert drawn.n_init_batches == 30
    assert 0 < abs(drawn.init_loss - exact) < 4 * drawn.init_loss_error
    np.testing.assert_allclose(drawn.total_error, math.hypot(drawn.standard_error, 100 * drawn.init_loss_error))


def test_defaults_only_seeds_and_repr() -> None:
    first = estimate_learning_coefficient(bowl, {"w": torch.zeros(10)}, NOTHING, nbeta=100.0, lr=1e-3)
    again = estimate_learning_coefficient(bowl, {"w": torch.zeros(10)}, NOTHING, nbeta=100.0, lr=1e-3)
    other = estimate_learning_coefficient(bowl, {"w": torch.zeros(10)}, NOTHING, nbeta=100.0, lr=1e-3, seed=1)
    torch.testing.assert_close(again.loss_trace, first.loss_trace, rtol=0, atol=0)
    assert not torch.equal(other.loss_trace, first.loss_trace)
    assert repr(first).startswith("LearningCoefficient(")
    assert "8 of 8 chains" in repr(first)


def test_one_chain_and_one_draw_give_what_they_can() -> None:
    result = run(num_chains=1, num_draws=1, num_burnin_steps=0)
    assert math.isnan(result.standard_error)
    np.testing.assert_allclose(result.estimate, 0.0, atol=1e-12)


def test_parameters_and_the_global_generator_are_untouched() -> None:
    start = {"w": torch.zeros(10, requires_grad=True)}
    before = torch.random.get_rng_state()
    run(start=start, num_draws=5)
    torch.testing.assert_close(start["w"].detach(), torch.zeros(10))
    assert start["w"].grad is None
    assert torch.equal(torch.random.get_rng_state(), before)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nbeta": ({"nbeta": 0.0}, "needs a positive finite nbeta, got 0.0"),
    "lr": ({"lr": math.inf}, "needs a positive finite lr, got inf"),
    "eps": ({"rmsprop_eps": -1.0}, "positive finite rmsprop_eps"),
    "localization": ({"localization": -1.0}, "needs a finite localization from 0"),
    "alpha": ({"rmsprop_alpha": 1.0}, "needs 0 <= rmsprop_alpha < 1"),
    "chains": ({"num_chains": 0}, "num_chains of at least 1"),
    "draws": ({"num_draws": 0}, "num_draws of at least 1"),
    "burn-in": ({"num_burnin_steps": -1}, "num_burnin_steps of at least 0"),
    "thinning": ({"num_steps_bw_draws": 0}, "num_steps_bw_draws of at least 1"),
    "mala": ({"num_mala_checks": 0}, "num_mala_checks of at least 1"),
    "init": ({"num_init_loss_batches": 0}, "num_init_loss_batches of at least 1"),
    "at once": ({"chains_at_once": 0}, "chains_at_once of at least 1"),
    "seed": ({"seed": -1}, "seed of at least 0"),
    "batch": ({"batch_size": 0}, "batch_size of at least 1, got 0"),
    "pattern": ({"param_masks": ["v*"]}, "'v\\*', which matches none of w"),
    "no pattern": ({"param_masks": []}, "at least one pattern"),
    "nothing moves": ({"param_masks": {"w": torch.zeros(10, dtype=torch.bool)}}, "entry that may move"),
    "mask shape": ({"param_masks": {"w": torch.ones(3, dtype=torch.bool)}}, r"got \(3,\) for 'w' of shape \(10,\)"),
    "no parameters": ({"start": {}}, "needs parameters, got an empty mapping"),
    "nan": ({"start": {"w": torch.full((10,), math.nan)}}, "finite parameters, got NaN or infinity in 'w'"),
    "dtypes": ({"start": {"w": torch.zeros(10), "v": torch.zeros(1).double()}}, "one dtype and device"),
    "lengths": ({"data": (torch.zeros(3), torch.zeros(4))}, r"got \[3, 4\]"),
    "stream without size": ({"data": regression_stream}, "needs a batch_size for streaming data"),
    "stream length": ({"data": lambda n, *, seed: torch.zeros(n + seed + 1), "batch_size": 4}, r"got \[3\] for 2"),
    "vector loss": ({"loss": lambda p, _: p["w"]}, r"return one number, got shape \(10,\)"),
    "infinite loss": ({"loss": lambda p, _: p["w"].sum() / 0}, "finite loss at w"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    chosen = dict(options)
    start = chosen.pop("start", {"w": torch.zeros(10)})
    settings = {"nbeta": 1.0, "lr": 1e-3, "num_draws": 5} | chosen
    loss, data = settings.pop("loss", bowl), settings.pop("data", NOTHING)
    with pytest.raises(ValueError, match=message):
        estimate_learning_coefficient(loss, start, data, **settings)


REFUSED_KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "mask dtype": ({"param_masks": {"w": torch.ones(10)}}, "boolean masks, got torch.float32"),
    "string": ({"param_masks": "w"}, "list of patterns as param_masks, got the string 'w'"),
    "data": ({"data": 3}, "got int"),
    "no tensors": ({"data": ()}, "got tuple"),
    "loss": ({"loss": lambda *_: 1.0}, "return a tensor, got float"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED_KINDS.values(), ids=REFUSED_KINDS)
def test_wrong_kinds_are_refused(options: dict[str, Any], message: str) -> None:
    settings = {"nbeta": 1.0, "lr": 1e-3, "num_draws": 5} | options
    loss, data = settings.pop("loss", bowl), settings.pop("data", NOTHING)
    with pytest.raises(TypeError, match=message):
        estimate_learning_coefficient(loss, {"w": torch.zeros(10)}, data, **settings)
