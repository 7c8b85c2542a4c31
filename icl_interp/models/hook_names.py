"""The names of hook points: built here, never typed by hand."""

import difflib
from collections.abc import Iterable
from typing import Literal, get_args

from icl_interp.errors import InputError

__all__ = ["Site", "check_names", "hook_name", "normalise_layer"]

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "embed", "final_norm"]

_WITHOUT_LAYER = {"embed": "hook_embed", "final_norm": "ln_final.hook_out"}


def normalise_layer(layer: int, n_layers: int) -> int:
    """Turn a layer that may count from the end into one that counts from 0.

    Args:
        layer: In [-n_layers, n_layers - 1].
        n_layers: Number of blocks.

    Returns:
        In [0, n_layers - 1].

    Raises:
        InputError: If the model has no such layer.

    Example:
        >>> normalise_layer(-1, n_layers=4)
        3
    """
    if not -n_layers <= layer < n_layers:
        raise InputError(
            f"layer needs a number from {-n_layers} to {n_layers - 1} in a model of {n_layers} layers, got {layer}."
        )
    return layer % n_layers


def hook_name(site: Site, layer: int, *, n_layers: int) -> str:
    """Name the hook point of a site.

    Args:
        site: A residual-stream site; "final_norm" is the output of the final LayerNorm, "embed" the read-in, and
            both ignore the layer.
        layer: Which block, counting from 0, or from the end if negative.
        n_layers: Number of blocks of the model.

    Returns:
        A name as TransformerLens spells it.

    Raises:
        InputError: If the site or layer does not exist.

    Example:
        >>> hook_name("resid_post", -1, n_layers=3)
        'blocks.2.hook_resid_post'
    """
    if site not in get_args(Site):
        raise InputError(f"site needs one of {', '.join(get_args(Site))}, got {site!r}.")
    if site in _WITHOUT_LAYER:
        return _WITHOUT_LAYER[site]
    return f"blocks.{normalise_layer(layer, n_layers)}.hook_{site}"


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse hook names that a model lacks.

    Args:
        names: What was asked for.
        known: What there is.

    Raises:
        InputError: If a name is unknown; near names are listed.
    """
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=4, cutoff=0.5) or known[:4]
            raise InputError(f"this model has no hook point {name!r}; near names: {', '.join(near)}.")
