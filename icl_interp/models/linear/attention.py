"""Linear self-attention (LSA) and the linear transformer block (LTB), which can do gradient descent in context."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from icl_interp.models.config import ModelConfig
from icl_interp.models.linear.constructions import (
    EffectiveParameters,
    Number,
    effective_parameters,
    gd_learned_init_weights,
    gd_plus_plus_weights,
    gradient_descent_weights,
)
from icl_interp.models.linear.network import HookedLinearNetwork


class HookedLinearAttention(HookedLinearNetwork):
    """Layers of linear self-attention over joint tokens [x; y], with HookedTransformer's hook and weight names.

    Formula, per layer: E <- E + sum_heads (E W_Q) (E_c W_K)^T (E_c W_V) W_O / c, with the tokens as rows and E_c
    without the last one, the query, which is kept out of keys and values in every layer. c is the number of examples
    ("mean"), 1 ("sum") or a fixed number. The answer is the query's label entry times `output_sign`; without examples
    it is 0. W_O is the source's W_P^T. Models from elsewhere may have positions beside [x; y] (`d_position`), the query
    among the keys (`mask_query=False`), c the number of all tokens ("tokens"), and another entry as their answer
    (`answer_channel`).

    While nothing is hooked, answers come from moments of the context: all points by one cumulative sum.

    Args:
        config: Configuration of family "lsa".
        seed: Seed of the first weights.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, section 2; Zhang, Wu and Bartlett (2024), arXiv 2402.14951,
        section 3.

    Example:
        >>> import torch
        >>> config = ModelConfig(family="lsa", n_dims=2, n_points=5, n_layers=3, output_sign=-1)
        >>> model = HookedLinearAttention.gradient_descent(config, step_size=0.1)
        >>> from icl_interp.predictors import gradient_descent
        >>> xs, ys = torch.randn(4, 5, 2), torch.randn(4, 5)
        >>> torch.testing.assert_close(model(xs, ys), gradient_descent(3, 0.1)(xs, ys))
    """

    family = "lsa"

    @classmethod
    def gradient_descent(cls, config: ModelConfig, step_size: Number | Sequence[Number]) -> "HookedLinearAttention":
        """Build a model that does one step of gradient descent per layer.

        Args:
            config: See `gradient_descent_weights`.
            step_size: Step size eta, or one per layer.

        Returns:
            A model in evaluation mode, equal to `predictors.gradient_descent`.

        Raises:
            InputError: If the config cannot hold the algorithm.
        """
        model = cls(config)
        model.load_state_dict(gradient_descent_weights(config, step_size))
        return model.eval()

    @classmethod
    def gd_plus_plus(
        cls, config: ModelConfig, step_size: Number | Sequence[Number], curvature: Number | Sequence[Number]
    ) -> "HookedLinearAttention":
        """Build a model that does one step of GD++ per layer.

        Args:
            config: See `gd_plus_plus_weights`.
            step_size: Step size eta, or one per layer.
            curvature: Curvature gamma, or one per layer.

        Returns:
            A model in evaluation mode, equal to `predictors.gd_plus_plus`.

        Raises:
            InputError: If the config cannot hold the algorithm.
        """
        model = cls(config)
        model.load_state_dict(gd_plus_plus_weights(config, step_size, curvature))
        return model.eval()

    def effective_parameters(self) -> EffectiveParameters:
        """Give the numbers that the answer of a one-layer model depends on; gamma is 0.

        Returns:
            See `EffectiveParameters`.

        Raises:
            InputError: If there are several layers or heads.
        """
        return effective_parameters(self)


class HookedLinearTransformerBlock(HookedLinearNetwork):
    """Linear self-attention followed by a linear MLP, with HookedTransformer's hook and weight names.

    Formula, per layer: E <- (E + attention(E)) W_in W_out with the attention of `HookedLinearAttention`. There is no
    residual around the MLP: it reads x of the query through attention's skip, and that path alone answers without
    examples, <gamma, x>. W_in and W_out are the source's W_1^T and W_2.

    Args:
        config: Configuration of family "ltb".
        seed: Seed of the first weights.

    Source:
        Zhang, Wu and Bartlett (2024), arXiv 2402.14951, section 3.

    Example:
        >>> import torch
        >>> config = ModelConfig(family="ltb", n_dims=2, n_points=5)
        >>> model = HookedLinearTransformerBlock.gd_learned_init(config, torch.ones(2), 0.3 * torch.eye(2))
        >>> from icl_interp.predictors import gd_learned_init
        >>> xs, ys = torch.randn(4, 5, 2), torch.randn(4, 5)
        >>> torch.testing.assert_close(model(xs, ys), gd_learned_init(torch.ones(2), 0.3 * torch.eye(2))(xs, ys))
    """

    family = "ltb"

    @classmethod
    def gd_learned_init(
        cls, config: ModelConfig, init: Float[Tensor, " dim"], preconditioner: Float[Tensor, "dim dim"]
    ) -> "HookedLinearTransformerBlock":
        """Build a model that takes one preconditioned gradient step from a given start.

        Args:
            config: See `gd_learned_init_weights`.
            init: beta.
            preconditioner: Gamma, in inverse squared units of the inputs.

        Returns:
            A model in evaluation mode, equal to `predictors.gd_learned_init`.

        Raises:
            InputError: If the config cannot hold the algorithm.
        """
        model = cls(config)
        model.load_state_dict(gd_learned_init_weights(config, init, preconditioner))
        return model.eval()

    def effective_parameters(self) -> EffectiveParameters:
        """Give the numbers that the answer of a one-layer model depends on.

        Returns:
            See `EffectiveParameters`.

        Raises:
            InputError: If there are several layers or heads.
        """
        return effective_parameters(self)
