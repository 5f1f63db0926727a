"""The installation's Ed25519 key: signs receipts and ledger heads, published as a JWK.

The key is a file. Replacing that file is how a key is rotated: whoever signs looks first whether
another key has taken its place (`Signer.current`), so that no process need be restarted.
"""

import base64
import hashlib
import os
import secrets
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

    def __init__(self, key: Ed25519PrivateKey, file: Path | None = None) -> None:
        self._key = key
        self._file = file
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        """32 bytes."""
        self.key_id = thumbprint(self.public_key)

    @classmethod
    def load_or_create(cls, file: Path) -> Self:
        """The key in a PEM file, which is made (0600) where it is absent.

        Raises ValueError where the file holds something else.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        try:
            _write(file, key)
        except FileExistsError:
            return cls(_read(file), file)
        return cls(key, file)

    def current(self) -> "Signer":
        """The key that its file holds now: this one, or the one that has taken its place."""
        return self if self._file is None else Signer(_read(self._file), self._file)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._key.sign(message)

    def public_jwk(self) -> dict[str, str]:
        """The public key for `/.well-known/jwks.json`."""
        return jwk(self.public_key)


def prepare(file: Path) -> tuple[Signer, Path]:
    """A fresh key, and the file beside `file` that holds it until `put_in_place`."""
    key = Ed25519PrivateKey.generate()
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    _write(beside, key)
    return Signer(key, file), beside


def put_in_place(beside: Path, file: Path) -> None:
    """Let a prepared key take the place of the one in `file`, which is gone for good."""
    os.replace(beside, file)


def thumbprint(public_key: bytes) -> str:
    """The RFC 7638 thumbprint of a public key: what its signatures name it by."""
    return _base64url(hashlib.sha256(canonical_json(_public_members(public_key))).digest())


def jwk(public_key: bytes) -> dict[str, str]:
    """A public key as a JSON Web Key (RFC 8037)."""
    named = {"kid": thumbprint(public_key), "use": "sig", "alg": "EdDSA"}
    return {**_public_members(public_key), **named}


def _public_members(public_key: bytes) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public_key)}


def _read(file: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{file} holds no Ed25519 private key")
    return key


def _write(file: Path, key: Ed25519PrivateKey) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
