import errno
import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fresh import run_text

from icl_interp.checkpoints.safe_load import load_weight_file
from icl_interp.data import demo_path
from icl_interp.errors import CheckpointError, one_line


class Touch:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


class Custom:
    pass


def _torch_bytes(contents: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(contents, buffer, **options)
    return buffer.getvalue()


def _npz_bytes(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=array)
    return buffer.getvalue()


def _torchscript_like_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("constants.pkl", "data.pkl", "version"):
            archive.writestr(f"model/{name}", b"3\n")
    return buffer.getvalue()


BAD = {
    "empty": (b"", r"got an empty file: .*bad\.pt; copy or download it again\.$"),
    "text": (
        b"hello world\n",
        r"got a text file that starts with 'hello world': .*; pass the \.pt file itself",
    ),
    "umlaut cut in the head": ("ä".encode() * 300 + b"\n", "got a text file"),
    "git lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "got a Git LFS pointer.*git lfs pull",
    ),
    "noise": (bytes(range(1, 32)) * 9, "got a file of another kind"),
    "truncated zip": (
        _torch_bytes({"a": torch.ones(1000)})[:2000],
        r"got a truncated zip archive: .*bad\.pt; copy",
    ),
    "truncated legacy": (
        _torch_bytes({"a": torch.ones(9)}, _use_new_zipfile_serialization=False)[:-6],
        "got a damaged file or one of another program",
    ),
    "archive of text": (_npz_bytes(np.array(["a"])), r"hold nothing but arrays of numbers, .*the dtype '<U1'"),
    "archive of objects": (_npz_bytes(np.array([{}], dtype=object)), r"arrays of numbers, .*Object arrays cannot be"),
    "cut archive": (_npz_bytes(np.ones(3))[:-1], r"got a truncated zip archive"),
    "damaged archive": (_npz_bytes(np.ones(300)).replace(b"\0\0\xf0?", b"\1\0\xf0?", 9), r"nothing but arrays .*CRC"),
    "torchscript": (_torchscript_like_bytes(), "got a TorchScript archive"),
    "cut pickle": (pickle.dumps({"a": 1})[:-1], r"a file of numpy arrays needs to be whole"),
    "class in zip": (
        _torch_bytes({"a": Custom()}),
        r"got a pickle that asks for \S*test_safe_load\.Custom: ",
    ),
    "class in pickle": (
        pickle.dumps({"a": Custom()}),
        r"got a pickle that asks for \S*test_safe_load\.Custom: ",
    ),
    "class in old pickle": (
        pickle.dumps([Custom()], protocol=2),
        r"a pickle that asks for \S*\.Custom: ",
    ),
    "class in legacy": (
        _torch_bytes({"a": Custom()}, _use_new_zipfile_serialization=False),
        r"got a pickle that asks for \S*test_safe_load\.Custom: ",
    ),
    "whole module": (
        _torch_bytes(torch.nn.Linear(2, 2)),
        r"a pickle that asks for torch\.nn\.modules\.linear\.Linear",
    ),
    "tensor in pickle": (
        pickle.dumps({"a": torch.ones(2)}, protocol=4),
        r"got a pickle that asks for torch\._utils\._rebuild_tensor_v2: ",
    ),
    "two tensors in old pickle": (
        pickle.dumps([torch.ones(2), torch.ones(3)], protocol=2),
        r"got a pickle that asks for torch\._utils\._rebuild_tensor_v2: ",
    ),
    "numpy array": (
        _torch_bytes({"a": np.ones(2)}),
        r"a pickle that asks for numpy\.\S*multiarray\._reconstruct",
    ),
    "numpy text": (_torch_bytes({"a": np.str_("x")}), r"a pickle that asks for numpy\.dtypes\.StrDType"),
    "numpy record": (_torch_bytes({"a": np.void(b"xy")}), r"a pickle that asks for numpy\.dtypes\.VoidDType"),
    "numpy date": (
        _torch_bytes({"a": np.datetime64("2020")}),
        r"a pickle that asks for numpy\.dtypes\.DateTime64DType",
    ),
    "numpy object": (_torch_bytes({"a": np.dtype("O")}), r"a pickle that asks for numpy\.dtypes\.ObjectDType"),
}


@pytest.mark.parametrize(("contents", "message"), BAD.values(), ids=BAD.keys())
def test_bad_file_is_one_sentence(tmp_path: Path, contents: bytes, message: str) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weight_file(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))], ids=["torch", "pickle"])
def test_code_is_named_and_never_run(tmp_path: Path, write: Callable[[object, Path], object]) -> None:
    touched, path = tmp_path / "touched", tmp_path / "code.pt"
    write({"weights": Touch(touched)}, path)
    with pytest.raises(CheckpointError, match=r"asks for (_?io|builtins)\.open: .*nothing of it was run and no option"):
        load_weight_file(path)
    assert not touched.exists()


