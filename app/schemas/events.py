"""Ledger events as callers see them."""

from datetime import datetime

from pydantic import BaseModel, JsonValue


class EventView(BaseModel):
    """One change of state, with the hashes that chain it to the one before."""

    seq: int
    at: datetime
    kind: str
    entity: str
    actor: str
    payload: dict[str, JsonValue]
    prev_hash: str
    hash: str
