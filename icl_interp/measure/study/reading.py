"""Every network of a study, read once: surveys, detectors, probes and read-outs from the same passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import Batch
from icl_interp.measure.detectors.report import start_watch
from icl_interp.measure.detectors.watch import DetectorWatch
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.layer_readouts import read_out_layers
from icl_interp.measure.linear_probes import partial_scores, probe_features
from icl_interp.measure.similarity import LayerWatch
from icl_interp.measure.sites import answering_features, last_block
from icl_interp.measure.study.plan import StudyPlan
from icl_interp.measure.study.survey import NetworkSurvey, Watch, survey_network
from icl_interp.models.hooked import HookedModel
from probes.bootstrap import Estimate
from probes.linear import LinearProbe
from probes.readouts import LayerReadouts
from probes.spectra import LeadingDirections

__all__ = ["Readings", "read_networks"]


@dataclass(slots=True, eq=False)
class Readings:
    """What each network showed, the model first."""

    surveys: list[NetworkSurvey] = field(default_factory=list)
    """Spectra, scores and predictions."""
    detectors: list[DetectorWatch] = field(default_factory=list)
    """Features of the detectors."""
    layers: list[LayerWatch] = field(default_factory=list)
    """One vector a prompt and site."""
    probes: list[dict[str, LinearProbe]] = field(default_factory=list)
    """Linear probes by site."""
    readouts: list[LayerReadouts] = field(default_factory=list)
    """What each layer would answer."""
    partials: dict[str, Estimate] = field(default_factory=dict)
    """Partial R² of the model's probes."""

    @property
    def predictions(self) -> list[Float[Tensor, "sample point"]]:
        """Of each network, in distribution."""
        return [survey.families[IN_DISTRIBUTION].predictions for survey in self.surveys]


def read_networks(networks: Sequence[HookedModel], plan: StudyPlan, report: Callable[[int, str], None]) -> Readings:
    """Run every network over all prompts of a study."""
    found = Readings()
    for i, network in enumerate(networks):
        name = "this model" if i == 0 else f"untrained network {i}"
        found.detectors.append(start_watch(network, last_block(plan.config), plan.conventions, seed=plan.seed))
        found.layers.append(LayerWatch(plan.sites, plan.conventions))
        found.surveys.append(
            survey_network(
                network,
                plan.families,
                plan.sites,
                conventions=plan.conventions,
                on_batch=partial(_relay, report, name),
                watch=partial(_show_all, (found.detectors[-1], found.layers[-1])),
            )
        )
        features = answering_features(network, plan.probe_prompts, plan.sites)
        found.probes.append(probe_features(features, plan.probe_prompts, plan.targets, controls=i == 0, seed=plan.seed))
        found.readouts.append(read_out_layers(features, plan.probe_prompts, seed=plan.seed))
        if i == 0:
            found.partials = partial_scores(features, found.probes[0], plan.targets, plan.references, seed=plan.seed)
        report(len(plan.probe_prompts), name)
    return found


def _show_all(watches: Sequence[Watch], label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
    for watch in watches:
        watch(label, batch, found)


def _relay(report: Callable[[int, str], None], name: str, done: int) -> None:
    report(done, name)
