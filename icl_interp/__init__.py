"""Study transformers that learn regression from the examples in their prompt.

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
    from icl_interp import interventions, predictors
    from icl_interp.activations import collect, stream
    from icl_interp.checkpoints.load import load_checkpoint
    from icl_interp.checkpoints.own import save_checkpoint
    from icl_interp.checkpoints.record import Checkpoint, Reader, Reading
    from icl_interp.checkpoints.registry import READERS, register_reader
    from icl_interp.checkpoints.safe_load import WeightFile
    from icl_interp.data import demo_path
    from icl_interp.data.models import DemoModel, demo_models
    from icl_interp.errors import InputError, UserCodeError
    from icl_interp.measure.activation_study import ActivationStudy, activation_study
    from icl_interp.measure.algorithm_agreement import algorithm_agreement
    from icl_interp.measure.atlas import Atlas, AtlasCell, signature_atlas
    from icl_interp.measure.attention import attention_summary
    from icl_interp.measure.attention_patterns import attention_patterns
    from icl_interp.measure.comparison import Comparison, compare_studies
    from icl_interp.measure.detectors.own import DETECTORS, Detector, register_detector
    from icl_interp.measure.detectors.report import detector_report
    from icl_interp.measure.development.llc import calibrate_llc
    from icl_interp.measure.development.result import Development
    from icl_interp.measure.development.run import development
    from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings
    from icl_interp.measure.direct_contributions import direct_contributions
    from icl_interp.measure.erasure_use import erasure_use
    from icl_interp.measure.errors import error_curves
    from icl_interp.measure.heads import head_importance
    from icl_interp.measure.induced_weights import induced_weights
    from icl_interp.measure.layer_readouts import layer_readouts
    from icl_interp.measure.lens_map import lens_map
    from icl_interp.measure.linear_probes import TARGETS, linear_probes, register_target
    from icl_interp.measure.ood import ood_report
    from icl_interp.measure.patching_map import patching_map
    from icl_interp.measure.signature import spectral_signature
    from icl_interp.measure.signature_view import signature_view
    from icl_interp.measure.similarity import layer_similarity
    from icl_interp.measure.step_by_step import step_by_step
    from icl_interp.measure.study.run import study
    from icl_interp.measure.subspace_use import intervention_effect, signature_use, subspace_use
    from icl_interp.measure.weight_views import weight_views
    from icl_interp.models.build import MODEL_PRESETS, build_model, model_preset
    from icl_interp.models.config import ModelConfig
    from icl_interp.models.linear.attention import HookedLinearAttention, HookedLinearTransformerBlock
    from icl_interp.models.open.discover import sites
    from icl_interp.models.open.wrap import wrap
    from icl_interp.models.softmax.attention import plain_attention
    from icl_interp.models.softmax.softmax_layer import HookedSoftmaxLayer
    from icl_interp.models.softmax.transformer import HookedICLTransformer
    from icl_interp.predictors.references import REFERENCES, register_reference
    from icl_interp.prompts import Prompts, PromptSource
    from icl_interp.query import predict
    from icl_interp.tasks.base import FunctionTask, Labels, Task
    from icl_interp.tasks.categorical import CategoricalRegression
    from icl_interp.tasks.decision_tree import DecisionTreeRegression
    from icl_interp.tasks.fixed_prompts import FixedPrompts
    from icl_interp.tasks.ill_conditioned import IllConditionedRegression
    from icl_interp.tasks.linear_regression import LinearRegression
    from icl_interp.tasks.quadratic import QuadraticRegression
    from icl_interp.tasks.recurrence import AffineRecurrence
    from icl_interp.tasks.references import bayes_penalty, lasso_penalty, reference_predictors
    from icl_interp.tasks.registry import TASKS, register_task, task_from_config, task_to_config
    from icl_interp.tasks.relu_network import ReluNetworkRegression
    from icl_interp.tasks.shifts.record import Shift
    from icl_interp.tasks.shifts.select import select_shifts, shifted
    from icl_interp.tasks.shifts.suite import DTSIP_EVALUATIONS, SHIFTS, register_shift
    from icl_interp.tasks.sine import SineRegression
    from icl_interp.tasks.sparse import SparseLinearRegression
    from icl_interp.tasks.subspaces import Subspace, subspace_covariance
    from icl_interp.tasks.task_pool import TaskPool
    from icl_interp.tasks.uniform import UniformRegression
    from icl_interp.training.ensemble import train_many
    from icl_interp.training.run import train
    from icl_interp.training.train_config import TrainConfig

# Grouped by question: what is there, what made it, what could it compute, what does it do.
_HOMES = {
    "load_checkpoint": "checkpoints.load",
    "save_checkpoint": "checkpoints.own",
    "Checkpoint": "checkpoints.record",
    "READERS": "checkpoints.registry",
    "Reader": "checkpoints.record",
    "Reading": "checkpoints.record",
    "WeightFile": "checkpoints.safe_load",
    "register_reader": "checkpoints.registry",
    "demo_path": "data",
    "demo_models": "data.models",
    "DemoModel": "data.models",
    "ModelConfig": "models.config",
    "HookedICLTransformer": "models.softmax.transformer",
    "HookedLinearAttention": "models.linear.attention",
    "HookedLinearTransformerBlock": "models.linear.attention",
    "HookedSoftmaxLayer": "models.softmax.softmax_layer",
    "build_model": "models.build",
    "MODEL_PRESETS": "models.build",
    "model_preset": "models.build",
    "plain_attention": "models.softmax.attention",
    "wrap": "models.open.wrap",
    "sites": "models.open.discover",
    "TrainConfig": "training.train_config",
    "train": "training.run",
    "train_many": "training.ensemble",
    "Prompts": "prompts",
    "PromptSource": "prompts",
    "Task": "tasks.base",
    "Labels": "tasks.base",
    "FunctionTask": "tasks.base",
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
    "FixedPrompts": "tasks.fixed_prompts",
    "Subspace": "tasks.subspaces",
    "subspace_covariance": "tasks.subspaces",
    "TASKS": "tasks.registry",
    "register_task": "tasks.registry",
    "task_from_config": "tasks.registry",
    "task_to_config": "tasks.registry",
    "Shift": "tasks.shifts.record",
    "SHIFTS": "tasks.shifts.suite",
    "register_shift": "tasks.shifts.suite",
    "DTSIP_EVALUATIONS": "tasks.shifts.suite",
    "shifted": "tasks.shifts.select",
    "select_shifts": "tasks.shifts.select",
    "predict": "query",
    "predictors": "",
    "interventions": "",
    "REFERENCES": "predictors.references",
    "register_reference": "predictors.references",
    "reference_predictors": "tasks.references",
    "bayes_penalty": "tasks.references",
    "lasso_penalty": "tasks.references",
    "collect": "activations",
    "stream": "activations",
    "error_curves": "measure.errors",
    "spectral_signature": "measure.signature",
    "signature_view": "measure.signature_view",
    "signature_atlas": "measure.atlas",
    "Atlas": "measure.atlas",
    "AtlasCell": "measure.atlas",
    "detector_report": "measure.detectors.report",
    "Detector": "measure.detectors.own",
    "DETECTORS": "measure.detectors.own",
    "register_detector": "measure.detectors.own",
    "layer_similarity": "measure.similarity",
    "ood_report": "measure.ood",
    "linear_probes": "measure.linear_probes",
    "TARGETS": "measure.linear_probes",
    "register_target": "measure.linear_probes",
    "layer_readouts": "measure.layer_readouts",
    "algorithm_agreement": "measure.algorithm_agreement",
    "head_importance": "measure.heads",
    "attention_summary": "measure.attention",
    "attention_patterns": "measure.attention_patterns",
    "lens_map": "measure.lens_map",
    "induced_weights": "measure.induced_weights",
    "step_by_step": "measure.step_by_step",
    "direct_contributions": "measure.direct_contributions",
    "patching_map": "measure.patching_map",
    "weight_views": "measure.weight_views",
    "study": "measure.study.run",
    "compare_studies": "measure.comparison",
    "Comparison": "measure.comparison",
    "activation_study": "measure.activation_study",
    "ActivationStudy": "measure.activation_study",
    "intervention_effect": "measure.subspace_use",
    "subspace_use": "measure.subspace_use",
    "signature_use": "measure.subspace_use",
    "erasure_use": "measure.erasure_use",
    "development": "measure.development.run",
    "Development": "measure.development.result",
    "DevelopmentSettings": "measure.development.settings",
    "LlcSettings": "measure.development.settings",
    "calibrate_llc": "measure.development.llc",
    "InputError": "errors",
    "UserCodeError": "errors",
}

__all__ = [
    "DETECTORS",
    "DTSIP_EVALUATIONS",
    "MODEL_PRESETS",
    "READERS",
    "REFERENCES",
    "SHIFTS",
    "TARGETS",
    "TASKS",
    "ActivationStudy",
    "AffineRecurrence",
    "Atlas",
    "AtlasCell",
    "CategoricalRegression",
    "Checkpoint",
    "Comparison",
    "DecisionTreeRegression",
    "DemoModel",
    "Detector",
    "Development",
    "DevelopmentSettings",
    "FixedPrompts",
    "FunctionTask",
    "HookedICLTransformer",
    "HookedLinearAttention",
    "HookedLinearTransformerBlock",
    "HookedSoftmaxLayer",
    "IllConditionedRegression",
    "InputError",
    "Labels",
    "LinearRegression",
    "LlcSettings",
    "ModelConfig",
    "PromptSource",
    "Prompts",
    "QuadraticRegression",
    "Reader",
    "Reading",
    "ReluNetworkRegression",
    "Shift",
    "SineRegression",
    "SparseLinearRegression",
    "Subspace",
    "Task",
    "TaskPool",
    "TrainConfig",
    "UniformRegression",
    "UserCodeError",
    "WeightFile",
    "__version__",
    "activation_study",
    "algorithm_agreement",
    "attention_patterns",
    "attention_summary",
    "bayes_penalty",
    "build_model",
    "calibrate_llc",
    "collect",
    "compare_studies",
    "demo_models",
    "demo_path",
    "detector_report",
    "development",
    "direct_contributions",
    "erasure_use",
    "error_curves",
    "head_importance",
    "induced_weights",
    "intervention_effect",
    "interventions",
    "lasso_penalty",
    "layer_readouts",
    "layer_similarity",
    "lens_map",
    "linear_probes",
    "load_checkpoint",
    "model_preset",
    "ood_report",
    "patching_map",
    "plain_attention",
    "predict",
    "predictors",
    "reference_predictors",
    "register_detector",
    "register_reader",
    "register_reference",
    "register_shift",
    "register_target",
    "register_task",
    "save_checkpoint",
    "select_shifts",
    "shifted",
    "signature_atlas",
    "signature_use",
    "signature_view",
    "sites",
    "spectral_signature",
    "step_by_step",
    "stream",
    "study",
    "subspace_covariance",
    "subspace_use",
    "task_from_config",
    "task_to_config",
    "train",
    "train_many",
    "weight_views",
    "wrap",
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
