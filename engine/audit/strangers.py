"""Forgotten instances of a task face to face with the held-out ones that stand for strangers."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from engine.audit.halves import cluster_of
from engine.audit.measure import Evidence
from engine.audit.membership import auc_estimate, auc_interval, tpr_at_fpr
from engine.audit.reference import Reference, choose, subject_effect_bound
from engine.audit.verdict import Attack, Sample
from engine.spec import Interval
from engine.workload import InstanceSet


@dataclass(frozen=True)
class Sides:
    """n forgotten instances against m strangers."""

    reference: Reference
    forgotten: Tensor
    """int64 [n], rows of the training split."""
    strangers: Tensor
    """int64 [m], rows of the judging half."""
    own: Sequence[str]
    """What each forgotten instance shares its fate with."""
    others: Sequence[str]

    @property
    def sizes(self) -> tuple[Sample, Sample]:
        """Of the two sides."""
        return (
            Sample(len(self.own), len(set(self.own))),
            Sample(len(self.others), len(set(self.others))),
        )

    def interval(self, forgotten: Tensor, strangers: Tensor, confidence: float) -> Interval:
        """The AUC of scores [n] and [m], lower for a member."""
        return auc_interval(forgotten, strangers, self.own, self.others, confidence)

    def attack(
        self, name: str, forgotten: Tensor, strangers: Tensor, confidence: float, one_sided: float
    ) -> Attack:
        """An attack by scores [n] and [m], lower for a member."""
        found = auc_estimate(forgotten, strangers, self.own, self.others)
        return Attack(
            name,
            found.interval(confidence),
            found.interval(max(2 * one_sided - 1, 0.01)),
            tpr_at_fpr(forgotten, strangers),
        )


def face(evidence: Evidence, members: Tensor, column: int, losses: Tensor) -> Sides:
    """The instances `members` (bool [N]) against those chosen for the task of `column`.

    `losses` [M] are the parent's on the judging half, from which the choice is made.
    """
    labelled = evidence.judging.supervision[:, column]
    held_out_subjects = _pick(evidence.judging.subjects, labelled)
    reference = choose(
        _pick(evidence.train.subjects, members),
        evidence.teaching_subjects(column),
        held_out_subjects,
        evidence.thresholds.min_reference,
        subject_effect_bound(losses[labelled], held_out_subjects),
    )
    forgotten = members.nonzero().squeeze(1)
    strangers = labelled.nonzero().squeeze(1)[reference.chosen]
    return Sides(
        reference,
        forgotten,
        strangers,
        clusters(evidence.train, forgotten),
        clusters(evidence.judging, strangers),
    )


def clusters(instances: InstanceSet, rows: Tensor) -> list[str]:
    """What each of the rows (int64) shares its fate with."""
    ids, subjects = instances.ids, instances.subjects
    return [cluster_of(ids[row], subjects[row]) for row in rows.tolist()]


def _pick(values: Sequence[str | None], chosen: Tensor) -> list[str | None]:
    return [values[row] for row in chosen.nonzero().squeeze(1).tolist()]
