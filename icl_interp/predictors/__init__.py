"""Reference predictors on tensors: each predicts every label from the examples before it.

All are called ``f(xs, ys)`` or ``f(xs, ys, points=[-1])``, like a model; see `Predictor`.
"""

from icl_interp.predictors._base import Predictor
from icl_interp.predictors.baselines import averaging, context_mean, nearest_neighbors, zero
from icl_interp.predictors.bayes import discrete_mmse, gaussian_posterior_mean
from icl_interp.predictors.gradient_descent import gd_plus_plus, gradient_descent, online_gradient_descent
from icl_interp.predictors.learned_init import LearnedInitOptimum, gd_learned_init, optimal_learned_init
from icl_interp.predictors.least_squares import least_squares, ridge
from icl_interp.predictors.newton import conjugate_gradient, newton
from icl_interp.predictors.recurrence import affine_recurrence, copy_last, linear_extrapolation, running_least_squares
from icl_interp.predictors.references import References
from icl_interp.predictors.sparse import lasso, preprocess_then_gradient_descent
from icl_interp.predictors.step_size import BestGDPlusPlus, BestStep, best_constant_step, best_gd_plus_plus

__all__ = [
    "BestGDPlusPlus", "BestStep", "LearnedInitOptimum", "Predictor", "References", "affine_recurrence", "averaging",
    "best_constant_step", "best_gd_plus_plus", "conjugate_gradient", "context_mean", "copy_last", "discrete_mmse",
    "gaussian_posterior_mean", "gd_learned_init", "gd_plus_plus", "gradient_descent", "lasso", "least_squares",
    "linear_extrapolation", "nearest_neighbors", "newton", "online_gradient_descent", "optimal_learned_init",
    "preprocess_then_gradient_descent", "ridge", "running_least_squares", "zero",
]  # fmt: skip
