"""The measures of a study, in the order in which claims are listed."""

from icl_interp.measure.algorithm_agreement import AGREEMENT
from icl_interp.measure.atlas import ATLAS
from icl_interp.measure.attention import ATTENTION
from icl_interp.measure.attention_patterns import PATTERNS
from icl_interp.measure.detectors.report import DETECTORS
from icl_interp.measure.direct_contributions import CONTRIBUTIONS
from icl_interp.measure.erasure_use import ERASURE
from icl_interp.measure.errors import ERRORS, LIKENESS
from icl_interp.measure.heads import HEADS
from icl_interp.measure.induced_weights import INDUCED
from icl_interp.measure.layer_readouts import READOUTS
from icl_interp.measure.lens_map import LENS
from icl_interp.measure.linear_probes import PROBES
from icl_interp.measure.ood import OOD, OOD_FINAL
from icl_interp.measure.patching_map import PATCHING
from icl_interp.measure.signature import SURVEY
from icl_interp.measure.signature_view import VIEW
from icl_interp.measure.similarity import SIMILARITY
from icl_interp.measure.step_by_step import STEPS
from icl_interp.measure.study.measure import Measure
from icl_interp.measure.subspace_use import USE
from icl_interp.measure.weight_views import WEIGHTS

MEASURES: tuple[Measure, ...] = (
    ERRORS,
    SURVEY,
    OOD,
    OOD_FINAL,
    ATLAS,
    VIEW,
    DETECTORS,
    SIMILARITY,
    LIKENESS,
    READOUTS,
    PROBES,
    AGREEMENT,
    HEADS,
    ATTENTION,
    CONTRIBUTIONS,
    PATCHING,
    WEIGHTS,
    USE,
    ERASURE,
    LENS,
    PATTERNS,
    INDUCED,
    STEPS,
)
"""Progress, the number of joint claims and their meanings, the JSON and what was left out all follow from it."""
