"""A study of activations has the numbers that a study of the network has, whatever framework holds the arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import icl_interp as icl
from icl_interp.activations import collect
from icl_interp.measure.activation_study import ActivationStudy, _by_family, _listed, _network, _reference
from icl_interp.measure.controls import untrained_networks
from icl_interp.measure.detectors.watch import pooled
from icl_interp.measure.study.result import Study
from icl_interp.measure.study.survey import SiteRecord
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.fixed_prompts import split_rows

N = 24
"""Prompts that are scored, and that are fitted."""
SHIFTED = ("x_scale=3", "label_noise=1")
SITES = ("read-in", "block 0", "block 1")
NETWORKS = 3

Network = dict[str, dict[str, Tensor]]


@pytest.fixture(scope="module")
def prompts(tiny_task) -> icl.FixedPrompts:
    """More prompts than are read; of one family another number."""
    own = tiny_task.sample(2 * N + 5, seed=1)
    names = {label: tuple(label.split("=")) for label in SHIFTED}
    shifted = {
        label: icl.shifted(tiny_task, name, float(value)).sample(2 * N + 5 if i else N, seed=1)
        for i, (label, (name, value)) in enumerate(names.items())
    }
    return icl.FixedPrompts({"in distribution": own, **shifted})


@pytest.fixture(scope="module")
def of_network(signing_model, prompts) -> Study:
    return icl.study(signing_model, prompts, n_prompts=N, n_controls=NETWORKS)


def collected(
    model: HookedModel, prompts: icl.FixedPrompts, hooks: Mapping[str, str]
) -> tuple[Network, dict[str, Tensor]]:
    """What a user would save: activations and predictions of all prompts, each batch as the study reads it."""
    sizes = {label: len(of) for label, of in prompts.families.items()}
    split = split_rows(sizes, N, N, seed=0)
    found: Network = {}
    said = {}
    for label, of in prompts.families.items():
        found[label] = {site: torch.zeros(len(of), 16, 16) for site in hooks}
        said[label] = torch.zeros(len(of), of.n_points)
        parts = [split.scored[label], *([split.fit] if label == "in distribution" else [])]
        for rows in parts:
            part = icl.Prompts(xs=of.xs[rows], ys=of.ys[rows])
            with torch.no_grad():
                said[label][rows] = model(part.xs, part.ys)
            for site, hook in hooks.items():
                found[label][site][rows] = collect(model, part, hook)[hook]
    return found, said


@pytest.fixture(scope="module")
def given(signing_model, tiny_config, prompts, of_network) -> dict[str, Any]:
    hooks = {site.label: site.hook for site in of_network.sites if site.label in SITES}
    networks = [signing_model, *untrained_networks(tiny_config, NETWORKS, seed=0)]
    (own, said), *others = [collected(network, prompts, hooks) for network in networks]
    return {
        "families": own,
        "controls": [acts for acts, _ in others],
        "predictions": said,
        "control_predictions": [says for _, says in others],
        "targets": {label: of.ys for label, of in prompts.families.items()},
        "inputs": {label: of.xs for label, of in prompts.families.items()},
    }


@pytest.fixture(scope="module")
def whole(given) -> ActivationStudy:
    return icl.activation_study(**given, n_prompts=N)


EXACT = {"rtol": 1e-10, "atol": 1e-12}


def assert_same_site(own: SiteRecord, theirs: SiteRecord) -> None:
    for name in ("spectrum", "spectrum_std", "leading_value", "cosines_within", "cosines_with_id"):
        torch.testing.assert_close(getattr(own, name), getattr(theirs, name), **EXACT)
    for name in ("overlap", "alignment", "swap_ratio"):
        torch.testing.assert_close(getattr(own.scores, name), getattr(theirs.scores, name), **EXACT)
    np.testing.assert_allclose(
        [own.overlap_within, own.overlap_with_id], [theirs.overlap_within, theirs.overlap_with_id], **EXACT
    )


@pytest.mark.parametrize("label", ["in distribution", *SHIFTED])
def test_spectra_and_signatures_are_those_of_the_network(whole, of_network, label):
    surveys = zip([whole.survey, *whole.untrained], [of_network.survey, *of_network.untrained], strict=True)
    for own, theirs in surveys:
        for site in SITES:
            assert_same_site(own.families[label].sites[site], theirs.families[label].sites[site])


def test_detection_and_its_controls_are_those_of_the_network(whole, of_network):
    assert whole.ood.norms_of == "prompts"
    assert list(whole.ood.shifts) == list(SHIFTED)
    pd.testing.assert_frame_equal(whole.ood.to_frame(), of_network.ood.to_frame(), **EXACT)
    assert whole.ood.to_frame()["auroc_norms"].iloc[0] > 0.9
    for name in ("pooled", "within_mean", "partial"):
        own, theirs = (getattr(found.ood.correlation, name) for found in (whole, of_network))
        np.testing.assert_allclose([own.value, own.low, own.high], [theirs.value, theirs.low, theirs.high], **EXACT)


def test_all_detectors_are_those_of_the_network(whole, of_network):
    theirs = of_network.detectors.to_frame().drop(index="null space of the read-out", level=0)  # activations have none
    own = whole.detectors.to_frame()
    assert list(own.index) == list(theirs.index)
    tested = ["p_holm"]  # over one detector less
    pd.testing.assert_frame_equal(own.drop(columns=tested), theirs.drop(columns=tested), **EXACT)
    for name, found in whole.detectors.detectors.items():
        other = of_network.detectors.detectors[name]
        numbers = [
            (d.mean.value, d.correlation, d.untrained_correlation, d.aurc.value, d.gain.low) for d in (found, other)
        ]
        np.testing.assert_allclose(*numbers, **EXACT)
        excesses = [(d.excess.value, *d.excess.controls) for d in (found, other) if d.excess is not None]
        assert len(excesses) in (0, 2)
        np.testing.assert_allclose(*excesses or ([0], [0]), **EXACT)


def test_reports_on_one_site_agree_as_well(whole, signing_model, prompts):
    how = {"n_prompts": N, "n_controls": NETWORKS, "seed": 0}
    ood, detectors = icl.ood_report(signing_model, prompts, **how), icl.detector_report(signing_model, prompts, **how)
    pd.testing.assert_frame_equal(whole.ood.to_frame(), ood.to_frame(), **EXACT)
    theirs = detectors.to_frame().drop(index="null space of the read-out", level=0)
    same = ["auroc", "auroc_untrained", "aupr_out", "fpr95_ood_positive", "detection_error"]
    pd.testing.assert_frame_equal(whole.detectors.to_frame()[same], theirs[same], **EXACT)


def test_likeness_of_sites_is_that_of_the_network(whole, of_network):
    places = [of_network.similarity.sites.index(site) for site in SITES]
    assert whole.similarity.sites == SITES
    for name in ("cka", "procrustes"):
        theirs = getattr(of_network.similarity, name)[places][:, places]
        torch.testing.assert_close(getattr(whole.similarity, name), theirs, **EXACT, equal_nan=True)
        theirs = getattr(of_network.similarity, f"untrained_{name}")[:, places][:, :, places]
        torch.testing.assert_close(getattr(whole.similarity, f"untrained_{name}"), theirs, **EXACT, equal_nan=True)


def test_claims_have_the_numbers_of_the_network(whole, of_network):
    claims = [name for name in whole.verdicts if not name.startswith("detector: ")]
    assert claims == ["spectra", "shared directions", "detection", "score and error"]
    assert {name for name in of_network.verdicts if name.startswith("detector: ")} - set(whole.verdicts) <= {
        "detector: null space of the read-out"
    }
    for name, own in whole.verdicts.items():
        theirs = of_network.verdicts[name]
        np.testing.assert_allclose([own.value, *own.controls], [theirs.value, *theirs.controls], **EXACT)
        assert own.level == pytest.approx(0.05 / len(whole.verdicts))  # fewer claims than there
        assert theirs.level < own.level
    assert whole.verdicts["shared directions"].excess > 0.1  # what was planted; two controls are too few for a verdict


def test_two_controls_give_verdicts_and_one_gives_none(given):
    own, *controls = (
        {label: acts["block 1"] for label, acts in network.items()}
        for network in [given["families"], *given["controls"]]
    )
    alone = {**given, "families": own, "control_predictions": None}
    for n in range(3):
        found = icl.activation_study(**alone | {"controls": controls[:n]}, n_prompts=N)
        assert set(found.verdicts) == (set(found.numbers) if n == 2 else set())
        assert {"spectra", "shared directions", "detection", "score and error"} <= set(found.numbers)
        assert found.n_controls == n
        assert ("controls=[{...}, {...}]" in found.without_verdicts) == (n < 2)


def test_without_prompts_the_norms_of_activations_are_the_baseline(given, whole):
    found = icl.activation_study(given["families"], controls=given["controls"], n_prompts=N)
    assert found.ood.norms_of == "activations"
    assert found.ood.correlation is None
    assert found.ood.errors == {}
    for label in SHIFTED:
        assert found.ood.shifts[label].signature.auroc == whole.ood.shifts[label].signature.auroc
    last = {label: sites["block 1"] for label, sites in given["families"].items()}
    split = split_rows({label: len(acts) for label, acts in last.items()}, N, N, seed=0)
    lengths = {label: last[label][rows].double().flatten(1).norm(dim=1).log() for label, rows in split.scored.items()}
    fit = last["in distribution"][split.fit].double().flatten(1).norm(dim=1).log()
    for label in SHIFTED:
        inside, outside = ((lengths[name] - fit.mean()).square() for name in ("in distribution", label))
        auroc = float((outside[:, None] > inside[None]).double().mean())
        assert found.ood.shifts[label].norms.auroc == pytest.approx(auroc, abs=1e-12)
    norms = found.detectors.detectors["‖activations‖"]
    assert (norms.reads, norms.excess) == ("norms of activations", None)
    assert found.detectors.baseline == "norms of activations"
    assert list(norms.untrained) == list(SHIFTED)
    assert found.detectors.loss == "unknown"
    assert np.isnan(norms.aurc.value)
    assert "|model - ridge|" not in found.detectors.detectors


def test_with_predictions_and_targets_alone_the_loss_is_the_error(given):
    found = icl.activation_study(
        given["families"], predictions=given["predictions"], targets=given["targets"], n_prompts=N
    )
    assert found.detectors.loss == "error"
    split = split_rows({label: len(ys) for label, ys in given["targets"].items()}, N, N, seed=0)
    for label, rows in split.scored.items():
        ys, said = given["targets"][label], given["predictions"][label]
        errors = (said.double() - ys.double())[rows].square().mean(1) / ys.double().square().mean()
        torch.testing.assert_close(found.ood.errors[label], errors, rtol=1e-12, atol=1e-14)
    assert "score and error" in found.numbers


class Arrays:
    """Something that numpy can convert, and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


