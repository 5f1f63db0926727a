"""Which version an alias names: moved by an audit's verdict, or by people.

The policy's promotion alias says what is in service. The version that it names is `verified`, the
one that it left is `superseded`; pointing it back (a rollback) makes that one `verified` again.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.problems import Conflict, Problem
from app.schemas.models import Policy
from app.services.attempts import lock_ledger
from app.services.reopening import Lost, lost_by, reopen
from app.services.transitions import move_version
from app.states import VersionState
from app.tables import Alias, DeletionRequest, Model, Version
from engine.spec import Verdict

_MOST_NAMED = 20


def promote(session: Session, version: Version, verdict: Verdict, model: Model, actor: str) -> bool:
    """Let the verdict and the policy decide on a staged version; whether it is now in service.

    A version whose parent is no longer in service is verified but left alone: somebody moved the
    alias meanwhile, and must not find it moved again behind their back.
    """
    policy = Policy.model_validate(model.policy)
    told = {"verdict": verdict}
    if verdict == "fail":
        move_version(session, version, VersionState.REJECTED, actor=actor, payload=told)
        return False
    if verdict == "inconclusive" and policy.on_inconclusive == "hold":
        return False
    move_version(session, version, VersionState.VERIFIED, actor=actor, payload=told)
    alias = find_alias(session, model, policy.promote_alias)
    if alias is not None and alias.version_id != version.parent_id:
        return False
    _point(session, model, policy.promote_alias, alias, version, actor, f"audit: {verdict}")
    return True


def move_alias(
    session: Session,
    model: Model,
    name: str,
    version: Version,
    actor: str,
    *,
    if_match: str | None,
    reason: str | None = None,
) -> tuple[Alias, list[DeletionRequest]]:
    """Point an alias at a version, as somebody asked; the alias, and the requests reopened by it.

    Those are what the version that leaves service had forgotten and the new one has not: without a
    `reason`, 409 names them, and nothing is moved.

    Raises 428 where the alias exists and the caller does not say which state of it they saw, 412
    where that is not its state any more, 409 for a version that may not be named.
    """
    lock_ledger(session, model.tenant_id)
    alias = find_alias(session, model, name)
    _check_precondition(name, alias, if_match)
    state = VersionState(version.state)
    if state in (VersionState.REJECTED, VersionState.PURGED):
        detail = f"version {version.number} is {state}, no alias may name it"
        raise Conflict("illegal-state", detail, state=state)
    if alias is not None and alias.version_id == version.id:
        return alias, []
    if name != Policy.model_validate(model.policy).promote_alias:
        return _point(session, model, name, alias, version, actor, reason), []
    lost = _lost(session, name, alias, version, reason)
    if state != VersionState.VERIFIED:
        move_version(session, version, VersionState.VERIFIED, actor=actor, reason=reason)
    moved = _point(session, model, name, alias, version, actor, reason)
    return moved, reopen(session, lost, version, actor)


def _lost(
    session: Session, name: str, alias: Alias | None, version: Version, reason: str | None
) -> list[Lost]:
    """What the move would undo; 409 where nobody says why it is to be."""
    if alias is None:
        return []
    lost = lost_by(session, session.get_one(Version, alias.version_id), version)
    if lost and not reason:
        ids = [one.request.id for one in lost]
        raise Conflict(
            "would-reopen",
            f"version {version.number} has not forgotten what {len(ids)} completed"
            f" {'request' if len(ids) == 1 else 'requests'} asked for: give a reason to point"
            f" {name!r} at it all the same, and they are carried out again",
            requests=ids[:_MOST_NAMED],
            count=len(ids),
        )
    return lost


def find_alias(session: Session, model: Model, name: str) -> Alias | None:
    """The model's alias of this name, as the database has it now."""
    return session.scalar(
        select(Alias)
        .where(Alias.model_id == model.id, Alias.name == name)
        .execution_options(populate_existing=True)
    )


def alias_etag(alias: Alias) -> str:
    """The strong ETag of an alias' state."""
    return f'"{alias.revision}"'


def _point(
    session: Session,
    model: Model,
    name: str,
    alias: Alias | None,
    version: Version,
    actor: str,
    reason: str | None,
) -> Alias:
    former = session.get_one(Version, alias.version_id) if alias else None
    now = database_now(session)
    if alias is None:
        alias = Alias(model_id=model.id, name=name, version_id=version.id, revision=1, moved_at=now)
        session.add(alias)
    else:
        alias.version_id = version.id
        alias.revision += 1
        alias.moved_at = now
    session.flush()
    told: dict[str, Any] = {
        "alias": name,
        "from": former.id if former else None,
        "to": version.id,
        "revision": alias.revision,
    }
    if reason:
        told["reason"] = reason
    ledger.append(session, model.tenant_id, "alias.moved", model.id, actor, told)
    in_service = name == Policy.model_validate(model.policy).promote_alias
    if in_service and former is not None and former.state == VersionState.VERIFIED:
        by = {"by": version.id}
        move_version(session, former, VersionState.SUPERSEDED, actor=actor, payload=by)
    return alias


def _check_precondition(name: str, alias: Alias | None, if_match: str | None) -> None:
    if alias is None:
        if if_match is not None:
            detail = f"alias {name!r} does not exist, so no If-Match can hold"
            raise Problem(412, "precondition-failed", detail)
        return
    if if_match is None:
        raise Problem(
            428,
            "precondition-required",
            f"alias {name!r} exists: send its ETag as If-Match to move it",
            headers={"ETag": alias_etag(alias)},
        )
    if if_match.strip() != "*" and alias_etag(alias) not in map(str.strip, if_match.split(",")):
        raise Problem(
            412,
            "precondition-failed",
            f"alias {name!r} was moved meanwhile: look at it again",
            headers={"ETag": alias_etag(alias)},
        )
