"""The base of our models: TransformerLens' hooks with checked names, caches, and checked inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.hook_points import HookPoint

from icl_interp.errors import InputError, InputTypeError
from icl_interp.models.architecture import Architecture
from icl_interp.models.cache import ICLActivationCache
from icl_interp.models.config import ModelConfig
from icl_interp.models.hook_names import HookMap, check_names, hook_map
from probes._core.arrays import tensors_in


def _check_inputs(config: Architecture, xs: Tensor, ys: Tensor) -> None:
    """Refuse prompts that a model cannot read.

    Args:
        config: Configuration of the model.
        xs: Inputs.
        ys: Labels.

    Raises:
        InputError: If the shapes do not match, the width is wrong, or there are more points than positions.
    """
    if xs.ndim != 3 or ys.ndim != 2 or xs.shape[:2] != ys.shape:
        raise InputError(
            f"the model needs xs [batch point dim] and ys [batch point], got shapes {tuple(xs.shape)} and "
            f"{tuple(ys.shape)}; pass prompts.xs and prompts.ys."
        )
    if xs.shape[2] != config.n_dims:
        raise InputError(
            f"this model reads inputs of {config.n_dims} dimensions, got {xs.shape[2]}; sample from a task with "
            f"n_dims={config.n_dims}."
        )
    most = config.max_points
    if most is not None and xs.shape[1] > most:
        raise InputError(f"this model has positions for {most} points, got {xs.shape[1]}; pass fewer points.")


def _check_points(points: Sequence[int], n_points: int) -> list[int]:
    """Refuse points that a prompt does not have.

    Args:
        points: Entries, counting from the end if negative.
        n_points: Length of the prompt.

    Returns:
        The same entries.

    Raises:
        InputError: If one does not exist.
    """
    wrong = [p for p in points if not -n_points <= p < n_points]
    if wrong:
        raise InputError(f"points needs entries from {-n_points} to {n_points - 1}, got {wrong[0]}.")
    return list(points)


_NamesFilter = None | str | list[str] | Callable[[str], bool]

_ONE_OF_TWO = (
    "this model reads (xs, ys), got one of the two; TransformerLens' patching functions pass one token tensor "
    "only, so patch with icl_interp.interventions.patch(model, clean, corrupted, name, axes)."
)


def is_hooked(*points: HookPoint) -> bool:
    """Tell whether anything listens at one of these hook points, forward or backward.

    Args:
        points: Hook points of a model.

    Returns:
        True if a fused path that skips them would be noticed.
    """
    # TransformerLens' own lists first: torch.compile guards them, and ignores torch's dictionaries.
    return any(p.fwd_hooks or p.bwd_hooks or _has_torch_hooks(p) for p in points)


def _has_torch_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


class HookedModel(HookedRootModule, ABC):
    """A HookedRootModule that answers points, refuses unknown hook names and caches into an `ActivationCache`.

    A family implements `_pass`, what one pass over the tokens answers.

    Args:
        config: Shape and initialisation.
    """

    hook_meanings: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Axes and meaning of each hook, by the end of its name."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cfg = config

    def forward(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"] | None = None,
        *,
        points: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch asked"]:
        """Predict labels, each from its input and the examples before it.

        A causal model answers all points in one pass. A query-only model (joint tokens, linear families) runs one
        sequence per asked point; while anything is hooked it takes exactly one point, so that each activation
        keeps one position per token.

        Args:
            xs: Inputs.
            ys: Labels, needed; entry k is never read by prediction k.
            points: Entries to return, counted from the end if negative; None means all, or the last in a query-only
                model that is hooked.

        Returns:
            Predictions of ys, in the same units, one column for each entry of `points`.

        Raises:
            InputError: If the inputs have the wrong width, or more points than the position table has rows for, or
                an entry of `points` does not exist, or a hooked query-only model is asked for several.
            InputTypeError: If there is one tensor instead of xs and ys.
        """
        if ys is None:
            raise InputTypeError(_ONE_OF_TWO)
        xs, ys = tensors_in(xs), tensors_in(ys)
        self._guard_hooks()
        _check_inputs(self.cfg, xs, ys)
        asked = None if points is None else _check_points(points, xs.shape[1])
        if not self.cfg.query_only:
            predictions = self._pass(xs, ys)
            return predictions if asked is None else predictions[:, asked]
        if self.is_listened_to:
            asked = [xs.shape[1] - 1] if asked is None else asked
            if len(asked) != 1:
                raise InputError(
                    f"a hooked model that answers only its query needs exactly one point, got {len(asked)}; pass "
                    "points=[-1], or one point after the other."
                )
        return self._predict_points(xs, ys, list(range(xs.shape[1])) if asked is None else asked)

    @abstractmethod
    def _pass(self, xs: Tensor, ys: Tensor) -> Tensor:
        """Answer every point, [batch point], or in a query-only family the last, [batch 1].

        The label of an answered point is there and must not be read.
        """

    def _predict_points(self, xs: Tensor, ys: Tensor, points: list[int]) -> Tensor:
        columns = [self._pass(xs[:, : k % xs.shape[1] + 1], ys[:, : k % xs.shape[1] + 1]) for k in points]
        return torch.cat(columns, dim=1) if columns else xs.new_zeros(xs.shape[0], 0)

    @property
    def is_listened_to(self) -> bool:
        """Whether any hook point has a hook, or any part of the model one of torch's own."""
        if is_hooked(*self.hook_dict.values()):
            return True
        # While torch.compile traces, only what it can guard counts.
        return not torch.compiler.is_compiling() and any(_has_torch_hooks(m) for m in self.modules() if m is not self)

    def run_with_cache(
        self, *args: Any, names_filter: _NamesFilter = None, remove_batch_dim: bool = False, **kwargs: Any
    ) -> tuple[Tensor, ActivationCache]:
        """Run the model and keep activations.

        Args:
            args: As `forward` takes them.
            names_filter: None (everything), one name, a list of names, or a predicate on names.
            remove_batch_dim: Drop a batch axis of size 1 from the cached activations.
            kwargs: As `forward` and TransformerLens' `run_with_cache` take them, but for `incl_bwd` and
                `stop_at_layer`.

        Returns:
            The model's output and its cache.

        Raises:
            InputError: If a name is unknown, or the predicate accepts none.
            InputTypeError: If there is one tensor instead of xs and ys, or an option that needs a scalar output or
                token
                inputs.
        """
        self._check_filter(names_filter)
        _check_options(kwargs)
        _check_pair(args, kwargs)
        output, cache = super().run_with_cache(
            *args, names_filter=names_filter, remove_batch_dim=remove_batch_dim, **kwargs
        )
        return output, ICLActivationCache(cache, self, has_batch_dim=not remove_batch_dim)

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the model with hooks that come off at the end.

        Args:
            args: As `forward` takes them.
            kwargs: As `forward` and TransformerLens' `run_with_hooks` take them: `fwd_hooks`, a list of pairs of a
                name, or a predicate on names, and a function of (tensor, hook), ....

        Returns:
            The model's output.

        Raises:
            InputError: If a name is unknown, or a predicate accepts none.
            InputTypeError: If there is one tensor instead of xs and ys, as in TransformerLens' patching functions.
        """
        _check_pair(args, kwargs)
        return super().run_with_hooks(*args, **kwargs)

    def describe(self) -> HookMap:
        """List name, shape and meaning of every hook point.

        Returns:
            The hook map; print it.

        Raises:
            InputError: If a hook point of this family has no meaning.
        """
        cfg = self.cfg
        sizes = {"d_model": cfg.d_model, "head": cfg.n_heads, "d_head": cfg.head_width, "d_mlp": cfg.mlp_width}
        return hook_map(cfg.describe(), self.hook_dict, self.hook_meanings, {**sizes, "d_v": cfg.value_width})

    def _guard_hooks(self) -> None:
        # torch.compile skips guards on hooks: a graph compiled before a hook was added would never call it. Reading
        # the lists while it traces makes it guard them, so that the graph is dropped. Costs nothing when it runs.
        if torch.compiler.is_compiling():
            is_hooked(*self.hook_dict.values())

    def add_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        """Add a hook that stays until `reset_hooks`, as in TransformerLens.

        Args:
            name: A hook name or a predicate on names.
            args: As TransformerLens' `add_hook` takes them.
            kwargs: As TransformerLens' `add_hook` takes them.
        """
        self._check_filter(name)
        super().add_hook(name, *args, **kwargs)

    def _enable_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        # TransformerLens' run_with_hooks and hooks() both come through here.
        self._check_filter(name)
        super()._enable_hook(name, *args, **kwargs)

    def _check_filter(self, names: _NamesFilter) -> None:
        if callable(names):
            if not any(names(name) for name in self.hook_dict):
                raise InputError("the names filter accepts no hook point of this model; print(model.hook_dict.keys()).")
        elif names is not None and not names:
            raise InputError("the names filter needs at least one hook name, got none; leave it out for all of them.")
        elif names is not None:
            check_names([names] if isinstance(names, str) else names, self.hook_dict)

    def prepare(self, xs: Tensor, ys: Tensor | None) -> None:
        """Look at first prompts; only wrapped modules have to, since nothing else is known of them."""

    def untrained(self, seeds: Sequence[int]) -> "Sequence[HookedModel]":
        """Build networks of the same architecture and initialisation that never saw data, one per seed."""
        from icl_interp.models.build import build_model

        return [build_model(self.cfg, seed=seed) for seed in seeds]

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in nn.Module.parameters(self))


def _check_options(kwargs: Mapping[str, Any]) -> None:
    if kwargs.get("incl_bwd"):
        raise InputTypeError(
            "incl_bwd needs a model with a scalar output, and this one gives a prediction a point; add hooks with "
            "dir='bwd' and call backward() on a loss of the predictions."
        )
    if kwargs.get("stop_at_layer") is not None:
        raise InputTypeError(
            "stop_at_layer is not an option of this model; cache hook_resid_pre of that block instead."
        )


def _check_pair(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    if len(args) + sum(name in kwargs for name in ("xs", "ys")) == 1:
        raise InputTypeError(_ONE_OF_TWO)
