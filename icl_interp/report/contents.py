"""The table of contents: which chapters a report has, in which order, and under which question each stands."""

from icl_interp.measure.activation_study import ActivationStudy
from icl_interp.measure.development.result import Development
from icl_interp.measure.study.result import Study
from icl_interp.report.chapters import (
    DOING,
    FAMILIAR,
    TRAINING,
    WHERE,
    WORTH,
    agreement,
    atlas,
    attention,
    contributions,
    detectors,
    errors,
    given,
    heads,
    induced,
    layers,
    lens,
    ood,
    patching,
    patterns,
    probes,
    shifts,
    signature,
    signature_view,
    similarity,
    steps,
    timeline,
    use,
    weights,
    worth,
)
from icl_interp.report.model import Line

CONTENTS: tuple[Line[Study], ...] = (
    Line(errors.chapter, DOING),
    Line(shifts.chapter, DOING, folded=True),
    Line(agreement.chapter, DOING),
    Line(induced.chapter, DOING, folded=True),
    Line(steps.chapter, DOING, folded=True),
    Line(layers.chapter, WHERE),
    Line(layers.newton, WHERE),
    Line(layers.descent, WHERE, folded=True),
    Line(lens.chapter, WHERE, folded=True),
    Line(heads.chapter, WHERE),
    Line(use.chapter, WHERE),
    Line(use.erasure, WHERE),
    Line(probes.chapter, WHERE),
    Line(probes.each_target, WHERE, folded=True),
    Line(heads.pruning, WHERE, folded=True),
    Line(attention.chapter, WHERE, folded=True),
    Line(patterns.chapter, WHERE, folded=True),
    Line(contributions.chapter, WHERE, folded=True),
    Line(patching.chapter, WHERE, folded=True),
    Line(weights.chapter, WHERE, folded=True),
    Line(atlas.chapter, FAMILIAR),
    Line(detectors.chapter, FAMILIAR),
    Line(detectors.details, FAMILIAR, folded=True),
    Line(ood.numbers, FAMILIAR, folded=True),
    Line(signature_view.chapter, FAMILIAR, folded=True),
    Line(signature.chapter, FAMILIAR, folded=True),
    Line(ood.chapter, FAMILIAR),
    Line(similarity.chapter, FAMILIAR, folded=True),
    Line(worth.chapter, WORTH),
    Line(worth.controls, WORTH, folded=True),
    Line(worth.assumptions, WORTH, folded=True),
    Line(worth.unmeasured, WORTH, folded=True),
)
"""Of a study. Cards stand in this order too."""
CONTENTS_OF_ACTIVATIONS: tuple[Line[ActivationStudy], ...] = (
    Line(atlas.chapter, FAMILIAR),
    Line(detectors.chapter, FAMILIAR),
    Line(detectors.details, FAMILIAR, folded=True),
    Line(ood.numbers, FAMILIAR, folded=True),
    Line(signature.chapter, FAMILIAR),
    Line(ood.chapter, FAMILIAR),
    Line(similarity.chapter, FAMILIAR),
    Line(given.claims, WORTH),
    Line(given.controls, WORTH, folded=True),
    Line(given.assumptions, WORTH, folded=True),
    Line(given.left_out, WORTH),
)
"""Of activations without a model."""
CONTENTS_OF_TRAINING: tuple[Line[Development], ...] = (
    Line(timeline.chapter, TRAINING),
    Line(timeline.inside, TRAINING, folded=True),
)
"""Of a run's checkpoints, after those of the study."""
