"""What activations alone tell: spectra, signature, detectors, likeness of sites, as a study has them of a network."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import pandas as pd
import torch
from torch import Tensor

from icl_interp.activations import Batch, collect
from icl_interp.arrays import Rows, as_tensor, give_memory_back, rows_of
from icl_interp.door import ModelLike, as_model, as_prompts_or_tokens
from icl_interp.errors import InputError, InputTypeError
from icl_interp.measure.activations_file import UNNAMED, ActivationsFile, read_activations
from icl_interp.measure.atlas import LEAST_CONTROLS, atlas_of
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.detectors.report import judged_detector, summarise_detectors
from icl_interp.measure.detectors.scores import claimed
from icl_interp.measure.detectors.watch import DetectorWatch, Pooling
from icl_interp.measure.families import IN_DISTRIBUTION, Families, Family
from icl_interp.measure.ood import DETECTION, SCORE_AND_ERROR, fit_log_norms, summarise_ood
from icl_interp.measure.result import Result
from icl_interp.measure.signature import SHARED, SPECTRA, contrast, spectral_change
from icl_interp.measure.similarity import LayerWatch, summarise_similarity
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.result import Surveyed
from icl_interp.measure.study.survey import FIT, NetworkSurvey, Reading, Watch, survey_batches, together
from icl_interp.measure.study.table import MEASURES
from icl_interp.measure.verdicts import Excess
from icl_interp.models.architecture import FINAL_NORM, NO_SITES, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role
from icl_interp.predictors.references import ByReference
from icl_interp.prompts import Prompts
from icl_interp.tasks.fixed_prompts import FixedPrompts, Split, most_scored, reference_of, renamed, split_rows
from icl_interp.tasks.references import reference_predictors
from probes._core.results import short_repr
from probes.spectra import LeadingDirections, Side

_WHO = "activation_study"
_MOST = 512
"""Prompts per family that are scored unless told otherwise: time and memory grow with their square."""
_LEAST = 8
"""As in a study."""
_BATCH, _BATCH_ENTRIES = 64, 2**20
"""Prompts read at once, and entries at one site."""
_CONTROLS = (
    "collect the same activations in two or more freshly initialised networks, and pass controls=[{...}, {...}], or "
    "store them as 'control 1/NAME' and 'control 2/NAME'"
)
_NEEDS = {
    "errors": "It needs a model that predicts.",
    "ood_final": "Activations have no final norm; give what comes after it as another site.",
    "likeness": "It needs a model that predicts.",
    "readouts": "It needs the label at each position.",
    "probes": "It needs a model that reads prompts of a known task.",
    "agreement": "It needs a model that predicts.",
    "heads": "It needs a model whose heads can be ablated.",
    "attention": "It needs a model's attention patterns.",
    "contributions": "It needs a model whose weights are known.",
    "patching": "It needs a model whose activations can be changed.",
    "weights": "It needs a model whose weights are known.",
    "use": "It needs a model whose activations can be changed.",
}
"""Why activations alone do not give what a study has, by the name of the measure."""

Tick = Callable[[int, str], None]


@dataclass(frozen=True, eq=False)
class ActivationStudy(Surveyed, Result):
    """What activations show of a network; each result is an attribute: `found.ood`, `found.detectors`."""

    numbers: Mapping[str, Excess]
    """By claim, also where controls are too few for a verdict."""
    claims: Mapping[str, str]
    """What the number of each claim is, in one line."""
    pooling: Pooling
    """How positions became the one vector that most detectors take."""
    n_controls: int
    """Untrained networks that were given."""

    __repr__ = short_repr

    @property
    def main_site(self) -> ResidualSite:
        """Where spectra, scores and detectors are judged: the last site that was given."""
        return self.sites[-1]

    @property
    def meanings(self) -> Mapping[str, str]:
        """What the number of each claim is, in one line."""
        return self.claims

    @property
    def measured(self) -> Mapping[str, Excess]:
        """By claim, whether it can be judged or not."""
        return self.numbers

    @property
    def subject(self) -> str:
        """What the spectra of one prompt are spectra of."""
        return "one prompt's activations at the last site that was given"

    @property
    def controls_are(self) -> str:
        """What the untrained networks are, in a sentence."""
        if not self.n_controls:
            return f"{self.uncontrolled[0].upper()}{self.uncontrolled[1:]}."
        return "The untrained controls are activations that were given as such, on the same prompts."

    @property
    def uncontrolled(self) -> str:
        """Why there are no controls, in a clause."""
        return "no untrained networks were given"

    @property
    def without_verdicts(self) -> str:
        """Why there are no verdicts and how there would be some, in a sentence; empty where there are verdicts."""
        if self.verdicts or not self.families.shifted:
            return ""
        given = "one untrained network was given" if self.n_controls else self.uncontrolled
        return f"There are no verdicts, since {given}: {_CONTROLS}."

    @property
    def unshifted(self) -> str:
        """Why there is no shift, in a sentence."""
        return "There is nothing to compare with, since one family was given; add another one."

    def to_frame(self) -> pd.DataFrame:
        """Lay families and sites out, one pair per row.

        Returns:
            Mean leading singular value, agreement within the family and with prompts in distribution, and the same
            agreement in untrained networks.
        """
        rows = []
        for label, family in self.survey.families.items():
            for name, record in family.sites.items():
                controls = [survey.families[label].sites[name].overlap_with_id for survey in self.untrained]
                rows.append({
                    "family": label,
                    "site": name,
                    "leading_value": float(record.spectrum[0]),
                    "overlap_within": record.overlap_within,
                    "overlap_with_id": record.overlap_with_id,
                    "overlap_with_id_untrained": sum(controls) / len(controls) if controls else float("nan"),
                    "ood_score": float(record.scores.ood_score.double().mean()),
                })
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Give the main numbers as plain data.

        Returns:
            Claims with their verdicts, the rows of `to_frame`, and the AUROC of the signature by shift.
        """
        return {
            "claims": {
                name: {"value": found.value, "control": found.control, "low": found.low, "high": found.high,
                       "verdict": self.verdicts[name].verdict if name in self.verdicts else None}
                for name, found in self.numbers.items()
            },
            "families": self.to_frame().to_dict("records"),
            "auroc": {label: found.signature.auroc for label, found in self.ood.shifts.items()},
            "absent": dict(self.absent),
        }  # fmt: skip

    def plot(self) -> Any:
        """Draw how well the signature tells each family from those in distribution.

        Returns:
            A plotly figure.
        """
        return self.ood.plot()


