"""How similar are the layers of a network, whatever their axes? CKA and Procrustes, beside untrained networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import Batch, collect
from icl_interp.door import ModelLike, PromptsLike, as_model, as_prompts
from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_sites
from icl_interp.figures.heatmap import MatrixBlock, matrix_figure
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.detectors.watch import Pooling, pooled
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.result import Result
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan, without_sites
from icl_interp.models.architecture import ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role
from probes._core.results import short_repr
from probes.similarity import linear_cka, procrustes_distance
from probes.spectra import LeadingDirections

_Of = Literal["cka", "procrustes"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerSimilarity(Result):
    """Every pair of sites of one network, and the same in untrained ones."""

    cka: Float[Tensor, "site site"]
    """Debiased linear CKA, in [-1, 1]; 1 is the same up to rotation and scale, NaN where a site does not vary."""
    procrustes: Float[Tensor, "site site"]
    """Procrustes distance, in [0, sqrt(2)]; 0 is the same up to rotation and scale."""
    untrained_cka: Float[Tensor, "network site site"]
    """Of each untrained network."""
    untrained_procrustes: Float[Tensor, "network site site"]
    """Of each untrained network."""
    sites: tuple[str, ...]
    """Labels, along the network."""
    n_prompts: int
    """In-distribution prompts."""
    pooling: Pooling
    """How a prompt's positions became one vector."""

    __repr__ = short_repr

    def control(self, of: _Of) -> Float[Tensor, "site site"]:
        """Average over untrained networks."""
        _check_measure(of)
        found = self.untrained_cka if of == "cka" else self.untrained_procrustes
        return found.mean(0)

    def to_frame(self) -> pd.DataFrame:
        """Lay the pairs out, one per row."""
        cka, procrustes = self.control("cka"), self.control("procrustes")
        rows = [
            {
                "a": self.sites[i], "b": self.sites[j], "cka": float(self.cka[i, j]),
                "cka_untrained": float(cka[i, j]), "procrustes": float(self.procrustes[i, j]),
                "procrustes_untrained": float(procrustes[i, j]),
            }
            for i in range(len(self.sites))
            for j in range(i + 1, len(self.sites))
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["a", "b", "cka", "cka_untrained", "procrustes", "procrustes_untrained"])

    def plot(self, of: _Of = "cka", *, untrained: bool = False) -> Any:
        """Draw one measure as a map, site over site."""
        _check_measure(of)
        own = self.cka if of == "cka" else self.procrustes
        matrix = self.control(of) if untrained else own
        rows = {site: matrix[i].tolist() for i, site in enumerate(self.sites)}
        value, top = ("CKA", 1.0) if of == "cka" else ("Procrustes distance", 2**0.5)
        name = "untrained networks" if untrained else "this model"
        figure = matrix_figure([MatrixBlock(name, rows)], self.sites, value=value, value_range=(0.0, top))
        return along(figure, y=of_sites(self.sites)).update_layout(title={"text": f"{value}, {name}"})


class LayerWatch:
    """Keeps one vector per prompt and site while a survey reads the prompts in distribution."""

    def __init__(self, sites: Sequence[ResidualSite], conventions: Conventions, *, pooling: Pooling = "last") -> None:
        self._sites, self._conventions, self._pooling = sites, conventions, pooling
        self._vectors: dict[str, list[Tensor]] = {site.label: [] for site in sites}

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:  # noqa: ARG002
        """Take what the survey just read; only prompts in distribution are kept."""
        if label == IN_DISTRIBUTION:
            for site in self._sites:
                rows = self._conventions.rows(batch.activations[site.hook])
                self._vectors[site.label].append(pooled(rows, self._pooling).double().cpu())

    def vectors(self) -> dict[str, Tensor]:
        """Give what was kept."""
        return {label: torch.cat(parts) for label, parts in self._vectors.items()}


