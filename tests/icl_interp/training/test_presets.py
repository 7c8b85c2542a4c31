"""Every preset is the published model on the published task, starts, and learns something in a hundred steps."""

from importlib import resources

import pytest
import torch

from icl_interp import model_preset
from icl_interp.training.batches import draw_batch
from icl_interp.training.configs import _preset_names, load_config
from icl_interp.training.loop import Trainer

MODELS = {
    "carroll": "carroll2025",
    "raventos-base": "raventos2023",
    "raventos-small": "raventos2023_small",
    "timaeus": "hoogland2024",
    "timaeus-laptop": "hoogland2024",
    "zhang-gpt2": "zhang2024",
    "zhang-gpt2-attn-only": "zhang2024_attn_only",
}
QUICK = ["huang", "timaeus-laptop", "von-oswald", "zhang-gpt2-attn-only-laptop", "zhang-lsa", "zhang-ltb"]
FULL_SIZE = ["carroll", "dtsip-small", "dtsip-standard", "dtsip-tiny", "raventos-base", "raventos-small", "timaeus"]
# Their learning rate rises for 250,000 steps, or is 1e-4: what a hundred steps gain takes more prompts to be told from
# chance.
MORE_PROMPTS = ["raventos-base", "raventos-small", "zhang-gpt2", "zhang-gpt2-attn-only"]


def falls(name: str, *settings: str) -> bool:
    """Whether the loss falls by more than chance and by more than nothing in the first hundred steps.

    Asked on prompts like those of the first step that training does not see, the same before and after.
    """
    trainer = Trainer(load_config(name, settings))
    n_batches = 16 if name in MORE_PROMPTS else 1
    before = losses_of(trainer, n_batches)
    for _ in range(100):
        trainer.advance()
    fallen = before - losses_of(trainer, n_batches)
    standard_error = float(fallen.std()) / len(fallen) ** 0.5
    # Three standard errors of a paired comparison; a hundredth of a percent is what rounding could not do.
    return float(fallen.mean()) > max(3 * standard_error, 1e-4 * float(before.mean()))


def losses_of(trainer: Trainer, n_batches: int = 1) -> torch.Tensor:
    """One loss a prompt, 1,024 prompts a batch."""
    config = trainer.config
    losses = []
    for seed in range(1, n_batches + 1):
        prompts = draw_batch(config.model_copy(update={"seed": seed, "batch_size": 1024}), 1)
        points = [-1] if config.loss_points == "last" else list(range(prompts.ys.shape[1]))
        with torch.no_grad():
            said = trainer.model(prompts.xs, prompts.ys, points=points)
        losses.append((said - prompts.ys[:, points]).square().double().mean(1))
    return torch.cat(losses)


@pytest.mark.parametrize("name", _preset_names())
def test_a_preset_starts(name: str) -> None:
    trainer = Trainer(load_config(name, ["batch_size=2"]))
    assert trainer.advance().step == 1


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_preset_learns_in_a_hundred_steps(name: str) -> None:
    assert falls(name)


@pytest.mark.parametrize("name", ["zhang-lsa", "zhang-gpt2-attn-only-laptop"])
def test_a_preset_that_does_not_learn_is_noticed(name: str) -> None:
    assert not falls(name, "lr=1e-12")  # 0 is refused


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in _preset_names() if name not in QUICK])
def test_a_preset_learns_in_a_hundred_steps(name: str) -> None:
    assert falls(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"zhang-gpt2{mlp}{size}" for mlp in ("", "-attn-only") for size in ("", "-laptop")])
def test_the_other_column_of_the_table_learns_in_a_hundred_steps(name: str) -> None:
    assert falls(name, "task.w_mean=0")


@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_models_are_those_of_the_papers(name: str, model: str) -> None:
    assert load_config(name).model == model_preset(model)


def test_what_costs_a_night_has_a_laptop_size() -> None:
    large = [*FULL_SIZE, "zhang-gpt2", "zhang-gpt2-attn-only"]
    assert {f"{name}-laptop" for name in large} == {name for name in _preset_names() if name.endswith("-laptop")}


@pytest.mark.parametrize(("name", "count"), [("carroll", 2203), ("timaeus", 190)])
def test_checkpoints_are_those_of_the_papers(name: str, count: int) -> None:
    assert len(load_config(name).checkpoint_steps) == count


@pytest.mark.parametrize("name", _preset_names())
def test_source_and_cost_are_stated(name: str) -> None:
    text = (resources.files("icl_interp.training") / "presets" / f"{name}.yaml").read_text()
    head = text[: text.index("\nmodel:")]
    assert all(line.startswith("# ") for line in head.splitlines())
    assert any(
        word in head for word in ("et al.", "Zhang, Wu and Bartlett", "Huang, Cheng and Liang", "demo checkpoint")
    )
    assert any(word in head for word in ("Expected cost: ", "Training took "))


@pytest.mark.parametrize("name", ["zhang-gpt2", "zhang-gpt2-attn-only-laptop"])
def test_the_other_cells_of_the_table_are_settings(name: str) -> None:
    config = load_config(name, ["task.w_mean=0", "model.read_out=pinned"])
    assert not config.task.weight_mean.any()
    assert (config.model.read_out, config.model.final_norm) == ("pinned", False)
    assert load_config(name).task.weight_mean.tolist() == [10.0] * config.task.n_dims


@pytest.mark.parametrize("name", ["zhang-lsa", "zhang-ltb"])
def test_the_recipe_of_linear_families_is_their_default(name: str) -> None:
    spelled = load_config(name)
    model, task, kept = spelled.model, spelled.task, spelled.checkpoints
    assert type(spelled)(model=model, task=task, checkpoints=kept) == spelled
    assert type(spelled)(model=model.model_dump(), task=task, steps=7, loss_points="all").steps == 7
    demo = load_config("demo")
    assert type(spelled)(model=demo.model, task=demo.task, steps=7).batch_size == 64
