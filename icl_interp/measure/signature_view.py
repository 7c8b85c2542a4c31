"""What does the signature look like? Its directions over dimensions and positions, and prompts projected on them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along
from icl_interp.figures.dots import Cloud, DotSeries, clouds_figure, dots_figure
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.measure.controls import N_UNTRAINED, estimate_mean
from icl_interp.measure.families import IN_DISTRIBUTION, Families, look_first
from icl_interp.measure.result import Result
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan, without_sites
from icl_interp.measure.study.survey import NetworkSurvey, survey_site
from icl_interp.models.architecture import Architecture, ResidualSite
from icl_interp.models.hook_names import Site
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role, position_names, positions_of
from icl_interp.tasks.shifts.select import Shifts
from probes.bootstrap import Estimate
from probes.signature import SpectralSignature
from probes.spectra import Side

_PROJECTED = 32
"""Prompts per family that are drawn at most."""
_SHOWN = 5
"""Shifts whose prompts are drawn at first, the farthest ones; the others can be chosen."""
_FAMILIES = 17
"""Of the core suite, in distribution included: what a prompt costs, before the shifts are known."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PositionLoadings:
    """How strongly each position lies along each direction: the other side's singular vectors, over prompts."""

    mean: Float64[Tensor, "k row"]
    """Mean over prompts."""
    low: Float64[Tensor, "k row"]
    """10 % of prompts are below."""
    high: Float64[Tensor, "k row"]
    """10 % of prompts are above."""

    def __repr__(self) -> str:
        return f"PositionLoadings({self.mean.shape[0]} directions over {self.mean.shape[1]} positions)"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SignatureView(Result):
    """The signature at one site, and what prompts do along its directions."""

    dimensions: Float[Tensor, "k column"]
    """The shared directions, of length 1 each: loadings over the dimensions of the stream (over positions, if the side
    is "left"). Signs are chosen so that prompts in distribution have a positive mean."""
    eigenvalues: Float[Tensor, " k"]
    """Of the mean projector, for each direction: 1 if all prompts share it, k / width if they share nothing."""
    rows: tuple[str, ...]
    """Names of the positions that count (of the dimensions, if the side is "left")."""
    positions: Mapping[str, PositionLoadings]
    """By family: a prompt's activations along a direction, position by position, divided by their norm."""
    projections: Mapping[str, Float64[Tensor, "sample k"]]
    """By family: the mean over positions of each prompt's activations along each direction, in activation units."""
    overlaps: Mapping[str, Estimate]
    """By family: mean overlap of prompts with the signature, with intervals over prompts."""
    untrained: Mapping[str, tuple[float, ...]]
    """By family: the mean overlap in each untrained network with its own signature."""
    site: ResidualSite
    """Where."""
    conventions: Conventions
    """How activations become directions."""

    @property
    def shifts(self) -> tuple[str, ...]:
        """Labels of the shifts."""
        return tuple(label for label in self.overlaps if label != IN_DISTRIBUTION)

    @property
    def half(self) -> tuple[int, ...]:
        """For each direction the number of its largest entries that hold half of its squared length."""
        shares = self.dimensions.double().square().sort(dim=1, descending=True).values.cumsum(1)
        return tuple(int(n) for n in 1 + (shares < 0.5 * shares[:, -1:]).sum(1))

    def to_frame(self) -> pd.DataFrame:
        """Lay families out, one per row: overlaps, and the mean projection on each direction."""
        nan = float("nan")
        rows = []
        for label, own in self.overlaps.items():
            others = self.untrained[label]
            row: dict[str, Any] = {"family": label, "overlap": own.value, "low": own.low, "high": own.high}
            row["untrained"] = sum(others) / len(others) if others else nan
            row |= {"untrained_least": min(others, default=nan), "untrained_most": max(others, default=nan)}
            for j, column in enumerate(self.projections[label].T):
                row[f"projection_{j + 1}"] = float(column.mean())
            rows.append(row)
        return pd.DataFrame(rows).set_index("family")

    def plot(self, of: str = "prompts") -> Any:
        """Draw "prompts" on the first two directions, loadings over "positions" or "dimensions", or "overlap"."""
        draw = {
            "prompts": self._plot_prompts, "positions": self._plot_positions, "dimensions": self._plot_dimensions,
            "overlap": self._plot_overlaps,
        }  # fmt: skip
        if of not in draw:
            raise InputError(f"plot of a signature needs one of {', '.join(draw)}, got {of!r}.")
        return draw[of]().update_layout(title={"text": self.describe()})

    def _plot_prompts(self) -> Any:
        flat = len(self.dimensions) == 1  # one direction: prompts lie on a line
        clouds = [
            Cloud(
                label,
                self.projections[label][:, 0].tolist(),
                [0.0] * len(self.projections[label]) if flat else self.projections[label][:, 1].tolist(),
                style,
                place=None if label == IN_DISTRIBUTION else {"shift": label},
            )
            for label, style in self._styles()
        ]
        y = "" if flat else "along direction 2, mean over positions"
        figure = clouds_figure(clouds, x="along direction 1, mean over positions", y=y, y_type="linear")
        away = self.distances()
        shown = sorted(away, key=away.__getitem__, reverse=True)[:_SHOWN]
        for trace in figure.data:
            if trace.name == IN_DISTRIBUTION:
                trace.marker.update(size=7, opacity=0.9)
            elif trace.name not in shown:
                trace.visible = False
        return figure

    def distances(self) -> dict[str, float]:
        """Say how far each shift moves the mean projection, in standard deviations of prompts in distribution."""
        own = self.projections[IN_DISTRIBUTION]
        spread = own.std(0).clamp(min=torch.finfo(own.dtype).tiny)
        return {
            label: float(((self.projections[label].mean(0) - own.mean(0)) / spread).norm()) for label in self.shifts
        }

    def _styles(self) -> list[tuple[str, TraceStyle]]:
        shifts = [(label, shift_style(i)) for i, label in enumerate(self.shifts)]
        return [*shifts, (IN_DISTRIBUTION, role_style("in distribution"))]

    def _plot_positions(self) -> Any:
        lines = []
        for label, style in reversed(self._styles()):
            own, found = label == IN_DISTRIBUTION, self.positions[label]
            for j in range(len(found.mean)):
                lines.append(
                    Line(
                        f"{label}, direction {j + 1}",
                        self.rows,
                        found.mean[j].tolist(),
                        TraceStyle(style.colour, "solid" if j == 0 else "dot", style.symbol),
                        found.low[j].tolist() if own else None,
                        found.high[j].tolist() if own else None,
                        width=3 if own else 2,
                        place=None if own else {"shift": label},
                    )
                )
        figure = lines_figure(lines, x="position" if self.conventions.side == "right" else "dimension", y="loading")
        for trace in figure.data:
            if trace.meta:
                trace.visible = trace.meta["shift"] == self.shifts[0]
        return figure

    def _plot_dimensions(self) -> Any:
        return heatmap_figure(
            self.dimensions.tolist(),
            rows=[f"direction {j + 1}" for j in range(len(self.dimensions))],
            columns=[str(i) for i in range(self.dimensions.shape[1])],
            x="dimension of the stream" if self.conventions.side == "right" else "position",
            y="direction",
            unit="loading",
            scale="diverging",
        )

    def _plot_overlaps(self) -> Any:
        labels = list(self.overlaps)
        own = DotSeries(
            "this model", labels, [self.overlaps[label].value for label in labels], role_style("model"),
            low=[self.overlaps[label].low for label in labels], high=[self.overlaps[label].high for label in labels],
        )  # fmt: skip
        series = [own]
        if all(self.untrained[label] for label in labels):
            others = [self.untrained[label] for label in labels]
            means = [sum(each) / len(each) for each in others]
            low, high = [min(each) for each in others], [max(each) for each in others]
            series.insert(0, DotSeries("untrained networks", labels, means, role_style("untrained"), low, high))
        figure = dots_figure(series, x="overlap with the signature", x_range=(-0.02, 1.02))
        return along(figure, y=[{} if label == IN_DISTRIBUTION else {"shift": label} for label in labels])

    def describe(self) -> str:
        """Name site and conventions, for figures."""
        return f"{self.site.hook}, {self.conventions.describe()}"

    def __repr__(self) -> str:
        return (
            f"SignatureView({self.site.label}, overlap {self.overlaps[IN_DISTRIBUTION].value:.3g} in distribution, "
            f"{len(self.shifts)} shifts)"
        )


