"""Linear attention of other people: von Oswald et al.'s parameters and merged matrices."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from icl_interp import InputError, LinearRegression, UniformRegression, load_checkpoint

CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # sums of some hundred float32 products


def von_oswald_parameters(
    *, n_dims: int = 3, d_position: int = 4, heads: int = 1, layers: int = 1, seed: int = 0
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Parameters as Haiku keeps them, large enough that every part matters."""
    rng, width, inner = np.random.default_rng(seed), n_dims + 1 + d_position, heads * (n_dims + 1)
    found = {}
    for layer in range(layers):
        module = f"transformer/multi_head_attention{f'_{layer}' if layer else ''}"
        for kind in ("key", "query", "value"):
            found[f"{module}/{kind}"] = {"w": rng.normal(0, 0.3, (width, inner)).astype("f4")}
        found[f"{module}/linear"] = {"w": rng.normal(0, 0.3, (inner, width)).astype("f4")}
    return found


def von_oswald_prediction(
    parameters: dict[str, dict[str, NDArray[Any]]],
    xs: NDArray[Any],
    ys: NDArray[Any],
    *,
    d_position: int = 4,
    heads: int = 1,
    layers: int = 1,
    include_query: bool = False,
    sign: int = -1,
    channel: int = -1,
) -> NDArray[Any]:
    """The authors' forward pass, in numpy and float64, with the query as the last of xs."""
    predictions = []
    for x, y in zip(xs.astype("f8"), ys.astype("f8"), strict=True):
        places, pairs = np.arange(len(x))[:, None], np.arange(d_position) // 2
        angles = places / 10_000 ** (2 * pairs / max(d_position, 1))
        waves = np.where(np.arange(d_position) % 2, np.cos(angles), np.sin(angles))
        h = np.concatenate([x, np.append(y[:-1], 0)[:, None], waves], axis=1)
        for layer in range(layers):
            module = f"transformer/multi_head_attention{f'_{layer}' if layer else ''}"
            module = module if f"{module}/key" in parameters else "transformer/multi_head_attention"
            keys = h if include_query else h[:-1]
            q, k, v = (
                np.split(tokens @ parameters[f"{module}/{kind}"]["w"], heads, axis=1)
                for tokens, kind in ((h, "query"), (keys, "key"), (keys, "value"))
            )
            written = [one_q @ one_k.T @ one_v for one_q, one_k, one_v in zip(q, k, v, strict=True)]
            h = h + np.concatenate(written, axis=1) @ parameters[f"{module}/linear"]["w"]
        predictions.append(sign * h[-1, channel])
    return np.array(predictions)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "one layer with positions": ({}, {}, {}),
    "no positions": ({"d_position": 0}, {}, {}),
    "two heads": ({"heads": 2}, {"n_heads": 2}, {}),
    "two layers": ({"layers": 2}, {}, {}),
    "one layer, applied three times": ({}, {"layout": {"layers": 3}}, {"layers": 3}),
    "the query a key, plus the label": (
        {},
        {"layout": {"query": "key", "sign": 1, "channel": "label"}},
        {"include_query": True, "sign": 1, "channel": 3},
    ),
    "a channel by its number": ({}, {"layout": {"channel": "5"}}, {"channel": 5}),
}


