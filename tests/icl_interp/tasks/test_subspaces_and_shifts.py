"""A training subspace and the axes of a shift are drawn independently, also at their default seeds."""

import pytest
import torch

from icl_interp.tasks.categorical import CategoricalRegression
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.shifts.select import shifted
from icl_interp.tasks.subspaces import random_basis, subspace_covariance
from probes.subspaces import principal_angles

PURPOSES = ["subspace", "shift", "features"]


@pytest.mark.parametrize("one", PURPOSES)
@pytest.mark.parametrize("other", PURPOSES)
def test_bases_of_two_purposes_have_no_common_direction(one, other):
    bases = [random_basis(8, seed=0, purpose=purpose)[:, :4].T.contiguous() for purpose in (one, other)]
    angles = principal_angles(*bases)
    same = one == other
    # random 4-dimensional subspaces of 8 dimensions: no angle is 0 or 90 degrees
    assert bool((angles < 1e-6).all()) is same
    assert bool(((angles > 1e-3) & (angles < torch.pi / 2 - 1e-3)).all()) is not same


@pytest.mark.parametrize("complement", [False, True], ids=["subspace", "complement"])
@pytest.mark.parametrize("field", ["x_cov", "w_cov"])
@pytest.mark.parametrize("name", ["x_half_subspace", "x_skewed"])
def test_shifts_apply_to_random_subspaces(name, field, complement):
    task = LinearRegression(8, **{field: subspace_covariance(8, 4, complement=complement)})
    moved = shifted(task, name)
    ratio = moved.label_second_moment() / task.label_second_moment()
    assert 0.05 < ratio < 1.9  # neither the same subspace, where it doubles, nor an orthogonal one, where it vanishes


def test_half_subspace_keeps_something_of_every_category():
    xs = shifted(CategoricalRegression(8), "x_half_subspace").sample(64, seed=0).xs
    assert float(xs.norm(dim=-1).min()) > 1e-3
