"""Deletion requests as callers see them, a page at a time: what belongs to them is read at once."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.schemas.deletion_requests import (
    CellException,
    DeletionRequestView,
    GivenApproval,
    ImportSource,
)
from app.schemas.estimates import Forecast
from app.schemas.models import ModelRef
from app.services.intake import Received, earlier_requests
from app.services.lookup import find_model
from app.states import FINISHED_REQUEST, RequestState
from app.tables import (
    Approval,
    Audit,
    DeletionRequest,
    Instance,
    JobRequest,
    Model,
    Receipt,
    RequestInstance,
    Version,
)
from engine.spec import AuditReport, CellAudit

SHOWN_INSTANCES = 100
_DONE = (RequestState.COMPLETED, RequestState.COMPLETED_WITH_EXCEPTIONS)


def receipt_href(request_id: str) -> str:
    """Where a request's receipt is."""
    return f"/v1/deletion-requests/{request_id}/receipt"


def list_requests(
    session: Session,
    tenant_id: str,
    *,
    limit: int,
    before_id: str | None = None,
    state: RequestState | None = None,
    model: str | None = None,
    subject: str | None = None,
    external_id: str | None = None,
    due_before: datetime | None = None,
    after_due: tuple[datetime, str] | None = None,
) -> Sequence[DeletionRequest]:
    """Up to `limit` of the tenant's requests, newest first, older than `before_id`.

    With `due_before` by deadline, the first one first, behind that of `after_due` and its id.
    """
    rows = select(DeletionRequest).where(DeletionRequest.tenant_id == tenant_id)
    if before_id is not None:
        rows = rows.where(DeletionRequest.id < before_id)
    if state is not None:
        rows = rows.where(DeletionRequest.state == state)
    if model is not None:
        rows = rows.where(DeletionRequest.model_id == find_model(session, tenant_id, model).id)
    if subject is not None:
        # Through the index on (root, subject): from the subject to its requests, not from each
        # request to its subjects.
        roots = select(Version.id).where(
            Version.tenant_id == tenant_id, Version.parent_id.is_(None)
        )
        theirs = (
            select(RequestInstance.request_id)
            .join(Instance, Instance.pk == RequestInstance.instance_pk)
            .where(Instance.root_id.in_(roots), Instance.subject == subject)
        )
        rows = rows.where(DeletionRequest.id.in_(theirs))
    if external_id is not None:
        rows = rows.where(DeletionRequest.external_id == external_id)
    if due_before is not None:
        rows = rows.where(DeletionRequest.due_at < due_before)
        if after_due is not None:
            due_at, id = after_due
            later = (DeletionRequest.due_at > due_at) | (DeletionRequest.id > id)
            rows = rows.where(DeletionRequest.due_at >= due_at, later)
        by_deadline = rows.order_by(DeletionRequest.due_at, DeletionRequest.id)
        return session.scalars(by_deadline.limit(limit)).all()
    return session.scalars(rows.order_by(DeletionRequest.id.desc()).limit(limit)).all()


def new_view(session: Session, received: Received) -> DeletionRequestView:
    """A request as whoever sent it is answered: nobody has done anything about it yet."""
    request, named = received.request, received.named
    if request.state in FINISHED_REQUEST:
        return view(session, request)
    return _view(
        request,
        named.target.model.name,
        [named.names[key] for key in named.keys[:SHOWN_INSTANCES]],
        job=received.job.id if received.job else None,
    )


def view(session: Session, request: DeletionRequest) -> DeletionRequestView:
    """One request as callers see it."""
    return views(session, [request])[0]


def views(session: Session, requests: Sequence[DeletionRequest]) -> list[DeletionRequestView]:
    """Requests as callers see them, in the order given."""
    ids = [request.id for request in requests]
    names = dict(
        session.execute(
            select(Model.id, Model.name).where(Model.id.in_({r.model_id for r in requests}))
        ).all()
    )
    jobs = dict(
        session.execute(
            select(JobRequest.request_id, func.max(JobRequest.job_id))
            .where(JobRequest.request_id.in_(ids))
            .group_by(JobRequest.request_id)
        ).all()
    )
    receipted = set(
        session.scalars(select(Receipt.request_id).where(Receipt.request_id.in_(ids)).distinct())
    )
    approvals = _approvals(session, ids)
    named = _first_instances(session, requests)
    audits = _audits(session, {r.version_id for r in requests if r.version_id})
    return [
        _view(
            request,
            names[request.model_id],
            named[request.id],
            approvals=approvals[request.id],
            job=jobs.get(request.id),
            audit=[
                cell for cell in audits.get(request.version_id, ()) if cell.request_id == request.id
            ],
            receipt=receipt_href(request.id) if request.id in receipted else None,
            earlier_receipts=_earlier_receipts(session, request)
            if request.state in _DONE and request.id not in receipted
            else [],
        )
        for request in requests
    ]


