"""From a parsed body to a deletion request on record: resolved, dated, held or queued.

Everything is written in the caller's one transaction: the request, what it names, its ledger
events, its job and the doorbell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.deadlines import add_months
from app.ids import new_id
from app.noting import note_set, write_new
from app.prepared import Prepared
from app.problems import Invalid
from app.schemas.deletion_requests import AskedOf, NewDeletionRequest, Preview
from app.schemas.models import Policy
from app.services.cells import CHUNK, forgotten_in
from app.services.estimation import forecast
from app.services.job_loads import load_of_preview, load_of_request
from app.services.parking import anything_is_held, park_if_held
from app.services.planning import PRIORITY, enqueue, joinable_job, plan
from app.services.resolution import (
    Found,
    Resolution,
    Target,
    emptied_tasks,
    manifest_size,
    resolve,
)
from app.services.transitions import move_request
from app.states import RequestState
from app.tables import (
    DeletionRequest,
    ForgottenCell,
    Job,
    JobRequest,
    JsonObject,
    Model,
    RequestInstance,
)

_NAMES = Prepared(insert(RequestInstance.__table__))  # type: ignore[arg-type]  # it is a Table

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours a caller's clock may be."""


class Dates(NamedTuple):
    """When a request was received, and when it is due."""

    received_at: datetime
    due_at: datetime


@dataclass(frozen=True)
class Received:
    """A new request, and what is at hand of it while it is answered."""

    request: DeletionRequest
    named: Resolution
    job: Job | None
    """Which it waits for; None where it waits for something else, or is complete."""


def receive(session: Session, tenant_id: str, body: NewDeletionRequest, actor: str) -> Received:
    """The new request, queued, held for approval, or complete where nothing is left to do.

    Raises a Problem, with nothing written, for whatever cannot be carried out.
    """
    dates = dates_of(body, database_now(session))
    named = resolve(session, tenant_id, body)
    found = named.found()
    request = open_request(session, found.target, body, dates, actor)
    request.subjects = list(dict.fromkeys(body.subjects))
    request.instance_count, request.unknown_instances = found.instances, named.unknown
    return Received(request, named, decide(session, request, found, actor))


def open_request(
    session: Session, target: Target, body: AskedOf, dates: Dates, actor: str
) -> DeletionRequest:
    """A request that names nothing yet and is not written."""
    now = database_now(session)
    return DeletionRequest(
        id=new_id("req"),
        tenant_id=target.model.tenant_id,
        model_id=target.model.id,
        root_id=target.version.root_id,
        state=RequestState.RECEIVED,
        scope=target.scope,
        tasks=target.tasks,
        subjects=[],
        instance_count=0,
        unknown_instances=[],
        reason=body.reason,
        external_id=body.external_id,
        priority=body.priority,
        received_at=dates.received_at,
        due_at=dates.due_at,
        extended=False,
        approvals_needed=0,
        exceptions=[],
        created_by=actor,
        revision=1,
        created_at=now,
        updated_at=now,
    )


def decide(session: Session, request: DeletionRequest, found: Found, actor: str) -> Job | None:
    """Tell the ledger of a new request and send it on its way; the job that it waits for, if any.

    Writes which instances it names, where they are at hand and not on record.
    """
    model, version = found.target.model, found.target.version
    why = why_held(session, found, request.priority)
    if why is not None and not found.nothing_left:
        request.approvals_needed = approvals_needed(model)
    told = {
        "model": model.id,
        "root": version.root_id,
        "scope": request.scope,
        "tasks": request.tasks,
        "instances": found.instances,
        "unknown": request.unknown_count,
        "received_at": request.received_at.isoformat(),
        "due_at": request.due_at.isoformat(),
    }
    if request.imported:
        told["sha256"] = request.imported["sha256"]
    kind = f"request.{RequestState.RECEIVED}"
    ledger.append(session, request.tenant_id, kind, request.id, actor, told)
    held = not found.nothing_left and anything_is_held(session, request)
    if held or why is not None or found.nothing_left:
        session.add(request)
        session.flush()
        _name_instances(session, request, found.keys)  # what follows reads them back
        found = replace(found, keys=None)
    if found.nothing_left:
        _complete(session, request, found, actor)
    elif held and park_if_held(session, request, actor):
        pass
    elif why is not None:
        load = load_of_request(session, version, request)
        request.forecast = forecast(session, model, version, load).model_dump(mode="json")
        move_request(session, request, RequestState.AWAITING_APPROVAL, actor=actor, reason=why)
    else:
        return _queue(session, request, found, actor)
    return None


