"""A signature on disk: there and back, completely or not at all, and never anything but plain data."""

import os
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from probes.pairwise import pairwise_alignment
from probes.signature import SignatureFitter, SpectralSignature, fit_signature
from probes.spectra import leading_directions


def activations(n: int = 20, seed: int = 0) -> Tensor:
    return torch.randn(n, 9, 6, generator=torch.Generator().manual_seed(seed)) * torch.arange(1, 7)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_there_and_back(tmp_path: Path, dtype: torch.dtype, side: str) -> None:
    signature = fit_signature(activations().to(dtype), k=3, center=True, side=side)
    signature.save(tmp_path / "signature.pt")
    again = SpectralSignature.load(tmp_path / "signature.pt")
    assert vars(again).keys() == vars(signature).keys()
    names = ("reference", "direction_references", "eigenvalues", "kept", "k", "center", "n_samples")
    for name in names:
        torch.testing.assert_close(getattr(again, name), getattr(signature, name), rtol=0, atol=0)
    assert again.side == side
    new = activations(5, seed=1).to(dtype)
    torch.testing.assert_close(again.ood_score(new), signature.ood_score(new), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["signature.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "signature.pt"
    fit_signature(activations()).save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        fit_signature(activations(seed=1)).save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["signature.pt"]


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("unpacked",)


GOOD = {"format": "spectral-signature", "version": 1}
FILES = {
    "no zip": (b"nonsense", "a file that SpectralSignature.save wrote"),
    "empty": (b"", "a file that SpectralSignature.save wrote"),
    "code": (Harmful(), "nothing but tensors and plain data is ever unpacked"),
    "checkpoint": ({"weights": torch.ones(1)}, "holds something else"),
    "list": ([1, 2], "holds something else"),
    "newer": ({**GOOD, "version": 2}, "version 1 of the format, got 2"),
    "fields": ({**GOOD, "k": 2, "side": "right"}, "without a usable reference, direction_references"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_other_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, message: str
) -> None:
    path = tmp_path / "other.pt"
    write = Path.write_bytes if isinstance(content, bytes) else lambda where, what: torch.save(what, where)
    write(path, content)
    with pytest.raises(ValueError, match=message) as caught:
        SpectralSignature.load(path)
    assert re.search(r"other\.pt", str(caught.value))
    assert "unpacked" not in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5, 0.75, 0.99])
def test_a_file_that_was_cut_is_one_sentence(tmp_path: Path, share: float) -> None:
    path = tmp_path / "signature.pt"
    fit_signature(activations()).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"a file that SpectralSignature.save wrote, got .*signature\.pt"):
        SpectralSignature.load(path)


def test_only_signatures_are_written_over(tmp_path: Path) -> None:
    signature = fit_signature(activations())
    (tmp_path / "mine").write_text("mine")
    torch.save({"weights": torch.ones(1)}, tmp_path / "weights")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("mine")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("mine", "weights", "pipe", "link", "circle", "."):
        with pytest.raises(ValueError, match=r"SpectralSignature\.save writes over nothing but an older signature"):
            signature.save(tmp_path / name)
    assert (tmp_path / "mine").read_text() == "mine"
    signature.save(tmp_path / "good")
    (tmp_path / "other").symlink_to("good")
    signature.save(tmp_path / "other")
    assert (tmp_path / "other").is_symlink()
    assert SpectralSignature.load(tmp_path / "good").k == signature.k


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SpectralSignature.load(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError):
        fit_signature(activations()).save(tmp_path / "no folder" / "signature.pt")


def test_variant_a_literally() -> None:
    fitted, new = activations(10), activations(4, seed=1)
    signature = fit_signature(fitted)
    v, w = (leading_directions(x).directions for x in (fitted, new))
    torch.testing.assert_close(signature.kept, v)
    torch.testing.assert_close(signature.pairwise_cosines, pairwise_alignment(v))
    literal = torch.stack([torch.stack([(w[p] * v[q]).sum(dim=1).abs() for q in range(10)]).mean(0) for p in range(4)])
    torch.testing.assert_close(signature.pairwise(new), literal)


def test_variant_a_keeps_the_first_samples_whatever_the_batches() -> None:
    many = activations(100)
    expected = fit_signature(many).kept
    assert len(expected) == 64
    for size in (1, 50, 64, 99):
        fitter = SignatureFitter()
        for batch in many.split(size):
            fitter.update(batch)
        torch.testing.assert_close(fitter.fit().kept, expected, rtol=0, atol=0)
