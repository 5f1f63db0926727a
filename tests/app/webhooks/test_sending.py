"""One attempt against receivers that behave badly."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.webhooks import sending
from app.webhooks.sending import Message, Outcome, send
from scripted_server import Reply, Script, scripted

KEY = b"k" * 32


def sent(url: str, *, timeout: float = 30, allow_loopback: bool = True) -> Outcome:
    message = Message("dlv_1", url, b"{}", [KEY])
    return asyncio.run(send(message, timeout=timeout, allow_loopback=allow_loopback))


@pytest.fixture
def receiver() -> Iterator[Script]:
    with scripted() as running:
        yield running


def test_a_redirect_is_a_failure_and_is_not_followed(receiver: Script) -> None:
    receiver.say(Reply(302, b"", {"Location": f"{receiver.url}/other"}), Reply(200))
    outcome = sent(receiver.url)
    assert (outcome.status, outcome.delivered, len(receiver.seen)) == (302, False, 1)


def test_loopback_is_refused_at_delivery_too(receiver: Script) -> None:
    receiver.say(Reply(200))
    outcome = sent(receiver.url, allow_loopback=False)
    assert (outcome.status, outcome.answer) == (None, "not sent: it must begin with https://")
    outcome = sent(receiver.url.replace("http:", "https:"), allow_loopback=False)
    assert outcome.answer == "not sent: 127.0.0.1 is not a public address"
    outcome = sent("https://localhost/", allow_loopback=False)
    assert outcome.answer.endswith("is not a public address")
    assert receiver.seen == []


def test_the_connection_goes_to_the_address_and_the_header_names_the_host(
    receiver: Script,
) -> None:
    receiver.say(Reply(200))
    port = receiver.url.rpartition(":")[2]
    assert sent(f"http://localhost:{port}/path?a=b").delivered
    (seen,) = receiver.seen
    assert (seen.headers["Host"], seen.path) == (f"localhost:{port}", "/path?a=b")


def test_only_the_beginning_of_an_answer_is_kept_and_made_fit_to_store(receiver: Script) -> None:
    receiver.say(Reply(500, b"\x00\xff" + b"x" * 5_000_000))
    outcome = sent(receiver.url)
    assert outcome.status == 500
    assert outcome.answer.startswith("\ufffd\ufffdx")
    assert len(outcome.answer) == 1000


def test_no_proxy_of_the_environment_is_used(
    receiver: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.say(Reply(200))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert sent(receiver.url).delivered


def test_nobody_listening_is_a_failed_attempt() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = sent(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert outcome.status is None
    assert outcome.answer.startswith("no connection: ")


def _drip(connection: socket.socket, over: threading.Event) -> None:
    """A byte of a header now and then: no single wait is long."""
    with connection:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.05):
                connection.sendall(b"x")
        except OSError:
            pass


def test_a_receiver_that_drips_is_left_when_the_time_is_over() -> None:
    over = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=lambda: _drip(listener.accept()[0], over))
        thread.start()
        outcome = sent(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=1)
        over.set()
        thread.join()
    assert outcome == Outcome(None, "no answer within 1 s")


def _certificate(folder: Path, name: x509.GeneralName) -> Path:
    """A file with a self-signed certificate for this name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver of a test")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "receiver.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


class _Thanks(BaseHTTPRequestHandler):
    def _thank(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = _thank

    def log_message(self, *_: object) -> None:
        pass


Secure = Callable[[x509.GeneralName], int]


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    """Starts an https receiver whose certificate is trusted and for this name; gives its port."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(name: x509.GeneralName) -> int:
        file = _certificate(tmp_path, name)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Thanks)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return server.server_port

    sending.trusted.cache_clear()
    yield start
    sending.trusted.cache_clear()
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_certificate_must_be_the_names_although_the_address_is_dialled(secure: Secure) -> None:
    port = secure(x509.DNSName("localhost"))
    assert sent(f"https://localhost:{port}/") == Outcome(200, "")
    outcome = sent(f"https://127.0.0.1:{port}/")
    assert outcome.status is None
    assert "certificate" in outcome.answer.lower()


def test_a_certificate_can_be_for_an_address(secure: Secure) -> None:
    port = secure(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    assert sent(f"https://127.0.0.1:{port}/").delivered
