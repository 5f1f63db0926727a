"""Legal holds: what they park, what they leave alone, and how it goes on afterwards."""

from typing import Any

import httpx
import pytest

from app import ledger_check
from app.auth import Scope
from app.schemas.models import Policy
from app.services.approval import expire_overdue
from app.services.attempts import Fenced
from app.services.execution import give_back
from app.tables import DEFAULT_TENANT, JobRequest
from carried_out import carry_out, claim_next
from running_service import Registered, Service, register_model

URL = "/v1/deletion-requests"
HOLDS = "/v1/legal-holds"
WHY = {"ground": "gdpr_art_17_3_e", "reason": "case 118"}


def post(client: httpx.Client, model: Registered, *instances: str, **body: Any) -> dict[str, Any]:
    response = client.post(URL, json={"model": model.name, "instances": instances, **body})
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def place(client: httpx.Client, **named: Any) -> dict[str, Any]:
    response = client.post(HOLDS, json={**WHY, **named})
    assert response.status_code == 201, response.text
    assert response.headers["Location"] == f"{HOLDS}/{response.json()['id']}"
    found: dict[str, Any] = response.json()
    return found


def release(client: httpx.Client, hold: dict[str, Any]) -> httpx.Response:
    return client.post(f"{HOLDS}/{hold['id']}/release", json={"reason": "closed"})


