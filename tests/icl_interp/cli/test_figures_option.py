"""--figures of icl-probe: the figures of the report in a folder, in the style that is asked for."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.cli.probe import _app
from icl_interp.figures.save import PrintStyle
from icl_interp.tasks.linear_regression import LinearRegression


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def printed(monkeypatch) -> dict[str, PrintStyle]:
    """What would be drawn: drawing itself is tested with the renderer and takes longer than the study."""
    found: dict[str, PrintStyle] = {}

    def keep(panels, paths, style):
        assert panels
        found.update({str(path): style for path in paths.values()})

    monkeypatch.setattr("icl_interp.report.printed.save_panels", keep)
    return found


def run(*arguments: object) -> None:
    result = CliRunner().invoke(_app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr


def test_the_figures_of_a_checkpoint_s_report(tmp_path, tiny_model, printed):
    path = save_checkpoint(tmp_path / "small.pt", tiny_model, task=LinearRegression(n_dims=3, n_points=8))
    run(path, "--no-controls", "--prompts", 8, "--shifts", "x_scale=3", "--layers", "0", "--figures", "paper")
    drawn = {f"paper/{name}.{kind}" for name in ("error-curve", "spectra") for kind in ("svg", "pdf", "png")}
    assert drawn <= set(printed)
    assert set(printed.values()) == {PrintStyle("double", "sans-serif")}


def test_the_figures_of_activations(printed):
    generator = np.random.default_rng(0)
    np.savez("bare.npz", **{name: generator.standard_normal((20, 4, 5)) for name in ("in distribution", "longer")})
    run("bare.npz", "--figures", "new/paper", "--figures-set", "width=single", "--figures-set", "font=serif")
    assert Path("new/paper").is_dir()
    assert "new/paper/auroc.svg" in printed
    assert set(printed.values()) == {PrintStyle("single", "serif")}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--figures", "file"], "--figures needs a folder that can be written or made, got file."),
        (["--figures", "page", "--out", "page"], "--out and --figures need two files, got page for both."),
        (["--figures-set", "font=serif"], "--figures-set needs --figures DIR"),
        (
            ["--figures", "new", "--figures-set", "size=3"],
            "--figures-set needs key=value",
        ),
    ],
)
def test_what_cannot_be_a_folder_of_figures_is_refused_before_anything_is_read(refuses, arguments, sentence):
    Path("file").touch()
    assert refuses(_app, "no-such-checkpoint.pt", *arguments).startswith(sentence)
    assert not Path("new").exists()
