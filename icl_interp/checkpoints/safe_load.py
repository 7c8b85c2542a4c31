"""Read weight files without running anything in them, and say in one sentence why one cannot be read.

Also finds the weight file of a run folder, and knows the bytes of .safetensors files.
"""

import errno
import hashlib
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from icl_interp.checkpoints.array_pickle import numeric_array, read_array_pickle
from icl_interp.errors import CheckpointError, InputError, one_line

_KEY = "icl-interp"  # in the header's metadata, beside what other programs put there
_LENGTH_BYTES = 8  # of the header, little-endian; then the header, a JSON object
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"  # the first opcode of every pickle since protocol 2, with which torch has always written
_TORCH_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch's older files start with
_NPY_MAGIC = b"\x93NUMPY"
_HEAD_BYTES = 512
_NO_NUMBERS = {"O": "ObjectDType", "V": "VoidDType", "U": "StrDType", "S": "BytesDType", "M": "DateTime64DType",
               "m": "TimeDelta64DType"}  # fmt: skip
_INDEX = ".index.json"  # of weights that save_pretrained split into several files
_BY_NAME = (
    "model.safetensors",
    f"model.safetensors{_INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
    "ckpt.pt",
)
_NUMBERED = ("model_*", "checkpoints/step_*", "step_*")
_NAME = re.compile(r"(?:model|step)_(\d+)\.(?:pt|safetensors)")


