"""Formats of the user's own, in the registry of readers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import icl_interp as icl
from icl_interp.errors import InputTypeError, UserCodeError


class LabJson(icl.Reader):
    name = "JSON of a lab"
    signs = ("key_query", "lab")
    options: ClassVar = {"sign": "1 or -1"}

    def open(self, path: Path, head: bytes) -> Any | None:
        return json.loads(path.read_text()) if head.startswith(b'{"lab"') else None

    def recognises(self, contents: Any) -> bool:
        return isinstance(contents, dict) and "key_query" in contents

    def read(self, file: icl.WeightFile, *, n_heads: int | None, layout: Any) -> icl.Reading:
        if n_heads is not None:
            raise icl.InputError("a lab has one head.")
        matrix = torch.tensor(file.contents["key_query"], dtype=torch.float64)
        eye = torch.eye(len(matrix), dtype=torch.float64)
        return icl.Reading(
            config=icl.ModelConfig(
                family="lsa", n_dims=len(matrix) - 1, n_points=5, output_sign=int(layout.get("sign", 1))
            ),
            weights={
                f"blocks.0.attn.W_{letter}": w[None] for letter, w in zip("QKVO", (matrix, *[eye] * 3), strict=True)
            },
            task=icl.LinearRegression(len(matrix) - 1),
            n_points_trained=5,
            origin="a lab",
        )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    known = dict(icl.READERS)
    icl.register_reader(LabJson)
    path = tmp_path / "layer.json"
    path.write_text(json.dumps({"lab": 1, "key_query": torch.eye(3).tolist()}))
    yield path
    icl.READERS.clear()
    icl.READERS.update(known)


def test_a_file_of_a_container_of_its_own(lab: Path) -> None:
    checkpoint = icl.load_checkpoint(lab, layout={"sign": -1})
    assert (checkpoint.origin, checkpoint.model.cfg.output_sign) == ("a lab", -1)
    assert checkpoint.model.blocks[0].attn.W_Q.dtype == torch.float32
    with pytest.raises(icl.InputError, match=r"layout of JSON of a lab needs keys among sign \(1 or -1\), got side"):
        icl.load_checkpoint(lab, layout={"side": 1})


def test_contents_that_are_known_already_go_to_the_users_reader_first(lab: Path) -> None:
    torch.save({"W": torch.eye(3), "key_query": [[1.0, 0.0], [0.0, 1.0]]}, lab.with_suffix(".pt"))
    assert icl.load_checkpoint(lab.with_suffix(".pt")).origin == "a lab"


def test_what_the_users_reader_refuses_and_where_it_fails(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(icl.InputError, match=r"^a lab has one head\.$"):
        icl.load_checkpoint(lab, n_heads=2)
    lab.write_text('{"lab": broken')
    with pytest.raises(
        UserCodeError, match=r"the reader 'JSON of a lab' is your own code, and it raised JSONDecodeError"
    ):
        icl.load_checkpoint(lab)
    lab.write_text('{"lab": 1, "key_query": 2}')
    lab.write_text('{"lab": 1, "key_query": [[NaN, 1], [1, 1]]}')
    with pytest.raises(icl.InputError, match=r"got NaN or infinity in blocks\.0\.attn\.W_Q"):
        icl.load_checkpoint(lab)
    lab.write_text('{"lab": 1, "key_query": 2}')
    monkeypatch.setattr(LabJson, "read", lambda *_, **__: {})
    with pytest.raises(InputTypeError, match="the reader 'JSON of a lab' needs to return a Reading, got dict"):
        icl.load_checkpoint(lab)


def test_an_unknown_file_may_be_nearest_to_it(lab: Path) -> None:
    torch.save({"lab": 1}, lab.with_suffix(".pt"))
    with pytest.raises(icl.InputError, match="nearest are JSON of a lab, which have key_query as well"):
        icl.load_checkpoint(lab.with_suffix(".pt"))


@pytest.mark.usefixtures("lab")
def test_what_cannot_be_registered() -> None:
    again = type("LabJson", (LabJson,), {"__module__": __name__, "__qualname__": "LabJson"})
    assert icl.register_reader(again) is again
    assert type(icl.READERS["JSON of a lab"]) is again
    with pytest.raises(
        icl.InputError, match=r"a name that no other reader has, got 'JSON of a lab' in .*\.Other, which"
    ):
        icl.register_reader(type("Other", (LabJson,), {}))
    ours = next(iter(icl.READERS))
    with pytest.raises(icl.InputError, match=f"a name that no other reader has, got '{ours}'"):
        icl.register_reader(type("Own", (LabJson,), {"name": ours}))
    with pytest.raises(icl.InputError, match="needs a name for sentences, got none in Nameless"):
        icl.register_reader(type("Nameless", (LabJson,), {"name": ""}))
    for kind in (LabJson(), dict, icl.Reader):
        with pytest.raises(InputTypeError, match="needs a subclass of Reader that defines all its methods"):
            icl.register_reader(kind)


def test_the_manual_page_names_every_key_of_a_layout() -> None:
    page = (Path(__file__).parents[3] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    keys = {key for reader in icl.READERS.values() for key in reader.options}
    assert len(keys) == 12
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []
