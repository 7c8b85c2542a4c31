"""Can what known algorithms compute be read off the residual stream, and where?"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.features import answering_features
from icl_interp.measure.probe_report import LinearProbeReport, ProbeTarget, columns_of
from icl_interp.measure.sites import ResidualSite, residual_sites
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear import LinearTask
from icl_interp.tasks.references import reference_predictors
from probes.bootstrap import Estimate
from probes.linear import LinearProbe, fit_linear_probe
from probes.partial import partial_r2
from probes.selectivity import control_task_targets
from probes.targets import least_squares_weights, moment_vector, prediction_differences

__all__ = [
    "LinearProbeReport",
    "linear_probes",
    "partial_scores",
    "probe_features",
    "probe_network",
    "probe_targets",
    "summarise_probes",
]

MOMENTS, WEIGHTS = "moment vector", "least-squares weights"
"""Names of the targets that are vectors."""
MOST_SIGNS = 6
"""Coordinates of the query whose signs make the types of the control task: 64 types."""
MOST_DRAWS = 16
"""Draws of the control task at most."""
_CONTRASTED = ("least squares", "ridge", "Bayes")


def probe_targets(
    prompts: Prompts, references: Mapping[str, Predictor], task: Task | None = None
) -> tuple[dict[str, ProbeTarget], dict[str, str]]:
    """Compute what probes shall find, at points with at least one example before them.

    The references' predictions; differences of least squares, ridge and Bayes where they differ, since the predictions
    themselves are nearly collinear; on linear tasks also the moment vector X'y / k and the least-squares weights.

    Args:
        prompts: What the model reads.
        references: Predictors by name.
        task: What prompts are drawn from; None leaves the vectors out.

    Returns:
        Targets by name, and for those without variance the reason why there is none.
    """
    targets: dict[str, ProbeTarget] = {}
    left_out = {}
    said = {name: predictor(prompts.xs, prompts.ys)[:, 1:] for name, predictor in references.items()}
    for name, values in said.items():
        if bool(_constant(values.flatten())):
            left_out[name] = f"{name} predicts the same everywhere, so there is nothing to decode"
        else:
            targets[name] = values
    named = {part: name for name in targets for part in name.split(" = ") if part in _CONTRASTED}
    contrasted = [part for part in _CONTRASTED if part in named]
    pairs = [(a, b) for a, b in pairwise(contrasted) if named[a] != named[b]]
    targets |= prediction_differences({part: targets[named[part]] for part in contrasted}, pairs)
    if isinstance(task, LinearTask):
        targets |= _vectors(prompts, left_out)
    return targets, left_out


def _constant(values: Tensor) -> Tensor:
    # Up to rounding, as the probes have it, which refuse such targets.
    spread = values.amax(dim=0) - values.amin(dim=0)
    return spread <= 8 * torch.finfo(values.dtype).eps * values.abs().amax(dim=0)


def _vectors(prompts: Prompts, left_out: dict[str, str]) -> dict[str, ProbeTarget]:
    vectors = {
        MOMENTS: moment_vector(prompts.xs, prompts.ys, normalise="mean")[:, 1:],
        WEIGHTS: least_squares_weights(prompts.xs, prompts.ys)[:, 1:],
    }
    fixed = [name for name, values in vectors.items() if bool(_constant(values.flatten(0, 1)).any())]
    left_out |= {name: f"{name}: a coordinate is the same everywhere, so there is nothing to decode" for name in fixed}
    return {name: values for name, values in vectors.items() if name not in fixed}


def probe_network(
    model: HookedModel,
    prompts: Prompts,
    targets: Mapping[str, ProbeTarget],
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
        As `probe_features`.

    Raises:
        InputError: If there is no target.
    """
    return probe_features(answering_features(model, prompts, sites, batch_size=batch_size), prompts, targets, seed=seed)


def probe_features(
    features: Mapping[str, Float[Tensor, "sample point d_model"]],
    prompts: Prompts,
    targets: Mapping[str, ProbeTarget],
    *,
    controls: bool = True,
    seed: int = 0,
) -> dict[str, LinearProbe]:
    """Fit one probe a site to all targets and to their control task at once.

    The control task has for each orthant (around the mean) of the query's first coordinates a target drawn at random,
    so that a probe can find it only by storing a table of what the query alone shows.

    Args:
        features: From `answering_features`, by site.
        prompts: What was read, at least 5.
        targets: From `probe_targets` on the same prompts.
        controls: Whether shuffled targets and the control task are fitted as well; untrained networks need neither.
        seed: Of folds, shuffles and the control task.

    Returns:
        Probes by site label, the columns of the targets first, then with controls as many of the control task; whole
        prompts are held out.

    Raises:
        InputError: If there is no target.
    """
    if not targets:
        raise InputError("linear probes need a reference whose predictions vary, got none; change the task.")
    wanted = torch.cat([columns_of(target) for target in targets.values()], dim=1)
    groups = torch.arange(len(prompts)).repeat_interleave(prompts.n_points - 1)
    both = torch.cat([wanted, _control_task(prompts, wanted, seed)], dim=1) if controls else wanted
    return {
        label: fit_linear_probe(found.flatten(0, 1), both, groups=groups, controls=controls, seed=seed, n_bootstrap=400)
        for label, found in features.items()
    }


def _control_task(
    prompts: Prompts, wanted: Float[Tensor, "sample target"], seed: int
) -> Float[Tensor, "sample target"]:
    queries = prompts.xs[:, 1:, :MOST_SIGNS].flatten(0, 1)
    signs = queries > queries.mean(0)
    types = (signs.long() * 2 ** torch.arange(signs.shape[1])).sum(1)
    control = wanted
    for attempt in range(MOST_DRAWS):  # two types may draw one target, and what does not vary cannot be scored
        control = control_task_targets(types, wanted, seed=derive_seed(seed, f"control task {attempt}"))
        if bool((control.amax(0) - control.amin(0) > 1e-5 * control.abs().amax(0)).all()):
            break
    return control


def summarise_probes(
    probes: Mapping[str, LinearProbe],
    untrained: Sequence[Mapping[str, LinearProbe]],
    targets: Mapping[str, ProbeTarget],
    left_out: Mapping[str, str],
    partial: Mapping[str, Estimate] | None = None,
) -> LinearProbeReport:
    """Put the probes of a model beside those of untrained networks.

    Args:
        probes: Of the model, by site.
        untrained: Of each untrained network.
        targets: From `probe_targets`.
        left_out: From `probe_targets`.
        partial: From `partial_scores`; None for none.

    Returns:
        The report.
    """
    n_prompts = len(next(iter(targets.values())))
    widths = tuple(columns_of(target).shape[1] for target in targets.values())
    return LinearProbeReport(
        tuple(targets), left_out, probes, tuple(untrained), n_prompts, widths, {} if partial is None else partial
    )


def partial_scores(
    features: Mapping[str, Float[Tensor, "sample point d_model"]],
    probes: Mapping[str, LinearProbe],
    targets: Mapping[str, ProbeTarget],
    references: Mapping[str, Predictor],
    *,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Ask of each reference whether it can be read out beyond what all other references already say.

    Args:
        features: Of the model, by site.
        probes: Of the model, fitted to `targets`.
        targets: From `probe_targets`.
        references: Whose predictions are among the targets.
        seed: Of folds and bootstrap.

    Returns:
        Partial R² by reference, each at its best site; NaN with a reason where the others determine it.
    """
    predictions = {name: columns_of(target) for name, target in targets.items() if name in references}
    if len(predictions) < 2:
        return {}
    groups = torch.arange(len(next(iter(targets.values())))).repeat_interleave(next(iter(features.values())).shape[1])
    found = {}
    for column, name in enumerate(predictions):  # predictions come first, one column each
        site = max(probes, key=lambda label: float(probes[label].r2[column]))
        given = torch.cat([other for rival, other in predictions.items() if rival != name], dim=1)
        score = partial_r2(
            features[site].flatten(0, 1), predictions[name], given, groups=groups, seed=seed, n_bootstrap=400
        )
        found[name] = score.partial[0]
    return found


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
    """Probe the residual stream at x tokens for the predictions of the task's references and what they rest on.

    One ridge probe a site, over all points with at least one example before them; whole prompts are held out. Targets
    as `probe_targets` lists them; of a vector, the mean R² over its coordinates.
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
        R² by site and target, with shuffled targets, a control task and untrained networks beside it.

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
    references = reference_predictors(task, n_points=n_points)
    targets, left_out = probe_targets(prompts, references, task)
    sites = residual_sites(model.cfg, layers)
    features = answering_features(model, prompts, sites)
    own = probe_features(features, prompts, targets, seed=seed)
    controls = [
        probe_features(answering_features(network, prompts, sites), prompts, targets, controls=False, seed=seed)
        for network in untrained_networks(model.cfg, n_controls, seed=seed)
    ]
    partial = partial_scores(features, own, targets, references, seed=seed)
    return summarise_probes(own, controls, targets, left_out, partial)
