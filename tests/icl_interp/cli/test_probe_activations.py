"""icl-probe on files of activations and on saved prompts."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import icl_interp as icl
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.checkpoints.registry import READERS
from icl_interp.cli.probe import _app


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def normal(n: int, pos: int = 6, *, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (scale * generator.standard_normal((n, pos, 5)) + 4 * np.eye(5)[0]).astype(np.float32)


BARE = {"in distribution": normal(40), "x_scale=1/3": normal(20, scale=0.3, seed=1)}
SITES = {"in distribution": ("first", "last"), "x_scale=1/3": ("first", "last")}


def full() -> dict[str, np.ndarray]:
    """Two sites, three controls, and everything that may stand beside."""
    arrays = {}
    for i, prefix in enumerate(("", "control 2/", "control 1/", "control 10/")):
        for label, n in (("in distribution", 40), ("x_scale=1/3", 20)):
            arrays |= {f"{prefix}{label}@{site}": normal(n, seed=7 * i + j) for j, site in enumerate(("first", "last"))}
            arrays[f"{prefix}predictions/{label}"] = normal(n, 7, seed=i)[:, :, 1]
    for label, n in (("in distribution", 40), ("x_scale=1/3", 20)):
        arrays[f"inputs/{label}"], arrays[f"targets/{label}"] = (
            normal(n, 7, seed=3)[:, :, :3],
            normal(n, 7, seed=5)[:, :, 2],
        )
    return arrays


def run(*arguments: object) -> str:
    result = CliRunner().invoke(_app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def sections(page: Path) -> list[str]:
    return re.findall(r'<(?:section|details)[^>]* id="([\w-]+)"', page.read_text(encoding="utf-8"))


def test_a_bare_file_gives_a_report_without_verdicts(tmp_path):
    np.savez("bare.npz", **BARE)
    said = run("bare.npz", "--out", "page.html", "--json", "numbers.json")
    assert "There are no verdicts, since no untrained networks were given" in said
    assert "report: page.html" in said
    found = json.loads(Path("numbers.json").read_text(encoding="utf-8"))
    expected = icl.activation_study(BARE)
    assert found["verdicts"] == {}
    assert {name for name in found["claims"] if not name.startswith("detector: ")} == {
        "spectra",
        "shared directions",
        "detection",
    }
    auroc = found["study"]["ood"]["shifts"]["x_scale=1/3"]["signature"]["auroc"]
    assert auroc == expected.ood.shifts["x_scale=1/3"].signature.auroc
    assert found["study"]["absent"] == expected.absent
    assert found["activations"]["name"] == "bare.npz"
    there = sections(tmp_path / "page.html")
    assert {"familiar", "signature", "detector-details", "ood", "assumptions", "unmeasured"} <= set(there)
    assert not {"similarity", "controls", "doing", "where"} & set(there)


def test_a_full_file_gives_all_that_activations_can():
    np.savez_compressed("full.npz", **full())
    run("full.npz", "--out", "page.html", "--json", "numbers.json", "--prompts", "12", "--seed", "3")
    found = json.loads(Path("numbers.json").read_text(encoding="utf-8"))
    expected = icl.activation_study("full.npz", n_prompts=12, seed=3)
    assert found["study"]["n_controls"] == expected.n_controls == 3
    assert {name for name in found["verdicts"] if not name.startswith("detector: ")} == {
        "spectra",
        "shared directions",
        "detection",
        "score and error",
    }
    for name, excess in expected.verdicts.items():
        assert found["verdicts"][name]["controls"] == list(excess.controls)
    by_hand = icl.activation_study(
        {label: {site: full()[f"{label}@{site}"] for site in sites} for label, sites in SITES.items()},
        controls=[
            {label: {site: full()[f"control {i}/{label}@{site}"] for site in sites} for label, sites in SITES.items()}
            for i in (1, 2, 10)
        ],
        **{
            what: {label: full()[f"{what}/{label}"] for label in SITES} for what in ("predictions", "targets", "inputs")
        },
        control_predictions=[
            {label: full()[f"control {i}/predictions/{label}"] for label in SITES} for i in (1, 2, 10)
        ],
        n_prompts=12,
        seed=3,
    )
    assert by_hand.verdicts == expected.verdicts
    assert {"similarity", "controls", "score-error"} <= set(re.findall(r'id="([\w-]+)"', Path("page.html").read_text()))
    assert run("full.npz", "--no-controls", "--out", "page.html").count("no untrained networks were given")


def test_safetensors_and_npz_are_alike():
    np.savez("a.npz", **BARE)
    save_file({label: torch.from_numpy(a) for label, a in BARE.items()}, "a.safetensors")
    numbers = []
    for name in ("a.npz", "a.safetensors"):
        run(name, "--out", "page.html", "--json", "numbers.json", "--quiet")
        numbers.append(json.loads(Path("numbers.json").read_text(encoding="utf-8")))
    assert numbers[0]["study"] == numbers[1]["study"]


def test_a_file_without_order_needs_names_that_say_it(refuses):
    save_file({name: torch.from_numpy(BARE["in distribution"].copy()) for name in ("a", "b")}, "a.safetensors")
    assert "needs a family named 'in distribution', got a, b" in refuses(_app, "a.safetensors")
    own = torch.from_numpy(BARE["in distribution"])
    save_file({f"in distribution@{site}": own.clone() for site in ("read-in", "block 1")}, "a.safetensors")
    assert "needs sites that are numbered" in refuses(_app, "a.safetensors")
    save_file({f"in distribution@block {n}": own + n for n in (10, 9, 0)}, "a.safetensors")
    found = icl.activation_study("a.safetensors")
    assert [site.label for site in found.sites] == ["block 0", "block 9", "block 10"]


MISTAKES = {
    "a control without a number": ({**BARE, "control/in distribution": BARE["in distribution"]}, "got 'control/in dis"),
    "a control without a space": ({**BARE, "control1/in distribution": BARE["in distribution"]}, "got 'control1/in di"),
    "a misspelt prediction": ({**BARE, "prediction/in distribution": np.zeros((4, 2))}, "got 'prediction/in distrib"),
    "an array without positions": (
        {**BARE, "other": np.zeros((24, 6))},
        "arrays [sample pos width], got [24, 6] in 'oth",
    ),
    "prompts without a family": ({"xs": np.zeros((24, 6, 2)), "ys": np.zeros((24, 6))}, "such as 'in distribution.xs'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_nearly_a_file_of_activations_is_told_apart_from_weights(name, refuses):
    arrays, sentence = MISTAKES[name]
    np.savez("a.npz", **arrays)
    said = refuses(_app, "a.npz")
    assert sentence in said
    assert "checkpoint needs a format" not in said


def test_the_same_seed_gives_the_same_numbers():
    np.savez("a.npz", **BARE)
    texts = []
    for _ in range(2):
        run("a.npz", "--out", "page.html", "--json", "numbers.json", "--quiet")
        texts.append({k: v for k, v in json.loads(Path("numbers.json").read_text()).items() if k != "provenance"})
    assert texts[0] == texts[1]


NEEDING: tuple[tuple[str, ...], ...] = (
    ("--shifts", "x_scale"), ("--task", "noise_std=1"), ("--heads", "2"), ("--points", "4"), ("--layers", "0"),
    ("--layout", "tokens=joint"), ("--llc", "2"), ("--workers", "2"),
)  # fmt: skip


@pytest.mark.parametrize("option", NEEDING, ids=[option[0] for option in NEEDING])
def test_what_needs_a_model_is_refused(option, refuses):
    np.savez("a.npz", **BARE)
    assert refuses(_app, "a.npz", *option) == (
        f"a.npz holds activations and no model, which {option[0]} would need; leave that out."
    )


def test_other_refusals(refuses):
    np.savez("a.npz", **BARE)
    np.savez("few.npz", **{"in distribution": normal(9)})
    np.savez("saved.npz", **{"in distribution.xs": normal(9), "in distribution.ys": normal(9)[:, :, 0]})
    assert "activations are probed one file at a time, got 2 paths" in refuses(_app, "a.npz", "few.npz")
    assert "at least 16 samples in distribution" in refuses(_app, "few.npz")
    assert "n_prompts from 8 to 20" in refuses(_app, "a.npz", "--prompts", "30")
    assert refuses(_app, "saved.npz").endswith("read as a task: icl-probe CHECKPOINT --task saved.npz.")
    assert "--out needs another file than what is read" in refuses(_app, "a.npz", "--out", "a.npz")


class Code:
    """Unpickling this makes a folder."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("unpickled",)


