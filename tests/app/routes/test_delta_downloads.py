"""Versions that are stored as deltas, over HTTP: the same as any other."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.tables import Version
from delta_chain import add_children, add_root, chain_of_files
from running_service import Registered, Service

PATH = "/v1/models/digits-model/versions"
FILES = chain_of_files(4)


@dataclass
class Stored:
    """Version 2 whole, versions 3 to 5 as deltas, and nothing restored."""

    service: Service
    ids: list[str]
    deltas: list[Path]


@pytest.fixture
def stored(service: Service, registered: Registered) -> Stored:
    parts = service.parts
    with service.database.write() as session, session.begin():
        first = session.get_one(Version, registered.version_id)
        root = add_root(session, parts.weights, first, FILES[0])
        children = add_children(session, parts.weights, root, FILES[1:])
        deltas = [parts.storage.path(str(child.delta_sha256)) for child in children]
        made = Stored(service, [version.id for version in (root, *children)], deltas)
    for file in parts.settings.restored_cache.glob("[0-9a-f]" * 64):
        file.unlink()
    return made


def _file(number: int) -> str:
    return f"{PATH}/{number}/files/weights.safetensors"


def test_a_restored_file_is_served_as_any_other(client: httpx.Client, stored: Stored) -> None:
    sha256 = hashlib.sha256(FILES[3]).hexdigest()
    whole = client.get(_file(5))
    assert whole.content == FILES[3]
    assert whole.headers["etag"] == f'"{sha256}"'
    part = client.get(_file(5), headers={"Range": "bytes=100-199", "If-Range": f'"{sha256}"'})
    assert part.status_code == 206
    assert part.content == FILES[3][100:200]
    assert client.get(_file(4)).content == FILES[2]
    assert client.head(_file(3)).headers["content-length"] == str(len(FILES[1]))


def test_a_view_says_how_a_version_is_stored(client: httpx.Client, stored: Stored) -> None:
    shown = {item["number"]: item["stored"] for item in client.get(PATH).json()["items"]}
    size = len(FILES[0])
    assert shown[2] == {"kind": "full", "size": size, "base": None, "chain_length": 0}
    for place, number in enumerate((3, 4, 5)):
        assert shown[number] == {
            "kind": "delta",
            "size": stored.deltas[place].stat().st_size,
            "base": stored.ids[place],
            "chain_length": place + 1,
        }
    assert client.get(f"{PATH}/5").json()["stored"] == shown[5]
    metrics = client.get("/metrics").text
    saved = sum(size - delta.stat().st_size for delta in stored.deltas)
    assert f"expunge_saved_bytes {float(saved)}" in metrics


def test_a_damaged_delta_is_told_and_counts_as_no_download(
    client: httpx.Client, stored: Stored
) -> None:
    content = bytearray(stored.deltas[1].read_bytes())
    content[len(content) // 2] ^= 0x55
    stored.deltas[1].write_bytes(content)
    answer = client.get(_file(5))
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith("/damaged-file")
    assert answer.json()["detail"] == "the stored delta of version 4 is damaged"
    assert client.get(f"{PATH.removesuffix('/versions')}/recipients").json()["items"] == []
    assert client.get(_file(3)).content == FILES[1]


def test_downloads_at_once_get_one_restored_file(client: httpx.Client, stored: Stored) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(client.get, [_file(number) for number in (5, 4, 5, 3, 5, 4)]))
    for answer, place in zip(answers, (3, 2, 3, 1, 3, 2), strict=True):
        assert answer.content == FILES[place]
