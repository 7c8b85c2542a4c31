"""Leading directions and whole spectra against torch's decompositions."""

import torch
from row import Row, Sizes, best_times
from torch import Tensor

from probes.spectra import leading_directions, singular_values

ROWS, COLUMNS = 82, 256


def matrices(n: int, kind: str) -> Tensor:
    """Draw matrices: "decaying" has singular values 1/i, "gaussian" independent entries, "tied" s2 = s3.

    Returns:
        Float32 matrices [n row col].
    """
    generator = torch.Generator().manual_seed(0)
    if kind == "gaussian":
        return torch.randn(n, ROWS, COLUMNS, generator=generator)
    left = torch.linalg.qr(torch.randn(n, ROWS, ROWS, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(n, COLUMNS, ROWS, generator=generator, dtype=torch.float64)).Q
    values = 1.0 / torch.arange(1, ROWS + 1, dtype=torch.float64)
    if kind == "tied":  # signed unit vectors, so that the tie is exact
        values[2] = values[1]
        signs = torch.randn(n, ROWS, generator=generator).sign()
        return torch.diag_embed((values * signs).float(), dim1=1, dim2=2).matmul(torch.eye(ROWS, COLUMNS))
    return (left * values @ right.mT).float()


def _ours(batch: Tensor) -> Tensor:
    return leading_directions(batch, spectrum="leading").directions


def _svd(batch: Tensor) -> Tensor:
    return torch.linalg.svd(batch, full_matrices=False).Vh[:, :2]


def _directions_row(kind: str, wanted: float, sizes: Sizes) -> Row:
    batch = matrices(sizes.prompts, kind)
    (ours, rival), (answer, _) = best_times([lambda: _ours(batch), lambda: _svd(batch)], sizes.repeats)
    truth = torch.linalg.svd(batch.double(), full_matrices=False).Vh[:, :2]
    error = float((1.0 - (answer.double() * truth).sum(dim=-1).abs()).max())
    each = 1e3 / len(batch)
    return Row(f"top-2, {kind}: svd float32; 1 - |cos|", ours * each, rival * each, wanted, error, 1e-6)


def _tie_row(sizes: Sizes) -> Row:
    batch = torch.cat([matrices(sizes.prompts // 2, kind) for kind in ("tied", "gaussian")])
    expected = torch.arange(len(batch)) < len(batch) // 2
    (ours, rival), _ = best_times([lambda: _ours(batch), lambda: _svd(batch)], sizes.repeats)
    wrong = int((leading_directions(batch, spectrum="leading").tied != expected).sum())
    each = 1e3 / len(batch)
    name = "top-2, half exact ties: svd float32; wrong flags"
    return Row(name, ours * each, rival * each, 1 / 1.2, float(wrong), 0.0)


def _spectrum_row(kind: str, sizes: Sizes) -> Row:
    batch = matrices(sizes.prompts, kind)
    sides = [lambda: singular_values(batch), lambda: torch.linalg.svdvals(batch.double())]
    (ours, rival), (answer, truth) = best_times(sides, sizes.repeats)
    error = float(((answer.double() - truth).abs() / truth[:, :1]).max())
    each = 1e3 / len(batch)
    return Row(f"spectrum, {kind}: svdvals float64; error / s1", ours * each, rival * each, 1.5, error, 1e-6)


def spectra_rows(sizes: Sizes) -> list[Row]:
    """Compare directions and spectra.

    Returns:
        One row per comparison, times in milliseconds per matrix.
    """
    return [
        _directions_row("decaying", 6.0, sizes),
        _directions_row("gaussian", 1 / 1.2, sizes),
        _tie_row(sizes),
        _spectrum_row("decaying", sizes),
        _spectrum_row("gaussian", sizes),
    ]
