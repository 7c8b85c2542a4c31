"""Where the answer is carried: planted carriers, twins of prompts, stretches of positions, one answer by two ways."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import icl_interp as icl
from icl_interp.errors import InputError
from icl_interp.measure.patching_map import QUERY, _kinds, _places, _stretches, twins

TASK = icl.LinearRegression(3, n_points=6)


class Courier(nn.Module):
    """Reads x1, y1, x2, ...; its one block copies the first label to every later x token, where it is the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Identity(), _Copy()

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        tokens = xs.new_zeros(len(xs), 2 * xs.shape[1], xs.shape[2] + 1)
        tokens[:, 0::2, :-1], tokens[:, 1::2, -1] = xs, ys
        return self.block(self.embed(tokens))[:, 0::2, -1]


class _Copy(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        out = tokens.clone()
        out[:, 2::2, -1] = tokens[:, 1:2, -1]
        return out


@pytest.fixture(scope="module")
def courier():
    return icl.wrap(Courier(), sites={"read-in": "embed", "block 0": "block"}, make=Courier)


@pytest.fixture(scope="module")
def carried(courier):
    return icl.patching_map(courier, TASK, n_prompts=8)


def test_the_position_that_alone_carries_the_answer_restores_all_of_it(carried):
    assert carried.places == ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "x5", "y5", QUERY)
    expected = np.zeros((2, 11))
    expected[0, 1] = expected[1, 10] = 1.0  # the label at first, the query once it was copied
    np.testing.assert_allclose(carried.restored, expected, atol=1e-12)
    drawn = np.array(carried.plot().data[0].z, dtype=float)
    np.testing.assert_allclose(drawn, expected, atol=1e-12)


def test_kinds_of_positions_are_patched_together(carried):
    assert carried.kinds == (QUERY, "x tokens", "y tokens")
    np.testing.assert_allclose(carried.restored_by_kind, [[0, 0, 1], [1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(carried.low, carried.restored_by_kind, atol=1e-12)  # the same in every prompt
    assert carried.carriers() == {"read-in": "y tokens", "block 0": QUERY}
    assert "block 0: query" in repr(carried)


def test_sites_that_are_blocks_can_be_chosen(carried):
    assert carried.plot().layout.meta == {"y": [{}, {"layer": 0}]}


def test_an_answer_that_labels_do_not_move_has_nothing_to_restore():
    class Deaf(Courier):
        def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
            return 0 * super().forward(xs, ys) + xs[..., 0]

    found = icl.patching_map(
        icl.wrap(Deaf(), sites={"read-in": "embed", "block 0": "block"}, make=Deaf), TASK, n_prompts=4
    )
    assert bool(found.restored.isnan().all())
    assert bool(found.restored_by_kind.isnan().all())


def test_going_on_from_a_site_gives_what_a_whole_pass_gives(tiny_config, tiny_task):
    plain, heard = (icl.build_model(tiny_config, seed=11) for _ in range(2))
    heard.add_hook("hook_embed", lambda *_, **__: None, is_permanent=True)
    found = [icl.patching_map(model, tiny_task, n_prompts=4) for model in (plain, heard)]
    np.testing.assert_allclose(found[0].restored, found[1].restored, atol=1e-4)  # float32
    np.testing.assert_allclose(found[0].restored[-1, -1], 1.0, atol=1e-4)


@pytest.mark.parametrize("family", ["lsa", "ltb"])
def test_linear_attention_moves_the_answer_from_examples_to_the_query(family):
    model = icl.build_model(icl.ModelConfig(family=family, n_dims=3, n_points=6), seed=0)
    found = icl.patching_map(model, TASK, n_prompts=8)
    assert found.places == ("xy1", "xy2", "xy3", "xy4", "xy5", QUERY)
    np.testing.assert_allclose(found.restored_by_kind, [[0, 1], [1, 0]], atol=1e-5)
    np.testing.assert_allclose(found.restored.sum(1), 1.0, atol=1e-5)  # the answer is linear in each example


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits_give_the_same_map(dtype):
    config = icl.ModelConfig(family="lsa", n_dims=3, n_points=6, init="normal", init_std=0.5)
    found = icl.patching_map(icl.build_model(config, seed=0).to(dtype), TASK, n_prompts=8)
    np.testing.assert_allclose(found.restored_by_kind, [[0, 1], [1, 0]], atol=0.05)  # 8 bits of mantissa


def test_twins_share_inputs_or_at_least_the_query():
    clean, other, said = twins(TASK, 4, 6, seed=0)
    torch.testing.assert_close(clean.xs, other.xs, rtol=0, atol=0)
    assert bool((clean.ys != other.ys).all())
    assert said == "the same inputs and the labels of another function"
    clean, other, said = twins(icl.AffineRecurrence(1), 4, 6, seed=0)
    torch.testing.assert_close(clean.xs[:, -1], other.xs[:, -1], rtol=0, atol=0)
    torch.testing.assert_close(clean.xs[:-1, :-1], other.xs[1:, :-1], rtol=0, atol=0)
    assert said == "the same query and the examples of another prompt"


def test_positions_become_stretches_where_they_are_many():
    names = ["x1", "y1", "x2", "y2", "x3", "y3", QUERY]
    assert _stretches(names, 48) == {name: [i] for i, name in enumerate(names)}
    assert _stretches(names, 4) == {"x1 to y1": [0, 1], "x2 to y2": [2, 3], "x3 to y3": [4, 5], QUERY: [6]}
    assert _stretches(names, 3) == {"x1 to x2": [0, 1, 2], "y2 to y3": [3, 4, 5], QUERY: [6]}
    assert _stretches(names, 0) == {}
    assert _kinds(["xy1", "xy2", QUERY]) == {QUERY: [2], "examples": [0, 1]}


def test_a_study_patches_positions_where_that_is_cheap():
    small = icl.ModelConfig(n_dims=6, n_points=13, n_layers=4, n_heads=4, d_model=64)
    large = icl.ModelConfig(n_dims=20, n_points=41, n_layers=12, n_heads=8, d_model=256)
    assert (_places(small, 13, 5), _places(large, 41, 13)) == (26, 0)


def test_without_places_the_kinds_are_drawn(courier):
    found = icl.patching_map(courier, TASK, n_prompts=4, n_places=0)
    assert found.places == ()
    assert list(found.plot().data[0].x) == list(found.kinds)
    assert set(found.to_frame()["patched"]) == {"kind"}
    with pytest.raises(InputError, match="one of kinds, got 'positions'"):
        found.plot("positions")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_prompts": 1}, "at least 2 prompts of 2 points, got 1 prompts of 6 points"),
        ({"n_points": 1}, "got 32 prompts of 1 points"),
        ({"n_places": -1}, "n_places from 0, got -1"),
    ],
)
def test_what_cannot_be_patched_is_refused(courier, options, message):
    with pytest.raises(InputError, match=message):
        icl.patching_map(courier, TASK, **options)


def test_defaults(tiny_model, tiny_task):
    found = icl.patching_map(tiny_model, tiny_task)
    assert (found.n_prompts, found.sites) == (32, ("read-in", "block 0", "block 1"))
