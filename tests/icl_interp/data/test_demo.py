"""The demo checkpoint is what its recipe makes, and does what is said of it."""

import json
from pathlib import Path

import pytest
import torch

from icl_interp import Checkpoint, build_model, demo_path, load_checkpoint, predictors, train
from icl_interp.training.config import load_config
from icl_interp.training.run import EVERY_STEP_UNTIL


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return load_checkpoint(demo_path())


def beside(name: str) -> Path:
    return demo_path().parent / name


def test_it_is_one_small_file_with_its_record_beside_it() -> None:
    assert demo_path().stat().st_size < 1_000_000
    assert {path.name for path in demo_path().parent.iterdir() if path.is_file()} >= {
        "demo.pt", "demo_config.yaml", "demo_metrics.jsonl", "demo_manifest.json",
    }  # fmt: skip


def test_nothing_about_it_has_to_be_assumed(demo: Checkpoint) -> None:
    assert demo.assumptions == ()
    assert demo.step == 10_000
    assert demo.n_points_trained == 13
    assert demo.task.n_dims == 6
    assert demo.task.weight_rank == 3
    # The energy of isotropic weights: E|w|^2 = 6.
    assert float(demo.task.weight_cov.trace()) == 6.0


def test_its_recipe_is_the_preset(demo: Checkpoint) -> None:
    recipe = load_config(str(beside("demo_config.yaml")))
    assert recipe == load_config("demo")
    assert (demo.model.cfg, demo.task, demo.step) == (recipe.model, recipe.task, recipe.steps)


def test_its_manifest_names_seed_versions_and_command() -> None:
    manifest = json.loads(beside("demo_manifest.json").read_text())
    assert manifest["seed"] == load_config("demo").seed
    assert {"command", "python", "torch", "transformer_lens", "threads", "seconds"} <= set(manifest)
    assert manifest["seconds"] < 30 * 60


def recorded() -> list[dict[str, float]]:
    return [json.loads(line) for line in beside("demo_metrics.jsonl").read_text().splitlines()]


def test_the_record_is_complete_and_falls() -> None:
    steps = [line["step"] for line in recorded()]
    assert steps == [*range(1, 51), *range(60, 10_001, 10)]
    assert recorded()[-1]["loss"] < 0.3 * recorded()[0]["loss"]


def test_the_first_fifty_steps_are_what_the_recipe_gives_today() -> None:
    losses: list[float] = []
    config = load_config("demo")

    class Enough(Exception):  # stops a run, is no error
        pass

    def stop_at_fifty(record: object) -> None:
        losses.append(record.loss)
        if len(losses) == EVERY_STEP_UNTIL:
            raise Enough

    with pytest.raises(Enough):
        train(config, on_step=stop_at_fifty)
    expected = [line["loss"] for line in recorded()[:50]]
    # Bit for bit on one machine; another order of float32 sums elsewhere grows over fifty steps.
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected), rtol=1e-3, atol=0)


@torch.no_grad()
def test_it_has_learned_its_task(demo: Checkpoint) -> None:
    prompts = demo.task.sample(2048, seed=20)
    error = {
        name: float((f(prompts.xs, prompts.ys, points=[12]) - prompts.ys[:, [12]]).square().mean()) / prompts.n_dims
        for name, f in {
            "demo": demo.model,
            "untrained": build_model(demo.model.cfg, seed=0),
            "least squares": predictors.least_squares(),
            "zero": predictors.zero(),
        }.items()
    }
    # After 2 d = 12 pairs; E[y^2] / d = 1. The controls: nothing to learn for least squares, no luck for the others.
    assert error["demo"] < 0.03
    assert error["least squares"] < 1e-6
    assert min(error["zero"], error["untrained"]) > 0.8
