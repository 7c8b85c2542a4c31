import math
from typing import Any

import pytest
import torch
from lens_cases import CONFIGS, only_on_3, small
from model_cases import large_weights, pairs
from torch import Tensor

from icl_interp import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.lens import from_hooked_transformer, to_hooked_transformer
from icl_interp.models.transformer_lens.write import lens_fields, lens_weights


def _read_in(model: HookedModel) -> tuple[Tensor, Tensor | None]:
    return model.embed.W_E.detach().T, model.embed.b_E.detach() if model.cfg.bias_read_in else None


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_there_and_back(config: ModelConfig) -> None:
    model = large_weights(config)
    again = from_hooked_transformer(
        lens_weights(model), lens_fields(config), read_in=_read_in(model), layout=config.tokens
    )
    assert not again.training
    assert (again.cfg.n_ctx, again.cfg.d_out) == (config.n_ctx, config.d_out)
    xs, ys = pairs(n_points=config.n_points, n_dims=config.n_dims)
    # Absent parts have come back as zeros and identities: the same numbers in another order of sums, in float32.
    torch.testing.assert_close(again(xs, ys), model(xs, ys), rtol=1e-4, atol=3e-5)


def test_what_is_absent_stays_absent() -> None:
    options = {"bias_qkv": False, "bias_attn_out": False, "bias_mlp": False, "d_head": 4, "d_mlp": 32}
    model = large_weights(small(bias_read_in=False, **options))
    kept = {name: weight for name, weight in lens_weights(model).items() if ".attn.b_" not in name}
    kept = {name: weight for name, weight in kept.items() if ".mlp.b_" not in name}
    again = from_hooked_transformer(kept, lens_fields(model.cfg))
    assert again.cfg == model.cfg.model_copy(update={"init": "transformer_lens"})
    assert set(again.state_dict()) == set(model.state_dict())


def test_half_of_the_biases_are_completed_with_zeros() -> None:
    weights = lens_weights(large_weights(small()))
    del weights["blocks.0.mlp.b_in"], weights["blocks.1.attn.b_K"]
    again = from_hooked_transformer(weights, lens_fields(small()))
    torch.testing.assert_close(again.blocks[0].mlp.b_in.detach(), torch.zeros(32), rtol=0, atol=0)
    torch.testing.assert_close(again.blocks[1].attn.b_K.detach(), torch.zeros(2, 4), rtol=0, atol=0)


def test_folded_norms_are_norms_without_scale_and_shift() -> None:
    model = large_weights(small(normalization_type="LNPre"))
    for normalization in ("LN", "LNPre"):  # folding leaves the field as it is, or renames it
        fields = {**lens_fields(model.cfg), "normalization_type": normalization}
        again = from_hooked_transformer(lens_weights(model), fields, read_in=_read_in(model))
        assert again.cfg.normalization_type == "LNPre"
        torch.testing.assert_close(again(*pairs(n_points=4)), model(*pairs(n_points=4)), rtol=0, atol=0)


def test_without_read_in_tokens_are_one_hot() -> None:
    model = large_weights(small())
    again = from_hooked_transformer(lens_weights(model), lens_fields(model.cfg))
    assert not again.cfg.bias_read_in
    torch.testing.assert_close(again.embed.W_E, model.embed.W_E, rtol=0, atol=0)


def test_defaults_of_the_cfg_are_transformer_lens() -> None:
    model = large_weights(small(act_fn="relu"))
    fields = lens_fields(model.cfg)
    sizes = {name: fields[name] for name in ("d_model", "d_head", "n_layers", "n_ctx")}
    again = from_hooked_transformer(lens_weights(model), sizes, read_in=_read_in(model))
    torch.testing.assert_close(again(*pairs(n_points=4)), model(*pairs(n_points=4)), rtol=0, atol=0)


def test_an_odd_table_keeps_its_rows() -> None:
    again = from_hooked_transformer(
        lens_weights(large_weights(small(n_positions=11))), lens_fields(small(n_positions=11))
    )
    assert (again.cfg.n_points, again.cfg.n_ctx) == (5, 11)


@only_on_3
@pytest.mark.parametrize("folded", [False, True], ids=["as built", "folded"])
def test_real_hooked_transformer_comes_in(folded: bool) -> None:
    model = large_weights(small())
    real = to_hooked_transformer(model)
    tokens = torch.randn(5, 8, 3, generator=torch.Generator().manual_seed(0))
    before = model.forward_tokens(tokens)
    if folded:  # moves scales of norms into the weights behind them
        real.process_weights_(fold_ln=True, center_writing_weights=False, center_unembed=False)
    again = from_hooked_transformer(real.state_dict(), real.cfg, read_in=_read_in(model))
    assert again.cfg.normalization_type == ("LNPre" if folded else "LN")
    torch.testing.assert_close(again.forward_tokens(tokens), before, rtol=1e-4, atol=3e-5)  # float32, other sums


@only_on_3
@pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated")
def test_hooked_transformer_over_integers_comes_in() -> None:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    cfg = HookedTransformerConfig(
        d_model=8,
        d_head=4,
        n_layers=2,
        n_ctx=6,
        n_heads=2,
        d_vocab=5,
        d_vocab_out=3,
        act_fn="relu",
        seed=0,
        device="cpu",
    )
    real = HookedTransformer(cfg)
    again = from_hooked_transformer(real.state_dict(), real.cfg, layout="interleaved")
    tokens = torch.tensor([[0, 4, 2, 1, 1, 3]])
    one_hot = torch.nn.functional.one_hot(tokens, 5).float()
    torch.testing.assert_close(again.forward_tokens(one_hot), real(tokens), rtol=1e-4, atol=1e-6)  # float32


