"""Giving weights up: a version whose file is gone, with nothing that rested on it lost."""

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from app import ledger
from app.problems import Conflict
from app.services.attempts import lock_ledger
from app.services.stored_weights import StoredWeights, recipe_of
from app.services.transitions import move_version
from app.states import ACTIVE_JOB, VersionState
from app.tables import Alias, Job, Version


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


def purge(session: Session, weights: StoredWeights, version: Version, actor: str) -> list[str]:
    """Give up a superseded or rejected version's weights; what to `StoredWeights.forget` is told.

    What is stored as a delta from it is stored whole first. Forget the files when the transaction
    has been committed; asked once more, it tells them again. Raises 409 for a version that an alias
    names or a running job starts from, IllegalTransition for any other state, DamagedWeights where
    something that rests on it cannot be restored.
    """
    lock_ledger(session, version.tenant_id)
    if version.state != VersionState.PURGED:
        _check_free(session, version)
        for child in session.scalars(
            select(Version).where(Version.base_version_id == version.id).order_by(Version.number)
        ):
            store_whole(session, weights, child, actor)
        told = {"sha256": version.weights_sha256}
        move_version(session, version, VersionState.PURGED, actor=actor, payload=told)
    digests = [version.weights_sha256, version.delta_sha256]
    return [digest for digest in digests if digest and not in_use(session, digest)]


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