def _read_by(
    model: HookedModel, families: Mapping[str, Any], n_controls: int, seed: int
) -> list[dict[str, dict[str, Tensor]]]:
    """Read every family at every site, with the model and with its untrained networks."""
    if not isinstance(families, Mapping) or not families:
        raise InputTypeError(
            f"activation_study of a model needs prompts or tokens by the name of their family, got "
            f"{type(families).__name__}; pass {{'in distribution': prompts, ...}}."
        )
    prompts = {str(name): as_prompts_or_tokens("activation_study", given) for name, given in families.items()}
    first = next(iter(prompts.values()))
    model.prepare(first.xs, first.ys)
    sites = [site for site in model.cfg.residual_sites() if site.label != FINAL_NORM]  # judged before it, as in a study
    if not sites:
        raise InputError(NO_SITES)

    def read(network: HookedModel, given: Any) -> dict[str, Tensor]:
        held = collect(network, given, [site.hook for site in sites])
        return {site.label: held[site.hook] for site in sites}

    networks = [model, *untrained_networks(model, n_controls, seed=seed)]
    return [{name: read(network, given) for name, given in prompts.items()} for network in networks]


def activation_study(
    families: Mapping[str, Any] | str | os.PathLike[str],
    *,
    model: ModelLike | None = None,
    controls: Sequence[Mapping[str, Any]] | None = None,
    predictions: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    control_predictions: Sequence[Mapping[str, Any]] | None = None,
    tokens: Role = "all",
    center: bool = False,
    side: Side = "right",
    k: int = 2,
    pooling: Pooling = "last",
    n_prompts: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
    tick: Tick | None = None,
) -> ActivationStudy:
    """Measure spectra, signature, detectors and similarity of sites on activations from anywhere.

    The numbers are those of `study`, from the same code. Half of the reference family is fitted, the rest is scored.
    Families with as many samples as the reference count as the same prompts, changed, one by one; only those are
    scored whose prompt was not fitted. Arrays are read in batches: memory-mapped files may be larger than the memory.

    Args:
        families: Activations [sample pos width] by the name of the family: arrays of any framework, or such arrays by
            the name of the site, the last of which is judged. "in distribution" is the reference, or the first family
            where none has this name. Numbers of positions may differ between families if `side` is "right". Or a file
            as `icl-probe` takes it (docs/activations.md), which then holds everything else as well.
        model: A model of ours or a wrapped one. `families` then holds its input by the name of the family: `Prompts`,
            or tokens [sample pos] of a wrapped language model. Its untrained networks read the same.
        controls: Activations of untrained networks on the same prompts, each as `families`; two or more for verdicts.
        predictions: The network's predictions [sample point] by family, for score against error; with `targets`.
        targets: The labels [sample point] by family.
        inputs: The inputs [sample point dim] by family, with `targets`: norms and raw statistics of prompts are then
            the baselines, instead of norms of activations.
        control_predictions: Predictions of the untrained networks, in the order of `controls`.
        tokens: Positions that are rows: "all", or, where positions alternate x, y, "x" or "y".
        center: Whether each prompt's mean row is subtracted first.
        side: "right" (directions over the width) or "left" (over positions).
        k: Number of directions; fewer if no more exist, and `conventions` says so.
        pooling: How positions become the one vector that most detectors take: "last" or "mean".
        n_prompts: Number of scored samples per family, with as many to fit; None takes all, up to 512.
        n_controls: Number of untrained networks beside `model`, if it is given.
        seed: The only source of randomness.
        tick: Called with the number of samples just read and their network, for progress.

    Returns:
        Results of each measure, verdicts where there are two controls, and what was left out with the reason.

    Raises:
        InputTypeError: If something is no mapping or no array of real numbers.
        InputError: If shapes, names or numbers of samples do not fit, or numbers are not finite.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> acts = torch.randn(64, 10, 8, generator=generator) + 5 * torch.eye(8)[0]
        >>> other = torch.randn(32, 12, 8, generator=generator)
        >>> found = activation_study({"in distribution": acts.numpy(), "other": other})
        >>> found.ood.shifts["other"].signature.auroc > 0.9, found.verdicts
        (True, {})
    """
    if model is not None:
        if controls is not None or isinstance(families, str | os.PathLike):
            raise InputError(
                "activation_study reads the families and the untrained networks of a model itself, got activations "
                "beside it; leave out one or the other."
            )
        families, *controls = _read_by(as_model("activation_study", model), families, n_controls, seed)
    if isinstance(families, str | os.PathLike):
        held = _held(families, controls, predictions, targets, inputs, control_predictions)
        families, controls, control_predictions = held.families, held.controls, held.said_by_controls
        predictions, targets, inputs = (held.beside.get(name) for name in _AXES)
    named = _reference(families)
    own = _network(families, "families", named)
    others = [
        _network(each, f"control {i}", named, own) for i, each in enumerate(_listed(controls, "controls"), start=1)
    ]
    sizes = {label: len(next(iter(sites.values()))) for label, sites in own.items()}
    split = _split(sizes, n_prompts, seed)
    beside = _beside(sizes, named, predictions, targets, inputs)
    said = [beside["predictions"], *_of_controls(sizes, named, control_predictions, len(others), beside["targets"])]
    prompts = _families(split, beside)
    sites = tuple(ResidualSite(name, name) for name in next(iter(own.values())))
    conventions = _conventions(own, Conventions(tokens=tokens, center=center, side=side, k=k))
    answers = {}
    if beside["inputs"]:
        pairs = {label: (beside["inputs"][label], beside["targets"][label]) for label in sizes}
        known = reference_predictors(FixedPrompts(pairs))
        answers = {label: known.answers(family.prompts) for label, family in prompts.by_label.items()}
    found = [
        _survey(network, values, split, prompts, sites, conventions, pooling, seed, partial(_named, tick, i))
        for i, (network, values) in enumerate(zip([own, *others], said, strict=True))
    ]
    return _summarise(found, prompts, answers, sites, conventions, pooling, seed)


