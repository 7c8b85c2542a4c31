"""Where do shifted prompts leave the signature, under which shifts, and in which direction?"""

import math
from collections.abc import Sequence

from icl_interp.measure.atlas import Atlas, AtlasCell, Beside
from icl_interp.measure.study.result import Surveyed
from icl_interp.report.model import Chapter, FigureView, Section, Verdict
from icl_interp.report.sentences import TONES, number
from icl_interp.report.tables import Cell, TableView

_QUESTION = "Do shifted prompts leave the signature?"
_TITLE = "Where do shifted prompts leave the signature?"


def chapter(study: Surveyed) -> Chapter | None:
    atlas: Atlas | None = study.atlas
    if atlas is None:
        return None
    cells = [cell for cell in atlas.cells if math.isfinite(cell.value)]
    tables = [_found(atlas)] if atlas.found else []
    if any(cell.keeps_energy for cell in cells):
        tables.append(_kept(cells))
    tables.append(_readings(atlas))
    section = Section("atlas", _TITLE, _lead(atlas), figures=(_map(atlas),), tables=tuple(tables))
    return Chapter(section, (_card(atlas),))


def _lead(atlas: Atlas) -> str:
    text = (
        "Each cell is one shift at one site. Its number is the AUROC of 1 - overlap, shifted prompts against prompts "
        "in distribution: above 0.5 shifted prompts leave the signature, below 0.5 they stay in it. "
    )
    if atlas.reason is not None:
        return f"{text}The atlas is described and not judged: {atlas.reason}."
    return text + (
        f"A network's score is its largest distance from the {atlas.n_controls} other networks in any cell. A cell is "
        "evidence or the opposite where p, the share of networks with such a score, is below 5 %: so all cells are "
        "judged together. They are a family of claims of their own, apart from the other claims of this report."
    )


def _card(atlas: Atlas) -> Verdict:
    tone, detail, word = TONES[atlas.verdict], None, None
    if {cell.verdict for cell in atlas.found} == {"evidence", "opposite"} and atlas.verdict != "inconclusive":
        tone, word = "mixed", "Both ways"
    points: tuple[str, ...] = ()
    if atlas.reason is None:
        largest = max(atlas.scores[1:])
        detail = (
            f"Largest distance from the other networks: {number(atlas.scores[0])} standard deviations, in untrained "
            f"networks at most {number(largest)}; p = {number(atlas.p_value)} (all cells together)."
        )
        points = _points(atlas)
    return Verdict(_QUESTION, atlas.describe(), tone, detail, "atlas", word, points)


def _points(atlas: Atlas) -> tuple[str, ...]:
    found, points = atlas.found, []
    if found:
        beyond = sum(cell.beyond_norms for cell in found)
        points.append(f"Cells that detect shifted prompts better than norms alone: {beyond} of {len(found)}.")
    kept = {cell.shift for cell in atlas.cells if cell.keeps_energy}
    if kept:
        seen = {cell.shift for cell in found} & kept
        points.append(
            f"Shifts that keep the energy of inputs and labels and show something: {len(seen)} of {len(kept)}."
        )
    return tuple(points)


def _map(atlas: Atlas) -> FigureView:
    largest = max(atlas.cells, key=lambda cell: abs(cell.value - cell.level) if math.isfinite(cell.value) else -1.0)
    sentence = f"AUROC of each cell minus 0.5. The largest is at {largest.site} under {largest.shift}: "
    if atlas.n_controls:
        n, what = len(atlas.found), "largest difference"
        if n:
            largest, what = atlas.found[0], "clearest of them"
        framed = f"{n} cell{' is' if n == 1 else 's are'} framed, where the model differs. " if n else ""
        sentence = (
            "AUROC of each cell minus that in untrained networks. Where training does not change the signature, cells "
            f"are pale. {framed or 'No cell is framed. '}The {what if n != 1 else 'cell'} is at {largest.site} under "
            f"{largest.shift}: "
        )
    sentence += number(largest.value)
    sentence += f", in untrained networks {number(largest.control)}." if atlas.n_controls else "."
    return FigureView(
        id="atlas-map",
        title="The atlas: sites by shifts",
        figure=atlas.plot(),
        sentence=sentence,
        aria_label=f"Heat map, one row per shift, one column per site. {sentence}",
        data=_all(atlas),
        height=170 + 24 * len(atlas.rows()),
    )


