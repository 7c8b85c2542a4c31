"""Open up transformers that learn regression in their context.

Public names load when they are first used, so that `import icl_interp` costs nothing.

Example:
    >>> import icl_interp as icl
    >>> icl.LinearRegression(n_dims=3).sample(2, seed=0).n_points
    7
"""

import importlib
from typing import TYPE_CHECKING, Any

from icl_interp._version import __version__

if TYPE_CHECKING:
    from icl_interp import predictors
    from icl_interp.activations import collect, stream
    from icl_interp.checkpoints.load import load_checkpoint
    from icl_interp.checkpoints.own import save_checkpoint
    from icl_interp.checkpoints.record import Checkpoint
    from icl_interp.data import demo_path
    from icl_interp.measure.errors import error_curves
    from icl_interp.measure.linear_probes import linear_probes
    from icl_interp.measure.ood import ood_report
    from icl_interp.measure.signature import spectral_signature
    from icl_interp.measure.study import study
    from icl_interp.models.config import ModelConfig
    from icl_interp.models.transformer import HookedICLTransformer, build_model
    from icl_interp.prompts import Prompts
    from icl_interp.query import predict
    from icl_interp.tasks.categorical import CategoricalRegression
    from icl_interp.tasks.decision_tree import DecisionTreeRegression
    from icl_interp.tasks.ill_conditioned import IllConditionedRegression
    from icl_interp.tasks.linear_regression import LinearRegression
    from icl_interp.tasks.quadratic import QuadraticRegression
    from icl_interp.tasks.recurrence import AffineRecurrence
    from icl_interp.tasks.references import reference_predictors
    from icl_interp.tasks.registry import task_from_config, task_to_config
    from icl_interp.tasks.relu_network import ReluNetworkRegression
    from icl_interp.tasks.shifts import SHIFTS, select_shifts, shifted
    from icl_interp.tasks.sine import SineRegression
    from icl_interp.tasks.sparse import SparseLinearRegression
    from icl_interp.tasks.subspaces import subspace_covariance
    from icl_interp.tasks.task_pool import TaskPool
    from icl_interp.tasks.uniform import UniformRegression
    from icl_interp.training.config import TrainConfig
    from icl_interp.training.ensemble import train_many
    from icl_interp.training.run import train

# Grouped by question: what is there, what made it, what could it compute, what does it do.
_HOMES = {
    "load_checkpoint": "checkpoints.load",
    "save_checkpoint": "checkpoints.own",
    "Checkpoint": "checkpoints.record",
    "demo_path": "data",
    "ModelConfig": "models.config",
    "HookedICLTransformer": "models.transformer",
    "build_model": "models.transformer",
    "TrainConfig": "training.config",
    "train": "training.run",
    "train_many": "training.ensemble",
    "Prompts": "prompts",
    "LinearRegression": "tasks.linear_regression",
    "TaskPool": "tasks.task_pool",
    "SparseLinearRegression": "tasks.sparse",
    "CategoricalRegression": "tasks.categorical",
    "AffineRecurrence": "tasks.recurrence",
    "UniformRegression": "tasks.uniform",
    "IllConditionedRegression": "tasks.ill_conditioned",
    "SineRegression": "tasks.sine",
    "ReluNetworkRegression": "tasks.relu_network",
    "DecisionTreeRegression": "tasks.decision_tree",
    "QuadraticRegression": "tasks.quadratic",
    "subspace_covariance": "tasks.subspaces",
    "task_from_config": "tasks.registry",
    "task_to_config": "tasks.registry",
    "SHIFTS": "tasks.shifts",
    "shifted": "tasks.shifts",
    "select_shifts": "tasks.shifts",
    "predict": "query",
    "predictors": "",
    "reference_predictors": "tasks.references",
    "collect": "activations",
    "stream": "activations",
    "error_curves": "measure.errors",
    "spectral_signature": "measure.signature",
    "ood_report": "measure.ood",
    "linear_probes": "measure.linear_probes",
    "study": "measure.study",
}

__all__ = [
    "SHIFTS",
    "AffineRecurrence",
    "CategoricalRegression",
    "Checkpoint",
    "DecisionTreeRegression",
    "HookedICLTransformer",
    "IllConditionedRegression",
    "LinearRegression",
    "ModelConfig",
    "Prompts",
    "QuadraticRegression",
    "ReluNetworkRegression",
    "SineRegression",
    "SparseLinearRegression",
    "TaskPool",
    "TrainConfig",
    "UniformRegression",
    "__version__",
    "build_model",
    "collect",
    "demo_path",
    "error_curves",
    "linear_probes",
    "load_checkpoint",
    "ood_report",
    "predict",
    "predictors",
    "reference_predictors",
    "save_checkpoint",
    "select_shifts",
    "shifted",
    "spectral_signature",
    "stream",
    "study",
    "subspace_covariance",
    "task_from_config",
    "task_to_config",
    "train",
    "train_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"icl_interp has no {name!r}; there are: {', '.join(__all__)}.")
    home = _HOMES[name]
    if not home:
        return importlib.import_module(f"icl_interp.{name}")
    return getattr(importlib.import_module(f"icl_interp.{home}"), name)


def __dir__() -> list[str]:
    return __all__
