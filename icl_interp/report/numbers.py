"""Every number of a study as JSON."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.files import as_json
from icl_interp.measure.activation_study import ActivationStudy
from icl_interp.measure.atlas import Atlas, AtlasCell, Beside
from icl_interp.measure.comparison import Comparison
from icl_interp.measure.development.result import Development
from icl_interp.measure.families import Family
from icl_interp.measure.ood import OodReport
from icl_interp.measure.result import field_names, plain
from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import STUDY_FORMAT

_LEFT_OUT = {
    "predictions", "errors_by_prompt", "signatures", "weight", "bias", "reference", "direction_references", "codes",
    "qk", "ov", "read_in", "read_out",
}  # fmt: skip
_TOLD: dict[type, tuple[str, ...]] = {
    Atlas: ("verdict", "n_controls"),
    AtlasCell: ("verdict", "control", "beyond_norms", "confirmed"),
    Beside: ("mean", "span"),
}
"""What records say beyond their fields."""
_HEAD = {"format": STUDY_FORMAT, "format_version": 2}
_FLAT_LIST = re.compile(r"\[[^\[\]{}]*\]")  # numbers that belong together stand on one line


def study_json(
    study: Study, checkpoint: Checkpoint, provenance: Mapping[str, str | int], *, timeline: Development | None = None
) -> str:
    """Write a study as JSON text, and how the model developed where that is known.

    Two runs with the same seed, versions, machine and number of threads differ in the "provenance" block only. NaN and
    infinities become null. Left out is what no figure or table shows: prompts, single predictions, bootstrap
    replicates, weights of heads, and scores of single prompts outside the two sites of the OOD chapter.
    """
    contents = {**_HEAD, **_measured(study, checkpoint), "provenance": dict(provenance)}
    if timeline is not None:
        contents["development"] = timeline.to_dict()
    return _text(contents)


def comparison_json(
    comparison: Comparison, checkpoints: Mapping[str, Checkpoint], provenance: Mapping[str, str | int]
) -> str:
    """Write studies of several models as JSON text, and by how much they differ; see `study_json`."""
    models = {name: _measured(study, checkpoints[name]) for name, study in comparison.studies.items()}
    compared = {"comparison": comparison.to_dict(), "models": models}
    return _text({**_HEAD, **compared, "provenance": dict(provenance)})


def _measured(study: Study, checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "checkpoint": {
            "name": checkpoint.path.name,
            "sha256": checkpoint.sha256,
            "origin": checkpoint.origin,
            "step": checkpoint.step,
            "n_points_trained": checkpoint.n_points_trained,
            "notes": checkpoint.notes,
            "assumptions": checkpoint.assumptions,
        },
        "verdicts": _judged(study.verdicts),
        "study": _results(study),
    }


def activations_json(study: ActivationStudy, name: str, sha256: str, provenance: Mapping[str, str | int]) -> str:
    """Write a study of given activations as JSON text; see `study_json`."""
    parts = ("families", "sites", "conventions", "pooling", "n_controls", "untrained", "seed")
    contents: dict[str, Any] = {
        **_HEAD,
        "activations": {"name": name, "sha256": sha256},
        "claims": _judged(study.numbers),
        "verdicts": _judged(study.verdicts),
        "study": {
            **{part: getattr(study, part) for part in parts},
            **{measure: found for measure, found in study.results.items() if measure not in study.absent},
            "absent": study.absent,
        },
        "provenance": dict(provenance),
    }
    return _text(contents)


def _judged(claims: Mapping[str, Excess]) -> dict[str, Any]:
    return {
        name: {
            **dataclasses.asdict(excess),
            "control": excess.control,
            "excess": excess.excess,
            "verdict": excess.verdict,
            "reason": excess.reason,
        }
        for name, excess in claims.items()
    }


def _text(contents: Mapping[str, Any]) -> str:
    return _FLAT_LIST.sub(lambda match: " ".join(match.group().split()), as_json(plain(contents, _names)))


def _results(study: Study) -> dict[str, Any]:
    """Lay out what was studied, and under it the result of each measure, or why it has none."""
    names = ("config", "task", "families", "sites", "conventions", "untrained", "seed")
    contents: dict[str, Any] = {name: getattr(study, name) for name in names}
    for measure in study.measures:
        place = contents.setdefault(measure.group, {}) if measure.group else contents
        place[measure.name] = study.results[measure.name]
        lacking = {name: reason for name, reason in study.absent.items() if name == measure.name}
        if lacking or measure.group:
            place.setdefault("absent", {}).update(lacking)
    return contents


def _names(record: Any) -> list[str]:
    return [*(name for name in field_names(record) if _kept(record, name)), *_TOLD.get(type(record), ())]


def _kept(record: object, name: str) -> bool:
    if name == "scores":
        return isinstance(record, OodReport | Atlas)
    if name == "changes":  # what a family changes; elsewhere the changes of single prompts
        return isinstance(record, Family)
    return name not in _LEFT_OUT and not name.endswith("replicates")
