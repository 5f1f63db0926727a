"""All that is tried to tell a request's forgotten instances of a task from strangers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.audit import shadow
from engine.audit import verdict as rules
from engine.audit.comparison import Comparison
from engine.audit.measure import ForgottenCells
from engine.audit.membership import auc, auc_interval
from engine.audit.reference import Reference
from engine.audit.relearn import STEPS, Probe
from engine.audit.strangers import Sides, clusters, face
from engine.audit.verdict import Expected, Finding
from engine.spec import AucChange, Change, Relearning


@dataclass(frozen=True)
class Attacked:
    """What the attacks on one cell found."""

    reference: Reference
    findings: list[Finding]
    auc: AucChange | None = None
    relearning: Relearning | None = None
    likelihood_ratio: AucChange | None = None
    retrained_auc: float | None = None
    distance: Change | None = None


def attack(comparison: Comparison, request: ForgottenCells, column: int) -> Attacked:
    """By the loss, by what comes back in a few steps, and by likelihood ratio with shadows."""
    evidence, before, after = comparison.evidence, comparison.before, comparison.after
    members = request.cells[:, column]
    sides = face(evidence, members, column, before.judging_losses[:, column])
    if not len(sides.strangers):
        return Attacked(
            sides.reference, [Finding("inconclusive", "no held-out instance to compare with")]
        )
    rows, held = sides.forgotten, sides.strangers
    old = before.forget_losses[rows, column], before.judging_losses[held, column]
    new = after.forget_losses[rows, column], after.judging_losses[held, column]
    start = sides.interval(*old, comparison.confidence)
    now = _attack(comparison, sides, "membership", *new)
    retrained = _retrained_auc(comparison, sides, column)
    expected = Expected()
    if retrained is not None and evidence.thresholds.reference == "retrained":
        expected = Expected(min(0.5, retrained), max(0.5, retrained))
    partial = still_taught(evidence.retain, members)
    excuse = None
    if partial and retrained is None and now.interval.high < start.low:
        excuse = (
            f"clearly below the parent's {start.value:.3f}, and the instances still teach other"
            " tasks: a retrained network, which policy can ask for, may stand there too"
        )
    findings = [
        rules.membership(
            now, *sides.sizes, sides.reference.objection, evidence.thresholds, expected, excuse
        )
    ]
    relearning = None
    if comparison.probe is not None:
        relearning = _relearning(comparison, comparison.probe, sides, column)
    if relearning is not None:
        finding = rules.relearning(
            relearning.auc_before, relearning.auc_after, _pace(relearning), evidence.thresholds
        )
        if not partial and sides.reference.objection is None:
            findings.append(finding)
    likelihood = gap = None
    if comparison.shadows is not None:
        own = comparison.shadows.forgotten[:, rows, column]
        others = comparison.shadows.held_out[:, held, column]
        gap = Change(before=shadow.distance(old[0], own), after=shadow.distance(new[0], own))
        if evidence.thresholds.shadow_models:
            scores = [
                (shadow.likelihood_scores(ours, own), shadow.likelihood_scores(theirs, others))
                for ours, theirs in (old, new)
            ]
            found = _attack(comparison, sides, "likelihood-ratio", *scores[1])
            findings.append(
                rules.membership(
                    found, *sides.sizes, sides.reference.objection, evidence.thresholds, Expected()
                )
            )
            likelihood = AucChange(
                before=sides.interval(*scores[0], comparison.confidence), after=found.interval
            )
    return Attacked(
        sides.reference,
        findings,
        AucChange(before=start, after=now.interval),
        relearning,
        likelihood,
        retrained,
        gap,
    )


def still_taught(retain: Tensor, members: Tensor) -> bool:
    """Whether most of `members` (bool [N]) still teach the network through other tasks.

    Then even retraining would know them better than strangers: what they do is told, and what is
    above .5 is judged with care.
    """
    return bool(retain[members].any(1).double().mean() > 0.5)


def _attack(
    comparison: Comparison, sides: Sides, name: str, forgotten: Tensor, strangers: Tensor
) -> rules.Attack:
    one_sided = comparison.evidence.thresholds.confidence
    return sides.attack(name, forgotten, strangers, comparison.confidence, one_sided)


def _retrained_auc(comparison: Comparison, sides: Sides, column: int) -> float | None:
    """The loss-threshold AUC of the retrained networks, their mean."""
    shadows = comparison.shadows
    if shadows is None:
        return None
    found = [
        auc(own[sides.forgotten, column], others[sides.strangers, column])
        for own, others in zip(shadows.forgotten, shadows.held_out, strict=True)
    ]
    return sum(found) / len(found)


def _relearning(
    comparison: Comparison, probe: Probe, sides: Sides, column: int
) -> Relearning | None:
    """The probe's part in this cell; None where too little of it was probed."""
    evidence, after = comparison.evidence, comparison.after
    ours = sides.forgotten[torch.isin(sides.forgotten, probe.forgotten)]
    theirs = sides.strangers[torch.isin(sides.strangers, probe.held_out)]
    if min(len(ours), len(theirs)) < 2:
        return None
    intervals = [
        auc_interval(
            own[ours, column],
            held[theirs, column],
            clusters(evidence.train, ours),
            clusters(evidence.judging, theirs),
            comparison.confidence,
        )
        for own, held in (
            (after.forget_losses, after.judging_losses),
            (probe.forgotten_losses, probe.held_out_losses),
        )
    ]
    forgotten = _means(after.forget_losses, probe.forgotten_losses, ours, column)
    held_out = _means(after.judging_losses, probe.held_out_losses, theirs, column)
    fall = held_out.before - held_out.after
    return Relearning(
        steps=STEPS,
        forgotten=forgotten,
        held_out=held_out,
        ratio=(forgotten.before - forgotten.after) / fall if fall > 0 else None,
        auc_before=intervals[0],
        auc_after=intervals[1],
    )


def _means(before: Tensor, after: Tensor, rows: Tensor, column: int) -> Change:
    return Change(
        before=float(before[rows, column].double().mean()),
        after=float(after[rows, column].double().mean()),
    )


def _pace(found: Relearning) -> str:
    return (
        f"{found.steps} training steps take the forgotten loss from"
        f" {found.forgotten.before:.3g} to {found.forgotten.after:.3g}, the held-out one from"
        f" {found.held_out.before:.3g} to {found.held_out.after:.3g}"
    )
