import weakref

import pytest
import torch

from icl_interp import HookedICLTransformer, LinearRegression, ModelConfig, Prompts, build_model, collect, stream

NAMES = ["blocks.0.hook_resid_pre", "blocks.1.attn.hook_pattern", "ln_final.hook_out", "hook_pos_embed"]


@pytest.fixture(scope="module")
def model() -> HookedICLTransformer:
    return build_model(ModelConfig(n_dims=3, n_points=7, n_layers=2, n_heads=2, d_model=8), seed=0)


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return LinearRegression(3).sample(11, seed=0)


def listeners(model: HookedICLTransformer) -> list[str]:
    return [name for name, point in model.hook_dict.items() if point._forward_hooks]


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11, 256])
def test_collect_equals_run_with_cache(model: HookedICLTransformer, prompts: Prompts, batch_size: int) -> None:
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    kept = collect(model, prompts, NAMES, batch_size=batch_size)
    assert list(kept) == NAMES
    for name in NAMES:
        # float32 matmuls round differently for other batch sizes; activations are of order 1.
        torch.testing.assert_close(kept[name], cache[name].detach(), rtol=1e-5, atol=1e-6)


def test_collect_with_its_defaults_takes_one_name(model: HookedICLTransformer, prompts: Prompts) -> None:
    assert collect(model, prompts, NAMES[0])[NAMES[0]].shape == (11, 14, 8)


def test_a_name_given_twice_is_kept_once(model: HookedICLTransformer, prompts: Prompts) -> None:
    assert collect(model, prompts, [NAMES[0], NAMES[0]])[NAMES[0]].shape == (11, 14, 8)


def test_batches_come_in_the_order_of_the_prompts(model: HookedICLTransformer, prompts: Prompts) -> None:
    batches = list(stream(model, prompts, NAMES[:1], batch_size=4))
    assert [len(batch.prompts) for batch in batches] == [4, 4, 3]
    torch.testing.assert_close(torch.cat([batch.prompts.xs for batch in batches]), prompts.xs, rtol=0, atol=0)
    predictions = torch.cat([batch.predictions for batch in batches])
    # As above: other batch sizes round differently.
    torch.testing.assert_close(predictions, model(prompts.xs, prompts.ys).detach(), rtol=1e-5, atol=1e-6)


def test_stream_without_names_still_predicts(model: HookedICLTransformer, prompts: Prompts) -> None:
    (batch,) = stream(model, prompts, [])
    assert batch.predictions.shape == (11, 7)
    assert not batch.activations


def test_activations_are_copies_that_carry_no_gradient(model: HookedICLTransformer, prompts: Prompts) -> None:
    table = model.pos_embed.W_pos.detach().clone()
    kept = collect(model, prompts, ["hook_pos_embed", "hook_embed"])
    assert not any(tensor.requires_grad for tensor in kept.values())
    assert not next(stream(model, prompts, NAMES)).predictions.requires_grad
    kept["hook_pos_embed"].zero_()
    torch.testing.assert_close(model.pos_embed.W_pos.detach(), table, rtol=0, atol=0)
    assert torch.is_grad_enabled()


def test_hooks_are_off_while_the_consumer_works_and_after_it_stops(
    model: HookedICLTransformer, prompts: Prompts
) -> None:
    batches = stream(model, prompts, NAMES, batch_size=4)
    next(batches)
    assert listeners(model) == []
    assert torch.is_grad_enabled()
    batches.close()
    assert listeners(model) == []


def test_hooks_come_off_when_the_model_raises(model: HookedICLTransformer) -> None:
    too_long = LinearRegression(3).sample(2, 8, seed=0)
    with pytest.raises(ValueError, match="positions for 7 points, got 8"):
        collect(model, too_long, NAMES)
    assert listeners(model) == []
    assert torch.is_grad_enabled()


def test_a_users_own_hook_stays_and_is_seen(model: HookedICLTransformer, prompts: Prompts) -> None:
    plain = collect(model, prompts, "blocks.0.hook_resid_pre")["blocks.0.hook_resid_pre"]
    model.add_hook("hook_embed", lambda tensor, hook: 2 * tensor)  # noqa: ARG005  # TransformerLens' hook protocol
    try:
        doubled = collect(model, prompts, "blocks.0.hook_resid_pre")["blocks.0.hook_resid_pre"]
        assert listeners(model) == ["hook_embed"]
    finally:
        model.reset_hooks()
    positions = model.pos_embed.W_pos.detach()[:14]
    # One rounding of float32 in each of the sums.
    torch.testing.assert_close(doubled - positions, 2 * (plain - positions), rtol=1e-5, atol=1e-6)


def test_only_one_batch_is_alive(model: HookedICLTransformer, prompts: Prompts) -> None:
    batches = stream(model, prompts, NAMES[:1], batch_size=2)
    seen: list[weakref.ref[torch.Tensor]] = []
    alive_in_forward: list[int] = []
    # A hook of our own at the last hook point counts what earlier batches have left behind during a forward pass.
    count = lambda tensor, hook: alive_in_forward.append(sum(r() is not None for r in seen))  # noqa: ARG005, E731
    model.add_hook("ln_final.hook_out", count)
    try:
        for _ in range(6):
            seen.append(weakref.ref(next(batches).activations[NAMES[0]]))
    finally:
        model.reset_hooks()
    # The generator may hold the batch it has just handed out, and nothing older.
    assert alive_in_forward[0] == 0
    assert max(alive_in_forward) <= 1


@pytest.mark.parametrize(
    "names", ["blocks.0.hook_resid_pst", ["hook_embed", "blocks.0.hook_resid_pst"]], ids=["name", "list"]
)
def test_unknown_names_list_near_ones(model: HookedICLTransformer, prompts: Prompts, names: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"no hook point 'blocks.0.hook_resid_pst'; near names: .*hook_resid_post"):
        collect(model, prompts, names)
    assert listeners(model) == []


def test_no_names_and_no_prompts_a_batch_are_refused(model: HookedICLTransformer, prompts: Prompts) -> None:
    with pytest.raises(ValueError, match=r"collect needs at least one hook name, got none; print\(model.hook_dict"):
        collect(model, prompts, [])
    with pytest.raises(ValueError, match="batch_size needs at least 1, got 0"):
        collect(model, prompts, NAMES, batch_size=0)
