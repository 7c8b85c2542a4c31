"""Arrays of any framework, in memory or in files, read a few samples at a time: never copied whole, never unpickled."""

import ctypes
import json
import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from icl_interp.errors import InputError, InputTypeError, one_line

_GAP = 4
"""Samples that are read and thrown away rather than begun anew after."""
_NARROW = ("bfloat16", "float8")
"""Beginnings of the names of float types that numpy has from ml_dtypes; float32 holds each of their values."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rows:
    """An array whose first axis counts samples, whatever holds it."""

    shape: tuple[int, ...]
    """Samples first."""
    _between: Callable[[int, int], Tensor]

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Sequence[int]) -> Tensor:
        """Copy some samples, by ascending numbers, at least in float32 and on the CPU."""
        parts = [self._between(run[0], run[-1] + 1)[[row - run[0] for row in run]] for run in _runs(rows)]
        return torch.cat(parts) if parts else torch.empty(0, *self.shape[1:])


def _runs(rows: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for row in rows:
        if run and row - run[-1] > _GAP:
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def rows_of(value: object, *, what: str) -> Rows:
    """Read an array of torch, of numpy, or of anything that can be sliced or converted; `what` is for sentences.

    What has a shape and can be sliced (memory-mapped files, jax arrays, HDF5 datasets) is sliced; the others are
    converted by `__array__` or `__dlpack__`.
    """
    given = value
    if not isinstance(given, Tensor) and not (hasattr(given, "shape") and hasattr(given, "__getitem__")):
        given = _converted(given, what)
    shape = tuple(int(size) for size in given.shape)
    if not shape:
        raise InputError(f"{what} needs an axis of samples, got a single number; pass an array.")
    block = _tensor(given[:0], what)  # a wrong kind of number is refused before anything runs
    if tuple(block.shape[1:]) != shape[1:]:
        raise InputTypeError(f"{what} needs an array that can be sliced, got {type(given).__name__}; convert it.")
    return Rows(shape, lambda low, high: _tensor(given[low:high], what))


def as_tensor(value: object, *, what: str) -> Tensor:
    """Convert a whole array, at least to float32; a tensor of floats stays what it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value
    rows = rows_of(value, what=what)
    return rows.take(range(len(rows)))


def _converted(value: Any, what: str) -> Any:
    try:
        if hasattr(value, "__array__"):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return torch.utils.dlpack.from_dlpack(value)
    except Exception as error:  # frameworks raise anything, for tensors on a device above all
        raise InputTypeError(
            f"{what} needs an array that numpy can read, got {type(value).__name__} ({one_line(error)[:100]}); move it "
            "to the CPU."
        ) from error
    raise InputTypeError(
        f"{what} needs an array (numpy, torch, or anything with __array__ or __dlpack__), got {type(value).__name__}; "
        "convert it with numpy.asarray."
    )


def _tensor(block: Any, what: str) -> Tensor:
    if not isinstance(block, Tensor):
        array = np.asarray(_converted(block, what))
        if array.dtype.kind == "V" and array.dtype.name.startswith(_NARROW):
            array = array.astype(np.float32)
        if array.dtype.kind not in "fiu":
            raise InputTypeError(f"{what} needs real numbers, got {_kind(array.dtype)}.")
        wide = array.astype({2: np.float32, 4: np.float32}.get(array.dtype.itemsize, np.float64)
                            if array.dtype.kind == "f" else np.float64)  # fmt: skip  # a copy, in this machine's order
        _forget(block)
        return torch.from_numpy(np.ascontiguousarray(wide).reshape(array.shape))
    if block.is_complex() or block.dtype == torch.bool:
        raise InputTypeError(f"{what} needs real numbers, got {block.dtype}; pass their real part, or floats.")
    held = block.detach().cpu()
    if not held.is_floating_point():
        return held.double()
    return held.to(torch.promote_types(held.dtype, torch.float32))


def _kind(dtype: "np.dtype[Any]") -> str:
    if dtype.kind == "V":
        return (
            f"raw bytes ({dtype}), which is how numpy stores float types that it does not know; store float32, or "
            "bfloat16 in a .safetensors file"
        )
    return f"{dtype}; store floats"


def _forget(block: Any) -> None:
    # Pages of a mapped file that were read count as this process's memory until they are given back.
    mapped = block
    while isinstance(mapped, np.ndarray) and not isinstance(mapped, np.memmap):
        mapped = mapped.base
    if isinstance(mapped, np.memmap) and mapped.mode in ("r", "r+"):  # private copies ("c") would be lost
        pages = getattr(mapped, "_mmap", None)
        if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


@cache
def _trim() -> Callable[[int], int] | None:
    with suppress(OSError, TypeError, AttributeError):  # glibc has it, other C libraries do not
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return found
    return None


