"""Measures of Hill et al.'s experiment as the paper would have them, without training anything."""

from dataclasses import replace

from icl_interp.experiments.hill2025.measures import Cell, FamilyFound, Measured
from icl_interp.experiments.hill2025.setting import KINDS, SIZES, Run, shifts_of, task_of
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.signature_conventions import ConventionFound, Reading
from icl_interp.tasks.shifts.select import select_shifts

EIGHT = SIZES["laptop"]
SEEDS = EIGHT.seeds
ONE = replace(EIGHT, seeds=(0,))
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
        cells=tuple(cell(site, shift, off) for site in SITES[1:] for shift in labels[1:]),
        judged=True,
        readings=tuple(reading(site, off) for site in SITES),
        conventions=tuple(convention(tokens, variant, off) for tokens, variant in CONVENTIONS),
        norms_auroc=0.8,
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
        flagged=0.05 if inside else 0.9,
        sample=((0.9, 0.01), (0.2, 1.0)),
    )


CONVENTIONS = (("all", "overlap"), ("x", "pairs"), ("last x, prompts as rows", "overlap"))


def cell(site, shift, off):
    """One cell stands out: inputs scaled by 3, at the first block."""
    strong = (site, shift) == ("block 0", "x_scale=3")
    return Cell(
        site=site, shift=shift, auroc=(0.95 if strong else 0.6) + off, untrained=0.55, norms=0.6,
        z=(9.0 if strong else 1.0) + off, p_value=1 / 21 if strong else 0.5,
    )  # fmt: skip


def convention(tokens, variant, off):
    last, rows = reading("block 0", off), "prompts" in tokens
    undefined = dict.fromkeys(("within", "pooled", "auroc"), (float("nan"),) * 3)
    return ConventionFound(
        tokens=tokens, centred=False, side="right", variant=variant, p_value=1 / 21, site="block 0", shift="x_scale=3",
        value=0.9 + off, untrained=0.5, z=8.0, last=last.model_copy(update=undefined) if rows else last,
    )  # fmt: skip


def reading(site, off):
    return Reading(
        site=site, contrast=(0.5 + off, 0.1, 0.12), within=(0.9 + off, 0.1, 0.0), pooled=(0.95 + off, 0.2, 0.1),
        auroc=(0.95 + off, 0.6, 0.7),
    )  # fmt: skip


def with_all(found, change):
    """The same, with every model changed."""
    return {run: change(run, measured) for run, measured in found.items()}


def with_records(found, name, **fields):
    """The same, with these numbers in every reading, cell or convention."""
    return with_all(
        found,
        lambda _, m: m.model_copy(update={name: tuple(r.model_copy(update=fields) for r in getattr(m, name))}),
    )


def with_families(found, change):
    """The same, with every family changed: `change` takes label and family and gives the fields that differ."""
    return with_all(
        found,
        lambda _, m: m.model_copy(
            update={"families": {k: f.model_copy(update=change(k, f)) for k, f in m.families.items()}}
        ),
    )