def preview(session: Session, tenant_id: str, body: NewDeletionRequest) -> Preview:
    """What `receive` would do; writes nothing, raises the same."""
    dates_of(body, database_now(session))
    named = resolve(session, tenant_id, body)
    found, target = named.found(), named.target
    why = None if found.nothing_left else why_held(session, found, body.priority)
    runs_at_once = why is None and not found.nothing_left
    job = joinable_job(session, target.model.id, target.version.root_id) if runs_at_once else None
    planned = None
    if not found.nothing_left:
        load = load_of_preview(session, named, job)
        planned = forecast(session, target.model, target.version, load)
    return Preview(
        scope=target.scope,
        tasks=target.tasks,
        instance_count=found.instances,
        unknown_instances=named.unknown,
        cells=found.cells,
        untaught_cells=found.instances * len(target.tasks) - found.cells,
        already_forgotten_cells=found.cells_forgotten,
        share=_share(session, found),
        needs_approval=why is not None,
        why_approval=why,
        approvals_needed=0 if why is None else approvals_needed(target.model),
        joins_job=job.id if job else None,
        estimate=planned and planned.estimate,
        proposal=planned and planned.proposal,
    )


def approvals_needed(model: Model) -> int:
    """How many people must approve a request of this model that is held."""
    return 2 if Policy.model_validate(model.policy).approval == "two_persons" else 1


def why_held(session: Session, found: Found, priority: str) -> str | None:
    """Why somebody must approve the request, as one sentence, or None."""
    policy = Policy.model_validate(found.target.model.policy)
    emptied = emptied_tasks(session, found.target.version, found.target.tasks, found.fresh)
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


def left_open_before(
    session: Session, request_id: str, version_id: str, tasks: list[str]
) -> list[JsonObject]:
    """The exceptions, each once, with which those earlier requests ended for these tasks."""
    left_open: list[JsonObject] = []
    for earlier in earlier_requests(session, request_id, version_id, tasks):
        left_open += [
            exception
            for exception in earlier.exceptions
            if exception["task"] in tasks and exception not in left_open
        ]
    return left_open


@dataclass(frozen=True)
class _Ending:
    state: RequestState
    reason: str
    exceptions: list[JsonObject]


def _complete(session: Session, request: DeletionRequest, found: Found, actor: str) -> None:
    """End a request for which no run is needed; what earlier ones left open stays open."""
    ending = _ending(session, request, found)
    request.exceptions = ending.exceptions
    request.version_id = found.target.version.id
    told = {"version": found.target.version.id}
    move_request(session, request, ending.state, actor=actor, reason=ending.reason, payload=told)


def _ending(session: Session, request: DeletionRequest, found: Found) -> _Ending:
    with_exceptions = RequestState.COMPLETED_WITH_EXCEPTIONS
    if not found.instances:
        return _Ending(with_exceptions, "nothing that it names is in the manifest", [])
    tasks = found.target.tasks
    if not found.cells:
        reason = f"none of its instances taught {_listed(tasks)}"
        return _Ending(with_exceptions if found.unknown else RequestState.COMPLETED, reason, [])
    left_open = left_open_before(session, request.id, found.target.version.id, tasks)
    return _Ending(
        with_exceptions if left_open or found.unknown else RequestState.COMPLETED,
        "an earlier request had all of it forgotten",
        left_open,
    )


def dates_of(body: AskedOf, now: datetime) -> Dates:
    """When the request was received, and when it is due; 422 where that cannot be."""
    received_at = body.received_at or now
    if received_at > now + CLOCK_SKEW:
        raise Invalid("#/received_at", f"received_at {received_at.isoformat()} is in the future")
    due_at = body.due_at or add_months(received_at, 1)
    if due_at < received_at:
        raise Invalid(
            "#/due_at",
            f"due_at {due_at.isoformat()} is before received_at {received_at.isoformat()}",
        )
    return Dates(received_at, due_at)


def _queue(session: Session, request: DeletionRequest, found: Found, actor: str) -> Job:
    if found.keys is None:
        return enqueue(session, request, actor)
    job = plan(session, request, actor, found)
    write_new(session, request, request.tenant_id)  # once, with all that was decided
    write_new(session, JobRequest(job_id=job.id, request_id=request.id), request.tenant_id)
    _name_instances(session, request, found.keys)
    return job


def _name_instances(session: Session, request: DeletionRequest, keys: Sequence[int] | None) -> None:
    """Write which instances a request names, unless they are on record."""
    if keys is None:
        return
    for start in range(0, len(keys), CHUNK):
        rows = [{"request_id": request.id, "instance_pk": pk} for pk in keys[start : start + CHUNK]]
        _NAMES.run(session, *rows)
    if keys:
        all_of_it = [(pk,) for pk in keys] if len(keys) <= CHUNK else None
        note_set(session, RequestInstance, request.id, all_of_it)


def _share(session: Session, found: Found) -> float:
    size = manifest_size(session, found.target.version.root_id)
    return found.instances / max(1, size.instances)


def _listed(tasks: list[str]) -> str:
    return ("task " if len(tasks) == 1 else "tasks ") + ", ".join(map(repr, tasks))
