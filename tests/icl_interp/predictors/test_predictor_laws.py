"""Every predictor is one line of a table and inherits its laws; a law it lacks is seen to fail."""

# ruff: noqa: ARG005

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import predictor_references as slow
import pytest
import torch

import icl_interp.predictors as icl
from icl_interp.predictors import _base

DIMS, POINTS = 4, 9


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[], icl.Predictor]
    reference: Callable
    laws: str = ""  # d: degree 1 in y; s: invariant when all x are scaled; o: the order of the pairs is free
    dims: int = DIMS
    tolerance: float = 1e-9  # float64 against float64, relative to 1 + |prediction|


rng = np.random.default_rng(0)
MEAN, SQUARE = rng.normal(size=DIMS), rng.normal(size=(DIMS, DIMS))
ROOT = rng.normal(size=(DIMS, 2))  # weights confined to two of four dimensions
POOL = rng.normal(size=(7, DIMS))


def tensor(array):
    return torch.from_numpy(np.asarray(array))


CASES = [
    Case("zero", icl.zero, lambda X, y, x: 0.0, "dso"),
    Case("context_mean", icl.context_mean, slow.context_mean, "dso"),
    Case("averaging", icl.averaging, slow.averaging, "do"),
    Case("knn", icl.nearest_neighbors, slow.nearest_neighbors(3), "dso"),
    Case(
        "knn inverse",
        lambda: icl.nearest_neighbors(3, weighting="inverse_square"),
        slow.nearest_neighbors(3, inverse_square=True),
        "dso",
    ),
    Case("least_squares", icl.least_squares, slow.min_norm, "dso"),
    Case("ridge", lambda: icl.ridge(0.5), slow.ridge(0.5), "do"),
    Case("ridge 0", lambda: icl.ridge(0), slow.min_norm, "dso"),
    Case("ridge centred", lambda: icl.ridge(0.5, mean=tensor(MEAN)), slow.ridge(0.5, MEAN), "o"),
    Case("ridge number", lambda: icl.ridge(0.5, mean=2), slow.ridge(0.5, 2.0), "o"),
    Case(
        "gaussian",
        lambda: icl.gaussian_posterior_mean(tensor(MEAN), tensor(SQUARE @ SQUARE.T), 0.3),
        slow.gaussian_posterior(MEAN, SQUARE, 0.3),
        "o",
    ),
    Case(
        "gaussian subspace",
        lambda: icl.gaussian_posterior_mean(0.0, tensor(ROOT @ ROOT.T), 0.3),
        slow.gaussian_posterior(np.zeros(DIMS), ROOT, 0.3),
        "do",
    ),
    Case(
        "gaussian subspace noiseless",
        lambda: icl.gaussian_posterior_mean(0.0, tensor(ROOT @ ROOT.T), 0),
        slow.gaussian_posterior(np.zeros(DIMS), ROOT, 0.0),
        "dso",
    ),
    Case("gaussian fixed", lambda: icl.gaussian_posterior_mean(2.0, 0.0, 0.3), lambda X, y, x: 2 * x.sum(), "o"),
    Case("dmmse", lambda: icl.discrete_mmse(tensor(POOL), 0.5), slow.discrete_mmse(POOL, 0.5), "o"),
    Case("dmmse one task", lambda: icl.discrete_mmse(tensor(POOL[:1]), 0.5), lambda X, y, x: x @ POOL[0], "o"),
    Case("gd", lambda: icl.gradient_descent(5, 0.1), slow.gradient_descent(5, 0.1), "do"),
    Case("gd long", lambda: icl.gradient_descent(77, 0.05), slow.gradient_descent(77, 0.05), "do"),
    Case(
        "gd sum",
        lambda: icl.gradient_descent(5, 0.01, normalise="sum"),
        slow.gradient_descent(5, 0.01, 1),
        "do",
    ),
    Case(
        "gd fixed",
        lambda: icl.gradient_descent(5, 0.1, normalise="fixed", fixed_count=6),
        slow.gradient_descent(5, 0.1, 6),
        "do",
    ),
    Case(
        "gd per prefix",
        lambda: icl.gradient_descent(5, "per_prefix"),
        slow.gradient_descent_per_prefix(5),
        "dso",
    ),
    # 10^9 steps of a direction with a thousandth of the largest variance leave nothing.
    Case("gd per prefix long", lambda: icl.gradient_descent(10**9, "per_prefix"), slow.min_norm, "dso"),
    Case("gd++", lambda: icl.gd_plus_plus(3, 0.1, 0.05), slow.gd_plus_plus([0.1] * 3, [0.05] * 3), "do"),
    Case(
        "gd++ per step",
        lambda: icl.gd_plus_plus(2, [0.1, 0.2], [0.05, 0.01], normalise="mean"),
        slow.gd_plus_plus([0.1, 0.2], [0.05, 0.01]),
        "do",
    ),
    Case(
        "gd-beta",
        lambda: icl.gd_learned_init(tensor(MEAN), tensor(SQUARE)),
        slow.gd_learned_init(MEAN, SQUARE),
        "o",
    ),
    Case(
        "gd-0",
        lambda: icl.gd_learned_init(torch.zeros(DIMS), tensor(SQUARE)),
        slow.gd_learned_init(np.zeros(DIMS), SQUARE),
        "do",
    ),
    Case("online", lambda: icl.online_gradient_descent(0.1), slow.online(0.1), "d"),
    Case("kaczmarz", lambda: icl.online_gradient_descent("normalised"), slow.online(), "ds"),
    Case("newton", lambda: icl.newton(3), slow.newton(3), "dso"),
    Case("newton scaled", lambda: icl.newton(3, scaling=1.9), slow.newton(3, 1.9), "dso"),
    Case("newton frobenius", lambda: icl.newton(3, scaling="frobenius"), slow.newton(3, "frobenius"), "dso"),
    Case("newton long", lambda: icl.newton(100), slow.min_norm, "dso"),
    # Krylov spaces of ill-conditioned prefixes: two float64 routes agree to 1e-6 only.
    Case("cg", lambda: icl.conjugate_gradient(3), slow.conjugate_gradient(3), "dso", tolerance=1e-6),
    Case("cg long", lambda: icl.conjugate_gradient(12), slow.min_norm, "dso", tolerance=1e-6),
    # scikit-learn stops at a duality gap of 1e-8 |y|^2, which leaves 1e-4 in the weights.
    Case("lasso", lambda: icl.lasso(0.2), slow.lasso(0.2), "o", tolerance=1e-3),
    Case(
        "pre+gd",
        lambda: icl.preprocess_then_gradient_descent(4),
        slow.preprocess_then_gradient_descent(4),
        "dso",
    ),
    Case(
        "pre+gd constant",
        lambda: icl.preprocess_then_gradient_descent(4, 0.01),
        slow.preprocess_then_gradient_descent(4, 0.01),
        "o",
    ),
    Case("running ls", icl.running_least_squares, slow.running_least_squares, "do"),
    Case("affine", icl.affine_recurrence, slow.affine_recurrence, dims=1),
    Case("copy_last", icl.copy_last, slow.copy_last, dims=1),
    Case("extrapolation", icl.linear_extrapolation, slow.linear_extrapolation, dims=1),
]


