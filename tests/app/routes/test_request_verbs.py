from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app import ledger_check
from app.schemas.models import Policy
from app.services.approval import expire_overdue
from app.services.execution import cancelled
from app.tables import DEFAULT_TENANT, DeletionRequest, Instance, Job, Model
from carried_out import carry_out, claim_next
from running_service import Registered, Service, register_model

URL = "/v1/deletion-requests"


def post(client: httpx.Client, model: Registered, *instances: str, **body: Any) -> dict[str, Any]:
    response = client.post(
        URL, json={"model": model.name, "instances": instances or ["i-0"], **body}
    )
    assert response.status_code in (200, 202), response.text
    found: dict[str, Any] = response.json()
    return found


def verb(client: httpx.Client, request: dict[str, Any], name: str, **body: Any) -> httpx.Response:
    return client.post(f"{URL}/{request['id']}/{name}", json=body)


@pytest.fixture
def held(service: Service) -> Registered:
    """A model of which every request waits for approval."""
    with service.database.write() as session, session.begin():
        return register_model(session, service.parts.storage, policy=Policy(approval="one_person"))


def test_an_approved_request_is_queued_and_the_ledger_says_by_whom(
    client: httpx.Client, held: Registered
) -> None:
    request = post(client, held)
    response = verb(client, request, "approve", note="checked the identity")
    assert (response.status_code, response.json()["state"]) == (202, "queued")
    assert response.json()["job"]
    events = client.get(f"{URL}/{request['id']}/events").json()["items"]
    approved = next(event for event in events if event["kind"] == "request.approved")
    assert approved["payload"] == {"note": "checked the identity"}
    assert approved["actor"] == client.get("/v1/whoami").json()["principal"]
    again = verb(client, request, "approve")
    assert (again.status_code, again.json()["state"]) == (409, "queued")


def test_a_denied_request_keeps_its_ground(client: httpx.Client, held: Registered) -> None:
    request = post(client, held)
    response = verb(client, request, "deny", ground="gdpr_art_17_3_b")
    seen = response.json()
    assert (response.status_code, seen["state"]) == (200, "denied")
    assert seen["state_reason"] == "gdpr_art_17_3_b"
    assert verb(client, request, "approve").status_code == 409


