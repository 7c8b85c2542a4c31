"""Pickles and archives of numpy arrays: what is read, and what is refused before numpy sees anything of it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icl_interp.checkpoints.array_pickle import read_array_pickle
from icl_interp.checkpoints.safe_load import load_weight_file
from icl_interp.errors import CheckpointError

KINDS = ("?", "i1", "<i2", ">i4", "i8", "u1", "u2", "u4", "u8", "e", ">f4", "<f8", "F", ">c16")
PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nested_dictionaries_of_arrays_come_back(protocol: int) -> None:
    arrays = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in KINDS}
    arrays |= {"fortran": np.asfortranarray(arrays["<f8"]), "turned": np.zeros((2, 3, 4)).transpose(1, 2, 0)}
    arrays |= {"none": np.zeros((0 if protocol > 2 else 1, 3)), "one": np.array(2.5)}  # 2 asks for the name `bytes`
    contents = {"net/linear": {"w": arrays}, "step": 3, "sizes": (1, [2, None]), "number": np.float32(0.25)}
    found = read_array_pickle(pickle.dumps(contents, protocol=protocol))
    assert (found["step"], found["sizes"], found["number"]) == (3, (1, [2, None]), 0.25)
    assert type(found["number"]) is float
    for name, array in arrays.items():
        np.testing.assert_array_equal(found["net/linear"]["w"][name], array, strict=name in ("<f8", "fortran", "none"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_of_older_numpy(protocol: int) -> None:
    data = pickle.dumps({"w": np.arange(3.0)}, protocol=protocol)
    for new, old in (
        (b"numpy._core.multiarray", b"numpy.core.multiarray"),
        (b"numpy._core.numeric", b"numpy.core.numeric"),
    ):
        old_size, new_size = len(old), len(new)
        data = data.replace(bytes([new_size]) + new, bytes([old_size]) + old).replace(b"c" + new, b"c" + old)
    if protocol >= 4:  # one frame, which is shorter now
        data = data[:3] + (len(data) - 11).to_bytes(8, "little") + data[11:]
    assert b"numpy._core" not in data
    np.testing.assert_array_equal(read_array_pickle(data)["w"], [0.0, 1.0, 2.0])


class Crafted:
    """Pickled as a call with a state, whatever they are."""

    def __init__(self, call: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.recipe = (call, arguments) if state is None else (call, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.recipe


def array(dtype: Any, shape: Any = (1,), data: Any = b"\0" * 8, version: int = 1) -> Crafted:
    rebuild, arguments = np.zeros(0).__reduce__()[:2]
    return Crafted(rebuild, arguments, (version, shape, dtype, False, data))


def dtype(code: str = "f8", **state: Any) -> Crafted:
    fields = {
        "version": 3,
        "order": "<",
        "sub": None,
        "names": None,
        "fields": None,
        "size": -1,
        "align": -1,
        "flags": 0,
    }
    return Crafted(np.dtype, (code, False, True), tuple({**fields, **state}.values()))


class Persistent(pickle.Pickler):
    def persistent_id(self, value: object) -> str | None:
        return "elsewhere" if value == "me" else None


def persistent(tmp_path: Path) -> bytes:
    with (tmp_path / "persistent").open("wb") as file:
        Persistent(file, protocol=4).dump({"a": "me"})
    return (tmp_path / "persistent").read_bytes()


endless: list[Any] = []
endless += [endless, endless, endless]

REFUSED: dict[str, tuple[Any, str]] = {
    "objects": ({"w": np.array([{}], dtype=object)}, r"dtype 'O8'"),
    "records": ({"w": np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])}, "dtype 'V8'"),
    "text": ({"w": np.array(["a"])}, "dtype 'U1'"),
    "dates": ({"w": np.array(["2020"], dtype="M8[D]")}, "dtype 'M8'"),
    "long double": ({"w": np.zeros(1, dtype="g")}, "dtype 'f16'"),
    "a dtype alone": ({"w": np.dtype("f8")}, "something else than numbers, texts and arrays"),
    "crafted flags": (array(dtype(flags=63)), "a dtype that is no plain number"),
    "crafted size": (array(dtype(size=16)), "a dtype that is no plain number"),
    "crafted fields": (array(dtype(names=("a",), fields={"a": (np.dtype("f8"), 0)})), "no plain number"),
    "crafted subdtype": (array(dtype(sub=(np.dtype("f8"), (1,)))), "no plain number"),
    "crafted metadata": (array(dtype(metadata=1)), "no plain number"),
    "too few bytes": (array(dtype(), shape=(2,)), "shape does not fit its bytes"),
    "too many bytes": (array(dtype(), shape=(0,)), "shape does not fit its bytes"),
    "negative shape": (array(dtype(), shape=(-1, -1)), "shape does not fit its bytes"),
    "huge shape": (array(dtype(), shape=(0, 2**62, 2**62), data=b""), "shape does not fit its bytes"),
    "shape that is no tuple": (array(dtype(), shape=[1]), "shape does not fit its bytes"),
    "list of objects": (array(dtype(), data=[1.0]), "an array of objects"),
    "another version": (array(dtype(), version=2), "a version that is not known"),
    "array without numbers": (Crafted(*np.zeros(0).__reduce__()[:2]), "something else than numbers"),
    "array called": (Crafted(np.ndarray, ((2,),)), "makes an array in a way"),
    "encode to others": (Crafted(__import__("_codecs").encode, ("a", "rot13")), r"asks for _codecs\.encode"),
    "a function of numpy": (np.array, r"asks for numpy\.array"),
    "a changed name": (Crafted(np.dtype, ("f8",), {"code": "O"}), "no plain number"),
    "a class of the user's": ({"a": Path("b")}, r"asks for pathlib"),
    "set": ({"a": {1, 2}}, "the opcode EMPTY_SET"),
    "tuple as key": ({(1, 2): 3}, "keys are no texts"),
    "in itself": (endless, "nested without end"),
}  # fmt: skip


@pytest.mark.parametrize(("contents", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_array_of_numbers_is_refused(tmp_path: Path, contents: Any, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(contents, protocol=4))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weight_file(tmp_path / "a.pkl")
    assert "\n" not in str(caught.value)


RAW = {
    "persistent id": (persistent, "the opcode BINPERSID"),
    "the process's registry": (lambda _: b"\x80\x02\x82\x01.", "the opcode EXT1"),
    "memo without end": (lambda _: b"\x80\x02Nr\xff\xff\xff\x7f.", "memo is out of order"),
    "changed function": (
        lambda _: b"\x80\x02cnumpy\ndtype\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        "changes what it asks for",
    ),
}


@pytest.mark.parametrize(("write", "message"), RAW.values(), ids=RAW)
def test_opcodes_that_no_array_needs_are_refused(tmp_path: Path, write: Any, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(write(tmp_path))
    with pytest.raises(CheckpointError, match=message):
        load_weight_file(tmp_path / "a.pkl")


# numpy takes such a dtype for one of objects, and the bytes of the array for their addresses: a segmentation fault.
POINTERS = """
import pickle, sys
import numpy as np
from icl_interp.checkpoints.safe_load import load_weight_file
from tests_of_array_pickle import array, dtype
fields = {"names": ("a",), "fields": {"a": (np.dtype("O"), 0)}, "size": 8, "align": 8}
for crafted in (dtype("V8", order="|", **fields), dtype("O8", order="|"), dtype("f8", flags=63)):
    with open("a.pkl", "wb") as file:
        pickle.dump({"w": array(crafted, data=b"AAAAAAAA")}, file, protocol=4)
    try:
        print(load_weight_file("a.pkl").contents)
    except ValueError as error:
        print(error)