class Exchanged:
    """Something that speaks DLPack, and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **how: Any) -> Any:
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class Sliced:
    """A dataset of another library, which reads what is sliced and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.most = array, array.shape, 0

    def __getitem__(self, which: slice) -> np.ndarray:
        part = self._array[which]
        self.most = max(self.most, len(part))
        return part


def normal(n: int, pos: int = 6, width: int = 5, *, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (scale * generator.standard_normal((n, pos, width)) + 4 * np.eye(width)[0]).astype(np.float32)


FAMILIES = {"in distribution": normal(40), "other": normal(20, scale=2.0, seed=1)}

KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "a tensor": torch.from_numpy,
    "a tensor that wants gradients": lambda a: torch.from_numpy(a).requires_grad_(),
    "float64": lambda a: a.astype(np.float64),
    "another byte order": lambda a: a.astype(">f4"),
    "Fortran's order": np.asfortranarray,
    "every second of more": lambda a: np.repeat(a, 2, axis=0)[::2],
    "__array__": Arrays,
    "__dlpack__": Exchanged,
    "a sliced dataset": Sliced,
}


def same(found: ActivationStudy, other: ActivationStudy) -> None:
    pd.testing.assert_frame_equal(found.to_frame(), other.to_frame(), rtol=1e-6)
    pd.testing.assert_frame_equal(found.ood.to_frame(), other.ood.to_frame(), rtol=1e-6)


