"""The sizes at which training is compared, and the run of a size."""

from icl_interp import LinearRegression, ModelConfig, TrainConfig

BATCH = 64
Shape = tuple[int, int, int, int, int]
"""n_dims, points, layers, heads, width."""
SIZES: dict[str, Shape] = {"tiny": (5, 11, 3, 2, 64), "small": (20, 41, 6, 4, 128), "standard": (20, 41, 12, 8, 256)}
CALLS = {"tiny": 20, "small": 3, "standard": 1}
"""Steps between two looks at the clock."""


def config_of(shape: Shape, **changes: object) -> TrainConfig:
    """Make the config of a run of our own.

    Returns:
        A run long enough for any measurement, at a constant learning rate.
    """
    n_dims, n_points, n_layers, n_heads, d_model = shape
    model = ModelConfig(n_dims=n_dims, n_points=n_points, n_layers=n_layers, n_heads=n_heads, d_model=d_model)
    task = LinearRegression(n_dims, n_points=n_points)
    return TrainConfig(**{"model": model, "task": task, "steps": 10_000, "lr": 1e-4, "batch_size": BATCH, **changes})
