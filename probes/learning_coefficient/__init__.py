"""How complex is a solution? Its local learning coefficient (LLC), by Langevin dynamics over vectorised chains.

Signs and scales. With l the loss as it is given (a mean over the batch; no factor K / (2 sigma^2), so values compare
with log-likelihood coefficients only after nbeta is rescaled by it), the chains sample

    p(w) ~ exp(-nbeta l(w) - (localization / 2) |w - w*|^2),
    w <- w - (lr / 2) (nbeta grad l(w) + localization (w - w*)) + sqrt(lr) N(0, I),

so nbeta multiplies the loss and its gradient, localization is the coefficient of the force, lr is epsilon with half of
it before the force and its root before the noise. Only the product n * beta enters, never n alone.
"""

from probes.learning_coefficient.estimate import LearningCoefficient, NonFiniteLossError, estimate_learning_coefficient

__all__ = ["LearningCoefficient", "NonFiniteLossError", "estimate_learning_coefficient"]
