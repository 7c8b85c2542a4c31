"""Pages made by hand for the browser: one with everything that can be chosen, one as large as reports get."""

import numpy as np
import plotly.graph_objects as go

from icl_interp.figures.choices import along
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import base_layout, role_style, shift_style
from icl_interp.report import Fact, FigureGrid, FigureView, Page, Section, TableView, Verdict

SHIFTS = ("x_scale=3", "w_rotation=1/4", "label_noise=1")


def view(name: str, figure: go.Figure, **more: object) -> FigureView:
    return FigureView(name, f"Title of {name}", figure, f"Finding of {name}.", f"Chart of {name}.", **more)


def patterns(n_layers: int, n_heads: int, side: int) -> go.Figure:
    """Attention patterns that take turns, one heat map per head, each entry of layer l and head h equal to 10 l + h."""
    names = [f"{letter}{i}" for i in range(1, side // 2 + 1) for letter in "xy"]
    figure = go.Figure(layout=base_layout(x="key", y="query", legend=False))
    for layer in range(n_layers):
        for head in range(n_heads):
            cells = np.random.default_rng(layer * n_heads + head).integers(0, 256, (side, side), dtype=np.uint8)
            cells[0] = 10 * layer + head
            figure.add_heatmap(
                z=cells,
                x=names,
                y=names,
                zmin=0,
                zmax=255,
                meta={"layer": layer, "head": head},
                visible=layer == head == 0,
                hovertemplate=f"head {layer}.{head}, %{{y}} to %{{x}}: %{{z}} / 255<extra></extra>",
            )
    return figure.update_yaxes(autorange="reversed")


def curves(name: str) -> go.Figure:
    """One curve for each shift, all shown at first, beside one that belongs to none."""
    lines = [Line("model", range(5), [1.0, 0.5, 0.3, 0.2, 0.1], role_style("model"), [0.9] * 5, [1.1] * 5)]
    lines += [
        Line(shift, range(5), [i + 1.0] * 5, shift_style(i), [i + 0.5] * 5, [i + 1.5] * 5, place={"shift": shift})
        for i, shift in enumerate(SHIFTS)
    ]
    return lines_figure(lines, x="examples", y=f"error {name}")


def heads_map(n_layers: int, n_heads: int) -> go.Figure:
    figure = heatmap_figure(
        [[float(10 * layer + head) for head in range(n_heads)] for layer in range(n_layers)],
        rows=[f"block {layer}" for layer in range(n_layers)],
        columns=[str(head) for head in range(n_heads)],
        x="head",
        y="layer",
        unit="rise",
        text=True,
    )
    heads = [{"head": head} for head in range(n_heads)]
    return along(figure, x=heads, y=[{"layer": layer} for layer in range(n_layers)])


def table(n_columns: int = 3, n_rows: int = 4) -> TableView:
    columns = ("name", *(f"quantity {i:02d}" for i in range(1, n_columns)))
    rows = tuple((f"row {r}", *(r + i / 100 for i in range(1, n_columns))) for r in range(n_rows))
    return TableView(columns, rows, caption="A table of numbers", notes="What the columns hold.")


def small_page() -> Page:
    few = table(2)
    grid = FigureGrid(
        "grid", "Curves side by side", "What is seen.", (view("cell-a", curves("a")), view("cell-b", curves("b")))
    )
    turns = (view("patterns", patterns(3, 2, 8), data=few), view("heads", heads_map(3, 2), data=few))
    sections = (
        Section("first", "What can be chosen", "A lead.", (*turns, grid), (table(26, 6), table(4))),
        Section("second", "Folded", figures=(view("folded", patterns(2, 2, 8), data=few),), folded=True),
    )
    verdict = Verdict("Is it so?", "Yes. It is.", "evidence", detail="In detail.", anchor="grid")
    return Page("A page for tests", "Made by hand.", (), (Fact("What", "a page"),), (verdict,), sections)


def large_page() -> Page:
    """24 layers of 16 heads, and forty further figures."""
    few = table(3, 200)
    parts = tuple(
        Section(
            f"part-{p}", f"Part {p}", figures=tuple(view(f"line-{p}-{i}", curves("c")) for i in range(10)), folded=p > 0
        )
        for p in range(4)
    )
    heads = (
        view("patterns", patterns(24, 16, 48), data=few, height=640),
        view("heads", heads_map(24, 16), data=few, height=700),
    )
    return Page(
        "A large page", sections=(Section("heads-of-all", "Heads", figures=heads), Section("more", "More", parts=parts))
    )
