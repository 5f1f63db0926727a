"""What an audit's verdict does with a version and with the alias in service."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger, ledger_check
from app.db import Database, database_now
from app.ids import new_id
from app.schemas.models import Policy
from app.services.promotion import find_alias, promote
from app.states import VersionState
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, LedgerEvent, Model, Version
from engine.spec import Verdict
from running_service import Registered, register_model


@pytest.fixture
def session(sqlite_database_url: str) -> Iterator[Session]:
    database = Database(sqlite_database_url)
    with database.write() as session, session.begin():
        yield session
    database.dispose()


@pytest.fixture
def registered(session: Session, tmp_path: Path) -> Registered:
    return register_model(session, LocalStorage(tmp_path / "files"))


def child(session: Session, registered: Registered, number: int = 2) -> Version:
    first = session.get_one(Version, registered.version_id)
    version = Version(
        id=new_id("ver"),
        tenant_id=first.tenant_id,
        model_id=first.model_id,
        number=number,
        parent_id=first.id,
        root_id=first.id,
        state=VersionState.STAGED,
        weights_sha256=first.weights_sha256,
        weights_size=first.weights_size,
        created_at=database_now(session),
    )
    session.add(version)
    session.flush()
    return version


def in_service(session: Session, model: Model) -> str:
    alias = find_alias(session, model, "production")
    assert alias is not None
    return alias.version_id


@pytest.mark.parametrize(
    ("verdict", "policy", "state", "promoted"),
    [
        ("pass", Policy(), VersionState.VERIFIED, True),
        ("fail", Policy(), VersionState.REJECTED, False),
        ("inconclusive", Policy(), VersionState.STAGED, False),
        ("inconclusive", Policy(on_inconclusive="promote"), VersionState.VERIFIED, True),
        ("fail", Policy(on_inconclusive="promote"), VersionState.REJECTED, False),
    ],
)
def test_the_verdict_and_the_policy_decide(
    session: Session,
    registered: Registered,
    verdict: Verdict,
    policy: Policy,
    state: VersionState,
    promoted: bool,
) -> None:
    model = session.get_one(Model, registered.model_id)
    model.policy = policy.model_dump(mode="json")
    version = child(session, registered)
    assert promote(session, version, verdict, model, "worker:w") is promoted
    assert version.state == state
    first = session.get_one(Version, registered.version_id)
    assert first.state == (VersionState.SUPERSEDED if promoted else VersionState.VERIFIED)
    assert in_service(session, model) == (version.id if promoted else first.id)
    ledger.write(session)
    assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_an_alias_that_somebody_moved_meanwhile_is_left_alone(
    session: Session, registered: Registered
) -> None:
    model = session.get_one(Model, registered.model_id)
    other, late = child(session, registered, 2), child(session, registered, 3)
    assert promote(session, other, "pass", model, "worker:w")
    assert promote(session, late, "pass", model, "worker:w") is False
    assert late.state == VersionState.VERIFIED
    assert in_service(session, model) == other.id


def test_another_alias_may_be_the_one_in_service(session: Session, registered: Registered) -> None:
    model = session.get_one(Model, registered.model_id)
    model.policy = Policy(promote_alias="live").model_dump(mode="json")
    version = child(session, registered)
    assert promote(session, version, "pass", model, "worker:w")
    assert in_service(session, model) == registered.version_id
    live = find_alias(session, model, "live")
    assert live is not None
    assert live.version_id == version.id


def test_the_move_is_told_to_the_ledger(session: Session, registered: Registered) -> None:
    model = session.get_one(Model, registered.model_id)
    promote(session, child(session, registered), "pass", model, "worker:w")
    ledger.write(session)
    kinds = session.scalars(select(LedgerEvent.kind).order_by(LedgerEvent.seq)).all()
    assert kinds == ["version.verified", "alias.moved", "version.superseded"]