def seen(client: httpx.Client, request: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{URL}/{request['id']}").json()
    return found


def test_a_new_request_is_parked_says_why_and_goes_on_by_itself(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    hold = place(client, instances=["i-0"])
    request = post(client, registered, "i-0", "i-1")
    assert (request["state"], request["job"]) == ("on_hold", None)
    assert request["state_reason"] == f"under legal hold: {hold['id']} (gdpr_art_17_3_e)"
    assert post(client, registered, "i-2")["state"] == "queued"
    assert client.get(URL, params={"state": "on_hold"}).json()["items"] == [request]

    released = release(client, hold)
    assert (released.status_code, released.json()["release_reason"]) == (200, "closed")
    assert seen(client, request)["state"] == "queued"
    carry_out(service.parts)
    assert seen(client, request)["state"] == "completed"
    again = release(client, hold)
    assert (again.status_code, again.json()["state"]) == (409, "released")
    with service.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_a_queued_request_leaves_its_job_to_the_others(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    held, other = post(client, registered, "i-0"), post(client, registered, "i-1")
    hold = place(client, subjects=["s-0"], model=registered.name)
    assert seen(client, held)["state"] == "on_hold"
    carry_out(service.parts)
    assert seen(client, other)["state"] == "completed"
    assert seen(client, held)["state"] == "on_hold"
    release(client, hold)
    assert seen(client, held)["state"] == "queued"
    assert seen(client, held)["job"] != other["job"]


def test_a_job_that_is_left_empty_is_cancelled(
    client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered, "i-0")
    place(client, instances=["i-0"])
    assert client.get(f"/v1/jobs/{request['job']}").json()["state"] == "cancelled"


def test_a_job_at_work_is_taken_from_its_worker_and_goes_on_without_the_held_request(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    held, other = post(client, registered, "i-0"), post(client, registered, "i-1")
    taken = claim_next(service.database)
    place(client, instances=["i-0"])
    assert seen(client, held)["state"] == "on_hold"
    assert seen(client, other)["state"] == "queued"
    with (
        pytest.raises(Fenced),
        service.database.write() as session,
        session.begin(),
    ):
        give_back(session, taken)
    carry_out(service.parts)
    assert seen(client, other)["state"] == "completed"
    with service.database.read() as session:
        assert session.get(JobRequest, (taken.job_id, held["id"])) is None
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_one_that_awaited_approval_awaits_it_again_and_does_not_expire_for_it(
    service: Service, client: httpx.Client
) -> None:
    with service.database.write() as session, session.begin():
        model = register_model(session, service.parts.storage, policy=Policy(approval="one_person"))
    request = post(client, model, "i-0", received_at="2026-01-01T00:00:00Z")
    hold = place(client, instances=["i-0"])
    refused = client.post(f"{URL}/{request['id']}/approve")
    assert (refused.status_code, refused.json()["state"]) == (409, "on_hold")
    with service.database.write() as session, session.begin():
        assert expire_overdue(session) == 0
    release(client, hold)
    assert seen(client, request)["state"] == "awaiting_approval"
    assert "released" in seen(client, request)["state_reason"]
    with service.database.write() as session, session.begin():
        assert expire_overdue(session) == 0
    assert client.post(f"{URL}/{request['id']}/approve").json()["state"] == "queued"


def test_a_request_under_two_holds_waits_for_both(
    client: httpx.Client, registered: Registered
) -> None:
    first, second = place(client, instances=["i-0"]), place(client, subjects=["s-0"])
    request = post(client, registered, "i-0")
    assert first["id"] in request["state_reason"]
    assert second["id"] in request["state_reason"]
    release(client, first)
    assert first["id"] not in seen(client, request)["state_reason"]
    assert seen(client, request)["state"] == "on_hold"
    release(client, second)
    assert seen(client, request)["state"] == "queued"


def test_a_retry_is_parked_too(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered, "i-0")
    carry_out(service.parts, "fail")
    place(client, instances=["i-0"])
    assert client.post(f"{URL}/{request['id']}/retry").json()["state"] == "on_hold"


@pytest.mark.parametrize(("verb", "state"), [("deny", "denied"), ("cancel", "cancelled")])
def test_a_parked_request_can_be_refused_or_withdrawn(
    client: httpx.Client, registered: Registered, verb: str, state: str
) -> None:
    place(client, instances=["i-0"])
    request = post(client, registered, "i-0")
    body = {"ground": "gdpr_art_17_3_e"} if verb == "deny" else {}
    assert client.post(f"{URL}/{request['id']}/{verb}", json=body).json()["state"] == state


def test_holds_are_listed_by_whether_they_are_in_force(
    client: httpx.Client, registered: Registered
) -> None:
    old, new = place(client, instances=["i-0"]), place(client, instances=["i-1"])
    old = release(client, old).json()
    assert client.get(HOLDS).json()["items"] == [new, old]
    assert client.get(HOLDS, params={"active": True}).json()["items"] == [new]
    assert client.get(HOLDS, params={"active": False}).json()["items"] == [old]
    assert client.get(f"{HOLDS}/{new['id']}").json() == new
    page = client.get(HOLDS, params={"limit": 1}).json()
    assert client.get(HOLDS, params={"after": page["next"]}).json()["items"] == [old]


def test_a_hold_on_what_no_manifest_knows_is_refused(
    client: httpx.Client, registered: Registered
) -> None:
    for named in ({"instances": ["i-0", "nobody"]}, {"subjects": ["nobody"]}):
        refused = client.post(HOLDS, json={**WHY, **named})
        assert refused.status_code == 422
        assert "'nobody' is in no manifest" in refused.json()["detail"]
    assert client.post(HOLDS, json=WHY).status_code == 422
    assert client.get(HOLDS).json()["items"] == []


def test_a_subject_under_hold_cannot_be_erased_and_can_be_afterwards(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    hold = place(client, subjects=["s-3"])
    refused = client.post("/v1/subjects/erase", json={"subject": "s-3"})
    assert refused.status_code == 409
    assert refused.json()["holds"] == [hold["id"]]
    release(client, hold)
    name = client.post("/v1/subjects/erase", json={"subject": "s-3"}).json()["pseudonym"]
    assert client.get(f"{HOLDS}/{hold['id']}").json()["subjects"] == [f"erased:{name}"]
    with service.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_only_who_may_approve_places_and_releases_holds(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    hold = place(client, instances=["i-0"])
    with service.client(service.key(Scope.REQUESTS_WRITE)) as other:
        assert other.post(HOLDS, json={**WHY, "instances": ["i-1"]}).status_code == 403
        assert release(other, hold).status_code == 403
        assert other.get(f"{HOLDS}/{hold['id']}").status_code == 200
