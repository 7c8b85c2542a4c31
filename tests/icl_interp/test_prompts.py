import pytest
import torch
from jaxtyping import TypeCheckError

from icl_interp import Prompts
from icl_interp.prompts import _check_prompts, derive_seed, stream


def numbered_prompts() -> Prompts:
    return Prompts(
        xs=torch.arange(24.0).reshape(4, 3, 2),
        ys=torch.arange(12.0).reshape(4, 3),
        ws=torch.arange(8.0).reshape(4, 2),
        source="counting",
    )


def assert_exactly_equal(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_derive_seed_is_the_hash_that_the_docstring_states() -> None:
    # sha256("inputs:0") begins with these 8 bytes (computed with coreutils' sha256sum), and is halved.
    assert derive_seed(0, "inputs") == 0x2846F83CC19708E2 >> 1


def test_derived_seeds_are_distinct_large_and_fit_torch() -> None:
    seeds = {derive_seed(seed, f"{name} {k}") for seed in (-1, 0, 1, 2**70) for name in "ab" for k in range(250)}
    assert len(seeds) == 2000
    # 2000 uniform draws from [0, 2**63) fall below 2**40 with probability 2000 / 2**23 < 3e-4; the seeds are fixed.
    assert 2**40 < min(seeds) <= max(seeds) < 2**63


def test_a_seed_and_a_name_cannot_trade_characters() -> None:
    assert derive_seed(1, "step 1") != derive_seed(11, "step ")


def test_stream_is_fresh_each_time() -> None:
    first = torch.randn(5, generator=stream(3, "noise"))
    torch.randn(7, generator=stream(3, "noise"))
    assert_exactly_equal(torch.randn(5, generator=stream(3, "noise")), first)


def test_streams_of_other_names_and_seeds_are_uncorrelated() -> None:
    n = 10_000
    draws = [torch.randn(n, generator=stream(seed, name)) for seed in (0, 1) for name in ("inputs", "weights", "noise")]
    correlations = torch.corrcoef(torch.stack(draws))
    # Independent samples correlate with standard deviation 1 / sqrt(n) = 0.01; five of these.
    torch.testing.assert_close(correlations, torch.eye(6), rtol=0, atol=0.05)


def test_the_global_generator_is_untouched() -> None:
    before = torch.get_rng_state()
    torch.randn(5, generator=stream(0, "inputs"))
    assert_exactly_equal(torch.get_rng_state(), before)


def test_sizes_and_repr() -> None:
    prompts = numbered_prompts()
    assert (len(prompts), prompts.n_points, prompts.n_dims) == (4, 3, 2)
    assert repr(prompts) == "Prompts(4 prompts x 3 points x 2 dims, counting)"
    assert repr(Prompts(xs=torch.zeros(1, 1, 1), ys=torch.zeros(1, 1))) == (
        "Prompts(1 prompts x 1 points x 1 dims, no source)"
    )


@pytest.mark.parametrize(
    "which", [slice(1, 3), slice(None, None, 2), slice(-1, None), slice(4, 9), slice(None)], ids=str
)
def test_slicing_takes_the_same_prompts_of_each_tensor(which: slice) -> None:
    prompts = numbered_prompts()
    part = prompts[which]
    assert_exactly_equal(part.xs, prompts.xs[which])
    assert_exactly_equal(part.ys, prompts.ys[which])
    assert_exactly_equal(part.ws, prompts.ws[which])
    assert part.source == "counting"


def test_slicing_and_moving_without_weights() -> None:
    prompts = Prompts(xs=torch.zeros(4, 3, 2), ys=torch.zeros(4, 3))
    assert prompts[:2].ws is None
    assert prompts.to("cpu").ws is None


def test_moving_keeps_everything() -> None:
    prompts = numbered_prompts()
    moved = prompts.to(torch.device("cpu"))
    assert_exactly_equal(moved.xs, prompts.xs)
    assert_exactly_equal(moved.ys, prompts.ys)
    assert_exactly_equal(moved.ws, prompts.ws)
    assert moved.source == "counting"


@pytest.mark.parametrize(
    ("xs", "ys", "message"),
    [
        ((4, 3), (4, 3), r"got shapes \(4, 3\) and \(4, 3\)"),
        ((4, 3, 2), (4, 3, 1), r"got shapes \(4, 3, 2\) and \(4, 3, 1\)"),
        ((4, 3, 2), (3, 4), r"got shapes \(4, 3, 2\) and \(3, 4\); put the pairs of one prompt along the second axis"),
    ],
    ids=["xs without dim", "ys as a column", "transposed ys"],
)
def test_shapes_that_do_not_fit_are_refused(xs: tuple[int, ...], ys: tuple[int, ...], message: str) -> None:
    # Through the private check: under the type-check hook the dataclass refuses them first.
    with pytest.raises(ValueError, match=message):
        _check_prompts(torch.zeros(xs), torch.zeros(ys))
    with pytest.raises(TypeCheckError):
        Prompts(xs=torch.zeros(xs), ys=torch.zeros(ys))


@pytest.mark.parametrize("ws", [(3, 2), (4, 3), (4,)], ids=["too few", "too wide", "no dim"])
def test_weights_that_do_not_fit_are_refused(ws: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one row of ws for each of 4 prompts of 2 dimensions, got shape .*; leave"):
        _check_prompts(torch.zeros(4, 3, 2), torch.zeros(4, 3), torch.zeros(ws))
