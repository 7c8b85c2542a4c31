"""Conversion of our models to TransformerLens' own classes, and back.

TransformerLens 3.9 has the class HookedTransformer, 4.x the native TransformerBridge. Both read integer tokens where
our models read numbers, so inputs enter as the activation `hook_embed`; `feeding` puts it there. The converted model
then computes what ours does, activation for activation.

One name differs in what it holds: on 4.x a TransformerBridge caches the pattern, not the scores, under
`attn.hook_attn_scores`.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from icl_interp.models.architecture import Tokens
from icl_interp.models.build import build_model
from icl_interp.models.hooked import HookedModel
from icl_interp.models.transformer_lens.read import from_lens_weights
from icl_interp.models.transformer_lens.write import check_convertible, lens_fields, lens_weights

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer
    from transformer_lens.model_bridge import TransformerBridge

__all__ = ["feeding", "from_hooked_transformer", "to_bridge", "to_hooked_transformer"]


def to_hooked_transformer(model: HookedModel) -> "HookedTransformer":
    """Give the real HookedTransformer with a model's weights; needs transformer-lens 3.9.

    Convertible are softmax decoders with LN, LNPre or no norm, any of our activations, with or without MLP. Absent
    biases and positions become zeros, an absent output projection the identity. The token table holds the rows of the
    read-in, whose bias has no place there: call the result inside `feeding`.

    Args:
        model: Model of family "gpt2".

    Returns:
        A copy on the model's device, in evaluation mode.

    Raises:
        InputError: If the class cannot express the model.
        ImportError: If the installed transformer-lens has no such class.
    """
    check_convertible(model.cfg, who="to_hooked_transformer")
    if not _major() < 4:
        raise ImportError(
            "to_hooked_transformer needs transformer-lens below 4, which has the class HookedTransformer, got "
            f"{version('transformer-lens')}; use to_bridge."
        )
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    weights = lens_weights(model)
    cfg = HookedTransformerConfig(**lens_fields(model.cfg), dtype=weights["embed.W_E"].dtype, device=str(model.device))
    with warnings.catch_warnings():
        # It says that 4.0 removed the class: whoever calls this function has chosen 3.9.
        warnings.filterwarnings("ignore", "HookedTransformer is deprecated", DeprecationWarning)
        converted = HookedTransformer(cfg, move_to_device=False)
    buffers = {name: value for name, value in converted.state_dict().items() if name.endswith((".mask", ".IGNORE"))}
    converted.load_state_dict({**buffers, **weights})
    return converted.to(model.device, print_details=False).eval()


def to_bridge(model: HookedModel) -> "TransformerBridge":
    """Give the native TransformerBridge with a model's weights; needs transformer-lens 4.

    Converts what `to_hooked_transformer` converts, in the same way. The bridge keeps the bias of its head as a buffer,
    which is filled as well.

    Args:
        model: Model of family "gpt2".

    Returns:
        A copy on the model's device, in evaluation mode.

    Raises:
        InputError: If the class cannot express the model.
        ImportError: If the installed transformer-lens has no native bridge.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8), seed=0)
        >>> xs, ys = torch.ones(3, 5, 2), torch.ones(3, 5)
        >>> bridge = to_bridge(model)
        >>> with feeding(bridge, model, xs, ys) as tokens:
        ...     logits, cache = bridge.run_with_cache(tokens)
        >>> torch.testing.assert_close(logits[:, 0::2, 0], model(xs, ys))
    """
    check_convertible(model.cfg, who="to_bridge")
    if _major() < 4:
        raise ImportError(
            f"to_bridge needs transformer-lens 4, which has native bridges, got {version('transformer-lens')}; use "
            "to_hooked_transformer."
        )
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    weights = lens_weights(model)
    cfg = TransformerBridgeConfig(**lens_fields(model.cfg), dtype=weights["embed.W_E"].dtype)
    converted = TransformerBridge.boot_native(cfg, device=model.device, dtype=cfg.dtype)
    converted.load_state_dict(convert_tl_checkpoint(weights, cfg))
    return converted.eval()


@contextmanager
def feeding(
    converted: Any,
    model: HookedModel,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
) -> Iterator[Int[Tensor, "batch pos"]]:
    """Let a converted model read (xs, ys) inside a `with` block.

    Our read-in's output is put in the place of the converted model's token embeddings, at `hook_embed`; positions are
    added by the converted model. Where the first activation of interest is later, `start_at_layer=0` does as well:
    pass our cache's `blocks.0.hook_resid_pre` in the place of tokens.

    Args:
        converted: Result of `to_hooked_transformer` or `to_bridge`.
        model: The model.
        xs: Inputs; a query-only model is asked for its last point.
        ys: Labels.

    Yields:
        Tokens of the right shape to call the converted model with; their values are not read.
    """
    _, cache = model.run_with_cache(xs, ys, names_filter="hook_embed")
    embedded = cache["hook_embed"]

    def put(activation: Tensor, hook: Any) -> Tensor:  # noqa: ARG001 (hooks are called with this name)
        return embedded

    with converted.hooks(fwd_hooks=[("hook_embed", put)]):
        yield torch.zeros(embedded.shape[:2], dtype=torch.long, device=embedded.device)


def from_hooked_transformer(
    state_dict: Mapping[str, Tensor],
    cfg: Any,
    *,
    read_in: tuple[Tensor, Tensor | None] | None = None,
    layout: Tokens | None = None,
) -> HookedModel:
    """Make a model of ours from the weights of a HookedTransformer; needs no HookedTransformer.

    What is absent stays absent: a bias that the state dict lacks, and scale and shift of norms where they have been
    folded away (then "LN" means "LNPre").

    Args:
        state_dict: Weights by HookedTransformer's names.
        cfg: Its config, or that config's fields as a mapping.
        read_in: Weight [d_model d_token] and bias [d_model] of the linear map whose outputs were fed in as
            embeddings. None takes the token table itself: raw tokens are then one-hot.
        layout: How examples become tokens. None means "interleaved", and that only `forward_tokens` is known to be
            right.

    Returns:
        A float32 model in evaluation mode that computes the same.

    Raises:
        InputError: If the config asks for something that our models cannot express, which is named; a size is missing
            or wrong; names or shapes of weights are not those of the config.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.transformer_lens.write import lens_fields, lens_weights
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8), seed=0)
        >>> read_in = (model.embed.W_E.T, model.embed.b_E)
        >>> again = from_hooked_transformer(lens_weights(model), lens_fields(model.cfg), read_in=read_in)
        >>> tokens = torch.ones(3, 10, 2)
        >>> torch.testing.assert_close(again.forward_tokens(tokens), model.forward_tokens(tokens))
    """
    config, weights = from_lens_weights(state_dict, cfg, read_in=read_in, layout=layout)
    model = build_model(config, seed=0)
    model.load_state_dict(weights)
    return model.eval()


def _major() -> int:
    return int(version("transformer-lens").split(".")[0])
