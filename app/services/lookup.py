"""Rows by what callers call them, within the caller's tenant and never outside it."""

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.problems import NotFound
from app.tables import Alias, ApiKey, DeletionRequest, Job, LegalHold, Model, Version

Owned = TypeVar("Owned", DeletionRequest, Job, ApiKey, LegalHold)

_NAMES = {
    DeletionRequest: "deletion request",
    Job: "job",
    ApiKey: "API key",
    LegalHold: "legal hold",
}


def owned(session: Session, tenant_id: str, table: type[Owned], row_id: str) -> Owned:
    """The tenant's row of this id; 404 also where it is another tenant's."""
    row = session.get(table, row_id)
    if row is None or row.tenant_id != tenant_id:
        raise NotFound(_NAMES[table], row_id)
    return row


def find_model(session: Session, tenant_id: str, ref: str) -> Model:
    """The tenant's model by id or by name; an archived one by its id alone."""
    is_it = Model.id == ref if ref.startswith("mod_") else Model.name == ref
    if not ref.startswith("mod_"):
        is_it &= Model.archived_at.is_(None)
    model = session.scalar(select(Model).where(Model.tenant_id == tenant_id, is_it))
    if model is None:
        raise NotFound("model", ref)
    return model


def find_version(session: Session, model: Model, ref: str) -> Version:
    """The model's version by id, by number or by alias."""
    versions = select(Version).where(Version.model_id == model.id)
    if ref.startswith("ver_"):
        versions = versions.where(Version.id == ref)
    elif ref.isdecimal() and len(ref) < 10:
        versions = versions.where(Version.number == int(ref))
    else:
        versions = versions.join(Alias, Alias.version_id == Version.id).where(
            Alias.model_id == model.id, Alias.name == ref
        )
    version = session.scalar(versions)
    if version is None:
        raise NotFound(f"version of model {model.name!r}", ref)
    return version
