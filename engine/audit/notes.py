"""What a reader of the report has to know beyond its numbers."""

from collections.abc import Sequence

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
    for request in evidence.requests:
        copies = _copies_left(evidence, request)
        if copies:
            found.append(
                f"{copies} instances of request {request.request_id} have an exact copy under"
                " another id that still teaches the tasks they were to be forgotten for."
            )
        near = near_duplicates(evidence, request)
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


def _copies_left(evidence: Evidence, request: ForgottenCells) -> int:
    """How many forgotten instances have a twin (same digest) in the retain set of a same task."""
    digests = evidence.train.digests
    found: set[int] = set()
    for column in range(request.cells.shape[1]):
        teaching = {
            digests[row] for row in evidence.retain[:, column].nonzero().squeeze(1).tolist()
        }
        forgotten = request.cells[:, column].nonzero().squeeze(1).tolist()
        found.update(row for row in forgotten if digests[row] in teaching)
    return len(found)
