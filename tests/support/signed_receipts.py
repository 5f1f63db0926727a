"""Receipts signed with a key of the test."""

import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from expunge import dsse
from expunge.canonical import canonical_json


@dataclass(frozen=True)
class Signed:
    """A receipt about a file of these bytes, and the key that signed it."""

    private: Ed25519PrivateKey
    weights: bytes
    statement: dict[str, Any]

    @property
    def keys(self) -> dict[str, Any]:
        public = self.private.public_key()
        return {dsse.key_id(public): public}

    def envelope(self, statement: dict[str, Any] | None = None, kind: str = dsse.IN_TOTO) -> bytes:
        payload = canonical_json(self.statement if statement is None else statement)
        key_id = dsse.key_id(self.private.public_key())
        return canonical_json(dsse.envelope(kind, payload, key_id, self.private.sign))


def signed_receipt() -> Signed:
    """A receipt that holds."""
    weights = b"the new version's weights"
    digest = hashlib.sha256(weights).hexdigest()
    return Signed(
        Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
        weights,
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "m/ver_1/weights.safetensors", "digest": {"sha256": digest}}],
            "predicateType": "https://expunge.dev/receipt/v1",
            "predicate": {
                "request": {
                    "id": "req_1",
                    "external_id": None,
                    "received_at": "2026-03-04T09:00:00Z",
                    "completed_at": "2026-03-04T09:01:00Z",
                    "scope": "full",
                    "tasks": ["digit"],
                    "instance_count": 40,
                },
                "method": "interference_aware",
                "audit": {"verdict": "pass", "cells": []},
            },
        },
    )
