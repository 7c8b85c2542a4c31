from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icl_interp.checkpoints.hooked_transformer import is_hooked_transformer
from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.errors import CheckpointError
from icl_interp.tasks.linear_regression import LinearRegression

_DATA = Path(__file__).parents[2] / "data" / "hooked_transformer_3_9"
Contents = dict[str, Any]


@pytest.fixture
def contents() -> Contents:
    return torch.load(_DATA / "model.pt", weights_only=True)


def test_all_55_activations_are_those_that_transformer_lens_3_9_wrote() -> None:
    expected = np.load(_DATA / "model_expected.npz")
    model = load_checkpoint(_DATA / "model.pt").model
    seen = {}
    names = [name for name in expected.files if name not in ("tokens", "logits")]
    keep = [(name, lambda activation, hook: seen.__setitem__(hook.name, activation.detach())) for name in names]
    with torch.no_grad(), model.hooks(fwd_hooks=keep):
        seen["logits"] = model.forward_tokens(torch.from_numpy(expected["tokens"]))
    assert len(names) == 55
    assert set(seen) == {*names, "logits"}
    for name, ours in seen.items():
        theirs = torch.from_numpy(expected[name])
        # The bound that comes with the data: an exact float64 forward already differs by 1.3e-5 on large values.
        largest = theirs[theirs.isfinite()].abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * max(1, largest), msg=lambda m, n=name: f"{n}: {m}")


def test_another_weight_gives_other_activations(tmp_path: Path, contents: Contents) -> None:
    contents["state_dict"]["blocks.2.mlp.b_out"][0] += 0.01
    torch.save(contents, tmp_path / "a.pt")
    expected = np.load(_DATA / "model_expected.npz")
    with torch.no_grad():
        logits = load_checkpoint(tmp_path / "a.pt").model.forward_tokens(torch.from_numpy(expected["tokens"]))
    assert np.abs(logits.numpy() - expected["logits"]).max() > 1e-4


def test_what_was_understood_and_what_was_assumed() -> None:
    checkpoint = load_checkpoint(_DATA / "model.pt")
    assert checkpoint.origin == "HookedTransformer of TransformerLens"
    assert checkpoint.task == LinearRegression(6, n_points=7)
    assert (checkpoint.step, checkpoint.n_points_trained) == (None, 7)
    assert checkpoint.notes == (
        "model.pt was read as a HookedTransformer, with its read-in, in the layout 'interleaved'.",
    )
    task, points, layout = checkpoint.assumptions
    assert "`--task noise_std=0.5` or `task=`" in task
    assert "7 are assumed" in points
    assert layout.startswith("The file does not say how pairs become tokens: x1, y1, x2, y2, ... ")
    given = load_checkpoint(_DATA / "model.pt", task={"noise_std": 0.5, "n_points": 5})
    assert given.assumptions == (layout,)
    assert load_checkpoint(_DATA / "model.pt", n_heads=4).model.cfg == checkpoint.model.cfg


def test_a_person_may_say_the_layout(tmp_path: Path, contents: Contents) -> None:
    found = load_checkpoint(_DATA / "model.pt", layout={"tokens": "separate"})
    assert (found.model.cfg.tokens, found.model.cfg.n_dims, len(found.assumptions)) == ("separate", 5, 2)
    with pytest.raises(CheckpointError, match="one of interleaved, separate, joint, sequence, got 'spiral'"):
        load_checkpoint(_DATA / "model.pt", layout={"tokens": "spiral"})
    torch.save({**contents, "layout": "separate"}, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"the one in the file, which is 'separate', got 'joint'.*leave out --layout"
    ):
        load_checkpoint(tmp_path / "a.pt", layout={"tokens": "joint"})


def test_file_may_say_its_layout(tmp_path: Path, contents: Contents) -> None:
    torch.save({**contents, "layout": "separate"}, tmp_path / "a.pt")
    checkpoint = load_checkpoint(tmp_path / "a.pt")
    assert (checkpoint.model.cfg.tokens, checkpoint.model.cfg.n_dims, checkpoint.model.cfg.n_points) == (
        "separate",
        5,
        7,
    )
    assert len(checkpoint.assumptions) == 2


def test_without_read_in_the_token_table_reads_one_hot_tokens(tmp_path: Path, contents: Contents) -> None:
    table = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    weights = {**contents["state_dict"], "embed.W_E": table}
    torch.save({"cfg": contents["cfg"], "state_dict": weights}, tmp_path / "a.pt")
    checkpoint = load_checkpoint(tmp_path / "a.pt")
    torch.testing.assert_close(checkpoint.model.embed.W_E.detach(), table, rtol=0, atol=0)
    assert checkpoint.notes[0].endswith(
        "with its token table as the read-in of one-hot tokens, in the layout 'interleaved'."
    )


def _cfg(**changes: Any) -> Callable[[Contents], Contents]:
    return lambda c: {**c, "cfg": {**c["cfg"], **changes}}


def _weights(**changes: Any) -> Callable[[Contents], Contents]:
    return lambda c: {**c, "state_dict": {**c["state_dict"], **{n.replace("__", "."): w for n, w in changes.items()}}}


REFUSED: dict[str, tuple[Callable[[Contents], Contents], str]] = {
    "no cfg": (lambda c: c["state_dict"], "need its config beside them, which shapes do not tell, got none: .*save"),
    "cfg of another kind": (lambda c: {**c, "cfg": [1]}, "need its config beside them"),
    "rotary": (_cfg(positional_embedding_type="rotary"), "got positional_embedding_type='rotary'; keep .*a.pt"),
    "tensor in the cfg": (_cfg(attn_only=torch.ones(2)), r"a\.pt\.$"),
    "text for a size": (_cfg(d_mlp="wide"), r"a\.pt\.$"),
    "enormous": (_cfg(n_layers=10**9), "n_layers=1000000000 of the cfg, got 3"),
    "layout": (lambda c: {**c, "layout": "spiral"}, "one of interleaved, separate, joint, sequence, got 'spiral'"),
    "nan": (_weights(unembed__b_U=torch.full((1,), torch.nan)), r"got NaN or infinity in unembed\.b_U"),
    "no tensor": (_weights(unembed__b_U=3), r"something else under unembed\.b_U"),
    "shape": (_weights(unembed__b_U=torch.ones(2)), r"got unembed\.b_U \[2\] instead of \[1\]; .*a\.pt"),
    "no read-in": (lambda c: {n: c[n] for n in ("cfg", "state_dict")}, "one row and no read_in"),
    "read-in of another width": (
        lambda c: {**c, "read_in.weight": torch.ones(8, 6)},
        r"got embed\.W_E \[6, 8\] instead of \[6, 32\]",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, contents: Contents, change: Callable[[Contents], Contents], message: str) -> None:
    torch.save(change(contents), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_heads_may_not_contradict_the_file() -> None:
    with pytest.raises(CheckpointError, match=r"the one in the file, which is 4, got 2: .*leave out --heads"):
        load_checkpoint(_DATA / "model.pt", n_heads=2)


def test_weights_of_other_programs_are_not_taken() -> None:
    assert is_hooked_transformer({"blocks.0.attn.W_Q": torch.ones(1)})
    assert not is_hooked_transformer({"state_dict": [1]})
    assert not is_hooked_transformer({"conv1.weight": torch.ones(1)})
    assert not is_hooked_transformer(torch.ones(1))
