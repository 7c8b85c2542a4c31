"""Which algorithm a model acts like and where it does its work: the measures that go beyond its activations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from icl_interp.measure.algorithm_agreement import AgreementReport, algorithm_agreement
from icl_interp.measure.attention import AttentionSummary, attention_summary, has_patterns
from icl_interp.measure.errors import Likeness
from icl_interp.measure.families import Families
from icl_interp.measure.heads import HeadReport, head_importance, heads_can_be_masked
from icl_interp.measure.layer_readouts import LayerReadoutReport
from icl_interp.measure.sites import Conventions, last_block
from icl_interp.measure.study.plan import Effort, spanned_by
from icl_interp.measure.subspace_use import SubspaceUse, signature_use
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import References
from icl_interp.tasks.base import Task
from probes._core.reprs import short_repr

__all__ = ["Mechanism", "examine_mechanism"]


@dataclass(frozen=True, slots=True, eq=False)
class Mechanism:
    """What the model does, and where."""

    likeness: Likeness
    """How much of a reference's predictions it shares, beside untrained networks."""
    agreement: AgreementReport
    """Every metric of agreement with each reference."""
    readouts: LayerReadoutReport
    """What each layer would answer."""
    heads: HeadReport | None
    """Which heads it needs; None where `absent` says why."""
    attention: AttentionSummary | None
    """Where heads look; None where `absent` says why."""
    use: SubspaceUse | None
    """Whether the signature's directions are used; None where `absent` says why."""
    absent: Mapping[str, str]
    """What does not apply to this network, and why."""

    __repr__ = short_repr


def examine_mechanism(
    model: HookedModel,
    task: Task,
    families: Families,
    conventions: Conventions,
    *,
    references: References,
    likeness: Likeness,
    readouts: LayerReadoutReport,
    effort: Effort,
    n_controls: int,
    silent: bool,
    seed: int,
    tick: Callable[[int, str], None],
) -> Mechanism:
    """Run the measures of algorithms, heads and use."""
    config, n_points = model.cfg, families.fit.n_points
    site, given = last_block(config), families.in_distribution.prompts
    why = {
        "heads": None if heads_can_be_masked(model) else "The merged layer has no heads that could be masked.",
        "attention": None if has_patterns(config) else "Its attention is no distribution over the tokens.",
        "use": _without_signature(conventions, config.d_model, silent=silent),
    }
    options = {"n_points": n_points, "n_controls": n_controls, "seed": seed}
    agreement = algorithm_agreement(
        model, task, references=references, n_prompts=effort.agreement, n_points=n_points, seed=seed
    )
    tick(effort.reads[0], "agreement")
    heads = None if why["heads"] else head_importance(model, task, n_prompts=effort.heads, **options)
    tick(effort.reads[1], "heads")
    attention = None if why["attention"] else attention_summary(model, task, n_prompts=effort.attention, **options)
    tick(effort.reads[2], "attention")
    use = None
    if not why["use"]:
        use = signature_use(
            model,
            task,
            site.hook,
            conventions=conventions,
            fit_prompts=families.fit[: effort.use],
            prompts=given[: effort.use],
            references=references,
            n_controls=n_controls,
            seed=seed,
        )
    tick(effort.reads[3], "use of the signature")
    absent = {name: reason for name, reason in why.items() if reason is not None}
    return Mechanism(likeness, agreement, readouts, heads, attention, use, absent)


def _without_signature(conventions: Conventions, width: int, *, silent: bool) -> str | None:
    if conventions.side != "right":
        return "The signature's directions are positions, which no intervention on the stream could remove."
    if conventions.k >= width:
        return f"The stream is {width} wide and {spanned_by(width)}, so there is no signature to remove."
    return "The stream after the last block is zero, so there is no signature to remove." if silent else None
