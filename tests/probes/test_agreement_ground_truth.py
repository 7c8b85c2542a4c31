"""Agreement on algorithms with weights set by hand: what is equal is found equal, and what is not is exposed."""

import numpy as np
import pytest
import torch
from hand_made import Callee, descent, draw_prompts, linear_attention, transformer_block
from torch import Tensor

from icl_interp.predictors import gd_learned_init, gradient_descent, least_squares, newton, ridge
from probes.agreement import compare_algorithms, mspd, similarity_of_errors, similarity_of_weights, spd
from probes.effective_descent import effective_preconditioner, effective_step
from probes.induced_weights import induced_weights
from probes.linear import fit_linear_probe
from probes.sensitivity import sensitivity_cosine
from probes.step_matching import match_steps, match_steps_by_weights

XS, YS, QUERIES = draw_prompts()
STEP = 0.4
START = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
PRECONDITIONER = torch.tensor([[0.5, 0.1, 0.0], [-0.2, 0.3, 0.1], [0.0, 0.2, 0.6]], dtype=torch.float64)
EQUAL = {
    "LSA 1 layer = GD 1 step": (linear_attention(1, STEP), gradient_descent(1, STEP)),
    "LSA 2 layers = GD 2 steps": (linear_attention(2, STEP), gradient_descent(2, STEP)),
    "LSA 3 layers = GD 3 steps": (linear_attention(3, STEP), gradient_descent(3, STEP)),
    "LTB = GD-beta": (transformer_block(START, PRECONDITIONER), gd_learned_init(START, PRECONDITIONER)),
    "loop = GD 5 steps": (descent(5, STEP), gradient_descent(5, STEP)),
}
DIFFERENT = {
    "GD 1 step, least squares": (gradient_descent(1, STEP), least_squares()),
    "GD-0, GD-beta": (gradient_descent(1, STEP), gd_learned_init(START, PRECONDITIONER)),
    "GD 1 step, GD 3 steps": (linear_attention(1, STEP), gradient_descent(3, STEP)),
    "ridge, Newton 3 steps": (ridge(2.0), newton(3)),
}


@pytest.mark.parametrize(("f", "g"), EQUAL.values(), ids=EQUAL)
def test_equal_algorithms_agree_by_every_metric(f: Callee, g: Callee) -> None:
    found = compare_algorithms(f, g, XS, YS, QUERIES, n_bootstrap=50)
    # Predictions and weights are of order one; squares of float64 rounding are below 1e-20.
    assert float(found.spd.values.max()) < 1e-20
    assert float(found.ilwd.values.max()) < 1e-20
    assert found.mspd.value < 1e-20
    np.testing.assert_allclose(found.similarity_of_errors.value, 1.0, atol=1e-12)
    np.testing.assert_allclose(found.similarity_of_weights.value, 1.0, atol=1e-12)
    np.testing.assert_allclose(found.sensitivity.cosine.value, 1.0, atol=1e-12)
    np.testing.assert_allclose(found.sensitivity.gradient_difference.value, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.sensitivity.prediction_difference.value, 0.0, atol=1e-12)
    for curve in found.linear_r2:
        np.testing.assert_allclose(curve.mean.value, 1.0, atol=1e-12)


