"""OpenDSR: the shapes of its published examples, signed, and what they set going."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from sqlalchemy import event, func, select, update

from app.auth import Scope
from app.db import database_now
from app.dsr_tables import DsrCallback, SubjectDigests
from app.opendsr import callbacks, digests
from app.opendsr.processor import Processor, ProcessorFault, fault_of
from app.pseudonyms import Pseudonyms
from app.services.erasure import erase_subject
from app.services.transitions import move_request
from app.settings import Settings
from app.signing import Signer
from app.states import RequestState
from app.tables import DEFAULT_TENANT, DeletionRequest
from carried_out import carry_out
from running_service import Registered, Service, register_model, serve
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


def identity(value: str, form: str) -> dict[str, str]:
    return {"identity_type": "email", "identity_value": value, "identity_format": form}


def hash_of(subject: str, form: str) -> str:
    return hashlib.new(form, subject.encode()).hexdigest()


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
                {"identity_type": kind, "identity_format": form}
                for kind in ("controller_customer_id", "email")
                for form in ("raw", "md5", "sha1", "sha256")
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
        ({"subject_identities": [identity("secret-person", "sha256")]}, "64 hexadecimal digits"),
        ({"subject_identities": [identity("secret-person", "crc32")]}, "identity_format"),
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
    with pytest.raises(ProcessorFault, match="is not of the key"):
        Processor.load(
            settings.model_copy(update={"dsr_certificate_file": certificate, "dsr_key_file": other})
        )


@pytest.mark.parametrize("form", ["md5", "sha1", "sha256"])
def test_a_hashed_identity_finds_the_person(
    service: Service, client: httpx.Client, registered: Registered, form: str
) -> None:
    with service.database.write() as session, session.begin():
        register_model(session, service.parts.storage, "strangers", subjects=1)
    named = [identity(hash_of("s-1", form).upper(), form), identity("s-2", "raw")]
    made = client.post(URL, json=erasure(subject_identities=named))
    assert made.status_code == 201, made.text
    (request,) = client.get("/v1/deletion-requests", params={"external_id": ID}).json()["items"]
    assert (request["model"]["name"], request["subjects"]) == (registered.name, ["s-2", "s-1"])


def test_a_hash_that_nobody_has_is_completed_at_once(
    service: Service, client: httpx.Client, registered: Registered, controller: Script
) -> None:
    nobody = [identity(hash_of("nobody", "sha256"), "sha256")]
    asked = erasure(subject_identities=nobody, status_callback_urls=[controller.url])
    assert client.post(URL, json=asked).is_success
    assert client.get(f"{URL}/{ID}").json()["request_status"] == "completed"
    assert call_back(service.database, service.parts.settings, threading.Event()) == 1


def test_an_erased_subject_is_not_found_by_a_hash(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first = erasure(subject_identities=[identity(hash_of("s-1", "md5"), "md5")])
    assert client.post(URL, json=first).is_success
    carry_out(service.parts)
    with service.database.write() as session, session.begin():
        erase_subject(session, DEFAULT_TENANT, "s-1", "test")
    with service.database.read() as session:
        stored = session.scalars(select(SubjectDigests.entries)).all()
        assert sum(map(len, stored)) == 16 * 4  # of five subjects, one is gone
        assert digests.is_ready(session, registered.version_id, "md5")
    other = f"{ID[:-1]}9"
    again = client.post(URL, json={**first, "subject_request_id": other})
    assert again.status_code == 201
    assert client.get(f"{URL}/{other}").json()["results_count"] == 0


def test_subjects_that_were_erased_while_they_were_hashed_are_hashed_again(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    with service.database.write() as session, session.begin():
        Pseudonyms(session, DEFAULT_TENANT, make=True).prepare(["s-1"])
    database = service.database

    class Interrupted:
        """Erases a subject between the reading and the writing of the first attempt."""

        read = staticmethod(database.read)

        def write(self) -> Any:
            if not reads:
                reads.append(1)
                with database.write() as session, session.begin():
                    erase_subject(session, DEFAULT_TENANT, "s-1", "test")
            return database.write()

    reads: list[int] = []
    digests.prepare(Interrupted(), DEFAULT_TENANT, registered.version_id, "sha1")  # type: ignore[arg-type]
    with database.read() as session:
        assert sum(map(len, session.scalars(select(SubjectDigests.entries)))) == 16 * 4


def test_requests_that_nothing_happened_to_are_not_looked_at(
    service: Service, client: httpx.Client, registered: Registered, controller: Script
) -> None:
    assert client.post(URL, json=erasure(status_callback_urls=[controller.url])).is_success
    with service.database.write() as session, session.begin():
        request = session.scalars(select(DeletionRequest)).one()
        for state in (RequestState.IN_PROGRESS, RequestState.FAILED):
            move_request(session, request, state, actor="test")
    assert callbacks.derive(service.database) == 1
    statements: list[str] = []
    listener = service.database.engine, "before_cursor_execute"
    event.listen(*listener, lambda *told: statements.append(told[2]))
    assert callbacks.derive(service.database) == 0
    assert not [one for one in statements if "dsr_requests" in one]


def test_delivered_callbacks_are_dropped_in_the_end(
    service: Service, client: httpx.Client, registered: Registered, controller: Script
) -> None:
    assert client.post(
        URL, json=erasure("nobody", status_callback_urls=[controller.url])
    ).is_success
    call_back(service.database, service.parts.settings, threading.Event())
    assert len(controller.seen) == 1
    for age, left in ((3599, 1), (3601, 0)):
        with service.database.write() as session, session.begin():
            at = database_now(session) - timedelta(seconds=age)
            session.execute(update(DsrCallback).values(next_attempt_at=at))
        callbacks.prune(service.database, 3600)
        with service.database.read() as session:
            assert session.scalar(select(func.count()).select_from(DsrCallback)) == left


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"nonsense", "holds no private key in PEM"),
        (
            rsa.generate_private_key(65537, 2048).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
            ),
            "is locked by a password",
        ),
        (
            x25519.X25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "holds no RSA, ECDSA or Ed25519 key",
        ),
    ],
)
def test_a_key_that_cannot_sign_is_told_at_start_and_by_readyz(
    tmp_path: Path,
    sqlite_database_url: str,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
    told: str,
) -> None:
    file = tmp_path / "dsr-key.pem"
    if content is not None:
        file.write_bytes(content)
    settings = Settings(state_dir=tmp_path, database_url=sqlite_database_url, dsr_key_file=file)
    for service in serve(settings):
        (said,) = [one.getMessage() for one in caplog.records if "OpenDSR" in one.getMessage()]
        assert told in said
        with service.client() as client:
            ready = client.get("/readyz")
            assert (ready.status_code, told in ready.json()["checks"]["opendsr"]) == (503, True)
            refused = client.post(URL, json=erasure())
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, 503)
            assert str(tmp_path) not in refused.text


def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text("nonsense")
    Signer.load_or_create(tmp_path / "signing-key.pem")
    settings = Settings(state_dir=tmp_path, dsr_certificate_file=file)
    assert fault_of(settings) == f"{file} holds no X.509 certificate in PEM"