REFUSED_CFG: dict[str, tuple[dict[str, Any], str]] = {
    "rotary": ({"positional_embedding_type": "rotary"}, "got positional_embedding_type='rotary'; keep such a model in"),
    "shortformer": ({"positional_embedding_type": "shortformer"}, "got positional_embedding_type='shortformer'"),
    "RMS": ({"normalization_type": "RMS"}, "got normalization_type='RMS'"),
    "activation": ({"act_fn": "solu_ln"}, "got act_fn='solu_ln'"),
    "gated": ({"gated_mlp": True}, "got gated_mlp=True"),
    "grouped keys": ({"n_key_value_heads": 1}, "got n_key_value_heads=1"),
    "soft cap": ({"attn_scores_soft_cap": 50.0}, "got attn_scores_soft_cap=50.0"),
    "scale": ({"attn_scale": 1.0}, "got attn_scale=1.0"),
    "no scale": ({"use_attn_scale": False}, "got use_attn_scale=False"),
    "parallel": ({"parallel_attn_mlp": True}, "got parallel_attn_mlp=True"),
    "local": ({"use_local_attn": True, "window_size": 4}, "got use_local_attn=True; "),
    "experts": ({"num_experts": 4}, "got num_experts=4"),
    "two": ({"use_qk_norm": True, "post_embedding_ln": True}, "got use_qk_norm=True, post_embedding_ln=True"),
    "never heard of": ({"use_hyperloops": 3}, "got use_hyperloops=3"),
    "no width": ({"d_model": None}, "positive integers for d_model, d_head, n_layers, n_ctx, got none for d_model; "),
    "no layers": ({"n_layers": 0}, "got none for n_layers"),
    "another depth": ({"n_layers": 3}, r"a block for each of the n_layers=3 of the cfg, got 2; pass config and"),
    "enormous depth": ({"n_layers": 10**9}, "n_layers=1000000000 of the cfg, got 2"),
    "enormous width": ({"d_mlp": 10**15}, r"blocks\.0\.mlp\.W_in \[8, 32\] instead of \[8, 1000000000000000\]"),
    "full attention over pairs": ({"attention_dir": "bidirectional"}, "got layout='interleaved' with n_ctx=8, .*full"),
    "no norm": ({"normalization_type": None}, r"got unexpected blocks\.0\.ln1\.w, .* and \d+ more; "),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED_CFG.values(), ids=REFUSED_CFG)
def test_cfg_that_cannot_be_expressed_is_refused(changes: dict[str, Any], message: str) -> None:
    weights = lens_weights(large_weights(small()))
    with pytest.raises(ValueError, match=f"from_hooked_transformer needs .*{message}"):
        from_hooked_transformer(weights, {**lens_fields(small()), **changes})


HARMLESS: dict[str, Any] = {
    "attn_scale": math.sqrt(4),
    "attn_scores_soft_cap": -1.0,
    "n_key_value_heads": 2,
    "seed": 7,
    "rotary_base": 10000,
    "device": "cuda",
    "use_attn_result": True,
    "use_something_new": False,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_fields_that_change_nothing_are_taken(name: str) -> None:
    weights = lens_weights(large_weights(small()))
    from_hooked_transformer(weights, {**lens_fields(small()), name: HARMLESS[name]})


def _without(name: str) -> Any:
    return lambda weights: {n: w for n, w in weights.items() if n != name}


REFUSED_WEIGHTS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "missing": (_without("blocks.1.attn.W_Q"), {}, r"the weights that the cfg asks for, got no blocks\.1\.attn\.W_Q; "),
    "half folded": (_without("ln_final.w"), {}, r"got no ln_final\.w"),
    "no table": (_without("embed.W_E"), {}, r"the matrices embed\.W_E and unembed\.W_U, got none for embed\.W_E"),
    "unexpected": (
        lambda w: {**w, "blocks.0.attn.rotary_sin": torch.ones(1)},
        {},
        r"unexpected blocks\.0\.attn\.rotary",
    ),
    "shape": (lambda w: {**w, "unembed.b_U": torch.ones(2)}, {}, r"got unembed\.b_U \[2\] instead of \[1\]"),
    "one row": (lambda w: {**w, "embed.W_E": torch.ones(1, 8)}, {}, "a token table of one row and no read_in; pass"),
    "read-in of a vector": (dict, {"read_in": (torch.ones(8), None)}, r"a read_in weight \[d_model d_token\], got"),
    "read-in of another width": (
        dict,
        {"read_in": (torch.ones(7, 3), torch.ones(8))},
        r"got embed\.W_E \[3, 7\] instead of \[3, 8\]",
    ),
    "sequence of vectors": (dict, {"layout": "sequence"}, "got layout='sequence' with n_ctx=8, tokens of width 3"),
}


@pytest.mark.parametrize(("change", "options", "message"), REFUSED_WEIGHTS.values(), ids=REFUSED_WEIGHTS)
def test_weights_that_do_not_fit_are_refused(change: Any, options: dict[str, Any], message: str) -> None:
    weights = change(lens_weights(large_weights(small())))
    with pytest.raises(ValueError, match=f"from_hooked_transformer needs .*{message}"):
        from_hooked_transformer(weights, lens_fields(small()), **options)


def test_cfg_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a HookedTransformerConfig or a mapping .* got list; pass model\.cfg"):
        from_hooked_transformer({}, [])
