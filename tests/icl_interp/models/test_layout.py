import pytest
import torch

from icl_interp.models.architecture import OwnRoles
from icl_interp.models.layout import (
    _ROLES,
    _interleave,
    answering_positions,
    join,
    lay_out,
    position_names,
    positions_of,
    separate,
)

XS = torch.tensor([[[1.0, 2.0], [4.0, 5.0]], [[7.0, 8.0], [10.0, 11.0]]])
YS = torch.tensor([[3.0, 6.0], [9.0, 12.0]])


def test_each_label_follows_its_input_in_coordinate_0() -> None:
    expected = torch.tensor([
        [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0], [6.0, 0.0]],
        [[7.0, 8.0], [9.0, 0.0], [10.0, 11.0], [12.0, 0.0]],
    ])
    torch.testing.assert_close(_interleave(XS, YS), expected, rtol=0, atol=0)


def test_one_dimension_one_point() -> None:
    tokens = _interleave(torch.tensor([[[1.0]]]), torch.tensor([[2.0]]))
    torch.testing.assert_close(tokens, torch.tensor([[[1.0], [2.0]]]), rtol=0, atol=0)


def test_dtype_is_kept_and_gradients_pass() -> None:
    xs, ys = XS.double().requires_grad_(), YS.double().requires_grad_()
    tokens = _interleave(xs, ys)
    assert tokens.dtype == torch.float64
    tokens.sum().backward()
    torch.testing.assert_close(xs.grad, torch.ones_like(xs), rtol=0, atol=0)
    torch.testing.assert_close(ys.grad, torch.ones_like(ys), rtol=0, atol=0)


def test_roles_take_apart_what_interleave_put_together() -> None:
    tokens = _interleave(XS, YS)
    torch.testing.assert_close(tokens[:, positions_of("x")], XS, rtol=0, atol=0)
    torch.testing.assert_close(tokens[:, positions_of("y"), 0], YS, rtol=0, atol=0)
    torch.testing.assert_close(tokens[:, positions_of("all")], tokens, rtol=0, atol=0)


def test_separate_tokens_keep_coordinate_0_for_labels() -> None:
    expected = torch.tensor([
        [[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 4.0, 5.0], [6.0, 0.0, 0.0]],
        [[0.0, 7.0, 8.0], [9.0, 0.0, 0.0], [0.0, 10.0, 11.0], [12.0, 0.0, 0.0]],
    ])
    torch.testing.assert_close(separate(XS, YS), expected, rtol=0, atol=0)
    torch.testing.assert_close(lay_out("separate", XS, YS), expected, rtol=0, atol=0)


def test_joint_tokens_hide_the_label_of_the_query() -> None:
    expected = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], [[7.0, 8.0, 9.0], [10.0, 11.0, 0.0]]])
    torch.testing.assert_close(join(XS, YS), expected, rtol=0, atol=0)
    torch.testing.assert_close(lay_out("joint", XS, YS), expected, rtol=0, atol=0)
    torch.testing.assert_close(join(XS[:, :1], YS[:, :1])[:, 0, 2], torch.zeros(2), rtol=0, atol=0)


def test_a_sequence_is_its_values() -> None:
    torch.testing.assert_close(lay_out("sequence", XS[..., :1], YS), XS[..., :1], rtol=0, atol=0)


ROLES_BY_HAND = [
    ("interleaved", "x", [0, 2, 4]),
    ("interleaved", "y", [1, 3, 5]),
    ("separate", "x", [0, 2, 4]),
    ("separate", "y", [1, 3, 5]),
    ("joint", "context", [0, 1, 2, 3, 4]),
    ("joint", "query", [5]),
    ("sequence", "x", [0, 1, 2, 3, 4, 5]),
    *((tokens, "all", [0, 1, 2, 3, 4, 5]) for tokens in ("interleaved", "separate", "joint", "sequence")),
]


@pytest.mark.parametrize(("tokens", "role", "positions"), ROLES_BY_HAND)
def test_roles_of_each_layout(tokens: str, role: str, positions: list[int]) -> None:
    assert list(range(6))[positions_of(role, tokens=tokens)] == positions


def test_every_role_is_tried() -> None:
    tried = {(tokens, role) for tokens, role, _ in ROLES_BY_HAND}
    assert tried == {(tokens, role) for tokens, roles in _ROLES.items() for role in roles}


@pytest.mark.parametrize(
    ("tokens", "positions"),
    [("interleaved", [0, 2, 4]), ("separate", [0, 2, 4]), ("joint", [5]), ("sequence", [0, 1, 2, 3, 4, 5])],
)
def test_predictions_are_at_x_tokens_or_the_query(tokens: str, positions: list[int]) -> None:
    assert list(range(6))[answering_positions(tokens)] == positions


@pytest.mark.parametrize(("tokens", "role"), [("joint", "x"), ("joint", "y"), ("sequence", "y"), ("separate", "query")])
def test_roles_that_a_layout_lacks_are_refused(tokens: str, role: str) -> None:
    with pytest.raises(ValueError, match=f"{tokens} tokens need a role out of all, .*, got '{role}'"):
        positions_of(role, tokens=tokens)


def test_an_unknown_role_is_refused() -> None:
    # With the type-check hook the annotation refuses it first, under another class.
    with pytest.raises((ValueError, TypeError), match="'z'"):
        positions_of("z")


@pytest.mark.parametrize(
    ("tokens", "names"),
    [
        ("interleaved", "x1 y1 x2 y2"),
        ("separate", "x1 y1 x2 y2"),
        ("joint", "xy1 xy2 xy3 query"),
        ("sequence", "x1 x2 x3 x4"),
        (OwnRoles(lambda n: ["bos", "context", *["x", "y"] * n]), "bos1 context1 x1 y1"),
    ],
    ids=["interleaved", "separate", "joint", "sequence", "own"],
)
def test_positions_are_named_by_what_they_hold(tokens: object, names: str) -> None:
    assert position_names(tokens, 4) == tuple(names.split())