@pytest.mark.parametrize(("f", "g"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_algorithms_are_told_apart(f: Callee, g: Callee) -> None:
    found = compare_algorithms(f, g, XS, YS, QUERIES, points=[1, 2, 5, 8], n_bootstrap=200)
    assert found.spd.mean.low > 1e-3
    assert found.ilwd.mean.low > 1e-3
    assert found.mspd.low > 1e-3
    assert found.similarity_of_errors.value < 0.999
    assert found.similarity_of_weights.high < 0.9999
    assert found.sensitivity.cosine.high < 0.9999


class TestWrongStepSize:
    """One step of size 0.4 against one of size 1.2: the same direction, another algorithm."""

    right = gradient_descent(1, STEP)
    wrong = staticmethod(linear_attention(1, 3 * STEP))

    def test_cosines_and_linear_probes_are_blind(self) -> None:
        found = compare_algorithms(self.wrong, self.right, XS, YS, QUERIES, points=[8], n_bootstrap=50)
        np.testing.assert_allclose(found.similarity_of_weights.value, 1.0, atol=1e-12)
        np.testing.assert_allclose(found.sensitivity.cosine.value, 1.0, atol=1e-12)
        np.testing.assert_allclose(sensitivity_cosine(self.wrong, self.right, XS, YS).value, 1.0, atol=1e-12)
        hidden: list[Tensor] = []
        linear_attention(1, 3 * STEP, hidden=hidden)(XS, YS, points=[8])
        probe = fit_linear_probe(hidden[0], self.right(XS, YS, points=[8]))
        # The query's token holds -3 times the target: a probe's weight takes the factor.
        assert probe.r2 > 0.999
        assert probe.selectivity > 0.9

    def test_spd_ilwd_and_the_gradient_distance_expose_it(self) -> None:
        found = compare_algorithms(self.wrong, self.right, XS, YS, QUERIES, n_bootstrap=200)
        assert found.spd.mean.low > 0.1
        assert found.ilwd.mean.low > 0.1
        assert found.mspd.low > 0.1
        assert found.sensitivity.gradient_difference.low > 0.1
        assert found.sensitivity.prediction_difference.low > 0.1

    def test_the_effective_step_names_it(self) -> None:
        found = effective_step(self.wrong, XS, YS)
        np.testing.assert_allclose(found.step_size.value, 3 * STEP, rtol=1e-12)
        np.testing.assert_allclose([found.step_size.low, found.step_size.high], 3 * STEP, rtol=1e-12)
        np.testing.assert_allclose([found.r2, found.linearity], 1.0, rtol=1e-12)


def rotated_with_noise(hidden: Tensor) -> Tensor:
    # As in a residual stream: no axis holds the prediction, and other things are there too.
    generator = torch.Generator().manual_seed(1)
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q
    others = torch.randn(len(hidden), 12 - hidden.shape[1], generator=generator, dtype=torch.float64)
    return torch.cat([hidden, others], dim=1) @ rotation


def test_linear_probe_finds_the_right_prediction() -> None:
    xs, ys, _ = draw_prompts(400)
    hidden: list[Tensor] = []
    linear_attention(2, STEP, hidden=hidden)(xs, ys, points=[8])
    features = [rotated_with_noise(layer) for layer in hidden]
    one, two = (gradient_descent(steps, STEP)(xs, ys, points=[8]) for steps in (1, 2))
    assert fit_linear_probe(features[0], one).r2 > 0.999
    assert fit_linear_probe(features[1], two).r2 > 0.999
    # The second step is not linear in what the first layer knows of the query: the difference is not there.
    assert fit_linear_probe(features[0], two - one).r2 < 0.9
    shuffled = fit_linear_probe(features[1], two).r2_shuffled
    assert shuffled is not None
    assert shuffled < 0.1


class TestBestMatchingStep:
    candidates = torch.stack([gradient_descent(steps, STEP)(XS, YS) for steps in range(1, 9)])
    layers = torch.stack([linear_attention(layer, STEP)(XS, YS) for layer in (2, 3, 5)])

    @pytest.mark.parametrize("measure", ["errors", "spd"])
    def test_found_from_predictions(self, measure: str) -> None:
        found = match_steps(self.layers, self.candidates, YS, steps=range(1, 9), measure=measure, n_bootstrap=100)
        assert found.best_steps == (2, 3, 5)
        torch.testing.assert_close(found.support, torch.ones(3).double())
        assert not found.tied.any()

    def test_found_from_weights(self) -> None:
        layers = torch.stack([
            induced_weights(linear_attention(k, STEP), XS, YS, QUERIES, points=[3, 8]).weights for k in (2, 4)
        ])
        candidates = torch.stack([
            induced_weights(gradient_descent(k, STEP), XS, YS, QUERIES, points=[3, 8]).weights for k in range(1, 6)
        ])
        found = match_steps_by_weights(layers, candidates, steps=range(1, 6), n_bootstrap=100)
        assert found.best_steps == (2, 4)

    def test_another_algorithm_has_no_firm_match(self) -> None:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, *YS.shape, generator=generator, dtype=torch.float64)
        found = match_steps(noise, noise + torch.randn(8, *YS.shape, generator=generator), YS, n_bootstrap=200)
        assert found.support[0] < 0.9


def test_several_steps_are_no_single_step() -> None:
    found = effective_step(linear_attention(3, STEP), XS, YS, n_bootstrap=100)
    assert found.r2 < 0.99
    np.testing.assert_allclose(found.linearity, 1.0, rtol=1e-12)


def test_the_preconditioner_is_found() -> None:
    found = effective_preconditioner(transformer_block(START, PRECONDITIONER), XS, YS)
    torch.testing.assert_close(found.matrix, PRECONDITIONER)
    np.testing.assert_allclose(found.r2, 1.0, rtol=1e-9)
    plain = effective_step(transformer_block(START, PRECONDITIONER), XS, YS, n_bootstrap=50)
    assert plain.r2 < 0.99
    # Least squares preconditions each prompt by its own inputs, which one matrix cannot.
    assert effective_preconditioner(least_squares_by_hand, XS, YS, point=4).r2 < 0.9


def least_squares_by_hand(xs: Tensor, ys: Tensor, *, points: list[int]) -> Tensor:
    k = points[0]
    return (torch.linalg.pinv(xs[:, :k]) @ ys[:, :k, None])[..., 0].mul(xs[:, k]).sum(dim=1, keepdim=True)


def test_similarities_agree_with_literal_formulas() -> None:
    a, b = gradient_descent(1, STEP)(XS, YS), least_squares()(XS, YS)
    cosine = torch.nn.functional.cosine_similarity(a - YS, b - YS, dim=1)
    np.testing.assert_allclose(similarity_of_errors(a, b, YS).value, float(cosine.mean()), rtol=1e-12)
    np.testing.assert_allclose(spd(a, b, divide_by=3.0).values, ((a - b) ** 2).mean(dim=0) / 3.0, rtol=1e-12)
    np.testing.assert_allclose(mspd(a, b, n_dims=3).value, float(((a - b) ** 2)[:, 1:3].mean()), rtol=1e-12)
    first, second = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    literal = torch.nn.functional.cosine_similarity(first, second, dim=2).mean(dim=1).mean()
    np.testing.assert_allclose(similarity_of_weights(first, second).value, float(literal), rtol=1e-5)
