import pytest
import torch

from icl_interp.models.layout import interleave, positions_of

XS = torch.tensor([[[1.0, 2.0], [4.0, 5.0]], [[7.0, 8.0], [10.0, 11.0]]])
YS = torch.tensor([[3.0, 6.0], [9.0, 12.0]])


def test_each_label_follows_its_input_in_coordinate_0() -> None:
    expected = torch.tensor([
        [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0], [6.0, 0.0]],
        [[7.0, 8.0], [9.0, 0.0], [10.0, 11.0], [12.0, 0.0]],
    ])
    torch.testing.assert_close(interleave(XS, YS), expected, rtol=0, atol=0)


def test_one_dimension_one_point() -> None:
    tokens = interleave(torch.tensor([[[1.0]]]), torch.tensor([[2.0]]))
    torch.testing.assert_close(tokens, torch.tensor([[[1.0], [2.0]]]), rtol=0, atol=0)


def test_dtype_is_kept_and_gradients_pass() -> None:
    xs, ys = XS.double().requires_grad_(), YS.double().requires_grad_()
    tokens = interleave(xs, ys)
    assert tokens.dtype == torch.float64
    tokens.sum().backward()
    torch.testing.assert_close(xs.grad, torch.ones_like(xs), rtol=0, atol=0)
    torch.testing.assert_close(ys.grad, torch.ones_like(ys), rtol=0, atol=0)


def test_roles_take_apart_what_interleave_put_together() -> None:
    tokens = interleave(XS, YS)
    torch.testing.assert_close(tokens[:, positions_of("x")], XS, rtol=0, atol=0)
    torch.testing.assert_close(tokens[:, positions_of("y"), 0], YS, rtol=0, atol=0)
    torch.testing.assert_close(tokens[:, positions_of("all")], tokens, rtol=0, atol=0)


def test_an_unknown_role_is_refused() -> None:
    # With the type-check hook the annotation refuses it first, under another class.
    with pytest.raises((ValueError, TypeError), match="'z'"):
        positions_of("z")
