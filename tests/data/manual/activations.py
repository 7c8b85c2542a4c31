"""What the blocks of docs/activations.md are about: activations, a model, and two families of saved prompts."""

import numpy

import icl_interp as icl

generator = numpy.random.default_rng(0)
acts, acts_longer, a1, a2, b1, b2 = generator.normal(size=(6, 32, 9, 4))

config = icl.ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
model = icl.build_model(config, seed=0)
xs, xs2 = generator.normal(size=(2, 64, 5, 2)).astype("float32")
ys, ys2 = xs.sum(2), -xs2.sum(2)
