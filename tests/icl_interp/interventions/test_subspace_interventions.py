import pytest
import torch

from icl_interp.activations import collect
from icl_interp.interventions import erase, exchange_for_random, predict_under, project_out, steer, swap
from icl_interp.interventions.record import Intervention
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts
from icl_interp.tasks.linear_regression import LinearRegression
from probes.erasure import fit_eraser

POST = "blocks.1.hook_resid_post"
READ = torch.eye(8)[:, 4:5]
LOUD = torch.eye(8)[:, 5:6]


@pytest.fixture
def prompts() -> Prompts:
    return LinearRegression(n_dims=3).sample(6, 8, seed=0)


def held_under(model: HookedModel, prompts: Prompts, what: Intervention, name: str = POST) -> torch.Tensor:
    with what.on(model):
        return collect(model, prompts, name)[name]


def test_projecting_out_removes_the_component_and_nothing_else(planted_model: HookedModel, prompts: Prompts) -> None:
    before = collect(planted_model, prompts, POST)[POST]
    after = held_under(planted_model, prompts, project_out(LOUD, POST))
    expected = before.clone()
    expected[:, :, 5] = 0.0
    torch.testing.assert_close(after, expected)


def test_projecting_out_twice_is_projecting_out_once(planted_model: HookedModel, prompts: Prompts) -> None:
    basis = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(0))).Q
    once = project_out(basis, POST)
    torch.testing.assert_close(
        held_under(planted_model, prompts, once & once), held_under(planted_model, prompts, once)
    )


@pytest.mark.parametrize("mean", [torch.arange(8.0), torch.arange(16 * 8.0).reshape(16, 8)], ids=["row", "positions"])
def test_mean_ablation_puts_the_mean_there(planted_model: HookedModel, prompts: Prompts, mean: torch.Tensor) -> None:
    after = held_under(planted_model, prompts, project_out(LOUD, POST, mean=mean, positions=[2, -1]))
    rows = mean.expand(16, 8)
    torch.testing.assert_close(after[:, 2, 5], rows[2, 5].expand(6))
    torch.testing.assert_close(after[:, 15, 5], rows[15, 5].expand(6))
    torch.testing.assert_close(after[:, 3, 5], torch.full((6,), 3.0))


@pytest.mark.parametrize(("role", "untouched"), [("x", slice(1, None, 2)), ("y", slice(0, None, 2))])
def test_roles_choose_positions(planted_model: HookedModel, prompts: Prompts, role: str, untouched: slice) -> None:
    after = held_under(planted_model, prompts, project_out(LOUD, POST, positions=role))
    assert (after[:, untouched, 5] == 3.0).all()
    assert (after[..., 5] == 0.0).float().mean() == 0.5


def test_a_swap_tells_each_prompt_the_next_ones_prediction(planted_model: HookedModel, prompts: Prompts) -> None:
    own = predict_under(planted_model, prompts)
    torch.testing.assert_close(predict_under(planted_model, prompts, swap(READ, POST)), own.roll(-1, dims=0))
    torch.testing.assert_close(predict_under(planted_model, prompts, swap(READ, POST, offset=6)), own)
    torch.testing.assert_close(predict_under(planted_model, prompts, swap(LOUD, POST)), own)


def test_steering_moves_by_its_amount(planted_model: HookedModel, prompts: Prompts) -> None:
    own = predict_under(planted_model, prompts)
    pushed = predict_under(planted_model, prompts, steer(7 * READ[:, 0], POST, amount=-0.5))
    torch.testing.assert_close(pushed, own - 0.5)


