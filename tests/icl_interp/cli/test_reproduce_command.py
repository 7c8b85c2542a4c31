"""icl-reproduce: the smoke preset end to end, going on after a stop, one-line errors, a light --help."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import icl_interp
from icl_interp.cli.reproduce import _app
from icl_interp.experiments.cost import read_cost
from icl_interp.experiments.files import FigureTables, read_kept, read_summary
from icl_interp.provenance import machine


def run(*arguments):
    return CliRunner().invoke(_app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("icl_interp.cli.shared._PLAIN_SECONDS", 0.0)
        patch.setattr(
            "icl_interp.report.printed.save_panels", lambda _, paths, style: paths["svg"].write_text(str(style))
        )
        figures = ("--figures", folder.with_name("smoke-figures"), "--figures-set", "width=single")
        return run("zhang2024", "--preset", "smoke", "--out", folder, *figures), folder


def test_smoke_writes_a_report_and_a_summary(smoke):
    result, folder = smoke
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} == {
        "measuring.json",
        "report.html",
        "runs",
        "zhang2024.json",
        "zhang2024-tables.json",
    }
    summary = read_summary(folder / "zhang2024.json")
    assert {claim.verdict for claim in summary.claims} == {"inconclusive", "no target"}
    assert str(folder) not in (folder / "zhang2024.json").read_text()
    assert summary.provenance["command"] == "icl-reproduce zhang2024 --preset smoke"
    assert " runs)" in summary.provenance["trained_by_commits"]
    assert summary.provenance["trained_on"].startswith(machine())
    assert summary.provenance["seconds_of_training"] > 0
    assert summary.provenance["seconds_of_measuring_in_this_folder"] > 0
    assert all(claim.statement in result.stdout for claim in summary.claims)


def test_its_figures_are_written_for_a_paper(smoke):
    figures = {path.stem: path.read_text() for path in smoke[1].with_name("smoke-figures").iterdir()}
    tables = read_kept(FigureTables, smoke[1] / "zhang2024-tables.json").tables
    assert sorted(figures) == sorted(table.id for table in tables)
    assert all("width='single'" in style for style in figures.values())


def test_training_has_a_forecast(smoke):
    shares = [float(line.split()[2]) for line in smoke[0].stderr.splitlines() if "training" in line]
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 100


def test_the_figures_numbers_are_kept_beside_the_summary(smoke):
    result, folder = smoke
    names = ("report.html", "zhang2024.json", "zhang2024-tables.json")
    assert result.stdout.splitlines()[-1] == ", ".join(str(folder / name) for name in names)
    found = read_kept(FigureTables, folder / "zhang2024-tables.json")
    assert [table.id for table in found.tables] == ["figure-1", "norms", "lengths", "parts", "moved", "table-1"]
    assert found.provenance == read_summary(folder / "zhang2024.json").provenance
    assert [claim.key for claim in read_summary(folder / "zhang2024.json").claims][-1] == "table-1-cells"
    cells = {check.label: check.interval.value for check in read_summary(folder / "zhang2024.json").claims[-1].checks}
    for model, entry, risk, *_ in found.tables[-1].rows:
        assert risk == pytest.approx(cells[f"b* entries {entry:g}, {model}: error"], rel=1e-5)  # six digits


def test_the_report_tells_every_claim_and_stands_alone(smoke):
    html = (smoke[1] / "report.html").read_text()
    for text in ("(Figure 1 of the paper)", "(Table 1 of the paper)", "Too few seeds", "What the paper leaves open"):
        assert text in html
    assert html.count('class="figure"') == 6
    assert 'src="http' not in html


def test_the_same_command_goes_on_finds_the_same_and_agrees_with_itself(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr("icl_interp.cli.shared._PLAIN_SECONDS", 0.0)
    _, folder = smoke
    own = folder / "zhang2024.json"
    before = json.loads(own.read_text())["claims"]
    checkpoints = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    kept = Path(shutil.copy(own, tmp_path / "kept.json"))
    again = run("zhang2024", "--preset", "smoke", "--out", folder, "--against", kept)
    assert (again.exit_code, again.stdout.splitlines()[-1]) == (0, f"every check agrees with {kept}")
    assert json.loads(own.read_text())["claims"] == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")} == checkpoints
    lines = again.stderr.splitlines()
    assert lines[0] == "zhang2024, training: 100 %, about 0 s left"  # all was trained already
    assert lines[-1] == "zhang2024, measuring: 100 %, about 0 s left"


@pytest.mark.slow
def test_two_workers_find_the_same(smoke, tmp_path):
    result = run("zhang2024", "--out", tmp_path / "o", "--workers", "2", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    one, two = (json.loads((folder / "zhang2024.json").read_text()) for folder in (smoke[1], tmp_path / "o"))
    assert two["claims"] == one["claims"]
    assert (two["provenance"]["workers"], one["provenance"]["workers"]) == (2, 1)


def test_against_says_where_a_run_differs(smoke, tmp_path):
    _, folder = smoke
    own = folder / "zhang2024.json"
    # A summary of three seeds that all met an expectation which this run misses.
    turned = json.loads(own.read_text())
    check = turned["claims"][0]["checks"][0]
    check |= {"values": [-1.0] * 3, "low": None, "high": 0.0}
    for claim in turned["claims"]:
        for each in claim["checks"]:
            each["values"] = (each["values"] * 3)[:3]
            del each["verdict"]  # it would have to follow from the values
        del claim["verdict"]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(turned))
    result = run("zhang2024", "--out", folder, "--against", other, "--quiet")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"differs: {turned['claims'][0]['key']}: {check['label']} is ")
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize("name", ["report.html", "zhang2024.json", "zhang2024-tables.json", "measuring.json"])
def test_a_foreign_file_is_refused_before_anything_runs(tmp_path, name):
    (tmp_path / name).write_text('{"mine": 1, "seconds": 2}')
    result = run("zhang2024", "--out", tmp_path)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert name in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"mine": 1, "seconds": 2}'


def test_a_foreign_cost_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "zhang2024-cost.json").write_text("mine")
    result = run("zhang2024", "--out", tmp_path, "--first-steps", "1")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: a cost is written over nothing but an older one")
    assert (tmp_path / "zhang2024-cost.json").read_text() == "mine"


def test_the_summary_that_is_compared_with_is_not_written_over(smoke):
    own = smoke[1] / "zhang2024.json"
    result = run("zhang2024", "--out", smoke[1], "--against", own)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        f"error: --against needs a summary that this command does not write anew, got {own};"
    )


def test_against_another_size_is_refused_before_anything_runs(smoke, tmp_path):
    result = run("zhang2024", "--preset", "laptop", "--out", tmp_path / "o", "--against", smoke[1] / "zhang2024.json")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --against needs a summary of zhang2024 at size laptop, got one of zhang20")
    assert list(tmp_path.iterdir()) == []


def test_against_another_version_is_refused_before_anything_runs(smoke, tmp_path):
    contents = json.loads((smoke[1] / "zhang2024.json").read_text())
    contents["claims"] = [claim for claim in contents["claims"] if claim["key"] not in ("gap", "gpt2")]
    older = tmp_path / "older.json"
    older.write_text(json.dumps(contents))
    result = run("zhang2024", "--out", tmp_path / "o", "--against", older)
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "error: --against needs a summary that has all claims of this version, got one without gap, gpt2: "
    )
    assert list(tmp_path.iterdir()) == [older]


def test_against_other_sizes_is_refused_before_anything_runs(smoke, tmp_path):
    contents = json.loads((smoke[1] / "zhang2024.json").read_text())
    contents["setting"][-1] = contents["setting"][-1].replace("width 16", "width 17")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(contents))
    result = run("zhang2024", "--out", tmp_path / "o", "--against", other, "--seed", "5")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --against needs a summary of the sizes that smoke has in this version, got")
    assert list(tmp_path.iterdir()) == [other]


def test_first_steps_say_what_a_preset_costs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("zhang2024", "--preset", "smoke", "--first-steps", "1", "--seed", "3", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "GPT-2 decoder, 1 layer" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("about ")
    assert list(tmp_path.iterdir()) == []


def test_first_steps_are_kept_where_a_folder_is_named(tmp_path):
    result = run("zhang2024", "--first-steps", "1", "--out", tmp_path / "o", "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    (path,) = (tmp_path / "o").iterdir()
    cost = read_cost(path)
    assert (path.name, cost.preset, cost.n_steps) == ("zhang2024-cost.json", "smoke", 1)
    assert cost.hours > 0
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["command"] == "icl-reproduce zhang2024 --preset smoke --first-steps 1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zhang2042"], "error: icl-reproduce needs one of zhang2024"),
        (["zhang2024", "--preset", "huge"], "error: --preset needs one of smoke, laptop, paper, got 'huge'."),
        (["zhang2042", "--first-steps", "1"], "error: icl-reproduce needs one of zhang2024"),
        (["zhang2024", "--seed", "1", "--seed", "1"], "error: --seed needs different seeds, got 1, 1."),
        (
            ["zhang2024", "--seed", "0", "--seed", "1", "--seed", "2"],
            "error: --preset smoke takes fewer than 3 seeds, since its numbers are not to be judged, got 3;",
        ),
        (["zhang2024", "--device", "nowhere"], "error: --device needs one that this machine has, got 'nowhere'"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, message, tmp_path):
    out = [] if "--first-steps" in arguments else ["--out", tmp_path / "o"]
    result = run(*arguments, *out)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("zhang2024", "--out", tmp_path / "file" / "o")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --out needs a folder that can be written, got")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom icl_interp.cli.reproduce import main\nsys.argv = ['icl-reproduce', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*sorted({'torch', 'transformer_lens', 'plotly', 'scipy', 'joblib', 'jinja2'} & set(sys.modules)), '.')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "Usage: icl-reproduce" in done.stdout
    assert done.stdout.splitlines()[-1] == "."


def test_version():
    assert run("--version").stdout == f"icl-interp {icl_interp.__version__}\n"