def give_memory_back() -> None:
    """Return freed memory to the system.

    The C library keeps aligned blocks that were freed between small ones that stay, and does not use them again: a file
    of 400 MB that was read in batches took 780 MB although 2 MB were held.
    """
    if (trim := _trim()) is not None:
        trim(0)


_ZIP_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip member: the lengths of its name and of its extra field, at the end
_SAFE_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class StoredArray:
    """An array in a file, of which slices are read when they are asked for."""

    shape: tuple[int, ...]
    """Shape of the stored array."""
    dtype: "np.dtype[Any]"
    """Type of the numbers in a slice, unless it is bfloat16."""
    path: Path
    """Path of the file."""
    offset: int
    """Offset of the first number in bytes; below 0 if the array is compressed."""
    member: str = ""
    """Name in the zip archive, if the array is compressed or its first axis is not the slowest."""
    is_bfloat16: bool = False
    """Whether the 16 bits of each number are a bfloat16."""
    _whole: list[Any] = field(default_factory=list, compare=False)

    def __getitem__(self, which: slice) -> Any:
        low, high, _ = which.indices(self.shape[0])
        count = max(0, high - low)
        if self.member:
            return self._decompressed()[low : low + count]
        size = math.prod(self.shape[1:])
        with self.path.open("rb") as file:
            file.seek(self.offset + low * size * self.dtype.itemsize)
            flat = np.fromfile(file, self.dtype, count * size)
        if len(flat) != count * size:
            raise InputError(f"an array needs all of its numbers, got a file that ends before: {self.path}.")
        block = flat.reshape(count, *self.shape[1:])
        return torch.from_numpy(block.view(np.int16)).view(torch.bfloat16) if self.is_bfloat16 else block

    def _decompressed(self) -> Any:
        if not self._whole:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                self._whole.append(np.lib.format.read_array(file, allow_pickle=False))
        return self._whole[0]


def stored_arrays(path: str | Path) -> dict[str, StoredArray] | None:
    """List the arrays of an .npz or .safetensors file by name; None where the file is of another kind.

    Uncompressed arrays are read slice by slice, compressed ones at once when first asked for.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head.startswith(_ZIP_MAGIC):
            return _of_npz(path)
        return _of_safetensors(path) if head[4:8] == b"\0\0\0\0" and head[8:] == b"{" else None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or one_line(error)}); check the place.") from error
    except Exception as error:  # zipfile, numpy, json and safetensors raise anything on damaged files
        raise InputError(
            f"a file of arrays needs to be whole, got a damaged one ({one_line(error)[:100]}): {path}; copy it again."
        ) from error


def _of_npz(path: Path) -> dict[str, StoredArray] | None:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if not members or not all(member.filename.endswith(".npy") for member in members):
            return None
        return {m.filename.removesuffix(".npy"): _of_member(path, file, archive, m) for m in members}


def _of_member(path: Path, file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> StoredArray:
    with archive.open(member) as stream:
        shape, fortran, dtype = _npy_header(stream)
    if dtype.hasobject:
        raise InputError(
            f"a file of arrays needs numbers, got Python objects in {member.filename!r}, which are not unpickled: "
            f"{path}; store numbers."
        )
    if fortran or member.compress_type != zipfile.ZIP_STORED:
        return StoredArray(shape, dtype, path, -1, member.filename)
    file.seek(member.header_offset)
    start = member.header_offset + 30 + sum(_LOCAL_HEADER.unpack(file.read(30)))
    file.seek(start)
    _npy_header(file)
    return StoredArray(shape, dtype, path, file.tell())


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return tuple(shape), fortran, dtype


def _of_safetensors(path: Path) -> dict[str, StoredArray]:
    with safe_open(path, framework="np"):  # checks lengths, offsets and shapes
        pass
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _SAFE_DTYPES:
            raise InputError(f"a file of arrays needs real numbers, got {entry['dtype']} in {name!r}: {path}.")
        kind = np.dtype(_SAFE_DTYPES[entry["dtype"]])
        start = 8 + length + int(entry["data_offsets"][0])
        found[name] = StoredArray(tuple(entry["shape"]), kind, path, start, is_bfloat16=entry["dtype"] == "BF16")
    return found


def keeps_order(path: str | Path) -> bool:
    """Tell whether a file of arrays holds them in the order in which they were given, as .safetensors files do not."""
    with Path(path).open("rb") as file:
        return file.read(4) == _ZIP_MAGIC


def looks_like_arrays(path: str | Path) -> bool:
    """Tell whether a file is one of named arrays, .npz or .safetensors, by its contents."""
    with suppress(InputError):
        return stored_arrays(path) is not None
    return False
