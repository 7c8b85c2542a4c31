"""What the block of docs/figures.md is about: a model, here a reference predictor, and its task."""

import icl_interp as icl

model, task = icl.predictors.least_squares(), icl.LinearRegression(n_dims=2)
