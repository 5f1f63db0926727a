"""`/v1/jobs`: the engine's runs, as they wait, work and end."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import OperationDep, ReadSession, answer, requires
from app.pagination import Items, PageDep, link_next
from app.schemas.fields import Text
from app.schemas.jobs import JobView
from app.services import cancellation, job_views
from app.services.lookup import owned
from app.states import JobState
from app.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Caller = Annotated[
    Principal,
    Depends(requires(Scope.REQUESTS_WRITE, Scope.REQUESTS_APPROVE, Scope.MODELS_WRITE)),
]
Writer = Annotated[Principal, Depends(requires(Scope.REQUESTS_WRITE))]


@router.get("")
def list_jobs(
    http: Request,
    response: Response,
    caller: Caller,
    session: ReadSession,
    page: PageDep,
    state: JobState | None = None,
    model: Annotated[Text | None, Query(max_length=63)] = None,
) -> Items[JobView]:
    """Jobs, newest first."""
    rows = job_views.list_jobs(
        session,
        caller.tenant_id,
        limit=page.limit + 1,
        before_id=page.after,
        state=state,
        model=model,
    )
    shown, cursor = page.cut(rows, lambda job: job.id)
    link_next(http, response, cursor)
    return Items(items=job_views.views(session, shown), next=cursor)


@router.get("/{job_id}")
def get(job_id: Text, caller: Caller, session: ReadSession) -> JobView:
    """One job with its progress, attempts and cost."""
    job = owned(session, caller.tenant_id, Job, job_id)
    return job_views.views(session, [job])[0]


@router.post("/{job_id}/cancel", status_code=202, response_model=JobView)
def cancel(job_id: Text, caller: Writer, operation: OperationDep) -> Response:
    """Stop a job, and with it every request that it serves."""

    def work(session: Session) -> Response:
        job = cancellation.cancel_job(session, caller.tenant_id, job_id, caller.name)
        return answer(job_views.views(session, [job])[0], 202)

    return operation.run(work)


@router.get("/{job_id}/log", response_class=PlainTextResponse)
def log(job_id: Text, caller: Caller, session: ReadSession) -> str:
    """The tail of what the engine wrote to standard error, attempt by attempt."""
    return job_views.log_of(session, owned(session, caller.tenant_id, Job, job_id))
