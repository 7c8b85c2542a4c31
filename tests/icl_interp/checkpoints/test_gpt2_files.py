"""GPT-2s under nanoGPT's and Hugging Face's names, against forward passes of those."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model, GPT2PreTrainedModel

from icl_interp import InputError, LinearRegression, load_checkpoint
from icl_interp.models.layout import lay_out

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class NanoBlock(nn.Module):
    """nanoGPT's block, with its names."""

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, bias=bias) for _ in range(2))
        self.attn = nn.ModuleDict({
            "c_attn": nn.Linear(width, 3 * width, bias=bias),
            "c_proj": nn.Linear(width, width, bias=bias),
        })
        self.mlp = nn.ModuleDict({
            "c_fc": nn.Linear(width, 4 * width, bias=bias),
            "c_proj": nn.Linear(4 * width, width, bias=bias),
        })

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        q, k, v = self.attn["c_attn"](self.ln_1(x)).split(width, dim=2)
        q, k, v = (t.view(batch, time, self.heads, width // self.heads).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.mT / math.sqrt(width // self.heads)
        mask = torch.ones(time, time, dtype=torch.bool).tril()
        z = (scores.masked_fill(~mask, -math.inf).softmax(-1) @ v).transpose(1, 2).reshape(batch, time, width)
        x = x + self.attn["c_proj"](z)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    """nanoGPT whose token table is a linear map of numbers, as people change it for regression."""

    def __init__(self, d_token: int, *, bias: bool, d_out: int = 1) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Linear(d_token, 16, bias=bias),
            "wpe": nn.Embedding(14, 16),
            "h": nn.ModuleList([NanoBlock(16, 2, bias=bias) for _ in range(2)]),
            "ln_f": nn.LayerNorm(16, bias=bias),
        })
        self.lm_head = nn.Linear(16, d_out, bias=False)
        for weight in self.parameters():  # norms away from 1, biases away from 0
            nn.init.normal_(weight, 0.1, 0.4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.transformer["wte"](tokens) + self.transformer["wpe"].weight[: tokens.shape[1]]
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


def prompts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 6, 3, generator=generator), torch.randn(3, 6, generator=generator)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", ["interleaved", "separate", "joint"])
@torch.no_grad()
def test_nanogpt(tmp_path: Path, tokens: Any, bias: bool) -> None:
    d_out = 1 if bias else 3
    theirs = NanoGPT(3 if tokens == "interleaved" else 4, bias=bias, d_out=d_out)
    contents = {"model": theirs.state_dict(), "model_args": {"n_head": 2, "bias": bias}, "iter_num": 7}
    torch.save(contents, tmp_path / "ckpt.pt")
    found = load_checkpoint(tmp_path, layout={"tokens": tokens, "channel": "last"})
    xs, ys = prompts()
    if tokens == "joint":  # a pass answers the last point
        expected, answers = theirs(lay_out(tokens, xs, ys))[:, -1:, -1], found.model(xs, ys, points=[-1])
    else:
        expected, answers = theirs(lay_out(tokens, xs, ys))[:, ::2, -1], found.model(xs, ys)
    torch.testing.assert_close(answers, expected, **CLOSE)
    assert (found.step, found.model.cfg.n_heads, found.task) == (7, 2, LinearRegression(3, n_points=7))
    assert "read-in is transformer.wte.weight and whose read-out is lm_head.weight" in found.notes[0]
    assert "gelu is assumed, as in nanoGPT; say otherwise with `--layout activation=relu`" in found.assumptions[-1]
    assert load_checkpoint(tmp_path, layout={"tokens": tokens, "activation": "relu"}).model.cfg.act_fn == "relu"


class Regression(nn.Module):
    """Hugging Face's GPT-2 between two linear maps; its token table is there and unused."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        sizes = {"vocab_size": 9, "n_positions": 14, "n_embd": 16, "n_layer": 2, "n_head": 2}
        self.config = GPT2Config(**{**sizes, **changes}, attn_implementation="eager")
        self.embed, self.gpt2, self.head = nn.Linear(3, 16), GPT2Model(self.config), nn.Linear(16, 1)
        for weight in self.parameters():
            nn.init.normal_(weight, 0.1, 0.3)
        self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.gpt2(inputs_embeds=self.embed(tokens)).last_hidden_state)


@torch.no_grad()
def test_hugging_face_with_config_json_beside(tmp_path: Path) -> None:
    theirs = Regression(activation_function="relu", layer_norm_epsilon=0.1, n_inner=24)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(theirs.config.to_json_string())
    found = load_checkpoint(tmp_path, layout={"tokens": "interleaved"})
    xs, ys = prompts()
    torch.testing.assert_close(found.model(xs, ys), theirs(lay_out("interleaved", xs, ys))[:, ::2, 0], **CLOSE)
    cfg = found.model.cfg
    assert (cfg.n_heads, cfg.act_fn, cfg.eps, cfg.d_mlp, cfg.n_points) == (2, "relu", 0.1, 24, 7)
    assert "Left out, since the model never reads them: gpt2.wte.weight." in found.notes
    assert not any("activation" in said for said in found.assumptions)


class Pretrained(GPT2PreTrainedModel):
    """A model of the kind that `save_pretrained` writes."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.read_in, self.transformer, self.read_out = nn.Linear(4, 16), GPT2Model(config), nn.Linear(16, 1)
        self.post_init()


