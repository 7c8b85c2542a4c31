"""What our modules import of others: mypy reads it once, when the environment is installed, and keeps what it found."""
# ruff: noqa: F401

import filelock
import jaxtyping
import jinja2
import numpy.typing
import pandas
import platformdirs
import pydantic.dataclasses
import safetensors.torch
import scipy.optimize
import scipy.stats
import torch.func
import torch.nn.attention
import torch.nn.functional
import typer
import yaml
