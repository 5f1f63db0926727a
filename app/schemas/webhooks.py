"""Webhook endpoints and deliveries as they are sent and seen."""

import re
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.schemas.fields import Text
from app.states import DeliveryState
from app.tables import WebhookDelivery, WebhookEndpoint

_EXAMPLE: JsonDict = {
    "id": "whk_0199a1b2c3d4e5f60718293a4b5c6d7e",
    "url": "https://hooks.example.org/expunge",
    "description": "privacy portal",
    "kinds": ["request.*"],
    "cursor": 41,
    "failing_since": None,
    "disabled_at": None,
    "disabled_reason": None,
    "former_secret_until": None,
    "created_at": "2026-03-04T09:00:00Z",
}
_SECRET = "whsec_<base64>"
_KIND = re.compile(r"[a-z_]+\.([a-z_]+|\*)")


def _is_kind(kind: str) -> str:
    if not _KIND.fullmatch(kind):
        raise ValueError(f"{kind!r:.80} is no kind of event; give request.completed or request.*")
    return kind


Kind = Annotated[Text, Field(max_length=60), AfterValidator(_is_kind)]
Url = Annotated[Text, Field(min_length=1, max_length=2000)]
Description = Annotated[Text, Field(max_length=500)]
EventNumber = Annotated[int, Field(ge=0, le=10**15, strict=True)]


class NewEndpoint(BaseModel):
    """An address to which events are to be sent."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://hooks.example.org/expunge", "kinds": ["request.*"]}]
        },
    )

    url: Url
    kinds: list[Kind] = Field(default=[], max_length=50)
    """Such as `request.completed`, or `request.*`; empty: all."""
    description: Description | None = None
    after: EventNumber | None = None
    """Send every event behind this number; without it, those from now on."""


class EndpointChange(BaseModel):
    """What is to be different; members that are left out stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"kinds": ["request.*", "version.*"]}]}
    )

    url: Url | None = None
    kinds: list[Kind] | None = Field(default=None, max_length=50)
    description: Description | None = None
    enabled: bool | None = None
    """False: nothing is sent until it is true again, and nothing is lost meanwhile."""


class EndpointView(BaseModel):
    """An endpoint, without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    url: str
    description: str | None
    kinds: list[str]
    cursor: int
    """Events up to this number have a delivery, where their kind is wanted."""
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    former_secret_until: datetime | None
    """Until then deliveries are signed with the former secret too."""
    created_at: datetime

    @classmethod
    def of(cls, row: WebhookEndpoint, **more: str) -> Self:
        """The row as callers see it."""
        members = EndpointView.model_fields
        return cls.model_validate({name: getattr(row, name) for name in members} | more)


class EndpointSecret(EndpointView):
    """An endpoint with a secret that was just made."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"secret": _SECRET}]})

    secret: str
    """Shown this once; receivers check deliveries with it."""


class ReplayFrom(BaseModel):
    """From where events are to be delivered once more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"after": 12}]})

    after: EventNumber
    """The number of the last event that need not come again; 0 for all."""


class DeliveryView(BaseModel):
    """One event on its way to one endpoint."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "dlv_0199a1b2c3d4e5f60718293a4b5c6d7e",
                    "endpoint": _EXAMPLE["id"],
                    "event": 41,
                    "kind": "request.completed",
                    "state": "waiting",
                    "attempts": 1,
                    "next_attempt_at": "2026-03-04T09:00:05Z",
                    "last_status": 500,
                    "last_answer": "Internal Server Error",
                    "last_attempt_at": "2026-03-04T09:00:00Z",
                    "created_at": "2026-03-04T09:00:00Z",
                }
            ]
        }
    )

    id: str
    """The header `webhook-id` of each attempt."""
    endpoint: str
    event: int
    kind: str
    state: DeliveryState
    attempts: int
    """Since it was made or replayed."""
    next_attempt_at: datetime | None
    """Null unless it waits."""
    last_status: int | None
    last_answer: str | None
    """The first bytes of the last answer, or why there was none."""
    last_attempt_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: WebhookDelivery) -> Self:
        """The row as callers see it."""
        waits = row.state == DeliveryState.WAITING
        return cls(
            id=row.id,
            endpoint=row.endpoint_id,
            event=row.event_seq,
            kind=row.kind,
            state=DeliveryState(row.state),
            attempts=row.attempts,
            next_attempt_at=row.next_attempt_at if waits else None,
            last_status=row.last_status,
            last_answer=row.last_answer,
            last_attempt_at=row.last_attempt_at,
            created_at=row.created_at,
        )
