"""Read checkpoints of dtsip/in-context-learning, the code of Garg et al. (2022), under HookedTransformer's names."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from einops import rearrange
from torch import Tensor

from icl_interp.checkpoints.distribution import POINTS_UNKNOWN, TASK_UNKNOWN, assumed_points, fit_points
from icl_interp.checkpoints.record import Layout, Reader, Reading
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.weights import (
    check_heads,
    check_names,
    check_shapes,
    few,
    state_dict_in,
    stated_heads,
    to_float32,
)
from icl_interp.errors import CheckpointError, one_line
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression

_SIZES = ("n_dims", "n_embd", "n_head", "n_layer", "n_positions")
_LINEAR = ("linear_regression", "noisy_linear_regression")
_SAY = "say otherwise with `--task {}` or `task=`"
_RENORMALISED = (
    "Training rescaled the labels of each batch to standard deviation sqrt(n_dims): the expected factor "
    "{factor:.4g} is applied to weights and noise; say otherwise with `--task noise_std=0.5` or `task=`."
)

# Causal masks that old transformers versions wrote into files; `.attn.c_attn.bias` is a weight: no match.
_LEGACY_BUFFER = re.compile(r"\.attn\.(bias|masked_bias)$")
_TOKEN_TABLE = "_backbone.wte.weight"  # GPT-2 has one; the model reads numbers instead
_LAYER = re.compile(r"_backbone\.h\.(\d+)\.")
_WHAT = "weights of dtsip/in-context-learning"
_Shapes = dict[str, tuple[int, ...]]
_STEP_IN_NAME = re.compile(r"model_(\d+)\.(?:pt|safetensors)")
_ROWS_IN_HEAD = 32  # widths 64, 128 and 256 have 2, 4 and 8 heads in Garg et al. (2022)


@dataclass(frozen=True, slots=True)
class DtsipConfig:
    """The parts of a config.yaml that are used."""

    sizes: Mapping[str, int]
    """n_dims, n_embd, n_head, n_layer and n_positions, under dtsip's names."""
    training: Mapping[str, Any]
    """The block `training` as it stands; empty where the file has none."""

    def __repr__(self) -> str:
        return f"DtsipConfig({', '.join(f'{name}={size}' for name, size in self.sizes.items())})"


@dataclass(slots=True)
class TrainingDistribution:
    """What a model was trained on, filled in step by step."""

    fields: dict[str, Any]
    """Fields of the task in distribution."""
    n_points: int
    notes: list[str] = field(default_factory=list)
    assumptions: list[str] = field(default_factory=list)
    points_assumption: str | None = None

    @property
    def task(self) -> LinearRegression:
        return LinearRegression(**self.fields, n_points=self.n_points)


def read_dtsip_config(path: Path) -> DtsipConfig:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or no date
        raise CheckpointError(
            f"config.yaml needs to be readable YAML, got {path} ({one_line(error)}); mend it or move it away."
        ) from error
    model = _block(raw, "model")
    problems = [
        f"model.{name} is {model[name]!r}" if name in model else f"model.{name} is missing"
        for name in _SIZES
        if not _is_count(model.get(name))
    ]
    if model.get("family", "gpt2") != "gpt2":
        problems.append(f"model.family is {model['family']!r}")
    if problems:
        raise CheckpointError(
            f"config.yaml of dtsip/in-context-learning needs model.family gpt2 and positive integers for "
            f"{', '.join(_SIZES)}, got {path} where {'; '.join(problems)}; mend it, or move it away if it "
            "belongs to something else."
        )
    return DtsipConfig(sizes={name: model[name] for name in _SIZES}, training=_block(raw, "training"))


def training_distribution(
    config: DtsipConfig | None, *, n_dims: int, n_positions: int, step: int | None
) -> TrainingDistribution:
    """Say what counts as in distribution, and what had to be assumed for that.

    Label scale s turns into w_cov = s^2. With `renormalize_ys`, dtsip divides the labels by their standard
    deviation over the batch and multiplies by sqrt(n_dims); the expectation of that factor, sqrt(n_dims /
    (n_dims s^2 + noise_std^2)), is applied to weights and noise.
    """
    guess = assumed_points(n_dims, n_positions)
    found = TrainingDistribution(fields={"n_dims": n_dims}, n_points=guess)
    training = {} if config is None else config.training
    _read_task(training, n_dims, found)
    _read_sampling(training, found)
    curriculum = _block(training, "curriculum")
    _read_points(_block(curriculum, "points"), n_positions, step, found)
    _read_dims(_block(curriculum, "dims"), n_dims, step, found)
    return found


