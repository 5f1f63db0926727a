"""The ledger's head and its check as callers see them."""

from pydantic import BaseModel, ConfigDict


class HeadSignature(BaseModel):
    """Ed25519 over the canonical JSON of the head without this member."""

    keyid: str
    """`kid` in `/.well-known/jwks.json`."""
    sig: str
    """In base64."""


class SignedHead(BaseModel):
    """The newest event of a tenant's chain: whoever keeps it can tell later that nothing changed.

    What is signed is `{"at", "hash", "seq", "tenant"}` as JSON with sorted keys, without white
    space, `at` being written as in this answer.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "ten_default",
                    "seq": 42,
                    "hash": "9f86d081884c7d65" * 4,
                    "at": "2026-03-04T09:00:00.000000Z",
                    "signature": {"keyid": "kPrK_qmxVWaYVA9w", "sig": "c2lnbmF0dXJl"},
                }
            ]
        }
    )

    tenant: str
    seq: int
    hash: str
    at: str
    signature: HeadSignature


class LedgerCheck(BaseModel):
    """Whether the whole chain holds."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ok": True, "events": 42, "problem": None}]}
    )

    ok: bool
    events: int
    problem: str | None


class Jwk(BaseModel):
    """An Ed25519 public key (RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


class Jwks(BaseModel):
    """The public keys that signatures of this service verify under."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "keys": [
                        {
                            "kty": "OKP",
                            "crv": "Ed25519",
                            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                            "use": "sig",
                            "alg": "EdDSA",
                        }
                    ]
                }
            ]
        }
    )

    keys: list[Jwk]
