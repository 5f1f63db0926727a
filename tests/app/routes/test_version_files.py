"""What lies beside a version's weights: card, bill of materials, signature, tags."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cyclonedx.schema import SchemaVersion

from app.auth import Scope
from carried_out import carry_out
from expunge.dsse import keys_of
from expunge.errors import ModelSignatureInvalid
from expunge.model_signature import verify_folder
from running_service import Service, add_worker, register_model

MODEL = "/v1/models/digits-model"
NAMES = ["weights.safetensors", "README.md", "ml-bom.cdx.json", "model.sig"]


@pytest.fixture(scope="module")
def caller(shared_service: Service) -> Iterator[httpx.Client]:
    """Of a model whose version 2 has forgotten an instance for one task, version 3 one for all."""
    with shared_service.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, shared_service.parts.storage)
    with shared_service.client() as client:
        for named in ({"instances": ["i-1"], "tasks": ["digit"]}, {"instances": ["i-2"]}):
            body = {"model": model.name, **named}
            client.post("/v1/deletion-requests", json=body).raise_for_status()
            carry_out(shared_service.parts)
        yield client


def content(caller: httpx.Client, version: int, name: str) -> bytes:
    answer = caller.get(f"{MODEL}/versions/{version}/files/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture
def folder(caller: httpx.Client, tmp_path: Path) -> Path:
    """Version 3 as a host has it that took all files."""
    for name in NAMES:
        (tmp_path / name).write_bytes(content(caller, 3, name))
    return tmp_path


@pytest.fixture
def keys(caller: httpx.Client) -> Any:
    return keys_of(caller.get("/.well-known/jwks.json").json())


def test_every_file_is_listed_as_it_is_served(caller: httpx.Client) -> None:
    items = caller.get(f"{MODEL}/versions/3/files").json()["items"]
    assert [item["name"] for item in items] == NAMES
    for item in items:
        answer = caller.get(item["href"])
        assert len(answer.content) == item["size"]
        assert hashlib.sha256(answer.content).hexdigest() == item["sha256"]
        assert answer.headers["etag"] == f'"{item["sha256"]}"'
        assert answer.headers["content-type"] == item["media_type"]
        part = caller.get(item["href"], headers={"Range": "bytes=3-9"})
        assert (part.status_code, part.content) == (206, answer.content[3:10])


def test_the_documents_are_the_same_each_time_whatever_becomes_of_the_version(
    service: Service,
) -> None:
    with service.database.write() as session, session.begin():
        add_worker(session)
        register_model(session, service.parts.storage)
    with service.client() as client:
        before = client.get(f"{MODEL}/versions/1/files").json()
        body = {"model": "digits-model", "instances": ["i-1"]}
        client.post("/v1/deletion-requests", json=body).raise_for_status()
        carry_out(service.parts)
        assert client.get(f"{MODEL}/versions/1").json()["state"] == "superseded"
        client.patch(MODEL, json={"policy": {"purge_after_days": 3}}).raise_for_status()
        assert client.get(f"{MODEL}/versions/1/files").json() == before


def test_the_card_says_in_front_what_the_hub_reads(caller: httpx.Client) -> None:
    _, front, text = content(caller, 3, "README.md").decode().split("---\n", 2)
    data = yaml.safe_load(front)
    assert data["model_name"] == "digits-model"
    assert "machine-unlearning" in data["tags"]
    (index,) = data["model-index"]
    by_task = {result["task"]["name"]: result for result in index["results"]}
    assert by_task["digit"]["metrics"] == [{"type": "accuracy", "value": 0.79, "name": "accuracy"}]
    assert by_task["digit"]["dataset"]["type"] == "digits"
    assert "# digits-model, version 3" in text
    assert "10 instances" in text
    assert "| `digit` | 2 |" in text
    assert "| `parity` | 1 |" in text
    assert "not a proof of erasure" in text
    assert "img" not in text
    assert "i-1" not in text, "who was forgotten is told to nobody"


def test_the_card_of_a_registered_version_claims_no_audit(caller: httpx.Client) -> None:
    text = content(caller, 1, "README.md").decode()
    assert "Its owner trained and registered it." in text
    assert "Nothing was audited" in text
    assert "model-index" not in text


@pytest.mark.parametrize("version", [1, 3])
def test_the_bill_of_materials_is_valid_cyclonedx(caller: httpx.Client, version: int) -> None:
    from cyclonedx.validation.json import (  # noqa: PLC0415 - its grammars take ten seconds
        JsonStrictValidator,
    )

    text = content(caller, version, "ml-bom.cdx.json").decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    model = bom["metadata"]["component"]
    weights = content(caller, version, "weights.safetensors")
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["content"] == hashlib.sha256(weights).hexdigest()
    if version == 3:
        (parent,) = model["pedigree"]["ancestors"]
        assert parent["version"] == "2"
        metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        auc = next(one for one in metrics if one["type"] == "membership inference AUC")
        assert auc["value"] == "0.52"
        assert auc["confidenceInterval"] == {"lowerBound": "0.45", "upperBound": "0.59"}
        data = {p["name"]: p["value"] for p in bom["components"][0]["properties"]}
        assert data["expunge:forgotten:digit"] == "2"


def test_a_folder_with_all_files_verifies_offline(folder: Path, keys: Any) -> None:
    found = verify_folder(folder, keys)
    assert found.name.startswith("digits-model/ver_")
    assert sorted(found.files) == sorted(NAMES[:-1])
    bundle = json.loads((folder / "model.sig").read_text())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"


@pytest.mark.parametrize("name", NAMES[:-1])
def test_an_altered_missing_or_foreign_file_is_named(folder: Path, keys: Any, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelSignatureInvalid, match=f"{name} is not the file that was signed"):
        verify_folder(folder, keys)
    (folder / name).unlink()
    with pytest.raises(ModelSignatureInvalid, match=f"{name} was signed, but it is not in"):
        verify_folder(folder, keys)
    (folder / name).write_bytes(whole)
    (folder / "run.py").write_text("")
    with pytest.raises(ModelSignatureInvalid, match=r"run.py is in .* but it was not signed"):
        verify_folder(folder, keys)


def test_a_signature_altered_anywhere_does_not_hold(folder: Path, keys: Any) -> None:
    signature = (folder / "model.sig").read_bytes()
    for place in range(0, len(signature), 23):
        altered = bytearray(signature)
        altered[place] ^= 1
        (folder / "model.sig").write_bytes(bytes(altered))
        with pytest.raises(ModelSignatureInvalid):
            verify_folder(folder, keys)


def test_a_signature_of_somebody_else_is_not_believed(folder: Path) -> None:
    with pytest.raises(ModelSignatureInvalid, match="which is not among those known: none"):
        verify_folder(folder, {})
    (folder / "model.sig").unlink()
    with pytest.raises(ModelSignatureInvalid, match=r"there is no model\.sig"):
        verify_folder(folder, {})


def test_tags_name_what_a_registry_wants_to_know(
    caller: httpx.Client, shared_service: Service
) -> None:
    one, three = (caller.get(f"{MODEL}/versions/{n}/tags").json()["tags"] for n in (1, 3))
    request = caller.get("/v1/deletion-requests?limit=1").json()["items"][0]["id"]
    receipt = caller.get(f"/v1/deletion-requests/{request}/receipt").content
    assert three["expunge.receipt_sha256"] == hashlib.sha256(receipt).hexdigest()
    assert three["expunge.verdict"] == "pass"
    assert three["expunge.version_number"] == "3"
    assert three["expunge.parent_number"] == "2"
    assert one["expunge.state"] == "superseded"
    assert "expunge.parent" not in one
    assert "expunge.verdict" not in one
    assert all(isinstance(value, str) for value in three.values())
    with shared_service.client(shared_service.key(Scope.LEDGER_READ)) as stranger:
        assert stranger.get(f"{MODEL}/versions/3/tags").status_code == 403


def test_a_purged_versions_documents_are_gone_too(caller: httpx.Client) -> None:
    caller.post(f"{MODEL}/versions/2/purge").raise_for_status()
    for path in ("", "/README.md", "/model.sig"):
        assert caller.get(f"{MODEL}/versions/2/files{path}").status_code == 410