def test_everything_of_a_task_is_approved_only_where_the_policy_retrains(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    with service.database.write() as session, session.begin():
        for instance in session.scalars(select(Instance).where(Instance.instance_id != "i-0")):
            instance.tasks = ["digit"]
    request = post(client, registered)
    assert request["state"] == "awaiting_approval"
    refused = verb(client, request, "approve")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/needs-retrain")
    assert refused.json()["tasks"] == ["parity"]
    assert "'retrain'" in refused.json()["detail"]
    with service.database.write() as session, session.begin():
        model = session.get_one(Model, registered.model_id)
        model.policy = {**model.policy, "method": "retrain"}
    approved = verb(client, request, "approve").json()
    assert approved["state"] == "queued"
    assert client.get(f"/v1/jobs/{approved['job']}").json()["method"] == "retrain"


def test_a_waiting_request_is_cancelled_at_once_and_its_job_with_it(
    client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered)
    response = verb(client, request, "cancel", reason="withdrawn")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert response.json()["state_reason"] == "withdrawn"
    assert client.get(f"/v1/jobs/{request['job']}").json()["state"] == "cancelled"
    again = verb(client, request, "cancel")
    assert (again.status_code, again.json()["state"]) == (409, "cancelled")


def test_a_queued_job_goes_on_for_its_other_requests(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first, second = post(client, registered, "i-0"), post(client, registered, "i-1")
    assert verb(client, first, "cancel").json()["state"] == "cancelled"
    assert client.get(f"/v1/jobs/{second['job']}").json()["state"] == "queued"
    carry_out(service.parts)
    assert client.get(f"{URL}/{second['id']}").json()["state"] == "completed"
    assert client.get(f"{URL}/{first['id']}").json()["state"] == "cancelled"


def test_a_request_at_work_is_cancelled_when_its_worker_has_stopped(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered)
    taken = claim_next(service.database)
    before = client.get(f"{URL}/{request['id']}")
    response = verb(client, request, "cancel", reason="withdrawn")
    assert (response.status_code, response.json()["state"]) == (202, "in_progress")
    assert response.headers["ETag"] != before.headers["ETag"]
    assert client.get(f"/v1/jobs/{request['job']}").json()["state"] == "cancelling"
    assert verb(client, request, "cancel").status_code == 202
    with service.database.write() as session, session.begin():
        cancelled(session, taken, None)
    assert client.get(f"{URL}/{request['id']}").json()["state"] == "cancelled"


def test_a_job_at_work_for_others_too_is_not_stopped_for_one(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first = post(client, registered, "i-0")
    post(client, registered, "i-1")
    claim_next(service.database)
    response = verb(client, first, "cancel")
    assert response.status_code == 409
    assert response.json()["type"].endswith("/job-shared")
    assert (response.json()["state"], response.json()["job"]) == ("in_progress", first["job"])
    assert client.get(f"/v1/jobs/{first['job']}").json()["state"] == "leased"


def test_a_deadline_is_extended_once_by_calendar_months(
    client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered, received_at="2025-11-30T09:00:00Z")
    assert request["due_at"] == "2025-12-30T09:00:00Z"
    response = verb(client, request, "extend", months=2, reason="many requests")
    assert response.status_code == 200
    seen = response.json()
    assert (seen["due_at"], seen["extended"]) == ("2026-02-28T09:00:00Z", True)
    assert seen["state"] == "queued"
    again = verb(client, request, "extend", months=1, reason="more")
    assert again.status_code == 409
    assert again.json()["type"].endswith("/already-extended")


def test_a_deadline_cannot_leave_the_calendar(client: httpx.Client, held: Registered) -> None:
    request = post(client, held, due_at="9999-12-01T00:00:00Z")
    assert verb(client, request, "extend", months=1, reason="x").status_code == 422


def test_a_request_that_ended_with_exceptions_can_be_retried(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered)
    carry_out(service.parts, "fail")
    response = verb(client, request, "retry")
    seen = response.json()
    assert (response.status_code, seen["state"]) == (202, "queued")
    assert (seen["exceptions"], seen["version"]) == ([], None)
    assert seen["job"] != request["job"]
    carry_out(service.parts)
    assert client.get(f"{URL}/{request['id']}").json()["state"] == "completed"
    with service.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_a_retry_against_another_manifest_is_refused(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered)
    carry_out(service.parts, "fail")
    with service.database.write() as session, session.begin():
        other = register_model(session, service.parts.storage, "other")
        row = session.get_one(DeletionRequest, request["id"])
        row.root_id = other.version_id
    refused = verb(client, request, "retry")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/other-root")


def test_a_held_request_expires_when_it_is_due(
    service: Service, client: httpx.Client, held: Registered
) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    overdue = post(client, held, received_at="2026-01-01T00:00:00Z")
    waiting = post(client, held, due_at=soon)
    with service.database.write() as session, session.begin():
        assert expire_overdue(session) == 1
    with service.database.write() as session, session.begin():
        assert expire_overdue(session) == 0
    seen = client.get(f"{URL}/{overdue['id']}").json()
    assert seen["state"] == "expired"
    assert "nobody approved" in seen["state_reason"]
    assert client.get(f"{URL}/{waiting['id']}").json()["state"] == "awaiting_approval"
    assert verb(client, overdue, "approve").status_code == 409


def test_a_verb_is_done_once_for_one_idempotency_key(
    service: Service, client: httpx.Client, held: Registered
) -> None:
    request = post(client, held)
    client.headers["Idempotency-Key"] = "approve-it"
    first = verb(client, request, "approve")
    second = verb(client, request, "approve")
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.headers["Idempotency-Replayed"] == "true"
    with service.database.read() as session:
        assert len(session.scalars(select(Job.id)).all()) == 1
