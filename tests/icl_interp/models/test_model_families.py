import pytest

from icl_interp import ModelConfig
from icl_interp.models.config import _INITS, LINEAR_FAMILIES

SIZES = {"n_dims": 5, "n_points": 11, "n_layers": 3, "n_heads": 2, "d_model": 64}
JOINT = {**SIZES, "tokens": "joint"}
LINEAR = {"family": "lsa", "n_dims": 5, "n_points": 6}

CONTRADICTIONS = {
    "width of a linear family": ({**LINEAR, "d_model": 8}, "d_model=8 in a linear family over n_dims=5"),
    "full attention over labels": ({**SIZES, "attention": "full"}, "attention='full' over tokens='interleaved'"),
    "no query to mask": ({**SIZES, "mask_query": True}, "mask_query=True over tokens='interleaved'"),
    "a sequence of vectors": ({**SIZES, "tokens": "sequence"}, "tokens='sequence' and n_dims=5"),
    "pinned where x is": ({**SIZES, "read_out": "pinned"}, "read_out='pinned' over tokens='interleaved'"),
    "pinned with a norm": ({**JOINT, "read_out": "pinned", "final_norm": True}, "a norm would mix x into the label"),
    "pinned with channels": ({**JOINT, "read_out": "pinned", "d_out": 2}, "read_out='pinned' and d_out=2"),
    "pinned without room": ({**JOINT, "read_out": "pinned", "d_model": 4}, "tokens of width 6 need room"),
    "pinned with a bias": ({**JOINT, "read_out": "pinned", "bias_read_out": True}, "both are fixed maps"),
    "no norm to end with": ({**SIZES, "normalization_type": None, "final_norm": True}, "and normalization_type=None"),
    "a table of no positions": (
        {**SIZES, "positional_embedding_type": "none", "n_positions": 30},
        "n_positions with positional_embedding_type='none'",
    ),
    "a table too short": ({**SIZES, "n_positions": 21}, r"n_positions=21 for 11 points \(they take 22\)"),
    "heads that leave a gap": ({**SIZES, "attn_out_proj": False, "d_head": 8}, "attn_out_proj=False with 2 heads"),
    "the bias of nothing": (
        {**SIZES, "attn_out_proj": False, "bias_attn_out": True},
        "attn_out_proj=False and bias_attn_out=True",
    ),
    "no activation": ({**SIZES, "act_fn": "identity"}, "act_fn='identity' in family 'gpt2'"),
    "the width of no MLP": ({**SIZES, "attn_only": True, "d_mlp": 8}, "d_mlp=8 with attn_only=True"),
    "divided by nothing": ({**LINEAR, "normalise": "fixed"}, "normalise='fixed' without normalise_by"),
    "divided twice": ({**LINEAR, "normalise_by": 3}, "normalise_by=3 with normalise='mean'"),
    "a deviation of nothing": ({**SIZES, "init_std": 0.1}, "init_std with init='dtsip'"),
    "another family's initialisation": (
        {**SIZES, "init": "normal"},
        "family 'gpt2' has init dtsip or gpt2 or .*'normal'",
    ),
    "another family's option": ({**LINEAR, "doubled_residual": True}, "has doubled_residual=False only, got True"),
}


@pytest.mark.parametrize(("fields", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_options_that_contradict_each_other_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)


def test_all_contradictions_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)mask_query=True over .*; act_fn='identity' .*change one of each"):
        ModelConfig(**SIZES, mask_query=True, act_fn="identity")


FILLED = {
    "pinned ends have no biases and no norm": (
        {**JOINT, "read_out": "pinned"},
        {"bias_read_in": False, "bias_read_out": False, "final_norm": False},
    ),
    "no norms, no final norm": ({**SIZES, "normalization_type": None}, {"final_norm": False}),
    "no projection, no bias": ({**SIZES, "attn_out_proj": False}, {"bias_attn_out": False}),
    "linear families": (LINEAR, {"n_layers": 1, "n_heads": 1, "d_model": 6, "tokens": "joint", "init": "normal"}),
}


@pytest.mark.parametrize(("fields", "expected"), FILLED.values(), ids=FILLED)
def test_what_follows_is_filled_in(fields: dict[str, object], expected: dict[str, object]) -> None:
    config = ModelConfig(**fields)
    assert {name: getattr(config, name) for name in expected} == expected


WIDTHS = [
    ("interleaved", 5, 22, 0),
    ("separate", 6, 22, 0),
    ("joint", 6, 11, 5),
]


@pytest.mark.parametrize(("tokens", "d_token", "n_ctx", "label"), WIDTHS)
def test_layouts_say_how_wide_and_long_they_are(tokens: str, d_token: int, n_ctx: int, label: int) -> None:
    config = ModelConfig(**SIZES, tokens=tokens)
    assert (config.d_token, config.n_ctx, config.label_coordinate) == (d_token, n_ctx, label)
    assert config.max_points == 11
    assert config.query_only == (tokens == "joint")
    assert config.device is None


def test_a_sequence_is_one_value_a_token() -> None:
    config = ModelConfig(**{**SIZES, "n_dims": 1}, tokens="sequence")
    assert (config.d_token, config.n_ctx, config.max_points) == (1, 11, 11)


def test_a_longer_table_allows_longer_prompts() -> None:
    assert ModelConfig(**SIZES, n_positions=31).max_points == 15
    assert ModelConfig(**SIZES, positional_embedding_type="none").max_points is None


@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_linear_families_build_configs_from_sizes_alone(family: str) -> None:
    config = ModelConfig(family=family, n_dims=5, n_points=6)
    assert config.init == _INITS[family][0]
    assert (config.head_width, config.value_width) == (6, 6)