def summarise_similarity(vectors: Sequence[Mapping[str, Tensor]], *, pooling: Pooling) -> LayerSimilarity:
    """Compare the sites of each network."""
    sites = tuple(vectors[0])
    pairs = [_pairs([network[site] for site in sites]) for network in vectors]
    empty = torch.empty(0, len(sites), len(sites), dtype=torch.float64)
    return LayerSimilarity(
        cka=pairs[0][0],
        procrustes=pairs[0][1],
        untrained_cka=torch.stack([cka for cka, _ in pairs[1:]]) if len(pairs) > 1 else empty,
        untrained_procrustes=torch.stack([found for _, found in pairs[1:]]) if len(pairs) > 1 else empty,
        sites=sites,
        n_prompts=len(vectors[0][sites[0]]),
        pooling=pooling,
    )


def layer_similarity(
    model: ModelLike,
    prompts: PromptsLike,
    *,
    layers: Sequence[int] | None = None,
    tokens: Role = "all",
    pooling: Pooling = "last",
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> LayerSimilarity:
    """Measure how similar the residual stream is along a network, and along untrained ones.

    Residual streams are alike because each block adds to what is there: only the difference from untrained networks
    is evidence of learning.

    Args:
        model: The network, of any family.
        prompts: Prompts in distribution, at least 4.
        layers: Blocks to look at; None means all. Read-in, last block and final norm are always there.
        tokens: Which positions count.
        pooling: How positions become one vector: "last" or "mean".
        n_controls: Number of untrained networks; 0 switches them off.
        seed: Seed of the untrained networks.

    Returns:
        Debiased CKA and Procrustes distance of every pair of sites.

    Raises:
        InputError: If there are fewer than 4 prompts, or a layer, token role or pooling does not exist.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=2, n_heads=1, d_model=8), seed=0)
        >>> found = layer_similarity(model, LinearRegression(n_dims=2).sample(64, seed=0), n_controls=1)
        >>> torch.testing.assert_close(found.cka.diagonal(), torch.ones(4, dtype=torch.float64))
    """
    model, prompts = as_model("layer_similarity", model), as_prompts("layer_similarity", prompts)
    if len(prompts) < 4:
        raise InputError(f"layer_similarity needs at least 4 prompts, got {len(prompts)}; sample more.")
    model.prepare(prompts.xs, prompts.ys)
    conventions = Conventions(tokens=tokens, layout=model.cfg.tokens)
    sites = model.cfg.residual_sites(layers)
    networks = [model, *untrained_networks(model, n_controls, seed=seed)]
    vectors = []
    for network in networks:
        found = collect(network, prompts, [site.hook for site in sites])
        rows = {site.label: conventions.rows(found[site.hook]) for site in sites}
        vectors.append({label: pooled(part, pooling).double().cpu() for label, part in rows.items()})
    return summarise_similarity(vectors, pooling=pooling)


def _pairs(vectors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    n = len(vectors)
    cka = torch.full((n, n), float("nan"), dtype=torch.float64)
    procrustes = cka.clone()
    for i in range(n):
        for j in range(i, n):
            try:
                cka[i, j] = cka[j, i] = linear_cka(vectors[i], vectors[j], debiased=True)
                procrustes[i, j] = procrustes[j, i] = procrustes_distance(vectors[i], vectors[j])
            except ValueError:  # a site that does not vary over prompts is like nothing
                continue
    return cka, procrustes


def _check_measure(of: str) -> None:
    if of not in get_args(_Of):
        raise InputError(f"LayerSimilarity needs a measure out of {', '.join(get_args(_Of))}, got {of!r}.")


def _watch(plan: StudyPlan, _: HookedModel) -> LayerWatch:
    return LayerWatch(plan.sites, plan.conventions)


def _similarity(found: Findings) -> LayerSimilarity:
    return summarise_similarity(found.watched[SIMILARITY.name], pooling="last")


SIMILARITY = Measure(
    "similarity",
    "similarity of layers",
    run=_similarity,
    without=without_sites,
    watch=_watch,
    kept=LayerWatch.vectors,
)