def _looks_like_safetensors(head: bytes) -> bool:
    return head[4:_LENGTH_BYTES] == b"\0\0\0\0" and head[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"


def _from_safetensors(data: bytes) -> dict[str, Any]:
    """Read a file's bytes; the format holds no code."""
    weights = load(data)  # checks lengths, offsets and shapes
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    text = header.get("__metadata__", {}).get(_KEY)
    if text is None:
        return dict(weights)
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise InputError(f"a .safetensors file of icl-interp needs a JSON object under {_KEY!r}; write it anew.")
    return {**plain, "weights": weights}


def to_safetensors(contents: Mapping[str, Any]) -> bytes:
    """Write a checkpoint as this format has it."""
    weights: dict[str, Tensor] = contents["weights"]
    plain = {name: value for name, value in contents.items() if name != "weights"}
    whole = {name: weight.contiguous() for name, weight in weights.items()}
    return save(whole, metadata={"format": "pt", _KEY: json.dumps(plain)})


@dataclass(frozen=True, slots=True)
class WeightFile:
    """The contents of one weight file."""

    path: Path
    contents: Any
    """Tensors (on the CPU) and plain data."""
    sha256: str
    """Checksum of the file's bytes, in hexadecimal."""

    def __repr__(self) -> str:
        return f"WeightFile({self.path}, sha256 {self.sha256[:12]})"


def load_weight_file(path: str | os.PathLike[str]) -> WeightFile:
    """Read a file of torch.save, of safetensors, or of numpy arrays (.npy, .npz, a pickle); its first bytes tell which.

    Only tensors and plain data are read (`weights_only=True`), and numbers of numpy, which become Python's, as arrays
    become tensors; a file that needs more is refused, and no option changes that. The checksum and the contents come
    from the same open file.
    """
    path = Path(path)
    if path.name.endswith(_INDEX):
        return _load_split(path)
    _check_place(path)
    with _opened(path) as file:
        head = file.read(_HEAD_BYTES)
        _check_head(path, head)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        contents = _reader_of(head, file)(path, file)
    return WeightFile(path=path, contents=contents, sha256=sha256)


def _load_split(path: Path) -> WeightFile:
    """Join the parts that the index of `save_pretrained` names; they lie beside it."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the index of split weights needs a weight_map from names to files, got {one_line(error)[:100]}: {path}; "
            "copy or download it again."
        ) from error
    weights: dict[str, Any] = {}
    digest = hashlib.sha256()
    for name in names:
        if not isinstance(name, str) or name != Path(name).name or name.endswith(_INDEX):
            raise CheckpointError(
                f"the index of split weights needs names of files beside it, got {name!r}: {path}; mend it."
            )
        part = load_weight_file(path.with_name(name))
        if not isinstance(part.contents, dict) or (twice := sorted(weights.keys() & part.contents.keys())):
            came = "no dictionary" if not isinstance(part.contents, dict) else f"{twice[0]} again"
            raise CheckpointError(f"each part of split weights needs weights of its own, got {came}: {part.path}.")
        weights |= part.contents
        digest.update(bytes.fromhex(part.sha256))
    if missing := sorted(index["weight_map"].keys() - weights.keys()):
        raise CheckpointError(
            f"split weights need all that their index names, {missing[0]} is in no part: {path}; download them again."
        )
    return WeightFile(path=path, contents=weights, sha256=digest.hexdigest())


def head_of(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read(_HEAD_BYTES)


def sha256_of(path: Path) -> str:
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CheckpointError(
            f"a checkpoint needs a file that can be read, got {path} ({error.strerror or one_line(error)}); "
            "change its permissions or pass another file."
        ) from error


def _reader_of(head: bytes, file: BinaryIO) -> Callable[[Path, BinaryIO], Any]:
    if _looks_like_safetensors(head):
        return _read_safetensors
    if head.startswith(_NPY_MAGIC) or (head.startswith(_ZIP_MAGIC) and _is_npz(file)):
        return _read_numpy
    is_torch = head.startswith(_ZIP_MAGIC) or _TORCH_MAGIC in head[:32]
    return _read if is_torch else _read_pickle


def _is_npz(file: BinaryIO) -> bool:
    try:
        names = zipfile.ZipFile(file).namelist()
    except Exception:  # cut or damaged: torch is asked, and the refusal says more
        return False
    finally:
        file.seek(0)
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_numpy(path: Path, file: BinaryIO) -> Any:
    try:
        found = np.load(file, allow_pickle=False)
        arrays = found if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
        return _with_tensors(arrays)
    except OSError as error:
        if error.errno is not None:
            raise
        raise _no_arrays(path, error) from error
    except Exception as error:  # numpy raises ValueError, EOFError, BadZipFile and more
        raise _no_arrays(path, error) from error


def _read_pickle(path: Path, file: BinaryIO) -> Any:
    try:
        return _with_tensors(read_array_pickle(file.read()))
    except OSError:
        raise
    except Exception as error:  # pickles raise anything
        if isinstance(error, pickle.UnpicklingError) and (culprit := re.search(r"^GLOBAL (.+)", str(error))):
            raise _asks_for(path, culprit.group(1)) from error
        raise _no_arrays(path, error) from error


def _with_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = numeric_array(value)
        native = array.astype(array.dtype.newbyteorder("="))  # a copy, which may be written to
        return torch.from_numpy(np.ascontiguousarray(native).reshape(array.shape))
    if isinstance(value, dict):
        return {key: _with_tensors(item) for key, item in value.items()}
    return type(value)(map(_with_tensors, value)) if isinstance(value, list | tuple) else value


def _no_arrays(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"a file of numpy arrays needs to be whole and to hold nothing but arrays of numbers, got another or a damaged "
        f"one ({one_line(error)[:100]}): {path}; copy or download it again, or save the arrays with numpy.savez."
    )


def _check_place(path: Path) -> None:
    try:
        if path.is_file():
            return
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # a parent folder that may not be searched, a name that is too long
        raise CheckpointError(
            f"a checkpoint needs a file that can be read, got {path} ({error.strerror}); "
            "change its permissions or pass another file."
        ) from error
    if not exists:
        raise CheckpointError(f"a checkpoint needs a file that exists, got {path}; check the path.")
    if is_folder:
        raise CheckpointError(f"a weight file needs to be a file, got the folder {path}; name a file in it.")
    raise CheckpointError(f"a checkpoint needs a regular file, got {path}; copy its contents into a file first.")


def _check_head(path: Path, head: bytes) -> None:
    if head.startswith((_ZIP_MAGIC, _PICKLE_MAGIC, _NPY_MAGIC)) or _looks_like_safetensors(head):
        return
    advice = "pass the .pt file itself"
    if not head:
        kind, advice = "an empty file", "copy or download it again"
    elif head.startswith(b"version https://git-lfs"):
        kind, advice = "a Git LFS pointer", "run `git lfs pull` to fetch the file it stands for"
    elif _is_text(head):
        kind = f"a text file that starts with {' '.join(head.decode(errors='ignore').split())[:40]!r}"
    else:
        kind = "a file of another kind"
    raise CheckpointError(f"a checkpoint needs a file written by torch.save, got {kind}: {path}; {advice}.")


def _is_text(head: bytes) -> bool:
    text = head.decode(errors="ignore")  # the head may end inside a character
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)


def _read(path: Path, file: BinaryIO) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch's hints on old pickles and TorchScript; the sentence below says more
            with _numpy_numbers_only():
                return torch.load(file, weights_only=True, map_location="cpu")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # The checksum has read every byte: it is not the disk, but torch that follows a cut archive's numbers and
        # seeks before the start of the file.
        raise _refusal(path, file, error) from error
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError and more on damaged files
        raise _refusal(path, file, error) from error


class _NumberType:
    # Stands for numpy.dtype: of a file's data nothing reaches numpy but the bytes of one number.
    def __init__(self, name: str, *_: object) -> None:
        if re.fullmatch(r"[biufc]\d+", name) is None:
            kind = _NO_NUMBERS.get(name[:1], "dtype")
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtypes.{kind}")
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.order = {"<": "<", ">": ">"}.get(str(state[1]), "=")


def _number(kind: _NumberType, data: bytes) -> bool | int | float | complex:
    (value,) = np.frombuffer(data, np.dtype(f"{kind.order}{kind.name}"))
    python = {"b": bool, "i": int, "u": int, "f": float, "c": complex}[value.dtype.kind]
    number: bool | int | float | complex = python(value)
    return number


@contextmanager
def _numpy_numbers_only() -> Iterator[None]:
    # In place of whatever else this process allows, which is there again at the end.
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([
        (_NumberType, "numpy.dtype"),
        (_number, "numpy.core.multiarray.scalar"),
        (_number, "numpy._core.multiarray.scalar"),
    ])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def _read_safetensors(path: Path, file: BinaryIO) -> Any:
    try:
        return _from_safetensors(file.read())
    except OSError:
        raise
    except Exception as error:  # SafetensorError, and what broken JSON raises
        raise CheckpointError(
            f"a checkpoint needs a whole .safetensors file, got a damaged one ({one_line(error)[:100]}): {path}; "
            "copy or download it again."
        ) from error


def _refusal(path: Path, file: BinaryIO, error: Exception) -> CheckpointError:
    text = str(error)
    if "TorchScript" in text:
        return CheckpointError(
            f"a checkpoint needs tensors and plain data, got a TorchScript archive: {path}; save the model's "
            "state_dict() instead."
        )
    if isinstance(error, pickle.UnpicklingError) and (named := re.search(r"GLOBAL ([\w.<>]+)", text)):
        return _asks_for(path, named.group(1))
    file.seek(0)
    is_cut = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC and not zipfile.is_zipfile(file)
    came = "a truncated zip archive" if is_cut else "a damaged file or one of another program"
    return CheckpointError(
        f"a checkpoint needs a whole file written by torch.save, got {came}: {path}; copy or download it again."
    )


def _asks_for(path: Path, culprit: str) -> CheckpointError:
    return CheckpointError(
        f"a checkpoint needs tensors and plain data only, got a pickle that asks for {culprit}: {path}; "
        "nothing of it was run and no option allows it: save the model's state_dict() instead."
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The weight file to read, and why that one."""

    path: Path
    note: str | None
    """A sentence where there was a choice."""

    def __repr__(self) -> str:
        return f"Choice({self.path})"


def choose_file(path: Path) -> Choice:
    """Take a file as it is, and out of a run folder its current or newest checkpoint.

    dtsip/in-context-learning keeps the current one in state.pt; otherwise the highest number in model_N.pt,
    checkpoints/step_N.pt or step_N.pt wins, and then the names that `save_pretrained` and nanoGPT give. What is
    numbered may end in .safetensors as well.
    """
    try:
        if not path.is_dir():
            return Choice(path=path, note=None)
        if (path / "state.pt").exists():
            return Choice(path=path / "state.pt", note=None)
        if numbered := numbered_files(path):
            newest = numbered[max(numbered)]
            note = f"Of {len(numbered)} checkpoints in the folder the newest was taken, {newest.name}."
            return Choice(path=newest, note=note)
        for name in _BY_NAME:
            if (path / name).exists():
                return Choice(path=path / name, note=None)
    except OSError as error:
        raise CheckpointError(
            f"a run folder needs to be readable, got {path} ({error.strerror}); change its permissions."
        ) from error
    raise CheckpointError(
        f"a run folder needs a checkpoint (state.pt, model_N.pt or checkpoints/step_N.pt, {', '.join(_BY_NAME)}), "
        f"got a folder without one: {path}; name the weight file itself."
    )


def numbered_files(path: Path) -> dict[int, Path]:
    """List the checkpoints of a run folder that are numbered by their step."""
    for pattern in _NUMBERED:
        numbered = {n: file for file in path.glob(pattern) if (n := _step_number(file)) is not None}
        if numbered:
            return numbered
    return {}


def _step_number(file: Path) -> int | None:
    match = _NAME.fullmatch(file.name)
    return int(match.group(1)) if match else None
