"""Every edge and every non-edge of the three machines, on real rows."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import ledger
from app.db import Database, database_now
from app.ids import new_id
from app.services.transitions import move_job, move_request, move_version
from app.states import (
    JOB,
    REQUEST,
    VERSION,
    IllegalTransition,
    JobState,
    RequestState,
    VersionState,
)
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, DeletionRequest, Job, LedgerEvent, Version
from running_service import register_model


def a_request(session: Session, version: Version, state: str) -> DeletionRequest:
    now = database_now(session)
    return DeletionRequest(
        id=new_id("req"),
        tenant_id=DEFAULT_TENANT,
        model_id=version.model_id,
        root_id=version.id,
        state=state,
        scope="full",
        tasks=["digit"],
        subjects=[],
        instance_count=0,
        unknown_instances=[],
        priority="normal",
        received_at=now,
        due_at=now,
        exceptions=[],
        created_by="test",
        revision=1,
        created_at=now,
        updated_at=now,
    )


def a_job(session: Session, version: Version, state: str) -> Job:
    now = database_now(session)
    return Job(
        id=new_id("job"),
        tenant_id=DEFAULT_TENANT,
        model_id=version.model_id,
        kind="unlearn",
        state=state,
        not_before=now,
        seed=0,
        created_at=now,
    )


def a_version(session: Session, version: Version, state: str) -> Version:
    number = session.scalar(select(func.max(Version.number))) or 0
    return Version(
        id=new_id("ver"),
        tenant_id=DEFAULT_TENANT,
        model_id=version.model_id,
        number=number + 1,
        root_id=version.id,
        state=state,
        weights_sha256="0" * 64,
        weights_size=1,
        created_at=database_now(session),
    )


MACHINES = [
    pytest.param(REQUEST, RequestState, a_request, move_request, id="request"),
    pytest.param(JOB, JobState, a_job, move_job, id="job"),
    pytest.param(VERSION, VersionState, a_version, move_version, id="version"),
]


@pytest.mark.parametrize(("machine", "states", "make", "move"), MACHINES)
def test_every_edge_is_walked_and_told_and_every_other_pair_is_refused(
    database: Database,
    tmp_path: Path,
    machine: Mapping[StrEnum, frozenset[StrEnum]],
    states: type[StrEnum],
    make: Callable[[Session, Version, str], Any],
    move: Callable[..., None],
) -> None:
    with database.write() as session, session.begin():
        registered = register_model(session, LocalStorage(tmp_path / "files"))
    for now in states:
        for to in states:
            with database.write() as session:
                root = session.get_one(Version, registered.version_id)
                row = make(session, root, now)
                session.add(row)
                session.flush()
                if to in machine[now]:
                    move(session, row, to, actor="somebody", reason="a reason")
                else:
                    with pytest.raises(IllegalTransition, match=f"is {now} and cannot become {to}"):
                        move(session, row, to, actor="somebody")
                session.flush()
                session.expire(row)
                ledger.write(session)
                told = session.scalars(
                    select(LedgerEvent).where(LedgerEvent.entity_id == row.id)
                ).all()
                if to in machine[now]:
                    assert row.state == to
                    (event,) = told
                    body = json.loads(event.body)
                    assert event.kind.partition(".")[2] == to
                    assert body["actor"] == "somebody"
                    assert body["payload"] == {"from": now, "reason": "a reason"}
                else:
                    assert row.state == now
                    assert told == []
                session.rollback()


def test_a_move_of_a_request_shows_in_its_revision(database: Database, tmp_path: Path) -> None:
    with database.write() as session, session.begin():
        registered = register_model(session, LocalStorage(tmp_path / "files"))
        root = session.get_one(Version, registered.version_id)
        request = a_request(session, root, RequestState.QUEUED)
        session.add(request)
        session.flush()
        move_request(session, request, RequestState.FAILED, actor="worker", reason="no disk")
        assert (request.revision, request.state_reason) == (2, "no disk")