def test_environment_cannot_allow_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"weights": Touch(tmp_path / "touched")}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="nothing of it was run"):
        load_weight_file(tmp_path / "code.pt")
    assert not (tmp_path / "touched").exists()


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"needs a file that exists, got .*nowhere\.pt; check the path\.$"):
        load_weight_file(tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match="needs to be a file, got the folder"):
        load_weight_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"needs a regular file, got .*pipe"):
        load_weight_file(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"needs a file that can be read.*name too long"):
        load_weight_file(tmp_path / ("n" * 300))


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    torch.save({}, tmp_path / "a.pt")
    monkeypatch.setattr(Path, "open", refuse)  # permission bits do not stop root, which tests may run as
    with pytest.raises(
        CheckpointError, match=r"can be read, got .*a\.pt \(Permission denied\); change its permissions"
    ):
        load_weight_file(tmp_path / "a.pt")


@pytest.mark.parametrize("n_bytes", [100, 1000, 20_000, 100_000, 400_000, 800_000])
def test_a_file_cut_anywhere_is_a_truncated_archive(tmp_path: Path, n_bytes: int) -> None:
    # At 20,000 bytes torch finds what looks like the archive's end, and seeks before the start of the file.
    path = tmp_path / "cut.pt"
    path.write_bytes(demo_path().read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match=r"got a truncated zip archive: .*cut\.pt; copy or download it again\.$"):
        load_weight_file(path)


def test_a_disk_that_fails_is_no_truncation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    torch.save({}, tmp_path / "a.pt")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(CheckpointError, match=r"can be read, got .*a\.pt \(Input/output error\)"):
        load_weight_file(tmp_path / "a.pt")


def test_good_file_comes_with_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "good.pt"
    torch.save({"w": torch.arange(3.0), "step": 4}, path)
    file = load_weight_file(str(path))
    torch.testing.assert_close(file.contents["w"], torch.arange(3.0), rtol=0, atol=0)
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (file.path, file.contents["step"], file.sha256) == (path, 4, digest)
    assert repr(file) == f"WeightFile({path}, sha256 {digest[:12]})"


def test_one_line_lists_fields_of_pydantic() -> None:
    from icl_interp.models.config import ModelConfig

    with pytest.raises(ValueError, match="n_dims") as caught:
        ModelConfig(n_dims=0, n_points=1, n_layers=1, n_heads=1, d_model=1, act_fn="tanh")
    text = one_line(caught.value)
    assert "\n" not in text
    assert text.startswith("n_dims: ")
    assert "; act_fn: " in text


BAD_FILES_IN_A_FRESH_PROCESS = """
import pathlib, sys
import icl_interp.checkpoints.safe_load
from icl_interp.checkpoints.load import load_checkpoint
for path in sys.argv[1:]:
    try:
        load_checkpoint(path)
    except ValueError as error:
        print(type(error).__name__)
print("transformer_lens" in sys.modules)
"""


def test_bad_files_are_refused_without_transformer_lens(tmp_path: Path, dtsip: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "other.pt")
    contents = torch.load(dtsip / "model_4000.pt", weights_only=True)
    torch.save(contents, tmp_path / "no_heads.pt")
    contents["_read_out.bias"].fill_(torch.nan)
    torch.save(contents, tmp_path / "nan.pt")
    own = torch.load(demo_path(), weights_only=True)
    torch.save({**own, "model": {**own["model"], "n_layers": 10**9}}, tmp_path / "deep.pt")
    names = ("missing.pt", "text.pt", "other.pt", "no_heads.pt", "nan.pt", "deep.pt")
    paths = [tmp_path / name for name in names]
    done = run_text(BAD_FILES_IN_A_FRESH_PROCESS, *paths, tmp_path, folder=tmp_path, imported=("torch",))
    assert done.said.split() == ["CheckpointError"] * 7 + ["False"], done.complained


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "kind", ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "g", "F", "D", ">f8", "<i2", ">c8"]
)
def test_numbers_of_numpy_become_pythons(tmp_path: Path, kind: str, zipped: bool) -> None:
    value = np.array([1.5 if np.dtype(kind).kind in "fc" else 1], dtype=kind)[0]
    data = _torch_bytes({"w": torch.ones(2), "a": [value, {"b": value}]}, _use_new_zipfile_serialization=zipped)
    (tmp_path / "a.pt").write_bytes(data)
    first, second = load_weight_file(tmp_path / "a.pt").contents["a"]
    assert first == second["b"] == value
    assert type(first) in (bool, int, float, complex)


def test_numbers_of_older_numpy(tmp_path: Path) -> None:
    data = _torch_bytes({"a": np.float64(0.25)}, _use_new_zipfile_serialization=False)
    (tmp_path / "a.pt").write_bytes(data.replace(b"numpy._core.", b"numpy.core."))
    assert load_weight_file(tmp_path / "a.pt").contents == {"a": 0.25}


def test_what_this_process_allows_counts_elsewhere_only(tmp_path: Path) -> None:
    torch.save({"a": Custom()}, tmp_path / "class.pt")
    torch.save({"a": np.float64(0.25)}, tmp_path / "number.pt")
    with torch.serialization.safe_globals([Custom, (Custom, "numpy.dtype")]):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(CheckpointError, match=r"asks for \S*Custom"):
            load_weight_file(tmp_path / "class.pt")
        assert load_weight_file(tmp_path / "number.pt").contents == {"a": 0.25}
        assert set(torch.serialization.get_safe_globals()) == before
