"""What does each head's attention look like?"""

from icl_interp.measure.attention_patterns import COPY, INDUCTION, PREVIOUS, AttentionPatterns, Of
from icl_interp.measure.study.result import Study
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section
from icl_interp.report.sentences import number, percent
from icl_interp.report.tables import TableView

_MEANINGS = {  # who looks at what
    PREVIOUS: ("positions", "the one before"),
    COPY: ("labels", "their own input"),
    INDUCTION: ("inputs", "the label of the most similar earlier input"),
}
_CELLS: dict[Of, str] = {"mean": "mean", "one prompt": "one"}


def chapter(study: Study) -> Chapter:
    found, title = study.patterns, "What does each head's attention look like?"
    if found is None:
        return Chapter(Section("part-patterns", title, study.absent["patterns"]))
    figures = [_scores(found)] if found.scores else []
    return Chapter(Section("part-patterns", title, _lead(study, found), figures=(*figures, _grid(found))))


def _lead(study: Study, found: AttentionPatterns) -> str:
    joint = study.config.tokens == "joint"
    naming = "x1 is the first value" if study.config.tokens == "sequence" else "x1 is the first input and y1 its label"
    naming = "xy1 is the first example and the query stands last" if joint else naming
    shown, total = len(found.positions), found.n_positions
    cut = f" The last {shown} of {total} positions are drawn." if shown < total else ""
    last = " The model reads a sequence for each point; this is the one of the last point." if joint else ""
    steps = "1/255" if found.is_distribution else "1/127 of the largest weight"
    return (
        f"Each row is a position that looks, each column one that is looked at; {naming}.{last}{cut} Weights are kept "
        f"in steps of {steps}. These pictures describe the model: no untrained networks stand beside them."
    )


def _scores(found: AttentionPatterns) -> FigureView:
    sentence = _scores_sentence(found)
    frame = found.to_frame()
    n_rows = len(found.scores)
    return FigureView(
        id="attention-scores",
        title="Known kinds of heads",
        figure=found.plot_scores(),
        sentence=sentence,
        aria_label=f"Heat map of heads by scores of their attention. {sentence}",
        data=TableView(
            ("layer", "head", "quantity", "value", "uniform attention"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption=f"Scores and largest weights by head ({found.n_prompts} prompts)",
        ),
        height=140 + 40 * n_rows,
    )


def _scores_sentence(found: AttentionPatterns) -> str:
    asked = "; ".join("of {} to {} ".format(*_MEANINGS[name]) + f"({name})" for name in found.scores)
    text = f"Mean attention {asked}. A head of one of these kinds scores near 1."
    said = []
    for name, table in found.scores.items():
        layer, head = divmod(int(table.nan_to_num(-1).argmax()), table.shape[1])
        chance = number(found.chance[name])
        said.append(f"{name} {number(float(table[layer, head]))} in head {layer}.{head} (uniform attention: {chance})")
    return f"{text} The largest here: {'; '.join(said)}."


def _grid(found: AttentionPatterns) -> FigureGrid:
    layer, head = found.most_telling
    what = "Attention" if found.is_distribution else "Weights"
    titles: dict[Of, str] = {
        "mean": f"{what}, mean over {found.n_prompts} prompts",
        "one prompt": f"{what}, one prompt",
    }
    return FigureGrid(
        id="attention-patterns",
        title=f"{what} from position to position",
        sentence=_grid_sentence(found, layer, head),
        figures=tuple(_cell(found, layer, head, of, title) for of, title in titles.items()),
    )


def _grid_sentence(found: AttentionPatterns, layer: int, head: int) -> str:
    kind = found.kind(layer, head)
    if kind is None:
        largest = number(float(found.one.values[layer, head].abs().max()))
        return (
            f"At first head {layer}.{head} is shown. Linear attention has weights with signs; a layer of gradient "
            "descent weighs each example by how similar its input is to the query's. The largest weight of this head "
            f"on one prompt is {largest} in size."
        )
    name, value = kind
    who, whom = _MEANINGS[name]
    return (
        f"At first head {layer}.{head} is shown. A head that copies has a line just below the diagonal, one that only "
        f"averages has even rows. In this head {who} pay {percent(value)} of their attention to {whom} "
        f"({percent(found.chance[name])} if it were uniform)."
    )


def _cell(found: AttentionPatterns, layer: int, head: int, of: Of, title: str) -> FigureView:
    sentence = "The position of the row looks at that of the column."
    frame = found.pattern_frame(layer, head, of=of)
    return FigureView(
        id=f"attention-pattern-{_CELLS[of]}",
        title=title,
        figure=found.plot(layer, head, of=of),
        sentence=sentence,
        aria_label=f"Heat map of positions by positions, {title[0].lower()}{title[1:]}. {sentence}",
        data=TableView(
            ("from", "to", "weight"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption=f"{title}, head {layer}.{head}; weights that are stored as 0 are left out",
        ),
        height=400,
    )
