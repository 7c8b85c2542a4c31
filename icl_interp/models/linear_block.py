"""The linear transformer block (LTB): linear attention and a linear MLP, the model that can learn its start."""

from jaxtyping import Float
from torch import Tensor

from icl_interp.models.config import ModelConfig
from icl_interp.models.constructions import gd_learned_init_weights
from icl_interp.models.effective import EffectiveParameters, effective_parameters
from icl_interp.models.linear_network import HookedLinearNetwork

__all__ = ["HookedLinearTransformerBlock"]


class HookedLinearTransformerBlock(HookedLinearNetwork):
    """Linear self-attention followed by a linear MLP, with HookedTransformer's hook and weight names.

    Formula, a layer: E <- (E + attention(E)) W_in W_out with the attention of `HookedLinearAttention`. There is no
    residual around the MLP: it reads x of the query through attention's skip, and that path alone answers without
    pairs, <gamma, x>. W_in and W_out are the source's W_1^T and W_2.

    Args:
        config: Of family "ltb".
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
