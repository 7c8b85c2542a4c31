"""Untrained networks of somebody's architecture: made by their function, by the class's own recipe, or by a reset."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from icl_interp.errors import InputError
from icl_interp.models.open.discover import original

Make = Callable[[], Any] | Literal["reset"] | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How untrained networks are made."""

    build: Callable[[], Any]
    """Makes one, with torch's global generator."""
    name: str
    """In one clause, for reports."""


def recipe_for(module: nn.Module, make: Make) -> Recipe | None:
    """Choose how untrained networks are made: the user's function, the class's own recipe, a reset if asked, or none.

    Raises:
        InputError: If make is none of a function, "reset" and None.
    """
    if make == "reset":
        return Recipe(lambda: _reset(module), "PyTorch's default initialisation (reset_parameters)")
    if make is not None:
        if isinstance(make, nn.Module):
            raise InputError(
                f"make needs a function that builds a fresh network each time, got one network, {type(make).__name__}; "
                f"pass make=lambda: {type(make).__name__}(...)."
            )
        if not callable(make):
            raise InputError(
                f'make needs a function without arguments, "reset" or None, got {make!r}; pass a function.'
            )
        return Recipe(make, "the function make")
    ancestors = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(module).__mro__}
    if "transformers.PreTrainedModel" in ancestors:
        config: Any = module.config
        return Recipe(lambda: type(module)(copy.deepcopy(config)), f"{type(module).__name__}(config)")
    if "transformer_lens.HookedTransformer" in ancestors:
        cfg: Any = module.cfg
        return Recipe(lambda: type(module)(_unseeded(cfg)), "HookedTransformer's init_weights")
    if "transformer_lens.TransformerBridge" in ancestors and hasattr(type(module), "boot_native"):
        native: Any = module
        return Recipe(lambda: type(native).boot_native(_unseeded(native.cfg)), "TransformerBridge.boot_native(cfg)")
    return None


def _unseeded(cfg: Any) -> Any:
    # A seed in the config would make all untrained networks alike.
    fresh = copy.deepcopy(cfg)
    if getattr(fresh, "seed", None) is not None:
        fresh.seed = None
    return fresh


def _reset(module: nn.Module) -> nn.Module:
    """Reset a copy by the methods of its parts; whatever they leave alone is refused by name."""
    fresh = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.fill_(torch.nan)
        for part in reversed([*fresh.modules()]):  # parts before wholes, as constructors do it
            for name in ("reset_parameters", "_reset_parameters"):
                method = getattr(part, name, None)
                if callable(method):
                    method()
                    break
    left = [name for name, parameter in fresh.named_parameters() if parameter.isnan().any()]
    if left:
        raise InputError(
            f'make="reset" needs a reset_parameters method for every parameter, and none sets {_few(left)}; '
            "pass make=lambda: MyModel(config)."
        )
    return fresh


def make_untrained(recipe: Recipe, trained: nn.Module, seeds: list[int]) -> list[nn.Module]:
    """Make one network per seed, and refuse those that are no fresh networks of this architecture.

    Raises:
        InputError: If a network is the trained one, shares memory or weights with it, has other parameters, or equals
            another of them.
    """
    made: list[nn.Module] = []
    for seed in seeds:
        with _seeded(seed):
            fresh: Any = recipe.build()
        fresh = getattr(fresh, "module", fresh) if type(fresh).__name__ == "WrappedModel" else fresh
        fresh = original(fresh) if isinstance(fresh, nn.Module) else fresh
        _check(fresh, trained, recipe.name)
        if any(_equal(fresh, other) for other in made):
            raise InputError(
                f"untrained networks need weights that differ, and {recipe.name} gave equal weights for two seeds; let "
                "it draw them from torch's global generator."
            )
        made.append(_like(fresh, trained))
    return made


def _like(fresh: nn.Module, trained: nn.Module) -> nn.Module:
    """Put a network where the trained one is, at its precision."""
    device = next((p.device for p in trained.parameters()), torch.device("cpu"))
    kinds = {p.dtype for p in trained.parameters() if p.is_floating_point()}
    moves = any(p.device != device for p in fresh.parameters())
    if len(kinds) == 1 and any(p.dtype not in kinds for p in fresh.parameters() if p.is_floating_point()):
        return fresh.to(device, kinds.pop())
    return fresh.to(device) if moves else fresh


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and random, and give their generators back as they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  # what a user's code may draw from
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def _check(fresh: Any, trained: nn.Module, name: str) -> None:
    if not isinstance(fresh, nn.Module):
        raise InputError(f"{name} needs to give a torch module, got {type(fresh).__name__}; return the fresh network.")
    if fresh is trained:
        raise InputError(f"{name} gave the trained network itself; let it build a fresh one.")
    own, theirs = dict(trained.named_parameters()), dict(fresh.named_parameters())
    other = sorted(own.keys() ^ theirs.keys()) or [key for key in own if own[key].shape != theirs[key].shape]
    if other:
        raise InputError(
            f"{name} needs to give a network with the parameters of the trained one, and it differs in {_few(other)}; "
            "build it with the same settings."
        )
    storage = {p.untyped_storage().data_ptr() for p in own.values() if p.numel()}
    shared = [key for key, p in theirs.items() if p.untyped_storage().data_ptr() in storage]
    if shared:
        raise InputError(f"{name} gave a network that shares {_few(shared)} with the trained one; build a fresh one.")
    if own and _equal(trained, fresh):
        raise InputError(f"{name} gave a network with the trained weights; let it leave them untrained.")


def _equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(_same(a, b) for a, b in pairs)


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.detach().cpu(), b.detach().to("cpu", a.dtype))


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