def signature_view(
    model: ModelLike,
    task: TaskLike = None,
    *,
    shifts: Shifts | None = None,
    layer: int = -1,
    site: Site = "resid_post",
    tokens: Role = "all",
    center: bool = False,
    side: Side = "right",
    k: int = 2,
    n_prompts: int = 64,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> SignatureView:
    """Show the spectral signature itself: its directions, and where prompts lie along them.

    Formula: directions r_j are the top k eigenvectors of the mean projector over fit prompts. With A the activations of
    a prompt (positions as rows), its loadings over positions are A r_j / |A r_j|, and its projection is the mean over
    positions of A r_j. Overlaps stand beside those of untrained networks; projections and loadings do not, since
    directions of two networks do not correspond.

    Args:
        model: The network.
        task: The task in distribution.
        shifts: Names or patterns, or your own `Shift` objects, see `select_shifts`; None means the core suite.
        layer: Number of the block; -1 is the last.
        site: "resid_post" is before the final norm; "final_norm" after it.
        tokens: Positions that are rows: "all", "x" or "y", or in joint tokens "context".
        center: Whether each prompt's mean row is subtracted first.
        side: "right" (directions in d_model) or "left" (over positions).
        k: Number of directions; fewer if no more exist.
        n_prompts: Number of prompts per family, with as many to fit; at most 32 per family are drawn.
        n_points: Number of examples per prompt; None takes the task's usual number.
        n_controls: Number of untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        Loadings, projections and overlaps, by family.

    Raises:
        InputError: If a shift, layer, site or token role does not exist.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440, for the signature; these views of it are our choice.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> task = LinearRegression(n_dims=2)
        >>> view = signature_view(model, task, shifts=["x_scale=3"], n_prompts=8, n_controls=1)
        >>> view.dimensions.shape, view.rows[:3]
        (torch.Size([2, 8]), ('x1', 'y1', 'x2'))
    """
    model, task = as_model_and_task("signature_view", model, task)
    look_first(model, task, n_points, seed=seed)
    conventions = Conventions(tokens=tokens, center=center, side=side, k=k, layout=model.cfg.tokens)
    conventions = conventions.of_prompts(n_points or task.default_points, model.cfg)
    found = survey_site(
        model,
        task,
        conventions,
        shifts=shifts,
        layer=layer,
        site=site,
        n_prompts=n_prompts,
        n_points=n_points,
        n_controls=n_controls,
        seed=seed,
    )
    return _view(model, found.networks, found.families, found.site, conventions, n_drawn=_PROJECTED)


def _view(
    model: HookedModel,
    surveys: Sequence[NetworkSurvey],
    families: Families,
    site: ResidualSite,
    conventions: Conventions,
    *,
    n_drawn: int,
) -> SignatureView:
    signature = surveys[0].signatures[site.label]
    along = {
        label: _along(collect(model, family.prompts[:n_drawn], site.hook)[site.hook], signature, conventions)
        for label, family in families.by_label.items()
    }
    sign = torch.where(along[IN_DISTRIBUTION].mean((0, 2)) < 0, -1.0, 1.0).double()
    along = {label: values * sign[:, None] for label, values in along.items()}

    def overlap(survey: NetworkSurvey, label: str) -> Tensor:
        return survey.families[label].sites[site.label].scores.overlap.double()

    n_rows = next(iter(along.values())).shape[2]
    return SignatureView(
        dimensions=(signature.reference.double() * sign[:, None]).float().cpu(),
        eigenvalues=signature.eigenvalues[: len(sign)].float().cpu(),
        rows=_row_names(conventions, model.cfg, families.fit.n_points, n_rows),
        positions={label: _loadings(values) for label, values in along.items()},
        projections={label: values.mean(2) for label, values in along.items()},
        overlaps={label: estimate_mean(overlap(surveys[0], label)) for label in along},
        untrained={label: tuple(float(overlap(s, label).mean()) for s in surveys[1:]) for label in along},
        site=site,
        conventions=conventions,
    )


def _along(
    activations: Tensor, signature: SpectralSignature, conventions: Conventions
) -> Float64[Tensor, "sample k row"]:
    matrices = conventions.rows(activations).double().cpu()
    if conventions.center:
        matrices = matrices - matrices.mean(1, keepdim=True)
    if conventions.side == "left":
        matrices = matrices.mT
    return (matrices @ signature.reference.double().cpu().T).mT


def _loadings(along: Float64[Tensor, "sample k row"]) -> PositionLoadings:
    norm = along.norm(dim=2, keepdim=True)
    shares = torch.where(norm > 0, along / norm, math.nan)
    low, high = torch.nanquantile(shares, torch.tensor([0.1, 0.9], dtype=torch.float64), dim=0)
    return PositionLoadings(shares.nanmean(0), low, high)


def _row_names(conventions: Conventions, config: Architecture, n_points: int, n_rows: int) -> tuple[str, ...]:
    if conventions.side == "left":
        return tuple(map(str, range(n_rows)))
    names = position_names(config.tokens, config.positions_for(n_points))
    chosen = positions_of(conventions.tokens, tokens=conventions.layout, n_positions=len(names))
    return tuple(names[i] for i in torch.arange(len(names))[chosen])


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    return _FAMILIES


def _in_study(found: Findings) -> SignatureView:
    """Show the signature at the site that the atlas names, else after the last block."""
    plan, atlas = found.plan, found.results.get("atlas")
    site = next(iter(() if atlas is None else atlas.named_sites()), found.main_site)
    n_drawn = plan.efforts[VIEW.name].prompts
    return _view(plan.model, found.surveys, plan.families, site, plan.conventions, n_drawn=n_drawn)


def _without(plan: StudyPlan) -> str | None:
    return without_sites(plan)


VIEW = Measure("signature_view", "views of the signature", run=_in_study, without=_without, cost=_cost)
