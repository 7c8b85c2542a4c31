"""Can the predictions of least squares and gradient descent be read off the residual stream, and where?"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.features import answering_features
from icl_interp.measure.probe_report import LinearProbeReport
from icl_interp.measure.sites import ResidualSite, residual_sites
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.linear import LinearProbe, fit_linear_probe

__all__ = ["LinearProbeReport", "linear_probes", "probe_network", "probe_targets", "summarise_probes"]


def probe_targets(
    prompts: Prompts, references: Mapping[str, Predictor]
) -> tuple[dict[str, Float[Tensor, "sample point"]], dict[str, str]]:
    """Compute what probes shall find: the references' predictions at points with at least one example before them.

    Args:
        prompts: What the model reads.
        references: Predictors by name.

    Returns:
        Targets by name, and for those without variance the reason why there is none.
    """
    targets, left_out = {}, {}
    for name, predictor in references.items():
        said = predictor(prompts.xs, prompts.ys)[:, 1:]
        if float(said.var()) == 0:
            left_out[name] = f"{name} predicts the same everywhere, so there is nothing to decode"
        else:
            targets[name] = said
    return targets, left_out


def probe_network(
    model: HookedModel,
    prompts: Prompts,
    targets: Mapping[str, Float[Tensor, "sample point"]],
    sites: Sequence[ResidualSite],
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, LinearProbe]:
    """Fit one probe a site: from the residual stream at x tokens, or at the query, to all targets at once.

    Args:
        model: The network.
        prompts: At least 5.
        targets: From `probe_targets` on the same prompts.
        sites: Where to look.
        batch_size: Prompts a forward pass.
        seed: Of folds and shuffles.

    Returns:
        Probes by site label; whole prompts are held out.

    Raises:
        ValueError: If there is no target.
    """
    if not targets:
        raise ValueError("linear probes need a reference whose predictions vary, got none; change the task.")
    wanted = torch.stack([target.flatten() for target in targets.values()], dim=1)
    groups = torch.arange(len(prompts)).repeat_interleave(prompts.n_points - 1)
    features = answering_features(model, prompts, sites, batch_size=batch_size)
    return {
        label: fit_linear_probe(found.flatten(0, 1), wanted, groups=groups, seed=seed, n_bootstrap=400)
        for label, found in features.items()
    }


def summarise_probes(
    probes: Mapping[str, LinearProbe],
    untrained: Sequence[Mapping[str, LinearProbe]],
    targets: Mapping[str, Tensor],
    left_out: Mapping[str, str],
) -> LinearProbeReport:
    """Put the probes of a model beside those of untrained networks.

    Args:
        probes: Of the model, by site.
        untrained: Of each untrained network.
        targets: From `probe_targets`.
        left_out: From `probe_targets`.

    Returns:
        The report.
    """
    n_prompts = len(next(iter(targets.values())))
    return LinearProbeReport(tuple(targets), left_out, probes, tuple(untrained), n_prompts)


def linear_probes(
    model: HookedModel,
    task: Task,
    *,
    layers: Sequence[int] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> LinearProbeReport:
    """Probe the residual stream at x tokens for the predictions of the task's reference predictors.

    One ridge probe a site, over all points with at least one example before them; whole prompts are held out.
    Decodable is not used: a high R² says where a prediction could be read, not that the model reads it.

    Args:
        model: The network.
        task: What prompts are drawn from and references are derived for.
        layers: Blocks to look at; None means all.
        n_prompts: At least 5.
        n_points: Pairs a prompt, at least 2; None takes the task's usual number.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        R² by site and target, with shuffled targets and untrained networks beside it.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> report = linear_probes(model, LinearRegression(n_dims=2), n_prompts=64, n_controls=0)
        >>> list(report.probes)
        ['read-in', 'block 0', 'final norm']
    """
    prompts = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: probes"))
    targets, left_out = probe_targets(prompts, reference_predictors(task, n_points=n_points))
    sites = residual_sites(model.cfg, layers)
    networks = [model, *untrained_networks(model.cfg, n_controls, seed=seed)]
    fitted = [probe_network(network, prompts, targets, sites, seed=seed) for network in networks]
    return summarise_probes(fitted[0], fitted[1:], targets, left_out)
