import pytest
import torch
from linear_cases import linear_model, prompts

from icl_interp import HookedLinearAttention, HookedLinearTransformerBlock, ModelConfig, build_model
from icl_interp.models.linear.constructions import EffectiveParameters
from icl_interp.predictors.learned_init import optimal_learned_init

SHARP = {"rtol": 0, "atol": 1e-12}  # float64, sums of order 1


def answer(found: EffectiveParameters, xs: torch.Tensor, ys: torch.Tensor, divisor: float) -> torch.Tensor:
    tokens = torch.cat([xs, ys[..., None]], dim=2)[:, :-1]
    moments = tokens.mT @ tokens / divisor
    left = torch.cat([found.v21, found.v_minus1[None]])
    right = torch.cat([found.V11, found.v12[None]])
    x = xs[:, -1]
    return x @ found.gamma + ((left @ moments) * (x @ right.mT)).sum(1)


@pytest.mark.parametrize(("case", "divisor"), [("lsa", 6), ("lsa, sum, sign -1", 1), ("ltb", 6), ("ltb, no skip", 6)])
@torch.no_grad()
def test_the_answer_depends_on_them_alone(case: str, divisor: float) -> None:
    model, (xs, ys) = linear_model(case), prompts()
    found = model.effective_parameters()
    torch.testing.assert_close(answer(found, xs, ys, divisor), model(xs, ys)[:, -1], **SHARP)
    assert bool(found.gamma.any()) == (case == "ltb")
    # Negative control: each of them matters.
    for part in (found.v21, found.v_minus1, found.V11, found.v12):
        part.mul_(1.1)
        assert float((answer(found, xs, ys, divisor) - model(xs, ys)[:, -1]).abs().max()) > 1e-4
        part.div_(1.1)


@torch.no_grad()
def test_they_recover_gd_beta() -> None:
    gamma = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    config = ModelConfig(family="ltb", n_dims=4, n_points=6)
    found = HookedLinearTransformerBlock.gd_learned_init(config, torch.arange(4.0), gamma).effective_parameters()
    for value, expected in (
        (found.gamma, torch.arange(4.0)),
        (found.start, torch.arange(4.0)),
        (found.preconditioner, gamma),
        (found.v12, torch.zeros(4)),
    ):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)
    assert repr(found).startswith("EffectiveParameters(gamma=[0, 1, 2, 3], start=[-0, 1, 2, 3], precond")
    gd = HookedLinearAttention.gradient_descent(ModelConfig(family="lsa", n_dims=9, n_points=6), 0.5)
    assert "preconditioner diagonal=[0.5, 0.5, 0.5, 0.5, ...]" in repr(gd.effective_parameters())


@pytest.mark.parametrize("case", ["ltb, 2 heads", "ltb, 2 shared layers"])
def test_several_layers_or_heads_are_refused(case: str) -> None:
    with pytest.raises(
        ValueError, match=r"one layer and one head.* got (1|2) layers and (1|2) heads; read the weights"
    ):
        linear_model(case).effective_parameters()


@pytest.mark.parametrize("case", ["lsa, positions, another channel", "lsa, no skip, the query a key"])
def test_what_is_not_in_the_formula_is_refused(case: str) -> None:
    with pytest.raises(ValueError, match=r"tokens \[x; y\] alone, .* got d_position [03], mask_query (Tru|Fals)e"):
        linear_model(case).effective_parameters()


@pytest.mark.slow
def test_a_trained_block_recovers_the_optimum() -> None:
    # Recipe and setting of Zhang et al.'s Figure 1 (d = M = 5, w ~ N(1, I)), with fewer steps than the 20,000 of ours.
    model = build_model(ModelConfig(family="ltb", n_dims=5, n_points=6), seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4000)
    generator = torch.Generator().manual_seed(0)

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        xs = torch.randn(size, 6, 5, generator=generator)
        return xs, (xs @ (1 + torch.randn(size, 5, 1, generator=generator)))[..., 0]

    for _ in range(4000):
        xs, ys = batch(128)
        loss = (model(xs, ys, points=[-1])[:, 0] - ys[:, -1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    best = optimal_learned_init(torch.eye(5), torch.eye(5), torch.ones(5), 0.0, n_pairs=5)
    with torch.no_grad():
        found = model.effective_parameters()
        # Gradient noise of batches of 128; a tenth of the distance from the first weights.
        torch.testing.assert_close(found.gamma, best.init, rtol=0, atol=0.05)
        torch.testing.assert_close(found.start, best.init, rtol=0, atol=0.05)
        torch.testing.assert_close(found.preconditioner, best.preconditioner, rtol=0, atol=0.05)
        xs, ys = batch(200_000)
        risk = (model(xs, ys, points=[-1])[:, 0] - ys[:, -1]).square().mean()
    assert 0.99 * best.risk < float(risk) < 1.02 * best.risk  # standard error of the mean about 0.4 %
