"""A model and its untrained networks, read on the same families at one site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.families import Families, draw_families
from icl_interp.measure.sites import ResidualSite, chosen_site
from icl_interp.measure.survey import NetworkSurvey, Watch, survey_network
from icl_interp.models.hook_names import Site
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.base import Task

__all__ = ["SiteSurvey", "survey_site"]

StartWatch = Callable[[HookedModel, ResidualSite], Watch]
"""Prepares to watch one network at the site."""


@dataclass(frozen=True, slots=True, repr=False)
class SiteSurvey:
    """What a model and its untrained networks do on every family, seen at one site."""

    site: ResidualSite
    """Where."""
    families: Families
    """The prompts."""
    networks: tuple[NetworkSurvey, ...]
    """Of the model, then of each untrained network."""

    def __repr__(self) -> str:
        return f"SiteSurvey({self.site.hook}, {len(self.families.by_label)} families, {len(self.networks)} networks)"


def survey_site(
    model: HookedModel,
    task: Task,
    conventions: Conventions,
    *,
    shifts: Sequence[str] | None = None,
    layer: int = -1,
    site: Site = "resid_post",
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
    start_watch: StartWatch | None = None,
) -> SiteSurvey:
    """Draw the families of a task, and read a model and its untrained networks on them at one site.

    Args:
        model: The network.
        task: What is in distribution.
        conventions: How activations become directions.
        shifts: Patterns as `select_shifts` takes them; None means the core suite.
        layer: Which block; -1 is the last.
        site: "resid_post" is before the final norm; "final_norm" after it.
        n_prompts: A family, and as many for fitting.
        n_points: Pairs a prompt; None takes the task's usual number.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.
        on_batch: Called with the number of prompts just read, for progress.
        start_watch: Called with each network before it is read; what it returns is shown all that is read.

    Returns:
        The surveys, with the site and the families.

    Raises:
        InputError: If a shift, layer or site does not exist, or a shift needs more positions than the model has.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> task = LinearRegression(n_dims=2, n_points=5)
        >>> survey_site(model, task, Conventions(), shifts=["x_scale=3"], n_prompts=4, n_controls=2)
        SiteSurvey(blocks.0.hook_resid_post, 2 families, 3 networks)
    """
    where = chosen_site(model.cfg, site, layer)
    families = draw_families(
        task, shifts=shifts, n_prompts=n_prompts, n_points=n_points, max_points=model.cfg.max_points, seed=seed
    )
    surveys = []
    for network in [model, *untrained_networks(model.cfg, n_controls, seed=seed)]:
        watch = None if start_watch is None else start_watch(network, where)
        surveys.append(
            survey_network(network, families, [where], conventions=conventions, on_batch=on_batch, watch=watch)
        )
    return SiteSurvey(where, families, tuple(surveys))
