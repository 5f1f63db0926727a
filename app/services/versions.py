"""Versions as they are looked at: lists, audits, successors."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.problems import NotFound
from app.schemas.versions import VersionView
from app.services.cells import promoted_version
from app.services.stored_weights import chain_lengths
from app.states import VersionState
from app.tables import Alias, Audit, Model, Version


def page(session: Session, model: Model, limit: int, after: int | None) -> Sequence[Version]:
    """The model's versions, newest first, below the number `after`."""
    versions = select(Version).where(Version.model_id == model.id)
    if after is not None:
        versions = versions.where(Version.number < after)
    return session.scalars(versions.order_by(Version.number.desc()).limit(limit)).all()


def views(session: Session, model: Model, versions: Sequence[Version]) -> list[VersionView]:
    """The versions as callers see them, with aliases and verdicts."""
    ids = [version.id for version in versions]
    audits = select(Audit.version_id, Audit.verdict).where(Audit.version_id.in_(ids))
    verdicts = {row.version_id: row.verdict for row in session.execute(audits)}
    aliases: dict[str, list[str]] = defaultdict(list)
    named = select(Alias).where(Alias.model_id == model.id, Alias.version_id.in_(ids))
    for alias in session.scalars(named.order_by(Alias.name)):
        aliases[alias.version_id].append(alias.name)
    chains = chain_lengths(session, ids)
    return [
        VersionView.of(
            version, model, aliases[version.id], verdicts.get(version.id), chains[version.id]
        )
        for version in versions
    ]


def audit_of(session: Session, version: Version) -> Audit:
    """The version's audit; 404 for one that its owner registered."""
    audit = session.scalar(select(Audit).where(Audit.version_id == version.id))
    if audit is None:
        raise NotFound("audit of version", version.id)
    return audit


def successor(session: Session, model: Model, version: Version) -> Version | None:
    """What is in service instead of a superseded version."""
    return promoted_version(session, model) if version.state == VersionState.SUPERSEDED else None


def is_named(session: Session, version: Version) -> bool:
    """Whether an alias names the version."""
    return bool(session.scalar(select(exists().where(Alias.version_id == version.id))))
