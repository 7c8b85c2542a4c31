"""TransformerLens' ActivationCache on models that read numbers."""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor
from transformer_lens import ActivationCache

from icl_interp.errors import InputError, InputTypeError

_WRITES = re.compile(r"blocks\.(\d+)\.(hook_attn_out|hook_mlp_out|attn\.hook_z|attn\.hook_result|mlp\.hook_post)")


class _Readable(ActivationCache):
    """A cache whose methods work without learned norms at the end."""

    def apply_ln_to_stack(self, residual_stack: Tensor, layer: int | None = None, *args: Any, **kwargs: Any) -> Tensor:
        at_the_end = layer is None or layer in (-1, self.model.cfg.n_layers)
        if at_the_end and not self.model.cfg.final_norm:
            # Slices are applied all the same: a model without norms does just that.
            view = _view(self.model, {}, normalization_type=None)
            return ActivationCache({}, view, self.has_batch_dim).apply_ln_to_stack(residual_stack, -1, *args, **kwargs)
        return super().apply_ln_to_stack(residual_stack, layer, *args, **kwargs)


class ICLActivationCache(_Readable):
    """An ActivationCache whose decompositions hold for every model of ours that has blocks.

    `accumulated_resid`, `decompose_resid`, `stack_head_results`, `stack_neuron_results`, `apply_ln_to_stack` and
    `get_full_resid_decomposition` work. Under the doubled residual, where a block adds its input twice, whatever was
    written in layer l counts 2^(L - 1 - l) times in the stream before layer L, and embeddings 2^L times: the components
    carry these weights, so that they still sum to the stream. Where blocks replace their input instead of adding to
    it (a linear MLP, attention without its skip), components do not sum, and all but `accumulated_resid` and
    `apply_ln_to_stack` refuse. Methods that need a token vocabulary refuse as well.
    """

    def decompose_resid(self, layer: int | None = None, *args: Any, **kwargs: Any) -> Any:
        """Split the residual stream into what each sublayer wrote; arguments as in TransformerLens.

        Args:
            layer: Block before which the stream is taken; None or -1 means the end.
            args: As TransformerLens takes them.
            kwargs: As TransformerLens takes them.

        Returns:
            Components [component batch pos d_model], with labels if asked.

        Raises:
            InputError: If blocks replace their input instead of adding to it.
        """
        return self._before(layer, "decompose_resid").decompose_resid(layer, *args, **kwargs)

    def stack_head_results(self, layer: int = -1, *args: Any, **kwargs: Any) -> Any:
        """Stack what each head wrote before a block; arguments as in TransformerLens.

        Args:
            layer: Block before which the stream is taken; -1 means the end.
            args: As TransformerLens takes them.
            kwargs: As TransformerLens takes them.

        Returns:
            Heads [component batch pos d_model], without the output bias, with labels if asked.

        Raises:
            InputError: If blocks replace their input instead of adding to it.
        """
        return self._before(layer, "stack_head_results").stack_head_results(layer, *args, **kwargs)

    def stack_neuron_results(self, layer: int, *args: Any, **kwargs: Any) -> Any:
        """Stack what each neuron wrote before a block; arguments as in TransformerLens.

        Args:
            layer: Block before which the stream is taken; -1 means the end.
            args: As TransformerLens takes them.
            kwargs: As TransformerLens takes them.

        Returns:
            Neurons [component batch pos d_model], without the output bias, with labels if asked.

        Raises:
            InputError: If there are no MLPs, or blocks replace their input instead of adding to it.
        """
        view = self._before(layer, "stack_neuron_results")
        self._need("stack_neuron_results", "mlp.hook_post", "MLPs")
        return view.stack_neuron_results(layer, *args, **kwargs)

    def get_full_resid_decomposition(self, layer: int | None = None, *args: Any, **kwargs: Any) -> Any:
        """Split the residual stream into heads, neurons, embeddings and biases; arguments as in TransformerLens.

        Args:
            layer: Block before which the stream is taken; None or -1 means the end.
            args: As TransformerLens takes them.
            kwargs: As TransformerLens takes them.

        Returns:
            Components [component batch pos d_model], with labels if asked.

        Raises:
            InputError: If blocks replace their input instead of adding to it.
        """
        view = self._before(layer, "get_full_resid_decomposition")
        return view.get_full_resid_decomposition(layer, *args, **kwargs)

    def logit_attrs(self, *_: Any, **__: Any) -> Any:
        """Refuse: this needs a vocabulary.

        Raises:
            InputTypeError: Always.
        """
        raise InputTypeError(self._no_vocabulary("logit_attrs"))

    def logit_lens(self, *_: Any, **__: Any) -> Any:
        """Refuse: this needs a vocabulary.

        Raises:
            InputTypeError: Always.
        """
        raise InputTypeError(self._no_vocabulary("logit_lens"))

    def compute_head_results(self) -> None:
        """Add what each head wrote to the cache, as `blocks.{layer}.attn.hook_result`, as in TransformerLens.

        Raises:
            InputError: If the model's attention has no heads to tell apart.
        """
        self._need("compute_head_results", "attn.hook_z", "attention heads with an output")
        super().compute_head_results()

    def get_neuron_results(self, layer: int, *args: Any, **kwargs: Any) -> Tensor:
        """Give what each neuron of a layer wrote; arguments as in TransformerLens.

        Args:
            layer: Number of the block.
            args: As TransformerLens takes them.
            kwargs: As TransformerLens takes them.

        Returns:
            [batch pos d_mlp d_model].

        Raises:
            InputError: If the model has no MLPs, or their neurons were not cached.
        """
        self._need("get_neuron_results", "mlp.hook_post", "MLPs")
        return super().get_neuron_results(layer, *args, **kwargs)

    def _need(self, method: str, hook: str, part: str) -> None:
        if not any(name.endswith(hook) for name in self.cache_dict):
            raise InputError(
                f"{method} needs a model with {part} and their {hook} in the cache, got family "
                f"{self.model.cfg.family!r} with attn_only={self.model.cfg.attn_only} and {len(self.cache_dict)} "
                "activations; cache everything, of a model that has them."
            )

    def _no_vocabulary(self, method: str) -> str:
        advice = (
            f"stack[..., {self.model.cfg.answer_coordinate}] times output_sign is the answer of the query"
            if self.model.cfg.family != "gpt2"
            else "take cache.apply_ln_to_stack(stack) @ model.W_U instead (times ln_final.w first, where the norm has "
            "a scale)"
        )
        return f"{method} needs a token vocabulary, and this model reads and predicts numbers; {advice}."

    def _before(self, layer: int | None, method: str) -> ActivationCache:
        # A copy whose entries are weighted as the stream before a block carries them, and whose model has all that
        # TransformerLens looks for.
        cfg = self.model.cfg
        if cfg.family != "gpt2" and not (cfg.attn_only and cfg.attn_skip):
            raise InputError(
                f"{method} needs blocks that add to a residual stream, got family {cfg.family!r} with "
                f"attn_only={cfg.attn_only} and attn_skip={cfg.attn_skip}, whose blocks replace it; read "
                "accumulated_resid, or cache['attn_out', layer] by itself."
            )
        end = cfg.n_layers if layer is None or layer == -1 else layer
        entries = dict(self.cache_dict)
        if cfg.doubled_residual:
            entries = {name: value * _carried(name, end) for name, value in entries.items()}
        return _Readable(
            entries, _view(self.model, {"accumulated_bias": self.model.accumulated_bias}), self.has_batch_dim
        )


def _carried(name: str, end: int) -> float:
    # How often the stream before block `end` carries what this hook wrote, when each block adds its input twice.
    if name in ("hook_embed", "hook_pos_embed"):
        return 2.0**end
    written = _WRITES.fullmatch(name)
    return 2.0 ** max(end - 1 - int(written.group(1)), 0) if written else 1.0


def _view(model: Any, methods: Mapping[str, Any], **changes: Any) -> SimpleNamespace:
    cfg = model.cfg
    if not isinstance(cfg, SimpleNamespace):
        cfg = SimpleNamespace(**dict(cfg), device=model.device, use_attn_result=False)
        cfg.d_head, cfg.d_mlp = model.cfg.head_width, model.cfg.mlp_width
    shown = SimpleNamespace(**{**vars(cfg), **changes})
    last = getattr(model, "ln_final", None)  # linear families have none
    return SimpleNamespace(cfg=shown, blocks=model.blocks, ln_final=last, device=model.device, **methods)
