"""How often is an untrained network said to differ from untrained networks, and how large an effect is found?

Run `python benchmarks/false_verdicts.py --kept FOLDER`; it measures untrained networks once, each as the model of a
study beside the same two controls, and keeps the numbers of its claims and of its atlas in the folder, so that a
stopped run can resume and a larger one can add networks.
Then it takes one network at random as the model and N others as its controls, many times. It counts the studies with
any `evidence` or `opposite` (wanted: at most 5 %), and the claims that are found if the model's number is shifted by
1 to 8 standard deviations over networks. The atlas is a family of claims of its own: the same is counted of its cells,
and one cell of the model is shifted. `--json FILE` writes the counts.

All networks read the same prompts, so the spread of their numbers already holds some of the variance over prompts.
"by the spread over networks alone" leaves that variance out of the intervals, to show what counting it costs.

The rate has two standard errors: that of the resampling, and the larger one that comes from there being so few
networks, taken over the networks that stand as the model.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))

import numpy as np
import torch
from scipy import stats

if TYPE_CHECKING:  # it takes seconds, which --help need not
    from icl_interp.models.config import ModelConfig

SIZES = {"demo": (4, 64), "small": (2, 32)}  # layers, width
GROUPS = {f"{size}, {init}": (*shape, init) for size, shape in SIZES.items() for init in ("dtsip", "gpt2")}
SHIFTS = ("x_scale=3", "w_scale=2", "label_noise=1", "x_mean=1")
"""Of the joint claims; the atlas has the shifts that a study has by default."""
SPREAD_ALONE = "by the spread over networks alone"
N_PROMPTS, N_CONTROLS = 32, 2
CONTROLS, PLANTED = (10, 20, 40), tuple(range(1, 9))
ATLAS_CONTROLS = (20, 40)


def _config(name: str) -> "ModelConfig":
    from icl_interp.models.config import ModelConfig

    n_layers, width, init = GROUPS[name]
    return ModelConfig(n_dims=6, n_points=13, n_layers=n_layers, n_heads=4, d_model=width, init=init)


def measure(name: str, seed: int) -> dict[str, dict[str, Any]]:
    """Study one untrained network for its claims and its atlas; its controls and prompts are those of all others."""
    from icl_interp.measure.atlas import signature_atlas
    from icl_interp.measure.study.plan import plan_study
    from icl_interp.measure.study.run import run_study
    from icl_interp.models.build import build_model
    from icl_interp.prompts import derive_seed
    from icl_interp.tasks.linear_regression import LinearRegression

    model = build_model(_config(name), seed=derive_seed(seed, "false verdicts"))
    plan = plan_study(
        model, LinearRegression(6), n_prompts=N_PROMPTS, n_points=13, shifts=SHIFTS, n_controls=N_CONTROLS
    )
    claiming = {measure.name for measure in plan.running if measure.claims(plan)}
    plan = replace(plan, measures=tuple(measure for measure in plan.measures if measure.name in claiming))
    gates = {claim.name: claim.gate for claim in plan.claims}
    claims = {
        name: {
            "value": excess.value,
            "sampling_variance": excess.sampling_variance,
            "above_chance": excess.above_chance,
            "scale": excess.scale,
            "gate": gates[name],
        }
        for name, excess in run_study(plan).verdicts.items()
    }
    atlas = signature_atlas(model, LinearRegression(6), n_prompts=N_PROMPTS, n_points=13, n_controls=0)
    return {"claims": claims, "atlas": {f"{cell.site}, {cell.shift}": cell.value for cell in atlas.cells}}


@dataclass(frozen=True)
class Group:
    """Claims of all networks of one size and initialisation, on the scale where intervals are formed."""

    claims: tuple[str, ...]
    values: np.ndarray  # [claim network]
    sampling: np.ndarray  # [claim network], variances over prompts
    above_chance: np.ndarray  # [claim network]
    gates: tuple[int | None, ...]  # the place of the claim that each one presupposes


def gather(found: Sequence[dict[str, dict[str, Any]]]) -> Group:
    """Put networks side by side."""
    from icl_interp.measure.verdicts import scale_maps

    claims, rows = tuple(found[0]), []
    for claim in claims:
        scales = {network[claim]["scale"] for network in found}
        to, _ = scale_maps(scales.pop() if len(scales) == 1 else "identity", N_PROMPTS)
        rows.append(to(torch.tensor([network[claim]["value"] for network in found], dtype=torch.float64)).numpy())
    sampling = [[network[claim]["sampling_variance"] for network in found] for claim in claims]
    above = [[network[claim]["above_chance"] for network in found] for claim in claims]
    gates = [found[0][claim]["gate"] for claim in claims]
    places = tuple(None if gate is None else claims.index(gate) for gate in gates)
    return Group(claims, np.array(rows), np.array(sampling), np.array(above), places)


def gather_atlas(found: Sequence[dict[str, float]]) -> np.ndarray:
    """Put the AUROCs of networks side by side, [network cell]."""
    return np.array([[network[cell] for cell in found[0]] for network in found])


def draw(n_networks: int, n_controls: int, repeats: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose a model and its controls, for each study."""
    generator = np.random.default_rng(seed)
    orders = generator.permuted(np.tile(np.arange(n_networks), (repeats, 1)), axis=1)
    return orders[:, 0], orders[:, 1 : 1 + n_controls]