def count_reads(families: Mapping[str, Mapping[str, Any]], n_controls: int, n_prompts: int | None) -> int:
    """Say how many samples are read of all networks together, for progress."""
    sizes = {str(label): len(rows_of(next(iter(sites.values())), what=str(label))) for label, sites in families.items()}
    split = _split(renamed(sizes, reference_of(sizes)), n_prompts, 0)
    return (len(split.fit) + sum(map(len, split.scored.values()))) * (1 + n_controls)


def _named(tick: Tick | None, network: int, done: int) -> None:
    if tick is not None:
        tick(done, f"untrained network {network}" if network else "these activations")


def _held(path: str | os.PathLike[str], *others: object) -> ActivationsFile:
    if any(other is not None for other in others):
        raise InputError(f"{_WHO} of a file takes controls, predictions, targets and inputs from it; leave them out.")
    held = read_activations(os.fspath(path))
    if held is None:
        raise InputError(
            f"{_WHO} needs a file of arrays [sample pos width] by name (.npz or .safetensors), got {path}; "
            "docs/activations.md says how arrays are named."
        )
    return held


_Network = dict[str, dict[str, Rows]]
"""Arrays by family and site."""


def _reference(families: object) -> str:
    if not isinstance(families, Mapping):
        raise InputTypeError(
            f"{_WHO} needs activations by the name of the family, got {type(families).__name__}; write "
            "{'in distribution': activations, ...}."
        )
    if not families:
        raise InputError(f"{_WHO} needs at least one family, got none.")
    return reference_of(families)


