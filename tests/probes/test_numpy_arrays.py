"""Arrays of numpy are taken wherever tensors are, in their own dtype."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import probes
from probes._core.arrays import tensor_of, tensors_in
from probes._core.errors import InputTypeError
from probes.agreement import spd
from probes.detection import detection_report, roc_curve
from probes.linear import fit_linear_probe
from probes.ood import fit_mahalanobis
from probes.signature import fit_signature
from probes.similarity import linear_cka
from probes.spectra import effective_rank, leading_directions, singular_values
from probes.streamed_probe import fit_streamed_probe
from probes.subspaces import subspace_overlap
from probes.targets import prediction_differences
from probes.trajectory import joint_trajectory_pca

NUMBERS = np.random.default_rng(0).normal(size=(12, 4, 3))
INTERNAL = tuple(f"probes.learning_coefficient.{name}" for name in ("chains", "parameters", "result"))


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    for module in pkgutil.walk_packages(probes.__path__, "probes."):
        if "._core" in module.name or module.name in INTERNAL:
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.name:
                continue
            if inspect.isfunction(thing):
                yield f"{module.name}.{name}", thing
            elif inspect.isclass(thing):
                own = [(key, value) for key, value in vars(thing).items() if inspect.isfunction(value)]
                yield from ((f"{module.name}.{name}.{key}", value) for key, value in own if not key.startswith("_"))


def takes_tensors(function: Callable[..., Any]) -> bool:
    annotations = [str(p.annotation) for p in inspect.signature(function).parameters.values()]
    return any("torch.Tensor" in text or re.search(r"\bFloat|\bInt\[", text) for text in annotations)


def test_every_public_function_of_tensors_takes_arrays() -> None:
    found = {name: function for name, function in public_callables() if takes_tensors(function)}
    bare = [name for name, function in found.items() if not hasattr(function, "takes_arrays")]
    assert len(found) > 100
    assert bare == ["probes.streamed_probe.fit_streamed_probe"]  # reads batches one by one, and takes them below


def tensor(array: Any) -> Any:
    return torch.from_numpy(array)


CALLS: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "singular_values": lambda of: singular_values(of(NUMBERS[0])),
    "effective_rank": lambda of: effective_rank(of(np.abs(NUMBERS[0, 0]))),
    "leading_directions": lambda of: leading_directions(of(NUMBERS), 1).directions,
    "subspace_overlap": lambda of: subspace_overlap(of(np.eye(3)[:2]), of(np.eye(3)[1:])),
    "linear_cka": lambda of: linear_cka(of(NUMBERS[:, 0]), of(NUMBERS[:, 1])),
    "fit_mahalanobis": lambda of: fit_mahalanobis(of(NUMBERS[:, 0])).score(of(NUMBERS[:, 1])),
    "batches": lambda of: fit_mahalanobis(map(of, (NUMBERS[:6, 0], NUMBERS[6:, 0]))).score(of(NUMBERS[:, 1])),
    "fit_streamed_probe": lambda of: fit_streamed_probe(
        iter([(of(NUMBERS[:, 0]), of(NUMBERS[:, 1]), of(np.arange(12)))])
    ).r2,
    "fit_signature": lambda of: fit_signature(of(NUMBERS), k=1).ood_score(of(NUMBERS + 1)),
    "fit_linear_probe": lambda of: fit_linear_probe(of(NUMBERS[:, 0]), of(NUMBERS[:, 1, :1]), seed=0).r2,
    "spd": lambda of: spd(of(NUMBERS[..., 0]), of(NUMBERS[..., 1]), seed=0).values,
    "roc_curve": lambda of: roc_curve(of(NUMBERS[:, 0, 0]), of(NUMBERS[:, 1, 0])).true_positives,
    "detection_report": lambda of: detection_report(of(NUMBERS[:, 0, 0]), of(NUMBERS[:, 1, 0])).auroc_replicates,
    "a mapping": lambda of: prediction_differences({"a": of(NUMBERS[..., 0]), "b": of(NUMBERS[..., 1])})["a - b"],
    "trajectories": lambda of: joint_trajectory_pca({"run": of(NUMBERS[:, 0])}).scores["run"],
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arrays_give_what_tensors_of_their_dtype_give(call: Callable[[Callable[[Any], Any]], Any]) -> None:
    found, expected = call(lambda array: array), call(tensor)
    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_no_precision_is_lost() -> None:
    assert singular_values(NUMBERS[0]).dtype == torch.float64
    assert singular_values(NUMBERS[0].astype(np.float32)).dtype == torch.float32


def test_arrays_that_torch_cannot_share() -> None:
    frozen = NUMBERS.copy()
    frozen.flags.writeable = False
    for array in (frozen, NUMBERS[::-1], NUMBERS.astype(">f8"), np.broadcast_to(NUMBERS[:1], NUMBERS.shape)):
        np.testing.assert_array_equal(tensor_of(array).numpy(), array)
    shared = NUMBERS.copy()
    tensor_of(shared)[0, 0, 0] = 7.0
    assert shared[0, 0, 0] == 7.0
    with pytest.raises(InputTypeError, match="arrays need a dtype that torch has, got object"):
        tensor_of(np.array([None]))


def test_all_else_stays_as_it_is() -> None:
    for thing in (3, "words", [1, 2], {"a": 1}, torch.ones(2), None):
        assert tensors_in(thing) is thing
