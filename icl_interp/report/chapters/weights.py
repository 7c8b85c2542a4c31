"""What do the weights say?"""

import math

import torch

from icl_interp.measure.study.result import Study
from icl_interp.measure.weight_views import WeightViews
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section
from icl_interp.report.sentences import listing, number, percent
from icl_interp.report.tables import Cell, TableView


def chapter(study: Study) -> Chapter:
    views, title = study.weights, "What do the weights say?"
    if views is None:
        return Chapter(Section("weights", title, study.absent["weights"]))
    norms = getattr(study.config, "normalization_type", None) is not None
    lead = (
        "Weights between coordinates of the input: what a head compares, and what it writes from a token it attends to."
    )
    if norms:
        lead += " The norms' weights are in, their scale is not, since it differs from token to token."
    if study.config.n_layers > 1:
        lead += " In later blocks this is what a head makes of the read-in alone, without what earlier blocks wrote."
    lead += " The weights of one network stand alone here, so they are no evidence of learning."
    lead += "".join(f" {limit}" for limit in views.limits)
    step = () if views.step is None else (_preconditioner(views), _start(views))
    several = (_overview(views),) if len(views.heads) > 1 else ()
    figures = (*step, *several, _qk(views), _ov(views), _read_in(views))
    return Chapter(Section("weights", title, lead, figures=figures))


def _preconditioner(views: WeightViews) -> FigureGrid:
    own = views.step.preconditioner.double()  # type: ignore[union-attr]
    sentence = (
        "The weights of such a network are one gradient step: each answer is the start plus a preconditioned gradient "
        f"over the examples. Here the diagonal is {number(float(own.diagonal().mean()))} on average and other entries "
        f"are {number(float(_others(own)))} in size"
    )
    cells = [_matrix(views, "preconditioner", "This model", own)]
    if views.optimum is not None:
        best = views.optimum.preconditioner.double()
        away = float((own - best).norm() / best.norm()) if bool(best.any()) else float("inf")
        cells.append(_matrix(views, "optimum", "Best for the task", best))
        diagonal = number(float(best.diagonal().mean()))
        sentence += (
            f"; the best step for {views.optimum.n_pairs} examples has {diagonal} there, and the model's differs from "
            f"it by {percent(away)} of its size"
        )
    return FigureGrid("weights-step", "Preconditioner of the gradient step", f"{sentence}.", tuple(cells))


def _others(matrix: torch.Tensor) -> float:
    n = len(matrix)
    off = matrix - matrix.diagonal().diag()
    return float(off.abs().sum() / (n * (n - 1))) if n > 1 else 0.0


def _matrix(views: WeightViews, of: str, title: str, matrix: torch.Tensor) -> FigureView:
    names = tuple(f"x{i + 1}" for i in range(len(matrix)))
    sentence = (
        f"Its diagonal goes from {number(float(matrix.diagonal().min()))} to {number(float(matrix.diagonal().max()))}."
    )
    rows: list[tuple[Cell, ...]] = [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)]
    return FigureView(
        id=f"weights-{of}",
        title=title,
        figure=views.plot(of),
        sentence=sentence,
        aria_label=f"Heat map of a square matrix over input coordinates. {sentence}",
        data=TableView(("coordinate", *names), tuple(rows), caption=f"Preconditioner: {title.lower()}"),
        height=320,
    )


def _start(views: WeightViews) -> FigureView:
    step = views.step
    assert step is not None
    apart = float((step.start - step.without_examples).norm())
    size = float(step.start.norm())
    sentence = (
        "Where the gradient step starts. If the network takes such a step, the start that its values imply equals the "
        f"weights by which it answers without examples. Here they are {number(apart)} apart, and the start is "
        f"{number(size)} long"
    )
    if views.optimum is not None:
        sentence += f"; the best start is {number(float(views.optimum.init.norm()))} long"
    best = [None] * len(step.start) if views.optimum is None else views.optimum.init.tolist()
    rows = tuple(
        (f"x{i + 1}", own, plain, other)
        for i, (own, plain, other) in enumerate(
            zip(step.start.tolist(), step.without_examples.tolist(), best, strict=True)
        )
    )
    return FigureView(
        id="weights-start",
        title="Start of the gradient step",
        figure=views.plot("start"),
        sentence=f"{sentence}.",
        aria_label=f"Dot plot, one row per coordinate. {sentence}.",
        data=TableView(("coordinate", "this model", "answer without examples", "optimum"), rows, caption="Start"),
        height=150 + 26 * len(step.start),
    )