def test_nothing_is_unpickled(refuses):
    objects = np.empty((20, 6, 5), dtype=object)
    objects[:] = Code()
    np.savez("a.npz", **{"in distribution": objects})
    assert "hold nothing but arrays of numbers" in refuses(_app, "a.npz")
    assert not Path("unpickled").exists()
    with pytest.raises(icl.InputError, match=r"got Python objects in 'in distribution.npy', which are not unpickled"):
        icl.activation_study("a.npz")


def test_a_damaged_file_is_refused(refuses):
    np.savez("a.npz", **BARE)
    whole = Path("a.npz").read_bytes()
    Path("a.npz").write_bytes(whole[: len(whole) // 2])
    assert "a.npz" in refuses(_app, "a.npz")
    save_file({label: torch.from_numpy(a) for label, a in BARE.items()}, "a.safetensors")
    Path("a.safetensors").write_bytes(Path("a.safetensors").read_bytes()[:-9])
    assert "a.safetensors" in refuses(_app, "a.safetensors")


def test_weights_stay_weights():
    np.savez("merged.npz", W_KQ=np.eye(4, dtype=np.float32), W_PV=np.eye(4, dtype=np.float32))
    said = run("merged.npz", "--out", "page.html", "--prompts", "8", "--no-controls", "--shifts", "x_scale=3")
    assert "merged matrices of linear attention" in said


class Stacked(icl.Reader):
    name = "stacked matrices of a lab"

    def recognises(self, contents: Any) -> bool:
        return isinstance(contents, dict) and "stack" in contents

    def read(self, file: icl.WeightFile, *, n_heads: int | None, layout: Any) -> icl.Reading:  # noqa: ARG002
        raise icl.InputError("a lab's file came to its reader.")


def test_what_a_reader_claims_is_no_file_of_activations(refuses):
    np.savez("lab.npz", stack=normal(40))
    icl.register_reader(Stacked)
    try:
        assert refuses(_app, "lab.npz") == "a lab's file came to its reader."
    finally:
        del READERS[Stacked.name]


def test_saved_prompts_are_a_task(tiny_model, tiny_task):
    save_checkpoint("small.pt", tiny_model, task=tiny_task)
    own, larger = (source.sample(32, seed=0) for source in (tiny_task, icl.shifted(tiny_task, "x_scale", 3.0)))
    pairs = {"in distribution": own, "larger": larger}
    np.savez(
        "p.npz", **{f"{label}.{part}": getattr(p, part).numpy() for label, p in pairs.items() for part in ("xs", "ys")}
    )
    said = run("small.pt", "--task", "p.npz", "--no-controls", "--out", "page.html", "--json", "numbers.json")
    assert "no law of them is known" in said
    found = json.loads(Path("numbers.json").read_text(encoding="utf-8"))["study"]
    assert found["task"]["family"] == "fixed_prompts"
    assert list(found["families"]["by_label"]) == ["in distribution", "larger"]
    assert "agreement" in found["mechanism"]["absent"]
    names = list(found["errors"]["families"]["larger"]["curves"])
    assert not any("Bayes" in name for name in names)
    assert any("least squares" in name for name in names)
    assert any("GD" in name for name in names)
    assert "saved prompts have none" in Path("page.html").read_text(encoding="utf-8")


def test_refusals_of_saved_prompts(tiny_model, tiny_task, refuses):
    save_checkpoint("small.pt", tiny_model, task=tiny_task)
    prompts = tiny_task.sample(20, seed=0)
    np.savez("p.npz", **{"a.xs": prompts.xs.numpy(), "a.ys": prompts.ys.numpy()})
    np.savez("q.npz", **{"a.xs": prompts.xs[..., :2].numpy(), "a.ys": prompts.ys.numpy()})
    np.savez("r.npz", **BARE)
    small = ("small.pt", "--no-controls", "--task")
    assert "of which 10 can be scored" in refuses(_app, *small, "p.npz", "--prompts", "16")
    assert "n_dims=3, the width of the model's inputs, got n_dims=2" in refuses(_app, *small, "q.npz")
    assert "with arrays NAME.xs and NAME.ys, got arrays named in distribution" in refuses(_app, *small, "r.npz")
    assert "takes a file of saved prompts alone" in refuses(_app, *small, "p.npz", "--task", "noise_std=1")
    assert "saved prompts need names of their families" in refuses(_app, *small, "p.npz", "--shifts", "x_scale")
    assert "of 8 points in distribution, got 8 of 9 asked for" in refuses(_app, *small, "p.npz", "--points", "9")


def test_with_saved_prompts_a_run_has_no_timeline(developed_run, tmp_path):
    task = icl.load_checkpoint(developed_run).task
    pairs = {"in distribution": task.sample(32, seed=0), "others": task.sample(32, seed=1)}
    arrays = {f"{label}.{part}": getattr(p, part).numpy() for label, p in pairs.items() for part in ("xs", "ys")}
    np.savez(tmp_path / "p.npz", **arrays)
    said = run(developed_run, "--task", "p.npz", "--prompts", "8", "--no-controls", "--out", "page.html")
    assert "there is no timeline, since it draws its own prompts" in said
    with pytest.raises(icl.InputError, match="development draws prompts of its own for each purpose"):
        icl.development(developed_run, task=icl.FixedPrompts("p.npz"))
