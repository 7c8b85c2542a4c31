"""Results show themselves in one short line, however much they hold."""

import ast
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import icl_interp as icl
import probes
from icl_interp.measure.study.result import Study
from icl_interp.predictors.references import ByReference
from icl_interp.report.model import Page, Section
from icl_interp.report.tables import TableView
from probes import covariance, curves, detection, linear, ood, spectra
from probes._core.results import short_repr
from probes.signature import fit
from probes.trajectory import joint_pca

LONGEST = 300
HOLDING = ("Tensor", "Float", "Int", "Mapping", "dict[", "ndarray", "DataFrame", "Prompts")
_OTHERS = ("figures", "experiments")
_INSIDE = ("TrainingDistribution", "Edit", "Readings", "Sink")


def _records(package: ModuleType) -> Iterator[ast.ClassDef]:
    (root,) = package.__path__
    for path in Path(root).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "@dataclass" in text and path.relative_to(root).parts[0] not in _OTHERS:
            for kind in ast.parse(text).body:
                if isinstance(kind, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in kind.decorator_list):
                    yield kind


def _shows_everything(kind: ast.ClassDef) -> bool:
    written = {getattr(entry, "name", None) or ast.unparse(entry).partition(" ")[0] for entry in kind.body}
    if "__repr__" in written or "repr=False" in ast.unparse(kind.decorator_list[0]):
        return False
    fields = [ast.unparse(entry.annotation) for entry in kind.body if isinstance(entry, ast.AnnAssign)]
    return any(word in field for field in fields for word in HOLDING)


@pytest.mark.parametrize("package", [icl, probes], ids=["icl_interp", "probes"])
def test_no_public_record_of_many_numbers_shows_them_all(package: ModuleType) -> None:
    records = [kind for kind in _records(package) if not kind.name.startswith("_") and kind.name not in _INSIDE]
    assert len(records) > 20
    assert sorted(kind.name for kind in records if _shows_everything(kind)) == []


def _all_in(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if type(value).__module__.startswith(("icl_interp.", "probes.")):
            yield value
        for entry in value.values():
            yield from _all_in(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _all_in(entry)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            yield from _all_in(getattr(value, field.name))


def _too_long(value: Any) -> set[str]:
    return {f"{type(record).__name__}: {len(repr(record))}" for record in _all_in(value) if len(repr(record)) > LONGEST}


def test_a_study_and_all_in_it(signing_study: Study) -> None:
    kinds = {type(record) for record in _all_in(signing_study)}
    assert len(kinds) > 20
    assert _too_long(signing_study) == set()


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MANY, SCORES = _normal(300, 12), _normal(300, 2, seed=1)
RUNS = {f"a run with a long name, number {number}": _normal(9, 40, seed=number) for number in range(30)}
RESULTS: dict[str, Callable[[], Any]] = {
    "prompts": lambda: icl.LinearRegression(8).sample(300, seed=0),
    "shift": lambda: icl.SHIFTS,
    "estimate": lambda: curves.estimate_mean(SCORES[:, 0]),
    "curve": lambda: curves.curve_over_prompts(SCORES),
    "covariance": lambda: covariance.fit_covariance(MANY),
    "detection": lambda: detection.detection_report(SCORES[:, 0], SCORES[:, 1] + 1),
    "directions": lambda: spectra.leading_directions(MANY),
    "Mahalanobis": lambda: ood.fit_mahalanobis(MANY),
    "neighbours": lambda: ood.fit_nearest_neighbors(MANY),
    "signature": lambda: fit.fit_signature(_normal(40, 5, 12)),
    "probe": lambda: linear.fit_linear_probe(MANY, SCORES),
    "references": lambda: icl.reference_predictors(icl.LinearRegression(3)),
    "answers": lambda: ByReference(((f"a predictor with a long name, number {n}",), MANY) for n in range(30)),
    "page": lambda: Page("A page " * 99, sections=tuple(Section(f"s{i}", "Of many", "word " * 99) for i in range(30))),
    "table": lambda: TableView(("number",), tuple((float(i),) for i in range(300)), caption="Many numbers " * 9),
    "trajectory": lambda: joint_pca.joint_trajectory_pca(RUNS),
}


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_a_result(make: Callable[[], Any]) -> None:
    result = make()
    assert list(_all_in(result))
    assert _too_long(result) == set()


@dataclasses.dataclass(frozen=True)
class Everything:
    tensor: torch.Tensor
    scalar: torch.Tensor
    ratio: float
    text: str
    names: tuple[str, ...]
    parts: list[Any]
    by_name: dict[str, int]
    function: Callable[..., Any]
    absent: None
    hidden: int = dataclasses.field(default=3, repr=False)
    more: tuple[str, ...] = tuple(map(str, range(99)))
    longer: str = "word " * 99
    last: str = "left out"

    __repr__ = short_repr


def test_each_kind_of_value_is_shown_by_what_matters() -> None:
    shown = repr(
        Everything(
            torch.zeros(3, 4), torch.tensor(0.5), 1 / 3, "long " * 99, ("ab",), [torch.zeros(1)], {"x": 1}, len, None
        )
    )
    assert shown == (
        "Everything(tensor=float32[3, 4], scalar=0.5, ratio=0.3333, text='long long long long long long long long '...,"
        " names=('ab'), parts=(1 entries), by_name={'x'}, function=len, absent=None, "
        "more=('0', '1', '2', ... 99 in all), ...)"
    )
