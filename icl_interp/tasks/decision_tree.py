"""Random decision trees, as an evaluation task."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from icl_interp.prompts import stream
from icl_interp.tasks.base import GaussianInputs, Labels


class DecisionTreeRegression(GaussianInputs):
    """Labels by a random binary tree that branches on the sign of one coordinate at each node.

    Formula: from the root go right where x_c > 0, with c the node's coordinate (uniform), `depth` times; y_k is the
    leaf's value ~ N(0, 1), plus noise_std * e_k. Without noise E[y^2] = 1.

    Args:
        depth: Decisions from root to leaf.
        n_dims, noise_std: As in `LinearRegression`.
        n_points: Number of examples per prompt if `sample` gets none; None means 5 * n_dims + 1, as Garg et al. train.

    Source:
        Garg et al. (2022), section 6 (depth 4); dtsip/in-context-learning, `DecisionTree`.

    Example:
        >>> prompts = DecisionTreeRegression(n_dims=3, depth=1).sample(1, 50, seed=0)
        >>> len(prompts.ys.unique())
        2
    """

    family: Literal["decision_tree_regression"] = "decision_tree_regression"
    depth: int = Field(default=4, ge=1, le=12)

    @property
    def default_points(self) -> int:
        return self.n_points if self.n_points is not None else 5 * self.n_dims + 1

    def draw_labels(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Labels:
        n_leaves = 2**self.depth
        asked = torch.randint(self.n_dims, (len(xs), n_leaves - 1), generator=stream(seed, "weights"))
        leaves = torch.randn(len(xs), n_leaves, generator=stream(seed, "leaves"))
        signs = (xs > 0).long()
        node = torch.zeros(xs.shape[:2], dtype=torch.long)
        for _ in range(self.depth):  # children of node i are 2 i + 1 and 2 i + 2
            coordinate = asked.gather(1, node)
            node = 2 * node + 1 + signs.gather(2, coordinate[..., None])[..., 0]
        return Labels(leaves.gather(1, node - (n_leaves - 1)))

    def label_second_moment(self) -> float:
        """E[y^2] = 1 + noise_std^2."""
        return 1 + self.noise_std**2

    def label_second_moment_at(self, input_second_moment: Float[Tensor, "dim dim"]) -> float:  # noqa: ARG002
        """E[y^2] = 1 + noise_std^2, whichever leaves are reached."""
        return self.label_second_moment()

    def describe(self) -> str:
        return self._in_words(f"regression on decision trees of depth {self.depth}", "inputs standard Gaussian")
