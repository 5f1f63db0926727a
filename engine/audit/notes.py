"""What a reader of the report has to know beyond its numbers."""

from collections.abc import Sequence, Set

from engine.audit.measure import Evidence, ForgottenCells
from engine.audit.near_duplicates import near_duplicates
from engine.spec import EarlierAudit

_NAMED = 5
"""Instances that a note lists before it only counts them."""


def notes(
    evidence: Evidence, earlier: Sequence[EarlierAudit], *, identical: bool, shadows: int
) -> tuple[str, ...]:
    """One sentence each, the standing one first."""
    attacks = "a loss-threshold attack and a relearn probe"
    if evidence.thresholds.shadow_models:
        attacks += f" and a likelihood-ratio attack with {shadows} shadow models"
    found = [f"Empirical evidence by {attacks}, not a proof of erasure."]
    if identical:
        found.append("The version's weights are its parent's, byte for byte.")
    found += [
        f"Of {one.instances} instances forgotten earlier for task {one.task!r}: {one.reason}"
        for one in earlier
        if one.verdict != "pass"
    ]
    for request, copies, near in zip(
        evidence.requests, _copies_left(evidence), near_duplicates(evidence), strict=True
    ):
        if copies:
            found.append(
                f"{copies} instances of request {request.request_id} have an exact copy under"
                " another id that still teaches the tasks they were to be forgotten for."
            )
        if near:
            found.append(
                f"{_listed([evidence.train.ids[row] for row in near])} of request"
                f" {request.request_id} nearly repeat in instances that still teach the same"
                " tasks: what those teach stays."
            )
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} instances ({shown}{more})"


def _copies_left(evidence: Evidence) -> list[int]:
    """Of each request, how many instances have a twin (same digest) that teaches a same task."""
    digests = evidence.train.digests
    teaching = [
        {digests[row] for row in column.nonzero().squeeze(1).tolist()}
        for column in evidence.retain.unbind(1)
    ]
    return [_with_twins(request, digests, teaching) for request in evidence.requests]


def _with_twins(
    request: ForgottenCells, digests: Sequence[str], teaching: Sequence[Set[str]]
) -> int:
    forgotten = request.cells.nonzero().tolist()
    return len({row for row, column in forgotten if digests[row] in teaching[column]})
