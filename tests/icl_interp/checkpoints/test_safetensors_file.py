import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.checkpoints.safe_load import _from_safetensors, _looks_like_safetensors, choose_file, load_weight_file
from icl_interp.errors import CheckpointError
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.linear_regression import LinearRegression


def _own(path: Path, model: HookedModel, **options: Any) -> Path:
    return save_checkpoint(path / "a.safetensors", model, **options)


def _header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


def test_everything_comes_back(tmp_path: Path, small_model: HookedModel) -> None:
    task = LinearRegression(3, noise_std=0.1, w_cov=[[2, 1, 0], [1, 2, 0], [0, 0, 0]])
    path = _own(
        tmp_path, small_model, task=task, step=7, n_points_trained=5, extra={"losses": [1.0, 0.1], "seed": None}
    )
    loaded, plain = load_checkpoint(path), load_checkpoint(save_checkpoint(tmp_path / "b.pt", small_model))
    assert loaded.model.cfg == small_model.cfg == plain.model.cfg
    for name, weight in small_model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], weight, rtol=0, atol=0)
    assert loaded.task == task.model_copy(update={"n_points": 5})
    assert (loaded.step, loaded.n_points_trained) == (7, 5)
    assert (loaded.extra, loaded.assumptions) == ({"losses": [1.0, 0.1], "seed": None}, ())


def test_other_programs_read_the_file(tmp_path: Path, small_model: HookedModel) -> None:
    path = _own(tmp_path, small_model, task=LinearRegression(3), step=7)
    weights = load_file(path)
    assert set(weights) == set(small_model.state_dict())
    metadata = _header(path)["__metadata__"]
    assert metadata["format"] == "pt"
    plain = json.loads(metadata["icl-interp"])
    assert (plain["format"], plain["format_version"], plain["step"]) == ("icl-interp", 1, 7)
    assert plain["model"] == small_model.cfg.model_dump(mode="json")
    assert plain["task"]["family"] == "linear_regression"


def test_extra_comes_back_as_json_has_it(tmp_path: Path, small_model: HookedModel) -> None:
    path = _own(tmp_path, small_model, extra={"sizes": (1, 2), "by_step": {10: 0.5}})
    assert load_checkpoint(path).extra == {"sizes": [1, 2], "by_step": {"10": 0.5}}


def test_weights_of_dtsip_may_come_in_this_format(tmp_path: Path, dtsip: Path, state: dict[str, Any]) -> None:
    save_file(state["model_state_dict"], tmp_path / "model_9.safetensors")
    loaded, same = load_checkpoint(tmp_path / "model_9.safetensors", n_heads=2), load_checkpoint(dtsip / "state.pt")
    assert loaded.step == 9
    for name, weight in same.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], weight, rtol=0, atol=0)


def test_views_do_not_drag_their_storage_along(tmp_path: Path, small_model: HookedModel) -> None:
    plain = _own(tmp_path, small_model).stat().st_size
    small_model.embed.W_E.data = torch.zeros(1000, 1000)[:3, :8]
    assert _own(tmp_path, small_model).stat().st_size == plain


def test_failed_save_leaves_the_old_file(
    tmp_path: Path, small_model: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _own(tmp_path, small_model, step=1)
    before = path.read_bytes()

    def fail(_: object) -> bytes:
        raise RuntimeError("halfway")

    monkeypatch.setattr("icl_interp.checkpoints.own.to_safetensors", fail)
    with pytest.raises(RuntimeError, match="halfway"):
        _own(tmp_path, small_model, step=2)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_newest_of_a_folder_may_be_of_this_format(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("step_1.pt", "step_20.safetensors", "step_3.pt", "step_99.txt"):
        (tmp_path / "checkpoints" / name).touch()
    assert choose_file(tmp_path).path.name == "step_20.safetensors"
    assert choose_file(tmp_path).note == ("Of 3 checkpoints in the folder the newest was taken, step_20.safetensors.")


def _with_header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


DAMAGED: dict[str, bytes] = {
    "header cut": _with_header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8))[:30],
    "body cut": _with_header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(4)),
    "shape larger than its bytes": _with_header(
        '{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,8]}}', bytes(8)
    ),
    "no JSON": _with_header("{nonsense}"),
    "plain data is no JSON": _with_header('{"__metadata__":{"icl-interp":"{nonsense"}}'),
    "plain data is a list": _with_header('{"__metadata__":{"icl-interp":"[1]"}}'),
    "deep plain data": _with_header(json.dumps({"__metadata__": {"icl-interp": "[" * 10**6}})),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_file_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"a whole \.safetensors file, got a damaged one \(.*\): .*a\.saf"
    ) as caught:
        load_weight_file(tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_bytes", [20, 300, 2000, 5000])
def test_a_file_cut_anywhere_is_damaged(tmp_path: Path, small_model: HookedModel, n_bytes: int) -> None:
    path = _own(tmp_path, small_model)
    assert path.stat().st_size > 5000
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match="got a damaged one"):
        load_checkpoint(path)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "newer": ({"format_version": 2}, r"reads format_version 1 at most, got 2: .*a\.safetensors; upgrade icl-interp"),
    "unknown key": ({"colour": 1}, "missing, unknown or misshapen colour: "),
    "enormous": ({"n_layers": 10**9}, "a block for each of the n_layers=1000000000 that the file states, got 2: "),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_checks_are_those_of_the_other_format(
    tmp_path: Path, small_model: HookedModel, changes: dict[str, Any], message: str
) -> None:
    path = _own(tmp_path, small_model)
    plain = json.loads(_header(path)["__metadata__"]["icl-interp"])
    model = {**plain["model"], **{k: v for k, v in changes.items() if k in plain["model"]}}
    outside = {k: v for k, v in changes.items() if k not in plain["model"]}
    metadata = {"icl-interp": json.dumps({**plain, **outside, "model": model})}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_nan_is_refused(tmp_path: Path, small_model: HookedModel) -> None:
    with torch.no_grad():
        small_model.embed.b_E[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"got NaN or infinity in embed\.b_E"):
        load_checkpoint(_own(tmp_path, small_model))


def test_format_is_known_by_its_first_bytes(tmp_path: Path, small_model: HookedModel) -> None:
    assert _looks_like_safetensors(_own(tmp_path, small_model).read_bytes()[:20])
    assert not _looks_like_safetensors(save_checkpoint(tmp_path / "a.pt", small_model).read_bytes()[:20])
    assert not _looks_like_safetensors(b"\x80\x02\x8a\nl\xfc\x9cF{")  # how torch's old pickles start, and a brace
    renamed = (tmp_path / "a.safetensors").rename(tmp_path / "b.pt")
    assert load_checkpoint(renamed).model.cfg == small_model.cfg


def test_tensors_without_plain_data_are_a_state_dict() -> None:
    from safetensors.torch import save

    contents = _from_safetensors(save({"w": torch.arange(3.0)}, metadata={"format": "pt"}))
    assert set(contents) == {"w"}
    torch.testing.assert_close(contents["w"], torch.arange(3.0), rtol=0, atol=0)
