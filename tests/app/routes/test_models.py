"""`/v1/models` over HTTP."""

import threading
from datetime import timedelta

import httpx
from sqlalchemy import select, update

from app.db import database_now
from app.tables import Job, LedgerEvent, OutboxMessage, Worker
from running_service import Registered, Service, add_worker

BODY = {"name": "street", "workload": "digits", "policy": {"window_seconds": 5}}


def with_worker(service: Service) -> None:
    with service.database.write() as session, session.begin():
        add_worker(session)


def test_a_model_is_made_and_a_worker_is_asked_to_describe_it(
    service: Service, client: httpx.Client
) -> None:
    with_worker(service)
    made = client.post("/v1/models", json=BODY)
    assert made.status_code == 201, made.text
    model = made.json()
    assert made.headers["location"] == "/v1/models/street"
    assert model["id"].startswith("mod_")
    assert model["description"] is None
    assert model["aliases"] == {}
    assert model["policy"]["window_seconds"] == 5
    assert model["policy"]["thresholds"]["auc_margin"] == 0.05
    for ref in (model["id"], "street"):
        found = client.get(f"/v1/models/{ref}")
        assert found.json() == model
        assert found.headers["etag"] == '"1"'
    with service.database.read() as session:
        job = session.scalars(select(Job)).one()
        assert (job.kind, job.state, job.model_id) == ("describe", "queued", model["id"])
        assert session.scalars(select(OutboxMessage.job_id)).all() == [job.id]
        kinds = session.scalars(select(LedgerEvent.kind).order_by(LedgerEvent.seq)).all()
    assert kinds[0] == "model.created"
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_a_workload_that_no_live_worker_has_is_refused_and_the_others_are_listed(
    service: Service, client: httpx.Client
) -> None:
    none = client.post("/v1/models", json=BODY)
    assert none.status_code == 409
    assert none.json()["type"].endswith("/workload-not-installed")
    assert none.json()["installed"] == []
    with_worker(service)
    other = client.post("/v1/models", json=BODY | {"workload": "pascal"})
    assert other.status_code == 409
    assert other.json()["installed"] == ["arrays", "digits"]
    assert "'pascal'" in other.json()["detail"]
    with service.database.write() as session, session.begin():
        long_ago = database_now(session) - timedelta(seconds=91)
        session.execute(update(Worker).values(seen_at=long_ago))
    assert client.post("/v1/models", json=BODY).status_code == 409


def test_a_method_that_no_live_worker_has_is_refused(
    service: Service, client: httpx.Client
) -> None:
    with_worker(service)
    answer = client.post("/v1/models", json=BODY | {"policy": {"method": "wish"}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/policy/method"
    assert answer.json()["installed"] == ["interference_aware", "retrain"]


def test_a_name_is_taken_once_also_by_many_at_once(service: Service) -> None:
    with_worker(service)
    statuses: list[int] = []

    def post() -> None:
        with service.client() as client:
            statuses.append(client.post("/v1/models", json=BODY).status_code)

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409, 409, 409, 409, 409]


def test_models_are_listed_newest_first_in_pages(service: Service, client: httpx.Client) -> None:
    with_worker(service)
    for name in ("a", "b", "c"):
        client.post("/v1/models", json=BODY | {"name": name})
    first = client.get("/v1/models?limit=2")
    assert [item["name"] for item in first.json()["items"]] == ["c", "b"]
    link = first.headers["link"]
    assert link.endswith('; rel="next"')
    second = client.get(link[1 : link.index(">")])
    assert [item["name"] for item in second.json()["items"]] == ["a"]
    assert second.json()["next"] is None
    assert "link" not in second.headers


def test_a_policy_is_changed_member_by_member(client: httpx.Client, registered: Registered) -> None:
    path = f"/v1/models/{registered.name}"
    changed = client.patch(path, json={"policy": {"approval": "one_person"}})
    assert changed.status_code == 200, changed.text
    assert changed.json()["policy"]["approval"] == "one_person"
    assert changed.json()["policy"]["max_automatic_share"] == 0.5
    assert changed.headers["etag"] == '"2"'
    bad = client.patch(path, json={"policy": {"thresholds": {"auc_margin": 2}}})
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["pointer"] == "#/policy/thresholds/auc_margin"
    stale = client.patch(path, json={"name": "x"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    renamed = client.patch(path, json={"name": "x"}, headers={"If-Match": '"2"'})
    assert renamed.json()["name"] == "x"
    assert client.get(path).status_code == 404


def test_an_archived_model_frees_its_name_and_is_found_by_id(
    client: httpx.Client, registered: Registered
) -> None:
    path = f"/v1/models/{registered.name}"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    by_id = f"/v1/models/{registered.model_id}"
    assert client.get(by_id).json()["archived_at"] is not None
    assert client.delete(by_id).status_code == 204
    assert client.patch(by_id, json={"name": "x"}).json()["type"].endswith("/model-archived")
    assert client.get("/v1/models").json()["items"] == []
    again = client.post("/v1/models", json={"name": registered.name, "workload": "digits"})
    assert again.status_code == 201


def test_a_model_with_unfinished_requests_is_not_archived(
    client: httpx.Client, registered: Registered
) -> None:
    body = {"model": registered.name, "instances": ["i-0"]}
    assert client.post("/v1/deletion-requests", json=body).status_code == 202
    refused = client.delete(f"/v1/models/{registered.name}")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/unfinished-requests")
