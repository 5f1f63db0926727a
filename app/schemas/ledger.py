"""The ledger's head, proofs and check as callers see them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

_ROOT = "4bf5122f344554c5" * 4
_EXAMPLE_HASH = "9f86d081884c7d65" * 4


class HeadSignature(BaseModel):
    """Ed25519 over the canonical JSON of the head without this member."""

    keyid: str
    """`kid` in `/.well-known/jwks.json`."""
    sig: str
    """In base64."""


class SignedHead(BaseModel):
    """The newest event of a tenant's chain: whoever keeps it can tell later that nothing changed.

    What is signed is `{"at", "hash", "root", "seq", "tenant"}` as JSON with sorted keys, without
    white space, `at` being written as in this answer.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "ten_default",
                    "seq": 42,
                    "hash": _EXAMPLE_HASH,
                    "root": _ROOT,
                    "at": "2026-03-04T09:00:00.000000Z",
                    "signature": {"keyid": "kPrK_qmxVWaYVA9w", "sig": "c2lnbmF0dXJl"},
                }
            ]
        }
    )

    tenant: str
    seq: int
    """Of the newest event; also the size of the hash tree."""
    hash: str
    """The newest event's: the end of the chain."""
    root: str
    """Of the hash tree (RFC 9162) over all events; leaf n - 1 is the body of event n."""
    at: str
    signature: HeadSignature


class InclusionProof(BaseModel):
    """That an event is in the tree of a head (RFC 9162, section 2.1.3)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"seq": 2, "size": 2, "body": '{"actor":"...","seq":2}', "path": [_ROOT]}]
        }
    )

    seq: int
    size: int
    """Of the tree: the head's `seq`."""
    body: str
    """The event's canonical JSON: what the leaf holds."""
    path: list[str]
    """Hex hashes from the leaf's sibling up to the root's child."""


class ConsistencyProof(BaseModel):
    """That a head's tree begins with the one of an older head (RFC 9162, section 2.1.4)."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={"examples": [{"from": 1, "to": 2, "path": [_ROOT]}]},
    )

    from_: int = Field(alias="from")
    to: int
    path: list[str]
    """Hex hashes."""


class LedgerCheck(BaseModel):
    """Whether the ledger holds: every event, and every row that the events sealed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"ok": True, "events": 42, "problem": None, "problems": []}]
        }
    )

    ok: bool
    events: int
    problem: str | None
    """The first of `problems`."""
    problems: list[str]
    """The first 20 things that are wrong, each named by its event, or its row and column."""


class Jwk(BaseModel):
    """An Ed25519 public key (RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str
    retired_at: datetime | None = None
    """Since when it signs nothing more; what it signed before stays valid."""


class Jwks(BaseModel):
    """The public keys that signatures of this service verify under, the current one first."""

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
                            "retired_at": None,
                        }
                    ]
                }
            ]
        }
    )

    keys: list[Jwk]