"""


def test_a_crafted_dtype_never_reaches_numpy(tmp_path: Path) -> None:
    from fresh import run_text  # the program imports this file, and has no fresh.py beside it

    (tmp_path / "tests_of_array_pickle.py").write_text(Path(__file__).read_text())
    done = run_text(POINTERS, folder=tmp_path)
    assert (done.code, done.complained) == (0, "")
    said = done.said.splitlines()
    for line, reason in zip(said, ("the dtype 'V8'", "the dtype 'O8'", "a dtype that is no plain number"), strict=True):
        assert reason in line


def test_arrays_become_tensors(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"net": {"w": np.arange(6, dtype=">f4").reshape(2, 3)}, "step": 3}))
    np.savez(tmp_path / "a.npz", **{"net/w": np.arange(3), "flat": np.array(True)})
    np.save(tmp_path / "a.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    pickled = load_weight_file(tmp_path / "a.pkl").contents
    assert pickled["step"] == 3
    torch.testing.assert_close(pickled["net"]["w"], torch.arange(6.0).reshape(2, 3), rtol=0, atol=0)
    archive = load_weight_file(tmp_path / "a.npz").contents
    assert archive["net/w"].tolist() == [0, 1, 2]
    assert archive["flat"].item() is True
    torch.testing.assert_close(
        load_weight_file(tmp_path / "a.npy").contents, torch.arange(6.0).reshape(2, 3).double(), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", ["siroten-lsa1", "siroten-curriculum-easy2hard"])
def test_files_of_others(foreign: Path, name: str) -> None:
    pickled = load_weight_file(foreign / name / "params.pkl").contents
    archive = load_weight_file(foreign / name / "params.npz").contents
    flat = {f"{module}/{part}": w for module, parts in pickled.items() for part, w in parts.items()}
    assert flat.keys() == archive.keys()
    for key, weight in archive.items():
        torch.testing.assert_close(flat[key], weight, rtol=0, atol=0)
