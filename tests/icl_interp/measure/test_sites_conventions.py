"""Each spectral convention, against a singular value decomposition written out."""

import numpy as np
import pytest
import torch

from icl_interp.measure.sites import Conventions

ACTIVATIONS = torch.randn(5, 8, 6, generator=torch.Generator().manual_seed(0))

CASES = {
    "defaults": Conventions(),
    "x tokens": Conventions(tokens="x"),
    "y tokens": Conventions(tokens="y"),
    "centred": Conventions(center=True),
    "left": Conventions(side="left"),
    "k = 1": Conventions(k=1),
    "k = 3": Conventions(k=3),
    "all at once": Conventions(tokens="y", center=True, side="left", k=1),
}
ROWS = {"all": [0, 1, 2, 3, 4, 5, 6, 7], "x": [0, 2, 4, 6], "y": [1, 3, 5, 7]}


@pytest.mark.parametrize("conventions", CASES.values(), ids=CASES)
def test_directions_are_those_of_numpy_s_svd(conventions):
    found = conventions.directions(ACTIVATIONS)
    for i, matrix in enumerate(ACTIVATIONS.double().numpy()):
        rows = matrix[ROWS[conventions.tokens]]
        rows = rows - conventions.center * rows.mean(0)
        left, values, right = np.linalg.svd(rows)
        vectors = {"left": left.T, "right": right}[conventions.side][: conventions.k]
        cosines = np.abs((found.directions[i].double().numpy() * vectors).sum(1))
        # float32 results of a float64 decomposition; signs are arbitrary
        np.testing.assert_allclose(cosines, 1, rtol=1e-5)
        # centring makes the smallest value an exact zero, which comes back as rounding of the largest
        np.testing.assert_allclose(found.singular_values[i], values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", ROWS)
def test_rows_are_a_view(tokens):
    rows = Conventions(tokens=tokens).rows(ACTIVATIONS)
    torch.testing.assert_close(rows, ACTIVATIONS[:, ROWS[tokens]], rtol=0, atol=0)
    assert rows.untyped_storage().data_ptr() == ACTIVATIONS.untyped_storage().data_ptr()


def test_every_convention_is_named():
    assert Conventions().describe() == "all tokens, uncentred, right singular vectors, k = 2"
    other = Conventions(tokens="x", center=True, side="left", k=3)
    assert other.describe() == "x tokens, centred, left singular vectors, k = 3"
    assert len({conventions.describe() for conventions in CASES.values()}) == len(CASES)


def test_more_directions_than_there_are_rows_are_refused():
    with pytest.raises(ValueError, match="k"):
        Conventions(tokens="x", k=5).directions(ACTIVATIONS)
