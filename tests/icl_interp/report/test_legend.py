"""The legend that the figures of a grid share."""

from icl_interp.report.page import _shared_legend


def test_the_shared_legend_names_each_series_once():
    traces = [
        {"name": "model", "line": {"color": "#1f78b8", "dash": "9px,4px"}},
        {"name": "band", "showlegend": False},
        {"name": "points", "mode": "markers", "marker": {"color": [1, 2]}},
    ]
    entries = _shared_legend([{"data": traces}, {"data": traces}])
    assert [entry["name"] for entry in entries] == ["model", "points"]
    assert 'stroke-dasharray="9px,4px"' in entries[0]["swatch"]
    assert 'fill="currentColor"' in entries[1]["swatch"]
