import httpx

from app.services.execution import cancelled, fail
from carried_out import carry_out, claim_next
from running_service import Registered, Service

URL = "/v1/jobs"


def post(client: httpx.Client, model: Registered, *instances: str) -> str:
    body = {"model": model.name, "instances": instances}
    return str(client.post("/v1/deletion-requests", json=body).json()["job"])


def test_a_finished_job_shows_what_it_made_and_what_it_cost(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    job = post(client, registered, "i-0")
    carry_out(service.parts)
    seen = client.get(f"{URL}/{job}").json()
    assert seen["model"] == {"id": registered.model_id, "name": registered.name}
    assert (seen["kind"], seen["state"], seen["method"]) == (
        "unlearn",
        "succeeded",
        "interference_aware",
    )
    assert seen["parent_version"] == registered.version_id
    assert seen["version"].startswith("ver_")
    assert seen["cost"]["share_of_retraining"] == 0.25
    (attempt,) = seen["attempts"]
    assert (attempt["fence"], attempt["outcome"]) == (1, "succeeded")
    assert seen["finished_at"]


def test_a_queued_job_is_cancelled_at_once_with_its_requests(
    client: httpx.Client, registered: Registered
) -> None:
    job = post(client, registered, "i-0")
    assert post(client, registered, "i-1") == job
    response = client.post(f"{URL}/{job}/cancel")
    assert (response.status_code, response.json()["state"]) == (202, "cancelled")
    for request in response.json()["requests"]:
        seen = client.get(f"/v1/deletion-requests/{request}").json()
        assert (seen["state"], seen["state_reason"]) == (
            "cancelled",
            f"its job {job} was cancelled",
        )
    again = client.post(f"{URL}/{job}/cancel")
    assert (again.status_code, again.json()["state"]) == (409, "cancelled")


def test_a_job_at_work_is_cancelling_until_its_worker_has_stopped(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    job = post(client, registered, "i-0")
    taken = claim_next(service.database)
    response = client.post(f"{URL}/{job}/cancel")
    assert (response.status_code, response.json()["state"]) == (202, "cancelling")
    with service.database.write() as session, session.begin():
        cancelled(session, taken, "stopping\n")
    assert client.get(f"{URL}/{job}").json()["state"] == "cancelled"
    assert "stopping" in client.get(f"{URL}/{job}/log").text


def test_the_log_tells_every_attempt_apart(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    job = post(client, registered, "i-0")
    empty = client.get(f"{URL}/{job}/log")
    assert (empty.status_code, empty.text) == (200, "")
    assert empty.headers["content-type"].startswith("text/plain")
    for note in ("no disk", "no memory"):
        taken = claim_next(service.database)
        with service.database.write() as session, session.begin():
            fail(session, taken, note, f"tail: {note}", final=False, max_attempts=3)
    log = client.get(f"{URL}/{job}/log").text
    assert log.index("attempt 1") < log.index("no disk") < log.index("attempt 2")
    seen = client.get(f"{URL}/{job}").json()
    assert (seen["state"], seen["last_error"]) == ("queued", "no memory")
    assert [attempt["error"] for attempt in seen["attempts"]] == ["no disk", "no memory"]


def test_jobs_are_listed_newest_first_and_filtered(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first = post(client, registered, "i-0")
    carry_out(service.parts)
    second = post(client, registered, "i-1")

    def ids(**params: str | int) -> list[str]:
        return [item["id"] for item in client.get(URL, params=params).json()["items"]]

    assert ids() == [second, first]
    assert ids(state="queued") == [second]
    assert ids(model=registered.name) == [second, first]
    page = client.get(URL, params={"limit": 1})
    assert [item["id"] for item in client.get(page.links["next"]["url"]).json()["items"]] == [first]
