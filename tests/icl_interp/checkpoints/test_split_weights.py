"""Weights that `save_pretrained` split into several files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from icl_interp.checkpoints.safe_load import choose_file, load_weight_file
from icl_interp.errors import CheckpointError

WEIGHTS = {"a": torch.arange(3.0), "b": torch.ones(2, 2), "c": torch.zeros(1)}
PARTS = {"a": "part-1.safetensors", "b": "part-2.safetensors", "c": "part-2.safetensors"}


def split(folder: Path, parts: object = None, weights: dict[str, torch.Tensor] = WEIGHTS) -> Path:
    for part in set(PARTS.values()):
        save_file({name: weights[name] for name in weights if PARTS[name] == part}, folder / part)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": PARTS if parts is None else parts}))
    return index


def test_parts_are_joined_and_found_in_a_folder(tmp_path: Path) -> None:
    index = split(tmp_path)
    assert choose_file(tmp_path).path == index
    found = load_weight_file(index)
    assert sorted(found.contents) == ["a", "b", "c"]
    for name, weight in WEIGHTS.items():
        torch.testing.assert_close(found.contents[name], weight, rtol=0, atol=0)


def test_the_checksum_is_that_of_all_parts(tmp_path: Path) -> None:
    before = load_weight_file(split(tmp_path)).sha256
    after = load_weight_file(split(tmp_path, weights={**WEIGHTS, "c": torch.ones(1)})).sha256
    assert before != after


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"a": "../elsewhere.safetensors"}, "files beside it"),
        ({"a": "/etc/passwd"}, "files beside it"),
        ({**PARTS, "d": "part-1.safetensors"}, "d is in no part"),
        ([], "weight_map"),
        ({"a": 3}, "files beside it"),
        ({"a": "lost.safetensors"}, "lost.safetensors"),
    ],
    ids=["a folder above", "an absolute path", "a name too many", "no mapping", "no name", "a lost part"],
)
def test_an_index_that_cannot_be_followed_gets_a_sentence(tmp_path: Path, parts: object, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_weight_file(split(tmp_path, parts))
