"""icl-reproduce hill2025 at the size smoke: report and summary."""

from typer.testing import CliRunner

from icl_interp.cli.reproduce import _app
from icl_interp.experiments.files import read_summary


def test_smoke_writes_a_report_and_a_summary(tmp_path):
    first = CliRunner().invoke(_app, ["hill2025", "--preset", "smoke", "--out", str(tmp_path)])
    assert first.exit_code == 0, first.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "runs",
        "measured",
        "measuring.json",
        "hill2025.json",
        "hill2025-tables.json",
    }
    summary = read_summary(tmp_path / "hill2025.json")
    assert {claim.verdict for claim in summary.claims} == {"inconclusive", "no target"}
    html = (tmp_path / "report.html").read_text()
    for text in (
        "By which conventions does a model differ from untrained networks?",
        "Too few seeds",
        "What the paper leaves open",
    ):
        assert text in html