@pytest.fixture(scope="module")
def plain() -> ActivationStudy:
    return icl.activation_study(FAMILIES)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_arrays_of_every_kind_give_the_same(kind, plain):
    same(icl.activation_study({label: kind(a) for label, a in FAMILIES.items()}), plain)


def test_sixteen_bits_are_read_as_what_they_are():
    halves = {label: a.astype(np.float16) for label, a in FAMILIES.items()}
    same(icl.activation_study(halves), icl.activation_study({k: a.astype(np.float32) for k, a in halves.items()}))
    brains = {label: torch.from_numpy(a).bfloat16() for label, a in FAMILIES.items()}
    same(icl.activation_study(brains), icl.activation_study({label: b.float() for label, b in brains.items()}))


def test_bfloat16_arrays_of_numpy():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    brains = {label: a.astype(ml_dtypes.bfloat16) for label, a in FAMILIES.items()}
    same(icl.activation_study(brains), icl.activation_study({k: b.astype(np.float32) for k, b in brains.items()}))


def test_datasets_are_read_slice_by_slice():
    given = {label: Sliced(np.repeat(a, 20, axis=0)) for label, a in FAMILIES.items()}
    icl.activation_study(given)
    assert 0 < given["in distribution"].most <= 64 * 6  # a batch, and what stands between its samples


