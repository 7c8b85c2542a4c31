"""The places in the residual stream that a study looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

from icl_interp.models.config import ModelConfig
from icl_interp.models.hook_names import Site, hook_name, normalise_layer

__all__ = ["ResidualSite", "chosen_site", "last_block", "residual_sites"]


@dataclass(frozen=True, slots=True)
class ResidualSite:
    """One place in the residual stream."""

    label: str
    """For figures: "read-in", "block 0", ..., "final norm"."""
    hook: str
    """The hook point's name."""


def last_block(config: ModelConfig) -> ResidualSite:
    """Name the residual stream after the last block, before the final norm: the default site.

    Args:
        config: Of the model.

    Returns:
        The site.
    """
    layer = config.n_layers - 1
    return ResidualSite(f"block {layer}", hook_name("resid_post", layer, n_layers=config.n_layers))


def chosen_site(config: ModelConfig, site: Site, layer: int) -> ResidualSite:
    """Name one place that a user chose.

    Args:
        config: Of the model.
        site: As `hook_name` takes it.
        layer: Which block, counting from 0, or from the end if negative.

    Returns:
        The site; after the last block it has the label that `last_block` gives, else the hook's name.

    Raises:
        InputError: If the site or layer does not exist.

    Example:
        >>> config = ModelConfig(n_dims=2, n_points=5, n_layers=3, n_heads=1, d_model=8)
        >>> [chosen_site(config, "resid_post", layer).label for layer in (0, -1)]
        ['blocks.0.hook_resid_post', 'block 2']
    """
    hook = hook_name(site, layer, n_layers=config.n_layers)
    last = last_block(config)
    return last if hook == last.hook else ResidualSite(hook, hook)


def residual_sites(config: ModelConfig, layers: Sequence[int] | None = None) -> list[ResidualSite]:
    """List the residual stream along the network: read-in, after each block, after the final norm if there is one.

    Args:
        config: Of the model.
        layers: Blocks to look at, counting from 0, or from the end if negative; None means all. Read-in, last block
            and final norm are always there, where the network has a final norm.

    Returns:
        Sites in the order of the computation.

    Raises:
        InputError: If a layer does not exist.

    Example:
        >>> config = ModelConfig(n_dims=2, n_points=5, n_layers=3, n_heads=1, d_model=8)
        >>> [site.label for site in residual_sites(config, layers=[0])]
        ['read-in', 'block 0', 'block 2', 'final norm']
    """
    n_layers = config.n_layers
    chosen = range(n_layers) if layers is None else sorted({normalise_layer(x, n_layers) for x in (*layers, -1)})
    blocks = [ResidualSite(f"block {x}", hook_name("resid_post", x, n_layers=n_layers)) for x in chosen]
    read_in = ResidualSite("read-in", hook_name("resid_pre", 0, n_layers=n_layers))
    final = ResidualSite("final norm", hook_name("final_norm", 0, n_layers=n_layers))
    return [read_in, *blocks, *([final] if config.final_norm else [])]