def _read_task(training: Mapping[str, Any], n_dims: int, found: TrainingDistribution) -> None:
    name = training.get("task")
    if name is None:
        found.assumptions.append(TASK_UNKNOWN)
        return
    if name not in _LINEAR:
        found.assumptions.append(
            f"The file was trained on {name}: linear regression with standard Gaussian inputs and weights "
            f"and no label noise is taken as in distribution; {_SAY.format('noise_std=0.5')}."
        )
        return
    found.notes.append(f"config.yaml names the task {name}.")
    kwargs, known = _block(training, "task_kwargs"), {"scale"}
    scale, noise_std = _number(kwargs, "scale", default=1.0), 0.0
    if scale == 0:
        raise CheckpointError("config.yaml needs training.task_kwargs.scale above 0, got 0; mend it.")
    if name == "noisy_linear_regression":
        known |= {"noise_std", "renormalize_ys"}
        noise_std = _number(kwargs, "noise_std", default=0.0)
        if kwargs.get("renormalize_ys"):
            factor = math.sqrt(n_dims / (n_dims * scale**2 + noise_std**2))
            scale, noise_std = scale * factor, noise_std * factor
            found.assumptions.append(_RENORMALISED.format(factor=factor))
    found.fields["noise_std"] = noise_std
    if scale != 1:
        found.fields["w_cov"] = scale**2
    if strange := sorted(set(map(str, kwargs)) - known):
        found.assumptions.append(
            f"The task's settings {few(strange)} are not understood and were passed over; "
            f"{_SAY.format('noise_std=0.5')}."
        )


def _read_sampling(training: Mapping[str, Any], found: TrainingDistribution) -> None:
    say = _SAY.format("w_cov=2")
    if (data := training.get("data", "gaussian")) != "gaussian":
        found.assumptions.append(
            f"Inputs of training came from {data!r}: standard Gaussian ones are taken as in distribution; "
            f"{_SAY.format('x_cov=2')}."
        )
    if (n_tasks := training.get("num_tasks")) is not None:
        found.assumptions.append(
            f"Training drew from a fixed pool of {n_tasks} weight vectors, which the file does not hold: "
            f"fresh weights of the same law are taken as in distribution; {say}."
        )
    if (n_examples := training.get("num_training_examples")) is not None:
        found.assumptions.append(
            f"Training drew from {n_examples} fixed prompts, which the file does not hold: fresh prompts of "
            f"the same law are taken as in distribution; {say}."
        )


def _read_points(part: Mapping[str, Any], n_positions: int, step: int | None, found: TrainingDistribution) -> None:
    if not _is_count(part.get("end")):
        found.points_assumption = POINTS_UNKNOWN.format(n_points=found.n_points)
        return
    found.n_points = min(_reached(part, step), n_positions)
    found.notes.append(f"Prompts of training had up to {found.n_points} points.")
    if found.n_points < min(part["end"], n_positions):
        found.notes.append(f"The curriculum was on its way to {part['end']} points.")


def _read_dims(part: Mapping[str, Any], n_dims: int, step: int | None, found: TrainingDistribution) -> None:
    if not _is_count(part.get("end")):
        return
    end, reached = min(part["end"], n_dims), _reached(part, step)
    if end < n_dims:
        found.fields["x_cov"] = [1.0] * end + [0.0] * (n_dims - end)
        found.notes.append(f"Inputs of training had {end} non-zero coordinates of {n_dims}.")
    if reached < end:
        active = [1] * reached + [0] * (n_dims - reached)
        found.assumptions.append(
            f"At step {step} the curriculum had reached {reached} of {end} coordinates of x, and the others "
            f"were zero: all {end} are taken as in distribution; "
            f"{_SAY.format('x_cov=' + str(active).replace(' ', ''))}."
        )


