"""The whole network against Hugging Face's GPT-2, which is the code that dtsip/in-context-learning trains."""

import pytest
import torch
from einops import rearrange
from model_cases import SMALL, large_weights, pairs
from torch import Tensor
from transformers import GPT2Config, GPT2Model

from icl_interp import HookedICLTransformer
from icl_interp.models.layout import _interleave

CONFIGS = {
    "small": SMALL,
    "exact gelu": SMALL.model_copy(update={"act_fn": "gelu"}),
    "relu": SMALL.model_copy(update={"act_fn": "relu"}),
    "narrow mlp": SMALL.model_copy(update={"d_mlp": 5}),
    "large eps": SMALL.model_copy(update={"eps": 0.1}),
    "one of each": SMALL.model_copy(update={"n_layers": 1, "n_heads": 1}),
    "one dimension": SMALL.model_copy(update={"n_dims": 1}),
}


def gpt2_with_the_weights_of(model: HookedICLTransformer) -> GPT2Model:
    cfg = model.cfg
    gpt2 = GPT2Model(
        GPT2Config(
            vocab_size=1,
            n_positions=cfg.n_ctx,
            n_embd=cfg.d_model,
            n_layer=cfg.n_layers,
            n_head=cfg.n_heads,
            n_inner=cfg.mlp_width,
            activation_function=cfg.act_fn,
            layer_norm_epsilon=cfg.eps,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation="eager",
        )
    ).eval()
    ours = dict(model.named_parameters())
    theirs = {"wpe.weight": ours["pos_embed.W_pos"], "ln_f.weight": ours["ln_final.w"], "ln_f.bias": ours["ln_final.b"]}
    for layer in range(cfg.n_layers):
        block = {name.removeprefix(f"blocks.{layer}."): weight for name, weight in ours.items()}
        q, k, v = (rearrange(block[f"attn.W_{part}"], "h m c -> m (h c)") for part in "QKV")
        biases = [rearrange(block[f"attn.b_{part}"], "h c -> (h c)") for part in "QKV"]
        theirs |= {
            f"h.{layer}.{name}": weight
            for name, weight in {
                "ln_1.weight": block["ln1.w"],
                "ln_1.bias": block["ln1.b"],
                "attn.c_attn.weight": torch.cat([q, k, v], dim=1),
                "attn.c_attn.bias": torch.cat(biases),
                "attn.c_proj.weight": rearrange(block["attn.W_O"], "h c m -> (h c) m"),
                "attn.c_proj.bias": block["attn.b_O"],
                "ln_2.weight": block["ln2.w"],
                "ln_2.bias": block["ln2.b"],
                "mlp.c_fc.weight": block["mlp.W_in"],
                "mlp.c_fc.bias": block["mlp.b_in"],
                "mlp.c_proj.weight": block["mlp.W_out"],
                "mlp.c_proj.bias": block["mlp.b_out"],
            }.items()
        }
    gpt2.load_state_dict({**theirs, "wte.weight": torch.zeros(1, cfg.d_model)}, strict=True)
    return gpt2


def oracle(model: HookedICLTransformer, xs: Tensor, ys: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Block inputs with the final norm as the last, and the predictions."""
    embedded = _interleave(xs, ys) @ model.embed.W_E + model.embed.b_E
    states = gpt2_with_the_weights_of(model)(inputs_embeds=embedded, output_hidden_states=True).hidden_states
    return states, (states[-1] @ model.unembed.W_U + model.unembed.b_U)[:, ::2, 0]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@torch.no_grad()
def test_block_inputs_final_norm_and_predictions_are_gpt2s(config: object) -> None:
    model = large_weights(config)
    xs, ys = pairs(n_dims=config.n_dims)
    states, expected = oracle(model, xs, ys)
    predictions, cache = model.run_with_cache(xs, ys)
    # Two orders of summation in float32, on activations up to about 10.
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    for layer in range(config.n_layers):
        torch.testing.assert_close(cache["resid_pre", layer], states[layer], **tolerance)
    torch.testing.assert_close(cache["ln_final.hook_out"], states[-1], **tolerance)
    torch.testing.assert_close(predictions, expected, **tolerance)
    torch.testing.assert_close(model(xs, ys), expected, **tolerance)


@pytest.mark.parametrize("n_points", [1, 4])
@torch.no_grad()
def test_prompts_shorter_than_the_table_use_its_first_rows(n_points: int) -> None:
    model = large_weights()
    xs, ys = pairs(n_points=n_points)
    torch.testing.assert_close(model(xs, ys), oracle(model, xs, ys)[1], rtol=1e-5, atol=1e-5)  # as above


NAMES = [name for name, _ in large_weights().named_parameters()]
WITHOUT_EFFECT = [name for name in NAMES if name.endswith("b_K")]  # a softmax ignores what all its scores share


def largest_change_from_the_oracle(name: str) -> float:
    model = large_weights()
    xs, ys = pairs()
    _, expected = oracle(model, xs, ys)
    weight = model.get_parameter(name)
    weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    return float((model(xs, ys) - expected).abs().max())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_EFFECT])
@torch.no_grad()
def test_the_oracle_notices_a_change_of_any_parameter(name: str) -> None:
    assert largest_change_from_the_oracle(name) > 1e-3  # a hundred times the tolerance above


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
@torch.no_grad()
def test_key_biases_have_no_effect(name: str) -> None:
    assert largest_change_from_the_oracle(name) < 1e-5  # the tolerance above
