"""Which job goes next, and which requests go together."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from app import ledger_check
from app.db import database_now
from app.http import Parts
from app.schemas.deletion_requests import NewDeletionRequest
from app.schemas.models import Policy
from app.services import claiming, intake, planning
from app.services.claiming import claim
from app.settings import Settings
from app.tables import DEFAULT_TENANT, DeletionRequest, Job, JobRequest, Model
from carried_out import claim_next, finish
from running_service import register_model

MANY = int(os.environ.get("EXPUNGE_TEST_REQUESTS", "20"))

Ask = Callable[..., str]


@pytest.fixture
def ask(parts: Parts) -> Ask:
    """Takes in a request of a model; `due_in` days. Returns the model of its job."""

    def ask(model: str, instance: str = "i-0", due_in: float = 30, **body: object) -> str:
        with parts.database.write() as session, session.begin():
            due = database_now(session) + timedelta(days=due_in)
            received = min(due, database_now(session))
            asked = NewDeletionRequest.model_validate(
                {
                    "model": model,
                    "instances": [instance],
                    "due_at": due.isoformat(),
                    "received_at": received.isoformat(),
                    **body,
                }
            )
            return intake.receive(session, DEFAULT_TENANT, asked, "test").request.id

    return ask


def models(parts: Parts, *names: str, window: float = 0) -> None:
    with parts.database.write() as session, session.begin():
        for name in names:
            policy = Policy(window_seconds=window)
            register_model(session, parts.storage, name, policy=policy)


def claimed(parts: Parts) -> str | None:
    """The name of the model whose job goes next."""
    with parts.database.write() as session, session.begin():
        taken = claim(session, "worker-1", 60)
        return None if taken is None else session.get_one(Model, taken.model_id).name


def opens_in(parts: Parts) -> timedelta:
    """Until the only job may be claimed."""
    with parts.database.read() as session:
        return session.scalars(select(Job.not_before)).one() - database_now(session)


def test_what_is_due_first_goes_first_and_priority_only_counts_far_from_it(
    parts: Parts, ask: Ask
) -> None:
    models(parts, "late", "soon", "important", "overdue", "near", "new")
    ask("late", due_in=20)
    ask("soon", due_in=10)
    ask("important", due_in=29, priority="high")
    ask("overdue", due_in=-4, priority="low")
    ask("near", due_in=2, priority="low")
    with parts.database.write() as session, session.begin():
        planning.describe(session, session.scalars(select(Model).filter_by(name="new")).one(), "x")
    order = [claimed(parts) for _ in range(7)]
    assert order == ["new", "overdue", "near", "important", "soon", "late", None]


def test_nothing_starves_behind_ever_more_important_requests(parts: Parts, ask: Ask) -> None:
    names = [f"important-{n}" for n in range(6)]
    models(parts, "patient", *names)
    ask("patient", due_in=30, priority="low")
    went: list[str | None] = []
    for day, name in enumerate(names):
        ask(name, due_in=30, priority="high")
        went.append(claimed(parts))
        if day == 2:  # as if its month had passed
            with parts.database.write() as session, session.begin():
                soon = database_now(session) + timedelta(days=2)
                session.execute(update(Job).where(Job.priority < 0).values(due_at=soon))
    assert went.index("patient") == 3


def test_a_worker_sees_the_jobs_of_its_workloads_only(parts: Parts, ask: Ask) -> None:
    models(parts, "one")
    ask("one")
    with parts.database.write() as session, session.begin():
        assert claim(session, "worker-1", 60, workloads=["arrays"]) is None
        assert claim(session, "worker-1", 60, workloads=["digits"]) is not None


@pytest.mark.parametrize(
    ("body", "longest"),
    [
        ({}, timedelta(hours=24)),
        ({"due_in": 3.5}, timedelta(hours=12)),
        ({"due_in": 2}, timedelta(0)),
        ({"priority": "high"}, timedelta(0)),
    ],
    ids=["ordinary", "near the deadline", "at the deadline", "urgent"],
)
def test_the_window_keeps_nothing_that_is_urgent(
    parts: Parts, ask: Ask, body: dict[str, object], longest: timedelta
) -> None:
    models(parts, "model", window=86400)
    ask("model", **body)
    assert longest - timedelta(minutes=30) < opens_in(parts) <= longest


def test_an_urgent_request_takes_those_along_that_wait_in_the_window(
    parts: Parts, ask: Ask
) -> None:
    models(parts, "model", window=86400)
    ask("model", "i-0")
    assert claimed(parts) is None
    ask("model", "i-1", priority="high")
    taken = claim_next(parts.database)
    finish(parts, taken)
    with parts.database.read() as session:
        states = session.scalars(select(DeletionRequest.state)).all()
    assert states == ["completed", "completed"]


def test_a_request_does_not_shorten_the_wait_after_a_failed_attempt(parts: Parts, ask: Ask) -> None:
    models(parts, "model")
    ask("model", "i-0")
    later: datetime
    with parts.database.write() as session, session.begin():
        later = database_now(session) + timedelta(hours=1)
        session.execute(update(Job).values(attempts=1, not_before=later))
    ask("model", "i-1", priority="high")
    assert opens_in(parts) > timedelta(minutes=30)


def test_many_requests_at_once_become_one_job(parts: Parts, ask: Ask) -> None:
    models(parts, "model", window=3600)
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda n: ask("model", f"i-{n % 4}", 10 + n % 20), range(MANY)))
    with parts.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1
        assert session.scalar(select(func.count()).select_from(JobRequest)) == len(set(ids)) == MANY
        due = session.scalars(select(Job.due_at)).one()
        assert due == session.scalar(select(func.min(DeletionRequest.due_at)))
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_every_look_for_the_next_job_is_answered_by_an_index(
    tmp_path: Path, sqlite_database_url: str
) -> None:
    parts = Parts(Settings(state_dir=tmp_path, database_url=sqlite_database_url))
    with parts.database.read() as session:
        undated, *looks = claiming.in_order(database_now(session), None)
        for look in (undated, *looks):
            asked = look.limit(1).compile(
                session.get_bind(), compile_kwargs={"literal_binds": True}
            )
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}").all()
            assert "SEARCH jobs USING INDEX ix_jobs_state_" in plan[0][3]
            sorts = any("TEMP B-TREE FOR ORDER BY" in step[3] for step in plan)
            assert not sorts or look is undated
    parts.database.dispose()
