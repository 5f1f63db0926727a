import hashlib
import json
from pathlib import Path

import pytest

from expunge import Client
from expunge.errors import DigestMismatch, ExpungeError, NotFound
from scripted_server import Reply, Script, Seen, problem

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def version(sha256: str = SHA256, size: int = len(CONTENT)) -> Reply:
    body = {
        "id": "ver_1",
        "model": {"id": "mod_1", "name": "m"},
        "number": 1,
        "state": "verified",
        "weights": {"sha256": sha256, "size": size, "href": "/x"},
        "created_at": "2026-03-04T09:00:00Z",
    }
    return Reply(201, json.dumps(body).encode())


def model(described: bool) -> Reply:
    description = {"workload": "digits", "tasks": [], "parameters": 1} if described else None
    body = {
        "id": "mod_1",
        "name": "m",
        "workload": "digits",
        "description": description,
        "created_at": "2026-03-04T09:00:00Z",
    }
    return Reply(200, json.dumps(body).encode())


def ranged(seen: Seen) -> Reply:
    start = int(seen.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    return Reply(206, CONTENT[start:])


def test_a_download_arrives_whole_and_tells_its_progress(script: Script, tmp_path: Path) -> None:
    script.say(version(), Reply(200, CONTENT))
    told: list[tuple[int, int]] = []
    with Client(script.url) as client:
        client.versions.download("m", "ver_1", tmp_path / "w", lambda *b: told.append(b))
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in tmp_path.iterdir()] == ["w"]


def test_an_interrupted_download_goes_on_where_it_stopped(script: Script, tmp_path: Path) -> None:
    script.say(version(), Reply(200, CONTENT, cut=300_000), ranged)
    with Client(script.url) as client:
        client.versions.download("m", "ver_1", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert 0 < int(script.seen[2].headers["Range"].removeprefix("bytes=")[:-1]) <= 300_000


def test_a_service_without_ranges_sends_all_of_it_again(script: Script, tmp_path: Path) -> None:
    script.say(version(), Reply(200, CONTENT, cut=300_000), Reply(200, CONTENT))
    with Client(script.url) as client:
        client.versions.download("m", "ver_1", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_altered_bytes_are_thrown_away(script: Script, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"the former one")
    script.say(version(), Reply(200, CONTENT[:-1] + b"!"))
    with Client(script.url) as client, pytest.raises(DigestMismatch, match="altered"):
        client.versions.download("m", "ver_1", tmp_path / "w")
    assert [file.name for file in tmp_path.iterdir()] == ["w"]
    assert (tmp_path / "w").read_bytes() == b"the former one"


def test_a_refused_download_is_not_tried_again(script: Script, tmp_path: Path) -> None:
    script.say(version(), problem(404, "not-found", "there is no file"))
    with Client(script.url) as client, pytest.raises(NotFound):
        client.versions.download("m", "ver_1", tmp_path / "w")
    assert len(script.seen) == 2


def test_an_upload_waits_until_the_workload_is_described(script: Script, tmp_path: Path) -> None:
    weights, manifest = tmp_path / "w", tmp_path / "m"
    weights.write_bytes(CONTENT)
    manifest.write_text('{"id": "a"}\n')
    script.say(
        model(described=False),
        model(described=True),
        problem(503, "unavailable", "later", headers={"Retry-After": "0"}),
        version(),
    )
    told: list[tuple[int, int]] = []
    with Client(script.url) as client:
        made = client.versions.register("m", weights, manifest, 1.5, lambda *b: told.append(b))
    assert made.id == "ver_1"
    assert told[-1] == (len(CONTENT), len(CONTENT))
    uploads = script.seen[2:]
    assert all(CONTENT in seen.body and SHA256.encode() in seen.body for seen in uploads)
    assert b'name="training_seconds"\r\n\r\n1.5' in script.seen[-1].body
    first, second = (seen.headers["Idempotency-Key"] for seen in uploads)
    assert first == second


def test_a_file_that_is_not_there_is_named(script: Script, tmp_path: Path) -> None:
    with Client(script.url) as client, pytest.raises(ExpungeError, match="there is no file"):
        client.versions.register("m", tmp_path / "w", tmp_path / "m")
