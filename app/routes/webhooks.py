"""`/v1/webhook-endpoints`: events sent to addresses of the tenant's, and what became of them."""

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import OperationDep, PartsDep, ReadSession, answer, requires
from app.pagination import Items, PageDep, link_next
from app.problems import Conflict, Invalid, Unavailable
from app.schemas.fields import Text
from app.schemas.webhooks import (
    DeliveryView,
    EndpointChange,
    EndpointSecret,
    EndpointView,
    NewEndpoint,
    ReplayFrom,
)
from app.services import webhooks
from app.settings import Settings
from app.states import DeliveryState
from app.webhooks import queue
from app.webhooks.addresses import AddressRefused, checked
from app.webhooks.secret_box import KeyFault, SecretBox
from expunge.webhooks import encode_secret

router = APIRouter(prefix="/v1/webhook-endpoints", tags=["webhooks"])

_log = logging.getLogger(__name__)
Admin = Annotated[Principal, Depends(requires(Scope.ADMIN))]


@router.post("", status_code=201, response_model=EndpointSecret)
def create(body: NewEndpoint, caller: Admin, operation: OperationDep, parts: PartsDep) -> Response:
    """Send events to an address; the answer is the only one that shows the secret.

    422 for an address that is not public, or not `https`; what a name leads to is checked by each
    delivery. A repetition with the same
    Idempotency-Key answers 409 with the endpoint's id, since it cannot show the secret again.
    """
    _require_fit(body.url, parts.settings)
    box = _box(parts.settings)

    def work(session: Session) -> Response:
        row, secret = webhooks.create(session, box, caller, body)
        location = f"/v1/webhook-endpoints/{row.id}"
        shown = EndpointSecret.of(row, secret=encode_secret(secret))
        return answer(shown, 201, Location=location)

    def remembered(response: Response) -> Response:
        row_id = response.headers["location"].rpartition("/")[2]
        return _shown_before(row_id)

    return operation.run(work, remembered)


@router.get("")
def list_all(
    caller: Admin, session: ReadSession, page: PageDep, request: Request, response: Response
) -> Items[EndpointView]:
    """The tenant's endpoints, newest first."""
    rows = webhooks.page(session, caller.tenant_id, page.limit + 1, page.after)
    shown, cursor = page.cut(rows, lambda row: row.id)
    link_next(request, response, cursor)
    return Items(items=[EndpointView.of(row) for row in shown], next=cursor)


@router.get("/{endpoint}")
def get(endpoint: Text, caller: Admin, session: ReadSession) -> EndpointView:
    """One endpoint, and since when it has been failing."""
    return EndpointView.of(webhooks.find(session, caller.tenant_id, endpoint, lock=False))


@router.patch("/{endpoint}", response_model=EndpointView)
def change(
    endpoint: Text,
    body: EndpointChange,
    caller: Admin,
    operation: OperationDep,
    parts: PartsDep,
) -> Response:
    """Change the address, the kinds or the description; disable, or enable again."""
    if body.url is not None:
        _require_fit(body.url, parts.settings)

    def work(session: Session) -> Response:
        row = webhooks.find(session, caller.tenant_id, endpoint, lock=True)
        webhooks.change(session, row, body, caller.name)
        return answer(EndpointView.of(row))

    return operation.run(work)


@router.delete("/{endpoint}", status_code=204)
def remove(endpoint: Text, caller: Admin, operation: OperationDep) -> Response:
    """Send nothing there any more, and forget its deliveries."""

    def work(session: Session) -> Response:
        row = webhooks.find(session, caller.tenant_id, endpoint, lock=True)
        webhooks.remove(session, row, caller.name)
        return Response(status_code=204)

    return operation.run(work)


@router.post("/{endpoint}/rotate-secret", response_model=EndpointSecret)
def rotate_secret(
    endpoint: Text, caller: Admin, operation: OperationDep, parts: PartsDep
) -> Response:
    """Make a new secret, shown this once.

    Deliveries are signed with both until `former_secret_until`. A repetition with the same
    Idempotency-Key rotates no further and answers 409.
    """
    overlap = parts.settings.webhook_secret_overlap_seconds
    box = _box(parts.settings)

    def work(session: Session) -> Response:
        row = webhooks.find(session, caller.tenant_id, endpoint, lock=True)
        secret = webhooks.rotate(session, box, row, overlap, caller.name)
        return answer(EndpointSecret.of(row, secret=encode_secret(secret)))

    return operation.run(work, lambda _: _shown_before(endpoint))


@router.post("/{endpoint}/replay", status_code=202, response_model=EndpointView)
def replay_after(
    endpoint: Text, body: ReplayFrom, caller: Admin, operation: OperationDep
) -> Response:
    """Deliver every wanted event behind a number once more, with the same `webhook-id`s."""

    def work(session: Session) -> Response:
        row = webhooks.find(session, caller.tenant_id, endpoint, lock=True)
        queue.replay_after(session, row, body.after)
        return answer(EndpointView.of(row), 202)

    return operation.run(work)


@router.get("/{endpoint}/deliveries")
def list_deliveries(
    endpoint: Text,
    caller: Admin,
    session: ReadSession,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[DeliveryState | None, Query()] = None,
) -> Items[DeliveryView]:
    """What was sent or waits to be, newest first, with the last answer to each."""
    row = webhooks.find(session, caller.tenant_id, endpoint, lock=False)
    rows = webhooks.deliveries(session, row, state, page.limit + 1, page.after)
    shown, cursor = page.cut(rows, lambda delivery: delivery.id)
    link_next(request, response, cursor)
    return Items(items=[DeliveryView.of(delivery) for delivery in shown], next=cursor)


@router.get("/{endpoint}/deliveries/{delivery}")
def get_delivery(
    endpoint: Text, delivery: Text, caller: Admin, session: ReadSession
) -> DeliveryView:
    """One delivery."""
    row = webhooks.find(session, caller.tenant_id, endpoint, lock=False)
    return DeliveryView.of(webhooks.delivery(session, row, delivery))


@router.post(
    "/{endpoint}/deliveries/{delivery}/replay", status_code=202, response_model=DeliveryView
)
def replay(endpoint: Text, delivery: Text, caller: Admin, operation: OperationDep) -> Response:
    """Deliver one event once more, also a dead one, with the same `webhook-id`."""

    def work(session: Session) -> Response:
        row = webhooks.find(session, caller.tenant_id, endpoint, lock=True)
        return answer(DeliveryView.of(webhooks.replay(session, row, delivery)), 202)

    return operation.run(work)


def _require_fit(url: str, settings: Settings) -> None:
    """422 for a URL that can be refused as it stands; names are looked up by each delivery."""
    try:
        checked(url, allow_loopback=settings.webhook_allow_loopback)
    except AddressRefused as refusal:
        raise Invalid("#/url", f"url {url!r:.200} cannot be used: {refusal}") from None


def _box(settings: Settings) -> SecretBox:
    """What seals the secret; 503 while its key cannot be used."""
    try:
        return SecretBox.load(settings)
    except KeyFault as fault:
        _log.error("webhook secrets cannot be sealed: %s", fault)
        detail = "the key that seals webhook secrets cannot be used at the moment"
        raise Unavailable(detail, retry_after=60) from None


def _shown_before(endpoint_id: str) -> Response:
    detail = f"the secret of {endpoint_id} was shown then; rotate it to see another"
    return Conflict("secret-already-shown", detail, endpoint=endpoint_id).response()