def test_of_a_batch_nothing_is_kept_but_one_vector_per_prompt():
    rows = torch.randn(4, 100, 5)
    for pooling in ("last", "mean"):
        assert pooled(rows, pooling).untyped_storage().nbytes() == 4 * 5 * 4


def test_families_may_differ_in_positions_and_the_fit_does_not_depend_on_them(plain):
    longer = {"first": FAMILIES["in distribution"], "longer": normal(20, 9, seed=2), "other": FAMILIES["other"]}
    found = icl.activation_study(longer)
    assert list(found.families.by_label) == ["in distribution", "longer", "other"]
    assert "Gram ranges" in found.detectors.left_out
    assert "Gram ranges" not in found.detectors.detectors
    assert found.ood.shifts["other"].signature.auroc == plain.ood.shifts["other"].signature.auroc
    assert "Gram ranges" in plain.detectors.detectors


def test_families_as_large_as_the_reference_are_pairs_of_it():
    own = FAMILIES["in distribution"]
    found = icl.activation_study({"in distribution": own, "same": own.copy()})
    scores = found.ood.scores
    torch.testing.assert_close(scores["same"], scores["in distribution"], rtol=0, atol=0)  # and none was fitted
    assert found.ood.shifts["same"].signature.auroc_interval == (0.5, 0.5)


def test_names_tell_families_apart_whatever_their_order():
    own = {"train": FAMILIES["in distribution"], "other": FAMILIES["other"]}
    turned = dict(reversed(own.items()))
    targets = {label: a[:, :, 0] for label, a in own.items()}
    said = {label: 2 * ys for label, ys in targets.items()}
    straight = icl.activation_study(own, controls=[own] * 2, targets=targets, predictions=said)
    mixed = icl.activation_study(own, controls=[turned] * 2, targets=dict(reversed(targets.items())), predictions=said)
    assert mixed.numbers == straight.numbers
    assert mixed.verdicts["shared directions"].controls == (mixed.verdicts["shared directions"].value,) * 2


def test_one_family_and_one_site():
    found = icl.activation_study({"mine": FAMILIES["in distribution"]})
    assert (found.detectors, found.similarity, found.numbers) == (None, None, {})
    assert {"detectors", "similarity", "errors", "heads"} <= set(found.absent)
    assert found.main_site.label == "activations"
    assert found.to_dict()["auroc"] == {}


def test_conventions_are_named_and_used():
    found = icl.activation_study(FAMILIES, tokens="y", center=True, k=9, pooling="mean")
    assert (found.conventions.k, found.conventions.k_asked, found.conventions.tokens) == (3, 9, "y")
    assert found.detectors.pooling == "mean"
    left = icl.activation_study(FAMILIES, side="left")
    assert left.survey.signatures["activations"].reference.shape[-1] == 6


def test_progress_counts_every_sample_of_every_network():
    told: list[tuple[int, str]] = []
    icl.activation_study(FAMILIES, controls=[FAMILIES] * 2, tick=lambda done, who: told.append((done, who)))
    assert sum(done for done, _ in told) == 3 * 60
    assert {who for _, who in told} == {"these activations", "untrained network 1", "untrained network 2"}


def test_the_result_shows_itself(whole):
    assert len(repr(whole)) < 300
    assert set(whole.to_frame()["family"]) == {"in distribution", *SHIFTED}
    assert whole.plot().data
    assert "<div" in whole._repr_html_()
    plain = whole.to_dict()
    assert plain["claims"]["detection"]["verdict"] == whole.verdicts["detection"].verdict
    assert len(plain["families"]) == 9


HOLED = FAMILIES["in distribution"].copy()
HOLED[3, 2, 1] = np.inf
TARGETS = {label: np.ones((len(a), 3)) for label, a in FAMILIES.items()}

