"""Measures of Hill et al.'s experiment as the paper would have them, without training anything."""

from dataclasses import replace

from icl_interp.experiments.hill2025.measures import NORMS, DetectorFound, FamilyFound, Measured
from icl_interp.experiments.hill2025.setting import KINDS, SIZES, Run, shifts_of, task_of
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.signature_conventions import Reading, SharedDirections
from icl_interp.tasks.shifts.select import select_shifts

SEEDS = (0, 1, 2)
THREE = SIZES["laptop"]
ONE = replace(THREE, seeds=(0,))
SITES = ("read-in", "block 0", "final norm")
ZERO = (0.0, 0.0, 0.0)


def ideal_measures(seeds=SEEDS):
    return {Run(kind, seed): ideal(kind, seed) for seed in seeds for kind in KINDS}


def ideal(kind, seed):
    """A model that fails under every shift, whose signature tells everything, with tiny differences between seeds."""
    off = 0.001 * seed
    labels = [IN_DISTRIBUTION, *labels_of(kind)]
    return Measured(
        families={label: family(label, off) for label in labels},
        readings=(
            *(reading(site, variant, off) for site in SITES for variant in ("overlap", "directions")),
            *(prompt_rows(site, off) for site in SITES),
        ),
        layers=tuple(layer(site) for site in SITES),
        detectors={
            "signature C (overlap)": DetectorFound(reads="hidden states", auroc=0.95, untrained=0.6),
            NORMS: DetectorFound(reads="raw inputs", auroc=0.8, untrained=float("nan")),
        },
        norms_within=0.2,
        common={IN_DISTRIBUTION: 0.01 + 0.2 * KINDS.index(kind) + off, "x_scale=3": 0.5},
    )


def labels_of(kind):
    return [entry.label for entry in select_shifts(task_of(kind, 4), shifts_of(kind))]


def family(label, off):
    inside = label == IN_DISTRIBUTION
    names = ("zero", "least squares", "ridge", "Bayes", "1-step GD", "10-step GD")
    late = {"model": 0.01 + off if inside else 1.0, **dict.fromkeys(names, 1e-6)}
    return FamilyFound(
        late=late,
        fails={"model": not inside, **dict.fromkeys(names, False)},
        curves={name: (1.0, 0.5, error) for name, error in late.items()},
        spectrum=(3.0, 2.0, 1.0),
        untrained_spectrum=(3.0, 2.0, 1.0),
        growth=(0.0 if inside else 0.4 + off, 0.0, 0.0),
        within=0.8,
        flagged=0.05 if inside else 0.9,
        sample=((0.9, 0.01), (0.2, 1.0)),
    )


def reading(site, variant, off):
    return Reading(
        site=site,
        tokens="all",
        centred=False,
        side="right",
        variant=variant,
        contrast=(0.5 + off, 0.1, 0.12),
        within=(0.9 + off, 0.1, 0.0),
        pooled=(0.95 + off, 0.2, 0.1),
        auroc=(0.95 + off, 0.6, 0.7),
    )


def prompt_rows(site, off):
    """Of one matrix for all prompts: single prompts have no score."""
    undefined = dict.fromkeys(("within", "pooled", "auroc"), (float("nan"),) * 3)
    return reading(site, "overlap", off).model_copy(update={"tokens": "last x, prompts as rows", **undefined})


def layer(site):
    return SharedDirections(
        site=site,
        inside=dict.fromkeys(("v1", "v2", "overlap"), (0.9, 0.9, 0.9)),
        shifted=dict.fromkeys(("v1", "v2", "overlap"), (0.3, 0.8, 0.8)),
    )


def with_all(found, change):
    """The same, with every model changed."""
    return {run: change(run, measured) for run, measured in found.items()}


def with_readings(found, **fields):
    """The same, with these numbers in every reading."""
    return with_all(
        found,
        lambda _, m: m.model_copy(update={"readings": tuple(r.model_copy(update=fields) for r in m.readings)}),
    )


def with_families(found, change):
    """The same, with every family changed: `change` takes label and family and gives the fields that differ."""
    return with_all(
        found,
        lambda _, m: m.model_copy(
            update={"families": {k: f.model_copy(update=change(k, f)) for k, f in m.families.items()}}
        ),
    )
