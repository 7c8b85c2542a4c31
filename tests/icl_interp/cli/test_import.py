"""--import: the user's own file runs first, here and in worker processes; what is wrong in it is said to be theirs."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_cluster import Cluster
from joblib.externals.loky import get_reusable_executor
from typer.testing import CliRunner, Result

import icl_interp as icl
from icl_interp import jobs, registry, user_files
from icl_interp.cli.probe import _app as probe
from icl_interp.cli.reproduce import _app as reproduce
from icl_interp.cli.train import _app as train

FEW_PARTS = """
import icl_interp as icl
from my_neighbour import FACTOR


@icl.register_task
class Doubled(icl.LinearRegression):
    family: str = "doubled"

    def draw_labels(self, xs, *, seed):
        labels = super().draw_labels(xs, seed=seed)
        return icl.Labels(FACTOR * labels.ys, FACTOR * labels.ws)

    def label_second_moment(self):
        return FACTOR**2 * super().label_second_moment()


icl.register_shift(icl.Shift("halved", (), "inputs", "the task itself", lambda task, _: task, core=False))


@icl.register_reference
def last_label(xs, ys):
    said = ys.roll(1, dims=1)
    said[:, 0] = 0
    return said
"""
"""What a process can have without TransformerLens."""
MORE = """

from probes.ood import fit_mahalanobis


@icl.register_detector
def twice(features):
    return fit_mahalanobis(features)


@icl.register_target
def input_length(prompts):
    return prompts.xs.norm(dim=2)
"""
NEEDED = "icl_interp.jobs"
"""What the workers of `cluster` import first."""
MODEL = icl.ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
FEW = ("--prompts", "8", "--no-controls", "--quiet")


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Nothing of a user's file stays for the tests that follow."""
    known = [icl.TASKS, icl.SHIFTS, icl.READERS, icl.REFERENCES, icl.DETECTORS, icl.TARGETS]
    before, modules, places = [dict(each) for each in known], set(sys.modules), copy.copy(sys.path)
    yield
    for each, held in zip(known, before, strict=True):
        each.clear()
        each.update(held)
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]
    sys.path[:] = places
    user_files._RUN.clear()
    get_reusable_executor().shutdown()


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    (tmp_path / "my_neighbour.py").write_text("FACTOR = 2.0\n")
    file = tmp_path / "my_parts.py"
    file.write_text(FEW_PARTS + MORE)
    return file


@pytest.fixture
def checkpoint(tmp_path: Path, parts: Path) -> Path:
    """A checkpoint of an own task, in a process that does not know it any more."""
    user_files.import_files([parts])
    task = sys.modules["my_parts"].Doubled(2)
    path = icl.save_checkpoint(tmp_path / "model.pt", icl.build_model(MODEL, seed=0), task=task)
    for kind in (icl.TASKS, icl.SHIFTS, icl.REFERENCES, icl.DETECTORS, icl.TARGETS):
        for name in kind.theirs:
            del kind[name]
    user_files._RUN.clear()
    del sys.modules["my_parts"]
    return path


def call(app: object, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])  # type: ignore[arg-type]


