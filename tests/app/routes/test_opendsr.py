"""OpenDSR: the shapes of its published examples, signed, and what they set going."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import func, select, update

from app.auth import Scope
from app.db import database_now
from app.dsr_tables import DsrCallback
from app.opendsr.processor import Processor
from app.settings import Settings
from app.tables import DeletionRequest
from carried_out import carry_out
from running_service import Registered, Service, register_model
from scripted_server import Reply, Script, scripted
from worker.callbacks import call_back

URL = "/dsr/v2/requests"
ID = "a7551968-d5d6-44b2-9831-815ac9017798"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        database_url=database_url,
        public_url="https://expunge.example.org",
        webhook_allow_loopback=True,
        webhook_max_attempts=2,
    )


@pytest.fixture
def controller() -> Iterator[Script]:
    with scripted() as running:
        running.say(Reply(202, b""))
        yield running


def erasure(subject: str = "s-1", **more: Any) -> dict[str, Any]:
    """As in the published example of a request."""
    return {
        "subject_request_id": ID,
        "subject_request_type": "erasure",
        "submitted_time": "2026-10-02T15:00:00Z",
        "subject_identities": [
            {"identity_type": "email", "identity_value": subject, "identity_format": "raw"}
        ],
        "api_version": "2.0",
        "extensions": {"example-other-processor.com": {"foo-other-processor-custom-id": 654321}},
        **more,
    }


def check_signature(client: httpx.Client, headers: Any, body: bytes) -> None:
    """As a controller does: with the certificate that discovery names."""
    assert headers["X-OpenDSR-Processor-Domain"] == "expunge.example.org"
    pem = client.get("/dsr/v2/certificate").content
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, ed25519.Ed25519PublicKey)
    key.verify(base64.b64decode(headers["X-OpenDSR-Signature"]), body)


def test_discovery_says_what_is_supported_to_anybody(service: Service) -> None:
    with httpx.Client(base_url=service.base_url) as anybody:
        answer = anybody.get("/dsr/v2/discovery")
        assert answer.json() == {
            "api_version": "2.0",
            "supported_identities": [
                {"identity_type": "controller_customer_id", "identity_format": "raw"},
                {"identity_type": "email", "identity_format": "raw"},
            ],
            "supported_subject_request_types": ["erasure"],
            "processor_certificate": "https://expunge.example.org/dsr/v2/certificate",
        }
        check_signature(anybody, answer.headers, answer.content)


def test_an_erasure_is_carried_out_in_every_model_that_knows_the_person(
    service: Service, client: httpx.Client, registered: Registered, controller: Script
) -> None:
    with service.database.write() as session, session.begin():
        register_model(session, service.parts.storage, "other")
        register_model(session, service.parts.storage, "strangers", subjects=1)
    asked = erasure(status_callback_urls=[controller.url])
    content = json.dumps(asked).encode()
    made = client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert made.status_code == 201, made.text
    told = made.json()
    assert set(told) == {
        "controller_id",
        "expected_completion_time",
        "received_time",
        "encoded_request",
        "subject_request_id",
    }
    assert told["expected_completion_time"] == "2026-11-02T15:00:00Z"
    assert base64.b64decode(told["encoded_request"]) == content
    check_signature(client, made.headers, made.content)
    again = client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert (again.status_code, again.json()) == (201, told)
    requests = client.get("/v1/deletion-requests", params={"external_id": ID}).json()["items"]
    assert sorted(one["model"]["name"] for one in requests) == [registered.name, "other"]
    assert {tuple(one["subjects"]) for one in requests} == {("s-1",)}

    status = client.get(f"{URL}/{ID}")
    assert status.json() == {
        "controller_id": told["controller_id"],
        "expected_completion_time": "2026-11-02T15:00:00Z",
        "subject_request_id": ID,
        "request_status": "pending",
        "api_version": "2.0",
        "results_url": None,
        "results_count": 2,
    }
    check_signature(client, status.headers, status.content)
    settings, database = service.parts.settings, service.database
    assert call_back(database, settings, threading.Event()) == 0  # nothing has changed
    carry_out(service.parts)
    assert client.get(f"{URL}/{ID}").json()["request_status"] == "in_progress"
    call_back(database, settings, threading.Event())
    carry_out(service.parts)
    assert client.get(f"{URL}/{ID}").json()["request_status"] == "completed"
    call_back(database, settings, threading.Event())
    calls = controller.seen
    assert [json.loads(call.body)["request_status"] for call in calls] == [
        "in_progress",
        "completed",
    ]
    assert json.loads(calls[1].body) == {
        "controller_id": told["controller_id"],
        "status_callback_url": controller.url,
        "subject_request_id": ID,
        "request_status": "completed",
        "expected_completion_time": "2026-11-02T15:00:00Z",
        "results_count": 2,
    }
    check_signature(client, calls[1].headers, calls[1].body)


def test_a_callback_is_tried_again_and_given_up_in_the_end(
    service: Service, client: httpx.Client, registered: Registered, controller: Script
) -> None:
    assert client.post(
        URL, json=erasure("nobody", status_callback_urls=[controller.url])
    ).is_success
    controller.say(Reply(500, b"later"))
    for _ in range(3):
        call_back(service.database, service.parts.settings, threading.Event())
        with service.database.write() as session, session.begin():
            session.execute(update(DsrCallback).values(next_attempt_at=database_now(session)))
    with service.database.read() as session:
        (row,) = session.scalars(select(DsrCallback)).all()
    assert (row.status, row.state, row.attempts, row.last_answer) == (
        "completed",  # no model knows the person: there is nothing to erase
        "dead",
        2,
        "later",
    )


def test_only_a_pending_request_can_be_cancelled(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    assert client.post(URL, json=erasure()).is_success
    cancelled = client.delete(f"{URL}/{ID}")
    assert cancelled.status_code == 202
    assert set(cancelled.json()) == {
        "controller_id",
        "subject_request_id",
        "received_time",
        "api_version",
    }
    check_signature(client, cancelled.headers, cancelled.content)
    assert client.get(f"{URL}/{ID}").json()["request_status"] == "cancelled"
    again = client.delete(f"{URL}/{ID}")
    assert again.status_code == 400
    assert again.json()["error"]["code"] == 400
    with service.database.read() as session:
        assert session.scalars(select(DeletionRequest.state)).all() == ["cancelled"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"subject_request_type": "access"}, "'erasure'"),
        ({"subject_request_id": None}, "subject_request_id"),
        ({"subject_request_id": "a7551968-d5d6-14b2-9831-815ac9017798"}, "version 4"),
        ({"submitted_time": "yesterday"}, "RFC 3339"),
        ({"submitted_time": "9000-01-01T00:00:00Z"}, "in the future"),
        ({"subject_identities": []}, "subject_identities"),
        ({"status_callback_urls": ["https://10.0.0.1/"]}, "status_callback_urls"),
        ({"regulation": "lgpd"}, "regulation"),
    ],
)
def test_an_error_has_the_published_shape_and_names_no_person(
    shared_service: Service, change: dict[str, Any], told: str
) -> None:
    with shared_service.client() as client:
        refused = client.post(URL, json=erasure("secret-person", **change))
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == 400
    assert told in error["message"]
    assert {"domain", "reason", "message"} == set(error["errors"][0])
    assert "secret-person" not in refused.text


def test_an_identity_that_is_too_long_is_not_repeated(shared_service: Service) -> None:
    with shared_service.client() as client:
        refused = client.post(URL, json=erasure("x" * 600))
    assert refused.status_code == 400
    assert "xxx" not in refused.text


def test_an_id_stands_for_one_request_only(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = client.post(URL, json=erasure(), headers=key)
    replayed = client.post(URL, json=erasure(), headers=key)
    assert replayed.json() == first.json()
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert client.post(URL, json=erasure("s-2")).json()["error"]["code"] == 400
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(DeletionRequest)) == 1
    refused = httpx.get(f"{service.base_url}{URL}/{ID}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, 401)
    with service.client(service.key(Scope.LEDGER_READ)) as other:
        assert other.get(f"{URL}/{ID}").json()["error"]["code"] == 403
    assert client.get(f"{URL}/{ID[:-1]}9").json()["error"]["code"] == 404


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_certificate_of_ones_own_signs(tmp_path: Path, kind: str) -> None:
    made = (
        rsa.generate_private_key(65537, 2048)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP256R1())
    )
    file = tmp_path / "key.pem"
    file.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = Settings(state_dir=tmp_path, dsr_key_file=file, public_url="https://e.example.org/")
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(Processor.load(settings).certificate)
    processor = Processor.load(settings.model_copy(update={"dsr_certificate_file": certificate}))
    signature = base64.b64decode(processor.headers(b"body")["X-OpenDSR-Signature"])
    key = x509.load_pem_x509_certificate(processor.certificate).public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, b"body", padding.PKCS1v15(), SHA256())
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, b"body", ec.ECDSA(SHA256()))
    other = tmp_path / "other.pem"
    other.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    with pytest.raises(ValueError, match="is not of the key"):
        Processor.load(
            settings.model_copy(update={"dsr_certificate_file": certificate, "dsr_key_file": other})
        )
