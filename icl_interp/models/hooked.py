"""What every model of ours shares: TransformerLens' hooks, with names checked and caches that are ActivationCaches."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.hook_points import HookPoint

from icl_interp.models.hook_names import check_names

__all__ = ["HookedModel", "is_hooked"]

NamesFilter = None | str | list[str] | Callable[[str], bool]


def is_hooked(*points: HookPoint) -> bool:
    """Tell whether anything listens at one of these hook points, forward or backward.

    Args:
        points: Hook points of a model.

    Returns:
        True if a fused path that skips them would be noticed.
    """
    return any(p._forward_hooks or p._forward_pre_hooks or p._backward_hooks or p._backward_pre_hooks for p in points)


class HookedModel(HookedRootModule):
    """A HookedRootModule that refuses unknown hook names and caches into an `ActivationCache`."""

    def run_with_cache(
        self, *args: Any, names_filter: NamesFilter = None, remove_batch_dim: bool = False, **kwargs: Any
    ) -> tuple[Tensor, ActivationCache]:
        """Run the model and keep activations.

        Args:
            args: As `forward` takes them.
            names_filter: None (everything), one name, a list of names, or a predicate on names.
            remove_batch_dim: Drop a batch axis of size 1 from the cached activations.
            kwargs: As `forward` and TransformerLens' `run_with_cache` take them.

        Returns:
            The model's output and its cache.

        Raises:
            ValueError: If a name is unknown, or the predicate accepts none.
        """
        self._check_filter(names_filter)
        output, cache = super().run_with_cache(
            *args, names_filter=names_filter, remove_batch_dim=remove_batch_dim, **kwargs
        )
        return output, ActivationCache(cache, self, has_batch_dim=not remove_batch_dim)

    def add_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        """Add a hook that stays until `reset_hooks`, as in TransformerLens.

        Args:
            name: A hook name or a predicate on names.
            args: As TransformerLens' `add_hook` takes them.
            kwargs: Likewise.
        """
        self._check_filter(name)
        super().add_hook(name, *args, **kwargs)

    def _enable_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        # TransformerLens' run_with_hooks and hooks() both come through here.
        self._check_filter(name)
        super()._enable_hook(name, *args, **kwargs)

    def _check_filter(self, names: NamesFilter) -> None:
        if callable(names):
            if not any(names(name) for name in self.hook_dict):
                raise ValueError("the names filter accepts no hook point of this model; print(model.hook_dict.keys()).")
        elif names is not None:
            check_names([names] if isinstance(names, str) else names, self.hook_dict)

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in nn.Module.parameters(self))
