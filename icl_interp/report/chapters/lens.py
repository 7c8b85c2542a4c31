"""Where along the network and along the prompt does the answer arise?"""

from icl_interp.measure.lens_map import LOWEST, LensMap
from icl_interp.measure.study.result import Study
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import listing, number
from icl_interp.report.tables import TableView

_SMALL = 0.1
"""A read-out with a smaller error has the answer: our choice."""


def chapter(study: Study) -> Chapter:
    lens, title = study.lens, "Where along the prompt does the answer arise?"
    if lens is None:
        return Chapter(Section("part-lens", title, study.absent["lens"]))
    sentence = _sentence(lens)
    rows = lens.rows()
    view = FigureView(
        id="lens-map",
        title="Error of a read-out at each site, by number of examples",
        figure=lens.plot(),
        sentence=sentence,
        aria_label=f"Heat map of sites by numbers of examples. {sentence}",
        data=TableView(
            ("site", *(f"{k} examples" for k in lens.points)),
            tuple((name, *row) for name, row in rows.items()),
            caption="Error / E[y²] by site and number of examples",
        ),
        height=150 + 32 * len(rows),
    )
    few = (
        f" The stream is {lens.width} wide, wider than the number of prompts, so the read-outs' errors are too large."
        if lens.n_prompts <= lens.width
        else ""
    )
    lead = (
        f"At each site and for each number of examples a ridge read-out of its own is fitted to the labels of "
        f"{lens.n_prompts} prompts; each prompt is predicted by a fit to the others. What a read-out finds need not be "
        f"what the network uses.{few}"
    )
    return Chapter(Section("part-lens", title, lead, figures=(view,)))


def _sentence(lens: LensMap) -> str:
    text = (
        f"The last two rows are the model's own error and that of {lens.best_reference}; errors below {LOWEST:g} have "
        "the colour of that value. In a good model rows get darker from top to bottom and end as dark as the last one."
    )
    arrivals = {site: lens.arrives(site, error=_SMALL) for site in lens.sites}
    there = [f"{site} from {k} example{'' if k == 1 else 's'} on" for site, k in arrivals.items() if k is not None]
    if not there:
        least = number(float(lens.errors.min()))
        return f"{text} Here no read-out stays below an error of {_SMALL:g}; the least is {least}."
    return f"{text} Here read-outs stay below an error of {_SMALL:g} at {listing(there, most=6)}."
