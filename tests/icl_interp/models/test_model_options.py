import pytest
import torch
from model_cases import OPTIONS, large_weights, pairs, prompts_for, with_the_weights_of
from model_reference import slow_outputs

from icl_interp import ModelConfig
from icl_interp.models.layout import answering_positions, lay_out
from icl_interp.models.shapes import parameter_shapes

# Activations of order 10 in float32 against float64, two layers deep.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
BASE = OPTIONS["defaults"]
all_options = pytest.mark.parametrize("config", OPTIONS.values(), ids=OPTIONS)


def nothing(tensor, hook):  # noqa: ARG001  # TransformerLens' hook protocol
    return None


@all_options
@torch.no_grad()
def test_outputs_are_the_definition(config: ModelConfig) -> None:
    model = large_weights(config)
    tokens = lay_out(config.tokens, *prompts_for(config))
    out = model.forward_tokens(tokens)
    assert out.shape == (*tokens.shape[:2], config.d_out)
    torch.testing.assert_close(out.double(), slow_outputs(model, tokens), **CLOSE)


@all_options
@torch.no_grad()
def test_predictions_are_read_at_the_answering_positions(config: ModelConfig) -> None:
    model = large_weights(config)
    xs, ys = prompts_for(config)
    predictions = model(xs, ys)
    for k in range(config.n_points):
        out = slow_outputs(model, lay_out(config.tokens, xs[:, : k + 1], ys[:, : k + 1]))
        expected = out[:, answering_positions(config.tokens), 0][:, -1]
        torch.testing.assert_close(predictions[:, k].double(), expected, **CLOSE)


@all_options
@pytest.mark.parametrize("k", [0, 3, 6])
@torch.no_grad()
def test_a_prediction_reads_only_its_input_and_the_pairs_before(config: ModelConfig, k: int) -> None:
    model = large_weights(config)
    xs, ys = prompts_for(config)
    before = model(xs, ys)
    later_xs, later_ys = xs.clone(), ys.clone()
    later_xs[:, k + 1 :] += 5
    later_ys[:, k:] -= 5
    after = model(later_xs, later_ys)
    torch.testing.assert_close(after[:, : k + 1], before[:, : k + 1], **CLOSE)
    # The control: what comes later does change.
    assert bool(((after - before)[:, k + 1 :].abs() > 1e-4).all())


@all_options
@torch.no_grad()
def test_listening_changes_nothing_and_is_a_pass_over_the_last_point(config: ModelConfig) -> None:
    model = large_weights(config)
    xs, ys = prompts_for(config)
    points = [-1] if config.query_only else None
    hooks = [(name, nothing) for name in model.hook_dict]
    listened = model.run_with_hooks(xs, ys, points=points, fwd_hooks=hooks)
    torch.testing.assert_close(listened, model(xs, ys, points=points), **CLOSE)
    predictions, cache = model.run_with_cache(xs, ys)
    torch.testing.assert_close(predictions, listened, rtol=0, atol=0)
    assert set(cache.keys()) == set(model.hook_dict)


@all_options
def test_parameters_are_known_without_building(config: ModelConfig) -> None:
    model = large_weights(config)
    assert {name: tuple(w.shape) for name, w in model.named_parameters()} == parameter_shapes(config)
    assert {name: tuple(w.shape) for name, w in model.state_dict().items()} == parameter_shapes(config)


@all_options
@torch.no_grad()
def test_what_the_config_leaves_out_stands_as_a_fixed_tensor(config: ModelConfig) -> None:
    model = large_weights(config)
    fixed = {name: tensor for name, tensor in model.named_buffers() if ".b_" in name}
    for tensor in fixed.values():
        torch.testing.assert_close(tensor, torch.zeros_like(tensor), rtol=0, atol=0)
    present = {name for name in parameter_shapes(config) if ".b_" in name}
    assert present.isdisjoint(fixed)
    assert {"embed.b_E", "unembed.b_U", "blocks.1.attn.b_Q", "blocks.1.attn.b_O"} <= present | set(fixed)


CHANGES = [
    name
    for name in OPTIONS
    # Two that must not change predictions, and those of another n_dims, layout or shape of weights throughout.
    if name not in ("defaults", "more positions", "d_head and d_mlp", "sequence") and "joint" not in name
]


@pytest.mark.parametrize("name", CHANGES)
@torch.no_grad()
def test_every_option_changes_the_predictions(name: str) -> None:
    model = large_weights(BASE)
    other = with_the_weights_of(model, OPTIONS[name])
    assert float((other(*pairs()) - model(*pairs())).abs().max()) > 1e-4


@torch.no_grad()
def test_a_longer_table_changes_only_the_table() -> None:
    model, longer = large_weights(BASE), large_weights(OPTIONS["more positions"])
    longer.load_state_dict({**model.state_dict(), "pos_embed.W_pos": longer.pos_embed.W_pos}, strict=True)
    longer.pos_embed.W_pos[:14] = model.pos_embed.W_pos
    torch.testing.assert_close(longer(*pairs()), model(*pairs()), rtol=0, atol=0)
    assert longer(*pairs(n_points=10)).shape == (5, 10)


