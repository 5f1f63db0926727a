"""Versions over HTTP: the upload, its checks, and what is seen afterwards."""

import hashlib
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from app.auth import Scope
from app.db import Database
from app.tables import Instance, LedgerEvent, Model, Version
from running_service import Registered, Service, add_worker, described, weights_bytes

MANIFEST = b'{"id": "a", "subject": "s"}\n{"id": "b", "tasks": ["parity"]}\n'
PATH = "/v1/models/street/versions"


@pytest.fixture
def model(service: Service, client: httpx.Client) -> None:
    """A described model without a version."""
    with service.database.write() as session, session.begin():
        add_worker(session)
    assert client.post("/v1/models", json={"name": "street", "workload": "digits"}).is_success
    describe(service.database)


def describe(database: Database) -> None:
    with database.write() as session, session.begin():
        row = session.scalars(select(Model)).one()
        row.description = described().model_dump(mode="json")


def upload(
    client: httpx.Client,
    weights: bytes = weights_bytes(),
    manifest: bytes = MANIFEST,
    headers: dict[str, str] | None = None,
    **form: str,
) -> httpx.Response:
    files = {"weights": weights, "manifest": manifest}
    return client.post(PATH, files=files, data=form, headers=headers)


def stored(service: Service) -> list[Path]:
    root = service.parts.settings.storage
    return [file for file in root.rglob("*") if file.is_file()]


@pytest.mark.usefixtures("model")
def test_the_first_version_is_checked_stored_and_put_into_service(
    service: Service, client: httpx.Client
) -> None:
    sha256 = hashlib.sha256(weights_bytes()).hexdigest()
    made = upload(client, weights_sha256=sha256, training_seconds="12.5")
    assert made.status_code == 201, made.text
    version = made.json()
    assert made.headers["location"] == f"{PATH}/{version['id']}"
    assert version["number"] == 1
    assert version["parent"] is None
    assert version["root"] == version["id"]
    assert version["state"] == "verified"
    assert version["aliases"] == ["production"]
    assert version["training_seconds"] == 12.5
    assert version["weights"]["sha256"] == sha256
    assert version["weights"]["size"] == len(weights_bytes())
    for ref in (version["id"], "1", "production"):
        assert client.get(f"{PATH}/{ref}").json() == version
    assert client.get(f"{PATH}/1/lineage").json()["items"] == [version]
    assert client.get(f"{PATH}/1/audit").status_code == 404
    assert [file.name for file in stored(service)] == [sha256]
    with service.database.read() as session:
        rows = session.scalars(select(Instance).order_by(Instance.pk)).all()
        assert [(r.instance_id, r.subject, r.tasks) for r in rows] == [
            ("a", "s", ["digit", "parity"]),
            ("b", None, ["parity"]),
        ]
        kinds = session.scalars(select(LedgerEvent.kind).order_by(LedgerEvent.seq)).all()
        told = session.scalars(
            select(LedgerEvent.body).where(LedgerEvent.kind == "version.registered")
        ).one()
    assert kinds[-2:] == ["version.registered", "alias.moved"]
    assert sha256 in told
    assert hashlib.sha256(MANIFEST).hexdigest() in told
    check = client.get("/v1/ledger/verify").json()
    assert check["ok"], check


@pytest.mark.usefixtures("model")
def test_a_second_upload_is_another_root_that_is_not_in_service(client: httpx.Client) -> None:
    first = upload(client).json()
    second = upload(client, weights_bytes(0.25)).json()
    assert (second["number"], second["root"], second["aliases"]) == (2, second["id"], [])
    page = client.get(f"{PATH}?limit=1").json()
    assert page["items"] == [second]
    rest = client.get(PATH, params={"limit": 1, "after": page["next"]}).json()
    assert rest == {"items": [first], "next": None}


@pytest.mark.usefixtures("model")
def test_a_version_can_be_registered_as_trained_on_from_another(
    service: Service, client: httpx.Client
) -> None:
    first = upload(client).json()
    second = upload(client, weights_bytes(0.25), parent="production").json()
    assert (second["parent"], second["root"]) == (first["id"], second["id"])
    line = client.get(f"{PATH}/2/lineage").json()["items"]
    assert [item["number"] for item in line] == [1, 2]
    assert line[1]["stored"]["kind"] == "full"
    unknown = upload(client, weights_bytes(0.75), parent="9")
    assert unknown.status_code == 422
    assert unknown.json()["errors"] == [
        {"pointer": "#/parent", "detail": "there is no version of model 'street' '9'"}
    ]
    with service.database.write() as session, session.begin():
        session.get_one(Version, second["id"]).state = "purged"
    gone = upload(client, weights_bytes(0.75), parent="2")
    assert gone.json()["errors"][0]["detail"] == "version 2 was purged"


def test_an_upload_waits_for_the_description(service: Service, client: httpx.Client) -> None:
    with service.database.write() as session, session.begin():
        add_worker(session)
    client.post("/v1/models", json={"name": "street", "workload": "digits"})
    early = upload(client, manifest=MANIFEST + b"\n" * 5_000_000)
    assert early.status_code == 409
    assert early.json()["type"].endswith("/workload-not-described")
    assert early.headers["retry-after"] == "1"
    describe(service.database)
    assert upload(client).status_code == 201


@pytest.fixture(scope="module")
def shared_client(shared_service: Service) -> Iterator[httpx.Client]:
    """A client of a service with a described model, for uploads that are all refused."""
    with shared_service.database.write() as session, session.begin():
        add_worker(session)
    with shared_service.client() as client:
        assert client.post("/v1/models", json={"name": "street", "workload": "digits"}).is_success
        describe(shared_service.database)
        yield client


