"""Subspaces by name in configs, and the sentences for laws that cannot be read."""

import pytest
import torch
import yaml

from icl_interp import (
    AffineRecurrence,
    LinearRegression,
    SineRegression,
    Subspace,
    shifted,
    subspace_covariance,
    task_from_config,
    task_to_config,
)
from icl_interp.tasks.registry import changed_task


@pytest.mark.parametrize("field", ["x_cov", "w_cov"])
@pytest.mark.parametrize("text", ["{rank: 2}", "{rank: 2, seed: 3}", "{rank: 2, seed: 3, complement: true}"])
def test_a_named_subspace_is_its_covariance(field: str, text: str) -> None:
    words = yaml.safe_load(text)
    named = LinearRegression(5, **{field: words})
    rank, options = words["rank"], {key: value for key, value in words.items() if key != "rank"}
    written = LinearRegression(5, **{field: subspace_covariance(5, rank, **options)})
    a, b = named.sample(4, seed=0), written.sample(4, seed=0)
    torch.testing.assert_close(a.xs, b.xs)
    torch.testing.assert_close(a.ys, b.ys)


def test_configs_keep_the_name() -> None:
    task = LinearRegression(5, w_cov={"rank": 2, "complement": True})
    assert task.w_cov == Subspace(rank=2, complement=True)
    assert task_to_config(task)["w_cov"] == {"rank": 2, "seed": 0, "complement": True}
    assert task_from_config(yaml.safe_load(yaml.safe_dump(task_to_config(task)))) == task
    assert hash(task) == hash(LinearRegression(5, w_cov=Subspace(rank=2, complement=True)))


def test_shifts_turn_weights_out_of_a_named_subspace() -> None:
    task = LinearRegression(5, w_cov={"rank": 2})
    outside = shifted(task, "w_complement")
    torch.testing.assert_close(outside.weight_cov @ task.weight_cov, torch.zeros(5, 5).double(), rtol=0, atol=1e-9)
    complement = LinearRegression(5, w_cov={"rank": 2, "complement": True})
    torch.testing.assert_close(outside.weight_cov, complement.weight_cov, rtol=0, atol=1e-9)  # configs hold digits


REFUSED = {
    "text": (
        {"w_cov": "wide"},
        "w_cov needs one number or a list of numbers, a matrix .* a subspace .*, got 'wide'",
    ),
    "texts": ({"x_cov": ["a", "b"]}, "x_cov needs one number .*got .'a', 'b'."),
    "flag": ({"x_mean": True}, "x_mean needs one number or a list of numbers, got True"),
    "a subspace for a mean": ({"w_mean": {"rank": 2}}, "w_mean needs one number or a list of numbers, got"),
    "other keys": ({"w_cov": {"rank": 2, "sed": 1}}, "w_cov needs a subspace as {rank: r, .*got .*'sed'"),
    "no rank": ({"w_cov": {"seed": 1}}, "w_cov needs a subspace as {rank: r, .*rank is a whole number"),
    "rank": ({"w_cov": {"rank": 9}}, "w_cov: subspace_covariance needs a rank from 1 to 4, got 9"),
    "nothing outside": ({"w_cov": {"rank": 4, "complement": True}}, "needs a rank from 1 to 3, got 4"),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
def test_laws_that_cannot_be_read_are_refused_in_one_sentence(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        LinearRegression(4, **fields)
    assert len(caught.value.errors()) == 1  # not one for each kind of value that would have done


@pytest.mark.parametrize("kind", [AffineRecurrence, SineRegression])
@pytest.mark.parametrize("n_dims", [0, 2])
def test_families_of_numbers_have_one_dimension(kind: type, n_dims: object) -> None:
    assert kind(n_dims=1).n_dims == kind().n_dims == 1
    with pytest.raises(ValueError, match=f"n_dims needs to be 1, since inputs .* are numbers, got {n_dims!r}"):
        kind.model_validate({"n_dims": n_dims})


def test_another_family_of_a_wide_model_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"n_dims needs to be 1, .*got 4; give a model of n_dims=1, or another family"):
        changed_task(LinearRegression(4), {"family": "affine_recurrence"})