def test_the_random_control_takes_as_much_at_every_position(planted_model: HookedModel, prompts: Prompts) -> None:
    basis = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(1))).Q
    before = collect(planted_model, prompts, POST)[POST]
    taken = before - held_under(planted_model, prompts, project_out(basis, POST))
    random = before - held_under(planted_model, prompts, exchange_for_random(basis, POST, seed=0))
    torch.testing.assert_close(random.norm(dim=-1), taken.norm(dim=-1), rtol=1e-4, atol=1e-5)  # float32 sums of 8
    assert torch.linalg.matrix_rank(random.flatten(0, 1)) == 2
    other = before - held_under(planted_model, prompts, exchange_for_random(basis, POST, seed=1))
    assert (random - other).norm() > 0.1 * random.norm()


def test_batches_do_not_matter_but_for_a_swap(planted_model: HookedModel, prompts: Prompts) -> None:
    what = project_out(LOUD, POST) & steer(READ[:, 0], POST, amount=1.0)
    torch.testing.assert_close(
        predict_under(planted_model, prompts, what, batch_size=4), predict_under(planted_model, prompts, what)
    )


def test_queries_are_asked_under_the_intervention(planted_model: HookedModel, prompts: Prompts) -> None:
    asked = Prompts(xs=prompts.xs, ys=prompts.ys, query_xs=2 * prompts.xs, query_ys=2 * prompts.ys)
    own = predict_under(planted_model, asked)
    torch.testing.assert_close(predict_under(planted_model, asked, steer(READ[:, 0], POST, amount=2.0)), own + 2.0)


def test_hooks_come_off_after_an_exception(planted_model: HookedModel, prompts: Prompts) -> None:
    own = predict_under(planted_model, prompts)
    with pytest.raises(RuntimeError, match="in between"), project_out(READ, POST).on(planted_model):
        raise RuntimeError("in between")
    torch.testing.assert_close(predict_under(planted_model, prompts), own)


REFUSED = {
    "no basis": (lambda: project_out(torch.ones(8, 2), POST), "project_out needs orthonormal columns"),
    "no unit length": (lambda: swap(2 * READ, POST), r"swap needs orthonormal columns .* got shape .8, 1."),
    "random": (lambda: exchange_for_random(2 * READ, POST, seed=0), "exchange_for_random needs orthonormal"),
    "offset": (lambda: swap(READ, POST, offset=0), "offset of at least 1, got 0"),
    "zero direction": (lambda: steer(torch.zeros(8), POST, amount=1.0), "finite numbers other than 0"),
    "infinite direction": (lambda: steer(torch.full((8,), torch.inf), POST, amount=1.0), "finite numbers"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


def test_unknown_hooks_positions_and_roles_are_refused(planted_model: HookedModel, prompts: Prompts) -> None:
    with pytest.raises(ValueError, match=r"no hook point 'blocks.9.hook_resid_post'; near names"):
        predict_under(planted_model, prompts, project_out(READ, "blocks.9.hook_resid_post"))
    with pytest.raises(ValueError, match="positions from -16 to 15 in a sequence of 16, got 16"):
        predict_under(planted_model, prompts, project_out(READ, POST, positions=[16]))
    with pytest.raises(ValueError, match="need a role out of all, x, y, got 'query'"):
        predict_under(planted_model, prompts, project_out(READ, POST, positions="query"))


def test_repr() -> None:
    assert repr(project_out(READ, POST)) == f"Intervention(project 1 directions to zero at {POST})"


def test_erasure_changes_the_chosen_positions_by_the_eraser(planted_model: HookedModel, prompts: Prompts) -> None:
    before = collect(planted_model, prompts, POST)[POST]
    eraser = fit_eraser(before[:, 2::2].flatten(0, 1), before[:, 2::2, 4].flatten())
    after = held_under(planted_model, prompts, erase(eraser, POST, positions=range(2, 16, 2)))
    torch.testing.assert_close(after[:, 2::2], eraser(before[:, 2::2]))
    torch.testing.assert_close(after[:, 1::2], before[:, 1::2])
    torch.testing.assert_close(after[:, 2::2, 4], before[:, 2::2, 4].mean().expand(6, 7))
    assert repr(erase(eraser, POST)) == f"Intervention(erase 1 directions at {POST})"