def _reached(part: Mapping[str, Any], step: int | None) -> int:
    if step is None or not all(_is_count(part.get(name)) for name in ("start", "inc", "interval")):
        return int(part["end"])
    return min(int(part["end"]), int(part["start"] + part["inc"] * (step // part["interval"])))


def _block(parent: object, name: str) -> Mapping[str, Any]:
    block = parent.get(name) if isinstance(parent, Mapping) else None
    return block if isinstance(block, Mapping) else {}


def _number(kwargs: Mapping[str, Any], name: str, *, default: float) -> float:
    value = kwargs.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise CheckpointError(
            f"config.yaml needs a number of at least 0 under training.task_kwargs.{name}, got {value!r}; mend it."
        )
    return float(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_dtsip(weights: Mapping[str, Any]) -> bool:
    return "_read_in.weight" in weights or any(name.startswith("_backbone.") for name in weights)


def drop_unused(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the model never reads: the token table, and buffers of old transformers versions."""
    return {n: w for n, w in weights.items() if n != _TOKEN_TABLE and not _LEGACY_BUFFER.search(n)}


def sizes_of(path: Path, weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Read off the shapes all that they tell, which is everything but the number of heads."""
    anchors = ("_read_in.weight", "_backbone.wpe.weight", "_backbone.h.0.attn.c_attn.weight")
    missing = [name for name in anchors if name not in weights or weights[name].ndim != 2]
    if missing:
        raise CheckpointError(
            f"{_WHAT} need the matrices {', '.join(anchors)}, got a file without {', '.join(missing)}: "
            f"{path}; check which program wrote it."
        )
    n_embd, n_dims = weights[anchors[0]].shape
    rows = weights[anchors[1]].shape[0]
    if rows < 2 or rows % 2 or not n_embd or not n_dims:
        raise CheckpointError(
            f"{_WHAT} need two positions a point and widths above 0, got a position table of {rows} rows and "
            f"a read-in of shape {[n_embd, n_dims]}: {path}; check which program wrote it."
        )
    # Counted, not the highest number plus 1: one name with a number of ten digits must not cost time.
    layers = {match.group(1) for name in weights if (match := _LAYER.match(name))}
    return {"n_dims": n_dims, "n_embd": n_embd, "n_layer": len(layers), "n_positions": rows // 2}


def check_layout(path: Path, weights: Mapping[str, Tensor], sizes: Mapping[str, int]) -> None:
    """Check that every weight of the model is there in its shape, and nothing else."""
    shapes = _shapes(sizes)
    check_names(path, weights, shapes, what=_WHAT)
    check_shapes(path, weights, shapes, what=_WHAT)


def convert(weights: Mapping[str, Tensor], *, n_layers: int, n_heads: int) -> dict[str, Tensor]:
    """Rename and reshape into HookedTransformer's weights.

    Hugging Face's Conv1D keeps matrices as [in, out], so nothing inside a block is transposed; c_attn holds query, key
    and value side by side, and within each the heads side by side. Read-in and read-out are torch.nn.Linear, [out, in].
    """
    ours = {
        "embed.W_E": weights["_read_in.weight"].T,
        "embed.b_E": weights["_read_in.bias"],
        "pos_embed.W_pos": weights["_backbone.wpe.weight"],
        "ln_final.w": weights["_backbone.ln_f.weight"],
        "ln_final.b": weights["_backbone.ln_f.bias"],
        "unembed.W_U": weights["_read_out.weight"].T,
        "unembed.b_U": weights["_read_out.bias"],
    }
    for layer in range(n_layers):
        ours |= _convert_block(weights, f"_backbone.h.{layer}.", f"blocks.{layer}.", n_heads)
    return {name: weight.contiguous() for name, weight in ours.items()}


def _convert_block(weights: Mapping[str, Tensor], theirs: str, ours: str, n_heads: int) -> dict[str, Tensor]:
    block = {
        f"{ours}attn.W_O": rearrange(weights[f"{theirs}attn.c_proj.weight"], "(h c) m -> h c m", h=n_heads),
        f"{ours}attn.b_O": weights[f"{theirs}attn.c_proj.bias"],
        f"{ours}mlp.W_in": weights[f"{theirs}mlp.c_fc.weight"],
        f"{ours}mlp.b_in": weights[f"{theirs}mlp.c_fc.bias"],
        f"{ours}mlp.W_out": weights[f"{theirs}mlp.c_proj.weight"],
        f"{ours}mlp.b_out": weights[f"{theirs}mlp.c_proj.bias"],
    }
    for norm in ("1", "2"):
        block[f"{ours}ln{norm}.w"] = weights[f"{theirs}ln_{norm}.weight"]
        block[f"{ours}ln{norm}.b"] = weights[f"{theirs}ln_{norm}.bias"]
    fused = rearrange(weights[f"{theirs}attn.c_attn.weight"], "m (qkv h c) -> qkv h m c", qkv=3, h=n_heads)
    biases = rearrange(weights[f"{theirs}attn.c_attn.bias"], "(qkv h c) -> qkv h c", qkv=3, h=n_heads)
    for letter, weight, bias in zip("QKV", fused, biases, strict=True):
        block[f"{ours}attn.W_{letter}"] = weight
        block[f"{ours}attn.b_{letter}"] = bias
    return block


def _shapes(sizes: Mapping[str, int]) -> _Shapes:
    n_dims, width = sizes["n_dims"], sizes["n_embd"]
    shapes: _Shapes = {
        "_read_in.weight": (width, n_dims),
        "_read_in.bias": (width,),
        "_backbone.wpe.weight": (2 * sizes["n_positions"], width),
        "_backbone.ln_f.weight": (width,),
        "_backbone.ln_f.bias": (width,),
        "_read_out.weight": (1, width),
        "_read_out.bias": (1,),
    }
    maps = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
    maps |= {"mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
    for layer in range(sizes["n_layer"]):
        prefix = f"_backbone.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{prefix}{norm}.weight": (width,), f"{prefix}{norm}.bias": (width,)}
        for name, shape in maps.items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[1:]}
    return shapes


def dtsip_weights(contents: object) -> dict[str, Any] | None:
    """Find dtsip's weights in what a file held: the training state of state.pt, or a bare state dict."""
    return state_dict_in(contents, _is_dtsip)


class Dtsip(Reader):
    """state.pt or model_N.pt, with the config.yaml beside it; without one, shapes tell all but the number of heads."""

    name = "state.pt or model_N.pt of dtsip/in-context-learning"
    signs = (
        "_read_in.weight",
        "_backbone.wpe.weight",
        "_backbone.h.0.attn.c_attn.weight",
        "_backbone.ln_f.weight",
        "_read_out.weight",
    )

    def recognises(self, contents: Any) -> bool:
        return dtsip_weights(contents) is not None

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:  # noqa: ARG002
        named = dtsip_weights(file.contents) or {}
        weights = to_float32(file.path, drop_unused(named))
        sizes = sizes_of(file.path, weights)
        check_layout(file.path, weights, sizes)
        beside = file.path.with_name("config.yaml")
        config = read_dtsip_config(beside) if beside.is_file() else None
        _check_sizes(file.path, config, sizes)
        heads = _heads(file.path, config, sizes["n_embd"], n_heads)
        step = _step(file)
        try:
            found = training_distribution(config, n_dims=sizes["n_dims"], n_positions=sizes["n_positions"], step=step)
        except CheckpointError as error:
            raise CheckpointError(f"{beside}: {error}") from error
        return Reading(
            config=ModelConfig(
                n_dims=sizes["n_dims"],
                n_points=sizes["n_positions"],
                n_layers=sizes["n_layer"],
                n_heads=heads,
                d_model=sizes["n_embd"],
                init="dtsip",
            ),
            weights=convert(weights, n_layers=sizes["n_layer"], n_heads=heads),
            task=fit_points(found.task, found.n_points),
            n_points_trained=found.n_points,
            origin=f"dtsip/in-context-learning {'run folder' if config else 'weights without config.yaml'}",
            step=step,
            notes=(*_notes(file, config, heads, [name for name in named if name not in weights]), *found.notes),
            task_assumptions=tuple(found.assumptions),
            points_assumption=found.points_assumption,
        )


def _step(file: WeightFile) -> int | None:
    for name in ("train_step", "global_step"):  # the second is Lightning's
        if type(step := file.contents.get(name)) is int:
            return step
    match = _STEP_IN_NAME.fullmatch(file.path.name)
    return int(match.group(1)) if match else None


def _check_sizes(path: Path, config: DtsipConfig | None, sizes: Mapping[str, int]) -> None:
    stated = sizes if config is None else config.sizes
    wrong = [f"{name} is {stated[name]} there and {size} here" for name, size in sizes.items() if stated[name] != size]
    if wrong:
        raise CheckpointError(
            f"weights need the sizes that the config.yaml beside them states, got {'; '.join(wrong)}: "
            f"{path}; move config.yaml away if it belongs to another run."
        )


def _heads(path: Path, config: DtsipConfig | None, width: int, n_heads: int | None) -> int:
    stated = None if config is None else config.sizes["n_head"]
    heads = stated_heads(path, stated, n_heads, place="in the config.yaml beside the weights")
    usual = f" (Garg et al. use {width // _ROWS_IN_HEAD} for that width)" if width % _ROWS_IN_HEAD == 0 else ""
    return check_heads(path, width, heads, absent="no config.yaml that says so", hint=usual)


def _notes(file: WeightFile, config: DtsipConfig | None, heads: int, unused: list[str]) -> list[str]:
    source = "the config.yaml beside it" if config else "the shapes of its weights"
    notes = [f"{file.path.name} was read as weights of dtsip/in-context-learning, with sizes from {source}."]
    if config is None:
        notes.append(f"The number of heads, {heads}, was given.")
    if unused:
        notes.append(f"Left out, since the model never reads them: {few(unused)}.")
    return notes
