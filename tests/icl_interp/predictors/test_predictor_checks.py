"""Every refusal of the predictors, on plain tensors: what needs what, what came, what to do."""

import inspect
import math

import pytest
import torch

import icl_interp.predictors as icl
from icl_interp.predictors import _base

XS, YS = torch.zeros(2, 3, 4), torch.zeros(2, 3)

# The import hook of the tests refuses a wrong kind or shape before our own check runs; users have no hook.
plain = inspect.unwrap


@pytest.mark.parametrize(
    ("xs", "ys", "error", "message"),
    [
        ([[1.0]], YS, TypeError, "ridge needs floating-point tensors, got xs of list"),
        (XS.long(), YS, TypeError, r"got xs of torch.int64; call .float\(\)"),
        (XS, YS.long(), TypeError, "got ys of torch.int64"),
        (XS[0], YS, ValueError, r"xs of shape \[batch point dim\].*got \[3, 4\] and \[2, 3\]"),
        (XS, YS[:, :2], ValueError, r"got \[2, 3, 4\] and \[2, 2\]"),
        (XS, YS[..., None], ValueError, r"got \[2, 3, 4\] and \[2, 3, 1\]"),
        (
            XS[:0],
            YS[:0],
            ValueError,
            r"at least one prompt, point and dimension, got xs of shape \[0, 3, 4\]",
        ),
        (XS[:, :0], YS[:, :0], ValueError, r"got xs of shape \[2, 0, 4\]"),
        (XS[..., :0], YS, ValueError, r"got xs of shape \[2, 3, 0\]"),
        (XS, YS.double(), TypeError, "one dtype, got torch.float32 and torch.float64"),
        (XS + math.nan, YS, ValueError, "finite numbers up to 1e.50 in xs, got nan"),
        (XS, YS + math.inf, ValueError, "in ys, got inf; put 0 where a label is unknown"),
        (XS.double() + 1e60, YS.double(), ValueError, "in xs, got 1e.60"),
    ],
)
def test_prompts_that_will_not_do(xs, ys, error, message):
    with pytest.raises(error, match=message):
        plain(_base.check_prompts)("ridge", xs, ys)


def test_good_prompts_pass():
    _base.check_prompts("ridge", XS, YS)


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        ([], ValueError, "zero needs at least one point, got an empty list"),
        ([3], ValueError, "zero needs points from -3 to 2 for prompts of 3 points, got 3"),
        ([0, -4], ValueError, "got -4; the query counts as a point"),
        ([1.0], TypeError, "zero needs whole numbers as points, got 1.0"),
        ([True], TypeError, "got True"),
    ],
)
def test_points_that_will_not_do(points, error, message):
    with pytest.raises(error, match=message):
        plain(_base.resolve_points)("zero", points, 3)


def test_points_are_resolved_in_order():
    assert _base.resolve_points("zero", None, 3) == [0, 1, 2]
    assert _base.resolve_points("zero", (-1, 0, -1), 3) == [2, 0, 2]


def test_a_predictor_refuses_points_out_of_range():
    with pytest.raises(ValueError, match="least_squares needs points from -3 to 2"):
        icl.least_squares()(XS, YS, points=[7])