@torch.no_grad()
def test_a_folder_of_save_pretrained(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=9, n_positions=14, n_embd=16, n_layer=1, n_head=4, attn_implementation="eager")
    theirs = Pretrained(config).eval()
    theirs.save_pretrained(tmp_path)
    found = load_checkpoint(tmp_path, layout={"tokens": "separate"})
    assert (found.path.name, found.model.cfg.n_heads) == ("model.safetensors", 4)
    xs, ys = prompts()
    hidden = theirs.transformer(inputs_embeds=theirs.read_in(lay_out("separate", xs, ys))).last_hidden_state
    torch.testing.assert_close(found.model(xs, ys), theirs.read_out(hidden)[:, ::2, 0], **CLOSE)


@torch.no_grad()
def test_hugging_face_alone(tmp_path: Path) -> None:
    theirs = Regression()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "a.pt")
    found = load_checkpoint(tmp_path / "a.pt", n_heads=2, layout={"tokens": "interleaved"})
    xs, ys = prompts()
    torch.testing.assert_close(found.model(xs, ys), theirs(lay_out("interleaved", xs, ys))[:, ::2, 0], **CLOSE)
    assert "gelu_new is assumed, as in Hugging Face" in found.assumptions[-1]


def test_two_maps_of_one_shape_are_told_apart_by_name(tmp_path: Path) -> None:
    weights = NanoGPT(3, bias=False).state_dict()
    torch.save({**weights, "other.weight": torch.zeros(16, 5)}, tmp_path / "a.pt")
    how = {"n_heads": 2, "layout": {"tokens": "interleaved"}}
    with pytest.raises(InputError, match=r"need one matrix \[d_model, d_token\].*, got .*; pass --layout read_in="):
        load_checkpoint(tmp_path / "a.pt", **how)
    how["layout"]["read_in"] = "transformer.wte.weight"
    found = load_checkpoint(tmp_path / "a.pt", **how)
    assert "Left out, since the model never reads them: other.weight." in found.notes


def words(weights: dict[str, Tensor]) -> None:
    weights["transformer.wte.weight"] = weights["lm_head.weight"] = torch.zeros(50, 16)


def norm_at_the_entry(weights: dict[str, Tensor]) -> None:
    weights["transformer.ln_e.weight"] = torch.ones(16)


def a_second_network(weights: dict[str, Tensor]) -> None:
    weights |= {name.replace("transformer", "ema"): weight for name, weight in weights.items()}


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "tokens unknown": (None, {"layout": {}}, r"how pairs become tokens of width 3, .* --layout tokens=interleaved"),
    "heads unknown": (None, {"n_heads": None}, r"number of heads among 1, 2, 4, 8, 16, .* pass --heads N"),
    "sequence of wide tokens": (None, {"layout": {"tokens": "sequence"}}, "need a wider read-in or more positions"),
    "a model of words": (words, {}, r"which reads numbers in, got none .* a model of words is not read as one"),
    "another part": (norm_at_the_entry, {}, r"unexpected: transformer\.ln_e\.weight"),
    "two networks": (a_second_network, {}, r"those of one network, got names that begin with ema\., transformer\."),
    "a layer less": (lambda w: w.pop("transformer.h.1.ln_1.weight"), {}, r"missing: h\.1\.ln_1\.weight"),
    "no norm": (lambda w: w.pop("transformer.h.0.ln_1.weight"), {}, r"need transformer\.h\.0\.ln_1\.weight"),
    "a shape": (
        lambda w: w.update({"transformer.h.1.mlp.c_fc.weight": torch.ones(3, 16)}),
        {},
        r"h\.1\.mlp\.c_fc\.weight is \[3, 16\] instead of \[64, 16\]",
    ),
    "first layer absent": (lambda w: w.pop("transformer.h.0.attn.c_attn.weight"), {}, r"missing: .*h\.0\.attn\.c_attn"),
    "numbers for matrices": (
        lambda w: w.update({"transformer.h.0.mlp.c_fc.weight": torch.tensor(1.0)}),
        {},
        r"h\.0\.mlp\.c_fc\.weight is \[\] instead of",
    ),
    "one number for positions": (
        lambda w: w.update({"transformer.wpe.weight": torch.tensor(1.0)}),
        {},
        r"wpe\.weight is \[\] instead of",
    ),
    "positions of another width": (
        lambda w: w.update({"transformer.wpe.weight": torch.ones(14, 3)}),
        {},
        r"wpe\.weight is \[14, 3\] instead of \[14, 16\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "how", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read(tmp_path: Path, change: Any, how: dict[str, Any], message: str) -> None:
    weights = NanoGPT(3, bias=False).state_dict()
    if change is not None:
        change(weights)
    torch.save(dict(weights), tmp_path / "a.pt")
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "a.pt", **{"n_heads": 2, "layout": {"tokens": "interleaved"}, **how})


BESIDE = {
    "no JSON": ("{", "config.json beside the weights needs to be readable JSON"),
    "another activation": (
        json.dumps({"n_head": 2, "activation_function": "silu"}),
        "activation out of .*, got 'silu'",
    ),
    "another formula": (json.dumps({"scale_attn_weights": False}), "usual formula, got scale_attn_weights False"),
    "an epsilon": (json.dumps({"layer_norm_epsilon": "small"}), "got layer_norm_epsilon 'small'"),
    "other heads": (json.dumps({"n_head": 4}), "the one that the file states, which is 4, got 2"),
}


@pytest.mark.parametrize(("text", "message"), BESIDE.values(), ids=BESIDE)
def test_config_json_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    torch.save(NanoGPT(3, bias=False).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path, n_heads=2, layout={"tokens": "interleaved"})
