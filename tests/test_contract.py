"""The public contract has full docstrings: every argument, and what comes back. Internal functions need none."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

import icl_interp
from icl_interp import interventions, measure, predictors, report
from icl_interp.measure.result import Result
from icl_interp.models import lens

PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (icl_interp, interventions, predictors, lens, report)
    for name in module.__all__
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}


def sections(doc: str) -> dict[str, str]:
    parts = re.split(r"^(Args|Returns|Yields|Raises|Source|Example|Formula):", doc, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_public_functions_say_what_they_take_and_give(function):
    signature, found = inspect.signature(function), sections(inspect.getdoc(function) or "")
    described = set(re.findall(r"^\s+\*{0,2}(\w+)(?: \(.*\))?:", found.get("Args", ""), flags=re.M))
    assert set(signature.parameters) <= described
    assert signature.return_annotation in (None, Iterator[None]) or {"Returns", "Yields"} & set(found)


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_public_classes_and_their_methods_are_described(cls):
    assert inspect.getdoc(cls)
    own = {
        name: member
        for name, member in vars(cls).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    }
    bare = [name for name, member in own.items() if not (inspect.getdoc(member) or inspect.getdoc(getattr(cls, name)))]
    assert not bare


def test_every_result_that_draws_itself_can_be_saved_shown_and_laid_out():
    names = [found.name for found in pkgutil.walk_packages(measure.__path__, "icl_interp.measure.")]
    there = [value for name in names for value in vars(importlib.import_module(name)).values()]
    kinds = {kind for kind in there if inspect.isclass(kind) and hasattr(kind, "plot")} - {Result}
    assert len(kinds) > 12
    assert [kind.__name__ for kind in kinds if not issubclass(kind, Result)] == []
    assert [kind.__name__ for kind in kinds if inspect.isabstract(kind)] == []
    assert {"plot", "savefig", "to_frame", "to_dict", "_repr_html_"} <= set(dir(Result))


def test_public_results_are_frozen():
    results = [value for value in CLASSES.values() if dataclasses.is_dataclass(value)]
    assert results
    assert all(value.__dataclass_params__.frozen for value in results)
