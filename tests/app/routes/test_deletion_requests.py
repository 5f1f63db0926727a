from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.auth import Scope
from app.deadlines import add_months
from app.schemas.models import Policy
from app.services.claiming import claim
from app.tables import DeletionRequest, Instance, Job, OutboxMessage
from carried_out import carry_out, claim_next, finish
from running_service import TASKS, Registered, Service, add_tenant, register_model

URL = "/v1/deletion-requests"


def post(client: httpx.Client, model: Registered, **body: Any) -> httpx.Response:
    return client.post(URL, json={"model": model.name, **body})


def kinds(client: httpx.Client, request_id: str) -> list[str]:
    events = client.get(f"{URL}/{request_id}/events", params={"limit": 200}).json()["items"]
    return [event["kind"] for event in events]


def test_a_request_is_accepted_queued_and_found_again(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    body = {
        "instances": ["i-1", "i-0", "i-1"],
        "subjects": ["s-2"],
        "reason": "gdpr_art_17_1_b",
        "external_id": "TICKET-881",
        "received_at": "2026-01-31T10:00:00+01:00",
    }
    response = post(client, registered, **body)
    assert response.status_code == 202
    seen = response.json()
    assert response.headers["Location"] == f"{URL}/{seen['id']}"
    assert int(response.headers["Retry-After"]) > 0
    assert seen["state"] == "queued"
    assert seen["model"] == {"id": registered.model_id, "name": registered.name}
    assert (seen["scope"], seen["tasks"]) == ("full", list(TASKS))
    assert (seen["instances"], seen["instance_count"]) == (["i-0", "i-1", "i-2", "i-7"], 4)
    assert seen["subjects"] == ["s-2"]
    assert seen["received_at"] == "2026-01-31T09:00:00Z"
    assert seen["due_at"] == "2026-02-28T09:00:00Z"
    assert seen["external_id"] == "TICKET-881"
    assert (seen["receipt"], seen["audit"], seen["version"]) == (None, None, None)
    found = client.get(response.headers["Location"])
    assert found.json() == seen
    assert found.headers["ETag"] == response.headers["ETag"]
    assert kinds(client, seen["id"]) == ["request.received", "job.queued", "request.queued"]
    job = client.get(f"/v1/jobs/{seen['job']}").json()
    assert (job["state"], job["requests"]) == ("queued", [seen["id"]])
    with service.database.read() as session:
        assert session.scalars(select(OutboxMessage.job_id)).all() == [job["id"]]


@pytest.mark.parametrize("tasks", [None, "all", list(TASKS), [*reversed(TASKS)]])
def test_all_tasks_by_any_name_are_a_full_request(sqlite_service: Service, tasks: object) -> None:
    with sqlite_service.database.write() as session, session.begin():
        model = register_model(session, sqlite_service.parts.storage)
    with sqlite_service.client() as client:
        seen = post(client, model, instances=["i-0"], tasks=tasks).json()
    assert (seen["scope"], seen["tasks"]) == ("full", list(TASKS))


def test_some_tasks_are_a_partial_request(client: httpx.Client, registered: Registered) -> None:
    seen = post(client, registered, instances=["i-0"], tasks=["parity", "parity"]).json()
    assert (seen["scope"], seen["tasks"]) == ("partial", ["parity"])


def test_a_request_that_gives_no_dates_is_received_now_and_due_in_a_month(
    client: httpx.Client, registered: Registered
) -> None:
    seen = post(client, registered, instances=["i-0"]).json()
    received = datetime.fromisoformat(seen["received_at"])
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=1)
    assert datetime.fromisoformat(seen["due_at"]) == add_months(received, 1)


