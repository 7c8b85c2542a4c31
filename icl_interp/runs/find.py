"""The checkpoints and the name of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icl_interp.checkpoints.safe_load import choose_file, numbered_files
from icl_interp.errors import InputError
from icl_interp.settings import read_yaml


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The checkpoints of one run."""

    folder: Path
    """The run's folder, or that of its files."""
    files: Mapping[int, Path]
    """Weight files by optimiser step, in ascending order."""
    seed: int | None
    """Training seed, if config.yaml says it."""
    last_point_only: bool
    """Whether training used the last point only, if config.yaml says so."""

    @property
    def newest(self) -> Path:
        """The weight file of the largest step."""
        return self.files[max(self.files)]

    def __repr__(self) -> str:
        return f"RunFiles({self.folder}, {len(self.files)} checkpoints, steps {min(self.files)}..{max(self.files)})"


def find_runs(paths: Sequence[str | Path]) -> list[RunFiles]:
    """Find the runs that paths name.

    A folder is a run with all its numbered checkpoints, or its current one where nothing is numbered. Files of one
    folder whose names end in a step (step_00001000.pt, model_1000.pt) are one run as well; any other file is a run of
    its own, at step 0 as far as its name tells.
    """
    found = [Path(path).expanduser() for path in paths]
    if not found:
        raise InputError("development needs at least one run, got none; name a run folder.")
    if len({path.resolve() for path in found}) < len(found):
        raise InputError("development needs every run once, got one twice; take it out.")
    if lost := [str(path) for path in found if not path.exists()]:
        raise InputError(f"development needs paths that are there, got {', '.join(lost)}; check the spelling.")
    groups: dict[tuple[Path, str], dict[int, Path]] = {}
    for path in found:
        if path.is_dir():
            groups[path, ""] = dict(sorted(numbered_files(path).items())) or {0: choose_file(path).path}
            continue
        step = _step(path)
        key = (path.parent, "" if step is not None else path.name)
        groups.setdefault(key, {})[step or 0] = path
    return [_run(folder, files) for (folder, _), files in groups.items()]


def _step(path: Path) -> int | None:
    number = path.stem.rpartition("_")[2]
    return int(number) if "_" in path.stem and number.isdigit() else None


def _run(folder: Path, files: dict[int, Path]) -> RunFiles:
    home = folder.parent if folder.name == "checkpoints" else folder
    config = _config(home / "config.yaml")
    seed = config.get("seed")
    return RunFiles(
        folder=home,
        files=dict(sorted(files.items())),
        seed=seed if isinstance(seed, int) else None,
        last_point_only=config.get("loss_points") == "last",
    )


def _config(path: Path) -> dict[str, object]:
    # A foreign config, or a damaged one, says nothing here; the checkpoint itself is what is measured.
    try:
        config = read_yaml(path)
    except InputError:
        return {}
    return config if isinstance(config, dict) else {}
