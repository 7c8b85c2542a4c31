"""The unit of what comes in is no result: 1e-13 or 1e13 times everything changes nothing that is scale-free."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from probes.agreement import similarity_of_errors
from probes.correlation import score_error_correlation
from probes.effective_descent import effective_preconditioner, effective_step
from probes.head_importance import head_importance
from probes.induced_weights import induced_weights
from probes.learning_coefficient.health import LlcEvidence, effective_sample_size, health_flags, split_rhat
from probes.learning_coefficient.hessian import top_hessian_eigenvalue
from probes.linear import fit_linear_probe
from probes.permutation import permutation_p_value, permutation_test_correlation
from probes.risk_coverage import risk_coverage
from probes.selectivity import partial_r2
from probes.streamed_probe import fit_streamed_probe
from probes.trajectory import joint_trajectory_pca
from probes.trajectory.stages import find_stages


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def p_values(u: float) -> Any:
    null = draw(199) * u
    near = [permutation_p_value(s * u, null, alternative=a) for s in (2.0, 0.0) for a in ("greater", "less")]
    tied = permutation_p_value(float(null[0]) * (1 + 1e-15), null)
    skewed = permutation_p_value(1e-6 * u, torch.cat([null, 1e9 * u * torch.ones(1, dtype=torch.float64)]))
    return [*near, tied, skewed]


def correlations(u: float) -> Any:
    score, error = draw(24), draw(24, seed=1)
    report = score_error_correlation(
        score * u, error * u, groups=[0, 1, 2] * 8, covariates=draw(24, 1, seed=2) * u, n_bootstrap=20
    )
    test = permutation_test_correlation(score * u, (score + error) * u, kind="pearson", n_permutations=99)
    parts = report.pooled, report.pooled_pearson, report.between, report.partial
    return [*[(part.value, part.low) for part in parts], (test.statistic, test.p_value)]


def trajectory(n_outputs: int) -> Callable[[float], Any]:
    def measure(u: float) -> Any:
        runs = {name: draw(40, n_outputs, seed=seed) * u for seed, name in enumerate("ab")}
        found = joint_trajectory_pca(runs, n_components=3)
        return [found.explained, found.null.explained, found.scores["b"] / u, found.null.scores["a"] / u]

    return measure


def probes(u: float) -> Any:
    x, y = draw(40, 3), draw(40, 2, seed=1)
    found = fit_linear_probe(x * u, y * u, n_bootstrap=5)
    streamed = fit_streamed_probe([(x * u, y * u, torch.arange(40))])
    return [found.r2, found.weight, found.bias / u, streamed.r2, streamed.weight, streamed.bias / u]


def rivals(u: float) -> Any:
    x, given = draw(600, 3), draw(600, 2, seed=1) + 1
    y = x[:, :1] + given[:, :1] + 5 + draw(600, 1, seed=2)
    found = partial_r2(x, y, given=given * u, n_bootstrap=5)
    return [found.r2_given, found.partial[0].value]


def induced(u: float) -> Any:
    def f(xs: Tensor, ys: Tensor, *, points: Any = None) -> Tensor:  # noqa: ARG001
        return xs[:, points, 0] + 2 * xs[:, points, 1].abs() + 3 * u

    found = induced_weights(f, draw(2, 3, 2) * u, draw(2, 3, seed=1), draw(2, 600, 2, seed=2) * u)
    return [found.weights, found.intercepts / u, found.r2]


def curves(u: float) -> Any:
    steps = torch.arange(30).double()
    values = torch.tanh(steps / 4) + torch.tanh((steps - 20) / 2) + draw(30) / 50
    found = find_stages(steps, values * u, n_restarts=0)
    chain = draw(4, 200).mul(u) + 3 * u
    coverage = risk_coverage(draw(20), draw(20, seed=1).abs() * u, n_bootstrap=5)
    heads = head_importance((draw(2, 3, 10).abs() + 1) * u, draw(10, seed=1).abs() * u, n_bootstrap=5)
    cosines = similarity_of_errors(draw(4, 5) * u, draw(4, 5, seed=1) * u, draw(4, 5, seed=2) * u)
    return [found.boundaries, split_rhat(chain), effective_sample_size(chain), coverage.gain.value, heads.importance,
            cosines.value]  # fmt: skip


def flags(u: float) -> Any:
    still = torch.full((3, 40), 0.1, dtype=torch.float64) * u
    found = []
    for losses in (draw(3, 40) * u, still, still + u * torch.arange(3)[:, None]):
        evidence = LlcEvidence(5.0, 10.0 / u, losses, losses, 0.9, 0.2, 1e-3 * u, 0, 3)
        found += [(flag.value, flag.raised) for flag in health_flags(evidence)]
    return found


def curvature(u: float) -> Any:
    matrix = draw(30, 30)

    def loss(p: Any, _: Any) -> Tensor:
        n = len(p["w"])
        return u * (p["w"] @ matrix[:n, :n] @ p["w"])

    return [top_hessian_eigenvalue(loss, {"w": draw(n)}, None) / u for n in (3, 30)]


def descent(u: float) -> Any:
    given = torch.tensor([1.0, 1e-5, 1.0], dtype=torch.float64) * u  # a unit for each coordinate
    matrix = draw(3, 3) / given / given[:, None]

    def f(xs: Tensor, ys: Tensor, *, points: Any) -> Tensor:
        steps = [(ys[:, :k, None] * xs[:, :k]).mean(1) @ matrix.T for k in points]
        return torch.stack([(step * xs[:, k]).sum(1) for step, k in zip(steps, points, strict=True)], dim=1)

    xs, ys = draw(40, 6, 3) * given, draw(40, 6, seed=1) * u
    step, fitted = effective_step(f, xs, ys, n_bootstrap=5), effective_preconditioner(f, xs, ys)
    scaled = fitted.matrix * given * given[:, None]
    torch.testing.assert_close(scaled, draw(3, 3), rtol=1e-8, atol=1e-8)
    return [step.r2, step.linearity, fitted.r2, scaled]


MEASURES = {
    "p-values": p_values,
    "correlations": correlations,
    "trajectory": trajectory(12),
    "wide trajectory": trajectory(600),
    "probes": probes,
    "partial": rivals,
    "induced weights": induced,
    "curves": curves,
    "descent": descent,
    "learning coefficient": flags,
    "curvature": curvature,
}


@pytest.mark.parametrize("unit", [1e-13, 1e13], ids=str)
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_units_change_nothing(measure: Callable[[float], Any], unit: float) -> None:
    for found, expected in zip(measure(unit), measure(1.0), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8, equal_nan=True)
