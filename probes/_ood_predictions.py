"""Out-of-distribution scores from predictions alone: no fit, no hidden states."""

from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_activations, _check_count, _check_same_shape
from probes._dtypes import _result


def prediction_gap(
    predictions: Float[Tensor, "sample point"], reference: Float[Tensor, "sample point"]
) -> Float[Tensor, " sample"]:
    """Measure how far a model is from a reference predictor, such as ridge, on each prompt.

    Formula: mean over points of |model - reference|. Needs no fit and no labels.

    Args:
        predictions: The model's, in units of y.
        reference: Ridge's, or any other predictor's, for the same points.

    Returns:
        Numbers >= 0 in units of y, computed in float64, dtype of the predictions; larger is further out.

    Raises:
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If shapes differ or entries are not finite.

    Source:
        Our choice.

    Example:
        >>> import torch
        >>> gap = prediction_gap(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]]))
        >>> torch.testing.assert_close(gap, torch.tensor([1.0]))
    """
    for name, value in (("predictions", predictions), ("reference", reference)):
        _check_activations("prediction_gap", name, value, "sample point")
    _check_same_shape("prediction_gap", ("predictions", "reference"), predictions, reference)
    return _result((predictions.double() - reference.double()).abs().mean(dim=1), predictions.dtype)


def ensemble_disagreement(predictions: Float[Tensor, "member sample point"]) -> Float[Tensor, " sample"]:
    """Measure how much the members of an ensemble disagree on each prompt.

    Formula: mean over points of the members' variance, divisor m - 1.

    Args:
        predictions: Of models that differ in seed, in units of y.

    Returns:
        Numbers >= 0 in squared units of y, computed in float64, dtype of the input; larger is further out.

    Raises:
        InputTypeError: If the predictions are no floating-point tensor.
        InputError: If there are fewer than two members, or entries are not finite.

    Source:
        Lakshminarayanan, Pritzel and Blundell (2017), "Simple and scalable predictive uncertainty estimation using
        deep ensembles", NeurIPS; averaging over points is our choice.

    Example:
        >>> import torch
        >>> votes = torch.tensor([[[1.0, 1.0], [0.0, 4.0]], [[1.0, 1.0], [2.0, 4.0]]])
        >>> torch.testing.assert_close(ensemble_disagreement(votes), torch.tensor([0.0, 1.0]))
    """
    who = "ensemble_disagreement"
    _check_activations(who, "predictions", predictions, "member sample point")
    _check_count(who, "a number of members", len(predictions), 2)
    return _result(predictions.double().var(dim=0).mean(dim=1), predictions.dtype)