REFUSED: dict[str, tuple[tuple[Any, dict[str, Any]], str]] = {
    "nothing": (({}, {}), "at least one family, got none"),
    "a list": (({"a": [[1.0]]}, {}), "needs an array .numpy, torch, .*, got list"),
    "texts": (({"a": np.array(["b"])}, {}), "needs real numbers, got <U1"),
    "complex": (({"a": torch.zeros(40, 2, 2, dtype=torch.complex64)}, {}), "needs real numbers, got torch.complex64"),
    "two axes": (({"a": np.zeros((40, 2))}, {}), r"\[sample pos width\], got the shape \[40, 2\]"),
    "a number": (({"a": np.float32(1)}, {}), "needs an axis of samples"),
    "few": (({"a": FAMILIES["other"][:15]}, {}), "at least 16 samples in distribution"),
    "few of another": ((FAMILIES | {"b": normal(7)}, {}), "8 of each other family"),
    "infinity": (({"a": HOLED}, {}), "finite activations, got NaN or infinity in 'in distribution'"),
    "widths": ((FAMILIES | {"b": normal(20, width=4)}, {}), "one width at each site, got 5 and, in 'b', 4"),
    "left lengths": ((FAMILIES | {"b": normal(20, 9)}, {"side": "left"}), r"one number of positions .*\[6, 9\]"),
    "other sites": (({"a": {"s": normal(20)}, "b": {"t": normal(20)}}, {}), "the same sites in each family"),
    "sites of other sizes": (({"a": {"s": normal(20), "t": normal(21)}}, {}), "as many samples at each site"),
    "names in controls": (
        (FAMILIES, {"controls": [{"in distribution": normal(40), "c": normal(20)}]}),
        "the same families in control 1",
    ),
    "shapes in controls": (
        (FAMILIES, {"controls": [FAMILIES, FAMILIES | {"other": normal(19)}]}),
        r"the shape \[20, 6, 5\] in control 2",
    ),
    "too many asked": ((FAMILIES, {"n_prompts": 21}), "n_prompts from 8 to 20"),
    "predictions alone": ((FAMILIES, {"predictions": TARGETS}), "needs targets beside predictions"),
    "targets of some": ((FAMILIES, {"targets": {"other": TARGETS["other"]}}), "needs targets of each family"),
    "targets of another size": (
        (FAMILIES, {"targets": TARGETS | {"other": np.ones((3, 3))}}),
        "of the 20 samples of 'other'",
    ),
    "NaN in targets": (
        (FAMILIES, {"targets": TARGETS | {"other": np.full((20, 3), np.nan)}}),
        "NaN or infinity in targets",
    ),
    "a role": ((FAMILIES, {"tokens": "query"}), "interleaved tokens need a role"),
    "controls that say too little": (
        (FAMILIES, {"controls": [FAMILIES] * 2, "targets": TARGETS, "control_predictions": [TARGETS]}),
        "control_predictions of all 2 controls, got 1",
    ),
    "controls that say other points": (
        (
            FAMILIES,
            {
                "controls": [FAMILIES],
                "targets": TARGETS,
                "control_predictions": [TARGETS | {"other": np.ones((20, 2))}],
            },
        ),
        "predictions of control 1 for each target, got others in 'other'",
    ),
    "no such file": (("nowhere.npz", {}), "nowhere.npz cannot be read"),
}


@pytest.mark.parametrize(("arguments", "text"), REFUSED.values(), ids=REFUSED)
def test_one_sentence_says_what_does_not_fit(arguments, text):
    families, more = arguments
    with pytest.raises(icl.InputError, match=text) as refused:
        icl.activation_study(families, **more)
    assert "\n" not in str(refused.value)


KINDS_REFUSED = {
    "no mapping": (lambda: _reference(FAMILIES["other"]), "by the name of the family, got ndarray"),
    "a control that is none": (
        lambda: _network([], "control 1", "a", {"a": {}}),
        "same families in control 1 .*, got list",
    ),
    "one control": (lambda: _listed(FAMILIES, "controls"), "a list of untrained networks as controls, got dict"),
    "targets in a list": (
        lambda: _by_family({"a": 2}, "a", [], "targets", 2),
        "needs targets of each family .a., got list",
    ),
}


@pytest.mark.parametrize(("ask", "text"), KINDS_REFUSED.values(), ids=KINDS_REFUSED)
def test_another_kind_is_one_sentence(ask, text):
    with pytest.raises(icl.InputError, match=text):
        ask()
