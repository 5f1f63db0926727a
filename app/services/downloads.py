"""Who took which file, and what they may not take as well.

Two versions of which a job made one from the other differ by what was forgotten: who has both can
look for it in the difference. So one caller gets only one of them, unless the policy or a scope of
theirs says otherwise.
"""

from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.db import database_now
from app.ids import new_id
from app.problems import Problem
from app.schemas.models import Policy
from app.tables import Download, Model, Version
from engine.spec import WEIGHTS_FILE


def has_taken(session: Session, version: Version, file: str, caller: Principal) -> bool:
    """Whether the caller is on record for this file."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Download.principal == caller.name,
                    Download.version_id == version.id,
                    Download.file == file,
                )
            )
        )
    )


def record(session: Session, model: Model, version: Version, file: str, caller: Principal) -> None:
    """Remember that the caller takes a file; 403 where they must not have these weights too."""
    if file == WEIGHTS_FILE and not _may_follow(model, caller):
        # One at a time, so that two downloads begun at once do not overlook each other.
        lock = select(Model.id).where(Model.id == model.id).with_for_update(key_share=True)
        session.execute(lock)
        _refuse_neighbour(session, version, caller)
    session.add(
        Download(
            id=new_id("dlv"),
            tenant_id=version.tenant_id,
            version_id=version.id,
            model_id=version.model_id,
            file=file,
            principal=caller.name,
            at=database_now(session),
        )
    )


def recipients(session: Session, model: Model, limit: int, after: str | None) -> Sequence[Download]:
    """Who took a file of the model, newest first, behind the id `after`."""
    versions = select(Version.id).where(Version.model_id == model.id)
    found: list[Download] = []
    # Each by an index of its own, which both conditions at once would have none of.
    for of_model in (
        Download.model_id == model.id,
        Download.model_id.is_(None) & Download.version_id.in_(versions),
    ):
        rows = select(Download).where(of_model)
        if after is not None:
            rows = rows.where(Download.id < after)
        found += session.scalars(rows.order_by(Download.id.desc()).limit(limit))
    return sorted(found, key=lambda download: download.id, reverse=True)[:limit]


def _may_follow(model: Model, caller: Principal) -> bool:
    allowed = Policy.model_validate(model.policy).consecutive_downloads == "allow"
    return allowed or bool({Scope.VERSIONS_FOLLOW, Scope.ADMIN} & caller.scopes)


def _refuse_neighbour(session: Session, version: Version, caller: Principal) -> None:
    made_from_it = (Version.parent_id == version.id) & Version.job_id.is_not(None)
    neighbours = made_from_it
    if version.job_id is not None:
        neighbours |= Version.id == version.parent_id
    taken = session.execute(
        select(Version.id, Version.number, Download.at)
        .join(Download, Download.version_id == Version.id)
        .where(Download.principal == caller.name, Download.file == WEIGHTS_FILE, neighbours)
        .order_by(Download.id)
        .limit(1)
    ).first()
    if taken is not None:
        raise Problem(
            403,
            "consecutive-version",
            f"you took version {taken.number} before: its difference from version {version.number}"
            " would show what was forgotten; take a later version, or ask for a key with the scope"
            f" {Scope.VERSIONS_FOLLOW}",
            taken={"version": taken.id, "number": taken.number, "at": taken.at.isoformat()},
        )