def cases(select=lambda case: True):
    chosen = [case for case in CASES if select(case)]
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def random_prompts(n_prompts=3, n_points=POINTS, n_dims=DIMS, *, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(n_prompts, n_points, n_dims, generator=generator, dtype=torch.float64)
    ys = xs.sum(dim=2) + torch.randn(n_prompts, n_points, generator=generator, dtype=torch.float64)
    return xs.to(dtype), ys.to(dtype)


def repeated(xs, ys):
    return xs[:, [0, 0, 1, 0, 2, 1, 3, 3, 2]], ys


def flat(xs, ys):
    return torch.cat([xs[..., :2], xs[..., :2].flip(-1)], dim=2)[..., : xs.shape[2]], ys


PROMPTS = {
    "generic": lambda xs, ys: (xs, ys),
    "one prompt": lambda xs, ys: (xs[:1], ys[:1]),
    "fewer points than dimensions": lambda xs, ys: (xs[:, :3], ys[:, :3]),
    "one point": lambda xs, ys: (xs[:, :1], ys[:, :1]),
    "repeated inputs": repeated,
    "inputs in a subspace": flat,
    "labels all zero": lambda xs, ys: (xs, 0 * ys),
    "inputs all zero": lambda xs, ys: (0 * xs, ys),
    "first input zero": lambda xs, ys: (xs * (torch.arange(xs.shape[1]) > 0)[:, None], ys),
}


def loop(reference, xs, ys):
    answers = [
        [float(reference(x[:k], y[:k], x[k])) for k in range(len(y))]
        for x, y in zip(xs.double().numpy(), ys.double().numpy(), strict=True)
    ]
    return torch.tensor(answers, dtype=torch.float64)


@pytest.mark.parametrize("kind", PROMPTS)
@cases()
def test_equals_the_slow_loop_over_prefixes(case, kind):
    xs, ys = PROMPTS[kind](*random_prompts(n_dims=case.dims))
    expected = loop(case.reference, xs, ys)
    torch.testing.assert_close(case.build()(xs, ys), expected, rtol=case.tolerance, atol=case.tolerance)


@cases()
def test_rounding_of_inputs_in_a_rotated_subspace_is_not_fitted(case):
    # Float32 inputs leave their plane by 1e-7, labels are noisy, and the last query is far off the plane: a float64
    # tolerance would answer it with weights of 1e7.
    generator = torch.Generator().manual_seed(5)
    turn = torch.linalg.qr(torch.randn(4, case.dims, case.dims, generator=generator)).Q
    for rank in (max(1, case.dims // 2), 1):
        xs = torch.randn(4, POINTS, rank, generator=generator) @ turn[:, :rank]
        # One digit of float32 more or less, as products of larger matrices leave it.
        xs = xs * (1 + torch.finfo(xs.dtype).eps * (torch.randint(0, 3, xs.shape, generator=generator) - 1))
        ys = xs.sum(dim=2) + torch.randn(4, POINTS, generator=generator)
        xs[:, -1] = torch.randn(4, case.dims, generator=generator)
        answer = case.build()(xs, ys)
        expected = loop(slow.on_the_signal(case.reference, torch.finfo(xs.dtype).eps), xs, ys).float()
        # Float32 answers; whether 1e-7 of the inputs is cut or kept moves those that need not cut by a few 1e-7.
        tolerance = max(case.tolerance, 3e-6)
        torch.testing.assert_close(answer, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:Objective did not converge")  # scikit-learn, of the changed points
@cases()
def test_never_reads_its_own_label_or_anything_later(case):
    predictor, (xs, ys) = case.build(), random_prompts(n_dims=case.dims)
    before = predictor(xs, ys)
    for point in range(POINTS):
        other_xs, other_ys = xs.clone(), ys.clone()
        other_ys[:, point:] = 1e3 * ys[:, point:].flip(1) - 7
        other_xs[:, point + 1 :] = 30 * xs[:, point + 1 :].flip(1) + 1
        after = predictor(other_xs, other_ys)
        # The last bits may move with the shapes that LAPACK blocks, nothing else.
        torch.testing.assert_close(after[:, : point + 1], before[:, : point + 1], rtol=1e-11, atol=1e-11)


@cases(lambda case: case.name not in ("zero", "dmmse one task", "gaussian fixed"))
def test_reads_the_labels_before(case):
    xs, ys = random_prompts(n_dims=case.dims)
    moved = case.build()(xs, torch.cat([-2 * ys[:, :-1], ys[:, -1:]], dim=1))
    assert_differ(moved[:, -1], case.build()(xs, ys)[:, -1])


def assert_differ(first, second):
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)


@cases(lambda case: "d" in case.laws)
def test_is_of_degree_one_in_the_labels(case):
    xs, ys = random_prompts()
    torch.testing.assert_close(case.build()(xs, -3 * ys), -3 * case.build()(xs, ys), rtol=1e-8, atol=1e-10)


@cases(lambda case: "d" not in case.laws)
def test_lack_of_degree_one_shows(case):
    xs, ys = random_prompts(n_dims=case.dims)
    assert_differ(case.build()(xs, -3 * ys), -3 * case.build()(xs, ys))


@cases(lambda case: "s" in case.laws)
def test_ignores_a_common_scale_of_the_inputs(case):
    xs, ys = random_prompts()
    # 3 is no power of two: bits may change, and conjugate gradients amplify them.
    torch.testing.assert_close(case.build()(3 * xs, ys), case.build()(xs, ys), rtol=1e-7, atol=1e-7)


@cases(lambda case: "s" not in case.laws)
def test_dependence_on_the_scale_of_the_inputs_shows(case):
    xs, ys = random_prompts(n_dims=case.dims)
    assert_differ(case.build()(3 * xs, ys), case.build()(xs, ys))


ORDER = torch.tensor([5, 2, 7, 0, 3, 1, 6, 4, 8])


@cases(lambda case: "o" in case.laws)
def test_ignores_the_order_of_the_pairs(case):
    xs, ys = random_prompts()
    shuffled = case.build()(xs[:, ORDER], ys[:, ORDER])[:, -1]
    torch.testing.assert_close(shuffled, case.build()(xs, ys)[:, -1], rtol=1e-7, atol=1e-7)


@cases(lambda case: "o" not in case.laws)
def test_dependence_on_the_order_shows(case):
    xs, ys = random_prompts(n_dims=case.dims)
    assert_differ(case.build()(xs[:, ORDER], ys[:, ORDER])[:, -1], case.build()(xs, ys)[:, -1])


@cases()
def test_answers_only_the_points_asked_for(case):
    predictor, (xs, ys) = case.build(), random_prompts(n_dims=case.dims)
    everything = predictor(xs, ys)
    torch.testing.assert_close(predictor(xs, ys, points=[-1]), everything[:, -1:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(predictor(xs, ys, points=(4, -9, 1)), everything[:, [4, 0, 1]], rtol=1e-9, atol=1e-9)


@cases()
def test_float32_comes_back_as_float32_and_close(case):
    xs, ys = random_prompts(n_dims=case.dims, dtype=torch.float32)
    answer = case.build()(xs, ys)
    # Same numbers, arithmetic in float64: only the answer is rounded, to 6e-8 of itself. scikit-learn
    # and conjugate gradients stay within the tolerance that the table grants them.
    expected = case.build()(xs.double(), ys.double()).float()
    torch.testing.assert_close(answer, expected, rtol=1e-6, atol=1e-6)


@cases()
def test_half_precision_is_accepted(case):
    xs, ys = random_prompts(n_dims=case.dims, dtype=torch.float16)
    assert case.build()(xs, ys).dtype == torch.float16


@pytest.mark.filterwarnings("ignore:Objective did not converge")  # scikit-learn says so for the Lasso
@cases()
def test_is_finite_for_finite_input(case):
    # Every two of predictor, kind of inputs and scale meet.
    kinds, first = ("generic", "repeated inputs", "inputs in a subspace"), CASES.index(case)
    for i, scale in enumerate((1e-30, 1e-3, 1e6, 1e15)):
        xs, ys = PROMPTS[kinds[(first + i) % 3]](*random_prompts(n_dims=case.dims, dtype=torch.float32))
        assert bool(torch.isfinite(case.build()(scale * xs, ys)).all()), (kinds[(first + i) % 3], scale)
        assert bool(torch.isfinite(case.build()(xs, scale * ys)).all()), (kinds[(first + i) % 3], scale)


@cases()
def test_prompts_do_not_touch_each_other(case, monkeypatch):
    xs, ys = random_prompts(n_prompts=5, n_dims=case.dims)
    together = case.build()(xs, ys)
    monkeypatch.setattr(_base, "_CHUNK_FLOATS", 1)  # one prompt at a time
    torch.testing.assert_close(case.build()(xs, ys), together, rtol=1e-9, atol=1e-9)


@cases()
def test_is_a_predictor_with_a_name_and_a_short_repr(case):
    predictor = case.build()
    assert isinstance(predictor, icl.Predictor)
    assert 0 < len(predictor.name) < 60
    assert len(repr(predictor)) < 120


def test_every_constructor_is_in_the_table():
    results = {"BestGDPlusPlus", "BestStep", "LearnedInitOptimum", "Predictor", "References"}
    results |= {"best_constant_step", "best_gd_plus_plus", "optimal_learned_init"}
    built = {type(case.build()) for case in CASES}
    constructors = [getattr(icl, name) for name in icl.__all__ if name not in results]
    assert len(built) == len(constructors)
