"""Arrays of any framework and of files, read a few samples at a time."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from icl_interp.arrays import as_tensor, looks_like_arrays, rows_of, stored_arrays
from icl_interp.errors import InputError, InputTypeError

VALUES = np.random.default_rng(0).standard_normal((20, 3, 4)).astype(np.float32)
SOME = [0, 1, 7, 8, 19]


def npz(path: Path) -> Path:
    np.savez(path, **{"x_scale=1/3": VALUES, "a.b": VALUES.astype(np.float16), "c": np.asfortranarray(VALUES)})
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_stored_arrays_are_those_that_were_saved(tmp_path, compressed):
    (np.savez_compressed if compressed else np.savez)(
        tmp_path / "a.npz", **{"x_scale=1/3": VALUES, "h": VALUES.astype(">f2"), "c": np.asfortranarray(VALUES)}
    )
    found = stored_arrays(tmp_path / "a.npz")
    assert list(found) == ["x_scale=1/3", "h", "c"]
    for name, kept in (("x_scale=1/3", VALUES), ("h", VALUES.astype(np.float16)), ("c", VALUES)):
        rows = rows_of(found[name], what="x")
        assert rows.shape == (20, 3, 4)
        np.testing.assert_array_equal(rows.take(SOME).numpy(), kept[SOME].astype(np.float32))


def test_uncompressed_arrays_are_read_slice_by_slice(tmp_path):
    large = np.zeros((64, 1000, 20), np.float32)
    np.savez(tmp_path / "a.npz", a=large)
    rows = rows_of(stored_arrays(tmp_path / "a.npz")["a"], what="a")
    tracemalloc.start()
    rows.take([3, 60])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < large.nbytes / 8


def test_safetensors_with_every_float_type(tmp_path):
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int32)
    held = {str(kind): (4 * torch.from_numpy(VALUES)).to(kind) for kind in kinds}
    save_file(held, tmp_path / "a.safetensors", metadata={"by": "us"})
    found = stored_arrays(tmp_path / "a.safetensors")
    for name, tensor in held.items():
        read = rows_of(found[name], what=name).take(SOME)
        torch.testing.assert_close(read.double(), tensor[SOME].double(), rtol=0, atol=0)
        assert read.dtype in (torch.float32, torch.float64)


def test_other_files_are_no_arrays(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    (tmp_path / "b.txt").write_text("notes", encoding="utf-8")
    (tmp_path / "c").write_bytes(b"")
    for name in ("a.pt", "b.txt", "c"):
        assert stored_arrays(tmp_path / name) is None
        assert not looks_like_arrays(tmp_path / name)
    with pytest.raises(InputError, match="nowhere cannot be read"):
        stored_arrays(tmp_path / "nowhere")


def test_damaged_files_are_one_sentence(tmp_path):
    whole = npz(tmp_path / "a.npz").read_bytes()
    save_file({"a": torch.from_numpy(VALUES)}, tmp_path / "a.safetensors")
    shorter = (tmp_path / "a.safetensors").read_bytes()[:-1]
    for name, data in (("b.npz", whole[:-30]), ("b.safetensors", shorter)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"needs to be whole, got a damaged one .*{name}"):
            stored_arrays(tmp_path / name)


def test_a_header_that_promises_more_than_there_is(tmp_path):
    member = io.BytesIO()
    np.save(member, VALUES)
    text = member.getvalue().replace(b"(20, 3, 4)", b"(99, 3, 4)")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", text)
    rows = rows_of(stored_arrays(tmp_path / "a.npz")["a"], what="a")
    with pytest.raises(InputError, match="ends before"):
        rows.take([98])


def test_objects_and_raw_bytes_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"got Python objects in 'a.npy', which are not unpickled"):
        stored_arrays(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", a=np.zeros((2, 2), "V2"))
    with pytest.raises(InputTypeError, match="how numpy stores float types that it does not know"):
        rows_of(stored_arrays(tmp_path / "b.npz")["a"], what="a")


def test_private_changes_of_a_mapped_file_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="c")
    mapped[3] = 7
    torch.testing.assert_close(rows_of(mapped, what="a").take([3]), torch.full((1, 3, 4), 7.0))
    assert (mapped[3] == 7).all()
    shared = np.load(tmp_path / "a.npy", mmap_mode="r+")
    shared[3] = 9
    torch.testing.assert_close(rows_of(shared, what="a").take([3, 4])[0], torch.full((3, 4), 9.0))
    assert (shared[3] == 9).all()


def test_what_was_read_is_a_copy():
    array = VALUES.copy()
    taken = rows_of(array, what="a").take([0, 1])
    taken += 1
    np.testing.assert_array_equal(array, VALUES)


def test_a_tensor_of_floats_stays_what_it_is():
    given = torch.from_numpy(VALUES).half()
    assert as_tensor(given, what="a") is given
    assert as_tensor(VALUES.astype(np.float16), what="a").dtype == torch.float32
    assert as_tensor(VALUES.astype(np.int64), what="a").dtype == torch.float64
    assert rows_of(VALUES, what="a").take([]).shape == (0, 3, 4)


def test_masks_are_no_numbers():
    for mask in (VALUES > 0, torch.from_numpy(VALUES > 0)):
        with pytest.raises(InputTypeError, match="a needs real numbers"):
            rows_of(mask, what="a")
