"""Which heads and MLPs write the answer?"""

import math

from icl_interp.measure.direct_contributions import DirectContributions
from icl_interp.measure.study.result import Study
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import listing, percent
from icl_interp.report.tables import TableView
from probes.bootstrap import Estimate

_MOST_OF_IT = 0.9
_NAMED = 3


def chapter(study: Study) -> Chapter:
    found, title = study.contributions, "Which heads and MLPs write the answer?"
    if found is None:
        return Chapter(Section("contributions", title, study.absent["contributions"]))
    lead = (
        f"The answer is a sum: the read-in, each head and each MLP add to the residual stream of the query, and the "
        f"read-out reads the sum. Shares are of the answers after {found.first_late} or more examples, and all of them "
        f"together are 100 % ({found.n_prompts} prompts). A part with no share may still prepare what a later one "
        "reads. No untrained networks stand beside these numbers, so they describe the model and are no evidence of "
        "learning."
    )
    if study.config.family == "ltb":
        lead += (
            " The MLPs are linear maps that everything before them goes through, so they have no share of their own."
        )
    lone = sum(name.startswith(("head", "MLP")) for name in found.components) == 1  # a map of one cell shows nothing
    figures = (_over_examples(found, _leaders(found)),) if lone else (_map(found), _over_examples(found))
    return Chapter(Section("contributions", title, lead, figures=figures))


def _map(found: DirectContributions) -> FigureView:
    sentence = (
        f"Share of the answer that each head and MLP writes. If few parts do the work, few cells are strong. "
        f"{_leaders(found)}"
    )
    frame = found.to_frame()[["component", "share", "low", "high", "size"]]
    return FigureView(
        id="contributions-map",
        title="What each head and MLP writes into the answer",
        figure=found.plot(),
        sentence=sentence,
        aria_label=f"Heat map of blocks by heads and MLP. {sentence}",
        data=TableView(
            tuple(frame.columns),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Direct contributions to the answer",
            notes="Share: of the late answers, with a 95 % interval over prompts. Size: root mean square of what the "
            "part writes, divided by that of the answers; a large size with a small share means that it is cancelled "
            "or does not follow the answer.",
        ),
        height=150 + 34 * found.n_layers,
    )


def _leaders(found: DirectContributions) -> str:
    if not math.isfinite(found.shares[0].value):
        return "Here the answers are zero, so nothing writes them."
    order = found.ordered()
    first, *rest = ((found.components[i], found.shares[i]) for i in order[:_NAMED])
    text = f"Here {first[0]} writes most: {_with_interval(first[1])}"
    text += f"; next {listing([f'{name} ({percent(share.value)})' for name, share in rest])}." if rest else "."
    positive = sorted((share.value for share in found.shares if share.value > 0), reverse=True)
    sums = [math.fsum(positive[: n + 1]) for n in range(len(positive))]
    enough = next((n for n, total in enumerate(sums, start=1) if total >= _MOST_OF_IT), None)
    if enough is None or len(found.shares) <= _NAMED:
        return text
    return f"{text} {enough} of {len(found.shares)} parts together write {percent(sums[enough - 1])}."


def _with_interval(share: Estimate) -> str:
    return f"{percent(share.value)} [{percent(share.low)}, {percent(share.high)}]"


def _over_examples(found: DirectContributions, leaders: str = "") -> FigureView:
    table = found.by_examples
    said = [
        f"{'Shares' if leaders else 'The same shares'} of the answers after 0, 1, ... examples.",
        "If one mechanism answers throughout, rows keep their colour.",
        *([leaders] if leaders else []),
    ]
    top, known = found.ordered()[0], table.isfinite().all(0).nonzero().flatten().tolist()
    if len(known) > 1:
        first, last = (percent(float(table[top, k])) for k in (known[0], known[-1]))
        said.append(
            f"Here the share of {found.components[top]} goes from {first} after {_examples(known[0])} to {last} after "
            f"{_examples(known[-1])}."
        )
    else:
        said.append("Here there are too few answers to follow.")
    sentence = " ".join(said)
    columns = ("component", *(str(k) for k in range(table.shape[1])))
    rows = tuple((name, *row) for name, row in zip(found.components, table.tolist(), strict=True))
    return FigureView(
        id="contributions-examples",
        title="Shares of the answer by number of examples",
        figure=found.plot("examples"),
        sentence=sentence,
        aria_label=f"Heat map of components by number of examples. {sentence}",
        data=TableView(columns, rows, caption="Shares of the answer after 0, 1, ... examples"),
        height=150 + 20 * min(len(found.components), 25),
    )


def _examples(n: int) -> str:
    return "1 example" if n == 1 else f"{n} examples"