def _network(families: object, what: str, reference: str, like: _Network | None = None) -> _Network:
    """Check the arrays of one network, and that they are those of the first one."""
    given = renamed(families, reference) if isinstance(families, Mapping) else {}
    if like is not None and set(given) != set(like):
        raise InputError(
            f"{_WHO} needs the same families in {what} as in the network itself ({', '.join(like)}), got "
            f"{', '.join(given) or type(families).__name__}; give the control's activations for each of them."
        )
    found = {label: _sites(given[label], f"{what}, {label!r}") for label in like or given}
    first = next(iter(found.values()))
    for label, sites in found.items():
        if list(sites) != list(first):
            raise InputError(
                f"{_WHO} needs the same sites in each family, got {list(first)} and, in {label!r}, {list(sites)}."
            )
        for name, rows in sites.items():
            if rows.shape[2] != first[name].shape[2]:
                raise InputError(
                    f"{_WHO} needs one width at each site, got {first[name].shape[2]} and, in {label!r}{_at(name)}, "
                    f"{rows.shape[2]}; take all families from one place of one network."
                )
            if like is not None and (name not in like[label] or rows.shape != like[label][name].shape):
                _refuse_control(what, label, name, rows, like[label])
    return found


def _refuse_control(what: str, label: str, name: str, rows: Rows, like: Mapping[str, Rows]) -> NoReturn:
    wanted = f"the shape {list(like[name].shape)}" if name in like else f"a site among {list(like)}"
    raise InputError(
        f"{_WHO} needs {wanted} in {what}, as in the network itself, got {list(rows.shape)} in {label!r}{_at(name)}."
    )


def _sites(given: Any, what: str) -> dict[str, Rows]:
    arrays = given if isinstance(given, Mapping) else {UNNAMED: given}
    found = {str(name): rows_of(array, what=f"{what}{_at(name)}") for name, array in arrays.items()}
    for name, rows in found.items():
        if len(rows.shape) != 3 or 0 in rows.shape[1:]:
            raise InputError(
                f"{_WHO} needs activations [sample pos width], got the shape {list(rows.shape)} in {what}{_at(name)}; "
                "one vector per sample is [:, None, :]."
            )
    counts = {name: len(rows) for name, rows in found.items()}
    if not counts or len(set(counts.values())) > 1:
        raise InputError(f"{_WHO} needs as many samples at each site, got {counts} in {what}.")
    return found


def _at(site: object) -> str:
    return "" if site == UNNAMED else f" at {site}"