def _overview(views: WeightViews) -> FigureView:
    writing = [head for head in views.heads if abs(head.label_to_answer) > views.leader.ov_answer / 2]
    cosines = [abs(head.qk_identity) for head in writing if math.isfinite(head.qk_identity)]
    sentence = (
        "Two numbers for each head: the cosine of what it compares with the identity over the inputs, and what a label "
        "that it attends to adds to the answer, as a share of the largest. A head that does gradient descent is strong "
        f"in both rows. Here {len(writing)} of {len(views.heads)} heads write labels at more than half of the largest "
        "strength"
    )
    if cosines:
        names = listing([f"{head.layer}.{head.head}" for head in writing])
        sentence += f" ({names}), with |cos| from {number(min(cosines))} to {number(max(cosines))}"
    sentence += "."
    return _heads(views, "heads", "Each head in two numbers", sentence, "two quantities by head", height=230)


def _qk(views: WeightViews) -> FigureView:
    sentence = (
        "Rows are coordinates of the query, columns of the key. A head that compares inputs by their product has a "
        f"diagonal of equal entries. {_shown(views)} its cosine with the identity over the inputs is "
        f"{_number(views.leader.qk_identity)}."
    )
    return _heads(views, "QK", "What each head compares (QK)", sentence, "query's coordinates by key's coordinates")


def _ov(views: WeightViews) -> FigureView:
    sentence = (
        "Rows are coordinates of a token that is attended to, columns what the head writes from them. A head that "
        "brings labels into the answer has its strongest entry where the label's row meets the last column. "
        f"{_shown(views)} {_percent(views.leader.from_label)} of that (squared) comes from the coordinate of labels."
    )
    return _heads(views, "OV", "What each head writes (OV)", sentence, "token's coordinates by what is written")


def _shown(views: WeightViews) -> str:
    most = views.leader
    return f"Shown at first is head {most.layer}.{most.head}, which writes most into the answer;"


def _number(value: float) -> str:
    return number(value) if math.isfinite(value) else "undefined, since it is zero"


def _percent(share: float) -> str:
    return percent(share) if math.isfinite(share) else "none"


def _heads(
    views: WeightViews, of: str, title: str, sentence: str, axes: str, *, height: int | None = None
) -> FigureView:
    frame = views.to_frame()
    names = {
        "qk_norm": "norm of QK", "qk_identity": "cosine with identity", "ov_answer": "into the answer",
        "from_label": "share from labels", "label_to_answer": "label into the answer",
    }  # fmt: skip
    return FigureView(
        id=f"weights-{of.lower()}",
        title=title,
        figure=views.plot(of),
        sentence=sentence,
        aria_label=f"Heat map, {axes}. {sentence}",
        data=TableView(
            tuple(names.get(str(name), str(name)) for name in frame.columns),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Heads in a few numbers",
            notes="Cosine with identity: of QK, over the coordinates of inputs. Into the answer: length of what the "
            "head writes into the answer, over input coordinates; beside it the entries.",
        ),
        height=height or 200 + 24 * len(views.inputs),
    )


def _read_in(views: WeightViews) -> FigureView:
    rows = views.read_in.double()
    norms = rows.norm(dim=1)
    unit = rows / norms.clamp(min=1e-300)[:, None]
    cosines = (unit @ unit.T - torch.eye(len(rows))).abs()
    most = float(cosines.max()) if len(rows) > 1 else 0.0
    sentence = (
        "Where each input coordinate enters the residual stream, and the direction that the answer reads; rows have "
        "length 1. If coordinates stay apart, rows are orthogonal. Here the largest |cos| between two of them is "
        f"{number(most)}, and their lengths go from {number(float(norms.min()))} to {number(float(norms.max()))}."
    )
    out = views.read_out.double() / views.read_out.double().norm().clamp(min=1e-300)
    table: list[tuple[Cell, ...]] = [
        (name, float(length), float(row @ out)) for name, length, row in zip(views.inputs, norms, unit, strict=True)
    ]
    return FigureView(
        id="weights-read-in",
        title="Read-in and read-out",
        figure=views.plot("read-in"),
        sentence=sentence,
        aria_label=f"Heat map of input coordinates by dimensions of the stream. {sentence}",
        data=TableView(("coordinate", "length", "cosine with the read-out"), tuple(table), caption="Read-in"),
        height=170 + 22 * len(views.inputs),
    )
