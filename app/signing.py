"""The installation's Ed25519 key: signs receipts and ledger heads, published as a JWK."""

import base64
import hashlib
import os
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from expunge.canonical import canonical_json


class Signer:
    """Signs with one private key; `key_id` is the RFC 7638 thumbprint of the public one."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._public = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
        self.key_id = _base64url(hashlib.sha256(canonical_json(self._public)).digest())

    @classmethod
    def load_or_create(cls, file: Path) -> Self:
        """The key in a PEM file, which is made (0600) where it is absent.

        Raises ValueError where the file holds something else.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = load_pem_private_key(file.read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise ValueError(f"{file} holds no Ed25519 private key") from None
            return cls(key)
        key = Ed25519PrivateKey.generate()
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._key.sign(message)

    def public_jwk(self) -> dict[str, str]:
        """The public key for `/.well-known/jwks.json`."""
        return {**self._public, "kid": self.key_id, "use": "sig", "alg": "EdDSA"}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