@pytest.mark.parametrize(("make", "how", "forward"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", ["pickle", "npz"])
def test_parameters_of_von_oswald(
    tmp_path: Path, kind: str, make: dict[str, Any], how: dict[str, Any], forward: dict[str, Any]
) -> None:
    parameters = von_oswald_parameters(**make)
    if kind == "pickle":
        path = tmp_path / "params.pkl"
        path.write_bytes(pickle.dumps(parameters))
    else:
        path = tmp_path / "params.npz"
        np.savez(path, **{f"{module}/w": parts["w"] for module, parts in parameters.items()})
    found = load_checkpoint(path, **how)
    assert type(found.model).__name__ == "HookedLinearAttention"
    assert found.task == UniformRegression(n_dims=3)
    rng = np.random.default_rng(1)
    xs, ys = rng.normal(size=(6, 5, 3)).astype("f4"), rng.normal(size=(6, 5)).astype("f4")
    expected = von_oswald_prediction(parameters, xs, ys, **{**make, **forward})
    assert np.abs(expected).mean() > 0.03
    answers = found.model(torch.from_numpy(xs), torch.from_numpy(ys))
    np.testing.assert_allclose(answers[:, -1].detach(), expected, **CLOSE)
    hooked, _ = found.model.run_with_cache(torch.from_numpy(xs), torch.from_numpy(ys))
    np.testing.assert_allclose(hooked[:, 0].detach(), expected, **CLOSE)


def test_what_is_assumed_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "params.pkl").write_bytes(pickle.dumps(von_oswald_parameters()))
    found = load_checkpoint(tmp_path / "params.pkl")
    task, points, heads, tokens = found.assumptions
    assert "inputs uniform on [-0.5, 0.5]" in task
    assert points.startswith("The file does not say how many points prompts had in training: 4 are assumed")
    assert "1 is assumed" in heads
    assert tokens == (
        "The file does not say how tokens are built and read: a token is x of 3 coordinates, y, then 4 channels of "
        "position, weights are applied once, the query is no key, attention is not divided, the prediction is minus "
        "what is read, the last channel of the query is read; say otherwise with `--layout channel=label` or `layout=`."
    )
    layout = {"n_dims": 3, "layers": 1, "query": "no_key", "divide": "none", "sign": -1, "channel": "last"}
    told = load_checkpoint(tmp_path / "params.pkl", n_heads=1, task=LinearRegression(3, n_points=4), layout=layout)
    assert told.assumptions == ()
    assert told.model.cfg == found.model.cfg


def test_parameters_inside_a_training_state(tmp_path: Path) -> None:
    parameters = von_oswald_parameters()
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(parameters))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"params": parameters, "opt": {"mu": parameters}, "step": 3}))
    bare, inside = (load_checkpoint(tmp_path / name).model.state_dict() for name in ("a.pkl", "b.pkl"))
    assert all(torch.equal(weight, inside[name]) for name, weight in bare.items())


def changed(**parts: Any) -> dict[str, Any]:
    return {**von_oswald_parameters(), **parts}


MODULE = "transformer/multi_head_attention"
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a norm": (changed(norm={"scale": np.ones(8)}), {}, r"nothing else, got unexpected norm/scale: .*are not read"),
    "a part less": (changed(**{f"{MODULE}/key": {}}), {}, "no key in layer 0: "),
    "shapes": (changed(**{f"{MODULE}/key": {"w": np.ones((8, 3))}}), {}, r"got key \[8, 3\], query \[8, 4\], "),
    "whole numbers": (changed(**{f"{MODULE}/key": {"w": np.ones((8, 4), "i4")}}), {}, "dense floating-point tensors"),
    "NaN": (changed(**{f"{MODULE}/key": {"w": np.full((8, 4), np.nan)}}), {}, "need to be finite"),
    "heads": (changed(), {"n_heads": 3}, r"number of heads among 1, 2, 4, .* got 3"),
    "a key": (changed(), {"layout": {"tokens": "joint"}}, r"keys among n_dims \(.*channel \(.*\), got tokens: "),
    "a word": (changed(), {"layout": {"query": "yes"}}, r"query out of no_key, key, got 'yes'; pass --layout query="),
    "a sign": (changed(), {"layout": {"sign": 2}}, r"sign out of -1, minus, 1, plus, got '2'"),
    "a channel": (changed(), {"layout": {"channel": 8}}, r"channel to be a whole number from 0 to 7, got 8"),
    "a channel's word": (changed(), {"layout": {"channel": "y"}}, r"label, last or a number from 0 to 7, got 'y'"),
    "dimensions": (changed(), {"layout": {"n_dims": 8}}, r"n_dims to be a whole number from 1 to 7, got 8"),
    "layers": (
        von_oswald_parameters(layers=2),
        {"layout": {"layers": 3}},
        r"layers where it holds one set of weights, got 2 sets",
    ),
}


@pytest.mark.parametrize(("parameters", "how", "message"), REFUSED.values(), ids=REFUSED)
def test_parameters_that_are_refused(
    tmp_path: Path, parameters: dict[str, Any], how: dict[str, Any], message: str
) -> None:
    (tmp_path / "params.pkl").write_bytes(pickle.dumps(parameters))
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(tmp_path / "params.pkl", **how)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["siroten-lsa1", "siroten-curriculum-easy2hard"])
@pytest.mark.parametrize("file", ["params.pkl", "params.npz"])
def test_parameters_of_others(foreign: Path, name: str, file: str) -> None:
    folder = foreign / name
    expected = {key: torch.from_numpy(value) for key, value in np.load(folder / "expected.npz").items()}
    found = load_checkpoint(folder / file)
    assert (
        found.model.cfg.d_position == json.loads((folder / "run_metadata.json").read_text())["config"]["pos_enc_size"]
    )
    xs = torch.cat([expected["xs"], expected["query_x"][:, None]], dim=1)
    ys = torch.cat([expected["ys"], torch.zeros(32, 1)], dim=1)
    torch.testing.assert_close(found.model(xs, ys, points=[-1])[:, 0], expected["pred"], **CLOSE)
    answer, cache = found.model.run_with_cache(xs, ys)
    torch.testing.assert_close(answer[:, 0], expected["pred"], **CLOSE)
    torch.testing.assert_close(cache["hook_embed"], expected["tokens"], **CLOSE)
    torch.testing.assert_close(cache["resid_post", 0], expected["resid_post_0"], **CLOSE)
    torch.testing.assert_close(cache["pattern", 0][..., :-1], expected["attn_0"], **CLOSE)