EYE, ONES = torch.eye(4), torch.ones(4)
REFUSED = [
    (lambda: icl.ridge(-1.0), ValueError, "ridge needs penalty to be at least 0, got -1.0"),
    (lambda: icl.ridge(math.nan), ValueError, "ridge needs penalty to be at least 0, got nan"),
    (lambda: icl.ridge(1.0, mean=math.inf), ValueError, "ridge needs mean to be finite, got inf"),
    (lambda: icl.ridge(1.0, mean=ONES / 0), ValueError, "finite numbers in mean, got NaN or infinity"),
    (
        lambda: icl.ridge(1.0, mean=torch.ones(3))(XS, YS),
        ValueError,
        "inputs of 3 dimensions as its mean has, got 4",
    ),
    (lambda: icl.gradient_descent(-1, 0.1), ValueError, "needs steps to be at least 0, got -1"),
    (lambda: icl.gradient_descent(True, 0.1), TypeError, "needs a whole number as steps, got True"),
    (lambda: icl.gradient_descent(1, True), TypeError, "needs a number as step_size, got True"),
    (lambda: icl.gradient_descent(1, 0), ValueError, "needs step_size to be above 0, got 0"),
    (lambda: plain(icl.gradient_descent)(1, "auto"), ValueError, "a number or \"per_prefix\", got 'auto'"),
    (
        lambda: plain(icl.gradient_descent)(1, 0.1, normalise="median"),
        ValueError,
        'normalise to be "mean", "sum" or "fixed", got \'median\'',
    ),
    (lambda: icl.gradient_descent(1, 0.1, normalise="fixed"), ValueError, "pass the context length"),
    (lambda: icl.gradient_descent(1, 0.1, normalise="fixed", fixed_count=0), ValueError, "at least 1, got 0"),
    (
        lambda: icl.gradient_descent(1, 0.1, fixed_count=5),
        ValueError,
        'no fixed_count with normalise="mean", got 5',
    ),
    (lambda: icl.gd_plus_plus(0, 0.1, 0.1), ValueError, "gd_plus_plus needs steps to be at least 1, got 0"),
    (lambda: icl.gd_plus_plus(2, [0.1], 0.1), ValueError, "one step_size for each of its 2 steps, got 1"),
    (lambda: icl.gd_plus_plus(1, -0.1, 0.1), ValueError, "needs step_size to be above 0"),
    (lambda: icl.gd_plus_plus(1, 0.1, -0.1), ValueError, "needs curvature to be at least 0"),
    (
        lambda: plain(icl.gd_learned_init)(ONES, torch.ones(4, 3)),
        ValueError,
        r"square preconditioner.*got \[4, 3\] for 4",
    ),
    (
        lambda: icl.gd_learned_init(ONES, EYE)(XS[..., :2], YS),
        ValueError,
        "4 dimensions as its init has, got 2",
    ),
    (
        lambda: plain(_base.check_parameter)("gd", "preconditioner", EYE.long(), 2),
        TypeError,
        "preconditioner as a floating-point tensor",
    ),
    (
        lambda: plain(icl.optimal_learned_init)(EYE, torch.eye(3), ONES, 0.0, 5),
        ValueError,
        "needs w_cov of the dimension",
    ),
    (
        lambda: icl.optimal_learned_init(EYE, -EYE, ONES, 0.0, 5),
        ValueError,
        "positive semi-definite matrix as w_cov",
    ),
    (lambda: icl.optimal_learned_init(EYE, EYE, ONES, 0.0, 0), ValueError, "needs n_pairs to be at least 1"),
    (lambda: icl.online_gradient_descent(0.0), ValueError, "needs step_size to be above 0"),
    (lambda: plain(icl.online_gradient_descent)("auto"), ValueError, "a number or \"normalised\", got 'auto'"),
    (lambda: icl.newton(-1), ValueError, "newton needs steps to be at least 0"),
    (lambda: icl.newton(3, scaling=2), ValueError, "got 2: the residual of the largest direction then stays"),
    (lambda: icl.newton(3, scaling=2.0), ValueError, "never converges; pass 1.99 or less"),
    (lambda: icl.newton(3, scaling=0), ValueError, "needs scaling to be above 0 and below 2, got 0"),
    (lambda: icl.newton(3, scaling=2.5), ValueError, "needs scaling to be above 0 and below 2, got 2.5"),
    (lambda: plain(icl.newton)(3, scaling="nuclear"), ValueError, "a number or \"frobenius\", got 'nuclear'"),
    (lambda: icl.conjugate_gradient(-1), ValueError, "conjugate_gradient needs steps to be at least 0"),
    (lambda: icl.nearest_neighbors(0), ValueError, "needs n_neighbors to be at least 1, got 0"),
    (
        lambda: plain(icl.nearest_neighbors)(3, weighting="cosine"),
        ValueError,
        'weighting to be "uniform" or "inverse_square", got \'cosine\'',
    ),
    (lambda: icl.lasso(0.0), ValueError, "lasso needs penalty to be above 0"),
    (lambda: icl.lasso(0.1, max_iter=0), ValueError, "lasso needs max_iter to be at least 1"),
    (lambda: icl.lasso(0.1, tol=0.0), ValueError, "lasso needs tol to be above 0"),
    (lambda: icl.preprocess_then_gradient_descent(-1), ValueError, "needs steps to be at least 0"),
    (lambda: icl.preprocess_then_gradient_descent(1, -1.0), ValueError, "needs step_size to be above 0"),
    (lambda: icl.gaussian_posterior_mean(0.0, -1.0, 0.1), ValueError, "needs w_cov to be at least 0"),
    (lambda: icl.gaussian_posterior_mean(0.0, 1.0, -0.1), ValueError, "needs noise_std to be at least 0"),
    (lambda: plain(icl.gaussian_posterior_mean)(0.0, torch.ones(2, 3), 0.1), ValueError, r"square matrix.*\[2, 3\]"),
    (
        lambda: icl.gaussian_posterior_mean(0.0, EYE.cumsum(0), 0.1),
        ValueError,
        "symmetric matrix as w_cov.*by 1 ",
    ),
    (lambda: icl.gaussian_posterior_mean(0.0, -EYE, 0.1), ValueError, "semi-definite.*the eigenvalue -1"),
    (
        lambda: plain(icl.gaussian_posterior_mean)(torch.ones(3), EYE, 0.1),
        ValueError,
        "of one dimension, got 3 and 4",
    ),
    (
        lambda: icl.gaussian_posterior_mean(0.0, torch.eye(3), 0.1)(XS, YS),
        ValueError,
        "3 dimensions as its w_cov",
    ),
    (
        lambda: icl.gaussian_posterior_mean(torch.ones(3), 1.0, 0.1)(XS, YS),
        ValueError,
        "3 dimensions as its w_mean",
    ),
    (
        lambda: icl.discrete_mmse(torch.ones(0, 4), 0.1),
        ValueError,
        r"weights with 2 non-empty axes, got shape \[0, 4\]",
    ),
    (lambda: icl.discrete_mmse(EYE, -1.0), ValueError, "discrete_mmse needs noise_std to be at least 0"),
    (
        lambda: icl.discrete_mmse(torch.eye(3), 0.1)(XS, YS),
        ValueError,
        "3 dimensions as its weights has, got 4",
    ),
    (lambda: icl.copy_last()(XS, YS), ValueError, "copy_last needs sequences of numbers.*got 4"),
    (lambda: icl.best_constant_step(XS, YS, 1), ValueError, "an asked point with a non-zero input before it"),
    (
        lambda: icl.best_constant_step(XS, YS, 0),
        ValueError,
        "best_constant_step needs steps to be at least 1",
    ),
]


@pytest.mark.parametrize(("build", "error", "message"), REFUSED, ids=[message[:40] for *_, message in REFUSED])
def test_options_that_will_not_do(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_parameter_must_be_a_tensor_of_floats():
    with pytest.raises(TypeError, match="ridge needs mean as a floating-point tensor, got list"):
        plain(_base.check_parameter)("ridge", "mean", [1.0], 1)


def test_numbers_must_be_numbers():
    with pytest.raises(TypeError, match="newton needs a number as scaling, got None"):
        plain(_base.check_number)("newton", "scaling", None)
    with pytest.raises(TypeError, match=r"newton needs a whole number as steps, got 1\.5"):
        plain(_base.check_count)("newton", "steps", 1.5)