@pytest.mark.parametrize(
    ("weights", "manifest", "form", "pointer", "told"),
    [
        (weights_bytes()[:-3], MANIFEST, {}, "#/weights", "truncated"),
        (weights_bytes(float("inf")), MANIFEST, {}, "#/weights", "NaN or infinity"),
        (pickle.dumps({}), MANIFEST, {}, "#/weights", "pickle"),
        (b"\xff" * 64, MANIFEST, {}, "#/weights", "header claims"),
        (weights_bytes(), b'{"id": "a"}\n{"id": "a"}', {}, "#/manifest", "line 2"),
        (weights_bytes(), b'{"id": "a", "tasks": ["x"]}', {}, "#/manifest", "digit, parity"),
        (weights_bytes(), b"", {}, "#/manifest", "no instance"),
        (weights_bytes(), MANIFEST, {"weights_sha256": "0" * 64}, "#/weights_sha256", "not 000"),
        (weights_bytes(), MANIFEST, {"training_seconds": "nan"}, "#/training_seconds", "'nan'"),
        (weights_bytes(), MANIFEST, {"training_seconds": "-1"}, "#/training_seconds", "'-1'"),
        (
            weights_bytes(),
            MANIFEST,
            {"training_seconds": "9" * 20000},
            "#/training_seconds",
            "long",
        ),
        (weights_bytes(), MANIFEST, {"colour": "red"}, "#/colour", "not a part"),
    ],
)
def test_a_bad_upload_is_refused_and_discarded(
    shared_service: Service,
    shared_client: httpx.Client,
    weights: bytes,
    manifest: bytes,
    form: dict[str, str],
    pointer: str,
    told: str,
) -> None:
    refused = upload(shared_client, weights, manifest, **form)
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert told in refused.json()["detail"] + str(refused.json()["errors"])
    assert stored(shared_service) == []
    with shared_service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Version)) == 0


def test_the_bad_lines_of_a_manifest_are_listed(shared_client: httpx.Client) -> None:
    problem = upload(shared_client, manifest=MANIFEST + b'{"id": "a"}\n{}\n').json()
    assert problem["type"].endswith("/bad-manifest")
    assert problem["lines"] == [3, 4]
    assert problem["count"] == 2
    assert problem["errors"][0]["detail"] == "line 3: instance 'a' is named already in line 1"


def test_a_form_that_is_none_is_refused(
    shared_service: Service, shared_client: httpx.Client
) -> None:
    as_json = shared_client.post(PATH, json={"weights": "x"})
    assert as_json.status_code == 415
    part = b'--b\r\nContent-Disposition: form-data; name="weights"; filename="w"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    cut = shared_client.post(PATH, content=part + weights_bytes(), headers=kind)
    assert cut.status_code == 400
    assert cut.json()["type"].endswith("/bad-multipart")
    assert shared_client.post(PATH, content=b"--c\r\n\r\n", headers=kind).status_code == 400
    missing = shared_client.post(PATH, content=part + b"x\r\n--b--\r\n", headers=kind)
    assert missing.json()["errors"][0]["pointer"] == "#/manifest"
    twice = shared_client.post(PATH, content=(part + b"x\r\n") * 2 + b"--b--\r\n", headers=kind)
    assert "given twice" in twice.json()["detail"]
    assert stored(shared_service) == []


@pytest.mark.usefixtures("model")
def test_an_upload_cut_off_halfway_leaves_nothing(service: Service, client: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="weights"; filename="w"\r\n\r\n'
        yield b"x" * 3_000_000
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        client.post(
            PATH, content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
        )
    for _ in range(100):
        if not stored(service):
            break
        threading.Event().wait(0.05)
    assert stored(service) == []


@pytest.mark.usefixtures("model")
def test_an_upload_sent_again_makes_one_version(service: Service, client: httpx.Client) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first = upload(client, headers=key)
    again = upload(client, headers=key)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    other = upload(client, weights_bytes(0.25), headers=key)
    assert other.status_code == 422
    assert other.json()["type"].endswith("/idempotency-key-reused")
    assert len(client.get(PATH).json()["items"]) == 1
    assert len(stored(service)) == 1


def test_a_stranger_is_refused_before_the_upload_is_read(service: Service) -> None:
    with service.client(service.key(Scope.VERSIONS_READ)) as reader:
        assert upload(reader, weights=b"x" * 5_000_000).status_code == 403
    with service.client("exp_no_body") as nobody:
        assert upload(nobody, weights=b"x" * 5_000_000).status_code == 401
    assert stored(service) == []


def test_the_manifest_is_paged_in_its_order(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    path = f"/v1/models/{registered.name}/manifest"
    seen: list[str] = []
    after: str | None = None
    while True:
        params = {"limit": 3, **({"after": after} if after else {})}
        page = client.get(path, params=params).json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert tuple(seen) == registered.instances
    first = client.get(path, params={"version": "1", "limit": 1}).json()["items"][0]
    assert first == {
        "id": "i-0",
        "subject": "s-0",
        "digest": None,
        "tasks": ["digit", "parity"],
        "forgotten": [],
    }
    assert client.get(path, params={"version": "7"}).status_code == 404
    with service.client(service.key(Scope.VERSIONS_DOWNLOAD)) as stranger:
        assert stranger.get(path).status_code == 403
