"""Whether an installation is whole: schema, files, ledgers. Reads everything, changes nothing."""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import ledger_check, migrate
from app.db import Database
from app.opendsr import processor
from app.settings import Settings
from app.states import VersionState
from app.storage import Storage
from app.tables import Tenant, Version
from app.webhooks import sealed_rows
from app.webhooks.secret_box import PLAIN_SECRETS, KeyFault, SecretBox

_BLOCK = 1 << 20


def schema_fault(database: Database) -> str | None:
    """What is wrong with the schema, as one sentence."""
    found, wanted = migrate.current(database), migrate.head()
    if found != wanted:
        return f"the schema is at revision {found}, this package needs {wanted}: run `db upgrade`"
    differences = migrate.differences(database)
    if differences:
        return f"the schema differs from revision {wanted}: {differences[0]}"
    return None


def role_fault(session: Session) -> str | None:
    """Why row-level security would not hold this process."""
    if session.get_bind().dialect.name != "postgresql":
        return None
    freed = (
        "SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)"
    )
    role = session.scalar(text(freed))
    if role is None:
        return None
    return f"row-level security does not hold the database role {role}: see postgres-roles.sql"


def ledger_faults(session: Session) -> Iterator[str]:
    """What is wrong with each tenant's chain of events."""
    for tenant in session.scalars(select(Tenant).order_by(Tenant.id)):
        fault = ledger_check.verify(session, tenant.id)
        if fault is not None:
            yield f"ledger of tenant {tenant.name}: {fault}"


def configuration_faults(session: Session, settings: Settings) -> Iterator[str]:
    """What cannot be done with the keys that the settings name."""
    has_key = settings.dsr_key_file is not None or settings.signing_key.exists()
    cannot_sign = processor.fault_of(settings)
    if has_key and cannot_sign is not None:  # a signing key of ours is made at first use
        yield f"OpenDSR's answers cannot be signed: {cannot_sign}"
    try:
        yield from sealed_rows.unreadable(session, SecretBox.load(settings))
    except KeyFault as fault:
        yield f"webhook secrets cannot be read: {fault}"


def notes(database: Database, settings: Settings) -> Iterator[str]:
    """What is no fault and could be better."""
    if settings.webhook_key_file is None:
        yield PLAIN_SECRETS
        return
    try:
        box = SecretBox.load(settings)
    except KeyFault:
        return
    with database.read() as session:
        count = sealed_rows.outdated(session, box)
    if count:
        yield (
            f"the secrets of {count} webhook endpoints are not sealed with the first key:"
            " run `python -m app webhook-secrets seal`"
        )


def file_faults(session: Session, storage: Storage) -> Iterator[str]:
    """Versions of which what is stored, a file or a delta, is missing or is not what it was."""
    rows = select(Version).where(Version.state != VersionState.PURGED).order_by(Version.id)
    for version in session.scalars(rows):
        stored = version.delta_sha256 or version.weights_sha256
        what = f"{'weights' if version.delta_sha256 is None else 'delta'} of version {version.id}"
        try:
            with storage.open(stored) as stream:
                found = _sha256(stream)
        except OSError as error:
            yield f"{what}: {error.strerror}"
            continue
        if found != stored:
            yield f"{what} were altered: their sha256 is now {found}"


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
