"""Pure measurements on activations: tensors in, frozen results out.

Nothing here knows a model or a figure, and no file but a saved signature, so everything works on tensors from
any source; arrays of numpy are taken where tensors are. Results have the dtype of the input, with two exceptions:
16-bit input gives float32 results, and where a finite result would overflow that dtype, it stays in float64.

Everything refuses, with an `InputError` that says what came and what to do, tensors that hold no floating-point numbers
(an `InputTypeError`, also a `TypeError`), or are empty or not finite (unless NaN is said to mean something), shapes and
lengths that do not fit, unknown options and numbers out of range; `Raises` names what is refused beyond that. What
names no source is our choice.

One file answers one question:

- `probes.spectra`: which singular values and leading directions does a matrix of activations have?
- `probes.subspaces`: do two directions or subspaces agree, whatever their signs and order?
- `probes.pairwise`: do samples agree with each other, over all pairs?
- `probes.signature`: which directions do the samples of one distribution share, and how far is a new sample from them?
- `probes.similarity`: how alike are two representations of the same samples?
- `probes.covariance`: where do features lie and how do they spread?
- `probes.ood`: how far out of a fitted distribution is a sample?
- `probes.detection`: how well does a score tell two sets of samples apart?
- `probes.risk_coverage`: how fast does the error fall as suspicious prompts are refused?
- `probes.correlation`: does a score predict the error, within and across families of prompts?
- `probes.bootstrap`: how uncertain is a number, and how far is it above its control?
- `probes.curves`: how does a quantity average over prompts, entry by entry?
- `probes.permutation`: could chance have done this, given how many tries it got?
- `probes.linear`: what can a ridge regression read out of features, beyond its control?
- `probes.probe_grid`: where can it, over layers and positions?
- `probes.erasure`: what is left after everything that is linearly decodable of a target is taken away?
- `probes.selectivity`: does it beat control tasks, rival features and collinear targets?
- `probes.streamed_probe`: the same where features do not fit into memory.
- `probes.targets`: what could a network have computed from the pairs before each entry?
- `probes.position_probe`: at which positions does a layer hold a quantity?
- `probes.readouts`: what would each layer answer?
- `probes.agreement`: do two predictors agree in predictions, errors and weights; or two callables, in all of it?
- `probes.induced_weights`: which linear map does a predictor carry out, if any?
- `probes.sensitivity`: do two predictors react alike to their query and to labels?
- `probes.effective_descent`: which step size or preconditioner is a predictor nearest to?
- `probes.step_matching`: after how many steps of an algorithm is it nearest to each layer?
- `probes.attention`: where do heads look?
- `probes.head_importance`: which heads matter, judged by masked losses?
- `probes.learning_coefficient`: how complex is a solution, by Langevin dynamics?
- `probes.learning_coefficient.health`: may that estimate be believed, and have the chains mixed?
- `probes.learning_coefficient.calibration`: which step size and localisation should it take?
- `probes.learning_coefficient.exact`: what must it find where the answer is known?
- `probes.learning_coefficient.hessian`: how stiff is the loss?
- `probes.trajectory`: which way do many training runs move in function space?
- `probes.trajectory.random_walk`: what would random walks show there?
- `probes.trajectory.stages`: where do the stages of a run end?

Names that stand for files elsewhere (`probes.llc_health`, `probes.stages`, ...) stay for one release.

The files load at first use, so `import probes` costs next to nothing.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        agreement,
        algorithm_agreement,
        attention,
        attention_report,
        bootstrap,
        correlation,
        covariance,
        curves,
        detection,
        effective_descent,
        erasure,
        head_importance,
        hessian,
        induced_weights,
        learning_coefficient,
        linear,
        llc_calibration,
        llc_exact,
        llc_health,
        mixing,
        multiple_tests,
        ood,
        pairwise,
        partial,
        permutation,
        position_probe,
        probe_grid,
        random_walk,
        readouts,
        risk_coverage,
        selectivity,
        sensitivity,
        signature,
        similarity,
        spectra,
        stages,
        step_matching,
        streamed_probe,
        subspaces,
        targets,
        trajectory,
    )

__all__ = [
    "agreement", "algorithm_agreement", "attention", "attention_report", "bootstrap", "correlation", "covariance",
    "curves", "detection", "effective_descent", "erasure", "head_importance", "hessian",
    "induced_weights", "learning_coefficient", "linear", "llc_calibration", "llc_exact", "llc_health", "mixing",
    "multiple_tests", "ood", "pairwise", "partial", "permutation", "position_probe", "probe_grid", "random_walk",
    "readouts", "risk_coverage", "selectivity", "sensitivity", "signature", "similarity", "spectra", "stages",
    "step_matching", "streamed_probe", "subspaces", "targets", "trajectory",
]  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"probes has no file {name!r}; it has {', '.join(__all__)}.")
    return import_module(f"probes.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