def test_requests_that_wait_together_share_a_job_and_each_gets_its_receipt(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    due = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    first = post(client, registered, instances=["i-0"], priority="low").json()
    second = post(client, registered, instances=["i-0", "i-1"], due_at=due).json()
    assert first["job"] == second["job"]
    job = client.get(f"/v1/jobs/{first['job']}").json()
    assert job["due_at"] == second["due_at"]
    carry_out(service.parts)
    receipts = [client.get(f"{URL}/{one['id']}/receipt") for one in (first, second)]
    assert [receipt.status_code for receipt in receipts] == [200, 200]
    assert receipts[0].content != receipts[1].content


def test_a_request_that_comes_while_a_job_is_at_work_opens_the_next_job(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first = post(client, registered, instances=["i-0"]).json()
    claim_next(service.database)
    second = post(client, registered, instances=["i-1"]).json()
    assert first["job"] != second["job"]
    assert client.get(f"{URL}/{first['id']}").json()["state"] == "in_progress"
    assert second["state"] == "queued"


def test_a_completed_request_shows_its_audit_version_and_receipt(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    made = post(client, registered, instances=["i-0"], tasks=["digit"]).json()
    job = carry_out(service.parts)
    seen = client.get(f"{URL}/{made['id']}").json()
    assert (seen["state"], seen["job"], seen["exceptions"]) == ("completed", job, [])
    assert [cell["task"] for cell in seen["audit"]] == ["digit"]
    assert seen["audit"][0]["auc"]["after"]["value"] == 0.52
    assert seen["version"] == client.get(f"/v1/jobs/{job}").json()["version"]
    assert client.get(seen["receipt"]).status_code == 200
    assert "version.verified" in kinds(client, made["id"])


def test_a_failed_audit_ends_with_exceptions_and_a_receipt_all_the_same(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    made = post(client, registered, instances=["i-0"]).json()
    carry_out(service.parts, "fail")
    seen = client.get(f"{URL}/{made['id']}").json()
    assert seen["state"] == "completed_with_exceptions"
    assert {one["task"] for one in seen["exceptions"]} == set(TASKS)
    assert client.get(seen["receipt"]).status_code == 200


def test_what_was_forgotten_before_is_a_success_that_points_to_the_receipt(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first = post(client, registered, instances=["i-0", "i-1"]).json()
    carry_out(service.parts)
    again = post(client, registered, instances=["i-1"], tasks=["parity"])
    seen = again.json()
    assert again.status_code == 200
    assert "Retry-After" not in again.headers
    assert (seen["state"], seen["job"]) == ("completed", None)
    assert seen["earlier_receipts"] == [f"{URL}/{first['id']}/receipt"]
    assert seen["receipt"] is None
    assert kinds(client, seen["id"]) == ["request.received", "request.completed"]
    partly = post(client, registered, instances=["i-1", "i-2"])
    assert (partly.status_code, partly.json()["state"]) == (202, "queued")
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 2


def test_unknown_ids_can_be_skipped_and_are_told(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    made = post(
        client, registered, instances=["i-0", "nobody"], subjects=["s-9"], on_unknown="skip"
    )
    seen = made.json()
    assert (made.status_code, seen["instance_count"]) == (202, 1)
    assert seen["unknown_instances"] == ["nobody", "subject:s-9"]
    carry_out(service.parts)
    assert client.get(f"{URL}/{seen['id']}").json()["state"] == "completed_with_exceptions"


def test_a_request_of_which_nothing_is_known_ends_at_once_with_exceptions(
    client: httpx.Client, registered: Registered
) -> None:
    made = post(client, registered, instances=["nobody"], on_unknown="skip")
    assert made.status_code == 200
    assert made.json()["state"] == "completed_with_exceptions"
    assert made.json()["job"] is None


def test_instances_that_never_taught_the_task_need_no_run(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    with service.database.write() as session, session.begin():
        one = session.scalars(select(Instance).where(Instance.instance_id == "i-0")).one()
        one.tasks = ["digit"]
    made = post(client, registered, instances=["i-0"], tasks=["parity"])
    assert (made.status_code, made.json()["state"]) == (200, "completed")
    assert "'parity'" in made.json()["state_reason"]


def test_thousands_of_instances_are_taken_in_one_request(service: Service) -> None:
    with service.database.write() as session, session.begin():
        model = register_model(session, service.parts.storage, "large", instances=5000)
    with service.client() as client:
        wanted = [f"i-{n}" for n in range(2400)]
        seen = post(client, model, instances=wanted).json()
        assert (seen["state"], seen["instance_count"]) == ("queued", 2400)
        assert seen["instances"] == wanted[:100]


def test_validate_only_tells_what_would_happen_and_writes_nothing(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    queued = post(client, registered, instances=["i-5"]).json()
    response = post(
        client, registered, instances=["i-0"], subjects=["s-1"], tasks=["digit"], validate_only=True
    )
    assert response.status_code == 200
    seen = response.json()
    estimate = seen.pop("estimate")
    assert estimate["method"] == "interference_aware"
    assert (estimate["basis"], estimate["past_jobs"]) == ("prior", 0)
    assert estimate["gradient_evaluations"] > 0
    assert seen == {
        "scope": "partial",
        "tasks": ["digit"],
        "instance_count": 3,
        "unknown_instances": [],
        "cells": 3,
        "untaught_cells": 0,
        "already_forgotten_cells": 0,
        "share": 0.3,
        "needs_approval": False,
        "why_approval": None,
        "approvals_needed": 0,
        "joins_job": queued["job"],
        "proposal": None,
    }
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(DeletionRequest)) == 1
    carry_out(service.parts)
    later = post(client, registered, instances=["i-5", "i-6"], validate_only=True).json()
    assert (later["already_forgotten_cells"], later["joins_job"]) == (2, None)
    assert (later["estimate"]["basis"], later["estimate"]["past_jobs"]) == ("past_jobs", 1)
    assert later["estimate"]["seconds"] > 0


def test_more_than_the_policys_share_is_held_for_approval(
    client: httpx.Client, registered: Registered
) -> None:
    body = {"instances": [f"i-{n}" for n in range(6)]}
    preview = post(client, registered, **body, validate_only=True).json()
    assert preview["needs_approval"]
    assert "60.0%" in preview["why_approval"]
    made = post(client, registered, **body)
    assert made.status_code == 202
    assert made.json()["state"] == "awaiting_approval"
    assert made.json()["state_reason"] == preview["why_approval"]
    assert made.json()["job"] is None


def test_everything_of_a_task_is_held_whatever_the_policy(service: Service) -> None:
    policy = Policy(max_automatic_share=1.0)
    with service.database.write() as session, session.begin():
        model = register_model(session, service.parts.storage, policy=policy)
        for instance in session.scalars(select(Instance).where(Instance.instance_id != "i-0")):
            instance.tasks = ["digit"]
    with service.client() as client:
        made = post(client, model, instances=["i-0"]).json()
        assert made["state"] == "awaiting_approval"
        assert "'parity'" in made["state_reason"]


def test_a_policy_may_ask_for_approval_of_everything(service: Service) -> None:
    with service.database.write() as session, session.begin():
        model = register_model(session, service.parts.storage, policy=Policy(approval="one_person"))
    with service.client() as client:
        assert post(client, model, instances=["i-0"]).json()["state"] == "awaiting_approval"


def test_lists_are_filtered_and_paged(service: Service, client: httpx.Client) -> None:
    with service.database.write() as session, session.begin():
        one = register_model(session, service.parts.storage, "one")
        other = register_model(session, service.parts.storage, "other")
    due = "2030-01-01T00:00:00Z"
    a = post(client, one, instances=["i-0"], external_id="A", due_at=due).json()["id"]
    b = post(client, one, subjects=["s-1"], received_at="2026-01-01T00:00:00Z").json()["id"]
    c = post(client, other, instances=["i-0"]).json()["id"]
    client.post(f"{URL}/{c}/cancel").raise_for_status()

    def ids(**params: str | int) -> list[str]:
        return [item["id"] for item in client.get(URL, params=params).json()["items"]]

    assert ids() == [c, b, a]
    assert ids(state="queued") == [b, a]
    assert ids(model="one") == ids(model=one.model_id) == [b, a]
    assert ids(subject="s-1") == [b]
    assert ids(subject="s-0") == [c, a]
    assert ids(external_id="A") == [a]
    assert ids(due_before="2026-02-01T00:00:01Z") == [b]
    assert ids(due_before="2031-01-01T00:00:00Z") == [b, c, a]  # by deadline
    assert ids(due_before="2031-01-01T00:00:00Z", state="queued") == [b, a]
    pressing = client.get(URL, params={"due_before": "2031-01-01T00:00:00Z", "limit": 1})
    for one in (c, a):
        pressing = client.get(pressing.links["next"]["url"])
        assert [item["id"] for item in pressing.json()["items"]] == [one]
    assert pressing.json()["next"] is None
    first = client.get(URL, params={"limit": 2})
    assert [item["id"] for item in first.json()["items"]] == [c, b]
    following = client.get(first.links["next"]["url"])
    assert [item["id"] for item in following.json()["items"]] == [a]
    assert following.json()["next"] is None
    assert "Link" not in following.headers


def test_the_same_idempotency_key_makes_one_request(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    client.headers["Idempotency-Key"] = "one"
    first = post(client, registered, instances=["i-0"])
    second = post(client, registered, instances=["i-0"])
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (second.status_code, second.content) == (202, first.content)
    assert second.headers["Location"] == first.headers["Location"]
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(DeletionRequest)) == 1


def test_another_tenants_request_is_not_there(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    made = post(client, registered, instances=["i-0"]).json()
    with service.database.write() as session, session.begin():
        tenant = add_tenant(session, "other")
    with service.client(service.key(Scope.ADMIN, tenant_id=tenant)) as stranger:
        for path in ("", "/receipt", "/events"):
            assert stranger.get(f"{URL}/{made['id']}{path}").status_code == 404
        for verb in ("approve", "cancel", "retry"):
            assert stranger.post(f"{URL}/{made['id']}/{verb}").status_code == 404
        assert stranger.get(f"/v1/jobs/{made['job']}").status_code == 404
        assert stranger.get(f"/v1/jobs/{made['job']}/log").status_code == 404
        assert stranger.post(f"/v1/jobs/{made['job']}/cancel").status_code == 404
        assert stranger.get(URL).json()["items"] == []
        assert stranger.get("/v1/events").json()["items"] == []
        assert post(stranger, registered, instances=["i-0"]).status_code == 404


def test_a_request_overtaken_by_another_ends_without_a_run(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    post(client, registered, instances=["i-0"])
    taken = claim_next(service.database)
    waiting = post(client, registered, instances=["i-0"]).json()
    finish(service.parts, taken)
    with service.database.write() as session, session.begin():
        assert claim(session, "worker-2", 60) is None
    seen = client.get(f"{URL}/{waiting['id']}").json()
    assert seen["state"] == "completed"
    assert len(seen["earlier_receipts"]) == 1


def test_a_callers_clock_may_be_a_little_ahead(
    client: httpx.Client, registered: Registered
) -> None:
    now = datetime.now(UTC)
    ahead = (now + timedelta(minutes=3)).isoformat()
    assert post(client, registered, instances=["i-0"], received_at=ahead).status_code == 202
    far = (now + timedelta(minutes=10)).isoformat()
    assert post(client, registered, instances=["i-0"], received_at=far).status_code == 422
