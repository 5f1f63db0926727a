"""API keys and callers as they are sent and seen."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.auth import Scope
from app.schemas.fields import Instant, Text
from app.tables import ApiKey

_EXAMPLE: JsonDict = {
    "id": "key_0199a1b2c3d4e5f60718293a4b5c6d7e",
    "name": "privacy portal",
    "prefix": "3f9c0a1b2c4d",
    "scopes": ["requests:write"],
    "created_at": "2026-03-04T09:00:00Z",
    "expires_at": None,
    "revoked_at": None,
}


class NewKey(BaseModel):
    """A credential to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "privacy portal", "scopes": ["requests:write"]}]},
    )

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    scopes: list[Scope] = Field(min_length=1, max_length=20)
    expires_at: Instant | None = None


class KeyView(BaseModel):
    """A credential, without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKey, **more: str) -> Self:
        """The row as callers see it."""
        members = ("id", "name", "prefix", "scopes", "created_at", "expires_at", "revoked_at")
        return cls.model_validate({name: getattr(row, name) for name in members} | more)


class MadeKey(KeyView):
    """A credential just made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE | {"key": "exp_3f9c0a1b2c4d_<secret>"}]}
    )

    key: str
    """The secret itself, shown this once."""


class WhoAmI(BaseModel):
    """Whom the service takes the caller for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "ten_default",
                    "principal": "key_0199a1b2c3d4e5f60718293a4b5c6d7e",
                    "scopes": ["requests:write"],
                    "issuer": None,
                    "subject": None,
                }
            ]
        }
    )

    tenant: str
    principal: str
    """The id of an API key; `oidc:`, the issuer's host and a pseudonym for a token's caller."""
    scopes: list[str]
    issuer: str | None
    """Who vouches for the caller of a token."""
    subject: str | None
    """What that issuer calls them."""
