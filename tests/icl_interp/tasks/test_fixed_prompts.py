"""Saved prompts where a task would draw them."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import icl_interp as icl
from icl_interp.errors import InputTypeError
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.predictors import least_squares, ridge
from icl_interp.tasks.fixed_prompts import REFERENCE, _read, holds_prompts, most_scored, split_rows
from icl_interp.tasks.references import _best_penalty, reference_predictors
from icl_interp.tasks.registry import task_to_config

TASK = icl.LinearRegression(3, noise_std=0.5, n_points=8)
OWN, LARGER = TASK.sample(40, seed=0), icl.shifted(TASK, "x_scale", 3.0).sample(40, seed=0)
LONGER, FEW = TASK.sample(25, 12, seed=1), TASK.sample(15, seed=2)


@pytest.fixture(scope="module")
def saved() -> icl.FixedPrompts:
    return icl.FixedPrompts({"mine": (OWN.xs.numpy(), OWN.ys.double()), "larger": LARGER, "longer": LONGER, "few": FEW})


def rows_in(xs: torch.Tensor, of: torch.Tensor) -> list[int]:
    """Which saved prompts these are."""
    return [next(i for i, known in enumerate(of) if torch.equal(known[: x.shape[0]], x)) for x in xs]


def test_the_first_family_is_the_reference_unless_one_is_named(saved):
    assert list(saved.families) == ["in distribution", "larger", "longer", "few"]
    assert REFERENCE == IN_DISTRIBUTION
    named = icl.FixedPrompts({"other": FEW, "in distribution": OWN})
    assert list(named.families) == ["in distribution", "other"]
    assert (named.default_points, named.n_dims) == (8, 3)
    assert "40 prompts of 8 points ('mine') and 3 other families, saved in arrays" in saved.describe()


def test_prompts_are_handed_out_as_they_are_and_none_twice(saved):
    drawn = saved.sample(40, seed=1)
    assert sorted(rows_in(drawn.xs, OWN.xs)) == list(range(40))
    rows = rows_in(drawn.xs, OWN.xs)
    torch.testing.assert_close(drawn.ys, OWN.ys[rows], rtol=0, atol=0)
    again, other = saved.sample(40, seed=1), saved.sample(40, seed=2)
    torch.testing.assert_close(again.xs, drawn.xs, rtol=0, atol=0)
    assert not torch.equal(other.xs, drawn.xs)
    shorter = saved.sample(5, 3, seed=1)
    torch.testing.assert_close(shorter.xs, drawn.xs[:5, :3], rtol=0, atol=0)


def test_what_is_fitted_is_scored_nowhere_and_pairs_stay_pairs(saved):
    fit, scored = saved.draw(12, seed=3)
    fitted, own, larger = (
        rows_in(fit.xs, OWN.xs),
        rows_in(scored[REFERENCE].xs, OWN.xs),
        rows_in(scored["larger"].xs, LARGER.xs),
    )
    assert not set(fitted) & set(own)
    assert own == larger
    assert rows_in(scored["few"].xs, FEW.xs) == list(range(12))
    assert len(fitted) == len(own) == 12


def test_the_split_of_saved_samples():
    split = split_rows({"a": 20, "b": 20, "c": 9}, 9, 10, seed=0)
    assert len(split.fit) == 10
    assert not set(split.fit) & set(split.scored["a"])
    assert split.scored["a"] == split.scored["b"] == sorted(split.scored["a"])
    assert split.scored["c"] == list(range(9))
    assert most_scored({"a": 21}) == 10
    assert most_scored({"a": 20, "b": 20, "c": 9}) == 9
    assert split_rows({"a": 20}, 9, 10, seed=1).fit != split.fit


def test_families_stand_where_shifts_do(saved):
    families = draw_families(saved, n_prompts=10, seed=0, max_points=11)
    assert list(families.by_label) == ["in distribution", "larger", "few"]
    assert list(families.errors_only) == ["longer"]  # whose activations have another shape
    assert families.errors_only["longer"].prompts.n_points == 11
    assert families.errors_only["longer"].first_unseen_point == 8
    assert any("longer is cut to 11 of its 12 points" in note for note in families.notes)
    assert families.by_label["larger"].label_second_moment == pytest.approx(float(LARGER.ys.double().square().mean()))
    some = draw_families(saved, shifts=["l*"], n_prompts=10)
    assert list(some.all_families) == ["in distribution", "larger", "longer"]
    assert list(draw_families(saved, shifts=["standard"], n_prompts=10).all_families) == ["in distribution"]


@pytest.mark.parametrize("name", ["x_scale=1/3", "other words", "größer", "{value}", "3"])
def test_a_family_may_have_any_name(name):
    saved = icl.FixedPrompts({"in distribution": OWN, name: LARGER})
    assert list(draw_families(saved, n_prompts=10).by_label) == ["in distribution", name]


def test_references_are_those_that_need_no_law(saved):
    known = reference_predictors(saved)
    assert "Bayes" not in known
    assert {"least squares", "ridge", "1-step GD", "10-step GD", "averaging"} <= {
        n for names in known.names.values() for n in names
    }
    assert not set(known.names[known.shown("ridge")]) & {"least squares"}  # labels are noisy
    clean = icl.FixedPrompts({"a": icl.LinearRegression(3, n_points=8).sample(40, seed=0)})
    assert "least squares" in reference_predictors(clean).names[reference_predictors(clean).shown("ridge")]


def test_the_penalty_of_ridge_is_the_best_on_the_prompts():
    prompts = TASK.sample(256, seed=5)
    penalty = _best_penalty(prompts)

    def loss(predictor) -> float:
        return float((predictor(prompts.xs, prompts.ys)[:, 1:] - prompts.ys[:, 1:]).square().mean())

    assert loss(ridge(penalty)) < loss(least_squares())
    law = icl.bayes_penalty(TASK)
    assert loss(ridge(penalty)) < 1.02 * loss(ridge(law))


def test_measures_of_one_call_each(saved, tiny_model):
    errors = icl.error_curves(tiny_model, saved, n_prompts=10)
    assert list(errors.families) == ["in distribution", "larger", "few", "longer"]
    found = icl.ood_report(tiny_model, saved, shifts=["larger"], n_prompts=12, n_controls=2)
    assert found.shifts["larger"].norms.auroc > 0.9
    probes = icl.linear_probes(tiny_model, saved, n_prompts=20, n_controls=0)
    assert "least squares" in probes.targets
    assert {"moment vector", "least-squares weights"} <= set(probes.left_out)
    assert icl.spectral_signature(tiny_model, saved.sample(40, seed=0), n_controls=0).scores.overlap.shape == (20,)
    assert icl.layer_readouts(tiny_model, saved, n_prompts=20, n_controls=0).sites[0] == "read-in"


def test_use_of_the_signature_is_fitted_and_asked_on_different_prompts(saved, tiny_model, monkeypatch):
    taken = []

    def stop(*given: object) -> None:
        taken.extend(given)
        raise StopIteration

    monkeypatch.setattr("icl_interp.measure.subspace_use._Signature", stop)
    with pytest.raises(StopIteration):
        icl.signature_use(tiny_model, saved, hook="blocks.1.hook_resid_post", n_prompts=12)
    fit, given = (part for part in taken if isinstance(part, icl.Prompts))
    assert not set(rows_in(fit.xs, OWN.xs)) & set(rows_in(given.xs, OWN.xs))


def test_a_study_leaves_out_what_needs_a_law(saved, tiny_model):
    found = icl.study(tiny_model, saved, n_prompts=10, n_controls=2, shifts=["larger", "few"])
    assert found.absent["agreement"] == "It asks each prompt at fresh queries, and saved prompts have none."
    assert found.detectors.shifts == ["larger", "few"]
    assert any("no law of them is known" in note for note in found.families.notes)
    assert found.task is saved


def test_the_default_number_of_prompts_is_what_there_is(saved, tiny_model):
    found = icl.study(tiny_model, saved, n_controls=0, shifts=["larger"])
    assert len(found.families.fit) == saved.most_prompts == 15  # of `few`, whose prompts are drawn as well


def test_no_label_is_guessed_better_by_a_constant_than_by_what_is_learned(tiny_model):
    """A network that says the mean label has learned nothing in context."""
    xs = torch.randn(40, 8, 3, generator=torch.Generator().manual_seed(0))
    ys = 5 + 0.1 * torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    saved = icl.FixedPrompts({"a": (xs, ys), "b": (xs, ys + 1)})
    assert saved.mean_label() == pytest.approx(5, abs=0.05)

    class Mean(type(tiny_model)):
        def forward(self, xs, ys, *, points=None):
            return torch.full_like(super().forward(xs, ys, points=points), 5.0)

    constant = icl.build_model(tiny_model.cfg, seed=0)
    constant.__class__ = Mean
    found = icl.study(constant, saved, n_prompts=16, n_controls=2)
    assert found.verdicts["in-context learning"].value < 0.05


def test_files_are_read(tmp_path, saved):
    arrays = {f"{label}.{part}": getattr(p, part) for label, p in saved.families.items() for part in ("xs", "ys")}
    np.savez(tmp_path / "p.npz", **{name: value.numpy() for name, value in arrays.items()})
    save_file({name: value.contiguous() for name, value in arrays.items()}, tmp_path / "p.safetensors")
    for name in ("p.npz", "p.safetensors"):
        found = icl.FixedPrompts(tmp_path / name)
        assert found.digest == saved.digest
        assert f"saved in {name}" in found.describe()
        assert holds_prompts(tmp_path / name)
    assert not holds_prompts(tmp_path / "nothing.npz")


def test_equal_prompts_are_equal_tasks(saved):
    again = icl.FixedPrompts({"mine": OWN, "larger": LARGER, "longer": LONGER, "few": FEW})
    assert again == saved
    assert hash(again) == hash(saved)
    assert icl.FixedPrompts({"mine": OWN}) != saved
    restored = pickle.loads(pickle.dumps(saved))
    assert restored == saved
    torch.testing.assert_close(restored.sample(3, seed=0).xs, saved.sample(3, seed=0).xs, rtol=0, atol=0)
    shorter = saved.model_copy(update={"n_points": 5})
    assert shorter.sample(2, seed=0).n_points == 5


def test_checkpoints_do_not_hold_them(saved, tiny_model, tmp_path):
    with pytest.raises(icl.InputError, match="cannot hold saved prompts as its task, got 40 prompts"):
        task_to_config(saved)
    with pytest.raises(icl.InputError, match=r"give it when the file is read \(task=, --task prompts.npz\)"):
        icl.save_checkpoint(tmp_path / "a.pt", tiny_model, task=saved)
    assert not list(tmp_path.iterdir())
    path = icl.save_checkpoint(tmp_path / "a.pt", tiny_model)
    found = icl.load_checkpoint(path, task=saved).task
    assert (found.digest, found.n_points) == (saved.digest, 7)  # as many as training is assumed to have had


def test_a_file_without_order_names_the_reference(tmp_path):
    save_file({"b.xs": OWN.xs, "b.ys": OWN.ys, "a.xs": FEW.xs, "a.ys": FEW.ys}, tmp_path / "p.safetensors")
    with pytest.raises(icl.InputError, match="keeps no order of its arrays needs a family named 'in distribution'"):
        icl.FixedPrompts(tmp_path / "p.safetensors")
    np.savez(tmp_path / "p.npz", **{"b.xs": OWN.xs, "b.ys": OWN.ys, "a.xs": FEW.xs, "a.ys": FEW.ys})
    assert len(icl.FixedPrompts(tmp_path / "p.npz").families["in distribution"]) == 40


REFUSED = {
    "nothing": ({}, "at least one family, got none"),
    "no pair": ({"a": OWN.xs}, r"needs \(xs, ys\) of 'in distribution', got Tensor"),
    "three": ({"a": (OWN.xs, OWN.ys, OWN.ys)}, r"needs \(xs, ys\)"),
    "shapes": ({"a": (OWN.xs, OWN.ys[:, :3])}, r"got shapes \[40, 8, 3\] and \[40, 3\]"),
    "widths": ({"a": OWN, "b": (OWN.xs[..., :2], OWN.ys)}, "inputs of one width"),
    "NaN": ({"a": (OWN.xs, torch.full_like(OWN.ys, torch.nan))}, "NaN or inf in ys of 'in distribution'"),
    "texts": ({"a": (np.array(["b"]), OWN.ys)}, "needs real numbers"),
}


@pytest.mark.parametrize(("given", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_prompts_is_refused(given, text):
    with pytest.raises(icl.InputError, match=text):
        icl.FixedPrompts(given)


def test_another_kind_is_refused():
    with pytest.raises(InputTypeError, match=r"by the name of the family, or a file, got tuple; write FixedPrompts"):
        _read((OWN.xs, OWN.ys))


def test_more_than_was_saved_is_refused(saved, tiny_model):
    with pytest.raises(icl.InputError, match="has 40 prompts of 8 points in distribution, got 41 of 8 asked for"):
        saved.sample(41, seed=0)
    with pytest.raises(icl.InputError, match="got 4 of 9 asked for"):
        saved.sample(4, 9, seed=0)
    with pytest.raises(icl.InputError, match="of which 15 can be scored with as many in distribution to fit, got 16"):
        icl.ood_report(tiny_model, saved, n_prompts=16)
    with pytest.raises(icl.InputError, match="prompts of 8 points, got n_points=9"):
        icl.FixedPrompts({"a": OWN}, n_points=9)
    with pytest.raises(icl.InputError, match="save another family beside"):
        icl.study(tiny_model, icl.FixedPrompts({"a": OWN}), n_controls=0)
    with pytest.raises(icl.InputError, match=r"as shifts \(larger, longer, few\), got 'x_scale=3'"):
        icl.error_curves(tiny_model, saved, shifts=["x_scale=3"], n_prompts=8)
