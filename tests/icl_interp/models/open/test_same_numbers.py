"""A plain module with the weights of a network of ours gives the numbers that ours gives, controls included."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from plain_decoder import SITES, copied
from torch import Tensor

import icl_interp as icl
from icl_interp.interventions import patch, project_out
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.models.architecture import ResidualSite

CONFIG = icl.ModelConfig(n_dims=3, n_points=8, n_layers=2, n_heads=2, d_model=8)
TASK = icl.LinearRegression(n_dims=3, n_points=8)
SHIFTS = ["x_scale=3", "label_noise=1"]
NULL_SPACE = "null space of the read-out"
"""The one score that needs readable weights."""
HOOKS = {
    "read-in": "blocks.0.hook_resid_pre",
    "block 0": "blocks.0.hook_resid_post",
    "block 1": "blocks.1.hook_resid_post",
    "final norm": "ln_final.hook_out",
}


@pytest.fixture(scope="module", autouse=True)
def double_precision() -> Iterator[None]:
    """Two ways to add the same numbers up differ by rounding, which double precision keeps out of the way."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def ours(double_precision: None) -> icl.HookedICLTransformer:  # noqa: ARG001
    """A network that an untrained one is told from: its weights are three times as large."""
    model = icl.build_model(CONFIG, seed=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    return model


@pytest.fixture(scope="module")
def theirs(ours: icl.HookedICLTransformer) -> Any:
    return icl.wrap(copied(ours), sites=SITES, make=lambda: copied(icl.build_model(CONFIG, seed=torch.initial_seed())))


def differences(own: Any, other: Any, at: str = "") -> Iterator[str]:
    """Compare what two measures gave, field by field; intervals of an excess depend on how many claims there are."""
    if isinstance(own, Excess):
        yield from differences((own.value, own.controls, own.chance), (other.value, other.controls, other.chance), at)
    elif isinstance(own, ResidualSite):
        yield from differences(own.label, other.label, f"{at}.label")
    elif isinstance(own, Tensor | float):
        a, b = torch.as_tensor(own).double(), torch.as_tensor(other).double()
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True):
            yield f"{at}: {own} and {other}"
    elif isinstance(own, Mapping):
        if list(own) != list(other):
            yield f"{at}: {list(own)} and {list(other)}"
        for key in own:
            yield from differences(own[key], other[key], f"{at}[{key}]")
    elif isinstance(own, list | tuple):
        if len(own) != len(other):
            yield f"{at}: {len(own)} and {len(other)} entries"
        for i, (a, b) in enumerate(zip(own, other, strict=False)):
            yield from differences(a, b, f"{at}[{i}]")
    elif dataclasses.is_dataclass(own):
        for field in dataclasses.fields(own):
            yield from differences(getattr(own, field.name), getattr(other, field.name), f"{at}.{field.name}")
    elif isinstance(own, int | str | bool) and _named(own) != other:
        yield f"{at}: {own} and {other}"


def _named(said: Any) -> Any:
    """Say "block 0" for our hook name, in descriptions too."""
    if isinstance(said, str):
        for label, hook in HOOKS.items():
            said = said.replace(hook, label)
    return said


def same(own: Any, other: Any) -> None:
    found = list(differences(own, other))
    assert not found, "\n".join(found[:20])


