import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from app.signing import Signer
from expunge.errors import DigestMismatch, ExpungeError, ReceiptInvalid, Unreachable
from expunge.verify import load_keys, verify_receipt
from scripted_server import Reply, Script
from signed_receipts import Signed


def test_a_receipt_holds_under_the_key_that_signed_it(signed: Signed) -> None:
    found = verify_receipt(signed.envelope(), signed.keys)
    assert found.statement.predicate.request.id == "req_1"
    assert found.statement.predicate.audit.verdict == "pass"
    assert found.key_id in signed.keys
    assert found.weights is None


@given(data=st.data())
def test_a_receipt_with_any_byte_altered_is_refused(signed: Signed, data: st.DataObject) -> None:
    envelope = bytearray(signed.envelope())
    place = data.draw(st.integers(0, len(envelope) - 1))
    envelope[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != envelope[place]))
    with pytest.raises(ReceiptInvalid):
        verify_receipt(bytes(envelope), signed.keys)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_receipt_are_refused(signed: Signed, content: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        verify_receipt(content, signed.keys)


def test_a_receipt_signed_by_somebody_else_is_refused(signed: Signed, tmp_path: Path) -> None:
    stranger = Signer.load_or_create(tmp_path / "key.pem")
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [stranger.public_jwk()]}))
    with pytest.raises(ReceiptInvalid, match="not among those known"):
        verify_receipt(signed.envelope(), load_keys(str(jwks)))


def _changed(statement: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(statement))
    *parents, last = path.split("/")
    place = copy
    for name in parents:
        place = place[int(name) if name.isdecimal() else name]
    place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("subject", []),
        ("subject/0/digest", {"sha256": "short"}),
        ("predicate/request", None),
        ("predicate/audit/verdict", None),
    ],
)
def test_a_signed_statement_that_is_no_receipt_is_refused(
    signed: Signed, path: str, value: Any
) -> None:
    envelope = signed.envelope(_changed(signed.statement, path, value))
    with pytest.raises(ReceiptInvalid, match="signed, but not a receipt"):
        verify_receipt(envelope, signed.keys)


def test_another_payload_type_is_refused_although_the_signature_holds(signed: Signed) -> None:
    with pytest.raises(ReceiptInvalid, match="payload type"):
        verify_receipt(signed.envelope(kind="application/json"), signed.keys)


def test_the_weights_must_be_those_of_the_statement(signed: Signed, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(signed.weights)
    found = verify_receipt(signed.envelope(), signed.keys, weights)
    assert found.weights == "m/ver_1/weights.safetensors"
    weights.write_bytes(signed.weights + b"!")
    with pytest.raises(DigestMismatch, match="is not about"):
        verify_receipt(signed.envelope(), signed.keys, weights)


def test_a_key_can_be_pinned_or_read_from_a_pem_file(signed: Signed, tmp_path: Path) -> None:
    public = signed.private.public_key()
    pinned = base64.urlsafe_b64encode(public.public_bytes_raw()).decode().rstrip("=")
    pem = tmp_path / "key.pem"
    pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for source in (pinned, str(pem)):
        verify_receipt(signed.envelope(), load_keys(source))


def test_keys_are_fetched_from_an_address(signed: Signed, script: Script) -> None:
    jwk = Signer(signed.private).public_jwk()
    script.say(Reply(body=json.dumps({"keys": [jwk]}).encode()))
    verify_receipt(signed.envelope(), load_keys(f"{script.url}/.well-known/jwks.json"))
    script.say(Reply(status=404))
    with pytest.raises(Unreachable, match="cannot fetch keys"):
        load_keys(script.url)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": []}', "-----BEGIN NONSENSE-----"])
def test_a_file_without_a_key_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ExpungeError, match="keys"):
        load_keys(str(file))