# Merged matrices.


def merged_prediction(
    w: NDArray[Any], xs: NDArray[Any], ys: NDArray[Any], *, value: Any = None, divide: int = 0
) -> NDArray[Any]:
    """P X X^T W X / (columns - divide), bottom right entry, with tokens as columns."""
    predictions = []
    for x, y in zip(xs.astype("f8"), ys.astype("f8"), strict=True):
        tokens = np.concatenate([x, np.append(y[:-1], 0)[:, None]], axis=1).T
        out = tokens @ tokens.T @ w @ tokens / (tokens.shape[1] - divide)
        predictions.append((out if value is None else value @ out)[-1, -1])
    return np.array(predictions)


RNG = np.random.default_rng(2)
W, P = RNG.normal(size=(4, 4)), RNG.normal(size=(4, 4)).astype("f4")
MERGED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "one matrix": ({"W": W}, {}, {}),
    "rows meet the query": ({"KQ": W.T}, {"rows": "query"}, {}),
    "two matrices, divided by pairs, residual": (
        {"W_KQ": W, "W_PV": P},
        {"divide": "pairs", "residual": "yes"},
        {"value": P, "divide": 1},
    ),
}


@pytest.mark.parametrize(("arrays", "layout", "forward"), MERGED.values(), ids=MERGED)
def test_merged_matrices(
    tmp_path: Path, arrays: dict[str, Any], layout: dict[str, Any], forward: dict[str, Any]
) -> None:
    np.savez(tmp_path / "w.npz", **arrays)
    xs, ys = RNG.normal(size=(6, 5, 3)).astype("f4"), RNG.normal(size=(6, 5)).astype("f4")
    expected = merged_prediction(W, xs, ys, **forward)
    paths = [tmp_path / "w.npz"]
    if len(arrays) == 1:
        paths.append(tmp_path / "w.npy")
        np.save(paths[-1], next(iter(arrays.values())))
    for path in paths:
        answers = load_checkpoint(path, layout=layout).model(torch.from_numpy(xs), torch.from_numpy(ys))
        np.testing.assert_allclose(answers[:, -1].detach(), expected, rtol=1e-5, atol=1e-5)


def test_what_is_assumed_of_a_merged_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", W)
    found = load_checkpoint(tmp_path / "w.npy")
    assert found.task == LinearRegression(3, n_points=7)
    assert found.assumptions[-1] == (
        "The file does not say how tokens are built and read: rows of the matrix meet keys, attention is not added to "
        "its input, the query is a key, attention is divided by the number of tokens, the prediction is plus what is "
        "read, the label's channel of the query is read; say otherwise with `--layout channel=0` or `layout=`."
    )
    assert any("need not have been trained" in note for note in found.notes)
    with pytest.raises(InputError, match="a merged matrix needs one head, got 2"):
        load_checkpoint(tmp_path / "w.npy", n_heads=2)


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (4,), (2, 3, 3)])
def test_an_array_that_is_no_square_matrix(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "w.npy", np.ones(shape))
    with pytest.raises(InputError, match="needs a format that is known, got one Tensor"):
        load_checkpoint(tmp_path / "w.npy")


def test_a_merged_matrix_of_others(foreign: Path) -> None:
    expected = {key: torch.from_numpy(value) for key, value in np.load(foreign / "spinglass-W2/expected.npz").items()}
    model = load_checkpoint(foreign / "spinglass-W2" / "W-2.npy").model
    xs = torch.cat([expected["xs"], expected["query_x"][:, None]], dim=1)
    ys = torch.cat([expected["ys"], torch.zeros(32, 1)], dim=1)
    torch.testing.assert_close(model(xs, ys, points=[-1])[:, 0], expected["pred"], **CLOSE)
    answer, cache = model.run_with_cache(xs, ys)
    torch.testing.assert_close(answer[:, 0], expected["pred"], **CLOSE)
    torch.testing.assert_close(cache["hook_embed"], expected["tokens"].mT, rtol=0, atol=0)
    torch.testing.assert_close(cache["resid_post", 0], expected["attn_out"].mT, rtol=1e-5, atol=5e-6)