def _view(
    request: DeletionRequest,
    model_name: str,
    instances: Sequence[str],
    *,
    job: str | None,
    approvals: Sequence[GivenApproval] = (),
    audit: Sequence[CellAudit] = (),
    receipt: str | None = None,
    earlier_receipts: Sequence[str] = (),
) -> DeletionRequestView:
    planned = _forecast(request)
    return DeletionRequestView(
        id=request.id,
        model=ModelRef(id=request.model_id, name=model_name),
        state=RequestState(request.state),
        state_reason=request.state_reason,
        scope="full" if request.scope == "full" else "partial",
        tasks=request.tasks,
        instance_count=request.instance_count,
        instances=list(instances),
        subjects=request.subjects,
        unknown_instances=request.unknown_instances,
        imported=ImportSource.model_validate(request.imported) if request.imported else None,
        reason=request.reason,
        external_id=request.external_id,
        priority=request.priority,
        received_at=request.received_at,
        due_at=request.due_at,
        extended=request.extended,
        approvals_needed=request.approvals_needed,
        approvals=list(approvals),
        job=job,
        estimate=planned and planned.estimate,
        proposal=planned and planned.proposal,
        version=request.version_id,
        exceptions=[CellException.model_validate(one) for one in request.exceptions],
        audit=list(audit) or None,
        receipt=receipt,
        earlier_receipts=list(earlier_receipts),
        created_by=request.created_by,
        created_at=request.created_at,
        updated_at=request.updated_at,
    )


def _forecast(request: DeletionRequest) -> Forecast | None:
    return Forecast.model_validate(request.forecast) if request.forecast else None


def _approvals(session: Session, request_ids: Sequence[str]) -> dict[str, list[GivenApproval]]:
    found: dict[str, list[GivenApproval]] = defaultdict(list)
    rows = select(Approval).where(Approval.request_id.in_(request_ids)).order_by(Approval.at)
    for row in session.scalars(rows):
        found[row.request_id].append(GivenApproval(by=row.principal, at=row.at, note=row.note))
    return found


def _audits(session: Session, version_ids: set[str]) -> dict[str | None, tuple[CellAudit, ...]]:
    if not version_ids:
        return {}
    rows = session.execute(
        select(Audit.version_id, Audit.report).where(Audit.version_id.in_(version_ids))
    )
    return {version: AuditReport.model_validate(report).cells for version, report in rows}


def _first_instances(session: Session, requests: Sequence[DeletionRequest]) -> dict[str, list[str]]:
    """Up to SHOWN_INSTANCES of each request; of those with few, all are read at once."""
    few = [request.id for request in requests if request.instance_count <= SHOWN_INSTANCES]
    many = [request.id for request in requests if request.instance_count > SHOWN_INSTANCES]
    named = (
        select(RequestInstance.request_id, Instance.instance_id)
        .join(Instance, Instance.pk == RequestInstance.instance_pk)
        .order_by(RequestInstance.request_id, RequestInstance.instance_pk)
    )
    asked = [named.where(RequestInstance.request_id.in_(few))] if few else []
    asked += [named.where(RequestInstance.request_id == one).limit(SHOWN_INSTANCES) for one in many]
    found: dict[str, list[str]] = defaultdict(list)
    for rows in asked:
        for request_id, instance_id in session.execute(rows):
            found[request_id].append(instance_id)
    return found


def _earlier_receipts(session: Session, request: DeletionRequest) -> list[str]:
    if request.version_id is None:
        return []
    earlier = [
        one.id for one in earlier_requests(session, request.id, request.version_id, request.tasks)
    ]
    receipted = set(
        session.scalars(select(Receipt.request_id).where(Receipt.request_id.in_(earlier)))
    )
    return [receipt_href(one) for one in earlier if one in receipted]
