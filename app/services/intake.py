"""From a parsed body to a deletion request on record: resolved, dated, held or queued.

Everything is written in the caller's one transaction: the request, what it names, its ledger
events, its job and the doorbell.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.deadlines import add_months
from app.ids import new_id
from app.problems import Invalid
from app.schemas.deletion_requests import NewDeletionRequest, Preview, Priority
from app.schemas.models import Policy
from app.services.cells import CHUNK, forgotten_in
from app.services.estimation import forecast
from app.services.job_loads import load_of_preview, load_of_request
from app.services.parking import park_if_held
from app.services.planning import PRIORITY, enqueue, joinable_job
from app.services.resolution import Resolution, emptied_tasks, manifest_size, resolve
from app.services.transitions import move_request
from app.states import RequestState
from app.tables import (
    DeletionRequest,
    ForgottenCell,
    JsonObject,
    Model,
    RequestInstance,
)

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours a caller's clock may be."""


def receive(
    session: Session, tenant_id: str, body: NewDeletionRequest, actor: str
) -> DeletionRequest:
    """The new request, queued, held for approval, or complete where nothing is left to do.

    Raises a Problem, with nothing written, for whatever cannot be carried out.
    """
    now = database_now(session)
    received_at, due_at = _dates(body, now)
    found = resolve(session, tenant_id, body)
    why = why_held(session, found, body.priority)
    request = DeletionRequest(
        id=new_id("req"),
        tenant_id=tenant_id,
        model_id=found.model.id,
        root_id=found.version.root_id,
        state=RequestState.RECEIVED,
        scope=found.scope,
        tasks=found.tasks,
        subjects=list(dict.fromkeys(body.subjects)),
        instance_count=len(found.taught),
        unknown_instances=found.unknown,
        reason=body.reason,
        external_id=body.external_id,
        priority=body.priority,
        received_at=received_at,
        due_at=due_at,
        approvals_needed=0 if why is None or found.nothing_left else approvals_needed(found.model),
        exceptions=[],
        created_by=actor,
        created_at=now,
        updated_at=now,
    )
    session.add(request)
    session.flush()
    _name_instances(session, request, found)
    told = {
        "model": found.model.id,
        "root": found.version.root_id,
        "scope": found.scope,
        "tasks": found.tasks,
        "instances": len(found.taught),
        "unknown": len(found.unknown),
        "received_at": received_at.isoformat(),
        "due_at": due_at.isoformat(),
    }
    ledger.append(session, tenant_id, f"request.{RequestState.RECEIVED}", request.id, actor, told)
    if found.nothing_left:
        _complete(session, request, found, actor)
    elif park_if_held(session, request, actor):
        pass
    elif why is not None:
        load = load_of_request(session, found.version, request)
        planned = forecast(session, found.model, found.version, load)
        request.forecast = planned.model_dump(mode="json")
        move_request(session, request, RequestState.AWAITING_APPROVAL, actor=actor, reason=why)
    else:
        enqueue(session, request, actor)
    return request


def preview(session: Session, tenant_id: str, body: NewDeletionRequest) -> Preview:
    """What `receive` would do; writes nothing, raises the same."""
    _dates(body, database_now(session))
    found = resolve(session, tenant_id, body)
    why = None if found.nothing_left else why_held(session, found, body.priority)
    runs_at_once = why is None and not found.nothing_left
    job = (
        session.scalar(joinable_job(found.model.id, found.version.root_id))
        if runs_at_once
        else None
    )
    planned = None
    if not found.nothing_left:
        load = load_of_preview(session, found, job)
        planned = forecast(session, found.model, found.version, load)
    return Preview(
        scope=found.scope,
        tasks=found.tasks,
        instance_count=len(found.taught),
        unknown_instances=found.unknown,
        cells=found.cells,
        untaught_cells=len(found.taught) * len(found.tasks) - found.cells,
        already_forgotten_cells=found.cells_forgotten,
        share=_share(session, found),
        needs_approval=why is not None,
        why_approval=why,
        approvals_needed=0 if why is None else approvals_needed(found.model),
        joins_job=job.id if job else None,
        estimate=planned and planned.estimate,
        proposal=planned and planned.proposal,
    )


def approvals_needed(model: Model) -> int:
    """How many people must approve a request of this model that is held."""
    return 2 if Policy.model_validate(model.policy).approval == "two_persons" else 1


