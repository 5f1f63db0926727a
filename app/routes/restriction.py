"""`/v1/models/{model}/restrictions`: what pipelines must leave out while requests wait."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.auth import Principal, Scope
from app.http import ReadSession, requires
from app.pagination import Items, PageDep, link_next
from app.schemas.restriction import RestrictedInstance
from app.services import restriction
from app.services.lookup import find_model

router = APIRouter(prefix="/v1/models/{model}/restrictions", tags=["models"])

Reader = Annotated[Principal, Depends(requires(Scope.REQUESTS_WRITE, Scope.MODELS_WRITE))]


@router.get("")
def list_all(
    model: str,
    caller: Reader,
    session: ReadSession,
    page: PageDep,
    request: Request,
    response: Response,
) -> Items[RestrictedInstance]:
    """What must not be processed for now (GDPR Art. 18), in manifest order.

    An instance is restricted for the tasks of every request that names it and is neither done nor
    refused nor withdrawn; one that failed restricts until it is retried. An instance stands here
    once for each manifest that it was found in.
    """
    found = find_model(session, caller.tenant_id, model)
    rows = restriction.page(session, found, page.after_number() or 0, page.limit + 1)
    shown, cursor = page.cut(rows, lambda row: row.pk)
    link_next(request, response, cursor)
    items = [
        RestrictedInstance(
            id=row.instance_id, tasks=row.tasks, requests=row.requests, since=row.since
        )
        for row in shown
        if row.tasks
    ]
    return Items(items=items, next=cursor)
