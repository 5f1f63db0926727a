"""API keys: made, listed, revoked; each of it told to the ledger."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.auth import KeyHasher, Principal, create_key
from app.db import database_now
from app.problems import Invalid
from app.schemas.keys import NewKey
from app.tables import ApiKey


def create(
    session: Session, hasher: KeyHasher, caller: Principal, body: NewKey
) -> tuple[ApiKey, str]:
    """The new row and the key itself; 422 for one that would have expired already."""
    if body.expires_at is not None and body.expires_at <= database_now(session):
        raise Invalid("#/expires_at", f"expires_at {body.expires_at.isoformat()} is in the past")
    row, key = create_key(
        session, hasher, caller.tenant_id, body.name, body.scopes, body.expires_at
    )
    told = {"name": row.name, "scopes": row.scopes}
    ledger.append(session, caller.tenant_id, "api_key.created", row.id, caller.name, told)
    return row, key


def page(session: Session, tenant_id: str, limit: int, after: str | None) -> Sequence[ApiKey]:
    """The tenant's keys, newest first, behind the id `after`."""
    rows = select(ApiKey).where(ApiKey.tenant_id == tenant_id)
    if after is not None:
        rows = rows.where(ApiKey.id < after)
    return session.scalars(rows.order_by(ApiKey.id.desc()).limit(limit)).all()


def revoke(session: Session, row: ApiKey, actor: str) -> None:
    """End a key; nothing happens where it has ended already."""
    if row.revoked_at is None:
        row.revoked_at = database_now(session)
        ledger.append(session, row.tenant_id, "api_key.revoked", row.id, actor)
