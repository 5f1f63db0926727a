"""Giving weights up: a version whose file is gone, with nothing that rested on it lost.

A version that went out of service is a backup of what those after it have forgotten. Its files are
deleted when the policy's delay is over, or when somebody asks; its row, audit and receipts stay.
"""

import logging
from datetime import timedelta

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from app import ledger, tenancy
from app.db import Database, database_now
from app.problems import Conflict
from app.schemas.models import Policy
from app.services.attempts import lock_ledger
from app.services.stored_weights import DamagedWeights, StoredWeights, recipe_of
from app.services.transitions import move_version
from app.states import ACTIVE_JOB, RETIRED_VERSION, IllegalTransition, VersionState
from app.tables import Alias, Job, Model, Version

_ACTOR = "retention"
_log = logging.getLogger(__name__)


def purge_due(database: Database, weights: StoredWeights) -> int:
    """Purge what has been retired for longer than its model's policy keeps it; how many that were.

    One that an alias names or a job starts from waits for the next time; so does one that cannot be
    given up without losing another. What an interrupted purge left in storage is deleted too.
    """
    purged = 0
    with database.read() as session:
        due = due_versions(session)
        left = session.scalars(
            select(Version.id).where(
                Version.state == VersionState.PURGED, Version.files_removed_at.is_(None)
            )
        ).all()
    for version_id, reason in due.items():
        try:
            purge_version(database, weights, version_id, _ACTOR, reason)
            purged += 1
        except (Conflict, IllegalTransition) as error:
            _log.info("version %s is not purged: %s", version_id, error)
        except (DamagedWeights, OSError) as error:
            _log.error("version %s cannot be purged: %s", version_id, error)
    for version_id in left:
        remove_files(database, weights, version_id, _ACTOR)
    return purged


def due_versions(session: Session) -> dict[str, str]:
    """Ids of the versions whose time is over, oldest first, each with the reason for people."""
    now = database_now(session)
    retired = Version.state.in_(RETIRED_VERSION)
    oldest = (
        select(Version.model_id, func.min(Version.retired_at).label("at"))
        .where(retired, Version.retired_at.is_not(None))
        .group_by(Version.model_id)
        .subquery()
    )
    models = select(Model, oldest.c.at).join(oldest, oldest.c.model_id == Model.id)
    found: dict[str, str] = {}
    for model, first in session.execute(models).all():
        days = Policy.model_validate(model.policy).purge_after_days
        if days is None or first + timedelta(days=days) > now:
            continue
        over = select(Version).where(
            Version.model_id == model.id,
            retired,
            Version.retired_at <= now - timedelta(days=days),
            ~exists().where(Alias.version_id == Version.id),
        )
        for version in session.scalars(over.order_by(Version.number)):
            found[version.id] = f"{days:g} days after it was {version.state}"
    return found


def purge_version(
    database: Database,
    weights: StoredWeights,
    version_id: str,
    actor: str,
    reason: str | None = None,
) -> None:
    """Purge a version from beginning to end, its files too. Raises as `purge` does."""
    make_children_whole(database, weights, version_id)
    with database.write() as session, session.begin():
        purge(session, weights, session.get_one(Version, version_id), actor, reason)
    remove_files(database, weights, version_id, actor)


def make_children_whole(database: Database, weights: StoredWeights, version_id: str) -> None:
    """The slow part of a purge, before a transaction that others wait for.

    Raises DamagedWeights where what is stored as a delta from the version cannot be restored.
    """
    with database.read() as session:
        children = session.scalars(select(Version).where(Version.base_version_id == version_id))
        recipes = [recipe_of(session, child) for child in children.all()]
    for recipe in recipes:
        weights.make_whole(recipe)


def store_whole(session: Session, weights: StoredWeights, version: Version, actor: str) -> None:
    """Turn a version that is stored as a delta into one that is stored whole.

    Raises DamagedWeights where it cannot be restored. Its delta may be deleted once the transaction
    has been committed, if it is not `in_use`.
    """
    lock_ledger(session, version.tenant_id)
    weights.make_whole(recipe_of(session, version))
    told = {"base": version.base_version_id, "sha256": version.weights_sha256}
    version.base_version_id = version.delta_sha256 = version.delta_size = None
    session.flush()
    ledger.append(session, version.tenant_id, "version.stored_whole", version.id, actor, told)


def purge(
    session: Session,
    weights: StoredWeights,
    version: Version,
    actor: str,
    reason: str | None = None,
) -> None:
    """Give up a superseded or rejected version's weights; then commit, and `remove_files`.

    What is stored as a delta from it is stored whole first. Raises 409 for a version that an alias
    names or a running job starts from, IllegalTransition for any other state, DamagedWeights where
    something that rests on it cannot be restored.
    """
    lock_ledger(session, version.tenant_id)
    session.refresh(version)
    if version.state == VersionState.PURGED:
        return
    _check_free(session, version)
    children = select(Version).where(Version.base_version_id == version.id)
    left: list[str] = []
    for child in session.scalars(children.order_by(Version.number)).all():
        # A child and the delta that led to it would give the purged file back.
        left += [child.delta_sha256] if child.delta_sha256 else []
        store_whole(session, weights, child, actor)
    version.left_deltas = left
    told = {"sha256": version.weights_sha256}
    move_version(session, version, VersionState.PURGED, actor=actor, reason=reason, payload=told)


def remove_files(database: Database, weights: StoredWeights, version_id: str, actor: str) -> None:
    """Delete a purged version's files, but for those that another version has too.

    Once it is done the ledger names them; where it is interrupted, doing it again ends it.
    """
    # The same file may be another tenant's too.
    with tenancy.every(), database.write() as session, session.begin():
        version = session.get_one(Version, version_id)
        lock_ledger(session, version.tenant_id)
        session.refresh(version)
        if version.state != VersionState.PURGED or version.files_removed_at is not None:
            return
        named = [version.weights_sha256, version.delta_sha256, *(version.left_deltas or ())]
        removed = [sha256 for sha256 in named if sha256 and not in_use(session, sha256)]
        for sha256 in removed:
            weights.forget(sha256)
        version.files_removed_at = database_now(session)
        told = {"sha256": removed}
        ledger.append(session, version.tenant_id, "version.files_removed", version.id, actor, told)


def in_use(session: Session, sha256: str) -> bool:
    """Whether a version that is still kept has this file, or this delta."""
    named = (Version.weights_sha256 == sha256) | (Version.delta_sha256 == sha256)
    return _any(session, named & (Version.state != VersionState.PURGED))


def _check_free(session: Session, version: Version) -> None:
    alias = session.scalar(select(Alias.name).where(Alias.version_id == version.id).limit(1))
    if alias is not None:
        detail = f"version {version.number} cannot be purged: the alias {alias!r} names it"
        raise Conflict("illegal-state", detail, state=version.state)
    if _any(session, (Job.parent_version_id == version.id) & Job.state.in_(ACTIVE_JOB)):
        detail = f"version {version.number} cannot be purged: a running job starts from it"
        raise Conflict("illegal-state", detail, state=version.state)


def _any(session: Session, condition: ColumnElement[bool]) -> bool:
    return bool(session.scalar(select(exists().where(condition))))