def test_icl_probe_uses_all_that_the_file_registers(tmp_path: Path, parts: Path, checkpoint: Path) -> None:
    out = tmp_path / "found.json"
    result = call(
        probe, checkpoint, "--import", parts, "--shifts", "halved,x_scale=3", "--json", out,
        "--out", tmp_path / "report.html", *FEW,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["study"]["task"]["family"] == "doubled"
    assert set(found["study"]["families"]["by_label"]) == {"in distribution", "x_scale=3", "halved"}
    for part in ("halved", "last_label", "twice", "input_length"):
        assert part in out.read_text()
        assert part in (tmp_path / "report.html").read_text()


def test_a_checkpoint_says_which_file_it_needs(tmp_path: Path, checkpoint: Path) -> None:
    result = call(probe, checkpoint, "--out", tmp_path / "report.html", *FEW)
    assert result.exit_code == 2
    assert (
        "needs its class Doubled, which is not ours and was defined in my_parts; import my_parts first" in result.stderr
    )
    assert result.stderr.endswith("commands take --import my_parts.py.\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import icl_interp as icl\nicl.nothing\n", "AttributeError: icl_interp has no 'nothing'"),
        ("def f(:\n", "SyntaxError: "),
        ("import no_such_module_of_mine\n", "ModuleNotFoundError: No module named 'no_such_module_of_mine'"),
        ("import icl_interp as icl\nicl.register_task(3)\n", "InputTypeError: register_task needs a subclass of Task"),
    ],
    ids=["attribute", "syntax", "import", "refused"],
)
@pytest.mark.parametrize("app", [probe, train, reproduce], ids=["icl-probe", "icl-train", "icl-reproduce"])
def test_a_fault_in_the_file_is_theirs(app: object, text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "my_fault.py"
    file.write_text(text)
    result = call(app, "zhang2024", "--import", file) if app is not probe else call(app, "--import", file)
    *lines, last = result.stderr.splitlines()
    assert result.exit_code == 2
    assert last.startswith(f"error: {file} is your own code, and it raised {sentence}")
    assert str(file) in "".join(lines)
    assert "user_files.py" not in "".join(lines)
    assert "my_fault" not in sys.modules


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("my_parts.txt", "", "--import needs a Python file, FILE.py, got"),
        ("missing.py", None, "--import needs a Python file, FILE.py, got"),
        ("json.py", "", "--import needs a file name that no other module has, got"),
        ("my_end.py", "import sys\nsys.exit('done')\n", "ended itself by sys.exit('done'); --import needs a file that"),
    ],
    ids=["suffix", "missing", "name", "exit"],
)
def test_what_is_no_file_to_import(name: str, text: str | None, sentence: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    result = call(probe, "--import", tmp_path / name)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_runs_once_per_process(tmp_path: Path, parts: Path) -> None:
    (tmp_path / "my_counter.py").write_text(
        f"with open({str(tmp_path / 'count')!r}, 'a') as file:\n    file.write('x')\n"
    )
    user_files.import_files([tmp_path / "my_counter.py", parts, tmp_path / "my_counter.py"])
    assert (tmp_path / "count").read_text() == "x"
    assert user_files.imported_files() == (tmp_path / "my_counter.py", parts)


def test_workers_have_what_was_registered_here(parts: Path) -> None:
    def names_there(job: object, stop_file: Path | None) -> tuple[object, list[str]]:  # noqa: ARG001  # local, as below
        return job, [name for kind in (icl.TASKS, icl.SHIFTS, icl.REFERENCES) for name in kind.theirs]

    parts.write_text(FEW_PARTS)
    user_files.import_files([parts])

    @icl.register_reference
    def of_a_notebook(xs, ys):  # type: ignore[no-untyped-def]  # noqa: ARG001
        return ys * 0

    task = sys.modules["my_parts"].Doubled(3)
    names = ["doubled", "halved", "last_label", "of_a_notebook"]
    assert dict(jobs.run([task, task], names_there, workers=2)) == {0: (task, names), 1: (task, names)}
    for name in ("of_a_notebook", "last_label"):
        del icl.REFERENCES[name]
    assert dict(jobs.run([task, task], names_there, workers=2))[1] == (task, ["doubled", "halved"])


@pytest.mark.slow  # three processes import torch; processes of this machine are no slow test
def test_workers_of_a_scheduler_have_it_too(cluster: Cluster, parts: Path) -> None:
    def families_there(job: object, stop_file: Path | None) -> str:  # noqa: ARG001  # local: they know no file of tests
        return " ".join([type(job).__name__, *icl.TASKS.theirs, *icl.SHIFTS.theirs, *icl.REFERENCES.theirs])

    user_files.import_files([parts])
    task = sys.modules["my_parts"].Doubled(3)
    found = dict(jobs.run([task, task], families_there, scheduler=cluster[0]))
    assert found == {0: "Doubled doubled halved last_label", 1: "Doubled doubled halved last_label"}


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("@icl.register_reference\ndef mine(xs, ys):\n    return xs.nothing\n", "the reference 'mine'"),
        ("@icl.register_detector\ndef mine(features):\n    return features.nothing\n", "the detector 'mine'"),
        ("@icl.register_target\ndef mine(prompts):\n    return prompts.nothing\n", "the target 'mine'"),
        (
            "icl.register_shift(icl.Shift('mine', (), 'inputs', 'mine', lambda task, _: task.nothing))\n",
            "the shift 'mine'",
        ),
    ],
    ids=["reference", "detector", "target", "shift"],
)
def test_a_fault_of_a_registered_part_shows_its_lines(part: str, what: str, tmp_path: Path) -> None:
    file = tmp_path / "my_faults.py"
    file.write_text(f"import icl_interp as icl\n\n{part}")
    checkpoint = icl.save_checkpoint(tmp_path / "m.pt", icl.build_model(MODEL, seed=0), task=icl.LinearRegression(2))
    shifts = "mine" if "shift" in what else "x_scale=3"
    result = call(probe, checkpoint, "--import", file, "--shifts", shifts, "--out", tmp_path / "r.html", *FEW)
    *lines, last = result.stderr.splitlines()
    assert result.exit_code == 2
    assert last.startswith(f"error: {what} is your own code, and it raised AttributeError")
    assert str(file) in "".join(lines)


def test_what_workers_have_already_stays(parts: Path) -> None:
    user_files.import_files([parts])
    packed = registry.carried()
    registry.unpack(packed)
    held = icl.SHIFTS["halved"]
    registry.unpack(packed)
    assert icl.SHIFTS["halved"] is held
    registry.unpack([entry for entry in packed if entry[2] != "halved"])
    assert "halved" not in icl.SHIFTS
    assert "doubled" in icl.TASKS


def test_what_cannot_be_sent_to_workers_is_named(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        icl.register_detector(lambda features: file.write(features), name="mine")
        with pytest.raises(icl.InputError, match="'mine' cannot be sent to them"):
            registry.carried()


def test_what_a_worker_cannot_load_is_named() -> None:
    packed = [("icl_interp.predictors.references", "REFERENCES", "mine", b"\x80\x04cno_such_module_of_mine\nf\n.")]
    with pytest.raises(
        icl.InputError, match=r"a worker cannot load 'mine', which you registered \(ModuleNotFoundError"
    ):
        registry.unpack(packed)


@pytest.mark.slow
def test_a_sweep_of_an_own_task_trains_in_workers(tmp_path: Path, parts: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "model: {n_dims: 2, n_points: 5, n_layers: 1, n_heads: 1, d_model: 8}\n"
        "task: {family: doubled, n_dims: 2}\nsteps: 2\nbatch_size: 4\neval_every: null\n"
    )
    (tmp_path / "grid.yaml").write_text("seed: [0, 1]\n")
    result = call(
        train, config, "--import", parts, "--sweep", tmp_path / "grid.yaml", "--workers", 2, "--out", tmp_path / "runs",
        "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = (tmp_path / "runs" / "sweep.csv").read_text().splitlines()
    assert len(rows) == 3
    assert all("finished" in row for row in rows[1:])
