from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app import ledger_check
from app.db import database_now
from app.http import Parts
from app.schemas.deletion_requests import NewDeletionRequest
from app.services import intake, planning
from app.tables import DEFAULT_TENANT, DeletionRequest, Job, JobRequest, Model, OutboxMessage
from carried_out import claim_next
from running_service import Registered, register_model

Receive = Callable[..., str]


@pytest.fixture
def receive(parts: Parts, model: Registered) -> Receive:
    """Takes in a request for some instances; returns its id."""

    def receive(*instances: str, **body: object) -> str:
        asked = NewDeletionRequest.model_validate(
            {"model": model.name, "instances": instances, **body}
        )
        with parts.database.write() as session, session.begin():
            return intake.receive(session, DEFAULT_TENANT, asked, "test").request.id

    return receive


def jobs(parts: Parts) -> list[Job]:
    with parts.database.read() as session:
        return list(session.scalars(select(Job).order_by(Job.id)))


def test_a_job_takes_the_highest_priority_and_the_earliest_deadline(
    parts: Parts, receive: Receive
) -> None:
    receive("i-0", priority="low", due_at="2030-01-02T00:00:00Z")
    assert jobs(parts)[0].priority == planning.PRIORITY["low"]
    receive("i-1", priority="high", due_at="2030-01-03T00:00:00Z")
    receive("i-2", due_at="2030-01-01T00:00:00Z")
    (job,) = jobs(parts)
    assert job.priority == planning.PRIORITY["high"]
    assert job.due_at is not None
    assert job.due_at.isoformat() == "2030-01-01T00:00:00+00:00"


def test_a_job_waits_until_the_policys_window_closes(
    parts: Parts, model: Registered, receive: Receive
) -> None:
    with parts.database.write() as session, session.begin():
        row = session.get_one(Model, model.model_id)
        row.policy = {**row.policy, "window_seconds": 3600}
    receive("i-0")
    (job,) = jobs(parts)
    with parts.database.read() as session:
        left = job.not_before - database_now(session)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


def test_the_doorbell_rings_once_a_job(parts: Parts, receive: Receive) -> None:
    receive("i-0")
    receive("i-1")
    with parts.database.read() as session:
        assert session.scalar(select(func.count()).select_from(OutboxMessage)) == 1


def test_requests_against_another_manifest_do_not_share_a_job(
    parts: Parts, model: Registered, receive: Receive
) -> None:
    receive("i-0")
    with parts.database.write() as session, session.begin():
        other = register_model(session, parts.storage, "other")
        assert planning.lock_queue(session, DEFAULT_TENANT, model.model_id, model.version_id)
        assert not planning.lock_queue(session, DEFAULT_TENANT, model.model_id, other.version_id)


def test_a_description_job_is_never_joined(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session, session.begin():
        job = planning.describe(session, session.get_one(Model, model.model_id), "test")
        assert (job.kind, job.state) == ("describe", "queued")
        assert not planning.lock_queue(session, DEFAULT_TENANT, model.model_id, model.version_id)


def test_many_requests_at_once_share_one_job_and_none_is_lost(
    parts: Parts, receive: Receive
) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: receive(f"i-{n % 4}"), range(24)))
    assert len(set(ids)) == 24
    assert len(jobs(parts)) == 1
    with parts.database.read() as session:
        assert session.scalar(select(func.count()).select_from(JobRequest)) == 24
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_requests_and_claims_that_meet_never_stand_still_or_split_a_request(
    parts: Parts, receive: Receive
) -> None:
    receive("i-0")

    def work(n: int) -> object:
        return claim_next(parts.database) if n == 4 else receive(f"i-{n % 4}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(12)))
    with parts.database.read() as session:
        states = dict(
            session.execute(
                select(DeletionRequest.state, func.count()).group_by(DeletionRequest.state)
            ).all()
        )
        served = session.scalars(
            select(func.count()).select_from(JobRequest).group_by(JobRequest.request_id)
        ).all()
        assert sum(states.values()) == 12
        assert set(states) <= {"queued", "in_progress"}
        assert set(served) == {1}
        assert len(served) == 12
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
    assert len(jobs(parts)) <= 2