def test_predictions(ours: Any, theirs: Any) -> None:
    prompts = TASK.sample(40, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(theirs(prompts.xs, prompts.ys), ours(prompts.xs, prompts.ys), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def studies(ours: Any, theirs: Any) -> tuple[Study, Study]:
    own, other = (icl.study(model, TASK, n_prompts=16, shifts=SHIFTS, n_controls=3, seed=2) for model in (ours, theirs))
    return own, other


@pytest.mark.parametrize(
    "name",
    ["errors", "survey", "ood", "ood_final", "similarity", "likeness", "readouts", "probes", "agreement", "heads",
     "attention", "use", "erasure"],
)  # fmt: skip
def test_every_measure_of_a_study(name: str, studies: tuple[Study, Study]) -> None:
    own, other = studies
    assert own.results[name] is not None
    same(own.results[name], other.results[name])


def test_detectors_of_a_study(studies: tuple[Study, Study]) -> None:
    own, other = (found.detectors for found in studies)
    assert NULL_SPACE not in other.detectors
    assert other.left_out[NULL_SPACE]
    for name, score in other.detectors.items():
        # p-values are adjusted for the number of scores, and of those there is one fewer.
        fields = [f.name for f in dataclasses.fields(score) if f.name not in ("p_values", "correlation_p")]
        same({f: getattr(own.detectors[name], f) for f in fields}, {f: getattr(score, f) for f in fields})


def test_verdicts_and_untrained_networks(studies: tuple[Study, Study]) -> None:
    own, other = studies
    assert own.absent == {}
    assert set(other.absent) == {"contributions", "weights"}  # nobody says which weight is which
    missing = {"detector: null space of the read-out"}  # nobody says where a wrapped module's read-out is
    assert set(own.verdicts) - set(other.verdicts) == missing
    same({name: excess for name, excess in own.verdicts.items() if name not in missing}, other.verdicts)
    same(own.untrained, other.untrained)
    assert len(other.untrained) == 3
    assert sum(math.isfinite(excess.low) for excess in other.verdicts.values()) > 10


SINGLE: dict[str, Callable[[Any], Any]] = {
    "spectral_signature": lambda m: icl.spectral_signature(m, TASK.sample(24, seed=1), n_controls=2),
    "spectral_signature, x tokens": lambda m: icl.spectral_signature(
        m, TASK.sample(24, seed=1), layer=0, tokens="x", center=True, n_controls=2
    ),
    "ood_report": lambda m: icl.ood_report(m, TASK, shifts=SHIFTS, n_prompts=16, n_controls=2),
    "ood_report, final norm": lambda m: icl.ood_report(
        m, TASK, shifts=SHIFTS, n_prompts=16, n_controls=0, site="final_norm", side="left"
    ),
    "linear_probes": lambda m: icl.linear_probes(m, TASK, n_prompts=24, n_controls=2),
    "layer_readouts": lambda m: icl.layer_readouts(m, TASK, n_prompts=24, n_controls=2, layers=[0]),
    "algorithm_agreement": lambda m: icl.algorithm_agreement(m, TASK, n_prompts=6),
    "head_importance": lambda m: icl.head_importance(m, TASK, n_prompts=8, n_controls=2),
    "attention_summary": lambda m: icl.attention_summary(m, TASK, n_prompts=8, n_controls=2),
    "patching_map": lambda m: icl.patching_map(m, TASK, n_prompts=8),
    "signature_view": lambda m: icl.signature_view(m, TASK, shifts=SHIFTS, n_prompts=8, n_controls=2),
    "layer_similarity": lambda m: icl.layer_similarity(m, TASK.sample(24, seed=1), n_controls=2),
    "error_curves": lambda m: icl.error_curves(m, TASK, shifts=SHIFTS, n_prompts=8),
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_measures_understand_a_module_that_saw_no_prompt(name: str, ours: Any) -> None:
    fresh = icl.wrap(copied(ours), sites=SITES, make=lambda: copied(icl.build_model(CONFIG, seed=torch.initial_seed())))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same(SINGLE[name](ours), SINGLE[name](fresh))


@pytest.mark.parametrize("label", HOOKS)
def test_use_of_a_subspace(label: str, ours: Any, theirs: Any) -> None:
    directions = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(0))).Q
    prompts = TASK.sample(8, seed=4)

    def use(model: Any, hook: str) -> Any:
        return icl.subspace_use(model, TASK, directions, hook, prompts=prompts, n_random=3)

    own, other = use(ours, HOOKS[label]), use(theirs, label)
    assert abs(own.effect.change.value) > 1e-6
    same(own, other)


def test_use_of_the_signature(ours: Any, theirs: Any) -> None:
    how = Conventions(k=1)
    own, other = (
        icl.signature_use(model, TASK, hook, conventions=how, n_prompts=12, n_random=2, n_controls=2)
        for model, hook in ((ours, HOOKS["block 0"]), (theirs, "block 0"))
    )
    same(own, other)
    assert len(other.untrained) == 2


@pytest.mark.parametrize("label", HOOKS)
def test_interventions_write(label: str, ours: Any, theirs: Any) -> None:
    """Through tuples, and at inputs: the changed stream comes back into the module."""
    clean, corrupted = TASK.sample(6, seed=0), TASK.sample(6, seed=1)
    found = [patch(m, clean, corrupted, hook, axes=("pos",)) for m, hook in ((ours, HOOKS[label]), (theirs, label))]
    same(found[0].recovered, found[1].recovered)
    directions = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(1))).Q
    said = [
        icl.interventions.predict_under(m, clean, project_out(directions, hook, positions="x"))
        for m, hook in ((ours, HOOKS[label]), (theirs, label))
    ]
    with torch.no_grad():
        assert (said[0] - ours(clean.xs, clean.ys)).abs().max() > 1e-3
    same(said[0], said[1])