def decide(group: Group, model: np.ndarray, controls: np.ndarray, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Say of each claim and study whether the interval lies above 0, and whether below: the rule of `Excess`.

    Args:
        group: Numbers of all networks.
        model: Network that is the model, by study.
        controls: Networks that are its controls, by study.
        shift: Shift of the model's numbers, in standard deviations over all networks.

    Returns:
        Both, by claim and study.
    """
    n, level = controls.shape[1], 0.05 / len(group.claims)
    t, z = stats.t.isf(level / 2, df=n - 1), stats.norm.isf(level / 2)
    beside = group.values[:, controls]  # [claim study control]
    half = np.sqrt(t**2 * beside.var(-1, ddof=1) * (1 + 1 / n) + z**2 * group.sampling[:, model])
    planted = shift * group.values.std(1, ddof=1)[:, None]
    distance = group.values[:, model] + planted - beside.mean(-1)
    rounding = 1e-12 * np.abs(beside).max(-1)
    return distance > half + rounding, distance < -half - rounding


def false_verdicts(group: Group, n_controls: int, repeats: int, seed: int = 0) -> dict[str, Any]:
    """Count the studies of untrained networks in which anything is found."""
    model, controls = draw(group.values.shape[1], n_controls, repeats, seed)
    above, below = decide(group, model, controls)
    evidence = above & group.above_chance[:, model]
    asked = np.array([np.ones(repeats, bool) if gate is None else evidence[gate] for gate in group.gates])
    found = (evidence | below) & asked
    any_found = found.any(0)
    by_model = np.array([any_found[model == i].mean() for i in np.unique(model)])
    counts = {claim: int(row.sum()) for claim, row in zip(group.claims, found, strict=True) if row.any()}
    rate = float(any_found.mean())
    return {
        "controls": n_controls,
        "studies": repeats,
        "with any evidence or opposite": int(any_found.sum()),
        "rate": rate,
        "standard error of resampling": math.sqrt(rate * (1 - rate) / repeats),
        "standard error over networks": float(by_model.std(ddof=1) / math.sqrt(len(by_model))),
        "by claim": dict(sorted(counts.items(), key=lambda entry: -entry[1])),
    }


def power(group: Group, n_controls: int, repeats: int, seed: int = 0) -> list[dict[str, Any]]:
    """Give the share of studies whose interval lies above 0 for planted shifts, over claims that vary at all."""
    model, controls = draw(group.values.shape[1], n_controls, repeats, seed)
    varying = np.isfinite(group.values).all(1) & (np.ptp(group.values, axis=1) > 1e-9)
    rows = []
    for shift in PLANTED:
        rates = decide(group, model, controls, shift)[0].mean(1)[varying]
        rows.append({
            "controls": n_controls,
            "shift": shift,
            "found": float(rates.mean()),
            "least": float(rates.min()),
            "most": float(rates.max()),
        })
    return rows


def _ranks(aurocs: np.ndarray, n_controls: int, repeats: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Say of each study whether its atlas shows anything, and whether it shows the cell in which the model is shifted.

    Returns:
        Both, and which network stood as the model, by study.
    """
    from icl_interp.measure.atlas import ranks_of_aurocs
    from icl_interp.measure.verdicts import LEVEL, scale_maps

    to, back = scale_maps("logit", N_PROMPTS)
    logits = to(torch.from_numpy(aurocs)).numpy()
    model, controls = draw(len(aurocs), n_controls, repeats, seed)
    places = np.random.default_rng(seed).integers(aurocs.shape[1], size=repeats)
    rows = []
    for own, others, j in zip(model, controls, places, strict=True):
        values = aurocs[[own, *others]]
        values[0, j] = back(logits[own, j] + shift * logits[:, j].std(ddof=1))
        found = ranks_of_aurocs(values, N_PROMPTS).cell_p_values < LEVEL
        rows.append((found.any(), found[j], own))
    return np.array(rows).T


def false_atlases(aurocs: np.ndarray, n_controls: int, repeats: int, seed: int = 0) -> dict[str, Any]:
    """Count the atlases of untrained networks in which anything is found."""
    found, _, model = _ranks(aurocs, n_controls, repeats, seed)
    by_model = np.array([found[model == i].mean() for i in np.unique(model)])
    rate = float(found.mean())
    return {
        "controls": n_controls,
        "studies": repeats,
        "rate": rate,
        "standard error of resampling": math.sqrt(rate * (1 - rate) / repeats),
        "standard error over networks": float(by_model.std(ddof=1) / math.sqrt(len(by_model))),
    }


def atlas_power(aurocs: np.ndarray, n_controls: int, repeats: int, seed: int = 0) -> list[dict[str, Any]]:
    """Give the share of atlases that find the one cell in which the model is shifted, a cell at random."""
    return [
        {
            "controls": n_controls,
            "shift": shift,
            "found": float(_ranks(aurocs, n_controls, repeats, seed, shift)[1].mean()),
        }
        for shift in PLANTED
    ]


def _networks(name: str, n: int, kept: Path) -> list[dict[str, dict[str, Any]]]:
    from icl_interp.files import write_atomically

    found, folder = [], kept / name.replace(", ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(n):
        path = folder / f"{seed}.json"
        if not path.exists() or "atlas" not in json.loads(path.read_text()):
            text = json.dumps(measure(name, seed))
            write_atomically(path, lambda file, text=text: file.write(text.encode()))
            print(f"{name}: network {seed + 1} of {n}", file=sys.stderr, flush=True)
        found.append(json.loads(path.read_text()))
    return found


def main() -> None:
    """Measure what is missing, print the rates, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", type=Path, default=Path("false_verdicts"), help="folder for what was measured")
    parser.add_argument("--networks", type=int, default=75, help="untrained networks per group")
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=list(GROUPS), help="default: all")
    parser.add_argument("--repeats", type=int, default=2000, help="resampled studies")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    from icl_interp.provenance import provenance

    groups = {}
    for name in options.groups:
        networks = _networks(name, options.networks, options.kept)
        group, aurocs = (
            gather([each["claims"] for each in networks]),
            gather_atlas([each["atlas"] for each in networks]),
        )
        sizes = [n for n in CONTROLS if n < options.networks]
        rules = {}
        for rule, judged in (("as judged", group), (SPREAD_ALONE, replace(group, sampling=0 * group.sampling))):
            rates = [false_verdicts(judged, n, options.repeats) for n in sizes]
            found = [row for n in sizes for row in power(judged, n, options.repeats)]
            rules[rule] = {"false": rates, "power": found}
        enough = [n for n in ATLAS_CONTROLS if n < options.networks]
        atlas: dict[str, Any] = {
            "cells": aurocs.shape[1],
            "false": [false_atlases(aurocs, n, options.repeats) for n in enough],
            "power": [row for n in enough for row in atlas_power(aurocs, n, options.repeats // 4)],
        }
        groups[name] = {"networks": options.networks, "claims": len(group.claims), **rules, "atlas": atlas}
        for row in atlas["false"]:
            print(
                f"{name}, atlas of {atlas['cells']} cells, {row['controls']} controls: something found in "
                f"{100 * row['rate']:.1f} % of {row['studies']} studies (standard error "
                f"{100 * row['standard error over networks']:.1f} %)"
            )
        for row in atlas["power"]:
            print(
                f"{name}, atlas, {row['controls']} controls, one cell shifted by {row['shift']} spreads: found in "
                f"{100 * row['found']:.0f} %"
            )
        for rule, row in ((rule, row) for rule, rows in rules.items() for row in rows["false"]):
            print(
                f"{name}, {rule}, {row['controls']} controls: evidence or opposite in {100 * row['rate']:.1f} % of "
                f"{row['studies']} studies (standard error {100 * row['standard error over networks']:.1f} %); "
                f"{row['by claim']}"
            )
        for rule, row in ((rule, row) for rule, rows in rules.items() for row in rows["power"]):
            found_in = f"{row['shift']} spreads: found in {100 * row['found']:.0f} %"
            print(f"{name}, {rule}, {row['controls']} controls, {found_in}")
    if options.json:
        settings = {"prompts per family": N_PROMPTS, "shifts": SHIFTS, "controls while measuring": N_CONTROLS}
        record = {"provenance": provenance(), "settings": settings, "groups": groups}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
