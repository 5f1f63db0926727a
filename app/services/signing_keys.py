"""Signing keys in turn: one signs, those before it are retired, and all stay published."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.db import Database, database_now
from app.problems import Problem
from app.signing import Signer, jwk, prepare, put_in_place
from app.tables import SigningKey, Tenant


def signing_now(session: Session, signer: Signer) -> Signer:
    """The key to sign with; 503 where this process has only a key that was retired elsewhere."""
    current = signer.current()
    retired = session.get(SigningKey, current.key_id)
    if retired is not None:
        raise Problem(
            503,
            "signing-key-retired",
            f"the signing key {current.key_id} was retired at {retired.retired_at.isoformat()}:"
            " give this process the file of the new one",
        )
    return current


def published(session: Session, signer: Signer) -> list[tuple[dict[str, str], datetime | None]]:
    """Every public key that signed, each with when it was retired; the current one first."""
    current = signer.current()
    keys: list[tuple[dict[str, str], datetime | None]] = []
    retired = session.scalars(select(SigningKey).order_by(SigningKey.retired_at.desc())).all()
    if current.key_id not in {key.id for key in retired}:
        keys.append((current.public_jwk(), None))
    return keys + [(jwk(key.public_key), key.retired_at) for key in retired]


def rotate(database: Database, file: Path, actor: str) -> tuple[str, str]:
    """Retire the key in `file` and put a fresh one in its place; the ids of both.

    The old public key is on record, and every tenant's ledger tells of it, before the old private
    key is destroyed.
    """
    former = Signer.load_or_create(file)
    fresh, beside = prepare(file)
    try:
        with database.write() as session, session.begin():
            now = database_now(session)
            key = SigningKey(id=former.key_id, public_key=former.public_key, retired_at=now)
            session.merge(key)
            told = {"from": former.key_id, "to": fresh.key_id}
            for tenant_id in session.scalars(select(Tenant.id).order_by(Tenant.id)):
                ledger.append(session, tenant_id, "signing_key.rotated", tenant_id, actor, told)
    except BaseException:
        beside.unlink()
        raise
    put_in_place(beside, file)
    return former.key_id, fresh.key_id
