"""The tasks that laws are tested on: one line each."""

import torch

from icl_interp import LinearRegression

SQUARE = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])
PLANE = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])  # rank 2, no coordinate is zero

TASKS: dict[str, LinearRegression] = {
    "isotropic": LinearRegression(3),
    "noisy": LinearRegression(3, noise_std=0.5),
    "scaled": LinearRegression(3, x_cov=4.0, w_cov=0.25),
    "diagonal": LinearRegression(3, x_cov=[1.0, 4.0, 0.25], w_cov=[2.0, 1.0, 0.0]),
    "matrices": LinearRegression(3, x_cov=SQUARE, w_cov=PLANE, noise_std=0.1),
    "means": LinearRegression(3, x_mean=1.0, w_mean=[0.0, -1.0, 2.0], x_cov=SQUARE),
    "inputs in a plane": LinearRegression(3, x_cov=PLANE),
    "fixed weights": LinearRegression(3, w_mean=[1.0, 2.0, 3.0], w_cov=0.0),
    "nothing but noise": LinearRegression(3, w_cov=0.0, noise_std=2.0),
    "all zero": LinearRegression(3, x_cov=0.0, w_cov=0.0),
    "one dimension": LinearRegression(1, noise_std=0.2, x_cov=[[2.0]], w_cov=[3.0]),
    "own length": LinearRegression(3, n_points=2),
}
