"""The ledger's signed head, proofs and check, and the public keys behind signatures."""

import base64
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from app import ledger_check, ledger_tree
from app.auth import Principal, Scope
from app.db import database_now
from app.http import PartsDep, ReadSession, requires
from app.problems import Invalid, NotFound
from app.schemas.ledger import (
    ConsistencyProof,
    HeadSignature,
    InclusionProof,
    Jwk,
    Jwks,
    LedgerCheck,
    SignedHead,
)
from app.services import signing_keys
from app.tables import LedgerEvent, LedgerHead
from expunge.canonical import canonical_json

_MOST_TOLD = 20
_LARGEST = 2**53
"""Numbers that every JSON reader holds exactly."""

router = APIRouter(tags=["ledger"])

Reader = Annotated[Principal, Depends(requires(Scope.LEDGER_READ))]


@router.get("/v1/ledger/head")
def head(caller: Reader, session: ReadSession, parts: PartsDep) -> SignedHead:
    """The newest event's number and hash and the root over all events, signed."""
    row = session.get_one(LedgerHead, caller.tenant_id)
    signer = signing_keys.signing_now(session, parts.signer)
    signed = {
        "tenant": row.tenant_id,
        "seq": row.seq,
        "hash": row.hash,
        "root": ledger_tree.root(session, row.tenant_id, row.seq).hex(),
        "at": database_now(session).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    signature = base64.b64encode(signer.sign(canonical_json(signed))).decode()
    return SignedHead.model_validate(
        {**signed, "signature": HeadSignature(keyid=signer.key_id, sig=signature)}
    )


@router.get("/v1/ledger/proof")
def inclusion(
    caller: Reader,
    session: ReadSession,
    seq: Annotated[int, Query(ge=1, le=_LARGEST, description="the event's number")],
    size: Annotated[
        int | None,
        Query(
            ge=0,
            le=_LARGEST,
            description="the `seq` of the head to prove it for; by default the newest",
        ),
    ] = None,
) -> InclusionProof:
    """An event, and the path from it to the root of a head."""
    tenant_id = caller.tenant_id
    size = _size(session, tenant_id, "size", size)
    event = session.get(LedgerEvent, (tenant_id, seq)) if seq <= size else None
    if event is None:
        raise NotFound("ledger event", str(seq))
    path = ledger_tree.inclusion(session, tenant_id, seq, size)
    return InclusionProof(seq=seq, size=size, body=event.body, path=[step.hex() for step in path])


@router.get("/v1/ledger/consistency")
def consistency(
    caller: Reader,
    session: ReadSession,
    from_: Annotated[
        int, Query(alias="from", ge=0, le=_LARGEST, description="the older head's `seq`")
    ],
    to: Annotated[
        int | None,
        Query(ge=0, le=_LARGEST, description="the newer head's `seq`; by default the newest"),
    ] = None,
) -> ConsistencyProof:
    """The path that shows that the ledger only grew between two heads."""
    to = _size(session, caller.tenant_id, "to", to)
    if from_ > to:
        raise Invalid("query:from", f"from {from_} is behind to {to}: the older head comes first")
    path = ledger_tree.consistency(session, caller.tenant_id, from_, to)
    return ConsistencyProof(from_=from_, to=to, path=[step.hex() for step in path])


@router.get("/v1/ledger/verify")
def verify(caller: Reader, session: ReadSession) -> LedgerCheck:
    """Recompute the chain and compare every row that it sealed: what is wrong, if anything."""
    problems = ledger_check.some_faults(session, caller.tenant_id, _MOST_TOLD)
    events = session.get_one(LedgerHead, caller.tenant_id).seq
    return LedgerCheck(
        ok=not problems,
        events=events,
        problem=problems[0] if problems else None,
        problems=problems,
    )


@router.get("/.well-known/jwks.json")
def jwks(session: ReadSession, parts: PartsDep) -> Jwks:
    """The public keys, as RFC 7517 has them: the current one, and those that were retired."""
    keys = signing_keys.published(session, parts.signer)
    return Jwks(keys=[Jwk.model_validate({**jwk, "retired_at": at}) for jwk, at in keys])


def _size(session: Session, tenant_id: str, name: str, asked: int | None) -> int:
    newest = session.get_one(LedgerHead, tenant_id).seq
    if asked is None:
        return newest
    if asked > newest:
        raise Invalid(f"query:{name}", f"{name} {asked} is beyond the newest event, {newest}")
    return asked
