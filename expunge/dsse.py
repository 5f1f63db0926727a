"""DSSE envelopes signed with Ed25519: how receipts are wrapped, and how a wrapping is opened.

https://github.com/secure-systems-lab/dsse/blob/master/protocol.md. The signature covers the payload
type and the payload's exact bytes, so that nothing has to be put in canonical form to check it.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from expunge.canonical import canonical_json

IN_TOTO = "application/vnd.in-toto+json"
"""The payload type of an in-toto statement."""


class InvalidEnvelope(ValueError):
    """The envelope is malformed, or no known key signed it; says which in one sentence."""


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: `DSSEv1 <len> <type> <len> <payload>`."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(
    payload_type: str, payload: bytes, key_id: str, sign: Callable[[bytes], bytes]
) -> dict[str, Any]:
    """The envelope of `payload` as plain data; `sign` gives the 64 bytes of a signature."""
    signature = sign(pre_authentication_encoding(payload_type, payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
    }


def key_id(public_key: Ed25519PublicKey) -> str:
    """The key's JWK thumbprint (RFC 7638): the `kid` of the JWKS and the `keyid` of envelopes."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public_key.public_bytes_raw())}
    return _base64url(hashlib.sha256(canonical_json(members)).digest())


def keys_of(jwks: Any) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 keys of a JSON Web Key Set by key id; raises ValueError on a malformed set."""
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise ValueError("a JSON Web Key Set is an object with a list `keys`")
    found = {}
    for jwk in jwks["keys"]:
        if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519"):
            continue
        x = jwk.get("x")
        if not isinstance(x, str):
            raise ValueError("an Ed25519 key of the set has no `x`")
        raw = base64.b64decode(x + "=" * (-len(x) % 4), altchars=b"-_", validate=True)
        public_key = Ed25519PublicKey.from_public_bytes(raw)
        found[str(jwk.get("kid") or key_id(public_key))] = public_key
    return found


def open_envelope(
    data: Any, keys: Mapping[str, Ed25519PublicKey], payload_type: str = IN_TOTO
) -> tuple[bytes, str]:
    """The payload's bytes and the id of the key that signed them.

    Raises InvalidEnvelope unless the envelope has exactly DSSE's members, canonical base64, the
    expected payload type, and only signatures that hold under a key of `keys`.
    """
    if not isinstance(data, dict) or set(data) != {"payload", "payloadType", "signatures"}:
        raise InvalidEnvelope(
            "not a DSSE envelope: its members must be payload, payloadType and signatures"
        )
    if data["payloadType"] != payload_type:
        raise InvalidEnvelope(f"the payload type is {data['payloadType']!r}, not {payload_type!r}")
    payload = _base64(data["payload"], "payload")
    signatures = data["signatures"]
    if not isinstance(signatures, list) or not signatures:
        raise InvalidEnvelope("the envelope carries no signature")
    message = pre_authentication_encoding(payload_type, payload)
    signer = ""
    for signature in signatures:
        if not isinstance(signature, dict) or set(signature) != {"keyid", "sig"}:
            raise InvalidEnvelope("a signature's members must be keyid and sig")
        signer = str(signature["keyid"])
        if signer not in keys:
            known = ", ".join(sorted(keys)) or "none"
            raise InvalidEnvelope(
                f"signed by the key {signer!r}, which is not among those known: {known}"
            )
        try:
            keys[signer].verify(_base64(signature["sig"], "sig"), message)
        except InvalidSignature:
            raise InvalidEnvelope(
                f"the signature does not hold under the key {signer!r}: what it covers was altered"
            ) from None
    return payload, signer


def _base64(text: Any, member: str) -> bytes:
    """Standard base64 in its one canonical form; anything else could be altered unseen."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidEnvelope(f"{member} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise InvalidEnvelope(f"{member} is not canonical base64")
    return raw


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
