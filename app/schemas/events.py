"""Ledger events as callers see them."""

from typing import Annotated

from pydantic import BaseModel, Field, JsonValue


class EventView(BaseModel):
    """One change of state, with the hashes that chain it to the one before.

    What is hashed, after the bytes of `prev_hash`, is `{"actor", "at", "entity", "kind", "payload",
    "rows", "seq"}` as JSON with sorted keys, without white space, and without `rows` where it is
    null.
    """

    seq: int
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """As it is hashed, to the last digit."""
    kind: str
    entity: str
    actor: str
    payload: dict[str, JsonValue]
    rows: str | None = None
    """Hex sha256 of the digests of the rows that changed; for the last event of a transaction."""
    prev_hash: str
    hash: str