def why_held(session: Session, found: Resolution, priority: Priority) -> str | None:
    """Why somebody must approve the request, as one sentence, or None."""
    policy = Policy.model_validate(found.model.policy)
    fresh = [tasks - found.forgotten.get(pk, set()) for pk, tasks in found.taught.items()]
    emptied = emptied_tasks(session, found.version, found.tasks, fresh)
    if emptied:
        return (
            f"it would leave nothing that teaches {_listed(emptied)};"
            " only the method 'retrain' can do that"
        )
    share = _share(session, found)
    if share > policy.max_automatic_share:
        return (
            f"it names {share:.1%} of the instances;"
            f" the policy forgets at most {policy.max_automatic_share:.1%} without approval"
        )
    if PRIORITY[priority] > PRIORITY[policy.max_automatic_priority]:
        return (
            f"its priority is {priority}; the policy lets requests go on by themselves"
            f" up to the priority {policy.max_automatic_priority}"
        )
    if policy.approval == "one_person":
        return "the policy asks for somebody's approval"
    if policy.approval == "two_persons":
        return "the policy asks for the approval of two persons"
    return None


def earlier_requests(
    session: Session, request_id: str, version_id: str, tasks: list[str]
) -> list[DeletionRequest]:
    """The requests through which the version had forgotten this request's cells, oldest first."""
    cells = forgotten_in(session, version_id)
    named = select(RequestInstance.instance_pk).where(RequestInstance.request_id == request_id)
    ids = (
        cells.with_only_columns(ForgottenCell.request_id)
        .where(
            ForgottenCell.instance_pk.in_(named),
            ForgottenCell.task.in_(tasks),
            ForgottenCell.request_id != request_id,
        )
        .distinct()
    )
    return list(
        session.scalars(
            select(DeletionRequest).where(DeletionRequest.id.in_(ids)).order_by(DeletionRequest.id)
        )
    )


@dataclass(frozen=True)
class _Ending:
    state: RequestState
    reason: str
    exceptions: list[JsonObject]


def _complete(session: Session, request: DeletionRequest, found: Resolution, actor: str) -> None:
    """End a request for which no run is needed; what earlier ones left open stays open."""
    ending = _ending(session, request, found)
    request.exceptions = ending.exceptions
    request.version_id = found.version.id
    told = {"version": found.version.id}
    move_request(session, request, ending.state, actor=actor, reason=ending.reason, payload=told)


def _ending(session: Session, request: DeletionRequest, found: Resolution) -> _Ending:
    with_exceptions = RequestState.COMPLETED_WITH_EXCEPTIONS
    if not found.taught:
        return _Ending(with_exceptions, "nothing that it names is in the manifest", [])
    if not found.cells:
        reason = f"none of its instances taught {_listed(found.tasks)}"
        return _Ending(with_exceptions if found.unknown else RequestState.COMPLETED, reason, [])
    left_open: list[JsonObject] = []
    for earlier in earlier_requests(session, request.id, found.version.id, found.tasks):
        left_open += [
            exception
            for exception in earlier.exceptions
            if exception["task"] in found.tasks and exception not in left_open
        ]
    return _Ending(
        with_exceptions if left_open or found.unknown else RequestState.COMPLETED,
        "an earlier request had all of it forgotten",
        left_open,
    )


def _dates(body: NewDeletionRequest, now: datetime) -> tuple[datetime, datetime]:
    """When the request was received, and when it is due."""
    received_at = body.received_at or now
    if received_at > now + CLOCK_SKEW:
        raise Invalid("#/received_at", f"received_at {received_at.isoformat()} is in the future")
    due_at = body.due_at or add_months(received_at, 1)
    if due_at < received_at:
        raise Invalid(
            "#/due_at",
            f"due_at {due_at.isoformat()} is before received_at {received_at.isoformat()}",
        )
    return received_at, due_at


def _name_instances(session: Session, request: DeletionRequest, found: Resolution) -> None:
    rows = [{"request_id": request.id, "instance_pk": pk} for pk in sorted(found.taught)]
    for start in range(0, len(rows), CHUNK):
        session.execute(insert(RequestInstance), rows[start : start + CHUNK])


def _share(session: Session, found: Resolution) -> float:
    return len(found.taught) / max(1, manifest_size(session, found.version.root_id).instances)


def _listed(tasks: list[str]) -> str:
    return ("task " if len(tasks) == 1 else "tasks ") + ", ".join(map(repr, tasks))
