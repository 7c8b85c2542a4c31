"""A model's answers to the same prompts under one intervention after another, each from where it changes something."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import collect, stream
from icl_interp.interventions.record import Intervention, predict_under
from icl_interp.models.hooked import HookedModel
from icl_interp.models.softmax.transformer import HookedICLTransformer
from icl_interp.prompts import Prompts

_IN_BLOCK = re.compile(r"blocks\.(\d+)\.")


class Replay:
    """Prompts that a model has read once, with what stood at some hooks.

    Under an intervention at these hooks a softmax model goes on from the block that it changes; any other model, or one
    that somebody else has hooked, reads the prompts anew.
    """

    def __init__(
        self, model: HookedModel, prompts: Prompts, hooks: Sequence[str] = (), *, batch_size: int = 256
    ) -> None:
        """Read the prompts."""
        self._model, self._prompts, self._batch_size = model, prompts, batch_size
        model.prepare(prompts.xs, prompts.ys)
        self._starts = _starts(model, hooks) if can_go_on(model, prompts) else {}
        if not self._starts:
            self.answers = predict_under(model, prompts, batch_size=batch_size)
            self._kept = collect(model, prompts, hooks, batch_size=batch_size) if hooks else {}
            return
        names = list(dict.fromkeys([*hooks, *(name for _, name in self._starts.values())]))
        batches = list(stream(model, prompts, names, batch_size=batch_size))
        self.answers = torch.cat([batch.predictions for batch in batches])
        self._kept = {name: torch.cat([batch.activations[name] for batch in batches]) for name in names}

    def activations(self, hook: str) -> Float[Tensor, "sample pos d_model"]:
        """Give what stood at one of the hooks, on the CPU."""
        return self._kept[hook].cpu()

    def under(self, intervention: Intervention) -> Float[Tensor, "sample asked"]:
        """Answer while an intervention holds, as `predict_under` does."""
        starts = [self._starts.get(edit.name) for edit in intervention.edits]
        known = [start for start in starts if start is not None]
        if not known or len(known) < len(starts) or not isinstance(self._model, HookedICLTransformer):
            return predict_under(self._model, self._prompts, intervention, batch_size=self._batch_size)
        layer, name = min(known)
        with torch.no_grad(), intervention.on(self._model):
            parts = torch.split(self._kept[name], self._batch_size)
            return torch.cat([self._model.answers_from(layer, part).cpu() for part in parts])


def can_go_on(model: HookedModel, prompts: Prompts) -> bool:
    """Tell whether a model can go on from its stream: one pass answers all points, and nobody else listens."""
    plain = not model.cfg.query_only and prompts.query_xs is None and not model.is_listened_to
    return plain and isinstance(model, HookedICLTransformer)


def _starts(model: HookedModel, hooks: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Say from which block on a change at each hook can matter, and where the stream before it is read."""
    last = model.cfg.n_layers
    found = {}
    for hook in hooks:
        if (match := _IN_BLOCK.match(hook)) is not None:
            found[hook] = int(match[1]), f"blocks.{match[1]}.hook_resid_pre"
        elif last and hook.startswith(("ln_final.", "unembed.")):
            found[hook] = last, f"blocks.{last - 1}.hook_resid_post"
    return found
