"""The shared checks: each message once, even those that the type-check hook would hide."""

import pytest
import torch

from probes._core import checks

EYE = torch.eye(3)

VALUE_ERRORS = {
    "finite": (
        lambda: checks.finite("f", "xs", torch.tensor([1.0, torch.nan, torch.inf])),
        "f needs finite xs, got 2 NaN or infinite of 3 entries; look for",
    ),
    "NaN": (
        lambda: checks.no_nan("f", "xs", torch.tensor([torch.nan, torch.inf])),
        "f needs xs without NaN, got 1 NaN of 2;",
    ),
    "exact axes": (
        lambda: checks.axes("f", "xs", EYE, "sample"),
        r"f needs xs with axes \[sample\], got shape \(3, 3\); add",
    ),
    "open axes": (
        lambda: checks.axes("f", "xs", torch.ones(3), "*batch row col"),
        r"f needs xs with axes \[\*batch row col\], got shape \(3,\)",
    ),
    "empty axis": (
        lambda: checks.axes("f", "xs", torch.ones(2, 0, 3), "*batch row col"),
        r"at least one entry along row of xs, got shape \(2, 0, 3\)",
    ),
    "k": (lambda: checks.k("f", 4, 3, "the rank"), r"1 <= k <= 3 \(the rank\), got k=4; choose"),
    "option": (
        lambda: checks.option("f", "side", "top", ("right", "left")),
        "f needs side to be one of 'right', 'left', got 'top'; pick one",
    ),
    "shapes": (
        lambda: checks.same_shape("f", ("a", "b"), EYE, EYE[0]),
        r"a and b of one shape, got \(3, 3\) and \(3,\); expand",
    ),
    "lengths": (
        lambda: checks.same_length("f", ("xs", "ys"), 3, 4),
        "f needs as many xs as ys, got 3 and 4; align",
    ),
    "zero vector": (
        lambda: checks.nonzero("f", "a", torch.tensor([0.0, 1.0])),
        "non-zero directions in a, got 1 zero vectors; drop",
    ),
    "lengths of rows": (
        lambda: checks.orthonormal("f", "a", 2 * EYE),
        "orthonormal rows in a, got 3 rows of 3 dimensions .* by 3.0e.00; take them from",
    ),
    "too many rows": (lambda: checks.orthonormal("f", "a", torch.ones(2, 1)), "got 2 rows of 1 dim"),
    "count": (
        lambda: checks.count("f", "an n", 0, 1),
        "f needs an n of at least 1, got 0; give more",
    ),
    "confidence": (lambda: checks.confidence("f", 1.0), "0 < confidence < 1, got 1.0; 0.95"),
    "constant column": (
        lambda: checks.varies("f", "target", torch.tensor([[1.0, 2.0], [3.0, 2.0]])),
        "every target to vary, got target 1 constant at 2; leave it out",
    ),
    "ids of another shape": (
        lambda: checks.ids("f", "clusters", torch.ones(3, 1, dtype=torch.int64), 3),
        r"f needs clusters with axes \[sample\], got shape \(3, 1\)",
    ),
    "fewer ids": (
        lambda: checks.ids("f", "clusters", torch.ones(2, dtype=torch.int64), 3),
        "f needs as many samples as clusters, got 3 and 2; align",
    ),
    "not square": (
        lambda: checks.trace("f", "P", torch.ones(2, 3), 1),
        "f needs as many rows of P as columns, got 2 and 3",
    ),
    "sum of projectors": (
        lambda: checks.trace("f", "P", 4 * EYE, 3),
        "f needs a mean projector with trace k=3 as P, got trace 12; divide the sum over samples by their number",
    ),
    "share": (
        lambda: checks.share("f", "o", 1.5),
        r"f needs o in \[0, 1\], got 1.5; divide a sum by the number of its terms",
    ),
    "negative share": (lambda: checks.share("f", "o", -0.5), r"o in \[0, 1\], got -0.5"),
    "NaN share": (lambda: checks.share("f", "o", float("nan")), r"o in \[0, 1\], got nan"),
    "penalties": (
        lambda: checks.penalties("f", [1.0, -1.0]),
        r"positive finite penalties, got \[1.0, -1",
    ),
}


@pytest.mark.parametrize(("call", "message"), VALUE_ERRORS.values(), ids=VALUE_ERRORS)
def test_value_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0], "f needs a torch.Tensor as xs, got list; use torch.as_tensor"),
        (torch.ones(2, dtype=torch.int64), "f needs floating-point xs, got torch.int64; convert"),
        (torch.ones(2, dtype=torch.complex64), "got torch.complex64"),
    ],
    ids=["list", "integers", "complex"],
)
def test_type_errors(value: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        # Past the hook, as in a user's session: the undecorated function.
        checks.floating.__wrapped__("f", "xs", value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bool], ids=str)
def test_ids_are_integers(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"f needs integers as clusters, got {dtype}; number the clusters from 0"):
        checks.ids("f", "clusters", torch.ones(3, dtype=dtype), 3)


def test_a_constant_up_to_rounding_is_constant() -> None:
    tenth = torch.tensor([0.1 + 0.2, 0.3], dtype=torch.float64)[:, None]  # differ in the last digit
    with pytest.raises(ValueError, match="constant"):
        checks.varies("f", "target", tenth)
    checks.varies("f", "target", 1e-9 * torch.tensor([[1.0], [2.0]]))


def test_right_input_passes() -> None:
    checks.activations("f", "xs", torch.ones(2, 3, 4), "*batch row col")
    checks.orthonormal("f", "a", EYE[:2].half())
    checks.orthonormal("f", "a", torch.ones(0, 2, 3))
    checks.k("f", 3, 3, "the rank")
    checks.ids("f", "clusters", torch.tensor([7, -1, 7], dtype=torch.int32), 3)
    checks.trace("f", "P", EYE * (1 + 1e-6), 3)
    checks.share("f", "o", 1 + 1e-6)
