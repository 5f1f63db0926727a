"""Whether a receipt may be believed, checked offline: no service is asked.

A receipt is a DSSE envelope around an in-toto statement. The statement's subject names the weights
of the version that forgot; the predicate says what was asked and what was measured.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from expunge import dsse
from expunge.answers import CellOpening
from expunge.canonical import canonical_json
from expunge.errors import DigestMismatch, ExpungeError, ReceiptInvalid, Unreachable
from expunge.transfers import sha256_of
from expunge.tree import cell_hash, verify_inclusion

Keys = Mapping[str, Ed25519PublicKey]

_URL_TIMEOUT: Final = 15.0
_HASH_BYTES: Final = 32


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Digest(_Part):
    """Of a subject."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Subject(_Part):
    """A file that the statement is about."""

    name: str
    digest: Digest


class AskedFor(_Part):
    """The deletion request as it was carried out."""

    id: str
    external_id: str | None = None
    received_at: str
    completed_at: str
    scope: str
    tasks: tuple[str, ...]
    instance_count: int
    cells_count: int = 0
    cells_digest: str = ""
    """Root of the salted hash tree over the (instance, task) cells."""


class Measured(_Part):
    """The audit's part that concerns the request."""

    verdict: str
    cells: tuple[Mapping[str, Any], ...]


class Predicate(_Part):
    """What was asked, done and measured."""

    request: AskedFor
    method: str
    audit: Measured


class Statement(_Part):
    """The in-toto statement inside a receipt."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...] = Field(min_length=1)
    predicate_type: Literal["https://expunge.dev/receipt/v1"] = Field(alias="predicateType")
    predicate: Predicate


@dataclass(frozen=True)
class VerifiedReceipt:
    """What holds of a receipt."""

    key_id: str
    """Of the key that signed."""
    statement: Statement
    weights: str | None
    """The subject that the given weights are, if any were given."""


def verify_receipt(receipt: bytes, keys: Keys, weights: Path | None = None) -> VerifiedReceipt:
    """The receipt's statement, once its form and signature are seen to hold.

    With `weights`, that file must be a subject of the statement; raises DigestMismatch if not.
    Raises ReceiptInvalid with one sentence for anything else that is wrong.
    """
    try:
        payload, key_id = dsse.open_envelope(json.loads(receipt), keys)
    except dsse.InvalidEnvelope as error:
        raise ReceiptInvalid(str(error)) from None
    except (ValueError, RecursionError):
        raise ReceiptInvalid("the receipt is not JSON") from None
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the statement"
        raise ReceiptInvalid(f"signed, but not a receipt: {place}: {first['msg']}") from None
    return VerifiedReceipt(key_id, statement, _subject_of(statement, weights) if weights else None)


def verify_cell(statement: Statement, opening: CellOpening) -> None:
    """Raise ReceiptInvalid unless the opened cell is among those that the receipt commits to."""
    asked = statement.predicate.request
    cell = f"({opening.instance!r}, {opening.task!r})"
    if opening.size != asked.cells_count:
        raise ReceiptInvalid(
            f"the opening is for {opening.size} cells, the receipt for {asked.cells_count}"
        )
    content = canonical_json([opening.instance, opening.task])
    try:
        verify_inclusion(
            cell_hash(_hash_bytes(opening.key), content),
            opening.index,
            opening.size,
            [_hash_bytes(step) for step in opening.path],
            _hash_bytes(asked.cells_digest),
        )
    except ValueError as error:
        raise ReceiptInvalid(f"the cell {cell} is not of the receipt: {error}") from None


def read_opening(content: bytes) -> CellOpening:
    """An opening as `client.requests.open_cell` gave it; raises ReceiptInvalid for another."""
    try:
        return CellOpening.model_validate_json(content)
    except ValidationError:
        raise ReceiptInvalid("the file holds no opening of a cell") from None


def load_keys(source: str) -> Keys:
    """Public keys from a JWKS file, the URL of one, a PEM file, or a pinned key itself.

    A pinned key is its 32 bytes in base64url, as in a JWK's `x`. Raises ExpungeError where the
    source holds no Ed25519 key.
    """
    try:
        if source.startswith(("http://", "https://")):
            keys: Keys = dsse.keys_of(
                httpx.get(source, timeout=_URL_TIMEOUT).raise_for_status().json()
            )
        elif Path(source).is_file():
            keys = _keys_of_file(Path(source).read_bytes())
        else:
            raw = base64.b64decode(source + "=" * (-len(source) % 4), b"-_", validate=True)
            pinned = Ed25519PublicKey.from_public_bytes(raw)
            keys = {dsse.key_id(pinned): pinned}
    except httpx.HTTPError as error:
        raise Unreachable(f"cannot fetch keys from {source}: {error}") from None
    except (ValueError, OSError, UnsupportedAlgorithm) as error:
        raise ExpungeError(
            f"{source!r} is neither a JWKS file, the URL of one, a PEM public key nor a key in "
            f"base64url: {error}"
        ) from None
    if not keys:
        raise ExpungeError(f"{source} holds no Ed25519 key")
    return keys


def _hash_bytes(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != _HASH_BYTES:
        raise ValueError(f"{text!r:.80} is no hash")
    return raw


def _keys_of_file(content: bytes) -> Keys:
    if not content.lstrip().startswith(b"-----"):
        return dsse.keys_of(json.loads(content))
    pinned = load_pem_public_key(content)
    if not isinstance(pinned, Ed25519PublicKey):
        raise ValueError("the PEM file holds a key of another kind than Ed25519")
    return {dsse.key_id(pinned): pinned}


def _subject_of(statement: Statement, weights: Path) -> str:
    if not weights.is_file():
        raise ExpungeError(f"there is no file {weights}")
    found = sha256_of(weights)
    for subject in statement.subject:
        if subject.digest.sha256 == found:
            return subject.name
    named = ", ".join(f"{s.name} ({s.digest.sha256[:12]}...)" for s in statement.subject)
    raise DigestMismatch(
        f"the receipt is not about {weights} (sha256 {found[:12]}...): it is about {named}"
    )
