"""Downloads over HTTP: digests, ranges, conditions, and who took what."""

import base64
import hashlib
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select

from app.auth import Scope
from app.db import database_now
from app.ids import new_id
from app.states import VersionState
from app.tables import Alias, Download, Version
from running_service import Registered, Service, add_worker, register_model, weights_bytes

WEIGHTS = weights_bytes()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
ETAG = f'"{SHA256}"'
PATH = "/v1/models/digits-model/versions/1/files/weights.safetensors"


@pytest.fixture(scope="module")
def caller(shared_service: Service) -> Iterator[httpx.Client]:
    with shared_service.database.write() as session, session.begin():
        add_worker(session)
        register_model(session, shared_service.parts.storage)
    with shared_service.client() as client:
        yield client


def test_a_whole_file_says_what_it_is(caller: httpx.Client) -> None:
    answer = caller.get(PATH)
    assert answer.status_code == 200
    assert answer.content == WEIGHTS
    digest = base64.b64encode(hashlib.sha256(WEIGHTS).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(WEIGHTS))
    assert answer.headers["content-type"] == "application/octet-stream"
    name = 'attachment; filename="digits-model-v1.safetensors"'
    assert answer.headers["content-disposition"] == name
    assert "deprecation" not in answer.headers


def test_head_is_get_without_the_file(caller: httpx.Client) -> None:
    head, whole = caller.head(PATH), caller.get(PATH)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("etag", "repr-digest", "content-length", "content-disposition", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=5-", 5, len(WEIGHTS)),
        ("bytes=-5", len(WEIGHTS) - 5, len(WEIGHTS)),
        ("bytes=-999999", 0, len(WEIGHTS)),
        ("bytes=0-999999", 0, len(WEIGHTS)),
    ],
)
def test_one_range_is_served(caller: httpx.Client, asked: str, begin: int, end: int) -> None:
    answer = caller.get(PATH, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == WEIGHTS[begin:end]
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(WEIGHTS)}"
    assert answer.headers["content-length"] == str(end - begin)
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize(
    "asked", ["bytes=5-1", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes", "bytes=1"]
)
def test_a_range_that_is_none_is_ignored(caller: httpx.Client, asked: str) -> None:
    answer = caller.get(PATH, headers={"Range": asked})
    assert answer.status_code == 200
    assert answer.content == WEIGHTS


@pytest.mark.parametrize("asked", [f"bytes={len(WEIGHTS)}-", "bytes=999999-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(caller: httpx.Client, asked: str) -> None:
    answer = caller.get(PATH, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(WEIGHTS)}"
    assert answer.json()["type"].endswith("/range-not-satisfiable")


def test_a_range_of_another_file_is_the_whole_of_this_one(caller: httpx.Client) -> None:
    asked = {"Range": "bytes=1-2", "If-Range": '"other"'}
    assert caller.get(PATH, headers=asked).status_code == 200
    asked["If-Range"] = ETAG
    assert caller.get(PATH, headers=asked).status_code == 206


@pytest.mark.parametrize("tags", [ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*"])
def test_who_has_the_file_is_not_sent_it_again(caller: httpx.Client, tags: str) -> None:
    answer = caller.get(PATH, headers={"If-None-Match": tags})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == ETAG
    assert caller.get(PATH, headers={"If-None-Match": '"x"'}).status_code == 200


def test_there_is_no_other_file(caller: httpx.Client) -> None:
    place = PATH.rpartition("/")[0]
    for name in ("config.json", "..%2f..%2fexpunge.db", "%00"):
        assert caller.get(f"{place}/{name}").status_code == 404


def test_recipients_are_remembered_once_a_download(
    service: Service, registered: Registered
) -> None:
    assert registered.name == "digits-model"
    with service.client(service.key(Scope.VERSIONS_DOWNLOAD)) as taker:
        who = taker.get("/v1/whoami").json()["principal"]
        taker.get(PATH)
        taker.get(PATH, headers={"Range": "bytes=0-9"})
        taker.get(PATH, headers={"Range": "bytes=10-"})
        taker.get(PATH, headers={"If-None-Match": ETAG})
        taker.head(PATH)
    with service.client(service.key(Scope.VERSIONS_READ)) as reader:
        assert reader.get(PATH).status_code == 403
        first = reader.get("/v1/models/digits-model/recipients?limit=1").json()
        assert first["items"][0]["principal"] == who
        assert first["items"][0]["version"] == registered.version_id
        assert first["items"][0]["file"] == "weights.safetensors"
        query = {"limit": 1, "after": first["next"]}
        second = reader.get("/v1/models/digits-model/recipients", params=query).json()
    assert len(second["items"]) == 1
    assert second["next"] is None


def test_recipients_that_the_release_before_wrote_down_are_listed_too(
    service: Service, registered: Registered
) -> None:
    with service.client(service.key(Scope.VERSIONS_DOWNLOAD)) as taker:
        taker.get(PATH)
    with service.client(service.key(Scope.VERSIONS_DOWNLOAD)) as taker:
        taker.get(PATH)
    with service.client(service.key(Scope.VERSIONS_READ)) as reader:
        listed = reader.get("/v1/models/digits-model/recipients?limit=100").json()["items"]
        with service.database.write() as session, session.begin():
            rows = session.scalars(select(Download).order_by(Download.id)).all()
            assert {row.model_id for row in rows[-2:]} == {registered.model_id}
            rows[-2].model_id = None
        again = reader.get("/v1/models/digits-model/recipients?limit=100").json()["items"]
        pages, query = [], {"limit": "1"}
        while True:
            page = reader.get("/v1/models/digits-model/recipients", params=query).json()
            pages += page["items"]
            if page["next"] is None:
                break
            query = {"limit": "1", "after": page["next"]}
    assert len(listed) >= 2
    assert again == pages == listed


def test_a_superseded_version_names_its_successor_and_a_purged_one_is_gone(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    with service.database.write() as session, session.begin():
        first = session.get_one(Version, registered.version_id)
        second = Version(
            id=new_id("ver"),
            tenant_id=first.tenant_id,
            model_id=first.model_id,
            number=2,
            parent_id=first.id,
            root_id=first.id,
            state=VersionState.VERIFIED,
            weights_sha256=first.weights_sha256,
            weights_size=first.weights_size,
            created_at=database_now(session),
        )
        session.add(second)
        session.flush()
        first.state = VersionState.SUPERSEDED
        session.get_one(Alias, (first.model_id, "production")).version_id = second.id
    answer = client.get(PATH)
    assert answer.status_code == 200
    assert answer.headers["deprecation"] == f"@{int(second.created_at.timestamp())}"
    place = f"</v1/models/digits-model/versions/{second.id}>"
    assert answer.headers["link"] == f'{place}; rel="successor-version"'
    with service.database.write() as session, session.begin():
        session.get_one(Version, registered.version_id).state = VersionState.PURGED
    gone = client.get(PATH)
    assert gone.status_code == 410
    assert gone.json()["type"].endswith("/purged")


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_file_is_not_sent(
    sqlite_service: Service, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite_service.database.write() as session, session.begin():
        register_model(session, sqlite_service.parts.storage)
    file = sqlite_service.parts.storage.path(SHA256)
    file.unlink() if damage == "missing" else file.write_bytes(WEIGHTS[:-1])
    with sqlite_service.client() as client:
        answer = client.get(PATH)
        assert client.get("/v1/models/digits-model/recipients").json()["items"] == []
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("/damaged-file")
    assert str(file) not in answer.text
    assert any("in storage" in record.message for record in caplog.records)
