"""What a receipt says: an in-toto statement about the weights in which a request was carried out.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas.fields import Text
from engine.spec import CellAudit, Verdict

PREDICATE_TYPE = "https://expunge.dev/receipt/v1"
STATEMENT = (
    "This is an empirical audit of the named weights with respect to the named request,"
    " not a proof of erasure."
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Digest(_Strict):
    """Hex digests by algorithm."""

    sha256: str


class Subject(_Strict):
    """The file that the statement is about."""

    name: str
    digest: Digest


class ReceiptRequest(_Strict):
    """The request as it was carried out."""

    id: str
    external_id: str | None
    reason: str | None
    received_at: datetime
    due_at: datetime
    completed_at: datetime
    outcome: str
    """`completed`, or `completed_with_exceptions`."""
    scope: str
    tasks: tuple[str, ...]
    instance_count: int
    unknown_instance_count: int
    """Named by the caller, absent from the manifest, skipped as the caller asked."""
    cells_count: int
    cells_digest: str
    """Hex root of a salted hash tree over the (instance, task) cells."""


class ReceiptVersion(_Strict):
    """A set of weights."""

    version: str
    sha256: str


class ReceiptAudit(_Strict):
    """What was measured for this request, and against what."""

    verdict: Verdict
    cells: tuple[CellAudit, ...]
    reference: str
    confidence: float
    notes: tuple[str, ...]


class ReceiptPredicate(_Strict):
    """What was done for one request."""

    request: ReceiptRequest
    model: str
    parent: ReceiptVersion | None
    version: ReceiptVersion
    version_state: str
    """`verified` where the audit let the version serve, else `rejected` or `staged`."""
    job: str
    method: str
    settings: dict[str, JsonValue]
    seed: int
    audit: ReceiptAudit
    statement: str = STATEMENT
    versions: dict[str, str]
    """Of the software that did it."""


class Statement(_Strict):
    """In-toto Statement v1."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(
        "https://in-toto.io/Statement/v1", alias="_type"
    )
    subject: tuple[Subject, ...]
    predicate_type: str = Field(PREDICATE_TYPE, alias="predicateType")
    predicate: ReceiptPredicate


class Signature(_Strict):
    """Base64 of a signature over DSSE's pre-authentication encoding."""

    keyid: str
    sig: str


class Envelope(_Strict):
    """A DSSE envelope; its payload is the base64 of an in-toto statement."""

    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[Signature, ...]


class NamedCell(BaseModel):
    """The cell to be opened."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"instance": "img-0007", "task": "garments"}]},
    )

    instance: Annotated[Text, Field(min_length=1, max_length=512)]
    task: Annotated[Text, Field(min_length=1, max_length=100)]


class CellOpening(BaseModel):
    """What leads from one cell to the receipt's `cells_digest`.

    The leaf is sha256 of 0x00, `key`, and `[instance, task]` as JSON without white space; the path
    is that of RFC 9162, section 2.1.3.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "instance": "img-0007",
                    "task": "garments",
                    "key": "9f86d081884c7d65" * 4,
                    "index": 0,
                    "size": 2,
                    "path": ["4bf5122f344554c5" * 4],
                }
            ]
        }
    )

    instance: str
    task: str
    key: str
    """Opens this cell and no other; in hex."""
    index: int
    size: int
    """Of the tree: the receipt's `cells_count`."""
    path: list[str]
    """Hex hashes from the leaf's sibling up to the root's child."""