def _listed(controls: object, what: str) -> Sequence[Any]:
    if isinstance(controls, Mapping) or not isinstance(controls, Sequence | None):
        raise InputTypeError(
            f"{_WHO} needs a list of untrained networks as {what}, got {type(controls).__name__}; write "
            f"{what}=[{{...}}, {{...}}]."
        )
    return controls or ()


def _split(sizes: Mapping[str, int], n_prompts: int | None, seed: int) -> Split:
    most = most_scored(sizes)
    if most < _LEAST:
        had = ", ".join(f"{size} of {label!r}" for label, size in sizes.items())
        raise InputError(
            f"{_WHO} needs at least {2 * _LEAST} samples in distribution, half of which are fitted, and {_LEAST} of "
            f"each other family, got {had}; collect more."
        )
    if n_prompts is not None and not _LEAST <= n_prompts <= most:
        raise InputError(
            f"{_WHO} needs n_prompts from {_LEAST} to {most}, of which there are as many to fit, got {n_prompts}."
        )
    n_fit = n_prompts or min(next(iter(sizes.values())) // 2, _MOST)
    return split_rows(sizes, n_prompts or min(most, _MOST), n_fit, seed=seed)


_AXES = {"predictions": 2, "targets": 2, "inputs": 3}


def _beside(
    sizes: Mapping[str, int], reference: str, predictions: Any, targets: Any, inputs: Any
) -> dict[str, dict[str, Tensor]]:
    """Check predictions, targets and inputs, each by family and empty where it was not given."""
    given = {"predictions": predictions, "targets": targets, "inputs": inputs}
    found = {name: _by_family(sizes, reference, arrays, name, _AXES[name]) for name, arrays in given.items()}
    if targets is None and (predictions is not None or inputs is not None):
        raise InputError(f"{_WHO} needs targets beside predictions and inputs, got none; give the labels as well.")
    for name in ("predictions", "inputs"):
        for label, array in found[name].items():
            if array.shape[:2] != found["targets"][label].shape:
                raise InputError(
                    f"{_WHO} needs {name} of {label!r} for each of its targets "
                    f"{list(found['targets'][label].shape)}, got the shape {list(array.shape)}."
                )
    return found


def _by_family(sizes: Mapping[str, int], reference: str, arrays: object, what: str, axes: int) -> dict[str, Tensor]:
    if arrays is None:
        return {}
    given = renamed(arrays, reference) if isinstance(arrays, Mapping) else {}
    if set(given) != set(sizes):
        came = ", ".join(given) or type(arrays).__name__
        raise InputError(f"{_WHO} needs {what} of each family ({', '.join(sizes)}), got {came}.")
    found = {label: as_tensor(given[label], what=f"{what} of {label!r}") for label in sizes}
    for label, array in found.items():
        if array.ndim != axes or len(array) != sizes[label] or not array.numel():
            wanted = "[sample point]" if axes == 2 else "[sample point dim]"
            raise InputError(
                f"{_WHO} needs {what} {wanted} of the {sizes[label]} samples of {label!r}, got the shape "
                f"{list(array.shape)}."
            )
        if not bool(array.isfinite().all()):
            raise InputError(f"{_WHO} needs finite numbers, got NaN or infinity in {what} of {label!r}.")
    return {label: array.detach().cpu() for label, array in found.items()}


def _of_controls(
    sizes: Mapping[str, int], reference: str, given: object, n_controls: int, targets: Mapping[str, Tensor]
) -> list[dict[str, Tensor]]:
    said = _listed(given, "control_predictions")
    if not said:
        return [{}] * n_controls
    if len(said) != n_controls:
        raise InputError(f"{_WHO} needs control_predictions of all {n_controls} controls, got {len(said)}.")
    found = []
    for i, each in enumerate(said, start=1):
        found.append(_by_family(sizes, reference, each, f"predictions of control {i}", 2))
        if wrong := [label for label, array in found[-1].items() if array.shape != targets.get(label, array).shape]:
            raise InputError(f"{_WHO} needs predictions of control {i} for each target, got others in {wrong[0]!r}.")
    return found


def _families(split: Split, beside: Mapping[str, Mapping[str, Tensor]]) -> Families:
    """Make records of the prompts; without points where they are not known."""

    def prompts(label: str, rows: list[int]) -> Prompts:
        ys = beside["targets"][label][rows].float() if beside["targets"] else torch.zeros(len(rows), 0)
        xs = beside["inputs"][label][rows].float() if beside["inputs"] else torch.zeros(*ys.shape, 0)
        return Prompts(xs=xs, ys=ys, source=f"given with activations of {label!r}")

    by_label = {}
    for label, rows in split.scored.items():
        unit = float(beside["targets"][label].double().square().mean()) if beside["targets"] else float("nan")
        changes = "nothing" if label == IN_DISTRIBUTION else "prompts"
        by_label[label] = Family(
            label, "activations that were given under this name", changes, prompts(label, rows), unit
        )
    return Families(fit=prompts(IN_DISTRIBUTION, split.fit), by_label=by_label, notes=_notes(split, beside))


def _notes(split: Split, beside: Mapping[str, Mapping[str, Tensor]]) -> tuple[str, ...]:
    n_scored = len(split.scored[IN_DISTRIBUTION])
    notes = [f"{len(split.fit)} samples in distribution were fitted, and {n_scored} others of each family scored."]
    if not beside["inputs"]:
        notes.append("Inputs are not known, so norms of activations are the baseline that scores have to beat.")
    if not beside["predictions"]:
        notes.append("Predictions are not known, so nothing is said of errors.")
    return tuple(notes)


def _conventions(own: _Network, asked: Conventions) -> Conventions:
    shapes = [rows.shape for sites in own.values() for rows in sites.values()]
    lengths = sorted({shape[1] for shape in shapes})
    if asked.side == "left" and len(lengths) > 1:
        raise InputError(
            f"{_WHO} needs families of one number of positions for left singular vectors, got {lengths}; pass "
            'side="right".'
        )
    if not len(range(lengths[0])[slice(1 if asked.tokens == "y" else 0, None)]):
        raise InputError(f"{_WHO} needs two positions to tell x from y, got {lengths[0]}; pass tokens='all'.")
    return asked.within(lengths[0], min(shape[2] for shape in shapes))


class _NormWatch:
    """Keeps the logarithm of the norm of each prompt's activations at one site."""

    def __init__(self, site: ResidualSite, conventions: Conventions) -> None:
        self._site, self._conventions = site, conventions
        self._norms: dict[str, list[Tensor]] = {}

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:  # noqa: ARG002
        rows = self._conventions.rows(batch.activations[self._site.hook]).double().flatten(1)
        norms = rows.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny).log()
        self._norms.setdefault(label, []).append(norms[:, None].cpu())

    def norms(self) -> dict[str, Tensor]:
        """By family, and of the fit prompts."""
        return {label: torch.cat(parts) for label, parts in self._norms.items()}

    def scores(self) -> dict[str, Tensor]:
        """How far out each prompt's norm is, by family."""
        norms = self.norms()
        baseline = fit_log_norms(norms[FIT])
        return {label: baseline.score_norms(values) for label, values in norms.items() if label != FIT}


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What was seen of one network."""

    survey: NetworkSurvey
    detectors: DetectorWatch
    layers: LayerWatch
    norms: _NormWatch

    __repr__ = short_repr


def _survey(
    network: _Network,
    said: Mapping[str, Tensor],
    split: Split,
    families: Families,
    sites: Sequence[ResidualSite],
    conventions: Conventions,
    pooling: Pooling,
    seed: int,
    on_batch: Callable[[int], None],
) -> _Seen:
    unread = "activations alone have no read-out"
    detectors = DetectorWatch(sites[-1], conventions, pooling=pooling, no_read_out=unread, seed=seed)
    layers, norms = LayerWatch(sites, conventions, pooling=pooling), _NormWatch(sites[-1], conventions)
    watches: list[Watch] = [detectors, layers, norms]
    read = _reading(network, said, split, families)
    survey = survey_batches(read, families, sites, conventions=conventions, on_batch=on_batch, watch=together(watches))
    return _Seen(survey, detectors, layers, norms)


def _reading(network: _Network, said: Mapping[str, Tensor], split: Split, families: Families) -> Reading:
    def read(label: str) -> Iterator[Batch]:
        name = IN_DISTRIBUTION if label == FIT else label
        rows = split.fit if label == FIT else split.scored[label]
        prompts = families.fit if label == FIT else families.by_label[label].prompts
        sites = network[name]
        entries = max(given.shape[1] * given.shape[2] for given in sites.values())
        size = max(1, min(_BATCH, _BATCH_ENTRIES // entries))
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield Batch(
                prompts=prompts[start : start + size],
                predictions=said[name][part] if said else torch.zeros(len(part), 0),
                activations={site: _finite(given.take(part), name, site) for site, given in sites.items()},
            )
            give_memory_back()

    return read


def _finite(block: Tensor, label: str, site: str) -> Tensor:
    if not bool(block.isfinite().all()):
        raise InputError(
            f"{_WHO} needs finite activations, got NaN or infinity in {label!r}{_at(site)}; leave those samples out."
        )
    return block


def _summarise(
    found: Sequence[_Seen],
    families: Families,
    answers: Mapping[str, ByReference[Tensor]],
    sites: tuple[ResidualSite, ...],
    conventions: Conventions,
    pooling: Pooling,
    seed: int,
) -> ActivationStudy:
    main, surveys, absent = sites[-1], [seen.survey for seen in found], _absent()
    ood = summarise_ood(
        surveys[0],
        surveys[1:],
        families,
        main,
        conventions,
        norms_of_activations=None if answers else found[0].norms.norms(),
        seed=seed,
    )
    meanings = dict([SPECTRA, SHARED, (DETECTION.name, DETECTION.meaning)] if families.shifted else [])
    if ood.correlation is not None:
        meanings[SCORE_AND_ERROR.name] = SCORE_AND_ERROR.meaning
    known = answers.get(IN_DISTRIBUTION)
    scores = claimed(known, (), reads_out=False) if families.shifted else []
    detectors = {f"detector: {name}": name for name in scores}
    meanings |= dict.fromkeys(detectors, "AUROC, mean over shifts")
    results: dict[str, Any] = {**dict.fromkeys(absent), "survey": surveys[0], "ood": ood}
    results |= {"atlas": None, "detectors": None, "similarity": None}
    if families.shifted:
        results["atlas"] = atlas_of(
            surveys,
            families,
            sites,
            conventions,
            norms_of_activations=None if answers else found[0].norms.norms(),
            unconfirmed="activations were given, and none are kept aside",
            remedy=f"{LEAST_CONTROLS} controls",
            seed=seed,
        )
        results["detectors"] = summarise_detectors(
            surveys,
            [seen.detectors.seen() for seen in found],
            families,
            answers,
            main,
            conventions,
            pooling=pooling,
            norms_of_activations=() if answers else [seen.norms.scores() for seen in found],
            n_verdicts=len(meanings),
            seed=seed,
        )
    else:
        absent |= dict.fromkeys(("atlas", "detectors"), "It compares families, and one was given.")
    if len(sites) > 1:
        results["similarity"] = summarise_similarity([seen.layers.vectors() for seen in found], pooling=pooling)
    else:
        absent["similarity"] = "It compares sites, and one was given: give arrays by the name of the site."
    judges: dict[str, Callable[[int], Excess]] = {
        SPECTRA[0]: partial(spectral_change, surveys, main.label),
        SHARED[0]: partial(contrast, surveys, main.label),
        DETECTION.name: ood.detection_excess,
        SCORE_AND_ERROR.name: ood.correlation_excess,
        **{claim: partial(judged_detector, name, results["detectors"]) for claim, name in detectors.items()},
    }
    numbers = {name: judges[name](len(meanings)) for name in meanings}
    return ActivationStudy(
        families=families,
        sites=sites,
        conventions=conventions,
        results=results,
        absent=absent,
        verdicts=numbers if len(found) > 2 else {},
        untrained=tuple(surveys[1:]),
        seed=seed,
        numbers=numbers,
        claims=meanings,
        pooling=pooling,
        n_controls=len(found) - 1,
    )


def _absent() -> dict[str, str]:
    given = ("survey", "ood", "atlas", "detectors", "similarity")
    return {m.name: _NEEDS.get(m.name, "It needs a model.") for m in MEASURES if m.name not in given}