JOINT_CHANGES = [
    ("joint", "joint, full"),
    ("joint", "joint, query masked"),
    ("joint, full", "joint, full, query masked"),
]


@pytest.mark.parametrize(("one", "other"), JOINT_CHANGES, ids=[f"{a} and {b}" for a, b in JOINT_CHANGES])
@torch.no_grad()
def test_masks_of_joint_tokens_change_the_predictions(one: str, other: str) -> None:
    model = large_weights(OPTIONS[one])
    masked = with_the_weights_of(model, OPTIONS[other])
    assert float((masked(*pairs()) - model(*pairs())).abs().max()) > 1e-4


@torch.no_grad()
def test_full_attention_without_positions_ignores_the_order_of_the_pairs() -> None:
    xs, ys = pairs()
    order = torch.tensor([4, 2, 0, 5, 1, 3, 6])
    fields = dict(OPTIONS["joint, full"]) | {"positional_embedding_type": "none"}
    model = large_weights(ModelConfig(**fields))
    torch.testing.assert_close(
        model(xs[:, order], ys[:, order], points=[-1]), model(xs, ys, points=[-1]), rtol=1e-4, atol=1e-4
    )
    causal = large_weights(ModelConfig(**{**fields, "attention": "causal"}))
    assert float((causal(xs[:, order], ys[:, order]) - causal(xs, ys))[:, -1].abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "reads"), [("joint, full", True), ("joint, full, query masked", False)])
@torch.no_grad()
def test_a_masked_query_is_read_by_no_pair(name: str, reads: bool) -> None:
    model, (xs, ys) = large_weights(OPTIONS[name]), pairs()
    _, before = model.run_with_cache(xs, ys)
    xs[:, -1] += 1
    _, after = model.run_with_cache(xs, ys)
    change = (after["resid_post", -1] - before["resid_post", -1]).abs().amax(dim=(0, 2))
    assert bool((change[:-1] > 1e-4).all()) == reads
    assert float(change[-1]) > 1e-2


@pytest.mark.parametrize("hooked", [None, "blocks.0.attn.hook_pattern"])
@torch.no_grad()
def test_a_masked_query_without_context_attends_to_nothing(hooked: str | None) -> None:
    model = large_weights(OPTIONS["joint, full, query masked"])
    xs, ys = pairs(n_points=1)
    z: list[torch.Tensor] = []
    hooks = [("blocks.0.attn.hook_z", lambda tensor, hook: z.append(tensor))]  # noqa: ARG005
    hooks += [] if hooked is None else [(hooked, nothing)]
    assert bool(model.run_with_hooks(xs, ys, fwd_hooks=hooks).isfinite().all())
    torch.testing.assert_close(z, [torch.zeros(5, 1, 2, 4)], rtol=0, atol=0)


@torch.no_grad()
def test_a_pinned_model_without_attention_predicts_its_label_coordinate() -> None:
    # W_O = 0 and no MLP: the query's label coordinate holds the 0 that it was laid out with, whatever x is.
    config = ModelConfig(**dict(OPTIONS["joint, pinned"]) | {"attn_only": True})
    model = large_weights(config)
    torch.testing.assert_close(model.embed.W_E, torch.eye(4, 8), rtol=0, atol=0)
    for block in model.blocks:
        block.attn.W_O.zero_()
        block.attn.b_O.zero_()
    xs, ys = pairs()
    torch.testing.assert_close(model(xs, ys), torch.zeros(5, 7), rtol=0, atol=0)
    out = model.forward_tokens(lay_out("joint", xs, ys))[..., 0]
    torch.testing.assert_close(out[:, :-1], ys[:, :-1], rtol=0, atol=0)


@torch.no_grad()
def test_a_sequence_does_not_read_ys() -> None:
    model, (xs, ys) = large_weights(OPTIONS["sequence"]), prompts_for(OPTIONS["sequence"])
    torch.testing.assert_close(model(xs, ys + 1), model(xs, ys), rtol=0, atol=0)


def test_several_points_under_a_cache_are_refused_where_a_pass_answers_one() -> None:
    with pytest.raises(ValueError, match="needs exactly one point, got 2; pass points="):
        large_weights(OPTIONS["joint"]).run_with_cache(*pairs(), points=[0, 1])


@torch.no_grad()
def test_without_a_table_prompts_may_be_longer() -> None:
    model = large_weights(OPTIONS["no positions"])
    assert model(*pairs(n_points=30)).shape == (5, 30)
    with pytest.raises(ValueError, match=r"forward_tokens needs \[batch pos 3\], got shape \(5, 14, 2\)"):
        model.forward_tokens(torch.zeros(5, 14, 2))
