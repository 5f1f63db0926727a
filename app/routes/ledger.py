"""The ledger's head and check, and the public keys behind every signature."""

import base64
from typing import Annotated

from fastapi import APIRouter, Depends

from app import ledger_check
from app.auth import Principal, Scope
from app.db import database_now
from app.http import PartsDep, ReadSession, requires
from app.schemas.ledger import HeadSignature, Jwk, Jwks, LedgerCheck, SignedHead
from app.tables import LedgerHead
from expunge.canonical import canonical_json

router = APIRouter(tags=["ledger"])

Reader = Annotated[Principal, Depends(requires(Scope.LEDGER_READ))]


@router.get("/v1/ledger/head")
def head(caller: Reader, session: ReadSession, parts: PartsDep) -> SignedHead:
    """The newest event's number and hash, signed."""
    row = session.get_one(LedgerHead, caller.tenant_id)
    at = database_now(session).isoformat(timespec="microseconds").replace("+00:00", "Z")
    signed = {"tenant": row.tenant_id, "seq": row.seq, "hash": row.hash, "at": at}
    signature = base64.b64encode(parts.signer.sign(canonical_json(signed))).decode()
    return SignedHead(
        tenant=row.tenant_id,
        seq=row.seq,
        hash=row.hash,
        at=at,
        signature=HeadSignature(keyid=parts.signer.key_id, sig=signature),
    )


@router.get("/v1/ledger/verify")
def verify(caller: Reader, session: ReadSession) -> LedgerCheck:
    """Recompute the whole chain: whether it holds, or the first thing that is wrong."""
    problem = ledger_check.verify(session, caller.tenant_id)
    events = session.get_one(LedgerHead, caller.tenant_id).seq
    return LedgerCheck(ok=problem is None, events=events, problem=problem)


@router.get("/.well-known/jwks.json")
def jwks(parts: PartsDep) -> Jwks:
    """The public keys, as RFC 7517 has them."""
    return Jwks(keys=[Jwk.model_validate(parts.signer.public_jwk())])