def _all(atlas: Atlas) -> TableView:
    rows: list[tuple[Cell, ...]] = [
        (*_where(cell), cell.norms, _yes(cell.keeps_energy), cell.verdict) for cell in atlas.cells
    ]
    return TableView(
        columns=("site", "shift", "AUROC", "untrained", "z", "p", "norms alone", "energy kept", "verdict"),
        rows=tuple(rows),
        caption="Every cell of the atlas",
        notes="z: distance of the model from untrained networks in their standard deviations, on the logit scale. p: "
        "share of networks whose largest |z| over the atlas is at least as large. Norms alone: AUROC of the norms of "
        "inputs and labels, without any network.",
    )


def _where(cell: AtlasCell) -> tuple[Cell, ...]:
    return cell.site, cell.shift, cell.value, cell.control, cell.z, cell.p_value


def _found(atlas: Atlas) -> TableView:
    rows: list[tuple[Cell, ...]] = [
        (
            *_where(cell), "more" if cell.z > 0 else "less", cell.norms, cell.over_norms.value, cell.over_norms.low,
            cell.over_norms.high, None if cell.again is None else cell.again.value, cell.z_again,
            _yes(cell.confirmed),
        )
        for cell in atlas.found
    ]  # fmt: skip
    why = f" Cells were not measured again, since {atlas.unconfirmed}." if atlas.unconfirmed else ""
    return TableView(
        columns=(
            "site", "shift", "AUROC", "untrained", "z", "p", "leave it", "norms alone", "over norms", "low", "high",
            "AUROC again", "z again", "confirmed",
        ),
        rows=tuple(rows),
        caption="Cells in which the model differs from untrained networks",
        notes="Leave it: whether shifted prompts leave the signature more or less than in untrained networks. Over "
        "norms: AUROC of 1 - overlap (more) or of the overlap (less) minus that of norms, with a 95 % interval of this "
        "cell alone. Again: on prompts kept aside, in the same networks with the same signatures; confirmed by the "
        f"same rule among these cells.{why}",
    )  # fmt: skip


def _kept(cells: Sequence[AtlasCell]) -> TableView:
    shifts = dict.fromkeys(cell.shift for cell in cells if cell.keeps_energy)
    most = [
        max((c for c in cells if c.shift == shift), key=lambda c: abs(c.z) if math.isfinite(c.z) else -1.0)
        for shift in shifts
    ]
    rows: list[tuple[Cell, ...]] = [(cell.shift, cell.site, *_where(cell)[2:], cell.verdict) for cell in most]
    return TableView(
        columns=("shift", "site of the largest |z|", "AUROC", "untrained", "z", "p", "verdict"),
        rows=tuple(rows),
        caption="Shifts that keep the energy of inputs and labels",
        notes="Norms cannot see these shifts on average: second moments of inputs and labels differ by less "
        "than 10 % or two standard errors.",
    )


def _readings(atlas: Atlas) -> TableView:
    rows: list[tuple[Cell, ...]] = []
    for reading in atlas.readings:
        numbers = (reading.log_labels, reading.log_inputs, reading.r2, reading.error_within, reading.error_pooled)
        rows.append((reading.site, *(cell for each in numbers for cell in (each.value, _spread(each)))))
    names = (
        "slope on log |y|",
        "slope on log |x|",
        "R²",
        "1 - overlap and error",
        "1 - overlap and error, all families",
    )
    return TableView(
        columns=("site", *(column for name in names for column in (name, "untrained"))),
        rows=tuple(rows),
        caption="What moves the overlap, and whether it predicts the error",
        notes="Slopes: of logit(overlap) on the standardised logarithms of the norms of labels and inputs, for prompts "
        "in distribution. 1 - overlap and error: Spearman with the model's log error, in distribution and "
        "over all families. Untrained: mean, least and largest.",
    )


def _spread(beside: Beside) -> str | None:
    low, high = beside.span
    return f"{number(beside.mean)} ({number(low)} to {number(high)})" if math.isfinite(low) else None


def _yes(value: bool | None) -> str | None:  # noqa: FBT001
    return None if value is None else "yes" if value else "no"
