import hashlib

import pytest
import torch
import yaml
from pydantic import ValidationError

from icl_interp import LinearRegression, ModelConfig, TrainConfig
from icl_interp.training.resume import config_hash

SIZES = {"n_dims": 5, "n_points": 11, "n_layers": 3, "n_heads": 2, "d_model": 64}


def test_defaults_are_gpt2s() -> None:
    config = ModelConfig(**SIZES)
    assert (config.family, config.act_fn, config.eps, config.init) == ("gpt2", "gelu_new", 1e-5, "dtsip")
    assert (config.n_ctx, config.head_width, config.mlp_width) == (22, 32, 256)


def test_widths_can_be_set() -> None:
    config = ModelConfig(**{**SIZES, "n_heads": 3}, d_head=10, d_mlp=7)
    assert (config.head_width, config.mlp_width) == (10, 7)


def test_what_activation_cache_reads() -> None:
    config = ModelConfig(**SIZES)
    assert not config.attn_only
    assert not config.use_attn_result
    assert (config.normalization_type, config.positional_embedding_type) == ("LN", "standard")
    assert config.dtype == torch.float32


@pytest.mark.parametrize(
    "fields",
    [{}, {"d_head": 4, "d_mlp": 8, "act_fn": "relu", "eps": 1e-3, "init": "gpt2"}],
    ids=["defaults", "all others"],
)
def test_a_config_survives_yaml(fields: dict[str, object]) -> None:
    config = ModelConfig(**SIZES, **fields)
    assert ModelConfig(**yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


# Of the text of a config, and of the config of a training: run folders are named by them.
TEXTS = {
    "gpt2": (SIZES, "0b3e2f1d2b51d0ca", "cec19ebb1a21e5c8"),
    "lsa": ({"family": "lsa", "n_dims": 3, "n_points": 7}, "8e7c6c0ac1011528", "7aa5bb7dde650d92"),
    "ltb": ({"family": "ltb", "n_dims": 3, "n_points": 7}, "ddeeace9950432f0", "950d304852052f06"),
    "softmax": ({"family": "softmax_layer", "n_dims": 3, "n_points": 7}, "fd49cb437a34dbd0", "7e689ee34e783652"),
}


@pytest.mark.parametrize(("fields", "text", "training"), TEXTS.values(), ids=TEXTS)
def test_options_that_came_later_do_not_change_the_text_of_configs(
    fields: dict[str, object], text: str, training: str
) -> None:
    config = ModelConfig(**fields)
    assert hashlib.sha256(config.model_dump_json().encode()).hexdigest().startswith(text)
    task = LinearRegression(config.n_dims)
    assert config_hash(TrainConfig(model=config, task=task, steps=10)).startswith(training)


def test_options_that_came_later_are_written_where_they_matter() -> None:
    config = ModelConfig(family="lsa", n_dims=3, n_points=7, d_position=4, answer_channel=7, mask_query=False)
    assert (config.d_model, config.d_token, config.answer_coordinate, config.is_textbook) == (8, 8, 7, False)
    assert config.model_dump(mode="json")["answer_channel"] == 7
    assert ModelConfig(**yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config
    with pytest.raises(ValueError, match="answer_channel=8 in tokens of width 8"):
        ModelConfig(family="lsa", n_dims=3, n_points=7, d_position=4, answer_channel=8)
    with pytest.raises(ValueError, match=r"d_model=4 in a linear family .* n_dims \+ 1 \+ d_position"):
        ModelConfig(family="lsa", n_dims=3, n_points=7, d_position=4, d_model=4)
    with pytest.raises(ValueError, match="family 'ltb' has d_position=0 only, got 2"):
        ModelConfig(family="ltb", n_dims=3, n_points=7, d_position=2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "GPT-2 decoder, 3 layers, 2 heads, width 64, inputs of 5 dimensions"),
        ({"n_layers": 1, "n_heads": 1}, "GPT-2 decoder, 1 layer, 1 head, width 64"),
    ],
    ids=["many", "one"],
)
def test_describe(fields: dict[str, int], words: str) -> None:
    assert ModelConfig(**{**SIZES, **fields}).describe().startswith(words)


REFUSED = {
    **{f"{name} of 0": ({name: 0}, f"{name}\n.*greater than or equal to 1") for name in (*SIZES, "d_head", "d_mlp")},
    "unknown family": ({"family": "lstm"}, "family\n.*'gpt2'"),
    "unknown activation": ({"act_fn": "swish"}, "act_fn\n.*'gelu_new', 'gelu', 'relu'"),
    "unknown initialisation": ({"init": "ones"}, "init\n.*'dtsip', 'gpt2'"),
    "unknown key": ({"dropout": 0.1}, "dropout\n.*Extra inputs are not permitted"),
    "eps of 0": ({"eps": 0.0}, "eps\n.*greater than 0"),
    "infinite eps": ({"eps": float("inf")}, "eps\n.*finite number"),
    "NaN eps": ({"eps": float("nan")}, "eps\n"),
    "heads that do not divide": ({"n_heads": 3}, "d_model=64 and n_heads=3 .d_model needs to be a multiple"),
    "half a layer": ({"n_layers": 1.5}, "n_layers\n.*valid integer"),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        ModelConfig(**{**SIZES, **fields})


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(**{**SIZES, "n_layers": 0}, dropout=0.1, act_fn="swish")
    assert {problem["loc"] for problem in caught.value.errors()} == {("n_layers",), ("dropout",), ("act_fn",)}


@pytest.mark.parametrize("missing", SIZES)
def test_every_size_is_needed(missing: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){missing}\n.*Field required|needs {missing}; say how large"):
        ModelConfig(**{name: size for name, size in SIZES.items() if name != missing})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Instance is frozen"):
        ModelConfig(**SIZES).n_layers = 4  # type: ignore[misc]  # that is the point
