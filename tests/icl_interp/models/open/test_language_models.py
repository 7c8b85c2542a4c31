"""Language models with random weights: their activations are those that their own libraries hand out."""

from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import icl_interp as icl
from icl_interp.errors import InputError, InputTypeError

_ON_4 = int(version("transformer-lens").split(".")[0]) >= 4
only_on_3 = pytest.mark.skipif(_ON_4, reason="transformer-lens 4 has no class HookedTransformer: see `make test-tl3`")
only_on_4 = pytest.mark.skipif(not _ON_4, reason="transformer-lens 3 is not where native bridges are promised")
pytestmark = pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated:DeprecationWarning")

TOKENS = torch.randint(50, (24, 9), generator=torch.Generator().manual_seed(0))
WORDS: dict[str, Any] = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=16, **WORDS))


def llama() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, **WORDS
    )
    return LlamaForCausalLM(config)


def bridge() -> nn.Module:
    from transformer_lens import TransformerBridge
    from transformer_lens.config import TransformerBridgeConfig

    torch.manual_seed(0)
    config = TransformerBridgeConfig(
        d_model=16, d_head=8, n_layers=2, n_ctx=16, n_heads=2, d_vocab=50, act_fn="gelu",
        architecture="TransformerLensNative",
    )  # fmt: skip
    return TransformerBridge.boot_native(config)


def hooked() -> nn.Module:
    import transformer_lens

    torch.manual_seed(0)
    config = transformer_lens.HookedTransformerConfig(
        d_model=16, d_head=8, n_layers=2, n_ctx=16, n_heads=2, d_vocab=50, act_fn="gelu"
    )
    return transformer_lens.HookedTransformer(config)


def hidden(module: nn.Module) -> list[Tensor]:
    """The states before and after each block, by the library's own means."""
    with torch.no_grad():
        if hasattr(module, "run_with_cache"):
            _, cache = module.run_with_cache(TOKENS)  # type: ignore[operator]
            return [cache["blocks.0.hook_resid_pre"], *(cache[f"blocks.{i}.hook_resid_post"] for i in range(2))]
        held: list[Tensor] = []
        blocks = module.transformer.h if hasattr(module, "transformer") else module.model.layers  # type: ignore[union-attr]
        hooks = [
            block.register_forward_hook(  # type: ignore[union-attr]
                lambda _m, _a, out: held.append(out if isinstance(out, Tensor) else out[0])
            )
            for block in blocks  # type: ignore[union-attr]
        ]
        states = module.eval()(TOKENS, output_hidden_states=True).hidden_states
        for hook in hooks:
            hook.remove()
        return [states[0], *held]


@pytest.mark.parametrize(
    "make", [gpt2, llama, pytest.param(bridge, marks=only_on_4), pytest.param(hooked, marks=only_on_3)]
)
def test_sites_hold_what_the_library_hands_out(make: Any) -> None:
    module = make()
    model = icl.wrap(module, reads="tokens")
    held = icl.collect(model, TOKENS, ["read-in", "block 0", "block 1"])
    assert not any(part._forward_hooks for name, part in module.named_modules() if "hook" not in name)
    for own, theirs in zip(held.values(), hidden(module), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-6)  # one forward pass in float32, fused or not
    assert model.cfg.describe().endswith("2 blocks, width 16, tokens")


@pytest.mark.parametrize("make", [gpt2, llama, pytest.param(hooked, marks=only_on_3)])
def test_a_signature_has_untrained_networks_of_the_class_beside_it(make: Any) -> None:
    model = icl.wrap(make(), reads="tokens")
    found = icl.spectral_signature(model, TOKENS, n_controls=3)
    alone = icl.spectral_signature(icl.collect(model, TOKENS, "block 1")["block 1"])
    torch.testing.assert_close(found.scores.overlap, alone.scores.overlap, rtol=0, atol=0)
    assert found.control is not None
    assert len({float(overlap.mean()) for overlap in found.control.overlaps}) == 3


def test_a_study_of_families_of_tokens_is_that_of_their_activations() -> None:
    model = icl.wrap(gpt2(), reads="tokens")
    families = {"in distribution": TOKENS, "sorted": TOKENS.sort(1).values}
    found = icl.activation_study(families, model=model, n_controls=2)
    held = {name: icl.collect(model, tokens, ["read-in", "block 0", "block 1"]) for name, tokens in families.items()}
    alone = icl.activation_study(held)
    assert found.ood.mean_auroc == alone.ood.mean_auroc
    assert found.verdicts.keys() >= {"detection", "spectra"}
    assert not alone.verdicts


def test_what_does_not_fit_gets_a_sentence() -> None:
    model = icl.wrap(gpt2(), reads="tokens")
    prompts = icl.LinearRegression(n_dims=2).sample(8, 4, seed=0)
    with pytest.raises(InputTypeError, match="reads tokens"):
        icl.spectral_signature(model, prompts)
    points = icl.wrap(nn.Sequential(nn.ModuleList([nn.Sequential(nn.Linear(2, 2))])))
    with pytest.raises(InputTypeError, match="with reads='tokens'"):
        icl.spectral_signature(points, TOKENS)
    with pytest.raises(InputError, match="leave out one or the other"):
        icl.activation_study({"a": TOKENS}, model=model, controls=[])


class Noisy(nn.Module):
    """Draws noise whenever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.blocks = nn.Embedding(50, 8), nn.ModuleList([nn.Sequential(nn.Linear(8, 8)) for _ in range(2)])

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.embed(tokens) + torch.randn(8)
        for block in self.blocks:
            stream = stream + block(stream)
        return stream


class Mixing(Noisy):
    """Lets sequences of a batch see each other."""

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.embed(tokens)
        stream = stream - stream.mean(0)
        for block in self.blocks:
            stream = stream + block(stream)
        return stream


@pytest.mark.parametrize(("kind", "said"), [(Noisy, "random"), (Mixing, "other sequences")])
def test_offenders_of_the_first_look_are_refused(kind: type[nn.Module], said: str) -> None:
    with pytest.raises(InputError, match=said):
        icl.wrap(kind(), reads="tokens", example=(TOKENS, None))
