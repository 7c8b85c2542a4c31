import pytest
import torch
from training_cases import MODEL, TINY

from icl_interp import AffineRecurrence, LinearRegression, ReluNetworkRegression, TaskPool, TrainConfig, build_model
from icl_interp.measure.errors import error_curves
from icl_interp.training.batches import evaluation_seed
from icl_interp.training.evaluation import Evaluator
from icl_interp.training.schedules import Curriculum, Ramp


def with_(**changes: object) -> TrainConfig:
    return TrainConfig(**{**TINY.model_dump(), "eval_prompts": 32, **changes})


def test_distances_and_errors_are_those_of_error_curves() -> None:
    config = with_(task=LinearRegression(2, noise_std=0.5), eval_shifts=("x_scale=2",))
    model, evaluator = build_model(MODEL, seed=3), Evaluator(config)
    record = evaluator(model, step=7)
    report = error_curves(model, config.task, shifts=["x_scale=2"], n_prompts=32, seed=evaluation_seed(config))
    assert set(record.distances) == set(report.families) == {"in distribution", "x_scale=2"}
    for label, errors in report.families.items():
        distances = {name: estimate.value for name, estimate in errors.distances.items()}
        assert record.distances[label] == pytest.approx(distances, rel=1e-6)
        assert record.errors[label] == pytest.approx(float(errors.curves["model"].mean.mean()), rel=1e-6)
    unit = report.in_distribution.family.label_second_moment
    per_point = report.in_distribution.curves["model"].mean * unit
    torch.testing.assert_close(torch.tensor(record.loss_per_point, dtype=torch.float64), per_point)


def test_a_reference_is_at_distance_0_from_itself_alone() -> None:
    evaluator = Evaluator(with_())
    for name, predictor in evaluator.references.items():
        distances = evaluator(predictor, step=0).distances["in distribution"]
        assert distances[name] == 0
        assert min(distance for other, distance in distances.items() if other != name) > 1e-3


@pytest.mark.parametrize(
    ("task", "families"),
    [
        (LinearRegression(2), ["in distribution", "x_scale=3"]),
        (TaskPool(2, 4), ["in distribution", "w_fresh"]),
        (ReluNetworkRegression(2, n_points=5), ["in distribution", "x_scale=3"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_out_of_distribution_means_fresh_weights_for_pools(task: object, families: list[str]) -> None:
    assert list(Evaluator(with_(task=task)).families.all_families) == families
    assert list(Evaluator(with_(task=task, eval_shifts=())).families.all_families) == ["in distribution"]


def test_the_best_loss_is_the_bayes_predictors() -> None:
    config = with_(task=LinearRegression(2, noise_std=0.5), eval_prompts=4096, eval_shifts=())
    evaluator = Evaluator(config)
    bayes = evaluator.references["Bayes"]
    prompts = config.task.sample(4096, seed=5)
    expected = (bayes(prompts.xs, prompts.ys) - prompts.ys).square().mean(0)
    # Other prompts of the same law: 4096 of them, with the heavy tails of squares.
    assert evaluator.best_loss(1) == pytest.approx(float(expected.mean()), rel=0.1)
    last = Evaluator(config.model_copy(update={"loss_points": "last"}))
    assert last.best_loss(1) == pytest.approx(float(expected[-1]), rel=0.1)
    short = config.model_copy(update={"curriculum": Curriculum(points=Ramp(start=1, end=5, interval=1))})
    assert Evaluator(short).best_loss(1) == pytest.approx(float(expected[0]), rel=0.1)


def test_there_is_no_best_loss_where_none_is_known() -> None:
    assert Evaluator(with_(task=ReluNetworkRegression(2, n_points=5), eval_shifts=())).best_loss(1) is None
    easy = with_(curriculum={"dims": {"start": 1, "end": 2, "interval": 2}}, eval_shifts=())
    assert Evaluator(easy).best_loss(2) is None
    assert Evaluator(easy).best_loss(3) is not None


def test_the_oracle_is_the_best_of_a_recurrence() -> None:
    config = with_(
        task=AffineRecurrence(1), model=MODEL.model_copy(update={"n_dims": 1, "n_points": 64}), eval_shifts=()
    )
    assert Evaluator(config).best_loss(1) is not None
