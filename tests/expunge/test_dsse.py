import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.signing import Signer
from expunge import dsse


def test_the_pre_authentication_encoding_is_the_one_of_the_specification() -> None:
    encoded = dsse.pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_opens_with_the_key_that_signed_it() -> None:
    key = Ed25519PrivateKey.generate()
    key_id = dsse.key_id(key.public_key())
    envelope = dsse.envelope("text/plain", b"said", key_id, key.sign)
    assert dsse.open_envelope(envelope, {key_id: key.public_key()}, "text/plain") == (
        b"said",
        key_id,
    )


def test_the_service_and_the_client_name_a_key_alike() -> None:
    key = Ed25519PrivateKey.generate()
    signer = Signer(key)
    assert signer.key_id == dsse.key_id(key.public_key())
    assert list(dsse.keys_of({"keys": [signer.public_jwk()]})) == [signer.key_id]


def test_keys_of_other_kinds_in_a_key_set_are_passed_over() -> None:
    assert dsse.keys_of({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}) == {}


@pytest.mark.parametrize(
    "jwks", [None, [], {}, {"keys": "x"}, {"keys": [{"kty": "OKP", "crv": "Ed25519"}]}]
)
def test_a_malformed_key_set_is_refused(jwks: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        dsse.keys_of(jwks)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e.pop("payload"), "its members"),
        (lambda e: e.update(extra=1), "its members"),
        (lambda e: e.update(payloadType="text/plain"), "payload type"),
        (lambda e: e.update(payload="%%"), "not base64"),
        (lambda e: e.update(payload=7), "not base64"),
        (lambda e: e.update(signatures=[]), "no signature"),
        (lambda e: e.update(signatures={}), "no signature"),
        (lambda e: e["signatures"][0].update(keyid="another"), "not among those known"),
        (lambda e: e["signatures"][0].pop("sig"), "must be keyid and sig"),
        (lambda e: e["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode()), "altered"),
        (lambda e: e["signatures"].append({"keyid": "x", "sig": ""}), "not among those known"),
    ],
)
def test_an_envelope_that_does_not_hold_is_refused_in_one_sentence(change, sentence) -> None:  # type: ignore[no-untyped-def]
    key = Ed25519PrivateKey.generate()
    key_id = dsse.key_id(key.public_key())
    envelope = dsse.envelope(dsse.IN_TOTO, b"{}", key_id, key.sign)
    change(envelope)
    with pytest.raises(dsse.InvalidEnvelope, match=sentence):
        dsse.open_envelope(envelope, {key_id: key.public_key()})


def test_base64_that_decodes_alike_but_is_written_otherwise_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    key_id = dsse.key_id(key.public_key())
    envelope = dsse.envelope(dsse.IN_TOTO, b"{}!!", key_id, key.sign)  # "e30hIQ=="
    envelope["payload"] = "e30hIR=="
    assert base64.b64decode(envelope["payload"]) == b"{}!!"
    with pytest.raises(dsse.InvalidEnvelope, match="canonical"):
        dsse.open_envelope(envelope, {key_id: key.public_key()})
