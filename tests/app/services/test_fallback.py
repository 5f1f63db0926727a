"""After an audit that did not pass: the policy's other method, once, for the same requests."""

import json

import pytest
from sqlalchemy import select

from app import ledger_check
from app.http import Parts
from app.schemas.deletion_requests import NewDeletionRequest
from app.services.intake import receive
from app.states import JobState, RequestState, VersionState
from app.tables import (
    DEFAULT_TENANT,
    DeletionRequest,
    Instance,
    Job,
    JobRequest,
    LedgerEvent,
    Model,
    Receipt,
    Version,
)
from carried_out import carry_out
from delta_chain import add_root, chain_of_files
from running_service import Registered


def policy(parts: Parts, model: Registered, **members: object) -> None:
    with parts.database.write() as session, session.begin():
        row = session.get_one(Model, model.model_id)
        row.policy = {**row.policy, **members}


def ask(parts: Parts, *instances: str) -> str:
    body = NewDeletionRequest(model="digits-model", instances=list(instances))
    with parts.database.write() as session, session.begin():
        return receive(session, DEFAULT_TENANT, body, "test").request.id


def jobs(parts: Parts) -> list[Job]:
    with parts.database.read() as session:
        return list(session.scalars(select(Job).order_by(Job.created_at, Job.id)))


def request(parts: Parts, request_id: str) -> DeletionRequest:
    with parts.database.read() as session:
        return session.get_one(DeletionRequest, request_id)


def receipts(parts: Parts) -> list[str]:
    with parts.database.read() as session:
        return list(session.scalars(select(Receipt.request_id)))


def earlier_checkpoint(parts: Parts, model: Registered, *instances: str) -> str:
    """Make a root with these instances the parent of the model's version; its id."""
    with parts.database.write() as session, session.begin():
        version = session.get_one(Version, model.version_id)
        version.number = 5  # as if it had been registered later
        session.flush()
        root = add_root(session, parts.weights, version, chain_of_files(1)[0])
        root.number = 1
        session.flush()
        session.add_all(
            Instance(root_id=root.id, instance_id=name, tasks=["digit", "parity"])
            for name in instances
        )
        version.parent_id = root.id
        return root.id


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_the_fallback_is_tried_for_the_same_requests(
    parts: Parts, model: Registered, verdict: str
) -> None:
    policy(parts, model, fallback="retrain")
    first, second = ask(parts, "i-0"), ask(parts, "i-1")
    done = carry_out(parts, verdict)  # type: ignore[arg-type]
    before, after = jobs(parts)
    assert (before.id, before.state) == (done, JobState.SUCCEEDED)
    assert (after.state, after.method, after.fallback_of) == (JobState.QUEUED, "retrain", done)
    for name in (first, second):
        row = request(parts, name)
        assert row.state == RequestState.QUEUED
        assert row.state_reason == (
            f"the audit of version 2, made by 'interference_aware', says '{verdict}':"
            " 'retrain' is tried next"
        )
    assert receipts(parts) == []
    with parts.database.read() as session:
        served = session.scalars(
            select(JobRequest.request_id).where(JobRequest.job_id == after.id)
        ).all()
        told = session.scalars(
            select(LedgerEvent.body).where(LedgerEvent.entity_id == after.id)
        ).first()
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
    assert sorted(served) == sorted([first, second])
    assert told is not None
    assert json.loads(told)["payload"]["fallback_of"] == done
    carry_out(parts)
    assert {request(parts, name).state for name in (first, second)} == {RequestState.COMPLETED}
    assert sorted(receipts(parts)) == sorted([first, second])


def test_it_is_tried_once_only(parts: Parts, model: Registered) -> None:
    policy(parts, model, fallback="retrain")
    name = ask(parts, "i-0")
    carry_out(parts, "fail")
    carry_out(parts, "fail")
    assert len(jobs(parts)) == 2
    row = request(parts, name)
    assert row.state == RequestState.COMPLETED_WITH_EXCEPTIONS
    assert receipts(parts) == [name]
    with parts.database.read() as session:
        states = session.scalars(select(Version.state).order_by(Version.number)).all()
    assert states == [VersionState.VERIFIED, VersionState.REJECTED, VersionState.REJECTED]


@pytest.mark.parametrize("members", [{}, {"fallback": "retrain", "method": "retrain"}])
def test_without_a_better_method_the_request_has_exceptions(
    parts: Parts, model: Registered, members: dict[str, str]
) -> None:
    policy(parts, model, **members)
    name = ask(parts, "i-0")
    carry_out(parts, "fail")
    assert len(jobs(parts)) == 1
    assert request(parts, name).state == RequestState.COMPLETED_WITH_EXCEPTIONS


def test_a_version_that_passes_needs_no_fallback(parts: Parts, model: Registered) -> None:
    policy(parts, model, fallback="retrain")
    name = ask(parts, "i-0")
    carry_out(parts)
    assert len(jobs(parts)) == 1
    assert request(parts, name).state == RequestState.COMPLETED


@pytest.mark.parametrize(("taught", "tried"), [(("i-5",), True), (("i-5", "i-0"), False)])
def test_rewinding_needs_an_ancestor_that_has_not_seen_the_instance(
    parts: Parts, model: Registered, taught: tuple[str, ...], tried: bool
) -> None:
    earlier_checkpoint(parts, model, *taught)
    policy(parts, model, fallback="rewind")
    ask(parts, "i-0")
    carry_out(parts, "fail")
    assert [job.method for job in jobs(parts)][1:] == (["rewind"] if tried else [])


def test_a_later_request_does_not_join_the_fallback(parts: Parts, model: Registered) -> None:
    policy(parts, model, fallback="retrain")
    ask(parts, "i-0")
    carry_out(parts, "fail")
    ask(parts, "i-1")
    assert [job.method for job in jobs(parts)] == [
        "interference_aware",
        "retrain",
        "interference_aware",
    ]
